"""A task with a torch module of the user's own: the same as the perceptron where it is one, told apart, checked, studied."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import attrs
import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from torch import nn
from torch.nn import functional

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.population import MLP, SGD, Adam, initial_weights
from dwindle.studies import Dataset, Task, study
from dwindle.studies.by_part import by_part
from dwindle.studies.identity import of_function, of_module
from dwindle.studies.records import Batch, trained
from dwindle.studies.space import Space

PARTS = ("train", "validation", "test")


def dataset(task: str, rows: int = 120, seed: int = 0) -> Dataset:
    draw = np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for part in PARTS:
        x = draw.standard_normal((rows, 5))
        y = x[:, 0] - x[:, 1] * x[:, 2]
        arrays |= {f"{part}_x": x, f"{part}_y": (y > 0).astype(int) if task == "classification" else y}
    return Dataset(**arrays, name=task, task=task, classes=("low", "high") if task == "classification" else ())


def tokens(rows: int = 40) -> Dataset:
    """Sequences that count up modulo 7, and at each place the next token."""
    x = (np.arange(rows)[:, None] + np.arange(6)) % 7
    arrays = {f"{part}_{axis}": each for part in PARTS for axis, each in (("x", x[:, :-1]), ("y", x[:, 1:]))}
    return Dataset(**arrays, name="counting", task="custom")


class Perceptron(nn.Sequential):
    """The very network that the engine of perceptrons makes of a seed."""

    def __init__(self, outputs: int) -> None:
        super().__init__(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, outputs))
        loss = "softmax" if outputs > 1 else "squared"
        drawn = initial_weights(MLP((5, 7, outputs), "relu", loss), torch.initial_seed())
        for layer, w in zip((self[0], self[2]), drawn, strict=True):
            layer.weight.data = torch.tensor(w.T, dtype=torch.float32)
            layer.bias.data.zero_()


class Next(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.norm, self.out = nn.Embedding(7, 8), nn.LayerNorm(8), nn.Linear(8, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.token(x)))


def next_loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output.flatten(0, 1), y.flatten())


def hits(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (output.argmax(-1) == y).float().mean()


def small(**change: Any) -> Task:
    said = {
        "data": tokens(),
        "model": Next,
        "loss": next_loss,
        "metrics": {"hits": hits},
        "batch_size": 10,
        "epochs": 4,
    }
    return Task(**{**said, **change})


# --- one shape for both ---

PLANS = [
    dw.parse(f"peak 3e-2 | {rest}") for rest in ("constant", "cosine to 0 | decoupled 0.3", "cosine to 0 | l2 0.1")
]


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("optimiser", [SGD(0.9), Adam()], ids=["sgd", "adam"])
def test_a_module_that_is_the_perceptron_is_trained_as_the_perceptron_is(kind: str, optimiser: Any) -> None:
    common = {"data": dataset(kind), "optimiser": optimiser, "batch_size": 16, "epochs": 5}
    outputs = 2 if kind == "classification" else 1
    mine = Task(**common, model=functools.partial(Perceptron, outputs)).train(PLANS, [3, 3, 4])
    theirs = Task(**common, hidden=(7,)).train(PLANS, [3, 3, 4])
    assert mine.step.tolist() == theirs.step.tolist() == list(Task(**common).evaluations)
    for name in ("train_loss", "validation_loss", "test_loss", "squared_norm"):
        np.testing.assert_allclose(getattr(mine, name), getattr(theirs, name), rtol=2e-4)
    for name in ("train_metrics", "validation_metrics", "test_metrics"):
        own, other = getattr(mine, name), getattr(theirs, name)
        assert list(own) == list(other) == ["accuracy"] * (kind == "classification")
        for each in own:
            np.testing.assert_allclose(own[each], other[each], atol=1 / 120 + 1e-9)  # one example may lie on the border
    for k in range(3):
        for name, value in mine.state_dict(k).items():
            np.testing.assert_allclose(value, theirs.state_dict(k)[name], atol=2e-4)
    assert theirs.diverged.tolist() == [False] * 3
    assert theirs.stopped_at.tolist() == mine.stopped_at.tolist() == [40, 40, 40]


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_weights_of_a_perceptron_load_into_torch_and_give_its_losses(kind: str) -> None:
    task = Task(data=dataset(kind), hidden=(6, 4), activation="tanh", epochs=3, batch_size=20)
    result = task.train(PLANS[:2], [0, 1])
    x, y = (torch.tensor(each) for each in task.data.part("test"))
    layers = [
        nn.Linear(5, 6),
        nn.Tanh(),
        nn.Linear(6, 4),
        nn.Tanh(),
        nn.Linear(4, 2 if kind == "classification" else 1),
    ]
    for k in range(2):
        net = nn.Sequential(*layers)
        net.load_state_dict({name: torch.tensor(value) for name, value in result.state_dict(k).items()})
        with torch.no_grad():
            output = net(x)
            squared = 0.5 * ((output[:, :1] - y[:, None]) ** 2).sum(1).mean()
            loss = functional.cross_entropy(output, y) if kind == "classification" else squared
        assert float(loss) == pytest.approx(result.test_loss[k], rel=1e-5)


def test_tokens_reach_an_embedding_and_are_learned() -> None:
    task = small(epochs=30)
    result = task.train([dw.parse("peak 3e-2 | cosine to 0")], [0])
    assert task.metric_names == ("hits",)
    assert result.test_metrics["hits"][0] == 1.0
    assert set(result.state_dict(0)) == set(Next().state_dict())
    net = Next()
    net.load_state_dict({name: torch.tensor(value) for name, value in result.state_dict(0).items()})
    x, y = (torch.tensor(each) for each in task.data.part("test"))
    with torch.no_grad():
        assert float(next_loss(net(x), y)) == pytest.approx(result.test_loss[0], rel=1e-4)


class Image(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[1:] == (2, 3)
        return self.out(x).mean(1)


def test_x_has_the_shape_that_the_data_says() -> None:
    flat = {f"{part}_x": np.random.default_rng(0).standard_normal((8, 6)) for part in PARTS}
    labels = {f"{part}_y": np.arange(8) % 2 for part in PARTS}
    data = Dataset(**flat, **labels, name="images", task="classification", classes=("a", "b"), input_shape=(2, 3))
    Task(data=data, model=Image, batch_size=4, epochs=1).train([PLANS[0]], [0])
    with pytest.raises(InvalidValueError, match=r"Linear cannot take x of shape \(2, 2, 3\) in float32"):
        Task(data=data, model=lambda: nn.Linear(6, 2), batch_size=4)


def test_evaluations_are_where_they_are_said_to_be() -> None:
    for task in (small(epochs=7, evaluate_every=3), Task(data=dataset("regression"), epochs=7, evaluate_every=3)):
        result = task.train([PLANS[0]], [0])
        assert result.step.tolist() == list(task.evaluations)
        assert [step // task.steps_per_epoch for step in task.evaluations] == [0, 3, 6, 7]


# --- masks ---


def test_the_mask_of_the_plans_decides_what_decays() -> None:
    text = "peak 1e-2 | constant | decoupled 50"
    usual, none = dw.parse(text), dw.parse(f'{text} | mask name "*" does not')
    task = small(epochs=1)
    first = {name: t.numpy() for name, t in task._own.module(seed=5).state_dict().items()}
    one, two = (task.train([plan], [5]) for plan in (usual, none))
    assert one.squared_norm[0, 0] == pytest.approx(
        sum((first[f"{n}.weight"] ** 2).sum() for n in ("token", "out")), rel=1e-5
    )
    assert two.squared_norm[0].tolist() == [0.0, 0.0]  # nothing decays
    assert np.abs(one.state_dict(0)["out.weight"]).mean() < 0.5 * np.abs(two.state_dict(0)["out.weight"]).mean()
    with pytest.raises(InvalidValueError, match="one mask"):
        task.train([usual, none], [0, 0])


@pytest.mark.parametrize("text", ["decoupled 0.1 cautious", "layer-decay 0.5", 'group "a" "*" times 2'])
def test_what_the_engine_cannot_do_is_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match=r"population engine.*torch\.attach"):
        small().train([dw.parse(f"peak 0.1 | {text}")], [0])


# --- what is kept ---


def records(task: Task) -> list[dict[str, Any]]:
    candidates = tuple(Space.parse("lam 0 1 | peak 1e-2 | schedule constant").candidates())
    return trained(task, Batch("sweep", ("a", "b"), candidates, (1, 1)))


def test_records_have_every_field_and_are_json() -> None:
    task = small()
    for record in records(task):
        json.dumps(record, allow_nan=False)
        assert set(record["final"]) == {"train_loss", "train_accuracy", "validation_loss", "validation_accuracy"}
        assert record["test_accuracy"] is record["final"]["validation_accuracy"] is None
        assert record["curve"]["validation_accuracy"] == [None] * len(task.evaluations)
        assert 0.0 <= record["metrics"]["test"]["hits"] <= 1.0
        assert len(record["metrics"]["validation"]["hits"]) == len(task.evaluations)
        assert record["stopped_at"] is None
    named = records(small(metrics={"accuracy": hits}))[0]  # one's own accuracy stands where others have theirs
    assert (
        named["test_accuracy"] == named["final"]["validation_accuracy"] == records(task)[0]["metrics"]["test"]["hits"]
    )
    assert named["metrics"] == {"test": {}, "validation": {}}
    of_labels = records(Task(data=dataset("classification"), hidden=(3,), epochs=1, batch_size=30))[0]
    assert 0.0 <= of_labels["test_accuracy"] <= 1.0
    assert of_labels["metrics"] == {"test": {}, "validation": {}}


def test_a_record_tells_who_was_let_go_from_who_diverged() -> None:
    def judge(seen: Any) -> np.ndarray:
        return np.array([True, False])

    class Judged(Task):
        def train(self, plans: Any, seeds: Any, **hooks: Any) -> Any:
            plans = [dw.parse("peak 1e-3"), dw.parse("peak 1e30")]
            return Task.train(self, plans, seeds, judge=judge, judge_at=[8])

    task = small(optimiser=SGD())
    gone, diverged = records(Judged(**{name: getattr(task, name) for name in Task.__dataclass_fields__}))
    assert (gone["stopped_at"], gone["diverged"], gone["test_loss"]) == (2.0, False, None)
    assert (diverged["stopped_at"], diverged["diverged"]) == (None, True)


def test_a_divergence_ends_where_it_was_seen() -> None:
    task = small(optimiser=SGD(), epochs=4)
    result = task.train([dw.parse("peak 1e30"), dw.parse("peak 1e-3")], [0, 0])
    assert result.diverged.tolist() == [True, False]
    assert result.stopped_at.tolist() == [4, 16]
    assert np.isnan(result.train_loss[0, 1:]).all()
    assert np.isnan(result.test_metrics["hits"][0])


def test_a_study_finds_a_plan_for_a_module() -> None:
    found = study(small(), "lam 0 1 | peak 1e-3 3e-2 | schedule constant; cosine to 0", seeds=2)
    assert found.plan.peak == 3e-2
    assert found.evidence["model"] == "Next, 135 parameters, next loss"
    assert found.evidence["data"]["classes"] is None


# --- telling one task from another ---

OWN = """
import torch
from torch import nn
from dwindle.studies import Dataset, Task
import numpy as np

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, WIDTH)
        self.scale = SCALE
    def forward(self, x):
        return FORWARD

def loss(output, y):
    return LOSS

def size(output, y):
    return METRIC

def task():
    draw = np.random.default_rng(DATA)
    arrays = {f"{p}_{a}": draw.standard_normal((12, n)) for p in ("train", "validation", "test") for a, n in (("x", 4), ("y", 3))}
    return Task(data=Dataset(**arrays, name="d", task="custom"), model=Net, loss=loss, metrics={"size": size},
                batch_size=6, epochs=2)
"""
USUAL = {"WIDTH": "3", "SCALE": "1.0", "FORWARD": "self.scale * self.out(x)", "LOSS": "(output[:, :3] - y).square().mean()",
         "METRIC": "output.abs().mean()", "DATA": "0"}  # fmt: skip
PRINT = "import sys; from dwindle.studies.tasks import tasks_of; print(tasks_of(sys.argv[1])[0].fingerprint())"


def fingerprint(folder: Path, **change: str) -> str:
    text = OWN
    for name, value in {**USUAL, **change}.items():
        text = text.replace(name, value)
    path = folder / "task_of_a_user.py"
    path.write_text(text)
    environment = {**os.environ, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-W", "error", "-c", PRINT, f"{path}:task"]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


@pytest.mark.slow  # a process that loads torch for each
def test_a_fingerprint_is_the_same_in_every_process_and_another_for_every_change(tmp_path: Path) -> None:
    changed = [
        fingerprint(tmp_path, **change)
        for change in ({}, {"WIDTH": "5"}, {"SCALE": "2.0"}, {"FORWARD": "self.out(x) * self.scale"},
                       {"LOSS": "(output[:, :3] - y).abs().mean()"}, {"METRIC": "output.max()"}, {"DATA": "1"})
    ]  # fmt: skip
    assert len(set(changed)) == len(changed)
    assert fingerprint(tmp_path) == changed[0]


def test_a_fingerprint_tells_what_was_closed_over_and_how_long_a_run_is() -> None:
    def weighted(by: float) -> Any:
        def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return by * next_loss(output, y)

        return loss

    tasks = [small(), small(loss=weighted(1.0)), small(loss=weighted(2.0)), small(epochs=5), small(evaluate_every=2),
             small(loss=functools.partial(next_loss)), small(metrics={}), small(optimiser=SGD()), small(batch_size=20),
             replace(small(), data=tokens(41))]  # fmt: skip
    marks = [task.fingerprint() for task in tasks]
    assert len(set(marks)) == len(marks)
    assert small(loss=weighted(2.0)).fingerprint() == marks[2]
    losses = [nn.CrossEntropyLoss(torch.tensor([1.0, by])) for by in (1.0, 2.0, 2.0)]
    labelled = {"data": dataset("classification"), "model": functools.partial(Perceptron, 2), "metrics": {}}
    one, two, three = (small(**labelled, loss=loss).fingerprint() for loss in losses)
    assert one != two == three


def test_functions_whose_text_says_too_little_are_told_apart() -> None:
    one, other = (lambda x: x), (lambda x: -10 * x * x)  # on one line
    assert of_function(one) != of_function(other)

    def times(by: float) -> Any:
        @functools.wraps(functional.cross_entropy)
        def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return by * functional.cross_entropy(output, y)

        return loss

    assert of_function(times(1.0)) != of_function(times(5.0)) == of_function(times(5.0))

    def still(by: float) -> Any:
        @torch.no_grad()  # a wrapper of torch's own
        def loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return by * output

        return loss

    assert of_function(still(1.0)) != of_function(still(5.0)) == of_function(still(5.0))

    class Slotted:
        __slots__ = ("by",)

        def __init__(self, by: float) -> None:
            self.by = by

        def __call__(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.by * next_loss(output, y)

    assert of_function(Slotted(1.0)) != of_function(Slotted(2.0)) == of_function(Slotted(2.0))


class Held:
    __slots__ = ("by",)

    def __init__(self, by: Any) -> None:
        self.by = by


class _Private:
    __slots__ = ("__by",)

    def __init__(self, by: Any) -> None:
        self.__by = by


class Linked(_Private):
    """Has a dict beside the slot, and holds itself."""

    def __init__(self, by: Any) -> None:
        super().__init__(by)
        self.own = self


@dataclass(frozen=True, slots=True)
class Rounded:
    by: Any


class Told:
    """Has a text that rounds, and slots."""

    __slots__ = ("by",)

    def __init__(self, by: Any) -> None:
        self.by = by

    def __repr__(self) -> str:
        return f"Told({self.by})"


class Reduced:
    """Says itself what is to be pickled, which no attribute shows."""

    __slots__ = ()
    held: ClassVar[dict[int, Any]] = {}

    def __init__(self, by: Any) -> None:
        self.held[id(self)] = by

    def __reduce__(self) -> Any:
        return Reduced, (self.held[id(self)],)


class Struct(msgspec.Struct):
    by: Any


@attrs.define
class Defined:
    by: Any


@dataclass
class Table(dict[str, Any]):
    by: Any


def series(by: Any) -> Any:
    return pd.DataFrame({"by": np.asarray(by)}, index=["a", "b"])


def masked(by: Any) -> Any:
    return np.ma.array([1.0, 2.0], mask=np.asarray(by) > 2.1)


def remembered(by: Any) -> Any:
    @functools.cache
    def weights(n: int) -> Any:
        return by

    return weights


KINDS = [remembered, Held, _Private, Linked, Rounded, lambda by: [Held(Held(by))], Told, Reduced, Struct, Defined, Table, series,
         masked, lambda by: np.array([by, None], dtype=object), lambda by: {"by": by}.values(), lambda by: by.dot,
         lambda by: np.poly1d(np.asarray(by)), lambda by: scipy.sparse.csr_array(np.diag(np.asarray(by))),
         lambda by: torch.diag(torch.as_tensor(by)).to_sparse()]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_loss_holds_tells_it_apart(kind: Any) -> None:
    def weighted(by: float) -> Any:
        held = kind(torch.tensor([1.0, by], dtype=torch.float64))
        return lambda output, y: held

    def partial(by: float) -> Any:
        return functools.partial(max, kind(np.array([1.0, by])))

    for made in (weighted, partial):
        one, other, again = (of_function(made(by)) for by in (2.1, 2.1 + 1e-12, 2.1))
        assert one == again != other
        assert json.dumps(one) == json.dumps(again)


class Weighing(nn.Module):
    """Has an attribute of its own that is private, and torch's."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self._by = by


def test_private_attributes_and_hooks_of_a_module_are_told() -> None:
    def hooked(by: float) -> nn.Module:
        module = Weighing(1.0)
        module.register_forward_hook(lambda module, given, output: by * output)
        return module

    for made in (Weighing, hooked):
        one, other, again = (of_module(made(by)) for by in (1.0, 2.0, 1.0))
        assert one == again != other


def test_what_counts_up_in_a_process_or_is_drawn_there_is_not_told() -> None:
    def hooked() -> nn.Module:
        module = Weighing(1.0)
        module._handle = module.register_forward_hook(functional.relu)  # type: ignore[assignment]
        return module

    assert of_module(hooked()) == of_module(hooked())
    before = of_function(functools.partial(max, scipy.stats.norm(0, 1)))
    state = np.random.get_state()
    np.random.seed(7)
    assert of_function(functools.partial(max, scipy.stats.norm(0, 1))) == before
    np.random.set_state(state)


@pytest.mark.parametrize(
    "by", [torch.tensor(2.0).expand(1), torch.tensor(2.0).expand(3), torch.tensor([1 + 2j]).conj()]
)
def test_a_tensor_is_told_however_it_lies_in_memory(by: torch.Tensor) -> None:
    told = [of_function(functools.partial(max, each)) for each in (by, by.resolve_conj().clone(), by + 1)]
    assert told[0] == told[1] != told[2]


class LossList:
    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []

    def __call__(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        loss = output.square().mean()
        self.losses.append(loss.detach())
        return loss


def test_tensors_that_a_loss_keeps_in_a_list_are_refused_in_words() -> None:
    task = small(loss=LossList())
    with pytest.raises(InvalidValueError, match="Keep it in an attribute, or keep nothing"):
        task.fingerprint()


def test_what_cannot_be_read_is_another_each_time_and_a_lock_is_nothing() -> None:
    def reading(thing: Any) -> Any:
        return of_function(lambda output, y: thing)

    numbers = (n for n in range(3))
    assert reading(numbers) != reading(numbers)
    assert list(numbers) == [0, 1, 2]  # nothing was taken of it
    assert reading(threading.Lock()) == reading(threading.Lock())
    assert reading(sys.stderr) == reading(sys.stderr)
    assert reading(functional) == reading(functional) != reading(nn)
    loop: list[Any] = [1]
    loop.append(loop)
    assert reading(loop) == reading(loop)


@dataclass(slots=True)
class Memo:
    """Weights per batch size, worked out when asked for."""

    scale: float
    _made: dict[int, torch.Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        weights = self._made.setdefault(len(y), torch.full((len(y),), self.scale))
        return (weights * (output[:, 0] - y).square()).mean()


@pytest.mark.parametrize(("refit", "folds"), [(False, 1), (True, 1), (True, 2)])
def test_a_memo_that_training_fills_does_not_make_a_study_train_anew(tmp_path: Path, refit: bool, folds: int) -> None:
    records = []
    for scale in (1.0, 1.0, 2.0):  # a memo that is empty again, as in another process
        task = Task(
            data=dataset("regression", 30), model=lambda: nn.Linear(5, 1), loss=Memo(scale), batch_size=8, epochs=1,
        )  # fmt: skip
        study(task, "lam 0 | peak 1e-2 1e-3 | schedule constant", seeds=2, folder=tmp_path, refit=refit, folds=folds)
        records.append(len((tmp_path / "trials.jsonl").read_text().splitlines()))
    assert records[0] == records[1] == records[2] / 2


class Cached:
    def __init__(self, by: float) -> None:
        self.by = by

    @functools.cached_property
    def twice(self) -> float:
        return 2 * self.by


def test_what_was_worked_out_on_the_way_makes_no_other_thing() -> None:
    asked = Cached(1.0)
    assert asked.twice == 2.0
    assert of_function(functools.partial(max, asked)) == of_function(functools.partial(max, Cached(1.0)))
    used, new = Path("a/b"), Path("a/b")
    assert hash(used), used.parts  # which a Path keeps in slots
    assert of_function(functools.partial(max, used)) == of_function(functools.partial(max, new))
    assert of_function(functools.partial(max, used)) != of_function(functools.partial(max, Path("a")))


# --- what is kept of the test examples ---


def trained_by_part(task: Task, plans: Any, seeds: list[int]) -> tuple[Any, dict[str, np.ndarray]]:
    result = task.train(plans, seeds)
    return result, by_part(task, result, seeds)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_parts_of_a_module_are_those_of_the_perceptron_and_make_up_the_whole(kind: str) -> None:
    common = {"data": dataset(kind, rows=100), "batch_size": 16, "epochs": 3}  # 50 parts of 2
    outputs = 2 if kind == "classification" else 1
    result, theirs = trained_by_part(Task(**common, hidden=(7,)), PLANS, [3, 3, 4])
    mine = trained_by_part(Task(**common, model=functools.partial(Perceptron, outputs)), PLANS, [3, 3, 4])[1]
    names = {"test_loss", "test_accuracy"} if kind == "classification" else {"test_loss"}
    assert set(mine) == set(theirs) == names
    for name in names:
        assert theirs[name].shape == (3, 50)
        np.testing.assert_allclose(mine[name], theirs[name], atol=2e-3 if name == "test_loss" else 0.5 + 1e-3)
    np.testing.assert_allclose(theirs["test_loss"].mean(1), result.test_loss, rtol=1e-6)
    alone = trained_by_part(Task(**common, hidden=(7,)), PLANS[1:2], [3])[1]
    np.testing.assert_array_equal(alone["test_loss"][0], theirs["test_loss"][1])  # the population's law


def test_a_loss_with_class_weights_is_asked_of_all_rows_but_a_part() -> None:
    weights = torch.tensor([1.0, 5.0])
    task = Task(
        data=dataset("classification", rows=30), model=functools.partial(Perceptron, 2), batch_size=16, epochs=2,
        loss=lambda output, y: functional.cross_entropy(output, y, weight=weights),
    )  # fmt: skip
    result, found = trained_by_part(task, PLANS[:1], [3])
    module = Perceptron(2)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in result.state_dict(0).items()})
    x, y = (torch.tensor(each) for each in task.data.part("test"))
    with torch.no_grad():
        whole, without = task.loss(module(x), y), task.loss(module(x[1:]), y[1:])
    assert found["test_loss"].shape == (1, 30)
    assert found["test_loss"][0, 0] == pytest.approx(float(30 * whole - 29 * without), abs=1e-4)


class Scalars(nn.Module):
    """A perceptron's layer with a buffer and a parameter that have no axis."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(5, 2)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("by", torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x) * self.scale / self.by


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_without_an_axis_are_kept_and_loaded_as_such(dtype: torch.dtype) -> None:
    task = Task(data=dataset("classification"), model=lambda: Scalars().to(dtype), batch_size=10, epochs=2)
    result, found = trained_by_part(task, PLANS[:1], [3])
    state = result.state_dict(0)
    assert {name: array.shape for name, array in state.items()} == {
        "line.weight": (2, 5), "line.bias": (2,), "scale": (), "by": ()
    }  # fmt: skip
    assert float(state["by"]) == 2.0
    assert found["test_loss"].mean() == pytest.approx(result.test_loss[0], rel=1e-2)


def test_one_test_example_has_no_parts() -> None:
    data = dataset("regression")
    assert (
        trained_by_part(
            Task(data=replace(data, test_x=data.test_x[:1], test_y=data.test_y[:1]), epochs=1), PLANS[:1], [0]
        )[1]
        == {}
    )


def test_modules_tell_buffers_attributes_and_libraries() -> None:
    weights = [of_module(nn.CrossEntropyLoss(torch.tensor([1.0, by]))) for by in (1.0, 2.0, 2.0)]
    assert weights[0] != weights[1] == weights[2]
    assert of_module(nn.Dropout(0.1)) != of_module(nn.Dropout(0.2))
    half = nn.Linear(2, 2, dtype=torch.bfloat16)
    assert of_module(half)["tensors"] == of_module(half)["tensors"] != of_module(half.float())["tensors"]
    assert of_function(functional.mse_loss) == "torch.nn.functional.mse_loss"
    nested = nn.Linear(1, 1)
    nested.around = [nested]  # a circle ends
    json.dumps(of_module(nested))


def test_the_fingerprint_of_a_perceptron_is_what_it_was() -> None:
    data = dataset("classification")
    one, two, three = (Task(data=data, batch_size=10, **said) for said in ({}, {"hidden": (64,)}, {"hidden": (8,)}))
    assert one == two
    assert one.fingerprint() == two.fingerprint() != three.fingerprint()


# --- refusals ---


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


class Stubborn(Next):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * float(self.out.weight.sum())


def percent(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return 100 * hits(output, y)


SHARED = nn.Linear(5, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden": (3,)}, r"hidden=\(3,\) is for a perceptron"),
        ({"activation": "tanh"}, "activation='tanh' is for a perceptron"),
        ({"model": Next()}, "model must be a function without arguments .* got 'Next'"),
        ({"model": 3}, "model must be a function"),
        ({"model": lambda: 3}, "must return a torch.nn.Module"),
        ({"model": None}, "custom data, which a perceptron cannot learn: give model"),
        ({"loss": None}, "custom data, which has no loss by itself"),
        ({"loss": 3}, "loss must be a function"),
        ({"loss": lambda output, y: output[:, 0, 0]}, r"loss, lambda, must return a scalar tensor; got shape \(2,\)"),
        ({"loss": functional.cross_entropy}, r"loss, cross_entropy, cannot take an output of shape \(2, 5, 7\)"),
        ({"metrics": {"size": lambda output, y: 1.0}}, "size, lambda, must return a scalar tensor; got 1.0"),
        ({"metrics": {"size": 3}}, "size must be a function"),
        ({"metrics": [hits]}, "by name"),
        ({"evaluate_every": 0}, "evaluate_every must be positive"),
        ({"data": dataset("classification"), "loss": None, "metrics": {}, "model": lambda: nn.Linear(5, 3)},
         r"gives shape \(2, 3\) .* it must give \(2, 2\), a number per class"),
        ({"data": dataset("regression"), "loss": None, "metrics": {}, "model": lambda: nn.Linear(5, 2)},
         r"must give \(2,\) or \(2, 1\)"),
        ({"data": dataset("classification"), "loss": None, "metrics": {}, "model": lambda: SHARED}, "same module twice"),
        ({"model": lambda: nn.Sequential(Next(), nn.BatchNorm1d(5))}, "BatchNorm1d, which keeps statistics"),
        ({"model": lambda: nn.Sequential(Next(), Twice())}, "cannot take an output of 'tuple'"),
        ({"model": Stubborn}, r"decides by the values of a tensor .*\.item\(\)"),
        ({"loss": lambda output, y: next_loss(output, y) * output.mean().item()}, r"decides by the values"),
        ({"metrics": {"accuracy": lambda output, y: 2.0 + hits(output, y)}},
         r"^the metric accuracy, lambda, must be a share from 0 to 1; got 2.*\. Return the share, or give .* another name\.$"),
    ],
)  # fmt: skip
def test_what_is_no_task_is_refused_when_it_is_built(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        small(**change)


def test_an_accuracy_in_per_cent_is_refused_at_the_first_evaluation_that_shows_it() -> None:
    asked: list[None] = []

    def late(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        asked.append(None)
        return 100.0 * hits(output, y) * (len(asked) > 1)

    task = small(metrics={"accuracy": late})
    with pytest.raises(InvalidValueError, match=r"accuracy, late, must be a share from 0 to 1; got [1-9]"):
        task.train([dw.parse("peak 3e-2")], [0])
    assert small(metrics={"per cent": percent}).train([dw.parse("peak 3e-2")], [0]).test_metrics["per cent"][0] > 1.0


def test_a_metric_may_want_examples_of_both_classes() -> None:
    data = next(
        each for each in (dataset("classification", seed=seed) for seed in range(9)) if len({*each.train_y[:2]}) == 1
    )

    def auc(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        of_low, of_high = (output.diff()[y == k, 0] for k in (0, 1))
        if not len(of_low) or not len(of_high):
            raise ValueError("one class alone has no AUC")
        return (of_high[:, None] > of_low).double().mean()

    task = small(data=data, model=lambda: nn.Linear(5, 2), loss=None, metrics={"auc": auc})
    assert 0.5 < task.train([dw.parse("peak 3e-2")], [0]).test_metrics["auc"][0] <= 1.0


class Remembering(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token, self.steps, self.out = nn.Embedding(7, 8), nn.LSTM(8, 8, batch_first=True), nn.Linear(8, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.steps(self.token(x))[0])


def most_wrong(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The places of the sequence that are answered worst: no mean over the examples, and by way of NumPy."""
    wrong = (output.argmax(-1) != y).numpy().mean(0)
    return torch.tensor(wrong.max() if len(wrong) else 0.0)


def test_a_recurrent_module_and_a_metric_of_any_kind() -> None:
    task = small(model=Remembering, data=tokens(300), metrics={"most wrong": most_wrong}, epochs=1)
    result = task.train([dw.parse("peak 1e-2")], [0])
    net = Remembering()
    net.load_state_dict({name: torch.tensor(value) for name, value in result.state_dict(0).items()})
    x, y = (torch.tensor(each) for each in task.data.part("test"))
    with torch.no_grad():
        assert result.test_metrics["most wrong"][0] == pytest.approx(float(most_wrong(net(x), y)))
        assert result.test_loss[0] == pytest.approx(float(next_loss(net(x), y)), rel=1e-5)


def test_the_device_is_that_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("abacus", "cuda:77"):
        with pytest.raises(InvalidValueError, match=f"'{device}' cannot be used"):
            small(device=device)
    with pytest.raises(InvalidValueError, match="perceptrons are trained on the CPU"):
        Task(data=dataset("regression"), device="cuda")
    monkeypatch.setattr("dwindle.studies.modules.device_of", lambda name: None)
    asked: dict[str, Any] = {}
    monkeypatch.setattr("dwindle.studies.modules.train_modules", lambda *_, **words: asked.update(words))
    monkeypatch.setattr("dwindle.studies.modules.of_modules", lambda result: result)
    elsewhere = small(device="cuda")
    elsewhere.train([dw.parse("peak 0.1")], [0])
    assert asked["device"] == "cuda"
    assert elsewhere.fingerprint() != small().fingerprint()


def test_a_perceptron_takes_no_loss() -> None:
    with pytest.raises(InvalidValueError, match="loss needs a model of one's own"):
        Task(data=dataset("regression"), loss=next_loss)
    with pytest.raises(InvalidValueError, match="metrics needs a model"):
        Task(data=dataset("regression"), metrics={"hits": hits})
    with pytest.raises(InvalidValueError, match="hidden must be layer widths"):
        Task(data=dataset("regression"), hidden=3)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="model of its own, no perceptron"):
        _ = small().mlp


# --- other processes ---


def test_what_cannot_be_sent_is_said() -> None:
    Task(data=dataset("regression")).check_sendable()
    small(loss=functional.cross_entropy, model=functools.partial(Perceptron, 2), data=dataset("classification"), metrics={},
          ).check_sendable()  # fmt: skip
    for name, change in {
        "model": {"model": lambda: Next()},
        "hits": {"metrics": {"hits": lambda o, y: hits(o, y)}},
    }.items():
        with pytest.raises(InvalidValueError, match=rf"^{name} of task 'counting', lambda, .* top level of a module"):
            small(**change).check_sendable()


SENT = """
import sys
from dwindle.studies import Processes, study
from dwindle.studies.tasks import tasks_of

if __name__ == "__main__":
    (task,) = tasks_of(sys.argv[1])
    task.check_sendable()
    found = study(task, "lam 0 1 | peak 1e-3 1e-2 | schedule constant", seeds=2, executor=Processes(1))
    print(found.plan)
"""


@pytest.mark.slow
def test_processes_get_a_task_from_a_file_of_the_user(tmp_path: Path) -> None:
    fingerprint(tmp_path)
    script = tmp_path / "elsewhere" / "run.py"
    script.parent.mkdir()
    script.write_text(SENT)
    command = [sys.executable, "-W", "error", str(script), f"{tmp_path / 'task_of_a_user.py'}:task"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=script.parent)
    assert done.stdout.startswith("peak "), done.stderr


def test_torch_is_loaded_for_a_model_only() -> None:
    code = (
        "import sys, numpy as np; from dwindle.studies import Task, load\n"
        "Task(data=load('fashion'), hidden=(2,), epochs=1).fingerprint(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
