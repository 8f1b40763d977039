"""The baseline that knows of a schedule only how much of it has passed."""

from __future__ import annotations

from typing import Any

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter

__all__ = ["POWER"]


def _loss(values: Any, seen: Features) -> Any:
    level, progress, alpha = values
    return level + progress * (seen.peak * seen.travelled).clip(1e-4) ** -alpha


POWER = Law(
    "power",
    (
        Parameter("L0", -0.2, 4.0, positive=False, kind="level"),
        Parameter("A", 0.5, 2.0, kind="amount"),
        Parameter("alpha", 0.45, 0.5),
    ),
    _loss,
)
"""L(t) = L₀ + A·S₁^-α, S₁ = Σ η over the steps before t: blind to where the learning rate was high and where low."""
