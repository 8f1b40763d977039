"""Values as JSON holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """Return the value as JSON has it: arrays as lists, null for numbers that it has no word for, other things as their text.

    >>> import numpy as np
    >>> plain({"tau": math.inf, "lr": np.array([0.5]), "steps": (1, True)})
    {'tau': None, 'lr': [0.5], 'steps': [1, True]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if hasattr(value, "tolist"):  # an array, or a number of NumPy, which may be a float as well
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Sequence | set | frozenset):
        return [plain(inner) for inner in value]
    return str(value)
