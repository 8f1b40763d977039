"""Changes that a fuzzer makes to an input, in terms of tokens and brackets as well as of bytes; the same for the same seed."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["mutated"]

_ODD = (
    b"0", b"-0", b"-1", b"1", b"2", b"0.5", b"1e308", b"-1e308", b"1e309", b"5e-324", b"1e-400", b"nan", b"inf", b"-inf", b"NaN",
    b"Infinity", b"null", b"None", b"true", b"True", b'""', b"[]", b"{}", b"()", b"1_0", b"0x10", b"1e", b".", b"1.", b"00",
    b"2147483648", b"-2147483649", b"9007199254740993", b"18446744073709551616", b"1000000000000000000", b"1e18", b"9" * 400,
    b"9" * 5000, b"\xc2\xb2", b"\xd9\xa3", b"\xe2\x85\xa7", b"1j", b"'x'", b'"x"', b"lambda x: x", b"*x", b"**x",
)  # fmt: skip
_BYTES = (
    b"\0", b"\xff", b"\n", b"\r", b"\t", b" ", b'"', b"'", b"\\", b"\\u0000", b"\\ud800", b"\x1b[31m", b"\xe2\x80\xae", b"\xc3",
    b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b", b"%", b"#", b"//", b"**", b"|", b",", b";", b":", b"=", b"(", b")", b"[", b"]",
    b"{",
    b"}", b"\x80\x04", b"\xed\xa0\x80", b"\xc2\x85", b"\xe2\x80\xa8", b"\x0c", b"\x1c",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 0.5, 1e308, -1e308, 5e-324, 10**400, float("nan"), float("inf"), "", "x", "5ep", "nan", [], {},
    [[1]], [None], [2, 1], {"1": 2}, {"name": "x"}, {"name": [], "params": {}},
)  # fmt: skip
_TOKEN = re.compile(rb"\"[^\"\n]*\"|'[^'\n]*'|[A-Za-z_][A-Za-z0-9_.-]*|-?[0-9][0-9_.]*(?:[eE][-+]?[0-9]+)?")
_PAIRS = ((b"(", b")"), (b"[", b"]"), (b"{", b"}"), (b"-", b""), (b"not ", b""), (b"[[", b"]]"), (b'{"a":', b"}"))


def mutated(
    rng: random.Random, data: bytes, words: Sequence[bytes], others: Sequence[bytes], longest: int, most: int = 4
) -> bytes:
    """Return ``data`` with one to ``most`` changes: with ``words`` of the grammar, and pieces of ``others``, put in."""
    for _ in range(rng.randint(1, most)):
        data = rng.choice(_CHANGES)(rng, data, words, others)[:longest]
    return data


Words = Sequence[bytes]


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    begin = rng.randint(0, len(data))
    return begin, min(len(data), begin + int(rng.expovariate(0.1)))


def _flip(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _without(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    begin, end = _span(rng, data)
    return data[:begin] + data[end:]


def _cut(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    return data[: rng.randint(0, len(data))]


def _twice(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    begin, end = _span(rng, data)
    return data[:end] + data[begin:end] * rng.choice((1, 1, 1, 2, 60, 700)) + data[end:]


def _put(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(rng.choice((words or _ODD, _ODD, _BYTES))) + data[at:]


def _token(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    found = list(_TOKEN.finditer(data))
    if not found:
        return data
    here = rng.choice(found)
    new = rng.choice((*_ODD, *words)) if rng.random() < 0.6 else rng.choice(found).group()
    return data[: here.start()] + new + data[here.end() :]


def _nested(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    found = list(_TOKEN.finditer(data))
    begin, end = rng.choice(found).span() if found and rng.random() < 0.7 else _span(rng, data)
    left, right = rng.choice(_PAIRS)
    depth = rng.choice((1, 1, 2, 3, 40, 300))
    return data[:begin] + left * depth + data[begin:end] + right * depth + data[end:]


def _line(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    kind = rng.randrange(3)
    if kind == 0:
        lines.insert(to, lines[at])
    elif kind == 1:
        lines[at], lines[to] = lines[to], lines[at]
    else:
        del lines[at]
    return b"\n".join(lines)


def _spliced(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    if not others:
        return data
    other = rng.choice(others)
    begin, end = _span(rng, data)
    start, stop = _span(rng, other)
    if rng.random() < 0.3:
        return data[:begin] + other[start:]
    return data[:begin] + other[start:stop] + data[end:]


def _node(rng: random.Random, data: bytes, words: Words, others: Words) -> bytes:
    """Put a value of another kind anywhere into JSON; leave what is none."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return data
    places: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting and len(places) < 2000:
        node = waiting.pop()
        inside = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        places += [(node, key) for key, _ in inside]
        waiting += [value for _, value in inside]
    if not places:
        return data
    node, key = rng.choice(places)
    taken, at = rng.choice(places)
    node[key] = rng.choice((*_VALUES, taken[at], [node[key]], {"x": node[key]}))
    try:
        return json.dumps(whole).encode()
    except (ValueError, RecursionError):  # a value within itself
        return data


_CHANGES: tuple[Callable[[random.Random, bytes, Words, Words], bytes], ...] = (
    _flip, _without, _cut, _twice, _put, _put, _token, _token, _token, _nested, _line, _spliced, _node, _node,
)  # fmt: skip
