"""What ``dwindle forecast`` and ``dwindle optimize`` say alike, in 80 columns: what was read, the law, curves as blocks."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dwindle.cli_runs import Source

if TYPE_CHECKING:
    from dwindle.laws import Fitted

__all__ = ["LABEL", "about_law", "about_logs", "blocks", "decimals", "numbered", "printable", "row", "wrapped"]

LABEL = 12
_WIDTH, _CURVE = 80, 56


def about_logs(read: Sequence[Source], fitted: Fitted) -> list[str]:
    """Return what was read of each log, with the notes on it."""
    return [line for i, source in enumerate(read, 1) for line in _about(source, numbered("log", i, read), fitted)]


def _about(source: Source, label: str, fitted: Fitted) -> list[str]:
    run, head = source.run, f"{source.log.name}: "
    columns = ", ".join(printable(column) for column in source.log.columns if column is not None)
    lines = row(label, printable(source.log.name))
    lines += row(
        "", f"{len(run.step):,} points of {columns}; steps {run.step[0]:,} to {run.step[-1]:,}; peak {run.peak:g}"
    )
    for note in [*source.notes, *(note.removeprefix(head) for note in fitted.notes if note.startswith(head))]:
        lines += row("", f"! {printable(note)}", hang=2)
    return lines


def about_law(fitted: Fitted, read: Sequence[Source]) -> list[str]:
    """Return the law, its error on each log, its parameters, and the notes that are of no one log."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in fitted.parameters.items())
    errors = [
        f"{error:.2g} on {numbered('log', i, read)}" if len(read) > 1 else f"{error:.2g}"
        for i, source in enumerate(read, start=1)
        if (error := fitted.error.get(source.log.name)) is not None
    ]
    lines = row("law", f"{fitted.law.name}; mean error {', '.join(errors)}") + row("", values)
    heads = tuple(f"{source.log.name}: " for source in read)
    for note in fitted.notes:
        lines += [] if note.startswith(heads) else row("", f"! {printable(note)}", hang=2)
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
    """Return a loss with the decimals that something as wide as ``width`` warrants.

    >>> decimals(2.97358, 0.0075), decimals(2.97358, 0.42)
    ('2.9736', '2.97')
    """
    power = math.floor(math.log10(width)) if 0.0 < width < math.inf else -4
    return f"{value:.{min(max(1 - power, 0), 8)}f}"


def printable(text: str) -> str:
    """Return the text with a dot for letters that would steer a terminal."""
    return "".join(letter if letter.isprintable() else "·" for letter in text)
