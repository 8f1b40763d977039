"""Who has a study's folder: one process at a time, known by an open file that the system locks for as long as it lives."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from dwindle.errors import DataError, ResumeError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["claim", "give_free", "owner_of"]

# Our own locks by the file that each is (device, number): kept open, for the system gives a lock free with its process
_HELD: dict[tuple[int, int], int] = {}
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_SURE = " flock"  # behind the number of a process that has the system's lock as well


def claim(folder: Path) -> None:
    """Take ``folder`` for this process, which may have it already.

    The file ``lock`` in it holds the number of its process. Where the system can, that process has it locked (flock), so
    that a lock left behind by a kill is known as such whoever has that number now, and of many processes that find it at
    once just one gets it. Other systems and network folders go by the number alone, which is read and written behind a
    second file that only one process can make.

    Raises ResumeError if another process has the folder, DataError if it cannot be written.
    """
    lock = folder / "lock"
    try:
        if not _locked(lock, folder):
            _numbered(lock, folder)
    except OSError as error:
        raise DataError(
            f"the folder {folder} cannot be written: {error.strerror}. Make room or give leave, or choose another."
        ) from error


def give_free(folder: Path) -> None:
    """Remove the lock of this process, if it has one, for another study."""
    lock = folder / "lock"
    with suppress(OSError):  # a disk that failed has an error already, and a lock of the dead stops no one
        descriptor = _HELD.pop(_identity(os.stat(lock)), None)
        if descriptor is not None or _number(lock) == os.getpid():
            lock.unlink(missing_ok=True)  # before it is unlocked: who waits for it finds that it is no longer the file
        if descriptor is not None:
            os.close(descriptor)


def owner_of(folder: Path) -> int | None:
    """Return the living process that has a study in ``folder``, by its lock; None where its lock is of the dead, or nonsense.

    Raises OSError where there is no lock to read.
    """
    owner = _number(folder / "lock")
    return owner if owner is not None and _alive(owner) else None


def _locked(lock: Path, folder: Path) -> bool:
    """Lock the file by the system; return False where that cannot lock, raise ResumeError where another process has."""
    if fcntl is None:
        return False
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        kept = False
        try:
            if _identity(os.fstat(descriptor)) in _HELD:
                return True
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in _BUSY:
                    return False  # a network folder without locks
                try:
                    owner = owner_of(folder)
                except FileNotFoundError:
                    continue  # its owner has just removed it
                raise ResumeError(_refusal(owner, folder)) from None
            if not _is_still(lock, descriptor):
                continue  # its owner has just removed it
            if not _said_surely(lock):  # written by a process that could not lock it, or by hand
                _refuse_living(folder)
            _write(descriptor, lock, f"{os.getpid()}{_SURE}\n")
            _HELD[_identity(os.fstat(descriptor))] = descriptor
            kept = True
            return True
        finally:
            if not kept:
                os.close(descriptor)


def _numbered(lock: Path, folder: Path) -> None:
    """Write our number into the file, where that of no living process stands."""
    gate = folder / "lock.taking"
    try:
        entered = os.open(gate, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        raise ResumeError(
            f"another process is about to begin a study in {folder}; wait for it. If there is none, delete {gate}."
        ) from None
    try:
        _refuse_living(folder)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _write(descriptor, lock, f"{os.getpid()}\n")
        finally:
            os.close(descriptor)
    finally:
        os.close(entered)
        gate.unlink(missing_ok=True)


def _refuse_living(folder: Path) -> None:
    with suppress(FileNotFoundError):
        owner = owner_of(folder)
        if owner is not None and owner != os.getpid():
            raise ResumeError(_refusal(owner, folder))


def _refusal(owner: int | None, folder: Path) -> str:
    if owner is None:
        return f"another process has just begun a study in {folder}; wait for it or choose another folder."
    return (
        f"process {owner} is running a study in {folder}; wait for it or choose another folder. "
        f"If it is something else, delete {folder / 'lock'}."
    )


def _write(descriptor: int, lock: Path, text: str) -> None:
    try:
        with os.fdopen(descriptor, "w", encoding="ascii", closefd=False) as file:
            file.truncate(0)
            file.write(text)
    except OSError:
        lock.unlink(missing_ok=True)
        raise


def _said_surely(lock: Path) -> bool:
    return lock.read_text(encoding="ascii", errors="replace").rstrip().endswith(_SURE)


def _number(lock: Path) -> int | None:
    """Return the number of the process that a lock names."""
    with lock.open(encoding="ascii", errors="replace") as file:
        words = file.read(64).split()
    number = int(words[0]) if words and words[0].isdecimal() and len(words[0]) < 12 else 0
    return number or None


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_still(lock: Path, descriptor: int) -> bool:
    try:
        return _identity(os.stat(lock)) == _identity(os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _forget() -> None:
    """Close in a forked child what it has of its parent's locks, so that they end with the parent."""
    for descriptor in _HELD.values():
        with suppress(OSError):
            os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
