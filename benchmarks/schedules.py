"""Schedules: one float call, and the whole curve as one array against stepping torch's scheduler. Prints ratios.

    python benchmarks/schedules.py [--quick] [--json FILE]

Rival and ours alternate in one process; medians of the rounds. torch steps a real optimiser's SequentialLR(LinearLR,
CosineAnnealingLR); ours evaluates the same curve in closed form.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from surroundings import begin, command, save

import dwindle as dw


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


def measured(steps: int, rounds: int) -> dict[str, float]:
    plan = dw.Plan(3e-4, dw.warmup("2%").then(dw.cosine(end=0.1)), dw.decoupled(0.1))
    resolved = plan.resolve(steps)
    floats = {at: [] for at in (steps // 100, steps // 2)}
    ours, theirs = [], []
    rival_steps = steps // 10  # a tenth is enough to time: torch's cost is linear in the steps
    for _ in range(rounds):
        theirs.append(seconds(lambda: torch_curve(rival_steps)) * steps / rival_steps)
        ours.append(seconds(lambda: plan.lrs(steps)))
        for at, times in floats.items():
            times.append(per_call(resolved.lr, at))
    return {
        "steps": steps,
        "warmup_call_nanoseconds": 1e9 * statistics.median(floats[steps // 100]),
        "cosine_call_nanoseconds": 1e9 * statistics.median(floats[steps // 2]),
        "curve_milliseconds": 1e3 * statistics.median(ours),
        "torch_curve_milliseconds": 1e3 * statistics.median(theirs),
        "ratio": statistics.median(t / o for t, o in zip(theirs, ours, strict=True)),
        "largest_relative_difference": float(np.max(np.abs(plan.lrs(20_000)[400:] / torch_curve(20_000)[400:] - 1))),
    }


def main() -> None:
    given = command(__doc__).parse_args()
    warnings.filterwarnings("ignore")
    around = begin()
    row = measured(10_000, 1) if given.quick else measured(1_000_000, 5)
    for said, key in (
        ("one float call in the warm-up, ns", "warmup_call_nanoseconds"),
        ("one float call in the cosine, ns", "cosine_call_nanoseconds"),
        (f"curve of {row['steps']} steps, ms", "curve_milliseconds"),
        (f"torch stepped {row['steps']} times, ms", "torch_curve_milliseconds"),
        ("ratio", "ratio"),
        ("largest difference, relative", "largest_relative_difference"),
    ):
        print(f"{said:<36} {row[key]:.4g}")
    save(given.json, around, schedules=[row])


if __name__ == "__main__":
    main()
