"""How much a test result leans on the examples it was measured on: it is had again without a part of them, each in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["part_means", "parts", "pseudo_values"]

_MOST = 50  # parts: their variance is known to a tenth of its root


def parts(rows: int) -> list[NDArray[np.intp]]:
    """Return the rows in at most 50 parts of like size, neighbours together, which may be alike; none where there is one row.

    Of rows that are sorted, as by class, parts differ by more than chance, and the spread is told too large, not too small.

    >>> [part.tolist() for part in parts(3)]
    [[0], [1], [2]]
    """
    return [] if rows < 2 else np.array_split(np.arange(rows), min(rows, _MOST))


def pseudo_values(whole: ArrayLike, without: ArrayLike) -> NDArray[np.float64]:
    """Return G·θ - (G - 1)·θ₋g of each of G parts, θ the result on all rows (...), θ₋g ``without`` that part (..., G).

    Of a mean over rows and parts of one size they are the means of the parts. The variance of θ over other rows of the same
    kind is that of these values divided by G.

    Source: Tukey 1958; Efron & Stein 1981.

    >>> pseudo_values(2.5, [3.5, 1.5])  # the mean of two parts, of means 1.5 and 3.5
    array([1.5, 3.5])
    """
    left = np.asarray(without, dtype=np.float64)
    count = left.shape[-1]
    return np.asarray(count * np.asarray(whole, dtype=np.float64)[..., None] - (count - 1) * left)


def part_means(means: NDArray[Any], sizes: ArrayLike) -> NDArray[np.float64]:
    """Return the `pseudo_values` of a mean over rows, from its ``means`` (..., G) over parts of these ``sizes`` (G,).

    >>> part_means(np.array([1.5, 3.5]), [4, 4])
    array([1.5, 3.5])
    """
    weights = np.asarray(sizes, dtype=np.float64)
    sums = means * weights
    total = sums.sum(axis=-1)
    return pseudo_values(total / weights.sum(), (total[..., None] - sums) / (weights.sum() - weights))
