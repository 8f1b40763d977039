"""What flows into what in an update written by hand, and what it keeps from step to step: momentum, mean squares."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.unread import paired

__all__ = ["Flow", "factors", "is_one_minus", "is_weight", "named_values"]

_WEIGHT = re.compile(r"(.*\.)?(w\d*|weights?\d*|theta\d*|params?)", re.IGNORECASE)
_Given = tuple[str, ast.expr]
"""A name, and a value that it is given."""


@dataclass(frozen=True, slots=True)
class Flow:
    """``targets``: id of a statement -> the names that it gives a value; what is ``kept`` is averaged over the steps."""

    made: Mapping[str, set[str]]  # name -> the names that it is made of
    targets: Mapping[int, set[str]]
    kept: frozenset[str]
    updates: frozenset[str]  # what the weights are updated by
    averaged: frozenset[str]  # what the averages among these are made of, and they themselves

    @classmethod
    def of(cls, tree: ast.AST, scope: Scope) -> Flow:
        """Return the flow of a whole source; a function is given what it returns, and its arguments what it is called with."""
        targets: dict[int, set[str]] = {}
        values: dict[str, list[ast.expr]] = {}
        others: dict[str, set[str]] = {}  # names of the same, as of the elements in a loop over it
        for node, name, value in _made(tree, scope):
            targets.setdefault(id(node), set()).add(name)
            values.setdefault(name, []).append(value)
            others.setdefault(_name(value), set()).add(name)
        made = {name: {part for value in given for part in _read(value)} for name, given in values.items()}
        kept = frozenset(
            name
            for name, given in values.items()
            if not _is_weight(name) and _is_kept({name} | others.get(name, set()), given)
        )
        updates = _behind({part for name, read in made.items() if _is_weight(name) for part in read}, made)
        return cls(made, targets, kept, updates, _behind(kept & updates, made))

    def convention(self, statement: ast.stmt | None) -> str | None:
        """Return how a share of the weights that ``statement`` adds or takes decays them; None where that cannot be told.

        It is "l2" if it goes into an average of the gradients, or if there is none and the two are the same; else "decoupled".

        >>> tree = ast.parse("m = 0.9 * m + g; w = w - lr * (m + 0.1 * w)")
        >>> [Flow.of(tree, Scope.of(tree)).convention(statement) for statement in tree.body]
        ['l2', 'decoupled']
        """
        to = self.targets.get(id(statement), set())
        of_weights = any(map(_is_weight, to))
        if not of_weights and to.isdisjoint(self.updates):
            return None if self.updates or self.kept & _behind(to, self.made) else "l2"
        return "decoupled" if self.averaged and (of_weights or to.isdisjoint(self.averaged)) else "l2"


def factors(node: ast.expr) -> tuple[list[ast.expr], list[ast.expr]]:
    """Return what a product multiplies, and what it divides by."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            (above, below), (more, less) = factors(left), factors(right)
            return (above + more, below + less) if isinstance(op, ast.Mult) else (above + less, below + more)
    return [node], []


def is_weight(node: ast.expr) -> bool:
    """Return whether a name is one of weights, also where an entry of it is meant."""
    return _is_weight(_name(node))


def is_one_minus(node: ast.expr) -> bool:
    """Return whether ``node`` is 1 - x."""
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and ast.unparse(node.left) in ("1", "1.0")


def _is_weight(name: str) -> bool:
    return _WEIGHT.fullmatch(name) is not None


def _name(node: ast.expr) -> str:
    """Return the name of ``a``, ``a.b`` or an entry of it, "" for anything else."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _read(value: ast.expr) -> set[str]:
    calls = {callee(part) for part in ast.walk(value) if isinstance(part, ast.Call)}
    return calls | {_name(part) for part in ast.walk(value) if isinstance(part, ast.Name | ast.Attribute)}


def _behind(names: Iterable[str], made: Mapping[str, set[str]]) -> frozenset[str]:
    """Return ``names`` and all that they are made of; weights are where it begins anew."""
    found, waiting = set[str](), {*names}
    while waiting:
        name = waiting.pop()
        if name not in found and not _is_weight(name):
            found.add(name)
            waiting |= made.get(name, set())
    return frozenset(found)


# --- what is given to what


def _made(tree: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, str, ast.expr]]:
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
            case ast.Return(value=ast.expr() as value):
                pairs = [("w" if _is_moved_weight(value) else returns.get(id(node), ""), value)]
            case ast.Call() if callee(node) in scope.functions:
                names = [arg.arg for arg in scope.functions[callee(node)].args.args if arg.arg != "self"]
                pairs = [*zip(names, node.args, strict=False), *((str(word.arg), word.value) for word in node.keywords)]
        yield from ((node, name, value) for name, value in pairs if name)


def named_values(target: ast.expr, value: ast.expr) -> Iterator[_Given]:
    """Return each name in ``target`` with what it is given: its own part of the value, or all of it where that is not told."""
    for to, its in paired(target, value):
        if isinstance(to, ast.Tuple | ast.List):
            yield from (pair for part in to.elts for pair in named_values(part, its))
        else:
            yield _name(to), its


def _is_moved_weight(value: ast.expr) -> bool:
    """Return whether a function returns a weight that it has moved: w - ..., or (1 - share) * w - ..."""
    for terms in _sums(value):
        above, _ = factors(terms[0])
        if any(map(is_weight, above)) and (len(above) == 1 or any(map(is_one_minus, above))):
            return True
    return False


# --- what is kept


def _sums(value: ast.expr) -> Iterator[list[ast.expr]]:
    """Return the terms of each sum or difference in ``value``."""
    inner: set[int] = set()
    for node in ast.walk(value):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and id(node) not in inner:
            yield list(_terms(node, inner))


def _terms(node: ast.expr, inner: set[int]) -> Iterator[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
        inner.add(id(node))
        yield from _terms(node.left, inner)
        yield from _terms(node.right, inner)
    else:
        yield node


def _is_kept(own: set[str], values: Iterable[ast.expr]) -> bool:
    """Return whether what ``own`` names is part · itself + something, or itself + squares: an average of what came before."""
    shrunk = added = False
    for value in values:
        above, _ = factors(value)
        shrunk = shrunk or (len(above) > 1 and any(_name(factor) in own for factor in above))
        for terms in _sums(value):
            products = [factors(term)[0] for term in terms]
            mine = [above for above in products if any(_name(factor) in own for factor in above)]
            others = [above for above in products if above not in mine and not any(map(is_weight, above))]
            if mine and any(len(above) > 1 for above in mine) and others:
                return True
            if mine and any(_is_distance(factor, own) for above in others for factor in above):
                return True
            if mine and any(map(_is_square, others)):
                return True
            added = added or bool(mine and others)
    return shrunk and added


def _is_distance(factor: ast.expr, own: set[str]) -> bool:
    """Return whether ``factor`` is x - itself, as in m + 0.1 * (g - m)."""
    return isinstance(factor, ast.BinOp) and isinstance(factor.op, ast.Sub) and _name(factor.right) in own


def _is_square(above: list[ast.expr]) -> bool:
    texts = [ast.unparse(factor) for factor in above]
    return len(texts) > len({*texts}) or any(text.endswith("** 2") or ".square(" in text for text in texts)
