"""The shape of a learning-rate curve: where it peaks, and where it rises again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dwindle.setup import Course, Setup

__all__ = ["Shape", "main_group", "shape_of"]

_QUICKER = 3.0  # times the steepest fall: a steeper rise is a restart


class Shape(NamedTuple):
    """``begins``: the first update known, ``peak_at``: the first within 0.1 % of the highest rate; ``first``, ``peak``,
    ``last``: rates.

    ``rises_at``: the lowest update after a fall from which the rate rises by more than 5 % of the peak, as gently as it fell
    (a jump, or a warm-up that is quick beside the fall, is a restart); None for none. ``rises_to``: the rate it comes to.
    """

    begins: float
    peak_at: float
    first: float
    peak: float
    last: float
    rises_at: float | None
    rises_from: float
    rises_to: float


def main_group(course: Course) -> int:
    """Return the group with the highest rate."""
    return int(np.argmax(np.max(course.lr, axis=1))) if course.lr.size else 0


def shape_of(setup: Setup) -> Shape | None:
    """Return the shape of the group with the highest rate; None where fewer than two points are known."""
    course = setup.course()
    if course.lr.shape[-1] < 2 or not len(course.lr):
        return None
    lr, at = course.lr[main_group(course)], course.at
    peak = float(np.max(lr))
    if not peak > 0.0:
        return None
    top = int(np.argmax(lr >= 0.999 * peak))
    fallen = _first_fall(lr, peak)
    low = np.minimum.accumulate(lr[fallen:])  # the lowest rate since the first fall
    for risen in np.flatnonzero(lr[fallen:] - low > 0.05 * peak)[:1]:
        bottom = fallen + int(np.flatnonzero(lr[fallen : fallen + risen] == low[risen])[-1])
        pace = np.diff(lr) / np.diff(at)
        if low[risen] < 0.95 * np.max(lr[: fallen + 1]) and pace[bottom:].max() <= _QUICKER * -pace[:bottom].min():
            again = float(np.max(lr[bottom:]))
            return Shape(at[0], at[top], float(lr[0]), peak, float(lr[-1]), float(at[bottom]), float(lr[bottom]), again)
    if _past_its_end(setup, at[0]) and lr[:fallen].max(initial=0.0) > lr[0] + 0.05 * peak:
        return Shape(at[0], at[top], float(lr[0]), peak, float(lr[-1]), float(at[0]), float(lr[0]), peak)
    return Shape(at[0], at[top], float(lr[0]), peak, float(lr[-1]), None, 0.0, 0.0)


def _first_fall(lr: object, peak: float) -> int:
    """Return the first index at which the rate is 5 % of the peak below an earlier one."""
    values = np.asarray(lr)
    fallen = np.maximum.accumulate(values) - values > 0.05 * peak
    return int(np.argmax(fallen)) if bool(np.any(fallen)) else len(values) - 1


def _past_its_end(setup: Setup, update: float) -> bool:
    """Return whether the scheduler had come to its own end before ``update``: what rises from there on has fallen before."""
    s = setup.scheduler
    return s is not None and s.length is not None and update * setup.pace().per_update >= s.length
