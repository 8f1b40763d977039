"""Param groups that are written out, ``[{"params": ..., "weight_decay": 0.1}, ...]``: the decay that they tell."""

from __future__ import annotations

import ast
import re
from typing import Any

from dwindle.errors import NoExactMapError, real, shown
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.masks import mask_told, names_picked
from dwindle.mask import Mask, Rule

__all__ = ["group_decays"]

_MAKERS = ("param_groups_weight_decay", "param_groups_layer_decay", "get_parameter_groups", "auto_group_layers")


_ARE_VECTORS = re.compile(
    r"bias|norm|(?<![a-z])bns?(?![a-z])|(non?|without)_?(weight_?)?(decay|wd)|not in \w*decay|(ndim|dim\(\)|shape\)) (==|<)"
    r"|not \w+\.endswith\('\.?weight",
    re.IGNORECASE,
)
_ARE_THE_OTHERS = re.compile(r"not any\(|not in (?!\w*decay)|not in \w*no_?decay|(ndim|dim\(\)|shape\)) (> 1|>= 2)")


def group_decays(
    groups: ast.expr | None, scope: Scope, lr: Any, usual: float | None
) -> tuple[float | None, Mask | None]:
    """Return the decay of the groups in a list of them, and the mask where it is 0 in some; None for what they do not tell.

    ``lr`` and ``usual`` are the optimiser's own rate and decay. Raises NoExactMapError for a group with another learning
    rate, for two decays that are not 0, and for one of 0 where the source does not say which parameters those are.

    >>> text = "[{'params': weights, 'weight_decay': 0.1}, {'params': biases, 'weight_decay': 0.0}]"
    >>> decay, mask = group_decays(ast.parse(text, mode="eval").body, Scope(), 0.1, 0.0)
    >>> decay, mask == Mask()
    (0.1, True)
    """
    node = None if groups is None else scope.looked_up(groups)
    if isinstance(node, ast.Call) and callee(node) in _MAKERS:
        raise NoExactMapError(
            f"{callee(node)} makes the param groups{at_line(node)}, and their decays and rates cannot be read; give the plan a "
            "Mask or groups of its own."
        )
    items = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    written = [item for item in map(scope.looked_up, items) if _is_mapping(item)]
    decays = [_group(item, scope, lr, usual) for item in written]
    told = [real("weight_decay", decay) for decay in decays if decay is not None]
    if len({decay for decay in told if decay}) > 1:
        raise NoExactMapError(
            f"the param groups have weight_decay {', '.join(f'{decay:g}' for decay in told)}; a plan has one decay and a mask."
        )
    if not told or not 0.0 == min(told) < max(told):
        return (max(told) if told else None), None
    undecayed = [item for item, decay in zip(written, decays, strict=True) if not decay]
    return max(told), mask_told(scope) or _mask_without(undecayed, scope)


def _mask_without(undecayed: list[ast.expr], scope: Scope) -> Mask:
    """Return the mask by which the parameters of these groups do not decay.

    It is the usual one where the source calls them biases, norms or other vectors; else it goes by the names they are
    picked by.
    """
    given = [scope.items(group).get("params", ast.Constant(None)) for group in undecayed]
    if all(_are_vectors(params, scope) for params in given):
        return Mask()
    picked = [names_picked(params, scope) for params in given]
    # one rule, of which a part may match nothing
    names = "|".join(pattern for each in picked if each is not None for pattern in each[0])
    if all(each is not None and each[1] for each in picked):
        return Mask((Rule("regex", names, False), Rule("name", "*", True)))
    if len(picked) == 1 and picked[0] is not None:
        return Mask((Rule("regex", names, True),))
    unknown = ", ".join(shown(ast.unparse(params)) for params in given if not _are_vectors(params, scope))
    raise NoExactMapError(
        f"a param group has weight_decay 0{at_line(undecayed[0])}, and that its parameters, {unknown}, are the biases and norms "
        "is not said; name them so (no_decay), or give the plan a Mask."
    )


def _are_vectors(params: ast.expr, scope: Scope) -> bool:
    said = f"{ast.unparse(params)} {ast.unparse(scope.looked_up(params))}"
    return _ARE_VECTORS.search(said) is not None and _ARE_THE_OTHERS.search(said) is None


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
