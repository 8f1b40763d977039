"""Tables: CSV and TSV, and Parquet where pyarrow is installed."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError, MissingExtraError, shown, suggestion
from dwindle.separated import as_number, decoded, delimiter, split_rows
from dwindle.studies.data_arrays import content, sha256
from dwindle.studies.data_prepare import Raw
from dwindle.studies.dataset import Provenance

__all__ = ["read_csv", "read_parquet"]

_BLOCK = 10_000  # rows held as text at once

MISSING = frozenset(("", "na", "n/a", "nan", "-nan", "+nan", "null", "<na>", "?"))

# what pyarrow raises: its own errors are of Python's kinds
_OF_ARROW = (OSError, ValueError, TypeError, LookupError, NotImplementedError, MemoryError, OverflowError)

_UNNAMED = re.compile(r"__index_level_\d+__")  # what pandas calls an index that has no name

_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")

Columns = Mapping[str, NDArray[Any]]


def read_csv(path: Path, *, target: str | None, drop: Sequence[str] = ()) -> Raw:
    """Return a table of text: a header, then rows of numbers and categories, separated by comma, semicolon or tab.

    UTF-8, with or without byte-order mark, gzip or not. ``target`` names the column to predict, by default the last;
    the columns in ``drop`` are left out before anything in them is judged. A first line of numbers alone is data:
    the columns are then called 1, 2, 3 ... Every DataError says the line.
    """
    data = content(path)
    text, files = decoded(path, data), ((path.name, sha256(data)),)
    del data
    first = next(_blocks(path, text))[1][0]
    steps: tuple[str, ...] = ()
    header = _is_header(path, first)
    if not header:
        steps = ("no header: columns called by their number",)
    names = first if header else [str(i + 1) for i in range(len(first))]
    _check_names(path, names, drop)
    kept = {name: i for i, name in enumerate(names) if name not in drop}
    columns = _columns(path, text, kept, _target_of(kept, target), header)
    return _raw(path, columns, target, Provenance(str(path), files, steps))


def read_parquet(path: Path, *, target: str | None, drop: Sequence[str] = ()) -> Raw:
    """Return a Parquet table, read by pyarrow; raises MissingExtraError where that is not installed.

    A row index that pandas put among the columns is refused where it has no name of its own, or would be the target unasked.
    """
    try:
        parquet, arrow = importlib.import_module("pyarrow.parquet"), importlib.import_module("pyarrow")
    except ImportError:
        raise MissingExtraError(
            f"{path}: pyarrow is not installed; Parquet needs it. pip install 'dwindle[parquet]', or save the table as CSV."
        ) from None
    data = content(path)
    try:
        table = parquet.read_table(_of_arrows_own(arrow, data))
    except _OF_ARROW as error:
        raise DataError(f"{path}: not a Parquet table: {error}. Write or copy the file again.") from None
    names = [str(name) for name in table.column_names]
    _check_index(path, names, _index_of(table), target, drop)
    _check_names(path, names, drop)
    kept = {name: i for i, name in enumerate(names) if name not in drop}
    wanted = _target_of(kept, target)
    columns = {name: _from_arrow(path, name, table.column(i), name == wanted) for name, i in kept.items()}
    return _raw(path, columns, target, Provenance(str(path), ((path.name, sha256(data)),)))


def _of_arrows_own(arrow: Any, data: bytes) -> Any:
    """Return a file in memory of Arrow's: its threads may free a damaged one when Python ends, and abort over Python's."""
    held = arrow.BufferOutputStream()
    held.write(data)
    return arrow.BufferReader(held.getvalue())


def _index_of(table: Any) -> list[Any]:
    """Return the columns in which pandas wrote the row index of a table; none where it wrote a RangeIndex or no table."""
    try:
        return list(json.loads(table.schema.metadata[b"pandas"])["index_columns"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return []


def _check_index(
    path: Path, names: Sequence[str], index: Sequence[Any], target: str | None, drop: Sequence[str]
) -> None:
    """Refuse a row index that has no name of its own, and one with a name that would be the target unasked."""
    kept = [name for name in names if name not in drop]
    for name in kept:
        if name == target:
            continue
        if _UNNAMED.fullmatch(name):
            raise DataError(
                f"{path}: column {name!r} is the row index that pandas wrote, perhaps no more than a row number. "
                f"Leave it out (drop=[{name!r}]), or write the table with index=False."
            )
        if target is None and name == kept[-1] and name in index:
            raise DataError(
                f"{path}: the last column, {name!r}, is the row index that pandas wrote, and no target was named. "
                f"Name the target, or leave {name!r} out (drop=[{name!r}])."
            )


def _blocks(path: Path, text: str) -> Iterator[tuple[list[int], list[list[str]]]]:
    """Yield the line numbers and the stripped cells of the rows that are not blank, so many at a time; all are equally long."""
    mark = "\t" if ".tsv" in path.suffixes or ".tab" in path.suffixes else delimiter(text)
    lines: list[int] = []
    rows: list[list[str]] = []
    first = width = 0
    for line, row in split_rows(path, text, mark):
        if len(row) < 2 and not "".join(row):
            continue
        if not width:
            first, width = line, len(row)
        if len(row) != width:
            raise DataError(
                f"{path}: line {line}: {len(row)} columns where line {first} has {width}. "
                "Correct the line, or quote cells that hold the separator."
            )
        lines.append(line)
        rows.append(row)
        if len(rows) == _BLOCK:
            yield lines, rows
            lines, rows = [], []
    if not width:
        raise DataError(f"{path}: nothing but blank lines. Was it written to the end?")
    if width < 2:
        raise DataError(
            f"{path}: line {first}: one column only, {shown(rows[0][0])}; there must be features and a target. "
            "Separate columns by comma, semicolon or tab."
        )
    if rows:
        yield lines, rows


def _columns(path: Path, text: str, kept: Mapping[str, int], target: str | None, header: bool) -> Columns:
    """Return the columns of a table by name, each at its place in a row: as float64, or as text if its cells are no numbers.

    Only of those that are no numbers are the cells kept, in a second reading: as text all of them would fill the memory. There
    it is seen as well whether a column of one number throughout was of different ones.
    """
    numbers: dict[str, list[NDArray[Any]]] = {name: [] for name in kept}
    for _, rows in _without_header(_blocks(path, text), header):
        for name in list(numbers):
            found = _floats([row[kept[name]] for row in rows])
            if found is None:
                del numbers[name]
            else:
                numbers[name].append(found)
    columns = {name: np.concatenate([*blocks, np.empty(0)]) for name, blocks in numbers.items()}
    cells: dict[str, list[str]] = {name: [] for name in kept if name not in columns}
    alike: dict[str, set[str]] = {name: set() for name, values in columns.items() if _is_one(values)}
    lines: list[int] = []
    if cells or alike:
        for own, rows in _without_header(_blocks(path, text), header):
            lines += own
            for name, values in cells.items():
                values += [row[kept[name]] for row in rows]
            for name, texts in alike.items():
                texts.update(row[kept[name]] for row in rows)
    for name in kept:
        if name in cells:
            columns[name] = _texts(path, name, cells[name], lines, name == target)
        elif name in alike and _run_together(columns[name], alike[name]):
            raise _one_to_float64(path, name, name == target)
    return {name: columns[name] for name in kept}


def _without_header(
    blocks: Iterator[tuple[list[int], list[list[str]]]], header: bool
) -> Iterator[tuple[list[int], list[list[str]]]]:
    for lines, rows in blocks:
        yield lines[header:], rows[header:]
        header = False


def _floats(cells: Sequence[str]) -> NDArray[Any] | None:
    """Return the numbers in cells, None unless all are finite numbers."""
    try:
        values = np.array([float(cell) for cell in cells], dtype=np.float64)
    except ValueError:
        return None
    sound = np.isfinite(values).all() and not any("_" in cell for cell in cells)
    return values if sound else None


def _is_one(values: NDArray[Any]) -> bool:
    return len(values) > 0 and bool(values.min() == values.max())


def _run_together(values: NDArray[Any], given: Collection[Any]) -> bool:
    """Return whether different numbers all became one in float64."""
    if not _is_one(values) or len(set(given)) == 1:
        return False
    try:
        return len({Decimal(value) for value in given}) > 1
    except InvalidOperation:  # an exponent that no Decimal holds
        return True


def _one_to_float64(path: Path, name: str, is_target: bool) -> DataError:
    act = "Subtract what they have in common" + ("." if is_target else f", or leave the column out (drop=[{name!r}]).")
    return DataError(
        f"{path}: column {name!r}: different numbers are one and the same in float64, which holds 16 digits. {act}"
    )


def _is_header(path: Path, cells: Sequence[str]) -> bool:
    """Say whether the first line names columns. Names that are their own position (pandas writes 0, 1, 2) are names."""
    numbers = [(i, cell) for i, cell in enumerate(cells) if as_number(cell) is not None]
    if not numbers or any(all(cell == str(i + base) for i, cell in numbers) for base in (-1, 0, 1)):
        return True
    if len(numbers) == len(cells) or any(not cell.lstrip("+-").isdigit() for _, cell in numbers):
        return False
    raise DataError(
        f"{path}: line 1: names and numbers ({shown(numbers[0][1])}) together, so it may be a header or data. "
        "Add a header line, or rename the columns whose names are numbers."
    )


def _check_names(path: Path, names: Sequence[str], drop: Iterable[str]) -> None:
    for name in drop:
        if name not in names:
            raise DataError(f"{path}: no column {name!r} to drop; {suggestion(name, names)}")
    for i, name in enumerate(names):
        if name in names[:i]:
            raise DataError(
                f"{path}: line 1: columns {names.index(name) + 1} and {i + 1} are both called {name!r}. Rename one; "
                "if line 1 is data, add a header line."
            )
        if not name and name not in drop:
            raise DataError(
                f"{path}: line 1: column {i + 1} has no name; perhaps it is a row number (pandas writes one unless "
                "index=False). Leave it out (drop=['']), or name it."
            )


def _texts(path: Path, name: str, cells: Sequence[str], lines: Sequence[int], is_target: bool) -> NDArray[Any]:
    """Return a column whose cells are no numbers as text; refuse those that were meant to be numbers."""
    missing = [i for i, cell in enumerate(cells) if cell.lower() in MISSING]
    if missing:
        more = f", and {len(missing) - 1} more of this column" if len(missing) > 1 else ""
        raise DataError(
            f"{path}: line {lines[missing[0]]}, column {name!r}: the value is missing ({cells[missing[0]]!r}){more}. "
            f"{_without(name, is_target)}"
        )
    numbers = [as_number(cell) for cell in cells]
    strays = [i for i, number in enumerate(numbers) if number is None]
    if 0 < len(strays) < len(cells) / 2:  # more numbers than words: a mistake sooner than a category
        raise DataError(
            f"{path}: line {lines[strays[0]]}, column {name!r}: {shown(cells[strays[0]])} is not a number, though most "
            "of the column is. Correct it; if they are categories, write them all as words."
        )
    for line, cell, number in zip(lines, cells, numbers, strict=True):
        if number is not None and not math.isfinite(number) and not strays:
            raise DataError(f"{path}: line {line}, column {name!r}: {cell!r} is not finite. Correct it.")
    if all(as_number(cell.replace(",", ".")) is not None or _THOUSANDS.fullmatch(cell) for cell in cells):
        i = next(i for i, cell in enumerate(cells) if "," in cell)
        raise DataError(
            f"{path}: line {lines[i]}, column {name!r}: {shown(cells[i])} has a comma. If it is a decimal comma, write a point; "
            "if it separates thousands, leave it out."
        )
    return np.array(cells, dtype=object)


def _without(name: str, is_target: bool) -> str:
    """Return what to do about a missing value."""
    if is_target:
        return "That is the target: remove the row."
    return f"Fill it in, remove the row, or leave the column out (drop=[{name!r}])."


def _from_arrow(path: Path, name: str, column: Any, is_target: bool) -> NDArray[Any]:
    types = importlib.import_module("pyarrow").types
    kind = column.type.value_type if types.is_dictionary(column.type) else column.type
    text = types.is_string(kind) or types.is_large_string(kind)
    numeric = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind) or types.is_decimal(kind)
    if not text and not numeric:
        raise DataError(f"{path}: column {name!r} holds {column.type}, neither numbers nor text. Convert or drop it.")
    try:
        values = column.to_pylist()
    except _OF_ARROW as error:
        raise DataError(f"{path}: column {name!r} cannot be read: {error}. Write or copy the file again.") from None
    missing = [row for row, value in enumerate(values) if value is None or value != value]
    if missing:
        more = f", and {len(missing) - 1} more of this column" if len(missing) > 1 else ""
        raise DataError(
            f"{path}: row {missing[0]}, column {name!r}: the value is missing{more}. {_without(name, is_target)}"
        )
    if text:
        return np.array(values, dtype=object)
    numbers = np.array([float(value) for value in values])
    if not np.isfinite(numbers).all():
        row = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise DataError(f"{path}: row {row}, column {name!r}: {numbers[row]} is not finite. Correct it.")
    if _run_together(numbers, values):
        raise _one_to_float64(path, name, is_target)
    return numbers


def _target_of(names: Iterable[str], target: str | None) -> str | None:
    """Return the name of the target, the last column unless one was named."""
    return next(iter(reversed([*names])), None) if target is None else target


def _raw(path: Path, columns: Columns, target: str | None, provenance: Provenance) -> Raw:
    wanted = _target_of(columns, target)
    if wanted is None or wanted not in columns:
        raise DataError(f"{path}: no column {target!r} for the target; {suggestion(target, columns)}")
    features = {name: values for name, values in columns.items() if name != wanted}
    if not features:
        raise DataError(f"{path}: no column beside the target {wanted!r}. There must be a feature to predict it from.")
    numeric = {name: values for name, values in features.items() if values.dtype != object}
    rows = len(columns[wanted])
    numbers = np.column_stack(list(numeric.values())) if numeric else np.empty((rows, 0))
    texts = tuple((name, values) for name, values in features.items() if name not in numeric)
    steps = provenance.then(f"target {wanted!r}")
    return Raw(path.name.split(".")[0], numbers, columns[wanted], steps, texts, tuple(numeric))
