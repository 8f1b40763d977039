"""Trackers at work beside a study: each on a thread of its own, so that a slow or lost server holds nothing up."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dwindle.tracking.trackers import Tracker

__all__ = ["Tracking"]

_SAY_AFTER = 2.0  # seconds of waiting at the end
_LAST_MOMENT = 1.0  # seconds to end the training at hand when the study was interrupted


class Tracking:
    """Call it with the record of each finished training; ``with`` waits at its end until all of them are written.

    A tracker that fails is given up with one call of ``warn``. What it lacks then, or after an interruption, is written when
    the study is run again: trackers skip what they have. That it still waits at the end is said too, unless ``patient``.
    """

    def __init__(self, trackers: Sequence[Tracker], warn: Callable[[str], None], *, patient: bool = False) -> None:
        self._warn, self._patient = warn, patient
        self._writers = [_Writer(tracker, warn) for tracker in trackers]

    def __call__(self, record: Mapping[str, Any]) -> None:
        for writer in self._writers:
            writer.queue.put(record)

    def __enter__(self) -> Tracking:
        for writer in self._writers:
            writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for writer in self._writers:
            writer.queue.put(None)
        begun, said = time.monotonic(), self._patient
        if kind is not None:
            for writer in self._writers:
                writer.leave.set()
                writer.join(_LAST_MOMENT)
            return
        while busy := [writer for writer in self._writers if writer.is_alive()]:
            busy[0].join(0.1)
            if not said and time.monotonic() - begun > _SAY_AFTER:
                said = True
                left = ", ".join(f"{writer.queue.qsize()} for {writer.tracker.name}" for writer in busy)
                self._warn(f"still to be written: {left}. Ctrl-C leaves them to the next run of the same command.")


class _Writer(threading.Thread):
    def __init__(self, tracker: Tracker, warn: Callable[[str], None]) -> None:
        super().__init__(name=f"dwindle-{tracker.name}", daemon=True)
        self.tracker, self.warn = tracker, warn
        self.queue: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self.leave = threading.Event()

    def run(self) -> None:
        while (record := self.queue.get()) is not None and not self.leave.is_set():
            try:
                self.tracker.write(record)
            except Exception as error:  # of the tracker, its package or its server: nothing that may end a study
                said = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                self.warn(f"{self.tracker.name} is given up, the study goes on: {said}")
                return
