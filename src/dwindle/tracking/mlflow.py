"""MLflow: a run for each training, found again by the tag ``dwindle.key``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwindle.tracking.trackers import package
from dwindle.tracking.training import curves, finals, hyperparameters, title

__all__ = ["Mlflow"]

_KEY = "dwindle.key"
_LONGEST = 500  # characters of a parameter that every server takes
_BATCH = 1000  # metrics that a server takes at once


class Mlflow:
    """Trainings as runs of an experiment named after ``folder``, on the server that MLFLOW_TRACKING_URI names.

    Without that variable they are where MLflow keeps them by itself; MLFLOW_EXPERIMENT_NAME names another experiment.
    """

    name = "mlflow"

    def __init__(self, folder: Path) -> None:
        os.environ.setdefault(
            "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3"
        )  # seven would try for minutes to reach a lost server
        self._mlflow = package("mlflow")
        self._entities = package("mlflow", "mlflow.entities")
        self.experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME") or f"dwindle/{folder.resolve().name}"
        self._id: str | None = None
        self._written: set[str] = set()
        self._unfinished: dict[str, str] = {}

    @property
    def place(self) -> str:
        return f"experiment {self.experiment} at {self._mlflow.get_tracking_uri()}"

    def write(self, record: Mapping[str, Any]) -> None:
        if self._id is None:
            self._open()
        key = record["key"]
        if key in self._written:
            return
        if key in self._unfinished:  # a kill left it half written
            self._client.delete_run(self._unfinished.pop(key))
        run = self._client.create_run(
            self._id, run_name=title(record), tags={_KEY: key, "mlflow.note.content": record["plan"]}
        )
        given = [self._entities.Param(name, str(value)[:_LONGEST]) for name, value in hyperparameters(record).items()]
        self._client.log_batch(run.info.run_id, params=given)
        measured = self._metrics(record)
        for at in range(0, len(measured), _BATCH):
            self._client.log_batch(run.info.run_id, metrics=measured[at : at + _BATCH])
        self._client.set_terminated(run.info.run_id)
        self._written.add(key)

    def _open(self) -> None:
        for noisy in ("mlflow", "alembic"):  # they tell of making their tables
            logging.getLogger(noisy).setLevel(logging.WARNING)
        self._client = self._mlflow.MlflowClient()
        found = self._client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else self._client.create_experiment(self.experiment)
        token = None
        while True:
            page = self._client.search_runs([place], max_results=1000, page_token=token)
            for run in page:
                self._remember(run)
            token = page.token
            if not token:
                break
        self._id = place

    def _remember(self, run: Any) -> None:
        key = run.data.tags.get(_KEY)
        if run.info.status == "FINISHED":
            self._written.add(key)
        elif key is not None:
            self._unfinished[key] = run.info.run_id

    def _metrics(self, record: Mapping[str, Any]) -> list[Any]:
        now, rows = int(1000 * time.time()), curves(record)
        measured = [(point.step, point.values) for point in rows] + [(rows[-1].step if rows else 0, finals(record))]
        return [
            self._entities.Metric(name, value, now, step) for step, values in measured for name, value in values.items()
        ]
