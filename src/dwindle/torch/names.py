"""What a mask may look at, read off a live model or optimiser: names, shapes, module kinds, and who is tied to whom."""

from __future__ import annotations

from typing import Any

import torch

from dwindle.errors import InvalidValueError
from dwindle.mask import Param

__all__ = ["described", "params"]


def params(model: torch.nn.Module) -> tuple[Param, ...]:
    """Return every parameter of ``model`` in its own order, once for each of its names; ties share their ``key``.

    ``kind`` is the class name of the module that owns the parameter, such as Linear or LayerNorm.

    >>> params(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.LayerNorm(3)))[2]._replace(key=None)
    Param(name='1.weight', shape=(3,), kind='LayerNorm', key=None)
    """
    kinds = {path: type(module).__name__ for path, module in model.named_modules(remove_duplicate=False)}
    return tuple(
        Param(name, tuple(p.shape), kinds[name.rpartition(".")[0]], id(p))
        for name, p in model.named_parameters(remove_duplicate=False)
    )


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


def _one(tensor: Any, name: str | None, known: Param | None, fallback: str) -> Param:
    if known is not None:
        return known if name is None else known._replace(name=name)
    return Param(fallback if name is None else name, tuple(tensor.shape), "", id(tensor))
