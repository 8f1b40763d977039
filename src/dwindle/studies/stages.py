"""One task's way through a study: sweep, choice, report, and the last training."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.errors import DataError, InvalidValueError
from dwindle.schedule import Constant
from dwindle.studies.advice import advice
from dwindle.studies.axis import Range
from dwindle.studies.evidence import ByPart, comparisons, facts
from dwindle.studies.fit import Fit
from dwindle.studies.folds import folds
from dwindle.studies.halving import Halving
from dwindle.studies.outcome import choice_row, contender_row, trial_row, winner_row
from dwindle.studies.records import Record
from dwindle.studies.refine import ROUNDS, refined
from dwindle.studies.search import Search
from dwindle.studies.space import Candidate
from dwindle.studies.trainings import BATCH, Trainings, loss, merged, rank

__all__ = ["Stages"]

_SHORTLIST, _SHORTLIST_SEEDS = 4, 4
_CONTENDERS = 6  # at most: each decay that the winner has is shown by two plans, and both by one more
_SWEEP_SEED, _CHOICE_SEEDS, _REPORT_SEEDS, _FOLD_SEED = range(4)


class DivergedError(DataError):
    """No training came to its end."""

    exit_code = 1  # of the command line: a failed run, no bad input


class Stages:
    """The stages of the task of ``trainings``; with ``k`` folds sweep and choice are judged on all of them.

    ``winner`` and ``fitted`` are there once ``setting`` has returned.
    """

    winner: Candidate
    fitted: Fit

    def __init__(
        self, trainings: Trainings, search: Search, seeds: int, halving: Halving | None, k: int | None, refine: bool
    ) -> None:
        self.trainings, self.search, self.halving, self.task = trainings, search, halving, trainings.task
        self.rounds = ROUNDS if refine else ()
        self.sweep_seed = _seeds(search.seed, _SWEEP_SEED, 1)[0]
        self.choice_seeds = _seeds(search.seed, _CHOICE_SEEDS, max(_SHORTLIST_SEEDS, k or 0))
        self.report_seeds = _seeds(search.seed, _REPORT_SEEDS, seeds)
        parts = [self.task.data] if k is None else folds(self.task.data, k, _seeds(search.seed, _FOLD_SEED, 1)[0])
        self._check_batches(min(len(part.train_x) for part in parts), k)
        trainings.folded = k is not None
        self.tasks = [self.task] if k is None else [replace(self.task, data=part) for part in parts]
        for task in (self.task, *self.tasks):
            trainings.mark(task)  # before anything is trained
        trainings.total = (
            (search.most + len(self.rounds) * BATCH) * len(parts)
            + 2 * _SHORTLIST * len(self.choice_seeds)
            + _CONTENDERS * seeds
            + 1
        )

    def _check_batches(self, rows: int, k: int | None) -> None:
        """Refuse a batch that some training cannot fill."""
        sizes = [size.high if isinstance(size, Range) else size for size in self.search.space.batch_sizes]
        largest = int(max([self.task.batch_size, *sizes]))
        if largest > rows:
            where, fewer = ("", "") if k is None else (f" in each of {k} folds", " or another number of folds")
            raise InvalidValueError(
                f"batches of {largest} are larger than the {rows} training examples of task {self.task.name!r}{where}. "
                f"Give smaller batches{fewer}."
            )

    def setting(self, refit: bool, tail: str) -> dict[str, Any]:
        """Return the evidence of this task; ``tail`` is that of the name of its weights."""
        marks = [self.trainings.mark(task) for task in self.tasks]
        self.trainings.study = hashlib.sha256(f"{marks} {self.sweep_seed}".encode()).hexdigest()[:16]
        swept = self.search.run(
            self._sweep, self.trainings.store, self.task.name, self._mark(), self.trainings.executor.width
        )
        nearby = self._refined(swept)
        short, tried = self._choose([*swept, *nearby])
        contenders = self._contenders(short)
        seeds = self.report_seeds
        self.trainings.total = self.trainings.done + len(contenders) * len(seeds) + 1
        records = self.trainings.records("report", [(c, s) for c in contenders.values() for s in seeds])
        own = {role: records[i * len(seeds) : (i + 1) * len(seeds)] for i, role in enumerate(contenders)}
        rows = [contender_row(role, candidate, own[role], self.task) for role, candidate in contenders.items()]
        tested = ByPart(
            len(self.task.data.test_x),
            {role: {record["seed"]: record.get("by_part", {}) for record in its} for role, its in own.items()},
        )
        self.fitted = self.trainings.fitted(self.winner, seeds[0], refit, tail)
        found = {
            "name": self.task.name,
            "folds": len(self.tasks),
            "trials": [trial_row(i, candidate, record) for i, (candidate, record) in enumerate(swept)],
            "refined": [trial_row(len(swept) + i, *pair) for i, pair in enumerate(nearby)],
            "choice": tried,
            "winner": winner_row(self.winner, self.task),
            "contenders": rows,
            "comparisons": comparisons(rows, tested),
            "test_examples": tested.examples,
            "fit": {name: value for name, value in self.fitted.record.items() if name not in ("key", "stage", "task")},
        }
        noise = [said for said in self.task.data.provenance.steps if "label noise" in said]
        return {**found, "facts": facts(found, noise), "advice": advice(found)}

    def _mark(self) -> str:
        """Return what is swept, by which a search knows its trials again."""
        marks = [self.trainings.mark(task) for task in self.tasks]
        return " ".join([*marks, *([] if self.halving is None else [str(self.halving)])])

    def _sweep(self, candidates: Sequence[Candidate]) -> list[Record]:
        """Return the record of each candidate; of several folds only the first is judged at rungs, and the rest left to train."""
        pairs = [(candidate, self.sweep_seed) for candidate in candidates]
        found = [[record] for record in self.trainings.records("sweep", pairs, self.halving, self.tasks[0])]
        left = [i for i, (record,) in enumerate(found) if record["stopped_at"] is None]
        for task in self.tasks[1:]:
            more = self.trainings.records("sweep", [pairs[i] for i in left], task=task)
            for i, record in zip(left, more, strict=True):
                found[i].append(record)
        records = [merged(each) for each in found]
        for record in records if self.trainings.folded else ():
            self.trainings.note(record)
        return records

    def _refined(self, swept: Sequence[tuple[Candidate, Record]]) -> list[tuple[Candidate, Record]]:
        """Return plans around the best, with what they gave; a round begins at the best of all before it."""
        found: list[tuple[Candidate, Record]] = []
        for part in self.rounds:
            known = [*swept, *found]
            best = [
                candidate for candidate, record in sorted(known, key=lambda pair: rank(pair[1])) if rank(record)[0] == 0
            ]
            new = refined(self.search.space, best, part, [candidate for candidate, _ in known])
            found += zip(new, self._sweep(new), strict=True)
        return found

    def _choose(self, swept: Sequence[tuple[Candidate, Record]]) -> tuple[list[Candidate], list[dict[str, Any]]]:
        """Return the shortlist by mean validation loss over the choice seeds, the winner first, and what each did."""
        order = sorted(range(len(swept)), key=lambda i: rank(swept[i][1]))
        if swept[order[0]][1]["diverged"]:
            raise self._lost(swept)
        ranked = [swept[i][0] for i in order]
        flat = [c for c in ranked if c.is_constant]
        kinds = [  # every role needs its candidates, whoever wins
            [c for c in ranked if c.lam == 0.0],
            [c for c in ranked if c.lam > 0.0],
            flat,
            [c for c in ranked if not c.is_constant],
        ]
        neither = [c for c in flat if c.lam == 0.0]
        chosen = [*ranked[:_SHORTLIST], *(c for kind in kinds for c in kind[:2]), *neither[:1]]
        short = list(dict.fromkeys(chosen))
        rounds = len(self.choice_seeds)
        self.trainings.total = self.trainings.done + len(short) * rounds + _CONTENDERS * len(self.report_seeds) + 1
        found: list[list[list[Record]]] = [[] for _ in short]  # by fold
        for i, task in enumerate(self.tasks):  # every fold from seeds of its own
            seeds = self.choice_seeds[i :: len(self.tasks)]
            records = self.trainings.records("choice", [(c, s) for c in short for s in seeds], task=task)
            for place, own in enumerate(found):
                own.append(records[place * len(seeds) : (place + 1) * len(seeds)])
        losses = [float(np.mean([loss(record) for fold in folds for record in fold])) for folds in found]
        best = sorted(range(len(short)), key=lambda i: losses[i])
        if losses[best[0]] == math.inf:
            raise self._lost(swept)
        before = {swept[i][0]: swept[i][1] for i in reversed(order)}  # of a plan asked for twice the better
        return [short[i] for i in best], [choice_row(short[i], found[i], before[short[i]]) for i in best]

    def _lost(self, swept: Sequence[tuple[Candidate, Record]]) -> DivergedError:
        lowest = min(candidate.peak for candidate, _ in swept)
        return DivergedError(f"every trial of {self.task.name} diverged; give lower peaks than {lowest:g}.")

    def _contenders(self, best: Sequence[Candidate]) -> dict[str, Candidate]:
        """Return who plays which role in the report."""
        self.winner = winner = best[0]
        decays, falls = winner.lam > 0, not winner.is_constant
        roles: dict[str, Candidate | None] = {
            "winner": winner,
            "no weight decay": next((c for c in best if c.lam == 0.0 and decays), None),
            "weight decay": next((c for c in best if c.lam > 0.0 and not decays), None),
            "constant lr": next((c for c in best if c.is_constant and falls), None),
            "falling lr": next((c for c in best if not c.is_constant and not falls), None),
            "neither": next((c for c in best if c.is_constant and c.lam == 0.0 and decays and falls), None),
            "winner without weight decay": _without_decay(winner) if decays else None,
            "winner at constant lr": _at_constant(winner) if falls else None,
        }
        return {role: candidate for role, candidate in roles.items() if candidate is not None}


def _without_decay(c: Candidate) -> Candidate:
    return replace(c, plan=replace(c.plan, decay=None), lam=0.0, at=())


def _at_constant(c: Candidate) -> Candidate:
    return replace(c, plan=replace(c.plan, schedule=Constant()), schedule=Constant(), at=())


def _seeds(seed: int, stage: int, n: int) -> list[int]:
    """Return n seeds for a stage, drawn by hashing (seed, stage), so that neighbouring studies share none."""
    return [int(s) for s in np.random.SeedSequence([seed, stage]).generate_state(n)]
