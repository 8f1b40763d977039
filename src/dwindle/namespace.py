"""The few array operations a schedule may use, for a Python number, NumPy, torch and JAX alike.

``namespace(step)`` picks the set by the type of ``step``; no framework is imported unless ``step`` already came from it.
All operations but ``pow``, ``exp`` and its kin are exact or correctly rounded by IEEE 754, so that float, NumPy and torch
give the same bits; those go through NumPy also for Python numbers, so that one step alone equals the nth of a vector.
"""

from __future__ import annotations

import math
import operator
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dwindle.errors import InvalidValueError, shown

__all__ = ["Namespace", "namespace"]


@dataclass(frozen=True, slots=True)
class Namespace:
    """Operations on steps and factors. ``bucket(edges, x)`` counts the edges at or below x; ``table`` looks values up.

    ``long(x)`` is x in the widest type of whole numbers there is, if it is whole; ``most(x)`` the largest that type holds,
    infinity for floats of JAX: beside them it takes only whole numbers of 32 bits.
    """

    where: Callable[[Any, Any, Any], Any]
    clip: Callable[[Any, Any, Any], Any]
    as_float: Callable[[Any], Any]
    rint: Callable[[Any], Any]
    divide: Callable[[Any, float], Any]
    ldexp: Callable[[Any, Any], Any]
    sqrt: Callable[[Any], Any]
    pow: Callable[[Any, float], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    sin: Callable[[Any], Any]
    cos: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    floor: Callable[[Any], Any]
    bucket: Callable[[Sequence[float], Any], Any]
    table: Callable[[Sequence[float], Any], Any]
    long: Callable[[Any], Any]
    most: Callable[[Any], float]


def namespace(step: Any) -> Namespace:
    """Return the operations for the type of ``step``.

    >>> namespace(3).clip(7, 0, 5)
    5
    """
    kind = type(step)
    if kind is int or (kind is float and step == step):  # not NaN, which clips to nothing
        return SCALAR
    if isinstance(step, (np.ndarray, np.generic)):  # a tuple: torch.compile traces no union of types
        if step.dtype.kind == "u":
            raise _unsigned(step.dtype)
        if step.dtype.kind not in "ifb":
            raise InvalidValueError(f"a step must be a number; got {shown(step)} of the type {step.dtype}.")
        return NUMPY
    own = getattr(kind, "__dwindle_namespace__", None)
    if own is not None:  # a number of an adapter's own brings its operations: TensorFlow's, in dwindle.keras
        found: Namespace = own()
        return found
    root = kind.__module__.partition(".")[0]
    if root == "torch":
        if not step.dtype.is_signed:
            raise _unsigned(step.dtype)
        return _of("torch", _torch)
    if root in ("jax", "jaxlib"):
        if step.dtype.kind == "u":
            raise _unsigned(step.dtype)
        return _of("jax", _jax)
    if isinstance(step, int):  # bool and IntEnum
        return SCALAR
    raise InvalidValueError(f"a step must be a number or an array of numpy, torch or jax; got {shown(step)}.")


_FOUND: dict[str, Namespace] = {}  # torch.compile warns of functools.cache


def _of(framework: str, make: Callable[[], Namespace]) -> Namespace:
    if framework not in _FOUND:
        _FOUND[framework] = make()
    return _FOUND[framework]


def _unsigned(dtype: Any) -> InvalidValueError:
    return InvalidValueError(
        f"steps must be of a signed type; got {dtype}, in which 3 - 5 is a large number. Convert them to int64."
    )


def _pow(x: Any, exponent: float) -> float:
    return float(np.power(np.float64(x), exponent))


def _clip(x: Any, low: Any, high: Any) -> Any:
    held = low if x < low else high if x > high else x
    return float(held) if isinstance(x, float) else held  # a float stays one, as in an array


def _like_numpy(function: Callable[[Any], Any]) -> Callable[[Any], float]:
    return lambda x: float(function(np.float64(x)))


def _most(x: Any) -> int:
    return 2**63 - 1


SCALAR = Namespace(
    where=lambda condition, yes, no: yes if condition else no,
    clip=_clip,
    as_float=float,
    rint=round,
    divide=operator.truediv,
    ldexp=math.ldexp,
    sqrt=math.sqrt,
    pow=_pow,
    exp=_like_numpy(np.exp),
    log=_like_numpy(np.log),
    sin=_like_numpy(np.sin),
    cos=_like_numpy(np.cos),
    tanh=_like_numpy(np.tanh),
    floor=_like_numpy(np.floor),
    bucket=bisect_right,
    table=lambda values, index: values[int(index)],
    long=lambda x: x,
    most=_most,
)

NUMPY = Namespace(
    where=np.where,
    clip=np.clip,
    as_float=lambda x: np.asarray(x, dtype=np.float64),
    rint=np.rint,
    divide=operator.truediv,
    ldexp=lambda x, n: np.ldexp(x, np.asarray(n, dtype=np.int32)),
    sqrt=np.sqrt,
    pow=np.power,
    exp=np.exp,
    log=np.log,
    sin=np.sin,
    cos=np.cos,
    tanh=np.tanh,
    floor=np.floor,
    bucket=lambda edges, x: np.searchsorted(np.asarray(edges), x, side="right"),
    table=lambda values, index: np.asarray(values)[np.asarray(index, dtype=np.int64)],
    long=lambda x: x if x.dtype.kind == "f" else x.astype(np.int64, copy=False),
    most=_most,
)


def _torch() -> Namespace:
    import torch

    def wide(x: Any) -> Any:
        return x.to(torch.float32 if x.device.type == "mps" else torch.float64)

    def like(x: Any, values: Sequence[float]) -> Any:  # whole numbers stay whole: beyond 2^53 a float64 holds some only
        whole = all(isinstance(value, int) for value in values)
        return torch.as_tensor(values, dtype=torch.int64 if whole else torch.float64, device=x.device)

    def bucket(edges: Sequence[float], x: Any) -> Any:
        found = like(x, edges)
        if x.is_floating_point() or found.is_floating_point():
            x, found = wide(x), wide(found)
        return torch.bucketize(x, found, right=True)

    def clip(x: Any, low: Any, high: Any) -> Any:
        if isinstance(low, int) and isinstance(high, int) and not x.is_floating_point():  # bounds that its type holds
            most = torch.iinfo(x.dtype)
            low, high = max(low, most.min), min(high, most.max)
        return torch.clamp(x, low, high)

    def halves(x: Any) -> tuple[Any, Any]:  # x = high + low, of 26 bits each, whose products are exact
        scaled = x * 134217729.0  # 2^27 + 1
        high = scaled - (scaled - x)
        return high, x - high

    def exceeds(x: Any, a: Any, b: Any) -> Any:  # x > ab, of the exact product
        (a_high, a_low), (b_high, b_low), product = halves(a), halves(b), a * b
        rounded_off = a_high * b_high - product + a_high * b_low + a_low * b_high + a_low * b_low
        return x - product > rounded_off

    def sqrt(x: Any) -> Any:
        """√x rounded correctly: torch's own is off by an ulp in 1 of 80 to 150 float64 on a CPU (torch 2.13; √2 is one).

        r is right if r·pred(r) < x <= r·succ(r): Tuckerman's test (Agarwal et al. 1986); products as Dekker's (1971).
        """
        root = torch.sqrt(x)
        if x.dtype != torch.float64 or x.device.type != "cpu":
            return root
        below, above = (torch.nextafter(root, torch.full_like(root, end)) for end in (0.0, math.inf))
        nearest = torch.where(exceeds(x, root, above), above, torch.where(exceeds(x, root, below), root, below))
        return torch.where((x > 1e-290) & (x < 1e307), nearest, root)  # where halves and products are exact

    return Namespace(
        where=torch.where,
        clip=clip,
        as_float=wide,
        rint=torch.round,
        divide=operator.truediv,
        ldexp=torch.ldexp,
        sqrt=sqrt,
        pow=torch.pow,
        exp=torch.exp,
        log=torch.log,
        sin=torch.sin,
        cos=torch.cos,
        tanh=torch.tanh,
        floor=torch.floor,
        bucket=bucket,
        table=lambda values, index: like(index, values)[index.long()],
        long=lambda x: x if x.is_floating_point() else x.long(),
        most=_most,
    )


def _jax() -> Namespace:
    import jax.numpy as jnp

    def held(number: Any, x: Any) -> Any:
        # jax refuses a whole number that x's type cannot hold: with 32 bits 2**62 is the largest there is
        if jnp.issubdtype(x.dtype, jnp.floating):
            return float(number) if isinstance(number, int) else number
        if isinstance(number, float) or not jnp.issubdtype(x.dtype, jnp.integer):
            return number
        type_of_x = np.iinfo(x.dtype)
        return max(min(number, int(type_of_x.max)), int(type_of_x.min))

    def bucket(edges: Sequence[float], x: Any) -> Any:
        if jnp.issubdtype(x.dtype, jnp.integer):  # whole steps reach an edge at its ceiling, and none beyond their type
            edges = [e for e in map(math.ceil, edges) if held(e, x) == e]
        return jnp.searchsorted(jnp.asarray(edges, dtype=x.dtype), x, side="right")

    def table(values: Sequence[float], index: Any) -> Any:
        kept = [held(v, jnp.zeros((), int)) for v in values]
        return jnp.asarray(kept)[jnp.asarray(index, dtype=jnp.int32)]

    return Namespace(
        where=jnp.where,
        clip=lambda x, low, high: jnp.clip(x, held(low, x), held(high, x)),
        as_float=lambda x: jnp.asarray(x, dtype=float),
        rint=jnp.rint,
        # by a constant XLA multiplies with its reciprocal, and 49·(1/49) < 1: keep the divisor from it
        divide=lambda x, n: x / (x * 0.0 + n),
        ldexp=lambda x, n: jnp.ldexp(x, jnp.asarray(n, dtype=jnp.int32)),
        sqrt=jnp.sqrt,
        pow=jnp.power,
        exp=jnp.exp,
        log=jnp.log,
        sin=jnp.sin,
        cos=jnp.cos,
        tanh=jnp.tanh,
        floor=jnp.floor,
        bucket=bucket,
        table=table,
        long=lambda x: x if jnp.issubdtype(x.dtype, jnp.floating) else jnp.asarray(x, dtype=int),
        most=lambda x: math.inf if jnp.issubdtype(x.dtype, jnp.floating) else int(np.iinfo(x.dtype).max),
    )
