"""Greedy: raise the rate while the metric improves, lower it while it does not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dwindle.errors import InvalidValueError, count, real
from dwindle.schedule.feedback import (
    FeedbackRule,
    check_best,
    check_kind,
    check_numbers,
    check_patience,
    check_rule,
    check_state,
    is_better,
    lowered,
    put,
    seen,
)

__all__ = ["Greedy", "GreedyState", "observe_together"]


@dataclass(frozen=True, slots=True)
class GreedyState:
    """Where a Greedy stands: the rate, the best metric, good and bad metrics in a row, waits left, smoothing window."""

    step: int
    lr: float
    best: float | None = None
    good: int = 0
    bad: int = 0
    cooldown_left: int = 0
    warmup_left: int = 0
    floor_cuts: int = 0
    window: tuple[float, ...] = ()
    total: float = 0.0

    def __post_init__(self) -> None:
        check_state(self, "good", "bad", "cooldown_left", "warmup_left", "floor_cuts")
        check_best(self)
        check_numbers(self, "window")
        put(self, total=real("total", self.total))


@dataclass(frozen=True, slots=True)
class Greedy(FeedbackRule[GreedyState]):
    """Divide the rate by ``factor`` after a run of better metrics, multiply it by ``factor`` after a run of others.

    After each metric x (the mean of the last ``window`` metrics if ``window`` is given), judged as in Plateau::

        good > patience:  lr <- min(lr / factor, max_lr),   then ``warmup`` metrics are passed over
        bad  > patience:  lr <- max(lr·factor, min_lr),     then ``cooldown`` metrics are passed over

    where good and bad count metrics in a row that were, or were not, better than the best; a change of no more than
    ``eps`` is not made. A cut that leaves the rate at ``min_lr`` is counted; after ``reset_after`` of them with no rise in
    between the rule begins anew, at the peak and without a best (None: never). ``max_lr`` None is the peak itself.
    ``min_lr``, ``max_lr`` and ``eps`` are in units of ``peak`` (see FeedbackRule).
    A metric that is not finite raises by default; nan="ignore" passes over it; nan="worse" counts it as not better and
    keeps it out of the window.

    Raises InvalidValueError for a parameter out of its range or such a metric.

    >>> rule = Greedy(0.5, patience=0, max_lr=4.0)
    >>> rule.factors([3.0, 2.0, 2.0, 2.0, 1.0, 1.0])
    array([1., 2., 4., 2., 1., 2.])

    Source: transformers.optimization.GreedyLR, release 5.23.0, after arXiv:2512.14527. Its sum over the window is kept up
    to date by adding and taking away, and so it is here, for the same bits.
    """

    factor: float = 0.95
    patience: int = 10
    threshold: float = 1e-6
    threshold_mode: str = "abs"
    mode: str = "min"
    cooldown: int = 0
    warmup: int = 0
    min_lr: float = 0.0
    max_lr: float | None = None
    eps: float = 0.0
    window: int | None = None
    reset_after: int | None = 500
    nan: str = "raise"
    peak: float = 1.0

    def __post_init__(self) -> None:
        check_rule(self, ("raise", "ignore", "worse"))
        check_patience(self)
        put(self, warmup=count("warmup", self.warmup, low=0))
        for name in ("window", "reset_after"):
            if getattr(self, name) is not None:
                put(self, **{name: count(name, getattr(self, name))})
        if self.max_lr is not None:
            put(self, max_lr=real("max_lr", self.max_lr, above=0.0))
            if self.max_lr < self.min_lr:
                raise InvalidValueError(f"max_lr={self.max_lr:g} is below min_lr={self.min_lr:g}; swap them.")

    def init(self) -> GreedyState:
        """Return the state before the first step, at the peak."""
        return GreedyState(0, self.peak)

    def observe(self, state: GreedyState, metric: Any) -> tuple[float, GreedyState]:
        """Return (factor, state) for the next step."""
        state, cut = self._judged(state, metric)
        if cut:
            state = self._after_cut(state, at_floor=state.lr <= self.min_lr)
        return state.lr / self.peak, state

    def _judged(self, state: GreedyState, metric: Any) -> tuple[GreedyState, bool]:
        """Return the state after the metric, and whether a cut was called for (made, but for what follows a cut)."""
        check_kind(state, GreedyState)
        value = seen(metric, self.nan)
        state = replace(state, step=state.step + 1)
        if value is None:
            return state, False
        state, value = self._smoothed(state, value)
        if state.cooldown_left:
            return replace(state, good=0, bad=0, cooldown_left=state.cooldown_left - 1), False
        if state.warmup_left:
            return replace(state, good=0, bad=0, warmup_left=state.warmup_left - 1), False
        if is_better(self, value, state.best):
            state = replace(state, best=value, good=state.good + 1, bad=0)
        else:
            state = replace(state, good=0, bad=state.bad + 1)
        if state.good > self.patience:
            return replace(state, lr=self._raised(state.lr), good=0, warmup_left=self.warmup, floor_cuts=0), False
        if state.bad > self.patience:
            return replace(state, lr=lowered(self, state.lr), bad=0, cooldown_left=self.cooldown), True
        return state, False

    def _smoothed(self, state: GreedyState, value: float) -> tuple[GreedyState, float]:
        if self.window is None or math.isnan(value):
            return state, value
        window, total = (*state.window, value), state.total + value
        if len(window) > self.window:
            window, total = window[1:], total - window[0]
        return replace(state, window=window, total=total), total / len(window)

    def _raised(self, lr: float) -> float:
        high = min(lr / self.factor, self.peak if self.max_lr is None else self.max_lr)
        return high if high - lr > self.eps else lr

    def _after_cut(self, state: GreedyState, *, at_floor: bool) -> GreedyState:
        if not at_floor:
            return state
        if self.reset_after is None or state.floor_cuts + 1 < self.reset_after:
            return replace(state, floor_cuts=state.floor_cuts + 1)
        return replace(self.init(), step=state.step, cooldown_left=self.cooldown)


def observe_together(
    rules: Sequence[Greedy], states: Sequence[GreedyState], metric: Any
) -> tuple[tuple[float, ...], tuple[GreedyState, ...]]:
    """Return (factors, states) of parameter groups under one GreedyLR, rules that differ in peak, min_lr and max_lr only.

    The groups are coupled in one point: a cut counts towards ``reset_after`` only if it leaves every group at its floor.

    >>> rules = [Greedy(0.5, patience=0, min_lr=m, reset_after=1) for m in (0.5, 0.25)]
    >>> states = [rule.init() for rule in rules]
    >>> for metric in (1.0, 1.0):
    ...     factors, states = observe_together(rules, states, metric)
    >>> factors, observe_together(rules, states, 1.0)[0]
    ((0.5, 0.5), (1.0, 1.0))
    """
    judged = [rule._judged(state, metric) for rule, state in zip(rules, states, strict=True)]
    at_floor = all(state.lr <= rule.min_lr for rule, (state, _) in zip(rules, judged, strict=True))
    after = tuple(
        rule._after_cut(state, at_floor=at_floor) if cut else state
        for rule, (state, cut) in zip(rules, judged, strict=True)
    )
    return tuple(state.lr / rule.peak for rule, state in zip(rules, after, strict=True)), after
