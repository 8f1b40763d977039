"""What Keras source says of the decay beside its optimiser: regularisers, exclusions, and optimisers of a class of its own."""

from __future__ import annotations

import ast
from dataclasses import replace

from dwindle.decay import L2
from dwindle.errors import NoExactMapError
from dwindle.foreign.optimizers.keras import NAMES as OPTIMIZERS
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.masks import mask_of
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan

__all__ = ["with_keras_parts", "without_classes"]


def without_classes(tree: ast.Module) -> ast.Module:
    """Return the tree in which an optimiser of a class of the user's own is called by the Keras class it derives from."""
    bases = {
        node.name: base
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Attribute) and base.attr in OPTIMIZERS
    }

    class Renamed(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.Call:
            self.generic_visit(node)
            if isinstance(node.func, ast.Name) and node.func.id in bases:
                return ast.Call(bases[node.func.id], node.args, node.keywords)
            return node

    renamed: ast.Module = Renamed().visit(tree)
    return renamed


def with_keras_parts(plan: Plan, tree: ast.AST, scope: Scope) -> Plan:
    """Return ``plan`` with the L2 regulariser of the layers as its decay, and the mask that the source tells.

    >>> text = "keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))"
    >>> tree = ast.parse(text)
    >>> str(with_keras_parts(Plan(0.1), tree, Scope.of(tree)))
    'peak 0.1 | constant | l2 0.02'
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    penalties = {_penalty(node, scope) for node in calls if callee(node) in ("L2", "l2")}
    if penalties and plan.decay is not None:
        raise NoExactMapError(f"{plan.decay} and a regulariser of {penalties} at once; a plan has one decay.")
    if len(penalties) > 1:
        raise NoExactMapError(f"layers have regularisers of {sorted(penalties)}; a plan has one l2 and a mask.")
    if penalties and max(penalties) > 0.0:
        return replace(plan, decay=L2.from_keras(penalties.pop()), mask=mask_of(scope))
    excluding = next((node for node in calls if callee(node) == "exclude_from_weight_decay"), None)
    return plan if excluding is None or plan.decay is None else replace(plan, mask=_excluded(excluding, scope))


def _penalty(node: ast.Call, scope: Scope) -> float:
    given = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg == "l2"), None)
    return 0.01 if given is None else float(scope.value(given))


def _excluded(node: ast.Call, scope: Scope) -> Mask:
    names = next((word.value for word in node.keywords if word.arg == "var_names"), None)
    if names is None:
        return mask_of(scope)
    rules = [Rule("regex", str(name), False) for name in scope.value(names)]
    return Mask((*rules, Rule("name", "*", True)))
