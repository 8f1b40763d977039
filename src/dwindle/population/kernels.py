"""One member at a time, many steps at a call, compiled for the processor at hand: its weights stay in the cache.

A layer's weights are (fan_out, fan_in), its rows begin on lines of 64 bytes, and what fills a row up is 0 and stays 0. All
arrays of a member are flat; the table of layers tells what begins where. Nothing here looks at another member.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

import dwindle.population.tiles as tiles
from dwindle.population.activations import LINEAR, activate, losses, output
from dwindle.population.dropout import GAMMA, MIX
from dwindle.population.tiles import dot_tile, fetch, outer_tile, update_tile

__all__ = ["COLUMNS", "Member", "Net", "Pace", "Room", "evaluate", "run", "square"]

# The columns of the table of layers, in numbers: what is used of a row of W and how far apart its rows are, and the same of
# the outputs of an example; units; where W begins, the biases, the outputs of the first example; the units of all before.
WIDTH, APART, OUT, OUT_APART, UNITS, WEIGHTS, BIASES, ROOM, PLACE = range(9)
COLUMNS = 9
_STREAMED = 2**20  # bytes: weights beyond it do not stay beside the rest in the second cache

_GAMMA, _MIX1, _MIX2 = (np.uint64(number) for number in (GAMMA, *MIX))
_EXACT: Any = {"nogil": True, "cache": True, "error_model": "numpy"}
_FUSED: Any = {**_EXACT, "fastmath": {"contract", "nsz"}}
_SUM: Any = {**_EXACT, "fastmath": {"contract", "nsz", "reassoc"}}


class Net(NamedTuple):
    """The network: its table of layers, the codes of activation and loss, and what dropout keeps: draws from ``threshold`` on."""

    layers: Any
    activation: int
    loss: int
    dropout: float
    threshold: Any


class Member(NamedTuple):
    """Weights and biases, what the optimiser keeps for either, and the key of the dropout."""

    weights: Any
    first: Any
    second: Any
    biases: Any
    bias_first: Any
    bias_second: Any
    key: Any


class Pace(NamedTuple):
    """A member's columns of `tables.Tables`, and the optimiser's two constants."""

    scale: Any
    fold: Any
    move: Any
    lr: Any
    l2: Any
    eps: Any
    keep1: Any
    keep2: Any


class Room(NamedTuple):
    """Outputs of every layer, their slopes and deltas, alike laid out; the gradient of each bias; and addresses.

    ``rows[l]``: of the examples' rows as layer l takes them in; ``following``: of those of the next step as layer 0 will;
    ``w_rows``: of the rows of a layer's weights.
    """

    a: Any
    slope: Any
    delta: Any
    bias_grads: Any
    rows: Any
    following: Any
    w_rows: Any


@njit(**_EXACT)
def _dots(x, rows, w, units, width, apart, z, stride, like):
    """z[r, c] = Σ_k x[r, k]·w[c, k], the tile's sides as even as can be; what is larger is read once."""
    size = like.itemsize
    down, across = -(-rows // tiles.DOT_ROWS), -(-units // tiles.DOT_COLUMNS)
    vectors = width * size // tiles.VECTOR
    streamed = units * width * size > _STREAMED
    outer, inner = (across, down) if streamed else (down, across)
    for i in range(outer):
        for j in range(inner):
            r, c = (j, i) if streamed else (i, j)
            r0, c0 = rows * r // down, units * c // across
            m, n = rows * (r + 1) // down - r0, units * (c + 1) // across - c0
            dot_tile(
                m, n, x + 8 * r0, w + c0 * apart * size, apart, vectors, z + (r0 * stride + c0) * size, stride, like
            )


@njit(**_EXACT)
def _back(w_rows, units, width, delta, d_stride, rows, out, slope, apart, scale, like):
    """out[r, k] = slope[r, k]·scale·Σ_c delta[r, c]·w[c, k]."""
    size = like.itemsize
    lanes = tiles.VECTOR // size
    vectors = width // lanes
    down, across = -(-rows // tiles.OUTER_ROWS), -(-vectors // tiles.OUTER_VECTORS)
    for i in range(down):
        r = rows * i // down
        m = rows * (i + 1) // down - r
        for j in range(across):
            k = vectors * j // across
            at = (r * apart + k * lanes) * size
            n = vectors * (j + 1) // across - k
            c = delta + r * d_stride * size
            outer_tile(m, n, units, w_rows, k * lanes, c, 1, d_stride, out + at, slope + at, apart, scale)


@njit(**_EXACT)
def _update(
    x, following, rows, delta, d_stride, units, width, apart, w, first, second, numbers, momentum, nesterov, adam, like
):
    """Take the weights' step with the gradient Σ_r delta[r, c]·x[r, k]; meanwhile fetch the rows ``following``."""
    size = like.itemsize
    lanes = tiles.VECTOR // size
    vectors = width // lanes
    down, across = -(-units // tiles.OUTER_ROWS), -(-vectors // tiles.OUTER_VECTORS)
    for j in range(across):
        k = vectors * j // across
        n = vectors * (j + 1) // across - k
        for i in range(down):
            c = units * i // down
            m = units * (i + 1) // down - c
            for r in range(len(following) * i // down, len(following) * (i + 1) // down):
                for line in range(k * tiles.VECTOR, (k + n) * tiles.VECTOR, tiles.LINE):
                    fetch(following[r] + line)
            at = (c * apart + k * lanes) * size
            update_tile(
                m, n, rows, x, k * lanes, delta + c * size, d_stride, w + at, first + at, second + at, apart,
                numbers, momentum, nesterov, adam,
            )  # fmt: skip


@njit(**_EXACT)
def _draw(key, place):
    """`dropout.draw`."""
    z = key + (np.uint64(place) + np.uint64(1)) * _GAMMA
    z = (z ^ (z >> np.uint64(30))) * _MIX1
    z = (z ^ (z >> np.uint64(27))) * _MIX2
    return z ^ (z >> np.uint64(31))


@njit(**_EXACT)
def _drop(a, slope, at, apart, rows, units, key, place, net):
    """Leave out units of rows that begin at ``at``; the places of the units are counted from ``place``."""
    by, none = a.dtype.type(1.0 / (1.0 - net.dropout)), a.dtype.type(0.0)
    for _ in range(rows):
        for i in range(at, at + units):
            kept = by if _draw(key, place) >= net.threshold else none
            a[i] *= kept
            slope[i] *= kept
            place += 1
        at += apart


@njit(inline="always", **_EXACT)
def _forward(net, member, room, rows, scale, key, training):
    """Leave every layer's outputs in the room, z of the last one, for the first rows of ``room.rows[0]``."""
    like, size = room.a, room.a.itemsize
    for i in range(len(net.layers)):
        layer = net.layers[i]
        out, apart, units, at = layer[OUT], layer[OUT_APART], layer[UNITS], layer[ROOM]
        w = np.int64(member.weights.ctypes.data) + layer[WEIGHTS] * size
        z = np.int64(room.a.ctypes.data) + at * size
        _dots(np.int64(room.rows[i].ctypes.data), rows, w, units, layer[WIDTH], layer[APART], z, apart, like)
        biases = member.biases[layer[BIASES] : layer[BIASES] + out]
        hidden = i < len(net.layers) - 1
        activate(net.activation if hidden else LINEAR, room.a, room.slope, at, apart, rows, biases, scale, units)
        if hidden and training and net.dropout > 0.0:
            _drop(room.a, room.slope, at, apart, rows, units, key, layer[PLACE], net)


@njit(**_FUSED)
def _move_biases(b, g, first, second, lr, keep1, keep2, eps, momentum, nesterov, adam):
    """`update.descend` of the biases."""
    none = b.dtype.type(0.0)
    tiny = b.dtype.type(tiles.TINY if b.itemsize == 4 else tiles.TINY_WIDE)
    for i in range(len(b)):
        h = g[i]
        if momentum is not None or adam is not None:
            m = keep1 * first[i] + h
            m = none if abs(m) < tiny else m
            first[i] = m
            if adam is not None:
                v = keep2 * second[i] + h * h
                v = none if v < tiny else v
                second[i] = v
                h = m / (np.sqrt(v) + eps)
            else:
                h = m if nesterov is None else h + keep1 * m
        b[i] -= lr * h


@njit(**_FUSED)
def _bias_gradient(g, delta, apart, rows):
    """Leave Σ_r delta[r] in g."""
    n = len(g)
    for i in range(n):
        g[i] = delta[i]
    for r in range(1, rows):
        for i in range(n):
            g[i] += delta[r * apart + i]


@njit(inline="always", **_EXACT)
def _step(net, member, room, rows, following, target, picked, scale, numbers, key, momentum, nesterov, adam):
    """One step of the weights; the gradients of the biases are left in the room.

    ``following``: how many rows of the next batch are noted in the room.
    """
    like, size, last = room.a, room.a.itemsize, len(net.layers) - 1
    _forward(net, member, room, rows, scale, key, True)
    top = net.layers[last]
    output(net.loss, room.a, room.delta, top[ROOM], top[OUT_APART], top[OUT], target, picked)
    weights = np.int64(member.weights.ctypes.data)
    deltas, slopes = np.int64(room.delta.ctypes.data), np.int64(room.slope.ctypes.data)
    first, second = np.int64(member.first.ctypes.data), np.int64(member.second.ctypes.data)
    for i in range(last, -1, -1):
        layer = net.layers[i]
        width, apart, units, d_apart = layer[WIDTH], layer[APART], layer[UNITS], layer[OUT_APART]
        at, begins, w = layer[ROOM], layer[BIASES], layer[WEIGHTS] * size
        _bias_gradient(room.bias_grads[begins : begins + layer[OUT]], room.delta[at:], d_apart, rows)
        delta = deltas + at * size
        if i > 0:
            for c in range(units):
                room.w_rows[c] = weights + w + c * apart * size
            below, b_apart = net.layers[i - 1, ROOM] * size, net.layers[i - 1, OUT_APART]
            table = np.int64(room.w_rows.ctypes.data)
            _back(table, units, width, delta, d_apart, rows, deltas + below, slopes + below, b_apart, scale, like)
        _update(
            np.int64(room.rows[i].ctypes.data), room.following[: following if i == 0 else 0], rows, delta, d_apart, units,
            width, apart, weights + w, first + w, second + w, numbers, momentum, nesterov, adam, like,
        )  # fmt: skip


@njit(**_EXACT)
def run(net, member, pace, room, x, target, order, starts, begun, momentum, nesterov, adam):
    """Take the steps ``begun``, ``begun`` + 1, ...; step i of them on the examples order[starts[i]:starts[i + 1]].

    The flags are True or None: a kernel is compiled for each.
    """
    of, base, stride = room.a.dtype.type, np.int64(x.ctypes.data), np.int64(x.strides[0])
    for i in range(len(starts) - 1):
        t, picked = begun + i, order[starts[i] : starts[i + 1]]
        rows, following = len(picked), 0
        for r in range(rows):
            room.rows[0, r] = base + picked[r] * stride
        if i < len(starts) - 2:
            following = starts[i + 2] - starts[i + 1]
            for r in range(following):
                room.following[r] = base + order[starts[i + 1] + r] * stride
        scale, eps = of(pace.scale[t]), of(pace.eps[t])
        numbers = (pace.fold[t], pace.move[t], pace.l2[t], pace.keep1, pace.keep2, eps)
        key = _draw(member.key, t)
        _step(net, member, room, rows, following, target, picked, scale, numbers, key, momentum, nesterov, adam)
        _move_biases(
            member.biases, room.bias_grads, member.bias_first, member.bias_second, pace.lr[t], pace.keep1, pace.keep2,
            eps, momentum, nesterov, adam,
        )  # fmt: skip


@njit(**_EXACT)
def evaluate(net, member, room, scale, x, target, label):
    """Return (loss, share right) over all examples."""
    block = room.rows.shape[1]
    last = net.layers[len(net.layers) - 1]
    loss, right, of = 0.0, 0, room.a.dtype.type
    for start in range(0, len(x), block):
        rows = min(block, len(x) - start)
        for r in range(rows):
            room.rows[0, r] = np.int64(x.ctypes.data) + (start + r) * np.int64(x.strides[0])
        _forward(net, member, room, rows, of(scale), member.key, False)
        end = start + rows
        more = losses(net.loss, room.a, last[ROOM], last[OUT_APART], target[start:end], label[start:end])
        loss, right = loss + more[0], right + more[1]
    return loss / len(x), right / len(x)


@njit(**_SUM)
def square(weights):
    """Σw², in float64."""
    total = 0.0
    for i in range(len(weights)):
        total += np.float64(weights[i]) * np.float64(weights[i])
    return total
