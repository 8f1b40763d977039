"""The law that dwindle fits unless told otherwise: progress along the schedule, above a floor of noise that follows the rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter, Stretches

__all__ = ["NOISE_FLOOR", "Slopes", "chained", "last_loss"]

_EARLY = 0.05  # of the unit


def _loss(values: Any, seen: Features) -> Any:
    floor, progress, alpha, offset, noise, rho, speed, fade, kappa, psi = values
    travelled = (seen.travelled + offset).clip(1e-4)
    moved = speed * seen.since
    fallen = (seen.before**rho - seen.after**rho) * (seen.at + _EARLY) ** -fade
    hot = noise * seen.peak**psi * (1.0 - (moved / (1.0 + moved)) @ fallen)
    return floor + progress * (seen.peak**kappa * travelled) ** -alpha + hot


class Slopes(NamedTuple):
    """A last loss, and its slopes by the distance travelled, and [k] by those since and up to each change, and by the rates."""

    loss: float
    by_travelled: float
    by_since: Any
    by_at: Any
    by_rate: Any


def last_loss(values: Any, peak: float, travelled: float, since: Any, at: Any, rates: Any) -> Slopes:
    """Return the loss where the rate changed to ``rates`` [k] after the distances ``at`` [k], ``since`` [k] before the point."""
    floor, progress, alpha, offset, noise, rho, speed, fade, kappa, psi = values
    moved = speed * since
    effect, growth = moved / (1.0 + moved), speed / (1.0 + moved) ** 2
    height, weight = np.concatenate(([1.0], rates**rho)), (at + _EARLY) ** -fade
    hot, cold = noise * peak**psi, progress * (peak**kappa * (travelled + offset)) ** -alpha
    fallen = (height[:-1] - height[1:]) * weight
    reached = weight * effect
    by_height = hot * (reached - np.append(reached[1:], 0.0))
    return Slopes(
        float(floor + cold + hot * (1.0 - fallen @ effect)),
        float(-alpha * cold / (travelled + offset)),
        -hot * fallen * growth,
        hot * fallen * effect * fade / (at + _EARLY),
        by_height * rho * rates.clip(1e-12) ** (rho - 1.0),
    )


def chained(widths: Any, by_since: Any, by_at: Any) -> Any:
    """Return the slopes [k] by the rates of stretches: one moves the changes after it, and what lies behind those up to it."""
    return widths * (np.cumsum(by_since) + np.cumsum(by_at[::-1])[::-1] - by_at)


def _end(values: Any, peak: float, stretches: Stretches) -> tuple[float, Any]:
    widths, rates = stretches.widths, stretches.rates
    reached = stretches.start + np.concatenate(([0.0], np.cumsum(widths * rates)))
    end, at = reached[-1], reached[:-1]
    found = last_loss(values, peak, end, end - at, at, rates)
    slope = widths * found.by_travelled + chained(widths, found.by_since, found.by_at) + found.by_rate
    return found.loss, slope


NOISE_FLOOR = Law(
    "noise-floor",
    (
        Parameter("floor", -0.6, 4.0, positive=False, kind="level"),
        Parameter("progress", 0.5, 2.0, kind="amount"),
        Parameter("alpha", 0.5, 0.12),
        Parameter("offset", 0.03, 0.04, positive=False),
        Parameter("noise", 0.28, 0.5, kind="amount"),
        Parameter("rho", 0.72, 0.12, positive=False),
        Parameter("speed", 130.0, 0.7),
        Parameter("fade", 0.1, 0.05, positive=False),
        Parameter("kappa", 0.33, 0.15, positive=False),
        Parameter("psi", 0.25, 0.15, positive=False),
    ),
    _loss,
    _end,
)
"""L(t) = L∞ + A·(p^κ·(T + T₀))^-α + B·p^ψ·(1 - Σ_k (r_{k-1}^ρ - r_k^ρ)·G(c·(T - T_k))·(T_k + 0.05)^-φ),  G(x) = x/(1 + x).

r is the learning rate over the run's own peak, p that peak over the one the law refers to, T = Σ r up to t and T_k up to the
change k, both in units of 1/2.4 of the longest fitted run; the sum is over all changes after the warm-up. L∞ floor, A progress,
α alpha, T₀ offset, B noise, ρ rho, c speed, φ fade, κ kappa, ψ psi. Progress is a power of the distance travelled; a rate r
keeps the loss B·r^ρ above it, and a change of the rate takes effect hyperbolically in the distance since. Between peaks
progress grows slower than the rate (κ) and so does the floor (ψ).

The form is that of the multi-power law (Luo et al. 2025, arXiv 2503.12811, equation 6) and of the functional scaling law
(Li et al. 2025, arXiv 2509.19189) with three changes that real curves ask for: a floor sublinear in the rate, an effect of
fixed exponent that depends on distance alone, and an offset of time. Measured on language models of 25 to 400 million weights,
AdamW, 15,000 to 50,000 steps, runs of one peak and of two a factor 2 apart; an assumption elsewhere.
"""
