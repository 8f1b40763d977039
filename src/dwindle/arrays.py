"""Numbers as a caller gives them, as float64 arrays: what counts as a number is said once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, shown

__all__ = ["Array", "float64", "row"]

Array = npt.NDArray[np.float64]


def float64(name: str, value: Any, what: str = "numbers") -> Array:
    """Return ``value`` as a float64 array of its own; raise InvalidValueError that ``name`` must be ``what`` else.

    Text is no number here, nor are dates, complex numbers, rows of unequal length and what a mask hides, all of which NumPy
    turns into some number or other without a word.

    >>> float64("loss", [3, 2.5])
    array([3. , 2.5])
    """
    try:
        found = np.asarray(value)
        if found.dtype.kind in "biufO" and not np.ma.is_masked(value):
            return found.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    raise InvalidValueError(f"{name} must be {what}; got {shown(value)}.")


def row(name: str, values: Any, what: str = "a row of numbers") -> Array:
    """Return ``values`` as float64 [n]; raise InvalidValueError that ``name`` must be ``what`` else."""
    found = float64(name, values, what)
    if found.ndim != 1:
        raise InvalidValueError(f"{name} must be {what}; got shape {found.shape}.")
    return found
