"""The schedules given by numbers or by the user's own function: Piecewise, Interpolate, Table, Custom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np

from dwindle.errors import InvalidValueError, count, known, real, sequence, shown
from dwindle.namespace import SCALAR, namespace
from dwindle.schedule.algebra import _LAST_STEP, Schedule, _unresolved, _whole
from dwindle.schedule.shapes import SHAPES, fall
from dwindle.units import Horizon, Time, as_time, in_steps, number_of_steps, short, time_text

__all__ = ["Custom", "Interpolate", "Piecewise", "Table"]


@dataclass(frozen=True, slots=True)
class Piecewise(Schedule):
    """Piecewise constant: f = factors[i] from boundaries[i-1] (included) to boundaries[i] (excluded); multi-step decay.

    >>> s = Piecewise((30, 60), (1.0, 0.1, 0.01))
    >>> s(29), s(30), s(60)
    (1.0, 0.1, 0.01)
    """

    boundaries: tuple[Time | int, ...]
    factors: tuple[float, ...]
    _steps: tuple[float, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        boundaries, steps = _increasing("boundaries", self.boundaries)
        factors = tuple(real("factors", f, low=0.0) for f in sequence("factors", self.factors))
        if len(factors) != len(boundaries) + 1:
            raise InvalidValueError(
                f"factors needs one value more than boundaries; got {len(factors)} for {len(boundaries)}. "
                "The first factor holds before the first boundary."
            )
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "_steps", steps)

    @property
    def duration(self) -> Time | int | None:
        return None

    def resolve(self, horizon: Horizon, room: float | None = None) -> Piecewise:
        return replace(self, boundaries=tuple(in_steps(b, horizon) for b in self.boundaries))

    def __str__(self) -> str:
        return f"piecewise at [{_times(self.boundaries)}] factors [{_numbers(self.factors)}]"

    def __call__(self, step: Any) -> Any:
        if self._steps is None:
            raise _unresolved(self)
        xp = namespace(step)
        return xp.table(self.factors, xp.bucket(self._steps, step))


@dataclass(frozen=True, slots=True)
class Interpolate(Schedule):
    """Through the points (at[i], factors[i]), by ``shape`` between them (linear or cosine), held outside.

    >>> s = Interpolate((0, 10, 30), (0.0, 1.0, 0.5))
    >>> s(5), s(20), s(99)
    (0.5, 0.75, 0.5)
    """

    at: tuple[Time | int, ...]
    factors: tuple[float, ...]
    shape: str = "linear"
    _steps: tuple[float, ...] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        at, steps = _increasing("at", self.at, low=None)
        factors = tuple(real("factors", f, low=0.0) for f in sequence("factors", self.factors))
        if len(factors) != len(at):
            raise InvalidValueError(f"factors needs one value per point; got {len(factors)} for {len(at)} points.")
        object.__setattr__(self, "at", at)
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "shape", known("shape", self.shape, SHAPES))
        object.__setattr__(self, "_steps", None if steps is None else tuple(map(float, steps)))

    @property
    def duration(self) -> Time | int | None:
        last = self.at[-1]
        return last if (last.value if isinstance(last, Time) else last) > 0 else None

    def resolve(self, horizon: Horizon, room: float | None = None) -> Interpolate:
        return replace(self, at=tuple(in_steps(a, horizon) for a in self.at))

    def __str__(self) -> str:
        shape = "" if self.shape == "linear" else f" shape {self.shape}"
        return f"through [{_times(self.at)}] factors [{_numbers(self.factors)}]{shape}"

    def __call__(self, step: Any) -> Any:
        steps = self._steps
        if steps is None:
            raise _unresolved(self)
        xp = namespace(step)
        last = len(steps) - 1
        step = xp.clip(step, 0, _LAST_STEP)  # points before the start give a slope, not negative steps a value
        step = xp.clip(xp.as_float(step), steps[0], steps[-1])
        left = xp.clip(xp.bucket(steps, step) - 1, 0, max(last - 1, 0))
        right = xp.clip(left + 1, 0, last)
        start, end = xp.table(self.factors, left), xp.table(self.factors, right)
        begin = xp.table(steps, left)
        whole, inside = xp.table(steps, right) - begin, step - begin
        if last == 0:
            return start
        rises = end > start
        low, high = xp.where(rises, start, end), xp.where(rises, end, start)
        rest = whole - inside
        gone, left = xp.where(rises, rest, inside), xp.where(rises, inside, rest)
        value = low + (high - low) * fall(self.shape, gone, left, whole, xp)
        value = xp.where(inside >= whole, end, xp.clip(value, low, high))  # low + (high - low) may not be high
        return xp.where(inside <= 0, start, value)


@dataclass(frozen=True, slots=True)
class Table(Schedule):
    """Tabulated factors: f = factors[step // every], the last one held.

    >>> Table((1.0, 0.5, 0.1), every=2)(3)
    0.5
    """

    factors: tuple[float, ...]
    every: int = 1

    def __post_init__(self) -> None:
        factors = tuple(real("factors", f, low=0.0) for f in sequence("factors", self.factors))
        if not factors:
            raise InvalidValueError("factors must not be empty; a table needs at least one value.")
        object.__setattr__(self, "factors", factors)
        object.__setattr__(self, "every", count("every", self.every))

    @property
    def duration(self) -> Time | int | None:
        return len(self.factors) * self.every

    def resolve(self, horizon: Horizon, room: float | None = None) -> Table:
        return self

    def __str__(self) -> str:
        return f"table [{_numbers(self.factors)}]{'' if self.every == 1 else f' every {self.every}st'}"

    def __call__(self, step: Any) -> Any:
        xp = namespace(step)
        step, every = _whole(step, self.every)
        return xp.table(self.factors, xp.clip(step // every, 0, len(self.factors) - 1))


@dataclass(frozen=True, slots=True)
class Custom(Schedule):
    """The user's own function of the step (an int; a fraction is cut off), called once a step; it has no text and is not saved.

    >>> Custom(lambda step: 1 / (1 + step))(3)
    0.25
    """

    function: Callable[[int], float]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise InvalidValueError(f"function must be callable as function(step); got {shown(self.function)}.")

    def resolve(self, horizon: Horizon, room: float | None = None) -> Custom:
        return self

    def __str__(self) -> str:
        return f"custom {getattr(self.function, '__name__', 'function')}"

    def __call__(self, step: Any) -> Any:
        if namespace(step) is SCALAR:
            return real("the custom schedule's factor", self.function(int(min(max(0, step), _LAST_STEP))), low=0.0)
        if not isinstance(step, np.ndarray | np.generic):
            raise InvalidValueError(
                "a custom function is called with one step at a time; for tensors use a table of its values."
            )
        flat = [self(s) for s in np.asarray(step).ravel().tolist()]
        return np.array(flat, dtype=np.float64).reshape(np.shape(step))


def _times(times: tuple[Time | int, ...]) -> str:
    return " ".join(time_text(t) for t in times)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(short(v) for v in values)


def _increasing(name: str, values: Any, low: int | None = 1) -> tuple[tuple[Time | int, ...], tuple[float, ...] | None]:
    """Return the times, and the same in steps if all are; raise unless they increase strictly."""
    times: list[Time | int] = []
    for value in sequence(name, values):
        time = as_time(name, value, low=low)
        if time is None:
            raise InvalidValueError(f"{name} must be times; got None.")
        times.append(time)
    if not times:
        raise InvalidValueError(f"{name} must not be empty; for one value use constant.")
    steps = [number_of_steps(t) for t in times]
    for kind in {t.unit if isinstance(t, Time) else "st" for t in times}:
        same = [
            t.value if isinstance(t, Time) else t for t in times if (t.unit if isinstance(t, Time) else "st") == kind
        ]
        if any(b <= a for a, b in pairwise(same)):
            raise InvalidValueError(
                f"{name} must increase; got {[str(t) for t in times]}. Sort them and merge equal ones."
            )
    return tuple(times), None if None in steps else tuple(s for s in steps if s is not None)
