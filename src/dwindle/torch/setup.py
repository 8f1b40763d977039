"""A live torch model and its optimiser read as a Setup; nothing of them is changed, not a bit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import InvalidValueError, shown
from dwindle.setup import Group, Scheduler, Setup, Weight, sampled
from dwindle.torch.checks import refuse_no_rate
from dwindle.torch.controller import Controller
from dwindle.torch.decays import DECOUPLED
from dwindle.torch.names import params
from dwindle.torch.probe import keeps, probed
from dwindle.torch.walk import scheduler_of
from dwindle.units import Horizon

__all__ = ["read"]

_ADAPTIVE = (
    "adam",
    "adagrad",
    "adadelta",
    "rmsprop",
    "lamb",
    "lion",
    "adan",
    "adafactor",
    "muon",
    "soap",
    "shampoo",
    "sophia",
)
_MIXERS = (torch.nn.Linear, torch.nn.modules.conv._ConvNd)
_BETWEEN = (
    torch.nn.Identity,
    torch.nn.Dropout,
    torch.nn.ReLU,
    torch.nn.Flatten,
    torch.nn.MaxPool2d,
    torch.nn.AvgPool2d,
)


def read(
    model: Any,
    optimizer: Any,
    scheduler: Any = None,
    *,
    horizon: Horizon | None = None,
    processes: int = 1,
    accumulation: int = 1,
) -> Setup:
    """Return what ``model``, ``optimizer`` and ``scheduler`` are set up to do.

    The decay of every group is measured: a copy of the optimiser moves four numbers of ours without a gradient. The
    scheduler is read ahead on a copy too. Generators of random numbers come back to where they were.

    Raises InvalidValueError for what is no optimiser, one without a learning rate, or one that holds none of the model's
    parameters.

    >>> model = torch.nn.Linear(3, 2)
    >>> setup = read(model, torch.optim.AdamW(model.parameters(), lr=0.1))
    >>> setup.groups[0].decay.weight_decay, [w.role for w in setup.weights]
    (0.01, ['weight', 'bias'])
    """
    optimizer = getattr(
        optimizer, "optimizer", optimizer
    )  # Accelerate's and Lightning's have the one that steps inside
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidValueError(f"optimizer must be a torch.optim optimiser; got {shown(optimizer)}.")
    refuse_no_rate(optimizer)
    if not isinstance(model, torch.nn.Module):
        raise InvalidValueError(f"model must be a torch.nn.Module; got {shown(model)}.")
    control = next((h for h in _owners(optimizer) if isinstance(h, Controller) and not h.detached), None)
    unread: list[str] = []
    read_on = None
    if control is not None:
        horizon = control.horizon if horizon is None else horizon
        read_on = _planned(control)
        if scheduler is not None and type(scheduler).__name__ != "PlanScheduler":
            unread.append("the scheduler given: the optimiser follows a plan, which owns the learning rate")
    elif scheduler is not None:
        read_on = scheduler_of(optimizer, scheduler, horizon, processes, max(processes, accumulation))
    groups, adaptive = _groups(optimizer, control, read_on, unread)
    updates = _updates(optimizer) if control is None else control.step
    weights = tuple(_weights(model, optimizer, groups, control))
    if any(w.zero for w in weights) and (updates or 0) <= 1 and _begins_at_zero(model):
        weights = tuple(replace(w, zero=False) for w in weights)
        unread.append("gradients of exactly 0: weights that begin at 0 explain them; ask again after a few updates")
    if not any(w.gradient for w in weights):
        unread.append("gradients: no parameter has one yet; ask again after a backward to see which get none")
    return Setup(
        "torch",
        type(optimizer).__name__,
        adaptive,
        groups,
        weights,
        read_on,
        updates,
        horizon,
        processes,
        accumulation,
        None if control is None else control.plan,
        followed=control is not None,
        unread=tuple(unread),
    )


def _owners(optimizer: torch.optim.Optimizer) -> list[Any]:
    hooks = getattr(optimizer, "_optimizer_load_state_dict_post_hooks", {}).values()
    return [getattr(hook, "__self__", None) for hook in hooks]


def _planned(control: Controller) -> Scheduler:
    """Return the scheduler that an attached plan is."""
    resolved, steps = control.plan.resolve(control.horizon), control.horizon.steps
    at = sampled(steps)
    factor = resolved.peak * torch.as_tensor(resolved.schedule(at.astype("int64")), dtype=torch.float64).expand(len(at))
    lr = [(factor * part.lr_scale).tolist() for part in control.groups._parts]
    return Scheduler("plan", at, lr, done=control.step, per_update=1.0, why="a plan counts updates", by_update=True)


def _groups(
    optimizer: torch.optim.Optimizer, control: Controller | None, scheduler: Scheduler | None, unread: list[str]
) -> tuple[tuple[Group, ...], bool]:
    found, adaptive = [], False
    cache: dict[str, Any] = {}
    for i, group in enumerate(optimizer.param_groups):
        lr = float(group["lr"])
        initial = float(group["initial_lr"]) if "initial_lr" in group else None
        name = str(group.get("name", f"group {i}"))
        peak = max([lr, initial or 0.0, *(scheduler.lr[i] if scheduler is not None and i < len(scheduler.lr) else ())])
        options = {k: v for k, v in group.items() if k not in ("params", "param_names", "lr", "initial_lr", "name")}
        key = f"{peak!r} {sorted((k, repr(v)) for k, v in options.items())}"
        if key not in cache:
            cache[key] = probed(optimizer, group, peak)
        probe = cache[key]
        if probe is None:
            unread.append(
                f"what {type(optimizer).__name__} does in {name}: no copy of it makes a step; told by its numbers"
            )
        divides = _is_adaptive(optimizer) or (probe is not None and probe.adaptive)  # RAdam begins without dividing
        decay = _told(optimizer, group) if probe is None else probe.decay
        if control is not None:
            part, plan = control.groups._parts[i], control.plan.resolve(control.horizon)
            decay, peak = (plan.decay if part.decays else None), plan.peak * part.lr_scale
        adaptive = adaptive or divides
        momentum = 0.0 if divides else float(group.get("momentum") or 0.0)
        found.append(Group(name, lr, decay, peak or None, momentum, initial))
    return tuple(found), adaptive


def _is_adaptive(optimizer: torch.optim.Optimizer) -> bool:
    return any(word in type(optimizer).__name__.lower() for word in _ADAPTIVE)


def _told(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> Decay | None:
    """Return the decay by the group's number, for a class that cannot be measured."""
    lam = float(group.get("weight_decay") or 0.0)
    name = type(optimizer).__name__
    apart = group.get(
        "decoupled_weight_decay", isinstance(optimizer, DECOUPLED) or name.endswith("W") or "Lion" in name
    )
    return None if lam <= 0.0 else Decoupled(lam) if apart else L2(lam)


def _updates(optimizer: torch.optim.Optimizer) -> int | None:
    """Return the updates that the optimiser's own state counts, 0 for one without a state; None where it counts none."""
    states = [state for state in optimizer.state.values() if isinstance(state, dict)]
    counted = [int(state["step"]) for state in states if "step" in state]
    counted += [int(g["step"]) for g in optimizer.param_groups if isinstance(g.get("step"), int)]
    if counted:
        return max(counted)
    name, stateless = type(optimizer).__name__, isinstance(optimizer, torch.optim.SGD)
    if states or (stateless and not any(g.get("momentum") for g in optimizer.param_groups)):
        return None
    return None if name in ("LBFGS",) else 0


def _weights(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, groups: tuple[Group, ...], control: Controller | None
) -> Iterator[Weight]:
    tensors = dict(zip((p.key for p in params(model)), (p for _, p in _tensors(model)), strict=True))
    names: dict[int, list[Any]] = {}
    for info in params(model):
        names.setdefault(info.key or 0, []).append(info)
    held: dict[int, list[int]] = {}
    for i, group in enumerate(optimizer.param_groups):
        for p in group["params"]:
            held.setdefault(id(p), []).append(i)
    if held and not held.keys() & names.keys():
        raise InvalidValueError(
            f"model {type(model).__name__} owns none of the optimiser's {len(held)} parameters, so training would not move it: "
            "build the optimiser from this very model, after it was moved, wrapped or loaded."
        )
    memory = _memory(tensors)
    after = _followed(model)
    beside = () if control is None else control.compensated
    kept = set() if control is None else {key for key, name in control.groups.names.items() if name in beside}
    measured: dict[tuple[int, Any], bool | None] = {}
    seen_gradient = any(p.grad is not None for p in tensors.values())
    any_moves = any(
        p.grad is not None and not _is_zero(p.grad) for p in tensors.values()
    )  # else zero_grad was just called
    for key, infos in names.items():
        p, at, first = tensors[key], tuple(held.get(key, ())), infos[0]
        again = [n for k in memory.get(_place(p), ()) if k != key for n in (names[k][0].name,)]
        yield Weight(
            first.name,
            first.shape,
            first.kind,
            str(p.dtype).removeprefix("torch."),
            at,
            p.requires_grad,
            (p.grad is not None) if seen_gradient else None,
            tuple(info.name for info in infos[1:]),
            tuple(again),
            after.get(key, ""),
            key in kept or (control is None and _reached(optimizer, groups, at, p, measured)),
            any_moves and _is_zero(p.grad) and not _moved_before(optimizer, groups, at, p),
        )
    for i, group in enumerate(optimizer.param_groups):
        for j, p in enumerate(group["params"]):
            if id(p) not in names:
                own = group["param_names"][j] if "param_names" in group else f"group{i}.{j}"
                gradient = (p.grad is not None) if seen_gradient else None
                yield Weight(
                    own, tuple(p.shape), "", str(p.dtype).removeprefix("torch."), (i,), p.requires_grad, gradient
                )


def _is_zero(grad: Any) -> bool:
    """Return whether a gradient is there and 0 in every number; False for one that is spread over processes, or sparse."""
    if (
        grad is None
        or grad.is_meta
        or grad.layout is not torch.strided
        or hasattr(grad, "to_local")
        or not grad.numel()
    ):
        return False
    return not bool(grad.any())


def _moved_before(optimizer: torch.optim.Optimizer, groups: tuple[Group, ...], at: tuple[int, ...], p: Any) -> bool:
    """Return whether the optimiser's averages of the gradient tell of an earlier one, as of an expert that rests."""
    if any(isinstance(groups[i].decay, L2) for i in at):
        return False  # there the decay is in the averages too
    held = [v for v in optimizer.state.get(p, {}).values() if isinstance(v, torch.Tensor) and v.shape == p.shape]
    return any(v.is_floating_point() and not _is_zero(v) for v in held) if p.ndim else False


def _begins_at_zero(model: torch.nn.Module) -> bool:
    """Return whether a matrix, or the gain of a norm, is 0 in every number: what is before it has no gradient at first."""
    gains = {
        id(m.weight) for m in model.modules()
        if "norm" in type(m).__name__.lower() and isinstance(getattr(m, "weight", None), torch.Tensor)
    }  # fmt: skip
    return any(_is_zero(p.detach()) for p in model.parameters() if p.ndim >= 2 or id(p) in gains or p.numel() == 1)


def _tensors(model: torch.nn.Module) -> Iterator[tuple[str, Any]]:
    return iter(model.named_parameters(remove_duplicate=False))


def _place(p: Any) -> tuple[Any, ...] | None:
    """Return where in memory a tensor lies; None for one that is nowhere, or empty."""
    try:
        start = p.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
    return None if p.is_meta or not start or not p.numel() else (p.device, start, p.storage_offset(), tuple(p.shape))


def _memory(tensors: Mapping[Any, Any]) -> dict[Any, list[Any]]:
    places: dict[Any, list[Any]] = {}
    for key, p in tensors.items():
        place = _place(p)
        if place is not None:
            places.setdefault(place, []).append(key)
    return places


def _reached(
    optimizer: torch.optim.Optimizer,
    groups: tuple[Group, ...],
    at: tuple[int, ...],
    p: Any,
    measured: dict[tuple[int, Any], bool | None],
) -> bool:
    """Return whether decay reaches a weight of a short type, as measured: some optimisers keep what rounding takes."""
    if not at or p.dtype not in (torch.bfloat16, torch.float16):
        return False
    i = at[0]
    decay = groups[i].decay
    if decay is None or isinstance(decay, L2):
        return False
    if (i, p.dtype) not in measured:
        lr = groups[i].top
        share = float(decay.share(0, lr, 1.0))
        measured[i, p.dtype] = keeps(optimizer, {**optimizer.param_groups[i], "lr": lr}, share, p.dtype)
    lost_anyway = float(decay.share(0, groups[i].top, 1.0)) < 2.0 ** -(9 if p.dtype is torch.bfloat16 else 12)
    return bool(measured[i, p.dtype]) and lost_anyway


def _followed(model: torch.nn.Module) -> dict[int, str]:
    """Return id of a weight -> the path of the normalisation that directly follows its layer and undoes its scale.

    Directly: the next module of the same parent, in a Sequential with nothing but a ReLU, a dropout or a pooling between.
    A norm that does not take the mean of each channel off (LayerNorm, GroupNorm) undoes the scale of a layer without bias.
    """
    found: dict[int, str] = {}
    for path, module in model.named_modules():
        inside = list(module.named_children())
        line = isinstance(module, torch.nn.Sequential)
        for place, (_, layer) in enumerate(inside):
            if not isinstance(layer, _MIXERS):
                continue
            rest = inside[place + 1 :] if line else _partner(inside, place)
            while line and rest and isinstance(rest[0][1], _BETWEEN):
                rest = rest[1:]
            if rest and _undoes(layer, rest[0][1], line):
                found[id(layer.weight)] = f"{path}.{rest[0][0]}" if path else rest[0][0]
    return found


def _partner(inside: list[tuple[str, Any]], place: int) -> list[tuple[str, Any]]:
    """Return the normalisation that bears the number of a layer (conv2, bn2); else what comes after it."""
    name = inside[place][0]
    number = re.search(r"\d*$", name)
    digits = number.group() if number else ""
    same = [part for part in inside if part[0] != name and digits and re.search(rf"(?<!\d){digits}$", part[0])]
    normal = [part for part in same if "norm" in type(part[1]).__name__.lower()]
    return normal or inside[place + 1 :]


def _undoes(layer: Any, norm: Any, line: bool) -> bool:
    by_channel = isinstance(norm, torch.nn.modules.batchnorm._NormBase)
    if not by_channel and (not line or "norm" not in type(norm).__name__.lower() or layer.bias is not None):
        return False
    width = getattr(norm, "num_features", None) or getattr(norm, "num_channels", None)
    width = width or tuple(getattr(norm, "normalized_shape", None) or (None,))[-1]
    return width in (None, getattr(layer, "out_features", None), getattr(layer, "out_channels", None))
