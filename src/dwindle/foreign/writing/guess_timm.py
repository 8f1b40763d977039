"""Which of timm's schedulers may be a schedule, one index an update: guesses, which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.foreign.writing.draft import Recipe
from dwindle.foreign.writing.guess_parts import Warm, cycles_in, neat, split_off, whole
from dwindle.foreign.writing.guess_torch import milestones_of
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Join,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Sum,
    Tanh,
)
from dwindle.units import number_of_steps

__all__ = ["schedulers"]


def schedulers(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of timm schedulers for an optimiser whose lr is ``peak``."""
    for warm in split_off(schedule):
        if warm.shape != "linear":
            continue
        options = _warmup(warm, peak)
        for name, params in _after(warm, peak, steps):
            yield name, {**params, **options, "t_in_epochs": False}
            if options and name != "WSDLRScheduler":
                prefix = {"warmup_prefix": name in _WITHOUT_PREFIX}
                yield name, {**params, **options, **prefix, "t_in_epochs": False}


_WITHOUT_PREFIX = ("CosineLRScheduler", "PolyLRScheduler", "TanhLRScheduler")
"""Their curves have been running during the warm-up, unless told otherwise."""


def _warmup(warm: Warm, peak: float) -> dict[str, Any]:
    if warm.steps == 0:
        return {}
    start = {"warmup_lr_init": neat(warm.start * peak)} if warm.start else {}
    return {"warmup_t": warm.steps, **start}


def _after(warm: Warm, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of what follows the warm-up; without warmup_prefix it has been running meanwhile."""
    rest: Schedule = warm.rest
    match rest:
        case Shift(schedule=inner, steps=int() as by) if by == -warm.steps or (warm.steps == 0 and by == -1):
            rest = inner
    match rest:
        case Constant():
            yield "StepLRScheduler", {"decay_t": 1, "decay_rate": 1.0}
        case Exponential(decay_rate=rate, staircase=True):
            yield "StepLRScheduler", {"decay_t": number_of_steps(rest.every), "decay_rate": rate}
        case Piecewise(boundaries=boundaries, factors=factors):
            for _, found in milestones_of([(number_of_steps(b) or 0) + 1 for b in boundaries], list(factors)):
                yield "MultiStepLRScheduler", {"decay_t": found["milestones"], "decay_rate": found["gamma"]}
        case Ramp():
            yield from _ramp(rest, peak)
        case Repeat(schedule=Ramp() as ramp):
            for name, params in _ramp(ramp, peak):
                yield name, {**params, **_cycles(rest.growth, rest.decay, cycles_in(rest, steps))}
        case Join():
            yield from _spelled(rest, peak)
            yield from _stable(rest, peak)
    yield from _tanh(rest, peak)
    yield from _power_law(rest, peak)


def _ramp(ramp: Ramp, peak: float) -> Iterator[Recipe]:
    params: dict[str, Any] = {"t_initial": _tidy(number_of_steps(ramp.steps))}
    if ramp.shape == "linear":
        params["power"] = ramp.power
    if ramp.end:
        params["lr_min"] = neat(ramp.end * peak)
    if ramp.warp != 1.0:
        params["k_decay"] = ramp.warp
    if ramp.shape in ("linear", "cosine"):
        yield ("CosineLRScheduler" if ramp.shape == "cosine" else "PolyLRScheduler"), params


def _tidy(steps: Any) -> Any:
    return int(steps) if steps is not None and steps == int(steps) else steps


def _cycles(growth: float, decay: float, limit: int) -> dict[str, Any]:
    params: dict[str, Any] = {"cycle_limit": limit}
    if growth != 1:
        params["cycle_mul"] = growth
    if decay != 1:
        params["cycle_decay"] = decay
    return params


def _spelled(join: Join, peak: float) -> Iterator[Recipe]:
    """Yield the recipe of cycles that stand one by one, as those that fall to the same lr_min from lower and lower peaks."""
    ramps = [piece for piece in _flat(join) if isinstance(piece, Ramp)]
    if len(ramps) < 2:
        return
    first, second = ramps[:2]
    spans = [number_of_steps(ramp.steps) or 1.0 for ramp in (first, second)]
    growth, decay = spans[1] / spans[0], second.start / first.start if first.start else 1.0
    for name, params in _ramp(first, peak):
        yield name, {**params, **_cycles(growth, decay, len(ramps))}


def _flat(schedule: Schedule) -> list[Schedule]:
    """Return the pieces of a schedule, whenever they begin."""
    if isinstance(schedule, Shift):
        return _flat(schedule.schedule)
    return [part for piece in schedule.pieces for part in _flat(piece)] if isinstance(schedule, Join) else [schedule]


def _stable(join: Join, peak: float) -> Iterator[Recipe]:
    """Yield warm-up, stable, decay: the rate is held and then falls."""
    match join.pieces:
        case (Constant(factor=1.0), Ramp(start=1.0) as falls):
            yield from _wsd(falls, whole(join.spans[0]), peak, {})
        case (Ramp(start=1.0) as falls,):
            yield from _wsd(falls, 0, peak, {})


def _wsd(falls: Ramp, rest: int, peak: float, more: dict[str, Any]) -> Iterator[Recipe]:
    span = whole(falls.steps)
    shapes: dict[str, dict[str, Any]] = {
        "sqrt": {},
        "linear": {"decay_fn": "linear"} if falls.warp == 1.0 else {"decay_fn": "power", "decay_power": falls.warp},
        "cosine": {"decay_fn": "cosine"},
        "exponential": {"decay_fn": "exp", "decay_ratio": falls.ratio},
    }
    if falls.shape in shapes and span:
        low = {"lr_min": neat(falls.end * peak)} if falls.end else {}
        yield "WSDLRScheduler", {"t_initial": rest + span, "decay_t": span, **low, **more, **shapes[falls.shape]}


def _power_law(rest: Schedule, peak: float) -> Iterator[Recipe]:
    """Yield the stable phases that fall themselves: (1 + t/timescale)^-power, times the decay."""
    low = 0.0
    match rest:
        case Clip(schedule=Sum(terms=(inner, *_)), low=low, high=None):
            rest = inner
    match rest:
        case Product(
            factors=(PowerLaw(rate=1.0, staircase=False) as law, Shift(schedule=Ramp() as falls, steps=int() as by))
        ):
            pass
        case Product(factors=(PowerLaw(rate=1.0, staircase=False) as law, Ramp() as falls)):
            by = 0
        case _:
            return
    stable: dict[str, Any] = {"stable_fn": "rsqrt"}
    if law.exponent != 0.5:
        stable = {"stable_fn": "power", "stable_power": law.exponent}
    stable["stable_timescale"] = _tidy(number_of_steps(law.every))
    more = {**stable, **({"lr_min": neat(low * peak)} if low else {})}
    yield from _wsd(falls, by, peak, more)


def _tanh(rest: Schedule, peak: float) -> Iterator[Recipe]:
    """Yield the decay by tanh: after construction timm has the lr itself in effect, and lr_min after the last cycle."""
    waves = [(p.schedule, p.factor) if isinstance(p, Scaled) else (p, 1.0) for p in _flat(rest)]
    tanhs = [(wave, top) for wave, top in waves if isinstance(wave, Tanh)]
    if not tanhs:
        return
    first, _ = tanhs[0]
    params: dict[str, Any] = {"t_initial": _tidy(number_of_steps(first.steps)), "lb": first.lower, "ub": first.upper}
    if first.end:
        params["lr_min"] = neat(first.end * peak)
    if len(tanhs) > 1:
        second, decay = tanhs[1]
        growth = (number_of_steps(second.steps) or 1.0) / (number_of_steps(first.steps) or 1.0)
        params |= _cycles(growth, decay, len(tanhs))
    yield "TanhLRScheduler", params
