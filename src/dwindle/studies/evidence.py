"""What a study found, as plain data: contenders over seeds, paired differences with intervals, facts in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

__all__ = ["ROLES", "comparison", "curve_mean", "facts", "interval"]

ROLES = (
    "winner", "no weight decay", "constant lr", "neither", "winner without weight decay", "winner at constant lr",
)  # fmt: skip
"""Who is compared: the winner; the best of the sweep without one decay or both; the winner with one decay taken away."""

_LOWER_IS_BETTER = {"test_loss": True, "test_accuracy": False, "gap": True}


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Return (mean, lower, upper): the t interval x̄ ± t·s/√n of the mean of n independent values.

    Source: Student 1908. With one value the interval is open, (-inf, inf).

    >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if len(x) < 2:
        return mean, -math.inf, math.inf
    half = float(stdtrit(len(x) - 1, 0.5 + level / 2) * x.std(ddof=1) / math.sqrt(len(x)))
    return mean, mean - half, mean + half


def comparison(winner: dict[str, Any], other: dict[str, Any], metric: str) -> dict[str, Any] | None:
    """Return the paired difference winner - other of ``metric`` over their common seeds, with 95 % interval and verdict.

    Pairing by seed takes out what both share, the initial weights and the order of the examples. None where fewer than
    two seeds of both have a value, because runs diverged.
    """
    theirs = dict(zip(other["seeds"], other[metric], strict=True))
    pairs = [(w, theirs.get(seed)) for seed, w in zip(winner["seeds"], winner[metric], strict=True)]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return None
    mean, lower, upper = interval(differences)
    low, high = (lower, upper) if _LOWER_IS_BETTER[metric] else (-upper, -lower)
    return {
        "against": other["role"], "metric": metric, "difference": mean, "lower": lower, "upper": upper,
        "seeds": len(differences), "verdict": "better" if high < 0 else "worse" if low > 0 else "not distinguishable",
    }  # fmt: skip


def curve_mean(curves: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return the mean of curves point by point, None where one of them is missing."""
    return [
        None if None in points else float(np.mean([p for p in points if p is not None]))
        for points in zip(*curves, strict=True)
    ]


def facts(setting: dict[str, Any], noise: Sequence[str] = ()) -> list[str]:
    """Return what the numbers of one setting say, in sentences; ``noise`` says what was done to the training labels."""
    by_role = {c["role"]: c for c in setting["contenders"]}
    winner = by_role["winner"]
    said = [f"{role}: {_result(c)} ({c['plan']})" for role, c in by_role.items()]
    said.append(_gap_fact(winner, by_role.get("winner without weight decay"), bool(noise)))
    said += noise
    said.append(_schedule_fact(setting["trials"]))
    for c in setting["comparisons"]:
        if c["metric"] == "test_loss":
            said.append(f"test loss of the winner against {c['against']}: {_difference(c)}")
    return [s for s in said if s]


def _result(contender: dict[str, Any]) -> str:
    losses = [v for v in contender["test_loss"] if v is not None]
    if not losses:
        return "diverged"
    text = f"test loss {_plus_minus(losses, '.4f')}"
    accuracies = [v for v in contender["test_accuracy"] if v is not None]
    if accuracies:
        text += f", accuracy {_plus_minus([100 * v for v in accuracies], '.2f')} %"
    return f"{text}, {len(losses)} seeds"


def _plus_minus(values: Sequence[float], form: str) -> str:
    mean, _, upper = interval(values)
    return f"{mean:{form}}" + (f" ± {upper - mean:{form}}" if math.isfinite(upper) else "")


def _difference(c: dict[str, Any]) -> str:
    return (
        f"{c['difference']:+.4f}, 95 % interval {c['lower']:+.4f} to {c['upper']:+.4f} over {c['seeds']} seeds: "
        f"{c['verdict']}"
    )


def _gap_fact(winner: dict[str, Any], bare: dict[str, Any] | None, noisy: bool) -> str:
    if bare is None:
        return "The winner has no weight decay: in this space weight decay did not lower the validation loss."
    gaps = [[g for g in c["gap"] if g is not None] for c in (winner, bare)]
    if not all(gaps):
        return ""
    ours, theirs = (float(np.mean(g)) for g in gaps)
    note = " (training loss is measured on the noisy labels)" if noisy else ""
    closed = (
        f": weight decay closes {100 * (1 - ours / theirs):.0f} % of it" if theirs > 0 and 0 <= ours < theirs else ""
    )
    return f"The gap between validation and training loss is {ours:.3f} with weight decay and {theirs:.3f} without{closed}{note}."


def _schedule_fact(trials: Sequence[dict[str, Any]]) -> str:
    best: dict[str, float] = {}
    for trial in trials:
        loss = trial["final"]["validation_loss"]
        if loss is not None:
            best[trial["schedule"]] = min(loss, best.get(trial["schedule"], math.inf))
    ranked = sorted(best.items(), key=lambda item: item[1])
    return (
        "Best validation loss of the sweep by schedule: "
        + "; ".join(f"{name} {loss:.4f}" for name, loss in ranked)
        + "."
    )
