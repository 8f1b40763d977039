"""Samplers that do not learn, grid, random and Sobol, and all samplers by name.

The points of these three are the same for the same seed, whatever the batches; those that learn, ``tpe``, ``gp`` and
``cma-es`` (``surrogates``), give the same points for the same results told in the same batches.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import ClassVar

import numpy as np

from dwindle.errors import count, known
from dwindle.studies.axis import Value
from dwindle.studies.sampler import Asked, Sampler
from dwindle.studies.space import Candidate, Space

__all__ = ["SAMPLERS", "Asked", "Grid", "Listed", "Random", "Sampler", "Sobol", "sampler"]

SAMPLERS = {
    "grid": "Grid", "random": "Random", "sobol": "Sobol",
    "tpe": "TPE", "gp": "GP", "cma-es": "CMAES",
}  # fmt: skip
_PATIENCE = 64  # Sobol points per point of a finite space, after which what is left comes in the order of the grid


def sampler(name: str, space: Space, seed: int = 0) -> Sampler:
    """Return the sampler of that name: grid, random, sobol, tpe, gp or cma-es.

    Raises MissingExtraError if it needs a package that is not installed.

    >>> [point.candidate.lam for point in sampler("grid", Space(lams=(0.0, 1.0))).ask(3)]
    [0.0, 1.0, 0.0]
    """
    kind = SAMPLERS[known("sampler", name, SAMPLERS)]
    module = __name__ if kind in __all__ else "dwindle.studies.surrogates"
    found: Sampler = getattr(import_module(module), kind)(space, seed)
    return found


@dataclass(slots=True)
class Grid(Sampler):
    """Every combination once, in order, with ``points_per_range`` values of each range.

    >>> len(Grid(Space(), points_per_range=3).ask(100))
    96
    """

    points_per_range: int = 5
    _all: tuple[Candidate, ...] = field(default=(), init=False, repr=False)

    name: ClassVar[str] = "grid"

    def __post_init__(self) -> None:
        Sampler.__post_init__(self)
        self._all = self.space.grid(self.points_per_range)

    @property
    def settings(self) -> dict[str, int]:
        return {"points_per_range": self.points_per_range}

    def _points(self, ids: list[int]) -> list[Candidate]:
        return [self._all[i] for i in ids if i < len(self._all)]


@dataclass(slots=True)
class Listed(Sampler):
    """These points, in their order.

    >>> space = Space()
    >>> [point.candidate.lam for point in Listed(space, points=space.candidates()[:3]).ask(5)]
    [0.0, 0.1, 0.3]
    """

    points: tuple[Candidate, ...] = ()

    name: ClassVar[str] = "list"

    @property
    def settings(self) -> dict[str, int]:
        return {"points": len(self.points)}

    def _points(self, ids: list[int]) -> list[Candidate]:
        return [self.points[i] for i in ids if i < len(self.points)]


@dataclass(slots=True)
class Random(Sampler):
    """Points drawn evenly from the axes, independently; of a finite space each once, in random order.

    >>> space = Space.parse("lam 1e-3..1 | peak 1e-4..1e-1")
    >>> once = Random(space)
    >>> once.ask(1) + once.ask(1) == Random(space).ask(2)
    True
    """

    _all: tuple[Candidate, ...] = field(default=(), init=False, repr=False)

    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        Sampler.__post_init__(self)
        if self.space.finite:
            points = self.space.grid()
            self._all = tuple(points[i] for i in np.random.default_rng(self.seed).permutation(len(points)))

    def _points(self, ids: list[int]) -> list[Candidate]:
        if self.space.finite:
            return [self._all[i] for i in ids if i < len(self._all)]
        return [self.space.point(self._rng(i).random(len(self.space.axes)).tolist()) for i in ids]


@dataclass(slots=True)
class Sobol(Sampler):
    """Points of a Sobol sequence, spread more evenly than random ones; of a finite space each once.

    Scrambled by the seed (Owen 1998, as in scipy.stats.qmc). A list of values takes equal shares of its axis.

    >>> peaks = [point.candidate.peak for point in Sobol(Space.parse("lam 0 | peak 1e-4..1 | schedule constant")).ask(4)]
    >>> sum(peak < 1e-2 for peak in peaks)
    2
    """

    _known: list[Candidate] = field(default_factory=list, init=False, repr=False)
    _rest: Iterator[Candidate] = field(init=False, repr=False)

    name: ClassVar[str] = "sobol"

    def __post_init__(self) -> None:
        Sampler.__post_init__(self)
        self._rest = self._sequence()

    def _points(self, ids: list[int]) -> list[Candidate]:
        missing = max(ids) + 1 - len(self._known)
        self._known += itertools.islice(self._rest, max(missing, 0))
        return [self._known[i] for i in ids if i < len(self._known)]

    def _sequence(self) -> Iterator[Candidate]:
        cube = sobol_units(len(self.space.axes), self.seed)
        if not self.space.finite:
            yield from map(self.space.point, cube)
            return
        everything = self.space.grid()
        seen: set[tuple[tuple[str, Value], ...]] = set()
        for candidate in itertools.chain(
            map(self.space.point, itertools.islice(cube, _PATIENCE * len(everything))), everything
        ):
            if candidate.at not in seen:
                seen.add(candidate.at)
                yield candidate


def sobol_units(axes: int, seed: int) -> Iterator[list[float]]:
    """Give the points of a scrambled Sobol sequence in the unit cube of ``axes`` dimensions."""
    from scipy.stats import qmc  # half a second that a study on a grid need not wait

    word = "rng" if "rng" in inspect.signature(qmc.Sobol).parameters else "seed"  # before scipy 1.15
    engine = qmc.Sobol(count("axes", axes), scramble=True, **{word: np.random.default_rng(seed)})
    while True:
        yield from engine.random(64).tolist()  # a power of 2: what it is balanced for
