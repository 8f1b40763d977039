"""Where the trainings of a study are done: here, or in processes of this machine. A cluster is one more executor.

An executor is handed batches and yields each one's records as it is done, in any order. What it yields does not depend on
where it was trained: the population's law, member k is bit for bit the network trained alone (a model of one's own to rounding).
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol

from dwindle.errors import DwindleError, count
from dwindle.population import StoppedError
from dwindle.population.threads import cores
from dwindle.studies.records import Batch, Record, trained
from dwindle.studies.task import Task

__all__ = ["Executor", "Here", "LostError", "Processes"]

Tell = Callable[[int, float], None]
Stop = Callable[[], bool]

_POLL_SECONDS = 0.1
_TRIES = 4  # of a batch whose worker died
STOPPED = "the study was stopped; finished trainings are kept, call it again to go on."


class LostError(DwindleError):
    """The worker of a batch died again and again; what other batches gave is kept."""

    exit_code = 1  # of the command line: a failed run, no bad input


class Executor(Protocol):
    """Anything that trains batches of a task, ``width`` of them at once."""

    width: int

    def run(self, task: Task, batches: Sequence[Batch], tell: Tell, stop: Stop) -> Iterator[tuple[int, list[Record]]]:
        """Yield (place in ``batches``, records) of each as it is done; call ``tell(place, share done)`` on the way.

        Raises StoppedError as soon as ``stop()`` says so, whatever is unfinished then.
        """
        ...


class Here:
    """One batch after the other in this process, on ``workers`` threads, all cores unless given."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = None if workers is None else count("workers", workers)
        self.width = 1

    def run(self, task: Task, batches: Sequence[Batch], tell: Tell, stop: Stop) -> Iterator[tuple[int, list[Record]]]:
        for place, batch in enumerate(batches):
            if stop():
                raise StoppedError(STOPPED)

            def tick(done: int, total: int, place: int = place) -> None:
                tell(place, done / max(total, 1))

            yield place, trained(task, batch, tick, stop, self.workers)


class Processes:
    """Several batches at once, each in one of ``processes`` workers of this machine, which share its cores.

    A batch whose worker is killed is trained again, three times at most. Every worker imports the script that calls: there
    the call stands under ``if __name__ == "__main__":``.
    """

    def __init__(self, processes: int | None = None) -> None:
        here = cores()
        self.processes = count("processes", here if processes is None else processes)
        self.workers = max(1, here // self.processes)
        self.width = self.processes

    def run(self, task: Task, batches: Sequence[Batch], tell: Tell, stop: Stop) -> Iterator[tuple[int, list[Record]]]:
        task.check_sendable()
        left = dict(enumerate(batches))
        for _ in range(_TRIES):
            try:
                for place, records in self._run(task, left, stop):
                    del left[place]
                    yield place, records
            except BrokenProcessPool:
                continue
            return
        raise LostError(
            f"{sum(len(batch.keys) for batch in left.values())} trainings were not done: their worker died {_TRIES} times. Is "
            "the study called in a script without if __name__ == '__main__':, which every worker imports? Or is there too little "
            "memory? Then run it again with fewer processes; what is finished is kept."
        )

    def _run(self, task: Task, batches: dict[int, Batch], stop: Stop) -> Iterator[tuple[int, list[Record]]]:
        # spawned, not forked: this process has threads, and a copy of a lock that one of them holds is never given free
        context = multiprocessing.get_context("spawn")
        size = min(self.processes, max(len(batches), 1))
        pool = ProcessPoolExecutor(size, context, _receive, (task, self.workers))
        try:
            pending: dict[Future[list[Record]], int] = {pool.submit(_work, b): i for i, b in batches.items()}
            while pending:
                done, _ = wait(pending, _POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    yield pending.pop(future), future.result()
                if pending and stop():
                    raise StoppedError(STOPPED)
        finally:
            for process in list((pool._processes or {}).values()):  # what they are at would otherwise be waited for
                process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)


_given: tuple[Task, int] | None = None


def _receive(task: Task, workers: int) -> None:
    global _given
    _given = (task, workers)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the study's is gone: killed, it cannot say so, and its workers would wait for more for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(batch: Batch) -> list[Record]:
    assert _given is not None
    return trained(_given[0], batch, workers=_given[1])
