"""The same answer for a terminal: plain text, a small table and curves in block characters."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from dwindle.errors import count
from dwindle.report.charts import thin
from dwindle.report.effects import effect
from dwindle.report.evidence import DECAYS, Contender, Evidence, Setting
from dwindle.report.reading import read
from dwindle.report.words import (
    NAMES,
    gain_sentence,
    gap_sentence,
    lede,
    let_go,
    mean,
    measured,
    number,
    subtitle,
    together,
)

__all__ = ["sparkline", "summary"]

BLOCKS = "▁▂▃▄▅▆▇█"
NAME = 28  # columns for the name of a plan
COLUMNS = (("test_loss", "test loss"), ("test_accuracy", "accuracy"), ("gap", "gap"))


def summary(evidence: Mapping[str, Any], width: int = 80) -> str:
    """Return the answer of a study as text in which no line is wider than ``width`` (at least 76) columns.

    Control and direction characters in names are replaced, so that nothing in the evidence steers the terminal.
    Raises InvalidValueError if the evidence breaks its format or ``width`` is too small.
    """
    width = count("width", width, low=76, remedy="The table needs 76 columns.")
    found = read(evidence)
    lines = [*_wrapped(_flat(found.title), width), *_wrapped(" · ".join(subtitle(found)), width), ""]
    lines += _wrapped(lede(found), width)
    for setting in found.settings:
        lines += ["", *_setting(setting, width)]
    lines += _findings(found, width)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def sparkline(values: Sequence[float | None], low: float, high: float, most: int = 32) -> str:
    """Return ``values`` as at most ``most`` blocks on the scale [low, high]; a missing value is a space.

    >>> sparkline([0.0, 0.5, 1.0, None], 0.0, 1.0)
    '▁▅█ '
    """
    span = (high - low) or 1.0
    return "".join(
        " " if value is None else BLOCKS[min(max(round((value - low) / span * (len(BLOCKS) - 1)), 0), len(BLOCKS) - 1)]
        for value in thin(values, most)
    )


def _setting(setting: Setting, width: int) -> list[str]:
    winner = setting.winner
    name = _cut(_flat(setting.name), width - 4)
    head = f"── {name} " + "─" * max(width - _cells(name) - 4, 0)
    plans = setting.plans
    size = "" if winner.batch_size is None else f", batches of {winner.batch_size}"
    made = [
        head,
        *_wrapped(
            f"Use  λ = {number(winner.lam)}, peak lr {number(winner.peak)}, {_flat(winner.schedule)}{size}", width
        ),
    ]
    made += [*_wrapped(f"     {_flat(winner.plan)}", width, "       "), ""]
    marks = {"matters": "✓", "does not matter here": "≈", "cannot be told": "?"}
    for each in setting.advice:
        made += _wrapped(f"{marks[each.verdict]} {_flat(each.said)}", width, "  ")
    made += [""] if setting.advice else []
    for shown in (effect(setting, decay) for decay in DECAYS):
        for metric in ("test_accuracy",) if setting.advice else ("test_loss", "test_accuracy"):
            comparison = None if shown is None else setting.comparison(shown.comparison.against, metric)
            if comparison is not None:
                made += _wrapped(f"• {gain_sentence(comparison)}", width, "  ")
    for said in (gap_sentence(setting), let_go(setting), together(setting)):
        made += _wrapped(f"• {said}", width, "  ") if said else []
    made += ["", *_table(plans, setting.metrics, width), ""] if plans else [""]
    made += _curves([alike[0] for alike in plans], width)
    return made


def _table(plans: Sequence[Sequence[Contender]], metrics: Sequence[str], width: int) -> list[str]:
    """Return a row per plan, its further names below it; as many columns as there is room for, two spaces between them."""
    firsts = [alike[0] for alike in plans]
    keys = [*COLUMNS, *((name, _cut(_flat(name), 9)) for name in metrics)]
    columns = [["λ", *(number(c.lam, 3) for c in firsts)], ["peak", *(number(c.peak, 3) for c in firsts)]]
    columns += [
        [title, *(measured(mean(c.values(key)), key) for c in firsts)]
        for key, title in keys
        if any(v is not None for c in firsts for v in c.values(key))
    ]
    names = ["", *(NAMES[c.role] for c in firsts)]
    lines = [f"{name:{NAME}}" for name in names]
    for place, column in enumerate(columns):
        wide = max(8 if place < 2 else 10, 2 + max(map(_cells, column)))
        if _cells(lines[0]) + wide > width:
            break
        lines = [line + " " * (wide - _cells(value)) + value for line, value in zip(lines, column, strict=True)]
    made = lines[:1]
    for line, (_, *more) in zip(lines[1:], plans, strict=True):
        made += [line, *(f"= {NAMES[c.role]}" for c in more)]
    return made


def _curves(contenders: Sequence[Contender], width: int) -> list[str]:
    drawn = [c for c in contenders if any(value is not None for value in c.curves.validation_loss)]
    later = [v for c in drawn for v in c.curves.validation_loss[len(c.curves.epoch) // 4 :] if v is not None]
    if not later:
        return []
    low, high = min(later), max(later)
    lines = [f"validation loss by epoch, {measured(low, 'validation_loss')} ▁ to █ {measured(high, 'validation_loss')}"]
    ends = [next(v for v in reversed(c.curves.validation_loss) if v is not None) for c in drawn]
    last = [measured(end, "validation_loss") for end in ends]
    room = width - NAME - 1 - max(map(len, last))
    for c, end in zip(drawn, last, strict=True):
        lines.append(f"{NAMES[c.role]:{NAME}}{sparkline(c.curves.validation_loss, low, high, room)} {end}")
    return [*lines, ""]


def _findings(evidence: Evidence, width: int) -> list[str]:
    lines: list[str] = []
    for finding in evidence.findings:
        text = finding if isinstance(finding, str) else "; ".join(f"{key}: {value}" for key, value in finding.items())
        lines += _wrapped(f"! {_flat(text)}", width, "  ")
    return ["", "Findings", *lines] if lines else []


def _flat(text: str) -> str:
    return " ".join(text.split())


def _cells(text: str) -> int:
    """Return how many columns a terminal gives ``text``: two for wide letters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _cut(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    while _cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    # textwrap counts letters, not columns: text with wide letters gets the share of the width that fits for certain
    room = width if _cells(text) <= len(text) else width // 2
    return textwrap.wrap(text, room, subsequent_indent=indent) or [""]
