"""The arithmetic of `rows`, compiled: bringing rows up to date, and the updates of the rows that a gradient touches.

Rows lie anywhere in a table that no cache holds, so those that come next are fetched while one is worked on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["bring_up", "gather", "step_adam", "step_sgd"]

_AHEAD = 16  # rows
_BEGINNING = 512  # bytes of a row: what follows the processor fetches by itself


@intrinsic
def _fetch(_: Any, address: Any) -> Any:
    """Begin to bring what is at an address into the cache; one that is nowhere does no harm."""

    def gen(_, b, __, args):
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, *[number] * 3])
        fetch = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0i8")
        b.call(fetch, [b.inttoptr(args[0], cgutils.voidptr_t), number(0), number(3), number(1)])
        return _.get_dummy_value()

    return types.void(types.int64), gen


@njit(nogil=True)
def _fetch_row(table, r):
    size = table.shape[1] * table.itemsize
    begin = table.ctypes.data + r * size
    for at in range(0, min(size, _BEGINNING), 64):
        _fetch(begin + at)


@njit(nogil=True)
def _lefts(at, logs, count, now, factor, ids):
    """Return what is left of every row at update ``count``, times ``factor``, and note that it is decayed up to ``now``.

    1 for a row that is there already, or that is none.
    """
    lefts = np.ones(len(ids))
    for k in range(len(ids)):
        if k + _AHEAD < len(ids):
            _fetch(at.ctypes.data + ids[k + _AHEAD] * at.itemsize)
        r = ids[k]
        if 0 <= r < len(at) and at[r] != now:
            lefts[k] = factor if at[r] == count else factor * np.exp(logs[count] - logs[at[r]])
            at[r] = now
    return lefts


@njit(cache=True, nogil=True)
def bring_up(table, at, logs, count, ids):
    """Decay the rows ``ids`` of ``table`` up to ``count``; return whether any was behind."""
    lefts, any_behind = _lefts(at, logs, count, count, 1.0, ids), False
    for k in range(len(ids)):
        if k + _AHEAD < len(ids):
            _fetch_row(table, ids[k + _AHEAD])
        left = lefts[k]
        if left != 1.0:
            row, any_behind = table[ids[k]], True
            for j in range(len(row)):
                row[j] *= left
    return any_behind


@njit(cache=True, nogil=True)
def gather(slots, ids, values):
    """Return every row once, with the sum of its values; ``slots`` is -1 everywhere, before and after."""
    rows, sums, n = np.empty_like(ids), np.empty_like(values), 0
    for k in range(len(ids)):
        if k + _AHEAD < len(ids):
            _fetch(slots.ctypes.data + ids[k + _AHEAD] * slots.itemsize)
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
    lefts = _lefts(at, logs, count, count + 1, 1.0 - x, ids)
    for k in range(len(ids)):
        if k + _AHEAD < len(ids):
            _fetch_row(table, ids[k + _AHEAD])
        left, row, gradient = lefts[k], table[ids[k]], values[k]
        for j in range(len(row)):
            row[j] = row[j] * left - lr * gradient[j]


@njit(cache=True, nogil=True, error_model="numpy")
def step_adam(table, ms, vs, at, logs, count, ids, values, scale, x, step, root, eps, beta1, beta2, cautious):
    """Take AdamW's step on the rows ``ids``, each once, as `kernels` does on all."""
    lefts = _lefts(at, logs, count, count + 1, 1.0, ids)
    for k in range(len(ids)):
        if k + _AHEAD < len(ids):
            for array in (table, ms, vs):
                _fetch_row(array, ids[k + _AHEAD])
        left, row, m, v, gradient = lefts[k], table[ids[k]], ms[ids[k]], vs[ids[k]], values[k]
        for j in range(len(row)):
            w, g = row[j] * left, gradient[j] * scale
            first, second = m[j] + (g - m[j]) * (1.0 - beta1), v[j] * beta2 + g * g * (1.0 - beta2)
            m[j], v[j] = first, second
            move = step * (first / (np.sqrt(second) * root + eps))
            keep = cautious and not ((first >= 0.0 and w >= 0.0) or (first <= 0.0 and w <= 0.0))
            row[j] = w - ((0.0 if keep else x * w) + move)
