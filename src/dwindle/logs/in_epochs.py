"""Steps that begin anew in each epoch, counted on from the start of the run."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

__all__ = ["InEpochs"]

_MOST = 0.1  # of the epochs: so many may begin no lower than the one before came to
_ENOUGH = 8  # epochs that begin so are no chance
_LONGEST = 2**20  # rows of an epoch
_AFTER = 4  # rows after an epoch, from a lower step on, that are of its validation; more are a run that was resumed
_SURE = 0.05  # of an epoch: steps between rows, and so how many may follow its last row


class _Epoch(NamedTuple):
    """An epoch's number, its first and last steps, and the steps from row to row; how many to the last one.

    Its rows are even if their steps rise by the same, the last perhaps by less; rows of validation may follow. One that was
    resumed is two, of the same number.
    """

    number: float
    first: float
    last: float
    gap: float
    rest: float
    even: bool
    validated: bool


class InEpochs:
    """What the steps of the rows do where their epoch rises; ``length``, the steps of an epoch, once it is known.

    >>> rows = InEpochs()
    >>> step, epoch = np.tile(np.arange(1.0, 41.0), 3), np.repeat([1.0, 2.0, 3.0], 40)
    >>> bool((rows.placed(step, epoch) == step).all())
    True
    >>> rows.begin_anew(), rows.steps_per_epoch()
    (True, 40.0)
    >>> InEpochs(40.0).placed(step, epoch)[[0, 39, 40, 119]].tolist()
    [1.0, 40.0, 41.0, 120.0]
    """

    def __init__(self, length: float | None = None) -> None:
        self.length = length
        self._rows: list[Any] = []  # of the epoch that is not over
        self._epochs: list[_Epoch] = []
        self._rises, self._on = 0, 0  # epochs that follow a lower one; those of them whose steps go on
        self._base: float | None = None
        self._now, self._last = np.nan, -np.inf  # the epoch and the last step in it
        self._since = np.inf  # rows since the step fell in it

    def placed(self, steps: Any, epochs: Any) -> Any:
        """Return the steps [n] of rows in these epochs, if in any: as they are while the length is sought, then counted on."""
        if self.length is not None:
            return self._counted_on(steps, np.full(len(steps), np.nan) if epochs is None else epochs, self.length)
        if epochs is not None:
            self._add(steps, epochs)
        return steps

    def _add(self, steps: Any, epochs: Any) -> None:
        """Look at the steps and epochs [n] of rows that have both."""
        known = np.isfinite(steps) & np.isfinite(epochs)
        if self._go_on() or not known.any():
            return
        rows = np.concatenate([*self._rows, np.stack([steps[known], epochs[known]], axis=1)])
        ends = np.flatnonzero(np.diff(rows[:, 1])) + 1
        if len(ends) > len(rows) // 2:
            ends = ends[: _ENOUGH + 1]  # such epochs are no counter, and steps go on
        begin = 0
        for end in ends:
            self._over(rows[begin:end, 0], float(rows[begin, 1]))
            begin = int(end)
        self._rows = [rows[begin:]]
        if len(rows) - begin > _LONGEST:
            self._on = self._rises = 2 * _ENOUGH

    def begin_anew(self) -> bool:
        """Say whether the step rises within epochs and at hardly any row at which the epoch rises."""
        if not self._rows or not self._epochs:
            return False
        steps = self._rows[0][:, 0]
        rises, on = self._rise(steps, float(self._rows[0][0, 1]))
        if on and _different(steps) == 1:
            rises = on = 0  # it may be of a validation
        rises, on = self._rises + rises, self._on + on
        return rises > 0 and on <= _MOST * rises and any(each.gap > 0.0 for each in self._epochs)

    def steps_per_epoch(self) -> float | None:
        """Return the steps of an epoch, if all of them tell the same; else None.

        Of rows every g steps an epoch may have up to g - 1 more than its last row says.
        """
        if not self._rows or not self._epochs:
            return None
        epochs = [*self._epochs, *_epochs(self._rows[0][:, 0], float(self._rows[0][0, 1]))]
        cut = [*(then.number <= each.number for each, then in pairwise(epochs)), True]  # by a restart or the log's end
        back = [False, *cut[:-1]]
        whole = [each for each, *parted in zip(epochs, cut, back, strict=True) if not any(parted)]
        if not whole or not whole[-1].gap > 0.0 or any(each.number != np.floor(each.number) for each in epochs):
            return None
        one = whole[-1]
        for i, each in enumerate(epochs):
            part = cut[i] or back[i]
            begins = each.first == one.first or i == 0 or (back[i] and each.first > one.first)
            ends = each.last == one.last or (cut[i] and each.last < one.last and not each.validated)
            alike = each.even and (each[3:5] == one[3:5] or (part and each.gap <= one.gap))
            if not (begins and ends and (alike or (i == 0 and each.first != one.first))):
                return None
        if one.rest < one.gap:  # the last row is the epoch's last step, whatever the others are
            return one.last + float(one.first == 0.0)
        length = one.last - one.first + one.gap
        return length if one.gap == 1.0 or one.gap <= _SURE * length else None

    def _counted_on(self, steps: Any, epochs: Any, length: float) -> Any:
        """Return the steps [n] since the start: (epoch - first epoch)·length + step; of validation after an epoch, its end."""
        if not len(steps):
            return steps
        at = np.maximum.accumulate(np.where(np.isnan(epochs), -1, np.arange(len(epochs))))
        epochs = np.where(at >= 0, epochs[np.maximum(at, 0)], self._now)
        if self._base is None and not np.isnan(epochs).all():
            self._base = min(float(epochs[~np.isnan(epochs)][0]), 1.0)
        before = (epochs - (self._base or 0.0)) * length
        out = before + steps
        begin = 0
        for end in (*(np.flatnonzero(np.diff(epochs)) + 1), len(steps)):
            rows = begin + np.flatnonzero(np.isfinite(steps[begin:end]) & np.isfinite(epochs[begin]))
            for part in _rising(rows, steps[rows]):
                if epochs[begin] != self._now:
                    self._now, self._since = float(epochs[begin]), np.inf
                elif steps[part[0]] < self._last:
                    self._since = 0.0
                self._since += _different(steps[part])
                self._last = float(steps[part[-1]])
                if self._since <= _AFTER:
                    out[part] = before[part] + length
            begin = int(end)
        return out

    def _go_on(self) -> bool:
        """Say whether it is known that the steps go on from epoch to epoch."""
        return self._rises >= _ENOUGH and self._on > _MOST * self._rises

    def _over(self, steps: Any, number: float) -> None:
        rises, on = self._rise(steps, number)
        self._rises, self._on = self._rises + rises, self._on + on
        self._epochs += _epochs(steps, number)

    def _rise(self, steps: Any, number: float) -> tuple[int, int]:
        """Return whether an epoch follows a lower one, and whether its steps [n] go on from there.

        Its first row may be of the validation of the epoch before, at its last step or a row later, before they begin anew.
        """
        if not self._epochs or number <= self._epochs[-1].number:
            return 0, 0
        before, parts = self._epochs[-1], _rising(steps, steps)
        validated = len(parts) > 1 and _different(parts[0]) == 1 and parts[1][0] == before.first
        begins = parts[1] if validated and parts[0][0] <= before.last + max(before.gap, 1.0) else parts[0]
        return 1, int(begins[0] >= before.last)


def _rising(rows: Any, steps: Any) -> list[Any]:
    """Return the rows [n] in parts, each up to where their steps [n] fall."""
    return np.split(rows, np.flatnonzero(np.diff(steps) < 0.0) + 1) if len(rows) else []


def _different(steps: Any) -> int:
    """Return how many of the steps [n] are not the one before."""
    return int(np.count_nonzero(np.diff(steps))) + 1


def _epochs(steps: Any, number: float) -> list[_Epoch]:
    """Return what is to be known of an epoch, and of each beginning of it if it was resumed."""
    found = list[_Epoch]()
    for part in _rising(steps, steps):
        if found and _different(part) <= _AFTER:
            found[-1] = found[-1]._replace(validated=True)
            continue
        gaps = np.diff(part[np.append(True, np.diff(part) > 0.0)])
        gap, rest = (float(gaps[0]), float(gaps[-1])) if len(gaps) else (0.0, 0.0)
        even = bool((gaps[:-1] == gap).all()) and rest <= gap
        found.append(_Epoch(number, float(part[0]), float(part[-1]), gap, rest, even, False))
    return found
