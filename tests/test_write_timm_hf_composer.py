"""Plans and rules written as timm, Hugging Face and Composer source: executed with those libraries, and read back."""

from __future__ import annotations

import importlib
import json
import warnings
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle import foreign
from dwindle.errors import DwindleError, NoExactMapError, UnknownNameError
from dwindle.foreign.schedules.composer import NAMES as COMPOSER
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan
from dwindle.schedule import Schedule
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau
from dwindle.schedule.shapes import Ramp
from dwindle.torch import params
from dwindle.units import Horizon
from peers import load_composer, load_timm
from strategies import decays, schedules

load_timm()
composer = load_composer()

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
STEPS = 320
FILES = sorted(GOLDEN.glob("schedule_*.json"))
PEERS = ("timm", "hf", "composer")
pytestmark = pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step:UserWarning")


def golden_cases() -> list[Any]:
    """Every golden case of every peer, one in seven of them quick; float32 cases are the same recipes as float64."""
    found: list[Any] = []
    for file in FILES:
        for case in json.loads(file.read_text())["cases"]:
            if "metric" not in case and "float32" not in file.name:
                marks = pytest.mark.slow if len(found) % 7 else ()
                found.append(pytest.param(case, id=case["id"], marks=marks))
    return found


def read(case: dict[str, Any]) -> Any:
    return foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.LayerNorm(3)) for _ in range(2)
        )
        self.head = torch.nn.Linear(3, 2)
        self.double()


def run(source: str, *given: Any, function: str = "configure") -> Any:
    space: dict[str, Any] = {"__name__": "written"}
    exec(compile(source, "written.py", "exec"), space)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's PlateauLRScheduler says that it will go one day
        return space[function](*given)


def followed(source: str, peer: str, steps: int, model: torch.nn.Module | None = None) -> np.ndarray:
    """Return the lr of each update, [steps, groups], as the source says; a ``model`` is updated with zero gradients."""
    optimizer, scheduler, *callbacks = run(source, Net() if model is None else model)
    state = SimpleNamespace(
        timestamp=composer.Timestamp(), max_duration=composer.Time.from_batch(steps), dataloader_len=10**6,
        optimizers=[optimizer],
    )  # fmt: skip
    scheduler = composer.compile(scheduler, state) if peer == "composer" else scheduler
    lrs = []
    for update in range(1, steps + 1):
        for callback in callbacks:
            callback.batch_start(state, None)
        lrs.append([float(group["lr"]) for group in optimizer.param_groups])
        for p in () if model is None else model.parameters():
            p.grad = torch.zeros_like(p)
        if model is not None:
            optimizer.step()
        state.timestamp = state.timestamp.to_next_batch(1)
        if peer == "timm":
            scheduler.step_update(num_updates=update)
        else:
            scheduler.step()
    return np.array(lrs)


def close(got: np.ndarray, want: np.ndarray) -> bool:
    """Within relative 1e-12, and four roundings of the highest rate, which a peer loses at the foot of a cosine."""
    return bool(np.allclose(got, want, rtol=1e-12, atol=4 * 2.0**-53 * float(want.max(initial=0.0))))


def is_own(source: str, peer: str) -> bool:
    return {"timm": "PlanScheduler", "hf": "LambdaLR", "composer": "scheduler = factor"}[peer] not in source


@pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("case", golden_cases())
def test_every_recipe_of_every_peer_runs_and_reads_back(case: dict[str, Any], peer: str) -> None:
    plan = read(case)
    source = foreign.write(plan, peer, STEPS)
    assert max(map(len, source.splitlines())) <= 120 or not is_own(source, peer)
    assert close(followed(source, peer, STEPS)[:, 0], plan.lrs(STEPS))
    assert close(foreign.read_source(source).lrs(STEPS), plan.lrs(STEPS))
    if case["peer"] in (peer, "transformers" if peer == "hf" else peer):
        assert is_own(source, peer), source


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, st.integers(100, 400), st.sampled_from(PEERS))
@example(Ramp(start=0.0, end=0.01, steps=1_000_000, shape="exponential", ratio=0.01), 100, "timm")  # near its low end
def test_any_schedule_runs_and_reads_back(schedule: Schedule, steps: int, peer: str) -> None:
    plan = Plan(0.1, schedule)
    horizon = dw.Horizon(steps=steps, steps_per_epoch=10, batch_size=8, tokens_per_step=4096)
    source = foreign.write(plan, peer, horizon)
    assert close(followed(source, peer, steps)[:, 0], plan.lrs(horizon))
    assert close(foreign.read_source(source).lrs(horizon), plan.lrs(horizon))


OWN = {
    "constant": ("StepLRScheduler", "constant", "ConstantScheduler"),
    "warmup 10st": ("StepLRScheduler", "constant_with_warmup", "ConstantWithWarmupScheduler"),
    "step by 0.5 every 30st": ("StepLRScheduler", None, "StepScheduler"),
    "exponential by 0.5 every 30st": (None, None, "ExponentialScheduler"),
    "exponential by 0.5 every 2.5st": (None, None, "ExponentialScheduler"),
    "linear to 0% over 300st": ("PolyLRScheduler", "linear", "LinearScheduler"),
    "linear to 10% over 300st power 2": ("PolyLRScheduler", "polynomial", "PolynomialScheduler"),
    "cosine to 0% over 300st": ("CosineLRScheduler", "cosine", "CosineAnnealingScheduler"),
    "warmup 20st, cosine to 10% over 280st": (
        "CosineLRScheduler", "cosine_with_min_lr", "CosineAnnealingWithWarmupScheduler",
    ),
    "warmup 20st, linear to 0% over 280st power 3": (
        "PolyLRScheduler", "polynomial", "PolynomialWithWarmupScheduler",
    ),
    "warmup 20st from 10%, cosine to 0% over 280st": ("CosineLRScheduler", None, None),
    "(cosine to 0% over 100st) repeat every 100st": (
        "CosineLRScheduler", "cosine_with_restarts", "CosineAnnealingWarmRestartsScheduler",
    ),
    "(cosine to 0% over 50st) repeat every 50st growth 2": (
        "CosineLRScheduler", None, "CosineAnnealingWarmRestartsScheduler",
    ),
    "warmup 20st, constant for 180st, sqrt to 0% over 100st": ("WSDLRScheduler", "warmup_stable_decay", None),
    "warmup 10st, inverse-sqrt every 10st": (None, "inverse_sqrt", None),
    "piecewise at [30st 60st] factors [1 0.5 0.25]": ("MultiStepLRScheduler", None, "MultiStepScheduler"),
    "warmup 9st, piecewise at [30st 60st] factors [1 0.1 0.01]": (
        "MultiStepLRScheduler", None, "MultiStepWithWarmupScheduler",
    ),
}  # fmt: skip


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("text", OWN)
def test_a_peers_own_scheduler_is_taken_where_it_has_one(text: str, peer: str) -> None:
    plan, own = dw.parse(f"peak 0.1 | {text}"), OWN[text][PEERS.index(peer)]
    source = foreign.write(plan, peer, 300)
    assert (is_own(source, peer), own or "factor") == (own is not None, own or "factor"), source
    assert own is None or own in source
    assert close(followed(source, peer, 300)[:, 0], plan.lrs(300))
    assert close(foreign.read_source(source).lrs(300), plan.lrs(300))


DECAYS = [
    dw.l2(0.1), dw.decoupled(0.1), dw.independent(0.01), dw.corrected(0.1), dw.decoupled(dw.linear() * 0.1),
    dw.independent(dw.cosine() * 0.01), dw.l2(dw.step(3) * 0.1), dw.corrected(dw.linear() * 0.1),
]  # fmt: skip
OPTIMIZERS = {
    "timm": ("SGD", "AdamW", "Adam", "sgdw", "AdamWLegacy", None),
    "hf": ("SGD", "AdamW", None),
    "composer": ("SGD", "AdamW", "DecoupledSGDW", "DecoupledAdamW", None),
}


def settings_of(peer: str) -> list[Any]:
    return [
        pytest.param(peer, decay, optimizer, id=f"{peer}-{decay}-{optimizer}")
        for decay in DECAYS
        for optimizer in OPTIMIZERS[peer]
        if decay.convention != "l2" or optimizer in ("SGD", None)  # under Adam l2 is no product of shrinks
    ]


@pytest.mark.parametrize(
    "schedule",
    [
        "warmup 3st from 10%, cosine to 10% over 9st",
        pytest.param("constant", marks=pytest.mark.slow),
        pytest.param("step by 0.5 every 4st", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("peer", "decay", "optimizer"), [case for peer in PEERS for case in settings_of(peer)])
def test_the_weights_shrink_as_the_plan_says(
    peer: str, decay: Any, optimizer: str | None, scaled: bool, schedule: str
) -> None:
    groups = (dw.Group("head", "head.*", 3.0),) if scaled else ()
    factor = dw.parse(f"peak 1 | {schedule}").schedule
    plan = Plan(0.1, factor, decay, groups=groups, layer_decay=0.5 if scaled else None)
    if (
        (peer, optimizer) == ("composer", "SGD")
        and isinstance(decay.weight_decay, Schedule)
        and decay.convention != "l2"
    ):
        with pytest.raises(NoExactMapError, match="no decay beside its update that could follow"):
            foreign.write(plan, peer, 12, optimizer=optimizer)
        return
    source = foreign.write(plan, peer, 12, optimizer=optimizer)
    model = Net()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lrs = followed(source, peer, 12, model)
    placed = plan.assign(params(model))
    assert sorted(set(np.round(lrs.max(axis=0) / 0.1, 12))) == pytest.approx(sorted({a.lr_scale for a in placed}))
    own = plan.resolve(dw.Horizon(steps=12))
    for assigned in placed:
        left = 1.0
        for step in range(12):
            lr, shrink, c = own.rates(step, lr_scale=assigned.lr_scale, decays=assigned.decays)
            left *= shrink * (1.0 - lr * c)
        now = dict(model.named_parameters())[assigned.name].detach()
        torch.testing.assert_close(now, before[assigned.name] * left, rtol=1e-12, atol=0.0)


plans = st.builds(
    Plan,
    st.sampled_from([3e-4, 0.1, 1.0]),
    st.one_of(st.sampled_from(list(OWN)).map(lambda text: dw.parse(f"peak 1 | {text}").schedule), schedules),
    st.one_of(st.none(), decays(st.one_of(st.floats(1e-4, 0.5), schedules.map(lambda s: s * 0.05)))),
    st.sampled_from([Mask(), Mask.everything(), Mask.of(Rule("kind", "linear", False), Rule("regex", "blocks", True))]),
    st.sampled_from([(), (), (dw.Group("head", "head.*", 3.0), dw.Group("first", "blocks.0.*", 0.5))]),
    st.sampled_from([None, None, 0.75]),
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans, st.sampled_from(PEERS))
def test_any_plan_leaves_of_the_weights_what_it_says(plan: Plan, peer: str) -> None:
    run_, model = dw.Horizon(steps=120, steps_per_epoch=10, batch_size=8, tokens_per_step=4096), Net()
    own, placed = plan.resolve(run_), plan.assign(params(model))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    lrs = followed(foreign.write(plan, peer, run_), peer, 6, model)
    for assigned in placed:
        rates = [own.rates(step, lr_scale=assigned.lr_scale, decays=assigned.decays) for step in range(6)]
        assert any(close(column, np.array([r.lr for r in rates])) for column in lrs.T)
        left = np.prod([r.shrink * (1.0 - r.lr * r.l2) for r in rates])
        now = dict(model.named_parameters())[assigned.name].detach()
        torch.testing.assert_close(now, before[assigned.name] * left, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("peer", PEERS)
def test_the_mask_is_the_plans(peer: str) -> None:
    rules = (Rule("regex", r"blocks\.0\..*weight$", False), Rule("name", "head.bias", True))
    for mask in (Mask.of(*rules), Mask(rules), Mask.everything(), Mask(())):
        plan, model = Plan(0.1, decay=dw.decoupled(0.1), mask=mask), Net()
        optimizer = run(foreign.write(plan, peer), model)[0]
        decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
        names = {name for name, p in model.named_parameters() if id(p) in decayed}
        assert names == {a.name for a in plan.assign(params(model)) if a.decays}


@pytest.mark.parametrize(
    ("peer", "decay", "optimizer", "found"),
    [
        ("timm", dw.decoupled(0.1), "sgdw", dw.decoupled(0.1)),
        ("timm", dw.decoupled(0.1), None, dw.decoupled(0.1)),
        ("timm", dw.corrected(0.1), None, dw.corrected(0.1)),
        ("timm", dw.l2(5e-4), None, dw.l2(5e-4)),
        ("hf", dw.decoupled(0.1), None, dw.decoupled(0.1)),
        ("composer", dw.independent(1e-4), None, dw.independent(1e-4)),
        ("composer", dw.decoupled(0.25), "DecoupledSGDW", dw.independent(0.125)),
        ("composer", dw.l2(5e-4), None, dw.l2(5e-4)),
    ],
)
@pytest.mark.parametrize("mask", [Mask(), Mask.everything()])
@pytest.mark.parametrize("schedule", ["cosine to 0% over 300st", "tanh to 0% over 300st"])
def test_the_decay_reads_back(peer: str, decay: Any, optimizer: Any, found: Any, mask: Mask, schedule: str) -> None:
    plan = Plan(0.5, dw.parse(f"peak 1 | {schedule}").schedule, decay, mask)
    back = foreign.read_source(foreign.write(plan, peer, 300, optimizer=optimizer))
    assert (back.decay, back.mask) == (found, mask)
    assert close(back.lrs(300), plan.lrs(300))


def test_a_floor_that_is_a_rate_is_not_shared_by_groups() -> None:
    plan = dw.parse('peak 0.1 | cosine to 10% over 90st | group "head" "head.*" times 3')
    timm = foreign.write(plan, "timm", 90)
    assert "PlanScheduler" in timm
    assert "CosineLRScheduler" in foreign.write(dw.parse("peak 0.1 | cosine to 10% over 90st"), "timm", 90)
    for peer in PEERS:
        lrs = followed(foreign.write(plan, peer, 90), peer, 90)
        assert close(lrs, plan.lrs(90)[:, None] * np.array([1.0, 3.0]))


def test_composer_refuses_a_run_longer_than_its_warm_up_schedule_so_the_formula_is_written() -> None:
    plan = dw.parse("peak 0.1 | warmup 10st, cosine to 10% over 90st")
    assert "scheduler = factor" in foreign.write(plan, "composer", 101)
    assert "for a max_duration of at most 100ba" in foreign.write(plan, "composer")
    with pytest.raises(ValueError, match="duration"):
        followed(foreign.write(plan, "composer"), "composer", 101)


def composers_factors(name: str, params: dict[str, Any], run: Horizon) -> list[float] | None:
    """Return the factor that Composer's own scheduler gives at each step of ``run``; None if it refuses."""
    optim = importlib.import_module("composer.optim")
    by_epoch, each = run.epochs is not None, run.steps_per_epoch or 1
    state = SimpleNamespace(
        max_duration=composer.Time(run.epochs if by_epoch else run.steps, "ep" if by_epoch else "ba")
    )
    state.dataloader_len = each
    factors = []
    try:
        scheduler = getattr(optim, name)(**params)
        for t in range(run.steps):
            seen = {"sample": t * (run.batch_size or 1), "token": t * (run.tokens_per_step or 1)}
            state.timestamp = composer.Timestamp(epoch=t // each, batch=t, **seen)
            factors.append(float(scheduler(state)))
    except (ValueError, ZeroDivisionError):
        return None
    return factors


COMPOSERS_CUTS = [
    ("MultiStepScheduler", {"milestones": ["0.29dur"]}, Horizon(100)),
    ("MultiStepScheduler", {"milestones": ["0.43dur"]}, Horizon(320)),
    ("StepScheduler", {"step_size": "0.33dur"}, Horizon(320)),
    ("CosineAnnealingScheduler", {"t_max": "0.23dur"}, Horizon(320)),
    ("StepScheduler", {"step_size": "100sp"}, Horizon(320, batch_size=12)),
    ("LinearScheduler", {"t_max": "100000tok"}, Horizon(320, tokens_per_step=777)),
    (
        "MultiStepWithWarmupScheduler",
        {"t_warmup": "3ep", "milestones": ["41ba", "0.9dur"]},
        Horizon(99, steps_per_epoch=20),
    ),
    (
        "MultiStepWithWarmupScheduler",
        {"t_warmup": "0.25dur", "milestones": ["52ba"]},
        Horizon(epochs=7, steps_per_epoch=33),
    ),
]


@pytest.mark.parametrize(("name", "params", "run"), COMPOSERS_CUTS)
def test_composers_times_are_cut_and_counted_as_composer_does(name: str, params: dict[str, Any], run: Horizon) -> None:
    plan = foreign.read("composer", name, params, base_lr=1.0)
    assert dw.parse(str(plan)) == plan
    np.testing.assert_allclose(plan.lrs(run), composers_factors(name, params, run), rtol=1e-12, atol=1e-15)


composers_times = st.one_of(
    st.integers(1, 999).map(lambda n: f"{n / 1000}dur"), st.integers(1, 99).map(lambda n: f"{n / 100}dur"),
    st.just("1dur"), st.integers(1, 6).map("{}ep".format), st.integers(1, 150).map("{}ba".format),
    st.integers(32, 4800).map("{}sp".format), st.integers(1024, 150_000).map("{}tok".format),
)  # fmt: skip
composers_runs = st.one_of(
    st.builds(Horizon, st.integers(30, 400), steps_per_epoch=st.integers(7, 33), batch_size=st.integers(1, 32),
              tokens_per_step=st.integers(700, 1024)),
    st.builds(Horizon, epochs=st.integers(2, 12), steps_per_epoch=st.integers(7, 33), batch_size=st.integers(1, 32),
              tokens_per_step=st.integers(700, 1024)),
)  # fmt: skip
_NAMES_OF_TIMES = {"t_max", "t_warmup", "t_0", "step_size", "decay_period"}
_OTHERS = {"gamma": [0.5], "alpha": [0.5, 2.0], "alpha_i": [1.0, 0.5], "alpha_f": [0.0, 0.1], "t_mult": [1.0, 2.0],
           "power": [1.0, 1.7]}  # fmt: skip


@pytest.mark.law
@given(st.data(), st.sampled_from(sorted(COMPOSER)), composers_runs)
@settings(max_examples=120, deadline=None)
@pytest.mark.filterwarnings("ignore:.*warmup duration is 0:UserWarning")
def test_every_scheduler_of_composer_is_followed_or_refused(data: Any, name: str, run: Horizon) -> None:
    required, defaults, _ = COMPOSER[name]
    params: dict[str, Any] = {}
    for key in (*required, *defaults):
        if key in _NAMES_OF_TIMES:
            params[key] = data.draw(composers_times)
        elif key == "milestones":
            params[key] = data.draw(st.lists(composers_times, min_size=1, max_size=3))
        elif key != "scale_warmup":
            params[key] = data.draw(st.sampled_from(_OTHERS[key]))
    try:
        factors = foreign.read("composer", name, params, base_lr=1.0).lrs(run)
    except DwindleError:
        return
    want = composers_factors(name, params, run)
    assert want is None or np.allclose(factors, want, rtol=1e-12, atol=1e-15 + lost_by_counting(params, run))


def lost_by_counting(params: dict[str, Any], run: Horizon) -> float:
    """Return how far a cosine that restarts may be off: its cycle of tokens or samples is a float64 number of steps.

    It and its multiples are rounded, half an ulp each, so that after n steps the place in a cycle of P steps is off by
    n·2^-52/P of it, and the factor by π/2 times that. Composer counts tokens.
    """
    cycle = str(params.get("t_0", ""))
    each = {"tok": run.tokens_per_step, "sp": run.batch_size}.get(cycle.lstrip("0123456789."))
    if each is None or int(cycle.rstrip("tokspa")) % each == 0:
        return 0.0
    return 0.5 * np.pi * run.steps * 2.0**-52 * each / int(cycle.rstrip("tokspa"))


def test_composers_scale_schedule_ratio_stretches_the_written_function() -> None:
    source = foreign.write(dw.parse("peak 0.1 | tanh to 0% over 90st"), "composer")
    factor = run(source.replace("def configure", "def get():\n    return factor\n\n\ndef configure"), function="get")
    timestamp = composer.Timestamp()
    at = []
    for _ in range(20):
        at.append(factor(SimpleNamespace(timestamp=timestamp), 2.0))
        timestamp = timestamp.to_next_batch(1)
    assert at == [factor(SimpleNamespace(timestamp=timestamp_at(step // 2))) for step in range(20)]


def timestamp_at(batch: int) -> Any:
    timestamp = composer.Timestamp()
    for _ in range(batch):
        timestamp = timestamp.to_next_batch(1)
    return timestamp


# --- sources that people write


def test_what_people_write_is_read() -> None:
    timm = foreign.read_source("""
from timm.scheduler.scheduler import Scheduler
class Mine(Scheduler):
    def _get_lr(self, t):
        if t < 10:
            return [v * t / 10 for v in self.base_values]
        return [v * 0.5 ** (t // 30) for v in self.base_values]
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
scheduler = Mine(optimizer, "lr")
""")
    assert str(timm).startswith('peak 1e-3 | formula "step / 10 if step < 10 else')
    assert close(timm.lrs(40), 1e-3 * np.where(np.arange(40) < 10, np.arange(40) / 10, 0.5 ** (np.arange(40) // 30)))
    for elt, text in (
        ("v / (1 + t)", "1 / (1 + step)"),
        ("0.5 ** t * v", "0.5 ** step"),
        ("v - t", None),
        ("t / v", None),
    ):
        source = f"""
from timm.scheduler.scheduler import Scheduler
class Mine(Scheduler):
    def _get_lr(self, t):
        return [{elt} for v in self.base_values]
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
"""
        if text is None:
            with pytest.raises(NoExactMapError, match="_get_lr cannot be read as a formula"):
                foreign.read_source(source)
        else:
            assert str(foreign.read_source(source).schedule) == f'formula "{text}"'
    fn = foreign.read_source("""
from composer import Trainer
from composer.optim import DecoupledAdamW
def halve(state):
    if state.timestamp.batch < 10:
        return 1.0
    return 0.5
opt = DecoupledAdamW(model.parameters(), lr=1e-3, weight_decay=1e-5)
trainer = Trainer(model=model, optimizers=opt, schedulers=[halve])
""")
    assert str(fn) == 'peak 1e-3 | formula "1.0 if step < 10 else 0.5" | independent 1e-5 | mask name "*" decays'
    both = foreign.read_source("""
from transformers import Trainer, TrainingArguments, get_scheduler
opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
sched = get_scheduler("linear", optimizer=opt, num_warmup_steps=10, num_training_steps=100)
trainer = Trainer(model, TrainingArguments("out", learning_rate=5.0, logging_steps=10), optimizers=(opt, sched))
""")
    assert str(both) == 'peak 1e-3 | warmup 10st, linear to 0% over 90st | decoupled 0.1 | mask name "*" decays'
    warm = (
        'ConstantWithWarmupScheduler(t_warmup="10ba")', 'PolynomialWithWarmupScheduler("10ba", 3.0, "100ba")',
        'ConstantWithWarmupScheduler("10ba", 0.5, "20ba")',
    )  # fmt: skip
    texts = [str(foreign.read_source(f"from composer.optim import x\no = SGD(m, lr=0.1)\ns = {call}")) for call in warm]
    assert texts == [
        "peak 0.1 | warmup 10st, constant", "peak 0.1 | warmup 10st, linear to 0% over 90st power 3",
        "peak 0.05 | warmup 10st, constant",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "text"),
    [
        ('model, opt="adamw", lr=1e-3, weight_decay=0.05', "peak 1e-3 | step by 0.5 every 30st | decoupled 0.05"),
        ('model, "sgd", 0.1, 1e-4, momentum=0.9', "peak 0.1 | step by 0.5 every 30st | l2 1e-4"),
        (
            'model, opt="sgdw", lr=0.1, weight_decay=0.05, corrected_weight_decay=True, filter_bias_and_bn=False',
            'peak 0.1 | step by 0.5 every 30st | corrected 0.05 | mask name "*" decays',
        ),
        ('model, opt="AdamW", lr=1e-3', "peak 1e-3 | step by 0.5 every 30st"),
    ],
)
def test_timms_factory_is_read_as_the_optimiser_it_builds(call: str, text: str) -> None:
    source = f"""
from timm.optim import create_optimizer_v2
from timm.scheduler import StepLRScheduler
optimizer = create_optimizer_v2({call})
scheduler = StepLRScheduler(optimizer, decay_t=30, decay_rate=0.5, t_in_epochs=False)
"""
    assert str(foreign.read_source(source)) == text
    with pytest.raises(UnknownNameError, match="did you mean 'adam'"):
        foreign.read_source(source.replace(call, 'model, opt="adamv"'))


def test_a_timm_scheduler_that_counts_epochs_is_held_for_each() -> None:
    source = """
from timm.scheduler import CosineLRScheduler
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = CosineLRScheduler(optimizer, t_initial=30, lr_min=1e-3, warmup_t=5, warmup_prefix=True)
"""
    run_ = dw.Horizon(epochs=40, steps_per_epoch=8)
    epochs = foreign.read_source(source).lrs(40)
    assert close(foreign.read_source(source, run=run_).lrs(run_), np.repeat(epochs, 8))
    counts = source.replace("warmup_prefix=True", "warmup_prefix=True, t_in_epochs=False")
    assert close(foreign.read_source(counts, run=run_).lrs(40), epochs)


# --- TrainingArguments


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "warmup 10st, cosine to 0% over 90st", "linear to 0% over 100st", "warmup 5st, constant",
        "warmup 10st, cosine to 10% over 90st", "warmup 20st, constant for 50st, sqrt to 0% over 30st", "constant",
        "warmup 10st, inverse-sqrt every 10st", "linear to 10% over 100st power 2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("decay", [dw.decoupled(0.1), dw.l2(0.01), None])
def test_the_trainer_does_what_its_arguments_say(text: str, decay: Any, tmp_path: Path) -> None:
    from transformers import Trainer

    plan = Plan(1e-3, dw.parse(f"peak 1 | {text}").schedule, decay)
    source = foreign.write(plan, "hf", 100, optimizer="TrainingArguments")
    back = foreign.read_source(source)
    assert (back.decay, back.mask) == (decay, Mask())
    assert close(back.lrs(100), plan.lrs(100))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(Net(), run(source, str(tmp_path), function="arguments"))
        trainer.create_optimizer_and_scheduler(trainer.args.max_steps)
    lrs = []
    for _ in range(100):
        lrs.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert close(np.array(lrs), plan.lrs(100))
    assert [g["weight_decay"] for g in trainer.optimizer.param_groups] == [
        0.0 if decay is None else decay.weight_decay,
        0.0,
    ]
    assert isinstance(trainer.optimizer, torch.optim.SGD if isinstance(decay, type(dw.l2(0.1))) else torch.optim.AdamW)
    names = {id(p): name for name, p in trainer.model.named_parameters()}
    placed = {a.name for a in plan.assign(params(trainer.model)) if a.decays}
    assert {names[id(p)] for p in trainer.optimizer.param_groups[0]["params"]} == placed


@pytest.mark.parametrize(
    ("text", "run_", "said"),
    [
        ("step by 0.5 every 30st", 100, "no lr_scheduler_type is 'step by 0.5 every 30st'"),
        ("warmup 10st, cosine to 0% over 90st", 120, "ends after 100 steps, the run after 120"),
        ("constant | independent 0.1", 100, "they know only a constant decoupled or l2"),
        ("constant | decoupled (0.1 * linear)", 100, "they know only a constant decoupled or l2"),
        ("constant | decoupled 0.1 cautious", 100, "they know only a constant decoupled or l2"),
        ('constant | decoupled 0.1 | mask name "*" decays', 100, "the Trainer's own rule"),
        ('constant | group "h" "head.*" times 10', 100, "groups of its own"),
    ],
)
def test_what_training_arguments_cannot_say(text: str, run_: int, said: str) -> None:
    with pytest.raises(NoExactMapError, match=said):
        foreign.write(dw.parse(f"peak 0.1 | {text}"), "hf", run_, optimizer="TrainingArguments")


# --- rules that answer a metric


def answered(source: str, peer: str, metrics: list[float]) -> np.ndarray:
    optimizer, scheduler = run(source, torch.nn.Linear(1, 1))
    lrs = []
    for index, metric in enumerate(metrics):
        if peer == "timm":
            if index:
                scheduler.step(index, metric)
            lrs.append(optimizer.param_groups[0]["lr"])
        else:
            lrs.append(optimizer.param_groups[0]["lr"])
            scheduler.step(metric)
    return np.array(lrs)


def noisy(seed: int, mode: str = "min") -> list[float]:
    draw = np.random.default_rng(seed)
    fall = np.exp(-np.arange(120) / 20) + 0.3 + 0.1 * draw.standard_normal(120) * (np.arange(120) % 7 > 1)
    return [float(v) for v in (fall if mode == "min" else -fall)]


RULES = [
    Plateau(0.5, patience=2, min_lr=1e-3, eps=1e-8, peak=0.1, nan="worse"),
    Plateau(0.3, patience=0, cooldown=3, mode="max", eps=1e-8, peak=0.2, threshold=1e-3, nan="worse"),
    Plateau(0.5, patience=1, eps=1e-8, nan="worse"),
    Plateau(0.5, patience=1, min_lr=0.01, nan="ignore", threshold=0.05),
]


@pytest.mark.parametrize("peer", ["torch", "timm", "hf"])
@pytest.mark.parametrize("rule", RULES)
def test_a_plateau_runs_and_reads_back(rule: Plateau, peer: str) -> None:
    source = foreign.write(rule, peer)
    ours = replace(rule, observes_first=peer == "timm")
    metrics = noisy(RULES.index(rule), rule.mode)
    assert len(set(ours.lrs(metrics))) > 3
    assert answered(source, peer, metrics) == pytest.approx(ours.lrs(metrics), rel=1e-12)
    if rule.peak == 1.0:  # it fits any peak, which is for the user to say
        scaled = answered(source.replace("    lr = 1.0 ", "    lr = 0.2 "), peer, metrics)
        assert scaled == pytest.approx(ours.lrs(metrics, 0.2), rel=1e-12, abs=2e-8 if peer == "timm" else 0.0)
    assert foreign.read_source(source) == replace(ours, nan="worse", eps=1e-8 if peer == "timm" else rule.eps)
    assert max(map(len, source.splitlines())) <= 120
    assert (rule.nan == "worse") == ("counts as no improvement here" not in source)
    assert ("not exact: timm leaves out" in source) == (peer == "timm" and (rule.eps != 1e-8 or rule.peak == 1.0))


@pytest.mark.parametrize(
    "rule",
    [
        Greedy(0.8, patience=1, min_lr=1e-3, max_lr=0.5, eps=1e-8, peak=0.1, nan="worse"),
        Greedy(0.5, patience=0, window=5, cooldown=2, warmup=1, min_lr=0.01, reset_after=3, peak=0.1, nan="worse"),
        Greedy(0.9, patience=2, threshold_mode="rel", mode="max", nan="worse", reset_after=None),
    ],
)
def test_a_greedy_runs_and_reads_back(rule: Greedy) -> None:
    source = foreign.write(rule, "hf")
    metrics = noisy(5, rule.mode)
    assert len(set(rule.lrs(metrics))) > 3
    assert answered(source, "hf", metrics) == pytest.approx(rule.lrs(metrics), rel=1e-12)
    back = foreign.read_source(source)
    assert back.lrs(metrics) == pytest.approx(rule.lrs(metrics), rel=1e-12)
    assert ("the rule never begins anew" in source) == (rule.reset_after is None)


def test_a_warm_up_of_a_plateau_is_timms() -> None:
    rule = Plateau(
        0.5, patience=2, warmup_steps=5, warmup_lr=0.01, eps=1e-8, peak=0.1, nan="worse", observes_first=True
    )
    source = foreign.write(rule, "timm")
    assert foreign.read_source(source) == rule
    assert answered(source, "timm", noisy(1)) == pytest.approx(rule.lrs(noisy(1)), rel=1e-12)
    for peer in ("torch", "hf"):
        with pytest.raises(NoExactMapError, match="no warm-up"):
            foreign.write(rule, peer)


def test_what_cannot_be_said_is_said() -> None:
    for peer in ("torch", "timm"):
        with pytest.raises(NoExactMapError, match=f"{peer} has no scheduler that is Greedy"):
            foreign.write(Greedy(), peer)
    with pytest.raises(NoExactMapError, match="no absolute threshold"):
        foreign.write(Plateau(threshold_mode="abs"), "timm")
    with pytest.raises(NoExactMapError, match="composer has no scheduler that answers a metric"):
        foreign.write(Plateau(), "composer")
    for peer, name in (("timm", "sgdw"), ("timm", "AdamWLegacy"), ("composer", "DecoupledAdamW"), ("hf", "AdamW")):
        with pytest.raises(NoExactMapError, match="decays beside its update and the plan has l2"):
            foreign.write(Plan(0.1, decay=dw.l2(0.1)), peer, optimizer=name)
    for peer in PEERS:
        with pytest.raises(UnknownNameError, match="did you mean 'Adam"):
            foreign.write(Plan(0.1), peer, optimizer="AdamV")
        with pytest.raises(NoExactMapError, match="highest lr is 0"):
            foreign.write(dw.parse('peak 0.1 | constant | independent 0.1 | group "h" "head.*" times 0'), peer)
        cautious = foreign.write(Plan(0.1, decay=dw.decoupled(0.1, cautious=True)), peer)
        assert "has no cautious decay" in cautious
    assert "# Note: beyond the 100 steps" in foreign.write(dw.parse("peak 0.1 | cosine to 0%"), "hf", 100)


@pytest.mark.parametrize("name", ["CosineLRScheduler", "PolyLRScheduler", "TanhLRScheduler"])
@pytest.mark.parametrize("warmup", [{}, {"warmup_t": 2, "warmup_lr_init": 0.02}])
def test_without_a_cycle_timm_has_its_lowest_rate(name: str, warmup: dict[str, Any]) -> None:
    params = {"t_initial": 10, "lr_min": 0.01, "cycle_limit": 0, **warmup}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = getattr(importlib.import_module("timm.scheduler"), name)(optimizer, **params)
    theirs = [optimizer.param_groups[0]["lr"]]
    for t in range(1, 6):
        scheduler.step(t)
        theirs.append(optimizer.param_groups[0]["lr"])
    ours = foreign.read("timm", name, params, base_lr=0.1).lrs(6)
    assert close(ours, np.array(theirs)), theirs


@pytest.mark.parametrize(("cycles", "steps"), [(50, 100), (49, 98), (22, 44), (4, 100), (25, 75)])
def test_cosine_with_restarts_begins_each_cycle_where_transformers_does(cycles: int, steps: int) -> None:
    """Its product of fractions gets to some boundaries a step late, where it then stays at 0."""
    from transformers import get_scheduler

    params = {"num_warmup_steps": 0, "num_training_steps": steps, "scheduler_specific_kwargs": {"num_cycles": cycles}}
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler, rates = get_scheduler("cosine_with_restarts", optimizer, **params), []
    for _ in range(steps + 5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    got = foreign.read("hf", "cosine_with_restarts", params, base_lr=0.1).lrs(steps + 5)  # type: ignore[union-attr]
    np.testing.assert_allclose(got, rates, rtol=1e-12, atol=1e-17)
