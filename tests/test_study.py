"""The study: space, store, the three stages, resuming, and the statistics it reports."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dwindle as dw
from dwindle.errors import InvalidValueError, UnknownNameError
from dwindle.population import SGD, Adam, StoppedError
from dwindle.report import render, summary
from dwindle.studies import Progress, Space, Store, Study, Task, load, study
from dwindle.studies.evidence import comparison, interval
from dwindle.studies.outcome import winner_row
from dwindle.studies.stages import _CONTENDERS, Stages

SMALL = Space((0.0, 1.0), (1e-3, 1e-2), ("constant", "cosine to 0"))


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion", label_noise=0.2), hidden=(6,), epochs=1, name="noisy")


@pytest.fixture(scope="module")
def found(task: Task) -> Study:
    return study(task, SMALL, seeds=3, seed=1)


def without_clock(evidence: dict) -> dict:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


# --- the space ---


def test_a_space_is_every_combination() -> None:
    points = SMALL.candidates()
    assert len(points) == 8
    assert len({(p.lam, p.peak, str(p.schedule)) for p in points}) == 8
    assert all((p.plan.decay is None) == (p.lam == 0) for p in points)


def test_a_space_reads_back_from_its_text_and_from_toml(tmp_path: Path) -> None:
    assert Space.parse(str(SMALL)) == SMALL
    path = tmp_path / "space.toml"
    path.write_text('lams = [0, 1]\npeaks = [1e-3, 1e-2]\nschedules = ["constant", "cosine to 0"]\n')
    assert Space.load(path) == SMALL


def test_a_drawn_space_keeps_what_comparisons_need_and_is_the_same_again() -> None:
    for seed in range(20):
        drawn = Space().candidates(most=5, seed=seed)
        assert len(drawn) == 5
        assert any(p.lam == 0 for p in drawn)
        assert any(p.is_constant for p in drawn)
        assert drawn == Space().candidates(most=5, seed=seed)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lam 0 | peak x | schedule constant", "peak must be numbers"),
        ("lams 0", "did you mean 'lam'"),
        ("lam 0 | lam 1", "given twice"),
        ("lam -1 | peak 1", "lams must be zero or more"),
        ("lam 0 | peak 0", "peaks must be positive"),
        ("schedule cosin to 0", "cosin"),
        ("lam 100 | peak 0.1", "change sign and grow"),
    ],
)
def test_a_bad_space_is_refused(text: str, words: str) -> None:
    with pytest.raises(dw.DwindleError, match=words):
        Space.parse(text)


def test_a_space_file_with_an_unknown_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("lam = [0]\n")
    with pytest.raises(dw.DwindleError, match="did you mean 'lams'"):
        Space.load(path)
    with pytest.raises(dw.DwindleError, match="cannot be read"):
        Space.load(tmp_path / "absent.toml")


# --- the stages ---


def test_the_winner_has_the_best_validation_loss_of_the_shortlist(found: Study) -> None:
    setting = found.evidence["settings"][0]
    losses = {t["plan"]: t["final"]["validation_loss"] for t in setting["trials"]}
    assert setting["winner"]["plan"] in sorted(losses, key=losses.__getitem__)[:6]
    assert found.plan == dw.parse(setting["winner"]["plan"])


BARE = "lam 0 300 | peak 1e-4 | schedule constant; linear to 0"  # in one epoch either decay costs


def test_a_winner_without_decays_is_compared_with_the_best_plans_that_have_them(task: Task) -> None:
    setting = study(task, BARE, seeds=5).evidence["settings"][0]
    assert (setting["winner"]["lam"], setting["winner"]["schedule"]) == (0.0, "constant")
    rows = {c["role"]: c for c in setting["contenders"]}
    assert list(rows) == ["winner", "weight decay", "falling lr"]
    chosen = setting["choice"]
    assert rows["weight decay"]["plan"] == next(c["plan"] for c in chosen if c["lam"] > 0)
    assert rows["falling lr"]["plan"] == next(c["plan"] for c in chosen if c["schedule"] != "constant")
    assert {c["against"] for c in setting["comparisons"]} == {"weight decay", "falling lr"}
    assert {each["knob"]: each["verdict"] for each in setting["advice"]}["weight decay"] == "matters"
    assert "makes it worse here" in setting["advice"][0]["said"]
    alone = study(task, "lam 0 | peak 1e-4 | schedule constant", seeds=2).evidence["settings"][0]
    assert [c["role"] for c in alone["contenders"]] == ["winner"]


def test_the_shortlist_has_the_two_best_of_every_kind_whoever_leads(task: Task) -> None:
    wide = BARE.replace("1e-4", "1e-4 1.1e-4 1.2e-4 1.3e-4 1.4e-4")
    setting = study(task, wide, seeds=2).evidence["settings"][0]
    ranked = sorted(setting["trials"], key=lambda t: t["final"]["validation_loss"])
    assert all(t["lam"] == 0 and t["schedule"] == "constant" for t in ranked[:5])
    decayed, falling = [t for t in ranked if t["lam"] > 0], [t for t in ranked if t["schedule"] != "constant"]
    wanted = [*ranked[:4], *decayed[:2], *falling[:2]]
    assert {c["plan"] for c in setting["choice"]} == {t["plan"] for t in wanted}
    assert len(setting["choice"]) == 8


@given(st.permutations(range(8)))
def test_the_roles_are_the_first_of_their_kind(order: list[int]) -> None:
    every = Space((0.0, 1.0), (1e-3,), ("constant", "linear to 0"), batch_sizes=(10, 20)).candidates()
    best = [every[i] for i in order]
    stages = SimpleNamespace()
    roles = Stages._contenders(stages, best)
    winner = roles["winner"]
    assert winner == stages.winner == best[0]
    kinds = {
        "no weight decay": lambda c: c.lam == 0,
        "weight decay": lambda c: c.lam > 0,
        "constant lr": lambda c: c.is_constant,
        "falling lr": lambda c: not c.is_constant,
    }
    for role, kind in kinds.items():
        assert roles.get(role) == (None if kind(winner) else next(c for c in best if kind(c))), role
    assert ("winner without weight decay" in roles) == (winner.lam > 0)
    assert ("winner at constant lr" in roles) == (not winner.is_constant)
    assert len(roles) <= _CONTENDERS


def test_a_plan_in_two_roles_is_trained_once(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [c for c in Space.parse(BARE).candidates() if (c.lam > 0) != c.is_constant]  # neither decay, or both
    monkeypatch.setattr(Space, "candidates", lambda *_, **__: tuple(both))
    setting = study(task, BARE, seeds=2, folder=tmp_path).evidence["settings"][0]
    winner, decayed, falling = setting["contenders"]
    assert [c["role"] for c in (winner, decayed, falling)] == ["winner", "weight decay", "falling lr"]
    assert decayed["plan"] == falling["plan"] != winner["plan"]
    assert {c["together"] for c in setting["comparisons"]} == {1}
    fresh = [
        r for r in Store.open(tmp_path).records.values() if r["seed"] in winner["seeds"] and r["stage"] == "report"
    ]
    assert len(fresh) == 2 * 2


def test_report_seeds_are_fresh(found: Study) -> None:
    setting = found.evidence["settings"][0]
    swept = {t["seed"] for t in setting["trials"]}
    for contender in setting["contenders"]:
        assert len(set(contender["seeds"])) == 3
        assert not swept & set(contender["seeds"])


def test_comparisons_are_the_paired_differences_of_the_contenders(found: Study) -> None:
    setting = found.evidence["settings"][0]
    winner = setting["contenders"][0]
    for c in setting["comparisons"]:
        other = next(k for k in setting["contenders"] if k["role"] == c["against"])
        differences = np.subtract(winner[c["metric"]], other[c["metric"]])
        assert c["difference"] == pytest.approx(differences.mean())
        assert c["lower"] <= c["difference"] <= c["upper"]


def test_the_evidence_is_json_and_the_same_for_the_same_seed(task: Task, found: Study) -> None:
    again = study(task, SMALL, seeds=3, seed=1)
    assert json.dumps(without_clock(found.evidence), allow_nan=False) == json.dumps(without_clock(again.evidence))


def test_a_trial_equals_the_same_plan_trained_alone(task: Task, found: Study) -> None:
    trial = found.evidence["settings"][0]["trials"][3]
    alone = task.train([dw.parse(trial["plan"])], [trial["seed"]])
    assert alone.validation_loss[0].tolist() == trial["curve"]["validation_loss"]


def test_every_trial_diverging_is_said(task: Task) -> None:
    bad = Task(data=task.data, hidden=(6,), epochs=1, optimiser=SGD())
    with pytest.raises(dw.DwindleError, match="diverged; give lower peaks"), np.errstate(all="ignore"):
        study(bad, Space((0.0,), (1e30,), ("constant",)), seeds=2)


def test_regression_has_no_accuracy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 2))
    path = tmp_path / "line.csv"
    rows = "\n".join(f"{a},{b},{2 * a - b + 0.1 * rng.standard_normal()}" for a, b in x)
    path.write_text("a,b,y\n" + rows + "\n")
    task = Task(data=load(str(path)), hidden=(4,), epochs=2, batch_size=10)
    setting = study(task, SMALL, seeds=2).evidence["settings"][0]
    assert {c["metric"] for c in setting["comparisons"]} == {"test_loss", "gap"}
    assert setting["contenders"][0]["test_accuracy"] == [None, None]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda t: study([], SMALL), "needs a Task"),
        (lambda t: study([t, t], SMALL), "different names"),
        (lambda t: study(t, SMALL, seeds=1), "seeds must be at least 2"),
        (lambda t: study(t, SMALL, seed=-1), "seed must be at least 0"),
        (lambda t: Task(data=t.data, batch_size=10**6), "at most the 2000 training examples"),
        (lambda t: Task(data=t.data, hidden=(0,)), "hidden must be positive"),
        (lambda t: Task(data=t.data, activation="swish"), "'swish' is not known"),
        (lambda t: Task(data=None), "data must be a Dataset"),
    ],
)
def test_bad_arguments_are_refused(task: Task, make: object, words: str) -> None:
    with pytest.raises(dw.DwindleError, match=words):
        make(task)  # type: ignore[operator]


@pytest.mark.parametrize(
    "text", ["decoupled 0.1 cautious", "layer-decay 0.5", 'group "a" "*" times 2', 'mask name "*" decays']
)
def test_what_the_engine_cannot_do_is_refused_not_left_out(task: Task, text: str) -> None:
    with pytest.raises(dw.DwindleError, match=r"population engine|mean nothing"):
        task.train([dw.parse(f"peak 0.1 | {text}")], [0])


@pytest.mark.parametrize("decay", ["decoupled 0.1", "l2 0.1"])
def test_the_code_to_paste_has_the_settings_of_the_optimiser(decay: str, task: Task) -> None:
    torch = pytest.importorskip("torch")
    (candidate,) = Space((0.1,), (1e-2,), ("constant",), convention=decay.split()[0]).candidates()
    for optimiser in (Adam(), Adam(0.8, 0.95, 1e-6), SGD(0.5, nesterov=True)):
        code = winner_row(candidate, replace(task, optimiser=optimiser))["code"]
        names = {"model": torch.nn.Linear(2, 2)}
        exec(code["torch with dwindle"], names)
        found = names["optimiser"].defaults  # type: ignore[attr-defined]
        if isinstance(optimiser, SGD):
            assert (found["momentum"], found["nesterov"]) == (0.5, True)
        else:
            assert (*found["betas"], found["eps"]) == (optimiser.beta1, optimiser.beta2, optimiser.eps)
        assert len(code) == (5 if optimiser == Adam() else 1)  # the others are written for the defaults of Adam


# --- new examples ---


def test_the_intervals_are_for_new_examples_and_of_an_old_store_over_seeds(
    task: Task, found: Study, tmp_path: Path
) -> None:
    (setting,) = found.evidence["settings"]
    rows = len(task.data.test_x)
    assert setting["test_examples"] == rows
    assert {c["examples"] for c in setting["comparisons"]} == {rows, None}
    assert {c["metric"] for c in setting["comparisons"] if c["examples"] is None} == {"gap"}
    new = f"hold for new seeds and new examples, judged by these {rows:,} test examples"
    old = f"The intervals are over seeds, on these {rows:,} test examples: other examples may say otherwise."
    page, words, said = render(found.evidence), " ".join(summary(found.evidence).split()), " ".join(setting["facts"])
    assert all(new in place and old not in place for place in (page, words, said))
    assert f"3 seeds and {rows:,} test examples" in page

    study(task, SMALL, seeds=3, seed=1, folder=tmp_path)
    kept = Store.open(tmp_path)
    kept.close()
    (tmp_path / "trials.jsonl").unlink()
    before = Store.open(tmp_path)  # of before they were kept
    before.add({name: value for name, value in record.items() if name != "by_part"} for record in kept.records.values())
    before.close()
    again = study(task, SMALL, seeds=3, seed=1, folder=tmp_path)
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == len(kept.records)  # nothing was done again
    (older,) = again.evidence["settings"]
    assert older["contenders"] == setting["contenders"]
    for one, other in zip(older["comparisons"], setting["comparisons"], strict=True):
        assert (one["difference"], one["examples"]) == (other["difference"], None)
        assert one["upper"] - one["lower"] <= other["upper"] - other["lower"] or len(other["freedom"]) > 1
    page, words, said = render(again.evidence), " ".join(summary(again.evidence).split()), " ".join(older["facts"])
    assert all(old in place and new not in place for place in (page, words, said))
    judged = [a for a in older["advice"] if "seeds" in a["numbers"]]
    assert judged
    assert all(
        "That is over seeds, on these test examples alone; others may say otherwise." in a["said"] for a in judged
    )
    assert "on these test examples alone" not in str(setting["advice"])


# --- several tasks, batches that do not fit ---


def test_each_task_is_searched_where_its_optimiser_is_and_said_where_it_differs(task: Task) -> None:
    quick = replace(task, batch_size=500, epochs=1)
    other = replace(quick, name="other", hidden=(3,), optimiser=SGD(0.9), batch_size=1000, epochs=2)
    found = study([quick, other, replace(quick, name="again")], trials=4, seeds=2, refine=False)
    first, second, third = found.evidence["settings"]
    peaks = [{trial["peak"] for trial in setting["trials"]} for setting in (first, second)]
    for own, tried in zip((quick, other), peaks, strict=True):
        assert tried <= set(Space.default(own.optimiser).peaks)
    assert "trained" not in first
    assert "trained" not in third
    said = (
        "MLP 784-3-10 relu, softmax cross-entropy; SGD(momentum=0.9, nesterov=False), 2 epochs in batches of 1,000 on "
        "2,000 examples of fashion"
    )
    assert second["trained"] == said
    words = " ".join(summary(found.evidence).split())
    assert words.count(f"Trained here: {said}.") == words.count("Trained here") == 1
    assert f"Trained here: {said}." in render(found.evidence)


@pytest.mark.parametrize(
    ("space", "folds", "words"),
    [
        (
            "lam 0 | peak 1e-2 | batch 16 2048 | schedule constant",
            None,
            "batches of 2048 .* the 2000 training examples",
        ),
        ("lam 0 | peak 1e-2 | batch 16 2048 | schedule constant", 2, "the 1500 training .* in each of 2 folds"),
        ("lam 0 | peak 1e-2 | schedule constant", 2, "batches of 1800 .* the 1500 .* or another number of folds"),
    ],
)
def test_a_batch_that_cannot_be_filled_is_refused_before_anything_is_trained(
    space: str, folds: int | None, words: str, task: Task, tmp_path: Path
) -> None:
    fits = replace(task, name="fits", batch_size=16)
    with pytest.raises(InvalidValueError, match=words):
        study([fits, replace(task, batch_size=1800)], space, seeds=2, folds=folds, folder=tmp_path)
    assert not (tmp_path / "trials.jsonl").exists()


# --- resuming ---


def test_a_stopped_study_goes_on_and_ends_the_same(task: Task, found: Study, tmp_path: Path) -> None:
    seen: list[Progress] = []
    with pytest.raises(StoppedError):
        study(
            task,
            SMALL,
            seeds=3,
            seed=1,
            folder=tmp_path,
            progress=seen.append,
            stop=lambda: bool(seen) and seen[-1].done >= 8,
        )
    kept = len(Store.open(tmp_path).records)
    (tmp_path / "lock").unlink()
    assert kept >= 8
    again = study(task, SMALL, seeds=3, seed=1, folder=tmp_path)
    assert without_clock(again.evidence) == without_clock(found.evidence)
    lines = (tmp_path / "trials.jsonl").read_text().splitlines()
    assert len(lines) == len({json.loads(json.loads(line)["body"])["key"] for line in lines})


def test_progress_ends_at_its_total(task: Task) -> None:
    seen: list[Progress] = []
    study(task, SMALL, seeds=2, progress=seen.append)
    assert seen[-1].done == seen[-1].total
    assert all(a.done <= b.done + 1e-9 for a, b in itertools.pairwise(seen))


def test_other_data_in_the_same_folder_is_not_mixed_up(tmp_path: Path, task: Task) -> None:
    study(task, SMALL, seeds=2, folder=tmp_path)
    before = len(Store.open(tmp_path).records)
    (tmp_path / "lock").unlink()
    other = Task(data=load("fashion"), hidden=(6,), epochs=1)
    study(other, SMALL, seeds=2, folder=tmp_path)
    assert len(Store.open(tmp_path).records) > before


# --- the store ---


def test_the_store_drops_what_was_cut_or_flipped_and_keeps_the_rest(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.add({"key": f"k{i}", "x": i} for i in range(5))
    store.close()
    path = tmp_path / "trials.jsonl"
    whole = path.read_bytes()
    starts = [0] + [i + 1 for i, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        kept = Store.open(tmp_path)
        kept.close()
        complete = sum(1 for s in starts[1:] if s <= cut + 1)  # a last line without its newline is complete too
        assert len(kept.records) == complete
        assert all(kept.records[f"k{i}"]["x"] == i for i in range(complete))
    rng = np.random.default_rng(0)
    for _ in range(200):
        broken = bytearray(whole)
        broken[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(broken))
        kept = Store.open(tmp_path)
        kept.close()
        assert len(kept.records) >= 3
        assert all(record == {"key": key, "x": int(key[1:])} for key, record in kept.records.items())


def test_writing_goes_on_after_a_cut_line(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.add([{"key": "a"}])
    store.close()
    path = tmp_path / "trials.jsonl"
    path.write_bytes(path.read_bytes() + b'{"format": "dwin')
    store = Store.open(tmp_path)
    assert store.spoilt == 1
    store.add([{"key": "b"}])
    store.close()
    assert set(Store.open(tmp_path).records) == {"a", "b"}


def test_a_second_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "lock").write_text(str(other.pid))
        with pytest.raises(dw.DwindleError, match=f"process {other.pid} is running a study"):
            Store.open(tmp_path)
    finally:
        other.communicate(b"\n")
    Store.open(tmp_path).close()  # its process gone, the lock is no longer in the way


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(dw.DwindleError, match="cannot be made"):
        Store.open(tmp_path / "file" / "below")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_and_old_trials_stay(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.add([{"key": "a"}])
    whole = (tmp_path / "trials.jsonl").read_bytes()
    (tmp_path / "trials.jsonl").rename(tmp_path / "kept")
    os.symlink("/dev/full", tmp_path / "trials.jsonl")
    with pytest.raises(dw.DwindleError, match="No space left"):
        store.add([{"key": "b"}])
    assert set(store.records) == {"a"}
    assert (tmp_path / "kept").read_bytes() == whole


# --- the statistics ---


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        _, lower, upper = interval(rng.normal(3.0, 2.0, 6))
        hits += lower <= 3.0 <= upper
    assert 0.935 < hits / 2000 < 0.965


def test_verdicts_know_which_way_is_better() -> None:
    winner = {"seeds": [1, 2, 3], "test_loss": [1.0, 1.1, 0.9], "test_accuracy": [0.9, 0.91, 0.92]}
    worse = {"role": "r", "seeds": [3, 2, 1], "test_loss": [1.9, 2.1, 2.0], "test_accuracy": [0.82, 0.8, 0.81]}
    assert comparison(winner, worse, "test_loss")["verdict"] == "better"
    assert comparison(winner, worse, "test_accuracy")["verdict"] == "better"
    assert comparison({**worse, "seeds": [1, 2, 3]}, {"role": "w", **winner}, "test_loss")["verdict"] == "worse"
    assert comparison(winner, {"role": "same", **winner}, "test_loss")["verdict"] == "not distinguishable"
    gone = {"role": "r", "seeds": [1, 2, 3], "test_loss": [None, None, 1.0]}
    assert comparison(winner, gone, "test_loss") is None


# --- samplers, batch sizes ---

WIDE = "lam 0 1e-3..1 | peak 1e-3..1e-1 | schedule constant; cosine to 0..20%"


@pytest.mark.parametrize("sampler", ["sobol", "tpe"])
def test_a_sampler_says_what_is_trained_and_a_stopped_search_goes_on(sampler: str, task: Task, tmp_path: Path) -> None:
    words = {"trials": 30, "sampler": sampler, "seeds": 2, "seed": 3}
    whole = without_clock(study(task, WIDE, **words, folder=tmp_path / "whole").evidence)
    trials = whole["settings"][0]["trials"]
    assert len(trials) == 30
    assert len({(t["lam"], t["peak"], t["schedule"]) for t in trials}) > 20
    asked = iter([False] * 2 + [True] * 1000)
    with pytest.raises(StoppedError):
        study(task, WIDE, **words, folder=tmp_path / "cut", stop=lambda: next(asked))
    assert without_clock(study(task, WIDE, **words, folder=tmp_path / "cut").evidence) == whole


def test_the_trials_of_a_search_are_an_optuna_study(task: Task, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    found = study(task, WIDE, trials=12, sampler="sobol", seeds=2, folder=tmp_path)
    file = f"sqlite:///{tmp_path / 'study.db'}"
    (name,) = optuna.get_all_study_names(file)
    there = optuna.load_study(study_name=name, storage=file).trials
    trials = found.evidence["settings"][0]["trials"]
    assert [t.value for t in there] == [t["final"]["validation_loss"] for t in trials]
    assert [t.params["peak"] for t in there] == [t["peak"] for t in trials]


def test_a_batch_size_is_trained_as_such(task: Task) -> None:
    found = study(task, "lam 0 | peak 1e-2 | batch 50 200 | schedule constant", seeds=2, seed=1)
    small, large = found.evidence["settings"][0]["trials"]
    alone = study(replace(task, batch_size=50), "lam 0 | peak 1e-2 | schedule constant", seeds=2, seed=1)
    (one,) = alone.evidence["settings"][0]["trials"]
    assert small["final"] == one["final"] != large["final"]
    assert small["curve"]["epoch"] == one["curve"]["epoch"]
    assert found.evidence["settings"][0]["winner"]["batch_size"] in (50, 200)


@pytest.mark.parametrize("words", [{}, {"trials": 5}])
def test_without_a_sampler_the_sweep_is_an_optuna_study_too(words: dict, task: Task, tmp_path: Path) -> None:
    optuna = pytest.importorskip("optuna")
    found = study(task, SMALL, seeds=2, storage=tmp_path / "own.db", **words)
    file = f"sqlite:///{tmp_path / 'own.db'}"
    (name,) = optuna.get_all_study_names(file)
    there = optuna.load_study(study_name=name, storage=file).trials
    trials = found.evidence["settings"][0]["trials"]
    assert len(there) == words.get("trials", 8)
    assert [t.user_attrs["plan"] for t in there] == [t["plan"] for t in trials]
    assert [t.value for t in there] == [t["final"]["validation_loss"] for t in trials]


def test_spaces_that_cannot_be_searched_are_refused(task: Task) -> None:
    with pytest.raises(InvalidValueError, match="endless points"):
        study(task, WIDE)
    with pytest.raises(UnknownNameError, match="sobol"):
        study(task, WIDE, sampler="sobool")
