"""The reader of a text: its tokens, the place in them, and the values that are one token or two."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

from dwindle.errors import DwindleError, ParseError, UnknownNameError, shown, suggestion
from dwindle.units import ROUNDINGS, UNITS, Time

__all__ = ["LONGEST", "Reader"]

LONGEST = 20_000
"""Characters of a text, and bytes of a file."""

T = TypeVar("T")

_TOKEN = re.compile(
    r"""\s+
    | (?P<string> "(?:[^"\\]|\\.)*"? )
    | (?P<word>   1-sqrt\b | 1-square\b | [A-Za-z][A-Za-z0-9_-]* )
    | (?P<number> -?(?:[0-9][0-9_]*(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
    | (?P<sign>   . )""",
    re.VERBOSE | re.DOTALL,
)


class Reader:
    """The tokens of a text and the place in them; each method reads one thing and moves on."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise ParseError(f"a plan is read from text; got {shown(text)}.")
        if len(text) > LONGEST:
            raise ParseError(f"a plan has at most {LONGEST} characters; got {len(text)}. Is this the right text?")
        self.text = text
        found = (match for match in _TOKEN.finditer(text) if match.lastgroup)
        self.tokens = [(str(match.lastgroup), match.group(), match.start()) for match in found]
        self.tokens.append(("end", "", len(text)))
        self.at = 0
        self.parentheses = 0
        self.height = 0  # of the schedule just read: how deep its values nest

    # --- tokens

    @property
    def kind(self) -> str:
        return self.tokens[self.at][0]

    @property
    def ended(self) -> bool:
        return self.kind == "end"

    @property
    def word(self) -> str:
        """The word here, spelled as in the tables; "" if there is none."""
        return self.tokens[self.at][1].lower().replace("_", "-") if self.kind == "word" else ""

    @property
    def shown(self) -> str:
        return "the end of the text" if self.ended else shown(self.tokens[self.at][1])

    def took(self, *choices: str) -> bool:
        """Step over the token here if it is one of these words or signs; return whether it was."""
        here = (self.word or self.tokens[self.at][1]) in choices and self.kind in ("word", "sign")
        self.at += here
        return here

    def expect(self, choice: str, why: str) -> None:
        if not self.took(choice):
            self.fail(f"{why}; got {self.shown}")

    def fail(self, said: str, at: int | None = None, error: type[DwindleError] = ParseError) -> NoReturn:
        start = self.tokens[self.at if at is None else at][2]
        here = f"at character {start + 1}: {shown(self.text[start : start + 40])}"
        raise error(f"{said} ({here if start < len(self.text) else 'at the end of the text'})")

    def unknown(self, said: str, options: Iterable[str]) -> NoReturn:
        self.fail(f"{self.shown} {said}; {suggestion(self.word, filter(None, options))}", error=UnknownNameError)

    def build(self, start: int, make: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Return make(...); what it refuses is told with the place."""
        try:
            return make(*args, **kwargs)
        except DwindleError as error:
            self.fail(str(error), start, type(error))

    # --- values

    def number(self, after: str = "") -> float:
        if self.kind != "number":
            self.fail(f"a number was expected{after and f' after {after}'}; got {self.shown}")
        text = self.tokens[self.at][1]
        try:
            value = int(text) if text.lstrip("-").isdigit() else float(text)
            finite = math.isfinite(value)
        except (ValueError, OverflowError):  # 1__0, or more digits than an int or a float takes
            finite = False
        if not finite:
            self.fail(f"{shown(text)} is not a finite number")
        self.at += 1
        return value

    def factor(self) -> float:
        """A number, or a percentage."""
        value = self.number()
        return value / 100 if self.took("%") else value

    def level(self) -> float:
        """A factor; a bare whole number from 2 on is refused: most likely its % was forgotten."""
        start, value = self.at, self.factor()
        if value >= 2 and self.at == start + 1 and self.tokens[start][1].replace("_", "").isdigit():
            whole = int(value)
            self.fail(f"{whole} means {whole * 100}%; write {whole}% or {whole * 100}%", start)
        return value

    def time(self) -> Any:
        """A Time if a unit follows the number, else the number, which counts steps."""
        start = self.at
        value = self.number()
        unit = "%" if self.took("%") else self.word
        if unit in UNITS:
            self.at += unit != "%"
            rounding = self.word if self.word in ROUNDINGS[1:] else "nearest"
            self.at += rounding != "nearest"
            return self.build(start, Time, value, unit, rounding)
        if unit and self.tokens[self.at][2] == self.tokens[start][2] + len(self.tokens[start][1]):
            self.unknown("is not a unit", ["st", "ep", "%", "ex", "tok"])
        return value

    def steps(self) -> Any:
        start = self.at
        value = self.time()
        if isinstance(value, Time) and value.unit != "st":
            self.fail(f"a table counts steps; got {value}. Write for instance 'every 5st'", start)
        return value.value if isinstance(value, Time) else value

    def several(self, read: Callable[[Reader], T]) -> tuple[T, ...]:
        self.expect("[", "a list such as [1 0.5 0.1] was expected")
        values: list[T] = []
        while not self.took("]"):
            values.append(read(self))
            self.took(",")
        return tuple(values)

    def times(self) -> tuple[Any, ...]:
        return self.several(Reader.time)

    def factors(self) -> tuple[float, ...]:
        return self.several(Reader.factor)

    def name(self) -> str:
        if self.kind != "word":
            self.fail(f"a word was expected; got {self.shown}")
        self.at += 1
        return self.tokens[self.at - 1][1]

    def yes(self) -> bool:
        return True

    def string(self) -> str:
        if self.kind != "string":
            self.fail(f"text in double quotes was expected; got {self.shown}")
        try:
            value = str(json.loads(self.tokens[self.at][1]))
        except ValueError:
            self.fail("this text in quotes is not closed, or has an escape that JSON does not know")
        self.at += 1
        return value
