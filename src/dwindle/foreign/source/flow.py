"""What flows into what in an update written by hand, and what it keeps from step to step: momentum, mean squares."""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dwindle.foreign.source.given import given, is_weight, name_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.sums import factors, sums, terms

__all__ = ["Flow", "is_rate"]


@dataclass(frozen=True, slots=True)
class Flow:
    """``targets``: id of a statement -> the names that it gives a value; what is ``kept`` is averaged over the steps."""

    made: Mapping[str, set[str]]  # name -> the names that it is made of
    targets: Mapping[int, set[str]]
    kept: frozenset[str]
    updates: frozenset[str]  # what the weights are updated by
    bent: frozenset[str]  # what is averaged or bent (sign, norm) among these, what that is made of, and the averages
    own: Mapping[int, int]  # id of a term of what weights are given -> its sign
    added: frozenset[int]  # ids of the terms of gradients, which nothing but rates multiplies

    @classmethod
    def of(cls, tree: ast.AST, scope: Scope) -> Flow:
        """Return the flow of a whole source; a function is given what it returns, and its arguments what it is called with."""
        targets: dict[int, set[str]] = {}
        values: dict[str, list[ast.expr]] = {}
        others: dict[str, set[str]] = {}  # names of the same, as of the elements in a loop over it
        for node, name, value in given(tree, scope):
            targets.setdefault(id(node), set()).add(name)
            values.setdefault(name, []).append(value)
            others.setdefault(name_of(value), set()).add(name)
        made = {name: {part for value in its for part in _read(value)} for name, its in values.items()}
        begun = set(_begun_anew(tree))
        kept = frozenset(
            name
            for name, its in values.items()
            if not is_weight(name)
            and _is_kept({name} | others.get(name, set()), _with_returned(its, values), name in begun)
        )
        updates = _behind({part for name, read in made.items() if is_weight(name) for part in read}, made)
        own, added, bent = _followed(values, kept, scope)
        return cls(made, targets, kept, updates, _behind((kept & updates) | bent, made), own, added)

    def convention(self, statement: ast.stmt | None) -> str | None:
        """Return how a share of the weights that ``statement`` adds or takes decays them; None where that cannot be told.

        It is "l2" if it goes into an average of the gradients, or into their signs; or if they are taken as they are, and the
        two are the same; else "decoupled".

        >>> tree = ast.parse("m = 0.9 * m + g; w = w - lr * (m + 0.1 * w)")
        >>> [Flow.of(tree, Scope.of(tree)).convention(statement) for statement in tree.body]
        ['l2', 'decoupled']
        """
        to = self.targets.get(id(statement), set())
        of_weights = any(map(is_weight, to))
        if not of_weights and to.isdisjoint(self.updates):
            return None if self.updates or self.kept & _behind(to, self.made) else "l2"
        return "decoupled" if self.bent and (of_weights or to.isdisjoint(self.bent)) else "l2"

    def moves(self, statement: ast.AST) -> bool:
        """Return whether weights go into what ``statement`` gives the weights, or what updates them."""
        to = self.targets.get(id(statement), set())
        if isinstance(statement, ast.For) or (self.updates.isdisjoint(to) and not any(map(is_weight, to))):
            return False
        return any(isinstance(part, ast.expr) and is_weight(part) for part in ast.walk(statement))

    def averages(self, statement: ast.stmt | None) -> bool:
        """Return whether ``statement`` gives an average a value."""
        return not self.kept.isdisjoint(self.targets.get(id(statement), ()))


def _read(value: ast.expr) -> set[str]:
    calls = {callee(part) for part in ast.walk(value) if isinstance(part, ast.Call)}
    return calls | {name_of(part) for part in ast.walk(value) if isinstance(part, ast.Name | ast.Attribute)}


def _behind(names: Iterable[str], made: Mapping[str, set[str]]) -> frozenset[str]:
    """Return ``names`` and all that they are made of; weights are where it begins anew."""
    found, waiting = set[str](), {*names}
    while waiting:
        name = waiting.pop()
        if name not in found and not is_weight(name):
            found.add(name)
            waiting |= made.get(name, set())
    return frozenset(found)


# --- what goes straight into the weights

_BENDING = ("sign", "tanh", "clip")


def _followed(
    values: Mapping[str, list[ast.expr]], kept: Collection[str], scope: Scope
) -> tuple[dict[int, int], frozenset[int], set[str]]:
    """Return the terms that weights are given, those of the gradients that they are moved by, and the names that are bent.

    A gradient is what stands alone or beside one factor, the rate; an average may weigh its parts by numbers.
    """
    own, added, bent, seen = dict[int, int](), set[int](), set[str](), set[str]()
    waiting = [(value, name) for name, its in values.items() if is_weight(name) for value in its]
    while waiting:
        value, name = waiting.pop()
        found = [*terms(value.elt if isinstance(value, ast.ListComp) else value)]
        if is_weight(name):
            own |= {id(term): sign for term, sign in found}
        elif len(found) > 1:
            added |= {id(term) for term, _ in found}
        for term, _ in found:
            above, below = factors(term)
            bent |= {name_of(factor) for factor in above} & {part for under in below for part in _measured(under)}
            for factor in above if len(above) < 3 else ():  # alone, or beside a rate
                others = [other for other in above if other is not factor]
                scaled = any(_is_number(other, scope) for other in others) and not (is_weight(name) or name in kept)
                inner = callee(factor) if isinstance(factor, ast.Call) else name_of(factor)
                if scaled or is_weight(inner) or is_rate(factor, scope):
                    continue
                if inner in _BENDING:
                    bent |= _read(factor)
                elif len([*terms(factor)]) > 1:
                    waiting.append((factor, ""))
                elif inner not in seen:
                    seen.add(inner)
                    waiting += [(each, inner) for each in values.get(inner, ())]
    return own, frozenset(added), bent & values.keys()


def is_rate(node: ast.expr, scope: Scope) -> bool:
    """Return whether ``node`` is a learning rate: by its name, or as the value of a function so named."""
    node = scope.looked_up(node)
    name = callee(node) if isinstance(node, ast.Call) else name_of(node).rpartition(".")[2]
    return name in ("lr", "eta", "learning_rate", "get_lr", "lr_schedule", "schedule", "step_size")


def _measured(node: ast.expr) -> set[str]:
    """Return the names that a function is asked of, such as norm; their number is none of theirs."""
    calls = [part for part in ast.walk(node) if isinstance(part, ast.Call) and callee(part) != "len"]
    return {name for call in calls for name in _read(call)}


def _is_number(node: ast.expr, scope: Scope) -> bool:
    number = scope.told_number(node)
    return number is not None and math.isfinite(number)


# --- what is kept


def _with_returned(given: Iterable[ast.expr], values: Mapping[str, list[ast.expr]]) -> list[ast.expr]:
    """Return what is given, and with a call of a function what it returns."""
    called = [callee(value) for value in given if isinstance(value, ast.Call)]
    return [*given, *(value for name in called for value in values.get(name, ()))]


def _begun_anew(tree: ast.AST) -> Iterator[str]:
    """Return the names that are set to zero as often as they are scaled: a sum of one step, and no average over the steps."""
    loops: dict[int, set[int]] = {}
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For | ast.While | ast.FunctionDef):
            for part in ast.walk(loop):
                loops.setdefault(id(part), set()).add(id(loop))
    scaled: dict[str, list[set[int]]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult):
            scaled.setdefault(name_of(node.target), []).append(loops.get(id(node), set()))
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _is_zero(node.value):
            around = loops.get(id(node), set())
            names = [name_of(target) for target in node.targets]
            yield from (name for name in names if any(its and its <= around for its in scaled.get(name, ())))


def _is_zero(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return callee(node).startswith("zeros")
    return isinstance(node, ast.Constant) and node.value == 0


def _is_kept(own: set[str], values: Iterable[ast.expr], begun: bool) -> bool:
    """Return whether what ``own`` names is part · itself + something, or itself + squares: an average of what came before.

    ``begun``: it begins at zero in each step, so that scaling and adding make a sum of it.
    """
    shrunk = added = False
    for value in values:
        above, _ = factors(value)
        shrunk = shrunk or (len(above) > 1 and any(name_of(factor) in own for factor in above))
        for found in sums(value):
            products = [factors(term)[0] for term in found]
            mine = [above for above in products if any(name_of(factor) in own for factor in above)]
            others = [above for above in products if above not in mine and not any(map(is_weight, above))]
            if mine and any(len(above) > 1 for above in mine) and others:
                return True
            if mine and any(_is_distance(factor, own) for above in others for factor in above):
                return True
            if mine and any(map(_is_square, others)):
                return True
            added = added or bool(mine and others)
    return shrunk and added and not begun


def _is_distance(factor: ast.expr, own: set[str]) -> bool:
    """Return whether ``factor`` is x - itself, as in m + 0.1 * (g - m)."""
    return isinstance(factor, ast.BinOp) and isinstance(factor.op, ast.Sub) and name_of(factor.right) in own


def _is_square(above: list[ast.expr]) -> bool:
    texts = [ast.unparse(factor) for factor in above]
    return len(texts) > len({*texts}) or any(text.endswith("** 2") or ".square(" in text for text in texts)
