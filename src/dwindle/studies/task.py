"""What is trained in a study: the data, the model, the optimiser, the batch and the length of a run."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dwindle.errors import InvalidValueError, a_kind, all_of, count, has_members, known, sequence, shown
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
    Seen,
    engine_for,
    steps_per_epoch,
    train,
)
from dwindle.population.values import ACTIVATIONS
from dwindle.studies.dataset import Dataset
from dwindle.studies.identity import name_of
from dwindle.studies.trained import Trained, of_perceptrons
from dwindle.units import Horizon

if TYPE_CHECKING:
    from dwindle.studies.modules import Own

__all__ = ["Task"]

_EVALUATIONS = 20  # enough for a curve; more would cost a third of the training time
_HIDDEN, _ACTIVATION = (64,), "relu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A Dataset and what to train on it for ``epochs`` of ``batch_size``: a multilayer perceptron, or a model of one's own.

    Without ``model`` it is a perceptron of ``hidden`` layer widths, (64,) unless given, and ``activation``, relu unless
    given; with ``hidden`` () it is a linear model. ``model``: a function without arguments that returns a new torch module; x
    reaches it in the data's ``input_shape``, (rows, 28, 28) for images. Its forward must keep no state between examples (no
    BatchNorm).

    - ``loss(output, y)``: a scalar tensor, the mean over the examples. By default softmax cross-entropy for a classification,
      of outputs (rows, classes), and ½·(z - y)² for a regression, of outputs (rows,) or (rows, 1); custom data needs one.
    - ``metrics``: further such functions by name; a classification has ``accuracy`` unless one of that name is given.

    - ``device``: where a model is trained, such as "cuda"; perceptrons are on the CPU.

    ``evaluate_every``: epochs between evaluations, by default a twentieth of the run, rounded down, one at least; the loss
    before the first step and after the last are always there. ``name`` labels the task in the report; by default the name
    of the data. The mini-batches are the same for all members.

    Raises InvalidValueError for what does not fit together, a model tried on two examples included; MissingExtraError for a
    model without torch.

    >>> from dwindle.studies.data import load
    >>> task = Task(data=load("fashion"), epochs=2)
    >>> task.horizon.steps, task.model_text
    (126, 'MLP 784-64-10 relu, softmax cross-entropy')
    >>> from torch import nn
    >>> def cnn():
    ...     return nn.Sequential(nn.Unflatten(1, (1, 28)), nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(2704, 10))
    >>> Task(data=load("fashion"), model=cnn, epochs=2).model_text
    'Sequential, 27,090 parameters, softmax cross-entropy'
    """

    data: Dataset = field(repr=False)
    name: str = ""
    hidden: tuple[int, ...] | None = None
    activation: str | None = None
    model: Callable[[], Any] | None = None
    loss: Callable[[Any, Any], Any] | None = None
    metrics: Mapping[str, Callable[[Any, Any], Any]] | None = field(default=None, hash=False)
    optimiser: Optimiser = field(default_factory=Adam)
    batch_size: int = 32
    epochs: int = 40
    evaluate_every: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not isinstance(self.data, Dataset):
            raise InvalidValueError(
                f"data must be a Dataset; got {shown(type(self.data).__name__)}. Make one with load(...)."
            )
        object.__setattr__(self, "name", a_kind("name", self.name, str) or self.data.name)
        if not isinstance(self.optimiser, SGD | Adam):
            raise InvalidValueError(f"optimiser must be SGD(...) or Adam(...); got {shown(self.optimiser)}.")
        object.__setattr__(self, "epochs", count("epochs", self.epochs))
        if self.evaluate_every is not None:
            object.__setattr__(self, "evaluate_every", count("evaluate_every", self.evaluate_every))
        rows = len(self.data.train_x)
        size = count("batch_size", self.batch_size)
        if size > rows:
            raise InvalidValueError(f"batch_size must be at most the {rows} training examples; got {size}.")
        object.__setattr__(self, "batch_size", size)
        if self.model is None:
            self._check_perceptron()
        else:
            self._check_model()

    def _check_perceptron(self) -> None:
        if self.data.task == "custom":
            raise InvalidValueError(
                f"{self.data.name} is custom data, which a perceptron cannot learn: give model, a function that returns a torch "
                "module, and loss."
            )
        for name, value in {"loss": self.loss, "metrics": self.metrics}.items():
            if value:
                raise InvalidValueError(
                    f"{name} needs a model of one's own; a perceptron's loss follows from the data. Give model, or leave it out."
                )
        if self.device != "cpu":
            raise InvalidValueError(
                f"device {shown(self.device)} is for a model of one's own; perceptrons are trained on the CPU. Leave it out."
            )
        hidden = _HIDDEN if self.hidden is None else self.hidden
        if not has_members(hidden):
            raise InvalidValueError(f"hidden must be layer widths such as (256, 128); got {shown(hidden)}.")
        object.__setattr__(self, "hidden", tuple(count("hidden", width, high=10**7) for width in hidden))
        activation = _ACTIVATION if self.activation is None else self.activation
        object.__setattr__(self, "activation", known("activation", activation, ACTIVATIONS))

    def _check_model(self) -> None:
        for name in ("hidden", "activation"):
            if getattr(self, name) is not None:
                raise InvalidValueError(
                    f"{name}={shown(getattr(self, name))} is for a perceptron, and a model was given. Leave it out."
                )
        metrics = {} if self.metrics is None else self.metrics
        if not isinstance(metrics, Mapping) or not all(isinstance(name, str) and name for name in metrics):
            raise InvalidValueError(
                f"metrics must be functions of (output, y) by name; got {shown(metrics)}. Write {{'name': function}}."
            )
        object.__setattr__(self, "metrics", dict(metrics))
        self._own.check(self.device)

    @property
    def mlp(self) -> MLP:
        """The perceptron. Raises InvalidValueError for a task with a model of its own."""
        if self.hidden is None or self.activation is None:
            raise InvalidValueError(f"task {self.name!r} has a model of its own, no perceptron. Use model().")
        inputs = int(self.data.train_x[0].size)
        loss = "softmax" if self.data.task == "classification" else "squared"
        return MLP((inputs, *self.hidden, self.data.outputs), self.activation, loss)

    @property
    def model_text(self) -> str:
        """The model in words."""
        if self.model is not None:
            return self._own.text
        loss = "softmax cross-entropy" if self.data.task == "classification" else "squared error"
        network = f"MLP {'-'.join(map(str, self.mlp.sizes))} {self.activation}" if self.hidden else "linear"
        return f"{network}, {loss}"

    @property
    def metric_names(self) -> tuple[str, ...]:
        """What is measured beside the loss; ``accuracy``, where there is one, comes first."""
        names = ["accuracy"] * (self.data.task == "classification") + sorted(self.metrics or {})
        return tuple(sorted(dict.fromkeys(names), key=lambda name: name != "accuracy"))

    @property
    def horizon(self) -> Horizon:
        """The length of a run."""
        return Horizon(epochs=self.epochs, steps_per_epoch=self.steps_per_epoch, batch_size=self.batch_size)

    @property
    def steps_per_epoch(self) -> int:
        """The optimiser steps of an epoch, the last partial batch counted."""
        return steps_per_epoch(len(self.data.train_x), self.batch_size)

    @property
    def evaluations(self) -> tuple[int, ...]:
        """The steps done at each evaluation: 0, then every ``evaluate_every`` epochs, then the end."""
        steps = self.epochs * self.steps_per_epoch
        return (*range(0, steps, self._evaluate_steps), steps)

    @property
    def _evaluate_steps(self) -> int:
        return self.steps_per_epoch * (self.evaluate_every or max(1, self.epochs // _EVALUATIONS))

    @property
    def _own(self) -> Own:
        from dwindle.studies.modules import Own  # torch is loaded only where there is a model for it

        return Own.of(self.data, self.model, self.loss, self.metrics or {})

    def fingerprint(self) -> str:
        """Return a short hash of everything that decides a trial's outcome but its plan and seed.

        Of a model: what it draws from seed 0, its text, attributes and hooks, the source of its classes, of the loss and of the
        metrics, and what these hold. It does not see a global that their code reads, nor a function which that code calls by a
        global name, nor the code of a class whose object they hold; who changes one of those takes a new folder.
        """
        said: dict[str, Any] = {
            "dwindle": version("dwindle"), "data": self.data.fingerprint(),
            "optimiser": [type(self.optimiser).__name__, asdict(self.optimiser)],
            "batch_size": self.batch_size, "epochs": self.epochs,
        }  # fmt: skip
        if self.evaluate_every is not None:
            said["evaluate_every"] = self.evaluate_every
        if self.model is None:
            engine = engine_for(self.mlp, self.batch_size)
            said |= {"hidden": self.hidden, "activation": self.activation, "engine": engine}
        else:
            said["own"] = self._own.identity()
            if self.device != "cpu":
                said["device"] = self.device
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]

    def train(
        self,
        plans: Sequence[Plan],
        seeds: Sequence[int],
        *,
        judge: Callable[[Seen], NDArray[np.bool_]] | None = None,
        judge_at: Sequence[int] = (),
        folder: str | os.PathLike[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
        stop: Callable[[], bool] | None = None,
        workers: int | None = None,
    ) -> Trained:
        """Train one member per plan and seed at once, evaluated at ``evaluations``.

        ``judge`` is asked at the steps ``judge_at`` which members to let go; in ``folder`` a long training keeps what it
        reached; ``progress``, ``stop``, ``workers``: as of `dwindle.population.train`.

        Raises InvalidValueError for plans with what the engines leave out: cautious decay, groups, layer-decay, for a
        perceptron masks, for a model masks that differ from plan to plan.
        """
        plans = all_of("plans", plans, Plan)
        mask = self._mask(plans)
        tables = [plan.table(self.horizon) for plan in plans]
        rates = Rates(*(np.array([getattr(table, name) for table in tables]) for name in ("lr", "shrink", "l2")))
        hooks: dict[str, Any] = {"progress": progress, "stop": stop, "workers": workers}
        given = {"judge": judge, "judge_at": sequence("judge_at", judge_at) or None, "folder": folder}
        hooks |= {name: value for name, value in given.items() if value is not None}
        how: dict[str, Any] = {"seeds": seeds, "batch_size": self.batch_size, "evaluate_every": self._evaluate_steps}
        if self.model is not None:
            return self._own.train(rates, mask, optimiser=self.optimiser, device=self.device, **how, **hooks)
        data = Data(**{part: self._examples(part) for part in ("train", "validation", "test")})
        result = train(self.mlp, self.optimiser, rates, data, **how, **hooks)
        return of_perceptrons(result, self.data.task == "classification")

    def check_sendable(self) -> None:
        """Raise InvalidValueError if other processes cannot be given the model, the loss and the metrics of this task."""
        for name, function in (("model", self.model), ("loss", self.loss), *(self.metrics or {}).items()):
            try:
                pickle.dumps(function)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                cause = str(error)
            else:
                module = getattr(function, "__module__", None)
                if module != "__main__" or hasattr(sys.modules["__main__"], "__file__"):
                    continue
                cause = "it was defined in an interactive session"
            raise InvalidValueError(
                f"{name} of task {self.name!r}, {name_of(function)}, cannot be sent to other processes: {cause}. Define model, "
                "loss and metrics at the top level of a module, not as a lambda or inside of a function."
            )

    def _examples(self, part: str) -> Examples:
        x, y = self.data.part(part)
        return Examples(x.reshape(len(x), -1), y)

    def _mask(self, plans: Sequence[Plan]) -> Mask:
        """Return the mask of all plans; refuse what the population engines would leave out."""
        for plan in plans:
            if plan.decay is not None and plan.decay.cautious:
                raise InvalidValueError(
                    f"cautious decay is not in the population engine yet; train '{plan}' with torch.attach."
                )
            if plan.groups or plan.layer_decay is not None or (self.model is None and plan.mask != Mask()):
                raise InvalidValueError(
                    f"groups, layer-decay and masks of one's own mean nothing to this network; got '{plan}'."
                    if self.model is None
                    else f"groups and layer-decay are not in the population engine yet; train '{plan}' with torch.attach."
                )
            if plan.mask != plans[0].mask:
                raise InvalidValueError(
                    f"plans trained together must have one mask; got '{plans[0].mask}' and '{plan.mask}'. Train them apart."
                )
        return plans[0].mask if plans else Mask()
