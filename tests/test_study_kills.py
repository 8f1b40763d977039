"""A study killed again and again, at any moment: no finished trial is lost or counted twice, and it ends the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from dwindle.population import StoppedError, legs
from dwindle.studies import Store, Task, load, study

KILLS = int(os.environ.get("DWINDLE_KILLS", "6"))  # of each study
# A sampler's batches of 24, which halving judges; and folds, in whose batches a checkpoint is left at every evaluation.
STUDIES = {
    "sampler": [
        "--space", "lam 0 1e-3..1 | peak 1e-3..1e-1 | batch 50 100 | schedule constant; cosine to 0..20%", "--sampler", "tpe",
        "--trials", "34", "--hidden", "16", "--epochs", "8", "--label-noise", "0.2", "--seeds", "3",
    ],
    "folds": [
        "--space", "lam 0 1e-2 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0", "--folds", "2", "--hidden", "32",
        "--epochs", "12", "--label-noise", "0.2", "--seeds", "3",
    ],
}  # fmt: skip
DRIVER = """
import sys
from dwindle.cli import main
from dwindle.population import legs
legs.SAVE_SECONDS = 0.0
main(sys.argv[1:])
"""


def start(words: list[str], folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, "study", *words, "--json", "--quiet", "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finished(words: list[str], folder: Path) -> dict[str, Any]:
    out, _ = start(words, folder).communicate(timeout=200)
    return without_clock(json.loads(out))


def without_clock(evidence: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


def stored(folder: Path) -> dict[str, dict[str, Any]]:
    if not (folder / "trials.jsonl").exists():
        return {}
    store = Store.open(folder)
    store.close()
    return store.records


def shown(folder: Path) -> dict[str, str]:
    """What Optuna's own reader sees: the state of each trial by its key in the store, which no two of them share."""
    if not (folder / "study.db").exists():
        return {}
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / 'study.db'}")
    try:
        studies = {each.study_name: each._study_id for each in storage.get_all_studies()}
        found = [
            (f"trial {name} {t.user_attrs['id']}", t.state.name)
            for name, id_ in studies.items()
            for t in storage.get_all_trials(id_)
        ]
    finally:
        storage.remove_session()
        storage.engine.dispose()
    assert len(found) == len(dict(found)), "a trial is in the Optuna study twice"
    return dict(found)


@pytest.mark.slow
@pytest.mark.timeout(max(600, 30 * KILLS))
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("kind", STUDIES)
def test_a_study_killed_at_random_moments_ends_as_if_it_had_never_been(tmp_path: Path, kind: str) -> None:
    words, whole_folder = STUDIES[kind], tmp_path / "whole"
    finished(words, tmp_path / "warm")
    begun = time.monotonic()
    whole = finished(words, whole_folder)
    lasts = time.monotonic() - begun
    draw, kills, at_work, checkpoints, round_ = random.Random(0), 0, 0, 0, 0

    def enough() -> bool:
        """Whether the kills were as many as was asked, and some hit where it matters; after many times as many they must have."""
        hit = at_work > 3 and (kind != "folds" or checkpoints > 2)
        return kills >= KILLS and (hit or kills >= 8 * KILLS)

    while not enough():
        folder, known = tmp_path / f"round {round_}", dict[str, dict[str, Any]]()
        while not enough():
            process, begun = start(words, folder), time.monotonic()
            try:
                out, _ = process.communicate(timeout=draw.uniform(0.35, 0.95) * lasts)
                lasts = (
                    min(lasts, time.monotonic() - begun) if not known else lasts
                )  # this machine has others to do for too
                break  # it came to its end
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                out = ""
                kills += 1
            found = stored(folder)
            assert {key: found.get(key) for key in known} == known, "a finished trial was lost or has changed"
            assert shown(folder).keys() <= found.keys()
            at_work += len(found) > len(known)
            checkpoints += any(folder.glob("unfinished/*/*.safetensors"))
            known = found
        again = without_clock(json.loads(out)) if out else finished(words, folder)
        assert again == whole
        found = stored(folder)
        lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines() if line.endswith("}")]
        keys = Counter(json.loads(line["body"])["key"] for line in lines)
        assert max(keys.values()) == 1, "a trial was trained and counted twice"
        assert found == stored(whole_folder)
        states = shown(folder)
        assert states.keys() == {key for key, record in found.items() if record["stage"] == "trial"}
        assert states == shown(whole_folder)
        for name in ("weights.npz", "plan.toml"):
            assert (folder / name).read_bytes() == (whole_folder / name).read_bytes()
        assert not (folder / "unfinished").exists()
        assert not (folder / "lock").exists()
        round_ += 1
    stopped = sum(record["stage"] == "sweep" and record["stopped_at"] is not None for record in known.values())
    print(f"{kind}: {kills} kills, {at_work} between first and last trial, {checkpoints} left a checkpoint, {round_} studies "
          f"of {lasts:.1f} s, {len(whole['settings'][0]['trials'])} trials, {stopped} of the last one's let go")  # fmt: skip
    assert at_work > 3  # some were hit between their first and last trial
    if kind == "folds":
        assert checkpoints > 2


# --- what a kill may leave, made on purpose ---


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion"), hidden=(6,), epochs=4)


SEARCHED = "lam 0 1e-3..1 | peak 1e-3..1e-1 | schedule constant; cosine to 0"
HOW: dict[str, Any] = {"seeds": 2, "sampler": "tpe", "trials": 30}


@pytest.fixture(scope="module")
def searched(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A finished search by TPE in batches of 24 and 6, and its evidence."""
    folder = tmp_path_factory.mktemp("searched")
    return folder, without_clock(study(task, SEARCHED, **HOW, folder=folder).evidence)


@pytest.mark.parametrize(
    "lost", ["in the first batch", "the first batch", "in the last batch", "a training", "weights"]
)
def test_whatever_lines_are_lost_the_study_ends_the_same(
    task: Task, searched: tuple[Path, dict[str, Any]], tmp_path: Path, lost: str
) -> None:
    """TPE that had heard a part of a batch would go on with other points than it did."""
    whole, evidence = searched
    lines = (whole / "trials.jsonl").read_bytes().splitlines(keepends=True)
    records = [json.loads(json.loads(line)["body"]) for line in lines]
    trials = [i for i, record in enumerate(records) if record["stage"] == "trial"]
    assert [records[i]["id"] for i in trials] == list(range(30))
    gone = {
        "in the first batch": trials[7:9], "the first batch": trials[:24], "in the last batch": trials[-1:], "a training": [2],
        "weights": [],
    }[lost]  # fmt: skip
    for i in gone:
        middle = len(lines[i]) // 2
        lines[i] = lines[i][:middle] + b"\0" + lines[i][middle + 1 :]
    (tmp_path / "trials.jsonl").write_bytes(b"".join(lines))
    for name in ("study.db", "weights.npz"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    if lost == "weights":
        (tmp_path / "weights.npz").write_bytes(b"")
    said = pytest.warns(UserWarning, match=f"version.: {len(gone)}. Trainings that only they held are done again")
    with said if gone else nullcontext():
        again = study(task, SEARCHED, **HOW, folder=tmp_path)
    assert without_clock(again.evidence) == evidence
    assert (tmp_path / "weights.npz").read_bytes() == (whole / "weights.npz").read_bytes()
    assert len((tmp_path / "trials.jsonl").read_bytes().splitlines()) == len(lines) + len(gone)
    assert stored(tmp_path) == stored(whole)
    assert len(shown(tmp_path)) == 30


def test_a_batch_goes_on_from_its_checkpoint_and_what_is_left_over_goes(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left over: what belongs to a batch that was finished otherwise, such as one killed between its store and its removal."""
    whole = study(task, "lam 0 1 | peak 1e-2", seeds=2)
    monkeypatch.setattr(legs, "SAVE_SECONDS", 0.0)
    # a training of milliseconds waits until it was asked
    left, asked = threading.Event(), threading.Event()

    def held(file: Path, whose: str, step: int, arrays: Any, inner: Any = legs.write) -> None:
        inner(file, whose, step, arrays)
        if step > 0:
            left.set()
            asked.wait(60)

    def stop() -> bool:
        if left.is_set():
            asked.set()
        return left.is_set()

    with monkeypatch.context() as patched:
        patched.setattr(legs, "write", held)
        with pytest.raises(StoppedError):
            study(task, "lam 0 1 | peak 1e-2", seeds=2, folder=tmp_path, stop=stop)
    assert list(tmp_path.glob("unfinished/*/*.safetensors"))
    (tmp_path / "unfinished" / "other").mkdir()
    (tmp_path / "unfinished" / "other" / "training.json").write_text("{}")
    read: list[Any] = []
    monkeypatch.setattr(legs, "read", lambda *given, inner=legs.read: read.append(inner(*given)) or read[-1])
    again = study(task, "lam 0 1 | peak 1e-2", seeds=2, folder=tmp_path)
    assert any(found is not None and found.step > 0 for found in read)
    assert without_clock(again.evidence) == without_clock(whole.evidence)
    for ours, theirs in zip(again.weights.values(), whole.weights.values(), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert not (tmp_path / "unfinished").exists()


def test_a_store_of_the_format_before_is_trained_again(
    task: Task, searched: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Its records have no ``stopped_at``, its trials neither ``batch`` nor ``told``."""
    whole, evidence = searched
    old = []
    for record in stored(whole).values():
        body = json.dumps({k: v for k, v in record.items() if k not in ("stopped_at", "batch", "told", "metrics")})
        old.append(json.dumps({"format": "dwindle-trials/1", "crc": zlib.crc32(body.encode()), "body": body}))
    (tmp_path / "trials.jsonl").write_text("\n".join(old) + "\n")
    with pytest.warns(UserWarning, match=f"of an older version.: {len(old)}. Trainings"):
        found = study(task, SEARCHED, **HOW, folder=tmp_path).evidence
    assert without_clock(found) == evidence
    store = Store.open(tmp_path)
    store.close()
    assert store.spoilt == len(old)
    assert (tmp_path / "trials.jsonl").read_text().startswith(old[0])  # nothing that was there is taken away
