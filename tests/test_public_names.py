"""Every public name exists and is documented with a running example; test_public_api.py keeps the list of them."""

from __future__ import annotations

import inspect
import subprocess
import sys
import types

import pytest

import dwindle as dw

PUBLIC = [*dw.__all__, "jax", "keras", "torch"]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    value = getattr(dw, name)
    assert inspect.getdoc(value), name
    if not isinstance(value, types.ModuleType):
        assert ">>>" in (value.__doc__ or ""), f"{name} has no example"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'cosin'"):
        dw.cosin  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(dw))


def test_a_star_import_needs_no_framework() -> None:
    asked = "print(Plan.__name__, *(name for name in ('torch', 'jax', 'keras', 'numba') if name in sys.modules))"
    code = f"import sys\nfrom dwindle import *\n{asked}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Plan"]
