"""A refusal: a status of HTTP and one line that says why, never with what was asked in it; and the headers of every answer."""

from __future__ import annotations

import html
import http
import json
import re
from typing import NamedTuple

__all__ = ["HEADERS", "Refusal", "headers", "policy"]

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer a browser would hide our own Origin from us too
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Connection": "close",  # one request a connection: nothing can hide behind another
}
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
_META = re.compile(
    r"""<meta\s+http-equiv=["']?Content-Security-Policy["']?\s+content=("[^"]*"|'[^']*')""", re.IGNORECASE
)


class Refusal(NamedTuple):
    """Why a request is not answered: ``status``, the line ``why``, and for 405 the methods that are allowed."""

    status: int
    why: str
    allow: str = ""

    @property
    def body(self) -> bytes:
        return json.dumps({"error": self.why}).encode()

    def raw(self) -> bytes:
        r"""Return the whole answer, for a connection that no request was read from.

        >>> Refusal(400, "no.").raw().split(b"\r\n")[0]
        b'HTTP/1.1 400 Bad Request'
        """
        lines = [f"HTTP/1.1 {self.status} {http.HTTPStatus(self.status).phrase}"]
        told = {**headers(), "Content-Type": "application/json", "Content-Length": str(len(self.body))}
        lines += [f"{name}: {value}" for name, value in told.items()]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + self.body


def headers(page: str | None = None) -> dict[str, str]:
    """Return the headers of an answer; those of a page have its own policy."""
    return {
        **HEADERS,
        "Content-Security-Policy": f"{_NOTHING if page is None else policy(page)}; frame-ancestors 'none'",
    }


def policy(page: str) -> str:
    r"""Return the Content-Security-Policy that a page states itself, so that header and page cannot differ.

    A page without one may load nothing and run nothing.

    >>> policy("<meta http-equiv='Content-Security-Policy' content=\"default-src &#39;none&#39;\">")
    "default-src 'none'"
    """
    found = _META.search(page)
    said = "" if found is None else " ".join(html.unescape(found.group(1)[1:-1]).split())
    return said if said.isascii() and said else _NOTHING
