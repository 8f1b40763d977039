"""What happens to the numbers of a layer one by one, compiled: activations and their slopes, outputs, losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic, overload

__all__ = ["CODES", "LINEAR", "activate", "losses", "output"]

RELU, SIGMOID, TANH, GELU, LINEAR = range(5)
SOFTMAX, CROSS, SQUARED = range(3)
# What the kernels call the names of `values.ACTIVATIONS` and `values.LOSSES`.
CODES = (
    {"relu": RELU, "sigmoid": SIGMOID, "tanh": TANH, "gelu": GELU},
    {"softmax": SOFTMAX, "sigmoid": CROSS, "squared": SQUARED},
)

_EXACT: Any = {"nogil": True, "cache": True, "error_model": "numpy"}
_FUSED: Any = {**_EXACT, "fastmath": {"contract", "nsz"}}
_SUM: Any = {**_EXACT, "fastmath": {"contract", "nsz", "reassoc"}}


@intrinsic
def _from_bits(_: Any, bits: Any) -> Any:
    """The float32 of 32 bits."""
    return types.float32(types.uint32), lambda _, b, __, args: b.bitcast(args[0], ir.FloatType())


@intrinsic
def _bits(_: Any, number: Any) -> Any:
    """The 32 bits of a float32."""
    return types.uint32(types.float32), lambda _, b, __, args: b.bitcast(args[0], ir.IntType(32))


@intrinsic
def _from_long_bits(_: Any, bits: Any) -> Any:
    """The float64 of 64 bits."""
    return types.float64(types.uint64), lambda _, b, __, args: b.bitcast(args[0], ir.DoubleType())


@intrinsic
def _long_bits(_: Any, number: Any) -> Any:
    """The 64 bits of a float64."""
    return types.uint64(types.float64), lambda _, b, __, args: b.bitcast(args[0], ir.IntType(64))


# exp, tanh and the tail of the bell in forms that the compiler can do many of at a time, within some units of the last place;
# what float64 has no such form of is the library's. e^x = 2^n·e^r, |r| ≤ ½·ln 2: adding `shift` leaves n in the last bits.


def _exp(x):
    """e^x."""


def _tanh(x):
    """The hyperbolic tangent."""


def _tail(z, bell):
    """½·erfc(|z|/√2), given e^(-z²/2)."""


# 2·artanh(s) = 2s·Σ s^2n/(2n+1)
_SERIES = tuple(1.0 / (2 * n + 1) for n in range(17))


@njit(forceinline=True, **_FUSED)
def _log1p(e):
    """ln(1 + e) for 0 ≤ e ≤ 1: 2·artanh(s) with s = e/(2 + e) ≤ ⅓."""
    s = e / (2.0 + e)
    square, p = s * s, _SERIES[16]
    for n in range(15, -1, -1):
        p = p * square + _SERIES[n]
    return 2.0 * s * p


@overload(_exp, jit_options={"forceinline": True, "fastmath": {"contract"}})
def _exps(x):
    if x == types.float64:

        def wide(x):  # Cephes' exp
            shift = 6755399441055744.0
            x = 709.0 if x > 709.0 else x
            x = -708.0 if x < -708.0 else x
            shifted = x * 1.4426950408889634 + shift
            n = shifted - shift
            r = x - n * 6.93145751953125e-1
            r = r - n * 1.42860682030941723212e-6
            s = r * r
            p = 1.26177193074810590878e-4 * s + 3.02994407707441961300e-2
            p = r * (p * s + 9.99999999999999999910e-1)
            q = 3.00198505138664455042e-6 * s + 2.52448340349684104192e-3
            q = (q * s + 2.27265548208155028766e-1) * s + 2.0
            two = _from_long_bits((_long_bits(shifted) << np.uint64(52)) + np.uint64(0x3FF0000000000000))
            return (1.0 + 2.0 * (p / (q - p))) * two

        return wide

    def exp(x):  # Cephes' expf
        of = np.float32
        x = of(88.3) if x > of(88.3) else x
        x = of(-87.3) if x < of(-87.3) else x
        shifted = x * of(1.44269504) + of(12582912.0)
        n = shifted - of(12582912.0)
        r = x - n * of(0.693359375)
        r = r - n * of(-2.12194440e-4)
        p = of(1.9875691500e-4) * r + of(1.3981999507e-3)
        p = p * r + of(8.3334519073e-3)
        p = p * r + of(4.1665795894e-2)
        p = p * r + of(1.6666665459e-1)
        p = p * r + of(5.0000001201e-1)
        p = p * (r * r) + r + of(1.0)
        return p * _from_bits(np.uint32((_bits(shifted) << np.uint32(23)) + np.uint32(0x3F800000)))

    return exp


@overload(_tanh, jit_options={"forceinline": True, "fastmath": {"contract"}})
def _tanhs(x):
    if x == types.float64:
        return lambda x: math.tanh(x)

    def tanh(x):  # Cephes' tanhf
        of = np.float32
        far = of(1.0) - of(2.0) / (_exp(of(2.0) * abs(x)) + of(1.0))
        s = x * x
        p = of(-5.70498872745e-3) * s + of(2.06390887954e-2)
        p = p * s + of(-5.37397155531e-2)
        p = p * s + of(1.33314422036e-1)
        p = p * s + of(-3.33332819422e-1)
        near = p * s * x + x
        return near if abs(x) < of(0.625) else (far if x > of(0.0) else -far)

    return tanh


@overload(_tail, jit_options={"forceinline": True, "fastmath": {"contract"}})
def _tails(z, bell):
    if z == types.float64:
        return lambda z, bell: 0.5 * math.erfc(abs(z) * 0.7071067811865476)

    def tail(z, bell):  # a polynomial in 1/(1 + 0.28·|z|) fitted to the ratio of tail to bell: within 1e-8
        of = np.float32
        t = of(1.0) / (of(1.0) + of(0.28) * abs(z))
        p = of(-0.105809062) * t + of(0.389877378)
        p = p * t + of(-0.236998967)
        p = p * t + of(0.268914618)
        p = p * t + of(0.067494958)
        p = p * t + of(0.116521067)
        return p * t * bell

    return tail


@njit(**_FUSED)
def activate(activation, a, slope, at, apart, rows, biases, scale, units):
    """Do a ← act(scale·a + b) for rows that begin at ``at``, and note the slopes there; what fills them up is 0."""
    of, n = a.dtype.type, len(biases)
    one, half, none = of(1.0), of(0.5), of(0.0)
    for _ in range(rows):
        if activation == RELU:
            for i in range(n):
                z = scale * a[at + i] + biases[i]
                a[at + i] = none if z < none else z  # NaN stays
                slope[at + i] = one if z > none else none
        elif activation == SIGMOID:
            for i in range(n):
                y = one / (one + _exp(-(scale * a[at + i] + biases[i])))
                a[at + i] = y
                slope[at + i] = y * (one - y)
        elif activation == TANH:
            for i in range(n):
                y = _tanh(scale * a[at + i] + biases[i])
                a[at + i] = y
                slope[at + i] = one - y * y
        elif activation == GELU:
            for i in range(n):
                z = scale * a[at + i] + biases[i]
                bell = _exp(-half * z * z)
                tail = _tail(z, bell)
                below = tail if z < none else one - tail
                a[at + i] = z * below
                slope[at + i] = below + z * of(0.3989422804014327) * bell
        else:
            for i in range(n):
                a[at + i] = scale * a[at + i] + biases[i]
        if activation != LINEAR:
            for i in range(at + units, at + n):
                a[i] = slope[i] = none
        at += apart


@njit(**_FUSED)
def output(loss, z, delta, at, apart, filled, target, picked):
    """Do delta ← (output(z) - target)/rows for rows that begin at ``at``, and their ``picked`` targets."""
    units, of = target.shape[1], z.dtype.type
    one, by = of(1.0), of(1.0 / len(picked))
    for r in range(len(picked)):
        example = picked[r]
        if loss == SOFTMAX:
            top, total = z[at], of(0.0)
            for i in range(1, units):
                top = max(top, z[at + i])
            for i in range(filled):
                delta[at + i] = _exp(z[at + i] - top)
            for i in range(units):
                total += delta[at + i]
            for i in range(units):
                delta[at + i] = by * (delta[at + i] / total - target[example, i])
        elif loss == CROSS:
            for i in range(filled):
                delta[at + i] = one / (one + _exp(-z[at + i]))
            for i in range(units):
                delta[at + i] = by * (delta[at + i] - target[example, i])
        else:
            for i in range(units):
                delta[at + i] = by * (z[at + i] - target[example, i])
        for i in range(at + units, at + filled):
            delta[i] = of(0.0)
        at += apart


@njit(**_SUM)
def losses(loss, z, at, apart, target, label):
    """Return (the sum of the losses, in float64; how many answers are right) of rows that begin at ``at``.

    An answer is the place of the largest output; of a single output, whether it is positive.
    """
    units, total, right = target.shape[1], 0.0, 0
    for r in range(len(target)):
        if loss == SQUARED:
            for i in range(units):
                off = np.float64(z[at + i]) - np.float64(target[r, i])
                total += 0.5 * off * off
        elif loss == CROSS:
            for i in range(units):
                y = np.float64(z[at + i])
                total += max(y, 0.0) + _log1p(_exp(-abs(y))) - y * np.float64(target[r, i])
        else:
            top, weight, mixed, sum_ = np.float64(z[at]), 0.0, 0.0, 0.0
            for i in range(1, units):
                top = max(top, np.float64(z[at + i]))
            for i in range(units):
                y, t = np.float64(z[at + i]) - top, np.float64(target[r, i])
                sum_ += _exp(y)
                weight += t
                mixed += t * y if t != 0.0 else 0.0
            total += weight * math.log(sum_) - mixed
        best = at
        for i in range(at + 1, at + units):
            if z[i] > z[best]:
                best = i
        right += (best - at if units > 1 else np.int64(z[at] > 0.0)) == label[r]
        at += apart
    return total, right
