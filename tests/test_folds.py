"""Folds, the last training, and the weights that come of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError, InvalidValueError
from dwindle.studies import Dataset, Space, Task, load, study
from dwindle.studies.folds import folds, with_validation

SMALL = Space((0.0, 1.0), (1e-3, 1e-2), ("constant", "cosine to 0"))


def table(rows: int, kind: str, seed: int = 0) -> Dataset:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((3 * rows, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int) if kind == "classification" else x @ [1.0, -2.0, 0.5, 0.0]
    cut = slice(0, 2 * rows), slice(2 * rows, 2 * rows + rows // 2), slice(2 * rows + rows // 2, None)
    parts = {
        f"{p}_{n}": a[c]
        for p, c in zip(("train", "validation", "test"), cut, strict=True)
        for n, a in (("x", x), ("y", y))
    }
    return Dataset(**parts, name="table", task=kind, classes=("no", "yes") if kind == "classification" else ())


@pytest.mark.law
@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(2, 9), st.sampled_from(["classification", "regression"]), st.integers(0, 99))
def test_every_row_is_held_out_once_and_the_parts_are_of_a_size(rows: int, k: int, kind: str, seed: int) -> None:
    data = table(rows, kind)
    everything = np.concatenate([data.train_x, data.validation_x])
    if k > len(everything):
        with pytest.raises(InvalidValueError, match="at most"):
            folds(data, k)
        return
    found = folds(data, k, seed)
    held = np.concatenate([fold.validation_x for fold in found])
    assert sorted(map(tuple, held)) == sorted(map(tuple, everything))
    sizes = [len(fold.validation_x) for fold in found]
    assert max(sizes) - min(sizes) <= 1
    for fold in found:
        both = np.concatenate([fold.train_x, fold.validation_x])
        assert sorted(map(tuple, both)) == sorted(map(tuple, everything))
        assert np.array_equal(fold.test_x, data.test_x)
    if kind == "classification":
        ones = [int(fold.validation_y.sum()) for fold in found]
        assert max(ones) - min(ones) <= 2


def test_a_study_over_folds_chooses_by_the_mean_over_all() -> None:
    task = Task(data=table(60, "regression"), hidden=(8,), epochs=6, batch_size=20)
    found = study(task, SMALL, seeds=2, folds=3, halving=False, seed=5)
    setting = found.evidence["settings"][0]
    parts = folds(task.data, 3, _fold_seed(5))
    trial = setting["trials"][2]
    alone = [
        Task(data=part, hidden=(8,), epochs=6, batch_size=20)
        .train([_plan(trial)], [trial["seed"]])
        .validation_loss[0, -1]
        for part in parts
    ]
    assert trial["final"]["validation_loss"] == pytest.approx(np.mean(alone), rel=1e-12)
    assert all(len(row["validation_loss"]) == 4 for row in setting["choice"])
    assert len({seed for row in setting["choice"] for seed in row["seeds"]}) == 4
    means = [np.mean(row["validation_loss"]) for row in setting["choice"]]
    assert means == sorted(means)
    assert setting["winner"]["plan"] == setting["choice"][0]["plan"]
    swept = {trial["plan"]: trial["final"]["validation_loss"] for trial in setting["trials"]}
    for row in setting["choice"]:  # of every fold the sweep's loss, then those of the choice
        assert [len(fold) for fold in row["by_fold"]] == [3, 2, 2]
        assert [value for fold in row["by_fold"] for value in fold[1:]] == row["validation_loss"]
        assert np.mean([fold[0] for fold in row["by_fold"]]) == pytest.approx(swept[row["plan"]], rel=1e-12)


def _plan(trial: dict):
    import dwindle as dw

    return dw.parse(trial["plan"])


def _fold_seed(seed: int) -> int:
    return int(np.random.SeedSequence([seed, 3]).generate_state(1)[0])


def test_with_folds_only_the_first_is_judged_and_the_rest_follow() -> None:
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=8, batch_size=20)
    setting = study(task, SMALL, seeds=2, folds=3).evidence["settings"][0]
    stops = [trial["stopped_at"] for trial in setting["trials"]]
    assert stops.count(None) == 2
    assert sorted(at for at in stops if at is not None) == [2.0, 2.0, 2.0, 2.0, 4.0, 4.0]


def test_the_weights_are_those_of_the_winner_and_come_back_from_the_folder(tmp_path: Path) -> None:
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=4, batch_size=20)
    found = study(task, SMALL, seeds=2, folder=tmp_path)
    weights = found.weights["table"]
    assert {name: value.shape for name, value in weights.items()} == {
        "0.weight": (8, 4), "0.bias": (8,), "2.weight": (2, 8), "2.bias": (2,),
    }  # fmt: skip
    setting = found.evidence["settings"][0]
    again = task.train([found.plan], [setting["fit"]["seed"]])
    assert all(np.array_equal(again.state_dict(0)[name], value) for name, value in weights.items())
    assert (
        setting["fit"]["test_loss"] == setting["contenders"][0]["test_loss"][0]
    )  # the first seed of the report, again
    with np.load(tmp_path / "weights.npz") as kept:
        assert all(np.array_equal(kept[name], value) for name, value in weights.items())
    lines = (tmp_path / "trials.jsonl").read_bytes()
    second = study(task, SMALL, seeds=2, folder=tmp_path)
    assert all(np.array_equal(second.weights["table"][name], value) for name, value in weights.items())
    assert (tmp_path / "trials.jsonl").read_bytes() == lines
    (tmp_path / "weights.npz").write_bytes(b"damaged")
    third = study(task, SMALL, seeds=2, folder=tmp_path)
    assert all(np.array_equal(third.weights["table"][name], value) for name, value in weights.items())


def test_tasks_with_names_alike_keep_their_weights_apart(tmp_path: Path) -> None:
    names = ["fold 0", "a b", "a-b", "A/b", "数据甲", "数据乙"]
    tasks = [
        Task(data=table(20 + i, "regression", i), name=name, hidden=(2,), epochs=1, batch_size=10)
        for i, name in enumerate(names)
    ]
    space = Space((0.0,), (1e-2,), ("constant",))
    found = study(tasks, space, seeds=2, folder=tmp_path)
    files = [f"weights{tail}.npz" for tail in ("", "-a-b", "-a-b-2", "-A-b-3", "-study", "-study-2")]
    assert sorted(file.name for file in tmp_path.glob("weights*")) == sorted(files)
    for name, file in zip(names, files, strict=True):
        with np.load(tmp_path / file) as kept:
            assert all(np.array_equal(kept[key], value) for key, value in found.weights[name].items())
    times = {file: (tmp_path / file).stat().st_mtime_ns for file in files}
    study(tasks, space, seeds=2, folder=tmp_path)
    assert times == {file: (tmp_path / file).stat().st_mtime_ns for file in files}  # each found its own


def test_the_weights_of_a_perceptron_load_into_torch() -> None:
    torch = pytest.importorskip("torch")
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=4, batch_size=20)
    found = study(task, SMALL, seeds=2)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    net.load_state_dict({name: torch.from_numpy(value) for name, value in found.weights["table"].items()})
    x, y = (torch.from_numpy(a.copy()) for a in task.data.part("test"))
    loss = torch.nn.functional.cross_entropy(net(x), y).item()
    assert loss == pytest.approx(found.evidence["settings"][0]["fit"]["test_loss"], rel=1e-5)


def test_a_last_training_on_the_validation_rows_too_says_so() -> None:
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=4, batch_size=20)
    found = study(task, SMALL, seeds=2, refit=True)
    fit = found.evidence["settings"][0]["fit"]
    assert fit["rows"] == 150
    assert fit["validation_rows_seen"] is True
    assert len(with_validation(task.data).train_x) == 150
    assert fit["test_loss"] != found.evidence["settings"][0]["contenders"][0]["test_loss"][0]


def test_weights_that_cannot_be_written_are_said_and_trainings_stay(tmp_path: Path) -> None:
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=4, batch_size=20)
    (tmp_path / "weights.npz").mkdir()
    with pytest.raises(DataError, match=r"weights cannot be written.*run again"):
        study(task, SMALL, seeds=2, folder=tmp_path)
    before = (tmp_path / "trials.jsonl").read_bytes()
    (tmp_path / "weights.npz").rmdir()
    study(task, SMALL, seeds=2, folder=tmp_path)
    assert (tmp_path / "trials.jsonl").read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("parts", "k"), [((), 5), (("train",), 5), (("train", "test"), 5), (("train", "validation"), 1)]
)
def test_a_validation_part_of_the_sources_own_is_not_divided_again(
    parts: tuple[str, ...], k: int, tmp_path: Path
) -> None:
    x = np.random.default_rng(0).standard_normal((60, 2))
    arrays = {f"{part}_x": x + i for i, part in enumerate(parts)} | {f"{part}_y": x[:, 0] for part in parts}
    np.savez(tmp_path / "own.npz", **(arrays or {"x": x, "y": x[:, 0]}))
    task = Task(data=load(tmp_path / "own.npz"), hidden=(2,), epochs=1)
    assert study(task, SMALL, seeds=2).evidence["settings"][0]["folds"] == k
    assert study(task, SMALL, seeds=2, folds=3).evidence["settings"][0]["folds"] == 3  # who asks gets them


@pytest.mark.parametrize("k", [0, 151, 2.5])
def test_folds_that_make_no_sense_are_refused(k: float) -> None:
    task = Task(data=table(60, "classification"), hidden=(8,), epochs=1, batch_size=20)
    with pytest.raises(InvalidValueError, match="folds"):
        study(task, SMALL, folds=k)  # type: ignore[arg-type]
