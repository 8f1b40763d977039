"""The ridge path against scikit-learn, against fits without each row, and at the edges where formulas are 0/0."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge, RidgeCV

import dwindle as dw
from dwindle.errors import DataError, InvalidValueError
from dwindle.ridge import leave_out, path, standardised
from dwindle.ridge import path as made

LAMS = np.array([1e-3, 0.1, 1.0, 30.0, 1e4])
SIZES = [(40, 5), (60, 59), (12, 11), (12, 12), (13, 12), (20, 60), (3, 2), (2, 1), (300, 3)]


def drawn(rows: int, columns: int, seed: int = 0, several: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, columns)) * rng.uniform(0.3, 3.0, columns) + rng.uniform(-5.0, 5.0, columns)
    shape = (rows, several) if several else (rows,)
    y = rng.standard_normal(shape) + (X[:, :1] if several else X[:, 0]) + 7.0
    return X, y, rng.uniform(0.2, 3.0, rows)


def least_squares(X: Any, y: Any, lam: float, intercept: bool, weights: Any) -> tuple[Any, Any]:
    """The reference: (w, b) by stacking √λ·I below the rows; at λ = 0 the shortest solution."""
    s = np.ones(len(X)) if weights is None else weights
    x_mean = np.average(X, axis=0, weights=s) if intercept else np.zeros(X.shape[1])
    y_mean = np.average(y, axis=0, weights=s) if intercept else 0.0
    root = np.sqrt(s)
    below = np.sqrt(lam) * np.eye(X.shape[1])
    A = np.concatenate((root[:, None] * (X - x_mean), below))
    t = np.concatenate(((root * (y - y_mean).T).T, np.zeros((X.shape[1], *y.shape[1:]))))
    w = np.linalg.lstsq(A, t, rcond=1e-12)[0]
    return w, y_mean - x_mean @ w


def without_each_row(X: Any, y: Any, lam: float, intercept: bool = True, weights: Any = None) -> Any:
    out = []
    for i in range(len(X)):
        rest = np.arange(len(X)) != i
        w, b = least_squares(X[rest], y[rest], lam, intercept, None if weights is None else weights[rest])
        out.append(y[i] - X[i] @ w - b)
    return np.array(out)


def close(found: Any, wanted: Any, rtol: float = 1e-8) -> None:
    scale = max(1e-300, float(np.max(np.abs(wanted), initial=0.0)))
    assert np.shape(found) == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_coefficients_and_every_curve_are_scikit_learns(size: tuple[int, int], intercept: bool, weighted: bool) -> None:
    X, y, s = drawn(*size)
    s = s if weighted else None
    path = made(X, y, LAMS, intercept=intercept, weights=s)
    for i, lam in enumerate(LAMS):
        fit = Ridge(lam, fit_intercept=intercept, solver="svd").fit(X, y, s)
        close(path.coefs[i], fit.coef_)
        close(path.coef(lam), fit.coef_)
        close(path.intercepts[i], fit.intercept_)
        residual = y - fit.predict(X)
        close(path.predict(X, lam), fit.predict(X))
        close(path.penalty[i], np.sum(fit.coef_**2))
        close(path.training[i], np.average(residual**2, weights=s), rtol=1e-6)
        hat = trace(X, lam, intercept, s)
        close(path.degrees[i], hat)
        weights = np.ones(len(X)) if s is None else s
        scale = len(X) / weights.sum()
        close(path.gcv[i], scale * np.sum(weights * residual**2) / len(X) / (1 - hat / len(X)) ** 2, rtol=1e-5)


def trace(X: Any, lam: float, intercept: bool, weights: Any) -> float:
    s = np.ones(len(X)) if weights is None else weights
    mean = np.average(X, axis=0, weights=s) if intercept else 0.0
    Xc = np.sqrt(s)[:, None] * (X - mean)
    return float(np.trace(Xc @ np.linalg.solve(Xc.T @ Xc + lam * np.eye(X.shape[1]), Xc.T))) + intercept


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_leaving_out_is_fitting_again_without_each_row(size: tuple[int, int], intercept: bool, weighted: bool) -> None:
    if size[0] > 60:
        size = (60, size[1])
    X, y, s = drawn(*size, seed=3)
    s = s if weighted else None
    path = made(X, y, [0.0, *LAMS], intercept=intercept, weights=s)
    for lam, mean in zip(path.lams, path.loo, strict=True):
        wanted = without_each_row(X, y, lam, intercept, s)
        close(path.loo_residuals(lam), wanted)
        close(mean, np.average(wanted**2, weights=s))
    close(path.loo_residuals()[2], path.loo_residuals(LAMS[1]))


def test_several_targets_are_as_many_paths() -> None:
    X, y, s = drawn(30, 6, several=3)
    path = made(X, y, [0.0, *LAMS], weights=s)
    assert path.coefs.shape == (6, 6, 3)
    assert path.coef(0.1).shape == (6, 3)
    assert path.loo_residuals().shape == (6, 30, 3)
    for k in range(3):
        one = made(X, y[:, k], [0.0, *LAMS], weights=s)
        for name in ("training", "loo", "gcv", "penalty", "intercepts", "coefs"):
            close(getattr(path, name)[..., k], getattr(one, name), 1e-12)
        close(path.errors(X, y)[:, k], one.errors(X, y[:, k]), 1e-12)
        close(path.predict(X, 0.1)[:, k], one.predict(X, 0.1), 1e-12)
    close(path.mean_loo, path.loo.mean(axis=1), 1e-15)


def test_the_diabetes_data_give_scikit_learns_leave_one_out_errors_and_choice() -> None:
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X = standardised(X).X
    lams = np.logspace(-2, 4, 200)
    path, theirs = made(X, y, lams), RidgeCV(lams, store_cv_results=True).fit(X, y)
    close(path.loo_residuals() ** 2, theirs.cv_results_.T, 1e-8)
    close(path.loo, theirs.cv_results_.mean(axis=0), 1e-10)
    assert path.best == theirs.alpha_
    close(path.coef(path.best), theirs.coef_)


def test_errors_on_other_rows_are_those_of_the_predictions() -> None:
    X, y, _ = drawn(50, 7)
    path = made(X[:30], y[:30], LAMS)
    wanted = [np.mean((y[30:] - path.predict(X[30:], lam)) ** 2) for lam in LAMS]
    close(path.errors(X[30:], y[30:]), np.array(wanted), 1e-10)
    close(path.errors(X[:30], y[:30]), path.training, 1e-9)


def test_blocks_of_coefficients_are_the_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, _ = drawn(40, 9)
    path = made(X, y, 11)
    parts = list(path.coef_blocks(most=30))
    assert [len(lams) for lams, _ in parts] == [3, 3, 3, 2]
    close(np.concatenate([w for _, w in parts]), path.coefs, 1e-15)
    monkeypatch.setattr(leave_out, "_ROWS", 7)
    monkeypatch.setattr(leave_out, "_LAMS", 4)
    close(made(X, y, 11).loo, path.loo, 1e-12)


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1e-30, 1e30, 1e120, 1e200, 1e300])
def test_the_unit_of_the_columns_does_not_matter(scale: float) -> None:
    X, y, _ = drawn(20, 4)
    plain = made(X, y, 7)
    none = made(X * scale, y, [0.0])
    close(none.coef(0.0) * scale, plain.coef(0.0), 1e-10)
    close(none.loo_residuals(0.0), plain.loo_residuals(0.0), 1e-10)
    if not 1e-100 < scale < 1e100:
        with pytest.raises(DataError, match="in another unit"):
            made(X * scale, y)
    if 1e-150 < scale < 1e150:
        path = made(X * scale, y, plain.lams * scale**2)
        for name in ("loo", "degrees", "training", "gcv"):
            close(getattr(path, name), getattr(plain, name), 1e-10)
        close(path.coefs * scale, plain.coefs, 1e-10)


@pytest.mark.parametrize("scale", [1e-200, 1e-120, 1e100, 1e145])
def test_the_unit_of_the_target_does_not_matter(scale: float) -> None:
    X, y, _ = drawn(20, 4)
    plain, path = made(X, y, LAMS), made(X, y * scale, LAMS)
    close(path.coefs / scale, plain.coefs, 1e-10)
    close(path.loo_residuals() / scale, plain.loo_residuals(), 1e-10)
    assert path.best == plain.best or scale < 1e-150  # squares below the least float are all 0


@pytest.mark.parametrize("shape", ["constant columns", "twice the same", "sum of others", "all constant", "no columns"])
@pytest.mark.parametrize("rows", [6, 25])
def test_columns_that_say_nothing_new(shape: str, rows: int) -> None:
    X, y, _ = drawn(rows, 6)
    if shape == "constant columns":
        X[:, [1, 4]] = [0.1, 1e9 / 3]
    elif shape == "twice the same":
        X[:, 3] = X[:, 2]
    elif shape == "sum of others":
        X[:, 5] = X[:, 0] + X[:, 1]
    elif shape == "all constant":
        X[:] = 0.1
    else:
        X = X[:, :0]
    path = made(X, y, [0.0, *LAMS])
    for i, lam in enumerate(path.lams):
        w, b = least_squares(X - X[0], y, lam, True, None)
        close(path.coef(lam), w, 1e-7)
        close(path.coefs[i] @ X[0] + path.intercepts[i], b, 1e-7)
        close(path.loo_residuals(lam), without_each_row(X - X[0], y, lam), 1e-6)
    assert np.isfinite(path.gcv).all()


def test_a_row_that_only_one_column_knows_at_no_penalty() -> None:
    X, y, _ = drawn(15, 3)
    X = np.column_stack((X, np.arange(15) == 4))  # row 4 is fitted exactly, whatever the others say: 0/0 at λ = 0
    path = made(X, y, [0.0, 1e-3])
    close(path.loo_residuals(0.0), without_each_row(X, y, 0.0), 1e-8)
    close(path.loo_residuals(1e-3), without_each_row(X, y, 1e-3), 1e-8)
    close(path.loo[0], np.mean(path.loo_residuals(0.0) ** 2), 1e-14)


@pytest.mark.parametrize("rows", [9, 40])
def test_an_ill_conditioned_table_is_decomposed_by_its_singular_values(rows: int) -> None:
    rng = np.random.default_rng(1)
    U, V = np.linalg.qr(rng.standard_normal((rows, 8)))[0], np.linalg.qr(rng.standard_normal((8, 8)))[0]
    X, y = U * np.logspace(0, -6, 8) @ V.T, rng.standard_normal(rows)
    path = made(X, y, [1e-9, 1e-3], intercept=False)
    for lam in path.lams:
        close(path.coef(lam), Ridge(lam, fit_intercept=False, solver="svd").fit(X, y).coef_)
        close(path.loo_residuals(lam), without_each_row(X, y, lam, False), 1e-7)


def test_the_smallest_penalties_come_to_the_shortest_solution() -> None:
    X, y, _ = drawn(10, 25)
    path = made(X, y, [0.0, 1e-300, 1e-200, 1e-20])
    close(path.coefs, np.broadcast_to(path.coefs[0], path.coefs.shape))
    close(path.loo, np.full(4, path.loo[0]))
    close(path.gcv, np.full(4, path.gcv[0]))
    assert path.training[0] == 0.0


small = st.floats(-10, 10).map(lambda x: round(x, 3))


@pytest.mark.law
@given(data=st.data(), rows=st.integers(2, 8), columns=st.integers(1, 8), lam=st.sampled_from([0.01, 0.5, 20.0]))
def test_any_small_table(data: st.DataObject, rows: int, columns: int, lam: float) -> None:
    X = np.array(data.draw(st.lists(st.lists(small, min_size=columns, max_size=columns), min_size=rows, max_size=rows)))
    y = np.array(data.draw(st.lists(small, min_size=rows, max_size=rows)))
    path = made(X, y, [lam, 1.0])
    w, b = least_squares(X, y, lam, True, None)
    np.testing.assert_allclose(path.coef(lam), w, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(path.intercept_at(lam), b, rtol=1e-7, atol=1e-6)
    np.testing.assert_allclose(path.loo_residuals(lam), without_each_row(X, y, lam), rtol=1e-6, atol=1e-6)


def test_columns_that_vary_together_far_from_zero_are_one() -> None:
    X, y = np.array([[0.0, -5.5], [0.0, -5.5], [1.0, -5.844]]), np.array([0.0, 0.0, 1.0])
    for far in (0.0, 1e3, 1e6):
        beyond = np.add(X, [0.0, far])
        found = made(beyond, y, [0.01, 1.0]).loo_residuals(0.01)
        np.testing.assert_allclose(found, without_each_row(beyond, y, 0.01), rtol=1e-6, atol=1e-8)


# --- which λ


def paired(path: Any, X: Any, y: Any, times: float) -> tuple[float, float]:
    """The interval by its definition: λ around the best within ``times`` standard errors of the row-by-row difference."""
    squares = path.loo_residuals() ** 2
    squares = squares.mean(axis=2) if squares.ndim == 3 else squares
    best = int(np.argmin(squares.mean(axis=1)))
    beyond = squares - squares[best]
    fine = beyond.mean(axis=1) <= times * beyond.std(axis=1, ddof=1) / np.sqrt(len(X)) + 1e-12 * squares[best].mean()
    low = high = best
    while low > 0 and fine[low - 1]:
        low -= 1
    while high < len(fine) - 1 and fine[high + 1]:
        high += 1
    return path.lams[low], path.lams[high]


@pytest.mark.parametrize("several", [0, 2])
@pytest.mark.parametrize("seed", range(4))
def test_the_interval_and_the_one_standard_error_rule_are_paired(seed: int, several: int) -> None:
    X, y, _ = drawn(40, 12, seed=seed, several=several)
    path = made(X, y, np.concatenate(([0.0], np.logspace(-3, 4, 60))))
    assert path.interval == paired(path, X, y, 1.96)
    assert path.one_standard_error == paired(path, X, y, 1.0)[1]
    assert path.interval.low <= path.best <= path.one_standard_error <= path.interval.high
    shuffled = np.random.default_rng(0).permutation(61)
    other = made(X, y, path.lams[shuffled])
    assert (other.best, other.interval) == (path.best, path.interval)


def test_it_says_when_the_penalty_does_not_matter() -> None:
    X, y, _ = drawn(40, 2)
    assert "does not matter" in made(X, y, [1e-6, 1e-5, 1e-4]).said
    noise = np.random.default_rng(5).standard_normal(60)
    told = made(np.random.default_rng(6).standard_normal((60, 20)), noise)
    assert told.best > 10.0
    assert "may not help at all" in told.said
    assert "try beyond" in made(X, y, [1e2, 1e3, 1e4]).said
    assert "not shown to help" in made(X, y, [0.0, 1e-3, 1.0, 1e5]).said
    told = made(np.random.default_rng(6).standard_normal((60, 20)), noise, [1e-3, 1e6, 1e8])
    assert told.best == 1e8
    assert told.said == (  # beyond it nothing is left to shrink
        "λ = 1e+08 has the smallest leave-one-out error; every other that was tried can be told from it. Nor is the largest λ "
        "tried, 1e+08, shown to do worse: the columns may not help at all."
    )


def test_equal_errors_take_the_largest_penalty() -> None:
    X, _, _ = drawn(10, 2)
    path = made(X, np.full(10, 3.0), [0.1, 10.0, 1.0])
    assert path.best == 10.0
    assert path.interval == (0.1, 10.0)
    assert "does not matter" in path.said


def test_the_chosen_grid_goes_from_no_penalty_to_nothing_left() -> None:
    X, y, _ = drawn(40, 5)
    path = dw.ridge.path(X, y)
    assert len(path.lams) == 1000
    assert np.all(np.diff(np.log(path.lams)) > 0)
    assert path.degrees[0] == pytest.approx(6.0, abs=5e-3)
    assert path.degrees[-1] == pytest.approx(1.0, abs=5e-3)
    assert json.loads(json.dumps(path.as_dict()))["best"] == path.best


# --- what is refused


@pytest.mark.parametrize(
    ("X", "y", "kept", "said"),
    [
        ([[1.0]], [1.0], {}, "leaves none to fit an intercept"),
        ([1.0, 2.0], [1.0, 2.0], {}, "it must be (rows, columns)"),
        ([[1.0], [2.0]], [1.0], {}, "y has the shape (1,)"),
        ([[1.0], [np.nan]], [1.0, 2.0], {}, "X, at (1, 0): nan is not finite"),
        ([[1.0], [2.0]], [1.0, np.inf], {}, "y, at (1,): inf is not finite"),
        ([["a"], ["b"]], [1.0, 2.0], {}, "Encode text"),
        ([[1.0], [2.0]], [1.0, 1e200], {}, "a larger unit"),
        ([[1.0], [2.0]], [1.0, 2.0], {"weights": [1.0, 0.0]}, "weights must be positive"),
        ([[1.0], [2.0]], [1.0, 2.0], {"weights": [1.0]}, "one for each of the 2 rows"),
        (np.zeros((0, 3)), [], {}, "it must be (rows, columns)"),
    ],
)
def test_data_that_cannot_be_used(X: Any, y: Any, kept: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as refused:
        path(X, y, **kept)
    assert said in str(refused.value)


@pytest.mark.parametrize("lams", [0, -3, [], [-1.0], [np.nan], "many", True, 2.5j])
def test_penalties_that_mean_nothing(lams: Any) -> None:
    with pytest.raises(InvalidValueError):
        path([[1.0], [2.0]], [1.0, 2.0], lams)


def test_other_rows_must_be_of_the_same_table() -> None:
    found = path([[1.0, 2.0], [2.0, 1.0], [0.0, 0.0]], [1.0, 2.0, 3.0], [1.0])
    for call in (lambda: found.predict([[1.0]], 1.0), lambda: found.errors([[1.0]], [1.0])):
        with pytest.raises(DataError, match="1 columns; the path was made of 2"):
            call()
    with pytest.raises(InvalidValueError, match="lam must be zero or more"):
        found.coef(-1.0)
    with pytest.raises(InvalidValueError, match="2 targets"):
        found.errors([[1.0, 2.0]], [[1.0, 2.0]])


def test_one_row_without_an_intercept_is_predicted_by_zero() -> None:
    assert path([[2.0]], [3.0], [0.0, 1.0], intercept=False).loo.tolist() == [9.0, 9.0]


def test_standardised_columns_have_mean_0_and_deviation_1() -> None:
    X, _, _ = drawn(30, 3)
    X = np.column_stack((X, np.full(30, 0.1), X[:, 0] * 1e300))
    found = standardised(X)
    np.testing.assert_allclose(found.X.mean(axis=0), 0.0, atol=1e-14)
    np.testing.assert_allclose(found.X.std(axis=0), [1, 1, 1, 0, 1], atol=1e-14)
    np.testing.assert_array_equal(found.like(X)[:, :3].round(12), found.X[:, :3].round(12))
