"""Weight decay below the rounding of the weights: torch alone and under dwindle.torch.attach, and what exactness costs.

    python benchmarks/low_precision.py

First, zero gradients: what is left of w = 1 after the decay, beside the exact product. Second, random gradients: the
decay of a run as a share of that of the same run in float64 (the difference to a run without decay, by least squares over
the weights), and the relative error of it. Third, time: an optimiser step with and without compensation, and a whole
training step of an MLP, alternating, medians; and the bytes a weight takes beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import dwindle as dw

ROUNDS = 15
ZERO_GRADIENT = [
    ("bfloat16, lr·λ = 1e-3, 200 steps", torch.bfloat16, 1e-2, 1e-1, 200),
    ("float32, lr·λ = 1e-8, 100 000 steps", torch.float32, 1e-3, 1e-5, 100_000),
]
DOSES: list[tuple[str, str, dict[str, Any], torch.dtype, Any, float, float]] = [
    ("AdamW, bfloat16, decoupled, lr·λ 1e-4", "AdamW", {}, torch.bfloat16, dw.decoupled(1e-2), 1e-2, 0.1),
    ("AdamW, bfloat16, decoupled, lr·λ 1e-3", "AdamW", {}, torch.bfloat16, dw.decoupled(1e-1), 1e-2, 0.1),
    ("AdamW, bfloat16, decoupled, lr·λ 1e-2", "AdamW", {}, torch.bfloat16, dw.decoupled(1.0), 1e-2, 0.1),
    ("AdamW, bfloat16, cautious, lr·λ 1e-3", "AdamW", {}, torch.bfloat16, dw.decoupled(0.1, cautious=True), 1e-2, 0.1),
    ("SGD, momentum 0.9, bfloat16, l2, lr·c 1e-4", "SGD", {"momentum": 0.9}, torch.bfloat16, dw.l2(1e-2), 1e-2, 0.1),
    ("Adam, bfloat16, l2, c 1e-3", "Adam", {}, torch.bfloat16, dw.l2(1e-3), 5e-2, 1.0),
    ("AdamW, float32, decoupled, lr·λ 1e-6", "AdamW", {}, torch.float32, dw.decoupled(1e-2), 1e-4, 0.1),
    ("AdamW, float32, decoupled, lr·λ 1e-7", "AdamW", {}, torch.float32, dw.decoupled(1e-3), 1e-4, 0.1),
    ("SGD, float32, l2, lr·c 1e-7", "SGD", {}, torch.float32, dw.l2(1e-5), 1e-2, 0.1),
]


def left_of_one(dtype: torch.dtype, lr: float, weight_decay: float, steps: int, ours: bool) -> float:
    weight = torch.nn.Parameter(torch.ones(2, 2, dtype=dtype))
    weight.grad = torch.zeros_like(weight)
    if ours:
        optimizer = torch.optim.AdamW([weight])
        dw.torch.attach(optimizer, dw.Plan(lr, decay=dw.decoupled(weight_decay)), steps)
    else:
        optimizer = torch.optim.AdamW([weight], lr=lr, weight_decay=weight_decay)
    for _ in range(steps):
        optimizer.step()
    return float(weight.detach()[0, 0])


def moved(
    start: Any, grads: list[Any], kind: str, options: Any, lr: float, decay: Any, compensated: bool | None
) -> Any:
    """Return what decay alone changed in the weights of a run."""
    ends = []
    for each in (decay, None):
        weight = torch.nn.Parameter(start.clone())
        optimizer = getattr(torch.optim, kind)([("weight", weight)], **options)
        dw.torch.attach(optimizer, dw.Plan(lr, decay=each), len(grads), compensated=compensated)
        for grad in grads:
            weight.grad = grad
            optimizer.step()
        ends.append(weight.detach().double())
    return ends[0] - ends[1]


def doses(
    kind: str, options: Any, dtype: torch.dtype, decay: Any, lr: float, noise: float
) -> list[tuple[float, float]]:
    """Return (share of the decay, relative error) of torch alone and of ours, against float64."""
    torch.manual_seed(0)
    start = torch.randn(1000, 2).to(dtype)
    grads = [(noise * torch.randn(1000, 2)).to(dtype) for _ in range(500)]
    exact = moved(start.double(), [g.double() for g in grads], kind, options, lr, decay, None)
    out = []
    for compensated in (False, True):
        found = moved(start, grads, kind, options, lr, decay, compensated)
        share = float((found * exact).sum() / (exact**2).sum())
        out.append((share, float((found - exact).norm() / exact.norm())))
    return out


def alternating(candidates: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the median milliseconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(ROUNDS + 3):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            if i >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def network(dtype: torch.dtype) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(784, 1024), torch.nn.ReLU(), torch.nn.Linear(1024, 1024), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(1024, 10)).to(dtype)


def trained(dtype: torch.dtype, kind: str, options: Any, decay: Any, compensated: bool) -> tuple[Any, Any, float]:
    """Return (optimiser step, whole training step on 256 examples, bytes beside each weight that decays)."""
    model = network(dtype)
    optimizer = getattr(torch.optim, kind)(model.named_parameters(), **options)
    control = dw.torch.attach(optimizer, dw.Plan(1e-4, decay=decay), 10**6, model=model, compensated=compensated)
    inputs, labels = torch.randn(256, 784).to(dtype), torch.arange(256) % 10

    def whole() -> None:
        torch.nn.functional.cross_entropy(model(inputs).float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    whole()
    torch.nn.functional.cross_entropy(model(inputs).float(), labels).backward()
    held = [p.grad for p in model.parameters()]

    def alone() -> None:
        for p, grad in zip(model.parameters(), held, strict=True):
            p.grad = grad
        optimizer.step()

    decaying = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    return alone, whole, sum(control.compensated.values()) / decaying


def main() -> None:
    torch.set_num_threads(1)
    print(f"{'zero gradient, AdamW, w = 1':46}{'torch':>12}{'ours':>12}{'exact':>12}")
    for name, dtype, lr, weight_decay, steps in ZERO_GRADIENT:
        alone, ours = (left_of_one(dtype, lr, weight_decay, steps, ours) for ours in (False, True))
        print(f"{name:46}{alone:>12.8f}{ours:>12.8f}{(1 - lr * weight_decay) ** steps:>12.8f}")
    print(f"\n{'500 steps of random gradients, decay of float64':50}{'torch':>8}{'error':>8}{'ours':>8}{'error':>8}")
    for name, kind, options, dtype, decay, lr, noise in DOSES:
        (theirs, wrong), (share, error) = doses(kind, options, dtype, decay, lr, noise)
        print(f"{name:50}{theirs:>8.3f}{wrong:>8.3f}{share:>8.3f}{error:>8.3f}")
    print(f"\n{'MLP of 1.9 million weights, ms':46}{'without':>9}{'with':>9}{'ratio':>7}{'bytes a weight':>16}")
    for name, dtype, kind, options, decay in [
        ("AdamW, bfloat16", torch.bfloat16, "AdamW", {}, dw.decoupled(0.1)),
        ("AdamW, bfloat16, fused", torch.bfloat16, "AdamW", {"fused": True}, dw.decoupled(0.1)),
        ("AdamW, bfloat16, cautious", torch.bfloat16, "AdamW", {}, dw.decoupled(0.1, cautious=True)),
        ("AdamW, float32", torch.float32, "AdamW", {}, dw.decoupled(0.1)),
        ("SGD, momentum, bfloat16, l2", torch.bfloat16, "SGD", {"momentum": 0.9}, dw.l2(0.1)),
        ("Adam, bfloat16, l2", torch.bfloat16, "Adam", {}, dw.l2(0.1)),
    ]:
        made = {on: trained(dtype, kind, options, decay, on) for on in (False, True)}
        for what, at in (("optimiser step", 0), ("training step", 1)):
            found = alternating({str(on): made[on][at] for on in (False, True)})
            row = f"{found['False']:>9.2f}{found['True']:>9.2f}{found['True'] / found['False']:>7.2f}"
            print(f"{name + ': ' + what:46}{row}{made[True][2]:>16.1f}")


if __name__ == "__main__":
    main()
