"""The tasks of a study from one source: data of any kind, or a user's function that returns a Dataset or tasks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dwindle.errors import DataError, InvalidValueError, real, sequence, shown
from dwindle.population import Optimiser
from dwindle.studies.data import Source, dropped, load
from dwindle.studies.data_draws import with_label_noise
from dwindle.studies.data_function import folder_of, is_function, returned
from dwindle.studies.dataset import Dataset
from dwindle.studies.task import Task

__all__ = ["tasks_of"]

_EPOCHS, _EPOCHS_OF_MANY, _MANY = 40, 10, 10_000
_BATCH_SIZE = 32


def tasks_of(
    source: Source = "fashion",
    *,
    target: str | None = None,
    task: str | None = None,
    drop: Sequence[str] = (),
    validation: float | None = None,
    test: float | None = None,
    label_noise: Sequence[float] | None = None,
    seed: int = 0,
    hidden: Sequence[int] | None = None,
    activation: str | None = None,
    optimiser: Optimiser | None = None,
    batch_size: int | None = None,
    epochs: int | None = None,
    evaluate_every: int | None = None,
    device: str | None = None,
) -> list[Task]:
    """Return the tasks of ``source``: one, or one for each share of ``label_noise``.

    ``source`` is all that `load` takes. A function, ``module:function`` or ``path/to/file.py:function``, may return a Dataset,
    a Task, or several tasks. What it says of itself stands: of a Dataset it decides the parts and the target, of a Task also
    the model. ``optimiser``, ``batch_size``, ``epochs``, ``evaluate_every`` and ``device``, where given, take the place of a
    task's own.

    ``label_noise``: shares of the training labels that are drawn again from ``seed``; by default none, and for "fashion" none
    and 0.2. Otherwise the defaults are a perceptron of (64,), batches of 32, fewer where two folds would not fill them, and 40
    epochs, 10 above 10,000 examples.

    After a task with a model of its own, the folder of its module stays importable, for worker processes import it too.

    Raises InvalidValueError for an option that has no meaning for the source; DataError as `load`.

    >>> [task.name for task in tasks_of("fashion")]
    ['clean labels', '20 % label noise']
    >>> tasks_of("fashion", label_noise=[0.2], epochs=3)[0].horizon.steps
    189
    """
    data_options = {
        "target": target,
        "task": task,
        "drop": dropped(drop) or None,
        "validation": validation,
        "test": test,
    }
    network = {"hidden": hidden, "activation": activation}
    run = {
        "optimiser": optimiser, "batch_size": batch_size, "epochs": epochs, "evaluate_every": evaluate_every,
        "device": device,
    }  # fmt: skip
    if isinstance(source, str) and is_function(source):
        _refuse(source, data_options, "the function says it itself")
        found = returned(source)
        shares = _shares(label_noise, (0.0,))
        if not isinstance(found, Dataset):
            _refuse(source, network, "its task says it itself")
            return _varied(_tasks(source, found), shares, seed, run)
        noisy = [with_label_noise(found, share, seed) for share in shares]
    else:
        shares = _shares(label_noise, (0.0, 0.2) if isinstance(source, str) and source == "fashion" else (0.0,))
        given: dict[str, Any] = {name: value for name, value in data_options.items() if value is not None}
        noisy = [load(source, label_noise=share, seed=seed, **given) for share in shares]
    return [
        _perceptron(data, _noise(share, shares) or data.name, network, run)
        for data, share in zip(noisy, shares, strict=True)
    ]


def _tasks(source: str, found: Any) -> list[Task]:
    """Return what a function gave as a list of tasks, whose module then stays importable."""
    own = [found] if isinstance(found, Task) else list(found) if isinstance(found, list | tuple) else []
    if not own or not all(isinstance(each, Task) for each in own):
        said = f"{type(found).__name__}" + (" that does not hold tasks" if isinstance(found, list | tuple) else "")
        raise DataError(
            f"{source}: returned {said}; it must return a dwindle.studies.Dataset, a Task, or a list of tasks."
        )
    folder = os.fspath(folder_of(source))
    if any(each.model is not None for each in own) and folder not in sys.path:
        sys.path.insert(0, folder)
    return own


def _varied(tasks: Sequence[Task], shares: Sequence[float], seed: int, run: Mapping[str, Any]) -> list[Task]:
    """Return each task under each share of label noise, with what is given of ``run`` in place of its own."""
    changes = {name: value for name, value in run.items() if value is not None}
    return [
        replace(
            task,
            data=with_label_noise(task.data, share, seed),
            name=", ".join(filter(None, (task.name, _noise(share, shares)))),
            **changes,
        )
        for task in tasks
        for share in shares
    ]


def _perceptron(data: Dataset, name: str, network: Mapping[str, Any], run: Mapping[str, Any]) -> Task:
    rows = len(data.train_x)
    half = (rows + len(data.validation_x)) // 2  # what two folds train on
    usual = {"epochs": _EPOCHS if rows <= _MANY else _EPOCHS_OF_MANY, "batch_size": min(_BATCH_SIZE, rows, half)}
    given = {key: value for key, value in {**network, **run}.items() if value is not None}
    return Task(data=data, name=name, **{**usual, **given})


def _shares(given: Sequence[float] | None, usual: Sequence[float]) -> list[float]:
    if isinstance(given, int | float):
        raise InvalidValueError(f"label_noise must be shares in [0, 1]; got {given!r}. Write [{given!r}].")
    shares = () if given is None else sequence("label_noise", given)
    return list(dict.fromkeys(real("label_noise", share, low=0.0, high=1.0) for share in shares or usual))


def _noise(share: float, shares: Sequence[float]) -> str:
    return f"{100 * share:g} % label noise" if share else "clean labels" if len(shares) > 1 else ""


def _refuse(source: object, options: Mapping[str, object], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidValueError(f"{name}={shown(value)} has no meaning for {source}: {why}. Leave it out.")
