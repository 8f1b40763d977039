"""The pages of a forecast and an optimum: they say what they were told, and nothing in a name comes alive."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.report import (
    Choice,
    Law,
    Logged,
    Option,
    Outlook,
    Prospect,
    Rank,
    forecast_page,
    optimum_page,
    write_page,
)
from dwindle.report.outlook import harmless
from dwindle.report.outlook_charts import MOST_POINTS, charts, colour, mark, span
from dwindle.report.outlook_sections import difference
from test_report import HOSTILE, Reader

STEPS = 10_000


def falling(steps: Any, shift: float = 0.0) -> Any:
    return 2.5 + shift + (np.asarray(steps) / 1000.0 + 0.1) ** -0.5


def logged(number: int, *, points: int = 200, spike: bool = False, used: bool = True) -> Logged:
    step = np.linspace(0, STEPS, points).astype(np.int64)
    loss = falling(step) + 1e-3 * np.sin(7.0 * np.arange(points))
    if spike:
        loss[points // 2] = 40.0
    drawn = np.linspace(500, STEPS, 100).astype(np.int64) if used else np.zeros(0, dtype=np.int64)
    return Logged(
        label=f"log {number}", name=f"run {number}", path=f"logs/run{number}.csv", columns="step, lr, loss",
        notes=(f"{number} points were left out",), error=0.00123 if used else None, lr=np.full(STEPS, 3e-4), step=step, loss=loss,
        fitted=(step >= 500) & used, fitted_step=drawn, fitted_loss=falling(drawn),
    )  # fmt: skip


def prospect(number: int, final: float, half: float = 0.008, **more: Any) -> Prospect:
    step = np.linspace(500, STEPS, 200).astype(np.int64)
    loss = falling(step) - falling(STEPS) + final
    return Prospect(
        label=f"plan {number}", name=f"plan {number}", plan=f"peak 3e-4 | cosine to {number}%", lr=np.linspace(3e-4, 0.0, STEPS),
        step=step, loss=loss, lower=loss - half, upper=loss + half, final=(final, final - half, final + half),
        **{"supported": True, "why": "within what the fitted runs have seen"} | more,
    )  # fmt: skip


GUESS = {"supported": False, "why": "the peak 0.009 is outside what the one peak 0.0003 of the fitted runs tells"}
LAW = Law(
    "noise-floor", "The law of the tests.", (("floor", 2.5, "level"), ("alpha", 0.5, "pure")), ("a note of no log",)
)
FOUR = (prospect(1, 2.9), prospect(2, 2.8), prospect(3, 2.803), prospect(4, 2.7, 0.05, **GUESS))
RANKING = (Rank(1, None, None), Rank(2, 0.003, 0.0081), Rank(0, 0.1, 0.0093), Rank(3, None, None))


def outlook(prospects: tuple[Prospect, ...] = FOUR, logs: tuple[Logged, ...] = (logged(1), logged(2))) -> Outlook:
    command = "dwindle forecast run1.csv --plan 'peak 3e-4 | constant'"
    return Outlook(logs, LAW, prospects, STEPS, command, "0.1.0", "2026-11-28T20:00:00+00:00")


def option(name: str, loss: float, gain: float, behind: float, *, tied: bool = False, supported: bool = True) -> Option:
    return Option(name, loss, gain, 0.008, behind, tied, supported)


OPTIONS = (
    option("constant", 2.96, -0.06, 0.17),
    option("linear to 0", 2.8, 0.1, 0.01, tied=True),
    option("cosine to 0", 2.895, 0.005, 0.105, supported=False),
    option("the best", 2.79, 0.11, 0.0, tied=True),
)
CHOICE = Choice(
    plan="peak 3e-4 | linear to 0%", toml='format = "dwindle-plan/1"\npeak = 3e-4\n', schedule="linear to 0", peak="0.0003",
    whence="that of the logs", notes=("it has no weight decay",), taken=1, best=3, best_toml="peak = 4e-4\n",
    rival="cosine to 10 %", options=OPTIONS,
)  # fmt: skip
THREE = (
    prospect(1, 2.8)._replace(label="plan", name="linear to 0"),
    prospect(2, 2.79)._replace(label="best", name="the best"),
    prospect(3, 2.9)._replace(label="rival", name="cosine to 10 %"),
)

FORECAST = forecast_page(outlook(), RANKING)
OPTIMUM = optimum_page(outlook(THREE), CHOICE)
PAGES = {"forecast": FORECAST, "optimum": OPTIMUM}


def text(page: str) -> str:
    return Reader(page).text.replace("\u00a0", " ")


# --- what the pages say


def test_the_forecast_says_first_which_plan_ends_lowest_and_what_can_be_told() -> None:
    said = text(FORECAST)
    assert (
        "After 10,000 steps plan 2 should end at 2.8000, the lowest of those that the logs can tell of. "
        "Plan 3 cannot be told from it. Plan 1 ends higher. For plan 4 the logs give no more than a guess."
    ) in said
    assert (
        said.index("Plan 3 cannot be told") < said.rindex("How does the loss get there?") < said.rindex("How to repeat")
    )


def test_every_plan_has_its_loss_interval_support_and_difference() -> None:
    said = text(FORECAST)
    rows = said[said.index("plan 2 peak") : said.rindex("How does the loss get there?")]
    found = {int(n): row for n, row in re.findall(r"plan (\d) (peak 3e-4.*?)(?=plan \d peak|$)", rows)}
    assert list(found) == [2, 3, 1, 4]
    assert (
        "2.8000 90 % interval 2.7920 to 2.8080 ✓ the lowest ✓ supported : within what the fitted runs have seen"
        in found[2]
    )
    assert "≈ not distinguishable from plan 2 : 0.0030 ± 0.0081 higher ✓ supported :" in found[3]
    assert "✗ higher than plan 2 by 0.1000 ± 0.0093 ✓ supported" in found[1]
    assert f"2.700 90 % interval 2.650 to 2.750 ? not supported : {GUESS['why']}. The figures are a guess." in found[4]
    assert "plan 2" not in found[4]


def test_one_plan_is_compared_with_nothing() -> None:
    page = forecast_page(outlook((prospect(1, 2.8),)), (Rank(0, None, None),))
    assert "After 10,000 steps the loss should be 2.8000: in nine of ten cases between 2.7920 and 2.8080." in text(page)
    assert "lowest" not in text(page)
    guess = forecast_page(outlook((prospect(1, 2.8, **GUESS),)), (Rank(0, None, None),))
    assert f"The logs cannot tell what this plan would end at: {GUESS['why']}." in text(guess)


def test_the_optimum_says_the_plan_to_paste_and_the_gain() -> None:
    said = text(OPTIMUM)
    assert "Take the linear to 0. It should end at a loss of 2.8000, 0.1000 ± 0.0080 lower than cosine to 10 %." in said
    assert said.index(CHOICE.plan) < said.index("What was looked at")
    for pasted in (CHOICE.toml, CHOICE.best_toml):
        assert " ".join(pasted.split()) in said
    assert "✓ distinguishable , by the 90 % interval of the difference" in said
    assert "It has no weight decay." in said
    (table,) = (table for table in Reader(OPTIMUM).tables if table[0][0].startswith("schedule"))
    assert [row[0] for row in table[1:]] == [o.name for o in OPTIONS]
    assert [row[2] for row in table[1:]] == [difference(o.gain, 0.008) for o in OPTIONS]
    verdicts = [row[-1].replace("\u00a0", " ") for row in table[1:]]
    assert verdicts == ["✗ worse", "✓ taken", "✗ worse ? a guess", "≈ the lowest"]


@pytest.mark.parametrize(
    ("gain", "lede", "verdict"),
    [
        (0.1, ", 0.1000 ± 0.0080 lower than cosine to 10 %.", "✓ distinguishable"),
        (0.003, ", 0.0030 ± 0.0080 lower than cosine to 10 %: not distinguishable.", "≈ not distinguishable"),
        (-0.003, ", 0.0030 ± 0.0080 higher than cosine to 10 %: not distinguishable.", "≈ not distinguishable"),
        (0.0, ", the same as cosine to 10 %: not distinguishable.", "≈ not distinguishable"),
        (-0.1, " and gains nothing: cosine to 10 % should end 0.1000 ± 0.0080 lower.", "✗ no gain"),
    ],
)
def test_the_gain_is_said_as_it_is(gain: float, lede: str, verdict: str) -> None:
    options = (OPTIONS[0], OPTIONS[1]._replace(gain=gain), *OPTIONS[2:])
    said = text(optimum_page(outlook(THREE), CHOICE._replace(options=options)))
    assert f"It should end at a loss of 2.8000{lede}" in said
    assert verdict in said


def test_an_optimum_that_is_a_guess_says_so_first() -> None:
    page = optimum_page(outlook((THREE[0]._replace(**GUESS), *THREE[1:])), CHOICE)
    assert f"The logs do not support an answer: {GUESS['why']}. As a guess: take the linear to 0." in text(page)
    long = optimum_page(outlook((THREE[0]._replace(plan=""), THREE[2])), CHOICE._replace(plan="", best=1, best_toml=""))
    assert "It is the best schedule found." in text(long)
    assert 'id="plan"' not in long


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_the_data_are_told(page: str) -> None:
    said, tables = text(page), Reader(page).tables
    (logs,) = (table for table in tables if table[0][0] == "log")
    assert logs[1][0] == "log 1 run 1"
    assert logs[1][1:4] == ["200", f"{int(logged(1).fitted.sum())}", "0 to 10,000"]
    assert logs[1][-1] == "0.0012"
    for note in ("log 1 1 points were left out", "log 2 2 points were left out", "a note of no log"):
        assert note in said
    (parameters,) = (table for table in tables if table[0][0] == "parameter")
    assert parameters[1:] == [["floor", "2.5", "loss"], ["alpha", "0.5", "–"]]
    assert "The law: noise-floor The law of the tests." in said
    assert "logs/run1.csv: step, lr, loss" in said
    assert outlook().command in said


def test_a_log_that_was_left_out_is_said() -> None:
    page = forecast_page(outlook(logs=(logged(1), logged(2, used=False))), RANKING)
    (logs,) = (table for table in Reader(page).tables if table[0][0] == "log")
    assert (logs[2][2], logs[2][-1]) == ("0", "left out")
    lines = Reader(page).data()["charts"]["loss"]["lines"]
    assert [line["label"] for line in lines if line.get("dots") and line.get("pale") and "tag" in line] == [
        "log 2 run 2"
    ]


def test_steps_that_were_asked_for_are_a_table() -> None:
    asked = ((2000, 3.0, 2.99, 3.01), (STEPS, 2.8, 2.792, 2.808))
    page = forecast_page(outlook(tuple(c._replace(asked=asked) for c in FOUR)), RANKING)
    (table,) = (table for table in Reader(page).tables if table[0][0] == "step")
    assert [row[0] for row in table] == ["step", "2,000", "10,000"]
    assert table[1][1:3] == ["3.0000 ± 0.0100", "3.0000 ± 0.0100"]
    assert len(table[0]) == 1 + len(FOUR)


# --- what is drawn


def test_the_script_draws_the_logs_the_law_and_each_forecast_with_its_band() -> None:
    told = outlook()
    lines = charts(told)["loss"]["lines"]
    dots = [line for line in lines if line.get("dots")]
    drawn = sorted(itertools.chain.from_iterable(line["x"] for line in dots if line["label"].endswith("run 1")))
    assert drawn == told.logs[0].step.tolist()
    assert [line.get("pale", False) for line in dots] == [False, True, False, True]
    fitted = [line for line in lines if line["label"] == "the law on log 1"]
    np.testing.assert_allclose(fitted[0]["y"], told.logs[0].fitted_loss, rtol=1e-5)
    for i, line in enumerate(lines[-4:]):
        for name, key in (("loss", "y"), ("lower", "lower"), ("upper", "upper")):
            np.testing.assert_allclose(line[key], getattr(FOUR[i], name), rtol=1e-5)
        assert line["x"] == FOUR[i].step.tolist()
        assert (line["colour"], line["mark"]) == (colour(i), mark(i))
    assert [line["dash"] for line in lines[-4:]] == [0, 0, 0, 1]
    assert [line["tag"] for line in lines[-4:]] == ["plan 1", "plan 2", "plan 3", "plan 4 ?"]
    assert lines[-1]["label"] == "plan 4 (not supported)"


def test_rates_stand_on_the_same_axis_beneath() -> None:
    made = charts(outlook())
    assert made["loss"]["x"] == made["rate"]["x"] == [0, STEPS]
    assert made["loss-late"]["x"] == made["rate-late"]["x"] == [7500, STEPS]
    for whole, late in (("loss", "loss-late"), ("rate", "rate-late")):
        assert made[late]["of"] == whole
        assert "lines" not in made[late]
    line = made["rate"]["lines"][-1]
    np.testing.assert_allclose(line["y"], np.interp(line["x"], np.arange(STEPS), FOUR[0].lr), rtol=1e-3, atol=1e-12)
    assert made["rate"]["range"][0] == 0.0
    assert made["rate"]["range"][1] >= 3e-4


def test_the_axis_leaves_out_the_beginning_and_spikes_and_holds_every_supported_band() -> None:
    told = outlook(logs=(logged(1, spike=True),))
    made = charts(told)
    low, high = made["loss"]["range"]
    assert high < falling(0.1 * STEPS)  # where losses fall steeply
    sure = [c for c in FOUR if c.supported]
    assert low < min(c.lower.min() for c in sure)
    assert high > max(c.upper[c.step >= 0.25 * STEPS].max() for c in sure)
    low, high = made["loss-late"]["range"]
    assert low < min(c.lower[-1] for c in sure)
    assert max(c.upper[-1] for c in sure) < high < falling(0.5 * STEPS) + 0.5
    span_of_sure = span([(low, high)], [])
    far = charts(outlook((*FOUR[:3], prospect(4, 9.0, 3.0, **GUESS))))["loss-late"]["range"]
    assert far[1] < span_of_sure[1] + 2.0 * (high - low)  # a guess far away does not squash the rest


@pytest.mark.parametrize("final", [1.0, 9.0])
def test_a_guess_that_stands_alone_is_seen(final: float) -> None:
    (only,) = alone = (prospect(1, final, 3.0, **GUESS),)
    made = charts(outlook(alone))
    for chart in ("loss", "loss-late"):
        low, high = made[chart]["range"]
        assert low < only.loss[-1] < high


@given(
    st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 5)), min_size=1),
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0, 50))),
)
def test_span_holds_what_is_sure_and_of_guesses_no_more_than_the_room(sure: Any, guesses: Any) -> None:
    known, unsure = ([(a, a + width) for a, width in pairs] for pairs in (sure, guesses))
    low, high = span(known, unsure)
    least, most = min(a for a, _ in known), max(b for _, b in known)
    assert low <= least
    assert high >= most
    room = 0.5 * (most - least) or max(0.05 * abs(most), 0.0) or 1.0
    assert least - low <= room + 1e-9
    assert high - most <= room + 1e-9
    if not unsure:
        assert (low, high) == (least, most)


def test_long_runs_are_thinned_and_the_page_stays_light() -> None:
    logs = tuple(logged(i, points=20_000) for i in range(1, 6))
    plans = tuple(prospect(i, 2.8 + 0.01 * i) for i in range(1, 6))
    page = forecast_page(outlook(plans, logs), [Rank(i, 0.01 * i, 0.008) for i in range(5)])
    assert len(page.encode()) < 300_000
    for chart in Reader(page).data()["charts"].values():
        for line in chart.get("lines", []):
            assert len(line["x"]) == len(line["y"]) <= MOST_POINTS
            assert line["x"] == sorted(line["x"])
            if line["label"].startswith("log") and not line.get("pale"):
                assert line["x"][-1] >= STEPS - 1


# --- the page keeps to itself


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_policy_allows_exactly_the_code_in_the_page_and_names_no_address(page: str) -> None:
    found = Reader(page)
    policy = next(value for _, name, value in found.attributes if name == "content" and "default-src" in value)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], "unsafe" in policy) == ("'none'", False)
    for rule, code in (("script-src", found.code["script"][1]), ("style-src", found.code["style"][0])):
        assert rules[rule] == f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
    for element, name, value in found.attributes:
        assert name != "style"
        assert not name.startswith("on")
        if name in ("href", "src", "action"):
            assert value.startswith(("#", "data:image/svg+xml,")), (element, value)


def poisoned(value: Any, poison: str) -> Any:
    """Return the value with ``poison`` after every text that a user or a file could have chosen."""
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        fixed = {"created"}
        return type(value)(
            *[v if n in fixed else poisoned(v, poison) for n, v in zip(value._fields, value, strict=True)]
        )
    if isinstance(value, tuple):
        return tuple(poisoned(v, poison) for v in value)
    return f"{value}{poison}" if isinstance(value, str) else value


def of_poison(poison: str) -> list[str]:
    return [
        forecast_page(poisoned(outlook(), poison), RANKING),
        optimum_page(poisoned(outlook(THREE), poison), poisoned(CHOICE, poison)),
    ]


PLAIN = [Reader(page) for page in of_poison("x")]


@pytest.mark.parametrize("poison", HOSTILE)
def test_hostile_names_change_no_element_of_the_page(poison: str) -> None:
    for plain, page in zip(PLAIN, of_poison(poison), strict=True):
        found = Reader(page)
        assert found.skeleton == plain.skeleton
        assert found.code["script"][1:] == plain.code["script"][1:]
        page.encode("utf-8")
        assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in "\n\t" for letter in page)


@settings(max_examples=15, deadline=None)
@given(st.text(max_size=30))
def test_no_text_changes_the_page(poison: str) -> None:
    for plain, page in zip(PLAIN, of_poison(poison), strict=True):
        assert Reader(page).skeleton == plain.skeleton


def test_harmless_leaves_arrays_and_numbers() -> None:
    log = logged(1)
    made = harmless(log._replace(name="a\x1bb"))
    assert made.name == "a\ufffdb"
    assert made.step is log.step
    assert harmless(log._replace(name="a")) == log._replace(name="a") or made.loss is log.loss


# --- in a browser


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens a page afresh; the test fails on any message, error or request."""

    def go(html: str, **how: Any) -> Any:
        address = write_page(html, tmp_path / "page.html").as_uri()
        return visit(address, address, "data:image/svg+xml,", **how)

    return go


@pytest.mark.browser
@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_browser_draws_every_chart(opened: Callable[..., Any], html: str) -> None:
    page = opened(html)
    assert page.locator(".chart canvas").count() == 4
    inked = """[...document.querySelectorAll('.chart canvas')].map((canvas) => new Set(
        canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size)"""
    assert min(page.evaluate(inked)) > 20
    boxes = [page.locator(f'[data-chart="{key}"] .u-over').bounding_box() for key in ("loss", "rate")]
    assert [box["x"] for box in boxes] == [boxes[0]["x"]] * 2
    assert [box["width"] for box in boxes] == [boxes[0]["width"]] * 2


@pytest.mark.browser
def test_browser_reads_values_by_the_keyboard_on_both_charts(opened: Callable[..., Any]) -> None:
    page = opened(FORECAST)
    loss, rate = (page.locator(f'[data-chart="{key}"]') for key in ("loss", "rate"))

    def value(place: Any, label: str) -> str:
        item = place.locator(".legend li", has=page.locator("bdi", has_text=re.compile(f"^{label}$")))
        return item.locator("b").inner_text()

    assert loss.locator(".at").inner_text() == "at the end"
    assert value(loss, "plan 2") == "2.8000 ±0.008"
    loss.locator(".draw").focus()
    page.keyboard.press("Home")
    loss.locator(".at", has_text=re.compile("^step 0$")).wait_for()
    assert value(loss, "plan 2") == "–"  # the forecast begins later
    for _ in range(60):
        page.keyboard.press("ArrowRight")
    step = int(loss.locator(".at").inner_text().removeprefix("step ").replace(",", ""))
    assert 1000 < step < STEPS
    want = np.interp(step, FOUR[1].step, FOUR[1].loss)
    assert float(value(loss, "plan 2").split(" ")[0]) == pytest.approx(want, abs=1e-3)
    at = int(rate.locator(".at").inner_text().removeprefix("step ").replace(",", ""))
    assert abs(at - step) < 60  # the other chart shows the same place
    assert float(value(rate, "plan 1").replace("−", "-")) == pytest.approx(FOUR[0].lr[at], rel=0.01)


@pytest.mark.browser
@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_browser_fits_a_phone_in_the_dark_and_prints_light_and_unfolded(opened: Callable[..., Any], html: str) -> None:
    long = html.replace("run 1", "run 1" + "x" * 120)
    page = opened(long, viewport={"width": 390, "height": 800}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.set_viewport_size({"width": 710, "height": 1000})
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)" != dark
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 710


@pytest.mark.browser
def test_browser_without_scripts_still_shows_the_answer(opened: Callable[..., Any]) -> None:
    page = opened(FORECAST, java_script_enabled=False)
    assert page.get_by_text("2.8000", exact=True).first.is_visible()
    assert page.locator(".place:not(.axis)").count() == 4
    page = opened(OPTIMUM, java_script_enabled=False)
    assert page.get_by_text(CHOICE.plan, exact=True).first.is_visible()
