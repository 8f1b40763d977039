"""Optimisers of optax 0.2: add_decayed_weights before the scaling is l2, between the scaling and the learning rate decoupled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dwindle.foreign.schedules.optax as optax
from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import InvalidValueError
from dwindle.foreign.optimizers.recipe import Rate, Recipe, decay_of, plan_from, rate_of, settings_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan

__all__ = ["NAMES", "read"]


def read(peer: str, name: str, params: Mapping[str, Any], base_lr: float | None) -> Plan:
    """Return the plan of optax's optimiser ``name``; its weight_decay may be an optax schedule {"name", "params"}.

    >>> str(read("optax", "lion", {"learning_rate": 1e-4}, None))
    'peak 1e-4 | constant | decoupled 1e-3 | mask name "*" decays'
    """
    recipe = NAMES[name]
    s = settings_of(f"optax's {name}", params, recipe, base_lr, "learning_rate")
    for key in ("mask", "weight_decay_mask"):
        if key in recipe.own and s[key] is not recipe.own[key]:
            raise InvalidValueError(f"{key} of {s.what} cannot be read; leave it out and give the plan a Mask.")
    rate = rate_of("optax", s, base_lr, "learning_rate")
    return plan_from(rate, None if recipe.weight_decay is None else _decay(s, recipe, rate))


def _decay(s: Settings, recipe: Recipe, rate: Rate) -> Decay | None:
    value = s["weight_decay"]
    if not isinstance(value, Mapping):
        return decay_of(s, recipe.kind, rate)
    inner = Settings.of(f"the weight_decay of {s.what}", value, required=("name",), defaults={"params": {}})
    return recipe.kind(optax.schedule(inner.one_of("name", optax.NAMES), inner["params"]))


_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "eps_root": 0.0, "mu_dtype": None, "nesterov": False}
_ADAMW = {**_ADAM, "mask": None}
_BETAS = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
_SGD = {"momentum": None, "nesterov": False, "accumulator_dtype": None}
_LION = {"b1": 0.9, "b2": 0.99, "mu_dtype": None, "mask": None}
_LAMB = {**_BETAS, "eps": 1e-6, "eps_root": 0.0, "mask": None}
_LARS = {
    "weight_decay_mask": True, "trust_coefficient": 0.001, "eps": 0.0, "trust_ratio_mask": True, "momentum": 0.9,
    "nesterov": False,
}  # fmt: skip
_ADAN = {"b1": 0.98, "b2": 0.92, "b3": 0.99, "eps": 1e-8, "eps_root": 1e-8, "mask": None}
_RMSPROP = {
    "decay": 0.9, "eps": 1e-8, "initial_scale": 0.0, "eps_in_sqrt": True, "centered": False, "momentum": None,
    "nesterov": False, "bias_correction": False,
}  # fmt: skip

NAMES: dict[str, Recipe] = {
    "sgd": Recipe(None, own=_SGD),
    "sgd+decay before (coupled)": Recipe(None, 0.0, L2, _SGD),
    "sgd+decay after momentum (decoupled)": Recipe(None, 0.0, Decoupled, _SGD),
    "adam": Recipe(None, own=_ADAM),
    "adam+decay before (coupled)": Recipe(None, 0.0, L2, _ADAM),
    "adamw": Recipe(None, 1e-4, Decoupled, _ADAMW),
    "nadam": Recipe(None, own={**_ADAM, "nesterov": True}),
    "nadamw": Recipe(None, 1e-4, Decoupled, {**_ADAMW, "nesterov": True}),
    "adamax": Recipe(None, own=_BETAS),
    "adamaxw": Recipe(None, 1e-4, Decoupled, {**_BETAS, "mask": None}),
    "lion": Recipe(None, 1e-3, Decoupled, _LION),
    "lamb": Recipe(None, 0.0, Decoupled, _LAMB),
    "lars": Recipe(None, 0.0, L2, _LARS),
    "adan": Recipe(None, 0.0, Decoupled, _ADAN),
    "rmsprop": Recipe(None, own=_RMSPROP),
    "adagrad": Recipe(None, own={"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "adadelta": Recipe(None, 0.0, L2, {"rho": 0.9, "eps": 1e-6, "weight_decay_mask": None}),
}
"""name -> what the optimiser's recipe holds, with optax's defaults; "+decay" is a chain with add_decayed_weights."""
