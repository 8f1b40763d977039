"""Which Keras optimisers a plan cannot be exact on, and which already have a decay of their own."""

from __future__ import annotations

import inspect
from typing import Any

import keras

from dwindle.decay import L2, Decoupled
from dwindle.errors import InvalidValueError, shown
from dwindle.plan import Plan

__all__ = ["OWN_DECAYS", "refuse"]

OWN_DECAYS = ("weight_decay", "adam_weight_decay")  # the second is Muon's, for the weights it gives to Adam

_REWRITES = {
    "Ftrl": "works its weights out anew from its own sums at every step",
    "ScheduleFreeAdamW": "keeps the weights as an average of iterates",
}


def refuse(optimizer: Any, plan: Plan) -> None:
    """Raise InvalidValueError for what is no Keras optimiser, or one on which ``plan`` cannot be exact."""
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        raise InvalidValueError(
            f"optimizer must be a keras.optimizers optimiser; got {shown(optimizer)}. Build it: keras.optimizers.Adam()."
        )
    kinds = {kind.__name__ for kind in type(optimizer).__mro__}
    if kinds & {"LossScaleOptimizer", "MultiOptimizer"}:
        raise InvalidValueError(
            f"{type(optimizer).__name__} wraps optimisers; attach the plan to what is inside it, then wrap that."
        )
    rewrites = next((why for name, why in _REWRITES.items() if name in kinds), None)
    if rewrites and plan.decay is not None and not isinstance(plan.decay, L2):
        raise InvalidValueError(
            f"{type(optimizer).__name__} {rewrites}, which would undo {plan.decay}; use l2, which acts in the gradient."
        )
    if getattr(optimizer, "_exclude_from_weight_decay", None) or getattr(
        optimizer, "_exclude_from_weight_decay_pattern", None
    ):
        raise InvalidValueError(
            "exclude_from_weight_decay was called on this optimiser; the plan owns the decay: say it in its mask, such as "
            'Mask.of(Rule("name", "*/gamma", False)).'
        )
    for name in OWN_DECAYS:
        _refuse_own_decay(optimizer, name, plan)


def _refuse_own_decay(optimizer: Any, name: str, plan: Plan) -> None:
    """Raise if the user gave the optimiser a decay that is not the plan's; none, the class's default and the plan's pass."""
    own = getattr(optimizer, name, None)
    if not own:
        return
    inits = [vars(kind)["__init__"] for kind in type(optimizer).__mro__ if "__init__" in vars(kind)]
    defaults = [inspect.signature(init).parameters.get(name) for init in inits]
    if own == next((p.default for p in defaults if p is not None), None):
        return
    if isinstance(plan.decay, Decoupled) and plan.decay.weight_decay == own:
        return
    raise InvalidValueError(
        f"{type(optimizer).__name__} has {name}={own:g} (decoupled), the plan has {plan.decay or 'no decay'}; the plan "
        f"owns the decay. Remove it from the optimiser, or write decoupled({own:g}) in the plan."
    )
