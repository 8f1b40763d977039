"""A family of schedules: the text of one with ranges in the place of numbers, as in ``step by 0.3..0.7 every 2ep..10ep``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from dwindle.errors import DwindleError, InvalidValueError, ParseError, a_kind, shown
from dwindle.schedule import Schedule
from dwindle.studies.axis import RANGE, Range
from dwindle.text import parse_schedule
from dwindle.text.words import SHAPES, WRAPS
from dwindle.units import UNITS, short

__all__ = ["Family", "as_schedule", "unused"]

_PART = re.compile(rf'"(?:[^"\\]|\\.)*"|(?P<range>{RANGE.pattern})')
_WORD = re.compile(r"1-sqrt\b|1-square\b|[A-Za-z][A-Za-z0-9_-]*")
_COUNTED = ("st", "ex", "tok")  # their parts mean nothing
_MEASURED = ("%", "ep")
_MOST = 8  # ranges of a family; every combination of their ends is tried when it is made


@dataclass(frozen=True, slots=True)
class Family:
    """A schedule's text with ranges: ``pieces`` of text with ``ranges`` between them, each range in its unit.

    A range is linear unless it says ``log``. It takes whole numbers only where the schedule counts: steps, examples,
    tokens. The parameters are named by the words they stand behind.

    >>> family = Family.parse("step by 0.3..0.7 every 2..10ep")
    >>> family.names
    ('step by', 'step every ep')
    >>> print(family.schedule([0.5, 2.5]))
    step by 0.5 every 2.5ep
    """

    pieces: tuple[str, ...]
    ranges: tuple[Range, ...]
    units: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Family:
        """Return the family written in ``text``; the inverse of ``str(family)``.

        Raises ParseError, UnknownNameError or InvalidValueError with the place.
        """
        text = a_kind("text", text, str).strip()
        pieces, ranges, units, written, rest = [], [], [], [], 0
        for match in (m for m in _PART.finditer(text) if m["range"]):
            pieces.append(text[rest : match.start()])
            rest = match.end()
            unit = _unit(text, match)
            ends = match["low"], match["high"]
            whole = unit in _COUNTED and all(end.lstrip("-").replace("_", "").isdigit() for end in ends)
            try:
                ranges.append(Range(float(ends[0]), float(ends[1]), log=match["scale"] == "log", whole=whole))
            except InvalidValueError as error:
                _fail(f"{error}", text, match.start(), InvalidValueError)
            units.append(unit)
            written.append([f"{end}{unit}" for end in ends])
        pieces.append(text[rest:])
        _check_dots(text)
        if len(ranges) > _MOST:
            raise InvalidValueError(f"a family has at most {_MOST} ranges; got {len(ranges)} in {shown(text)}.")
        family = cls(tuple(" ".join(f"|{piece}|".split())[1:-1] for piece in pieces), tuple(ranges), tuple(units))
        return family._checked(text, written)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parameters, each once: the word of the schedule, that of the option, the unit."""
        found: dict[str, None] = {}
        before = ""
        for piece, unit in zip(self.pieces, self.units, strict=False):
            before += piece
            words = [word.lower().replace("_", "-") for word in _WORD.findall(before)]
            shapes = [word for word in words if word in SHAPES or word in WRAPS]
            name = " ".join(filter(None, (*dict.fromkeys([*shapes[-1:], *words[-1:]] or ["factor"]), unit)))
            found[unused(name, found)] = None
        return tuple(found)

    def schedule(self, values: Sequence[float]) -> Schedule:
        """Return the schedule with ``values`` in the place of the ranges, each in the unit of its range."""
        return parse_schedule(self._text(values))

    def __str__(self) -> str:
        return self._filled([one.text(self._writer(i)) for i, one in enumerate(self.ranges)])

    def _text(self, values: Sequence[float]) -> str:
        return self._filled([self._writer(i)(value) for i, value in enumerate(values)])

    def _filled(self, texts: Sequence[str]) -> str:
        return "".join(itertools.chain(*itertools.zip_longest(self.pieces, texts, fillvalue="")))

    def _writer(self, i: int) -> Callable[[float], str]:
        """Return how the numbers of range ``i`` are written: 2.0 where a bare 2 would be a count."""
        whole, unit = self.ranges[i].whole, self.units[i]

        def write(value: float) -> str:
            text = short(int(value) if whole else float(value))
            return f"{text}{'' if whole or unit in _MEASURED or not text.lstrip('-').isdigit() else '.0'}{unit}"

        return write

    def _checked(self, text: str, written: Sequence[Sequence[str]]) -> Family:
        """Return this family with its ranges whole where the schedule counts; the ends, as written, must be schedules."""
        family = self
        for i, one in enumerate(self.ranges):
            if not one.whole and not self.units[i] and one.low == int(one.low) and one.high == int(one.high):
                whole = Range(int(one.low), int(one.high), log=one.log, whole=True)
                counted = Family(self.pieces, (*family.ranges[:i], whole, *family.ranges[i + 1 :]), self.units)
                if not family._reads_at(i, one.low + 0.5) and counted._reads_at(i, whole.low):
                    family = counted
        for ends in itertools.product(*written):
            try:
                parse_schedule(family._filled(ends))
            except DwindleError as error:
                raise type(error)(f"schedule {shown(text)}, as {shown(family._filled(ends))}: {error}") from error
        return family

    def _reads_at(self, i: int, value: float) -> bool:
        try:
            self.schedule([value if k == i else one.low for k, one in enumerate(self.ranges)])
        except DwindleError:
            return False
        return True


def as_schedule(value: object) -> object:
    """Return the Schedule or Family written in a text; what is no text stays as it is."""
    if not isinstance(value, str):
        return value
    if any(match["range"] for match in _PART.finditer(value)):
        return Family.parse(value)
    _check_dots(value)
    return parse_schedule(value)


def unused(name: str, taken: object) -> str:
    """Return ``name``, with a number behind it where it is ``taken``."""
    names = (name if i == 1 else f"{name} {i}" for i in itertools.count(1))
    return next(each for each in names if each not in taken)  # type: ignore[operator]


def _unit(text: str, match: re.Match[str]) -> str:
    """Return the unit of a range, said behind its high end or behind both."""
    low, high = (UNITS.get(match[name] or "", "") for name in ("unit", "units"))
    if low and low != high:
        _fail(f"the ends of {shown(match[0])} have different units; give both the same", text, match.start())
    return high


def _check_dots(text: str) -> None:
    bare = _PART.sub(lambda match: "_" * len(match[0]), text)
    if (at := bare.find("..")) >= 0:
        _fail("a range is two numbers with two dots between them, such as 2ep..10ep or 0..20%", text, at)


def _fail(said: str, text: str, at: int, error: type[DwindleError] = ParseError) -> NoReturn:
    raise error(f"{said.removesuffix('.')} (at character {at + 1}: {shown(text[at : at + 40])})")
