"""The best weight decay of a plan by a law that reads it, beside all that the fitted runs cannot tell from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dwindle.decay import Decay, Decoupled
from dwindle.errors import InvalidValueError
from dwindle.laws.course import Course, course, pace
from dwindle.laws.fit import Fitted, as_fitted
from dwindle.laws.forecast import reasons
from dwindle.plan import Plan, as_plan
from dwindle.schedule import Schedule
from dwindle.units import Horizon, as_horizon, short

__all__ = ["BestDecay", "best_decay", "doubt", "lowest_decay", "paced"]

_TRIED = 31  # λ, on a logarithmic scale
_LEAST = 30.0  # times: how far below the most decay of the runs λ are tried where some run has none


@dataclass(frozen=True)
class BestDecay:
    """What to take: ``plan``, with its own decay where the fitted runs cannot tell it from the best, else with the best.

    ``weight_decay`` is its λ and ``loss`` where it should end; ``best`` the λ of the lowest loss, and all from ``low`` to
    ``high`` are tied with it, as far as was looked: within the decays of the runs. ``gain`` ± ``half`` is what the best should
    gain over the plan's own λ, ``distinguishable`` whether that is more than nothing. ``said`` puts it in words; ``supported``
    and ``why`` are those of the forecast of ``plan``.
    """

    plan: Plan
    weight_decay: float
    loss: float
    best: float
    low: float
    high: float
    gain: float
    half: float
    distinguishable: bool
    supported: bool
    why: str
    said: str


def best_decay(fitted: Fitted, plan: Plan, horizon: Horizon | int) -> BestDecay:
    """Return the weight decay with which ``plan`` ends lowest over ``horizon``, by a law that reads decay::

        minimise L(T; λ) over the λ that the decays of the fitted runs span, the schedule and the convention being the plan's

    A plan without decay gets decoupled decay. Intervals of 90 % are of the difference of two losses.

    Raises InvalidValueError for a law that does not read decay, and for a λ that is a schedule or cautious.

    >>> from dwindle.laws import Run, fit
    >>> from dwindle.schedule import constant
    >>> step, plans = np.arange(1, 41) * 25, [Plan(1e-3, constant(), Decoupled(lam)) for lam in (0.0, 0.5, 1.0)]
    >>> cost = [0.1, 0.0, 0.1]
    >>> fitted = fit([Run.of(p, 1000, step, 2.0 + c + (step / 100.0) ** -0.5) for p, c in zip(plans, cost)])
    >>> best_decay(fitted, plans[0], 1000).plan.decay is not None
    True
    """
    as_fitted(fitted)
    plan, run = as_plan(plan), as_horizon(horizon)
    best = lowest_decay(fitted, plan, run)
    decay, unit = _plain(plan.decay), paced(plan, run)
    tried = _range(fitted, unit)
    own = 0.0 if plan.decay is None else float(plan.decay.weight_decay)  # type: ignore[arg-type]
    at_best, at_own = _taking(unit, best), _taking(unit, own)
    gain, half = fitted.difference(at_best, at_own)
    behind = [fitted.difference(at_best, _taking(unit, lam)) for lam in tried]
    tied = [lam for lam, (more, room) in zip(tried, behind, strict=True) if more <= room] or [best]
    clear = gain > half
    chosen = best if clear else own
    taken = replace(plan, decay=replace(decay, weight_decay=chosen)) if clear or plan.decay is not None else plan
    why = reasons(_taking(unit, chosen), run.steps, fitted.known)
    low, high = min(*tied, best), max(*tied, best)
    return BestDecay(
        plan=taken,
        weight_decay=chosen,
        loss=float(fitted.loss(_taking(unit, chosen), [run.steps])[0]),
        best=best,
        low=low,
        high=high,
        gain=gain,
        half=half,
        distinguishable=clear,
        supported=not why,
        why="; ".join(why) or "within what the fitted runs have seen",
        said=_said(decay.convention, own, best, low, high, gain, half),
    )


def lowest_decay(fitted: Fitted, plan: Plan, run: Horizon) -> float:
    """Return the λ with which ``plan`` ends lowest over ``run``, to four digits; see `best_decay`."""
    if not fitted.law.decays:
        raise InvalidValueError(
            f"{fitted.law.name} does not read weight decay; fit runs of at least two λ, each with its plan or its share."
        )
    unit = paced(plan, run)
    tried = _range(fitted, unit)
    ends = fitted.ends(unit.lr, [lam * unit.share for lam in tried])
    at = int(np.argmin(ends))
    if not 0 < at < len(tried) - 1 or tried[at - 1] == 0.0:
        return float(f"{tried[at]:.4g}")
    # a parabola through the lowest and its neighbours in log λ
    x, (left, middle, right) = np.log(tried[at - 1 : at + 2]), ends[at - 1 : at + 2]
    bend = left - 2.0 * middle + right
    between = float(np.exp(x[1] + (x[1] - x[0]) * 0.5 * (left - right) / bend)) if bend > 0.0 else tried[at]
    lower = fitted.ends(unit.lr, [between * unit.share])[0] <= middle
    return float(f"{between if lower else tried[at]:.4g}")


def paced(plan: Plan, run: Horizon) -> Course:
    """Return the course of the plan with the share that λ = 1 would take; a share is proportional to its λ."""
    little = replace(plan, decay=replace(_plain(plan.decay), weight_decay=1e-6))
    lr, share = course(little, run)
    return Course(lr, share * 1e6)


def _taking(unit: Course, lam: float) -> Course:
    return course(unit.lr, share=lam * unit.share, name=f"the plan with λ = {short(lam)}")


def _plain(decay: Decay | None) -> Decay:
    if decay is None:
        return Decoupled(0.0)
    if decay.cautious or isinstance(decay.weight_decay, Schedule):
        raise InvalidValueError(
            f"{decay}: the best λ is sought of one number for the whole run, and not of cautious decay."
        )
    return decay


def _range(fitted: Fitted, unit: Course) -> list[float]:
    """Return the λ to try: those of the runs in the plan's convention, below the λ that would take all of a weight."""
    least, most = fitted.known.paces or (0.0, 0.0)
    per_lam = pace(unit) or 1.0
    most = min(most / per_lam, 0.999 / float(unit.share.max()))
    lowest = least / per_lam if least > 0.0 else most / _LEAST
    tried = [float(lam) for lam in np.geomspace(min(lowest, most), most, _TRIED)]
    return tried if least > 0.0 else [0.0, *tried]


def doubt(gain: float, half: float) -> str:
    """Return what is said behind a gain that is not clear: nothing where it is."""
    return ": worse" if gain < -half else ": not distinguishable" if gain <= half else ""


def _said(convention: str, own: float, best: float, low: float, high: float, gain: float, half: float) -> str:
    told = f"{convention} {short(best)}: {gain:+.4f} ± {half:.4f} below {short(own)}"
    return f"{told}{doubt(gain, half)}; λ from {low:.3g} to {high:.3g} cannot be told from it."
