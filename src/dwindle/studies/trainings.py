"""The trainings of one task: asked of the store first, and what it lacks of the executor; every one of them is kept at once."""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.studies.evidence import curve_mean
from dwindle.studies.executors import Executor
from dwindle.studies.fit import Fit, fit
from dwindle.studies.halving import Halving
from dwindle.studies.records import Batch, Record
from dwindle.studies.space import Candidate
from dwindle.studies.store import Store
from dwindle.studies.task import Task

__all__ = ["BATCH", "Progress", "Trainings", "loss", "merged", "rank"]

BATCH = 24  # trainings done and stored together: what a kill may cost at most

Pair = tuple[Candidate, int]


class Progress(NamedTuple):
    """How far a study is: trainings done and planned (a forecast until the sweep is over), the stage, the best so far.

    ``diverged`` and ``stopped`` (let go at a rung) count trainings; ``plan`` is the best one's, as text.
    """

    setting: str
    stage: str
    done: float
    total: int
    best: float | None
    diverged: int
    stopped: int = 0
    plan: str | None = None


class Trainings:
    """What has been trained of ``task``, and the way to more of it.

    ``tell`` hears how far it is, ``listen`` the record of every training, found or made, once.
    """

    def __init__(
        self, task: Task, store: Store, executor: Executor, tell: Callable[[Progress], None],
        listen: Callable[[Mapping[str, Any]], None], stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.task, self.store, self.executor = task, store, executor
        self.tell, self.listen, self.stop = tell, listen, stop
        self._marks: dict[int, tuple[Task, str]] = {}
        self._heard: set[str] = set()
        self.done = 0
        self.total = 0
        self.study = ""  # by which a reader of the store tells these from the trainings of other studies in the folder
        self.folded = False  # then a record alone is on one fold, and who merges those of all says what is best
        self._diverged, self._stopped = 0, 0
        self._best: float | None = None
        self._plan: str | None = None

    def records(
        self, stage: str, pairs: Sequence[Pair], halving: Halving | None = None, task: Task | None = None
    ) -> list[Record]:
        """Return the record of each (candidate, seed), in that order; those of a batch are judged by ``halving`` together.

        ``task``: another than the one these are of, such as one of its folds.
        """
        task = self.task if task is None else task
        batches, keys = self._batches(stage, task, pairs, halving)
        missing = list({batch.keys: batch for batch in map(self._missing, batches) if batch.keys}.values())
        waited = {key for batch in missing for key in batch.keys}
        found = [self.store.records[key] for key in dict.fromkeys(keys) if key not in waited]
        self._advance(stage, len(pairs) - len(waited), found)
        shares: dict[int, float] = {}  # of the batches under way

        def tell(place: int, share: float) -> None:
            shares[place] = len(missing[place].keys) * share
            self._say(stage, sum(shares.values()))

        for place, records in self.executor.run(task, missing, tell, self.stop):
            told = {"study": self.study, "division": self.mark(task)}
            self.store.add({**record, **told} for record in records if record["key"] not in self.store.records)
            shares.pop(place, None)
            folder = missing[place].folder
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)
                with suppress(OSError):  # others are under way in it
                    Path(folder).parent.rmdir()
            self._advance(stage, len(records), records)
        return [self.store.records[key] for key in keys]

    def fitted(self, winner: Candidate, seed: int, refit: bool, tail: str) -> Fit:
        """Return the last training of the winner, with its weights."""

        def tick(done: int, total: int) -> None:
            self._say("fit", done / max(total, 1))

        mark = self.mark(self.task)
        found = fit(
            self.task, winner, seed, self.store, mark=mark, refit=refit, tail=tail, progress=tick, stop=self.stop
        )
        self._advance("fit", 1, ())
        return found

    def mark(self, task: Task) -> str:
        """Return the fingerprint of a task as it was when first asked for: training may fill what its code remembers."""
        if id(task) not in self._marks:
            self._marks[id(task)] = task, task.fingerprint()
        return self._marks[id(task)][1]

    def _batches(
        self, stage: str, task: Task, pairs: Sequence[Pair], halving: Halving | None
    ) -> tuple[list[Batch], list[str]]:
        """Return the pairs in batches of one batch size, the same ones whatever is trained already, and the key of each pair.

        Where they are judged, company matters: then only pairs of one ``BATCH`` meet, whatever else is asked for at once.
        """
        parts = [pairs] if halving is None else [pairs[i : i + BATCH] for i in range(0, len(pairs), BATCH)]
        batches: list[Batch] = []
        keys: list[str] = []
        for part in parts:
            own = [self._batch(stage, task, items, halving) for items in _of_one_size(part)]
            key_of = {pair: key for batch in own for pair, key in zip(_pairs(batch), batch.keys, strict=True)}
            keys += [key_of[pair] for pair in part]
            batches += own
        return batches, keys

    def _batch(self, stage: str, task: Task, pairs: Sequence[Pair], halving: Halving | None) -> Batch:
        candidates, seeds = zip(*pairs, strict=True)
        mark = self.mark(task)
        names = [_name(mark, candidate, seed) for candidate, seed in pairs]
        if halving is not None:  # who goes on depends on the company
            names = [f"{name} {halving} among {names}" for name in names]
        keys = tuple(hashlib.sha256(name.encode()).hexdigest()[:24] for name in names)
        return Batch(stage, keys, candidates, seeds, halving, None)

    def _missing(self, batch: Batch) -> Batch:
        """Return what is to be trained of a batch: those that the store lacks, or all if they are judged together."""
        lacking = [i for i, key in enumerate(batch.keys) if key not in self.store.records]
        if batch.halving is not None and lacking:
            lacking = list(range(len(batch.keys)))
        keys, candidates, seeds = (
            tuple(batch.keys[i] for i in lacking), tuple(batch.candidates[i] for i in lacking),
            tuple(batch.seeds[i] for i in lacking),
        )  # fmt: skip
        folder = None
        if self.store.folder is not None and keys and find_spec("safetensors") is not None:
            folder = str(self.store.folder / "unfinished" / hashlib.sha256("".join(keys).encode()).hexdigest()[:24])
        return batch._replace(keys=keys, candidates=candidates, seeds=seeds, folder=folder)

    def _advance(self, stage: str, done: int, records: Iterable[Record]) -> None:
        self.done += done
        for record in records:
            if record["key"] in self._heard:
                continue
            self._heard.add(record["key"])
            self._diverged += record["diverged"]
            self._stopped += record["stopped_at"] is not None
            if not self.folded:
                self.note(record)
            self.listen(record)
        self._say(stage, 0.0)

    def note(self, record: Record) -> None:
        """Take a record into account for the best so far."""
        if self._best is None or loss(record) < self._best:
            self._best, self._plan = loss(record), record["plan"]

    def _say(self, stage: str, ahead: float) -> None:
        best = self._best if self._best is not None and math.isfinite(self._best) else None
        self.tell(
            Progress(
                self.task.name, stage, self.done + ahead, max(self.total, self.done), best, self._diverged, self._stopped,
                self._plan if best is not None else None,
            )
        )  # fmt: skip


def loss(record: Record) -> float:
    """Return the validation loss at the end of a training, infinite where it did not get there."""
    value = record["final"]["validation_loss"]
    return math.inf if value is None else float(value)


def rank(record: Record) -> tuple[int, float, float]:
    """Return what to sort records by: those that ended by their loss, then those let go, the later the better, then diverged.

    >>> rank({"final": {"validation_loss": 0.5}, "stopped_at": None, "diverged": False})
    (0, 0.0, 0.5)
    """
    if record["stopped_at"] is not None:
        return 1, -record["stopped_at"], last_loss(record)
    return 2 if record["diverged"] else 0, 0.0, loss(record)


def last_loss(record: Record) -> float:
    """Return the last validation loss that was seen, infinite if none."""
    seen = [value for value in record["curve"]["validation_loss"] if value is not None]
    return seen[-1] if seen else math.inf


def merged(records: Sequence[Record]) -> Record:
    """Return one record for trainings of one candidate, on each fold: means, None where one has no value.

    ``by_fold`` are the validation losses at the end.
    """
    first = records[0]
    if len(records) == 1:
        return first
    names = [name for name, curve in first["curve"].items() if name != "epoch" and isinstance(curve, list)]
    curves = {name: curve_mean([record["curve"][name] for record in records]) for name in names}
    stops = [record["stopped_at"] for record in records if record["stopped_at"] is not None]

    def mean(name: str, values: list[float | None]) -> float | None:
        return None if None in values else float(np.mean([value for value in values if value is not None]))

    return {
        **first,
        "diverged": any(record["diverged"] for record in records),
        "stopped_at": min(stops, default=None),
        "final": {name: mean(name, [record["final"][name] for record in records]) for name in first["final"]},
        "by_fold": [record["final"]["validation_loss"] for record in records],
        **{name: mean(name, [record[name] for record in records]) for name in ("test_loss", "test_accuracy")},
        "curve": {"epoch": first["curve"]["epoch"], **curves},
    }


def _name(mark: str, candidate: Candidate, seed: int) -> str:
    size = "" if candidate.batch_size is None else f" batch {candidate.batch_size}"
    return f"{mark} {candidate.plan} {seed}{size}"


def _pairs(batch: Batch) -> Iterator[Pair]:
    return zip(batch.candidates, batch.seeds, strict=True)


def _of_one_size(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Give the pairs, each once, in batches of one batch size."""
    alike: dict[int | None, list[Pair]] = {}
    for pair in dict.fromkeys(pairs):
        alike.setdefault(pair[0].batch_size, []).append(pair)
    for group in alike.values():
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]
