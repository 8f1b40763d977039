"""Losses of exactly 0 that stand where the loss was no number any more."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["FILTER", "filtered_tail"]

FILTER = "the Hugging Face Trainer writes 0 where a loss is not a number (logging_nan_inf_filter)"
_FEWEST = 3  # points of 0, the last
_BEFORE = 8  # points before them; fewer do not tell
_EARLY = 3  # of fewer, the points that may tell something, where those of 0 are more
_STOOD = 0.7  # of the first losses: few points that came no lower were not on their way to 0
_SINGLE = 0.1  # of the points before them: so many may be single ones of 0
_LAST = 20  # of those, the ones that show whether the loss was on its way to 0
_APPROACHED = 0.1  # of the first losses: one that came lower may have reached 0
_FAR = 5.0  # standard deviations of the last losses, or units of their last decimal: one that came so near may have reached 0
_DECIMALS = 8  # of a loss that was rounded


def filtered_tail(loss: Any, *, few: bool = False) -> int:
    """Return how many of the last losses [n] are exactly 0 though the loss was nowhere near it; 0 where it came down to there.

    Of the losses before, single ones may be 0: the filter writes them too. With ``few`` it is asked of three to seven losses
    before: they had hardly fallen, but a loss with a margin may come to 0 as suddenly.

    >>> filtered_tail(np.array([3.0, 2.8, 2.7, 2.6, 2.6, 2.5, 2.5, 2.4, 0.0, 0.0, 0.0]))
    3
    >>> filtered_tail(np.array([0.8, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.0, 0.0, 0.0]))
    0
    """
    there = np.flatnonzero(loss != 0.0)
    end = int(there[-1]) + 1 if len(there) else 0
    before, lost = loss[there], len(loss) - end
    if lost < _FEWEST or len(before) < _EARLY or few != (len(before) < _BEFORE) or end - len(before) > _SINGLE * end:
        return 0
    if not (before > 0.0).all() or not np.isfinite(before).all():
        return 0
    last = before[-_LAST:]
    if last.min() < (_FAR + 0.5) * _last_decimal(before):
        return 0
    lowest = last.min() / np.median(before[:5])
    if few:
        return lost if lost > end and lowest > _STOOD else 0
    steps = np.diff(np.unique(before))
    spread = max(float(last.std()), float(steps.min()) if len(steps) else 0.0)  # a rounded loss steps down to 0
    return lost if lowest > _APPROACHED or last.mean() > _FAR * spread > 0.0 else 0


def _last_decimal(loss: Any) -> float:
    """Return one unit of the last decimal that losses [n] were rounded to; 0 where they were not.

    >>> _last_decimal(np.array([0.25, 0.5])), _last_decimal(np.array([1 / 3]))
    (0.01, 0.0)
    """
    return next((10.0**-d for d in range(_DECIMALS + 1) if (np.round(loss, d) == loss).all()), 0.0)
