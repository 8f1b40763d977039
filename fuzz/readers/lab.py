"""The lab's questions, asked of the function that answers them in a worker: it never fails, and what it tells is JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr

from dwindle.lab.api import Given, answer
from fuzz.corpus import beginnings
from fuzz.reader import FaultError, Reader
from fuzz.readers.logs import _NAMES
from fuzz.readers.plans import _WORDS, PLANS
from fuzz.readers.studies import _RECORD, _line, _study


def _asked(call: str, body: bytes, given: Given = Given()) -> object:  # noqa: B008
    with redirect_stderr(io.StringIO()) as said:
        status, told = answer(call, body, given)
    if status == 500:
        raise FaultError(said.getvalue())
    assert status in (200, 400, 422), f"status {status}"
    return json.loads(told, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise AssertionError(f"the answer holds {constant}, which is not JSON")


def _body(call: str) -> Callable[[bytes], object]:
    return lambda data: _asked(call, data)


def _plan(data: bytes) -> object:
    body = {
        "plan": data.decode("utf-8", "replace"),
        "steps": 50,
        "steps_per_epoch": 10,
        "batch_size": 8,
        "tokens_per_step": 100,
    }
    return _asked("plan", json.dumps(body).encode())


def _sent(name: str) -> Callable[[bytes], object]:
    return lambda data: _asked("log", json.dumps({"name": name, "data": base64.b64encode(data).decode()}).encode())


def _study_of(data: bytes) -> object:
    return _asked("study", b"{}", Given((str(_study(data)),)))


def _plans() -> Iterator[tuple[int, bytes]]:
    for plan in PLANS:
        yield 0, plan.encode()
        yield (
            1,
            json.dumps(
                {"plan": plan, "steps": 20, "steps_per_epoch": 5, "batch_size": 8, "tokens_per_step": 9}
            ).encode(),
        )


def _logs() -> Iterator[tuple[int, bytes]]:
    rows = [(10 * i, 0.1 * (1 - i / 40), 2.0 + 3.0 / (i + 1)) for i in range(1, 30)]
    yield 0, b"step,lr,loss\n" + b"".join(b"%d,%.4f,%.4f\n" % row for row in rows)
    yield (
        1,
        b"".join(json.dumps(dict(zip(("step", "lr", "val_loss"), row, strict=True))).encode() + b"\n" for row in rows),
    )
    yield from ((0, data) for data in beginnings(".csv", size=1200, most=10))
    yield from ((1, data) for data in beginnings(".jsonl", size=1200, most=6))
    yield from ((2, data) for data in beginnings("clinic.1.0", size=1200, most=2))
    yield (
        3,
        json.dumps(
            {"name": "../x.csv", "data": base64.b64encode(b"step,lr,loss\n1,0.1,2\n2,0.1,1\n").decode()}
        ).encode(),
    )
    yield 3, b"{}"


def _studies() -> Iterator[tuple[int, bytes]]:
    more = {**_RECORD, "key": "l", "stage": "fit"}
    yield 0, (_line(_RECORD) + _line(more)).encode()
    yield 1, b'{"x": 1}'


READERS = (
    Reader("lab-plan", (_plan, _body("plan")), _plans, (*_WORDS, b'"plan"', b'"steps"', b'"steps_per_epoch"', b'"batch_size"',
        b"5000000")),
    Reader("lab-log", (_sent("run.csv"), _sent("run.jsonl"), _sent("events.out.tfevents.1"), _body("log")), _logs, (*_NAMES,
        b'"name"', b'"data"')),
    Reader("lab-study", (_study_of, _body("study")), _studies, (b'"key"', b'"final"', b"{}")),
)  # fmt: skip
