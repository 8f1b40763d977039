"""One BLAS thread for a while: so that our own threads do not fight with BLAS's, and results do not depend on them."""

from __future__ import annotations

import ctypes
import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Threads", "single_threaded", "threads"]

# OpenBLAS under the names NumPy's wheels (scipy_ prefix, 64-bit integers), Linux distributions and conda give it.
_SPELLINGS = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]


class Threads(NamedTuple):
    """How to ask NumPy's own BLAS for its number of threads, and how to set it."""

    get: Callable[[], int]
    set: Callable[[int], None]


@cache
def threads() -> Threads | None:
    """Return the thread count of the OpenBLAS that NumPy calls, or None where NumPy stands on another BLAS.

    >>> found = threads()
    >>> found is None or found.get() >= 1
    True
    """
    for path in _libraries():
        try:
            library = ctypes.CDLL(str(path))
        except OSError:
            continue
        for prefix, suffix in _SPELLINGS:
            get = getattr(library, f"{prefix}openblas_get_num_threads{suffix}", None)
            put = getattr(library, f"{prefix}openblas_set_num_threads{suffix}", None)
            if get is not None and put is not None:
                get.restype, put.restype, put.argtypes = ctypes.c_int, None, [ctypes.c_int]
                return Threads(get, put)
    return None


def _libraries() -> list[Path]:
    # A name looked up in NumPy's extension is also sought in the BLAS it links to; not so on Windows, hence numpy.libs.
    core = "numpy._core" if int(np.__version__.split(".")[0]) >= 2 else "numpy.core"
    extension = Path(str(importlib.import_module(f"{core}._multiarray_umath").__file__))
    return [extension, *sorted(Path(np.__file__).parents[1].glob("numpy.libs/*openblas*"))]


class _Holders:
    """Who holds BLAS at one thread now. One for the process, because the setting itself is one for the process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.before = 1


_HOLDERS = _Holders()


@contextmanager
def single_threaded() -> Iterator[bool]:
    """Hold BLAS at one thread inside the block; give False, and change nothing, where its threads cannot be set.

    Blocks may nest and overlap, also from several threads: the last to leave restores the number the first one found.

    >>> with single_threaded() as held:
    ...     not held or threads().get() == 1
    True
    """
    blas = threads()
    if blas is None:
        yield False
        return
    with _HOLDERS.lock:
        if _HOLDERS.count == 0:
            _HOLDERS.before = blas.get()
            blas.set(1)
        _HOLDERS.count += 1
    try:
        yield True
    finally:
        with _HOLDERS.lock:
            _HOLDERS.count -= 1
            if _HOLDERS.count == 0:
                blas.set(_HOLDERS.before)
