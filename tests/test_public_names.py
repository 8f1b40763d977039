"""Every public name exists, is documented with a running example, and the list of them changes only on purpose."""

from __future__ import annotations

import inspect
import types

import pytest

import dwindle as dw

PUBLIC = [
    "DwindleError", "Group", "Horizon", "Mask", "Plan", "Rule", "Schedule", "Time", "constant", "corrected",
    "cosine", "cosine_restarts", "custom", "decoupled", "difference", "doctor", "errors", "explain", "exponential", "findings",
    "foreign", "formula",
    "greedy", "independent", "interpolate", "inverse_sqrt", "inverse_time", "jax", "keras", "l2", "laws", "linear",
    "logs", "mask", "multi_step", "one_cycle", "parse", "penalty", "piecewise", "plateau", "polynomial",
    "population", "power_law", "reference", "replan", "ridge", "schedule", "stall", "step", "study", "table", "tanh", "torch",
    "triangular", "warmup", "wsd",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert dw.__all__ == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented_with_an_example(name: str) -> None:
    value = getattr(dw, name)
    assert inspect.getdoc(value), name
    if not isinstance(value, types.ModuleType) and name not in ("DwindleError", "Schedule"):
        assert ">>>" in (value.__doc__ or ""), f"{name} has no example"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'cosin'"):
        dw.cosin  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert set(PUBLIC) <= set(dir(dw))
