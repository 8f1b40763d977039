"""Who may ask the lab what: its own page in a browser on this machine, and nothing that another site sends there."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from dwindle.lab.refusal import Refusal

__all__ = ["CALLS", "Door"]

CALLS = ("/api/plan", "/api/log", "/api/study")
_READS = ("/", "/favicon.ico")
_OURS = ("same-origin", "none")


@dataclass(frozen=True, slots=True)
class Door:
    """The rules of a server on ``port``: names it is called by, and secrets that only its page knows.

    ``hosts``: the names, without the port, that Host may say; with ``addresses`` every IP address too, which no one can
    rebind in DNS. ``key``: what the address of the page must end in, where more than this machine can reach it.
    """

    port: int
    hosts: frozenset[str] = frozenset(("127.0.0.1", "localhost", "[::1]"))
    addresses: bool = False
    key: str | None = None
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def token(self) -> str:
        """Return a fresh token; any of them is good until the server ends, and none has to be remembered."""
        nonce = secrets.token_hex(16)
        return f"{nonce}{self._sign(nonce)}"

    def knows(self, token: str) -> bool:
        """Whether a token is one of ours, in a time that does not depend on how much of it is.

        >>> door = Door(8721)
        >>> door.knows(door.token()), door.knows("0" * 96), Door(8721).knows(door.token())
        (True, False, False)
        """
        return hmac.compare_digest(self._sign(token[:32]).encode(), token[32:].encode("utf-8", "replace"))

    def refusal(self, method: str, path: bytes, query: bytes, header: Callable[[str], str | None]) -> Refusal | None:
        """Return why a request is refused, before its body is read; None if it may be answered.

        ``path`` is as it was sent, nothing decoded; ``header`` gives a header by its name in lower case.
        """
        host = (header("host") or "").lower()
        if not self._is_ours(host):
            return Refusal(403, "this server is not called that; use the address that it printed.")
        origin = header("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return Refusal(403, "another site's page may not ask here.")
        if (header("sec-fetch-site") or "none").lower() not in _OURS:
            return Refusal(403, "another site may not open this; type the address into the browser.")
        target = path.decode("ascii", "replace")
        if target in CALLS and not query:
            return self._of_call(method, header)
        if target not in _READS or (query and self.key is None):
            return Refusal(404, "there is nothing here.")
        if method != "GET":
            return Refusal(405, "this is read with GET.", "GET")
        if target == "/" and self.key is not None and not hmac.compare_digest(query, f"key={self.key}".encode()):
            return Refusal(403, "the address needs its key; use it as the server printed it.")
        return None

    def _of_call(self, method: str, header: Callable[[str], str | None]) -> Refusal | None:
        if method != "POST":
            return Refusal(405, "this is asked with POST.", "POST")
        kind, _, parameter = (header("content-type") or "").lower().partition(";")
        if kind.strip() != "application/json" or parameter.strip() not in ("", "charset=utf-8"):
            return Refusal(415, "a question is application/json.")
        if header("content-encoding") is not None:
            return Refusal(415, "a question is not compressed.")
        if not self.knows(header("x-dwindle-token") or ""):
            return Refusal(403, "the token is not of this server; load the page anew.")
        if header("content-length") is None:
            return Refusal(411, "a question says its Content-Length.")
        return None

    def _is_ours(self, host: str) -> bool:
        end = f":{self.port}"
        if not host.endswith(end) and self.port != 80:  # which a browser leaves out
            return False
        name = host.removesuffix(end)
        return name in self.hosts or (self.addresses and _is_address(name))

    def _sign(self, nonce: str) -> str:
        return hmac.new(self.secret, nonce.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True
