"""Python source as text: the comment that opens it, imports, calls laid out in lines, values."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Source", "call", "header", "indented", "module", "number", "returned", "spread"]


def header(what: str, lines: Iterable[str], notes: Iterable[str] = ()) -> str:
    """Return the comment that opens a source: ``what`` it is for, the ``lines`` that it says, and what is not exact."""
    said = [f"Written by dwindle for {what}:", *lines, *(f"Note: {note}" for note in notes)]
    return "\n".join(f"# {part}" for line in said for part in _wrapped(line))


def _wrapped(line: str) -> list[str]:
    if "  " in line.strip():
        return [line]  # joined again, two spaces would be one
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(line, 116, subsequent_indent=indent or "  ", break_long_words=False, break_on_hyphens=False)


def module(opening: str, imports: Iterable[str], functions: Iterable[str]) -> str:
    """Return a whole source: its comment, the imports it needs, its functions."""
    text = "\n\n\n".join(functions)
    used = [name for name in _MATH if re.search(rf"(?<![\w.]){name}\b(?=\(|[ )*])", text)]
    names = list(imports)
    plain = [f"import {name}" for name in names if " " not in name and name in _STANDARD]
    mathematics = [f"from math import {', '.join(used)}"] if used else []
    others = [name if " " in name else f"import {name}" for name in names if name not in _STANDARD]
    blocks = ["\n".join([*plain, *mathematics]), "\n".join(others)]
    return "\n\n".join([opening, *(b for b in blocks if b)]) + f"\n\n\n{text}\n"


_STANDARD = ("fnmatch", "re")
_MATH = ("cos", "exp", "floor", "log", "pi", "sin", "sqrt", "tanh")


def call(function: str, args: Iterable[str] = (), params: Mapping[str, Any] | None = None) -> str:
    """Return the source of a call; a value that is `Source` stands as it is.

    >>> call("StepLR", ["optimizer"], {"step_size": 30, "gamma": 0.1})
    'StepLR(optimizer, step_size=30, gamma=0.1)'
    """
    given = [*args, *(f"{key}={number(value)}" for key, value in (params or {}).items())]
    return f"{function}({', '.join(given)})"


def spread(function: str, given: Iterable[str]) -> str:
    """Return the source of a call with one argument a line.

    >>> print(spread("StepLR", ["optimizer", "step_size=30"]))
    StepLR(
        optimizer,
        step_size=30,
    )
    """
    return f"{function}(\n" + "".join(f"    {indented(item)},\n" for item in given) + ")"


def indented(text: str) -> str:
    """Return text with every line but the first moved in."""
    return text.replace("\n", "\n    ")


class Source(str):
    """Text that is source already."""

    __slots__ = ()


def number(value: Any) -> str:
    """Return a parameter's value as Python source.

    >>> number(3e-05), number((1, 2.5)), number("cos")
    ('3e-05', '[1, 2.5]', '"cos"')
    """
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(number(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{number(key)}: {number(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def returned(text: str, indent: str = "    ") -> str:
    """Return ``return <text>``; a choice that is too long for a line is laid out one case a line.

    >>> print(returned("step / 10 if step < 10 else 1.0", "    "))
        return step / 10 if step < 10 else 1.0
    """
    line = f"{indent}return {text}"
    node = ast.parse(text, mode="eval").body
    if len(line) <= 116 or not isinstance(node, ast.IfExp):
        return line
    lines = []
    while isinstance(node, ast.IfExp):
        lines += [f"{indent}if {ast.unparse(node.test)}:", f"{indent}    return {ast.unparse(node.body)}"]
        node = node.orelse
    return "\n".join([*lines, f"{indent}return {ast.unparse(node)}"])
