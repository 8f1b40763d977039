"""What a rate function is called with by hand, told in steps: what counts in it, by what, and where that begins."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from dwindle.errors import DwindleError, NoExactMapError, ParseError, shown
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.numbers import number_of

__all__ = ["in_steps"]


def in_steps(call: ast.Call, tree: ast.AST, scope: Scope) -> ast.expr:
    r"""Return the one argument of ``call`` as an expression of the step, where one name in it counts the updates.

    >>> tree = ast.parse("for it in range(1, 90):\n    f(it / 1000)")
    >>> ast.unparse(in_steps(tree.body[0].body[0].value, tree, Scope.of(tree)))
    '(step + 1) / 1000'
    """
    counted = _Counted(tree, scope, set())
    said = f"{shown(ast.unparse(call))}{at_line(call)} is not read as a function of the step"
    try:
        expr = counted.told(call.args[0])
    except DwindleError as error:
        raise NoExactMapError(f"{said}: {error}") from error
    if len(counted.counts) > 1:
        counts = ", ".join(sorted(counted.counts))
        raise NoExactMapError(f"{said}: which of {counts} counts the updates is not said. Call it with the step.")
    return expr


@dataclass(frozen=True, slots=True)
class _Counted:
    """An expression told in steps, and the names in it that count."""

    tree: ast.AST
    scope: Scope
    counts: set[str]

    def told(self, node: ast.expr, depth: int = 0) -> ast.expr:
        try:
            return ast.Constant(number_of(node, self.scope.value))
        except DwindleError:
            pass
        match node:
            case ast.BinOp(left=ast.BinOp(op=ast.Mult()), op=ast.Add(), right=ast.Name(id=name)):
                self.counts.add(ast.unparse(node))
                return self._from(name)
            case ast.BinOp(op=ast.FloorDiv() | ast.Mod()):
                raise ParseError("whether it counts batches or updates is not said. Call it with the step.")
            case ast.BinOp(left=left, op=op, right=right):
                return ast.BinOp(self.told(left, depth), op, self.told(right, depth))
            case ast.Name(id=name):
                assigned = self._assigned(name)
                if assigned is not None and depth < 20:
                    return self.told(assigned, depth + 1)
                self.counts.add(name)
                return self._from(name)
            case ast.Attribute() | ast.Subscript():
                self.counts.add(ast.unparse(node))
                return ast.Name("step", ast.Load())
        raise ParseError(f"{shown(ast.unparse(node))} is no arithmetic of a count.")

    def _assigned(self, name: str) -> ast.expr | None:
        """Return the arithmetic that a name stands for; None for one that counts."""
        values = []
        for node in ast.walk(self.tree):
            match node:
                case ast.AugAssign(target=ast.Name(id=of), op=op, value=by) if of == name:
                    if not isinstance(op, ast.Add) or ast.unparse(by) != "1":
                        raise ParseError(f"{shown(ast.unparse(node))} is no count of one an update{at_line(node)}.")
                case ast.Assign(targets=[ast.Name(id=of)], value=value) if of == name:
                    values.append(value)
        arithmetic = [value for value in values if isinstance(value, ast.BinOp)]
        own = [value for value in arithmetic if ast.unparse(value) == f"{name} + 1"]
        if len(arithmetic) > len(own) and len(values) > 1:
            raise ParseError(f"{name} is assigned {len(values)} times.")
        return arithmetic[0] if len(arithmetic) > len(own) else None

    def _from(self, name: str) -> ast.expr:
        """Return step, and what the loop over ``name`` begins with."""
        starts = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.For) and any(
                isinstance(p, ast.Name) and p.id == name for p in ast.walk(node.target)
            ):
                starts.add(self._start(node.iter))
        if len(starts) > 1:
            raise ParseError(f"{name} begins at {' and at '.join(map(str, sorted(starts)))}.")
        start, step = next(iter(starts), 0), ast.Name("step", ast.Load())
        return ast.BinOp(step, ast.Add(), ast.Constant(start)) if start else step

    def _start(self, over: ast.expr) -> int:
        """Return what a loop begins to count with; one that goes on from a run before does that where it begins."""
        given: ast.expr | None = None
        if isinstance(over, ast.Call):
            inner = over.args[0] if callee(over) in ("tqdm", "trange", "track") and over.args else over
            over = inner if isinstance(inner, ast.Call) else over
            words = {word.arg: word.value for word in over.keywords}
            at = over.args[0] if len(over.args) > (callee(over) != "count") else None
            at = at if callee(over) in ("range", "trange", "count") else None
            given = (over.args[1] if len(over.args) > 1 else words.get("start")) if callee(over) == "enumerate" else at
            if callee(over) in ("range", "trange") and len(over.args) > 2 and ast.unparse(over.args[2]) != "1":
                raise ParseError(f"{shown(ast.unparse(over))} does not count one by one{at_line(over)}.")
        if given is None:
            return 0
        try:
            return int(self.scope.number(given))
        except DwindleError:
            return 0
