"""The doctor on JAX: what an optax transformation does is measured, whatever it was built of."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dwindle as dw
from dwindle.jax.setup import read

RUN = dw.Horizon(steps=1000)
PARAMS = {
    "Dense_0": {"kernel": jnp.ones((6, 4)), "bias": jnp.zeros(4)},
    "LayerNorm_0": {"scale": jnp.ones(4), "bias": jnp.zeros(4)},
}


def mask(tree: Any) -> Any:
    return jax.tree.map(lambda w: w.ndim > 1, tree)


def bad(findings: Any) -> list[str]:
    return sorted(f.code for f in findings if f.severity != "note")


WARM = optax.warmup_cosine_decay_schedule(0.0, 1e-3, 50, 1000)
COSINE = optax.cosine_decay_schedule(0.1, 1000)
HEALTHY = {
    "adamw": lambda: optax.adamw(1e-3, weight_decay=0.01, mask=mask),
    "adamw warm": lambda: optax.adamw(WARM, weight_decay=0.1, mask=mask),
    "adamw small decay": lambda: optax.adamw(1e-3, weight_decay=1e-3, mask=mask),
    "clipped": lambda: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(WARM, weight_decay=0.1, mask=mask)),
    "adam": lambda: optax.adam(1e-3),
    "adam cosine": lambda: optax.adam(optax.cosine_decay_schedule(1e-3, 1000)),
    "sgd": lambda: optax.sgd(0.1),
    "sgd momentum": lambda: optax.sgd(0.1, momentum=0.9, nesterov=True),
    "sgd l2": lambda: optax.chain(optax.add_decayed_weights(5e-4, mask), optax.sgd(COSINE, momentum=0.9)),
    "lion": lambda: optax.lion(1e-4, weight_decay=0.1, mask=mask),
    "nadamw": lambda: optax.nadamw(1e-3, weight_decay=0.01, mask=mask),
    "rmsprop": lambda: optax.rmsprop(1e-3),
    "adagrad": lambda: optax.adagrad(1e-2),
    "accumulating": lambda: optax.MultiSteps(optax.adamw(WARM, weight_decay=0.1, mask=mask), 4),
    "injected": lambda: optax.inject_hyperparams(optax.sgd)(learning_rate=COSINE),
    "injected adamw": lambda: optax.inject_hyperparams(optax.adamw, static_args="mask")(WARM, weight_decay=0.1, mask=mask),
    "exponential": lambda: optax.sgd(optax.exponential_decay(0.1, 100, 0.9)),
    "piecewise": lambda: optax.sgd(optax.piecewise_constant_schedule(0.1, {500: 0.1, 800: 0.1})),
    "by hand": lambda: optax.chain(
        optax.scale_by_adam(), optax.add_decayed_weights(0.1, mask), optax.scale_by_schedule(WARM), optax.scale(-1.0)
    ),
    "frozen part": lambda: optax.multi_transform(
        {"on": optax.adamw(1e-3, weight_decay=0.01, mask=mask), "off": optax.set_to_zero()},
        {"Dense_0": "on", "LayerNorm_0": "off"},
    ),
    "planned": lambda: dw.jax.adamw(dw.parse("peak 1e-3 | warmup 5%, cosine to 0 | decoupled 0.1"), RUN),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_an_ordinary_recipe_is_left_in_peace(name: str) -> None:
    found = dw.doctor(PARAMS, HEALTHY[name](), horizon=RUN, accumulation=4 if name == "accumulating" else 1)
    assert bad(found) == [], [f.verdict for f in found if f.severity != "note"]


@pytest.mark.parametrize(
    ("tx", "said"),
    [
        (optax.adamw(1e-2, weight_decay=0.25), "decoupled 0.25"),
        (optax.adamw(1e-2, weight_decay=0.0), "None"),
        (optax.chain(optax.add_decayed_weights(0.03), optax.adam(1e-2)), "l2 0.03"),
        (optax.chain(optax.add_decayed_weights(0.03), optax.sgd(0.1, momentum=0.9)), "l2 0.03"),
        (dw.jax.adam(dw.parse("peak 1e-2 | constant | l2 0.03"), 100), "l2 0.03"),
        (dw.jax.adamw(dw.parse("peak 1e-2 | cosine to 0 | corrected 0.5"), 1000), "corrected 0.5"),
    ],
)
def test_the_decay_is_measured(tx: Any, said: str) -> None:
    setup = read(PARAMS, tx, horizon=RUN)
    kernel = next(w for w in setup.weights if w.name == "Dense_0/kernel")
    decay = setup.groups[kernel.groups[0]].decay
    assert said == ("None" if decay is None else f"{decay.convention} {float(f'{decay.weight_decay:.3g}'):g}")


def test_the_rates_are_those_of_the_schedule() -> None:
    setup = read(PARAMS, optax.adamw(WARM, weight_decay=0.1, mask=mask), horizon=RUN)
    course = setup.course()
    np.testing.assert_allclose(course.lr[0], [float(WARM(int(t))) for t in course.at], rtol=1e-4, atol=1e-10)


def test_decay_on_everything_and_adam_with_l2() -> None:
    assert bad(dw.doctor(PARAMS, optax.adamw(1e-3, weight_decay=0.01))) == ["decay-on-bias", "decay-on-norm"]
    tx = optax.chain(optax.add_decayed_weights(1e-4, mask), optax.adam(1e-3))
    assert bad(dw.doctor(PARAMS, tx)) == ["adam-l2"]


def test_lengths() -> None:
    def tx(steps: int) -> Any:
        return optax.sgd(optax.cosine_decay_schedule(0.1, steps))

    assert bad(dw.doctor(PARAMS, tx(400), horizon=RUN)) == ["schedule-short"]
    assert bad(dw.doctor(PARAMS, tx(4000), horizon=RUN)) == ["schedule-long"]
    assert bad(dw.doctor(PARAMS, tx(4000), horizon=RUN, processes=4)) == ["schedule-long", "wrong-stepping"]


def test_low_precision() -> None:
    params = jax.tree.map(lambda w: w.astype(jnp.bfloat16), PARAMS)
    found = dw.doctor(params, optax.adamw(1e-3, weight_decay=0.1, mask=mask), horizon=RUN)
    assert bad(found) == ["decay-rounds-away"]


def test_a_schedule_whose_count_is_not_the_optimisers() -> None:
    tx = optax.adamw(WARM, weight_decay=0.1, mask=mask)
    state = tx.init(PARAMS)
    for _ in range(30):
        _, state = tx.update(jax.tree.map(jnp.ones_like, PARAMS), state, PARAMS)
    assert bad(dw.doctor(PARAMS, (tx, state), horizon=RUN)) == []
    adam, *rest = state
    anew = (adam._replace(count=jnp.asarray(0, jnp.int32)), *rest)
    assert bad(dw.doctor(PARAMS, (tx, anew), horizon=RUN)) == ["wrong-resume"]


ALL = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
RISING = optax.warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)


@pytest.mark.parametrize(
    "tx",
    [
        optax.adamw(RISING),
        optax.adamw(optax.warmup_cosine_decay_schedule(0.0, 0.1, 5000, 10_000)),
        optax.MultiSteps(optax.adamw(0.1), 4),
        optax.MultiSteps(optax.adamw(RISING), 4),
        optax.MultiSteps(optax.adamw(0.1), lambda step: jnp.where(step < 10, 3, 5)),
        optax.chain(optax.clip(1.0), optax.MultiSteps(optax.adamw(0.1), 4).gradient_transformation()),
    ],
    ids=["warm-up from 0", "long warm-up from 0", "MultiSteps", "both", "a schedule of k", "MultiSteps in a chain"],
)
def test_what_moves_nothing_at_the_first_call_is_looked_at_all_the_same(tx: Any) -> None:
    for horizon in (None, dw.Horizon(steps=10_000)):
        found = dw.doctor(ALL, tx, horizon=horizon)
        assert "decay-on-bias" in bad(found)
        setup = read(ALL, tx, horizon=horizon)
        assert all(w.trainable for w in setup.weights)
        assert setup.groups[0].peak == pytest.approx(0.1, rel=0.05)
    assert read(ALL, tx).groups[0].lr == read(ALL, tx).groups[0].peak


def test_where_nothing_ever_moves_it_says_so_and_not_that_nothing_is_wrong() -> None:
    for tx in (optax.sgd(0.0), optax.set_to_zero()):
        for horizon in (None, RUN):
            with pytest.raises(dw.errors.InvalidValueError, match="a gradient of 1 moves no parameter at the counts"):
                dw.doctor(ALL, tx, horizon=horizon)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_rate_the_decay_and_the_momentum_of_sgd_are_measured(nesterov: bool, k: int) -> None:
    def sgd(rate: Any) -> Any:
        return optax.sgd(rate, momentum=0.9, nesterov=nesterov)

    def told(tx: Any, **options: Any) -> tuple[float | None, str, float]:
        group = read(ALL, tx if k == 1 else optax.MultiSteps(tx, k), **options).groups[0]
        decay = group.decay
        said = "None" if decay is None else f"{decay.convention} {decay.weight_decay:.3g}"
        return float(f"{group.peak:.4g}"), said, group.momentum

    l2 = optax.add_decayed_weights(0.01)
    cosine = optax.cosine_decay_schedule(0.1, 1000)
    assert told(sgd(0.1)) == (0.1, "None", 0.0)
    assert told(optax.chain(l2, sgd(0.1))) == (0.1, "l2 0.01", 0.9)
    assert told(optax.chain(l2, sgd(cosine)), horizon=RUN) == (0.1, "l2 0.01", 0.9)
    beside = optax.chain(optax.trace(0.9, nesterov), l2, optax.scale(-0.1))
    assert told(beside) == (0.1, "l2 0.01", 0.0)  # beside the momentum, as plain SGD's l2 is


def test_numbers_among_the_parameters() -> None:
    found = dw.doctor({"w": jnp.ones((3, 2)), "t": 1.0}, optax.adamw(0.1))
    assert bad(found) == bad(dw.doctor({"w": jnp.ones((3, 2)), "t": jnp.asarray(1.0)}, optax.adamw(0.1)))


def test_what_is_no_transformation() -> None:
    with pytest.raises(dw.errors.InvalidValueError):
        dw.doctor(PARAMS, 3)
    with pytest.raises(dw.errors.InvalidValueError, match="does not take"):
        dw.doctor(PARAMS, optax.adamw(1e-3, mask={"a": True}))


def test_float32_weights_feel_the_decay_that_optax_adds_to_the_update() -> None:
    """Measured: Adam's larger step carries a decay of 1e-8, below half an ulp, on the average."""
    tx, zero = optax.adamw(1e-4, weight_decay=1e-4), optax.adam(1e-4)
    assert "decay-rounds-away" not in bad(dw.doctor(PARAMS, tx))
    assert "decay-rounds-away" not in bad(dw.doctor(PARAMS, tx, horizon=RUN))
    w = jnp.linspace(0.5, 2.0, 4096)
    grads = jax.random.normal(jax.random.key(0), (2000, w.size))

    def trained(tx: Any) -> Any:
        def step(carry: Any, g: Any) -> Any:
            update, state = tx.update(g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], update), state), None

        return np.asarray(jax.lax.scan(step, (w, tx.init(w)), grads)[0][0], np.float64)

    felt = np.sum(trained(zero) - trained(tx)) / np.sum(1e-8 * 2000 * np.asarray(w, np.float64))
    assert felt == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    "tx",
    [
        optax.chain(optax.scale_by_adam(), optax.scale(-1e-3), optax.add_decayed_weights(1e-4)),
        optax.chain(optax.scale(-0.1), optax.add_decayed_weights(1e-4)),
        optax.chain(optax.add_decayed_weights(-1e-3), optax.sgd(0.1)),
    ],
)
def test_a_decay_of_the_wrong_sign_is_a_fault(tx: Any) -> None:
    for horizon in (None, RUN):
        found = dw.doctor(PARAMS, tx, horizon=horizon)
        assert [f.code for f in found] == ["lr-lambda-large"]
        assert found[0].verdict.startswith("weights grow by 0.0001 of themselves a step, whatever the data say")


def test_a_decay_of_the_right_sign_and_what_sets_the_size_of_weights_are_none() -> None:
    right = optax.chain(optax.scale_by_adam(), optax.scale(-1e-3), optax.add_decayed_weights(-1e-4, mask))
    assert bad(dw.doctor(PARAMS, right, horizon=RUN)) == []

    def onto_sphere(updates: Any, state: Any, params: Any) -> Any:
        moved = optax.apply_updates(params, updates)
        scaled = jax.tree.map(lambda w: 9.0 * w / jnp.linalg.norm(w), moved)
        return jax.tree.map(jnp.subtract, scaled, params), state

    projected = optax.chain(optax.sgd(0.1), optax.GradientTransformation(lambda _: optax.EmptyState(), onto_sphere))
    assert "lr-lambda-large" not in {f.code for f in dw.doctor({"kernel": jnp.ones((3, 2))}, projected, horizon=RUN)}
    for seed in range(3):
        noisy = optax.chain(optax.sgd(0.1), optax.add_noise(0.1, 0.0, jax.random.key(seed)))
        assert read({"kernel": jnp.ones((3, 2))}, noisy, horizon=RUN).groups[0].growth == 0.0
