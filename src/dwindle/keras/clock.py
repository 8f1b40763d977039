"""Numbers of one step on the backend that Keras runs: worked out in float64 from a 64-bit count, then rounded once.

So no boundary falls late in 32 bits (in float32 under jit, 94/94 < 1), and every backend gives the same float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from dwindle.errors import InvalidValueError

__all__ = ["at"]

Numbers = tuple[Any, ...]
Formula = Callable[[Any], Numbers]


def at(step: Any, formula: Formula) -> Numbers:
    """Return the numbers ``formula(step)`` as tensors of Keras' float, float32 where floatx is a half.

    ``step`` is a number, a Keras variable, or an integer array of any shape, traced or not. Raises InvalidValueError on a
    backend that trains nothing.

    >>> [float(x) for x in at(3, lambda step: (0.5 * step, 2.0))]
    [1.5, 2.0]
    """
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise InvalidValueError(f"Keras' backend {backend} is not known here; use one of {', '.join(_BACKENDS)}.")
    plain = isinstance(step, int | float | np.ndarray | np.generic)  # as it is: Keras would make it an int32
    native = step if plain else keras.ops.convert_to_tensor(step)
    return _BACKENDS[backend](native, formula, "float64" if keras.config.floatx() == "float64" else "float32")


def _jax(step: Any, formula: Formula, narrow: str) -> Numbers:
    import jax
    import jax.numpy as jnp

    dtype = jnp.result_type(float) if narrow == "float64" else jnp.float32
    if not isinstance(step, jax.core.Tracer) and np.ndim(step) == 0:
        return tuple(jnp.asarray(x, dtype) for x in formula(_alone(np.asarray(step))))
    with jax.enable_x64(True):
        count = jnp.asarray(step)
        count = count.astype(jnp.int64 if jnp.issubdtype(count.dtype, jnp.integer) else jnp.float64)
        return tuple(jnp.asarray(x, jnp.float64).astype(dtype) for x in formula(count))


def _torch(step: Any, formula: Formula, narrow: str) -> Numbers:
    import torch

    count, dtype = torch.as_tensor(step), getattr(torch, narrow)
    if not count.is_floating_point():
        count = count.to(torch.int64)
    elif count.device.type != "mps":
        count = count.to(torch.float64)
    # on an accelerator reading the count would wait for all that is queued there
    alone = count.ndim == 0 and count.device.type == "cpu"
    numbers = formula(count.item() if alone else count)
    return tuple(torch.as_tensor(x, dtype=dtype, device=count.device) for x in numbers)


def _tensorflow(step: Any, formula: Formula, narrow: str) -> Numbers:
    import tensorflow as tf

    from dwindle.keras.tensors import plain, wide

    if len(np.shape(step)) == 0 and (isinstance(step, int | float) or tf.executing_eagerly()):
        return tuple(tf.constant(x, narrow) for x in formula(_alone(np.asarray(step))))
    return tuple(plain(x, narrow) for x in formula(wide(step)))


def _numpy(step: Any, formula: Formula, narrow: str) -> Numbers:
    count = np.asarray(step)
    count = count.astype(np.int64 if np.issubdtype(count.dtype, np.integer) else np.float64)
    return tuple(np.asarray(x, narrow) for x in formula(count))


def _alone(step: Any) -> int | float:
    """Return one step as a Python number: the formulas are then a few operations of Python instead of the framework."""
    number: int | float = step.item()
    return number


def _untraced(function: Callable[..., Numbers]) -> Callable[..., Numbers]:
    """Keep ``function`` out of the graphs of torch.compile: what it reads differs at every step."""
    import torch

    outside: Callable[[Any], Any] = torch.compiler.disable
    found: Callable[..., Numbers] = outside(function)
    return found


if keras.backend.backend() == "torch":
    _torch = _untraced(_torch)

_BACKENDS = {"jax": _jax, "torch": _torch, "tensorflow": _tensorflow, "numpy": _numpy}
