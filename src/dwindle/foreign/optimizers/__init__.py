"""Optimiser recipes read as plans: whose learning rate, which weight decay, under which of the conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dwindle.foreign.optimizers.classic as optimizers_classic
import dwindle.foreign.optimizers.keras as optimizers_keras
import dwindle.foreign.optimizers.optax as optimizers_optax
import dwindle.foreign.optimizers.torch_groups as optimizers_torch
from dwindle.errors import known
from dwindle.foreign.schedules.peers import peer_named
from dwindle.plan import Plan

__all__ = ["OPTIMIZERS", "read_optimizer"]

_READERS = {
    **dict.fromkeys(("torch", "timm", "composer", "hf"), optimizers_torch.read),
    "optax": optimizers_optax.read,
    "keras": optimizers_keras.read,
    **dict.fromkeys(("sklearn", "textbook"), optimizers_classic.read),
}

OPTIMIZERS: dict[str, tuple[str, ...]] = {
    **{peer: tuple(names) for peer, names in optimizers_torch.NAMES.items()},
    "optax": tuple(optimizers_optax.NAMES),
    "keras": tuple(optimizers_keras.NAMES),
    **{peer: tuple(names) for peer, names in optimizers_classic.NAMES.items()},
}
"""The peers, and the names of the optimisers (scikit-learn: estimators) of each that can be read."""


def read_optimizer(
    peer: str, name: str, params: Mapping[str, Any] | None = None, *, base_lr: float | None = None
) -> Plan:
    """Return the plan of the peer's optimiser ``name`` with its own ``params``: its learning rate and its weight decay.

    The lr may be a schedule of the same peer, {"name": ..., "params": {...}}, as in `read`; where that multiplies the
    optimiser's lr, ``base_lr`` is the latter. In optax the weight decay may be a schedule too. Parameters left out take the
    peer's defaults; those that are the optimiser's own business (momentum, betas, eps) are known by name and not read.
    The plan's mask says what the peer decays: every parameter, unless the peer itself leaves biases out (Hugging Face's
    Trainer, scikit-learn, the textbook). torch Adagrad's lr_decay becomes part of the schedule: under the plan it is 0.

    With a trust ratio (lamb, lars) the ratio scales the decay together with the update: λ is then the number that the
    optimiser takes, and not what leaves the weights. A cost without an optimiser (regularizers.L2, Ridge) has no rate: the
    peak is ``base_lr``, and 1 without it.

    Raises UnknownNameError for a peer, name or parameter that is not known, InvalidValueError for a value the peer's
    parameter cannot take, NoExactMapError for a recipe that no plan equals.

    >>> read_optimizer("torch", "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}).decay
    L2(weight_decay=0.0005, cautious=False, allow_overshoot=False)
    >>> recipe = {"lr": {"name": "StepLR", "params": {"step_size": 30}}}
    >>> str(read_optimizer("torch", "AdamW", recipe, base_lr=1e-3))
    'peak 1e-3 | step by 0.1 every 30st | decoupled 0.01 | mask name "*" decays'
    """
    peer = peer_named(peer)
    known(f"{peer} optimiser", name, OPTIMIZERS[peer])
    return _READERS[peer](peer, name, {} if params is None else params, base_lr)
