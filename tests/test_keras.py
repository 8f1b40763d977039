"""The Keras adapter: exact rates on every backend, every convention on every optimiser, and a saved model that goes on.

The backend is chosen once per process: these tests run on the one of KERAS_BACKEND (JAX unless said otherwise), and the
last two run this same file again on torch and on TensorFlow.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle import foreign, reference
from dwindle import keras as dkeras
from dwindle.errors import InvalidValueError, MissingExtraError, ResumeError, UnknownNameError
from dwindle.mask import Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import Schedule
from dwindle.units import Horizon
from strategies import horizons, schedules

BACKEND = keras.backend.backend()
GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
# NumPy's own complaint about Keras' variables on JAX
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
# Keras on TensorFlow rounds its own hyperparameters (momentum, betas, weight_decay) to float32 also in float64:
# measured without us, SGD with momentum 0.9 is 2e-9 beside the formula after 4 steps, and Adam more: 1 - 0.999 keeps 5
# digits. Where none of them enters, the bounds are those of the other backends.
THEIRS = 1e-5 if BACKEND == "tensorflow" else 1e-12
needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden values are not at {GOLDEN}")
RUN = Horizon(steps=12)
SHAPE = dw.warmup(3).then(dw.cosine(end=0.1))
EVERY = Mask.everything()
DECAYS = {
    "none": None,
    "l2": dw.l2(0.3),
    "decoupled": dw.decoupled(0.3),
    "independent": dw.independent(0.02),
    "corrected": dw.corrected(0.3),
    "cautious": dw.decoupled(0.3, cautious=True),
    "scheduled": dw.decoupled(dw.linear() * 0.3),
}
BESIDE = ("decoupled", "independent", "corrected", "cautious", "scheduled")
OPTIMISERS: dict[str, Callable[..., Any]] = {
    "SGD": keras.optimizers.SGD,
    "momentum": lambda **k: keras.optimizers.SGD(momentum=0.9, **k),
    "nesterov": lambda **k: keras.optimizers.SGD(momentum=0.9, nesterov=True, **k),
    "RMSprop": lambda **k: keras.optimizers.RMSprop(momentum=0.5, centered=True, **k),
    "Adamax": keras.optimizers.Adamax,
    "AMSGrad": lambda **k: keras.optimizers.Adam(amsgrad=True, **k),
    **{
        name: getattr(keras.optimizers, name)
        for name in ("Adam", "AdamW", "Adadelta", "Adagrad", "Nadam", "Lion", "Adafactor", "Lamb", "Muon")
    },
}
QUICK = ("SGD", "Adam")
ALL = [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in OPTIMISERS]


@contextmanager
def wide(on: bool = True) -> Iterator[None]:
    """Keras in float64, and JAX too where it is the backend; or both in float32."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64" if on else "float32")
    try:
        if BACKEND == "jax":
            import jax

            with jax.enable_x64(on):
                yield
        else:
            yield
    finally:
        keras.config.set_floatx(before)


@pytest.fixture(autouse=True)
def narrow() -> Iterator[None]:
    """Sessions are of 32 bits unless a test says otherwise, whatever other test files have set."""
    with wide(False):
        yield


def array(x: Any) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(x)))


def compiled(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``function`` of one array through the backend's compiler (torch has none that compiles in seconds)."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return function


def values(schedule: Any, steps: np.ndarray) -> np.ndarray:
    return array(compiled(schedule)(keras.ops.convert_to_tensor(steps.astype(np.int32), "int32")))


# --- the schedule -----------------------------------------------------------------------------------------------------


@cache
def recorded(file: str) -> list[dict[str, Any]]:
    return json.loads((GOLDEN / file).read_text())["cases"]


def golden_files() -> list[str]:
    return sorted(path.name for path in GOLDEN.glob("schedule_keras_*.json"))


@needs_golden
def test_there_are_24_recorded_schedules_or_more() -> None:
    assert sum(len(recorded(file)) for file in golden_files()) >= 24


@needs_golden
@pytest.mark.parametrize("by", ["step by step", pytest.param("compiled", marks=pytest.mark.slow)])
@pytest.mark.parametrize("file", golden_files())
def test_the_recorded_rates_of_keras_come_back_on_the_backend(file: str, by: str) -> None:
    with wide("float64" in file):
        for case in recorded(file):
            plan = foreign.read("keras", case["name"], case["params"])
            want = np.array(case["lrs"])
            schedule = dkeras.schedule(plan, len(want))
            if by == "compiled":
                got = values(schedule, np.arange(len(want)))
                assert got.dtype == case["dtype"]
            else:
                got = np.array([float(schedule(step)) for step in range(len(want))])
            # Keras works a cosine out in float32 also where floatx is float64
            exact = case["dtype"] == "float64" and "Cosine" not in case["name"]
            error = np.abs(got - want) - (1e-12 if exact else 1e-5) * np.abs(want)
            assert error.max() <= (0.0 if exact else 1e-9), case["id"]


def late(rates: np.ndarray, rate: float) -> int:
    """How many of the boundaries k = 1, 2, ... are not where they belong; row k-1 is (one step before, at)."""
    k = np.arange(1, len(rates) + 1)
    passed = np.rint(np.log(rates.astype(np.float64)) / np.log(rate))
    return int(np.sum((passed[:, 0] != k - 1) | (passed[:, 1] != k)))


def boundaries(make: Callable[[int], Any], spans: list[int], each: int) -> int:
    wrong = 0
    for n in spans:
        at = np.arange(1, each + 1) * n
        wrong += late(values(make(n), np.stack([at - 1, at], axis=1).ravel()).reshape(-1, 2), 0.99)
    return wrong


def stairs(n: int) -> Any:
    return dkeras.schedule(Plan(1.0, dw.step(n, 0.99)), 10**7)


def test_no_staircase_boundary_is_late_in_32_bits() -> None:
    assert boundaries(stairs, [41, 49, 94, 98, 103, 107, 150], 402) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_staircase_boundary_is_late_for_any_span_to_150() -> None:
    assert boundaries(stairs, list(range(1, 151)), 402) == 0  # 60,300 boundaries


def test_the_experiment_sees_a_late_boundary() -> None:
    def by_floats(n: int) -> Any:
        return lambda step: 0.99 ** keras.ops.floor(keras.ops.cast(step, "float32") * np.float32(1 / n))

    assert boundaries(by_floats, [41, 49, 94], 201) > 0


def check_against_numpy(s: Schedule, run: Horizon) -> None:
    steps = np.array([0, 1, 2, 7, 99, 100, 101, 1234, 2**24 + 1, 2**31 - 1])
    with wide(False):
        mine = values(dkeras.schedule(Plan(1.0, s), run), steps)
    assert mine.dtype == np.float32
    np.testing.assert_allclose(mine, s.resolve(run)(steps), rtol=1e-6, atol=1e-37)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(s=schedules, run=horizons)
def test_any_schedule_in_32_bits_is_numpy_rounded_once(s: Schedule, run: Horizon) -> None:
    check_against_numpy(s, run)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, derandomize=True)
@given(s=schedules, run=horizons)
def test_a_hundred_schedules_in_32_bits_are_numpy_rounded_once(s: Schedule, run: Horizon) -> None:
    check_against_numpy(s, run)


@settings(max_examples=12, deadline=None, derandomize=True)
@given(s=schedules, run=horizons, step=st.integers(0, 2**31))
def test_one_step_alone_is_the_plans_in_float64(s: Schedule, run: Horizon, step: int) -> None:
    with wide():
        got = float(dkeras.schedule(Plan(0.3, s), run)(step))
    assert got == pytest.approx(0.3 * float(s.resolve(run)(step)), rel=1e-12, abs=1e-300)


def test_a_group_has_its_own_rate_and_an_unknown_one_is_refused() -> None:
    plan = Plan(0.1, groups=(Group("head", "head/*", 3.0),))
    assert float(dkeras.schedule(plan, RUN, "head")(0)) == pytest.approx(0.3)
    with pytest.raises(UnknownNameError, match="did you mean 'head'"):
        dkeras.schedule(plan, RUN, "heat")


def test_a_schedule_survives_its_config() -> None:
    made = dkeras.schedule(Plan(0.1, dw.warmup("2ep").then(dw.cosine())), Horizon(epochs=5, steps_per_epoch=3))
    whole = keras.optimizers.schedules.serialize(made)
    assert whole["registered_name"] == "dwindle>PlanSchedule"
    again = keras.optimizers.schedules.deserialize(json.loads(json.dumps(whole)))
    assert (again.plan, again.horizon, again.group) == (made.plan, made.horizon, None)
    assert [float(again(t)) for t in range(20)] == [float(made(t)) for t in range(20)]


def test_what_has_no_text_is_refused_when_it_is_built() -> None:
    with pytest.raises(InvalidValueError, match="keeps the text of its plan"):
        dkeras.schedule(Plan(0.1, dw.custom(lambda step: 1.0)), RUN)
    with pytest.raises(InvalidValueError, match="must be a Plan"):
        dkeras.schedule("peak 0.1", RUN)  # type: ignore[arg-type]


# --- the decay --------------------------------------------------------------------------------------------------------


def variables() -> list[Any]:
    rng = np.random.default_rng(3)
    shapes = {"kernel": (3, 2), "bias": (2,), "head": (2, 4)}
    return [keras.Variable(rng.normal(size=shape), dtype=keras.config.floatx(), name=n) for n, shape in shapes.items()]


def gradients(steps: int, zero: bool = False) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(7)
    return [[rng.normal(size=v.shape) * (not zero) for v in variables()] for _ in range(steps)]


def played(optimizer: Any, grads: list[list[np.ndarray]], change: Any = None) -> list[list[np.ndarray]]:
    """Return the three weights after each update; ``change`` makes the gradients from them and the weights."""
    ws = variables()
    path = []
    for step, gs in enumerate(grads):
        now = [array(w) for w in ws]
        gs = gs if change is None else change(gs, now, step)
        optimizer.apply([keras.ops.convert_to_tensor(g, keras.config.floatx()) for g in gs], ws)
        path.append([array(w) for w in ws])
    return path


def agree(got: Any, want: Any, rtol: float = 1e-12) -> None:
    for a, b in zip(got, want, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-14 if rtol < 1e-9 else rtol)


@pytest.mark.parametrize("decay", BESIDE)
@pytest.mark.parametrize("name", ALL)
def test_with_zero_gradients_the_weights_shrink_by_the_plan(name: str, decay: str) -> None:
    with wide():
        plan = Plan(0.05, SHAPE, DECAYS[decay], mask=Mask.of(Rule("name", "head", False)))
        path = played(dkeras.attach(OPTIMISERS[name](), plan, RUN), gradients(5, zero=True))
        left = np.prod(plan.table(RUN).shrink[:5])
        start = [array(w) for w in variables()]
    np.testing.assert_allclose(path[-1][0], start[0] * left, rtol=1e-13)
    assert left < 1.0
    np.testing.assert_array_equal(path[-1][1], start[1])  # a bias by its name
    np.testing.assert_array_equal(path[-1][2], start[2])  # the rule of the user's own


@pytest.mark.parametrize("name", [*ALL, pytest.param("Ftrl", marks=pytest.mark.slow)])
def test_l2_is_the_optimiser_of_keras_fed_with_g_plus_c_w(name: str) -> None:
    make = {**OPTIMISERS, "Ftrl": keras.optimizers.Ftrl}[name]
    plain = {"weight_decay": 0.0} | ({"adam_weight_decay": 0.0} if name == "Muon" else {})
    with wide():
        plan = Plan(0.05, SHAPE, DECAYS["l2"], mask=EVERY)
        got = played(dkeras.attach(make(), plan, RUN), gradients(4))
        keras_own = make(learning_rate=dkeras.schedule(plan, RUN), **plain)
        want = played(keras_own, gradients(4), lambda gs, ws, step: [g + 0.3 * w for g, w in zip(gs, ws, strict=True)])
    agree(got, want)


@pytest.mark.parametrize("name", ALL)
def test_decoupled_is_the_weight_decay_of_keras(name: str) -> None:
    own = {"weight_decay": 0.3} | ({"adam_weight_decay": 0.3} if name == "Muon" else {})
    with wide():
        plan = Plan(0.05, SHAPE, DECAYS["decoupled"], mask=EVERY)
        got = played(dkeras.attach(OPTIMISERS[name](**own), plan, RUN), gradients(4))
        want = played(OPTIMISERS[name](learning_rate=dkeras.schedule(plan, RUN), **own), gradients(4))
    agree(got, want, THEIRS)


@pytest.mark.parametrize("name", [*ALL, pytest.param("Ftrl", marks=pytest.mark.slow)])
def test_lr_scale_is_the_optimiser_built_with_that_rate(name: str) -> None:
    make = {**OPTIMISERS, "Ftrl": keras.optimizers.Ftrl}[name]
    plain = {"weight_decay": 0.0} | ({"adam_weight_decay": 0.0} if name == "Muon" else {})
    with wide():
        plan = Plan(0.05, SHAPE, groups=(Group("head", "head", 0.25),))
        got = played(dkeras.attach(make(), plan, RUN), gradients(4))
        base, head = (
            played(make(learning_rate=dkeras.schedule(plan, RUN, group), **plain), gradients(4))
            for group in (None, "head")
        )
    agree(got, [[*row[:2], scaled[2]] for row, scaled in zip(base, head, strict=True)])


REFERENCES = {
    "SGD": reference.SGD(),
    "momentum": reference.SGD(0.9, lr_in_buffer=True),
    "nesterov": reference.SGD(0.9, nesterov=True, lr_in_buffer=True),
    "Adam": reference.Adam(eps=1e-7, eps_hat=True),
    "AMSGrad": reference.Adam(eps=1e-7, eps_hat=True, amsgrad=True),
}


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in ("SGD", "Adam") else pytest.mark.slow) for n in REFERENCES]
)
def test_the_trajectory_is_the_references(name: str, decay: str) -> None:
    with wide():
        plan = Plan(0.05, SHAPE, DECAYS[decay], groups=(Group("head", "head", 3.0),))
        got = played(dkeras.attach(OPTIMISERS[name](), plan, RUN), gradients(6))
        names = [w.name for w in variables()]
        start = {n: array(w) for n, w in zip(names, variables(), strict=True)}
    own, grads = plan.resolve(RUN), gradients(6)

    def rates(step: int, name: str) -> Any:
        return own.rates(step, "head" if name == "head" else None, decays=name != "bias")

    want = reference.run(
        REFERENCES[name],
        start,
        lambda _, step: dict(zip(names, grads[step], strict=True)),
        rates,
        6,
        cautious=decay == "cautious",
    )
    rtol = 1e-11 if name == "SGD" else max(1e-11, THEIRS)
    agree(got, [[want[n][t + 1] for n in names] for t in range(6)], rtol)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_cautious_decay_goes_by_the_direction_also_where_rounding_hides_the_update(name: str) -> None:
    plan, grads = Plan(1e-12, SHAPE, dw.independent(0.1, cautious=True), mask=EVERY), gradients(6)
    got = played(dkeras.attach(OPTIMISERS[name](), plan, RUN), grads)
    with wide():
        names = [w.name for w in variables()]
        start = {n: array(w) for n, w in zip(names, variables(), strict=True)}
    own = plan.resolve(RUN)
    want = reference.run(
        REFERENCES[name],
        start,
        lambda _, step: dict(zip(names, grads[step], strict=True)),
        lambda step, _: own.rates(step),
        6,
        cautious=True,
    )
    agree(got, [[want[n][t + 1] for n in names] for t in range(6)], 3e-6)


def wd_cases() -> list[Any]:
    if not (GOLDEN / "wd_keras.json").is_file():
        return []
    return [pytest.param(case, id=case["id"]) for case in recorded("wd_keras.json")]


@needs_golden
@pytest.mark.parametrize("case", wd_cases())
def test_the_recorded_trajectories_come_back_on_the_optimisers_of_keras(case: dict[str, Any]) -> None:
    whole = json.loads((GOLDEN / "wd_keras.json").read_text())["problem"]
    plan = foreign.read_optimizer("keras", case["name"], case["params"])
    keep = tuple(Rule("name", name, False) for name in case["no_decay"])
    plan = Plan(plan.peak, plan.schedule, plan.decay, Mask((*keep, Rule("name", "*", True))))
    with wide():
        ws = [keras.Variable(np.array(w), dtype="float64", name=name) for name, w in whole["init"].items()]
        if case["name"] == "regularizers.L2":
            sgd = dkeras.attach(keras.optimizers.SGD(), Plan(1.0, decay=plan.decay), 1)
            sgd.apply([keras.ops.zeros(w.shape, "float64") for w in ws], ws)
            moved = np.array(whole["init"]["kernel"]) - array(ws[0])
            np.testing.assert_allclose(moved, case["gradient"], rtol=1e-10)
            return
        numbers = {k: v for k, v in case["params"].items() if k != "learning_rate"}
        optimizer = dkeras.attach(getattr(keras.optimizers, case["name"])(**numbers), plan, whole["steps"])
        problem = whole["problems"][case["problem"]]
        for t in range(whole["steps"]):
            if case["problem"] == "fixed":
                grads = problem["grads"][t]
            else:
                now = {w.name: array(w) for w in ws}
                grads = {n: np.array(problem["curvature"][n]) * (now[n] - np.array(problem["target"][n])) for n in now}
            optimizer.apply([keras.ops.convert_to_tensor(np.array(grads[w.name]), "float64") for w in ws], ws)
            for w in ws:
                want = case["trajectory"][t][w.name]
                own = case["name"] == "Lion" or not case["params"].get("momentum", True)
                rtol, atol = (1e-10, 1e-12) if own else (max(1e-10, THEIRS), max(1e-12, THEIRS))
                np.testing.assert_allclose(array(w), want, rtol=rtol, atol=atol)


def test_l2_comes_after_the_clipping() -> None:
    with wide():
        plan = Plan(0.1, decay=dw.l2(0.5), mask=EVERY)
        ws = variables()
        start = array(ws[0])
        optimizer = dkeras.attach(keras.optimizers.SGD(clipvalue=0.01), plan, RUN)
        optimizer.apply([keras.ops.ones(w.shape, "float64") for w in ws], ws)
        np.testing.assert_allclose(array(ws[0]), start - 0.1 * (0.01 + 0.5 * start), rtol=1e-13)


def test_a_step_is_an_update_and_not_a_batch() -> None:
    with wide():
        plan = Plan(0.05, SHAPE, DECAYS["decoupled"], mask=EVERY)
        batches = [g for g in gradients(3) for _ in range(2)]
        optimizer = dkeras.attach(keras.optimizers.Adam(gradient_accumulation_steps=2), plan, RUN)
        pairs = played(optimizer, batches)
        assert float(optimizer.learning_rate) == pytest.approx(plan.lrs(RUN)[3])
        assert optimizer.rates() == plan.resolve(RUN).rates(3)
        agree(pairs[1::2], played(dkeras.attach(keras.optimizers.Adam(), plan, RUN), gradients(3)))
        agree(pairs[:1], [[array(w) for w in variables()]])


@pytest.mark.skipif(BACKEND != "jax", reason="stateless_apply under jit is JAX's")
@pytest.mark.parametrize(
    "decay", [pytest.param(d, marks=() if d in ("l2", "cautious") else pytest.mark.slow) for d in DECAYS]
)
def test_stateless_apply_under_jit_is_apply(decay: str) -> None:
    import jax

    with wide():
        plan = Plan(0.05, SHAPE, DECAYS[decay], groups=(Group("head", "head", 3.0),))
        want = played(dkeras.attach(keras.optimizers.Adam(), plan, RUN), gradients(4))
        optimizer = dkeras.attach(keras.optimizers.Adam(), plan, RUN)
        ws = variables()
        optimizer.build(ws)
        update = jax.jit(lambda state, grads, now: optimizer.stateless_apply(state, grads, now))
        state, now, got = [v.value for v in optimizer.variables], [w.value for w in ws], []
        for gs in gradients(4):
            now, state = update(state, gs, now)
            got.append([np.asarray(w) for w in now])
        assert update._cache_size() == 1
    agree(got, want)


def test_weights_of_16_bits_are_shrunk_in_32() -> None:
    w = keras.Variable(np.full((2, 2), 1.75), dtype="bfloat16", name="kernel")
    optimizer = dkeras.attach(keras.optimizers.SGD(), Plan(0.5, decay=dw.decoupled(0.6)), RUN)
    optimizer.apply([keras.ops.zeros((2, 2), "bfloat16")], [w])
    # 1.225 is no bfloat16, 1.2265625 the nearest; 0.3 rounded before it is multiplied would give 1.21875
    assert float(array(keras.ops.cast(w, "float32"))[0, 0]) == 1.2265625


# --- in a model -------------------------------------------------------------------------------------------------------


def model(**compile_options: Any) -> Any:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(8, name="0"),
            layers.LayerNormalization(name="1"),
            layers.Dense(2, name="head"),
        ],
        name="net",
    )


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    return rng.normal(size=(32, 4)).astype("float32"), rng.normal(size=(32, 2)).astype("float32")


def fit(net: Any, epochs: int, start: int = 0, *callbacks: Any) -> Any:
    x, y = data()
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    return net.fit(x, y, epochs=epochs, initial_epoch=start, callbacks=list(callbacks), **options)


FULL = Plan(
    0.02,
    dw.warmup("10%").then(dw.cosine(end=0.1)),
    dw.decoupled(0.1, cautious=True),
    mask=Mask.of(Rule("kind", "LayerNorm*", True)),
    groups=(Group("head", "*head/*", 3.0),),
    layer_decay=0.5,
)
FIT = Horizon(epochs=4, steps_per_epoch=4)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ("Adam", "Lamb") else pytest.mark.slow)
        for n in ("Adam", "Lamb", "nesterov", "Nadam", "Muon")
    ],
)
@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"gradient_accumulation_steps": 2, "clipnorm": 1.0}, marks=pytest.mark.slow)],
    ids=["plain", "accumulating"],
)
def test_a_saved_model_goes_on_bit_for_bit(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    net = model()
    net.compile(dkeras.attach(OPTIMISERS[name](**options), FULL, FIT, model=net), "mse")
    fit(net, 2)
    net.save(tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert isinstance(again.optimizer, dkeras.Planned)
    assert isinstance(again.optimizer, type(OPTIMISERS[name]()))
    assert again.optimizer.report() == net.optimizer.report()
    fit(net, 4, 2)
    fit(again, 4, 2)
    assert int(again.optimizer.iterations) == (8 if options else 16)
    for mine, other in zip(net.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")  # the compilers' own
def test_a_compiled_fit_is_the_eager_one() -> None:
    found = []
    for options in ({"run_eagerly": True}, {"jit_compile": True}):
        net = model()
        net.compile(dkeras.attach(keras.optimizers.Adam(), FULL, FIT, model=net), "mse", **options)
        fit(net, 2)
        found.append(net.get_weights())
    for eager, compiled_ in zip(*found, strict=True):
        np.testing.assert_allclose(compiled_, eager, rtol=1e-4, atol=1e-6)


def test_an_optimiser_is_cloned_by_its_config() -> None:
    optimizer = dkeras.attach(keras.optimizers.Adam(beta_1=0.8), Plan(0.1, SHAPE, DECAYS["decoupled"]), RUN)
    whole = keras.optimizers.serialize(optimizer)
    assert whole["registered_name"] == "dwindle>Planned"
    clone = keras.optimizers.deserialize(json.loads(json.dumps(whole)))
    assert clone.beta_1 == 0.8
    with wide():
        agree(played(clone, gradients(3)), played(optimizer, gradients(3)), rtol=0.0)


def test_fit_follows_the_plan_and_logs_it(tmp_path: Path) -> None:
    net, plan = model(), Plan(0.01, SHAPE, dw.decoupled(0.1))
    net.compile(dkeras.attach(keras.optimizers.Adam(), plan, RUN), "mse")
    history = fit(net, 3, 0, dkeras.Log(), keras.callbacks.CSVLogger(tmp_path / "log.csv")).history
    rates = plan.table(RUN)
    assert history["learning_rate"] == [rates.lr[3], rates.lr[7], rates.lr[11]]
    assert history["shrink"] == [rates.shrink[3], rates.shrink[7], rates.shrink[11]]
    assert "learning_rate" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")


def test_without_the_callback_keras_logs_no_rate() -> None:
    net = model()
    net.compile(keras.optimizers.Adam(dkeras.schedule(Plan(0.01, SHAPE), RUN)), "mse")
    assert list(fit(net, 1).history) == ["loss"]
    assert fit(net, 2, 1, dkeras.Log()).history["learning_rate"] == [Plan(0.01, SHAPE).lrs(RUN)[7]]


def test_the_log_names_the_coefficient_of_l2_and_asks_for_a_plan() -> None:
    net = model()
    net.compile(dkeras.attach(keras.optimizers.SGD(), Plan(0.01, decay=dw.l2(0.25)), RUN), "mse")
    assert fit(net, 1, 0, dkeras.Log()).history["l2"] == [0.25]
    net.compile("adam", "mse")
    with pytest.raises(InvalidValueError, match="follows no plan"):
        fit(net, 1, 0, dkeras.Log())


def test_a_loss_scale_around_it_skips_the_steps_that_overflow() -> None:
    with wide(False):
        plan = Plan(0.5, decay=dw.decoupled(0.2), mask=EVERY)
        inner = dkeras.attach(keras.optimizers.SGD(), plan, RUN)
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        w = keras.Variable(np.ones((1, 1)), dtype="float32", name="kernel")
        optimizer.build([w])

        def apply(gradient: float) -> tuple[float, int]:
            grads = [keras.ops.full((1, 1), gradient)]
            if BACKEND == "jax":  # where Keras' loss scale has no other way
                (new,), state = optimizer.stateless_apply([v.value for v in optimizer.variables], grads, [w.value])
                for variable, value in zip((w, *optimizer.variables), (new, *state), strict=True):
                    variable.assign(value)
            else:
                optimizer.apply(grads, [w])
            return float(array(w)[0, 0]), int(array(inner.iterations))

        assert apply(np.inf) == (1.0, 0)
        assert apply(0.0) == (pytest.approx(0.9), 1)


def test_the_average_of_keras_sees_the_decayed_weights() -> None:
    with wide():
        plan = Plan(0.5, decay=dw.decoupled(0.2, cautious=True), mask=EVERY)
        optimizer = dkeras.attach(keras.optimizers.SGD(use_ema=True, ema_momentum=0.5), plan, RUN)
        w = keras.Variable(np.ones((1, 1)), dtype="float64", name="kernel")
        optimizer.build([w])
        optimizer.apply([keras.ops.zeros((1, 1), "float64")])
        optimizer.finalize_variable_values([w])
        assert float(array(w)[0, 0]) == pytest.approx(0.9)


def test_an_optimiser_under_way_goes_on_with_the_plans_step() -> None:
    with wide():
        plan, grads = Plan(0.05, SHAPE, DECAYS["decoupled"], mask=EVERY), gradients(4)
        before = keras.optimizers.Adam(0.01)
        ws = variables()
        for gs in grads[:2]:
            before.apply([keras.ops.convert_to_tensor(g, "float64") for g in gs], ws)
        assert dkeras.attach(before, plan, RUN) is before
        assert float(before.learning_rate) == pytest.approx(plan.lrs(RUN)[2])
        start = array(ws[0])
        before.apply([keras.ops.zeros(w.shape, "float64") for w in ws], ws)
        assert not np.allclose(array(ws[0]), start)
        assert int(before.iterations) == 3
        late = keras.optimizers.SGD(0.01)
        late.build(ws)
        late.iterations.assign(12)
        with pytest.warns(UserWarning, match="beyond the horizon of 12 steps"):
            dkeras.attach(late, plan, RUN)


# --- what is refused --------------------------------------------------------------------------------------------------


def excluding() -> Any:
    optimizer = keras.optimizers.AdamW()
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


@pytest.mark.parametrize(
    ("make", "decay", "match"),
    [
        (lambda: "adam", None, "must be a keras.optimizers optimiser"),
        (lambda: keras.optimizers.SGD(weight_decay=0.1), "decoupled", r"weight_decay=0.1 \(decoupled\), the plan has"),
        (lambda: keras.optimizers.SGD(weight_decay=0.3), "l2", r"the plan has l2 0.3"),
        (lambda: keras.optimizers.Muon(adam_weight_decay=0.1), "decoupled", "adam_weight_decay=0.1"),
        (
            lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
            None,
            "attach the plan to what is inside",
        ),
        (keras.optimizers.Ftrl, "decoupled", "works its weights out anew"),
        (excluding, "decoupled", "exclude_from_weight_decay was called"),
        (lambda: dkeras.attach(keras.optimizers.SGD(), Plan(0.1), RUN), None, "already follows a plan"),
    ],
)
def test_an_optimiser_that_cannot_follow_is_refused(make: Any, decay: str | None, match: str) -> None:
    plan = Plan(0.1, decay=None if decay is None else DECAYS[decay])
    optimizer = make()
    kind, before = type(optimizer), getattr(optimizer, "learning_rate", None)
    with pytest.raises(InvalidValueError, match=match):
        dkeras.attach(optimizer, plan, RUN)
    assert type(optimizer) is kind
    assert getattr(optimizer, "learning_rate", None) is before or keras.ops.is_tensor(before)


@pytest.mark.parametrize("name", ["AdamW", pytest.param("Muon", marks=pytest.mark.slow)])
def test_the_default_decay_of_a_class_is_replaced(name: str) -> None:
    optimizer = dkeras.attach(getattr(keras.optimizers, name)(), Plan(0.1), RUN)
    with wide():
        path = played(optimizer, gradients(2, zero=True))
        agree(path[-1:], [[array(w) for w in variables()]], rtol=0.0)


def test_the_plan_owns_rate_and_decay_from_then_on() -> None:
    optimizer = dkeras.attach(keras.optimizers.SGD(), Plan(0.1), RUN)
    with pytest.raises(InvalidValueError, match="owns the learning rate"):
        optimizer.learning_rate = 0.5
    with pytest.raises(InvalidValueError, match="owns the decay"):
        optimizer.exclude_from_weight_decay(var_names=["bias"])
    net = model()
    net.compile(optimizer, "mse")
    with pytest.raises(InvalidValueError, match="owns the learning rate"):
        fit(net, 1, 0, keras.callbacks.LearningRateScheduler(lambda epoch: 0.5))


def test_a_rule_on_kinds_needs_the_model_and_the_right_one() -> None:
    plan = Plan(0.1, decay=dw.decoupled(0.1), mask=Mask.of(Rule("kind", "Dense", False)))
    with pytest.raises(InvalidValueError, match="give model="):
        dkeras.attach(keras.optimizers.SGD(), plan, RUN)
    with pytest.raises(InvalidValueError, match=r"must be a keras\.Model"):
        dkeras.attach(keras.optimizers.SGD(), plan, RUN, model=3)
    other = dkeras.attach(keras.optimizers.SGD(), plan, RUN, model=model())
    with pytest.raises(InvalidValueError, match="owns none of the optimiser's 3 variables"):
        other.build(variables())
    net = model()
    optimizer = dkeras.attach(keras.optimizers.SGD(), plan, RUN, model=net)
    with pytest.raises(InvalidValueError, match="no variables yet"):
        optimizer.report()
    optimizer.build(net.trainable_variables)
    rows = [line.split() for line in optimizer.report().splitlines()]
    assert rows[1] == ["net/0/kernel", "-", "kind", '"Dense"', "does", "not"]
    assert rows[3] == ["net/1/gamma", "-", "kind", '"*norm*"', "does", "not"]


def test_a_mistyped_name_and_layers_without_numbers_are_refused() -> None:
    bad = dkeras.attach(keras.optimizers.SGD(), Plan(0.1, mask=Mask.of(Rule("name", "kernal", True))), RUN)
    with pytest.raises(UnknownNameError, match="matches no parameter"):
        bad.build(variables())
    flat = dkeras.attach(keras.optimizers.SGD(), Plan(0.1, layer_decay=0.5), RUN)
    with pytest.raises(InvalidValueError, match="layer_decay counts the blocks"):
        flat.build(variables())
    assert not flat.built


def test_a_saved_plan_does_not_fit_another_model() -> None:
    optimizer = dkeras.attach(keras.optimizers.SGD(), Plan(0.1, decay=dw.decoupled(0.1)), RUN)
    optimizer.build(variables())
    again = type(optimizer).from_config(optimizer.get_config())
    with pytest.raises(ResumeError, match="decided on 3 variables, this model trains 2"):
        again.build(variables()[:2])


# --- the import -------------------------------------------------------------------------------------------------------


def test_import_dwindle_loads_no_keras() -> None:
    code = "import dwindle, sys; assert 'keras' not in sys.modules; assert 'keras' in dir(dwindle)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("missing", "match"), [("keras", r"pip install 'dwindle\[keras\]'"), ("tensorflow", "Set KERAS_BACKEND")]
)
def test_a_missing_extra_names_itself(monkeypatch: pytest.MonkeyPatch, missing: str, match: str) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "keras":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *args, **kwargs)

    for name in [n for n in sys.modules if n == "dwindle.keras" or n.startswith("dwindle.keras.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=match):
        importlib.import_module("dwindle.keras")


def on_backend(backend: str, folder: Path) -> None:
    """Run this file on another backend, with a base folder of its own: pytest tidies the one that all its runs share at its
    end, where a removal that another run gets in the way of is a warning, which is an error here."""
    if BACKEND != "jax":
        pytest.skip("this is the run on another backend")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "", __file__]
    command += ["-k", "not on_torch and not on_tensorflow", "--basetemp", str(folder / "inner")]
    env = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600, cwd=Path(__file__).parents[1])
    assert out.returncode == 0, out.stdout[-3000:] + out.stderr[-1000:]


@pytest.mark.slow
@pytest.mark.timeout(660)
def test_all_of_this_on_torch(tmp_path: Path) -> None:
    on_backend("torch", tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(660)
@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="tensorflow is not installed: pip install tensorflow-cpu"
)
def test_all_of_this_on_tensorflow(tmp_path: Path) -> None:
    on_backend("tensorflow", tmp_path)
