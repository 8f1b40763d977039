"""Files of arrays: IDX (the format of MNIST) and NPZ."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import DataError, suggestion
from dwindle.studies.data_prepare import Raw
from dwindle.studies.dataset import PARTS, Provenance

__all__ = ["content", "labels_beside", "parse_idx", "read_idx", "read_npz", "sha256"]

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_OF_NUMPY = (
    ValueError, TypeError, LookupError, SyntaxError, TokenError, RecursionError, MemoryError, OverflowError,
)  # fmt: skip  # what its reader raises, which takes a header for a Python literal
_PART, _BOMB = 2**22, (2**26, 200)  # bytes read at once; bytes unpacked, and their ratio to those packed
_PAIRS = (("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1"), ("images", "labels"))


def sha256(data: bytes) -> str:
    """Return the sha256 of ``data`` in hexadecimal.

    >>> sha256(b"")[:8]
    'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def content(path: Path) -> bytes:
    """Return the bytes of the file, decompressed where it begins as gzip does. Raises DataError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}. Check the path and its rights.") from None
    if not data:
        raise DataError(f"{path}: the file is empty. Was it written to the end?")
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            parts, size = [], 0
            while part := file.read(_PART):
                parts.append(part)
                size += len(part)
                _refuse_bomb(path, size, len(data))
            return b"".join(parts)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip: {error}. Copy or download the file again.") from None


def _refuse_bomb(path: Path, size: int, packed: int) -> None:
    if size > _BOMB[0] and size > _BOMB[1] * packed:
        raise DataError(
            f"{path}: unpacks to over {_BOMB[1]} times its size, as no measured data do. If they are yours, unpack them."
        )


def parse_idx(path: Path, data: bytes) -> NDArray[Any]:
    """Return the array in ``data``, in IDX: two zero bytes, element type, number of axes, big-endian sizes, elements.

    ``path`` is for messages. Raises DataError for another format, an unknown type, too few or too many bytes.

    >>> parse_idx(Path("labels"), bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 8, 9]))
    array([7, 8, 9], dtype=uint8)
    """
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in _IDX_TYPES or not data[3]:
        raise DataError(f"{path}: byte 0: {data[:4]!r} does not begin an IDX file. Give the *-ubyte files of the set.")
    dtype, start = np.dtype(_IDX_TYPES[data[2]]), 4 + 4 * data[3]
    shape = [int.from_bytes(data[at : at + 4], "big") for at in range(4, start, 4)]
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise DataError(
            f"{path}: its header promises {wanted} bytes for shape {tuple(shape)}, it has {len(data)}. "
            "Copy or download the file again."
        )
    try:
        return np.frombuffer(data, dtype, offset=start).reshape(shape)
    except ValueError:  # too many axes, or an empty one beside long ones
        raise DataError(
            f"{path}: its header promises the shape {tuple(shape)}, which no array has. Copy or download the file again."
        ) from None


def read_idx(images: Path, labels: Path) -> Raw:
    """Return the pair of IDX files as raw data for a classification."""
    data = content(images), content(labels)
    x, y = parse_idx(images, data[0]), parse_idx(labels, data[1])
    files = tuple((path.name, sha256(each)) for path, each in zip((images, labels), data, strict=True))
    _check_pair(f"{images} and {labels.name}", x, y)
    provenance = Provenance(str(images), files)
    return Raw(images.name.split(".")[0], x, y, provenance, task="classification")


def labels_beside(images: Path) -> Path:
    """Return the labels file that goes with ``images`` by its name; raise DataError if there is none."""
    for a, b in _PAIRS:
        if a in images.name and (found := images.with_name(images.name.replace(a, b))).exists():
            return found
    raise DataError(
        f"{images}: no labels file beside it (images-idx3 in the name becomes labels-idx1). "
        "Give both files: load((images, labels))."
    )


def read_npz(path: Path) -> Raw:
    """Return the arrays of an NPZ file: x and y, or train_x, train_y, test_x ... with or without validation_x.

    x_train for train_x, val or valid for validation, and capitals are understood. Pickled objects are refused.
    """
    data = content(path)
    found: dict[tuple[str, str], NDArray[Any]] = {}
    for name, array in _arrays(path, data).items():
        key = _key(path, name)
        if key in found:
            raise DataError(f"{path}: array {name!r} says {key[0]} {key[1]} a second time. Keep one of the two.")
        found[key] = array
    names = [part for part in ("", *PARTS) if (part, "x") in found or (part, "y") in found]
    if names not in ([""], ["train"], ["train", "test"], ["train", "validation"], list(PARTS)):
        raise DataError(f"{path}: holds {sorted(names)}; it needs x and y, or train_x and train_y with others.")
    for part in names:
        for axis in "xy":
            if (part, axis) not in found:
                raise DataError(f"{path}: {part or 'the data'} has no {axis}. Save x and y of every part.")
        found[part, "y"] = _column(found[part, "y"])
        _check_pair(f"{path}: {part or 'x and y'}", found[part, "x"], found[part, "y"])
    if len({found[part, "x"].shape[1:] for part in names}) > 1:
        raise DataError(f"{path}: the parts have rows of different shapes. Prepare all of them in the same way.")
    bounds = np.cumsum([0, *(len(found[part, "y"]) for part in names)])
    own = {p: np.arange(a, b) for p, a, b in zip(names, bounds[:-1], bounds[1:], strict=True)} if names != [""] else {}
    x, y = (np.concatenate([found[part, axis] for part in names]) for axis in "xy")
    return Raw(path.stem, x, y, Provenance(str(path), ((path.name, sha256(data)),)), own=own)


def _arrays(path: Path, data: bytes) -> dict[str, NDArray[Any]]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise DataError(f"{path}: not an NPZ (zip) file. Write it with numpy.savez(path, x=..., y=...).")
    arrays, name = {}, ""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            _refuse_bomb(path, sum(member.file_size for member in packed.infolist()), len(data))
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            for name in archive.files:
                arrays[name] = archive[name]
    except DataError:
        raise
    except _OF_NUMPY as error:
        pickled = "Object arrays" in str(error) or "pickled" in str(error)
        cause = "holds pickled objects, which could run code" if pickled else f"cannot be read ({error})"
        raise DataError(f"{path}: array {name!r} {cause}. Save numbers, and text as numpy.str_.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: broken: {error}. Write or copy the file again.") from None
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise DataError(f"{path}: {name!r} is no array. Write the file with numpy.savez(path, x=..., y=...).")
        if array.dtype.kind == "U" and not _is_text(array):
            raise DataError(f"{path}: array {name!r} holds what is no text. Write the file again.")
    return arrays


def _is_text(array: NDArray[Any]) -> bool:
    """Whether every code point of an array of text is one that a text may hold."""
    codes = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.dtype("u4").newbyteorder(array.dtype.byteorder))
    return not bool(((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any())


def _key(path: Path, name: str) -> tuple[str, str]:
    words = name.lower().split("_")
    axes, rest = [w for w in words if w in ("x", "y")], [w for w in words if w not in ("x", "y")]
    part = {"val": "validation", "valid": "validation"}.get("_".join(rest), "_".join(rest))
    if len(axes) != 1 or part not in ("", *PARTS):
        options = ["x", "y", *(f"{part}_{axis}" for part in PARTS for axis in "xy")]
        raise DataError(f"{path}: array {name!r} is not known; {suggestion(name, options)} Rename or remove it.")
    return part, axes[0]


def _column(y: NDArray[Any]) -> NDArray[Any]:
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    return np.char.decode(flat, "utf-8", "replace") if flat.dtype.kind == "S" else flat


def _check_pair(where: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    if x.ndim < 2 or not x.size or x.dtype.kind not in "biuf":
        raise DataError(
            f"{where}: features are {x.dtype} of shape {x.shape}; they must be numbers of shape (rows, features ...)."
        )
    if y.ndim != 1 or y.dtype.kind not in "biufUS":
        raise DataError(
            f"{where}: targets are {y.dtype} of shape {y.shape}; they must be one number or text a row. "
            "For one-hot labels save y.argmax(1)."
        )
    if len(x) != len(y):
        raise DataError(f"{where}: {len(x)} rows of features, {len(y)} targets. They must be as many.")
    for what, array in (("features", x), ("targets", y)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise DataError(f"{where}: {what} at {place}: {array[place]} is not finite. Fill it in or remove the row.")
