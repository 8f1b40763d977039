"""What a study takes and keeps: its space, as a line and as TOML, and its finished trials."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from dwindle.lab.studied import studied
from dwindle.studies.space import Space
from dwindle.studies.store import TRIALS, Store, _line
from fuzz.corpus import texts
from fuzz.reader import Reader, placed
from fuzz.readers.plans import _WORDS

_SPACES = (
    "lam 0 1e-4..1 | peak 1e-4..1e-1 | schedule constant; cosine to 0..20% | decoupled l2",
    "lam 0 1 | peak 1e-3 | batch 16 32..64 linear | schedule step by 0.3..0.7 every 2..10ep; halve every 10..300 log | l2",
    "lam 0 0.1 | peak 1e-3 1e-2 | schedule warmup 1..10%, cosine to 0..5%; "
    "piecewise at [2..4ep 5ep..9ep] factors [1 0.1..0.5 0.01..0.1 log]",
)
_RECORD = {
    "key": "k", "stage": "sweep", "task": "fashion", "seed": 0, "lam": 0.1, "peak": 0.01, "schedule": "constant",
    "batch_size": 16,
    "plan": "peak 0.01 | constant | l2 0.1", "diverged": False, "stopped_at": None, "final": {"validation_loss": 0.5,
    "train_loss": 0.4},
    "test_loss": 0.5, "test_accuracy": 0.9, "metrics": {"test": {}, "validation": {}}, "curve": {"epoch": [1, 2],
    "train_loss": [1, 0.5]},
}  # fmt: skip


def _looked(space: Space) -> object:
    assert Space.parse(str(space)) == space, "the text of a space reads back as another"
    if space.finite and len(space.axes) < 20 and _many(space) > 2000:
        return space
    points = space.candidates(most=5)
    assert all(space.candidate(point.params) == point for point in points), "a point of a space is not found again"
    return points


def _many(space: Space) -> int:
    number = 1
    for axis in space.axes:
        number *= len(axis.items)
    return number


def _text(data: bytes) -> object:
    return _looked(Space.parse(data.decode("utf-8", "surrogateescape")))


def _toml(data: bytes) -> object:
    return _looked(Space.load(placed("space.toml", data)))


def _trials(data: bytes) -> object:
    """Open the store with this file of trials; and look at its study as the lab does."""
    folder = _study(data)
    store = Store.open(folder)
    store.close()
    return studied(str(folder)), store.records


def _bodies(data: bytes) -> object:
    """Seal every line as a record: what a store of another version, or another program, may have written."""
    lines = []
    for line in data.split(b"\n"):
        try:
            record = json.loads(line)
            lines.append(_line(record))
        except (ValueError, RecursionError, TypeError):
            continue
    return _trials("".join(lines).encode())


def _study(data: bytes) -> Path:
    folder = placed("none", b"").parent / "study"
    folder.mkdir(exist_ok=True)
    (folder / TRIALS).write_bytes(data)
    return folder


def _spaces() -> Iterator[tuple[int, bytes]]:
    yield from ((0, space.encode()) for space in _SPACES)
    yield from ((0, data) for data in texts("test_space", among="|"))
    yield 0, str(Space()).encode()


def _tables() -> Iterator[tuple[int, bytes]]:
    yield (
        0,
        b'lams = [0, "1e-4..1"]\npeaks = [0.001, 0.01]\n'
        b'schedules = ["constant", "cosine to 0..20%"]\nconvention = ["l2", "decoupled"]\n',
    )
    yield (
        0,
        b'lams = 0.1\npeaks = "1e-3..1e-1 log"\nschedules = "constant"\nconvention = "l2"\nbatch_sizes = [16, "32..64"]\n',
    )
    yield from ((0, data) for data in texts("test_space", "test_cli_study", among=" = "))


def _records() -> Iterator[tuple[int, bytes]]:
    body = json.dumps(_RECORD)
    more = {**_RECORD, "key": "l", "stage": "fit", "stopped_at": 1.5, "diverged": True}
    yield 1, f"{body}\n{json.dumps(more)}\n".encode()
    yield 0, (_line(_RECORD) + _line(more)).encode()
    yield 1, b'{"key": "k"}\n{"key": 1}\n[]\n'


READERS = (
    Reader("space-text", (_text,), _spaces, (*_WORDS, b"..", b"1..2", b"0..1 log", b" linear", b";", b"lam ", b"batch ",
        b"1e-4..1")),
    Reader("space-toml", (_toml,), _tables, (b"lams", b"peaks", b"schedules", b"convention", b"batch_sizes", b'"1..2"',
        b"1979-05-27", b"[x]\n", b"inf")),
    Reader("trials", (_trials, _bodies), _records, (*tuple(f'"{key}"'.encode() for key in _RECORD), b"dwindle-trials/2", b"crc",
        b"body", b"sweep")),
)  # fmt: skip
