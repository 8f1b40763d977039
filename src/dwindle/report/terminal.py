"""The same answer for a terminal: plain text, a small table and curves in block characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dwindle.errors import count
from dwindle.report.cells import cells, cut, encodable, flat, sparkline, wrapped
from dwindle.report.effects import effect
from dwindle.report.evidence import DECAYS, Contender, Evidence, Setting
from dwindle.report.findings import NOTHING, SIGNS, tally, worst_first
from dwindle.report.plots import NAME, plots
from dwindle.report.reading import read
from dwindle.report.words import (
    NAMES,
    folded,
    gain_sentence,
    gap_sentence,
    lede,
    let_go,
    mean,
    measured,
    number,
    otherwise,
    promised,
    subtitle,
)

__all__ = ["summary"]

COLUMNS = (("test_loss", "test loss"), ("test_accuracy", "accuracy"), ("gap", "gap"))


def summary(
    evidence: Mapping[str, Any], width: int = 80, *, pictures: bool = False, encoding: str | None = "utf-8"
) -> str:
    """Return the answer of a study as text in which no line is wider than ``width`` (at least 76) columns.

    ``pictures``: with the gap, the map of λ and the peak, and what the plans do, drawn in characters. Where ``encoding`` does
    not hold our signs the text is ASCII. Control and direction characters in names are replaced, so that nothing in the
    evidence steers the terminal.
    Raises InvalidValueError if the evidence breaks its format or ``width`` is too small.
    """
    width = count("width", width, low=76, remedy="The table needs 76 columns.")
    found = read(evidence)
    lines = [*wrapped(flat(found.title), width), *wrapped(" · ".join(subtitle(found)), width), ""]
    lines += wrapped(lede(found), width)
    for setting in found.settings:
        lines += ["", *_setting(setting, width), *(plots(setting, width) if pictures else [])]
    lines += _findings(found, width)
    return encodable("\n".join(line.rstrip() for line in lines) + "\n", encoding, width)


def _setting(setting: Setting, width: int) -> list[str]:
    winner = setting.winner
    name = cut(flat(setting.name), width - 4)
    head = f"── {name} " + "─" * max(width - cells(name) - 4, 0)
    plans = setting.plans
    size = "" if winner.batch_size is None else f", batches of {winner.batch_size}"
    made = [
        head,
        *wrapped(f"Use  λ = {number(winner.lam)}, peak lr {number(winner.peak)}, {flat(winner.schedule)}{size}", width),
    ]
    made += [*wrapped(f"     {flat(winner.plan)}", width, "       "), ""]
    marks = {"matters": "✓", "does not matter here": "≈", "cannot be told": "?"}
    for each in setting.advice:
        made += wrapped(f"{marks[each.verdict]} {flat(each.said)}", width, "  ")
    made += [""] if setting.advice else []
    for shown in (effect(setting, decay) for decay in DECAYS):
        for metric in ("test_accuracy",) if setting.advice else ("test_loss", "test_accuracy"):
            comparison = None if shown is None else setting.comparison(shown.comparison.against, metric)
            if comparison is not None:
                made += wrapped(f"• {gain_sentence(comparison)}", width, "  ")
    for said in (otherwise(setting), gap_sentence(setting), folded(setting), let_go(setting), promised(setting)):
        made += wrapped(f"• {flat(said)}", width, "  ") if said else []
    made += ["", *_table(plans, setting.metrics, width), ""] if plans else [""]
    made += _curves([alike[0] for alike in plans], width)
    return made


def _table(plans: Sequence[Sequence[Contender]], metrics: Sequence[str], width: int) -> list[str]:
    """Return a row per plan, its further names below it; as many columns as there is room for, two spaces between them."""
    firsts = [alike[0] for alike in plans]
    keys = [*COLUMNS, *((name, cut(flat(name), 9)) for name in metrics)]
    columns = [["λ", *(number(c.lam, 3) for c in firsts)], ["peak", *(number(c.peak, 3) for c in firsts)]]
    columns += [
        [title, *(measured(mean(c.values(key)), key) for c in firsts)]
        for key, title in keys
        if any(v is not None for c in firsts for v in c.values(key))
    ]
    names = ["", *(NAMES[c.role] for c in firsts)]
    lines = [f"{name:{NAME}}" for name in names]
    for place, column in enumerate(columns):
        wide = max(8 if place < 2 else 10, 2 + max(map(cells, column)))
        if cells(lines[0]) + wide > width:
            break
        lines = [line + " " * (wide - cells(value)) + value for line, value in zip(lines, column, strict=True)]
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
    """Return the findings, the worst first: verdict, what to do, the plan as it is and as it should be; what was looked at."""
    if not evidence.findings and not evidence.looked_at:
        return []
    lines = ["", "Findings: " + (tally(evidence) or "nothing was found")]
    for each in worst_first(evidence):
        about = f" ({each.subject})" if each.subject else ""
        lines += wrapped(flat(f"{SIGNS[each.severity]} {each.severity}{about}: {each.verdict}"), width, "  ")
        if each.remedy.says:
            lines += wrapped(f"  Do: {flat(each.remedy.says)}", width, "    ")
        for name, (now, then) in each.remedy.change.items():
            lines += wrapped(f"  {flat(f'{name}: {now or NOTHING} → {then or NOTHING}')}", width, "    ")
    if evidence.looked_at:
        lines += wrapped(flat(f"Looked at: {'; '.join(evidence.looked_at)}."), width, "  ")
    return lines
