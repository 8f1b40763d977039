"""Does a metric still fall? Tells falling, flat, oscillating and merely noisy apart, by tests with stated error rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.arrays import row
from dwindle.errors import InvalidValueError, real, sequence

__all__ = ["KINDS", "SHORTEST", "Verdict", "verdict"]

Array = npt.NDArray[np.float64]

KINDS = ("falling", "flat", "noisy", "oscillating", "rising", "too short")
SHORTEST = 10  # fewer metrics than this are "too short": there a perfect rattle may still be chance
_MOST_PAIRED = 512  # a longer series is averaged in blocks before its slope is taken: pairs grow as n²
_STEPWISE = 0.1  # the share of ``level`` that the difference-sign test gets
_RHYTHMIC = 0.1  # the share of ``level`` that the test for an oscillation gets: a true one is far below it
_MAD = 1.4826  # median absolute value to standard deviation, for Gaussian noise
_ROUNDING = 8 * float(np.finfo(np.float64).eps)  # differences this small, against the largest metric, are no evidence
_DEGREE = 2  # of the polynomial taken out before noise and rhythm are looked at


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a series of metrics does, and the evidence.

    ``slope`` and its interval are per observation; ``period`` is in observations, ``amplitude`` half the swing from low to
    high (both None unless oscillating); ``noise`` is the standard deviation of what is left.
    ``p_values``: "trend" (no trend) and "oscillation" (no rhythm).
    """

    kind: str
    slope: float = math.nan
    slope_interval: tuple[float, float] = (-math.inf, math.inf)
    period: float | None = None
    amplitude: float | None = None
    noise: float = math.nan
    p_values: dict[str, float] = field(default_factory=dict, hash=False)


def verdict(metrics: Iterable[Any], *, level: float = 0.05, margin: float = 1.0) -> Verdict:
    """Return what ``metrics`` (n of them, in order; lower is better) do. The first of these that holds::

        too short    n < 10
        falling      p_trend <= level, downwards
        oscillating  p_oscillation <= level/10
        rising       p_trend <= level, upwards
        flat         low·(n - 1) >= -margin·noise, low the lower end of the slope's interval: shown not to fall by more
                     than ``margin`` standard deviations of the noise within these metrics
        noisy        none of these: it may fall or stand still, the noise hides which; look longer

    So a series that falls by more than the margin is called flat with probability level/2 at most, oscillating level/10;
    one that stands still is called falling with level/2. Assumption: the noise is white, or autocorrelated as AR(1) with r >= 0.
    Of other noise a little more is taken for a rhythm: of still logs smoothed by running means of 3 to 10 points, 2 to 5 in
    100 are called oscillating at level 0.05 (measured, n = 200).

    *Trend.* slope = median of (y_j - y_i)/(j - i) over i < j (Theil 1950; Sen 1968), its interval from the ranks
    (N ∓ C)/2 of these N slopes, C = t·sd(S) + 1, S = Σ sign(y_j - y_i), Var S = [n(n-1)(2n+5) - Σ_ties u(u-1)(2u+5)]/18
    (Mann 1945, Kendall). Autocorrelated noise counts for less: Var S is multiplied by n/n_e, n_e = n(1-r)/(1+r), and t has
    n_e - 2 degrees of freedom (Santer et al. 2000, eqs 4-6), r = lag-1 autocorrelation about a parabola, made up for its
    bias, never below 0. A smooth curve leaves r near 1; a second test takes a tenth of the level and catches it: the number
    of falls y_{i+1} < y_i, binomial(n - 1, ½) for a random walk and narrower for stationary noise (difference-sign test,
    Brockwell & Davis 1991, §1.6). p_trend = min(p_S/0.9, p_sign/0.1); the interval is that of the test which rejects.

    *Oscillation.* On the residuals about a parabola, spikes cut to 2.5 deviations (Huber 1981) so that none makes or hides
    a rhythm: lag-1 autocorrelation below chance, by the beta approximation with the exact first two moments (Durbin &
    Watson 1951), for periods below 4 (the rattle between two values has 2); and the largest periodogram ordinate of three
    cycles or more after AR(1) whitening, p = m(1 - g)^(m-1), g its share of the m ordinates (Fisher 1929), for longer
    ones. p_oscillation = 2·min of both.

    More than 512 metrics are averaged in blocks for the trend; the interval covers the slope with 1 - level.

    Raises InvalidValueError for a metric that is not finite, and for ``level`` or ``margin`` out of range.

    >>> verdict([0.9, 0.8, 0.71, 0.63, 0.56, 0.5, 0.45, 0.41, 0.38, 0.35]).kind, verdict([0.5, 0.42] * 6).kind
    ('falling', 'oscillating')
    >>> rattle = verdict([0.50, 0.42] * 6)
    >>> rattle.period, round(rattle.amplitude, 12)
    (2.0, 0.04)
    """
    level = real("level", level, low=1e-12, below=0.5)
    margin = real("margin", margin, above=0.0)
    y = _series(metrics)
    n = len(y)
    if n < SHORTEST:
        return Verdict("too short")
    top = float(np.abs(y).max()) or 1.0
    span = float(np.ptp(y / top))
    if span <= _ROUNDING:
        return Verdict("flat", 0.0, (0.0, 0.0), None, None, 0.0, {"trend": 1.0, "oscillation": 1.0})
    spread = span * top
    y = (y / top - np.median(y / top)) / span
    trend = _trend(y, level)
    smooth = _polynomials(n)
    rest = _residual(y, smooth, _ROUNDING / span)
    p_values = {"trend": trend.p, "oscillation": _p_oscillation(rest, smooth)}
    period = amplitude = None
    noise = _noise(rest, _DEGREE + 1)
    if trend.p <= level and trend.sign < 0:
        kind = "falling"
    elif p_values["oscillation"] <= level * _RHYTHMIC:
        kind = "oscillating"
        period, swing, noise = _rhythm(rest, smooth)
        amplitude = swing * spread
    elif trend.p <= level:
        kind = "rising"
    else:
        kind = "flat" if trend.interval[0] * (n - 1) >= -margin * noise else "noisy"
    interval = (trend.interval[0] * spread, trend.interval[1] * spread)
    return Verdict(kind, trend.slope * spread, interval, period, amplitude, noise * spread, p_values)


class _Trend(NamedTuple):
    slope: float
    interval: tuple[float, float]
    sign: float
    p: float


def _series(metrics: Iterable[Any]) -> Array:
    y = row("metrics", metrics if isinstance(metrics, np.ndarray) else sequence("metrics", metrics))
    if not np.isfinite(y).all():
        where = int(np.flatnonzero(~np.isfinite(y))[0])
        raise InvalidValueError(f"metric {where} is {y[where]}; a verdict needs finite metrics, leave that part out.")
    return y


def _polynomials(n: int) -> Array:
    """Return an orthonormal basis, n x 3, of the parabolas over n equidistant points."""
    return np.linalg.qr(np.vander(np.linspace(-1.0, 1.0, n), _DEGREE + 1, increasing=True))[0]


def _residual(y: Array, smooth: Array, rounding: float) -> Array:
    """Return y less its parabola, spikes cut to 2.5 deviations (Huber's fit, four rounds); 0 if that is all rounding."""
    rest: Array = y - smooth @ (smooth.T @ y)
    if np.abs(rest).max() <= rounding + 1e-13:
        return np.zeros_like(rest)
    for _ in range(4):
        bound = 2.5 * _MAD * float(np.median(np.abs(rest)))
        beyond = rest - np.clip(rest, -bound, bound)
        if bound == 0.0 or not beyond.any():
            break
        y = y - beyond
        rest = y - smooth @ (smooth.T @ y)
    return rest


def _noise(rest: Array, fitted: int) -> float:
    """Return the standard deviation, or 1.4826 times the median absolute residual if spikes make that smaller."""
    plain = math.sqrt(float(rest @ rest) / (len(rest) - fitted))
    return min(plain, _MAD * float(np.median(np.abs(rest))))


def _trend(y: Array, level: float) -> _Trend:
    from scipy.special import stdtr, stdtrit

    block = -(-len(y) // _MOST_PAIRED)
    y = y[len(y) % block :].reshape(-1, block).mean(axis=1)
    n = len(y)
    i, j = np.triu_indices(n, 1)
    rises = y[j] - y[i]
    slopes = np.sort(rises / (j - i))
    score = float(np.sign(rises).sum())
    ties = np.unique(y, return_counts=True)[1]
    if len(ties) == 1:  # what differs is not in the blocks
        return _Trend(0.0, (0.0, 0.0), 0.0, 1.0)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    effective = _effective_size(y)
    deviation = math.sqrt(variance * n / effective)
    freedom = max(effective - 2.0, 1.0)
    p_score = 2.0 * float(stdtr(freedom, -max(abs(score) - 1.0, 0.0) / deviation))
    reach = -float(stdtrit(freedom, level * (1 - _STEPWISE) / 2)) * deviation + 1.0
    steps = np.sort(np.diff(y))
    p_steps, depth = _difference_signs(steps, level * _STEPWISE)
    interval = _between(slopes, len(slopes) - math.ceil((len(slopes) + reach) / 2))
    if p_score > level * (1 - _STEPWISE) and p_steps <= level * _STEPWISE:
        interval, score = _between(steps, depth), float(np.sign(steps).sum())
    p = min(1.0, p_score / (1 - _STEPWISE), p_steps / _STEPWISE)
    return _Trend(float(np.median(slopes)) / block, (interval[0] / block, interval[1] / block), score, p)


def _between(ordered: Array, depth: int) -> tuple[float, float]:
    """Return the values ``depth`` places from either end; the ends themselves if there are not so many."""
    depth = max(depth, 0)
    return float(ordered[depth]), float(ordered[-1 - depth])


def _effective_size(y: Array) -> float:
    """Return n(1-r)/(1+r), r about a parabola."""
    n = len(y)
    smooth = _polynomials(n)
    rest = _residual(y, smooth, 0.0)
    if not rest.any():
        return float(n)
    r = min(max(_lag_one(rest), 0.0), 0.95)
    return n * (1 - r) / (1 + r)


def _lag_one(rest: Array) -> float:
    """Return the lag-1 autocorrelation; E[r̂] ≈ r - (3 + 5r)/n about a parabola (after Kendall 1954) is undone."""
    n = len(rest)
    return (n * float(rest[1:] @ rest[:-1]) / float(rest @ rest) + 3.0) / (n - 5.0)


def _difference_signs(steps: Array, level: float) -> tuple[float, int]:
    """Return the two-sided binomial p-value of the signs, and the depth of the median step's interval at ``level``."""
    from scipy.special import bdtr

    falls, rises = int((steps < 0).sum()), int((steps > 0).sum())
    p = min(1.0, 2.0 * float(bdtr(min(falls, rises), falls + rises, 0.5))) if falls + rises else 1.0
    tails = 2.0 * bdtr(np.arange(len(steps) // 2 + 1, dtype=np.float64), len(steps), 0.5)
    return p, int((tails <= level).sum()) - 1


def _p_oscillation(rest: Array, smooth: Array) -> float:
    if not rest.any():
        return 1.0
    return min(1.0, 2.0 * min(_p_alternation(rest, smooth), _p_cycle(rest)))


def _p_alternation(rest: Array, smooth: Array) -> float:
    """Return P(lag-1 autocorrelation <= the one found) for white noise.

    r = e'Be/e'e, B the matrix with ½ beside the diagonal, e = Me, M = I - QQ'. With v = n - k:
    E r = tr(MB)/v, Var r = 2[v·tr((MB)²) - tr(MB)²]/(v²(v + 2)); (1 + r)/2 is taken to be beta with these moments.
    """
    from scipy.special import betainc

    n, k = smooth.shape
    beside = np.zeros_like(smooth)
    beside[:-1] += smooth[1:] / 2
    beside[1:] += smooth[:-1] / 2
    inner = smooth.T @ beside
    trace = -float(np.trace(inner))
    square = (n - 1) / 2 - 2 * float((beside * beside).sum()) + float((inner * inner.T).sum())
    v = n - k
    mean = (1 + trace / v) / 2
    variance = (v * square - trace * trace) / (2 * v * v * (v + 2))
    shape = mean * (1 - mean) / variance - 1
    r = float(rest[1:] @ rest[:-1]) / float(rest @ rest)
    return float(betainc(mean * shape, (1 - mean) * shape, min(max((1 + r) / 2, 0.0), 1.0)))


def _p_cycle(rest: Array) -> float:
    """Return Fisher's p for the largest ordinate of the whitened residuals, k cycles.

    It is 1 if the spectrum only falls (k = 2 is the largest) or if the residuals cross zero far less than 2k times: smooth
    curves that no parabola fits look like that, and they are no rhythm.
    """
    n = len(rest)
    r = min(max(_lag_one(rest), 0.0), 0.98)
    white = rest[1:] - r * rest[:-1]
    ordinates = np.abs(np.fft.rfft(white - white.mean())[: n // 2]) ** 2  # below the Nyquist frequency
    if len(ordinates) < 6:
        return 1.0
    k = 2 + int(np.argmax(ordinates[2:]))
    crossings = int((rest[1:] * rest[:-1] < 0).sum())
    if k < 3 or 3 * crossings < 4 * k:
        return 1.0
    m = len(ordinates) - 3
    return min(1.0, m * (1 - float(ordinates[k] / ordinates[3:].sum())) ** (m - 1))


def _rhythm(rest: Array, smooth: Array) -> tuple[float, float, float]:
    """Return (period, amplitude, noise) of the strongest sinusoid of three cycles or more, beside a parabola."""
    n = len(rest)
    power = np.abs(np.fft.rfft(rest, 16 * n))
    power[: 3 * 16] = 0.0
    frequency = int(np.argmax(power)) / (16 * n)
    angle = 2 * np.pi * frequency * np.arange(n)
    waves = [np.cos(angle)] if frequency == 0.5 else [np.cos(angle), np.sin(angle)]
    basis = np.column_stack([*waves, smooth])
    parts = np.linalg.lstsq(basis, rest, rcond=None)[0]
    return 1 / frequency, float(np.hypot.reduce(parts[: len(waves)])), _noise(rest - basis @ parts, basis.shape[1])
