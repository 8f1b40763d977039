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
_ALONE = 32  # passes to go alone after a thread that did not come; twice as many each time, to a thousand

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

    Where another process holds a core, a parallel pass waits for its thread a whole time slice of the system, many times
    what the pass itself takes. A pass that took four times the fastest one, and a millisecond more, sends the next ones
    alone.
    """

    __slots__ = ("_address", "_alone", "_fastest", "_function", "_many", "_wait", "_waiting")

    def __init__(self, function: Any, numbers: int) -> None:
        self._function, self._address, self._alone = function, function.address, _Alone(function.address)
        self._many = numbers >= _FEW and _parallel is not None
        self._waiting, self._wait, self._fastest = 0, _ALONE, math.inf

    def count(self) -> int:
        """Return how many threads the next run has."""
        if not self._many or _child:
            return 1
        if self._waiting:
            self._waiting -= 1
            return 1
        return min(torch.get_num_threads(), MOST)

    def run(self, job: int, count: int) -> None:
        """Run the function on the job at this address, which is made ready for ``count`` threads."""
        if count == 1:
            self._alone(job)
            return
        begun = perf_counter()
        _parallel(self._address, job, count, 0)
        took = perf_counter() - begun
        if took > 4.0 * self._fastest and took > self._fastest + 1e-3:
            self._waiting, self._wait = self._wait, min(2 * self._wait, 1024)
        else:
            self._wait, self._fastest = _ALONE, min(self._fastest, took)
