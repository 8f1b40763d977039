"""The space of plans a study searches: weight decays x peak learning rates x schedules, under one convention."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dwindle.decay import CONVENTIONS
from dwindle.errors import InvalidValueError, ParseError, count, known, known_keys, real
from dwindle.plan import Plan
from dwindle.schedule import Constant, Schedule, constant, cosine, exponential, step
from dwindle.text import parse_schedule
from dwindle.units import short

__all__ = ["Candidate", "Space"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of a space: its plan, and the coordinates it came from."""

    plan: Plan
    lam: float
    peak: float
    schedule: Schedule

    @property
    def is_constant(self) -> bool:
        """Whether the learning rate stays where it is."""
        return isinstance(self.schedule, Constant)


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of ``lams`` (weight decays), ``peaks`` (learning rates) and ``schedules``, under ``convention``.

    The default spans no decay to strong decay and two decades of learning rates, with the textbook's schedules: constant,
    halved every 5 epochs, exponential, and cosine to 0.

    >>> len(Space().candidates())
    60
    >>> Space.parse("lam 0 1 | peak 1e-3 | schedule constant; cosine to 0 | l2").convention
    'l2'
    """

    lams: tuple[float, ...] = (0.0, 0.3, 1.0, 3.0, 10.0)
    peaks: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    schedules: tuple[Schedule, ...] = (constant(), step("5ep", 0.5), exponential(0.9, "1ep"), cosine())
    convention: str = "decoupled"

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "lams", _distinct("lams", (real("lams", v, low=0.0) for v in _listed("lams", self.lams)))
        )
        object.__setattr__(
            self, "peaks", _distinct("peaks", (real("peaks", v, above=0.0) for v in _listed("peaks", self.peaks)))
        )
        schedules = (parse_schedule(s) if isinstance(s, str) else s for s in _listed("schedules", self.schedules))
        object.__setattr__(self, "schedules", _distinct("schedules", schedules))
        known("convention", self.convention, CONVENTIONS)
        for schedule in self.schedules:
            if not isinstance(schedule, Schedule):
                raise InvalidValueError(f"schedules must be schedules or their text; got {schedule!r}.")
        self.candidates()  # a point that cannot be a plan is refused here, not in the middle of the study

    def candidates(self, most: int | None = None, seed: int = 0) -> tuple[Candidate, ...]:
        """Return every point of the space; or, if there are more than ``most``, that many drawn at random with ``seed``.

        The draw keeps the points without decay and with a constant learning rate that comparisons need, one of each.
        """
        kind = CONVENTIONS[self.convention]
        points = [
            Candidate(Plan(peak, schedule, kind(lam) if lam else None), lam, peak, schedule)
            for schedule, peak, lam in itertools.product(self.schedules, self.peaks, self.lams)
        ]
        if most is None or len(points) <= count("trials", most):
            return tuple(points)
        order = np.random.default_rng([seed, len(points)]).permutation(len(points))
        needed = (
            next((i for i in order if points[i].lam == 0), None),
            next((i for i in order if points[i].is_constant), None),
        )
        first = [i for i in dict.fromkeys(needed) if i is not None]
        chosen = [*first, *(i for i in order if i not in first)][:most]
        return tuple(points[i] for i in sorted(chosen))

    @classmethod
    def parse(cls, text: str) -> Space:
        """Return the space written on one line: ``lam 0 1 10 | peak 1e-3 | schedule constant; cosine to 0 | decoupled``."""
        given: dict[str, Any] = {}
        for part in str(text)[:20_000].split("|"):
            word, _, rest = part.strip().partition(" ")
            if word in CONVENTIONS and not rest:
                key: str = "convention"
                value: Any = word
            else:
                key = known("space word", word, ["lam", "peak", "schedule", *CONVENTIONS]) + "s"
                value = [s.strip() for s in rest.split(";")] if word == "schedule" else _numbers(word, rest)
            if key in given:
                raise ParseError(f"{word} is given twice in {text[:80]!r}; put its values side by side.")
            given[key] = value
        return cls(**given)

    @classmethod
    def load(cls, path: str | Path) -> Space:
        """Return the space in a TOML file with the keys lams, peaks, schedules (texts) and convention."""
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ParseError(f"{path} cannot be read as a space: {error}.") from error
        known_keys("space", table, ["lams", "peaks", "schedules", "convention"])
        return cls(**table)

    def __str__(self) -> str:
        return (
            f"lam {' '.join(short(v) for v in self.lams)} | peak {' '.join(short(v) for v in self.peaks)} | "
            f"schedule {'; '.join(str(s) for s in self.schedules)} | {self.convention}"
        )


def _numbers(word: str, text: str) -> list[float]:
    values = text.replace(",", " ").split()
    try:
        return [float(v) for v in values]
    except ValueError as error:
        raise ParseError(f"the values of {word} must be numbers; got {text[:80]!r}.") from error


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidValueError(f"{name} must be a list; got {values!r}.")
    return tuple(values)


def _distinct(name: str, values: Iterable[Any]) -> tuple[Any, ...]:
    kept = tuple(dict.fromkeys(values))
    if not kept:
        raise InvalidValueError(f"{name} must not be empty; a space needs at least one value of each kind.")
    return kept
