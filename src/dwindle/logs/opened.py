"""A file as a stream of bytes: unpacked, decoded to UTF-8 or left as it is, in chunks, whatever its size."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dwindle.errors import DataError
from dwindle.logs.tally import Tally

__all__ = ["CHUNK", "Lines", "chunks", "lines", "start", "text"]

CHUNK = 2**20
LONGEST_LINE = 2**23
_GZIP, _PIECE = b"\x1f\x8b", 4096
_BOMB = (2**28, 200)  # bytes unpacked, and their ratio to those packed: text logs shrink by a factor of 3 to 50
_OTHER = (
    (b"PK\x03\x04", "a zip archive", "Unpack it and give the log in it."),
    (b"BZh", "packed by bzip2", "Unpack it first: bunzip2 FILE."),
    (b"\xfd7zXZ", "packed by xz", "Unpack it first: unxz FILE."),
    (b"\x28\xb5\x2f\xfd", "packed by zstd", "Unpack it first: unzstd FILE."),
    (b"PAR1", "a Parquet file", "Write it as CSV first."),
    (b"SQLite format 3", "an SQLite database", "Export the metrics of the run as CSV."),
    (b"\x89HDF", "an HDF5 file", "Write the history in it as CSV or JSON."),
    (b":W&B", "W&B's own file", "Export the run as CSV or JSONL: wandb.Api().run(PATH).history().to_csv(FILE)."),
    (b"\x80\x04", "a pickle", "Pickles are not opened, for they can run code; write the log as CSV or JSON."),
    (b"\x80\x05", "a pickle", "Pickles are not opened, for they can run code; write the log as CSV or JSON."),
    (b"\x80\x02", "a pickle", "Pickles are not opened, for they can run code; write the log as CSV or JSON."),
)  # fmt: skip
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip


class Lines(NamedTuple):
    """Whole lines, the first of them line ``first`` of the file, each ending in a newline but perhaps the file's last."""

    first: int
    data: bytes


def chunks(path: Path, tally: Tally) -> Iterator[bytes]:
    """Yield the bytes of a file, unpacked if it is gzipped; raise DataError if it cannot be opened."""
    try:
        with path.open("rb") as file:
            head = file.read(CHUNK)
            for magic, what, todo in _OTHER:
                if head.startswith(magic):
                    raise DataError(f"{path}: this is {what}, which is not read. {todo}")
            raw = _rest(head, file)
            yield from _unpacked(path, raw, tally) if head.startswith(_GZIP) else raw
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a NUL in the path
        if isinstance(error, DataError):
            raise
        raise DataError(f"{str(path)!r}: cannot be read: {error}.") from error


def _rest(head: bytes, file: object) -> Iterator[bytes]:
    while head:
        yield head
        head = file.read(CHUNK)  # type: ignore[attr-defined]


def _unpacked(path: Path, packed: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    """Yield what gzip members hold, as far as they can be unpacked."""
    unpacker, given, out = zlib.decompressobj(wbits=31), 0, 0
    ready: list[bytes] = []
    held = 0
    for data in _pieces_of(packed):
        given += len(data)
        while data:
            if unpacker.eof:  # another member, or what stands after the last
                if not data.startswith(_GZIP[: len(data)]):
                    if data.strip(b"\0"):
                        tally.say("bytes after the end of the gzip file were left out")
                    break
                unpacker = zlib.decompressobj(wbits=31)
            try:
                found = unpacker.decompress(data, CHUNK)
            except zlib.error:
                yield b"".join(ready)
                tally.say(f"the gzip file is damaged; what came before, {out:,} bytes of text, was read")
                return
            data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            out += len(found)
            ready.append(found)
            held += len(found)
            if held >= CHUNK:
                yield b"".join(ready)
                ready, held = [], 0
            if out > _BOMB[0] and out > _BOMB[1] * given:
                tally.say(
                    f"the gzip file unpacks to over {_BOMB[1]} times its size, as no log does; {out:,} bytes were read"
                )
                return
    if ready:
        yield b"".join(ready)
    if not unpacker.eof:
        tally.say(f"the gzip file is cut short; what is there, {out:,} bytes of text, was read")


def _pieces_of(packed: Iterator[bytes]) -> Iterator[bytes]:
    """Yield small pieces: where one is damaged, all that is unpacked from it is lost."""
    for data in packed:
        for at in range(0, len(data), _PIECE):
            yield data[at : at + _PIECE]


def start(stream: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """Return the first bytes, ``size`` or all there are, and the whole stream, these included."""
    parts, held = [], 0
    for part in stream:
        parts.append(part)
        held += len(part)
        if held >= size:
            break
    head = b"".join(parts)

    def whole() -> Iterator[bytes]:
        yield head
        yield from stream

    return head, whole() if head else stream


def text(stream: Iterator[bytes], tally: Tally) -> Iterator[bytes]:
    r"""Yield the text in UTF-8, or in whatever bytes it has if nothing says UTF-16 or 32; ends of lines are ``\n``, no NULs."""
    head, stream = start(stream, 4)
    mark, codec = next((each for each in _MARKS if head.startswith(each[0])), (b"", _unmarked(head)))
    decoder = codecs.getincrementaldecoder(codec)("replace") if codec else None
    if decoder:
        tally.say(f"the text is {codec[:6].upper()}, not UTF-8, and was read as such")
    line, held = 1, b""
    for i, part in enumerate(stream):
        data = part[len(mark) :] if i == 0 else part
        if decoder:
            data = decoder.decode(data).encode("utf-8", "replace")
        data = held + data
        held = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # the other half of the end may be in the next chunk
                data, held = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\0" in data:
            at = data.find(b"\0")
            tally.add("NUL bytes were left out", line + data.count(b"\n", 0, at), data.count(b"\0"))
            data = data.replace(b"\0", b"")
        line += _newlines(data)
        if data:
            yield data
    tail = (decoder.decode(b"", True).encode("utf-8", "replace") if decoder else b"") + (b"\n" if held else b"")
    if tail:
        yield tail


def _unmarked(head: bytes) -> str:
    """Return the codec of text whose every second byte is 0, as UTF-16 without a mark is."""
    if len(head) < 4 or not any(head[:4]):
        return ""
    low, high = head[0:40:2], head[1:40:2]
    if not any(high) and all(low):
        return "utf-16-le"
    return "utf-16-be" if not any(low) and all(high) else ""


def lines(stream: Iterator[bytes], tally: Tally) -> Iterator[Lines]:
    """Yield the text in pieces of whole lines of about a chunk; lines too long to hold are left out and counted."""
    first, skipping = 1, False
    parts: list[bytes] = []
    held = 0
    for data in stream:
        cut = data.rfind(b"\n") + 1
        if skipping:
            begin = data.find(b"\n") + 1
            if not begin:
                continue
            data, cut, skipping, first = data[begin:], cut - begin, False, first + 1
        if cut:
            whole = b"".join((*parts, data[:cut]))
            parts, held = [data[cut:]], len(data) - cut
            for piece in _pieces(whole):
                yield Lines(first, piece)
                first += _newlines(piece)
        else:
            parts.append(data)
            held += len(data)
        if held > LONGEST_LINE:
            tally.add(f"longer than {LONGEST_LINE // 2**20} MB, as no row is, and left out", first)
            parts, held, skipping = [], 0, True
    rest = b"".join(parts)
    if rest:
        yield Lines(first, rest)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield whole lines of about a chunk each."""
    at = 0
    while at < len(data):
        end = len(data)
        if end - at > 2 * CHUNK:
            end = data.rfind(b"\n", at, at + CHUNK) + 1 or data.find(b"\n", at) + 1 or len(data)
        yield data[at:end]
        at = end


def _newlines(data: bytes) -> int:
    return int(np.count_nonzero(np.frombuffer(data, dtype=np.uint8) == 10))
