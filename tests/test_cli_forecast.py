"""``dwindle forecast``: what it says in 80 columns and as JSON is what the laws say, and what it refuses."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle.cli.runs import Columns, sources
from dwindle.laws import LAWS, Fitted, Run, decay_curves, fit
from dwindle.laws.features import warmup
from test_report import Reader

CURVES = Path(__file__).resolve().parents[2] / "shared" / "curves" / "multipowerlaw" / "csv_100"
CONSTANT = "peak 1e-3 | constant"
STEPS = 10_000


def truth(steps: Any) -> Any:
    """The loss of the logs written here; a constant rate, so that the plan alone tells it."""
    return 2.0 + (np.asarray(steps) / 1000.0) ** -0.5


def table(folder: Path, name: str, header: str, *columns: Sequence[Any]) -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    rows = [
        ",".join("" if cell is None else f"{cell!r}" for cell in map(plain, row)) for row in zip(*columns, strict=True)
    ]
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def plain(cell: Any) -> float | None:
    return None if cell is None or np.isnan(cell) else float(cell)


@pytest.fixture
def constant(tmp_path: Path) -> str:
    steps = np.arange(0, STEPS + 1, 250)[1:]
    return table(tmp_path, "constant.csv", "step,lr,loss", steps, np.full(40, 1e-3), truth(steps))


@pytest.fixture
def decayed(tmp_path: Path) -> str:
    steps = np.arange(0, STEPS + 1, 250)[1:]
    lrs = dw.parse("peak 1e-3 | cosine to 10%").lrs(STEPS + 1)[steps]
    return table(tmp_path, "decayed.csv", "step,lr,loss", steps, lrs, truth(steps) - 0.2 * (1 - lrs / 1e-3))


def fitted_alone(*paths: str) -> Fitted:
    """The law of these logs, fitted without the command."""
    columns = [(Path(path).stem, np.loadtxt(path, delimiter=",", skiprows=1).T) for path in paths]
    return fit([Run.logged(*each, name=name) for name, each in columns])


@pytest.fixture
def run(dwindle: Any) -> Any:
    """Run `dwindle forecast` and return exit code, stdout and stderr."""

    def forecast(*words: str) -> tuple[int, str, str]:
        code, out, err = dwindle("forecast", *words)
        own = [line for line in out.splitlines() if not line.startswith(("{", "page "))]  # a path is not broken
        assert all(len(line) <= 80 for line in own), out
        return code, out, err

    return forecast


def answer(run: Any, *words: str) -> Any:
    code, out, err = run(*words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def flat(text: str) -> str:
    return " ".join(text.split())


# --- the answer is that of the laws


def test_json_is_what_the_laws_say_of_the_same_numbers(run: Any, constant: str, decayed: str) -> None:
    plan = "peak 1e-3 | linear to 0"
    said = answer(run, constant, decayed, "--plan", plan, "--steps", "12000")
    fitted = fitted_alone(constant, decayed)
    want = fitted.predict(dw.parse(plan).lrs(12_000))
    (got,) = said["forecasts"]
    for key, values in (("steps", want.step), ("loss", want.loss), ("lower", want.lower), ("upper", want.upper)):
        np.testing.assert_allclose(got[key], values, rtol=1e-12)
    assert (got["supported"], got["why"], got["horizon"]) == (want.supported, want.why, 12_000)
    assert got["final"] == {key: got[key][-1] for key in ("loss", "lower", "upper")}
    assert got["plan"] == str(dw.parse(plan))
    assert said["law"] == "noise-floor"
    assert said["parameters"] == pytest.approx(fitted.parameters)
    assert [log["error"] for log in said["logs"]] == pytest.approx(list(fitted.error.values()))
    assert said["notes"] == list(fitted.notes)
    assert said["ranking"] == [{"forecast": 0, "behind": None, "half": None, "distinguishable": None}]
    assert said["logs"][0]["columns"] == {"step": "step", "lr": "lr", "loss": "loss"}
    assert (said["logs"][0]["points"], said["logs"][0]["steps"], said["logs"][0]["peak"]) == (40, [250, STEPS], 1e-3)


def test_a_longer_run_of_the_same_kind_is_forecast(run: Any, constant: str) -> None:
    (got,) = answer(run, constant, "--plan", CONSTANT, "--steps", str(2 * STEPS))["forecasts"]
    assert got["supported"]
    assert got["final"]["lower"] < truth(2 * STEPS) < got["final"]["upper"]
    assert got["final"]["loss"] == pytest.approx(truth(2 * STEPS), abs=0.01)


def test_times_asked_for_are_answered_and_the_end(run: Any, constant: str) -> None:
    words = (constant, "--plan", CONSTANT, "--at", "5000,25%,5000st", "--steps", "8000")
    (got,) = answer(run, *words)["forecasts"]
    assert got["steps"] == [2000, 5000, 8000]
    np.testing.assert_allclose(got["loss"], truth(got["steps"]), atol=0.01)
    rows = [line.split() for line in run(*words)[1].splitlines()]
    for step, loss in zip(got["steps"], got["loss"], strict=True):
        (row,) = [row for row in rows if row[:1] == [f"{step:,}"]]
        assert float(row[1]) == pytest.approx(loss, abs=1e-3)


@pytest.mark.parametrize("zero", ["0", "0st", "0%", "0ep", "0tok"])
def test_no_time_is_no_time_in_any_unit(zero: str, run: Any, constant: str) -> None:
    (got,) = answer(run, constant, "--plan", CONSTANT, "--at", f"{zero},5000")["forecasts"]
    assert got["steps"] == [0, 5000, STEPS]


@pytest.mark.parametrize("law", [name for name in LAWS if name in ("multi-power", "power")])
def test_the_law_is_chosen(law: str, run: Any, constant: str) -> None:
    assert answer(run, constant, "--plan", CONSTANT, "--law", law)["law"] == law
    assert f"law         {law};" in run(constant, "--plan", CONSTANT, "--law", law)[1]


def test_a_plan_may_be_a_file(run: Any, constant: str, tmp_path: Path) -> None:
    path = dw.parse("peak 1e-3 | cosine to 10%")
    from dwindle.text import save

    file = save(path, tmp_path / "plan.toml")
    assert answer(run, constant, "--plan", str(file))["forecasts"][0]["plan"] == str(path)


# --- what is read of a log


def test_validation_losses_between_training_losses(run: Any, tmp_path: Path) -> None:
    """Rates stand where a training loss was logged, the validation loss in rows of its own, the last one after all rates."""
    steps = np.arange(1, 401) * 25
    held = [i % 10 == 9 for i in range(400)]
    lrs = [None if own else 1e-3 for own in held]
    train = [None if own else truth(s) - 0.5 for s, own in zip(steps, held, strict=True)]
    valid = [truth(s) if own else None for s, own in zip(steps, held, strict=True)]
    path = table(tmp_path, "a.csv", "iter,lr,train_loss,val_loss", steps, lrs, train, valid)
    said = answer(run, path, "--plan", CONSTANT)
    assert said["logs"][0]["points"] == 40
    assert said["forecasts"][0]["horizon"] == STEPS
    assert said["forecasts"][0]["final"]["loss"] == pytest.approx(truth(STEPS), abs=0.01)
    assert said["logs"][0]["notes"] == ["the validation loss 'val_loss' was read, not 'train_loss'"]
    assert not any("finite" in note for note in said["notes"])
    trained = answer(run, path, "--plan", CONSTANT, "--loss", "train_loss")
    assert trained["forecasts"][0]["final"]["loss"] == pytest.approx(truth(STEPS) - 0.5, abs=0.01)


def test_columns_are_named_on_the_command_line(run: Any, tmp_path: Path, constant: str) -> None:
    text = Path(constant).read_text().replace("step,lr,loss", "tick,rate,cost", 1)
    (tmp_path / "named.csv").write_text(text)
    words = ["--step", "tick", "--lr", "rate", "--loss", "cost", "--plan", CONSTANT]
    named = answer(run, str(tmp_path / "named.csv"), *words)
    assert named["forecasts"] == answer(run, constant, "--plan", CONSTANT)["forecasts"]


def late(folder: Path) -> str:
    """A log that begins after a warm-up of 2000 steps; its loss tells how far the run has gone, warm-up and all."""
    steps = np.arange(2000, STEPS + 1, 200)
    return table(folder, "late.csv", "step,lr,loss", steps, np.full(len(steps), 1e-3), truth(steps - 1000.0))


def test_a_warm_up_that_the_log_lacks_is_asked_for_and_taken(run: Any, tmp_path: Path) -> None:
    path = late(tmp_path)
    plan = "peak 1e-3 | warmup 2000st, constant"
    bare = answer(run, path, "--plan", plan)
    assert bare["logs"][0]["notes"][0].startswith("the rates before step 2,000 are not in the log: 0.001 was taken")
    none = answer(run, path, "--plan", plan, "--warmup", "0")
    assert (none["forecasts"], none["logs"][0]["notes"]) == (bare["forecasts"], [])  # as asked
    told = answer(run, path, "--plan", plan, "--warmup", "2000")
    planned = answer(run, path, "--plan", plan, "--log-plan", plan)
    assert told["logs"][0]["notes"] == planned["logs"][0]["notes"] == []
    for said in (told, planned):
        assert said["forecasts"][0]["final"]["loss"] == pytest.approx(truth(STEPS - 1000), abs=1e-3)
    assert abs(bare["forecasts"][0]["final"]["loss"] - truth(STEPS - 1000)) > 1e-3


def test_a_warm_up_that_the_log_shows_is_not_taken_twice(run: Any, tmp_path: Path) -> None:
    steps = np.arange(0, STEPS + 1, 100)
    lrs = np.minimum(steps / 1000.0, 1.0) * 1e-3
    path = table(tmp_path, "shown.csv", "step,lr,loss", steps, lrs, truth(steps + 100))
    plan = "peak 1e-3 | warmup 1000st, constant"
    shown, told = (answer(run, path, "--plan", plan, *more) for more in ([], ["--warmup", "1000"]))
    assert shown["forecasts"] == told["forecasts"]
    assert told["logs"][0]["notes"] == []


def test_a_warm_up_that_the_log_shows_in_part(tmp_path: Path) -> None:
    lrs, steps = dw.parse("peak 1e-3 | warmup 1000st, constant").lrs(STEPS + 1), np.arange(500, STEPS + 1, 500)
    path = table(tmp_path, "part.csv", "step,lr,loss", steps, lrs[steps], truth(steps))
    (source,) = sources([Path(path)], Columns(None, None, None), [], 1000, None)
    np.testing.assert_allclose(source.run.lr, lrs, rtol=1e-12)
    assert source.notes == []


def test_a_log_is_believed_against_a_warm_up(run: Any, constant: str) -> None:
    bare, told = (answer(run, constant, "--plan", CONSTANT, *more) for more in ([], ["--warmup", "2000"]))
    note = "the rate at step 250 is 0.001 in the log, not that of --warmup 2000: the log is believed"
    assert (bare["logs"][0]["notes"], told["logs"][0]["notes"]) == ([], [note])


def test_a_fall_between_two_points_is_said_and_a_plan_of_the_log_is_exact(run: Any, tmp_path: Path) -> None:
    rates = dw.parse("peak 1e-3 | step by 0.3 every 5001st").lrs(STEPS)
    steps = np.arange(500, STEPS, 500)
    path = table(tmp_path, "falls.csv", "step,lr,loss", steps, rates[steps], truth(steps) - 0.1 * (rates[steps] < 1e-3))
    noted = answer(run, path, "--plan", CONSTANT)
    assert "the rate falls from 0.001 to 0.0003 between steps 5,000 and 5,500" in noted["logs"][0]["notes"][0]
    exact = answer(run, path, "--plan", CONSTANT, "--log-plan", "peak 1e-3 | step by 0.3 every 5001st")
    assert exact["logs"][0]["notes"] == []
    want = fit(Run(rates[: steps[-1]], steps, np.loadtxt(path, delimiter=",", skiprows=1)[:, 2])).parameters
    assert exact["parameters"] == pytest.approx(want, rel=1e-9)


def test_a_fall_after_the_last_loss_is_nobodys_business(run: Any, constant: str) -> None:
    """Some trainers log a rate of 0 once they are done."""
    with Path(constant).open("a") as file:
        file.write("10010,0.0,\n")
    assert answer(run, constant, "--plan", CONSTANT)["logs"][0]["notes"] == []


def test_a_plan_of_the_log_may_be_a_step_off(run: Any, tmp_path: Path) -> None:
    """Some trainers log the rate of the step that was done, some of the next; over a short warm-up that is much."""
    steps, plan = np.arange(1, 61) * 5, "peak 1e-3 | warmup 50st, constant"
    rates = dw.parse(plan).lrs(304)
    for shift, code in ((-1, 0), (0, 0), (1, 0), (3, 2)):
        path = table(tmp_path, f"by{shift}.csv", "step,lr,loss", steps, rates[steps + shift], truth(steps))
        assert run(path, "--plan", CONSTANT, "--log-plan", plan)[0] == code


def test_a_plan_of_the_log_needs_no_rates_in_it(run: Any, tmp_path: Path) -> None:
    steps = np.arange(250, STEPS + 1, 250)
    path = table(tmp_path, "bare.csv", "step,loss", steps, truth(steps))
    said = answer(run, path, "--plan", CONSTANT, "--log-plan", CONSTANT)
    assert said["logs"][0]["columns"]["lr"] is None
    assert run(path, "--plan", CONSTANT)[0] == 2


def test_one_plan_for_each_log_in_their_order(run: Any, constant: str, decayed: str) -> None:
    one, other = ("--log-plan", "peak 1e-3 | constant"), ("--log-plan", "peak 1e-3 | cosine to 10%")
    assert run(constant, decayed, "--plan", CONSTANT, *one, *other)[0] == 0
    code, _, err = run(constant, decayed, "--plan", CONSTANT, *other, *one)
    assert code == 2
    assert "--log-plan gives the rate" in err
    assert run(constant, decayed, "--plan", CONSTANT, *one)[0] == 2  # the one is not the other's
    assert "3 --log-plan for 2 logs" in run(constant, decayed, "--plan", CONSTANT, *one, *one, *one)[2]


def test_logs_of_one_name_are_told_apart_by_their_path(run: Any, tmp_path: Path, constant: str) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "constant.csv"
    other.write_text(Path(constant).read_text())
    names = [log["name"] for log in answer(run, constant, str(other), "--plan", CONSTANT)["logs"]]
    assert names == [constant, str(other)]


# --- what is said


def test_the_answer_in_80_columns(run: Any, constant: str, decayed: str) -> None:
    code, out, err = run(constant, decayed, "--plan", "peak 1e-3 | linear to 0 | decoupled 0.1")
    assert (code, err) == (0, "")
    (got,) = answer(run, constant, decayed, "--plan", "peak 1e-3 | linear to 0 | decoupled 0.1")["forecasts"]
    final = re.search(r"final loss +([\d.]+), 90 % interval ([\d.]+) to ([\d.]+)", out)
    assert final is not None
    half = (got["final"]["upper"] - got["final"]["lower"]) / 2
    for text, key in zip(final.groups(), ("loss", "lower", "upper"), strict=True):
        assert float(text) == pytest.approx(got["final"][key], abs=0.05 * half)
    assert "log 1       constant" in out
    assert "40 points of step, lr, loss; steps 250 to 10,000; peak 0.001" in out
    assert "supported: within what the fitted runs have seen" in out
    assert "NOT SUPPORTED" not in out
    assert "over 10,000 steps, as the longest log" in flat(out)
    assert "decoupled 0.1 is not read" in flat(out)
    for word in LAWS["noise-floor"].parameters:
        assert word.name in out


def test_the_picture_falls_as_the_losses_do(run: Any, constant: str) -> None:
    out = run(constant, "--plan", CONSTANT, "--steps", str(2 * STEPS))[1]
    lines = {line[:12].strip(): line[12:68] for line in out.splitlines() if re.search("[▁▂▃▄▅▆▇█]", line)}
    assert set(lines) >= {"log", "fitted", "plan", "± 90 %"}
    for name in ("log", "fitted", "plan"):
        blocks = lines[name].strip()
        assert list(blocks) == sorted(blocks, reverse=True)
        assert blocks[0] == "█"
    assert lines["log"][28:].strip() == ""  # the log is half as long as the plan
    assert lines["plan"].rstrip()[-1] == "▁"
    assert len(lines["plan"].rstrip()) == 56


def test_what_is_not_supported_is_said_first(run: Any, constant: str) -> None:
    plan = "peak 1e-2 | constant"
    code, out, _ = run(constant, "--plan", plan)
    assert code == 0
    why = answer(run, constant, "--plan", plan)["forecasts"][0]["why"]
    assert "peak" in why
    assert flat(out).startswith(f"NOT SUPPORTED: {why}. The figures are a guess.")
    assert "not supported: see above" in out


def test_plans_are_compared(run: Any, constant: str, decayed: str) -> None:
    plans = [
        "peak 1e-3 | constant",
        "peak 1e-3 | cosine to 10%",
        "peak 1e-3 | cosine to 11%",
        "peak 3e-3 | cosine to 10%",
    ]
    words = [constant, decayed, *(word for plan in plans for word in ("--plan", plan))]
    code, out, _ = run(*words)
    assert code == 0
    said = answer(run, *words)
    finals = [got["final"] for got in said["forecasts"]]
    fitted = fitted_alone(constant, decayed)
    assert [got["supported"] for got in said["forecasts"]] == [True, True, True, False]
    ranking = [(rank["forecast"], rank["distinguishable"]) for rank in said["ranking"]]
    assert ranking == [(1, None), (2, False), (0, True), (3, None)]
    assert finals[3]["loss"] < finals[1]["loss"]  # the lowest is a guess, and nothing is compared with it
    assert [rank["behind"] is None for rank in said["ranking"]] == [True, False, False, True]
    lines = out.partition("final loss, lowest first, and how much higher than the first, ± 90 %\n")[2].splitlines()
    assert [line.split()[1] for line in lines] == ["2", "3", "1", "4"]
    for line, rank, verdict in zip(
        lines[1:3], said["ranking"][1:3], ("not distinguishable from", "higher than"), strict=True
    ):
        behind = finals[rank["forecast"]]["loss"] - finals[1]["loss"]
        assert rank["behind"] == pytest.approx(behind, rel=1e-9)
        lower, half = fitted.difference(*(dw.parse(plans[i]).lrs(STEPS) for i in (1, rank["forecast"])))
        assert (rank["behind"], rank["half"]) == pytest.approx((lower, half), rel=1e-9)
        assert (behind > rank["half"]) == (verdict == "higher than")
        figures = re.search(rf"([\d.]+) ±([\d.]+), {verdict} plan 2$", line)
        assert figures is not None
        assert float(figures[1]) == pytest.approx(behind, abs=0.06 * rank["half"])
        assert float(figures[2]) == pytest.approx(rank["half"], rel=0.06)
    assert lines[3].endswith("not supported, and not compared")
    assert flat(out).startswith("NOT SUPPORTED for plan 4: ")


def test_plans_are_told_apart_by_the_interval_of_their_difference(run: Any, constant: str, decayed: str) -> None:
    words = [word for end in range(10, 60, 2) for word in ("--plan", f"peak 1e-3 | cosine to {end}%")]
    first, *others = answer(run, constant, decayed, *words)["ranking"]
    assert (first["behind"], first["half"], first["distinguishable"]) == (None, None, None)
    shares = [rank["behind"] / rank["half"] for rank in others]
    assert [rank["distinguishable"] for rank in others] == [share > 1.0 for share in shares]
    assert any(0.7 < share < 1.0 for share in shares)
    assert any(1.0 < share < 1.4 for share in shares)


def test_long_and_strange_names_stay_within_80_columns(run: Any, tmp_path: Path, constant: str) -> None:
    path = tmp_path / f"{'long-' * 40}\x1b[31m.csv"
    path.write_text(Path(constant).read_text())
    _, out, _ = run(str(path), "--plan", CONSTANT)
    assert "\x1b" not in out


# --- the page


def test_the_page_says_and_draws_what_the_command_says(run: Any, constant: str, decayed: str, tmp_path: Path) -> None:
    plans = ["peak 1e-3 | cosine to 10%", "peak 1e-3 | constant", "peak 1e-2 | linear to 0 | decoupled 0.1"]
    words = [constant, decayed, *(word for plan in plans for word in ("--plan", plan)), "--at", "5000"]
    page = tmp_path / "page.html"
    page.write_text("old")
    code, out, err = run(*words, "--html", str(page))
    assert (code, err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["constant.csv", "decayed.csv", "page.html"]
    assert flat(out).endswith(f"page {page}")
    assert out.startswith(run(*words)[1].rstrip("\n"))  # the terminal says what it says without a page
    said = answer(run, *words, "--html", str(page))
    found = Reader(page.read_text())
    text = found.text.replace("\u00a0", " ")
    for got in said["forecasts"]:
        half = (got["final"]["upper"] - got["final"]["lower"]) / 2
        figures = re.search(rf"{re.escape(got['plan'])} ([\d.]+) 90 % interval ([\d.]+) to ([\d.]+)", text)
        assert figures is not None, got["plan"]
        for figure, key in zip(figures.groups(), ("loss", "lower", "upper"), strict=True):
            assert float(figure) == pytest.approx(got["final"][key], abs=0.06 * half)
    assert f"not supported : {said['forecasts'][2]['why']}. The figures are a guess." in text
    assert "decoupled 0.1 is not read" in text
    rank = said["ranking"][1]
    assert f"higher than plan {said['ranking'][0]['forecast'] + 1} by {rank['behind']:.4f}"[:-1] in text
    lines = {line["label"]: line for line in found.data()["charts"]["loss"]["lines"]}
    fitted = fitted_alone(constant, decayed)
    whole = fitted.predict(dw.parse(plans[0]).lrs(STEPS))
    drawn = lines["plan 1"]
    assert drawn["x"] == whole.step.tolist()
    for key, values in (("y", whole.loss), ("lower", whole.lower), ("upper", whole.upper)):
        np.testing.assert_allclose(drawn[key], values, rtol=1e-5)
    law = lines["the law on log 2"]
    np.testing.assert_allclose(law["y"], fitted.loss(fitted.runs[1].lr, np.array(law["x"])), rtol=1e-5)
    dots = np.array([lines["log 1 constant"]["x"], lines["log 1 constant"]["y"]])
    np.testing.assert_allclose(dots[1], truth(dots[0]), rtol=1e-5)


def test_the_page_says_how_to_make_it_again(run: Any, constant: str, tmp_path: Path) -> None:
    page = tmp_path / "a page.html"
    words = [constant, "--plan", CONSTANT, "--plan", "peak 1e-3 | linear to 0", "--steps", "9000", "--html", str(page)]
    assert run(*words)[0] == 0
    (command,) = re.findall(r'id="command">([^<]*)<', page.read_text())
    before = Reader(page.read_text()).data()
    assert run(*shlex.split(unescape(command))[2:])[0] == 0
    assert shlex.split(unescape(command))[:2] == ["dwindle", "forecast"]
    assert Reader(page.read_text()).data() == before


def test_names_and_notes_of_logs_come_to_nothing_on_the_page(run: Any, tmp_path: Path, constant: str) -> None:
    name = "<img src=x onerror=alert(1)>"
    path = tmp_path / f"{name}.csv"
    path.write_text(Path(constant).read_text().replace("step,lr,loss", '"step","lr","<i>loss"'))
    page = tmp_path / "page.html"
    assert run(str(path), "--plan", CONSTANT, "--loss", "<i>loss", "--html", str(page))[0] == 0
    found = Reader(page.read_text())
    assert not {"img", "i"} & {tag for tag, _ in found.skeleton}
    assert name in found.text
    assert "<i>loss" in found.text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("LOG", "--html is LOG, which is read or written already; name a file of its own."),
        ("absent/page.html", "--html: the page ("),
    ],
)
def test_a_page_that_cannot_be_written(file: str, said: str, run: Any, constant: str, tmp_path: Path) -> None:
    before = Path(constant).read_text()
    target = constant if file == "LOG" else str(tmp_path / file)
    code, out, err = run(constant, "--plan", CONSTANT, "--html", target)
    assert (code, out) == (2, "")
    assert said.replace("LOG", constant) in err
    assert Path(constant).read_text() == before


# --- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["LOG"], "Missing option '--plan'"),
        (["absent.csv", "--plan", CONSTANT], "absent.csv: cannot be read"),
        (["LOG", "LOG", "--plan", CONSTANT], "is given twice"),
        (["LOG", "--plan", "peak 1 | cosin"], "--plan: "),
        (["LOG", "--plan", "absent.toml"], "absent.toml"),
        (["LOG", "--plan", "peak 0"], "--plan peak 0 | constant: "),
        (["LOG", "--plan", "peak 1 | warmup 1ep, constant"], "1ep needs to know steps_per_epoch; add --steps-per-epoch K."),
        (["LOG", "--plan", "peak 1 | warmup 1e6tok, constant"], "write it in steps or %."),
        (["LOG", "--plan", CONSTANT, "--steps", "1"], "--steps must be at least 2"),
        (["LOG", "--plan", CONSTANT, "--steps", "1000000000000"], "Give optimiser steps, not tokens"),
        (["LOG", "--plan", CONSTANT, "--warmup", "-1"], "--warmup must be at least 0"),
        (["LOG", "--plan", CONSTANT, "--law", "multipower"], "did you mean 'multi-power'"),
        (["LOG", "--plan", CONSTANT, "--at", "soon"], "--at: 'soon' is not a time"),
        (["LOG", "--plan", CONSTANT, "--at", "10001"], "--at must be from 0 to the 10000 steps of the plan; got 10001."),
        (["LOG", "--plan", CONSTANT, "--loss", "los"], "no column 'los'; did you mean 'loss'"),
        (["LOG", "--plan", CONSTANT, "--log-plan", "peak 2e-3"], "at step 250 and the log says 0.001. Correct the plan"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str, run: Any, constant: str) -> None:
    code, out, err = run(*(constant if word == "LOG" else word for word in words))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_logs_that_cannot_be_used(run: Any, tmp_path: Path, constant: str) -> None:
    steps = np.arange(1, 41) * 250
    other = table(tmp_path, "other.csv", "step,lr,val_loss", steps, np.full(40, 1e-3), truth(steps))
    assert "not the same loss" in run(constant, other, "--plan", CONSTANT)[2]
    tokens = table(tmp_path, "tokens.csv", "step,lr,loss", steps * 1_000_000, np.full(40, 1e-3), truth(steps))
    assert "Are these examples or tokens?" in run(tokens, "--plan", CONSTANT)[2]
    few = table(tmp_path, "few.csv", "step,lr,loss", steps[:3], np.full(3, 1e-3), truth(steps[:3]))
    assert "few: 3 points were usable" in run(few, "--plan", CONSTANT)[2]
    steps = np.arange(250, STEPS + 1, 250)
    held = np.where(steps % 3000 == 0, truth(steps), np.nan)
    both = table(tmp_path, "both.csv", "step,lr,val_loss,train_loss", steps, np.full(40, 1e-3), held, truth(steps))
    said = "The validation loss 'val_loss' was read, not 'train_loss': --loss COLUMN names another."
    assert said in flat(run(both, "--plan", CONSTANT)[2])
    endless = table(tmp_path, "endless.csv", "step,lr,loss", [*steps, np.inf], np.full(41, 1e-3), truth([*steps, 1e9]))
    assert "endless: column 'step' holds inf" in run(endless, "--plan", CONSTANT)[2]
    apart = table(tmp_path, "apart.csv", "step,lr,loss", [1, None], [None, 1.0], [3.0, 2.0])
    assert "no row has both a step and a learning rate" in run(apart, "--plan", CONSTANT)[2]


# --- a published run


@pytest.mark.skipif(not CURVES.exists(), reason=f"the curves are not at {CURVES}")
def test_a_published_cosine_run_ends_in_the_interval(run: Any) -> None:
    logs = [str(CURVES / f"{name}.csv") for name in ("constant_24000", "wsdcon_9")]
    plan = "peak 3e-4 | warmup 2160st, cosine to 10%"
    (got,) = answer(run, *logs, "--plan", plan, "--steps", "24000", "--warmup", "2160", "--at", "23920")["forecasts"]
    logged = np.loadtxt(CURVES / "cosine_24000.csv", delimiter=",", skiprows=1)[-1]
    assert (got["steps"][0], got["supported"]) == (logged[0], True)
    assert got["lower"][0] < logged[2] < got["upper"][0]


def test_a_rise_that_the_log_shows_is_taken_back_to_0(run: Any, tmp_path: Path) -> None:
    """The log begins amid a warm-up of 2000 steps; what it lacks follows from its first points."""
    plan = "peak 1e-3 | warmup 2000st, constant"
    lrs, steps = dw.parse(plan).lrs(STEPS + 1), np.arange(500, STEPS + 1, 250)
    path = table(tmp_path, "amid.csv", "step,lr,loss", steps, lrs[steps], truth(steps))
    (source,) = sources([Path(path)], Columns(None, None, None), [], None, None)
    np.testing.assert_allclose(source.run.lr, lrs, rtol=1e-12, atol=1e-18)
    assert source.notes == []  # not that the first rate was taken
    said = answer(run, path, "--plan", plan)
    note = "the rates before step 500 are not in the log: the rise of its first points was taken back to 0 at step 0"
    assert any(note in each for each in said["notes"])
    assert note in flat(run(path, "--plan", plan)[1])
    assert said["forecasts"] == answer(run, path, "--plan", plan, "--warmup", "2000")["forecasts"]
    bare = answer(run, path, "--plan", plan, "--warmup", "0")
    assert bare["forecasts"] != said["forecasts"]
    assert not any("not in the log" in each for each in bare["notes"] + bare["logs"][0]["notes"])


@pytest.mark.parametrize(("from_step", "first"), [(200.0, 0.0), (-500.0, 1e-3 * 500 / 2500)])
def test_a_rise_is_taken_back_no_further_than_step_0(from_step: float, first: float, tmp_path: Path) -> None:
    every = np.arange(STEPS + 1)
    lrs = 1e-3 * ((every - from_step) / (2000.0 - from_step)).clip(0.0, 1.0)
    steps = np.arange(500, STEPS + 1, 250)
    path = table(tmp_path, "later.csv", "step,lr,loss", steps, lrs[steps], truth(steps))
    (source,) = sources([Path(path)], Columns(None, None, None), [], None, None)
    np.testing.assert_allclose(source.run.lr, lrs, rtol=1e-9, atol=1e-18)
    assert source.run.lr[0] == pytest.approx(first)
    assert warmup(source.run.lr) == 2000  # from dwindle.laws.features, standing at 0 included


# Weight decay, and logs of a like model


@pytest.fixture(scope="module")
def two_lambdas(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three of the shipped curves as logs, with their plans: words of the command line."""
    folder, words = tmp_path_factory.mktemp("lambdas"), list[str]()
    for curve in decay_curves():
        kept = {(0.03, "constant"), (2.0, "constant"), (0.5, "cosine to 10%")}
        if curve.peak == 4e-3 and (curve.lam, curve.schedule.partition(", ")[2]) in kept:
            name, run = f"{len(words)}.csv", curve.run
            lrs = run.lr[np.minimum(run.step, len(run.lr) - 1)]
            path = table(folder, name, "step,lr,loss", run.step, lrs, run.loss)
            words += [path, "--log-plan", f"peak 4e-3 | {curve.schedule} | decoupled {curve.lam}"]
    assert len(words) == 9
    return words


def test_plans_of_another_decay_are_told_apart_where_the_logs_tell_of_it(run: Any, two_lambdas: list[str]) -> None:
    plans = [f"peak 4e-3 | warmup 100st, cosine to 0 | decoupled {lam}" for lam in (1, 0.1)]
    words = [*two_lambdas, *(word for plan in plans for word in ("--plan", plan))]
    said = answer(run, *words)
    assert said["law"] == "decay-aware"
    assert [rank["forecast"] for rank in said["ranking"]] == [1, 0]
    assert said["ranking"][1]["distinguishable"]
    best = said["forecasts"][0]["best_decay"]
    assert best["distinguishable"]
    assert best["low"] <= best["best"] <= best["high"] < 1.0
    out = flat(run(*words)[1])
    assert f"weight decay: {best['said']}" in out
    assert "is not read" not in out


def test_plans_given_for_their_rates_say_nothing_of_decay(run: Any, constant: str, decayed: str) -> None:
    plans = ["--log-plan", CONSTANT, "--log-plan", "peak 1e-3 | cosine to 10%", "--steps", str(STEPS)]
    said = answer(run, constant, decayed, *plans, "--plan", "peak 1e-3 | linear to 0 | decoupled 0.1")
    assert (said["law"], said["forecasts"][0]["supported"]) == ("noise-floor", True)
    plans[1] += " | decoupled 0.3"
    plans[3] += " | decoupled 0.3"
    other = answer(run, constant, decayed, *plans, "--plan", "peak 1e-3 | linear to 0 | decoupled 0.1")
    assert "weight decay" in other["forecasts"][0]["why"]
    same = answer(run, constant, decayed, *plans, "--plan", "peak 1e-3 | linear to 0 | decoupled 0.3")
    assert same["forecasts"][0]["supported"]


def test_logs_of_a_like_model_are_read_for_their_exponents(
    run: Any, constant: str, decayed: str, tmp_path: Path
) -> None:
    steps = np.arange(250, STEPS + 1, 250)
    small = table(tmp_path, "small.csv", "step,lr,loss", steps, np.full(40, 1e-3), truth(steps) + 0.7)
    plan = ["--plan", "peak 1e-3 | linear to 0"]
    said = answer(run, decayed, "--like", small, "--like", constant, *plan)
    assert "the exponents are expected where 2 runs of a like model have them" in said["notes"]
    assert said["forecasts"][0]["loss"] != answer(run, decayed, *plan)["forecasts"][0]["loss"]
    for words, why in (
        ([decayed, "--like", decayed], "one of the logs to fit"),
        ([decayed, "--like", small, "--law", "multi-power"], "--like: like goes with the law noise-floor"),
    ):
        code, _, err = run(*words, *plan)
        assert (code, why in err) == (2, True)
