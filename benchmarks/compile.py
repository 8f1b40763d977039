"""Compilations of an optimiser step under torch.compile: torch's scheduler on a float lr beside a plan.

    python benchmarks/compile.py [--backend inductor] [--quick] [--json FILE]

A row is an optimiser and what moves over 40 steps: its learning rate, or its weight decay λ. ``graphs`` are those compiled
in all; the first two are no fault (a momentum that begins needs a second one), ``recompiled`` are those beyond; ``last
step`` says whether it still ran compiled: after 8 graphs torch goes back to eager, and says so only in a log. Torch's lr
is moved by LambdaLR, its λ by writing into the group. The default backend runs torch's ahead-of-time compiler but makes
no kernels: it counts the same as inductor and takes seconds.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from surroundings import begin, command, save
from torch._dynamo import lookup_backend

import dwindle as dw

STEPS, PEAK, LAM = 40, 0.01, 0.1
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "SGD": (torch.optim.SGD, {}),
    "SGD, momentum": (torch.optim.SGD, {"momentum": 0.9}),
    "AdamW": (torch.optim.AdamW, {}),
}
SHAPE = dw.warmup(5).then(dw.cosine(end=0.1))


class Counted:
    """A backend that counts the graphs it compiles and the calls of them."""

    def __init__(self, name: str) -> None:
        self.compile, self.graphs, self.calls = lookup_backend(name), 0, 0

    def __call__(self, graph: Any, inputs: Any) -> Callable[..., Any]:
        compiled = self.compile(graph, inputs)
        self.graphs += 1

        def run(*args: Any) -> Any:
            self.calls += 1
            return compiled(*args)

        return run


def plan(kind: Any, moves: str) -> dw.Plan:
    """Return the recipe in the optimiser's own convention: either lr or λ moves, by the same shape."""
    convention, everything = dw.decoupled if kind is torch.optim.AdamW else dw.l2, dw.Mask.everything()
    if moves == "lr":
        return dw.Plan(PEAK, SHAPE, convention(LAM), everything)
    return dw.Plan(PEAK, dw.constant(), convention(LAM * SHAPE), everything)


def by_hand(optimizer: torch.optim.Optimizer, recipe: dw.Plan, moves: str) -> Callable[[int], None]:
    """Return what a user of torch alone calls after each step, with the index of the next one."""
    if moves == "lr":
        factors = recipe.factors(STEPS + 1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: float(factors[step]))
        return lambda _: scheduler.step()
    decay = recipe.resolve(STEPS).decay

    def write(step: int) -> None:
        for group in optimizer.param_groups:
            group["weight_decay"] = float(decay.at(step))

    write(0)
    return write


def measure(name: str, moves: str, ours: bool, backend: str, steps: int = STEPS) -> dict[str, Any]:
    """Return the graphs, how the last step ran, and the seconds of the steps."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    kind, options = KINDS[name]
    model = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.LayerNorm(32), torch.nn.Linear(32, 4))
    recipe, counted, start = plan(kind, moves), Counted(backend), time.perf_counter()
    optimizer = kind(model.parameters(), lr=PEAK, weight_decay=0.0 if ours else LAM, **options)
    after = by_hand(optimizer, recipe, moves) if not ours else lambda _: None
    if ours:
        dw.torch.attach(optimizer, recipe, STEPS)
    step, before_last = torch.compile(lambda: optimizer.step(), backend=counted), 0
    for i in range(steps):
        model(torch.randn(8, 16)).square().mean().backward()
        before_last = counted.calls
        step()
        after(i + 1)
        optimizer.zero_grad()
    return {
        "graphs": counted.graphs,
        "recompiled": max(0, counted.graphs - 2),
        "last_step": "compiled" if counted.calls > before_last else "eager",
        "seconds": time.perf_counter() - start,
    }


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--backend", default="aot_eager", choices=["aot_eager", "inductor"])
    given = parser.parse_args()
    backend, steps = given.backend, 2 if given.quick else STEPS
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    around, rows = begin(), []
    measure("SGD", "lr", True, backend, steps)  # the compiler's own start is nobody's cost
    print(f"backend {backend}, {steps} steps")
    head = f"{'graphs':>8}{'recompiled':>12}{'last step':>11}{'seconds':>9}"
    print(f"{'':26}{'torch alone':>40}{'plan attached':>40}")
    print(f"{'optimiser':16}{'moves':10}{head}{head}")
    for moves in ("lr", "λ"):
        for name in ("SGD", "AdamW") if given.quick else KINDS:
            found = {who: measure(name, moves, who == "plan", backend, steps) for who in ("torch", "plan")}
            line = f"{name:16}{moves:10}"
            for r in found.values():
                line += f"{r['graphs']:>8}{r['recompiled']:>12}{r['last_step']:>11}{r['seconds']:>9.1f}"
            print(line, flush=True)
            rows.append({"optimizer": name, "moves": "lr" if moves == "lr" else "weight_decay", **found})
    save(given.json, around, backend=backend, steps=steps, compilations=rows)


if __name__ == "__main__":
    main()
