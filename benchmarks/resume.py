"""Resuming, ours beside torch's: for every k, save after k steps, restore in three orders, and go on to the end.

    python benchmarks/resume.py [--quick] [--json FILE]

A row is a scheduler; a cell counts the k of 0..N at which the learning rates after resuming equal, bit for bit, those of
the run that was never interrupted. Orders: A optimiser loads, scheduler is built, scheduler loads (the one most people
write); B built, optimiser loads, scheduler loads; C only the scheduler loads. Ours: dwindle.torch.attach in place of the
scheduler, with the plan that `foreign.read` makes of the same recipe.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from surroundings import begin, command, save

import dwindle as dw

STEPS = 40
BASE = 0.5
RECIPES: dict[str, dict[str, Any]] = {
    "ConstantLR": {"factor": 0.5, "total_iters": 12},
    "LinearLR": {"start_factor": 0.1, "total_iters": 12},
    "ExponentialLR": {"gamma": 0.93},
    "StepLR": {"step_size": 7, "gamma": 0.5},
    "MultiStepLR": {"milestones": [9, 21], "gamma": 0.3},
    "PolynomialLR": {"total_iters": 30, "power": 2.0},
    "CosineAnnealingLR": {"T_max": 40, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 8, "T_mult": 2},
    "OneCycleLR": {"max_lr": 1.0, "total_steps": STEPS + 1, "cycle_momentum": False},
    "CyclicLR": {"base_lr": 0.1, "max_lr": 1.0, "step_size_up": 6, "cycle_momentum": False},
}
SEQUENCES: dict[str, tuple[list[tuple[str, dict[str, Any]]], list[int] | None]] = {
    "SequentialLR(Linear, Cosine)": (
        [("LinearLR", {"start_factor": 0.1, "total_iters": 10}), ("CosineAnnealingLR", {"T_max": 30})],
        [10],
    ),
    "SequentialLR(Constant, Step)": (
        [("ConstantLR", {"factor": 0.5, "total_iters": 8}), ("StepLR", {"step_size": 9, "gamma": 0.5})],
        [8],
    ),
    "ChainedScheduler(Linear, Exponential)": (
        [("LinearLR", {"start_factor": 0.1, "total_iters": 10}), ("ExponentialLR", {"gamma": 0.95})],
        None,
    ),
}


def optimiser() -> torch.optim.Optimizer:
    weight = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    weight.grad = torch.zeros_like(weight)
    return torch.optim.SGD([weight], lr=BASE)


def scheduler(name: str, opt: torch.optim.Optimizer) -> Any:
    schedules = torch.optim.lr_scheduler
    if name in RECIPES:
        return getattr(schedules, name)(opt, **RECIPES[name])
    parts, milestones = SEQUENCES[name]
    built = [getattr(schedules, part)(opt, **params) for part, params in parts]
    return schedules.ChainedScheduler(built) if milestones is None else schedules.SequentialLR(opt, built, milestones)


def plan(name: str) -> dw.Plan:
    if name in RECIPES:
        return dw.foreign.read("torch", name, RECIPES[name], base_lr=BASE)
    parts, milestones = SEQUENCES[name]
    nested = {"schedulers": [{"name": part, "params": params} for part, params in parts]}
    kind = "ChainedScheduler" if milestones is None else "SequentialLR"
    return dw.foreign.read(
        "torch", kind, nested if milestones is None else {**nested, "milestones": milestones}, base_lr=BASE
    )


def torch_run(name: str, opt: Any, sched: Any, steps: int) -> list[float]:
    lrs = []
    for _ in range(steps):
        lrs.append(opt.param_groups[0]["lr"])
        opt.step()
        sched.step()
    return lrs


def our_run(opt: Any, steps: int) -> list[float]:
    lrs = []
    for _ in range(steps):
        opt.step()
        lrs.append(opt.param_groups[0]["lr"])
    return lrs


def torch_resumed(name: str, k: int, order: str) -> list[float]:
    opt = optimiser()
    sched = scheduler(name, opt)
    torch_run(name, opt, sched, k)
    saved, saved_sched = copy.deepcopy(opt.state_dict()), copy.deepcopy(sched.state_dict())
    opt = optimiser()
    if order == "A":
        opt.load_state_dict(saved)
    sched = scheduler(name, opt)
    if order == "B":
        opt.load_state_dict(saved)
    sched.load_state_dict(saved_sched)
    return torch_run(name, opt, sched, STEPS - k)


def our_resumed(name: str, k: int, order: str) -> list[float]:
    opt = optimiser()
    control = dw.torch.attach(opt, plan(name), STEPS)
    our_run(opt, k)
    saved, saved_control = copy.deepcopy(opt.state_dict()), control.state_dict()
    opt = optimiser()
    if order == "A":
        opt.load_state_dict(saved)
    control = dw.torch.attach(opt, plan(name), STEPS)
    if order == "B":
        opt.load_state_dict(saved)
    control.load_state_dict(saved_control)
    return our_run(opt, STEPS - k)


def counted(name: str, stops: range) -> dict[str, dict[str, int]]:
    """Return how many of the stops each side resumes bit for bit, by order."""
    opt = optimiser()
    whole = torch_run(name, opt, scheduler(name, opt), STEPS)
    opt = optimiser()
    dw.torch.attach(opt, plan(name), STEPS)
    ours = our_run(opt, STEPS)
    return {
        "torch": {order: sum(torch_resumed(name, k, order) == whole[k:] for k in stops) for order in "ABC"},
        "ours": {order: sum(our_resumed(name, k, order) == ours[k:] for k in stops) for order in "ABC"},
    }


def line(name: str, cells: dict[str, dict[str, int]]) -> str:
    return f"{name:40}" + "".join(f"{a:>9}{b:>5}{c:>5}" for a, b, c in (each.values() for each in cells.values()))


def main() -> None:
    given = command(__doc__).parse_args()
    warnings.filterwarnings("ignore")
    around, rows, stops = begin(), [], range(0, STEPS + 1, 20 if given.quick else 1)
    which = f"k of 0..{STEPS}" if stops.step == 1 else f"k of {', '.join(map(str, stops))}"
    print(f"{which + ' resumed bit for bit':40}{'torch A':>9}{'B':>5}{'C':>5}{'ours A':>9}{'B':>5}{'C':>5}")
    total = {who: dict.fromkeys("ABC", 0) for who in ("torch", "ours")}
    for name in [*RECIPES, *SEQUENCES]:
        cells = counted(name, stops)
        print(line(name, cells), flush=True)
        rows.append({"scheduler": name, "tried": len(stops), **cells})
        for who, by_order in cells.items():
            for order, good in by_order.items():
                total[who][order] += good
    whole = len(rows) * len(stops)
    print(f"{line('all', total)}  of {whole}")
    save(given.json, around, stops=list(stops), resumed=rows, total={"tried": whole, **total})


if __name__ == "__main__":
    main()
