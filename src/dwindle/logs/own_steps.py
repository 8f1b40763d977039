"""Steps that rows of validation have in a column of their own, such as val/step, and counts that only look like them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from dwindle.errors import shown
from dwindle.logs.block import Block
from dwindle.logs.names import is_step_of_validation
from dwindle.logs.points import Points
from dwindle.logs.tally import Tally

__all__ = ["OwnSteps"]


class OwnSteps:
    """Where rows stand that lack a step but have one of validation; ``counts`` are columns that are known to be no such steps.

    >>> from dwindle.logs.block import Cells
    >>> rows = OwnSteps()
    >>> block = Block(3, np.arange(3), ["step", "val/step"], {"val/step": Cells(np.array([2]), np.array([200.0]))})
    >>> rows.placed(block, "step", np.array([100.0, 200.0, np.nan]), Tally()).tolist(), rows.found()
    ([100.0, 200.0, 200.0], set())
    """

    def __init__(self, counts: Container[str] = ()) -> None:
        self._counts = counts
        self._run = _Course()
        self._own: dict[str, _Between] = {}

    def placed(self, block: Block, column: str | None, steps: Any, tally: Tally) -> Any:
        """Return the steps [rows] of a block, in rows that lack one their own; ``column`` is the one the steps are from."""
        out, found = steps, dict.fromkeys(self._own, np.full(block.rows, np.nan))
        for name in filter(is_step_of_validation, block.columns):
            own = block.columns[name].spread(block.rows)
            lacks = np.isnan(out) & np.isfinite(own)
            if name == column or not lacks.any():
                continue
            if name in self._counts:
                tally.say(f"{shown(name)} does not rise with {shown(column)}, and no row stands at it")
                continue
            tally.say(f"rows without {shown(column)} stand at their {shown(name)}")
            out = np.where(lacks, own, out)
            found[name] = np.where(lacks, own, np.nan)
        for name, own in found.items():
            self._own.setdefault(name, _Between(self._run.last)).add(steps, own)
        self._run.add(steps[np.isfinite(steps)])
        return out

    def found(self) -> set[str]:
        """Return the columns that are no steps of the run, but count batches or evaluations."""
        return {name for name, own in self._own.items() if np.isfinite(self._run.top) and not own.are_steps(self._run)}


class _Course:
    """The greatest of numbers as they come, the last, and by how much one is above the one before at most."""

    def __init__(self) -> None:
        self.top, self.last, self.rise = -np.inf, np.nan, 0.0

    def add(self, numbers: Any) -> None:
        if len(numbers):
            with np.errstate(over="ignore"):
                self.rise = float(np.fmax.reduce(np.diff(numbers, prepend=self.last), initial=self.rise))
            self.top, self.last = max(self.top, float(numbers.max())), float(numbers[-1])


class _Between:
    """Of a column's own steps the greatest between two rows of the run, with the run's steps before and behind it."""

    def __init__(self, before: float) -> None:
        self._own = _Course()
        self._before, self._greatest = before, -np.inf  # since the last row of the run
        self._closed = Points(lambda _, second: second, width=3)

    def add(self, run: Any, own: Any) -> None:
        """Add rows [n]: the run's steps and those of their own, NaN where a row has none."""
        there, run_there = np.flatnonzero(np.isfinite(own)), np.isfinite(run)
        before = np.concatenate([[self._before], run[run_there]])
        greatest = np.full(len(before), -np.inf)
        greatest[0] = self._greatest
        np.maximum.at(greatest, np.cumsum(run_there)[there], own[there])
        closed = np.stack([greatest[:-1], before[:-1], before[1:]], axis=1)
        self._closed.add(closed[np.isfinite(closed[:, 0])])
        self._before, self._greatest = float(before[-1]), float(greatest[-1])
        self._own.add(own[there])

    def are_steps(self, run: _Course) -> bool:
        """Say whether most stand where the run was: between its steps before and behind, an evaluation perhaps late.

        At the log's ends, and where the run goes back, the step that is not logged is one interval of the log away.
        """
        last = [[self._greatest, self._before, np.nan]] if np.isfinite(self._greatest) else np.empty((0, 3))
        greatest, before, behind = np.concatenate([self._closed.values(), last]).T
        whole = np.isnan(before) & (greatest > behind + 1.0)  # all evaluations, and then the run
        before, behind = np.where(whole, run.top, before), np.where(whole, np.nan, behind)
        with np.errstate(over="ignore", invalid="ignore"):
            before = np.where(np.isnan(before), behind - run.rise, before)
            behind = np.where(np.isnan(behind), before + run.rise, behind)
            late = max(self._own.rise, 1.0)  # steps counted from 0 or from 1
            low = np.minimum(before, behind - run.rise) - late
            high = np.maximum(before + run.rise, behind) + 1.0
        return 2 * int(((low <= greatest) & (greatest <= high)).sum()) > len(greatest)
