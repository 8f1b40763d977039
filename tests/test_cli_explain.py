"""``dwindle explain``: 80 columns, JSON, models of torch and Keras, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import dwindle as dw
from dwindle.mask import Param

PLAN = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"


@pytest.fixture
def run(dwindle: Any) -> Any:
    """Run a command of `dwindle` and return exit code, stdout and stderr; lines of text are at most 80 columns wide."""

    def command(*words: str) -> tuple[int, str, str]:
        code, out, err = dwindle(*words)
        assert all(len(line) <= 80 for line in out.splitlines() if not line.startswith("{")), out
        return code, out, err

    return command


def test_the_text_is_that_of_the_explanation(run: Any) -> None:
    code, out, _ = run("explain", PLAN, "--step", "3ep", "--epochs", "10", "--steps-per-epoch", "50")
    horizon = dw.Horizon(epochs=10, steps_per_epoch=50)
    assert code == 0
    assert out.rstrip("\n") == str(dw.explain(dw.parse(PLAN), horizon, 150))


def test_json_holds_every_number(run: Any) -> None:
    words = ("--step", "20%", "--steps", "1000", "--param", "fc.weight", "--shape", "128,64", "--kind", "Linear")
    code, out, _ = run("explain", PLAN, *words, "--against", "peak 3e-4 | constant", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["lr"] == dw.parse(PLAN).resolve(1000).lr(200)
    assert found.pop("against") == json.loads(
        json.dumps(dw.explain.compare(dw.parse(PLAN), dw.parse("peak 3e-4 | constant"), 1000).as_dict())
    )
    whole = dw.explain(dw.parse(PLAN), 1000, 200, Param("fc.weight", (128, 64), "Linear"))
    assert found == json.loads(json.dumps(whole.as_dict()))


def test_two_plans_are_drawn_on_one_scale(run: Any) -> None:
    code, out, _ = run("explain", PLAN, "--against", "peak 6e-4 | warmup 2%, cosine to 10% | decoupled 0.1")
    assert code == 0
    assert "peak: 3e-4 → 6e-4" in out
    lines = out.splitlines()
    old, new = (next(line for line in lines if line.startswith(f"lr {name}")) for name in ("old", "new"))
    assert "█" in new
    assert "█" not in old
    assert run("explain", PLAN, "--against", PLAN)[1] == "the two plans are the same\n"


def test_a_rule_that_answers_a_metric_says_so(run: Any) -> None:
    code, out, _ = run("explain", "torch:ReduceLROnPlateau(factor=0.5) lr=0.1", "--step", "5")
    assert code == 0
    assert "Plateau decides by the metric" in out


MODEL = """
import torch

def model():
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))

def pair():
    made = model()
    return made, torch.optim.AdamW(made.parameters())

def number():
    return 3
"""
KERAS = """
import keras

def net():
    dense = keras.layers.Dense(3, name="dense")
    return keras.Sequential([keras.Input((4,)), dense, keras.layers.LayerNormalization()], name="net")
"""


def test_names_come_from_a_live_torch_model(run: Any, tmp_path: Path) -> None:
    (tmp_path / "torch_model_of_explain.py").write_text(MODEL)
    file = tmp_path / "torch_model_of_explain.py"
    for function in ("model", "pair"):
        code, out, err = run("explain", PLAN, "--step", "500", "--param", "0.weight", "--model", f"{file}:{function}")
        assert code == 0, err
        assert "0.weight: (3, 4), Linear" in out
    _, out, _ = run("explain", PLAN, "--step", "500", "--param", "1.weight", "--model", f"{file}:model")
    assert "weight decay: none" in out
    assert 'kind "*norm*" does not' in " ".join(out.split())
    code, _, err = run("explain", PLAN, "--step", "500", "--param", "2.weight", "--model", f"{file}:model")
    assert (code, "did you mean" in err) == (2, True)
    assert (
        "must return a torch.nn.Module"
        in run("explain", PLAN, "--step", "1", "--param", "w", "--model", f"{file}:number")[2]
    )


def test_names_come_from_a_live_keras_model(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    (tmp_path / "keras_model_of_explain.py").write_text(KERAS)
    file = tmp_path / "keras_model_of_explain.py"
    _, out, err = run("explain", PLAN, "--step", "500", "--param", "net/dense/kernel", "--model", f"{file}:net")
    assert "net/dense/kernel: (4, 3), Dense" in out, err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("explain", PLAN), "which step?"),
        (("explain", PLAN, "--step", "1000"), "The last update is step 999"),
        (("explain", PLAN, "--step", "3ep"), "3ep needs to know steps_per_epoch; add --steps-per-epoch K."),
        (("explain", PLAN, "--step", "soon"), "'soon' is not a time"),
        (("explain", PLAN, "--step", "5", "--steps", "0"), "--steps must be at least 1"),
        (("explain", PLAN, "--step", "5", "--epochs", "3"), "add --steps-per-epoch"),
        (("explain", "peek 3", "--step", "5"), "PLAN: "),
        (("explain", PLAN, "--step", "5", "--against", "peek 3"), "--against: "),
        (("explain", PLAN, "--step", "5", "--param", "fc.weight"), "--shape 128,64"),
        (("explain", PLAN, "--step", "5", "--param", "fc.weight", "--shape", "a,b"), "--shape must be whole numbers"),
        (("explain", PLAN, "--step", "5", "--param", "fc.weight", "--kind", "Linear"), "add --shape"),
        (("explain", PLAN, "--step", "5", "--shape", "3,4"), "--param NAME"),
        (("explain", PLAN, "--step", "5", "--group", "head"), "group 'head' is not in the plan, which has no groups."),
        (("explain", PLAN, "--step", "5", "--param", "w", "--model", "no_such_module_xyz:f"), "no_such_module_xyz"),
        (("explain", PLAN, "--step", "5", "--param", "w", "--model", "nothing"), "module:function"),
    ],
)
def test_bad_input_is_one_line(run: Any, words: tuple[str, ...], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_plan_file_is_read(run: Any, tmp_path: Path) -> None:
    from dwindle.text import save

    save(dw.parse(PLAN), tmp_path / "plan.toml")
    assert run("explain", str(tmp_path / "plan.toml"), "--step", "5") == run("explain", PLAN, "--step", "5")
