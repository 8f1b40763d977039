"""Text as a terminal shows it: how many columns it takes, cut and padded to them, numbers as blocks, and all of it in ASCII."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from dwindle.report.charts import thin

__all__ = ["cells", "cut", "encodable", "flat", "likes", "padded", "sparkline", "wrapped"]

BLOCKS = "▁▂▃▄▅▆▇█"
# What else stands in our lines, each by as many letters, so that columns stay where they are; λ alone grows.
_LIKES = "▁_ ▂. ▃- ▄~ ▅= ▆+ ▇* █# ▓% ▒+ ░- ·. ─- │| −- –- —- ≈~ ✓+ ✗x ✕x ×x •* ●* ▲! ★@ ○o †+ ≤< →> ←< ↓v ↑^ …. ‖| τt η~ σs μu"
PLAIN = str.maketrans(
    {"\u00a0": " ", "±": "+-", "≥": ">=", "Σ": "sum "} | {pair[0]: pair[1] for pair in _LIKES.split()}
)


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


def flat(text: str) -> str:
    """Return the text in one line, one space between its words."""
    return " ".join(text.split())


def cells(text: str) -> int:
    """Return how many columns a terminal gives ``text``: two for wide letters, none for combining ones."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut(text: str, width: int) -> str:
    """Return the text in at most ``width`` columns, an ellipsis where it was longer."""
    if cells(text) <= width:
        return text
    while cells(text) > width - 1:
        text = text[:-1]
    return text + "…"


def padded(text: str, width: int) -> str:
    """Return the text with spaces to ``width`` columns."""
    return text + " " * (width - cells(text))


def wrapped(text: str, width: int, indent: str = "") -> list[str]:
    """Return the text in lines of at most ``width`` columns, the later ones indented."""
    # textwrap counts letters, not columns: text with wide letters gets the share of the width that fits for certain
    room = width if cells(text) <= len(text) else width // 2
    return textwrap.wrap(text, room, subsequent_indent=indent) or [""]


def likes(text: str) -> str:
    """Return the text in ASCII: our signs by their likes, λ as lam, other letters as ?.

    >>> likes("λ ± 3 → 训")
    'lam +- 3 > ?'
    """
    return text.translate(PLAIN).replace("λ", "lam").encode("ascii", "replace").decode("ascii")


def encodable(text: str, encoding: str | None, width: int = 80) -> str:
    r"""Return the text if ``encoding`` holds it, else in ASCII: our signs by their likes, λ as lam, other letters as ?.

    A line that λ made too long is wrapped again; a table keeps its columns, for λ takes them from the spaces before it.

    >>> encodable("λ = 3 ✓\n   λ", "utf-8"), encodable("λ = 3 ✓\n   λ", "latin-1")
    ('λ = 3 ✓\n   λ', 'lam = 3 +\n lam')
    """
    try:
        text.encode(encoding or "ascii")
        return text
    except (UnicodeEncodeError, LookupError):
        pass
    plain = [likes(line) for line in re.sub("  λ(?=  |$)", "lam", text, flags=re.MULTILINE).split("\n")]
    return "\n".join(part for line in plain for part in ([line] if len(line) <= width else wrapped(line, width, "  ")))
