"""TensorBoard's event files: framed, checked records of protocol buffers, of which the scalars are read.

A record is its length (8 bytes), the masked CRC32C of these, the data, and the masked CRC32C of that. The data is an Event
{1: wall time, 2: step, 5: Summary {1: Value {1: tag, 2: simple_value, 8: tensor, 9: metadata}}}. A scalar is a simple_value, a
float32, or a tensor of one number, as newer writers have it.
Source: tensorflow/core/lib/io/record_writer.h; tensorboard/compat/proto/event.proto, summary.proto, tensor.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from dwindle.logs.block import MOST_COLUMNS, Block, RowBuilder
from dwindle.logs.crc32c import crc32c, crc32c_of, masked
from dwindle.logs.tally import Tally

__all__ = ["EventRows", "is_events"]

_HEAD, _TAIL = 12, 4
_LARGEST = 2**26  # bytes; no record with scalars is larger
_SEARCH = 2**20
_WIDEST_NAME = 512
_DAMAGED = "damaged (the checksum differs) and left out"
_STEP = "step"
_CUT = "the file breaks off within a record, which was left out; it may still be written"
# How a tensor of one number holds it: in its content by dtype, or in a field of its own.
_CONTENT = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_PACKED = {5: "<f4", 6: "<f8"}
_VARINTS = frozenset((7, 10, 16, 17))
_BFLOAT16, _HALF = 14, 19


class _BrokenError(Exception):
    """Bytes that are no message."""


def is_events(head: bytes) -> bool:
    r"""Say whether a file begins as a record does.

    >>> is_events(b"step,lr,loss\n1,2,3\n")
    False
    """
    if len(head) < _HEAD:
        return False
    return bool(masked(crc32c(head[:8])) == int.from_bytes(head[8:12], "little"))


class EventRows:
    """The scalars of event files: an event a row; ``names`` are the tags, each written after ``prefix``."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.prefix, self.record = "", 0
        self._names: dict[str, None] = {_STEP: None}
        self._tags: dict[bytes, str | None] = {}
        self._plugins: dict[str, bytes] = {}

    @property
    def names(self) -> list[str]:
        """Return the names by now."""
        return list(self._names)

    def blocks(self, stream: Iterator[bytes]) -> Iterator[Block]:
        """Yield the rows of a file."""
        self._tags.clear()
        data, ended = b"", False
        while not ended or data:
            more = next(stream, None)
            ended = ended or more is None
            data += more or b""
            spans, used = self._framed(data)
            if spans:
                block = self._read(data, spans)
                if block.rows:
                    yield block
            data = data[used:]
            if len(data) < _HEAD or self._waits(data):
                if ended:
                    if data:
                        self.tally.add(_CUT, self.record + 1)
                    return
                if self._too_large(data):
                    data, ended = self._skipped(data, stream), False
                    continue
                data = self._gathered(data, stream)
                continue
            if len(data) < _SEARCH and not ended:
                data = self._gathered(data, stream, _SEARCH)
            found = self._next_record(data)
            self.tally.add("damaged: the length cannot be right; what follows was looked for", self.record + 1)
            self.record += 1
            data = data[found:] if found else data[max(len(data) - 2 * _HEAD, 1) :] if not ended else b""

    # --- records

    def _framed(self, data: bytes) -> tuple[list[tuple[int, int]], int]:
        """Return where the data of each whole record begins and ends, and where the first that is not whole begins."""
        spans, at, size = [], 0, len(data)
        while at + _HEAD + _TAIL <= size:
            length = int.from_bytes(data[at : at + 8], "little")
            end = at + _HEAD + length + _TAIL
            if end > size:
                break
            spans.append((at + _HEAD, end - _TAIL))
            at = end
        if not spans:
            return [], 0
        heads = np.array([begin - _HEAD for begin, _ in spans], dtype=np.int64)
        array = np.frombuffer(data, dtype=np.uint8)
        good = masked(crc32c_of(array, heads, np.full(len(heads), 8))) == _word(array, heads + 8)
        if not good.all():  # a wrong length leads astray: all after it is to be framed anew
            first = int(np.argmin(good))
            return spans[:first], int(heads[first])
        return spans, at

    def _read(self, data: bytes, spans: list[tuple[int, int]]) -> Block:
        """Return the scalars of records whose checksums are right."""
        array = np.frombuffer(data, dtype=np.uint8)
        begin, end = np.array(spans, dtype=np.int64).T
        good = masked(crc32c_of(array, begin, end - begin)) == _word(array, end)
        builder = RowBuilder()
        for (first, last), is_good in zip(spans, good.tolist(), strict=True):
            self.record += 1
            if not is_good:
                self.tally.add(_DAMAGED, self.record)
                continue
            try:
                step, found = self._event(data, first, last)
            except (_BrokenError, struct.error, IndexError, UnicodeDecodeError, OverflowError):
                self.tally.add("no event and left out", self.record)
                continue
            if found:
                builder.row(self.record, {_STEP: float(step), **dict(found)})
        return builder.block(self.names)

    def _waits(self, data: bytes) -> bool:
        """Say whether the data begins with a record that is not whole yet."""
        length = int.from_bytes(data[:8], "little")
        return is_events(data) and len(data) < _HEAD + length + _TAIL

    def _too_large(self, data: bytes) -> bool:
        return len(data) >= _HEAD and int.from_bytes(data[:8], "little") > _LARGEST

    def _gathered(self, data: bytes, stream: Iterator[bytes], size: int = 0) -> bytes:
        """Return the data and what follows, until the record it begins with is whole."""
        size = size or (_HEAD + int.from_bytes(data[:8], "little") + _TAIL if len(data) >= _HEAD else _HEAD)
        parts, held = [data], len(data)
        while held < size:
            more = next(stream, None)
            if more is None:
                break
            parts.append(more)
            held += len(more)
        return b"".join(parts)

    def _skipped(self, data: bytes, stream: Iterator[bytes]) -> bytes:
        """Return what follows a record that is too large to hold scalars."""
        self.record += 1
        self.tally.add(f"larger than {_LARGEST // 2**20} MB, as no scalars are, and left out", self.record)
        left = _HEAD + int.from_bytes(data[:8], "little") + _TAIL
        while len(data) < left:
            left -= len(data)
            more = next(stream, None)
            if more is None:
                self.tally.add(_CUT, self.record)
                return b""
            data = more
        return data[left:]

    def _next_record(self, data: bytes) -> int:
        """Return where the next record begins whose checksum of the length is right; 0 if there is none in what is held."""
        array = np.frombuffer(data, dtype=np.uint8)
        count = len(array) - _HEAD + 1
        for low in range(1, count, 2**17):
            at = np.arange(low, min(low + 2**17, count))
            right = masked(crc32c_of(array, at, np.full(len(at), 8))) == _word(array, at + 8)
            if right.any():
                return int(at[np.argmax(right)])
        return 0

    # --- messages

    def _event(self, data: bytes, at: int, end: int) -> tuple[int, list[tuple[str, float]]]:
        step, found = 0, list[tuple[str, float]]()
        for number, value, last in _fields(data, at, end):
            if number == 2 and last < 0:
                step = value - 2**64 if value >= 2**63 else value
            elif number == 5 and last >= 0:
                for inner, first, final in _fields(data, value, last):
                    if inner == 1 and final >= 0:
                        found += self._value(data, first, final)
        return step, found

    def _value(self, data: bytes, at: int, end: int) -> list[tuple[str, float]]:
        tag, number, tensor, plugin = b"", None, None, b""
        for field, value, last in _fields(data, at, end):
            if field == 1 and last >= 0:
                tag = data[value:last]
            elif field == 2 and last - value == 4:
                number = struct.unpack_from("<f", data, value)[0]
            elif field == 8 and last >= 0:
                tensor = (value, last)
            elif field == 9 and last >= 0:
                plugin = _plugin(data, value, last)
        name = self._name(tag)
        if name is None:
            return []
        if plugin:  # written with the first value only
            self._plugins[name] = plugin
        if number is None and tensor is not None and self._plugins.get(name, b"scalars") == b"scalars":
            number = _scalar(data, *tensor)
        if number is None:
            return []
        if name not in self._names:
            if len(self._names) >= MOST_COLUMNS:
                self.tally.add(f"more than {MOST_COLUMNS:,} tags; those after were left out", self.record)
                return []
            self._names[name] = None
        return [(name, number)]

    def _name(self, tag: bytes) -> str | None:
        """Return the name of a tag; None if it is too long."""
        if tag in self._tags:
            return self._tags[tag]
        written = tag.decode("utf-8", "replace")
        name: str | None = _under(self.prefix, written)
        if name == _STEP:
            name = "step (tag)"
        if len(tag) > _WIDEST_NAME:
            self.tally.add(f"tags of more than {_WIDEST_NAME} letters were left out", self.record)
            return None
        if len(self._tags) < 4 * MOST_COLUMNS:
            self._tags[tag] = name
        return name


def _under(prefix: str, tag: str) -> str:
    """Return the name of a tag in a folder; ``add_scalars`` has the tag in the folder's name already.

    >>> _under("validation", "epoch_loss"), _under("loss_train", "loss")
    ('validation/epoch_loss', 'loss_train')
    """
    if not prefix:
        return tag
    return prefix if prefix.startswith(tag.replace("/", "_") + "_") else f"{prefix}/{tag}"


def _word(array: Any, at: Any) -> Any:
    """Return the little-endian 32-bit words that begin at ``at`` [n]."""
    four = array[at[:, None] + np.arange(4)].astype(np.uint32)
    return four[:, 0] | four[:, 1] << 8 | four[:, 2] << 16 | four[:, 3] << 24


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            break
    raise _BrokenError


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield (number, value, -1) for each varint of a message, and (number, begin, end) for each other field."""
    while at < end:
        key, at = _varint(data, at, end)
        wire = key & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield key >> 3, value, -1
            continue
        if wire == 2:
            length, at = _varint(data, at, end)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise _BrokenError
        if at + length > end:
            raise _BrokenError
        yield key >> 3, at, at + length
        at += length


def _plugin(data: bytes, at: int, end: int) -> bytes:
    """Return the name of the plugin that a value's metadata {1: {1: name}} is for."""
    for number, value, last in _fields(data, at, end):
        if number == 1 and last >= 0:
            for inner, first, final in _fields(data, value, last):
                if inner == 1 and final >= 0:
                    return data[first:final]
    return b""


def _scalar(data: bytes, at: int, end: int) -> float | None:
    """Return the number in a tensor {1: dtype, 2: shape, 4: content, 5..: numbers} of one; None for any other."""
    kind, size, content, packed, varints = 0, 1, b"", list[tuple[int, bytes]](), list[tuple[int, int]]()
    for number, value, last in _fields(data, at, end):
        if number == 1 and last < 0:
            kind = value
        elif number == 2 and last >= 0:
            size = _size(data, value, last)
        elif number == 4 and last >= 0:
            content = data[value:last]
        elif number in _PACKED and last >= 0:
            packed.append((number, data[value:last]))
        elif number in _VARINTS or number in (11, 13):
            if last < 0:
                varints.append((number, value))
            else:
                varints += [(number, each) for each in _varints(data, value, last)]
    if size != 1:
        return None
    if content:
        if kind == _BFLOAT16 and len(content) == 2:
            return float(np.frombuffer(b"\0\0" + content, dtype="<f4")[0])
        form = np.dtype(_CONTENT.get(kind, "V1"))
        return (
            float(np.frombuffer(content, dtype=form)[0]) if kind in _CONTENT and len(content) == form.itemsize else None
        )
    if len(packed) == 1:
        form = np.dtype(_PACKED[packed[0][0]])
        return float(np.frombuffer(packed[0][1], dtype=form)[0]) if len(packed[0][1]) == form.itemsize else None
    if len(varints) == 1:
        return _of_varint(kind, *varints[0])
    # a number that is 0 may not be written at all
    return 0.0 if kind in (1, 2, 3, 9) and not packed and not varints else None


def _of_varint(kind: int, field: int, value: int) -> float:
    if field == 13:
        half = struct.pack("<H", value & 0xFFFF)
        return float(
            np.frombuffer(b"\0\0" + half if kind == _BFLOAT16 else half, "<f4" if kind == _BFLOAT16 else "<f2")[0]
        )
    signed = field in (7, 10) and value >= 2**63
    return float(value - 2**64 if signed else value)


def _varints(data: bytes, at: int, end: int) -> list[int]:
    found: list[int] = []
    while at < end and len(found) < 2:
        value, at = _varint(data, at, end)
        found.append(value)
    return found


def _size(data: bytes, at: int, end: int) -> int:
    """Return how many numbers a shape {2: dimension {1: size}} holds."""
    size = 1
    for number, value, last in _fields(data, at, end):
        if number == 2 and last >= 0:
            length = 0
            for inner, given, final in _fields(data, value, last):
                if inner == 1 and final < 0:
                    length = given
            size *= length
    return size
