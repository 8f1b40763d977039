"""k copies of an MLP as stacked arrays: forward, loss, gradient. Everything works in buffers that are made once.

NumPy multiplies stacked matrices one pair at a time, with the same call for each. So a member's numbers do not depend
on how many others are stacked with it: the law `train` promises, and why members are not merged into one wide product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population.data import Prepared
from dwindle.population.values import MLP

__all__ = ["Buffers", "Drop", "Parameters", "evaluate", "forward", "gradient"]

Array: TypeAlias = NDArray[Any]
# Of a hidden layer and its activations (k, rows, units): what to multiply them by.
Drop: TypeAlias = Callable[[int, Array], Array]

_EVALUATION_ROWS = 256


class Parameters:
    """Weights w = s·u and biases of k members, with their gradients ∂C/∂w and ∂C/∂b.

    ``weights`` holds u, (k, all weights), ``biases`` (k, all biases): one flat row a member, so that an update is a few
    passes over memory. ``u``, ``b``, ``grad_u``, ``grad_b`` are views of them, one a layer: (k, fan_in, fan_out) and
    (k, 1, fan_out). ``scale`` holds s, (k, 1, 1).
    """

    def __init__(self, mlp: MLP, weights: Array, biases: Array, scale: Array) -> None:
        self.mlp = mlp
        self.weights, self.biases = weights, biases
        self.weight_grads, self.bias_grads = np.empty_like(weights), np.empty_like(biases)
        rows = [(1, fan_out) for _, fan_out in mlp.shapes]
        self.u, self.grad_u = layer_views(weights, mlp.shapes), layer_views(self.weight_grads, mlp.shapes)
        self.b, self.grad_b = layer_views(biases, rows), layer_views(self.bias_grads, rows)
        self.scale = scale.astype(weights.dtype)[:, None, None]


def layer_views(flat: Array, shapes: Any) -> list[Array]:
    """Return views of ``flat`` (k, numbers), one of shape (k, *shape) for each of ``shapes`` in turn."""
    views, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        views.append(flat[:, start : start + size].reshape(len(flat), *shape))
        start += size
    return views


class Buffers:
    """Room for k members on up to ``rows`` examples: ``a`` of each layer, and of the hidden ones ∂a/∂z and ∂C/∂z."""

    def __init__(self, mlp: MLP, members: int, rows: int, dtype: np.dtype[Any], deltas: bool = True) -> None:
        self.a = [np.empty((members, rows, size), dtype) for size in mlp.sizes[1:]]
        self.slope, self.delta = ([np.empty_like(a) for a in self.a[:-1]] if deltas else [] for _ in range(2))
        self.column = np.empty((members, rows, 1), dtype)
        self.ones = np.ones((1, rows), dtype)
        self.one_each = np.ones((mlp.sizes[-1], 1), dtype)

    def first(self, rows: int) -> Buffers:
        """Return the same memory cut to the first ``rows`` examples."""
        cut = object.__new__(Buffers)
        cut.a, cut.slope, cut.delta = ([each[:, :rows] for each in kept] for kept in (self.a, self.slope, self.delta))
        cut.column, cut.ones, cut.one_each = self.column[:, :rows], self.ones[:, :rows], self.one_each
        return cut


def forward(members: Parameters, x: Array, buffers: Buffers, drop: Drop | None = None) -> Array:
    """Return z of the output layer, (k, rows, outputs), for ``x`` (rows, inputs) or (k, rows, inputs).

    The slopes are left in the buffers, if these have room for them; of units that ``drop`` leaves out they are 0.
    """
    last = len(members.u) - 1
    for layer, (u, b, a) in enumerate(zip(members.u, members.b, buffers.a, strict=True)):
        np.matmul(x, u, out=a)
        np.multiply(a, members.scale, out=a)
        np.add(a, b, out=a)
        if layer < last:
            slope = buffers.slope[layer] if buffers.slope else None
            _activate(members.mlp.activation, a, slope)
            if drop is not None:
                kept = drop(layer, a)
                np.multiply(a, kept, out=a)
                if slope is not None:
                    np.multiply(slope, kept, out=slope)
        x = a
    return x


def gradient(members: Parameters, x: Array, target: Array, buffers: Buffers, drop: Drop | None = None) -> None:
    """Write ∂C0/∂w and ∂C0/∂b of the mean loss over these rows into the gradients of ``members``."""
    delta = forward(members, x, buffers, drop)
    _to_output(members.mlp.loss, delta, buffers)
    np.subtract(delta, target, out=delta)
    np.multiply(delta, 1.0 / delta.shape[1], out=delta)
    for layer in range(len(members.u) - 1, -1, -1):
        below = buffers.a[layer - 1] if layer else x
        np.matmul(below.swapaxes(-1, -2), delta, out=members.grad_u[layer])
        np.matmul(buffers.ones, delta, out=members.grad_b[layer])
        if layer:
            # The scale goes on the narrower side; delta is not needed any more.
            np.multiply(delta, members.scale, out=delta)
            np.matmul(delta, members.u[layer].swapaxes(-1, -2), out=buffers.delta[layer - 1])
            delta = buffers.delta[layer - 1]
            np.multiply(delta, buffers.slope[layer - 1], out=delta)


def evaluate(members: Parameters, examples: Prepared) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (loss, accuracy) of each member over all ``examples``: C0 in float64, and the share that is right.

    An answer is the largest output, of a single output its sign. Accuracy is NaN where the examples have no label.
    """
    mlp, count, rows = members.mlp, len(members.weights), len(examples.x)
    block = min(rows, _EVALUATION_ROWS)
    buffers = Buffers(mlp, count, block, members.weights.dtype, deltas=False)
    loss, right = np.zeros(count), np.zeros(count)
    for start in range(0, rows, block):
        part = slice(start, min(start + block, rows))
        x = examples.x[part]
        z = forward(members, x, buffers if len(x) == block else buffers.first(len(x)))
        loss += _losses(mlp.loss, z.astype(np.float64), examples.target[part]).sum(axis=1)
        if examples.label is not None:
            answer = z.argmax(axis=2) if mlp.sizes[-1] > 1 else z[:, :, 0] > 0.0
            right += (answer == examples.label[part]).sum(axis=1)
    return loss / rows, right / rows if examples.label is not None else np.full(count, np.nan)


def _activate(activation: str, z: Array, slope: Array | None) -> None:
    """Turn ``z`` into the activations, and write their derivatives into ``slope``."""
    if activation == "gelu":
        _gelu(z, slope)
    elif activation == "relu":
        np.maximum(z, 0.0, out=z)
        if slope is not None:
            np.greater(z, 0.0, out=slope)
    elif activation == "tanh":
        np.tanh(z, out=z)
        if slope is not None:
            np.multiply(z, z, out=slope)
            np.subtract(1.0, slope, out=slope)
    else:
        _sigmoid(z)
        if slope is not None:
            np.subtract(1.0, z, out=slope)
            np.multiply(slope, z, out=slope)


def _gelu(z: Array, slope: Array | None) -> None:
    from scipy.special import ndtr  # not loaded where it is not needed

    below = ndtr(z)
    if slope is not None:
        np.multiply(z, z, out=slope)
        np.multiply(slope, -0.5, out=slope)
        np.exp(slope, out=slope)
        np.multiply(slope, 0.3989422804014327, out=slope)  # 1/√(2π)
        np.multiply(slope, z, out=slope)
        np.add(slope, below, out=slope)
    np.multiply(z, below, out=z)


def _sigmoid(z: Array) -> None:
    # exp(-z) may overflow to inf, and 1/inf is the right answer.
    np.multiply(z, -1.0, out=z)  # NumPy 2.4.6 does np.negative in place wrongly for float64 that lie 64 bytes apart
    np.exp(z, out=z)
    np.add(z, 1.0, out=z)
    np.reciprocal(z, out=z)


def _to_output(loss: str, z: Array, buffers: Buffers) -> None:
    """Turn ``z`` into what the model says: probabilities, or z itself under the squared loss."""
    if loss == "sigmoid":
        _sigmoid(z)
    elif loss == "softmax":
        np.max(z, axis=2, keepdims=True, out=buffers.column)
        np.subtract(z, buffers.column, out=z)
        np.exp(z, out=z)
        np.matmul(z, buffers.one_each, out=buffers.column)  # a sum: six times the speed of np.sum over so short an axis
        np.divide(z, buffers.column, out=z)


def _losses(loss: str, z: Array, target: Array) -> Array:
    """The loss of every example, (k, rows), from z in float64."""
    if loss == "squared":
        each: Array = 0.5 * (z - target) ** 2
    elif loss == "sigmoid":
        each = np.logaddexp(0.0, z) - target * z
    else:
        top = z.max(axis=2, keepdims=True)
        each = target * (np.log(np.exp(z - top).sum(axis=2, keepdims=True)) + top - z)
    return np.asarray(each.sum(axis=2))
