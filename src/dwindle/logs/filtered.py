"""Losses of exactly 0 that stand where the loss was no number any more."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["FILTER", "filtered_tail"]

FILTER = "the Hugging Face Trainer writes 0 where a loss is not a number (logging_nan_inf_filter)"
_FEWEST = 3  # points of 0, the last
_BEFORE = 8  # points before them, all above 0
_LAST = 20  # of those, the ones that show whether the loss was on its way to 0
_APPROACHED = 0.1  # of the first losses: one that came lower may have reached 0
_FAR = 5.0  # standard deviations of the last losses: one that lay no further from 0 may have reached it


def filtered_tail(loss: Any) -> int:
    """Return how many of the last losses [n] are exactly 0 though the loss was nowhere near it; 0 where it came down to there.

    >>> filtered_tail(np.array([3.0, 2.8, 2.7, 2.6, 2.6, 2.5, 2.5, 2.4, 0.0, 0.0, 0.0]))
    3
    >>> filtered_tail(np.array([0.8, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.0, 0.0, 0.0]))
    0
    """
    there = np.flatnonzero(loss != 0.0)
    if not len(there) or len(loss) - there[-1] - 1 < _FEWEST:
        return 0
    before = loss[: there[-1] + 1]
    if len(before) < _BEFORE or not (before > 0.0).all() or not np.isfinite(before).all():
        return 0
    last = before[-_LAST:]
    steps = np.diff(np.unique(before))
    spread = max(float(last.std()), float(steps.min()) if len(steps) else 0.0)  # a rounded loss steps down to 0
    far = last.min() > _APPROACHED * np.median(before[:5]) or last.mean() > _FAR * spread > 0.0
    return len(loss) - len(before) if far else 0
