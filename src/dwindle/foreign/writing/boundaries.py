"""An expression of ``step`` whose boundaries are whole numbers: what divides or compares fractions is said with integers."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import DwindleError
from dwindle.schedule import Formula

__all__ = [
    "WIDEST",
    "depends",
    "divides_exactly",
    "edge",
    "ends_on_time",
    "is_on_time",
    "is_whole",
    "narrowed",
    "steps_to_try",
    "with_whole_boundaries",
]

WIDEST = 2**31  # a 32-bit count holds less
_FEW = 4096
_WHOLE = re.compile(r"(?<![\w.])\d{10,}(?![\w.])")


def with_whole_boundaries(text: str, last: int) -> str:
    """Return the same expression for steps 0 .. ``last`` whose comparisons, // and % are those of whole numbers.

    In 32 bits step / 3 < 30 may turn at another step than in 64; step < 90 does not. The result is compared with
    ``text`` on some thousands of steps, and ``text`` itself is returned where the two differ.

    >>> with_whole_boundaries("1 if step / 3 < 30 else 0.5 ** (step / 3 // 30)", 1000)
    '1 if step < 90 else 0.5 ** (step // 90)'
    """
    tree = ast.parse(text, mode="eval").body
    whole = ast.unparse(_Whole(last).visit(tree))
    at = steps_to_try(last)
    try:
        before, after = Formula(text)(at), Formula(whole)(at)
    except DwindleError:
        return text
    return whole if np.allclose(before, after, rtol=1e-12, atol=1e-15 * float(np.max(before, initial=0.0))) else text


def steps_to_try(last: int) -> npt.NDArray[np.int64]:
    """Return the first steps up to ``last``, and some thousands of those after them."""
    first = np.arange(min(last, _FEW) + 1)
    return first if last <= _FEW else np.unique(np.concatenate((first, np.linspace(_FEW, last, _FEW).astype(np.int64))))


def narrowed(text: str) -> str:
    """Return source with each whole number that 32 bits do not hold as a fraction, which arrays of 32 bits can be compared with.

    >>> narrowed("step < 3000000000"), narrowed("step < 2000000000")
    ('step < 3000000000.0', 'step < 2000000000')
    """
    return _WHOLE.sub(lambda found: found[0] if int(found[0]) < WIDEST else repr(float(found[0])), text)


def is_on_time(every: float, last: float) -> bool:
    """Return whether floor(step / every) in float32 turns at the right steps up to ``last``, also as a compiler has it.

    XLA multiplies by the reciprocal: in float32 94·(1/94) is below 1, and a staircase of 94 steps falls a step late.

    >>> is_on_time(100, 10_000), is_on_time(94, 10_000)
    (True, False)
    """
    k = np.arange(1, min(int(last / every), _FEW * 16) + 1)
    at = np.ceil(k * float(every))
    turned, before = at.astype(np.float32), (at - 1).astype(np.float32)
    by = np.float32(every)
    divided = np.all(np.floor(turned / by) == k) and np.all(np.floor(before / by) == k - 1)
    times = np.float32(1.0) / by
    return bool(divided and np.all(np.floor(turned * times) == k) and np.all(np.floor(before * times) == k - 1))


def ends_on_time(power: float, steps: float) -> bool:
    """Return whether (1 - step/steps)^power stays a number at step = steps, as a compiler has it.

    XLA works out 1 - step·(1/steps) in one rounding: for most steps that ends a little below 0, of which a fractional
    power is NaN from there on (measured with optax 0.2.8 and Keras 3.15 under jax.jit). A power of two divides exactly.

    >>> ends_on_time(0.5, 64), ends_on_time(0.5, 61), ends_on_time(2.0, 61)
    (True, False, True)
    """
    return float(power).is_integer() or math.frexp(steps)[0] == 0.5


def divides_exactly(every: float, last: float) -> bool:
    """Return whether k·every·(1/every) is k for every multiple up to ``last``, in float32 and float64.

    >>> divides_exactly(64, 640), divides_exactly(61, 610)
    (True, False)
    """
    k = np.arange(1, min(int(last / every), _FEW) + 1)
    wide, narrow = np.float64(every), np.float32(every)
    exact = np.all((k * wide) * (1.0 / wide) == k)
    return bool(exact and np.all((k * wide).astype(np.float32) * (np.float32(1.0) / narrow) == k))


def depends(node: ast.expr) -> bool:
    """Return whether ``node`` holds the step."""
    return any(isinstance(part, ast.Name) and part.id == "step" for part in ast.walk(node))


def is_whole(node: ast.expr) -> bool:
    """Return whether ``node`` is a whole number by its form."""
    match node:
        case ast.Constant(value=value):
            return isinstance(value, int)
        case ast.Name(id=name):
            return name == "step"
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() | ast.Mod(), right=right):
            return is_whole(left) and is_whole(right)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            return is_whole(operand)
        case ast.Call(func=ast.Name(id=name), args=args):
            return name == "floor" or (name in ("min", "max", "abs") and all(is_whole(arg) for arg in args))
        case ast.IfExp(body=yes, orelse=no):
            return is_whole(yes) and is_whole(no)
    return False


def edge(test: ast.expr) -> tuple[int, bool] | None:
    """Return (k, True) of a condition that is ``step < k``, (k, False) of ``step >= k``, in whatever way it is written.

    >>> edge(ast.parse("step <= 9", mode="eval").body), edge(ast.parse("step >= 10", mode="eval").body)
    ((10, True), (10, False))
    """
    match test:
        case ast.Compare(left=ast.Name(id="step"), ops=[op], comparators=[ast.Constant(value=int() as k)]):
            return {ast.Lt: (k, True), ast.LtE: (k + 1, True), ast.GtE: (k, False), ast.Gt: (k + 1, False)}.get(
                type(op)
            )
    return None


class _Whole(ast.NodeTransformer):
    def __init__(self, last: int) -> None:
        self.last = last

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        if edge(node) is not None:
            return node
        return self._turning(node) or self.generic_visit(node)  # type: ignore[return-value]

    def _turning(self, node: ast.Compare) -> ast.expr | None:
        """Return ``step < k`` or ``step >= k`` for a comparison that turns once, at k."""
        try:
            holds = Formula(f"1.0 if {ast.unparse(node)} else 0.0")
            at = steps_to_try(self.last)
            found = holds(at)
        except DwindleError:
            return None
        turns = np.flatnonzero(found[1:] != found[:-1])
        if len(turns) != 1:
            return None
        k = _first(lambda step: bool(holds(step)) != bool(found[0]), int(at[turns[0]]), int(at[turns[0] + 1]))
        op = ast.Lt() if found[0] else ast.GtE()
        return ast.Compare(ast.Name("step", ast.Load()), [op], [ast.Constant(k)])

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "floor" and not is_whole(node.args[0]):
            return self._divided(node.args[0], Fraction(1), ast.FloorDiv()) or node
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if not isinstance(node.op, ast.FloorDiv | ast.Mod) or is_whole(node):
            return node
        by = _number(node.right)
        return (self._divided(node.left, by, node.op) if by else None) or node

    def _divided(self, node: ast.expr, by: Fraction, op: ast.operator) -> ast.expr | None:
        """Return ``node`` // by or ``node`` % by, worked out in whole numbers."""
        share = _share(node)
        if share is None or not depends(node):
            return None
        above, below = _times(share[0], by.denominator), share[1] * by.numerator
        if max(self.last, 1) * share[1] * by.denominator >= WIDEST or below >= WIDEST:
            return None
        result = ast.BinOp(above, op, ast.Constant(below))
        under = share[1] * by.denominator
        return (
            result if isinstance(op, ast.FloorDiv) or under == 1 else ast.BinOp(result, ast.Div(), ast.Constant(under))
        )


def _first(turned: Callable[[int], bool], low: int, high: int) -> int:
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if turned(middle) else (middle, high)
    return high


def _number(node: ast.expr) -> Fraction | None:
    """Return a constant as the fraction that its decimals say, where its denominator is small."""
    value: Any = node.value if isinstance(node, ast.Constant) else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = Fraction(repr(value))
    return number if number.denominator <= 10_000 else None


def _share(node: ast.expr) -> tuple[ast.expr, int] | None:
    """Return (a, d) with a / d equal to ``node``, a a whole expression and d a whole number above 0."""
    if is_whole(node):
        return node, 1
    number = _number(node)
    if number is not None:
        return ast.Constant(number.numerator), number.denominator
    match node:
        case ast.BinOp(left=left, op=ast.Div() | ast.Mult() as op, right=right):
            inner, by = (_share(left), _number(right)) if _number(right) else (_share(right), _number(left))
            if inner is None or not by or (isinstance(op, ast.Div) and _number(right) is None) or by < 0:
                return None
            by = by if isinstance(op, ast.Mult) else 1 / by
            return _times(inner[0], by.numerator), inner[1] * by.denominator
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            a, b = _share(left), _share(right)
            return (
                None if a is None or b is None else (ast.BinOp(_times(a[0], b[1]), op, _times(b[0], a[1])), a[1] * b[1])
            )
        case ast.IfExp(test=test, body=yes, orelse=no):
            a, b = _share(yes), _share(no)
            if a is None or b is None:
                return None
            under = math.lcm(a[1], b[1])
            return ast.IfExp(test, _times(a[0], under // a[1]), _times(b[0], under // b[1])), under
        case ast.Call(func=ast.Name(id="min" | "max" as name), args=[left, right]):
            a, b = _share(left), _share(right)
            if a is None or b is None:
                return None
            return ast.Call(ast.Name(name, ast.Load()), [_times(a[0], b[1]), _times(b[0], a[1])], []), a[1] * b[1]
    return None


def _times(node: ast.expr, by: int) -> ast.expr:
    if by == 1:
        return node
    if isinstance(node, ast.Constant):
        return ast.Constant(node.value * by)  # type: ignore[operator]
    return ast.BinOp(node, ast.Mult(), ast.Constant(by))
