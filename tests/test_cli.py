"""The command line as a person meets it: help, exit codes, one-line errors, 80 columns."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

import dwindle as dw


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
        (["show", "peak 1 | step by 0.5 every 5ep"], "steps_per_epoch; add --steps-per-epoch K."),
        (
            ["show", "peak 1 | warmup 1e9tok, constant"],
            "1e9tok needs to know tokens_per_step; add --tokens-per-step T.",
        ),
        (
            ["check", "peak 1 | warmup 9ex, constant", "--steps", "9"],
            "9ex needs to know batch_size; add --batch-size M.",
        ),
        (["explain", "peak 1 | warmup 9tok, constant", "--step", "1"], "tokens_per_step; add --tokens-per-step T."),
        (["show", "peak 1 | constant", "--steps", "0"], "--steps must be positive; got 0."),
        (["show", __file__], "is a file; a plan is one line, or a .toml or .json file"),
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


def test_times_in_tokens_and_examples_can_be_told() -> None:
    out = dwindle("show", "peak 1 | warmup 2e3tok, constant for 64ex, linear", "--steps", "10", "--tokens-per-step", "1000",
                  "--batch-size", "32", "--json").stdout  # fmt: skip
    assert json.loads(out)["lr"][:5] == [0.0, 0.5, 1.0, 1.0, 1.0]
    plan = ["check", "peak 1 | warmup 9e3tok, linear | l2 1e-4", "--steps", "10"]
    assert "warmup-long" in dwindle(*plan, "--tokens-per-step", "1000").stdout
    assert "warmup-long" not in dwindle(*plan, "--tokens-per-step", "9000").stdout


def test_a_scheduled_decay_is_not_denied() -> None:
    out = dwindle(
        "show", "peak 1e-3 | warmup 10%, constant | decoupled (warmup 10%, constant)", "--steps", "1000"
    ).stdout
    assert "timescale τ = 1/x where x is largest: 1000 steps" in out
    assert "the decay's whole dose: Σx = 0.9328" in out
    assert "no weight decay: the weights keep what the gradients leave" in dwindle("show", "peak 1e-3 | cosine").stdout


def test_show_draws_in_80_columns_and_gives_json() -> None:
    text = "peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1"
    out = dwindle("show", text, "--steps", "1000")
    assert out.returncode == 0
    assert max(map(len, out.stdout.splitlines())) <= 80
    rates = json.loads(dwindle("show", text, "--steps", "50", "--json").stdout)
    assert rates["plan"] == text
    assert rates["lr"] == dw.parse(text).lrs(50).tolist()
