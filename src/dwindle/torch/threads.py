"""The threads of a pass: torch's own, for one more team would get in their way, and one alone where a second would not pay."""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import torch

__all__ = ["MOST", "TEAM", "Threads"]

MOST = 64  # threads that a job has room for
_FEW = 2**15  # numbers: below, a second thread costs more than it brings
_TRIAL = 4  # passes: a thread that sleeps is late at the first of them
_SOON, _LATE = 8, 1024  # passes until the other way is tried again, twice as many each time it is soon found no better
_LONG = 16  # waits: a way that was kept for so many was the better one

_child: list[int] = []  # a forked child has none of its parent's threads
os.register_at_fork(after_in_child=lambda: _child.append(os.getpid()))


def _team() -> int:
    """Return where GOMP_parallel(function, data, threads, flags) of the OpenMP that torch runs on is; 0 if it is another."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return ctypes.cast(library.GOMP_parallel, ctypes.c_void_p).value or 0
    except (OSError, AttributeError):
        return 0


TEAM = _team()


class Threads:
    """How many threads a pass over ``numbers`` numbers has.

    Where another process holds a core, a pass on several threads waits whole time slices of the system for one that does
    not come, many times what the pass takes. So the usual time of either way is kept, and the quicker one is taken.
    """

    __slots__ = ("_kept", "_left", "_many", "_usual", "_wait")

    def __init__(self, numbers: int) -> None:
        self._many = numbers >= _FEW and TEAM != 0
        self._usual, self._kept = [math.inf, math.inf], 0  # alone, together; passes since the last change
        self._left, self._wait = 2, _SOON  # passes until a trial, and from one to the next

    def count(self) -> int:
        """Return how many threads the next run has."""
        if not self._many or _child:
            return 1
        return min(torch.get_num_threads(), MOST) if self._together() is not (self._left <= 0) else 1

    def run(self, function: Callable[[int], None], job: int, count: int) -> None:
        """Run ``function`` on the job at this address, which is to have ``count`` threads."""
        if not self._many:
            function(job)
            return
        begun = perf_counter()
        function(job)
        self._learn(int(count > 1), perf_counter() - begun)

    def _learn(self, way: int, took: float) -> None:
        """Believe a quick pass soon, and slow ones when there are eight in a row, or one that takes eight times as long.

        An interrupted pass may take a hundred times as long: that is counted as sixteen, and soon looked at again.
        """
        usual, trial, before = self._usual[way], self._left <= 0, self._together()
        took = min(took, 16.0 * usual)
        self._usual[way] = took if usual == math.inf else usual + (took - usual) / (2.0 if took < usual else 8.0)
        self._left, self._kept = self._left - 1, self._kept + 1
        if self._together() is not before:
            self._left = self._wait = _SOON if self._kept > _LONG * self._wait else min(2 * self._wait, _LATE)
            self._kept = 0
        elif self._left == -_TRIAL or (trial and took > 8.0 * self._usual[1 - way]):
            self._left = self._wait = min(2 * self._wait, _LATE)

    def _together(self) -> bool:
        return self._usual[1] <= self._usual[0]
