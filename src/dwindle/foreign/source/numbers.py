"""Numbers worked out in source, ``int(0.1 * steps)``: arithmetic of literals, done by a short list of operations."""

from __future__ import annotations

import ast
import math
import operator
import sys
from collections.abc import Callable

from dwindle.errors import ParseError, shown

__all__ = ["number_of"]

_BINARY: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: lambda a, b: float(a) ** b,
}  # fmt: skip
_CALLS: dict[str, Callable[..., float]] = {
    "int": int, "float": float, "round": round, "abs": abs, "min": min, "max": max, "ceil": math.ceil,
    "floor": math.floor, "trunc": math.trunc, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2,
    "log10": math.log10, "cos": math.cos, "sin": math.sin, "tanh": math.tanh, "pow": lambda a, b: float(a) ** b,
    "minimum": min, "maximum": max, "float32": float, "float64": float, "int32": int, "int64": int,
}  # fmt: skip
_CONSTANTS = {"pi": math.pi, "e": math.e, "inf": math.inf}


def number_of(node: ast.expr, value: Callable[[ast.expr], object]) -> float:
    """Return the number that arithmetic comes to; ``value`` gives that of a name or a literal.

    Raises ParseError for anything that is no arithmetic of known numbers, naming it.

    >>> number_of(ast.parse("int(0.1 * 95)", mode="eval").body, lambda node: node.value)
    9
    """
    try:
        number = _of(node, value)
    except ParseError:
        raise
    except (ArithmeticError, ValueError, TypeError) as error:
        raise ParseError(f"{shown(ast.unparse(node))} cannot be worked out: {error}.") from error
    if isinstance(number, complex):
        raise ParseError(f"{shown(ast.unparse(node))} is no real number.")
    return int(number) if isinstance(number, float) and number.is_integer() else number


def _of(node: ast.expr, value: Callable[[ast.expr], object]) -> float:
    match node:
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _checked(_BINARY[type(op)](_of(left, value), _of(right, value)))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
            inner = _of(operand, value)
            return -inner if isinstance(op, ast.USub) else inner
        case ast.Attribute(attr=name, value=ast.Name(id="math" | "np" | "numpy" | "jnp")) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.Call():
            return _called(node, value)
        case ast.BinOp() | ast.UnaryOp() | ast.Attribute():
            raise ParseError(f"{shown(ast.unparse(node))} is not a number that could be read.")
    number = value(node)
    if not isinstance(number, int | float):
        raise ParseError(f"{shown(ast.unparse(node))} is {shown(number)} and no number.")
    return number


def _checked(number: float) -> float:
    """Return the number, which may be a power of one worked out before: whole numbers would grow without end."""
    if isinstance(number, int) and abs(number) > sys.float_info.max:
        raise OverflowError("it is larger than any float")
    return number


def _called(node: ast.Call, value: Callable[[ast.expr], object]) -> float:
    func = node.func
    name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
    if name == "len":
        what = ast.unparse(node.args[0]) if node.args else "it"
        raise ParseError(
            f"the length {shown(ast.unparse(node))} is not known here, {what} is not run; give it as a number."
        )
    if name not in _CALLS or node.keywords:
        raise ParseError(f"{shown(ast.unparse(node))} is called, and nothing is run here; give it as a number.")
    return _CALLS[name](*(_of(arg, value) for arg in node.args))
