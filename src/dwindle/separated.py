"""Separated values, CSV and its kin: rows of text cells with the lines they stand on, for tables and logs alike."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from dwindle.errors import DataError

__all__ = ["as_number", "decoded", "delimiter", "split_rows"]


def decoded(path: Path, data: bytes) -> str:
    """Return the text of a file in UTF-8, with or without byte-order mark; raise DataError with the line that is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}: line {line}: byte {data[error.start]:#04x} is not UTF-8 text. Is this a CSV file? Save it as UTF-8."
        ) from None


def delimiter(text: str) -> str:
    """Return comma, semicolon or tab, whichever cuts the first line that is not blank into most cells.

    >>> delimiter("step;lr;loss, final")
    ';'
    """
    first = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")[:100_000]
    return max(",;\t", key=lambda mark: len(next(csv.reader([first], delimiter=mark), [])))


def split_rows(path: Path, text: str, mark: str) -> Iterator[tuple[int, list[str]]]:
    r"""Yield each row, its cells stripped, with the line it ends on; raise DataError where quotes do not close.

    >>> list(split_rows(Path("a.csv"), "a, b\n\n1,2", ","))
    [(1, ['a', 'b']), (2, []), (3, ['1', '2'])]
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}. Look for a quote that is not closed.") from None


def as_number(cell: str) -> float | None:
    """Return the number in a cell, None where there is none.

    >>> as_number("1e-3"), as_number("1_000"), as_number("n/a")
    (0.001, None, None)
    """
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None
