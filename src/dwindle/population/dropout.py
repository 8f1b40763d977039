"""Which units dropout leaves out: decided by the member's seed, the step and the place of the unit, and by nothing else.

The draws are those of SplitMix64 (Steele, Lea & Flood 2014), a counter-based generator: number i of a stream with key c is
mix(c + (i+1)·γ). A member's key is drawn from its seed; each step has the draw of its number as a key of its own. So the
masks of any step can be had alone, and a member's do not depend on its company.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["GAMMA", "MIX", "is_kept", "member_key", "threshold"]

GAMMA = 0x9E3779B97F4A7C15
MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def member_key(seed: int) -> int:
    """Return the key of the member with this ``seed``, 64 bits.

    >>> member_key(0) == member_key(1)
    False
    """
    return int(np.random.SeedSequence([seed, 0, 1]).generate_state(1, np.uint64)[0])


def threshold(dropout: float) -> int:
    """Return the draw from which on a unit is kept: a share ``dropout`` of all 2^64 lie below it.

    >>> threshold(0.5) == 2**63
    True
    """
    return int(dropout * 2.0**64)


def draw(keys: NDArray[np.uint64], places: Any) -> NDArray[np.uint64]:
    """Return the 64 bits at ``places``, whole numbers, of the streams with these ``keys``.

    >>> draw(np.array([1234567], np.uint64), 0)  # as the published C code has it
    array([6457827717110365317], dtype=uint64)
    """
    one, two = (np.uint64(number) for number in MIX)
    z = keys + (np.atleast_1d(np.asarray(places, np.uint64)) + np.uint64(1)) * np.uint64(GAMMA)
    z = (z ^ (z >> np.uint64(30))) * one
    z = (z ^ (z >> np.uint64(27))) * two
    return np.asarray(z ^ (z >> np.uint64(31)))


def is_kept(
    keys: NDArray[np.uint64], step: int, first: int, rows: int, units: int, dropout: float
) -> NDArray[np.bool_]:
    """Return (members, rows, units): the units kept in ``step``, the place of row r's unit u being first + r·units + u."""
    of_step = draw(keys, step)[:, None, None]
    places = first + np.arange(rows * units, dtype=np.uint64).reshape(rows, units)
    return draw(of_step, places) >= np.uint64(threshold(dropout))
