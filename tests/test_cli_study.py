"""``dwindle study`` as a person meets it: a whole small study, its table on a terminal, kills, trackers, models of one's own."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from dwindle.cli import main
from dwindle.cli.progress import Bars, Lines, Pace
from dwindle.studies import Progress
from dwindle.text import load

SPACE = "lam 0 1 | peak 1e-3 1e-2 | schedule constant; cosine to 0 | decoupled"
# as `python -m dwindle`, in place of what went before it; not forked from here, where JAX may have threads
DWINDLE = "import os, sys; os.execv(sys.executable, [sys.executable, '-m', 'dwindle', *sys.argv[1:]])"
SMALL = ["--space", SPACE, "--seeds", "2", "--hidden", "6", "--epochs", "1"]


def dwindle(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "dwindle", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, cwd=cwd)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["absent.csv"], "absent.csv"),
        (["--space", "lam x | peak 1"], "lam must be numbers"),
        (["--hidden", "a,b"], "hidden must be widths"),
        (["--hidden", "4,,4"], "--hidden must be widths such as 256,128, or none for a linear model; got '4,,4'."),
        (["--hidden", "64,"], "--hidden must be widths such as 256,128, or none for a linear model; got '64,'."),
        (["--hidden", ""], "--hidden must be widths such as 256,128, or none for a linear model; got ''."),
        (["--optimiser", "sdg"], "did you mean 'sgd'"),
        (["--momentum", "0.8"], "give --optimiser sgd"),
        (["--label-noise", "2"], "label_noise"),
        (["--seeds", "1"], "seeds must be at least 2"),
        (["--seeds", "many"], "--seeds"),
        (["--folds", "0"], "folds"),
        (["--drop", "a"], "no meaning for fashion"),
        (["--task", "regresion"], "did you mean 'regression'"),
        (["--validation", "2"], "validation"),
        (["--test", "0"], "test"),
        (["--log", "tensorbord"], "did you mean 'tensorboard'"),
        (["--out", "/proc/none/there"], "cannot be made"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["study", *words])
    assert left.value.code == 2
    heard = capsys.readouterr()
    assert said in heard.err
    assert len(heard.err.strip().splitlines()) == 1
    assert not heard.out


def test_help_says_every_option_in_80_columns() -> None:
    out = dwindle("study", "--help").stdout
    assert max(map(len, out.splitlines())) <= 80
    for option in (
        "--no-halving",
        "--folds",
        "--refit",
        "--log",
        "--sampler",
        "--ray",
        "--json",
        "--drop",
        "--validation",
    ):
        assert option in out


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
    # a job in the background was told to ignore the signal
    heeded = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    running = subprocess.Popen(
        [sys.executable, "-c", f"{heeded}; {DWINDLE}", *words], stderr=subprocess.PIPE, text=True
    )
    trials = tmp_path / "a" / "trials.jsonl"
    deadline = time.monotonic() + 60
    while not trials.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(kind)
    _, said = running.communicate(timeout=60)
    assert running.returncode == (130 if kind is signal.SIGINT else -signal.SIGKILL), said
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


def test_a_study_of_which_all_diverged_failed(tmp_path: Path) -> None:
    out = dwindle("study", *SMALL[2:], "--space", "lam 0 | peak 1e30 | schedule constant", "--out", str(tmp_path), "-q")
    assert out.returncode == 1
    assert "diverged; give lower peaks" in out.stderr
    assert "Traceback" not in out.stderr


def test_a_study_trains_in_one_place(tmp_path: Path) -> None:
    out = dwindle("study", *SMALL, "--out", str(tmp_path), "--processes", "2", "--ray", "local")
    assert out.returncode == 2
    assert "give one of them" in out.stderr


# --- what it is told


def evidence(folder: Path, *words: str, cwd: Path | None = None) -> dict[str, Any]:
    out = dwindle("study", "--json", "--out", str(folder), *words, cwd=cwd)
    assert out.returncode == 0, out.stderr
    found: dict[str, Any] = json.loads(out.stdout)
    return found


def test_halving_folds_and_refit_reach_the_study(tmp_path: Path) -> None:
    longer = [*SMALL[:-1], "8", "--label-noise", "0"]
    plain = evidence(tmp_path / "a", *longer, "--no-halving")["settings"][0]
    assert not any(trial["stopped_at"] for trial in plain["trials"])
    assert plain["fit"]["validation_rows_seen"] is False
    other = evidence(tmp_path / "b", *longer, "--refit", "--folds", "2")["settings"][0]
    assert any(trial["stopped_at"] for trial in other["trials"])
    assert other["fit"]["validation_rows_seen"] is True
    assert len((tmp_path / "b" / "trials.jsonl").read_text().splitlines()) > len(plain["trials"])


def test_no_hidden_layer_is_a_linear_model(tmp_path: Path) -> None:
    found = evidence(tmp_path, *SMALL, "--hidden", "none", "--label-noise", "0")
    assert found["model"] == "linear, softmax cross-entropy"
    assert set(np.load(tmp_path / "weights.npz")) == {"0.weight", "0.bias"}


def test_what_is_wrong_with_a_table_can_be_put_right_here(tmp_path: Path) -> None:
    """An index, a date and a count of which one is rare: what each error says to do is an option."""
    rows = "".join(f"{i},2026-{i:03d},{i % 7},{1 + i % 5 if i else 11}\n" for i in range(200))
    (tmp_path / "sales.csv").write_text(f",date,a,sold\n{rows}")
    words: list[str] = []
    for said, remedy in (
        ("drop=['']", ["--drop", ""]),
        ("another target or task", ["--task", "regression", "--validation", "0.2", "--test", "0.15"]),
        ("drop=['date']", ["--drop", "date"]),
    ):
        out = dwindle("study", "sales.csv", *SMALL, *words, "--folds", "1", cwd=tmp_path)
        assert out.returncode == 2
        assert said in out.stderr
        words += remedy
    found = evidence(tmp_path / "out", "sales.csv", *SMALL, *words, "--folds", "1", cwd=tmp_path)
    assert (found["data"]["task"], found["data"]["train"], found["data"]["test"]) == ("regression", 130, 30)


OWN = """
import torch
from dwindle.studies import Task, load

def net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 4), torch.nn.Tanh(), torch.nn.Linear(4, 10))

def task():
    print("said on the way")
    return Task(data=load("fashion"), model=net, epochs=1)
"""


@pytest.mark.slow
def test_a_model_of_ones_own_is_studied_and_says_nothing_into_the_json(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    found = evidence(tmp_path / "out", "own:task", *SMALL[:4], cwd=tmp_path)
    assert found["model"].startswith("Sequential")


@pytest.mark.parametrize(("option", "value"), [("--hidden", "6"), ("--target", "price")])
def test_what_has_no_meaning_for_a_model_of_ones_own_is_refused(option: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    out = dwindle("study", "own:task", option, value, cwd=tmp_path)
    assert out.returncode == 2
    assert f"{option[2:]}=" in out.stderr
    assert "no meaning" in out.stderr
    assert not (tmp_path / "runs").exists()


# --- trackers


def test_a_missing_tracker_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)  # type: ignore[arg-type]
    with pytest.raises(SystemExit) as left:
        main(["study", *SMALL, "--out", str(tmp_path / "out"), "--log", "mlflow"])
    assert left.value.code == 2
    assert "pip install mlflow" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_training_is_in_tensorboard_once(tmp_path: Path) -> None:
    words = ["study", *SMALL, "--label-noise", "0", "--out", str(tmp_path), "--log", "tensorboard"]
    out = dwindle(*words)
    assert out.returncode == 0, out.stderr
    assert f"tensorboard {tmp_path / 'tensorboard'}" in out.stdout
    bodies = [json.loads(json.loads(line)["body"]) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    keys = {body["key"] for body in bodies if body["stage"] in ("sweep", "choice", "report")}
    files = {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.rglob("events.*")}
    assert set(files) == keys
    lost = sorted(keys)[0]
    for file in (tmp_path / "tensorboard" / lost).iterdir():
        file.unlink()
    assert dwindle(*words).returncode == 0
    again = {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.rglob("events.*")}
    assert again.pop(lost) > files.pop(lost)
    assert again == files


def test_a_tracker_that_fails_ends_no_study(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").touch()
    out = dwindle("study", *SMALL, "--label-noise", "0", "--out", str(tmp_path), "--log", "tensorboard")
    assert out.returncode == 0, out.stderr
    assert out.stderr.count("tensorboard is given up, the study goes on: NotADirectoryError") == 1
    assert "Traceback" not in out.stderr
    assert (tmp_path / "report.html").exists()


# --- how far it is


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@given(
    found=st.integers(0, 1000), step=st.floats(0.3, 8.0), rate=st.floats(1e-2, 100.0), news=st.integers(2, 60),
)  # fmt: skip
def test_a_pace_is_that_of_what_was_trained(found: int, step: float, rate: float, news: int) -> None:
    """What was found when the stage began does not count; a pace kept up is that pace, and the time left follows."""
    clock = Clock()
    pace = Pace(clock)
    pace.see("sweep", 0)
    pace.see("sweep", found)
    for i in range(1, news + 1):
        clock.now = i * step
        pace.see("sweep", found + i * step * rate)
    assert pace.rate == pytest.approx(rate, rel=1e-6)
    assert pace.left(10.0) == pytest.approx(10.0 / rate, rel=1e-6)
    clock.now += 100 * step
    assert pace.rate < rate / 2  # nothing has come since


@given(slow=st.floats(0.1, 1.0), fast=st.floats(5.0, 50.0))
def test_a_pace_is_the_recent_one(slow: float, fast: float) -> None:
    clock, done = Clock(), 0.0
    pace = Pace(clock)
    pace.see("sweep", 0)
    for rate in (slow, fast):
        for _ in range(50):
            clock.now += 1.0
            done += rate
            pace.see("sweep", done)
    assert pace.rate == pytest.approx(fast)


def test_a_pace_needs_two_points_and_begins_again_with_a_stage() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate is None
    for i in range(5):
        clock.now = float(i)
        pace.see("sweep", 10.0 * i)
    assert pace.rate == pytest.approx(10.0)
    pace.see("choice", 500.0)  # found there
    assert pace.rate is None
    assert pace.left(3.0) is None


PLAN = (
    "peak 3e-3 | warmup 2%, cosine to 0% | decoupled 0.1 | a plan so long that no terminal of 80 columns shows it whole"
)
AT = Progress("20 % label noise", "sweep", 23.5, 157, 0.51804, 2, 12, PLAN)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_the_table_fits_and_says_everything(width: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=False, legacy_windows=False)
    bars = Bars(["clean labels", "20 % label noise", "[bold]odd[/]", "[b]waits"], console)
    bars(AT._replace(setting="clean labels", stage="fit", done=157, best=12345.678))
    bars(AT)
    bars(AT._replace(setting="[bold]odd[/]", plan=None))
    console.print(bars._drawn())
    lines = out.getvalue().rstrip().splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 1 + 4 + 2
    head, clean, noise, odd, waits, *plans = lines
    for word in ("stage", "done", "/s", "left", "loss", "failed", "let go"):
        assert word in head
    assert re.search(r"clean lab.* done .*157/157 +1\.235e\+04 +2 +12$", clean)
    assert re.search(r"20 % lab.* sweep .*23/157 +0\.5180 +2 +12$", noise)
    assert ("━" in noise) == (width >= 76)
    assert odd.startswith("[bold]o")
    assert re.match(r"\[b\]waits +waits", waits)
    assert plans[1].startswith("best of 20 % label noise  peak 3e-3")
    assert plans[1].endswith("…") == (width < 160)


def test_lines_come_with_a_stage_and_every_ten_seconds() -> None:
    clock, said = Clock(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", said)
        with Lines(clock) as lines:
            for i in range(100):
                clock.now = i / 2
                lines(AT._replace(done=float(i)))
            lines(AT._replace(stage="choice", done=100.0))
            lines(AT._replace(stage="choice", done=101.0))
    found = said.getvalue().splitlines()
    counts = [int(re.search(r", (\d+) of 157 trainings", line).group(1)) for line in found]  # type: ignore[union-attr]
    assert counts == [0, 20, 40, 60, 80, 100, 101]  # the last is where it ended
    assert found[2].startswith("20 % label noise: sweep, 40 of 157 trainings, ")
    assert found[2].endswith("best validation loss 0.5180, 2 diverged, 12 let go")
    assert "\x1b" not in said.getvalue()


def test_no_terminal_sees_no_control_codes_and_quiet_says_nothing(tmp_path: Path) -> None:
    words = ["study", *SMALL, "--label-noise", "0", "--out", str(tmp_path)]
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    out = subprocess.run([sys.executable, "-m", "dwindle", *words], capture_output=True, timeout=100, env=environment)
    assert out.returncode == 0
    assert b"\x1b" not in out.stderr
    stages = [line.split(": ")[1].split(",")[0] for line in out.stderr.decode().splitlines()]
    assert list(dict.fromkeys(stages)) == ["sweep", "choice", "report", "fit"]
    assert dwindle(*words, "--quiet").stderr == ""


def in_terminal(words: list[str], interrupt: re.Pattern[bytes] | None = None) -> tuple[int, bytes]:
    """Run the command in a terminal of 80 columns; press Ctrl-C once the screen has had ``interrupt``."""
    terminal, inside = pty.openpty()
    owned = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"  # so that Ctrl-C reaches it
    owned += "; import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)"  # a job in the background is deaf to it
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    child = subprocess.Popen(
        [sys.executable, "-c", f"{owned}; {DWINDLE}", *words], stdin=inside, stdout=inside, stderr=inside,
        start_new_session=True, env=environment | {"TERM": "xterm-256color", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(inside)
    screen, deadline = b"", time.monotonic() + 90
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            new = os.read(terminal, 65536)
        except OSError:  # how a terminal ends on Linux
            break
        if not new:
            break
        screen += new
        if interrupt is not None and interrupt.search(screen):
            os.write(terminal, b"\x03")
            interrupt = None
    os.close(terminal)
    return child.wait(60), screen


FORGOTTEN = """
import signal, sys, time, weakref
import dwindle.cli

app = sys.modules["dwindle.cli.app"]

class Ends: pass

def interrupted(plan):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here = Ends()
    gone = weakref.ref(here, lambda _: signal.raise_signal(signal.SIGINT))
    del here  # the interrupt comes in the callback, where Python prints it and goes on
    time.sleep(30)

app._plan = interrupted
app.main(sys.argv[1:])
"""


def test_an_interrupt_that_python_would_forget_comes_again() -> None:
    out = subprocess.run(
        [sys.executable, "-c", FORGOTTEN, "show", "peak 1"], capture_output=True, text=True, timeout=60
    )
    assert out.returncode == 130, out.stderr
    assert out.stderr == "dwindle: interrupted; finished trainings are kept, the same command goes on.\n"


TURNED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import dwindle.cli

app = sys.modules["dwindle.cli.app"]

def interrupted(plan):
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        raise {error} from None

app._plan = interrupted
app.main(sys.argv[1:])
"""


@pytest.mark.parametrize("error", ["SystemError('returned a result with an exception set')", "app.DwindleError('no')"])
def test_an_interrupt_that_a_library_makes_another_error_of_is_an_interrupt(error: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", TURNED.format(error=error), "show", "peak 1"], capture_output=True, text=True, timeout=60
    )
    assert out.returncode == 130, out.stderr
    assert out.stderr == "dwindle: interrupted; finished trainings are kept, the same command goes on.\n"


@pytest.mark.slow
def test_a_terminal_shows_one_table_and_ctrl_c_leaves_it_clean(tmp_path: Path) -> None:
    words = ["study", "--hidden", "16", "--epochs", "40", "--seeds", "2", "--out", str(tmp_path)]
    code, screen = in_terminal(words, re.compile(rb"best of clean labels"))
    assert code == 130, screen[-2000:].decode(errors="replace")
    assert screen.count(b"\x1b[?25l") == screen.count(b"\x1b[?25h") == 1, "the cursor is hidden once and shown again"
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen[screen.rindex(b"task  ") :].decode())
    assert re.search(r"clean labels +sweep .* [1-9]\d*/\d+ ", last)
    assert "best of clean labels  peak" in last
    assert last.rstrip().endswith("the same command goes on.")
    assert "Traceback" not in last
