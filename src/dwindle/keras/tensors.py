"""TensorFlow tensors with the arithmetic of the schedules: int64 and float64 mix, and whole numbers divide exactly.

A bare tf.Tensor refuses ``int64 * 0.5`` and ``int64 >= 30.0``, so a step travels through the formulas as a `Wide`. All of
it compiles under XLA (``jit_compile``), which ``tf.numpy_function`` would not, and it holds beyond the horizon, which a
table of the run's values would not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from dwindle.namespace import Namespace

__all__ = ["Wide", "plain", "wide"]


@cache
def _tf() -> Any:
    import tensorflow

    return tensorflow


class Wide:
    """An int64 or float64 tensor; with a float on either side the result is float64."""

    __slots__ = ("tensor",)
    __array_ufunc__ = None  # a NumPy number on the left leaves the operation to us

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    @staticmethod
    def __dwindle_namespace__() -> Namespace:
        return _namespace()

    def __add__(self, other: Any) -> Wide:
        return _apply(_tf().add, self, other)

    def __sub__(self, other: Any) -> Wide:
        return _apply(_tf().subtract, self, other)

    def __rsub__(self, other: Any) -> Wide:
        return _apply(_tf().subtract, other, self)

    def __mul__(self, other: Any) -> Wide:
        return _apply(_tf().multiply, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __truediv__(self, other: Any) -> Wide:
        return _apply(_tf().divide, _float(self), _hidden(_float(other), self))

    def __rtruediv__(self, other: Any) -> Wide:
        return _apply(_tf().divide, _float(other), _float(self))

    def __floordiv__(self, other: Any) -> Wide:
        return _apply(_tf().math.floordiv, self, _hidden(other, self))

    def __mod__(self, other: Any) -> Wide:
        return _apply(_tf().math.floormod, self, _hidden(other, self))

    def __rfloordiv__(self, other: Any) -> Wide:
        return _apply(_tf().math.floordiv, other, self)

    def __rmod__(self, other: Any) -> Wide:
        return _apply(_tf().math.floormod, other, self)

    def __neg__(self) -> Wide:
        return Wide(-self.tensor)

    def __abs__(self) -> Wide:
        return Wide(_tf().abs(self.tensor))

    def __lt__(self, other: Any) -> Any:
        return _tf().less(*_both(self, other))

    def __le__(self, other: Any) -> Any:
        return _tf().less_equal(*_both(self, other))

    def __gt__(self, other: Any) -> Any:
        return _tf().greater(*_both(self, other))

    def __ge__(self, other: Any) -> Any:
        return _tf().greater_equal(*_both(self, other))

    def __eq__(self, other: Any) -> Any:
        return _tf().equal(*_both(self, other))

    def __ne__(self, other: Any) -> Any:
        return _tf().not_equal(*_both(self, other))

    __hash__ = None  # type: ignore[assignment]  # equality is element by element


def wide(step: Any) -> Wide:
    """Return ``step`` as a Wide: int64 if it is whole by type, else float64."""
    tf = _tf()
    tensor = tf.constant(step, tf.int64) if isinstance(step, int) else tf.convert_to_tensor(step)
    return Wide(tf.cast(tensor, tf.int64 if tensor.dtype.is_integer else tf.float64))


def plain(number: Any, dtype: str) -> Any:
    """Return a Wide or a Python number as a tensor of ``dtype``."""
    tf = _tf()
    return tf.cast(number.tensor, dtype) if isinstance(number, Wide) else tf.constant(number, dtype)


def _both(a: Any, b: Any) -> tuple[Any, Any]:
    whole = all(x.tensor.dtype.is_integer if isinstance(x, Wide) else isinstance(x, int) for x in (a, b))
    dtype = "int64" if whole else "float64"
    return plain(a, dtype), plain(b, dtype)


def _apply(operation: Callable[[Any, Any], Any], a: Any, b: Any) -> Wide:
    return Wide(operation(*_both(a, b)))


def _float(x: Any) -> Any:
    return Wide(plain(x, "float64"))


def _hidden(divisor: Any, beside: Wide) -> Any:
    """Return ``divisor`` so that XLA cannot see a constant: it would multiply with its reciprocal, and 49·(1/49) < 1."""
    return divisor if isinstance(divisor, int) else _float(divisor) + _float(beside) * 0.0


@cache
def _namespace() -> Namespace:
    tf = _tf()

    def unary(operation: Callable[[Any], Any]) -> Callable[[Any], Wide]:
        return lambda x: Wide(operation(plain(x, "float64")))

    def where(condition: Any, yes: Any, no: Any) -> Any:
        if isinstance(yes, bool):
            return tf.where(condition, yes, no)
        return Wide(tf.where(condition, *_both(yes, no)))

    def clip(x: Any, low: Any, high: Any) -> Wide:
        return _apply(tf.minimum, _apply(tf.maximum, x, low), high)

    def ldexp(x: Any, exponent: Any) -> Wide:
        # 2**n by its bits, in two halves: n runs from -1100, below the smallest normal number, to 1023
        n = plain(exponent, "int64")
        first = n // 2
        powers = [
            tf.bitcast(tf.bitwise.left_shift(k + 1023, tf.constant(52, tf.int64)), tf.float64)
            for k in (first, n - first)
        ]
        return _apply(tf.multiply, _apply(tf.multiply, x, Wide(powers[0])), Wide(powers[1]))

    def bucket(edges: Sequence[float], x: Any) -> Wide:
        reached = tf.expand_dims(plain(x, "float64"), -1) >= tf.constant(list(edges), tf.float64)
        return Wide(tf.reduce_sum(tf.cast(reached, tf.int64), axis=-1))

    def table(values: Sequence[float], index: Any) -> Wide:
        dtype = tf.int64 if all(isinstance(v, int) for v in values) else tf.float64
        return Wide(tf.gather(tf.constant(list(values), dtype), plain(index, "int64")))

    return Namespace(
        where=where,
        clip=clip,
        as_float=_float,
        rint=unary(tf.round),
        divide=lambda x, n: x / n,
        ldexp=ldexp,
        sqrt=unary(tf.sqrt),
        pow=lambda x, exponent: Wide(tf.pow(plain(x, "float64"), plain(exponent, "float64"))),
        exp=unary(tf.exp),
        log=unary(tf.math.log),
        sin=unary(tf.sin),
        cos=unary(tf.cos),
        tanh=unary(tf.tanh),
        floor=unary(tf.floor),
        bucket=bucket,
        table=table,
        long=lambda x: x,
        most=lambda x: 2**63 - 1,
    )
