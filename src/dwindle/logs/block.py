"""Some rows of a log as every reader returns them, whatever the format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LARGEST", "MOST_COLUMNS", "Block", "Cells", "RowBuilder"]

MOST_COLUMNS = 4096
LARGEST = 2.0**53  # whole numbers above it are not all there in float64


class Cells(NamedTuple):
    """The numbers of a column: ``value`` [n] in the rows ``at`` [n] of the block; ``at`` None says all rows."""

    at: Any
    value: Any

    def spread(self, rows: int) -> Any:
        """Return one value a row [rows], NaN where there is none."""
        if self.at is None:
            return self.value
        out = np.full(rows, np.nan)
        out[self.at] = self.value
        return out


class Block(NamedTuple):
    """``rows`` rows: the line [rows] each is from, all columns known by now, and the cells of those that hold numbers.

    ``text`` has the rows in which a column holds something else, and what.
    """

    rows: int
    lines: Any
    names: Sequence[str]
    columns: dict[str, Cells]
    text: Mapping[str, Sequence[tuple[int, str]]] = MappingProxyType({})


class RowBuilder:
    """Rows that come one by one, each with some cells, into a block; rows of the same columns are held together.

    >>> builder = RowBuilder()
    >>> for line, cells in ((1, {"loss": 3.0}), (2, {"loss": 2.5, "lr": 0.1})):
    ...     builder.row(line, cells)
    >>> block = builder.block(["loss", "lr"])
    >>> block.rows, block.columns["lr"].at.tolist(), block.columns["loss"].spread(2).tolist()
    (2, [1], [3.0, 2.5])
    """

    def __init__(self) -> None:
        self.lines: list[int] = []
        self._alike: dict[tuple[str, ...], tuple[list[int], list[Any]]] = {}
        self._text: dict[str, list[tuple[int, str]]] = {}

    def row(self, line: int, cells: Mapping[str, float], text: Iterable[tuple[str, str]] = ()) -> None:
        """Add a row of numbers by name, and by name the cells that hold something else."""
        for name, word in text:
            self._text.setdefault(name, []).append((len(self.lines), word))
        alike = tuple(cells)
        held = self._alike.get(alike)
        if held is None:
            held = self._alike[alike] = ([], [])
        held[0].append(len(self.lines))
        held[1].append(tuple(cells.values()))
        self.lines.append(line)

    def block(self, names: Sequence[str]) -> Block:
        """Return the rows as a block."""
        parts: dict[str, list[Cells]] = {}
        for alike, (rows, cells) in self._alike.items():
            at, table = np.array(rows, dtype=np.intp), np.array(cells, dtype=np.float64)
            for i, name in enumerate(alike):
                parts.setdefault(name, []).append(Cells(at, table[:, i]))
        columns = {name: found[0] if len(found) == 1 else _in_order(found) for name, found in parts.items()}
        return Block(len(self.lines), np.array(self.lines, dtype=np.int64), list(names), columns, self._text)


def _in_order(parts: Sequence[Cells]) -> Cells:
    at = np.concatenate([part.at for part in parts])
    order = np.argsort(at, kind="stable")
    return Cells(at[order], np.concatenate([part.value for part in parts])[order])
