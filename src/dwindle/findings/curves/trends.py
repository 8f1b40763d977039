"""What a noisy line does over a stretch: how far it fell, its level, its noise, each with what the log leaves uncertain.

Trends and rhythms are those of `dwindle.schedule.stagnation.verdict`, whose error rates are stated there.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dwindle.schedule.stagnation import SHORTEST, verdict

__all__ = ["Fall", "Level", "Line", "change_point", "fall", "level", "noise_of", "octave"]

_MAD = 1.4826  # median absolute deviation to standard deviation, for Gaussian noise


class Line(NamedTuple):
    """Finite ``value`` [n] after ``step`` [n], each step once and in order."""

    step: Any
    value: Any

    def between(self, first: float, last: float) -> Line:
        """Return the points with first <= step <= last."""
        inside = (self.step >= first) & (self.step <= last)
        return Line(self.step[inside], self.value[inside])

    @property
    def size(self) -> int:
        return len(self.step)


class Fall(NamedTuple):
    """How far a line fell over a stretch of n points: ``drop`` with its 90 % interval ``low`` … ``high``; ``p`` of no trend.

    ``sign`` is -1 for a line that falls, 1 for one that rises, 0 for neither.
    """

    drop: float
    low: float
    high: float
    p: float
    sign: int
    n: int


class Level(NamedTuple):
    """The ``mean`` of n points and its standard error ``error``, where neighbours may hang together."""

    mean: float
    error: float
    n: int


def fall(line: Line) -> Fall | None:
    """Return how far the line fell from its first point to its last; None if it has fewer than 10 points.

    drop = -slope·(n - 1), slope and interval by Theil and Sen, for noise that hangs together; points count as even.

    >>> found = fall(Line(np.arange(12.0), 2.0 - 0.1 * np.arange(12.0)))
    >>> round(found.drop, 9), found.sign
    (1.1, -1)
    """
    if line.size < SHORTEST:
        return None
    found = verdict(line.value, level=0.1)
    width = line.size - 1
    low, high = -found.slope_interval[1] * width, -found.slope_interval[0] * width
    p = found.p_values["trend"]
    sign = 0 if p > 0.1 else -1 if low > 0.0 else 1 if high < 0.0 else 0
    return Fall(-found.slope * width, low, high, p, sign, line.size)


def octave(line: Line, begin: float, fewest: int = 5) -> tuple[float, float] | None:
    """Return how much the line falls per doubling of the steps since ``begin``, and the standard error of that.

    value = a - drop·log2(step - begin) by least squares, the error for noise that hangs together. None of under ``fewest``
    points, of one at ``begin`` or of steps that are all the same.

    >>> octave(Line(2.0 ** np.arange(6), 3.0 - np.arange(6)), 0.0)[0]
    1.0
    """
    if line.size < max(fewest, 3) or line.step[0] <= begin or line.step[-1] <= line.step[0]:
        return None
    x = np.log2(line.step - begin)
    x = x - x.mean()
    y = line.value - line.value.mean()
    slope = float(x @ y / (x @ x))
    rest = y - slope * x
    total = float(rest @ rest)
    r = min(max(float(rest[1:] @ rest[:-1]) / total, 0.0), 0.9) if total > 0.0 else 0.0
    return -slope, math.sqrt(total / (line.size - 2) / float(x @ x) * (1.0 + r) / (1.0 - r))


def level(value: Any) -> Level:
    """Return the mean of ``value`` [n] and its standard error, from the spread of the means of up to ten blocks of neighbours.

    Of fewer than four points the error is infinite: nothing is known of their noise.
    """
    n = len(value)
    if n < 4:
        return Level(float(np.mean(value)) if n else math.nan, math.inf, n)
    blocks = [float(part.mean()) for part in np.array_split(value, min(n, 10))]
    return Level(float(np.mean(value)), float(np.std(blocks, ddof=1) / math.sqrt(len(blocks))), n)


def noise_of(value: Any) -> float:
    """Return how far points lie from the line between their neighbours, as a standard deviation; robust, 0 of under 5.

    >>> noise_of(np.arange(9.0))
    0.0
    """
    if len(value) < 5:
        return 0.0
    off = value[1:-1] - (value[:-2] + value[2:]) / 2.0
    return float(_MAD * np.median(np.abs(off)) / math.sqrt(1.5))


def smooth(value: Any, width: int) -> Any:
    """Return the running median [n] of ``width`` neighbours, fewer at the ends."""
    half = max(width // 2, 0)
    return np.array([np.median(value[max(i - half, 0) : i + half + 1]) for i in range(len(value))])


def change_point(step: Any, value: Any) -> tuple[float, tuple[float, float]]:
    """Return the step from which ``value`` rises, and its 95 % interval: level before, a line after, by least squares.

    The interval holds the steps whose sum of squares is below the least times 1 + F/(n_e - 3), F of χ²_1 at 95 % (profile
    likelihood), n_e the points as the residuals' autocorrelation leaves them.

    >>> where, _ = change_point(np.arange(40.0), np.maximum(0.0, np.arange(40.0) - 15.0))
    >>> where
    15.0
    """
    size = float(np.abs(value).max())
    if not size < 1e100:  # its squares would not be finite
        value = value / size if math.isfinite(size) else np.zeros(len(value))
    candidates = step[2:-2] if len(step) > 8 else step
    if len(candidates) > 200:
        candidates = candidates[np.linspace(0, len(candidates) - 1, 200).astype(int)]
    sums = np.array([_hinge(step, value, at)[0] for at in candidates])
    best = int(np.argmin(sums))
    rest = _hinge(step, value, candidates[best])[1]
    total = float(rest @ rest)
    r = min(max(float(rest[1:] @ rest[:-1]) / total, 0.0), 0.95) if total > 0.0 else 0.0
    n = max(len(step) * (1.0 - r) / (1.0 + r), 5.0)
    inside = candidates[sums <= sums[best] * (1.0 + 3.84 / (n - 3.0)) + 1e-300]
    return float(candidates[best]), (float(inside.min()), float(inside.max()))


def _hinge(step: Any, value: Any, at: float) -> tuple[float, Any]:
    x = np.maximum(step - at, 0.0)
    x = x - x.mean()
    y = value - value.mean()
    scale = float(x @ x)
    rest = y - (max(float(x @ y), 0.0) / scale if scale > 0.0 else 0.0) * x
    return float(rest @ rest), rest
