"""The rules that read a metric: exact against the peers' recorded and live rates, resumable, and honest in their tests."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binom

from dwindle.errors import DwindleError, InvalidValueError, ResumeError, UnknownNameError
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.greedy import Greedy, GreedyState, observe_together
from dwindle.schedule.plateau import Plateau, PlateauState
from dwindle.schedule.stagnation import KINDS, Verdict, _lag_one, _p_alternation, _p_cycle, _polynomials, verdict
from dwindle.schedule.stall import Stall, StallState

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


# --- the peers' parameters in our words -------------------------------------------------------------------------------


def from_torch(params: dict[str, Any], peak: float) -> Plateau:
    return Plateau(**{"eps": 1e-8, **params}, nan="worse", peak=peak)


def from_timm(params: dict[str, Any], peak: float) -> Plateau:
    names = {
        "decay_rate": "factor", "patience_t": "patience", "cooldown_t": "cooldown", "lr_min": "min_lr",
        "warmup_t": "warmup_steps", "warmup_lr_init": "warmup_lr",
    }  # fmt: skip
    ours = {names.get(name, name): value for name, value in params.items()}
    return Plateau(**{"mode": "max", "eps": 1e-8, **ours}, nan="worse", peak=peak)


def from_keras(params: dict[str, Any], peak: float) -> Plateau:
    return Plateau(
        params.get("factor", 0.1),
        max(params.get("patience", 10) - 1, 0),
        abs(params.get("min_delta", 1e-4)),
        "abs",
        params.get("mode", "min"),
        max(params.get("cooldown", 0) - 1, 0),
        params.get("min_lr", 0.0),
        peak=peak,
    )


def from_greedy(params: dict[str, Any], peak: float) -> Greedy:
    ours = {
        name: value for name, value in params.items() if name not in ("smooth", "window_size", "reset_start", "verbose")
    }
    window = params.get("window_size", 50) if params.get("smooth") else None
    reset_after = max(params.get("reset_start", 500), 1)
    base = {"min_lr": 1e-3, "max_lr": 1.0, "eps": 1e-8}
    return Greedy(**{**base, **ours}, window=window, reset_after=reset_after, peak=peak)


PEERS = {
    "torch_ReduceLROnPlateau": from_torch,
    "hf_reduce_lr_on_plateau": from_torch,
    "timm_PlateauLRScheduler": from_timm,
    "hf_greedy": from_greedy,
}


def golden_cases() -> list[Any]:
    if not GOLDEN.is_dir():
        return [pytest.param(None, None, marks=pytest.mark.skip(reason=f"no recorded values at {GOLDEN}"))]
    files = {name: json.loads((GOLDEN / f"schedule_{name}.json").read_text()) for name in PEERS}
    return [pytest.param(name, case, id=case["id"]) for name, file in files.items() for case in file["cases"]]


@pytest.mark.parametrize(("name", "case"), golden_cases())
def test_golden_rates_bit_for_bit(name: str, case: dict[str, Any]) -> None:
    params = case["params"].get("scheduler_specific_kwargs", case["params"])
    metrics = case["metric"]
    if name.startswith("timm"):  # lrs[t] follows step(t, metric[t]), and metric[0] is never read
        metrics = [*metrics[1:], metrics[-1]]
    groups = case.get("lrs_by_group", [case["lrs"]])
    for peak, lrs in zip(case.get("base_lrs", [case["base_lr"]]), groups, strict=True):
        rule = PEERS[name](params, peak)
        np.testing.assert_array_equal(rule.lrs(metrics), lrs)
        np.testing.assert_allclose(rule.factors(metrics) * peak, lrs, rtol=2.3e-16, atol=0)


# --- torch itself, on anything ----------------------------------------------------------------------------------------

losses = st.lists(
    st.integers(-30, 30).map(lambda k: k / 10), min_size=1, max_size=60
)  # coarse: ties and edges are common
patience_params = st.fixed_dictionaries(
    {
        "factor": st.sampled_from([0.05, 0.3, 0.5, 0.9]),
        "patience": st.integers(0, 4),
        "threshold": st.sampled_from([0.0, 0.25, 1e-4]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "mode": st.sampled_from(["min", "max"]),
        "cooldown": st.integers(0, 3),
        "min_lr": st.sampled_from([0.0, 1e-6, 1e-2]),
        "eps": st.sampled_from([0.0, 1e-8, 1e-3]),
    }
)


@pytest.mark.law
@settings(max_examples=200, deadline=None)
@given(patience_params, losses, st.sampled_from([3e-9, 1e-4, 0.02, 1.0]), st.sets(st.integers(0, 39), max_size=4))
def test_plateau_is_torchs(params: dict[str, Any], metrics: list[float], peak: float, broken: set[int]) -> None:
    torch = pytest.importorskip("torch")
    metrics = [math.nan if t in broken else x for t, x in enumerate(metrics)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, **params)
    lrs = []
    for metric in metrics:
        lrs.append(optimizer.param_groups[0]["lr"])
        scheduler.step(metric)
    np.testing.assert_array_equal(from_torch(params, peak).lrs(metrics), lrs)


def keras_lrs(params: dict[str, Any], peak: float, metrics: list[float]) -> list[float]:
    """Keras's rule in its own words: wait counted after the cooldown has gone down by one, cut at wait >= patience."""
    best, wait, cooldown, lr, lrs = None, 0, 0, peak, []
    sign = -1.0 if params["mode"] == "min" else 1.0
    for x in metrics:
        lrs.append(lr)
        if cooldown > 0:
            cooldown, wait = cooldown - 1, 0
        if best is None or sign * (x - sign * params["min_delta"]) > sign * best:
            best, wait = x, 0
        elif cooldown == 0:
            wait += 1
            if wait >= params["patience"] and lr > params["min_lr"]:
                lr, cooldown, wait = max(lr * params["factor"], params["min_lr"]), params["cooldown"], 0
    return lrs


@pytest.mark.law
@settings(max_examples=200, deadline=None)
@given(patience_params, losses)
def test_plateau_is_kerass_one_epoch_earlier(params: dict[str, Any], metrics: list[float]) -> None:
    keras = {name: params[name] for name in ("factor", "patience", "mode", "cooldown", "min_lr")}
    keras["min_delta"] = 0.25 if params["threshold"] else 0.0
    np.testing.assert_array_equal(from_keras(keras, 0.5).lrs(metrics), keras_lrs(keras, 0.5, metrics))


def test_when_the_first_cut_is_used() -> None:
    constant = [1.0] * 8
    torch_lrs, keras = from_torch({"patience": 3}, 1.0).lrs(constant), from_keras({"patience": 3}, 1.0).lrs(constant)
    assert int(np.argmax(torch_lrs < 1)) == 5
    assert int(np.argmax(keras < 1)) == 4


# --- what every rule promises -----------------------------------------------------------------------------------------

RULES: list[FeedbackRule[Any]] = [
    Plateau(0.5, patience=2, cooldown=2, eps=1e-6, min_lr=1e-3, warmup_steps=5, warmup_lr=1e-4, peak=0.03),
    Plateau(0.7, patience=0, threshold=0.01, threshold_mode="abs", mode="max"),
    Greedy(0.8, patience=1, cooldown=2, warmup=1, min_lr=0.01, max_lr=0.3, window=4, reset_after=2, peak=0.1),
    Greedy(0.9, patience=0, mode="max"),
    Stall(0.5, window=12, rest=15, every=2, peak=0.1, min_lr=1e-3),
    Stall(0.5, window=10, cut_on=("noisy", "flat", "oscillating"), mode="max"),
]


def wobbly(n: int, seed: int = 0) -> list[float]:
    noise = np.random.default_rng(seed).standard_normal(n)
    return (np.exp(-np.arange(n) / 12) + 0.05 * noise + 0.1 * (np.arange(n) % 2)).tolist()


def through_json(state: Any) -> Any:
    return type(state)(**json.loads(json.dumps(dataclasses.asdict(state), allow_nan=False)))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_resuming_is_continuing_bit_for_bit(rule: FeedbackRule[Any]) -> None:
    metrics = wobbly(70)
    states = [rule.init()]
    factors = []
    for metric in metrics:
        factor, state = rule.observe(states[-1], metric)
        states.append(state)
        factors.append(factor)
    assert len({state.lr for state in states}) >= 3, "the rates must move, or this shows nothing"
    np.testing.assert_array_equal(rule.lrs(metrics), [state.lr for state in states[:-1]])
    np.testing.assert_array_equal(rule.factors(metrics)[1:], factors[:-1])
    for k in range(len(metrics) + 1):
        state = through_json(states[k])
        assert state == states[k]
        for t in range(k, len(metrics)):
            factor, state = rule.observe(state, metrics[t])
            assert (factor, state) == (factors[t], states[t + 1])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_a_rule_is_a_frozen_value(rule: FeedbackRule[Any]) -> None:
    assert rule == dataclasses.replace(rule)
    assert hash(rule) == hash(dataclasses.replace(rule))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.peak = 2.0
    assert not hasattr(rule, "__dict__")


@pytest.mark.parametrize("rule", [Plateau(0.5, 1, min_lr=0.1), Greedy(0.7, 0, max_lr=3.0), Stall(0.5, 10)])
def test_peak_one_means_factors_and_fits_any_peak(rule: FeedbackRule[Any]) -> None:
    metrics = wobbly(60)
    np.testing.assert_array_equal(rule.factors(metrics), rule.lrs(metrics))
    np.testing.assert_array_equal(rule.lrs(metrics, peak=0.25), 0.25 * rule.factors(metrics))


def test_a_rule_with_its_own_peak_refuses_another() -> None:
    rule = Plateau(0.5, 1, min_lr=1e-3, peak=0.1)
    np.testing.assert_array_equal(rule.lrs([1.0] * 9, peak=0.1), rule.lrs([1.0] * 9))
    with pytest.raises(InvalidValueError, match="replace"):
        rule.lrs([1.0] * 9, peak=0.2)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("metric", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_is_never_a_quiet_bad_epoch(rule: FeedbackRule[Any], metric: float) -> None:
    state = rule.init()
    with pytest.raises(InvalidValueError, match="diverged"):
        rule.observe(state, metric)
    _, after = dataclasses.replace(rule, nan="ignore").observe(state, metric)
    warming = getattr(rule, "warmup_steps", 0) > 0
    assert after == dataclasses.replace(state, step=1, lr=after.lr if warming else state.lr)


@pytest.mark.parametrize("metric", ["0.3", True, None, [1.0]])
def test_a_metric_is_a_number(metric: Any) -> None:
    with pytest.raises(InvalidValueError, match="real number"):
        Plateau().observe(Plateau().init(), metric)


def test_worse_counts_and_leaves_no_mark() -> None:
    plateau, greedy = Plateau(0.5, patience=1, nan="worse"), Greedy(0.5, patience=1, window=3, nan="worse")
    for bad in (math.nan, math.inf, -math.inf):
        np.testing.assert_array_equal(plateau.factors([2.0, bad, bad, 1.0]), [1, 1, 1, 0.5])
        _, state = greedy.observe(GreedyState(1, 1.0, 2.0, window=(2.0,), total=2.0), bad)
        assert state == GreedyState(2, 1.0, 2.0, bad=1, window=(2.0,), total=2.0)


def test_a_state_of_another_rule_is_refused() -> None:
    for rule in RULES:
        for other in RULES:
            if type(rule) is not type(other):
                with pytest.raises(ResumeError, match=type(rule.init()).__name__):
                    rule.observe(other.init(), 1.0)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (PlateauState, {"step": -1, "lr": 1.0}),
        (PlateauState, {"step": 1.5, "lr": 1.0}),
        (PlateauState, {"step": 1, "lr": math.nan}),
        (PlateauState, {"step": 1, "lr": 1.0, "best": "low"}),
        (PlateauState, {"step": 1, "lr": 1.0, "bad": -2}),
        (GreedyState, {"step": 1, "lr": 1.0, "window": 3.0}),
        (GreedyState, {"step": 1, "lr": 1.0, "window": [1.0, math.inf]}),
        (GreedyState, {"step": 1, "lr": 1.0, "total": None}),
        (StallState, {"step": 1, "lr": 1.0, "recent": ["1"]}),
        (StallState, {"step": 1, "lr": 1.0, "kind": "stuck"}),
    ],
)
def test_a_saved_state_is_checked(kind: type, fields: dict[str, Any]) -> None:
    with pytest.raises(DwindleError):
        kind(**fields)


@pytest.mark.parametrize(
    ("kind", "fields", "word"),
    [
        *[(kind, {"factor": bad}, "factor") for kind in (Plateau, Greedy, Stall) for bad in (0.0, 1.0, -1, "half")],
        *[(kind, {"peak": bad}, "peak") for kind in (Plateau, Greedy, Stall) for bad in (0.0, -1.0, math.inf)],
        *[(kind, {"min_lr": -1e-9}, "min_lr") for kind in (Plateau, Greedy, Stall)],
        *[(kind, {"eps": -1e-9}, "eps") for kind in (Plateau, Greedy, Stall)],
        *[(kind, {"mode": "lowest"}, "mode") for kind in (Plateau, Greedy, Stall)],
        *[(kind, {"nan": "skip"}, "nan") for kind in (Plateau, Greedy, Stall)],
        *[(kind, {"patience": bad}, "patience") for kind in (Plateau, Greedy) for bad in (-1, 1.5, True)],
        *[(kind, {"cooldown": -1}, "cooldown") for kind in (Plateau, Greedy)],
        *[(kind, {"threshold": -0.1}, "threshold") for kind in (Plateau, Greedy)],
        *[(kind, {"threshold_mode": "relative"}, "threshold_mode") for kind in (Plateau, Greedy)],
        (Plateau, {"threshold": 1.0}, "threshold"),
        (Plateau, {"warmup_steps": -1}, "warmup_steps"),
        (Plateau, {"warmup_lr": -1.0}, "warmup_lr"),
        (Greedy, {"warmup": -1}, "warmup"),
        (Greedy, {"window": 0}, "window"),
        (Greedy, {"reset_after": 0}, "reset_after"),
        (Greedy, {"min_lr": 0.5, "max_lr": 0.4}, "max_lr"),
        (Stall, {"window": 9}, "window"),
        (Stall, {"rest": 3}, "rest"),
        (Stall, {"every": 0}, "every"),
        (Stall, {"level": 0.0}, "level"),
        (Stall, {"level": 0.5}, "level"),
        (Stall, {"margin": 0.0}, "margin"),
        (Stall, {"cut_on": ()}, "cut_on"),
        (Stall, {"cut_on": "flat"}, "cut_on"),
        (Stall, {"cut_on": ("falling",)}, "cut_on"),
        (Stall, {"cut_on": ("oscilating",)}, "oscillating"),
        (Stall, {"nan": "worse"}, "nan"),
    ],
)
def test_bad_parameters_are_refused_when_the_rule_is_built(kind: type, fields: dict[str, Any], word: str) -> None:
    with pytest.raises((InvalidValueError, UnknownNameError), match=word):
        kind(**fields)


# --- plateau and greedy, by hand --------------------------------------------------------------------------------------


def test_eps_and_floor() -> None:
    constant = [1.0] * 6
    np.testing.assert_array_equal(Plateau(0.5, 0, eps=0.2).factors(constant), [1, 1, 0.5, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal(Plateau(0.5, 0, eps=0.5).factors(constant), [1.0] * 6)  # by eps exactly: not made
    np.testing.assert_array_equal(Plateau(0.5, 0, min_lr=0.3).factors(constant), [1, 1, 0.5, 0.3, 0.3, 0.3])
    np.testing.assert_array_equal(Plateau(0.5, 0, min_lr=2.0).factors(constant), [1.0] * 6)


def test_equal_to_the_bound_is_not_better() -> None:
    for rule in (Plateau(0.5, 0, threshold=0.0), Plateau(0.5, 0, threshold=0.25, threshold_mode="abs")):
        np.testing.assert_array_equal(rule.factors([1.0, 1.0 - rule.threshold, 0.0]), [1, 1, 0.5])
        rising = dataclasses.replace(rule, mode="max")
        np.testing.assert_array_equal(rising.factors([1.0, 1.0 + rule.threshold, 9.0]), [1, 1, 0.5])


def test_cooldown_metrics_are_not_counted_but_may_be_best() -> None:
    rule = Plateau(0.5, patience=0, cooldown=2)
    np.testing.assert_array_equal(rule.factors([3.0, 3.0, 3.0, 1.0, 2.0, 2.0]), [1, 1, 0.5, 0.5, 0.5, 0.25])


def test_warmup_climbs_without_judging() -> None:
    rule = Plateau(0.5, patience=0, warmup_steps=4, warmup_lr=0.2)
    np.testing.assert_allclose(rule.factors([1.0, 9, 9, 9, 5, 5, 5]), [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.5], rtol=1e-15)


def test_greedy_begins_anew_after_so_many_cuts_at_its_floor() -> None:
    rule = Greedy(0.5, patience=0, min_lr=0.5, reset_after=2, cooldown=1)
    np.testing.assert_array_equal(rule.factors([1.0, 1.0, 1.0, 1.0, 1.0, 1.0]), [1, 1, 0.5, 0.5, 1.0, 1.0])
    _, state = rule.observe(GreedyState(9, 0.5, best=1.0, floor_cuts=1), 1.0)
    assert state == GreedyState(10, 1.0, best=None, cooldown_left=1)
    _, state = rule.observe(
        GreedyState(9, 0.5, best=1.0, floor_cuts=1), 0.5
    )  # a rise in between starts the count again
    assert state == GreedyState(10, 1.0, best=0.5, floor_cuts=0)
    never = dataclasses.replace(rule, reset_after=None)
    assert never.factors([1.0] * 40)[-1] == 0.5


def test_groups_under_one_greedy_begin_anew_only_together() -> None:
    rules = [Greedy(0.5, patience=0, min_lr=floor, reset_after=1, peak=0.8) for floor in (0.4, 0.1)]
    states, seen = [rule.init() for rule in rules], []
    for _ in range(5):
        _, states = observe_together(rules, states, 1.0)
        seen.append(tuple(state.lr for state in states))
    assert seen == [(0.8, 0.8), (0.4, 0.4), (0.4, 0.2), (0.8, 0.8), (0.8, 0.8)]
    alone = rules[0].lrs([1.0] * 3)
    np.testing.assert_array_equal(alone, [0.8, 0.8, 0.8])  # by itself it begins anew with its first cut


# --- the verdict ------------------------------------------------------------------------------------------------------

SIMULATIONS = 400


def most(rate: float, n: int = SIMULATIONS) -> int:
    """The count that a true ``rate`` exceeds once in a thousand times."""
    return int(binom.ppf(0.999, n, rate))


def noise(rng: np.random.Generator, kind: str, n: int) -> np.ndarray[Any, Any]:
    """Unit standard deviation: white, correlated (AR(1), 0.5), or heavy-tailed (t with 3 degrees of freedom)."""
    if kind == "correlated":
        return lfilter([math.sqrt(0.75)], [1.0, -0.5], rng.standard_normal(n + 50))[50:]
    return rng.standard_t(3, n) / math.sqrt(3) if kind == "heavy" else rng.standard_normal(n)


def verdicts(series: Any, seed: int, n: int = SIMULATIONS) -> list[Verdict]:
    rng = np.random.default_rng(seed)
    return [verdict(series(rng)) for _ in range(n)]


@pytest.mark.parametrize("kind", ["white", "correlated", "heavy"])
@pytest.mark.parametrize("fall", [1.0, 2.0, 4.0])
def test_a_falling_line_is_rarely_called_stalled(kind: str, fall: float) -> None:
    """At most level/2 flat + level/10 oscillating, at falls of one, two and four noise deviations a window."""
    line = -fall * np.linspace(0, 1, 40)
    found = verdicts(lambda rng: line + noise(rng, kind, 40), seed=1)
    kinds = Counter(v.kind for v in found)
    assert kinds["flat"] + kinds["oscillating"] <= most(0.03)
    covered = sum(v.slope_interval[0] <= -fall / 39 <= v.slope_interval[1] for v in found)
    assert SIMULATIONS - covered <= most(0.05)
    if kind != "correlated" and fall == 4.0:
        assert kinds["falling"] >= 0.98 * SIMULATIONS


@pytest.mark.parametrize("kind", ["white", "correlated", "heavy"])
def test_noise_that_stands_still_is_flat_or_noisy(kind: str) -> None:
    kinds = Counter(v.kind for v in verdicts(lambda rng: noise(rng, kind, 100), seed=2))
    assert kinds["falling"] <= most(0.025)
    assert kinds["rising"] <= most(0.025)
    assert kinds["oscillating"] <= most(0.005)
    assert kinds["flat"] > (0.15 if kind == "correlated" else 0.55) * SIMULATIONS


@pytest.mark.law
@settings(max_examples=200, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e3), st.integers(10, 80), st.booleans())
def test_a_rattle_between_two_values_is_always_seen(low: float, gap: float, n: int, low_first: bool) -> None:
    high = low + gap * max(abs(low), 1e-3)
    pair = (low, high) if low_first else (high, low)
    found = verdict([pair[i % 2] for i in range(n)])
    assert found.kind == "oscillating"
    assert found.period == 2.0
    assert found.amplitude == pytest.approx((high - low) / 2, rel=1e-6)
    assert found.noise <= 1e-9 * (high - low)


@pytest.mark.parametrize("n", [600, 1024, 2000])
def test_long_metrics_whose_blocks_are_all_alike(n: int) -> None:
    still = verdict(np.append(2.0, np.ones(n)))  # the first is left over from the blocks
    assert (still.kind, still.slope, still.slope_interval, still.p_values["trend"]) == ("flat", 0.0, (0.0, 0.0), 1.0)
    rattle = verdict(np.arange(n) % 2)
    assert (rattle.kind, rattle.period, rattle.slope) == ("oscillating", 2.0, 0.0)


@pytest.mark.parametrize(("spread", "n", "share"), [(0.3, 20, 0.99), (0.5, 40, 0.99), (1.0, 100, 0.98)])
def test_a_noisy_rattle_is_seen(spread: float, n: int, share: float) -> None:
    found = verdicts(lambda rng: (-1.0) ** np.arange(n) + spread * rng.standard_normal(n), seed=3)
    rattles = [v for v in found if v.kind == "oscillating"]
    assert len(rattles) >= share * SIMULATIONS
    assert np.median([v.amplitude for v in rattles]) == pytest.approx(1.0, rel=0.1)
    assert np.median([v.noise for v in rattles]) == pytest.approx(spread, rel=0.15)


def test_a_longer_cycle_is_seen_with_its_period() -> None:
    found = verdicts(
        lambda rng: np.sin(2 * np.pi * (np.arange(100) + rng.uniform(0, 8)) / 8) + noise(rng, "white", 100) / 2, 4
    )
    assert sum(v.kind == "oscillating" for v in found) >= 0.99 * SIMULATIONS
    assert np.median([v.period or 0 for v in found]) == pytest.approx(8.0, rel=0.02)


def test_a_rattle_that_still_falls_is_falling() -> None:
    t = np.arange(40)
    found = verdict(1.0 - 0.02 * t + 0.1 * (-1.0) ** t)
    assert found.kind == "falling"
    assert found.p_values["oscillation"] < 1e-6
    assert found.slope == pytest.approx(-0.02, rel=0.1)


@pytest.mark.parametrize("n", [12, 40, 600, 1500])
def test_smooth_curves(n: int) -> None:
    u = np.linspace(0, 1, n)
    for curve in (np.exp(-3 * u), 1 / (1 + 5 * u), 2 - u, -np.sqrt(u), 1 / (1 + np.exp(20 * (u - 0.5)))):
        assert verdict(curve).kind == "falling"
        assert verdict(-curve).kind == "rising"
    assert verdict((u - 0.5) ** 2).kind == "noisy"
    assert verdict(np.full(n, 0.3)).kind == "flat"
    assert verdict(np.full(n, 0.0)).kind == "flat"
    assert verdict(np.where(np.arange(n) % 2, 0.3, np.nextafter(0.3, 1))).kind == "flat"  # rounding is no rattle


def test_spikes_neither_make_a_stall_nor_hide_a_rattle() -> None:
    rng = np.random.default_rng(5)
    still, falling, rattling = Counter[str](), Counter[str](), Counter[str]()
    for _ in range(SIMULATIONS):
        spike = rng.standard_normal(40) + 30.0 * (np.arange(40) == rng.integers(40))
        still[verdict(spike).kind] += 1
        falling[verdict(spike - np.linspace(0, 1, 40)).kind] += 1
        rattling[verdict(spike + 3 * (-1.0) ** np.arange(40)).kind] += 1
    assert still["falling"] <= most(0.025)
    assert still["oscillating"] <= most(0.005)
    assert falling["flat"] + falling["oscillating"] <= most(0.03)
    assert rattling["oscillating"] >= 0.95 * SIMULATIONS


@pytest.mark.parametrize("n", [12, 30, 80])
def test_p_values_of_white_noise_are_what_they_say(n: int) -> None:
    rng, smooth = np.random.default_rng(7), _polynomials(n)
    rests = [y - smooth @ (smooth.T @ y) for y in rng.standard_normal((4000, n))]
    for level in (0.5, 0.05):
        found = sum(_p_alternation(rest, smooth) <= level for rest in rests)
        assert most(1 - level, 4000) >= 4000 - found >= 4000 - most(level, 4000)
    assert sum(_p_cycle(rest) <= 0.05 for rest in rests) <= most(0.05, 4000)


@pytest.mark.parametrize("r", [0.0, 0.4, 0.7])
def test_autocorrelation_is_freed_of_most_of_its_bias(r: float) -> None:
    rng, smooth = np.random.default_rng(8), _polynomials(40)
    found = []
    for _ in range(2000):
        y = lfilter([1.0], [1.0, -r], rng.standard_normal(90))[50:]
        found.append(_lag_one(y - smooth @ (smooth.T @ y)))
    assert np.mean(found) == pytest.approx(r, abs=0.02 + 0.06 * r)


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(10, 60), st.floats(-3, 3), st.sampled_from([2.0**-20, 0.5, 1024.0]))
def test_the_unit_of_the_metric_does_not_matter(seed: int, n: int, slope: float, unit: float) -> None:
    y = slope * np.linspace(0, 1, n) + np.random.default_rng(seed).standard_normal(n)
    one, other, mirrored = verdict(y), verdict(unit * y), verdict(-y)
    assert other.kind == one.kind
    assert other.slope == unit * one.slope
    assert other.p_values == one.p_values
    assert mirrored.slope == pytest.approx(-one.slope, rel=1e-9, abs=1e-12)
    assert mirrored.p_values["trend"] == pytest.approx(one.p_values["trend"], rel=1e-9)
    assert (one.kind == "falling") == (
        mirrored.p_values["trend"] <= 0.05 and mirrored.kind in ("rising", "oscillating")
    )
    assert one.slope_interval[0] <= one.slope <= one.slope_interval[1]


def test_few_metrics_are_too_short_and_bad_ones_are_refused() -> None:
    assert verdict([1.0] * 9).kind == "too short"
    assert verdict([]).kind == "too short"
    for bad in ([1.0, math.nan] * 9, [[1.0] * 10] * 10, ["a"] * 12):
        with pytest.raises(InvalidValueError):
            verdict(bad)
    for fields in ({"level": 0.0}, {"level": 0.5}, {"margin": 0.0}, {"margin": math.nan}):
        with pytest.raises(InvalidValueError):
            verdict([1.0] * 12, **fields)
    assert {verdict([1.0] * 9).kind, verdict([1.0] * 10).kind} <= set(KINDS)


# --- the rule that rests on it ----------------------------------------------------------------------------------------


def first_cut(rule: Stall, metrics: list[float]) -> int | None:
    state = rule.init()
    for metric in metrics:
        _, state = rule.observe(state, metric)
        if state.cuts:
            return state.step
    return None


def test_stall_cuts_the_textbooks_rattle_at_its_first_look_and_rests() -> None:
    rule = Stall(0.5, window=10)
    np.testing.assert_array_equal(rule.factors([0.5, 0.42] * 16), [1.0] * 10 + [0.5] * 10 + [0.25] * 10 + [0.125] * 2)
    rested = rule.factors([0.5, 0.42] * 16) - dataclasses.replace(rule, rest=12).factors([0.5, 0.42] * 16)
    assert rested[9] == 0.0
    assert rested[10] == rested[11] == -0.5
    assert rested[12] == 0.0
    assert first_cut(Stall(window=24, every=1), [0.5, 0.42] * 40) == 24
    assert first_cut(Stall(window=24, every=1, rest=31), [0.5, 0.42] * 40) == 31
    assert first_cut(dataclasses.replace(rule, cut_on=("flat",)), [0.5, 0.42] * 40) is None


def test_stall_does_not_cut_a_rattle_that_still_falls() -> None:
    falling = [1.0 - 0.01 * t + 0.03 * (-1) ** t for t in range(80)]
    assert first_cut(Stall(window=20), falling) is None
    stalled = [*falling, *[0.2 + 0.03 * (-1) ** t for t in range(30)]]
    found, eager = first_cut(Stall(window=20), stalled), first_cut(Stall(window=20, every=1), stalled)
    assert found is not None
    assert eager is not None
    assert 85 <= eager <= found <= 110
    assert found % 5 == 0  # it looks after 20, 25, 30, ... metrics
    assert found - eager < 5
    assert first_cut(Stall(window=20, mode="max"), [-x for x in falling]) is None


def test_stall_over_whole_runs() -> None:
    """Over 100 metrics and all their looks: falls of two noise deviations a window are left alone, standing is cut."""
    rule = Stall(window=40)
    rng = np.random.default_rng(6)
    fall = -2.0 * np.arange(100) / 39
    wrong = sum(first_cut(rule, (fall + rng.standard_normal(100)).tolist()) is not None for _ in range(SIMULATIONS))
    assert wrong <= most(0.05)
    right = sum(first_cut(rule, rng.standard_normal(200).tolist()) is not None for _ in range(100))
    assert right >= 98
