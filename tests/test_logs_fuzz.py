"""Whatever bytes a log is made of, reading it gives a value or a DataError, and nothing that was not written."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError
from dwindle.logs import History, Log, history, read
from dwindle.logs.crc32c import crc32c, crc32c_of, masked

ROWS = [(step, 0.5 / step, 3.0 + 1.0 / step) for step in (10, 20, 30, 40, 50)]


def record(data: bytes) -> bytes:
    head = struct.pack("<Q", len(data))
    return b"".join((head, struct.pack("<I", masked(crc32c(head))), data, struct.pack("<I", masked(crc32c(data)))))


def scalar(tag: str, step: int, number: float) -> bytes:
    value = b"\x0a" + bytes([len(tag)]) + tag.encode() + b"\x15" + struct.pack("<f", number)
    summary = b"\x0a" + bytes([len(value)]) + value
    return b"\x09" + struct.pack("<d", 1.0) + b"\x10" + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary


def samples() -> dict[str, bytes]:
    rows = [{"step": step, "lr": lr, "train": {"loss": loss}} for step, lr, loss in ROWS]
    state = [{"step": step, "learning_rate": lr, "loss": loss, "epoch": step / 10} for step, lr, loss in ROWS]
    lines = ["step,lr,loss", *(f"{step},{lr!r},{loss!r}" for step, lr, loss in ROWS)]
    events = b"".join(
        record(scalar(tag, step, v)) for step, lr, loss in ROWS for tag, v in (("lr", lr), ("train/loss", loss))
    )
    return {
        "csv": "\n".join(lines).encode() + b"\n",
        "quoted": "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in lines).encode() + b"\n",
        "jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode(),
        "state": json.dumps({"global_step": 50, "log_history": state}, indent=2).encode(),
        "columns": json.dumps({"step": [r[0] for r in ROWS], "loss": [r[2] for r in ROWS]}).encode(),
        "gzip": gzip.compress("\n".join(lines).encode() + b"\n", mtime=0),
        "events": record(b"\x1a\x0dbrain.Event:2") + events,
        "utf16": ("\n".join(lines) + "\n").encode("utf-16"),
    }


SAMPLES = samples()
LENGTHS = [len(scalar(tag, 1, 1.0)) + 16 for _ in ROWS for tag in ("lr", "train/loss")]
BOUNDARIES = set(np.cumsum([len(record(b"\x1a\x0dbrain.Event:2")), *LENGTHS]).tolist())


def readable(path: Path) -> tuple[History | None, Log | None]:
    """Return what is read, None for a DataError; anything else is raised."""
    refused: list[str] = []
    try:
        whole = history(path)
        assert all(np.isfinite(series.step).all() for series in whole.series.values())
        assert set(whole.roles.values()) <= set(whole.series)
    except DataError as error:
        refused.append(str(error))
        whole = None
    try:
        log = read(path, needs_lr=False)
        assert log.step.shape == log.lr.shape == log.loss.shape
    except DataError as error:
        refused.append(str(error))
        log = None
    assert all(path.name in message for message in refused)
    return whole, log


@pytest.mark.parametrize("name", SAMPLES)
def test_the_samples_are_read_whole(name: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(SAMPLES[name])
    whole, log = readable(path)
    assert whole is not None
    assert log is not None
    loss = whole.get("training loss")
    assert loss is not None
    want = np.array([row[2] for row in ROWS], dtype=np.float32 if name == "events" else np.float64)
    np.testing.assert_array_equal(loss.value, want)
    np.testing.assert_array_equal(loss.step, [row[0] for row in ROWS])
    np.testing.assert_array_equal(log.loss[~np.isnan(log.loss)], want)


@pytest.mark.parametrize("name", SAMPLES)
def test_cut_at_every_byte_what_is_read_is_what_was_written(name: str, tmp_path: Path) -> None:
    data, path = SAMPLES[name], tmp_path / "run"
    path.write_bytes(data)
    full = history(path).get("training loss")
    assert full is not None
    most = 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole, _ = readable(path)
        loss = whole.get("training loss") if whole else None
        if loss is None or not len(loss):
            continue
        kept = len(loss) - any("cut short" in note and "cell" in note for note in whole.notes) if whole else 0
        np.testing.assert_array_equal(loss.value[:kept], full.value[:kept])
        np.testing.assert_array_equal(loss.step[:kept], full.step[:kept])
        if len(loss) < len(full):
            assert whole is not None
            between = (
                size in BOUNDARIES
                if name == "events"
                else data[size - 1 : size] == b"\n" or data[size : size + 1] == b"\n"
            )
            assert whole.notes or between or name == "utf16", size
        most = max(most, len(loss))
    assert most >= len(full) - 1


PIECES = st.sampled_from([
    b",", b"\n", b"\r", b'"', b"{", b"[", b"]", b"}", b"\0", b"nan", b"inf", b"1e400", b"-", b"\xff", b"\x1f\x8b", b"step",
    b"loss", b"_", b":", b"9" * 400, b"[" * 2000, b"\xef\xbb\xbf", b"\xff\xfe", b"train_runtime", b'"step":', b"NaN",
    b"1;2", b"\t",
])  # fmt: skip


@given(
    name=st.sampled_from(sorted(SAMPLES)),
    changes=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.binary(max_size=6) | PIECES), min_size=1, max_size=6
    ),
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_logs_are_read_or_refused(name: str, changes: list[tuple[float, int, bytes]], tmp_path: Path) -> None:
    data = SAMPLES[name]
    for where, drop, put in changes:
        at = int(where * len(data))
        data = data[:at] + put + data[at + drop :]
    path = tmp_path / "run"
    path.write_bytes(data)
    readable(path)


@given(
    data=st.binary(max_size=300)
    | st.lists(PIECES | st.sampled_from([b"1", b"2.5", b"loss"]), max_size=40).map(b"".join)
)
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_read_or_refused(data: bytes, tmp_path: Path) -> None:
    for name in ("run", "events.out.tfevents.1"):
        path = tmp_path / name
        path.write_bytes(data)
        readable(path)


@pytest.mark.law
@given(bit=st.integers(0, 8 * len(SAMPLES["events"]) - 1))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_flipped_bit_in_events_loses_at_most_its_record(bit: int, tmp_path: Path) -> None:
    data = bytearray(SAMPLES["events"])
    data[bit // 8] ^= 1 << bit % 8
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(data)
    whole, _ = readable(path)
    assert whole is not None
    assert sum(map(len, whole.series.values())) >= 2 * len(ROWS) - 1
    assert len(whole.notes) == 1
    wanted = {(tag, step, np.float32(v)) for step, lr, loss in ROWS for tag, v in (("lr", lr), ("train/loss", loss))}
    got = {(s.name, step, value) for s in whole.series.values() for step, value in zip(s.step, s.value, strict=True)}
    assert got <= wanted


def test_the_checksum_is_crc32c() -> None:
    # RFC 3720, appendix B.4
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


def bit_by_bit(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


@pytest.mark.law
@given(
    st.lists(st.integers(0, 40) | st.sampled_from([4095, 4096, 4097, 5000]), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=30)
def test_checksums_of_many_at_once_are_those_of_each(lengths: list[int], seed: int) -> None:
    ends = np.cumsum(lengths)
    data = np.random.default_rng(seed).integers(0, 256, int(ends[-1]), dtype=np.uint8)
    begin = ends - lengths
    got = crc32c_of(data, begin, np.array(lengths))
    assert got.tolist() == [bit_by_bit(data[b:e].tobytes()) for b, e in zip(begin, ends, strict=True)]
