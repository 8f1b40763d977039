"""Asking for points of a space in batches, and telling what they gave: what every sampler has in common."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np

from dwindle.errors import InvalidValueError, count, shown
from dwindle.studies.axis import Value
from dwindle.studies.space import Candidate, Space

__all__ = ["Asked", "Sampler", "Told"]


class Asked(NamedTuple):
    """A point to train, and the number by which its result is told."""

    id: int
    candidate: Candidate


class Told(NamedTuple):
    """A result: where the point lies on the axes of the space (None for a parameter not in use), and its value.

    The value is infinite where the training failed or diverged.
    """

    units: tuple[float | None, ...]
    value: float


@dataclass(slots=True)
class Sampler(ABC):
    """Points of ``space`` by ``ask``, the lower of whose values by ``tell`` are the better ones.

    What is asked depends on the space, the seed and what was told, and on nothing else: a new sampler that is told the same
    results goes on where another stopped. A point asked and not told is asked again.
    """

    space: Space
    seed: int = 0
    told: dict[int, Told] = field(default_factory=dict, init=False, repr=False)
    pending: dict[int, Candidate] = field(default_factory=dict, init=False, repr=False)

    name: ClassVar[str]
    learns: ClassVar[bool] = False  # whether the points depend on what was told, and so on the batches it is told in

    def __post_init__(self) -> None:
        if not isinstance(self.space, Space):
            raise InvalidValueError(
                f"a sampler needs a Space; got {shown(self.space)}. Make one with Space.parse(...)."
            )
        self.seed = count("seed", self.seed, low=0)

    @property
    def settings(self) -> dict[str, int]:
        """What decides the points beside space and seed."""
        return {}

    def ask(self, n: int = 1) -> list[Asked]:
        """Return up to ``n`` points to train, none of them told or asked before; fewer only where the space has no more."""
        count("n", n)
        free = (i for i in itertools.count() if i not in self.told and i not in self.pending)
        ids = list(itertools.islice(free, n))
        found = self._points(ids)
        self.pending.update(zip(ids, found, strict=False))
        return [Asked(id_, candidate) for id_, candidate in zip(ids, found, strict=False)]

    def tell(self, id_: int, value: float | None, params: Mapping[str, Value] | None = None) -> None:
        """Take the result of point ``id_``: its value, or None (or what is not finite) if it failed or diverged.

        ``params`` are the coordinates of a point that this sampler was not asked for, such as one before a restart.
        """
        if id_ in self.told:
            raise InvalidValueError(f"point {id_} is told already; a point has one result.")
        asked = self.pending.get(count("id", id_, low=0))
        if asked is None and params is None:
            raise InvalidValueError(f"point {id_} was not asked for; give its params.")
        units = self.space.units(asked.params if params is None else params)  # type: ignore[union-attr]
        self.pending.pop(id_, None)
        lost = value is None or not math.isfinite(value)
        self.told[id_] = Told(tuple(units), math.inf if lost else float(value))  # type: ignore[arg-type]

    @abstractmethod
    def _points(self, ids: list[int]) -> list[Candidate]:
        """Return the point of each number, or those of the first few if the space has no more."""

    def _rng(self, id_: int) -> np.random.Generator:
        """Return the generator of a point: its draws are the same whatever was asked before."""
        return np.random.default_rng([self.seed, id_])
