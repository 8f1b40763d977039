"""timm 1.0 schedulers: the optimiser's lr times a curve of the schedule index, which is an epoch (or an update) in timm.

Step t of the plan is index t: the rate after ``scheduler.step(t)``, at 0 the rate after construction. A scheduler that timm
steps once an epoch is stretched by the steps per epoch to count optimiser steps. The noise options are not carried over.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.foreign.schedules.curves import begun, cycles, in_turn
from dwindle.foreign.schedules.peak import quotient
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, Exponential, Piecewise, PowerLaw, Ramp, Schedule, Tanh
from dwindle.schedule.plateau import Plateau
from dwindle.units import Time, number_of_steps

__all__ = ["NAMES", "read"]


def read(name: str, params: Mapping[str, Any], base_lr: float) -> Plan | Plateau:
    """Return the plan of timm's scheduler ``name`` for an optimiser whose lr is ``base_lr``, or a Plateau.

    Rate t of the rule follows step(t, metric[t]), and metric[0] is never read: rule.lrs(metric). In a training loop the rule
    is fed like any other, ``observe`` after each epoch.

    >>> str(read("CosineLRScheduler", {"t_initial": 90, "lr_min": 1e-3, "warmup_t": 5, "warmup_prefix": True}, 0.1))
    'peak 0.1 | warmup 5st, cosine to 1% over 90st'
    """
    required, defaults, build = NAMES[name]
    s = Settings.of(f"timm's {name}", params, required=required, defaults={**_COMMON, **defaults})
    s.only("noise_range_t", None, "A plan has no random noise; leave the noise out.")
    if name == "PlateauLRScheduler":
        return _plateau(s, base_lr)
    return Plan(base_lr, build(s, base_lr))


def _warmed(s: Settings, base_lr: float, curve: Schedule, *, top: float = 1.0, prefix: bool | None = None) -> Schedule:
    """Return ``curve`` after the linear warm-up to ``top``; without warmup_prefix the curve has been running meanwhile."""
    steps = s.count("warmup_t", low=0)
    if steps == 0:
        return curve
    warmup = Ramp(start=quotient(s.real("warmup_lr_init", low=0.0), base_lr), end=top, steps=steps)
    shifted = s.flag("warmup_prefix") if prefix is None else prefix
    return in_turn((warmup, steps), (curve if shifted else begun(curve, steps), None))


def _step(s: Settings, base_lr: float) -> Schedule:
    rate, every = s.real("decay_rate", low=0.0), s.steps("decay_t")
    if rate == 0.0:
        return _warmed(s, base_lr, Piecewise((math.ceil(number_of_steps(every) or 1),), (1.0, 0.0)))
    return _warmed(s, base_lr, Exponential(rate, every, staircase=True, allow_growth=rate > 1.0))


def _multi_step(s: Settings, base_lr: float) -> Schedule:
    milestones, rate = s.counts("decay_t"), s.real("decay_rate", low=0.0)
    if any(after < before for before, after in pairwise(milestones)):
        raise InvalidValueError(f"decay_t of {s.what} must increase; got {list(milestones)}.")
    # timm cuts at index milestone - 1. After construction nothing is cut yet: index 0 keeps the lr without a warm-up.
    first = 0 if s.count("warmup_t", low=0) else 1
    edges = [max(first, milestone - 1) for milestone in milestones]
    passed = edges.count(0)
    distinct = sorted(set(edges) - {0})
    factors = [rate**passed, *(rate ** sum(edge <= at for edge in edges) for at in distinct)]
    curve = Piecewise(tuple(distinct), tuple(factors)) if distinct else Constant(factors[0])
    return _warmed(s, base_lr, curve)


def _cosine(s: Settings, base_lr: float) -> Schedule:
    return _ramps(s, base_lr, "cosine", 1.0)


def _poly(s: Settings, base_lr: float) -> Schedule:
    return _ramps(s, base_lr, "linear", s.real("power", above=0.0))


def _ramps(s: Settings, base_lr: float, shape: str, power: float) -> Schedule:
    """Return cycles that fall from decay^i to lr_min, each like the first; lr_min is held after the last."""
    low, warp, decay = quotient(s.real("lr_min", low=0.0), base_lr), s.real("k_decay", above=0.0), _decay(s)

    def cycle(i: int, span: Time | int) -> Schedule:
        if decay**i < low and power != 1.0:
            raise NoExactMapError(
                f"{s.what} would rise to lr_min in cycle {i}, which has no counterpart with this power."
            )
        return Ramp(start=decay**i, end=low, steps=span, shape=shape, power=power, warp=warp)

    curve = _cycles(s, cycle, low, alike=decay == 1.0 or low == 0.0)
    if isinstance(curve, Constant) and not s["warmup_t"]:  # no cycle: only construction leaves the lr in effect
        curve = in_turn((Constant(), 1), (curve, None))
    return _warmed(s, base_lr, curve)


def _tanh(s: Settings, base_lr: float) -> Schedule:
    low, decay = quotient(s.real("lr_min", low=0.0), base_lr), _decay(s)
    lower = s.real("lb")
    upper = s.real("ub", above=lower)

    def cycle(i: int, span: Time | int) -> Schedule:
        return Tanh(end=low / decay**i, steps=span, lower=lower, upper=upper) * decay**i

    curve = _cycles(s, cycle, low, after=Constant(low))
    steps = s.count("warmup_t", low=0)
    if steps == 0:  # after construction the lr itself is in effect, which the curve starts a little below
        return in_turn((Constant(), 1), (begun(curve, 1), None))
    return _warmed(s, base_lr, curve, top=1.0 if s.flag("warmup_prefix") else curve(steps))


def _decay(s: Settings) -> float:
    return s.real("cycle_decay", above=0.0, high=1.0)


def _cycles(
    s: Settings,
    cycle: Callable[[int, Time | int], Schedule],
    low: float,
    *,
    alike: bool = False,
    after: Schedule | None = None,
) -> Schedule:
    every, growth, limit = s.real("t_initial", above=0.0), s.real("cycle_mul", low=1.0), s.count("cycle_limit", low=0)
    if limit == 0:
        return Constant(low)

    def index(step: int) -> int:
        if growth == 1.0:
            return int(step // every)
        return math.floor(math.log(1 - step / every * (1 - growth), growth))

    return cycles(cycle, every, growth, index, limit=limit, decay=_decay(s), alike=alike, after=after)


def _wsd(s: Settings, base_lr: float) -> Schedule:
    whole = s.count("t_initial")
    span = s.count("decay_t")
    if span > whole:
        raise InvalidValueError(f"decay_t of {s.what} must be at most t_initial={whole}; got {span}.")
    low, rest = quotient(s.real("lr_min", low=0.0), base_lr), whole - span
    falls, rises = _fades(s, span)
    stable = s.one_of("stable_fn", ("constant", "rsqrt", "power"))
    if stable == "constant":
        if low > 1.0:
            raise InvalidValueError(f"lr_min of {s.what} must be at most the lr {base_lr:g}; got {s['lr_min']!r}.")
        flat = in_turn((Constant(), rest), (replace(falls, end=low), None))
        return _warmed(s, base_lr, flat, prefix=True)
    timescale = s["warmup_t"] if s["stable_timescale"] is None else s["stable_timescale"]
    if timescale == 0:
        raise InvalidValueError(f"stable_timescale of {s.what} is warmup_t unless given, and that is 0; give it.")
    timed = Settings(s.what, {**s.values, "stable_timescale": timescale})
    exponent = 0.5 if stable == "rsqrt" else s.real("stable_power", above=0.0)
    falling = PowerLaw(exponent, timed.steps("stable_timescale"))
    curve: Schedule = falling * falls.shift(rest)
    if low > 0.0:  # lr_min + (stable - lr_min)·falls = stable·falls + lr_min·(1 - falls)
        curve = (curve + replace(rises, end=low).shift(rest)).clip(low=low)
    return _warmed(s, base_lr, curve, prefix=True)


def _fades(s: Settings, span: int) -> tuple[Ramp, Ramp]:
    """Return how decay_fn falls from 1 to 0 over ``span``, and 1 minus it."""
    kind, falls = s.one_of("decay_fn", ("linear", "1-sqrt", "cosine", "power", "exp")), Ramp(steps=span)
    rises = Ramp(start=0.0, end=1.0, steps=span)
    if kind == "cosine":
        return replace(falls, shape="cosine"), replace(rises, shape="cosine")
    if kind == "1-sqrt":
        return replace(falls, shape="sqrt"), replace(rises, power=0.5)
    if kind == "power":
        power = s.real("decay_power", above=0.0)
        return replace(falls, warp=power), replace(rises, power=power)
    if kind == "exp":
        ratio = s.real("decay_ratio", above=0.0, below=1.0)
        return replace(falls, shape="exponential", ratio=ratio), replace(rises, shape="exponential", ratio=1.0 / ratio)
    return falls, rises


def _plateau(s: Settings, base_lr: float) -> Plateau:
    return Plateau(
        factor=s.real("decay_rate"),
        patience=s.count("patience_t", low=0),
        threshold=s.real("threshold", low=0.0),
        cooldown=s.count("cooldown_t", low=0),
        min_lr=s.real("lr_min", low=0.0),
        mode=s.one_of("mode", ("min", "max")),
        eps=1e-8,
        warmup_steps=s.count("warmup_t", low=0),
        warmup_lr=s.real("warmup_lr_init", low=0.0),
        nan="worse",
        peak=base_lr,
        observes_first=True,
    )


def _rule(s: Settings, base_lr: float) -> Schedule:
    raise InvalidValueError(f"{s.what} answers a metric and is no schedule of steps.")


_COMMON: dict[str, Any] = {
    "warmup_t": 0, "warmup_lr_init": 0.0, "noise_range_t": None, "noise_type": "normal", "noise_pct": 0.67, "noise_std": 1.0,
    "noise_seed": None, "initialize": True, "t_in_epochs": True,
}  # fmt: skip
_CYCLE = {"lr_min": 0.0, "cycle_mul": 1.0, "cycle_decay": 1.0, "cycle_limit": 1, "warmup_prefix": False}
_PATIENCE = {"decay_rate": 0.1, "patience_t": 10, "threshold": 1e-4, "cooldown_t": 0, "lr_min": 0.0, "mode": "max"}

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings, float], Schedule]]] = {
    "CosineLRScheduler": (("t_initial",), {**_CYCLE, "k_decay": 1.0}, _cosine),
    "PolyLRScheduler": (("t_initial",), {**_CYCLE, "power": 0.5, "k_decay": 1.0}, _poly),
    "TanhLRScheduler": (("t_initial",), {**_CYCLE, "lb": -7.0, "ub": 3.0}, _tanh),
    "StepLRScheduler": (("decay_t",), {"decay_rate": 1.0, "warmup_prefix": True}, _step),
    "MultiStepLRScheduler": (("decay_t",), {"decay_rate": 1.0, "warmup_prefix": True}, _multi_step),
    "WSDLRScheduler": (
        ("t_initial", "decay_t"),
        {
            "lr_min": 0.0, "stable_fn": "constant", "stable_timescale": None, "stable_power": 0.5,
            "decay_fn": "1-sqrt", "decay_power": 0.5, "decay_ratio": 0.1,
        },
        _wsd,
    ),
    "PlateauLRScheduler": ((), _PATIENCE, _rule),
}  # fmt: skip
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""
