"""The threads of a pass: torch's own, for one more team would get in their way, and one alone where a second would not pay."""

from __future__ import annotations

import ctypes
import math
import os
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

__all__ = ["MOST", "Threads"]

MOST = 64  # threads that a job has room for
_FEW = 2**15  # numbers: below, a second thread costs more than it brings
_TRIAL = 64  # passes until the other way is tried again; twice as many each time it is no better, to a thousand

_child: list[int] = []  # a forked child has none of its parent's threads
os.register_at_fork(after_in_child=lambda: _child.append(os.getpid()))


def _team() -> Any:
    """Return GOMP_parallel(function, data, threads, flags) of the OpenMP that torch runs on; None where it is another."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        call = library.GOMP_parallel
    except (OSError, AttributeError):
        return None
    call.argtypes, call.restype = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_uint, ctypes.c_uint], None
    return call


_parallel = _team()
_Alone = ctypes.CFUNCTYPE(None, ctypes.c_int64)


class Threads:
    """One compiled function of a job's address, and the threads that run it over ``numbers`` numbers.

    Where another process holds a core, a pass on several threads waits whole time slices of the system for one that does
    not come, many times what the pass takes. So the usual time of either way is kept, and the quicker one is taken.
    """

    __slots__ = ("_address", "_alone", "_left", "_many", "_usual", "_wait")

    def __init__(self, function: Any, numbers: int) -> None:
        self._address, self._alone = function.address, _Alone(function.address)
        self._many = numbers >= _FEW and _parallel is not None
        self._usual, self._left, self._wait = [math.inf, math.inf], 2, _TRIAL  # alone, together; passes until a trial

    def count(self) -> int:
        """Return how many threads the next run has."""
        if not self._many or _child:
            return 1
        together = self._usual[1] <= self._usual[0]
        return min(torch.get_num_threads(), MOST) if together is not (self._left == 0) else 1

    def run(self, job: int, count: int) -> None:
        """Run the function on the job at this address, which is made ready for ``count`` threads."""
        if not self._many:
            self._alone(job)
            return
        begun = perf_counter()
        if count == 1:
            self._alone(job)
        else:
            _parallel(self._address, job, count, 0)
        self._learn(int(count > 1), perf_counter() - begun)

    def _learn(self, way: int, took: float) -> None:
        """Believe a quick pass soon, and a slow one as far as it goes: eight in a row, or one that takes eight times as long."""
        usual = self._usual[way]
        self._usual[way] = took if usual == math.inf else usual + (took - usual) / (2.0 if took < usual else 8.0)
        if self._left:
            self._left -= 1
            return
        better = self._usual[way] < self._usual[1 - way]
        self._wait = _TRIAL if better else min(2 * self._wait, 1024)
        self._left = self._wait
