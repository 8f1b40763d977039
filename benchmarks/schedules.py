"""Schedules: one float call, and the whole curve as one array against stepping torch's scheduler. Prints ratios.

    python benchmarks/schedules.py [--json]

Rival and ours alternate in one process; medians of the rounds. torch steps a real optimiser's SequentialLR(LinearLR,
CosineAnnealingLR); ours evaluates the same curve in closed form.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch

import dwindle as dw

STEPS = 1_000_000
ROUNDS = 5


def torch_curve(steps: int) -> np.ndarray:
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-8, 1.0, steps // 50)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps - steps // 50, 3e-5)
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimiser, [warm, fall], [steps // 50])
    lrs = np.empty(steps)
    group = optimiser.param_groups[0]
    for step in range(steps):
        lrs[step] = group["lr"]
        scheduler.step()
    return lrs


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def per_call(function: Callable[[int], object], at: int, calls: int = 20_000) -> float:
    begun = time.perf_counter()
    for _ in range(calls):
        function(at)
    return (time.perf_counter() - begun) / calls


def main() -> None:
    warnings.filterwarnings("ignore")
    plan = dw.Plan(3e-4, dw.warmup("2%").then(dw.cosine(end=0.1)), dw.decoupled(0.1))
    resolved = plan.resolve(STEPS)
    floats = {at: [] for at in (STEPS // 100, STEPS // 2)}
    ours, theirs = [], []
    rival_steps = STEPS // 10  # a tenth is enough to time: torch's cost is linear in the steps
    for _ in range(ROUNDS):
        theirs.append(seconds(lambda: torch_curve(rival_steps)) * STEPS / rival_steps)
        ours.append(seconds(lambda: plan.lrs(STEPS)))
        for at, times in floats.items():
            times.append(per_call(resolved.lr, at))
    result = {
        "one float call in the warm-up, ns": 1e9 * statistics.median(floats[STEPS // 100]),
        "one float call in the cosine, ns": 1e9 * statistics.median(floats[STEPS // 2]),
        "curve of 1e6 steps, ms": 1e3 * statistics.median(ours),
        "torch stepped 1e6 times, ms": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
        "largest difference, relative": float(np.max(np.abs(plan.lrs(20_000)[400:] / torch_curve(20_000)[400:] - 1))),
    }
    if "--json" in sys.argv:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:<36} {value:.4g}")


if __name__ == "__main__":
    main()
