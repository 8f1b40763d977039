"""The two engines beside each other; dropout and GELU; the pieces of the native one against independent values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit
from scipy.special import erfc

from dwindle.errors import InvalidValueError, MissingExtraError, UnknownNameError
from dwindle.population import MLP, SGD, Adam, Data, Examples, Rates, activations, native, train, trainer
from dwindle.population.dropout import draw, is_kept, member_key
from dwindle.population.tables import carried_scale

OPTIMISERS = [SGD(), SGD(0.9), SGD(0.9, nesterov=True), Adam()]


def job(mlp: MLP, optimiser=SGD(), *, members: int = 3, steps: int = 30, rows: int = 41, batch_size: int = 7, **named):  # noqa: B008
    draw_ = np.random.default_rng(5)
    x = draw_.standard_normal((rows, mlp.sizes[0]))
    y = (
        draw_.standard_normal((rows, mlp.sizes[-1]))
        if mlp.loss == "squared"
        else draw_.integers(0, mlp.sizes[-1], rows)
    )
    # Rates at which nothing diverges: two roundings of a chaos have nothing in common.
    part, calm = Examples(x, y), 0.5 / max(mlp.sizes)
    top = 0.02 if isinstance(optimiser, Adam) else calm * (1.0 - optimiser.momentum)
    lr = draw_.uniform(0.1 * top, top, (members, steps))
    call = {"seeds": range(members), "batch_size": batch_size, "evaluate_every": 11, **named}
    return train(mlp, optimiser, Rates(lr, 1.0 - 0.3 * lr, np.full(lr.shape, 0.1)), Data(part, part, part), **call)


def numbers(result):
    curves = (result.train_loss, result.validation_loss, result.test_loss, result.squared_norm, result.test_accuracy)
    return [*result.weights, *result.biases, *curves]


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
@settings(max_examples=15, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 150), min_size=1, max_size=3),
    outputs=st.integers(2, 20),
    activation=st.sampled_from(["relu", "sigmoid", "tanh", "gelu"]),
    loss=st.sampled_from(["softmax", "sigmoid", "squared"]),
    batch_size=st.integers(1, 41),
    dropout=st.sampled_from([0.0, 0.3]),
    own_order=st.booleans(),
)
def test_the_engines_agree_to_rounding(sizes, outputs, activation, loss, optimiser, batch_size, dropout, own_order):
    mlp = MLP((*sizes, outputs), activation, loss, dropout if len(sizes) > 1 else 0.0)
    call = {"batch_size": batch_size, "own_order": own_order, "dtype": "float64"}
    ours, theirs = (job(mlp, optimiser, engine=engine, **call) for engine in ("native", "numpy"))
    assert (ours.engine, theirs.engine) == ("native", "numpy")
    for one, other in zip(numbers(ours), numbers(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
def test_they_agree_in_float32_too(optimiser):
    mlp = MLP((37, 50, 18, 9), "gelu", dropout=0.2)
    ours, theirs = (job(mlp, optimiser, engine=engine) for engine in ("native", "numpy"))
    for one, other in zip(numbers(ours), numbers(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_shared_targets_of_examples_without_labels_have_no_accuracy():
    for engine in ("native", "numpy"):
        assert np.isnan(job(MLP((4, 3, 2), loss="squared"), engine=engine).validation_accuracy).all()


# --- the processors: vectors of other lengths, and fewer registers

AGREE = """
import sys; sys.path.insert(0, "tests")
from test_population_engines import MLP, OPTIMISERS, job, numbers
from dwindle.population import tiles
import numpy as np
for dtype, near in (("float64", 1e-9), ("float32", 5e-4)):
    for optimiser in (OPTIMISERS[0], OPTIMISERS[3]):
        both = [job(MLP((37, 50, 18, 9)), optimiser, engine=engine, dtype=dtype) for engine in ("native", "numpy")]
        for one, other in zip(*map(numbers, both), strict=True):
            np.testing.assert_allclose(one, other, rtol=near, atol=near)
print(tiles.VECTOR, tiles.DOT_ROWS)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("cpu", "features", "says"), [("generic", "", "16 3"), ("haswell", "+avx2,+fma", "32 3")])
def test_a_processor_with_shorter_vectors_gives_the_same_to_rounding(cpu, features, says, tmp_path):
    if cpu == "haswell" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    told = {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features, "NUMBA_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", AGREE], capture_output=True, text=True, check=False, env={**os.environ, **told}
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == says


# --- the choice


def test_without_numba_numpy_trains_and_native_says_what_to_install(monkeypatch):
    mlp = MLP((6, 5, 3))
    assert job(mlp).engine == "native"
    monkeypatch.setattr(trainer, "find_spec", lambda name: None)
    assert job(mlp).engine == "numpy"
    with pytest.raises(MissingExtraError, match=r"dwindle\[fast\]"):
        job(mlp, engine="native")


def test_large_layers_under_large_batches_are_left_to_blas():
    large = {"rows": 600, "batch_size": 512, "steps": 1, "members": 1}
    assert job(MLP((513, 512, 3)), **large).engine == "numpy"
    assert job(MLP((513, 512, 3)), **large, engine="native").engine == "native"
    assert job(MLP((513, 500, 3)), **large).engine == "native"
    assert job(MLP((513, 512, 3)), **{**large, "batch_size": 500}).engine == "native"


def test_an_unknown_engine_is_refused():
    with pytest.raises(UnknownNameError, match="native"):
        job(MLP((6, 5, 3)), engine="nativ")


# --- dropout


def test_the_draws_are_splitmix64():
    # Of seed 1234567 the published C code gives these.
    first = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert draw(np.array([1234567], np.uint64), np.arange(5)).tolist() == first


def test_masks_follow_from_seed_step_and_place_and_keep_their_share():
    keys = np.array([member_key(seed) for seed in (3, 4)], np.uint64)
    masks = is_kept(keys, 7, 0, 200, 100, 0.3)
    np.testing.assert_array_equal(masks[1:], is_kept(keys[1:], 7, 0, 200, 100, 0.3))
    np.testing.assert_array_equal(masks[:, 50:], is_kept(keys, 7, 5000, 150, 100, 0.3))
    for other in (masks[1], is_kept(keys[:1], 8, 0, 200, 100, 0.3)[0], is_kept(keys[:1], 7, 20_000, 200, 100, 0.3)[0]):
        both = (masks[0] & other).mean()
        assert both == pytest.approx(0.49, abs=0.015)  # as of independent draws: ±4 standard deviations
    for axis in (0, 1):
        spread = masks[0].mean(axis=axis).std() / np.sqrt(0.21 / masks.shape[1 + axis])
        assert 0.75 < spread < 1.25
    assert masks.mean() == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_dropout_changes_training_but_no_evaluation(engine):
    plain, mlp = MLP((6, 50, 3), "tanh"), MLP((6, 50, 3), "tanh", dropout=0.5)
    ours, without = job(mlp, engine=engine), job(plain, engine=engine)
    np.testing.assert_array_equal(ours.train_loss[:, 0], without.train_loss[:, 0])
    assert (ours.train_loss[:, 1:] != without.train_loss[:, 1:]).all()
    again = job(mlp, engine=engine)
    np.testing.assert_array_equal(ours.weights[0], again.weights[0])


def test_dropout_out_of_range_or_without_hidden_units_is_refused():
    for bad in (1.0, -0.1, float("nan"), "half"):
        with pytest.raises(InvalidValueError, match="dropout"):
            MLP((6, 5, 3), dropout=bad)
    with pytest.raises(InvalidValueError, match="hidden units"):
        MLP((6, 3), dropout=0.1)


# --- the compiled functions


@njit
def _each(function, x):
    y = np.empty_like(x)
    for i in range(len(x)):
        y[i] = function(x[i])
    return y


@njit
def exp(x):
    return activations._exp(x)


@njit
def tanh(x):
    return activations._tanh(x)


@njit
def tails(x):
    y = np.empty_like(x)
    for i in range(len(x)):
        y[i] = activations._tail(x[i], activations._exp(x.dtype.type(-0.5) * x[i] * x[i]))
    return y


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exp_tanh_and_the_tail_of_the_bell_are_right_to_some_units_of_the_last_place(dtype):
    draw_, eps = np.random.default_rng(0), float(np.finfo(dtype).eps)
    top = 87.0 if dtype == "float32" else 700.0
    x = draw_.uniform(-top, top, 50_000).astype(dtype)
    np.testing.assert_allclose(_each(exp, x), np.exp(x.astype(np.longdouble)).astype(float), rtol=2 * eps)
    x = np.concatenate(
        [draw_.uniform(-1, 1, 30_000), draw_.uniform(-20, 20, 9000), 10.0 ** draw_.uniform(-30, 0, 9000)]
    )
    x = x.astype(dtype)
    np.testing.assert_allclose(_each(tanh, x), np.tanh(x.astype(np.longdouble)).astype(float), rtol=3 * eps)
    x = draw_.uniform(-9, 9, 50_000).astype(dtype)
    np.testing.assert_allclose(tails(x), 0.5 * erfc(np.abs(x.astype(float)) / np.sqrt(2)), rtol=0, atol=3 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_a_number_stays_so_and_nothing_else_becomes_it(dtype):
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0], dtype)
    for function in (exp, tanh):
        assert np.isnan(_each(function, x)).tolist() == [True, False, False, False, False, False]
    np.testing.assert_array_equal(_each(tanh, x)[1:], [1.0, -1.0, 1.0, -1.0, 0.0])


# --- what fades


@pytest.mark.parametrize("optimiser", [SGD(0.5), Adam(0.5, 0.5)], ids=str)
def test_what_the_optimiser_keeps_fades_to_nothing(optimiser):
    """Without gradient means fade; they must not stay for ever at numbers too small for the usual form, which are slow."""
    part, steps = Examples(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), np.array([0, 1])), 140
    given_ = trainer._checked(
        MLP((3, 20, 2)), optimiser, Rates(np.full((1, steps), 0.01)), Data(part), [1], 1, steps, False, 0, "float32"
    )
    shared = native.Native(given_)
    member = native._One(shared, 0, shared.room())
    member.run(0, np.array([0]), np.arange(2))
    kept = [member.state.first[: 20 * 16], member.state.second[: 20 * 16]]
    assert np.count_nonzero(kept[0])
    member.run(1, np.ones(steps - 1, int), np.arange(steps))
    assert not any(np.count_nonzero(each) for each in kept)
    assert np.float32(0.5) ** np.float32(steps) > 0.0  # they were still there, were they not let go


@pytest.mark.law
@given(st.lists(st.sampled_from([1.0, 0.999, 0.5, -0.5, 0.0, 1e-7, 3.0]), min_size=1, max_size=60), st.integers(1, 3))
def test_scales_are_those_of_a_loop_over_the_steps_to_the_bit(factors, members):
    factor = np.stack([np.roll(factors, k) for k in range(members)], axis=1)
    factor[:, 0] = 0.9999  # stays within
    scale, fold = carried_scale(factor)
    for k in range(members):
        s = 1.0
        for step in range(len(factor)):
            carried = s * factor[step, k]
            within = 2.0**-20 <= carried <= 2.0**20
            s = carried if within else 1.0
            assert (scale[step + 1, k], fold[step, k]) == (s, 1.0 if within else carried)
