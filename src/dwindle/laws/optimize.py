"""The best schedule for a horizon, beside the simplest one that the fitted runs cannot tell from it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from dwindle.decay import Decay, Decoupled
from dwindle.errors import DwindleError, InvalidValueError, count, real
from dwindle.laws.best_decay import doubt, lowest_decay, paced
from dwindle.laws.course import course
from dwindle.laws.features import warmup as risen
from dwindle.laws.fit import Fitted, as_fitted
from dwindle.laws.forecast import reasons
from dwindle.laws.law import Stretches
from dwindle.plan import Plan
from dwindle.schedule import Schedule, constant, cosine, interpolate, linear, warmup
from dwindle.units import Horizon, as_horizon, as_time, in_steps, number_of_steps

__all__ = ["Candidate", "Optimum", "optimize"]

_STRETCHES = 300  # between which the rate changes, the shorter the nearer the end
_LOWEST = 1e-6
_TURNS = 2


class Candidate(NamedTuple):
    """A schedule and the ``loss`` it should end at, ``gain`` below that of the schedule asked about, within ± ``half``.

    ``behind`` is how much worse it is than the best found, ``tied`` whether the runs tell of no candidate that is better.
    """

    name: str
    plan: Plan
    loss: float
    gain: float
    half: float
    behind: float
    tied: bool


@dataclass(frozen=True)
class Optimum:
    """What to take: ``plan``, the simplest schedule that the fitted runs cannot tell from the ``best`` one.

    ``gain`` ± ``half`` is what it should gain over ``against``; ``distinguishable`` whether that is more than nothing.
    ``candidates`` are all that were looked at, the simplest first; ``said`` puts it in words; ``supported`` and ``why`` are
    those of the forecast of ``plan``.
    """

    plan: Plan
    best: Plan
    loss: float
    gain: float
    half: float
    against: Plan
    distinguishable: bool
    candidates: tuple[Candidate, ...]
    supported: bool
    why: str
    said: str


def optimize(
    fitted: Fitted,
    horizon: Horizon | int,
    *,
    peak: float | None = None,
    rise: Any = None,
    lowest: float = 0.0,
    decay: Decay | None = None,
    against: Plan | None = None,
) -> Optimum:
    """Return the schedule of a run of ``horizon`` that ends at the lowest loss by a law, and the simplest one as good::

        minimise L(T) over peak >= lr_1 >= ... >= lr_T >= lowest·peak, after a linear ``rise`` to the peak

    ``peak``: by default that of the fitted runs, the geometric mean of several. ``rise``: a time or steps, by default the
    longest warm-up of the runs. ``decay`` is that of every plan; where the law reads decay and none is given, each schedule has
    the best λ of decoupled decay within those of the runs (`best_decay`). ``against``: the plan that a gain is counted from,
    cosine to 10 % unless given. Intervals of 90 % are of the difference of two losses, to which the parameters' uncertainty and
    the law's own error contribute. A schedule than which none is surely better is called tied, and the simplest tied one is
    returned: constant, linear to ``lowest``, cooldowns of 10 to 40 %, cosine, then the best itself.

    Raises InvalidValueError for a law without a gradient, a ``lowest`` outside [0, 1), or a rise as long as the run.

    >>> from dwindle.laws import Run, fit
    >>> lr, steps = Plan(1e-3, warmup(200).then(cosine())).lrs(10_000), np.arange(2, 41) * 250
    >>> found = optimize(fit(Run(lr, steps, 2.0 + 200 * lr[steps - 1] + (steps / 1000) ** -0.5)), 10_000)
    >>> found.plan in [candidate.plan for candidate in found.candidates if candidate.tied]
    True
    """
    as_fitted(fitted)
    run, law = as_horizon(horizon), fitted.law
    if law.end is None:
        raise InvalidValueError(f"{law.name} has no gradient to optimise by; fit 'noise-floor'.")
    lowest = real("lowest", lowest, low=0.0, below=1.0)
    top = real("peak", _peak(fitted) if peak is None else peak, above=0.0)
    begun = _rise(fitted, run, rise)
    seeks = law.decays and decay is None

    def planned(schedule: Schedule) -> Plan:
        plan = Plan(top, schedule, decay=decay)
        return _with_best_decay(fitted, plan, run) if seeks else plan

    usual = warmup(begun).then(cosine(end=0.1)) if begun else cosine(end=0.1)
    simple = {name: Plan(top, schedule) for name, schedule in _simple(begun, lowest)}
    plans = {name: planned(plan.schedule) for name, plan in simple.items() if _fits(plan, run)}
    every = {name: course(plan, run) for name, plan in plans.items()}
    ends = {name: float(fitted.loss(each, [run.steps])[0]) for name, each in every.items()}
    plans["the best"] = best = _best_plan(
        fitted, run, begun, lowest, plans[min(ends, key=lambda name: ends[name])], seeks
    )
    every["the best"] = course(best, run)
    ends["the best"] = float(fitted.loss(every["the best"], [run.steps])[0])
    if not all(map(math.isfinite, ends.values())):
        raise InvalidValueError(
            f"the law has no finite loss at a peak of {top:g}; give one nearer to what was trained."
        )
    rival = planned(usual) if against is None else against
    first, of_rival, candidates = min(ends, key=lambda name: ends[name]), course(rival, run), []
    for name, plan in plans.items():
        gain, half = fitted.difference(every[name], of_rival)
        better = (fitted.difference(every[other], every[name]) for other in plans if ends[other] < ends[name])
        tied = all(behind <= room for behind, room in better)
        candidates.append(Candidate(name, plan, ends[name], gain, half, ends[name] - ends[first], tied))
    chosen = next(c for c in candidates if c.tied)
    why = reasons(every[chosen.name], run.steps, fitted.known)
    clear = chosen.gain > chosen.half
    return Optimum(
        plan=chosen.plan,
        best=plans[first],
        loss=chosen.loss,
        gain=chosen.gain,
        half=chosen.half,
        against=rival,
        distinguishable=clear,
        candidates=tuple(candidates),
        supported=not why,
        why="; ".join(why) or "within what the fitted runs have seen",
        said=_said(chosen, candidates, first, "cosine to 10 %" if against is None else "the plan given"),
    )


def _said(chosen: Candidate, candidates: list[Candidate], first: str, rival: str) -> str:
    told = f"{chosen.name}: {chosen.gain:+.4f} ± {chosen.half:.4f} below {rival}"
    told += doubt(chosen.gain, chosen.half)
    ahead = next(c for c in candidates if c.name == first)
    if ahead is chosen:
        return f"{told}; it is the best found."
    behind = chosen.loss - ahead.loss
    return f"{told}; {first} would end {behind:.4f} lower, which the fitted runs cannot distinguish from nothing."


def _peak(fitted: Fitted) -> float:
    """Return the peak of the runs; of several the geometric mean."""
    peaks = sorted({run.peak for run in fitted.runs})
    return peaks[0] if len(peaks) == 1 else float(f"{np.exp(np.mean(np.log(peaks))):.6g}")


def _fits(plan: Plan, run: Horizon) -> bool:
    """Whether the run is long enough for the plan: after a long rise there is no room for a long cooldown."""
    try:
        plan.resolve(run)
    except DwindleError:
        return False
    return True


def _rise(fitted: Fitted, run: Horizon, rise: Any) -> int:
    """Return the steps of the warm-up."""
    if rise is None:
        return min(max(risen(r.lr) for r in fitted.runs), run.steps // 10)
    steps = count("rise", number_of_steps(in_steps(as_time("rise", rise, low=0), run)), low=0)
    if steps >= run.steps:
        raise InvalidValueError(f"a rise of {steps} steps leaves nothing of a run of {run.steps}; give a shorter one.")
    return steps


def _simple(rise: int, lowest: float) -> Iterator[tuple[str, Schedule]]:
    """Yield the schedules that people use, the simplest first."""

    def after(schedule: Schedule) -> Schedule:
        return warmup(rise).then(schedule) if rise else schedule

    to = "0" if lowest == 0.0 else f"{100 * lowest:g} %"
    yield "constant", after(constant())
    yield f"linear to {to}", after(linear(end=lowest))
    for part in (10, 20, 40):
        yield f"cooldown of {part} % to {to}", after(constant().then(linear(f"{part}%", end=lowest)))
    yield f"cosine to {to}", after(cosine(end=lowest))


def _with_best_decay(fitted: Fitted, plan: Plan, run: Horizon) -> Plan:
    return replace(plan, decay=Decoupled(lowest_decay(fitted, plan, run)))


def _best_plan(fitted: Fitted, run: Horizon, rise: int, lowest: float, near: Plan, seeks: bool) -> Plan:
    """Return the plan that the law likes best, from a simple one: its schedule and, if it ``seeks``, its λ in turn."""
    found = near
    for _ in range(_TURNS if seeks else 1):
        share = _share(found, run) if fitted.law.decays else None
        found = replace(found, schedule=_best(fitted, run.steps, rise, near.peak, lowest, share))
        found = _with_best_decay(fitted, found, run) if seeks else found
    return found


def _share(plan: Plan, run: Horizon) -> tuple[float, int]:
    """Return (a, q): decay takes a·r^q at the rate r over the peak."""
    if plan.decay is None:
        return 0.0, 1
    at_peak, at_half = (paced(replace(plan, schedule=constant(factor)), run).share[0] for factor in (1.0, 0.5))
    return float(plan.decay.weight_decay * at_peak), round(np.log2(at_peak / at_half))


def _best(
    fitted: Fitted, steps: int, rise: int, peak: float, lowest: float, share: tuple[float, int] | None
) -> Schedule:
    """Return the schedule that the law likes best, as a broken line."""
    nodes = np.unique(np.round(steps - (steps - rise) * np.linspace(1.0, 0.0, _STRETCHES + 1) ** 2).astype(np.int64))
    widths = np.diff(nodes) / fitted.unit
    start = 0.5 * rise / fitted.unit

    def loss(y: Any) -> tuple[float, Any]:
        # rates fall by themselves: lr = lowest + (1 - lowest)·s², s_k = Π (1 - y_j), 0 <= y < 1
        kept = 1.0 - y
        s = np.cumprod(kept)
        value, slope = fitted.end(peak, Stretches(widths, lowest + (1.0 - lowest) * s * s, start, fitted.unit, share))
        pull = slope * (1.0 - lowest) * 2.0 * s * s
        return value, -np.cumsum(pull[::-1])[::-1] / kept

    # the first stretch is at the peak: a law that knows of peaks has another answer for a lower one
    bounds = [(0.0, 0.0)] + [(0.0, 1.0 - 1e-3)] * (len(widths) - 1)
    tried = []
    place = (nodes[:-1] - rise) / (steps - rise)
    for part in (1.0, 0.4, 0.15):
        shape = np.sqrt(np.clip((1.0 - place) / part, _LOWEST, 1.0))
        y = 1.0 - shape / np.concatenate(([1.0], shape[:-1]))
        tried.append(minimize(loss, y, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 300}))
    found = min(tried, key=lambda result: float(result.fun))
    rates = lowest + (1.0 - lowest) * np.cumprod(1.0 - found.x) ** 2
    factors = np.concatenate(([rates[0]], (rates[:-1] + rates[1:]) / 2.0, [rates[-1]]))
    points = [(int(at), float(f"{factor:.5g}")) for at, factor in zip(nodes, factors, strict=True)]
    return interpolate(*zip(*([(0, 0.0), *points] if rise else points), strict=True))
