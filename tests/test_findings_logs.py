"""The doctor for logs: its laws, its evidence, and that it is silent where a log cannot tell."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwindle as dw
import test_findings_logs_rates as runs
from dwindle.errors import InvalidValueError
from dwindle.findings import of_history
from dwindle.findings.curves.rates import pieces, shape_of
from dwindle.findings.curves.trends import Line, change_point, fall, level
from dwindle.logs import History, Series
from dwindle.logs.filtered import filtered_tail

KINDS = sorted(runs.FAULTS)


def case(kind: str, seed: int = 5) -> runs.Case:
    return runs.FAULTS[kind][1](np.random.default_rng([4, seed]))


def changed(history: History, *, loss: float = 1.0, steps: int = 1) -> History:
    by = {"loss": loss, "val": loss}
    series = {k: Series(k, s.step * steps, s.value * by.get(k, 1.0)) for k, s in history.series.items()}
    return History(history.name, series, history.roles, history.unit)


def seen(found: runs.Case) -> list[tuple[str, str, str]]:
    return sorted((f.code, f.severity, f.subject) for f in runs.examined(found))


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "plateau, dead"])  # the loss of guessing has its unit
@pytest.mark.parametrize("seed", range(3))
def test_the_unit_of_the_loss_does_not_matter(kind: str, seed: int) -> None:
    whole = case(kind, seed)
    for factor in (0.125, 1024.0):  # powers of two: exact
        assert seen(whole._replace(history=changed(whole.history, loss=factor))) == seen(whole)


@pytest.mark.parametrize("kind", [k for k in KINDS if "lambda" not in k and "stepping" not in k])
def test_the_unit_of_the_steps_does_not_matter(kind: str) -> None:
    whole = case(kind)
    assert seen(whole._replace(history=changed(whole.history, steps=16))) == seen(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_other_columns_change_nothing(kind: str) -> None:
    whole = case(kind)
    n = len(whole.history.series["loss"])
    more = {**whole.history.series, "speed": Series("speed", np.arange(n), np.random.default_rng(0).random(n))}
    assert seen(whole._replace(history=replace(whole.history, series=more))) == seen(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_a_finding_is_complete_and_json_holds_it(kind: str) -> None:
    found = runs.examined(case(kind))
    assert [f.severity for f in found] == sorted((f.severity for f in found), key=["fault", "warning", "note"].index)
    for finding in found:
        assert finding.verdict.endswith(".")
        assert finding.remedy.says[-1] in ".?"
        assert finding.evidence
        json.dumps(finding.as_dict(), allow_nan=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_change_is_plan_text(kind: str) -> None:
    whole = case(kind)
    plan = whole.plan or dw.parse("peak 0.3 | constant | decoupled 0.01")
    for finding in of_history(whole.history, plan=plan, horizon=whole.horizon):
        for field, (now, then) in finding.remedy.change.items():
            peak, schedule, decay = f"{plan.peak:g}", str(plan.schedule), str(plan.decay or "")
            assert now == {"peak": peak, "schedule": schedule, "decay": decay}[field]
            new = {"peak": peak, "schedule": schedule, "decay": decay, field: then}
            assert (
                dw.parse(" | ".join(part for part in (f"peak {new['peak']}", new["schedule"], new["decay"]) if part))
                != plan
            )


@pytest.mark.parametrize(
    "code", ["overfitting", "noise-floor", "cut-late", "cut-early", "warmup-missing", "lr-lambda-large"]
)
def test_without_its_column_a_code_is_silent(code: str) -> None:
    kind = next(k for k in KINDS if runs.FAULTS[k][0] == code)
    needs = {"overfitting": ("validation loss",)}.get(code, ("lr",))
    h = case(kind).history
    left = History(h.name, h.series, {role: name for role, name in h.roles.items() if role not in needs})
    assert code in {f.code for f in of_history(h)}
    assert code not in {f.code for f in of_history(left)}


@given(st.integers(0, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_log_of_a_few_points_of_noise_says_nothing(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, lr = 2.0 + 0.1 * rng.standard_normal(n), np.full(n, 0.1)
    roles = {"training loss": "loss", "validation loss": "val", "lr": "lr"}
    series = {"loss": loss, "val": loss + 0.1, "lr": lr}
    log = History("run", {k: Series(k, np.arange(n), v) for k, v in series.items()}, roles)
    assert of_history(log) == ()


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=0, max_size=60),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_no_log_is_too_wild(values: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = len(values)
    step = rng.integers(0, max(2 * n, 1), n)
    roles = {
        "training loss": "a",
        "validation loss": "b",
        "lr": "c",
        "weight norm": "d",
        "gradient norm": "a",
        "epoch": "d",
        "weight decay": "c",
    }
    columns = {
        "a": values,
        "b": rng.permutation(np.array(values)) if n else values,
        "c": np.abs(values),
        "d": np.arange(n) / 7.0,
    }
    log = History("run", {k: Series(k, step, v) for k, v in columns.items()}, roles)
    with np.errstate(all="ignore"):
        for plan in (None, dw.parse("peak 0.1 | cosine | decoupled 0.1")):
            assert all(f.verdict for f in of_history(log, plan=plan, horizon=None if plan is None else 100))


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="must be a History"):
        of_history([1.0, 2.0])  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="must be a Plan"):
        of_history(case("lr-rise").history, plan="cosine")  # type: ignore[arg-type]


# --- numbers that are known


@pytest.mark.parametrize("times", [2, 3, 8])
@pytest.mark.parametrize(
    ("text", "after"), [("cosine", "held"), ("linear", "held"), ("cosine", "mirrored"), ("linear", "repeated")]
)
def test_the_factor_of_a_wrong_pace_is_exact(times: int, text: str, after: str) -> None:
    plan, steps = dw.parse(f"peak 0.1 | {text}"), 1200
    lr, at = plan.lrs(steps + 1), np.arange(steps) * times
    place = {
        "held": np.minimum(at, steps),
        "mirrored": np.abs((at + steps) % (2 * steps) - steps),
        "repeated": at % steps,
    }[after]
    log = runs.logged(lr[place], np.random.default_rng(1), points=200)
    (finding,) = [f for f in of_history(log, plan=plan, horizon=dw.Horizon(steps=steps)) if f.code == "wrong-stepping"]
    assert (finding.evidence["ratio"], finding.evidence["after the end"]) == (times, after)


def test_a_plan_that_is_followed_is_not_a_wrong_pace() -> None:
    for kind in ("cosine", "step", "wsd", "exponential"):
        text = {
            "cosine": "warmup 5%, cosine", "step": "piecewise at [50% 75%] factors [1 0.1 0.01]",
            "wsd": "warmup 2%, constant, linear to 0% over 20%", "exponential": "exponential 0.5 every 20%",
        }[kind]  # fmt: skip
        try:
            plan = dw.parse(f"peak 0.3 | {text}")
        except dw.DwindleError:
            continue
        log = runs.logged(plan.lrs(1000), np.random.default_rng(2))
        assert [f.code for f in of_history(log, plan=plan, horizon=1000) if f.severity != "note"] == []


def test_the_batch_size_tells_processes_from_micro_batches() -> None:
    whole = case("wrong-stepping, fast")
    times = next(f for f in runs.examined(whole) if f.code == "wrong-stepping").evidence["ratio"]
    for size, subject in ((64 * times, "per process"), (64 / times, "per micro-batch")):
        at = whole.history.series["lr"].step
        series = {**whole.history.series, "batch": Series("batch", at, np.full(len(at), size))}
        log = History("run", series, {**whole.history.roles, "batch size": "batch"})
        horizon = dw.Horizon(steps=whole.horizon.steps, batch_size=64)  # type: ignore[union-attr]
        found = of_history(log, plan=whole.plan, horizon=horizon)
        assert subject in [f.subject for f in found if f.code == "wrong-stepping"]


def test_a_good_resume_is_no_finding() -> None:
    h = runs.logged(runs.rates("warmup 5%, cosine", 1000), np.random.default_rng(3), points=200)
    series = {}
    for name, s in h.series.items():
        cut, back = int(0.6 * len(s)), int(0.57 * len(s))
        series[name] = Series(name, np.r_[s.step[:cut], s.step[back:]], np.r_[s.value[:cut], s.value[back:]])
    assert of_history(History("run", series, h.roles)) == ()


def test_restarts_that_are_meant_are_a_note() -> None:
    lr = 0.15 * (1 + np.cos(np.pi * (np.arange(1200) % 300) / 300))
    found = of_history(runs.logged(lr, np.random.default_rng(0)))
    assert [(f.code, f.severity) for f in found] == [("lr-restarts", "note")]


def test_the_evidence_of_overfitting_holds_the_numbers() -> None:
    t = np.arange(0, 1001, 20)
    train, held = 0.2 + np.exp(-t / 200), 0.4 + np.exp(-t / 100) + 5e-4 * np.maximum(t - 400.0, 0.0)
    wobble = 1e-3 * np.random.default_rng(0).standard_normal((2, len(t)))
    log = History(
        "run",
        {
            "loss": Series("loss", t, train + wobble[0]),
            "val": Series("val", t, held + wobble[1]),
            "norm": Series("norm", t, 10 + 0 * t),
        },
        {"training loss": "loss", "validation loss": "val", "weight norm": "norm"},
    )
    (finding,) = of_history(log, plan=dw.parse("peak 0.1 | cosine | decoupled 0.001"), horizon=1000)
    evidence = finding.evidence
    assert finding.code == "overfitting"
    assert 360 <= evidence["best step"] <= 480
    measured = held + wobble[1]
    assert (
        evidence["best validation loss"] == measured[t == evidence["best step"]][0] <= evidence["median about the best"]
    )
    low, high = evidence["gap interval"]
    assert low < held[-3:].mean() - train[-3:].mean() < high + 0.02
    assert evidence["opened interval"][0] <= evidence["opened"] <= evidence["opened interval"][1]
    assert evidence["penalty share"] == pytest.approx(0.001 / 2 * 100 / evidence["training loss at end"])
    assert finding.remedy.change["decay"][0] == "decoupled 1e-3"


def test_the_change_point_is_where_the_line_turns() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        t = np.arange(60.0)
        low, high = change_point(t, np.maximum(t - 25.0, 0.0) * 0.05 + 0.1 * rng.standard_normal(60))[1]
        hits += low <= 25.0 <= high
    assert hits >= 180  # 95 % of 200, as far as 200 can tell


def test_a_level_knows_its_error() -> None:
    rng = np.random.default_rng(1)
    z = [(level(rng.standard_normal(50)).mean) / level(rng.standard_normal(50)).error for _ in range(400)]
    assert 0.8 < np.std(z) < 1.4
    assert level(np.ones(3)).error == np.inf
    assert fall(Line(np.arange(9.0), np.arange(9.0))) is None


@given(st.integers(12, 300), st.floats(0.1, 0.9), st.sampled_from(["cosine", "linear"]))
@settings(max_examples=60, deadline=None)
def test_a_shape_and_what_is_left_of_it(n: int, part: float, name: str) -> None:
    t = np.arange(float(n))
    length = (n - 1) / part
    u = 0.5 * (1 + np.cos(np.pi * t / length)) if name == "cosine" else 1 - t / length
    found = shape_of(Line(t, 3e-4 * u))
    assert found.name == name
    assert found.length == pytest.approx(length, rel=0.02)
    assert found.left == pytest.approx(u[-1], abs=0.02)


@given(st.integers(12, 200), st.floats(0.1, 6.0))
@settings(max_examples=40, deadline=None)
def test_an_exponential_has_no_end(n: int, rate: float) -> None:
    t = np.arange(float(n))
    assert shape_of(Line(t, np.exp(-rate * t / n))).name == "convex"


def kinds(lr: Any) -> list[str]:
    return [p.kind for p in pieces(Line(np.arange(float(len(lr))), np.asarray(lr, np.float64)))]


def test_the_pieces_of_common_schedules() -> None:
    assert kinds(runs.rates("warmup 5%, cosine", 400)) == ["rise", "fall"]
    assert kinds(runs.rates("warmup 2%, constant, linear to 0% over 20%", 400)) == ["rise", "hold", "fall"]
    assert kinds(runs.rates("piecewise at [50% 75%] factors [1 0.1 0.01]", 400)) == [
        "hold",
        "cut",
        "hold",
        "cut",
        "hold",
    ]
    assert kinds(0.9 ** (np.arange(400) // 20)) == ["hold", "fall", "hold"]


def test_a_verdict_names_what_the_log_counts() -> None:
    epochs = np.arange(40.0)
    training, validation = np.exp(-epochs / 4.0), 0.3 + np.abs(epochs - 8.0) * 0.02
    for unit in ("step", "epoch", "row"):
        series = {"a": Series("a", epochs, training), "b": Series("b", epochs, validation)}
        run = History("run", series, {"training loss": "a", "validation loss": "b"}, unit=unit)
        found = next(f for f in of_history(run) if f.code == "overfitting")
        assert f"best at {unit} 8 (0.3; the median of 3 points there is 0.32)" in found.verdict


@pytest.mark.parametrize("best", [0, 59])
def test_the_best_at_an_end_of_the_curve_is_one_that_was_measured(best: int) -> None:
    epochs = np.arange(60.0)
    validation = 1.0 + 0.02 * epochs if best == 0 else 2.0 - 0.01 * epochs
    series = {"a": Series("a", epochs, 2.0 * 0.9**epochs), "b": Series("b", epochs, validation)}
    run = History("run", series, {"training loss": "a", "validation loss": "b"}, unit="epoch")
    found = [f for f in of_history(run) if f.code == "overfitting"]
    assert len(found) == (best == 0)
    for finding in found:
        assert finding.evidence["best step"] == best
        assert finding.evidence["best validation loss"] == validation[best]
        assert finding.evidence["points about the best"] == 3


def cut_run(loss_of_sum: Any, cut: float, by: float, seed: int, noise: float = 0.02) -> History:
    """Return the log of a loss that is a function of the sum of the rates, cut ``by`` at that share of 600 steps."""
    step = np.arange(0.0, 601.0, 4.0)
    lr = np.where(step <= cut * 600.0, 0.1, 0.1 * by)
    loss = loss_of_sum(np.append(0.0, np.cumsum(np.diff(step) * lr[1:])))
    loss = loss + noise * np.random.default_rng(seed).standard_normal(len(step))
    return History("run", {"l": Series("l", step, loss), "r": Series("r", step, lr)}, {"training loss": "l", "lr": "r"})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("turn", [3.0, 6.0, 9.0])
def test_a_cut_before_the_loss_has_begun_to_fall_in_earnest_is_early(turn: float, seed: int) -> None:
    sigmoid = lambda s: 0.3 + 2.0 / (1.0 + (s / turn) ** 2)  # noqa: E731  # quickens until the sum is about ``turn``
    early = of_history(cut_run(sigmoid, 0.12, 0.1, seed))
    assert "cut-early" in {f.code for f in early}
    assert "cut-early" not in {f.code for f in of_history(cut_run(sigmoid, 0.7, 0.1, seed))}


def test_a_cut_of_a_loss_that_stands_is_not_early() -> None:
    floor = lambda s: 1.0 + 0.0 * s  # noqa: E731
    alarms = [
        f for seed in range(20) for f in of_history(cut_run(floor, 0.15, 0.1, seed, 0.1)) if f.code == "cut-early"
    ]
    assert len(alarms) <= 1  # 5 %


def resumed(factor: float, seed: int, floor: float = 0.003, spread: float = 0.8) -> History:
    """Return a log that goes back from step 600 to 550; its loss is ``factor`` times higher there, and recovers."""
    rng = np.random.default_rng(seed)
    step = np.r_[0.0:601.0:2.0, 550.0:901.0:2.0]
    mean = floor + np.exp(-step / 60.0)
    since = np.arange(len(step)) - 301
    mean = mean * np.where(since >= 0, 1.0 + (factor - 1.0) * np.exp(-since / 12.0), 1.0)
    loss = mean * np.exp(spread * rng.standard_normal(len(step)))
    rate = np.full(len(step), 0.01)
    return History(
        "run", {"l": Series("l", step, loss), "r": Series("r", step, rate)}, {"training loss": "l", "lr": "r"}
    )


def test_moments_that_were_lost_show_in_a_loss_near_0() -> None:
    found = [any(f.code == "wrong-resume" for f in of_history(resumed(8.0, seed))) for seed in range(15)]
    alarms = [any(f.code == "wrong-resume" for f in of_history(resumed(1.0, seed))) for seed in range(60)]
    assert sum(found) >= 14
    assert sum(alarms) <= 1  # about one in a thousand


def test_moments_that_were_lost_show_in_one_point_of_the_validation_loss() -> None:
    alarms = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        held = 0.09 + 0.6 * np.exp(-np.arange(14.0) / 1.5) + 0.0005 * rng.standard_normal(14)
        step = np.r_[39.0:547.0:39.0, 507.0:976.0:39.0]
        again = 0.09 + 0.0005 * rng.standard_normal(len(step) - 14)
        told = []
        for bump in (0.0, 0.012):
            after = again.copy()
            after[0] += bump
            every = np.r_[1.0:551.0, 501.0:1000.0]
            series = {
                "l": Series("l", every, 1.0 + 0.1 * np.random.default_rng(seed).standard_normal(len(every))),
                "v": Series("v", step, np.append(held, after)),
            }
            log = History("run", series, {"training loss": "l", "validation loss": "v"})
            told.append(any(f.code == "wrong-resume" for f in of_history(log)))
        alarms += told[0]
        assert told[1]
    assert alarms <= 1


# --- what the third set of the clinic taught


def codes(history: History, **told: Any) -> set[str]:
    return {f.code for f in of_history(history, **told) if f.severity != "note"}


def held(points: list[tuple[float, float]], steps: int = 1000) -> Any:
    """Return a rate a step, each factor of 0.1 from that share of the run on."""
    rate = np.empty(steps)
    for share, factor in points:
        rate[int(share * steps) :] = 0.1 * factor
    return rate


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_that_is_taken_back_is_a_rise_and_repeated_ones_are_a_cycle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert "lr-rise" in codes(runs.logged(held([(0.0, 1.0), (0.4, 0.2), (0.7, 1.0)]), rng))
    assert "lr-rise" not in codes(runs.logged(held([(0.0, 1.0), (0.4, 0.2)]), rng))
    cycle = held([(0.0, 1.0), (0.2, 0.2), (0.4, 1.0), (0.6, 0.2), (0.8, 1.0)])
    assert "lr-rise" not in codes(runs.logged(cycle, rng))


@pytest.mark.parametrize("times", [2, 4, 16])
def test_a_plan_that_runs_too_slowly_names_its_factor(times: int) -> None:
    plan = dw.parse("peak 0.1 | warmup 50st, cosine")
    log = runs.logged(plan.lrs(1600)[np.arange(1600) // times], np.random.default_rng(1), points=200)
    (finding,) = [f for f in of_history(log, plan=plan, horizon=1600) if f.code == "wrong-stepping"]
    assert round(1.0 / finding.evidence["ratio"]) == times
    assert f"{times} times too slowly" in finding.verdict


def test_a_fall_that_begins_between_two_rows_is_seen_to_be_cut_off() -> None:
    plan = dw.parse("peak 0.1 | constant for 675st, linear to 0 over 450st")
    lr = plan.lrs(900)
    assert "schedule-long" in codes(runs.logged(lr, np.random.default_rng(0), points=150))


@pytest.mark.parametrize(("rate", "wanted"), [(0.4, True), (0.9, False)])
def test_an_exponential_that_dies_away_long_before_the_end_is_short(rate: float, wanted: bool) -> None:
    epoch = np.arange(20.0)
    lr, loss = 0.1 * rate**epoch, 0.4 + np.exp(-1.5 * epoch)
    series = {"l": Series("l", epoch, loss), "r": Series("r", epoch, lr)}
    log = History("run", series, {"training loss": "l", "lr": "r"}, "epoch")
    assert ("schedule-short" in codes(log)) == wanted


@pytest.mark.parametrize(("decay", "wanted"), [(40.0, True), (0.1, False)])
def test_lr_times_lambda_is_judged_in_a_table_of_epochs(decay: float, wanted: bool) -> None:
    epoch = np.arange(14.0)
    columns = {"loss": 0.07 + np.exp(-epoch), "lr": 0.003 * np.cos(epoch / 9.0), "wd": np.full(14, decay)}
    series = {name: Series(name, epoch, value) for name, value in columns.items()}
    roles = {"training loss": "loss", "lr": "lr", "weight decay": "wd"}
    assert ("lr-lambda-large" in codes(History("run", series, roles, "epoch"))) == wanted


@pytest.mark.parametrize(("gain", "wanted"), [(0.25, True), (0.0, False)])
def test_two_epochs_after_a_cut_show_that_it_came_late(gain: float, wanted: bool) -> None:
    found = 0
    for seed in range(10):
        epoch, noise = np.arange(20.0), 0.03 * np.random.default_rng(seed).standard_normal(20)
        series = {
            "l": Series("l", epoch, 2.0 + noise - gain * (epoch > 17)),
            "r": Series("r", epoch, np.where(epoch <= 17, 0.1, 0.01)),
        }
        found += "cut-late" in codes(History("run", series, {"training loss": "l", "lr": "r"}, "epoch"))
    assert found >= 9 if wanted else found <= 1


def test_a_plan_stepped_once_an_epoch_is_seen_in_a_log_of_epochs() -> None:
    plan, epoch = dw.parse("peak 0.02 | warmup 60st, linear to 0"), np.arange(15.0)
    for lr, wanted in ((plan.lrs(600)[1:16], True), (plan.lrs(600)[39::40], False)):
        series = {"l": Series("l", epoch, 1.0 / (1.0 + epoch)), "r": Series("r", epoch, lr)}
        log = History("run", series, {"training loss": "l", "lr": "r"}, "epoch")
        assert ("wrong-stepping" in codes(log, plan=plan, horizon=600)) == wanted


@pytest.mark.parametrize("times", [5, 40])
def test_a_geometric_fall_goes_on_past_the_end_of_its_plan(times: int) -> None:
    plan = dw.parse("peak 0.1 | exponential by 0.1 every 1000st")
    log = runs.logged(0.1 * 0.1 ** (np.arange(1000) * times / 1000.0), np.random.default_rng(0), points=100)
    (finding,) = [f for f in of_history(log, plan=plan, horizon=1000) if f.code == "wrong-stepping"]
    assert round(finding.evidence["ratio"]) == times


def test_rates_that_are_no_pace_of_the_plan_are_named_unless_something_explains_them() -> None:
    plan = dw.parse("peak 0.1 | cosine")
    wild = np.full(1000, 0.01)
    (finding,) = [
        f
        for f in of_history(runs.logged(wild, np.random.default_rng(0)), plan=plan, horizon=1000)
        if f.code == "wrong-stepping"
    ]
    assert finding.severity == "warning"
    assert finding.evidence["share off by a factor of 2"] > 0.5
    followed = runs.logged(plan.lrs(1000), np.random.default_rng(0))
    assert "wrong-stepping" not in codes(followed, plan=plan, horizon=1000)


def test_a_fall_of_no_known_form_that_quickens_was_cut_off() -> None:
    z = 1.0 - np.arange(1000) / 2500.0
    rex = 0.1 * z / (0.5 + 0.5 * z)
    assert "schedule-long" in codes(runs.logged(rex, np.random.default_rng(0)))
    slows = 0.1 / np.sqrt(1.0 + np.arange(1000) / 400.0)
    assert "schedule-long" not in codes(runs.logged(slows, np.random.default_rng(0)))


def test_cuts_to_next_to_nothing_before_half_of_the_run_leave_it_without_a_rate() -> None:
    lr = held([(0.0, 1.0), (0.2, 0.1), (0.3, 0.01), (0.4, 0.001)])
    assert "schedule-short" in codes(runs.logged(lr, np.random.default_rng(0)))
    assert "schedule-short" not in codes(
        runs.logged(held([(0.0, 1.0), (0.5, 0.1), (0.75, 0.01)]), np.random.default_rng(0))
    )


def test_nan_in_most_rows_is_an_empty_cell_where_numbers_come_regularly() -> None:
    step = np.arange(10.0, 1010.0, 10.0)
    loss = 2.0 + (step / 100.0) ** -0.5
    held = np.where(np.arange(100) % 10 == 0, loss + 0.1, np.nan)

    def told(held: Any) -> list[str]:
        series = {"loss": Series("loss", step, loss), "val": Series("val", step, held)}
        found = of_history(History("run", series, {"training loss": "loss", "validation loss": "val"}))
        return [finding.verdict for finding in found if finding.code in ("divergence", "loss-spike")]

    assert told(held) == []
    assert told(np.where(step > 500, np.nan, held)) == ["The validation loss is not finite from step 420 on."]
    assert told(np.full(100, np.nan)) == ["The validation loss is not finite at any point, and the training loss is."]
    for second in (0, 1):  # a validation every second epoch
        assert told(np.where(np.arange(100) % 2 == second, loss, np.nan)) == []
    loss[60:] = np.nan
    assert told(np.full(100, np.nan)) == [
        "The training loss is not finite from step 610 on.",
        "The validation loss is not finite at any point, and the training loss is at 60 of 100.",
    ]


@pytest.mark.parametrize("last", [True, False])
def test_nan_for_a_training_loss_in_rows_of_validation_is_an_empty_cell(last: bool) -> None:
    rows = [(s, np.nan if row else 2.0 + s**-0.5) for s in range(10, 510, 10) for row in range(1 + (s % 50 == 0))]
    step, loss = np.array(rows[: None if last else -1]).T
    at = np.arange(50.0, 510.0, 50.0)[: None if last else -1]
    held = Series("val", at, 2.1 + at**-0.5)

    def told(step: Any, loss: Any, held: Series) -> list[tuple[str, str, str]]:
        history = History(
            "run", {"l": Series("l", step, loss), "v": held}, {"training loss": "l", "validation loss": "v"}
        )
        found = of_history(history)
        return [(f.severity, f.code, f.verdict) for f in found if f.code in ("divergence", "loss-spike")]

    assert told(step, loss, held) == []
    loss = np.where(step > 300.0, np.nan, loss)  # but one that stays nan is none
    said = ("fault", "divergence", "The training loss is not finite from step 310 on.")
    assert told(step, loss, held)[0] == said
    late = Series("val", held.step[5:], held.value[5:])
    assert told(step, loss, late)[0] == said


def test_a_last_row_of_validation_alone_is_no_divergence() -> None:
    step = np.arange(10.0, 5020.0, 10.0)
    loss = 2.0 + (step / 100.0) ** -0.5
    train = np.where(step == 5010.0, np.nan, loss)

    def told(held: Series) -> list[tuple[str, str]]:
        history = History(
            "run", {"l": Series("l", step, train), "v": held}, {"training loss": "l", "validation loss": "v"}
        )
        return [(f.severity, f.verdict) for f in of_history(history) if f.code in ("divergence", "loss-spike")]

    assert told(Series("v", step, loss + 0.1)) == [
        ("note", "The training loss was not finite at 1 points, first at step 5,010.")
    ]
    assert told(Series("v", step[-1:], loss[-1:])) == []
    said = "The training loss is not finite from step 5,010 on."
    assert told(Series("v", step[:-1], loss[:-1] + 0.1)) == [("fault", said)]


def test_a_loss_that_was_not_finite_before_is_so_from_its_last_number_on() -> None:
    step = np.arange(10.0, 1010.0, 10.0)
    loss = np.where((step == 50) | (step >= 910), np.nan, 2.0 + (step / 100.0) ** -0.5)
    found = of_history(History("run", {"loss": Series("loss", step, loss)}, {"training loss": "loss"}))
    assert [f.verdict for f in found if f.code == "divergence"] == ["The training loss is not finite from step 910 on."]


@pytest.mark.parametrize("lost", [(np.nan,), (np.inf, np.nan)])
def test_a_run_that_stopped_at_its_first_loss_that_was_no_number_has_diverged(lost: tuple[float, ...]) -> None:
    before = np.arange(10.0, 3010.0, 10.0)

    def told(step: Any, loss: Any) -> list[tuple[str, str]]:
        found = of_history(History("run", {"loss": Series("loss", step, loss)}, {"training loss": "loss"}))
        return [(f.severity, f.verdict) for f in found if f.code in ("divergence", "loss-spike")]

    loss = 2.0 + (before / 100.0) ** -0.5
    after = 3000.0 + 10.0 * np.arange(1, len(lost) + 1)
    said = "The training loss is not finite from step 3,010 on."
    assert told(np.r_[before, after], np.r_[loss, lost]) == [("fault", said)]
    said = f"The training loss was not finite at {len(lost)} points, first at step 3,000."
    assert told(np.r_[before, [3000.0] * len(lost)], np.r_[loss, lost]) == [("note", said)]  # rows of an evaluation
    once = np.where(before == 50.0, np.nan, loss)  # from another such it came back
    said = f"The training loss was not finite at {len(lost) + 1} points, first at step 50."
    assert told(np.r_[before, after], np.r_[once, lost]) == [("note", said)]
    said = "The training loss was not finite at 1 points, first at step 50, and came back."
    assert told(before, once) == [("note", said)]


@pytest.mark.parametrize("points", [5, 7, 9])
def test_few_validation_losses_tell_of_overfitting_if_nearly_all_rise(points: int) -> None:
    step, held = np.arange(50.0, 4501.0, 50.0), np.linspace(4500.0 / points, 4500.0, points)

    def codes(validation: Any) -> list[str]:
        series = {"loss": Series("loss", step, 0.7 * np.exp(-step / 600.0)), "val": Series("val", held, validation)}
        found = of_history(History("run", series, {"training loss": "loss", "validation loss": "val"}))
        return [f.code for f in found if f.severity != "note"]

    rises = 0.35 + 0.15 * np.arange(points)
    assert "overfitting" in codes(rises)
    assert "overfitting" not in codes(0.9 - 0.1 * np.exp(-held / 1000.0) * np.cos(np.arange(points) * np.pi))
    assert "overfitting" not in codes(rises[::-1])


def gone_back(share: float, seed: int, bump: float = 0.0, floor: float = 0.02) -> History:
    """Return a sound log that went back by a share of its way, its loss as it was; ``bump`` times higher at first where given."""
    rng = np.random.default_rng(seed)
    left = int(rng.integers(60, 140)) * 50
    back = int((1.0 - share) * left / 50) * 50
    again = np.arange(back + 50.0, 10_001.0, 50.0)
    step = np.r_[np.arange(50.0, left + 1.0, 50.0), again]
    loss = (2.0 * np.exp(-step / 1500.0) + floor) * np.exp(0.05 * rng.standard_normal(len(step)))
    loss[-len(again) :] *= 1.0 + bump * np.exp(-np.arange(len(again)) / 8.0)
    return History("run", {"l": Series("l", step, loss)}, {"training loss": "l"})


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75])
def test_a_resume_from_an_older_checkpoint_is_held_against_the_loss_at_its_steps(share: float) -> None:
    for floor in (0.02, 0.5):
        for seed in range(10):
            assert [f for f in of_history(gone_back(share, seed, floor=floor)) if f.code == "wrong-resume"] == []
    found = [f for seed in range(10) for f in of_history(gone_back(share, seed, 0.5)) if f.code == "wrong-resume"]
    assert len(found) == 10
    for each in found:
        assert 1.25 < each.evidence.get("times", 1.4) < 1.6


@pytest.mark.parametrize("jump", [1.0, 2.0])
def test_a_resume_from_before_the_log_begins_is_held_against_what_there_is(jump: float) -> None:
    rng = np.random.default_rng(1)
    step = np.r_[np.arange(1000.0, 3000.0, 10.0), np.arange(600.0, 4000.0, 10.0)]
    loss = (0.5 + 3.0 * np.exp(-step / 1500.0)) * np.exp(0.02 * rng.standard_normal(len(step)))
    loss[200:] *= jump
    log = History("run", {"l": Series("l", step, loss)}, {"training loss": "l"})
    times = [f.evidence["times"] for f in of_history(log) if f.code == "wrong-resume"]
    assert times == ([] if jump == 1.0 else [pytest.approx(jump, rel=0.05)])


def begun_anew(levels: tuple[float, float]) -> list[tuple[str, str]]:
    """Return what is said of two halves, each from step 10 to 1,000, whose losses begin at these levels."""
    rng = np.random.default_rng(1)
    step = np.arange(10.0, 1001.0, 10.0)
    loss = np.concatenate([0.2 + level * np.exp(-step / 400.0) for level in levels])
    loss = loss + 0.005 * rng.standard_normal(200)
    rate = np.r_[0.1 * (1 - step / 2000), 0.1 * (1 - step / 1500)]
    series = {"l": Series("l", np.r_[step, step], loss), "r": Series("r", np.r_[step, step], rate)}
    found = of_history(History("run", series, {"training loss": "l", "lr": "r"}))
    return [(f.severity, f.verdict) for f in found if f.code == "wrong-resume"]


def test_a_log_whose_loss_begins_anew_with_its_steps_holds_two_runs() -> None:
    said = "The log goes back from step 1,000 to 10, and its loss begins anew: there are two runs in one log."
    assert begun_anew((2.0, 2.0)) == begun_anew((2.0, 2.3)) == [("note", said)]
    ((severity, _),) = begun_anew((2.0, 2.0 * np.exp(-2.5)))  # it goes on
    assert severity == "fault"


def zeros(first: int, norm: float | None, before: Any = None) -> list[tuple[str, str]]:
    """Return what a log as the Hugging Face Trainer writes it says of divergence: its loss is 0 from a point on."""
    step = np.arange(50.0, 10_001.0, 50.0)
    loss = 2.0 + 3.0 * (step / 500.0) ** -0.5 if before is None else np.asarray(before, dtype=np.float64)
    loss = np.where(np.arange(200) < first, loss, 0.0)
    series = {"loss": Series("loss", step, loss)}
    roles = {"training loss": "loss"}
    if norm is not None:
        series["norm"] = Series("norm", step, np.where(np.arange(200) < first, 1.0, norm))
        roles["gradient norm"] = "norm"
    return [(f.subject, f.verdict) for f in of_history(History("run", series, roles)) if f.code == "divergence"]


def test_a_loss_of_exactly_0_where_it_was_no_number_is_a_divergence() -> None:
    filtered = "the Hugging Face Trainer writes 0 where a loss is not a number (logging_nan_inf_filter)."
    said = f"The training loss is exactly 0 from step 3,050 on, and 3.225 before: {filtered}"
    assert zeros(60, None) == zeros(60, np.nan) == zeros(60, 1.0) == [("loss", said)]
    said = f"The gradient norm is not finite from step 50 on, and the training loss is exactly 0: {filtered}"
    assert zeros(0, np.nan) == [("norm", said)]
    falling = 3.0 * np.exp(-np.arange(200) / 5.0)
    assert zeros(60, None, np.round(falling, 4)) == []  # it had come down to 0, rounded
    assert zeros(198, None) == []
    loss = 2.0 + 3.0 * (np.arange(1, 201) / 10.0) ** -0.5
    assert zeros(60, None, np.where(np.arange(200) == 20, 0.0, loss)) == [("loss", said_of(60, loss[59]))]  # one batch


def said_of(first: int, before: float) -> str:
    return (
        f"The training loss is exactly 0 from step {50 * first + 50:,} on, and {before:.4g} before: "
        "the Hugging Face Trainer writes 0 where a loss is not a number (logging_nan_inf_filter)."
    )


@pytest.mark.parametrize("points", range(1, 8))
def test_few_losses_before_those_of_0_must_have_stood(points: int) -> None:
    slow = 4.5 - 0.1 * np.arange(200)
    assert zeros(points, None, slow) == ([("loss", said_of(points, slow[points - 1]))] if points > 2 else [])
    assert zeros(points, None, 0.7 * 0.6 ** np.arange(200)) == []  # it was on its way
    for few in (True, False):
        assert filtered_tail(np.r_[slow[:points], np.zeros(points)], few=few) == 0  # too few of 0 to tell


@pytest.mark.parametrize("norm", [None, 1.0, np.nan])
@pytest.mark.parametrize("points", [3, 5, 7, 8, 20])
def test_few_losses_before_those_of_0_tell_of_a_divergence_only_with_a_gradient_that_is_no_number(
    points: int, norm: float | None
) -> None:
    loss = np.where(np.arange(200) < points, 0.2 - 0.001 * np.arange(200), 0.0)  # a triplet loss may look so
    step, series, roles = np.arange(10.0, 2010.0, 10.0), {}, {"training loss": "l"}
    series["l"] = Series("l", step, loss)
    if norm is not None:
        series["n"] = Series("n", step, np.where(loss > 0.0, 1.0, norm))
        roles["gradient norm"] = "n"
    ((severity, remedy),) = [
        (f.severity, str(f.remedy)) for f in of_history(History("run", series, roles)) if f.code == "divergence"
    ]
    sure = points >= 8 or bool(norm is not None and np.isnan(norm))
    assert (severity, "a loss with a margin" in remedy) == (("fault", False) if sure else ("note", True))


@pytest.mark.parametrize(
    "before",
    [
        [0.01] * 4, [0.02, 0.02, 0.01], [0.3, 0.2, 0.2, 0.1, 0.1, 0.1, 0.1], [0.04, 0.03, 0.03, 0.02, 0.02, 0.02, *[0.01] * 5],
        np.round(0.0003 * np.exp(-np.arange(220) / 120.0), 4)[:210], [0.0003] * 30,
    ],
)  # fmt: skip
def test_a_rounded_loss_that_stands_at_its_last_decimal_has_come_to_0(before: Any) -> None:
    loss = np.r_[before, np.zeros(250)]
    assert filtered_tail(loss) == filtered_tail(loss, few=True) == 0
    far = np.where(loss > 0.0, loss + 10.0, 0.0)
    assert filtered_tail(far) + filtered_tail(far, few=True) == 250


@pytest.mark.parametrize("loss", [[2.31, 9.14, np.nan], [2.3, 2.1, np.nan, 2.2, np.nan]])
def test_nan_at_the_end_of_a_few_rows_is_a_divergence(loss: list[float]) -> None:
    series = {"loss": Series("loss", np.arange(1.0, len(loss) + 1.0), np.array(loss))}
    found = of_history(History("run", series, {"training loss": "loss"}))
    assert [f.severity for f in found if f.code == "divergence"] == ["fault"]


def test_a_gradient_norm_that_is_no_number_is_a_divergence_only_where_the_loss_stands() -> None:
    step = np.arange(10.0, 1010.0, 10.0)
    norm = np.where(step > 500.0, np.nan, 1.0)
    moving = 2.0 + (step / 100.0) ** -0.5

    def said(loss: Any, norm: Any) -> list[str]:
        series = {"l": Series("l", step, loss), "n": Series("n", step, norm)}
        found = of_history(History("run", series, {"training loss": "l", "gradient norm": "n"}))
        return [f.verdict for f in found if f.code == "divergence"]

    assert said(np.where(step > 500.0, 2.5, moving), norm) == ["The gradient norm is not finite from step 510 on."]
    assert said(moving, norm) == []
    assert said(moving, np.where(step < 50.0, np.inf, 1.0)) == []
    tenth = np.arange(100) % 10 == 0  # nan stands for an empty cell
    assert said(np.where(tenth, moving, np.nan), np.where(tenth, 1.0, np.nan)) == []
    assert said(np.where(tenth, moving, np.nan), norm) == []
