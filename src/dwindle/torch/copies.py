"""A copy of an optimiser that follows a plan: it carries the plan's step, and follows nothing until a plan is attached."""

from __future__ import annotations

import copy
import copyreg
import warnings
from collections.abc import Callable
from typing import Any

import torch

from dwindle.torch.groups import Group

__all__ = ["carry", "carry_no_more"]


def carry(optimizer: torch.optim.Optimizer, groups: Callable[[], list[Group]]) -> None:
    """Have ``copy.deepcopy``, ``pickle`` and ``torch.save`` of ``optimizer`` take ``groups()`` for its groups.

    torch copies state and groups and drops every hook: a copy of the live groups would stand still at one step's rates.
    """

    def state() -> dict[str, Any]:
        warnings.warn(
            "a copy of an optimiser follows no plan; attach the plan to the copy, and it goes on from the step it has.",
            stacklevel=4,
        )
        plain: Any = optimizer.__getstate__()
        return {**plain, "param_groups": groups()}

    def deepcopy(memo: dict[int, Any]) -> torch.optim.Optimizer:
        twin = type(optimizer).__new__(type(optimizer))
        memo[id(optimizer)] = twin
        twin.__setstate__(copy.deepcopy(state(), memo))
        return twin

    def reduce(protocol: int) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(optimizer),), state()  # type: ignore[attr-defined]

    vars(optimizer).update(__deepcopy__=deepcopy, __reduce_ex__=reduce)


def carry_no_more(optimizer: torch.optim.Optimizer) -> None:
    """Let ``optimizer`` be copied as torch does."""
    for name in ("__deepcopy__", "__reduce_ex__"):
        vars(optimizer).pop(name, None)
