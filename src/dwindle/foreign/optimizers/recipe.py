"""What an optimiser's recipe says of the two decays: its learning rate, a number or a schedule, and its weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dwindle.decay import L2, Corrected, Decay, Independent
from dwindle.errors import InvalidValueError, NoExactMapError, real, shown
from dwindle.foreign.schedules.peers import read
from dwindle.foreign.schedules.settings import Settings
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Constant, Schedule

__all__ = ["Rate", "Recipe", "decay_of", "plan_from", "rate_of", "settings_of"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """An optimiser as its peer defines it: its default lr (None: must be given) and weight decay (None: it has none).

    ``kind`` is the convention of that decay. ``own`` are the other parameters with their defaults: what the optimiser
    does itself, which a plan neither holds nor changes.
    """

    lr: float | None
    weight_decay: float | None = None
    kind: type[Decay] = L2
    own: Mapping[str, Any] = field(default_factory=dict)


class Rate(NamedTuple):
    """A learning rate: peak·schedule(step), and the lr that the optimiser itself was built with."""

    peak: float
    schedule: Schedule
    initial: float


def settings_of(what: str, params: Any, recipe: Recipe, base_lr: float | None, lr_key: str = "lr") -> Settings:
    """Return the checked parameters of an optimiser; ``base_lr`` stands for a learning rate that is not among them."""
    if base_lr is not None:
        base_lr = real("base_lr", base_lr, above=0.0)
        given = params.get(lr_key) if isinstance(params, Mapping) else None
        if isinstance(params, Mapping) and given is None:
            params = {**params, lr_key: base_lr}
        elif not isinstance(given, Mapping) and given != base_lr:
            raise InvalidValueError(
                f"{lr_key}={shown(given)} of {what} contradicts base_lr={base_lr:g}; give one of them."
            )
    required = () if recipe.lr is not None else (lr_key,)
    defaults = {**recipe.own, **({} if recipe.lr is None else {lr_key: recipe.lr})}
    if recipe.weight_decay is not None:
        defaults["weight_decay"] = recipe.weight_decay
    s = Settings.of(what, params, required=required, defaults=defaults)
    for key, default in recipe.own.items():  # a typing error is refused also where the plan does not read the number
        if isinstance(default, bool):
            s.flag(key)
        elif isinstance(default, float):
            s.optional(key)
    return s


def rate_of(peer: str, s: Settings, base_lr: float | None, lr_key: str = "lr") -> Rate:
    """Return the learning rate of ``s``: a number, or the recipe {"name", "params"} of a schedule of the same peer."""
    if not isinstance(s[lr_key], Mapping):
        lr = s.real(lr_key, low=0.0)
        return Rate(lr, Constant(), lr)
    inner = Settings.of(f"the {lr_key} of {s.what}", s[lr_key], required=("name",), defaults={"params": {}})
    plan = read(peer, inner["name"], inner["params"], base_lr=base_lr)
    if not isinstance(plan, Plan):
        raise InvalidValueError(
            f"{inner['name']} answers a metric and is no schedule of steps, so it cannot be the {lr_key} of {s.what}; "
            "read it by itself, and the optimiser with a plain lr."
        )
    return Rate(plan.peak, plan.schedule, plan.peak if base_lr is None else base_lr)


def decay_of(s: Settings, kind: type[Decay], rate: Rate, key: str = "weight_decay") -> Decay | None:
    """Return the decay of ``s``, None where it is 0.

    Peers that divide the lr by the one the optimiser was built with (Composer, timm's corrected) divide by another number
    than our peak where the schedule rises above it: λ is then larger by as much.
    """
    lam = s.optional(key, low=0.0)
    if not lam:
        return None
    if issubclass(kind, Independent | Corrected) and rate.peak != rate.initial:
        if rate.initial == 0.0:
            raise NoExactMapError(f"{s.what} divides by the lr it was built with, which is 0; give it the peak.")
        lam *= rate.peak / rate.initial
    return kind(lam)


def plan_from(rate: Rate, decay: Decay | None, *, mask: Mask | None = None) -> Plan:
    """Return the plan of a rate and a decay; unless told otherwise every parameter decays, as the peers' optimisers do it."""
    return Plan(
        rate.peak, rate.schedule, decay, Mask.everything() if mask is None and decay is not None else mask or Mask()
    )
