"""Small products that live in the registers, written for the vectors of the processor at hand.

Two tiles make up a fully connected layer with W stored as torch has it, (fan_out, fan_in), a row of 64-byte lines:

- `dot_tile`: z[r, c] = Σ_k x[r, k]·W[c, k], for the forward pass; lanes run along k and are summed at the end.
- `outer_tile`, `update_tile`: g[m, k] = Σ_l c[l, m]·v[l, k], lanes along k: the delta below a layer, where v is W, or the
  gradient of its weights, where v is x. Then g is complete while it is in registers, and the weights take their step there:
  a gradient is never written to memory.

Every sum is taken in one order that depends on the sizes alone. Contractions to fused multiply-add are allowed, and nothing else.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

__all__ = [
    "DOT_COLUMNS",
    "DOT_ROWS",
    "LINE",
    "OUTER_ROWS",
    "OUTER_VECTORS",
    "VECTOR",
    "dot_tile",
    "fetch",
    "outer_tile",
    "update_tile",
]

LINE = 64  # bytes: rows of numbers begin at multiples of it
# What momentum and means of a dead unit fade to, and then are 0: numbers too small for the usual form would stay for ever,
# and a processor takes a hundred times as long for each.
TINY, TINY_WIDE = 2.0**-120, 2.0**-1000

_, _CPU, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
_WIDE = "+avx512f" in _FEATURES
VECTOR = 64 if _WIDE else 32 if "+avx2" in _FEATURES else 16  # bytes
_ROOMY = _WIDE or "+neon" in _FEATURES  # 32 registers of vectors; 16 elsewhere
DOT_ROWS, DOT_COLUMNS = (6, 4) if _ROOMY else (3, 4)
OUTER_ROWS, OUTER_VECTORS = (6, 4) if _ROOMY else (6, 2)

_INT = ir.IntType(64)
_LANE = ir.IntType(32)


class _Emitter:
    """Writes vector code for one type of numbers into a builder."""

    def __init__(self, b: Any, number: types.Float) -> None:
        self.b, self.size = b, number.bitwidth // 8
        self.real = ir.FloatType() if self.size == 4 else ir.DoubleType()
        self.lanes = VECTOR // self.size
        self.vector = ir.VectorType(self.real, self.lanes)
        self.zero = ir.Constant(self.vector, None)

    def pointer(self, address: Any) -> Any:
        return self.b.inttoptr(address, self.real.as_pointer())

    def address(self, table: Any, at: Any) -> Any:
        """The pointer that stands at place ``at`` of a table of addresses."""
        return self.pointer(self.b.load(self.b.gep(self.b.inttoptr(table, _INT.as_pointer()), [at])))

    def offset(self, pointer: Any, numbers: Any) -> Any:
        return self.b.gep(pointer, [numbers])

    def load(self, pointer: Any, vector: int = 0) -> Any:
        return self.b.load(self._wide(pointer, vector), align=self.size)

    def store(self, value: Any, pointer: Any, vector: int = 0) -> None:
        self.b.store(value, self._wide(pointer, vector), align=self.size)

    def _wide(self, pointer: Any, vector: int) -> Any:
        at = self.b.gep(pointer, [_INT(vector * self.lanes)]) if vector else pointer
        return self.b.bitcast(at, self.vector.as_pointer())

    def splat(self, number: Any) -> Any:
        one = self.b.insert_element(ir.Constant(self.vector, ir.Undefined), number, _LANE(0))
        return self.shuffle(one, one, [0] * self.lanes)

    def shuffle(self, u: Any, v: Any, lanes: list[int]) -> Any:
        return self.b.shuffle_vector(u, v, ir.Constant(ir.VectorType(_LANE, len(lanes)), lanes))

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """x·y + z, in one rounding where the processor can."""
        return self._called("fmuladd", x, y, z)

    def root(self, x: Any) -> Any:
        return self._called("sqrt", x)

    def kept(self, x: Any) -> Any:
        """x, or 0 where it is nearly too small for its type."""
        tiny = ir.Constant(self.vector, [ir.Constant(self.real, TINY if self.size == 4 else TINY_WIDE)] * self.lanes)
        return self.b.select(self.b.fcmp_ordered("<", self._called("fabs", x), tiny), self.zero, x)

    def _called(self, name: str, *args: Any) -> Any:
        kind = ir.FunctionType(self.vector, [self.vector] * len(args))
        whole = f"llvm.{name}.v{self.lanes}f{8 * self.size}"
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, whole), args)

    def loop(self, count: Any, carried: list[Any], body: Any) -> list[Any]:
        """Emit carried = body(l, carried) for l in range(count), at least once."""
        b, before = self.b, self.b.block
        inside, after = b.append_basic_block("loop"), b.append_basic_block("after")
        b.branch(inside)
        b.position_at_end(inside)
        at, kept = b.phi(_INT), [b.phi(value.type) for value in carried]
        results = body(at, kept)
        following = b.add(at, _INT(1))
        for phi, first, later in zip([at, *kept], [_INT(0), *carried], [following, *results], strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(later, b.block)
        b.cbranch(b.icmp_signed("<", following, count), inside, after)
        b.position_at_end(after)
        return results

    def of_shape(self, rows: Any, columns: Any, most: tuple[int, int], emit: Any) -> None:
        """Call ``emit(m, n)`` for every shape of tile there is, and branch at run time to the one of (rows, columns)."""
        b, end = self.b, self.b.append_basic_block("end")
        key = b.add(b.mul(rows, _INT(most[1])), columns)
        never = b.append_basic_block("never")
        switch = b.switch(key, never)
        for m in range(1, most[0] + 1):
            for n in range(1, most[1] + 1):
                block = b.append_basic_block(f"tile{m}x{n}")
                switch.add_case(_INT(m * most[1] + n), block)
                b.position_at_end(block)
                emit(m, n)
                b.branch(end)
        b.position_at_end(never)
        b.unreachable()
        b.position_at_end(end)

    def sums(self, vectors: list[Any]) -> Any:
        """The sums over the lanes of four vectors, as the first four lanes of a vector of four."""
        b, lanes = self.b, self.lanes
        if lanes == 2:
            pairs = [
                b.fadd(self.shuffle(u, v, [0, 2]), self.shuffle(u, v, [1, 3])) for u, v in (vectors[:2], vectors[2:])
            ]
            return self.shuffle(*pairs, [0, 1, 2, 3])
        groups = range(0, lanes, 4)
        low = [g + i for g in groups for i in (0, lanes, 1, lanes + 1)]
        high = [g + i + 2 for g in groups for i in (0, lanes, 1, lanes + 1)]
        pairs = [b.fadd(self.shuffle(u, v, low), self.shuffle(u, v, high)) for u, v in (vectors[:2], vectors[2:])]
        low = [g + i for g in groups for i in (0, 1, lanes, lanes + 1)]
        high = [g + i + 2 for g in groups for i in (0, 1, lanes, lanes + 1)]
        total = b.fadd(self.shuffle(*pairs, low), self.shuffle(*pairs, high))
        while lanes > 4:
            lanes //= 2
            half = list(range(lanes))
            total = b.fadd(self.shuffle(total, total, half), self.shuffle(total, total, [lanes + i for i in half]))
        return total


@intrinsic
def dot_tile(_, rows, columns, x, w, w_stride, vectors, z, z_stride, like):
    """z[r, c] = Σ_k x[r, k]·w[c, k] for a tile of rows by columns.

    ``x``: the address of a table of the addresses of rows; ``w`` and ``z`` are addresses and their strides count numbers;
    ``vectors``: lines of a row, in units of `line_vectors`.
    """
    number = like.dtype

    def gen(_, b, __, args):
        rows, columns, x, w, w_stride, vectors, z, z_stride, _ = args
        e = _Emitter(b, number)

        def emit(m, n):
            xs = [e.address(x, _INT(r)) for r in range(m)]
            ws = [e.offset(e.pointer(w), b.mul(w_stride, _INT(c))) for c in range(n)]

            def body(k, sums):
                at = b.mul(k, _INT(e.lanes))
                left = [e.load(e.offset(row, at)) for row in xs]
                found = list(sums)
                for c, column in enumerate(ws):
                    right = e.load(e.offset(column, at))
                    for r in range(m):
                        found[r * n + c] = e.fma(left[r], right, found[r * n + c])
                return found

            sums = e.loop(vectors, [e.zero] * (m * n), body)
            for r in range(m):
                four = e.sums(sums[r * n : (r + 1) * n] + [e.zero] * (4 - n))
                to = e.offset(e.pointer(z), b.mul(z_stride, _INT(r)))
                if n == 4:
                    b.store(four, b.bitcast(to, four.type.as_pointer()), align=e.size)
                else:
                    for c in range(n):
                        b.store(b.extract_element(four, _LANE(c)), e.offset(to, _INT(c)))

        e.of_shape(rows, columns, (DOT_ROWS, DOT_COLUMNS), emit)

    return types.void(rows, columns, x, w, w_stride, vectors, z, z_stride, like), gen


def _outer(e: _Emitter, m: int, n: int, count: Any, v: Any, at: Any, c: Any, l_stride: Any, m_stride: Any) -> list[Any]:
    """Emit g[i, k] = Σ_l c[l, i]·v[l, at + k] and return it row by row."""
    b, base = e.b, e.pointer(c)
    steps = [b.mul(m_stride, _INT(i)) for i in range(m)]

    def body(place, sums):
        row = e.offset(e.address(v, place), at)
        right = [e.load(row, j) for j in range(n)]
        first = e.offset(base, b.mul(place, l_stride))
        found = list(sums)
        for i, step in enumerate(steps):
            left = e.splat(b.load(e.offset(first, step)))
            for j in range(n):
                found[i * n + j] = e.fma(left, right[j], found[i * n + j])
        return found

    return e.loop(count, [e.zero] * (m * n), body)


@intrinsic
def outer_tile(_, rows, vectors, count, v, at, c, l_stride, m_stride, out, slope, stride, scale):
    """out[m, k] = slope[m, k]·scale·Σ_l c[l, m]·v[l, at + k], l < count, for a tile of rows by vectors.

    ``v``: the address of a table of the addresses of rows; ``out`` and ``slope`` are those of the tile's first numbers.
    """

    def gen(_, b, __, args):
        rows, vectors, count, v, at, c, l_stride, m_stride, out, slope, stride, scale = args
        e = _Emitter(b, like)

        def emit(m, n):
            sums, by = _outer(e, m, n, count, v, at, c, l_stride, m_stride), e.splat(scale)
            for i in range(m):
                to = b.mul(stride, _INT(i))
                target, factor = e.offset(e.pointer(out), to), e.offset(e.pointer(slope), to)
                for j in range(n):
                    e.store(b.fmul(b.fmul(sums[i * n + j], by), e.load(factor, j)), target, j)

        e.of_shape(rows, vectors, (OUTER_ROWS, OUTER_VECTORS), emit)

    like = scale
    return types.void(
        rows, vectors, count, v, at, c, l_stride, m_stride, out, slope, stride, scale
    ), gen  # fmt: skip


@intrinsic
def update_tile(
    _, rows, vectors, count, v, at, c, l_stride, w, first, second, stride, numbers, momentum, nesterov, adam
):
    """Take the step of a tile of weights with the gradient g[m, k] = Σ_l c[l, m]·v[l, at + k], l < count.

    ``w``, ``first``, ``second``: the addresses of the weights and of what the optimiser keeps for them, at the tile.
    ``numbers``: (fold, move, l2, μ or β1, β2, eps) of `tables.Tables`. The flags are True or None.
    """
    like = numbers.dtype
    flags = [kind != types.none for kind in (momentum, nesterov, adam)]

    def gen(context, b, signature, args):
        rows, vectors, count, v, at, c, l_stride, w, first, second, stride, numbers, *_ = args
        e = _Emitter(b, like)

        def emit(m, n):
            sums = _outer(e, m, n, count, v, at, c, l_stride, _INT(1))
            by = [e.splat(b.extract_value(numbers, i)) for i in range(6)]
            for i in range(m):
                to = b.mul(stride, _INT(i))
                ws, firsts, seconds = (e.offset(e.pointer(base), to) for base in (w, first, second))
                for j in range(n):
                    e.store(_stepped(e, sums[i * n + j], ws, firsts, seconds, j, by, *flags), ws, j)

        e.of_shape(rows, vectors, (OUTER_ROWS, OUTER_VECTORS), emit)

    return types.void(
        rows, vectors, count, v, at, c, l_stride, w, first, second, stride, numbers, momentum, nesterov, adam
    ), gen  # fmt: skip


def _stepped(
    e: _Emitter,
    g: Any,
    ws: Any,
    firsts: Any,
    seconds: Any,
    j: int,
    by: list[Any],
    momentum: bool,
    nesterov: bool,
    adam: bool,
) -> Any:
    """Emit fold·w - move·direction(g + l2·w) for one vector, and the new states; the formulas are `update.descend`'s."""
    b, (fold, move, l2, keep1, keep2, eps), w = e.b, by, e.load(ws, j)
    if momentum or adam:
        g = e.fma(l2, w, g)
        kept = e.kept(e.fma(keep1, e.load(firsts, j), g))
        e.store(kept, firsts, j)
        if adam:
            squares = e.kept(e.fma(keep2, e.load(seconds, j), b.fmul(g, g)))
            e.store(squares, seconds, j)
            g = b.fdiv(kept, b.fadd(e.root(squares), eps))
        else:
            g = e.fma(keep1, kept, g) if nesterov else kept
    return e.fma(b.fneg(move), g, b.fmul(fold, w))


@intrinsic
def fetch(_, address):
    """Ask for the line of memory at this address, which will be needed soon."""

    def gen(_, b, __, args):
        flag, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        function = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
        b.call(function, [b.inttoptr(args[0], byte), flag(0), flag(2), flag(1)])  # to read, into the second cache, data

    return types.void(address), gen
