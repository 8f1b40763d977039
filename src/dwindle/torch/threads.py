"""How many threads a pass runs on: torch's number of them, and one where a second would not pay or does not come."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from threading import Lock
from time import perf_counter
from typing import Any

import numba
import torch

__all__ = ["Threads"]

_FEW = 2**15  # numbers: below, a second thread costs more than it brings
_ALONE = 32  # passes to go alone after a thread that did not come; twice as many each time, to a thousand

_lock = Lock()  # not every threading layer of numba bears two callers at once
_child: list[int] = []  # a forked child has none of its parent's threads, and OpenMP stops a process that asks for them
os.register_at_fork(after_in_child=lambda: _child.append(os.getpid()))


class Threads:
    """The threads for one kind of pass over ``numbers`` numbers.

    Where another process holds a core, a parallel pass waits for its thread a whole time slice of the system, many times
    what the pass itself takes. A pass that took four times the fastest one, and a millisecond more, sends the next ones
    alone.
    """

    __slots__ = ("_alone", "_fastest", "_many", "_wait")

    def __init__(self, numbers: int) -> None:
        self._many, self._alone, self._wait, self._fastest = numbers >= _FEW, 0, _ALONE, math.inf

    def run(self, serial: Callable[..., float], parallel: Callable[..., float], *args: Any) -> float:
        """Return ``serial(*args)`` or ``parallel(*args)``, the same function compiled in two ways."""
        count = torch.get_num_threads() if self._many and not _child else 1
        if count == 1:
            return serial(*args)
        if self._alone:
            self._alone -= 1
            return _on(1, parallel, args)
        begun = perf_counter()
        result = _on(count, parallel, args)
        took = perf_counter() - begun
        if took > 4.0 * self._fastest and took > self._fastest + 1e-3:
            self._alone, self._wait = self._wait, min(2 * self._wait, 1024)
        else:
            self._wait, self._fastest = _ALONE, min(self._fastest, took)
        return result


def _on(count: int, parallel: Callable[..., float], args: tuple[Any, ...]) -> float:
    with _lock:
        before = numba.get_num_threads()
        numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
        try:
            return parallel(*args)
        finally:
            numba.set_num_threads(before)
