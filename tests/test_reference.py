"""The oracle against recorded runs of torch, Keras, optax and scikit-learn, against torch live, and against its laws."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import InvalidValueError, UnknownNameError
from dwindle.reference import SGD, Adam, Array, Rates, run, textbook_step

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = ("torch_SGD", "torch_Adam", "torch_AdamW", "keras", "optax", "sklearn_L2")
RECORDS = {name: json.loads((GOLDEN / f"wd_{name}.json").read_text()) for name in FILES} if GOLDEN.is_dir() else {}
needs_golden = pytest.mark.skipif(not RECORDS, reason=f"the recorded trajectories are not at {GOLDEN}")
EPS = np.finfo(np.float64).eps

OPTIMISERS = [
    SGD(),
    SGD(momentum=0.9),
    SGD(momentum=0.9, dampening=0.3),
    SGD(momentum=0.8, nesterov=True),
    SGD(momentum=0.9, lr_in_buffer=True),
    SGD(momentum=0.9, nesterov=True, lr_in_buffer=True),
    Adam(),
    Adam(beta1=0.0, beta2=0.0),
    Adam(amsgrad=True),
    Adam(nesterov=True),
    Adam(eps=1e-7, eps_hat=True, amsgrad=True),
]
every_optimiser = pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)


def cases(record: str, *names: str) -> list[Any]:
    """The recorded cases of one file with one of these names, as pytest parameters."""
    found = [case for case in RECORDS[record]["cases"] if case["name"] in names] if RECORDS else []
    return [pytest.param(record, case, id=case["id"]) for case in found]


# --- recorded trajectories -------------------------------------------------------------------------------------------


def number(spec: Any, step: int) -> float:
    """A learning rate or weight decay as recorded: a constant, or one of three schedules by its own definition."""
    if not isinstance(spec, dict):
        return float(spec)
    p = spec["params"]
    if spec["name"] == "ExponentialDecay":
        return p["initial_learning_rate"] * p["decay_rate"] ** (step / p["decay_steps"])
    if spec["name"] == "exponential_decay":
        # optax counts in int32, and jax turns int32 / int into float32 even when float64 is enabled.
        single = np.float32
        power = float(single(p["decay_rate"])) ** float(single(step) / single(p["transition_steps"]))
        return float(single(p["init_value"]) * single(power))
    assert spec["name"] == "cosine_decay_schedule"
    return p["init_value"] * 0.5 * (1.0 + math.cos(math.pi * min(step, p["decay_steps"]) / p["decay_steps"]))


def torch_recipe(case: dict[str, Any]) -> tuple[Any, bool]:
    p = case["params"]
    if case["name"] == "SGD":
        return SGD(p["momentum"], p["dampening"], p["nesterov"]), True
    return Adam(*p["betas"], p["eps"], p["amsgrad"]), case["name"] == "Adam"


def keras_recipe(case: dict[str, Any]) -> tuple[Any, bool]:
    p = case["params"]
    if case["name"] == "SGD":
        return SGD(p["momentum"], nesterov=p["nesterov"], lr_in_buffer=True), False
    return Adam(p["beta_1"], p["beta_2"], p["epsilon"], eps_hat=True), False


def optax_recipe(case: dict[str, Any]) -> tuple[Any, bool]:
    p = case["params"]
    coupled = "(coupled)" in case["name"]
    if case["name"].startswith("sgd"):
        return SGD(p["momentum"] or 0.0, nesterov=p["nesterov"]), coupled
    if case["name"] == "adamw":
        return Adam(p["b1"], p["b2"], p["eps"], nesterov=p["nesterov"]), coupled
    return Adam(), coupled


def recorded_rates(case: dict[str, Any], coupled: bool) -> Rates:
    p = case["params"]

    def rates(step: int, name: str) -> tuple[float, float, float]:
        lr = case["lrs"][step] if "lrs" in case else number(p["learning_rate"], step)
        decay = 0.0 if name in case["no_decay"] else number(p["weight_decay"], step)
        return (lr, 1.0, decay) if coupled else (lr, 1.0 - lr * decay, 0.0)

    return rates


def replay(problem: dict[str, Any], case: dict[str, Any], optimiser: Any, coupled: bool) -> dict[str, Array]:
    rule = problem["problems"][case["problem"]]
    sign = -1.0 if case["params"].get("maximize") else 1.0

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        if case["problem"] == "fixed":
            return {name: sign * np.array(g) for name, g in rule["grads"][step].items()}
        assert case["problem"] == "quadratic"
        return {n: sign * np.array(rule["curvature"][n]) * (w - np.array(rule["target"][n])) for n, w in params.items()}

    return run(optimiser, problem["init"], gradient, recorded_rates(case, coupled), problem["steps"])


@needs_golden
@pytest.mark.parametrize(
    ("record", "case"),
    [
        *cases("torch_SGD", "SGD"),
        *cases("torch_Adam", "Adam"),
        *cases("torch_AdamW", "AdamW"),
        *cases("keras", "SGD", "Adam", "AdamW"),
        *cases(
            "optax",
            "adamw",
            "sgd+decay before (coupled)",
            "sgd+decay after momentum (decoupled)",
            "adam+decay before (coupled)",
        ),
    ],
)
def test_recorded_trajectory(record: str, case: dict[str, Any]) -> None:
    problem = RECORDS[record]["problem"]
    recipe = {"keras": keras_recipe, "optax": optax_recipe}.get(record, torch_recipe)
    path = replay(problem, case, *recipe(case))
    rtol, atol = (1e-10, 0.0) if case["dtype"] == "float64" else (1e-5, 1e-9)
    assert len(case["trajectory"]) == problem["steps"]
    for name in problem["init"]:
        np.testing.assert_allclose(path[name][1:], [row[name] for row in case["trajectory"]], rtol, atol)


@needs_golden
@pytest.mark.parametrize(("record", "case"), cases("keras", "regularizers.L2"))
def test_keras_penalty_is_l2_twice_its_number(record: str, case: dict[str, Any]) -> None:
    w = np.array(RECORDS[record]["problem"]["init"]["kernel"])
    sgd, zero = SGD(), np.zeros_like(w)
    stepped, _ = sgd.update(w, zero, sgd.init(w), lr=1.0, l2=2.0 * case["params"]["l2"])
    np.testing.assert_allclose(w - stepped, case["gradient"], 1e-10)


def sklearn_rate(p: dict[str, Any], step: int) -> float:
    """scikit-learn's own rate for its update ``step``, counted from 0 (it counts from 1)."""
    if p["learning_rate"] == "optimal":  # squared error: t0 = 1/(alpha·typical w), typical w = alpha^(-1/4)
        return 1.0 / (p["alpha"] * (1.0 / (math.sqrt(1.0 / math.sqrt(p["alpha"])) * p["alpha"]) + step))
    return p["eta0"] / ((step + 1) ** p["power_t"] if p["learning_rate"] == "invscaling" else 1.0)


@needs_golden
@pytest.mark.parametrize(("record", "case"), cases("sklearn_L2", "SGDRegressor"))
def test_recorded_sgd_regressor(record: str, case: dict[str, Any]) -> None:
    p, data = case["params"], RECORDS[record]["data"]
    x, y = np.array(data["X"]), np.array(data["y"])

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        error = float(np.clip(x[step] @ params["coef"] + params["intercept"][0] - y[step], -1e12, 1e12))
        return {"coef": error * x[step], "intercept": np.array([error])}

    def rates(step: int, name: str) -> tuple[float, float, float]:
        lr = sklearn_rate(p, step)
        return lr, 1.0 - lr * p["alpha"] if name == "coef" else 1.0, 0.0

    path = run(SGD(), {"coef": np.zeros(x.shape[1]), "intercept": [0.0]}, gradient, rates, len(y))
    for name in path:
        np.testing.assert_allclose(path[name][1:], [row[name] for row in case["trajectory"]], 1e-10)


@needs_golden
@pytest.mark.parametrize(("record", "case"), cases("sklearn_L2", "Ridge"))
def test_the_textbooks_step_converges_to_ridge(record: str, case: dict[str, Any]) -> None:
    """Ridge minimises Σ(y - Xw - b)² + α·Σw², which is 2n·C for C0 = Σ(y - Xw - b)²/2n and λ = α."""
    data, n = RECORDS[record]["data"], len(RECORDS[record]["data"]["y"])
    x, y = np.array(data["X"]), np.array(data["y"])
    w, b = np.zeros(x.shape[1]), np.zeros(1)
    for _ in range(500):
        error = x @ w + b - y
        grad_b = [error.mean()] if case["params"]["fit_intercept"] else [0.0]
        w, b = textbook_step(w, b, error @ x / n, grad_b, lr=0.4, lam=case["params"]["alpha"], n=n)
    np.testing.assert_allclose(w, case["coef"], 1e-10)
    np.testing.assert_allclose(b, [case["intercept"]], 1e-10)


# --- torch, live -----------------------------------------------------------------------------------------------------


def agree_with_torch(ours: Any, make: Callable[..., Any], coupled: bool, decay: float, maximize: bool = False) -> None:
    """Thirty steps on random gradients, each with its own rate: one torch optimiser against the oracle."""
    rng = np.random.default_rng(0)
    w0, grads, lrs = rng.normal(size=(5, 4)), rng.normal(size=(30, 5, 4)), rng.uniform(0.0, 0.1, size=30)
    grads[:, 0] = 0.0  # a row that never sees a gradient
    parameter = torch.nn.Parameter(torch.tensor(w0))
    theirs = make([parameter], lr=0.1, weight_decay=decay, maximize=maximize)
    rows = [w0]
    for lr, grad in zip(lrs, grads, strict=True):
        theirs.param_groups[0]["lr"] = float(lr)
        parameter.grad = torch.tensor(grad)
        theirs.step()
        rows.append(parameter.detach().numpy().copy())
    path = run(
        ours,
        {"w": w0},
        lambda params, step: {"w": -grads[step] if maximize else grads[step]},
        lambda step, name: (lrs[step], 1.0, decay) if coupled else (lrs[step], 1.0 - lrs[step] * decay, 0.0),
        30,
    )
    np.testing.assert_allclose(path["w"], rows, rtol=1e-12, atol=1e-13)


SGD_SETTINGS = [
    (momentum, dampening, nesterov)
    for momentum, dampening, nesterov in itertools.product((0.0, 0.5, 0.9), (0.0, 0.3, 1.0), (False, True))
    if not nesterov or (momentum > 0.0 and dampening == 0.0)
]


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("momentum", "dampening", "nesterov"), SGD_SETTINGS)
def test_sgd_is_torch_sgd(momentum: float, dampening: float, nesterov: bool, maximize: bool, decay: float) -> None:
    def make(params: Any, **kwargs: Any) -> torch.optim.Optimizer:
        return torch.optim.SGD(params, momentum=momentum, dampening=dampening, nesterov=nesterov, **kwargs)

    agree_with_torch(SGD(momentum, dampening, nesterov), make, True, decay, maximize)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.AdamW])
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize(
    ("beta1", "beta2", "eps"), [(0.9, 0.999, 1e-8), (0.0, 0.95, 1e-8), (0.9, 0.5, 1e-8), (0.5, 0.9, 0.1)]
)
def test_adam_is_torch_adam_and_adamw(
    beta1: float, beta2: float, eps: float, amsgrad: bool, kind: Callable[..., torch.optim.Optimizer], decay: float
) -> None:
    def make(params: Any, **kwargs: Any) -> torch.optim.Optimizer:
        return kind(params, betas=(beta1, beta2), eps=eps, amsgrad=amsgrad, **kwargs)

    agree_with_torch(Adam(beta1, beta2, eps, amsgrad), make, kind is torch.optim.Adam, decay)


# --- laws ------------------------------------------------------------------------------------------------------------

weights = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=5).map(np.array)
rate = st.floats(1e-6, 1.0)


def constant(lr: float, shrink: float = 1.0, l2: float = 0.0) -> Rates:
    return lambda step, name: (lr, shrink, l2)


def descend(optimiser: Any, w0: Any, rates: Rates, steps: int, cautious: bool = False) -> Array:
    """The path on a quadratic with its minimum at 3: curvature 1, 1/2, 1/3, ... per element."""
    w0 = np.asarray(w0, dtype=float)
    curvature = 1.0 / np.arange(1.0, w0.size + 1.0)
    return run(
        optimiser, {"w": w0}, lambda p, step: {"w": curvature * (p["w"] - 3.0)}, rates, steps, cautious=cautious
    )["w"]


@pytest.mark.law
@every_optimiser
@given(w=weights, shrinks=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
@settings(max_examples=20)
def test_without_gradients_only_shrink_remains(optimiser: Any, w: Array, shrinks: list[float]) -> None:
    def path(cautious: bool) -> Array:
        return run(
            optimiser,
            {"w": w},
            lambda params, step: {"w": np.zeros_like(w)},
            lambda step, name: (0.1, shrinks[step], 0.0),
            len(shrinks),
            cautious=cautious,
        )["w"]

    np.testing.assert_allclose(path(False)[-1], w * np.prod(shrinks), rtol=4 * EPS * len(shrinks), atol=1e-300)
    assert np.array_equal(path(True), path(False))  # an update of zero disagrees with no weight


@pytest.mark.law
@given(w=weights, lr=rate, c=rate, slope=st.floats(-1e3, 1e3))
def test_for_plain_sgd_l2_and_decoupled_are_one_update(w: Array, lr: float, c: float, slope: float) -> None:
    sgd, grad = SGD(), np.full_like(w, slope)
    coupled, _ = sgd.update(w, grad, sgd.init(w), lr=lr, l2=c)
    decoupled, _ = sgd.update(w, grad, sgd.init(w), lr=lr, shrink=1.0 - lr * c)
    assert np.all(np.abs(coupled - decoupled) <= 4 * EPS * (np.abs(w) + lr * np.abs(grad)) + 1e-320)  # subnormals


@pytest.mark.parametrize("optimiser", [o for o in OPTIMISERS if o != SGD()], ids=str)
def test_with_momentum_or_adam_they_differ(optimiser: Any) -> None:
    coupled = descend(optimiser, [1.0, -2.0], constant(0.1, l2=0.5), 20)
    decoupled = descend(optimiser, [1.0, -2.0], constant(0.1, shrink=1.0 - 0.1 * 0.5), 20)
    assert np.abs(coupled - decoupled)[-1].min() > 1e-2


@pytest.mark.parametrize("lr_in_buffer", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_with_momentum_l2_c_rests_where_decoupled_c_over_one_minus_momentum_does(
    momentum: float, nesterov: bool, lr_in_buffer: bool
) -> None:
    sgd, lr, c = SGD(momentum, 0.0, nesterov, lr_in_buffer), 0.1, 0.2
    minimum = [3.0 / (1.0 + c), 1.5 / (0.5 + c)]  # of C0 + c/2·Σw²
    for shrink, l2 in ((1.0, c), (1.0 - lr * c / (1.0 - momentum), 0.0)):
        end = descend(sgd, [1.0, -2.0], constant(lr, shrink, l2), 1000)[-1]
        np.testing.assert_allclose(end, minimum, rtol=1e-12)


@pytest.mark.law
@given(w=weights, lr=rate, momentum=st.floats(0.0, 0.99), nesterov=st.booleans(), shrink=st.floats(0.5, 1.0))
def test_a_constant_rate_may_sit_inside_or_outside_the_buffer(
    w: Array, lr: float, momentum: float, nesterov: bool, shrink: float
) -> None:
    outside, inside = (
        descend(SGD(momentum, 0.0, nesterov, place), w, constant(lr, shrink, 0.1), 10) for place in (False, True)
    )
    np.testing.assert_allclose(outside, inside, rtol=1e-12, atol=1e-12 * max(3.0, float(np.abs(outside).max())))


def test_a_decaying_rate_may_not() -> None:
    def halve(step: int, name: str) -> tuple[float, float, float]:
        return 0.1 * 0.5**step, 1.0, 0.0

    outside, inside = (descend(SGD(0.9, lr_in_buffer=place), [1.0, -2.0], halve, 10)[-1] for place in (False, True))
    assert np.abs(outside - inside).min() > 0.1


def test_the_textbooks_velocity_is_minus_the_buffer() -> None:
    """Nielsen's momentum: v ← μ·v - η·∇C, w ← w + v."""
    sgd, w, v = SGD(momentum=0.7, lr_in_buffer=True), np.array([1.0, -2.0]), np.zeros(2)
    state, mine = sgd.init(w), w
    for lr in (0.3, 0.2, 0.1, 0.05):
        mine, state = sgd.update(mine, 2.0 * mine, state, lr=lr)
        v = 0.7 * v - lr * 2.0 * w
        w = w + v
        np.testing.assert_allclose(mine, w, rtol=1e-14)
        np.testing.assert_allclose(state.buffer, -v, rtol=1e-14)


@pytest.mark.law
@every_optimiser
@given(w=weights, lr=rate, shrink=st.floats(0.0, 0.999))
@settings(max_examples=20)
def test_cautious_shrinks_exactly_where_update_and_weight_do_not_disagree(
    optimiser: Any, w: Array, lr: float, shrink: float
) -> None:
    grad, state = np.sin(1e3 * w) - 0.5, optimiser.init(w)
    _, state = optimiser.update(w, -grad, state, lr=lr)  # a history that may disagree with the gradient
    kept, _ = optimiser.update(w, grad, state, lr=lr)
    plain, _ = optimiser.update(w, grad, state, lr=lr, shrink=shrink)
    cautious, after = optimiser.update(w, grad, state, lr=lr, shrink=shrink, cautious=True)
    step, _ = optimiser.update(np.zeros_like(w), grad, state, lr=lr)  # -lr·u alone
    assert np.array_equal(cautious, np.where(np.sign(step) * np.sign(w) <= 0.0, plain, kept))
    assert after.step == 2


def test_cautious_reads_signs_not_products() -> None:
    sgd = SGD()
    grad = [1e-200, -1e-200, 0.0]
    w, _ = sgd.update([1e-200] * 3, grad, sgd.init([0.0] * 3), lr=0.0, shrink=0.5, cautious=True)
    assert w.tolist() == [5e-201, 1e-200, 5e-201]


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("power", [-40, 40])
def test_adam_forgets_the_scale_of_the_gradient(power: int, nesterov: bool, amsgrad: bool) -> None:
    adam, rng = Adam(eps=1e-300, nesterov=nesterov, amsgrad=amsgrad), np.random.default_rng(1)
    grads = rng.normal(size=(20, 3))

    def path(scale: float) -> Array:
        return run(adam, {"w": np.ones(3)}, lambda p, step: {"w": scale * grads[step]}, constant(0.1, 0.99), 20)["w"]

    assert np.array_equal(path(1.0), path(2.0**power))


def test_eps_hat_is_eps_divided_by_the_square_roots_correction() -> None:
    w, state, grads = np.array([1.0, -2.0]), Adam().init([0.0, 0.0]), np.random.default_rng(2).normal(size=(5, 2))
    for t, grad in enumerate(grads, start=1):
        plain = Adam(eps=0.1 / math.sqrt(1.0 - 0.999**t)).update(w, grad, state, lr=0.1)[0]
        w, state = Adam(eps=0.1, eps_hat=True).update(w, grad, state, lr=0.1)
        np.testing.assert_allclose(w, plain, rtol=1e-14)


def test_nesterov_adam_looks_one_step_ahead() -> None:
    """With a constant gradient the mean ahead is the mean: only there do the two forms meet."""
    w, grad = np.ones(1), np.array([0.5])
    look, plain = Adam(beta1=0.5, nesterov=True), Adam(beta1=0.5)
    _, state = plain.update(w, grad, plain.init(w), lr=0.0)
    ahead = 1.0 - look.update(w, grad, state, lr=1.0)[0]
    # m = 0.75·g, corrected at t + 1 = 3: 0.5·0.75/(1 - 0.125) + 0.5/(1 - 0.25) = 3/7 + 2/3, of g
    np.testing.assert_allclose(ahead, 3 / 7 + 2 / 3, rtol=1e-7)
    np.testing.assert_allclose(1.0 - plain.update(w, grad, state, lr=1.0)[0], 1.0, rtol=1e-7)


# --- the driver and the states -----------------------------------------------------------------------------------------


def wave(step: int, name: str) -> tuple[float, float, float]:
    return 0.05 * (1.0 + math.cos(step)), 1.0 - 0.01 * step / 30, 0.02


@every_optimiser
def test_continuing_from_a_state_is_the_uninterrupted_run(optimiser: Any) -> None:
    path = descend(optimiser, [1.0, -2.0], wave, 30)
    w, state = path[0], optimiser.init(path[0])
    for step in range(30):
        lr, shrink, l2 = wave(step, "w")
        frozen = dataclasses.asdict(state)
        grad = np.array([1.0, 0.5]) * (w - 3.0)
        again = optimiser.update(w, grad, state, lr=lr, shrink=shrink, l2=l2)
        w, after = optimiser.update(w, grad, state, lr=lr, shrink=shrink, l2=l2)
        assert np.array_equal(w, again[0])
        for name, value in frozen.items():  # the state given is the state left
            assert np.array_equal(getattr(state, name), value)
        assert after.step == step + 1
        assert np.array_equal(w, path[step + 1])
        state = after


def test_the_gradient_is_taken_at_the_weights_before_decay_and_cannot_touch_them() -> None:
    seen = []

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        seen.append(params["w"].copy())
        params["w"][:] = np.nan
        return {"w": np.ones(2)}

    path = run(SGD(), {"w": [8.0, 4.0]}, gradient, constant(1.0, 0.5), 2)["w"]
    assert path.tolist() == [[8.0, 4.0], [3.0, 1.0], [0.5, -0.5]]
    assert np.array_equal(seen, path[:2])


def test_each_name_has_its_own_numbers_and_shape() -> None:
    w0 = {"kernel": np.ones((2, 3)), "bias": np.ones(3), "scale": np.float64(1.0)}

    def rates(step: int, name: str) -> tuple[float, float, float]:
        return (0.5 if name == "scale" else 0.25), (0.5 if name == "kernel" else 1.0), 0.0

    path = run(SGD(), w0, lambda params, step: {k: np.ones_like(v) for k, v in params.items()}, rates, 1)
    assert {name: p.shape for name, p in path.items()} == {"kernel": (2, 2, 3), "bias": (2, 3), "scale": (2,)}
    assert (path["kernel"][1] == 0.25).all()
    assert (path["bias"][1] == 0.75).all()
    assert path["scale"][1] == 0.5


def test_no_steps_leave_the_start_alone() -> None:
    path = run(Adam(), {"w": np.ones(2)}, lambda params, step: {}, wave, 0)
    assert path["w"].tolist() == [[1.0, 1.0]]


# --- the textbook ------------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(w=weights, b=weights, lr=rate, lam=st.floats(0.0, 10.0), n=st.integers(10, 10**6))
def test_textbook_weights_shrink_and_biases_do_not(w: Array, b: Array, lr: float, lam: float, n: int) -> None:
    new_w, new_b = textbook_step(w, b, np.zeros_like(w), np.zeros_like(b), lr, lam, n)
    assert np.array_equal(new_w, (1.0 - lr * lam / n) * w)
    assert np.array_equal(new_b, b)


def linear_problem() -> tuple[Array, Array, Array, Array]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(12, 3)), rng.normal(size=12), rng.normal(size=3), rng.normal(size=1)


def test_textbook_full_batch_is_gradient_descent_on_the_whole_cost() -> None:
    """C = (1/2n)Σ(x·w + b - y)² + (λ/2n)Σw², differentiated by torch as one expression."""
    (x, y, w, b), lr, lam = linear_problem(), 0.3, 2.5
    n = len(y)
    tw, tb = torch.tensor(w, requires_grad=True), torch.tensor(b, requires_grad=True)
    residual = torch.tensor(x) @ tw + tb - torch.tensor(y)
    (residual.square().sum() / (2 * n) + lam / (2 * n) * tw.square().sum()).backward()
    error = x @ w + b - y
    new_w, new_b = textbook_step(w, b, error @ x / n, [error.mean()], lr, lam, n)
    np.testing.assert_allclose(new_w, w - lr * tw.grad.numpy(), rtol=1e-13)  # type: ignore[union-attr]
    np.testing.assert_allclose(new_b, b - lr * tb.grad.numpy(), rtol=1e-13)  # type: ignore[union-attr]


@pytest.mark.parametrize("m", [1, 4, 12])
def test_textbook_mini_batch_averages_m_examples_and_shrinks_by_all_n(m: int) -> None:
    (x, y, w, b), lr, lam = linear_problem(), 0.3, 2.5
    n = len(y)
    error = x[:m] @ w + b - y[:m]
    new_w, new_b = textbook_step(w, b, (error[:, None] * x[:m]).mean(axis=0), [error.mean()], lr, lam, n)
    for j in range(3):  # (1 - ηλ/n)·w - (η/m)·Σ_x ∂C_x/∂w, one weight and one example at a time
        expected = (1.0 - lr * lam / n) * w[j] - lr / m * sum(error[i] * x[i, j] for i in range(m))
        assert new_w[j] == pytest.approx(expected, rel=1e-14)
    assert new_b[0] == pytest.approx(b[0] - lr / m * sum(error), rel=1e-14)
    sgd = SGD()
    by_l2, _ = sgd.update(w, error @ x[:m] / m, sgd.init(w), lr=lr, l2=lam / n)
    np.testing.assert_allclose(new_w, by_l2, rtol=1e-14)


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: SGD(momentum=1.0), "momentum must be below 1"),
        (lambda: SGD(momentum=-0.1), "momentum must be zero or more"),
        (lambda: SGD(dampening=1.5), "dampening must be at most 1"),
        (lambda: SGD(0.9, 0.1, True), "set dampening to 0"),
        (lambda: SGD(nesterov=1), "nesterov must be True or False"),  # type: ignore[arg-type]
        (lambda: Adam(beta1=1.0), "beta1 must be below 1"),
        (lambda: Adam(beta2=math.nan), "beta2 must be finite"),
        (lambda: Adam(eps=0.0), "eps must be positive"),
        (lambda: Adam(amsgrad=None), "amsgrad must be True or False"),  # type: ignore[arg-type]
        (lambda: SGD().init(["a"]), "w must be an array of real numbers"),
        (lambda: SGD().init([1j]), "w must be an array of real numbers"),
        (lambda: SGD().init([[1.0], [1.0, 2.0]]), "w must be an array of real numbers"),
        (lambda: textbook_step([1.0], [1.0], [0.0], [0.0], 0.1, 5.0, 0), "n must be positive"),
        (lambda: textbook_step([1.0], [1.0], [0.0], [0.0], 0.1, -5.0, 9), "lam must be zero or more"),
        (lambda: textbook_step([1.0], [1.0], [0.0, 0.0], [0.0], 0.1, 5.0, 9), "grad_w has shape"),
    ],
)
def test_what_cannot_work_is_refused(build: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidValueError, match=said):
        build()


@every_optimiser
def test_a_step_refuses_before_it_starts(optimiser: Any) -> None:
    w, state = np.ones(2), optimiser.init(np.ones(2))
    good: dict[str, Any] = {"w": w, "grad": w, "state": state, "lr": 0.1}
    for wrong, said in (
        ({"lr": -0.1}, "lr must be zero or more"),
        ({"shrink": math.inf}, "shrink must be finite"),
        ({"l2": -1.0}, "l2 must be zero or more"),
        ({"cautious": 1}, "cautious must be True or False"),
        ({"grad": np.ones(1)}, "grad has shape"),
        ({"state": optimiser.init(np.ones(3))}, "state has shape"),
    ):
        with pytest.raises(InvalidValueError, match=said):
            optimiser.update(**{**good, **wrong})


def test_the_driver_refuses_a_gradient_with_other_names() -> None:
    w0 = {"weight": [1.0], "bias": [1.0]}
    with pytest.raises(InvalidValueError, match="at step 0 lacks bias"):
        run(SGD(), w0, lambda params, step: {"weight": [0.0]}, wave, 1)
    with pytest.raises(UnknownNameError, match="did you mean 'weight'"):
        run(SGD(), w0, lambda params, step: {**params, "wieght": [0.0]}, wave, 1)
    with pytest.raises(InvalidValueError, match="steps must be at least 0"):
        run(SGD(), w0, lambda params, step: params, wave, -1)


def test_values_are_frozen() -> None:
    for value, name in ((SGD(), "momentum"), (Adam(), "eps"), (SGD().init([1.0]), "step"), (Adam().init([1.0]), "m")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(value, name, 0.5)
