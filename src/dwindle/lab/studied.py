"""What the lab says of a study: how far it is and its trials, read from its folder without touching it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dwindle.errors import DataError
from dwindle.studies.lock import owner_of
from dwindle.studies.store import TRIALS, record_in

__all__ = ["studied"]

_LONGEST = 256 * 2**20  # bytes of trials
_MOST = 20_000  # trials that are told
_MOST_LOSS = 2**1023  # whole numbers may have any length in JSON


def studied(folder: str) -> dict[str, Any]:
    """Return the state of the study in ``folder``, its trials by setting and the best of them, also while it runs.

    Where several studies of a setting have run there, with other epochs, seeds or folds, it is the one that trained last;
    ``trainings`` counts those of its sweep, choice and report.

    ``state``: "running" (a living process has it), "done" (the winner was fitted, which comes last), "stopped" (the same command
    goes on) or "empty". A trial is one plan of the sweep; its ``score`` is the mean validation loss at the end of its trainings,
    null where one of them diverged or was let go, at the epoch ``stopped_at``. ``best`` has the lowest score in the first of
    the ``settings``; ``best_of`` in each. ``winner_of`` is the plan that each chose, which need be no best of the sweep: null
    until it was fitted. ``left_out`` counts lines that cannot be read: one may be half written.

    Raises DataError where the trials cannot be read.
    """
    place = Path(folder)
    records, left_out = _records(place / TRIALS)
    settings = list(dict.fromkeys(record["task"] for record in records if isinstance(record["task"], str)))
    trained = [record for record in records if record["stage"] in _TRAININGS]
    last = {str(record["task"]): record["study"] for record in trained}
    own = [record for record in trained if record["study"] == last[str(record["task"])]]
    trials = _trials([record for record in own if record["stage"] == "sweep"])
    winner = {name: _winner([record for record in records if record["task"] == name]) for name in settings}
    best = {setting: _best([trial for trial in trials if trial["setting"] == setting]) for setting in settings}
    return {
        "folder": folder, "state": _state(place, records), "settings": settings, "trainings": len(own),
        "trials": trials[:_MOST], "best": best[settings[0]] if settings else None, "best_of": best, "winner_of": winner,
        "left_out": left_out,
    }  # fmt: skip


def _records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the records in a file of trials, the last of each key, and how many lines are none."""
    found: dict[str, dict[str, Any]] = {}
    left_out = 0
    try:
        if not path.is_file():
            return [], 0
        if path.stat().st_size > _LONGEST:
            raise DataError(f"{path}: more than {_LONGEST:,} bytes of trials, which the lab does not read.")
        with path.open("rb") as file:
            for raw in file:
                record = record_in(raw)
                if record is None:
                    left_out += bool(raw.strip())
                else:
                    found[record["key"]] = {name: record.get(name) for name in _TOLD}
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    return list(found.values()), left_out


_TOLD = (
    "key", "stage", "task", "study", "division", "lam", "peak", "schedule", "plan", "batch_size", "diverged", "stopped_at",
    "final",
)  # fmt: skip
_TRAININGS = ("sweep", "choice", "report")  # stages


def _trials(swept: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a trial for each plan of each setting; trainings of one on several folds are one trial.

    Of those on one fold the last counts: a training may be done again in other company, and be let go there or not.
    """
    groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for record in swept:
        trial = str(record["task"]), str(record["plan"]), str(record["batch_size"])
        groups.setdefault(trial, {})[str(record["division"] or record["key"])] = record
    return [_trial(setting, [*records.values()]) for (setting, *_), records in groups.items()]


def _trial(setting: str, records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = records[0]
    stops = [record["stopped_at"] for record in records if isinstance(record["stopped_at"], int | float)]
    diverged = any(record["diverged"] for record in records)
    losses = [_loss(record) for record in records]
    ended = not stops and not diverged and all(math.isfinite(loss) for loss in losses)
    return {
        **{name: first[name] for name in ("lam", "peak", "schedule", "plan", "batch_size")}, "setting": setting,
        "score": math.fsum(loss / len(losses) for loss in losses) if ended else None,
        "state": "done" if ended else "let go" if stops and not diverged else "diverged",
        "stopped_at": min(stops) if stops else None, "trainings": len(records),
    }  # fmt: skip


def _loss(record: dict[str, Any]) -> float:
    final = record["final"]
    value = final.get("validation_loss") if isinstance(final, dict) else None
    return float(value) if isinstance(value, int | float) and abs(value) < _MOST_LOSS else math.nan


def _best(trials: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return min(
        (trial for trial in trials if trial["score"] is not None), key=lambda trial: trial["score"], default=None
    )


def _winner(records: Sequence[dict[str, Any]]) -> str | None:
    """Return the plan that was fitted, None where trainings of a setting followed, of a study that has not come so far."""
    last = records[-1]
    return str(last["plan"]) if last["stage"] == "fit" else None


def _state(folder: Path, records: Sequence[dict[str, Any]]) -> str:
    with suppress(OSError):  # no lock
        if owner_of(folder) is not None:
            return "running"
    if not records:
        return "empty"
    return "done" if records[-1]["stage"] == "fit" else "stopped"
