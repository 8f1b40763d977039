"""Which names of a source stand for one value, and of the others why their value cannot be told."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Names"]

_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.Match)
_WORDS = {ast.If: "an if", ast.For: "a loop", ast.AsyncFor: "a loop", ast.While: "a loop", ast.Try: "a try"}

_FILL = ("append", "clear", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update")


@dataclass(slots=True)
class Names:
    """``values``: name -> what it is assigned; ``reasons``: name -> why it has no value that could be told.

    ``arguments``: the id of each use of a name that is an argument of the function around it -> that function's name.
    """

    values: dict[str, ast.expr] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    arguments: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.AST) -> Names:
        """Return the names of a whole source.

        >>> Names.of(ast.parse("lr = 0.1; lr *= 4")).reasons
        {'lr': 'lr is changed after it is assigned (line 1)'}
        """
        names = cls()
        names._visit(tree, None, {})
        names._filled_in(tree)
        names.values = {name: value for name, value in names.values.items() if name not in names.reasons}
        return names

    def _visit(self, node: ast.AST, branch: ast.AST | None, owners: dict[str, str]) -> None:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in owners:
            self.arguments[id(node)] = owners[node.id]
        self._assigned(node, branch)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            outside = [*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
            for part in outside:
                self._visit(part, branch, owners)
            name = getattr(node, "name", "a lambda")
            body: list[ast.AST] = [*node.body] if isinstance(node.body, list) else [node.body]
            inside = {**owners, **dict.fromkeys(_arguments(node.args), name)}
            inside = {n: f for n, f in inside.items() if f != name or not _stored(node, n)}
            for inner_part in body:
                self._visit(inner_part, None, inside)
            return
        main = isinstance(node, ast.If) and "__main__" in ast.unparse(node.test)
        inner = node if isinstance(node, _BRANCHES) and not main else branch
        for child in ast.iter_child_nodes(node):
            self._visit(child, inner, owners)

    def _assigned(self, node: ast.AST, branch: ast.AST | None) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._target(target, value, node, branch)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._target(target, value, node, branch)
            case ast.AugAssign(target=ast.Name(id=name)):
                self.reasons[name] = f"{name} is changed after it is assigned (line {node.lineno})"
            case ast.NamedExpr(target=target, value=value):
                self._target(target, value, node, branch)
            case ast.For(target=target) | ast.AsyncFor(target=target):
                self._unpacked(target, f"changes in a loop (line {node.lineno})")

    def _target(self, target: ast.expr, value: ast.expr, node: ast.stmt | ast.expr, branch: ast.AST | None) -> None:
        if isinstance(target, ast.Name):
            self._named(target.id, value, node.lineno, branch)
        elif isinstance(target, ast.Tuple | ast.List):
            parts = value.elts if isinstance(value, ast.Tuple | ast.List) else []
            plain = len(parts) == len(target.elts) and not any(
                isinstance(p, ast.Starred) for p in (*parts, *target.elts)
            )
            if plain:
                for part, its in zip(target.elts, parts, strict=True):
                    self._target(part, its, node, branch)
            else:
                self._unpacked(target, f"is one of several names for {ast.unparse(value)[:60]} (line {node.lineno})")

    def _named(self, name: str, value: ast.expr, line: int, branch: ast.AST | None) -> None:
        if any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(value)):
            self.reasons[name] = f"{name} is made of itself (line {line})"
        elif name in self.values:
            self.reasons[name] = f"{name} is assigned twice (line {line} again)"
        elif branch is not None and not isinstance(value, ast.Call | ast.IfExp):
            self.reasons.setdefault(name, f"{name} is assigned in {_WORDS.get(type(branch), 'a branch')} (line {line})")
        self.values[name] = value

    def _filled_in(self, tree: ast.AST) -> None:
        """Leave out what a list or a mapping is, where an entry of it is set or added later."""
        for node in ast.walk(tree):
            match node:
                case ast.Subscript(value=ast.Name(id=name), ctx=ast.Store() | ast.Del()):
                    pass
                case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr=method)) if method in _FILL:
                    pass
                case _:
                    continue
            if _is_collection(self.values.get(name)):
                self.reasons.setdefault(name, f"{name} is changed after it is assigned (line {node.lineno})")

    def _unpacked(self, target: ast.expr, why: str) -> None:
        for part in ast.walk(target):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.reasons.setdefault(part.id, f"{part.id} {why}")


def _is_collection(node: ast.expr | None) -> bool:
    made = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("dict", "list")
    return made or isinstance(node, ast.Dict | ast.List)


def _arguments(args: ast.arguments) -> Iterator[str]:
    every = (*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg)
    return (arg.arg for arg in every if arg is not None)


def _stored(function: ast.AST, name: str) -> bool:
    """Return whether the function assigns its argument anew, so that the assignment tells more than the argument."""
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Store) for n in ast.walk(function))
