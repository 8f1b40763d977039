"""Which peers there are, and the reader of their schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dwindle.foreign.composer as composer
import dwindle.foreign.hf as hf
import dwindle.foreign.keras as keras
import dwindle.foreign.optax as optax
import dwindle.foreign.pytorch as pytorch
import dwindle.foreign.sklearn as sklearn
import dwindle.foreign.textbook as textbook
import dwindle.foreign.timm as timm
from dwindle.errors import InvalidValueError, known, real
from dwindle.plan import Plan
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau

__all__ = ["PEERS", "peer_named", "read"]

PEERS: dict[str, tuple[str, ...]] = {
    "torch": tuple(pytorch.NAMES),
    "optax": tuple(optax.NAMES),
    "keras": tuple(keras.NAMES),
    "timm": tuple(timm.NAMES),
    "hf": tuple(hf.NAMES),
    "composer": tuple(composer.NAMES),
    "sklearn": tuple(sklearn.NAMES),
    "textbook": tuple(textbook.NAMES),
}
"""The peers, and the names of the schedules each of them has."""

_ALIASES = {"transformers": "hf", "huggingface": "hf", "pytorch": "torch", "scikit-learn": "sklearn"}
_ABSOLUTE = {"optax": optax.read, "keras": keras.read, "sklearn": sklearn.read}
_MULTIPLY = {
    "torch": pytorch.read, "timm": timm.read, "hf": hf.read, "composer": composer.read, "textbook": textbook.read,
}  # fmt: skip


def peer_named(peer: Any) -> str:
    """Return the key of ``peer`` in PEERS, of which it may be another name; raise UnknownNameError if it is none.

    >>> peer_named("scikit-learn")
    'sklearn'
    """
    return known("peer", _ALIASES.get(peer, peer) if isinstance(peer, str) else peer, PEERS)


def read(
    peer: str, name: str, params: Mapping[str, Any] | None = None, *, base_lr: float | None = None
) -> Plan | Plateau | Greedy:
    """Return the plan of the peer's schedule ``name`` with its own ``params``, or the rule of one that answers a metric.

    lr(t) of the plan is the rate the peer has in effect for optimiser step t (timm: for index t of its scheduler).
    Parameters left out take the peer's defaults. ``base_lr`` is the lr of the optimiser's parameter group, which torch,
    timm, hf, composer and the textbook multiply; a scheduler with a floor of its own is read once per group. optax, Keras
    and scikit-learn have no such lr.
    The plan's peak is the highest rate of the recipe, so that its factor is 1 there.

    Raises UnknownNameError for a peer, name or parameter that is not known, InvalidValueError for a value the peer's
    parameter cannot take, NoExactMapError for a recipe that no plan equals.

    >>> str(read("torch", "CosineAnnealingLR", {"T_max": 100, "eta_min": 1e-5}, base_lr=1e-3))
    'peak 1e-3 | (cosine to 1% over 100st) mirror every 100st'
    >>> str(read("optax", "exponential_decay", {"init_value": 0.1, "transition_steps": 10, "decay_rate": 0.5}))
    'peak 0.1 | exponential by 0.5 every 10st'
    """
    peer = peer_named(peer)
    known(f"{peer} schedule", name, PEERS[peer])
    given = {} if params is None else params
    if peer in _ABSOLUTE:
        if base_lr is not None:
            raise InvalidValueError(f"{peer} schedules hold absolute rates; leave base_lr={base_lr!r} out.")
        return _ABSOLUTE[peer](name, given)
    if base_lr is None and name in ("OneCycleLR", "CyclicLR"):
        base_lr = 1.0  # these set the optimiser's lr themselves
    if base_lr is None:
        raise InvalidValueError(f"{peer} schedulers multiply the optimiser's lr; give it as base_lr=.")
    return _MULTIPLY[peer](name, given, real("base_lr", base_lr, above=0.0))
