"""JSON objects as rows: one a line, or those of an array; keys of nested objects are joined by ``/``."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from dwindle.logs.block import MOST_COLUMNS, Block, RowBuilder
from dwindle.logs.csv_rows import EMPTY, value_of
from dwindle.logs.names import SPLITS, SUMMARY, is_set_or_counted
from dwindle.logs.opened import Lines
from dwindle.logs.tally import Tally

__all__ = ["JsonRows", "loads"]

_DEEPEST = 32  # levels of objects
_LONGEST = 16  # entries of a list that are columns of their own; longer ones are histograms or pictures
_WIDEST_NAME = 512
_DIGITS = 400  # of a whole number; longer ones are beyond float64
_TELLING = ("phase", "split", "mode", "stage", "subset")
_FAST = msgspec.json.Decoder()
_FITS = 2**1000  # whole numbers below it are floats
_ERRORS = (ValueError, RecursionError)  # msgspec's and json's own are ValueErrors


def _whole(digits: str) -> float | int:
    return float(digits) if len(digits) > _DIGITS else int(digits)


SLOW = json.JSONDecoder(parse_int=_whole)


def loads(data: bytes) -> Any:
    """Return what JSON says, NaN, Infinity and numbers of any length allowed; raise ValueError or RecursionError.

    >>> loads(b'{"loss": NaN}')
    {'loss': nan}
    """
    try:
        return _FAST.decode(data)
    except _ERRORS:
        return SLOW.decode(data.decode("utf-8", "replace"))


class JsonRows:
    """Rows of objects: their ``names`` in the order of their first number."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._names: dict[str, None] = {}
        self._shared: dict[str, bool] = {}
        self._builder = RowBuilder()

    @property
    def names(self) -> list[str]:
        """Return the names by now."""
        return list(self._names)

    def blocks(self, source: Iterator[Lines]) -> Iterator[Block]:
        """Yield the rows of lines of JSON."""
        for piece in source:
            self._lines(piece)
            yield self.block()

    def block(self) -> Block:
        """Return the rows since the last block."""
        builder, self._builder = self._builder, RowBuilder()
        return builder.block(self.names)

    def __len__(self) -> int:
        return len(self._builder.lines)

    def _lines(self, piece: Lines) -> None:
        whole = piece.data.endswith(b"\n")
        rows = piece.data.split(b"\n")
        for line, row in enumerate(rows, piece.first):
            if not row or row.isspace():
                continue
            try:
                found = _FAST.decode(row)
            except _ERRORS:
                try:
                    found = loads(row.strip().strip(b"\xef\xbb\xbf\x1e").removesuffix(b","))
                except _ERRORS:
                    if line == piece.first + len(rows) - 1 and not whole:
                        self.tally.add("not complete and left out; the file may still be written", line)
                    else:
                        self.tally.add("no JSON and left out", line, sample=row[:40].decode("utf-8", "replace"))
                    continue
            if isinstance(found, dict):
                self.row(found, line)
            else:
                self.tally.add("JSON without names, left out", line, sample=row[:40].decode("utf-8", "replace"))

    def row(self, found: Mapping[str, Any], line: int, prefix: str = "") -> None:
        """Add an object as a row."""
        if not prefix and found and found.keys() <= self._names.keys() and all(map(_is_plain, found.values())):
            self._builder.row(line, found)  # by far the most rows
            return
        if SUMMARY in found:
            self.tally.add(f"the summary of the run (the row with {SUMMARY}) was left out", line)
            return
        split = next((found[key] for key in _TELLING if isinstance(found.get(key), str)), "")
        if split and SPLITS.fullmatch(split):
            self.tally.say(f"rows are told apart by their split: {split}/…")
        else:
            split = ""
        cells: dict[str, float] = {}
        text = self._flatten(found, line, prefix, cells, split)
        if cells:
            self._builder.row(line, cells, text)

    def _flatten(
        self, found: Mapping[str, Any], line: int, prefix: str, cells: dict[str, float], split: str
    ) -> list[tuple[str, str]]:
        """Write the numbers of nested objects and short lists into ``cells`` by their joined keys; return the text by them."""
        text: list[tuple[str, str]] = []
        waiting: list[tuple[str, Any, int]] = [(prefix, found, 0)]
        while waiting:
            path, value, depth = waiting.pop()
            if isinstance(value, dict):
                if depth >= _DEEPEST:
                    self.tally.add(f"nested deeper than {_DEEPEST} levels, left out from there", line)
                    continue
                waiting += [
                    (f"{path}/{key}" if path else str(key), each, depth + 1) for key, each in reversed(value.items())
                ]
            elif isinstance(value, list):
                if len(value) > _LONGEST or depth >= _DEEPEST:
                    self.tally.add(
                        f"lists of more than {_LONGEST} entries were left out", line, column=path[:_WIDEST_NAME]
                    )
                    continue
                waiting += [(f"{path}/{i}", each, depth + 1) for i, each in reversed(list(enumerate(value)))]
            elif value is not None:
                number = self._number(path, value, line)
                if number is None:
                    text += (
                        [(path, value[:60])] if isinstance(value, str) and value.strip().lower() not in EMPTY else []
                    )
                elif self._known(name := self._of_split(path, split), line):
                    cells[name] = number
        return text

    def _number(self, name: str, value: Any, line: int) -> float | None:
        if isinstance(value, bool):
            number = None
        elif isinstance(value, int | float):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf if value > 0 else -math.inf
            if isinstance(value, int) and math.isinf(number):
                self.tally.add("numbers beyond the range of float64 count as infinite", line)
        else:
            number = value_of(value, self.tally, line) if len(value) < _WIDEST_NAME else None
            if number is None and value.strip().lower() in EMPTY:
                return None
        if number is None and len(name) <= _WIDEST_NAME:
            self.tally.text(name, line, sample=str(value)[:60])
        return number

    def _of_split(self, name: str, split: str) -> str:
        if not split:
            return name
        if name not in self._shared and len(self._shared) < MOST_COLUMNS:
            self._shared[name] = is_set_or_counted(name)
        return name if self._shared.get(name) else f"{split}/{name}"

    def _known(self, name: str, line: int) -> bool:
        """Say whether the column is kept."""
        if name in self._names:
            return True
        if len(name) > _WIDEST_NAME:
            self.tally.add(f"names of more than {_WIDEST_NAME} letters were left out", line)
        elif len(self._names) >= MOST_COLUMNS:
            self.tally.add(f"more than {MOST_COLUMNS:,} columns; those after were left out", line)
        else:
            self._names[name] = None
            return True
        return False


def _is_plain(value: Any) -> bool:
    return type(value) is float or (type(value) is int and -_FITS < value < _FITS)
