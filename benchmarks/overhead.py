"""What a step costs: torch's optimiser alone, with torch's scheduler stepped after it, and with a plan attached.

    python benchmarks/overhead.py [--quick] [--json FILE]

Steps of the three are taken in turn, so that noise falls on all alike; medians of microseconds. No forward, no backward:
gradients stand there. The plan is warm-up and cosine with decoupled decay; torch has LambdaLR with the same formula.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import torch
from surroundings import begin, command, save

import dwindle as dw

HORIZON = 2000
PLAN = dw.parse("peak 1e-3 | warmup 100st, cosine to 10% | decoupled 0.1")


def factor(step: int) -> float:
    """Return what torch users write for warm-up and cosine."""
    if step < 100:
        return step / 100
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - 100) / (HORIZON - 100)))


def built(tensors: int, kind: Any, **options: Any) -> Any:
    params = [(f"{i}.weight", torch.nn.Parameter(torch.randn(16, 16))) for i in range(tensors)]
    for _, p in params:
        p.grad = torch.randn_like(p)
    return kind(params, lr=1e-3, **options)


def timed(steps: int, tensors: int, kind: Any, **options: Any) -> dict[str, float]:
    alone, scheduled, attached = (built(tensors, kind, **options) for _ in range(3))
    scheduler = torch.optim.lr_scheduler.LambdaLR(scheduled, factor)
    dw.torch.attach(attached, PLAN, HORIZON)
    taken: dict[str, list[float]] = {"alone": [], "scheduler": [], "plan": []}
    for _ in range(steps):
        for name, optimizer in (("alone", alone), ("scheduler", scheduled), ("plan", attached)):
            begun = time.perf_counter()
            optimizer.step()
            if name == "scheduler":
                scheduler.step()
            taken[name].append(time.perf_counter() - begun)
    return {name: 1e6 * statistics.median(times) for name, times in taken.items()}


def main() -> None:
    given = command(__doc__).parse_args()
    torch.set_num_threads(1)
    around, rows = begin(), []
    print(f"{'µs a step':<48}{'alone':>9}{'scheduler':>11}{'plan':>9}{'plan adds':>11}{'to scheduler':>14}")
    for name, kind, options in (
        ("AdamW", torch.optim.AdamW, {}),
        ("AdamW, foreach", torch.optim.AdamW, {"foreach": True}),
        ("SGD, momentum, foreach", torch.optim.SGD, {"momentum": 0.9, "foreach": True}),
    ):
        for tensors in (4, 200):
            t = timed(100 if given.quick else HORIZON, tensors, kind, **options)
            added, ratio = t["plan"] - t["alone"], t["plan"] / t["scheduler"]
            label = f"{name}, {tensors} tensors of 16 × 16"
            print(f"{label:<48}{t['alone']:>9.0f}{t['scheduler']:>11.0f}{t['plan']:>9.0f}{added:>11.0f}{ratio:>14.2f}")
            row = {"optimizer": name, "tensors": tensors, "shape": [16, 16], "microseconds": t}
            rows.append({**row, "plan_adds_microseconds": added, "ratio_to_scheduler": ratio})
    save(given.json, around, overhead=rows)


if __name__ == "__main__":
    main()
