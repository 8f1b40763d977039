"""A user's own function as a source: ``module:function``, or ``path/to/file.py:function``."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from dwindle.errors import DataError, suggestion

__all__ = ["folder_of", "is_function", "returned"]

_FUNCTION = re.compile(r"(?:[^\W\d][\w.]*|.+\.py):[^\W\d]\w*")


def is_function(source: object) -> bool:
    """Say whether ``source`` names a function, and is no file that happens to be called so.

    >>> is_function("my_module:data"), is_function("own/model.py:cnn"), is_function("table.csv")
    (True, True, False)
    """
    return isinstance(source, str) and _FUNCTION.fullmatch(source) is not None and not os.path.exists(source)


def folder_of(source: str) -> Path:
    """Return the folder from which the module of ``source`` is imported: the working folder, or that of the file.

    >>> folder_of("/home/me/own.py:cnn").as_posix()
    '/home/me'
    """
    place = source.rpartition(":")[0]
    return Path(place).resolve().parent if place.endswith(".py") else Path.cwd()


def returned(source: str) -> Any:
    """Import the module of ``source``, call its function without arguments, and return what it gives.

    A file is imported under its own name, with its folder importable, so that processes which get a function of it can
    import it as well.

    Raises DataError where there is no such file, module or function, where another module has the name of the file, and
    where the function needs arguments. What the user's own code raises is left as it is.

    >>> returned("platform:python_implementation")
    'CPython'
    """
    place, _, name = source.rpartition(":")
    with _importable(folder_of(source)):
        module = _from_file(source, Path(place)) if place.endswith(".py") else _imported(source, place)
        return _function(source, module, name)()


def _from_file(source: str, path: Path) -> ModuleType:
    if not path.exists():
        raise DataError(f"{source}: {path}: no such file. Give the path of one, or module:function.")
    if "." in path.stem:
        raise DataError(f"{source}: a file with a dot in its name cannot be imported. Rename it.")
    module = _imported(source, path.stem)
    found = getattr(module, "__file__", None)
    if found is None or not os.path.samefile(found, path):
        raise DataError(
            f"{source}: {path.stem} is the name of another module, {found or 'a part of Python'}. Rename the file."
        )
    return module


def _imported(source: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise DataError(f"{source}: {error}. Run where {name} can be imported, or install it.") from error
        raise DataError(f"{source}: {error}, which it imports. Install it.") from error
    except SyntaxError as error:  # str(error) names the file and the line
        raise DataError(f"{source}: no valid Python: {error}. Correct it.") from error


def _function(source: str, module: ModuleType, name: str) -> Callable[[], Any]:
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = suggestion(name, own) if own else "it has no function."
        raise DataError(f"{source}: {module.__name__} has no {name!r}; {hint}")
    function = getattr(module, name)
    if not callable(function):
        raise DataError(
            f"{source}: {name} is {type(function).__name__}, no function. It must return a Dataset or a Task."
        )
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise DataError(f"{source}: {name} is called without arguments: {error}. Give them defaults.") from error
    except ValueError:  # a function of C says nothing of its arguments
        pass
    called: Callable[[], Any] = function
    return called


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let an installed command import a module of ``folder``, as ``python -m`` does of the working folder."""
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()  # the file may be younger than what the finder knows of its folder
    try:
        yield
    finally:
        sys.path[:] = before
