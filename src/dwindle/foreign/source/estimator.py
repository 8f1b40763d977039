"""What a source sets of scikit-learn's estimator after it is built: put where it is built, or refused."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from dwindle.errors import DwindleError, NoExactMapError, shown
from dwindle.foreign.optimizers.classic import NAMES
from dwindle.foreign.source.flow import named_values
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import check_branches

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
    trained, given, changing = _trained(tree), dict[str, ast.expr](), list[ast.Call]()
    for node, key, value in set_later(tree, scope, built):
        number = _value(value, scope)
        if number is None and (key == "alpha" or _is_followed(key, value, scope)):
            continue
        again = number is not None and ast.unparse(given.setdefault(key, number)) != ast.unparse(number)
        if number is None or again or key not in _READ or id(node) in trained:
            what = f"its {key or 'settings'}"
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} sets {what} by hand{at_line(node)}, which is not read; give {callee(built)} {what} "
                "where it is built."
            )
        changing += [node] if isinstance(node, ast.Call) else []
    check_branches(tree, changing)
    built.keywords = [word for word in built.keywords if word.arg not in given]
    built.keywords += [ast.keyword(key, value) for key, value in given.items()]
    return tree


def set_later(tree: ast.AST, scope: Scope, built: ast.Call) -> Iterator[tuple[ast.AST, str, ast.expr]]:
    """Return (statement, setting, value) for what is set of the estimator ``built``, of the settings that make a plan.

    What is not built in this source, as a function's argument, may be the estimator; an attribute is its own only where it is.
    """
    values: dict[str, list[ast.AST]] = {name: [function] for name, function in scope.functions.items()}
    steps: dict[str, ast.AST] = {scope.origins.named(built).lower(): built}  # of a pipeline, by their names
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                for name, its in (pair for target in targets for pair in named_values(target, value)):
                    values.setdefault(name, []).append(its)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values.setdefault(name, []).append(value)
            case ast.Tuple(elts=[ast.Constant(value=str() as step), made]):
                steps[step] = made

    def holds(node: ast.AST) -> bool:
        waiting, seen = [node], set[str]()
        while waiting:
            for part in ast.walk(waiting.pop()):
                name = ast.unparse(part) if isinstance(part, ast.Name | ast.Attribute) else ""
                waiting += [] if name in seen else values.get(name, [])
                seen.add(name)
                if part is built:
                    return True
        return False

    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="set_params")):
                if ast.unparse(owner) in values and not holds(owner):
                    continue
                for key, value in (pair for word in node.keywords for pair in _unpacked(word, scope)):
                    step, _, setting = key.rpartition("__")
                    of_step = steps.get(step.rpartition("__")[2])
                    if (not key or setting in _READ) and (of_step is None or holds(of_step)):
                        yield node, key if step and of_step is None else setting, value
            case ast.Assign(targets=[ast.Attribute(value=owner, attr=key)], value=value) if key in _READ:
                if any(each is built for each in values.get(ast.unparse(owner), ())):
                    yield node, key, value


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
        if isinstance(node, ast.Call | ast.Assign)
        and node.lineno > first.get((id(of.get(id(node))), ast.unparse(_owner(node))), node.lineno)
    }


def _owner(node: ast.Call | ast.Assign) -> ast.expr:
    """Return a of ``a.set_params(...)`` and of ``a.alpha = ...``."""
    held = node.func if isinstance(node, ast.Call) else node.targets[0]
    return held.value if isinstance(held, ast.Attribute) else held
