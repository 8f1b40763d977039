"""Numbers as a caller gives them, as float64 arrays: what counts as a number is said once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import InvalidValueError, shown

__all__ = ["Array", "as_given", "float64", "row"]

Array = npt.NDArray[np.float64]


def as_given(value: Any) -> npt.NDArray[Any]:
    """Return ``value`` as NumPy has it; a tensor's numbers wherever it is, with or without a gradient.

    Raises TypeError or ValueError for what is no array, and for what a mask hides: without it the hidden values would count.
    """
    if hasattr(value, "requires_grad") and value.is_floating_point():
        value = value.detach().cpu().double()
    if np.ma.is_masked(value):
        raise TypeError("a part of it is masked; leave it out or fill it in")
    try:
        return np.asarray(value)
    except RuntimeError as error:  # tensors in a list
        raise TypeError(f"it is no array: {error}") from error


def float64(name: str, value: Any, what: str = "numbers") -> Array:
    """Return ``value`` as a float64 array of its own; raise InvalidValueError that ``name`` must be ``what`` else.

    Text is no number here, nor are dates, complex numbers, rows of unequal length and what a mask hides, all of which NumPy
    turns into some number or other without a word.

    >>> float64("loss", [3, 2.5])
    array([3. , 2.5])
    """
    try:
        found = as_given(value)
        is_text = found.dtype.kind == "O" and any(isinstance(each, str | bytes) for each in found.flat)
        if found.dtype.kind in "biufO" and not is_text:
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
