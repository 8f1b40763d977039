"""A plan as text: the one-line form, TOML and JSON, and their files. Read by a small recursive descent, never by eval.

    plan     = section {"|" section}         peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1
    section  = ("peak" | "lr") number | schedule | decay | "mask" rules | "layer-decay" number
             | "group" "name" "glob" "times" number
    schedule = sum ["for" time] {"," sum ["for" time]}            one after the other
    sum      = product {"+" product}         product = [number "*"] wrapped {"*" wrapped}
    wrapped  = (shape | "(" schedule ")") {"shift" | "stretch" | "clip" | "repeat" | "mirror" ...}
    shape    = word {option value}           the words and options of every shape are in ``_SHAPES``
    decay    = convention (number | "(" schedule ")") ["cautious"] ["overshoot"]
    rules    = rule {"," rule}               rule = subject "pattern" ("decays" | "does not") | "standard"

Sections come in any order, each at most once but ``group``. TOML and JSON carry the same words: a formula has one home.
"""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from dwindle.decay import CONVENTIONS, Decay
from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnknownNameError, shown, suggestion
from dwindle.mask import Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)
from dwindle.units import TIME_UNITS, Time, short

__all__ = [
    "FORMAT",
    "from_json",
    "from_toml",
    "load",
    "parse",
    "parse_decay",
    "parse_schedule",
    "save",
    "to_json",
    "to_toml",
]

FORMAT = "dwindle-plan/1"
_LONGEST = 20_000  # characters of text, and bytes of a file
_DEEPEST = 50

_TOKEN = re.compile(
    r"""\s+
    | (?P<string> "(?:[^"\\]|\\.)*"? )
    | (?P<word>   1-sqrt\b | 1-square\b | [A-Za-z][A-Za-z0-9_-]* )
    | (?P<number> -?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
    | (?P<sign>   . )""",
    re.VERBOSE | re.DOTALL,
)


def parse(text: str) -> Plan:
    """Return the plan written in one line; the inverse of ``str(plan)``.

    Raises ParseError, UnknownNameError or InvalidValueError, each naming the place.

    >>> parse("lr 3e-4 | warmup over 2%, cosine to 0.1 | decoupled 0.1") == parse("peak 3e-4 | decoupled 1e-1 | warmup 2%, cosine to 10%")
    True
    """
    reader = _Reader(text)
    found: dict[str, Any] = {}
    groups: list[Group] = []
    while True:
        start = reader.at
        name, value = reader.section()
        if name == "groups":
            groups.append(value)
        elif name in found:
            reader.fail(f"{name} is given twice; keep one", start)
        else:
            found[name] = value
        if reader.ended:
            break
        reader.expect("|", "sections are separated by |")
    if "peak" not in found:
        raise ParseError("a plan needs its peak learning rate; write 'peak 3e-4 | ...'.")
    return Plan(**found, groups=tuple(groups))


def parse_schedule(text: str) -> Schedule:
    """Return the schedule written in ``text``; the inverse of ``str(schedule)``.

    >>> print(parse_schedule("halve every 5 epochs"))
    step by 0.5 every 5ep
    """
    return _whole(text, _Reader.schedule)


def parse_decay(text: str) -> Decay:
    """Return the decay written in ``text``; the inverse of ``str(decay)``.

    >>> print(parse_decay("independent (linear to 50%) cautious"))
    independent (linear to 50%) cautious
    """
    return _whole(text, _Reader.decay)


def _whole[T](text: str, read: Callable[[_Reader], T]) -> T:
    reader = _Reader(text)
    value = read(reader)
    if not reader.ended:
        reader.fail(f"{reader.shown} was not expected here")
    return value


@dataclass(frozen=True, slots=True)
class _Form:
    """How a word is built: ``options`` maps a word ("" for what follows at once) to (field, how its value is read)."""

    make: Callable[..., Schedule]
    options: Mapping[str, tuple[str, Callable[[_Reader], Any]]]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


class _Reader:
    """The tokens of a text and the place in them; each method reads one thing and moves on."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ParseError(f"a plan is read from text; got {shown(text)}.")
        if len(text) > _LONGEST:
            raise ParseError(f"a plan has at most {_LONGEST} characters; got {len(text)}. Is this the right file?")
        self.text = text
        found = (m for m in _TOKEN.finditer(text) if m.lastgroup)
        self.tokens = [(str(m.lastgroup), m.group(), m.start()) for m in found]
        self.tokens.append(("end", "", len(text)))
        self.at = 0
        self.parentheses = 0
        self.height = 0  # of the schedule just read: how deep it nests

    # --- tokens

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def ended(self) -> bool:
        return self.kind == "end"

    @property
    def word(self) -> str:
        """The word here, in the spelling of the tables; "" if there is none."""
        kind, text, _ = self.tokens[self.at]
        return text.lower().replace("_", "-") if kind == "word" else ""

    @property
    def shown(self) -> str:
        return "the end of the text" if self.ended else shown(self.tokens[self.at][1])

    def next(self) -> str:
        text = self.tokens[self.at][1]
        self.at += not self.ended
        return text

    def took(self, *choices: str) -> bool:
        """Step over the token here if it is one of ``choices``; say whether it was."""
        here = (self.word or self.tokens[self.at][1]) in choices and self.kind in ("word", "sign")
        self.at += here
        return here

    def expect(self, sign: str, why: str) -> None:
        if not self.took(sign):
            self.fail(f"{why}; got {self.shown}")

    def fail(self, said: str, at: int | None = None, error: type[DwindleError] = ParseError) -> NoReturn:
        start = self.tokens[self.at if at is None else at][2]
        place = f"at character {start + 1}: {shown(self.text[start : start + 40])}" if start < len(self.text) else "at the end"
        raise error(f"{said} ({place})")

    def unknown(self, said: str, options: list[str]) -> NoReturn:
        self.fail(f"{said}; {suggestion(self.word or self.next(), [o for o in options if o])}", error=UnknownNameError)

    def build[T](self, start: int, make: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Return make(...); what it refuses is told with the place."""
        try:
            return make(*args, **kwargs)
        except DwindleError as error:
            self.fail(str(error).rstrip("."), start, type(error))

    # --- values

    def number(self) -> float:
        if self.kind != "number":
            self.fail(f"a number was expected; got {self.shown}")
        text = self.tokens[self.at][1]
        try:
            value = int(text) if text.lstrip("-").isdigit() else float(text)
            finite = math.isfinite(value)
        except (ValueError, OverflowError):
            value, finite = 0, False
        if not finite:
            self.fail(f"{shown(text)} is not a finite number")
        self.at += 1
        return value

    def factor(self) -> float:
        """A number, or a percentage of the peak."""
        value = self.number()
        return value / 100 if self.took("%") else value

    def time(self) -> Any:
        """A time with its unit; a bare number stays one, and counts steps."""
        start = self.at
        value = self.number()
        if self.word in TIME_UNITS or self.tokens[self.at][1] == "%":
            return self.build(start, Time, value, self.word or "%")  # type: ignore[no-any-return]
        kind, _, begin = self.tokens[self.at]
        if kind == "word" and begin == self.tokens[start][2] + len(self.tokens[start][1]):
            self.unknown(f"{self.shown} is not a unit", ["st", "ep", "%", "ex", "tok"])
        return value
