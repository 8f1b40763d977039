"""An expression of ``step`` in the words of an array library, where both sides of every choice are computed."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dwindle.errors import DwindleError
from dwindle.foreign.writing.boundaries import (
    WIDEST,
    depends,
    edge,
    is_whole,
    narrowed,
    steps_to_try,
    with_whole_boundaries,
)
from dwindle.schedule import Formula

__all__ = ["JAX", "KERAS", "Body", "Words", "body_of"]

_WIDTH = 116
_LONG_LIST = 8
_PAIRED = {"min": "minimum", "max": "maximum"}


@dataclass(frozen=True, slots=True)
class Words:
    """How a library writes it: the ``prefix`` of its functions, a list as an array, whole <-> fractional numbers.

    ``real`` is None where the library mixes integers and floats by itself.
    """

    prefix: str
    array: str
    floor: Callable[[str], str]
    real: Callable[[str], str] | None = None


JAX = Words("jnp.", "jnp.asarray", lambda x: f"jnp.floor({x}).astype(int)")
KERAS = Words(
    "ops.", "ops.convert_to_tensor", lambda x: f'ops.cast(ops.floor({x}), "int32")', lambda x: f"ops.cast({x}, dtype)"
)


@dataclass(frozen=True, slots=True)
class Body:
    """The ``lines`` of a function of ``step``, not indented, and the long lists it reads as ``tables``: module lines."""

    lines: tuple[str, ...]
    tables: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def body_of(text: str, scale: str, words: Words, last: int, hold: int | None = None) -> Body:
    """Return the body of a function that gives ``scale``·expression(step): no branch of it is NaN or infinite.

    A branch that could leave its range sees the step held within it. Comparisons, // and % are those of whole numbers,
    exact in 32 bits. ``last`` is the last step of the run; the step is held at ``hold``, if it is given.

    >>> print(body_of("step / 10 if step < 10 else 1 / sqrt(step - 9)", "0.1", JAX, 100).text)
    return 0.1 * jnp.where(step < 10, step / 10, 1 / jnp.sqrt(jnp.maximum(step - 9, 1)))
    """
    tree = ast.parse(with_whole_boundaries(text, last), mode="eval").body
    writer = _Writer(words, last)
    held = [] if hold is None or hold >= WIDEST else [f"step = {words.prefix}minimum(step, {hold})"]
    line = f"return {_scaled(scale, writer.part(tree, _Range()).text)}"
    if len(line) > _WIDTH - 8 and isinstance(tree, ast.IfExp):
        writer = _Writer(words, last)
        lines = [*writer.in_turn(tree, _Range()), f"return {_scaled(scale, 'x')}"]
    else:
        lines = [line]
    whole = (part for line in (*held, *lines) for part in _folded(narrowed(line)))
    return Body(tuple(whole), tuple(map(narrowed, writer.tables)))


def _scaled(scale: str, text: str) -> str:
    if scale in ("1", "1.0"):
        return text
    node = ast.parse(text, mode="eval").body
    if isinstance(node, ast.Constant) and node.value == 1:
        return scale
    return ast.unparse(ast.parse(f"{scale} * ({text})", mode="eval"))


def _folded(line: str) -> list[str]:
    """Return a line of at most the width, or the same in parentheses over several."""
    if len(line) <= _WIDTH - 8:
        return [line]
    head, word, rest = (
        ("return", " ", line.removeprefix("return ")) if line.startswith("return ") else line.partition(" = ")
    )
    wrapped = textwrap.wrap(rest, _WIDTH - 12, break_long_words=False, break_on_hyphens=False)
    return [f"{head}{word}(", *(f"    {part}" for part in wrapped), ")"]


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of source: its ``text``, and its kind: "const" (a Python number), "whole", "real" or "condition"."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class _Range:
    """The steps on which a branch is taken: from ``low`` to ``high``, or those of ``only``, a text that replaces step."""

    low: int = 0
    high: int | None = None
    only: str | None = None
    held: bool = False

    def of(self, words: Words, moved: int, most: int | None = None) -> str:
        """Return the text of step - ``moved``, at most ``most``, held within the range where that is asked for."""
        step = self.only if self.held and self.only else "step"
        text = step if moved == 0 else f"{step} {'-' if moved > 0 else '+'} {abs(moved)}"
        low = self.low - moved if self.held and self.low > 0 else None
        high = self.high - moved if self.held and self.high is not None else None
        high = most if high is None or (most is not None and most < high) else high
        high = None if high is None or high >= WIDEST else high  # no step of 32 bits comes there
        if low is not None and high is not None:
            return f"{words.prefix}clip({text}, {low}, {high})"
        if low is not None:
            return f"{words.prefix}maximum({text}, {low})"
        return text if high is None else f"{words.prefix}minimum({text}, {high})"


class _Writer:
    """Writes the parts of an expression; keeps the long lists it meets."""

    def __init__(self, words: Words, last: int) -> None:
        self.words, self.last, self.tables = words, last, list[str]()

    def part(self, node: ast.expr, where: _Range) -> _Part:
        where = replace(where, held=where.held or (where != _Range() and _can_fail(node)))
        local = _local(node)
        if local is not None:
            text = where.of(self.words, *local)
            return _Part(text if text.endswith(")") or text == "step" else f"({text})", "whole")
        match node:
            case ast.Constant():
                return _Part(repr(node.value), "const")
            case ast.Name(id="pi"):
                return _Part("pi", "const")
            case ast.UnaryOp():
                return self._unary(node, where)
            case ast.BinOp():
                return self._binary(node, where)
            case ast.Compare() | ast.BoolOp():
                return self._condition(node, where)
            case ast.IfExp(test=test):
                yes, no = self._branches(node, where)
                return self._paired("where", self.part(test, replace(where, held=False)), yes, no)
            case ast.Call(func=ast.Name(id=name), args=args):
                return self._call(name, [self.part(arg, where) for arg in args], args)
            case ast.Subscript(value=ast.List(elts=items), slice=index):
                return self._looked_up([ast.literal_eval(ast.unparse(item)) for item in items], self.part(index, where))
        raise TypeError(f"{ast.unparse(node)} is not part of an expression of step.")

    def in_turn(self, node: ast.expr, where: _Range) -> list[str]:
        """Return the lines that set x to each piece of a choice in turn, from its first step on."""
        pieces: list[tuple[int, ast.expr, _Range]] = []

        def spread(node: ast.expr, where: _Range) -> None:
            at = edge(node.test) if isinstance(node, ast.IfExp) else None
            if not isinstance(node, ast.IfExp) or at is None:
                pieces.append((where.low, node, where))
                return
            before, after = self._ranges(node, where)
            first, then = (node.body, node.orelse) if at[1] else (node.orelse, node.body)
            spread(first, before if at[1] else after)
            spread(then, after if at[1] else before)

        spread(node, where)
        parts = [(low, self.part(piece, inside)) for low, piece, inside in pieces]
        if any(part.kind == "real" for _, part in parts):
            parts = [(low, self._real(part)) for low, part in parts]
        lines = [f"x = {_bare(parts[0][1].text)}"]
        for low, part in parts[1:]:
            line = f"x = {self.words.prefix}where(step < {low}, x, {_bare(part.text)})"
            if len(line) <= _WIDTH - 8:
                lines.append(line)
            else:
                lines += [f"y = {_bare(part.text)}", f"x = {self.words.prefix}where(step < {low}, x, y)"]
        return lines

    def _ranges(self, node: ast.IfExp, where: _Range) -> tuple[_Range, _Range]:
        """Return the steps on which each side of a choice is taken."""
        at = edge(node.test)
        if at is not None:
            k, below = at
            before = replace(where, high=k - 1 if where.high is None else min(k - 1, where.high), held=False)
            after = replace(where, low=max(k, where.low), held=False)
            return (before, after) if below else (after, before)
        test = self.part(node.test, replace(where, held=False)).text
        taken = [self._taken(node.test, holds, where) for holds in (True, False)]
        step = where.only or "step"
        texts = [f"({test}, {step}, {taken[0]})", f"({test}, {taken[1]}, {step})"]
        yes, no = (
            replace(where, only=f"{self.words.prefix}where{text}", held=False) if found is not None else where
            for text, found in zip(texts, taken, strict=True)
        )
        return yes, no

    def _branches(self, node: ast.IfExp, where: _Range) -> tuple[_Part, _Part]:
        yes, no = self._ranges(node, where)
        return self.part(node.body, yes), self.part(node.orelse, no)

    def _taken(self, test: ast.expr, holds: bool, where: _Range) -> int | None:
        """Return a step of the range at which the condition holds, or does not."""
        at = steps_to_try(self.last)
        at = at[(at >= where.low) & (at <= (self.last if where.high is None else where.high))]
        try:
            found = np.flatnonzero((Formula(f"1.0 if {ast.unparse(test)} else 0.0")(at) == 1.0) == holds)
        except DwindleError:
            return None
        return int(at[found[0]]) if len(found) else None

    def _unary(self, node: ast.UnaryOp, where: _Range) -> _Part:
        inner = self.part(node.operand, where)
        if isinstance(node.op, ast.Not):
            return _Part(f"{self.words.prefix}logical_not({inner.text})", "condition")
        return _Part(f"(-{inner.text})" if isinstance(node.op, ast.USub) else inner.text, inner.kind)

    def _binary(self, node: ast.BinOp, where: _Range) -> _Part:
        left, right = self.part(node.left, where), self.part(node.right, where)
        kinds = {left.kind, right.kind}
        if kinds == {"const"}:
            return _Part(f"({ast.unparse(node)})", "const")
        if isinstance(node.op, ast.Pow):
            return self._power(node, left, right)
        stays = kinds <= {"whole", "const"} and is_whole(node)
        large = isinstance(node.op, ast.Mult) and kinds == {"whole"} and not self._fits(node)
        if isinstance(node.op, ast.Div) or not stays or large:
            left, right = self._real(left, forced=large), self._real(right)
        sign = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%"}[
            type(node.op)
        ]
        return _Part(f"({left.text} {sign} {right.text})", "whole" if stays and not large else "real")

    def _fits(self, node: ast.expr) -> bool:
        """Return whether a product of whole numbers stays within 32 bits on the run."""
        try:
            return bool(Formula(f"abs(1.0 * ({ast.unparse(node)}))")(self.last) < 2**31)
        except DwindleError:
            return True

    def _power(self, node: ast.BinOp, base: _Part, exponent: _Part) -> _Part:
        if base.kind == "const":
            number = Formula(ast.unparse(node.left))(0)
            exponent = self._real(exponent)
            if 0.8 < number < 1.25 and number != 1.0:  # in float32 the power keeps the rounding of its base, n times
                return _Part(f"{self.words.prefix}exp(log({_bare(base.text)}) * {exponent.text})", "real")
            return _Part(f"({base.text} ** {exponent.text})", "real")
        power = (
            ast.literal_eval(ast.unparse(node.right)) if exponent.kind == "const" and not _named(node.right) else None
        )
        base = self._real(base, forced=isinstance(power, int))
        if base.kind == "real" and not (isinstance(power, int) and power >= 0) and _may_dip(node.left):
            base = _Part(f"{self.words.prefix}maximum({_bare(base.text)}, 0)", "real")
        return _Part(f"({base.text} ** {self._real(exponent).text})", "real")

    def _condition(self, node: ast.Compare | ast.BoolOp, where: _Range) -> _Part:
        if isinstance(node, ast.BoolOp):
            name, parts = ("and" if isinstance(node.op, ast.And) else "or"), [self.part(v, where) for v in node.values]
        else:
            sides = [node.left, *node.comparators]
            parts = [self._compared(a, op, b, where) for a, op, b in zip(sides, node.ops, sides[1:], strict=False)]
            name = "and"
        text = parts[0].text
        for part in parts[1:]:
            text = f"{self.words.prefix}logical_{name}({text}, {part.text})"
        return _Part(text, "condition")

    def _compared(self, a: ast.expr, op: ast.cmpop, b: ast.expr, where: _Range) -> _Part:
        left, right = self.part(a, where), self.part(b, where)
        if not (is_whole(a) and is_whole(b)):
            left, right = self._real(left), self._real(right)
        sign = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}[type(op)]
        return _Part(f"{_bare(left.text)} {sign} {_bare(right.text)}", "condition")

    def _call(self, name: str, parts: Sequence[_Part], nodes: Sequence[ast.expr]) -> _Part:
        if name in _PAIRED:
            if all(part.kind == "const" for part in parts):
                return _Part(f"{name}({', '.join(_bare(part.text) for part in parts)})", "const")
            whole = parts[0]
            for part in parts[1:]:
                whole = self._paired(_PAIRED[name], None, whole, part)
            return whole
        part = parts[0]
        if name == "floor":
            return part if part.kind != "real" else _Part(self.words.floor(_bare(part.text)), "whole")
        if part.kind == "const":
            return _Part(f"{name}({_bare(part.text)})", "const")
        if name == "abs":
            return _Part(f"{self.words.prefix}abs({_bare(part.text)})", part.kind)
        part = self._real(part)
        if name == "sqrt" and _may_dip(nodes[0]):
            part = _Part(f"{self.words.prefix}maximum({_bare(part.text)}, 0)", "real")
        return _Part(f"{self.words.prefix}{name}({_bare(part.text)})", "real")

    def _paired(self, name: str, test: _Part | None, a: _Part, b: _Part) -> _Part:
        wholes = [part.kind == "whole" or (part.kind == "const" and "." not in part.text) for part in (a, b)]
        kind = "whole" if all(wholes) else "real"
        if kind == "real":
            a, b = self._real(a), self._real(b)
        args = [_bare(part.text) for part in (test, a, b) if part is not None]
        return _Part(f"{self.words.prefix}{name}({', '.join(args)})", kind)

    def _looked_up(self, values: Sequence[float], index: _Part) -> _Part:
        listed = [repr(float(value)) for value in values]
        text = f"[{', '.join(listed)}]"
        if len(values) > _LONG_LIST:
            name = f"TABLE_{len(self.tables) + 1}" if self.tables else "TABLE"
            rows = textwrap.wrap(", ".join(listed), _WIDTH - 4, break_long_words=False, break_on_hyphens=False)
            self.tables.append("\n".join([f"{name} = [", *(f"    {row}" for row in rows), "]"]))
            text = name
        return _Part(f"{self.words.array}({text})[{_bare(index.text)}]", "real")

    def _real(self, part: _Part, forced: bool = False) -> _Part:
        """Return a part as a fractional number; ``forced`` also where the library would do so by itself in a sum."""
        if part.kind != "whole":
            return part
        if self.words.real is not None:
            return _Part(self.words.real(_bare(part.text)), "real")
        return _Part(f"(1.0 * {part.text})", "real") if forced else replace(part, kind="real")


def _bare(text: str) -> str:
    """Return text without the parentheses around all of it."""
    return ast.unparse(ast.parse(text, mode="eval").body)


def _named(node: ast.expr) -> bool:
    return any(isinstance(part, ast.Name | ast.Call) for part in ast.walk(node))


def _local(node: ast.expr) -> tuple[int, int | None] | None:
    """Return (c, most) of a step - c, or of min(step - c, most); None for what is neither."""
    match node:
        case ast.Name(id="step"):
            return 0, None
        case ast.BinOp(left=ast.Name(id="step"), op=ast.Sub(), right=ast.Constant(value=int() as moved)):
            return moved, None
        case ast.BinOp(left=ast.Name(id="step"), op=ast.Add(), right=ast.Constant(value=int() as moved)):
            return -moved, None
        case ast.Call(func=ast.Name(id="min"), args=[inner, ast.Constant(value=int() as most)]):
            local = _local(inner)
            return (local[0], most) if local is not None and local[1] is None else None
    return None


def _can_fail(node: ast.expr) -> bool:
    """Return whether ``node``, not counting the sides of a choice within it, could raise or be infinite outside its range."""
    match node:
        case ast.IfExp(test=test):
            return _can_fail(test)
        case ast.Subscript():
            return True
        case ast.Call(func=ast.Name(id="sqrt" | "log" | "exp")) if depends(node):
            return True
        case ast.BinOp(op=ast.Div() | ast.FloorDiv() | ast.Mod() | ast.Pow(), right=right) if depends(right):
            return True
        case ast.BinOp(left=left, op=ast.Pow(), right=right) if depends(left):
            power = None if _named(right) else ast.literal_eval(ast.unparse(right))
            if not (isinstance(power, int) and power >= 0):
                return True
    return any(_can_fail(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))


def _may_dip(node: ast.expr) -> bool:
    """Return whether rounding could take ``node``, which is never negative, below 0: a difference of fractions."""
    match node:
        case ast.BinOp(op=ast.Sub() | ast.Add()):
            return not is_whole(node)
        case ast.Call(func=ast.Name(id="max")):
            return False
        case ast.IfExp(body=yes, orelse=no):
            return _may_dip(yes) or _may_dip(no)
    return any(_may_dip(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr))
