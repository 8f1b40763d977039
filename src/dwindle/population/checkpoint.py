"""What a training keeps on disk: a folder of safetensors files, written whole, that say which training they belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.checksum import checksum
from dwindle.durable import write_whole
from dwindle.errors import InvalidValueError, MissingExtraError, ResumeError

__all__ = ["Kept", "agreed", "fingerprint", "read", "write"]

Chunks: TypeAlias = list[NDArray[np.intp]]

FORMAT = "dwindle population 1"
_OTHER = (
    "is of another training: other data, rates, seeds, networks or settings. Give the arguments it was begun with, or "
    "another folder."
)


class Kept(NamedTuple):
    """The steps done, and the arrays by name."""

    step: int
    arrays: Mapping[str, NDArray[Any]]


def fingerprint(said: Iterable[Any]) -> str:
    """Return a digest of values: text of plain ones, and every byte of arrays.

    >>> fingerprint([1, np.zeros(2)]) == fingerprint([1, np.zeros(2)]) != fingerprint([1, np.zeros(3)])
    True
    """
    digest = hashlib.sha256()
    for value in said:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape};".encode())
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        else:
            digest.update(f"{value!r};".encode())
    return digest.hexdigest()


def agreed(folder: Path, whose: str, threads: int, chunks: Chunks) -> tuple[int, Chunks]:
    """Return the threads and chunks that the folder has noted, which are these where it is new.

    Raises ResumeError if it is another training's, MissingExtraError without safetensors.
    """
    try:
        import safetensors  # noqa: F401
    except ImportError as error:
        raise MissingExtraError.of("safetensors", "fast") from error
    file = folder / "training.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            said: dict[str, Any] = {"format": FORMAT, "training": whose, "threads": threads}
            said["chunks"] = [chunk.tolist() for chunk in chunks]
            write_whole(file, json.dumps(said | {"checksum": checksum(said)}).encode())
            return threads, chunks
    except OSError as error:
        raise InvalidValueError(
            f"folder {folder} cannot be made or written: {error.strerror}. Make room in it, or give another."
        ) from error
    try:
        said = json.loads(file.read_bytes())
        found, theirs = (said["threads"], said["chunks"]), (said["format"], said["training"])
        if said.pop("checksum", None) not in (None, checksum(said)):
            raise ValueError("it is not as it was written")
        if theirs == (FORMAT, whose) and not _is_split(*found, sum(map(len, chunks))):
            raise ValueError("its chunks are not those of the members")
    except (ValueError, KeyError, TypeError, OSError, OverflowError, RecursionError) as error:
        raise ResumeError(f"{file} cannot be read: {error}. Take another folder.") from error
    if theirs != (FORMAT, whose):
        raise ResumeError(f"{folder} {_OTHER}")
    return found[0], [np.array(chunk, np.intp) for chunk in found[1]]


def write(file: Path, whose: str, step: int, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Put ``arrays`` into ``file``, whole or not at all."""
    from safetensors.numpy import save

    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    said = {"format": FORMAT, "training": whose, "step": str(step), "digest": _digest(step, plain)}
    write_whole(file, save(plain, said))


def read(file: Path, whose: str) -> Kept | None:
    """Return what `write` left in ``file``, None if there is none.

    Raises ResumeError if it is another training's, or not as it was written.
    """
    if not file.exists():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "np") as found:
            said = found.metadata() or {}
            arrays = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    # the last two come of a type that NumPy has not
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        raise ResumeError(_damaged(file, str(error))) from error
    if (said.get("format"), said.get("training")) != (FORMAT, whose):
        raise ResumeError(f"{file} {_OTHER}")
    step = said.get("step", "")
    if not (step.isdecimal() and len(step) < 20) or said.get("digest") != _digest(int(step), arrays):
        raise ResumeError(_damaged(file, "it is not as it was written"))
    return Kept(int(step), arrays)


def _is_split(threads: Any, chunks: Any, members: int) -> bool:
    whole = isinstance(threads, int) and threads > 0 and all(map(len, chunks))
    return whole and sorted(k for chunk in chunks for k in chunk) == [*range(members)]


def _digest(step: int, arrays: Mapping[str, NDArray[Any]]) -> str:
    return fingerprint([step, *(value for name in sorted(arrays) for value in (name, arrays[name]))])


def _damaged(file: Path, why: str) -> str:
    return f"{file} cannot be read: {why}. Remove it and call again: its members then do again what it held."
