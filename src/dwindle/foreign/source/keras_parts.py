"""What Keras source says of the decay beside its optimiser: regularisers, exclusions, and optimisers of a class of its own."""

from __future__ import annotations

import ast
from dataclasses import replace

from dwindle.decay import L2
from dwindle.errors import InvalidValueError, NoExactMapError, shown
from dwindle.foreign.optimizers.keras import NAMES as OPTIMIZERS
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.masks import mask_of
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan

__all__ = ["REGULARIZERS", "with_keras_parts", "without_classes"]

REGULARIZERS = tuple(f"{of}_regularizer" for of in ("kernel", "embeddings", "depthwise", "pointwise", "recurrent"))
"""The arguments of Keras' layers that penalise matrices and filters."""

_REGULARIZERS = {
    "L2": ("l2",),
    "l2": ("l2",),
    "L1": ("l1",),
    "l1": ("l1",),
    "L1L2": ("l1", "l2"),
    "l1_l2": ("l1", "l2"),
}


def without_classes(tree: ast.Module) -> ast.Module:
    """Return the tree in which an optimiser of a class of the user's own is called by the Keras class it derives from."""
    bases = {
        node.name: base
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if isinstance(base, ast.Attribute) and base.attr in OPTIMIZERS and len(node.bases) == 1
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

    A regulariser that only some layers have is taken for that of all (`habits.regularised_in_part` says so). Raises
    NoExactMapError for several, for an l1, and for one of biases or of outputs.

    >>> text = "keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.01))"
    >>> tree = ast.parse(text)
    >>> str(with_keras_parts(Plan(0.1), tree, Scope.of(tree)))
    'peak 0.1 | constant | l2 0.02'
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    words = [word for node in calls for word in node.keywords if str(word.arg).endswith("_regularizer")]
    for word in words:
        _check_penalised(word, scope)
    given = [word.value for word in words]
    built = [node for node in calls if callee(node) in _REGULARIZERS]
    penalties = {_penalty(scope.looked_up(node), scope) for node in (*built, *given)} - {0.0}
    if penalties and plan.decay is not None:
        raise NoExactMapError(f"{plan.decay} and a regulariser of {penalties} at once; a plan has one decay.")
    if len(penalties) > 1:
        raise NoExactMapError(f"layers have regularisers of {sorted(penalties)}; a plan has one l2 and a mask.")
    if penalties:
        return replace(plan, decay=L2.from_keras(penalties.pop()), mask=mask_of(scope))
    excluding = next((node for node in calls if callee(node) == "exclude_from_weight_decay"), None)
    return plan if excluding is None or plan.decay is None else replace(plan, mask=_excluded(excluding, scope))


def _check_penalised(word: ast.keyword, scope: Scope) -> None:
    """Raise NoExactMapError for a penalty of anything but matrices and filters, which are what a plan's mask lets decay."""
    none = isinstance(value := scope.looked_up(word.value), ast.Constant) and value.value is None
    if word.arg in REGULARIZERS or none:
        return
    what = str(word.arg).removesuffix("_regularizer")
    penalised = "what the layer gives out, and no weights" if what == "activity" else f"its {what} too"
    raise NoExactMapError(
        f"{ast.unparse(word)}{at_line(word.value)} penalises {penalised}, which no l2 of a plan is; leave it out to read the "
        "other regularisers."
    )


def _penalty(node: ast.expr, scope: Scope) -> float:
    """Return the factor of the squares in a regulariser; raise NoExactMapError where it does anything else."""
    if isinstance(node, ast.Constant) and node.value in (None, "l2", "L2"):
        return 0.0 if node.value is None else 0.01
    call = scope.call(node) if isinstance(node, ast.Call) else None
    if call is None or call.name not in _REGULARIZERS:
        raise NoExactMapError(
            f"the regulariser {ast.unparse(node)}{at_line(node)} is not read as an l2; write keras.regularizers.L2(c), or leave "
            "it out and give the plan its decay."
        )
    named = {**dict(zip(_REGULARIZERS[call.name], call.args, strict=False)), **call.named}
    values = {key: 0.0 if scope.value(value) is None else scope.number(value) for key, value in named.items()}
    if values.get("l1", 0.01 if call.name.upper() == "L1" else 0.0):
        raise NoExactMapError(f"{ast.unparse(node)}{at_line(node)} has an l1 penalty, and a plan has none.")
    return values.get("l2", 0.01 if call.name in ("L2", "l2") else 0.0)


def _excluded(node: ast.Call, scope: Scope) -> Mask:
    names = next((word.value for word in node.keywords if word.arg == "var_names"), None)
    if names is None and "decays" not in scope.functions:
        raise NoExactMapError(
            f"the variables of {ast.unparse(node)}{at_line(node)} are not told here; name them as var_names=[...], or "
            "give the plan a Mask."
        )
    if names is None:
        return mask_of(scope)
    listed = scope.value(names)
    if not isinstance(listed, list):
        raise InvalidValueError(f"var_names must be a list of names; got {shown(listed)}{at_line(node)}.")
    rules = [Rule("regex", str(name), False) for name in listed]
    return Mask((*rules, Rule("name", "*", True)))
