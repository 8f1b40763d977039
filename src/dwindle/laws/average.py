"""Decayed training as an exponential average of its own updates: what share of the final weights each of them makes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, real
from dwindle.plan import Plan, Timescale, as_plan
from dwindle.units import Horizon, as_horizon

__all__ = ["Shares", "doses", "shares"]

Array = npt.NDArray[np.float64]

_LONGEST = 10**9  # steps, 24 GB
_BLOCK = 8192  # steps evaluated at once: what lies between then stays in the second-level cache


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """What the final weights are made of; see `shares` for the formulas. Index i is step i of the run, 0-based.

    ``initial`` is the share of the initial weights. ``updates`` c, float64 [steps], is the share of each update seen as
    the point x it pulls to; ``initial`` + Σ ``updates`` = 1. ``contributions`` k, float64 [steps], is how far a unit of
    update i still moves the final weights, in units of the learning rate. ``timescale`` is the plan's τ at its peak.
    """

    initial: float
    updates: Array
    contributions: Array
    timescale: Timescale

    @property
    def effective_steps(self) -> float:
        """How many updates the final weights are averaged over: (Σ|k|)²/Σk², all of them where every k is equal.

        Of updates at a constant rate, long after τ, it is (2 - a)/a, about 2τ. It is 0 if nothing moves. Kish 1965.

        >>> from dwindle.decay import Decoupled
        >>> round(shares(Plan(0.1, decay=Decoupled(0.5)), 10_000).effective_steps, 6)
        39.0
        """
        largest = float(np.max(np.abs(self.contributions)))
        if largest == 0.0:
            return 0.0
        sizes = np.abs(self.contributions) / largest  # so that no square underflows
        return float(np.sum(sizes)) ** 2 / float(np.sum(sizes * sizes))

    def from_last(self, part: float = 0.1) -> float:
        """Return what of all that the updates contribute comes from the last ``part`` of the steps.

        That is the sum of abs(k) over them, over that of all steps. The steps are rounded to a whole number, at least one. For
        updates of equal size; 0 if nothing moves.

        >>> shares(Plan(0.5), 1000).from_last(0.1)
        0.1
        """
        part = real("part", part, low=0.0, high=1.0, remedy="It is a share of the run, such as 0.1.")
        sizes = np.abs(self.contributions)
        last = max(1, round(part * len(sizes)))
        whole = float(np.sum(sizes))
        return float(np.sum(sizes[-last:])) / whole if whole and part else 0.0


def shares(plan: Plan, run: Horizon | int, *, group: str | None = None) -> Shares:
    """Return what the final weights of ``run`` are made of, exactly, whatever the updates are::

        w_t = (1 - a_t)·w_{t-1} - lr_t·u_t            u_t: the optimiser's update, such as Adam's m̂/(√v̂ + ε)
        w_T = P_0·w_0 - Σ_i k_i·u_i                   P_i = Π_{j>i} (1 - a_j)        k_i = lr_i·P_i
            = P_0·w_0 + Σ_i c_i·x_i                   c_i = a_i·P_i                  x_i = -u_i·lr_i/a_i

    a_t is the share that decay takes in step t: lr·λ for decoupled, f·λ for independent, lr·f·λ for corrected. l2 counts
    as under plain SGD, a = lr·λ; with momentum or Adam it is part of u instead and this does not describe it. P_0 is
    ``initial``, c ``updates``, k ``contributions``; without decay c is 0 and k is lr. P_0 + Σ c = 1. In float64, also
    for a far below 1e-16, to about 1e-14·Σa relative; where a = 1 nothing from before is left.

    Raises InvalidValueError for a cautious decay, which takes a share only of some weights and not the same ones each
    step, and where a > 2 grows the weights beyond float64.

    >>> from dwindle.decay import Decoupled
    >>> made = shares(Plan(0.5, decay=Decoupled(1.0)), 3)
    >>> made.initial, made.updates, made.contributions
    (0.125, array([0.125, 0.25 , 0.5  ]), array([0.125, 0.25 , 0.5  ]))

    Source: Wang & Aitchison 2024, arXiv 2405.13698 (constant rates); Bergsma et al. 2025, arXiv 2502.15938, for
    schedules. Derived: unroll the first line.
    """
    plan, run = as_plan(plan), as_horizon(run)
    if plan.decay is not None and plan.decay.cautious:
        raise InvalidValueError(
            "cautious decay takes its share only where update and weight agree in sign, so no one average describes it; "
            "ask for the plan without cautious, which decays at least as much."
        )
    lrs, taken = doses(plan, run, group)
    left = _kept_after(taken)
    initial = float((1.0 - taken[0]) * left[0])
    if not (np.isfinite(initial) and np.all(np.isfinite(left))):
        raise InvalidValueError(
            f"decay takes up to {np.max(taken):g} times each weight a step, and the weights grow beyond float64; lower it."
        )
    return Shares(initial, taken * left, lrs * left, plan.timescale(run))


def doses(plan: Plan, run: Horizon, group: str | None) -> tuple[Array, Array]:
    """Return the learning rate and the share that decay takes at every step; l2 as under plain SGD."""
    if run.steps > _LONGEST:
        raise InvalidValueError(
            f"at most {_LONGEST:.0e} steps are worked out one by one; got {run.steps}. Ask for a shorter run."
        )
    resolved, lrs, taken = plan.resolve(run), np.empty(run.steps), np.empty(run.steps)
    for low in range(0, run.steps, _BLOCK):
        block = slice(low, min(low + _BLOCK, run.steps))
        dose = resolved.dose(np.arange(block.start, block.stop), group)
        lrs[block], taken[block] = dose.lr, dose.share + dose.lr * dose.l2
    return lrs, taken


def _kept_after(taken: Array) -> Array:
    """Return Π_{j>i} (1 - a_j) for every i: by logarithms, since 1 - a loses the last digits of a small a."""
    with np.errstate(divide="ignore", over="ignore"):  # a = 1 leaves exp(-inf) = 0
        kept: Array = np.exp(_sums_after(np.log1p(-np.minimum(taken, 2.0 - taken))))  # |1 - a| = 1 - (2 - a) for a > 1
    if np.any(taken > 1.0):
        kept *= np.concatenate((np.cumprod(np.where(taken > 1.0, -1.0, 1.0)[:0:-1])[::-1], [1.0]))
    return kept


def _sums_after(values: Array) -> Array:
    """Return Σ_{j>i} values_j for every i, in rows of about √T, so that rounding grows with √T and not with T."""
    steps = len(values)
    width = max(1, int(np.sqrt(steps)))
    backwards = np.zeros(-(-steps // width) * width)
    backwards[1:steps] = values[:0:-1]
    rows = backwards.reshape(-1, width)
    within = np.cumsum(rows, axis=1)
    before = np.concatenate(([0.0], np.cumsum(within[:-1, -1])))
    return (within + before[:, None]).ravel()[:steps][::-1]
