"""Recipes of torch, optax, Keras, timm and Hugging Face, read as plans: pure data, no framework is imported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dwindle.errors import InvalidValueError, known, real
from dwindle.foreign import hf, keras, optax, pytorch, timm
from dwindle.plan import Plan
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau

__all__ = ["PEERS", "read"]

PEERS: dict[str, tuple[str, ...]] = {
    "torch": tuple(pytorch.NAMES),
    "optax": tuple(optax.NAMES),
    "keras": tuple(keras.NAMES),
    "timm": tuple(timm.NAMES),
    "hf": tuple(hf.NAMES),
}
"""The peers, and the names of the schedules each of them has."""

_ALIASES = {"transformers": "hf", "huggingface": "hf", "pytorch": "torch"}


def read(
    peer: str, name: str, params: Mapping[str, Any] | None = None, *, base_lr: float | None = None
) -> Plan | Plateau | Greedy:
    """Return the plan of the peer's schedule ``name`` with its own ``params``, or the rule of one that answers a metric.

    lr(t) of the plan is the rate the peer has in effect for optimiser step t (timm: for index t of its scheduler).
    Parameters left out take the peer's defaults. ``base_lr`` is the lr of the optimiser's parameter group, which torch,
    timm and hf multiply; a scheduler with a floor of its own is read once per group. optax and Keras have no such lr.
    The plan's peak is the highest rate of the recipe, so that its factor is 1 there.

    Raises UnknownNameError for a peer, name or parameter that is not known, InvalidValueError for a value the peer's
    parameter cannot take, NoExactMapError for a recipe that no plan equals.

    >>> str(read("torch", "CosineAnnealingLR", {"T_max": 100, "eta_min": 1e-5}, base_lr=1e-3))
    'peak 1e-3 | (cosine to 1% over 100st) mirror every 100st'
    >>> str(read("optax", "exponential_decay", {"init_value": 0.1, "transition_steps": 10, "decay_rate": 0.5}))
    'peak 0.1 | exponential by 0.5 every 10st'
    """
    peer = _ALIASES.get(peer, peer) if isinstance(peer, str) else peer
    names = PEERS[known("peer", peer, PEERS)]
    known(f"{peer} schedule", name, names)
    given = {} if params is None else params
    if peer in ("optax", "keras"):
        if base_lr is not None:
            raise InvalidValueError(f"{peer} schedules hold absolute rates; leave base_lr={base_lr!r} out.")
        return optax.read(name, given) if peer == "optax" else keras.read(name, given)
    if base_lr is None and name in ("OneCycleLR", "CyclicLR"):
        base_lr = 1.0  # these set the optimiser's lr themselves
    if base_lr is None:
        raise InvalidValueError(f"{peer} schedulers multiply the optimiser's lr; give it as base_lr=.")
    lr = real("base_lr", base_lr, above=0.0)
    if peer == "torch":
        return pytorch.read(name, given, lr)
    return timm.read(name, given, lr) if peer == "timm" else hf.read(name, given, lr)
