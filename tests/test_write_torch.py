"""Plans written as torch source: executed with torch itself, and read back from the source."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle import foreign
from dwindle.decay import Independent
from dwindle.depths import depths
from dwindle.errors import NoExactMapError, UnknownNameError, UnresolvedTimeError
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan
from dwindle.schedule import Constant, Join, Repeat, Schedule, Shift
from dwindle.torch import params
from strategies import schedules

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
STEPS = 320
FILES = sorted(GOLDEN.glob("schedule_*.json"))


def golden_plans() -> list[Any]:
    """Every golden case of every peer that is a plan; float32 cases are the same recipes as float64."""
    found = []
    for file in FILES:
        for case in json.loads(file.read_text())["cases"]:
            if "metric" not in case and "float32" not in file.name:
                found.append(pytest.param(case, id=case["id"]))
    return found


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)) for _ in range(2)
        )
        self.head = torch.nn.Linear(3, 2)
        self.double()


def run(source: str, model: torch.nn.Module) -> tuple[Any, Any]:
    space: dict[str, Any] = {}
    exec(compile(source, "written.py", "exec"), space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR warns of an argument that no one passed
        return space["configure"](model)


def followed(source: str, steps: int, model: torch.nn.Module | None = None) -> np.ndarray:
    """The lr that torch has in effect for every update, shape [steps, groups]."""
    optimizer, scheduler = run(source, Net() if model is None else model)
    lrs = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(steps):
            lrs.append([float(group["lr"]) for group in optimizer.param_groups])
            scheduler.step()
    return np.array(lrs)


def close(got: np.ndarray, want: np.ndarray, highest: float = 0.0) -> bool:
    """Whether the rates agree to 1e-12, or a rounding of the highest one."""
    return bool(np.allclose(got, want, rtol=1e-12, atol=1e-15 * max(highest, float(want.max(initial=0.0)))))


@pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")
@pytest.mark.parametrize("case", golden_plans())
def test_every_recipe_of_every_peer_runs_in_torch_and_reads_back(case: dict[str, Any]) -> None:
    plan = foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))
    source = foreign.write(plan, "torch", STEPS)
    assert close(followed(source, STEPS)[:, 0], plan.lrs(STEPS))
    back = foreign.read_source(source)
    assert close(back.lrs(STEPS), plan.lrs(STEPS))
    if case["peer"] == "torch":  # its own recipes come back as its own classes
        assert "LambdaLR" not in source or case["name"] in ("SequentialLR", "CyclicLR", "OneCycleLR"), source


@pytest.mark.law
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, st.integers(100, 400))
@example(Shift(Shift(Join((Constant(0.0), Constant(0.0), Constant(0.01)), (1, 1, None)), -2), 101), 100)
@example(Shift(Repeat(Shift(Join((Constant(0.0), Constant(0.01)), (2, None)), -2), 9, growth=2.0), 101), 100)
def test_any_schedule_runs_in_torch_and_reads_back(schedule: Schedule, steps: int) -> None:
    plan = Plan(0.1, schedule)
    run = dw.Horizon(steps=steps, steps_per_epoch=10, batch_size=8, tokens_per_step=4096)
    source = foreign.write(plan, "torch", run)
    # a run that is short beside the schedule sees its foot alone, where both have lost what rounding took from 1
    assert close(followed(source, steps)[:, 0], plan.lrs(run), plan.peak)
    assert close(foreign.read_source(source).lrs(run), plan.lrs(run), plan.peak)


def test_a_one_cycle_is_torch_own_up_to_its_end() -> None:
    plan = foreign.read("torch", "OneCycleLR", {"max_lr": 0.1, "total_steps": 310, "three_phase": True})
    source = foreign.write(plan, "torch", 310)
    assert "OneCycleLR" in source
    assert close(followed(source, 310)[:, 0], plan.lrs(310))
    assert "LambdaLR" in foreign.write(plan, "torch", 311)  # one step more is an error in torch


DECAYS = [
    dw.l2(0.1), dw.decoupled(0.1), dw.independent(0.01), dw.corrected(0.1), dw.decoupled(dw.linear() * 0.1),
    dw.independent(dw.cosine() * 0.01), dw.l2(dw.step(3) * 0.1), dw.corrected(dw.linear() * 0.1),
]  # fmt: skip


@pytest.mark.parametrize("schedule", ["constant", "warmup 3st, cosine to 10%", "step by 0.5 every 4st"])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(
    ("decay", "optimizer"),
    [
        pytest.param(decay, optimizer, id=f"{decay}-{optimizer}")
        for decay in DECAYS
        for optimizer in ("SGD", "AdamW", "Adam", "RMSprop", "NAdam")
        if decay.convention != "l2" or optimizer == "SGD"  # under an adaptive optimiser l2 is no product of shrinks
    ],
)
def test_the_weights_shrink_as_the_plan_says(decay: Any, optimizer: str, scaled: bool, schedule: str) -> None:
    groups = (dw.Group("head", "head.*", 3.0),) if scaled else ()
    plan = Plan(
        0.1, dw.parse(f"peak 1 | {schedule}").schedule, decay, groups=groups, layer_decay=0.5 if scaled else None
    )
    model = Net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer_, scheduler = run(foreign.write(plan, "torch", 12, optimizer=optimizer), model)
    for _ in range(12):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        optimizer_.step()
        scheduler.step()
    own = plan.resolve(dw.Horizon(steps=12))
    for info, placed in zip(params(model), plan.assign(params(model)), strict=True):
        left = 1.0
        for step in range(12):
            lr, shrink, c = own.rates(step, lr_scale=placed.lr_scale, decays=placed.decays)
            left *= shrink * (1.0 - lr * c)
        now = dict(model.named_parameters())[info.name].detach()
        torch.testing.assert_close(now, before[info.name] * left, rtol=1e-12, atol=0.0)


def test_layer_rates_are_the_plans() -> None:
    plan = Plan(0.1, dw.cosine(), dw.decoupled(0.1), groups=(dw.Group("head", "head.*", 3.0),), layer_decay=0.5)
    model = Net()
    lrs = followed(foreign.write(plan, "torch", 20), 20, model)
    scales = sorted({a.lr_scale for a in plan.assign(params(model))})
    assert sorted(set(lrs[0] / 0.1)) == pytest.approx(scales)
    assert close(lrs / lrs[0], np.repeat(plan.lrs(20)[:, None] / 0.1, lrs.shape[1], axis=1))


@pytest.mark.parametrize("peer", ["torch", "keras", "optax"])
def test_the_written_layers_are_the_plans_where_heads_and_stems_are_numbered(peer: str) -> None:
    source = foreign.write(Plan(0.1, dw.cosine(), dw.decoupled(0.1), layer_decay=0.5), peer, 20)
    rule = source[source.index("def blocks_of") :]
    scope: dict[str, Any] = {"re": re}
    exec(rule[: rule.index("    return depth\n") + len("    return depth\n")], scope)
    inner = [f"blocks.{i}.{each}.weight" for i in range(4) for each in ("attn.qkv", "norm")]
    names = ["stem.0.weight", "stem.1.weight", *inner, "head.norm.weight", "head.0.weight", "head.2.weight"]
    assert scope["depths"](names) == depths(names, ordered=peer != "optax")
    assert {scope["depths"](names)[name] for name in names if name.startswith("head")} == {5}
    one = ["stem.0.w", "stem.1.w", "blocks.0.attn.w", "blocks.0.mlp.0.w", "blocks.0.mlp.1.w", "head.0.w", "head.2.w"]
    assert (
        list(scope["depths"](one).values()) == [*depths(one, ordered=peer != "optax").values()] == [0, 0, 1, 1, 1, 2, 2]
    )


def test_the_mask_is_the_plans() -> None:
    rules = (
        Rule("regex", r"blocks\.0\..*weight$", False),
        Rule("name", "head.bias", True),
        Rule("kind", "LayerNorm", True),
    )
    for mask in (Mask.of(*rules), Mask(rules), Mask.everything(), Mask(())):
        plan, model = Plan(0.1, decay=dw.decoupled(0.1), mask=mask), Net()
        optimizer, _ = run(foreign.write(plan, "torch"), model)
        decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
        names = {name for name, p in model.named_parameters() if id(p) in decayed}
        assert names == {a.name for a in plan.assign(params(model)) if a.decays}


@pytest.mark.parametrize("optimizer", ["AdamW", "Adam", "SGD", "Muon"])
def test_the_decay_reads_back(optimizer: str) -> None:
    decay = dw.l2(5e-4) if optimizer in ("Adam", "SGD") else dw.decoupled(0.1)
    plan = Plan(1e-3, dw.cosine(300), decay)
    assert foreign.read_source(foreign.write(plan, "torch", optimizer=optimizer)).decay == decay


def test_independent_is_a_constant_of_adamw() -> None:
    source = foreign.write(Plan(0.5, dw.cosine(300), Independent(0.25)), "torch")
    assert '"weight_decay": 0.5}' in source
    assert "register_step_pre_hook" not in source


def test_what_cannot_be_said_is_said() -> None:
    with pytest.raises(NoExactMapError, match="AdamW decays beside its update and the plan has l2"):
        foreign.write(Plan(0.1, decay=dw.l2(0.1)), "torch", optimizer="AdamW")
    with pytest.raises(UnresolvedTimeError, match="give it: write"):
        foreign.write(Plan(0.1, dw.warmup("5%").then(dw.cosine())), "torch")
    with pytest.raises(UnknownNameError, match="did you mean 'Adam'"):
        foreign.write(Plan(0.1), "torch", optimizer="AdamV")
    with pytest.raises(NoExactMapError, match="no source to write"):
        foreign.write(Plan(0.1, dw.custom(lambda step: 1.0)), "torch")
    cautious = foreign.write(Plan(0.1, decay=dw.decoupled(0.1, cautious=True)), "torch")
    assert "# Note: not exact: AdamW has no cautious decay" in cautious
    assert "# Note: beyond the 100 steps" in foreign.write(Plan(0.1, dw.cosine()), "torch", 100)


def test_a_one_cycle_without_a_run_says_how_long_it_may_be() -> None:
    plan = foreign.read("optax", "cosine_onecycle_schedule", {"transition_steps": 50, "peak_value": 0.1})
    source = foreign.write(plan, "torch")
    assert "at most 51 steps" in source
    space: dict[str, Any] = {}
    exec(compile(source, "written.py", "exec"), space)
    optimizer, scheduler = space["configure"](torch.nn.Linear(1, 1))
    for _ in range(51):
        optimizer.step()
        scheduler.step()
    with pytest.raises(ValueError, match="Tried to step 52 times"):
        scheduler.step()
    assert "Note" not in foreign.write(plan, "torch", 51)


@pytest.mark.parametrize("peer", ["torch", "timm", "hf", "composer"])
@pytest.mark.parametrize(("name", "why"), [("ASGD", "by a rule of its own"), ("Rprop", "no learning rate to plan")])
def test_an_optimiser_that_no_plan_says_is_not_written(peer: str, name: str, why: str) -> None:
    with pytest.raises(NoExactMapError, match=why):
        foreign.write(Plan(0.1), peer, optimizer=name)


@pytest.mark.parametrize("factor", ["(1 - t / 100) ** 0.9", "1 - t / 100"])
@pytest.mark.parametrize("peer", foreign.PEERS)
def test_a_formula_that_is_good_for_its_run_alone_is_written_for_it(peer: str, factor: str) -> None:
    plan = foreign.read(f"torch: SGD(lr=0.1) LambdaLR(lambda t: {factor})")
    assert isinstance(plan, Plan)
    source = foreign.write(plan, peer, 100)
    back = foreign.read(source, run=100)
    assert isinstance(back, Plan)
    assert list(back.lrs(100)) == pytest.approx(list(plan.lrs(100)), rel=1e-12)
    if peer != "sklearn":  # its model is given samples, and no run
        assert "# Note: the plan is good for the 100 steps of the run alone; train no longer." in source
    told = dict(foreign.explain(plan, peer, 100).rates)
    assert told["beyond the run"] == "it has no rate on some step: the plan is good for the run alone"
    assert told["last step"].startswith("step 99 uses 0.00")
