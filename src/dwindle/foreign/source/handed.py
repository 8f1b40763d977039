"""Schedulers that are no class of the peer's own: the function that Composer's Trainer takes, a subclass of timm's Scheduler."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from dwindle.errors import NoExactMapError, UnresolvedTimeError
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import absolute
from dwindle.foreign.writing.expression import expression
from dwindle.plan import Plan
from dwindle.schedule import Formula
from dwindle.schedule.feedback import FeedbackRule
from dwindle.units import Horizon

__all__ = ["check_trainer", "handed", "held_each_epoch", "with_callback"]


def handed(tree: ast.AST, scope: Scope, peer: str) -> Formula | None:
    """Return the formula of such a scheduler, None where there is none."""
    if peer == "timm" and "factor" not in scope.functions:
        return _of_subclass(tree, scope)
    return _of_trainer(tree, scope) if peer == "composer" else None


def _of_subclass(tree: ast.AST, scope: Scope) -> Formula | None:
    methods = (part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body)
    found = next((part for part in methods if isinstance(part, ast.FunctionDef) and part.name == "_get_lr"), None)
    return None if found is None else formula_of(_EachOne().visit(deepcopy(found)), scope)


class _EachOne(ast.NodeTransformer):
    """[lr * f(t) for lr in self.base_values] becomes f(t): what each base value is multiplied by."""

    name = ""

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        self.name = ast.unparse(node.generators[0].target)
        value: ast.expr = self.visit(node.elt)
        return value

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        self.generic_visit(node)
        if ast.unparse(node.left) == self.name and isinstance(node.op, ast.Mult | ast.Div):
            return node.right if isinstance(node.op, ast.Mult) else ast.BinOp(ast.Constant(1), node.op, node.right)
        return node.left if ast.unparse(node.right) == self.name and isinstance(node.op, ast.Mult) else node


def _of_trainer(tree: ast.AST, scope: Scope) -> Formula | None:
    given = [word.value for call in _trainers(tree) for word in call.keywords if word.arg == "schedulers"]
    only = scope.looked_up(given[0]) if len(given) == 1 else None
    if isinstance(only, ast.List | ast.Tuple) and len(only.elts) == 1:
        only = only.elts[0]
    function = None if only is None else scope.function(only)
    return None if function is None else formula_of(function, scope)


def _trainers(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and callee(node) == "Trainer"]


def check_trainer(tree: ast.AST, scope: Scope, read: bool) -> None:
    """Raise NoExactMapError for what Composer's Trainer does to a schedule: stretch it, or follow one that is not ``read``."""
    for call in _trainers(tree):
        words = {str(word.arg): word.value for word in call.keywords}
        ratio = words.get("scale_schedule_ratio")
        if ratio is not None and scope.value(ratio) != 1:
            raise NoExactMapError(
                f"scale_schedule_ratio={ast.unparse(ratio)} (line {ratio.lineno}) stretches the schedule; leave it out, and "
                "give the schedule its whole length."
            )
        schedulers = scope.looked_up(words.get("schedulers", ast.Constant(None)))
        none = isinstance(schedulers, ast.Constant) or (
            isinstance(schedulers, ast.List | ast.Tuple) and not schedulers.elts
        )
        if not read and not none:
            raise NoExactMapError(
                f"the schedulers={ast.unparse(schedulers)} of the Trainer (line {call.lineno}) cannot be read; give one of "
                "Composer's own, or a function of the state."
            )


def _of_callback(tree: ast.AST, scope: Scope) -> tuple[Formula, ast.Call] | None:
    """Return the formula of Keras' LearningRateScheduler, which gives the rate of an epoch, and its call; None without one.

    Raises NoExactMapError where its function is no formula of the epoch.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and callee(node) == "LearningRateScheduler"]
    if not calls:
        return None
    call = scope.call(calls[0])
    node = None if call is None else call.args[0] if call.args else call.named.get("schedule")
    function = None if node is None else scope.function(node)
    if function is None or len(calls) > 1:
        raise NoExactMapError(
            f"{ast.unparse(calls[0])} (line {calls[0].lineno}) sets the learning rate of each epoch by a function that does not "
            "stand here alone; write it here as one function of the epoch."
        )
    return formula_of(function, scope), calls[0]


def held_each_epoch(plan: Plan, recipe: Mapping[str, Any] | Formula | None, run: Horizon | None) -> Plan:
    """Return the plan of a timm scheduler in steps: f(step // steps_per_epoch) where it is stepped once an epoch.

    It is left as it is, one index a step, if it counts updates (t_in_epochs=False) or the run has no steps per epoch.
    """
    by_epochs = isinstance(recipe, Mapping) and recipe["params"].get("t_in_epochs", True)
    if not by_epochs or run is None or run.steps_per_epoch is None:
        return plan
    return replace(plan, schedule=_held(expression(plan.schedule), run.steps_per_epoch))


def with_callback(
    plan: Plan | FeedbackRule[Any], tree: ast.AST, scope: Scope, run: Horizon | None
) -> Plan | FeedbackRule[Any]:
    """Return ``plan`` with the rates of Keras' LearningRateScheduler(fn), fn(step // steps_per_epoch); unchanged without one.

    Raises NoExactMapError where fn is no formula of the epoch, or ``plan`` is a rule, which it works against;
    UnresolvedTimeError where the run has no steps per epoch.

    >>> tree = ast.parse("c = LearningRateScheduler(lambda epoch: 0.1 * 0.5 ** epoch)")
    >>> str(with_callback(Plan(0.1), tree, Scope.of(tree), Horizon(epochs=4, steps_per_epoch=10)))
    'peak 0.1 | formula "0.5 ** (step // 10)"'
    """
    found = _of_callback(tree, scope)
    if found is None:
        return plan
    formula, call = found
    if not isinstance(plan, Plan):
        raise NoExactMapError(
            f"{ast.unparse(call)} (line {call.lineno}) sets the learning rate of each epoch and another callback cuts it; what "
            "the two do together no plan says. Read one of them."
        )
    if run is None or run.steps_per_epoch is None:
        raise UnresolvedTimeError(
            f"{ast.unparse(call)} (line {call.lineno}) counts epochs and the run does not know steps_per_epoch; give "
            "Horizon(epochs=E, steps_per_epoch=K)."
        )
    rates = absolute(_held(formula.text, run.steps_per_epoch))
    return replace(plan, peak=rates.peak, schedule=rates.schedule)


def _held(formula: str, steps_per_epoch: float) -> Formula:
    """Return the formula that has, on every step of an epoch, the value that ``formula`` has for that epoch."""
    epoch = ast.parse(f"step // {steps_per_epoch}", mode="eval").body

    class Held(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return epoch if node.id == "step" else node

    return Formula(ast.unparse(Held().visit(ast.parse(formula, mode="eval"))))
