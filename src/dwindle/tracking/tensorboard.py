"""TensorBoard: a folder of its own for each training, with one event file, written whole or not at all."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwindle.durable import write_whole
from dwindle.tracking.trackers import package
from dwindle.tracking.training import curves, finals, hyperparameters

__all__ = ["TensorBoard"]


class TensorBoard:
    """Trainings as runs under ``folder``/tensorboard, named by their keys, with hyperparameters for its HPARAMS page."""

    name = "tensorboard"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tensorboard"
        records = package("tensorboard", "tensorboard.summary.writer.record_writer")
        self._records = records.RecordWriter
        self._event = package("tensorboard", "tensorboard.compat.proto.event_pb2").Event
        self._summary = package("tensorboard", "tensorboard.compat.proto.summary_pb2").Summary
        self._hparams = package("tensorboard", "tensorboard.plugins.hparams.summary_v2").hparams_pb

    @property
    def place(self) -> str:
        return str(self.folder)

    def write(self, record: Mapping[str, Any]) -> None:
        place = self.folder / record["key"]
        if any(place.glob("events.out.tfevents.*")):
            return
        now = time.time()
        place.mkdir(parents=True, exist_ok=True)
        write_whole(place / f"events.out.tfevents.{int(now)}.dwindle", self._bytes(record, now))

    def _bytes(self, record: Mapping[str, Any], now: float) -> bytes:
        buffer = io.BytesIO()
        file = self._records(buffer)

        def add(step: int, **what: Any) -> None:
            file.write(self._event(wall_time=now, step=step, **what).SerializeToString())

        rows = curves(record)
        add(0, file_version="brain.Event:2")
        add(0, summary=self._hparams(hyperparameters(record), trial_id=record["key"], start_time_secs=now))
        for point in rows:
            add(point.step, summary=self._scalars(point.values))
        add(rows[-1].step if rows else 0, summary=self._scalars(finals(record)))
        return buffer.getvalue()

    def _scalars(self, row: Mapping[str, float]) -> Any:
        return self._summary(value=[self._summary.Value(tag=tag, simple_value=value) for tag, value in row.items()])
