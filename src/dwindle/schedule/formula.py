"""A schedule written as an arithmetic formula of the step: text, so that it can be saved, compared and carried over."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, ParseError, UnknownNameError, shown, suggestion
from dwindle.namespace import NUMPY, SCALAR, Namespace, namespace
from dwindle.schedule.algebra import Schedule
from dwindle.schedule.arithmetic import (
    COMPARISONS,
    LAST_STEP,
    OPERATORS,
    Compiled,
    as_array,
    comparable,
    constant,
    folded,
    kind_of,
    power_of,
    scalar,
    wide,
)
from dwindle.units import Horizon

__all__ = ["FUNCTIONS", "Formula"]

_LONGEST, _DEEPEST = 20_000, 60
_FEW = 16  # steps worked out one by one where an array cannot hold what Python does

FUNCTIONS = ("abs", "cos", "exp", "floor", "log", "max", "min", "sin", "sqrt", "tanh")
"""The functions a formula may call."""


@dataclass(frozen=True, slots=True)
class Formula(Schedule):
    """The factor as a formula of ``step`` in Python's own notation; steps below 0 count as 0.

    It may hold numbers, ``pi``, ``+ - * / // % **``, comparisons of two values in ``a if condition else b`` (with and, or,
    not), the functions in `FUNCTIONS`, and ``[numbers][index]``, where -1 is the last, and the last holds beyond it; nothing is
    ever executed as Python. Whole numbers stay whole in // and %, so its boundaries are exact. It is kept in one spelling, so
    equal formulas are equal values.

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
        here = xp.clip(xp.long(step), 0, LAST_STEP)
        if xp is SCALAR:
            return self._checked(float(scalar(self._compiled, here)), here)
        if xp is not NUMPY:
            return as_array(self._compiled.value(here, xp), here, xp)
        with np.errstate(all="ignore"):  # both branches of a condition are worked out
            values = self._values(np.asarray(here).ravel()).reshape(np.shape(here))
        bad = ~(np.isfinite(values) & (values >= 0))
        if bad.any():
            self._checked(float(values[bad][0]) if values.ndim else float(values), np.asarray(here)[bad].ravel()[0])
        return values

    def _values(self, steps: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        try:
            return np.asarray(as_array(self._compiled.value(steps, NUMPY), steps, NUMPY))
        except (ZeroDivisionError, OverflowError, ValueError, IndexError):  # in a branch that perhaps no step takes
            if len(steps) <= _FEW:
                return np.array([self(step) for step in steps.tolist()])
        half = len(steps) // 2
        return np.concatenate((self._values(steps[:half]), self._values(steps[half:])))

    def _checked(self, value: float, step: Any) -> float:
        if not (math.isfinite(value) and value >= 0.0):
            remedy = "Hold it with max(0, ...) or min(step, last)."
            if not math.isfinite(value):
                remedy = "Put max(1, ...) where it divides or takes a logarithm or root; hold what grows with min(step, last)."
            raise InvalidValueError(
                f"the formula {shown(self.text)} is {value:g} at step {step}; a factor must be finite and not negative. {remedy}"
            )
        return value


def _parsed(text: Any) -> ast.expr:
    if not isinstance(text, str) or not text.strip():
        raise ParseError(f"a formula is text such as '0.5 ** (step // 30)'; got {shown(text)}.")
    if len(text) > _LONGEST:
        raise ParseError(f"a formula has at most {_LONGEST} characters; got {len(text)}. For many values use a table.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        why = getattr(error, "msg", "") or str(error) or "it is too deep"
        raise ParseError(f"{shown(text)} is not a formula: {why}.") from error
    _refuse_depth(tree)
    _mark(tree)
    return tree


def _refuse_depth(tree: ast.expr) -> None:
    """Raise ParseError for a tree deeper than any formula, before it is shown in a message: that recurses too."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST + 20):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return
    raise ParseError(f"a formula nests at most {_DEEPEST} deep; for many values use a table.")


def _mark(tree: ast.expr) -> None:
    """Say at each part whether the step is in it, once for all; the inner parts come first."""
    for node in reversed([node for node in ast.walk(tree) if isinstance(node, ast.expr)]):
        inside = any(getattr(child, "counts", False) for child in ast.iter_child_nodes(node))
        node.counts = inside or (isinstance(node, ast.Name) and node.id == "step")  # type: ignore[attr-defined]


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
    part = build(node, depth + 1)
    return part if _counts(node) else folded(part)


def _number(node: ast.Constant, depth: int) -> Compiled:
    value = node.value
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise ParseError(f"{shown(ast.unparse(node))} is not a number that a formula can hold.")
    return constant(value)


def _name(node: ast.Name, depth: int) -> Compiled:
    if node.id == "step":
        return Compiled(lambda step, xp: step, "whole")
    if node.id == "pi":
        return Compiled(lambda step, xp: math.pi, "real")
    raise UnknownNameError(f"{node.id!r} is not known in a formula; {suggestion(node.id, ['step', 'pi', *FUNCTIONS])}")


def _sign(node: ast.UnaryOp, depth: int) -> Compiled:
    part = _compiled(node.operand, depth)
    if isinstance(node.op, ast.Not):
        return Compiled(lambda step, xp: _not(part.value(step, xp), xp), "condition")
    if isinstance(node.op, ast.USub):
        if part.kind == "condition":  # NumPy has no minus for its truth values
            return Compiled(lambda step, xp: -wide(part.value(step, xp), xp), "real")
        return Compiled(lambda step, xp: -part.value(step, xp), part.kind, part.largest)
    if isinstance(node.op, ast.UAdd):
        return part
    raise ParseError(f"{shown(ast.unparse(node))} is not arithmetic of a formula.")


def _not(held: Any, xp: Namespace) -> Any:
    return not held if isinstance(held, bool) else xp.where(held, False, True)


def _operation(node: ast.BinOp, depth: int) -> Compiled:
    build = OPERATORS.get(type(node.op))
    if build is None:
        raise ParseError(f"{shown(ast.unparse(node))} is not arithmetic of a formula; it has + - * / // % **.")
    left, right = _compiled(node.left, depth), _compiled(node.right, depth)
    if isinstance(node.op, ast.Pow) and not _counts(node.left):
        number = float(scalar(left, 0))
        if 0.0 < number < math.inf:
            return power_of(number, right)
    return build(left, right)


def _counts(node: ast.expr) -> bool:
    return bool(node.counts)  # type: ignore[attr-defined]


def _comparison(node: ast.Compare, depth: int) -> Compiled:
    parts = [_compiled(side, depth) for side in (node.left, *node.comparators)]
    tests, kind = [COMPARISONS.get(type(op)) for op in node.ops], kind_of(*parts)

    def value(step: Any, xp: Namespace) -> Any:
        sides = comparable([part.value(step, xp) for part in parts], kind, xp)
        held = [test(a, b) for test, a, b in zip(tests, sides, sides[1:], strict=False) if test is not None]
        return reduce(operator.and_, held)

    if None in tests:
        raise ParseError(f"{shown(ast.unparse(node))} is not a comparison of numbers.")
    return Compiled(value, "condition")


def _logic(node: ast.BoolOp, depth: int) -> Compiled:
    parts = [_condition(value, depth) for value in node.values]
    join = operator.and_ if isinstance(node.op, ast.And) else operator.or_

    def value(step: Any, xp: Namespace) -> Any:
        if xp is SCALAR:  # as Python: what follows need not have a value
            held = (part.value(step, xp) for part in parts)
            return all(held) if join is operator.and_ else any(held)
        return reduce(join, [part.value(step, xp) for part in parts])

    return Compiled(value, "condition")


def _condition(node: ast.expr, depth: int) -> Compiled:
    part = _compiled(node, depth)
    if part.kind != "condition":
        raise ParseError(f"{shown(ast.unparse(node))} is a number where a condition such as 'step < 10' is meant.")
    return part


def _choice(node: ast.IfExp, depth: int) -> Compiled:
    test, yes, no = _condition(node.test, depth), _compiled(node.body, depth), _compiled(node.orelse, depth)
    kind = kind_of(yes, no)

    def value(step: Any, xp: Namespace) -> Any:
        if xp is SCALAR:
            return (yes if test.value(step, xp) else no).value(step, xp)
        sides = yes.value(step, xp), no.value(step, xp)
        if kind == "real":  # a bare number beside an array would be taken to float32 by torch
            sides = as_array(sides[0], step, xp), as_array(sides[1], step, xp)
        held = test.value(step, xp)
        if isinstance(held, bool):  # a condition without the step
            return sides[0 if held else 1]
        return xp.where(held, *sides)

    return Compiled(value, kind, lambda last: max(yes.largest(last), no.largest(last)))


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
        if part.kind == "condition":  # torch has no abs of truth values
            return Compiled(lambda step, xp: wide(part.value(step, xp), xp), "real")
        return Compiled(lambda step, xp: abs(part.value(step, xp)), part.kind, part.largest)
    if name == "floor" and part.kind == "whole":
        return part

    def value(step: Any, xp: Namespace) -> Any:
        inner = wide(part.value(step, xp), xp)
        own = SCALAR if isinstance(inner, int | float) else xp
        with np.errstate(all="ignore"):
            return getattr(own, name)(inner)

    return Compiled(value, "whole" if name == "floor" else "real")


def _extreme(name: str, parts: list[Compiled]) -> Compiled:
    kind = kind_of(*parts)

    def value(step: Any, xp: Namespace) -> Any:
        values = comparable([part.value(step, xp) for part in parts], kind, xp)
        best = values[0]
        for other in values[1:]:
            first = best < other if name == "min" else best > other
            if isinstance(first, bool):
                best = best if first else other
            elif kind == "whole":
                best = xp.where(first, best, other)
            else:
                best = xp.where(first, as_array(best, step, xp), as_array(other, step, xp))
        return best

    return Compiled(value, kind, lambda last: max(part.largest(last) for part in parts))


def _lookup(node: ast.Subscript, depth: int) -> Compiled:
    if not isinstance(node.value, ast.List | ast.Tuple) or not node.value.elts:
        raise ParseError(f"{shown(ast.unparse(node))} must look a number up in a list of numbers.")
    if _counts(node.value):
        raise ParseError(f"the list of {shown(ast.unparse(node))} must hold plain numbers.")
    values = [float(scalar(_compiled(item, depth), 0)) for item in node.value.elts]
    index = _compiled(node.slice, depth)
    if index.kind != "whole":
        raise ParseError(f"the index of {shown(ast.unparse(node))} must be whole; use // or floor.")

    def value(step: Any, xp: Namespace) -> Any:
        at = index.value(step, xp)
        own = SCALAR if isinstance(at, int | float) else xp
        return own.table(values, own.clip(own.where(at < 0, at + len(values), at), 0, len(values) - 1))

    return Compiled(value, "real")


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
