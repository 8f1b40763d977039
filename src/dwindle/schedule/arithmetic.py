"""The arithmetic of a formula: its parts as functions of (step, namespace), whole where they are and the same bits everywhere."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from dwindle.elementary import power, power_parts
from dwindle.namespace import NUMPY, SCALAR, Namespace, namespace

__all__ = [
    "COMPARISONS",
    "LAST_STEP",
    "OPERATORS",
    "Compiled",
    "as_array",
    "comparable",
    "constant",
    "folded",
    "kind_of",
    "power_of",
    "scalar",
    "wide",
]

LAST_STEP = 2**53  # beyond it a float64 no longer holds every step
_WIDEST = 2**63 - 1  # of a 64-bit integer
_NARROW = 2**31 - 1  # of a 32-bit one, the widest that JAX has unless it is told to use 64


class Compiled(NamedTuple):
    """A part of a formula: its ``value`` at (step, namespace), and its ``kind``: "whole", "real", or "condition".

    ``largest(last)`` is a bound of |value| up to a last step, where it is whole: beyond the bits that the steps have, whole
    numbers are worked out as floats.
    """

    value: Callable[[Any, Namespace], Any]
    kind: str
    largest: Callable[[int], int] = lambda last: last


def scalar(part: Compiled, step: Any) -> Any:
    """Return the value of a part at one step, NaN where arithmetic has none."""
    try:
        return part.value(step, SCALAR)
    except (ZeroDivisionError, OverflowError, ValueError):  # as NumPy has it
        return math.nan


def as_array(value: Any, step: Any, xp: Namespace) -> Any:
    """Return ``value`` as floats of the shape of ``step``."""
    return xp.as_float(step) * 0.0 + value


def constant(value: float) -> Compiled:
    """Return a number; one that is no 64-bit integer counts as a fraction, for no array holds it beside its steps."""
    if isinstance(value, int) and abs(value) <= _WIDEST:
        return _whole_number(value)
    number = float(value)
    return Compiled(lambda step, xp: number, "real")


def _whole_number(value: int) -> Compiled:
    bound, number = abs(value), float(value)
    if bound <= _NARROW:
        return Compiled(lambda step, xp: value, "whole", lambda last: bound)

    def held(step: Any, xp: Namespace) -> Any:
        return value if bound <= xp.most(step) < math.inf else number  # beside steps whose type does not hold it

    return Compiled(held, "whole", lambda last: bound)


def folded(part: Compiled) -> Compiled:
    """Return a part without the step as the number or truth value that it is.

    One that is not finite stays as it is, for Python and NumPy may refuse it where it is asked for; tensors get the value.
    """
    value = scalar(part, 0)
    if part.kind == "condition":
        return Compiled(lambda step, xp: bool(value), "condition") if value in (True, False) else part
    if not math.isfinite(value):
        return part._replace(value=lambda step, xp: part.value(step, xp) if xp is SCALAR or xp is NUMPY else value)
    return _whole_number(int(value)) if part.kind == "whole" else constant(float(value))


def wide(value: Any, xp: Namespace) -> Any:
    """Return a number as it is, an array as floats."""
    return value if isinstance(value, int | float) else xp.as_float(value)


def kind_of(*parts: Compiled) -> str:
    """Return whether what is made of these parts is whole or real."""
    return "whole" if all(part.kind == "whole" for part in parts) else "real"


def comparable(values: Sequence[Any], kind: str, xp: Namespace) -> Sequence[Any]:
    """Return the values of parts that are together of this ``kind``: as they are, if they are whole, else as floats.

    Left to itself torch compares whole steps with a fraction in float32, and Python compares what float64 does not tell apart.
    """
    return values if kind == "whole" else [_float(value, xp) for value in values]


def _whole_or_float(
    operation: Callable[[Any, Any], Any], bound: Callable[[int, int], int], a: Compiled, b: Compiled
) -> Compiled:
    """Return an operation that keeps whole numbers whole; beside a fraction all becomes float64.

    ``bound`` is that of |operation| for bounds of both sides: what it says to go beyond the bits of the steps is a whole float.
    """
    if kind_of(a, b) != "whole":
        return Compiled(
            lambda step, xp: operation(_float(a.value(step, xp), xp), _float(b.value(step, xp), xp)), "real"
        )

    def largest(last: int) -> int:
        return bound(a.largest(last), b.largest(last))

    def fits(last: int, most: int) -> bool:
        return max(largest(last), a.largest(last), b.largest(last)) <= most

    wide_enough, narrow_enough = fits(LAST_STEP, _WIDEST), fits(2**30, _NARROW)  # room for step + 1

    def value(step: Any, xp: Namespace) -> Any:
        left, right = a.value(step, xp), b.value(step, xp)
        if wide_enough if xp is SCALAR or xp.most(step) >= _WIDEST else narrow_enough:
            return operation(left, right)
        return operation(_float(left, xp), _float(right, xp))

    return Compiled(value, "whole", largest)


def _float(value: Any, xp: Namespace) -> Any:
    return float(value) if isinstance(value, int | float) else xp.as_float(value)


def _divided(a: Compiled, b: Compiled) -> Compiled:
    def value(step: Any, xp: Namespace) -> Any:
        # as floats, for Python divides whole numbers otherwise than arrays do
        top, bottom = _float(a.value(step, xp), xp), _float(b.value(step, xp), xp)
        _refuse_zero(top, bottom)
        if isinstance(top, float) or not isinstance(bottom, float):
            return top / bottom
        return xp.divide(top, bottom)

    return Compiled(value, "real")


def _refuse_zero(top: Any, bottom: Any) -> None:
    """Raise ZeroDivisionError where NumPy would make a number of a division by 0, which Python does not."""
    if any(isinstance(side, (np.ndarray, np.generic)) for side in (top, bottom)) and not np.all(bottom):
        raise ZeroDivisionError


def _by_no_zero(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    _refuse_zero(a, b)
    try:
        return operation(a, b)
    except RuntimeError:  # torch divides no whole number by 0, not even in a branch that no step takes
        xp = namespace(b if isinstance(a, int | float) else a)
        return operation(wide(a, xp), wide(b, xp))


def _power(a: Compiled, b: Compiled) -> Compiled:
    def value(step: Any, xp: Namespace) -> Any:
        base, exponent = _float(a.value(step, xp), xp), b.value(step, xp)
        if isinstance(exponent, int | float):
            return _raised(base, exponent, SCALAR if isinstance(base, float) else xp)
        return xp.pow(base, xp.as_float(exponent))

    return Compiled(value, "real")


def _raised(base: Any, exponent: float, xp: Namespace) -> Any:
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    with np.errstate(all="ignore"):
        return xp.pow(base, exponent)


def power_of(number: float, b: Compiled) -> Compiled:
    """Return number**b for a positive constant: by additions and multiplications, the same bits in every library."""
    parts = power_parts(number)

    def value(step: Any, xp: Namespace) -> Any:
        exponent = b.value(step, xp)
        xp = SCALAR if isinstance(exponent, int | float) else xp
        exponent = xp.as_float(exponent)
        size = power(parts, abs(exponent), xp)
        if number > 1.0:  # where it overflows, `power` stops counting
            size = xp.where(abs(exponent) > parts.largest, size * math.inf, size)
        if xp is SCALAR:
            return size if exponent >= 0 else 1.0 / size if size else math.inf
        return xp.where(exponent < 0, 1.0 / size, size)

    return Compiled(value, "real")


OPERATORS: dict[type[ast.operator], Callable[[Compiled, Compiled], Compiled]] = {
    ast.Add: partial(_whole_or_float, operator.add, operator.add),
    ast.Sub: partial(_whole_or_float, operator.sub, operator.add),
    ast.Mult: partial(_whole_or_float, operator.mul, operator.mul),
    ast.FloorDiv: partial(_whole_or_float, partial(_by_no_zero, operator.floordiv), lambda a, b: a + 1),
    ast.Mod: partial(_whole_or_float, partial(_by_no_zero, operator.mod), lambda a, b: b),
    ast.Div: _divided,
    ast.Pow: _power,
}


COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
