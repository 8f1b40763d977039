"""Keras 3 learning-rate schedules: absolute learning rates, at optimizer.iterations 0, 1, …; and its plateau callback."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError, real
from dwindle.foreign.schedules.curves import cycles, in_turn, polynomial
from dwindle.foreign.schedules.peak import plan_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, Exponential, Extend, Piecewise, PowerLaw, Ramp, Schedule
from dwindle.schedule.plateau import Plateau
from dwindle.units import Time

__all__ = ["NAMES", "RULES", "read", "rule"]


def read(name: str, params: Mapping[str, Any]) -> Plan:
    """Return the plan of Keras' schedule ``name``.

    >>> str(read("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 100, "alpha": 0.1}))
    'peak 0.1 | cosine to 10% over 100st'
    """
    required, defaults, build = NAMES[name]
    return plan_of(build(Settings.of(f"Keras' {name}", params, required=required, defaults={**defaults, "name": name})))


def rule(name: str, params: Mapping[str, Any], base_lr: float | None) -> Plateau:
    """Return Keras' ReduceLROnPlateau for an optimiser whose learning rate is ``base_lr`` (None: any, the peak is 1).

    Keras cuts at the ``patience``-th metric in a row that is not better (0 is as 1) and judges the last of the cooldown;
    better is x + min_delta < best, or x - min_delta > best. The mode "auto" is told by the name of the monitored metric.
    A metric that is nan counts as not better; but of a nan that comes first Keras makes the best, and then cuts for ever.

    Raises InvalidValueError for "auto" and a metric of the user's own, and for a min_lr without ``base_lr``.

    >>> rule("ReduceLROnPlateau", {"factor": 0.5, "patience": 3, "min_delta": 0.0}, None).factors([1.0] * 6)
    array([1. , 1. , 1. , 1. , 0.5, 0.5])
    """
    required, defaults = RULES[name]
    s = Settings.of(f"Keras' {name}", params, required=required, defaults=defaults)
    low = s.real("min_lr", low=0.0)
    if low and base_lr is None:
        raise InvalidValueError(
            f"min_lr={low:g} of {s.what} is a learning rate, so that of the optimiser must be known; give it as base_lr= "
            "(in one line lr=, in source the optimiser)."
        )
    return Plateau(
        factor=s.real("factor", above=0.0, below=1.0),
        patience=max(s.count("patience", low=0) - 1, 0),
        threshold=abs(s.real("min_delta")),
        threshold_mode="abs",
        mode=_mode(s),
        cooldown=max(s.count("cooldown", low=0) - 1, 0),
        min_lr=low,
        nan="worse",
        peak=1.0 if base_lr is None else base_lr,
    )


def _mode(s: Settings) -> str:
    mode, monitor = s.one_of("mode", ("auto", "min", "max")), str(s["monitor"])
    if mode != "auto":
        return mode
    metric = monitor.removeprefix("val_")
    if metric not in _FALLING and metric not in _RISING:
        raise InvalidValueError(
            f"mode 'auto' of {s.what} asks the model's own metric {monitor!r} which way is better; give mode='min' or 'max'."
        )
    return "min" if metric in _FALLING else "max"


def _initial(s: Settings) -> float:
    return s.real("initial_learning_rate", low=0.0)


def _exponential(s: Settings) -> Schedule:
    rate, every = s.real("decay_rate", low=0.0), s.steps("decay_steps")
    if rate == 0.0:  # 0^0 is 1
        return _at_once(s, every)
    return Exponential(rate, every, s.flag("staircase"), allow_growth=rate > 1.0) * _initial(s)


def _at_once(s: Settings, every: Time | int) -> Schedule:
    return Piecewise((every if s.flag("staircase") else 1,), (_initial(s), 0.0))


def _inverse_time(s: Settings) -> Schedule:
    return PowerLaw(1.0, s.steps("decay_steps"), s.real("decay_rate", low=0.0), s.flag("staircase")) * _initial(s)


def _piecewise(s: Settings) -> Schedule:
    boundaries = s.counts("boundaries")
    values = [real(f"values of {s.what}", value, low=0.0) for value in s.items("values")]
    if len(values) != len(boundaries) + 1 or not boundaries:
        raise InvalidValueError(
            f"values of {s.what} must be one more than the boundaries; got {len(values)} for {len(boundaries)}."
        )
    if any(after < before for before, after in pairwise(boundaries)):
        raise InvalidValueError(f"boundaries of {s.what} must increase; got {list(boundaries)}.")
    # Keras keeps the old value while step <= boundary: a step later than the others. Of equal boundaries the last counts.
    last = {boundary + 1: value for boundary, value in zip(boundaries, values[1:], strict=True)}
    return Piecewise(tuple(last), (values[0], *last.values()))


def _polynomial(s: Settings) -> Schedule:
    every = s.steps("decay_steps")
    curve = polynomial(_initial(s), s.real("end_learning_rate", low=0.0), every, s.real("power"), s.what)
    return Extend(curve, every) if s.flag("cycle") else curve


def _cosine(s: Settings) -> Schedule:
    target = s.optional("warmup_target", low=0.0)
    peak, steps = _initial(s) if target is None else target, s.count("warmup_steps", low=0)
    curve = Ramp(end=s.real("alpha", low=0.0), steps=s.steps("decay_steps"), shape="cosine") * peak
    if target is None or steps == 0:  # without a target Keras does not read warmup_steps
        return curve
    return in_turn((Ramp(start=_initial(s), end=peak, steps=steps), steps), (curve, None))


def _restarts(s: Settings) -> Schedule:
    init, every = _initial(s), s.real("first_decay_steps", above=0.0)
    growth, decay = s.real("t_mul", low=1.0), s.real("m_mul", above=0.0)
    alpha = s.real("alpha", low=0.0, high=1.0)
    higher: Schedule | None = None
    if decay > 1.0:
        if growth != 1.0 or every != int(every):
            raise NoExactMapError(
                f"{s.what} with m_mul {decay:g} rises with every restart; only cycles of one length (t_mul 1, whole "
                "first_decay_steps) can be followed in that. Use m_mul of at most 1, or t_mul=1."
            )
        higher, decay = Exponential(decay, int(every), staircase=True, allow_growth=True), 1.0

    def index(step: int) -> int:
        done = step / every
        if growth == 1.0:
            return math.floor(done)
        return math.floor(math.log(1.0 - done * (1.0 - growth)) / math.log(growth))

    def cycle(i: int, span: Time | int) -> Schedule:
        return Ramp(start=decay**i, steps=span, shape="cosine")

    waves = cycles(cycle, every, growth, index, decay=decay)
    if higher is not None:
        waves = waves * higher
    return waves * init if alpha == 0.0 else Constant(alpha * init) + waves * ((1.0 - alpha) * init)


_INITIAL = ("initial_learning_rate",)

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings], Schedule]]] = {
    "ExponentialDecay": ((*_INITIAL, "decay_steps", "decay_rate"), {"staircase": False}, _exponential),
    "InverseTimeDecay": ((*_INITIAL, "decay_steps", "decay_rate"), {"staircase": False}, _inverse_time),
    "PiecewiseConstantDecay": (("boundaries", "values"), {}, _piecewise),
    "PolynomialDecay": (
        (*_INITIAL, "decay_steps"),
        {"end_learning_rate": 1e-4, "power": 1.0, "cycle": False},
        _polynomial,
    ),
    "CosineDecay": ((*_INITIAL, "decay_steps"), {"alpha": 0.0, "warmup_target": None, "warmup_steps": 0}, _cosine),
    "CosineDecayRestarts": ((*_INITIAL, "first_decay_steps"), {"t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0}, _restarts),
}
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""

RULES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "ReduceLROnPlateau": (
        (),
        {
            "monitor": "val_loss", "factor": 0.1, "patience": 10, "verbose": 0, "mode": "auto", "min_delta": 1e-4,
            "cooldown": 0, "min_lr": 0.0,
        },
    ),
}  # fmt: skip
"""name -> (parameters that must be given, Keras' defaults) of the callbacks that answer a metric."""

_FALLING = (
    "loss", "mse", "mae", "mape", "msle", "mean_squared_error", "root_mean_squared_error", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_logarithmic_error", "logcosh", "poisson", "kl_divergence", "hinge",
    "squared_hinge", "categorical_hinge", "binary_crossentropy", "categorical_crossentropy",
    "sparse_categorical_crossentropy",
)  # fmt: skip
_RISING = (
    "acc", "accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy",
    "top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy", "auc", "precision", "recall",
    "precision_at_recall", "recall_at_precision", "sensitivity_at_specificity", "specificity_at_sensitivity",
    "f1_score", "fbeta_score", "r2_score", "io_u", "mean_io_u", "binary_io_u", "one_hot_io_u", "one_hot_mean_io_u",
    "cosine_similarity", "concordance_correlation", "pearson_correlation",
)  # fmt: skip
# Keras' own metrics by their names: those it wants low, and those it wants high
