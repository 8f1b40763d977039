"""What the name of an optimiser tells: whether it adapts its steps, and how it decays."""

from __future__ import annotations

import re

__all__ = ["decays_apart", "is_adaptive"]

_FAMILY = re.compile(r"adam|adan|lion|lamb|muon|rmsprop|adagrad|adadelta|adafactor|sophia|soap", re.IGNORECASE)
_APART = re.compile(
    r"adamw|w$|adan|lion|lamb|muon|adafactor|sophia|soap|adopt"
    r"|adamp$|fused_?adam$|deepspeedcpuadam$|adam_?mini$",  # Adam by name; decoupled by default
    re.IGNORECASE,
)


def is_adaptive(name: str) -> bool:
    """Return whether the optimiser of this name divides by what its gradients were.

    >>> is_adaptive("adamw_torch"), is_adaptive("sgd")
    (True, False)
    """
    return bool(_FAMILY.search(name))


def decays_apart(name: str) -> bool:
    """Return whether the optimiser of this name decays beside the gradient's step, not within the gradient.

    >>> decays_apart("paged_adamw_8bit"), decays_apart("Adam")
    (True, False)
    """
    return bool(_APART.search(name))
