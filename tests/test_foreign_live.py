"""foreign.read beside the installed torch and optax: random settings, also those the golden files do not try."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest
import torch
from torch.optim import lr_scheduler

from dwindle import foreign
from dwindle.errors import NoExactMapError
from dwindle.foreign.schedules import optax as optax_reader
from dwindle.foreign.schedules import pytorch

STEPS, TRIALS = 320, 30


def log_uniform(draw: random.Random, low: float, high: float) -> float:
    return float(f"{math.exp(draw.uniform(math.log(low), math.log(high))):.4g}")


def rate(draw: random.Random) -> float:
    return log_uniform(draw, 1e-4, 1.0)


def assert_same(got: np.ndarray, want: np.ndarray, params: Any) -> None:
    """Relative 1e-12, plus four roundings of the highest rate: what the peers lose where they subtract from it."""
    limit = 1e-12 * np.abs(want) + 4 * 2.0**-53 * np.abs(want).max()
    wrong = np.flatnonzero(~(np.abs(got - want) <= limit))
    assert wrong.size == 0, f"{params}: step {wrong[0]} of {wrong.size}, {got[wrong[0]]!r} is not {want[wrong[0]]!r}"


# --- torch


def torch_lrs(name: str, params: dict[str, Any], base_lr: float, steps: int = STEPS) -> np.ndarray:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base_lr)

    def build(name: str, params: dict[str, Any]) -> Any:
        if name in ("SequentialLR", "ChainedScheduler"):
            inside = [build(s["name"], s["params"]) for s in params["schedulers"]]
            if name == "SequentialLR":
                return lr_scheduler.SequentialLR(optimiser, inside, params["milestones"])
            return lr_scheduler.ChainedScheduler(inside)
        return getattr(lr_scheduler, name)(optimiser, **params)

    scheduler, lrs = build(name, params), []
    for step in range(steps):
        lrs.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        if step < steps - 1:
            scheduler.step()
    return np.array(lrs, dtype=np.float64)


def cyclic(r: random.Random) -> dict[str, Any]:
    low = rate(r)
    return {
        "base_lr": low, "max_lr": low * r.choice([2.0, 30.0]), "step_size_up": r.randint(1, 70),
        "step_size_down": r.choice([None, r.randint(1, 70)]), "gamma": log_uniform(r, 0.95, 1.0),
        "mode": r.choice(["triangular", "triangular2", "exp_range"]), "cycle_momentum": False,
    }  # fmt: skip


def one_cycle(r: random.Random) -> dict[str, Any]:
    return {
        "max_lr": rate(r), "total_steps": r.randint(5, STEPS), "pct_start": r.choice([0.3, 0.001, 0.5, round(r.random(), 4)]),
        "anneal_strategy": r.choice(["cos", "linear"]), "div_factor": log_uniform(r, 2, 50),
        "final_div_factor": log_uniform(r, 10, 2e4), "three_phase": r.random() < 0.5, "cycle_momentum": False,
    }  # fmt: skip


def several(names: tuple[str, ...], most: int, *, in_turn: bool) -> Callable[[random.Random], dict[str, Any]]:
    def draw(r: random.Random) -> dict[str, Any]:
        chosen = [r.choice(names) for _ in range(r.randint(2, most))]
        params: dict[str, Any] = {"schedulers": [{"name": n, "params": TORCH[n](r)} for n in chosen]}
        if in_turn:
            params["milestones"] = sorted(r.choice([r.randint(0, 3), r.randint(1, 250)]) for _ in chosen[1:])
        return params

    return draw


FACTORS = ("ConstantLR", "LinearLR", "StepLR", "MultiStepLR", "ExponentialLR", "PolynomialLR")
TORCH: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "StepLR": lambda r: {"step_size": r.randint(1, 60), "gamma": r.choice([0.1, 1.0, 1.01, log_uniform(r, 0.05, 1)])},
    "MultiStepLR": lambda r: {
        "milestones": [r.choice([r.randint(0, 4), r.randint(1, 300)]) for _ in range(r.randint(0, 5))],
        "gamma": log_uniform(r, 0.05, 1),
    },
    "ConstantLR": lambda r: {"factor": log_uniform(r, 0.05, 1), "total_iters": r.choice([0, 1, r.randint(1, 90)])},
    "LinearLR": lambda r: {
        "start_factor": log_uniform(r, 0.001, 1), "end_factor": r.choice([1.0, 0.0, r.random()]),
        "total_iters": r.randint(1, 250),
    },
    "ExponentialLR": lambda r: {"gamma": r.choice([1.0, 1.002, log_uniform(r, 0.5, 1)])},
    "PolynomialLR": lambda r: {"total_iters": r.randint(1, 250), "power": r.choice([1.0, 2.0, 0.5, log_uniform(r, 0.3, 3)])},
    # beyond T_max torch goes on from the rounding of 1 - cos(π/T_max) and of lr - eta_min: 1e-12 for T_max = 220
    "CosineAnnealingLR": lambda r: {"T_max": r.randint(1, 150), "eta_min": r.choice([0.0, log_uniform(r, 1e-7, 1e-5)])},
    "CosineAnnealingWarmRestarts": lambda r: {
        "T_0": r.randint(1, 90), "T_mult": r.randint(1, 4), "eta_min": r.choice([0.0, log_uniform(r, 1e-7, 1e-2)]),
    },
    "CyclicLR": cyclic,
    "OneCycleLR": one_cycle,
    "SequentialLR": several((*FACTORS, "CosineAnnealingLR", "CosineAnnealingWarmRestarts"), 4, in_turn=True),
    "ChainedScheduler": several(FACTORS, 3, in_turn=False),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_torch(name: str) -> None:
    r = random.Random(name)
    for _ in range(TRIALS):
        params, base_lr = TORCH[name](r), rate(r)
        want = torch_lrs(name, params, base_lr, params.get("total_steps", STEPS))
        assert_same(foreign.read("torch", name, params, base_lr=base_lr).lrs(len(want)), want, params)


@pytest.mark.parametrize(
    "inside",
    [
        ("LinearLR", "CyclicLR"),
        ("CyclicLR", "StepLR"),
        ("LinearLR", "StepLR", "CyclicLR"),
        ("OneCycleLR", "StepLR"),
        ("LinearLR", "OneCycleLR", "StepLR"),
        ("CosineAnnealingWarmRestarts", "OneCycleLR", "ExponentialLR"),
        ("OneCycleLR", "OneCycleLR"),  # the last to be built overwrites the rates of the others
        ("OneCycleLR", "CyclicLR", "OneCycleLR"),
        ("OneCycleLR", "StepLR", "OneCycleLR"),  # but what stands between begins with those of the first
        ("OneCycleLR", "CosineAnnealingLR", "OneCycleLR"),
        ("OneCycleLR", "CosineAnnealingWarmRestarts", "OneCycleLR"),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_scheduler_may_set_the_lr_of_those_beside_it(inside: tuple[str, ...]) -> None:
    r = random.Random(str(inside))
    for _ in range(TRIALS):
        schedulers = [{"name": name, "params": TORCH[name](r)} for name in inside]
        for scheduler in schedulers:
            if scheduler["name"] == "OneCycleLR":
                scheduler["params"]["total_steps"] = STEPS
        params, base_lr = {"schedulers": schedulers, "milestones": [40, 90][: len(inside) - 1]}, rate(r)
        want = torch_lrs("SequentialLR", params, base_lr)
        assert_same(foreign.read("torch", "SequentialLR", params, base_lr=base_lr).lrs(STEPS), want, params)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_cosine_is_chained_with_a_warm_up(at: int) -> None:
    r = random.Random(at)
    for _ in range(TRIALS):
        cosine = {"name": "CosineAnnealingLR", "params": {"T_max": r.randint(60, 150)}}
        linear = {"name": "LinearLR", "params": {"start_factor": r.uniform(0.01, 1), "total_iters": r.randint(0, 60)}}
        constant = {"name": "ConstantLR", "params": {"factor": r.uniform(0.01, 1), "total_iters": r.randint(1, 60)}}
        params, base_lr = {"schedulers": [linear, constant]}, rate(r)
        if not linear["params"]["total_iters"]:
            linear["params"]["start_factor"] = 1.0
        params["schedulers"].insert(at, cosine)
        want = torch_lrs("ChainedScheduler", params, base_lr)
        assert_same(foreign.read("torch", "ChainedScheduler", params, base_lr=base_lr).lrs(STEPS), want, params)


@pytest.mark.parametrize(
    ("beside", "cosine"),
    [
        ({"name": "LinearLR", "params": {"total_iters": 10}}, {"eta_min": 1e-3}),
        ({"name": "LinearLR", "params": {"total_iters": 150}}, {}),
        ({"name": "ExponentialLR", "params": {"gamma": 0.9}}, {}),
        ({"name": "CosineAnnealingLR", "params": {"T_max": 100}}, {}),
    ],
)
@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_chained_cosine_that_is_no_product_is_refused(beside: dict[str, Any], cosine: dict[str, Any]) -> None:
    last = {"name": "CosineAnnealingLR", "params": {"T_max": 100, **cosine}}
    params = {"schedulers": [beside, last]}
    one, other = (foreign.read("torch", s["name"], s["params"], base_lr=0.1).lrs(STEPS) / 0.1 for s in (beside, last))
    want = torch_lrs("ChainedScheduler", params, 0.1)
    assert not np.allclose(want, 0.1 * one * other, rtol=1e-6, atol=0.0)
    with pytest.raises(NoExactMapError, match="only with eta_min=0 and until step T_max"):
        foreign.read("torch", "ChainedScheduler", params, base_lr=0.1)


@pytest.mark.parametrize("name", [n for n in pytorch.NAMES if n not in ("SequentialLR", "ChainedScheduler")])
def test_torch_defaults(name: str) -> None:
    required, defaults, _ = pytorch.NAMES[name]
    wanted = inspect.signature(getattr(lr_scheduler, name)).parameters
    given = {p.name: p.default for p in wanted.values() if p.name not in ("optimizer", "last_epoch")}
    assert given == {**dict.fromkeys(required, inspect.Parameter.empty), **defaults}


# --- optax


def optax_lrs(name: str, params: dict[str, Any], steps: int = STEPS) -> np.ndarray:
    def build(name: str, params: dict[str, Any]) -> Any:
        if name == "join_schedules":
            return optax.join_schedules(
                [build(s["name"], s["params"]) for s in params["schedules"]], params["boundaries"]
            )
        plain = dict(params)
        if plain.get("boundaries_and_scales"):
            plain["boundaries_and_scales"] = {int(key): value for key, value in plain["boundaries_and_scales"].items()}
        return getattr(optax.schedules, name)(**plain)

    schedule = build(name, params)
    return np.array([float(schedule(step)) for step in range(steps)])


def scales(r: random.Random) -> dict[str, float]:
    return {
        str(at): r.choice([1.5, log_uniform(r, 0.1, 1)]) for at in {r.randint(0, 250) for _ in range(r.randint(1, 5))}
    }


def warm_cosine(r: random.Random) -> dict[str, Any]:
    peak, warmup = rate(r), r.randint(0, 50)
    return {
        "init_value": r.choice([0.0, peak / 10]), "peak_value": peak, "warmup_steps": warmup,
        "decay_steps": warmup + r.randint(1, 200), "end_value": r.choice([0.0, peak / 50]),
        "exponent": r.choice([1.0, 2.0, 0.5, 1.3]),
    }  # fmt: skip


def exponential(r: random.Random) -> dict[str, Any]:
    return {
        "transition_steps": r.randint(1, 60), "decay_rate": r.choice([1.1, log_uniform(r, 0.2, 1)]),
        "transition_begin": r.choice([0, r.randint(1, 50)]), "staircase": r.random() < 0.5,
        "end_value": r.choice([None, rate(r)]),
    }  # fmt: skip


def joined(r: random.Random) -> dict[str, Any]:
    names = (
        "constant_schedule",
        "linear_schedule",
        "cosine_decay_schedule",
        "exponential_decay",
        "polynomial_schedule",
    )
    chosen = [r.choice(names) for _ in range(r.randint(1, 4))]
    return {
        "schedules": [{"name": name, "params": OPTAX[name](r)} for name in chosen],
        "boundaries": sorted(r.randint(0, 200) for _ in chosen[1:]),
    }


OPTAX: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "constant_schedule": lambda r: {"value": rate(r)},
    "linear_schedule": lambda r: {
        "init_value": rate(r), "end_value": r.choice([0.0, rate(r)]), "transition_steps": r.randint(-1, 200),
        "transition_begin": r.randint(-2, 50),
    },
    "polynomial_schedule": lambda r: {
        "init_value": rate(r), "end_value": rate(r), "power": r.choice([1, 2, 0.5, log_uniform(r, 0.3, 4)]),
        "transition_steps": r.randint(1, 200), "transition_begin": r.randint(0, 50),
    },
    "exponential_decay": lambda r: {"init_value": rate(r), **exponential(r)},
    "cosine_decay_schedule": lambda r: {
        "init_value": rate(r), "decay_steps": r.randint(1, 230), "alpha": r.choice([0.0, r.random()]),
        "exponent": r.choice([1.0, 2.0, 0.5, 1.3]),
    },
    "piecewise_constant_schedule": lambda r: {"init_value": rate(r), "boundaries_and_scales": scales(r)},
    "piecewise_interpolate_schedule": lambda r: {
        "interpolate_type": r.choice(["linear", "cosine"]), "init_value": rate(r), "boundaries_and_scales": scales(r),
    },
    "linear_onecycle_schedule": lambda r: {
        "transition_steps": r.randint(5, 250), "peak_value": rate(r), "pct_start": r.choice([0.3, 0.01, r.random()]),
        "pct_final": r.choice([0.85, r.random()]), "div_factor": log_uniform(r, 2, 50),
        "final_div_factor": log_uniform(r, 2, 5e3),
    },
    "cosine_onecycle_schedule": lambda r: {
        "transition_steps": r.randint(5, 250), "peak_value": rate(r), "pct_start": r.choice([0.3, 0.01, r.random()]),
        "div_factor": log_uniform(r, 2, 50), "final_div_factor": log_uniform(r, 2, 5e3),
    },
    "warmup_constant_schedule": lambda r: {
        "init_value": r.choice([0.0, rate(r)]), "peak_value": rate(r), "warmup_steps": r.randint(0, 100),
    },
    "warmup_cosine_decay_schedule": warm_cosine,
    "warmup_exponential_decay_schedule": lambda r: {
        "init_value": 0.0, "peak_value": rate(r), "warmup_steps": r.randint(0, 60), **exponential(r),
    },
    "sgdr_schedule": lambda r: {"cosine_kwargs": [warm_cosine(r) for _ in range(r.randint(1, 4))]},
    "join_schedules": joined,
}  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
def test_optax(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """optax' own code on NumPy: float64, and a division that is one (XLA's on arrays multiplies by the reciprocal)."""
    monkeypatch.setattr(optax.schedules._schedule, "jnp", np)
    monkeypatch.setattr(optax.schedules._join, "jnp", np)
    r = random.Random(name)
    for _ in range(TRIALS):
        params = OPTAX[name](r)
        assert_same(foreign.read("optax", name, params).lrs(STEPS), optax_lrs(name, params), params)


@pytest.mark.parametrize("name", optax_reader.NAMES)
def test_optax_defaults(name: str) -> None:
    required, defaults, _ = optax_reader.NAMES[name]
    given = {p.name: p.default for p in inspect.signature(getattr(optax.schedules, name)).parameters.values()}
    assert given == {**dict.fromkeys(required, inspect.Parameter.empty), **defaults}


def test_every_scheduler_of_torch_and_optax_is_known() -> None:
    not_schedules = {"LRScheduler"}
    assert set(lr_scheduler.__all__) - not_schedules == set(pytorch.NAMES)
    theirs = {
        name for name in dir(optax.schedules) if name[0] != "_" and name.endswith(("_schedule", "_decay", "_schedules"))
    }
    assert theirs == set(optax_reader.NAMES)
