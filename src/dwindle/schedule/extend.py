"""A schedule that is made longer each time the run reaches its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dwindle.namespace import namespace
from dwindle.schedule.algebra import _LAST_STEP, Schedule, _inner, _one, _unresolved, _whole
from dwindle.units import Horizon, Time, as_time, in_steps, number_of_steps, time_text, words

__all__ = ["Extend"]


@dataclass(frozen=True, slots=True)
class Extend(Schedule):
    """A schedule whose whole length grows by ``every`` whenever the run reaches its end: f(step) = schedule(step / k).

    k = max(1, ⌈step/every⌉). At step k·every the schedule has come to its end; one step later it is as far as a
    schedule of (k + 1)·every steps would be, so it leaps back up, less each time. ``every`` left open is the schedule's
    own duration. Source: the ``cycle`` of TensorFlow's and Keras' PolynomialDecay, an older recipe than warm restarts.

    >>> from dwindle.schedule import linear
    >>> s = Extend(linear(10), 10)
    >>> s(5), s(10), s(15), s(20)
    (0.5, 0.0, 0.25, 0.0)
    """

    schedule: Schedule
    every: Time | int | None = None

    def __post_init__(self) -> None:
        _one(self.schedule)
        every = as_time("every", self.every)
        object.__setattr__(self, "every", self.schedule.duration if every is None else every)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Extend:
        every = in_steps(self.every, horizon, room)
        return Extend(self.schedule.resolve(horizon, number_of_steps(every)), every)

    def __str__(self) -> str:
        return words(
            (_inner(self.schedule), "extend"), ("every", None if self.every is None else time_text(self.every))
        )

    def __call__(self, step: Any) -> Any:
        every = number_of_steps(self.every)
        if every is None:
            raise _unresolved(self)
        xp = namespace(step)
        step = xp.clip(step, 0, _LAST_STEP)
        whole, every = _whole(step, every)
        times = xp.clip(-(-whole // every), 1, _LAST_STEP)
        return self.schedule(xp.as_float(step) / xp.as_float(times))
