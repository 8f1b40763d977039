"""Composer 0.32 schedulers: the optimiser's lr times a factor of the time, which is a text with a unit: "10ba", "2ep", "0.5dur".

Composer cuts a share of the run to whole batches, in float64, and counts samples and tokens as they are, however many a
batch holds: the times say ``down`` and ``exact``. That is for a max_duration in batches or epochs (of one in samples or
tokens the share is cut to those) and a scale_schedule_ratio of 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError, UnknownNameError, shown, suggestion
from dwindle.foreign.schedules.curves import polynomial
from dwindle.foreign.schedules.peak import plan_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, Exponential, Join, Piecewise, Product, Ramp, Repeat, Schedule
from dwindle.units import Time, exactly

__all__ = ["NAMES", "read"]

_UNITS = {"ba": "st", "ep": "ep", "sp": "ex", "tok": "tok", "dur": "%"}
_WHOLE = Time(100, "%")


def read(name: str, params: Mapping[str, Any], base_lr: float) -> Plan:
    """Return the plan of Composer's scheduler ``name`` for an optimiser whose lr is ``base_lr``.

    >>> str(read("CosineAnnealingWithWarmupScheduler", {"t_warmup": "100ba", "alpha_f": 0.1}, 3e-4))
    'peak 3e-4 | warmup 100st, cosine to 10%'
    """
    required, defaults, build = NAMES[name]
    return plan_of(build(Settings.of(f"Composer's {name}", params, required=required, defaults=defaults)), base_lr)


def _time(s: Settings, key: str, text: Any = None) -> Time:
    """Return the time that a parameter (or one ``text`` of a list) says."""
    text = s[key] if text is None else text
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)\s*([a-z]+)\s*", str(text)[:80])
    if not isinstance(text, str) or found is None:
        raise InvalidValueError(
            f"{key} of {s.what} must be a time such as '10ba', '2ep' or '0.5dur'; got {shown(text)}."
        )
    number, unit = found.groups()
    if unit not in _UNITS:
        raise UnknownNameError(f"unit {unit!r} of {key} of {s.what} has no steps; {suggestion(unit, _UNITS)}")
    value = float(number)
    if unit == "dur":
        if value > 1.0:
            raise InvalidValueError(f"{key} of {s.what} must be at most '1dur', the whole run; got {shown(text)}.")
        return _WHOLE if value == 1.0 else Time(float(Decimal(repr(value)).scaleb(2)), "%", "down")
    if not value.is_integer():
        raise InvalidValueError(
            f"{key} of {s.what} must be a whole number of {unit}, as Composer has it; got {shown(text)}."
        )
    return Time(value, _UNITS[unit], "exact" if unit in ("sp", "tok") else "nearest")


def _span(s: Settings, key: str) -> Time:
    time = _time(s, key)
    if time.value == 0:
        raise InvalidValueError(f"{key} of {s.what} must be longer than nothing; got {shown(s[key])}.")
    return time


def _steps(time: Time) -> Time | int:
    return exactly(time.value) if time.unit == "st" else time


def _end(time: Time) -> Time | int | None:
    """Return how long a ramp lasts: to the end of the run it is left open."""
    return None if time == _WHOLE else _steps(time)


def _constant(s: Settings) -> Schedule:
    alpha, span = s.real("alpha", low=0.0), _time(s, "t_max")
    if alpha == 1.0 or span.value == 0:
        return Constant()
    return Constant(alpha) if span == _WHOLE else Piecewise((_steps(span),), (alpha, 1.0))


def _linear(s: Settings) -> Schedule:
    return Ramp(start=s.real("alpha_i", low=0.0), end=s.real("alpha_f", low=0.0), steps=_end(_span(s, "t_max")))


def _cosine(s: Settings) -> Schedule:
    return Ramp(end=s.real("alpha_f", low=0.0), steps=_end(_span(s, "t_max")), shape="cosine")


def _polynomial(s: Settings) -> Schedule:
    end, power, steps = s.real("alpha_f", low=0.0), s.real("power", above=0.0), _end(_span(s, "t_max"))
    if end > 1.0 and power not in (0.5, 1.0, 2.0) and not isinstance(steps, int):
        raise NoExactMapError(
            f"{s.what} that rises (alpha_f {end:g}) with power {power:g} needs a t_max in batches; write it as '100ba', or "
            "use power 1."
        )
    return polynomial(1.0, end, steps, power, s.what)


def _step(s: Settings) -> Schedule:
    gamma = s.real("gamma", above=0.0)
    return Exponential(gamma, _steps(_span(s, "step_size")), staircase=True, allow_growth=gamma > 1.0)


def _exponential(s: Settings) -> Schedule:
    gamma = s.real("gamma", above=0.0)
    return Exponential(gamma, _steps(_span(s, "decay_period")), allow_growth=gamma > 1.0)


def _multi_step(s: Settings) -> Schedule:
    """Return the product of one table per unit: which of '2ep' and '50ba' comes first is not known yet."""
    gamma = s.real("gamma", low=0.0)
    times = sorted((_time(s, "milestones", item) for item in s.items("milestones")), key=lambda time: time.value)
    at_once = gamma ** sum(time.value == 0 for time in times)
    tables = []
    for unit in sorted({time.unit for time in times if time.value}):
        cuts = [time for time in times if time.unit == unit and time.value]
        edges = list(dict.fromkeys(cuts))  # a milestone named twice cuts twice
        factors = [gamma ** sum(cut.value <= edge.value for cut in cuts) for edge in edges]
        tables.append(Piecewise(tuple(_steps(edge) for edge in edges), (1.0, *factors)))
    if not tables:
        return Constant(at_once)
    curve = Product(tuple(tables)) if len(tables) > 1 else tables[0]
    return curve * at_once


def _restarts(s: Settings) -> Schedule:
    growth, every = s.real("t_mult", low=1.0), _steps(_span(s, "t_0"))
    if growth != int(growth):
        raise NoExactMapError(
            f"{s.what} cuts every cycle to whole steps; with t_mult {growth:g} no plan does. Use a whole one."
        )
    return Repeat(Ramp(end=s.real("alpha_f", low=0.0, high=1.0), shape="cosine", steps=every), every, growth)


def _warmed(s: Settings, curve: Callable[[Settings], Schedule], top: float = 1.0) -> Schedule:
    """Return the rise to ``top`` over t_warmup, then ``curve`` from there to t_max, which counts the warm-up in."""
    warmup, whole = _time(s, "t_warmup"), _span(s, "t_max")
    if warmup.value == 0:
        return curve(s)
    rise = Ramp(start=0.0, end=top, steps=_steps(warmup))
    if whole == _WHOLE:
        return Join((rise, curve(s)))
    if warmup.unit != whole.unit:
        raise NoExactMapError(f"t_warmup and t_max of {s.what} must have one unit, or t_max must be '1dur'.")
    if warmup.value >= whole.value:
        raise InvalidValueError(
            f"t_max of {s.what} counts the warm-up in, so it must be above {s['t_warmup']}; got {s['t_max']}."
        )
    unit = next(text for text, ours in _UNITS.items() if ours == whole.unit)
    rest = (whole.value - warmup.value) / (100 if unit == "dur" else 1)
    return Join((rise, curve(Settings(s.what, {**s.values, "t_max": f"{rest!r}{unit}"}))))


def _linear_warmed(s: Settings) -> Schedule:
    return _warmed(s, _linear, s.real("alpha_i", low=0.0))


def _cosine_warmed(s: Settings) -> Schedule:
    return _warmed(s, _cosine)


def _polynomial_warmed(s: Settings) -> Schedule:
    return _warmed(s, _polynomial)


def _constant_warmed(s: Settings) -> Schedule:
    """Return the rise to alpha, which is held: t_max, the end of the run or beyond, changes nothing."""
    alpha, warmup = s.real("alpha", low=0.0), _time(s, "t_warmup")
    held = Constant(alpha)
    return held if warmup.value == 0 else Join((Ramp(start=0.0, end=alpha, steps=_steps(warmup)), held))


def _multi_step_warmed(s: Settings) -> Schedule:
    """Return the milestones' factor times the rise: the same as long as no milestone falls into the warm-up.

    Of milestones in another unit that is not known: they then begin where the warm-up ends, those in it passed.
    """
    warmup, curve = _time(s, "t_warmup"), _multi_step(s)
    if warmup.value == 0:
        return curve
    rise = Ramp(start=0.0, end=1.0, steps=_steps(warmup))
    milestones = [(item, _time(s, "milestones", item)) for item in s.items("milestones")]
    if any(milestone.unit != warmup.unit for _, milestone in milestones):
        if warmup.rounding == "exact":
            raise NoExactMapError(f"t_warmup of {s.what} in samples or tokens needs milestones in the same unit.")
        return Join((rise, curve.shift(_steps(replace(warmup, value=-warmup.value)))))
    for item, milestone in milestones:
        if milestone.value < warmup.value:
            raise NoExactMapError(
                f"milestone {item} of {s.what} lies in the warm-up of {s['t_warmup']}; put it behind."
            )
    return rise * curve


_T_MAX = {"t_max": "1dur"}
_TO_ALPHA = {**_T_MAX, "alpha_f": 0.0}
_SCALE = {"scale_warmup": False}  # of a scaled run only, whose schedule a plan would stretch

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings], Schedule]]] = {
    "ConstantScheduler": ((), {**_T_MAX, "alpha": 1.0}, _constant),
    "LinearScheduler": ((), {**_TO_ALPHA, "alpha_i": 1.0}, _linear),
    "StepScheduler": (("step_size",), {"gamma": 0.1}, _step),
    "MultiStepScheduler": (("milestones",), {"gamma": 0.1}, _multi_step),
    "ExponentialScheduler": (("gamma",), {"decay_period": "1ep"}, _exponential),
    "CosineAnnealingScheduler": ((), _TO_ALPHA, _cosine),
    "CosineAnnealingWarmRestartsScheduler": (("t_0",), {"t_mult": 1.0, "alpha_f": 0.0}, _restarts),
    "PolynomialScheduler": (("power",), _TO_ALPHA, _polynomial),
    "MultiStepWithWarmupScheduler": (("t_warmup", "milestones"), {"gamma": 0.1, **_SCALE}, _multi_step_warmed),
    "ConstantWithWarmupScheduler": (("t_warmup",), {"alpha": 1.0, **_T_MAX, **_SCALE}, _constant_warmed),
    "LinearWithWarmupScheduler": (("t_warmup",), {**_TO_ALPHA, "alpha_i": 1.0, **_SCALE}, _linear_warmed),
    "CosineAnnealingWithWarmupScheduler": (("t_warmup",), {**_TO_ALPHA, **_SCALE}, _cosine_warmed),
    "PolynomialWithWarmupScheduler": (("t_warmup",), {"power": 2.0, **_TO_ALPHA, **_SCALE}, _polynomial_warmed),
}
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""
