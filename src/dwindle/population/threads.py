"""Chunks of members on the threads of a pool, for both kinds of networks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeAlias, TypeVar

from dwindle.errors import DwindleError

__all__ = ["Stopped", "StoppedError", "Tell", "cores", "in_threads"]

Made = TypeVar("Made")
Stopped: TypeAlias = Callable[[], bool]
Tell: TypeAlias = Callable[[int], None]

POLL_SECONDS = 0.1


class StoppedError(DwindleError):
    """The caller's ``stop`` ended the training before its last step; the message says what of it is kept."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(
    chunks: Sequence[Callable[[Stopped, Tell], Made]],
    begun: Sequence[int],
    total: int,
    threads: int,
    progress: Callable[[int, int], None],
    stop: Stopped,
    kept: str,
) -> list[Made]:
    """Call every ``chunk(stopped, tell)`` and return what they gave, in their order.

    ``tell(done)`` says how many member-steps a chunk has done; ``begun``: how many each had done before, and behind these
    what is done in no chunk. ``progress`` hears the sum, of ``total``. Raises StoppedError, which says what is ``kept``, as
    soon as ``stop()`` says so; ``stopped()`` is true from then on.
    """
    done = list(begun)
    leave = threading.Event()

    def work(number: int) -> Made:
        def tell(steps: int) -> None:
            done[number] = steps

        return chunks[number](leave.is_set, tell)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="dwindle")
    try:
        futures = [pool.submit(work, number) for number in range(len(chunks))]
        pending: set[Future[Made]] = set(futures)
        while pending:
            finished, pending = wait(pending, POLL_SECONDS, FIRST_EXCEPTION)
            for future in finished:
                future.result()
            progress(sum(done), total)
            if pending and stop():
                raise StoppedError(f"training was stopped after {sum(done)} of {total} member-steps{kept}")
        return [future.result() for future in futures]
    finally:
        leave.set()  # whatever ended the loop, the pool's threads are gone within a step
        pool.shutdown(cancel_futures=True)
