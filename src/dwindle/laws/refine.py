"""A schedule refined by the gradient norms of an earlier run: small rates where gradients are large, warmup by itself."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

import numpy as np

from dwindle.arrays import Array, row
from dwindle.errors import InvalidValueError, count, known, real, shown
from dwindle.schedule import Interpolate

__all__ = ["refine"]

_EXPONENTS = {"sgd": 2, "adam": 1}
_LONGEST = 10**7
_ENOUGH = 1e-5  # of the peak: so near, no further points are taken
_WORST = 0.01  # so far off, the points are refused


def refine(
    norms: Any,
    steps: int | None = None,
    *,
    at: Any = None,
    rule: str = "sgd",
    smooth: float = 0.1,
    points: int = 200,
) -> Interpolate:
    """Return the schedule of ``steps`` updates that a last-iterate bound asks for where gradients are as large as ``norms``::

        f_t = w_t·Σ_{t<p<=N} w_p, scaled to 1 at its highest, t = 0 .. N-1;   f_N = 0        N = steps
        w_t = 1/‖g_t‖²    rule "sgd", norms are l2            w_t = 1/‖g_t‖_1    rule "adam", norms are l1

    ``norms``: float [n], positive, n >= 2; norm i was measured in step i, or in step at[i] of a run of ``steps``, at
    increasing in [0, steps). They are median-filtered as they come, over 2·⌊⌊smooth·n⌋/2⌋ + 1 values, the last ones mirrored
    at the end of the run and the first one held before its start; then joined by lines to every step, held outside and for
    w_N. N updates are N + 1 weights, so that constant norms are linear decay exactly, and large early norms make a warmup.

    The curve is thinned to at most ``points`` points, and is then off by at most 1e-5 of the peak where these suffice and
    never by more than 1%. Raises InvalidValueError for norms too ragged for that, and for norms that are not positive.

    >>> print(refine([3.0] * 50))
    through [0st 50st] factors [1 0]
    >>> warmed = refine([2.0, 1.0, 1.0], steps=400, at=[0, 4, 300], smooth=0.0)
    >>> warmed(0), warmed(4), warmed(202), warmed(400)
    (0.2..., 1.0, 0.5, 0.0)

    Source: Defazio, Cutkosky, Mehta & Mishchenko 2023, arXiv 2310.07831. The filter, its width 0.1 and edges, and 1/‖g‖_1 for
    Adam are those of the authors' published code. Assumption: the norms stay what they were under the new schedule.
    """
    values = _norms(norms)
    places, steps = _places(at, len(values), steps)
    known("rule", rule, _EXPONENTS)
    smooth = real(
        "smooth", smooth, low=0.0, high=1.0, remedy="It is the share of the norms in the filter, such as 0.1."
    )
    points = count("points", points, low=3)
    each = np.interp(np.arange(steps + 1), places, _filtered(values, smooth))
    weights = (each.min() / each) ** _EXPONENTS[rule]
    after = np.cumsum(weights[:0:-1])[::-1]
    factors = np.append(weights[:-1] * after, 0.0)
    knots = _knots(factors / factors.max(), points)
    return Interpolate(tuple(knots), tuple(float(f"{factors[k] / factors.max():.6g}") for k in knots))


def _filtered(values: Array, smooth: float) -> Array:
    width = 2 * (int(smooth * len(values)) // 2) + 1
    if width == 1:
        return values
    from scipy.ndimage import median_filter  # half a second to load

    mirrored = np.pad(values, (0, width), mode="reflect")
    filtered: Array = median_filter(mirrored, size=width, mode="nearest")[: len(values)]
    return filtered


def _knots(factors: Array, most: int) -> list[int]:
    """Return where to put the points of a broken line near ``factors``: again and again where it is farthest off."""
    last = len(factors) - 1
    found = sorted({0, int(np.argmax(factors)), last})
    spans = [_farthest(factors, a, b) for a, b in pairwise(found)]
    heapify(spans)
    while -spans[0][0] > _ENOUGH and len(found) < most:
        _, middle, start, end = heappop(spans)
        found.append(middle)
        heappush(spans, _farthest(factors, start, middle))
        heappush(spans, _farthest(factors, middle, end))
    if -spans[0][0] > _WORST:
        raise InvalidValueError(
            f"a broken line of {most} points is off by {-spans[0][0]:.1%} of the peak: the norms are too ragged. "
            "Give a larger smooth, or more points."
        )
    return sorted(found)


def _farthest(factors: Array, start: int, end: int) -> tuple[float, int, int, int]:
    """Return minus the largest distance from the line between two points, where that is, and the points."""
    inside = np.arange(start, end + 1)
    line = factors[start] + (factors[end] - factors[start]) * ((inside - start) / (end - start))
    off = np.abs(factors[start : end + 1] - line)
    worst = int(np.argmax(off))
    return -float(off[worst]), start + worst, start, end


def _norms(norms: Any) -> Array:
    values = row("norms", norms)
    if len(values) < 2:
        raise InvalidValueError(
            f"norms must be at least two gradient norms of a run; got {len(values)}. For constant norms use linear decay."
        )
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0.0)))
    if len(wrong):
        raise InvalidValueError(
            f"norms must be finite and positive; got {values[wrong[0]]} at index {wrong[0]}, and {len(wrong)} such in all. "
            "Leave out the steps that were skipped, and say with at= which remain."
        )
    return values


def _places(at: Any, measured: int, steps: int | None) -> tuple[Array, int]:
    """Return the step of each norm and the length of the run."""
    if at is None:
        run = measured if steps is None else count("steps", steps)
        if run != measured:
            raise InvalidValueError(
                f"{measured} norms do not say where in a run of {run} steps they were measured; give their steps as at=."
            )
        return np.arange(measured, dtype=np.float64), _short_enough(run)
    if steps is None:
        raise InvalidValueError("at does not say how long the run was; give steps.")
    run, places = _short_enough(count("steps", steps)), row("at", at)
    if len(places) != measured:
        raise InvalidValueError(f"at must have one step for each of the {measured} norms; got {len(places)}.")
    if not (np.all(np.isfinite(places)) and np.all(np.diff(places) > 0.0) and places[0] >= 0.0 and places[-1] < run):
        raise InvalidValueError(f"at must increase from 0 or later to below {run} steps; got {shown(at)}. Sort it.")
    return places, run


def _short_enough(steps: int) -> int:
    if steps > _LONGEST:
        raise InvalidValueError(
            f"at most {_LONGEST} steps are worked out; got {steps}. Refine a shorter run and stretch it."
        )
    return steps
