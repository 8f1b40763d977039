"""The doctor on Keras: what a compiled model decays, which schedule it has, and that looking changes nothing."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

import dwindle as dw
from dwindle.keras.setup import read

RUN = dw.Horizon(epochs=10, steps_per_epoch=100)
SCHEDULES = keras.optimizers.schedules


def net(optimizer: Any, regularizer: Any = None) -> Any:
    layers = keras.layers
    model = keras.Sequential([
        layers.Input((6, 6, 3)), layers.Conv2D(4, 3, kernel_regularizer=regularizer), layers.BatchNormalization(),
        layers.Flatten(), layers.Dense(2, kernel_regularizer=regularizer),
    ])  # fmt: skip
    model.compile(optimizer, "mse")
    return model


def spared(optimizer: Any) -> Any:
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def cosine(steps: int = 1000, warm: int = 0) -> Any:
    if warm:
        return SCHEDULES.CosineDecay(0.0, steps - warm, warmup_target=0.1, warmup_steps=warm)
    return SCHEDULES.CosineDecay(0.1, steps)


def bad(findings: Any) -> list[str]:
    return sorted(f"{f.code} {f.subject}".strip() for f in findings if f.severity != "note")


K = keras.optimizers
L2 = keras.regularizers.L2
HEALTHY = {
    "sgd": lambda: net(K.SGD(0.1, momentum=0.9), L2(5e-5)),
    "sgd nesterov cosine": lambda: net(K.SGD(cosine(), momentum=0.9, nesterov=True), L2(2.5e-4)),
    "sgd warm cosine": lambda: net(K.SGD(cosine(1000, 50), momentum=0.9), L2(2.5e-4)),
    "sgd plain": lambda: net(K.SGD(0.01)),
    "adam": lambda: net(K.Adam()),
    "adam cosine": lambda: net(K.Adam(SCHEDULES.CosineDecay(1e-3, 1000))),
    "adamw spared": lambda: net(spared(K.AdamW(1e-3, 0.01))),
    "adamw default": lambda: net(spared(K.AdamW())),
    "adamw warm": lambda: net(spared(K.AdamW(cosine(1000, 50), 0.05))),
    "adam with decay": lambda: net(spared(K.Adam(1e-3, weight_decay=0.01))),
    "sgd with decay": lambda: net(spared(K.SGD(0.1, momentum=0.9, weight_decay=5e-3))),
    "lion": lambda: net(spared(K.Lion(1e-4, weight_decay=0.1))),
    "exponential": lambda: net(K.SGD(SCHEDULES.ExponentialDecay(0.1, 100, 0.9))),
    "staircase": lambda: net(K.SGD(SCHEDULES.ExponentialDecay(0.1, 100, 0.5, staircase=True))),
    "piecewise": lambda: net(K.SGD(SCHEDULES.PiecewiseConstantDecay([500, 800], [0.1, 0.01, 0.001]))),
    "polynomial": lambda: net(K.SGD(SCHEDULES.PolynomialDecay(0.1, 1000, 0.0))),
    "restarts": lambda: net(K.SGD(SCHEDULES.CosineDecayRestarts(0.1, 100))),
    "inverse time": lambda: net(K.SGD(SCHEDULES.InverseTimeDecay(0.1, 100, 0.5))),
    "rmsprop": lambda: net(K.RMSprop(1e-3)),
    "accumulating": lambda: net(K.SGD(cosine(4000), gradient_accumulation_steps=4)),
    "planned": lambda: net(dw.keras.attach(K.Adam(), dw.parse("peak 1e-3 | warmup 5%, cosine to 0 | decoupled 0.1"), RUN)),
}  # fmt: skip


@pytest.mark.parametrize("name", HEALTHY)
def test_an_ordinary_recipe_is_left_in_peace(name: str) -> None:
    assert bad(dw.doctor(HEALTHY[name](), horizon=RUN)) == []


def test_what_decays_is_read_off_the_variables() -> None:
    found = {f.code: f for f in dw.doctor(net(K.AdamW(1e-3, 0.01)), horizon=RUN)}
    assert [name.rpartition("/")[2] for name in found["decay-on-bias"].evidence["parameters"]] == ["bias", "bias"]
    assert [name.rpartition("/")[2] for name in found["decay-on-norm"].evidence["parameters"]] == ["gamma", "beta"]
    assert found["decay-scale-invariant"].evidence["dose"] == pytest.approx(0.01)


def test_a_regulariser_under_adam_is_l2() -> None:
    found = {f.code: f for f in dw.doctor(net(K.Adam(), L2(1e-4)))}
    assert found["adam-l2"].evidence["weight_decay"] == pytest.approx(2e-4)
    assert "adam-l2" not in {f.code for f in dw.doctor(net(K.SGD(), L2(1e-4)))}


def test_lengths_and_batches_that_are_no_updates() -> None:
    assert bad(dw.doctor(net(K.SGD(cosine(500))), horizon=RUN)) == ["schedule-short CosineDecay"]
    assert bad(dw.doctor(net(K.SGD(cosine(5000))), horizon=RUN)) == ["schedule-long CosineDecay"]
    accumulating = net(K.SGD(cosine(1000), gradient_accumulation_steps=4))
    assert bad(dw.doctor(accumulating, horizon=RUN)) == ["schedule-short CosineDecay", "wrong-stepping per micro-batch"]
    by_epochs = net(K.SGD(cosine(10)))
    assert "wrong-stepping per epoch" in bad(dw.doctor(by_epochs, horizon=RUN))


def test_a_callback_counts_epochs() -> None:
    callback = keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.5)
    setup = read(net(K.SGD(0.1)), None, callback, horizon=RUN)
    course = setup.course()
    np.testing.assert_allclose(course.lr[0, [0, 99, 100, 999]], [0.05, 0.05, 0.025, 0.1 * 0.5**10], rtol=1e-6)
    assert bad(dw.doctor(net(K.SGD(0.1)), None, callback, horizon=RUN)) == []


def test_looking_changes_nothing() -> None:
    model = net(K.Adam(cosine()), L2(1e-4))
    model.fit(np.ones((4, 6, 6, 3)), np.ones((4, 2)), verbose=0)
    before = [
        np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v)))
        for v in (*model.variables, *model.optimizer.variables)
    ]
    config = str(model.optimizer.get_config())
    dw.doctor(model, horizon=RUN)
    after = [
        np.array(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v)))
        for v in (*model.variables, *model.optimizer.variables)
    ]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert config == str(model.optimizer.get_config())


def test_a_model_that_is_not_compiled() -> None:
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(dw.errors.InvalidValueError, match="compiled"):
        dw.doctor(model)


class Poly(SCHEDULES.LearningRateSchedule):  # type: ignore[misc]
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, step: Any) -> Any:
        return 0.1 * (1.0 - step / self.steps) ** 0.9  # no real number beyond its steps


def test_a_schedule_of_ones_own_that_has_no_rate_beyond_its_end() -> None:
    assert bad(dw.doctor(net(K.SGD(Poly(1000))), horizon=RUN)) == []
    found = dw.doctor(net(K.SGD(Poly(400))), horizon=RUN)
    assert bad(found) == ["schedule-short Poly"]
    assert "Poly (it has no rate from count 401 on) ends at update 401 of 1,000, and the run cannot" in found[0].verdict


class Table(SCHEDULES.LearningRateSchedule):  # type: ignore[misc]
    def __init__(self, steps: int) -> None:
        self.rates = [0.1 * (1 - t / steps) for t in range(steps)]

    def __call__(self, step: Any) -> Any:
        return self.rates[int(step)] if step >= 0 else 0.0  # Python's own, which JAX cannot trace


def test_a_schedule_of_python_is_read_at_each_step() -> None:
    setup = read(net(K.SGD(Table(1000))), horizon=RUN)
    np.testing.assert_allclose(setup.course().lr[0], 0.1 * (1 - np.arange(1000) / 1000), rtol=1e-6)
    assert bad(dw.doctor(net(K.SGD(Table(400))), horizon=RUN)) == ["schedule-short Table"]
