"""One pass over memory: the update of a chunk of weights with all that goes with it, compiled for the processor at hand.

A tensor is a row of addresses, a chunk a stretch of one tensor; chunks are worked on side by side. Sums are taken chunk by
chunk in one order, so a step gives the same bits on any number of threads. Nothing is reassociated but the sums of squares,
and no flag of the whole process is touched. bfloat16 is held as its 16 bits and worked on in float32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, cfunc, njit, types
from numba.core import cgutils
from numba.extending import intrinsic, overload

__all__ = ["CHUNK", "pass_over", "work"]

CHUNK = 4096  # numbers: what a chunk touches stays in the cache from its update to its sum

# The columns of a row of addresses: where a tensor's numbers lie (0: it has none), its group, and what begins at this step.
WEIGHT, GRADIENT, FIRST, SECOND, AVERAGE, RESIDUE, REST, STEP, GROUP, NEW_MOMENTUM, NEW_AVERAGE = range(11)
COLUMNS = 11
# What a job is made of: addresses and counts; what is to be done; numbers; and each on a line of the cache of its own, how many
# threads have entered, how many chunks were measured, whether all is prepared, and for every part of the chunks which comes next.
TABLE, ROWS, CHUNK_TABLE, CHUNKS, GROUPS, CONSTANTS, SUMS, WORK, TEAM = range(9)
MEASURING, MOVING, ZERO, NORMS, THREADS, CLIP, KEEP, SCALE, SQUARE, TOTAL = range(9, 19)
ENTERED, MEASURED, PREPARED, NEXT_MEASURED, NEXT_MOVED, LINES = 24, 32, 40, 48, 56, 48
LINE = 16  # of a part: both of its counters
# The columns of a group's numbers.
LR, SHARE, L2, SIGN, BETA1, BETA2, EPS, MOMENTUM, DAMPENING = range(9)
NUMBERS = 9

_EXACT = {"contract", "nsz"}
_SUM = {"contract", "nsz", "reassoc"}


@intrinsic
def _at(_: Any, address: Any) -> Any:
    """The pointer to an address."""
    return types.voidptr(types.int64), lambda _, b, __, args: b.inttoptr(args[0], cgutils.voidptr_t)


@intrinsic
def _from_bits(_: Any, bits: Any) -> Any:
    """The float32 of 32 bits."""
    return types.float32(types.uint32), lambda _, b, __, args: b.bitcast(args[0], ir.FloatType())


@intrinsic
def _bits(_: Any, number: Any) -> Any:
    """The 32 bits of a float32."""
    return types.uint32(types.float32), lambda _, b, __, args: b.bitcast(args[0], ir.IntType(32))


@intrinsic
def _added(_: Any, job: Any, slot: Any) -> Any:
    """Add one to a number of the job, whatever other threads do; return what it was."""

    def gen(_, b, __, args):
        address = b.add(args[0], b.mul(args[1], args[1].type(8)))
        return b.atomic_rmw("add", b.inttoptr(address, ir.PointerType(ir.IntType(64))), args[1].type(1), "acq_rel")

    return types.int64(types.int64, types.int64), gen


@intrinsic
def _read(_: Any, job: Any, slot: Any) -> Any:
    """A number of the job as the thread that wrote it last left it, with all that it had written before."""

    def gen(_, b, __, args):
        address = b.add(args[0], b.mul(args[1], args[1].type(8)))
        return b.load_atomic(b.inttoptr(address, ir.PointerType(ir.IntType(64))), "acquire", 8)

    return types.int64(types.int64, types.int64), gen


@intrinsic
def _called(_: Any, function: Any, job: Any) -> Any:
    """Call the function of this address."""

    def gen(_, b, __, args):
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
        b.call(b.inttoptr(args[0], kind.as_pointer()), [args[1]])

    return types.void(types.int64, types.int64), gen


@intrinsic
def _called_together(_: Any, team: Any, function: Any, job: Any, threads: Any) -> Any:
    """Call GOMP_parallel, which is at ``team``, for this function."""

    def gen(_, b, __, args):
        count = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, cgutils.voidptr_t, count, count])
        pointers = [b.inttoptr(x, cgutils.voidptr_t) for x in args[1:3]]
        b.call(b.inttoptr(args[0], kind.as_pointer()), [*pointers, b.trunc(args[3], count), count(0)])

    return types.void(types.int64, types.int64, types.int64, types.int64), gen


def _load(number):
    """Return a stored number as it is calculated with."""


def _store(number, like):
    """Return a number as arrays like ``like`` hold it: bfloat16 rounded to nearest, to even between two; NaN stays NaN."""


@overload(_load, jit_options={"forceinline": True})
def _loads(number):
    if number == types.uint16:
        return lambda number: _from_bits(np.uint32(number) << np.uint32(16))
    return lambda number: number


@overload(_store, jit_options={"forceinline": True})
def _stores(number, like):
    if like.dtype != types.uint16:
        return lambda number, like: number

    def rounded(number, like):
        bits = _bits(number)
        short = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
        return np.uint16(short if number == number else np.uint32(0x7FC0))

    return rounded


@njit(fastmath=_SUM, error_model="numpy")
def _sum_of_squares(address, n, stored, real):
    numbers, total = carray(_at(address), n, stored.dtype), real.dtype.type(0)
    for i in range(n):
        x = _load(numbers[i])
        total += x * x
    return np.float64(total)


@njit(error_model="numpy")
def _clear(address, n, stored):
    numbers = carray(_at(address), n, stored.dtype)
    for i in range(n):
        numbers[i] = stored.dtype.type(0)


@njit(error_model="numpy")
def _adam_numbers(row, group, c):
    step = carray(_at(row[STEP]), 1, np.float32)
    step[0] += np.float32(1)
    t = np.float64(step[0])
    c[0], c[1], c[2], c[5] = group[SIGN], group[L2], group[SHARE], group[EPS]
    c[3] = group[LR] / (1.0 - group[BETA1] ** t)
    c[4] = 1.0 / np.sqrt(1.0 - group[BETA2] ** t)
    c[6], c[7], c[8] = 1.0 - group[BETA1], group[BETA2], 1.0 - group[BETA2]


@njit(error_model="numpy")
def _sgd_numbers(row, group, c):
    c[0], c[1], c[2], c[3] = group[SIGN], group[L2], group[SHARE], group[LR]
    c[4] = group[MOMENTUM]
    c[5] = 1.0 if row[NEW_MOMENTUM] else 1.0 - group[DAMPENING]


@njit(fastmath=_EXACT, error_model="numpy", forceinline=True)
def _settled(w, e, x, move, slope, stored, real, residue, cautious):
    """(w as it is stored, e) after ``move``, which is against ``slope``, and a decay by the share x."""
    zero = real.dtype.type(0)
    if cautious is not None:
        up = move if move != zero else slope  # lr is 0, or their product too small a number
        x = x if (up >= zero and w >= zero) or (up <= zero and w <= zero) else zero
    if residue is None:
        return _store(w - (x * w + move), stored), e
    e -= x * w + (x * e + move)
    after = _store(w + e, stored)
    left = (w - _load(after)) + e
    return after, left if abs(left) < real.dtype.type(1e30) else zero  # what overflowed spoils no later weight


@njit(fastmath=_EXACT, error_model="numpy")
def _adam(row, at, n, c, stored, real, average, residue, cautious):
    size, wide = stored.itemsize, real.itemsize
    ws = carray(_at(row[WEIGHT] + at * size), n, stored.dtype)
    gs = carray(_at(row[GRADIENT] + at * size), n, stored.dtype)
    ms = carray(_at(row[FIRST] + at * size), n, stored.dtype)
    vs = carray(_at(row[SECOND] + at * size), n, stored.dtype)
    averages = carray(_at(row[AVERAGE] + at * wide), n, real.dtype)
    residues = carray(_at(row[RESIDUE] + at * wide), n, real.dtype)
    of = real.dtype.type
    scale, l2, share, step, root, eps = of(c[0]), of(c[1]), of(c[2]), of(c[3]), of(c[4]), of(c[5])
    new1, keep2, new2, fresh = of(c[6]), of(c[7]), of(c[8]), of(c[9])
    for i in range(n):
        w, e = _load(ws[i]), of(0)
        if residue is not None:  # one that was left by another weight is dropped
            e = residues[i] if _load(_store(w + residues[i], stored)) == w else of(0)
        g = _load(gs[i]) * scale + l2 * w
        m = _load(ms[i])
        m += (g - m) * new1
        v = _load(vs[i]) * keep2 + g * new2 * g  # in this order: g² overflows before its share of v does
        ms[i], vs[i] = _store(m, stored), _store(v, stored)
        after, e = _settled(w, e, share, step * (m / (np.sqrt(v) * root + eps)), m, stored, real, residue, cautious)
        ws[i] = after
        if residue is not None:
            residues[i] = e
        if average is not None:
            averages[i] += (_load(after) - averages[i]) * fresh


@njit(fastmath=_EXACT, error_model="numpy")
def _sgd(row, at, n, c, stored, real, momentum, nesterov, average, residue, rest, cautious):
    size, wide = stored.itemsize, real.itemsize
    ws = carray(_at(row[WEIGHT] + at * size), n, stored.dtype)
    gs = carray(_at(row[GRADIENT] + at * size), n, stored.dtype)
    ms = carray(_at(row[FIRST] + at * size), n, stored.dtype)
    averages = carray(_at(row[AVERAGE] + at * wide), n, real.dtype)
    residues = carray(_at(row[RESIDUE] + at * wide), n, real.dtype)
    rests = carray(_at(row[REST] + at * wide), n, real.dtype)
    of = real.dtype.type
    scale, l2, share, lr, kept, new, fresh = of(c[0]), of(c[1]), of(c[2]), of(c[3]), of(c[4]), of(c[5]), of(c[9])
    for i in range(n):
        w, e = _load(ws[i]), of(0)
        if residue is not None:
            e = residues[i] if _load(_store(w + residues[i], stored)) == w else of(0)
        g = _load(gs[i]) * scale + l2 * (w + e)
        if momentum is not None:
            m = _load(ms[i])
            if rest is not None:
                m += rests[i]
            m = m * kept + g * new
            short = _store(m, stored)
            ms[i] = short
            if rest is not None:
                rests[i] = m - _load(short)
            g = m if nesterov is None else g + kept * m
        after, e = _settled(w, e, share, lr * g, g, stored, real, residue, cautious)
        ws[i] = after
        if residue is not None:
            residues[i] = e
        if average is not None:
            averages[i] += (_load(after) - averages[i]) * fresh


@njit(error_model="numpy")
def _claimed(job, line, parts, part, n):
    """The next chunk of ``part`` that nobody has begun, or -1."""
    at = _added(job, line + LINE * part)
    return at if at < n * (part + 1) // parts else -1


@njit(error_model="numpy")
def _total(sums):
    total = 0.0
    for k in range(len(sums)):
        total += sums[k]
    return total


@njit(error_model="numpy")
def _measure(job, me, sums, stored, real):
    """Take Σg² of chunk after chunk; return whether the last of all was among them."""
    numbers = carray(_at(job), LINES, np.int64)
    parts, n, last = numbers[THREADS], numbers[CHUNKS], False
    table = carray(_at(numbers[TABLE]), (numbers[ROWS], COLUMNS), np.int64)
    chunks = carray(_at(numbers[CHUNK_TABLE]), (n, 3), np.int64)
    for turn in range(parts):
        part = (me + turn) % parts
        k = _claimed(job, NEXT_MEASURED, parts, part, n)
        while k >= 0:
            address = table[chunks[k, 0], GRADIENT] + chunks[k, 1] * stored.itemsize
            sums[k] = _sum_of_squares(address, chunks[k, 2], stored, real)
            last = _added(job, MEASURED) == n - 1
            k = _claimed(job, NEXT_MEASURED, parts, part, n)
    return last


@njit(error_model="numpy")
def _prepare(job, sums, adam):
    """Work out the scale of the gradients, if they were measured, and the numbers of every row."""
    numbers, limits = carray(_at(job), LINES, np.int64), carray(_at(job), LINES, np.float64)
    if numbers[MEASURING]:
        limits[SQUARE] = _total(sums)
        norm = np.sqrt(limits[SQUARE]) + 1e-6
        limits[SCALE] = 1.0 if limits[CLIP] == np.inf or norm <= limits[CLIP] else limits[CLIP] / norm
    if not numbers[MOVING]:
        return
    table = carray(_at(numbers[TABLE]), (numbers[ROWS], COLUMNS), np.int64)
    groups = carray(_at(numbers[GROUPS]), (table[:, GROUP].max() + 1, NUMBERS), np.float64)
    constants = carray(_at(numbers[CONSTANTS]), (numbers[ROWS], 10), np.float64)
    for r in range(table.shape[0]):
        if adam is None:
            _sgd_numbers(table[r], groups[table[r, GROUP]], constants[r])
        else:
            _adam_numbers(table[r], groups[table[r, GROUP]], constants[r])
        constants[r, 0] *= limits[SCALE]
        constants[r, 9] = 1.0 if table[r, NEW_AVERAGE] else 1.0 - limits[KEEP]


@njit(error_model="numpy")
def _move(job, me, sums, stored, real, adam, momentum, nesterov, average, residue, rest, cautious):
    """Update chunk after chunk."""
    numbers = carray(_at(job), LINES, np.int64)
    parts, n, zero, norms = numbers[THREADS], numbers[CHUNKS], numbers[ZERO], numbers[NORMS]
    table = carray(_at(numbers[TABLE]), (numbers[ROWS], COLUMNS), np.int64)
    chunks = carray(_at(numbers[CHUNK_TABLE]), (n, 3), np.int64)
    constants = carray(_at(numbers[CONSTANTS]), (numbers[ROWS], 10), np.float64)
    for turn in range(parts):
        part = (me + turn) % parts
        k = _claimed(job, NEXT_MOVED, parts, part, n)
        while k >= 0:
            r, at, size = chunks[k, 0], chunks[k, 1], chunks[k, 2]
            if adam is None:
                _sgd(
                    table[r], at, size, constants[r], stored, real, momentum, nesterov, average, residue, rest, cautious
                )
            else:
                _adam(table[r], at, size, constants[r], stored, real, average, residue, cautious)
            if norms:
                sums[k] = _sum_of_squares(table[r, WEIGHT] + at * stored.itemsize, size, stored, real)
            if zero:
                _clear(table[r, GRADIENT] + at * stored.itemsize, size, stored)
            k = _claimed(job, NEXT_MOVED, parts, part, n)


@njit(error_model="numpy")
def _work(job, stored, real, adam, momentum, nesterov, average, residue, rest, cautious):
    """What one thread does: nobody updates before all is measured, and nobody waits for a thread that has not come."""
    numbers = carray(_at(job), LINES, np.int64)
    n = numbers[CHUNKS]
    sums = carray(_at(numbers[SUMS]), n, np.float64)
    me = _added(job, ENTERED)
    measuring = numbers[MEASURING] != 0 and n > 0
    if _measure(job, me, sums, stored, real) if measuring else me == 0:
        _prepare(job, sums, adam)
        _added(job, PREPARED)
    if numbers[MOVING]:
        while _read(job, PREPARED) == 0:
            pass
        _move(job, me, sums, stored, real, adam, momentum, nesterov, average, residue, rest, cautious)


# What is compiled for the types and the flags in its closure; the cache on disk goes by these.
_SIGNATURE = types.void(types.int64)


@lru_cache(None)
def pass_over() -> Any:
    """Return the function of a job's address that runs it on the job's threads, and leaves Σw² in it with ``NORMS``."""

    @cfunc(_SIGNATURE, cache=True)
    def pass_over(job):
        numbers = carray(_at(job), LINES, np.int64)
        parts, n = numbers[THREADS], numbers[CHUNKS]
        numbers[ENTERED] = numbers[MEASURED] = numbers[PREPARED] = 0
        starts = carray(_at(job), LINES + LINE * parts, np.int64)
        for part in range(parts):
            starts[NEXT_MEASURED + LINE * part] = starts[NEXT_MOVED + LINE * part] = n * part // parts
        if parts == 1:
            _called(numbers[WORK], job)
        else:
            _called_together(numbers[TEAM], numbers[WORK], job, parts)
        if numbers[NORMS]:
            carray(_at(job), LINES, np.float64)[TOTAL] = _total(carray(_at(numbers[SUMS]), n, np.float64))

    return pass_over


@lru_cache(None)
def work(
    kind: str,
    adam: bool | None,
    momentum: bool | None,
    nesterov: bool | None,
    average: bool | None,
    residue: bool | None,
    rest: bool | None,
    cautious: bool | None,
) -> Any:
    """Return what each thread does with a job; each flag is True or None.

    With ``MEASURING`` Σg² is left in the job, and the scale that brings √Σg² down to ``CLIP``. With ``MOVING`` every chunk
    takes one step: g ← scale·g (+ l2·w), the rule moves w, of which the share x is taken, the average follows. With ``ZERO``
    the gradient is zero then.
    """
    stored, real = _empty(kind)

    @cfunc(_SIGNATURE, cache=True)
    def work(job):
        _work(job, stored, real, adam, momentum, nesterov, average, residue, rest, cautious)

    return work


def _empty(kind: str) -> tuple[Any, Any]:
    """Return two arrays that tell the types: of what is stored, and of what is calculated in."""
    stored, real = {"bfloat16": (np.uint16, np.float32)}.get(kind, (kind, kind))
    return np.zeros(1, stored), np.zeros(1, real)  # the cache on disk goes by their contents too
