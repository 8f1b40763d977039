"""Max pooling of plane after plane with the channels innermost, and the relu before it, each in one pass."""

from __future__ import annotations

import numba
import numpy as np
import torch

__all__ = ["max_pool", "max_pool_backward"]

NOWHERE = 255  # the place of a window whose maximum is the relu's 0: no gradient goes through it


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _pool(x, high, wide, least, place, y, places):  # type: ignore[no-untyped-def]
    """Set y[i, j, c] = max(least, max of x over window (i, j)), and the place of the first maximum in it; NaN wins."""
    rows, cols, channels = y.shape[1], y.shape[2], y.shape[3]
    for b in range(y.shape[0]):
        for i in range(rows):
            for j in range(cols):
                for c in range(channels):
                    y[b, i, j, c] = least
                    places[b, i, j, c] = place
                for p in range(high):
                    for q in range(wide):
                        here = np.uint8(p * wide + q)
                        for c in range(channels):
                            value = x[b, i * high + p, j * wide + q, c]
                            best = y[b, i, j, c]
                            wins = (value > best) | (value != value)
                            y[b, i, j, c] = value if wins else best
                            places[b, i, j, c] = here if wins else places[b, i, j, c]


@numba.njit(nogil=True, error_model="numpy", cache=True)
def _spread(dy, places, high, wide, zero, dx):  # type: ignore[no-untyped-def]
    """Set dx to dy at the place of each window's maximum, to 0 elsewhere; rows and columns in no window are left alone."""
    rows, cols, channels = dy.shape[1], dy.shape[2], dy.shape[3]
    for b in range(dy.shape[0]):
        for i in range(rows):
            for p in range(high):
                for j in range(cols):
                    for q in range(wide):
                        here = np.uint8(p * wide + q)
                        for c in range(channels):
                            dx[b, i * high + p, j * wide + q, c] = (
                                dy[b, i, j, c] if places[b, i, j, c] == here else zero
                            )


def max_pool(x: torch.Tensor, high: int, wide: int, relu: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the maxima of the windows of ``x`` (or of relu(x)), and each one's place in its window.

    ``x`` is (examples, channels, h, w) with the channels innermost in memory, as are the results.
    """
    inner = x.permute(0, 2, 3, 1).numpy()
    b, h, w, c = inner.shape
    y = torch.empty(b, h // high, w // wide, c, dtype=x.dtype)
    places = torch.empty(y.shape, dtype=torch.uint8)
    least, place = (0.0, NOWHERE) if relu else (-np.inf, 0)
    _pool(inner, high, wide, inner.dtype.type(least), np.uint8(place), y.numpy(), places.numpy())
    return y.permute(0, 3, 1, 2), places.permute(0, 3, 1, 2)


def max_pool_backward(dy: torch.Tensor, places: torch.Tensor, high: int, wide: int, h: int, w: int) -> torch.Tensor:
    """Return the gradient of what was pooled, (examples, channels, h, w)."""
    outer = dy.permute(0, 2, 3, 1).numpy()
    b, rows, cols, c = outer.shape
    whole = rows * high == h and cols * wide == w
    dx = (torch.empty if whole else torch.zeros)(b, h, w, c, dtype=dy.dtype)
    _spread(outer, places.permute(0, 2, 3, 1).numpy(), high, wide, outer.dtype.type(0), dx.numpy())
    return dx.permute(0, 3, 1, 2)
