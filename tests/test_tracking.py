"""Trainings in experiment trackers: what TensorBoard reads back, what W&B and MLflow are handed, and nothing twice."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dwindle.errors import InvalidValueError, MissingExtraError, UnknownNameError
from dwindle.tracking import TRACKERS, Tracking, tracker
from dwindle.tracking.training import curves, finals, hyperparameters

GIVEN = {
    "task": "fashion", "stage": "sweep", "plan": "peak 1e-2 | cosine to 0% | decoupled 0.1", "lam": 0.1, "peak": 0.01,
    "schedule": "cosine to 0%", "seed": 4003597245, "batch_size": 100,
}  # fmt: skip


def record(key: str = "a1", **changes: Any) -> dict[str, Any]:
    """The record of a training that was let go after two of four epochs."""
    curve = {
        "epoch": [0.0, 1.0, 2.0, 4.0],
        "train_loss": [2.5, 1.5, 1.25, None],
        "validation_loss": [2.5, None, 1.75, None],
    }
    made = {
        "key": key, **GIVEN, "diverged": False, "stopped_at": 2.0, "final": {"train_loss": None, "validation_loss": 1.75},
        "test_loss": 1.875, "test_accuracy": None, "curve": curve,
        "metrics": {"test": {"top5": 0.5}, "validation": {"top5": [0.25, 0.375, 0.5, None]}},
    }  # fmt: skip
    return {**made, **changes}


CURVES = {
    "train_loss": [(0, 2.5), (1, 1.5), (2, 1.25)],
    "validation_loss": [(0, 2.5), (2, 1.75)],
    "validation_top5": [(0, 0.25), (1, 0.375), (2, 0.5)],
}
FINALS = {"final/validation_loss": 1.75, "test_loss": 1.875, "stopped_at": 2.0, "test_top5": 0.5, "diverged": 0.0}


def by_name(points: list[Any]) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for point in points:
        for name, value in point.values.items():
            found.setdefault(name, []).append((point.step, value))
    return found


def test_a_record_is_hyperparameters_curves_and_finals() -> None:
    assert hyperparameters(record()) == GIVEN
    assert by_name(curves(record())) == CURVES
    assert finals(record()) == FINALS
    assert finals(record(diverged=True, metrics={}))["diverged"] == 1.0


def test_evaluations_between_epochs_are_numbered() -> None:
    points = curves(record(curve={"epoch": [0.0, 0.5, 1.0], "train_loss": [3.0, 2.0, 1.0]}, metrics={}))
    assert by_name(points) == {
        "epoch": [(0, 0.0), (1, 0.5), (2, 1.0)], "train_loss": [(0, 3.0), (1, 2.0), (2, 1.0)]
    }  # fmt: skip


# --- TensorBoard, for real


def events(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def hparams(found: Any) -> dict[str, Any]:
    from tensorboard.plugins.hparams import plugin_data_pb2

    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in given.items()}


@pytest.mark.parametrize("kept", [record(), record(curve={"epoch": [0.0], "train_loss": [None]}, metrics={})])
def test_tensorboard_reads_every_number_back(kept: dict[str, Any], tmp_path: Path) -> None:
    tracker("tensorboard", tmp_path).write(kept)
    found = events(tmp_path / "tensorboard" / "a1")
    expected = by_name(curves(kept)) | {
        name: [(max([0, *(p.step for p in curves(kept))]), value)] for name, value in finals(kept).items()
    }
    scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}
    assert scalars == expected
    assert hparams(found) == GIVEN


def test_tensorboard_keeps_what_it_has_and_writes_what_it_lacks(tmp_path: Path) -> None:
    for key in ("a", "b"):
        tracker("tensorboard", tmp_path).write(record(key))
    before = {file: file.read_bytes() for file in tmp_path.rglob("events.*")}
    assert len(before) == 2
    (tmp_path / "tensorboard" / "b" / "half").touch()
    next((tmp_path / "tensorboard" / "b").glob("events.*")).unlink()  # as a kill before the renaming leaves it
    again = tracker("tensorboard", tmp_path)
    for key in ("a", "b"):
        again.write(record(key, test_loss=9.0))
    files = {file.parent.name: file for file in tmp_path.rglob("events.*")}
    assert len(files) == 2
    assert files["a"].read_bytes() == before[files["a"]]
    assert events(files["b"].parent).Scalars("test_loss")[0].value == 9.0


def test_tensorboard_leaves_no_part_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        tracker("tensorboard", tmp_path).write(record())
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    tracker("tensorboard", tmp_path).write(record())
    assert events(tmp_path / "tensorboard" / "a1").Tags()["scalars"]


# --- W&B: a small stand-in, and offline for real


class FakeWandb:
    """What is used of wandb: runs by id, each with the rows that were logged, kept like a server keeps them."""

    def __init__(self, logged_in: bool = True) -> None:
        self.runs: dict[str, Any] = {}
        self.begun: list[dict[str, Any]] = []
        self.logged_in = logged_in

    def login(self, *, prompt: bool) -> bool:
        assert prompt is False, "a question in the middle of a study would never be answered"
        return self.logged_in

    def Settings(self, **given: Any) -> dict[str, Any]:
        return given

    def init(self, **given: Any) -> Any:
        self.begun.append(given)
        assert given["resume"] == "allow"
        run = self.runs.setdefault(given["id"], FakeRun())
        run.config, run.finished, run.step = given["config"], False, len(run.rows)
        return run


class FakeRun:
    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.summary: dict[str, float] = {}
        self.fails_at: int | None = None
        self.step = 0
        self.finished = False

    def define_metric(self, name: str, *, step_metric: str) -> None:
        assert (name, step_metric) == ("*", "epoch")

    def log(self, row: dict[str, float], *, step: int) -> None:
        if self.fails_at == step:
            self.fails_at = None
            raise ConnectionError("gone")
        assert step == len(self.rows), "a row was left out or logged twice"
        self.rows.append(row)

    def finish(self) -> None:
        self.finished = True


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    for name in ("WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    return fake


def test_wandb_is_handed_one_run_a_key(wandb: FakeWandb, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    tracker("wandb", folder).write(record())
    assert {name: wandb.begun[0][name] for name in ("project", "id", "group", "job_type", "dir")} == {
        "project": "dwindle", "id": "a1", "group": "mine", "job_type": "sweep", "dir": str(folder),
    }  # fmt: skip
    run = wandb.runs["a1"]
    assert run.config == GIVEN
    assert run.rows == [{"epoch": point.epoch, **point.values} for point in curves(record())]
    assert run.summary == FINALS
    assert run.finished
    tracker("wandb", folder).write(record())  # as another process does when the study goes on
    assert len(wandb.begun) == 1


def test_wandb_resumes_a_run_that_was_cut_short(wandb: FakeWandb, tmp_path: Path) -> None:
    wandb.runs["a1"] = FakeRun()
    wandb.runs["a1"].fails_at = 2
    with pytest.raises(ConnectionError):
        tracker("wandb", tmp_path).write(record())
    assert wandb.runs["a1"].finished
    assert len(wandb.runs["a1"].rows) == 2
    tracker("wandb", tmp_path).write(record())
    assert by_name([SimpleNamespace(step=int(row.pop("epoch")), values=row) for row in wandb.runs["a1"].rows]) == CURVES


def test_wandb_writes_to_another_project_what_the_first_has(
    wandb: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker("wandb", tmp_path).write(record())
    monkeypatch.setenv("WANDB_PROJECT", "other")
    tracker("wandb", tmp_path).write(record())
    assert [given["project"] for given in wandb.begun] == ["dwindle", "other"]


def test_wandb_needs_an_account_unless_offline(
    wandb: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb.logged_in = False
    with pytest.raises(InvalidValueError, match="nobody is logged in"):
        tracker("wandb", tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync" in tracker("wandb", tmp_path).place


def test_wandb_says_in_one_error_that_no_server_answers(wandb: FakeWandb, tmp_path: Path) -> None:
    def unreachable(**_: Any) -> bool:
        raise ConnectionError("no route")

    wandb.login = unreachable  # type: ignore[method-assign]
    with pytest.raises(InvalidValueError, match="no route"):
        tracker("wandb", tmp_path)


@pytest.mark.filterwarnings("ignore")  # of its own packages
def test_wandb_offline_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    for key in ("a", "b", "a"):
        tracker("wandb", tmp_path).write(record(key))
    assert sorted(path.name[-1] for path in (tmp_path / "wandb").glob("offline-run-*")) == ["a", "b"]


# --- MLflow: a small stand-in, and a database for real


class FakeMlflow:
    """What is used of MlflowClient, with the limits of a server."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}
        self.experiments: dict[str, str] = {}
        self.fails = False

    def get_experiment_by_name(self, name: str) -> Any:
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name: str) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> Any:
        assert all(len(value) <= 5000 for value in tags.values())
        run = SimpleNamespace(
            info=SimpleNamespace(
                run_id=f"run {len(self.made)}", status="RUNNING", experiment=experiment, name=run_name
            ),
            data=SimpleNamespace(tags=tags, params={}, metrics=[]),
        )
        self.made[run.info.run_id] = run
        return run

    def delete_run(self, run_id: str) -> None:
        del self.made[run_id]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        if self.fails and metrics:
            raise ConnectionError("gone")
        assert len(metrics) <= 1000
        assert all(len(value) <= 500 for _, value in params)
        self.made[run_id].data.params |= dict(params)
        self.made[run_id].data.metrics += metrics

    def set_terminated(self, run_id: str) -> None:
        self.made[run_id].info.status = "FINISHED"

    def search_runs(self, experiments: list[str], *, max_results: int, page_token: str | None) -> Any:
        """Pages of two runs."""
        at = int(page_token or 0)
        page = Page([run for run in self.made.values() if run.info.experiment in experiments][at : at + 2])
        page.token = str(at + 2) if at + 2 < len(self.made) else None
        return page


class Page(list[Any]):
    token: str | None


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> FakeMlflow:
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    fake = FakeMlflow()
    package = SimpleNamespace(MlflowClient=lambda: fake, get_tracking_uri=lambda: "http://there")
    monkeypatch.setitem(sys.modules, "mlflow", package)  # type: ignore[arg-type]
    entities = SimpleNamespace(
        Metric=lambda name, value, _, step: (name, step, value), Param=lambda name, value: (name, value)
    )
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)  # type: ignore[arg-type]
    return fake


def test_mlflow_is_handed_one_run_a_key(mlflow: FakeMlflow, tmp_path: Path) -> None:
    for key in ("a", "b", "c", "d", "e"):
        tracker("mlflow", tmp_path / "mine").write(record(key))
    again = tracker("mlflow", tmp_path / "mine")
    for key in ("a", "b", "c", "d", "e", "f"):
        again.write(record(key))
    assert [run.data.tags["dwindle.key"] for run in mlflow.made.values()] == ["a", "b", "c", "d", "e", "f"]
    assert list(mlflow.experiments) == ["dwindle/mine"]
    assert again.place == "experiment dwindle/mine at http://there"
    data = mlflow.made["run 0"].data
    assert data.params == {name: str(value) for name, value in GIVEN.items()}
    expected = [(name, step, value) for name, points in CURVES.items() for step, value in points]
    assert sorted(data.metrics) == sorted([*expected, *((name, 2, value) for name, value in FINALS.items())])


def test_mlflow_writes_again_what_was_cut_short(mlflow: FakeMlflow, tmp_path: Path) -> None:
    mlflow.fails = True
    with pytest.raises(ConnectionError):
        tracker("mlflow", tmp_path).write(record())
    mlflow.fails = False
    tracker("mlflow", tmp_path).write(record())
    (run,) = mlflow.made.values()
    assert run.info.status == "FINISHED"
    assert len(run.data.metrics) == len(FINALS) + sum(map(len, CURVES.values()))


def test_mlflow_takes_long_plans_and_long_curves(mlflow: FakeMlflow, tmp_path: Path) -> None:
    plan = "peak 1 | " + "x" * 2000
    long = {"epoch": [float(epoch) for epoch in range(3000)], "train_loss": [1.0] * 3000}
    tracker("mlflow", tmp_path).write(record(plan=plan, curve=long, metrics={}))
    (run,) = mlflow.made.values()
    assert run.data.tags["mlflow.note.content"] == plan
    assert [step for name, step, _ in run.data.metrics if name == "train_loss"] == list(range(3000))


@pytest.mark.filterwarnings("ignore")  # what its database says of itself
def test_mlflow_for_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = pytest.importorskip("mlflow", exc_type=ImportError)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    for key in ("a", "b", "a"):
        tracker("mlflow", tmp_path / "mine").write(record(key))
    client = package.MlflowClient()
    runs = client.search_runs([client.get_experiment_by_name("dwindle/mine").experiment_id])
    assert sorted(run.data.tags["dwindle.key"] for run in runs) == ["a", "b"]
    history = client.get_metric_history(runs[0].info.run_id, "train_loss")
    assert sorted((m.step, m.value) for m in history) == CURVES["train_loss"]


# --- whichever it is


def test_an_unknown_tracker_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'mlflow'"):
        tracker("mlfow", Path("."))


@pytest.mark.parametrize("name", TRACKERS)
def test_a_missing_package_is_named_with_what_installs_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [loaded for loaded in sys.modules if loaded.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)  # type: ignore[arg-type]  # what `import` takes as: there is none
    with pytest.raises(MissingExtraError, match=f"pip install {name}"):
        tracker(name, tmp_path)


def test_a_package_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.py").write_text("import json.absent\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mlflow", raising=False)
    with pytest.raises(MissingExtraError, match=r"mlflow cannot be imported: No module named 'json\.absent'"):
        tracker("mlflow", tmp_path)
    sys.modules.pop("mlflow", None)


# --- beside a study


class Fake:
    """A tracker that keeps keys; ``at`` a key it fails, ``gate`` holds it up."""

    place = "here"

    def __init__(self, name: str = "fake", at: str | None = None, gate: threading.Event | None = None) -> None:
        self.name, self.at, self.gate = name, at, gate
        self.keys: list[str] = []

    def write(self, record: Mapping[str, Any]) -> None:
        if self.gate is not None:
            self.gate.wait(20)
        if record["key"] == self.at:
            raise ConnectionError("the server\nis gone " + "x" * 1000)
        self.keys.append(record["key"])


def test_every_tracker_has_every_training_at_the_end() -> None:
    trackers = [Fake(), Fake()]
    warned: list[str] = []
    with Tracking(trackers, warned.append) as tracking:
        for key in "abcdef":
            tracking({"key": key})
    assert [each.keys for each in trackers] == [list("abcdef")] * 2
    assert not warned


def test_a_tracker_that_fails_is_given_up_with_one_warning() -> None:
    good, bad, warned = Fake("good"), Fake("bad", at="b"), list[str]()
    with Tracking([bad, good], warned.append) as tracking:
        for key in "abcdef":
            tracking({"key": key})
    assert bad.keys == ["a"]
    assert good.keys == list("abcdef")
    (said,) = warned
    assert said.startswith("bad is given up, the study goes on: ConnectionError: the server is gone")
    assert len(said) < 300


def test_a_slow_tracker_holds_nothing_up_and_the_end_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwindle.tracking.background._SAY_AFTER", 0.05)
    gate, warned = threading.Event(), list[str]()
    slow = Fake("slow", gate=gate)

    def warn(said: str) -> None:
        warned.append(said)
        gate.set()

    with Tracking([slow], warn) as tracking:
        for key in "abc":
            tracking({"key": key})
        assert not slow.keys
    assert slow.keys == list("abc")
    (said,) = warned
    assert "for slow" in said


def test_an_interrupted_study_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwindle.tracking.background._LAST_MOMENT", 0.05)
    gate = threading.Event()
    slow = Fake("slow", gate=gate)
    begun = time.monotonic()
    tracking = Tracking([slow], lambda _: None)
    tracking.__enter__()
    for key in "abc":
        tracking({"key": key})
    time.sleep(0.05)
    tracking.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert time.monotonic() - begun < 5
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "dwindle-slow":
            thread.join(10)
    assert slow.keys == ["a"]  # the one at hand, and none of those that waited
