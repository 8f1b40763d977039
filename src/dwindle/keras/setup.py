"""A compiled Keras model read as a Setup; nothing of it is changed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import InvalidValueError, shown
from dwindle.keras.attach import Planned, updates_done
from dwindle.keras.following import kinds_of, path_of
from dwindle.keras.schedules import PlanSchedule
from dwindle.plan import Plan
from dwindle.setup import Group, Scheduler, Setup, Weight, ends_within, sampled
from dwindle.units import Horizon

__all__ = ["read"]

_SAMPLES = 2049  # points at which a schedule is asked


def read(
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    *,
    horizon: Horizon | None = None,
    processes: int = 1,
    accumulation: int = 1,
) -> Setup:
    """Return what ``model``, compiled, is set up to do; ``optimizer`` where it is not compiled with it.

    ``scheduler`` may be the callback LearningRateScheduler or ReduceLROnPlateau. Weight decay is that of the optimiser
    (decoupled, for the variables it does not exclude) and of the variables' L2 regularisers (l2).

    Raises InvalidValueError for a model without an optimiser.

    >>> model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    >>> model.compile(keras.optimizers.AdamW(0.1), "mse")
    >>> [(w.name.split("/")[-1], w.role, w.groups) for w in read(model).weights]
    [('kernel', 'weight', (0,)), ('bias', 'bias', (0,))]
    """
    optimizer = getattr(model, "optimizer", None) if optimizer is None else optimizer
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not isinstance(model, keras.Model) or not isinstance(optimizer, keras.optimizers.Optimizer):
        raise InvalidValueError(
            f"the model must be a keras.Model compiled with an optimiser; got {shown(type(model).__name__)} with "
            f"{shown(optimizer)}. Call model.compile(optimizer, loss), or give the optimiser."
        )
    unread = ["gradients: Keras keeps none after a step"]
    batches = int(getattr(optimizer, "gradient_accumulation_steps", None) or 1)
    following = optimizer._following if isinstance(optimizer, Planned) else None
    done = updates_done(optimizer)
    if following is None:
        rates = _rates(optimizer, scheduler, horizon, done, batches, unread)
        plan = None
        done = done // batches
    else:
        horizon = following.horizon if horizon is None else horizon
        plan = following.plan
        rates = _planned(following.resolved, following.horizon, done)
    groups, weights = _groups(model, optimizer, following, unread)
    if rates is not None:
        rates = _for_all(rates, groups)
    return Setup(
        "keras", _name(optimizer), _adaptive(optimizer), groups, weights, rates, done, horizon, processes,
        max(accumulation, batches), plan, followed=following is not None, unread=tuple(unread),
    )  # fmt: skip


def _float(value: Any) -> float:
    return float(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(value)))


def _name(optimizer: Any) -> str:
    return type(optimizer).__name__.removeprefix("Planned")


def _adaptive(optimizer: Any) -> bool:
    return not {kind.__name__ for kind in type(optimizer).__mro__} & {"SGD", "Ftrl"}


def _now(optimizer: Any) -> float:
    return _float(optimizer.learning_rate)


def _groups(
    model: Any, optimizer: Any, following: Any, unread: list[str]
) -> tuple[tuple[Group, ...], tuple[Weight, ...]]:
    variables = list(model.trainable_variables)
    if not variables:
        unread.append("weights: the model has none yet; build it, or show it a batch")
    kinds = kinds_of(model, variables)
    after = _followed(model)
    placed = {}
    if following is not None:
        following = following.laid_out(variables)
        placed = {id(v): a for v, a in zip(variables, following.placed, strict=True)}
    lr, momentum = (
        _now(optimizer),
        float(getattr(optimizer, "momentum", 0.0) or 0.0) if not _adaptive(optimizer) else 0.0,
    )
    keys: list[tuple[Decay | None, float]] = []
    weights = []
    for v in variables:
        if following is not None:
            a = placed[id(v)]
            key = (following.resolved.decay if a.decays else None, a.lr_scale)
        else:
            key = (_decay(optimizer, v, unread), 1.0)
        if key not in keys:
            keys.append(key)
        dtype = keras.backend.standardize_dtype(v.dtype)
        weights.append(
            Weight(
                path_of(v),
                tuple(v.shape),
                kinds.get(id(v), ""),
                dtype,
                (keys.index(key),),
                followed_by=after.get(id(v), ""),
            )
        )
    peak = None if following is None else following.resolved.peak
    groups = [
        Group(f"group {i}", lr * scale, decay, None if peak is None else peak * scale, momentum)
        for i, (decay, scale) in enumerate(keys)
    ]
    return tuple(groups), tuple(weights)


def _decay(optimizer: Any, variable: Any, unread: list[str]) -> Decay | None:
    """Return the decay of one variable: its regulariser's, else the optimiser's."""
    regularizer = getattr(variable, "regularizer", None)
    lam = float(getattr(optimizer, "weight_decay", None) or 0.0)
    own = lam if lam > 0.0 and optimizer._use_weight_decay(variable) else 0.0
    l2 = getattr(regularizer, "l2", None)
    if regularizer is not None and l2 is None:
        unread.append(f"the regulariser {type(regularizer).__name__} of {path_of(variable)}: it is no L2")
    c = 0.0 if l2 is None else _float(l2)
    if c and own:
        unread.append(f"weight_decay {own:g} of {path_of(variable)}, which has an L2 regulariser as well")
    return L2.from_keras(c) if c else Decoupled(own) if own else None


def _followed(model: Any) -> dict[int, str]:
    """Return id of a kernel -> the path of the BatchNormalization that takes its layer's output, and nothing else does."""
    found = {}
    for layer in model._flatten_layers():
        nodes: list[Any] = list(getattr(layer, "_outbound_nodes", ()))
        if (
            len(nodes) != 1
            or not hasattr(layer, "kernel")
            or getattr(layer, "activation", None) is not keras.activations.linear
        ):
            continue
        if type(nodes[0].operation).__name__ == "BatchNormalization":
            found[id(layer.kernel)] = str(nodes[0].operation.name)
    return found


def _planned(resolved: Plan, run: Horizon, done: int) -> Scheduler:
    at = sampled(run.steps)
    lr = resolved.peak * np.broadcast_to(np.asarray(resolved.schedule(at.astype(np.int64)), dtype=np.float64), at.shape)
    return Scheduler("plan", at, [lr], done=done, per_update=1.0, why="a plan counts updates", by_update=True)


def _for_all(rates: Scheduler, groups: tuple[Group, ...]) -> Scheduler:
    """Return ``rates``, of one group, for every group by its own peak."""
    top = max((g.top for g in groups), default=0.0) or 1.0
    scales = [g.top / top if g.peak else 1.0 for g in groups]
    return replace(rates, lr=np.stack([rates.lr[0] * scale for scale in scales]) if groups else rates.lr)


def _rates(
    optimizer: Any, callback: Any, run: Horizon | None, done: int, batches: int, unread: list[str]
) -> Scheduler | None:
    if callback is not None:
        return _callback(optimizer, callback, run)
    schedule: Any = optimizer._learning_rate
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        return None
    length, said = _length(schedule)
    steps = (1 if length is None else length + 1) if run is None else run.steps * batches
    at = sampled(steps)
    at = at[np.unique(np.linspace(0, len(at) - 1, min(len(at), _SAMPLES)).astype(int))]
    exact = isinstance(schedule, PlanSchedule)
    lr = np.asarray([schedule.lr_at(int(t)) for t in at] if exact else _asked_at_once(schedule, at))
    none = np.flatnonzero(~np.isfinite(lr))
    if length is None and len(none) and none[0]:
        first, last = int(at[none[0] - 1]), int(at[none[0]])
        length = ends_within(lambda t: math.isfinite(_rate(schedule, t)), first, last)
        said = f"it has no rate from count {length} on"
    if len(none):
        at, lr = at[: none[0]], lr[: none[0]]
    if len(at) < steps and run is not None:
        unread.append(f"the schedule between {len(at):,} of its {steps:,} steps")
    why = f"Keras counts batches, {batches} an update" if batches > 1 else "Keras' schedules count updates"
    name = type(schedule).__name__
    design = name in ("CosineDecayRestarts",) or bool(getattr(schedule, "cycle", False))
    return Scheduler(
        name,
        at,
        [lr],
        done=done,
        length=length,
        said=said,
        per_update=float(batches),
        why=why,
        by_design=design,
        by_update=True,
    )


def _asked_at_once(schedule: Any, at: Any) -> Any:
    """Return a schedule's values at ``at``: on JAX in one call if it can be traced, for each of its own takes long to build."""
    if keras.backend.backend() == "jax":
        with suppress(Exception):  # a schedule of the user's own may ask for the number of its step
            found = keras.ops.vectorized_map(schedule, keras.ops.convert_to_tensor(at, "float32"))
            return np.asarray(keras.ops.convert_to_numpy(found), dtype=np.float64)
    return [_rate(schedule, int(t)) for t in at]


def _rate(schedule: Any, count: int) -> float:
    """Return the rate of a schedule at ``count``; nan where it raises, or gives no real number."""
    try:
        return _float(schedule(count))
    except Exception:  # a schedule of the user's own may be made for the run alone
        return math.nan


def _length(schedule: Any) -> tuple[int | None, str]:
    name = type(schedule).__name__
    if name == "CosineDecay":
        warm = int(schedule.warmup_steps or 0) if getattr(schedule, "warmup_target", None) is not None else 0
        whole = int(schedule.decay_steps) + warm
        return whole, f"warmup_steps + decay_steps={whole}" if warm else f"decay_steps={whole}"
    if name == "PolynomialDecay" and not schedule.cycle:
        return int(schedule.decay_steps), f"decay_steps={int(schedule.decay_steps)}"
    return None, ""


def _callback(optimizer: Any, callback: Any, run: Horizon | None) -> Scheduler:
    """Return what a callback of Keras does to the rate: once an epoch."""
    name = type(callback).__name__
    if name not in ("LearningRateScheduler", "ReduceLROnPlateau"):
        raise InvalidValueError(
            f"scheduler must be Keras' LearningRateScheduler or ReduceLROnPlateau; got {shown(callback)}. A schedule belongs "
            "into the optimiser: Adam(learning_rate=schedule)."
        )
    epoch = None if run is None else run.steps_per_epoch
    per_update, now = None if epoch is None else 1.0 / epoch, _now(optimizer)
    if name == "ReduceLROnPlateau":
        return Scheduler(name, [0.0], [[now]], per_update=per_update, why="once an epoch", answers=True)
    count = 1 if run is None or epoch is None else -(-run.steps // epoch)
    lr = list(_asked(callback.schedule, now, count))
    return Scheduler(name, np.arange(count), [lr], per_update=per_update, why="Keras calls it once an epoch")


def _asked(function: Callable[..., Any], lr: float, epochs: int) -> Iterator[float]:
    takes_lr = len(inspect.signature(function).parameters) > 1
    for epoch in range(epochs):
        lr = float(function(epoch, lr) if takes_lr else function(epoch))
        yield lr
