"""Writing a file whole: a reader sees the old one or the new one, never a part."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary name in the folder of ``path``, sync it to the disk, and rename it to ``path``.

    Raises OSError; what stood at ``path`` is then untouched, or already the new one, whole, where only the folder could not
    be synced. The temporary file is gone.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(Path(folder) / "a.txt", b"whole")
    ...     [entry.name for entry in Path(folder).iterdir()]
    ['a.txt']
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there; the rename itself is durable enough
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems on a network sync no folders
            raise
    finally:
        os.close(handle)
