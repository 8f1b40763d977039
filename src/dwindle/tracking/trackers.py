"""Which trackers there are, and what each can do: write one training, unless it has written it before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from dwindle.errors import MissingExtraError, known

__all__ = ["TRACKERS", "Tracker", "tracker"]

TRACKERS = {"tensorboard": "TensorBoard", "wandb": "Wandb", "mlflow": "Mlflow"}


class Tracker(Protocol):
    """Somewhere trainings are written to, each under its key."""

    name: str

    @property
    def place(self) -> str:
        """Where the runs are, in words for a person."""
        ...

    def write(self, record: Mapping[str, Any]) -> None:
        """Write a training; nothing where its key is there already. Raises whatever goes wrong."""
        ...


def tracker(name: str, folder: Path) -> Tracker:
    """Return the tracker of this name for the study in ``folder``: tensorboard, wandb or mlflow.

    Nothing is written and no server is asked before the first training.

    Raises UnknownNameError, and MissingExtraError where the package of that name is not installed.
    """
    made: Tracker = getattr(
        importlib.import_module(f"dwindle.tracking.{known('tracker', name, TRACKERS)}"), TRACKERS[name]
    )(folder)
    return made


def package(name: str, module: str | None = None) -> Any:
    """Return the package ``name``, or a module of it; raise MissingExtraError with what installs it."""
    try:
        whole = importlib.import_module(name)
        return whole if module is None else importlib.import_module(module)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise MissingExtraError(f"{name} is not installed; --log {name} needs it. pip install {name}") from error
        raise MissingExtraError(f"{name} cannot be imported: {error}. pip install --upgrade {name}") from error
