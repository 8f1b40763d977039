"""The weight decay of code that applies it by hand: the textbook's update of its weights, scikit-learn's alpha set as it goes."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import DwindleError, NoExactMapError, shown
from dwindle.foreign.optimizers.classic import NAMES
from dwindle.foreign.source.estimator import estimator_in, set_later
from dwindle.foreign.source.flow import Flow, is_rate
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.given import is_weight
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.sums import factors, is_one_minus, terms
from dwindle.foreign.source.unread import counted, last_name
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["with_alpha", "with_textbook_decay"]

_LAMBDA = re.compile(
    r"(weight_?)?decay|weight_decay_rate|wd|(lmbda|lambda|lambd|lmbd|lamb|lam)_?(reg|l[12]|w|val|value)?"
    r"|(reg|l2)_?(lambda|strength|reg|penalty|coeff?|param|rate|weight)",
    re.IGNORECASE,
)
_OFTEN_LAMBDA = re.compile(r"l2|alpha", re.IGNORECASE)
"""Names of λ where they multiply weights; elsewhere they name much else."""
_PENALTY = re.compile(r"reg(ulari[sz]ation)?|penalty", re.IGNORECASE)
"""Names of λ, or of a penalty or a model that is made."""
_TELLING = re.compile(r"(print|repr|str|isinstance|type)$|(logg(er|ing)|log|wandb|plt|ax|writer)\.")


def with_textbook_decay(plan: Plan, tree: ast.Module, scope: Scope) -> Plan:
    r"""Return ``plan`` with the decay by which the code updates its weights: (1 - rate * λ) * w, or the gradient + λ * w.

    Beside momentum, mean squares or the signs of gradients it is decoupled, before them l2 (`Flow`); in plain gradient descent,
    where the two are the same, l2. λ is a number, also one worked out of several (lmbda / n), or a function of the step: by its
    name, or by its place where it is below 1. A ``decay`` of the rate's own, as in eta0 / (1 + decay * step), is none of the
    weights, and neither is what is only printed or compared; ``lmbda`` and ``n`` that nothing uses are the textbook's own.
    Raises NoExactMapError for a decay that is used in any other way.

    >>> tree = ast.parse("n = 50_000\nw = (1 - eta * 5.0 / n) * w - eta * g")
    >>> str(with_textbook_decay(Plan(1.0), tree, Scope.of(tree)))
    'peak 1 | constant | l2 1e-4'
    """
    if plan.decay is not None:
        return plan
    update = _Update(tree, scope, Flow.of(tree, scope))
    update.visit(tree)
    if len(update.found) > 1:
        raise NoExactMapError(
            f"the weights decay by {' and by '.join(map(str, update.found))} here; give the source of one update."
        )
    used = next(iter(update.untold), None) or (None if update.found else next(_used(tree, scope, update.flow), None))
    if used is not None:
        lam = _last_name(used) or "lam"
        raise NoExactMapError(
            f"whether and how {ast.unparse(used)} decays the weights cannot be told{at_line(used)}; write the update as "
            f"(1 - eta * {lam}) * w with {lam} a number or a function of the step, or take it out and give the plan its decay."
        )
    if update.found:
        return replace(plan, decay=update.found[0])
    if {"lmbda", "n"} <= scope.values.keys() and "lmbda" not in _loaded(tree):
        return replace(plan, decay=L2.from_cost(scope.value(ast.Name("lmbda")), scope.value(ast.Name("n"))))
    return plan


def with_alpha(plan: Plan, tree: ast.AST, scope: Scope) -> Plan:
    r"""Return ``plan`` with the decay that the code sets before each update of scikit-learn: alpha=λ, or λ * len(x) of an MLP.

    >>> tree = ast.parse("model = SGDRegressor()\nmodel.set_params(alpha=decay(step))\ndef decay(step): return 0.1 / (1 + step)")
    >>> print(with_alpha(Plan(1.0), tree, Scope.of(tree)).decay)
    l2 (formula "0.1 / (1 + step)")
    """
    built = estimator_in(tree, scope)
    named = None if built is None else scope.call(built)
    if built is None or named is None or ast.unparse(named.named.get("penalty", built)) == "None":
        return plan
    name = scope.origins.named(built)
    for node, key, value in set_later(tree, scope, built):
        if key != "alpha" or scope.told_number(value) is not None:
            continue
        above, below = factors(value)
        lengths = [factor for factor in above if isinstance(factor, ast.Call) and callee(factor) == "len"]
        told = _Told.of([factor for factor in above if factor not in lengths], below, scope, None)
        of_batch = name.startswith("MLP")
        if told is None or told.rates or told.agreeing or len(lengths) != of_batch:
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} sets alpha by hand{at_line(node)}, which is not read; write it as a function "
                f"decay(step){' times len(x)' if of_batch else ''}."
            )
        kind = named.named.get("learning_rate")
        if (NAMES["sklearn"][name].own.get("learning_rate") if kind is None else scope.value(kind)) == "optimal":
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} changes the learning rate too{at_line(node)}, which is made of alpha where it is "
                f"'optimal'; give {name} another learning_rate."
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
    flow: Flow
    found: list[Decay] = field(default_factory=list)
    untold: list[ast.expr] = field(default_factory=list)
    shares: set[tuple[int, str]] = field(default_factory=set)
    scales: dict[int, tuple[list[ast.expr], list[ast.expr]]] = field(default_factory=dict)
    seen: set[tuple[str, int, str | None]] = field(default_factory=set)
    statement: ast.stmt | None = None

    def visit(self, node: ast.AST) -> None:
        self.statement = node if isinstance(node, ast.stmt) else self.statement
        super().visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        match node.op:
            case ast.Mult() | ast.Div():
                self._scaled(node)
                self._multiplied(factors(node)[0])
            case ast.Add() if not _is_between(node):
                self._moved(node.left, rates=0)
                self._moved(node.right, rates=0)
            case ast.Sub():
                self._moved(node.left, rates=0)
                self._moved(node.right, rates=1)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        match node.op:
            case ast.Mult():
                self._multiplied([node.target, node.value])
            case ast.Add() | ast.Sub():
                self._moved(node.value, rates=int(isinstance(node.op, ast.Sub)))
        self.generic_visit(node)

    def _scaled(self, node: ast.BinOp) -> None:
        """Note what scales the terms of a sum: numbers and divisors, but for the share of an average."""
        above, below = factors(node)
        if self.flow.averages(self.statement):
            return
        more, less = self.scales.get(id(node), ([], []))
        numbers = [each for each in above if self.scope.told_number(each) is not None]
        for factor in above:
            for term, _ in terms(factor):
                self.scales.setdefault(id(term), (numbers + more, below + less))

    def _multiplied(self, found: list[ast.expr]) -> None:
        """Find (1 - rate * λ) * w."""
        match sorted(found, key=is_weight):
            case [share, weight] if is_one_minus(share) and is_weight(weight):
                self._take(*factors(share.right), rates=1)  # type: ignore[attr-defined]

    def _moved(self, share: ast.expr, rates: int) -> None:
        """Find λ * w in a gradient, or rate * λ * w taken from the weights, where λ has its name or is seen to be one.

        Elsewhere a number times weights is an average of them, or a part of a model.
        """
        above, below = factors(share)
        weights = [factor for factor in above if is_weight(factor)]
        if len(weights) != 1 or len(above) + len(below) < 2:
            return
        others = [factor for factor in above if factor not in weights]
        often = (_OFTEN_LAMBDA, _PENALTY) if self.flow.updates else ()
        names = [part for each in (*others, *below) if not is_one_minus(each) for part in _named(each, _LAMBDA, *often)]
        sign, seen = self.flow.own.get(id(share)), id(share) in self.flow.added
        if sign is not None:
            rates = int(sign < 0)
            seen = all(self.scope.told_number(each) is not None or is_rate(each, self.scope) for each in others)
        if names or seen:
            more, less = self.scales.get(id(share), ([], []))
            again = id(self.statement), ast.unparse(share)
            rates = -1 if again in self.shares else rates  # added twice, it is twice as much
            self.shares.add(again)
            self._take(others + more, below + less, rates, names[0] if names else share, sign)

    def _take(
        self,
        above: list[ast.expr],
        below: list[ast.expr],
        rates: int,
        lam: ast.expr | None = None,
        sign: int | None = None,
    ) -> None:
        """Take a decay, or keep as untold the ``lam`` of one; ``sign``: that of a term which the weights themselves are given."""
        convention = self.flow.convention(self.statement)
        same = ast.unparse(ast.Tuple([ast.List(above), ast.List(below)])), rates, convention
        if convention is None or same in self.seen:
            return
        self.seen.add(same)
        told = _Told.of(above, below, self.scope, self.tree)
        named = lam is None or _last_name(lam) != ""
        if not named and (told is None or not isinstance(told.lam, float) or told.lam >= 1.0):  # a part of the cost
            return
        if told is None or told.rates != rates or (sign or -1) > 0:
            if lam is not None and (named or (told is not None and told.rates == 0)):
                self.untold.append(lam)
            return
        beside = Decoupled(told.lam, cautious=told.agreeing)
        decay = beside if told.agreeing or convention == "decoupled" else L2(told.lam)
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
        numbers = [scope.told_number(factor) for factor in above]
        divisors = [number for factor in below if (number := scope.told_number(factor)) is not None]
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


def _is_lambda(node: ast.expr, scope: Scope) -> bool:
    if not isinstance(node, ast.Call) or len(node.args) != 1:
        return False
    return callee(node) in scope.functions and _LAMBDA.fullmatch(callee(node)) is not None


def _is_between(node: ast.BinOp) -> bool:
    """Return whether a sum is one part x of something and 1 - x of another: an average, also one of weights."""
    left, right = (factors(part)[0] for part in (node.left, node.right))
    match [[each.value for each in found if isinstance(each, ast.Constant)] for found in (left, right)]:
        case [[float(x)], [float(y)]]:
            return math.isclose(x + y, 1.0)
    return any(
        is_one_minus(factor) and ast.unparse(factor.right) in map(ast.unparse, others)  # type: ignore[attr-defined]
        for one, others in ((left, right), (right, left))
        for factor in one
    )


def _loaded(tree: ast.AST) -> set[str]:
    return {part.id for part in ast.walk(tree) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load)}


def _last_name(node: ast.AST) -> str:
    """Return c of ``c``, ``a.c`` and ``a['c']``, "" for anything else."""
    match node:
        case ast.Subscript(slice=ast.Constant(value=str() as name)):
            return name
        case ast.expr():
            return last_name(node)
    return ""


def _named(node: ast.expr, *patterns: re.Pattern[str]) -> list[ast.expr]:
    """Return what has a name of λ within a factor of weights."""
    return [part for part in ast.walk(node) if isinstance(part, ast.expr) and _is_named(_last_name(part), *patterns)]


def _is_named(name: str, *patterns: re.Pattern[str]) -> bool:
    return any(pattern.fullmatch(name) for pattern in patterns)


def _used(tree: ast.AST, scope: Scope, flow: Flow) -> Iterator[ast.expr]:
    """Return where a name of λ is used, but for functions of the step; what is only told or compared is not.

    An attribute, a key and a penalty may be of anything, and count where weights go into what updates them.
    """
    beside = {id(part) for node in ast.walk(tree) if flow.moves(node) for part in ast.walk(node)}
    apart = {id(part) for node in ast.walk(tree) if _is_apart(node, scope) for part in ast.walk(node)}
    asked = {id(call.func) for call in ast.walk(tree) if isinstance(call, ast.Call) and any(map(is_weight, call.args))}
    apart |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in asked}
    for node in ast.walk(tree):
        if id(node) in apart or not isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            continue
        if isinstance(node.ctx, ast.Load) and _is_named(_last_name(node), _LAMBDA, _PENALTY):
            value = scope.looked_up(node)
            made = isinstance(value, ast.Call) and _is_named(_last_name(node), _PENALTY)
            no_number = isinstance(value, ast.Constant) and scope.told_number(value) is None
            plain = isinstance(node, ast.Name) and node.id != "penalty"
            if not made and not no_number and (plain or id(node) in beside):
                yield node


def _is_apart(node: ast.AST, scope: Scope) -> bool:
    telling = isinstance(node, ast.Call) and _TELLING.match(ast.unparse(node.func))
    return bool(telling) or isinstance(node, ast.Compare | ast.JoinedStr) or _is_of_the_step(node, scope)


def _is_of_the_step(node: ast.AST, scope: Scope) -> bool:
    if not isinstance(node, ast.FunctionDef | ast.Lambda) or any(
        is_weight(ast.Name(arg.arg)) for arg in node.args.args
    ):
        return False
    try:
        return bool(formula_of(node, scope))
    except DwindleError:
        return False
