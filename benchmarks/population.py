"""Populations against what people run: a torch loop, two processes of it, scikit-learn; alternating in one process.

    python benchmarks/population.py [--job] [--quick] [--json FILE]

First 32 trials of each case against each rival, and the share of the arithmetic roof measured in the same run; then the
cost of a model-step from 1 trial to 1024; with --job the main job as well: 200 trainings of 600 steps, evaluated every
epoch.

A model-step is one optimiser step of one member. The roof is NumPy's float32 matrix product, 2048 x 2048 x 2048, on all
cores. Ratios are medians over the rounds of the rival's time per model-step over ours in the same round; do not compare
seconds across runs. Ours and torch's are evaluated once before and once after on the training examples; scikit-learn's
evaluates nothing. A rival takes one trial after the other, so it does only the first few of ours. The two processes are
warm, and each has one thread.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from surroundings import begin, command, save

from dwindle.population import MLP, SGD, Adam, Data, Examples, Rates, Result, epoch_order, initial_weights, train
from dwindle.population.blas import single_threaded

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
    rivals: int = 2
    rival_steps: int = 200  # one epoch, or a whole number of them

    def rates(self) -> Rates:
        draw = np.random.default_rng(1)
        peak = self.top * 10.0 ** draw.uniform(-1.0, 0.0, (self.members, 1))
        lr = peak * (0.5 + 0.5 * np.cos(np.pi * np.arange(self.steps) / self.steps))
        return Rates(lr, l2=np.broadcast_to(10.0 ** draw.uniform(-5.0, -3.0, (self.members, 1)), lr.shape))

    def flops(self) -> int:
        """Of one model-step: forward, the weights' gradient, and the gradient behind every layer but the first."""
        sizes = [fan_in * fan_out for fan_in, fan_out in self.mlp.shapes]
        return 2 * self.batch_size * (2 * sum(sizes) + sum(sizes[1:]))


MAIN, MIDDLE, SMALL = MLP((784, 128, 10)), MLP((784, 100, 10)), MLP((784, 30, 10), "sigmoid", "sigmoid")
CASES = [
    Case("784-30-10 sigmoid, batch 10, SGD", SMALL, SGD(), 0.1, 10, 2000),
    Case("784-100-10 relu, batch 64, SGD", MIDDLE, SGD(), 0.1, 64, 640, rival_steps=160),
    Case("784-128-10 relu, batch 100, SGD", MAIN, SGD(), 0.1, 100, 400),
    Case("784-128-10 relu, batch 100, momentum", MAIN, SGD(0.9), 0.02, 100, 400),
    Case("784-128-10 relu, batch 100, Adam", MAIN, Adam(), 1e-3, 100, 400),
]
SWEPT, MEMBERS = CASES[:2], (1, 8, 32, 128, 1024)


def examples(rows: int, seed: int) -> Examples:
    """Images with something to learn: a pattern a class, under noise."""
    draw, patterns = np.random.default_rng(seed), np.random.default_rng(0).random((10, 784))
    y = draw.integers(0, 10, rows)
    return Examples((0.3 * patterns[y] + 0.7 * draw.random((rows, 784))).astype(np.float32), y)


def ours(case: Case, data: Data, evaluate_every: int | None = None) -> Result:
    return train(
        case.mlp,
        case.optimiser,
        case.rates(),
        data,
        seeds=range(case.members),
        batch_size=case.batch_size,
        evaluate_every=evaluate_every or case.steps,
    )


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
    per_epoch = -(-ROWS // case.batch_size)

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
        for step in range(case.rival_steps):
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


def scikit(case: Case, data: Data) -> None:
    """The same network and batches of the same size by scikit-learn, which has softmax at the output always."""
    optimiser = case.optimiser
    for k in range(case.rivals):
        net = MLPClassifier(
            case.mlp.sizes[1:-1], activation={"relu": "relu", "sigmoid": "logistic"}[case.mlp.activation],
            solver="adam" if isinstance(optimiser, Adam) else "sgd", batch_size=case.batch_size, learning_rate_init=case.top,
            momentum=0.0 if isinstance(optimiser, Adam) else optimiser.momentum, nesterovs_momentum=False,
            max_iter=case.rival_steps // -(-ROWS // case.batch_size), tol=0.0, n_iter_no_change=10**6, random_state=k,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it has not converged
            net.fit(data.train.x, data.train.y)


def in_process(case: Case) -> None:
    """One process's half of the trials of a torch loop."""
    torch.set_num_threads(1)
    if not HELD:
        HELD.append(Data(examples(ROWS, 1)))
    torch_loop(replace(case, rivals=case.rivals // 2), HELD[0])


HELD: list[Data] = []  # by a process


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def torch_on(threads: int, case: Case, data: Data) -> None:
    torch.set_num_threads(threads)
    torch_loop(case, data)


def roof() -> float:
    """Operations per second."""
    square = np.ones((2048, 2048), np.float32)
    return 2 * 2048**3 / timed(lambda: square @ square)


def alone(case: Case, data: Data) -> None:
    with single_threaded():
        scikit(case, data)


def compare(case: Case, data: Data, pool: ProcessPoolExecutor, cores: int, rounds: int) -> dict[str, Any]:
    short = replace(case, steps=case.rival_steps, members=case.rivals)
    apart = float(np.abs(ours(short, data).train_loss[:, -1] - torch_loop(short, data)).max())
    assert apart < 2e-3, f"the two sides do not train the same thing: their losses are {apart:.1e} apart"
    rivals: dict[str, Callable[[], object]] = {
        "torch, 1 thread": partial(torch_on, 1, case, data),
        # one trial: beside other work it may take a hundred times as long
        f"torch, {cores} threads (its default)": partial(torch_on, cores, replace(case, rivals=1), data),
        "torch, 2 processes": lambda: list(pool.map(in_process, [case] * 2)),
        "scikit-learn, 1 thread": partial(alone, case, data),
    }
    for rival in rivals.values():
        rival()  # warm
    engine, rows, trials = "", [], [1 if "default" in name else case.rivals for name in rivals]
    for _ in range(rounds):
        start = time.perf_counter()
        engine = ours(case, data).engine
        own = (time.perf_counter() - start) / (case.members * case.steps)
        took = [timed(each) / (n * case.rival_steps) for n, each in zip(trials, rivals.values(), strict=True)]
        rows.append([own, *took, roof()])
    times = np.array(rows)
    evaluated = 2 * 2 * ROWS * sum(fan_in * fan_out for fan_in, fan_out in case.mlp.shapes) / case.steps
    share = float(np.median((case.flops() + evaluated) / times[:, 0] / times[:, -1]))
    print(f"{case.name}: {case.members} members, {case.steps} steps, final losses within {apart:.0e} of torch's")
    found = []
    for name, column in zip([f"ours, {engine}", *rivals], times.T[:-1], strict=True):
        each, ratios = float(np.median(column)), column / times[:, 0]
        row = {"name": name, "model_steps_per_second": 1 / each, "microseconds": 1e6 * each}
        said = ""
        if found:
            row |= {"ratio": float(np.median(ratios)), "low": float(ratios.min()), "high": float(ratios.max())}
            said = f"ours is {row['ratio']:6.1f}x ({row['low']:.1f}-{row['high']:.1f})"
        found.append(row)
        print(f"  {name:32s} {1 / each:9.0f} model-steps/s  {1e6 * each:8.1f} us each  {said}")
    peak = float(np.median(times[:, -1]))
    print(f"  sgemm roof {peak / 1e9:.0f} GFLOP/s; ours with its two evaluations reaches {share:.0%} of it")
    print(flush=True)
    return {
        "case": case.name, "members": case.members, "steps": case.steps, "loss_difference": apart, "sides": found,
        "roof_flops_per_second": peak, "attained": share,
    }  # fmt: skip


def sweep(case: Case, data: Data, members: tuple[int, ...], rounds: int) -> dict[str, Any]:
    """The cost of a model-step for so many members, over that of 8 measured right after it, and torch's over it."""

    def each(k: int, steps: int) -> float:
        return timed(lambda: ours(replace(case, members=k, steps=steps), data)) / (k * steps)

    def beside(k: int, steps: int) -> tuple[float, float, float]:
        return each(k, steps), timed(lambda: torch_on(1, case, data)) / (case.rivals * case.rival_steps), each(8, steps)

    lengths = [case.steps // 4 if k > 128 else case.steps for k in members]
    times = np.array([[beside(k, steps) for k, steps in zip(members, lengths, strict=True)] for _ in range(rounds)])
    print(f"{case.name}: from few members to many")
    found = []
    for at, k in enumerate(members):
        own, rival, eight = times[:, at].T
        row = {
            "members": k, "steps": lengths[at], "microseconds": 1e6 * float(np.median(own)),
            "ratio": float(np.median(rival / own)), "over_eight": float(np.median(own / eight)),
        }  # fmt: skip
        found.append(row)
        print(
            f"  K = {k:<5d} {lengths[at]:5d} steps  {row['microseconds']:8.1f} us a model-step, {row['over_eight']:5.2f}",
            end=" ",
        )
        print(f"of that at K = 8, {row['ratio']:6.1f}x torch on 1 thread")
    print(flush=True)
    return {"case": case.name, "sweep": found}


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
    data, cores = Data(everything.train), torch.get_num_threads()
    cases, swept, members, job = CASES, SWEPT, MEMBERS, Case("the main job", MAIN, SGD(), 0.1, 100, 600, members=200)
    rounds, sweep_rounds = 5, 3
    if given.quick:
        cases = [
            replace(case, steps=case.steps // 10, members=4, rival_steps=-(-ROWS // case.batch_size)) for case in CASES
        ]
        swept, members, job = cases[:2], (1, 8), replace(job, steps=40, members=4)
        rounds = sweep_rounds = 1
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = {"population": [compare(case, data, pool, cores, rounds) for case in cases]}
    found["members"] = [sweep(case, data, members, sweep_rounds) for case in swept]
    if given.job:
        found["job"] = [main_job(job, everything)]
    save(given.json, around, **found)


if __name__ == "__main__":
    main()
