"""What a training keeps: the population's checkpoints and what it notes of itself, and the state of an attached run."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator

import numpy as np

import dwindle as dw
from dwindle.checksum import checksum
from dwindle.population import checkpoint
from dwindle.schedule.plateau import Plateau
from dwindle.text import parse
from fuzz.reader import Reader, placed
from fuzz.readers.plans import PLANS

_CHUNKS = [np.array([0, 2]), np.array([1])]


def _training(data: bytes) -> object:
    path = placed("training.json", data)
    threads, chunks = checkpoint.agreed(path.parent, "mine", 2, _CHUNKS)
    assert threads > 0, "no threads"
    assert sorted(k for chunk in chunks for k in chunk.tolist()) == [0, 1, 2], (
        "chunks that are not those of the members"
    )
    return chunks


def _tensors(data: bytes) -> object:
    return checkpoint.read(placed("a.safetensors", data), "mine")


def _with_header(data: bytes) -> object:
    """Read a header, which ends in a newline, and its tensors under the length that the header has."""
    header, _, body = data.partition(b"\n")
    return _tensors(struct.pack("<Q", len(header)) + header + body)


def _state(feedback: bool, on_change: str) -> Callable[[bytes], object]:
    """Return what resumes a run from a state, which is to say where JSON has it from; without a framework until it is asked."""

    def read(data: bytes) -> object:
        from dwindle.torch.resume import Given, resumed

        try:
            state = json.loads(data)
        except (ValueError, RecursionError):  # the file is the user's, not dwindle's
            return None
        rule = Plateau(0.5, patience=3, peak=1.0) if feedback else None
        return resumed(state, Given(parse(PLANS[0]), dw.Horizon(steps=100), rule), on_change)

    return read


def _trainings() -> Iterator[tuple[int, bytes]]:
    said = {"format": checkpoint.FORMAT, "training": "mine", "threads": 2, "chunks": [[0, 2], [1]]}
    yield 0, json.dumps(said).encode()
    yield 0, json.dumps(said | {"checksum": checksum(said)}).encode()


def _checkpoints() -> Iterator[tuple[int, bytes]]:
    path = placed("seed.safetensors", b"")
    for arrays in (
        {"w": np.arange(6.0).reshape(2, 3), "m": np.ones(2, np.float32)},
        {"e": np.zeros((0, 3)), "s": np.array(5)},
    ):
        checkpoint.write(path, "mine", 5, arrays)
        whole = path.read_bytes()
        size = struct.unpack("<Q", whole[:8])[0]
        yield 0, whole
        yield 1, whole[8 : 8 + size] + b"\n" + whole[8 + size :]


def _states() -> Iterator[tuple[int, bytes]]:
    from dataclasses import replace

    from dwindle.torch.resume import Given, Progress, record

    plan, run = parse(PLANS[0]), dw.Horizon(steps=100)
    rule = Plateau(0.5, patience=3, peak=1.0)
    for form in range(4):
        given = Given(plan, run, rule) if form % 2 else Given(plan, run)
        for now in (
            given.begin(7),
            Progress(7, replace(plan, schedule=dw.constant()), dw.Horizon(steps=200), given.begin().feedback),
        ):
            yield form, json.dumps(record(given, now)).encode()
            yield form, json.dumps(record(given, now)).encode() + b" "


READERS = (
    Reader("training-json", (_training,), _trainings, (b'"format"', b'"training"', b'"threads"', b'"chunks"', b'"checksum"',
        b"[[0, 1, 2]]", b"[0]")),
    Reader("checkpoint", (_tensors, _with_header), _checkpoints,
           (b'"__metadata__"', b'"dtype"', b'"F64"', b'"BF16"', b'"F8_E4M3"', b'"BOOL"', b'"shape"', b'"data_offsets"',
               b'"step"', b'"digest"',
            b'"training"', b'"mine"', b"[0, 48]", b"[]", b"\xff" * 8)),
    Reader("torch-state", (_state(False, "error"), _state(True, "keep"), _state(False, "rescale"), _state(True, "restart")),
        _states,
           (b'"format"', b'"step"', b'"plan"', b'"horizon"', b'"steps"', b'"steps_per_epoch"', b'"batch_size"', b'"replanned"',
               b'"feedback"',
            b'"rule"', b'"state"', b'"kind"', b'"fields"', b'"Plateau"', b'"checksum"', b'"peak 1 | constant"', b'"epochs"')),
)  # fmt: skip
