"""The ridge path: every λ of a penalised linear fit from one factorisation, with its exact leave-one-out error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwindle.arrays import float64
from dwindle.errors import DataError, InvalidValueError, count, real
from dwindle.ridge.factor import Factor, enough, factorised, features, positive, targets
from dwindle.ridge.leave_out import blocks, kept, residuals

__all__ = ["Path", "Range", "path"]

Array = npt.NDArray[np.float64]

_NUMBERS = 2**22  # coefficients or predictions worked out at once: 32 MB
_MOST = 10**7  # λ of a path
_SURE = 1.96  # standard errors
_NOTHING = 0.01  # degrees of freedom of all columns together
_LEAST_WIDE = 1e-12  # of d_max², the least λ of a grid that is chosen here


class Range(NamedTuple):
    """From ``low`` to ``high``, both among the λ of a path."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Path:
    """What a ridge fit is at each λ of ``lams`` [L]; every array goes by them, [L, k] where y had k targets.

    ``degrees`` [L] are the effective degrees of freedom, the trace of the hat matrix, the intercept's 1 counted.
    ``training`` is the mean squared error on the rows of the fit, ``loo`` that of each row by the fit without it (PRESS/n;
    Allen 1974), ``gcv`` generalised cross-validation, n·Σe²/(n - degrees)² (Golub, Heath & Wahba 1979), ``penalty`` Σw².
    Means are weighted where the fit was. Coefficients are worked out when asked for: `coef`, `coefs`, `coef_blocks`.
    """

    lams: Array
    degrees: Array
    training: Array
    loo: Array
    gcv: Array
    penalty: Array
    rows: int
    columns: int
    intercept: bool
    factor: Factor = field(repr=False)
    several: bool = field(repr=False)

    def coef(self, lam: float) -> Array:
        """Return w at any λ ≥ 0, shape [p] or [p, k]; at 0 it is the shortest of the least-squares solutions.

        >>> path([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0]).coef(2.0)
        array([0.5])
        """
        w: Array = self._shaped(self._coefs(np.array([real("lam", lam, low=0.0)])))[0]
        return w

    def intercept_at(self, lam: float) -> Any:
        """Return b at any λ ≥ 0: ȳ - x̄·w, a number or [k]; 0 without an intercept."""
        found = self._intercepts(self._coefs(np.array([real("lam", lam, low=0.0)])))[0]
        return found if self.several else float(found[0])

    @cached_property
    def coefs(self) -> Array:
        """Return w at every λ of the path, shape [L, p] or [L, p, k]; where that is large, take `coef_blocks`."""
        return np.concatenate([found for _, found in self.coef_blocks()])

    @cached_property
    def intercepts(self) -> Array:
        """Return b at every λ of the path, shape [L] or [L, k]; zeros without an intercept."""
        found = np.concatenate([self._intercepts(self._coefs(lams)) for lams in self._lam_blocks(self.columns)])
        return found if self.several else found[:, 0]

    def coef_blocks(self, most: int = _NUMBERS) -> Iterator[tuple[Array, Array]]:
        """Yield (lams, coefs) of some λ after another, so many that at most ``most`` coefficients are held at once."""
        for lams in self._lam_blocks(self.columns, count("most", most)):
            yield lams, self._shaped(self._coefs(lams))

    def predict(self, X: Any, lam: float) -> Array:
        """Return X·w + b at one λ, shape [rows] or [rows, k]."""
        found: Array = features("X", X, self.columns) @ self.coef(lam) + self.intercept_at(lam)
        return found

    def errors(self, X: Any, y: Any) -> Array:
        """Return the mean squared error on other rows at every λ of the path, shape [L] or [L, k].

        >>> made = path([[0.0], [1.0], [2.0]], [1.0, 2.0, 3.0], [0.0, 2.0])
        >>> made.errors([[3.0]], [4.0]).round(12)
        array([0., 1.])
        """
        X = features("X", X, self.columns)
        y = targets("y", y, len(X)).reshape(len(X), -1)
        if y.shape[1] != len(self.factor.z.T):
            raise InvalidValueError(f"y has {y.shape[1]} targets; the path has {len(self.factor.z.T)}.")
        sums = np.zeros((len(self.lams), y.shape[1]))
        found = self.factor
        ratio = found.d[:, None] / (found.squares[:, None] + found.in_units(self.lams))
        few = max(1, _NUMBERS // max(len(self.lams), len(found.active), 1))
        for rows in (slice(i, i + few) for i in range(0, len(X), few)):
            inside = ((X[rows] / found.x_unit - found.x_mean)[:, found.active]) @ found.right
            beyond = y[rows] / found.y_unit - found.y_mean
            for k, (z, rest) in enumerate(zip(found.z.T, beyond.T, strict=True)):
                left = rest[:, None] - inside @ (z[:, None] * ratio)
                sums[:, k] += np.einsum("ij,ij->j", left, left)
        return self._shaped(sums / len(X) * found.y_unit**2)

    def loo_residuals(self, lam: float | None = None) -> Array:
        """Return y_i less the prediction of the fit without row i: [n] or [n, k] at one λ, [L, n] or [L, n, k] at all.

        >>> path([[0.0], [1.0], [2.0]], [1.0, 2.0, 4.0]).loo_residuals(0.0)
        array([ 1. , -0.5,  1. ])
        """
        given = self.lams if lam is None else np.array([real("lam", lam, low=0.0)])
        found = np.stack([residuals(self.factor, each) for each in self.factor.in_units(given).tolist()])
        shaped = self._shaped(found * self.factor.y_unit)
        return shaped if lam is None else shaped[0]

    # --- which λ

    @property
    def mean_loo(self) -> Array:
        """Return ``loo``, its mean over the targets where there are several, shape [L]."""
        return self.loo.mean(axis=1) if self.several else self.loo

    @property
    def best(self) -> float:
        """Return the λ of the smallest leave-one-out error; of equal ones the largest."""
        return float(self.lams[self._best])

    @property
    def one_standard_error(self) -> float:
        """Return the largest λ whose leave-one-out error is within one standard error of the best one's.

        The standard error is that of the paired difference, row by row, so that what makes a row hard at every λ does not
        count; all λ between are within it too. Source: Breiman et al. 1984, §3.4.3; paired: derived.
        """
        return self._within(1.0).high

    @property
    def interval(self) -> Range:
        """Return the λ around the best that leave-one-out cannot tell from it: differences below 1.96 standard errors.

        The errors of different rows are not independent, so the level is about 95 %, not exactly.
        """
        return self._within(_SURE)

    @property
    def said(self) -> str:
        """Return in words which λ is best, and whether it matters."""
        low, high = self.interval
        if (low, high) == (self.lams.min(), self.lams.max()):
            return (
                f"λ does not matter here: from {low:.4g} to {high:.4g} no λ can be told from the best, {self.best:.4g}."
            )
        others = f"{low:.4g} to {high:.4g} cannot" if low < high else "every other that was tried can"
        text = f"λ = {self.best:.4g} has the smallest leave-one-out error; {others} be told from it."
        shrunk = self.degrees[self._best] - self.intercept < _NOTHING  # beyond it there is nothing left to shrink
        if self.best in (self.lams.min(), self.lams.max()) and self.best > 0.0 and not shrunk:
            text += " It is the last that was tried on its side: try beyond it."
        if low == self.lams.min():
            text += f" So a penalty is not shown to help: the least λ tried, {low:.4g}, is not told from the best."
        if high == self.lams.max():
            text += f" Nor is the largest λ tried, {high:.4g}, shown to do worse: the columns may not help at all."
        return text

    @property
    def _best(self) -> int:
        error = self.mean_loo
        equal = np.flatnonzero(error <= np.min(error) * (1.0 + 4.0 * np.finfo(float).eps))
        return int(equal[np.argmax(self.lams[equal])])

    def _within(self, times: float) -> Range:
        mean, error = self._beside_the_best
        close = mean <= times * error + 1e-12 * abs(float(self.mean_loo[self._best]))
        order = np.argsort(self.lams, kind="stable")
        close, place = close[order], int(np.flatnonzero(order == self._best)[0])
        close[place] = True
        far = np.flatnonzero(~close)
        first = far[far < place].max(initial=-1) + 1
        last = far[far > place].min(initial=len(close)) - 1
        return Range(float(self.lams[order[first]]), float(self.lams[order[last]]))

    @cached_property
    def _beside_the_best(self) -> tuple[Array, Array]:
        """Return the mean of squared residuals less those at the best λ, row by row, and its standard error, [L] each."""
        best = self._weighed(self.loo_residuals(self.best).reshape(self.rows, -1) / self.factor.y_unit)
        first, second = np.zeros(len(self.lams)), np.zeros(len(self.lams))
        lams = self.factor.in_units(self.lams)
        some = lams > 0.0
        sums = np.zeros((2, int(some.sum())))
        for rows, at, found in blocks(self.factor, lams[some]):
            squares = np.mean([each * each for each in found], axis=0) - best[rows, None]
            sums[0, at] += squares.sum(axis=0)
            sums[1, at] += np.einsum("ij,ij->j", squares, squares)
        first[some], second[some] = sums
        for i in np.flatnonzero(~some):
            beyond = self._weighed(residuals(self.factor, 0.0)) - best
            first[i], second[i] = beyond.sum(), float(beyond @ beyond)
        total = self.rows if self.factor.root is None else float(np.sum(self.factor.root**2))
        unit = self.factor.y_unit**2
        spread = (
            np.maximum(second - first**2 / self.rows, 0.0) * self.rows / (self.rows - 1.0 if self.rows > 1 else 1.0)
        )
        return first / total * unit, np.sqrt(spread) / total * unit

    def _weighed(self, residual: Array) -> Array:
        """Return the weighted square of each row's residuals, mean over the targets, [n]."""
        square = np.mean(residual * residual, axis=1)
        weighed: Array = square if self.factor.root is None else square * self.factor.root**2
        return weighed

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold: every curve, the best λ with its coefficients, and what was said of it."""
        one = float(self.one_standard_error)
        return {
            "rows": self.rows, "columns": self.columns, "lams": self.lams.tolist(), "degrees": self.degrees.tolist(),
            "loo": self.loo.tolist(), "gcv": self.gcv.tolist(), "training": self.training.tolist(),
            "penalty": self.penalty.tolist(), "best": self.best, "one_standard_error": one,
            "interval": list(self.interval), "said": self.said,
            "coef": self.coef(self.best).tolist(), "intercept": np.asarray(self.intercept_at(self.best)).tolist(),
            "coef_one_standard_error": self.coef(one).tolist(),
        }  # fmt: skip

    # --- shapes

    def _coefs(self, lams: Array) -> Array:
        """Return w of some λ, always with an axis for targets: [L, p, k]."""
        found = self.factor
        ratio = (found.d[:, None] / (found.squares[:, None] + found.in_units(lams))).T
        unit = found.y_unit / found.x_unit
        out = np.zeros((len(lams), self.columns, found.z.shape[1]))
        for k, z in enumerate(found.z.T):
            out[:, found.active, k] = unit * ((ratio * z) @ found.right.T)
        return out

    def _intercepts(self, coefs: Array) -> Array:
        """Return b [L, k] beside coefficients [L, p, k]."""
        found = self.factor
        b: Array = found.y_mean * found.y_unit - np.einsum("p,lpk->lk", found.x_mean * found.x_unit, coefs)
        return b

    def _lam_blocks(self, columns: int, most: int = _NUMBERS) -> Iterator[Array]:
        few = max(1, most // max(1, columns * self.factor.z.shape[1]))
        for start in range(0, len(self.lams), few):
            yield self.lams[start : start + few]

    def _shaped(self, values: Array) -> Array:
        return values if self.several else values[..., 0]


def path(X: Any, y: Any, lams: Any = 1000, *, intercept: bool = True, weights: Any = None) -> Path:
    """Return the ridge fit at every λ, with its exact leave-one-out error, from one factorisation of X::

        C(w, b) = (1/2n)·Σ_i s_i·(y_i - x_i·w - b)² + (λ/2n)·Σ_j w_j²          minimised over w and b

    the cost of this package with C0 the halved squared error: the intercept b is not penalised, and λ is the ``alpha`` of
    scikit-learn's Ridge, whatever n. X is [n, p], y [n] or [n, k], the ``weights`` s [n], 1 by default. Columns are taken
    as they are: with different units standardise them first (`ridge.standardised`).

    ``lams`` are the λ ≥ 0, or how many, evenly in log λ from d_min²/1000 (at least 1e-12·d_max²) to 1000·d_max², d the
    singular values of the centred X: from no penalty to nothing left of w. At λ = 0 it is the shortest least-squares
    solution. Of n rows and L λ, leaving out costs two products [n, r]×[r, L]; no fit is done again::

        y_i - ŷ_i without row i = e_i/(1 - h_i)         h_i = s_i/Σs + Σ_j U_ij²·d_j²/(d_j² + λ)

    where both are worked out as sums of what λ leaves, so that nothing cancels as h_i comes to 1.

    Raises DataError for data that are not finite, of unequal length, or too few to leave one out.

    >>> made = path([[0.0], [1.0], [2.0], [3.0]], [1.0, 2.0, 2.0, 4.0], [0.0, 1.0, 10.0])
    >>> made.coefs[:, 0].round(12), made.degrees
    (array([0.9 , 0.75, 0.3 ]), array([2.        , 1.83333333, 1.33333333]))
    >>> made.best, made.loo[0].round(4)
    (0.0, np.float64(0.7426))

    Sources: Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, §3.4.1, §7.10; Allen 1974; Golub, Heath &
    Wahba 1979, Technometrics 21:215.
    """
    X = features("X", X)
    y = targets("y", y, len(X))
    enough(len(X), intercept)
    found = factorised(X, y.reshape(len(X), -1), intercept, positive(weights, len(X)))
    given = _lams(lams, found)
    loo, curves = _loo(found, found.in_units(given)), _curves(found, found.in_units(given))
    several, unit = y.ndim == 2, found.y_unit**2
    training, gcv, penalty = ((each * unit if several else each[:, 0] * unit) for each in curves[1:])
    with np.errstate(over="ignore", under="ignore"):
        penalty = penalty / found.x_unit / found.x_unit
    loo = loo * unit if several else loo[:, 0] * unit
    return Path(
        given, curves[0], training, loo, gcv, penalty, len(X), X.shape[1], intercept, found, several
    )  # fmt: skip


def _lams(given: Any, found: Factor) -> Array:
    if isinstance(given, int | np.integer) and not isinstance(given, bool):
        many = count("lams", given, high=_MOST, remedy="It is how many λ, or the λ themselves in a list.")
        if not len(found.d):
            return np.logspace(-3.0, 3.0, many)
        top = float(found.squares[0])
        low = max(float(found.squares[-1]) / 1e3, _LEAST_WIDE * top)
        chosen: Array = np.exp(np.linspace(np.log(low), np.log(1e3 * top), many))
        if found.x_unit != 1.0:
            raise DataError(
                f"X goes to about {found.x_unit:.0e}, and λ has the unit of its square; give it in another unit, "
                "standardise it, or say which λ."
            )
        return chosen
    if isinstance(given, bool):
        raise InvalidValueError(f"lams must be how many λ, or numbers; got {given}.")
    lams = float64("lams", given, "how many λ, or numbers").reshape(-1)
    if not len(lams):
        raise InvalidValueError("lams is empty; give at least one λ, or how many.")
    for lam in lams[~(np.isfinite(lams) & (lams >= 0.0))]:
        real("lams", float(lam), low=0.0, remedy="A penalty is zero or more.")
    return lams


def _loo(found: Factor, lams: Array) -> Array:
    """Return the mean squared leave-one-out residual, [L, k], in units of the factor."""
    some = lams > 0.0
    sums, part = np.zeros((len(lams), found.z.shape[1])), np.zeros((int(some.sum()), found.z.shape[1]))
    for _, at, each in blocks(found, lams[some]):
        for k, residual in enumerate(each):
            part[at, k] += np.einsum("ij,ij->j", residual, residual)
    sums[some] = part
    if not some.all():
        at_zero = residuals(found, 0.0)
        if found.root is not None:
            at_zero = at_zero * found.root[:, None]
        sums[~some] = np.einsum("ik,ik->k", at_zero, at_zero)
    return sums / (found.rows if found.root is None else float(np.sum(found.root**2)))


def _curves(found: Factor, lams: Array) -> tuple[Array, Array, Array, Array]:
    """Return degrees [L], and training error, gcv and Σw², [L, k] each: of the spectrum alone."""
    squares, zz = found.squares[:, None], found.z * found.z
    fits = (found.d[:, None] / (squares + lams)) ** 2
    stays = lams / (squares + lams)
    total = found.rows if found.root is None else float(np.sum(found.root**2))
    least = np.einsum("ik,ik->k", found.rest, found.rest)
    degrees = (found.rows - found.room) + np.sum(squares / (squares + lams), axis=0)
    training = ((stays * stays).T @ zz + least) / total
    g = kept(found, lams)
    free = found.room - len(found.d) + np.sum(g, axis=0)
    gcv = ((g * g).T @ zz + least) / total / ((free / found.rows) ** 2)[:, None]
    return degrees, training, gcv, fits.T @ zz
