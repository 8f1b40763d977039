"""Processes that do what takes time or memory: few, each with a deadline, and replaced where one is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from dwindle.lab.limits import Limits
from dwindle.lab.refusal import Refusal

__all__ = ["Pool"]

_CHUNK = 1 << 18


class Pool:
    """As many worker processes as the ``limits`` say; ``given`` is the text that each is started with.

    A process, not a thread, because only a process can be ended in the middle of what it does.
    """

    def __init__(self, given: str, limits: Limits) -> None:
        self._limits = limits
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        self._workers = [_Worker(given, limits) for _ in range(limits.workers)]

    @classmethod
    @asynccontextmanager
    async def open(cls, given: str, limits: Limits) -> AsyncIterator[Pool]:
        """Start the workers, and end them all on the way out."""
        pool = cls(given, limits)
        try:
            for worker in pool._workers:
                await worker.start()
                pool._free.put_nowait(worker)
            yield pool
        finally:
            for worker in pool._workers:
                await worker.end()

    async def ask(
        self, call: str, body: bytes | bytearray, gone: Callable[[], Awaitable[bool]] | None = None
    ) -> tuple[int, bytes]:
        """Return the status and the JSON that a worker answers; a refusal if none is free, or it is too slow or is lost.

        Who is ``gone`` when a worker is free costs it nothing: a page that is dragged asks again before it is answered.
        """
        limits = self._limits
        seconds = limits.log_work_seconds if call == "log" else limits.work_seconds
        try:
            worker = await asyncio.wait_for(self._free.get(), limits.queue_seconds)
        except TimeoutError:
            why = Refusal(429, "the lab is busy with other questions; ask again.")
            return why.status, why.body
        answer: tuple[int, bytes] | None = None
        begun = False
        try:
            if gone is not None and await gone():
                return 408, b""
            begun = True
            answer = await asyncio.wait_for(worker.ask(call, body), seconds)
        except TimeoutError:
            why = Refusal(422, f"this takes longer than the {seconds:g} seconds there are for it; ask for less.")
        except (OSError, ValueError, EOFError):  # the process is gone
            why = Refusal(422, "this needs more than the lab gives, most likely memory; ask for less.")
        finally:
            if begun and answer is None:  # also where this was cancelled: what it would answer is nobody's
                with suppress(asyncio.CancelledError):
                    await worker.end()
            self._free.put_nowait(worker)
        return answer or (why.status, why.body)


class _Worker:
    """A process that answers one question at a time on its pipes: a line with call and length, then the body."""

    def __init__(self, given: str, limits: Limits) -> None:
        self._command = [
            sys.executable,
            "-P",
            "-m",
            "dwindle.lab.worker",
            str(limits.memory),
            str(max(limits.work_seconds, limits.log_work_seconds)),
            given,
        ]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        options: dict[str, Any] = {} if os.name == "nt" else {"start_new_session": True}  # Ctrl-C is the server's alone
        quiet = None if os.environ.get("DWINDLE_DEBUG") else asyncio.subprocess.DEVNULL
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=pipe, stdout=pipe, stderr=quiet, env={**os.environ, **one}, **options
        )

    async def ask(self, call: str, body: bytes | bytearray) -> tuple[int, bytes]:
        if self._process is None or self._process.returncode is not None:
            await self.start()
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise EOFError
        process.stdin.write(f"{call} {len(body)}\n".encode())
        view = memoryview(body)
        for at in range(0, len(body), _CHUNK):
            process.stdin.write(view[at : at + _CHUNK])
            await process.stdin.drain()
        await process.stdin.drain()
        status, length = (await process.stdout.readline()).split()  # nothing where it ended: a ValueError
        return int(status), await process.stdout.readexactly(int(length))

    async def end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        # All its pipes, now: what is left to the transport's end may come after that of the loop, and then complains
        process._transport.close()  # type: ignore[attr-defined]
        await asyncio.sleep(0)
