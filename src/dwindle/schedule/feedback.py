"""Rules that read a metric as they go: what such a rule is, and the checks and comparisons they share.

A rule is a frozen value. ``init`` gives its first state and ``observe`` turns (state, metric) into (factor, state); the
state is frozen too, holds plain numbers, text and tuples of numbers, and comes back from
``State(**json.loads(json.dumps(dataclasses.asdict(state))))``, so that resuming is continuing, bit for bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, ResumeError, count, known, real, sequence, shown

__all__ = ["FeedbackRule", "State"]


class State(Protocol):
    """What every rule's state has: how many metrics it has seen, and the rate that is in effect now."""

    @property
    def step(self) -> int:
        """Metrics observed so far."""

    @property
    def lr(self) -> float:
        """The rate in effect, in units of the rule's ``peak``: an absolute rate, or a factor if ``peak`` is 1."""


S = TypeVar("S", bound=State)


class FeedbackRule(ABC, Generic[S]):
    """A rate that answers a metric: lr(t) depends on the metrics of steps 0 .. t-1.

    ``peak`` is the rate at factor 1. A rule's floors, ceilings and ``eps`` are rates in the same unit: with the default
    peak = 1 they are factors, and the rule fits any peak; with the run's own peak they are absolute rates, and every
    rate is then worked out as an absolute number, as torch does: bit for bit its rates. ``factor`` = lr / peak rounds
    once, so peak · factor is within one ulp of ``state.lr``.

    A run whose parameter groups have different peaks under absolute floors has one rule per group:
    ``dataclasses.replace(rule, peak=group_peak)``.

    ``observes_first`` says where in a list of metrics the metric of step t belongs: after step t, or (timm) before it.
    """

    __slots__ = ()
    peak: float
    observes_first: bool = False

    @abstractmethod
    def init(self) -> S:
        """Return the state before the first step."""

    @abstractmethod
    def observe(self, state: S, metric: Any) -> tuple[float, S]:
        """Return (factor, state) for the next step, given the metric observed after this one."""

    def rate(self, state: S, peak: float) -> float:
        """Return the rate in effect on a run of that ``peak``: state.lr, scaled to it if the rule's own peak is 1.

        Raises InvalidValueError for another peak than the rule's own: its floors are absolute.
        """
        check_kind(state, type(self.init()))
        return state.lr * self._scale(peak)

    def factors(self, metrics: Iterable[Any]) -> npt.NDArray[np.float64]:
        """Return lrs(metrics) / peak: value [t] is the factor in effect for step t (see lrs)."""
        return self.lrs(metrics) / self.peak

    def lrs(self, metrics: Iterable[Any], peak: float | None = None) -> npt.NDArray[np.float64]:
        """Return the rates: value [t] is the rate in effect for step t, and metric t is observed after step t.

        A rule that ``observes_first`` observes metric t before step t instead, and metric 0, before the run, not at all.
        ``peak`` defaults to the rule's own. A rule with peak = 1 is scaled to any ``peak``; a rule that has a peak of
        its own refuses another one, because its floors are absolute.

        >>> from dwindle.schedule.plateau import Plateau
        >>> Plateau(0.5, patience=1).lrs([3.0, 2.0, 2.0, 2.0, 2.0], peak=0.1)
        array([0.1 , 0.1 , 0.1 , 0.1 , 0.05])
        """
        scale = self._scale(peak)
        state = self.init()
        rates = []
        for step, metric in enumerate(sequence("metrics", metrics)):
            if self.observes_first and step:
                _, state = self.observe(state, metric)
            rates.append(state.lr)
            if not self.observes_first:
                _, state = self.observe(state, metric)
        return np.array(rates, dtype=np.float64) * scale

    def _scale(self, peak: float | None) -> float:
        if peak is None:
            return 1.0
        peak = real("peak", peak, above=0.0)
        if peak == self.peak:
            return 1.0
        if self.peak != 1.0:
            raise InvalidValueError(
                f"this rule's floors are absolute rates for peak={self.peak:g}, so peak={shown(peak)} does not fit; "
                "build the rule for that peak with dataclasses.replace(rule, peak=...)."
            )
        return peak


# What the rules share: checks when a rule or a state is built, and the comparisons of ``observe``.


def put(value: Any, **fields: Any) -> None:
    """Set checked ``fields`` of a frozen value while it is being built."""
    for name, content in fields.items():
        object.__setattr__(value, name, content)


def check_rule(rule: Any, policies: tuple[str, ...]) -> None:
    """Check and normalise the fields every rule has: factor, mode, min_lr, eps, nan, peak."""
    put(
        rule,
        factor=real("factor", rule.factor, above=0.0, below=1.0, remedy="A cut multiplies the rate by it."),
        peak=real("peak", rule.peak, above=0.0, remedy="It is the rate at factor 1."),
        min_lr=real("min_lr", rule.min_lr, low=0.0),
        eps=real("eps", rule.eps, low=0.0),
        mode=known("mode", rule.mode, ("min", "max")),
        nan=known("nan", rule.nan, policies),
    )


def check_patience(rule: Any) -> None:
    """Check and normalise patience, cooldown, threshold and threshold_mode."""
    put(
        rule,
        patience=count("patience", rule.patience, low=0),
        cooldown=count("cooldown", rule.cooldown, low=0),
        threshold=real("threshold", rule.threshold, low=0.0),
        threshold_mode=known("threshold_mode", rule.threshold_mode, ("rel", "abs")),
    )
    if rule.threshold_mode == "rel" and rule.mode == "min" and rule.threshold >= 1.0:
        raise InvalidValueError(
            f"a relative threshold of {rule.threshold:g} asks a positive metric to fall by all of itself, which it "
            "cannot; give a threshold below 1, or threshold_mode='abs'."
        )


def check_state(state: Any, *counts: str) -> None:
    """Check and normalise a state's ``lr``, its ``step`` and its other ``counts``."""
    put(state, lr=real("lr", state.lr, low=0.0))
    put(state, **{name: count(name, getattr(state, name), low=0) for name in ("step", *counts)})


def check_best(state: Any) -> None:
    """Check a state's ``best``: a finite number, or None before the first metric that counts."""
    if state.best is not None:
        put(state, best=real("best", state.best))


def check_numbers(state: Any, name: str) -> None:
    """Check a state's tuple of finite numbers; JSON brings it back as a list."""
    given = getattr(state, name)
    if not isinstance(given, list | tuple):
        raise InvalidValueError(f"{name} must be a list of numbers; got {shown(given)}.")
    put(state, **{name: tuple(real(name, item) for item in given)})


def check_kind(state: Any, kind: type) -> None:
    """Raise if ``state`` is not this rule's kind of state."""
    if not isinstance(state, kind):
        raise ResumeError(
            f"this rule goes on from a {kind.__name__}; got a {type(state).__name__}. Begin with rule.init(), or "
            f"restore {kind.__name__}(**saved)."
        )


def seen(metric: Any, nan: str) -> float | None:
    """Return the metric as a float; one that is not finite raises, is None ("ignore"), or is nan ("worse")."""
    if isinstance(metric, str | bytes | bool) or not hasattr(metric, "__float__"):
        raise InvalidValueError(f"a metric must be a real number; got {shown(metric)}.")
    try:
        value = float(metric)
    except (TypeError, ValueError, OverflowError):  # an array of several, or a whole number beyond float64
        raise InvalidValueError(f"a metric must be one real number; got {shown(metric)}.") from None
    if math.isfinite(value):
        return value
    if nan == "raise":
        raise InvalidValueError(
            f"the metric is {value}, which says that the run diverged and not that it stands still; stop the run, or "
            "choose what to do: nan='ignore' skips it, nan='worse' (Plateau, Greedy) counts it as no improvement."
        )
    return None if nan == "ignore" else math.nan


def is_better(rule: Any, value: float, best: float | None) -> bool:
    """Return whether ``value`` beats ``best`` by the rule's threshold; nan never does, and any number beats None.

    "rel": value < best·(1 - threshold) for "min", value > best·(1 + threshold) for "max"; "abs": value < best - threshold
    and value > best + threshold. As in torch: "rel" assumes a positive metric; below zero a slightly worse one passes.
    """
    if best is None:
        return not math.isnan(value)
    sign = -1.0 if rule.mode == "min" else 1.0
    bound: float = (
        best * (1.0 + sign * rule.threshold) if rule.threshold_mode == "rel" else best + sign * rule.threshold
    )
    return value < bound if rule.mode == "min" else value > bound


def lowered(rule: Any, lr: float) -> float:
    """Return max(lr·factor, min_lr), or ``lr`` itself if that would lower it by no more than ``eps``."""
    low: float = max(lr * rule.factor, rule.min_lr)
    return low if lr - low > rule.eps else lr
