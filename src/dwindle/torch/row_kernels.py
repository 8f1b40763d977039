"""The arithmetic of `rows`, compiled: bringing rows up to date, and the updates of the rows that a gradient touches."""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["bring_up", "gather", "step_adam", "step_sgd"]


@njit(cache=True, nogil=True)
def bring_up(table, at, logs, count, ids):
    """Decay the rows ``ids`` of ``table`` up to ``count``; return whether any was behind."""
    any_behind = False
    for k in range(len(ids)):
        r = ids[k]
        if 0 <= r < len(at) and at[r] != count:
            left = np.exp(logs[count] - logs[at[r]])
            at[r] = count
            if left != 1.0:
                any_behind = True
                for j in range(table.shape[1]):
                    table[r, j] *= left
    return any_behind


@njit(cache=True, nogil=True)
def gather(slots, ids, values):
    """Return every row once, with the sum of its values; ``slots`` is -1 everywhere, before and after."""
    rows, sums, n = np.empty_like(ids), np.empty_like(values), 0
    for k in range(len(ids)):
        slot = slots[ids[k]]
        if slot < 0:
            slots[ids[k]], rows[n], sums[n] = n, ids[k], values[k]
            n += 1
        else:
            sums[slot] += values[k]
    for k in range(n):
        slots[rows[k]] = -1
    return rows[:n], sums[:n]


@njit(cache=True, nogil=True)
def step_sgd(table, at, logs, count, ids, values, lr, x):
    """Decay the rows ``ids`` up to and with update ``count``, and take lr·g from them; a row may come more than once."""
    for k in range(len(ids)):
        r, left = ids[k], 1.0
        if at[r] <= count:
            left = np.exp(logs[count] - logs[at[r]]) * (1.0 - x)
            at[r] = count + 1
        for j in range(table.shape[1]):
            table[r, j] = table[r, j] * left - lr * values[k, j]


@njit(cache=True, nogil=True)
def step_adam(table, ms, vs, at, logs, count, ids, values, scale, x, step, root, eps, beta1, beta2, cautious):
    """Take AdamW's step on the rows ``ids``, each once, as `kernels` does on all."""
    for k in range(len(ids)):
        r = ids[k]
        left = np.exp(logs[count] - logs[at[r]])
        at[r] = count + 1
        for j in range(table.shape[1]):
            w, g = table[r, j] * left, values[k, j] * scale
            ms[r, j] += (g - ms[r, j]) * (1.0 - beta1)
            vs[r, j] = vs[r, j] * beta2 + g * g * (1.0 - beta2)
            move = step * (ms[r, j] / (np.sqrt(vs[r, j]) * root + eps))
            keep = cautious and not ((move >= 0.0 and w >= 0.0) or (move <= 0.0 and w <= 0.0))
            table[r, j] = w - ((0.0 if keep else x * w) + move)
