"""What is trained in a study: the data, the network, the optimiser, the batch and the length of a run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np

from dwindle.errors import InvalidValueError, count, known, shown
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.population import (
    MLP,
    SGD,
    Adam,
    Data,
    Examples,
    Optimiser,
    Rates,
    Result,
    engine_for,
    steps_per_epoch,
    train,
)
from dwindle.population.values import ACTIVATIONS
from dwindle.studies.dataset import Dataset
from dwindle.units import Horizon

__all__ = ["Task"]

_EVALUATIONS = 20  # enough for a curve; more would cost a third of the training time


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A Dataset and a multilayer perceptron to train on it: ``hidden`` layer widths, ``epochs`` of ``batch_size``.

    ``name`` labels the task in the report; by default the name of the data. The loss follows from the data: softmax
    cross-entropy for classes, squared error for targets. The mini-batches are the same for all members.

    >>> from dwindle.studies.data import load
    >>> task = Task(data=load("fashion"), epochs=2)
    >>> task.horizon.steps, task.mlp.sizes
    (40, (784, 128, 10))
    """

    data: Dataset = field(repr=False)
    name: str = ""
    hidden: tuple[int, ...] = (128,)
    activation: str = "relu"
    optimiser: Optimiser = field(default_factory=Adam)
    batch_size: int = 100
    epochs: int = 40

    def __post_init__(self) -> None:
        if not isinstance(self.data, Dataset):
            raise InvalidValueError(
                f"data must be a Dataset; got {shown(type(self.data).__name__)}. Make one with load(...)."
            )
        object.__setattr__(self, "name", str(self.name or self.data.name))
        object.__setattr__(self, "hidden", tuple(count("hidden", width) for width in self.hidden))
        known("activation", self.activation, ACTIVATIONS)
        if not isinstance(self.optimiser, SGD | Adam):
            raise InvalidValueError(f"optimiser must be SGD(...) or Adam(...); got {shown(self.optimiser)}.")
        object.__setattr__(self, "epochs", count("epochs", self.epochs))
        rows = len(self.data.train_x)
        size = count("batch_size", self.batch_size)
        if size > rows:
            raise InvalidValueError(f"batch_size must be at most the {rows} training examples; got {size}.")
        object.__setattr__(self, "batch_size", size)

    @property
    def mlp(self) -> MLP:
        """The network."""
        inputs = int(self.data.train_x[0].size)
        loss = "softmax" if self.data.task == "classification" else "squared"
        return MLP((inputs, *self.hidden, self.data.outputs), self.activation, loss)

    @property
    def horizon(self) -> Horizon:
        """The length of a run."""
        return Horizon(epochs=self.epochs, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """The optimiser steps of an epoch, the last partial batch counted."""
        return steps_per_epoch(len(self.data.train_x), self.batch_size)

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides a trial's outcome but its plan and seed."""
        said = {
            "dwindle": version("dwindle"), "data": self.data.fingerprint(), "hidden": self.hidden, "activation": self.activation,
            "optimiser": [type(self.optimiser).__name__, asdict(self.optimiser)],
            "batch_size": self.batch_size, "epochs": self.epochs, "engine": engine_for(self.mlp, self.batch_size),
        }  # fmt: skip
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def train(self, plans: list[Plan], seeds: list[int], **hooks: Any) -> Result:
        """Train one member per plan and seed at once, evaluated at 20 to 39 ends of an epoch; ``hooks``: progress, stop."""
        for plan in plans:
            _check(plan)
        tables = [plan.table(self.horizon) for plan in plans]
        lr, shrink, l2 = (np.array([getattr(table, name) for table in tables]) for name in ("lr", "shrink", "l2"))
        parts = {name: self._examples(name) for name in ("train", "validation", "test")}
        return train(
            self.mlp, self.optimiser, Rates(lr, shrink, l2), Data(**parts), seeds=seeds, batch_size=self.batch_size,
            evaluate_every=self.steps_per_epoch * max(1, self.epochs // _EVALUATIONS), **hooks,
        )  # fmt: skip

    def _examples(self, part: str) -> Examples:
        x, y = self.data.part(part)
        return Examples(x.reshape(len(x), -1), y)


def _check(plan: Plan) -> None:
    """Refuse what the population engine would leave out: it decays every weight matrix alike, and no bias."""
    if plan.decay is not None and plan.decay.cautious:
        raise InvalidValueError(
            f"cautious decay is not in the population engine yet; train '{plan}' with torch.attach."
        )
    if plan.groups or plan.layer_decay is not None or plan.mask != Mask():
        raise InvalidValueError(
            f"groups, layer-decay and masks of one's own mean nothing to this network; got '{plan}'."
        )
