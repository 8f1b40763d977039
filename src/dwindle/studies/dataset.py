"""A data set as a value: three parts, what it is for, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.arrays import as_given
from dwindle.errors import DataError, InvalidValueError, a_kind, known, sequence, shown

__all__ = ["FROM_FILES", "PARTS", "TASKS", "Dataset", "Provenance"]

TASKS = ("classification", "regression", "custom")
FROM_FILES = TASKS[:2]  # what a file can be prepared for; custom data is made in code
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where data came from and everything that was done to it, in order.

    ``sha256`` pairs each file read with the hash of its decompressed bytes; ``steps`` are sentences for a report.

    >>> print(Provenance("wine.csv").then("standardised by the training rows"))
    wine.csv; standardised by the training rows
    """

    source: str
    sha256: tuple[tuple[str, str], ...] = ()
    steps: tuple[str, ...] = ()

    def then(self, *steps: str) -> Provenance:
        """Return this provenance with further ``steps`` at its end."""
        return replace(self, steps=(*self.steps, *steps))

    def __str__(self) -> str:
        return "; ".join((self.source, *self.steps))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Dataset:
    """Features and targets for training, for choosing (validation) and for reporting (test).

    ``*_x`` are float32 of shape (rows, ...), ``*_y`` int64 labels 0 .. len(classes) - 1 for classification or float32
    targets for regression, one a row. Arrays of other widths are cast; all six are kept as read-only views.
    ``task="custom"`` is for a model and a loss of one's own: x and y are any numbers with a row per example, of any further
    shape (tokens, next tokens, boxes, several targets), whole ones kept as int64 and real ones as float32; no classes.
    ``input_shape`` is the shape of one example before it was laid flat, such as (28, 28).
    A regression target t in the user's units is ``target_mean + target_scale * y``.
    Two data sets hold the same numbers when their ``fingerprint()`` is the same.

    Raises DataError for parts that do not fit together, rows that are not finite, labels out of range.

    >>> x, y = [[0.0], [1.0]], [0, 1]
    >>> both = Dataset(train_x=x, train_y=y, validation_x=x, validation_y=y, test_x=x, test_y=y,
    ...                name="two", task="classification", classes=("no", "yes"))
    >>> both.outputs, both.train_x.dtype, both.train_y.dtype
    (2, dtype('float32'), dtype('int64'))
    >>> tokens = np.arange(12).reshape(2, 6)
    >>> text = {f"{part}_{axis}": values for part in ("train", "validation", "test")
    ...         for axis, values in (("x", tokens[:, :-1]), ("y", tokens[:, 1:]))}
    >>> next_tokens = Dataset(**text, name="text", task="custom")
    >>> next_tokens.train_x.dtype, next_tokens.train_y.shape
    (dtype('int64'), (2, 5))
    """

    train_x: NDArray[Any] = field(repr=False)
    train_y: NDArray[Any] = field(repr=False)
    validation_x: NDArray[Any] = field(repr=False)
    validation_y: NDArray[Any] = field(repr=False)
    test_x: NDArray[Any] = field(repr=False)
    test_y: NDArray[Any] = field(repr=False)
    name: str
    task: str
    classes: tuple[str, ...] = ()
    provenance: Provenance = field(default=Provenance("made in code"), repr=False)
    input_shape: tuple[int, ...] = ()
    target_mean: float = 0.0
    target_scale: float = 1.0

    def __post_init__(self) -> None:
        a_kind("name", self.name, str)
        known("task", self.task, TASKS)
        object.__setattr__(self, "classes", tuple(map(str, sequence("classes", self.classes))))
        features, targets = _CONVERTERS[self.task]
        for part in PARTS:
            self._set(f"{part}_x", features)
            self._set(f"{part}_y", targets)
        self._check_parts()
        self._check_targets()
        shape = tuple(self.input_shape) or self.train_x.shape[1:]
        if int(np.prod(shape)) != int(np.prod(self.train_x.shape[1:])):
            raise DataError(
                f"input_shape {shape} of {self.name} does not hold the {self.train_x.shape[1:]} features of a row. "
                "Leave it out to take the shape of the rows."
            )
        object.__setattr__(self, "input_shape", shape)

    @property
    def outputs(self) -> int:
        """How many numbers a model has to give per row: one per class, or 1 for regression. Custom data does not say."""
        if self.task == "custom":
            raise InvalidValueError(f"{self.name} is custom data: only its loss knows what a model has to give.")
        return len(self.classes) if self.task == "classification" else 1

    def part(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (x, y) of ``train``, ``validation`` or ``test``."""
        known("part", name, PARTS)
        return getattr(self, f"{name}_x"), getattr(self, f"{name}_y")

    def fingerprint(self) -> str:
        """Return a sha256 over task, classes and every number: what a study compares before it resumes."""
        said = [self.task, list(self.classes), list(self.input_shape), self.target_mean, self.target_scale]
        digest = hashlib.sha256(repr(said).encode())
        for part in PARTS:
            for array in self.part(part):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _set(self, name: str, convert: Callable[[str, NDArray[Any]], NDArray[Any]]) -> None:
        try:
            given = as_given(getattr(self, name))
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{name} of {self.name} is not an array: {error}. Give numbers, rows of one shape."
            ) from None
        array = convert(f"{name} of {self.name}", given).view()
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    def _check_parts(self) -> None:
        for part in PARTS:
            x, y = self.part(part)
            if len(x) != len(y) or not len(x):
                raise DataError(
                    f"the {part} part of {self.name} has {len(x)} rows of features and {len(y)} targets. "
                    "Give one target per row, and at least one row."
                )
            for axis, array, first in (("x", x, self.train_x), ("y", y, self.train_y)):
                if (array.shape[1:], array.dtype) != (first.shape[1:], first.dtype):
                    raise DataError(
                        f"{part}_{axis} of {self.name} has rows of shape {array.shape[1:]} in {array.dtype}, train_{axis} of "
                        f"{first.shape[1:]} in {first.dtype}. Prepare all parts in the same way."
                    )

    def _check_targets(self) -> None:
        if self.task != "classification":
            if self.classes:
                raise InvalidValueError(f"{self.name} is no classification, yet has classes; leave classes out.")
            return
        if len(self.classes) < 2:
            raise DataError(
                f"{self.name} has {len(self.classes)} classes; a classifier needs two or more. "
                "Name them in classes, or set task='regression'."
            )
        for part in PARTS:
            y = self.part(part)[1]
            wrong = np.flatnonzero((y < 0) | (y >= len(self.classes)))
            if wrong.size:
                raise DataError(
                    f"{part}_y of {self.name}, row {wrong[0]}: label {y[wrong[0]]} is none of the {len(self.classes)} "
                    f"classes. Number the labels 0 to {len(self.classes) - 1}."
                )


def _features(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.ndim < 2 or not array.size:
        raise DataError(f"{name} has shape {array.shape}; it needs rows of features, such as (rows, features).")
    return _as_float32(name, array)


def _rows(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers as int64, real ones as float32, whatever the shape of a row."""
    if not array.ndim or not array.size:
        raise DataError(f"{name} has shape {array.shape}; it needs an example a row.")
    if array.dtype.kind not in "biu":
        return _as_float32(name, array)
    if array.dtype == np.uint64 and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{name} holds {array.max()}, which no int64 can. Number the tokens from 0.")
    return array.astype(np.int64, copy=False)


def _targets(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    return _as_float32(name, _one_a_row(name, array))


def _labels(name: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if _one_a_row(name, array).dtype.kind not in "iu":
        raise DataError(f"{name} holds {array.dtype}; labels are whole numbers counted from 0. Cast or number them.")
    return array.astype(np.int64, copy=False)


def _one_a_row(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim != 1:
        raise DataError(f"{name} has shape {array.shape}; it needs one value a row. Lay it flat, or take argmax(1).")
    return array


def _as_float32(name: str, array: NDArray[Any]) -> NDArray[np.float32]:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{name} holds {array.dtype}; it needs real numbers. Encode text as numbers first.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is refused just below
        cast = array.astype(np.float32, copy=False)
    if not np.isfinite(cast).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(cast))[0])
        raise DataError(
            f"{name}, at {place}: {shown(array[place].item())} is not a finite float32. Remove the row or fill it in."
        )
    return cast


_CONVERTERS: dict[
    str, tuple[Callable[[str, NDArray[Any]], NDArray[Any]], Callable[[str, NDArray[Any]], NDArray[Any]]]
] = {
    "classification": (_features, _labels),
    "regression": (_features, _targets),
    "custom": (_rows, _rows),
}
