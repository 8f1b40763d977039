"""The doctor on torch: every code on a set-up made to have it, none on ordinary recipes, and nothing changed by looking."""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as schedulers

import dwindle as dw
from dwindle.findings import of_plan, of_setup
from dwindle.findings.setups import CODES
from dwindle.torch.setup import read

RUN = dw.Horizon(epochs=10, steps_per_epoch=100)


class Block(nn.Module):
    """A small pre-norm transformer block with an embedding and a tied head."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.wte = nn.Embedding(11, 8)
        self.ln = nn.LayerNorm(8)
        self.attn = nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.wte.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.ln(self.wte(x))
        return self.head(self.attn(h, h, h)[0])


def conv() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))


def two_groups(model: nn.Module, lam: float) -> list[dict[str, object]]:
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": lam},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]


def trained(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object = None, updates: int = 1) -> None:
    for _ in range(updates):
        sum((p * p).sum() for p in model.parameters() if p.requires_grad).backward()  # type: ignore[union-attr]
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()  # type: ignore[attr-defined]


def codes(findings: object, severity: str | None = None) -> list[str]:
    return [f.code for f in findings if severity in (None, f.severity)]  # type: ignore[attr-defined]


def bad(findings: object) -> list[str]:
    return [f"{f.severity} {f.code} {f.subject}: {f.verdict}" for f in findings if f.severity != "note"]  # type: ignore[attr-defined]


# --- what is measured


@pytest.mark.parametrize(
    ("build", "said", "adaptive"),
    [
        (partial(torch.optim.SGD, lr=0.1, weight_decay=1e-4), "l2 1e-4", False),
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4), "l2 1e-4", False),
        (partial(torch.optim.Adam, weight_decay=1e-2), "l2 0.01", True),
        (partial(torch.optim.Adam, weight_decay=1e-2, decoupled_weight_decay=True), "decoupled 0.01", True),
        (partial(torch.optim.AdamW, weight_decay=0.3), "decoupled 0.3", True),
        (partial(torch.optim.NAdam, weight_decay=1e-2), "l2 0.01", True),
        (partial(torch.optim.RAdam, weight_decay=1e-2), "l2 0.01", True),
        (partial(torch.optim.RMSprop, weight_decay=1e-2), "l2 0.01", True),
        (partial(torch.optim.Adagrad, weight_decay=1e-2), "l2 0.01", True),
        (partial(torch.optim.Adafactor, weight_decay=1e-2), "decoupled 0.01", True),
        (partial(torch.optim.AdamW, weight_decay=0.0), "None", True),
    ],
)
def test_the_decay_of_an_optimiser_is_measured(build: object, said: str, adaptive: bool) -> None:
    model = mlp()
    setup = read(model, build(model.parameters()))  # type: ignore[operator]
    assert str(setup.groups[0].decay) == said
    assert setup.adaptive is adaptive


class Odd(torch.optim.Optimizer):
    """Somebody's own: sign descent whose decay is decoupled, whatever its options are called."""

    def __init__(self, params: object, lr: float, shrinkage: float) -> None:
        super().__init__(params, {"lr": lr, "shrinkage": shrinkage})

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        torch.rand(1), random.random(), np.random.rand()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.mul_(1 - group["lr"] * group["shrinkage"]).sub_(group["lr"] * p.grad.sign())


class Broken(Odd):
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        raise RuntimeError("not here")


def test_an_optimiser_nobody_knows_is_measured_or_said_not_to_be() -> None:
    model = mlp()
    setup = read(model, Odd(model.parameters(), 0.1, 0.25))
    assert str(setup.groups[0].decay).startswith("decoupled 0.25")
    assert setup.adaptive
    assert "no copy of it makes a step" in " ".join(read(model, Broken(model.parameters(), 0.1, 0.25)).unread)


# --- looking changes nothing


@pytest.mark.parametrize(
    "build",
    [
        partial(torch.optim.AdamW, lr=1e-3),
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        partial(Odd, lr=0.1, shrinkage=0.1),
    ],
)
@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: schedulers.SequentialLR(
            o, [schedulers.LinearLR(o, 0.1, total_iters=5), schedulers.CosineAnnealingLR(o, 995)], [5]
        ),
        lambda o: schedulers.LambdaLR(o, lambda t: max(0.0, 1 - t / 1000)),
        lambda o: schedulers.ReduceLROnPlateau(o),
        lambda o: schedulers.ExponentialLR(o, 0.99),
    ],
)
def test_looking_changes_not_a_bit(build: object, schedule: object) -> None:
    torch.manual_seed(3)
    model = Block()
    optimizer = build(model.parameters())  # type: ignore[operator]
    scheduler = schedule(optimizer)  # type: ignore[operator]
    plateau = isinstance(scheduler, schedulers.ReduceLROnPlateau)
    trained(model, optimizer, None if plateau else scheduler, 3)
    model(torch.arange(5)).sum().backward()

    def all_of_it() -> object:
        return (
            copy.deepcopy(
                (
                    [(n, p.detach(), p.grad, p._version) for n, p in model.named_parameters()],
                    optimizer.state_dict(),
                    scheduler.state_dict(),
                    sorted(vars(optimizer)),
                    torch.get_rng_state(),
                    random.getstate(),
                )
            ),
            np.random.get_state()[1].tolist(),
            len(optimizer._optimizer_step_pre_hooks),
        )

    before = all_of_it()
    dw.doctor(model, optimizer, scheduler, horizon=RUN, processes=2, accumulation=2)
    assert str(before) == str(all_of_it())
    exact = [p.detach().clone() for p in model.parameters()]
    dw.doctor(model, optimizer, scheduler)
    assert all(torch.equal(a, b) for a, b in zip(exact, model.parameters(), strict=True))


def test_looking_at_a_planned_optimiser_changes_nothing_and_tells_its_plan() -> None:
    model = Block()
    plan = dw.parse("peak 1e-3 | warmup 5%, cosine to 0 | decoupled 0.1")
    optimizer = torch.optim.AdamW(model.named_parameters())
    control = dw.torch.attach(optimizer, plan, RUN, model=model)
    trained(model, optimizer, updates=3)
    before = str(optimizer.state_dict()), control.step, control.lr
    setup = read(model, optimizer)
    assert setup.followed
    assert setup.plan == plan
    assert setup.horizon == RUN
    np.testing.assert_allclose(setup.course().lr[0], plan.lrs(RUN), rtol=1e-12)
    assert not bad(dw.doctor(model, optimizer))
    assert before == (str(optimizer.state_dict()), control.step, control.lr)
    own = dw.torch.AdamW(model.named_parameters(), plan, RUN, model=model)
    assert not bad(dw.doctor(model, own))


# --- the rates ahead are those that come


@pytest.mark.parametrize(
    "build",
    [
        lambda o: schedulers.CosineAnnealingLR(o, 40, eta_min=1e-3),
        lambda o: schedulers.OneCycleLR(o, [0.1, 0.2], total_steps=40),
        lambda o: schedulers.SequentialLR(
            o, [schedulers.LinearLR(o, 0.1, total_iters=5), schedulers.CosineAnnealingLR(o, 35)], [5]
        ),
        lambda o: schedulers.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: max(0.0, 1 - t / 40)]),
        lambda o: schedulers.CyclicLR(o, 0.01, 0.1, step_size_up=7),
        lambda o: schedulers.MultiStepLR(o, [10, 20]),
        lambda o: schedulers.ChainedScheduler([schedulers.ConstantLR(o, 0.5, 4), schedulers.ExponentialLR(o, 0.9)]),
    ],
)
@pytest.mark.parametrize("done", [0, 7])
def test_the_course_is_what_comes(build: object, done: int) -> None:
    model = mlp()
    optimizer = torch.optim.SGD(two_groups(model, 0.0), lr=0.1, momentum=0.9)
    scheduler = build(optimizer)  # type: ignore[operator]
    trained(model, optimizer, scheduler, done)
    course = read(model, optimizer, scheduler, horizon=dw.Horizon(steps=40)).course()
    assert course.whole
    for at, *lrs in zip(course.at, *course.lr, strict=True):
        assert at == scheduler.last_epoch if hasattr(scheduler, "last_epoch") else True
        np.testing.assert_allclose(lrs, [g["lr"] for g in optimizer.param_groups], rtol=1e-12)
        if at < 39:
            trained(model, optimizer, scheduler)


# --- healthy recipes


def warm_cosine(o: torch.optim.Optimizer, steps: int = 1000, warm: int = 50) -> schedulers.LambdaLR:
    def factor(t: int) -> float:
        return t / warm if t < warm else 0.5 * (1 + math.cos(math.pi * min(1.0, (t - warm) / (steps - warm))))

    return schedulers.LambdaLR(o, factor)


def adamw(lr: float, lam: float) -> object:
    return lambda model: torch.optim.AdamW(two_groups(model, lam), lr=lr)


def sgd(model: nn.Module, lam: float = 5e-4) -> torch.optim.Optimizer:
    return torch.optim.SGD(two_groups(model, lam), lr=0.1, momentum=0.9)


def warm_then_cosine(o: torch.optim.Optimizer, warm: int, rest: int) -> schedulers.SequentialLR:
    parts = [schedulers.LinearLR(o, 0.01, total_iters=warm), schedulers.CosineAnnealingLR(o, rest)]
    return schedulers.SequentialLR(o, parts, [warm])


def linear(o: torch.optim.Optimizer) -> schedulers.LambdaLR:
    return schedulers.LambdaLR(o, lambda t: max(0.0, 1 - t / 1000))


def noam(o: torch.optim.Optimizer) -> schedulers.LambdaLR:
    return schedulers.LambdaLR(o, lambda t: min((t + 1) ** -0.5, (t + 1) * 100**-1.5) * 10)


def wsd(o: torch.optim.Optimizer) -> schedulers.LambdaLR:
    return schedulers.LambdaLR(o, lambda t: min(1.0, (t + 1) / 20, max(0.0, (1000 - t) / 200)))


S = schedulers
HEALTHY = {
    "adamw two groups": (Block, adamw(1e-3, 0.1), warm_cosine),
    "nanogpt": (Block, adamw(6e-4, 0.1), warm_cosine),
    "tied": (partial(Block, True), adamw(6e-4, 0.1), warm_cosine),
    "finetune": (Block, adamw(5e-5, 0.01), linear),
    "small rate": (Block, adamw(1e-5, 0.01), linear),
    "resnet steps": (conv, sgd, lambda o: S.StepLR(o, 3)),
    "resnet milestones": (conv, partial(sgd, lam=1e-4), lambda o: S.MultiStepLR(o, [5, 8])),
    "cosine by epochs": (conv, sgd, lambda o: S.CosineAnnealingLR(o, 10)),
    "cosine by steps": (conv, sgd, lambda o: S.CosineAnnealingLR(o, 1000)),
    "one cycle": (conv, sgd, lambda o: S.OneCycleLR(o, 0.1, total_steps=1000)),
    "one cycle adam": (mlp, adamw(1e-3, 0.01), lambda o: S.OneCycleLR(o, 1e-3, epochs=10, steps_per_epoch=100)),
    "linear and cosine": (Block, adamw(1e-3, 0.05), lambda o: warm_then_cosine(o, 50, 950)),
    "lightning by step": (Block, adamw(1e-3, 0.05), lambda o: {"scheduler": warm_cosine(o), "interval": "step"}),
    "lightning by epoch": (conv, sgd, lambda o: {"scheduler": S.CosineAnnealingLR(o, 10)}),
    "restarts": (conv, sgd, lambda o: S.CosineAnnealingWarmRestarts(o, 100, 2)),
    "cyclic": (conv, sgd, lambda o: S.CyclicLR(o, 0.01, 0.1, step_size_up=100)),
    "plateau": (conv, sgd, S.ReduceLROnPlateau),
    "exponential": (mlp, lambda m: torch.optim.Adam(m.parameters(), lr=1e-3), lambda o: S.ExponentialLR(o, 0.95)),
    "adam constant": (mlp, lambda m: torch.optim.Adam(m.parameters(), lr=1e-3), lambda o: None),
    "sgd plain": (mlp, lambda m: torch.optim.SGD(m.parameters(), lr=0.1), lambda o: None),
    "polynomial": (conv, sgd, lambda o: S.PolynomialLR(o, 1000, 0.9)),
    "adam decoupled": (
        mlp, lambda m: torch.optim.Adam(two_groups(m, 0.01), lr=1e-3, decoupled_weight_decay=True), lambda o: None,
    ),
    "noam": (Block, lambda m: torch.optim.Adam(m.parameters(), lr=1e-3, betas=(0.9, 0.98)), noam),
    "wsd": (Block, adamw(1e-3, 0.1), wsd),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("horizon", [RUN, None])
def test_an_ordinary_recipe_is_left_in_peace(name: str, horizon: dw.Horizon | None) -> None:
    make, optimise, schedule = HEALTHY[name]
    model = make()
    optimizer = optimise(model)
    scheduler = schedule(optimizer)
    assert bad(dw.doctor(model, optimizer, scheduler, horizon=horizon)) == []


@pytest.mark.parametrize(
    "name", [n for n in HEALTHY if n not in ("plateau", "lightning by step", "lightning by epoch")]
)
def test_and_so_it_is_in_the_middle_of_the_run(name: str) -> None:
    make, optimise, schedule = HEALTHY[name]
    model = make()
    optimizer = optimise(model)
    scheduler = schedule(optimizer)
    by_epoch = name in ("resnet steps", "resnet milestones", "cosine by epochs", "exponential")
    if by_epoch:
        trained(model, optimizer, None, 100)
        scheduler.step()
        trained(model, optimizer, None, 30)
    else:
        trained(model, optimizer, scheduler, 130)
    assert bad(dw.doctor(model, optimizer, scheduler, horizon=RUN)) == []


def test_a_rate_that_dies_away_has_no_length_of_its_own() -> None:
    run = dw.Horizon(epochs=90, steps_per_epoch=5005)
    model = conv()

    def found(build: Callable[[torch.optim.Optimizer], Any], horizon: dw.Horizon | int) -> list[tuple[str, str, str]]:
        optimizer = sgd(model)
        seen = dw.doctor(model, optimizer, build(optimizer), horizon=horizon)
        return [(f.severity, f.verdict, f.remedy.says) for f in seen if f.code == "schedule-short"]

    right = "is right if it is stepped once an epoch; stepped with every update its rate is"
    do = "slow the decay, or step it once an epoch"
    assert found(lambda o: S.StepLR(o, 30), run) == [("note", f"StepLR {right} 0 from update 9,690 of 450,450 on.", do)]
    assert found(lambda o: S.LambdaLR(o, lambda e: 0.95**e), run) == [
        ("note", f"LambdaLR {right} about 0 of the base from update 405 of 450,450 on.", do)
    ]
    by_update = lambda o: {"scheduler": S.StepLR(o, 30), "interval": "step"}  # noqa: E731
    assert [(severity, says) for severity, _, says in found(by_update, run)] == [("fault", do)]
    assert [severity for severity, *_ in found(lambda o: S.LambdaLR(o, lambda t: max(0.0, 1 - t / 300)), 1000)] == [
        "fault"
    ]


# --- each code


def test_decay_on_everything() -> None:
    model = Block()
    found = dw.doctor(model, torch.optim.AdamW(model.parameters(), lr=3e-4))
    assert set(codes(found, "warning")) == {"decay-on-bias", "decay-on-norm"}
    assert codes(found, "note") == ["decay-on-embedding", "warmup-missing"]
    bias = next(f for f in found if f.code == "decay-on-bias")
    assert bias.evidence["parameters"] == ["attn.in_proj_bias", "attn.out_proj.bias"]
    assert bias.remedy.change == {"mask": ('name "*" decays', "standard")}
    norm = next(f for f in found if f.code == "decay-on-norm")
    assert norm.evidence["parameters"] == ["ln.weight", "ln.bias"]


@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, torch.optim.NAdam, torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.RAdam]
)
def test_l2_under_an_adaptive_optimiser(kind: object) -> None:
    model = mlp()
    found = dw.doctor(model, kind(two_groups(model, 1e-4)))  # type: ignore[operator]
    assert codes(found, "warning") == ["adam-l2"]
    assert found[0].remedy.change == {"decay": ("l2 1e-4", "decoupled 0.01")}  # where the search for λ may begin


def test_decay_that_bfloat16_rounds_away_and_one_that_dwindle_keeps() -> None:
    model = Block().bfloat16()
    optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)
    found = dw.doctor(model, optimizer, warm_cosine(optimizer), horizon=RUN)
    lost = next(f for f in found if f.code == "decay-rounds-away")
    assert lost.severity == "fault"
    assert lost.evidence["decay_lost_at_least"] == 1.0
    weight = torch.nn.Parameter(torch.full((2, 2), 1.5, dtype=torch.bfloat16))  # and that is what happens
    alone = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.1)
    weight.grad = torch.zeros_like(weight)
    for _ in range(50):
        alone.step()
    assert torch.all(weight == 1.5)
    kept = Block().bfloat16()
    plan = dw.parse("peak 1e-3 | warmup 5%, cosine to 0 | decoupled 0.1")
    planned = torch.optim.AdamW(kept.named_parameters())
    dw.torch.attach(planned, plan, RUN, model=kept)
    assert "decay-rounds-away" not in codes(dw.doctor(kept, planned))


class Kahan(Odd):
    """Somebody's optimiser that keeps what rounding takes, as torchao's or optimi's do."""

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                rest = self.state[p].setdefault("rest", torch.zeros_like(p))
                rest.add_(p, alpha=-group["lr"] * group["shrinkage"]).sub_(group["lr"] * p.grad.sign())
                old = p.clone()
                p.add_(rest)
                rest.sub_(p - old)


def test_an_optimiser_that_keeps_what_rounding_takes_is_seen_to_do_so() -> None:
    model = nn.Linear(4, 4, bias=False).bfloat16()
    assert "decay-rounds-away" in codes(dw.doctor(model, Odd(model.parameters(), 1e-2, 0.1), horizon=1000))
    assert "decay-rounds-away" not in codes(dw.doctor(model, Kahan(model.parameters(), 1e-2, 0.1), horizon=1000))


def test_the_share_of_a_float32_tail_that_is_lost_is_that_of_a_simulation() -> None:
    steps, lr, lam = 4000, 1e-4, 2e-3
    model = nn.Linear(64, 64, bias=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=lam)
    found = dw.doctor(model, optimizer, schedulers.LambdaLR(optimizer, lambda t: 1 - t / steps), horizon=steps)
    lost = next(f for f in found if f.code == "decay-rounds-away").evidence
    shares = lr * lam * (1 - np.arange(steps) / steps)
    w = np.exp2(np.random.default_rng(0).uniform(-3, 3, 4000)).astype(np.float32)
    felt = np.array([np.mean((w.astype(np.float64) * (1 - x)).astype(np.float32) != w) for x in shares])
    assert np.all(felt[shares < 2.0**-25] == 0.0)
    assert lost["decay_lost_at_least"] == pytest.approx(shares[felt == 0.0].sum() / shares.sum(), rel=0.02)
    assert lost["decay_lost_at_most"] == pytest.approx(shares[felt < 1.0].sum() / shares.sum(), rel=0.02)


def test_no_gradient_and_frozen() -> None:
    model = Block()
    optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-4)
    model.head(model.wte(torch.arange(3))).sum().backward()
    found = dw.doctor(model, optimizer)
    idle = next(f for f in found if f.code == "decay-without-gradient")
    assert idle.evidence["parameters"] == ["attn.in_proj_weight", "attn.out_proj.weight"]
    model.head.weight.requires_grad_(False)
    moving = next(f for f in dw.doctor(model, optimizer) if f.code == "decay-on-frozen")
    assert moving.severity == "fault"
    model.zero_grad()
    harmless = next(f for f in dw.doctor(model, optimizer) if f.code == "decay-on-frozen")
    assert harmless.severity == "note"


class Branches(nn.Module):
    """Two branches, the second times a factor; the head begins at 0 if it is told so."""

    def __init__(self, factor: float, head_at_zero: bool = False) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 2)
        self.factor = factor
        if head_at_zero:
            nn.init.zeros_(self.head.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.first(x) + self.factor * self.second(x))


def zero_gradients(model: nn.Module, optimizer: torch.optim.Optimizer, updates: int) -> list[list[str]]:
    for i in range(updates + 1):
        optimizer.zero_grad()
        model(torch.randn(5, 3)).pow(2).sum().backward()
        if i < updates:
            optimizer.step()
    found = [f for f in dw.doctor(model, optimizer) if f.code == "decay-without-gradient"]
    return [f.evidence["parameters"] for f in found if f.evidence["gradient"] == "zero"]


def test_a_gradient_of_exactly_0_is_told_from_none() -> None:
    def adamw(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)

    for updates in (0, 3):
        model = Branches(0.0)
        optimizer = adamw(model)
        assert zero_gradients(model, optimizer, updates) == [["second.weight"]]
    before = model.second.weight.detach().clone()  # and that is what happens: decay alone moves it
    optimizer.step()
    torch.testing.assert_close(model.second.weight.detach(), before * (1 - 1e-3 * 0.1), rtol=1e-6, atol=0.0)
    model = Branches(1.0)
    optimizer = adamw(model)
    assert zero_gradients(model, optimizer, 3) == []
    model.factor = 0.0  # it rests for a batch: the averages remember its gradient
    assert zero_gradients(model, optimizer, 0) == []
    optimizer.zero_grad(set_to_none=False)  # nothing can be told
    assert "decay-without-gradient" not in codes(dw.doctor(model, optimizer))
    model = Branches(1.0, head_at_zero=True)  # as LoRA and many heads begin
    assert zero_gradients(model, adamw(model), 0) == []


def test_scale_invariant_weights_in_a_short_run() -> None:
    model = conv()
    found = dw.doctor(model, torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3), horizon=1000)
    finding = next(f for f in found if f.code == "decay-scale-invariant")
    assert finding.evidence["parameters"] == ["0.weight"]
    assert finding.evidence["dose"] == pytest.approx(0.1)
    settled = dw.doctor(model, torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3), horizon=30_000)
    assert next(f for f in settled if f.code == "decay-scale-invariant").evidence["dose"] == pytest.approx(3.0)
    unknown = dw.doctor(model, torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3))
    assert next(f for f in unknown if f.code == "decay-scale-invariant").evidence["dose"] is None


@pytest.mark.parametrize(("lam", "severity"), [(1000.0, "fault"), (2500.0, "fault"), (300.0, "warning")])
def test_lr_times_lambda_too_large(lam: float, severity: str) -> None:
    model = mlp()
    found = dw.doctor(model, torch.optim.AdamW(two_groups(model, lam), lr=1e-3), horizon=RUN)
    assert next(f for f in found if f.code == "lr-lambda-large").severity == severity


def test_lengths_and_the_ratio_that_explains_them() -> None:
    def one(build: object, **kw: int) -> dict[str, object]:
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        return {f.code: f for f in dw.doctor(model, optimizer, build(optimizer), horizon=RUN, **kw)}  # type: ignore[operator]

    short = one(lambda o: schedulers.CosineAnnealingLR(o, 500))
    assert {"schedule-short", "lr-rise"} <= short.keys()
    assert short["lr-rise"].evidence["lowest_at"] == 500  # type: ignore[attr-defined]
    for kw, name in (({"processes": 4}, "per process"), ({"accumulation": 4}, "per micro-batch")):
        long = one(lambda o: schedulers.CosineAnnealingLR(o, 4000), **kw)
        assert long["schedule-long"].evidence["ratio_is"] == name  # type: ignore[attr-defined]
        assert long["wrong-stepping"].subject == name  # type: ignore[attr-defined]
    assert one(lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=10))["wrong-stepping"].severity == "fault"  # type: ignore[attr-defined]
    by_epoch = one(lambda o: {"scheduler": schedulers.CosineAnnealingLR(o, 1000)})
    assert by_epoch["wrong-stepping"].subject == "per epoch"  # type: ignore[attr-defined]
    assert one(lambda o: schedulers.CosineAnnealingLR(o, 10))["wrong-stepping"].severity == "note"  # type: ignore[attr-defined]
    assert (
        one(lambda o: schedulers.LambdaLR(o, lambda t: max(0.0, 1 - t / 3000)))["schedule-long"].evidence["length"]
        == 3000
    )  # type: ignore[attr-defined]


def test_counts_seen_in_the_run() -> None:
    def seen(steps_of: object, length: int, **kw: int) -> list[str]:
        model = mlp()
        optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)
        scheduler = schedulers.CosineAnnealingLR(optimizer, length)
        for i in range(200):
            trained(model, optimizer)
            for _ in range(steps_of(i)):  # type: ignore[operator]
                scheduler.step()
        return [
            f"{f.severity} {f.subject}"
            for f in dw.doctor(model, optimizer, scheduler, horizon=RUN, **kw)
            if f.code == "wrong-stepping"
        ]

    assert seen(lambda i: 1, 1000) == []
    assert seen(lambda i: 4, 1000, accumulation=4) == ["fault per micro-batch"]
    assert seen(lambda i: 4, 4000, accumulation=4) == []
    assert seen(lambda i: 2, 1000, processes=2) == ["fault per process"]
    assert seen(lambda i: i % 100 == 99, 10) == []
    assert seen(lambda i: i % 100 == 99, 1000) == ["fault per epoch"]
    assert seen(lambda i: 1, 10) == ["fault per epoch"]
    assert seen(lambda i: 0, 1000) == ["fault never"]


def test_counts_seen_where_no_epoch_is_known() -> None:
    def seen(every: int, length: int, updates: int) -> list[str]:
        model = mlp()
        optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)
        scheduler = schedulers.CosineAnnealingLR(optimizer, length)
        for i in range(updates):
            trained(model, optimizer)
            if i % every == every - 1:
                scheduler.step()
        return bad(dw.doctor(model, optimizer, scheduler, horizon=1000))

    assert any("wrong-stepping per epoch" in said for said in seen(50, 1000, 150))
    assert any("wrong-stepping never" in said for said in seen(50, 1000, 20))
    assert seen(100, 10, 230) == []  # epochs: the next count may be due
    assert seen(1, 1000, 40) == []


def test_a_linear_fall_has_an_end_and_a_warm_up_none() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(two_groups(model, 1e-3), lr=0.1)

    def found(scheduler: object) -> list[str]:
        return [
            f"{f.severity} {f.code}"
            for f in dw.doctor(model, optimizer, scheduler, horizon=1000)
            if f.severity != "note"
        ]

    assert found(S.LinearLR(optimizer, 1.0, 0.0, 300)) == ["fault schedule-short"]
    assert found(S.LinearLR(optimizer, 1.0, 0.0, 1000)) == []
    assert found(S.LinearLR(optimizer, 0.1, 1.0, 50)) == []
    assert found(S.MultiplicativeLR(optimizer, lambda t: float(t < 300))) == ["fault schedule-short"]


def test_a_scheduler_of_another_optimiser() -> None:
    model = mlp()
    first, second = (torch.optim.SGD(model.parameters(), lr=0.1) for _ in range(2))
    found = dw.doctor(model, second, schedulers.CosineAnnealingLR(first, 1000), horizon=RUN)
    assert [(f.code, f.subject) for f in found if f.severity == "fault"] == [("wrong-stepping", "another optimiser")]


def test_resumed_from_different_moments() -> None:
    def built() -> tuple[nn.Module, torch.optim.Optimizer, schedulers.LambdaLR]:
        model = mlp()
        optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)
        return model, optimizer, warm_cosine(optimizer)

    def found(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: object) -> list[str]:
        return [f.subject for f in dw.doctor(model, optimizer, scheduler, horizon=RUN) if f.code == "wrong-resume"]

    model, optimizer, scheduler = built()
    trained(model, optimizer, scheduler, 300)
    state, rates = optimizer.state_dict(), scheduler.state_dict()

    model, optimizer, scheduler = built()  # as it should be
    scheduler.load_state_dict(rates)
    optimizer.load_state_dict(state)
    assert found(model, optimizer, scheduler) == []

    model, optimizer, scheduler = built()  # the scheduler begins anew
    optimizer.load_state_dict(state)
    assert found(model, optimizer, scheduler)[0] == "counts"

    model, optimizer, scheduler = built()  # the optimiser begins anew
    scheduler.load_state_dict(rates)
    assert found(model, optimizer, scheduler) == ["counts", "present rates"]

    model, optimizer, scheduler = built()  # from a later checkpoint
    optimizer.load_state_dict(state)
    scheduler.load_state_dict(rates)
    scheduler.last_epoch = 800
    assert found(model, optimizer, scheduler) == ["counts"]

    model = mlp()  # the rate of the configuration was changed meanwhile
    optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=5e-4)
    scheduler = warm_cosine(optimizer)
    optimizer.load_state_dict(state)
    assert "initial rates" in found(model, optimizer, scheduler)


def test_membership() -> None:
    model = Block()
    optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-4)
    optimizer.param_groups[1]["params"].append(model.wte.weight)
    found = {f.code: f for f in dw.doctor(model, optimizer)}
    assert found["duplicate-parameters"].evidence["parameters"] == ["wte.weight"]
    assert "tied-parameters" not in found

    tied = Block(tied=True)
    optimizer = torch.optim.AdamW(two_groups(tied, 0.1), lr=1e-4)
    once = next(f for f in dw.doctor(tied, optimizer) if f.code == "tied-parameters")
    assert (once.severity, once.evidence["names"]) == ("note", ["wte.weight", "head.weight"])
    optimizer.param_groups[1]["params"].append(tied.wte.weight)
    found = {f.code: f for f in dw.doctor(tied, optimizer)}
    assert set(found["tied-parameters"].evidence["names"]) == {"wte.weight", "head.weight"}
    assert found["tied-parameters"].severity == "fault"

    shared = Block()
    shared.head.weight.data = shared.wte.weight.data  # two parameters, one memory: both are updated
    found = {f.code: f for f in dw.doctor(shared, torch.optim.AdamW(two_groups(shared, 0.1), lr=1e-4))}
    assert found["tied-parameters"].severity == "fault"

    part = mlp()
    found = {f.code: f for f in dw.doctor(part, torch.optim.SGD(part[2].parameters(), lr=0.1))}
    assert found["unoptimised-parameters"].evidence["parameters"] == ["0.weight", "0.bias"]


def test_a_model_and_an_optimiser_that_are_strangers() -> None:
    with pytest.raises(dw.errors.InvalidValueError, match="owns none"):
        dw.doctor(mlp(), torch.optim.SGD(mlp().parameters(), lr=0.1))
    with pytest.raises(dw.errors.InvalidValueError, match="the doctor looks at"):
        dw.doctor(3, 4)
    model = mlp()
    with pytest.raises(dw.errors.InvalidValueError, match="scheduler must be"):
        dw.doctor(model, torch.optim.SGD(model.parameters(), lr=0.1), 3)


def test_schedulers_of_transformers_and_accelerate() -> None:
    transformers, accelerate = (
        pytest.importorskip("transformers.optimization"),
        pytest.importorskip("accelerate.scheduler"),
    )
    pytest.importorskip("accelerate").Accelerator(cpu=True)
    model = Block()

    def one(length: int, wrapped: bool, **kw: int) -> list[str]:
        optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1e-3)
        scheduler = transformers.get_cosine_schedule_with_warmup(optimizer, 50, length)
        given = accelerate.AcceleratedScheduler(scheduler, optimizer) if wrapped else scheduler
        return sorted(
            f"{f.code} {f.subject}"
            for f in dw.doctor(model, optimizer, given, horizon=RUN, **kw)
            if f.severity != "note"
        )

    who = "cosine_schedule_with_warmup"
    assert one(1000, False) == []
    assert one(1000, False, processes=4) == []
    assert one(4000, True, processes=4) == []
    assert one(1000, True, processes=4) == [f"lr-rise {who}", f"schedule-short {who}", "wrong-stepping per process"]
    assert one(4000, False, processes=4) == [f"schedule-long {who}", "wrong-stepping per process"]
    assert one(3000, False) == [f"schedule-long {who}"]


# --- plans


@pytest.mark.parametrize(
    ("text", "steps", "wanted"),
    [
        ("peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1", 1000, []),
        ("peak 0.1 | step by 0.1 every 300st | l2 1e-4", 1000, []),
        ("peak 3e-4 | warmup 5%, constant | decoupled 0.1", 1000, []),
        ("peak 0.1 | cosine to 0 over 500st | l2 1e-4", 1000, ["schedule-short"]),
        ("peak 0.1 | cosine to 0 over 5000st | l2 1e-4", 1000, ["schedule-long"]),
        ("peak 0.1 | (cosine to 0% over 500st) mirror every 500st | l2 1e-4", 1000, ["lr-rise", "schedule-short"]),
        ("peak 0.1 | warmup 80%, cosine to 0 | l2 1e-4", 1000, ["warmup-long"]),
        ("peak 1e-3 | warmup 2%, cosine to 0 | decoupled 1000 overshoot", 1000, ["lr-lambda-large"]),
        (
            'peak 1e-3 | warmup 2%, cosine to 0 | decoupled 0.1 | mask name "*" decays',
            1000,
            ["decay-on-bias", "decay-on-norm"],
        ),
    ],
)
def test_plans(text: str, steps: int, wanted: list[str]) -> None:
    found = of_plan(dw.parse(text), steps)
    assert sorted({f.code for f in found if f.severity != "note"}) == sorted(wanted), bad(found)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("peak 1e-3 | warmup 70%, linear to 0% | decoupled 0.1", ["warmup-long"]),
        ("peak 1e-3 | warmup 100%, constant | decoupled 0.1", ["warmup-long"]),
        ("peak 0.1 | linear to 0 over 30% | l2 1e-4", ["schedule-short"]),
        ("peak 0.1 | (cosine to 0 over 40%) mirror every 40% | l2 1e-4", ["lr-rise", "schedule-short"]),
        ("peak 0.1 | (cosine to 0 over 25%) repeat every 25% | l2 1e-4", []),
        ("peak 1e-3 | warmup 5%, cosine to 0 | decoupled 0.1", []),
        ("peak 0.1 | piecewise at [50% 75%] factors [1 0.1 0.01] | l2 1e-4", []),
        ("peak 1e-3 | warmup 7000st, cosine to 0 | decoupled 0.1", []),  # of how many is not known
        ("peak 1e-3 | warmup 7ep, cosine to 0 | decoupled 0.1", []),
    ],
)
def test_a_plan_in_shares_is_judged_without_a_run(text: str, wanted: list[str]) -> None:
    loud = [f for f in of_plan(dw.parse(text)) if f.severity != "note"]
    assert sorted(f.code for f in loud) == wanted
    for finding in loud:  # no number of steps is known, so none is said
        assert "update" not in finding.verdict
        assert "0,000" not in f"{finding.verdict} {finding.remedy.says}"
        assert not {"steps", "peak_at", "lowest_at", "length"} & set(finding.evidence)


def test_what_a_plan_is_told_names_no_parameter() -> None:
    plans = ("peak 1e-6 | linear | decoupled 1e-4", 'peak 0.9 | linear | decoupled 0.9 | mask name "*" decays')
    for plan, dtype in [(p, d) for p in plans for d in ("float32", "bfloat16")]:
        for finding in of_plan(dw.parse(plan), 5000, dtype=dtype, adaptive=True, optimizer="Adam", attends=True):
            assert not re.search(r"any\.|norm\.weight|embedding\.weight", str(finding.as_dict())), finding


@pytest.mark.parametrize(
    "dtype", ["bf16", "bfloat16", "torch.bfloat16", torch.bfloat16, "fp16", np.float16, np.dtype("float16")]
)
def test_a_type_of_the_weights_goes_by_all_its_names(dtype: object) -> None:
    plan = dw.parse("peak 1e-3 | cosine | decoupled 0.1")
    assert "decay-rounds-away" in {f.code for f in of_plan(plan, 1000, dtype=dtype)}
    with pytest.raises(dw.DwindleError, match="dtype 'bf17' is not known; did you mean 'bf16'"):
        of_plan(plan, 1000, dtype="bf17")


def in_flight(build: object, done: int, horizon: int) -> set[str]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scheduler = build(optimizer)  # type: ignore[operator]
    for _ in range(done):
        optimizer.step()
        scheduler.step()
    return {f.code for f in dw.doctor(model, optimizer, scheduler, horizon=horizon) if f.severity != "note"}


@pytest.mark.parametrize("done", [0, 30, 50, 60, 95])
def test_a_cosine_past_its_end_rises_from_wherever_it_is_seen(done: int) -> None:
    found = in_flight(lambda o: schedulers.CosineAnnealingLR(o, 50), done, 100)
    assert ("lr-rise" in found) == (done < 95)  # the little that is left then is no rise
    assert "warmup-long" not in found


@pytest.mark.parametrize("done", [0, 5, 15])
def test_a_warm_up_seen_from_within_is_one(done: int) -> None:
    def build(warm: int) -> object:
        part = schedulers
        return lambda o: part.SequentialLR(
            o, [part.LinearLR(o, 0.01, total_iters=warm), part.CosineAnnealingLR(o, 100 - warm)], [warm]
        )

    assert in_flight(build(20), done, 100) == set()
    assert "warmup-long" in in_flight(build(70), done, 100)


@given(st.integers(2, 8), st.floats(0.0, 0.1))
@settings(max_examples=25, deadline=None)
def test_restarts_with_a_quick_warm_up_are_meant_and_mirrors_are_not(cycles: int, warm: float) -> None:
    steps = 200 * cycles

    def restart(t: int) -> float:
        part = (t % 200) / 200.0
        return part / warm if part < warm else 0.5 * (1.0 + math.cos(math.pi * (part - warm) / (1.0 - warm)))

    assert "lr-rise" not in in_flight(lambda o: schedulers.LambdaLR(o, restart), 0, steps)
    mirrored = lambda t: 0.5 * (1.0 + math.cos(math.pi * t / 200.0))  # noqa: E731
    assert "lr-rise" in in_flight(lambda o: schedulers.LambdaLR(o, mirrored), 0, steps)


def test_a_time_scale_of_a_few_updates_needs_no_run() -> None:
    assert "lr-lambda-large" in {f.code for f in of_plan(dw.parse("peak 1 | constant | decoupled 0.8"))}
    assert "lr-lambda-large" not in {f.code for f in of_plan(dw.parse("peak 1 | constant | decoupled 0.05"))}


def test_every_remedy_that_is_a_diff_can_be_read() -> None:
    texts = [
        'peak 1e-3 | cosine to 0 over 500st | decoupled 900 | mask name "*" decays',
        "peak 0.1 | warmup 80%, cosine to 0 | l2 1e-4",
    ]
    changes = [
        f.remedy.change
        for t in texts
        for f in of_plan(dw.parse(t), 1000, adaptive=True, optimizer="Adam", attends=True)
    ]
    assert any(changes)
    for change in changes:
        for field, (_, then) in change.items():
            dw.parse(
                f"peak 1e-3 | {then}"
                if field in ("schedule", "decay")
                else f"peak 0.1 | constant | decoupled 0.1 | {field} {then}"
            )


def test_the_codes_are_those_that_are_named() -> None:
    model = Block().bfloat16()
    found = of_setup(read(model, torch.optim.Adam(model.parameters(), weight_decay=0.1), horizon=RUN))
    assert {f.code for f in found} <= set(CODES)
    assert len(set(CODES)) == 20


def by_function(function: Callable[[int], Any], horizon: Any, lr: float = 0.1) -> tuple[Any, ...]:
    model = mlp()
    optimizer = torch.optim.SGD(two_groups(model, 1e-4), lr=lr)
    return dw.doctor(model, optimizer, schedulers.LambdaLR(optimizer, function), horizon=horizon)


def asserting(step: int) -> float:
    """The rate of build-nanogpt, whose ratio is asserted to be one."""
    if step < 100:
        return (step + 1) / 100
    ratio = (step - 100) / 900
    assert 0 <= ratio <= 1
    return 0.1 + 0.45 * (1.0 + math.cos(math.pi * ratio))


ENDING: dict[str, Callable[[int], Any]] = {
    "poly": lambda t: (1.0 - t / 1000) ** 0.9,  # a complex number from 1001 on
    "asserting": asserting,
    "table": np.linspace(1.0, 0.0, 1000).tolist().__getitem__,
    "root": lambda t: math.sqrt(1.0 - t / 1000),
    "divides": lambda t: 1.0 / (1 if t < 1000 else 0),
    "nan": lambda t: 1.0 - t / 1001 if t <= 1000 else math.nan,
}


@pytest.mark.parametrize("name", ENDING)
def test_a_function_that_ends_with_the_run_is_right_and_one_that_ends_before_is_not(name: str) -> None:
    function = ENDING[name]
    assert bad(by_function(function, 1000)) == []
    short = by_function(function, 2000)
    assert codes(short, "fault") == ["schedule-short"]
    assert re.search(r"its function has no rate from count 100[01] on\) ends at update 1,00[01] of 2,000, and the run cannot",
                     short[0].verdict)  # fmt: skip
    one_an_epoch = by_function(function, dw.Horizon(epochs=990, steps_per_epoch=50))
    assert codes(one_an_epoch, "fault") == codes(one_an_epoch, "warning") == []
    for few in (3, 51):  # 1 - t / epochs has a rate at its last count, 0, and the run ends before that
        ends = by_function(lambda t, few=few: (1.0 - t / few) ** 0.9, dw.Horizon(epochs=few, steps_per_epoch=391))
        assert [(f.code, f.severity) for f in ends] == [("wrong-stepping", "note")]
    fits = by_function(function, dw.Horizon(epochs=800, steps_per_epoch=50))
    assert codes(fits) == ["schedule-short"]
    assert "is right if it is stepped once an epoch" in fits[0].verdict


def test_a_function_made_for_more_than_the_run_is_too_long_only_where_it_comes_to_nothing() -> None:
    for run in (500, dw.Horizon(epochs=10, steps_per_epoch=50)):
        assert codes(by_function(ENDING["poly"], run), "fault") == ["schedule-long"]
    assert codes(by_function(([1.0] * 1000).__getitem__, 500)) == []


def test_a_scheduler_whose_step_fails_is_read_as_far_as_it_goes() -> None:
    model = mlp()
    optimizer = torch.optim.SGD(two_groups(model, 1e-4), lr=0.1)
    scheduler = schedulers.MultiplicativeLR(optimizer, lambda t: 0.999 if t < 400 else [][t])
    setup = read(model, optimizer, scheduler, horizon=dw.Horizon(steps=1000))
    assert setup.course().at[-1] == 399
    assert not setup.course().whole


class Gradual(schedulers.LRScheduler):
    """The warm-up of pytorch-gradual-warmup-lr, which hands over to another scheduler."""

    def __init__(self, optimizer: Any, warm: int, after: Any) -> None:
        self.warm, self.after = warm, after
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch > self.warm:
            return list(self.after.get_last_lr())
        return [base * self.last_epoch / self.warm for base in self.base_lrs]

    def step(self, epoch: int | None = None) -> None:
        if getattr(self, "last_epoch", 0) > self.warm:
            self.after.step()
            self._last_lr = self.after.get_last_lr()
        else:
            super().step()


def test_a_plan_that_is_over_before_the_run_has_no_length_below_0() -> None:
    found = of_plan(dw.Plan(1e-3, schedule=dw.linear(100).shift(-500)), 1000)
    said = {f.code: f.verdict for f in found}["schedule-short"]
    assert said.startswith(
        "the plan (0 steps) ends at update 0 of 1,000, and the last 100.0% of the run are at a rate of 0."
    )


def test_stairs_between_points_have_no_end_as_pieces_have_none() -> None:
    def found(schedule: dw.Schedule) -> set[str]:
        return {f.code for f in of_plan(dw.Plan(0.1, schedule=schedule), 1000)}

    stairs = dw.interpolate([0, 300, 301, 600, 601], [1.0, 1.0, 0.1, 0.1, 0.01])
    assert found(stairs) == found(dw.piecewise([300, 600], [1.0, 0.1, 0.01]))
    assert "schedule-short" not in found(stairs)
    assert "schedule-short" in found(dw.interpolate([0, 100, 500, 601], [0.0, 1.0, 1.0, 0.01]))  # held, then down
    assert "schedule-short" in found(
        dw.interpolate([0, 100, 300, 400, 500], [1.0, 0.3, 0.3, 0.1, 0.0])
    )  # a stair, then to 0


def test_a_rise_at_the_end_of_the_epochs_is_a_note_as_a_length_of_the_epochs_is() -> None:
    def found(horizon: Any) -> list[tuple[str, str]]:
        model = mlp()
        optimizer = torch.optim.SGD(two_groups(model, 1e-4), lr=0.1)
        cosine = schedulers.CosineAnnealingLR(optimizer, 97, eta_min=1e-6)
        return [
            (f.code, f.severity) for f in dw.doctor(model, optimizer, Gradual(optimizer, 3, cosine), horizon=horizon)
        ]

    assert found(dw.Horizon(epochs=100, steps_per_epoch=50)) == [("lr-rise", "note")]
    assert found(dw.Horizon(epochs=10, steps_per_epoch=50)) == [("lr-rise", "fault")]
    assert found(100) == []


def test_a_function_that_gives_the_rates_themselves_is_judged_by_them() -> None:
    model = mlp()
    optimizer = torch.optim.AdamW(two_groups(model, 0.1), lr=1.0)
    warm = lambda t: 6e-4 * min(1.0, (t + 1) / 100)  # noqa: E731
    assert bad(dw.doctor(model, optimizer, schedulers.LambdaLR(optimizer, warm), horizon=20_000)) == []
