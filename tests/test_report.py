"""The report: it says what the evidence says, nothing in a name comes alive, and the page asks nothing of a network."""

from __future__ import annotations

import base64
import copy
import csv
import hashlib
import itertools
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError, DwindleError, InvalidValueError
from dwindle.inert import inert
from dwindle.report import FORMAT, render, summary, write
from dwindle.report.cells import sparkline
from dwindle.report.charts import thin
from dwindle.report.evidence import Comparison
from dwindle.report.figures import ticks
from dwindle.report.grid import MOST_BANDS, bands, families, level
from dwindle.report.heat import near_best
from dwindle.report.markup import data_block, joined, tag
from dwindle.report.reading import read
from dwindle.report.words import gain_sentence, interval, lede, mean

EPOCHS = 40
LAMS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
PEAKS = (0.03, 0.1, 0.3)
SHAPES = {
    "constant": lambda f: np.ones_like(f),
    "step 0.5 every 5ep": lambda f: 0.5 ** np.floor(f * EPOCHS / 5),
    "linear to 0%": lambda f: 1 - f,
    "cosine to 0%": lambda f: (1 + np.cos(np.pi * f)) / 2,
}


# Synthetic evidence: not a training, but curves of the shape that trainings have.


def losses(lam: float, peak: float, schedule: str, noise: float, seed: int) -> dict[str, Any]:
    """Return train and validation curves: λ narrows the gap and in excess stops the learning; a high rate rattles."""
    rng = np.random.default_rng(
        [seed, int(lam * 10), int(peak * 100), sorted(SHAPES).index(schedule), int(noise * 100)]
    )
    epoch = np.arange(1, EPOCHS + 1)
    factor = SHAPES[schedule](epoch / EPOCHS)
    learnt = 1 - np.exp(-np.cumsum(peak * (0.25 + factor)) * 3.5)
    floor = 0.03 + 0.55 * noise + 0.030 * lam + 0.25 * (lam / 10) ** 2
    rattle = 0.9 * peak * factor * (0.25 + 0.5 * rng.random(EPOCHS))
    train = 2.3 * (1 - learnt) + floor + 0.35 * rattle
    overfit = (0.55 + 1.4 * noise) * learnt**3 / (1 + 1.1 * lam) * (1 + 0.35 * epoch / EPOCHS)
    validation = train + 0.10 + overfit + rattle + 0.004 * rng.standard_normal(EPOCHS)
    accuracy = np.clip(0.86 - 0.09 * (validation - 0.4) - 0.1 * noise, 0.1, 0.99)
    taken = peak * factor * lam / 1600
    norm = 18 * np.sqrt(0.15 + learnt) * (1 + 0.3 * epoch / EPOCHS) / (1 + 0.35 * lam)
    left = np.exp(-np.cumsum(peak * factor) * lam / 20)
    return {"epoch": epoch, "train_loss": train, "validation_loss": validation, "validation_accuracy": accuracy,
            "penalty": 0.0005 * lam * norm**2, "lr": peak * factor, "decay_share": taken, "share_left": left,
            "weight_norm": norm}  # fmt: skip


def plan_text(lam: float, peak: float, schedule: str) -> str:
    return f"peak {peak:g} | {schedule} | l2 {lam:g}/1600"


def trial(identity: int, lam: float, peak: float, schedule: str, noise: float) -> dict[str, Any]:
    run = losses(lam, peak, schedule, noise, identity)
    diverged = lam * peak >= 3 and schedule == "constant"
    curve = {k: run[k].tolist() for k in ("epoch", "train_loss", "validation_loss", "validation_accuracy", "penalty")}
    final: dict[str, Any] = {
        "train_loss": run["train_loss"][-1], "train_accuracy": float(np.clip(1 - run["train_loss"][-1] / 3, 0, 1)),
        "validation_loss": run["validation_loss"][-1], "validation_accuracy": run["validation_accuracy"][-1],
    }  # fmt: skip
    final = {key: float(value) for key, value in final.items()}
    if diverged:
        final = dict.fromkeys(final)
        curve = {k: v if k == "epoch" else [*v[:6], *[None] * (EPOCHS - 6)] for k, v in curve.items()}
    return {"id": identity, "lam": lam, "peak": peak, "schedule": schedule, "plan": plan_text(lam, peak, schedule),
            "seed": 1000 + identity, "diverged": diverged, "final": final, "curve": curve}  # fmt: skip


def contender(role: str, lam: float, peak: float, schedule: str, noise: float) -> dict[str, Any]:
    seeds = list(range(5))
    runs = [losses(lam, peak, schedule, noise, 500 + seed) for seed in seeds]
    shift = [0.006 * math.sin(3 + 7 * seed) for seed in seeds]
    test = [float(run["validation_loss"][-1]) + 0.01 + s for run, s in zip(runs, shift, strict=True)]
    names = ("train_loss", "validation_loss", "lr", "decay_share", "share_left", "weight_norm")
    curves = {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in names}
    return {
        "role": role, "plan": plan_text(lam, peak, schedule), "lam": lam, "peak": peak, "schedule": schedule, "seeds": seeds,
        "test_loss": test, "test_accuracy": [0.86 - 0.09 * (loss - 0.4) - 0.1 * noise for loss in test],
        "gap": [float(run["validation_loss"][-1] - run["train_loss"][-1]) for run in runs],
        "curves": {"epoch": list(range(1, EPOCHS + 1)), **curves},
    }  # fmt: skip


def compared(winner: dict[str, Any], other: dict[str, Any], metric: str) -> dict[str, Any]:
    paired = np.array(winner[metric]) - np.array(other[metric])
    half = 2.776 * paired.std(ddof=1) / math.sqrt(len(paired)) + 1e-4  # Student's t with four degrees of freedom
    lower, upper = float(paired.mean() - half), float(paired.mean() + half)
    good = lower > 0 if metric == "test_accuracy" else upper < 0
    bad = upper < 0 if metric == "test_accuracy" else lower > 0
    verdict = "better" if good else "worse" if bad else "not distinguishable"
    return {"against": other["role"], "metric": metric, "difference": float(paired.mean()), "lower": lower, "upper": upper,
            "seeds": len(paired), "verdict": verdict}  # fmt: skip


def setting(name: str, noise: float) -> dict[str, Any]:
    grid = [(lam, peak, schedule) for schedule in SHAPES for lam in LAMS for peak in PEAKS]
    trials = [trial(index, lam, peak, schedule, noise) for index, (lam, peak, schedule) in enumerate(grid)]
    finished = [t for t in trials if not t["diverged"]]
    best = min(finished, key=lambda t: t["final"]["validation_loss"])
    lam, peak, schedule = best["lam"], best["peak"], best["schedule"]
    flat = min((t for t in finished if t["schedule"] == "constant"), key=lambda t: t["final"]["validation_loss"])
    contenders = [
        contender("winner", lam, peak, schedule, noise),
        contender("no weight decay", 0.0, 0.1, schedule, noise),
        contender("constant lr", flat["lam"], flat["peak"], "constant", noise),
        contender("neither", 0.0, 0.1, "constant", noise),
        contender("winner without weight decay", 0.0, peak, schedule, noise),
        contender("winner at constant lr", lam, peak, "constant", noise),
    ]
    comparisons = [
        compared(contenders[0], c, metric) for c in contenders[1:] for metric in ("test_loss", "test_accuracy", "gap")
    ]
    toml = f'peak = {peak}\nschedule = "{schedule}"\n\n[decay]\nconvention = "l2"\nlam = {lam}\nn = 1600\nmask = "matrices"\n'
    code = {"torch": f"optimiser = torch.optim.SGD(groups, lr={peak}, weight_decay={lam / 1600:g})\n"}
    return {
        "name": name, "trials": trials,
        "winner": {"plan": best["plan"], "toml": toml, "lam": lam, "peak": peak, "schedule": schedule, "code": code},
        "contenders": contenders, "comparisons": comparisons,
        "facts": [f"{sum(t['diverged'] for t in trials)} of {len(trials)} trials diverged, all with a constant rate.",
                  f"The best λ is {lam:g}, which shrinks a weight by {100 * peak * lam / 1600:.3g} % per step at the peak."],
    }  # fmt: skip


def evidence() -> dict[str, Any]:
    """Return the evidence of a study that never was: two settings of 72 trials."""
    return {
        "format": "dwindle-evidence/1", "title": "How much weight decay, and which learning-rate decay?",
        "created": "2026-11-24T10:24:31+00:00", "seconds": 200.0, "seed": 0,
        "environment": {"dwindle": "0.1.0", "python": "3.11.7", "numpy": "2.4.0", "platform": "Linux x86_64", "cores": 2},
        "data": {"name": "Fashion-MNIST (2,000 of 60,000)", "provenance": ["Zalando SE, MIT licence", "sha256 c59f468a2f67…"],
                 "train": 1600, "validation": 400, "test": 2000, "classes": 10, "task": "classification"},
        "model": "MLP 784-128-10 relu, softmax cross-entropy", "optimiser": "SGD, momentum 0.9", "batch_size": 50,
        "epochs": EPOCHS, "steps": EPOCHS * 32,
        "settings": [setting("clean labels", 0.0), setting("20 % label noise", 0.2)], "findings": [],
    }  # fmt: skip


EVIDENCE = evidence()
PAGE = render(EVIDENCE)


def changed(*path: Any, value: Any) -> dict[str, Any]:
    """Return the evidence with one value replaced."""
    made = copy.deepcopy(EVIDENCE)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


class Reader(HTMLParser):
    """Collects what a browser would see: the skeleton of elements, the text, the inline code, the tables."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.skeleton: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.code: dict[str, list[str]] = {"style": [], "script": []}
        self.heads: list[list[tuple[str, str | None]]] = []
        self.words: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._raw = ""
        self._cell = False
        self.feed(page)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skeleton.append((tag, tuple(sorted(name for name, _ in attrs))))
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self._raw = tag if tag in self.code else ""
        if self._raw:
            self.code[tag].append("")
            self.heads.append(attrs)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._raw = ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = ""
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._raw:
            self.code[self._raw][-1] += data
            return
        self.words.append(data)
        if self._cell:
            self.tables[-1][-1][-1] += data

    def data(self) -> Any:
        return json.loads(self.code["script"][0])


READ = Reader(PAGE)


# What the page says


@pytest.mark.parametrize("index", [0, 1])
def test_page_gives_the_answer_and_the_text_to_paste(index: int) -> None:
    condition = EVIDENCE["settings"][index]
    assert condition["name"] in READ.text
    assert " ".join(condition["winner"]["plan"].split()) in READ.text
    assert " ".join(condition["winner"]["toml"].split()) in READ.text
    assert " ".join(condition["winner"]["code"]["torch"].split()) in READ.text
    for fact in condition["facts"]:
        assert fact in READ.text


@pytest.mark.parametrize("index", [0, 1])
def test_every_comparison_is_shown_with_its_interval_and_verdict(index: int) -> None:
    for given_one in EVIDENCE["settings"][index]["comparisons"]:
        comparison = Comparison(**given_one)
        difference, bounds = interval(comparison)
        scale = 100 if comparison.metric == "test_accuracy" else 1
        figures = [float(text.replace("−", "-")) for text in (difference, *bounds.split(" to "))]
        exact = [scale * x for x in (comparison.difference, comparison.lower, comparison.upper)]
        assert figures == pytest.approx(exact, abs=0.3 * (exact[2] - exact[1]) / 2)  # rounded well inside the interval
        sign = {"better": "✓", "worse": "✗", "not distinguishable": "≈"}[comparison.verdict]
        shown = f"{difference} ({bounds}) {sign} {comparison.verdict}"
        assert shown in READ.text
        if comparison.against in ("no weight decay", "constant lr") and comparison.metric == "test_loss":
            assert f"{difference} test loss" in READ.text
        if comparison.against.startswith("winner") and comparison.metric == "test_loss":
            assert f"against the winner stripped of it {difference} ({bounds})" in READ.text


def test_answer_comes_before_everything_else() -> None:
    order = [READ.text.rindex(said) for said in ("lowered the test loss", "plan.toml", "close the gap?", "Every trial")]
    assert order == sorted(order)


def test_the_map_holds_the_best_validation_loss_of_every_pair() -> None:
    maps = [table for table in READ.tables if table[0][0].startswith("λ ↓")]
    assert len(maps) == 2 * len(SHAPES)
    for condition, tables in zip(EVIDENCE["settings"], (maps[: len(SHAPES)], maps[len(SHAPES) :]), strict=True):
        assert any("★" in cell for row in tables[0] for cell in row), "the winner is in the first map"
        assert sum("★" in cell for table in tables for row in table for cell in row) == 1
        cells = [row[1:] for table in tables for row in table[1:]]
        found = sorted(cell.replace("★ ", "") for row in cells for cell in row)
        losses_of = {(t["lam"], t["peak"], t["schedule"]): t["final"]["validation_loss"] for t in condition["trials"]}
        wanted = sorted("✕ diverged" if v is None else f"{v:.3f}" for v in losses_of.values())
        assert found == wanted
        lows = [v for v in losses_of.values() if v is not None]
        close = sum(v <= 1.03 * min(lows) for v in lows)
        assert near_best(read(EVIDENCE).settings[EVIDENCE["settings"].index(condition)]).startswith(
            f"{close} of 72 cells"
        )


def test_map_rows_and_columns_are_the_values_tried() -> None:
    table = next(table for table in READ.tables if table[0][0].startswith("λ ↓"))
    assert table[0][1:] == [f"{peak:g}" for peak in PEAKS]
    assert [row[0] for row in table[1:]] == [f"{lam:g}" for lam in LAMS]
    best = min(
        (t for t in EVIDENCE["settings"][0]["trials"] if not t["diverged"]), key=lambda t: t["final"]["validation_loss"]
    )
    row, column = 1 + LAMS.index(best["lam"]), 1 + PEAKS.index(best["peak"])
    assert table[row][column] == f"★ {best['final']['validation_loss']:.3f}"


def test_gap_is_the_mean_over_the_seeds() -> None:
    for condition in EVIDENCE["settings"]:
        by_role = {c["role"]: float(np.mean(c["gap"])) for c in condition["contenders"]}
        ours, theirs, lam = by_role["winner"], by_role["winner without weight decay"], condition["winner"]["lam"]
        assert f"is {theirs:.3f} without weight decay and {ours:.3f} with λ = {lam:g}, " in READ.text
        assert f"{100 * (1 - ours / theirs):.0f} % smaller" in READ.text


def test_every_trial_has_a_row_best_first() -> None:
    table = next(table for table in READ.tables if table[0][0] == "setting")
    assert len(table) == 1 + 144
    for index, condition in enumerate(EVIDENCE["settings"]):
        rows = table[1 + 72 * index : 73 + 72 * index]
        assert {row[0] for row in rows} == {condition["name"]}
        assert sorted(int(row[1]) for row in rows) == list(range(72))
        finished = [float(row[7]) for row in rows if row[-1] == "finished"]
        assert finished == sorted(finished)
        assert [row[-1] for row in rows[len(finished) :]] == ["diverged"] * (72 - len(finished))


def test_script_gets_the_curves_it_draws() -> None:
    data = READ.data()
    assert set(data["charts"]) == {
        f"{name}-{i}" for name in ("gap", "decay", "lr", "shrink", "left", "norm") for i in (0, 1)
    }
    best = EVIDENCE["settings"][0]["contenders"][0]
    line = next(line for line in data["charts"]["lr-0"]["lines"] if line["label"] == "winner")
    assert line["x"] == best["curves"]["epoch"]
    np.testing.assert_allclose(line["y"], best["curves"]["lr"], rtol=1e-3)
    assert len(data["charts"]["decay-0"]["lines"]) == len(SHAPES)
    ends = [line["y"][-1] for line in data["charts"]["decay-0"]["lines"]]
    condition = EVIDENCE["settings"][0]
    lowest = [min(t["final"]["validation_loss"] for t in condition["trials"] if t["schedule"] == shape and not t["diverged"])
              for shape in SHAPES]  # fmt: skip
    np.testing.assert_allclose(ends, sorted(lowest), rtol=1e-3)
    marks = [(line["colour"], line["dash"]) for chart in data["charts"].values() for line in chart["lines"]]
    assert len({mark[0] for mark in marks}) > 3
    for chart in data["charts"].values():  # told apart by the dash too, not by colour alone
        assert len({(line["colour"], line["dash"]) for line in chart["lines"]}) == len(chart["lines"])
    assert [t["final"][1] for t in data["trials"] if t["id"] == 5 and t["setting"] == 1] == [
        EVIDENCE["settings"][1]["trials"][5]["final"]["validation_loss"]
    ]


def test_large_study_stays_below_a_megabyte() -> None:
    made = copy.deepcopy(EVIDENCE)
    for condition in made["settings"]:
        for extra in range(28):
            condition["trials"].append({**copy.deepcopy(condition["trials"][extra]), "id": 72 + extra})
        for t in condition["trials"]:
            t["curve"] = {
                key: [float(v or 1) + 1e-7 * i for i in range(8) for v in series] for key, series in t["curve"].items()
            }
    page = render(made)
    assert len(Reader(page).data()["trials"]) == 200
    assert "of 320 epochs" in page
    assert len(page.encode()) < 1_000_000


# The page keeps to itself


def test_policy_allows_exactly_the_code_in_the_page() -> None:
    policy = next(value for _, name, value in READ.attributes if name == "content" and "default-src" in value)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    blocks = [(code, attrs) for code, attrs in zip(READ.code["script"], READ.heads[1:], strict=True)]
    runs = [code for code, attrs in blocks if dict(attrs).get("type") != "application/json"]
    for rule, codes in (("script-src", runs), ("style-src", READ.code["style"])):
        digests = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in codes]
        assert rules[rule] == " ".join(f"'sha256-{digest}'" for digest in digests)


def test_page_names_no_address_and_carries_no_inline_handler_or_style() -> None:
    for element, name, value in READ.attributes:
        assert name != "style"
        assert not name.startswith("on")
        if name in ("href", "src", "action", "xlink:href"):
            assert value.startswith(("#", "data:image/svg+xml,")), (element, value)
    assert "@import" not in PAGE
    assert "url(" not in READ.code["style"][0]


def test_licence_of_uplot_is_in_the_page() -> None:
    assert "Copyright (c) 2022 Leon Sorokin" in PAGE
    assert "uPlot (v1.6.32)" in READ.code["script"][1]


HOSTILE = (
    "</script><script>alert(1)</script>",
    '"onerror="alert(1)',
    "'><img src=x onerror=alert(1)>",
    "</style><style>*{display:none}",
    "--><script>alert(1)</script><!--",
    "javascript:alert(1)",
    "<svg/onload=alert(1)>",
    "$script ${data} %(x)s {0}",
    "\u202egnp.exe \u2066a\u2069 \u200f",
    "\x00\x1b[2J\x07\x9b31m",
    "\ud800 \udfff",
    "]]>&lt;&amp;&#60;script&#62;",
    "\u2028\u2029\ufeff",
    "=cmd|' /C calc'!A0",
)
FIXED = {"format", "created", "task", "role", "against", "metric", "verdict", "edge"}


def poisoned(value: Any, poison: str, key: str = "") -> Any:
    """Return the evidence with ``poison`` after every text a user could have chosen, keys of code included."""
    if isinstance(value, dict):
        renamed = key in ("environment", "code", "metrics", "params")
        return {(f"{k}{poison}" if renamed else k): poisoned(v, poison, "" if renamed else k) for k, v in value.items()}
    if isinstance(value, list):
        return [poisoned(item, poison, key) for item in value]
    return f"{value}{poison}" if isinstance(value, str) and key not in FIXED else value


SMALL = copy.deepcopy(EVIDENCE)
for condition in SMALL["settings"]:
    condition["trials"] = condition["trials"][::9]
SMALL["findings"] = ["a plain finding", {"code": "D1", "verdict": "overfits", "evidence": "gap 0.8", "remedy": "λ 3"}]


@pytest.mark.parametrize("poison", HOSTILE)
def test_hostile_names_change_no_element_of_the_page(poison: str) -> None:
    plain, page = Reader(render(poisoned(advised(), "x"))), render(poisoned(advised(), poison))
    found = Reader(page)
    assert found.skeleton == plain.skeleton
    assert found.code["script"][1:] == plain.code["script"][1:]
    assert found.code["style"] == plain.code["style"]
    assert " ".join(f"{SMALL['title']}{inert(poison)}".split()) in found.text
    assert found.data()["settings"] == [inert(f"{c['name']}{poison}") for c in SMALL["settings"]]
    page.encode("utf-8")
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") and letter not in "\n\t" for letter in page)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40))
def test_no_text_changes_the_page(poison: str) -> None:
    assert Reader(render(poisoned(SMALL, poison))).skeleton == Reader(render(poisoned(SMALL, "x"))).skeleton


@pytest.mark.law
@given(st.text())
def test_data_block_is_exact_and_cannot_end_its_element(text: str) -> None:
    block = data_block({"x": text})
    assert json.loads(block) == {"x": text}
    assert not set(block) & set("<>&")
    assert block.isascii()


@pytest.mark.law
@given(st.text())
def test_markup_escapes_text_and_attributes(text: str) -> None:
    plain = text.replace("\r", "").replace("\x00", "")
    found = Reader(tag("p", plain, title=plain))
    assert found.skeleton == [("p", ("title",))]
    assert "".join(found.words) == plain
    assert joined(tag("b", text)) == tag("b", text)


@pytest.mark.law
@given(st.text())
def test_inert_leaves_nothing_hidden_and_is_idempotent(text: str) -> None:
    once = inert(text)
    assert inert(once) == once
    assert len(once) == len(text)
    assert not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in once if letter not in "\n\t")
    assert not set(once) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\ufeff")


# Advice, and trials that were let go


def advised() -> dict[str, Any]:
    """Return evidence with all that is optional: advice, a choice, trials let go, intervals that hold together."""
    made = copy.deepcopy(SMALL)
    first = made["settings"][0]
    for index, t in enumerate(first["trials"]):
        t |= {
            "params": {"lam": t["lam"], "peak": t["peak"], "schedule": t["schedule"]},
            "stopped_at": None,
            "batch_size": 50,
        }
        if index in (2, 5):
            curve = {k: v if k == "epoch" else [*v[:10], *[None] * 30] for k, v in t["curve"].items()}
            t |= {
                "stopped_at": 10.0,
                "final": {"validation_loss": 1e-9, "train_loss": 1e-9},
                "diverged": False,
                "curve": curve,
            }
    for c in first["comparisons"]:
        c["together"] = 5
    for c in first["contenders"]:
        c |= {
            "validation_loss": c["test_loss"],
            "train_loss": c["test_loss"],
            "metrics": {"calibration error": [0.25] * 5},
        }
    winner = first["contenders"][0]
    first["choice"] = [{k: winner[k] for k in ("plan", "lam", "peak", "schedule", "seeds", "validation_loss")}]
    value = {
        "value": "0.1",
        "best": 0.5,
        "costs": 0.0,
        "limit": 0.01,
        "trials": 3,
        "diverged": 0,
        "let_go": 1,
        "within": True,
    }
    first["advice"] = [
        {"knob": "weight decay", "verdict": "does not matter here", "said": "Weight decay does not matter here: <0.0021.",
         "numbers": {"difference": -0.001, "seeds": 8, "noise": None}, "values": [], "edge": None},
        {"knob": "learning-rate decay", "verdict": "matters", "said": "Keep it.", "numbers": {"difference": -0.1}},
        {"knob": "peak", "verdict": "cannot be told", "said": "Nobody knows.", "values": [value], "edge": "largest"},
    ]  # fmt: skip
    return made


def test_advice_comes_first_and_the_lede_agrees_with_it() -> None:
    made = advised()
    found, words = Reader(render(made)), " ".join(summary(made).split())
    for place in (found.text, words):
        order = [place.rindex(each["said"]) for each in made["settings"][0]["advice"]]
        assert order == sorted(order)
    assert found.text.index("What matters, and what does not?") < found.text.rindex("Weight decay does not matter")
    assert found.text.rindex("Nobody knows.") < found.text.rindex("Does weight decay close the gap?")
    for label in ("≈ does not matter", "✓ matters", "? cannot be told"):
        assert label in found.text
    assert "test loss −" in words.split("── 20 % label noise")[1]  # a setting without advice has the gains in words
    made["settings"] = made["settings"][:1]
    assert (
        lede(read(made))
        == "Weight decay did not measurably change the test loss. Learning-rate decay lowered the test loss."
    )
    made["settings"][0]["advice"][1]["numbers"]["difference"] = 0.1
    assert lede(read(made)).endswith("Learning-rate decay raised the test loss.")


def test_evidence_without_advice_has_no_such_section() -> None:
    assert "What matters" not in READ.text
    assert ("a", "href", "#advice") not in READ.attributes
    assert ("a", "href", "#advice") in Reader(render(advised())).attributes


def test_intervals_are_said_to_hold_together_only_where_they_do() -> None:
    said = "of one metric, all 5 contain the truth in 95 % of studies"
    assert said not in READ.text
    made = advised()
    assert said in Reader(render(made)).text
    assert said in " ".join(summary(made).split())


def test_folds_are_said_where_there_are_any() -> None:
    assert "cross-validation" not in READ.text
    made = advised()
    made["settings"][0]["folds"] = 5
    found, words = Reader(render(made)).text, " ".join(summary(made).split())
    said = (
        "by cross-validation: the losses of the search are means over 5 folds of the training and validation examples."
    )
    assert found.count(said) == words.count(said) == 1
    assert "cross-validation clean labels: 5 folds of the 2,000 to train and to choose" in found


def test_trials_let_go_are_no_results() -> None:
    made = advised()
    found, words = Reader(render(made)), summary(made)
    assert "1e-09" not in found.text.split("Every trial")[0]
    assert "2 of 8 trainings were let go early." in found.text
    assert "2 of 8 trainings were let go early." in words
    assert f"{len(made['settings'][0]['trials']) + len(made['settings'][1]['trials'])} trials, 2 let go early" in words
    maps = [table for table in found.tables if table[0][0].startswith("λ ↓")]
    cells = [cell for table in maps for row in table[1:] for cell in row[1:]]
    assert cells.count("○ let go early") == 2
    (table,) = [table for table in found.tables if table[0][0] == "setting"]
    states = [row[-1] for row in table[1:] if row[0] == made["settings"][0]["name"]]
    assert states.count("let go at epoch 10") == 2
    finished = states.count("finished")
    assert states[finished : finished + 2] == ["let go at epoch 10"] * 2
    data = found.data()
    gone = [t for t in data["trials"] if t["stopped"] == 10.0]
    assert len(gone) == 2
    assert all(t["curve"]["validation"][-1] is None and t["curve"]["validation"][0] is not None for t in gone)
    drawn = [line["y"][-1] for line in data["charts"]["decay-0"]["lines"]]
    assert None not in drawn
    made["settings"][0]["trials"] = [{**t, "stopped_at": 10.0} for t in made["settings"][0]["trials"]]
    assert "No trial came to the end." in Reader(render(made)).text


def test_a_task_of_ones_own_has_metrics_by_name_and_no_accuracy() -> None:
    made = advised()
    made["data"] |= {"task": "custom", "classes": None}
    made["model"] = "a user's module"
    for condition in made["settings"]:
        condition["facts"] = []
        condition["comparisons"] = [c for c in condition["comparisons"] if c["metric"] != "test_accuracy"]
        for c in condition["contenders"]:
            del c["test_accuracy"]
        for t in condition["trials"]:
            t["final"] |= {"train_accuracy": None, "validation_accuracy": None}
            t["curve"]["validation_accuracy"] = []
    page, text = render(made), summary(made)
    found = Reader(page)
    assert "test calibration error" in found.text
    assert "calibrat…" in text
    assert "0.250" in text
    for place in (found.text, text, json.dumps(found.data())):
        assert not re.search("accuracy|cross-entropy", place)
    assert "accuracy" not in next(table for table in found.tables if table[0][0] == "setting")[0]


# A winner without a decay


def lacking(*, apart: bool = False) -> dict[str, Any]:
    """Return a setting whose winner has neither decay; ``apart``: the best plans with each are two, else they are one."""
    made = copy.deepcopy(SMALL["settings"][0])
    text = plan_text(0.0, 0.1, "constant")
    made["winner"] |= {"plan": text, "lam": 0.0, "peak": 0.1, "schedule": "constant"}
    shape = "linear to 0%"
    made["contenders"] = [
        contender("winner", 0.0, 0.1, "constant", 0.0),
        contender("weight decay", 3.0, 0.1, shape, 0.0),
        contender("falling lr", *((0.0, 0.3) if apart else (3.0, 0.1)), shape, 0.0),
    ]
    made["contenders"][0] |= {"test_loss": [v - 1 for v in made["contenders"][0]["test_loss"]]}
    made["comparisons"] = [
        compared(made["contenders"][0], c, metric)
        for c in made["contenders"][1:] for metric in ("test_loss", "test_accuracy", "gap")
    ]  # fmt: skip
    return made


def alone(condition: dict[str, Any]) -> dict[str, Any]:
    return {**SMALL, "settings": [condition]}


def test_a_plan_in_two_roles_is_shown_once_under_both_names() -> None:
    made = alone(lacking())
    found, text = Reader(render(made)), summary(made)
    (table,) = [table for table in found.tables if table[0] == ["role", "λ", "peak", "schedule", "plan"]]
    assert [row[0] for row in table[1:]] == ["winner", "best with weight decay= best with a falling rate"]
    lines = text.splitlines()
    row = next(i for i, line in enumerate(lines) if line.startswith("best with weight decay"))
    assert lines[row + 1] == "= best with a falling rate"
    assert sum(line.startswith("best with a falling rate") for line in lines) == 0
    assert sum(line.startswith("best with weight decay") for line in lines) == 2  # the table, and the curves below it
    labels = [
        value for _, name, value in found.attributes if name == "aria-label" and "test loss of each seed" in value
    ]
    assert len(labels) == 2
    lines = found.data()["charts"]["lr-0"]["lines"]
    assert [line["label"] for line in lines] == ["winner", "best with weight decay = best with a falling rate"]
    two = Reader(render(alone(lacking(apart=True)))).data()["charts"]["lr-0"]["lines"]
    assert [line["label"] for line in two] == ["winner", "best with weight decay", "best with a falling rate"]
    assert len({line["colour"] for line in two}) == 3


def test_cards_and_answer_of_a_winner_without_decays() -> None:
    condition = lacking(apart=True)
    made = alone(condition)
    found, words = Reader(render(made)), " ".join(summary(made).split())
    assert lede(read(made)) == "Weight decay and learning-rate decay each raised the test loss."
    for said in ("against the best plan with it", "against the best plan with a falling rate", "✓ better without it"):
        assert said in found.text
    assert "no weight decay: test loss −" in words
    assert "a constant learning rate: test loss −" in words
    ours, theirs = (float(np.mean(c["gap"])) for c in condition["contenders"][:2])
    said = f"is {ours:.3f} for the winner, without weight decay; with weight decay it would be {theirs:.3f}"
    assert said in found.text
    assert said in words
    assert f"λ = 3), {100 * abs(1 - theirs / ours):.0f} % {'smaller' if theirs < ours else 'larger'}." in words
    gap = found.data()["charts"]["gap-0"]["lines"]
    assert [line["label"] for line in gap] == ["λ = 3, validation", "λ = 3, train", "λ = 0, validation", "λ = 0, train"]


@pytest.mark.parametrize("winners", [True, False], ids=["the winner decays", "the winner does not"])
@pytest.mark.parametrize("verdict", ["does not matter here", "cannot be told"])
def test_a_card_takes_the_verdict_of_the_advice_and_shows_what_it_rests_on(winners: bool, verdict: str) -> None:
    condition = copy.deepcopy(SMALL["settings"][0]) if winners else lacking()
    role, other = ("winner without weight decay", "no weight decay") if winners else ("weight decay", None)
    decisive = next(c for c in condition["comparisons"] if (c["against"], c["metric"]) == (role, "test_loss"))
    assert decisive["verdict"] == "better"
    numbers = {"difference": decisive["difference"]}
    condition["advice"] = [{"knob": "weight decay", "verdict": verdict, "said": "said", "numbers": numbers}]
    page = render(alone(condition))
    card = page[page.index("<h4>Weight decay</h4>") : page.index("<h4>Learning-rate decay</h4>")]
    found = Reader(card)
    difference, _ = interval(Comparison(**decisive))
    assert f"{difference} test loss" in found.text
    assert verdict in found.text.replace("\xa0", " ")
    assert "better" not in found.text
    assert 'class="strip not"' in card
    if other:
        assert "against the winner stripped of it 95 % interval" in found.text
        assert "against the best plan without it −" in found.text
    assert lede(read(alone(condition))).startswith("Weight decay did not measurably change the test loss.")
    condition["advice"][0] |= {"verdict": "matters"}
    shown = Reader(render(alone(condition))).text.replace("\xa0", " ")
    assert ("✓ better with it" if winners else "✓ better without it") in shown


def test_nothing_is_called_uncompared_that_was_compared() -> None:
    condition = copy.deepcopy(SMALL["settings"][0])
    condition["comparisons"] = [c for c in condition["comparisons"] if c["against"] == "winner without weight decay"]
    made = alone(condition)
    assert lede(read(made)) == "Weight decay lowered the test loss."
    assert "not part of the winner" not in Reader(render(made)).text
    condition["comparisons"] = []
    assert lede(read(made)) == "No plan was compared with the winner on the test set."
    assert Reader(render(made)).text.count("No plan without it was compared on the test set.") == 2


def test_a_decay_that_the_space_has_not_is_said_to_be_untried() -> None:
    condition = lacking()
    condition |= {"contenders": condition["contenders"][:1], "comparisons": []}
    assert "no plan with it was compared on the test set." in Reader(render(alone(condition))).text
    condition["trials"] = [t for t in condition["trials"] if t["lam"] == 0 and t["schedule"] == "constant"][:1]
    text = Reader(render(alone(condition))).text
    for decay in ("Weight decay", "Learning-rate decay"):
        assert f"{decay} is not part of the winner, and no plan with it was tried." in text


# The terminal


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e12, 1e12).map(lambda v: float(f"{v:.6g}")), min_size=6, max_size=6),
    st.floats(1e-12, 1e12),
    st.sampled_from([76, 80, 100]),
)
def test_columns_never_touch(values: list[float], rate: float, width: int) -> None:
    condition = copy.deepcopy(SMALL["settings"][0])
    for c, value in zip(condition["contenders"], values, strict=True):
        c |= {"lam": rate, "peak": rate, "test_loss": [value] * 5, "gap": [-value] * 5}
        c["metrics"] = {"a name of many letters": [value] * 5}
        c["curves"]["validation_loss"] = [value] * EPOCHS
    text = summary(alone(condition), width)
    assert all(len(line) <= width for line in text.splitlines())
    (head,) = [line for line in text.splitlines() if "  λ  " in line]
    columns = len(re.split(r" {2,}", head.strip()))
    rows = [line for line in text.splitlines() if line.startswith(("winner", "best"))]
    table = rows[:6]
    assert 3 <= columns <= 6
    for row in table:
        assert len(re.split(r" +", row[28:].strip().replace(" %", "%"))) == columns


@pytest.mark.parametrize("width", [76, 80, 132])
@pytest.mark.parametrize("poison", ["", "\x1b[31m\u202e", "漢字かな" * 30, "a" * 300, "\n\n\t"])
def test_summary_fits_and_steers_nothing(width: int, poison: str) -> None:
    text = summary(poisoned(advised(), poison), width)
    for line in text.splitlines():
        assert sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line) <= width
    assert not any(unicodedata.category(letter) in ("Cc", "Cf", "Cs") for letter in text.replace("\n", ""))


def test_summary_and_page_say_the_same() -> None:
    text = " ".join(summary(EVIDENCE, 132).split())
    assert lede(read(EVIDENCE)) in text
    assert lede(read(EVIDENCE)) in READ.text
    for condition in EVIDENCE["settings"]:
        assert condition["winner"]["plan"] in text
        for given_one in condition["comparisons"]:
            if given_one["against"] in ("no weight decay", "constant lr") and given_one["metric"] != "gap":
                assert gain_sentence(Comparison(**given_one)) in text
        for c in condition["contenders"]:
            assert f"{np.mean(c['test_loss']):.3f}" in text
            assert f"{100 * np.mean(c['test_accuracy']):.1f} %" in text


def test_summary_refuses_a_width_without_room() -> None:
    with pytest.raises(InvalidValueError, match="width must be at least 76; got 20"):
        summary(EVIDENCE, 20)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_sparkline_rises_where_the_values_rise(values: list[float]) -> None:
    line = sparkline(sorted(values), 0.0, 1.0)
    assert len(line) == min(len(values), 32)
    assert list(line) == sorted(line)


# The format


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({}, "no format"),
        ({"format": "dwindle-evidence/2"}, "has format 'dwindle-evidence/2'; this dwindle draws 'dwindle-evidence/1'"),
        (changed("settings", value=[]), "at least one setting"),
        (changed("settings", 0, "trials", 3, "lam", value="3"), r"got `str` - at `\$.settings\[0\].trials\[3\].lam`"),
        (changed("settings", 0, "trials", 3, "lam", value=float("nan")), r"got `null` - at `\$.settings\[0\].trials\[3\].lam`"),
        (changed("settings", 0, "trials", 3, "peak", value=-0.1), "peak must be zero or more; got -0.1"),
        (changed("settings", 0, "trials", 3, "lamb", value=3.0), "unknown field `lamb`.*did you mean 'lam'"),
        (changed("settings", 1, "trials", value=[]), "at least one trial"),
        (changed("settings", 0, "trials", 0, "curve", "train_loss", value=[1.0]), "train_loss has 1 values for 40 epochs"),
        (changed("settings", 0, "contenders", 1, "seeds", value=[0]), "test_loss has 5 values for 1 seeds"),
        (changed("settings", 0, "contenders", 1, "role", value="winner"), "every role may be given once"),
        (changed("settings", 0, "contenders", 1, "role", value="best"), "Invalid enum value 'best'"),
        (changed("settings", 0, "contenders", 0, "test_accuracy", 2, value=82.5), "fraction between 0 and 1; got 82.5"),
        (changed("settings", 0, "comparisons", 0, "lower", value=9.0), "does not hold the difference"),
        (changed("settings", 0, "comparisons", 0, "against", value="winner"), "cannot be compared with itself"),
        (changed("settings", 0, "contenders", value=EVIDENCE["settings"][0]["contenders"][:1]), "not known"),
        (changed("data", "task", value="ranking"), "Invalid enum value 'ranking'"),
        (changed("created", value="yesterday"), "ISO time"),
        (changed("model", value="x" * 100_001), "100,001 letters"),
        (changed("settings", 0, "trials", 0, "params", value={"lam": [1]}), r"at `\$.settings\[0\].trials\[0\].params"),
        (changed("settings", 0, "advice", value=[{"knob": "λ", "verdict": "maybe", "said": ""}]), "Invalid enum value 'maybe'"),
        (changed("settings", 0, "advice", value=[{"knob": "λ", "said": ""}]), "missing required field `verdict`"),
        (changed("settings", 0, "contenders", 0, "metrics", value={"f1": [0.5]}), "f1 has 1 values for 5 seeds"),
        (changed("settings", 0, "choice", value=[{"schedul": "p"}]), "unknown field `schedul`.*did you mean 'schedule'"),
        (changed("findings", value=[[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]), "nested deeper"),
        (changed("findings", value=[{"verdit": "v", "severity": "note"}]), r"field `verdit` - at `\$.findings\[0\]`; did you"),
        (changed("findings", value=["a", {"verdict": "v", "remedy": {"say": "s"}}]),
         r"field `say` - at `\$.findings\[1\].remedy`; did you mean 'says'"),
        (changed("findings", value=[{"verdict": "v", "severity": "fatal"}]), r"'fatal' is not known.*at `\$.findings\[0\]`"),
        (changed("findings", value=[{"severity": "note"}]), "missing required field `verdict`"),
    ],
)  # fmt: skip
def test_broken_evidence_is_refused_with_the_place(broken: dict[str, Any], said: str) -> None:
    for use in (render, summary):
        with pytest.raises(DwindleError, match=said):
            use(broken)


def test_every_missing_key_is_named() -> None:
    for key in EVIDENCE:
        if key in ("format", "findings"):
            continue
        with pytest.raises(InvalidValueError, match=f"missing required field `{key}`"):
            read({k: v for k, v in EVIDENCE.items() if k != key})


def test_evidence_is_left_as_it_was_and_survives_json() -> None:
    before = copy.deepcopy(EVIDENCE)
    assert render(json.loads(json.dumps(EVIDENCE))) == render(EVIDENCE) == PAGE
    assert before == EVIDENCE
    assert EVIDENCE["format"] == FORMAT


def variant(name: str) -> dict[str, Any]:
    """Return evidence at an edge of the format."""
    made = copy.deepcopy(SMALL)
    first = made["settings"][0]
    if name == "one setting":
        made["settings"] = [first]
    elif name == "regression":
        made["data"] |= {"task": "regression", "classes": None}
        for condition in made["settings"]:
            condition["comparisons"] = [c for c in condition["comparisons"] if c["metric"] != "test_accuracy"]
            for c in condition["contenders"]:
                c["test_accuracy"] = [None] * len(c["seeds"])
            for t in condition["trials"]:
                t["final"] |= {"train_accuracy": None, "validation_accuracy": None}
                t["curve"]["validation_accuracy"] = []
    elif name == "all diverged":
        for t in first["trials"]:
            t |= {"diverged": True, "final": {}, "curve": {"epoch": [], "train_loss": []}}
    elif name == "nothing compared":
        first |= {"contenders": [], "comparisons": [], "facts": []}
    elif name == "a seed diverged":
        first["contenders"][2]["test_loss"][1] = float("nan")
        first["contenders"][2]["gap"][1] = None
    elif name == "winner without decay":
        first["winner"]["lam"] = 0.0
        first["contenders"] = [c for c in first["contenders"] if c["role"] in ("winner", "constant lr")]
        first["comparisons"] = [c for c in first["comparisons"] if c["against"] == "constant lr"]
    elif name == "neither decay":
        made["settings"][0] = lacking()
    elif name == "negative losses":
        for t in first["trials"]:
            t["final"] = {"train_loss": -3.0 + t["lam"] / 10, "validation_loss": -2.0 + t["lam"] / 10}
    elif name == "one epoch":
        for t in first["trials"]:
            t["curve"] = {"epoch": [1], "validation_loss": [0.5]}
        for c in first["contenders"]:
            c["curves"] = {"epoch": [1], "validation_loss": [0.5], "lr": [0.1]}
    elif name == "random search":
        rng = np.random.default_rng(1)
        trials = []
        for i, t in enumerate(12 * first["trials"]):
            lam, peak = (float(10 ** rng.uniform(-3, high)) for high in (1, 0))
            text = f"warmup {i % 12 + 1}%, cosine to {rng.integers(0, 30)}%"
            trials.append({**t, "id": i, "lam": lam, "peak": peak, "schedule": text})
        first["trials"] = trials
    return made


VARIANTS = ("one setting", "regression", "all diverged", "nothing compared", "a seed diverged", "winner without decay",
            "neither decay", "negative losses", "one epoch", "random search")  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_edges_of_the_format_are_drawn(name: str) -> None:
    made = variant(name)
    found, text = Reader(render(made)), summary(made)
    words = " ".join(text.split())
    expected = {
        "one setting": ("Weight decay and learning-rate decay each lowered the test loss.", None),
        "regression": ("regression", None),
        "all diverged": ("Every trial diverged.", None),
        "nothing compared": ("lowered the test loss", None),
        "a seed diverged": ("1 of 5 diverged", None),
        "winner without decay": (
            "not part of the winner, and no plan with it",
            "no plan with weight decay stands beside it",
        ),
        "neither decay": ("better without it", "with weight decay it would be"),
        "negative losses": ("−1.900", None),
        "one epoch": ("0.5", None),
        "random search": ("warmup …, cosine to …", None),
    }[name]
    assert expected[0] in found.text or expected[0] in json.dumps(found.data(), ensure_ascii=False)
    assert expected[1] is None or expected[1] in words
    for place in (found.text, words):
        assert not re.search(r"\b(nan|inf|None)\b", place)
    if name == "regression":
        assert "accuracy" not in words


# Small laws


def test_a_difference_of_nothing_needs_no_decimals() -> None:
    assert interval(Comparison("neither", "test_accuracy", 0.0, 0.0, 0.0, 8, "not distinguishable")) == ("0", "0 to 0")


@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-6, 1e3)), min_size=1, max_size=80))
def test_bands_hold_every_value_exactly_once(values: list[float]) -> None:
    made = bands(values)
    assert len(made) <= MOST_BANDS
    assert all(sum(value in band for band in made) == 1 for value in values)
    assert [band.low for band in made] == sorted(band.low for band in made)
    assert all(low.high < high.low for low, high in itertools.pairwise(made))


@given(st.lists(st.integers(), min_size=1, max_size=300), st.integers(2, 50))
def test_thin_keeps_the_ends_and_the_order(values: list[int], most: int) -> None:
    indices = thin(range(len(values)), most)
    assert len(indices) == min(most, len(values))
    assert indices == sorted(set(indices))
    assert (indices[0], indices[-1]) == (0, len(values) - 1)


@given(st.floats(-1e3, 1e3), st.floats(1e-6, 1e6))
def test_ticks_lie_inside_and_are_even(spans: float, span: float) -> None:
    low = spans * span
    made = ticks(low, low + span)
    assert 2 <= len(made) <= 9
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in made)
    gaps = np.diff(made)
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-3)


def test_levels_are_the_percentages_of_the_key() -> None:
    assert [level(score, 1.0, 9.0) for score in (1.0, 1.009, 1.02, 1.09, 1.29, 1.99, 2.01)] == [0, 0, 1, 2, 3, 4, 5]
    assert level(-1.0, -1.0, 3.0) == 0
    assert level(3.0, -1.0, 3.0) == 4


def test_families_are_the_schedules_while_they_are_few() -> None:
    trials = read(EVIDENCE).settings[0].trials
    assert sorted(families(trials)) == sorted(SHAPES)
    assert sum(map(len, families(trials).values())) == 72


def test_a_cell_shows_the_best_of_its_seeds_and_counts_the_diverged() -> None:
    made = copy.deepcopy(SMALL)
    first = made["settings"][0]
    t = first["trials"][0]
    runs = [(0.8, False), (0.6, False), (0.7, False), (0.1, True)]
    first["trials"] = [
        {**t, "id": i, "diverged": lost, "final": {"validation_loss": v}} for i, (v, lost) in enumerate(runs)
    ]
    table = next(table for table in Reader(render(made)).tables if table[0][0].startswith("λ ↓"))
    assert table[1][1].replace("★ ", "") == "0.600†"


def test_mean_is_not_taken_over_survivors() -> None:
    assert mean([1.0, 2.0]) == 1.5
    assert mean([1.0, None]) is None


def test_lede_counts_the_verdicts() -> None:
    made = copy.deepcopy(SMALL)
    for condition, verdict in zip(made["settings"], ("worse", "not distinguishable"), strict=True):
        for c in condition["comparisons"]:
            c["verdict"] = verdict if c["against"] == "constant lr" else c["verdict"]
    assert lede(read(made)) == (
        "Weight decay lowered the test loss in both settings. "
        "Learning-rate decay raised the test loss in 1 of 2 settings (clean labels)."
    )
    for condition in made["settings"]:
        for c in condition["comparisons"]:
            c["verdict"] = "not distinguishable"
    assert lede(read(made)).endswith("each did not measurably change the test loss in either setting.")


def test_winner_at_the_edge_of_the_range_is_said() -> None:
    made = copy.deepcopy(SMALL)
    made["settings"][0]["winner"]["lam"] = max(t["lam"] for t in made["settings"][0]["trials"])
    assert "The best λ is the largest tried" in Reader(render(made)).text


# Colours


def colours(theme: str) -> dict[str, str]:
    style = READ.code["style"][0]
    light = style[style.index(":root {") :]
    found = dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]+);", light[: light.index("@media")]))
    if theme == "dark":
        block = style[style.index(':root[data-theme="dark"] {') :]
        found |= dict(re.findall(r"--([a-z0-9]+): (#[0-9a-f]+);", block[: block.index("}")]))
    return found


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_lines_stand_out(theme: str) -> None:
    c = colours(theme)
    for ground in ("paper", "card"):
        for ink in ("ink", "soft", "accent", "good", "bad"):
            assert contrast(c[ink], c[ground]) >= 4.5, (ink, ground)
        for line in range(1, 8):
            assert contrast(c[f"c{line}"], c[ground]) >= 2.9, (
                line,
                ground,
            )  # 3 for graphics (WCAG 1.4.11), to rounding
    for cell in range(6):
        assert contrast(c[f"q{cell}"], c[f"q{cell}t"]) >= 4.5, cell
    lightness = [contrast(c[f"q{cell}"], c["paper"]) for cell in range(6)]
    assert lightness == sorted(lightness, reverse=True), "the map reads in grey too"


def test_dark_is_the_same_by_system_and_by_button() -> None:
    style = READ.code["style"][0]
    blocks = re.findall(
        r":root(?::not\(\[data-theme=\"light\"\]\)|\[data-theme=\"dark\"\]) \{([^}]*--paper[^}]*)\}", style
    )
    assert len(blocks) == 2
    assert blocks[0].split() == blocks[1].split()


# The file


def test_write_replaces_the_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    assert write(EVIDENCE, target) == target
    assert target.read_text(encoding="utf-8") == PAGE
    assert write(EVIDENCE, str(target)) == target
    assert os.listdir(tmp_path) == ["report.html"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(DataError, match=r"could not be written to .*report\.html: No space left on device"):
        write(EVIDENCE, target)
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_write_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file or directory.*Name a file in a folder that exists"):
        write(EVIDENCE, tmp_path / "missing" / "report.html")


def test_broken_evidence_touches_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError):
        write({"format": "x"}, tmp_path / "report.html")
    assert os.listdir(tmp_path) == []


# In a browser


@pytest.fixture
def opened(visit: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that opens evidence in a fresh page; the test fails on any message, error or request."""

    def go(given_one: dict[str, Any], **options: Any) -> Any:
        address = write(given_one, tmp_path / "report.html").as_uri()
        return visit(address, address, "data:image/svg+xml,", "blob:", **options)

    return go


@pytest.mark.browser
def test_browser_draws_every_chart(opened: Callable[..., Any]) -> None:
    page = opened(EVIDENCE)
    assert page.locator(".chart canvas").count() == len(READ.data()["charts"]) + 1
    inked = """[...document.querySelectorAll('.chart canvas')].map((canvas) => new Set(
        canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size)"""
    assert min(page.evaluate(inked)) > 20
    first = page.locator('[data-chart="gap-0"]')
    assert first.locator(".at").inner_text() == "epoch 40"
    first.locator(".draw").focus()
    page.keyboard.press("Home")
    first.locator(".at", has_text=re.compile("^epoch 1$")).wait_for()
    shown = first.locator(".legend b").first.inner_text()
    assert float(shown) == pytest.approx(
        EVIDENCE["settings"][0]["contenders"][4]["curves"]["validation_loss"][0], rel=1e-3
    )


@pytest.mark.browser
def test_browser_sorts_filters_and_draws_trials(opened: Callable[..., Any]) -> None:
    page = opened(EVIDENCE)
    rows = "#trials-table tbody tr:not([hidden])"
    column = f"[...document.querySelectorAll('{rows}')].map((row) => row.cells[3].textContent)"
    page.locator("#trials-table th", has_text="λ").locator("button").click()
    values = [float(value) for value in page.evaluate(column)]
    assert values == sorted(values)
    page.locator("#trials-table th", has_text="λ").locator("button").press("Enter")
    assert [float(value) for value in page.evaluate(column)] == sorted(values, reverse=True)
    page.locator("#trials-setting").select_option("1")
    page.locator("#trials-schedule").select_option("constant")
    assert page.locator(rows).count() == 18
    assert page.locator(".controls output").inner_text() == "18 of 144 trials"
    page.locator("#trials-text").fill("no such plan")
    assert page.locator(rows).count() == 0
    page.locator("#trials-text").fill("")
    lines = page.locator('[data-chart="trials"] .legend bdi')
    before = lines.count()
    page.locator(f"{rows} input").first.check()
    assert lines.count() == before + 1


@pytest.mark.browser
def test_browser_finds_and_draws_what_was_let_go(opened: Callable[..., Any]) -> None:
    page = opened(advised())
    rows = "#trials-table tbody tr:not([hidden])"
    page.locator("#trials-state").select_option("let go")
    assert page.locator(rows).count() == 2
    page.locator(f"{rows} input").first.check()
    assert page.locator('[data-chart="trials"] .legend bdi', has_text="let go at epoch 10").count() == 1
    page.locator("#trials-state").select_option("finished")
    assert "let go" not in "".join(page.locator(rows).all_inner_texts())
    page.locator("#trials-table th", has_text="state").locator("button").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    saved = csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines())
    assert sorted(row["stopped_at"] for row in saved)[-3:] == ["", "10", "10"]


@pytest.mark.browser
def test_browser_tabs_theme_and_copy(opened: Callable[..., Any]) -> None:
    page = opened(EVIDENCE, permissions=["clipboard-read", "clipboard-write"], color_scheme="light")
    tabs = page.locator(".tablist").first.locator("button")
    assert tabs.count() == len(SHAPES)
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert page.locator(".families").first.locator(".family:visible").count() == 1
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.locator("#theme").click()
    assert page.evaluate(ground) != light
    assert page.locator(".chart canvas").count() == len(READ.data()["charts"]) + 1
    copy_button = page.locator(".snippet button").first
    copy_button.click()
    copy_button.filter(has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == EVIDENCE["settings"][0]["winner"]["plan"]
    page.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }")
    second = page.locator(".snippet button").nth(3)
    second.click()
    second.filter(has_text="Ctrl+C").wait_for()
    assert page.evaluate("String(getSelection())") == EVIDENCE["settings"][1]["winner"]["plan"]


@pytest.mark.browser
@pytest.mark.parametrize("poison", [*HOSTILE[:3], "".join(HOSTILE)])
def test_browser_runs_nothing_hostile(opened: Callable[..., Any], poison: str) -> None:
    page = opened(poisoned(SMALL, poison))
    page.locator("#trials-table input").first.check()
    page.locator("#trials-table input").nth(1).check()
    assert page.locator("img, script:not(#evidence), style").count() == 2  # the page's own script and style


@pytest.mark.browser
def test_browser_saves_a_csv_that_no_spreadsheet_runs(opened: Callable[..., Any]) -> None:
    made = copy.deepcopy(SMALL)
    made["settings"][0]["name"] = '=cmd|"/C calc"!A0'
    page = opened(made)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
    assert len(rows) == sum(len(c["trials"]) for c in made["settings"])
    assert {row["setting"] for row in rows} == {'\'=cmd|"/C calc"!A0', made["settings"][1]["name"]}
    wanted = {t["id"]: t for t in made["settings"][1]["trials"]}
    for row in rows:
        if row["setting"] == made["settings"][1]["name"]:
            t = wanted[int(row["id"])]
            assert float(row["lam"]) == t["lam"]
            assert (float(row["validation_loss"]) if row["validation_loss"] else None) == t["final"]["validation_loss"]


@pytest.mark.browser
@pytest.mark.parametrize("name", ["", "advised", *VARIANTS])
def test_browser_fits_a_phone(opened: Callable[..., Any], name: str) -> None:
    page = opened(
        advised() if name == "advised" else variant(name), viewport={"width": 360, "height": 740}, color_scheme="dark"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.browser
def test_browser_prints_unfolded_and_light(opened: Callable[..., Any]) -> None:
    page = opened(EVIDENCE, viewport={"width": 710, "height": 1000}, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("details:not([open])").count() == 0
    assert page.locator(".family:visible").count() == 2 * len(SHAPES)
    assert page.evaluate("document.documentElement.scrollWidth") <= 710
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") is None


@pytest.mark.browser
def test_browser_without_scripts_still_shows_the_answer(opened: Callable[..., Any]) -> None:
    page = opened(EVIDENCE, java_script_enabled=False)
    for condition in EVIDENCE["settings"]:
        assert page.get_by_text(condition["winner"]["plan"], exact=True).first.is_visible()
    assert page.locator(".gain .big").count() == 4
    assert page.locator(".family:visible").count() == 2 * len(SHAPES)
    assert not page.locator("#theme").is_visible()
