"""Optuna and cmaes, which a study can do without: loaded where they are needed, and kept quiet."""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dwindle.errors import MissingExtraError

__all__ = ["has_optuna", "optional", "quiet"]


def has_optuna() -> bool:
    """Return whether Optuna is installed, without loading it."""
    return importlib.util.find_spec("optuna") is not None


def optional(package: str, extra: str = "optuna") -> Any:
    """Return the package; raise MissingExtraError with the extra that installs it if it is not there."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError.of(package, extra) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back Optuna's log and its warnings of experimental parts while it works."""
    logging = optional("optuna").logging
    level = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
