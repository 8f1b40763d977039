"""The optimiser step on flat rows of parameters, a cache-sized block of members at a time."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population.values import SGD, Adam, Optimiser

__all__ = ["Block", "blocks", "descend"]

Array: TypeAlias = NDArray[Any]

# An update passes several times over the same numbers: so many bytes of them stay in a core's own cache.
_BLOCK_BYTES = 256 * 1024


class Block:
    """Some members' rows of parameters ``x``, gradients ``g``, what the optimiser keeps (``kept``), and scratch (``spare``)."""

    __slots__ = ("g", "kept", "rows", "spare", "x")

    def __init__(self, rows: slice, x: Array, g: Array, kept: list[Array], spare: Array) -> None:
        self.rows, self.x, self.g, self.kept, self.spare = rows, x[rows], g[rows], [k[rows] for k in kept], spare


def slots(optimiser: Optimiser) -> int:
    """How many numbers per parameter the optimiser keeps between steps."""
    return 2 if isinstance(optimiser, Adam) else int(optimiser.momentum > 0.0)


def blocks(x: Array, g: Array, kept: list[Array]) -> list[Block]:
    """Cut rows ``x``, ``g`` and ``kept`` into blocks that share one scratch array."""
    size = max(1, _BLOCK_BYTES // x[0].nbytes)
    spare = np.empty_like(x[:size])
    cuts = (slice(start, min(start + size, len(x))) for start in range(0, len(x), size))
    return [Block(cut, x, g, kept, spare[: cut.stop - cut.start]) for cut in cuts]


def descend(optimiser: Optimiser, block: Block, move: Array, eps: float) -> None:
    """Take one step: x ← x - move·direction, with ``move`` (k, 1) for all members and the gradient used up."""
    x, g = block.x, block.g
    if isinstance(optimiser, Adam):
        direction = _adam(optimiser, block, eps)
    else:
        direction = _momentum(optimiser, block) if optimiser.momentum else g
    np.multiply(direction, move[block.rows], out=g)
    np.subtract(x, g, out=x)


def _momentum(sgd: SGD, block: Block) -> Array:
    g, (v,) = block.g, block.kept
    np.multiply(v, sgd.momentum, out=v)
    np.add(v, g, out=v)
    if not sgd.nesterov:
        return v
    np.multiply(v, sgd.momentum, out=block.spare)
    return np.add(g, block.spare, out=g)


def _adam(adam: Adam, block: Block, eps: float) -> Array:
    """M/(√V + eps), in the units of `tables.adam_terms`."""
    g, (m, v) = block.g, block.kept
    np.multiply(m, adam.beta1, out=m)
    np.add(m, g, out=m)
    np.multiply(v, adam.beta2, out=v)
    np.multiply(g, g, out=g)
    np.add(v, g, out=v)
    np.sqrt(v, out=g)
    np.add(g, eps, out=g)
    return np.divide(m, g, out=g)
