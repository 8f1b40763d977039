"""Points in bounded memory: all of them up to a limit, beyond it neighbours merged pair by pair as they come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["MOST", "Points", "last_of", "mean_of"]

MOST = 2**18  # points kept
_START = 1024
_WAIT = 2**15


def mean_of(first: Any, second: Any) -> Any:
    """Return the mean of two points [n, 2] (step, value): the later step, (a + b)/2, and so NaN or infinite if either is.

    >>> mean_of(np.array([[1.0, 2.0], [3.0, np.inf]]), np.array([[2.0, 4.0], [4.0, 1.0]])).tolist()
    [[2.0, 3.0], [4.0, inf]]
    """
    with np.errstate(invalid="ignore"):
        return np.stack([second[:, 0], first[:, 1] / 2 + second[:, 1] / 2], axis=1)


def last_of(first: Any, second: Any) -> Any:
    """Return the later of two points [n, 2] (step, value), but the earlier one's value if that alone is not finite.

    >>> last_of(np.array([[1.0, 2.0], [3.0, np.nan]]), np.array([[2.0, 4.0], [4.0, 1.0]])).tolist()
    [[2.0, 4.0], [4.0, nan]]
    """
    lost = ~np.isfinite(first[:, 1]) & np.isfinite(second[:, 1])
    return np.stack([second[:, 0], np.where(lost, first[:, 1], second[:, 1])], axis=1)


class Points:
    """Points [n, width] in the order they come. Past ``limit`` each kept point stands for ``stride`` neighbours, a power of two.

    >>> points = Points(last_of, limit=4)
    >>> points.add(np.array([[float(i), 10.0 * i] for i in range(9)]))
    >>> points.values()[:, 0].tolist(), points.stride
    ([1.0, 3.0, 5.0, 7.0, 8.0], 2)
    """

    def __init__(self, merge: Callable[[Any, Any], Any], limit: int = MOST, width: int = 2) -> None:
        self.merge, self.limit, self.stride, self.seen = merge, limit, 1, 0
        self._kept = np.empty((min(_START, limit), width))
        self._count, self._waiting, self._held = 0, list[Any](), 0

    def __len__(self) -> int:
        return self._count + self._held // self.stride

    def add(self, points: Any) -> None:
        """Add points [n, width]."""
        if not len(points):
            return
        self.seen += len(points)
        self._waiting.append(points)
        self._held += len(points)
        if self._held >= max(_WAIT, self.stride) or len(self._waiting) >= 256:
            self._settle()

    def values(self) -> Any:
        """Return the points kept by now; the last may stand for fewer than ``stride``."""
        self._settle()
        rest = np.concatenate(self._waiting) if self._waiting else self._kept[:0]
        return np.concatenate([self._kept[: self._count], self._merged_to_one(rest)])

    def shrink(self, limit: int) -> None:
        """Keep at most ``limit`` points from now on."""
        self.limit = limit
        self._settle()
        while self._count > limit:
            self._halve()

    def _settle(self) -> None:
        if self._held < self.stride:
            return
        rest = np.concatenate(self._waiting) if len(self._waiting) > 1 else self._waiting[0]
        while len(rest) >= self.stride:
            if self._count >= self.limit - self.limit % 2:
                self._halve()
            take = min(len(rest) // self.stride, self.limit - self.limit % 2 - self._count)
            if not take:  # the stride has grown past what is there
                break
            self._keep(self._reduced(rest[: take * self.stride]))
            rest = rest[take * self.stride :]
        self._waiting, self._held = ([rest] if len(rest) else []), len(rest)

    def _keep(self, points: Any) -> None:
        need = self._count + len(points)
        if need > len(self._kept):
            grown = np.empty((min(max(need, 2 * len(self._kept)), max(self.limit, need)), self._kept.shape[1]))
            grown[: self._count] = self._kept[: self._count]
            self._kept = grown
        self._kept[self._count : need] = points
        self._count = need

    def _reduced(self, points: Any) -> Any:
        stride = self.stride
        while stride > 1:
            points, stride = self.merge(points[::2], points[1::2]), stride // 2
        return points

    def _halve(self) -> None:
        """Merge the kept pair by pair; one without a partner is merged with the point before it."""
        even = self._count - self._count % 2
        merged = self.merge(self._kept[:even:2], self._kept[1:even:2])
        if even < self._count and len(merged):
            merged[-1:] = self.merge(merged[-1:], self._kept[even : self._count])
        self._kept[: len(merged)] = merged
        self._count, self.stride = len(merged), self.stride * 2

    def _merged_to_one(self, points: Any) -> Any:
        while len(points) > 1:
            even = len(points) - len(points) % 2
            points = np.concatenate([self.merge(points[:even:2], points[1:even:2]), points[even:]])
        return points
