"""The README, run as it stands: every Python block, and every dwindle command it shows that takes seconds."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import torch

import dwindle as dw
from dwindle import foreign

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.S)


def write_logs(folder: Path) -> None:
    """Write the logs of three runs as run1.csv to run3.csv, and again as those of a large and a small model."""
    steps = np.arange(200, 10_001, 100)
    flat, falls = "peak 3e-4 | warmup 2%, constant", "peak 3e-4 | warmup 2%, cosine to 10%"
    logs = {"run1": flat, "run2": falls, "run3": falls, "large": falls, "small1": flat, "small2": falls}
    for name, text in logs.items():
        lrs = dw.parse(text).lrs(10_001)[steps]
        rows = zip(steps, lrs, 2.0 + 500.0 * lrs + (steps / 1000.0) ** -0.5, strict=True)
        text = "".join(f"{step},{lr},{loss}\n" for step, lr, loss in rows)
        (folder / f"{name}.csv").write_text("step,lr,loss\n" + text)


@pytest.mark.parametrize("command", re.findall(r"^    dwindle ((?:forecast|optimize|explain|path) .*)$", README, re.M))
def test_every_command_that_prints_text_runs(command: str, tmp_path: Path) -> None:
    write_logs(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    words = shlex.split(command.split("#")[0])
    out = subprocess.run(
        [sys.executable, "-m", "dwindle", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert out.returncode == 0, out.stderr
    assert max(len(line) for line in out.stdout.splitlines()) <= 80


def test_every_python_block_runs_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    x = np.ones((4, 3), dtype=np.float32)
    names: dict[str, object] = {
        "torch": torch, "np": np, "model": torch.nn.Linear(3, 2), "validation_loss": 0.5,
        "keras": keras, "net": net, "x": x, "y": x[:, :2],
    }  # fmt: skip
    write_logs(tmp_path)
    assert len(BLOCKS) >= 4
    for block in BLOCKS:
        fast = block.replace("trials=20", "trials=4, seeds=2").replace(
            "label_noise=0.2)", "label_noise=0.2), hidden=(4,), epochs=1"
        )
        exec(compile(fast, "README.md", "exec"), names)
    assert names["plan"] == dw.parse("peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1")
    assert (tmp_path / "runs" / "mine" / "report.html").exists()


def test_the_equalities_the_readme_states() -> None:
    stated = re.findall(r"^(.*?)\s+# True$", README, re.M)
    assert stated
    plan = dw.Plan(peak=3e-4, schedule=dw.warmup("2%").then(dw.cosine(end=0.1)), decay=dw.decoupled(0.1))
    for line in stated:
        assert eval(line, {"dw": dw, "plan": plan}) is True


@pytest.mark.parametrize("command", re.findall(r"^    dwindle (show .*)$", README, re.M))
def test_every_show_command_runs(command: str) -> None:
    out = subprocess.run(
        [sys.executable, "-m", "dwindle", *shlex.split(command)], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize("command", re.findall(r"^    dwindle (convert .*)$", README, re.M))
def test_every_convert_command_runs(command: str, tmp_path: Path) -> None:
    (tmp_path / "training_args.json").write_text(json.dumps({"learning_rate": 1e-3, "num_train_epochs": 3}))
    (tmp_path / "train.py").write_text(
        "import torch\n"
        "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)\n"
        "scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9000)\n"
    )
    words = shlex.split(command.split("#")[0])
    out = subprocess.run(
        [sys.executable, "-m", "dwindle", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert out.returncode == 0, out.stderr
    assert foreign.read(out.stdout) if "plan" not in words else dw.parse(out.stdout.strip())


BUILD = """
import torch

def build():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    return model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=9000)
"""


@pytest.mark.parametrize("command", re.findall(r"^    dwindle (check .*)$", README, re.M))
def test_every_check_command_looks_and_says(command: str, tmp_path: Path) -> None:
    write_logs(tmp_path)
    (tmp_path / "train.py").write_text(BUILD)
    words = shlex.split(command.split("#")[0])
    out = subprocess.run(
        [sys.executable, "-m", "dwindle", *words], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert out.returncode in (0, 1), out.stderr  # 1: there are findings
    assert out.stdout
    assert max(len(line) for line in out.stdout.splitlines()) <= 80


@pytest.mark.parametrize("command", re.findall(r"^    dwindle (study .*)$", README, re.M))
def test_every_study_command_is_understood(command: str) -> None:
    words = shlex.split(command.split("#")[0])
    known = subprocess.run(
        [sys.executable, "-m", "dwindle", "study", "--help"], capture_output=True, text=True, check=True
    )
    assert all(word in known.stdout for word in words if word.startswith("--"))


def test_links_and_pictures_are_there() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("page", ["README.md", "docs/measured.md"])
def test_every_figure_names_a_program_that_is_there(page: str) -> None:
    commands = re.findall(r"^\|.*\| `([^|]*)` \|$", (ROOT / page).read_text(), re.M)
    assert len(commands) > 10
    programs = [word for command in commands for word in re.findall(r"[\w/]+\.py", command)]
    assert [word for word in programs if not (ROOT / word).exists() and not (ROOT / "benchmarks" / word).exists()] == []
