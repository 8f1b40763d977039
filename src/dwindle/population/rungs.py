"""Rungs: steps at which all members wait until a judge has said which of them to let go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, count, has_members, shown

__all__ = ["Judge", "Rungs", "Seen", "rungs_of"]

Curve: TypeAlias = NDArray[np.float64]


class Seen(NamedTuple):
    """What a judge sees at a rung: the curves so far, (K, E') at the E' evaluations in ``step``, the last one the rung itself.

    NaN where a member had diverged or been let go; ``validation_loss`` is NaN everywhere without such examples.
    ``running``: (K,), who has neither diverged nor been let go.
    """

    step: NDArray[np.int64]
    train_loss: Curve
    validation_loss: Curve
    running: NDArray[np.bool_]


Judge: TypeAlias = Callable[[Seen], NDArray[np.bool_]]


class Rungs(NamedTuple):
    """The steps of the rungs, rising, who judges there, and the steps of all evaluations."""

    steps: tuple[int, ...]
    judge: Judge | None
    evaluations: NDArray[np.int64]

    def let_go(self, step: int, train_loss: Curve, validation_loss: Curve) -> NDArray[np.bool_]:
        """Return whom the judge lets go at the rung ``step``, (K,); it is not asked where nobody is running."""
        seen = int(np.searchsorted(self.evaluations, step)) + 1
        running = np.isfinite(train_loss[:, seen - 1])
        if self.judge is None or not running.any():
            return np.zeros(len(running), bool)
        train, validation = (curve[:, :seen].copy() for curve in (train_loss, validation_loss))
        said: Any = self.judge(Seen(self.evaluations[:seen].copy(), train, validation, running.copy()))
        if not isinstance(said, np.ndarray) or said.dtype != bool or said.shape != running.shape:
            given = f"{said.dtype} of shape {said.shape}" if isinstance(said, np.ndarray) else shown(said)
            raise InvalidValueError(
                f"judge must return a NumPy array of bool, one a member: shape {running.shape}; at step {step} it gave "
                f"{given}. True lets a member go."
            )
        return np.asarray(said & running)


def rungs_of(judge: Judge | None, judge_at: Sequence[int], evaluations: NDArray[np.int64]) -> Rungs:
    """Return the rungs at the steps ``judge_at``, in any order; raise InvalidValueError unless these are evaluations.

    >>> rungs_of(lambda seen: ~seen.running, [20, 10, 20], np.array([0, 10, 20, 30])).steps
    (10, 20)
    """
    if judge is not None and not callable(judge):
        raise InvalidValueError(f"judge must be a function of what it sees; got {shown(judge)}. Use lambda seen: ...")
    if not has_members(judge_at):
        raise InvalidValueError(f"judge_at must be steps; got {shown(judge_at)}. Write [{shown(judge_at)}].")
    inner = evaluations[1:-1].tolist()
    listed = ", ".join(map(str, inner if len(inner) <= 12 else [*inner[:10], "...", inner[-1]]))
    there = f"are evaluations at {listed}: choose of these." if inner else "is no evaluation: evaluate more often."
    remedy = f"Before the end at {evaluations[-1]} there {there}"
    steps = sorted({count("a step of judge_at", step, remedy=remedy) for step in judge_at})
    wrong = [step for step in steps if step not in inner]
    if wrong:
        raise InvalidValueError(f"judge_at has step {wrong[0]}, which is no evaluation on the way. {remedy}")
    if steps and judge is None:
        raise InvalidValueError(f"judge_at is {shown(steps)}, and there is no judge to ask. Give one, or leave it out.")
    return Rungs(tuple(steps), judge, evaluations)
