"""A logged run as the laws read it: what every step was set to, and the loss where it was logged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dwindle.arrays import float64
from dwindle.errors import DataError, InvalidValueError, a_kind, count
from dwindle.laws.course import Course, course, pace
from dwindle.plan import Plan, as_plan
from dwindle.units import Horizon

__all__ = ["LONGEST", "Run", "rates_in"]

LONGEST = 100_000_000
"""Steps of a logged run at most: more are examples or tokens, and their rates would fill the memory."""
_FEWEST = 4  # points
_HUGE = 1e100  # a loss of a run that has diverged, too large to square


@dataclass(frozen=True, eq=False)
class Run:
    """The learning rates ``lr``, float64 of shape [T], of steps 0 … T - 1, warm-up and all, and the ``loss`` after ``step``.

    ``share`` [T], if known, is what decay takes of each weight in each step; see `Course`.
    ``step`` and ``loss`` have one entry for each logged point, in any order; ``loss`` is any loss that training lowers, of
    training or validation. A point at step s is the loss of the weights that steps 0 … s - 1 made; s may be T. What is
    left out is said in ``notes``: points that are not finite, and all but the last of points that repeat a step.

    Raises InvalidValueError if the lengths differ or a rate is negative or not finite; DataError if fewer than four points
    are left, if steps lie outside the run, or if points of one step disagree so much that two runs must have been mixed.

    >>> run = Run(lr=np.full(1000, 3e-4), step=[200, 400, 400, 800, 1000], loss=[4.0, 3.5, 3.49, 3.3, 3.2])
    >>> run.step.tolist(), run.notes
    ([200, 400, 800, 1000], ('1 point that repeats a step was left out; the later one counts',))
    """

    lr: Any
    step: Any
    loss: Any
    name: str = "run"
    share: Any = None
    notes: tuple[str, ...] = field(default=(), init=False)

    def __post_init__(self) -> None:
        a_kind("name", self.name, str)
        (lr, share), notes = course(self.lr, share=self.share, name=self.name), list[str]()
        arrays = (("step", self.step), ("loss", self.loss))
        step, loss = (np.atleast_1d(float64(f"{self.name}: {what}", array)) for what, array in arrays)
        if step.shape != loss.shape or step.ndim != 1:
            raise InvalidValueError(
                f"{self.name}: step has the shape {step.shape} and loss {loss.shape}; give one loss for each step."
            )
        step, loss = _cleaned(self.name, step, loss, notes)
        if step[0] < 0 or step[-1] > len(lr):
            raise DataError(
                f"{self.name}: losses were logged at steps {step[0]} to {step[-1]}, but lr has {len(lr)} steps; give the rate "
                "of every step from 0 on, and steps, not epochs or tokens."
            )
        held = {"lr": lr, "share": share, "step": step, "loss": loss}
        for array in held.values():
            if array is not None:
                array.flags.writeable = False
        for name, value in (held | {"notes": tuple(notes)}).items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, plan: Plan, horizon: Horizon | int, step: Any, loss: Any, *, name: str = "run") -> Run:
        """Return the run of a ``plan`` over ``horizon``, its decay included, that logged ``loss`` after ``step`` steps.

        >>> from dwindle.decay import Decoupled
        >>> Run.of(Plan(0.5, decay=Decoupled(0.1)), 8, [2, 4, 6, 8], [4.0, 3.5, 3.3, 3.2]).share[:2]
        array([0.05, 0.05])
        """
        lr, share = course(as_plan(plan), horizon)
        return cls(lr, step, loss, name, share)

    @classmethod
    def logged(cls, step: Any, lr: Any, loss: Any, *, warmup: int | None = None, name: str = "run") -> Run:
        """Return the run of a log that has the learning rate only where it has a loss: between two points it is a line.

        ``lr`` [n] at the steps ``step`` [n], nan where it was not logged, and ``loss`` [n] the same. Before the first point the
        rate is that point's, but rises from 0 over the first ``warmup`` steps; after the last it stays. Unless ``warmup`` is
        given, a rate that rises over the first three points lies before them on the line through the first two, down to 0,
        and ``notes`` say so. A rate that jumps between two points is a slope here: where that matters give every rate, as a plan
        has them: ``Run(plan.lrs(steps), step, loss)``.

        >>> run = Run.logged([100, 200, 300, 400], [0.5, 0.5, 0.25, 0.0], [3.0, 2.5, 2.2, 2.1], warmup=50)
        >>> run.lr[[0, 25, 60, 250]].tolist()
        [0.0, 0.25, 0.5, 0.375]
        >>> Run.logged([100, 200, 300, 400], [0.1, 0.2, 0.3, 0.3], [3.0, 2.5, 2.2, 2.1]).lr[[0, 20, 100]].round(6).tolist()
        [0.0, 0.02, 0.1]
        """
        arrays = (("step", step), ("lr", lr), ("loss", loss))
        steps, given, losses = (np.atleast_1d(float64(f"{name}: {what}", array)) for what, array in arrays)
        if not steps.shape == given.shape == losses.shape:
            raise InvalidValueError(
                f"{name}: {len(steps)} steps, {len(given)} learning rates, {len(losses)} losses; give one of each for a point, "
                "nan where one was not logged."
            )
        points, logged = rates_in(steps, given)
        if not len(points) or points[0] < 0:
            raise DataError(f"{name}: no point has both a step, not negative, and a learning rate.")
        last = float(steps[np.isfinite(steps)].max())
        if last > LONGEST:
            raise DataError(
                f"{name}: the steps go to {last:g}; a run has at most {LONGEST:g} here. Are these examples or tokens? Give "
                "optimiser steps."
            )
        every = np.arange(int(last) + 1, dtype=np.float64)
        rates, notes = np.interp(every, points, logged), list[str]()
        if warmup is None:
            notes += _begin(rates, every, points, logged)
        elif rise := min(count("warmup", warmup, low=0), int(points[0])):
            rates[:rise] *= every[:rise] / rise
        there = ~np.isnan(losses)
        run = cls(rates, steps[there], losses[there], name)
        object.__setattr__(run, "notes", (*notes, *run.notes))
        return run

    def __repr__(self) -> str:
        return f"Run({self.name!r}, {len(self.lr)} steps, peak {self.peak:g}, {len(self.step)} points)"

    @property
    def course(self) -> Course:
        """What every step was set to."""
        return Course(self.lr, self.share)

    @property
    def pace(self) -> float | None:
        """Σ share / Σ lr, the λ of decoupled decay that takes as much; None where no share is known.

        >>> lr = np.full(1000, 3e-4)
        >>> round(Run(lr, [200, 400, 800, 1000], [4.0, 3.5, 3.3, 3.2], share=0.1 * lr).pace, 12)
        0.1
        """
        return pace(self.course)

    @property
    def peak(self) -> float:
        """The largest learning rate."""
        return float(self.lr.max())

    @property
    def noise(self) -> float:
        """How far a point lies from the line between its neighbours, as a standard deviation."""
        if len(self.step) < 5:
            return 0.0
        left, middle, right = self.step[:-2], self.step[1:-1], self.step[2:]
        part = (middle - left) / (right - left)
        off = self.loss[1:-1] - (1.0 - part) * self.loss[:-2] - part * self.loss[2:]
        return float(1.4826 * np.median(np.abs(off) / np.sqrt(1.0 + (1.0 - part) ** 2 + part**2)))


def rates_in(steps: Any, lr: Any) -> tuple[Any, Any]:
    """Return the steps of a log that have a rate, in order, and the rate that was logged last at each.

    >>> rates_in(np.array([100, 200, 100]), np.array([0.5, 0.4, 0.2]))[1].tolist()
    [0.2, 0.4]
    """
    known = np.isfinite(steps) & np.isfinite(lr)
    points, last = np.unique(steps[known][::-1], return_index=True)
    return points, lr[known][::-1][last]


def _begin(rates: Any, every: Any, points: Any, logged: Any) -> list[str]:
    """Set the rates before the first point on the line through the first two, where the rate rises from there; say so."""
    if points[0] == 0.0 or len(points) < 3 or not 0.0 < logged[0] < logged[1] < logged[2]:
        return []
    slope = (logged[1] - logged[0]) / (points[1] - points[0])
    early = every < points[0]
    rates[early] = np.maximum(logged[0] - slope * (points[0] - every[early]), 0.0)
    start = max(points[0] - logged[0] / slope, 0.0)
    begun = f"0 at step {start:,.0f}" if rates[0] == 0.0 else f"{rates[0]:.3g} at step 0"
    return [
        f"the rates before step {points[0]:,.0f} are not in the log: the rise of its first points was taken back to {begun}; "
        "give the warm-up if it was another"
    ]


def _cleaned(name: str, steps: Any, loss: Any, notes: list[str]) -> tuple[Any, Any]:
    """Return the points that can be used, in order of their steps."""
    finite = np.isfinite(steps) & np.isfinite(loss)
    huge = finite & (np.abs(loss) > _HUGE)
    for out, what in ((~finite, "not finite"), (huge, f"beyond {_HUGE:g}")):
        if out.any():
            notes.append(f"{_points(int(out.sum()))} {what} and left out")
    steps, loss = steps[finite & ~huge], loss[finite & ~huge]
    if (steps != np.floor(steps)).any():
        raise DataError(
            f"{name}: step {steps[steps != np.floor(steps)][0]:g} is no whole number; give steps, not epochs."
        )
    order = np.argsort(steps, kind="stable")
    if (np.diff(steps) < 0).any():
        notes.append("the points were not in order of their steps; they were sorted")
    steps, loss = steps[order].astype(np.int64), loss[order]
    last = np.append(np.diff(steps) > 0, True) if len(steps) else np.zeros(0, dtype=bool)
    if not last.all():
        _refuse_mixed(name, steps, loss)
        dropped = int((~last).sum())
        notes.append(
            f"{dropped} point{'s' * (dropped > 1)} that repeat{'s' * (dropped == 1)} a step {_was(dropped)} left out; "
            "the later one counts"
        )
        steps, loss = steps[last], loss[last]
    if len(steps) < _FEWEST:
        why = "; ".join(notes) or "Log the loss more often"
        raise DataError(f"{name}: {_points(len(steps))} usable; a curve needs at least {_FEWEST}. {why}.")
    return steps, loss


def _refuse_mixed(name: str, step: Any, loss: Any) -> None:
    """Raise if points of one step are further apart than points of neighbouring steps are, nearly everywhere."""
    same = np.flatnonzero(np.diff(step) == 0)
    if len(same) < 8 or len(same) < 0.2 * len(step):
        return
    apart = np.median(np.abs(loss[same + 1] - loss[same]))
    _, first = np.unique(step, return_index=True)
    beside = np.median(np.abs(np.diff(loss[first])))
    if apart > 4.0 * beside and apart > 0.01 * np.ptp(loss):
        raise DataError(
            f"{name}: {len(same)} steps have several losses, {apart:.3g} apart where neighbouring steps differ by {beside:.3g}; "
            "two runs, or training and validation loss, are mixed. Give each as a Run of its own."
        )


def _points(number: int) -> str:
    return f"{number} point{'s' * (number != 1)} {_was(number)}"


def _was(number: int) -> str:
    return "was" if number == 1 else "were"
