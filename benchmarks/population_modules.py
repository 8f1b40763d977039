"""Populations of torch modules against what users write: one after the other, and in two processes.

    python benchmarks/population_modules.py [--quick] [--json FILE]

Per model-step, which is one optimiser step of one member; alternating in one process, medians of the ratios of a round; do
not compare seconds across runs. All members see the same batches, each has its own rates, falling by a cosine, and its own
l2. Torch trains one member after the other, with SGD of ``foreach`` and of ``fused``, on one thread and on all, and the
fastest of the four is what ours is held against; the two processes are joblib's, warm, each on one thread with the faster
optimiser. Ours runs on all cores. "Of work" is the processor time of torch on one thread over ours, which a busy machine
disturbs less. What it takes to trace the step is told apart: it is paid once a training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from surroundings import begin, command, save
from torch import nn
from torch.nn import functional

from dwindle.population import SGD, Rates, epoch_order
from dwindle.population.modules import chunk, train_modules

ROWS = 512


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 49, 10),
    )  # fmt: skip


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 30), nn.Sigmoid(), nn.Linear(30, 10))


class Transformer(nn.Module):
    """An image as a sequence of its 28 rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Linear(28, 32)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, activation="gelu", batch_first=True)
        self.out = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.block(self.rows(x.squeeze(1))).mean(1))


MODULES: dict[str, Callable[[], nn.Module]] = {"cnn": cnn, "mlp": mlp, "transformer": Transformer}


@dataclass(frozen=True)
class Case:
    module: str
    batch_size: int
    members: int
    steps: int

    @property
    def name(self) -> str:
        return f"{self.module}, batch {self.batch_size}"

    def rates(self) -> Rates:
        draw = np.random.default_rng(1)
        peak = 0.05 * 10.0 ** draw.uniform(-1.0, 0.0, (self.members, 1))
        lr = peak * (0.5 + 0.5 * np.cos(np.pi * np.arange(self.steps) / self.steps))
        return Rates(lr, l2=np.broadcast_to(10.0 ** draw.uniform(-5.0, -3.0, (self.members, 1)), lr.shape))


WIDE = (1, 4, 16, 64)
CASES = [
    *(Case("cnn", 10, k, 100) for k in WIDE),
    *(Case("cnn", 32, k, 40) for k in WIDE),
    *(Case("cnn", 128, k, 12) for k in WIDE),
    *(Case("mlp", 10, k, 400) for k in WIDE),
    *(Case("mlp", 128, k, 200) for k in WIDE),
    *(Case("transformer", 10, k, 60) for k in WIDE),
    *(Case("transformer", 32, k, 40) for k in WIDE),
]
QUICK = [Case("cnn", 10, 2, 4), Case("mlp", 10, 2, 8), Case("transformer", 10, 2, 4)]


def examples() -> tuple[torch.Tensor, torch.Tensor]:
    """Images with something to learn: a pattern a class, under noise."""
    draw = torch.Generator().manual_seed(0)
    patterns, y = torch.rand(10, 1, 28, 28, generator=draw), torch.randint(0, 10, (ROWS,), generator=draw)
    return 0.3 * patterns[y] + 0.7 * torch.rand(ROWS, 1, 28, 28, generator=draw), y


def ours(case: Case, pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[np.ndarray, np.ndarray, float]:
    """The last losses, the seconds by the clock and of the processor of all but tracing, and those of tracing."""
    traced, trace = np.zeros(2), chunk.trace

    def timed(*given: Any) -> Any:
        start = clocks()
        program = trace(*given)
        traced[:] += clocks() - start
        return program

    chunk.trace = timed
    start = clocks()
    try:
        result = train_modules(
            MODULES[case.module], functional.cross_entropy, case.rates(), (pair[0][:ROWS], pair[1]), optimiser=SGD(0.9),
            seeds=range(case.members), batch_size=case.batch_size, evaluate_every=case.steps,
        )  # fmt: skip
    finally:
        chunk.trace = trace
    return result.train_loss[:, -1], clocks() - start - traced, float(traced[0])


def one_by_one(
    case: Case, members: list[int], pair: tuple[torch.Tensor, torch.Tensor], how: str, threads: int
) -> list[float]:
    """What a user writes: each member evaluated before and after, as ours is."""
    torch.set_num_threads(threads)
    rates, (x, y), losses = case.rates(), pair, []
    per_epoch = -(-ROWS // case.batch_size)
    for k in members:
        torch.manual_seed(k)
        module = MODULES[case.module]()
        norms = tuple(f"{name}." for name, part in module.named_modules() if isinstance(part, nn.LayerNorm))
        named = [(p, p.ndim > 1 and not name.startswith(norms)) for name, p in module.named_parameters()]
        groups = [{"params": [p for p, yes in named if yes], "weight_decay": float(rates.l2[k, 0])}]
        groups += [{"params": [p for p, yes in named if not yes], "weight_decay": 0.0}]
        optimiser = torch.optim.SGD(groups, lr=1.0, momentum=0.9, **{how: True})
        with torch.no_grad():
            functional.cross_entropy(module(x), y)
        for step in range(case.steps):
            epoch, place = divmod(step, per_epoch)
            if place == 0:
                order = torch.from_numpy(epoch_order(ROWS, 0, epoch))
            rows = order[place * case.batch_size : (place + 1) * case.batch_size]
            for group in optimiser.param_groups:
                group["lr"] = float(rates.lr[k, step])
            functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimiser.step()
            optimiser.zero_grad()
        with torch.no_grad():
            losses.append(float(functional.cross_entropy(module(x), y)))
    return losses


def clocks() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def spent(work: Callable[[], object]) -> np.ndarray:
    """The seconds of ``work`` by the clock and of the processor."""
    start = clocks()
    work()
    return clocks() - start


def compare(case: Case, pair: tuple[torch.Tensor, torch.Tensor], pool: Parallel, rounds: int) -> dict[str, Any]:
    cores = torch.get_num_threads()
    few = list(range(min(case.members, 2)))
    both = list(range(max(2, min(case.members, 4))))
    two = case if case.members >= 2 else Case(case.module, case.batch_size, 2, case.steps)
    losses, _, _ = ours(case, pair)
    apart = float(np.abs(losses[few] - one_by_one(case, few, pair, "fused", 1)).max())
    assert apart < 2e-3, f"the two sides do not train the same thing: their losses are {apart:.1e} apart"

    def processes() -> np.ndarray:
        halves = [both[: len(both) // 2], both[len(both) // 2 :]]
        return spent(lambda: pool(delayed(one_by_one)(two, half, pair, "fused", 1) for half in halves)) / len(both)

    ways = [(how, threads) for how in ("fused", "foreach") for threads in sorted({1, cores})]
    table, traces = [], []
    for _ in range(rounds):
        torch.set_num_threads(cores)
        _, own, tracing = ours(case, pair)
        rivals = [spent(lambda how=how, t=t: one_by_one(case, few, pair, how, t)) / len(few) for how, t in ways]
        table.append([own / case.members, processes(), *rivals])
        traces.append(tracing)
    torch.set_num_threads(cores)
    times = 1e6 * np.array(table) / case.steps  # (rounds, ours and rivals, clock and processor)
    clock, fastest = times[:, :, 0], int(np.median(times[:, 2:, 0], axis=0).argmin())
    row: dict[str, Any] = {"case": case.name, "members": case.members, "steps": case.steps, "loss_difference": apart}
    row |= {"microseconds": float(np.median(clock[:, 0])), "trace_seconds": float(np.median(traces))}
    row["torch_ways"] = [
        {"optimiser": how, "threads": t, "microseconds": float(np.median(column))}
        for (how, t), column in zip(ways, clock[:, 2:].T, strict=True)
    ]
    work = times[:, 2:, 1][:, [t == 1 for _, t in ways]].min(axis=1) / times[:, 0, 1]
    row["work_ratio"] = float(np.median(work))
    for key, column in (("torch", clock[:, 2 + fastest]), ("two_processes", clock[:, 1])):
        ratios = column / clock[:, 0]
        row[key] = {"microseconds": float(np.median(column)), "ratio": float(np.median(ratios))}
        row[key] |= {"low": float(ratios.min()), "high": float(ratios.max())}
    row["torch"]["way"] = "{}, {} threads".format(*ways[fastest])
    said = [f"{case.name:22s} K {case.members:3d}  ours {row['microseconds']:7.0f} us"]
    for name, key in ((f"torch ({row['torch']['way']})", "torch"), ("two processes", "two_processes")):
        r = row[key]
        said.append(f"{name} {r['microseconds']:7.0f} us: {r['ratio']:5.2f}x ({r['low']:.2f}-{r['high']:.2f})")
    print(*said, f"of work {row['work_ratio']:.2f}x", f"traced in {row['trace_seconds']:.1f} s", sep="  ", flush=True)
    return row


def main() -> None:
    given = command(__doc__).parse_args()
    around, pair = begin(), examples()
    cases, rounds = (QUICK, 1) if given.quick else (CASES, 3)
    with Parallel(n_jobs=2) as pool:
        found = [compare(case, pair, pool, rounds) for case in cases]
    save(given.json, around, modules=found)


if __name__ == "__main__":
    main()
