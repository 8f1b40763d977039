"""What a source sets of scikit-learn's estimator after it is built: put where it is built, or refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dwindle.errors import DwindleError, NoExactMapError, shown
from dwindle.foreign.optimizers.classic import NAMES
from dwindle.foreign.source.given import given, named_values
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import check_branches, copied, paired

__all__ = ["estimator_in", "set_later", "with_later_settings"]

_READ = (
    "alpha",
    "penalty",
    "l1_ratio",
    "learning_rate",
    "eta0",
    "power_t",
    "learning_rate_init",
    "solver",
    "batch_size",
)
"""The settings that make a plan."""
_RATES = ("factor", "learning_rate", "get_lr", "lr_schedule", "schedule", "lr")
"""The functions of the learning rate that are read where they are called."""


def estimator_in(tree: ast.AST, scope: Scope) -> ast.Call | None:
    """Return the call that builds the one estimator of a source; None where there is none, or several."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    built = [node for node in calls if scope.origins.named(node) in NAMES["sklearn"]]
    return built[0] if len(built) == 1 else None


def with_later_settings(tree: ast.Module) -> ast.Module:
    r"""Return ``tree`` (changed in place) with the numbers that are set later given to the estimator where it is built.

    A function decay(step) as alpha and a function of the rate are left as they are, to be read with the plan. Raises
    NoExactMapError for any other setting that a plan reads, and for one that changes after training has begun.

    >>> ast.unparse(with_later_settings(ast.parse("c = SGDClassifier(alpha=0.1); c.set_params(alpha=0.5)")))
    'c = SGDClassifier(alpha=0.5)\nc.set_params(alpha=0.5)'
    """
    scope = Scope.of(tree)
    built = estimator_in(tree, scope)
    if built is None:
        return tree
    trained, settings, changing = _trained(tree), dict[str, ast.expr](), list[ast.AST]()
    for node, key, value in set_later(tree, scope, built):
        number = _value(value, scope)
        if number is None and (key == "alpha" or _is_followed(key, value, scope)):
            continue
        again = number is not None and ast.unparse(settings.setdefault(key, number)) != ast.unparse(number)
        if number is None or again or key not in _READ or id(node) in trained:
            what = f"its {key or 'settings'}"
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} sets {what} by hand{at_line(node)}, which is not read; give {callee(built)} {what} "
                "where it is built."
            )
        changing.append(node)
    check_branches(tree, changing, "run")
    built.keywords = [word for word in built.keywords if word.arg not in settings]
    built.keywords += [ast.keyword(key, value) for key, value in settings.items()]
    return tree


def set_later(tree: ast.AST, scope: Scope, built: ast.Call) -> Iterator[tuple[ast.AST, str, ast.expr]]:
    """Return (statement, setting, value) for what is set of the estimator ``built``, of the settings that make a plan.

    What is not built in this source, as a function's argument, may be the estimator; an attribute is its own only where it is.
    """
    held = _Held.of(tree, scope, built)
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="set_params")):
                if ast.unparse(owner) in held.values and not held.within(owner):
                    continue
                for key, value in (pair for word in node.keywords for pair in _unpacked(word, scope)):
                    step, _, setting = key.rpartition("__")
                    of_step = held.steps.get(step.rpartition("__")[2])
                    if (not key or setting in _READ) and (of_step is None or held.within(of_step)):
                        yield node, key if step and of_step is None else setting, value
            case ast.Call(args=[owner, key, value]) if callee(node) == "setattr" and held.as_it_is(owner):
                named = key.value if isinstance(key, ast.Constant) and isinstance(key.value, str) else ""
                if not named or named in _READ:
                    yield node, named, value
    for statement, target, assigned in _assigned(tree):
        for to, its in paired(target, assigned or target):
            for part in ast.walk(to):
                if not isinstance(part, ast.Attribute) or isinstance(part.ctx, ast.Load) or part.attr not in _READ:
                    continue
                if held.as_it_is(part.value):
                    yield statement, part.attr, its
                elif isinstance(part.value, ast.Subscript) and held.within(part.value):  # perhaps another step's
                    yield statement, part.attr, part


@dataclass(frozen=True, slots=True)
class _Held:
    """What holds the estimator ``built``: ``values`` and functions by their names, ``steps`` of a pipeline by theirs."""

    built: ast.Call
    values: Mapping[str, list[ast.AST]]
    given: Mapping[str, list[ast.expr]]  # with what is looped over, returned, and given to functions
    steps: Mapping[str, ast.AST]

    @classmethod
    def of(cls, tree: ast.AST, scope: Scope, built: ast.Call) -> _Held:
        values: dict[str, list[ast.AST]] = {name: [function] for name, function in scope.functions.items()}
        for _, target, value in _assigned(tree):
            for name, its in () if value is None else named_values(target, value):
                values.setdefault(name, []).append(its)
        handed: dict[str, list[ast.expr]] = {}
        for _, name, its in given(tree, scope):
            handed.setdefault(name, []).append(its)
        steps: dict[str, ast.AST] = {scope.origins.named(built).lower(): built}
        for node in ast.walk(tree):
            match node:
                case ast.Tuple(elts=[ast.Constant(value=str() as step), made]):
                    steps[step] = made
        return cls(built, values, handed, steps)

    def within(self, node: ast.AST) -> bool:
        """Return whether ``node`` is the estimator or holds it."""
        waiting, seen = [node], set[str]()
        while waiting:
            for part in ast.walk(waiting.pop()):
                name = ast.unparse(part) if isinstance(part, ast.Name | ast.Attribute) else ""
                waiting += [] if name in seen else self.values.get(name, [])
                seen.add(name)
                if part is self.built:
                    return True
        return False

    def as_it_is(self, node: ast.AST) -> bool:
        """Return whether ``node`` is the estimator itself, or a list of such; an attribute is looked up by its last name too."""
        waiting, seen = [node], set[str]()
        while waiting:
            part = waiting.pop()
            names: list[str] = []
            match part:
                case ast.Call():
                    names = [callee(part)]
                    waiting += [whole] if (whole := copied(part)) is not part else []
                case ast.Attribute(attr=last):
                    names = [ast.unparse(part), f"self.{last}"]
                case ast.Name(id=name):
                    names = [name]
                case ast.Subscript(slice=ast.Constant(value=str() as step)) if step in self.steps:
                    waiting.append(self.steps[step])
                case ast.List(elts=parts) | ast.Tuple(elts=parts):
                    waiting += parts
                case ast.ListComp(elt=each):
                    waiting.append(each)
            if part is self.built:
                return True
            waiting += [value for name in names if name not in seen for value in self.given.get(name, ())]
            seen.update(names)
        return False


def _assigned(tree: ast.AST) -> Iterator[tuple[ast.stmt, ast.expr, ast.expr | None]]:
    """Return (statement, target, value) of each assignment; the value of ``*=`` is None."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((node, target, value) for target in targets)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                yield node, target, value
            case ast.AugAssign(target=target):
                yield node, target, None


def _unpacked(word: ast.keyword, scope: Scope) -> list[tuple[str, ast.expr]]:
    if word.arg is not None:
        return [(word.arg, word.value)]
    try:
        return [(str(key), value) for key, value in scope.items(word.value).items()]
    except DwindleError:
        return [("", word.value)]


def _value(node: ast.expr, scope: Scope) -> ast.expr | None:
    try:
        return ast.Constant(scope.value(node))
    except (DwindleError, OverflowError):
        return None


def _is_followed(key: str, value: ast.expr, scope: Scope) -> bool:
    """Return whether a value is read with the plan: a function's of the rate, or the length of the batch."""
    called = {callee(part) for part in ast.walk(scope.looked_up(value)) if isinstance(part, ast.Call)}
    if key == "batch_size":
        return called == {"len"}
    return key in ("eta0", "learning_rate_init") and any(name in called and name in scope.functions for name in _RATES)


def _trained(tree: ast.AST) -> set[int]:
    """Return the statements (their ids) that set something of what was fitted on a line before, in the same function."""
    of = {id(part): node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for part in ast.walk(node)}
    first: dict[tuple[int, str], int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callee(node) in ("fit", "partial_fit"):
            where = id(of.get(id(node))), ast.unparse(_owner(node))
            first[where] = min(node.lineno, first.get(where, node.lineno))
    return {
        id(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call | ast.Assign | ast.AnnAssign | ast.AugAssign)
        and node.lineno > first.get((id(of.get(id(node))), ast.unparse(_owner(node))), node.lineno)
    }


def _owner(node: ast.Call | ast.Assign | ast.AnnAssign | ast.AugAssign) -> ast.expr:
    """Return a of ``a.set_params(...)``, ``setattr(a, ...)`` and ``a.alpha = ...``."""
    if isinstance(node, ast.Call):
        held = ast.Attribute(node.args[0], "") if callee(node) == "setattr" and node.args else node.func
    else:
        held = node.targets[0] if isinstance(node, ast.Assign) else node.target
    held = held.elts[0] if isinstance(held, ast.Tuple) and held.elts else held
    return held.value if isinstance(held, ast.Attribute) else held
