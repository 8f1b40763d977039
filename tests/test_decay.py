"""Weight decay: the conventions, every framework's number, conversions that hold and conversions that are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle.decay import CONVENTIONS, Decay, convert, half_life, timescale
from dwindle.errors import NoExactMapError
from dwindle.reference import SGD, run

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
PEAK, LAM, N, MU = 0.1, 5.0, 50_000, 0.9


@pytest.mark.parametrize(
    ("decay", "share", "coupling"),
    [
        # peers.md §2: the factor on w beyond the gradient step at lr = peak/2, and the coefficient inside the gradient
        (dw.l2.from_cost(LAM, N), 0.0, LAM / N),
        (dw.l2.from_torch(5e-4), 0.0, 5e-4),
        (dw.l2.from_keras(0.01), 0.0, 0.02),
        (dw.l2.from_sklearn(1e-4, estimator="sgd"), 0.0, 1e-4),
        (dw.l2.from_sklearn(1e-4, estimator="mlp", batch_size=200), 0.0, 5e-7),
        (dw.decoupled.from_torch(0.01), PEAK / 2 * 0.01, 0.0),
        (dw.decoupled.from_keras(0.004), PEAK / 2 * 0.004, 0.0),
        (dw.decoupled.from_optax(1e-4), PEAK / 2 * 1e-4, 0.0),
        (dw.decoupled.from_cost(LAM, N), PEAK / 2 * LAM / N, 0.0),
        (dw.decoupled.from_cost(LAM, N, momentum=MU), PEAK / 2 * LAM / (N * (1 - MU)), 0.0),
        (dw.independent.from_composer(1e-5), 0.5 * 1e-5, 0.0),
        (dw.independent.from_tfa(1e-5, scheduled=True), 0.5 * 1e-5, 0.0),
        (dw.independent.from_cost(LAM, N, peak=PEAK), 0.5 * PEAK * LAM / N, 0.0),
        (dw.corrected.from_timm(0.05), PEAK * 0.25 * 0.05, 0.0),
    ],
    ids=str,
)
def test_every_framework_s_number_means_what_the_framework_does(decay: Decay, share: float, coupling: float) -> None:
    plan = dw.Plan(PEAK, dw.constant(0.5), decay)
    rates = plan.resolve(1).rates(0)
    assert float(1 - rates.shrink) == pytest.approx(share, rel=1e-9, abs=1e-16)
    assert float(rates.l2) == pytest.approx(coupling, rel=1e-14)
    assert float(plan.decay_shares(1)[0]) == pytest.approx(share, rel=1e-14)


def keras_penalties() -> list[Any]:
    file = GOLDEN / "wd_keras.json"
    if not file.exists():
        return []
    golden = json.loads(file.read_text())
    kernel = golden["problem"]["init"]["kernel"]
    return [pytest.param(case, np.array(kernel), id=case["id"]) for case in golden["cases"] if "value" in case]


@pytest.mark.parametrize(("case", "kernel"), keras_penalties())
def test_keras_l2_has_no_half(case: dict[str, Any], kernel: np.ndarray) -> None:
    decay = dw.l2.from_keras(case["params"]["l2"])
    assert dw.penalty(decay.weight_decay, {"k": [kernel]}).total == pytest.approx(case["value"], rel=1e-12)
    np.testing.assert_allclose(decay.weight_decay * kernel, case["gradient"], rtol=1e-12)


def rest_point(decay: Decay, momentum: float, dampening: float = 0.0) -> np.ndarray:
    curvature, target = np.array([0.5, 2.0]), np.array([1.0, -3.0])
    plan = dw.Plan(0.02, decay=decay).resolve(6000)
    path = run(
        SGD(momentum=momentum, dampening=dampening),
        {"w": np.zeros(2)},
        lambda p, t: {"w": curvature * (p["w"] - target)},
        lambda t, _: plan.rates(t),
        6000,
    )
    return path["w"][-1]


@pytest.mark.parametrize("to", ["decoupled", "independent", "corrected"])
@pytest.mark.parametrize(("momentum", "dampening"), [(0.0, 0.0), (0.9, 0.0), (0.9, 0.5)])
def test_a_conversion_keeps_the_rest_point_of_sgd(to: str, momentum: float, dampening: float) -> None:
    there = convert(dw.l2(0.05), to, peak=0.02, momentum=momentum, dampening=dampening)
    assert type(there) is CONVENTIONS[to]
    np.testing.assert_allclose(
        rest_point(there, momentum, dampening), rest_point(dw.l2(0.05), momentum, dampening), rtol=1e-9
    )


@pytest.mark.law
@given(
    lam=st.floats(1e-6, 1.0),
    peak=st.floats(1e-4, 0.9),
    start=st.sampled_from([*CONVENTIONS]),
    to=st.sampled_from([*CONVENTIONS]),
    momentum=st.floats(0.0, 0.95),
)
def test_converting_there_and_back_changes_nothing(
    lam: float, peak: float, start: str, to: str, momentum: float
) -> None:
    decay = CONVENTIONS[start](lam)
    back = convert(convert(decay, to, peak=peak, momentum=momentum), start, peak=peak, momentum=momentum)
    assert back.weight_decay == pytest.approx(lam, rel=1e-14)


@pytest.mark.parametrize("optimiser", ["adam", "Adam", "rmsprop", "lion"])
def test_adam_with_l2_has_no_constant_equivalent(optimiser: str) -> None:
    for decay, to in ((dw.l2(0.1), "decoupled"), (dw.decoupled(0.1), "l2"), (dw.independent(0.1), "l2")):
        with pytest.raises(NoExactMapError, match="no constant carries"):
            convert(decay, to, peak=0.1, optimiser=optimiser)
    assert convert(dw.decoupled(0.1), "independent", peak=0.1, optimiser=optimiser).weight_decay == pytest.approx(0.01)


def test_a_schedule_of_lambda_is_read_at_every_step() -> None:
    plan = dw.Plan(0.1, dw.constant(), dw.decoupled(0.5 * dw.linear(end=0.0)))
    shares = plan.decay_shares(10)
    np.testing.assert_allclose(shares, 0.1 * 0.5 * (1 - np.arange(10) / 10), rtol=1e-14)
    assert float(plan.resolve(10).rates(4).shrink) == 1.0 - shares[4]


def test_cautious_survives_a_conversion_where_it_has_a_meaning() -> None:
    assert convert(dw.decoupled(0.1, cautious=True), "independent", peak=0.1).cautious
    with pytest.raises(dw.errors.NoExactMapError, match="cautious"):
        convert(dw.decoupled(0.1, cautious=True), "l2", peak=0.1)


def test_timescale_and_half_life() -> None:
    assert timescale(1e-4) == pytest.approx(1e4)
    assert (1 - 0.01) ** half_life(0.01) == pytest.approx(0.5, rel=1e-12)
    assert timescale(0.0) == half_life(0.0) == math.inf
    plan = dw.Plan(0.1, decay=dw.l2(0.1))
    assert plan.half_life(10).steps == pytest.approx(half_life(0.01))
    left = dw.Plan(0.1, decay=dw.decoupled(0.1)).shares_left(200)
    assert np.searchsorted(-left, -0.5) == math.ceil(half_life(0.01))
