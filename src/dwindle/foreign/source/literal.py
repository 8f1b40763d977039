"""Values written in Python source — numbers, text, lists, mappings, calls — read from the syntax tree by a short list."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwindle.errors import DwindleError, ParseError, shown
from dwindle.foreign.source.growth import check_growth
from dwindle.foreign.source.names import Names
from dwindle.foreign.source.numbers import number_of
from dwindle.foreign.source.origins import Origins

__all__ = ["Call", "Scope", "at_line", "callee"]


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it stands in the source: the last name of what is called, its positional and its named arguments."""

    name: str
    args: tuple[ast.expr, ...]
    named: Mapping[str, ast.expr]


@dataclass(frozen=True, slots=True)
class Scope:
    """The names a source gives: assigned values, functions, and classes; and where those of others come from."""

    values: Mapping[str, ast.expr] = field(default_factory=dict)
    functions: Mapping[str, ast.FunctionDef] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)  # of names that stand for no one value
    arguments: Mapping[int, str] = field(default_factory=dict)  # id of a name in a function whose argument it is
    origins: Origins = field(default_factory=Origins)

    @classmethod
    def of(cls, tree: ast.AST) -> Scope:
        """Return the names of a whole source; a name that is assigned twice has no value that could be told."""
        functions: dict[str, ast.FunctionDef] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                functions[node.name] = node
            elif isinstance(node, ast.ClassDef):
                method = next((f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__call__"), None)
                if method is not None:
                    functions[node.name] = method
        names = Names.of(tree)
        check_growth(names.values)
        return cls(names.values, functions, names.reasons, names.arguments, Origins.of(tree))

    def looked_up(self, node: ast.expr) -> ast.expr:
        """Return what a name stands for, followed as far as it goes."""
        for _ in range(20):
            if not (isinstance(node, ast.Name) and node.id in self.values and id(node) not in self.arguments):
                return node
            node = self.values[node.id]
        return node

    def reason(self, node: ast.AST) -> str:
        """Return why a name within ``node`` has no value that could be told; nothing where none is known."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                owner = self.arguments.get(id(part))
                why = f"{part.id} is an argument of {owner}" if owner else self.reasons.get(part.id)
                if why is not None:
                    return f"{why}, so its value cannot be told"
        return ""

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
            case ast.Dict() | ast.Call(func=ast.Name(id="dict")):
                return {key: self.value(value) for key, value in self.items(node).items()}
            case ast.UnaryOp() | ast.BinOp() | ast.Call() | ast.Attribute(value=ast.Name(id="math" | "np" | "numpy")):
                return number_of(node, self.value)
        why = self.reason(node)
        raise ParseError(
            f"{why} here; give it as a number, once{at_line(node)}."
            if why
            else f"{shown(ast.unparse(node))} is not a number, a text, a list or a mapping that could be read{at_line(node)}."
        )

    def number(self, node: ast.expr) -> float:
        """Return the number that a literal, a name or arithmetic is; raise ParseError for anything else."""
        return float(number_of(node, self.value))

    def told_number(self, node: ast.expr) -> float | None:
        """Return the number that ``node`` is; None where that cannot be told."""
        try:
            return self.number(node)
        except (DwindleError, OverflowError, RecursionError):
            return None

    def items(self, node: ast.expr) -> dict[Any, ast.expr]:
        """Return the entries of a mapping, written as ``{...}`` or ``dict(...)``, also one that takes in another by ``**``.

        Raises ParseError for anything else.
        """
        node = self.looked_up(node)
        found: dict[Any, ast.expr] = {}
        match node:
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    found |= self.items(value) if key is None else {_hashable(self.value(key)): value}
                return found
            case ast.Call(func=ast.Name(id="dict"), args=args, keywords=keywords) if len(args) <= 1:
                for arg in args:
                    found |= self.items(arg)
                for word in keywords:
                    found |= self.items(word.value) if word.arg is None else {word.arg: word.value}
                return found
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return self.items(left) | self.items(right)
        why = self.reason(node)
        raise ParseError(
            f"{shown(ast.unparse(node))} is no mapping that stands in this source{at_line(node)}"
            f"{f': {why}' if why else ''}; write its values out."
        )

    def call(self, node: ast.expr) -> Call | None:
        """Return the call that ``node`` is, or None."""
        node = self.looked_up(node)
        if not isinstance(node, ast.Call):
            return None
        named: dict[str, ast.expr] = {}
        for word in node.keywords:
            options = self.items(word.value) if word.arg is None else {word.arg: word.value}
            for key in options.keys() & named.keys():
                raise ParseError(f"{key} of {callee(node)} is given twice{at_line(node)}.")
            named |= {str(key): value for key, value in options.items()}
        args: list[ast.expr] = []
        for arg in node.args:
            unpacked = self.looked_up(arg.value) if isinstance(arg, ast.Starred) else None
            if unpacked is not None and not isinstance(unpacked, ast.List | ast.Tuple):
                raise ParseError(
                    f"{ast.unparse(arg)} cannot be told{at_line(node)}; write the values of {callee(node)} out."
                )
            args += unpacked.elts if unpacked is not None else [arg]
        return Call(callee(node), tuple(args), named)

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


def _hashable(key: Any) -> Any:
    if isinstance(key, list | dict):
        raise ParseError(f"{shown(key)} is no key of a mapping.")
    return key


def at_line(node: ast.AST) -> str:
    """Return " (line 3)", where ``node`` stands in its source; "" for one that was made."""
    return f" (line {node.lineno})" if hasattr(node, "lineno") else ""
