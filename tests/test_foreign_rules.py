"""Rules that answer a metric, read from Keras and optax: their rates beside the installed peers', and back from source."""

from __future__ import annotations

import inspect
import json
import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import dwindle.foreign.schedules.keras as keras_reader
import dwindle.foreign.schedules.optax as optax_reader
from dwindle import foreign
from dwindle.cli import app
from dwindle.errors import InvalidValueError, NoExactMapError, UnknownNameError
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
WRITTEN = ("torch", "timm", "hf", "keras", "optax")
PLATEAU, REDUCE = "ReduceLROnPlateau", "reduce_on_plateau"


def rates(rule: FeedbackRule[Any], metrics: Sequence[float]) -> np.ndarray:
    """The rates of a rule that is told metric t after step t; how timm numbers its metrics is not the rule's own."""
    ours = replace(rule, observes_first=False) if isinstance(rule, Plateau) else rule
    return ours.lrs(metrics)


def wandering(seed: int, n: int = 200, mode: str = "min") -> list[float]:
    """Metrics that improve ever less, are nan now and then (but not at first), and sometimes stand still."""
    r = np.random.default_rng(seed)
    values = 0.3 + np.exp(-np.arange(n) / r.uniform(10, 60)) + r.choice([0.02, 0.2]) * r.standard_normal(n)
    values[r.integers(1, n, 12)] = math.nan
    again = r.integers(2, n, 20)
    values[again] = values[again - 1]
    return [float(v) for v in (values if mode == "min" else -values)]


# --- Keras: its own callback, on a stand-in optimiser that holds its rate in float64 --------------------------------------


def keras_lrs(params: dict[str, Any], lr: float, metrics: Sequence[float], optimizer: Any = None) -> list[float]:
    optimizer = SimpleNamespace(learning_rate=lr) if optimizer is None else optimizer
    callback = keras.callbacks.ReduceLROnPlateau(**params)
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    callback.on_train_begin()
    lrs = []
    for epoch, metric in enumerate(metrics):
        lrs.append(float(optimizer.learning_rate))
        callback.on_epoch_end(epoch, {callback.monitor: metric})
    return lrs


def keras_params(r: random.Random) -> dict[str, Any]:
    return {
        "factor": r.choice([0.1, 0.5, r.uniform(0.05, 0.95)]), "patience": r.choice([0, 1, 2, 3, 7]),
        "mode": r.choice(["auto", "min", "max"]), "min_delta": r.choice([0.0, 1e-4, 0.05, -0.02]),
        "cooldown": r.choice([0, 0, 1, 2, 5]), "min_lr": r.choice([0.0, 0.0, 1.1e-3, 0.03, 0.5]),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_keras_rates_bit_for_bit(seed: int) -> None:
    r = random.Random(seed)
    params, lr = keras_params(r), r.choice([0.1, 1e-3, r.uniform(0.01, 1.0)])
    metrics = wandering(seed, 120, params["mode"])
    rule = foreign.read("keras", PLATEAU, params, base_lr=lr)
    ours, real = rule.lrs(metrics), np.array(keras_lrs(params, lr, metrics))
    held = ours > 1e-37  # the callback asks whether float32(lr) is above min_lr, and float32 ends there
    assert ours[held].tolist() == real[held].tolist()
    assert (real[~held] < 1e-37).all()


coarse = st.lists(st.integers(-8, 8).map(lambda k: k / 4), min_size=1, max_size=40)  # ties and edges, exact in float32


@pytest.mark.law
@settings(max_examples=40, deadline=None)
@given(
    coarse,
    st.sampled_from([0, 1, 2, 4]),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([0.0, 0.25, -0.5]),
    st.sampled_from(["min", "max"]),
    st.sets(st.integers(1, 39), max_size=4),
)
def test_keras_on_edges_and_nan(
    metrics: list[float], patience: int, cooldown: int, delta: float, mode: str, broken: set[int]
) -> None:
    metrics = [math.nan if t in broken else x for t, x in enumerate(metrics)]
    params = {
        "factor": 0.3,
        "patience": patience,
        "cooldown": cooldown,
        "min_delta": delta,
        "mode": mode,
        "min_lr": 1e-3,
    }
    rule = foreign.read("keras", PLATEAU, params, base_lr=0.1)
    assert rule.lrs(metrics).tolist() == keras_lrs(params, 0.1, metrics)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras' own, of NumPy 2
def test_keras_optimiser_in_float32() -> None:
    params, metrics = {"factor": 0.3, "patience": 2, "min_delta": 0.01, "min_lr": 1e-4, "cooldown": 2}, wandering(3)
    real = keras_lrs(params, 0.1, metrics, keras.optimizers.SGD(0.1))
    ours = foreign.read("keras", PLATEAU, params, base_lr=0.1).lrs(metrics)
    assert ours[-1] == 1e-4
    np.testing.assert_allclose(real, ours, rtol=1e-6)


def test_a_nan_that_comes_first_is_kerass_best_for_ever() -> None:
    """The one thing of Keras that the rule does not do, as its docstring says."""
    metrics, params = [math.nan, 3.0, 2.0, 1.0, 0.5], {"patience": 2, "factor": 0.5}
    assert keras_lrs(params, 1.0, metrics) == [1.0, 1.0, 1.0, 0.5, 0.5]
    assert foreign.read("keras", PLATEAU, params).lrs(metrics).tolist() == [1.0] * 5


def test_what_auto_means_is_told_by_kerass_own_metrics() -> None:
    metrics = [c for _, c in inspect.getmembers(keras.metrics, inspect.isclass)]
    required = {"num_classes": 3, "target_class_ids": [0], **dict.fromkeys(("recall", "precision"), 0.5)}
    required |= {"sensitivity": 0.5, "specificity": 0.5}
    seen = set()
    for metric in metrics:
        needed = {k: required[k] for k in inspect.signature(metric).parameters if k in required}
        if metric in (keras.metrics.Metric, keras.metrics.MeanMetricWrapper):
            continue
        real = metric(**needed)
        way = {"up": "max", "down": "min", None: None}[getattr(real, "_direction", None)]
        params = {"monitor": f"val_{real.name}"}
        if way is None:
            with pytest.raises(InvalidValueError, match="which way is better; give mode="):
                foreign.read("keras", PLATEAU, params)
        else:
            assert foreign.read("keras", PLATEAU, params).mode == way, real.name
            seen.add(real.name)
    short = {"loss", "acc", "mse", "mae", "mape", "msle"}
    assert seen | short == {*keras_reader._FALLING, *keras_reader._RISING}
    for name in sorted(short - {"loss", "acc"}):
        assert keras.metrics.get(name)._direction == "down"


# --- optax: its own transformation, in float64 ---------------------------------------------------------------------------


def optax_lrs(params: dict[str, Any], lr: float, metrics: Sequence[float]) -> np.ndarray:
    with jax.enable_x64(True):
        plateau = optax.contrib.reduce_on_plateau(**params)
        state = plateau.init(jnp.zeros((), jnp.float64))

        def step(state: Any, value: Any) -> Any:
            return plateau.update(jnp.zeros(()), state, value=value)[1], state.scale

        return lr * np.asarray(jax.lax.scan(step, state, jnp.asarray(metrics, jnp.float64))[1])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", ["min", "max"])
def test_optax_rates(seed: int, mode: str) -> None:
    r = random.Random(seed)
    relative = mode == "min" and r.random() < 0.6
    params = {
        "factor": r.choice([0.1, 0.5, r.uniform(0.05, 0.95)]), "patience": [1, 1, 2, 4][seed % 4],
        "rtol": r.choice([1e-4, 0.1]) if relative else 0.0, "atol": 0.0 if relative else r.choice([1e-4, 0.05]),
        "cooldown": r.choice([0, 1, 5]), "min_scale": r.choice([0.0, 1e-3, 0.3, 1.0]),
    }  # fmt: skip
    metrics, lr = [math.nan, *wandering(seed, 200, mode)], r.choice([0.1, r.uniform(1e-4, 1.0)])
    rule = replace(foreign.read("optax", REDUCE, params, base_lr=lr), mode=mode)
    real = optax_lrs(params, lr, metrics if mode == "min" else [-m for m in metrics])
    np.testing.assert_allclose(rule.lrs(metrics), real, rtol=1e-13, atol=0)
    assert np.flatnonzero(np.diff(real)).tolist() == np.flatnonzero(np.diff(rule.lrs(metrics))).tolist()


@pytest.mark.parametrize(
    ("params", "shows", "said"),
    [
        ({"patience": 0, "factor": 0.5}, [1.0, 0.5, *[0.25] * 5], "cuts at every metric that is better"),
        ({"rtol": 1.0, "patience": 1, "factor": 0.5}, [0.5**t for t in range(7)], "never sees a first best"),
        ({"min_scale": 2.0}, [1.0, *[2.0] * 6], "raises the rate"),
        ({"accumulation_size": 2, "patience": 1, "factor": 0.5}, [*[1.0] * 6, 0.5], "the mean of several"),
        (
            {"rtol": 0.1, "atol": 0.1, "patience": 1, "factor": 0.5},
            [1.0, 1.0, 1.0, 0.5, 0.25, 0.125, 0.0625],
            "one threshold",
        ),
    ],
)
def test_what_optax_does_and_no_rule_is_refused(params: dict[str, Any], shows: list[float], said: str) -> None:
    assert optax_lrs(params, 1.0, [3.0, *[2.0] * 6]).tolist() == shows
    with pytest.raises(NoExactMapError, match=said):
        foreign.read("optax", REDUCE, params)


# --- what is refused, defaults, the boundary to schedules ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peer", "params", "error", "said"),
    [
        ("keras", {"min_lr": 1e-3}, InvalidValueError, "min_lr=0.001 of Keras' ReduceLROnPlateau is a learning rate.*base_lr="),
        ("keras", {"factor": 1.0}, InvalidValueError, "factor of Keras' ReduceLROnPlateau must be below 1"),
        ("keras", {"patience": -1}, InvalidValueError, "patience of Keras' ReduceLROnPlateau"),
        ("keras", {"mode": "maxx"}, UnknownNameError, "did you mean 'max'"),
        ("keras", {"monitor": "val_mine"}, InvalidValueError, "'val_mine' which way is better; give mode="),
        ("keras", {"pacience": 3}, UnknownNameError, "did you mean 'patience'"),
        ("optax", {"rtol": 0.0}, InvalidValueError, "one of rtol and atol"),
        ("optax", {"rtol": -0.1}, InvalidValueError, "rtol of optax's reduce_on_plateau"),
        ("optax", {"factor": 0.0}, InvalidValueError, "factor of optax's reduce_on_plateau must be positive"),
    ],
)  # fmt: skip
def test_bad_parameters(peer: str, params: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        foreign.read(peer, PLATEAU if peer == "keras" else REDUCE, params)
    with pytest.raises(InvalidValueError, match="base_lr must be positive"):
        foreign.read(peer, PLATEAU if peer == "keras" else REDUCE, base_lr=0.0)


@pytest.mark.parametrize(
    ("real", "rules"),
    [(keras.callbacks.ReduceLROnPlateau, keras_reader.RULES), (optax.contrib.reduce_on_plateau, optax_reader.RULES)],
)
def test_defaults_are_the_peers(real: Any, rules: Any) -> None:
    given = {p.name: p.default for p in inspect.signature(real).parameters.values() if p.name != "kwargs"}
    assert rules == {real.__name__: ((), given)}


@pytest.mark.parametrize("peer", ["optax", "keras"])
def test_without_a_rate_the_rule_fits_any(peer: str) -> None:
    name = PLATEAU if peer == "keras" else REDUCE
    rule = foreign.read(peer, name, {"factor": 0.5, "patience": 3})
    assert rule.peak == 1.0
    at = foreign.read(peer, name, {"factor": 0.5, "patience": 3}, base_lr=0.25)
    assert rule.lrs(wandering(1), 0.25).tolist() == at.lrs(wandering(1)).tolist()


def test_schedules_of_optax_and_keras_still_refuse_base_lr() -> None:
    for peer, reader in (("optax", optax_reader), ("keras", keras_reader)):
        for name in reader.NAMES:
            with pytest.raises(InvalidValueError, match=r"hold absolute rates; leave base_lr=0\.1 out"):
                foreign.read(peer, name, {}, base_lr=0.1)
    with pytest.raises(InvalidValueError, match="holds the learning rates itself; leave lr= out"):
        foreign.read("keras: CosineDecay(0.1, 100) lr=0.1")
    with pytest.raises(UnknownNameError, match="reduce_on_plateau' is not known"):
        foreign.read("optax: join_schedules([reduce_on_plateau()], [])")
    with pytest.raises(InvalidValueError, match="answers a metric and is no schedule of steps"):
        foreign.read("keras: Adam(ReduceLROnPlateau())")


# --- one line -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("keras:ReduceLROnPlateau(factor=0.5, patience=3) lr=0.1", Plateau(0.5, 2, 1e-4, "abs", nan="worse", peak=0.1)),
        ("keras:ReduceLROnPlateau(factor=0.5, patience=3)", Plateau(0.5, 2, 1e-4, "abs", nan="worse")),
        (
            "keras: Adam(1e-3) ReduceLROnPlateau('val_accuracy', 0.5, 3, min_lr=1e-5)",
            Plateau(0.5, 2, 1e-4, "abs", "max", min_lr=1e-5, nan="worse", peak=1e-3),
        ),
        (
            "keras: ReduceLROnPlateau(cooldown=2) AdamW(weight_decay=0.1)",
            Plateau(0.1, 9, 1e-4, "abs", cooldown=1, nan="worse", peak=1e-3),
        ),
        (
            "optax: adam(1e-3) reduce_on_plateau(0.5, 3, min_scale=1/4)",
            Plateau(0.5, 2, min_lr=2.5e-4, nan="worse", peak=1e-3),
        ),
        ("optax: reduce_on_plateau(0.5, 3, 0.0, 0.1) lr=1e-3", Plateau(0.5, 2, 0.1, "abs", nan="worse", peak=1e-3)),
    ],
)
def test_specs(text: str, rule: Plateau) -> None:
    assert foreign.read(text) == rule


@pytest.mark.parametrize("target", ["torch", "hf", "keras", "optax"])
def test_convert_from_one_line(target: str) -> None:
    text = "keras:ReduceLROnPlateau(factor=0.5, patience=3) lr=0.1"
    done = CliRunner().invoke(app, ["convert", text, "--to", target])
    assert done.exit_code == 0, done.output
    metrics = wandering(5)
    assert rates(foreign.read(done.output), metrics) == pytest.approx(rates(foreign.read(text), metrics), rel=1e-12)


# --- source -------------------------------------------------------------------------------------------------------------

KERAS = "import keras\n"
OPTAX = "import optax\nfrom optax import contrib\n"


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        (
            f"{KERAS}model.compile(optimizer=keras.optimizers.Adam(learning_rate=3e-4), loss='mse')\n"
            "model.fit(x, y, callbacks=[keras.callbacks.ReduceLROnPlateau(monitor='val_loss', factor=0.2, patience=5, "
            "min_lr=1e-5, verbose=1)])",
            Plateau(0.2, 4, 1e-4, "abs", min_lr=1e-5, nan="worse", peak=3e-4),
        ),
        (
            "from tensorflow.keras import callbacks, optimizers\nlr = 0.1\nopt = optimizers.SGD(lr, momentum=0.9)\n"
            "cuts = callbacks.ReduceLROnPlateau('val_acc', 0.5, 1)",
            Plateau(0.5, 0, 1e-4, "abs", "max", nan="worse", peak=0.1),
        ),
        (f"{KERAS}c = keras.callbacks.ReduceLROnPlateau()", Plateau(0.1, 9, 1e-4, "abs", nan="worse")),
        (
            f"{OPTAX}tx = optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau(factor=0.5, patience=4))\n"
            "updates, state = tx.update(grads, state, params, value=loss)",
            Plateau(0.5, 3, nan="worse", peak=1e-3),
        ),
        (
            f"{OPTAX}cut = contrib.reduce_on_plateau(0.5, 4, rtol=0.0, atol=0.01, min_scale=0.5)\n"
            "tx = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(0.01), cut)\n"
            "def update(grads, state, params, accuracy):\n"
            "    return tx.update(grads, state, params, value=-accuracy)",
            Plateau(0.5, 3, 0.01, "abs", "max", min_lr=0.005, nan="worse", peak=0.01),
        ),
        (f"{OPTAX}cut = contrib.reduce_on_plateau(0.5, 4)", Plateau(0.5, 3, nan="worse")),
        (
            f"{OPTAX}tx = optax.chain(contrib.reduce_on_plateau(0.5, 4), optax.scale_by_learning_rate(0.5))",
            Plateau(0.5, 3, nan="worse", peak=0.5),
        ),
    ],
)
def test_source_as_people_write_it(source: str, rule: Plateau) -> None:
    assert foreign.read(source) == rule


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (
            f"{OPTAX}tx = optax.chain(optax.contrib.reduce_on_plateau(), optax.adam(1e-3))",
            NoExactMapError,
            "stands before adam and scales the gradient",
        ),
        (
            f"{OPTAX}cut = contrib.reduce_on_plateau()\ntx = optax.chain(cut, optax.scale_by_adam(), optax.scale(-1e-3))",
            NoExactMapError,
            "stands before scale_by_adam",
        ),
        (
            f"{OPTAX}tx = optax.chain(optax.sgd(optax.cosine_decay_schedule(0.1, 9)), contrib.reduce_on_plateau())",
            NoExactMapError,
            "follows a schedule too, cosine to 0% over 9st",
        ),
        (
            f"{OPTAX}tx = optax.chain(optax.sgd(0.1), contrib.reduce_on_plateau())\ntx.update(g, s, value=-accuracy)",
            NoExactMapError,
            "give it rtol=0.0 and an atol",
        ),
        (
            f"{OPTAX}a, b = contrib.reduce_on_plateau(), contrib.reduce_on_plateau(0.5)",
            InvalidValueError,
            "is built 2 times",
        ),
        (
            f"{KERAS}o = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 9))\n"
            "c = keras.callbacks.ReduceLROnPlateau()",
            InvalidValueError,
            "several are built here",
        ),
        (
            f"{KERAS}def rate(step):\n    return 0.1 / (1 + step)\n"
            "o = keras.optimizers.SGD(rate)\nc = keras.callbacks.ReduceLROnPlateau()",
            NoExactMapError,
            "is a function of the step",
        ),
        (f"{KERAS}c = keras.callbacks.ReduceLROnPlateau(min_lr=1e-4)", InvalidValueError, "in source the optimiser"),
    ],
)
def test_source_that_is_no_rule_of_one_rate(source: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        foreign.read(source)


def test_a_rule_over_a_rate_that_moves_is_refused_in_one_line_too() -> None:
    with pytest.raises(NoExactMapError, match="follows a schedule too"):
        foreign.read("keras: Adam(CosineDecay(0.1, 9)) ReduceLROnPlateau()")


# --- there and back: every recorded rule, and rules of every kind, over every peer that has one ---------------------------

WHY = (
    "compares by an absolute min_delta; the rule is .rel.|for which a relative threshold is another|has no warm-up|"
    "has no absolute threshold|has no scheduler that is Greedy|has no rule like Greedy|needs a threshold above 0|"
    "give the rule its peak"
)


def has(peer: str, rule: FeedbackRule[Any]) -> bool:
    """Whether the peer has such a rule."""
    if not isinstance(rule, Plateau):
        return peer == "hf"
    absolute = rule.threshold_mode == "abs"
    return {
        "torch": not rule.warmup_steps,
        "hf": not rule.warmup_steps,
        "timm": not absolute or rule.threshold == 0.0,
        "keras": not rule.warmup_steps and (absolute or rule.threshold == 0.0),
        "optax": not rule.warmup_steps and rule.threshold > 0.0 and (absolute or rule.mode == "min"),
    }[peer]


def back_and_forth(rule: FeedbackRule[Any], peer: str, *metrics: Sequence[float]) -> bool:
    """Whether the rule, written for the peer and read back, exists; if so it has the same rates."""
    try:
        source = foreign.write(rule, peer)
    except NoExactMapError as error:
        if not re.search(WHY, str(error)):
            raise
        assert not has(peer, rule)
        return False
    back = foreign.read(source)
    assert isinstance(back, type(rule))
    assert any(np.ptp(rates(rule, series)) > 0 for series in metrics)
    for series in metrics:
        want = rates(rule, series)
        np.testing.assert_allclose(rates(back, series), want, rtol=1e-12, atol=0, err_msg=source)
    return True


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden values are not at {GOLDEN}")
def test_every_recorded_rule_over_every_peer() -> None:
    done: Counter[tuple[str, bool]] = Counter()
    for file in sorted(GOLDEN.glob("schedule_*.json")):
        for case in (c for c in json.loads(file.read_text())["cases"] if "metric" in c):
            rule = foreign.read(case["peer"], case["name"], case["params"], base_lr=case["base_lr"])
            for peer in WRITTEN:
                done[peer, back_and_forth(rule, peer, case["metric"], wandering(7), wandering(8, mode="max"))] += 1
    assert sum(done.values()) == 24 * len(WRITTEN)
    assert all(done[peer, True] for peer in WRITTEN)


@pytest.mark.parametrize("peer", WRITTEN)
@pytest.mark.parametrize("seed", range(20))
def test_rules_of_keras_and_optax_over_every_peer(seed: int, peer: str) -> None:
    r = random.Random(seed)
    params = {**keras_params(r), "min_lr": r.choice([0.0, 1e-3])}
    optaxs = {"factor": params["factor"], "patience": max(params["patience"], 1), "min_scale": r.choice([0.0, 0.01])}
    for rule in (
        foreign.read("keras", PLATEAU, params, base_lr=0.1),
        foreign.read("optax", REDUCE, {**optaxs, "cooldown": params["cooldown"]}, base_lr=0.1),
        foreign.read("optax", REDUCE, {**optaxs, "rtol": 0.0, "atol": 0.02}, base_lr=0.1),
    ):
        if peer == "timm":  # which leaves out cuts of at most 1e-8, as its source says of rules that do not
            rule = replace(rule, eps=1e-8)
        written = back_and_forth(rule, peer, wandering(seed, mode=rule.mode), wandering(seed + 50))
        assert written == has(peer, rule)


@pytest.mark.parametrize("peer", WRITTEN)
@pytest.mark.parametrize("mode", ["min", "max"])
def test_rules_without_a_peak_of_their_own(peer: str, mode: str) -> None:
    rule = Plateau(0.5, 2, 0.01, "rel" if peer == "timm" else "abs", mode, cooldown=2, eps=1e-8, nan="worse")
    assert back_and_forth(replace(rule, eps=0.0) if peer == "keras" else rule, peer, wandering(2, mode=mode))
    assert back_and_forth(replace(rule, peak=0.1, min_lr=0.01), peer, wandering(2, mode=mode))


def test_a_greedy_is_transformerss_alone() -> None:
    rule = Greedy(0.8, patience=1, min_lr=1e-3, max_lr=0.5, eps=1e-8, peak=0.1, nan="worse")
    assert [peer for peer in WRITTEN if back_and_forth(rule, peer, wandering(4))] == ["hf"]


@pytest.mark.law
@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        partial(Plateau, nan="worse"),
        factor=st.floats(0.05, 0.95),
        patience=st.integers(0, 4),
        threshold=st.sampled_from([0.0, 1e-4, 0.125]),
        threshold_mode=st.sampled_from(["rel", "abs"]),
        mode=st.sampled_from(["min", "max"]),
        cooldown=st.integers(0, 3),
        min_lr=st.sampled_from([0.0, 1e-3, 0.04]),
        eps=st.sampled_from([0.0, 1e-8, 2e-3]),
        peak=st.floats(0.05, 0.8),
    ),
    st.sampled_from(["torch", "hf", "keras", "optax"]),
    coarse,
)
def test_any_plateau_comes_back_or_is_refused(rule: Plateau, peer: str, metrics: list[float]) -> None:
    try:
        back = foreign.read(foreign.write(rule, peer))
    except NoExactMapError:
        return
    np.testing.assert_allclose(back.lrs(metrics), rule.lrs(metrics), rtol=1e-12, atol=0)
