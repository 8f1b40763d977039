"""The doctor for logs on rough curves: swings without a phase, floors under heavy noise, and what noise alone is called."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from dwindle.findings import Finding, of_history
from dwindle.findings.curves.oscillation import _anticorrelation
from dwindle.findings.curves.rates import shape_of
from dwindle.findings.curves.trends import Line, octave
from dwindle.logs import History, Series

Array = Any


def log(
    step: Array, loss: Array, lr: Array, *, unit: str = "step", val: Array = None, epoch: int | None = None
) -> History:
    series = {"loss": Series("loss", step, loss), "lr": Series("lr", step, np.broadcast_to(lr, np.shape(step)))}
    roles = {"lr": "lr", "training loss": "loss"}
    if val is not None:
        series["val"], roles["validation loss"] = Series("val", *val), "val"
    if epoch is not None:
        series["epoch"], roles["epoch"] = Series("epoch", step, np.asarray(step) / epoch), "epoch"
    return History("run", series, roles, unit)


def alarms(history: History) -> set[str]:
    return {f.code for f in of_history(history) if f.severity != "note"}


def noisy(level: Array, rng: np.random.Generator, size: float) -> Array:
    """Return losses of small batches: a gamma, as a mean of squares is, about their level."""
    shape = 1 / size**2
    return level * rng.gamma(shape, 1 / shape, np.shape(level))


def logistic(rate: float, *, seed: int, steps: int = 300, classes: int = 5) -> History:
    """Return the log of softmax regression on all rows of clouds that overlap, from weights of 0."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, 200)
    x = 3.0 * (rng.standard_normal((classes, 12))[y] + 1.5 * rng.standard_normal((200, 12)))
    w, losses = np.zeros((12, classes)), []
    for _ in range(steps):
        z = x @ w
        z -= z.max(1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        losses.append(float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(200), y])))
        p[np.arange(200), y] -= 1.0
        w -= rate * x.T @ p / 200
    return log(np.arange(1, steps + 1), np.array(losses), rate, epoch=1)


@pytest.mark.parametrize("seed", range(6))
def test_steps_beyond_what_the_curvature_bears_oscillate_and_shorter_ones_do_not(seed: int) -> None:
    for rate in (0.5, 1.0):
        assert "oscillation" in alarms(logistic(rate, seed=seed))
    assert alarms(logistic(0.003, seed=seed)) == set()


def test_noise_alone_is_rarely_called_a_swing() -> None:
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(1000):
        e, phi = rng.standard_normal(int(rng.integers(24, 300))), rng.choice([0.0, 0.4])
        for i in range(1, len(e)):
            e[i] += phi * e[i - 1]
        called += _anticorrelation(np.exp(0.3 * e)) is not None
    assert called <= 5  # p <= 1e-3 each


def test_a_swing_that_loses_its_phase_is_one() -> None:
    rng = np.random.default_rng(1)
    e = rng.standard_normal(200)
    for i in range(2, 200):
        e[i] += 1.0 * e[i - 1] - 0.9 * e[i - 2]  # AR(2) with a period of 2π/arccos(0.527) ≈ 6.2
    found = _anticorrelation(e)
    assert found is not None
    assert found[0] == 6.0


@pytest.mark.slow
@pytest.mark.parametrize("size", [0.1, 0.2])
def test_a_floor_under_heavy_noise_is_found_and_a_slow_fall_is_none(size: float) -> None:
    step = np.arange(1, 301) * 10.0
    found = missed = 0
    for seed in range(40):
        rng = np.random.default_rng([3, seed])
        found += "noise-floor" in alarms(log(step, noisy(1.0 + 1.5 * np.exp(-step / 40), rng, size), 0.1))
        missed += "noise-floor" in alarms(
            log(step, noisy(2.5 * (step / 10) ** -rng.uniform(0.08, 0.3), rng, size), 0.1)
        )
    assert found >= 30
    assert missed <= 2


@pytest.mark.parametrize("size", [0.1, 0.2])
def test_a_late_cut_under_heavy_noise_is_found_and_one_in_time_is_none(size: float) -> None:
    step = np.arange(1, 301) * 10.0
    late = wrong = 0
    for seed in range(40):
        rng = np.random.default_rng([4, seed])
        held = 1.0 + 1.5 * np.exp(-step / 40)
        late += "cut-late" in alarms(
            log(step, noisy(np.where(step < 2700, held, 0.75), rng, size), np.where(step < 2700, 0.1, 0.01))
        )
        falls = 2.5 * (step / 10) ** -0.2
        wrong += "cut-late" in alarms(
            log(step, noisy(np.where(step < 2400, falls, 0.8 * falls), rng, size), np.where(step < 2400, 0.1, 0.01))
        )
    assert late >= 30
    assert wrong <= 2


def test_a_decay_made_for_epochs_but_stepped_per_batch_is_told_by_where_it_ends() -> None:
    step, rng = np.arange(5, 935, 5), np.random.default_rng(5)
    loss = 0.8 + np.exp(-step / 15) + 0.05 * rng.standard_normal(len(step))
    for lr in (0.1 * 0.1 ** (step // 30), 0.1 * 0.9**step):
        found = [f for f in of_history(log(step, loss, lr, epoch=62)) if f.code == "wrong-stepping"]
        assert [f.subject for f in found] == ["per step"]
    for lr in (0.1 * 0.1 ** (step // 300), 0.1 * 0.9 ** (step // 62)):
        assert "wrong-stepping" not in alarms(log(step, loss, lr, epoch=62))


def test_a_validation_loss_that_rises_only_after_a_resume_is_the_resumes() -> None:
    rng = np.random.default_rng(6)
    step = np.concatenate([np.arange(1, 561), np.arange(501, 1001)]) * 1.0
    train = 2.4 * np.exp(-step / 40) + 0.002 * rng.gamma(4, 0.25, len(step))
    at = step % 40 == 0
    sound = 0.05 + 0.4 * np.exp(-step[at] / 40) + 3e-4 * rng.standard_normal(at.sum())
    lost = sound + np.where(np.arange(at.sum()) >= 14, 0.012, 0.0)
    rates = 0.005 * (1 + np.cos(np.pi * step / 1000))
    assert "wrong-resume" in alarms(log(step, train, rates, val=(step[at], lost)))
    assert alarms(log(step, train, rates, val=(step[at], sound))) == set()
    rising = sound + np.where(step[at] > 200, (step[at] - 200) * 6e-5, 0.0)  # had begun before
    assert "wrong-resume" not in alarms(log(step, train, rates, val=(step[at], rising)))


@pytest.mark.parametrize("ahead", [0.0, 0.5, 1.0])
def test_a_cosine_logged_after_its_step_is_one(ahead: float) -> None:
    t = np.arange(13.0)
    found = shape_of(Line(t, 0.025 * (1 + np.cos(np.pi * (t + ahead) / 39))))
    assert found.name == "cosine"
    assert found.length == pytest.approx(39, rel=0.02)


def test_an_octaves_progress_has_the_error_that_it_says() -> None:
    rng, step = np.random.default_rng(7), np.arange(10.0, 310.0)
    found = [octave(Line(step, 2 - 0.1 * np.log2(step) + 0.2 * rng.standard_normal(300)), 0.0) for _ in range(300)]
    drops, errors = np.array(found).T
    assert drops.mean() == pytest.approx(0.1, abs=4 * drops.std() / np.sqrt(300))
    assert errors.mean() == pytest.approx(drops.std(), rel=0.15)
    assert octave(Line(step[:4], step[:4]), 0.0) is None


def growing(n: int, factor: float, rng: np.random.Generator) -> Array:
    return 2.0 * factor ** np.arange(n) * rng.lognormal(0.0, 0.3 * np.log(factor), n)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "factor"), [(6, 100.0), (12, 8.0), (40, 3.0), (150, 1.5)])
def test_a_loss_that_grows_by_a_factor_a_point_diverges_however_few_the_points(
    n: int, factor: float, seed: int
) -> None:
    rng = np.random.default_rng([8, seed])
    step = np.arange(1, n + 1)
    assert "divergence" in alarms(log(step, growing(n, factor, rng), 0.1))
    learned = np.concatenate([2.0 * np.arange(1, n + 1) ** -0.4 * rng.lognormal(0, 0.05, n), growing(n, factor, rng)])
    assert "divergence" in alarms(log(np.arange(1, 2 * n + 1), learned, 0.1))
    assert "divergence" not in alarms(log(step, growing(n, factor, rng)[::-1], 0.1))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("rate", [0.5, 2.0, 8.0])
def test_a_loss_that_its_long_steps_keep_high_but_bounded_oscillates_and_nothing_else(rate: float, seed: int) -> None:
    history = logistic(rate, seed=seed)
    found = alarms(history)
    assert "oscillation" in found
    assert not found & {"divergence", "warmup-missing"}


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_that_went_away_when_the_rate_had_come_up_diverges_though_it_rattles(seed: int) -> None:
    rng = np.random.default_rng([9, seed])
    step = np.arange(1, 121)
    level = np.where(step < 40, 3.3 * step**-0.05, 3.0 * np.minimum(1.2 ** np.maximum(step - 39, 0), 40.0))
    history = log(step, noisy(level, rng, 0.2), np.minimum(step / 50, 1.0))
    assert "divergence" in alarms(history)


def test_a_burst_in_the_first_steps_is_a_warm_up_missing_only_if_it_is_of_the_first_steps() -> None:
    step = np.arange(1, 301)
    for seed in range(10):
        rng = np.random.default_rng([10, seed])
        sound = 0.3 + 2.0 * step**-0.5
        burst = sound + 8.0 * (step > 1) * np.exp(-step / 4)
        assert "warmup-missing" in alarms(log(step, noisy(burst, rng, 0.05), 0.1 * 0.99**step))
        e = rng.standard_normal(300)
        for i in range(1, 300):
            e[i] += 0.7 * e[i - 1]
        swings = 2.3 + 0.5 * e - 0.5 * e[0]  # as high later as at first
        assert "warmup-missing" not in alarms(log(step, swings, 0.1))


def test_a_floor_that_the_log_begins_at_is_found() -> None:
    step = np.arange(1, 201) * 15.0
    found = sum(
        "noise-floor" in alarms(log(step, noisy(np.full(200, 2.3), np.random.default_rng([11, s]), 0.11), 0.1))
        for s in range(20)
    )
    assert found >= 18


@pytest.mark.parametrize("seed", range(5))
def test_what_learns_nothing_is_a_plateau_whatever_hides_it(seed: int) -> None:
    rng = np.random.default_rng([12, seed])
    epoch = np.arange(24)
    even = 0.664 * (1 + 0.001 * rng.standard_normal(24))  # means over all examples, at no level that guessing has
    assert alarms(log(epoch, even, 1e-7, unit="epoch")) == {"plateau"}
    biases = math.log(2) - 0.008 * (1 - np.exp(-epoch / 8)) + 2e-4 * rng.standard_normal(24)
    assert alarms(log(epoch, biases, 1e-3, unit="epoch")) == {"plateau"}  # how frequent the classes are, no more
    step = np.arange(2, 502, 2)
    held = np.arange(20, 520, 20)
    small = noisy(np.full(250, 1.03), rng, 0.2)
    assert "plateau" in alarms(log(step, small, 1e-8, val=(held, 1.1 - 1e-6 * held)))
    burst = math.log(10) * (1 + 0.005 * rng.standard_normal(250)) + 1e6 * np.exp(-step / 3.0) * (step > 2)
    assert "plateau" not in alarms(log(step, burst, 0.04 * 0.99**step))
    falls = 2.3 - 0.004 * epoch + 0.002 * rng.standard_normal(24)
    assert "plateau" not in alarms(log(epoch, 0.9 * falls, 1e-3, unit="epoch"))


@pytest.mark.parametrize("ends", [1.4, 1.61, 1.8, 2.08, 2.3, 2.49, 2.71])
def test_a_fine_tuning_that_falls_by_little_is_no_plateau_at_whatever_number_it_ends(ends: float) -> None:
    step, held = np.arange(10, 1501, 10), np.arange(100, 1501, 100)
    for seed in range(4):
        rng = np.random.default_rng([13, seed])
        falls = ends * (1.0 + 0.045 * (1.0 - step / 1500.0) ** 1.5) + 0.02 * rng.standard_normal(150)
        seen = ends * (1.01 + 0.045 * (1.0 - held / 1500.0) ** 1.5) + 0.001 * rng.standard_normal(15)
        assert "plateau" not in alarms(log(step, falls, 2e-5 * (1.0 - step / 1500.0), val=(held, seen)))
        assert "plateau" not in alarms(log(step, falls, 2e-5 * (1.0 - step / 1500.0)))
        early, later = (fall * (1.0 - np.exp(-x / 150.0)) for fall, x in ((0.05, step), (0.05, held)))
        noise = 0.04 * rng.standard_normal(150)  # which hides the fall in the training loss, and not in the other
        quiet = ends - later + 0.001 * rng.standard_normal(15)
        assert "plateau" not in alarms(log(step, ends - early + noise, 2e-5, val=(held, quiet)))


def test_a_network_is_called_dead_only_where_the_log_shows_that_it_did_not_move() -> None:
    step = np.arange(10, 1501, 10)
    rng = np.random.default_rng(14)

    def told(loss: Array) -> Finding:
        return next(f for f in of_history(log(step, loss, 1e-3)) if f.code == "plateau")

    dead = told(1.52 + 0.005 * rng.standard_normal(150))
    assert dead.severity == "fault"
    assert dead.verdict.startswith("The loss has not left its first value, 1.52")
    unsure = told(1.52 - 0.03 * (1.0 - np.exp(-step / 150.0)) + 0.04 * rng.standard_normal(150))
    assert unsure.severity == "warning"
    assert unsure.verdict.startswith("The loss cannot be told to have left its first value, 1.")
    fell = told(2.303 + 0.1 * np.exp(-step / 60.0) + 0.01 * rng.standard_normal(150))
    assert fell.severity == "warning"
    assert re.fullmatch(
        r"The run has learned nothing if there are 10 classes: the loss began at 2\.3\d* and stands at 2\.30\d*, about that of "
        r"guessing among so many\. Then the network is dead, cut off from its data, or the rate far too small\.",
        fell.verdict,
    )


def test_a_slow_fall_to_the_loss_of_guessing_is_a_plateau_where_the_accuracy_says_so() -> None:
    epoch = np.arange(14.0)
    bare = log(epoch, math.log(2) + 0.01 * np.exp(-epoch / 3.0), 1e-3, unit="epoch")
    assert "plateau" not in alarms(bare)
    for accuracy, found in ((0.507, True), (0.7, False)):
        series = {**bare.series, "val_acc": Series("val_acc", epoch, np.full(14, accuracy))}
        told = History("run", series, {**bare.roles, "validation accuracy": "val_acc"}, "epoch")
        assert ("plateau" in alarms(told)) is found
