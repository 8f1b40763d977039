"""The shell of every page: template, styles and scripts put into one file that asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from dwindle.durable import write_whole
from dwindle.errors import DataError
from dwindle.report.figures import marks
from dwindle.report.markup import Html, data_block, joined, tag

__all__ = ["CHARTS", "asset", "document", "hashed", "head", "write_page"]

STYLES = ("uPlot.min.css", "report.css", "figures.css")
CHARTS = ("uPlot.iife.min.js", "charts.js", "report.js")


def document(
    *,
    title: str,
    description: str,
    header: Html,
    contents: Sequence[tuple[str, str]],
    answer: Html,
    sections: Html,
    data: Mapping[str, Any],
    version: str,
    scripts: Sequence[str] = CHARTS,
) -> str:
    """Return one HTML document: the header, links to its sections (anchor, title), the answer first, and what is drawn.

    Scripts and styles run only by their SHA-256 hash (Content-Security-Policy), and the page cannot reach a network.
    ``data`` is what the scripts draw: ``charts`` by name, as in `dwindle.report.charts`.
    """
    style = "\n".join(asset(name) for name in STYLES)
    script = "\n".join(asset(name) for name in scripts)
    return Template(asset("page.html")).substitute(
        head=head(_policy(style, script), title, description, version, style),
        script=script,
        licence=asset("uPlot.LICENSE").replace("--", "- -"),
        marks=marks(),
        header=header,
        contents=joined(*[tag("a", said, href=f"#{key}") for key, said in contents]),
        answer=answer,
        sections=sections,
        data=data_block(data),
        version=joined(version),
    )


def head(policy: Html, title: str, description: str, version: str, style: str) -> Html:
    """Return all that stands before a page's body: what it may do by its ``policy``, what it is called, how it looks."""
    return Html(
        Template(asset("head.html")).substitute(
            policy=policy,
            title=joined(title),
            description=joined(description),
            version=joined(version),
            style=style,
        )
    )


def write_page(page: str, path: str | os.PathLike[str]) -> Path:
    """Write the page to ``path`` and return it: a reader sees the old file or the new one, never a part.

    The page goes to a temporary name in the same folder, is synced to the disk, and renamed.
    Raises DataError if the file cannot be written.
    """
    target, data = Path(path), page.encode("utf-8")
    try:
        write_whole(target, data)
    except OSError as error:
        raise DataError(
            f"the page ({len(data):,} bytes) could not be written to {target}: {error.strerror}. "
            "Name a file in a folder that exists, can be written, and has room."
        ) from error
    return target


def asset(name: str, package: str = "dwindle.report") -> str:
    """Return a file of the ``assets`` of a package, as text."""
    return files(package).joinpath("assets", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> Html:
    """Return the policy: nothing may load, only these very styles and scripts run, and text never becomes HTML."""
    return Html(
        f"default-src 'none'; script-src {hashed(script)}; style-src {hashed(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def hashed(text: str) -> str:
    """Return the source expression of a Content-Security-Policy that lets this very script or style run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
