"""``dwindle optimize``: what it recommends in 80 columns and as JSON is what the laws say, and what it refuses."""

from __future__ import annotations

import json
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle.cli import main
from dwindle.laws import Fitted, Run, fit
from dwindle.laws import optimize as best_schedule
from dwindle.text import load
from test_cli_forecast import CURVES, flat, table
from test_laws_fit import T, runs
from test_report import Reader

HORIZON = 20_000
RISE = ("--warmup", "300")  # the logs begin at step 100, amid it
NUMBERS = ["loss", "gain", "half", "behind"]


def log(folder: Path, name: str) -> str:
    (run,) = runs("noise-floor", (name,), noise=0.002)
    return table(folder, f"{name}.csv", "step,lr,loss", run.step, run.lr[np.minimum(run.step, T - 1)], run.loss)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("logs")
    return [log(folder, "constant"), log(folder, "wsd")]


@pytest.fixture(scope="module")
def usual(logs: list[str]) -> Any:
    """The JSON of the command without further options."""
    with redirect_stdout(StringIO()) as out, pytest.raises(SystemExit):
        main(["optimize", *logs, *RISE, "--horizon", str(HORIZON), "--json"])
    return json.loads(out.getvalue())


@pytest.fixture
def run(dwindle: Any) -> Any:
    """Run a command of `dwindle` and return exit code, stdout and stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        code, out, err = dwindle(*words)
        own = [line for line in out.splitlines() if words[0] != "show" and not line.startswith("{") and "/" not in line]
        assert all(len(line) <= 80 for line in own), out
        return code, out, err

    return command


def answer(run: Any, *words: str, command: str = "optimize") -> Any:
    code, out, err = run(command, *words, "--json")
    assert (code, err) == (0, "")
    return json.loads(out, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def fitted_alone(logs: list[str]) -> Fitted:
    read = [np.loadtxt(path, delimiter=",", skiprows=1).T for path in logs]
    return fit([Run.logged(*each, warmup=300, name=Path(path).stem) for each, path in zip(read, logs, strict=True)])


# --- the answer is that of the laws


def test_json_is_what_the_laws_say_of_the_same_numbers(usual: Any, logs: list[str]) -> None:
    said = usual
    want = best_schedule(fitted_alone(logs), HORIZON)
    assert (said["plan"], said["best"]["plan"], said["horizon"]) == (str(want.plan), str(want.best), HORIZON)
    assert (said["supported"], said["why"]) == (want.supported, want.why)
    assert (said["gain"], said["half"]) == pytest.approx((want.gain, want.half), rel=1e-9)
    assert (said["distinguishable"], said["said"]) == (want.distinguishable, want.said)
    assert [(c["name"], c["plan"], c["tied"]) for c in said["candidates"]] == [
        (c.name, str(c.plan), c.tied) for c in want.candidates
    ]
    for key in NUMBERS:
        got = [c[key] for c in said["candidates"]]
        np.testing.assert_allclose(got, [getattr(c, key) for c in want.candidates], rtol=1e-9, atol=1e-12)
    assert said["against"]["loss"] == pytest.approx(want.loss + want.gain)
    assert [log["name"] for log in said["logs"]] == ["constant", "wsd"]


def test_the_simplest_of_those_that_are_tied_is_taken(usual: Any, logs: list[str]) -> None:
    said, fitted = usual, fitted_alone(logs)
    every = [(c["name"], dw.parse(c["plan"]).lrs(HORIZON)) for c in said["candidates"]]
    ends = [float(fitted.loss(lrs, [HORIZON])[0]) for _, lrs in every]
    best = every[int(np.argmin(ends))][1]
    room = [fitted.difference(best, lrs)[1] for _, lrs in every]
    first = next(name for (name, _), end, near in zip(every, ends, room, strict=True) if end - min(ends) <= near)
    assert said["name"] == first
    assert [c["loss"] for c in said["candidates"]] == pytest.approx(ends, abs=1e-9)


def test_forecast_and_optimize_say_the_same(run: Any, logs: list[str]) -> None:
    rival = "peak 1e-3 | warmup 300st, cosine to 0"
    said = answer(run, *logs, *RISE, "--horizon", str(HORIZON), "--against", rival)
    plans = ["--plan", said["plan"], "--plan", rival]
    told = answer(run, *logs, *RISE, *plans, "--steps", str(HORIZON), command="forecast")
    mine, others = (each["final"] for each in told["forecasts"])
    assert said["final"] == pytest.approx(mine)
    assert said["against"]["loss"] == pytest.approx(others["loss"])
    assert told["ranking"][1]["behind"] == pytest.approx(said["gain"])
    assert told["ranking"][1]["half"] == pytest.approx(said["half"])
    assert (said["against"]["plan"], said["against"]["supported"]) == (str(dw.parse(rival)), True)


def test_the_options_hold_for_every_candidate(run: Any, logs: list[str]) -> None:
    words = ["--peak", "1.05e-3", "--rise", "2%", "--lowest", "10%"]
    said = answer(run, *logs, *RISE, "--horizon", str(HORIZON), *words)
    for candidate in said["candidates"]:
        lrs = dw.parse(candidate["plan"]).lrs(HORIZON)
        np.testing.assert_allclose(lrs[:401], 1.05e-3 * np.arange(401) / 400, atol=1e-12)
        assert np.diff(lrs[400:]).max() <= 1e-12
        assert lrs[400:].min() >= 1.05e-4 * (1 - 1e-4)
    same = answer(run, *logs, *RISE, "--horizon", str(HORIZON), *words[:2], "--rise", "400", "--lowest", "0.1")
    assert same["candidates"] == said["candidates"]
    epochs = answer(
        run, *logs, *RISE, "--horizon", str(HORIZON), "--rise", "2ep", "--steps-per-epoch", "200", *words[:2]
    )
    assert "warmup 400st" in epochs["plan"]


def test_the_rates_of_a_plan_are_taken_for_those_of_the_logs(run: Any, logs: list[str]) -> None:
    plan = "peak 1e-3 | warmup 300st, constant"
    planned = answer(run, logs[0], "--horizon", str(HORIZON), "--log-plan", plan)
    step, _, loss = np.loadtxt(logs[0], delimiter=",", skiprows=1).T
    want = best_schedule(fit(Run(dw.parse(plan).lrs(T), step, loss)), HORIZON)
    assert (planned["plan"], planned["logs"][0]["notes"]) == (str(want.plan), [])
    assert planned["gain"] == pytest.approx(want.gain, rel=1e-9)


@pytest.mark.parametrize("zero", ["0", "0%", "0ep", "0tok"])
def test_a_run_without_a_rise(zero: str, run: Any, logs: list[str]) -> None:
    said = answer(run, *logs, *RISE, "--horizon", str(HORIZON), "--rise", zero)
    assert all(dw.parse(c["plan"]).lrs(HORIZON)[0] > 0.9e-3 for c in said["candidates"])


def test_the_usual_rival_has_its_plan_and_its_loss(usual: Any, logs: list[str]) -> None:
    want = best_schedule(fitted_alone(logs), HORIZON)
    against = usual["against"]
    assert (against["name"], against["plan"]) == ("cosine to 10 %", str(want.against))
    forecast = fitted_alone(logs).predict(want.against.lrs(HORIZON), at=[HORIZON])
    assert against["loss"] == pytest.approx(float(forecast.loss[0]), rel=1e-9)
    assert (against["supported"], against["why"]) == (forecast.supported, forecast.why)


# --- the decay of the logs' plans


OWN = "peak 1e-3 | warmup 300st, constant"


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two logs of the same plan."""
    folder, paths = tmp_path_factory.mktemp("planned"), []
    for seed in (0, 1):
        (run,) = runs("noise-floor", ("constant",), noise=0.002, seed=seed)
        lrs = run.lr[np.minimum(run.step, T - 1)]
        paths.append(table(folder, f"seed{seed}.csv", "step,lr,loss", run.step, lrs, run.loss))
    return paths


def test_plans_carry_the_decay_and_mask_that_all_logs_had(run: Any, planned: list[str], tmp_path: Path) -> None:
    plan = f"{OWN} | decoupled 0.1 | mask everything"
    best = tmp_path / "best.toml"
    words = [*planned, "--horizon", str(HORIZON), "--log-plan", plan, "--out-best", str(best)]
    said = answer(run, *words)
    own, bare = dw.parse(plan), answer(run, *planned, "--horizon", str(HORIZON), "--log-plan", OWN)
    for text in [said["plan"], said["best"]["plan"], said["against"]["plan"], *(c["plan"] for c in said["candidates"])]:
        assert (dw.parse(text).decay, dw.parse(text).mask) == (own.decay, own.mask)
    assert (load(best).decay, load(best).mask) == (own.decay, own.mask)
    for key in ("final", "gain", "half"):  # the law does not read it
        assert said[key] == bare[key]
    np.testing.assert_array_equal(dw.parse(said["plan"]).lrs(HORIZON), dw.parse(bare["plan"]).lrs(HORIZON))
    out = flat(run("optimize", *words)[1])
    assert "its weight decay and mask are those of the logs" in out
    assert "decoupled 0.1 | mask name" in out
    assert "it has no weight decay" not in out


def test_plans_carry_no_decay_where_the_logs_disagree(run: Any, planned: list[str]) -> None:
    for one, other in ((" | decoupled 0.1", " | decoupled 0.12"), (" | l2 0.1", " | l2 0.1 | mask everything")):
        words = ["--log-plan", OWN + one, "--log-plan", OWN + other]
        said = answer(run, *planned, "--horizon", str(HORIZON), *words)
        assert all(dw.parse(c["plan"]).decay is None for c in said["candidates"])
        out = flat(run("optimize", *planned, "--horizon", str(HORIZON), *words)[1])
        assert "! it has no weight decay: the --log-plan disagree on decay or mask; add one of them" in out


def test_logs_of_two_lambdas_give_each_plan_its_own(run: Any, planned: list[str]) -> None:
    words = [*planned, "--horizon", str(HORIZON), "--log-plan", f"{OWN} | decoupled 0.1", "--log-plan", OWN]
    said = answer(run, *words)
    assert said["law"] == "decay-aware"
    assert all(0.0 <= dw.parse(c["plan"]).decay.weight_decay <= 0.1 for c in said["candidates"])
    assert "its weight decay is the best for this schedule" in flat(run("optimize", *words)[1])
    given = answer(run, *words, "--decay", "decoupled 0.05")
    assert {str(dw.parse(c["plan"]).decay) for c in given["candidates"]} == {"decoupled 0.05"}
    code, _, err = run("optimize", *planned, "--horizon", str(HORIZON), "--decay", "decoupled 0.05")
    assert (code, "--decay: noise-floor does not read weight decay" in err) == (2, True)


def test_a_mask_alone_is_carried_and_the_decay_still_asked_for(run: Any, planned: list[str]) -> None:
    words = ["--horizon", str(HORIZON), "--log-plan", f"{OWN} | mask everything"]
    said = answer(run, *planned, *words)
    assert dw.parse(said["plan"]).mask == dw.parse(f"{OWN} | mask everything").mask
    assert "! it has no weight decay: add that of the logs" in flat(run("optimize", *planned, *words)[1])


def test_a_rival_keeps_its_own_decay(run: Any, planned: list[str]) -> None:
    rival = "peak 1e-3 | warmup 300st, linear to 0% | l2 0.5"
    words = ["--log-plan", f"{OWN} | decoupled 0.1", "--against", rival]
    said = answer(run, *planned, "--horizon", str(HORIZON), *words)
    assert said["against"]["plan"] == str(dw.parse(rival))
    assert dw.parse(said["plan"]).decay == dw.parse("peak 1 | decoupled 0.1").decay


# --- what is said


def test_the_answer_in_80_columns(run: Any, logs: list[str], usual: Any) -> None:
    code, out, err = run("optimize", *logs, *RISE, "--horizon", str(HORIZON))
    assert (code, err) == (0, "")
    said = usual
    assert said["supported"]
    assert said["distinguishable"]
    assert "NOT SUPPORTED" not in out
    assert "supported: within what the fitted runs have seen" in out
    words = flat(out)
    told = words.partition(" plan ")[2].partition(" over 20,000 steps; its peak is that of the logs")[0]
    assert dw.parse(told) == dw.parse(said["plan"])
    assert run("show", told, "--steps", str(HORIZON))[0] == 0
    half = (said["final"]["upper"] - said["final"]["lower"]) / 2
    final = re.search(r"final loss +([\d.]+), 90 % interval ([\d.]+) to ([\d.]+)", out)
    assert final is not None
    for text, key in zip(final.groups(), ("loss", "lower", "upper"), strict=True):
        assert float(text) == pytest.approx(said["final"][key], abs=0.06 * half)
    gain = re.search(r"gain +([\d.]+) ±([\d.]+) lower than cosine to 10 %", words)
    assert gain is not None
    assert float(gain[1]) == pytest.approx(said["gain"], abs=0.06 * said["half"])
    assert float(gain[2]) == pytest.approx(said["half"], rel=0.06)


def test_the_table_of_candidates(run: Any, logs: list[str], usual: Any) -> None:
    out = run("optimize", *logs, *RISE, "--horizon", str(HORIZON))[1]
    said = usual
    half = (said["final"]["upper"] - said["final"]["lower"]) / 2
    rows = out.partition("candidates, simplest first")[2].split("\n\n")[0].splitlines()[1:]
    assert len(rows) == len(said["candidates"])
    verdicts = []
    for row, c in zip(rows, said["candidates"], strict=True):
        assert row.startswith(f"{c['name']} ")
        loss, behind, *verdict = row[len(c["name"]) :].split(maxsplit=2)
        assert (float(loss), float(behind)) == pytest.approx((c["loss"], c["behind"]), abs=0.06 * half)
        verdicts.append(verdict[0])
        lowest, taken = c["plan"] == said["best"]["plan"], c["name"] == said["name"]
        assert verdict[0].startswith("the lowest" if lowest else "tied" if c["tied"] else "worse")
        assert verdict[0].endswith(", taken") == taken
    assert {"worse", "tied, taken", "the lowest"} <= set(verdicts)


def test_the_picture_rises_stays_and_falls(run: Any, logs: list[str]) -> None:
    out = run("optimize", *logs, *RISE, "--horizon", "2000", "--rise", "500")[1]
    head, plan, best, *_ = out.partition("learning rate from step 0 to ")[2].splitlines()
    assert head.startswith("2,000, 0 ▁ to █ 0.001")
    for label, line in (("plan", plan), ("best", best)):
        assert line.startswith(f"{label} ")
        heights = ["▁▂▃▄▅▆▇█".index(block) for block in line[12:68]]
        assert heights[14:16] == [7, 7]  # 500 of 2000 steps are 14 of 56 columns
        assert heights[:15] == sorted(heights[:15])
        assert heights[15:] == sorted(heights[15:], reverse=True)
        assert heights[0] == 0
        assert heights[-1] <= 1


def test_what_cannot_be_told_from_the_rival_is_said(run: Any, logs: list[str], usual: Any) -> None:
    taken = usual["plan"]
    for rival, gains in ((taken, 0), (taken.replace("linear to 0%", "linear to 10%"), 1)):
        said = answer(run, *logs, *RISE, "--horizon", str(HORIZON), "--against", rival)
        assert (np.sign(said["gain"]), said["distinguishable"]) == (gains, False)
        out = flat(run("optimize", *logs, *RISE, "--horizon", str(HORIZON), "--against", rival)[1])
        assert f": not distinguishable from {dw.parse(rival)}" in out


def test_a_rival_that_is_better_is_said(run: Any, logs: list[str], tmp_path: Path) -> None:
    """Rates that may hardly fall cannot end as low as one that does; the rival is a file here."""
    from dwindle.text import save

    file = save(dw.parse("peak 1e-3 | warmup 300st, linear to 0"), tmp_path / "rival.toml")
    words = [*logs, *RISE, "--horizon", str(HORIZON), "--lowest", "90%", "--against", str(file)]
    said = answer(run, *words)
    assert said["gain"] < -said["half"] < 0
    out = flat(run("optimize", *words)[1])
    assert ": none; it ends higher than peak 1e-3 | warmup 300st, linear to 0%" in out


def test_a_rival_that_the_logs_tell_nothing_of_is_said(run: Any, logs: list[str]) -> None:
    words = [*logs, *RISE, "--horizon", str(HORIZON), "--against", "peak 5e-3 | warmup 300st, constant"]
    said = answer(run, *words)
    assert (said["supported"], said["against"]["supported"]) == (True, False)
    assert f"the gain is a guess: under the plan compared with, {said['against']['why']}" in flat(
        run("optimize", *words)[1]
    )


def test_what_is_not_supported_is_said_first(run: Any, logs: list[str]) -> None:
    words = [*logs, "--horizon", str(HORIZON), *RISE, "--peak", "5e-3"]
    said = answer(run, *words)
    assert not said["supported"]
    code, out, _ = run("optimize", *words)
    assert code == 0
    assert flat(out).startswith(f"NOT SUPPORTED: {said['why']}. The figures are a guess.")
    assert "not supported: see above" in out
    guesses = [line for line in out.splitlines() if line.endswith(", a guess")]
    unsupported = [c["name"] for c in said["candidates"] if not c["supported"] and c["name"] != said["name"]]
    assert [line[:30].strip() for line in guesses] == unsupported


def test_one_log_at_a_constant_rate_tells_of_that_alone(run: Any, logs: list[str]) -> None:
    said = answer(run, logs[0], "--horizon", str(HORIZON), *RISE)
    assert (said["name"], said["supported"], said["distinguishable"]) == ("constant", True, False)
    assert [c["name"] for c in said["candidates"] if c["supported"]] == ["constant"]


def test_a_plan_of_hundreds_of_points_is_not_printed(
    run: Any, logs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is uncertain, nothing is tied with the best schedule."""
    monkeypatch.setattr(Fitted, "half_width", lambda *_, **__: 1e-9)
    words = [*logs, *RISE, "--horizon", str(HORIZON), "--out", str(tmp_path / "plan.toml")]
    said = answer(run, *words)
    assert said["name"] == "the best"
    code, out, _ = run("optimize", *words)
    assert code == 0
    assert "through [" not in out
    assert "--out FILE.toml writes it" in out
    assert "the lowest, taken" in out
    assert load(tmp_path / "plan.toml") == dw.parse(said["plan"])


# --- the page


def test_the_page_says_and_draws_what_the_command_says(run: Any, logs: list[str], usual: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = [*logs, *RISE, "--horizon", str(HORIZON)]
    code, out, err = run("optimize", *words, "--html", str(page))
    assert (code, err) == (0, "")
    assert flat(out).endswith(f"page {page}")
    assert out.startswith(run("optimize", *words)[1].rstrip("\n"))
    assert list(tmp_path.iterdir()) == [page]
    found = Reader(page.read_text())
    text = found.text.replace("\u00a0", " ")
    assert f"Take the {usual['name']}. It should end at a loss of {usual['final']['loss']:.4f}"[:-2] in text
    assert f'id="plan">{usual["plan"]}<' in page.read_text()
    assert f"{usual['against']['plan']} Beside the best schedule" in text
    (table,) = (table for table in found.tables if table[0][0].startswith("schedule"))
    for row, c in zip(table[1:], usual["candidates"], strict=True):
        gain, half = (float(figure) for figure in row[2].replace("−", "-").split(" ± "))
        assert row[0] == c["name"]
        assert float(row[1]) == pytest.approx(c["loss"], abs=1e-3)
        assert (gain, half) == pytest.approx((c["gain"], c["half"]), abs=0.06 * c["half"])
    fitted = fitted_alone(logs)
    lines = {line["tag"]: line for line in found.data()["charts"]["loss"]["lines"] if "mark" in line}
    assert set(lines) >= {"plan", "rival"}
    for tag, plan in (("plan", usual["plan"]), ("rival", usual["against"]["plan"])):
        want = fitted.predict(dw.parse(plan).lrs(HORIZON))
        assert lines[tag]["x"] == want.step.tolist()
        for key, values in (("y", want.loss), ("lower", want.lower), ("upper", want.upper)):
            np.testing.assert_allclose(lines[tag][key], values, rtol=1e-5)


# --- what is written


def test_the_plans_are_written(run: Any, logs: list[str], tmp_path: Path) -> None:
    plan, best = tmp_path / "out" / "plan.toml", tmp_path / "out" / "best.toml"
    plan.parent.mkdir()
    plan.write_text("old")
    words = [*logs, *RISE, "--horizon", str(HORIZON), "--out", str(plan), "--out-best", str(best)]
    said = answer(run, *words)
    assert load(plan) == dw.parse(said["plan"])
    assert load(best) == dw.parse(said["best"]["plan"])
    assert sorted(plan.parent.iterdir()) == [best, plan]
    before = plan.read_bytes(), best.read_bytes()
    out = run("optimize", *words)[1]
    assert out.splitlines()[-2:] == [f"plan        {plan}", f"best        {best}"]
    assert (plan.read_bytes(), best.read_bytes()) == before
    for file in (plan, best):
        assert run("show", str(file), "--steps", str(HORIZON))[0] == 0


# --- what is refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Missing option '--horizon'"),
        (["--horizon", "1"], "--horizon must be at least 2"),
        (["--horizon", "1000000000000"], "Give optimiser steps, not tokens"),
        (["--horizon", "9000", "--peak", "0"], "--peak must be positive"),
        (["--horizon", "9000", "--lowest", "10"], "--lowest must be below 1; got 10.0. It is a part of the peak"),
        (["--horizon", "9000", "--lowest", "a bit"], "--lowest must be a part of the peak such as 10% or 0.1; got 'a bit'"),
        (["--horizon", "9000", "--rise", "soon"], "--rise: 'soon' is not a time"),
        (["--horizon", "9000", "--rise", "0.02"], "--rise must be a whole number"),
        (["--horizon", "9000", "--rise", "2ep"], "--rise: 2ep needs to know steps_per_epoch; add --steps-per-epoch K."),
        (["--horizon", "9000", "--rise", "9000"], "--rise: a rise of 9000 steps leaves nothing of a run of 9000"),
        (["--horizon", "9000", "--against", "peak 1 | cosin"], "--against: "),
        (["--horizon", "9000", "--decay", "0.1"], "--decay: '0.1' is not a convention of weight decay; it must be one of"),
        (["--horizon", "9000", "--decay", "mask everything"], "--decay: 'mask' is not a convention of weight decay"),
        (["--horizon", "9000", "--decay", "layer-decay 0.5"], "--decay: 'layer-decay' is not a convention of weight decay"),
        (["--horizon", "9000", "--against", "peak 0"], "--against peak 0 | constant: the plan: every learning rate is 0"),
        (["--horizon", "9000", "--law", "power"], "--law: power has no gradient to optimise by; fit 'noise-floor'."),
        (["--horizon", "9000", "--law", "powr"], "did you mean 'power'"),
        (["--horizon", "9000", "--loss", "los"], "no column 'los'; did you mean 'loss'"),
        (["--horizon", "9000", "--out", "plan.py"], "a plan is saved as .toml, .json or .txt; got 'plan.py'"),
        (["--horizon", "9000", "--out", "/proc/none/plan.toml"], "/proc/none/plan.toml: the plan cannot be written"),
        (["--horizon", "9000", "--out", "a.toml", "--out-best", "./a.toml"], "give each plan a file of its own"),
        (["--horizon", "9000", "--out", "a.toml", "--html", "./a.toml"], "--html is a.toml, which is read or written already"),
        (["--horizon", "9000", "--html", "/proc/none/a.html"], "--html: the page ("),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(words: list[str], said: str, run: Any, logs: list[str]) -> None:
    code, out, err = run("optimize", *logs, *RISE, *words)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


# --- a published run


@pytest.mark.skipif(not CURVES.exists(), reason=f"the curves are not at {CURVES}")
def test_the_rival_of_published_runs_ends_where_it_did(run: Any) -> None:
    """The rival, a cosine to 10 %, was trained; the plan recommended ends lower by more than the forecast can be wrong."""
    logs = [str(CURVES / f"{name}.csv") for name in ("constant_24000", "wsdcon_9")]
    said = answer(run, *logs, "--horizon", "24000", "--warmup", "2160")
    logged = np.loadtxt(CURVES / "cosine_24000.csv", delimiter=",", skiprows=1)[-1, 2]
    half = (said["final"]["upper"] - said["final"]["lower"]) / 2
    assert said["against"]["loss"] == pytest.approx(logged, abs=half)
    assert (said["supported"], said["distinguishable"]) == (True, True)
