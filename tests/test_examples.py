"""The examples are what they say they are, and train."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dwindle as dw
from dwindle.studies import load, tasks_of

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.mark.parametrize("function", ["cnn", "transformer"])
def test_a_model_of_ones_own_trains_and_can_be_sent_to_processes(function: str) -> None:
    (task,) = tasks_of(f"{EXAMPLES / 'own_model.py'}:{function}")
    task.check_sendable()
    assert "accuracy" in task.metric_names
    short = replace(task, epochs=2)
    result = short.train([dw.parse("peak 3e-3 | cosine to 0 | decoupled 0.1")], [0])
    assert result.train_loss[0, -1] < result.train_loss[0, 0]
    assert len(tasks_of(f"{EXAMPLES / 'own_model.py'}:{function}", epochs=2)) == 1


def test_the_sums_are_right_and_in_one_part_each() -> None:
    (task,) = tasks_of(f"{EXAMPLES / 'own_model.py'}:transformer")
    x = np.concatenate([task.data.part(part)[0] for part in ("train", "validation", "test")])
    y = np.concatenate([task.data.part(part)[1] for part in ("train", "validation", "test")])
    np.testing.assert_array_equal((x[:, 0] + x[:, 1]) % 47, y)
    assert len(np.unique(x, axis=0)) == len(x) == 47**2


def test_the_table_is_read() -> None:
    data = load(str(EXAMPLES / "wine.csv"))
    assert data.classes == ("A", "B", "C")
    assert sum(len(data.part(part)[1]) for part in ("train", "validation", "test")) == 178
    assert data.train_x.shape[1] == 13
