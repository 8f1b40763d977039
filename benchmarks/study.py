"""The default study against Optuna and a torch loop that train the same trials, one after the other; one process.

    python benchmarks/study.py [--trials N] [--quick] [--json FILE]

The study is `make run`'s first setting: the shipped images, the default space and halving, choice and report. Optuna gets the
same plans (enqueued, its storage in memory) and trains each by what people write: nn.Sequential, AdamW, LambdaLR, a shuffled
epoch; the training and validation examples are evaluated as often as ours. It trains N of the trials, in two parts between three
runs of ours; its whole time is their median times the number of trials. First weights and mini-batches are ours, and the final
losses are compared, so both train the same.

Three ratios: of the sweep, every trial of the rival to its end, as Optuna does without a pruner; of the sweep when the rival
stops every trial where ours was let go; and of all trainings of the study, choice and report to their end on both sides.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import torch
from surroundings import begin, command, save

import dwindle as dw
from dwindle.population import epoch_order, initial_weights
from dwindle.studies import Progress, Space, Task, load, study


def rival(task: Task, plan: dw.Plan, lam: float, seed: int) -> float:
    """What a user writes; returns the validation loss."""
    x, y = (torch.from_numpy(part.copy()) for part in task.data.part("train"))
    shown = [(x, y), tuple(torch.from_numpy(part.copy()) for part in task.data.part("validation"))]
    layers: list[torch.nn.Module] = []
    for w in initial_weights(task.mlp, seed):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers += [linear, torch.nn.ReLU()]
    net = torch.nn.Sequential(*layers[:-1])
    decays = [p for p in net.parameters() if p.ndim == 2], [p for p in net.parameters() if p.ndim == 1]
    groups = [{"params": decays[0], "weight_decay": lam}, {"params": decays[1], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.peak)
    lrs = plan.lrs(task.horizon)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: lrs[min(step, len(lrs) - 1)] / plan.peak)
    evaluations, step, losses = {int(at) for at in task.evaluations}, 0, []

    def evaluate() -> None:
        with torch.no_grad():
            for a, b in shown:
                z = net(a)
                losses.append(float(torch.nn.functional.cross_entropy(z, b)))
                (z.argmax(1) == b).float().mean().item()

    evaluate()
    for epoch in range(task.epochs):
        order = torch.from_numpy(epoch_order(len(x), 0, epoch))
        for rows in order.split(task.batch_size):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
            scheduler.step()
            step += 1
            if step in evaluations:
                evaluate()
    return losses[-1]


def optimized(task: Task, trials: list[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Let Optuna run these trials; return the seconds and the validation loss of each."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search, seconds, plans = optuna.create_study(), [], [trial["plan"] for trial in trials]
    for trial in trials:
        search.enqueue_trial({"plan": trial["plan"]})

    def objective(one: optuna.Trial) -> float:
        start = time.perf_counter()
        trial = trials[one.number]
        loss = rival(task, dw.parse(one.suggest_categorical("plan", plans)), trial["lam"], trial["seed"])
        seconds.append(time.perf_counter() - start)
        return loss

    start = time.perf_counter()
    search.optimize(objective, n_trials=len(trials))
    extra = (time.perf_counter() - start - sum(seconds)) / len(trials)  # Optuna's own
    return [each + extra for each in seconds], [float(one.value) for one in search.trials if one.value is not None]


def ours(task: Task, space: Space | None, **words: Any) -> tuple[dict[str, Any], dict[str, float], dict[str, int]]:
    """Run the study as a user does, with a folder; return its evidence, and by stage the seconds and the trainings."""
    ends, counts, start = {}, Counter(), time.perf_counter()

    def watch(at: Progress) -> None:
        ends[at.stage] = time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        found = study(
            task, space, folder=folder, progress=watch, listen=lambda record: counts.update([record["stage"]]), **words
        )
    begins = [0.0, *list(ends.values())[:-1]]
    seconds = {stage: end - begin for (stage, end), begin in zip(ends.items(), begins, strict=True)}
    return found.evidence["settings"][0], seconds, dict(counts)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--trials", type=int, default=12, help="trials that the rival trains")
    given = parser.parse_args()
    around = begin()
    task = Task(data=load("fashion"), epochs=4 if given.quick else 40)
    space = Space((0.0, 1.0), (1e-3, 1e-2), ("constant", "cosine to 0")) if given.quick else None
    words = {"seeds": 2} if given.quick else {}
    task.train([dw.parse("peak 1e-3")], [0])  # what is compiled once a machine is compiled before
    threads = torch.get_num_threads()
    setting, seconds, counts = ours(task, space, **words)
    rounds, apart, each = [seconds], [], {1: [], threads: []}
    trials = setting["trials"] + setting["refined"]
    draws = np.random.default_rng(0).permutation(len(trials))[: given.trials]
    for some in np.array_split(draws, 2):
        for count, times in each.items():
            torch.set_num_threads(count)
            took, losses = optimized(task, [trials[i] for i in some])
            times += took
            pairs = zip(losses, (trials[i]["final"]["validation_loss"] for i in some), strict=True)
            apart += [abs(theirs - mine) for theirs, mine in pairs if mine is not None]
        rounds.append(ours(task, space, **words)[1])
    torch.set_num_threads(threads)

    trial = min(statistics.median(times) for times in each.values())
    sweep = statistics.median(one["sweep"] for one in rounds)
    whole = statistics.median(sum(one.values()) for one in rounds)
    ends = [task.epochs if t["stopped_at"] is None else t["stopped_at"] for t in trials]
    share = sum(ends) / (len(trials) * task.epochs)
    trainings = len(trials) + counts["choice"] + counts["report"] + 1
    ratios = {
        "sweep, every trial of the rival to its end": len(trials) * trial / sweep,
        "sweep, the rival's trials stopped where ours were": share * len(trials) * trial / sweep,
        "all trainings of the study, choice, report and fit too": trainings * trial / whole,
    }
    print(f"{task.model_text}, batch {task.batch_size}, {task.epochs} epochs of {len(task.data.train_x)} examples")
    print(f"ours: {len(trials)} trials in {sweep:.1f} s, all {trainings} trainings in {whole:.1f} s")
    print(f"Optuna and torch: {trial:.2f} s a trial, the better of 1 and {threads} threads")
    for what, ratio in ratios.items():
        print(f"{ratio:6.1f}x  {what}")
    worst = max(apart, default=0.0)
    print(
        f"final validation losses of the two are at most {worst:.4f} apart, median {statistics.median(apart or [0.0]):.4f}"
    )
    save(
        given.json, around, ratios=ratios, seconds_of_a_trial={str(k): v for k, v in each.items()}, trial=trial, sweep=sweep,
        whole=whole, rounds=rounds, trials=len(trials), trainings=trainings, apart=apart, worst=worst, threads=threads,
        median_apart=statistics.median(apart or [0.0]), epochs=task.epochs, batch_size=task.batch_size,
        examples=len(task.data.train_x), model=task.model_text,
    )  # fmt: skip


if __name__ == "__main__":
    main()
