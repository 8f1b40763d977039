"""CSV and its kin: blocks of regular rows at once, the others row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dwindle.errors import DataError, shown
from dwindle.logs.block import MOST_COLUMNS, Block, Cells, RowBuilder
from dwindle.logs.csv_numbers import numbers, unquoted
from dwindle.logs.names import EPOCH, LR, ROLE_NAMES, RUN, SPLITS, STEP, is_set_or_counted, matches, plain
from dwindle.logs.opened import Lines
from dwindle.logs.tally import Tally
from dwindle.separated import as_number

__all__ = ["EMPTY", "CsvRows", "value_of"]

EMPTY = frozenset(("", "na", "n/a", "none", "null", "<na>"))
_SMALL = 2**14  # bytes; smaller pieces are not halved any more in search of a regular one
_LONGEST_ROW = 2**20  # bytes that an open quote may span
_PREAMBLE = 20  # lines in which the header is looked for
# Bytes that no number has, nor a word that stands for one or for an empty cell.
_WEIRD = np.ones(256, dtype=np.uint8)
_WEIRD[list(b"0123456789+-.eE_ ,\n\tnaifdtyoulNAIFDTYOUL</>'\"")] = 0
_USUAL = (*LR, *ROLE_NAMES["training loss"], *ROLE_NAMES["validation loss"])
_TOO_LARGE = "numbers beyond the range of float64 count as infinite"
_NOT_ASCII = "text that is not UTF-8 was read as Latin-1"


def value_of(cell: str, tally: Tally, line: int) -> float | None:
    """Return the number in a cell, None where there is none; beyond float64 it is infinite, and that is said."""
    value = as_number(cell)
    if value is not None and value in (np.inf, -np.inf) and "n" not in cell.lower():
        tally.add(_TOO_LARGE, line, sample=cell[:40])
    return value


class CsvRows:
    """The rows of a CSV file: its ``names`` from the header on line ``head``, and ``twice``, those that stand there twice."""

    def __init__(self, path: Path, tally: Tally) -> None:
        self.path, self.tally = path, tally
        self.names: list[str] = []
        self._columns: list[str] = []
        self.head: int | None = None
        self.twice: set[str] = set()
        self._mark = ","
        self._header: list[str] = []
        self._numeric: set[str] = set()
        self._runs: set[str] = set()  # the columns that say of which run a row is
        self._split: int | None = None  # the column that says train or val
        self._long: tuple[int, int, int | None] | None = None  # the columns of metric, value, run
        self._open, self._open_line = b"", 0  # a row whose quotes are not closed yet
        self._careful, self._misses = 0, 0  # blocks to read row by row, without a try at once

    def blocks(self, source: Iterator[Lines]) -> Iterator[Block]:
        """Yield the rows, as blocks."""
        for piece in source:
            if self.head is None:
                if not piece.data.strip():
                    continue
                piece = self._found_header(piece)
            yield from self._block(piece)
        if self._open:
            held, line, self._open = self._open, self._open_line, b""
            builder = RowBuilder()
            self._unclosed(held, line, builder)
            if builder.lines:
                yield self._built(builder)
        if self.head is None:
            raise DataError(f"{self.path}: the file is empty. Was the log written, or is this another file?")

    # --- the header

    def _found_header(self, piece: Lines) -> Lines:
        """Take the first line that has several names for the header; return the lines after it."""
        data, line = piece.data, piece.first
        tried: list[tuple[int, bytes, bytes]] = []
        rest = data
        while rest and len(tried) < _PREAMBLE:
            one, _, after = rest.partition(b"\n")
            if one.strip():
                tried.append((line, one, after))
            rest, line = after, line + 1
        best = next(((at, one, after) for at, one, after in tried if self._is_header(one)), None)
        numbers = next((at for at, one, _ in tried if self._is_row(one)), None)
        if numbers is not None and (best is None or numbers < best[0]):
            raise DataError(
                f"{self.path}: line {numbers}: numbers where the names of the columns should be. Add a header, such as "
                "step,lr,loss."
            )
        at, one, after = best or tried[0]
        for before, skipped, _ in tried:
            if before < at:
                self.tally.add("before the header and left out", before, sample=self._str(skipped, before)[:40])
        self._mark = self._delimiter(one)
        cells = self._cells(self._str(one, at)) or [""]
        if one.lstrip().startswith(b"#"):
            cells[0] = cells[0].lstrip("# ")
        following = [
            self._cells(self._str(row, 0)) or [] for row in after[: 2**16].split(b"\n")[:-1][:50] if row.strip()
        ]
        wide = [row for row in following if len(row) == len(cells) + 1]
        if wide and len(wide) == len(following) and not all(row[-1] == "" for row in wide):
            cells = ["", *cells]  # as R writes an index
        self.head = at
        self._take(cells, at)
        return Lines(at + 1, after)

    def _is_header(self, line: bytes) -> bool:
        filled, numbers = self._counted(line)
        return filled > 1 and 2 * numbers < filled

    def _is_row(self, line: bytes) -> bool:
        filled, numbers = self._counted(line)
        return filled > 0 and 2 * numbers >= filled

    def _counted(self, line: bytes) -> tuple[int, int]:
        """Return how many cells of the line hold something, and how many a number."""
        self._mark = self._delimiter(line)
        cells = self._cells(self._str(line, 0)) or []
        return sum(map(bool, cells)), sum(as_number(cell) is not None for cell in cells if cell)

    def _delimiter(self, line: bytes) -> str:
        """Return comma, semicolon or tab, whichever cuts the line into most cells."""
        written = line[:100_000].decode("latin-1")
        return max(",;\t", key=lambda mark: len(_parsed(written, mark) or written.split(mark)))

    def _take(self, cells: Sequence[str], line: int) -> None:
        """Take the cells for names; of two that are the same the second gets a number."""
        self._header = list(cells)
        if len(cells) > MOST_COLUMNS:
            self.tally.say(f"of {len(cells):,} columns the first {MOST_COLUMNS:,} were read")
        names: list[str] = []
        taken, last = set[str](), dict[str, int]()
        for i, cell in enumerate(cells[:MOST_COLUMNS]):
            name, n = cell or f"Unnamed: {i}", 0
            if name in taken:
                n = last.get(cell, 0)
            while name in taken:
                n += 1
                name = f"{cell}.{n}"
            if n:
                self.twice.add(cell)
                self.tally.add(
                    f"the column {shown(cell)} stands twice in the header; the second was read as {shown(name)}", line
                )
            last[cell] = n
            taken.add(name)
            names.append(name)
        self._columns = [*names, *[""] * (len(cells) - len(names))]
        self._split = next(
            (i for i, n in enumerate(names) if plain(n) in ("phase", "split", "mode", "stage", "subset")), None
        )
        self._long = _long_format(names)
        self._runs = set(matches(names, RUN))
        shown_names = [n for i, n in enumerate(names) if self._long is None or i not in self._long]
        self.names += [name for name in shown_names if name not in self.names]

    # --- blocks

    def _block(self, piece: Lines) -> Iterator[Block]:
        new, piece = len(piece.data), self._reopened(piece)
        while not self._numeric and new > 2 * _SMALL:  # the first rows tell which columns hold numbers
            cut = piece.data.find(b"\n", len(piece.data) - new + _SMALL) + 1 or len(piece.data)
            yield self._row_by_row(Lines(piece.first, piece.data[:cut]))
            new = len(piece.data) - cut
            piece = self._reopened(Lines(piece.first + piece.data.count(b"\n", 0, cut), piece.data[cut:]))
        if not piece.data:
            return
        if self._careful:
            self._careful -= 1
            yield self._row_by_row(piece)
            return
        missed = True
        for block, part in self._halves(piece):
            if self._open:  # the quote that the part before left open
                part, block = self._reopened(part), None
            missed &= block is None
            yield self._row_by_row(part) if block is None else block
        self._misses = self._misses + 1 if missed else 0
        self._careful = min(2**self._misses, 64) if self._misses > 2 else 0

    def _reopened(self, piece: Lines) -> Lines:
        """Return a piece after the row whose quote the piece before left open, which is kept no longer."""
        held, self._open = self._open, b""
        return Lines(self._open_line, held + piece.data) if held else piece

    def _halves(self, piece: Lines) -> Iterator[tuple[Block | None, Lines]]:
        """Yield the regular parts as blocks, the others without one, for what is irregular is mostly a line."""
        block = self._at_once(piece)
        if block is not None or len(piece.data) <= _SMALL:
            yield block, piece
            return
        cut = piece.data.find(b"\n", len(piece.data) // 2) + 1
        if not 0 < cut < len(piece.data):
            yield None, piece
            return
        yield from self._halves(Lines(piece.first, piece.data[:cut]))
        yield from self._halves(Lines(piece.first + piece.data.count(b"\n", 0, cut), piece.data[cut:]))

    def _at_once(self, piece: Lines) -> Block | None:
        """Return the block if every row has every cell and each is a number or empty, but in columns of text; else None."""
        data, width = piece.data, len(self._columns)
        if self._split is not None or self._long is not None or not data.endswith(b"\n"):
            return None
        mark = self._mark.encode()
        if b'"' in data:
            data = unquoted(data, mark)
            if not data:
                return None
        if mark != b",":
            if b"," in data:
                return None
            data = data.replace(mark, b",")
        numeric = [name in self._numeric for name in self._columns]
        if not any(numeric) or not self._numeric.issuperset(self._runs):
            return None
        buffer = np.frombuffer(data, dtype=np.uint8)
        cuts = np.flatnonzero((buffer == 44) | (buffer == 10))
        if len(cuts) % width:
            return None
        rows = len(cuts) // width
        ends = buffer[cuts].reshape(rows, width) == 10
        if not ends[:, -1].all() or ends[:, :-1].any():
            return None
        if not all(numeric):
            kept = self._without_text(buffer, cuts, rows, np.array(numeric), piece.first)
            if kept is None:
                return None
            data = kept
        table = numbers(data, rows)
        if table is None:
            return None
        values, there = table
        names = [name for name, is_one in zip(self._columns, numeric, strict=True) if is_one]
        columns = {}
        for i, name in enumerate(names):
            if there is None or there[:, i].all():
                columns[name] = Cells(None, values[:, i])
            else:
                at = np.flatnonzero(there[:, i])
                if len(at):
                    columns[name] = Cells(at, values[at, i])
        return Block(rows, np.arange(piece.first, piece.first + rows), self.names, columns)

    def _without_text(self, buffer: Any, cuts: Any, rows: int, numeric: Any, line: int) -> bytes | None:
        """Return the bytes without the cells of columns that hold no numbers; None if one of them may be a number."""
        lengths = np.diff(cuts, prepend=-1)
        cells = np.tile(numeric, rows)
        starts = cuts - lengths + 1
        weird = np.maximum.reduceat(_WEIRD[buffer], starts).astype(bool)
        if not (weird | cells | (lengths == 1)).all():
            return None
        text = (~cells & (lengths > 1)).reshape(rows, -1)
        for i in np.flatnonzero(text.any(axis=0))[:MOST_COLUMNS]:
            self.tally.text(self._columns[i], line + int(text[:, i].argmax()), int(text[:, i].sum()))
        kept: bytes = buffer[np.repeat(cells, lengths)].tobytes()
        return kept

    # --- row by row

    def _row_by_row(self, piece: Lines) -> Block:
        builder, line, data = RowBuilder(), piece.first, piece.data
        if b'"' not in data:
            rows = data.split(b"\n")
            last = rows.pop() if not data.endswith(b"\n") else (rows.pop() or None)
            for row in rows:
                self._row(self._str(row, line), line, builder)
                line += 1
            if last:
                self._row(self._str(last, line), line, builder, whole=False)
            return self._built(builder)
        at = 0
        while at < len(data):
            end = data.find(b"\n", at) + 1 or len(data)
            begin, quotes = line, data.count(b'"', at, end)
            while quotes % 2 and end < len(data) and end - at < _LONGEST_ROW:
                after = data.find(b"\n", end) + 1 or len(data)
                quotes += data.count(b'"', end, after)
                end, line = after, line + 1
            row = data[at:end]
            if quotes % 2:
                if len(row) < _LONGEST_ROW:  # it may go on in the next piece
                    self._open, self._open_line = row, begin
                    break
                self._unclosed(row, begin, builder)
            else:
                self._row(self._str(row.removesuffix(b"\n"), begin), line, builder, whole=row.endswith(b"\n"))
            at, line = end, line + 1
        return self._built(builder)

    def _unclosed(self, data: bytes, line: int, builder: RowBuilder) -> None:
        """Leave out a line whose quote does not close, and read those after it as if it did."""
        whole = data.endswith(b"\n")
        rows = data.removesuffix(b"\n").split(b"\n")
        for i, row in enumerate(rows):
            if row.count(b'"') % 2:
                self.tally.add("a quote is not closed, and the line was left out", line + i)
            else:
                self._row(self._str(row, line + i), line + i, builder, whole=whole or i < len(rows) - 1)

    def _built(self, builder: RowBuilder) -> Block:
        block = builder.block(self.names)
        self._numeric.update(block.columns)
        return block

    def _str(self, row: bytes, line: int) -> str:
        try:
            return row.decode("utf-8")
        except UnicodeDecodeError:
            if line:
                self.tally.add(_NOT_ASCII, line)
            return row.decode("latin-1")

    def _cells(self, row: str) -> list[str] | None:
        found = _parsed(row, self._mark) if '"' in row else row.split(self._mark)
        return None if found is None else [cell.strip() for cell in found]

    def _row(self, text: str, line: int, builder: RowBuilder, *, whole: bool = True) -> None:
        if not text or text.isspace():
            return
        cells = self._cells(text)
        names = self._columns
        if cells is None:
            self.tally.add("the quotes do not fit, and the line was left out", line)
            return
        if not any(cells):
            return
        if len(cells) > len(names) and not any(cells[len(names) :]):
            cells = cells[: len(names)]
        if cells == self._header:
            self.tally.add("the header comes again, as after a restart, and was left out", line)
            return
        if whole and as_number(cells[0]) is None and self._another_header(cells, line):
            return
        if len(cells) != len(names):
            if not whole and len(cells) < len(names):
                self.tally.add("not complete and left out; the file may still be written", line)
            else:
                what = f"{len(cells):,} cells where the header has {len(names):,}, left out; correct them, or quote cells that "
                self.tally.add(what + "hold the separator", line)
            return
        if not whole:
            self.tally.add("the last line has no end; it was read, but its last cell may be cut short", line)
        found, text_in = self._numbers_of(cells, line)
        if self._long is not None:
            found = self._melted(cells, found, line)
        elif self._split is not None:
            found = self._told_apart(cells[self._split], found)
        builder.row(line, dict(found), text_in)

    def _numbers_of(self, cells: Sequence[str], line: int) -> tuple[list[tuple[str, float]], list[tuple[str, str]]]:
        """Return the numbers of a row by the names of their columns, and what else stands in which."""
        found: list[tuple[str, float]] = []
        text: list[tuple[str, str]] = []
        for name, cell in zip(self._columns[:MOST_COLUMNS], cells, strict=False):
            if not cell:
                continue
            value = value_of(cell, self.tally, line)
            if value is not None:
                found.append((name, value))
            elif cell.lower() not in EMPTY:
                self.tally.text(name, line, sample=cell[:60])
                text.append((name, cell[:60]))
        return found, text

    def _another_header(self, cells: Sequence[str], line: int) -> bool:
        """Say whether the cells are names, some of them known, and take them if so: the log goes on with other columns."""
        if (
            len(cells) < 2
            or any(cell and as_number(cell) is not None for cell in cells)
            or len(set(cells)) < len(cells)
        ):
            return False
        known = set(cells) & set(self._header)
        if len(known) < 2 and not (matches(cells, (*STEP, *EPOCH)) and (known or matches(cells, _USUAL))):
            return False
        self.tally.add("another header, as after a restart: what follows was read by it", line)
        self._take(cells, line)
        return True

    def _told_apart(self, split: str, found: list[tuple[str, float]]) -> list[tuple[str, float]]:
        """Name the cells of a row by the split it is of, where a column says train or val."""
        if not SPLITS.fullmatch(split):
            return found
        column = self._columns[self._split or 0]
        self.tally.say(f"rows are told apart by the column {shown(column)}: {shown(split + '/…')}")
        return [(n if is_set_or_counted(n) else self._named(f"{split}/{n}"), value) for n, value in found]

    def _melted(self, cells: Sequence[str], found: list[tuple[str, float]], line: int) -> list[tuple[str, float]]:
        """Return the row of a table that has a metric's name and its value in each row."""
        metric, value, run = self._long or (0, 0, None)
        name = cells[metric] if run is None else f"{cells[run]} - {cells[metric]}"
        columns = self._columns
        held = [(n, v) for n, v in found if n in (columns[value],)]
        rest = [
            (n, v)
            for n, v in found
            if n not in (columns[value], columns[metric]) and (run is None or n != columns[run])
        ]
        return rest + [(self._named(name), v) for _, v in held if cells[metric] and len(name) < 512]

    def _named(self, name: str) -> str:
        """Return a name that the header does not have, known from now on."""
        if name not in self.names and len(self.names) < MOST_COLUMNS:
            self.names.append(name)
        return name


def _long_format(names: Sequence[str]) -> tuple[int, int, int | None] | None:
    """Return where metric, value and run stand in a table with a row a metric, as MLflow exports it."""
    plains = [plain(name) for name in names]
    metric = next((plains.index(n) for n in ("key", "metric", "metric_name", "tag") if n in plains), None)
    if metric is None or "value" not in plains:
        return None
    run = next((plains.index(n) for n in ("run_id", "run_uuid", "run", "run_name") if n in plains), None)
    return metric, plains.index("value"), run


def _parsed(row: str, mark: str) -> list[str] | None:
    """Return the cells of a row with quotes; None where they do not fit."""
    try:
        return next(csv.reader([row.replace("\n", " ")], delimiter=mark, strict=True), [])
    except csv.Error:
        return None
