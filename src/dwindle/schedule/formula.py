"""A schedule written as an arithmetic formula of the step: text, so that it can be saved, compared and carried over."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from dwindle.elementary import power, power_parts
from dwindle.errors import InvalidValueError, ParseError, UnknownNameError, shown, suggestion
from dwindle.namespace import NUMPY, SCALAR, Namespace, namespace
from dwindle.schedule.algebra import Schedule
from dwindle.units import Horizon

__all__ = ["FUNCTIONS", "Formula"]

_LONGEST, _DEEPEST = 20_000, 60
_LAST_STEP = 2**53  # beyond it a float64 no longer holds every step
_WIDEST = 2**63 - 1  # of a 64-bit integer

FUNCTIONS = ("abs", "cos", "exp", "floor", "log", "max", "min", "sin", "sqrt", "tanh")
"""The functions a formula may call."""


@dataclass(frozen=True, slots=True)
class Formula(Schedule):
    """The factor as a formula of ``step`` in Python's own notation; steps below 0 count as 0.

    It may hold numbers, ``pi``, ``+ - * / // % **``, comparisons of two values in ``a if condition else b`` (with and, or,
    not), the functions in `FUNCTIONS`, and ``[numbers][index]``; nothing is ever executed as Python. Whole numbers stay
    whole in // and %, so its boundaries are exact. It is kept in one spelling, so equal formulas are equal values.

    Raises ParseError or UnknownNameError for what is no such formula, and InvalidValueError when its value at a step is
    negative or not finite.

    >>> f = Formula("min(step, 10) / 10 if step < 10 else 0.5 ** ((step - 10) // 30)")
    >>> f(5), f(10), f(40)
    (0.5, 1.0, 0.5)
    """

    text: str
    _compiled: Compiled = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        tree = _parsed(self.text)
        object.__setattr__(self, "_compiled", _compiled(tree, 0))
        object.__setattr__(self, "text", ast.unparse(tree))
        if self._compiled.kind == "condition":
            raise ParseError(
                f"{shown(self.text)} is true or false; a factor is a number. Write 'a if condition else b'."
            )
        self(0)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Formula:
        return self

    def __str__(self) -> str:
        return f'formula "{self.text}"'

    def __call__(self, step: Any) -> Any:
        xp = namespace(step)
        if xp is SCALAR:
            here = min(max(0, step), _LAST_STEP)
            return self._checked(float(_scalar(self._compiled, here)), here)
        here = xp.clip(step, 0, _LAST_STEP)
        if xp is not NUMPY:
            return _as_array(self._compiled.value(here, xp), here, xp)
        try:
            with np.errstate(all="ignore"):  # both branches of a condition are worked out
                values = _as_array(self._compiled.value(here, xp), here, xp)
        except (ZeroDivisionError, OverflowError):  # of numbers in a branch that perhaps no step takes
            return np.array([self(each) for each in np.asarray(here).ravel().tolist()]).reshape(np.shape(here))
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            self._checked(float(values[bad][0]) if values.ndim else float(values), np.asarray(here)[bad].ravel()[0])
        return values

    def _checked(self, value: float, step: Any) -> float:
        if not (math.isfinite(value) and value >= 0.0):
            raise InvalidValueError(
                f"the formula {shown(self.text)} is {value:g} at step {step}; a factor must be finite and not negative. "
                "Hold it with max(0, ...) or min(step, last)."
            )
        return value


class Compiled(NamedTuple):
    """A part of a formula: its ``value`` at (step, namespace), and its ``kind``: "whole", "real", or "condition".

    ``largest`` is a bound of |value| where it is whole: beyond 64 bits whole numbers are worked out as floats.
    """

    value: Callable[[Any, Namespace], Any]
    kind: str
    largest: float = _LAST_STEP


def _scalar(part: Compiled, step: Any) -> Any:
    try:
        return part.value(step, SCALAR)
    except (ZeroDivisionError, OverflowError, ValueError):  # as NumPy has it
        return math.nan


def _as_array(value: Any, step: Any, xp: Namespace) -> Any:
    return xp.as_float(step) * 0.0 + value


def _parsed(text: Any) -> ast.expr:
    if not isinstance(text, str) or not text.strip():
        raise ParseError(f"a formula is text such as '0.5 ** (step // 30)'; got {shown(text)}.")
    if len(text) > _LONGEST:
        raise ParseError(f"a formula has at most {_LONGEST} characters; got {len(text)}. For many values use a table.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ParseError(f"{shown(text)} is not a formula: {getattr(error, 'msg', error)}.") from error
    _refuse_depth(tree)
    return tree


def _refuse_depth(tree: ast.expr) -> None:
    """Raise ParseError for a tree deeper than any formula, before it is shown in a message: that recurses too."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST + 20):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ParseError(f"a formula nests at most {_DEEPEST} deep; for many values use a table.")


def _compiled(node: ast.expr, depth: int) -> Compiled:
    """Return the function of (step, namespace) that ``node`` is; whatever is not on the list is refused."""
    if depth > _DEEPEST:
        raise ParseError(f"a formula nests at most {_DEEPEST} deep; for many values use a table.")
    build = _NODES.get(type(node))
    if build is None:
        raise ParseError(
            f"a formula cannot hold {type(node).__name__} {shown(ast.unparse(node))}; it has numbers, step, pi, "
            "+ - * / // % **, and a if b else c."
        )
    return build(node, depth + 1)


def _number(node: ast.Constant, depth: int) -> Compiled:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise ParseError(f"{shown(ast.unparse(node))} is not a number that a formula can hold.")
    return _constant(value)


def _constant(value: float) -> Compiled:
    """Return a number; one that is no 64-bit integer counts as a fraction, for no array holds it beside its steps."""
    if isinstance(value, int) and abs(value) <= _WIDEST:
        return Compiled(lambda step, xp: value, "whole", abs(value))
    number = float(value)
    return Compiled(lambda step, xp: number, "real")


def _name(node: ast.Name, depth: int) -> Compiled:
    if node.id == "step":
        return Compiled(lambda step, xp: step, "whole")
    if node.id == "pi":
        return Compiled(lambda step, xp: math.pi, "real")
    raise UnknownNameError(f"{node.id!r} is not known in a formula; {suggestion(node.id, ['step', 'pi', *FUNCTIONS])}")


def _wide(value: Any, xp: Namespace) -> Any:
    return value if isinstance(value, int | float) else xp.as_float(value)


def _real(*parts: Compiled) -> str:
    return "whole" if all(part.kind == "whole" for part in parts) else "real"


def _sign(node: ast.UnaryOp, depth: int) -> Compiled:
    part = _compiled(node.operand, depth)
    if isinstance(node.op, ast.Not):
        return Compiled(lambda step, xp: xp.where(part.value(step, xp), False, True), "condition")
    if isinstance(node.op, ast.USub):
        if part.kind == "condition":  # NumPy has no minus for its truth values
            return Compiled(lambda step, xp: -_wide(part.value(step, xp), xp), "real")
        return Compiled(lambda step, xp: -part.value(step, xp), part.kind, part.largest)
    if isinstance(node.op, ast.UAdd):
        return part
    raise ParseError(f"{shown(ast.unparse(node))} is not arithmetic of a formula.")


def _whole_or_float(
    operation: Callable[[Any, Any], Any], bound: Callable[[float, float], float]
) -> Callable[[Compiled, Compiled], Compiled]:
    """Return how an operation that keeps whole numbers whole is built; beside a fraction all becomes float64.

    ``bound`` is that of |operation| for bounds of both sides: what it says to go beyond 64 bits is a whole float64.
    """

    def build(a: Compiled, b: Compiled) -> Compiled:
        if _real(a, b) == "whole":
            largest = bound(a.largest, b.largest)
            if max(largest, a.largest, b.largest) <= _WIDEST:
                return Compiled(lambda step, xp: operation(a.value(step, xp), b.value(step, xp)), "whole", largest)
            return Compiled(
                lambda step, xp: operation(_float(a.value(step, xp), xp), _float(b.value(step, xp), xp)),
                "whole",
                largest,
            )
        return Compiled(lambda step, xp: operation(_wide(a.value(step, xp), xp), _wide(b.value(step, xp), xp)), "real")

    return build


def _float(value: Any, xp: Namespace) -> Any:
    return float(value) if isinstance(value, int | float) else xp.as_float(value)


def _divided(a: Compiled, b: Compiled) -> Compiled:
    def value(step: Any, xp: Namespace) -> Any:
        top, bottom = _wide(a.value(step, xp), xp), _wide(b.value(step, xp), xp)
        if isinstance(top, int | float) or not isinstance(bottom, int | float):
            return top / bottom
        return xp.divide(top, bottom)

    return Compiled(value, "real")


def _power(a: Compiled, b: Compiled) -> Compiled:
    def value(step: Any, xp: Namespace) -> Any:
        base, exponent = a.value(step, xp), b.value(step, xp)
        if isinstance(exponent, int | float):
            return _raised(_wide(base, xp), exponent, SCALAR if isinstance(base, int | float) else xp)
        return xp.pow(_as_array(base, exponent, xp), xp.as_float(exponent))

    return Compiled(value, "real")


def _raised(base: Any, exponent: float, xp: Namespace) -> Any:
    if exponent == 1:
        return base
    if exponent == 2:
        return base * base
    with np.errstate(all="ignore"):
        return xp.pow(base, exponent)


def _power_of(number: float, b: Compiled) -> Compiled:
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


_OPERATORS: dict[type[ast.operator], Callable[[Compiled, Compiled], Compiled]] = {
    ast.Add: _whole_or_float(lambda a, b: a + b, lambda a, b: a + b),
    ast.Sub: _whole_or_float(lambda a, b: a - b, lambda a, b: a + b),
    ast.Mult: _whole_or_float(lambda a, b: a * b, lambda a, b: a * b),
    ast.FloorDiv: _whole_or_float(lambda a, b: a // b, lambda a, b: a + 1),
    ast.Mod: _whole_or_float(lambda a, b: a % b, lambda a, b: b),
    ast.Div: _divided,
    ast.Pow: _power,
}


def _operation(node: ast.BinOp, depth: int) -> Compiled:
    build = _OPERATORS.get(type(node.op))
    if build is None:
        raise ParseError(f"{shown(ast.unparse(node))} is not arithmetic of a formula; it has + - * / // % **.")
    left, right = _compiled(node.left, depth), _compiled(node.right, depth)
    if isinstance(node.op, ast.Pow) and not _counts(node.left):
        number = float(_scalar(left, 0))
        if 0.0 < number < math.inf:
            return _power_of(number, right)
    return build(left, right)


def _counts(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name) and part.id == "step" for part in ast.walk(node))


_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
    ast.Eq: lambda a, b: a == b,
    ast.NotEq: lambda a, b: a != b,
}


def _comparison(node: ast.Compare, depth: int) -> Compiled:
    parts = [_compiled(side, depth) for side in (node.left, *node.comparators)]
    tests = [_COMPARISONS.get(type(op)) for op in node.ops]

    def value(step: Any, xp: Namespace) -> Any:
        sides = [part.value(step, xp) for part in parts]
        held = [test(a, b) for test, a, b in zip(tests, sides, sides[1:], strict=False) if test is not None]
        return _all(held)

    if None in tests:
        raise ParseError(f"{shown(ast.unparse(node))} is not a comparison of numbers.")
    return Compiled(value, "condition")


def _all(held: list[Any]) -> Any:
    whole = held[0]
    for one in held[1:]:
        whole = whole & one
    return whole


def _logic(node: ast.BoolOp, depth: int) -> Compiled:
    parts = [_condition(value, depth) for value in node.values]

    def value(step: Any, xp: Namespace) -> Any:
        held = [part.value(step, xp) for part in parts]
        if isinstance(node.op, ast.And):
            return _all(held)
        whole = held[0]
        for one in held[1:]:
            whole = whole | one
        return whole

    return Compiled(value, "condition")


def _condition(node: ast.expr, depth: int) -> Compiled:
    part = _compiled(node, depth)
    if part.kind != "condition":
        raise ParseError(f"{shown(ast.unparse(node))} is a number where a condition such as 'step < 10' is meant.")
    return part


def _choice(node: ast.IfExp, depth: int) -> Compiled:
    test, yes, no = _condition(node.test, depth), _compiled(node.body, depth), _compiled(node.orelse, depth)
    kind = _real(yes, no)

    def value(step: Any, xp: Namespace) -> Any:
        if xp is SCALAR:
            return (yes if test.value(step, xp) else no).value(step, xp)
        sides = yes.value(step, xp), no.value(step, xp)
        if kind == "real":  # a bare number beside an array would be taken to float32 by torch
            sides = _as_array(sides[0], step, xp), _as_array(sides[1], step, xp)
        return xp.where(test.value(step, xp), *sides)

    return Compiled(value, kind, max(yes.largest, no.largest))


def _call(node: ast.Call, depth: int) -> Compiled:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name not in FUNCTIONS:
        raise UnknownNameError(f"{name!r} is not a function of a formula; {suggestion(name, FUNCTIONS)}")
    if name in ("min", "max"):
        if len(node.args) < 2 or node.keywords:
            raise ParseError(f"{shown(ast.unparse(node))} needs two values or more.")
        return _extreme(name, [_compiled(arg, depth) for arg in node.args])
    if len(node.args) != 1 or node.keywords:
        raise ParseError(f"{shown(ast.unparse(node))} takes one value.")
    part = _compiled(node.args[0], depth)
    if name == "abs":
        return Compiled(lambda step, xp: abs(part.value(step, xp)), part.kind, part.largest)
    if name == "floor" and part.kind == "whole":
        return part

    def value(step: Any, xp: Namespace) -> Any:
        inner = _wide(part.value(step, xp), xp)
        own = SCALAR if isinstance(inner, int | float) else xp
        with np.errstate(all="ignore"):
            return getattr(own, name)(inner)

    return Compiled(value, "whole" if name == "floor" else "real")


def _extreme(name: str, parts: list[Compiled]) -> Compiled:
    kind = _real(*parts)

    def value(step: Any, xp: Namespace) -> Any:
        values = [part.value(step, xp) for part in parts]
        best = values[0]
        for other in values[1:]:
            first = best < other if name == "min" else best > other
            if isinstance(first, bool):
                best = best if first else other
            elif kind == "whole":
                best = xp.where(first, best, other)
            else:
                best = xp.where(first, _as_array(best, step, xp), _as_array(other, step, xp))
        return best

    return Compiled(value, kind, max(part.largest for part in parts))


def _lookup(node: ast.Subscript, depth: int) -> Compiled:
    if not isinstance(node.value, ast.List | ast.Tuple) or not node.value.elts:
        raise ParseError(f"{shown(ast.unparse(node))} must look a number up in a list of numbers.")
    if _counts(node.value):
        raise ParseError(f"the list of {shown(ast.unparse(node))} must hold plain numbers.")
    values = [float(_scalar(_compiled(item, depth), 0)) for item in node.value.elts]
    index = _compiled(node.slice, depth)
    if index.kind != "whole":
        raise ParseError(f"the index of {shown(ast.unparse(node))} must be whole; use // or floor.")
    return Compiled(lambda step, xp: xp.table(values, xp.clip(index.value(step, xp), 0, len(values) - 1)), "real")


_NODES: Mapping[type[ast.expr], Callable[..., Compiled]] = {
    ast.Constant: _number,
    ast.Name: _name,
    ast.UnaryOp: _sign,
    ast.BinOp: _operation,
    ast.Compare: _comparison,
    ast.BoolOp: _logic,
    ast.IfExp: _choice,
    ast.Call: _call,
    ast.Subscript: _lookup,
}
