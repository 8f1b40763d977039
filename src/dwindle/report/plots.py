"""The report's main pictures as lines of text: the gap by epoch, the map of λ and the peak, what the plans do in each epoch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from dwindle.report.cells import cut, padded, sparkline
from dwindle.report.charts import thin
from dwindle.report.evidence import Contender, Setting
from dwindle.report.grid import LEVELS, Cell, bands, best, cells, families, family_of, level
from dwindle.report.words import NAMES, beside, measured, number

__all__ = ["plots"]

NAME = 28  # columns for the name of a plan
ROWS = 9  # of the picture of the gap
MARKS = "█▓▒░:."  # of the levels of the map, the closest to the best first
MOST_MAPS = 4
_LATE = 0.1  # of the run: before, every loss falls steeply and would squash the rest


def plots(setting: Setting, width: int) -> list[str]:
    """Return the pictures of a setting, one under the other, no line wider than ``width`` columns."""
    parts = [_gap(setting, width), _map(setting, width), *_plans(setting, width)]
    return [line for part in parts if part for line in ["", *part]]


def _gap(setting: Setting, width: int) -> list[str]:
    """Return losses over epochs as a picture of letters: W, w the winner's validation and train loss, O, o the other's."""
    drawn = [(c, *letters) for c, letters in ((beside(setting), "Oo"), (setting.contender("winner"), "Ww")) if c]
    curves = [
        (mark, c.curves.epoch, values)
        for c, upper, lower in drawn
        for mark, values in ((upper, c.curves.validation_loss), (lower, c.curves.train_loss))
        if any(value is not None for value in values)
    ]
    if not curves:
        return []
    first, end = min(epoch[0] for _, epoch, _ in curves), max(epoch[-1] for _, epoch, _ in curves)
    known = [
        value
        for _, epoch, values in curves
        for at, value in zip(epoch, values, strict=True)
        if value is not None and at >= first + _LATE * (end - first)
    ]
    if not known:
        return []
    low, high = min(known), max(known)
    across = width - 9
    board = [[" "] * across for _ in range(ROWS)]
    for mark, epoch, values in curves:
        for column, value in _columns(epoch, values, first, end, across):
            height = (value - low) / (high - low) if high > low else 0.5
            if height <= 1.0:  # what is above belongs to the steep beginning
                board[round((1 - max(height, 0.0)) * (ROWS - 1))][column] = mark
    scale = [measured(high - (high - low) * row / (ROWS - 1), "validation_loss") for row in range(ROWS)]
    key = [f"{upper} {lower}  λ = {number(c.lam)}, validation and train loss" for c, upper, lower in drawn]
    ends = f"{'':>9}{number(first)}{number(end):>{max(across - len(number(first)), 1)}}"
    lines = [f"{label:>7} │{''.join(row)}" for label, row in zip(scale, board, strict=True)]
    return ["the gap, by epoch: " + key[0], *(f"{'':19}{each}" for each in key[1:]), *lines, ends]


def _columns(
    epoch: Sequence[float], values: Sequence[float | None], first: float, end: float, across: int
) -> list[tuple[int, float]]:
    """Return a value for every column that the curve crosses, on straight lines between its points."""
    place = [round((at - first) / (end - first) * (across - 1)) if end > first else 0 for at in epoch]
    known = [(column, value) for column, value in zip(place, values, strict=True) if value is not None]
    made = dict(known[-1:])
    for (left, one), (right, other) in pairwise(known):
        for column in range(left, right):
            made[column] = one + (other - one) * (column - left) / (right - left)
    return sorted(made.items())


def _map(setting: Setting, width: int) -> list[str]:
    """Return for each schedule, the winner's first, rows of λ and columns of the peak, marked by how far from the best."""
    scores = [trial.score for trial in setting.trials if trial.score is not None]
    if not scores:
        return []
    low, high = min(scores), max(scores)
    own = family_of(setting.winner.schedule, setting.trials)
    lams, peaks = (bands(values) for values in ([t.lam for t in setting.trials], [t.peak for t in setting.trials]))
    tried = sorted(
        families(setting.trials).items(),
        key=lambda entry: (
            entry[0] != own,
            best(entry[1]) is None,
            score if (found := best(entry[1])) and (score := found.score) is not None else 0.0,
        ),
    )
    labels = [lam.label.replace("\u200b", "") for lam in lams]
    heads = [peak.label.replace("\u200b", "") for peak in peaks]
    first = max(map(len, ["λ ↓ lr →", *labels])) + 1
    wide = max(min(max(map(len, heads)) + 2, (width - first) // len(heads)), 4)
    steps = [*(f"≤ {limit:.0%}".replace("%", " %") for limit in LEVELS), "more"]
    key = ", ".join(f"{mark} {step}" for mark, step in zip(MARKS, steps, strict=True))
    lines = ["above the best validation loss, by λ and peak:", key, "★ the winner, ✕ diverged, ○ let go early"]
    for name, trials in tried[:MOST_MAPS]:
        lines += ["", cut(" ".join(name.split()), width)]
        lines += [f"{'λ ↓ lr →':<{first}}" + "".join(f"{cut(head, wide - 1):>{wide}}" for head in heads)]
        for lam, label, row in zip(lams, labels, cells(trials, lams, peaks), strict=True):
            won = [name == own and setting.winner.lam in lam and setting.winner.peak in peak for peak in peaks]
            marks = [_mark(cell, low, high) + ("★" if here else " ") for cell, here in zip(row, won, strict=True)]
            lines.append(f"{label:<{first}}" + "".join(f"{mark:>{wide}}" for mark in marks))
    left = len(tried) - MOST_MAPS
    return [*lines, *([f"… and {left} more schedules, in the report"] if left > 0 else [])]


def _mark(cell: Cell, low: float, high: float) -> str:
    found = cell.best
    if found is not None and found.score is not None:
        return MARKS[level(found.score, low, high)]
    return " " if not cell.trials else "○" if cell.let_go else "✕"


def _plans(setting: Setting, width: int) -> list[list[str]]:
    names = {
        "lr": "learning rate",
        "decay_share": "what the decay takes of a weight in a step",
        "share_left": "share of w(0) that the decay alone leaves",
        "weight_norm": "norm of the weights",
    }
    shown = [alike[0] for alike in setting.plans if not alike[0].role.startswith("winner ")]
    return [_series(shown, key, title, width) for key, title in names.items()]


def _series(shown: Sequence[Contender], key: str, title: str, width: int) -> list[str]:
    drawn = [(c, getattr(c.curves, key)) for c in shown]
    drawn = [(c, values) for c, values in drawn if any(value is not None for value in values)]
    if not drawn:
        return []
    top = max(value for _, values in drawn for value in values if value is not None)
    low = min(0.0, *(value for _, values in drawn for value in values if value is not None))
    room = width - NAME - 12
    lines = [f"{title}, by epoch: {number(low)} ▁ to █ {number(top)}"]
    for c, values in drawn:
        last = next(value for value in reversed(values) if value is not None)
        line = sparkline(thin(values, room), low, top, room)
        lines.append(f"{padded(NAMES[c.role], NAME)}{line} {number(last):>10}")
    return lines
