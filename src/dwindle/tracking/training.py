"""The record of a training as trackers have it: hyperparameters, figures at the end, and curves by epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Point", "curves", "finals", "hyperparameters", "title"]

_HYPERPARAMETERS = ("task", "stage", "plan", "lam", "peak", "schedule", "seed", "batch_size")


class Point(NamedTuple):
    """What an evaluation measured. The ``step`` is the epoch; if some fall between epochs, the number of the evaluation.

    Trackers have whole steps; ``epoch`` is then among the ``values``.
    """

    step: int
    epoch: float
    values: dict[str, float]


def hyperparameters(record: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Return what the training was given, those settings left out that it does not have.

    >>> hyperparameters({"stage": "sweep", "lam": 0.0, "batch_size": None, "test_loss": 0.5})
    {'stage': 'sweep', 'lam': 0.0}
    """
    return {name: record[name] for name in _HYPERPARAMETERS if record.get(name) is not None}


def finals(record: Mapping[str, Any]) -> dict[str, float]:
    """Return the figures at the end, ``diverged`` as 0 or 1, ``stopped_at`` the epoch where it was let go.

    What is not finite is left out.

    >>> finals({"final": {"train_loss": None, "validation_loss": 0.5}, "test_loss": 0.25, "diverged": False})
    {'final/validation_loss': 0.5, 'test_loss': 0.25, 'diverged': 0.0}
    """
    found = {f"final/{name}": value for name, value in record["final"].items()}
    found |= {name: record.get(name) for name in ("test_loss", "test_accuracy", "stopped_at")}
    found |= {f"test_{name}": value for name, value in record.get("metrics", {}).get("test", {}).items()}
    found["diverged"] = float(record["diverged"])
    return {name: float(value) for name, value in found.items() if value is not None}


def curves(record: Mapping[str, Any]) -> list[Point]:
    """Return what was measured at each evaluation, those left out where nothing finite was.

    >>> curves({"curve": {"epoch": [0.0, 2.0, 4.0], "train_loss": [0.7, 0.5, None]}})
    [Point(step=0, epoch=0.0, values={'train_loss': 0.7}), Point(step=2, epoch=2.0, values={'train_loss': 0.5})]
    """
    measured = {name: values for name, values in record["curve"].items() if name != "epoch"}
    for part, metrics in record.get("metrics", {}).items():
        measured |= {f"{part}_{name}": values for name, values in metrics.items() if isinstance(values, list)}
    epochs = [float(epoch) for epoch in record["curve"]["epoch"]]
    whole = all(epoch.is_integer() for epoch in epochs)
    found = []
    for i, epoch in enumerate(epochs):
        values = {name: float(curve[i]) for name, curve in measured.items() if curve[i] is not None}
        if values:
            found.append(Point(int(epoch), epoch, values) if whole else Point(i, epoch, {"epoch": epoch, **values}))
    return found


def title(record: Mapping[str, Any]) -> str:
    """Return the name that a person reads: the stage and the plan."""
    return f"{record['stage']} {record['plan']}"[:128]
