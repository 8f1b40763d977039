"""The functional scaling law, in the form that is fitted to language models."""

from __future__ import annotations

from typing import Any

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter

__all__ = ["FUNCTIONAL_SCALING"]


def _loss(values: Any, seen: Features) -> Any:
    level, progress, s, drop, rest, speed, gamma = values
    travelled, at = (seen.peak * seen.travelled).clip(1e-4), (seen.peak * seen.at).clip(1e-4)
    effect = 1.0 - (1.0 + speed * seen.peak * seen.since) ** -gamma
    fallen = seen.peak * (seen.before - seen.after).clip(0.0) * (rest + at**-s)
    return level + progress * travelled**-s - drop * effect @ fallen


FUNCTIONAL_SCALING = Law(
    "functional-scaling",
    (
        Parameter("L0", -0.2, 4.0, positive=False, kind="level"),
        Parameter("c1", 0.5, 2.0, kind="amount"),
        Parameter("s", 0.45, 0.3),
        Parameter("c2", 0.1, 1.5, kind="amount"),
        Parameter("c3", 2.0, 1.0),
        Parameter("c4", 100.0, 1.5),
        Parameter("gamma", 0.4, 0.5),
    ),
    _loss,
)
"""L(T) = L₀ + c₁·T^-s - c₂·Σ_k (η_{k-1} - η_k)⁺·(c₃ + T_k^-s)·(1 - (1 + c₄·(T - T_k))^-γ).

η is the learning rate over the peak that the law refers to, T = Σ η, T_k that at the fall k. Li et al., "Functional Scaling Laws
in Kernel Regression: Loss Dynamics and Learning Rate Schedules", NeurIPS 2025, arXiv 2509.19189, equation 30. One peak only.
"""
