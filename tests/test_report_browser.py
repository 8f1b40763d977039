"""The pages in a browser: read and used by hand, by keyboard, by ear, on a phone, on paper; and they reach for nothing."""

from __future__ import annotations

import copy
import re
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from dwindle.report import render, write_page
from test_report import EVIDENCE, advised, variant
from test_report_forecast import FORECAST, OPTIMUM

pytestmark = pytest.mark.browser

FINDINGS = [
    {"code": "cut-early", "severity": "note", "verdict": "The loss still falls at the end.", "evidence": {"slope": -0.002},
     "remedy": {"says": "Train longer.", "change": {"schedule": ["constant", "linear to 0%"], "peak": ["", "0.1"]}},
     "source": "derived", "subject": ""},
    {"code": "overfitting", "severity": "fault", "verdict": "The gap opened at step 400.", "evidence": {"opened": 400},
     "remedy": {"says": "Decay more.", "change": {"decay": ["decoupled 0.1", "decoupled 0.3"]}}, "source": "measured",
     "subject": "clean labels"},
    "a plain sentence",
]  # fmt: skip


def of_trials(count: int) -> dict[str, Any]:
    """Return evidence of so many trials, with findings."""
    made = advised() if count == 0 else copy.deepcopy(EVIDENCE)
    for condition in made["settings"] if count else ():
        kept = condition["trials"]
        condition["trials"] = [{**kept[i % len(kept)], "id": i} for i in range(count // 2)]
    return made | {"findings": FINDINGS, "looked_at": ["the curves of the winner", "the edges of the space"]}


SIXTY = render(of_trials(60))
ADVISED = render(of_trials(0))
PAGES = {"study": SIXTY, "advised": ADVISED, "forecast": FORECAST, "optimum": OPTIMUM}
SEARCHED = render(variant("random search"))


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens a page afresh; the test fails on any message, error, dialog or request."""

    def go(html: str, **how: Any) -> Any:
        address = write_page(html, tmp_path / "page.html").as_uri()
        return visit(address, address, "data:image/svg+xml,", "blob:", **how)

    return go


# --- by ear


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_axe_finds_nothing(opened: Callable[..., Any], html: str, scheme: str) -> None:
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    page = opened(html, color_scheme=scheme, bypass_csp=True)
    page.evaluate(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    result = page.evaluate("axe.run()")
    assert len(result["passes"]) > 20  # it did look
    faults = [(v["impact"], v["id"], v["nodes"][0]["html"][:200]) for v in result["violations"]]
    assert faults == []


def test_axe_would_find_a_fault(opened: Callable[..., Any]) -> None:
    found = find_spec("axe_playwright_python")
    if found is None or found.origin is None:
        pytest.skip("axe-playwright-python is not installed")
    page = opened(
        SIXTY.replace('aria-label="draw trial', 'data-x="').replace('class="lede"', 'class="q5"'), bypass_csp=True
    )
    page.evaluate(Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8"))
    page.evaluate(
        "document.querySelector('#trials-text').closest('label').replaceWith(document.createElement('input'))"
    )
    assert "label" in [v["id"] for v in page.evaluate("axe.run()")["violations"]]


def test_a_chart_says_where_its_cursor_is(opened: Callable[..., Any]) -> None:
    page = opened(SIXTY)
    place = page.locator('[data-chart="lr-0"]')
    chart, said = place.locator(".draw"), place.locator("[role=status]")
    assert said.inner_text() == ""
    chart.focus()
    page.keyboard.press("Home")
    said.filter(has_text=re.compile(r"^epoch 1; winner ")).wait_for()
    winner = EVIDENCE["settings"][0]["contenders"][0]["curves"]["lr"]
    assert float(said.inner_text().split("winner ")[1].split(";")[0]) == pytest.approx(winner[0], rel=1e-3)
    page.keyboard.press("ArrowRight")
    said.filter(has_text=re.compile("^epoch 2;")).wait_for()
    page.keyboard.press("PageDown")
    said.filter(has_text=re.compile("^epoch 12;")).wait_for()
    assert float(said.inner_text().split("winner ")[1].split(";")[0]) == pytest.approx(winner[11], rel=1e-3)
    page.keyboard.press("PageUp")
    said.filter(has_text=re.compile("^epoch 2;")).wait_for()
    page.keyboard.press("End")
    said.filter(has_text=re.compile("^epoch 40;")).wait_for()
    assert all(name in said.inner_text() for name in ("best without weight decay", "best at constant rate"))


# --- by keyboard


def test_everything_is_reached_and_seen_by_the_tab_key(opened: Callable[..., Any]) -> None:
    page = opened(ADVISED)
    focusable = "a[href], button, input, select, summary, [tabindex='0']"
    wanted = page.evaluate(
        f"[...document.querySelectorAll({focusable!r})].filter((e) => e.checkVisibility() && e.tabIndex >= 0).length"
    )
    step = """() => {
        const at = document.activeElement;
        if (at === document.body) return [window.reached.size, true];
        window.reached.add(at);
        return [window.reached.size, getComputedStyle(at).outlineStyle !== 'none'];
    }"""
    reached, ringed = 0, True
    page.evaluate("() => { window.reached = new Set(); }")
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        reached, ringed = page.evaluate(step)
        assert ringed
    assert reached == wanted


def test_sixty_trials_are_sorted_filtered_ticked_and_saved_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened(SIXTY)
    rows = page.locator("#trials-table tbody tr:not([hidden])")
    assert rows.count() == 60
    page.locator("#trials-table th", has_text="validation").locator("button").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Space")
    assert page.locator("#trials-table th[aria-sort=descending]").inner_text().startswith("validation")
    column = "[...document.querySelectorAll('#trials-table tbody tr')].map((row) => row.cells[8].textContent)"
    values = [float(value) for value in page.evaluate(column) if value != "–"]
    assert values == sorted(values, reverse=True)
    page.locator("#trials-text").focus()
    page.keyboard.type("step 0.5")
    filtered = rows.count()
    assert 0 < filtered < 60
    assert page.locator(".controls output").inner_text() == f"{filtered} of 60 trials"
    lines = page.locator('[data-chart="trials"] .legend bdi')
    before = lines.count()
    box = rows.locator("input").nth(1)
    was = box.is_checked()
    box.focus()
    page.keyboard.press("Space")
    assert lines.count() == before + (-1 if was else 1)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").focus()
        page.keyboard.press("Enter")
    assert len(Path(download.value.path()).read_text(encoding="utf-8").splitlines()) == 61


def test_the_theme_is_switched_by_key_and_every_chart_follows(opened: Callable[..., Any]) -> None:
    page = opened(SIXTY, color_scheme="dark")
    button = page.locator("#theme")
    assert button.get_attribute("aria-label") == "switch to the light theme"
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-label") == "switch to the dark theme"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(251, 250, 247)"
    assert (
        page.locator(".chart .draw").count()
        == page.locator(".chart [role=status]").count()
        == page.locator(".chart").count()
    )


# --- findings


def test_findings_stand_beside_the_answer_and_whole_in_their_section(opened: Callable[..., Any]) -> None:
    page = opened(SIXTY)
    brief, whole = page.locator("#answer .findings"), page.locator("#findings")
    assert [text.split("\n")[0] for text in brief.locator("li").all_inner_texts()] == ["✗\u00a0fault", "●\u00a0note"]
    brief.locator("a").click()
    assert page.evaluate("location.hash") == "#findings"
    items = whole.locator(".found > li")
    assert items.count() == 3
    assert "The gap opened at step 400." in items.nth(0).inner_text()
    assert items.nth(0).locator("del").inner_text() == "decoupled 0.1"
    assert items.nth(0).locator("ins").inner_text() == "decoupled 0.3"
    assert items.nth(1).locator(".change li").nth(1).inner_text() == "peak nothing → 0.1"
    assert not items.nth(0).locator("dd").is_visible()
    items.nth(0).locator("summary").press("Enter")
    assert items.nth(0).locator("dd").inner_text() == "400"
    assert "Looked at: the curves of the winner; the edges of the space." in whole.inner_text()
    assert items.nth(2).locator("details").count() == 0


# --- every screen, and paper


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
@pytest.mark.parametrize("html", [*PAGES.values(), SEARCHED], ids=[*PAGES, "searched"])
def test_the_body_never_scrolls_sideways(opened: Callable[..., Any], html: str, width: int) -> None:
    page = opened(html, viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over = "[...document.querySelectorAll('.chart .draw')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.evaluate(over) == 0


@pytest.mark.parametrize("html", PAGES.values(), ids=PAGES)
def test_paper_has_every_chart_whole_no_controls_and_all_details(opened: Callable[..., Any], html: str) -> None:
    page = opened(html, viewport={"width": 710, "height": 1000}, color_scheme="dark")
    charts = page.locator(".chart canvas").count()
    printed = page.pdf(format="A4", print_background=True)
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", printed))
    assert 2 <= pages <= 16
    assert page.locator(".chart canvas").count() == charts
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    for selector in ("button", "select", "input"):
        shown = page.locator(f"{selector}:visible").all()
        assert [each.inner_text() for each in shown if not each.locator("xpath=ancestor::th").count()] == []
    assert page.locator("details:not([open])").count() == 0
    breaks = page.evaluate("[...document.querySelectorAll('.chart')].map((e) => getComputedStyle(e).breakInside)")
    assert set(breaks) == {"avoid"}
    for head in page.locator("#trials-table thead th:not(:has(.sr))").all():
        assert head.is_visible()
        assert head.inner_text().strip()
    page.evaluate("dispatchEvent(new Event('afterprint'))")


def test_the_printed_words_are_text(opened: Callable[..., Any]) -> None:
    printed = opened(SIXTY).pdf(format="A4")
    streams = [zlib.decompress(body) for body in re.findall(rb"FlateDecode[^>]*>>\s*stream\r?\n(.*?)endstream", printed, re.S)
               if body[:1] == b"\x78"]  # fmt: skip
    assert sum(stream.count(b"TJ") + stream.count(b"Tj") for stream in streams) > 200


# --- quick and light


@pytest.mark.parametrize("count", [60, 200])
def test_a_page_is_light_and_there_at_once(opened: Callable[..., Any], count: int) -> None:
    html = render(of_trials(count))
    assert len(html.encode()) < 1_000_000
    page = opened(html)
    loaded = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    redraw = (
        "() => { const t = performance.now(); document.getElementById('theme').click(); return performance.now() - t; }"
    )
    redrawn = page.evaluate(redraw)
    print(f"{count} trials: {len(html.encode()):,} bytes, loaded in {loaded:.0f} ms, all redrawn in {redrawn:.0f} ms")
    assert loaded < 10_000  # measured: about 300 ms; a slow machine is no fault of the page


# --- without colour


def test_lines_are_told_apart_without_colour(opened: Callable[..., Any]) -> None:
    """Every line of a chart has a dash, a shape along it or a name beside it of its own: grey tells them apart as well."""
    charts = opened(SIXTY).evaluate("JSON.parse(document.getElementById('evidence').textContent).charts")
    charts |= opened(FORECAST).evaluate("JSON.parse(document.getElementById('evidence').textContent).charts")
    for name, chart in charts.items():
        lines = [line for line in chart.get("lines", []) if not line.get("quiet")]
        marks = [(line["dash"], line.get("mark"), line.get("dots"), line.get("tag")) for line in lines]
        assert len(set(marks)) == len(marks), name


@pytest.mark.parametrize("width", [360, 1280])
def test_a_dense_map_keeps_its_figures_apart(opened: Callable[..., Any], width: int) -> None:
    page = opened(SEARCHED, viewport={"width": width, "height": 800})
    spilled = """[...document.querySelectorAll('.heat td, .heat thead th')].filter(
        (cell) => cell.checkVisibility() && cell.scrollWidth > cell.clientWidth + 1).length"""
    assert page.evaluate(spilled) == 0
    labels = """[...document.querySelectorAll('.bylam')].flatMap((figure) => {
        const boxes = [...figure.querySelectorAll(':scope > g > text')].map((text) => text.getBoundingClientRect());
        return boxes.slice(1).filter((box, index) => box.left < boxes[index].right);
    }).length"""
    assert page.evaluate(labels) == 0
