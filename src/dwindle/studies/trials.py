"""The trials of a search: asked of a sampler, their results kept in the store first and shown in an Optuna study after.

Why two: the store's checked lines are the truth. They need no package, a batch of them is one write, and they hold whole
training records. The Optuna study is the face that dashboards open. Whatever it lacks when it is opened is put there from
the store; what is in it is never read back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dwindle.errors import InvalidValueError
from dwindle.studies.optuna_study import OptunaStudy
from dwindle.studies.sampler import Asked, Sampler
from dwindle.studies.space import Candidate, Space
from dwindle.studies.store import Store

__all__ = ["Result", "Trials"]

_STAGE = "trial"


class Result(NamedTuple):
    """What training a point gave: the loss to be made small, or None if it failed or diverged, and its course by epoch.

    ``key`` and ``seed`` are those of the training, under which the store has its whole record. ``stopped_at``: the epoch at
    which it was let go, where ``value`` is what a sampler should think of it; None if it went to the end.
    """

    id: int
    value: float | None
    curve: Mapping[int, float | None]
    key: str
    seed: int
    stopped_at: int | None = None


@dataclass(slots=True)
class Trials:
    """A search that goes on where it stopped: every result told is in ``store`` once, and in the Optuna study once.

    Of one kind of ``name``, fingerprint, space, sampler and seed there is one study, ``study_name``; other ones stand beside
    it in the same folder or database.

    >>> from dwindle.studies.samplers import sampler
    >>> space, store = Space.parse("lam 0 1e-3..1 | peak 1e-3..1e-1"), Store()
    >>> trials = Trials.open(None, space, sampler("random", space), store=store)
    >>> results = [Result(id_, c.lam**2, {1: c.lam}, key=f"run {id_}", seed=0) for id_, c in trials.ask(3)]
    >>> trials.tell(results)
    >>> again = Trials.open(None, space, sampler("random", space), store=store)
    >>> again.told, [point.id for point in again.ask(2)]
    (3, [3, 4])
    """

    sampler: Sampler
    store: Store
    study_name: str
    optuna: OptunaStudy | None = None
    _asked: dict[int, Candidate] = field(default_factory=dict, repr=False)

    @classmethod
    def open(
        cls,
        where: str | os.PathLike[str] | None,
        space: Space,
        sampler: Sampler,
        *,
        store: Store | None = None,
        name: str = "study",
        fingerprint: str = "",
    ) -> Trials:
        """Return the trials of this search, with all results in ``store`` told to ``sampler``, a new one.

        ``where`` the Optuna study is: a folder (the file study.db in it), a file (.db SQLite, .log a journal), a URL of
        SQLite, PostgreSQL or MySQL, or None for none. ``fingerprint`` says what is trained, beside the plan.

        Raises MissingExtraError if ``where`` is given and Optuna is not installed, DataError if the study cannot be opened.
        """
        if sampler.space != space:
            raise InvalidValueError("the sampler is one of another space; make it for this one.")
        if sampler.told or sampler.pending:
            raise InvalidValueError(
                "the sampler was asked or told already; give a new one, the store tells it the rest."
            )
        said = {
            "fingerprint": str(fingerprint), "space": str(space), "sampler": sampler.name, "seed": sampler.seed,
            "settings": sampler.settings,
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps([name, said], sort_keys=True).encode()).hexdigest()[:8]
        study_name = f"{name} {digest}"
        trials = cls(sampler, Store() if store is None else store, study_name)
        records = trials._records()
        for record in records:
            sampler.tell(record["id"], record["value"], record["params"])
        if where is not None:
            trials.optuna = OptunaStudy.open(where, study_name, space, said)
            trials.optuna.add(records)
        return trials

    @property
    def told(self) -> int:
        """How many results are told."""
        return len(self.sampler.told)

    def batches(self) -> list[list[Candidate]]:
        """Return the points told, in the order of their numbers, those that were told together in one list."""
        found: dict[int, list[Candidate]] = {}
        for record in self._records():
            found.setdefault(record["batch"], []).append(self.sampler.space.candidate(dict(record["params"])))
        return list(found.values())

    def ask(self, n: int = 1) -> list[Asked]:
        """Return up to ``n`` points to train, fewer only where the space has no more."""
        found = self.sampler.ask(n)
        self._asked.update(found)
        return found

    def tell(self, results: Iterable[Result], records: Iterable[dict[str, Any]] = ()) -> None:
        """Keep the results of points asked, and the ``records`` of their trainings: on disk when this returns.

        All is one write to the store; then the sampler and the Optuna study are told. Raises InvalidValueError, before
        anything is written, for a point that was not asked or is told already; DataError where a write fails.
        """
        told = list(results)
        ids = [result.id for result in told]
        for id_ in ids:
            if id_ not in self._asked or ids.count(id_) > 1:
                raise InvalidValueError(f"point {id_} was not asked, or is told already; a point has one result.")
        lines = [self._record(result, min(ids), self.told + len(told)) for result in told]
        kept = self.store.records  # that holds lines of a batch of which a kill or damage left a part
        self.store.add([*records, *(line for line in lines if kept.get(line["key"]) != line)])
        for line in lines:
            del self._asked[line["id"]]
            self.sampler.tell(line["id"], line["value"])
        if self.optuna is not None:
            self.optuna.add(lines)

    def close(self) -> None:
        """Let go of the Optuna study; the store stays with who gave it."""
        if self.optuna is not None:
            self.optuna.close()

    def _record(self, result: Result, batch: int, told: int) -> dict[str, Any]:
        candidate = self._asked[result.id]
        return {
            "key": f"{_STAGE} {self.study_name} {result.id}", "stage": _STAGE, "study": self.study_name, "id": result.id,
            "params": candidate.params, "plan": str(candidate.plan), "seed": result.seed, "training": result.key,
            "batch": batch, "told": told, "stopped_at": result.stopped_at,
            "value": _finite(result.value), "curve": [[int(at), _finite(loss)] for at, loss in result.curve.items()],
        }  # fmt: skip

    def _records(self) -> list[dict[str, Any]]:
        """Return what the store has of this study, by number: whole batches that follow on each other.

        A sampler that had heard a part of a batch would ask for other points than it did, and so for what came after a gap. Those
        points are asked for again, and their trainings found in the store.
        """
        batches: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for record in self.store.records.values():
            if record.get("stage") == _STAGE and record.get("study") == self.study_name:
                batches.setdefault((record["told"], record["batch"]), []).append(record)
        found: list[dict[str, Any]] = []
        for (told, _), batch in sorted(batches.items()):
            if len(found) + len(batch) == told:
                found += batch
        return sorted(found, key=lambda record: int(record["id"]))


def _finite(value: float | None) -> float | None:
    """Return a number as JSON has it: None for one that is not finite."""
    return float(value) if value is not None and math.isfinite(value) else None
