"""Values written in Python source — numbers, text, lists, mappings, calls — read from the syntax tree by a short list."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwindle.errors import DwindleError, ParseError, shown
from dwindle.foreign.source.function import formula_of

__all__ = ["Call", "Scope", "callee"]

_STEP = ast.arguments(posonlyargs=[], args=[ast.arg("step")], kwonlyargs=[], kw_defaults=[], defaults=[])


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it stands in the source: the last name of what is called, its positional and its named arguments."""

    name: str
    args: tuple[ast.expr, ...]
    named: Mapping[str, ast.expr]


@dataclass(frozen=True, slots=True)
class Scope:
    """The names a source gives: assigned values, functions, and classes."""

    values: Mapping[str, ast.expr] = field(default_factory=dict)
    functions: Mapping[str, ast.FunctionDef] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.AST) -> Scope:
        """Return the names of a whole source; a name that is assigned twice has no value that could be told."""
        values: dict[str, ast.expr] = {}
        twice: set[str] = set()
        functions: dict[str, ast.FunctionDef] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                method = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__call__"), None)
                if method is not None:
                    functions[node.name] = method
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                twice |= {name} & values.keys()
                values[name] = node.value
        return cls({name: value for name, value in values.items() if name not in twice}, functions)

    def looked_up(self, node: ast.expr) -> ast.expr:
        """Return what a name stands for, followed as far as it goes."""
        for _ in range(20):
            if not (isinstance(node, ast.Name) and node.id in self.values):
                return node
            node = self.values[node.id]
        return node

    def value(self, node: ast.expr) -> Any:
        """Return the value of a literal: a number (also worked out of numbers), text, True, None, a list or a mapping.

        Raises ParseError for anything else: nothing is ever run.
        """
        node = self.looked_up(node)
        match node:
            case ast.Constant(value=int() | float() | str() | None):
                return node.value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return {self.value(k): self.value(v) for k, v in zip(keys, values, strict=True) if k is not None}
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(k.arg for k in keywords):
                return {str(k.arg): self.value(k.value) for k in keywords}
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.value(operand)
                if isinstance(inner, int | float):
                    return -inner
            case ast.BinOp() | ast.Call():
                return self._number(node)
        raise ParseError(f"{shown(ast.unparse(node))} is not a number, a text, a list or a mapping that could be read.")

    def _number(self, node: ast.expr) -> float:
        numbers = {n: v for n, v in self.values.items() if isinstance(v, ast.Constant)}
        try:
            value: float = formula_of(ast.Lambda(_STEP, node), numbers)(0)
        except DwindleError as error:
            raise ParseError(f"{shown(ast.unparse(node))} is not a number that could be read: {error}") from error
        return int(value) if value.is_integer() else value

    def call(self, node: ast.expr) -> Call | None:
        """Return the call that ``node`` is, or None."""
        node = self.looked_up(node)
        if not isinstance(node, ast.Call):
            return None
        named = {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        for keyword in node.keywords:
            if keyword.arg is None:  # **options
                options = self.looked_up(keyword.value)
                if isinstance(options, ast.Dict):
                    named |= {str(self.value(k)): v for k, v in zip(options.keys, options.values, strict=True) if k}
        return Call(callee(node), tuple(node.args), named)

    def function(self, node: ast.expr) -> ast.FunctionDef | ast.Lambda | None:
        """Return the function that ``node`` is or names, or an instance of a class with ``__call__``."""
        node = self.looked_up(node)
        if isinstance(node, ast.Lambda):
            return node
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
            node = node.func
        return self.functions.get(node.id) if isinstance(node, ast.Name) else None


def callee(node: ast.Call) -> str:
    """Return the last name of what is called: CosineAnnealingLR of torch.optim.lr_scheduler.CosineAnnealingLR(...)."""
    func = node.func
    return func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
