"""A reader to be fuzzed, and the contract that it keeps: every input is read, or refused by an error of dwindle's."""

from __future__ import annotations

import os
import re
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from dwindle.errors import DwindleError

__all__ = ["Broken", "Reader", "TooLong", "broken", "placed"]

SECONDS = 5.0  # of the processor, for one input


class TooLong(BaseException):
    """An input took more than its seconds; no `except Exception` holds it up."""


@dataclass(frozen=True)
class Reader:
    """What is fuzzed: ``forms`` take the bytes, of which the first one says the form, and return or raise DwindleError.

    ``seeds`` gives (form, bytes) to begin with, ``words`` what the grammar is made of. A form may pack the bytes first, into a
    checked record or an archive, so that the fuzzer comes past the checksum.
    """

    name: str
    forms: tuple[Callable[[bytes], object], ...]
    seeds: Callable[[], Iterable[tuple[int, bytes]]]
    words: tuple[bytes, ...] = ()
    longest: int = 4096

    def inputs(self) -> list[bytes]:
        """Return the seeds as inputs, each once."""
        return list(dict.fromkeys(bytes([form]) + data[: self.longest - 1] for form, data in self.seeds()))

    def __call__(self, data: bytes) -> object:
        return self.forms[data[0] % len(self.forms)](data[1:]) if data else None


class Broken(NamedTuple):
    """A breach of the contract: ``where`` it came from, in one line, and the ``traceback``."""

    where: str
    traceback: str


def broken(reader: Reader, data: bytes) -> Broken | None:
    """Return how ``reader`` breaks the contract at ``data``; None where it reads or refuses it in time."""
    try:
        with _within(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(data)
    except DwindleError:
        return None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        whole = "".join(traceback.format_exception(error, limit=-60))
        if isinstance(error, AssertionError):  # a law that does not hold, stated in the reader
            return Broken(f"AssertionError: {str(error)[:80]}", whole)
        inside = re.findall(r'src/dwindle/(\S+?)", line (\d+)', whole) or re.findall(
            r'([^/"]+\.py)", line (\d+)', whole
        )
        name = (
            type(error).__name__
            if not isinstance(error, FaultError)
            else whole.strip().splitlines()[-1].partition(":")[0]
        )
        return Broken(f"{name} {':'.join(inside[-1]) if inside else ''}", whole)
    return None


class FaultError(Exception):
    """A fault that was caught and told: its text is the traceback that was written."""


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise TooLong in the block after ``seconds`` of the processor."""

    def late(number: int, frame: FrameType | None) -> NoReturn:
        raise TooLong(f"more than {seconds:g} s of the processor")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


def placed(name: str, data: bytes) -> Path:
    """Return a file of that name, in this process's own folder, which holds ``data``."""
    path = _folder() / name
    path.write_bytes(data)
    return path


@cache
def _folder() -> Path:
    held = tempfile.TemporaryDirectory(prefix="dwindle-fuzz-", dir=os.environ.get("DWINDLE_FUZZ_SCRATCH"))
    _HELD.append(held)
    return Path(held.name)


_HELD: list[tempfile.TemporaryDirectory[str]] = []  # removed when the process ends
