"""The recorded schedules and trajectories once more, through the adapters, on the frameworks themselves."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

import dwindle.jax
import dwindle.torch
from dwindle import foreign
from dwindle.plan import Plan

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("schedule_*.json"))
# Float32 inside the peer: see tests/test_golden_schedules.py, which holds these to the definition.
FLOAT32_INSIDE = ("keras/float64/CosineDecay/", "keras/float64/CosineDecayRestarts/")
LOST_IN_FLOAT32 = ("optax/float32/cosine_decay_schedule/04", "optax/float32/cosine_onecycle_schedule/06")

pytestmark = pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")


@cache
def record(file: str) -> dict[str, Any]:
    return json.loads((GOLDEN / file).read_text())


def schedule_cases() -> list[Any]:
    """Every recorded schedule that is a plan; those that answer a metric are played in tests/test_torch_feedback.py."""
    return [
        pytest.param(case, id=case["id"])
        for file in FILES
        for case in record(file)["cases"]
        if "metric" not in case and case["id"] not in LOST_IN_FLOAT32
    ]


def plan_of(case: dict[str, Any]) -> Plan:
    return foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))


def tolerance(case: dict[str, Any]) -> tuple[float, float]:
    double = case["dtype"] == "float64" and not case["id"].startswith(FLOAT32_INSIDE)
    return (1e-12, 0.0) if double else (1e-5, 1e-9) if case["dtype"] == "float32" else (1e-4, 1e-9)


@pytest.mark.parametrize("case", schedule_cases())
def test_torch_runs_the_recorded_rates(case: dict[str, Any]) -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.SGD([weight])
    dwindle.torch.attach(optimizer, plan_of(case), len(case["lrs"]))
    weight.grad, rates = torch.ones_like(weight), []
    for _ in case["lrs"]:
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])  # the rate this update had
    relative, absolute = tolerance(case)
    np.testing.assert_allclose(rates, case["lrs"], relative, absolute)
    assert float(weight.detach()) == pytest.approx(1.0 - sum(case["lrs"]), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(400)])])
@pytest.mark.parametrize("wide", [True, False], ids=["float64", "float32"])
def test_jax_gives_the_recorded_rates_under_jit(wide: bool, every: int) -> None:
    for case in (param.values[0] for param in schedule_cases()[::every]):
        relative, absolute = tolerance(case)
        with jax.enable_x64(wide):
            rates = jax.jit(dwindle.jax.schedule(plan_of(case), len(case["lrs"])))(jnp.arange(len(case["lrs"])))
        if not wide:
            relative, absolute = max(relative, 1e-5), 1e-9
        np.testing.assert_allclose(np.asarray(rates), case["lrs"], relative, absolute, err_msg=case["id"])


# --- trajectories of optax, through dwindle.jax on optax's own directions ---------------------------------------------------


def direction(case: dict[str, Any]) -> optax.GradientTransformation:
    p, name = case["params"], case["name"]
    if name.startswith("sgd"):
        return optax.trace(p["momentum"], p["nesterov"]) if p["momentum"] else optax.identity()
    if name == "lion":
        return optax.scale_by_lion(p["b1"], p["b2"])
    if name == "adamw":
        return optax.scale_by_adam(p["b1"], p["b2"], p["eps"], nesterov=p["nesterov"])
    return optax.scale_by_adam()


def optax_cases() -> list[Any]:
    """The recorded cases of optax but lamb, whose trust ratio takes hold of the decay too."""
    cases = record("wd_optax.json")["cases"] if FILES else []
    return [pytest.param(case, id=case["id"]) for case in cases if case["name"] != "lamb"]


@pytest.mark.parametrize("case", optax_cases())
def test_optax_directions_follow_the_recorded_trajectory(case: dict[str, Any]) -> None:
    problem = record("wd_optax.json")["problem"]
    rule = problem["problems"][case["problem"]]
    plan = foreign.read_optimizer("optax", case["name"], case["params"])
    decays = {name: name not in case["no_decay"] for name in problem["init"]}
    with jax.enable_x64(case["dtype"] == "float64"):
        params = {name: jnp.asarray(value, dtype=float) for name, value in problem["init"].items()}
        tx = dwindle.jax.attach(direction(case), plan, 20, decays)
        state, update = tx.init(params), jax.jit(tx.update)
        for step, row in enumerate(case["trajectory"]):
            if case["problem"] == "fixed":
                grads = {n: jnp.asarray(rule["grads"][step][n], dtype=float) for n in params}
            else:
                grads = {
                    n: jnp.asarray(rule["curvature"][n]) * (w - jnp.asarray(rule["target"][n]))
                    for n, w in params.items()
                }
            updates, state = update(grads, state, params)
            params = optax.apply_updates(params, updates)
            # optax works its exponential_decay out in float32 also with x64 (tests/test_foreign_optimizers.py)
            specs = (case["params"]["learning_rate"], case["params"]["weight_decay"])
            inside = any(isinstance(spec, dict) and spec["name"] == "exponential_decay" for spec in specs)
            relative, absolute = (
                (1e-5, 1e-9) if case["dtype"] == "float32" else (1e-6, 1e-8) if inside else (1e-10, 0.0)
            )
            for name, w in params.items():
                np.testing.assert_allclose(np.asarray(w), row[name], relative, absolute)


def test_every_recorded_case_is_played() -> None:
    rules = sum("metric" in case for file in FILES for case in record(file)["cases"])
    assert len(schedule_cases()) + len(LOST_IN_FLOAT32) + rules == 391
    assert len(optax_cases()) == 22
