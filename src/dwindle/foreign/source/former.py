"""AdamW of transformers before release 5, rewritten as torch's: it decays as that does, but by 0 where nothing is given."""

from __future__ import annotations

import ast

from dwindle.errors import NoExactMapError
from dwindle.foreign.source.literal import Scope, at_line, callee

__all__ = ["without_former"]

_DEFAULTS = {"lr": 1e-3, "eps": 1e-6, "weight_decay": 0.0}
_ORDER = ("params", "lr", "betas", "eps", "weight_decay")
_NOT_TORCHS = ("correct_bias", "no_deprecation_warning")


def without_former(tree: ast.Module) -> ast.Module:
    """Return ``tree`` (changed in place) with torch's AdamW in the place of transformers' own.

    Raises NoExactMapError for one without Adam's correction of the bias, which torch's always has.

    >>> text = "from transformers import AdamW; o = AdamW(p, lr=2e-5, correct_bias=True)"
    >>> print(ast.unparse(without_former(ast.parse(text)).body[1]))
    o = torch.optim.AdamW(p, lr=2e-05, eps=1e-06, weight_decay=0.0)
    """
    scope = Scope.of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or callee(node) != "AdamW":
            continue
        if scope.origins.packages(node) != ("transformers",):
            continue
        call = scope.call(node)
        if call is None or len(call.args) > len(_ORDER):
            continue
        given = {**dict(zip(_ORDER[1:], call.args[1:], strict=False)), **call.named}
        if "correct_bias" in given and not scope.value(given["correct_bias"]):
            raise NoExactMapError(
                f"correct_bias=False of transformers' AdamW{at_line(node)} leaves out a part of Adam that every other AdamW "
                "has; leave it out to read the learning rates and the decay."
            )
        left = {key: value for key, value in given.items() if key not in _NOT_TORCHS}
        left = {**left, **{key: ast.Constant(v) for key, v in _DEFAULTS.items() if key not in left}}
        node.func, node.args = ast.parse("torch.optim.AdamW", mode="eval").body, list(call.args[:1])
        node.keywords = [ast.keyword(key, value) for key, value in left.items()]
        ast.fix_missing_locations(node)
    return tree
