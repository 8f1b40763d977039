"""A law that knows weight decay: what decay takes from the weights it takes from progress, from their start and from noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from dwindle.laws.features import Features
from dwindle.laws.law import Law, Parameter, Stretches
from dwindle.laws.noise_floor import NOISE_FLOOR, chained, last_loss
from dwindle.laws.taken import Taken, left_of, mean_kept, mean_kept_slope, taken

__all__ = ["DECAY_AWARE"]

_FORGOTTEN = 50.0  # log of what is left: less is nothing
_RISE = 64  # pieces of a warm-up


def _loss(values: Any, seen: Features) -> Any:
    alpha, offset, speed, kappa = (values[i] for i in (2, 3, 6, 8))
    start, strength = values[10:]
    took: Taken = seen.extra
    # G = 1 - e^-ωK/(1 + x) is x'/(1 + x') of x' = (1 + x)·e^ωK - 1, the effect of a longer way
    lost = np.expm1(np.minimum(strength * took.since, _FORGOTTEN))
    since = seen.since + (seen.since + 1.0 / speed) * lost
    pulled = NOISE_FLOOR.loss(values[:10], seen._replace(travelled=left_of(seen, strength), since=since))
    undone = (seen.peak**kappa * (seen.travelled + offset).clip(1e-4)) ** -alpha
    return pulled + start * undone * np.exp(-2.0 * strength * took.all)


def _end(values: Any, peak: float, stretches: Stretches) -> tuple[float, Any]:
    alpha, offset, speed, kappa = (values[i] for i in (2, 3, 6, 8))
    start, strength = values[10:]
    widths, rates, begun, unit, share = stretches
    first, power = share or (0.0, 1)
    steps = widths * unit
    a = first * rates**power
    each, by_each = (
        -np.log1p(-a),
        power * first * rates ** (power - 1) / (1.0 - a),
    )  # K of a step, and its slope by the rate
    took, by_took = steps * each, steps * by_each
    after = np.cumsum(took[::-1])[::-1]  # K from the change before a stretch to the end
    left = np.exp(-strength * (after - took))
    # of the distance of a stretch, what decay leaves at its end
    all_kept, one_kept = mean_kept(strength * took), mean_kept(strength * each)
    kept = widths * rates * all_kept / one_kept
    by_all, by_one = (strength * by * mean_kept_slope(strength * k) for by, k in ((by_took, took), (by_each, each)))
    by_kept = widths * (all_kept / one_kept + rates * (by_all * one_kept - all_kept * by_one) / one_kept**2)
    rise, rise_took = _rise(begun, unit, first, power, strength)
    before = np.exp(-strength * after[0]) * rise + np.concatenate(([0.0], np.cumsum(left * kept)[:-1]))
    by_travelled = left * by_kept - strength * by_took * before
    travelled = np.exp(-strength * after[0]) * rise + float(left @ kept)
    reached = begun + np.concatenate(([0.0], np.cumsum(widths * rates)))
    end, at = reached[-1], reached[:-1]
    since = end - at
    lost = np.where(
        strength * after < _FORGOTTEN, np.expm1(np.minimum(strength * after, _FORGOTTEN)), np.expm1(_FORGOTTEN)
    )
    found = last_loss(values[:10], peak, travelled, since + (since + 1.0 / speed) * lost, at, rates)
    by_since = found.by_since * (1.0 + lost)
    by_after = (
        found.by_since * (since + 1.0 / speed) * strength * np.where(strength * after < _FORGOTTEN, 1.0 + lost, 0.0)
    )
    undone = start * (peak**kappa * (end + offset)) ** -alpha * np.exp(-2.0 * strength * (after[0] + rise_took))
    slope = (
        found.by_travelled * by_travelled
        + chained(widths, by_since, found.by_at)
        + found.by_rate
        + by_took * np.cumsum(by_after)
        - undone * (alpha * widths / (end + offset) + 2.0 * strength * by_took)
    )
    return found.loss + float(undone), slope


def _rise(start: float, unit: float, first: float, power: int, strength: float) -> tuple[float, float]:
    """Return what is left after a linear warm-up over the distance ``start``, and the K that decay took in it."""
    if start == 0.0:
        return 0.0, 0.0
    rates = (np.arange(_RISE) + 0.5) / _RISE
    steps = 2.0 * start * unit / _RISE
    took = -steps * np.log1p(-first * rates**power)
    after = np.cumsum(took[::-1])[::-1] - 0.5 * took
    return float(2.0 * start / _RISE * (rates @ np.exp(-strength * after))), float(took.sum())


DECAY_AWARE = Law(
    "decay-aware",
    (
        *NOISE_FLOOR.parameters,
        Parameter("start", 0.1, 1.5, kind="amount"),
        Parameter("strength", 1.0, 1.5),
    ),
    _loss,
    _end,
    extra=taken,
    decays=True,
)
"""L(t) = L∞ + A·(p^κ·(T_ω + T₀))^-α + S·(p^κ·(T + T₀))^-α·P^2ω + B·p^ψ·(1 - Σ_k (r_{k-1}^ρ - r_k^ρ)·G_k·(T_k + 0.05)^-φ)

    T_ω = Σ_i r_i Π_{j>i} (1 - a_j)^ω      P = Π_j (1 - a_j)      G_k = 1 - P_k^ω/(1 + c·(T - T_k))

with a what decay takes of the weights in a step, P what it leaves up to t, P_k from the change k to t, and all else as in
`NOISE_FLOOR`; S start, ω strength. What was learned is A and S together. Without decay, or with ω = 0, the law is
`NOISE_FLOOR` with the progress A + S. Decay forgets old updates, so that the distance that is left stops growing at the
time scale 1/a, and a bias (ω·λ)^α remains (A); it forgets the first weights, which training alone must undo (S, of which the
loss has the square); and it forgets the noise of a higher rate sooner (G). The first alone makes the loss worse with λ, the
second better, and so there is a best λ, lower at a higher rate and over a longer run.

Derived, for what a term looks like, from gradient descent on a quadratic whose curvatures h and squares of w* follow powers: a
direction keeps ((λ + h·e^-(h+λ)T)/(h + λ))² of its signal, the A term, and e^-2(h+λ)T of its start, the S term. Measured on the
shipped curves (`benchmarks/decay_curves.py`): a network of 10,000 weights, decoupled decay under AdamW, where ω is found near
1, the value that counts decay as it is; an assumption elsewhere.
"""
