"""The page: template, styles, scripts and evidence put into one file that asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from dwindle.durable import write_whole
from dwindle.errors import DataError
from dwindle.report.answer import answer, header
from dwindle.report.charts import payload
from dwindle.report.figures import marks
from dwindle.report.markup import Html, data_block, joined, tag
from dwindle.report.reading import read
from dwindle.report.sections import SECTIONS, sections
from dwindle.report.words import lede

__all__ = ["render", "write"]

STYLES = ("uPlot.min.css", "report.css", "figures.css")
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
    style = "\n".join(_asset(name) for name in STYLES)
    script = "\n".join(_asset(name) for name in SCRIPTS)
    links = [tag("a", title, href=f"#{key}") for key, title, _, _ in SECTIONS]
    return Template(_asset("page.html")).substitute(
        policy=_policy(style, script),
        title=joined(found.title),
        description=joined(lede(found)),
        style=style,
        script=script,
        licence=_asset("uPlot.LICENSE").replace("--", "- -"),
        marks=marks(),
        header=header(found),
        contents=joined(*links),
        answer=answer(found),
        sections=sections(found),
        data=data_block(payload(found)),
        version=joined(str(found.environment.get("dwindle", ""))),
    )


def write(evidence: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write ``render(evidence)`` to ``path`` and return it: a reader sees the old file or the new one, never a part.

    The page goes to a temporary name in the same folder, is synced to the disk, and renamed.
    Raises InvalidValueError if the evidence breaks its format, DataError if the file cannot be written.
    """
    target = Path(path)
    page = render(evidence).encode("utf-8")
    try:
        write_whole(target, page)
    except OSError as error:
        raise DataError(
            f"the report ({len(page):,} bytes) could not be written to {target}: {error.strerror}. "
            "Name a file in a folder that exists, can be written, and has room."
        ) from error
    return target


def _asset(name: str) -> str:
    return files("dwindle.report").joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> Html:
    """Return the policy: nothing may load, only these very styles and scripts run, and text never becomes HTML."""
    return Html(
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
