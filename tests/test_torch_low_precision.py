"""Decay below a weight's rounding: exact for every optimiser, convention and type that would lose it; saved, and bounded."""

from __future__ import annotations

import copy
import io
import math
import time
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import dwindle as dw
from dwindle.errors import InvalidValueError, ResumeError
from dwindle.torch import attach, compensation
from dwindle.torch.compensation import WEIGHT, Residues
from dwindle.torch.rounding import lossy_types, lost_share

BF16, FP16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
CLASSES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adamax", "Adadelta", "Adafactor", "Muon"]
FUSED = ("SGD", "Adam", "AdamW", "Adagrad")
HOW = {"plain": {"foreach": False}, "foreach": {"foreach": True}, "fused": {"fused": True}}
START = [1.0, -0.7, 3.14159, 1e-3, 1.9921875, -123.4]
TAIL = dw.warmup(5).then(dw.cosine(end=0.0))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weight(dtype, start=START):
    return nn.Parameter(torch.tensor(start, dtype=F64).reshape(-1, 2).to(dtype))


def made(name, w, dtype, **options):
    kind = getattr(torch.optim, name)
    if dtype is FP16 and name not in ("SGD", "Adafactor", "Muon"):
        options["eps"] = 1e-4  # torch's 1e-8 is 0 in float16, and 0/0 is not a number
    return kind([("w", w)], **options)


def still(optimizer, w, steps):
    for _ in range(steps):
        w.grad = torch.zeros_like(w)
        optimizer.step()


def ulp(value, dtype):
    """Return the unit in the last place of ``dtype`` at ``value``."""
    binade = 2.0 ** math.floor(math.log2(abs(value))) if value else 0.0
    return Fraction(max(binade, torch.finfo(dtype).smallest_normal) * torch.finfo(dtype).eps)


def product(plan, steps, c_of_sgd=False):
    """Return Π(1 - x) of the run, exactly, for the shares as float64 numbers."""
    resolved, left = plan.resolve(steps), Fraction(1)
    for step in range(steps):
        rates = resolved.rates(step)
        share = rates.lr * rates.l2 if c_of_sgd else resolved.decay.share(step, rates.lr, resolved.schedule(step))
        left *= 1 - Fraction(float(share))
    return left


def worst(w, start, left, dtype):
    """Return the largest distance of a weight from its start times ``left``, in units in the last place."""
    pairs = zip(w.detach().double().flatten().tolist(), start.double().flatten().tolist(), strict=True)
    return float(max(abs(Fraction(a) - Fraction(b) * left) / ulp(float(Fraction(b) * left), dtype) for a, b in pairs))


# Without gradient: the product of the shrinks


def conventions(x, peak, name):
    """Return decays that take the share ``x`` at the peak."""
    beside = [dw.decoupled(x / peak), dw.independent(x), dw.corrected(x / peak), dw.decoupled(x / peak, cautious=True)]
    return [*beside, dw.l2(x / peak)] if name == "SGD" else beside


TYPES = [(BF16, 1e-3), (FP16, 3e-4), (F32, 1e-7)]
EVERY = [
    pytest.param(name, *row, marks=[] if row[0] is BF16 or name == "AdamW" else [pytest.mark.slow])
    for name in CLASSES
    for row in TYPES
]


@pytest.mark.parametrize(("name", "dtype", "x"), EVERY, ids=str)
def test_without_gradient_every_optimiser_decays_by_the_product_of_the_shrinks(name, dtype, x):
    steps, hows = 20, [h for h in HOW if (h != "fused" or name in FUSED) and (h == "plain" or name != "Muon")]
    for decay in conventions(x, 0.1, name):
        plan, ends = dw.Plan(0.1, TAIL, decay), []
        left = product(plan, steps, c_of_sgd=decay.convention == "l2")
        for how in hows:
            w = weight(dtype)
            start = w.detach().clone()
            optimizer = made(name, w, dtype, **({} if name == "Muon" else HOW[how]))
            controller = attach(optimizer, plan, steps)
            still(optimizer, w, steps)
            assert controller.compensated == {"w": 4 * w.numel()}
            assert worst(w, start, left, dtype) <= 0.51, (decay, how)
            ends.append(w.detach())
        assert all(torch.equal(ends[0], end) for end in ends)


@pytest.mark.parametrize("dtype", [BF16, FP16, F32], ids=str)
@pytest.mark.parametrize("x", [1e-7, 1e-5, 1e-3, 1e-2])
def test_from_the_smallest_to_the_largest_share(x, dtype):
    steps = 250
    plan, w = dw.Plan(1.0, decay=dw.independent(x)), weight(dtype)
    start = w.detach().clone()
    optimizer = made("RMSprop", w, dtype)
    attach(optimizer, plan, steps, compensated=True)
    still(optimizer, w, steps)
    assert worst(w, start, product(plan, steps), dtype) <= 0.6


def test_two_hundred_steps_of_a_thousandth_on_bfloat16_where_torch_leaves_one():
    ours, theirs = weight(BF16, [1.0, 1.0]), weight(BF16, [1.0, 1.0])
    optimizer, alone = torch.optim.AdamW([ours]), torch.optim.AdamW([theirs], lr=0.01, weight_decay=0.1)
    attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), 200)
    still(optimizer, ours, 200)
    still(alone, theirs, 200)
    assert float(theirs.detach()[0, 0]) == 1.0
    assert abs(float(ours.detach()[0, 0]) - 0.999**200) <= 0.51 * 2**-8


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_a_hundred_thousand_steps_of_a_hundred_millionth_on_float32(name):
    w, decay = weight(F32, [1.0, 0.3]), dw.decoupled(1e-5) if name == "AdamW" else dw.l2(1e-5)
    plan, steps = dw.Plan(1e-3, decay=decay), 100_000
    optimizer = made(name, w, F32)
    attach(optimizer, plan, steps)
    still(optimizer, w, steps)
    wanted = float(w.new_tensor(1.0)) * (1 - 1e-8) ** steps
    assert abs(float(w.detach()[0, 0]) - wanted) <= 0.51 * 2**-24


SGDS = [
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.8, "dampening": 0.5},
    {"momentum": 0.9, "maximize": True},
]


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
@pytest.mark.parametrize("options", SGDS, ids=str)
@pytest.mark.parametrize("how", HOW)
def test_l2_under_sgd_with_momentum_is_the_float64_run_rounded_once(dtype, options, how):
    plan, ends = dw.Plan(0.1, TAIL, dw.l2(0.003)), []
    for kind in (dtype, F64):
        w = nn.Parameter(weight(dtype).detach().to(kind))
        optimizer = torch.optim.SGD([("w", w)], **options, **HOW[how])
        controller = attach(optimizer, plan, 60)
        still(optimizer, w, 60)
        ends.append(w.detach().double())
        assert controller.compensated == ({} if kind is F64 else {"w": 8 * w.numel()})
    for ours, exact in zip(*(end.flatten().tolist() for end in ends), strict=True):
        assert abs(ours - exact) <= 0.51 * float(ulp(exact, dtype))


# The arithmetic itself

KINDS = {BF16: 8, FP16: 11, F32: 24}
ratios = st.floats(-3.0, 3.0, allow_nan=False, width=32)
sizes = st.floats(-200.0, 200.0, allow_nan=False, width=16).filter(lambda v: v == 0 or abs(v) > 1e-3)


@pytest.mark.law
@given(st.sampled_from(list(KINDS)), st.lists(st.tuples(sizes, ratios), min_size=1, max_size=6))
def test_folding_moves_nothing_and_leaves_less_than_the_rounding(dtype, cells):
    w = nn.Parameter(torch.tensor([a for a, _ in cells], dtype=F32).to(dtype))
    rests = [r * 2.0 ** -KINDS[dtype] * (abs(float(a)) or 1e-3) for a, (_, r) in zip(w.detach(), cells, strict=True)]
    optimizer = torch.optim.SGD([w])
    optimizer.state[w][WEIGHT] = {"step": torch.tensor(rests, dtype=F32)}
    residues = Residues(optimizer)
    true = [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(w.detach(), residues.of(w, WEIGHT), strict=True)]
    with torch.no_grad():
        residues.fold([w])
        after = w.detach().clone()
        rest = residues.of(w, WEIGHT)
        assert [Fraction(float(a)) + Fraction(float(b)) for a, b in zip(after, rest, strict=True)] == true
        for a, b in zip(after.double().tolist(), rest.double().tolist(), strict=True):
            assert abs(b) <= 0.5 * float(ulp(a, dtype))
        residues.fold([w])
    assert torch.equal(w.detach(), after)


@pytest.mark.law
@given(st.sampled_from(list(KINDS)), sizes.filter(bool), st.floats(-0.5, 0.5), st.floats(1e-7, 0.5))
def test_the_true_weight_loses_its_share_with_all_the_digits_of_the_residue(dtype, size, ratio, x):
    w = nn.Parameter(torch.tensor([size], dtype=F32).to(dtype))
    before, scale = float(w.detach()), abs(float(w.detach())) * 2.0 ** -KINDS[dtype]
    optimizer = torch.optim.SGD([w])
    optimizer.state[w][WEIGHT] = {"step": torch.tensor([ratio * scale], dtype=F32)}
    residues = Residues(optimizer)
    rest = float(residues.of(w, WEIGHT))
    with torch.no_grad():
        residues.decay([w], x)
    taken = Fraction(before) + Fraction(rest) - Fraction(float(w.detach())) - Fraction(float(residues.of(w, WEIGHT)))
    wanted = Fraction(x) * (Fraction(before) + Fraction(rest))
    assert abs(taken - wanted) <= abs(wanted) * Fraction(2) ** -22 + Fraction(abs(rest)) * Fraction(2) ** -22
    assert float(w.detach()) == before


@pytest.mark.parametrize("dtype", [BF16, F32], ids=str)
def test_cut_into_pieces_it_is_the_same_arithmetic(dtype, monkeypatch):
    ends = []
    for piece in (2**16, 5):
        monkeypatch.setattr(compensation, "_PIECE", piece)
        torch.manual_seed(0)
        shapes = [(7, 5), (3,), (4, 2), (2, 3, 5, 7), (1, 1)]
        params = [nn.Parameter(torch.randn(s).to(dtype)) for s in shapes]
        params[3].data = params[3].data.to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(params)
        everything = dw.Plan(0.1, decay=dw.decoupled(0.02), mask=dw.Mask.everything())
        attach(optimizer, everything, 20, compensated=True)
        for _ in range(20):
            for p in params:
                p.grad = torch.randn(p.shape).to(dtype)
            optimizer.step()
        ends.append([p.detach().clone() for p in params])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# With gradients: the decay's dose, against the same run in float64


def dose(name, dtype, decay, lr, noise, *, steps=200, compensated=None, **options):
    """Return the decay of a run, relative to that of the same run in float64 (least squares over its weights)."""
    torch.manual_seed(0)
    start = torch.randn(500, 2).to(dtype)
    grads = [(noise * torch.randn(500, 2)).to(dtype) for _ in range(steps)]
    moved = []
    for kind in (dtype, F64):
        ends = []
        for each in (decay, None):
            w = nn.Parameter(start.to(kind, copy=True))
            optimizer = getattr(torch.optim, name)([("w", w)], **options)
            attach(optimizer, dw.Plan(lr, decay=each), steps, compensated=compensated)
            for grad in grads:
                w.grad = grad.to(kind)
                optimizer.step()
            ends.append(w.detach().double())
        moved.append(ends[0] - ends[1])
    return float((moved[0] * moved[1]).sum() / (moved[1] ** 2).sum())


CAUTIOUS = dw.decoupled(0.1, cautious=True)
DOSES = {
    "AdamW": ("AdamW", BF16, dw.decoupled(0.1), 0.01, 0.1, {}, (0.0, 0.0)),
    "AdamW, fp16": ("AdamW", FP16, dw.decoupled(0.01), 0.01, 0.1, {"eps": 1e-4}, (0.0, 0.0)),
    "AdamW, float32": ("AdamW", F32, dw.decoupled(2e-4), 1e-4, 0.1, {}, (-0.1, 0.1)),
    "cautious": ("AdamW", BF16, CAUTIOUS, 0.01, 0.1, {}, (0.0, 0.0)),
    "cautious, nesterov": ("SGD", BF16, CAUTIOUS, 0.01, 0.1, {"momentum": 0.5, "nesterov": True}, (0.0, 0.0)),
    "cautious, uphill": ("SGD", BF16, CAUTIOUS, 0.01, 0.1, {"maximize": True}, (0.0, 0.0)),
    "cautious, Adagrad": ("Adagrad", BF16, CAUTIOUS, 0.01, 0.1, {}, (0.0, 0.0)),
    "l2, momentum": ("SGD", BF16, dw.l2(0.01), 0.01, 0.1, {"momentum": 0.9}, (0.4, 0.75)),
    "l2, Adam": ("Adam", BF16, dw.l2(1e-3), 0.05, 1.0, {}, (0.3, 0.8)),
    "l2, RMSprop": ("RMSprop", BF16, dw.l2(3e-4), 0.05, 1.0, {}, (0.0, 0.4)),
}


@pytest.mark.parametrize(("name", "dtype", "decay", "lr", "noise", "options", "lost"), DOSES.values(), ids=DOSES)
def test_with_gradients_the_dose_is_that_of_float64_where_torch_loses_it(name, dtype, decay, lr, noise, options, lost):
    ours = dose(name, dtype, decay, lr, noise, **options)
    theirs = dose(name, dtype, decay, lr, noise, compensated=False, **options)
    assert ours == pytest.approx(1.0, abs=0.15)
    assert abs(ours - 1.0) < abs(theirs - 1.0)
    assert lost[0] - 1e-3 <= theirs <= lost[1] + 1e-3


def test_a_gradient_that_overflowed_does_not_spoil_the_next():
    w = weight(BF16)
    optimizer = torch.optim.RMSprop([("w", w)])
    attach(optimizer, dw.Plan(1e-3, decay=dw.l2(0.1)), 9)
    start = w.detach().clone()
    w.grad = torch.full_like(w, math.inf)
    optimizer.step()
    with torch.no_grad():
        w.copy_(start)
        optimizer.state[w]["square_avg"].zero_()
    w.grad = torch.ones_like(w)
    optimizer.step()
    assert bool(w.isfinite().all())


# When it is on


def test_a_usual_float32_run_pays_nothing_and_is_torch_bit_for_bit():
    ends = []
    for attached in (True, False):
        torch.manual_seed(1)
        w = nn.Parameter(torch.randn(8, 4))
        optimizer = torch.optim.AdamW([("w", w)], lr=3e-4, weight_decay=0.1)
        if attached:
            assert attach(optimizer, dw.Plan(3e-4, decay=dw.decoupled(0.1)), 20).compensated == {}
        for _ in range(20):
            w.grad = torch.randn(8, 4)
            optimizer.step()
        assert set(optimizer.state[w]) == {"step", "exp_avg", "exp_avg_sq"}
        ends.append(w.detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize("dtype", [BF16, FP16], ids=str)
def test_switched_off_it_is_torch_bit_for_bit(dtype):
    ends = []
    for attached in (True, False):
        torch.manual_seed(1)
        w = nn.Parameter(torch.randn(8, 4).to(dtype))
        optimizer = torch.optim.AdamW([("w", w)], lr=0.01, weight_decay=0.5, eps=1e-4)
        if attached:
            assert attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.5)), 20, compensated=False).compensated == {}
        for _ in range(20):
            w.grad = torch.randn(8, 4).to(dtype)
            optimizer.step()
        ends.append(w.detach())
    assert torch.equal(*ends)


SHORT = {BF16, FP16}
ON = [
    (dw.Plan(3e-4, dw.cosine(), dw.decoupled(0.1)), None, SHORT),
    (dw.Plan(3e-4, dw.cosine(), dw.decoupled(0.1)), True, {*SHORT, F32}),
    (dw.Plan(3e-4, dw.cosine(), dw.decoupled(0.1)), False, set()),
    (dw.Plan(1e-4, dw.cosine(), dw.decoupled(1e-3)), None, {*SHORT, F32}),
    (dw.Plan(1e-3, decay=dw.decoupled(1e-5)), None, {*SHORT, F32}),
    (dw.Plan(1.0, dw.cosine(), dw.independent(3e-5)), None, SHORT),
    (dw.Plan(1e-3, decay=dw.decoupled(dw.linear(end=1e-8))), None, SHORT),
    (dw.Plan(0.1, dw.step(30), dw.l2(1e-4)), None, SHORT),
    (dw.Plan(1e-3, decay=dw.l2(1e-5)), None, {*SHORT, F32}),
]


@pytest.mark.parametrize(("plan", "asked", "types"), ON)
def test_float32_is_compensated_where_its_rounding_would_distort_the_dose(plan, asked, types):
    horizon = 100
    assert lossy_types([BF16, FP16, F32, F64], plan.resolve(horizon), horizon, 1.0, asked) == types


def test_a_scaled_learning_rate_decides_for_its_own_group():
    plan = dw.Plan(3e-4, decay=dw.decoupled(0.1), groups=(dw.Group("slow", "slow", 1e-3),))
    optimizer = torch.optim.AdamW([("fast", weight(F32)), ("slow", weight(F32))])
    assert attach(optimizer, plan, 10).compensated == {"slow": 24}


def test_a_run_planned_anew_decides_anew_and_resumes_as_it_was():
    ends = []
    for k in (None, 5, 12):
        w = weight(F32)
        optimizer = torch.optim.AdamW([("w", w)])
        plan = dw.Plan(1e-5, decay=dw.decoupled(1.0))
        controller = attach(optimizer, plan, 10**4)
        assert controller.compensated == {}
        still(optimizer, w, 4)
        controller.cooldown_now(36)
        assert controller.compensated == {"w": 24}
        for step in range(4, 40):
            if step == k:
                held, state = w.detach().clone(), through_a_file(optimizer.state_dict())
                w = nn.Parameter(held)
                optimizer = torch.optim.AdamW([("w", w)])
                controller = attach(optimizer, plan, 10**4)
                optimizer.load_state_dict(state)
            still(optimizer, w, 1)
        ends.append([w.detach(), optimizer.state[w][WEIGHT]["step"]])
    assert equal(ends[0], ends[1])
    assert equal(ends[0], ends[2])


def test_what_the_first_plan_would_lose_stays_compensated():
    optimizer = torch.optim.AdamW([("w", weight(F32))])
    controller = attach(optimizer, dw.Plan(3e-5, dw.multi_step([100], 1e-3), dw.decoupled(1.0)), 10**4)
    assert controller.compensated == {"w": 24}
    controller.cooldown_now(100)
    assert lossy_types([F32], controller.plan.resolve(controller.horizon), 100, 1.0) == set()
    assert controller.compensated == {"w": 24}


@pytest.mark.parametrize("decay", [dw.decoupled(0.01), dw.independent(1e-3), dw.corrected(0.01), dw.l2(0.01)], ids=str)
def test_a_feedback_rule_moves_the_compensated_share_too(decay):
    from dwindle.schedule import Plateau

    w, left = weight(BF16), Fraction(1)
    start = w.detach().clone()
    optimizer = torch.optim.SGD([("w", w)])
    controller = attach(optimizer, dw.Plan(0.1, dw.linear(), decay), 60, feedback=Plateau(0.5, patience=1))
    for step in range(60):
        rates = controller.rates()
        left *= Fraction(rates.shrink) * (1 - Fraction(float(rates.lr * rates.l2)))
        still(optimizer, w, 1)
        if step % 10 == 9:
            controller.observe(1.0)
    assert controller.lr < 0.01
    assert worst(w, start, left, BF16) <= 0.51


def test_deciding_takes_no_time_for_a_long_run():
    horizon, start = 10**12, time.perf_counter()
    plan = dw.Plan(3e-4, dw.warmup("2%").then(dw.cosine()), dw.decoupled(0.1)).resolve(horizon)
    assert lossy_types([BF16, FP16, F32], plan, horizon, 1.0) == SHORT
    assert time.perf_counter() - start < 1.0


@pytest.mark.law
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_what_is_lost_is_a_share_and_falls_as_the_decay_grows(shares):
    x = np.array(shares)
    assert 0.0 <= lost_share(x) <= 1.0
    assert lost_share(8.0 * x) <= lost_share(x) + 1e-12


def test_the_report_says_where_it_is_on_and_what_it_costs():
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)).to(BF16)
    optimizer = torch.optim.AdamW(model.named_parameters())
    controller = attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), 10, model=model)
    assert controller.compensated == {"0.weight": 64}
    first, *lines = controller.report().splitlines()
    assert first == "decoupled 0.1; compensated for rounding, 64 bytes"
    assert [line for line in lines if "compensated, 64 bytes" in line] == [
        line for line in lines if line.startswith("0.weight")
    ]
    with pytest.raises(InvalidValueError, match="compensated must be True or False"):
        attach(torch.optim.AdamW(nn.Linear(2, 2).parameters()), dw.Plan(0.1), 10, compensated="yes")


def test_types_may_mix_in_a_group_and_complex_weights_stay_as_they_are():
    plan, left = dw.Plan(0.01, decay=dw.decoupled(0.1)), 0.999**30
    params = {t: weight(t) for t in (BF16, F32, F64)} | {torch.complex64: nn.Parameter(torch.ones(2, 2) + 0j)}
    optimizer = torch.optim.AdamW([(str(t), p) for t, p in params.items()])
    start = {t: p.detach().clone() for t, p in params.items()}
    assert attach(optimizer, plan, 30).compensated == {"torch.bfloat16": 24}
    for _ in range(30):
        for p in params.values():
            p.grad = torch.zeros_like(p)
        optimizer.step()
    assert worst(params[BF16], start[BF16], Fraction(left), BF16) <= 0.51
    for t in (F32, F64, torch.complex64):
        torch.testing.assert_close(params[t].detach(), start[t] * left, rtol=1e-5, atol=0)


# Resuming

STEPS = 5
RUNS = {
    "AdamW": ("AdamW", BF16, {}, dw.decoupled(0.5)),
    "AdamW fused": ("AdamW", BF16, {"fused": True}, dw.decoupled(0.5)),
    "float32 tail": ("AdamW", F32, {}, dw.decoupled(1e-5)),
    "SGD": ("SGD", FP16, {}, dw.independent(1e-3)),
    "l2 momentum": ("SGD", BF16, {"momentum": 0.9}, dw.l2(0.05)),
    "l2 Adam": ("Adam", BF16, {"foreach": False}, dw.l2(0.01)),
    "cautious": ("RMSprop", BF16, {}, dw.corrected(0.5, cautious=True)),
}


def model_and_optimizer(name, dtype, options, seed=3):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).to(dtype)
    return model, getattr(torch.optim, name)(model.named_parameters(), **options)


def learn(model, optimizer, step):
    torch.manual_seed(100 + step)
    for p in model.parameters():
        p.grad = 0.1 * torch.randn(p.shape).to(p.dtype)
    optimizer.step()
    optimizer.zero_grad()


def through_a_file(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def state_of(model, optimizer):
    rests = [[optimizer.state[p].get(n, {}).get("step") for n in names] for p in model.parameters()]
    return [p.detach().clone() for p in model.parameters()], rests


names = (compensation.WEIGHT, compensation.VELOCITY, compensation.GRADIENT)


def equal(one, two):
    if torch.is_tensor(one) and torch.is_tensor(two):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(equal(a, b) for a, b in zip(one, two, strict=True))
    return one is None and two is None


ORDERS = ["oac", "ao", *(pytest.param(order, marks=pytest.mark.slow) for order in ("aoc", "aco", "oa"))]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("run", RUNS)
def test_resuming_anywhere_in_any_order_is_continuing_bit_for_bit(run, order):
    name, dtype, options, decay = RUNS[run]
    plan = dw.Plan(0.01, dw.warmup(2).then(dw.cosine()), decay)
    model, optimizer = model_and_optimizer(name, dtype, options)
    controller = attach(optimizer, plan, STEPS)
    assert controller.compensated
    saved = []
    for step in range(STEPS):
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "controller": controller.state_dict(),
        }
        saved.append(through_a_file(state))
        learn(model, optimizer, step)
    for k, state in enumerate(saved):
        again, second = model_and_optimizer(name, dtype, options, seed=9)
        again.load_state_dict(state["model"])
        held, other = copy.deepcopy(state["optimizer"]), None
        for letter in order:
            if letter == "a":
                other = attach(second, plan, STEPS)
            elif letter == "o":
                second.load_state_dict(state["optimizer"])
            else:
                other.load_state_dict(state["controller"])
        for step in range(k, STEPS):
            learn(again, second, step)
        assert other.step == STEPS
        assert equal(state_of(again, second), state_of(model, optimizer)), k
        for i, entry in held["state"].items():  # a checkpoint that was loaded is not written to
            for n in names:
                assert equal(entry.get(n, {}).get("step"), state["optimizer"]["state"][i].get(n, {}).get("step"))


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("run", ["AdamW", "SGD", "l2 momentum", "l2 Adam"])
def test_distributed_checkpoints_carry_the_residues(run, flat, tmp_path):
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_model_state_dict,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    name, dtype, options, decay = RUNS[run]
    plan, how = dw.Plan(0.01, decay=decay), StateDictOptions(flatten_optimizer_state_dict=flat)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about running without a process group
        model, optimizer = model_and_optimizer(name, dtype, options)
        attach(optimizer, plan, STEPS)
        for step in range(3):
            learn(model, optimizer, step)
        state = {"model": get_model_state_dict(model), "optim": get_optimizer_state_dict(model, optimizer, options=how)}
        dcp.save(state, checkpoint_id=tmp_path)
        for step in range(3, STEPS):
            learn(model, optimizer, step)
        again, second = model_and_optimizer(name, dtype, options, seed=9)
        controller = attach(second, plan, STEPS)
        blank = {"model": get_model_state_dict(again), "optim": get_optimizer_state_dict(again, second, options=how)}
        dcp.load(blank, checkpoint_id=tmp_path)
        again.load_state_dict(blank["model"])
        set_optimizer_state_dict(again, second, blank["optim"], options=how)
        controller.load_state_dict({**controller.state_dict(), "step": 3})
        for step in range(3, STEPS):
            learn(again, second, step)
    assert equal(state_of(again, second), state_of(model, optimizer))


def test_the_controller_alone_restores_all_but_the_residues():
    plan, rounding = dw.Plan(0.01, decay=dw.decoupled(0.1)), 2**-8
    w = weight(BF16, [1.0, 1.0])
    optimizer = torch.optim.SGD([("w", w)])
    controller = attach(optimizer, plan, 300)
    still(optimizer, w, 150)
    second = nn.Parameter(w.detach().clone())
    other = torch.optim.SGD([("w", second)])
    attach(other, plan, 300).load_state_dict(controller.state_dict())
    still(optimizer, w, 150)
    still(other, second, 150)
    assert float((w - second).detach().abs().max()) <= rounding


def test_a_checkpoint_loads_without_dwindle_and_of_another_model_is_refused():
    model, optimizer = model_and_optimizer("AdamW", BF16, {})
    attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), STEPS)
    learn(model, optimizer, 0)
    saved = copy.deepcopy(optimizer.state_dict())
    again, plain = model_and_optimizer("AdamW", BF16, {})
    plain.load_state_dict(saved)
    learn(again, plain, 1)
    spoiled = copy.deepcopy(saved)
    spoiled["state"][0][WEIGHT]["step"] = torch.zeros(5)
    other, second = model_and_optimizer("AdamW", BF16, {})
    attach(second, dw.Plan(0.01, decay=dw.decoupled(0.1)), STEPS)
    second.load_state_dict(spoiled)
    with pytest.raises(ResumeError, match=r"of shape \(5,\) was loaded for a parameter of shape \(4, 3\)"):
        learn(other, second, 1)


def test_the_same_run_twice_is_the_same_bits():
    ends = []
    for _ in range(2):
        model, optimizer = model_and_optimizer("NAdam", BF16, {})
        attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), 20)
        for step in range(20):
            learn(model, optimizer, step)
        ends.append(state_of(model, optimizer))
    assert equal(*ends)


# What happens to weights besides


def halfway(dtype=BF16, **options):
    w = weight(dtype, [1.0, 100.0])
    optimizer = torch.optim.SGD([("w", w)], **options)
    controller = attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.03)), 100)
    still(optimizer, w, 5)  # 1 has lost 1.5e-3, less than half of 2⁻⁸
    assert optimizer.state[w][WEIGHT]["step"].abs().min() > 1e-3
    return w, optimizer, controller


def put_zero(w):
    nn.init.zeros_(w)


def put_small(w):
    with torch.no_grad():
        w.copy_(torch.full_like(w, 1e-3))


def put_state(w):
    holder = nn.ParameterDict({"w": w})
    holder.load_state_dict({"w": torch.full_like(w, 1e-3)})


def put_memory(w):
    w.data = torch.full_like(w, 1e-3)


@pytest.mark.parametrize("put", [put_zero, put_small, put_state, put_memory], ids=lambda f: f.__name__)
def test_a_weight_that_someone_overwrote_is_not_pushed_by_the_old_ones_residue(put):
    w, optimizer, _ = halfway()
    put(w)
    start = w.detach().clone()
    still(optimizer, w, 10)
    left = Fraction(1 - 0.0003) ** 10
    assert torch.equal(w.detach(), start) if put is put_zero else worst(w, start, left, BF16) <= 0.51


def test_weights_that_are_written_back_or_clamped_keep_their_decay():
    w, optimizer, _ = halfway()
    for _ in range(95):
        with torch.no_grad():
            held = w.clone()
            w.zero_()  # another set of weights for an evaluation
            w.copy_(held)
            w.clamp_(-100.0, 100.0)
        still(optimizer, w, 1)
    assert worst(w, weight(BF16, [1.0, 100.0]).detach(), Fraction(1 - 0.0003) ** 100, BF16) <= 0.51


@pytest.mark.parametrize("through_data", [False, True])
def test_good_weights_put_in_the_place_of_spoiled_ones_stay_good(through_data):
    w, optimizer, _ = halfway()
    good = w.detach().clone()
    w.grad = torch.full_like(w, math.nan)
    optimizer.step()
    assert bool(w.isnan().all())
    with torch.no_grad():
        (w.data if through_data else w).copy_(good)
    still(optimizer, w, 3)
    assert torch.equal(w.detach(), good)


def test_an_update_across_binades_or_to_zero_keeps_the_decay_to_the_last_digit():
    w, optimizer, _ = halfway()
    rest = optimizer.state[w][WEIGHT]["step"].clone()
    w.grad = (w.detach() / 0.01).to(BF16)  # takes the whole weight away
    exact = w.detach().double() + rest.double()
    optimizer.step()
    update = 0.01 * w.grad.double()
    true = w.detach().double() + optimizer.state[w][WEIGHT]["step"].double()
    assert torch.allclose(true, exact * (1 - 0.0003) - update, rtol=0, atol=0.5)
    assert bool((w.detach().double().abs() <= 0.5).all())
    assert bool((optimizer.state[w][WEIGHT]["step"].abs() <= w.detach().float().abs() * 2**-8).all())


@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": True}], ids=str)
@pytest.mark.parametrize("cautious", [False, True])
def test_a_residue_outlives_an_update_to_where_half_a_unit_is_smaller_than_it(cautious, options):
    """Also in the first step after a resume, which asks whether the weight is still the one it was left beside."""
    plan = dw.Plan(2**-6, decay=dw.independent(1e-3, cautious=cautious))
    w = weight(BF16, [1 + 2**-7] * 2)
    optimizer = torch.optim.SGD([("w", w)], **options)
    attach(optimizer, plan, 10)
    still(optimizer, w, 3)  # leaves -0.003 beside a weight whose half unit is 0.0039
    again = nn.Parameter(w.detach().clone())
    second = torch.optim.SGD([("w", again)], **options)
    attach(second, plan, 10)
    second.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for kept, moves in ((w, optimizer), (again, second)):
        kept.grad = torch.full_like(kept, 1.25)
        moves.step()  # takes it down to 253/256, where half a unit is 0.00195
        true = kept.detach().double() + moves.state[kept][WEIGHT]["step"].double()
        exact = (1 + 2**-7) * 0.999**4 - 1.25 * 2**-6
        torch.testing.assert_close(true, torch.full_like(true, exact), rtol=0, atol=1e-7)


def test_a_step_skipped_by_the_scaler_and_a_parameter_without_gradient_do_not_decay():
    for fused in (False, True):
        w, idle = weight(BF16, [1.0, 1.0]), weight(BF16, [1.0, 1.0])
        optimizer = torch.optim.AdamW([("w", w), ("idle", idle)], fused=fused)
        controller = attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.03)), 60)
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for call in range(60):
            w.grad = torch.zeros_like(w) if call % 3 else torch.full_like(w, math.inf)
            scaler.scale(torch.tensor(1.0))
            scaler.step(optimizer)
            scaler.update()
        assert controller.step == 40
        assert worst(w, torch.ones(2), Fraction(1 - 0.0003) ** 40, BF16) <= 0.51
        assert torch.equal(idle.detach(), torch.ones_like(idle))
        assert idle not in optimizer.state


def test_under_a_closure_the_residues_are_those_of_the_plain_step():
    ends = []
    for closed in (False, True):
        w = weight(BF16)
        optimizer = torch.optim.AdamW([("w", w)])
        attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), 20)
        for step in range(20):

            def closure(step=step, w=w):
                torch.manual_seed(step)
                w.grad = torch.randn(w.shape).to(BF16) + w.detach()
                return 0.0

            if closed:
                optimizer.step(closure)
            else:
                closure()
                optimizer.step()
        ends.append([w.detach().clone(), optimizer.state[w][WEIGHT]["step"]])
    assert equal(*ends)


def test_sparse_gradients_and_tied_weights_decay_once():
    embed, head = nn.Embedding(4, 2, sparse=True).to(BF16), nn.Linear(2, 4, bias=False)
    head.weight = embed.weight
    start = embed.weight.detach().clone()
    model, mask = nn.ModuleList([embed, head]), dw.Mask.everything()
    optimizer = torch.optim.SGD(model.parameters())
    attach(optimizer, dw.Plan(1e-30, decay=dw.independent(1e-3), mask=mask), 50, model=model)
    for _ in range(50):
        embed.weight.grad = torch.sparse_coo_tensor([[1]], torch.ones(1, 2).to(BF16), (4, 2), check_invariants=True)
        optimizer.step()
    assert worst(embed.weight, start, Fraction(0.999) ** 50, BF16) <= 0.51


def test_groups_added_later_are_compensated_too():
    first, second = weight(BF16), weight(BF16)
    optimizer = torch.optim.AdamW([("first", first)])
    controller = attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.1)), 30)
    optimizer.add_param_group({"params": [("second", second)]})
    for _ in range(30):
        first.grad, second.grad = torch.zeros_like(first), torch.zeros_like(second)
        optimizer.step()
    assert controller.compensated == {"first": 24, "second": 24}
    assert torch.equal(first.detach(), second.detach())


def test_detach_drops_the_residues_and_gives_the_momentum_back():
    w, optimizer, controller = halfway()
    controller.detach()
    assert w not in optimizer.state
    w = weight(BF16)
    start = w.detach().clone().float()
    optimizer = torch.optim.SGD([w], momentum=0.5)
    controller = attach(optimizer, dw.Plan(0.01, decay=dw.l2(0.1)), 9)
    still(optimizer, w, 1)
    controller.detach()
    assert set(optimizer.state[w]) == {"momentum_buffer"}
    torch.testing.assert_close(optimizer.state[w]["momentum_buffer"].float(), 0.1 * start, rtol=1e-2, atol=0)


def test_a_weight_that_moves_to_another_type_of_memory_takes_its_residue_along():
    w, optimizer, _ = halfway()
    rest = optimizer.state[w][WEIGHT]["step"]
    optimizer.state[w][WEIGHT]["step"] = rest.double().clone()  # as someone's own mover might leave it
    still(optimizer, w, 95)
    assert optimizer.state[w][WEIGHT]["step"].dtype is F32
    assert worst(w, weight(BF16, [1.0, 100.0]).detach(), Fraction(1 - 0.0003) ** 100, BF16) <= 0.51


def test_sharded_weights_keep_sharded_residues():
    import torch.distributed as dist
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        mesh, ends = init_device_mesh("cpu", (1,)), []
        for sharded in (False, True):
            for decay in (dw.decoupled(0.1), dw.decoupled(0.1, cautious=True), dw.l2(0.1)):
                start = weight(BF16).detach()
                w = nn.Parameter(distribute_tensor(start, mesh, [Shard(0)]) if sharded else start.clone())
                optimizer = torch.optim.AdamW([("w", w)])
                attach(optimizer, dw.Plan(0.01, decay=decay), 20)
                for step in range(20):
                    torch.manual_seed(step)
                    grad = torch.randn(3, 2).to(BF16)
                    w.grad = distribute_tensor(grad, mesh, [Shard(0)]) if sharded else grad
                    optimizer.step()
                names = [n for n in optimizer.state[w] if n.startswith("dwindle")]
                assert all(isinstance(optimizer.state[w][n]["step"], type(w.data)) for n in names)
                rests = [optimizer.state[w][n]["step"] for n in names]
                ends.append([t.full_tensor() if sharded else t for t in (w.detach(), *rests)])
        assert equal(ends[:3], ends[3:])
    finally:
        dist.destroy_process_group()


@pytest.mark.law
@settings(deadline=None, max_examples=25)
@given(st.integers(0, 30), st.sampled_from(["AdamW", "SGD", "Adagrad"]), st.floats(1e-7, 1e-2))
def test_a_resume_in_the_middle_costs_no_digit(k, name, x):
    plan, w = dw.Plan(1.0, TAIL, dw.independent(x)), weight(BF16)
    start = w.detach().clone()
    optimizer = made(name, w, BF16)
    attach(optimizer, plan, 30)
    still(optimizer, w, k)
    second = nn.Parameter(w.detach().clone())
    other = made(name, second, BF16)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    attach(other, plan, 30)
    still(other, second, 30 - k)
    assert worst(second, start, product(plan, 30), BF16) <= 0.51
