"""Weight decay below the rounding of the weights: torch alone and under dwindle.torch.attach, and what exactness costs.

    python benchmarks/low_precision.py [--quick] [--json FILE]

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
from surroundings import begin, command, save

import dwindle as dw

ZERO_GRADIENT = [
    ("bfloat16, lr·λ = 1e-3", torch.bfloat16, 1e-2, 1e-1, 200),
    ("float32, lr·λ = 1e-8", torch.float32, 1e-3, 1e-5, 100_000),
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
COSTS: list[tuple[str, torch.dtype, str, dict[str, Any], Any]] = [
    ("AdamW, bfloat16", torch.bfloat16, "AdamW", {}, dw.decoupled(0.1)),
    ("AdamW, bfloat16, fused", torch.bfloat16, "AdamW", {"fused": True}, dw.decoupled(0.1)),
    ("AdamW, bfloat16, cautious", torch.bfloat16, "AdamW", {}, dw.decoupled(0.1, cautious=True)),
    ("AdamW, float32", torch.float32, "AdamW", {}, dw.decoupled(0.1)),
    ("SGD, momentum, bfloat16, l2", torch.bfloat16, "SGD", {"momentum": 0.9}, dw.l2(0.1)),
    ("Adam, bfloat16, l2", torch.bfloat16, "Adam", {}, dw.l2(0.1)),
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


def dose(
    steps: int, kind: str, options: Any, dtype: torch.dtype, decay: Any, lr: float, noise: float
) -> dict[str, dict[str, float]]:
    """Return the share of the decay, and its relative error, of torch alone and of ours, against float64."""
    torch.manual_seed(0)
    start = torch.randn(1000, 2).to(dtype)
    grads = [(noise * torch.randn(1000, 2)).to(dtype) for _ in range(steps)]
    exact = moved(start.double(), [g.double() for g in grads], kind, options, lr, decay, None)
    out = {}
    for who in ("torch", "ours"):
        found = moved(start, grads, kind, options, lr, decay, who == "ours")
        share = float((found * exact).sum() / (exact**2).sum())
        out[who] = {"share": share, "relative_error": float((found - exact).norm() / exact.norm())}
    return out


def alternating(candidates: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for i in range(rounds + 3):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            if i >= 3:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def network(width: int, dtype: torch.dtype) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Linear(784, width), torch.nn.ReLU(), torch.nn.Linear(width, width), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(width, 10)).to(dtype)


def trained(model: Any, kind: str, options: Any, decay: Any, compensated: bool) -> tuple[dict[str, Any], float]:
    """Return the optimiser step and the whole training step on 256 examples, and the bytes beside a weight that decays."""
    dtype = next(model.parameters()).dtype
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
    return {"optimiser step": alone, "training step": whole}, sum(control.compensated.values()) / decaying


def compared_at_zero(fraction: float) -> list[dict[str, Any]]:
    print(f"{'zero gradient, AdamW, w = 1':46}{'torch':>12}{'ours':>12}{'exact':>12}")
    rows = []
    for name, dtype, lr, weight_decay, most in ZERO_GRADIENT:
        steps = round(fraction * most)
        alone, ours = (left_of_one(dtype, lr, weight_decay, steps, ours) for ours in (False, True))
        exact = (1 - lr * weight_decay) ** steps
        print(f"{f'{name}, {steps} steps':46}{alone:>12.8f}{ours:>12.8f}{exact:>12.8f}", flush=True)
        row = {"case": name, "lr": lr, "weight_decay": weight_decay, "steps": steps}
        rows.append({**row, "torch": alone, "ours": ours, "exact": exact})
    return rows


def compared_doses(steps: int) -> list[dict[str, Any]]:
    head = f"{steps} steps of random gradients, decay of float64"
    print(f"\n{head:50}{'torch':>8}{'error':>8}{'ours':>8}{'error':>8}")
    rows = []
    for name, kind, options, dtype, decay, lr, noise in DOSES:
        found = dose(steps, kind, options, dtype, decay, lr, noise)
        cells = [f"{each['share']:>8.3f}{each['relative_error']:>8.3f}" for each in found.values()]
        print(f"{name:50}" + "".join(cells), flush=True)
        rows.append({"case": name, "steps": steps, **found})
    return rows


def compared_costs(width: int, rounds: int) -> list[dict[str, Any]]:
    weights = sum(p.numel() for p in network(width, torch.float32).parameters())
    head = f"MLP of {weights / 1e6:.1f} million weights, ms"
    print(f"\n{head:46}{'without':>9}{'with':>9}{'ratio':>7}{'bytes a weight':>16}")
    rows = []
    for name, dtype, kind, options, decay in COSTS:
        steps, _ = trained(network(width, dtype), kind, options, decay, False)
        steps_with, beside = trained(network(width, dtype), kind, options, decay, True)
        for what in steps:
            t = alternating({"without": steps[what], "with": steps_with[what]}, rounds)
            ratio = t["with"] / t["without"]
            line = f"{f'{name}: {what}':46}{t['without']:>9.2f}{t['with']:>9.2f}{ratio:>7.2f}"
            print(f"{line}{beside:>16.1f}", flush=True)
            row = {"case": name, "timed": what, "weights": weights, "milliseconds": t, "ratio": ratio}
            rows.append({**row, "bytes_per_weight": beside})
    return rows


def main() -> None:
    given = command(__doc__).parse_args()
    torch.set_num_threads(1)
    around, quick = begin(), given.quick
    found = {"zero_gradient": compared_at_zero(0.01 if quick else 1.0), "decay": compared_doses(5 if quick else 500)}
    found["cost"] = compared_costs(*(64, 1) if quick else (1024, 15))
    save(given.json, around, **found)


if __name__ == "__main__":
    main()
