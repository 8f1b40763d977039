"""attach with a metric and in flight: feedback rules, extending, cooling down, branching, and resuming all of it."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dwindle as dw
from dwindle import foreign
from dwindle.errors import InvalidValueError, ResumeError, UnknownNameError
from dwindle.replan import cooldown, extended
from dwindle.schedule.feedback import FeedbackRule
from dwindle.torch import attach

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = ("torch_ReduceLROnPlateau", "hf_greedy", "hf_reduce_lr_on_plateau", "timm_PlateauLRScheduler")
DECAYS = [dw.l2(0.3), dw.decoupled(0.7), dw.independent(0.05), dw.corrected(0.7), dw.decoupled(0.7, cautious=True)]
RULES = {
    "plateau": dw.plateau(0.5, patience=0, min_lr=1e-3, peak=0.05),
    "plateau of factors": dw.plateau(0.7, patience=1, cooldown=1, nan="ignore"),
    "warming up": dw.plateau(0.5, patience=0, warmup_steps=3, warmup_lr=1e-3, peak=0.05, observes_first=True),
    "greedy": dw.greedy(0.8, patience=0, max_lr=2.0, window=3),
    "stall": dw.stall(0.5, window=10, every=1, cut_on=("noisy", "flat", "oscillating")),
}
PLAN = dw.Plan(0.05, dw.warmup(3).then(dw.cosine(end=0.1)), dw.decoupled(0.5), groups=(dw.Group("b", "bias", 2.0),))
STEPS = 14


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensors(seed: int = 0) -> dict[str, nn.Parameter]:
    rng = np.random.default_rng(seed)
    return {n: nn.Parameter(torch.tensor(rng.normal(size=shape))) for n, shape in (("kernel", (4, 3)), ("bias", (3,)))}


def gradients(steps: int) -> list[dict[str, torch.Tensor]]:
    rng = np.random.default_rng(7)
    return [{n: torch.tensor(rng.normal(size=tuple(p.shape))) for n, p in tensors().items()} for _ in range(steps)]


def update(
    optimizer: Any, weights: dict[str, nn.Parameter], grad: dict[str, torch.Tensor] | None = None
) -> list[float]:
    """Do one step, of zero gradients by default; return the lr that each group had in it."""
    for n, p in weights.items():
        p.grad = torch.zeros_like(p) if grad is None else grad[n].clone()
    optimizer.step()
    lrs = [float(group["lr"]) for group in optimizer.param_groups]
    optimizer.zero_grad()
    return lrs


def sgd(weights: dict[str, nn.Parameter] | None = None, **options: Any) -> torch.optim.SGD:
    return torch.optim.SGD((tensors() if weights is None else weights).items(), **options)


def saved(optimizer: Any) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


# The peers' rates


def golden() -> list[Any]:
    if not GOLDEN.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"the golden values are not at {GOLDEN}"))]
    read = [json.loads((GOLDEN / f"schedule_{name}.json").read_text())["cases"] for name in FILES]
    return [pytest.param(case, id=case["id"]) for cases in read for case in cases]


@pytest.mark.parametrize("case", golden())
def test_a_real_optimiser_has_the_peers_rates_bit_for_bit(case: dict[str, Any]) -> None:
    groups = case.get("lrs_by_group", [case["lrs"]])
    for base_lr, want in zip(case.get("base_lrs", [case["base_lr"]]), groups, strict=True):
        rule = foreign.read(case["peer"], case["name"], case["params"], base_lr=base_lr)
        weights = {"w": nn.Parameter(torch.ones(1, dtype=torch.float64))}
        optimizer = sgd(weights, lr=base_lr)
        controller = attach(optimizer, rule, len(want))
        got = []
        for t, metric in enumerate(case["metric"]):
            if rule.observes_first and t:
                controller.observe(metric)
            got += update(optimizer, weights)
            if not rule.observes_first:
                controller.observe(torch.tensor(metric, dtype=torch.float64))
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=0)
        np.testing.assert_array_equal(got, want)
        assert len(set(got)) > 2


def test_torchs_own_scheduler_beside_it_live() -> None:
    metrics = (1 + np.random.default_rng(0).normal(size=60) * 0.3).tolist()
    params = {"factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": 1e-4}
    theirs = torch.optim.SGD(tensors().values(), lr=0.2)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **params)
    weights = tensors()
    ours = sgd(weights, lr=0.2)
    controller = attach(ours, foreign.read("torch", "ReduceLROnPlateau", params, base_lr=0.2), 60)
    for metric in metrics:
        assert update(ours, weights)[0] == theirs.param_groups[0]["lr"]
        scheduler.step(metric)
        controller.observe(metric)


# What a factor does to the rate and to the decay


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
@pytest.mark.parametrize("decay", DECAYS, ids=str)
@pytest.mark.parametrize(
    "rule", [dw.plateau(0.5, patience=0), dw.plateau(0.5, patience=0, peak=0.2)], ids=["1", "peak"]
)
def test_every_convention_reads_the_factor(kind: Any, decay: Any, rule: Any) -> None:
    """With zero gradients w(T) = w(0)·Π(1 - x), x worked out here from the definitions."""
    plan = dw.Plan(0.2, dw.linear(end=0.5), decay)
    weights = tensors()
    start = {n: p.detach().clone() for n, p in weights.items()}
    optimizer = kind(weights.items())
    controller = attach(optimizer, plan, 12, feedback=rule)
    left = 1.0
    for t in range(12):
        f, factor = 1.0 - 0.5 * t / 12, 0.5 ** max(0, (t + 3) // 4 - 1)
        lr, lam = 0.2 * factor * f, decay.weight_decay
        share = {"l2": 0.0, "decoupled": lr * lam, "independent": factor * f * lam, "corrected": lr * factor * f * lam}
        left *= 1.0 - share[decay.convention]
        rates = controller.rates("kernel")
        assert rates.lr == pytest.approx(lr, rel=1e-15)
        assert rates.shrink == pytest.approx(1 - share[decay.convention], rel=1e-15)
        assert rates.l2 == (lam if decay.convention == "l2" else 0.0)
        assert controller.lr == rates.lr
        assert update(optimizer, weights)[0] == rates.lr
        if t % 4 == 0:  # any number of updates between two evaluations
            assert controller.observe(1.0) == 0.5 ** max(0, (t + 4) // 4 - 1)
    assert torch.equal(weights["bias"], start["bias"])
    if decay.convention != "l2":
        torch.testing.assert_close(weights["kernel"].detach(), start["kernel"] * left, rtol=1e-12, atol=0)
    elif kind is torch.optim.SGD:
        assert (weights["kernel"].detach() / start["kernel"]).max() < 0.8


def test_floors_are_those_of_a_parameter_of_scale_one_and_groups_keep_their_proportion() -> None:
    plan = dw.Plan(0.1, groups=(dw.Group("b", "bias", 3.0),))
    optimizer = sgd()
    controller = attach(optimizer, plan, 20, feedback=dw.plateau(0.1, patience=0, min_lr=0.02, peak=0.1))
    for metric in (1.0, 1.0, 1.0, 1.0):
        controller.observe(metric)
    assert controller.lr == 0.02
    assert controller.rates("bias").lr == pytest.approx(0.06, rel=1e-15)
    assert sorted(float(g["lr"]) for g in optimizer.param_groups) == pytest.approx([0.02, 0.06], rel=1e-15)


def test_a_tensor_rate_is_filled_in_place() -> None:
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items(), lr=torch.tensor(1.0), foreach=False)
    controller = attach(optimizer, dw.Plan(0.1), 5, feedback=dw.plateau(0.5, patience=0))
    held = [g["lr"] for g in optimizer.param_groups]
    controller.observe(1.0)
    controller.observe(1.0)
    assert all(g["lr"] is t for g, t in zip(optimizer.param_groups, held, strict=True))
    assert float(held[0]) == np.float32(0.05)


def test_a_group_added_before_an_evaluation_is_taken_in() -> None:
    weights = tensors()
    optimizer = torch.optim.SGD([("kernel", weights["kernel"])])
    controller = attach(optimizer, dw.Plan(0.1), 5, feedback=dw.plateau(0.5, patience=0))
    optimizer.add_param_group({"params": [("bias", weights["bias"])], "lr": 0.1})
    controller.observe(1.0)
    controller.observe(1.0)
    assert [g["lr"] for g in optimizer.param_groups] == [0.05, 0.05]


# The metric


@pytest.mark.parametrize("metric", [2.0, 2, np.float32(2), torch.tensor(2.0), torch.tensor([2], dtype=torch.int64)])
@pytest.mark.parametrize("reduce", ["mean", "none"])
def test_a_metric_is_a_number_or_a_tensor_of_one(metric: Any, reduce: str) -> None:
    controller = attach(sgd(), dw.Plan(0.1), 5, feedback=dw.plateau(0.5))
    assert controller.observe(metric, reduce=reduce) == 1.0
    assert controller.state_dict()["feedback"]["state"]["best"] == 2.0


@pytest.mark.parametrize("metric", [math.nan, math.inf, "0.3", None, True, torch.ones(2), torch.tensor(True)])
def test_a_metric_that_is_refused_changes_nothing(metric: Any) -> None:
    optimizer = sgd()
    controller = attach(optimizer, PLAN, 5, feedback=RULES["plateau"])
    controller.observe(1.0)
    before, groups = controller.state_dict(), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(InvalidValueError, match="metric"):
        controller.observe(metric)
    assert controller.state_dict() == before
    assert optimizer.state_dict() == groups


def test_more_bad_input() -> None:
    with pytest.raises(InvalidValueError, match=r"no feedback rule was given.*feedback=Plateau"):
        attach(sgd(), PLAN, 5).observe(1.0)
    controller = attach(sgd(), PLAN, 5, feedback=RULES["plateau"])
    with pytest.raises(UnknownNameError, match="did you mean 'mean'"):
        controller.observe(1.0, reduce="means")
    with pytest.raises(InvalidValueError, match=r"peak=0.05.*replace\(rule, peak"):
        attach(sgd(), dw.Plan(0.1), 5, feedback=RULES["plateau"])
    with pytest.raises(InvalidValueError, match="feedback must be a rule"):
        attach(sgd(), PLAN, 5, feedback=0.5)
    with pytest.raises(InvalidValueError, match="peak 0"):
        attach(sgd(), dw.Plan(0.0), 5, feedback=dw.plateau())
    with pytest.raises(InvalidValueError, match="give a Plan and the rule"):
        attach(sgd(), RULES["plateau"], 5, feedback=RULES["plateau"])
    for options in ({"lr": 0.3}, {"lr": torch.tensor(0.3)}):
        with pytest.raises(InvalidValueError, match=r"means a learning rate of 1.*Plan\(0.3\), horizon, feedback=rule"):
            attach(sgd(**options), dw.plateau(), 5)
    assert attach(sgd(lr=1.0), dw.plateau(), 5).lr == 1.0
    assert attach(sgd(lr=0.3), RULES["plateau"], 5).lr == 0.05


# Resuming a rule


def restored(order: str, state: dict[str, Any], plan: Any, rule: Any, **options: Any) -> tuple[Any, Any, Any]:
    """Return fresh (weights, optimiser, controller), the states loaded in ``order``: attach, optimiser, controller."""
    weights = {n: nn.Parameter(p.clone()) for n, p in state["weights"].items()}
    optimizer = torch.optim.AdamW(weights.items())
    controller: Any = None
    for letter in order:
        if letter == "a":
            controller = attach(optimizer, plan, STEPS, feedback=rule, **options)
        elif letter == "o":
            optimizer.load_state_dict(state["optimizer"])
        else:
            controller.load_state_dict(json.loads(state["controller"]))
    return weights, optimizer, controller


def snapshot(weights: Any, optimizer: Any, controller: Any) -> dict[str, Any]:
    return {
        "weights": {n: p.detach().clone() for n, p in weights.items()},
        "optimizer": saved(optimizer),
        "controller": json.dumps(controller.state_dict(), allow_nan=False),
    }


ORDERS = ("aoc", "oac", "aco", "ao", "oa")
metrics = st.lists(st.integers(1, 30).map(lambda k: k / 10), min_size=0, max_size=3)


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(RULES)), st.lists(metrics, min_size=STEPS, max_size=STEPS),
    st.lists(st.tuples(st.integers(0, STEPS), st.sampled_from(ORDERS)), min_size=1, max_size=4),
)  # fmt: skip
def test_killed_anywhere_and_resumed_in_any_order_it_is_the_same_run(
    name: str, evaluations: list[list[float]], kills: list[tuple[int, str]]
) -> None:
    rule, grads = RULES[name], gradients(STEPS)

    def run(stops: dict[int, str]) -> tuple[list[Any], Any, Any]:
        weights = tensors()
        optimizer = torch.optim.AdamW(weights.items())
        controller, path = attach(optimizer, PLAN, STEPS, feedback=rule), []
        for t in range(STEPS + 1):
            if t in stops:
                state = snapshot(weights, optimizer, controller)
                weights, optimizer, controller = restored(stops[t], state, PLAN, rule)
            if t < STEPS:
                path.append(update(optimizer, weights, grads[t]))
                path += [controller.observe(metric) for metric in evaluations[t]]
        return path, weights, controller.state_dict()

    whole, broken = run({}), run(dict(kills))
    assert whole[0] == broken[0]
    assert all(torch.equal(whole[1][n], broken[1][n]) for n in whole[1])
    assert whole[2] == broken[2]


def test_a_rule_that_was_never_asked_resumes_too() -> None:
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, PLAN, STEPS, feedback=RULES["stall"])
    for order in ORDERS:
        _, _, other = restored(order, snapshot(weights, optimizer, controller), PLAN, RULES["stall"])
        assert other.state_dict() == controller.state_dict()


def at(step: int, rule: Any, cuts: int = 1, plan: Any = PLAN) -> dict[str, Any]:
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, plan, STEPS, feedback=rule)
    for grad in gradients(step):
        update(optimizer, weights, grad)
    if rule is not None:
        for _ in range(cuts + 1):
            controller.observe(1.0)
    return snapshot(weights, optimizer, controller)


HALF, OTHER = dw.plateau(0.5, patience=0), dw.plateau(0.5, patience=3)
RULE_CHANGES = [
    (HALF, OTHER, "its Plateau had patience=0, this one 3"),
    (HALF, dw.greedy(), "where it had the rule Plateau this one has the rule Greedy"),
    (HALF, None, "where it had the rule Plateau this one has no rule"),
    (None, HALF, "where it had no rule this one has the rule Plateau"),
]


@pytest.mark.parametrize(("old", "new", "named"), RULE_CHANGES)
@pytest.mark.parametrize("order", ORDERS)
def test_a_changed_rule_is_named(old: Any, new: Any, named: str, order: str) -> None:
    with pytest.raises(ResumeError, match=f"at step 4, had another plan: {named}"):
        restored(order, at(4, old), PLAN, new)


@pytest.mark.parametrize("order", ["oa", "ao"])
def test_a_changed_rule_goes_on_as_told(order: str) -> None:
    for on_change, step in (("keep", 4), ("rescale", 4), ("restart", 0)):
        _, _, controller = restored(order, at(4, HALF), PLAN, OTHER, on_change=on_change)
        assert controller.step == step
        state = controller.state_dict()["feedback"]["state"]
        assert (state["lr"], state["best"]) == ((1.0, None) if on_change == "restart" else (0.5, 1.0))
        for rule in (dw.greedy(), dw.plateau(0.5, patience=0, peak=0.05)):  # their numbers mean something else
            _, _, controller = restored(order, at(4, HALF), PLAN, rule, on_change=on_change)
            assert controller.rates() == PLAN.resolve(STEPS).rates(step)
        _, _, controller = restored(order, at(4, HALF), PLAN, None, on_change=on_change)
        assert controller.rates() == PLAN.resolve(STEPS).rates(step)


def test_states_of_before_there_were_rules_load_and_none_are_written_without() -> None:
    old = {"format": "dwindle-torch/1", "step": 3, "plan": str(PLAN), "horizon": {"steps": STEPS}}
    controller = attach(sgd(), PLAN, STEPS)
    controller.load_state_dict(old)
    assert controller.state_dict() == old
    ruled = attach(sgd(), PLAN, STEPS, feedback=HALF)
    with pytest.raises(ResumeError, match="had no rule"):
        ruled.load_state_dict(old)
    ruled.load_state_dict(old, on_change="keep")
    assert (ruled.step, ruled.lr) == (3, 0.05)


def changed(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    state = copy.deepcopy(state)
    *way, last = path.split(".")
    inner = state
    for key in way:
        inner = inner[key]
    if value is ...:
        del inner[last]
    else:
        inner[last] = value
    return state


TAMPERED = [
    ("feedback", 3, "feedback must be a mapping of rule and state"),
    ("feedback.rule", ..., "feedback must be a mapping"),
    ("feedback.rule", {"kind": "Plateau"}, "rule must be a mapping of kind and fields"),
    ("feedback.rule.fields", [], "fields must be a mapping"),
    ("feedback.state", None, "rule's state must be a mapping"),
    ("feedback.state.bad", ..., "rule's state must be a mapping"),
    ("feedback.state.bda", 1, "rule's state must be a mapping"),
    ("feedback.state.bad", -1, "bad must be at least 0"),
    ("feedback.state.lr", "0.1", "lr must be a real number"),
    ("feedback.state.best", math.nan, "best must be finite"),
    ("replanned", {}, "replanned must be a mapping of plan and horizon"),
    ("replanned.plan", "peak 0.05 | sinus", "'sinus' is not a schedule"),
    ("replanned.plan", 3, "plan must be text"),
    ("replanned.horizon", {"steps": 0}, "needs its length"),
    ("replanned.plan", "peak 0.5 | constant | decoupled 0.5", "is none that .* could have become"),
    ("replanned.plan", 'peak 0.05 | constant | l2 0.5 | group "b" "bias" times 2', "is none that"),
]


@pytest.mark.parametrize(("path", "value", "named"), TAMPERED)
def test_a_tampered_state_is_refused_and_nothing_changes(path: str, value: Any, named: str) -> None:
    controller = attach(sgd(), PLAN, STEPS, feedback=HALF)
    controller.extend(40)
    good = json.loads(json.dumps(controller.state_dict()))
    controller.load_state_dict(good)
    with pytest.raises(ResumeError, match=named):
        controller.load_state_dict(changed(good, path, value))
    assert controller.state_dict() == good


@dataclasses.dataclass(frozen=True)
class Count:
    step: int
    lr: float = 1.0


@dataclasses.dataclass(frozen=True)
class Every(FeedbackRule[Count]):
    """A rule of the user's own: halve at every n-th metric."""

    n: int = 2
    peak: float = 1.0

    def init(self) -> Count:
        return Count(0)

    def observe(self, state: Count, metric: Any) -> tuple[float, Count]:
        after = Count(state.step + 1, state.lr * (0.5 if (state.step + 1) % self.n == 0 else 1.0))
        return after.lr, after


def test_a_rule_of_the_users_own_works_and_resumes() -> None:
    state = at(3, Every(), cuts=2)
    for order in ORDERS:
        _, _, controller = restored(order, state, PLAN, Every())
        assert controller.observe(1.0) == 0.25
    with pytest.raises(ResumeError, match="its Every had n=2, this one 3"):
        restored("ao", state, PLAN, Every(3))

    class Bare(FeedbackRule[Any]):
        peak = 1.0

        def init(self) -> Any:
            return Count(0)

        def observe(self, state: Any, metric: Any) -> Any:
            return 1.0, state

    with pytest.raises(InvalidValueError, match="must be dataclasses"):
        attach(sgd(), PLAN, 5, feedback=Bare())


# Planning anew in flight


def test_the_run_follows_what_the_values_say() -> None:
    weights = tensors()
    optimizer = sgd(weights)
    controller = attach(optimizer, PLAN, STEPS)
    lrs = [update(optimizer, weights)[0] for _ in range(6)]
    longer = extended(PLAN, STEPS, 6, 30)
    said = controller.extend(30)
    assert (controller.plan, controller.horizon) == longer
    assert said == f"from update 6 (lr {controller.lr:g}) on: ends at 30 with lr 0.005, no longer at 14 with lr 0.005"
    lrs += [update(optimizer, weights)[0] for _ in range(9)]  # past the old horizon, and no warning
    cooled = cooldown(*longer, 15, 10, end=0.02, shape="linear")
    controller.cooldown_now(10, end=0.02, shape="linear")
    lrs += [update(optimizer, weights)[0] for _ in range(10)]
    assert lrs == cooled[0].lrs(cooled[1]).tolist()
    assert lrs[:6] == PLAN.lrs(STEPS)[:6].tolist()
    with pytest.warns(UserWarning, match="beyond the horizon of 25 steps"):
        assert update(optimizer, weights)[0] == pytest.approx(0.02 * 0.05)
    controller.extend(60) if controller.step < controller.horizon.steps else controller.cooldown_now(5, shape="linear")
    for _ in range(5):
        update(optimizer, weights)
    with pytest.warns(UserWarning, match="beyond the horizon of 31 steps"):
        update(optimizer, weights)


def test_a_factor_acts_on_top_of_what_is_planned_anew() -> None:
    weights = tensors()
    optimizer = sgd(weights)
    controller = attach(optimizer, PLAN, STEPS, feedback=HALF)
    for _ in range(8):
        update(optimizer, weights)
    before = controller.lr
    controller.observe(1.0)
    controller.observe(1.0)
    assert controller.lr == before / 2
    controller.cooldown_now(4, shape="linear")
    lrs = [update(optimizer, weights)[0] for _ in range(4)]
    np.testing.assert_allclose(lrs, before / 2 * np.array([1.0, 0.75, 0.5, 0.25]), rtol=1e-14)


SEVERAL = {"none": None, "plateau": HALF, "own peak": dw.plateau(0.5, patience=0, peak=0.05)}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("order", ORDERS)
def test_replanned_anywhere_killed_anywhere_the_unchanged_script_goes_on(order: str, name: str) -> None:
    rule, grads = SEVERAL[name], gradients(20)

    def do(t: int, controller: Any) -> None:
        if t == 5:
            controller.extend(30)
        if t == 9:
            controller.cooldown_now(6)
        if rule is not None and t % 3 == 0:
            controller.observe(1.0)

    def run(kill: int | None) -> tuple[list[Any], Any]:
        weights = tensors()
        optimizer = torch.optim.AdamW(weights.items())
        controller, path = attach(optimizer, PLAN, STEPS, feedback=rule), []
        for t in range(15):
            do(t, controller)
            if t == kill:
                state = snapshot(weights, optimizer, controller)
                weights, optimizer, controller = restored(order, state, PLAN, rule)
            path.append(update(optimizer, weights, grads[t]))
        return path, weights

    whole, last = run(None)
    assert len({lrs[0] for lrs in whole}) > 10
    for kill in range(15):
        path, weights = run(kill)
        assert path == whole, kill
        assert all(torch.equal(weights[n], last[n]) for n in last)


def replanned_state() -> tuple[dict[str, Any], Any]:
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, PLAN, STEPS)
    for grad in gradients(4):
        update(optimizer, weights, grad)
    controller.extend(40)
    return snapshot(weights, optimizer, controller), controller


@pytest.mark.parametrize("order", ORDERS)
def test_a_script_brought_up_to_date_may_give_the_plan_in_effect(order: str) -> None:
    state, first = replanned_state()
    for plan, run in ((PLAN, dw.Horizon(steps=STEPS)), (first.plan, first.horizon)):
        weights = tensors()
        optimizer = torch.optim.AdamW(weights.items())
        controller: Any = None
        for letter in order:
            if letter == "a":
                controller = attach(optimizer, plan, run)
            elif letter == "o":
                optimizer.load_state_dict(state["optimizer"])
            else:
                controller.load_state_dict(json.loads(state["controller"]))
        assert (controller.plan, controller.horizon, controller.step) == (first.plan, first.horizon, 4)
        assert ("replanned" in controller.state_dict()) == (plan is PLAN)


@pytest.mark.parametrize("order", ["ao", "oa"])
def test_a_truly_different_plan_is_still_refused_and_with_on_change_followed(order: str) -> None:
    state, _ = replanned_state()
    other = dataclasses.replace(PLAN, peak=0.3)
    with pytest.raises(ResumeError, match=r"'peak 0.05' this one has 'peak 0.3'"):
        restored(order, state, other, None)
    for on_change, step in (("keep", 4), ("rescale", round(4 * STEPS / 40)), ("restart", 0)):
        _, _, controller = restored(order, state, other, None, on_change=on_change)
        assert (controller.plan, controller.horizon.steps, controller.step) == (other, STEPS, step)
        assert controller.lr == other.lrs(STEPS)[step]
    # a changed rule alone leaves the course as it is
    _, _, controller = restored(order, state, PLAN, HALF, on_change="keep")
    assert controller.horizon.steps == 40


def test_the_controllers_own_state_wins_over_the_optimisers_copy_of_the_same_step() -> None:
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, PLAN, STEPS)
    for grad in gradients(4):
        update(optimizer, weights, grad)
    early = saved(optimizer)
    controller.extend(40)
    own = controller.state_dict()
    for order in ("oc", "co"):
        fresh = torch.optim.AdamW(tensors().items())
        second = attach(fresh, PLAN, STEPS)
        for letter in order:
            fresh.load_state_dict(early) if letter == "o" else second.load_state_dict(own)
        assert second.horizon.steps == 40, order
    update(optimizer, weights)
    controller.load_state_dict(own)
    update(optimizer, weights)
    optimizer.load_state_dict(early)  # another step than now: a real return
    assert (controller.step, controller.horizon.steps) == (4, STEPS)


def test_a_branch_cools_down_elsewhere_while_this_run_goes_on_untouched() -> None:
    plan, grads = dw.Plan(0.05, dw.warmup(3).then(dw.constant()), dw.decoupled(0.5)), gradients(STEPS)
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, plan, STEPS, feedback=HALF)
    for t in range(8):
        update(optimizer, weights, grads[t])
        controller.observe(float(t == 7))
    before = controller.state_dict()
    branch = json.dumps(controller.branch(4, shape="linear"))
    assert controller.state_dict() == before
    state = {**snapshot(weights, optimizer, controller), "controller": branch}
    top = controller.lr
    rest = [update(optimizer, weights, grads[t]) for t in range(8, STEPS)]
    assert rest == [[top] * len(rest[0])] * (STEPS - 8)
    for order in ("aoc", "oac", "aco"):
        others, second, cooling = restored(order, state, plan, HALF)
        lrs = [update(second, others, grads[8 + t])[0] for t in range(2)]
        again = snapshot(others, second, cooling)  # killed in the middle; now the optimiser's state alone will do
        others, second, cooling = restored("ao", again, plan, HALF)
        lrs += [update(second, others, grads[10 + t])[0] for t in range(2)]
        np.testing.assert_allclose(lrs, top * np.array([1.0, 0.75, 0.5, 0.25]), rtol=1e-14)
        assert cooling.horizon.steps == cooling.step == 12


@pytest.mark.parametrize("call", ["extend", "cooldown_now", "branch"])
def test_what_cannot_be_planned_anew_changes_nothing(call: str) -> None:
    custom = dw.Plan(0.05, dw.custom(lambda t: 1.0))
    long = dw.Plan(0.05, dw.table(np.linspace(0.1, 1, 2000).tolist()))
    for plan, named in ((custom, "saved as text"), (long, "saved as text.*20000")):
        weights = tensors()
        optimizer = sgd(weights)
        controller = attach(optimizer, plan, 50)
        update(optimizer, weights)  # at 0 nothing of the old schedule is left in a cooldown
        before = copy.deepcopy(optimizer.state_dict())
        with pytest.raises(InvalidValueError, match=named):
            getattr(controller, call)(100)
        assert optimizer.state_dict() == before
        assert controller.plan == plan
    controller = attach(sgd(), dw.Plan(0.05), 3)
    with pytest.raises(InvalidValueError, match=r"steps must be positive"):
        getattr(controller, call)(0)
    assert controller.horizon.steps == 3


def test_extending_a_run_that_has_ended_says_so() -> None:
    weights = tensors()
    optimizer = sgd(weights)
    controller = attach(optimizer, PLAN, 5)
    for _ in range(5):
        update(optimizer, weights)
    with pytest.raises(InvalidValueError, match="nothing is left of a run of 5 steps"):
        controller.extend(10)


def test_a_controller_that_has_let_go_touches_nothing() -> None:
    optimizer = sgd(lr=0.3)
    controller = attach(optimizer, PLAN, STEPS, feedback=HALF)
    state = controller.state_dict()
    controller.detach()
    with pytest.raises(InvalidValueError, match="attach anew"):
        controller.observe(1.0)
    with pytest.raises(InvalidValueError, match="attach anew"):
        controller.extend(40)
    with pytest.raises(InvalidValueError, match="attach anew"):
        controller.load_state_dict(state)
    assert [group["lr"] for group in optimizer.param_groups] == [0.3]


def test_units_are_those_of_the_run() -> None:
    run = dw.Horizon(epochs=2, steps_per_epoch=10, batch_size=4)
    controller = attach(sgd(), dw.Plan(0.05, dw.warmup("1ep").then(dw.cosine())), run)
    controller.extend("5ep")
    assert (controller.horizon.steps, controller.horizon.steps_per_epoch) == (50, 10)
    controller.extend(dw.Horizon(steps=70, steps_per_epoch=10))
    assert controller.horizon.steps == 70


# What torch does around an optimiser


def test_distributed_checkpoints_carry_the_rule_and_the_plan_in_effect() -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    def model() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))

    def learn(net: nn.Module, optimizer: Any) -> None:
        net(torch.ones(3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    first = model()
    optimizer = torch.optim.AdamW(first.parameters())
    plan = dw.Plan(0.05, dw.cosine(), dw.decoupled(0.1))
    controller = attach(optimizer, plan, 8, model=first, feedback=HALF)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about running without a process group
        for _ in range(3):
            learn(first, optimizer)
            controller.observe(1.0)
        controller.extend(20)
        state = copy.deepcopy(get_optimizer_state_dict(first, optimizer))
        second = model()
        other = torch.optim.AdamW(second.parameters())
        again = attach(other, plan, 8, model=second, feedback=HALF)
        set_optimizer_state_dict(second, other, state)
    assert again.state_dict() == controller.state_dict()
    assert again.lr == controller.lr < 0.05 / 2


RANK = """
import sys, json, os, torch, torch.distributed as dist
import dwindle as dw
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method=f"file://{sys.argv[2]}", rank=rank, world_size=2)
optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2, 2))])
ctl = dw.torch.attach(optimizer, dw.Plan(0.1), 50, feedback=dw.plateau(0.5, patience=0))
lrs = []
for metric in ([3.0, 2.0, 2.9, 1.0], [3.0, 3.5, 2.2, 4.0])[rank]:   # means 3, 2.75, 2.55, 2.5
    ctl.observe(torch.tensor(metric))
    lrs.append(ctl.lr)
for metric in ([3.0, 0.1], [0.1, 3.0])[rank]:
    ctl.observe(metric, reduce="none")
    lrs.append(ctl.lr)
try:
    ctl.observe(float("nan") if rank else 1.0)
    refused = False
except dw.errors.InvalidValueError:
    refused = True
print(json.dumps([lrs, refused]), flush=True)
dist.barrier()
os._exit(0)   # gloo's own threads now and then abort an interpreter that ends in the usual way
"""


@pytest.mark.slow
def test_every_rank_takes_the_same_decision(tmp_path: Path) -> None:
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "meet")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        outs = [rank.communicate(timeout=90) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], outs
    (mine, refused), (theirs, also) = (json.loads(out) for out, _ in outs)
    assert refused
    assert also
    assert mine[:4] == theirs[:4] == [0.1] * 4  # on its own each rank would have cut
    assert mine[4:] == [0.05, 0.05]
    assert theirs[4:] == [0.1, 0.05]
