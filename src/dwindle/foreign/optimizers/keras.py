"""Optimisers of Keras 3: ``weight_decay`` of all but Ftrl is decoupled; ``regularizers.L2`` is a cost without the ½."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwindle.decay import L2, Decoupled
from dwindle.errors import NoExactMapError, real
from dwindle.foreign.optimizers.recipe import Recipe, decay_of, plan_from, rate_of, settings_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan

__all__ = ["NAMES", "read"]


def read(peer: str, name: str, params: Mapping[str, Any], base_lr: float | None) -> Plan:
    """Return the plan of Keras' optimiser ``name``, or of its L2 regulariser.

    >>> str(read("keras", "AdamW", {"learning_rate": 0.01}, None))
    'peak 0.01 | constant | decoupled 4e-3 | mask name "*" decays'
    """
    recipe, what = NAMES[name], f"Keras' {name}"
    if name == "regularizers.L2":
        l2 = Settings.of(what, params, defaults=recipe.own).real("l2", low=0.0)
        peak = 1.0 if base_lr is None else real("base_lr", base_lr, above=0.0)
        return Plan(peak, decay=L2.from_keras(l2) if l2 else None)
    s = settings_of(what, _with_recipe(params), recipe, base_lr, "learning_rate")
    s.only("gradient_accumulation_steps", None, "Keras then decays at every batch, not at every update: no plan does.")
    if name == "Muon" and (s["adam_weight_decay"] != s["weight_decay"] or s["adam_lr_ratio"] != 1):
        raise NoExactMapError(
            f"{what} has another decay or lr for the weights it gives to Adam; a plan has one. Make adam_weight_decay equal "
            "to weight_decay and adam_lr_ratio 1."
        )
    if name == "Ftrl":
        for key in ("l1_regularization_strength", "l2_regularization_strength", "l2_shrinkage_regularization_strength"):
            s.only(key, 0.0, "A plan has no counterpart of Ftrl's own penalties.")
        if s["weight_decay"]:
            s.only("weight_decay", None, "Ftrl works each weight out anew, so that what decays it before is lost.")
    rate = rate_of("keras", s, base_lr, "learning_rate")
    return plan_from(rate, decay_of(s, Decoupled, rate))


def _with_recipe(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return ``params`` with a schedule as {"name", "params"}, which get_config() of an optimiser gives as Keras saves it."""
    match params:
        case {"learning_rate": {"class_name": name, "config": {**config}}}:
            own = {key: value for key, value in config.items() if key != "name"}
            return {**params, "learning_rate": {"name": name, "params": own}}
    return params


_BASE = {
    "weight_decay": None, "clipnorm": None, "clipvalue": None, "global_clipnorm": None, "use_ema": False,
    "ema_momentum": 0.99, "ema_overwrite_frequency": None, "loss_scale_factor": None,
    "gradient_accumulation_steps": None, "name": None,
}  # fmt: skip
_BETAS = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
_MUON = {
    "adam_beta_1": 0.9, "adam_beta_2": 0.999, "adam_weight_decay": 0.004, "epsilon": 1e-7, "exclude_layers": None,
    "exclude_embeddings": True, "muon_a": 3.4445, "muon_b": -4.775, "muon_c": 2.0315, "adam_lr_ratio": 1,
    "momentum": 0.95, "ns_steps": 5, "nesterov": True, "rms_rate": 0.2,
}  # fmt: skip
_ADAFACTOR = {
    "beta_2_decay": -0.8, "epsilon_1": 1e-30, "epsilon_2": 1e-3, "clip_threshold": 1.0, "relative_step": True,
}  # fmt: skip
_FTRL = {
    "learning_rate_power": -0.5, "initial_accumulator_value": 0.1, "l1_regularization_strength": 0.0,
    "l2_regularization_strength": 0.0, "l2_shrinkage_regularization_strength": 0.0, "beta": 0.0,
}  # fmt: skip


def _optimizer(lr: float = 1e-3, weight_decay: float | None = None, **own: Any) -> Recipe:
    return Recipe(lr, own={**_BASE, **own, "weight_decay": weight_decay})


NAMES: dict[str, Recipe] = {
    "SGD": _optimizer(1e-2, momentum=0.0, nesterov=False),
    "RMSprop": _optimizer(rho=0.9, momentum=0.0, epsilon=1e-7, centered=False),
    "Adam": _optimizer(amsgrad=False, **_BETAS),
    "AdamW": _optimizer(1e-3, 0.004, amsgrad=False, **_BETAS),
    "Adadelta": _optimizer(rho=0.95, epsilon=1e-7),
    "Adagrad": _optimizer(initial_accumulator_value=0.1, epsilon=1e-7),
    "Adamax": _optimizer(**_BETAS),
    "Adafactor": _optimizer(**_ADAFACTOR),
    "Nadam": _optimizer(**_BETAS),
    "Ftrl": _optimizer(**_FTRL),
    "Lion": _optimizer(beta_1=0.9, beta_2=0.99),
    "Lamb": _optimizer(**_BETAS),
    "Muon": _optimizer(1e-3, 0.004, **_MUON),
    "regularizers.L2": Recipe(None, own={"l2": 0.01}),
}
"""name -> what the optimiser's recipe holds, with Keras' defaults."""
