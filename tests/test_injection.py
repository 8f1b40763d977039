"""Strings that somebody hands in stay text: on every page, in every table, in every line of a terminal."""

from __future__ import annotations

import ast
import contextlib
import copy
import csv
import io
import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dwindle.cli import main
from dwindle.inert import inert
from dwindle.report import forecast_page, optimum_page, render, summary, write_page
from hostile import FILE_NAMES, FORMULAS, HOSTILE, LONE, TERMINAL, controls, formula, probe
from test_report import Reader, advised, poisoned
from test_report_forecast import CHOICE, RANKING, THREE, outlook
from test_report_forecast import poisoned as poisoned_outlook

FINDING: dict[str, Any] = {
    "code": "overfitting", "severity": "fault", "verdict": "The gap opened.", "subject": "clean labels", "source": "derived",
    "evidence": {"opened": 400, "nested": {"why": ["a", "b"]}},
    "remedy": {"says": "Decay more.", "change": {"decay": ["", "l2"]}},
}  # fmt: skip
BASE = advised() | {"findings": [FINDING, "a sentence"], "looked_at": ["the curves"]}


def study(poison: str) -> str:
    """Return the page of a study in which every text that somebody could have chosen ends with ``poison``."""
    return render(evidence(poison))


def evidence(poison: str) -> dict[str, Any]:
    made: dict[str, Any] = poisoned(copy.deepcopy(BASE), poison)
    made["findings"][0] |= {"severity": "fault", "evidence": {f"opened{poison}": [f"a{poison}"]}}
    made["findings"][0]["remedy"]["change"] = {f"decay{poison}": [f"a{poison}", f"b{poison}"]}
    return made


def forecast(poison: str) -> str:
    return forecast_page(poisoned_outlook(outlook(), poison), RANKING)


def optimum(poison: str) -> str:
    return optimum_page(poisoned_outlook(outlook(THREE), poison), poisoned_outlook(CHOICE, poison))


MAKERS = {"study": study, "forecast": forecast, "optimum": optimum}
PLAIN = {name: Reader(make("x")) for name, make in MAKERS.items()}


def test_the_table_is_large_and_its_strings_differ() -> None:
    assert len(HOSTILE) == len(set(HOSTILE.values())) >= 80
    assert len(FILE_NAMES) >= 60


# --- pages


def unharmed(page: str, poison: str) -> None:
    """Assert that the page is the same but for its texts, and says the string as text."""
    made = MAKERS[page](poison)
    found = Reader(made)
    assert found.skeleton == PLAIN[page].skeleton
    assert found.code["script"][1:] == PLAIN[page].code["script"][1:]
    assert found.code["style"] == PLAIN[page].code["style"]
    assert controls(made) == []
    for element, name, value in found.attributes:
        if name in ("href", "src", "action", "xlink:href"):
            assert value.startswith(("#", "data:image/svg+xml,")), (element, value)
    assert " ".join(inert(poison).split()) in found.text


@pytest.mark.parametrize("poison", HOSTILE.values(), ids=HOSTILE)
def test_no_string_adds_an_element_or_an_attribute_to_a_study(poison: str) -> None:
    unharmed("study", poison[:2000])


@pytest.mark.slow
@pytest.mark.parametrize("page", ["forecast", "optimum"])
def test_no_string_adds_an_element_or_an_attribute(page: str) -> None:
    for poison in HOSTILE.values():
        unharmed(page, poison[:500])


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[[str], Any]:
    """Return a function that opens a page; the test fails on a dialog, a message, an error or a request."""

    def go(html: str) -> Any:
        address = write_page(html, tmp_path / "page.html").as_uri()
        return visit(
            address, address, "data:image/svg+xml,", "blob:", permissions=["clipboard-read", "clipboard-write"]
        )

    return go


def elements(page: Any) -> int:
    return int(page.evaluate("document.querySelectorAll('*').length"))


def used(page: Any) -> None:
    """Touch what a reader touches: details, boxes, filters, sorting, a chart's keys, the theme."""
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    if page.locator("#trials-table").count():
        for index in (0, 3, 5):
            page.locator("#trials-table input").nth(index).check()
        page.locator("#trials-table thead button").first.click()
        page.locator("#trials-schedule").select_option(index=1)
        page.locator("#trials-schedule").select_option(index=0)
    page.locator(".chart .draw").first.focus()
    page.keyboard.press("Home")
    page.locator("#theme").click()
    page.wait_for_timeout(200)


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("name", MAKERS)
def test_a_browser_runs_loads_and_draws_none_of_them(opened: Callable[[str], Any], name: str) -> None:
    """Every string after every text of a page, a quarter at a time; details opened, rows ticked, charts drawn."""
    counts = set()
    strings = [text[:300] for text in HOSTILE.values()]
    for start in range(0, len(strings), 41):
        page = opened(MAKERS[name](" ".join(strings[start : start + 41])))
        used(page)
        assert page.evaluate(probe()) is False
        counts.add(elements(page))
        page.close()
    page = opened(MAKERS[name]("x"))
    used(page)
    assert counts == {elements(page)}


@pytest.mark.browser
def test_the_probe_sees_what_runs(browser: Any) -> None:
    page = browser.new_page()
    page.set_content("<p>nothing</p>")
    assert page.evaluate(probe()) is False
    page.set_content("<script>window.pwned=1</script>")
    assert page.evaluate(probe()) is True
    page.close()
    page = browser.new_page()
    page.set_content(HOSTILE["anchor"])
    assert page.evaluate(probe()) is True
    page.close()


# --- tables


@pytest.mark.browser
def test_no_cell_of_a_saved_table_is_computed_and_numbers_stay_numbers(opened: Callable[[str], Any]) -> None:
    base = advised()
    kept = base["settings"][0]["trials"]
    names = [text[:500] for text in HOSTILE.values()]
    base["settings"] = base["settings"][:1]
    base["settings"][0]["trials"] = [
        {**copy.deepcopy(kept[0]), "id": i, "schedule": name, "plan": f"{name}", "lam": 1e-3}
        for i, name in enumerate(names)
    ]
    base["settings"][0]["name"] = FORMULAS["formula command"]
    page = opened(render(base))
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    text = Path(download.value.path()).read_bytes().decode("utf-8")
    assert controls(text.replace("\r\n", "\n")) == []
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in rows] == [len(rows[0])] * (1 + len(names))
    assert not [cell for row in rows for cell in row if formula(cell)]
    head = {name: place for place, name in enumerate(rows[0])}
    for row in rows[1:]:
        assert float(row[head["lam"]]) == 1e-3
        name = inert(names[int(row[head["id"]])])
        assert row[head["schedule"]].removeprefix("'" if formula(name) else "") == name


def test_every_table_that_dwindle_writes_is_known() -> None:
    """Who writes separated values must guard its cells; the report's script is the only one that does, and is tested above."""
    root = Path(__file__).resolve().parents[1] / "src" / "dwindle"
    writers = {path.name for path in root.rglob("*.js") if "text/csv" in path.read_text(encoding="utf-8")}
    for path in root.rglob("*.py"):
        calls = (
            node.func for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)
        )
        names = {call.attr for call in calls if isinstance(call, ast.Attribute)}
        writers |= {path.name} if names & {"writerow", "writerows", "to_csv", "savetxt"} else set()
    assert writers == {"trials.js"}, "add a test above: cells of text that begin with = + - @ tab CR need a leading '"


# --- the terminal


def said(words: list[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Return the exit code of the command, and what it wrote to a terminal in UTF-8."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", streams[0])
        patched.setattr(sys, "stderr", streams[1])
        code: Any = 0
        try:
            main(words)
        except SystemExit as leave:
            code = leave.code
    out, err = (stream.buffer.getvalue().decode("utf-8") for stream in streams)  # type: ignore[attr-defined]
    return int(code or 0), out, err


def possible(word: str) -> bool:
    """Return whether a shell can hand in the word."""
    try:
        return b"\0" not in os.fsencode(word)
    except UnicodeEncodeError:
        return False


def harmless(text: str) -> None:
    assert controls(text) == []


@pytest.mark.parametrize("poison", HOSTILE.values(), ids=HOSTILE)
def test_a_summary_steers_nothing_and_fits(poison: str) -> None:
    for pictures in (False, True):
        text = summary(evidence(poison[:500]), pictures=pictures)
        harmless(text)
        assert "\t" not in text
        for line in text.splitlines():
            wide = sum(
                0 if unicodedata.combining(x) else 2 if unicodedata.east_asian_width(x) in "WF" else 1 for x in line
            )
            assert wide <= 80


WORDS: dict[str, Callable[[str], list[str]]] = {
    "show": lambda text: ["show", f"peak 1 | {text}"],
    "show a plan": lambda text: ["show", text],
    "show a file": lambda text: ["show", f"{text}.toml"],
    "convert": lambda text: ["convert", f"torch:StepLR({text}) lr=0.1", "--to", "plan"],
    "convert a string": lambda text: ["convert", f"torch:StepLR(30, {text!r}) lr=0.1", "--to", "keras"],
    "convert to": lambda text: ["convert", "peak 1", "--to", text],
    "convert a file": lambda text: ["convert", f"{text}.py", "--to", "plan"],
    "forecast": lambda text: ["forecast", f"{text}.csv", "--plan", "peak 1"],
    "forecast a plan": lambda text: ["forecast", "a.csv", "--plan", text],
    "optimize": lambda text: ["optimize", f"{text}.csv", "--horizon", "100"],
    "optimize against": lambda text: ["optimize", "a.csv", "--horizon", "100", "--against", text],
    "study": lambda text: ["study", f"{text}.csv"],
    "study a space": lambda text: ["study", "fashion", "--space", text, "--out", "x"],
    "study a sampler": lambda text: ["study", "fashion", "--sampler", text, "--out", "x"],
    "a command": lambda text: [text],
}


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=[pytest.mark.slow] * (name in ("study a space", "study a sampler")), id=name)
        for name, words in WORDS.items()
    ],
)
def test_an_error_steers_no_terminal(
    words: Callable[[str], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for poison in (
        *TERMINAL.values(),
        *LONE.values(),
        *FORMULAS.values(),
        HOSTILE["rich"],
        HOSTILE["percent"],
        "x" * 300,
    ):
        given = words(poison)
        if any(word.startswith("-") and word not in ("--plan", "--to", "--horizon", "--against", "--space", "--sampler", "--out")
               for word in given):  # fmt: skip
            continue  # an option, by its first letter
        if not all(possible(word) for word in given):
            continue
        code, out, err = said(given, monkeypatch)
        harmless(out + err)
        assert code in (0, 2), (given, err)
        assert len(err.strip().splitlines()) <= 1
        assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == []


def log(folder: Path, name: str, column: str, peak: float) -> Path:
    """Write a log of 400 steps with hostile names, as far as a file can have them."""
    step = np.arange(0, 2000, 5)
    lr = peak * (1 + np.cos(np.pi * step / 2000)) / 2
    loss = 2.0 + 1.5 * (1 + step / 40.0) ** -0.5 + 0.02 * lr / peak
    path = folder / name
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "lr", column])
        writer.writerows(zip(step.tolist(), lr.tolist(), loss.tolist(), strict=True))
    return path


STEERING = {name: text for name, text in FILE_NAMES.items() if name in TERMINAL or name in LONE or name in FORMULAS}


@pytest.mark.slow
def test_forecast_and_optimize_of_hostile_files_and_columns_steer_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(STEERING.values())[::3]:
        column = f"loss {inert(name) if name in LONE.values() else name}".replace("\x00", "").replace("\r", " ")
        made = log(tmp_path, f"{name}.csv", column, 0.1)
        shown = os.fsdecode(made)
        for words in (["forecast", shown, "--loss", column.strip(), "--plan", "peak 0.1 | linear to 0"],
                      ["optimize", shown, "--loss", column.strip(), "--horizon", "2000"]):  # fmt: skip
            html = tmp_path / "page.html"
            code, out, err = said([*words, "--html", str(html)], monkeypatch)
            harmless(out + err)
            if code == 0:
                page = html.read_text(encoding="utf-8")
                assert controls(page) == []
            else:
                assert code == 2, err
        made.unlink()


@pytest.mark.slow
def test_show_and_convert_print_a_hostile_mask_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import dwindle as dw
    from dwindle.mask import Mask, Rule

    reached = 0
    for text in (*TERMINAL.values(), HOSTILE["script"], HOSTILE["json end"]):
        with contextlib.suppress(dw.DwindleError):
            plan = dw.Plan(0.1, decay=dw.decoupled(0.1), mask=Mask((Rule("name", text, False),)))
            written = str(plan)
            for words in (["show", written], ["convert", written, "--to", "plan"], ["convert", written, "--to", "json"],
                          ["convert", written, "--to", "toml"], ["convert", written, "--to", "torch"]):  # fmt: skip
                code, out, err = said(words, monkeypatch)
                harmless(out + err)
                assert code in (0, 2), err
                reached += code == 0
    assert reached


def test_a_study_of_hostile_columns_and_file_steers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    name = f"{TERMINAL['colour']}{TERMINAL['bidi override']}{HOSTILE['image']}=1"
    path = tmp_path / f"{name}.csv"
    columns = [TERMINAL["title"], HOSTILE["svg"], "target"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for _ in range(80):
            x = rng.standard_normal(2)
            writer.writerow([*x.tolist(), f"{FORMULAS['formula']}\x1b" if x.sum() > 0 else HOSTILE["script"]])
    words = ["study", str(path), "--target", "target", "--out", "out", "--trials", "2", "--seeds", "2", "--epochs", "2",
             "--folds", "1", "--no-refine", "--no-halving", "--plots",
             "--space", "lam 0 1 | peak 1e-2 | schedule cosine to 0 | decoupled"]  # fmt: skip
    code, out, err = said(words, monkeypatch)
    assert code == 0, err
    harmless(out + err)
    assert "Use  λ" in out
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert controls(page) == []
    assert not {"img", "iframe"} & {element for element, _ in Reader(page).skeleton}
    for line in (tmp_path / "out" / "trials.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)
        harmless(line)


# --- a terminal that does not know our letters


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp437"])
def test_a_terminal_of_few_letters_gets_likes_of_them(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    with monkeypatch.context() as patched, contextlib.suppress(SystemExit):
        patched.setattr(sys, "stdout", stream)
        main(["show", "peak 0.1 | cosine to 0 | decoupled 0.1"])
    raw = stream.buffer.getvalue()  # type: ignore[attr-defined]
    text = raw.decode(encoding if encoding != "ascii" else "utf-8")  # typer writes UTF-8 where a stream says ASCII
    assert "timescale" in text


def test_a_summary_in_ascii_says_the_same_in_as_many_columns() -> None:
    for pictures in (False, True):
        plain = summary(BASE, pictures=pictures, encoding="latin-1")
        assert plain.isascii()
        assert max(map(len, plain.splitlines())) <= 80
        assert "?" not in plain.replace("? cannot", "").replace("? Nobody", "").split("Findings")[0].replace(
            BASE["title"], ""
        )
        both = [summary(BASE, pictures=pictures, encoding=name).splitlines() for name in ("utf-8", None)]
        rows = [[line for line in lines if line.startswith(("winner ", "best ")) and "_" not in line and "▁" not in line]
                for lines in both]  # fmt: skip
        assert [len(line) for line in rows[0]] == [len(line) for line in rows[1]] != []
    assert summary(BASE) == summary(BASE, encoding="utf-8")
