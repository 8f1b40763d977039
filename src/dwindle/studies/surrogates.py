"""Samplers that learn from what they are told: Optuna's TPE and Gaussian process, and CMA-ES.

Each rebuilds what it knows from the results told, in the order of their numbers, whenever it is asked: so a study that was
killed goes on as if it had not been, and nothing of a model is read from a file. Their first points are those of Sobol.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from dwindle.errors import count
from dwindle.studies.axis import Axis
from dwindle.studies.optional import optional, quiet
from dwindle.studies.sampler import Sampler, Told
from dwindle.studies.samplers import sobol_units
from dwindle.studies.space import Candidate

__all__ = ["CMAES", "GP", "TPE"]

_FIRST = 10  # points of Sobol before a model is made, as in Optuna
_UNUSED = 0.5  # where a parameter not in use is put for a model that must have them all
_SPREAD = 0.3  # of CMA-ES at the beginning: the standard deviation of an even spread over [0, 1]


@dataclass(slots=True)
class _Learning(Sampler):
    """Sobol's points until enough is told, then those of a model."""

    _first: list[list[float]] = field(default_factory=list, init=False, repr=False)
    _more: Iterator[list[float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        Sampler.__post_init__(self)
        self._more = sobol_units(len(self.space.axes), self.seed)

    def _sobol(self, id_: int) -> Candidate:
        self._first += islice(self._more, max(0, id_ + 1 - len(self._first)))
        return self.space.point(self._first[id_])

    def _seed(self, id_: int) -> int:
        return int(np.random.SeedSequence([self.seed, id_]).generate_state(1)[0])


@dataclass(slots=True)
class _Optuna(_Learning):
    """A model of Optuna's, made anew from what is told for every batch.

    The axes are given to it as they are laid out on the unit interval: a range as a real in [0, 1], a list of numbers by its
    places, names as categories. What is asked and not told is running, and what failed has an infinite value.
    """

    _flat: ClassVar[bool] = False  # whether the model needs every parameter in every trial

    def __post_init__(self) -> None:
        _Learning.__post_init__(self)
        optional("optuna")

    def _points(self, ids: list[int]) -> list[Candidate]:
        if sum(told.value < math.inf for told in self.told.values()) < _FIRST:
            return [self._sobol(id_) for id_ in ids]
        optuna = optional("optuna")
        running = [Told(tuple(self.space.units(c.params)), math.nan) for _, c in sorted(self.pending.items())]
        with quiet():
            study = optuna.create_study(sampler=self._model(optuna.samplers, self._seed(ids[0])))
            study.add_trials([self._trial(told) for _, told in sorted(self.told.items())])
            study.add_trials([self._trial(each) for each in running])
            return [self.space.point(self._suggested(study.ask())) for _ in ids]

    @abstractmethod
    def _model(self, samplers: Any, seed: int) -> Any:
        """Return the sampler of Optuna's ``samplers``."""

    def _trial(self, told: Told) -> Any:
        optuna = optional("optuna")
        placed = [
            (axis, _UNUSED if u is None else u)
            for axis, u in zip(self.space.axes, told.units, strict=True)
            if u is not None or self._flat
        ]
        state = optuna.trial.TrialState
        return optuna.trial.create_trial(
            state=state.RUNNING if math.isnan(told.value) else state.COMPLETE,
            value=None if math.isnan(told.value) else told.value,
            params={axis.name: _place(axis, u) for axis, u in placed},
            distributions={axis.name: _distribution(axis) for axis, _ in placed},
        )

    def _suggested(self, trial: Any) -> list[float]:
        """Return the units of the point that the model suggests, asked in the order of the axes."""
        units: list[float] = []
        chosen: dict[str, Any] = {}
        for axis in self.space.axes:
            if self._flat or len(chosen) < 3 or self.space.uses(axis, chosen):
                units.append(_unit(axis, _suggested(trial, axis)))
                chosen[axis.name] = axis.at(units[-1])
            else:
                units.append(_UNUSED)
        return units


@dataclass(slots=True)
class TPE(_Optuna):
    """Optuna's tree-structured Parzen estimator: where good points are dense and bad ones are not.

    All parameters at once, those of a family among the trials of that family; running trials count as bad ones, so that a
    batch spreads. Source: Bergstra et al. 2011, NeurIPS; Watanabe 2023, arXiv 2304.11127.
    """

    name: ClassVar[str] = "tpe"
    learns: ClassVar[bool] = True

    def _model(self, samplers: Any, seed: int) -> Any:
        return samplers.TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=0, seed=seed)


@dataclass(slots=True)
class GP(_Optuna):
    """Optuna's Gaussian process: the largest expected improvement, given also what is running.

    A parameter not in use is put in the middle. Source: Ament et al. 2023, arXiv 2310.20708 (logEI).
    """

    name: ClassVar[str] = "gp"
    learns: ClassVar[bool] = True
    _flat: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _Optuna.__post_init__(self)
        optional("torch", "torch")

    def _model(self, samplers: Any, seed: int) -> Any:
        return samplers.GPSampler(n_startup_trials=0, seed=seed)


@dataclass(slots=True)
class CMAES(_Learning):
    """CMA-ES on the unit cube: a normal distribution that moves and stretches to where the best half of a generation was.

    A generation is ``population`` points in the order of their numbers; ask for whole ones. A point asked before the
    generation before is all told comes from the newest distribution there is. Names are taken by the place in their list.
    It is made for ranges, and needs more points than the others. Source: Hansen 2016, arXiv 1604.00772; package cmaes.
    """

    population: int = 12

    name: ClassVar[str] = "cma-es"
    learns: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _Learning.__post_init__(self)
        self.population = count("population", self.population, low=4)
        optional("cmaes")

    def _points(self, ids: list[int]) -> list[Candidate]:
        return [self._point(id_) for id_ in ids]

    @property
    def settings(self) -> dict[str, int]:
        return {"population": self.population}

    def _point(self, id_: int) -> Candidate:
        generation, place = divmod(id_, self.population)
        model = self._model(generation, self._seed(generation))
        if model.generation == 0:
            return self._sobol(id_)
        for _ in range(place):
            model.ask()
        return self.space.point(model.ask().tolist())

    def _model(self, generation: int, seed: int) -> Any:
        """Return the distribution after the generations before this one, as far as they are told."""
        axes = len(self.space.axes)
        model = optional("cmaes").CMA(
            mean=np.full(axes, 0.5), sigma=_SPREAD, bounds=np.tile([0.0, 1.0], (axes, 1)), seed=seed,
            population_size=self.population,
        )  # fmt: skip
        for each in range(generation):
            ids = range(each * self.population, (each + 1) * self.population)
            if not all(id_ in self.told for id_ in ids):
                break
            told = [self.told[id_] for id_ in ids]
            model.tell([(np.array([_UNUSED if u is None else u for u in t.units]), t.value) for t in told])
        return model


def _suggested(trial: Any, axis: Axis) -> Any:
    if not axis.finite:
        return trial.suggest_float(axis.name, 0.0, 1.0)
    places = len(axis.items)
    return (
        trial.suggest_int(axis.name, 0, places - 1)
        if axis.ordered
        else trial.suggest_categorical(axis.name, range(places))
    )


def _distribution(axis: Axis) -> Any:
    distributions = optional("optuna").distributions
    if not axis.finite:
        return distributions.FloatDistribution(0.0, 1.0)
    places = len(axis.items)
    return (
        distributions.IntDistribution(0, places - 1)
        if axis.ordered
        else distributions.CategoricalDistribution(range(places))
    )


def _place(axis: Axis, u: float) -> float | int:
    return u if not axis.finite else min(int(u * len(axis.items)), len(axis.items) - 1)


def _unit(axis: Axis, place: float) -> float:
    return place if not axis.finite else (place + 0.5) / len(axis.items)
