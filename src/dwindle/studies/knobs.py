"""One knob of a sweep at a time: the best loss at each of its values, and which of these noise alone could explain."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from dwindle.studies.seed_noise import FEWEST, Noise

__all__ = ["ALIKE", "MATTERS", "UNKNOWN", "Knob", "Tried", "Value", "edge", "knob", "labels"]

MATTERS, ALIKE, UNKNOWN = "matters", "does not matter here", "cannot be told"
LEVEL = 0.95
COARSE = 0.10  # noise that hides a tenth of the loss hides too much to call anything alike

_MOST, _BINS = 6, 4
_DRAWS = 10_000
_REACH = 4.0  # trainings this many sd above the best of a value may well have been its best


class Tried(NamedTuple):
    """One training of the sweep: a value of the knob, all its other coordinates, its loss at the end, what became of it."""

    value: str
    others: Hashable
    loss: float | None  # None if it diverged or was let go
    let_go: bool = False


class Value(NamedTuple):
    """A value of a knob: the ``best`` loss there, what it ``costs`` beside the best of all, and how much noise could do."""

    value: str
    best: float | None
    costs: float | None
    limit: float
    trials: int
    diverged: int
    let_go: int

    @property
    def within(self) -> bool:
        """Whether noise alone could explain what it costs."""
        return self.costs is not None and self.costs <= self.limit


@dataclass(frozen=True, slots=True)
class Knob:
    """What a sweep says of one knob: a verdict, and its values in their order; ``confounded`` if the other knobs decide."""

    verdict: str
    values: tuple[Value, ...]
    confounded: bool = False

    @property
    def best(self) -> Value:
        """The value with the lowest loss."""
        return min((v for v in self.values if v.best is not None), key=lambda v: v.best or 0.0)


def knob(trials: Sequence[Tried], noise: Noise | None) -> Knob | None:
    """Return what the trainings say of a knob; None if fewer than two of its values were tried or none came to an end.

    Of each value v the lowest loss M_v counts, everything else being free; it costs M_v - min M. A minimum over trainings is
    biased downwards, the more the more there are. So the limit of what noise alone could do is simulated: the
    1 - 0.05/V quantile (Bonferroni, V values) of m_v - min m in units of the estimated noise, under whichever is larger of

    - each value has n_v equals: m_v is the lowest of n_v normal numbers, n_v those within 4 sd of M_v and those let go;
    - each value has one good training: m_v is one normal number.

    Hence, if the knob does nothing, all its values are within their limits in at least 95 % of studies.
    Where the values were not tried in the same surroundings (a random search), the other knobs may make one look bad: it
    must then also stand out among 1 - 0.05/V of random exchanges of the values between trainings, or the verdict is 'cannot
    be told'. That it is as well if the noise is unknown, or hides more than a tenth of the loss.
    """
    groups: dict[str, list[Tried]] = {}
    for trial in trials:
        groups.setdefault(trial.value, []).append(trial)
    losses = {value: np.array([t.loss for t in own if t.loss is not None]) for value, own in groups.items()}
    ended = {value: own for value, own in losses.items() if len(own)}
    if len(groups) < 2 or not ended:
        return None
    lowest = min(float(own.min()) for own in ended.values())
    limits = dict.fromkeys(ended, 0.0)
    if noise is not None:
        rivals = [
            int((own <= own.min() + _REACH * noise.sd).sum()) + sum(t.let_go for t in groups[value])
            for value, own in ended.items()
        ]
        limits = dict(zip(ended, noise.sd * _limits(tuple(rivals), noise.df), strict=True))
    values = tuple(
        _value(value, own, ended.get(value), lowest, limits.get(value, 0.0)) for value, own in groups.items()
    )
    return Knob(*_verdict(values, trials, ended, noise, lowest))


def _value(value: str, own: Sequence[Tried], losses: NDArray[Any] | None, lowest: float, limit: float) -> Value:
    best = None if losses is None else float(losses.min())
    gone = sum(t.loss is None and not t.let_go for t in own)
    costs = None if best is None else best - lowest
    return Value(value, best, costs, float(limit), len(own), gone, sum(t.let_go for t in own))


def _verdict(
    values: tuple[Value, ...],
    trials: Sequence[Tried],
    ended: Mapping[str, NDArray[Any]],
    noise: Noise | None,
    lowest: float,
) -> tuple[str, tuple[Value, ...], bool]:
    if any(v.diverged == v.trials > 1 for v in values):
        return MATTERS, values, False
    if noise is None or noise.df < FEWEST or len(ended) < 2:
        return UNKNOWN, values, False
    outside = [v for v in values if v.costs is not None and not v.within]
    if not outside:
        coarse = max(v.limit for v in values) > COARSE * abs(lowest)
        return UNKNOWN if coarse else ALIKE, values, False
    if not _same_surroundings(trials):
        chance = dict(zip(ended, _exchanged(list(ended.values())), strict=True))
        if not any(v.costs is not None and v.costs > chance[v.value] for v in outside):
            return UNKNOWN, values, True
    return MATTERS, values, False


@lru_cache(maxsize=256)
def _limits(rivals: tuple[int, ...], df: int) -> NDArray[np.float64]:
    """Return what noise alone could do at each value, in units of its estimate with ``df`` degrees of freedom."""
    rng, n = np.random.default_rng(0), len(rivals)
    u = rng.random((_DRAWS, n))
    estimated = np.sqrt(rng.chisquare(df, (_DRAWS, 1)) / df)
    equals, single = ndtri(-np.expm1(np.log1p(-u) / np.array(rivals))), ndtri(u)
    quantiles = [_quantile((z - z.min(axis=1, keepdims=True)) / estimated) for z in (equals, single)]
    return np.maximum(*quantiles)


def _exchanged(groups: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Return what each group's minimum costs where losses fall to the groups by chance."""
    rng, starts = np.random.default_rng(0), np.cumsum([0, *map(len, groups)])[:-1]
    losses = np.concatenate(groups)
    draws = min(_DRAWS // 5, max(500, 2_000_000 // len(losses)))
    lows = np.minimum.reduceat(rng.permuted(np.tile(losses, (draws, 1)), axis=1), starts, axis=1)
    return _quantile(lows - lows.min(axis=1, keepdims=True))


def _quantile(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.quantile(costs, 1 - (1 - LEVEL) / costs.shape[1], axis=0)
    return found


def _same_surroundings(trials: Sequence[Tried]) -> bool:
    found: dict[str, set[Hashable]] = {}
    for trial in trials:
        found.setdefault(trial.value, set()).add(trial.others)
    first, *rest = found.values()
    return all(other == first for other in rest)


def labels(values: Sequence[Any]) -> Callable[[Any], str]:
    """Return what names a value of a knob in words: itself while there are at most six, else its bin (0 stands alone).

    Bins are a quarter of the range each, of its logarithm where that spans a decade; a bin is named by what lies in it.

    >>> name = labels([0.001, 0.003, 0.01])
    >>> name(0.003)
    '0.003'
    >>> name = labels([0.0, *(10 ** (i / 5) for i in range(16))])
    >>> name(0.0), name(2.0), name(900.0)
    ('0', '1 to 4', '250 to 1000')
    """
    tried = sorted(set(values))
    if len(tried) <= _MOST or isinstance(tried[0], str):
        return lambda value: value if isinstance(value, str) else f"{value:g}"
    inner = [v for v in tried if v != 0]
    on = math.log if inner[0] > 0 and inner[-1] >= 10 * inner[0] else float
    low, width = on(inner[0]), (on(inner[-1]) - on(inner[0])) / _BINS

    def place(value: float) -> int:
        return min(int((on(value) - low) / width), _BINS - 1)

    held: dict[int, list[float]] = {}
    for value in inner:
        held.setdefault(place(value), []).append(value)
    names = {p: _span(own[0], own[-1]) for p, own in held.items()}
    return lambda value: "0" if value == 0 else names[place(value)]


def _span(low: float, high: float) -> str:
    ends = [f"{float(f'{end:.2g}'):g}" for end in (low, high)]
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def edge(value: float, tried: Sequence[float]) -> tuple[str, float] | None:
    """Return ("largest" or "smallest", where to look beyond) if ``value`` lies at an end of what was tried, else None.

    An end is its last twentieth, in the logarithm where all are positive. 0 is no end: nothing lies beyond.

    >>> edge(10.0, [0.0, 0.3, 1.0, 3.0, 10.0]), edge(0.3, [0.0, 0.3, 1.0]), edge(0.001, [0.001, 0.01])
    (('largest', 30.0), None, ('smallest', 0.0001))
    """
    values = sorted(set(tried))
    if len(values) < 2 or value == 0:
        return None
    positive = [v for v in values if v > 0]
    logs = len(positive) > 1 and positive[-1] >= 3 * positive[0]
    inner = positive if logs else values
    on, back = (math.log, math.exp) if logs else (float, float)
    low, high = on(inner[0]), on(inner[-1])
    step = min(max((high - low) / (len(inner) - 1), (high - low) / 4), math.log(10) if logs else math.inf)
    if on(value) >= high - (high - low) / 20:
        return "largest", float(f"{back(high + step):.1g}" if logs else f"{high + step:.2g}")
    if on(value) > low + (high - low) / 20 or 0 in values or (not logs and low - step < 0 <= low):
        return None
    return "smallest", float(f"{back(low - step):.1g}" if logs else f"{low - step:.2g}")
