"""What decay does to the weights of a run, before one of its steps and after: shares, summed block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.decay import log_kept
from dwindle.plan import Plan

__all__ = ["LONGEST", "Weights", "doses", "weighed"]

Array = npt.NDArray[np.float64]

LONGEST = 10**8  # steps that are added one by one: a few seconds
_BLOCK = 2**16


class Weights(NamedTuple):
    """Of a run of T steps at step t, a the share that decay takes from each weight in a step::

        dose_so_far  Σ_{j<t} a_j        left_now     Π_{j<t} (1 - a_j)      what decay alone has left of w(0)
        dose         Σ a_j              left         Π (1 - a_j)            the same at the end
        from_before  Π_{j≥t} (1 - a_j) - left        of the final weights, the share that updates 0 .. t-1 make
        from_after   1 - Π_{j≥t} (1 - a_j)           the share that updates t .. T-1 make
        moved_before Σ_{i<t} k_i / Σ k_i             k_i = lr_i·Π_{j>i} abs(1 - a_j), how far update i still moves them

    An update counts as the point that it pulls to; left + from_before + from_after = 1. `laws.shares` has it update by update.
    """

    dose_so_far: float
    dose: float
    left_now: float
    left: float
    from_before: float
    from_after: float
    moved_before: float


class _Stretch(NamedTuple):
    """Some steps: Σ a, log Π abs(1 - a), whether an odd number of factors is negative, Σ k as of its end."""

    dose: float = 0.0
    log: float = 0.0
    flips: bool = False
    moved: float = 0.0

    def then(self, more: _Stretch) -> _Stretch:
        moved = self.moved * math.exp(more.log) if self.moved else 0.0
        return _Stretch(
            self.dose + more.dose, self.log + more.log, self.flips != more.flips, moved + more.moved
        )  # fmt: skip

    @property
    def kept(self) -> float:
        return -math.exp(self.log) if self.flips else math.exp(self.log)


def weighed(plan: Plan, steps: int, step: int, lr_scale: float, decays: bool) -> Weights | None:
    """Return it for a resolved plan, l2 as under plain SGD; None beyond 10^8 steps, or where the weights leave float64.

    >>> from dwindle.decay import Decoupled
    >>> found = weighed(Plan(0.5, decay=Decoupled(1.0)), 3, 1, 1.0, True)
    >>> [round(share, 15) for share in (found.left_now, found.left, found.from_before, found.from_after)]
    [0.5, 0.125, 0.125, 0.75]
    """
    if steps > LONGEST:
        return None
    try:
        before, after = (_over(plan, *some, lr_scale, decays) for some in ((0, step), (step, steps)))
        whole = before.then(after)
        left, late = whole.kept, after.kept
        now = before.kept
    except OverflowError:
        return None
    if not all(map(math.isfinite, (left, late, now, whole.moved))):
        return None
    since = -math.expm1(after.log) if not after.flips else 1.0 - late
    share = before.moved * math.exp(after.log) / whole.moved if whole.moved else 0.0
    early = late * -math.expm1(before.log) if not before.flips else late - left
    return Weights(before.dose, whole.dose, now, left, early, since, share)


def doses(plan: Plan, first: int, last: int, lr_scale: float, decays: bool) -> Iterator[tuple[Array, Array]]:
    """Yield the learning rates and the shares that decay takes of steps first .. last-1, block by block."""
    for low in range(first, last, _BLOCK):
        at = np.arange(low, min(low + _BLOCK, last))
        dose = plan.dose(at, lr_scale=lr_scale, decays=decays)
        flat = np.zeros(len(at))
        yield flat + dose.lr, flat + dose.share + dose.lr * dose.l2


def _over(plan: Plan, first: int, last: int, lr_scale: float, decays: bool) -> _Stretch:
    whole, dose, log = _Stretch(), [], []
    for lrs, taken in doses(plan, first, last, lr_scale, decays):
        logs = log_kept(taken)
        after = np.concatenate((np.cumsum(logs[:0:-1])[::-1], [0.0]))
        with np.errstate(over="ignore", invalid="ignore"):  # a rate of 0 times what has left float64
            moved = float(lrs @ np.exp(after))
        dose.append(math.fsum(taken))
        log.append(math.fsum(logs) if np.isfinite(logs).all() else float(logs.sum()))
        flips = bool(np.sum(taken > 1.0) % 2)
        whole = whole.then(_Stretch(dose[-1], log[-1], flips, moved))
    return whole._replace(dose=math.fsum(dose))
