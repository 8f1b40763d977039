"""What the seed alone does to a loss: the noise against which every difference between plans is to be held."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dwindle.report.evidence import ROLES

__all__ = ["FEWEST", "Noise", "pooled", "same", "seed_noise"]

# Those stripped of a decay may be far off, and noisier.
_CHOSEN = tuple(role for role in ROLES if not role.startswith("winner "))
FEWEST = 3  # degrees of freedom of the noise; with fewer it may be anything
ENOUGH = 8  # with these its estimate is no more than a quarter off, mostly
_LARGEST = 1e150  # of which the square of a difference, and a sum of many such, is still a number


class Noise(NamedTuple):
    """The standard deviation ``sd`` of one training beside others of the same seed, and its degrees of freedom."""

    sd: float
    df: int


def pooled(tables: Iterable[Sequence[Sequence[float | None]]]) -> Noise | None:
    """Return the noise in tables of losses, a row per plan and a column per seed, the seeds of one table common to its rows.

    A seed makes every plan's loss higher or lower, and a difference between plans does not feel that. So what counts is
    what neither the plan nor the seed explains, r_ij = y_ij - ȳ_i - ȳ_j + ȳ: sd² = Σ r² / Σ (plans - 1)·(seeds - 1), the residual
    mean square of a two-way layout. A row with a missing value (a run diverged), or one too large to square, is left out. None
    without two rows.

    >>> pooled([[[1.0, 2.0, 4.0], [2.0, 3.0, 5.0]]])  # only plan and seed: no noise
    Noise(sd=0.0, df=2)
    """
    squares, df = 0.0, 0
    for table in tables:
        whole = [row for row in table if len(row) > 1 and all(y is not None and abs(y) < _LARGEST for y in row)]
        y = np.array([row for row in whole if len(row) == len(whole[0])], dtype=np.float64)
        if len(y) < 2:
            continue
        left = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
        squares += float((left**2).sum())
        df += (y.shape[0] - 1) * (y.shape[1] - 1)
    return Noise(math.sqrt(squares / df), df) if df else None


def seed_noise(setting: Mapping[str, Any]) -> Noise | None:
    """Return the noise of the validation loss at the end of training, from all that was trained on several seeds.

    That is the shortlist, and of those in the report the ones that were chosen for their loss; of these the plans of the
    winner's kind, with a rate that falls or one that does not, where they suffice: a constant rate ends two or three times as
    noisy (measured). None where a setting has neither (evidence of before they were kept).

    With folds it is the noise of one training on one fold: what the shortlist did on each, a table, from the seed of the sweep
    and those of the choice. That the folds suit plans differently is no noise of seeds, and the report's rows are others, easier
    or harder: their noise was up to nine times less (measured).
    """
    choice = {_who(c): c for c in setting.get("choice") or ()}
    report = {_who(c): c for c in setting["contenders"] if c["role"] in _CHOSEN and c.get("validation_loss")}
    tables = [[(c, c["validation_loss"]) for c in rows.values()] for rows in (choice, report)]
    if (folds := setting.get("folds", 1)) > 1:
        tables = [[(c, c["by_fold"][i]) for c in choice.values() if c.get("by_fold")] for i in range(folds)]
    flat = setting["winner"]["schedule"] == "constant"
    alike = pooled([losses for c, losses in rows if (c["schedule"] == "constant") == flat] for rows in tables)
    return alike if alike is not None and alike.df >= ENOUGH else pooled([y for _, y in rows] for rows in tables)


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two entries of the evidence are of one plan, and of one batch size as far as both say theirs."""
    sizes = {size for size in (_size(one), _size(other)) if size is not None}
    return bool(one["plan"] == other["plan"]) and len(sizes) < 2


def _who(plan: Mapping[str, Any]) -> tuple[Any, Any]:
    return plan["plan"], _size(plan)


def _size(plan: Mapping[str, Any]) -> Any:
    found = plan.get("batch_size")
    return (plan.get("params") or {}).get("batch_size") if found is None else found
