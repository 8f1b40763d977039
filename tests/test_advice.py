"""What a study concludes: intervals that hold together, how far a choice flatters, which knob matters; all by simulation."""

from __future__ import annotations

import itertools
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtrit

from dwindle.report import render, summary
from dwindle.studies import Space
from dwindle.studies.advice import advice
from dwindle.studies.evidence import ByPart, comparison, comparisons, facts, half_width
from dwindle.studies.jackknife import part_means, parts, pseudo_values
from dwindle.studies.knobs import ALIKE, MATTERS, UNKNOWN, Knob, Tried, edge, knob, labels
from dwindle.studies.optimism import optimism
from dwindle.studies.seed_noise import Noise, pooled, seed_noise

ROLES = ("winner", "no weight decay", "constant lr", "neither", "winner without weight decay", "winner at constant lr")
BEST, BARE, WITH = "no weight decay", "winner without weight decay", "weight decay"
LOSS, NOISE = 0.5, 0.004

# A study that never was: losses are a landscape, plus what a seed does to all alike, plus noise of every single training.

Landscape = Callable[[Mapping[str, Any]], float]


def flat(_: Mapping[str, Any]) -> float:
    return LOSS


def grid(**values: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(values, point, strict=True)) for point in itertools.product(*values.values())]


GRID = grid(lam=(0.0, 0.3, 1.0, 3.0), peak=(1e-3, 3e-3, 1e-2), schedule=("constant", "step", "linear", "cosine"))


def drawn(rng: np.random.Generator, n: int = 40) -> list[dict[str, Any]]:
    """Return points of a random search."""
    found = []
    for _ in range(n):
        lam = 0.0 if rng.random() < 0.2 else float(10 ** rng.uniform(-2, 1))
        schedule = str(rng.choice(["constant", "linear", "cosine to 0..20%"]))
        params = {"lam": lam, "peak": float(10 ** rng.uniform(-3, -1)), "schedule": schedule}
        if schedule.startswith("cosine"):
            params["cosine to %"] = float(rng.uniform(0, 20))
        found.append(params)
    return found


def simulated(
    points: list[dict[str, Any]], truth: Landscape, rng: np.random.Generator, seeds: int = 8, sd: float = NOISE
) -> dict[str, Any]:
    """Return the evidence of a study as `dwindle.studies.run` makes it, validation and test noise alike."""

    def losses(params: Mapping[str, Any], common: np.ndarray) -> list[float]:
        return (truth(params) + common + sd * rng.standard_normal(len(common))).tolist()

    def plan(params: Mapping[str, Any]) -> dict[str, Any]:
        text = " ".join(f"{key} {value}" for key, value in params.items() if key != "lam" or value)
        return {
            "plan": text,
            "lam": params["lam"],
            "peak": params["peak"],
            "schedule": params["schedule"],
            "params": dict(params),
        }

    def bare(params: Mapping[str, Any]) -> dict[str, Any]:
        return {**params, "lam": 0.0}

    def constant(params: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in params.items() if k != "cosine to %"} | {"schedule": "constant"}

    common = 3 * sd * rng.standard_normal(1)
    trials = [
        {
            "id": i,
            **plan(p),
            "seed": 0,
            "diverged": False,
            "final": {"validation_loss": losses(p, common)[0]},
            "stopped_at": None,
        }
        for i, p in enumerate(points)
    ]
    ranked = [t["params"] for t in sorted(trials, key=lambda t: t["final"]["validation_loss"])]
    off, still = [p for p in ranked if p["lam"] == 0], [p for p in ranked if p["schedule"] == "constant"]
    on, falling = [p for p in ranked if p["lam"] > 0], [p for p in ranked if p["schedule"] != "constant"]
    neither = [p for p in still if p["lam"] == 0]
    short: list[dict[str, Any]] = []
    for p in [*ranked[:4], *off[:2], *on[:2], *still[:2], *falling[:2], *neither[:1]]:
        short += [] if p in short else [p]
    common = 3 * sd * rng.standard_normal(4)
    choice = [{**plan(p), "seeds": [1, 2, 3, 4], "validation_loss": losses(p, common)} for p in short]
    choice.sort(key=lambda c: float(np.mean(c["validation_loss"])))
    best = [c["params"] for c in choice]
    decays, falls = best[0]["lam"] > 0, best[0]["schedule"] != "constant"
    roles = {
        "winner": best[0],
        "no weight decay": next((p for p in best if p["lam"] == 0), None) if decays else None,
        "weight decay": next((p for p in best if p["lam"] > 0), None) if not decays else None,
        "constant lr": next((p for p in best if p["schedule"] == "constant"), None) if falls else None,
        "falling lr": next((p for p in best if p["schedule"] != "constant"), None) if not falls else None,
        "neither": next((p for p in best if p in neither), None) if decays and falls else None,
        "winner without weight decay": bare(best[0]) if decays else None,
        "winner at constant lr": constant(best[0]) if falls else None,
    }
    common = 3 * sd * rng.standard_normal(seeds)
    unique = {plan(p)["plan"]: (losses(p, common), losses(p, common)) for p in roles.values() if p}
    contenders = []
    for role, p in roles.items():
        if p is not None:
            validation, test = unique[plan(p)["plan"]]
            contenders.append(
                {"role": role, **plan(p), "seeds": list(range(10, 10 + seeds)), "test_loss": test, "gap": [0.1] * seeds,
                 "validation_loss": validation}
            )  # fmt: skip
    return {
        "trials": trials, "choice": choice, "winner": plan(best[0]), "contenders": contenders,
        "comparisons": comparisons(contenders),
    }  # fmt: skip


def verdicts(study: dict[str, Any]) -> dict[str, str]:
    return {each["knob"]: each["verdict"] for each in advice(study)}


def counted(make: Callable[[np.random.Generator], dict[str, Any]], studies: int) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for seed in range(studies):
        for name, verdict in verdicts(make(np.random.default_rng(seed))).items():
            found.setdefault(name, Counter())[verdict] += 1
    return found


# Intervals that hold together


@pytest.mark.parametrize("seeds", [4, 6, 8])
@pytest.mark.parametrize("sds", [(1, 1, 1, 1, 1, 1), (1, 3, 3, 3, 3, 3), (1, 1, 2, 4, 3, 1), (4, 1, 1, 1, 1, 1)])
def test_the_intervals_hold_together_as_often_as_they_say(seeds: int, sds: tuple[int, ...]) -> None:
    rng, studies = np.random.default_rng([seeds, *sds]), 600
    truth = np.array([0.0, 0.1, 0.2, 0.3, 0.0, 0.5])
    all_hold = one_by_one = 0
    for _ in range(studies):
        losses = truth + 5 * rng.standard_normal((seeds, 1)) + rng.standard_normal((seeds, 6)) * sds
        rows = [
            {"role": role, "plan": role, "seeds": list(range(seeds)), "test_loss": column, "gap": column}
            for role, column in zip(ROLES, losses.T.tolist(), strict=True)
        ]
        found = [c for c in comparisons(rows) if c["metric"] == "test_loss"]
        assert [c["together"] for c in found] == [5] * 5
        wanted = dict(zip(ROLES, truth[0] - truth, strict=True))
        all_hold += all(c["lower"] <= wanted[c["against"]] <= c["upper"] for c in found)
        single = [comparison(rows[0], row, "test_loss") for row in rows[1:]]
        one_by_one += all(c["lower"] <= wanted[c["against"]] <= c["upper"] for c in single if c)
    error = math.sqrt(0.95 * 0.05 / studies)
    assert all_hold / studies > 0.95 - 3 * error
    if sds[0] <= min(sds[1:]):  # else the winner's own noise moves all five alike, and one is as good as five
        assert one_by_one / studies < 0.90  # what the correction is for


def on_parts(losses: np.ndarray) -> tuple[list[dict[str, Any]], ByPart]:
    """Return contenders, and their results by part, of test losses [contender, seed, example]."""
    names, seeds = ROLES[: len(losses)], range(losses.shape[1])
    means = losses.mean(2).tolist()
    rows = [
        {
            "role": role,
            "plan": role,
            "lam": 1.0,
            "peak": 1.0,
            "schedule": "s",
            "seeds": [*seeds],
            "test_loss": own,
            "gap": own,
        }
        for role, own in zip(names, means, strict=True)
    ]
    cut = parts(losses.shape[2])
    sizes = [len(part) for part in cut]
    by_part = np.stack([losses[:, :, part].mean(2) for part in cut], -1)
    given = {
        role: {seed: {"test_loss": part_means(own[seed], sizes).tolist()} for seed in seeds}
        for role, own in zip(names, by_part, strict=True)
    }
    return rows, ByPart(losses.shape[2], given)


@pytest.mark.parametrize("skewed", [False, True])
def test_with_the_examples_the_intervals_hold_for_new_examples(skewed: bool) -> None:
    rng, studies, examples = np.random.default_rng(4), 400, 60
    truth, held = np.array([0.0, 0.1, 0.0, 0.3]), Counter[str]()
    for _ in range(studies):
        mine = rng.standard_normal((4, 1, examples))  # how an example suits a plan
        mine = rng.standard_exponential((4, 1, examples)) - 1 if skewed else mine
        both = 3 * rng.standard_normal((1, 1, examples)) + rng.standard_normal((1, 8, 1))
        losses = (
            truth[:, None, None]
            + mine
            + both
            + 0.1 * rng.standard_normal((4, 8, 1))
            + 0.5 * rng.standard_normal((4, 8, examples))
        )
        rows, tested = on_parts(losses)
        for name, known in (("both", tested), ("seeds", None)):
            found = [c for c in comparisons(rows, known) if c["metric"] == "test_loss"]
            wanted = dict(zip(ROLES, truth[0] - truth, strict=False))
            held[name] += all(c["lower"] <= wanted[c["against"]] <= c["upper"] for c in found)
            assert {c["examples"] for c in found} == {examples if known else None}
    assert held["both"] / studies > 0.95 - 3 * math.sqrt(0.95 * 0.05 / studies)
    assert held["seeds"] / studies < 0.7  # what the examples' part is for


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_few_seeds_that_agree_by_chance_do_not_narrow_the_intervals(seeds: int) -> None:
    rng, studies, missed = np.random.default_rng([11, seeds]), 1000, 0
    for _ in range(studies):
        losses = 0.1 * rng.standard_normal((3, seeds, 1)) + 0.27 * rng.standard_normal((3, 1, 200))
        rows, tested = on_parts(losses)
        found, alone = ([c for c in comparisons(rows, known) if c["metric"] == "test_loss"] for known in (tested, None))
        assert [c["together"] for c in found] == [2] * 2
        missed += not all(c["lower"] <= 0 <= c["upper"] for c in found)
        for both, one in zip(found, alone, strict=True):
            assert both["upper"] - both["lower"] >= (one["upper"] - one["lower"]) * (1 - 1e-12)
    assert missed / studies < 0.05 + 3 * math.sqrt(0.95 * 0.05 / studies)


@pytest.mark.parametrize("scale", [1e-140, 1e-85, 1e80, 1e150])
def test_intervals_are_of_the_scale_of_the_losses(scale: float) -> None:
    losses = np.random.default_rng(12).standard_exponential((2, 4, 30))
    plain, scaled = (comparisons(*on_parts(losses * by))[0] for by in (1.0, scale))
    assert scaled["upper"] - scaled["lower"] == pytest.approx(scale * (plain["upper"] - plain["lower"]))
    assert scaled["verdict"] == plain["verdict"]


def test_losses_too_large_to_square_are_as_those_of_runs_that_diverged() -> None:
    rows, tested = on_parts(1e236 * np.random.default_rng(12).standard_exponential((2, 4, 30)))
    assert comparisons(rows, tested) == comparisons(rows) == []


def test_the_examples_part_is_the_variance_of_a_mean_over_them() -> None:
    losses = np.random.default_rng(6).standard_normal((2, 3, 20))
    rows, tested = on_parts(losses)
    (found, gap) = comparisons(rows, tested)
    by_example = (losses[0] - losses[1]).mean(0)
    by_seed = (losses[0] - losses[1]).mean(1)
    assert found["variances"] == pytest.approx([by_seed.var(ddof=1) / 3, by_example.var(ddof=1) / 20])
    assert found["freedom"] == [2, 19 / 4]
    assert (gap["examples"], gap["freedom"]) == (None, [2])
    narrow = comparison(rows[0], rows[1], "test_loss")
    assert narrow is not None
    assert narrow["upper"] - narrow["lower"] == pytest.approx(2 * half_width(found["variances"][:1], [2], 1))
    del tested.parts[BEST][1]["test_loss"]  # type: ignore[attr-defined]  # trained before such results were kept
    assert comparisons(rows, tested)[0] == narrow


def test_parts_that_are_no_means_tell_the_spread_of_the_result() -> None:
    rng, rows = np.random.default_rng(7), 400
    weight, loss = np.where(rng.random((600, rows)) < 0.2, 5.0, 1.0), rng.standard_exponential((600, rows))
    ratio = (weight * loss).sum(1) / weight.sum(1)  # as of a loss with class weights
    kept = [np.setdiff1d(np.arange(rows), part) for part in parts(rows)]
    without = np.stack([(weight[:, k] * loss[:, k]).sum(1) / weight[:, k].sum(1) for k in kept], -1)
    told = pseudo_values(ratio, without).var(axis=1, ddof=1).mean() / len(kept)
    assert told == pytest.approx(ratio.var(ddof=1), rel=0.15)
    assert [len(parts(n)) for n in (1, 2, 50, 51, 1000)] == [0, 2, 50, 50, 50]


def test_bounds_of_an_accuracy_are_those_of_a_share_and_few_examples_have_none_in_words() -> None:
    rows, tested = on_parts(1.0 + np.random.default_rng(3).random((2, 2, 3)))
    for row, shares in zip(rows, ([0.2, 0.9], [0.3, 0.2]), strict=True):
        row["test_accuracy"] = shares
    found = {c["metric"]: c for c in comparisons(rows, tested)}
    assert (found["test_accuracy"]["lower"], found["test_accuracy"]["upper"]) == (-1.0, 1.0)
    assert found["test_accuracy"]["verdict"] == "not distinguishable"
    assert found["test_loss"]["freedom"] == [1, 0.5]
    trial = {**rows[0], "final": {"validation_loss": 1.0}}
    setting = {"trials": [trial], "winner": rows[0], "contenders": rows, "comparisons": [*found.values()]}
    (said,) = [each["said"] for each in advice(setting) if each["knob"] == "weight decay"]
    assert said.startswith("Whether weight decay matters cannot be told from 3 test examples; "), said


def test_more_examples_are_asked_for_where_more_seeds_would_not_tell() -> None:
    rng = np.random.default_rng(8)
    mine = rng.standard_normal((2, 1, 40))
    mine -= mine.mean(axis=2, keepdims=True)
    losses = 10 + np.array([0.0, 0.3])[:, None, None] + mine + 1e-3 * rng.standard_normal((2, 8, 40))
    rows, tested = on_parts(losses)
    trial = {**rows[0], "final": {"validation_loss": 1.0}}
    found = {"trials": [trial], "winner": rows[0], "contenders": rows, "comparisons": comparisons(rows, tested)}
    (said,) = [each["said"] for each in advice(found) if each["knob"] == "weight decay"]
    assert re.search(r"; about \d+ test examples would tell\.$", said), said


def test_a_plan_in_two_roles_is_one_comparison() -> None:
    rows = [
        {"role": role, "plan": plan, "seeds": [1, 2, 3], "test_loss": losses, "gap": losses, "test_accuracy": [0.5, 0.6, 0.7]}
        for role, plan, losses in (
            ("winner", "a", [1.0, 1.1, 1.3]), (BEST, "b", [1.2, 1.1, 1.5]), (BARE, "b", [1.2, 1.1, 1.5]),
        )
    ]  # fmt: skip
    found = comparisons(rows)
    assert [c["metric"] for c in found] == ["test_loss", "gap", "test_accuracy"] * 2
    assert {c["together"] for c in found} == {1}
    assert found[0] == {**comparison(rows[0], rows[1], "test_loss"), "together": 1}
    apart = {**rows[2], "test_loss": [1.2, 1.1, 1.6]}  # the same text at another batch size
    assert {c["together"] for c in comparisons([*rows[:2], apart])} == {2}
    assert "accuracy" not in str(comparisons([{k: v for k, v in row.items() if k != "test_accuracy"} for row in rows]))


# The noise


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_noise_is_what_least_squares_leaves_of_plan_and_seed(plans: int, seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((plans, seeds))
    y = 3 * rng.standard_normal((plans, 1)) + 5 * rng.standard_normal((1, seeds)) + noise
    design = np.array(
        [[i == k for k in range(plans)] + [j == k for k in range(seeds)] for i in range(plans) for j in range(seeds)],
        float,
    )
    rank = np.linalg.matrix_rank(design)
    fitted = design @ np.linalg.lstsq(design, y.ravel(), rcond=None)[0]
    found = pooled([y.tolist()])
    assert found is not None
    assert found.df == plans * seeds - rank
    assert found.sd == pytest.approx(math.sqrt(((y.ravel() - fitted) ** 2).sum() / found.df), rel=1e-6)
    assert found.sd == pytest.approx(pooled([noise.tolist()]).sd, rel=1e-6)  # type: ignore[union-attr]


def test_noise_leaves_out_who_diverged_and_pools_what_stands_apart() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((3, 4)), rng.standard_normal((2, 8))
    a, b = pooled([one.tolist()]), pooled([other.tolist()])
    both = pooled([[*one.tolist(), [1.0, None, 2.0, 3.0]], other.tolist(), [[1.0, 2.0]], []])
    assert a
    assert b
    assert both
    assert both.df == a.df + b.df == 6 + 7
    assert both.sd**2 * both.df == pytest.approx(a.sd**2 * a.df + b.sd**2 * b.df)
    assert pooled([[[1.0, 2.0]], []]) is None
    assert pooled([[*one.tolist(), [9e200, 1.0, 2.0, 3.0]]]) == a  # all but diverged: no square of it is a number


def test_noise_is_that_of_plans_like_the_winner() -> None:
    rng = np.random.default_rng(3)
    choice = [
        {"plan": f"{kind} {i}", "schedule": kind, "validation_loss": (scale * rng.standard_normal(8)).tolist()}
        for kind, scale in (("cosine", 1e-3), ("constant", 1.0)) for i in range(3)
    ]  # fmt: skip
    calm = seed_noise({"contenders": [], "choice": choice, "winner": {"schedule": "cosine"}})
    wild = seed_noise({"contenders": [], "choice": choice, "winner": {"schedule": "constant"}})
    assert calm is not None
    assert wild is not None
    assert calm.sd < 0.01 < 0.3 < wild.sd
    alone = seed_noise({"contenders": [], "choice": choice[1:], "winner": {"schedule": "cosine"}})
    assert alone is not None
    assert alone.sd > 0.3


def on_folds(study: dict[str, Any], apart: float) -> dict[str, Any]:
    """Return the study with its shortlist judged on 4 folds, which suit each plan better or worse by about ``apart``."""
    rng, made = np.random.default_rng(9), json.loads(json.dumps(study))
    suits = {row["plan"]: apart * rng.standard_normal(4) for row in made["choice"]}
    for row in made["choice"]:
        again = np.array(row["validation_loss"])
        swept = LOSS + NOISE * rng.standard_normal(4)
        row["by_fold"] = (np.array([swept, again]) + suits[row["plan"]]).T.tolist()
        row["validation_loss"] = (again + suits[row["plan"]]).tolist()
    return made | {"folds": 4}


def test_that_folds_suit_plans_differently_is_no_noise_of_seeds() -> None:
    study = simulated(GRID, flat, np.random.default_rng(5))
    found = [seed_noise(on_folds(study, apart)) for apart in (0.0, 50 * NOISE)]
    assert found[0] is not None
    assert found[1] == pytest.approx(found[0])
    assert found[0].sd == pytest.approx(NOISE, rel=0.5)
    assert found[0].df == 4 * (sum(row["schedule"] != "constant" for row in study["choice"]) - 1)
    calm = on_folds(study, 0.0)
    for row in calm["contenders"]:  # the report trains on other rows, maybe easier ones
        row["validation_loss"] = [0.0] * 8
    assert seed_noise(calm) == found[0]
    assert seed_noise(calm | {"choice": []}) is None


# How a choice flatters


def test_a_choice_flatters_and_fresh_seeds_do_not() -> None:
    found = [optimism(simulated(GRID, flat, np.random.default_rng(seed))) for seed in range(200)]
    assert all(len(both) == 2 for both in found)
    own = 3 * NOISE  # what a seed does to all alike, in the sweep one for all its trainings
    sweep, choice = (np.array([both[stage].excess for both in found]) for stage in (0, 1))
    lowest = np.random.default_rng(1).standard_normal((20_000, len(GRID))).min(axis=1).mean()
    assert sweep.mean() == pytest.approx(-lowest * NOISE, abs=4 * own / math.sqrt(200))
    assert choice.mean() > 0
    assert np.mean([both[1].fresh for both in found]) == pytest.approx(LOSS, abs=4 * own / math.sqrt(200 * 8))


def test_the_facts_say_both_losses_and_the_difference() -> None:
    study = simulated(GRID, flat, np.random.default_rng(2))
    said = " ".join(facts(study))
    chosen = float(np.mean(study["choice"][0]["validation_loss"]))
    fresh = float(np.mean(study["contenders"][0]["validation_loss"]))
    lowest = min(t["final"]["validation_loss"] for t in study["trials"])
    assert f"was chosen by was {chosen:.4f}, the lowest of {len(study['choice'])}" in said
    assert f"the mean of the same plan on 8 fresh seeds is {fresh:.4f}" in said
    assert f"single training in the sweep was {lowest:.4f}, the lowest of 48" in said
    assert f"by {fresh - chosen:.4f}" in said or f"({chosen - fresh:.4f} the other way)" in said
    assert "intervals hold together" in said


def test_with_folds_the_winner_is_not_compared_with_itself_on_other_rows() -> None:
    study = on_folds(simulated(GRID, flat, np.random.default_rng(2)), 0.0)
    for row in study["contenders"]:  # the data's own division is a harder one
        row["validation_loss"] = [value + 1.0 for value in row["validation_loss"]]
    (sweep,) = optimism(study)
    assert abs(sweep.excess) < 10 * NOISE
    said = " ".join(facts(study))
    assert "in the sweep, a mean over 4 folds, was 0." in said
    assert "single training in the sweep" not in said
    assert "the winner was chosen by was" not in said
    assert optimism(study | {"folds": 3}) == []  # 4 seeds on 3 folds: one fold counts twice


# Knobs of pure noise, and real ones

FEW = 60


def shuffled(rng: np.random.Generator) -> list[dict[str, Any]]:
    return [GRID[i] for i in sorted(rng.permutation(len(GRID))[:24])]


@pytest.mark.parametrize("points", [lambda _: GRID, drawn, shuffled], ids=["grid", "random", "half of a grid"])
def test_what_does_nothing_is_said_to_do_nothing(points: Callable[[np.random.Generator], list[dict[str, Any]]]) -> None:
    found = counted(lambda rng: simulated(points(rng), flat, rng), FEW)
    assert {"weight decay", "learning-rate decay", "λ", "peak", "schedule"} <= set(found)
    for name, verdict in found.items():
        total = sum(verdict.values())
        if name.endswith("decay"):
            assert verdict[MATTERS] <= 0.05 * total, name
        elif total > FEW / 3:
            assert verdict[ALIKE] >= 0.95 * total, (name, verdict)


@pytest.mark.parametrize("slope", [0.0, 1.5, 50.0], ids=["level", "within the noise", "steep"])
def test_a_knob_that_does_nothing_is_not_blamed_for_another(slope: float) -> None:
    def truth(p: Mapping[str, Any]) -> float:
        return LOSS + slope * NOISE * abs(math.log10(p["peak"] / 3e-3))

    found = counted(lambda rng: simulated(GRID, truth, rng), FEW)
    for name in ("λ", "schedule"):
        assert found[name][ALIKE] >= 0.95 * sum(found[name].values()), found
    drawn_too = counted(lambda rng: simulated(drawn(rng), truth, rng), FEW)
    for name in ("λ", "schedule"):
        assert drawn_too[name][MATTERS] <= 0.05 * sum(drawn_too[name].values()), drawn_too


@pytest.mark.parametrize(("effect", "power"), [(5, 0.9), (8, 0.99)])
def test_an_effect_of_a_few_noises_is_told(effect: float, power: float) -> None:
    def truth(p: Mapping[str, Any]) -> float:
        return LOSS + effect * NOISE * (p["lam"] in (0.3, 3.0)) + effect * NOISE * (p["peak"] == 1e-2)

    found = counted(lambda rng: simulated(GRID, truth, rng), FEW)
    for name in ("λ", "peak"):
        assert found[name][MATTERS] >= power * sum(found[name].values()), found
    told = (advice(simulated(GRID, truth, np.random.default_rng(seed))) for seed in range(99))
    peak = next(a for each in told for a in each if a["knob"] == "peak" and a["verdict"] == MATTERS)
    values = {v["value"]: v for v in peak["values"]}
    assert [v["within"] for v in values.values()] == [True, True, False]
    assert values["0.01"]["costs"] == pytest.approx(effect * NOISE, abs=3 * NOISE)


def test_limits_hold_for_minima_over_many_and_over_one() -> None:
    """The null hypothesis in its own words: whatever the numbers of equals per value, no value stands out too often."""
    rng = np.random.default_rng(5)
    for sizes in ((20, 20, 20), (1, 30), (2, 5, 40, 3), (1, 1, 1, 1, 1)):
        wrong = 0
        for _ in range(150):
            noise = Noise(math.sqrt(rng.chisquare(21) / 21), 21)
            trials = [
                Tried(str(v), i, 100 + float(rng.standard_normal())) for v, n in enumerate(sizes) for i in range(n)
            ]
            found = knob(trials, noise)
            assert found is not None
            wrong += any(not v.within for v in found.values)
        assert wrong <= 150 * 0.05 + 3 * math.sqrt(150 * 0.05 * 0.95), sizes


# What is no result: let go, diverged


def test_let_go_counts_for_nothing_and_diverged_counts_against() -> None:
    noise = Noise(0.001, 20)
    base = [Tried("a", i, 0.5 + i / 10_000) for i in range(4)] + [Tried("b", i, 0.5001 + i / 10_000) for i in range(4)]
    gone = [Tried("c", i, None, let_go=True) for i in range(4)]
    found = knob([*base, *gone], noise)
    assert isinstance(found, Knob)
    assert found.verdict == ALIKE
    assert [(v.value, v.best, v.let_go) for v in found.values] == [("a", 0.5, 0), ("b", 0.5001, 0), ("c", None, 4)]
    lost = knob([*base, *(Tried("c", i, None) for i in range(4))], noise)
    assert lost is not None
    assert lost.verdict == MATTERS
    assert lost.values[2].diverged == 4
    assert knob([*gone, *(Tried("d", i, None, let_go=True) for i in range(2))], noise) is None
    assert knob(base[:4], noise) is None
    assert knob(base, None).verdict == knob(base, Noise(0.001, 2)).verdict == UNKNOWN  # type: ignore[union-attr]
    assert knob(base, Noise(0.2, 20)).verdict == UNKNOWN  # type: ignore[union-attr]  # hides a tenth of the loss


def test_the_final_values_of_one_let_go_are_not_results() -> None:
    study = simulated(GRID, flat, np.random.default_rng(0))
    tempting = dict(study["trials"][5])
    study["trials"][5] = {**tempting, "stopped_at": 3.0, "final": {"validation_loss": 1e-9}}
    text = json.dumps(advice(study)) + " ".join(facts(study))
    assert "1e-09" not in text
    assert "1e-9" not in text
    assert "1 of 48 trainings of the sweep were let go early" in text
    sweep, choice = optimism(study)
    assert sweep.chosen == min(t["final"]["validation_loss"] for t in study["trials"] if t["stopped_at"] is None)
    assert (sweep.among, choice.among) == (47, len(study["choice"]))


def test_halving_keeps_noise_from_looking_like_an_effect() -> None:
    """Half are let go by a loss that foretells the last one: who is left was lucky, in every value of a knob alike."""

    def halved(rng: np.random.Generator) -> dict[str, Any]:
        study = simulated(GRID, flat, rng)
        early = [t["final"]["validation_loss"] + NOISE * rng.standard_normal() for t in study["trials"]]
        for kind in {t["schedule"] for t in study["trials"]}:
            own = [i for i, t in enumerate(study["trials"]) if t["schedule"] == kind]
            for i in sorted(own, key=lambda i: early[i])[len(own) // 4 :]:
                study["trials"][i] |= {"stopped_at": 2.0, "final": {"validation_loss": None}}
        return study

    found = counted(halved, FEW)
    for name in ("λ", "peak", "schedule"):
        assert found[name][MATTERS] <= 0.05 * sum(found[name].values()), found


# The decays: the interval decides

WIGGLE = np.array([1, -1, 1, -1, 1, -1, 1, -1]) * 1e-3


def decided(
    *against: tuple[str, list[float]], lam: float = 1.0, loss: float = 1.0, validation: float | None = None
) -> dict[str, Any]:
    """Return the advice on weight decay of a winner with these test losses of the others less its own, seed by seed."""
    rng = np.random.default_rng(0)
    own = loss + 1e-3 * rng.standard_normal(8)
    plans = {
        role: (f"plan {role}", (own + np.array(shift)).tolist()) for role, shift in (("winner", [0.0] * 8), *against)
    }
    rows = [
        {"role": role, "plan": plan, "lam": lam, "peak": 0.1, "schedule": "cosine", "seeds": list(range(8)),
         "test_loss": losses, "gap": losses,
         "validation_loss": [] if validation is None else (own + (validation + 0.1 * WIGGLE) * (role != "winner")).tolist()}
        for role, (plan, losses) in plans.items()
    ]  # fmt: skip
    trials = [
        {
            "plan": f"t{v}",
            "lam": v,
            "peak": 0.1,
            "schedule": "cosine",
            "diverged": False,
            "final": {"validation_loss": 1.0},
        }
        for v in (0.0, lam or 1.0)
    ]
    found = {"trials": trials, "winner": {k: rows[0][k] for k in ("plan", "lam", "peak", "schedule")}, "contenders": rows,
             "comparisons": comparisons(rows)}  # fmt: skip
    return next(each for each in advice(found) if each["knob"] == "weight decay")


@pytest.mark.parametrize(
    ("against", "verdict", "said"),
    [
        ([(BEST, 0.1 + WIGGLE), (BARE, 0.2 + WIGGLE)], MATTERS, "higher by 0.1000 (0.0989 to 0.1011 at 95 %); keep it (λ"),
        ([(BEST, 0.003 + WIGGLE / 9), (BARE, 0.2 + WIGGLE)], MATTERS, "which is little; keep it"),
        ([(BEST, -0.1 + WIGGLE), (BARE, 0.2 + WIGGLE)], MATTERS, "lower by 0.1000 (0.0989 to 0.1011 at 95 %); leave it out:"),
        ([(BEST, WIGGLE), (BARE, WIGGLE)], ALIKE, "the test loss differs by at most 0.0011 (95 %); leave it out or keep"),
        ([(BEST, WIGGLE), (BARE, 0.2 + WIGGLE)], ALIKE, "Without it choose the rest anew (plan no weight decay): taken from the"),
        ([(BEST, 0.2 + WIGGLE), (BARE, WIGGLE)], ALIKE, "with and without it the winner's test loss differs by at most 0.0011"),
        ([(BEST, 0.2 + WIGGLE), (BARE, WIGGLE)], ALIKE, "keep the rest of the winner: the best plan without it (plan no weight"),
        ([(BEST, 20 * WIGGLE), (BARE, 30 * WIGGLE)], UNKNOWN, "from 0.021 lower to 0.021 higher (95 %); about 26 seeds"),
        ([(BARE, 0.1 + WIGGLE)], MATTERS, "the winner without it has a test loss that is higher by 0.1000"),
        ([(BEST, 2000 * WIGGLE)], UNKNOWN, "even 200 seeds might not tell"),
    ],
)  # fmt: skip
def test_the_interval_decides_on_a_decay(against: list[tuple[str, Any]], verdict: str, said: str) -> None:
    found = decided(*[(role, shift.tolist()) for role, shift in against])
    assert (found["verdict"], said in found["said"]) == (verdict, True), found["said"]
    low, high = found["numbers"]["lower"], found["numbers"]["upper"]
    if verdict == MATTERS:
        assert low > 0 or high < 0
    else:
        assert low <= 0 <= high
    if verdict == ALIKE:
        assert max(-low, high) <= found["numbers"]["small"]


def test_plans_that_do_not_differ_at_all_differ_by_nothing() -> None:
    said = decided((BEST, (0 * WIGGLE).tolist()))["said"]
    assert re.search(r"differs by at most 0\.0+ \(95 %\)", said), said


def test_the_seeds_that_would_tell_would() -> None:
    found = decided((BEST, (20 * WIGGLE).tolist()), (BARE, (30 * WIGGLE).tolist()))
    n = int(found["said"].split("about ")[1].split()[0])
    sd = float((20 * WIGGLE).std(ddof=1))
    halves = [float(stdtrit(m - 1, 1 - 0.025 / 2)) * sd / math.sqrt(m) for m in (n, n - 1)]
    assert halves[0] <= found["numbers"]["small"] < halves[1]


def test_a_contender_that_diverged_is_no_reason_to_leave_a_decay_out() -> None:
    shift = WIGGLE.tolist()
    assert decided((BEST, shift))["verdict"] == ALIKE
    assert decided((BEST, [math.nan, *shift[1:]]))["verdict"] != MATTERS  # NaN never gets there: plain JSON has None
    rows = [{"role": r, "plan": r, "seeds": [0, 1, 2, 3], "test_loss": v, "gap": v, "lam": 1.0, "peak": 1.0, "schedule": "s"}
            for r, v in (("winner", [1.0, 1.0, 1.0, 1.0]), (BEST, [1.001, None, 0.999, 1.0]))]  # fmt: skip
    trial = {"plan": "winner", "lam": 1.0, "peak": 1.0, "schedule": "s", "final": {"validation_loss": 1.0}}
    found = {"trials": [trial], "winner": rows[0], "contenders": rows, "comparisons": comparisons(rows)}
    (said,) = [each for each in advice(found) if each["knob"] == "weight decay"]
    assert said["verdict"] == UNKNOWN


def harmful(p: Mapping[str, Any]) -> float:
    return LOSS + 10 * NOISE * (p["lam"] > 0) + 10 * NOISE * (p["schedule"] != "constant")


def test_a_winner_without_decay_is_advised_by_fresh_seeds() -> None:
    study = simulated(GRID, harmful, np.random.default_rng(1))
    assert [c["role"] for c in study["contenders"]] == ["winner", "weight decay", "falling lr"]
    found = {a["knob"]: a for a in advice(study)}
    for decay, role in (("weight decay", "weight decay"), ("learning-rate decay", "falling lr")):
        compared = next(c for c in study["comparisons"] if (c["against"], c["metric"]) == (role, "test_loss"))
        assert found[decay]["verdict"] == MATTERS
        assert found[decay]["numbers"]["difference"] == compared["difference"] < 0
        assert (
            " matters, and makes it worse here: the best plan with it has a test loss that is higher by 0.0"
            in (found[decay]["said"])
        )
        assert "; leave it out. That is over seeds, on these test examples alone" in found[decay]["said"]
    assert "λ" not in found
    assert "schedule" not in found


def test_a_winner_without_decay_that_nobody_was_compared_with_is_advised_by_the_sweep() -> None:
    study = simulated(GRID, harmful, np.random.default_rng(1))
    study |= {"contenders": study["contenders"][:1], "comparisons": []}  # evidence of before these roles
    found = {a["knob"]: a for a in advice(study)}
    for decay in ("weight decay", "learning-rate decay"):
        assert found[decay]["verdict"] == MATTERS
        assert "the best plan with it is worse by 0.0" in found[decay]["said"]
        assert "leave it out" in found[decay]["said"]


def test_a_space_without_a_decay_has_nothing_to_say_of_it() -> None:
    study = simulated(grid(lam=(0.0,), peak=(1e-3, 1e-2), schedule=("constant",)), flat, np.random.default_rng(2))
    assert [c["role"] for c in study["contenders"]] == ["winner"]
    assert set(verdicts(study)) == {"peak"}
    assert "The winner has no weight decay, and no plan with it was tried." in facts(study)


@pytest.mark.parametrize(
    ("shift", "verdict", "said"),
    [
        (0.1 + WIGGLE, MATTERS, "and makes it worse here: the best plan with it has a test loss that is higher by 0.10000 (0.0"),
        (0.003 + WIGGLE / 9, MATTERS, "which is little; leave it out."),
        (-0.1 + WIGGLE, MATTERS, "Weight decay matters: the best plan with it has a test loss that is lower by 0.10000"),
        (-0.1 + WIGGLE, MATTERS, "; use it: plan weight decay."),
        (WIGGLE, ALIKE, "the best plan with it differs by at most 0.00089 in test loss (95 %); leave it out."),
        (20 * WIGGLE, UNKNOWN, "cannot be told: the test loss of the best plan with it lies anywhere from 0.018 lower to 0.018"),
        (20 * WIGGLE, UNKNOWN, "seeds would tell, until then leave it out."),
    ],
)  # fmt: skip
def test_the_interval_decides_on_a_decay_that_the_winner_lacks(shift: np.ndarray, verdict: str, said: str) -> None:
    found = decided((WITH, shift.tolist()), lam=0.0)
    assert (found["verdict"], said in found["said"]) == (verdict, True), found["said"]


def test_a_test_loss_that_validation_contradicts_is_said() -> None:
    warning = "Its validation loss is higher by 0.200000: the two sets of examples disagree"
    for role, lam in ((WITH, 0.0), (BEST, 1.0)):
        beats, worse = (-0.1 + WIGGLE).tolist(), (0.1 + WIGGLE).tolist()
        assert warning in decided((role, beats), lam=lam, validation=0.2)["said"]
        assert "disagree" not in decided((role, beats), lam=lam, validation=-0.2)["said"]
        assert "disagree" not in decided((role, beats), lam=lam)["said"]
        assert "disagree" not in decided((role, worse), lam=lam, validation=0.2)["said"]


def test_the_noise_counts_the_plans_with_a_decay() -> None:
    study = simulated(GRID, harmful, np.random.default_rng(1))
    every = seed_noise(study)
    fewer = seed_noise({**study, "contenders": [c for c in study["contenders"] if c["role"] != WITH]})
    assert every is not None
    assert fewer is not None
    assert every.df == fewer.df + 7  # a second constant plan over eight seeds


def test_the_gap_is_told_with_weight_decay_and_without() -> None:
    study = simulated(GRID, harmful, np.random.default_rng(1))
    study["contenders"][0]["gap"], study["contenders"][1]["gap"] = [0.2] * 8, [0.05] * 8
    said = next(fact for fact in facts(study) if fact.startswith("The gap between"))
    assert said == (
        "The gap between validation and training loss is 0.200, without weight decay; with weight decay it would be 0.050 "
        "(the best plan with it), 75 % smaller."
    )


# The edge


def test_the_end_of_the_range_is_said_with_the_way_beyond() -> None:
    def truth(p: Mapping[str, Any]) -> float:
        return LOSS + 0.1 * abs(math.log10(p["peak"] / 1e-1)) + 0.1 * p["lam"]

    found = {a["knob"]: a for a in advice(simulated(GRID, truth, np.random.default_rng(1)))}
    assert found["peak"]["edge"] == "largest"
    assert "The winner's, 0.01, is the largest tried: search on beyond it, to 0.03." in found["peak"]["said"]
    assert all(a["edge"] is None for name, a in found.items() if name != "peak")  # λ = 0 and constant are no ends
    level = advice(simulated(GRID, flat, np.random.default_rng(1)))
    assert all(a["edge"] is None for a in level)  # nothing to gain beyond


def test_a_winner_that_the_sweep_let_go_is_not_advised_against() -> None:
    study = simulated(GRID, flat, np.random.default_rng(1))
    peak = study["winner"]["peak"]
    study["trials"] = [{**t, "stopped_at": 1.0} if t["peak"] == peak else t for t in study["trials"]]
    (found,) = [each for each in advice(study) if each["knob"] == "peak"]
    assert found["verdict"] == UNKNOWN
    assert found["said"].startswith(
        f"Whether the peak matters cannot be told: in the sweep no training with the winner's, {peak:g}, came to the end; it won "
        "on further seeds."
    )
    assert "guess" not in found["said"]


@pytest.mark.parametrize("convention", ["decoupled", "independent", "l2"])
@pytest.mark.parametrize("peaks", [(0.03, 0.1), (0.1, 0.3), (0.3, 0.9)])
def test_the_way_beyond_leads_to_plans_that_can_be_searched(peaks: tuple[float, ...], convention: str) -> None:
    """Every space with the values that the advice names makes its plans without an error and without a warning."""
    points = [p | {"convention": convention} for p in grid(lam=(0.0, 0.1, 1.0), peak=peaks, schedule=("constant",))]
    if convention == "independent":
        points = [p | {"lam": p["lam"] / 2} for p in points]

    def truth(p: Mapping[str, Any]) -> float:
        return 1.0 - 0.1 * p["lam"] - 0.1 * math.log(p["peak"])

    found = [a["said"] for a in advice(simulated(points, truth, np.random.default_rng(1))) if a["edge"]]
    assert len(found) == (0 if (peaks, convention) == ((0.3, 0.9), "decoupled") else 2)  # lr·λ is 0.9 already
    largest = {"lam": max(p["lam"] for p in points), "peak": peaks[-1]}
    for said in found:
        beyond = float(said.rpartition("to ")[2].rstrip("."))
        name = "lam" if said.startswith("λ") else "peak"
        assert beyond > largest[name]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            at = {**largest, name: beyond}
            Space((at["lam"],), (at["peak"],), ("constant",), convention).candidates()


@given(st.lists(st.floats(1e-6, 1e3), min_size=2, max_size=9, unique=True), st.integers(0, 8))
def test_only_ends_are_ends(values: list[float], place: int) -> None:
    tried = sorted(float(f"{v:.3g}") for v in values)
    if len(set(tried)) < 2:
        return
    value = tried[place % len(tried)]
    found = edge(value, [0.0, *tried])
    logs = tried[-1] >= 3 * tried[0]
    far = math.log(value / tried[0]) / math.log(tried[-1] / tried[0]) if logs else value / tried[-1]
    assert (found is not None) == (far >= 0.95)
    if found is not None:
        assert found[0] == "largest"
        assert found[1] > 0.9 * tried[-1]
        assert edge(0.0, [0.0, *tried]) is None


# Names, older evidence, other tasks


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=60))
def test_every_value_has_a_name_and_few_there_are(values: list[float]) -> None:
    tried = [float(f"{v:.3g}") for v in values]
    name = labels(tried)
    names = [name(v) for v in sorted(tried)]
    assert len(set(names)) <= 6
    assert [key for key, _ in itertools.groupby(names)] == list(dict.fromkeys(names))  # a bin holds neighbours


def test_evidence_of_before_gives_what_it_can() -> None:
    study = simulated(GRID, lambda p: LOSS + 0.1 * (p["lam"] == 0), np.random.default_rng(0))
    del study["choice"]
    for row in study["trials"] + study["contenders"] + [study["winner"]]:
        for name in ("params", "stopped_at", "validation_loss"):
            row.pop(name, None)
    for c in study["comparisons"]:
        del c["together"]
    found = {a["knob"]: a for a in advice(study)}
    assert found["weight decay"]["verdict"] == MATTERS
    assert found["peak"]["verdict"] == UNKNOWN
    assert found["peak"]["said"].startswith(
        "Whether the peak matters cannot be told: the noise of the seeds was not measured."
    )
    assert optimism(study) == []
    assert facts(study)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1e-9, 0.004, 3.0]), st.integers(2, 9))
def test_advice_is_plain_data_that_the_report_takes(seed: int, sd: float, seeds: int) -> None:
    rng = np.random.default_rng(seed)
    points = drawn(rng, 20)
    study = simulated(points, lambda p: 2.0 + p["peak"] * rng.standard_normal(), rng, seeds=seeds, sd=sd)
    for trial in study["trials"][::3]:
        trial |= {
            "final": {"validation_loss": None},
            **({"stopped_at": 2.0} if rng.random() < 0.5 else {"diverged": True}),
        }
    found = advice(study)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    said = " ".join(each["said"] for each in found)
    assert not {"nan", "inf", "None", "-0.0"} & set(said.split())
    shown = whole(study | {"advice": found, "facts": facts(study)})
    assert all(each["said"].split("'")[0] in " ".join(summary(shown, 120).split()) for each in found)
    assert render(shown)


def whole(study: dict[str, Any]) -> dict[str, Any]:
    """Return a setting as the evidence of a whole study of a task with a loss of its own."""
    made = json.loads(json.dumps(study))
    for trial in made["trials"]:
        trial["curve"] = {"epoch": [1, 2], "validation_loss": [0.7, trial["final"]["validation_loss"]]}
    for row in made["contenders"]:
        row["curves"] = {"epoch": [1, 2], "validation_loss": [0.7, 0.5]}
        row["metrics"] = {"perplexity": [10.0 + i for i in range(len(row["seeds"]))]}
    made["winner"]["toml"] = ""
    return {
        "format": "dwindle-evidence/1", "title": "t", "created": "2026-11-24T10:24:31+00:00", "seconds": 1.0, "seed": 0,
        "environment": {}, "data": {"name": "d", "provenance": [], "train": 1, "validation": 1, "test": 1, "classes": None,
        "task": "custom"}, "model": "m", "optimiser": "o", "batch_size": 1, "epochs": 2, "steps": 2,
        "settings": [{"name": "s", **made}],
    }  # fmt: skip


def test_a_loss_of_ones_own_has_its_metrics_and_no_accuracy() -> None:
    study = simulated(GRID, lambda p: LOSS + 0.1 * (p["lam"] == 0), np.random.default_rng(3))
    for row in study["contenders"]:
        row["metrics"] = {"perplexity": (30 + np.arange(8) / 10).tolist(), "accuracy of tokens": [None] * 8}
    said = facts(study)
    assert said[0].startswith(f"winner: test loss {np.mean(study['contenders'][0]['test_loss']):.4f} ± ")
    assert "perplexity 30.35 ± 0.20, 8 seeds" in said[0]
    assert "accuracy" not in " ".join(said)
    assert {c["metric"] for c in study["comparisons"]} == {"test_loss", "gap"}
    text = summary(whole(study | {"facts": said, "advice": advice(study)}))
    assert "perplexity" in text.replace("perplexi…", "perplexity")
    assert "accuracy" not in text
    assert "cross-entropy" not in text
