"""What the guessers of recipes share: the warm-up told apart from the rest, whole steps, numbers without rounding dust."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from dwindle.schedule import Constant, Join, Ramp, Repeat, Schedule
from dwindle.units import number_of_steps

__all__ = ["Warm", "cycles_in", "following", "neat", "split_off", "whole"]


class Warm(NamedTuple):
    """A schedule as a warm-up and the rest: from ``start`` to ``top`` over ``steps``, by ``shape``; then ``rest``."""

    start: float
    top: float
    steps: int
    shape: str
    rest: Schedule


def split_off(schedule: Schedule) -> Iterator[Warm]:
    """Yield the ways to see ``schedule`` as a warm-up and a rest; first that there is no warm-up.

    >>> from dwindle.schedule import cosine, warmup
    >>> [w.steps for w in split_off(warmup(10).then(cosine(90)))]
    [0, 10]
    """
    yield Warm(0.0, 1.0, 0, "linear", schedule)
    match schedule:
        case Ramp(start=start, end=end, power=1.0, warp=1.0) if start <= end:
            steps = whole(schedule.steps)
            if steps:
                yield Warm(start, end, steps, schedule.shape, Constant(end))
        case Join(pieces=(Ramp(power=1.0, warp=1.0) as ramp, _, *_)):
            steps = whole(schedule.spans[0])
            if steps and ramp.start <= ramp.end:
                yield Warm(ramp.start, ramp.end, steps, ramp.shape, following(schedule))


def following(join: Join) -> Schedule:
    """Return what comes after the first piece of a join of two pieces or more."""
    return join.pieces[1] if len(join.pieces) == 2 else Join(join.pieces[1:], join.lengths[1:])


def whole(time: object) -> int:
    """Return a time in whole steps, 0 where it is none."""
    steps = number_of_steps(time)  # type: ignore[arg-type]
    return int(steps) if steps is not None and steps == int(steps) else 0


def neat(value: float) -> float:
    """Return ``value`` to 15 digits, which drops the last bit that a product of two numbers leaves.

    >>> 0.1 * 3e-4, neat(0.1 * 3e-4)
    (2.9999999999999997e-05, 3e-05)
    """
    return float(f"{value:.15g}")


def cycles_in(repeat: Repeat, steps: float) -> int:
    """Return how many cycles of ``repeat`` begin within ``steps``.

    >>> cycles_in(Repeat(Ramp(steps=10), 10, growth=2), 71)
    4
    """
    every = number_of_steps(repeat.every) or 1.0
    if repeat.cycles is not None:
        return repeat.cycles
    if repeat.growth == 1:
        return max(1, math.ceil(steps / every))
    return max(1, math.ceil(math.log1p(max(steps, 1) * (repeat.growth - 1) / every) / math.log(repeat.growth)))
