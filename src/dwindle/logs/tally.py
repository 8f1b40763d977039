"""What a reader met and could not use: counted, with the first places, and said in words at the end."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from dwindle.errors import shown

__all__ = ["Tally"]

_FIRST = 3  # places that are named
_NAMED = 8  # columns that are named


@dataclass
class _Count:
    number: int = 0
    places: list[int] = field(default_factory=list)
    sample: str = ""


class Tally:
    """Counts of what was met, by what is said of it; ``word`` is what places are: lines, or records.

    >>> tally = Tally()
    >>> for line in (3, 8, 9, 12):
    ...     tally.add("the header comes again and was left out", line)
    >>> tally.notes()
    ('the header comes again and was left out: lines 3, 8, 9 and 1 more',)
    """

    def __init__(self, word: str = "line") -> None:
        self.word = word
        self._met: dict[tuple[str, str], _Count] = {}
        self._text: dict[str, _Count] = {}
        self._said: dict[str, None] = {}

    def say(self, note: str) -> None:
        """Add a note as it is, once."""
        self._said[note] = None

    def add(self, what: str, place: int, number: int = 1, *, column: str = "", sample: str = "") -> None:
        """Count ``number`` of ``what`` from ``place`` on; of a column, if it is about one."""
        _counted(self._met.setdefault((what, column), _Count()), place, number, sample)

    def text(self, column: str, place: int, number: int = 1, sample: str = "") -> None:
        """Count cells of a column that hold no number."""
        _counted(self._text.setdefault(column, _Count()), place, number, sample)

    def notes(self, columns: Container[str] | None = None, numeric: Container[str] = ()) -> tuple[str, ...]:
        """Return the notes: those on ``columns``, of which ``numeric`` hold numbers, and those on none; None for all."""
        found = list(self._said)
        for (what, column), count in self._met.items():
            if not column or columns is None or column in columns:
                found.append(what + _sample(count) + ": " + self._places(count))
        bare: list[str] = []
        for column, count in self._text.items():
            if columns is not None and column not in columns:
                continue
            if column in numeric:
                found.append(
                    f"cells of {shown(column)} that hold no number were left out{_sample(count)}: {self._places(count)}"
                )
            else:
                bare.append(column)
        if bare:
            listed = ", ".join(shown(name) for name in bare[:_NAMED])
            more = f" and {len(bare) - _NAMED} more" if len(bare) > _NAMED else ""
            found.append(f"columns without a number were left out: {listed}{more}")
        return tuple(found)

    def _places(self, count: _Count) -> str:
        several = "s" if count.number > 1 else ""
        more = f" and {count.number - len(count.places):,} more" if count.number > len(count.places) else ""
        return f"{self.word}{several} {', '.join(map(str, count.places))}{more}"


def _counted(count: _Count, place: int, number: int, sample: str) -> None:
    """Add to a count; of several at once only the first place is known."""
    if len(count.places) < _FIRST and (not count.places or number == 1):
        count.places.append(place)
    count.sample = count.sample or sample
    count.number += number


def _sample(count: _Count) -> str:
    if not count.sample:
        return ""
    comma = "; write a point for decimals, nothing between thousands" if _is_decimal_comma(count.sample) else ""
    return f", such as {shown(count.sample)}{comma}"


def _is_decimal_comma(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").strip("+-").isdigit() and "," in cell
