"""One step of a table of 500,000 × 64 whose gradient touches some rows: lazy and exact, beside torch's dense decay.

    python benchmarks/sparse.py [--steps 200] [--quick] [--json FILE]

torch's fused SGD with weight_decay decays every row at every step, and so takes a dense gradient. Ours takes the sparse one,
and decays a row when it is used. Rows are drawn anew for every step. The look-up, which brings the rows up to date, is
timed apart, ours and torch's own on the same table. The error is that of float32 rows after 300 steps against a dense
float64 run, on a table of 20,000 rows.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from surroundings import begin, command, save

import dwindle as dw

WIDTH = 64


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def table(rows: int, sparse: bool = True, dtype: Any = torch.float32) -> Any:
    torch.manual_seed(0)
    return torch.nn.Embedding(rows, WIDTH, sparse=sparse).to(dtype)


def compare(rows: int, touched: int, steps: int) -> dict[str, float]:
    """Return the median microseconds of torch's dense step, our SGD's and AdamW's, and of the look-ups."""
    lazy, lazy_adam, dense = table(rows), table(rows), table(rows, sparse=False)
    sgd = dw.torch.SGD(lazy.named_parameters(), dw.Plan(0.1, dw.cosine(), dw.l2(1e-4)), 10**6)
    adam = dw.torch.AdamW(lazy_adam.named_parameters(), dw.Plan(1e-3, dw.cosine(), dw.decoupled(0.1)), 10**6)
    fused = torch.optim.SGD(dense.parameters(), lr=0.1, weight_decay=1e-4, fused=True)
    dense.weight.grad = torch.full_like(dense.weight, 1e-3)
    draw = torch.Generator().manual_seed(0)
    names = ("torch_fused", "sgd", "adamw", "torch_lookup", "lookup")
    times: dict[str, list[float]] = {name: [] for name in names}
    for step in range(steps):
        ids = torch.randint(rows, (touched,), generator=draw)
        values = torch.randn(touched, WIDTH, generator=draw)
        for model in (lazy, lazy_adam):
            model.weight.grad = torch.sparse_coo_tensor(ids[None], values, (rows, WIDTH), check_invariants=False)
        with torch.no_grad():
            times["torch_lookup"].append(timed(lambda ids=ids: dense(ids)))
            times["lookup"].append(timed(lambda ids=ids: lazy(ids)))
        times["sgd"].append(timed(sgd.step))
        times["adamw"].append(timed(adam.step))
        if step % 10 == 0:
            times["torch_fused"].append(timed(fused.step))
    return {name: 1e6 * statistics.median(some[len(some) // 10 :]) for name, some in times.items()}


def error(rows: int, steps: int) -> float:
    """Return the norm of the error after the steps, relative to that of the table."""
    weights = []
    for sparse, dtype in ((True, torch.float32), (False, torch.float64)):
        model, draw = table(rows, sparse, dtype), torch.Generator().manual_seed(0)
        optimizer = dw.torch.SGD(model.named_parameters(), dw.Plan(0.1, dw.cosine(), dw.decoupled(0.05)), steps)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.randint(rows, (500,), generator=draw)).square().sum().backward()
            optimizer.step()
        weights.append(model.weight.detach().double())
    return float((weights[0] - weights[1]).norm() / weights[1].norm())


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--steps", type=int, help="for each number of rows touched (200)")
    given = parser.parse_args()
    rows, steps = (5_000, given.steps or 10) if given.quick else (500_000, given.steps or 200)
    around, found = begin(), []
    print(f"table of {rows} × {WIDTH}, µs a step, medians")
    print(f"{'touched':>7}{'torch fused':>13}{'ours SGD':>10}{'ratio':>7}{'ours AdamW':>12}", end="")
    print(f"{'look-up, torch':>16}{'ours':>7}")
    for touched in (100, 1000, 10_000):
        t = compare(rows, touched, steps)
        ratio = t["torch_fused"] / t["sgd"]
        line = f"{touched:7}{t['torch_fused']:13.0f}{t['sgd']:10.0f}{ratio:7.0f}{t['adamw']:12.0f}"
        print(f"{line}{t['torch_lookup']:16.0f}{t['lookup']:7.0f}", flush=True)
        found.append({"rows": rows, "width": WIDTH, "touched": touched, "microseconds": t, "ratio": ratio})
    rows, steps = (2_000, 30) if given.quick else (20_000, 300)
    wrong = error(rows, steps)
    print(f"relative error of float32 after {steps} steps: {wrong:.1e}")
    errors = [{"rows": rows, "width": WIDTH, "steps": steps, "relative_error": wrong}]
    save(given.json, around, steps=found, errors=errors)


if __name__ == "__main__":
    main()
