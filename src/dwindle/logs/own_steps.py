"""Steps that rows of validation have in a column of their own, such as val/step, and counts that only look like them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from dwindle.errors import shown
from dwindle.logs.block import Block
from dwindle.logs.names import is_step_of_validation
from dwindle.logs.tally import Tally

__all__ = ["OwnSteps"]

_APART = 2.0  # a factor: of two regular logs of one run each comes to half of where the other ends, or further


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
        self._steps = _Course()
        self._own: dict[str, _Course] = {}

    def placed(self, block: Block, column: str | None, steps: Any, tally: Tally) -> Any:
        """Return the steps [rows] of a block, in rows that lack one their own; ``column`` is the one the steps are from."""
        self._steps.add(steps[np.isfinite(steps)])
        for name in filter(is_step_of_validation, block.columns):
            own = block.columns[name].spread(block.rows)
            lacks = np.isnan(steps) & np.isfinite(own)
            if name != column and name not in self._counts and lacks.any():
                self._own.setdefault(name, _Course()).add(own[lacks])
                tally.say(f"rows without {shown(column)} stand at their {shown(name)}")
                steps = np.where(lacks, own, steps)
        return steps

    def found(self) -> set[str]:
        """Return the columns that count batches or evaluations: they end far from the steps, or go back more often."""
        run = self._steps
        return {
            name
            for name, own in self._own.items()
            if run.seen and (own.back > run.back or max(own.top, run.top) > _APART * min(own.top, run.top))
        }


class _Course:
    """The greatest of numbers as they come, and how often they go back."""

    def __init__(self) -> None:
        self.seen, self.top, self.back, self._last = False, 0.0, 0, -np.inf

    def add(self, numbers: Any) -> None:
        if len(numbers):
            self.back += int((np.diff(numbers, prepend=self._last) < 0.0).sum())
            self.seen, self.top, self._last = True, max(self.top, float(numbers.max())), float(numbers[-1])
