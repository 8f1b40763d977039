"""Under ``torch.compile`` a number in a param group is part of the compiled graph: another number is another compilation.

So while a step is compiled the learning rate is a 0-d tensor that is filled in place, and a decay whose number changes
from step to step is applied beside the optimiser. An eager step finds floats again; the two may take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from dwindle.decay import L2, Decay, Decoupled
from dwindle.schedule import Schedule
from dwindle.torch.groups import Group

__all__ = ["is_fixed", "is_traced", "noticing", "rate_tensor"]

Hook = Callable[[Any, tuple[Any, ...], dict[str, Any], bool], Any]
_disable: Callable[[Any], Any] = torch.compiler.disable


def noticing(hook: Hook) -> Callable[[Any, tuple[Any, ...], dict[str, Any]], Any]:
    """Return a step hook that calls ``hook`` outside the compiled graph and tells it whether the step is compiled.

    What a hook writes differs each time: traced into a graph it would be compiled anew each time. But only what is
    traced sees the compiler, which puts True for ``is_compiling()``.
    """
    outside: Hook = _disable(hook)

    def traced(optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return outside(optimizer, args, kwargs, torch.compiler.is_compiling())

    return traced


def is_traced(optimizer: torch.optim.Optimizer) -> bool:
    """Whether torch compiles this optimiser's arithmetic; Adafactor reads its numbers off tensors and stays outside."""
    return not isinstance(optimizer, getattr(torch.optim, "Adafactor", ()))


def is_fixed(decay: Decay) -> bool:
    """Whether the optimiser's own ``weight_decay`` is the same number at every step of this decay."""
    return isinstance(decay, L2 | Decoupled) and not isinstance(decay.weight_decay, Schedule)


def rate_tensor(group: Group) -> torch.Tensor:
    """Return a 0-d tensor for the learning rate of ``group``, where its parameters are and as wide as a float of theirs.

    torch's fused kernels on an accelerator read float32.
    """
    params = group["params"]
    wide = any(p.dtype in (torch.float64, torch.complex128) for p in params)
    device = params[0].device if params else torch.device("cpu")
    narrow = not wide or (group.get("fused") and device.type != "cpu")
    return torch.zeros((), dtype=torch.float32 if narrow else torch.float64, device=device)
