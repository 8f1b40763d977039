"""A log that is opened: its format told by its content, its rows to come as blocks, whatever the format."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from dwindle.errors import DataError, shown
from dwindle.logs.block import Block
from dwindle.logs.csv_rows import CsvRows
from dwindle.logs.events import EventRows, is_events
from dwindle.logs.json_document import JsonDocument
from dwindle.logs.json_rows import JsonRows, loads
from dwindle.logs.opened import CHUNK, chunks, lines, start, text
from dwindle.logs.places import Place, located
from dwindle.logs.tally import Tally

__all__ = ["Reading"]

_SAMPLE = 50  # lines that tell JSONL from others


class _Rows(Protocol):
    @property
    def names(self) -> list[str]: ...


class Reading:
    """A log while it is read: ``format``, the ``names`` of its columns by now, and ``tally``, what could not be used.

    ``head`` is the line of a CSV's header, ``twice`` the names that stand in it twice.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.tally, self.format = path, Tally(), ""
        self._places, notes = located(path)
        for note in notes:
            self.tally.say(note)
        self._rows: _Rows = JsonRows(self.tally)
        self._first: Block | None = None
        self._blocks = self._all()

    @property
    def names(self) -> list[str]:
        """Return the columns by now, in the order of the file."""
        return self._rows.names

    @property
    def head(self) -> int | None:
        """Return the line of the header."""
        return self._rows.head if isinstance(self._rows, CsvRows) else None

    @property
    def twice(self) -> set[str]:
        """Return the names that two columns have."""
        return self._rows.twice if isinstance(self._rows, CsvRows) else set()

    @property
    def epochs(self) -> bool:
        """Say whether the steps of event files are epochs, as where Keras writes them."""
        tags = [name.rpartition("/")[2] for name in self.names if name != "step"]
        return self.format == "tensorboard" and bool(tags) and all(tag.startswith("epoch_") for tag in tags)

    def begun(self) -> Reading:
        """Read as far as the first rows, so that there are names."""
        self._first = next(self._blocks, None)
        return self

    def blocks(self) -> Iterator[Block]:
        """Yield the rows."""
        if self._first is not None:
            yield self._first
            self._first = None
        yield from self._blocks

    def nothing(self) -> DataError:
        """Return the error for a log in which nothing can be used, with what was met."""
        head = self.head
        if head is not None and len(self.names) == 1 and self.format == "csv":
            return self.narrow()
        notes = self.tally.notes()
        if head is not None and not notes:
            return DataError(f"{self.path}: no rows after the header, line {head}. Was anything logged?")
        met = " ".join(f"{note[:1].upper()}{note[1:]}." for note in notes[:4])
        return DataError(f"{self.path}: no number could be read.{' ' if met else ''}{met} Is it the log of a training?")

    def narrow(self) -> DataError:
        """Return the error for a table of one column."""
        return DataError(
            f"{self.path}: line {self.head}: one column only, {shown(self.names[0])}. "
            "Separate columns by comma, semicolon or tab."
        )

    def _all(self) -> Iterator[Block]:
        empty = []
        for place in self._places:
            stream = chunks(place.path, self.tally)
            head, stream = start(stream, CHUNK)
            if not head:
                empty.append(place.path)
                continue
            yield from self._of(place, head, stream)
        if len(empty) == len(self._places):
            raise DataError(f"{empty[0]}: the file is empty. Was the log written, or is this another file?")
        for path in empty:
            self.tally.say(f"{path.name} is empty")

    def _of(self, place: Place, head: bytes, stream: Iterator[bytes]) -> Iterator[Block]:
        if is_events(head) or "tfevents" in place.path.name:
            if not isinstance(self._rows, EventRows):
                self._rows, self.format, self.tally.word = EventRows(self.tally), "tensorboard", "record"
            self._rows.prefix = place.prefix
            yield from self._rows.blocks(stream)
            return
        if head.startswith(b"\x1f\x8b"):
            raise DataError(f"{place.path}: gzipped twice. Unpack it once: gunzip FILE.")
        head, stream = start(text(stream, self.tally), CHUNK)
        if not head.strip():
            raise DataError(f"{place.path}: the file is empty. Was the log written, or is this another file?")
        form = _form(head)
        if form == "csv":
            rows, self.format = CsvRows(place.path, self.tally), form
            self._rows = rows
            yield from rows.blocks(lines(stream, self.tally))
        elif form == "jsonl":
            objects, self.format = JsonRows(self.tally), form
            self._rows = objects
            yield from objects.blocks(lines(stream, self.tally))
        else:
            document, self.format = JsonDocument(self.tally), form
            self._rows = document
            for block in document.blocks(stream):
                self.format = "trainer_state" if document.has_state else "json"
                yield block


def _form(head: bytes) -> str:
    r"""Return "csv", "jsonl" or "json" for text that begins so.

    >>> _form(b"step,loss\n1,2\n"), _form(b'{"step": 1}\n{"step": 2}\n'), _form(b'{"loss": [3, 2]}'), _form(b'[\n{"step": 1},\n')
    ('csv', 'jsonl', 'json', 'json')
    """
    rows = [row for row in head.split(b"\n", 2 * _SAMPLE) if row.strip()][:_SAMPLE]
    if len(rows) > 1 and not head.endswith(b"\n"):
        rows = rows[:-1]
    found = [_object(row) for row in rows]
    objects = [each for each in found if each is not None]
    if objects and 2 * len(objects) >= len(rows):
        return "json" if len(rows) == 1 and _has_list(objects[0]) else "jsonl"
    return "json" if head.lstrip()[:1] in (b"{", b"[") else "csv"


def _object(row: bytes) -> dict[str, object] | None:
    if not row.lstrip(b"\xef\xbb\xbf \t").startswith(b"{"):
        return None
    try:
        found = loads(row.strip(b"\xef\xbb\xbf \t\n"))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _has_list(value: object, depth: int = 0) -> bool:
    """Say whether a document has a list, or a column by index, in it."""
    if isinstance(value, dict) and depth < 8:
        return any(key.isdigit() for key in value) or any(_has_list(each, depth + 1) for each in value.values())
    return isinstance(value, list)
