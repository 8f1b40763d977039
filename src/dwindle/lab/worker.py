"""A worker process of the lab: reads questions from stdin, one after the other, and writes the answers to stdout."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress

from dwindle.lab.api import Given, answer

__all__: list[str] = []


def _main(memory: int, seconds: float, given: Given) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory)
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    while line := sys.stdin.buffer.readline():
        call, length = line.split()
        body = sys.stdin.buffer.read(int(length))
        if hasattr(signal, "alarm"):  # of a worker whose server is gone
            signal.alarm(int(seconds) + 2)
        status, told = answer(call.decode("ascii"), body, given)
        del body
        if hasattr(signal, "alarm"):
            signal.alarm(0)
        out.write(b"%d %d\n" % (status, len(told)))
        out.write(told)
        out.flush()


def _limit(memory: int) -> None:
    """Let the system refuse this process more than ``memory`` bytes of data, where it can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


if __name__ == "__main__":
    _main(int(sys.argv[1]), float(sys.argv[2]), Given.from_json(sys.argv[3]))
