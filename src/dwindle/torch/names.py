"""What a mask may look at, read off a live model or optimiser: names, shapes, module kinds, and who is tied to whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from dwindle.errors import InvalidValueError, shown
from dwindle.mask import Param

__all__ = ["apart", "described", "params"]


def params(model: torch.nn.Module) -> tuple[Param, ...]:
    """Return every parameter of ``model`` in its own order, once for each of its names; ties share their ``key``.

    ``kind`` is the class name of the module that owns the parameter, such as Linear or LayerNorm. Names and kinds are those
    of the model itself: what DistributedDataParallel, torch.compile, fully_shard and checkpointing put around it is left out.

    Raises InvalidValueError for FullyShardedDataParallel, whose parameters have lost their shapes, and for the parameters of a
    lazy module, which have none before its first batch.

    >>> params(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)))[2]._replace(key=None)
    Param(name='1.weight', shape=(3,), kind='LayerNorm', key=None)
    """
    if not isinstance(model, torch.nn.Module):
        raise InvalidValueError(f"model must be a torch.nn.Module; got {shown(model)}.")
    modules = dict(model.named_modules(remove_duplicate=False))
    if any("_fsdp_wrapped_module" in path for path in modules):
        raise InvalidValueError(
            f"{type(model).__name__} holds flat shards that no longer show which parameter is a matrix; use fully_shard "
            "(FSDP2), which keeps names, shapes and kinds."
        )
    parallel = [f"{path}." if path else "" for path, module in modules.items() if isinstance(module, _PARALLEL)]
    return tuple(
        Param(_bare(name, parallel), _shape(name, p), _kind(modules[name.rpartition(".")[0]]), id(p))
        for name, p in model.named_parameters(remove_duplicate=False)
    )


_PARALLEL = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)
_AROUND = ("_orig_mod.", "_checkpoint_wrapped_module.")  # a compiled module, a checkpointed one


def _bare(name: str, parallel: Sequence[str] = ()) -> str:
    """Return ``name`` without the wrappers; those at the paths ``parallel`` hold their model as ``module``."""
    for path in sorted(parallel, key=len, reverse=True):
        if name.startswith(f"{path}module."):
            name = path + name[len(path) + len("module.") :]
    for wrapper in _AROUND:
        name = name.replace(wrapper, "")
    return name


def _kind(module: torch.nn.Module) -> str:
    """Return the class name; fully_shard makes a class FSDPLinear of (FSDPModule, Linear)."""
    kind = type(module)
    original = kind.__bases__[-1]
    return original.__name__ if kind.__name__ == f"FSDP{original.__name__}" else kind.__name__


def _shape(name: str, tensor: Any) -> tuple[int, ...]:
    if torch.nn.parameter.is_lazy(tensor):
        raise InvalidValueError(f"{name} has no shape yet, which a mask goes by; run the model once on a batch first.")
    return tuple(tensor.shape)


def described(optimizer: torch.optim.Optimizer, model: torch.nn.Module | None) -> tuple[list[Param], list[Param]]:
    """Return one Param for each tensor of the optimiser, and one for each further name of a tied tensor.

    Names are those the optimiser was given (``AdamW(model.named_parameters())``), else the model's, else "group0.3".
    With a model the order is the model's, which is what counts the layers for ``layer_decay``.

    Raises InvalidValueError if the model owns none of the tensors.
    """
    seen: dict[int, Param] = {}
    aliases: list[Param] = []
    for param in params(model) if model is not None else ():
        if param.key in seen:
            aliases.append(param)
        elif param.key is not None:
            seen[param.key] = param
    own: dict[int, Param] = {}
    for i, group in enumerate(optimizer.param_groups):
        for j, tensor in enumerate(group["params"]):
            name = group["param_names"][j] if "param_names" in group else None
            own[id(tensor)] = _one(tensor, name, seen.get(id(tensor)), f"group{i}.{j}")
    if model is not None and own and not own.keys() & seen.keys():
        raise InvalidValueError(
            f"model {type(model).__name__} owns none of the optimiser's {len(own)} parameters; "
            "give the model that this optimiser trains."
        )
    ordered = [own[key] for key in seen if key in own] + [own[key] for key in own if key not in seen]
    return ordered, [alias for alias in aliases if alias.key in own and alias.name != own[alias.key].name]


def apart(names: Iterable[str]) -> list[str]:
    """Return ``names``, each once: one that was there before is followed by "#2", "#3", ...

    >>> apart(["weight", "bias", "weight"])
    ['weight', 'bias', 'weight#2']
    """
    found: dict[str, None] = {}
    for name in names:
        again, number = name, 1
        while again in found:
            number += 1
            again = f"{name}#{number}"
        found[again] = None
    return [*found]


def _one(tensor: Any, name: str | None, known: Param | None, fallback: str) -> Param:
    name = None if name is None else _bare(name)
    if known is not None:  # a name that differs only by the wrapper is the model's
        return known if name in (None, f"module.{known.name}") else known._replace(name=name)
    name = fallback if name is None else name
    return Param(name, _shape(name, tensor), "", id(tensor))
