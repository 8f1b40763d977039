"""The closed-form sums against the sums themselves."""

from __future__ import annotations

import math

import pytest

import dwindle as dw
from dwindle.plan import integrated_decay
from dwindle.schedule import Exponential, Ramp, Schedule, curve, total

SCHEDULES = [
    dw.constant(0.3), dw.cosine(97, end=0.1), dw.linear(50), dw.warmup(13), dw.warmup(13, start=0.2, shape="cosine"),
    dw.exponential(0.97, 7), dw.exponential(0.97, 7, staircase=True), dw.step(9, 0.5), dw.multi_step((10, 60), 0.3),
    Exponential(1.0 - 1e-12, 1), dw.constant() + dw.cosine(30), 0.3 * dw.cosine(40),
    dw.warmup(10).then(dw.constant()).then(Ramp(steps=30, shape="sqrt")).resolve(dw.Horizon(steps=100)),
    dw.cosine(50).shift(7), dw.polynomial(60, power=3), dw.inverse_sqrt(10),
    dw.cosine_restarts(20, growth=2, decay=0.5).resolve(dw.Horizon(steps=100)),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@pytest.mark.parametrize("steps", [0, 1, 9, 50, 100, 333])
def test_the_total_is_the_sum_of_the_curve(schedule: Schedule, steps: int) -> None:
    assert total(schedule, steps) == pytest.approx(math.fsum(curve(schedule, steps)), rel=1e-12, abs=1e-12)


def test_the_closed_form_costs_no_loop() -> None:
    assert total(dw.cosine(10**15), 10**15) == pytest.approx(5e14, rel=1e-12)


def test_a_huge_sum_without_a_closed_form_is_refused() -> None:
    with pytest.raises(dw.DwindleError, match="no closed form"):
        total(dw.inverse_sqrt(10), 10**9)


@pytest.mark.parametrize("kind", [dw.l2, dw.decoupled, dw.independent, dw.corrected])
def test_integrated_decay_is_the_sum_of_shares(kind: type) -> None:
    plan = dw.Plan(0.05, dw.warmup("10%").then(dw.cosine(end=0.1)), kind(0.2))
    assert integrated_decay(plan, 500) == pytest.approx(math.fsum(plan.sgd_shares(500)), rel=1e-12)


def test_the_share_left_is_the_product_of_shrink() -> None:
    plan = dw.Plan(0.1, dw.cosine(), dw.decoupled(0.5))
    assert plan.shares_left(200)[-1] == pytest.approx(float(plan.table(200).shrink.prod()), rel=1e-12)


def test_timescale_speaks_every_unit() -> None:
    run = dw.Horizon(epochs=10, steps_per_epoch=100, tokens_per_step=2048)
    tau = dw.Plan(3e-4, decay=dw.decoupled(0.1)).timescale(run)
    assert tau.steps == pytest.approx(1 / 3e-5)
    assert tau.epochs == pytest.approx(1 / 3e-3)
    assert tau.tokens == pytest.approx(2048 / 3e-5)
    assert dw.Plan(3e-4).timescale(10).steps == math.inf
