"""The test results of trained members on parts of the test examples: what a study needs to speak of other examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dwindle.population import Examples
from dwindle.population.blas import single_threaded
from dwindle.population.data import Prepared, prepare
from dwindle.population.network import Parameters, evaluate
from dwindle.studies.jackknife import part_means, parts
from dwindle.studies.task import Task
from dwindle.studies.trained import Trained

__all__ = ["by_part"]


def by_part(task: Task, result: Trained, seeds: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Return pseudo-values (K, parts) of the test loss, and of the accuracy if there is one, of K members trained from ``seeds``.

    See `dwindle.studies.jackknife`. Empty where there is one example.
    """
    rows = parts(len(task.data.test_x))
    if not rows:
        return {}
    if task.model is not None:
        from dwindle.studies.modules import Own  # torch is loaded only where there is a model for it

        return Own.of(task.data, task.model, task.loss, task.metrics or {}).by_part(result, seeds, rows, task.device)
    layers = range(0, 2 * len(task.mlp.shapes), 2)
    weights = np.hstack([result.weights[f"{i}.weight"].swapaxes(1, 2).reshape(len(seeds), -1) for i in layers])
    biases = np.hstack([result.weights[f"{i}.bias"] for i in layers])
    members = Parameters(task.mlp, weights, biases, np.ones(len(seeds), weights.dtype))
    x, y = task.data.part("test")
    test = prepare(Examples(x.reshape(len(x), -1), y), task.mlp, "test", weights.dtype)
    blocks = [Prepared(test.x[p], test.target[p], None if test.label is None else test.label[p]) for p in rows]
    with np.errstate(all="ignore"), single_threaded():  # some may have diverged
        loss, accuracy = (np.stack(each, -1) for each in zip(*(evaluate(members, b) for b in blocks), strict=True))
    found = {"test_loss": loss} | ({"test_accuracy": accuracy} if task.data.task == "classification" else {})
    return {name: part_means(means, [len(p) for p in rows]) for name, means in found.items()}
