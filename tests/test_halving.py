"""Successive halving: who goes on, what it costs, and that it changes nothing about those who do."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.population import Seen, StoppedError
from dwindle.studies import Halving, Here, Space, Task, load, study

SPACE = Space((0.0, 0.3, 1.0, 3.0), (1e-3, 3e-3, 1e-2), ("constant", "cosine to 0"))


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion"), hidden=(6,), epochs=8)


def seen(losses: list[float], running: list[bool] | None = None, step: int = 10) -> Seen:
    curve = np.array([[9.0, value] for value in losses])
    runs = np.isfinite(losses) if running is None else np.array(running)
    return Seen(np.array([0, step]), curve, curve, runs)


# --- the rule ---


def test_the_better_half_of_each_group_goes_on() -> None:
    judge = Halving(((0.5, 0.5),)).judge(["a", "a", "a", "b", "b"], [0, 10, 20])
    assert judge.steps == [10]
    assert judge(seen([3.0, 1.0, 2.0, 8.0, 7.0])).tolist() == [True, False, False, True, False]


def test_a_diverged_training_takes_a_place_among_the_lost() -> None:
    judge = Halving(((0.5, 0.5),)).judge(["a"] * 4, [0, 10, 20])
    assert judge(seen([np.nan, np.nan, 2.0, 1.0])).tolist() == [False] * 4
    assert judge(seen([np.nan, 3.0, 2.0, 1.0])).tolist() == [False, True, False, False]


def test_shares_are_counted_from_the_beginning() -> None:
    judge = Halving(((0.25, 0.5), (0.5, 0.5))).judge(["a"] * 8, [0, 10, 20, 30, 40])
    assert judge.steps == [10, 20]
    at_second = judge(seen([1, 2, 3, 4, 5, 6, 7, 8], [True] * 4 + [False] * 4, step=20))
    assert at_second.tolist() == [False, False, True, True, False, False, False, False]


@pytest.mark.law
@given(st.integers(1, 30), st.lists(st.integers(0, 3), min_size=1, max_size=30), st.randoms())
def test_the_best_of_a_group_always_goes_on_and_the_number_is_right(
    cut: int, groups: list[int], random: object
) -> None:
    share = cut / 31
    losses = np.random.default_rng(random.randrange(2**32)).permutation(len(groups)).astype(float)  # type: ignore[attr-defined]
    judge = Halving(((0.5, share),)).judge([str(g) for g in groups], [0, 1, 2])
    goes = judge(seen(losses.tolist(), step=1))
    for group in set(groups):
        own = [i for i, g in enumerate(groups) if g == group]
        stay = [i for i in own if not goes[i]]
        assert len(stay) == int(np.ceil(share * len(own)))
        assert max(losses[stay]) < min((losses[i] for i in own if goes[i]), default=np.inf)


def test_a_run_with_no_evaluation_on_the_way_has_no_rung() -> None:
    assert Halving().judge(["a"], [0, 20]).steps == []


def test_the_cost_is_what_the_steps_add_up_to() -> None:
    halving = Halving(((0.1, 0.5), (0.3, 0.25)))
    assert halving.cost == pytest.approx(0.1 + 0.2 * 0.5 + 0.7 * 0.125)


@pytest.mark.parametrize(
    "rungs", [((0.5, 0.0),), ((0.5, 1.0),), ((0.0, 0.5),), ((1.0, 0.5),), ((0.5, 0.5), (0.2, 0.5))]
)
def test_rungs_that_make_no_sense_are_refused(rungs: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(InvalidValueError, match="rungs must be pairs"):
        Halving(rungs)
    with pytest.raises(InvalidValueError, match="halving must be"):
        study(Task(data=load("fashion")), SPACE, halving=0.5)  # type: ignore[arg-type]


# --- in a study ---


def without_clock(evidence: dict) -> dict:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


def test_who_goes_on_is_trained_as_without_it_and_who_does_not_ends_at_a_rung(task: Task) -> None:
    short, full = (study(task, SPACE, seeds=2, halving=h).evidence["settings"][0] for h in (True, False))
    counts = {None: 0}
    for ours, whole in zip(short["trials"], full["trials"], strict=True):
        at = ours["stopped_at"]
        counts[at] = counts.get(at, 0) + 1
        end = len(whole["curve"]["epoch"]) if at is None else ours["curve"]["epoch"].index(at) + 1
        assert ours["curve"]["validation_loss"][:end] == whole["curve"]["validation_loss"][:end]
        assert set(ours["curve"]["validation_loss"][end:]) <= {None}
        assert not ours["diverged"]
    assert counts == {None: 6, 2.0: 12, 4.0: 6}  # half of 24 at 2 of 8 epochs, half of those at 4
    assert all(trial["stopped_at"] is None for trial in full["trials"])


def test_at_every_rung_the_ones_let_go_were_the_worst_of_their_schedule(task: Task) -> None:
    trials = study(task, SPACE, seeds=2).evidence["settings"][0]["trials"]
    for schedule in {trial["schedule"] for trial in trials}:
        own = [trial for trial in trials if trial["schedule"] == schedule]
        for at in (2.0, 4.0):
            there = [t for t in own if t["stopped_at"] is None or t["stopped_at"] >= at]
            loss = {id(t): t["curve"]["validation_loss"][t["curve"]["epoch"].index(at)] for t in there}
            gone = [loss[id(t)] for t in there if t["stopped_at"] == at]
            left = [loss[id(t)] for t in there if t["stopped_at"] != at]
            assert max(left) <= min(gone)


@pytest.mark.parametrize("sampler", [None, "tpe"])
def test_a_stopped_study_with_rungs_ends_the_same(sampler: str | None, task: Task, tmp_path: Path) -> None:
    words = {"seeds": 2, "sampler": sampler} | ({"trials": 40} if sampler else {})
    space = "lam 0 0.1..3 | peak 1e-3..1e-2 | schedule constant; cosine to 0" if sampler else SPACE
    whole = without_clock(study(task, space, **words, folder=tmp_path / "whole").evidence)
    asked = iter([False] * 3 + [True] * 1000)
    with pytest.raises(StoppedError):
        study(task, space, **words, folder=tmp_path / "cut", stop=lambda: next(asked))
    assert without_clock(study(task, space, **words, folder=tmp_path / "cut").evidence) == whole
    assert not list((tmp_path / "cut" / "unfinished").glob("*"))


class Wide(Here):
    """Trains here, and asks for as much at once as ``width`` workers would."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width


@pytest.mark.parametrize("sampler", [None, "sobol"])
def test_who_is_judged_together_does_not_depend_on_the_width(sampler: str | None, task: Task) -> None:
    lams = "0 0.1..3" if sampler else "0 0.1 0.3 1 3"
    space = f"lam {lams} | peak 1e-3 1e-2 1e-1 | batch 100 500 | schedule constant; cosine to 0"
    words = {"seeds": 2, "trials": 60, "sampler": sampler}
    found = [study(task, space, executor=Wide(width), **words).evidence["settings"] for width in (1, 2, 3)]
    assert 0 < sum(trial["stopped_at"] is not None for trial in found[0][0]["trials"]) < 60
    assert found[0] == found[1] == found[2]


def test_one_lost_line_of_a_judged_batch_changes_nothing(task: Task, tmp_path: Path) -> None:
    whole = without_clock(study(task, SPACE, seeds=2, folder=tmp_path).evidence)
    path = tmp_path / "trials.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:4], b"spoilt\n", *lines[5:]]))
    with pytest.warns(UserWarning, match=r"trials\.jsonl that cannot be read .*: 1\. "):
        again = study(task, SPACE, seeds=2, folder=tmp_path).evidence
    assert without_clock(again) == whole
    bodies = [json.loads(json.loads(line)["body"]) for line in path.read_bytes().splitlines() if line != b"spoilt"]
    assert len({body["key"] for body in bodies}) == len(bodies) == len(lines)


def test_trainings_let_go_are_pruned_trials_of_the_optuna_study(task: Task, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    found = study(task, SPACE, sampler="grid", trials=24, seeds=2, folder=tmp_path)
    file = f"sqlite:///{tmp_path / 'study.db'}"
    (name,) = optuna.get_all_study_names(file)
    there = optuna.load_study(study_name=name, storage=file).trials
    stops = [trial["stopped_at"] for trial in found.evidence["settings"][0]["trials"]]
    assert [t.state.name == "PRUNED" for t in there] == [at is not None for at in stops]
    assert 0 < sum(at is not None for at in stops) < 24
    assert [t.last_step for t in there if t.state.name == "PRUNED"] == [int(at) for at in stops if at is not None]


def test_extending_a_search_trains_nothing_again(task: Task, tmp_path: Path) -> None:
    words = {"sampler": "random", "seeds": 2, "folder": tmp_path}
    study(task, "lam 0 0.1..3 | peak 1e-3..1e-2 | schedule cosine to 0", trials=30, **words)
    before = {r["key"] for r in records(tmp_path) if r["stage"] == "sweep"}
    study(task, "lam 0 0.1..3 | peak 1e-3..1e-2 | schedule cosine to 0", trials=40, **words)
    after = [r["key"] for r in records(tmp_path) if r["stage"] == "sweep"]
    assert len(before) == 30
    assert len(after) == 40
    assert before < set(after)


def records(folder: Path) -> list[dict]:
    return [json.loads(json.loads(line)["body"]) for line in (folder / "trials.jsonl").read_bytes().splitlines()]


def test_the_winner_of_a_study_is_a_plan_that_went_to_the_end(task: Task) -> None:
    found = study(task, SPACE, seeds=2)
    ends = {t["plan"] for t in found.evidence["settings"][0]["trials"] if t["stopped_at"] is None}
    assert str(found.plan) in ends
    assert dw.parse(str(found.plan)) == found.plan
