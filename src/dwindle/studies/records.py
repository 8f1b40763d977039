"""What is trained together, and what is kept of each training: plain data, as the store and the reports have it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dwindle.studies.by_part import by_part
from dwindle.studies.halving import Halving
from dwindle.studies.space import Candidate
from dwindle.studies.task import Task
from dwindle.studies.trained import Trained

__all__ = ["Batch", "Record", "of_size", "plain", "trained"]

Record = dict[str, Any]


class Batch(NamedTuple):
    """Trainings of one ``stage`` and batch size done at once: the key of each in the store, what is trained, from which seed.

    ``halving``: let those go that are behind at its rungs. ``folder``: where to keep what a long training has reached.
    """

    stage: str
    keys: tuple[str, ...]
    candidates: tuple[Candidate, ...]
    seeds: tuple[int, ...]
    halving: Halving | None = None
    folder: str | None = None


def trained(
    task: Task,
    batch: Batch,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
    workers: int | None = None,
) -> list[Record]:
    """Train a batch and return a record of each training: the same with any number of workers, of own models to rounding."""
    task = of_size(task, batch.candidates[0])
    plans = [candidate.plan for candidate in batch.candidates]
    result = task.train(
        plans,
        list(batch.seeds),
        progress=progress,
        stop=stop,
        workers=workers,
        folder=batch.folder,
        **_judged(task, batch),
    )
    parts = by_part(task, result, batch.seeds) if batch.stage == "report" else {}
    return [_record(task, batch, result, k, parts) for k in range(len(plans))]


def _judged(task: Task, batch: Batch) -> dict[str, Any]:
    if batch.halving is None:
        return {}
    groups = [str(candidate.params.get("schedule", candidate.schedule)) for candidate in batch.candidates]
    judge = batch.halving.judge(groups, task.evaluations)
    return {"judge": judge, "judge_at": judge.steps} if judge.steps else {}


def of_size(task: Task, candidate: Candidate) -> Task:
    """Return the task with the batch size of the candidate, where it has one."""
    return task if candidate.batch_size is None else replace(task, batch_size=candidate.batch_size)


def _record(task: Task, batch: Batch, result: Trained, k: int, parts: Mapping[str, NDArray[np.float64]]) -> Record:
    none = np.full(result.train_loss.shape, np.nan)
    curves = {
        "train_loss": plain(result.train_loss[k]),
        "train_accuracy": plain(result.train_metrics.get("accuracy", none)[k]),
        "validation_loss": plain(result.validation_loss[k]),
        "validation_accuracy": plain(result.validation_metrics.get("accuracy", none)[k]),
    }
    others = sorted(result.test_metrics.keys() - {"accuracy"})
    let_go = not result.diverged[k] and result.stopped_at[k] < result.step[-1]
    candidate = batch.candidates[k]
    return {
        "key": batch.keys[k], "stage": batch.stage, "task": task.name, "seed": batch.seeds[k],
        "lam": candidate.lam, "peak": candidate.peak, "schedule": str(candidate.schedule), "plan": str(candidate.plan),
        "batch_size": task.batch_size,
        "diverged": bool(result.diverged[k]),
        "stopped_at": float(result.stopped_at[k]) / task.steps_per_epoch if let_go else None,
        "final": {name: curve[-1] for name, curve in curves.items()},
        "test_loss": plain(result.test_loss[k]), "test_accuracy": plain(result.test_metrics.get("accuracy", none[:, -1])[k]),
        "metrics": {
            "test": {name: plain(result.test_metrics[name][k]) for name in others},
            "validation": {name: plain(result.validation_metrics[name][k]) for name in others},
        },
        # For what other test examples would say.
        "by_part": {name: values[k].tolist() for name, values in parts.items() if np.isfinite(values[k]).all()},
        "curve": {
            "epoch": [float(s) / task.steps_per_epoch for s in result.step], **curves,
            "weight_norm": plain(np.sqrt(result.squared_norm[k])),
        },
    }  # fmt: skip


def plain(values: Any) -> Any:
    """Return numbers as JSON has them: None for NaN and infinities.

    >>> plain(np.array([0.5, np.nan]))
    [0.5, None]
    """
    if np.ndim(values) == 0:
        return float(values) if math.isfinite(values) else None
    return [plain(v) for v in values]
