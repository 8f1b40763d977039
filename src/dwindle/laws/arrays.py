"""A row of numbers, as a caller gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, shown

__all__ = ["Array", "row"]

Array = npt.NDArray[np.float64]


def row(name: str, values: Any, what: str = "a row of numbers") -> Array:
    """Return ``values`` as float64 [n]; raise InvalidValueError that ``name`` must be ``what`` else."""
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidValueError(f"{name} must be {what}; got {shown(values)}.") from None
    if found.ndim != 1:
        raise InvalidValueError(f"{name} must be {what}; got shape {found.shape}.")
    return found
