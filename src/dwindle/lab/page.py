"""The lab's page: one file that computes what it shows, from disk or served, and then with Python's answers too."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

from dwindle.report.document import asset, hashed, head, write_page
from dwindle.report.markup import Html, data_block, joined

__all__ = ["page", "write"]

# The order matters: a file uses those before it. The engine computes and knows no page; the worker runs it alone.
ENGINE = (
    "numbers", "exact", "power", "time", "algebra", "shapes", "formula", "reader", "words", "mask", "plan", "grammar", "random",
    "ridge", "curve_points", "valley", "network", "logfile", "worker",
)  # fmt: skip
VIEWS = (
    "elements", "picture", "fit_view", "valley_view", "network_view", "plan_code", "plan_knobs", "plan_view", "log_view",
    "study_view", "lab",
)  # fmt: skip
_DESCRIPTION = (
    "The two decays of training, weight decay and learning-rate decay, live: drag λ and η and see what they do."
)


def page(*, token: str | None = None, title: str = "dwindle lab") -> str:
    """Return the lab as one HTML document.

    Served, ``token`` is what the page asks its own server with, at ``/api/plan``, ``/api/log`` and ``/api/study``; without one
    the page stands alone and reaches no network. Scripts and styles run only by their SHA-256 hash, text never becomes HTML,
    and the one worker is made of the page's own script.

    >>> "default-src 'none'" in page(), "connect-src 'self'" in page(), "connect-src 'self'" in page(token="secret")
    (True, False, True)
    """
    from dwindle import __version__

    style = "\n".join([*(asset(name) for name in ("report.css", "figures.css")), asset("lab.css", "dwindle.lab")])
    engine, script = _script(ENGINE), _script(VIEWS)
    data = {"title": title, "images": _images(), **({} if token is None else {"token": token})}
    return Template(asset("lab.html", "dwindle.lab")).substitute(
        head=head(_policy(style, (engine, script), served=token is not None), title, _DESCRIPTION, __version__, style),
        title=joined(title),
        version=joined(__version__),
        engine=engine,
        script=script,
        data=data_block(data),
    )


def write(path: str | os.PathLike[str], *, title: str = "dwindle lab") -> Path:
    """Write the page that stands alone to ``path`` and return it; raises DataError if the file cannot be written."""
    return write_page(page(title=title), path)


@cache  # a server makes its page anew for every visit
def _images() -> dict[str, Any]:
    from dwindle.lab.images import images  # with it come the studies, which take most of a second to load

    return images()


@cache
def _script(names: tuple[str, ...]) -> str:
    return "\n".join(['"use strict";', *(asset(f"{name}.js", "dwindle.lab") for name in names)])


def _policy(style: str, scripts: tuple[str, ...], *, served: bool) -> Html:
    """Return the policy of the page; ``blob:`` and the policy ``dwindle-lab`` are for its own worker."""
    network = " connect-src 'self';" if served else ""
    return Html(
        f"default-src 'none'; script-src {' '.join(map(hashed, scripts))}; style-src {hashed(style)}; img-src data:;{network} "
        "worker-src blob:; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types dwindle-lab"
    )
