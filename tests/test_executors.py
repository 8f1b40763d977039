"""Where a study trains changes nothing of what it finds: in processes, of which some are killed, as here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from dwindle.errors import InvalidValueError
from dwindle.population import StoppedError
from dwindle.studies import Here, Processes, Space, Store, Task, load, study
from dwindle.studies import executors as module

SMALL = Space((0.0, 1.0), (1e-3, 1e-2), ("constant", "cosine to 0"))


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion"), hidden=(6,), epochs=4)


@pytest.fixture(scope="module")
def found(task: Task) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dwindle.studies.trainings.BATCH", 4)
        evidence = without_clock(study(task, SMALL, seeds=3, seed=1).evidence)
    stopped = [trial["stopped_at"] for setting in evidence["settings"] for trial in setting["trials"]]
    assert (
        0 < sum(at is not None for at in stopped) < len(stopped)
    )  # halving let some of each batch go, judged where they trained
    return evidence


@pytest.fixture(autouse=True)
def of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches so small that there are several."""
    monkeypatch.setattr("dwindle.studies.trainings.BATCH", 4)


def without_clock(evidence: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


@pytest.mark.parametrize("workers", [1, 2])
def test_threads_change_nothing(workers: int, task: Task, found: dict[str, Any]) -> None:
    assert without_clock(study(task, SMALL, seeds=3, seed=1, executor=Here(workers)).evidence) == found


@pytest.mark.timeout(120)
def test_processes_find_what_this_one_finds(task: Task, found: dict[str, Any]) -> None:
    heard = []
    said = study(task, SMALL, seeds=3, seed=1, executor=Processes(2), progress=heard.append)
    assert without_clock(said.evidence) == found
    assert heard[-1].done == heard[-1].total


@pytest.mark.timeout(120)
def test_a_killed_worker_costs_no_training(task: Task, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is killed once while it works."""
    killed: set[int] = set()
    submit = module.ProcessPoolExecutor.submit

    def kill(pool: Any) -> None:
        time.sleep(0.3)
        for process in list(pool._processes.values()):
            if len(killed) < 2:
                killed.add(process.pid)
                os.kill(process.pid, signal.SIGKILL)

    def watched(pool: Any, *words: Any) -> Any:
        future = submit(pool, *words)
        if len(killed) < 2 and pool not in watching:
            watching.append(pool)
            threading.Thread(target=kill, args=(pool,), daemon=True).start()
        return future

    watching: list[Any] = []
    monkeypatch.setattr(module.ProcessPoolExecutor, "submit", watched)
    said = study(task, SMALL, seeds=3, seed=1, executor=Processes(2))
    assert killed
    assert without_clock(said.evidence) == found


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked for in /proc")
@pytest.mark.timeout(120)
def test_the_workers_of_a_study_that_is_killed_go_too(tmp_path: Path) -> None:
    """They would wait for more for ever, or go on in a folder that the study called again is at."""

    def children(parent: int) -> set[int]:
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                state, above = stat.read_text().rpartition(")")[2].split()[:2]
                if int(above) == parent and state != "Z":
                    found.add(int(stat.parent.name))
        return found

    words = ["study", "--processes", "2", "--hidden", "64", "--epochs", "200", "--quiet", "--out", str(tmp_path)]
    process = subprocess.Popen([sys.executable, "-m", "dwindle", *words])
    workers: set[int] = set()
    try:
        while len(list(tmp_path.glob("unfinished/*/training.json"))) < 2:  # both are at work
            assert process.poll() is None
            time.sleep(0.05)
        workers = children(process.pid)
        assert len(workers) >= 2
        process.kill()
        process.wait()
        until = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
            time.sleep(0.05)
        assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    finally:
        for pid in (process.pid, *workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@pytest.mark.timeout(120)
def test_a_worker_that_always_dies_is_said(task: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def dies(*_: Any) -> Any:
        raise module.BrokenProcessPool("gone")

    monkeypatch.setattr(Processes, "_run", dies)
    with pytest.raises(
        module.LostError, match=r"their worker died 4 times\. .* if __name__ == '__main__':, .* fewer processes"
    ):
        study(task, SMALL, seeds=3, seed=1, executor=Processes(2), folder=tmp_path)


@pytest.mark.timeout(120)
def test_processes_stop_when_told_to_and_what_is_finished_stays(
    task: Task, found: dict[str, Any], tmp_path: Path
) -> None:
    asked = iter([False] * 3 + [True] * 1000)

    def stop() -> bool:
        return bool(list(tmp_path.glob("trials.jsonl"))) and next(asked)

    begun = time.monotonic()
    with pytest.raises(StoppedError, match="finished trainings are kept"):
        study(task, SMALL, seeds=3, seed=1, executor=Processes(2), folder=tmp_path, stop=stop)
    assert time.monotonic() - begun < 60
    store = Store.open(tmp_path)
    store.close()
    assert store.records
    assert without_clock(study(task, SMALL, seeds=3, seed=1, folder=tmp_path).evidence) == found


def test_numbers_of_workers_are_checked() -> None:
    for make in (lambda: Here(0), lambda: Processes(0)):
        with pytest.raises(InvalidValueError, match=r"workers|processes"):
            make()
