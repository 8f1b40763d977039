"""The ridge path, 1,000 λ with exact leave-one-out errors, against scikit-learn's Ridge and RidgeCV. Prints ratios.

    python benchmarks/ridge.py [--quick] [--json FILE]

Three candidates take turns in one process; medians of the rounds. ours: dwindle.ridge.path, all λ and their leave-one-out
errors. Ridge: one fit per λ, solver as scikit-learn chooses, no leaving out; a few λ are timed and the cost is linear in
their number. RidgeCV: its own leave-one-out; all λ where it is fast (p > n), else a tenth of them with its fixed cost taken
once. Differences: the leave-one-out errors to RidgeCV's, the coefficients to Ridge(solver="svd"), largest, relative.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from surroundings import begin, command, save

import dwindle as dw

SIZES = [(442, 10), (2000, 100), (5000, 500), (20_000, 50), (200, 2000), (60, 5000)]
QUICK = [(100, 5), (30, 60)]


def seconds(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def table(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows + columns)
    X = rng.standard_normal((rows, columns)) + rng.standard_normal(columns)
    return X, X @ rng.standard_normal(columns) / np.sqrt(columns) + rng.standard_normal(rows)


def rivals(X: np.ndarray, y: np.ndarray, lams: np.ndarray) -> tuple[float, float]:
    """Return the seconds of all λ by Ridge and by RidgeCV."""
    few = lams[:: max(1, len(lams) // (20 if X.size < 10**5 else 3))]
    refits = seconds(lambda: [Ridge(lam).fit(X, y) for lam in few]) / len(few) * len(lams)
    if X.shape[1] > X.shape[0]:
        return refits, seconds(lambda: RidgeCV(lams).fit(X, y))
    some = lams[:: 10 if X.size < 10**6 else 100]
    once = seconds(lambda: RidgeCV(some[:1]).fit(X, y))
    each = (seconds(lambda: RidgeCV(some).fit(X, y)) - once) / max(1, len(some) - 1)
    return refits, once + each * (len(lams) - 1)


def measured(rows: int, columns: int, many: int, rounds: int) -> dict[str, float]:
    X, y = table(rows, columns)
    lams = np.logspace(-2, 4, many)
    path = dw.ridge.path(X, y, lams)
    ours, refits, cross = [], [], []
    for _ in range(rounds):
        one, two = rivals(X, y, lams)
        refits.append(one)
        cross.append(two)
        ours.append(seconds(lambda: dw.ridge.path(X, y, lams)))
    some = slice(None, None, max(1, many // 5))
    theirs = RidgeCV(lams[some], store_cv_results=True).fit(X, y).cv_results_.mean(axis=0)
    fit = Ridge(lams[many // 2], solver="svd").fit(X, y).coef_
    return {
        "rows": rows,
        "columns": columns,
        "ours_milliseconds": 1e3 * statistics.median(ours),
        "ridge_milliseconds": 1e3 * statistics.median(refits),
        "ridgecv_milliseconds": 1e3 * statistics.median(cross),
        "ridge_ratio": statistics.median(a / b for a, b in zip(refits, ours, strict=True)),
        "ridgecv_ratio": statistics.median(a / b for a, b in zip(cross, ours, strict=True)),
        "loo_difference": float(np.max(np.abs(path.loo[some] / theirs - 1))),
        "coef_difference": float(np.max(np.abs(path.coef(lams[many // 2]) - fit)) / np.max(np.abs(fit))),
    }


def main() -> None:
    given = command(__doc__).parse_args()
    around = begin()
    sizes, many, rounds = (QUICK, 20, 1) if given.quick else (SIZES, 1000, 5)
    columns = ("rows", "columns", "ours, ms", "Ridge, ms", "RidgeCV, ms", "ratio", "ratio", "loo diff.", "coef diff.")
    print(" ".join(f"{name:>11}" for name in columns))
    found = []
    for rows, p in sizes:
        found.append(measured(rows, p, many, rounds))
        print(" ".join(f"{value:>11.4g}" for value in found[-1].values()), flush=True)
    save(given.json, around, ridge=found)


if __name__ == "__main__":
    main()
