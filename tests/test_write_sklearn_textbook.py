"""Plans written for scikit-learn and for the textbook: executed, with the real estimators, and read back from the source."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPRegressor

import dwindle as dw
from dwindle import foreign
from dwindle.decay import L2, Independent
from dwindle.errors import InvalidValueError, NoExactMapError, UnresolvedTimeError
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.reference import SGD, run, textbook_step
from dwindle.schedule import Schedule
from strategies import schedules

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = [file for file in sorted(GOLDEN.glob("schedule_*.json")) if "float32" not in file.name]
STEPS = 320
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(60, 4)), RNG.normal(size=60)


def built(source: str) -> dict[str, Any]:
    space: dict[str, Any] = {}
    exec(compile(source, "written.py", "exec"), space)
    return space


def close(got: Any, want: np.ndarray, relative: float = 1e-12) -> bool:
    return bool(np.allclose(got, want, rtol=relative, atol=1e-290 + 1e-15 * float(want.max(initial=0.0))))


class Recorder:
    """An estimator that notes the rate and the alpha with which each sample would be learnt."""

    def __init__(self) -> None:
        self.eta0 = self.alpha = None
        self.seen: list[tuple[Any, Any]] = []

    def set_params(self, **params: Any) -> None:
        self.__dict__.update(params)

    def partial_fit(self, x: Any, y: Any) -> None:
        assert len(x) == len(y) == 1
        self.seen.append((self.eta0, self.alpha))
        self.t_ = 1.0 + len(self.seen)


def rates_of_sgd(source: str, steps: int) -> np.ndarray:
    """The rate scikit-learn has in effect for every sample: by its formulas, or as the written loop sets it."""
    space = built(source)
    if "train" not in space:
        model, t = space["configure"](), np.arange(1, steps + 1)
        if model.learning_rate == "optimal":
            typical = np.sqrt(1.0 / np.sqrt(model.alpha))
            return 1.0 / (model.alpha * (1.0 / (typical * model.alpha) + t - 1))
        return model.eta0 / t ** (model.power_t if model.learning_rate == "invscaling" else 0)
    recorder = Recorder()
    for _ in range(2):  # in two calls: the loop goes on where it was
        space["train"](recorder, np.zeros((-(-steps // 2), 1)), np.zeros(-(-steps // 2)))
    return np.array([rate for rate, _ in recorder.seen[:steps]])


def golden_plans() -> list[Any]:
    cases = [case for file in FILES for case in json.loads(file.read_text())["cases"] if "metric" not in case]
    return [pytest.param(c, id=c["id"], marks=[pytest.mark.slow] if i % 7 else []) for i, c in enumerate(cases)]


@pytest.mark.skipif(not FILES, reason=f"the golden values are not at {GOLDEN}")
@pytest.mark.parametrize("case", golden_plans())
def test_every_recipe_of_every_peer_runs_and_reads_back(case: dict[str, Any]) -> None:
    plan = foreign.read(case["peer"], case["name"], case["params"], base_lr=case.get("base_lr"))
    want = plan.lrs(STEPS)
    for peer in ("sklearn", "textbook"):
        source = foreign.write(plan, peer, STEPS)
        if peer == "textbook":
            got = [built(source)["learning_rate"](step) for step in range(STEPS)]
        else:
            got = rates_of_sgd(source, STEPS)
        assert close(got, want)
        assert close(foreign.read(source).lrs(STEPS), want)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, st.integers(100, 300))
def test_any_schedule_runs_and_reads_back(schedule: Schedule, steps: int) -> None:
    plan = Plan(0.1, schedule, dw.l2(1e-3))
    horizon = dw.Horizon(steps=steps, steps_per_epoch=10, batch_size=8, examples=80, tokens_per_step=4096)
    want = plan.lrs(horizon)
    if want.max() * 1e-3 <= 1.0:
        sgd = foreign.write(plan, "sklearn", horizon, optimizer="SGDRegressor")
        assert close(rates_of_sgd(sgd, steps), want)
        assert foreign.read(sgd).decay == plan.decay
        mlp = foreign.write(plan, "sklearn", horizon)
        assert close(foreign.read(mlp).lrs(horizon), want)
        assert foreign.read(mlp).decay.weight_decay == pytest.approx(1e-3, rel=1e-15)  # type: ignore[union-attr]
    book = foreign.write(plan, "textbook", horizon)
    assert close([built(book)["learning_rate"](step) for step in range(steps)], want)
    assert close(foreign.read(book).lrs(horizon), want)
    assert foreign.read(book).decay == plan.decay


# --- SGDRegressor and SGDClassifier, executed ----------------------------------------------------------------------------

DECAYS = [
    None, dw.l2(0.02), dw.decoupled(0.02), dw.independent(0.002), dw.corrected(0.05), dw.l2(dw.linear(30) * 0.02),
    dw.independent(dw.cosine(30) * 0.002), dw.corrected(dw.step(9) * 0.05),
]  # fmt: skip


def squared_error(params: dict[str, np.ndarray], step: int) -> dict[str, np.ndarray]:
    error = X[step] @ params["coef"] + params["intercept"] - Y[step]
    return {"coef": error * X[step], "intercept": error}


def by_the_reference(plan: Plan, steps: int) -> dict[str, np.ndarray]:
    whole = plan.resolve(steps)
    start = {"coef": np.zeros(4), "intercept": np.zeros(1)}
    return run(SGD(), start, squared_error, lambda t, name: whole.rates(t, decays=name == "coef"), steps)


@pytest.mark.parametrize("decay", DECAYS, ids=str)
@pytest.mark.parametrize(
    "schedule", ["constant", "inverse-sqrt every 1st", "warmup 5st, cosine to 10% over 40st", "step by 0.5 every 7st"]
)
def test_an_sgd_regressor_is_the_reference_to_1e_10(schedule: str, decay: Any) -> None:
    plan = Plan(0.05, dw.parse(f"peak 1 | {schedule}").schedule, decay)
    space = built(foreign.write(plan, "sklearn", optimizer="SGDRegressor"))
    model = space["configure"]()
    assert isinstance(model, SGDRegressor)
    model.set_params(shuffle=False)
    if "train" in space:
        space["train"](model, X[:25], Y[:25])
        space["train"](model, X[25:50], Y[25:50])
    else:
        for i in range(50):
            model.partial_fit(X[i : i + 1], Y[i : i + 1])
    want = by_the_reference(plan, 50)
    np.testing.assert_allclose(model.coef_, want["coef"][-1], rtol=1e-10)
    np.testing.assert_allclose(model.intercept_, want["intercept"][-1].ravel(), rtol=1e-10)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the recorded trajectories are not at {GOLDEN}")
def test_the_recorded_sgd_regressors_are_written_as_they_were() -> None:
    cases = json.loads((GOLDEN / "wd_sklearn_L2.json").read_text())["cases"]
    cases = [case for case in cases if case["name"] == "SGDRegressor"]
    assert cases
    for case in cases:
        plan = foreign.read_optimizer("sklearn", "SGDRegressor", case["params"])
        model = built(foreign.write(plan, "sklearn", optimizer="SGDRegressor"))["configure"]()
        assert model.learning_rate == case["params"]["learning_rate"]
        own = {"constant": ["eta0"], "invscaling": ["eta0", "power_t"], "optimal": []}[model.learning_rate]
        for key in [*own, "alpha"]:
            assert getattr(model, key) == pytest.approx(
                case["params"].get(key, getattr(SGDRegressor(), key)), rel=1e-15
            )


def test_fit_goes_through_the_samples_as_often_as_the_run() -> None:
    plan = dw.parse("peak 0.01 | inverse-sqrt every 1st | l2 1e-3")
    source = foreign.write(plan, "sklearn", dw.Horizon(epochs=4, examples=60, batch_size=1), optimizer="SGDRegressor")
    model = built(source)["configure"]().set_params(shuffle=False)
    model.fit(X, Y)
    assert model.t_ == 4 * 60 + 1
    step = SGDRegressor(learning_rate="invscaling", eta0=0.01, power_t=0.5, alpha=1e-3, shuffle=False)
    for _ in range(4):
        step.partial_fit(X, Y)
    np.testing.assert_allclose(model.coef_, step.coef_, rtol=1e-12)


@pytest.mark.parametrize("alpha", [1e-4, 3e-3])
def test_optimal_is_written_as_optimal_only_where_its_alpha_is_the_decay(alpha: float) -> None:
    plan = foreign.read(f"sklearn: SGDClassifier(alpha={alpha})")
    model = built(foreign.write(plan, "sklearn"))["configure"]()
    assert isinstance(model, SGDClassifier)
    assert (model.learning_rate, model.alpha) == ("optimal", alpha)
    other = Plan(plan.peak, plan.schedule, dw.l2(2 * alpha))
    source = foreign.write(other, "sklearn")
    assert 'learning_rate="constant"' in source
    assert close(rates_of_sgd(source, 100), other.lrs(100))
    assert "train" in built(foreign.write(Plan(plan.peak, plan.schedule), "sklearn"))


def test_a_classifier_of_several_classes_trains_at_the_rates() -> None:
    plan = dw.parse("peak 0.1 | warmup 20st, linear to 0% over 40st | l2 1e-3")
    space = built(foreign.write(plan, "sklearn"))
    model = space["train"](space["configure"](), X, np.arange(60) % 3, classes=[0, 1, 2])
    assert model.t_ == 61
    assert model.coef_.shape == (3, 4)


# --- MLPs, executed ------------------------------------------------------------------------------------------------------


def linear_gradient(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    error = (x @ w + b - y[:, None]) / len(x)
    return x.T @ error, error.sum(axis=0)


@pytest.mark.parametrize(
    "decay",
    [dw.l2(0.1), dw.decoupled(0.1), dw.independent(0.01), dw.corrected(0.3), dw.l2(dw.linear(9) * 0.1), None],
    ids=str,
)
def test_an_mlp_follows_the_plan_by_batches_also_the_last_small_one(decay: Any) -> None:
    """A network without hidden layers and with identity output, whose gradient can be written down."""
    plan = Plan(0.1, dw.warmup(2).then(dw.cosine(10, end=0.1)), decay)
    horizon = dw.Horizon(epochs=3, examples=60, batch_size=16)  # batches of 16, 16, 16, 12
    space = built(foreign.write(plan, "sklearn", horizon, optimizer="MLPRegressor"))
    model = space["configure"]().set_params(hidden_layer_sizes=(), shuffle=False, random_state=0)
    assert isinstance(model, MLPRegressor)
    step = space["train"](model, X[:16], Y[:16])  # at the rate 0, so nothing moves
    w, b = model.coefs_[0].copy(), model.intercepts_[0].copy()
    step = space["train"](model, X[16:], Y[16:], step)
    for _ in range(2):
        step = space["train"](model, X, Y, step)
    assert step == horizon.steps
    whole = plan.resolve(horizon)
    batches = [(0, 16), (16, 32), (32, 48), (48, 60)]
    for t in range(1, step):
        i, j = batches[t % 4]
        lr, shrink, c = whole.rates(t)
        grad_w, grad_b = linear_gradient(X[i:j], Y[i:j], w, b)
        w, b = shrink * w - lr * (grad_w + c * w), b - lr * grad_b
    np.testing.assert_allclose(model.coefs_[0], w, rtol=1e-10)
    np.testing.assert_allclose(model.intercepts_[0], b, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("schedule", ["constant", "inverse-sqrt every 1ep rate 60 staircase"])
def test_an_mlp_own_learning_rate_is_fitted_as_the_plan_says(schedule: str) -> None:
    plan = dw.parse(f"peak 0.1 | {schedule} | l2 0.05")
    horizon = dw.Horizon(epochs=5, examples=60, batch_size=60)
    source = foreign.write(plan, "sklearn", horizon, optimizer="MLPRegressor")
    assert foreign.read(source) == plan
    assert foreign.read(source.replace("n = 60", "n = 60.0")).lrs(horizon).tolist() == plan.lrs(horizon).tolist()
    made: list[Any] = []
    space = built(source)

    def linear(**params: Any) -> Any:
        made.append(params)
        return MLPRegressor(hidden_layer_sizes=(), shuffle=False, random_state=0, **params)

    space["MLPRegressor"] = linear
    model = space["fit"](X, Y)
    still = MLPRegressor(hidden_layer_sizes=(), random_state=0, solver="sgd", learning_rate_init=1e-300, max_iter=1)
    still.fit(X, Y)
    w, b = still.coefs_[0], still.intercepts_[0]
    for t in range(5):
        lr, _, c = plan.resolve(horizon).rates(t)
        grad_w, grad_b = linear_gradient(X, Y, w, b)
        w, b = w - lr * (grad_w + c * w), b - lr * grad_b
    np.testing.assert_allclose(model.coefs_[0], w, rtol=1e-10)
    assert made[0]["alpha"] == pytest.approx(0.05 * 60)
    with pytest.raises(ValueError, match="the plan is for 60 samples; got 59"):
        space["fit"](X[:59], Y[:59])


def test_an_mlp_needs_its_batch() -> None:
    with pytest.raises(UnresolvedTimeError, match="needs to know batch_size"):
        foreign.write(dw.parse("peak 0.1 | constant | l2 1e-3"), "sklearn", 100, optimizer="MLPClassifier")
    source = foreign.write(
        dw.parse("peak 0.1 | constant | l2 1e-3"), "sklearn", dw.Horizon(epochs=2, examples=100, batch_size=32)
    )
    assert "the last batch of an epoch has 4 samples" in source


# --- the textbook --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["l2 0.2", "decoupled 0.2", "independent 0.02", "corrected 0.2", "decoupled 0.2 cautious", "l2 (linear to 0%)"],
)
@pytest.mark.parametrize("horizon", [20, dw.Horizon(epochs=2, examples=50, batch_size=5)], ids=["steps", "examples"])
def test_the_textbook_update_is_the_reference(text: str, horizon: Any) -> None:
    plan = dw.parse(f"peak 0.5 | warmup 3st, cosine to 10% | {text}")
    whole, update = plan.resolve(horizon), built(foreign.write(plan, "textbook", horizon))["update"]
    w0, b0 = RNG.normal(size=(3, 4)), RNG.normal(size=3)
    sums = [(RNG.normal(size=(3, 4)), RNG.normal(size=3)) for _ in range(20)]
    path = run(
        SGD(), {"w": w0, "b": b0}, lambda params, t: {"w": sums[t][0] / 5, "b": sums[t][1] / 5},
        lambda t, name: whole.rates(t, decays=name == "w"), 20,
        cautious=plan.decay is not None and plan.decay.cautious,
    )  # fmt: skip
    weights, biases = [w0, 2 * w0], [b0, b0]
    for t, (nabla_w, nabla_b) in enumerate(sums):
        weights, biases = update(weights, biases, [nabla_w, nabla_w], [nabla_b, nabla_b], 5, t)
    np.testing.assert_allclose(weights[0], path["w"][-1], rtol=1e-10)
    np.testing.assert_allclose(biases[1], path["b"][-1], rtol=1e-10)
    back = foreign.read(foreign.write(plan, "textbook", horizon)).resolve(horizon)  # type: ignore[union-attr]
    assert back.sgd_shares(20) == pytest.approx(whole.sgd_shares(20), rel=1e-12, abs=1e-18)
    assert (back.decay.cautious, back.mask) == (plan.decay.cautious, plan.mask)  # type: ignore[union-attr]


def test_lambda_is_c_times_the_examples_of_the_run() -> None:
    plan = Plan(0.5, dw.step("5ep"), dw.l2.from_cost(lam=5.0, n=50_000))
    source = foreign.write(plan, "textbook", dw.Horizon(epochs=30, examples=50_000, batch_size=10))
    assert "lmbda = 5.0 " in source
    assert "epoch = step // steps_per_epoch" in source
    space = built(source)
    w, b = textbook_step([1.0, -2.0], [1.0], [0.3, 0.1], [0.2], lr=0.25, lam=5.0, n=50_000)
    at = 5 * 5000  # the first step of epoch 5
    weights, biases = space["update"]([np.array([1.0, -2.0])], [np.array([1.0])], [np.array([3.0, 1.0])], [2.0], 10, at)
    np.testing.assert_allclose(weights[0], w, rtol=1e-14)
    np.testing.assert_allclose(biases[0], b, rtol=1e-14)
    assert foreign.read(source).decay == plan.decay
    assert [space["learning_rate"](step) for step in (at - 1, at)] == [0.5, 0.25]


@pytest.mark.law
@given(st.floats(1e-9, 1.0), st.integers(1, 10**7))
def test_the_decay_is_read_back_to_the_last_bit_however_many_examples(c: float, n: int) -> None:
    source = foreign.write(Plan(0.1, decay=dw.l2(c)), "textbook", dw.Horizon(steps=1, examples=n))
    got = foreign.read(source).decay
    assert isinstance(got, L2)
    assert got.weight_decay == pytest.approx(c, rel=3e-16)


@pytest.mark.parametrize("division", ["true", "integer"])
def test_both_forms_of_the_exponential_code(division: str) -> None:
    plan = foreign.read(
        "textbook", "exponential", {"decay_rate": 0.9, "decay_steps": 7, "division": division}, base_lr=0.5
    )
    source = foreign.write(plan, "textbook")
    assert ("0.5 * 0.9 ** (step / 7)" if division == "true" else "0.5 * 0.9 ** (step // 7)") in source
    assert foreign.read(source).lrs(50).tolist() == pytest.approx(plan.lrs(50).tolist(), rel=1e-15)


RATE = "def learning_rate(step):\n    return 0.1 * 0.5 ** (step // 10)\n"
LOOP = f"{RATE}for step in range(9):\n    lr = learning_rate(step)\n"


@pytest.mark.parametrize(
    ("source", "decay"),
    [
        ("decay = 0.01\ndef learning_rate(step):\n    return 0.1 / (1 + decay * step)\nw -= learning_rate(step) * g", None),
        ("decay = 0.95\ndef learning_rate(step):\n    return 0.1 * decay ** (step / 100)\nw -= learning_rate(step) * g", None),
        (f"decay = 0.01\n{RATE}", None),
        (f"lmbda, n = 5.0, 50_000\n{LOOP}    w = (1 - lr * (lmbda / n)) * w - lr * g", "1e-4"),
        (f"decay = 0.01\n{LOOP}    w *= 1 - lr * decay", "0.01"),
        (f"decay = 0.01\n{LOOP}    w -= lr * (g + decay * w)", "0.01"),
        (f"lam = 0.01\n{LOOP}    grad = x.T @ r + 2 * lam * w", "0.02"),
        (f"decay = 0.01\n{LOOP}    w -= lr * decay * w\n    w -= lr * g", "0.01"),
        (f"reg = 0.01\n{LOOP}    dW = f(W)\n    dW += 2 * reg * W\n    W -= lr * dW", "0.02"),
        (f"lambd, m = 0.7, 70\n{LOOP}    dW1 = 1 / m * np.dot(d, X.T) + lambd / m * W1\n    W1 = W1 - lr * dW1", "0.01"),
        (f"l2 = 0.01\n{LOOP}    w -= lr * (g + l2 * w)", "0.01"),
        (f"alpha = 0.01\n{LOOP}    w -= lr * (g + alpha * w)", "0.01"),
        (f"alpha = 0.01\n{LOOP}    w -= lr * g\n    mean = (1 - alpha) * mean + alpha * w", None),
        (f"alpha = 0.01\n{LOOP}    w -= lr * g\n    mean *= 1 - alpha\n    mean += alpha * w", None),
        (f"{LOOP}    l2 = f(l1 @ w1)\n    w1 -= lr * l1.T @ (l2 - y)", None),
        (f"{LOOP}    w = (1 - lr * decay(step)) * w\ndef decay(step):\n    return 0.1 / (1 + step)",
         '(formula "0.1 / (1 + step)")'),
        # λ by any name, or by none, where it is a share of the weights in what moves them
        *((f"{name} = 0.01\n{LOOP}    w -= lr * (g + {name} * w)", "0.01")
          for name in ("lambda_reg", "l2_coef", "reg_param", "weight_decay_rate", "penalty", "C")),
        (f"{LOOP}    w -= lr * (g + 0.01 * w)", "0.01"),
        (f"{LOOP}    dW = f(W)\n    dW += 0.01 * W\n    W -= lr * dW", "0.01"),
        (f"{LOOP}    w = w - lr * g - lr * 0.01 * w", "0.01"),
        (f"def grad(w): return f(w) + 0.01 * w\n{LOOP}    w = w - lr * grad(w)", "0.01"),
        (f"lam = 0.01\n{LOOP}    dw = lam * w - f(w)\n    w = w - lr * dw", "0.01"),
        # and where more than the rate scales it
        (f"lam, m = 0.1, 10\n{LOOP}    dw = (1 / m) * (x.T @ r + lam * w)\n    w -= lr * dw", "0.01"),
        (f"lam, m = 0.1, 10\n{LOOP}    w -= lr * (x.T @ r + lam * w) / m", "0.01"),
        # numbers times weights that are none: a model, a cost, an average
        (f"x = 2.0\n{LOOP}    error = w * x + b - y\n    dw = 2 * error * x\n    w -= lr * dw", None),
        (f"{LOOP}    w = w - lr * (2 * w - 6)", None),
        (f"{LOOP}    w -= lr * g\n    mean = 0.9 * mean + 0.1 * w", None),
        (f"alpha = 0.3\n{LOOP}    x = x - lr * f(x)\n    score = base + alpha * weights", None),
        # what is called as λ and is none
        (f"{LOOP}    w -= lr * g\nreg = LinearRegression()\nreg.fit(x, y)\nscore(reg, x)", None),
        (f"reg = 1e-3\n{LOOP}    w -= lr * g\nprint('reg', reg, f'{{2 * reg}}')", None),
        (f"weight_decay = None\n{LOOP}    w -= lr * g\n    if weight_decay: w *= 1 - weight_decay", None),
        (f"regularization = None\n{LOOP}    w -= lr * g\n    if regularization is not None: print(w)", None),
    ],
)  # fmt: skip
def test_a_decay_by_hand_is_that_of_the_weights_where_it_multiplies_them(source: str, decay: str | None) -> None:
    plan = foreign.read(source)
    assert isinstance(plan, Plan)
    assert str(plan.decay) == ("None" if decay is None else f"l2 {decay}")


ADAM = "    m = 0.9 * m + (1 - 0.9) * g\n    v = 0.999 * v + (1 - 0.999) * g ** 2\n"
MOVED = "m / (1 - 0.9 ** (step + 1)) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)"
PENALISED = "def penalised(w): return grad(w) + wd * w\n\n"
STEPPED = "def moved(w, d, m, lr):\n    m = 0.9 * m + d\n    return "
BY_HAND = [
    (dw.reference.Adam(), "decoupled", f"    g = grad(w)\n{ADAM}    w = (1 - lr * wd) * w - lr * {MOVED}"),
    (dw.reference.Adam(), "decoupled", f"    g = grad(w)\n{ADAM}    w = w - lr * ({MOVED} + wd * w)"),
    (dw.reference.Adam(), "decoupled", f"    g = grad(w)\n{ADAM}    move = {MOVED} + wd * w\n    w = w - lr * move"),
    (dw.reference.Adam(), "l2", f"    g = grad(w) + wd * w\n{ADAM}    w = w - lr * {MOVED}"),
    (dw.reference.Adam(), "l2", f"{PENALISED}    g = penalised(w)\n{ADAM}    w = w - lr * {MOVED}"),
    (SGD(0.9), "decoupled", "    m = 0.9 * m + grad(w)\n    w = (1 - lr * wd) * w - lr * m"),
    (SGD(0.9), "decoupled", "    m *= 0.9\n    m += grad(w)\n    w -= lr * wd * w\n    w -= lr * m"),
    (SGD(0.9), "decoupled", "    m = [0.9 * a + b for a, b in zip(m, grad(w))]\n    w = (1 - lr * wd) * w - lr * np.array(m)"),
    (SGD(0.9), "decoupled", f"{STEPPED}(1 - lr * wd) * w - lr * m, m\n\n    w, m = moved(w, grad(w), m, lr)"),
    (SGD(0.9), "l2", f"{STEPPED}w - lr * m, m\n\n    g = grad(w) + wd * w\n    w, v = moved(w, g, v, lr)"),
    (SGD(0.9), "l2", "    m = 0.9 * m + grad(w) + wd * w\n    w = w - lr * m"),
    (SGD(0.9, lr_in_buffer=True), "l2", "    v = 0.9 * v - lr * (grad(w) + wd * w)\n    w = w + v"),
    (SGD(0.9, lr_in_buffer=True), "decoupled", "    m += 0.1 * (lr * grad(w) / 0.1 - m)\n    w = w - lr * wd * w - m"),
    (SGD(), "l2", "    w = (1 - lr * wd) * w - lr * grad(w)\n    loss = 0.9 * loss + 0.1 * np.sum(w ** 2)"),
    (SGD(), "l2", "    d = (4 * grad(w) + 4 * wd * w) / 4\n    w = w - lr * d"),
    (SGD(), "l2", "    d = np.zeros(2)\n    for i in range(4): d += grad(w)\n    d *= 1 / 4\n    w = w - lr * (d + wd * w)"),
    (SGD(0.9), "decoupled", "def of(d, m): return 0.9 * m + d\n\n    m = of(grad(w), m)\n    w = w - lr * (m + wd * w)"),
    (SGD(0.9), "decoupled", "    m = np.add(0.9 * m, grad(w))\n    w = w - lr * (m + wd * w)"),
]  # fmt: skip


@pytest.mark.parametrize(("optimiser", "convention", "update"), BY_HAND)
def test_a_decay_by_hand_beside_momentum_is_decoupled_and_before_it_l2(
    optimiser: Any, convention: str, update: str
) -> None:
    functions, _, update = update.rpartition("\n\n")
    head = f"import numpy as np\nwd = 0.1\n{RATE}def grad(w): return np.sin(3 * w)\n{functions}"
    source = f"{head}\nfor step in range(40):\n    lr = learning_rate(step)\n{update}\n"
    space: dict[str, Any] = {"w": np.array([1.0, -2.0]), "m": np.zeros(2), "v": np.zeros(2), "loss": 0.0}
    exec(compile(source, "by_hand.py", "exec"), space)
    plan = foreign.read(source)
    assert isinstance(plan, Plan)
    assert str(plan.decay) == f"{convention} 0.1"
    whole = plan.resolve(dw.Horizon(steps=40))
    path = run(
        optimiser,
        {"w": [1.0, -2.0]},
        lambda at, step: {"w": np.sin(3 * at["w"])},
        lambda step, name: whole.rates(step),
        40,
    )
    np.testing.assert_allclose(space["w"], path["w"][-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (f"decay = 0.01\n{LOOP}    w *= 1 - decay", "whether and how decay decays the weights cannot be told (line 6)"),
        (f"decay = 0.9\n{LOOP}    v = decay * v + (1 - decay) * g ** 2", "(line 6); write the update as (1 - eta * decay) * w"),
        (f"decay = 0.99\n{LOOP}    w -= lr * g\n    mean = decay * mean + (1 - decay) * w", "how decay decays the weights"),
        (f"decay = 0.99\n{LOOP}    w -= lr * g\n    mean *= decay\n    mean += (1 - decay) * w", "how decay decays the weights"),
        (f"{LOOP}    w -= lr * f(w, 0.1)\ndef f(w, reg):\n    return g + reg * w", "how reg decays the weights"),
        (f"{LOOP}    train(lr, 5.0)\ndef train(eta, lmbda):\n    return (1 - eta * lmbda / n) * w", "how lmbda decays"),
        (f"{LOOP}    w *= 1 - lr * 0.1\n    v *= 1\n    W2 *= 1 - lr * 0.2", "decay by l2 0.1 and by l2 0.2 here"),
        (f"self.reg = 0.01\n{LOOP}    d = g + self.reg * self.w\n    self.w -= lr * d",
         "how self.reg decays the weights cannot be told (line 6); write the update as (1 - eta * reg) * w with reg a number"),
        (f"cfg = dict(wd=0.01)\n{LOOP}    w -= lr * (g + cfg['wd'] * w)", "how cfg['wd'] decays the weights cannot be told"),
        (f"{LOOP}    w -= lr * (g + self.regularization.grad(w))", "how self.regularization decays the weights cannot be told"),
        (f"reg = 0.01\n{LOOP}    w = update(w, g, lr, reg)", "how reg decays the weights cannot be told (line 6)"),
        (f"{LOOP}    w = 0.999 * w - lr * g", "whether and how 0.999 * w decays the weights cannot be told (line 5); write the "
         "update as (1 - eta * lam) * w with lam a number"),
        (f"{LOOP}    d = g - 0.01 * w\n    w += lr * d", "whether and how 0.01 * w decays the weights cannot be told (line 5)"),
        (f"lam = 0.1\n{LOOP}    w -= lr * (x.T @ r + lam * w) / len(y)", "whether and how lam decays the weights cannot be told"),
        (f"lam = 0.1\n{LOOP}    w -= lr * ((g + lam * w) + (h + lam * w))", "whether and how lam decays the weights cannot be"),
    ],
)  # fmt: skip
def test_a_decay_by_hand_that_cannot_be_told_is_not_lost(source: str, why: str) -> None:
    with pytest.raises(NoExactMapError) as caught:
        foreign.read(source)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("update", "convention"),
    [
        ("    g = grad(w)\n    w = w - lr * (np.sign(g) + wd * w)", "decoupled"),
        ("    g = grad(w) + wd * w\n    w = w - lr * np.sign(g)", "l2"),
        ("    g = grad(w)\n    w = w - lr * g / np.linalg.norm(g) - lr * wd * w", "decoupled"),
        ("    d = x.T @ (p - y) / len(y)\n    w -= lr * (d + wd * w)", "l2"),
        ("    h = np.tanh(x @ w1)\n    d = h.T @ (p - y) + wd * w\n    w -= lr * d", "l2"),
    ],
)  # fmt: skip
def test_a_decay_beside_the_signs_of_the_gradients_is_decoupled(update: str, convention: str) -> None:
    plan = foreign.read(f"wd = 0.1\n{LOOP}{update}")
    assert isinstance(plan, Plan)
    assert str(plan.decay) == f"{convention} 0.1"


@pytest.mark.parametrize("schedule", ["constant", "warmup 3st, linear to 0% over 9st"])
@pytest.mark.parametrize("decay", [decay for decay in DECAYS if decay is not None], ids=str)
@pytest.mark.parametrize("batch", [1, 5])
def test_the_decay_of_an_estimator_is_read_back(decay: Any, schedule: str, batch: int) -> None:
    plan, run = Plan(0.05, dw.parse(f"peak 1 | {schedule}").schedule, decay), dw.Horizon(steps=12, batch_size=batch)
    back = foreign.read(foreign.write(plan, "sklearn", run), run=run)
    assert isinstance(back, Plan)
    assert back.resolve(run).sgd_shares(12) == pytest.approx(plan.resolve(run).sgd_shares(12), rel=1e-12, abs=1e-18)


def test_an_alpha_that_is_set_by_hand_in_another_way_is_refused() -> None:
    source = foreign.write(dw.parse("peak 0.05 | cosine over 9st | l2 0.01"), "sklearn", 12)
    with pytest.raises(NoExactMapError, match=r"sets alpha by hand \(line \d+\), which is not read"):
        foreign.read(source.replace("set_params(", "set_params(alpha=lam[step], "))


CONSTANT = "SGDClassifier(alpha=0.1, eta0=0.1, learning_rate='constant')"


@pytest.mark.parametrize(
    ("built", "later", "plainly"),
    [
        (CONSTANT, "m.set_params(alpha=0.5)", "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "m.alpha = 0.5", "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "m.set_params(**{'alpha': 0.5})", "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "m.set_params(eta0=0.5); m.fit(x, y)", "SGDClassifier(alpha=0.1, eta0=0.5, learning_rate='constant')"),
        (CONSTANT, "p = make_pipeline(scale, m); p.set_params(sgdclassifier__eta0=0.5)",
         "SGDClassifier(alpha=0.1, eta0=0.5, learning_rate='constant')"),
        (CONSTANT, "p = Pipeline([('pca', pca), ('m', m)]); p.set_params(m__eta0=0.5, pca__alpha=3)",
         "SGDClassifier(alpha=0.1, eta0=0.5, learning_rate='constant')"),
        (CONSTANT, "b = MultinomialNB(); b.set_params(alpha=0.5)", CONSTANT),
        (CONSTANT, "c, b = 1, MultinomialNB(); b.set_params(alpha=decay(t))\ndef decay(t): return 0.1 / (1 + t)", CONSTANT),
        (CONSTANT, "m.set_params(max_iter=5); self.alpha = 3; args.learning_rate = 7", CONSTANT),
        (CONSTANT, "t = Trainer(m); t.alpha = 3; t.eta0 = 7; setattr(t, 'eta0', 7); setattr(m, 'max_iter', 7)", CONSTANT),
        (CONSTANT, "c = m; c.alpha, c.eta0 = 0.5, 0.2", "SGDClassifier(alpha=0.5, eta0=0.2, learning_rate='constant')"),
        (CONSTANT, "m.alpha: float = 0.5; setattr(m, 'eta0', 0.2)",
         "SGDClassifier(alpha=0.5, eta0=0.2, learning_rate='constant')"),
        (CONSTANT, "other.alpha = m.alpha = 0.5", "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "def made(): return m\nc = made(); c.alpha = 0.5",
         "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "for c in [m]: c.alpha = 0.5", "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        (CONSTANT, "p = make_pipeline(scale, m); p.named_steps['sgdclassifier'].alpha = 0.5",
         "SGDClassifier(alpha=0.5, eta0=0.1, learning_rate='constant')"),
        ("SGDClassifier(penalty=None, learning_rate='constant')", "m.set_params(alpha=0.5)",
         "SGDClassifier(penalty=None, learning_rate='constant')"),
        ("SGDClassifier()", "m.set_params(alpha=0.5)", "SGDClassifier(alpha=0.5)"),  # whose rate is made of alpha
        ("SGDClassifier(alpha=1)", "m.set_params(learning_rate='constant')", "SGDClassifier(alpha=1, learning_rate='constant')"),
        ("MLPClassifier(alpha=0.1, batch_size=9)", "m.set_params(alpha=0.5)", "MLPClassifier(alpha=0.5, batch_size=9)"),
        ("MLPClassifier(batch_size=9)", "m.set_params(learning_rate_init=0.5)",
         "MLPClassifier(batch_size=9, learning_rate_init=0.5)"),
    ],
)  # fmt: skip
def test_what_is_set_later_counts_as_where_the_estimator_is_built(built: str, later: str, plainly: str) -> None:
    head = "from sklearn.linear_model import SGDClassifier\nfrom sklearn.neural_network import MLPClassifier\nm = "
    assert foreign.read(f"{head}{built}\n{later}\n") == foreign.read(f"{head}{plainly}\n")


@pytest.mark.parametrize(
    ("later", "why"),
    [
        ("for e in range(9):\n    m.set_params(eta0=0.1 * 0.9 ** e)", "sets its eta0 by hand (line 4), which is not read; give "),
        ("m.partial_fit(x, y)\nm.set_params(eta0=0.01)", "sets its eta0 by hand (line 4), which is not read; give SGDClassifier"),
        ("m.set_params(eta0=0.01)\nm.set_params(eta0=0.02)", "'m.set_params(eta0=0.02)' sets its eta0 by hand (line 4)"),
        ("m.set_params(**best)", "sets its settings by hand (line 3), which is not read; give SGDClassifier its settings where"),
        ("p = made(m)\np.set_params(it__alpha=0.1)", "sets its it__alpha by hand (line 4)"),
        ("for e in range(9):\n    m.eta0 *= 0.9", "'m.eta0 *= 0.9' sets its eta0 by hand (line 4), which is not read; give"),
        ("m.alpha *= 2", "'m.alpha *= 2' sets alpha by hand (line 3), which is not read;"),
        ("m.fit(x, y)\nm.eta0, m.alpha = 0.5, 0.1", "sets its eta0 by hand (line 4), which is not read; give SGDClassifier its"),
        ("for k in best: setattr(m, k, best[k])", "'setattr(m, k, best[k])' sets its settings by hand (line 3)"),
        ("p = make_pipeline(scale, m)\np[-1].eta0 = 0.5", "'p[-1].eta0 = 0.5' sets its eta0 by hand (line 4)"),
        ("m.learning_rate = kind", "'m.learning_rate = kind' sets its learning_rate by hand (line 3)"),
        ("m.set_params(learning_rate='optimal')\nm.set_params(alpha=decay(t))\ndef decay(t): return 0.1 / (1 + t)",
         "changes the learning rate too (line 4), which is made of alpha where it is 'optimal'; give SGDClassifier another"),
    ],
)  # fmt: skip
def test_what_is_set_later_and_cannot_be_told_is_refused(later: str, why: str) -> None:
    with pytest.raises(NoExactMapError) as caught:
        foreign.read(f"from sklearn.linear_model import SGDClassifier\nm = {CONSTANT}\n{later}\n")
    assert why in str(caught.value)


# --- what they cannot do -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("set_so", ["m.set_params(alpha=0.5)", "m.alpha = 0.5"])
def test_what_is_set_in_some_case_only_is_refused_in_fitting_words(set_so: str) -> None:
    with pytest.raises(InvalidValueError, match=r"is run only if big \(line 3\); give the source without the if\."):
        foreign.read(f"from sklearn.linear_model import SGDClassifier\nm = {CONSTANT}\nif big: {set_so}\n")


@pytest.mark.parametrize("peer", ["sklearn", "textbook"])
def test_one_rate_is_all_they_have(peer: str) -> None:
    for plan in (Plan(0.1, groups=(dw.Group("head", "head.*", 2.0),)), Plan(0.1, layer_decay=0.5)):
        with pytest.raises(NoExactMapError, match="one learning rate"):
            foreign.write(plan, peer)
    with pytest.raises(NoExactMapError, match="peak 0"):
        foreign.write(Plan(0.0, decay=Independent(0.1)), peer)


@pytest.mark.parametrize("peer", ["sklearn", "textbook"])
def test_what_is_not_exact_is_said(peer: str) -> None:
    all_decay = foreign.write(Plan(0.1, decay=dw.l2(0.1), mask=Mask.everything()), peer)
    assert "not exact: in the plan every parameter decays" in all_decay
    assert "Note" not in foreign.write(Plan(0.1, decay=dw.l2(0.1)), peer)
    nothing = foreign.read(foreign.write(Plan(0.1, decay=dw.l2(0.1), mask=Mask(())), peer))
    assert nothing.decay is None


def test_refusals_of_scikit_learn_and_the_textbook() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the plan warns of it too
        flips = Plan(0.9, decay=dw.l2(1.5))
    for plan, peer, optimizer, said in [
        (Plan(0.1), "sklearn", "Ridge", "no learning rate"),
        (Plan(0.1), "textbook", "network3", "network2"),
        (Plan(1.0, dw.warmup(5), dw.l2(dw.linear(1000) * 1.5)), "sklearn", None, "above 1"),
        (flips, "sklearn", None, "above 1"),
    ]:
        with pytest.raises(NoExactMapError, match=said):
            foreign.write(plan, peer, optimizer=optimizer)
    cautious = foreign.write(Plan(0.1, decay=dw.decoupled(0.1, cautious=True)), "sklearn")
    assert "not exact: SGDClassifier has no cautious decay" in cautious


HAND = "import numpy as np\ndef lr(step): return 0.1 * 0.5 ** (step // 3)\n{}\nfor t in range(9):\n    {}\n"


@pytest.mark.parametrize(
    ("before", "update"),
    [
        (
            "weights = np.ones(9)",
            "theta = theta - lr(t) * X.T @ (weights * err); weights = 0.9 * weights + 0.1 * np.abs(err)",
        ),
        ("args = parse()", "adv = delta + args.gamma * args.lam * adv; w = w + lr(t) * adv * grad"),
        ("cfg = load()", "ema = cfg['ema']['decay'] * ema + 0.5 * w; w = w - lr(t) * g"),
        ("penalty = -10.0", "r = penalty if crashed() else 1.0; w = w + lr(t) * (r - v) * x"),
    ],
)
def test_what_is_named_as_a_decay_and_moves_no_weights_is_none(before: str, update: str) -> None:
    assert foreign.read(HAND.format(before, update)).decay is None


@pytest.mark.parametrize(
    ("before", "update"),
    [
        ("", "w = w - lr(t) * (g + self.reg * w)"),
        ("cfg = load()", "w = w - lr(t) * (g + cfg['wd'] * w)"),
        ("", "w = 0.9 * w - lr(t) * g"),
        ("", "g = grad(w) + shrink(w, self.lam); w = w - lr(t) * g"),
    ],
)
def test_a_decay_that_cannot_be_told_is_refused(before: str, update: str) -> None:
    with pytest.raises(NoExactMapError, match="cannot be told"):
        foreign.read(HAND.format(before, update))


def test_a_clone_of_an_estimator_is_the_estimator() -> None:
    source = (
        "from sklearn.base import clone\nfrom sklearn.linear_model import SGDClassifier\n"
        "base = SGDClassifier(alpha=1e-4)\nm = clone(base)\nm.alpha = 1e-2\nm.fit(X, y)"
    )
    assert str(foreign.read(source, run=dw.Horizon(epochs=2, steps_per_epoch=5)).decay) == "l2 0.01"
