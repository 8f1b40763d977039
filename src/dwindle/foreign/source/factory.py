"""timm's create_optimizer_v2(model, opt="adamw", lr=..., weight_decay=...), rewritten as the optimiser that it builds."""

from __future__ import annotations

import ast

from dwindle.errors import known
from dwindle.foreign.source.literal import Scope, callee

__all__ = ["without_factory"]

_ORDER = ("opt", "lr", "weight_decay", "momentum")
_BUILDS = {
    "sgd": "SGD", "momentum": "SGD", "adam": "Adam", "adamw": "AdamW", "nadam": "NAdam", "radam": "RAdam",
    "adamax": "Adamax", "adagrad": "Adagrad", "adadelta": "Adadelta", "rmsprop": "RMSprop", "sgdw": "SGDW",
    "adamwlegacy": "AdamWLegacy",
}  # fmt: skip
"""``opt`` -> the class; of timm's some eighty names those whose decay is known here."""


_SETS: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.9, "nesterov": True}, "momentum": {"momentum": 0.9}, "sgdw": {"momentum": 0.9, "nesterov": True},
    "rmsprop": {"momentum": 0.9, "alpha": 0.9}, "adagrad": {"eps": 1e-8},
}  # fmt: skip
"""``opt`` -> what the factory sets otherwise than the class does by itself."""


def without_factory(tree: ast.Module) -> ast.Module:
    """Return ``tree`` with the optimiser itself in the place of timm's factory, its decayed parameters in a group.

    Without filter_bias_and_bn=False the factory leaves biases and other vectors out of the decay.

    >>> text = 'opt = create_optimizer_v2(model, "adamw", lr=1e-3, filter_bias_and_bn=False)'
    >>> ast.unparse(without_factory(ast.parse(text)))
    'opt = AdamW(model, lr=0.001, weight_decay=0.0)'
    """
    rewritten: ast.Module = ast.fix_missing_locations(_Factory(Scope.of(tree)).visit(tree))
    return rewritten


class _Factory(ast.NodeTransformer):
    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if callee(node) != "create_optimizer_v2":
            return self.generic_visit(node)
        call = self.scope.call(node)
        named = {**dict(zip(_ORDER, node.args[1:], strict=False)), **(call.named if call else {})}
        params = node.args[0] if node.args else named.pop("model_or_params", ast.Name("model", ast.Load()))
        given = str(self.scope.value(named.pop("opt", ast.Constant("sgd")))).lower()
        opt = known("opt of timm's create_optimizer_v2", given, _BUILDS)
        name, sets = _BUILDS[opt], _SETS.get(opt, {})
        if "momentum" not in sets:
            named.pop("momentum", None)
        named = {**{key: ast.Constant(value) for key, value in sets.items()}, **named}
        decay = named.setdefault("weight_decay", ast.Constant(0.0))
        filters = named.pop("filter_bias_and_bn", ast.Constant(True))
        if self.scope.value(decay) and self.scope.value(filters):
            del named["weight_decay"]
            params = ast.List([_group("decayed", decay), _group("no_decay", ast.Constant(0.0))], ast.Load())
        keywords = [ast.keyword(key, value) for key, value in named.items()]
        return ast.Call(ast.Name(name, ast.Load()), [params], keywords)


def _group(params: str, decay: ast.expr) -> ast.expr:
    keys: list[ast.expr | None] = [ast.Constant("params"), ast.Constant("weight_decay")]
    return ast.Dict(keys, [ast.Name(params, ast.Load()), decay])
