"""What is given to what in a source: the values of its names, of the functions' arguments, and of their calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.sums import factors, is_one_minus, sums
from dwindle.foreign.source.unread import paired

__all__ = ["arguments_of", "given", "is_weight", "name_of", "named_values"]

_WEIGHT = re.compile(r"(.*\.)?(w\d*|weights?\d*|theta\d*|params?)", re.IGNORECASE)
_Given = tuple[str, ast.expr]
"""A name, and a value that it is given."""


def is_weight(node: ast.expr | str) -> bool:
    """Return whether a name is one of weights, also where an entry of it is meant."""
    return _WEIGHT.fullmatch(node if isinstance(node, str) else name_of(node)) is not None


def name_of(node: ast.AST) -> str:
    """Return the name of ``a``, ``a.b`` or an entry of it, also of torch's ``a.data``; "" for anything else."""
    while isinstance(node, ast.Subscript) or (isinstance(node, ast.Attribute) and node.attr == "data"):
        node = node.value
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def given(tree: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, str, ast.expr]]:
    """Return (node, name, value) where a name is given a value: by =, by a loop, as a function's argument, or returned by it."""
    returns = {id(part): function.name for function in scope.functions.values() for part in ast.walk(function)}
    for node in ast.walk(tree):
        pairs: Iterable[_Given] = ()
        match node:
            case ast.Assign(targets=targets, value=value):
                pairs = [pair for target in targets for pair in named_values(target, value)]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = named_values(target, value)
            case ast.AugAssign(target=target, op=op, value=value):
                pairs = named_values(target, ast.BinOp(target, op, value))
            case ast.For(target=target, iter=value) | ast.comprehension(target=target, iter=value):
                pairs = named_values(target, value)
            case ast.Return(value=ast.expr() as value) | ast.Yield(value=ast.expr() as value):
                pairs = [("w" if _is_moved_weight(value) else returns.get(id(node), ""), value)]
            case ast.Call() if callee(node) in scope.functions:
                names = arguments_of(scope.functions[callee(node)])
                pairs = [*zip(names, node.args, strict=False), *((str(word.arg), word.value) for word in node.keywords)]
        yield from ((node, name, value) for name, value in pairs if name)


def arguments_of(function: ast.FunctionDef) -> list[str]:
    """Return the names of the arguments that a call gives by their place."""
    return [arg.arg for arg in function.args.args if arg.arg != "self"]


def named_values(target: ast.expr, value: ast.expr) -> Iterator[_Given]:
    """Return each name in ``target`` with what it is given: its own part of the value, or all of it where that is not told."""
    for to, its in paired(target, value):
        if isinstance(to, ast.Tuple | ast.List):
            yield from (pair for part in to.elts for pair in named_values(part, its))
        else:
            yield name_of(to), its


def _is_moved_weight(value: ast.expr) -> bool:
    """Return whether a function returns a weight that it has moved: w - ..., or (1 - share) * w - ..."""
    for found in sums(value):
        above, _ = factors(found[0])
        if any(map(is_weight, above)) and (len(above) == 1 or any(map(is_one_minus, above))):
            return True
    return False
