"""The multi-power law."""

from __future__ import annotations

from typing import Any

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter

__all__ = ["MULTI_POWER"]


def _loss(values: Any, seen: Features) -> Any:
    level, progress, alpha, drop, speed, beta, gamma = values
    peak = seen.peak
    scaled = speed * (peak * seen.since) * (peak * seen.after.clip(1e-6)) ** -gamma
    fallen = peak * (seen.before - seen.after)
    return (
        level
        + progress * (peak * seen.travelled).clip(1e-4) ** -alpha
        - drop * (1.0 - (1.0 + scaled) ** -beta) @ fallen
    )


MULTI_POWER = Law(
    "multi-power",
    (
        Parameter("L0", -0.2, 4.0, positive=False, kind="level"),
        Parameter("A", 0.5, 2.0, kind="amount"),
        Parameter("alpha", 0.45, 0.3),
        Parameter("B", 0.4, 0.7, kind="amount"),
        Parameter("C", 100.0, 1.5),
        Parameter("beta", 0.4, 0.5),
        Parameter("gamma", 0.6, 0.5),
    ),
    _loss,
)
"""L(t) = L₀ + A·T^-α - B·Σ_k (η_{k-1} - η_k)·G(η_k^-γ·S_k(t)),  G(x) = 1 - (1 + C·x)^-β.

η is the learning rate over the peak that the law refers to, T = Σ η with the warm-up, S_k(t) = Σ η from the change k to t; the
sum is over the changes after the warm-up. Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate
Schedules", ICLR 2025, arXiv 2503.12811. One peak only: a change of the peak is not in it.
"""
