"""A block of regular rows as numbers, decoded at once."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np

__all__ = ["numbers", "unquoted"]

_NANS, _INFS = (
    re.compile(rb"(?<![A-Za-z0-9_.])" + word + rb"(?![A-Za-z0-9_.])", re.IGNORECASE)
    for word in (rb"nan", rb"inf(?:inity)?")
)
# Words of floats become these numbers, and are told by their count from numbers that happen to be the same.
_NAN, _INF = b"71394126874501", b"94182734509173"
_FLOATS = msgspec.json.Decoder(list[float])
_CELLS = msgspec.json.Decoder(list[float | None])


def unquoted(data: bytes, mark: bytes) -> bytes:
    """Return rows whose every cell is quoted, as W&B writes them, without quotes; b"" for others."""
    between, end = b'"' + mark + b'"', b'"\n"'
    if not (data.startswith(b'"') and data.endswith(b'"\n')):
        return b""
    if data.count(mark) != data.count(between) or data.count(b"\n") != data.count(end) + 1:
        return b""
    bare = data[1:-2].replace(between, mark).replace(end, b"\n") + b"\n"
    return b"" if b'"' in bare else bare


def numbers(data: bytes, rows: int) -> tuple[Any, Any] | None:
    """Return numbers [rows, columns] and where there are any (None: everywhere); None if a cell is neither number nor empty."""
    text = data.replace(b"\n", b",")[:-1]
    table = _decoded(text)
    if table is None:
        text, nans = _NANS.subn(_NAN, text)
        text, infinities = _INFS.subn(_INF, text)
        table = _decoded(text) if nans or infinities else None
        if table is None:
            return None
        values, there = table
        is_nan, is_infinite = values == float(_NAN), np.abs(values) == float(_INF)
        if is_nan.sum() != nans or is_infinite.sum() != infinities:
            return None
        values[is_nan] = np.nan
        values[is_infinite] = np.copysign(np.inf, values[is_infinite])
    else:
        values, there = table
    if len(values) % rows:
        return None
    return values.reshape(rows, -1), None if there is None else there.reshape(rows, -1)


def _decoded(text: bytes) -> tuple[Any, Any] | None:
    """Return the numbers between commas and which are there, if they are written as JSON writes them or empty."""
    empty = b",," in text or text.startswith(b",") or text.endswith(b",") or not text
    try:
        if not empty and b"l" not in text:  # no null
            return np.array(_FLOATS.decode(b"[" + text + b"]"), dtype=np.float64), None
        text = (b"," + text + b",").replace(b",,", b",null,").replace(b",,", b",null,")
        values = np.array(_CELLS.decode(b"[" + text[1:-1] + b"]"), dtype=np.float64)
        return values, ~np.isnan(values)
    except (msgspec.DecodeError, ValueError, OverflowError):
        return None
