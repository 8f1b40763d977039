"""From a curve of learning rates to a Plan: find its highest rate, and measure everything else in it."""

from __future__ import annotations

import ast
from bisect import bisect_left
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.errors import DwindleError, ParseError
from dwindle.plan import Plan
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Extend,
    Formula,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)

__all__ = ["highest", "per", "plan_of", "quotient"]

_EVERY, _FAR, _LAST = 1 << 14, 1 << 20, 10**15  # steps of a formula that are looked at


def plan_of(schedule: Schedule, unit: float = 1.0) -> Plan:
    """Return the plan whose learning rates are ``unit``·schedule(step), its factor 1 at the highest of them.

    That of a formula is looked for. Where the highest value is not known (products, growth without bound) the unit is the
    peak, or the number it is scaled by.

    >>> plan_of(Ramp(start=0.02, end=0.0, steps=100))
    Plan(peak=0.02, schedule=Ramp(end=0.0, steps=100, start=1.0, ...
    """
    top = highest(schedule)
    if top is None and isinstance(schedule, Scaled):
        return Plan(unit * schedule.factor, schedule.schedule)
    if top is None or top == 1.0:
        return Plan(unit, schedule)
    if top == 0.0:
        return Plan(0.0)
    return Plan(unit * top, per(schedule, top))


def highest(schedule: Schedule) -> float | None:
    """Return the highest value of ``schedule``, or None if it cannot be told from its parts."""
    match schedule:
        case Constant(factor=factor):
            return factor
        case Ramp(start=start, end=end):
            return max(start, end)
        case Tanh() | PowerLaw():
            return 1.0
        case Exponential(decay_rate=rate):
            return 1.0 if rate <= 1.0 else None
        case Piecewise(factors=factors) | Interpolate(factors=factors) | Table(factors=factors):
            return max(factors)
        case Join(pieces=pieces):
            tops = [highest(piece) for piece in pieces]
            return None if None in tops else max(top for top in tops if top is not None)
        case Scaled(schedule=inner, factor=factor):
            top = highest(inner)
            return None if top is None else factor * top
        case Clip(schedule=inner, low=low, high=high):
            top = highest(inner)
            return high if top is None else max(low, top if high is None else min(top, high))
        case Sum(terms=terms):
            return _highest_sum(terms)
        case Formula():
            return _highest_found(schedule)
        case Repeat() | Mirror() | Shift() | Stretch() | Extend():
            return highest(schedule.schedule)
    return None


def per(schedule: Schedule, unit: float) -> Schedule:
    """Return ``schedule`` divided by ``unit``, by dividing the values it is made of.

    >>> per(Constant(0.1), 0.2)
    Constant(factor=0.5)
    """
    match schedule:
        case Constant(factor=factor):
            return Constant(quotient(factor, unit))
        case Ramp(start=start, end=end):
            return replace(schedule, start=quotient(start, unit), end=quotient(end, unit))
        case Piecewise() | Interpolate() | Table():
            return replace(schedule, factors=tuple(quotient(factor, unit) for factor in schedule.factors))
        case Join(pieces=pieces, lengths=lengths):
            return Join(tuple(per(piece, unit) for piece in pieces), lengths)
        case Scaled(schedule=inner, factor=factor):
            return inner * quotient(factor, unit)
        case Clip(schedule=inner, low=low, high=high):
            return Clip(per(inner, unit), quotient(low, unit), None if high is None else quotient(high, unit))
        case Sum(terms=terms):
            return Sum(tuple(per(term, unit) for term in terms))
        case Formula(text=text):
            with suppress(ParseError):  # it may be as long or as deep already as a formula can be
                return Formula(f"({text}) / {unit!r}")
        case Repeat() | Mirror() | Shift() | Stretch() | Extend():
            return _with_inner(schedule, per(schedule.schedule, unit))
    return schedule * (1.0 / unit)


def quotient(value: float, unit: float) -> float:
    """Return value / unit, or the number of 12 digits beside it that times ``unit`` is ``value`` to the bit.

    >>> 7e-5 / 0.35, quotient(7e-5, 0.35)
    (0.00019999999999999998, 0.0002)
    """
    exact = value / unit
    near = float(f"{exact:.12g}")
    return near if near * unit == value else exact


def _highest_sum(terms: tuple[Schedule, ...]) -> float | None:
    """Return the highest value of a sum in which at most one term varies."""
    level = sum(term.factor for term in terms if isinstance(term, Constant))
    varying = [highest(term) for term in terms if not isinstance(term, Constant)]
    if len(varying) > 1 or None in varying:
        return None
    return level + sum(top for top in varying if top is not None)


def _highest_found(formula: Formula) -> float | None:
    """Return the highest value that a formula has on the steps looked at, to 12 digits; None where it grows to their end.

    Those are the first 16,384, ever fewer up to 2^20, and those beside its own numbers, where its parts meet. They end where
    the formula has no value: it may be good for one run alone.
    """
    values = [n.value for n in ast.walk(ast.parse(formula.text, mode="eval")) if isinstance(n, ast.Constant)]
    numbers = [int(value) for value in values if isinstance(value, int | float) and 1 <= value <= _LAST]
    beside = [number + by for number in numbers for by in (-1, 0, 1)]
    later = np.geomspace(_EVERY, _FAR, 4000).astype(np.int64)
    steps = np.unique(np.concatenate((np.arange(_EVERY), later, np.array(beside, np.int64))))
    ends = _has_no_value(formula, steps)
    if ends:
        steps = steps[: bisect_left(range(len(steps)), True, key=lambda at: _has_no_value(formula, steps[: at + 1]))]
    found = formula(steps)
    top = float(found.max())
    grows = found[-1] == top and (ends or found[-2] < top)
    return None if grows else float(f"{top:.12g}")


def _has_no_value(formula: Formula, steps: Any) -> bool:
    try:
        formula(steps)
    except DwindleError:
        return True
    return False


def _with_inner(schedule: Any, inner: Schedule) -> Schedule:
    changed: Schedule = replace(schedule, schedule=inner)
    return changed
