"""Populations, on both engines: against a readable float64 loop, and each member against itself alone."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, ndtr, softmax

from dwindle import population
from dwindle.errors import DataError, DwindleError, InvalidValueError, UnknownNameError
from dwindle.population import (
    MLP,
    SGD,
    Adam,
    Data,
    Examples,
    Rates,
    StoppedError,
    blas,
    epoch_order,
    initial_weights,
    kernels,
    steps_per_epoch,
    trainer,
)
from dwindle.population import engine as numpy_engine
from dwindle.population.dropout import is_kept, member_key
from dwindle.population.tables import carried_scale

ENGINE = "auto"


@pytest.fixture(autouse=True, scope="module", params=["native", "numpy"])
def engine(request):
    """Let ``train`` below use one engine after the other in all tests of this file."""
    global ENGINE
    ENGINE = request.param
    return request.param


def train(*given, **named):
    result = population.train(*given, engine=ENGINE, **named)
    assert result.engine == ENGINE
    return result


# The value, and the derivative, of z.
ACTIVATIONS = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: (z > 0.0).astype(float)),
    "sigmoid": (expit, lambda z: expit(z) * expit(-z)),
    "tanh": (np.tanh, lambda z: 1.0 / np.cosh(z) ** 2),
    "gelu": (lambda z: z * ndtr(z), lambda z: ndtr(z) + z * np.exp(-z * z / 2.0) / np.sqrt(2.0 * np.pi)),
}
LOSSES = {
    "softmax": (lambda z: softmax(z, axis=1), lambda z, t: -(t * log_softmax(z, axis=1)).sum(axis=1).mean()),
    "sigmoid": (expit, lambda z, t: (np.logaddexp(0.0, z) - t * z).sum(axis=1).mean()),
    "squared": (lambda z: z, lambda z, t: 0.5 * ((z - t) ** 2).sum(axis=1).mean()),
}
OPTIMISERS = [SGD(), SGD(0.9), SGD(0.9, nesterov=True), Adam(), Adam(beta1=0.0, beta2=0.9, eps=1e-3)]
DECAYS = ["none", "l2", "shrink", "both"]


def examples(rows: int, mlp: MLP, seed: int = 0) -> Examples:
    draw = np.random.default_rng(seed)
    x = draw.standard_normal((rows, mlp.sizes[0])).astype(np.float32)
    if mlp.loss == "squared":
        return Examples(x, draw.standard_normal((rows, mlp.sizes[-1])).astype(np.float32))
    return Examples(x, draw.integers(0, mlp.sizes[-1], rows))


def rates(members: int, steps: int, decay: str = "both", seed: int = 0, top: float = 0.1) -> Rates:
    draw = np.random.default_rng(seed)
    lr = draw.uniform(0.1 * top, top, (members, steps))
    return Rates(
        lr,
        shrink=1.0 - lr * draw.uniform(0.0, 0.5, (members, 1)) if decay in ("shrink", "both") else None,
        l2=np.broadcast_to(draw.uniform(0.0, 0.3, (members, 1)), lr.shape) if decay in ("l2", "both") else None,
    )


def cut(table: Rates, rows: list[int]) -> Rates:
    return Rates(table.lr[rows], table.shrink[rows], table.l2[rows])


def targets(y: np.ndarray, outputs: int) -> np.ndarray:
    return np.eye(outputs)[y] if y.ndim == 1 else y.astype(float)


def passed(mlp: MLP, weights, biases, x, masks=None):
    """Return (activations of every layer, the input first and z last; the derivative of each by its z)."""
    act, slope = ACTIVATIONS[mlp.activation]
    layers, derivatives = [x.astype(float)], [None]
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        z = layers[-1] @ w + b
        if i == len(weights) - 1:
            layers.append(z)
        else:
            by = 1.0 if masks is None else masks[i] / (1.0 - mlp.dropout)
            layers.append(act(z) * by)
            derivatives.append(slope(z) * by)
    return layers, derivatives


def slopes(mlp: MLP, weights, biases, x, t, masks=None):
    layers, derivatives = passed(mlp, weights, biases, x, masks)
    delta = (LOSSES[mlp.loss][0](layers[-1]) - t) / len(x)
    grads_w, grads_b = [], []
    for i in reversed(range(len(weights))):
        grads_w.insert(0, layers[i].T @ delta)
        grads_b.insert(0, delta.sum(axis=0))
        if i:
            delta = (delta @ weights[i].T) * derivatives[i]
    return grads_w, grads_b


def masks_of(mlp: MLP, seed: int, step: int, rows: int, batch_size: int):
    """What dropout keeps in each hidden layer."""
    if not mlp.dropout:
        return None
    key, hidden = np.array([member_key(seed)], np.uint64), mlp.sizes[1:-1]
    before = np.cumsum([0, *hidden])
    return [is_kept(key, step, batch_size * before[i], rows, n, mlp.dropout)[0] for i, n in enumerate(hidden)]


def direction(optimiser, h, state, t):
    if isinstance(optimiser, SGD):
        state["v"] = optimiser.momentum * state.get("v", 0.0) + h
        return h + optimiser.momentum * state["v"] if optimiser.nesterov else state["v"]
    state["m"] = optimiser.beta1 * state.get("m", 0.0) + (1.0 - optimiser.beta1) * h
    state["v"] = optimiser.beta2 * state.get("v", 0.0) + (1.0 - optimiser.beta2) * h * h
    m_hat, v_hat = state["m"] / (1.0 - optimiser.beta1**t), state["v"] / (1.0 - optimiser.beta2**t)
    return m_hat / (np.sqrt(v_hat) + optimiser.eps)


def reference(mlp, optimiser, table, part, k, *, seed, order_seed, batch_size, weights=None):
    """One member in plain float64: returns its last weights and biases."""
    weights = initial_weights(mlp, seed) if weights is None else weights
    biases = [np.zeros(w.shape[1]) for w in weights]
    memory = [{} for _ in range(2 * len(weights))]
    per_epoch, t = steps_per_epoch(part.rows, batch_size), targets(part.y, mlp.sizes[-1])
    for step in range(table.steps):
        epoch, batch = divmod(step, per_epoch)
        picked = epoch_order(part.rows, order_seed, epoch)[batch * batch_size : (batch + 1) * batch_size]
        masks = masks_of(mlp, seed, step, len(picked), batch_size)
        grads_w, grads_b = slopes(mlp, weights, biases, part.x[picked], t[picked], masks)
        lr, shrink, l2 = table.lr[k, step], table.shrink[k, step], table.l2[k, step]
        for i, w in enumerate(weights):
            u = direction(optimiser, grads_w[i] + l2 * w, memory[2 * i], step + 1)
            weights[i] = shrink * w - lr * u
            biases[i] = biases[i] - lr * direction(optimiser, grads_b[i], memory[2 * i + 1], step + 1)
    return weights, biases


# --- the reference itself, and ours against it


@pytest.mark.parametrize(("activation", "loss"), list(product(ACTIVATIONS, LOSSES)))
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_references_gradient_is_the_finite_difference_of_its_loss(activation, loss, dropout):
    mlp = MLP((5, 4, 3, 2), activation, loss, dropout)
    part = examples(7, mlp)
    t = targets(part.y, 2)
    draw = np.random.default_rng(3)
    weights = initial_weights(mlp, 1)
    biases = [draw.standard_normal(w.shape[1]) for w in weights]
    masks = masks_of(mlp, 1, 0, 7, 7)
    grads = [g for both in slopes(mlp, weights, biases, part.x, t, masks) for g in both]

    for array, grad in zip([*weights, *biases], grads, strict=True):
        for place in np.ndindex(array.shape):
            kept, ends = array[place], []
            for h in (1e-6, -1e-6):
                array[place] = kept + h
                ends.append(LOSSES[loss][1](passed(mlp, weights, biases, part.x, masks)[0][-1], t))
            array[place] = kept
            assert grad[place] == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-8)


@pytest.mark.parametrize(("optimiser", "decay"), list(product(OPTIMISERS, DECAYS)), ids=str)
@pytest.mark.parametrize("own_order", [False, True])
def test_every_optimiser_and_decay_follows_the_reference(optimiser, decay, own_order):
    mlp = MLP((6, 7, 3), activation="tanh")
    part = examples(23, mlp)  # 23 = 4 * 5 + 3: the last batch of an epoch is smaller
    table = rates(3, 60, decay, top=0.02 if isinstance(optimiser, Adam) else 0.1)
    call = {"seeds": [4, 5, 6], "batch_size": 5, "evaluate_every": 60, "own_order": own_order, "order_seed": 9}
    double = train(mlp, optimiser, table, Data(part), dtype="float64", **call)
    single = train(mlp, optimiser, table, Data(part), **call)
    assert single.weights[0].dtype == np.float32
    for k, seed in enumerate([4, 5, 6]):
        order_seed = seed if own_order else 9
        weights, biases = reference(mlp, optimiser, table, part, k, seed=seed, order_seed=order_seed, batch_size=5)
        for i in range(2):
            for ours, rounded, theirs in (
                (double.weights[i][k], single.weights[i][k], weights[i]),
                (double.biases[i][k], single.biases[i][k], biases[i]),
            ):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-11)
                np.testing.assert_allclose(rounded, theirs, rtol=0, atol=2e-5)


@pytest.mark.parametrize(("activation", "loss"), list(product(ACTIVATIONS, LOSSES)))
@pytest.mark.parametrize(
    ("sizes", "dropout"),
    [
        ((6, 3), 0.0),
        ((6, 5, 3), 0.0),
        ((6, 5, 4, 7, 2), 0.0),
        ((37, 50, 18, 9), 0.0),
        ((1, 1, 2), 0.0),
        ((6, 5, 4, 7, 2), 0.25),
    ],
)
def test_every_network_follows_the_reference(activation, loss, sizes, dropout):
    mlp = MLP(sizes, activation, loss, dropout)
    part, table = examples(19, mlp), rates(2, 50)  # 19 = 3 * 6 + 1: a last batch of one
    result = train(
        mlp, SGD(0.5), table, Data(part), seeds=[1, 2], batch_size=6, evaluate_every=7, order_seed=1, dtype="float64"
    )
    for k in range(2):
        weights, biases = reference(mlp, SGD(0.5), table, part, k, seed=k + 1, order_seed=1, batch_size=6)
        for i in range(len(weights)):
            np.testing.assert_allclose(result.weights[i][k], weights[i], rtol=0, atol=1e-11)
            np.testing.assert_allclose(result.biases[i][k], biases[i], rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("loss", "outputs"), [("softmax", 3), ("sigmoid", 1), ("sigmoid", 3), ("squared", 1), ("squared", 3)]
)
def test_curves_are_the_loss_and_accuracy_of_the_weights(loss, outputs):
    mlp = MLP((6, 5, outputs), "sigmoid", loss)
    parts = [examples(rows, mlp if outputs > 1 or loss == "squared" else MLP((6, 2))) for rows in (40, 300, 550)]
    # 300 and 550 examples are evaluated in blocks of 256 and what is left.
    result = train(
        mlp, SGD(), rates(2, 30), Data(*parts), seeds=[1, 2], batch_size=8, evaluate_every=12, dtype="float64"
    )
    assert result.step.tolist() == [0, 12, 24, 30]
    ends = [result.train_loss[:, -1], result.validation_loss[:, -1], result.test_loss]
    shares = [result.train_accuracy[:, -1], result.validation_accuracy[:, -1], result.test_accuracy]
    for part, found, right in zip(parts, ends, shares, strict=True):
        for k in range(2):
            z = passed(mlp, [w[k] for w in result.weights], [b[k] for b in result.biases], part.x)[0][-1]
            t = part.y[:, None] if outputs == 1 and part.y.ndim == 1 else targets(part.y, outputs)
            assert found[k] == pytest.approx(LOSSES[loss][1](z, t), rel=1e-12)
            if loss == "squared":
                assert np.isnan(right[k])
            else:
                answer = z.argmax(axis=1) if outputs > 1 else z[:, 0] > 0
                assert right[k] == pytest.approx((answer == part.y).mean(), rel=1e-12)
    squares = sum((w.astype(float) ** 2).sum(axis=(1, 2)) for w in result.weights)
    np.testing.assert_allclose(result.squared_norm[:, -1], squares, rtol=1e-12)


def test_float_targets_say_the_same_as_labels():
    mlp = MLP((6, 5, 3))
    part = examples(30, mlp)
    call = {"seeds": [1], "batch_size": 8, "evaluate_every": 10}
    by_label = train(mlp, SGD(), rates(1, 20), Data(part), **call)
    by_target = train(mlp, SGD(), rates(1, 20), Data(Examples(part.x, np.eye(3)[part.y])), **call)
    np.testing.assert_array_equal(by_label.train_loss, by_target.train_loss)
    np.testing.assert_array_equal(by_label.train_accuracy, by_target.train_accuracy)


def test_it_learns():
    draw = np.random.default_rng(0)
    y = draw.integers(0, 3, 300)
    x = draw.standard_normal((300, 8)) + 3.0 * np.eye(8)[y]
    data = Data(Examples(x[:200], y[:200]), Examples(x[200:], y[200:]), Examples(x[200:], y[200:]))
    table = Rates(np.array([[0.05] * 200, [0.0] * 200]))
    result = train(MLP((8, 16, 3)), SGD(0.9), table, data, seeds=[3, 3], batch_size=20, evaluate_every=50)
    assert result.train_accuracy[0, -1] > 0.95
    assert result.test_accuracy[0] > 0.9
    assert result.test_accuracy[0] == result.validation_accuracy[0, -1]
    assert len(set(result.train_loss[1])) == 1  # a rate of 0 learns nothing


# --- the decays


@pytest.mark.law
@given(st.lists(st.floats(-2.0, 2.0), min_size=1, max_size=40))
def test_scale_and_folds_multiply_to_the_product_of_the_factors(factors):
    factor = np.array(factors)[:, None]
    scale, fold = carried_scale(factor)
    assert ((scale >= 2.0**-20) & (scale <= 2.0**20)).all()
    ours = scale[1:] * np.cumprod(fold, axis=0)
    np.testing.assert_allclose(ours, np.cumprod(factor, axis=0), rtol=1e-13, atol=1e-290)


@pytest.mark.parametrize("optimiser", OPTIMISERS, ids=str)
@pytest.mark.parametrize(
    "low", [0.999, 0.3, -0.9]
)  # carried in the scale; folded into the weights now and then; always
def test_without_gradients_weights_shrink_by_the_product_and_biases_stay(optimiser, low):
    mlp = MLP((6, 5, 3))
    part = examples(20, mlp)
    shrink = np.random.default_rng(0).uniform(low, 1.0 if low > 0 else -0.5, (2, 40))
    lr = np.full((2, 10), 0.05)
    call = {"seeds": [1, 2], "batch_size": 7, "evaluate_every": 100}
    before = train(mlp, optimiser, Rates(lr), Data(part), **call)
    after = train(
        mlp,
        optimiser,
        Rates(np.hstack([lr, np.zeros((2, 40))]), np.hstack([np.ones((2, 10)), shrink])),
        Data(part),
        **call,
    )
    assert np.abs(before.biases[0]).min() > 0.0
    for w, w0, b, b0 in zip(after.weights, before.weights, after.biases, before.biases, strict=True):
        np.testing.assert_array_equal(b, b0)
        np.testing.assert_allclose(w, w0 * shrink.prod(axis=1)[:, None, None], rtol=5e-6 if low < 0 else 3e-7, atol=0)


def test_shrink_of_zero_empties_the_weights_and_learning_goes_on():
    mlp = MLP((6, 5, 3), "tanh")
    part = examples(20, mlp)
    table = rates(1, 30)
    shrink = table.shrink.copy()
    shrink[0, 10] = 0.0
    table = replace(table, shrink=shrink)
    result = train(mlp, SGD(), table, Data(part), seeds=[1], batch_size=7, evaluate_every=30, dtype="float64")
    weights, _ = reference(mlp, SGD(), table, part, 0, seed=1, order_seed=0, batch_size=7)
    np.testing.assert_allclose(result.weights[0][0], weights[0], rtol=0, atol=1e-12)


def test_a_decay_below_half_an_ulp_of_float32_is_not_lost():
    mlp, small, steps = MLP((6, 5, 3)), 1.0 - 2e-8, 400
    assert np.float32(small) == 1.0
    result = train(
        mlp,
        SGD(),
        Rates(np.zeros((1, steps)), np.full((1, steps), small)),
        Data(examples(8, mlp)),
        seeds=[1],
        batch_size=8,
        evaluate_every=steps,
    )
    assert result.squared_norm[0, -1] / result.squared_norm[0, 0] == pytest.approx(small ** (2 * steps), abs=1e-12)
    w0 = initial_weights(mlp, 1)[0].astype(np.float32)
    np.testing.assert_allclose(result.weights[0][0], w0 * small**steps, rtol=6e-8)


def test_for_plain_sgd_l2_and_decoupled_decay_are_the_same_update():
    mlp = MLP((6, 5, 3))
    part, lr = examples(20, mlp), rates(2, 60, "none").lr
    lam = np.array([[0.1], [0.01]])
    call = {"seeds": [1, 2], "batch_size": 7, "evaluate_every": 20}
    by_gradient = train(mlp, SGD(), Rates(lr, l2=np.broadcast_to(lam, lr.shape)), Data(part), **call)
    by_factor = train(mlp, SGD(), Rates(lr, shrink=1.0 - lr * lam), Data(part), **call)
    for ours, theirs in zip(by_gradient.weights, by_factor.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


# --- the law: a member is the same in any company


def assert_same(one, k, other, j):
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "squared_norm"):
        np.testing.assert_array_equal(getattr(one, name)[k], getattr(other, name)[j], err_msg=name)
    assert one.diverged[k] == other.diverged[j]
    for ours, theirs in zip((*one.weights, *one.biases), (*other.weights, *other.biases), strict=True):
        np.testing.assert_array_equal(ours[k], theirs[j])


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    outputs=st.integers(2, 11),
    activation=st.sampled_from(list(ACTIVATIONS)),
    loss=st.sampled_from(list(LOSSES)),
    optimiser=st.sampled_from(OPTIMISERS),
    decay=st.sampled_from(DECAYS),
    batch_size=st.integers(1, 30),
    dropout=st.sampled_from([0.0, 0.4]),
    own_order=st.booleans(),
    workers=st.integers(1, 3),
)
def test_a_member_is_bitwise_the_same_alone_and_among_others(
    sizes, outputs, activation, loss, optimiser, decay, batch_size, dropout, own_order, workers
):
    mlp = MLP((*sizes, outputs), activation, loss, dropout if len(sizes) > 1 else 0.0)
    part, table = examples(31, mlp), rates(7, 12, decay)
    data, seeds = Data(part, examples(9, mlp, 1)), [3, 1, 4, 1, 5, 9, 2]
    call = {"batch_size": batch_size, "evaluate_every": 5, "own_order": own_order}
    together = train(mlp, optimiser, table, data, seeds=seeds, workers=workers, **call)
    for k in (0, 3, 6):
        alone = train(mlp, optimiser, cut(table, [k]), data, seeds=[seeds[k]], **call)
        assert_same(together, k, alone, 0)
    if not own_order:  # members 1 and 3 differ in their rates alone
        twin = train(mlp, optimiser, cut(table, [1, 1]), data, seeds=[1, 1], **call)
        assert_same(twin, 0, twin, 1)


@pytest.mark.parametrize("optimiser", [SGD(0.9), Adam()], ids=str)
def test_the_law_at_the_size_of_the_main_job(optimiser, monkeypatch):
    mlp = MLP((784, 128, 10))  # large enough for BLAS to use threads of its own, if it were let
    part, table = examples(256, mlp), rates(5, 8, top=0.01)
    call = {"batch_size": 100, "evaluate_every": 4}
    together = train(mlp, optimiser, table, Data(part, part), seeds=range(5), workers=1, **call)
    monkeypatch.setattr(trainer, "_CHUNK_MOST", 2)
    monkeypatch.setattr(trainer, "_NATIVE_MOST", 2)
    cut_up = train(mlp, optimiser, table, Data(part, part), seeds=range(5), workers=2, **call)
    alone = train(mlp, optimiser, cut(table, [4]), Data(part, part), seeds=[4], **call)
    for k in range(5):
        assert_same(together, k, cut_up, k)
    assert_same(together, 4, alone, 0)


def test_order_is_shared_or_each_members_own():
    mlp = MLP((6, 5, 3))
    data, table = Data(examples(40, mlp)), cut(rates(1, 20), [0, 0])
    call = {"batch_size": 10, "evaluate_every": 20}
    shared = train(mlp, SGD(), table, data, seeds=[5, 5], **call)
    assert_same(shared, 0, shared, 1)
    own = train(mlp, SGD(), table, data, seeds=[5, 6], own_order=True, **call)
    assert_same(own, 0, train(mlp, SGD(), cut(table, [0]), data, seeds=[5], order_seed=5, **call), 0)
    assert_same(own, 1, train(mlp, SGD(), cut(table, [0]), data, seeds=[6], order_seed=6, **call), 0)
    assert (shared.train_loss[0, -1] != own.train_loss[0, -1]).all()


def test_every_epoch_is_a_fresh_permutation_of_all_examples():
    orders = [epoch_order(50, seed, epoch) for seed in range(3) for epoch in range(4)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 12


def test_first_weights_are_drawn_from_the_seed_and_fit_the_activation():
    for activation, gain in (("relu", 2.0), ("gelu", 2.0), ("tanh", 1.0), ("sigmoid", 1.0)):
        first, last = initial_weights(MLP((300, 200, 100), activation), seed=4)
        assert first.std() == pytest.approx(np.sqrt(gain / 300), rel=0.02)
        assert last.std() == pytest.approx(np.sqrt(1.0 / 200), rel=0.02)
        assert abs(first.mean()) < 5e-3
    mlp = MLP((6, 5, 3))
    result = train(
        mlp, SGD(), Rates(np.zeros((2, 1))), Data(examples(9, mlp)), seeds=[7, 8], batch_size=9, evaluate_every=1
    )
    for k, seed in enumerate((7, 8)):
        for ours, drawn in zip(result.weights, initial_weights(mlp, seed), strict=True):
            np.testing.assert_array_equal(ours[k], drawn.astype(np.float32))
    assert not any(b.any() for b in result.biases)


# --- divergence, leaving early, threads


def member_steps(monkeypatch) -> list[int]:
    """Return a list that every call of the engine's inner function adds its steps times members to."""
    done, gradient, run = [], numpy_engine.gradient, kernels.run
    monkeypatch.setattr(
        numpy_engine, "gradient", lambda now, *rest: (done.append(len(now.weights)), gradient(now, *rest))
    )
    monkeypatch.setattr(kernels, "run", lambda *given: (done.append(len(given[7]) - 1), run(*given)))
    return done


def test_a_diverging_member_is_let_go_and_the_others_do_not_notice(monkeypatch):
    mlp = MLP((6, 5, 3))
    data = Data(examples(20, mlp), examples(9, mlp, 1), examples(9, mlp, 2))
    table = rates(3, 40)
    lr = table.lr.copy()
    lr[1, 12:] = 1e30
    table = replace(table, lr=lr)
    trained = member_steps(monkeypatch)
    call = {"batch_size": 7, "evaluate_every": 10}
    result = train(mlp, SGD(0.9), table, data, seeds=[1, 2, 3], workers=1, **call)
    assert result.diverged.tolist() == [False, True, False]
    assert sum(trained) == 3 * 20 + 2 * 20  # noticed at step 20, and free from there on
    for name in ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "squared_norm"):
        assert np.isnan(getattr(result, name)[1]).tolist() == [False, False, True, True, True], name
        assert np.isfinite(getattr(result, name)[[0, 2]]).all(), name
    assert np.isnan(result.test_loss).tolist() == [False, True, False]
    for k in (0, 1, 2):
        assert_same(result, k, train(mlp, SGD(0.9), cut(table, [k]), data, seeds=[k + 1], **call), 0)


@pytest.mark.parametrize("end", [40, 30])
def test_one_that_diverges_at_the_end_of_a_leg_leaves_the_others_their_scale(end):
    mlp = MLP((6, 5, 3))
    part, table, call = examples(20, mlp), rates(3, 40), {"batch_size": 7, "evaluate_every": 10}
    lr = table.lr.copy()
    lr[1, end - 1] = 1e30
    table = Rates(lr, np.full(lr.shape, 0.99))
    call |= {"judge": lambda seen: ~seen.running, "judge_at": [30]}  # nobody else is let go
    result = train(mlp, SGD(), table, Data(part, part, part), seeds=[1, 2, 3], workers=1, **call)
    assert result.diverged.tolist() == [False, True, False]
    np.testing.assert_array_equal(result.test_loss[[0, 2]], result.validation_loss[[0, 2], -1])
    np.testing.assert_array_equal(result.test_accuracy[[0, 2]], result.validation_accuracy[[0, 2], -1])
    for k in (0, 2):
        single = train(mlp, SGD(), cut(table, [k]), Data(part, part, part), seeds=[k + 1], **call)
        assert_same(result, k, single, 0)


def test_a_loss_that_overflows_is_divergence_and_the_weights_found_then_are_kept():
    mlp = MLP((6, 5, 3))
    table = Rates(np.array([[1e25, 0.1], [0.1, 0.1]]))
    result = train(mlp, SGD(), table, Data(examples(20, mlp)), seeds=[1, 1], batch_size=20, evaluate_every=1)
    assert result.diverged.tolist() == [True, False]
    assert np.isfinite(result.weights[0]).all()
    assert np.abs(result.weights[0][0]).max() > 1e20


def test_when_all_diverge_training_ends():
    mlp = MLP((6, 5, 3))
    table = Rates(np.full((2, 10_000), 1e30))
    result = train(mlp, Adam(), table, Data(examples(20, mlp)), seeds=[1, 2], batch_size=7, evaluate_every=5)
    assert result.diverged.all()
    assert np.isfinite(result.train_loss).sum(axis=1).max() < 5


def test_progress_counts_up_to_the_total():
    mlp, heard = MLP((6, 5, 3)), []
    train(
        mlp,
        SGD(),
        rates(5, 30),
        Data(examples(20, mlp)),
        seeds=range(5),
        batch_size=7,
        evaluate_every=10,
        progress=lambda done, total: heard.append((done, total, threading.current_thread())),
    )
    assert [done for done, *_ in heard] == sorted(done for done, *_ in heard)
    assert heard[-1] == (150, 150, threading.current_thread())


class Wearied(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("leave", ["stop", "interrupt", "error"])
def test_leaving_early_is_quick_and_leaves_nothing_behind(leave, monkeypatch):
    steps = member_steps(monkeypatch)
    mlp, before = MLP((6, 5, 3)), blas.threads().get() if blas.threads() else None

    begun = []

    def progress(done, total):
        if not done:  # kernels are still being compiled, or loaded
            return
        begun.append(done)
        if leave == "interrupt":
            raise KeyboardInterrupt
        if leave == "error":
            raise Wearied

    expected = {"stop": StoppedError, "interrupt": KeyboardInterrupt, "error": Wearied}[leave]
    # The number said is the steps done, of four members.
    with pytest.raises(expected, match=r"after [1-9]\d* of 4000000" if leave == "stop" else None):
        train(
            mlp,
            SGD(),
            Rates(np.full((4, 1_000_000), 0.01)),
            Data(examples(20, mlp)),
            seeds=range(4),
            batch_size=1,
            evaluate_every=1000,
            progress=progress,
            stop=lambda: leave == "stop" and bool(begun),
        )
    assert 0 < sum(steps) < 2_000_000  # left in the middle
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dwindle")]
    if before is not None:
        assert blas.threads().get() == before


def test_blas_has_one_thread_inside_and_its_own_number_after_nested_and_overlapping():
    found = blas.threads()
    if found is None:
        with blas.single_threaded() as held:
            assert held is False
        pytest.skip("NumPy stands on another BLAS than OpenBLAS here")
    before = found.get()
    found.set(2)
    try:
        with blas.single_threaded() as held, blas.single_threaded():
            assert held is True
            assert found.get() == 1
        assert found.get() == 2
        both = threading.Barrier(2)

        def hold(number):
            with blas.single_threaded():
                both.wait()  # both hold it now
                return found.get()

        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(hold, range(2))) == [1, 1]
        assert found.get() == 2
    finally:
        found.set(before)


def test_results_do_not_depend_on_the_threads_blas_was_given():
    found = blas.threads()
    if found is None:
        pytest.skip("NumPy stands on another BLAS than OpenBLAS here")
    mlp, before, results, inside = MLP((784, 128, 10)), found.get(), [], []
    part = examples(256, mlp)
    try:
        for threads in (1, 2):
            found.set(threads)
            results.append(
                train(
                    mlp,
                    SGD(),
                    rates(1, 5, top=0.01),
                    Data(part, part),
                    seeds=[1],
                    batch_size=100,
                    evaluate_every=5,
                    progress=lambda done, total: inside.append(found.get()),
                )
            )
            assert found.get() == threads
    finally:
        found.set(before)
    assert ENGINE == "native" or set(inside) == {1}  # native asks BLAS for nothing
    assert_same(results[0], 0, results[1], 0)


# --- what is refused

GOOD = {"x": np.zeros((4, 6)), "y": np.array([0, 1, 2, 0])}


@pytest.mark.parametrize(
    ("build", "error", "says"),
    [
        (lambda: MLP((6,)), InvalidValueError, "an input and an output"),
        (lambda: MLP((6, 0, 3)), InvalidValueError, "layer size"),
        (lambda: MLP("784"), InvalidValueError, "sizes"),
        (lambda: MLP((6, 1)), InvalidValueError, "softmax over one output"),
        (lambda: MLP((6, 3), activation="rleu"), UnknownNameError, "relu"),
        (lambda: MLP((6, 3), loss="sofmax"), UnknownNameError, "softmax"),
        (lambda: SGD(momentum=1.0), InvalidValueError, "momentum"),
        (lambda: SGD(nesterov=True), InvalidValueError, "nesterov"),
        (lambda: Adam(beta2=1.0), InvalidValueError, "beta2"),
        (lambda: Adam(eps=1e-40), InvalidValueError, "eps"),
        (lambda: Rates(np.zeros(5)), InvalidValueError, "members, steps"),
        (lambda: Rates(np.zeros((0, 5))), InvalidValueError, "members, steps"),
        (lambda: Rates([[0.1], [0.1, 0.2]]), InvalidValueError, "lr is not an array"),
        (lambda: Rates(np.zeros((2, 5)), shrink=np.ones((2, 1))), InvalidValueError, "shrink has shape"),
        (lambda: Rates(np.zeros((2, 5)), l2=np.ones((5, 2))), InvalidValueError, "l2 has shape"),
        (lambda: Rates([[0.1, np.nan]]), InvalidValueError, "member 0 at step 1"),
        (lambda: Rates(np.ma.masked_array([[0.1, -999.0]], [[0, 1]])), InvalidValueError,
         "^lr cannot be taken: a part of it is masked; leave it out or fill it in.$"),
        (lambda: Rates([[0.1, -0.1]]), InvalidValueError, "zero or more"),
        (lambda: Rates([[0.1]], l2=[[-1.0]]), InvalidValueError, "zero or more"),
        (lambda: Examples(np.zeros((4, 2, 3)), GOOD["y"]), DataError, "reshape"),
        (lambda: Examples(GOOD["x"], GOOD["y"][:3]), DataError, "4 rows"),
        (lambda: Examples(np.zeros((0, 6)), np.zeros(0, int)), DataError, "rows of features"),
        (lambda: Examples(np.full((4, 6), np.nan), GOOD["y"]), DataError, "finite"),
        (lambda: Examples(GOOD["x"], [0.0, np.inf, 0.0, 0.0]), DataError, "y at"),
        (lambda: Examples([["a"]], [0]), DataError, "real numbers"),
        (lambda: Examples(np.ma.masked_array(GOOD["x"], GOOD["x"] < 1), GOOD["y"]), DataError,
         "^x cannot be taken: a part of it is masked; leave it out or fill it in.$"),
        (lambda: Examples(GOOD["x"], np.ma.masked_array(GOOD["y"], GOOD["y"] > 1)), DataError, "^y cannot be taken: a part"),
        (lambda: Data(Examples(**GOOD), Examples(np.zeros((4, 5)), GOOD["y"])), DataError, "validation has 5"),
        (lambda: Data((GOOD["x"], GOOD["y"])), DataError, "Examples"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_when_built(build, error, says):
    with pytest.raises(error, match=says):
        build()


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"seeds": [1]}, InvalidValueError, "1 seeds for 2"),
        ({"seeds": [1, -2]}, InvalidValueError, "a seed"),
        ({"seeds": 2}, InvalidValueError, "one a member"),
        ({"batch_size": 5}, DataError, "more than the 4"),
        ({"batch_size": 0}, InvalidValueError, "batch_size"),
        ({"evaluate_every": 0}, InvalidValueError, "evaluate_every"),
        ({"own_order": 1}, InvalidValueError, "own_order"),
        ({"order_seed": 0.5}, InvalidValueError, "order_seed"),
        ({"dtype": "float16"}, UnknownNameError, "dtype"),
        ({"workers": 0}, InvalidValueError, "workers"),
        ({"optimiser": "sgd"}, InvalidValueError, "optimiser"),
        ({"mlp": MLP((5, 3))}, DataError, "6 features"),
        ({"mlp": MLP((6, 2))}, DataError, "label 2"),
        ({"data": Data(Examples(GOOD["x"], -GOOD["y"]))}, DataError, "label -1"),
        ({"data": Data(Examples(GOOD["x"], GOOD["y"].astype(float)))}, DataError, "astype"),
        ({"data": Data(Examples(GOOD["x"], np.ones((4, 3))))}, DataError, "sum to 1"),
        ({"data": Data(Examples(GOOD["x"], np.eye(4)[:, :3] * 2))}, DataError, r"\[0, 1\]"),
        ({"data": Data(Examples(**GOOD), test=Examples(GOOD["x"], GOOD["y"] + 7))}, DataError, "y of test"),
        ({"data": Data(Examples(GOOD["x"] + 1e300, GOOD["y"]))}, DataError, "range of float32"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error, says):
    call = {
        "mlp": MLP((6, 5, 3)),
        "optimiser": SGD(),
        "rates": Rates(np.zeros((2, 3))),
        "data": Data(Examples(**GOOD)),
        "seeds": [1, 2],
        "batch_size": 2,
        "evaluate_every": 1,
    }
    train(**call)
    with pytest.raises(error, match=says) as caught:
        train(**{**call, **change})
    assert isinstance(caught.value, DwindleError)
