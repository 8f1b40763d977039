"""The decays without an end: Exponential (smooth or in steps) and PowerLaw (inverse time, inverse square root)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from dwindle.elementary import PowerParts, power, power_parts
from dwindle.errors import InvalidValueError, flag, real
from dwindle.namespace import namespace
from dwindle.schedule.algebra import _LAST_STEP, Schedule, _unresolved, _whole
from dwindle.units import Horizon, Time, as_time, in_steps, number_of_steps, short, time_text, words

__all__ = ["Exponential", "PowerLaw"]


@dataclass(frozen=True, slots=True)
class Exponential(Schedule):
    """Exponential decay: f = decay_rate^(step/every), or with ``staircase`` decay_rate^(step // every), the step decay.

    ``Exponential(0.5, "5ep", staircase=True)`` halves every 5 epochs: epochs 0-4 at the peak, epoch 5 at half of it.
    Closed form: within about 1 ulp for any step, exactly 0 once it underflows, never infinite. A rate above 1 grows and
    needs ``allow_growth=True``.

    >>> s = Exponential(0.5, 5, staircase=True)
    >>> s(4), s(5), s(10)
    (1.0, 0.5, 0.25)
    """

    decay_rate: float
    every: Time | int | None = 1
    staircase: bool = False
    allow_growth: bool = False
    _every: float | None = field(init=False, repr=False, compare=False)
    _parts: PowerParts | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rate = real("decay_rate", self.decay_rate, above=0.0, remedy="To stop training use a cooldown to 0.")
        if not flag("allow_growth", self.allow_growth) and rate > 1.0:
            raise InvalidValueError(f"decay_rate above 1 grows; got {rate!r}. If that is meant, say allow_growth=True.")
        object.__setattr__(self, "decay_rate", rate)
        object.__setattr__(self, "every", as_time("every", self.every))
        if self.every is None:
            raise InvalidValueError("every must be given: the steps (or epochs) in which the rate is applied once.")
        flag("staircase", self.staircase)
        steps = number_of_steps(self.every)
        object.__setattr__(self, "_every", steps)
        parts = None if steps is None else power_parts(rate, 1.0 if self.staircase else float(steps))
        object.__setattr__(self, "_parts", parts)

    def resolve(self, horizon: Horizon, room: float | None = None) -> Exponential:
        return replace(self, every=in_steps(self.every, horizon))

    def __str__(self) -> str:
        head = "step by" if self.staircase else "exponential by"
        every = None if self.every is None else time_text(self.every)
        return words((head, short(self.decay_rate)), ("every", every), ("growing", "" if self.allow_growth else None))

    def __call__(self, step: Any) -> Any:
        every, parts = self._every, self._parts
        if every is None or parts is None:
            raise _unresolved(self)
        xp = namespace(step)
        if self.staircase:
            step, every = _whole(step, every)
            step = step // every
        return power(parts, xp.as_float(step), xp)


@dataclass(frozen=True, slots=True)
class PowerLaw(Schedule):
    """Power-law decay: f = (1 + rate·x)^-exponent with x = step/every, or step // every with ``staircase``.

    exponent 1 is inverse-time decay, 1/2 the inverse square root. Sources: Robbins & Monro 1951 (1/t);
    Vaswani et al. 2017, arXiv 1706.03762, eq. 3 (1/√t).

    >>> PowerLaw(0.5, 100)(300)
    0.5
    """

    exponent: float
    every: Time | int | None = 1
    rate: float = 1.0
    staircase: bool = False
    _every: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", real("exponent", self.exponent, low=0.0))
        object.__setattr__(self, "every", as_time("every", self.every))
        if self.every is None:
            raise InvalidValueError("every must be given: the steps (or epochs) after which the decay has set in.")
        object.__setattr__(self, "rate", real("rate", self.rate, low=0.0))
        flag("staircase", self.staircase)
        object.__setattr__(self, "_every", number_of_steps(self.every))

    def resolve(self, horizon: Horizon, room: float | None = None) -> PowerLaw:
        return replace(self, every=in_steps(self.every, horizon))

    def __str__(self) -> str:
        return words(
            ({1.0: "inverse-time", 0.5: "inverse-sqrt"}.get(self.exponent, f"power-law {short(self.exponent)}"), ""),
            ("every", None if self.every is None else time_text(self.every)),
            ("rate", None if self.rate == 1.0 else short(self.rate)),
            ("staircase", "" if self.staircase else None),
        )

    def __call__(self, step: Any) -> Any:
        every = self._every
        if every is None:
            raise _unresolved(self)
        xp = namespace(step)
        step = xp.clip(step, 0, _LAST_STEP)
        if self.staircase:
            step, every = _whole(step, every)
        x = xp.as_float(step // every) if self.staircase else xp.as_float(step) / every
        base = 1.0 + self.rate * x
        if self.exponent == 1.0:
            return 1.0 / base
        return 1.0 / (xp.sqrt(base) if self.exponent == 0.5 else xp.pow(base, self.exponent))
