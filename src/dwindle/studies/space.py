"""The space of plans a study searches: weight decays x peaks x schedules, and conventions and batch sizes if several."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from dwindle.decay import CONVENTIONS
from dwindle.errors import (
    InvalidValueError,
    ParseError,
    a_kind,
    a_path,
    count,
    known,
    known_keys,
    real,
    sequence,
    shown,
)
from dwindle.plan import Plan
from dwindle.population import SGD, Adam, Optimiser
from dwindle.schedule import Constant, Schedule, constant, cosine, exponential, step
from dwindle.studies.axis import MOST_POINTS, Axis, Range, Value, numbers
from dwindle.studies.family import Family, as_schedule, unused
from dwindle.text.files import tables_of_toml
from dwindle.text.reader import LONGEST
from dwindle.units import short

__all__ = ["Axis", "Candidate", "Family", "Range", "Space"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One point of a space: its plan (and batch size, None for the task's own), and the coordinates it came from.

    ``at`` holds the coordinates by name, as plain numbers and text: those of ``Space.candidate``.
    """

    plan: Plan
    lam: float
    peak: float
    schedule: Schedule
    batch_size: int | None = None
    at: tuple[tuple[str, Value], ...] = field(default=(), compare=False, repr=False)

    @property
    def is_constant(self) -> bool:
        """Whether the learning rate stays where it is."""
        return isinstance(self.schedule, Constant)

    @property
    def params(self) -> dict[str, Value]:
        """The coordinates by name."""
        return dict(self.at)


@dataclass(frozen=True, slots=True)
class Space:
    """Every combination of ``lams`` (weight decays), ``peaks``, ``schedules``, conventions and ``batch_sizes``.

    A number may be a range, in text ``1e-4..1``, even in the logarithm unless it says ``linear``; inside a schedule,
    ``step by 0.3..0.7 every 2..10ep``, it is linear unless it says ``log``. ``convention`` may name several. Without
    batch sizes the task's own is used. At λ = 0 there is no decay, hence no convention.

    The default is for Adam: no decay to strong decay and one and a half decades of learning rates, with the textbook's
    schedules: constant, halved every 5 epochs, exponential, and cosine to 0. ``Space.default`` has that of SGD too.

    >>> len(Space().candidates())
    96
    >>> Space.parse("lam 0 1 | peak 1e-3 | schedule constant; cosine to 0 | l2").convention
    'l2'
    >>> space = Space.parse("lam 0 1e-4..1 | peak 1e-4..1e-1 | schedule constant; cosine to 0..20% | decoupled l2")
    >>> [axis.name for axis in space.axes]
    ['lam', 'peak', 'schedule', 'convention', 'cosine to %']
    >>> print(space.point([0.6, 0.5, 0.9, 0.1, 0.5]).plan)
    peak 0.003162 | cosine to 10% | decoupled 0.01
    """

    lams: tuple[float | Range, ...] = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
    peaks: tuple[float | Range, ...] = (1e-3, 3e-3, 1e-2, 3e-2)
    schedules: tuple[Schedule | Family, ...] = (constant(), step("5ep", 0.5), exponential(0.9, "1ep"), cosine())
    convention: str = "decoupled"
    batch_sizes: tuple[int | Range, ...] = ()
    axes: tuple[Axis, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, check in (("lams", _lam), ("peaks", _peak), ("batch_sizes", _batch_size)):
            given = numbers(name, _listed(name, getattr(self, name)), whole=name == "batch_sizes")
            object.__setattr__(self, name, tuple(dict.fromkeys(_checked(name, value, check) for value in given)))
        schedules = [as_schedule(value) for value in _listed("schedules", self.schedules)]
        for schedule in schedules:
            if not isinstance(schedule, Schedule | Family):
                raise InvalidValueError(f"schedules must be schedules or their text; got {shown(schedule)}.")
        object.__setattr__(self, "schedules", tuple(dict.fromkeys(schedules)))
        for name in ("lams", "peaks", "schedules"):
            if not getattr(self, name):
                raise InvalidValueError(f"{name} must not be empty; a space needs at least one value of each kind.")
        object.__setattr__(self, "convention", _conventions(self.convention))
        object.__setattr__(self, "axes", tuple(self._axes()))
        for lam, peak, convention in itertools.product(_ends(self.lams), _ends(self.peaks), self.conventions):
            _plan(peak, Constant(), convention, lam)  # no point of the space may turn out to be no plan

    @classmethod
    def default(cls, optimiser: Optimiser) -> Space:
        """Return where to search when nothing is said: for SGD ten times the rates and a tenth of the λ, so the same lr·λ.

        >>> from dwindle.population import SGD
        >>> Space.default(SGD(momentum=0.9)).peaks
        (0.01, 0.03, 0.1, 0.3)
        """
        if isinstance(optimiser, SGD):
            return cls(lams=(0.0, 0.01, 0.03, 0.1, 0.3, 1.0), peaks=(1e-2, 3e-2, 1e-1, 3e-1))
        a_kind("optimiser", optimiser, Adam)
        return cls()

    @property
    def conventions(self) -> tuple[str, ...]:
        """The conventions of weight decay."""
        return tuple(self.convention.split())

    @property
    def finite(self) -> bool:
        """Whether the space is a list of points: no axis has a range."""
        return all(axis.finite for axis in self.axes)

    def candidates(self, most: int | None = None, seed: int = 0) -> tuple[Candidate, ...]:
        """Return every point of the space; or, if there are more than ``most``, that many drawn at random with ``seed``.

        The draw keeps the points without decay and with a constant learning rate that comparisons need, one of each.
        Raises InvalidValueError for a space with ranges and no ``most``.
        """
        seed = count("seed", seed, low=0)
        if not self.finite:
            if most is None:
                raise InvalidValueError(f"'{self}' has ranges, so endless points; say how many trials.")
            return self._drawn(count("trials", most, high=MOST_POINTS), seed)
        points = self.grid()
        if most is None or len(points) <= count("trials", most):
            return points
        order = np.random.default_rng([seed, len(points)]).permutation(len(points))
        needed = (
            next((i for i in order if points[i].lam == 0), None),
            next((i for i in order if points[i].is_constant), None),
        )
        first = [i for i in dict.fromkeys(needed) if i is not None]
        chosen = [*first, *(i for i in order if i not in first)][:most]
        return tuple(points[i] for i in sorted(chosen))

    def grid(self, points_per_range: int = 5) -> tuple[Candidate, ...]:
        """Return every combination, each once, with ``points_per_range`` values from end to end of every range.

        >>> len(Space.parse("lam 0 1e-4..1 | peak 1e-3 | schedule constant; cosine to 0..20%").grid(3))
        16
        """
        count("points_per_range", points_per_range, high=MOST_POINTS)
        lists = {axis.name: axis.values(points_per_range) for axis in self.axes}
        found = []
        for size in lists.get("batch_size", (None,)):
            for convention in self.conventions:
                for chosen in self._grid_of_schedules(lists):
                    for peak, lam in itertools.product(lists["peak"], lists["lam"]):
                        if lam == 0 and convention != self.conventions[0]:
                            continue  # the same plan again
                        given = {"lam": lam, "peak": peak, **chosen}
                        found.append(
                            {**given, "convention": convention} | ({} if size is None else {"batch_size": size})
                        )
        return tuple(self.candidate(self._active(params)) for params in found)

    def point(self, units: Sequence[float]) -> Candidate:
        """Return the point at ``units``, one u in [0, 1] for each of ``axes``; that of a parameter not in use is ignored."""
        units = sequence("units", units)
        if len(units) != len(self.axes):
            raise InvalidValueError(f"a point of this space has {len(self.axes)} coordinates; got {len(units)}.")
        return self.candidate(
            self._active({a.name: a.at(real("a coordinate", u)) for a, u in zip(self.axes, units, strict=True)})
        )

    def units(self, params: Mapping[str, Value]) -> list[float | None]:
        """Return where ``params`` lie on the axes, None for a parameter not in use; the inverse of ``point``."""
        self._check(params)
        return [axis.unit(params[axis.name]) if axis.name in params else None for axis in self.axes]

    def candidate(self, params: Mapping[str, Value]) -> Candidate:
        """Return the point with these coordinates, as in ``Candidate.params``: the same point again.

        Raises InvalidValueError or UnknownNameError if it does not lie in the space.

        >>> print(Space().candidate({"lam": 0.3, "peak": 0.01, "schedule": "constant", "convention": "decoupled"}).plan)
        peak 0.01 | constant | decoupled 0.3
        """
        self._check(params)
        schedule = self.schedules[self._labels.index(params["schedule"])]
        if isinstance(schedule, Family):
            own = [axis.name for axis in self.axes if axis.owner == params["schedule"]]
            schedule = schedule.schedule([float(params[name]) for name in own])
        lam, peak = float(params["lam"]), float(params["peak"])
        plan = _plan(peak, schedule, str(params.get("convention", self.conventions[0])), lam)
        size = int(params["batch_size"]) if "batch_size" in params else None
        return Candidate(
            plan, lam, peak, schedule, size, tuple((a.name, params[a.name]) for a in self.axes if a.name in params)
        )

    def uses(self, axis: Axis, params: Mapping[str, Value]) -> bool:
        """Return whether ``axis`` has a meaning where λ and the schedule are those of ``params``.

        A family's parameters do with that family only, and a convention where λ > 0.
        """
        return axis.owner in (None, params["schedule"]) and not (axis.name == "convention" and params["lam"] == 0)

    @classmethod
    def parse(cls, text: str) -> Space:
        """Return the space written on one line: ``lam 0 1e-3..1 | peak 1e-3 | schedule constant; cosine to 0 | decoupled``.

        The words are lam, peak, batch, schedule and the conventions. Raises ParseError, UnknownNameError or
        InvalidValueError, each naming the place.
        """
        given: dict[str, Any] = {}
        for part in str(text)[:20_000].split("|"):
            word, _, rest = part.strip().partition(" ")
            if word in CONVENTIONS:
                key: str = "convention"
                value: Any = part.strip()
            else:
                word = known("space word", word, ["lam", "peak", "batch", "schedule", *CONVENTIONS])
                key = "batch_sizes" if word == "batch" else f"{word}s"
                texts = [s.strip() for s in rest.split(";")]
                value = texts if word == "schedule" else numbers(word, [rest], whole=word == "batch")
            if key in given:
                raise ParseError(f"{word} is given twice in {text[:80]!r}; put its values side by side.")
            given[key] = value
        return cls(**given)

    @classmethod
    def load(cls, path: str | Path) -> Space:
        """Return the space in a TOML file with the keys lams, peaks, schedules (texts), convention and batch_sizes.

        Ranges are text: lams = [0, "1e-4..1"]. ``convention`` is one word, several, or a list of them.
        """
        where = a_path("path", path)
        try:
            with open(where, "rb") as file:
                text = file.read(LONGEST + 1).decode("utf-8")
            if len(text) > LONGEST:
                raise ValueError(f"a space has at most {LONGEST:,} characters")
            table = tables_of_toml(text)
        except (OSError, ValueError, RecursionError) as error:
            raise ParseError(f"{path} cannot be read as a space: {error}.") from error
        known_keys("space", table, ["lams", "peaks", "schedules", "convention", "batch_sizes"])
        return cls(**table)

    def __str__(self) -> str:
        batch = f"batch {_texts(self.batch_sizes)} | " if self.batch_sizes else ""
        schedules = "; ".join(str(s) for s in self.schedules)
        return f"lam {_texts(self.lams)} | peak {_texts(self.peaks)} | {batch}schedule {schedules} | {self.convention}"

    def _axes(self) -> Iterator[Axis]:
        yield Axis("lam", self.lams)
        yield Axis("peak", self.peaks)
        labels: list[str] = []
        for schedule in self.schedules:
            labels.append(unused(str(schedule), labels))  # two custom ones may have the same text
        yield Axis("schedule", tuple(labels))
        yield Axis("convention", self.conventions)
        if self.batch_sizes:
            yield Axis("batch_size", self.batch_sizes)
        taken: list[str] = []
        for label, family in zip(labels, self.schedules, strict=True):
            for name, one in zip(family.names, family.ranges, strict=True) if isinstance(family, Family) else ():
                taken.append(unused(name, taken))
                yield Axis(taken[-1], (one,), owner=label)

    @property
    def _labels(self) -> tuple[Any, ...]:
        """The texts of the schedules."""
        return next(axis.items for axis in self.axes if axis.name == "schedule")

    def _active(self, params: Mapping[str, Value]) -> dict[str, Value]:
        return {axis.name: params[axis.name] for axis in self.axes if self.uses(axis, params)}

    def _check(self, params: Mapping[str, Value]) -> None:
        a_kind("a point", params, Mapping)  # type: ignore[type-abstract]
        for name in ("lam", "schedule"):
            if name not in params:
                raise InvalidValueError(f"a point of a space needs {name}; got {shown(dict(params))}.")
        used = [axis for axis in self.axes if self.uses(axis, params)]
        known_keys("point", params, [axis.name for axis in used])
        for axis in used:
            if axis.name not in params:
                raise InvalidValueError(f"a point of this space needs {axis.name}; got {shown(dict(params))}.")
            if params[axis.name] not in axis:
                raise InvalidValueError(
                    f"{axis.name} {shown(params[axis.name])} is not in the space; its values are {axis}."
                )

    def _grid_of_schedules(self, lists: Mapping[str, Sequence[Value]]) -> Iterator[dict[str, Value]]:
        for label in self._labels:
            own = [axis.name for axis in self.axes if axis.owner == label]
            for values in itertools.product(*(lists[name] for name in own)):
                yield {"schedule": label, **dict(zip(own, values, strict=True))}

    def _drawn(self, most: int, seed: int) -> tuple[Candidate, ...]:
        """Return points drawn from the unit cube; the first is without decay and constant as far as the space goes."""
        rng = np.random.default_rng([seed, len(self.axes)])
        points = [rng.random(len(self.axes)) for _ in range(most)]
        for name, wanted in (("lam", 0.0), ("schedule", next(filter(_is_constant, self.schedules), None))):
            axis = next(axis for axis in self.axes if axis.name == name)
            value: Any = str(wanted) if name == "schedule" else wanted
            if wanted is not None and value in axis:
                points[0][self.axes.index(axis)] = axis.unit(value)
        return tuple(self.point(units.tolist()) for units in points)


_OVERSHOOT = ", or say allow_overshoot=True."  # a space cannot


def _plan(peak: float, schedule: Schedule, convention: str, lam: float) -> Plan:
    try:
        return Plan(peak, schedule, CONVENTIONS[convention](lam) if lam else None)
    except InvalidValueError as error:
        raise InvalidValueError(str(error).replace(_OVERSHOOT, ".")) from None


def _lam(value: float) -> float:
    return real("lams", value, low=0.0)


def _peak(value: float) -> float:
    return real("peaks", value, above=0.0)


def _batch_size(value: float) -> int:
    size = count("batch_sizes", value)
    if size > 2**53:  # numbers of a space's text are floats
        raise InvalidValueError(f"batch_sizes must be at most 2^53; got {shown(size)}. Give a size that data has.")
    return size


def _checked(name: str, value: Any, check: Any) -> Any:
    if not isinstance(value, Range):
        return check(value)
    check(value.low)
    if value.whole != (name == "batch_sizes"):
        raise InvalidValueError(
            f"{name} {'are whole; say whole=True' if not value.whole else 'are not whole'}; got {value}."
        )
    return value


def _conventions(given: Any) -> str:
    words = given.split() if isinstance(given, str) else _listed("convention", given)
    kept = tuple(dict.fromkeys(known("convention", word, CONVENTIONS) for word in words))
    if not kept:
        raise InvalidValueError(f"convention must not be empty; it is one or more of {', '.join(CONVENTIONS)}.")
    return " ".join(kept)


def _is_constant(schedule: Schedule | Family) -> bool:
    return isinstance(schedule, Constant)


def _ends(values: Iterable[float | Range]) -> list[float]:
    return [end for value in values for end in ((value.low, value.high) if isinstance(value, Range) else (value,))]


def _texts(values: Iterable[float | Range]) -> str:
    return " ".join(v.text(log=True) if isinstance(v, Range) else short(v) for v in values)


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    return sequence(name, values)
