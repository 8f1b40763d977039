"""The options of a script's command line: their defaults, and what the script assigns them, put where they are read."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeGuard

from dwindle.foreign.source.literal import callee

__all__ = ["with_defaults"]


def with_defaults(text: str, tree: ast.Module) -> tuple[str, list[str]]:
    r"""Return ``text`` with the defaults of argparse's options where they are read, and these as name=value.

    An option that the source assigns once, in no branch, is a name, args_lr, where that has been run before; of one that
    it sets otherwise nothing is told; and of none where it sets them all, outside of an if, from a file for instance.

    >>> text = "p.add_argument('--lr', default=0.1)\nargs = p.parse_args()\nprint(args.lr)"
    >>> with_defaults(text, ast.parse(text))[1]
    ['lr=0.1']
    """
    parsed = [node for node in ast.walk(tree) if _is_parsed(node)]
    if not parsed:
        return text, []
    owners = {ast.unparse(target) for by in parsed for target in by.targets}
    otherwise = set(_set_otherwise(tree, owners))
    if None in otherwise:
        return text, []
    defaults, options = dict(_defaults(tree)), _options(tree, owners)
    stored = Counter(node.attr for node in options if not isinstance(node.ctx, ast.Load))
    once = {name: by for name, by in _assigned(tree, options) if stored[name] == 1 and name not in otherwise}
    around = _functions_around(tree)
    methods = [by for by in parsed if isinstance(by.value, ast.Call) and isinstance(by.value.func, ast.Attribute)]
    begins = {around[id(by)] for by in methods or parsed}  # parser.parse_args(), and not the function that has it in it

    def has_run(by: ast.Assign, node: ast.Attribute) -> bool:
        """Return whether an assignment before ``node`` is of a function around it, or of the one that parses the options."""
        return _follows(node, by) and (around[id(by)] <= around[id(node)] or begins == {around[id(by)]})

    told = {id(node): node.attr for node in options if node.attr in once and has_run(once[node.attr], node)}
    changed = otherwise | stored.keys()
    used = {name: once[name] for name in told.values()}
    taken: dict[str, str] = {}
    parts: list[tuple[ast.expr, str]] = []
    for node in options:
        by = used.get(node.attr)
        if id(node) in told or (by is not None and node in by.targets):
            parts.append((node, ast.unparse(node).replace(".", "_")))
        elif node.attr in defaults and (node.attr not in changed or (by and node in ast.walk(by.value))):
            taken[node.attr] = ast.unparse(defaults[node.attr])
            parts.append((node, f"({taken[node.attr]})"))
    return _replaced(text, parts), [f"{name}={value}" for name, value in taken.items()]


def _is_parsed(node: ast.AST) -> TypeGuard[ast.Assign]:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and callee(node.value) == "parse_args"


def _defaults(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Return the name of each option that has a number, a text or a truth value for its default, and this."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callee(node) == "add_argument" and node.args:
            words = {word.arg: word.value for word in node.keywords}
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            name = max(names, key=lambda n: n.startswith("--"), default="").lstrip("-").replace("-", "_")
            dest, default = words.get("dest"), words.get("default")
            if isinstance(default, ast.Constant | ast.UnaryOp):
                yield dest.value if isinstance(dest, ast.Constant) and isinstance(dest.value, str) else name, default


def _options(tree: ast.AST, owners: set[str]) -> list[ast.Attribute]:
    """Return where the source has an option of one of ``owners``, in its order, but for what an f-string prints."""
    printed = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    found = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.lineno == node.end_lineno and id(node) not in printed
        and ast.unparse(node.value) in owners
    ]  # fmt: skip
    return sorted(found, key=_place)


def _set_otherwise(tree: ast.AST, owners: set[str]) -> Iterator[str | None]:
    """Return the options that are set through setattr or the dictionary of their owner; None for all, outside of an if."""
    held = {f"vars({owner})" for owner in owners} | {f"{owner}.__dict__" for owner in owners}
    tests = (node for node in ast.walk(tree) if isinstance(node, ast.If) and _is_branch(node))
    perhaps = {id(part) for test in tests for part in ast.walk(test)}
    for node in ast.walk(tree):
        keys: list[ast.expr | str | None] = []
        match node:
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, key, _]) if ast.unparse(owner) in owners:
                keys = [key]
            case ast.Subscript(value=owner, slice=key, ctx=ast.Store()) if ast.unparse(owner) in held:
                keys = [key]
            case ast.Call(func=ast.Attribute(value=owner, attr="update")) if ast.unparse(owner) in held:
                keys = [*(None for _ in node.args), *(word.arg for word in node.keywords)]
        for each in keys:
            name = each.value if isinstance(each, ast.Constant) else each
            if isinstance(name, str):
                yield name
            elif id(node) not in perhaps:
                yield None


def _assigned(tree: ast.AST, options: Iterable[ast.Attribute]) -> Iterator[tuple[str, ast.Assign]]:
    """Return the name of each option that is assigned outside of branches, and the assignment."""
    ours = {id(node): node.attr for node in options}
    perhaps = {id(part) for node in ast.walk(tree) if _is_branch(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and id(node) not in perhaps:
            yield from ((ours[id(target)], node) for target in node.targets if id(target) in ours)


def _functions_around(tree: ast.AST) -> dict[int, frozenset[int]]:
    """Return for each node the functions that it stands in, all by their id."""
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    ]
    around: dict[int, set[int]] = {id(node): set() for node in ast.walk(tree)}
    for function in functions:
        for part in ast.walk(function):
            around[id(part)].add(id(function))
    return {node: frozenset(inside) for node, inside in around.items()}


def _follows(node: ast.expr, other: ast.stmt) -> bool:
    return _place(node) > (other.end_lineno or 0, other.end_col_offset or 0)


def _place(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _is_branch(node: ast.AST) -> bool:
    """Return whether what stands within a node is perhaps not run, or more than once."""
    if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
        return False
    return isinstance(node, ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.Match)


def _replaced(text: str, parts: Iterable[tuple[ast.expr, str]]) -> str:
    """Return ``text`` with other words at the places of these nodes, each of which is within a line."""
    lines = [line.encode() for line in re.sub("\r\n?", "\n", text).split("\n")]
    for node, words in sorted(parts, key=lambda part: _place(part[0]), reverse=True):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + words.encode() + line[node.end_col_offset :]
    return b"\n".join(lines).decode()
