"""Logs of training: CSV, JSON lines, JSON documents, TensorBoard's events, and any of them packed by gzip."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from dwindle import findings
from dwindle.errors import DwindleError
from dwindle.logs import history, read
from dwindle.logs.crc32c import crc32c, masked
from fuzz.corpus import beginnings, texts
from fuzz.reader import Reader, placed

_NAMES = (
    b"step", b"epoch", b"global_step", b"iter", b"loss", b"train_loss", b"val_loss", b"eval_loss", b"validation/loss", b"lr",
    b"learning_rate", b"lr-AdamW/pg1", b"accuracy", b"val_acc", b"grad_norm", b"weight_norm", b"weight_decay", b"batch_size",
    b"tokens", b"wall_time", b"value", b"run - loss", b"train_runtime", b"log_history", b"_step", b"time",
)  # fmt: skip


def _of(name: str) -> Callable[[bytes], object]:
    """Return what reads the bytes as a file of this name: as a history, and as the log of the laws."""

    def looked(data: bytes) -> object:
        path = placed(name, data)
        with contextlib.suppress(DwindleError):
            read(path, needs_lr=False)
        whole = history(path)
        assert all(np.isfinite(series.step).all() for series in whole.series.values()), "a step that is not finite"
        assert set(whole.roles.values()) <= set(whole.series), "a role of no column"
        return whole

    return looked


def _doctor(name: str) -> Callable[[bytes], object]:
    """Return what tells the findings in a file of this name."""
    return lambda data: findings.of_history(history(placed(name, data)))


def _packed(name: str) -> Callable[[bytes], object]:
    looked = _of(name)
    return lambda data: looked(gzip.compress(data, 1, mtime=0))


def _unpacked(name: str) -> Callable[[bytes], object]:
    """Return what reads bytes as a packed file, if there is at most 1 MB in it: rows of more take seconds, at whatever speed."""
    looked = _of(name)
    return lambda data: None if _is_long(data) else looked(data)


def _is_long(data: bytes) -> bool:
    try:
        return len(gzip.open(io.BytesIO(data)).read(2**20 + 1)) > 2**20
    except (OSError, EOFError, zlib.error):
        return False


def _utf16(name: str) -> Callable[[bytes], object]:
    looked = _of(name)
    return lambda data: looked(data.decode("utf-8", "replace").encode("utf-16"))


def resealed(data: bytes) -> bytes:
    """Return records of TensorBoard with the lengths and checksums that they should have."""
    out = []
    while data:
        size = struct.unpack("<Q", data[:8])[0] if len(data) >= 8 else 0
        inside, data = (data[12 : 12 + size], data[16 + size :]) if size <= len(data) else (data[12:], b"")
        out.append(record(inside))
    return b"".join(out)


def record(data: bytes) -> bytes:
    """Return a record of TensorBoard: length, its CRC-32C, the data, its CRC-32C."""
    head = struct.pack("<Q", len(data))
    return b"".join((head, struct.pack("<I", masked(crc32c(head))), data, struct.pack("<I", masked(crc32c(data)))))


def _csv() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in beginnings(".csv"))
    yield from ((form, data) for form in (0, 1, 2) for data in beginnings(".csv", most=6, size=600))
    yield from ((0, data) for data in texts("test_logs", "test_logs_formats", "test_logs_tools", among=","))
    yield 0, b"epoch;Lern-Rate;loss\n1;0,5;2,25\n2;0,5;2,1\n"
    yield 0, b'"step","loss"\n"1","3,2"\n"2","nan"\n'
    yield 0, b"Wall time,Step,Value\n1.5,10,3\n1.6,20,2.5\n"


def _jsonl() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in beginnings(".jsonl"))
    yield from ((0, data) for data in texts("test_logs", "test_logs_formats", "test_logs_tools", among="{"))
    yield 0, b'{"step": 1, "train": {"loss": 3.5}, "lr": [0.1, 0.2]}\n{"step": 2, "train": {"loss": "nan"}}\n'
    yield 1, b'INFO {"step": 1, "loss": 3.5}\n{"step": 2, "loss": NaN, "eval": null}\n'


def _json() -> Iterator[tuple[int, bytes]]:
    yield from ((form, data) for form in (0, 1) for data in beginnings("trainer_state.json", ".json"))
    yield from ((0, data) for data in texts("test_logs", "test_logs_formats", "test_logs_tools", among="["))
    yield 0, b'{"step": [1, 2, 3], "loss": [3.5, 3.0, 2.5], "lr": [0.1, 0.1, 0.05]}'
    yield 0, b'{"loss": {"0": 3.5, "1": 3.0}, "val_loss": {"0": 4, "1": 5}}'
    yield 0, b'[{"step": 1, "loss": 3.5}, {"step": 2, "loss": 3.0}]'
    yield (
        1,
        b'{"global_step": 2, "log_history": [{"step": 1, "loss": 1.0, "learning_rate": 1e-3}, {"step": 2, "eval_loss": 2}]}',
    )


def _events() -> Iterator[tuple[int, bytes]]:
    for data in beginnings("clinic.1.0", size=1200, most=8):
        yield 0, data
        yield 1, data
    yield 1, record(b"\x1a\x0dbrain.Event:2") + b"".join(record(_scalar(b"loss", s, 1.0 / s)) for s in range(1, 9))


def _scalar(tag: bytes, step: int, number: float) -> bytes:
    value = b"\x0a" + bytes([len(tag)]) + tag + b"\x15" + struct.pack("<f", number)
    summary = b"\x0a" + bytes([len(value)]) + value
    return b"\x09" + struct.pack("<d", 1.0) + b"\x10" + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary


def _gzip() -> Iterator[tuple[int, bytes]]:
    """Yield what is packed (the bytes themselves are changed), what is to be packed, and a bomb."""
    for data in beginnings(".csv", ".jsonl", "trainer_state.json", size=600, most=10):
        yield 0, gzip.compress(data, mtime=0)
        yield 1, data
    half = next(beginnings(".csv", size=400))
    yield 0, gzip.compress(half, mtime=0) + gzip.compress(half, mtime=0)
    yield 0, gzip.compress(gzip.compress(half, mtime=0), mtime=0)
    bomb = zlib.compressobj(9, wbits=31)
    yield 0, bomb.compress(b"step,loss\n" + b"1,2\n" * 200_000) + bomb.flush()


def _diagnosed() -> Iterator[tuple[int, bytes]]:
    yield from ((0, data) for data in beginnings(".csv", size=2500, most=60))
    yield from ((1, data) for data in beginnings(".jsonl", "trainer_state.json", size=2500, most=30))


READERS = (
    Reader("log-csv", (_of("run.csv"), _packed("run.csv"), _utf16("run.csv"), _of("run-a-tag-loss.csv")), _csv, _NAMES, 16384),
    Reader("log-jsonl", (_of("run.jsonl"), _of("run.log")), _jsonl, (*_NAMES, b'{"step": 1}', b"NaN"), 16384),
    Reader("log-json", (_of("run.json"), _of("trainer_state.json")), _json, (*_NAMES, b'"log_history": ['), 16384),
    Reader(
        "log-events", (_of("events.out.tfevents.1"), lambda data: _of("events.out.tfevents.1")(resealed(data))), _events,
        (*_NAMES, b"\x0a", b"\x10", b"\x12", b"\x15", b"\x1a", b"\x2a", b"\x42", b"\x80" * 10, b"scalars", b"brain.Event:2"),
            16384,
    ),
    Reader("log-findings", (_doctor("run.csv"), _doctor("run.jsonl")), _diagnosed, (*_NAMES, b"1e308", b"-1e308", b"nan",
        b"inf", b"5e-324"), 16384),
    Reader("log-gzip", (_unpacked("run.gz"), _packed("run.json.gz")), _gzip, _NAMES, 16384),
)  # fmt: skip
