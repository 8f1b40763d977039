"""A checksum of plain values, so that a damaged file or state is never taken for another one."""

from __future__ import annotations

import json
import zlib
from typing import Any

__all__ = ["checksum"]


def checksum(value: Any) -> str:
    """Return the CRC-32 of a value of plain JSON: of what it says, not of the order of its keys or its white space.

    An array or tensor of one number counts as that number, which is what some checkpoints make of one.

    >>> checksum({"peak": 0.1, "schedule": "constant"})
    'crc32:b1b90636'
    >>> checksum({"a": 1, "b": 2}) == checksum({"b": 2, "a": 1}) != checksum({"b": 2, "a": 0})
    True
    """
    text = json.dumps(value, sort_keys=True, default=_plain)
    return f"crc32:{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not a plain value")
