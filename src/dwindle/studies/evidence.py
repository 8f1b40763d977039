"""What a study found, as plain data: contenders over seeds, paired differences with intervals, facts in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from dwindle.report import places
from dwindle.report.evidence import DECAYS
from dwindle.report.words import NAMES
from dwindle.studies.optimism import optimism
from dwindle.studies.seed_noise import seed_noise

__all__ = ["comparison", "comparisons", "curve_mean", "facts", "interval"]

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


def comparisons(contenders: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first contender, the winner, compared with each other one: test loss, gap, and test accuracy if there is one.

    The intervals of one metric hold together: in 95 % of studies all of them contain the truth. Against k different plans
    each is a t interval of level 1 - 0.05/k (Bonferroni). That is exact for differences of any variances and correlations,
    at any number of seeds. The largest |t| from an estimated correlation would be a tenth narrower at 8 seeds, but held only in
    89 to 93 % of simulated studies of 4 to 8 seeds, and separate 95 % intervals in 77 to 81 % (measured, 5 comparisons).

    Source: Bonferroni inequality; Dunn 1961.
    """
    winner, *others = contenders
    together = len({(c["plan"], *c["test_loss"]) for c in others})  # one plan may stand in two roles
    labelled = any(value is not None for c in contenders for value in c.get("test_accuracy") or ())
    metrics = ["test_loss", "gap"] + ["test_accuracy"] * labelled
    return [c for other in others for metric in metrics if (c := comparison(winner, other, metric, together))]


def comparison(winner: dict[str, Any], other: dict[str, Any], metric: str, together: int = 1) -> dict[str, Any] | None:
    """Return the paired difference winner - other of ``metric`` over their common seeds, with 95 % interval and verdict.

    Pairing by seed takes out what both share, the initial weights and the order of the examples. The interval is one of
    ``together`` that hold together at 95 %. None where fewer than two seeds of both have a value, because runs diverged.
    """
    theirs = dict(zip(other["seeds"], other[metric], strict=True))
    pairs = [(w, theirs.get(seed)) for seed, w in zip(winner["seeds"], winner[metric], strict=True)]
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if len(differences) < 2:
        return None
    mean, lower, upper = interval(differences, 1 - 0.05 / together)
    low, high = (lower, upper) if _LOWER_IS_BETTER[metric] else (-upper, -lower)
    return {
        "against": other["role"], "metric": metric, "difference": mean, "lower": lower, "upper": upper,
        "seeds": len(differences), "verdict": "better" if high < 0 else "worse" if low > 0 else "not distinguishable",
        "together": together,
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
    said = [f"{NAMES[role]}: {_result(c)} ({c['plan']})" for role, c in by_role.items()]
    said.append(_gap_fact(by_role, setting["trials"], bool(noise)))
    said += noise
    said.append(_let_go_fact(setting["trials"]))
    said.append(_schedule_fact(setting["trials"]))
    said += [each.said for each in optimism(setting)]
    said.append(_noise_fact(setting))
    compared = [c for c in setting["comparisons"] if c["metric"] == "test_loss"]
    said += [f"test loss of the winner against {NAMES[c['against']]}: {_difference(c)}" for c in compared]
    together = max((c.get("together", 1) for c in compared), default=1)
    if together > 1:
        said.append(f"These {together} intervals hold together: in 95 % of studies all of them contain the truth.")
    return [s for s in said if s]


def _result(contender: dict[str, Any]) -> str:
    losses = [v for v in contender["test_loss"] if v is not None]
    if not losses:
        return "diverged"
    parts = [f"test loss {_plus_minus(losses)}"]
    accuracies = [100 * v for v in contender.get("test_accuracy") or () if v is not None]
    parts += [f"accuracy {_plus_minus(accuracies, 2)} %"] if accuracies else []
    for name, values in (contender.get("metrics") or {}).items():
        found = [v for v in values if v is not None]
        parts += [f"{name} {_plus_minus(found)}"] if found and name != "accuracy" else []
    return ", ".join([*parts, f"{len(losses)} seeds"])


def _plus_minus(values: Sequence[float], most: int = 8) -> str:
    """Return mean ± half of the 95 % interval, with two digits of the latter."""
    mean, _, upper = interval(values)
    half = upper - mean
    if not 0 < half < math.inf:
        return f"{mean:.4g}"
    digits = min(places(half), most)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def _difference(c: dict[str, Any]) -> str:
    digits = places((c["upper"] - c["lower"]) / 2)
    return (
        f"{c['difference']:+.{digits}f}, 95 % interval {c['lower']:+.{digits}f} to {c['upper']:+.{digits}f} "
        f"over {c['seeds']} seeds: {c['verdict']}"
    )


def _gap_fact(by_role: dict[str, dict[str, Any]], trials: Sequence[dict[str, Any]], noisy: bool) -> str:
    """Return the gap with weight decay and without: the winner beside itself stripped of it, or beside the best plan with it."""
    winner, shows = by_role["winner"], DECAYS["weight decay"]
    lacks = winner["lam"] == 0
    other = by_role.get(shows.having if lacks else shows.stripped)
    if other is None and lacks:
        tried = any(trial["lam"] > 0 for trial in trials)
        return "The winner has no weight decay, and no plan with it was " + ("compared." if tried else "tried.")
    if other is None:
        return ""
    gaps = [[g for g in c["gap"] if g is not None] for c in (winner, other)]
    if not all(gaps):
        return ""
    ours, theirs = (float(np.mean(g)) for g in gaps)
    decayed, without = (theirs, ours) if lacks else (ours, theirs)
    note = " (training loss is measured on the noisy labels)" if noisy else ""
    share = 1 - decayed / without if without > 0 and 0 <= decayed < without else None
    if lacks:
        smaller = "" if share is None else f", {100 * share:.0f} % smaller"
        return (
            f"The gap between validation and training loss is {ours:.3f}, without weight decay; with weight decay it would be "
            f"{theirs:.3f} (the best plan with it){smaller}{note}."
        )
    closes = "" if share is None else f": weight decay closes {100 * share:.0f} % of it"
    return f"The gap between validation and training loss is {ours:.3f} with weight decay and {theirs:.3f} without{closes}{note}."


def _noise_fact(setting: dict[str, Any]) -> str:
    found = seed_noise(setting)
    if found is None or found.sd == 0.0:
        return ""
    on = " on a fold" if setting.get("folds", 1) > 1 else ""
    return (
        f"Beside another of the same seed, the validation loss of one training{on} has a noise of {found.sd:.2g} "
        f"(standard deviation, from {found.df} degrees of freedom)."
    )


def _let_go_fact(trials: Sequence[dict[str, Any]]) -> str:
    gone = sum(trial.get("stopped_at") is not None for trial in trials)
    if not gone:
        return ""
    return f"{gone} of {len(trials)} trainings of the sweep were let go early, as they were behind; they count for no result."


def _schedule_fact(trials: Sequence[dict[str, Any]]) -> str:
    best: dict[str, float] = {}
    for trial in trials:
        loss = trial["final"].get("validation_loss")
        if loss is not None and trial.get("stopped_at") is None:
            name = (trial.get("params") or trial)["schedule"]  # a family by its name, not by each of its schedules
            best[name] = min(loss, best.get(name, math.inf))
    if not best:
        return ""
    ranked = sorted(best.items(), key=lambda item: item[1])
    return (
        "Best validation loss of the sweep by schedule: "
        + "; ".join(f"{name} {loss:#.4g}".rstrip(".") for name, loss in ranked)
        + "."
    )
