"""optax 0.2 schedules: their learning rates are absolute, their clock the count of updates, their values at count 0, 1, …

And the transformation of optax.contrib that cuts the rate on a plateau.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from operator import mul
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError, count, real, shown
from dwindle.foreign.schedules.curves import in_turn, polynomial
from dwindle.foreign.schedules.peak import plan_of, quotient
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, Exponential, Interpolate, Piecewise, Ramp, Schedule
from dwindle.schedule.plateau import Plateau

__all__ = ["NAMES", "RULES", "read", "rule", "schedule"]


def read(name: str, params: Mapping[str, Any]) -> Plan:
    """Return the plan of optax's schedule ``name``.

    >>> str(read("warmup_cosine_decay_schedule",
    ...          {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 10, "decay_steps": 100}))
    'peak 0.1 | warmup 10st, cosine to 0% over 90st'
    """
    return plan_of(schedule(name, params))


def schedule(name: str, params: Any) -> Schedule:
    """Return the curve of absolute learning rates of optax's schedule ``name``."""
    required, defaults, build = NAMES[name]
    return build(Settings.of(f"optax's {name}", params, required=required, defaults=defaults))


def rule(name: str, params: Mapping[str, Any], base_lr: float | None) -> Plateau:
    """Return optax's reduce_on_plateau for an optimiser whose learning rate is ``base_lr`` (None: any, the peak is 1).

    optax cuts at the ``patience``-th metric in a row that is not below best·(1 - rtol) - atol; min_scale is a factor.
    Of a metric that grows it is told the negative: that is the rule with mode="max", if rtol is 0.

    Raises NoExactMapError for rtol and atol together, for a mean of several metrics, and where optax does not do what its
    parameters say: patience 0, rtol 1, min_scale above 1.

    >>> rule("reduce_on_plateau", {"factor": 0.5, "patience": 3}, None).factors([1.0] * 6)
    array([1. , 1. , 1. , 1. , 0.5, 0.5])
    """
    required, defaults = RULES[name]
    s = Settings.of(f"optax's {name}", params, required=required, defaults=defaults)
    peak = 1.0 if base_lr is None else base_lr
    relative, absolute = s.real("rtol", low=0.0, high=1.0), s.real("atol", low=0.0)
    patience, low = s.count("patience", low=0), s.real("min_scale", low=0.0)
    if relative == absolute == 0.0:
        raise InvalidValueError(f"one of rtol and atol of {s.what} must be positive; both are 0.")
    for refused, why in (
        (
            s.count("accumulation_size") != 1,
            "judges the mean of several metrics; give accumulation_size=1 and the mean",
        ),
        (relative > 0.0 and absolute > 0.0, "has rtol and atol at once, a rule one threshold; set one of them to 0"),
        (relative == 1.0, "never sees a first best metric with rtol 1 (it works out 0 times infinity); give less"),
        (patience == 0, "cuts at every metric that is better when patience is 0; give 1 to cut at each that is not"),
        (low > 1.0, f"raises the rate to min_scale={low:g} times itself; give at most 1"),
    ):
        if refused:
            raise NoExactMapError(f"{s.what} {why}.")
    return Plateau(
        factor=s.real("factor", above=0.0, below=1.0),
        patience=patience - 1,
        threshold=relative or absolute,
        threshold_mode="rel" if relative else "abs",
        cooldown=s.count("cooldown", low=0),
        min_lr=low * peak,
        nan="worse",
        peak=peak,
    )


def _constant(s: Settings) -> Schedule:
    return Constant(s.real("value", low=0.0))


def _polynomial(s: Settings, power: float | None = None) -> Schedule:
    init, end = s.real("init_value", low=0.0), s.real("end_value", low=0.0)
    steps = s.count("transition_steps", low=-(10**18))
    if steps <= 0:  # optax logs it and stays at init_value
        return Constant(init)
    curve = polynomial(init, end, steps, s.real("power") if power is None else power, s.what)
    return in_turn((Constant(init), _begin(s)), (curve, None))


def _linear(s: Settings) -> Schedule:
    return _polynomial(s, 1.0)


def _begin(s: Settings) -> int:
    return max(0, s.count("transition_begin", low=-(10**18)))


def _exponential(s: Settings, init_key: str = "init_value") -> Schedule:
    init, steps = s.real(init_key, low=0.0), s.count("transition_steps", low=-(10**18))
    rate, staircase = s.real("decay_rate", low=0.0), s.flag("staircase")
    if steps <= 0 or rate == 0.0:  # optax logs it and stays at init_value
        return Constant(init)
    curve = Exponential(rate, steps, staircase, allow_growth=rate > 1.0).shift(_begin(s)) * init
    end = s.optional("end_value", low=0.0)
    if end is None:
        return curve
    return curve.clip(low=end) if rate < 1.0 else curve.clip(high=end)


def _cosine(s: Settings) -> Schedule:
    steps = s.count("decay_steps")
    return _half_cosine(s, s.real("init_value", low=0.0), steps, s.real("alpha", low=0.0))


def _half_cosine(s: Settings, start: float, steps: int, alpha: float) -> Schedule:
    exponent = s.real("exponent", low=0.0)
    if exponent == 0.0:
        return Constant(start)
    if alpha > 1.0 and exponent != 1.0:
        raise NoExactMapError(
            f"{s.what} that rises (alpha {alpha:g}) has no counterpart with exponent {exponent:g}; use 1."
        )
    return Ramp(end=alpha, steps=steps, shape="cosine", power=exponent) * start


def _scales(s: Settings) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return boundaries_and_scales as sorted boundaries and their scales; the keys may be text, as JSON has them."""
    given = s["boundaries_and_scales"]
    if given is None:
        return (), ()
    if not isinstance(given, Mapping):
        raise InvalidValueError(
            f"boundaries_and_scales of {s.what} must be a mapping of steps to scales; got {shown(given)}."
        )
    name = f"boundaries_and_scales of {s.what}"
    scales = {
        count(
            name, int(key) if isinstance(key, str) and key.strip().lstrip("-").isdigit() else key, low=-(10**18)
        ): real(name, scale, low=0.0)
        for key, scale in given.items()
    }
    if len(scales) < len(given):
        raise InvalidValueError(f"{name} names a step twice; got {shown(given)}.")
    return tuple(sorted(scales)), tuple(scales[key] for key in sorted(scales))


def _piecewise_constant(s: Settings) -> Schedule:
    boundaries, scales = _scales(s)
    values = list(accumulate(scales, mul, initial=s.real("init_value", low=0.0)))
    passed = sum(boundary <= 0 for boundary in boundaries)
    if passed == len(boundaries):
        return Constant(values[-1])
    return Piecewise(boundaries[passed:], tuple(values[passed:]))


def _through(shape: str, init: float, boundaries: tuple[int, ...], scales: tuple[float, ...]) -> Schedule:
    """Return the curve through init at 0 and the running products at the boundaries, from the last one at or before 0."""
    points = list(zip((0, *boundaries), accumulate(scales, mul, initial=init), strict=True))
    while len(points) > 1 and points[1][0] <= 0:
        points.pop(0)
    at, values = zip(*points, strict=True)
    return Constant(values[0]) if len(points) == 1 else Interpolate(at, values, shape)


def _piecewise_interpolate(s: Settings) -> Schedule:
    shape = s.one_of("interpolate_type", ("linear", "cosine"))
    return _through(shape, s.real("init_value", low=0.0), *_scales(s))


def _onecycle(s: Settings, shape: str) -> Schedule:
    steps, peak = s.count("transition_steps"), s.real("peak_value", low=0.0)
    div, final = s.real("div_factor", above=0.0), s.real("final_div_factor", above=0.0)
    turn = int(s.real("pct_start", low=0.0, high=1.0) * steps)
    if shape == "cosine":
        scales = {turn: div, steps: 1.0 / (div * final)}
    else:
        back = int(s.real("pct_final", low=0.0, high=1.0) * steps)
        scales = {turn: div, back: 1.0 / div, steps: 1.0 / final}  # two equal steps: the later one, as in optax
    return _through(shape, peak / div, tuple(sorted(scales)), tuple(scales[key] for key in sorted(scales)))


def _linear_onecycle(s: Settings) -> Schedule:
    return _onecycle(s, "linear")


def _cosine_onecycle(s: Settings) -> Schedule:
    return _onecycle(s, "cosine")


def _warmup(s: Settings) -> tuple[Schedule, int]:
    init, peak, steps = s.real("init_value", low=0.0), s.real("peak_value", low=0.0), s.count("warmup_steps", low=0)
    return (Ramp(start=init, end=peak, steps=steps) if steps else Constant(init)), steps


def _warmup_constant(s: Settings) -> Schedule:
    return _warmup(s)[0]


def _warmup_cosine(s: Settings) -> Schedule:
    (warmup, steps), peak = _warmup(s), s.real("peak_value", low=0.0)
    left = s.count("decay_steps") - steps
    if left <= 0:
        raise InvalidValueError(
            f"decay_steps of {s.what} counts the warm-up in, so it must be above warmup_steps={steps}; got {steps + left}."
        )
    alpha = quotient(s.real("end_value", low=0.0), peak) if peak else 0.0
    return in_turn((warmup, steps), (_half_cosine(s, peak, left, alpha), None))


def _warmup_exponential(s: Settings) -> Schedule:
    return in_turn(_warmup(s), (_exponential(s, "peak_value"), None))


def _sgdr(s: Settings) -> Schedule:
    cycles = s.items("cosine_kwargs")
    if not cycles:
        raise InvalidValueError(f"cosine_kwargs of {s.what} must not be empty; give the parameters of each cycle.")
    curves = [schedule("warmup_cosine_decay_schedule", kwargs) for kwargs in cycles]
    return in_turn(*zip(curves, (kwargs["decay_steps"] for kwargs in cycles), strict=True))


def _join(s: Settings) -> Schedule:
    curves = [_nested(s, item) for item in s.items("schedules")]
    boundaries = s.between("boundaries", "schedules", len(curves))
    lengths = [after - before for before, after in pairwise((0, *boundaries))]
    return in_turn(*zip(curves, (*lengths, None), strict=True))


def _nested(s: Settings, item: Any) -> Schedule:
    inner = Settings.of(f"a schedule in {s.what}", item, required=("name",), defaults={"params": {}})
    return schedule(inner.one_of("name", NAMES), inner["params"])


_WARMUP = ("init_value", "peak_value", "warmup_steps")
_DECAY = ("transition_steps", "decay_rate")
_DECAY_DEFAULTS = {"transition_begin": 0, "staircase": False, "end_value": None}
_CYCLE_DEFAULTS = {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4}

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings], Schedule]]] = {
    "constant_schedule": (("value",), {}, _constant),
    "polynomial_schedule": (
        ("init_value", "end_value", "power", "transition_steps"),
        {"transition_begin": 0},
        _polynomial,
    ),
    "linear_schedule": (("init_value", "end_value", "transition_steps"), {"transition_begin": 0}, _linear),
    "piecewise_constant_schedule": (("init_value",), {"boundaries_and_scales": None}, _piecewise_constant),
    "exponential_decay": (("init_value", *_DECAY), _DECAY_DEFAULTS, _exponential),
    "cosine_decay_schedule": (("init_value", "decay_steps"), {"alpha": 0.0, "exponent": 1.0}, _cosine),
    "piecewise_interpolate_schedule": (
        ("interpolate_type", "init_value"),
        {"boundaries_and_scales": None},
        _piecewise_interpolate,
    ),
    "linear_onecycle_schedule": (
        ("transition_steps", "peak_value"),
        {"pct_start": 0.3, "pct_final": 0.85, "div_factor": 25.0, "final_div_factor": 1e4},
        _linear_onecycle,
    ),
    "cosine_onecycle_schedule": (("transition_steps", "peak_value"), _CYCLE_DEFAULTS, _cosine_onecycle),
    "warmup_constant_schedule": (_WARMUP, {}, _warmup_constant),
    "warmup_cosine_decay_schedule": ((*_WARMUP, "decay_steps"), {"end_value": 0.0, "exponent": 1.0}, _warmup_cosine),
    "warmup_exponential_decay_schedule": ((*_WARMUP, *_DECAY), _DECAY_DEFAULTS, _warmup_exponential),
    "sgdr_schedule": (("cosine_kwargs",), {}, _sgdr),
    "join_schedules": (("schedules", "boundaries"), {}, _join),
}
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""

RULES: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "reduce_on_plateau": (
        (),
        {
            "factor": 0.1, "patience": 10, "rtol": 1e-4, "atol": 0.0, "cooldown": 0, "accumulation_size": 1,
            "min_scale": 0.0,
        },
    ),
}  # fmt: skip
"""name -> (parameters that must be given, optax's defaults) of the transformations that answer a metric."""
