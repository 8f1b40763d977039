"""The shapes with an end: Constant, Ramp (warm-ups, decays, cooldowns) and Tanh."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from dwindle.elementary import power, power_less_one, power_parts, sin_squared
from dwindle.errors import InvalidValueError, known, real
from dwindle.namespace import SCALAR, Namespace, namespace
from dwindle.schedule.algebra import Schedule, _unresolved
from dwindle.units import Horizon, Time, as_time, in_steps, number_of_steps, percent, short, time_text, words

__all__ = ["SHAPES", "Constant", "Ramp", "Tanh", "fall"]


@dataclass(frozen=True, slots=True)
class Constant(Schedule):
    """The same factor at every step: f = factor.

    >>> Constant()(10**18)
    1.0
    """

    factor: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "factor", real("factor", self.factor, low=0.0))

    def resolve(self, horizon: Horizon, room: float | None = None) -> Constant:
        return self

    def __str__(self) -> str:
        return "constant" if self.factor == 1.0 else f"constant at {percent(self.factor)}"

    def __call__(self, step: Any) -> Any:
        xp = namespace(step)
        return self.factor if xp is SCALAR else xp.as_float(step) * 0.0 + self.factor


def _linear(a: Any, rest: Any, whole: float, xp: Namespace) -> Any:
    return rest / whole


def _cosine(a: Any, rest: Any, whole: float, xp: Namespace) -> Any:
    # (1 + cos πx)/2 = sin²(π(1-x)/2): taken from the nearer end nothing cancels, and the last step is exactly 0
    late = rest < a
    if xp is SCALAR:
        return sin_squared(rest, whole) if late else 1.0 - sin_squared(a, whole)
    s = sin_squared(xp.where(late, rest, a), whole)
    return xp.where(late, s, 1.0 - s)


def _sqrt(a: Any, rest: Any, whole: float, xp: Namespace) -> Any:
    return (rest / whole) / (1.0 + xp.sqrt(a / whole))  # = 1 - √x without its cancellation


def _square(a: Any, rest: Any, whole: float, xp: Namespace) -> Any:
    return (rest / whole) * ((whole + a) / whole)


def _exponential(a: Any, rest: Any, whole: float, xp: Namespace, ratio: float = 0.5) -> Any:
    # r^x - r = r^x (1 - r^(1-x)), which does not cancel as x comes to 1
    parts = power_parts(ratio)
    return power(parts, a / whole, xp) * (power_less_one(parts, rest / whole, xp) / power_less_one(parts, 1.0, SCALAR))


SHAPES = {"linear": _linear, "cosine": _cosine, "sqrt": _sqrt, "square": _square, "exponential": _exponential}
"""g(x), falling from 1 to 0 on 0 <= x <= 1:
linear 1-x; cosine (1+cos πx)/2; sqrt 1-√x; square 1-x²; exponential (r^x - r)/(1 - r), r the ratio."""

_ALIASES = {"1-sqrt": "sqrt", "1-square": "square"}


def fall(shape: str, a: Any, rest: Any, whole: float, xp: Namespace, exponent: float = 1.0, ratio: float = 0.5) -> Any:
    """Return g(a/whole)**exponent for a + rest = whole, g the shape of that name; ``ratio`` is the exponential's.

    Both parts are given: the larger, worked out from the smaller, has lost its last digits.
    """
    g = _exponential(a, rest, whole, xp, ratio) if shape == "exponential" else SHAPES[shape](a, rest, whole, xp)
    if exponent == 1.0:
        return g
    if exponent == 2.0:
        return g * g
    return xp.sqrt(g) if exponent == 0.5 else xp.pow(g, exponent)


@dataclass(frozen=True, slots=True)
class Ramp(Schedule):
    """From ``start`` to ``end`` over ``steps``: f = end + (start - end)·g(x^warp)^power, x = step/steps clipped to [0, 1].

    A rise (end > start) is the same curve played backwards, f = start + (end - start)·g(1 - x^warp)^power.
    g is the shape: ``linear`` 1-x, ``cosine`` (1+cos πx)/2, ``sqrt`` 1-√x, ``square`` 1-x², ``exponential``
    (r^x - r)/(1 - r) with r the ``ratio``, 2·2^-x - 1 for ½;
    ``geometric`` is start·(end/start)^x, the same ratio at every step. ``power`` makes linear a polynomial decay;
    ``warp`` is timm's k-decay. ``steps`` left open is the rest of the run. The end is reached at step = steps exactly.
    Sources: Loshchilov & Hutter 2017 (cosine), Hägele et al. 2024, arXiv 2405.18392 (1-sqrt), Zhang & Li 2020 (k-decay).

    >>> s = Ramp(end=0.1, steps=100, shape="cosine")
    >>> s(0), s(50), s(100), s(10**18)
    (1.0, 0.55, 0.1, 0.1)
    """

    end: float = 0.0
    steps: Time | int | None = None
    start: float = 1.0
    shape: str = "linear"
    power: float = 1.0
    warp: float = 1.0
    ratio: float = 0.5
    _steps: float | None = field(init=False, repr=False, compare=False)
    _low: float = field(init=False, repr=False, compare=False)
    _span: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", real("start", self.start, low=0.0))
        object.__setattr__(self, "end", real("end", self.end, low=0.0))
        object.__setattr__(self, "steps", as_time("steps", self.steps))
        shape = _ALIASES.get(self.shape, self.shape) if isinstance(self.shape, str) else self.shape
        object.__setattr__(self, "shape", known("shape", shape, [*SHAPES, "geometric"]))
        object.__setattr__(self, "power", real("power", self.power, above=0.0))
        object.__setattr__(self, "warp", real("warp", self.warp, above=0.0))
        if self.shape == "geometric" and (self.start == 0 or self.end == 0):
            raise InvalidValueError("a geometric ramp never reaches 0; give start and end above 0, or use exponential.")
        if self.shape == "geometric" and self.power != 1.0:
            raise InvalidValueError("power has no meaning for a geometric ramp; change its end or use warp.")
        object.__setattr__(self, "ratio", real("ratio", self.ratio, above=0.0))
        if self.ratio == 1.0:
            raise InvalidValueError("ratio must not be 1, at which the exponential shape is a line; use linear.")
        if self.ratio != 0.5 and self.shape != "exponential":
            raise InvalidValueError(f"ratio belongs to the exponential shape; got {self.ratio!r} for {self.shape}.")
        steps = number_of_steps(self.steps)
        object.__setattr__(self, "_steps", None if steps is None else float(steps))
        low, high = sorted((self.start, self.end))
        span = high - low
        object.__setattr__(self, "_low", low)
        object.__setattr__(self, "_span", span if low + span <= high else math.nextafter(span, 0.0))

    @property
    def duration(self) -> Time | int | None:
        return self.steps

    def resolve(self, horizon: Horizon, room: float | None = None) -> Ramp:
        return replace(self, steps=in_steps(self.steps, horizon, room))

    def __str__(self) -> str:
        over = None if self.steps is None else time_text(self.steps)
        power = None if self.power == 1.0 else short(self.power)
        warp = None if self.warp == 1.0 else short(self.warp)
        ratio = None if self.ratio == 0.5 else short(self.ratio)
        bends = (("power", power), ("warp", warp), ("ratio", ratio))
        if self.end == 1.0 and self.start < 1.0:
            start = None if self.start == 0.0 else percent(self.start)
            shape = None if self.shape == "linear" else self.shape
            return words(("warmup", over or ""), ("from", start), ("shape", shape), *bends)
        # "exponential" alone is the decay without an end, so its ramp says what it is
        head = ("ramp shape", self.shape) if self.shape == "exponential" else (self.shape, "")
        start = None if self.start == 1.0 else percent(self.start)
        return words(head, ("to", percent(self.end)), ("from", start), ("over", over), *bends)

    def __call__(self, step: Any) -> Any:
        steps = self._steps
        if steps is None:
            raise _unresolved(self)
        if type(step) is int or (type(step) is float and step == step):
            return self.start if step <= 0 else self.end if step >= steps else self._inside(float(step), steps, SCALAR)
        xp = namespace(step)
        at = xp.as_float(step)  # torch compares whole steps with a float in float32
        inside = self._inside(xp.clip(at, 0.0, steps), steps, xp)
        return xp.where(at <= 0, self.start, xp.where(at >= steps, self.end, inside))

    def _inside(self, a: Any, steps: float, xp: Namespace) -> Any:
        if self.warp != 1.0:
            a = xp.pow(a / steps, self.warp) * steps
        if self.shape == "geometric":
            return self.start * power(power_parts(self.end / self.start, steps), a, xp)
        # from the lower end upwards, so that nothing cancels there
        gone, rest = (steps - a, a) if self.end > self.start else (a, steps - a)
        return self._low + self._span * fall(self.shape, gone, rest, steps, xp, self.power, self.ratio)


@dataclass(frozen=True, slots=True)
class Tanh(Schedule):
    """The hyperbolic-tangent decay: f = end + (1 - end)·(1 - tanh(lower·(1-x^warp) + upper·x^warp))/2, x = step/steps.

    Source: Hsueh, Li & Wu 2019, arXiv 1806.01593 (there lower -6, upper 3).

    >>> round(Tanh(steps=100)(100), 4)
    0.0025
    """

    end: float = 0.0
    steps: Time | int | None = None
    lower: float = -6.0
    upper: float = 3.0
    warp: float = 1.0
    _steps: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "end", real("end", self.end, low=0.0))
        object.__setattr__(self, "steps", as_time("steps", self.steps))
        object.__setattr__(self, "lower", real("lower", self.lower))
        object.__setattr__(self, "upper", real("upper", self.upper, above=self.lower))
        object.__setattr__(self, "warp", real("warp", self.warp, above=0.0))
        object.__setattr__(self, "_steps", number_of_steps(self.steps))

    @property
    def duration(self) -> Time | int | None:
        return self.steps

    def resolve(self, horizon: Horizon, room: float | None = None) -> Tanh:
        return replace(self, steps=in_steps(self.steps, horizon, room))

    def __str__(self) -> str:
        return words(
            ("tanh to", percent(self.end)),
            ("over", None if self.steps is None else time_text(self.steps)),
            ("lower", None if self.lower == -6.0 else short(self.lower)),
            ("upper", None if self.upper == 3.0 else short(self.upper)),
            ("warp", None if self.warp == 1.0 else short(self.warp)),
        )

    def __call__(self, step: Any) -> Any:
        if self._steps is None:
            raise _unresolved(self)
        xp = namespace(step)
        x = xp.clip(xp.as_float(step), 0.0, float(self._steps)) / self._steps
        if self.warp != 1.0:
            x = xp.pow(x, self.warp)
        z = xp.clip(self.lower * (1.0 - x) + self.upper * x, -350.0, 350.0)
        g = 1.0 / (1.0 + xp.exp(2.0 * z))  # = (1 - tanh z)/2 without its cancellation
        return self.end + (1.0 - self.end) * g
