"""What dwindle writes and reads again: a file cut anywhere, or with any bit turned, is refused or says what it said before."""

from __future__ import annotations

import hashlib
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
from dwindle.studies import fit
from dwindle.studies.store import Store
from dwindle.torch.resume import Given, Progress, record, resumed

PLAN = dw.parse(
    'peak 1 | warmup 2%, cosine to 10% | decoupled 0.1 | mask name "*" decays, standard | group "head" "head.*" times 2'
)


def plan_file(suffix: str) -> tuple[Callable[[Path], Path], Callable[[Path], Any]]:
    return lambda folder: text.save(PLAN, folder / f"plan{suffix}"), text.load


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


def weights_file(folder: Path) -> Path:
    content = fit._npz({"0.weight": np.arange(6.0, dtype=np.float32).reshape(2, 3), "0.bias": np.ones(2, np.float32)})
    (folder / "weights.npz").write_bytes(content)
    (folder / "sha256").write_text(hashlib.sha256(content).hexdigest())
    return folder / "weights.npz"


def read_weights(path: Path) -> Any:
    """Return the weights; those that are not what the study's record says count as lost, and are trained again."""
    found = fit._read(path, (path.parent / "sha256").read_text())
    if found is None:
        raise ResumeError("not the file that was written")
    return {name: array.tolist() for name, array in found.items()}


FILES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "plan.toml": plan_file(".toml"),
    "plan.json": plan_file(".json"),
    "plan.txt": plan_file(".txt"),
    "checkpoint of a population": (checkpoint_file, read_checkpoint),
    "training.json of a population": (training_file, read_training),
    "trials.jsonl of a study": (store_file, read_store),
    "weights.npz of a study": (weights_file, read_weights),
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


# --- what was written before: small files as 0.1.0 writes them, and as they were before the checksums came

FORMATS = Path(__file__).parent / "assets" / "formats"
KEPT = dw.parse(
    'peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1 | mask name "*.gain" does not, standard | '
    'group "head" "head.*" times 2'
)
OLD = ("0.1.0", "without_checksum")


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize("suffix", [".toml", ".json", ".txt"])
def test_a_plan_of_any_version_is_read(version: str, suffix: str) -> None:
    assert text.load(FORMATS / version / f"plan{suffix}") == KEPT


def test_a_state_of_0_1_0_goes_on() -> None:
    """It lies in the user's own checkpoint, whose format knows damage, and its step may be told by hand: no checksum."""
    rule = dw.plateau(0.5, patience=3, peak=3e-4)
    given = Given(KEPT, dw.Horizon(epochs=10, steps_per_epoch=500, batch_size=64), rule)
    now = resumed(json.loads((FORMATS / "0.1.0" / "torch_state.json").read_text()), given, "error")
    assert now == Progress(7, KEPT, given.horizon, rule.init())


@pytest.mark.parametrize("version", OLD)
def test_a_training_of_any_version_goes_on(version: str, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes((FORMATS / version / "training.json").read_bytes())
    chunks = [np.array([0, 2]), np.array([1])]
    threads, found = checkpoint.agreed(tmp_path, "an example", 7, chunks)
    assert (threads, [chunk.tolist() for chunk in found]) == (2, [[0, 2], [1]])
    with pytest.raises(ResumeError, match="is of another training"):
        checkpoint.agreed(tmp_path, "another", 7, chunks)


def test_a_checkpoint_of_0_1_0_is_read() -> None:
    kept = checkpoint.read(FORMATS / "0.1.0" / "member.safetensors", "an example")
    assert kept is not None
    assert kept.step == 5
    assert {name: array.tolist() for name, array in kept.arrays.items()} == {
        "w": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], "m": [1.0, 1.0],
    }  # fmt: skip


def test_trials_of_0_1_0_are_read_and_those_of_the_format_before_counted_and_left_as_they_are(tmp_path: Path) -> None:
    """dwindle-trials/1 has not what a study now goes on by (SECURITY.md): what it held is trained again."""
    new, old = (
        (FORMATS / "0.1.0" / "trials.jsonl").read_bytes(),
        (FORMATS / "without_checksum" / "trials-1.jsonl").read_bytes(),
    )
    (tmp_path / "trials.jsonl").write_bytes(old + new)
    store = Store.open(tmp_path)
    store.add([{"key": "new", "stage": "sweep", "loss": 1.0}])
    store.close()
    assert store.records == {f"k{n}": {"key": f"k{n}", "stage": "sweep", "loss": n / 7} for n in range(3)} | {
        "new": {"key": "new", "stage": "sweep", "loss": 1.0}
    }
    assert store.spoilt == 3
    assert (tmp_path / "trials.jsonl").read_bytes().startswith(old + new)


@pytest.mark.parametrize(
    "name", ["plan.toml", "plan.json", "plan.txt", "torch_state.json", "training.json", "trials.jsonl"]
)
def test_what_is_written_today_is_what_0_1_0_wrote(name: str, tmp_path: Path) -> None:
    """If it no longer is, the format has another version, and the old one stays among the assets."""
    if name.startswith("plan"):
        text.save(KEPT, tmp_path / name)
    elif name == "torch_state.json":
        rule = dw.plateau(0.5, patience=3, peak=3e-4)
        run = dw.Horizon(epochs=10, steps_per_epoch=500, batch_size=64)
        said = record(Given(KEPT, run, rule), Progress(7, KEPT, run, rule.init()))
        (tmp_path / name).write_text(json.dumps(said, indent=1) + "\n")
    elif name == "training.json":
        checkpoint.agreed(tmp_path, "an example", 2, [np.array([0, 2]), np.array([1])])
    else:
        store = Store.open(tmp_path)
        store.add({"key": f"k{n}", "stage": "sweep", "loss": n / 7} for n in range(3))
        store.close()
    assert (tmp_path / name).read_bytes() == (FORMATS / "0.1.0" / name).read_bytes()


@pytest.mark.parametrize("written", ["dwindle-plan/2", "dwindle-plan/99", "dwindle-torch/1", ""])
def test_a_version_that_is_not_known_is_refused_by_name(written: str, tmp_path: Path) -> None:
    content = (FORMATS / "0.1.0" / "plan.toml").read_text().replace("dwindle-plan/1", written)
    (tmp_path / "plan.toml").write_text(content)
    with pytest.raises(ParseError, match=f"got '{written}'"):
        text.load(tmp_path / "plan.toml")
    assert (tmp_path / "plan.toml").read_text() == content
