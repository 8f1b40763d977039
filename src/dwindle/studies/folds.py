"""Folds, and training on all that may be trained on: the same data divided otherwise."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, count
from dwindle.studies.dataset import Dataset

__all__ = ["folds", "with_validation"]


def folds(data: Dataset, k: int, seed: int = 0) -> list[Dataset]:
    """Return k data sets: in the i-th the i-th part of the training and validation rows is the validation, the others train.

    Every row is in one validation part; the parts differ by a row at most, of a classification class by class. The test rows
    stay. Features were scaled by the training rows that the data came with, of which each fold's validation has some.

    Raises InvalidValueError unless 2 ≤ k ≤ rows.

    >>> from dwindle.studies.data import load
    >>> [(len(fold.train_x), len(fold.validation_x)) for fold in folds(load("fashion"), 4)]
    [(2250, 750), (2250, 750), (2250, 750), (2250, 750)]
    """
    x, y = _both(data)
    count("folds", k, low=2)
    if k > len(x):
        raise InvalidValueError(f"folds must be at most the {len(x)} rows of training and validation; got {k}.")
    order = np.random.default_rng([seed, k]).permutation(len(x))
    if data.task == "classification":
        order = order[np.argsort(y[order], kind="stable")]  # dealt out class by class
    held = np.empty(len(x), np.intp)
    held[order] = np.arange(len(x)) % k
    said = f"{k} folds of training and validation rows together (seed {seed})"
    return [
        replace(
            data, train_x=x[held != i], train_y=y[held != i], validation_x=x[held == i], validation_y=y[held == i],
            provenance=data.provenance.then(f"{said}: fold {i + 1}"),
        )
        for i in range(k)
    ]  # fmt: skip


def with_validation(data: Dataset) -> Dataset:
    """Return the data with the validation rows among the training rows; they are still its validation part, seen by then.

    >>> from dwindle.studies.data import load
    >>> len(with_validation(load("fashion")).train_x)
    3000
    """
    x, y = _both(data)
    return replace(
        data, train_x=x, train_y=y, provenance=data.provenance.then("trained on the validation rows as well")
    )


def _both(data: Dataset) -> tuple[NDArray[np.float32], NDArray[Any]]:
    x = np.concatenate([data.train_x, data.validation_x])
    return x, np.concatenate([data.train_y, data.validation_y])
