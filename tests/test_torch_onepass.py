"""dwindle.torch.SGD and AdamW: the same as torch's class, attach, clip_grad_norm_ and AveragedModel, in one pass."""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import os
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import dwindle as dw
from dwindle import reference
from dwindle.errors import DwindleError, InvalidValueError
from dwindle.torch import SGD, AdamW, attach, kernels, threads

STEPS = 12
SCHEDULE = dw.warmup(3).then(dw.cosine(end=0.1))
DECAYS = [
    None,
    dw.l2(0.3),
    dw.decoupled(0.7),
    dw.independent(0.02),
    dw.corrected(0.7),
    dw.decoupled(0.7, cautious=True),
]
RULES = [(AdamW, {}), (SGD, {}), (SGD, {"momentum": 0.9}), (SGD, {"momentum": 0.9, "nesterov": True})]
RULES += [(SGD, {"momentum": 0.8, "dampening": 0.3})]


class Net(nn.Module):
    """Matrices, vectors, a filter in channels-last order, a scalar, an empty tensor, one that is frozen and one unused."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        shapes: dict[str, tuple[int, ...]] = {
            "kernel": (70, 90), "bias": (90,), "filter": (4, 3, 5, 5), "scalar": (), "empty": (0, 3), "frozen": (2, 2),
            "unused": (2, 2),
        }  # fmt: skip
        for name, shape in shapes.items():
            value = torch.tensor(rng.normal(size=shape), dtype=dtype)
            value = value.to(memory_format=torch.channels_last) if name == "filter" else value
            self.register_parameter(name, nn.Parameter(value, requires_grad=name != "frozen"))

    def fill(self, step: int, scale: float = 3.0) -> None:
        rng = np.random.default_rng(step)
        for name, p in self.named_parameters():
            if name not in ("frozen", "unused"):
                p.grad = torch.empty_like(p).copy_(torch.tensor(scale * rng.normal(size=tuple(p.shape)))).detach()


def ours(kind: Any, net: Net, decay: Any, **options: Any) -> Any:
    return kind(net.named_parameters(), dw.Plan(0.05, SCHEDULE, decay), STEPS, **options)


def theirs(kind: Any, net: Net, decay: Any, **options: Any) -> torch.optim.Optimizer:
    base: Any = torch.optim.AdamW if kind is AdamW else torch.optim.SGD
    optimizer: torch.optim.Optimizer = base(net.named_parameters(), lr=0.05, weight_decay=0.0, **options)
    attach(optimizer, dw.Plan(0.05, SCHEDULE, decay), STEPS)
    return optimizer


def in_torch(optimizer: Any) -> Any:
    """The same optimiser by torch's own operations, as on a device."""
    optimizer._tensors = None
    return optimizer


def assert_same(net: Net, other: Net, tolerance: float = 1e-12) -> None:
    for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=tolerance, atol=tolerance, msg=lambda m, name=name: f"{name}: {m}")


def label(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


# The same weights


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("decay", DECAYS, ids=str)
@pytest.mark.parametrize(("kind", "options"), RULES, ids=label)
def test_weights_norms_and_averages_are_those_of_torchs_own_operations(kind, options, decay, clip):
    one, two, three = Net(torch.float64), Net(torch.float64), Net(torch.float64)
    fast = ours(kind, one, decay, clip=clip, ema=0.9, norms=True, **options)
    slow = in_torch(ours(kind, two, decay, clip=clip, ema=0.9, norms=True, **options))
    peer = theirs(kind, three, decay, **options)
    mean = AveragedModel(three, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for step in range(STEPS):
        for net in (one, two, three):
            net.fill(step)
        norm = torch.nn.utils.clip_grad_norm_(three.parameters(), float("inf") if clip is None else clip)
        for optimizer in (fast, slow, peer):
            optimizer.step()
        mean.update_parameters(three)
        assert fast._tensors._batches, "no pass was laid out"
        assert fast.grad_norm == pytest.approx(float(norm), rel=1e-12)
        assert fast.weight_norm == pytest.approx(slow.weight_norm, rel=1e-12)
    assert_same(one, three)
    assert_same(two, three)
    averages = fast.averages()
    assert averages.keys() == slow.averages().keys() == {"kernel", "bias", "filter", "scalar", "empty"}
    for name, p in mean.module.named_parameters():
        if name in averages:
            torch.testing.assert_close(averages[name], p.detach(), rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(slow.averages()[name], p.detach(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("decay", DECAYS, ids=str)
@pytest.mark.parametrize(("kind", "options"), RULES, ids=label)
def test_the_weights_are_those_of_the_reference(kind, options, decay):
    if options.get("dampening"):
        pytest.skip("the reference has no dampening")
    net = Net(torch.float64)
    plan = dw.Plan(0.05, SCHEDULE, decay).resolve(STEPS)
    grads = []
    for step in range(STEPS):
        net.fill(step)
        grads.append({n: p.grad.numpy().copy() for n, p in net.named_parameters() if p.grad is not None})
    start = {n: p.detach().numpy().copy() for n, p in net.named_parameters() if n in grads[0]}
    rule = reference.Adam() if kind is AdamW else reference.SGD(**options)
    path = reference.run(
        rule, start, lambda _, step: grads[step],
        lambda step, name: plan.rates(step, decays=name in ("kernel", "filter", "empty")), STEPS,
        cautious=decay is not None and decay.cautious,
    )  # fmt: skip
    optimizer = ours(kind, net, decay, **options)
    for step in range(STEPS):
        net.fill(step)
        optimizer.step()
    for name in start:
        np.testing.assert_allclose(net.get_parameter(name).detach().numpy(), path[name][-1], rtol=1e-12, atol=1e-12)


def own(kind, weight, plan, options):
    return kind([("w", weight)], plan, STEPS, **options)


def bare(kind, weight, plan, options, compensated=False):
    base: Any = torch.optim.AdamW if kind is AdamW else torch.optim.SGD
    optimizer = base([("w", weight)], **options)
    attach(optimizer, plan, STEPS, compensated=compensated)
    return optimizer


FORMS = {
    "one pass": own,
    "torch's operations": lambda *given: in_torch(own(*given)),
    "attach": bare,
    "foreach": lambda kind, weight, plan, options: bare(kind, weight, plan, {**options, "foreach": True}),
    "fused": lambda kind, weight, plan, options: bare(kind, weight, plan, {**options, "fused": True}),
    "compensated": lambda *given: bare(*given, compensated=True),
}


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("kind", "options"), RULES, ids=label)
def test_a_cautious_decay_goes_by_the_direction_also_where_rounding_hides_the_update(kind, options, maximize):
    torch.manual_seed(0)
    start = torch.randn(40, 30)
    grads = [torch.randn(40, 30) for _ in range(STEPS)]
    ends = {}
    for peak in (1e-12, 0.0):
        plan = dw.Plan(peak, SCHEDULE, dw.independent(0.1, cautious=True))
        rates = plan.resolve(STEPS).rates
        known = {k: v for k, v in options.items() if k != "dampening"}  # which the reference has not
        rule = reference.Adam() if kind is AdamW else reference.SGD(**known)
        signed = [(-1.0 if maximize else 1.0) * grad.double().numpy() for grad in grads]
        path = reference.run(rule, {"w": start.double().numpy()}, lambda _, t, signed=signed: {"w": signed[t]},
                             lambda t, _, rates=rates: rates(t), STEPS, cautious=True)["w"]  # fmt: skip
        for name, form in FORMS.items():
            weight = nn.Parameter(start.clone())
            optimizer = form(kind, weight, plan, {**options, "maximize": maximize})
            for grad in grads:
                weight.grad = grad.clone()
                optimizer.step()
            ends[name] = weight.detach()
            exact = ends["one pass"].double() if options.get("dampening") else torch.from_numpy(path[-1])
            told = f"{name}, peak {peak}"
            torch.testing.assert_close(ends[name].double(), exact, rtol=2e-6, atol=0, msg=lambda m, t=told: f"{t}: {m}")


@pytest.mark.parametrize("decay", DECAYS[1:], ids=str)
@pytest.mark.parametrize(("kind", "options"), RULES, ids=label)
def test_without_gradient_float32_weights_are_multiplied_by_the_product_of_the_shrinks(kind, options, decay):
    if decay.convention == "l2" and (kind is AdamW or options):
        pytest.skip("only plain SGD turns l2 into a factor")
    net = Net(torch.float32)
    start = net.kernel.detach().clone()
    optimizer = ours(kind, net, decay, **options)
    for _ in range(STEPS):
        net.fill(0, scale=0.0)
        optimizer.step()
    left = dw.Plan(0.05, SCHEDULE, decay).shares_left(STEPS)[-1]
    torch.testing.assert_close(net.kernel.detach(), start * left, rtol=2e-6, atol=0)
    assert torch.equal(net.bias, Net(torch.float32).bias)


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize(("kind", "options"), RULES[:3], ids=label)
@pytest.mark.parametrize("decay", [dw.l2(0.3), dw.decoupled(0.7)], ids=str)
def test_maximize_and_float32_agree_with_torch(kind, options, decay, maximize):
    one, two = Net(torch.float32), Net(torch.float32)
    fast, peer = (
        ours(kind, one, decay, maximize=maximize, **options),
        theirs(kind, two, decay, maximize=maximize, **options),
    )
    for step in range(STEPS):
        for net, optimizer in ((one, fast), (two, peer)):
            net.fill(step)
            optimizer.step()
    assert_same(one, two, 3e-6)


def test_float32_errors_are_no_larger_than_torchs_own():
    """Against float64, over 100 steps with clipping; the largest relative to the weights' size, of 20,000 weights."""
    errors = {}
    rng = np.random.default_rng(1)
    start, grads = rng.normal(size=20_000), rng.normal(size=(100, 20_000))
    for kind, options in RULES[:3]:
        paths = {}
        for name, dtype in (("exact", torch.float64), ("ours", torch.float32), ("torch", torch.float32)):
            weight = nn.Parameter(torch.tensor(start, dtype=dtype))
            plan = dw.Plan(0.01, dw.cosine(), dw.decoupled(0.1), mask=dw.Mask.everything())
            if name == "ours":
                optimizer = kind([weight], plan, 100, **options)
            else:
                base = torch.optim.AdamW if kind is AdamW else torch.optim.SGD
                optimizer = base([weight], lr=0.01, weight_decay=0.0, fused=True, **options)
                attach(optimizer, plan, 100, compensated=False)
            for grad in grads:
                weight.grad = torch.tensor(grad, dtype=dtype)
                optimizer.step()
            paths[name] = weight.detach().double().numpy()
        for name in ("ours", "torch"):
            errors[kind, str(options), name] = np.sqrt(np.mean((paths[name] - paths["exact"]) ** 2))
    for kind, options in RULES[:3]:
        assert errors[kind, str(options), "ours"] <= 1.02 * errors[kind, str(options), "torch"]


def test_complex_weights_agree_with_torch():
    for (kind, options), decay in itertools.product(RULES, [dw.l2(0.3), dw.decoupled(0.7)]):
        weights = []
        for make in (ours, theirs):
            weight = nn.Parameter(torch.full((3, 3), 1 + 2j, dtype=torch.complex128))
            holder = nn.ParameterDict({"w": weight})
            optimizer = make(kind, holder, decay, **options)
            for step in range(STEPS):
                weight.grad = torch.full_like(weight, 0.1 * step - 0.3j)
                optimizer.step()
            weights.append(weight.detach())
        torch.testing.assert_close(*weights, rtol=1e-12, atol=0)


def ends_of_large_gradients(dtype, sizes):
    """Return the weight and its second moment after gradients of these sizes, by our AdamW and by torch's."""
    ends = []
    for make in (own, bare):
        weight = nn.Parameter(torch.ones(2, 8, dtype=dtype))
        optimizer = make(AdamW, weight, dw.Plan(0.1, decay=dw.decoupled(0.1)), {})
        for size in sizes:
            weight.grad = torch.full_like(weight, size)
            optimizer.step()
        ends.append((weight.detach(), optimizer.state[weight]["exp_avg_sq"]))
    return ends


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_gradient_whose_square_overflows_moves_the_weight_as_in_torch(dtype):
    ends = ends_of_large_gradients(dtype, (1e20, 3e20, 1e18, 1.0))
    assert bool(ends[0][1].isfinite().all())
    torch.testing.assert_close(*ends, rtol=1e-5 if dtype is torch.float32 else 0.02, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_second_moment_that_overflowed_holds_the_weight_as_in_torch(dtype):
    ends = ends_of_large_gradients(dtype, (1e21, 1.0, 1.0))
    assert bool(ends[0][1].isinf().all() and ends[0][0].isfinite().all())
    torch.testing.assert_close(*ends, rtol=1e-5 if dtype is torch.float32 else 0.02, atol=0)


def test_the_types_of_a_kernel_are_told_by_arrays_that_are_always_the_same(monkeypatch):
    """numba's cache on disk goes by their contents."""
    monkeypatch.setattr(np, "empty", lambda shape, dtype: np.full(shape, -1.0).astype(dtype))
    for kind in ("float32", "float64", "bfloat16"):
        assert [array.tobytes().strip(b"\0") for array in kernels._empty(kind)] == [b"", b""]


# Low precision


@pytest.mark.parametrize("decay", [dw.decoupled(0.1), dw.l2(0.1)], ids=str)
def test_compensated_complex_weights_go_from_one_pass_to_torchs_operations_and_back(decay):
    plan, ends = dw.Plan(0.1, decay=decay), []
    for turns in (False, True):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(2, 3, dtype=torch.complex64))
        optimizer = SGD([("a.weight", weight)], plan, 12, momentum=0.9, compensated=True)
        for step in range(12):
            torch.manual_seed(step)
            grad = torch.randn(2, 3, dtype=torch.complex64)
            if turns and step in (4, 5):
                grad = grad.conj().resolve_conj().conj()  # the same numbers, as only torch's operations take them
            if turns and step == 8:
                twin, state = torch.optim.SGD([("a.weight", weight)], momentum=0.9), optimizer.state_dict()
                attach(twin, plan, 12, compensated=True)
                twin.load_state_dict(copy.deepcopy(state))
                weight.grad = grad
                twin.step()
                optimizer = SGD([("a.weight", weight)], plan, 12, momentum=0.9, compensated=True)
                optimizer.load_state_dict(copy.deepcopy(twin.state_dict()))
                continue
            weight.grad = grad
            optimizer.step()
        assert optimizer.state[weight]["dwindle_residue"]["step"].shape == (2, 3, 2)
        ends.append(weight.detach())
    torch.testing.assert_close(*ends, rtol=1e-6, atol=1e-7)


def test_momentum_of_sparse_gradients_goes_on_when_they_turn_dense():
    for decay in (dw.decoupled(0.3), dw.l2(1e-6)):
        ends = []
        for sparse in (True, False):
            weight = nn.Parameter(torch.ones(4, 2))
            optimizer = SGD([("w", weight)], dw.Plan(0.1, decay=decay), 20, momentum=0.9)
            for step in range(8):
                grad = torch.zeros(4, 2)
                grad[step % 3] = 1.0
                weight.grad = grad.to_sparse(1) if sparse and step < 6 else grad
                optimizer.step()
                if sparse and step == 3:  # with a sparse momentum: detach makes it whole
                    optimizer.control.detach()
                    state = copy.deepcopy(optimizer.state_dict())
                    optimizer = SGD([("w", weight)], dw.Plan(0.1, decay=decay), 20, momentum=0.9, step=4)
                    optimizer.load_state_dict(state)
            ends.append(weight.detach())
        torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "options"), RULES[:3], ids=label)
@pytest.mark.parametrize("decay", [dw.l2(0.1), dw.decoupled(0.1)], ids=str)
def test_bfloat16_weights_are_float64s_rounded_once(kind, options, decay):
    """With zero gradients, where only the decay moves them, and lr·λ is below half a unit in the last place."""
    paths = []
    for dtype in (torch.bfloat16, torch.float64):
        weight = nn.Parameter(torch.linspace(0.5, 2.0, 300).bfloat16().to(dtype).reshape(3, 100))
        optimizer = kind([("w", weight)], dw.Plan(1e-2, decay=decay), 200, **options)
        for _ in range(200):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        paths.append(weight.detach().double())
    if kind is AdamW and decay.convention == "l2":
        return  # Adam makes a step of its own of any gradient; its rounding is attach's
    torch.testing.assert_close(paths[0], paths[1], rtol=2**-8, atol=0)
    assert (paths[0].bfloat16() == paths[1].bfloat16()).double().mean() > 0.97


def test_bfloat16_keeps_the_update_too():
    """Steps of a tenth of a unit in the last place add up; torch's bfloat16 stays where it is."""
    weights = {}
    for name in ("ours", "torch"):
        weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
        plan = dw.Plan(1e-4, decay=dw.decoupled(1e-3))
        optimizer = SGD([weight], plan, 1000) if name == "ours" else torch.optim.SGD([weight], lr=1e-4)
        for _ in range(1000):
            weight.grad = torch.full_like(weight, -1.0)
            optimizer.step()
        weights[name] = float(weight.detach()[0, 0])
    assert weights == {"ours": pytest.approx(1.1, rel=2**-8), "torch": 1.0}


def test_float32_tails_are_kept_where_the_plan_would_lose_them():
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = AdamW([weight], dw.Plan(1e-4, decay=dw.decoupled(1e-4)), 100_000)
    assert optimizer.control.compensated == {"group0.0": 36}
    for _ in range(5000):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    assert float(weight.detach()[0, 0]) == pytest.approx((1 - 1e-8) ** 5000, rel=1e-7)


def test_a_residue_is_not_used_for_a_weight_that_somebody_put_in_its_place():
    weight = nn.Parameter(torch.ones(2, 2, dtype=torch.bfloat16))
    optimizer = SGD([weight], dw.Plan(1e-2, decay=dw.decoupled(0.1)), 100)
    for _ in range(2):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    weight.data.zero_()
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert not weight.any()
    weight.data.fill_(float("inf"))
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    weight.data.fill_(1.0)
    optimizer.step()
    assert torch.isfinite(weight).all()


@pytest.mark.parametrize("decay", [dw.l2(0.1), dw.decoupled(0.1)], ids=str)
def test_what_a_run_has_not_yet_rounded_goes_on_under_attach(decay):
    """The residues lie where `attach` looks for them."""
    weight = nn.Parameter(torch.linspace(0.5, 2.0, 8).reshape(2, 4).bfloat16())
    plan = dw.Plan(1e-2, decay=decay)
    optimizer = SGD([("w", weight)], plan, 400)
    for _ in range(200):
        weight.grad = torch.zeros_like(weight)
        optimizer.step()
    twin = nn.Parameter(weight.detach().clone())
    bare = torch.optim.SGD([("w", twin)], lr=1e-2)
    attach(bare, plan, 400)
    bare.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(200):
        for param in (weight, twin):
            param.grad = torch.zeros_like(param)
        optimizer.step()
        bare.step()
    torch.testing.assert_close(twin, weight, rtol=0, atol=0)
    torch.testing.assert_close(
        twin.detach().float(), torch.linspace(0.5, 2.0, 8).reshape(2, 4) * 0.999**400, rtol=2**-7, atol=0
    )


def test_half_precision_falls_back_to_torchs_operations_and_decays_as_attach_does():
    weights = []
    for make in (
        lambda w, plan: SGD([w], plan, 50),
        lambda w, plan: attach(torch.optim.SGD([w], lr=0.1), plan, 50)._optimizer,
    ):
        weight = nn.Parameter(torch.ones(2, 2, dtype=torch.float16))
        optimizer = make(weight, dw.Plan(1e-2, decay=dw.decoupled(0.01)))
        for _ in range(50):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        weights.append(weight.detach())
    assert torch.equal(*weights)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_l2_that_rounding_would_lose_is_kept_by_torchs_operations_too(dtype, momentum):
    lr, c, steps = (1e-2, 1e-5, 1000) if dtype is torch.float32 else (1e-3, 0.1, 300)
    ends, kept = [], []
    for make in (
        lambda w, plan: in_torch(SGD([("w", w)], plan, steps, momentum=momentum)),
        lambda w, plan: attach(torch.optim.SGD([("w", w)], momentum=momentum), plan, steps)._optimizer,
        lambda w, plan: SGD([("w", w)], plan, steps, momentum=momentum),
    ):
        weight = nn.Parameter(torch.ones(2, 2, dtype=dtype))
        optimizer = make(weight, dw.Plan(lr, decay=dw.l2(c)))
        for _ in range(steps):
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
        ends.append(weight.detach())
        kept.append({n: t["step"].numel() for n, t in optimizer.state[weight].items() if n.startswith("dwindle")})
        if "SGD" in repr(type(optimizer)) and hasattr(optimizer, "control"):
            assert optimizer.control.compensated == {"w": 4 * sum(kept[-1].values())}
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2]) or dtype is torch.float32
    assert kept[0] == kept[1] == kept[2]
    v, w = 0.0, 1.0
    for _ in range(steps):
        v = momentum * v + c * w
        w -= lr * v
    torch.testing.assert_close(
        ends[0].double(), torch.full((2, 2), w, dtype=torch.float64), rtol=float(torch.finfo(dtype).eps), atol=0
    )


# Gradients as users leave them


def test_changing_sets_of_gradients_layouts_and_types_are_followed():
    one, two = Net(torch.float64), Net(torch.float64)
    fast, peer = ours(AdamW, one, dw.decoupled(0.7)), theirs(AdamW, two, dw.decoupled(0.7))
    for step in range(STEPS):
        for net, optimizer in ((one, fast), (two, peer)):
            net.fill(step)
            if step % 3 == 1:
                net.kernel.grad = None
            if step % 4 == 2:
                net.filter.grad = net.filter.grad.contiguous()  # not as the parameter lies
            if step == 5:
                net.unused.grad = torch.ones_like(net.unused)
            if step == 6:
                with torch.no_grad():
                    net.filter.data = net.filter.data.clone(memory_format=torch.contiguous_format)
            optimizer.step()
            optimizer.zero_grad(set_to_none=step % 2 == 0)
    assert_same(one, two)
    assert int(fast.state[one.kernel]["step"]) == STEPS - 4


def test_a_model_cast_during_the_run_is_followed():
    net = Net(torch.float32)
    optimizer = ours(AdamW, net, dw.decoupled(0.7), ema=0.9)
    for cast in (torch.float32, torch.bfloat16, torch.float64):
        net.to(cast)
        for step in range(2):
            net.fill(step)
            optimizer.step()
        assert net.kernel.dtype is cast
        assert torch.isfinite(net.kernel).all()
    assert optimizer.control.step == 6


def test_sparse_gradients_decay_densely_as_under_attach():
    tables = []
    for make in (ours, theirs):
        torch.manual_seed(0)
        table = nn.Embedding(6, 3, sparse=True, dtype=torch.float64)
        optimizer = make(SGD, table, dw.decoupled(0.7))
        for step in range(4):
            optimizer.zero_grad()
            table(torch.tensor([step, 1])).sum().backward()
            optimizer.step()
        tables.append(table.weight.detach())
    torch.testing.assert_close(*tables, rtol=1e-12, atol=0)


def test_zero_leaves_no_gradient_and_backward_accumulates_from_there():
    for fast in (True, False):
        weight = nn.Parameter(torch.ones(3, 3))
        optimizer = SGD([weight], dw.Plan(0.1), 5, zero=True)
        if not fast:
            in_torch(optimizer)
        for _ in range(2):
            (2 * weight).sum().backward()
            grad = weight.grad
            optimizer.step()
            assert weight.grad is grad
            assert not grad.any()
        torch.testing.assert_close(weight.detach(), torch.full((3, 3), 0.6))


def test_autograd_sees_that_the_weights_were_written_to():
    weight = nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], dw.Plan(0.1), 5)
    loss = (weight**2).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_gradient_that_is_not_finite_spreads_as_in_torch():
    for clip in (None, 1.0):
        weight = nn.Parameter(torch.ones(3))
        optimizer = SGD([weight], dw.Plan(0.1), 5, clip=clip)
        weight.grad = torch.tensor([1.0, float("nan"), 1.0])
        optimizer.step()
        assert torch.isnan(weight).tolist() == ([False, True, False] if clip is None else [True] * 3)


def test_grad_scaler_skips_steps_that_overflow():
    weight = nn.Parameter(torch.ones(3))
    optimizer = AdamW([weight], dw.Plan(0.1), 5)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for bad in (False, True, False):
        scaler.scale((weight * (float("inf") if bad else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert optimizer.control.step == 2


def test_a_closure_gives_the_gradients_and_the_loss():
    weight = nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], dw.Plan(0.1, decay=dw.l2(0.5), mask=dw.Mask.everything()), 5)

    def closure():
        optimizer.zero_grad()
        loss = (weight * 2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 6.0
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 0.1 * 2.5))


# Hooks, states, copies, plans


def test_hooks_run_once_around_every_step_also_after_torchs_own_class_was_used():
    torch.optim.SGD(
        [nn.Parameter(torch.ones(1))], lr=0.1
    ).step()  # from here on torch's class has hooks around its step
    for fast in (True, False):
        seen = []
        weight = nn.Parameter(torch.ones(1))
        optimizer = SGD([weight], dw.Plan(0.1, decay=dw.decoupled(1.0), mask=dw.Mask.everything()), 5)
        if not fast:
            in_torch(optimizer)
        optimizer.register_step_pre_hook(lambda *_, seen=seen: seen.append("before"))
        optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append("after"))
        weight.grad = torch.zeros(1)
        optimizer.step()
        assert seen == ["before", "after"]
        assert optimizer.control.step == 1
        torch.testing.assert_close(weight.detach(), torch.tensor([0.9]))


@pytest.mark.parametrize(("kind", "options"), [RULES[0], RULES[2]], ids=label)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_run_resumed_at_any_step_is_the_uninterrupted_one_bit_for_bit(kind, options, dtype):
    whole = Net(dtype)
    optimizer = ours(kind, whole, dw.decoupled(0.01), ema=0.9, **options)
    saves = []
    for step in range(STEPS):
        saves.append(copy.deepcopy((whole.state_dict(), optimizer.state_dict())))
        whole.fill(step)
        optimizer.step()
    for at in (0, 1, 7):
        net = Net(dtype)
        again = ours(kind, net, dw.decoupled(0.01), ema=0.9, **options)
        net.load_state_dict(saves[at][0])
        again.load_state_dict(saves[at][1])
        assert again.control.step == at
        for step in range(at, STEPS):
            net.fill(step)
            again.step()
        assert all(torch.equal(p, q) for p, q in zip(net.parameters(), whole.parameters(), strict=True))
        assert all(torch.equal(a, optimizer.averages()[n]) for n, a in again.averages().items())


@pytest.mark.parametrize(("kind", "options"), [RULES[0], RULES[2], RULES[4]], ids=label)
def test_states_go_to_torchs_own_class_and_come_back(kind, options):
    one, two = Net(torch.float64), Net(torch.float64)
    fast, peer = ours(kind, one, dw.decoupled(0.7), **options), theirs(kind, two, dw.decoupled(0.7), **options)
    for step in range(STEPS):
        for net, optimizer in ((one, fast), (two, peer)):
            net.fill(step)
            optimizer.step()
        if step in (3, 8):  # they change places
            states = copy.deepcopy((fast.state_dict(), peer.state_dict()))
            fast.load_state_dict(states[1])
            peer.load_state_dict(states[0])
    assert_same(one, two)
    base = torch.optim.AdamW if kind is AdamW else torch.optim.SGD
    alone = base(one.named_parameters(), lr=0.3)
    alone.load_state_dict(fast.state_dict())
    one.fill(0)
    alone.step()


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_goes_on_with_its_plan(how):
    net = Net(torch.float32)
    optimizer = ours(AdamW, net, dw.decoupled(0.7), ema=0.9, clip=1.0)
    for step in range(3):
        net.fill(step)
        optimizer.step()
    twin, other = how((net, optimizer))
    assert other.control.step == 3
    for step in range(3, STEPS):
        for model, opt in ((net, optimizer), (twin, other)):
            model.fill(step)
            opt.step()
    assert all(torch.equal(p, q) for p, q in zip(net.parameters(), twin.parameters(), strict=True))
    assert other.averages().keys() == optimizer.averages().keys()


def test_averaged_lends_the_averages_and_gives_the_weights_back():
    weight = nn.Parameter(torch.zeros(2, dtype=torch.bfloat16))
    optimizer = SGD([("w", weight)], dw.Plan(1.0), 5, ema=0.5)
    for _ in range(2):
        weight.grad = -torch.ones_like(weight)
        optimizer.step()
    try:
        with optimizer.averaged():
            assert weight.tolist() == [1.5, 1.5]  # 1, then half of it and half of 2
            raise KeyError
    except KeyError:
        pass
    assert weight.tolist() == [2.0, 2.0]
    with pytest.raises(InvalidValueError, match=r"averages nothing; make it with ema=0.999"):
        SGD([weight], dw.Plan(1.0), 5).averages()


def test_averages_of_layers_whose_names_are_the_same_stay_apart():
    for grouped in (False, True):
        encoder, decoder = nn.Linear(4, 6), nn.Linear(6, 4)
        named = [[*layer.named_parameters()] for layer in (encoder, decoder)]
        params = [{"params": some} for some in named] if grouped else [*named[0], *named[1]]
        optimizer = SGD(params, dw.Plan(1.0, decay=dw.decoupled(0.1)), 5, ema=0.5, compensated=True)
        weights, seen = [*encoder.parameters(), *decoder.parameters()], []
        for _ in range(2):
            for scale, p in enumerate(weights, 1):
                p.grad = torch.full_like(p, scale)
            optimizer.step()
            seen.append([p.detach().clone() for p in weights])
        assert sorted(optimizer.averages()) == ["bias", "bias#2", "weight", "weight#2"]
        with optimizer.averaged():
            for p, first, second in zip(weights, *seen, strict=True):
                torch.testing.assert_close(p.detach(), 0.5 * first + 0.5 * second)
        control = optimizer.control
        assert control.compensated == {"weight": 96, "weight#2": 96}
        assert control.report().startswith("decoupled 0.1; compensated for rounding, 192 bytes")
        assert (control.rates("weight#2").shrink, control.rates("bias#2").shrink) == (0.9, 1.0)


def test_a_rule_of_the_mask_sees_the_names_that_were_given():
    layers = [nn.Linear(2, 2, bias=False) for _ in range(2)]
    mask = dw.Mask.of(dw.Rule("name", "weight", False))
    optimizer = SGD([*layers[0].named_parameters(), *layers[1].named_parameters()], dw.Plan(0.1), 5)
    assert [a.name for a in optimizer.control.groups.assignments] == ["weight", "weight#2"]
    with pytest.warns(UserWarning, match="none of the optimiser's 2 parameters"):
        SGD([p for layer in layers for p in layer.named_parameters()], dw.Plan(0.1, decay=dw.l2(0.1), mask=mask), 5)


def test_a_parameter_that_gets_no_gradient_any_more_is_averaged_on():
    for through in (lambda optimizer: optimizer, in_torch):
        model = nn.ParameterDict({name: nn.Parameter(torch.zeros(2)) for name in ("still", "goes")})
        optimizer = through(SGD(model.named_parameters(), dw.Plan(1.0), 20, ema=0.9))
        mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        for step in range(20):
            model["goes"].grad = -torch.ones(2)
            model["still"].grad = -torch.ones(2) if step < 5 else None
            optimizer.step()
            mean.update_parameters(model)
        for name, average in mean.module.named_parameters():
            torch.testing.assert_close(optimizer.averages()[name], average.detach())


def test_the_controllers_own_doings_take_effect():
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = SGD([weight], dw.Plan(0.5, dw.linear()), 10, feedback=dw.plateau(0.5, patience=0))
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    optimizer.control.extend(20)
    optimizer.control.observe(1.0)
    optimizer.control.observe(1.0)
    before, lr = weight.detach()[0, 0].item(), optimizer.control.lr
    optimizer.step()
    assert weight.detach()[0, 0].item() == pytest.approx(before - lr)
    assert optimizer.param_groups[0]["lr"] == lr
    optimizer.param_groups[0]["lr"] = 9.0
    with pytest.warns(UserWarning, match="learning rate was changed"):
        optimizer.step()


def test_groups_of_the_plan_and_of_the_user_have_their_rates():
    plan = dw.Plan(0.1, groups=(dw.Group("head", "filter", 3.0),), decay=dw.decoupled(0.5))
    one, two = Net(torch.float64), Net(torch.float64)
    groups = lambda net: [  # noqa: E731
        {"params": [("kernel", net.kernel)], "betas": (0.5, 0.9)},
        {"params": [(n, p) for n, p in net.named_parameters() if n != "kernel"]},
    ]
    fast = AdamW(groups(one), plan, STEPS)
    peer = torch.optim.AdamW(groups(two), weight_decay=0.0)
    attach(peer, plan, STEPS)
    for step in range(3):
        for net, optimizer in ((one, fast), (two, peer)):
            net.fill(step)
            optimizer.step()
    assert_same(one, two)
    fast.add_param_group({"params": [("late", nn.Parameter(torch.ones(2, 2, dtype=torch.float64)))]})
    one.fill(3)
    fast.step()
    assert "late" in fast.control.report()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip": 0.0}, "clip"), ({"clip": float("nan")}, "clip"), ({"ema": 1.5}, "ema"), ({"zero": 1}, "zero"),
        ({"weight_decay": 0.1}, "takes weight_decay from its plan"), ({"lr": 0.1}, "takes lr from its plan"),
        ({"modle": None}, "model"), ({"norms": "yes"}, "norms"), ({"horizon": 0}, "horizon"),
        ({"plan": 0.1}, "plan must be a Plan"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(options, message):
    weight = nn.Parameter(torch.ones(2, 2))
    given = {"plan": dw.Plan(0.1), "horizon": 5, **options}
    with pytest.raises(DwindleError, match=message):
        AdamW([weight], **given)


@pytest.mark.parametrize("kind", [SGD, AdamW])
def test_an_exemption_from_decay_that_the_plan_would_overrule_is_refused(kind):
    plan = dw.Plan(0.1, decay=dw.decoupled(0.5))
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    groups = [{"params": one.named_parameters()}, {"params": two.named_parameters(), "weight_decay": 0.0}]
    refused = r"group 1 of the optimiser has weight_decay=0 beside one that says nothing.*lets its 'weight.*' decay"
    with pytest.raises(InvalidValueError, match=refused):
        kind(groups, plan, 10)
    kind(
        [{"params": one.parameters()}, {"params": [one.bias.detach().requires_grad_()], "weight_decay": 0.0}], plan, 10
    )
    kind([{"params": one.parameters(), "weight_decay": 0.0}], plan, 10)  # all alike
    optimizer = copy.deepcopy(kind(one.named_parameters(), plan, 10))
    optimizer.add_param_group({"params": two.named_parameters(), "weight_decay": 0.0})
    two(torch.ones(3)).sum().backward()
    with pytest.raises(InvalidValueError, match=refused):
        optimizer.step()


def test_a_rule_without_a_rate_asks_for_a_plan():
    weight = nn.Parameter(torch.ones(2, 2))
    said = r"alone it means a learning rate of 1; say the rate: AdamW\(params, Plan\(0.001\), horizon, feedback=rule\)"
    with pytest.raises(InvalidValueError, match=said):
        AdamW([weight], dw.plateau(0.5), 100)
    rule = dw.foreign.read("torch", "ReduceLROnPlateau", {"factor": 0.5}, base_lr=0.25)
    assert AdamW([weight], rule, 100).control.lr == 0.25
    rate = torch.optim.AdamW([weight], lr=0.01)
    with pytest.raises(InvalidValueError, match=r"was made for 0.01; say the rate: attach\(optimizer, Plan\(0.01\)"):
        attach(rate, dw.plateau(0.5), 100)


def test_without_numba_the_steps_are_torchs(monkeypatch):
    import builtins

    found = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "dwindle.torch.onepass":
            raise ImportError(name)
        return found(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    one, two = Net(torch.float32), Net(torch.float32)
    with pytest.warns(UserWarning, match="numba is not installed"):
        slow = ours(AdamW, one, dw.decoupled(0.7))
    monkeypatch.undo()
    fast = ours(AdamW, two, dw.decoupled(0.7))
    for step in range(STEPS):
        for net, optimizer in ((one, slow), (two, fast)):
            net.fill(step)
            optimizer.step()
    assert_same(one, two, 3e-6)


def test_any_number_of_threads_gives_the_same_bits():
    threads, weights = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            weight = nn.Parameter(torch.randn(300_000))
            optimizer = AdamW([weight], dw.Plan(0.1), 5, clip=1.0, norms=True)
            for _ in range(3):
                weight.grad = torch.sin(weight.detach())
                optimizer.step()
            weights.append((weight.detach().clone(), optimizer.grad_norm, optimizer.weight_norm))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(weights[0][0], weights[1][0])
    assert weights[0][1:] == weights[1][1:]


def test_the_quicker_of_one_thread_and_several_is_taken_and_the_other_tried_again(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def passes(number):
        """Return how many threads each pass had, where a pass takes what ``takes`` says of them."""
        counts = []
        for _ in range(number):
            counts.append(which.count())
            which._learn(int(counts[-1] > 1), takes[counts[-1]])
        return counts

    which = threads.Threads(10**6)
    takes = {1: 2e-3, 2: 1e-3}
    assert passes(62) == [2, 2, *[1] * 4, *[2] * 16, *[1] * 4, *[2] * 32, *[1] * 4]
    assert passes(64) == [2] * 64
    takes[2] = 20e-3  # another process holds the second core
    assert passes(4) == [1] * 4
    for _ in range(4):  # and gives it back for some passes, again and again
        takes[2] = 20e-3
        passes(200)
        takes[2] = 1e-3
        passes(20)
    takes[2] = 20e-3
    assert passes(1000).count(2) <= 2
    takes[2] = 1e-3
    assert 2 in passes(2000)
    assert passes(8) == [2] * 8
    assert threads.Threads(10).count() == 1
    monkeypatch.setattr(threads, "_child", [1])
    assert which.count() == 1


def _trained(queue=None):
    """Many tensors, each too small for torch to use threads on: those hang in a forked child."""
    weights = [nn.Parameter(torch.ones(20_000)) for _ in range(10)]
    optimizer = SGD(weights, dw.Plan(0.5), 5, clip=1e9)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    left = [weight.detach()[0].item() for weight in weights]
    return left if queue is None else queue.put(left)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork")  # JAX's, where a test before this one has used it; the child does not
def test_a_forked_child_trains_too():
    assert _trained() == [0.5] * 10
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_trained, args=(queue,))
    child.start()
    child.join(60)
    alive = child.is_alive()
    child.kill()
    assert not alive, "the child hangs"
    assert child.exitcode == 0
    assert queue.get() == [0.5] * 10


def test_two_trainings_in_two_threads_of_python_do_not_disturb_each_other():
    def train(seed):
        torch.manual_seed(seed)
        weight = nn.Parameter(torch.full((60_000,), float(seed)))
        optimizer = AdamW([weight], dw.Plan(0.1), 50, clip=1.0)
        for _ in range(50):
            weight.grad = torch.cos(weight.detach())
            optimizer.step()
        return weight.detach()

    wanted = [train(seed) for seed in (1, 2, 3)]
    with ThreadPoolExecutor(3) as pool:
        got = list(pool.map(train, (1, 2, 3)))
    assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


# States and groups that others handle


def moved(optimizer):
    for state in optimizer.state.values():
        for value in state.values():
            value.data = value.data.clone()


def shared(optimizer):
    for state in optimizer.state.values():
        for value in state.values():
            value.share_memory_()


def zeroed(optimizer):
    for state in optimizer.state.values():
        for name in state:
            state[name] = torch.zeros_like(state[name])


@pytest.mark.parametrize("handle", [moved, shared, zeroed, lambda optimizer: optimizer.state.clear()])
@pytest.mark.parametrize(("kind", "options"), [RULES[0], RULES[2]], ids=label)
def test_states_that_somebody_moves_replaces_or_drops_are_followed(kind, options, handle):
    one, two = Net(torch.float64), Net(torch.float64)
    fast, peer = ours(kind, one, dw.decoupled(0.7), **options), theirs(kind, two, dw.decoupled(0.7), **options)
    for step in range(STEPS):
        if step in (3, 6):
            handle(fast)
            handle(peer)
        for net, optimizer in ((one, fast), (two, peer)):
            net.fill(step)
            optimizer.step()
    assert_same(one, two)


def test_momentum_and_nesterov_that_are_switched_during_the_run_are_followed():
    one, two = Net(torch.float64), Net(torch.float64)
    fast, peer = ours(SGD, one, dw.decoupled(0.7)), theirs(SGD, two, dw.decoupled(0.7))
    for step in range(STEPS):
        for net, optimizer in ((one, fast), (two, peer)):
            for group in optimizer.param_groups:
                group["momentum"] = 0.0 if step < 3 else 0.9 if step < 8 else 0.5
                group["nesterov"] = step >= 6
            net.fill(step)
            optimizer.step()
    assert_same(one, two)


def test_a_parameter_put_in_place_of_another_moves():
    old, new = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3, 3))
    optimizer = SGD([old], dw.Plan(0.1), 5)
    old.grad = torch.ones_like(old)
    optimizer.step()
    optimizer.param_groups[0]["params"][0] = new
    new.grad = torch.ones_like(new)
    optimizer.step()
    torch.testing.assert_close(new.detach(), torch.full((3, 3), 0.9))
    torch.testing.assert_close(old.detach(), torch.full((3, 3), 0.9))


def test_a_parameter_of_another_shape_is_refused_in_words_and_one_of_plain_sgd_followed():
    weight = nn.Parameter(torch.ones(2, 3))
    for kind in (AdamW, SGD):
        weight.data = torch.ones(2, 3)
        optimizer = kind([weight], dw.Plan(0.1), 5)
        for shape in ((2, 3), (400, 500)):
            weight.data, weight.grad = torch.ones(shape), None
            weight.grad = torch.ones(shape)
            if kind is AdamW and shape != (2, 3):
                with pytest.raises(InvalidValueError, match=r"'exp_avg' has the shape \(2, 3\) and its parameter now"):
                    optimizer.step()
            else:
                optimizer.step()
                assert weight.detach().max() < 0.91


def test_gradients_with_a_pending_sign_or_conjugate_are_taken_as_they_are():
    for dtype, view in ((torch.complex128, torch.conj), (torch.float64, torch._neg_view)):
        weights = []
        for make in (ours, theirs):
            weight = nn.Parameter(torch.full((3, 3), 1.0, dtype=dtype))
            optimizer = make(SGD, nn.ParameterDict({"w": weight}), dw.decoupled(0.1))
            for step in range(3):
                grad = torch.full_like(weight, 0.5) * (1 + 2j if dtype.is_complex else 1)
                weight.grad = view(grad) if step == 1 else grad
                optimizer.step()
            weights.append(weight.detach())
        torch.testing.assert_close(*weights, rtol=1e-12, atol=0)


def test_a_depthwise_filter_whose_gradient_is_strided_otherwise_stays_in_one_pass():
    weight = nn.Parameter(torch.ones(4, 1, 3, 3))
    optimizer = SGD([weight], dw.Plan(0.1), 5)
    weight.grad = torch.ones(4, 1, 3, 3).as_strided((4, 1, 3, 3), (9, 1, 3, 1))
    optimizer.step()
    assert optimizer._tensors._batches[0].find()
    torch.testing.assert_close(weight.detach(), torch.full((4, 1, 3, 3), 0.9))


def test_after_detach_it_is_torchs_own_optimiser():
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = SGD([("a", weight), ("bias", nn.Parameter(torch.ones(2)))], dw.Plan(0.5, decay=dw.decoupled(0.5)), 5)
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    optimizer.control.detach()
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append(1))
    optimizer.param_groups[0]["lr"] = 0.25
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 0.75 - 0.25))
    assert (seen, optimizer.control.step) == ([1], 1)


@pytest.mark.parametrize("how", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_a_copy_after_detach_follows_no_plan_either(how):
    layer = nn.Linear(3, 2)
    plan = dw.Plan(0.5, dw.linear(), dw.decoupled(0.5), groups=(dw.Group("b", "bias", 2.0),))
    optimizer = SGD(layer.named_parameters(), plan, 5, momentum=0.9, clip=1.0)
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    optimizer.control.detach()
    optimizer.param_groups[0].update(lr=0.25, weight_decay=0.125)
    optimizer.add_param_group({"params": [("late", nn.Parameter(torch.ones(2)))], "lr": 0.75})
    twin_layer, twin = how((layer, optimizer))
    assert twin.control.detached
    assert [(g["lr"], g["weight_decay"], g["param_names"]) for g in twin.param_groups] == [
        (0.25, 0.125, ["weight", "bias"]), (0.75, 0.0, ["late"]),
    ]  # fmt: skip
    for one, by in ((layer, optimizer), (twin_layer, twin)):
        by.zero_grad()
        one(torch.ones(3)).sum().backward()
        by.step()
    for p, q in zip(layer.parameters(), twin_layer.parameters(), strict=True):
        assert torch.equal(p, q)


def test_averages_saved_by_a_distributed_checkpoint_before_the_first_step_begin_at_the_weights():
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    net = nn.Linear(3, 2)
    optimizer = AdamW(net.named_parameters(), dw.Plan(0.1), 5, ema=0.9)
    get_optimizer_state_dict(net, optimizer)  # makes a step that does not count
    net.bias.requires_grad_(False)
    start = net.weight.detach().clone()
    net(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    mean, now = optimizer.averages()["weight"], net.weight.detach()
    assert ((mean - start).abs() + (mean - now).abs() <= (start - now).abs() + 1e-6).all()  # between the two
    assert optimizer.control.step == 1


@pytest.mark.slow
def test_a_compiled_training_step_calls_it_between_its_graphs():
    weight = nn.Parameter(torch.ones(3))
    optimizer = SGD([weight], dw.Plan(0.1, dw.linear()), 5)

    @torch.compile(backend="eager")
    def train():
        (weight * 2).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            train()
    assert optimizer.control.step == 3
    torch.testing.assert_close(weight.detach(), torch.full((3,), 1 - 2 * (0.1 + 0.08 + 0.06)))
