"""Param groups that are written out, ``[{"params": ..., "weight_decay": 0.1}, ...]``: the decay that they tell."""

from __future__ import annotations

import ast
from typing import Any

from dwindle.errors import NoExactMapError, real
from dwindle.foreign.source.literal import Scope, at_line, callee

__all__ = ["group_decays"]

_MAKERS = ("param_groups_weight_decay", "param_groups_layer_decay", "get_parameter_groups", "auto_group_layers")


def group_decays(groups: ast.expr | None, scope: Scope, lr: Any, usual: float | None) -> list[float]:
    """Return the weight_decay of each group in a list of them; ``lr`` and ``usual`` are the optimiser's own numbers.

    Raises NoExactMapError for a group with another learning rate, and for two decays that are not 0.

    >>> node = ast.parse("[{'params': a, 'weight_decay': 0.1}, {'params': b, 'weight_decay': 0.0}]", mode="eval").body
    >>> group_decays(node, Scope(), 0.1, 0.0)
    [0.1, 0.0]
    """
    node = None if groups is None else scope.looked_up(groups)
    if isinstance(node, ast.Call) and callee(node) in _MAKERS:
        raise NoExactMapError(
            f"{callee(node)} makes the param groups{at_line(node)}, and their decays and rates cannot be read; give the plan a "
            "Mask or groups of its own."
        )
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    written = [scope.looked_up(item) for item in items]
    found = [_group(item, scope, lr, usual) for item in written if _is_mapping(item)]
    decays = [real("weight_decay", decay) for decay in found if decay is not None]
    if len({decay for decay in decays if decay}) > 1:
        raise NoExactMapError(
            f"the param groups have weight_decay {', '.join(f'{decay:g}' for decay in decays)}; a plan has one decay and a "
            "mask."
        )
    return decays


def _is_mapping(node: ast.expr) -> bool:
    return isinstance(node, ast.Dict) or (isinstance(node, ast.Call) and callee(node) == "dict")


def _group(node: ast.expr, scope: Scope, lr: Any, usual: float | None) -> float | None:
    entries = scope.items(node)
    if "lr" in entries and scope.value(entries["lr"]) != lr:
        raise NoExactMapError(
            f"a param group has the lr {ast.unparse(entries['lr'])} beside {lr}{at_line(node)}; give the plan a group with an "
            "lr_scale for it."
        )
    given = entries.get("weight_decay")
    return usual if given is None else scope.number(given)
