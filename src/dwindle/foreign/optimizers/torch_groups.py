"""Optimisers of torch 2.13, timm 1.0, Composer 0.32, and Hugging Face's TrainingArguments: those with torch's param groups."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import InvalidValueError, NoExactMapError, shown
from dwindle.foreign.optimizers.recipe import Rate, Recipe, decay_of, plan_from, rate_of, settings_of
from dwindle.foreign.schedules.peers import read as read_schedule
from dwindle.foreign.schedules.settings import Settings
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import PowerLaw

__all__ = ["NAMES", "OTHER_ADAMWS", "REFUSED", "read"]

_WHAT = {"torch": "torch's", "timm": "timm's", "composer": "Composer's", "hf": "transformers'"}


def read(peer: str, name: str, params: Mapping[str, Any], base_lr: float | None) -> Plan:
    """Return the plan of the optimiser ``name`` of torch, timm, composer or hf.

    >>> str(read("composer", "DecoupledAdamW", {"lr": 3e-4, "weight_decay": 1e-5}, None))
    'peak 3e-4 | constant | independent 1e-5 | mask name "*" decays'
    """
    what = f"{_WHAT[peer]} {name}"
    if name in REFUSED:
        raise NoExactMapError(f"{what} {REFUSED[name]}")
    recipe = NAMES[peer][name]
    if peer == "hf":
        return _training_arguments(settings_of(what, params, recipe, base_lr, "learning_rate"))
    s = settings_of(what, params, recipe, base_lr)
    rate = rate_of(peer, s, base_lr)
    if "lr_decay" in recipe.own and s.real("lr_decay", low=0.0) > 0.0:  # lr / (1 + step·lr_decay)
        falling = PowerLaw(1.0, 1, s.real("lr_decay"))
        rate = rate._replace(schedule=falling if not isinstance(s["lr"], Mapping) else rate.schedule * falling)
    return plan_from(rate, decay_of(s, _kind(s, recipe), rate) if recipe.weight_decay is not None else None)


def _kind(s: Settings, recipe: Recipe) -> type[Decay]:
    if "decoupled_weight_decay" in recipe.own:
        return Decoupled if s.flag("decoupled_weight_decay") else L2
    if "corrected_weight_decay" in recipe.own:
        return Corrected if s.flag("corrected_weight_decay") else Decoupled
    return recipe.kind


def _training_arguments(s: Settings) -> Plan:
    """Return what the Trainer does with its arguments: a schedule of max_steps, decay on all but biases and norms."""
    lr = s.real("learning_rate", above=0.0)
    name = s["lr_scheduler_type"]
    more = s["lr_scheduler_kwargs"] or {}
    if not isinstance(more, Mapping):
        raise InvalidValueError(f"lr_scheduler_kwargs must be a mapping of names to values; got {shown(more)}.")
    given = dict(more)
    if name not in ("constant", "reduce_lr_on_plateau", "greedy"):
        given = {"num_warmup_steps": _warmup_steps(s), "num_training_steps": _training_steps(s, name), **given}
    if given.get("num_training_steps", 0) is None:
        del given["num_training_steps"]
    plan = read_schedule("hf", name, given, base_lr=lr)
    if not isinstance(plan, Plan):
        raise InvalidValueError(
            f"{name} answers a metric; read it by itself, and {s.what} with another lr_scheduler_type."
        )
    optimizer = s.one_of("optim", _TRAINER_OPTIMIZERS)
    rate = Rate(plan.peak, plan.schedule, lr)
    return plan_from(rate, decay_of(s, _TRAINER_OPTIMIZERS[optimizer], rate), mask=Mask())


def _training_steps(s: Settings, name: str) -> int | None:
    steps = s.count("max_steps", low=-1)
    if steps > 0:
        return steps
    if name in ("constant_with_warmup", "inverse_sqrt"):
        return None
    raise InvalidValueError(
        f"max_steps of {s.what} must be given for {name}: the optimiser steps of the whole run, "
        "epochs · ceil(batches an epoch / gradient_accumulation_steps)."
    )


def _warmup_steps(s: Settings) -> int:
    """Return the warm-up in steps; below 1 warmup_steps is a share of the run, as warmup_ratio was before release 5."""
    steps, ratio = s.real("warmup_steps", low=0.0), s.optional("warmup_ratio", low=0.0, high=1.0)
    share = steps if 0.0 < steps < 1.0 else 0.0 if steps else ratio or 0.0
    if share == 0.0:
        return int(steps)
    whole = s.count("max_steps", low=-1)
    if whole < 1:
        raise InvalidValueError(f"a warm-up of {share:g} of the run needs max_steps of {s.what}, the steps of the run.")
    return math.ceil(whole * share)


OTHER_ADAMWS = (
    "adamw_hf", "adamw_torch_npu_fused", "adamw_torch_4bit", "adamw_torch_8bit", "adamw_8bit", "adamw_bnb_8bit",
    "adamw_anyprecision", "paged_adamw_8bit", "paged_adamw_32bit",
)  # fmt: skip
"""Those of the Trainer's AdamWs that hold their state otherwise; they decay as AdamW does."""
_TRAINER_OPTIMIZERS: dict[str, type[Decay]] = {
    "adamw_torch": Decoupled, "adamw_torch_fused": Decoupled, "adamw_torch_xla": Decoupled, "adamw_apex_fused": Decoupled,
    **dict.fromkeys(OTHER_ADAMWS, Decoupled), "adafactor": Decoupled, "sgd": L2,
}  # fmt: skip

_ANY = {"foreach": None, "maximize": False, "differentiable": False}
_GPU = {**_ANY, "capturable": False}
_ADAM = {**_GPU, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False, "fused": None}
_BETAS = {**_GPU, "betas": (0.9, 0.999), "eps": 1e-8}
_SWITCH = {"decoupled_weight_decay": False}
_SGD = {**_ANY, "momentum": 0.0, "dampening": 0.0, "nesterov": False}
_RMSPROP = {**_GPU, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False}
_ADAGRAD = {**_ANY, "lr_decay": 0.0, "initial_accumulator_value": 0.0, "eps": 1e-10, "fused": None}
_MUON = {
    "momentum": 0.95, "nesterov": True, "ns_coefficients": (3.4445, -4.775, 2.0315), "eps": 1e-7, "ns_steps": 5,
    "adjust_lr_fn": None,
}  # fmt: skip
_ADAFACTOR = {"beta2_decay": -0.8, "eps": (None, 1e-3), "d": 1.0, "foreach": None, "maximize": False}
_LBFGS = {
    "max_iter": 20, "max_eval": None, "tolerance_grad": 1e-7, "tolerance_change": 1e-9, "history_size": 100,
    "line_search_fn": None,
}  # fmt: skip
_TIMM = {"caution": False, "corrected_weight_decay": False}
_SGDW = {**_SGD, **_TIMM}
_ADAMW = {**_GPU, **_TIMM, "betas": (0.9, 0.999), "eps": 1e-8, "amsgrad": False}
_TRAINER = {
    "lr_scheduler_type": "linear", "lr_scheduler_kwargs": None, "warmup_steps": 0, "warmup_ratio": None, "max_steps": -1,
    "optim": "adamw_torch", "optim_args": None, "adam_beta1": 0.9, "adam_beta2": 0.999, "adam_epsilon": 1e-8,
    "max_grad_norm": 1.0, "num_train_epochs": 3.0, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1,
    "output_dir": None, "seed": 42, "bf16": False, "fp16": False,
}  # fmt: skip

REFUSED = {
    "ASGD": "lowers its learning rate by a rule of its own; use SGD and average the weights.",
    "Rprop": "uses lr for its first step only and then adapts each weight's own; it has no learning rate to plan.",
}
"""name of torch's optimiser -> why no plan says what it does."""

NAMES: dict[str, dict[str, Recipe]] = {
    "torch": {
        "SGD": Recipe(1e-3, 0.0, L2, {**_SGD, "fused": None}),
        "Adam": Recipe(1e-3, 0.0, L2, {**_ADAM, **_SWITCH}),
        "AdamW": Recipe(1e-3, 1e-2, Decoupled, {**_ADAM, "decoupled_weight_decay": True}),  # as its defaults say
        "NAdam": Recipe(2e-3, 0.0, L2, {**_BETAS, **_SWITCH, "momentum_decay": 4e-3}),
        "RAdam": Recipe(1e-3, 0.0, L2, {**_BETAS, **_SWITCH}),
        "Adamax": Recipe(2e-3, 0.0, L2, _BETAS),
        "RMSprop": Recipe(1e-2, 0.0, L2, _RMSPROP),
        "Adagrad": Recipe(1e-2, 0.0, L2, _ADAGRAD),
        "Adadelta": Recipe(1.0, 0.0, L2, {**_GPU, "rho": 0.9, "eps": 1e-6}),
        "Muon": Recipe(1e-3, 0.1, Decoupled, _MUON),
        "Adafactor": Recipe(1e-2, 0.0, Decoupled, _ADAFACTOR),
        "SparseAdam": Recipe(1e-3, None, own={"betas": (0.9, 0.999), "eps": 1e-8, "maximize": False}),
        "LBFGS": Recipe(1.0, None, own=_LBFGS),
        "ASGD": Recipe(1e-2),
        "Rprop": Recipe(1e-2),
    },
    "timm": {
        "sgdw": Recipe(1e-3, 0.0, Decoupled, _SGDW),
        "SGDW": Recipe(1e-3, 0.0, Decoupled, _SGDW),
        "adamw": Recipe(1e-3, 1e-2, Decoupled, _ADAMW),
        "AdamW": Recipe(1e-3, 1e-2, Decoupled, _ADAMW),
        "AdamWLegacy": Recipe(1e-3, 1e-2, Decoupled, {**_ADAMW, "clipping_threshold": None}),
    },
    "composer": {
        "DecoupledSGDW": Recipe(None, 0.0, Independent, {"momentum": 0.0, "dampening": 0.0, "nesterov": False}),
        "DecoupledAdamW": Recipe(1e-3, 1e-5, Independent, {"betas": (0.9, 0.95), "eps": 1e-8, "amsgrad": False}),
    },
    "hf": {"TrainingArguments": Recipe(5e-5, 0.0, Decoupled, _TRAINER)},
}
"""peer -> name -> what the optimiser's recipe holds, with the peer's defaults."""
