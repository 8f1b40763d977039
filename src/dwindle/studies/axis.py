"""One axis of a space: numbers, ranges of numbers or names, laid out on the unit interval."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from dwindle.errors import InvalidValueError, ParseError, count, flag, real, shown
from dwindle.units import UNITS, short

__all__ = ["RANGE", "Axis", "Range", "Value", "numbers"]

Value = float | int | str
"""A coordinate of a point: a number, or a name."""

_NUMBER = r"-?(?:[0-9]+(?:_[0-9]+)*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_UNIT = "|".join(f"{unit}\\b" if unit.isalpha() else unit for unit in sorted(UNITS, key=len, reverse=True))
RANGE = re.compile(
    rf"(?<![\w.])(?P<low>{_NUMBER})\s*(?P<unit>{_UNIT})?\s*\.\.(?!\.)\s*(?P<high>{_NUMBER})(?:\s*(?P<units>{_UNIT}))?"
    r"(?:\s+(?P<scale>log|linear)\b)?"
)
"""Two numbers with two dots between them: 1e-4..1, 2ep..10ep, 0..20%, 2..10 log."""

_WEIGHT = 4.0  # how many single values a range counts for beside them: λ = 0 gets a fifth of "0 1e-4..1"
MOST_POINTS = 10**6  # of a grid or a draw
_EDGE = 1e-12  # nearer to the end of a range than this is the end
_STEPS = 3  # decimals of a range: a thousand different values or more, and none with seventeen digits


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``, both included: evenly, or ``log``, evenly in the logarithm; or only ``whole`` ones.

    At u in [0, 1]: low + u·(high - low), or low·(high/low)^u, rounded to a thousandth of the way (log: to four digits).
    A whole one takes the interval of u between n and n + 1.

    >>> Range(1e-4, 1.0, log=True).at(0.5), Range(1, 6, whole=True).at(0.5)
    (0.01, 4)
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        flag("log", self.log)
        if flag("whole", self.whole):
            least = -(10**18)
            object.__setattr__(self, "low", count("a range's low end", self.low, low=least))
            object.__setattr__(self, "high", count("a range's high end", self.high, low=least))
        else:
            object.__setattr__(self, "low", real("a range's low end", self.low))
            object.__setattr__(self, "high", real("a range's high end", self.high))
        if not self.low < self.high or not math.isfinite(self.high - self.low):
            raise InvalidValueError(
                f"a range goes from a number to a larger one; got {short(self.low)}..{short(self.high)}."
            )
        if self.log and self.low <= 0:
            raise InvalidValueError(
                f"a range even in the logarithm begins above 0; got {short(self.low)}..{short(self.high)}. "
                f"Begin above 0 (a 0 may stand beside it: '0 1e-4..1'), or write '{self.text(log=True)} linear'."
            )

    def at(self, u: float) -> float:
        """Return the number at ``u``, 0 the low end and 1 the high one."""
        u = real("u", u)
        if u < _EDGE or u > 1.0 - _EDGE:  # the ends as they were given, whatever digits they have
            return self.low if u < 0.5 else self.high
        top = self.high + 1 if self.whole else self.high
        value = math.exp(math.log(self.low) + u * self._logs(top)) if self.log else self.low + u * (top - self.low)
        if self.whole:
            return min(max(math.floor(value), self.low), self.high)
        value = min(max(self._rounded(value), self.low), self.high)
        place = self._share(
            value
        )  # what rounds to within a hair of an end is that end, or `unit` could not tell them apart
        return self.low if place < _EDGE else self.high if place > 1.0 - _EDGE else value

    def unit(self, value: float) -> float:
        """Return the u with ``at(u) == value``; of a whole one the middle of its interval."""
        value = real("value", value)
        if self.whole:
            low, high = self._share(value), self._share(value + 1)
            return (low + high) / 2.0
        return self._share(value)

    def grid(self, points: int) -> tuple[float, ...]:
        """Return ``points`` numbers from end to end (fewer where so many whole ones are not there); of one, the middle."""
        points = count("points", points, high=MOST_POINTS)
        if self.whole and self.high - self.low < points:
            return tuple(range(int(self.low), int(self.high) + 1))
        return tuple(dict.fromkeys(self.at(i / (points - 1) if points > 1 else 0.5) for i in range(points)))

    def text(self, number: Callable[[float], str] = short, *, log: bool = False) -> str:
        """Return the range as it is written where ``log`` goes without saying, each end as ``number`` writes it."""
        scale = "" if self.log == log else " log" if self.log else " linear"
        return f"{number(self.low)}..{number(self.high)}{scale}"

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int | float)
            and self.low <= value <= self.high
            and (not self.whole or value == int(value))
        )

    def _logs(self, top: float) -> float:
        """Return ln(top/low), also where the ratio is beyond the floats."""
        return math.log(top) - math.log(self.low)

    def _share(self, value: float) -> float:
        top = self.high + 1 if self.whole else self.high
        if self.log:
            return (math.log(value) - math.log(self.low)) / self._logs(top)
        return (value - self.low) / (top - self.low)

    def _rounded(self, value: float) -> float:
        if self.log:
            digits = _STEPS + max(0, -math.floor(math.log10(self._logs(self.high))))
            return float(f"{value:.{digits}e}")
        return round(value, _STEPS - math.floor(math.log10(self.high - self.low)))


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of one coordinate: numbers and ranges of them, or names.

    On the unit interval numbers lie in their order, each with the same width and a range with that of four; names lie in
    the order given. ``owner`` is the schedule family that a parameter belongs to.

    >>> lam = Axis("lam", (0.0, Range(1e-4, 1.0, log=True)))
    >>> lam.at(0.1), lam.at(0.6), round(lam.unit(0.01), 9)
    (0.0, 0.01, 0.6)
    """

    name: str
    items: tuple[Value | Range, ...]
    owner: str | None = None

    def __post_init__(self) -> None:
        ranges = [item for item in self.items if isinstance(item, Range)]
        for one in ranges:
            for other in self.items:
                if other is not one and (_low(other) in one or (isinstance(other, Range) and one.low in other)):
                    raise InvalidValueError(
                        f"{self.name}: {_text(other)} lies in the range {_text(one)} already; leave it out."
                    )

    @property
    def ordered(self) -> bool:
        """Whether neighbours are alike: numbers are, names are not."""
        return not isinstance(self.items[0], str)

    @property
    def finite(self) -> bool:
        """Whether the axis is a list of values."""
        return not any(isinstance(item, Range) for item in self.items)

    def values(self, points: int) -> tuple[Value, ...]:
        """Return the values as given, ``points`` of them for each range."""
        found: list[Value] = []
        for item in self.items:
            found += item.grid(points) if isinstance(item, Range) else (item,)
        return tuple(found)

    def at(self, u: float) -> Value:
        """Return the value at ``u`` in [0, 1]."""
        for item, start, end in self._layout():
            if u < end:
                return item.at((u - start) / (end - start)) if isinstance(item, Range) else item
        item = self._sorted()[-1]
        return item.high if isinstance(item, Range) else item

    def unit(self, value: Value) -> float:
        """Return the place of ``value``, with ``at(unit(value)) == value``; raise InvalidValueError if it is not here."""
        for item, start, end in self._layout():
            if isinstance(item, Range) and value in item:
                return start + min(item.unit(float(value)), 1.0 - _EDGE / 10) * (end - start)  # 1 is the next item's
            if item == value:
                return (start + end) / 2.0
        raise InvalidValueError(f"{self.name} {shown(value)} is not in the space; its values are {self}.")

    def __contains__(self, value: object) -> bool:
        return any(value in item if isinstance(item, Range) else value == item for item in self.items)

    def __str__(self) -> str:
        return ", ".join(map(_text, self.items))

    def _sorted(self) -> Sequence[Value | Range]:
        return sorted(self.items, key=_low) if self.ordered else self.items

    def _layout(self) -> Iterator[tuple[Value | Range, float, float]]:
        """Give each item with the ends of its interval."""
        weights = [_WEIGHT if isinstance(item, Range) else 1.0 for item in self._sorted()]
        total, start = sum(weights), 0.0
        for item, weight in zip(self._sorted(), weights, strict=True):
            yield item, start / total, (start + weight) / total
            start += weight


def numbers(word: str, values: Iterable[object], *, whole: bool = False) -> tuple[float | Range, ...]:
    """Return numbers and ranges from numbers, Ranges and text such as "0 1e-4..1"; ranges are log unless they say linear.

    Raises ParseError at the place of what is neither.

    >>> numbers("lam", ["0 1e-4..1"])
    (0.0, Range(low=0.0001, high=1.0, log=True, whole=False))
    """
    found: list[float | Range] = []
    for value in values:
        if isinstance(value, str):
            found += _read(word, value, whole)
        else:
            found.append(value)  # type: ignore[arg-type]  # the caller checks numbers
    return tuple(found)


def _read(word: str, text: str, whole: bool) -> Iterator[float | Range]:
    for match in re.finditer(rf"(?P<range>{RANGE.pattern})|[^\s,]+", text):
        try:
            if match["range"] is None:
                yield float(match[0])
                continue
            if match["unit"] or match["units"]:
                raise ValueError
        except ValueError:
            raise ParseError(
                f"the values of {word} must be numbers, or ranges such as 1e-4..1; got {shown(match[0])} "
                f"(at character {match.start() + 1} of {shown(text)})."
            ) from None
        try:
            yield Range(float(match["low"]), float(match["high"]), log=match["scale"] != "linear", whole=whole)
        except InvalidValueError as error:
            raise InvalidValueError(f"{word}: {error}") from error


def _low(item: Value | Range) -> float:
    return item.low if isinstance(item, Range) else item if isinstance(item, int | float) else math.nan


def _text(item: Value | Range) -> str:
    return item.text(log=item.log) if isinstance(item, Range) else item if isinstance(item, str) else short(item)
