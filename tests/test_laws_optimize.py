"""The best schedule by a law: found exactly and fast, and never recommended where the runs cannot tell."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.laws import Run, course, fit, optimize
from dwindle.laws.law import Stretches
from test_laws_fit import PLANS, T, runs

FITTED = fit(runs("noise-floor", noise=0.002))


def test_the_gradient_is_that_of_the_last_loss():
    generator = np.random.default_rng(0)
    rates, widths = np.sort(generator.uniform(0.05, 1.0, 30))[::-1], generator.uniform(0.01, 0.2, 30)
    _, slope = FITTED.end(1.3e-3, Stretches(widths, rates, 0.05, FITTED.unit))
    each = 1e-6 * np.eye(30)
    ends = [[FITTED.end(1.3e-3, Stretches(widths, rates + s * e, 0.05, FITTED.unit))[0] for s in (1, -1)] for e in each]
    np.testing.assert_allclose(slope, [(up - down) / 2e-6 for up, down in ends], rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("peak", [1e-3, 2e-3])
def test_the_last_loss_of_stretches_is_that_of_their_rates(peak):
    rates, lengths = np.array([1.0, 0.7, 0.7, 0.3, 0.0]), np.array([500, 100, 1000, 20, 7])
    lr = peak * np.concatenate([np.linspace(0.0, 1.0, 101), np.repeat(rates, lengths)])
    start = lr[:101].sum() / peak / FITTED.unit
    end, _ = FITTED.end(peak, Stretches(lengths / FITTED.unit, rates, start, FITTED.unit))
    assert end == pytest.approx(float(FITTED.loss(lr, [len(lr)])[0]), abs=1e-6)


def long_run(fitted, steps, rise, pieces=1500):
    """Return the lowest last loss that L-BFGS finds with a rate for every stretch of the same length."""
    nodes = np.unique(np.round(np.linspace(rise, steps, pieces + 1)).astype(int))
    widths, start = np.diff(nodes) / fitted.unit, 0.5 * rise / fitted.unit

    def loss(y):
        s = np.cumprod(1.0 - y)
        value, slope = fitted.end(1e-3, Stretches(widths, s * s, start, fitted.unit))
        return value, -np.cumsum((slope * 2.0 * s * s)[::-1])[::-1] / (1.0 - y)

    ends = []
    for part in (1.0, 0.3, 0.1):
        shape = np.sqrt(np.clip((steps - nodes[:-1]) / (steps - rise) / part, 1e-6, 1.0))
        y = 1.0 - shape / np.concatenate(([1.0], shape[:-1]))
        options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-10}
        ends.append(minimize(loss, y, jac=True, method="L-BFGS-B", bounds=[(0, 0.9999)] * len(y), options=options).fun)
    return min(ends)


@pytest.mark.parametrize("steps", [3000, 24_000])
def test_the_best_schedule_is_as_good_as_a_long_run_of_l_bfgs_finds(steps):
    found = optimize(FITTED, steps, rise=300)
    best = next(c for c in found.candidates if c.name == "the best")
    assert best.loss == pytest.approx(long_run(FITTED, steps, 300), abs=1e-4)
    lrs = best.plan.lrs(steps)
    assert np.diff(lrs[300:]).max() <= 1e-12
    assert lrs.max() <= best.plan.peak * (1 + 1e-12)


def test_what_cannot_be_told_apart_is_not_recommended():
    found = optimize(FITTED, T)
    assert found.distinguishable  # over cosine to 10 %, which leaves noise
    assert found.gain > found.half > 0.0
    chosen = next(c for c in found.candidates if c.plan == found.plan)
    assert chosen.tied
    assert all(not c.tied for c in found.candidates[: found.candidates.index(chosen)])
    assert chosen.name != "the best"
    again = optimize(FITTED, T, against=found.best)
    assert not again.distinguishable
    assert "not distinguishable" in again.said
    assert "+-" not in again.said


def test_none_that_is_tied_is_surely_behind_another_and_what_is_worse_is_said():
    steps, lr = np.arange(100, 10_001, 100), dw.Plan(1e-3, dw.warmup(500).then(dw.cosine())).lrs(10_000)
    loss = 2.0 + 0.5 * (steps / 1000 + 0.1) ** -0.5 + 0.2 * (lr[steps - 1] / 1e-3) ** 0.7
    fitted = fit(Run(lr, steps, loss + 0.003 * np.random.default_rng(0).standard_normal(100)))
    found = optimize(fitted, 10_000, lowest=0.3)
    assert found.gain < -found.half < 0.0
    assert "below cosine to 10 %: worse; the best would end" in found.said
    for candidate in found.candidates:
        told = [fitted.difference(*(course(c.plan, 10_000) for c in (other, candidate))) for other in found.candidates]
        assert candidate.tied == all(behind <= room for behind, room in told)


def test_a_law_without_noise_likes_the_constant_rate():
    """Where a fall of the rate gains nothing, nothing but the constant rate is worth a change."""
    values = (2.0, 0.5, 0.5, 0.03, 1e-4, 0.7, 120.0, 0.1, 0.33, 0.25)
    step, given = np.arange(1, 121) * (T // 120), []
    from test_laws_fit import curve

    for name, plan in PLANS.items():
        lr = plan.lrs(T)
        given.append(Run(lr, step, curve("noise-floor", lr, step, values=values), name))
    found = optimize(fit(given), T)
    assert found.candidates[0].name == "constant"
    assert found.candidates[0].tied
    assert found.plan == found.candidates[0].plan


def test_constraints_are_kept():
    found = optimize(FITTED, T, rise=600, lowest=0.2, peak=8e-4)
    for candidate in found.candidates:
        lrs = candidate.plan.lrs(T)
        assert lrs.max() == pytest.approx(8e-4)
        assert lrs[600:].min() >= 0.2 * 8e-4 * (1 - 1e-4)
        assert lrs[300] == pytest.approx(4e-4, rel=0.01)
    assert optimize(FITTED, T, rise="5%").candidates[1].plan.lrs(T)[300] == pytest.approx(5e-4, rel=0.01)


def test_after_a_long_rise_what_does_not_fit_is_not_looked_at():
    names = [c.name for c in optimize(FITTED, T, rise=int(0.7 * T)).candidates]
    assert "cooldown of 20 % to 0" in names
    assert "cooldown of 40 % to 0" not in names


def test_what_a_gain_is_counted_from_is_told():
    found = optimize(FITTED, T)
    gain, half = FITTED.difference(found.plan.lrs(T), found.against.lrs(T))
    assert (gain, half) == pytest.approx((found.gain, found.half))
    assert found.plan.peak == PLANS["cosine"].peak


def test_a_run_without_a_warm_up_is_one():
    for candidate in optimize(FITTED, T, rise=0).candidates:
        assert candidate.plan.lrs(T)[0] > 0.9 * candidate.plan.peak


def test_a_plan_of_the_best_has_a_text():
    best = optimize(FITTED, T).best
    assert dw.parse(str(best)) == best
    assert len(str(best)) < 20_000


def test_unsupported_questions_are_said():
    assert not optimize(FITTED, 10 * T).supported
    assert "times the longest" in optimize(FITTED, 10 * T).why


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"lowest": 1.0}, "below 1"),
        ({"lowest": -0.1}, "zero or more"),
        ({"rise": T}, "leaves nothing"),
        ({"peak": 0.0}, "positive"),
    ],
)
def test_what_is_out_of_range_is_refused(given, said):
    with pytest.raises(InvalidValueError, match=said):
        optimize(FITTED, T, **given)


def test_a_law_without_a_gradient_is_refused():
    with pytest.raises(InvalidValueError, match="noise-floor"):
        optimize(fit(runs("power"), "power"), T)
