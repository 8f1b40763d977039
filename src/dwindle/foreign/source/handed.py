"""Schedulers that are no class of the peer's own: the function that Composer's Trainer takes, a subclass of timm's Scheduler."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.writing.expression import expression
from dwindle.plan import Plan
from dwindle.schedule import Formula
from dwindle.units import Horizon

__all__ = ["handed", "held_each_epoch"]


def handed(tree: ast.AST, scope: Scope, peer: str) -> Formula | None:
    """Return the formula of such a scheduler, None where there is none."""
    if peer == "timm" and "factor" not in scope.functions:
        return _of_subclass(tree, scope)
    return _of_trainer(tree, scope) if peer == "composer" else None


def _of_subclass(tree: ast.AST, scope: Scope) -> Formula | None:
    methods = (part for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for part in node.body)
    found = next((part for part in methods if isinstance(part, ast.FunctionDef) and part.name == "_get_lr"), None)
    return None if found is None else formula_of(_EachOne().visit(deepcopy(found)), scope.values)


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
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and callee(node) == "Trainer"]
    given = [word.value for call in calls for word in call.keywords if word.arg == "schedulers"]
    only = scope.looked_up(given[0]) if len(given) == 1 else None
    if isinstance(only, ast.List | ast.Tuple) and len(only.elts) == 1:
        only = only.elts[0]
    function = None if only is None else scope.function(only)
    return None if function is None else formula_of(function, scope.values)


def held_each_epoch(plan: Plan, recipe: Mapping[str, Any] | Formula | None, run: Horizon | None) -> Plan:
    """Return the plan of a timm scheduler in steps: f(step // steps_per_epoch) where it is stepped once an epoch.

    It is left as it is, one index a step, if it counts updates (t_in_epochs=False) or the run has no steps per epoch.
    """
    by_epochs = isinstance(recipe, Mapping) and recipe["params"].get("t_in_epochs", True)
    if not by_epochs or run is None or run.steps_per_epoch is None:
        return plan
    epoch = ast.parse(f"step // {run.steps_per_epoch}", mode="eval").body

    class Held(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            return epoch if node.id == "step" else node

    tree = Held().visit(ast.parse(expression(plan.schedule), mode="eval"))
    return replace(plan, schedule=Formula(ast.unparse(tree)))
