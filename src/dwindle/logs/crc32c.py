"""CRC32C, the checksum of TensorBoard's records, of many messages at once.

The state s of the register is linear in what it is fed: s ← T[(s ^ byte) & 255] ^ (s >> 8). Zero bytes before a message leave a
register of 0 as it is, so messages of any length stand right-aligned in one table and are fed column by column; the usual start
of 2³²-1 is the same as inverting the first four bytes. A long message is cut into lanes, fed side by side and then joined.
Source: Castagnoli, Bräuer, Herrmann, IEEE Trans. Commun. 41 (1993); RFC 3720, appendix B.4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["crc32c", "crc32c_of", "masked"]

_POLYNOMIAL = 0x82F63B78  # reversed
_LONG = 4096


def _table() -> Any:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


_TABLE = _table()
_AS_LIST = [int(value) for value in _TABLE]


def _fed(state: Any, table: Any) -> Any:
    """Return the registers [n] after each was fed its row of bytes [n, width]."""
    for column in np.ascontiguousarray(table.T):
        state = _TABLE[(state ^ column) & 0xFF] ^ (state >> 8)
    return state


@lru_cache(maxsize=64)  # of 40 kB each
def _past(zeros: int) -> tuple[list[int], ...]:
    """Return what each byte of a register becomes over that many zero bytes."""
    state = (np.arange(256, dtype=np.uint32)[None, :] << np.array([[0], [8], [16], [24]], dtype=np.uint32)).reshape(-1)
    for _ in range(zeros):
        state = _TABLE[state & 0xFF] ^ (state >> 8)
    return tuple([int(value) for value in row] for row in state.reshape(4, 256))


def crc32c(data: bytes) -> int:
    """Return the CRC32C of a message.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    if len(data) < _LONG:
        state = 0xFFFFFFFF
        for byte in data:
            state = _AS_LIST[(state ^ byte) & 0xFF] ^ (state >> 8)
        return state ^ 0xFFFFFFFF
    lanes = 256 if len(data) < 2**16 else 4096
    width = -(-len(data) // lanes)
    table = np.zeros(lanes * width, dtype=np.uint8)
    table[-len(data) :] = np.frombuffer(data, dtype=np.uint8)
    table[len(table) - len(data) :][:4] ^= 0xFF
    a, b, c, d = _past(width)
    total = 0
    for state in _fed(np.zeros(lanes, dtype=np.uint32), table.reshape(lanes, width)).tolist():
        total = a[total & 0xFF] ^ b[(total >> 8) & 0xFF] ^ c[(total >> 16) & 0xFF] ^ d[total >> 24] ^ state
    return total ^ 0xFFFFFFFF


def crc32c_of(data: Any, begin: Any, length: Any) -> Any:
    """Return the CRC32C [n] of the messages that ``begin`` [n] and take ``length`` [n] bytes of ``data`` (uint8).

    >>> crc32c_of(np.frombuffer(b"123456789x", dtype=np.uint8), np.array([0, 9]), np.array([9, 1])) == [0xE3069283, crc32c(b"x")]
    array([ True,  True])
    """
    out = np.empty(len(begin), dtype=np.uint32)
    order = np.argsort(length, kind="stable")
    sorted_lengths = length[order]
    at = 0
    while at < len(order):
        width = int(sorted_lengths[at])
        # messages of up to an eighth more share a table, of up to a megabyte
        end = int(np.searchsorted(sorted_lengths, max(width + width // 8, 16), side="right"))
        end = max(at + 1, min(end, at + 2**20 // max(int(sorted_lengths[end - 1]), 1)))
        some = order[at:end]
        widest = int(sorted_lengths[end - 1])
        if width < 4 or widest >= _LONG:
            for i in some:
                out[i] = crc32c(data[begin[i] : begin[i] + length[i]].tobytes())
        else:
            offset = np.arange(widest) - widest + length[some][:, None]
            table = np.where(offset >= 0, data[np.maximum(begin[some][:, None] + offset, 0)], 0).astype(np.uint8)
            table ^= np.where((offset >= 0) & (offset < 4), 0xFF, 0).astype(np.uint8)
            out[some] = _fed(np.zeros(len(some), dtype=np.uint32), table) ^ 0xFFFFFFFF
        at = end
    return out


def masked(crc: Any) -> Any:
    """Return the checksum as records hold it: rotated right by 15 bits, plus 0xa282ead8."""
    return ((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF
