"""The optimiser step on flat rows of parameters, one row a member."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population.values import SGD, Adam, Optimiser

__all__ = ["Slots", "descend"]

Array: TypeAlias = NDArray[Any]


class Slots:
    """What the optimiser keeps beside parameters ``x`` (k, numbers): arrays ``kept`` like it, and one for scratch."""

    __slots__ = ("kept", "spare")

    def __init__(self, kept: list[Array], spare: Array) -> None:
        self.kept, self.spare = kept, spare

    @classmethod
    def idle(cls, optimiser: Optimiser, x: Array) -> Slots:
        """Return them before the first step: SGD keeps its momentum, if any, and Adam two means; all are 0."""
        count = 2 if isinstance(optimiser, Adam) else int(optimiser.momentum > 0.0)
        return cls([np.zeros_like(x) for _ in range(count)], np.empty_like(x))

    def of(self, rows: NDArray[np.intp]) -> Slots:
        """Return the slots of these ``rows`` alone."""
        return Slots([array[rows] for array in self.kept], self.spare[rows])


def descend(optimiser: Optimiser, x: Array, g: Array, slots: Slots, move: Array, eps: float) -> None:
    """Take one step: x ← x - move·direction, with ``move`` (k, 1). The gradient ``g`` is used up."""
    if isinstance(optimiser, Adam):
        direction = _adam(optimiser, g, slots, eps)
    else:
        direction = _momentum(optimiser, g, slots) if optimiser.momentum else g
    np.multiply(direction, move, out=g)
    np.subtract(x, g, out=x)


def _momentum(sgd: SGD, g: Array, slots: Slots) -> Array:
    (v,) = slots.kept
    np.multiply(v, sgd.momentum, out=v)
    np.add(v, g, out=v)
    if not sgd.nesterov:
        return v
    np.multiply(v, sgd.momentum, out=slots.spare)
    return np.add(g, slots.spare, out=g)


def _adam(adam: Adam, g: Array, slots: Slots, eps: float) -> Array:
    """M/(√V + eps), in the units of `tables.adam_terms`."""
    m, v = slots.kept
    np.multiply(m, adam.beta1, out=m)
    np.add(m, g, out=m)
    np.multiply(v, adam.beta2, out=v)
    np.multiply(g, g, out=g)
    np.add(v, g, out=v)
    np.sqrt(v, out=g)
    np.add(g, eps, out=g)
    return np.divide(m, g, out=g)
