"""The weight decay of code that applies it by hand: the textbook's update of its weights, scikit-learn's alpha set as it goes."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import DwindleError, NoExactMapError, shown
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import counted, last_name
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["with_alpha", "with_textbook_decay"]

_LAMBDA = re.compile(r"(weight_?)?decay|wd|lmbda|lambda_?|lam", re.IGNORECASE)
_WEIGHT = re.compile(r"w\d*|weights?\d*|theta\d*|params?", re.IGNORECASE)


def with_textbook_decay(plan: Plan, tree: ast.Module, scope: Scope) -> Plan:
    r"""Return ``plan`` with the decay by which the code updates its weights: (1 - rate * λ) * w, or the gradient + λ * w.

    λ is a number, also one worked out of several (lmbda / n), or a function of the step. A ``decay`` of the rate's own, as in
    eta0 / (1 + decay * step), is none of the weights; ``lmbda`` and ``n`` that nothing uses are the textbook's own. Raises
    NoExactMapError for a decay that is used in any other way.

    >>> tree = ast.parse("n = 50_000\nw = (1 - eta * 5.0 / n) * w - eta * g")
    >>> str(with_textbook_decay(Plan(1.0), tree, Scope.of(tree)))
    'peak 1 | constant | l2 1e-4'
    """
    if plan.decay is not None:
        return plan
    update = _Update(tree, scope)
    update.visit(tree)
    if len(update.found) == 1:
        return replace(plan, decay=update.found[0])
    if update.found:
        raise NoExactMapError(
            f"the weights decay by {' and by '.join(map(str, update.found))} here; give the source of one update."
        )
    used = next(_used(tree, scope), None)
    if used is not None:
        raise NoExactMapError(
            f"whether and how {used.id} decays the weights cannot be told{at_line(used)}; write the update as "
            f"(1 - eta * {used.id}) * w with {used.id} a number or a function of the step, or take it out and give the plan its "
            "decay."
        )
    if {"lmbda", "n"} <= scope.values.keys() and "lmbda" not in _loaded(tree):
        return replace(plan, decay=L2.from_cost(scope.value(ast.Name("lmbda")), scope.value(ast.Name("n"))))
    return plan


def with_alpha(plan: Plan, tree: ast.AST, scope: Scope) -> Plan:
    r"""Return ``plan`` with the decay that the code sets before each update of scikit-learn: alpha=λ, or λ * len(x) of an MLP.

    >>> tree = ast.parse("model.set_params(alpha=decay(step))\ndef decay(step): return 0.1 / (1 + step)")
    >>> print(with_alpha(Plan(1.0), tree, Scope.of(tree)).decay)
    l2 (formula "0.1 / (1 + step)")
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of_batch = any(callee(call).startswith("MLP") for call in calls)
    for call in calls:
        alpha = next((word.value for word in call.keywords if word.arg == "alpha"), None)
        if alpha is None or callee(call) != "set_params":
            continue
        above, below = _factors(alpha)
        lengths = [factor for factor in above if isinstance(factor, ast.Call) and callee(factor) == "len"]
        told = _Told.of([factor for factor in above if factor not in lengths], below, scope, None)
        if told is None or told.rates or told.agreeing or len(lengths) != of_batch:
            raise NoExactMapError(
                f"{shown(ast.unparse(call))} sets alpha by hand{at_line(call)}, which is not read; write it as a function "
                f"decay(step){' times len(x)' if of_batch else ''}."
            )
        held = None if plan.decay is None else plan.decay.weight_decay
        same = isinstance(held, float) and isinstance(told.lam, float) and math.isclose(held, told.lam, rel_tol=1e-12)
        if not same:
            plan = replace(plan, decay=L2(told.lam))
    return plan


@dataclass
class _Update(ast.NodeVisitor):
    """The decays that updates of weights apply, each once."""

    tree: ast.AST
    scope: Scope
    found: list[Decay] = field(default_factory=list)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        match node.op:
            case ast.Mult():
                self._multiplied(_factors(node)[0])
            case ast.Add():
                self._moved(node.left, rates=0)
                self._moved(node.right, rates=0)
            case ast.Sub():
                self._moved(node.right, rates=1)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        match node.op:
            case ast.Mult():
                self._multiplied([node.target, node.value])
            case ast.Add() | ast.Sub():
                self._moved(node.value, rates=int(isinstance(node.op, ast.Sub)))
        self.generic_visit(node)

    def _multiplied(self, factors: list[ast.expr]) -> None:
        """Find (1 - rate * λ) * w."""
        match sorted(factors, key=_is_weight):
            case [ast.BinOp(left=ast.Constant(value=1), op=ast.Sub(), right=share), weight] if _is_weight(weight):
                self._take(*_factors(share), rates=1)

    def _moved(self, share: ast.expr, rates: int) -> None:
        """Find λ * w in a gradient, or rate * λ * w taken from the weights, where λ has its name: so is an average written."""
        above, below = _factors(share)
        weights = [factor for factor in above if _is_weight(factor)]
        if len(weights) == 1 and any(_LAMBDA.fullmatch(name) for name in _loaded(share)):
            self._take([factor for factor in above if factor not in weights], below, rates)

    def _take(self, above: list[ast.expr], below: list[ast.expr], rates: int) -> None:
        told = _Told.of(above, below, self.scope, self.tree)
        if told is None or told.rates != rates:
            return
        decay = Decoupled(told.lam, cautious=True) if told.agreeing else L2(told.lam)
        if decay not in self.found:
            self.found.append(decay)


@dataclass(frozen=True)
class _Told:
    """A product told apart: λ, how many other factors there are, and whether it asks that weight and update agree."""

    lam: float | Schedule
    rates: int
    agreeing: bool

    @classmethod
    def of(cls, above: list[ast.expr], below: list[ast.expr], scope: Scope, tree: ast.AST | None) -> _Told | None:
        """Return what a quotient of factors is, None where it has no λ; a function is called with the step, or as in ``tree``."""
        numbers = [_number(factor, scope) for factor in above]
        divisors = [number for factor in below if (number := _number(factor, scope)) is not None]
        functions = [factor for factor in above if _is_lambda(factor, scope)]
        compared = [factor for factor in above if isinstance(factor, ast.Compare)]
        known = [number for number in numbers if number is not None]
        if len(divisors) < len(below) or len(functions) > 1 or not known + functions or math.prod(divisors) == 0.0:
            return None
        lam: float | Schedule = math.prod(known) / math.prod(divisors)
        for call in functions:
            name = callee(call)  # type: ignore[arg-type]
            at = None if tree is None else counted(tree, scope, name)
            formula = formula_of(scope.functions[name], scope, at)
            lam = formula if lam == 1.0 else formula * lam
        return cls(lam, len(above) - len(known) - len(functions) - len(compared), bool(compared))


def _factors(node: ast.expr) -> tuple[list[ast.expr], list[ast.expr]]:
    """Return what a product multiplies, and what it divides by."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div() as op, right=right):
            (above, below), (more, less) = _factors(left), _factors(right)
            return (above + more, below + less) if isinstance(op, ast.Mult) else (above + less, below + more)
    return [node], []


def _number(node: ast.expr, scope: Scope) -> float | None:
    try:
        return scope.number(node)
    except (DwindleError, OverflowError):
        return None


def _is_weight(node: ast.expr) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    return _WEIGHT.fullmatch(last_name(node)) is not None


def _is_lambda(node: ast.expr, scope: Scope) -> bool:
    if not isinstance(node, ast.Call) or len(node.args) != 1:
        return False
    return callee(node) in scope.functions and _LAMBDA.fullmatch(callee(node)) is not None


def _loaded(tree: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _used(tree: ast.AST, scope: Scope) -> Iterator[ast.Name]:
    """Return where a name of λ is used, but for functions of the step."""
    apart = {id(part) for function in ast.walk(tree) if _is_of_the_step(function, scope) for part in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and _LAMBDA.fullmatch(node.id) and isinstance(node.ctx, ast.Load):
            yield from () if id(node) in apart else [node]


def _is_of_the_step(node: ast.AST, scope: Scope) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.Lambda) or any(_WEIGHT.fullmatch(arg.arg) for arg in node.args.args):
        return False
    try:
        return bool(formula_of(node, scope))
    except DwindleError:
        return False
