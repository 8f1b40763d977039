"""What dwindle writes and reads again: a file cut anywhere, or with any bit turned, is refused or says what it said before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle import text
from dwindle.checksum import checksum
from dwindle.errors import DwindleError, ParseError, ResumeError
from dwindle.population import checkpoint
from dwindle.studies.store import Store
from dwindle.torch.resume import Given, Progress, record, resumed

PLAN = dw.parse(
    'peak 1 | warmup 2%, cosine to 10% | decoupled 0.1 | mask name "*" decays, standard | group "head" "head.*" times 2'
)
RUN = dw.Horizon(steps=100)
GIVEN = Given(PLAN, RUN)


def plan_file(suffix: str) -> tuple[Callable[[Path], Path], Callable[[Path], Any]]:
    return lambda folder: text.save(PLAN, folder / f"plan{suffix}"), text.load


def state_file(folder: Path) -> Path:
    path = folder / "state.json"
    path.write_text(json.dumps(record(GIVEN, Progress(7, PLAN, RUN))))
    return path


def read_state(path: Path) -> Any:
    try:
        state = json.loads(path.read_bytes())
    except ValueError as error:  # the file is the user's, not ours
        raise ResumeError("not JSON") from error
    return resumed(state, GIVEN, "error")


def checkpoint_file(folder: Path) -> Path:
    checkpoint.write(
        folder / "a.safetensors", "mine", 5, {"w": np.arange(6.0).reshape(2, 3), "m": np.ones(2, np.float32)}
    )
    return folder / "a.safetensors"


def read_checkpoint(path: Path) -> Any:
    kept = checkpoint.read(path, "mine")
    return None if kept is None else (kept.step, {name: array.tolist() for name, array in sorted(kept.arrays.items())})


def training_file(folder: Path) -> Path:
    checkpoint.agreed(folder / "kept", "mine", 2, [np.array([0, 2]), np.array([1])])
    return folder / "kept" / "training.json"


def read_training(path: Path) -> Any:
    threads, chunks = checkpoint.agreed(path.parent, "mine", 2, [np.array([0, 2]), np.array([1])])
    return threads, [chunk.tolist() for chunk in chunks]


def store_file(folder: Path) -> Path:
    store = Store.open(folder / "study")
    store.add({"key": f"k{n}", "loss": n / 7} for n in range(3))
    store.close()
    return folder / "study" / "trials.jsonl"


def read_store(path: Path) -> Any:
    """Return the records, those lost counted: a store says how many lines it left out, and trains them again."""
    store = Store.open(path.parent)
    store.close()
    whole = {f"k{n}": {"key": f"k{n}", "loss": n / 7} for n in range(3)}
    assert store.records.items() <= whole.items()
    if store.spoilt:
        raise ResumeError(f"{store.spoilt} lines left out")
    return store.records


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "plan.toml": plan_file(".toml"),
    "plan.json": plan_file(".json"),
    "plan.txt": plan_file(".txt"),
    "state of an attached run": (state_file, read_state),
    "checkpoint of a population": (checkpoint_file, read_checkpoint),
    "training.json of a population": (training_file, read_training),
    "trials.jsonl of a study": (store_file, read_store),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_anywhere_is_never_read_as_another(name: str, tmp_path: Path) -> None:
    make, read = FILES[name]
    path = make(tmp_path)
    whole, before = path.read_bytes(), read(path)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        try:
            after = read(path)
        except DwindleError:
            continue
        if name.startswith("trials"):  # whole lines may be gone; then their trials are trained again
            assert after.items() <= before.items()
        else:
            assert after == before, length


@pytest.mark.parametrize("name", FILES)
def test_a_turned_bit_is_never_read_as_another_value(name: str, tmp_path: Path) -> None:
    make, read = FILES[name]
    path = make(tmp_path)
    whole, before = path.read_bytes(), read(path)
    bits = np.random.default_rng(0).permutation(8 * len(whole))[:1000]
    refused = 0
    for bit in bits:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(damaged)
        try:
            assert read(path) == before, int(bit)
        except DwindleError:
            refused += 1
    assert refused > 0.9 * len(bits)


@pytest.mark.parametrize("suffix", [".toml", ".json", ".txt"])
def test_a_plan_edited_by_hand_says_what_to_do(suffix: str, tmp_path: Path) -> None:
    path = text.save(dw.parse("peak 0.1 | cosine | decoupled 0.5"), tmp_path / f"plan{suffix}")
    edited = path.read_text().replace("0.5", "0.25")
    path.write_text(edited)
    with pytest.raises(ParseError, match="delete the checksum"):
        text.load(path)
    path.write_text("\n".join(line for line in edited.splitlines() if "crc32" not in line))
    assert text.load(path) == dw.parse("peak 0.1 | cosine | decoupled 0.25")


def test_white_space_order_and_comments_are_no_damage(tmp_path: Path) -> None:
    path = text.save(PLAN, tmp_path / "plan.toml")
    head, checked, peak, schedule, *rest = path.read_text().splitlines()
    path.write_text(
        "\r\n".join(["# mine", head, schedule, peak.replace(" = 1", "=1.0"), checked, *rest]) + "\r\n", newline=""
    )
    assert text.load(path) == PLAN


def test_a_checksum_is_of_what_a_value_says() -> None:
    assert checksum({"a": (1, 2)}) == checksum({"a": [1, 2]})
    assert checksum({"a": np.int64(3)}) == checksum({"a": 3})
    assert checksum({"a": 3}) != checksum({"a": 3.5})
    with pytest.raises(TypeError, match="object"):
        checksum(object())
