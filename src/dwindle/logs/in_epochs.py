"""Steps that begin anew in each epoch, counted on from the start of the run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["InEpochs"]

_MOST = 0.1  # of the epochs: so many may begin at a higher step than the one before came to
_ENOUGH = 8  # epochs that begin so are no chance
_LONGEST = 2**20  # rows of an epoch
_AFTER = 4  # rows at the end of an epoch that are of its validation
_SURE = 0.05  # of an epoch: steps between rows, and so how many may follow its last row


class _Epoch(NamedTuple):
    """An epoch's number, its first and last steps, and the steps from row to row; how many to the last one."""

    number: float
    first: float
    last: float
    gap: float
    rest: float
    even: bool


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
        self._now, self._top = np.nan, -np.inf  # the epoch and the highest step in it

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
            self._over(rows[begin:end, 0], float(rows[begin, 1]), rows[end])
            begin = int(end)
        self._rows = [rows[begin:]]
        if len(rows) - begin > _LONGEST:
            self._on = self._rises = 2 * _ENOUGH

    def begin_anew(self) -> bool:
        """Say whether the step rises within epochs and at hardly any row at which the epoch rises."""
        return self._rises > 0 and self._on <= _MOST * self._rises and any(each.gap > 0.0 for each in self._epochs)

    def steps_per_epoch(self) -> float | None:
        """Return the steps of an epoch, if all of them tell the same; else None.

        Of rows every g steps an epoch may have up to g - 1 more than its last row says.
        """
        if not self._rows or not self._epochs:
            return None
        open_ = _epoch(self._rows[0][:, 0], float(self._rows[0][0, 1]))
        one = self._epochs[-1]
        whole = [each for each in self._epochs if each is not self._epochs[0] or each.first == one.first]
        alike = all(each.even and each[1:5] == one[1:5] for each in whole)
        begun = self._epochs[0].last == one.last and open_.first == one.first and open_.last <= one.last
        numbers = [each.number for each in self._epochs]
        if not (alike and begun and one.gap > 0.0 and all(n == np.floor(n) for n in numbers)):
            return None
        if one.rest < one.gap:  # the last row is the epoch's last step, whatever the others are
            return one.last + float(one.first == 0.0)
        length = one.last - one.first + one.gap
        return length if one.gap == 1.0 or one.gap <= _SURE * length else None

    def _counted_on(self, steps: Any, epochs: Any, length: float) -> Any:
        """Return the steps [n] since the start: (epoch - first epoch)·length + step; of rows after an epoch's last, its end."""
        at = np.maximum.accumulate(np.where(np.isnan(epochs), -1, np.arange(len(epochs))))
        epochs = np.where(at >= 0, epochs[np.maximum(at, 0)], self._now)
        if self._base is None and not np.isnan(epochs).all():
            self._base = min(float(epochs[~np.isnan(epochs)][0]), 1.0)
        before = (epochs - (self._base or 0.0)) * length
        out = before + steps
        begin = 0
        for end in (*(np.flatnonzero(np.diff(epochs)) + 1), len(steps)):
            part = slice(begin, int(end))
            if begin == end or np.isnan(epochs[begin]):
                begin = int(end)
                continue
            top = self._top if epochs[begin] == self._now else -np.inf
            seen = np.fmax.accumulate(np.append(top, steps[part]))
            out[part] = np.where(steps[part] < seen[:-1], before[part] + length, out[part])
            self._now, self._top = float(epochs[begin]), float(seen[-1])
            begin = int(end)
        return out

    def _go_on(self) -> bool:
        """Say whether it is known that the steps go on from epoch to epoch."""
        return self._rises >= _ENOUGH and self._on > _MOST * self._rises

    def _over(self, steps: Any, number: float, following: Any) -> None:
        found = _epoch(steps, number)
        self._epochs.append(found)
        if following[1] > number:
            self._rises += 1
            self._on += int(following[0] > found.last)


def _epoch(steps: Any, number: float) -> _Epoch:
    """Return what is to be known of an epoch; its rows are even if their steps rise by the same, the last perhaps by less."""
    steps = steps[np.append(True, np.diff(steps) != 0.0)]
    count = int(np.argmax(np.append(np.diff(steps) < 0.0, True))) + 1
    gaps = np.diff(steps[:count])
    gap, rest = (float(gaps[0]), float(gaps[-1])) if count > 1 else (0.0, 0.0)
    even = (
        len(steps) - count <= _AFTER
        and steps[:count].max() == steps.max()
        and bool((gaps[:-1] == gap).all())
        and rest <= gap
    )
    return _Epoch(number, float(steps[0]), float(steps[count - 1]), gap, rest, even)
