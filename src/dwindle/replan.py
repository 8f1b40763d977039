"""A run planned anew while it is under way: what is left of it stretched to another end, or cooled down from here.

Each takes a plan, its run and an update ``at``, and returns another plan and run that agree with them up to that update,
f_new(t) = f(t) for t <= at, bit for bit. Their times are steps, so that no unit is read twice.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate
from typing import Any

from dwindle.decay import Decay
from dwindle.errors import InvalidValueError, count, real, sequence, shown
from dwindle.plan import Plan, as_plan
from dwindle.schedule import Constant, Exponential, Join, Piecewise, Ramp, Schedule, Shift, Stretch
from dwindle.units import SHORTEST, Horizon, Time, as_horizon, as_time, exactly, in_steps, number_of_steps

__all__ = ["change", "cooldown", "extended"]

_Pieces = list[tuple[Schedule, Time | int | None]]


def extended(plan: Plan, run: Horizon | int, at: int, steps: Any) -> tuple[Plan, Horizon]:
    """Return the plan and run in which what update ``at`` had before it takes until ``steps``, the new whole length::

        f_new(t) = f(t)                 t <= at
        f_new(t) = f(at + (t - at)/k)   t >= at,   k = (steps - at)/(run.steps - at)

    So the value at the end is the one the old run had at its end. A schedule of λ is stretched with it. ``steps`` may be a
    time such as "20ep", or a Horizon; fewer steps than before make the rest shorter. What an epoch, an example and a token
    are worth stays as it was, unless a Horizon says it.

    Raises InvalidValueError unless at < run.steps and at < steps.

    >>> from dwindle.schedule import wsd
    >>> plan, run = extended(Plan(0.1, wsd(100, 200)), 1000, 400, 2200)
    >>> str(plan), run.steps
    ('peak 0.1 | warmup 100st, constant for 1500st, linear to 0% over 600st', 2200)
    """
    plan, run, at = as_plan(plan), as_horizon(run), count("at", at, low=0)
    longer = steps if isinstance(steps, Horizon) else _of_length(run, _whole("steps", steps, run))
    if at >= run.steps:
        raise InvalidValueError(
            f"at update {at} nothing is left of a run of {run.steps} steps, so nothing can be stretched; begin from an "
            "earlier checkpoint, or train on under another plan."
        )
    if at >= longer.steps:
        raise InvalidValueError(
            f"steps counts the whole run and {at} are done; got {longer.steps}. Give more than {at}."
        )
    by = Fraction(longer.steps - at, run.steps - at)
    resolved = plan.resolve(run)
    return _with(resolved, _stretched_from(resolved.schedule, at, by), by, at), longer


def cooldown(
    plan: Plan, run: Horizon | int, at: int, steps: Any, *, end: float = 0.0, shape: str = "sqrt"
) -> tuple[Plan, Horizon]:
    """Return the plan and run that leave the schedule at update ``at`` and fall to ``end`` within ``steps`` more.

    f_new(t) = f(t) for t <= at, then Ramp(end, steps, start=f(at), shape); the run ends at at + steps. ``end`` is a factor:
    0.1 is a tenth of the peak. ``steps`` may be a time such as "10%", of the old run. A schedule of λ goes on by its clock.
    ``sqrt`` is the 1-sqrt of Hägele et al. 2024, arXiv 2405.18392, where a run at a constant rate is cooled down at any time.

    Raises InvalidValueError if f(at) is 0 or already below ``end``.

    >>> plan, run = cooldown(Plan(0.1), 10_000, 400, 100, shape="linear")
    >>> str(plan), run.steps, plan.lrs(run)[[400, 450, 499]]
    ('peak 0.1 | constant for 400st, linear to 0% over 100st', 500, array([0.1  , 0.05 , 0.001]))
    """
    plan, run, at = as_plan(plan), as_horizon(run), count("at", at, low=0)
    length, end = _whole("steps", steps, run), real("end", end, low=0.0)
    resolved = plan.resolve(run)
    start = float(resolved.schedule(at))
    if start == 0.0 or end > start:
        raise InvalidValueError(
            f"the factor at update {at} is {start:g}, so a cooldown to {end:g} would not lower it; begin it elsewhere."
        )
    ramp = Ramp(end=end, steps=length, start=start, shape=shape)
    schedule = _joined([*_until(resolved.schedule, at), (ramp, None)])
    return replace(resolved, schedule=schedule), _of_length(run, at + length)


def change(old: tuple[Plan, Horizon], new: tuple[Plan, Horizon], at: int) -> str:
    """Return what was planned anew in one line: where, and both ends with the learning rates there.

    >>> change((Plan(0.1), Horizon(steps=1000)), cooldown(Plan(0.1), 1000, 400, 100), 400)
    'from update 400 (lr 0.1) on: ends at 500 with lr 0, no longer at 1000 with lr 0.1'
    """
    (before, was), (after, run), at = _pair("old", old), _pair("new", new), count("at", at, low=0)
    lr, first, last = after.resolve(run).lr(at), before.resolve(was).lr(was.steps), after.resolve(run).lr(run.steps)
    ends = f"ends at {run.steps} with lr {last:g}, no longer at {was.steps} with lr {first:g}"
    return f"from update {at} (lr {lr:g}) on: {ends}"


def _pair(name: str, value: Any) -> tuple[Plan, Horizon]:
    pair = sequence(name, value)
    if len(pair) != 2:
        raise InvalidValueError(f"{name} must be a plan and its run; got {shown(value)}.")
    return as_plan(pair[0]), as_horizon(pair[1])


def _whole(name: str, time: Any, run: Horizon) -> int:
    given = as_time(name, time)
    if given is None:
        raise InvalidValueError(f"{name} must be a number of steps or a time; got None.")
    return count(name, number_of_steps(in_steps(given, run)))


def _of_length(run: Horizon, steps: int) -> Horizon:
    return replace(run, steps=steps, epochs=None)


def _with(plan: Plan, schedule: Schedule, by: Fraction, at: int) -> Plan:
    """Return the resolved ``plan`` with ``schedule``, and its λ stretched ``by`` from ``at`` on."""
    decay: Decay | None = plan.decay
    if decay is not None and isinstance(decay.weight_decay, Schedule):
        decay = replace(decay, weight_decay=_stretched_from(decay.weight_decay, at, by))
    return replace(plan, schedule=schedule, decay=decay)


# On resolved schedules. Each piece of the result holds one leaf of the old schedule, never a re-planned whole: planning
# anew again and again then adds a piece each time, or none where a constant goes on, and does not double the text.


def _stretched_from(schedule: Schedule, at: int, by: Fraction) -> Schedule:
    if by == 1:
        return schedule
    return _joined([*_until(schedule, at), *_pieces(_stretched(_rest(schedule, at), by))])


def _until(schedule: Schedule, at: int) -> _Pieces:
    """Return the pieces of ``schedule`` before step ``at``, and how long each lasts."""
    starts = _starts(schedule)
    i = bisect_left(starts, at) - 1
    if i < 0:
        return []
    pieces = _pieces(schedule)
    return [*pieces[:i], (pieces[i][0], exactly(at - starts[i]))]


def _rest(schedule: Schedule, at: float) -> Schedule:
    """Return schedule(at + t) as a schedule of t; what has passed is left out of it."""
    if at == 0:
        return schedule
    match schedule:
        case Constant():
            return schedule
        case Ramp(steps=steps, end=end) if at >= _number(steps):
            return Constant(end)
        case Piecewise(boundaries=boundaries, factors=factors):
            return _stairs([exactly(_number(b) - at) for b in boundaries], factors)
        case Join():
            starts, pieces = _starts(schedule), _pieces(schedule)
            i = bisect_right(starts, at) - 1
            left = exactly(starts[i + 1] - at) if i + 1 < len(starts) else None
            return _joined([(_rest(pieces[i][0], at - starts[i]), left), *pieces[i + 1 :]])
        case Stretch(schedule=inner, by=by):
            left_over = _rest(inner, at / by)
            return left_over if isinstance(left_over, Constant) else left_over.stretch(by)
        case Shift(schedule=inner, steps=delay) if at >= _number(delay):
            return _rest(inner, at - _number(delay))
        case Shift(schedule=inner, steps=delay):
            return Shift(inner, exactly(_number(delay) - at))
    return Shift(schedule, exactly(-at))


def _stairs(boundaries: list[Time | int], factors: tuple[float, ...]) -> Schedule:
    """Return the stairs whose boundaries are still to come."""
    passed = sum(_number(boundary) < SHORTEST for boundary in boundaries)
    if passed == len(boundaries):
        return Constant(factors[-1])
    return Piecewise(tuple(boundaries[passed:]), factors[passed:])


def _stretched(schedule: Schedule, by: Fraction) -> Schedule:
    """Return schedule(t/by); lengths are multiplied as fractions, so that those which come out whole are whole."""
    match schedule:
        case Constant():
            return schedule
        case Ramp(steps=steps):
            return replace(schedule, steps=_times(steps, by))
        case Exponential(every=every, staircase=True):
            return replace(schedule, every=_times(every, by))
        case Piecewise(boundaries=boundaries, factors=factors):
            return _stairs([_times(b, by) for b in boundaries], factors)
        case Join():
            return _joined([(_stretched(p, by), None if n is None else _times(n, by)) for p, n in _pieces(schedule)])
        case Shift(schedule=Exponential(every=every, staircase=True) as stairs, steps=delay):
            times = _times(every, by), _times(delay, by)
            if all(isinstance(time, int) for time in times):  # whole stairs are divided without rounding
                return Shift(replace(stairs, every=times[0]), times[1])
    return schedule.stretch(float(by))


def _pieces(schedule: Schedule) -> _Pieces:
    if not isinstance(schedule, Join):
        return [(schedule, None)]
    return [*zip(schedule.pieces[:-1], schedule.spans[:-1], strict=True), (schedule.pieces[-1], None)]


def _joined(pieces: Iterable[tuple[Schedule, Time | int | None]]) -> Schedule:
    """Return the pieces one after the other, the last one open; a constant that goes on is one piece.

    What rounding left of a piece, less than any step can fall in, is left out.
    """
    done: _Pieces = []
    for piece, length in pieces:
        if length is not None and _number(length) < SHORTEST:
            continue
        if done and isinstance(piece, Constant) and piece == done[-1][0]:
            length = None if length is None else exactly(_number(done[-1][1]) + _number(length))
            done[-1] = (piece, length)
        else:
            done.append((piece, length))
    if len(done) == 1:
        return done[0][0]
    return Join(tuple(piece for piece, _ in done), tuple(length for _, length in done))


def _starts(schedule: Schedule) -> list[float]:
    return [0, *accumulate(_number(length) for _, length in _pieces(schedule)[:-1])]


def _times(time: Time | int | None, by: Fraction) -> Time | int:
    return exactly(float(Fraction(_number(time)) * by))


def _number(time: Time | int | None) -> float:
    """Return a time of a resolved schedule in steps."""
    return number_of_steps(time) or 0
