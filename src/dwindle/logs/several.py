"""Several runs in one table: a column that names the run, each of which begins anew."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DataError, shown
from dwindle.logs.block import Block
from dwindle.logs.names import RUN, matches

__all__ = ["Several"]

_MOST = 1000  # runs that are told apart


class _Begun(NamedTuple):
    """Where a run begins: its first steps, two at most, and the line of the first."""

    steps: list[float]
    line: int


class Several:
    """What the columns that name a run say by now: where each of their runs begins."""

    def __init__(self) -> None:
        self._names: dict[str, bool] = {}
        self._begun: dict[str, dict[float | str, _Begun]] = {}

    def add(self, block: Block, steps: Any) -> None:
        """Add the rows of a block, of these ``steps`` [rows]."""
        for name in (*block.columns, *(name for name in block.text if name not in block.columns)):
            if name not in self._names:
                self._names[name] = bool(matches([name], RUN))
            if self._names[name]:
                self._column(self._begun.setdefault(name, {}), name, block, steps)

    def _column(self, begun: dict[float | str, _Begun], name: str, block: Block, steps: Any) -> None:
        places: dict[float | str, Any] = {}
        cells = block.columns.get(name)
        if cells is not None:
            rows = cells.spread(block.rows)
            places = {float(run): np.flatnonzero(rows == run) for run in np.unique(rows[np.isfinite(rows)])[:_MOST]}
        for row, word in block.text.get(name, ()):
            places.setdefault(word, []).append(row)
        for run, found in places.items():
            if run not in begun and len(begun) >= _MOST:
                continue
            own = begun.setdefault(run, _Begun([], int(block.lines[found[0]])))
            for step in steps[found] if len(own.steps) < 2 else ():
                if np.isfinite(step) and step not in own.steps and len(own.steps) < 2:
                    own.steps.append(float(step))

    def refuse(self, where: str) -> None:
        """Raise if two runs of a column begin at the same place: what follows from both together is true of neither."""
        for name, begun in self._begun.items():
            runs = [(run, own) for run, own in begun.items() if len(own.steps) == 2]
            for run, own in runs[1:]:
                first, (begins, then) = runs[0][0], runs[0][1].steps
                if min(own.steps) < max(begins, then):
                    raise DataError(
                        f"{where}: several runs in one table: {shown(name)} is {_word(first)} from line {runs[0][1].line} and "
                        f"{_word(run)} from line {own.line}, and each begins anew. Give each run a file of its own."
                    )


def _word(run: float | str) -> str:
    return shown(run) if isinstance(run, str) else f"{run:g}"
