"""What the default study gives away: its winner against that of an exhaustive grid of ten times its budget.

    python benchmarks/regret.py [--data NAME ...] [--studies N] [--quick] [--json FILE]

The grid has 720 plans, 10 λ x 6 peaks x 12 schedules around and beyond those of the default space, all trained to their end:
ten times the steps of the study's sweep, whose 144 plans are halved twice. It chooses as the study does: over the same folds if
the data is small, the best few on further seeds, by validation loss. Both winners are then trained on 16 fresh seeds and
compared on the test examples. Errors are standard errors over these, losses averaged over the seeds: that of the grid's test
loss, and that of the difference, paired by example or by seed, the larger of the two. N studies a data set differ in their
seed, which also divides the data. ``fashion-mnist``, all 70,000 images, takes an hour and is left out unless named.

The data: the shipped images, clean and with 20 % label noise; digits, breast cancer and diabetes (a regression) as
scikit-learn bundles them, and examples/wine.csv.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from surroundings import begin, command, save

import dwindle as dw
from dwindle.studies import Dataset, Space, Task, load, study
from dwindle.studies.data_prepare import Raw, prepare
from dwindle.studies.dataset import Provenance

WINE = Path(__file__).resolve().parents[1] / "examples" / "wine.csv"
LAMS = (0.0, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 4.0, 10.0)
PEAKS = (1e-3, 2e-3, 5e-3, 1e-2, 3e-2, 6e-2)
SCHEDULES = (
    "constant", "step by 0.5 every 5ep", "step by 0.5 every 10ep", "step by 0.3 every 10ep", "exponential by 0.95 every 1ep",
    "exponential by 0.9 every 1ep", "exponential by 0.8 every 1ep", "cosine to 0", "cosine to 10%", "linear to 0",
    "linear to 10%", "warmup 5%, cosine to 0",
)  # fmt: skip
SEEDS = 16


def bundled(name: str, seed: int) -> Dataset:
    found = getattr(datasets, f"load_{name}")()
    kind = "regression" if name == "diabetes" else "classification"
    raw = Raw(name, found.data, found.target, Provenance(f"scikit-learn's {name}"))
    return prepare(raw, task=kind, validation=None, test=None, seed=seed)


DATA: dict[str, Callable[[int], Dataset]] = {
    "fashion": lambda seed: load("fashion"),
    "fashion, 20 % label noise": lambda seed: load("fashion", label_noise=0.2, seed=seed),
    "digits": lambda seed: bundled("digits", seed),
    "breast_cancer": lambda seed: bundled("breast_cancer", seed),
    "diabetes": lambda seed: bundled("diabetes", seed),
    "wine.csv": lambda seed: load(WINE, seed=seed),
    "fashion-mnist": lambda seed: load("fashion-mnist"),
}


def losses(task: Task, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The test loss of every example."""
    x, y = task.data.part("test")
    z = x.reshape(len(x), -1).astype(np.float64)
    layers = sorted({int(name.split(".")[0]) for name in weights})
    for layer in layers:
        z = z @ weights[f"{layer}.weight"].T.astype(np.float64) + weights[f"{layer}.bias"]
        if layer != layers[-1]:
            z = np.maximum(z, 0.0)
    if task.data.task == "regression":
        return 0.5 * (z[:, 0] - y) ** 2
    top = z.max(1, keepdims=True)
    return np.log(np.exp(z - top).sum(1)) + top[:, 0] - z[np.arange(len(y)), y]


def tested(task: Task, plan: dw.Plan, seeds: list[int]) -> np.ndarray:
    """The test loss of a plan, (seeds, examples)."""
    result = task.train([plan] * len(seeds), seeds)
    return np.array([losses(task, result.state_dict(k)) for k in range(len(seeds))])


def compare(name: str, data: Dataset, seed: int, quick: bool) -> dict[str, Any]:
    rows = len(data.train_x)
    task = Task(data=data, epochs=4 if quick else 40 if rows <= 10_000 else 10, batch_size=min(32, rows))
    grid = Space(LAMS[:: 5 if quick else 1], PEAKS[:: 4 if quick else 1], SCHEDULES[:: 6 if quick else 1])
    small = Space((0.0, 1.0), (1e-3, 1e-2), ("constant",)) if quick else None
    start = time.perf_counter()
    ours = study(task, small, seed=seed, seeds=2)
    middle = time.perf_counter()
    theirs = study(task, grid, seed=seed, seeds=2, halving=False, refine=False)
    end = time.perf_counter()
    seeds = [int(s) for s in np.random.SeedSequence([seed, 99]).generate_state(4 if quick else SEEDS)]
    a, b = (tested(task, found.plan, seeds) for found in (ours, theirs))
    difference = a - b
    by_seed = difference.mean(1).std(ddof=1) / np.sqrt(len(seeds))
    by_example = difference.mean(0).std(ddof=1) / np.sqrt(difference.shape[1])
    paired = max(by_seed, by_example)
    error = b.mean(0).std(ddof=1) / np.sqrt(b.shape[1])
    return {
        "data": name, "seed": seed, "train": rows, "test": difference.shape[1], "plan": str(ours.plan),
        "exhaustive": str(theirs.plan), "test_loss": float(a.mean()), "exhaustive_loss": float(b.mean()),
        "difference": float(difference.mean()),
        "paired_over_seeds": float(by_seed), "paired_over_examples": float(by_example), "paired": float(paired),
        "error": float(error), "within": bool(difference.mean() <= error), "within_paired": bool(difference.mean() <= paired),
        "trials": sum(len(ours.evidence["settings"][0][kind]) for kind in ("trials", "refined")),
        "grid": len(theirs.evidence["settings"][0]["trials"]),
        "seconds": middle - start, "exhaustive_seconds": end - middle,
    }  # fmt: skip


def main() -> None:
    parser = command(__doc__)
    usual = [name for name in DATA if name != "fashion-mnist"]
    parser.add_argument("--data", nargs="+", choices=DATA, default=usual, metavar="NAME", help=", ".join(DATA))
    parser.add_argument("--studies", type=int, default=3, help="studies of each data set")
    given = parser.parse_args()
    around = begin()
    names, studies = (["breast_cancer"], 1) if given.quick else (given.data, given.studies)
    print(f"{'data':26} seed  test loss   grid's  error  difference  paired error    trials    seconds")
    rows = []
    for name in names:
        for seed in range(studies):
            row = compare(name, DATA[name](seed), seed, given.quick)
            rows.append(row)
            found = f"{row['test_loss']:9.4f}  {row['exhaustive_loss']:7.4f} {row['error']:6.4f}"
            apart = f"{row['difference']:+10.4f}  {row['paired']:12.4f}"
            costs = f"{row['trials']:3}/{row['grid']:3}  {row['seconds']:4.0f}/{row['exhaustive_seconds']:4.0f}"
            print(f"{name:26} {seed:4}  {found}  {apart}   {costs}")
            print(f"{'':26} ours {row['plan']};  grid {row['exhaustive']}", flush=True)
    held, paired = (sum(row[name] for row in rows) for name in ("within", "within_paired"))
    mean = float(np.mean([row["difference"] for row in rows]))
    print(
        f"within one standard error of the grid's test loss: {held} of {len(rows)}; of the paired difference: {paired}"
    )
    print(f"mean difference: {mean:+.4f}")
    save(given.json, around, rows=rows, within=held, within_paired=paired, of=len(rows), mean=mean)


if __name__ == "__main__":
    main()
