"""What the members train on: three sets of examples, and the order in which they come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.arrays import as_given
from dwindle.errors import DataError, count, shown
from dwindle.population.values import MLP

__all__ = ["Data", "Examples", "Prepared", "epoch_order", "prepare"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Rows of features ``x`` (examples, inputs) and what they should give, ``y``.

    ``y`` holds either whole-number labels, one a row counted from 0, or real targets (examples, outputs); targets of a
    network with one output may also be (examples,). Both are kept as read-only views.

    Raises DataError for shapes that do not fit, no rows at all, or a number that is not finite.

    >>> Examples([[0.0, 1.0], [1.0, 0.0]], [0, 1]).rows
    2
    """

    x: Array
    y: Array

    def __post_init__(self) -> None:
        x, y = _numbers("x", self.x), _numbers("y", self.y)
        if x.ndim != 2 or not x.size:
            raise DataError(f"x has shape {x.shape}; it needs rows of features. Use x.reshape(len(x), -1).")
        if y.ndim not in (1, 2) or len(y) != len(x):
            raise DataError(f"y has shape {y.shape} for {len(x)} rows of x; give one label or row of targets per row.")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    @property
    def rows(self) -> int:
        """The number of examples."""
        return len(self.x)


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The examples to learn from, to choose by (``validation``) and to report (``test``); the last two may be left out.

    Raises DataError when the sets differ in their number of features.

    >>> part = Examples([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    >>> Data(part, validation=part).test is None
    True
    """

    train: Examples
    validation: Examples | None = None
    test: Examples | None = None

    def __post_init__(self) -> None:
        for name in ("train", "validation", "test"):
            part = getattr(self, name)
            if part is None and name != "train":
                continue
            if not isinstance(part, Examples):
                raise DataError(f"{name} must be Examples(x, y); got {shown(type(part).__name__)}.")
            if part.x.shape[1] != self.train.x.shape[1]:
                raise DataError(
                    f"{name} has {part.x.shape[1]} features, train has {self.train.x.shape[1]}. "
                    "Prepare all sets in the same way."
                )


def epoch_order(rows: int, seed: int, epoch: int) -> NDArray[np.intp]:
    """Return the order of the examples in ``epoch``, counted from 0: a permutation of 0 .. rows - 1.

    Drawn afresh from ``numpy.random.default_rng([seed, 1 + epoch])``: any epoch can be had without those before.

    >>> epoch_order(5, seed=0, epoch=3)
    array([2, 1, 0, 4, 3])
    """
    rows, seed, epoch = (
        count(name, value, low=0) for name, value in (("rows", rows), ("seed", seed), ("epoch", epoch))
    )
    return np.random.default_rng([seed, 1 + epoch]).permutation(rows)


class Prepared(NamedTuple):
    """Examples in the numbers a network computes with: ``x``, ``target`` (rows, outputs), and ``label`` for accuracy.

    ``label`` is None where right and wrong have no meaning: real targets under the squared loss.
    """

    x: Array
    target: Array
    label: Array | None


def prepare(examples: Examples, mlp: MLP, name: str, dtype: np.dtype[Any]) -> Prepared:
    """Return ``examples`` as ``dtype`` arrays that fit ``mlp``; raise DataError if they cannot.

    >>> part = Examples([[0.0, 1.0], [1.0, 0.0]], [0, 2])
    >>> prepare(part, MLP((2, 4, 3)), "train", np.dtype("float32")).target
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    inputs, outputs = mlp.sizes[0], mlp.sizes[-1]
    if examples.x.shape[1] != inputs:
        raise DataError(f"{name} has {examples.x.shape[1]} features but the network has {inputs} inputs. Match them.")
    with np.errstate(over="ignore"):  # what the type cannot hold becomes inf, and is refused just below
        x = np.ascontiguousarray(examples.x, dtype=dtype)
    if not np.isfinite(x).all():
        raise DataError(f"x of {name} holds numbers beyond the range of {dtype}. Scale the features.")
    label: Array | None
    if examples.y.dtype.kind in "biu" and examples.y.ndim == 1 and not (outputs == 1 and mlp.loss == "squared"):
        target, label = _from_labels(examples.y, outputs, name)
    else:
        target, label = _from_targets(examples.y, mlp, name)
    return Prepared(x, np.ascontiguousarray(target, dtype=dtype), label)


def _from_labels(y: Array, outputs: int, name: str) -> tuple[Array, Array]:
    classes = max(outputs, 2)  # one sigmoid output tells two classes apart
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if wrong.size:
        raise DataError(
            f"y of {name}, row {wrong[0]}: label {y[wrong[0]]} is none of the {classes} classes of the network. "
            f"Number the labels 0 to {classes - 1}, or give the network more outputs."
        )
    label = y.astype(np.intp)
    return (label[:, None] if outputs == 1 else np.eye(outputs)[label]), label


def _from_targets(y: Array, mlp: MLP, name: str) -> tuple[Array, Array | None]:
    outputs = mlp.sizes[-1]
    target = y[:, None] if y.ndim == 1 and outputs == 1 else y
    if target.ndim != 2 or target.shape[1] != outputs:
        raise DataError(
            f"y of {name} has shape {y.shape} but the network has {outputs} outputs. Give real targets of shape "
            f"({len(y)}, {outputs}), or whole-number labels: y.astype(int)."
        )
    if mlp.loss == "squared":
        return target, None
    if (target < 0.0).any() or (target > 1.0).any():
        raise DataError(f"y of {name} leaves [0, 1], which the {mlp.loss} loss reads as probabilities. Rescale it.")
    if mlp.loss == "softmax" and not np.allclose(target.sum(axis=1), 1.0, rtol=0.0, atol=1e-5):
        raise DataError(f"y of {name} has rows that do not sum to 1, as softmax needs. Use loss='sigmoid', or divide.")
    return target, target.argmax(axis=1) if outputs > 1 else (target[:, 0] > 0.5).astype(np.intp)


def _numbers(name: str, value: Any) -> Array:
    try:
        array: Array = as_given(value)
    except ValueError as error:  # rows of unequal length
        raise DataError(f"{name} is not an array: {error}. Give every row the same length.") from None
    except TypeError as error:
        raise DataError(f"{name} cannot be taken: {error}.") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}; it needs real numbers. Encode text as numbers first.")
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(f"{name} at {place} is {array[place]}; it must be finite. Remove the row or fill it in.")
    view = array.view()
    view.flags.writeable = False
    return view
