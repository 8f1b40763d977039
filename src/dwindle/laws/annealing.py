"""The law of learning-rate annealing, also called the momentum law."""

from __future__ import annotations

from typing import Any

import numpy as np

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter

__all__ = ["ANNEALING"]


def _loss(values: Any, seen: Features) -> Any:
    level, progress, alpha, drop, memory = values
    # Σ_i m_i of a change Δ at k, where m decays by λ = exp(-1/memory) a step: Δ·(1 - λ^n)/(1 - λ), n the steps since
    area = memory * -np.expm1(-seen.steps_since / memory)
    fallen = seen.peak * (seen.before - seen.after)
    return level + progress * (seen.peak * seen.travelled).clip(1e-4) ** -alpha - drop / memory * area @ fallen


ANNEALING = Law(
    "annealing",
    (
        Parameter("L0", -0.2, 4.0, positive=False, kind="level"),
        Parameter("A", 0.5, 2.0, kind="amount"),
        Parameter("alpha", 0.45, 0.3),
        Parameter("C", 0.3, 1.0, kind="amount"),
        Parameter("memory", 0.05, 1.0),
    ),
    _loss,
)
"""L(s) = L₀ + A·S₁^-α - C·S₂,  S₂(s) = Σ_{i≤s} m_i,  m_i = λ·m_{i-1} + (η_{i-1} - η_i).

η is the learning rate over the peak that the law refers to, S₁ = Σ η; ``memory`` = -1/ln λ in units of 1/2.4 of the longest
fitted run, and C is scaled so that a full fall to 0 is worth C in the end. Tissue, Wang, Wang, "Scaling Law with Learning Rate
Annealing", 2024, arXiv 2408.11029, equation 1. Its memory counts steps: a fall to a low rate takes no longer than to a high one.
"""
