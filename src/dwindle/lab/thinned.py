"""A long curve by few of its points, which draw the same picture."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["MOST", "thinned"]

MOST = 400


def thinned(values: Any, most: int = MOST) -> Any:
    """Return the indices of at most ``most`` of the ``values`` [n]: the first, the last, and of each stretch the extremes.

    The stretches are (most - 2)/2 equal parts of the rest, so that no peak, however short, is left out of the picture. A
    value that is not finite is no extreme, but the first of a stretch that has no other is kept.

    >>> values = np.zeros(100_000)
    >>> values[77_777] = 1.0
    >>> kept = thinned(values)
    >>> len(kept) <= 400, 77_777 in kept, kept[0], kept[-1]
    (True, True, np.int64(0), np.int64(99999))
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) <= most:
        return np.arange(len(array))
    edges = np.linspace(1, len(array) - 1, (most - 2) // 2 + 1).astype(np.int64)
    kept = {0, len(array) - 1}
    low, high = (np.where(np.isfinite(array), array, worst) for worst in (np.inf, -np.inf))
    for start, end in pairwise(edges):
        kept |= {int(start + np.argmin(low[start:end])), int(start + np.argmax(high[start:end]))}
    return np.array(sorted(kept))
