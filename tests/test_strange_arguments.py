"""Whatever is given in the place of an argument, an answer comes back or a `DwindleError` in one line that can be read.

No TypeError from deep inside, no file descriptor opened as a file, no text taken for a number.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwindle import logs, ridge, studies
from dwindle.errors import DwindleError, InvalidValueError
from strange import STRANGE, Call, core, studied, told

CALLS: dict[str, Call] = {**core(), **told(), **studied()}


def test_as_many_functions_as_names_are_tried() -> None:
    assert len(CALLS) == len(core()) + len(told()) + len(studied()) >= 180
    assert len(CALLS) * len(STRANGE) > 10_000


def outcome(function: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Return what is wrong with how a call ended; None if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(**arguments)
    except DwindleError as error:
        said = str(error)
        return None if said and "\n" not in said and len(said) <= 600 else f"says {said!r:.100}"
    except Exception as error:
        return f"{type(error).__name__}: {error!s:.100}"
    return None


@pytest.mark.parametrize("name", CALLS)
def test_a_strange_argument_is_answered_or_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a folder "x" may well be made
    function, usual = CALLS[name]
    opened = [os.fstat(number) for number in range(3)]
    wrong = []
    for argument in usual:
        for value in STRANGE:
            ended = outcome(function, {**usual, argument: value})
            if ended is not None:
                wrong.append(f"{argument}={value!r:.40}: {ended}")
    assert wrong == []
    assert [os.fstat(number).st_ino for number in range(3)] == [one.st_ino for one in opened]


@pytest.mark.parametrize(
    "value", ["1", ["1", "2"], np.array(["1.5"]), np.datetime64("2020"), np.array([1j]), np.ma.masked]
)
def test_what_numpy_would_take_for_a_number_is_none(value: object) -> None:
    with pytest.raises(InvalidValueError):
        ridge.path(np.eye(3), np.arange(3.0), value)
    with pytest.raises(InvalidValueError):
        logs.Series("loss", np.arange(len(value) if isinstance(value, list) else 1), value)


@pytest.mark.parametrize("number", [0, 1, 2, True])
def test_a_number_is_no_path_though_python_would_open_it(number: int) -> None:
    with pytest.raises(InvalidValueError, match="must be the path of a file"):
        studies.Space.load(number)  # type: ignore[arg-type]
    os.fstat(number)
