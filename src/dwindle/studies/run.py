"""The main job: sweep a space, replicate the best over seeds, choose on validation, report on test."""

from __future__ import annotations

import hashlib
import math
import os
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.decay import L2
from dwindle.errors import DataError, InvalidValueError, NoExactMapError, count
from dwindle.foreign import write
from dwindle.plan import Plan
from dwindle.population import SGD
from dwindle.schedule import Constant
from dwindle.studies.evidence import ROLES, comparison, curve_mean, facts
from dwindle.studies.executors import Executor, Here
from dwindle.studies.optional import has_optuna
from dwindle.studies.records import Batch, of_size
from dwindle.studies.samplers import sampler as sampler_of
from dwindle.studies.space import Candidate, Space
from dwindle.studies.store import Store
from dwindle.studies.task import Task
from dwindle.studies.trials import Result, Trials
from dwindle.text import to_toml

__all__ = ["Progress", "Study", "study"]

_TRIALS = 60  # of a sampler, unless said
_BATCH = 24  # trials trained and stored together: what a kill may cost at most
_SHORTLIST, _SHORTLIST_SEEDS = 4, 4
_SWEEP_SEED, _CHOICE_SEEDS, _REPORT_SEEDS = range(3)


class Progress(NamedTuple):
    """How far a study is: trainings done and planned (a forecast until the sweep is over), the stage, the best so far."""

    setting: str
    stage: str
    done: float
    total: int
    best: float | None
    diverged: int


@dataclass(frozen=True, slots=True)
class Study:
    """What a study found: the winning plan for each task by name, and the evidence for it as plain data."""

    plans: dict[str, Plan]
    evidence: dict[str, Any] = field(repr=False)

    @property
    def plan(self) -> Plan:
        """The winning plan of the first task."""
        return next(iter(self.plans.values()))

    def report(self, path: str | Path) -> Path:
        """Write the evidence as one self-contained HTML page and return its path."""
        from dwindle.report import write  # the page's template is read only when a page is wanted

        return write(self.evidence, Path(path))


def study(
    tasks: Task | Sequence[Task],
    space: Space | str | None = None,
    *,
    trials: int | None = None,
    sampler: str | None = None,
    storage: str | Path | None = None,
    seeds: int = 8,
    seed: int = 0,
    folder: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    executor: Executor | None = None,
) -> Study:
    """Find the best plan of ``space`` (a Space or its one-line text) for each task, and say how sure that is.

    1. Sweep: every candidate (or ``trials`` of them drawn at random) is trained once, all from the same seed. With a
       ``sampler``, "grid", "random", "sobol", "tpe", "gp" or "cma-es", it says what to train next, 60 points unless ``trials``.
    2. Choice: the best few, the best without decay and the best at a constant rate are trained on 4 further seeds; the
       winner has the lowest mean validation loss at the end of training.
    3. Report: the winner and those it is compared with are trained on ``seeds`` fresh seeds; their test results are
       compared seed by seed. Neither these seeds nor the test examples took part in choosing.

    Finished trainings are kept in ``folder`` (without one, in memory): killed at any moment and called again, a study
    goes on. ``progress`` hears how far it is; ``stop`` ends it early with StoppedError. ``executor``: where trainings are done,
    in this process unless given; what comes out does not depend on it. ``storage``: a file or URL of an Optuna study to keep the
    sampler's trials in, ``folder``/study.db unless given, where Optuna is installed.

    Raises DataError if every trial diverged, ResumeError if another process works in ``folder``.

    >>> from dwindle.studies import Task, load
    >>> task = Task(data=load("fashion"), hidden=(8,), epochs=1)
    >>> best = study(task, "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0", seeds=2)
    >>> best.plan.peak, len(best.evidence["settings"][0]["trials"])
    (0.01, 8)
    """
    listed = [tasks] if isinstance(tasks, Task) else list(tasks)
    if not listed or not all(isinstance(task, Task) for task in listed):
        raise InvalidValueError("a study needs a Task or a list of them.")
    if len({task.name for task in listed}) < len(listed):
        raise InvalidValueError(f"the tasks need different names; got {[task.name for task in listed]}.")
    count("seeds", seeds, low=2, remedy="One seed has no spread to judge by.")
    count("seed", seed, low=0)
    searched = Space.parse(space) if isinstance(space, str) else space or Space()
    where = storage if storage is not None or sampler is None or not has_optuna() else folder
    search = _Search(searched, trials, sampler, where, seed)
    if storage is not None and sampler is None:
        raise InvalidValueError("a storage keeps the trials of a sampler; name one, such as 'tpe' or 'sobol'.")
    begun = time.monotonic()
    store = Store.open(folder)
    try:
        runs = [_Run(task, search, seeds, store, executor or Here(), progress, stop) for task in listed]
        settings = [run.setting() for run in runs]
    finally:
        store.close()
    plans = {run.task.name: run.winner.plan for run in runs}
    return Study(plans, _evidence(listed[0], settings, seed, time.monotonic() - begun))


@dataclass(frozen=True, slots=True)
class _Search:
    """What to try: the candidates of the space, or, with a sampler, as many as ``trials`` of those that it asks for."""

    space: Space
    trials: int | None
    sampler: str | None
    where: str | Path | None
    seed: int
    candidates: tuple[Candidate, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.sampler is None:
            found = self.space.candidates(self.trials, self.seed)
        else:
            sampler_of(self.sampler, self.space, self.seed)  # refused here, not in the middle of the study
            found = ()
        object.__setattr__(self, "candidates", found)

    @property
    def most(self) -> int:
        """How many trainings the sweep has at most."""
        return len(self.candidates) if self.sampler is None else count("trials", self.trials or _TRIALS)

    def open(self, task: Task, store: Store, fingerprint: str) -> Trials:
        """Return the trials of a task, those told before in them."""
        asks = sampler_of(str(self.sampler), self.space, self.seed)
        return Trials.open(self.where, self.space, asks, store=store, name=task.name, fingerprint=fingerprint)


class _Run:
    """One task's way through the three stages; every training goes through ``_trained``, which asks the store first."""

    def __init__(
        self, task: Task, search: _Search, seeds: int, store: Store, executor: Executor,
        progress: Callable[[Progress], None] | None, stop: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        self.task, self.search, self.store, self.executor = task, search, store, executor
        self.candidates = search.candidates
        self.sweep_seeds = _seeds(search.seed, _SWEEP_SEED, 1)
        self.choice_seeds = _seeds(search.seed, _CHOICE_SEEDS, _SHORTLIST_SEEDS)
        self.report_seeds = _seeds(search.seed, _REPORT_SEEDS, seeds)
        self.tell = progress or (lambda _: None)
        self.stop = stop or (lambda: False)
        self.fingerprint = task.fingerprint()
        self.done = 0
        self.total = search.most + 2 * _SHORTLIST * _SHORTLIST_SEEDS + len(ROLES) * seeds
        self.diverged = 0
        self.best: float | None = None

    def setting(self) -> dict[str, Any]:
        """Return the evidence of this task."""
        sweep = self._swept()
        contenders = self._choose(sweep)
        self.winner = contenders["winner"]
        self.total = self.done + len(contenders) * len(self.report_seeds)
        pairs = [(c, s) for c in contenders.values() for s in self.report_seeds]
        records = self._trained("report", pairs)
        rows = []
        for i, (role, candidate) in enumerate(contenders.items()):
            own = records[i * len(self.report_seeds) : (i + 1) * len(self.report_seeds)]
            rows.append(_contender(role, candidate, own, self.task))
        metrics = ["test_loss", "gap"] + ["test_accuracy"] * (self.task.data.task == "classification")
        found = {
            "name": self.task.name,
            "trials": [{"id": i, **_public(record)} for i, record in enumerate(sweep)],
            "winner": _winner(self.winner, self.task),
            "contenders": rows,
            "comparisons": [c for other in rows[1:] for metric in metrics if (c := comparison(rows[0], other, metric))],
        }
        noise = [said for said in self.task.data.provenance.steps if "label noise" in said]
        return {**found, "facts": facts(found, noise)}

    def _swept(self) -> list[dict[str, Any]]:
        """Return the record of each candidate of the sweep, those that a sampler asks for among them."""
        seed = self.sweep_seeds[0]
        if self.search.sampler is None:
            return self._trained("sweep", [(c, seed) for c in self.candidates])
        trials = self.search.open(self.task, self.store, self.fingerprint)
        try:
            self._advance("sweep", trials.told)
            while trials.told < self.search.most:
                asked = trials.ask(min(_BATCH, self.search.most - trials.told))
                if not asked:
                    break  # a grid has no more
                records = self._trained("sweep", [(point.candidate, seed) for point in asked])
                trials.tell(_result(point.id, record, seed) for point, record in zip(asked, records, strict=True))
            found = trials.candidates()
        finally:
            trials.close()
        self.candidates = tuple(found)
        return [self.store.records[self._key(c, seed)] for c in self.candidates]

    def _choose(self, sweep: list[dict[str, Any]]) -> dict[str, Candidate]:
        """Return who plays which role, chosen by mean validation loss over the choice seeds."""
        order = sorted(range(len(sweep)), key=lambda i: _loss(sweep[i]))
        if _loss(sweep[order[0]]) == math.inf:
            raise DataError(
                f"every trial of {self.task.name} diverged; give lower peaks than {min(c.peak for c in self.candidates):g}."
            )
        ranked = [self.candidates[i] for i in order]
        bare = [c for c in ranked if c.lam == 0.0]
        flat = [c for c in ranked if c.is_constant]
        neither = [c for c in flat if c.lam == 0.0]
        short = list(dict.fromkeys([*ranked[:_SHORTLIST], *bare[:2], *flat[:2], *neither[:1]]))
        pairs = [(c, s) for c in short for s in self.choice_seeds]
        self.total = len(sweep) + len(pairs) + len(ROLES) * len(self.report_seeds)
        records = self._trained("choice", pairs)
        losses = np.array([_loss(r) for r in records]).reshape(len(short), -1).mean(axis=1)
        best = [short[i] for i in np.argsort(losses, kind="stable")]
        winner = best[0]
        decays, falls = winner.lam > 0, not winner.is_constant
        roles: dict[str, Candidate | None] = {
            "winner": winner,
            "no weight decay": next((c for c in best if c.lam == 0.0 and decays), None),
            "constant lr": next((c for c in best if c.is_constant and falls), None),
            "neither": next((c for c in best if c.is_constant and c.lam == 0.0 and decays and falls), None),
            "winner without weight decay": _without_decay(winner) if decays else None,
            "winner at constant lr": _at_constant(winner) if falls else None,
        }
        return {role: candidate for role, candidate in roles.items() if candidate is not None}

    def _trained(self, stage: str, pairs: Sequence[tuple[Candidate, int]]) -> list[dict[str, Any]]:
        """Return the record of each (candidate, seed), training those the store does not have."""
        keys = [self._key(candidate, seed) for candidate, seed in pairs]
        missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in self.store.records}
        self._advance(stage, len(pairs) - len(missing))
        alike: dict[int | None, list[Any]] = {}  # trainings of one batch size, which can be done at once
        for key, pair in missing.items():
            alike.setdefault(pair[0].batch_size, []).append((key, pair))
        batches = [_batch(stage, items) for group in alike.values() for items in _batches(group, _BATCH)]
        shares: dict[int, float] = {}  # of the batches under way

        def tell(place: int, share: float) -> None:
            shares[place] = len(batches[place].keys) * share
            self._say(stage, sum(shares.values()))

        for place, records in self.executor.run(self.task, batches, tell, self.stop):
            self.store.add(records)
            shares.pop(place, None)
            self._advance(stage, len(records), records)
        return [self.store.records[key] for key in keys]

    def _advance(self, stage: str, done: int, records: Iterable[dict[str, Any]] = ()) -> None:
        self.done += done
        for record in records:
            self.diverged += record["diverged"]
            loss = _loss(record)
            self.best = loss if self.best is None else min(self.best, loss)
        self._say(stage, 0.0)

    def _say(self, stage: str, ahead: float) -> None:
        self.tell(Progress(self.task.name, stage, self.done + ahead, self.total, self.best, self.diverged))

    def _key(self, candidate: Candidate, seed: int) -> str:
        said = f"{self.fingerprint} {candidate.plan} {seed}"
        said += "" if candidate.batch_size is None else f" batch {candidate.batch_size}"
        return hashlib.sha256(said.encode()).hexdigest()[:24]


def _batch(stage: str, items: Sequence[tuple[str, tuple[Candidate, int]]]) -> Batch:
    candidates, seeds = zip(*(pair for _, pair in items), strict=True)
    return Batch(stage, tuple(key for key, _ in items), candidates, seeds)


def _result(id_: int, record: dict[str, Any], seed: int) -> Result:
    curve = record["curve"]
    course = {round(epoch): loss for epoch, loss in zip(curve["epoch"], curve["validation_loss"], strict=True)}
    return Result(id_, record["final"]["validation_loss"], course, record["key"], seed)


def _public(record: dict[str, Any]) -> dict[str, Any]:
    shown = {name: record[name] for name in ("lam", "peak", "schedule", "plan", "seed", "diverged", "final")}
    names = ("epoch", "train_loss", "validation_loss", "validation_accuracy")
    return {**shown, "curve": {name: record["curve"][name] for name in names}}


def _contender(role: str, candidate: Candidate, records: list[dict[str, Any]], task: Task) -> dict[str, Any]:
    task = of_size(task, candidate)
    run = task.horizon
    curves = [record["curve"] for record in records]
    steps = np.rint(np.array(curves[0]["epoch"]) * task.steps_per_epoch).astype(int)
    gaps = [_gap(record["final"]) for record in records]
    return {
        "role": role, "plan": str(candidate.plan), "lam": candidate.lam, "peak": candidate.peak,
        "schedule": str(candidate.schedule), "seeds": [record["seed"] for record in records],
        "test_loss": [record["test_loss"] for record in records],
        "test_accuracy": [record["test_accuracy"] for record in records], "gap": gaps,
        "curves": {
            "epoch": curves[0]["epoch"],
            **{name: curve_mean([c[name] for c in curves]) for name in ("train_loss", "validation_loss", "weight_norm")},
            "lr": candidate.plan.lrs(run)[np.minimum(steps, run.steps - 1)].tolist(),
            "share_left": candidate.plan.shares_left(run)[steps].tolist(),
        },
    }  # fmt: skip


def _gap(final: dict[str, float | None]) -> float | None:
    validation, training = final["validation_loss"], final["train_loss"]
    return None if validation is None or training is None else validation - training


def _winner(candidate: Candidate, task: Task) -> dict[str, Any]:
    return {
        "plan": str(candidate.plan), "toml": to_toml(candidate.plan), "lam": candidate.lam, "peak": candidate.peak,
        "schedule": str(candidate.schedule), "code": _code(candidate.plan, of_size(task, candidate)),
        "batch_size": candidate.batch_size,
    }  # fmt: skip


def _code(plan: Plan, task: Task) -> dict[str, str]:
    """Return the winner as code: for torch with this library; after Adam also as plain source of the frameworks."""
    run, settings, name = task.horizon, "", "Adam" if isinstance(plan.decay, L2) else "AdamW"
    if isinstance(task.optimiser, SGD):
        settings, name = f", lr=0.1, momentum={task.optimiser.momentum}, nesterov={task.optimiser.nesterov}", "SGD"
    code = {
        "torch with dwindle": (
            "import dwindle as dw\nimport torch\n\n"
            f'plan = dw.parse("{plan}")\n'
            f"run = dw.Horizon(epochs={run.epochs}, steps_per_epoch={run.steps_per_epoch})\n"
            f"optimiser = torch.optim.{name}(model.named_parameters(){settings})\n"
            "dw.torch.attach(optimiser, plan, run)  # from here: loss.backward(); optimiser.step(); optimiser.zero_grad()\n"
        )
    }
    for peer in ("torch", "optax", "keras") if name != "SGD" else ():  # their SGD has other defaults for the momentum
        with suppress(NoExactMapError):
            code[f"{peer} alone"] = write(plan, peer, run, optimizer=name.lower() if peer == "optax" else name)
    return code


def _without_decay(c: Candidate) -> Candidate:
    return replace(c, plan=replace(c.plan, decay=None), lam=0.0, at=())


def _at_constant(c: Candidate) -> Candidate:
    return replace(c, plan=replace(c.plan, schedule=Constant()), schedule=Constant(), at=())


def _evidence(task: Task, settings: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    data = task.data
    classes = len(data.classes) if data.task == "classification" else None
    loss = "softmax cross-entropy" if classes else "squared error"
    return {
        "format": "dwindle-evidence/1", "title": f"Study of {Path(data.provenance.source.split(chr(44))[0]).name}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": seconds, "seed": seed,
        "environment": {
            "dwindle": version("dwindle"), "python": platform.python_version(), "numpy": np.__version__,
            "platform": platform.platform(), "cores": os.cpu_count() or 1,
        },
        "data": {
            "name": data.name, "provenance": [data.provenance.source, *data.provenance.steps], "train": len(data.train_x),
            "validation": len(data.validation_x), "test": len(data.test_x), "classes": classes, "task": data.task,
        },
        "model": f"MLP {'-'.join(map(str, task.mlp.sizes))} {task.activation}, {loss}",
        "optimiser": str(task.optimiser), "batch_size": task.batch_size, "epochs": task.epochs, "steps": task.horizon.steps,
        "settings": settings, "findings": [],
    }  # fmt: skip


def _loss(record: dict[str, Any]) -> float:
    loss = record["final"]["validation_loss"]
    return math.inf if loss is None else float(loss)


def _seeds(seed: int, stage: int, n: int) -> list[int]:
    """Return n seeds for a stage, drawn by hashing (seed, stage), so that neighbouring studies share none."""
    return [int(s) for s in np.random.SeedSequence([seed, stage]).generate_state(n)]


def _batches(items: list[Any], size: int) -> Iterable[list[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
