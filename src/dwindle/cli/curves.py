"""What ``dwindle forecast`` and ``dwindle optimize`` say alike, in 80 columns and on a page: what was read, the law, curves."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dwindle.cli.runs import Source
from dwindle.errors import DataError

if TYPE_CHECKING:
    from dwindle.laws import Fitted, Forecast
    from dwindle.report import Logged, Outlook, Prospect

__all__ = [
    "LABEL", "about_law", "about_logs", "blocks", "decimals", "numbered", "outlook", "prospect", "row", "wrapped",
    "write_html",
]  # fmt: skip

LABEL = 12
_WIDTH, _CURVE = 80, 56
_DRAWN = 240  # points of a fitted law


def about_logs(read: Sequence[Source], fitted: Fitted) -> list[str]:
    """Return what was read of each log, with the notes on it."""
    return [line for i, source in enumerate(read, 1) for line in _about(source, numbered("log", i, read), fitted)]


def _about(source: Source, label: str, fitted: Fitted) -> list[str]:
    run = source.run
    columns = ", ".join(_columns(source))
    lines = row(label, source.log.name)
    lines += row(
        "", f"{len(run.step):,} points of {columns}; steps {run.step[0]:,} to {run.step[-1]:,}; peak {run.peak:g}"
    )
    for note in _notes(source, fitted):
        lines += row("", f"! {note}", hang=2)
    return lines


def _columns(source: Source) -> list[str]:
    return [column for column in source.log.columns if column is not None]


def _notes(source: Source, fitted: Fitted) -> list[str]:
    """Return what is to be said of this log: of its rates, and of what the fit left out."""
    head = f"{source.log.name}: "
    return [*source.notes, *(note.removeprefix(head) for note in fitted.notes if note.startswith(head))]


def _notes_of_none(read: Sequence[Source], fitted: Fitted) -> list[str]:
    """Return the notes that are of no one log."""
    heads = tuple(f"{source.log.name}: " for source in read)
    return [note for note in fitted.notes if not note.startswith(heads)]


def about_law(fitted: Fitted, read: Sequence[Source]) -> list[str]:
    """Return the law, its error on each log, its parameters, and the notes that are of no one log."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in fitted.parameters.items())
    errors = [
        f"{error:.2g} on {numbered('log', i, read)}" if len(read) > 1 else f"{error:.2g}"
        for i, source in enumerate(read, start=1)
        if (error := fitted.error.get(source.log.name)) is not None
    ]
    lines = row("law", f"{fitted.law.name}; mean error {', '.join(errors)}") + row("", values)
    for note in _notes_of_none(read, fitted):
        lines += row("", f"! {note}", hang=2)
    return lines


def blocks(label: str, steps: Any, values: Any, end: int, low: float, high: float, last: str) -> str:
    """Return a line of blocks: the mean of each column's points, a straight line over columns that have none."""
    import numpy as np

    from dwindle.report import sparkline

    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    place = ((steps * _CURVE - 1) // end).clip(0)  # what stands after s steps belongs to the column that ends there
    columns, place = np.unique(place, return_inverse=True)
    means = np.bincount(place, values) / np.bincount(place) if len(columns) else values
    drawn = range(columns[0], columns[-1] + 1) if len(columns) else range(0)
    heights = [float(np.interp(c, columns, means)) if c in drawn else None for c in range(_CURVE)]
    return f"{label:<{LABEL}}{sparkline(heights, low, high, _CURVE)} {last:>10}"


def row(label: str, text: str, *, hang: int = 0) -> list[str]:
    """Return ``label`` and, from the column beside it on, ``text`` in lines of at most 80 columns, later ones ``hang`` in."""
    return wrapped(f"{label:<{LABEL}}{text}", LABEL + hang)


def wrapped(text: str, indent: int = 0) -> list[str]:
    """Return the text in lines of at most 80 columns; what the first line begins with keeps its spaces."""
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def numbered(what: str, number: int, all_of_them: Sequence[object]) -> str:
    """Return the word, with the number where there are several.

    >>> numbered("log", 1, ["a"]), numbered("log", 1, ["a", "b"])
    ('log', 'log 1')
    """
    return what if len(all_of_them) == 1 else f"{what} {number}"


def decimals(value: float, width: float) -> str:
    """Return a loss with the decimals that something as wide as ``width`` warrants, as the pages do."""
    from dwindle.report import decimals as said

    return said(value, width)


# --- on a page


def outlook(read: Sequence[Source], fitted: Fitted, prospects: Sequence[Prospect], steps: int, command: str) -> Outlook:
    """Return what a page shows: the logs, the law as it was fitted to them, and the prospects of plans over ``steps`` steps."""
    from datetime import UTC, datetime

    from dwindle import __version__
    from dwindle.report import Law, Outlook

    kinds = {parameter.name: parameter.kind for parameter in fitted.law.parameters}
    about = (sys.modules[fitted.law.loss.__module__].__doc__ or "").strip().partition("\n")[0]
    law = Law(
        fitted.law.name,
        about,
        tuple((name, value, kinds[name]) for name, value in fitted.parameters.items()),
        tuple(_notes_of_none(read, fitted)),
    )
    logs = tuple(_logged(source, numbered("log", i, read), fitted) for i, source in enumerate(read, start=1))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Outlook(logs, law, tuple(prospects), steps, command, __version__, now)


def _logged(source: Source, label: str, fitted: Fitted) -> Logged:
    import numpy as np

    from dwindle.report import Logged

    run = source.run
    kept = next((kept for kept in fitted.runs if kept.name == source.log.name), None)
    drawn = np.zeros(0, dtype=np.int64)
    if kept is not None:
        drawn = np.unique(np.linspace(kept.step[0], kept.step[-1], _DRAWN).astype(np.int64))
    return Logged(
        label=label,
        name=source.log.name,
        path=str(source.path),
        columns=", ".join(_columns(source)),
        notes=tuple(_notes(source, fitted)),
        error=fitted.error.get(source.log.name),
        lr=run.lr,
        step=run.step,
        loss=run.loss,
        fitted=np.isin(run.step, [] if kept is None else kept.step),
        fitted_step=drawn,
        fitted_loss=fitted.loss(run.course, drawn) if len(drawn) else drawn.astype(np.float64),
    )


def prospect(
    label: str, name: str, plan: str, lrs: Any, curve: Forecast, told: Forecast | None = None, notes: Sequence[str] = ()
) -> Prospect:
    """Return a plan as a page draws it: by its ``curve``; what it says of it is ``told``, or the same."""
    from dwindle.report import Prospect

    said = curve if told is None else told
    rows = zip(said.step, said.loss, said.lower, said.upper, strict=True)
    return Prospect(
        label=label,
        name=name,
        plan=plan,
        lr=lrs,
        step=curve.step,
        loss=curve.loss,
        lower=curve.lower,
        upper=curve.upper,
        final=(float(said.loss[-1]), float(said.lower[-1]), float(said.upper[-1])),
        supported=said.supported,
        why=said.why,
        notes=tuple(notes),
        asked=() if said is curve else tuple((int(at), float(loss), float(a), float(b)) for at, loss, a, b in rows),
    )


def write_html(page: Callable[[], str], path: Path) -> None:
    """Write the page to the file of --html, whole or not at all."""
    from dwindle.report import write_page

    try:
        write_page(page(), path)
    except DataError as error:
        raise DataError(f"--html: {error}") from error
