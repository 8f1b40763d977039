"""Kills, full disks and many writers, injected for real, in short; `python benchmarks/faults.py` does them in full.

What can go wrong, what then happens, and which test makes it happen:

| fault | what happens | test |
|---|---|---|
| a step beyond 2**53, negative, no number | exact and finite, or refused | test_schedule_exact, test_bad_inputs |
| a rate that underflows | 0, and where it is 0 is found | test_schedule_exact, test_findings_logs_rates |
| bf16 or a float32 tail that loses the decay | kept, or found | test_torch_low_precision, test_torch_onepass |
| a file cut or damaged, of another version | refused in words, never another value | test_formats |
| kill -9 of a writer, a population | old or new | test_faults, test_population_resume |
| kill -9 of a study, a worker | nothing lost or counted twice | test_study_kills, test_executors |
| a full disk, a read-only folder, a failing sync | one line; what was there stays | test_faults, test_study_disk |
| many that want one folder | one gets it, the others are told who has it | test_faults |
| a database that is locked, damaged, of another driver | one line; the store makes a new one | test_trials, test_study_disk |
| a model that cannot be pickled | named before anything is trained | test_executors, test_task_modules |
| a pickle, YAML objects, bombs, formulas that call | nothing runs | test_payloads, test_injection, test_cli_check |
| a Ray worker or driver killed | the study ends the same | test_cluster |
| NaN losses | diverged, never best; a rule refuses or follows its policy | test_feedback, test_study, test_population_rungs |
| logs cut, mixed, packed, oddly encoded | the rest is counted | test_logs_fuzz, test_logs, test_logs_formats |
| SIGINT, SIGTERM | 130, 143; the same command goes on | test_cli_study, test_lab_server |
| fork, threads, ranks that differ | followed, or named | test_torch_onepass, test_torch_rows, test_torch_distributed |
| an optimiser changed under the plan, a skipped step | followed, or named | test_torch_attach, test_torch_edges |
| tied, frozen, sparse, complex, empty weights | decayed once, or not | test_torch_edges, test_torch_rows, test_mask |
| a seed of the wrong kind | refused; recorded otherwise | test_bad_inputs, test_study |
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dwindle.errors import ResumeError
from dwindle.studies import lock
from dwindle.studies.store import Store
from faults import WRITES, fill_disk, fill_file, kill_writer, race_for_lock, write_at_once

DEAD = "4194303"  # of no process: the system's numbers end there


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    found = kill_writer(tmp_path, 20)
    assert found["kills"] == 20
    assert found["rounds"] > 5
    assert found["old"] + found["new"] >= 10
    assert (found["lost"], found["mixed"], found["refused"]) == (0, 0, 0)


def test_a_disk_that_is_full_at_any_call_loses_nothing(tmp_path: Path) -> None:
    points = fill_disk(tmp_path)
    assert {point["file"] for point in points} == set(WRITES)
    assert len(points) >= 12
    assert [point for point in points if not point["failed"]] == []
    assert [point for point in points if point["lost"] or not point["goes on"] or point["rubbish"]] == []


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_file_that_may_grow_no_further_loses_nothing(tmp_path: Path) -> None:
    points = fill_file(tmp_path / "limited", 13)
    assert len(points) >= 50
    assert sum(point["failed"] for point in points) > 0.9 * len(points)
    assert [point for point in points if point["lost"] or not point["goes on"] or point["rubbish"]] == []


# --- who has a folder


@pytest.mark.parametrize("left", [DEAD, f"{DEAD} flock\n", "1 flock\n", "", "nonsense", None])
def test_of_many_that_find_a_dead_lock_at_once_just_one_gets_it(tmp_path: Path, left: str | None) -> None:
    """1 is a process that lives: with the system's lock a number that somebody else has now is no owner."""
    found = race_for_lock(tmp_path, 16, left)
    assert (found["got"], found["refused"]) == (1, found["processes"] - 1)


def test_many_that_wait_their_turn_lose_and_double_nothing(tmp_path: Path) -> None:
    found = write_at_once(tmp_path, 8, 200, turns=4)
    assert (found["lost"], found["doubled"], found["spoilt"], found["records"]) == (0, 0, 0, 1600)


def test_where_the_system_cannot_lock_the_number_of_a_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert lock.fcntl is not None
    monkeypatch.setattr(lock.fcntl, "flock", none)
    (tmp_path / "lock").write_text(DEAD)
    store = Store.open(tmp_path)
    assert (tmp_path / "lock").read_text().split() == [str(os.getpid())]
    store.close()
    assert list(tmp_path.iterdir()) == []
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        (tmp_path / "lock").write_text(str(other.pid))
        with pytest.raises(ResumeError, match=f"process {other.pid} is running a study"):
            Store.open(tmp_path)
        other.communicate(b"\n")
    assert [file.name for file in tmp_path.iterdir()] == ["lock"]
    (tmp_path / "lock.taking").write_text("")
    with pytest.raises(ResumeError, match=r"about to begin a study .* delete .*lock\.taking"):
        Store.open(tmp_path)


_NUMBERED = """
import errno, sys
from dwindle.studies import lock
def none(*_):
    raise OSError(errno.ENOLCK, "No locks available")
lock.fcntl.flock = none
"""


def test_without_the_systems_lock_just_one_gets_it_too(tmp_path: Path) -> None:
    found = race_for_lock(tmp_path, 8, DEAD, setup=_NUMBERED)
    assert (found["got"], found["refused"]) == (1, 7)


def test_a_lock_ends_with_its_process_though_a_child_of_it_lives(tmp_path: Path) -> None:
    """A forked child has its parent's open files; what it holds of the lock it closes at once."""
    program = (
        "import os, sys, time\nfrom dwindle.studies.store import Store\nstore = Store.open(sys.argv[1])\n"
        "if os.fork() == 0:\n    print(os.getpid(), flush=True)\n    time.sleep(30)\n    os._exit(0)\ntime.sleep(30)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            with pytest.raises(ResumeError, match=f"process {parent.pid} is running a study"):
                Store.open(tmp_path)
            parent.kill()
            parent.wait()
            Store.open(tmp_path).close()
            os.kill(child, 0)  # it lives still
        finally:
            os.kill(child, 9)


def test_who_has_a_folder_may_open_it_again_and_its_lock_is_a_file_only(tmp_path: Path) -> None:
    first = Store.open(tmp_path)
    second = Store.open(tmp_path)
    first.close()
    second.close()
    assert not (tmp_path / "lock").exists()
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Exception, match="cannot be written"):
        Store.open(tmp_path)
    assert (tmp_path / "elsewhere").read_text() == "precious"


@pytest.mark.skipif(sys.platform == "win32", reason="it has no flock")
def test_who_finds_the_folder_just_given_free_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner removes its lock between our being refused and our reading who it is."""
    import fcntl

    from dwindle.studies import lock

    owner = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(owner, fcntl.LOCK_EX)

    def gone(folder: Path) -> int:
        (folder / "lock").unlink()
        fcntl.flock(owner, fcntl.LOCK_UN)
        monkeypatch.undo()
        raise FileNotFoundError

    monkeypatch.setattr(lock, "owner_of", gone)
    lock.claim(tmp_path)
    assert (tmp_path / "lock").read_text().split()[0] == str(os.getpid())
    lock.give_free(tmp_path)
    os.close(owner)
