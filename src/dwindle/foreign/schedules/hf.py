"""Hugging Face transformers 5 schedulers, by their names in ``get_scheduler``: the optimiser's lr times a factor of the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import dwindle.foreign.schedules.pytorch as pytorch
from dwindle.errors import InvalidValueError, shown
from dwindle.foreign.schedules.curves import begun, cosine_waves, cycles, in_turn
from dwindle.foreign.schedules.peak import quotient
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, PowerLaw, Ramp, Schedule
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau
from dwindle.units import Time

__all__ = ["NAMES", "read"]


def read(name: str, params: Mapping[str, Any], base_lr: float) -> Plan | Plateau | Greedy:
    """Return the plan of the scheduler ``name`` for an optimiser whose lr is ``base_lr``, or a feedback rule.

    Of a smoothed GreedyLR (smooth=True) every finite metric is followed to the bit. After a metric that is nan its running
    sum stays nan and it cuts for ever, until a reset; here that metric is kept out of the window and the rule recovers.

    ``params`` are the arguments of ``get_scheduler``; what belongs in scheduler_specific_kwargs may also stand beside them.

    >>> str(read("cosine", {"num_warmup_steps": 10, "num_training_steps": 100}, 3e-4))
    'peak 3e-4 | warmup 10st, (cosine to 0% over 90st) mirror every 90st'
    """
    required, defaults, build = NAMES[name]
    s = Settings.of(f"transformers' {name}", _flat(name, params), required=required, defaults=defaults)
    if name == "reduce_lr_on_plateau":
        return pytorch.plateau(s, base_lr)
    if name == "greedy":
        return _greedy(s, base_lr)
    return Plan(base_lr, build(s, base_lr))


def _flat(name: str, params: Any) -> dict[str, Any]:
    """Return ``params`` with scheduler_specific_kwargs unpacked; step counts that this scheduler does not read are dropped."""
    if not isinstance(params, Mapping):
        raise InvalidValueError(f"the parameters of transformers' {name} must be a mapping; got {shown(params)}.")
    flat = {key: value for key, value in params.items() if key != "scheduler_specific_kwargs"}
    specific = params.get("scheduler_specific_kwargs")
    if specific is not None and not isinstance(specific, Mapping):
        raise InvalidValueError(f"scheduler_specific_kwargs must be a mapping; got {shown(specific)}.")
    for key, value in (specific or {}).items():
        if key in flat:
            raise InvalidValueError(f"{key} stands both in scheduler_specific_kwargs and beside it; give it once.")
        flat[key] = value
    known = (*NAMES[name][0], *NAMES[name][1])
    unread = {"num_warmup_steps", "num_training_steps"}.difference(known)  # get_scheduler takes both and passes on some
    return {key: value for key, value in flat.items() if key not in unread}


def _warmed(s: Settings, curve: Schedule, start: float = 0.0, shape: str = "linear") -> Schedule:
    steps = s.count("num_warmup_steps", low=0)
    if steps == 0:
        return curve
    return in_turn((Ramp(start=start, end=1.0, steps=steps, shape=shape), steps), (curve, None))


def _room(s: Settings) -> int:
    """Return the steps after the warm-up; zero or less where the warm-up takes the whole run."""
    return s.count("num_training_steps", low=0) - s.count("num_warmup_steps", low=0)


def _constant(s: Settings, base_lr: float) -> Schedule:
    return Constant()


def _constant_with_warmup(s: Settings, base_lr: float) -> Schedule:
    steps = s.count("num_warmup_steps", low=0)
    return Ramp(start=0.0, end=1.0, steps=steps) if steps else Constant()


def _linear(s: Settings, base_lr: float) -> Schedule:
    room = _room(s)
    return _warmed(s, Ramp(steps=room) if room > 0 else Constant(0.0))


def _cosine(s: Settings, base_lr: float) -> Schedule:
    return _warmed(s, cosine_waves(max(1, _room(s)), s.real("num_cycles")))


def _cosine_with_min_lr(s: Settings, base_lr: float) -> Schedule:
    return _warmed(s, cosine_waves(max(1, _room(s)), s.real("num_cycles"), _floor(s, base_lr)))


def _cosine_warmup_with_min_lr(s: Settings, base_lr: float) -> Schedule:
    """Return the cosine that is one step ahead: the warm-up ends at its last step, the decay has begun at its first."""
    steps, start = s.count("num_warmup_steps", low=0), s.optional("warmup_lr_rate", low=0.0)
    curve = begun(cosine_waves(max(1, _room(s)), s.real("num_cycles"), _floor(s, base_lr)), 1)
    if steps == 0:
        return curve
    start = 1.0 / steps if start is None else start
    warmup = Ramp(start=start, end=1.0, steps=steps - 1) if steps > 1 else Constant(start)
    return in_turn((warmup, steps), (curve, None))


def _floor(s: Settings, base_lr: float) -> float:
    floor, rate = s.optional("min_lr", low=0.0), s.optional("min_lr_rate", low=0.0)
    if (floor is None) == (rate is None):
        raise InvalidValueError(f"{s.what} needs min_lr or min_lr_rate, and only one of them.")
    return rate if rate is not None else quotient(floor or 0.0, base_lr)


def _cosine_with_restarts(s: Settings, base_lr: float) -> Schedule:
    room, number = max(1, _room(s)), s.real("num_cycles", above=0.0)

    def index(step: int) -> int:
        return math.floor(number * (step / room))

    def cycle(i: int, span: Time | int) -> Schedule:
        return Ramp(steps=span, shape="cosine")

    curve = cycles(cycle, room / number, 1.0, index, limit=math.ceil(number))
    # cycles that are whole steps end at 0 exactly; others, and one cut short, are held there
    ends = number == int(number) and room % number == 0
    return _warmed(s, curve if ends else in_turn((curve, room), (Constant(0.0), None)))


def _polynomial(s: Settings, base_lr: float) -> Schedule:
    room, end = _room(s), s.real("lr_end", low=0.0)
    if room <= 0:
        raise InvalidValueError(
            f"num_training_steps of {s.what} must be above num_warmup_steps; got {s['num_training_steps']!r}."
        )
    if end >= base_lr:
        raise InvalidValueError(f"lr_end of {s.what} must be below the lr {base_lr:g}; got {end!r}.")
    power = s.real("power", low=0.0)
    # power 0 stays at the lr up to num_training_steps, and then falls at once
    curve = Ramp(end=quotient(end, base_lr), steps=room, power=power) if power else Constant()
    return _warmed(s, curve if power else in_turn((curve, room + 1), (Constant(quotient(end, base_lr)), None)))


def _inverse_sqrt(s: Settings, base_lr: float) -> Schedule:
    steps = s.count("num_warmup_steps", low=0)
    timescale = (steps or 10_000) if s["timescale"] is None else s.steps("timescale")
    return _warmed(s, PowerLaw(0.5, timescale))


_WSD_SHAPES = {"linear": "linear", "cosine": "cosine", "1-sqrt": "sqrt"}


def _warmup_stable_decay(s: Settings, base_lr: float) -> Schedule:
    span, low = s.count("num_decay_steps", low=0), s.real("min_lr_ratio", low=0.0)
    rise = _WSD_SHAPES[s.one_of("warmup_type", _WSD_SHAPES)]
    shape, waves = _WSD_SHAPES[s.one_of("decay_type", _WSD_SHAPES)], s.real("num_cycles")
    if s["num_stable_steps"] is not None:
        stable = s.count("num_stable_steps", low=0)
    elif s["num_training_steps"] is not None:
        stable = _room(s) - span
    else:
        raise InvalidValueError(f"{s.what} needs num_training_steps or num_stable_steps.")
    decay: Schedule = Constant(low)
    if span and shape == "cosine" and waves != 0.5:
        decay = in_turn((cosine_waves(span, waves, low), span), (Constant(low), None))
    elif span:
        decay = Ramp(end=low, steps=span, shape=shape)
    if stable < 0:  # a warm-up and a decay longer than the run: the decay has begun by the end of the warm-up
        return _warmed(s, begun(decay, -stable), low, rise)
    return _warmed(s, in_turn((Constant(), stable), (decay, None)), low, rise)


def _greedy(s: Settings, base_lr: float) -> Greedy:
    return Greedy(
        factor=s.real("factor"),
        patience=s.count("patience", low=0),
        threshold=s.real("threshold", low=0.0),
        threshold_mode=s.one_of("threshold_mode", ("rel", "abs")),
        mode=s.one_of("mode", ("min", "max")),
        cooldown=s.count("cooldown", low=0),
        warmup=s.count("warmup", low=0),
        min_lr=s.real("min_lr", low=0.0),
        max_lr=s.real("max_lr", above=0.0),
        eps=s.real("eps", low=0.0),
        window=s.count("window_size") if s.flag("smooth") else None,
        reset_after=s.count("reset_start"),
        nan="worse",
        peak=base_lr,
    )


def _rule(s: Settings, base_lr: float) -> Schedule:
    raise InvalidValueError(f"{s.what} answers a metric and is no schedule of steps.")


_STEPS = ("num_warmup_steps", "num_training_steps")
_FLOORS = {"num_cycles": 0.5, "min_lr": None, "min_lr_rate": None}
_WSD = {
    "num_training_steps": None, "num_stable_steps": None, "warmup_type": "linear", "decay_type": "cosine",
    "min_lr_ratio": 0.0, "num_cycles": 0.5,
}  # fmt: skip
_GREEDY = {
    "mode": "min", "factor": 0.95, "patience": 10, "threshold": 1e-6, "threshold_mode": "abs", "cooldown": 0, "warmup": 0,
    "min_lr": 1e-3, "max_lr": 1.0, "eps": 1e-8, "verbose": False, "smooth": False, "window_size": 50, "reset_start": 500,
}  # fmt: skip

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings, float], Schedule]]] = {
    "constant": ((), {}, _constant),
    "constant_with_warmup": (("num_warmup_steps",), {}, _constant_with_warmup),
    "linear": (_STEPS, {}, _linear),
    "cosine": (_STEPS, {"num_cycles": 0.5}, _cosine),
    "cosine_with_restarts": (_STEPS, {"num_cycles": 1}, _cosine_with_restarts),
    "polynomial": (_STEPS, {"lr_end": 1e-7, "power": 1.0}, _polynomial),
    "inverse_sqrt": (("num_warmup_steps",), {"timescale": None}, _inverse_sqrt),
    "cosine_with_min_lr": (_STEPS, _FLOORS, _cosine_with_min_lr),
    "cosine_warmup_with_min_lr": (_STEPS, {**_FLOORS, "warmup_lr_rate": None}, _cosine_warmup_with_min_lr),
    "warmup_stable_decay": (("num_warmup_steps", "num_decay_steps"), _WSD, _warmup_stable_decay),
    "reduce_lr_on_plateau": ((), pytorch.NAMES["ReduceLROnPlateau"][1], _rule),
    "greedy": ((), _GREEDY, _rule),
}
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""
