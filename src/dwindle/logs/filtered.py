"""Losses of exactly 0 that stand where the loss was no number any more."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["FILTER", "filtered_tail"]

FILTER = "the Hugging Face Trainer writes 0 where a loss is not a number (logging_nan_inf_filter)"
_FEWEST = 3  # points of 0, the last
_BEFORE = 8  # points before them; of fewer it must be seen that they stood
_EARLY = 3  # points before them at the least, where those of 0 are more
_STOOD = 0.7  # of the first losses: few points that came no lower were not on their way to 0
_SINGLE = 0.1  # of the points before them: so many may be single ones of 0
_LAST = 20  # of those, the ones that show whether the loss was on its way to 0
_APPROACHED = 0.1  # of the first losses: one that came lower may have reached 0
_FAR = 5.0  # standard deviations of the last losses: one that lay no further from 0 may have reached it


def filtered_tail(loss: Any) -> int:
    """Return how many of the last losses [n] are exactly 0 though the loss was nowhere near it; 0 where it came down to there.

    Of the losses before, single ones may be 0: the filter writes them too.

    >>> filtered_tail(np.array([3.0, 2.8, 2.7, 2.6, 2.6, 2.5, 2.5, 2.4, 0.0, 0.0, 0.0]))
    3
    >>> filtered_tail(np.array([0.8, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.0, 0.0, 0.0]))
    0
    """
    there = np.flatnonzero(loss != 0.0)
    end = int(there[-1]) + 1 if len(there) else 0
    before, lost = loss[there], len(loss) - end
    few = len(before) < _BEFORE
    if lost < _FEWEST or len(before) < _EARLY or (few and lost <= end) or end - len(before) > _SINGLE * end:
        return 0
    if not (before > 0.0).all() or not np.isfinite(before).all():
        return 0
    last = before[-_LAST:]
    steps = np.diff(np.unique(before))
    spread = max(float(last.std()), float(steps.min()) if len(steps) else 0.0)  # a rounded loss steps down to 0
    lowest = last.min() / np.median(before[:5])
    far = lowest > _STOOD if few else lowest > _APPROACHED or last.mean() > _FAR * spread > 0.0
    return lost if far else 0
