"""Reduce on plateau: the patience rule of torch, Keras, timm, optax and Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dwindle.errors import count, flag, real
from dwindle.schedule.feedback import (
    FeedbackRule,
    check_best,
    check_kind,
    check_patience,
    check_rule,
    check_state,
    is_better,
    lowered,
    put,
    seen,
)

__all__ = ["Plateau", "PlateauState"]


@dataclass(frozen=True, slots=True)
class PlateauState:
    """Where a Plateau stands: metrics seen, the rate now, the best metric (None: none yet), bad metrics in a row."""

    step: int
    lr: float
    best: float | None = None
    bad: int = 0
    cooldown_left: int = 0

    def __post_init__(self) -> None:
        check_state(self, "bad", "cooldown_left")
        check_best(self)


@dataclass(frozen=True, slots=True)
class Plateau(FeedbackRule[PlateauState]):
    """Cut the rate once more than ``patience`` metrics in a row have not improved on the best one.

    After each metric x, with ``bad`` = metrics in a row that were not better than ``best``::

        better   x < best·(1 - threshold)   "min", "rel"        x < best - threshold   "min", "abs"
                 x > best·(1 + threshold)   "max", "rel"        x > best + threshold   "max", "abs"
        cooldown the ``cooldown`` metrics after a cut may set ``best`` but are never counted as bad
        cut      if bad > patience:  lr <- max(lr·factor, min_lr),  unless that lowers lr by no more than ``eps``

    ``min_lr``, ``eps`` and ``warmup_lr`` are in units of ``peak`` (see FeedbackRule): factors if peak is 1.
    Warm-up: for ``warmup_steps`` metrics the rate is warmup_lr + t·(peak - warmup_lr)/warmup_steps after t metrics, and no
    metric is judged.
    ``observes_first``: in ``lrs`` and ``factors`` the metric of index t comes before rate t, as in timm, not after it.
    A metric that is not finite raises by default; nan="ignore" passes over it, nan="worse" counts it as not better.

    Raises InvalidValueError for a parameter out of its range or such a metric.

    >>> rule = Plateau(0.5, patience=1)
    >>> rule.factors([3.0, 2.0, 2.0, 2.0, 2.0, 1.0])
    array([1. , 1. , 1. , 1. , 0.5, 0.5])
    >>> factor, state = rule.observe(rule.init(), 3.0)
    >>> state
    PlateauState(step=1, lr=1.0, best=3.0, bad=0, cooldown_left=0)

    Source: torch.optim.lr_scheduler.ReduceLROnPlateau, release 2.13; the warm-up is timm's PlateauLRScheduler, 1.0.31.
    Keras cuts when bad >= patience and counts the last cooldown metric: its patience and cooldown are one more.
    """

    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    mode: str = "min"
    cooldown: int = 0
    min_lr: float = 0.0
    eps: float = 0.0
    warmup_steps: int = 0
    warmup_lr: float = 0.0
    nan: str = "raise"
    peak: float = 1.0
    observes_first: bool = False

    def __post_init__(self) -> None:
        check_rule(self, ("raise", "ignore", "worse"))
        flag("observes_first", self.observes_first)
        check_patience(self)
        put(self, warmup_steps=count("warmup_steps", self.warmup_steps, low=0))
        put(self, warmup_lr=real("warmup_lr", self.warmup_lr, low=0.0))

    def init(self) -> PlateauState:
        """Return the state before the first step: the peak, or ``warmup_lr`` if there is a warm-up."""
        return PlateauState(0, self.warmup_lr if self.warmup_steps else self.peak)

    def observe(self, state: PlateauState, metric: Any) -> tuple[float, PlateauState]:
        """Return (factor, state) for the next step."""
        check_kind(state, PlateauState)
        value = seen(metric, self.nan)
        step = state.step + 1
        if step <= self.warmup_steps:
            lr = self.warmup_lr + step * ((self.peak - self.warmup_lr) / self.warmup_steps)
            state = replace(state, step=step, lr=lr)
        elif value is None:
            state = replace(state, step=step)
        else:
            state = self._judged(state, step, value)
        return state.lr / self.peak, state

    def _judged(self, state: PlateauState, step: int, value: float) -> PlateauState:
        better = is_better(self, value, state.best)
        best = value if better else state.best
        if state.cooldown_left:
            return PlateauState(step, state.lr, best, 0, state.cooldown_left - 1)
        bad = 0 if better else state.bad + 1
        if bad <= self.patience:
            return PlateauState(step, state.lr, best, bad, 0)
        return PlateauState(step, lowered(self, state.lr), best, 0, self.cooldown)
