"""The convex last-iterate bound, taken as a law: its two terms, each with an amount of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from dwindle.laws.course import Course
from dwindle.laws.features import Features
from dwindle.laws.last_iterate import bounds
from dwindle.laws.law import Law, Parameter

__all__ = ["CONVEX"]


def _loss(values: Any, seen: Features) -> Any:
    level, distance, noise = values
    far, rough = seen.extra
    return level + distance / seen.peak * far + noise * seen.peak * rough


def _terms(course: Course, at: Any, step: Any, unit: float) -> tuple[Any, Any]:
    """Return 1/(2·S_1) in units, and the rest of the bound, of the rates over their peak, at D = G = 1."""
    relative, ends = course.lr / course.lr.max(), np.minimum(step, len(course.lr) - 1)
    once, twice = bounds(relative, ends), bounds(relative, ends, distance=2.0)
    far = (twice - once) / 3.0
    return far * unit, once - far


CONVEX = Law(
    "last-iterate",
    (
        Parameter("L0", -0.4, 4.0, positive=False, kind="level"),
        Parameter("D2", 0.3, 3.0, kind="amount"),
        Parameter("G2", 0.1, 3.0, kind="amount"),
    ),
    _loss,
    extra=_terms,
)
"""L(t) = L₀ + D²/(2·S_1) + G²/2·(Σ_{i<t} η_i²/S_{i+1} + η_t),  S_i = η_i + ... + η_t, with D² and G² fitted.

η is the learning rate over the peak that the law refers to. `bounds` has the source; Schaipp et al. 2025, arXiv 2501.18965,
compare it with the losses of language models. It knows the shape of a cooldown and decays as 1/S, faster than losses do.
"""
