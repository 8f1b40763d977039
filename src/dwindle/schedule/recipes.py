"""The named schedules of the field, each an expression in the shapes and the algebra."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dwindle.errors import InvalidValueError, real, sequence
from dwindle.schedule.algebra import Join, Repeat, Schedule
from dwindle.schedule.decays import Exponential, PowerLaw
from dwindle.schedule.formula import Formula
from dwindle.schedule.shapes import Constant, Ramp, Tanh
from dwindle.schedule.tables import Custom, Interpolate, Piecewise, Table
from dwindle.units import Time

__all__ = [
    "constant", "cosine", "cosine_restarts", "custom", "exponential", "formula", "interpolate", "inverse_sqrt",
    "inverse_time",
    "linear", "multi_step", "one_cycle", "piecewise", "polynomial", "power_law", "step", "table", "tanh", "triangular",
    "warmup", "wsd",
]  # fmt: skip


def constant(factor: float = 1.0) -> Constant:
    """Return f = factor at every step.

    >>> constant()(7)
    1.0
    """
    return Constant(factor)


def warmup(steps: Any = None, *, start: float = 0.0, shape: str = "linear", power: float = 1.0) -> Ramp:
    """Return the rise from ``start`` to 1 over ``steps``; the peak is reached at step = steps. Any shape of Ramp.

    >>> warmup(10)(3), warmup(10, start=0.1, shape="geometric")(5)
    (0.3, 0.31622776601683794)
    """
    return Ramp(start=start, end=1.0, steps=steps, shape=shape, power=power)


def linear(steps: Any = None, *, end: float = 0.0, start: float = 1.0) -> Ramp:
    """Return the straight line from ``start`` to ``end`` over ``steps`` (open: the rest of the run).

    >>> linear(100)(25)
    0.75
    """
    return Ramp(end=end, steps=steps, start=start)


def polynomial(steps: Any = None, *, power: float = 2.0, end: float = 0.0) -> Ramp:
    """Return f = end + (1 - end)·(1 - step/steps)^power.

    >>> polynomial(100, power=2)(50)
    0.25
    """
    return Ramp(end=end, steps=steps, power=power)


def cosine(steps: Any = None, *, end: float = 0.0, power: float = 1.0) -> Ramp:
    """Return the half cosine f = end + (1 - end)·((1 + cos(π·step/steps))/2)^power; exactly ``end`` at step = steps.

    >>> cosine(100)(100), cosine(100, end=0.1)(100)
    (0.0, 0.1)
    """
    return Ramp(end=end, steps=steps, shape="cosine", power=power)


def tanh(steps: Any = None, *, end: float = 0.0, lower: float = -6.0, upper: float = 3.0) -> Tanh:
    """Return the hyperbolic-tangent decay; see Tanh.

    >>> tanh(100)(0) > 0.99999
    True
    """
    return Tanh(end=end, steps=steps, lower=lower, upper=upper)


def exponential(
    decay_rate: float, every: Any = 1, *, staircase: bool = False, allow_growth: bool = False
) -> Exponential:
    """Return f = decay_rate^(step/every), smooth or in stairs; see Exponential.

    >>> round(exponential(0.96, 1000)(500), 6)
    0.979796
    """
    return Exponential(decay_rate, every, staircase, allow_growth)


def step(every: Any, factor: float = 0.5) -> Exponential:
    """Return the step decay f = factor^(step // every): halve every so often.

    >>> [step(5)(t) for t in (0, 4, 5, 10)]
    [1.0, 1.0, 0.5, 0.25]
    """
    return Exponential(factor, every, staircase=True)


def multi_step(boundaries: Sequence[Any], factor: float = 0.1) -> Piecewise:
    """Return f = factor^(number of boundaries passed): a cut at each boundary.

    >>> multi_step((30, 60))(60)
    0.010000000000000002
    """
    factor, cuts = real("factor", factor, above=0.0), sequence("boundaries", boundaries)
    try:
        factors = tuple(factor**i for i in range(len(cuts) + 1))
    except OverflowError:
        raise InvalidValueError(
            f"factor {factor:g} multiplied {len(cuts)} times is beyond float64; give a smaller one."
        ) from None
    return Piecewise(cuts, factors)


def piecewise(boundaries: Sequence[Any], factors: Sequence[float]) -> Piecewise:
    """Return the piecewise constant factor; see Piecewise.

    >>> piecewise((30, 60), (1, 0.5, 0.1))(45)
    0.5
    """
    return Piecewise(sequence("boundaries", boundaries), sequence("factors", factors))


def interpolate(at: Sequence[Any], factors: Sequence[float], *, shape: str = "linear") -> Interpolate:
    """Return the curve through points (at, factors); see Interpolate.

    >>> interpolate((0, 10), (1, 0))(5)
    0.5
    """
    return Interpolate(sequence("at", at), sequence("factors", factors), shape)


def inverse_time(every: Any = 1, *, rate: float = 1.0, staircase: bool = False) -> PowerLaw:
    """Return f = 1/(1 + rate·step/every).

    >>> inverse_time(100)(100)
    0.5
    """
    return PowerLaw(1.0, every, rate, staircase)


def inverse_sqrt(every: Any) -> PowerLaw:
    """Return f = 1/√(1 + step/every); after a warm-up of ``every`` steps this is the transformer's √(every/step).

    >>> inverse_sqrt(100)(300)
    0.5
    """
    return PowerLaw(0.5, every)


def power_law(exponent: float, every: Any = 1) -> PowerLaw:
    """Return f = (1 + step/every)^-exponent.

    >>> round(power_law(0.25, 1)(15), 6)
    0.5
    """
    return PowerLaw(exponent, every)


def table(factors: Sequence[float], *, every: int = 1) -> Table:
    """Return tabulated factors, the last one held.

    >>> table((1, 0.5))(1)
    0.5
    """
    return Table(sequence("factors", factors), every)


def custom(function: Callable[[int], float]) -> Custom:
    """Return the schedule of the user's own function of the step.

    >>> custom(lambda t: 0.5)(3)
    0.5
    """
    return Custom(function)


def formula(text: str) -> Formula:
    """Return the schedule written as a formula of ``step``; unlike a function it can be saved and carried over. See Formula.

    >>> formula("0.5 ** (step // 30)")(60)
    0.25
    """
    return Formula(text)


def cosine_restarts(
    every: Any = None, *, growth: float = 1.0, decay: float = 1.0, end: float = 0.0, cycles: int | None = None
) -> Schedule:
    """Return cosine decay with warm restarts: cycles of ``every``·growth^i steps, peaks of decay^i, floor ``end``.

    f = end + (1 - end)·decay^i·(1 + cos(π·local))/2, local the share of cycle i done; see Repeat.

    >>> from dwindle.units import Horizon
    >>> s = cosine_restarts(10, growth=2, end=0.1)
    >>> s.resolve(Horizon(steps=30))(10)
    1.0
    """
    cycle, end = Repeat(Ramp(shape="cosine"), every, growth, decay, cycles), real("end", end)
    return cycle if end == 0 else Constant(end) + cycle * (1.0 - end)


def triangular(up: Any, down: Any = None, *, low: float = 0.0, decay: float = 1.0) -> Schedule:
    """Return the cyclic (triangular) factor: from ``low`` to 1 in ``up`` steps, back in ``down`` (default ``up``).

    Each cycle's height is ``decay`` times the last one's: 0.5 is Smith's triangular2 (2017, arXiv 1506.01186).

    >>> [triangular(5)(t) for t in (0, 5, 10, 15)]
    [0.0, 1.0, 0.0, 1.0]
    """
    rise = Ramp(start=0.0, end=1.0, steps=up)
    sink = Ramp(steps=rise.steps if down is None else down)
    cycle = Repeat(Join((rise, sink)), _both(rise.steps, sink.steps), decay=decay)
    low = real("low", low, low=0.0, high=1.0)
    return cycle if low == 0 else Constant(low) + cycle * (1.0 - low)


def one_cycle(rise: Any = "30%", *, start: float = 1 / 25, end: float = 1 / 25e4, shape: str = "cosine") -> Join:
    """Return the one-cycle policy: from ``start`` to 1 over ``rise``, then down to ``end`` over the rest of the run.

    Source: Smith & Topin 2018, arXiv 1708.07120.

    >>> from dwindle.units import Horizon
    >>> one_cycle().resolve(Horizon(steps=100))(30)
    1.0
    """
    return Ramp(start=start, end=1.0, steps=rise, shape=shape).then(Ramp(end=end, shape=shape))


def wsd(rise: Any = "2%", cooldown: Any = "20%", *, shape: str = "linear", end: float = 0.0) -> Join:
    """Return warm-up, stable, decay: a linear rise, the peak, and a cooldown of the given shape to ``end``.

    Sources: Hu et al. 2024, arXiv 2404.06395; Hägele et al. 2024, arXiv 2405.18392.

    >>> from dwindle.units import Horizon
    >>> s = wsd("10%", "20%", shape="sqrt").resolve(Horizon(steps=100))
    >>> s(5), s(50), s(100)
    (0.5, 1.0, 0.0)
    """
    return Ramp(start=0.0, end=1.0, steps=rise).then(Constant()).then(Ramp(end=end, steps=cooldown, shape=shape))


def _both(up: Time | int | None, down: Time | int | None) -> Time | int:
    if isinstance(up, Time) and isinstance(down, Time) and (up.unit, up.rounding) == (down.unit, down.rounding):
        if up.unit == "%" and up.value + down.value > 100:
            raise InvalidValueError(f"up and down must be a run or less together; got {up} and {down}.")
        return Time(up.value + down.value, up.unit, up.rounding)
    if isinstance(up, int) and isinstance(down, int):
        return up + down
    raise InvalidValueError(f"up and down must have the same unit; got {up} and {down}.")
