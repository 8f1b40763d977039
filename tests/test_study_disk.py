"""Disks that are full, folders that cannot be written, files that are damaged: one clear line, and every result remains."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwindle.cli import main
from dwindle.errors import DataError, DwindleError
from dwindle.studies import Store, Task, load, study
from dwindle.studies.optuna_study import OptunaStudy
from dwindle.studies.space import Space

SPACE = "lam 0 1e-3..1 | peak 1e-3..1e-1 | schedule constant; cosine to 0"
WORDS = ["study", "--label-noise", "0.2", "--epochs", "4", "--seeds", "2", "--json", "--quiet"]
GRID = ["--space", "lam 0 1e-2 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0"]
TPE = ["--space", SPACE, "--sampler", "tpe", "--trials", "30"]
# A process whose files can have so many bytes and no more, as on a disk that is full then: the write fails, or writes a part.
DRIVER = """
import resource, signal, sys
from dwindle.cli import main
from dwindle.population import legs
legs.SAVE_SECONDS = float(sys.argv[2])
if int(sys.argv[1]):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
main(sys.argv[3:])
"""


def run(folder: Path, *words: str, limit: int = 0, save: float = 20.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DRIVER, str(limit), str(save), *WORDS, *words, "--out", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100)


def without_clock(evidence: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


def found_by(process: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert process.returncode == 0, process.stderr
    return without_clock(json.loads(process.stdout))


def stored(folder: Path) -> Store:
    store = Store.open(folder)
    store.close()
    return store


def assert_said(process: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line that says what failed, and nothing else but one before it that checkpoints could not be written."""
    assert process.returncode == 2, process.stderr
    assert process.stdout == ""
    *before, last = process.stderr.splitlines()
    assert [line.partition(" below ")[0] for line in before] in (
        [],
        ["dwindle: what a training reached cannot be kept"],
    )
    assert last.startswith("dwindle: ")
    for word in words:
        assert word in last


# --- a full disk ---


def filled(folder: Path) -> None:
    """Make study.db so large that it is the first file to be as large as may be."""
    OptunaStudy.open(folder, "other", Space.parse(SPACE), {}).close()
    with sqlite3.connect(folder / "study.db") as database:
        database.execute("CREATE TABLE filling (x)")
        database.executemany("INSERT INTO filling VALUES (?)", [(b"0" * 4000,)] * 200)
    database.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "words", "limit", "said"),
    [
        ("lock", [*GRID, "--hidden", "6"], 1, "cannot be written: File too large"),
        ("trials.jsonl", [*GRID, "--hidden", "6", "--storage", "elsewhere"], 20_000, "trials cannot be written"),
        ("trials.jsonl", [*TPE, "--hidden", "6", "--storage", "elsewhere"], 64_000, "trials cannot be written"),
        (
            "study.db",
            [*TPE, "--hidden", "6"],
            None,
            "full cannot be written: OperationalError: disk I/O error",
        ),
        ("weights.npz", [*GRID, "--hidden", "64"], 190_000, "the weights cannot be written"),
        ("report.html", [*GRID, "--hidden", "6", "--storage", "elsewhere"], 120_000, "the page ("),
    ],
)
def test_a_full_disk_is_one_line_and_the_study_goes_on_when_there_is_room(
    tmp_path: Path, file: str, words: list[str], limit: int | None, said: str
) -> None:
    folder = tmp_path / "full"
    if "elsewhere" in words:  # an Optuna study in no file: the limit is for trials.jsonl alone
        words = [word if word != "elsewhere" else "sqlite://" for word in words]
    if limit is None:
        folder.mkdir()
        filled(folder)
        limit = (folder / "study.db").stat().st_size + 4096
    whole = found_by(run(tmp_path / "whole", *words))
    records = stored(tmp_path / "whole").records
    assert_said(run(folder, *words, limit=limit), said, str(folder), "" if file in ("lock", "study.db") else file)
    assert not (folder / "lock").exists()
    assert not list(folder.glob(".*tmp"))
    kept = stored(folder)
    assert kept.records.items() <= records.items()
    if file == "trials.jsonl":
        assert 0 < len(kept.records) < len(records)
        assert kept.spoilt == 1  # the line at which the disk was full
    if file in ("weights.npz", "report.html"):
        assert len(kept.records) >= len(records) - 1
    assert found_by(run(folder, *words)) == whole
    after = stored(folder)
    assert after.records == records
    assert after.spoilt == kept.spoilt
    assert not (folder / "unfinished").exists()


@pytest.mark.slow
def test_a_checkpoint_that_cannot_be_written_costs_no_training(tmp_path: Path) -> None:
    words = [*GRID, "--hidden", "64"]
    whole = found_by(run(tmp_path / "whole", *words))
    process = run(tmp_path / "full", *words, limit=300_000, save=0.0)
    assert found_by(process) == whole
    assert re.fullmatch(
        r"dwindle: what a training reached cannot be kept below .*: File too large\. .*\n", process.stderr
    )
    assert (tmp_path / "full" / "weights.npz").read_bytes() == (tmp_path / "whole" / "weights.npz").read_bytes()
    assert not (tmp_path / "full" / "unfinished").exists()


def test_where_not_even_the_begin_of_a_batch_can_be_noted_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    def never(*_: object) -> None:
        raise AssertionError("something was trained")

    monkeypatch.setattr("dwindle.population.checkpoint.write_whole", full)
    monkeypatch.setattr("dwindle.population.trainer.train_in_legs", never)
    with pytest.raises(SystemExit) as left:
        main([*WORDS, *GRID, "--out", str(tmp_path)])
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("dwindle: folder ")
    assert "No space left on device" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("place", ["dwindle.text.files", "dwindle.report.document", "dwindle.studies.fit"])
def test_a_disk_full_at_the_very_end_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    words = [*WORDS, *GRID, "--hidden", "4", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:

        def full(path: Path, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(f"{place}.write_whole", full)
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 2
        out, said = capsys.readouterr()
        assert out == ""
        assert said.startswith("dwindle: ")
        assert "No space left on device" in said
        assert said.count("\n") == 1
    before = len(stored(tmp_path).records)
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 0
    assert len(stored(tmp_path).records) - before == (place == "dwindle.studies.fit")
    assert {"report.html", "plan.toml", "weights.npz", "trials.jsonl"} <= {path.name for path in tmp_path.iterdir()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Return a function that gives a small disk so many kilobytes."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(how: str) -> None:
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", how, "none", str(place)], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no small disk can be mounted here: {made.stderr.strip()}")

    if os.name == "nt" or shutil.which("mount") is None or os.geteuid():
        pytest.skip("only root can mount a small disk")
    mount("size=4k,nr_inodes=64")

    def sized(kilobytes: int) -> Path:
        mount(f"remount,size={kilobytes}k")
        return place

    try:
        yield sized
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_study_on_a_disk_that_is_full_again_and_again(disk: Callable[[int], Path], tmp_path: Path) -> None:
    words = [*TPE, "--hidden", "8"]
    whole = found_by(run(tmp_path / "whole", *words))
    records, known, failed = stored(tmp_path / "whole").records, dict[str, Any](), 0
    for kilobytes in (4, 40, 180, 260, 300, 400, 2000):
        folder = disk(kilobytes)
        process = run(folder, *words)
        if process.returncode == 0:
            break
        assert_said(process, str(folder))
        failed += 1
        disk(kilobytes + 8)  # for the lock of whoever reads
        found = stored(folder).records
        assert known.items() <= found.items() <= records.items()
        known = found
    assert failed > 3
    assert found_by(process) == whole
    assert stored(folder).records == records
    assert (folder / "weights.npz").read_bytes() == (tmp_path / "whole" / "weights.npz").read_bytes()


# --- what cannot be written ---


class Never:
    """An executor that has nothing to do."""

    width = 1

    def run(self, task: Task, batches: Sequence[Any], *_: Any) -> Iterator[Any]:
        assert not batches, "something was trained"
        return iter(())


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion"), hidden=(6,), epochs=2)


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Return a function that makes a folder or a file read-only, for root too, who does not ask the mode."""
    made: list[Path] = []

    def make(path: Path) -> None:
        if not hasattr(os, "geteuid") or os.geteuid():
            path.chmod(0o555)
            return
        for how in (["--bind", str(path), str(path)], ["-o", "remount,bind,ro", str(path)]):
            done = subprocess.run(["mount", *how], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"nothing can be made read-only for root here: {done.stderr.strip()}")
            if path not in made:
                made.append(path)

    yield make
    for path in made:
        subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("what", ["folder", "its parent", "trials.jsonl", "a folder of a study", "the storage's"])
def test_what_cannot_be_written_is_said_before_anything_is_trained(
    tmp_path: Path, task: Task, read_only: Callable[[Path], None], what: str
) -> None:
    folder = tmp_path / "of study"
    folder.mkdir()
    (tmp_path / "other").mkdir()
    how: dict[str, Any] = {"seeds": 2, "sampler": "random", "trials": 4}
    if what in ("trials.jsonl", "a folder of a study"):
        study(task, SPACE, **how, folder=folder)
        how["trials"] = 6
    if what == "a folder of a study":
        (folder / "lock").write_text("1" * 9)
    read_only({"trials.jsonl": folder / "trials.jsonl", "the storage's": tmp_path / "other"}.get(what, folder))
    place = folder / "below" if what == "its parent" else folder
    if what == "the storage's":
        how["storage"] = tmp_path / "other"
    with pytest.raises(DataError, match=r"Read-only|Permission denied|unable to open|readonly"):
        study(task, SPACE, **how, folder=place, executor=Never())


def test_a_folder_where_the_file_of_trials_should_be_is_said(tmp_path: Path, task: Task) -> None:
    (tmp_path / "trials.jsonl").mkdir()
    with pytest.raises(DataError, match=r"trials\.jsonl cannot be read and written: Is a directory"):
        study(task, SPACE, seeds=2, trials=4, folder=tmp_path, executor=Never())
    assert not (tmp_path / "lock").exists()


# --- damage ---

HOW: dict[str, Any] = {"seeds": 2, "sampler": "tpe", "trials": 30}


@pytest.fixture(scope="module")
def searched(task: Task, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("searched")
    return folder, without_clock(study(task, SPACE, **HOW, folder=folder).evidence)


@pytest.mark.parametrize("seed", range(4))
def test_a_store_damaged_in_the_middle_trains_again_what_it_lost_and_no_more(
    tmp_path: Path, task: Task, searched: tuple[Path, dict[str, Any]], seed: int
) -> None:
    whole, evidence = searched
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    damaged, draw = bytearray((whole / "trials.jsonl").read_bytes()), np.random.default_rng(seed)
    begin, size = int(draw.integers(len(damaged) - 9000)), int(draw.integers(1, 9000))
    damaged[begin : begin + size] = bytes(size) if seed % 2 else draw.bytes(size)
    (tmp_path / "trials.jsonl").write_bytes(damaged)
    left = stored(tmp_path)
    assert left.spoilt
    records = stored(whole).records
    assert left.records.items() < records.items()
    with pytest.warns(UserWarning, match=rf"an older version\): {left.spoilt}\. Trainings that only they held"):
        again = study(task, SPACE, **HOW, folder=tmp_path)
    assert without_clock(again.evidence) == evidence
    assert stored(tmp_path).records == records
    assert len((tmp_path / "trials.jsonl").read_bytes()) < len(damaged) + size + 9000


def flipped(path: Path, seed: int) -> None:
    content, draw = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(draw.choice([1, 30, 3000])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def of_another_program(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE studies (name TEXT)")  # a table of Optuna's name, and not as it has it
        database.execute("CREATE TABLE notes (said TEXT)")
        database.execute("INSERT INTO notes VALUES ('mine')")
    database.close()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        *(pytest.param(lambda path, seed=seed: flipped(path, seed), id=f"flipped {seed}") for seed in range(8)),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:50_000]), id="cut"),
        pytest.param(lambda path: path.write_text("no database\n" * 1000), id="text"),
        of_another_program,
        a_folder,
    ],
)
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning"
)  # SQLAlchemy leaves a connection to a database that it cannot read
def test_a_damaged_study_db_is_said_or_mended_and_no_result_is_lost(
    tmp_path: Path, task: Task, searched: tuple[Path, dict[str, Any]], damage: Callable[[Path], Any]
) -> None:
    whole, evidence = searched
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    damage(tmp_path / "study.db")
    said: DwindleError | None = None
    try:
        assert without_clock(study(task, SPACE, **HOW, folder=tmp_path, executor=Never()).evidence) == evidence
    except DataError as error:
        said = error
    assert said is None or re.search(r": mend it or move it away and run again, or .*\.\Z", str(said))
    assert "\n" not in str(said)
    assert (tmp_path / "trials.jsonl").read_bytes() == (whole / "trials.jsonl").read_bytes()
    if damage is of_another_program:
        with sqlite3.connect(tmp_path / "study.db") as database:
            assert database.execute("SELECT said FROM notes").fetchall() == [("mine",)]
        database.close()
    (tmp_path / "study.db").rename(tmp_path / "away")
    again = study(task, SPACE, **HOW, folder=tmp_path, executor=Never())
    assert without_clock(again.evidence) == evidence
    with sqlite3.connect(tmp_path / "study.db") as database:
        assert database.execute("SELECT count(*) FROM trials").fetchone() == (30,)
    database.close()


def test_a_driver_that_is_not_installed_is_named_and_no_password(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(DataError, match=r"postgresql\+psycopg2://127\.0\.0\.1/x cannot be opened: .*psycopg2") as said:
        study(task, SPACE, **HOW, storage="postgresql+psycopg2://me:secret@127.0.0.1/x", executor=Never())
    assert "secret" not in str(said.value)
