"""The map of λ against the peak learning rate as tables: one per schedule, coloured by class, readable without colour."""

from __future__ import annotations

from collections.abc import Sequence

from dwindle.report.evidence import Setting
from dwindle.report.grid import LEVELS, Band, Cell, bands, best, cells, families, family_of, level
from dwindle.report.markup import Html, joined, tag
from dwindle.report.words import let_go, measured, number, plural

__all__ = ["heat", "near_best"]

NEAR = LEVELS[1]
ROOM = 6  # columns that fit on a phone; more of them are scrolled


def near_best(setting: Setting) -> str:
    """Return how forgiving the choice is: how many pairs of λ and peak come within 3 % of the best validation loss."""
    scores = [
        cell.best.score
        for _, rows in _maps(setting)
        for row in rows
        for cell in row
        if cell.best is not None and cell.best.score is not None
    ]
    tried = sum(bool(cell.trials) for _, rows in _maps(setting) for row in rows for cell in row)
    if not scores:
        return "No trial came to the end." if any(t.let_go for t in setting.trials) else "Every trial diverged."
    close = sum(level(score, min(scores), max(scores)) <= 1 for score in scores)
    diverged = sum(trial.diverged for trial in setting.trials)
    return (
        f"{close} of {plural(tried, 'cell')} come within {NEAR:.0%} of the best validation loss, {number(min(scores))}; ".replace(
            "%", " %"
        )
        + (f"{plural(diverged, 'trial')} diverged." if diverged else "no trial diverged.")
        + (f" {said}" if (said := let_go(setting)) else "")
    )


def heat(setting: Setting) -> Html:
    """Return the tables of a setting, the winner's schedule first, and the key to their colours."""
    scores = [trial.score for trial in setting.trials if trial.score is not None]
    low, high = (min(scores), max(scores)) if scores else (0.0, 0.0)
    lams, peaks = _bands(setting)
    tables = [
        tag(
            "div",
            tag("h4", tag("bdi", name)),
            _table(name, rows, lams, peaks, setting, (low, high)),
            class_="family",
        )
        for name, rows in _maps(setting)
    ]
    return joined(tag("div", *tables, class_="families"), _key(any(trial.let_go for trial in setting.trials)))


def _bands(setting: Setting) -> tuple[list[Band], list[Band]]:
    return bands(trial.lam for trial in setting.trials), bands(trial.peak for trial in setting.trials)


def _maps(setting: Setting) -> list[tuple[str, list[list[Cell]]]]:
    lams, peaks = _bands(setting)
    mapped = [(name, cells(trials, lams, peaks), best(trials)) for name, trials in families(setting.trials).items()]
    mapped.sort(
        key=lambda entry: (
            entry[0] != family_of(setting.winner.schedule, setting.trials),
            entry[2] is None,
            entry[2].score or 0.0 if entry[2] else 0.0,
        )
    )
    return [(name, rows) for name, rows, _ in mapped]


def _table(
    name: str, rows: Sequence[Sequence[Cell]], lams: Sequence[Band], peaks: Sequence[Band], setting: Setting,
    span: tuple[float, float],
) -> Html:  # fmt: skip
    winner, own = setting.winner, family_of(setting.winner.schedule, setting.trials)
    head = [tag("th", peak.label, scope="col") for peak in peaks]
    body = [
        tag(
            "tr",
            tag("th", lam.label, scope="row"),
            *[
                _cell(cell, span, won=name == own and winner.lam in lam and winner.peak in peak)
                for cell, peak in zip(row, peaks, strict=True)
            ],
        )
        for row, lam in zip(rows, lams, strict=True)
    ]
    corner = tag("th", "λ ↓  lr →", class_="corner", aria_label="rows: λ; columns: peak learning rate")
    kind = "heat many" if len(peaks) > ROOM else "heat"
    table = tag("table", tag("caption", f"lowest validation loss, {name}", class_="sr"),
                tag("thead", tag("tr", corner, *head)), tag("tbody", *body), class_=kind)  # fmt: skip
    return tag("div", table, class_="scroll", tabindex=0, role="region", aria_label=f"map of {name}, {setting.name}")


def _cell(cell: Cell, span: tuple[float, float], *, won: bool) -> Html:
    found = cell.best
    if found is None or found.score is None:
        if not cell.trials:
            return tag("td", "–", class_="none", title="not tried")
        if cell.let_go:
            return tag(
                "td",
                "○",
                tag("span", " let go early", class_="sr"),
                class_="early",
                title=f"{_ids(cell)}: let go early",
            )
        return tag("td", "✕", tag("span", " diverged", class_="sr"), class_="div", title=f"{_ids(cell)}: diverged")
    shade = f"q{level(found.score, *span)}" + (" won" if won else "")
    said = f"trial {found.id}: validation loss {number(found.score)}" + (
        f"; {cell.diverged} of {plural(len(cell.trials), 'trial')} diverged" if cell.diverged else ""
    )
    return tag(
        "td",
        tag("span", "★ ", aria_label="winner: ", role="img") if won else None,
        measured(found.score, "validation_loss"),
        tag("span", "†", class_="dagger") if cell.diverged else None,
        class_=shade,
        title=said,
    )


def _ids(cell: Cell) -> str:
    return "trial " + ", ".join(str(trial.id) for trial in cell.trials)


def _key(early: bool) -> Html:
    steps = [*(f"≤ {limit:.0%}".replace("%", " %") for limit in LEVELS), "more"]
    swatches = [tag("li", tag("span", class_=f"q{index}"), text) for index, text in enumerate(steps)]
    return tag(
        "ul",
        tag("li", "above the best:", class_="lead"),
        *swatches,
        tag("li", tag("span", "✕", class_="div"), "diverged"),
        tag("li", tag("span", "○", class_="early"), "let go early, no result") if early else None,
        tag("li", "★ winner"),
        tag("li", "† some of the cell diverged"),
        class_="heat-key",
    )
