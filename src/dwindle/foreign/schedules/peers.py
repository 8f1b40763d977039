"""Which peers there are, and the reader of their schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dwindle.foreign.schedules.composer as composer
import dwindle.foreign.schedules.hf as hf
import dwindle.foreign.schedules.keras as keras
import dwindle.foreign.schedules.optax as optax
import dwindle.foreign.schedules.pytorch as pytorch
import dwindle.foreign.schedules.sklearn as sklearn
import dwindle.foreign.schedules.textbook as textbook
import dwindle.foreign.schedules.timm as timm
from dwindle.errors import InvalidValueError, known, real
from dwindle.plan import Plan
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau

__all__ = ["ABSOLUTE", "PEERS", "multiplies_lr", "peer_named", "read", "signature"]

PEERS: dict[str, tuple[str, ...]] = {
    "torch": tuple(pytorch.NAMES),
    "optax": (*optax.NAMES, *optax.RULES),
    "keras": (*keras.NAMES, *keras.RULES),
    "timm": tuple(timm.NAMES),
    "hf": tuple(hf.NAMES),
    "composer": tuple(composer.NAMES),
    "sklearn": tuple(sklearn.NAMES),
    "textbook": tuple(textbook.NAMES),
}
"""The peers, and the names of the schedules each of them has, and of the rules that answer a metric."""

_ALIASES = {"transformers": "hf", "huggingface": "hf", "pytorch": "torch", "scikit-learn": "sklearn"}
ABSOLUTE = {"optax": optax.read, "keras": keras.read, "sklearn": sklearn.read}
"""The peers whose schedules hold learning rates; those of the others multiply the optimiser's."""
_RULES = {"optax": (optax.RULES, optax.rule), "keras": (keras.RULES, keras.rule)}  # these multiply it there too
_MULTIPLY = {
    "torch": pytorch.read, "timm": timm.read, "hf": hf.read, "composer": composer.read, "textbook": textbook.read,
}  # fmt: skip


def peer_named(peer: Any) -> str:
    """Return the key of ``peer`` in PEERS, of which it may be another name; raise UnknownNameError if it is none.

    >>> peer_named("scikit-learn")
    'sklearn'
    """
    return known("peer", _ALIASES.get(peer, peer) if isinstance(peer, str) else peer, PEERS)


def multiplies_lr(peer: str, name: str) -> bool:
    """Return whether ``name`` of ``peer`` multiplies the optimiser's learning rate; the others hold rates themselves.

    >>> [multiplies_lr("keras", name) for name in ("CosineDecay", "ReduceLROnPlateau")]
    [False, True]
    """
    return peer not in ABSOLUTE or (peer in _RULES and name in _RULES[peer][0])


_NAMES: dict[str, Mapping[str, tuple[Any, ...]]] = {
    "torch": pytorch.NAMES, "optax": {**optax.NAMES, **optax.RULES}, "keras": {**keras.NAMES, **keras.RULES},
    "timm": timm.NAMES, "hf": hf.NAMES, "composer": composer.NAMES, "sklearn": sklearn.NAMES, "textbook": textbook.NAMES,
}  # fmt: skip


def signature(peer: str, name: str) -> tuple[str, ...]:
    """Return the parameters of a peer's schedule in the order in which they may stand without their names.

    >>> signature("torch", "StepLR")
    ('step_size', 'gamma')
    """
    required, defaults, *_ = _NAMES[peer][name]
    return _POSITIONAL.get(name, (*required, *defaults))


_WAVES = ("lr_min", "cycle_mul", "cycle_decay", "cycle_limit")
_WARM = ("warmup_t", "warmup_lr_init")
_UNTIL = ("t_in_epochs", "noise_range_t", "noise_pct", "noise_std", "noise_seed")
_MIN_LR = ("num_warmup_steps", "num_training_steps", "num_cycles", "last_epoch", "min_lr", "min_lr_rate")
_WSD = ("t_initial", "decay_t", "lr_min", "stable_fn", "stable_timescale", "stable_power", "decay_fn", "decay_power")

# where the peer's order is not: what must be given, then the rest as the reader lists it
_POSITIONAL: dict[str, tuple[str, ...]] = {
    "CosineDecay": ("initial_learning_rate", "decay_steps", "alpha", "name", "warmup_target", "warmup_steps"),
    "cosine_with_min_lr": _MIN_LR,
    "cosine_warmup_with_min_lr": (*_MIN_LR, "warmup_lr_rate"),
    "reduce_lr_on_plateau": (),
    "greedy": (),
    "ConstantScheduler": ("alpha", "t_max"),
    "LinearScheduler": ("alpha_i", "alpha_f", "t_max"),
    "LinearWithWarmupScheduler": ("t_warmup", "alpha_i", "alpha_f", "t_max"),
    "CosineLRScheduler": ("t_initial", *_WAVES, *_WARM, "warmup_prefix", *_UNTIL, "k_decay", "initialize"),
    "PolyLRScheduler": ("t_initial", "power", *_WAVES, *_WARM, "warmup_prefix", *_UNTIL, "k_decay", "initialize"),
    "TanhLRScheduler": ("t_initial", "lb", "ub", *_WAVES, *_WARM, "warmup_prefix", *_UNTIL, "initialize"),
    "StepLRScheduler": ("decay_t", "decay_rate", *_WARM, "warmup_prefix", *_UNTIL, "initialize"),
    "MultiStepLRScheduler": ("decay_t", "decay_rate", *_WARM, "warmup_prefix", *_UNTIL, "initialize"),
    "WSDLRScheduler": (*_WSD, "decay_ratio", *_WARM, *_UNTIL, "initialize"),
    "PlateauLRScheduler": (
        "decay_rate", "patience_t", "threshold", "cooldown_t", *_WARM, "lr_min", "mode", "noise_range_t", "noise_type",
        "noise_pct", "noise_std", "noise_seed", "initialize",
    ),
}  # fmt: skip


def read(
    peer: str, name: str, params: Mapping[str, Any] | None = None, *, base_lr: float | None = None
) -> Plan | Plateau | Greedy:
    """Return the plan of the peer's schedule ``name`` with its own ``params``, or the rule of one that answers a metric.

    lr(t) of the plan is the rate the peer has in effect for optimiser step t (timm: for index t of its scheduler).
    Parameters left out take the peer's defaults. ``base_lr`` is the lr of the optimiser's parameter group, which torch,
    timm, hf, composer and the textbook multiply; a scheduler with a floor of its own is read once per group. Schedules of
    optax, Keras and scikit-learn have no such lr; their rules that answer a metric have one, and fit any (the peak is 1)
    where it is not given.
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
    try:
        return _read(peer, name, {} if params is None else params, base_lr)
    except (OverflowError, ZeroDivisionError) as error:
        raise InvalidValueError(
            f"{name} of {peer} cannot be worked out with numbers so large or so small: {error}."
        ) from error


def _read(peer: str, name: str, given: Mapping[str, Any], base_lr: float | None) -> Plan | Plateau | Greedy:
    if not multiplies_lr(peer, name):
        if base_lr is not None:
            raise InvalidValueError(f"{peer} schedules hold absolute rates; leave base_lr={base_lr!r} out.")
        return ABSOLUTE[peer](name, given)
    if peer in _RULES:
        return _RULES[peer][1](name, given, None if base_lr is None else real("base_lr", base_lr, above=0.0))
    if base_lr is None and name in ("OneCycleLR", "CyclicLR"):
        base_lr = 1.0  # these set the optimiser's lr themselves
    if base_lr is None:
        raise InvalidValueError(f"{peer} schedulers multiply the optimiser's lr; give it as base_lr=.")
    return _MULTIPLY[peer](name, given, real("base_lr", base_lr, above=0.0))
