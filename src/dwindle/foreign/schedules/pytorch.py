"""torch 2.13 schedulers, as they run: one ``step()`` after each optimiser step, the chained form where they have two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from dwindle.errors import InvalidValueError, NoExactMapError, UnknownNameError
from dwindle.foreign.schedules.curves import in_turn
from dwindle.foreign.schedules.onecycle import cyclic, one_cycle
from dwindle.foreign.schedules.peak import per, plan_of, quotient
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, Exponential, Mirror, Piecewise, Product, Ramp, Repeat, Schedule
from dwindle.schedule.plateau import Plateau

__all__ = ["NAMES", "plateau", "read"]


class Curve(NamedTuple):
    """Learning rates unit·schedule(step), and the lr that torch then takes for the optimiser's own (its initial_lr)."""

    schedule: Schedule
    unit: float
    initial_lr: float


def read(name: str, params: Mapping[str, Any], base_lr: float) -> Plan | Plateau:
    """Return the plan of torch's scheduler ``name`` for a parameter group whose lr is ``base_lr``, or a Plateau.

    An absolute floor (eta_min) is a different share of every group's lr: read the scheduler once per group.

    >>> str(read("StepLR", {"step_size": 30, "gamma": 0.5}, 0.1))
    'peak 0.1 | step by 0.5 every 30st'
    """
    if name == "ReduceLROnPlateau":
        return plateau(_settings(name, params), base_lr)
    found = _curve(name, params, base_lr)
    return plan_of(found.schedule, found.unit)


def plateau(s: Settings, base_lr: float) -> Plateau:
    """Return torch's ReduceLROnPlateau for one parameter group; a metric that is nan counts as bad, as in torch.

    So does an infinite one, which torch takes for the best there can be if its sign is that of an improvement.
    """
    return Plateau(
        factor=s.real("factor", low=0.0),
        patience=s.count("patience", low=0),
        threshold=s.real("threshold", low=0.0),
        threshold_mode=s.one_of("threshold_mode", ("rel", "abs")),
        mode=s.one_of("mode", ("min", "max")),
        cooldown=s.count("cooldown", low=0),
        min_lr=s.real("min_lr", low=0.0),
        eps=s.real("eps", low=0.0),
        nan="worse",
        peak=base_lr,
    )


def _settings(name: str, params: Any) -> Settings:
    required, defaults, _ = NAMES[name]
    s = Settings.of(f"torch's {name}", params, required=required, defaults={**defaults, "last_epoch": -1})
    s.only("last_epoch", -1, "A plan begins at step 0; to go on from a later step, start the run there.")
    return s


def _curve(name: str, params: Any, base_lr: float, *, first: bool = True) -> Curve:
    """Return the curve of scheduler ``name``; ``first`` False where a SequentialLR begins it by its closed form."""
    s = _settings(name, params)
    if name in ("SequentialLR", "ChainedScheduler"):
        return (_sequential if name == "SequentialLR" else _chained)(s, base_lr)
    if name == "OneCycleLR":
        return Curve(one_cycle(s), peak := s.real("max_lr", above=0.0), peak / s.real("div_factor", above=0.0))
    if name == "CyclicLR":
        return Curve(cyclic(s), s.real("max_lr", above=0.0), base_lr)
    if name == "ConstantLR" and s["total_iters"] == 0 and not first:
        return Curve(Constant(), base_lr, base_lr)
    return Curve(NAMES[name][2](s, base_lr), base_lr, base_lr)


def _step(s: Settings, base_lr: float) -> Schedule:
    return _stairs(s.real("gamma", low=0.0), s.count("step_size"))


def _exponential(s: Settings, base_lr: float) -> Schedule:
    return _stairs(s.real("gamma", low=0.0), 1)


def _stairs(gamma: float, every: int) -> Schedule:
    if gamma == 0.0:
        return Piecewise((every,), (1.0, 0.0))
    return Exponential(gamma, every, staircase=every > 1, allow_growth=gamma > 1.0)


def _multi_step(s: Settings, base_lr: float) -> Schedule:
    milestones, gamma = sorted(s.counts("milestones")), s.real("gamma", low=0.0)
    distinct = sorted(set(milestones) - {0})
    factors = [gamma ** sum(m <= at for m in milestones) for at in (0, *distinct)]  # a milestone named twice cuts twice
    return Piecewise(tuple(distinct), tuple(factors)) if distinct else Constant(factors[0])


def _constant(s: Settings, base_lr: float) -> Schedule:
    factor, steps = s.real("factor", low=0.0, high=1.0), s.count("total_iters", low=0)
    if factor == 0.0 and steps:
        raise InvalidValueError(f"factor of {s.what} must be above 0; at total_iters torch divides by it.")
    # the factor is taken back at step total_iters, which for 0 has gone by
    return Piecewise((steps,), (factor, 1.0)) if steps else Constant(factor)


def _linear(s: Settings, base_lr: float) -> Schedule:
    start, end = s.real("start_factor", above=0.0, high=1.0), s.real("end_factor", low=0.0, high=1.0)
    steps = s.count("total_iters", low=0)
    return Ramp(start=start, end=end, steps=steps) if steps else Constant(start)


def _polynomial(s: Settings, base_lr: float) -> Schedule:
    steps, power = s.count("total_iters", low=0), s.real("power", low=0.0)
    return Ramp(steps=steps, power=power) if steps and power else Constant()


def _cosine(s: Settings, base_lr: float) -> Schedule:
    every = s.count("T_max")  # after T_max it climbs again
    return Mirror(Ramp(end=quotient(s.real("eta_min", low=0.0), base_lr), steps=every, shape="cosine"), every)


def _warm_restarts(s: Settings, base_lr: float) -> Schedule:
    every = s.count("T_0")
    cycle = Ramp(end=quotient(s.real("eta_min", low=0.0), base_lr), steps=every, shape="cosine")
    return Repeat(cycle, every, s.count("T_mult"))


def _sequential(s: Settings, base_lr: float) -> Curve:
    built = _children(s)
    named = _with_last_cycle(built)
    milestones = s.between("milestones", "schedulers", len(named))
    lengths = [after - before for before, after in pairwise((0, *milestones))]
    at_start = sum(milestone == 0 for milestone in milestones)
    curves, initial = [], base_lr
    for i, (name, params) in enumerate(named):
        if name in ("SequentialLR", "ChainedScheduler"):
            raise NoExactMapError(
                f"torch cannot begin a {name} inside a SequentialLR (it has no get_lr); write it as one list."
            )
        curve = _curve(name, params, initial, first=i == at_start)
        curves.append(curve)
        # the first scheduler to be built sets the group's initial_lr, and CyclicLR has changed the lr by then;
        # OneCycleLR sets its own, before the last of them has changed its rates
        own = curve if name != "OneCycleLR" else _curve(name, built[i][1], initial)
        initial = params["base_lr"] if name == "CyclicLR" and i == 0 else own.initial_lr
    if initial != curves[at_start].initial_lr:  # a OneCycleLR built later has changed what the run begins with
        curves[at_start] = _begun_at(initial, *named[at_start], curves[at_start])
    unit = max(curve.unit for curve in curves)
    pieces = [curve.schedule if curve.unit == unit else per(curve.schedule, unit / curve.unit) for curve in curves]
    return Curve(in_turn(*zip(pieces, (*lengths, None), strict=True)), unit, initial)


def _with_last_cycle(named: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return the schedulers as they run: every OneCycleLR by the rates of the last, which overwrote them in the group."""
    cycles = [params for name, params in named if name == "OneCycleLR"]
    if not cycles or not all(isinstance(params, Mapping) for params in cycles):
        return named
    last = {**_ONE_CYCLE, **cycles[-1]}
    rates = {key: last[key] for key in ("max_lr", "div_factor", "final_div_factor") if key in last}
    return [(name, {**params, **rates} if name == "OneCycleLR" else params) for name, params in named]


def _begun_at(lr: float, name: str, params: Any, curve: Curve) -> Curve:
    """Return the first curve of a SequentialLR of which a later OneCycleLR has set the lr to begin with."""
    if name == "CosineAnnealingLR":
        raise NoExactMapError(
            "a OneCycleLR later in the SequentialLR changes the lr CosineAnnealingLR begins with; split them."
        )
    return _curve(name, params, lr) if name in _MULTIPLIES else curve


_FOREVER = 10**15  # steps: a factor that is 1 at two steps is 1 between them, each of these goes one way
_MULTIPLIES = ("ConstantLR", "LinearLR", "StepLR", "MultiStepLR", "ExponentialLR", "PolynomialLR")


def _chained(s: Settings, base_lr: float) -> Curve:
    """Return the product of the schedulers' factors: each multiplies the lr that the one before has left.

    So does CosineAnnealingLR without a floor until T_max, where its factor is 0; there it begins anew from the optimiser's lr.
    """
    named = _children(s)
    for name, _ in named:
        if name not in (*_MULTIPLIES, "CosineAnnealingLR"):
            raise NoExactMapError(
                f"{name} in {s.what} overwrites what the other schedulers did instead of multiplying it; chain only "
                f"{', '.join(_MULTIPLIES)}, or use SequentialLR for a warm-up."
            )
    factors = tuple(_curve(name, params, base_lr).schedule for name, params in named)
    for i, (name, params) in enumerate(named):
        if name == "CosineAnnealingLR" and len(named) > 1:
            others = (*factors[:i], *factors[i + 1 :])
            if params.get("eta_min") or any(other(at) != 1.0 for other in others for at in (params["T_max"], _FOREVER)):
                raise NoExactMapError(
                    f"CosineAnnealingLR in {s.what} multiplies the others only with eta_min=0 and until step T_max, where it "
                    "takes up the optimiser's lr again; chain it with a warm-up that is over by then, or use SequentialLR."
                )
    return Curve(Product(factors) if len(factors) > 1 else factors[0], base_lr, base_lr)


def _children(s: Settings) -> list[tuple[str, Any]]:
    """Return the (name, params) of the schedulers inside ``s``."""
    children = []
    for item in s.items("schedulers"):
        inner = Settings.of(f"a scheduler in {s.what}", item, required=("name",), defaults={"params": {}})
        name = inner.one_of("name", NAMES)
        if name == "ReduceLROnPlateau":
            raise InvalidValueError(f"{s.what} cannot hold a ReduceLROnPlateau: torch has no metric to give it there.")
        children.append((name, inner["params"]))
    if not children:
        raise InvalidValueError(f"schedulers of {s.what} must not be empty.")
    return children


def _function(s: Settings, base_lr: float) -> Schedule:
    raise UnknownNameError(
        f"{s.what} is a Python function, not data; write its values as a table, or use custom(function)."
    )


_CYCLIC = {
    "step_size_up": 2000, "step_size_down": None, "mode": "triangular", "gamma": 1.0, "scale_fn": None,
    "scale_mode": "cycle", "cycle_momentum": True, "base_momentum": 0.8, "max_momentum": 0.9,
}  # fmt: skip
_ONE_CYCLE = {
    "total_steps": None, "epochs": None, "steps_per_epoch": None, "pct_start": 0.3, "anneal_strategy": "cos",
    "cycle_momentum": True, "base_momentum": 0.85, "max_momentum": 0.95, "div_factor": 25.0, "final_div_factor": 1e4,
    "three_phase": False,
}  # fmt: skip
_PLATEAU = {
    "mode": "min", "factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0,
    "min_lr": 0.0, "eps": 1e-8,
}  # fmt: skip

NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings, float], Schedule]]] = {
    "StepLR": (("step_size",), {"gamma": 0.1}, _step),
    "MultiStepLR": (("milestones",), {"gamma": 0.1}, _multi_step),
    "ConstantLR": ((), {"factor": 1.0 / 3, "total_iters": 5}, _constant),
    "LinearLR": ((), {"start_factor": 1.0 / 3, "end_factor": 1.0, "total_iters": 5}, _linear),
    "ExponentialLR": (("gamma",), {}, _exponential),
    "PolynomialLR": ((), {"total_iters": 5, "power": 1.0}, _polynomial),
    "CosineAnnealingLR": (("T_max",), {"eta_min": 0.0}, _cosine),
    "CosineAnnealingWarmRestarts": (("T_0",), {"T_mult": 1, "eta_min": 0.0}, _warm_restarts),
    "CyclicLR": (("base_lr", "max_lr"), _CYCLIC, _function),
    "OneCycleLR": (("max_lr",), _ONE_CYCLE, _function),
    "SequentialLR": (("schedulers", "milestones"), {}, _function),
    "ChainedScheduler": (("schedulers",), {}, _function),
    "ReduceLROnPlateau": ((), _PLATEAU, _function),
    "LambdaLR": (("lr_lambda",), {}, _function),
    "MultiplicativeLR": (("lr_lambda",), {}, _function),
}
"""name -> (parameters that must be given, the peer's defaults, the factor of base_lr where it is one)."""
