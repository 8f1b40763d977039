"""One step of a table of 500,000 × 64 whose gradient touches some rows: lazy and exact, beside torch's dense decay.

    python benchmarks/sparse.py [--steps 200]

torch's fused SGD with weight_decay decays every row at every step, and so takes a dense gradient. Ours takes the sparse one,
and decays a row when it is used. Rows are drawn anew for every step. The look-up, which brings the rows up to date, is
timed apart, ours and torch's own on the same table. The error is that of float32 rows after 300 steps against a dense
float64 run, on a table of 20,000 rows.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

import dwindle as dw

ROWS, WIDTH = 500_000, 64


def timed(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def table(rows: int = ROWS, sparse: bool = True, dtype: Any = torch.float32) -> Any:
    torch.manual_seed(0)
    return torch.nn.Embedding(rows, WIDTH, sparse=sparse).to(dtype)


def compare(touched: int, steps: int) -> tuple[float, ...]:
    """Return the median seconds of torch's dense step, our SGD's and AdamW's, and of the look-ups, torch's and ours."""
    lazy, lazy_adam, dense = table(), table(), table(sparse=False)
    sgd = dw.torch.SGD(lazy.named_parameters(), dw.Plan(0.1, dw.cosine(), dw.l2(1e-4)), 10**6)
    adam = dw.torch.AdamW(lazy_adam.named_parameters(), dw.Plan(1e-3, dw.cosine(), dw.decoupled(0.1)), 10**6)
    fused = torch.optim.SGD(dense.parameters(), lr=0.1, weight_decay=1e-4, fused=True)
    dense.weight.grad = torch.full_like(dense.weight, 1e-3)
    draw = torch.Generator().manual_seed(0)
    times: tuple[list[float], ...] = ([], [], [], [], [])
    for step in range(steps):
        ids = torch.randint(ROWS, (touched,), generator=draw)
        values = torch.randn(touched, WIDTH, generator=draw)
        for model in (lazy, lazy_adam):
            model.weight.grad = torch.sparse_coo_tensor(ids[None], values, (ROWS, WIDTH), check_invariants=False)
        with torch.no_grad():
            times[3].append(timed(lambda ids=ids: dense(ids)))
            times[4].append(timed(lambda ids=ids: lazy(ids)))
        times[1].append(timed(sgd.step))
        times[2].append(timed(adam.step))
        if step % 10 == 0:
            times[0].append(timed(fused.step))
    return tuple(statistics.median(some[len(some) // 10 :]) for some in times)


def error() -> float:
    """Return the norm of the error after 300 steps, relative to that of the table."""
    weights = []
    for sparse, dtype in ((True, torch.float32), (False, torch.float64)):
        model, draw = table(20_000, sparse, dtype), torch.Generator().manual_seed(0)
        optimizer = dw.torch.SGD(model.named_parameters(), dw.Plan(0.1, dw.cosine(), dw.decoupled(0.05)), 300)
        for _ in range(300):
            optimizer.zero_grad()
            model(torch.randint(20_000, (500,), generator=draw)).square().sum().backward()
            optimizer.step()
        weights.append(model.weight.detach().double())
    return float((weights[0] - weights[1]).norm() / weights[1].norm())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}, torch {torch.__version__}; µs a step, medians")
    print(
        f"{'rows':>7}{'torch fused':>13}{'ours SGD':>10}{'ratio':>7}{'ours AdamW':>12}{'look-up, torch':>16}{'ours':>7}"
    )
    for touched in (100, 1000, 10_000):
        fused, sgd, adam, theirs, ours = (1e6 * seconds for seconds in compare(touched, given.steps))
        print(f"{touched:7}{fused:13.0f}{sgd:10.0f}{fused / sgd:7.0f}{adam:12.0f}{theirs:16.0f}{ours:7.0f}", flush=True)
    print(f"relative error of float32 after 300 steps: {error():.1e}")


if __name__ == "__main__":
    main()
