"""optax's transformation that cuts the rate on a plateau, in source: alone, or in a chain with the optimiser."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.foreign.optimizers.optax import NAMES as OPTIMIZERS
from dwindle.foreign.schedules.optax import RULES, rule
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import check_constant
from dwindle.plan import Plan
from dwindle.schedule.plateau import Plateau

__all__ = ["rule_in"]


def rule_in(
    tree: ast.AST, text: str, scope: Scope, plan: Plan | None, follow: Callable[[ast.expr], Any]
) -> Plateau | None:
    """Return the rule of the one ``reduce_on_plateau`` in ``tree``, None without one; ``plan`` is its optimiser's.

    It is told the metric as ``update(..., value=metric)``, also in a line that is commented out; with ``value=-metric``
    the rule is that of a metric that grows. Raises NoExactMapError where the cut is no cut of the learning rate.

    >>> text = "tx = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(0.5))"
    >>> recipe = {"name": "reduce_on_plateau", "params": {"factor": 0.5}}
    >>> rule_in(ast.parse(text), text, Scope(), Plan(0.1), lambda node: recipe).peak
    0.1
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [node for node in calls if callee(node) in RULES]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidValueError(f"{callee(found[0])} is built {len(found)} times here; give the source of one run.")
    for node in calls:
        _check_order(node, found[0], scope)
    recipe: Mapping[str, Any] = follow(found[0])
    if plan is not None:
        check_constant(plan, recipe["name"])
    ours = rule(recipe["name"], recipe["params"], None if plan is None else plan.peak)
    return _of_growing(ours) if _is_negated([*calls, *_commented(text)], scope) else ours


def _check_order(node: ast.Call, plateau: ast.Call, scope: Scope) -> None:
    """Raise if ``node`` is a chain in which an optimiser's direction comes after the plateau: Adam undoes its cuts."""
    parts = [scope.looked_up(part) for part in node.args] if callee(node) == "chain" else []
    after = parts[parts.index(plateau) + 1 :] if plateau in parts else []
    for part in after:
        name = callee(part) if isinstance(part, ast.Call) else ""
        if name in OPTIMIZERS or (name.startswith("scale_by_") and name[9:] not in ("learning_rate", "schedule")):
            raise NoExactMapError(
                f"{callee(plateau)} stands before {name} and scales the gradient, not the learning rate; put it last."
            )


def _commented(text: str) -> Iterator[ast.Call]:
    """Return the calls in lines of code that are commented out."""
    for line in text.splitlines():
        if line.lstrip().startswith("#") and "value" in line:
            try:
                yield from (node for node in ast.walk(ast.parse(line.lstrip("# \t"))) if isinstance(node, ast.Call))
            except (SyntaxError, ValueError):
                continue  # words


def _is_negated(calls: list[ast.Call], scope: Scope) -> bool:
    told = [word.value for call in calls if callee(call) == "update" for word in call.keywords if word.arg == "value"]
    return any(isinstance(n := scope.looked_up(node), ast.UnaryOp) and isinstance(n.op, ast.USub) for node in told)


def _of_growing(ours: Plateau) -> Plateau:
    """Return the rule that is told x where optax is told -x; -x < -best - atol is x > best + atol."""
    if ours.threshold_mode == "rel":
        raise NoExactMapError(
            "of the negative of a metric, reduce_on_plateau asks -x < (1 - rtol)·-best, which no rule of the metric does; "
            "give it rtol=0.0 and an atol."
        )
    return replace(ours, mode="max")
