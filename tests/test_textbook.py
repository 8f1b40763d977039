"""The textbook row by row: Nielsen, Neural Networks and Deep Learning, ch. 3, and the schedules of its exercises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle.reference import SGD, run, textbook_step

LAM, N = 5.0, 50_000


def quadratic_cost(w: np.ndarray) -> float:
    return float(np.sum((w - 1.0) ** 2))


def test_the_cost_is_c0_plus_lambda_over_2n_sum_of_squares_eq_87() -> None:
    w = np.array([[0.5, -2.0], [3.0, 1.0]])
    decay = dw.l2.from_cost(LAM, N)
    cost = dw.penalty(decay.weight_decay, {"w": [w]})
    assert cost.total == pytest.approx(LAM / (2 * N) * (0.25 + 4 + 9 + 1), rel=1e-15)
    assert cost.groups == {"w": cost.total}


def test_the_gradient_of_the_penalty_is_lambda_over_n_w_by_finite_differences_eq_88() -> None:
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 4))
    c = dw.l2.from_cost(LAM, 10).weight_decay
    h = 1e-6
    for i, j in np.ndindex(w.shape):
        up, down = w.copy(), w.copy()
        up[i, j] += h
        down[i, j] -= h
        slope = (dw.penalty(c, {"w": [up]}).total - dw.penalty(c, {"w": [down]}).total) / (2 * h)
        assert slope == pytest.approx(LAM / 10 * w[i, j], rel=1e-7, abs=1e-9)


def test_the_gradient_of_the_whole_cost_agrees_with_autograd() -> None:
    w = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = torch.randn(7, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    c = dw.l2.from_cost(LAM, 7).weight_decay
    c0 = (x @ w).square().mean()
    (grad0,) = torch.autograd.grad(c0, w, retain_graph=True)
    (grad,) = torch.autograd.grad(c0 + LAM / (2 * 7) * w.square().sum(), w)
    torch.testing.assert_close(grad, grad0 + c * w.detach(), rtol=1e-13, atol=0)
    whole = c0.item() + dw.penalty(c, {"w": [w.detach().numpy()]}).total
    assert whole == pytest.approx((c0 + LAM / (2 * 7) * w.square().sum()).item(), rel=1e-14)


@pytest.mark.law
@given(
    lr=st.floats(1e-4, 1.0), lam=st.floats(0.0, 20.0), n=st.integers(100, 10**6),
    w=st.floats(-5, 5), b=st.floats(-5, 5), g=st.floats(-3, 3),
)  # fmt: skip
def test_full_batch_weights_shrink_by_1_minus_eta_lambda_over_n_and_biases_do_not_eqs_91_92(
    lr: float, lam: float, n: int, w: float, b: float, g: float
) -> None:
    new_w, new_b = textbook_step(np.array([w]), np.array([b]), np.array([g]), np.array([g]), lr, lam, n)
    assert new_w[0] == pytest.approx((1 - lr * lam / n) * w - lr * g, rel=1e-12, abs=1e-12)
    assert new_b[0] == pytest.approx(b - lr * g, rel=1e-15, abs=1e-15)


def test_mini_batch_update_eq_93_equals_a_plan_with_l2_from_cost() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    batches = [rng.permutation(20)[:5] for _ in range(12)]
    plan = dw.Plan(0.1, dw.step(4, 0.5), dw.l2.from_cost(2.0, 20)).resolve(12)

    def gradient(p: dict[str, np.ndarray], t: int) -> dict[str, np.ndarray]:
        rows = batches[t]
        error = x[rows] @ p["w"] + p["b"] - y[rows]
        return {"w": x[rows].T @ error / 5, "b": np.array(error.mean())}

    start = {"w": np.ones(3), "b": np.array(0.5)}
    path = run(SGD(), start, gradient, lambda t, name: plan.rates(t, decays=name == "w"), 12)
    w, b = start["w"], start["b"]
    for t in range(12):
        g = gradient({"w": w, "b": b}, t)
        w, b = textbook_step(w, b, g["w"], g["b"], float(plan.lr(t)), 2.0, 20)
    np.testing.assert_allclose(path["w"][-1], w, rtol=1e-13)
    np.testing.assert_allclose(path["b"][-1], b, rtol=1e-13)


def test_halving_every_5_epochs_keeps_epochs_0_to_4_and_halves_epoch_5() -> None:
    run_length = dw.Horizon(epochs=15, steps_per_epoch=7)
    lrs = dw.Plan(0.5, dw.step("5ep")).lrs(run_length).reshape(15, 7)
    expected = 0.5 * 0.5 ** (np.arange(15) // 5)
    assert (lrs == expected[:, None]).all()


def test_a_factor_of_0_9998_every_5_epochs() -> None:
    lrs = dw.Plan(0.1, dw.step("5ep", 0.9998)).lrs(dw.Horizon(epochs=1000, steps_per_epoch=1))
    np.testing.assert_allclose(lrs, 0.1 * 0.9998 ** (np.arange(1000) // 5), rtol=4e-16)


@pytest.mark.parametrize("staircase", [False, True])
def test_lr_times_decay_rate_to_the_step_over_decay_steps(staircase: bool) -> None:
    steps = np.arange(5000)
    exponent = steps // 1000 if staircase else steps / 1000
    lrs = dw.Plan(0.1, dw.exponential(0.96, 1000, staircase=staircase)).lrs(5000)
    np.testing.assert_allclose(lrs, 0.1 * 0.96**exponent, rtol=1e-15)


def test_with_momentum_the_same_rest_point_needs_lambda_over_n_1_minus_mu() -> None:
    curvature, target, mu = np.array([0.5, 2.0]), np.array([1.0, -3.0]), 0.9
    ends = {}
    for name, decay in (("l2", dw.l2(0.05)), ("decoupled", dw.decoupled(0.05 / (1 - mu)))):
        plan = dw.Plan(0.02, decay=decay).resolve(4000)
        path = run(
            SGD(momentum=mu), {"w": np.zeros(2)}, lambda p, t: {"w": curvature * (p["w"] - target)},
            lambda t, _, plan=plan: plan.rates(t), 4000,
        )  # fmt: skip
        ends[name] = path["w"][-1]
    np.testing.assert_allclose(ends["l2"], curvature * target / (curvature + 0.05), rtol=1e-10)
    np.testing.assert_allclose(ends["decoupled"], ends["l2"], rtol=1e-10)


def test_the_plateau_case_a_loss_that_rattles_between_two_values_falls_again_when_the_rate_is_cut() -> None:
    # gradient descent on |w| from 0.3 at rate 1 jumps between 0.3 and -0.7: the loss rattles 0.3, 0.7, 0.3, ... for ever
    def losses(cut: bool) -> list[float]:
        rule = dw.stall(factor=0.5, window=12, rest=12)
        w, seen, state, factor = 0.3, [], rule.init(), 1.0
        for _ in range(300):
            seen.append(abs(w))
            w -= factor * np.sign(w)
            if cut:
                factor, state = rule.observe(state, seen[-1])
        return seen

    held = losses(cut=False)
    assert held[-2:] == pytest.approx([0.3, 0.7]) or held[-2:] == pytest.approx([0.7, 0.3])
    assert dw.schedule.verdict(held).kind == "oscillating"
    assert max(losses(cut=True)[-5:]) < 1e-3


def test_the_plateau_case_with_patience_halves_as_often_as_the_rule_says() -> None:
    factors = dw.plateau(factor=0.5, patience=3).factors([1.0] * 12)
    assert factors.tolist() == [1.0] * 5 + [0.5] * 4 + [0.25] * 3
