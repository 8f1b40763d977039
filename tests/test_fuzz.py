"""The short form of `make fuzz`, without atheris: every reader on what it begins with, and on changes of it."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from fuzz.mutations import mutated  # noqa: E402
from fuzz.reader import Reader, broken  # noqa: E402
from fuzz.readers import named, readers  # noqa: E402

from dwindle.errors import InvalidValueError  # noqa: E402

SEEDS, CHANGES = 25, 150
SLOW = {"log-findings": 4, "lab-log": 8, "lab-plan": 4, "recipe-source": 2, "config-program": 2}  # how many fewer


@pytest.mark.parametrize("name", readers())
def test_whatever_stands_in_it_is_read_or_refused(name: str) -> None:
    if name == "config-yaml":
        pytest.importorskip("yaml")
    if name == "data-parquet":
        pytest.importorskip("pyarrow")
    if name == "checkpoint":
        pytest.importorskip("safetensors")
    if name == "torch-state":
        pytest.importorskip("torch")
    reader, rng = named(name), random.Random(name)
    inputs = reader.inputs()
    assert inputs
    fewer = SLOW.get(name, 1)
    tried = inputs[:: max(1, len(inputs) // (SEEDS // fewer))]
    for _ in range(CHANGES // fewer):
        data = rng.choice(inputs)
        tried.append(data[:1] + mutated(rng, data[1:], reader.words, inputs, reader.longest))
    for data in tried:
        found = broken(reader, data)
        assert found is None, f"{found.where}\n{data!r}\n{found.traceback}"


def lost(data: bytes) -> object:
    return {}[data]  # type: ignore[index]


def refusing(data: bytes) -> object:
    raise InvalidValueError("no.")


def endless(data: bytes) -> object:
    while True:
        try:
            data += b""
        except Exception:  # what holds up any error does not hold up the time
            continue


def false(data: bytes) -> object:
    assert data == b"1", "a law"
    return data


def ended(data: bytes) -> object:
    raise SystemExit(1)


def reader_of(form: object) -> Reader:
    return Reader("x", (form,), lambda: [(0, b"0")])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "where"), [(lost, "KeyError"), (false, "AssertionError: a law"), (ended, "SystemExit")]
)
def test_another_error_is_a_breach(form: object, where: str) -> None:
    found = broken(reader_of(form), b"\0abc")
    assert found is not None
    assert found.where.startswith(where)
    assert "abc" in found.traceback or where != "KeyError"


def test_an_error_of_dwindle_is_none() -> None:
    assert broken(reader_of(refusing), b"\0abc") is None


def test_an_input_that_takes_too_long_is_a_breach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.reader.SECONDS", 0.05)
    found = broken(reader_of(endless), b"\0abc")
    assert found is not None
    assert found.where.startswith("TooLong")


def test_the_first_byte_says_the_form() -> None:
    reader = Reader("x", (lambda data: ("a", data), lambda data: ("b", data)), lambda: [(1, b"seed"), (1, b"seed")])
    assert reader.inputs() == [b"\x01seed"]
    assert [reader(b"\x01z"), reader(b"\x02z"), reader(b"")] == [("b", b"z"), ("a", b"z"), None]


def test_changes_are_the_same_for_the_same_seed_and_no_longer_than_allowed() -> None:
    data, words = b"peak 0.1 | step by 0.5 every 5ep", (b"cosine", b"linear")
    one, two = ([mutated(random.Random(seed), data, words, [data], 60) for seed in range(300)] for _ in range(2))
    assert one == two
    assert max(map(len, one)) <= 60
    assert len(set(one)) > 250
    assert any(b"cosine" in each for each in one)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
def test_the_runner_tells_executions_coverage_and_memory(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(ROOT / "fuzz" / "run.py"),
        "--seconds",
        "4",
        "--only",
        "mask",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    row = done.stdout.splitlines()[1].split()
    assert row[0] == "mask"
    executions, coverage, corpus, _, memory, crashes = (int(cell.replace(",", "")) for cell in row[1:])
    assert executions > 500
    assert coverage > 50
    assert corpus > 20
    assert 10 < memory < 512
    assert crashes == 0
