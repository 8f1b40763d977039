"""Times as people say them, ``500st``, ``5ep``, ``20%``, ``1e9tok``, and the Horizon that turns them into steps.

A schedule never sees a unit: every time becomes a whole number of steps once, early, by ``Time.steps``.
"""

from __future__ import annotations

import math
import numbers
import re
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.errors import (
    InvalidValueError,
    ParseError,
    UnknownNameError,
    UnresolvedTimeError,
    count,
    known,
    real,
    shown,
    suggestion,
)

__all__ = ["ROUNDINGS", "UNITS", "Horizon", "Time", "as_horizon", "as_time"]

Array = npt.NDArray[np.float64]

UNITS = {
    "st": "st", "step": "st", "steps": "st",
    "ep": "ep", "epoch": "ep", "epochs": "ep",
    "%": "%",
    "ex": "ex", "example": "ex", "examples": "ex",
    "tok": "tok", "token": "tok", "tokens": "tok",
}  # fmt: skip
ROUNDINGS = ("nearest", "down", "exact")
_DIGITS = Context(prec=30)  # a thread may have set its own to fewer than a float has
_FOREVER = 10**30
_SAMPLES = 2**17
_LONGEST = 10**18  # steps of a run; twice as many are still 64-bit integers
SHORTEST = 1e-6  # steps; below it step // every would leave the range of integers
_TIME = re.compile(r"\s*([+-]?[0-9][0-9_.]*(?:[eE][+-]?[0-9]+)?|[+-]?\.[0-9]+)\s*([A-Za-z%]*?)\s*(down|exact)?\s*")


@dataclass(frozen=True, slots=True)
class Horizon:
    """The length of a run: how many optimiser steps, and what an epoch, an example and a token are worth in steps.

    Give ``steps``, or ``epochs`` with ``steps_per_epoch`` (or with ``examples`` and ``batch_size``: an epoch is then
    ceil(examples / batch_size) steps, the last partial batch counted). ``tokens_per_step`` turns tokens into steps.

    >>> Horizon(epochs=10, steps_per_epoch=500).steps
    5000
    >>> Horizon(epochs=2, examples=1001, batch_size=100).steps
    22
    """

    steps: int = 0
    epochs: float | None = None
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    examples: int | None = None
    tokens_per_step: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps_per_epoch", "batch_size", "examples", "tokens_per_step"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, count(name, getattr(self, name)))
        if self.steps_per_epoch is None and self.examples is not None and self.batch_size is not None:
            object.__setattr__(self, "steps_per_epoch", -(-self.examples // self.batch_size))
        if self.epochs is not None:
            epochs = real("epochs", self.epochs, above=0.0)
            object.__setattr__(self, "epochs", int(epochs) if epochs.is_integer() else epochs)
            self._steps_from_epochs()
        elif isinstance(self.steps, numbers.Real) and self.steps == 0:
            raise InvalidValueError(
                "a Horizon needs its length; give steps=N, or epochs=E with steps_per_epoch (or examples and batch_size)."
            )
        object.__setattr__(self, "steps", count("steps", self.steps))
        if self.steps > _LONGEST:
            raise InvalidValueError(
                f"a run has at most 10^18 steps; got about 10^{len(str(self.steps)) - 1}. Give fewer."
            )

    def _steps_from_epochs(self) -> None:
        if self.steps_per_epoch is None:
            raise InvalidValueError(
                "epochs alone do not say how many steps; give steps_per_epoch, or examples and batch_size."
            )
        steps = max(1, _nearest(_written(self.epochs or 0) * self.steps_per_epoch))
        if self.steps not in (0, steps):
            raise InvalidValueError(
                f"steps={self.steps} contradicts epochs={self.epochs} x steps_per_epoch={self.steps_per_epoch} "
                f"= {steps}; give one of them."
            )
        object.__setattr__(self, "steps", steps)


@dataclass(frozen=True, slots=True)
class Time:
    """An amount of training: ``value`` in ``unit`` (st steps, ep epochs, % of the run, ex examples, tok tokens).

    ``rounding`` says how it becomes steps: the ``nearest`` whole one, ``down`` to a whole one, or ``exact``, a fraction of
    a step kept. The latter two are how some libraries count, and stand behind the unit: "29% down", "1e6tok exact".

    >>> Time(20, "%").steps(Horizon(steps=1000))
    200
    >>> str(Time.parse("1e9 tokens"))
    '1e9tok'
    >>> Time.parse("29% down").steps(Horizon(steps=99)), Time.parse("29%").steps(Horizon(steps=99))
    (28, 29)
    """

    value: float
    unit: str
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        known("unit", self.unit, UNITS)
        object.__setattr__(self, "unit", UNITS[self.unit])
        value = real("time", self.value)
        if self.unit == "%" and not -100 <= value <= 100:
            raise InvalidValueError(f"a share of the run must be between 0% and 100%; got {value:g}%.")
        if abs(value) > float(_FOREVER):
            raise InvalidValueError(f"a time is at most 1e30 {UNITS[self.unit]}; got {value:g}.")
        object.__setattr__(self, "value", int(self.value) if value.is_integer() else value)
        known("rounding", self.rounding, ROUNDINGS)
        if self.unit == "st" and self.rounding != "nearest":
            raise InvalidValueError(
                f"{short(self.value)}st is a number of steps and is taken as it is; leave out {self.rounding!r}."
            )

    @classmethod
    def parse(cls, text: str) -> Time:
        """Return the time written in ``text``; a bare number counts steps.

        >>> Time.parse("5ep")
        Time(value=5, unit='ep')
        """
        found = _TIME.fullmatch(text) if isinstance(text, str) and len(text) <= 80 else None
        if found is None:
            raise ParseError(f"{str(text)[:80]!r} is not a time; write for example 500st, 5ep, 20% or 1e9tok.")
        number, unit, rounding = found.groups()
        if unit and unit.lower() not in UNITS:
            raise UnknownNameError(
                f"unit {unit!r} in {text!r} is not known; {suggestion(unit, ['st', 'ep', '%', 'ex', 'tok'])}"
            )
        try:
            value = int(number) if number.lstrip("+-").isdigit() else float(number)
        except ValueError as error:
            raise ParseError(f"{text!r} is not a time; {number!r} is not a number.") from error
        return cls(value, UNITS[unit.lower() or "st"], rounding or "nearest")

    def steps(self, horizon: Horizon) -> float:
        """Return this time in steps of ``horizon``: to the nearest whole step (a half goes up), at least one if positive.

        A share ``down`` is cut as programs cut it, int(share · steps) in float64: 29% of 100 steps is 28 because 0.29 · 100
        is below 29 there. Of ``exact`` the float is the largest that is not beyond the fraction.

        Raises UnresolvedTimeError where the horizon does not know the unit, and InvalidValueError where ``down`` leaves no
        step. A fractional ``st`` stays as it is.
        """
        if self.unit == "st":
            return self.value
        horizon = as_horizon(horizon)
        exact = self._exact(horizon)
        if self.rounding == "exact":
            return _not_beyond(exact)
        if self.rounding == "down":
            whole = self._cut(horizon) if self.unit == "%" else math.trunc(exact)
            if whole == 0 != exact:
                raise InvalidValueError(f"{self} is less than one step of this run; give it in steps, or a longer run.")
            return whole
        whole = _nearest(exact)
        return 1 if whole == 0 and exact > 0 else whole

    def _exact(self, horizon: Horizon) -> Fraction:
        if self.unit == "%":
            return _written(self.value) * horizon.steps / 100
        attribute = {"ep": "steps_per_epoch", "ex": "batch_size", "tok": "tokens_per_step"}[self.unit]
        worth: int | None = getattr(horizon, attribute)
        if worth is None:
            raise UnresolvedTimeError(f"{self} needs to know {attribute}; give it to the Horizon.")
        return _written(self.value) * worth if self.unit == "ep" else _written(self.value) / worth

    def _cut(self, horizon: Horizon) -> int:
        """Return int(share · steps); the share is the float of the decimal number, and epochs are multiplied last."""
        share = float(_written(self.value) / 100)
        if isinstance(horizon.epochs, int) and horizon.steps_per_epoch is not None:
            return int(share * horizon.steps_per_epoch * horizon.epochs)
        return int(share * horizon.steps)

    def __str__(self) -> str:
        return f"{short(self.value)}{self.unit}{'' if self.rounding == 'nearest' else f' {self.rounding}'}"

    def __repr__(self) -> str:
        rounding = "" if self.rounding == "nearest" else f", rounding={self.rounding!r}"
        return f"Time(value={self.value!r}, unit={self.unit!r}{rounding})"


def as_time(name: str, value: Any, *, low: int | None = 1) -> Time | int | None:
    """Return ``value`` as steps (an int) or a Time; None stays None (the rest of the run). Errors name ``name``.

    Whole floats count as steps; a fraction such as 0.02 is refused, because it may mean 2% or a mistake.
    """
    if value is None:
        return None
    if isinstance(value, str):
        value = Time.parse(value)
    if isinstance(value, Time):
        if low is not None and (value.value < 0 or value.value == 0 < low):
            raise InvalidValueError(f"{name} must be {'positive' if low else 'zero or more'}; got {value}.")
        if low is not None and value.unit == "st" and 0 < value.value < SHORTEST:
            raise InvalidValueError(f"{name} must be at least {SHORTEST:g} of a step; got {value}.")
        return value.value if value.unit == "st" and isinstance(value.value, int) else value
    if isinstance(value, float) and 0.0 < value < 1.0:
        raise InvalidValueError(
            f"{name} must be a whole number of steps or a time; got {value!r}. "
            f"For a share of the run write '{value * 100:g}%'."
        )
    steps = count(name, value, low=-_FOREVER if low is None else low)
    if steps > _FOREVER:
        raise InvalidValueError(
            f"{name} must be at most 1e30 steps; got {shown(value)}. Leave it out for the whole run."
        )
    return steps


def in_steps(time: Time | int | None, horizon: Horizon, room: float | None = None) -> Time | int:
    """Return ``time`` in steps; None is ``room``, what is left of the run (by default all of it)."""
    horizon = as_horizon(horizon)
    if time is None:
        return exactly(horizon.steps if room is None else room)
    return exactly(time.steps(horizon)) if isinstance(time, Time) else time


def exactly(steps: float) -> Time | int:
    """Return ``steps`` as an int, or as a Time in ``st`` where it is no whole number (a third of a run of 100)."""
    return int(steps) if steps == int(steps) else Time(steps, "st")


def number_of_steps(time: Time | int | None) -> float | None:
    """Return the steps in ``time``; None while it has another unit or is open."""
    if isinstance(time, Time):
        return time.value if time.unit == "st" else None
    return time


def as_horizon(value: Any) -> Horizon:
    """Return ``value`` if it is a Horizon, or the Horizon of that many steps."""
    if isinstance(value, Horizon):
        return value
    return Horizon(steps=count("horizon", value, remedy="Give steps, or a Horizon."))


def sampled(steps: int) -> Array:
    """Return every index of a run of ``steps``, or 2^17 of them evenly, the last among them.

    >>> sampled(3)
    array([0., 1., 2.])
    """
    if steps <= _SAMPLES:
        return np.arange(steps, dtype=np.float64)
    return np.unique(np.linspace(0, steps - 1, _SAMPLES).astype(np.int64)).astype(np.float64)


def short(value: float) -> str:
    """Return the shortest text that reads back as ``value``: 1e9, 0.1, 3e-4.

    >>> short(1000000000), short(0.0003), short(2.5)
    ('1e9', '3e-4', '2.5')
    """
    if isinstance(value, int) and (abs(value) < 10**6 or value % 1000 or float(value) != value):
        return str(value)
    plain = repr(float(value))
    sign, (first, *others), exponent = Decimal(plain).normalize(_DIGITS).as_tuple()
    point = "." if others else ""
    scientific = f"{'-' * sign}{first}{point}{''.join(map(str, others))}e{int(exponent) + len(others)}"
    plain = plain.removesuffix(".0")
    return scientific if "e" in plain or len(scientific) < len(plain) else plain


def percent(value: float) -> str:
    """Return ``value`` as a percentage where that reads back exactly, else as a number, but never as a bare 2, 3, ….

    >>> percent(0.1), percent(1 / 3), percent(10)
    ('10%', '0.3333333333333333', '1000%')
    """
    share = f"{value * 100:.12g}"
    if "e" not in share and float(share) / 100 == value:
        return f"{share}%"
    number = short(value)
    return f"{int(value) * 100}%" if number.isdigit() else number


def time_text(time: Time | int) -> str:
    """Return the text of a time, steps with their unit.

    >>> time_text(500)
    '500st'
    """
    return str(time) if isinstance(time, Time) else f"{short(time)}st"


def words(*pairs: tuple[str, str | None]) -> str:
    """Return the pairs (word, text) joined by spaces; a pair whose text is None is left out.

    >>> words(("cosine", ""), ("to", "10%"), ("over", None))
    'cosine to 10%'
    """
    return " ".join(f"{word} {text}".strip() for word, text in pairs if text is not None)


def _written(value: float) -> Fraction:
    """Return the number that was written: 0.3 is three tenths, not the float nearest to it."""
    return Fraction(repr(value))


def _nearest(exact: Fraction) -> int:
    return math.floor(exact + Fraction(1, 2))


def _not_beyond(exact: Fraction) -> float:
    """Return the largest float up to ``exact``: a step on the edge of a period is then in the new one."""
    value = float(exact)
    if abs(value) > abs(exact):
        value = math.nextafter(value, 0.0)
    return int(value) if value.is_integer() else value
