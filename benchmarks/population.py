"""Populations against a plain torch loop: the same trials, the same batches, alternating in one process.

    python benchmarks/population.py [--job] [--quick] [--json FILE]

Ratios, and the share of the arithmetic roof measured in the same run; with --job the main job as well: 200 trainings of
600 steps, evaluated every epoch.

A model-step is one optimiser step of one member. The roof is NumPy's float32 matrix product, 2048 x 2048 x 2048, on all
cores. Ratios are medians over the rounds of torch's time per model-step over ours in the same round; do not compare
seconds across runs. The torch loop takes one trial after the other, so it does only the first few of ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from surroundings import begin, command, save

from dwindle.population import MLP, SGD, Adam, Data, Examples, Rates, epoch_order, initial_weights, train

ROWS = 2000


@dataclass(frozen=True)
class Case:
    """K trials: each its own rate, falling by a cosine, and its own l2."""

    name: str
    mlp: MLP
    optimiser: SGD | Adam
    top: float
    batch_size: int
    steps: int
    members: int = 32
    rivals: int = 4

    def rates(self) -> Rates:
        draw = np.random.default_rng(1)
        peak = self.top * 10.0 ** draw.uniform(-1.0, 0.0, (self.members, 1))
        lr = peak * (0.5 + 0.5 * np.cos(np.pi * np.arange(self.steps) / self.steps))
        return Rates(lr, l2=np.broadcast_to(10.0 ** draw.uniform(-5.0, -3.0, (self.members, 1)), lr.shape))

    def flops(self) -> int:
        """Of one model-step: forward, the weights' gradient, and the gradient behind every layer but the first."""
        sizes = [fan_in * fan_out for fan_in, fan_out in self.mlp.shapes]
        return 2 * self.batch_size * (2 * sum(sizes) + sum(sizes[1:]))


MAIN, SMALL = MLP((784, 128, 10)), MLP((784, 30, 10), "sigmoid", "sigmoid")
CASES = [
    Case("784-128-10 relu, batch 100, SGD", MAIN, SGD(), 0.1, 100, 60),
    Case("784-128-10 relu, batch 100, momentum", MAIN, SGD(0.9), 0.02, 100, 60),
    Case("784-128-10 relu, batch 100, Adam", MAIN, Adam(), 1e-3, 100, 60),
    Case("784-30-10 sigmoid, batch 10, SGD", SMALL, SGD(), 0.1, 10, 1000, rivals=2),
]


def examples(rows: int, seed: int) -> Examples:
    """Images with something to learn: a pattern a class, under noise."""
    draw, patterns = np.random.default_rng(seed), np.random.default_rng(0).random((10, 784))
    y = draw.integers(0, 10, rows)
    return Examples((0.3 * patterns[y] + 0.7 * draw.random((rows, 784))).astype(np.float32), y)


def ours(case: Case, data: Data, evaluate_every: int | None = None) -> np.ndarray:
    result = train(
        case.mlp,
        case.optimiser,
        case.rates(),
        data,
        seeds=range(case.members),
        batch_size=case.batch_size,
        evaluate_every=evaluate_every or case.steps,
    )
    return result.train_loss[:, -1]


def model(mlp: MLP, seed: int) -> torch.nn.Sequential:
    acts = {"relu": torch.nn.ReLU, "sigmoid": torch.nn.Sigmoid, "tanh": torch.nn.Tanh}
    layers: list[torch.nn.Module] = []
    for w in initial_weights(mlp, seed):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers += [linear, acts[mlp.activation]()]
    return torch.nn.Sequential(*layers[:-1])


def torch_loop(case: Case, data: Data) -> np.ndarray:
    """What a user writes: one trial after the other, each evaluated before and after as ours is."""
    rates, x, y = case.rates(), torch.from_numpy(data.train.x.copy()), torch.from_numpy(data.train.y.copy())
    target = torch.eye(10)[y]
    per_epoch = ROWS // case.batch_size

    def loss_of(z: torch.Tensor, rows: torch.Tensor | slice) -> torch.Tensor:
        if case.mlp.loss == "softmax":
            return torch.nn.functional.cross_entropy(z, y[rows])
        return torch.nn.functional.binary_cross_entropy_with_logits(z, target[rows], reduction="sum") / len(z)

    losses = []
    for k in range(case.rivals):
        net = model(case.mlp, k)
        groups = [
            {"params": [p for p in net.parameters() if p.ndim == 2], "weight_decay": float(rates.l2[k, 0])},
            {"params": [p for p in net.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        if isinstance(case.optimiser, Adam):
            optimiser: torch.optim.Optimizer = torch.optim.Adam(groups, lr=1.0)
        else:
            optimiser = torch.optim.SGD(groups, lr=1.0, momentum=case.optimiser.momentum)
        with torch.no_grad():
            loss_of(net(x), slice(None))
        for step in range(case.steps):
            epoch, batch = divmod(step, per_epoch)
            if batch == 0:
                order = torch.from_numpy(epoch_order(ROWS, 0, epoch))
            rows = order[batch * case.batch_size : (batch + 1) * case.batch_size]
            for group in optimiser.param_groups:
                group["lr"] = rates.lr[k, step]
            loss_of(net(x[rows]), rows).backward()
            optimiser.step()
            optimiser.zero_grad()
        with torch.no_grad():
            losses.append(float(loss_of(net(x), slice(None))))
    return np.array(losses)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(case: Case, data: Data, rounds: int) -> dict[str, Any]:
    cores = torch.get_num_threads()
    apart = float(np.abs(ours(case, data)[: case.rivals] - torch_loop(case, data)).max())
    assert apart < 2e-3, f"the two sides do not train the same thing: their losses are {apart:.1e} apart"

    def torch_on(threads: int) -> float:
        torch.set_num_threads(threads)
        return timed(lambda: torch_loop(case, data)) / (case.rivals * case.steps)

    def round_of_all() -> tuple[float, ...]:
        per_step = timed(lambda: ours(case, data)) / (case.members * case.steps)
        return per_step, torch_on(1), torch_on(cores), timed(lambda: square @ square)

    square = np.ones((2048, 2048), np.float32)
    times = np.array([round_of_all() for _ in range(rounds)])
    roof = 2 * 2048**3 / times[:, 3]
    evaluated = 2 * 2 * ROWS * sum(fan_in * fan_out for fan_in, fan_out in case.mlp.shapes) / case.steps
    share = np.median((case.flops() + evaluated) / times[:, 0] / roof)
    print(f"{case.name}: {case.members} members, {case.steps} steps, final losses within {apart:.0e} of torch's")
    row: dict[str, Any] = {"case": case.name, "members": case.members, "steps": case.steps, "loss_difference": apart}
    names = ("ours", "torch, 1 thread", f"torch, {cores} threads (its default)")
    for name, key, column in zip(names, ("ours", "torch_one_thread", "torch_default"), times.T[:3], strict=True):
        each, ratios = float(np.median(column)), column / times[:, 0]
        row[key] = {"model_steps_per_second": 1 / each, "microseconds": 1e6 * each}
        said = ""
        if name != "ours":
            r = {"ratio": float(np.median(ratios)), "low": float(ratios.min()), "high": float(ratios.max())}
            said = f"ours is {r['ratio']:5.1f}x ({r['low']:.1f}-{r['high']:.1f})"
            row[key] |= r
        print(f"  {name:32s} {1 / each:9.0f} model-steps/s  {1e6 * each:7.1f} us each  {said}")
    peak = float(np.median(roof))
    print(f"  sgemm roof {peak / 1e9:.0f} GFLOP/s; ours with its two evaluations reaches {share:.0%} of it")
    print(flush=True)
    return {**row, "roof_flops_per_second": peak, "attained": float(share)}


def main_job(case: Case, data: Data) -> dict[str, Any]:
    every = ROWS // case.batch_size
    seconds, evaluations = timed(lambda: ours(case, data, evaluate_every=every)), 1 + case.steps // every
    print(f"{case.name}: {case.members} trainings of {case.steps} steps, {evaluations} evaluations", end=" ")
    print(f"on {ROWS} + {len(data.validation.x)} examples each: {seconds:.0f} s")
    row = {"case": case.name, "members": case.members, "steps": case.steps}
    return {**row, "evaluations": evaluations, "seconds": seconds}


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--job", action="store_true", help="the main job as well: 200 trainings of 600 steps")
    given = parser.parse_args()
    around, everything = begin(), Data(examples(ROWS, 1), examples(1000, 2), examples(1000, 3))
    cases, job, rounds = CASES, Case("the main job", MAIN, SGD(), 0.1, 100, 600, members=200), 5
    if given.quick:
        cases, rounds = [replace(case, steps=case.steps // 10, members=4, rivals=1) for case in CASES], 1
        job = replace(job, steps=40, members=4)
    found = {"population": [compare(case, Data(everything.train), rounds) for case in cases]}
    if given.job:
        found["job"] = [main_job(job, everything)]
    save(given.json, around, **found)


if __name__ == "__main__":
    main()
