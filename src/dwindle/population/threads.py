"""Chunks of members on the threads of a pool, for both kinds of networks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence, Sized
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from dwindle.errors import DwindleError

__all__ = ["StoppedError", "cores", "in_threads"]

Members = TypeVar("Members", bound=Sized)

POLL_SECONDS = 0.1


class StoppedError(DwindleError):
    """The caller's ``stop`` ended the training before its last step; nothing of it is kept."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    chunks: Sequence[Members],
    threads: int,
    steps: int,
    train: Callable[[int, Members, Callable[[], bool], Callable[[int], None]], None],
    progress: Callable[[int, int], None],
    stop: Callable[[], bool],
    kept: str,
) -> None:
    """Call ``train(number, chunk, stopped, tick)`` for every chunk; ``progress`` hears the member-steps that ``tick`` tells of.

    Raises StoppedError, which says what is ``kept``, as soon as ``stop()`` says so; ``stopped()`` is true from then on.
    """
    done, total = [0] * len(chunks), sum(map(len, chunks)) * steps
    leave = threading.Event()

    def work(number: int) -> None:
        members = chunks[number]

        def tick(step: int) -> None:
            done[number] = step * len(members)

        train(number, members, leave.is_set, tick)
        if not leave.is_set():
            done[number] = steps * len(members)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="dwindle")
    try:
        pending: set[Future[None]] = {pool.submit(work, number) for number in range(len(chunks))}
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
            for future in finished:
                future.result()
            progress(sum(done), total)
            if pending and stop():
                raise StoppedError(f"training was stopped after {sum(done)} of {total} member-steps{kept}")
    finally:
        leave.set()  # whatever ended the loop, the pool's threads are gone within a step
        pool.shutdown(cancel_futures=True)
