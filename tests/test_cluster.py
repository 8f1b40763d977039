"""A study on a Ray cluster: the same winner, also when a worker or a node is lost. Ray hears this machine alone here."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dwindle.errors import InvalidValueError, MissingExtraError
from dwindle.population import StoppedError
from dwindle.studies import Space, Store, Task, load, study
from dwindle.studies.executors import LostError
from dwindle.studies.tasks import tasks_of

ray = pytest.importorskip("ray")
from dwindle import cluster  # noqa: E402
from dwindle.cluster import Ray  # noqa: E402

SMALL = Space((0.0, 1.0), (1e-3, 1e-2), ("constant", "cosine to 0"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]  # those of Ray


@pytest.fixture(scope="module")
def task() -> Task:
    return Task(data=load("fashion"), hidden=(32,), epochs=6)


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
    """Batches so small that there are several, and large enough for halving to have a choice."""
    monkeypatch.setattr("dwindle.studies.trainings.BATCH", 4)


def without_clock(evidence: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in evidence.items() if k not in ("created", "seconds")}


@pytest.fixture
def three_nodes() -> Iterator[tuple[Any, list[Any]]]:
    """Yield a cluster of a head that does no work and two nodes that do, joined."""
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 100 * 2**20}
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **store})
    others = [nodes.add_node(num_cpus=1, **store) for _ in range(2)]
    ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
    try:
        yield nodes, others
    finally:
        ray.shutdown()
        nodes.shutdown()


def test_a_cluster_of_one_machine_finds_what_it_finds_alone(task: Task, found: dict[str, Any], tmp_path: Path) -> None:
    with Ray() as here:
        assert without_clock(study(task, SMALL, seeds=3, seed=1, executor=here).evidence) == found
        begun = tmp_path / "trials.jsonl"
        with pytest.raises(StoppedError):
            study(task, SMALL, seeds=3, seed=1, executor=here, folder=tmp_path, stop=begun.exists)
        store = Store.open(tmp_path)
        store.close()
        assert store.records
        assert without_clock(study(task, SMALL, seeds=3, seed=1, folder=tmp_path, executor=here).evidence) == found
    assert not ray.is_initialized()


HELPER = """
def halves(x):
    return 0.5 * x
"""
OWN = """
import torch
from torch import nn
import numpy as np
from dwindle.studies import Dataset, Task
from beside_the_net_of_a_user import halves

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 1)
    def forward(self, x):
        return halves(self.out(x))

def loss(output, y):
    return halves((output[:, 0] - y).square().mean())

def task():
    draw = np.random.default_rng(0)
    shapes = {f"{part}_{axis}": n for part in ("train", "validation", "test") for axis, n in (("x", (12, 4)), ("y", 12))}
    arrays = {name: draw.standard_normal(shape) for name, shape in shapes.items()}
    return Task(data=Dataset(**arrays, name="d", task="custom"), model=Net, loss=loss, batch_size=6, epochs=2)
"""


def test_a_model_of_ones_own_takes_its_files_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "beside_the_net_of_a_user.py").write_text(HELPER)
    (tmp_path / "net_of_a_user.py").write_text(OWN)
    space = Space((0.0, 1.0), (1e-3, 1e-2), ("constant",))
    with Ray() as here:  # its workers do not see what is put into sys.path now
        (own,) = tasks_of(f"{tmp_path / 'net_of_a_user.py'}:task")
        found = study(own, space, seeds=2, executor=here)
        assert not ray.cloudpickle.list_registry_pickle_by_value()  # what else the caller does with Ray is as before
    alone = study(own, space, seeds=2)
    assert found.plan == alone.plan
    assert [trial["final"] for trial in found.evidence["settings"][0]["trials"]] == [
        {name: pytest.approx(loss, rel=1e-4) for name, loss in trial["final"].items()}
        for trial in alone.evidence["settings"][0]["trials"]
    ]


def test_a_lost_node_costs_no_training(task: Task, found: dict[str, Any], three_nodes: Any) -> None:
    nodes, others = three_nodes
    assert sum(node["Alive"] for node in ray.nodes()) == 3
    lost: list[float] = []

    def lose() -> None:
        time.sleep(1.0)
        nodes.remove_node(others[0], allow_graceful=False)
        lost.append(time.monotonic())

    thread = threading.Thread(target=lose)
    thread.start()
    said = study(task, SMALL, seeds=3, seed=1, executor=Ray(nodes.address))
    done = time.monotonic()
    thread.join()
    assert lost
    assert lost[0] < done
    assert without_clock(said.evidence) == found
    assert ray.is_initialized()  # joined, not started, by the executor


def test_a_worker_that_always_dies_is_said(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(cluster, "_train", dies)
    with Ray(retries=1) as here, pytest.raises(LostError, match="2 times"):
        study(task, SMALL, seeds=3, seed=1, executor=here)


def test_an_error_of_a_training_is_raised_as_it_is_here(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> None:
        raise InvalidValueError("not this one")

    monkeypatch.setattr(cluster, "_train", refuses)
    with Ray() as here, pytest.raises(InvalidValueError, match=r"^not this one$"):
        study(task, SMALL, seeds=3, seed=1, executor=here)


def test_a_cluster_of_its_own_is_started_beside_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")  # of one that Ray would join if it were not told to start its own
    with Ray() as here:
        assert here.width >= 1
    assert not ray.is_initialized()


def test_where_no_cluster_answers_it_is_said_at_once() -> None:
    begun = time.monotonic()
    for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "nowhere:port"):
        with pytest.raises(InvalidValueError, match="no Ray cluster answers"):
            Ray(address)
    assert time.monotonic() - begun < 20


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"dwindle\[ray\]"):
        Ray()
    assert importlib.util.find_spec("dwindle.cluster")
