"""Interrupts (Ctrl-C) that wait while a database is written: in its midst one may be swallowed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["held"]


@contextmanager
def held() -> Iterator[None]:
    """While it is entered an interrupt waits, and comes at its end. Only the main thread is interrupted.

    SQLAlchemy gives connections back in callbacks of weak references: Python prints an exception there and goes on as if
    nothing had been, so that a study that was interrupted ran to its end.

    >>> with held():
    ...     print("written whole")
    written whole
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:  # None: not Python's to change
        yield
        return
    waiting: list[Any] = []
    signal.signal(signal.SIGINT, lambda *_: waiting.append(None))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            signal.raise_signal(signal.SIGINT)
