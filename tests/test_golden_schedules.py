"""foreign.read against the learning rates that the public releases of torch, optax, Keras, timm and transformers gave."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwindle import foreign
from dwindle.plan import Plan
from dwindle.schedule import curve
from dwindle.text import parse

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("schedule_*.json"))

# Keras computes the cosine of these two in float32 also where floatx is float64: their "float64" values are only that good.
FLOAT32_INSIDE = ("keras/float64/CosineDecay/", "keras/float64/CosineDecayRestarts/")
# One step each, at the foot of a cosine, where optax' own float32 differs from its own float64 by more than 1e-5.
LOST_IN_FLOAT32 = {
    "optax/float32/cosine_decay_schedule/04": (116, 2.4e-5),
    "optax/float32/cosine_onecycle_schedule/06": (217, 2.1e-5),
}

pytestmark = pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")


@cache
def cases(file: str) -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in json.loads((GOLDEN / file).read_text())["cases"]}


def every_case(having: str = "lrs") -> list[Any]:
    return [
        pytest.param(case, id=case["id"]) for file in FILES for case in cases(file).values() if having in case
    ]  # fmt: skip


def read(case: dict[str, Any], base_lr: float | None = None) -> Any:
    base_lr = case.get("base_lr") if base_lr is None else base_lr
    return foreign.read(case["peer"], case["name"], case["params"], base_lr=base_lr)


def rates(recipe: Any, case: dict[str, Any]) -> np.ndarray:
    return recipe.lrs(case["metric"] if "metric" in case else len(case["lrs"]))


def outside(got: np.ndarray, want: np.ndarray, relative: float, absolute: float = 0.0) -> list[int]:
    """Return the steps at which ``got`` is not ``want``."""
    assert got.shape == want.shape
    assert np.isfinite(got).all()
    return np.flatnonzero(~(np.abs(got - want) <= relative * np.abs(want) + absolute)).tolist()


def is_double(case: dict[str, Any]) -> bool:
    return case["dtype"] == "float64" and not case["id"].startswith(FLOAT32_INSIDE)


@pytest.mark.parametrize("case", every_case())
def test_the_rates_are_the_peers(case: dict[str, Any]) -> None:
    got, want = rates(read(case), case), np.array(case["lrs"])
    if is_double(case):
        assert outside(got, want, 1e-12) == []
    else:
        lost = LOST_IN_FLOAT32.get(case["id"])
        assert outside(got, want, 1e-5, 1e-9) == ([] if lost is None else [lost[0]])


def test_all_cases_are_here() -> None:
    assert sum(len(cases(file)) for file in FILES) == 391
    assert {case["peer"] for file in FILES for case in cases(file).values()} == {
        "torch", "optax", "keras", "timm", "transformers",
    }  # fmt: skip


@pytest.mark.parametrize("case", every_case("lrs_by_group"))
def test_each_group_is_read_with_its_own_lr(case: dict[str, Any]) -> None:
    for base_lr, want in zip(case["base_lrs"], case["lrs_by_group"], strict=True):
        assert outside(rates(read(case, base_lr), case), np.array(want), 1e-12) == []


@pytest.mark.parametrize("case", every_case("lrs_closed_form"))
def test_torchs_closed_form_is_the_same_curve(case: dict[str, Any]) -> None:
    assert outside(rates(read(case), case), np.array(case["lrs_closed_form"]), 1e-12) == []


@pytest.mark.parametrize("case", every_case("resume"))
def test_resuming_is_continuing(case: dict[str, Any]) -> None:
    at, want = case["resume"]["at"], np.array(case["resume"]["lrs_after"])
    recipe = read(case)
    if isinstance(recipe, Plan):
        got = recipe.peak * curve(recipe.resolve(len(case["lrs"])).schedule, len(want), start=at)
    else:
        state = recipe.init()
        for metric in case["metric"][:at]:
            state = recipe.observe(state, metric)[1]
        saved, lrs = type(state)(**json.loads(json.dumps({k: getattr(state, k) for k in state.__slots__}))), []
        for metric in case["metric"][at:]:
            lrs.append(saved.lr)
            saved = recipe.observe(saved, metric)[1]
        got = np.array(lrs)
    assert outside(got, want, 1e-12) == []


@pytest.mark.parametrize("name", LOST_IN_FLOAT32)
def test_where_float32_is_lost_the_peer_itself_says_so(name: str) -> None:
    _, _, schedule, _ = name.split("/")
    single = cases(f"schedule_optax_float32_{schedule}.json")[name]
    double = cases(f"schedule_optax_float64_{schedule}.json")[name.replace("float32", "float64")]
    assert single["params"] == double["params"]
    step, error = LOST_IN_FLOAT32[name]
    assert 1e-5 < abs(single["lrs"][step] / double["lrs"][step] - 1) < error


@pytest.mark.parametrize("case", [c for c in every_case() if str(c.id).startswith(FLOAT32_INSIDE)])
def test_keras_float64_cosine_holds_no_more_than_float32(case: dict[str, Any]) -> None:
    got, want = rates(read(case), case), np.array(case["lrs"])
    error = np.abs(got - want).max() / want.max()
    assert 1e-9 < error < 2e-7  # a float64 cosine would be within 1e-15


@pytest.mark.parametrize("case", every_case())
def test_the_text_of_what_was_read_is_the_same_plan(case: dict[str, Any]) -> None:
    recipe = read(case)
    if isinstance(recipe, Plan):
        assert parse(str(recipe)) == recipe


@pytest.mark.parametrize("case", every_case())
def test_the_peak_is_the_highest_rate(case: dict[str, Any]) -> None:
    recipe = read(case)
    if not isinstance(recipe, Plan) or case["name"] in ("ChainedScheduler",):
        return
    factors = recipe.factors(4 * len(case["lrs"]))
    grows = case["params"].get("gamma", 0) > 1 or (case["params"].get("decay_rate", 0) > 1 and "exp" in case["name"])
    if grows:
        assert factors[0] == 1.0  # growth without bound has no peak; the first rate is the unit
    else:
        assert 0.8 < factors.max() <= 1.0 + 1e-15
