"""Data for a loss of one's own: any numbers, a row an example."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dwindle.errors import DataError, InvalidValueError
from dwindle.studies import Dataset, load
from dwindle.studies.data import with_label_noise

PARTS = ("train", "validation", "test")


def custom(x: Any, y: Any, **change: Any) -> Dataset:
    parts = {f"{part}_{axis}": values for part in PARTS for axis, values in (("x", x), ("y", y))}
    return Dataset(**{**parts, "name": "mine", "task": "custom", **change})


TYPES = [np.bool_, np.int8, np.uint8, np.int32, np.int64, np.float16, np.float32, np.float64]


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(TYPES), st.sampled_from(TYPES), st.integers(1, 5))
def test_whole_numbers_stay_whole_and_shapes_stay(draw: st.DataObject, of_x: Any, of_y: Any, rows: int) -> None:
    finite = {"allow_nan": False, "allow_infinity": False}
    given_arrays = []
    for kind in (of_x, of_y):
        shape = (rows, *draw.draw(arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)))
        numbers = {**finite, "min_value": -100, "max_value": 100} if np.dtype(kind).kind == "f" else {}
        elements = arrays.from_dtype(np.dtype(kind), **numbers)
        given_arrays.append(draw.draw(arrays.arrays(kind, shape, elements=elements)))
    data = custom(*given_arrays)
    for array, kept in zip(given_arrays, data.part("test"), strict=True):
        assert kept.dtype == (np.float32 if array.dtype.kind == "f" else np.int64)
        np.testing.assert_array_equal(kept, array.astype(kept.dtype))
    assert data.input_shape == given_arrays[0].shape[1:]


def test_numbers_of_another_kind_are_other_data() -> None:
    x, y = np.arange(12).reshape(4, 3), np.arange(8).reshape(4, 2)
    marks = {custom(*pair).fingerprint() for pair in ((x, y), (x.astype(float), y), (x, y.astype(float)), (x, y + 1))}
    assert len(marks) == 4
    assert custom(x, y).fingerprint() == custom(x.astype(np.int16), y.astype(np.uint8)).fingerprint()


X, Y = np.zeros((4, 2)), np.zeros((4, 3), int)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_x": np.full((4, 2), np.nan)}, r"train_x of mine, at \(0, 0\)"),
        ({"test_y": np.full((4, 3), np.inf)}, r"test_y of mine, at \(0, 0\)"),
        ({"train_x": np.zeros((4, 2), complex)}, "needs real numbers"),
        ({"train_y": np.array(["a"] * 4)}, "needs real numbers"),
        ({"train_x": 3}, "an example a row"),
        ({"train_x": np.zeros((0, 2))}, "an example a row"),
        ({"train_y": np.zeros((3, 3), int)}, "4 rows of features and 3 targets"),
        ({"test_y": np.zeros((4, 2), int)}, r"test_y of mine has rows of shape \(2,\)"),
        ({"validation_x": np.zeros((4, 2), int)}, "in int64, train_x of .* in float32"),
        ({"train_x": np.full((4, 2), 2**63, np.uint64)}, "9223372036854775808, which no int64"),
        ({"classes": ("a", "b")}, "leave classes out"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises((DataError, InvalidValueError), match=words):
        custom(X, Y, **change)


def test_it_has_neither_outputs_nor_labels_and_no_file_holds_it() -> None:
    data = custom(X, Y)
    with pytest.raises(InvalidValueError, match="only its loss knows"):
        _ = data.outputs
    with pytest.raises(InvalidValueError, match="custom data has no labels"):
        with_label_noise(data, 0.1)
    with pytest.raises(ValueError, match=r"classification, regression"):
        load("fashion", task="custom")
