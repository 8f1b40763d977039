"""The trials of a search: kept once in the store and once in the Optuna study, whatever is killed when."""

from __future__ import annotations

import math
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest

import dwindle as dw
from dwindle.errors import DataError, InvalidValueError, MissingExtraError
from dwindle.studies.interrupts import held
from dwindle.studies.samplers import sampler
from dwindle.studies.space import Space
from dwindle.studies.store import Store
from dwindle.studies.trials import Result, Trials

SPACE = Space.parse(
    "lam 0 1e-4..1 | peak 1e-4..1e-1 | batch 32 64 128 | schedule constant; cosine to 0..20%; step by 0.3..0.7 every 2..9ep "
    "| decoupled l2"
)


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    """A function that opens the trials in the folder of the test; all are closed at its end."""
    made: list[Trials] = []

    def make(
        where: Any = tmp_path, name: str = "random", *, kept: Path | None = tmp_path, space: Space = SPACE, **more: Any
    ) -> Trials:
        made.append(Trials.open(where, space, sampler(name, space, 1), store=Store.open(kept), **more))
        return made[-1]

    yield make
    for trials in made:
        trials.close()
        trials.store.close()


def value(id_: int) -> float | None:
    return None if id_ % 5 == 3 else 1.0 / (id_ + 1)


def results(trials: Trials, n: int) -> list[Result]:
    return [
        Result(id_, value(id_), {1: 2.0, 2: None if value(id_) is None else 1.0}, key=f"training {c.plan}", seed=17)
        for id_, c in trials.ask(n)
    ]


def seen(where: str, name: str) -> list[optuna.trial.FrozenTrial]:
    """What Optuna's own reader sees."""
    storage = optuna.storages.RDBStorage(where)
    try:
        return optuna.load_study(study_name=name, storage=storage).get_trials()
    finally:
        storage.remove_session()
        storage.engine.dispose()


def lines(trials: Trials) -> list[dict[str, Any]]:
    return [r for r in trials.store.records.values() if r["stage"] == "trial"]


# --- the study that Optuna sees ---


def test_optuna_opens_the_study_and_sees_params_values_states_and_courses(opened: Any, tmp_path: Path) -> None:
    trials = opened(name="random")
    asked: dict[int, Any] = {}
    for size in (7, 5):
        batch = trials.ask(size)
        asked.update(batch)
        trials.tell(
            [
                Result(i, value(i), {1: 2.0, 2: None if value(i) is None else 1.0}, key=f"k{i}", seed=17)
                for i, _ in batch
            ]
        )
    found = seen(f"sqlite:///{tmp_path / 'study.db'}", trials.study_name)
    assert [t.user_attrs["id"] for t in found] == list(range(12)) == [t.number for t in found]
    for trial in found:
        candidate = asked[trial.number]
        assert trial.params == candidate.params
        assert SPACE.candidate(trial.params) == candidate
        assert trial.value == value(trial.number)
        assert trial.state.name == ("FAIL" if trial.number % 5 == 3 else "COMPLETE")
        assert trial.intermediate_values[1] == 2.0
        assert math.isnan(trial.intermediate_values[2]) == (trial.state.name == "FAIL")
        assert dw.parse(trial.user_attrs["plan"]) == candidate.plan
        assert (trial.user_attrs["seed"], trial.user_attrs["key"]) == (17, f"k{trial.number}")
    assert {name for t in found for name in t.params} == {
        "lam", "peak", "schedule", "convention", "batch_size", "cosine to %", "step by", "step every ep",
    }  # fmt: skip


def test_the_study_says_what_it_searches_and_its_axes_are_optunas(opened: Any, tmp_path: Path) -> None:
    space = Space.parse(
        "lam 0 1e-4..1 | peak 1e-4..1e-1 0.5 | batch 8..64 | schedule constant; halve every 10..90 log | l2"
    )
    trials = opened(space=space, fingerprint="abc", name="sobol")
    trials.tell(results(trials, 20))
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.study_name == trials.study_name
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    assert {k: study.user_attrs[k] for k in ("space", "sampler", "seed", "fingerprint")} == {
        "space": str(space), "sampler": "sobol", "seed": 1, "fingerprint": "abc",
    }  # fmt: skip
    found = {name: one for t in study.trials for name, one in t.distributions.items()}
    d = optuna.distributions
    assert found == {
        "lam": d.FloatDistribution(0.0, 1.0), "peak": d.FloatDistribution(1e-4, 0.5, log=True),
        "batch_size": d.IntDistribution(8, 64, log=True), "convention": d.CategoricalDistribution(["l2"]),
        "schedule": d.CategoricalDistribution(["constant", "halve every 10..90 log"]),
        "halve every": d.IntDistribution(10, 90, log=True),
    }  # fmt: skip
    assert study.best_value == 0.05
    optuna.importance.get_param_importances(study, params=["lam", "peak"])  # what a dashboard asks for
    storage.remove_session()
    storage.engine.dispose()


def test_where_a_study_may_be(opened: Any, tmp_path: Path) -> None:
    places = {tmp_path / "a": tmp_path / "a" / "study.db", tmp_path / "b.db": tmp_path / "b.db"}
    places[f"sqlite:///{tmp_path / 'c.sqlite'}"] = tmp_path / "c.sqlite"  # type: ignore[index]
    for where, file in places.items():
        trials = opened(where, kept=None)
        trials.tell(results(trials, 2))
        assert len(seen(f"sqlite:///{file}", trials.study_name)) == 2
    journal = opened(tmp_path / "d.log", kept=None)
    journal.tell(results(journal, 2))
    backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "d.log"))
    study = optuna.load_study(study_name=journal.study_name, storage=optuna.storages.JournalStorage(backend))
    assert [t.value for t in study.trials] == [1.0, 0.5]
    assert opened(None, kept=None).optuna is None


# --- going on ---


@pytest.mark.parametrize("name", ["random", "sobol", "tpe", "cma-es"])
def test_a_search_in_pieces_is_the_search_in_one(opened: Any, tmp_path: Path, name: str) -> None:
    whole = opened(None, name, kept=None)
    for _ in range(3):
        whole.tell(results(whole, 12))
    for _ in range(3):
        part = opened(tmp_path, name)
        part.tell(results(part, 12))
        part.ask(4)  # and killed
        part.close()
        part.store.close()
    last = opened(tmp_path, name)
    assert lines(last) == [{**line, "study": last.study_name} for line in lines(whole)]
    found = seen(f"sqlite:///{tmp_path / 'study.db'}", last.study_name)
    assert [t.user_attrs["id"] for t in found] == list(range(36))


def test_another_space_seed_or_task_is_another_study_beside_it(opened: Any, tmp_path: Path) -> None:
    names = set()
    for more in ({}, {"fingerprint": "x"}, {"space": Space()}):
        trials = opened(**more)
        assert trials.told == 0
        trials.tell(results(trials, 3))
        names.add(trials.study_name)
        trials.close()
        trials.store.close()
    assert len(names) == 3
    for name in names:
        assert len(seen(f"sqlite:///{tmp_path / 'study.db'}", name)) == 3
    assert opened().told == 3


def test_the_records_of_trainings_are_written_with_the_results(opened: Any, tmp_path: Path) -> None:
    trials = opened(None)
    told = results(trials, 2)
    trials.tell(told, [{"key": r.key, "stage": "sweep"} for r in told])
    trials.store.close()
    kept = Store.open(tmp_path)
    kept.close()
    assert set(kept.records) == {r.key for r in told} | {f"trial {trials.study_name} {i}" for i in (0, 1)}


def test_a_study_opened_from_the_store_alone_gets_all_its_trials(opened: Any, tmp_path: Path) -> None:
    """The Optuna study may be lost, made later, or put in another place."""
    first = opened(None)
    first.tell(results(first, 6))
    first.store.close()
    second = opened(tmp_path / "new")
    assert len(seen(f"sqlite:///{tmp_path / 'new' / 'study.db'}", second.study_name)) == 6


def test_results_are_refused_before_anything_is_written(opened: Any) -> None:
    trials = opened()
    told = results(trials, 2)
    for wrong in ([told[0], told[0]], [told[0], told[1]._replace(id=7)]):
        with pytest.raises(InvalidValueError, match="was not asked, or is told already"):
            trials.tell(wrong)
        assert trials.told == 0 == len(lines(trials))
    trials.tell(told)
    with pytest.raises(InvalidValueError, match="point 1 was not asked, or is told already"):
        trials.tell(told[1:])


def test_a_used_sampler_or_one_of_another_space_is_refused() -> None:
    used = sampler("random", SPACE)
    used.ask()
    with pytest.raises(InvalidValueError, match="give a new one"):
        Trials.open(None, SPACE, used)
    with pytest.raises(InvalidValueError, match="another space"):
        Trials.open(None, SPACE, sampler("random", Space()))


# --- what can break ---

KILLED = """
import os, shutil, sys
from pathlib import Path
from dwindle.studies.interrupts import held
from dwindle.studies.samplers import sampler
from dwindle.studies.space import Space
from dwindle.studies.store import Store
from dwindle.studies.trials import Result, Trials
import sqlalchemy.event
from sqlalchemy.engine import Engine

SPACE = Space.parse(sys.argv[2])

def tell(trials, place):
    place()
    batch = trials.ask(2)
    trials.tell([Result(i, float(i), {1: 1.0}, key=f"k{i}", seed=0) for i, _ in batch])
    place()

def opened(folder):
    return Trials.open(folder, SPACE, sampler("random", SPACE, 1), store=Store.open(folder))

def die_at(stop):
    places = 0
    def place(*_, **__):
        nonlocal places
        places += 1
        if places == stop:
            os._exit(9)
    def synced(descriptor, write=os.fsync):
        place()
        write(descriptor)
        place()
    os.fsync = synced                                              # around the write of the store
    for name in ("before_cursor_execute", "commit"):
        sqlalchemy.event.listen(Engine, name, place)               # inside every transaction of Optuna
    return place

whole = Path(sys.argv[1]) / "begun"
trials = opened(whole)
tell(trials, lambda: None)
trials.close()
trials.store.close()
for stop in range(1, 10_000):
    folder = Path(sys.argv[1]) / str(stop)
    shutil.copytree(whole, folder)
    child = os.fork()
    if not child:
        trials = opened(folder)
        tell(trials, die_at(stop))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
print(stop - 1)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_kill_at_any_place_of_the_writes_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A process is killed at each statement and commit of SQLite and around each write of the store; then it goes on."""
    space = Space.parse("lam 0 1e-4..1 | peak 1e-4..1e-1")
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(space)]
    places = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert places > 20
    expected = sampler("random", space, 1).ask(4)
    kept = []
    for stop in range(1, places + 1):
        folder = tmp_path / str(stop)
        trials = Trials.open(folder, space, sampler("random", space, 1), store=Store.open(folder))
        kept.append(trials.told)
        while trials.told < 4:
            trials.tell([Result(i, float(i), {1: 1.0}, key=f"k{i}", seed=0) for i, _ in trials.ask(2)])
        assert [t.value for t in trials.optuna.study.trials] == [0.0, 1.0, 2.0, 3.0]
        assert [t.params for t in trials.optuna.study.trials] == [p.candidate.params for p in expected]
        assert {t.state.name for t in trials.optuna.study.trials} == {"COMPLETE"}
        trials.close()
        trials.store.close()
        assert len((folder / "trials.jsonl").read_text().splitlines()) == 4
    assert kept == sorted(kept)
    assert set(kept) == {2, 4}


def test_a_batch_of_which_a_line_is_cut_is_asked_for_again(opened: Any, tmp_path: Path) -> None:
    first = opened()
    first.tell(results(first, 4))
    first.close()
    first.store.close()
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-30])
    again = opened()
    assert again.told == 0
    ids = [t.user_attrs["id"] for t in seen(f"sqlite:///{tmp_path / 'study.db'}", again.study_name)]
    assert ids == [0, 1, 2, 3]
    again.tell(results(again, 4))
    assert again.told == 4
    assert [p.id for p in again.ask(2)] == [4, 5]
    assert [t.user_attrs["id"] for t in seen(f"sqlite:///{tmp_path / 'study.db'}", again.study_name)] == ids
    assert len(file.read_bytes().splitlines()) == 5  # the three that were whole, the cut one, and it again


def test_a_damaged_study_is_said_and_the_store_makes_a_new_one(opened: Any, tmp_path: Path) -> None:
    first = opened()
    first.tell(results(first, 4))
    first.close()
    first.store.close()
    (tmp_path / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(DataError, match=r"cannot be opened.*results are in the store: mend it or move it away"):
        opened()
    (tmp_path / "lock").unlink()
    (tmp_path / "study.db").unlink()
    assert len(seen(f"sqlite:///{tmp_path / 'study.db'}", opened().study_name)) == 4


def test_a_study_that_cannot_be_written_leaves_the_results_in_the_store(opened: Any, tmp_path: Path) -> None:
    trials = opened()
    told = results(trials, 2)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("DROP TABLE trial_params")
    database.close()
    with pytest.raises(DataError, match="cannot be written"):
        trials.tell(told)
    assert len(lines(trials)) == 2
    assert trials.told == 2


@pytest.mark.parametrize(
    "url", ["postgresql://me:secret@nowhere.invalid/x", "nosuch://me:secret@host/x", "sqlite:////no/such/folder/x"]
)
def test_a_database_that_does_not_answer_is_said_without_the_password(url: str) -> None:
    with pytest.raises(DataError, match="cannot be opened") as caught:
        Trials.open(url, SPACE, sampler("random", SPACE))
    assert "secret" not in str(caught.value)


def test_without_optuna_the_store_alone_will_do(opened: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    trials = opened(None)
    trials.tell(results(trials, 5))
    trials.store.close()
    assert opened(None).told == 5
    with pytest.raises(MissingExtraError, match=r"optuna is not installed.*dwindle\[optuna\]"):
        Trials.open(tmp_path, SPACE, sampler("random", SPACE))


def test_an_interrupt_waits_until_what_is_written_is_whole() -> None:
    written: list[str] = []
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a job in the background may have been started deaf
    try:
        with pytest.raises(KeyboardInterrupt):
            _interrupted(written)
        assert written == ["whole"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with held():
            pass
        thread = threading.Thread(
            target=lambda: written.extend(_held_in_a_thread())
        )  # hears no interrupts, and may set none
        thread.start()
        thread.join()
        assert written == ["whole", "there"]
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(written: list[str]) -> None:
    with held():
        signal.raise_signal(signal.SIGINT)
        written.append("whole")


def _held_in_a_thread() -> list[str]:
    with held():
        return ["there"]
