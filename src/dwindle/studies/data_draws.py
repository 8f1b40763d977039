"""Seeded draws: which rows are held out, and which training labels are drawn again.

All of them come from the raw output of PCG64, which NumPy promises never to change (NEP 19), unlike the methods of
Generator: one seed gives one split on every machine and under every NumPy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError, InvalidValueError, count, real
from dwindle.studies.dataset import Dataset

__all__ = ["hold_out", "with_label_noise"]

_HELD_OUT, _NOISY_ROWS, _NEW_LABELS = 1, 2, 3


def hold_out(
    strata: NDArray[np.int64], shares: tuple[float, ...], seed: int, names: tuple[str, ...] = ()
) -> tuple[NDArray[np.intp], ...]:
    """Return sorted row numbers of the rows kept, then of one part per share, each stratum divided alike.

    Of a stratum of n rows a share s gets max(1, round(s·n)); a share of 0 gets none. ``names`` name the strata.
    Raises DataError where a stratum has too few rows to give every part one, or the shares leave none.

    >>> kept, out = hold_out(np.array([0] * 8 + [1] * 4), (0.25,), seed=0)
    >>> len(kept), len(out), int((out < 8).sum())
    (9, 3, 2)
    """
    order = np.argsort(_draws(seed, _HELD_OUT, len(strata)), kind="stable")
    parts: list[list[NDArray[np.intp]]] = [[] for _ in range(len(shares) + 1)]
    for stratum in np.unique(strata):
        rows = order[strata[order] == stratum]
        sizes = [max(1, round(share * len(rows))) if share else 0 for share in shares]
        if sum(sizes) >= len(rows):
            of, few = f"class {names[stratum]!r} has" if names else "there are", 1 + np.count_nonzero(sizes)
            if len(rows) >= few:
                raise DataError(
                    f"{of} only {len(rows)} rows, and shares of {' and '.join(f'{s:g}' for s in shares)} leave none to train on. "
                    "Hold out smaller shares."
                )
            raise DataError(
                f"{of} only {len(rows)} row(s), too few to give each of {few} parts one. "
                + ("Add rows of it, merge it with another, or name another target or task." if names else "Add rows.")
            )
        bounds = np.cumsum([0, *sizes])
        for part, low, high in zip(parts[1:], bounds[:-1], bounds[1:], strict=True):
            part.append(rows[low:high])
        parts[0].append(rows[bounds[-1] :])
    return tuple(np.sort(np.concatenate(part)) for part in parts)


def with_label_noise(dataset: Dataset, rate: float, seed: int = 0) -> Dataset:
    """Return ``dataset`` with round(rate·n) of its n training labels drawn again, uniformly over all k classes.

    A new draw hits the old label once in k, so about rate·(1 - 1/k) of the labels end up wrong. Validation and test
    labels stay clean. The rows of a smaller rate are among those of a larger one with the same seed.

    Raises InvalidValueError for a rate outside [0, 1] and for data that is no classification.

    >>> x = np.zeros((10, 1)); y = np.arange(10) % 2
    >>> clean = Dataset(train_x=x, train_y=y, validation_x=x, validation_y=y, test_x=x, test_y=y,
    ...                 name="coin", task="classification", classes=("heads", "tails"))
    >>> with_label_noise(clean, 0.5).provenance.steps[-1]
    'label noise 0.5: 5 of 10 training labels drawn again, 1 now differ (seed 0)'
    """
    rate = real("label_noise", rate, low=0.0, high=1.0)
    seed = count("seed", seed, low=0)
    if not rate:
        return dataset
    if dataset.task != "classification":
        raise InvalidValueError(
            f"label_noise {rate:g} cannot be applied to {dataset.name}: {dataset.task} data has no labels. Leave it at 0."
        )
    n = len(dataset.train_y)
    rows = np.argsort(_draws(seed, _NOISY_ROWS, n), kind="stable")[: round(rate * n)]
    labels = dataset.train_y.copy()
    labels[rows] = _draws(seed, _NEW_LABELS, n)[rows] % np.uint64(len(dataset.classes))  # bias below 2^-50
    wrong = int(np.count_nonzero(labels != dataset.train_y))
    step = f"label noise {rate:g}: {len(rows)} of {n} training labels drawn again, {wrong} now differ (seed {seed})"
    return replace(dataset, train_y=labels, provenance=dataset.provenance.then(step))


def _draws(seed: int, purpose: int, n: int) -> NDArray[np.uint64]:
    return np.random.PCG64(np.random.SeedSequence([purpose, seed])).random_raw(n)
