"""What the laws read of a schedule: how far a run has travelled at each point, and where its learning rate changed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["Features", "features", "warmup"]

_NODES = 400  # changes of a run that are told apart
_LEAST = 1e-9  # of the peak: what a rate has to change by


class Features(NamedTuple):
    """A schedule seen from n points of a run; learning rates are in units of the run's own peak, sums of them in ``unit`` steps.

    ``peak``: the peak in units of that the law refers to. ``travelled`` [n]: Σ lr over the steps before each point.
    Of each of k changes after the warm-up: ``before`` and ``after`` [k], the rates; ``at`` [k], Σ lr in its middle;
    ``since`` [n, k], Σ lr from there to the point, 0 before it; ``steps_since`` [n, k], the same in steps.
    ``extra`` is what a law reads beside all that.
    """

    peak: float
    travelled: Any
    before: Any
    after: Any
    at: Any
    since: Any
    steps_since: Any
    extra: Any = None


def warmup(lr: Any) -> int:
    """Return the steps until the learning rate, which may stand at 0 first, has risen and first stands or falls."""
    start = max(int(np.argmax(lr > 0.0)) - 1, 0)
    rises = np.diff(lr[start:]) > 0.0
    return 0 if not rises[0] else len(lr) - 1 if rises.all() else start + int(np.argmin(rises))


def features(lr: Any, step: Any, *, unit: float, reference: float) -> Features:
    """Return what the laws read of the schedule ``lr`` [T] at the points ``step`` [n]."""
    peak = lr.max()
    relative = lr / peak
    sums = np.concatenate(([0.0], np.cumsum(relative))) / unit
    first, last = _changes(relative)
    at, when = (sums[first] + sums[last]) / 2.0, (first + last) / 2.0
    since = np.maximum(sums[step][:, None] - at[None, :], 0.0)
    steps_since = np.maximum(step[:, None] - when[None, :], 0.0) / unit
    return Features(peak / reference, sums[step], relative[first - 1], relative[last], at, since, steps_since)


def _changes(relative: Any) -> tuple[Any, Any]:
    """Return the first and last step of each change of the rate: a jump alone, a slope in pieces, no piece both up and down."""
    difference = np.diff(relative)
    falls = np.flatnonzero(difference < -_LEAST)
    begun = falls[0] if len(falls) else len(difference)
    changed = np.flatnonzero(np.abs(difference) > _LEAST)
    changed = changed[changed >= begun]  # what rises before the first fall is warm-up
    if not len(changed):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    breaks = (np.diff(changed) > 1) | (np.diff(np.sign(difference[changed])) != 0)
    slope = np.concatenate(([0], np.cumsum(breaks)))
    place = np.arange(len(changed)) - np.searchsorted(slope, slope)
    piece = -(-len(changed) // _NODES)
    starts = place % piece == 0
    ends = np.append(starts[1:], True)
    return changed[starts] + 1, changed[ends] + 1
