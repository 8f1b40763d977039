"""foreign.read_optimizer: every recorded weight-decay trajectory of the peers, played from the plan that was read."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier

import dwindle.torch
from dwindle import foreign
from dwindle.decay import L2, Corrected, Decoupled, Independent
from dwindle.errors import InvalidValueError, NoExactMapError, UnknownNameError
from dwindle.foreign import read_optimizer
from dwindle.foreign.carried import carry
from dwindle.mask import Mask, Param, Rule
from dwindle.plan import Plan
from dwindle.reference import SGD, Adam, AdamState, Array, run
from dwindle.schedule import Exponential, PowerLaw, Table
from dwindle.text import parse
from dwindle.units import Horizon

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
FILES = sorted(path.name for path in GOLDEN.glob("wd_*.json"))
needs_golden = pytest.mark.skipif(not FILES, reason=f"the recorded trajectories are not at {GOLDEN}")


@cache
def record(file: str) -> dict[str, Any]:
    return json.loads((GOLDEN / file).read_text())


def cases(played: Any) -> list[Any]:
    """The recorded cases that ``played`` (a function of peer and name) says yes to, with their file."""
    return [
        pytest.param(file, case, id=case["id"])
        for file in FILES
        for case in record(file)["cases"]
        if played(case["peer"], case["name"])
    ]  # fmt: skip


def plan_of(case: dict[str, Any]) -> Plan:
    """The plan of a recorded case: torch's scheduler, recorded beside the optimiser, is its lr."""
    params = dict(case["params"])
    if case["peer"] == "torch" and case.get("scheduler"):
        return read_optimizer("torch", case["name"], {**params, "lr": case["scheduler"]}, base_lr=params["lr"])
    return read_optimizer(case["peer"], case["name"], params)


# --- played by the reference -----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Lion:
    """w ← shrink·w - lr·sign(b1·m + (1 - b1)·g), m ← b2·m + (1 - b2)·g (Chen et al. 2023, alg. 2)."""

    b1: float = 0.9
    b2: float = 0.99

    def init(self, w: Array) -> Array:
        return np.zeros_like(w)

    def update(self, w: Array, grad: Array, state: Array, *, lr: float, shrink: float, **_: Any) -> tuple[Array, Array]:
        u = np.sign(self.b1 * state + (1 - self.b1) * grad)
        return shrink * w - lr * u, self.b2 * state + (1 - self.b2) * grad


@dataclasses.dataclass(frozen=True)
class Lamb:
    """w ← w - lr·‖w‖/‖u‖·u with u Adam's update plus λ·w (You et al. 2020, alg. 2)."""

    adam: Adam = dataclasses.field(default_factory=lambda: Adam(0.9, 0.999, 1e-6))

    def init(self, w: Array) -> AdamState:
        return self.adam.init(w)

    def update(self, w: Array, grad: Array, state: AdamState, *, lr: float, shrink: float, **_: Any) -> Any:
        moved, after = self.adam.update(np.zeros_like(w), grad, state, lr=1.0)
        u = -moved + (1.0 - shrink) / lr * w
        return w - lr * np.linalg.norm(w) / np.linalg.norm(u) * u, after


def optimiser_of(case: dict[str, Any]) -> Any:
    p, name = case["params"], case["name"]
    if name == "lamb":
        return Lamb()
    if name.lower() == "lion":
        return Lion()
    if case["peer"] == "torch":
        return (
            SGD(p["momentum"], p["dampening"], p["nesterov"])
            if name == "SGD"
            else Adam(*p["betas"], p["eps"], p["amsgrad"])
        )
    if case["peer"] == "keras":
        if name == "SGD":
            return SGD(p["momentum"], nesterov=p["nesterov"], lr_in_buffer=True)
        return Adam(p["beta_1"], p["beta_2"], p["epsilon"], eps_hat=True)
    if name.startswith("sgd"):
        return SGD(p["momentum"] or 0.0, nesterov=p["nesterov"])
    return Adam(p["b1"], p["b2"], p["eps"], nesterov=p["nesterov"]) if name == "adamw" else Adam()


def by_reference(peer: str, name: str) -> bool:
    if peer == "torch":
        return name in ("SGD", "Adam", "AdamW")
    return peer in ("keras", "optax") and name != "regularizers.L2"


def gradients(problem: dict[str, Any], case: dict[str, Any]) -> Any:
    rule, sign = problem["problems"][case["problem"]], -1.0 if case["params"].get("maximize") else 1.0

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        if case["problem"] == "fixed":
            return {name: sign * np.array(rule["grads"][step][name]) for name in params}
        return {n: sign * np.array(rule["curvature"][n]) * (w - np.array(rule["target"][n])) for n, w in params.items()}

    return gradient


def is_float32_inside(case: dict[str, Any]) -> bool:
    """optax counts in int32, and jax turns int32 / int into float32 even when float64 is enabled."""
    specs = (case["params"].get("learning_rate"), case["params"].get("weight_decay"))
    return case["peer"] == "optax" and any(isinstance(s, dict) and s["name"] == "exponential_decay" for s in specs)


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(by_reference))
def test_the_plan_drives_the_reference_to_the_recorded_trajectory(file: str, case: dict[str, Any]) -> None:
    problem, plan = record(file)["problem"], plan_of(case).resolve(20)
    path = run(
        optimiser_of(case), problem["init"], gradients(problem, case),
        lambda t, name: plan.rates(t, decays=name not in case["no_decay"]), problem["steps"],
    )  # fmt: skip
    rtol, atol = (1e-10, 0.0) if case["dtype"] == "float64" else (1e-5, 1e-9)
    if is_float32_inside(case):
        rtol, atol = 1e-6, 1e-8
    for name in problem["init"]:
        np.testing.assert_allclose(path[name][1:], [row[name] for row in case["trajectory"]], rtol, atol)


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(by_reference))
def test_the_decay_matters_in_every_case(file: str, case: dict[str, Any]) -> None:
    """Without the plan's decay the same run ends elsewhere: the test above can fail."""
    problem, plan = record(file)["problem"], plan_of(case).resolve(20)
    assert plan.decay is not None
    bare = dataclasses.replace(plan, decay=None)
    paths = [
        run(optimiser_of(case), problem["init"], gradients(problem, case), lambda t, name, p=p: p.rates(t), 20)[
            "kernel"
        ]
        for p in (plan, bare)
    ]
    assert np.abs(paths[0][-1] / paths[1][-1] - 1).max() > 1e-7


# --- played by torch's own optimisers ----------------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(lambda peer, name: peer == "torch"))
def test_the_plan_drives_torch_to_the_recorded_trajectory(file: str, case: dict[str, Any]) -> None:
    problem, plan = record(file)["problem"], plan_of(case)
    dtype = getattr(torch, case["dtype"])
    names = list(case["trajectory"][0])  # Muon takes matrices only
    params = {n: torch.nn.Parameter(torch.tensor(problem["init"][n], dtype=dtype)) for n in names}
    own = {
        k: v for k, v in case["params"].items() if k not in ("lr", "weight_decay", "lr_decay", "decoupled_weight_decay")
    }
    optimizer = getattr(torch.optim, case["name"])(list(params.items()), weight_decay=0.0, **own)
    rules = tuple(Rule("name", name, False) for name in case["no_decay"])
    controller = dwindle.torch.attach(optimizer, dataclasses.replace(plan, mask=Mask((*rules, *plan.mask.rules))), 20)
    gradient = gradients(problem, {**case, "params": {}})  # torch turns the sign for maximize itself
    rtol, atol = (1e-10, 0.0) if dtype == torch.float64 else (1e-5, 1e-9)
    for step, row in enumerate(case["trajectory"]):
        lr_decay = case["params"].get("lr_decay", 0.0)
        assert controller.lr == pytest.approx(case["lrs"][step] / (1 + step * lr_decay), rel=1e-12)
        grads = gradient({n: p.detach().numpy() for n, p in params.items()}, step)
        for name, param in params.items():
            param.grad = torch.tensor(grads[name], dtype=dtype)
        optimizer.step()
        for name, param in params.items():
            np.testing.assert_allclose(param.detach().numpy(), row[name], rtol, atol)


# --- scikit-learn, and the penalties -------------------------------------------------------------------------------------


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(lambda peer, name: name == "SGDRegressor"))
def test_the_plan_drives_the_reference_to_sgd_regressor(file: str, case: dict[str, Any]) -> None:
    data, plan = record(file)["data"], plan_of(case)
    x, y = np.array(data["X"]), np.array(data["y"])
    resolved = plan.resolve(len(y))

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        error = float(np.clip(x[step] @ params["coef"] + params["intercept"][0] - y[step], -1e12, 1e12))  # as its own
        return {"coef": error * x[step], "intercept": np.array([error])}

    start = {"coef": np.zeros(x.shape[1]), "intercept": [0.0]}
    path = run(SGD(), start, gradient, lambda t, name: resolved.rates(t, decays=name == "coef"), len(y))
    for name in path:
        np.testing.assert_allclose(path[name][1:], [row[name] for row in case["trajectory"]], 1e-10)


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(lambda peer, name: name == "Ridge"))
def test_the_plan_of_ridge_descends_to_its_solution(file: str, case: dict[str, Any]) -> None:
    data = record(file)["data"]
    x, y = np.array(data["X"]), np.array(data["y"])
    plan = read_optimizer("scikit-learn", "Ridge", {**case["params"], "n": len(y)}, base_lr=0.4).resolve(500)
    fits = float(case["params"]["fit_intercept"])

    def gradient(params: dict[str, Array], step: int) -> dict[str, Array]:
        error = x @ params["w"] + params["b"] - y
        return {"w": error @ x / len(y), "b": np.array([fits * error.mean()])}

    path = run(
        SGD(), {"w": np.zeros(x.shape[1]), "b": [0.0]}, gradient, lambda t, n: plan.rates(t, decays=n == "w"), 500
    )
    np.testing.assert_allclose(path["w"][-1], case["coef"], 1e-10)
    np.testing.assert_allclose(path["b"][-1], [case["intercept"]], 1e-10)


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(lambda peer, name: name == "regularizers.L2"))
def test_keras_penalty_has_no_half(file: str, case: dict[str, Any]) -> None:
    w = np.array(record(file)["problem"]["init"]["kernel"])
    np.testing.assert_allclose(plan_of(case).resolve(1).rates(0).l2 * w, case["gradient"], 1e-10)


@needs_golden
def test_every_recorded_case_is_played() -> None:
    assert len(cases(lambda peer, name: True)) == 110
    others = ("SGDRegressor", "Ridge", "regularizers.L2")
    assert all(by_reference(c.values[1]["peer"], c.values[1]["name"]) or c.values[1]["peer"] == "torch" or
               c.values[1]["name"] in others for c in cases(lambda peer, name: True))  # fmt: skip


@needs_golden
def test_only_optax_exponential_is_worse_than_float64() -> None:
    """The wider tolerance above is needed, and for no other case."""
    inside = [c.values for c in cases(by_reference) if is_float32_inside(c.values[1])]
    assert len(inside) == 13
    for _, case in inside:
        plan, spec = plan_of(case), case["params"]["learning_rate"]
        if isinstance(spec, dict):
            p, t = spec["params"], np.arange(1, 20)
            single = np.float32(p["decay_rate"]) ** (t.astype(np.float32) / np.float32(p["transition_steps"]))
            error = np.abs(np.float32(p["init_value"]) * single / plan.lrs(20)[1:] - 1)
            assert 1e-9 < error.max() < 1e-6


def single(spec: dict[str, Any]) -> Table:
    """The twenty values of optax's exponential_decay as jax works them out."""
    p, t = spec["params"], np.arange(20, dtype=np.float32) / np.float32(spec["params"]["transition_steps"])
    powers = np.array([float(np.float32(p["decay_rate"])) ** float(x) for x in t], dtype=np.float32)
    return Table(tuple(float(np.float32(p["init_value"]) * power) for power in powers))


@needs_golden
@pytest.mark.parametrize(
    ("file", "case"), [c for c in cases(by_reference) if is_float32_inside(c.values[1])]
)  # fmt: skip
def test_with_the_rates_that_optax_rounded_the_plan_is_exact(file: str, case: dict[str, Any]) -> None:
    problem, plan, p = record(file)["problem"], plan_of(case), case["params"]
    if isinstance(p["learning_rate"], dict):
        plan = dataclasses.replace(plan, peak=1.0, schedule=single(p["learning_rate"]))
    if isinstance(p["weight_decay"], dict):
        plan = dataclasses.replace(plan, decay=dataclasses.replace(plan.decay, weight_decay=single(p["weight_decay"])))
    path = run(
        optimiser_of(case), problem["init"], gradients(problem, case),
        lambda t, name: plan.rates(t, decays=name not in case["no_decay"]), 20,
    )  # fmt: skip
    for name in problem["init"]:
        np.testing.assert_allclose(path[name][1:], [row[name] for row in case["trajectory"]], 1e-10)


@pytest.mark.parametrize("loss", ["hinge", "log_loss", "squared_hinge", "modified_huber", "perceptron"])
def test_the_first_optimal_rate_is_the_same_for_every_loss(loss: str) -> None:
    slope = {"hinge": 1.0, "perceptron": 1.0, "log_loss": 0.5, "squared_hinge": 2.0, "modified_huber": 2.0}[loss]
    for alpha in (1e-4, 0.03):
        model = SGDClassifier(loss=loss, alpha=alpha, fit_intercept=False, shuffle=False)
        model.partial_fit(np.array([[1.0]]), np.array([1]), classes=[0, 1])
        plan = read_optimizer("sklearn", "SGDClassifier", {"loss": loss, "alpha": alpha})
        assert model.coef_[0, 0] == pytest.approx(slope * plan.peak, rel=1e-12)


def test_the_rate_of_an_mlp_falls_by_epochs_and_counts_samples() -> None:
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30) % 2
    recipe = {
        "solver": "sgd",
        "learning_rate": "invscaling",
        "power_t": 0.7,
        "batch_size": 10,
        "learning_rate_init": 0.1,
    }
    model, lrs = MLPClassifier((3,), random_state=0, **recipe), [0.1]
    for _ in range(3):
        model.partial_fit(x, y, classes=[0, 1])
        lrs.append(model._optimizer.learning_rate)
    plan = read_optimizer("sklearn", "MLPClassifier", {**recipe, "n": 30})
    assert plan.decay == L2(1e-5)
    np.testing.assert_allclose(plan.lrs(Horizon(epochs=4, steps_per_epoch=3)), np.repeat(lrs, 3), 1e-12)


# --- the conventions of the others ---------------------------------------------------------------------------------------


def test_composer_divides_by_the_lr_it_was_built_with() -> None:
    """(1 - lr/lr0·λ): also where the schedule rises above lr0."""
    schedule = {"name": "LinearScheduler", "params": {"alpha_i": 2.0, "alpha_f": 0.5, "t_max": "10ba"}}
    plan = read_optimizer("composer", "DecoupledSGDW", {"lr": schedule, "weight_decay": 0.01}, base_lr=0.1)
    assert isinstance(plan.decay, Independent)
    table = plan.table(20)
    np.testing.assert_allclose(table.shrink, 1 - table.lr / 0.1 * 0.01, 1e-14)
    assert read_optimizer("composer", "DecoupledAdamW").decay == Independent(1e-5)


def test_timm_corrects_by_the_lr_it_was_built_with() -> None:
    schedule = {"name": "CosineLRScheduler", "params": {"t_initial": 20}}
    for name in ("sgdw", "adamw"):
        given = {"lr": schedule, "weight_decay": 0.05, "corrected_weight_decay": True}
        plan = read_optimizer("timm", name, given, base_lr=0.1)
        assert plan.decay == Corrected(0.05)
        table = plan.table(20)
        np.testing.assert_allclose(table.shrink, 1 - table.lr**2 / 0.1 * 0.05, 1e-14)
        assert read_optimizer("timm", name, {"weight_decay": 0.05}).decay == Decoupled(0.05)


def test_hugging_face_trainer() -> None:
    given = {"learning_rate": 3e-4, "weight_decay": 0.1, "max_steps": 101, "lr_scheduler_type": "cosine"}
    plain = read_optimizer("hf", "TrainingArguments", {**given, "warmup_steps": 11})
    both = {"num_warmup_steps": 11, "num_training_steps": 101}
    schedule = foreign.read("hf", "cosine", both, base_lr=3e-4)
    assert plain == dataclasses.replace(schedule, decay=Decoupled(0.1))  # biases and norms do not decay
    for warmup in ({"warmup_steps": 0.1}, {"warmup_ratio": 0.1}):
        assert read_optimizer("hf", "TrainingArguments", {**given, **warmup}) == plain
    floor = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-5}, "warmup_steps": 11}
    want = foreign.read("hf", "cosine_with_min_lr", {**both, "min_lr": 1e-5}, base_lr=3e-4)
    assert read_optimizer("hf", "TrainingArguments", {**given, **floor}).schedule == want.schedule
    assert read_optimizer("hf", "TrainingArguments", {"lr_scheduler_type": "constant"}) == Plan(5e-5)
    assert read_optimizer("hf", "TrainingArguments", {**given, "optim": "sgd"}).decay == L2(0.1)


@pytest.mark.parametrize("optim", ["adamw_bnb_8bit", "adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "adamw_hf"])
def test_the_trainers_other_adamws_decay_as_adamw_does(optim: str) -> None:
    """The bitsandbytes ones hold their state in 8 bits, or in pages; all multiply the weights by 1 - lr·λ."""
    text = f'{{"learning_rate": 1e-3, "weight_decay": 0.1, "max_steps": 10, "lr_scheduler_type": "constant", "optim": "{optim}"}}'
    plan = foreign.read(text)
    assert plan == Plan(1e-3, decay=Decoupled(0.1))
    assert foreign.read(f"args = transformers.TrainingArguments(**{text})") == plan
    source = carry(plan, "torch", None, text, "hf")
    assert f"# Note: not carried over: optim={optim} of AdamW; AdamW below has no" in source


def test_the_textbooks_programs() -> None:
    assert read_optimizer("textbook", "network2", {"eta": 0.5, "lmbda": 5.0, "n": 50_000}) == Plan(0.5, decay=L2(1e-4))
    three = {"eta": 0.5, "lmbda": 0.5, "n": 50_000, "mini_batch_size": 10}
    assert read_optimizer("textbook", "network3", three).decay == L2(1e-4)  # λ3·m/n
    halving = {"eta": {"name": "halve"}, "lmbda": 5.0, "n": 50_000}
    assert read_optimizer("textbook", "network2", halving, base_lr=0.5) == Plan(
        0.5, Exponential(0.5, "5ep", staircase=True), L2(1e-4)
    )


def test_adagrads_own_decay_joins_the_schedule() -> None:
    assert read_optimizer("torch", "Adagrad", {"lr_decay": 0.25}) == Plan(0.01, PowerLaw(1.0, 1, 0.25))


def test_what_the_peer_decays_is_in_the_mask() -> None:
    bias = [Param("fc.bias", (3,), "Linear")]
    for peer, name, params, all_of_them in [
        ("torch", "AdamW", {}, True),
        ("keras", "SGD", {"weight_decay": 0.1}, True),
        ("optax", "lion", {"learning_rate": 0.1}, True),
        ("hf", "TrainingArguments", {"max_steps": 9, "weight_decay": 0.1}, False),
        ("sklearn", "SGDRegressor", {}, False),
        ("textbook", "network2", {"eta": 0.1, "lmbda": 1.0, "n": 10}, False),
    ]:
        assert read_optimizer(peer, name, params).mask.decide(bias)[0].decays is all_of_them


def test_defaults_are_the_peers() -> None:
    for name in foreign.OPTIMIZERS["torch"]:
        if name in ("ASGD", "Rprop"):
            continue
        matrix = torch.nn.Parameter(torch.zeros(2, 2))
        defaults = getattr(torch.optim, name)([matrix]).defaults
        plan = read_optimizer("torch", name)
        assert plan.peak == defaults["lr"]
        assert (plan.decay.weight_decay if plan.decay else 0.0) == defaults.get("weight_decay", 0.0)
        keys = set(defaults) - {"lr"}
        assert read_optimizer("torch", name, {k: defaults[k] for k in keys if k not in _derived(name)}) == plan


def _derived(name: str) -> tuple[str, ...]:
    return ("decoupled_weight_decay",) if name == "AdamW" else ()


def test_optax_parameters_are_those_of_the_installed_release() -> None:
    import inspect

    import optax

    for name in foreign.OPTIMIZERS["optax"]:
        if "+" in name:
            continue
        signature = inspect.signature(getattr(optax, name)).parameters
        given = {k: p.default for k, p in signature.items() if p.default is not p.empty} | {"learning_rate": 0.1}
        assert read_optimizer("optax", name, given) == read_optimizer("optax", name, {"learning_rate": 0.1})
        lam = read_optimizer("optax", name, {"learning_rate": 0.1}).decay
        assert (lam.weight_decay if lam else 0.0) == (given.get("weight_decay") or 0.0)


@pytest.mark.parametrize("name", ["SGDRegressor", "SGDClassifier", "MLPClassifier", "MLPRegressor", "Ridge"])
def test_sklearn_parameters_are_those_of_the_installed_release(name: str) -> None:
    import sklearn.linear_model
    import sklearn.neural_network

    module = sklearn.neural_network if name.startswith("MLP") else sklearn.linear_model
    given = getattr(module, name)().get_params()
    extra = {"Ridge": {"n": 10}, "SGDRegressor": {}, "SGDClassifier": {}}.get(name, {"batch_size": 10})
    assert read_optimizer("sklearn", name, {**given, **extra}) == read_optimizer("sklearn", name, extra)


@pytest.mark.parametrize("name", [name for name in foreign.OPTIMIZERS["torch"] if name not in ("ASGD", "Rprop")])
def test_the_defaults_that_torch_keeps_are_read(name: str) -> None:
    made = getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    assert read_optimizer("torch", name, made.defaults) == read_optimizer("torch", name, {"lr": 0.1})


def test_the_configuration_that_keras_keeps_is_read() -> None:
    import keras

    schedule = keras.optimizers.schedules
    for made in (
        schedule.CosineDecay(0.01, 100, warmup_target=0.1, warmup_steps=10), schedule.ExponentialDecay(0.1, 10, 0.5),
        schedule.PiecewiseConstantDecay([10], [0.1, 0.05]), schedule.PolynomialDecay(0.1, 10),
        schedule.InverseTimeDecay(0.1, 10, 0.5), schedule.CosineDecayRestarts(0.1, 10),
    ):  # fmt: skip
        plan = read_optimizer("keras", "AdamW", keras.optimizers.AdamW(made).get_config())
        assert plan.decay == Decoupled(0.004)
        with np.errstate(all="ignore"):
            want = [float(keras.ops.convert_to_numpy(made(step))) for step in range(30)]
        np.testing.assert_allclose(plan.lrs(30), want, 1e-5)


def test_the_first_value_of_ridge_is_its_penalty() -> None:
    assert foreign.read("sklearn: Ridge(0.5, n=100)") == read_optimizer("sklearn", "Ridge", {"alpha": 0.5, "n": 100})
    source = (
        "from sklearn.neural_network import MLPClassifier\nm = MLPClassifier((9,), 'tanh', alpha=0.1, batch_size=10)"
    )
    assert foreign.read(source) == read_optimizer("sklearn", "MLPClassifier", {"alpha": 0.1, "batch_size": 10})


# --- a rate that a loop sets, or that a function multiplies

BY_HAND = """
import torch
from composer.optim import DecoupledAdamW
def get_lr(it):
    return 1e-3 * min(1.0, (it + 1) / 100)
opt = {}
for it in range(1000):
    for g in opt.param_groups:
        g["lr"] = get_lr(it)
"""


@pytest.mark.parametrize("lr", ["lr=0.0", "lr=1.0", ""])
def test_the_rate_that_a_loop_overwrites_does_not_matter(lr: str) -> None:
    plan = foreign.read(BY_HAND.format(f"torch.optim.AdamW(model.parameters(), {lr})"))
    assert plan == parse('peak 1e-3 | formula "min(1.0, (step + 1) / 100)" | decoupled 0.01 | mask name "*" decays')


@pytest.mark.parametrize("function", ["torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.9 ** t)", "by hand", "timm"])
def test_adagrad_lowers_whatever_rate_it_is_given(function: str) -> None:
    made = "o = torch.optim.Adagrad(p, lr=0.1, lr_decay=0.5)"
    text = f"import torch\n{made}\ns = {function}"
    if function == "by hand":
        text = (
            BY_HAND.replace("1e-3 * min(1.0, (it + 1) / 100)", "0.1 * 0.9 ** it")
            .replace("opt = {}", made)
            .replace("opt.", "o.")
        )
    if function == "timm":
        made += "\ns = StepLRScheduler(o, decay_t=1, decay_rate=0.9, t_in_epochs=False)"
        text = f"import torch\nfrom timm.scheduler import StepLRScheduler\n{made}"
    t = np.arange(20)
    np.testing.assert_allclose(foreign.read(text).lrs(20), 0.1 * 0.9**t / (1 + 0.5 * t))  # type: ignore[union-attr]


def test_where_the_decay_is_a_share_of_that_rate_it_matters() -> None:
    made = "DecoupledAdamW(model.parameters(), lr={}, weight_decay=1e-5)"
    plan = foreign.read(BY_HAND.format(made.format(0.01)))
    assert isinstance(plan, Plan)
    np.testing.assert_allclose(plan.lrs(200), 1e-3 * np.minimum(1, np.arange(1, 201) / 100))
    np.testing.assert_allclose(plan.decay_shares(200), 1e-5 * plan.lrs(200) / 0.01)
    with pytest.raises(NoExactMapError, match="divides by the lr it was built with, which is 0"):
        foreign.read(BY_HAND.format(made.format("0.0")))


@pytest.mark.parametrize("call", ["torch.optim.AdamW(p)", "torch.optim.AdamW(p, lr=1e-3)"])
def test_a_function_multiplies_the_rate_also_where_that_is_the_default(call: str) -> None:
    plan = foreign.read(f"import torch\no = {call}\ns = torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.5 ** t)")
    assert plan == parse('peak 1e-3 | formula "0.5 ** step" | decoupled 0.01 | mask name "*" decays')


# --- the schedules of composer, scikit-learn and the textbook ----------------------------------------------------------------

RUN = Horizon(epochs=10, steps_per_epoch=20, batch_size=8)


def composer(name: str, **params: Any) -> np.ndarray:
    plan = foreign.read("composer", name, params, base_lr=0.1)
    assert parse(str(plan)) == plan
    return plan.lrs(RUN) / 0.1


T = np.arange(200)


def fraction(start: float, end: float) -> np.ndarray:
    return np.clip((T - start) / (end - start), 0, 1)


def half_cosine(x: np.ndarray, low: float) -> np.ndarray:
    return low + (1 - low) * (1 + np.cos(np.pi * x)) / 2


@pytest.mark.parametrize(
    ("name", "params", "want"),
    [
        ("ConstantScheduler", {}, np.ones(200)),
        ("ConstantScheduler", {"alpha": 0.5}, np.full(200, 0.5)),
        ("ConstantScheduler", {"alpha": 0.5, "t_max": "2ep"}, np.where(T < 40, 0.5, 1.0)),
        ("LinearScheduler", {}, 1 - T / 200),
        ("LinearScheduler", {"alpha_i": 0.5, "alpha_f": 2.0, "t_max": "0.25dur"}, 0.5 + 1.5 * fraction(0, 50)),
        ("StepScheduler", {"step_size": "30ba", "gamma": 0.5}, 0.5 ** (T // 30)),
        ("StepScheduler", {"step_size": "2ep"}, 0.1 ** (T // 40)),
        ("StepScheduler", {"step_size": "80sp"}, 0.1 ** (T // 10)),
        ("MultiStepScheduler", {"milestones": ["6ep", "2ep", "6ep"], "gamma": 0.5},
         np.where(T < 40, 1.0, np.where(T < 120, 0.5, 0.125))),
        ("MultiStepScheduler", {"milestones": ["0ba", "50ba"], "gamma": 0.5}, np.where(T < 50, 0.5, 0.25)),
        ("MultiStepScheduler", {"milestones": ["1ep", "50ba"], "gamma": 0.5}, 0.5 ** ((T >= 20) + 1.0 * (T >= 50))),
        ("ExponentialScheduler", {"gamma": 0.9}, 0.9 ** (T / 20)),
        ("ExponentialScheduler", {"gamma": 0.9, "decay_period": "7ba"}, 0.9 ** (T / 7)),
        ("CosineAnnealingScheduler", {"alpha_f": 0.1}, half_cosine(T / 200, 0.1)),
        ("CosineAnnealingScheduler", {"t_max": "5ep"}, half_cosine(fraction(0, 100), 0.0)),
        ("CosineAnnealingWarmRestartsScheduler", {"t_0": "1ep", "alpha_f": 0.1}, half_cosine(T % 20 / 20, 0.1)),
        ("CosineAnnealingWarmRestartsScheduler", {"t_0": "20ba", "t_mult": 2.0},
         half_cosine(np.select([T < 20, T < 60, T < 140], [T / 20, (T - 20) / 40, (T - 60) / 80], (T - 140) / 160), 0.0)),
        ("PolynomialScheduler", {"power": 1.7, "alpha_f": 0.2}, 0.2 + 0.8 * (1 - T / 200) ** 1.7),
        ("PolynomialScheduler", {"power": 2, "alpha_f": 2.0}, 2.0 - (1 - T / 200) ** 2),
        ("PolynomialScheduler", {"power": 3, "alpha_f": 2.0, "t_max": "50ba"}, 2.0 - (1 - fraction(0, 50)) ** 3),
        ("LinearWithWarmupScheduler", {"t_warmup": "1ep"}, np.where(T < 20, T / 20, 1 - fraction(20, 200))),
        ("LinearWithWarmupScheduler", {"t_warmup": "10ba", "t_max": "110ba", "alpha_i": 0.5, "alpha_f": 0.1},
         np.where(T < 10, T / 20, 0.5 - 0.4 * fraction(10, 110))),
        ("CosineAnnealingWithWarmupScheduler", {"t_warmup": "0.1dur", "t_max": "0.5dur", "alpha_f": 0.1},
         np.where(T < 20, T / 20, half_cosine(fraction(20, 100), 0.1))),
        ("CosineAnnealingWithWarmupScheduler", {"t_warmup": "0ba"}, half_cosine(T / 200, 0.0)),
        ("MultiStepWithWarmupScheduler", {"t_warmup": "10ba", "milestones": ["50ba", "2ep"], "gamma": 0.5},
         np.where(T < 10, T / 10, 0.5 ** ((T >= 40) + 1.0 * (T >= 50)))),
    ],
)  # fmt: skip
def test_composers_schedules(name: str, params: dict[str, Any], want: np.ndarray) -> None:
    np.testing.assert_allclose(composer(name, **params), want, rtol=1e-12, atol=1e-16)


def test_sklearns_rates() -> None:
    steps = np.arange(300)
    constant = foreign.read("sklearn", "constant", {"eta0": 0.3})
    assert constant == Plan(0.3)
    falling = foreign.read("scikit-learn", "invscaling", {"eta0": 0.3, "power_t": 0.25}).lrs(300)
    np.testing.assert_allclose(falling, 0.3 / (steps + 1) ** 0.25, 1e-13)
    t0 = 1 / (math.sqrt(1 / math.sqrt(1e-3)) * 1e-3)
    np.testing.assert_allclose(
        foreign.read("sklearn", "optimal", {"alpha": 1e-3}).lrs(300), 1 / (1e-3 * (t0 + steps)), 1e-13
    )


def test_the_textbooks_two_forms_differ_between_the_stairs_only() -> None:
    given = {"decay_rate": 0.5, "decay_steps": "5ep"}
    run_length = Horizon(epochs=15, steps_per_epoch=4)
    true, whole, halve = (
        foreign.read("textbook", name, params, base_lr=0.8).lrs(run_length)
        for name, params in [("exponential", given), ("exponential", {**given, "division": "integer"}), ("halve", {})]
    )
    steps = np.arange(60)
    np.testing.assert_allclose(true, 0.8 * 0.5 ** (steps / 20), 1e-13)
    np.testing.assert_allclose(whole, 0.8 * 0.5 ** (steps // 20), 1e-13)
    assert halve.tolist() == whole.tolist()
    assert np.flatnonzero(true == whole).tolist() == [0, 20, 40]


def test_timms_rule_is_asked_like_torchs_and_stays_one_rule() -> None:
    rule = foreign.read("timm", "PlateauLRScheduler", {"patience_t": 0, "mode": "min", "decay_rate": 0.5}, base_lr=1.0)
    metrics = [0.0, 3.0, 3.0, 2.0, 3.0]
    assert rule.lrs(metrics).tolist() == [1.0, 1.0, 0.5, 0.5, 0.25]  # metric 0 is never read, metric t decides rate t
    after = dataclasses.replace(rule, observes_first=False)
    assert after.lrs([*metrics[1:], 0.0]).tolist() == rule.lrs(metrics).tolist()


def test_the_weight_decay_of_keras_ftrl_is_overwritten_by_its_update() -> None:
    import keras

    def without_gradient(name: str) -> float:
        made = getattr(keras.optimizers, name)(0.1, weight_decay=0.5)
        weight = keras.Variable(np.ones(1))
        made.build([weight])
        made.apply([keras.ops.zeros(1)])
        return float(weight[0])

    assert without_gradient("Adagrad") == pytest.approx(0.95)
    assert without_gradient("Ftrl") == 0.0
    assert read_optimizer("keras", "Ftrl", {"weight_decay": 0.0}).decay is None


def test_the_automatic_batch_of_an_mlp_is_told_by_its_examples() -> None:
    for solver, n, batch in [("adam", 500, 200), ("sgd", 50, 50), ("lbfgs", 500, 500)]:
        plan = read_optimizer("sklearn", "MLPClassifier", {"alpha": 1.0, "solver": solver, "n": n})
        assert plan.decay == L2(1.0 / batch)


# --- refusals ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (("trch", "SGD", {}), UnknownNameError, "did you mean 'torch'"),
        (("torch", "SGDW", {}), UnknownNameError, "did you mean 'SGD'"),
        (("torch", "SGD", {"weight_deacy": 0.1}), UnknownNameError, "did you mean 'weight_decay'"),
        (("torch", "SGD", {"weight_decay": -0.1}), InvalidValueError, "weight_decay of torch's SGD must be zero or more"),
        (("torch", "SGD", {"lr": "fast"}), InvalidValueError, "lr of torch's SGD must be a real number"),
        (("torch", "SGD", {"nesterov": 1}), InvalidValueError, "nesterov of torch's SGD must be True or False"),
        (("torch", "SGD", {"momentum": "much"}), InvalidValueError, "momentum of torch's SGD"),
        (("torch", "Adam", [("lr", 0.1)]), InvalidValueError, "must be a mapping"),
        (("torch", "SGD", {"lr": {"name": "StepLR", "params": {"step_size": 3}}}), InvalidValueError, "give it as base_lr"),
        (("torch", "SGD", {"lr": {"nam": "StepLR"}}), UnknownNameError, "did you mean 'name'"),
        (("torch", "SGD", {"lr": {"name": "ReduceLROnPlateau"}}, 0.1), InvalidValueError, "answers a metric"),
        (("torch", "SGD", {"lr": 0.2}, 0.1), InvalidValueError, "contradicts base_lr=0.1"),
        (("torch", "ASGD", {}), NoExactMapError, "by a rule of its own"),
        (("composer", "DecoupledSGDW", {}), InvalidValueError, "needs lr"),
        (("optax", "adamw", {}), InvalidValueError, "needs learning_rate"),
        (("optax", "adamw", {"learning_rate": 0.1, "mask": True}), InvalidValueError, "give the plan a Mask"),
        (("optax", "adamw", {"learning_rate": 0.1, "weight_decay": {"name": "cosine"}}), UnknownNameError, "cosine_decay"),
        (("optax", "adamw", {"learning_rate": {"name": "constant_schedule", "params": {"value": 1}}}, 0.1), InvalidValueError,
         "leave base_lr"),
        (("keras", "Adam", {"gradient_accumulation_steps": 4}), InvalidValueError, "at every batch"),
        (("keras", "Muon", {"weight_decay": 0.1}), NoExactMapError, "adam_weight_decay"),
        (("keras", "Ftrl", {"l2_regularization_strength": 0.1}), InvalidValueError, "own penalties"),
        (("keras", "Ftrl", {"weight_decay": 0.5}), InvalidValueError, "weight_decay of Keras' Ftrl must be None; got 0.5"),
        (("hf", "TrainingArguments", {}), InvalidValueError, "max_steps"),
        (("hf", "TrainingArguments", {"lr_scheduler_type": "constant", "optim": "lion_8bit"}), UnknownNameError, "optim"),
        (("hf", "TrainingArguments", {"lr_scheduler_type": "reduce_lr_on_plateau"}), InvalidValueError, "answers a metric"),
        (("sklearn", "SGDRegressor", {"learning_rate": "adaptive"}), NoExactMapError, "divides the rate by 5"),
        (("sklearn", "SGDRegressor", {"learning_rate": "pa1"}), InvalidValueError, "no learning rate"),
        (("sklearn", "SGDRegressor", {"penalty": "l1"}), NoExactMapError, "by l1"),
        (("sklearn", "SGDRegressor", {"learning_rate": "optimal", "alpha": 0.0}), InvalidValueError, "alpha"),
        (("sklearn", "SGDRegressor", {"learning_rate": "constant", "eta0": 2.0, "alpha": 1.0}), NoExactMapError, "above 1"),
        (("sklearn", "MLPClassifier", {}), InvalidValueError, "give batch_size"),
        (("sklearn", "Ridge", {"alpha": 1.0}), InvalidValueError, "needs n"),
        (("textbook", "network2", {"eta": 0.5, "lmbda": 5.0}), InvalidValueError, "n of the textbook's network2"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_in_the_peers_words(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_optimizer(*call[:3], base_lr=call[3] if len(call) > 3 else None)


@pytest.mark.parametrize(
    ("name", "params", "error", "said"),
    [
        ("StepScheduler", {"step_size": 30}, InvalidValueError, "must be a time such as '10ba'"),
        ("StepScheduler", {"step_size": "0.5ep"}, InvalidValueError, "a whole number of ep, as Composer has it"),
        (
            "MultiStepWithWarmupScheduler",
            {"t_warmup": "9sp", "milestones": ["2ep"]},
            NoExactMapError,
            "in the same unit",
        ),
        ("StepScheduler", {"step_size": "30sec"}, UnknownNameError, "has no steps"),
        ("LinearScheduler", {"t_max": "1.5dur"}, InvalidValueError, "at most '1dur'"),
        ("LinearScheduler", {"t_max": "0ba"}, InvalidValueError, "longer than nothing"),
        ("LinearWithWarmupScheduler", {"t_warmup": "1ep", "t_max": "90ba"}, NoExactMapError, "one unit"),
        ("LinearWithWarmupScheduler", {"t_warmup": "9ep", "t_max": "2ep"}, InvalidValueError, "counts the warm-up in"),
        ("MultiStepWithWarmupScheduler", {"t_warmup": "9ep", "milestones": ["2ep"]}, NoExactMapError, "in the warm-up"),
        ("CosineAnnealingWarmRestartsScheduler", {"t_0": "9ba", "t_mult": 1.5}, NoExactMapError, "whole steps"),
        ("PolynomialScheduler", {"power": 3, "alpha_f": 2}, NoExactMapError, "rises"),
    ],
)
def test_composers_schedules_that_no_plan_equals(name: str, params: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        foreign.read("composer", name, params, base_lr=0.1)


@needs_golden
@pytest.mark.parametrize(("file", "case"), cases(lambda peer, name: name != "Ridge"))
def test_the_text_of_what_was_read_is_the_same_plan(file: str, case: dict[str, Any]) -> None:
    plan = plan_of(case)
    assert parse(str(plan)) == plan
