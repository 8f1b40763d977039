"""The page of a study: its evidence in the shell of every page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dwindle.report.answer import answer, header
from dwindle.report.charts import payload
from dwindle.report.document import document, write_page
from dwindle.report.reading import read
from dwindle.report.sections import contents, sections
from dwindle.report.words import lede

__all__ = ["render", "write"]

SCRIPTS = ("uPlot.iife.min.js", "charts.js", "trials.js", "report.js")


def render(evidence: Mapping[str, Any]) -> str:
    """Return the report of a study as one HTML document.

    ``evidence`` follows ``dwindle-evidence/1``. Every text of it is escaped; scripts and styles run only by their
    SHA-256 hash (Content-Security-Policy), and the page cannot reach a network. The answer, the tables and the figures
    of the seeds are in the HTML itself; only the curves and the sorting need JavaScript.

    Raises InvalidValueError if the evidence breaks its format.

    >>> render({"format": "dwindle-evidence/1"})
    Traceback (most recent call last):
    ...
    dwindle.errors.InvalidValueError: the evidence breaks dwindle-evidence/1: Object missing required field `title`.
    """
    found = read(evidence)
    return document(
        title=found.title,
        description=lede(found),
        header=header(found),
        contents=contents(found),
        answer=answer(found),
        sections=sections(found),
        data=payload(found),
        version=str(found.environment.get("dwindle", "")),
        scripts=SCRIPTS,
    )


def write(evidence: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write ``render(evidence)`` to ``path`` and return it: a reader sees the old file or the new one, never a part.

    The page goes to a temporary name in the same folder, is synced to the disk, and renamed.
    Raises InvalidValueError if the evidence breaks its format, DataError if the file cannot be written.
    """
    return write_page(render(evidence), path)
