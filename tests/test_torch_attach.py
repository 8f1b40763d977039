"""attach: every optimiser, convention and implementation against the reference; resume, misuse, and the traps of torch."""

from __future__ import annotations

import copy
import io
import json
import math
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import dwindle as dw
from dwindle import reference
from dwindle.errors import InvalidValueError, ResumeError, UnknownNameError, UnresolvedTimeError
from dwindle.torch import attach, params

GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"
DECAYS = [dw.l2(0.3), dw.decoupled(0.7), dw.independent(0.05), dw.corrected(0.7)]
CAUTIOUS = [kind(0.7, cautious=True) for kind in (dw.decoupled, dw.independent, dw.corrected)]
SCHEDULE = dw.warmup(5).then(dw.cosine(end=0.1))
HOW = [{"foreach": False}, {"foreach": True}, {"fused": True}]
CLASSES = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad]
CLASSES += [torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax, torch.optim.Adadelta, torch.optim.Adafactor]
FUSED = {torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad}
EVERY_WAY = [(kind, how) for kind in CLASSES for how in HOW if "fused" not in how or kind in FUSED]


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Fused kernels on a few numbers spend all their time waiting for a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ids(value):
    return value.__name__ if isinstance(value, type) else str(value)


def tensors(seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    shapes = {"kernel": (4, 3), "filter": (2, 3, 2), "bias": (3,)}
    return {name: nn.Parameter(torch.tensor(rng.normal(size=shape), dtype=dtype)) for name, shape in shapes.items()}


def gradients(steps, seed=1):
    rng = np.random.default_rng(seed)
    return [{name: rng.normal(size=tuple(p.shape)) for name, p in tensors().items()} for _ in range(steps)]


def give(weights, grads):
    for name, p in weights.items():
        p.grad = torch.tensor(grads[name], dtype=p.dtype)


def train(optimizer, weights, grads):
    """Return every weight after each step, and the lr each step used."""
    path, lrs = {name: [p.detach().clone().numpy()] for name, p in weights.items()}, []
    for grad in grads:
        give(weights, grad)
        optimizer.step()
        lrs.append(float(optimizer.param_groups[0]["lr"]))
        for name, p in weights.items():
            path[name].append(p.detach().clone().numpy())
        optimizer.zero_grad()
    return {name: np.array(w) for name, w in path.items()}, lrs


def wanted(optimiser, plan, grads):
    resolved = plan.resolve(len(grads))
    start = {name: p.detach().numpy() for name, p in tensors().items()}
    return reference.run(
        optimiser,
        start,
        lambda _, step: grads[step],
        lambda step, name: resolved.rates(step, decays=name != "bias"),
        len(grads),
        cautious=plan.decay is not None and plan.decay.cautious,
    )


def assert_close(path, other, tolerance=1e-12):
    for name, values in path.items():
        np.testing.assert_allclose(values, other[name], rtol=tolerance, atol=tolerance)


# Exactness


PRODUCTS = [
    (kind, how, decay)
    for kind, how in EVERY_WAY
    for decay in DECAYS + CAUTIOUS
    if decay.convention != "l2" or kind is torch.optim.SGD  # only plain SGD turns l2 into a factor
]


@pytest.mark.parametrize(("kind", "how", "decay"), PRODUCTS, ids=ids)
def test_without_gradient_the_weights_are_multiplied_by_the_product_of_the_shrinks(kind, how, decay):
    plan, steps = dw.Plan(0.2, SCHEDULE, decay), 40
    weights, zeros = tensors(), [{n: np.zeros(p.shape) for n, p in tensors().items()}] * steps
    optimizer = kind(weights.items(), **how)
    attach(optimizer, plan, steps)
    path, _ = train(optimizer, weights, zeros)
    left = plan.shares_left(steps)
    assert left[-1] < 0.5
    for name in ("kernel", "filter"):
        shares = left.reshape(-1, *[1] * weights[name].ndim)
        np.testing.assert_allclose(path[name], path[name][:1] * shares, rtol=1e-12)
    assert np.array_equal(path["bias"], np.broadcast_to(path["bias"][0], path["bias"].shape))


RIVALS = {
    "SGD": (torch.optim.SGD, {}, reference.SGD()),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, reference.SGD(0.9)),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, reference.SGD(0.9, nesterov=True)),
    "Adam": (torch.optim.Adam, {}, reference.Adam()),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}, reference.Adam(amsgrad=True)),
    "AdamW": (torch.optim.AdamW, {}, reference.Adam()),
}


@pytest.mark.parametrize("schedule", [dw.constant(), SCHEDULE, dw.step(7), dw.wsd("10%", "30%")], ids=str)
@pytest.mark.parametrize("decay", [None, *DECAYS, *CAUTIOUS], ids=str)
@pytest.mark.parametrize("name", RIVALS)
def test_thirty_steps_are_those_of_the_reference(name, decay, schedule):
    kind, options, optimiser = RIVALS[name]
    plan, grads = dw.Plan(0.05, schedule, decay), gradients(30)
    expected = wanted(optimiser, plan, grads)
    for how in HOW:
        weights = tensors()
        optimizer = kind(weights.items(), **options, **how)
        attach(optimizer, plan, 30)
        path, lrs = train(optimizer, weights, grads)
        assert_close(path, expected)
        assert lrs == plan.lrs(30).tolist()


@pytest.mark.parametrize("decay", [*DECAYS, CAUTIOUS[0]], ids=str)
@pytest.mark.parametrize("how", HOW, ids=str)
def test_maximise_decays_too(decay, how):
    grads = gradients(12)
    paths = []
    for sign in (1.0, -1.0):
        weights = tensors()
        optimizer = torch.optim.SGD(weights.items(), momentum=0.5, maximize=sign < 0, **how)
        attach(optimizer, dw.Plan(0.1, SCHEDULE, decay), 12)
        paths.append(train(optimizer, weights, [{n: sign * g for n, g in grad.items()} for grad in grads])[0])
    assert_close(*paths)


class Lion(torch.optim.Optimizer):
    """An optimiser that torch does not have, with a weight_decay nobody has told us about."""

    def __init__(self, parameters, weight_decay=0.0, maximize=False):
        super().__init__(parameters, {"lr": 0.1, "weight_decay": weight_decay, "maximize": maximize})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            assert group["weight_decay"] == 0.0
            for p in group["params"]:
                p.add_(p.grad, alpha=group["lr"] if group["maximize"] else -group["lr"])


@pytest.mark.parametrize("decay", [*DECAYS, CAUTIOUS[0]], ids=str)
@pytest.mark.parametrize("maximize", [False, True])
def test_an_unknown_optimiser_gets_the_decay_from_outside_and_its_gradients_back(decay, maximize):
    plan, grads, weights = dw.Plan(0.05, SCHEDULE, decay), gradients(20), tensors()
    optimizer = Lion(weights.items(), maximize=maximize)
    attach(optimizer, plan, 20)
    path, _ = train(optimizer, weights, [{n: (-g if maximize else g) for n, g in grad.items()} for grad in grads])
    assert_close(path, wanted(reference.SGD(), plan, grads))
    give(weights, grads[0])
    held = {n: (p.grad, p.grad.clone()) for n, p in weights.items()}
    with pytest.warns(UserWarning, match="beyond"):
        optimizer.step()
    assert all(p.grad is held[n][0] and torch.equal(p.grad, held[n][1]) for n, p in weights.items())


class Averaging(torch.optim.Optimizer):
    """An optimiser that torch does not have, with an average of its gradients and what its groups say beside."""

    def __init__(self, parameters, **options):
        super().__init__(parameters, {"lr": 0.1, **options})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.sub_(average.lerp_(p.grad, 0.1), alpha=group["lr"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{"nesterov": True}, {"nesterov": True, "momentum": None}], ids=str)
def test_a_cautious_decay_under_nesterov_of_no_momentum_that_is_told_goes_by_the_average(options, dtype):
    torch.manual_seed(0)
    start, grads, ends = torch.randn(8, 8).to(dtype), torch.randn(20, 8, 8).to(dtype), []
    for given in ({}, options):
        w = nn.Parameter(start.clone())
        optimizer = Averaging([("w", w)], **given)
        attach(optimizer, dw.Plan(1e-3, decay=dw.independent(0.1, cautious=True)), 20)
        for grad in grads:
            w.grad = grad.clone()
            optimizer.step()
        ends.append(w.detach())
    assert torch.equal(*ends)


@pytest.mark.parametrize("compensated", [False, True])
def test_a_cautious_decay_reaches_the_rows_that_a_sparse_gradient_leaves(compensated):
    """SparseAdam moves only the rows of the batch: elsewhere u is 0, and so the row decays, whatever its moments say."""
    table = nn.Embedding(4, 2, sparse=True)
    nn.init.ones_(table.weight)
    optimizer = torch.optim.SparseAdam(table.parameters())
    attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.5, cautious=True)), 9, model=table, compensated=compensated)
    for rows in ([0, 0], [1], [1, 3], [1]):
        (-table(torch.tensor(rows)).sum()).backward()  # away from 0, so what it moves does not decay
        optimizer.step()
        optimizer.zero_grad()
    assert table.weight[0].tolist() == pytest.approx([1.1 * 0.95**3] * 2, rel=1e-6)
    assert table.weight[2].tolist() == pytest.approx([0.95**4] * 2, rel=1e-6)
    assert float(table.weight.detach()[1, 0]) > 1.2


@pytest.mark.parametrize("decay", [dw.l2(0.01), dw.decoupled(0.1), dw.independent(1e-3)], ids=str)
def test_muon_decays_with_the_unadjusted_learning_rate(decay):
    muon = getattr(torch.optim, "Muon", None)
    if muon is None:
        pytest.fail("this torch has no Muon; it came with 2.9")
    weights = {"kernel": tensors()["kernel"]}
    still = {"kernel": np.zeros((4, 3))}
    optimizer = muon(list(weights.items()))
    attach(optimizer, dw.Plan(0.1, decay=decay), 10)
    path, _ = train(optimizer, weights, [still] * 10)
    if decay.convention == "l2":  # orthogonalised like any gradient: the weights shrink, but not by a factor
        assert np.linalg.norm(path["kernel"][-1]) < np.linalg.norm(path["kernel"][0])
    else:
        left = dw.Plan(0.1, decay=decay).shares_left(10)[:, None, None]
        np.testing.assert_allclose(path["kernel"], path["kernel"][:1] * left, rtol=1e-12)


@pytest.mark.parametrize("how", HOW, ids=str)
def test_adamw_under_a_plan_is_adamw_bit_for_bit(how):
    grads, ends = gradients(25), []
    for attached in (False, True):
        weights = tensors()
        matrices, bias = [weights["kernel"], weights["filter"]], [weights["bias"]]
        if attached:
            optimizer = torch.optim.AdamW(weights.items(), **how)
            attach(optimizer, dw.Plan(0.01, decay=dw.decoupled(0.3)), 25)
        else:
            groups = [{"params": matrices}, {"params": bias, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.3, **how)
        ends.append(train(optimizer, weights, grads)[0])
    assert all(np.array_equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_recorded_runs_of_torch_are_reproduced(name):
    if not GOLDEN.is_dir():
        pytest.skip("golden values are not beside the repository")
    record = json.loads((GOLDEN / f"wd_torch_{name}.json").read_text())
    rules = record["problem"]["problems"]
    for case in record["cases"]:
        options, lrs, dtype = dict(case["params"]), case["lrs"], getattr(torch, case["dtype"])
        lam, options["lr"], options["weight_decay"] = options["weight_decay"], 1.0, 0.0
        mask = dw.Mask((*(dw.Rule("name", n, False) for n in case["no_decay"]), dw.Rule("name", "*", True)))
        peak = max(lrs)
        decay = dw.decoupled(lam) if name == "AdamW" else dw.l2(lam)
        plan = dw.Plan(peak, dw.table([lr / peak for lr in lrs]), decay, mask)
        weights = {n: nn.Parameter(torch.tensor(v, dtype=dtype)) for n, v in record["problem"]["init"].items()}
        optimizer = getattr(torch.optim, name)(weights.items(), **options)
        attach(optimizer, plan, len(lrs))
        tolerance = {"rtol": 1e-10, "atol": 1e-13} if dtype is torch.float64 else {"rtol": 1e-5, "atol": 1e-7}
        for step, after in enumerate(case["trajectory"]):
            grads = rules["fixed"]["grads"][step]
            if case["problem"] == "quadratic":
                now, rule = {n: p.detach().numpy() for n, p in weights.items()}, rules["quadratic"]
                grads = {n: np.array(rule["curvature"][n]) * (w - np.array(rule["target"][n])) for n, w in now.items()}
            give(weights, grads)
            optimizer.step()
            for n, p in weights.items():
                np.testing.assert_allclose(p.detach().numpy(), after[n], **tolerance)
    assert sum(case["dtype"] == "float64" for case in record["cases"]) >= 5


def test_in_float32_a_small_share_keeps_its_size():
    plan = dw.Plan(1.0, decay=dw.independent(3e-5))
    weight = nn.Parameter(torch.linspace(0.5, 2.0, 400).reshape(20, 20))
    start = weight.detach().double()
    optimizer = torch.optim.RMSprop([weight])
    attach(optimizer, plan, 500)
    for _ in range(500):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    measured = float(torch.log(start / weight.detach().double()).mean())
    assert measured == pytest.approx(-500 * math.log1p(-3e-5), rel=2e-4)  # rounding 1 - 3e-5 first would cost 1e-3


# Models


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        h = self.embed(x)
        for block in self.blocks:
            h = torch.tanh(block(h))
        return self.head(self.norm(h) + self.frozen(h))


def small():
    torch.manual_seed(3)
    return Small().double()


def learn(model, optimizer, batch=0):
    x = torch.arange(7).roll(batch)
    nn.functional.cross_entropy(model(x), x).backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.RMSprop], ids=ids)
def test_tied_frozen_unused_and_normalisation_parameters(kind):
    model = small()
    start = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = kind(model.named_parameters())
    mask = dw.Mask.of(dw.Rule("name", "norm.weight", True))
    controller = attach(optimizer, dw.Plan(1e-9, decay=dw.independent(0.25), mask=mask), 3, model=model)
    learn(model, optimizer)
    for name, p in model.named_parameters():
        moves = name.endswith("weight") and name not in ("frozen.weight", "unused.weight")
        torch.testing.assert_close(p.detach(), start[name] * (0.75 if moves else 1.0), rtol=1e-7, atol=1e-7)
    lines = controller.report().splitlines()
    assert lines[0] == "independent 0.25"
    said = {line.split()[0]: line for line in lines[1:]}
    assert "decays" in said["embed.weight"]
    assert "tied to embed.weight" in said["head.weight"]
    assert 'name "norm.weight" decays' in said["norm.weight"]
    assert "does not" in said["norm.bias"]
    assert len(said) == len(params(model)) == len(list(model.named_parameters())) + 1


def test_a_tied_tensor_has_the_rates_of_its_first_name():
    model = small()
    plan = dw.Plan(0.1, decay=dw.l2(0.1), layer_decay=0.5)
    controller = attach(torch.optim.SGD(model.named_parameters()), plan, 5, model=model)
    assert controller.rates("head.weight") == controller.rates("embed.weight")
    assert controller.rates("head.weight").lr == 0.1 / 8
    with pytest.raises(UnknownNameError, match=r"head\.\*"):  # a rule that could do nothing
        attach(torch.optim.SGD(model.parameters()), dw.Plan(0.1, groups=(dw.Group("h", "head.*"),)), 5, model=model)


def test_the_kind_of_a_module_comes_from_the_model():
    model = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2)).double()
    plan = dw.Plan(0.5, decay=dw.decoupled(1.0), mask=dw.Mask.of(dw.Rule("kind", "Embedding*", False)))
    optimizer = torch.optim.SGD(model.parameters())
    controller = attach(optimizer, plan, 1, model=model)
    assert controller.rates("0.weight").shrink == 1.0
    assert controller.rates("1.weight").shrink == 0.5
    assert controller.rates() == controller.rates("1.weight")
    with pytest.raises(UnknownNameError, match="did you mean"):
        controller.rates("1.wieght")


def test_without_names_the_shape_decides():
    weights = tensors()
    controller = attach(torch.optim.SGD(list(weights.values())), dw.Plan(0.1, decay=dw.l2(0.2)), 1)
    assert [a.split()[:2] for a in controller.report().splitlines()[1:]] == [
        ["group0.0", "decays"],
        ["group0.1", "decays"],
        ["group0.2", "-"],
    ]


def test_groups_and_layers_scale_the_learning_rate_and_the_decay_with_it():
    model = small()
    plan = dw.Plan(0.1, SCHEDULE, dw.decoupled(0.5), groups=(dw.Group("norm", "norm.*", 3.0),), layer_decay=0.5)
    optimizer = torch.optim.SGD([{"params": model.named_parameters(), "momentum": 0.9, "lr": 7.0}])
    controller = attach(optimizer, plan, 20)
    seen = {}
    for group in optimizer.param_groups:
        assert group["momentum"] == 0.9
        for name in group["param_names"]:
            seen[name] = group["lr"]
            assert group["lr"] == controller.rates(name).lr
    learn(model, optimizer)
    peak = plan.peak * plan.resolve(20).schedule(1)
    assert controller.rates("blocks.0.weight").lr == pytest.approx(peak / 4, rel=1e-15)
    assert controller.rates("norm.weight").lr == pytest.approx(3 * peak, rel=1e-15)
    assert controller.rates("embed.weight").lr == pytest.approx(peak / 8, rel=1e-15)
    assert controller.rates("blocks.1.weight").shrink == pytest.approx(1 - peak / 2 * 0.5, rel=1e-15)
    assert "lr × 0.125" in controller.report()
    assert set(seen) == {n for n, _ in model.named_parameters()}


def test_layers_are_counted_in_the_order_of_the_model_not_of_the_optimiser():
    model = small()
    names = dict(model.named_parameters())
    order = sorted(names, key=lambda n: n.endswith("weight"))
    plan = dw.Plan(0.1, layer_decay=0.5)
    controller = attach(torch.optim.SGD([(n, names[n]) for n in order]), plan, 5, model=model)
    assert controller.rates("embed.weight").lr == pytest.approx(0.1 / 8)
    assert controller.rates("norm.bias").lr == pytest.approx(0.1)


def test_a_tensor_lr_is_filled_in_place_and_not_shared():
    weights, lr = tensors(), torch.tensor(0.5)
    optimizer = torch.optim.AdamW(weights.items(), lr=lr, foreach=False)
    plan = dw.Plan(0.1, dw.linear(), dw.independent(0.1), groups=(dw.Group("b", "bias", 2.0),))
    attach(optimizer, plan, 4)
    held = [group["lr"] for group in optimizer.param_groups]
    assert len({id(t) for t in held}) == len(held) == 2
    path, _ = train(optimizer, weights, gradients(4))
    assert all(group["lr"] is t for group, t in zip(optimizer.param_groups, held, strict=True))
    assert float(held[1]) == np.float32(2 * plan.lrs(4)[3])
    assert lr == 0.5
    assert_close(path, _with_scale(plan, 4), 1e-7)


def _with_scale(plan, steps):
    grads, resolved = gradients(steps), plan.resolve(steps)
    scale = {"bias": 2.0}
    return reference.run(
        reference.Adam(),
        {name: p.detach().numpy() for name, p in tensors().items()},
        lambda _, step: grads[step],
        lambda step, name: resolved.rates(step, lr_scale=scale.get(name, 1.0), decays=name != "bias"),
        steps,
    )


# What a step is


def linear_closure(weights, optimizer, grads, log):
    """Return a closure whose gradient depends on the weights it sees: g + w."""

    def closure():
        optimizer.zero_grad()
        for name, p in weights.items():
            p.grad = torch.tensor(grads[len(log)][name]) + p.detach()
        log.append(1)
        return torch.tensor(0.0)

    return closure


@pytest.mark.parametrize("decay", [*DECAYS, CAUTIOUS[0]], ids=str)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adagrad], ids=ids)
@pytest.mark.parametrize("by_name", [False, True])
def test_a_closure_sees_the_weights_before_they_decay(kind, decay, by_name):
    grads, plan, ends = gradients(10), dw.Plan(0.05, SCHEDULE, decay), []
    for closed in (False, True):
        weights, log = tensors(), []
        optimizer = kind(weights.items())
        attach(optimizer, plan, 10)
        closure = linear_closure(weights, optimizer, grads, log)
        for _ in range(10):
            if not closed:
                closure()
                optimizer.step()
            elif by_name:
                assert optimizer.step(closure=closure) == 0.0
            else:
                assert optimizer.step(closure) == 0.0
        ends.append({n: p.detach().numpy() for n, p in weights.items()})
    assert all(np.array_equal(ends[0][n], ends[1][n]) for n in ends[0])


def test_lbfgs_follows_a_schedule_but_takes_no_decay():
    weights = tensors()
    controller = attach(torch.optim.LBFGS(list(weights.values())), dw.Plan(0.5, dw.linear()), 4)
    optimizer = controller._optimizer

    def closure():
        optimizer.zero_grad()
        loss = sum((p**2).sum() for p in weights.values())
        loss.backward()
        return loss

    first = float(optimizer.step(closure).detach())
    assert float(optimizer.step(closure).detach()) < first
    assert controller.step == 2
    assert optimizer.param_groups[0]["lr"] == 0.375
    with pytest.raises(InvalidValueError, match="LBFGS evaluates the loss many times"):
        attach(torch.optim.LBFGS(list(tensors().values())), dw.Plan(0.5, decay=dw.l2(0.1)), 4)


class Twice(Lion):
    def step(self, closure=None):
        closure()
        closure()


def test_an_optimiser_that_calls_its_closure_twice_is_told_so():
    optimizer = Twice(tensors().items())
    attach(optimizer, dw.Plan(0.5, decay=dw.decoupled(0.1)), 4)
    with pytest.raises(InvalidValueError, match="more than once in a step"):
        optimizer.step(lambda: 0.0)


class Louder(torch.optim.SGD):
    def step(self, closure=None):
        return super().step(closure)


def test_a_subclass_that_calls_its_parent_is_one_step():
    torch.optim.SGD(tensors().items())  # torch wraps a class's step when it is first used
    plan, grads, weights = dw.Plan(0.05, SCHEDULE, dw.decoupled(0.7)), gradients(8), tensors()
    optimizer = Louder(weights.items())
    controller = attach(optimizer, plan, 8)
    path, _ = train(optimizer, weights, grads)
    assert controller.step == 8
    assert_close(path, wanted(reference.SGD(), plan, grads))


class Failing(Lion):
    fail = True

    def step(self, closure=None):
        if self.fail:
            raise RuntimeError("out of memory")
        return super().step()


@pytest.mark.parametrize("decay", [dw.l2(0.3), CAUTIOUS[0]], ids=str)
@pytest.mark.parametrize("anew", [False, True])
def test_a_step_that_fails_does_not_count_and_leaves_nothing_behind(decay, anew):
    plan, weights, grads = dw.Plan(0.05, dw.linear(), decay), tensors(), gradients(8)
    optimizer = Failing(weights.items())
    controller = attach(optimizer, plan, 8)
    give(weights, grads[1 if anew else 0])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of memory"):
            optimizer.step()
    assert controller.step == 0
    optimizer.fail = False
    if anew:
        give(weights, grads[0])
    optimizer.step()
    train(optimizer, weights, grads[1:])
    expected = wanted(reference.SGD(), plan, grads)
    for n, p in weights.items():
        np.testing.assert_allclose(p.detach().numpy(), expected[n][-1], rtol=1e-12)


def test_micro_batches_are_not_steps():
    model = small()
    optimizer = torch.optim.SGD(model.named_parameters())
    controller = attach(optimizer, dw.Plan(0.1, dw.linear()), 10)
    for i in range(12):
        nn.functional.cross_entropy(model(torch.arange(7)), torch.arange(7)).backward()
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
    assert controller.step == 3


@pytest.mark.parametrize("decay", [dw.l2(0.3), dw.decoupled(0.7), dw.independent(0.05), CAUTIOUS[0]], ids=str)
@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW], ids=ids)
@pytest.mark.parametrize("fused", [False, True])
def test_a_step_skipped_by_the_scaler_does_not_count(kind, fused, decay):
    plan, grads, weights = dw.Plan(0.05, SCHEDULE, decay), gradients(6), tensors()
    optimizer = kind(weights.items(), fused=fused)
    controller = attach(optimizer, plan, 6)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    done = 0
    for call in range(8):
        give(weights, {n: g * float(scaler.scale(torch.tensor(1.0))) for n, g in grads[done].items()})
        spoiled = call in (0, 4)
        if spoiled:
            weights["bias"].grad[0] = float("inf")
        before = {n: p.detach().clone() for n, p in weights.items()}
        scaler.step(optimizer)
        scaler.update()
        done += not spoiled
        assert controller.step == done
        if spoiled:
            assert all(torch.equal(p, before[n]) for n, p in weights.items())
    optimiser = reference.SGD() if kind is torch.optim.SGD else reference.Adam()
    expected = wanted(optimiser, plan, grads)
    for n, p in weights.items():
        np.testing.assert_allclose(p.detach().numpy(), expected[n][-1], rtol=1e-6, atol=1e-7)  # scales are float32


class Scaled(Lion):
    _step_supports_amp_scaling = True

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.div_(self.grad_scale)
        if not self.found_inf:
            super().step()


@pytest.mark.parametrize("decay", [dw.l2(0.3), dw.decoupled(0.7)], ids=str)
def test_an_optimiser_that_unscales_inside_gets_a_scaled_decay(decay):
    plan, grads, weights = dw.Plan(0.05, SCHEDULE, decay), gradients(6), tensors()
    optimizer = Scaled(weights.items())
    controller = attach(optimizer, plan, 6)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    for call in range(7):
        give(weights, {n: g * float(scaler.scale(torch.tensor(1.0))) for n, g in grads[max(0, call - 1)].items()})
        if call == 0:
            weights["bias"].grad[0] = float("inf")
        scaler.step(optimizer)
        scaler.update()
    assert controller.step == 6
    expected = wanted(reference.SGD(), plan, grads)
    for n, p in weights.items():
        np.testing.assert_allclose(p.detach().numpy(), expected[n][-1], rtol=1e-12, atol=1e-12)


def test_beyond_the_horizon_it_warns_once_and_goes_on():
    weights, plan = tensors(), dw.Plan(0.1, dw.cosine(end=0.2))
    optimizer = torch.optim.SGD(weights.items())
    controller = attach(optimizer, plan, 3)
    train(optimizer, weights, gradients(3))
    with pytest.warns(UserWarning, match="beyond the horizon of 3 steps"):
        _, lrs = train(optimizer, weights, gradients(1))
    _, more = train(optimizer, weights, gradients(4))  # a second warning would be an error
    assert lrs + more == [pytest.approx(0.02)] * 5
    assert controller.step == 8


def test_an_lr_scheduler_beside_the_plan_is_noticed_and_does_not_win():
    weights, plan = tensors(), dw.Plan(0.1, dw.linear())
    optimizer = torch.optim.SGD(weights.items())
    attach(optimizer, plan, 6)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    train(optimizer, weights, gradients(1))
    scheduler.step()
    with pytest.warns(UserWarning, match="changed from 0.1 to 0.05 by something else"):
        _, lrs = train(optimizer, weights, gradients(1))
    assert lrs == [plan.lrs(6)[1]]
    other = torch.optim.SGD(tensors().items())
    controller = attach(other, plan, 6)
    for group in other.param_groups:
        group["lr"] = 0.0
        group["params"][0].grad = torch.ones_like(group["params"][0])
    with pytest.warns(UserWarning, match="changed from 0.1 to 0"):
        other.step()
    assert controller.step == 1


@pytest.mark.parametrize("zeros", [False, True])
def test_a_rate_put_to_zero_by_hand_is_set_back_though_the_gradients_are_still_to_come(zeros):
    weights, plan, grads = tensors(), dw.Plan(0.1, decay=dw.decoupled(0.5)), gradients(1)
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, plan, 6)
    if zeros:
        give(weights, {n: np.zeros(p.shape) for n, p in weights.items()})
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    with pytest.warns(UserWarning, match="changed from 0.1 to 0 by something else"):
        optimizer.step(lambda: give(weights, grads[0]))
    assert controller.step == 1
    expected = wanted(reference.Adam(), plan, grads)
    assert_close({n: p.detach().numpy() for n, p in weights.items()}, {n: path[-1] for n, path in expected.items()})
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    optimizer.zero_grad()
    optimizer.step()  # nothing has a gradient: a step like any other, as without the hand
    assert controller.step == 2


def test_a_group_added_later_is_taken_in_and_an_impossible_one_refused():
    plan, weights = dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), tensors()
    optimizer = torch.optim.AdamW(list(weights.items())[:1])
    controller = attach(optimizer, plan, 8)
    give(weights, gradients(1)[0])
    optimizer.step()
    optimizer.add_param_group({"params": list(weights.items())[1:], "lr": optimizer.param_groups[0]["lr"]})
    still = {n: np.zeros(p.shape) for n, p in weights.items()}
    before = {n: p.detach().clone() for n, p in weights.items()}
    give(weights, still)
    optimizer.step()
    shrink = plan.resolve(8).rates(1).shrink
    torch.testing.assert_close(weights["filter"].detach(), before["filter"] * shrink, rtol=1e-14, atol=0)
    assert torch.equal(weights["bias"], before["bias"])
    assert "filter" in controller.report()
    assert len(optimizer.state_dict()["param_groups"]) == 2
    extra = nn.Parameter(torch.ones(2, 2))
    optimizer.add_param_group({"params": [("extra", extra)], "weight_decay": 0.9})
    with pytest.raises(InvalidValueError, match=r"group 2 of AdamW has weight_decay=0.9 \(decoupled\)"):
        optimizer.step()


def test_a_group_that_moves_the_layers_is_refused():
    optimizer = torch.optim.SGD([("blocks.0.w", nn.Parameter(torch.ones(2, 2)))])
    attach(optimizer, dw.Plan(0.1, layer_decay=0.5), 8)
    optimizer.add_param_group({"params": [("blocks.1.w", nn.Parameter(torch.ones(2, 2)))]})
    with pytest.raises(InvalidValueError, match=r"changes what blocks\.0\.w gets"):
        optimizer.step()


def test_detach_leaves_the_optimiser_as_it_was():
    weights = tensors()
    lr = torch.tensor(0.2)
    groups = [
        {"params": [("kernel", weights["kernel"]), ("bias", weights["bias"])], "weight_decay": 0.5},
        {"params": [("filter", weights["filter"])], "lr": lr},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.2, betas=(0.5, 0.6))
    before = [dict(g) for g in optimizer.param_groups]
    controller = attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.5)), 5)
    assert len(optimizer.param_groups) == 3
    train(optimizer, weights, gradients(2))
    controller.detach()
    controller.detach()
    assert all(a.keys() == b.keys() for a, b in zip(optimizer.param_groups, before, strict=True))
    for now, old in zip(optimizer.param_groups, before, strict=True):
        assert all(a is b for a, b in zip(now.pop("params"), old.pop("params"), strict=True))
        assert now == old
    optimizer.param_groups[0]["params"], optimizer.param_groups[1]["params"] = (
        list(weights.values())[::2],
        [weights["filter"]],
    )
    train(optimizer, weights, gradients(1))
    assert controller.step == 2
    assert not optimizer._optimizer_step_pre_hooks
    assert "dwindle" not in optimizer.state_dict()["param_groups"][0]
    attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.5)), 5)


# Resuming

STEPS = 12
KINDS = {
    "SGD": (torch.optim.SGD, {"momentum": 0.9}, dw.l2(0.1)),
    "AdamW": (torch.optim.AdamW, {}, dw.decoupled(0.5)),
    "AdamW l2": (torch.optim.AdamW, {}, dw.l2(0.5)),
    "Adam": (torch.optim.Adam, {"fused": True}, dw.independent(0.05)),
    "cautious": (torch.optim.Adagrad, {}, dw.corrected(0.5, cautious=True)),
}
ORDERS = {
    "attach, optimiser, controller": "aoc",
    "optimiser, attach, controller": "oac",
    "attach, controller, optimiser": "aco",
    "attach, optimiser": "ao",
    "optimiser, attach": "oa",
}


def started(kind, options, start):
    weights = {n: nn.Parameter(torch.tensor(v)) for n, v in start.items()}
    pairs = list(weights.items())
    groups = [{"params": pairs[::2], "eps": 1e-7} if kind is not torch.optim.SGD else {"params": pairs[::2]}]
    return weights, kind([*groups, {"params": pairs[1:2]}], **options)


def restored(kind, options, plan, start, saved, order):
    """Return a fresh optimiser and its controller, with the saved states loaded in ``order``."""
    weights, optimizer = started(kind, options, start)
    controller = None
    for letter in order:
        if letter == "a":
            controller = attach(optimizer, plan, STEPS)
        elif letter == "o":
            optimizer.load_state_dict(saved["optimizer"])
        else:
            controller.load_state_dict(json.loads(saved["controller"]))
    return weights, optimizer, controller


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("name", KINDS)
def test_resuming_anywhere_in_any_order_is_continuing_bit_for_bit(name, order):
    kind, options, decay = KINDS[name]
    plan, grads = dw.Plan(0.05, SCHEDULE, decay, groups=(dw.Group("b", "bias", 2.0),)), gradients(STEPS)
    weights, optimizer = started(kind, options, {n: p.detach().numpy() for n, p in tensors().items()})
    controller = attach(optimizer, plan, STEPS)
    saved = []
    for grad in [*grads, None]:
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        saved.append(
            {
                "weights": {n: p.detach().numpy().copy() for n, p in weights.items()},
                "optimizer": torch.load(file, weights_only=True),
                "controller": json.dumps(controller.state_dict()),
            }
        )
        if grad is not None:
            train(optimizer, weights, [grad])
    for k, state in enumerate(saved):
        again, second, other = restored(kind, options, plan, state["weights"], state, order)
        assert other.step == k
        assert not any("dwindle" in group for group in second.param_groups)
        assert [g["lr"] for g in second.param_groups] == [
            other.rates(g["param_names"][0]).lr for g in second.param_groups
        ]
        train(second, again, grads[k:])
        assert other.step == STEPS
        for n, p in again.items():
            assert np.array_equal(p.detach().numpy(), saved[-1]["weights"][n]), (k, n)


def test_the_controller_alone_restores_a_stateless_optimiser():
    plan, grads, weights = dw.Plan(0.05, SCHEDULE, dw.decoupled(0.5)), gradients(STEPS), tensors()
    optimizer = torch.optim.SGD(weights.items())
    controller = attach(optimizer, plan, STEPS)
    train(optimizer, weights, grads[:5])
    state, middle = controller.state_dict(), {n: nn.Parameter(p.detach().clone()) for n, p in weights.items()}
    train(optimizer, weights, grads[5:])
    second = torch.optim.SGD(middle.items())
    attach(second, plan, STEPS).load_state_dict(state)
    train(second, middle, grads[5:])
    assert all(torch.equal(weights[n], middle[n]) for n in weights)


def test_a_saved_optimiser_is_the_users_own_and_loads_without_dwindle():
    weights, order = tensors(), ["kernel", "bias", "filter"]
    optimizer = torch.optim.AdamW([weights[n] for n in order], lr=0.3)
    attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.5)), 5)
    train(optimizer, weights, gradients(3))
    plain = torch.optim.AdamW([tensors()[n] for n in order])
    plain.load_state_dict(optimizer.state_dict())
    (group,) = plain.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.3, 0.01)
    for name, theirs in zip(order, group["params"], strict=True):
        assert torch.equal(optimizer.state[weights[name]]["exp_avg"], plain.state[theirs]["exp_avg"])


def test_a_checkpoint_from_before_dwindle_loads_and_keeps_the_step():
    weights, plain = tensors(), None
    plain = torch.optim.AdamW(weights.items(), lr=9.0)
    train(plain, weights, gradients(2))
    other = tensors()
    optimizer = torch.optim.AdamW(other.items())
    controller = attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.5)), 5)
    optimizer.load_state_dict(plain.state_dict())
    assert controller.step == 0
    assert {g["lr"] for g in optimizer.param_groups} == {0.1}
    for name, p in weights.items():
        assert torch.equal(plain.state[p]["exp_avg"], optimizer.state[other[name]]["exp_avg"])


def run_to(step, plan, horizon):
    weights = tensors()
    optimizer = torch.optim.AdamW(weights.items())
    controller = attach(optimizer, plan, horizon)
    train(optimizer, weights, gradients(step))
    return controller.state_dict(), copy.deepcopy(optimizer.state_dict())


CHANGES = [
    (dw.Plan(0.2, dw.linear(), dw.decoupled(0.5)), 10, "'peak 0.1' this one has 'peak 0.2'"),
    (dw.Plan(0.1, dw.cosine(), dw.decoupled(0.5)), 10, "'linear to 0%' this one has 'cosine to 0%'"),
    (dw.Plan(0.1, dw.linear()), 10, "'decoupled 0.5' this one has nothing"),
    (dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), 20, "steps=10, this one 20"),
]


@pytest.mark.parametrize(("plan", "horizon", "named"), CHANGES)
def test_a_changed_plan_is_named_and_nothing_changes(plan, horizon, named):
    state, saved = run_to(4, dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), 10)
    optimizer = torch.optim.AdamW(tensors().items())
    controller = attach(optimizer, plan, horizon)
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ResumeError, match=named):
        controller.load_state_dict(state)
    with pytest.raises(ResumeError, match=named):
        optimizer.load_state_dict(saved)
    assert controller.step == 0
    assert optimizer.state_dict() == before
    fresh = torch.optim.AdamW(tensors().items())
    fresh.load_state_dict(saved)
    with pytest.raises(ResumeError, match=named):
        attach(fresh, plan, horizon)
    assert len(fresh.param_groups) == 1
    assert not fresh._optimizer_step_pre_hooks


@pytest.mark.parametrize(("on_change", "step"), [("keep", 4), ("rescale", 10), ("restart", 0)])
def test_a_changed_plan_goes_on_as_told(on_change, step):
    state, saved = run_to(4, dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), 10)
    plan = dw.Plan(0.3, dw.linear(), dw.decoupled(0.5))
    first = torch.optim.AdamW(tensors().items())
    controller = attach(first, plan, 25)
    controller.load_state_dict(state, on_change=on_change)
    second = torch.optim.AdamW(tensors().items())
    loaded = attach(second, plan, 25, on_change=on_change)
    second.load_state_dict(saved)
    third = torch.optim.AdamW(tensors().items())
    third.load_state_dict(saved)
    found = attach(third, plan, 25, on_change=on_change)
    assert [c.step for c in (controller, loaded, found)] == [step] * 3
    assert {g["lr"] for o in (first, second, third) for g in o.param_groups} == {plan.lrs(25)[step]}


@pytest.mark.parametrize(("on_change", "step"), [("keep", 4), ("rescale", 10), ("restart", 0)])
def test_what_was_said_in_loading_holds_for_the_optimisers_copy_too(on_change, step):
    state, saved = run_to(4, dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), 10)
    optimizer = torch.optim.AdamW(tensors().items())
    controller = attach(optimizer, dw.Plan(0.3, dw.linear(), dw.decoupled(0.5)), 25)
    with pytest.raises(ResumeError, match=r'say attach\(..., on_change="keep"\)'):
        optimizer.load_state_dict(saved)
    controller.load_state_dict(state, on_change=on_change)
    optimizer.load_state_dict(saved)
    assert controller.step == step
    _, later = run_to(5, dw.Plan(0.1, dw.linear(), dw.decoupled(0.5)), 10)
    with pytest.raises(ResumeError, match="had another plan"):  # of that state nothing was said
        optimizer.load_state_dict(later)
    assert controller.step == step


def test_the_same_run_said_otherwise_is_no_change():
    plan = dw.Plan(0.1, dw.linear())
    state, _ = run_to(4, plan, dw.Horizon(steps=10))
    controller = attach(torch.optim.AdamW(tensors().items()), plan, dw.Horizon(epochs=2, steps_per_epoch=5))
    controller.load_state_dict(state)
    assert controller.step == 4


GOOD = {"format": "dwindle-torch/1", "step": 3, "plan": "peak 0.1 | constant", "horizon": {"steps": 10}}
BAD_STATES = [
    (None, "not a state of format"),
    ([], "not a state of format"),
    ({**GOOD, "format": "dwindle-torch/2"}, "dwindle-torch/2"),
    ({k: v for k, v in GOOD.items() if k != "plan"}, "lacks plan"),
    ({**GOOD, "step": -1}, "step must be at least 0"),
    ({**GOOD, "step": 1.5}, "whole number"),
    ({**GOOD, "step": "3"}, "whole number"),
    ({**GOOD, "plan": 7}, "plan must be text"),
    ({**GOOD, "horizon": 10}, "horizon a mapping"),
    ({**GOOD, "horizon": {"steps": 0}}, "needs its length"),
    ({**GOOD, "horizon": {"stpes": 10}}, "stpes"),
    ({**GOOD, "stpe": 3}, "did you mean 'step'"),
]


@pytest.mark.parametrize(("state", "named"), BAD_STATES)
def test_a_bad_state_is_refused_and_nothing_changes(state, named):
    controller = attach(torch.optim.SGD(tensors().items()), dw.Plan(0.1), 10)
    controller.load_state_dict(GOOD)
    with pytest.raises(ResumeError, match=named):
        controller.load_state_dict(state)
    assert controller.step == 3


# Misuse

PLAN = dw.Plan(0.1, decay=dw.decoupled(0.5))


def sgd(**options):
    return torch.optim.SGD(tensors().items(), **options)


class Wrapper(torch.optim.Optimizer):
    def __init__(self, inner):
        self.optimizer = inner


BAD = {
    "no optimiser": (lambda: attach("adamw", PLAN, 10), "must be a torch.optim optimiser"),
    "a model": (lambda: attach(nn.Linear(1, 1), PLAN, 10), "must be a torch.optim optimiser"),
    "a wrapper": (lambda: attach(Wrapper(sgd()), PLAN, 10), "attach to the inner one"),
    "plan as text": (lambda: attach(sgd(), "peak 0.1", 10), "parse"),
    "a bare number": (lambda: attach(sgd(), 0.1, 10), "must be a Plan"),
    "no steps": (lambda: attach(sgd(), PLAN, 0), "horizon must be positive"),
    "fractional steps": (lambda: attach(sgd(), PLAN, 1.5), "whole number"),
    "horizon as text": (lambda: attach(sgd(), PLAN, "10"), "whole number"),
    "model is no module": (lambda: attach(sgd(), PLAN, 10, model=[1]), "must be a torch.nn.Module"),
    "another model": (lambda: attach(sgd(), PLAN, 10, model=nn.Linear(2, 2)), "owns none of the optimiser's 3"),
    "on_change": (lambda: attach(sgd(), PLAN, 10, on_change="keeep"), "did you mean 'keep'"),
    "own decay": (lambda: attach(sgd(weight_decay=0.2), PLAN, 10), r"weight_decay=0.2 \(l2\).*l2\(0.2\) in the plan"),
    "own decay, none planned": (lambda: attach(sgd(weight_decay=0.2), dw.Plan(0.1), 10), "no decay"),
    "same number, other meaning": (lambda: attach(sgd(weight_decay=0.5), PLAN, 10), "plan owns the decay"),
    "ASGD": (lambda: attach(torch.optim.ASGD(tensors().items()), PLAN, 10), "average the weights"),
    "Rprop": (lambda: attach(torch.optim.Rprop(tensors().items()), PLAN, 10), "first step size"),
    "lr_decay": (lambda: attach(torch.optim.Adagrad(tensors().items(), lr_decay=0.1), PLAN, 10), "set lr_decay=0"),
    "differentiable": (lambda: attach(sgd(differentiable=True), PLAN, 10), "differentiable=False"),
    "cautious complex": (
        lambda: attach(
            torch.optim.SGD([nn.Parameter(torch.ones(2, 2, dtype=torch.complex128))]),
            dw.Plan(0.1, decay=CAUTIOUS[0]),
            10,
        ),
        "no sign to compare",
    ),
}


def without_rate(**options):
    optimizer = sgd()
    for group in optimizer.param_groups:
        group.pop("lr")
        group.update(options)
    return optimizer


@pytest.mark.parametrize("optimizer", [without_rate(), without_rate(lr=None)], ids=["no lr", "lr None"])
def test_an_optimiser_without_a_learning_rate_is_refused_in_words(optimizer):
    for call in (lambda: attach(optimizer, dw.Plan(0.1), 10), lambda: dw.doctor(nn.Linear(1, 1), optimizer)):
        with pytest.raises(InvalidValueError, match="SGD has no learning rate of its own; build it with lr="):
            call()


def test_lbfgs_takes_no_plan_that_would_split_its_group():
    optimizer = torch.optim.LBFGS([nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))])
    with pytest.raises(InvalidValueError, match="LBFGS takes one param group, and this plan makes 2"):
        attach(optimizer, dw.Plan(0.1, groups=(dw.Group("head", "group0.1", 3.0),)), 10)
    assert len(optimizer.param_groups) == 1
    attach(optimizer, dw.Plan(0.1, groups=(dw.Group("all", "*", 3.0),)), 10)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3)


@pytest.mark.parametrize(("call", "named"), BAD.values(), ids=BAD.keys())
def test_bad_input_says_what_and_why_and_what_to_do(call, named):
    with pytest.raises(InvalidValueError if "keep" not in named else UnknownNameError, match=named):
        call()


def test_more_bad_input():
    optimizer = sgd()
    attach(optimizer, PLAN, 10)
    with pytest.raises(InvalidValueError, match="already follows a plan"):
        attach(optimizer, PLAN, 10)
    with pytest.raises(UnresolvedTimeError, match="steps_per_epoch"):
        attach(sgd(), dw.Plan(0.1, dw.warmup("2ep").then(dw.cosine())), 10)
    with pytest.raises(UnknownNameError, match="matches no parameter"):
        attach(sgd(), dw.Plan(0.1, groups=(dw.Group("h", "head.*"),)), 10)
    optimizer.param_groups.pop()
    with pytest.raises(InvalidValueError, match="detach"):
        optimizer.step()
    embed = nn.Embedding(3, 2, sparse=True)
    sparse = torch.optim.SparseAdam(list(embed.parameters()))
    attach(sparse, dw.Plan(0.1, decay=dw.l2(0.5)), 10)
    embed(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidValueError, match="sparse gradient dense"):
        sparse.step()


def test_a_refusal_changes_nothing():
    optimizer = sgd(weight_decay=0.2)
    before = optimizer.state_dict()
    with pytest.raises(InvalidValueError):
        attach(optimizer, PLAN, 10)
    assert optimizer.state_dict() == before
    with pytest.raises(ZeroDivisionError):
        attach(optimizer, dw.Plan(0.1, dw.custom(lambda step: 1 / step), dw.l2(0.2)), 10)
    assert optimizer.state_dict() == before
    attach(optimizer, dw.Plan(0.1, decay=dw.l2(0.2)), 10)  # the plan's own number and meaning


def test_a_plan_whose_decay_reaches_nothing_warns():
    with pytest.warns(UserWarning, match="lets none of the optimiser's 1 parameters decay"):
        attach(torch.optim.SGD([nn.Parameter(torch.ones(3))]), PLAN, 10)


def test_without_torch_the_extra_is_named():
    code = "import sys; sys.modules['torch'] = None; import dwindle as dw; dw.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError: torch is not installed" in done.stderr
    assert "dwindle[torch]" in done.stderr
    assert dw.torch.attach is attach


# What torch does around an optimiser


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW], ids=ids)
def test_distributed_checkpoints_neither_step_nor_lose_anything(kind):
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict

    plan = dw.Plan(0.01, dw.warmup(3).then(dw.cosine()), dw.independent(0.1))
    model = small()
    optimizer = kind(model.parameters())
    controller = attach(optimizer, plan, 8, model=model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about running without a process group
        at_start = {n: p.detach().clone() for n, p in model.named_parameters()}
        get_optimizer_state_dict(model, optimizer)
        assert controller.step == 0
        assert all(torch.equal(p, at_start[n]) for n, p in model.named_parameters())
        for i in range(4):
            learn(model, optimizer, i)
        middle, weights = copy.deepcopy(get_optimizer_state_dict(model, optimizer)), copy.deepcopy(model.state_dict())
        for i in range(4, 8):
            learn(model, optimizer, i)
        other = small()
        other.load_state_dict(weights)
        second = kind(other.parameters())
        resumed = attach(second, plan, 8, model=other)
        set_optimizer_state_dict(other, second, middle)
        assert resumed.step == 4
        for i in range(4, 8):
            learn(other, second, i)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_compiled_it_is_traced_once():
    graphs = []

    def backend(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    plan, grads, weights = dw.Plan(0.05, SCHEDULE, dw.decoupled(0.7)), gradients(12), tensors()
    optimizer = torch.optim.AdamW(weights.items(), lr=torch.tensor(1.0, dtype=torch.float64), foreach=False)
    controller = attach(optimizer, plan, 12)
    step = torch.compile(lambda: optimizer.step(), backend=backend)
    counts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch's compiler about torch
        for grad in grads:
            give(weights, grad)
            step()
            counts.append(len(graphs))
    assert controller.step == 12
    expected = wanted(reference.Adam(), plan, grads)
    for n, p in weights.items():  # compiled, torch corrects Adam's bias in float32
        np.testing.assert_allclose(p.detach().numpy(), expected[n][-1], rtol=1e-4, atol=1e-5)
    assert counts[0] > 0
    assert all(a == b for a, b in pairwise(counts[2:]))
