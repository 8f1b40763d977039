"""The sum of a schedule over the first steps of a run, in closed form where there is one: the integrated decay."""

from __future__ import annotations

import math
from functools import singledispatch

import numpy as np

from dwindle.errors import InvalidValueError, count
from dwindle.schedule.algebra import Join, Scaled, Schedule, Shift, Sum, _one, _unresolved, curve
from dwindle.schedule.decays import Exponential
from dwindle.schedule.shapes import Constant, Ramp
from dwindle.schedule.tables import Piecewise
from dwindle.units import number_of_steps

__all__ = ["total"]

_MOST = 10**8  # steps summed one by one where no closed form is known: about a second


def total(schedule: Schedule, steps: int) -> float:
    """Return Σ f(t) over t = 0 .. steps-1 of a resolved schedule.

    Closed form for constant, linear, cosine, exponential and step decay, piecewise constant, and joins, sums and multiples
    of these, so that a run of 10^15 steps costs no more than one of 10; others are summed step by step.
    Raises InvalidValueError for more than 10^8 steps without a closed form.

    >>> from dwindle.schedule import cosine, warmup
    >>> total(warmup(10).then(cosine(90)), 100)
    50.0
    """
    _one(schedule)
    return _total(schedule, count("steps", steps, low=0))


@singledispatch
def _total(schedule: Schedule, steps: int) -> float:
    return _added(schedule, steps)


def _added(schedule: Schedule, steps: int) -> float:
    if steps > _MOST:
        raise InvalidValueError(
            f"the sum of {schedule} over {steps} steps has no closed form here; at most {_MOST} are added."
        )
    return math.fsum(curve(schedule, steps))


@_total.register
def _(schedule: Constant, steps: int) -> float:
    return schedule.factor * steps


@_total.register
def _(schedule: Scaled, steps: int) -> float:
    return schedule.factor * _total(schedule.schedule, steps)


@_total.register
def _(schedule: Sum, steps: int) -> float:
    return math.fsum(_total(term, steps) for term in schedule.terms)


@_total.register
def _(schedule: Shift, steps: int) -> float:
    delay = number_of_steps(schedule.steps)
    if delay is None or delay < 0 or delay != int(delay):
        return _added(schedule, steps)
    waiting = min(int(delay), steps)
    return waiting * float(schedule.schedule(0)) + _total(schedule.schedule, steps - waiting)


@_total.register
def _(schedule: Join, steps: int) -> float:
    parts, left = [], steps
    for piece, span in zip(schedule.pieces[:-1], schedule.spans[:-1], strict=True):
        whole = number_of_steps(span)
        if left and (whole is None or whole != int(whole)):
            return _added(schedule, steps)  # a boundary between two steps
        here = min(left, int(whole or 0))
        parts.append(_total(piece, here))
        left -= here
    return math.fsum([*parts, _total(schedule.pieces[-1], left)])


@_total.register
def _(schedule: Ramp, steps: int) -> float:
    whole = schedule._steps
    if whole is None or schedule.shape not in ("linear", "cosine") or (schedule.power, schedule.warp) != (1.0, 1.0):
        return _added(schedule, steps)
    inside = min(steps, math.ceil(whole))
    if schedule.shape == "linear":
        # Σ (1 - t/T) = m - m(m-1)/2T
        falls = inside - inside * (inside - 1) / (2.0 * whole)
    else:
        # Σ cos(tθ), θ = π/T, is Dirichlet's kernel: sin(mθ/2)·cos((m-1)θ/2)/sin(θ/2)
        half = math.pi / (2.0 * whole)
        falls = (inside + math.sin(inside * half) * math.cos((inside - 1) * half) / math.sin(half)) / 2.0
    ramp = schedule.end * inside + (schedule.start - schedule.end) * falls
    return ramp + schedule.end * (steps - inside)


@_total.register
def _(schedule: Exponential, steps: int) -> float:
    every = number_of_steps(schedule.every)
    if every is None or (schedule.staircase and every != int(every)) or schedule.decay_rate == 1.0:
        return float(steps) if schedule.decay_rate == 1.0 else _added(schedule, steps)
    if not schedule.staircase:
        return _geometric(math.log(schedule.decay_rate) / every, steps)
    stairs, rest = divmod(steps, int(every))
    return every * _geometric(math.log(schedule.decay_rate), stairs) + rest * float(schedule(stairs * int(every)))


def _geometric(log_ratio: float, terms: int) -> float:
    """Return Σ e^(t·log_ratio) over t = 0 .. terms-1, also where the ratio is so near 1 that 1 - ratio would cancel."""
    try:
        return math.expm1(terms * log_ratio) / math.expm1(log_ratio)
    except OverflowError:  # a growth that was allowed, beyond float64
        return math.inf


@_total.register
def _(schedule: Piecewise, steps: int) -> float:
    if schedule._steps is None:
        raise _unresolved(schedule)
    cuts = np.clip([math.ceil(b) for b in schedule._steps], 0, steps)
    spans = np.diff(np.concatenate(([0], cuts, [steps])))
    return math.fsum(float(f) * int(n) for f, n in zip(schedule.factors, spans, strict=True))
