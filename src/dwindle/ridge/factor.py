"""The one factorisation of a ridge path: centred, weighted, scaled data as U·diag(d)·Vᵀ, and what U leaves of the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.arrays import as_given
from dwindle.errors import DataError, InvalidValueError, flag, shown

__all__ = ["Factor", "enough", "factorised", "features", "positive", "targets"]

Array = npt.NDArray[np.float64]

# (d_min/d_max)² from which the eigenvalues of XᵀX or XXᵀ are taken: they are then right to about 1e-16/1e-6 relative
_WELL_CONDITIONED = 1e-6
_LARGEST, _SMALLEST = 1e100, 1e-100  # beyond these the data are scaled by a power of two, so that no square overflows
_LARGEST_TARGET = 1e150
_TOGETHER = 256  # unit vectors projected at once
_SMALL, _NONE = 1e-3, 1e-24  # of a row's own share: one to be worked out with care, one that is rounding


@dataclass(frozen=True, eq=False)
class Factor:
    """√s·(X - x̄)/x_unit = U·diag(d)·Vᵀ of rank r, and z = Uᵀ·√s·(y - ȳ)/y_unit; s are the weights, 1 without.

    ``left`` U [n, r], ``d`` [r] falling and positive, ``z`` [r, k]; ``rest`` [n, k] is what U leaves of the target and
    ``free`` [n] the share of each row's own residual that no λ takes: 1 - s_i/Σs - Σ_j U_ij². ``room`` is the rank that the
    rows allow, n less one for the intercept; where r = room, ``rest`` and ``free`` are exactly 0.
    """

    left: Array
    d: Array
    z: Array
    rest: Array
    free: Array
    room: int
    centred: Array
    right_known: Array | None
    active: npt.NDArray[np.intp]
    columns: int
    x_mean: Array
    y_mean: Array
    x_unit: float
    y_unit: float
    root: Array | None

    @property
    def rows(self) -> int:
        """Return n."""
        return len(self.left)

    @property
    def squares(self) -> Array:
        """Return d² [r]."""
        return self.d * self.d

    @property
    def is_full(self) -> bool:
        """Return whether the columns can reproduce any target: rank = room."""
        return len(self.d) == self.room

    @cached_property
    def right(self) -> Array:
        """Return V [active columns, r]: of XᵀU/d where it was not needed before."""
        return self.centred.T @ (self.left / self.d) if self.right_known is None else self.right_known

    def in_units(self, lams: Array) -> Array:
        """Return λ in units of the scaled data; below any effect it is 0."""
        scaled = np.asarray(lams) / self.x_unit / self.x_unit
        return np.where(scaled < 1e-250, 0.0, scaled)


def factorised(X: Array, y: Array, intercept: bool, weights: Array | None) -> Factor:
    """Return the factorisation of checked data: X [n, p], y [n, k], positive weights [n] or None.

    By the eigenvalues of XᵀX (n > p) or XXᵀ where these are well conditioned, else by the singular values of X itself.
    """
    x_unit, y_unit = _unit(X), _unit(y)
    X, y = (X / x_unit if x_unit != 1.0 else X), (y / y_unit if y_unit != 1.0 else y)
    x_mean, y_mean = np.zeros(X.shape[1]), np.zeros(y.shape[1])
    if intercept:
        x_mean, y_mean = _mean(X, weights), _mean(y, weights)
        alike = X.min(axis=0) == X.max(axis=0)
        x_mean[alike] = X[0, alike]  # a mean of equal numbers may be an ulp off them
        same = y.min(axis=0) == y.max(axis=0)
        y_mean[same] = y[0, same]
        X, y = X - x_mean, y - y_mean
        X -= _mean(X, weights)  # what the mean was rounded by would count as a direction of its own
        y -= _mean(y, weights)
    root = None if weights is None else np.sqrt(weights)
    if root is not None:
        X, y = root[:, None] * X, root[:, None] * y
    active = np.flatnonzero(X.any(axis=0))
    if len(active) < X.shape[1]:
        X = X[:, active]
    left, d, right = _decomposed(X, len(X) - intercept)
    taken = 0.0 if not intercept else (1.0 / len(X) if weights is None else weights / weights.sum())
    room, z = len(X) - intercept, left.T @ y
    rest = y - left @ z
    rest -= left @ (left.T @ rest)
    if len(d) == room:
        rest, free = np.zeros_like(rest), np.zeros(len(X))
    else:
        free = _free(left, taken, root)
        rest[free == 0.0] = 0.0
    return Factor(
        left, d, z, rest, free, room, X, right, active, len(x_mean), x_mean, y_mean, x_unit, y_unit, root
    )  # fmt: skip


def _mean(values: Array, weights: Array | None) -> Array:
    found: Array = values.mean(axis=0) if weights is None else weights @ values / weights.sum()
    return found


def _free(left: Array, taken: Any, root: Array | None) -> Array:
    """Return 1 - s_i/Σs - Σ_j U_ij², of a small one the square of what U and the intercept leave of a unit vector.

    Taken from 1 it has lost its digits; the vector itself, projected twice, keeps them.
    """
    free: Array = 1.0 - taken - np.einsum("ij,ij->i", left, left)
    small = np.flatnonzero(free < _SMALL)
    ones = None if np.isscalar(taken) and taken == 0.0 else (np.ones(len(left)) if root is None else root)
    for some in (small[i : i + _TOGETHER] for i in range(0, len(small), _TOGETHER)):
        beyond = np.zeros((len(left), len(some)))
        beyond[some, np.arange(len(some))] = 1.0
        for _ in range(2):
            beyond -= left @ (left.T @ beyond)
            if ones is not None:
                beyond -= np.outer(ones, ones @ beyond / (ones @ ones))
        free[some] = np.einsum("ij,ij->j", beyond, beyond)
    free[free < _NONE * len(left)] = 0.0
    return free


def _unit(values: Array) -> float:
    """Return 1, or the power of two that brings values of an extreme size near 1."""
    largest = float(np.max(np.abs(values), initial=0.0))
    return 1.0 if largest == 0.0 or _SMALLEST < largest < _LARGEST else 2.0 ** math.frexp(largest)[1]


def _decomposed(X: Array, room: int) -> tuple[Array, Array, Array | None]:
    """Return (U, d, V or None)."""
    most = min(room, X.shape[1])
    if most == 0:
        return np.zeros((len(X), 0)), np.zeros(0), None
    wide = X.shape[0] <= X.shape[1]
    squares, vectors = np.linalg.eigh(X @ X.T if wide else X.T @ X)
    squares, vectors = squares[::-1][:most], vectors[:, ::-1][:, :most]
    if squares[-1] > _WELL_CONDITIONED * squares[0]:
        d = np.sqrt(squares)
        if wide:
            return np.ascontiguousarray(vectors), d, None
        return X @ (vectors / d), d, vectors
    left, d, right = _singular(X)
    rank = min(most, int(np.sum(d > d[0] * max(X.shape) * np.finfo(float).eps)))
    return np.ascontiguousarray(left[:, :rank]), d[:rank], right[:rank].T


def _singular(X: Array) -> tuple[Array, Array, Array]:
    try:
        found = np.linalg.svd(X, full_matrices=False)
    except np.linalg.LinAlgError:  # divide and conquer does not converge, very rarely; the slower method does
        from scipy.linalg import svd

        found = svd(X, full_matrices=False, lapack_driver="gesvd")
    return found[0], found[1], found[2]


# --- what is given


def features(name: str, given: Any, columns: int | None = None) -> Array:
    """Return ``given`` as finite float64 [n, p]; raise DataError if it is not, or has other than ``columns`` columns."""
    X = _numbers(name, given)
    if X.ndim != 2 or not len(X):
        raise DataError(f"{name} has the shape {X.shape}; it must be (rows, columns). For one column write X[:, None].")
    if columns is not None and X.shape[1] != columns:
        raise DataError(f"{name} has {X.shape[1]} columns; the path was made of {columns}. Give the same columns.")
    return X


def targets(name: str, given: Any, rows: int) -> Array:
    """Return ``given`` as finite float64 [n] or [n, k]; raise DataError if it is not, or has other than ``rows`` rows."""
    y = _numbers(name, given)
    if y.ndim not in (1, 2) or len(y) != rows or not y.size:
        raise DataError(f"{name} has the shape {y.shape}; it must be ({rows},) or ({rows}, targets), as the rows of X.")
    if np.max(np.abs(y)) > _LARGEST_TARGET:
        raise DataError(
            f"{name} goes to {np.max(np.abs(y)):g}, whose square no float64 holds. Give it in a larger unit."
        )
    return y


def positive(weights: Any, rows: int) -> Array | None:
    """Return the weights as float64 [n], None for none; raise DataError unless they are positive, one a row."""
    if weights is None:
        return None
    found = _numbers("weights", weights)
    if found.shape != (rows,):
        raise DataError(f"weights have the shape {found.shape}; give one for each of the {rows} rows.")
    if found.min() <= 0.0:
        raise DataError(
            f"weights must be positive; the least is {found.min():g}. Leave rows out that are not to count."
        )
    return found


def enough(rows: int, intercept: bool) -> None:
    """Raise if no row can be left out, and where ``intercept`` is not True or False."""
    if flag("intercept", intercept) and rows < 2:
        raise DataError("leaving out the only row leaves none to fit an intercept to; give two rows or more.")


def _numbers(name: str, given: Any) -> Array:
    try:
        array = as_given(given)
        if array.dtype.kind not in "biuf":
            if array.dtype.kind != "O":
                raise DataError(f"{name} holds {array.dtype}; it must be real numbers. Encode text as numbers first.")
            array = np.array(array.tolist())
            if array.dtype.kind not in "biuf":
                raise DataError(f"{name} holds objects that are no real numbers; encode or leave them out.")
    except DataError:
        raise
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{name} must be an array of numbers; got {shown(given)}: {error}.") from error
    values = array.astype(np.float64, copy=False)
    if not np.isfinite(values).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(f"{name}, at {place}: {values[place]} is not finite. Fill it in or leave the row out.")
    return values
