"""Names that take one another in: what they come to is worked out only where it is of a size that somebody wrote."""

from __future__ import annotations

import ast
from collections.abc import Mapping

from dwindle.errors import ParseError

__all__ = ["check_growth"]

_MOST = 100_000  # parts of a value with all that it names written out; a source has at most 200,000 characters


def check_growth(values: Mapping[str, ast.expr]) -> None:
    """Raise ParseError where a value, with the names in it written out, is too large: thirty lines of b = [a, a] are 10^9 parts.

    >>> check_growth({"a": ast.Constant(1), "b": ast.List([ast.Name("a"), ast.Name("a")])})
    """
    inner, sizes = dict[str, list[str]](), dict[str, int]()
    for name, value in values.items():
        parts = list(ast.walk(value))
        inner[name] = [part.id for part in parts if isinstance(part, ast.Name) and part.id in values]
        sizes[name] = len(parts)
    whole, begun = dict[str, int](), set[str]()
    for first in values:
        waiting = [first]
        while waiting:
            name = waiting[-1]
            more = [each for each in inner[name] if each not in begun]
            begun.add(name)
            if more:
                waiting += more
                continue
            waiting.pop()
            if name not in whole:  # a name by itself is told elsewhere
                whole[name] = sizes[name] + sum(whole.get(each, 1) for each in inner[name])
            if whole[name] > _MOST:
                raise ParseError(
                    f"{name} comes to more than {_MOST:,} values with all the names in it; give what it is for as numbers."
                )
