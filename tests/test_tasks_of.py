"""From what a user names to the tasks of a study: data, a function that returns data, a function that returns tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dwindle.errors import DataError, InvalidValueError
from dwindle.population import SGD
from dwindle.studies import load, study, tasks_of

MODULE = """
import numpy as np
from torch import nn
from dwindle.studies import Dataset, Task

def data(task="classification"):
    x = np.arange(40.0).reshape(20, 2) / 40; y = np.arange(20) % 2
    return Dataset(train_x=x, train_y=y, validation_x=x, validation_y=y, test_x=x, test_y=y,
                   name="mine", task=task, classes=("no", "yes") if task == "classification" else ())
def linear(): return nn.Linear(2, 2)
def task(): return Task(data=data(), model=linear, name="line", batch_size=5, epochs=2)
def tasks(): return [task(), Task(data=data(), name="perceptron", hidden=(3,), batch_size=5, epochs=2)]
def custom(): return data("custom")
def nothing(): return None
def mixed(): return [task(), 3]
def wants(x): return x
def fails(): raise KeyError("mine")
five = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[str]:
    before, modules = list(sys.path), set(sys.modules)
    path = tmp_path / "tasks_of_a_user.py"
    path.write_text(MODULE)
    yield str(path)
    sys.path[:] = before
    for name in set(sys.modules) - modules:
        if getattr(sys.modules[name], "__file__", None) == str(path):
            del sys.modules[name]


def test_data_gives_a_perceptron_for_each_share_of_noise(file: str) -> None:
    assert [(t.name, t.hidden, t.batch_size, t.epochs) for t in tasks_of()] == [
        ("clean labels", (64,), 32, 40),
        ("20 % label noise", (64,), 32, 40),
    ]
    (one,) = tasks_of(
        "fashion", label_noise=[0.2], hidden=[3], optimiser=SGD(), batch_size=50, epochs=2, evaluate_every=2
    )
    assert (one.name, one.hidden, one.optimiser, one.evaluations) == ("20 % label noise", (3,), SGD(), (0, 80))
    assert one.data.fingerprint() == load("fashion", label_noise=0.2).fingerprint()
    (own,) = tasks_of(f"{file}:data", hidden=(4,))
    assert (own.name, own.hidden, own.batch_size) == ("mine", (4,), 20)  # no more than there are examples
    assert len(tasks_of(f"{file}:data", label_noise=[0.0, 0.5])) == 2


def test_the_default_batch_fits_into_two_folds(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("x,y\n" + "".join(f"{i},{i * i / 7}\n" for i in range(30)))
    (task,) = tasks_of(tmp_path / "few.csv", epochs=1)
    assert (len(task.data.train_x), task.batch_size) == (18, 12)
    space = "lam 0 | peak 1e-2 | schedule constant"
    assert study(task, space, seeds=2, folds=2).evidence["settings"][0]["folds"] == 2


def test_a_file_or_a_module_gives_its_tasks(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (task,) = tasks_of(f"{file}:task")
    assert (task.name, task.epochs, task.batch_size) == ("line", 2, 5)
    assert task.model is sys.modules["tasks_of_a_user"].linear
    assert str(Path(file).parent) in sys.path  # worker processes import it from there
    monkeypatch.chdir(Path(file).parent)
    for source in ("tasks_of_a_user:task", "tasks_of_a_user.py:task"):
        assert tasks_of(source)[0].fingerprint() == task.fingerprint()
    assert [each.name for each in tasks_of("tasks_of_a_user:tasks")] == ["line", "perceptron"]


def test_what_is_given_takes_the_place_of_a_tasks_own(file: str) -> None:
    tasks = tasks_of(f"{file}:tasks", epochs=3, optimiser=SGD(), label_noise=[0.0, 0.5], seed=1)
    names = ["line, clean labels", "line, 50 % label noise", "perceptron, clean labels", "perceptron, 50 % label noise"]
    assert [each.name for each in tasks] == names
    assert all((each.epochs, each.batch_size, each.optimiser) == (3, 5, SGD()) for each in tasks)
    assert "label noise 0.5: 10 of 20" in tasks[1].data.provenance.steps[-1]


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        ("task", {"target": "x"}, "target='x' has no meaning .*: the function says it itself"),
        ("task", {"drop": ["x"]}, "drop="),
        ("task", {"validation": 0.1}, "validation=0.1"),
        ("task", {"hidden": (3,)}, r"hidden=\(3,\) has no meaning .*: its task says it itself"),
        ("task", {"activation": "relu"}, "activation='relu'"),
        ("data", {"task": "regression"}, "task='regression'"),
        ("custom", {}, "custom data, which a perceptron cannot learn"),
        ("task", {"label_noise": 0.1}, r"Write \[0.1\]"),
        ("nothing", {}, "returned NoneType; it must return"),
        ("mixed", {}, "returned list that does not hold tasks"),
        ("five", {}, "five is int, no function"),
        ("wants", {}, "wants is called without arguments: missing a required argument: 'x'"),
        ("taks", {}, "has no 'taks'; did you mean 'tasks'"),
    ],
)
def test_options_without_a_meaning_and_functions_of_no_use_are_refused(
    file: str, function: str, options: dict[str, object], words: str
) -> None:
    before = list(sys.path)
    with pytest.raises((DataError, InvalidValueError), match=words):
        tasks_of(f"{file}:{function}", **options)  # type: ignore[arg-type]
    assert sys.path == before


def test_the_users_own_errors_are_left_as_they_are(file: str) -> None:
    with pytest.raises(KeyError, match="mine"):
        tasks_of(f"{file}:fails")


def test_load_says_who_takes_a_task(file: str) -> None:
    assert load(f"{file}:data").name == "mine"
    with pytest.raises(DataError, match=r"returned Task; .* tasks_of\(source\) takes a task"):
        load(f"{file}:task")


def test_a_file_that_is_not_the_module_of_its_name_is_refused(tmp_path: Path) -> None:
    for name, words in (
        ("json.py", "json is the name of another module"),
        ("sys.py", "sys is the name of another module, a part of Python"),
        ("my.own.py", "a dot in its name"),
    ):
        (tmp_path / name).write_text("def task(): return None\n")
        with pytest.raises(DataError, match=words):
            tasks_of(f"{tmp_path / name}:task")
    with pytest.raises(DataError, match="no such file"):
        tasks_of(f"{tmp_path / 'absent.py'}:task")
    (tmp_path / "needs_more.py").write_text("import no_such_package_here\n")
    with pytest.raises(DataError, match="No module named 'no_such_package_here', which it imports"):
        tasks_of(f"{tmp_path / 'needs_more.py'}:task")


def test_a_file_that_is_no_python_is_bad_input_of_one_line(tmp_path: Path) -> None:
    for name, text, words in (
        ("half_written", b"def task(:\n", r"no valid Python: .*invalid syntax \(half_written.py, line 1\)"),
        ("zeros", b"a = 1\0", "no valid Python: source code.* null bytes"),
        ("latin", b"a = 'caf\xe9'\n", "no valid Python: .*utf-8"),
    ):
        (tmp_path / f"{name}.py").write_bytes(text)
        with pytest.raises(DataError, match=words):
            tasks_of(f"{tmp_path / name}.py:task")
