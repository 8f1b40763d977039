"""The head of an HTTP request, read strictly: whatever two readers could understand differently is refused."""

from __future__ import annotations

import re

from dwindle.lab.refusal import Refusal

__all__ = ["head_refusal"]

_REQUEST = re.compile(rb"[A-Z]{1,16} [!-~]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_MOST_FIELDS = 100
_ONCE = frozenset(
    (
        b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"origin", b"sec-fetch-site",
        b"x-dwindle-token", b"expect",
    )
)  # fmt: skip


def head_refusal(head: bytes) -> Refusal | None:
    r"""Return why a head, its empty line included, is refused; None if there is one way to read it.

    Lines end in CR LF and are not folded; names are tokens, with no space before the colon; Host is there, and it and other
    fields that decide something are there once; a body says its length beforehand, in one way (no chunks), and a protocol is
    not changed.

    >>> head_refusal(b"GET / HTTP/1.1\r\nHost: localhost:8721\r\n\r\n")
    >>> head_refusal(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").why
    'the request has the field host twice.'
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    if _REQUEST.fullmatch(first) is None:
        return Refusal(400, "this is no request of HTTP/1.1.")
    if len(lines) > _MOST_FIELDS:
        return Refusal(431, f"a request has at most {_MOST_FIELDS} fields.")
    found: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            return Refusal(400, "a field of the request is malformed.")
        name = field.group(1).lower()
        if name in _ONCE and name in found:
            return Refusal(400, f"the request has the field {name.decode()} twice.")
        found[name] = field.group(2).strip(b"\t ")
    return _of_fields(first.split(b" ")[0], found)


def _of_fields(method: bytes, found: dict[bytes, bytes]) -> Refusal | None:
    if not found.get(b"host"):
        return Refusal(400, "the request does not say its Host.")
    if b"upgrade" in found:
        return Refusal(400, "no other protocol is spoken here.")
    if b"transfer-encoding" in found:
        return Refusal(411, "a body comes whole, with its Content-Length, not in chunks.")
    length = found.get(b"content-length")
    if length is not None and _LENGTH.fullmatch(length) is None:
        return Refusal(400, "Content-Length is no number of bytes.")
    if method != b"POST" and length is not None and int(length) > 0:
        return Refusal(400, "only a POST has a body.")
    return None
