"""``dwindle check`` on logs: what it takes for one, the columns it is told, and that it refuses one it can look at nothing in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dwindle.findings.recognised import kind_of
from test_cli_check import run, written


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"history": {"loss": [3.0, 2.0], "val_loss": [3.0, 2.5]}}, "log"),
        ({"loss": [3.0, 2.0]}, "log"),
        ({"loss": {"0": 3.0, "1": 2.0}}, "log"),
        ({"loss": [None, 2.0], "lr": [0.1, None]}, "log"),
        ({"loss": ["3.0", "2.0"]}, "log"),
        ({"metrics": {"train": [{"step": 1, "loss": 3.0}], "val": []}}, "log"),
        ({"learning_rate": 1e-3, "loss": "ce"}, "config"),
        ({"learning_rate": 1e-3, "loss": {"ce": 1.0, "dice": 0.5}}, "config"),
        ({"learning_rate": 1e-3, "losses": [{"loss": "ce", "weight": 1.0}]}, "config"),
        ({"model": {"loss": 1.0, "accuracy": True}, "lr": [0.1, 0.01]}, "config"),
        ({"a": {"b": {"c": {"loss": [3.0, 2.0]}}}}, "config"),
    ],
)
def test_json_with_curves_is_a_log(value: Any, kind: str, tmp_path: Path) -> None:
    assert kind_of(Path(written(tmp_path / "any.json", json.dumps(value)))) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('{"train_lr": 0.1, "train_loss": 3.0, "epoch": 0}\n{"train_lr": 0.1, "train_loss": 2.0, "epoch": 1}\n', "log"),
        ("\nepoch,loss\n0,3\n", "log"),
        ("# step\tlr\n1\t0.1\n", "log"),
        ("torch:AdamW(lr=1e-3, betas=(0.9, 0.999)) StepLR(30)", "recipe"),
        ("optimizer: adam, lr: 0.1", "recipe"),
        ("lr=1, epochs=3", "recipe"),
        ("import torch, os\n", "recipe"),
        ("", "recipe"),
    ],
)
def test_a_text_that_begins_as_a_log_is_one(text: str, kind: str, tmp_path: Path) -> None:
    assert kind_of(Path(written(tmp_path / "any.txt", text))) == kind


def test_columns_can_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = "".join(f"{s},{s},0.1,0.2,3.0,2.5,0.5,0.6\n" for s in range(10, 200, 10))
    log = written(tmp_path / "run.csv", f"n,k,lr_0,lr_1,a - loss,b - loss,a - acc,b - acc\n{rows}")
    code, out, _ = run(
        capsys, log, "--json", "--step", "n", "--lr", "lr_1", "--loss", "a - loss", "--val-loss", "b - loss"
    )
    said = json.loads(out)
    assert code in (0, 1)
    assert said["looked_at"] == ["lr (lr_1)", "training loss (a - loss)", "validation loss (b - loss)"]
    said = json.loads(run(capsys, log, "--json", "--lr", "lr_0")[1])["not_looked_at"]
    several = "several columns could be the"
    assert f"{several} training loss: 'a - loss', 'b - loss'; none was taken. Name one: --loss COLUMN" in said
    how = "logs.history(FILE, roles={'training accuracy': COLUMN}) in Python"
    assert f"{several} training accuracy: 'a - acc', 'b - acc'; none was taken. Name one: {how}" in said


def test_a_log_in_which_nothing_can_be_looked_at_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = written(
        tmp_path / "run.csv", "Wall time,Step,Value\n" + "".join(f"{s},{s},{2.5 - s / 10}\n" for s in range(20))
    )
    code, out, err = run(capsys, log)
    assert (code, out) == (2, "")
    assert err == (
        f"dwindle: {log}: no column is known for a loss, an accuracy, a norm or a learning rate, so nothing can be looked at; "
        "there are 'Wall time', 'Value'. Name one: --loss COLUMN.\n"
    )
    assert "nothing found" in run(capsys, log, "--loss", "Value")[1]
    log = written(tmp_path / "two.csv", "Step,a - loss,b - loss\n" + "".join(f"{s},{2 + s},2.5\n" for s in range(20)))
    assert run(capsys, log)[2].endswith(
        "there are 'a - loss', 'b - loss'. Several columns could be the training loss: 'a - loss', 'b - loss'; none was taken. "
        "Name one: --loss COLUMN.\n"
    )
