"""Sums and products in source told apart: terms with their signs, factors and divisors."""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["factors", "is_one_minus", "sums", "terms"]


def factors(node: ast.expr) -> tuple[list[ast.expr], list[ast.expr]]:
    """Return what a product multiplies, and what it divides by."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            (above, below), (more, less) = factors(left), factors(right)
            return (above + more, below + less) if isinstance(op, ast.Mult) else (above + less, below + more)
    return [node], []


def is_one_minus(node: ast.expr) -> bool:
    """Return whether ``node`` is 1 - x."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) in ("1", "1.0")


def _parts(node: ast.AST) -> tuple[ast.expr, ast.expr, int] | None:
    """Return the two parts of a sum or a difference, and the sign of the second."""
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            return left, right, -1 if isinstance(op, ast.Sub) else 1
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="np" | "numpy" | "jnp" | "torch"), attr="add" | "subtract" as name),
            args=[left, right],
        ):
            return left, right, -1 if name == "subtract" else 1
    return None


def sums(value: ast.expr) -> Iterator[list[ast.expr]]:
    """Return the terms of each sum or difference in ``value``."""
    inner: set[int] = set()
    for node in ast.walk(value):
        if _parts(node) is not None and id(node) not in inner:
            yield [term for term, _ in terms(node, inner=inner)]  # type: ignore[arg-type]


def terms(node: ast.expr, sign: int = 1, inner: set[int] | None = None) -> Iterator[tuple[ast.expr, int]]:
    """Return the terms of a sum with their signs, or a value that is no sum; ``inner`` takes the ids of the sums within."""
    parts = _parts(node)
    if parts is None:
        yield node, sign
        return
    if inner is not None:
        inner.add(id(node))
    yield from terms(parts[0], sign, inner)
    yield from terms(parts[1], sign * parts[2], inner)
