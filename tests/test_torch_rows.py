"""Lazy decay of sparse tables: whatever reads them sees what a dense decay would have left."""

from __future__ import annotations

import copy
import io
import math
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.torch import SGD, AdamW
from dwindle.torch.rows import DecayedOnUse

ROWS, WIDTH, STEPS = 40, 3, 30
DECAYS = [dw.l2(0.3), dw.decoupled(0.3), dw.independent(0.02), dw.corrected(0.3)]
SCHEDULE = dw.warmup(3).then(dw.cosine(end=0.1))


def batches(steps=STEPS, seed=0):
    rng = np.random.default_rng(seed)
    return [
        torch.tensor(rng.integers(0, ROWS // 2, size=5)) for _ in range(steps)
    ]  # half of the rows are never looked up


def table(sparse, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Embedding(ROWS, WIDTH, sparse=sparse, dtype=dtype)


def train(kind, decay, sparse, *, dtype=torch.float64, look=None, **options):
    model = table(sparse, dtype)
    optimizer = kind(model.named_parameters(), dw.Plan(0.1, SCHEDULE, decay), STEPS, **options)
    losses = []
    for step, ids in enumerate(batches()):
        optimizer.zero_grad()
        loss = (model(ids) * torch.arange(1.0, WIDTH + 1, dtype=dtype)).square().sum()
        loss.backward()
        losses.append(float(loss.detach()))
        optimizer.step()
        if look is not None and step % 7 == 3:
            look(model)
    return model, optimizer, losses


def is_lazy(model):
    return type(model.weight) is DecayedOnUse and model.weight._rows is not None


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("decay", DECAYS, ids=str)
def test_sgd_is_the_dense_run_at_every_step(decay, clip):
    dense, _, wanted = train(SGD, decay, sparse=False, clip=clip, norms=clip is not None)
    lazy, optimizer, got = train(SGD, decay, sparse=True, clip=clip)
    assert is_lazy(lazy)
    assert got == pytest.approx(wanted, rel=1e-12)
    torch.testing.assert_close(lazy.weight.detach(), dense.weight.detach(), rtol=1e-12, atol=1e-14)
    if clip is not None:
        measured, _, _ = train(SGD, decay, sparse=True, clip=clip, norms=True)
        torch.testing.assert_close(measured.weight.detach(), dense.weight.detach(), rtol=1e-12, atol=1e-14)
        assert optimizer.grad_norm is not None


@pytest.mark.parametrize("cautious", [False, True])
def test_adamw_moves_the_rows_of_the_batch_and_decays_all(cautious):
    """The moments of the others stand still (as in SparseAdam), but every row decays at every step."""
    plan = dw.Plan(0.1, SCHEDULE, dw.decoupled(0.3, cautious=cautious)).resolve(STEPS)
    lazy, _, _ = train(AdamW, dw.decoupled(0.3, cautious=cautious), sparse=True)
    assert is_lazy(lazy)
    weight, twin = table(sparse=True).weight.detach().clone(), table(sparse=True)
    m, v = torch.zeros_like(weight), torch.zeros_like(weight)
    for step, ids in enumerate(batches()):
        twin.weight.data.copy_(weight)
        twin.zero_grad()
        (twin(ids) * torch.arange(1.0, WIDTH + 1, dtype=torch.float64)).square().sum().backward()
        grad = twin.weight.grad.to_dense()
        rows = torch.zeros(ROWS, 1, dtype=torch.bool)
        rows[ids] = True
        m, v = torch.where(rows, 0.9 * m + 0.1 * grad, m), torch.where(rows, 0.999 * v + 0.001 * grad**2, v)
        lr, share, _ = plan.dose(step)
        move = lr / (1 - 0.9 ** (step + 1)) * m / ((v / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8) * rows
        agrees = move.sign() * weight.sign() >= 0 if cautious else torch.ones_like(rows)
        weight = weight - share * weight * agrees - move
    torch.testing.assert_close(lazy.weight.detach(), weight, rtol=1e-11, atol=1e-13)


def pickled(model):
    return pickle.loads(pickle.dumps(model)).weight


def saved(model):
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer)["weight"]


READS = {
    "detach": lambda model: model.weight.detach().clone(),
    "data": lambda model: model.weight.data.clone(),
    "numpy": lambda model: torch.tensor(model.weight.detach().numpy().copy()),
    "index": lambda model: torch.stack([model.weight[i] for i in range(ROWS)]),
    "state_dict": lambda model: model.state_dict()["weight"].clone(),
    "torch.save": saved,
    "pickle": pickled,
    "deepcopy": lambda model: copy.deepcopy(model).weight,
    "parameter": lambda model: copy.deepcopy(model.weight),
    "lookup": lambda model: model(torch.arange(ROWS)),
    "bag": lambda model: nn.functional.embedding_bag(torch.arange(ROWS)[:, None], model.weight, mode="sum"),
    "matmul": lambda model: torch.eye(ROWS, dtype=torch.float64) @ model.weight,
    "tolist": lambda model: torch.tensor(model.weight.tolist(), dtype=torch.float64),
    "parameters": lambda model: next(iter(model.parameters())) * 1.0,
    "clone": lambda model: model.weight.clone(),
    "cat": lambda model: torch.cat([model.weight]),
    "stack": lambda model: torch.stack((model.weight,))[0],
    "foreach": lambda model: torch._foreach_mul([model.weight], 1.0)[0],
    "vector": lambda model: torch.nn.utils.parameters_to_vector(model.parameters()).reshape(ROWS, WIDTH),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_whoever_reads_the_table_sees_decayed_rows(read):
    dense, _, _ = train(SGD, dw.decoupled(0.3), sparse=False)
    lazy, _, _ = train(SGD, dw.decoupled(0.3), sparse=True)
    torch.testing.assert_close(read(lazy).detach(), dense.weight.detach(), rtol=1e-12, atol=1e-14)


def test_a_held_reference_is_up_to_date_too_and_reading_changes_nothing():
    held = []
    dense, _, _ = train(SGD, dw.decoupled(0.3), sparse=False)
    lazy, _, _ = train(
        SGD, dw.decoupled(0.3), sparse=True, look=lambda model: held.append((model.weight, model.weight.sum()))
    )
    assert held[0][0] is lazy.weight
    torch.testing.assert_close(held[0][0].detach(), dense.weight.detach(), rtol=1e-12, atol=1e-14)


def test_float32_is_exact_to_1e_6_after_300_steps():
    rng, rows = np.random.default_rng(0), 2000
    start = rng.normal(size=(rows, 4))
    ids = [torch.tensor(rng.integers(0, rows, size=50)) for _ in range(300)]
    weights = []
    for sparse, dtype in ((True, torch.float32), (False, torch.float64)):
        model = nn.Embedding(rows, 4, sparse=sparse, dtype=dtype)
        model.weight.data.copy_(torch.tensor(start))
        optimizer = SGD(model.named_parameters(), dw.Plan(0.1, dw.cosine(), dw.decoupled(0.05)), 300)
        for some in ids:
            optimizer.zero_grad()
            model(some).sum().backward()
            optimizer.step()
        weights.append(model.weight.detach().double())
    assert (weights[0] - weights[1]).norm() <= 1e-6 * weights[1].norm()
    never = sorted(set(range(rows)) - set(torch.cat(ids).tolist()))
    assert never, "every row was looked up"
    torch.testing.assert_close(weights[0][never], weights[1][never], rtol=1.3e-7, atol=0)  # rounded twice at most


def test_a_step_costs_what_its_rows_cost():
    """Counted, not timed: rows that nobody uses are not written to."""
    model = table(sparse=True)
    optimizer = SGD(model.named_parameters(), dw.Plan(0.1, decay=dw.decoupled(0.3)), 5)
    model(torch.tensor([1, 2])).sum().backward()
    optimizer.step()
    at = model.weight._rows._at
    assert at[[1, 2]].tolist() == [1, 1]
    assert at.sum() == 2
    model(torch.tensor([2, 3]))
    assert at.sum() == 3
    model.weight.sum()
    assert not at.any()


def test_a_state_saved_and_loaded_anywhere_goes_on_bit_for_bit_close():
    whole, _, _ = train(AdamW, dw.decoupled(0.3), sparse=True)
    model = table(sparse=True)
    optimizer = AdamW(model.named_parameters(), dw.Plan(0.1, SCHEDULE, dw.decoupled(0.3)), STEPS)
    for step, ids in enumerate(batches()):
        if step in (5, 20):
            kept = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
            model = table(sparse=True)
            optimizer = AdamW(model.named_parameters(), dw.Plan(0.1, SCHEDULE, dw.decoupled(0.3)), STEPS)
            model.load_state_dict(kept[0])
            optimizer.load_state_dict(kept[1])
        optimizer.zero_grad()
        (model(ids) * torch.arange(1.0, WIDTH + 1, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(model.weight.detach(), whole.weight.detach(), rtol=1e-12, atol=1e-14)


def test_gradients_that_turn_dense_or_are_absent_and_tables_that_change_are_followed():
    models, optimizers = [], []
    for sparse in (True, False):
        models.append(table(sparse))
        optimizers.append(SGD(models[-1].named_parameters(), dw.Plan(0.1, SCHEDULE, dw.decoupled(0.3)), STEPS))
    for step, ids in enumerate(batches()):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            if step % 5 != 4:  # without a gradient nothing decays, as in torch
                model(ids).square().sum().backward()
            if step in (10, 11):
                model.weight.grad = model.weight.grad.to_dense() + 0.1
            if step == 15:
                model.double()
                model.weight.data = model.weight.data * 0.5
            if step == 20:
                with torch.no_grad():
                    model.weight[3] = 1.0
            optimizer.step()
    torch.testing.assert_close(models[0].weight.detach(), models[1].weight.detach(), rtol=1e-12, atol=1e-14)


def test_what_a_row_cannot_do_lazily_is_done_densely_or_refused():
    weight = {}
    for sparse in (True, False):
        model, _, _ = train(SGD, dw.decoupled(0.3), sparse, momentum=0.9)
        weight[sparse] = model.weight.detach()
        assert not is_lazy(model)
    torch.testing.assert_close(weight[True], weight[False], rtol=1e-12, atol=1e-14)
    for options in ({"ema": 0.9},):
        model, _, _ = train(SGD, dw.decoupled(0.3), True, **options)
        assert not is_lazy(model)
    with pytest.raises(InvalidValueError, match="l2 decay makes a sparse gradient dense"):
        train(AdamW, dw.l2(0.3), True)


def test_a_float32_table_is_lazy_and_exact_where_dense_rounding_would_lose_the_decay():
    steps, share = 2000, 3e-6
    for kind in (SGD, AdamW):
        model = nn.Embedding(4, 2, sparse=True)
        start = model.weight.detach().double().clone()
        optimizer = kind(model.named_parameters(), dw.Plan(3e-4, decay=dw.decoupled(0.01)), steps)
        for _ in range(steps):
            model.weight.grad = torch.sparse_coo_tensor([[1]], torch.zeros(1, 2), (4, 2), check_invariants=True)
            optimizer.step()
        assert is_lazy(model)
        assert optimizer.control.compensated == {}
        torch.testing.assert_close(
            model.weight.detach().double()[[0, 2, 3]], start[[0, 2, 3]] * (1 - share) ** steps, rtol=2e-7, atol=0
        )


def test_small_l2_of_plain_sgd_is_lazy_too():
    model = nn.Embedding(4, 2, sparse=True)
    start = model.weight.detach().double().clone()
    optimizer = SGD(model.named_parameters(), dw.Plan(0.01, decay=dw.l2(1e-4)), 100)
    model(torch.tensor([1, 2, 2])).sum().backward()
    optimizer.step()
    assert is_lazy(model)
    torch.testing.assert_close(model.weight.detach().double()[[0, 3]], start[[0, 3]] * (1 - 1e-6), rtol=1e-7, atol=0)


def test_a_plan_of_smaller_shares_in_mid_run_changes_nothing_for_a_table():
    model, plan = nn.Embedding(10, 4, sparse=True), dw.Plan(1e-4, decay=dw.decoupled(0.065))
    optimizer = AdamW(model.named_parameters(), plan, 1000)
    for step in range(12):
        if step == 10:
            optimizer.control.cooldown_now(900)
        optimizer.zero_grad()
        model(torch.tensor([1, 2, 2])).square().sum().backward()
        optimizer.step()
    assert is_lazy(model)


@pytest.mark.parametrize("others", [{"ema": 0.9}, {"half": True}, {"bfloat16": True}], ids=str)
def test_adamw_refuses_in_words_a_sparse_gradient_that_torchs_own_would_get(others):
    model = nn.Embedding(10, 4, sparse=True, dtype=torch.bfloat16 if "bfloat16" in others else torch.float32)
    half = nn.Parameter(torch.ones(2, dtype=torch.float16 if "half" in others else torch.float32))
    options = {"ema": 0.9} if "ema" in others else {}
    optimizer = AdamW([*model.named_parameters(), ("half", half)], dw.Plan(0.1, decay=dw.decoupled(0.1)), 10, **options)
    start = model.weight.detach().clone()
    model(torch.tensor([1, 2, 2])).square().sum().backward()
    half.grad = torch.ones_like(half)
    with pytest.raises(
        InvalidValueError,
        match=r"the gradient of 'weight' is sparse.*float32 and float64 tables on a CPU.*without ema.*sparse=False",
    ):
        optimizer.step()
    assert torch.equal(model.weight.detach(), start)
    assert optimizer.control.step == 0


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"ema": 0.9}, {"cautious": True}], ids=str)
def test_norms_and_clipping_take_sparse_gradients_where_torch_steps(options):
    ends = []
    options = dict(options)
    decay = dw.decoupled(0.3, cautious=options.pop("cautious", False))
    for sparse in (True, False):
        model, optimizer, _ = train(SGD, decay, sparse, clip=0.5, norms=True, **options)
        ends.append((model.weight.detach(), optimizer.grad_norm, optimizer.weight_norm))
        assert not is_lazy(model)
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_copies_hold_an_ordinary_parameter_with_all_decay_in_it(how):
    model, _, _ = train(SGD, dw.decoupled(0.3), True)
    twin = how(model.weight)
    assert type(twin) is nn.Parameter
    assert torch.equal(twin, model.weight.detach())
    pair = copy.deepcopy([model.weight, model.weight])
    assert pair[0] is pair[1]


def test_a_share_of_one_or_more_is_taken_at_once():
    results = []
    for sparse in (True, False):
        model = table(sparse)
        plan = dw.Plan(0.5, decay=dw.decoupled(3.0, allow_overshoot=True))
        optimizer = SGD(model.named_parameters(), plan, 5)
        for ids in batches(3):
            optimizer.zero_grad()
            model(ids).sum().backward()
            optimizer.step()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_maximize_and_zero_go_with_it():
    results = []
    for sparse in (True, False):
        model = table(sparse)
        optimizer = SGD(model.named_parameters(), dw.Plan(0.05, decay=dw.l2(0.5)), 5, maximize=True, zero=True)
        for ids in batches(3):
            model(ids).sum().backward()
            optimizer.step()
            assert not model.weight.grad.to_dense().any()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)
    assert math.isfinite(float(results[0].sum()))


def test_an_empty_batch_and_one_of_padding_only_decay_all_the_same():
    results = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = nn.Embedding(5, 3, sparse=sparse, padding_idx=0, dtype=torch.float64)
        optimizer = SGD(model.named_parameters(), dw.Plan(0.1, decay=dw.decoupled(0.5)), 9, clip=1.0)
        for ids in ([1, 2], [], [0, 0], [3]):
            optimizer.zero_grad()
            model(torch.tensor(ids, dtype=torch.int64)).sum().backward()
            optimizer.step()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_two_optimisers_on_one_table_take_turns():
    results = []
    for sparse in (True, False):
        model = table(sparse)
        pair = [SGD(model.named_parameters(), dw.Plan(lr, decay=dw.decoupled(0.3)), STEPS) for lr in (0.1, 0.2)]
        for step, ids in enumerate(batches()):
            model.zero_grad()
            model(ids).square().sum().backward()
            pair[step // 3 % 2].step()
        results.append(model.weight.detach())
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-14)


def test_several_threads_may_read_one_table():
    dense, _, _ = train(SGD, dw.decoupled(0.3), sparse=False)
    for _ in range(5):
        lazy, _, _ = train(SGD, dw.decoupled(0.3), sparse=True)
        with ThreadPoolExecutor(4) as pool, torch.no_grad():
            for read in pool.map(lambda _, model=lazy: model(torch.arange(ROWS)), range(8)):
                torch.testing.assert_close(read, dense.weight.detach(), rtol=1e-12, atol=1e-14)


def test_threads_that_look_up_the_same_rows_decay_them_once():
    ids = torch.arange(20_000)
    for seed in range(24):
        model = nn.Embedding(len(ids), 16, sparse=True)
        start = model.weight.detach().clone()
        optimizer = SGD(model.named_parameters(), dw.Plan(1.0, decay=dw.decoupled(0.5)), 99)
        for _ in range(10):
            optimizer.zero_grad()
            (model(torch.tensor([seed])) * 0.0).sum().backward()
            optimizer.step()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, model=model: model(ids), range(4)))
        torch.testing.assert_close(model.weight.detach(), start * 2.0**-10, rtol=1e-6, atol=0)


def test_a_table_of_another_shape_is_another_table_or_refused_in_words():
    for kind in (SGD, AdamW):
        model = table(sparse=True)
        optimizer = kind(model.named_parameters(), dw.Plan(0.1, decay=dw.decoupled(0.5)), 9)
        model(torch.tensor([1])).sum().backward()
        optimizer.step()
        model.weight.grad = None
        model.weight.data = torch.ones(ROWS, 400, dtype=torch.float64)
        model(torch.tensor([1])).sum().backward()
        if kind is AdamW:
            with pytest.raises(InvalidValueError, match="'exp_avg' has the shape"):
                optimizer.step()
        else:
            optimizer.step()
            torch.testing.assert_close(model.weight.detach()[0, 0].item(), 0.95)


def test_a_sparse_gradient_of_single_numbers_is_done_by_torch():
    weight = nn.Parameter(torch.ones(4, 3))
    optimizer = SGD([weight], dw.Plan(0.1, decay=dw.decoupled(0.5)), 9)
    weight.grad = torch.sparse_coo_tensor([[1]], [[1.0, 1.0, 1.0]], (4, 3), check_invariants=False)
    optimizer.step()
    weight.grad = torch.sparse_coo_tensor([[1, 1], [0, 2]], [1.0, 1.0], (4, 3), check_invariants=False)
    optimizer.step()
    wanted = torch.full((4, 3), 0.95**2)
    wanted[1] = torch.tensor([0.85 * 0.95 - 0.1, 0.85 * 0.95, 0.85 * 0.95 - 0.1])
    torch.testing.assert_close(weight.detach(), wanted)


def test_lookups_that_torch_refuses_are_refused_by_torch():
    model, _, _ = train(SGD, dw.decoupled(0.3), sparse=True)
    with pytest.raises(RuntimeError, match="scalar types"):
        model(torch.ones(2))
    with pytest.raises(IndexError):
        model(torch.tensor([ROWS + 5]))
    mapped = torch.vmap(model)(torch.arange(4))
    assert mapped.shape == (4, WIDTH)
