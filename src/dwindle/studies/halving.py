"""Successive halving: who of a batch goes on at each rung, judged by the validation loss that far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, sequence, shown
from dwindle.population import Seen

__all__ = ["Halving", "Judge"]


@dataclass(frozen=True, slots=True)
class Halving:
    """``rungs`` as (share of the run done, share of the trainings that go on), the shares counted from rung to rung.

    At a rung each group, the trainings of one kind of schedule, keeps ⌈n·Π keep⌉ of its n: those of the lowest validation loss
    (the training loss where there is none). Groups, because a rate that falls early looks good early: a cosine at a quarter
    of its way is not to be compared with a constant.

    The default, half at a quarter and half of those at half of the run, costs 0.52 of full trainings.

    Raises InvalidValueError unless the places rise within (0, 1) and the shares lie in (0, 1).

    >>> Halving().cost
    0.5

    Source: Jamieson & Talwalkar 2016, with the run's length as the resource.
    """

    rungs: tuple[tuple[float, float], ...] = ((0.25, 0.5), (0.5, 0.5))

    def __post_init__(self) -> None:
        try:
            rungs = tuple((float(at), float(keep)) for at, keep in sequence("rungs", self.rungs))
        except (TypeError, ValueError):
            rungs = ((math.nan, math.nan),)
        places = [at for at, _ in rungs]
        if not all(0.0 < value < 1.0 for rung in rungs for value in rung) or sorted(set(places)) != places:
            raise InvalidValueError(
                f"rungs must be pairs (share done, share kept) of numbers between 0 and 1, rising; got {shown(self.rungs)}. "
                "Write ((0.25, 0.5), (0.5, 0.5))."
            )
        object.__setattr__(self, "rungs", rungs)

    @property
    def cost(self) -> float:
        """What a large batch costs, as a share of training all to the end: Σ (length of a stretch)·(share still there)."""
        cost, before, left = 0.0, 0.0, 1.0
        for at, keep in (*self.rungs, (1.0, 1.0)):
            cost, before, left = cost + left * (at - before), at, left * keep
        return cost

    def judge(self, groups: Sequence[str], evaluations: Sequence[int]) -> Judge:
        """Return the judge of trainings in these ``groups``, which are looked at after these numbers of steps.

        A rung is taken at the evaluation next to it, a later one if two are as near; none at the first or the last.
        """
        inner, last = [int(step) for step in evaluations[1:-1]], int(evaluations[-1])
        kept: dict[int, float] = {}
        left = 1.0
        for at, keep in self.rungs:
            left *= keep
            if inner:
                kept[min(inner, key=lambda step: (abs(step - at * last), -step))] = left
        return Judge(tuple(groups), tuple(kept.items()))


@dataclass(frozen=True, slots=True)
class Judge:
    """Who goes: at each of ``kept``, pairs (step, share of a group that goes on), all of a group but the best ⌈share·n⌉."""

    groups: tuple[str, ...]
    kept: tuple[tuple[int, float], ...]

    @property
    def steps(self) -> list[int]:
        """When to ask."""
        return [step for step, _ in self.kept]

    def __call__(self, seen: Seen) -> NDArray[np.bool_]:
        """Return which of the members to let go, (K,)."""
        share = dict(self.kept)[int(seen.step[-1])]
        loss = seen.validation_loss[:, -1]
        loss = np.where(np.isnan(loss), seen.train_loss[:, -1], loss)
        goes = np.zeros(len(loss), bool)
        groups = np.array(self.groups)
        for group in dict.fromkeys(self.groups):
            own = groups == group
            running = np.flatnonzero(own & seen.running)
            places = math.ceil(share * int(own.sum()))
            goes[running[np.argsort(loss[running], kind="stable")[places:]]] = True
        return goes
