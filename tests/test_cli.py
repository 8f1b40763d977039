"""The command line as a person meets it: help, exit codes, one-line errors, 80 columns, a whole small study."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

import dwindle as dw
from dwindle.text import load

SPACE = "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0 | decoupled"
SMALL = ["--space", SPACE, "--seeds", "2", "--hidden", "6", "--epochs", "1"]


def dwindle(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "dwindle", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment)


def test_help_fits_and_names_the_commands() -> None:
    out = dwindle("--help")
    assert out.returncode == 0
    assert "study" in out.stdout
    assert max(map(len, out.stdout.splitlines())) <= 80


def test_version() -> None:
    assert dwindle("--version").stdout.strip() == dw.__version__


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stdy"], "No such command 'stdy'"),
        (["show", "peak 1 | cosin to 0"], "cosin"),
        (["show", "peak -1"], "peak"),
        (["show", "absent.toml"], "absent.toml"),
        (["show", "peak 1 | step by 0.5 every 5ep"], "steps_per_epoch"),
        (["study", "absent.csv"], "absent.csv"),
        (["study", "--space", "lam x | peak 1"], "lam must be numbers"),
        (["study", "--hidden", "a,b"], "hidden must be widths"),
        (["study", "--optimiser", "sdg"], "did you mean 'sgd'"),
        (["study", "--label-noise", "2"], "label_noise"),
        (["study", "--seeds", "1"], "seeds must be at least 2"),
        (["study", "--seeds", "many"], "--seeds"),
        (["study", "--out", "/proc/none/there"], "cannot be made"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str) -> None:
    out = dwindle(*words)
    assert out.returncode == 2
    assert said in out.stderr
    assert len(out.stderr.strip().splitlines()) == 1
    assert "Traceback" not in out.stderr


def test_show_says_a_plan_of_hundreds_of_points_in_a_few_lines() -> None:
    steps = " ".join(f"{step}st" for step in range(0, 900, 3))
    factors = " ".join(f"{1 - step / 1000:g}" for step in range(0, 900, 3))
    lines = dwindle("show", f"peak 1 | through [{steps}] factors [{factors}]").stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("peak 1 | through [0st 3st")
    assert lines[4].startswith("… and ")
    assert lines[4].endswith("more lines; --json prints the whole plan")
    assert len(lines) < 25


def test_show_draws_in_80_columns_and_gives_json() -> None:
    text = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"
    out = dwindle("show", text, "--steps", "1000")
    assert out.returncode == 0
    assert max(map(len, out.stdout.splitlines())) <= 80
    rates = json.loads(dwindle("show", text, "--steps", "50", "--json").stdout)
    assert rates["plan"] == text
    assert rates["lr"] == dw.parse(text).lrs(50).tolist()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("study")
    return folder, dwindle("study", *SMALL, "--out", str(folder))


def test_a_study_ends_in_its_files(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, out = finished
    assert out.returncode == 0, out.stderr
    assert (folder / "report.html").read_text().startswith("<!doctype html>")
    assert str(load(folder / "plan.toml")) in out.stdout.replace("\n       ", " ")
    assert (folder / "plan-20-label-noise.toml").exists()
    assert not (folder / "lock").exists()
    assert max(map(len, out.stdout.splitlines())) <= 80 or str(folder) in out.stdout


def test_the_same_command_again_trains_nothing(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = finished
    before = (folder / "trials.jsonl").read_bytes()
    out = dwindle("study", *SMALL, "--out", str(folder), "--json")
    assert out.returncode == 0
    assert (folder / "trials.jsonl").read_bytes() == before
    assert json.loads(out.stdout)["format"] == "dwindle-evidence/1"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_study_resumes_to_the_same_end(kind: signal.Signals, tmp_path: Path) -> None:
    words = ["study", "--out", str(tmp_path / "a"), "--hidden", "16", "--epochs", "4", "--seeds", "2", "--quiet"]
    heeded = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a job in the background was told to ignore it
    running = subprocess.Popen(
        [sys.executable, "-m", "dwindle", *words], stderr=subprocess.PIPE, text=True, preexec_fn=heeded
    )
    trials = tmp_path / "a" / "trials.jsonl"
    deadline = time.monotonic() + 60
    while not trials.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(kind)
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if kind is signal.SIGINT else -signal.SIGKILL)
    if kind is signal.SIGINT:
        assert "the same command goes on" in said
        assert "Traceback" not in said
    kept = trials.read_bytes()
    assert dwindle(*words).returncode == 0
    assert trials.read_bytes().startswith(kept)
    straight = [*words[:2], str(tmp_path / "b"), *words[3:]]
    assert dwindle(*straight).returncode == 0
    assert (tmp_path / "a" / "plan.toml").read_bytes() == (tmp_path / "b" / "plan.toml").read_bytes()
    assert sorted(trials.read_text().splitlines()) == sorted((tmp_path / "b" / "trials.jsonl").read_text().splitlines())


def test_where_a_study_trains_changes_nothing(tmp_path: Path) -> None:
    found = []
    for i, where in enumerate(([], ["--processes", "2"])):
        out = dwindle("study", *SMALL, "--label-noise", "0", "--out", str(tmp_path / str(i)), "--json", *where)
        assert out.returncode == 0, out.stderr
        found.append(json.loads(out.stdout)["settings"])
    assert found[0] == found[1]


def test_a_study_trains_in_one_place(tmp_path: Path) -> None:
    out = dwindle("study", *SMALL, "--out", str(tmp_path), "--processes", "2", "--ray", "local")
    assert out.returncode == 2
    assert "give one of them" in out.stderr
