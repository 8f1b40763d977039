"""What a study's doctor says: of the winner, and of the winner without its decay, by the epochs at which both were looked at."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from dwindle.studies.diagnosis import diagnosis


def setting(epoch: list[float], stripped: bool) -> dict[str, Any]:
    """A setting whose winner is sound, and which without its decay overfits from epoch 8 on."""
    at = np.array(epoch)
    falls = np.exp(-at / 6.0)
    curves = {"epoch": epoch, "train_loss": falls.tolist(), "lr": np.linspace(0.1, 0.0, len(at)).tolist()}
    sound = curves | {"validation_loss": (0.3 + falls).tolist()}
    bad = curves | {"validation_loss": (0.5 + 0.05 * np.abs(at - 8.0)).tolist()}
    rows = [{"role": "winner", "curves": sound}]
    rows += [{"role": "winner without weight decay", "curves": bad}] if stripped else []
    return {"name": "clean", "contenders": rows}


def best(verdict: str, unit: str) -> int:
    """The place that a verdict calls the best, which is smoothed over three points."""
    return int(re.search(rf"best at {unit} (\d+) ", verdict)[1])


def test_the_epochs_are_those_of_the_curves() -> None:
    every_other = [float(e) for e in range(0, 81, 2)]
    (found,) = diagnosis([setting(every_other, stripped=True)])
    assert (found.code, found.severity) == ("overfitting", "note")
    assert best(found.verdict, "epoch") in (6, 8, 10)
    assert found.subject == "clean: the winner without its weight decay"


def test_a_sound_winner_alone_gives_nothing() -> None:
    assert diagnosis([setting([float(e) for e in range(41)], stripped=False)]) == []


def test_looks_within_an_epoch_are_counted_as_rows() -> None:
    (found,) = diagnosis([setting([e / 4 for e in range(161)], stripped=True)])
    assert best(found.verdict, "row") in range(26, 39)


def test_a_missing_value_is_left_out() -> None:
    one = setting([float(e) for e in range(0, 81, 2)], stripped=True)
    one["contenders"][1]["curves"]["validation_loss"][20] = None
    (found,) = diagnosis([one])
    assert best(found.verdict, "epoch") in (6, 8, 10)
