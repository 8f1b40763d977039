"""The last training: the winner once more, its weights kept."""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dwindle.durable import write_whole
from dwindle.errors import DataError
from dwindle.studies.folds import with_validation
from dwindle.studies.records import Record, of_size, plain
from dwindle.studies.space import Candidate
from dwindle.studies.store import Store
from dwindle.studies.task import Task

__all__ = ["Fit", "fit", "slug", "tails"]

Weights = dict[str, NDArray[Any]]


class Fit(NamedTuple):
    """The record of the last training, and the weights: those of ``torch.nn.Sequential(Linear, ...)`` for a perceptron."""

    record: Record
    weights: Weights


def fit(
    task: Task, winner: Candidate, seed: int, store: Store, *, mark: str, refit: bool, tail: str,
    progress: Callable[[int, int], None], stop: Callable[[], bool],
) -> Fit:  # fmt: skip
    """Train ``winner`` from ``seed``, with ``refit`` on the validation rows too; keep its weights in the store's folder.

    There they are weights.npz with the ``tail`` of the task, to be read by ``numpy.load``. ``mark``: the task's fingerprint.
    """
    task = of_size(task, winner)
    if refit:
        task = replace(task, data=with_validation(task.data))
    size = "" if winner.batch_size is None else f" batch {winner.batch_size}"
    key = hashlib.sha256(f"fit {mark} {winner.plan} {seed}{size}{' refit' * refit}".encode()).hexdigest()[:24]
    path = None if store.folder is None else store.folder / f"weights{tail}.npz"
    kept = store.records.get(key)
    weights = _read(path, kept["sha256"]) if kept is not None and path is not None else None
    if kept is not None and weights is not None:
        return Fit(kept, weights)
    result = task.train([winner.plan], [seed], progress=progress, stop=stop)
    weights = result.state_dict(0)
    content = _npz(weights)
    record = {
        "key": key, "stage": "fit", "task": task.name, "plan": str(winner.plan), "seed": seed, "rows": len(task.data.train_x),
        "validation_rows_seen": refit, "test_loss": plain(result.test_loss[0]),
        "test_metrics": {metric: plain(values[0]) for metric, values in result.test_metrics.items()},
        "sha256": hashlib.sha256(content).hexdigest(),
    }  # fmt: skip
    if path is not None:
        try:
            write_whole(path, content)
        except OSError as error:
            raise DataError(
                f"the weights cannot be written to {path}: {error.strerror}. Finished trainings are kept; run again to go on."
            ) from error
    if record != kept:  # else weights.npz was lost, and is there again
        store.add([record])
    return Fit(record, weights)


def tails(names: Iterable[str]) -> list[str]:
    """Return what the files of each task of a study are called behind weights or plan: nothing for the first, -NAME for others.

    >>> tails(["clean", "fold 0", "fold-0", "20 % label noise"])
    ['', '-fold-0', '-fold-0-2', '-20-label-noise']
    """
    found = [""]
    for name in list(names)[1:]:
        numbered = (f"-{slug(name)}" + (f"-{i}" if i > 1 else "") for i in itertools.count(1))
        taken = {tail.lower() for tail in found}  # to some file systems A is a
        found.append(next(tail for tail in numbered if tail.lower() not in taken))
    return found


def slug(text: str) -> str:
    """Return ``text`` as part of a file's name.

    >>> slug("20 % label noise")
    '20-label-noise'
    """
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text).strip("-") or "study"


def _npz(weights: Weights) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **weights)  # type: ignore[arg-type]  # a file of its own for each array, none of them pickled
    return buffer.getvalue()


def _read(path: Path, sha256: str) -> Weights | None:
    """Return the weights in a file, None if it is not the one that was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    except (ValueError, OSError, zipfile.BadZipFile):  # somebody else wrote it, and its sum into the record
        return None
