"""Columns of different units made comparable before they are penalised alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.ridge.factor import features

__all__ = ["Standardised", "standardised"]

Array = npt.NDArray[np.float64]


class Standardised(NamedTuple):
    """``X`` with columns of mean 0 and standard deviation 1, and the ``mean`` and ``scale`` [p] that were taken off."""

    X: Array
    mean: Array
    scale: Array

    def like(self, X: Any) -> Array:
        """Return other rows in the same units."""
        return (features("X", X, len(self.mean)) - self.mean) / self.scale


def standardised(X: Any) -> Standardised:
    """Return (X - mean)/scale, the moments those of the columns (divisor n); a column that does not vary becomes 0.

    w of the standardised columns is scale·w of the columns as they were.

    >>> standardised([[1.0, 5.0], [3.0, 5.0]]).X
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    X = features("X", X)
    top = np.maximum(np.max(np.abs(X), axis=0), np.finfo(float).tiny)
    top = 2.0 ** np.ceil(np.log2(top))  # a power of two, so that no sum or square overflows and nothing is rounded
    unit = X / top
    mean, scale = unit.mean(axis=0), unit.std(axis=0)
    alike = X.min(axis=0) == X.max(axis=0)
    mean[alike], scale[alike] = unit[0, alike], 1.0
    return Standardised((unit - mean) / scale, mean * top, scale * top)
