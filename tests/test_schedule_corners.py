"""Corners of the schedules: every argument's name and limit, every default, what is handed to a part, sums in closed form."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from dwindle.errors import DwindleError, InvalidValueError, UnknownNameError, UnresolvedTimeError
from dwindle.schedule import (
    Clip,
    Constant,
    Custom,
    Exponential,
    Extend,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
    curve,
    recipes,
    total,
)
from dwindle.schedule.algebra import _BLOCK
from dwindle.units import Horizon, Time

RUN = Horizon(steps=100)
EPOCH = Time(1, "ep")
FALL = Ramp(steps=4)  # 1, 3/4, 1/2, 1/4, 0


def st(steps: float) -> Time:
    return Time(steps, "st")


def pc(share: float) -> Time:
    return Time(share, "%")


class Whole(int):
    """A whole number of a class of its own, as a bool or an IntEnum is."""


class Part(Schedule):
    """A schedule that keeps what it was asked; its factor is its step."""

    def __init__(self, duration: Time | int | None = None) -> None:
        self.length = duration
        self.asked: list[Any] = []

    @property
    def duration(self) -> Time | int | None:
        return self.length

    def resolve(self, horizon: Horizon, room: float | None = None) -> Schedule:
        self.asked.append((horizon, room))
        return self

    def __call__(self, step: Any) -> Any:
        self.asked.append(step)
        return step * 1.0


# --- what is refused ---------------------------------------------------------------------------------------------------

Refused = tuple[Callable[..., Any], tuple[Any, ...], str]

REFUSED: list[Refused] = [
    (FALL.then, (Constant(), 0), "after must be positive; got 0."),
    (Join, ((FALL,), (0,)), "length must be positive; got 0."),
    (Join, ((FALL, 3),), "each of the pieces must be a Schedule; got 3. For a number use constant(3)."),
    (Join, ((FALL, FALL), (3,)), "a join needs as many lengths as pieces; got 1 for 2."),
    (Product, ((FALL, 3),), "each of the factors must be a Schedule; got 3. For a number use constant(3)."),
    (Product, ((),), "factors must not be empty."),
    (Sum, ((FALL, 3),), "each of the terms must be a Schedule; got 3. For a number use constant(3)."),
    (Sum, ((),), "terms must not be empty."),
    (Scaled, (FALL, -1), "factor must be zero or more; got -1."),
    (Shift, (FALL, 0.5), "steps must be a whole number of steps or a time; got 0.5."),
    (Stretch, (FALL, 0), "by must be positive; got 0."),
    (Clip, (FALL, -1), "low must be zero or more; got -1."),
    (Clip, (FALL, 0.5, 0.4), "high must be at least 0.5; got 0.4."),
    (Repeat, (FALL, 0), "every must be positive; got 0."),
    (Repeat, (FALL, 3, 0.5), "growth must be at least 1; got 0.5. Cycles that shrink would never end."),
    (Repeat, (FALL, 3, 1.0009), "growth must be 1 or at least 1.001; got 1.0009. For equal cycles use 1."),
    (Repeat, (FALL, 3, 1, 0), "decay must be positive; got 0."),
    (Repeat, (FALL, 3, 1, 1.01), "decay must be at most 1; got 1.01."),
    (Repeat, (FALL, 3, 1, 1, 0), "cycles must be positive; got 0."),
    (Repeat, (FALL, 3, 2, 1, 1001), "1001 cycles that grow by 2 are more than any run"),
    (Repeat, (FALL,), "repeat needs every=, the length of the first cycle, or cycles="),
    (Mirror, (FALL, 0), "every must be positive; got 0."),
    (Extend, (FALL, 0), "every must be positive; got 0."),
    (Exponential, (0,), "decay_rate must be positive; got 0. To stop training use a cooldown to 0."),
    (Exponential, (1.01,), "decay_rate above 1 grows; got 1.01."),
    (Exponential, (0.5, 1, False, 1), "allow_growth must be True or False; got 1."),
    (Exponential, (0.5, 1, 1), "staircase must be True or False; got 1."),
    (Exponential, (0.5, 0), "every must be positive; got 0."),
    (Exponential, (0.5, None), "every must be given: the steps (or epochs) in which the rate is applied once."),
    (PowerLaw, (-1,), "exponent must be zero or more; got -1."),
    (PowerLaw, (1, 0), "every must be positive; got 0."),
    (PowerLaw, (1, None), "every must be given: the steps (or epochs) after which the decay has set in."),
    (PowerLaw, (1, 1, -1), "rate must be zero or more; got -1."),
    (PowerLaw, (1, 1, 1, 1), "staircase must be True or False; got 1."),
    (Constant, (-1,), "factor must be zero or more; got -1."),
    (Ramp, (-1,), "end must be zero or more; got -1."),
    (Ramp, (0, 0), "steps must be positive; got 0."),
    (Ramp, (0, 5, -1), "start must be zero or more; got -1."),
    (Ramp, (0, 5, 1, "linaer"), "shape 'linaer' is not known; did you mean 'linear'?"),
    (Ramp, (0, 5, 1, []), "shape [] is not known; "),
    (Ramp, (0, 5, 1, 3), "shape 3 is not known; it must be one of cosine, exponential, geometric, linear, sqrt, square."),
    (Ramp, (0, 5, 1, "linear", 0), "power must be positive; got 0."),
    (Ramp, (0, 5, 1, "linear", 1, 0), "warp must be positive; got 0."),
    (Ramp, (0, 5, 1, "exponential", 1, 1, 0), "ratio must be positive; got 0."),
    (Ramp, (0, 5, 1, "exponential", 1, 1, 1), "ratio must not be 1, at which the exponential shape is a line; use linear."),
    (Ramp, (0, 5, 1, "cosine", 1, 1, 0.25), "ratio belongs to the exponential shape; got 0.25 for cosine."),
    (Ramp, (0, 5, 1, "geometric"), "a geometric ramp never reaches 0; give start and end above 0"),
    (Ramp, (1, 5, 0, "geometric"), "a geometric ramp never reaches 0; give start and end above 0"),
    (Ramp, (0.5, 5, 1, "geometric", 2), "power has no meaning for a geometric ramp; change its end or use warp."),
    (Tanh, (-1,), "end must be zero or more; got -1."),
    (Tanh, (0, 0), "steps must be positive; got 0."),
    (Tanh, (0, 5, "low"), "lower must be a real number; got 'low'."),
    (Tanh, (0, 5, 2, 2), "upper must be above 2; got 2."),
    (Tanh, (0, 5, -6, 3, 0), "warp must be positive; got 0."),
    (Piecewise, (5, (1, 0.5)), "boundaries must be a sequence; got 5."),
    (Piecewise, ("5", (1, 0.5)), "boundaries must be a sequence; got '5'."),
    (Piecewise, (b"5", (1, 0.5)), "boundaries must be a sequence; got b'5'."),
    (Piecewise, ((0,), (1, 0.5)), "boundaries must be positive; got 0."),
    (Piecewise, ((None,), (1, 0.5)), "boundaries must be times; got None."),
    (Piecewise, ((), (1,)), "boundaries must not be empty; for one value use constant."),
    (Piecewise, ((3, 3), (1, 0.5, 0.1)), "boundaries must increase; got ['3', '3']. Sort them and merge equal ones."),
    (Piecewise, (("5ep", "1%", "4ep"), (1, 0, 0, 0)), "boundaries must increase; got ['5ep', '1%', '4ep']."),
    (Piecewise, ((3, st(2.5)), (1, 0.5, 0.1)), "boundaries must increase; got ['3', '2.5st']."),
    (Piecewise, ((3,), 5), "factors must be a sequence; got 5."),
    (Piecewise, ((3,), (1, -1)), "factors must be zero or more; got -1."),
    (Piecewise, ((3,), (1,)), "factors needs one value more than boundaries; got 1 for 1. The first factor holds before"),
    (Piecewise, ((3,), (1, 1, 1)), "factors needs one value more than boundaries; got 3 for 1."),
    (Interpolate, (5, (1,)), "at must be a sequence; got 5."),
    (Interpolate, ((None,), (1,)), "at must be times; got None."),
    (Interpolate, ((0.5,), (1,)), "at must be a whole number of steps or a time; got 0.5."),
    (Interpolate, ((3, 2), (1, 1)), "at must increase; got ['3', '2']."),
    (Interpolate, ((3,), 5), "factors must be a sequence; got 5."),
    (Interpolate, ((3,), (-1,)), "factors must be zero or more; got -1."),
    (Interpolate, ((3,), (1, 1)), "factors needs one value per point; got 2 for 1 points."),
    (Interpolate, ((3,), (1,), "geometric"), "shape 'geometric' is not known; "),
    (Table, (5,), "factors must be a sequence; got 5."),
    (Table, ((-1,),), "factors must be zero or more; got -1."),
    (Table, ((),), "factors must not be empty; a table needs at least one value."),
    (Table, ((1,), 0), "every must be positive; got 0."),
    (Custom, (3,), "function must be callable as function(step); got 3."),
    (Custom(lambda step: -1.0), (3,), "the custom schedule's factor must be zero or more; got -1.0."),
    (Custom(lambda step: 1.0), ([3],), "a step must be a number or an array of numpy, torch or jax; got [3]."),
    (recipes.multi_step, (5,), "boundaries must be a sequence; got 5."),
    (recipes.multi_step, ((5,), 0), "factor must be positive; got 0."),
    (recipes.multi_step, (range(1, 400), 10),
     "factor 10 multiplied 399 times is beyond float64; give a smaller one."),
    (lambda: recipes.cosine_restarts(5, end="a"), (), "end must be a real number; got 'a'."),
    (recipes.piecewise, (5, (1,)), "boundaries must be a sequence; got 5."),
    (recipes.piecewise, ((5,), 1), "factors must be a sequence; got 1."),
    (recipes.interpolate, (5, (1,)), "at must be a sequence; got 5."),
    (recipes.interpolate, ((5,), 1), "factors must be a sequence; got 1."),
    (recipes.table, (5,), "factors must be a sequence; got 5."),
    (partial(recipes.triangular, 5, low=-0.1), (), "low must be zero or more; got -0.1."),
    (partial(recipes.triangular, 5, low=1.1), (), "low must be at most 1; got 1.1."),
    (recipes.triangular, ("1ep", 5), "up and down must have the same unit; got 1ep and 5."),
    (recipes.triangular, ("5%", "5% down"), "up and down must have the same unit; got 5% and 5% down."),
    (recipes.triangular, ("5%", "5ep"), "up and down must have the same unit; got 5% and 5ep."),
    (FALL, (math.nan,), "a step must be a number or an array of numpy, torch or jax; got nan."),
    (total, (FALL, -1), "steps must be at least 0; got -1."),
    (curve, (FALL, 10**9 + 1), "a curve of 1000000001 steps does not fit in memory; at most 1e+09 are drawn."),
    (total, (PowerLaw(1), 10**8 + 1), "the sum of inverse-time every 1st over 100000001 steps has no closed form here; "
                                      "at most 100000000 are added."),
]  # fmt: skip


@pytest.mark.parametrize(("make", "arguments", "said"), REFUSED, ids=[said.split(";")[0][:50] for *_, said in REFUSED])
def test_what_is_refused_is_named_first_with_its_rule(
    make: Callable[..., Any], arguments: tuple[Any, ...], said: str
) -> None:
    with pytest.raises(DwindleError) as caught:
        make(*arguments)
    assert str(caught.value)[: len(said)] == said
    assert isinstance(caught.value, UnknownNameError) == ("is not known" in said)


def test_a_schedule_whose_times_are_no_steps_says_which_it_is() -> None:
    for schedule in (
        Ramp(), Tanh(), Exponential(0.5, EPOCH), PowerLaw(1.0, EPOCH), Piecewise((3, EPOCH), (1.0, 0.5, 0.1)),
        Interpolate((EPOCH,), (1.0,)), Repeat(FALL, EPOCH), Mirror(FALL), Extend(Constant()), Join((Ramp(), FALL)),
        Shift(FALL, EPOCH),
    ):  # fmt: skip
        with pytest.raises(
            UnresolvedTimeError, match=rf"^{type(schedule).__name__} still has times that are not steps"
        ):
            schedule(3)


# --- the values at single steps ----------------------------------------------------------------------------------------

root = math.sqrt(2.0)


def values() -> list[tuple[Schedule, dict[int, float]]]:
    return [
        (FALL.then(Constant(0.5), 2), {-1: 1, 0: 1, 1: 0.75, 2: 0.5, 3: 0.5}),
        (Join((FALL, Ramp(steps=2), Constant(0.1))), {3: 0.25, 4: 1, 5: 0.5, 6: 0.1, 99: 0.1}),
        (Join((FALL, Constant(0.1)), (st(2.5), None)), {2: 0.5, 3: 0.1}),
        (Product((FALL, Constant(0.5), Constant(0.5))), {0: 0.25, 2: 0.125}),
        (Sum((FALL, Constant(0.5), Constant(0.25))), {0: 1.75, 2: 1.25}),
        (Scaled(FALL, 0), {0: 0, 1: 0}),
        (Scaled(FALL, 3), {1: 2.25}),
        (Shift(FALL, 1), {-1: 1, 0: 1, 1: 1, 2: 0.75}),
        (Shift(FALL, -2), {-5: 0.5, 0: 0.5, 1: 0.25, 2: 0, 9: 0}),
        (Shift(FALL, st(1.5)), {1: 1, 2: 0.875}),
        (Shift(FALL, st(-0.5)), {0: 0.875, 1: 0.625}),
        (Stretch(FALL, 0.5), {1: 0.5}),
        (Stretch(Stretch(FALL, 2), 4), {8: 0.75, 32: 0}),
        (Clip(FALL, 0.25, 0.75), {0: 0.75, 2: 0.5, 4: 0.25}),
        (Clip(FALL, 0.5, 0.5), {0: 0.5, 4: 0.5}),
        (Clip(Ramp(3, 4)), {0: 1, 4: 3}),
        (Repeat(FALL, 4), {-1: 1, 0: 1, 3: 0.25, 4: 1, 7: 0.25, 8: 1}),
        (Repeat(FALL, 4, cycles=2), {3: 0.25, 4: 1, 7: 0.25, 8: 0, 100: 0}),
        (Repeat(FALL, 4, 1, 0.5), {3: 0.25, 4: 0.5, 6: 0.25, 8: 0.25}),
        (Repeat(FALL, 4, 1, 1.0), {4: 1}),
        (Repeat(FALL, 4, 1.5), {0: 1, 3: 0.25, 4: 1, 7: 0.5, 10: 1, 19: 1}),  # cycles of 4, 6 and 9 steps
        (Repeat(FALL, 4, 2), {-3: 1, 3: 0.25, 4: 1, 8: 0.5, 11: 0.125, 12: 1, 20: 0.5, 28: 1}),
        (Repeat(FALL, 4, 2, 0.5, 2), {3: 0.25, 4: 0.5, 8: 0.25, 12: 0, 50: 0}),
        (Repeat(Constant(), 4, 2, 0.5, 2), {3: 1, 4: 0.5, 12: 0.5, 50: 0.5}),
        (Repeat(Constant(), 1, 2, 0.5, 1000), {0: 1, 1: 0.5, 3: 0.25}),
        (Repeat(Ramp(steps=1), 1000, 1.001), {0: 1, 1: 0, 1000: 1, 1999: 0}),
        (Repeat(Ramp(steps=2), st(2.5)), {2: 0, 3: 0.75, 4: 0.25, 5: 1}),
        (Mirror(Ramp(steps=2), 2), {-3: 1, 0: 1, 1: 0.5, 2: 0, 3: 0.5, 4: 1, 5: 0.5, 6: 0}),
        (Mirror(FALL, 3), {3: 0.25, 4: 0.5, 6: 1, 7: 0.75}),
        (Mirror(FALL, st(2.5)), {2: 0.5, 3: 0.5, 4: 0.75, 5: 1}),
        (Extend(Ramp(steps=10)), {-5: 1, 0: 1, 10: 0, 11: 0.45, 15: 0.25, 20: 0, 21: 0.3}),
        (Extend(FALL, 2), {1: 0.75, 2: 0.5, 3: 0.625, 4: 0.5, 5: 1 - 5 / 12}),
        (Extend(FALL, st(2.5)), {2: 0.5, 3: 0.625, 5: 0.375, 6: 0.5}),
        (Exponential(0.5), {-1: 1, 0: 1, 1: 0.5, 3: 0.125}),
        (Exponential(0.5, 4), {2: root / 2, 4: 0.5}),
        (Exponential(0.5, 4, staircase=True), {-1: 1, 3: 1, 4: 0.5, 7: 0.5, 8: 0.25}),
        (Exponential(0.5, st(2.5), staircase=True), {2: 1, 3: 0.5, 4: 0.5, 5: 0.25}),
        (Exponential(1.0), {9: 1}),
        (Exponential(1.5, 1, allow_growth=True), {2: 2.25}),
        (PowerLaw(1.0), {-1: 1, 0: 1, 1: 0.5}),
        (PowerLaw(1.0, 4), {2: 2 / 3, 4: 0.5, 12: 0.25}),
        (PowerLaw(1.0, 1, 3.0), {0: 1, 1: 0.25, 3: 0.1}),
        (PowerLaw(1.0, 4, staircase=True), {-1: 1, 3: 1, 4: 0.5, 11: 1 / 3, 12: 0.25}),
        (PowerLaw(1.0, st(2.5), staircase=True), {2: 1, 3: 0.5, 5: 1 / 3}),
        (PowerLaw(0.5), {0: 1, 3: 0.5}),
        (PowerLaw(1.5), {3: 0.125}),
        (PowerLaw(2.0, 4), {4: 0.25}),
        (PowerLaw(0.0), {9: 1}),
        (PowerLaw(1.0, 1, 0.0), {9: 1}),
        (Constant(), {-1: 1, 5: 1}),
        (Constant(0.3), {0: 0.3, 5: 0.3}),
        (Ramp(0.1, 4, shape="cosine"), {0: 1, 1: 0.1 + 0.9 * (2 + root) / 4, 2: 0.55, 3: 0.1 + 0.9 * (2 - root) / 4, 4: 0.1}),
        (Ramp(0, 4, shape="1-sqrt"), {0: 1, 1: 0.5, 4: 0}),
        (Ramp(0, 4, shape="1-square"), {1: 15 / 16, 2: 0.75}),
        (Ramp(0, 4, shape="exponential"), {0: 1, 2: root - 1, 4: 0}),
        (Ramp(0, 4, shape="exponential", ratio=0.25), {2: 1 / 3, 3: (2**-1.5 - 0.25) / 0.75}),
        (Ramp(0, 4, shape="exponential", ratio=4), {2: 2 / 3}),  # (4 - 2)/(4 - 1)
        (Ramp(0.01, 4, shape="geometric"), {-1: 1, 2: 0.1, 4: 0.01}),
        (Ramp(0.01, 4, 0.0001, "geometric"), {0: 0.0001, 2: 0.001}),
        (Ramp(0.01, 4, shape="geometric", warp=2), {2: 0.01**0.25}),
        (Ramp(0, 4, power=0.5), {3: 0.5}),
        (Ramp(0, 4, power=1.5), {3: 0.125}),
        (Ramp(0, 4, power=2), {2: 0.25, 3: 1 / 16}),
        (Ramp(0, 4, power=3), {2: 0.125}),
        (Ramp(0, 4, warp=2), {2: 0.75}),
        (Ramp(1, 4, 0), {-1: 0, 0: 0, 1: 0.25, 4: 1, 9: 1}),
        (Ramp(1, 4, 0, "sqrt"), {3: 0.5}),
        (Ramp(1, 4, 0.2, "square", 2, 2), {2: 0.2 + 0.8 * (1 - 0.75**2) ** 2}),
        (Tanh(0, 4), {2: (1 + math.tanh(1.5)) / 2, 4: (1 - math.tanh(3)) / 2}),
        (Tanh(0.1, 4, -4, 2, 2), {-1: 0.1 + 0.45 * (1 + math.tanh(4)), 2: 0.1 + 0.45 * (1 + math.tanh(2.5)),
                                 9: 0.1 + 0.45 * (1 - math.tanh(2))}),
        (Tanh(0, 4, -400, 400), {0: 1, 2: 0.5}),
        (Piecewise((3, 6), (1, 0.5, 0.1)), {-1: 1, 2: 1, 3: 0.5, 5: 0.5, 6: 0.1, 99: 0.1}),
        (Piecewise((1, st(2.5)), (0.5, 0, 0.1)), {0: 0.5, 1: 0, 2: 0, 3: 0.1}),
        (Interpolate((0, 10, 30), (0, 1, 0.5)), {0: 0, 5: 0.5, 10: 1, 20: 0.75, 30: 0.5, 99: 0.5}),
        (Interpolate((4, 8), (0.25, 0.75)), {-1: 0.25, 0: 0.25, 3: 0.25, 4: 0.25, 5: 0.375, 8: 0.75, 9: 0.75}),
        (Interpolate((-10, 10), (0, 1)), {-5: 0.5, 0: 0.5, 5: 0.75}),
        (Interpolate((-10, -6), (0, 0.4)), {0: 0.4, 5: 0.4}),
        (Interpolate((5,), (0.3,)), {0: 0.3, 5: 0.3, 9: 0.3}),
        (Interpolate((0, 4), (1, 0), "cosine"), {1: (2 + root) / 4, 3: (2 - root) / 4}),
        (Interpolate((0, 4), (1, 0), "sqrt"), {1: 0.5}),
        (Interpolate((0, 4), (1, 0), "exponential"), {2: root - 1}),
        (Interpolate((0, 4, 8), (0, 1, 0), "exponential"), {2: root - 1, 3: 2 * 2**-0.25 - 1, 5: 2 * 2**-0.25 - 1}),
        (Interpolate((1, st(3.5)), (0, 1)), {2: 0.4, 3: 0.8, 4: 1}),
        (Table((1, 0.5, 0.1)), {-3: 1, 0: 1, 1: 0.5, 2: 0.1, 9: 0.1}),
        (Table((1, 0.5, 0), 2), {1: 1, 2: 0.5, 3: 0.5, 4: 0, 99: 0}),
        (Custom(lambda step: step / 4), {-2: 0, 0: 0, 3: 0.75}),
        (recipes.triangular(2, low=0.2, decay=0.5), {0: 0.2, 1: 0.6, 2: 1, 3: 0.6, 4: 0.2, 6: 0.6}),
        (recipes.triangular(2, 4), {1: 0.5, 2: 1, 3: 0.75, 6: 0, 8: 1}),
        (recipes.triangular(st(1.5), st(2.5)), {1: 2 / 3, 2: 0.8, 4: 0, 5: 2 / 3}),
        (recipes.triangular(2, low=1), {0: 1, 1: 1}),
    ]  # fmt: skip


def test_the_value_at_a_step_is_that_of_the_formula_in_every_form_a_step_has() -> None:
    for schedule, wanted in values():
        numbers = pytest.approx(list(wanted.values()), rel=1e-13, abs=1e-15)
        for kind in (int, float, Whole):
            assert [schedule(kind(step)) for step in wanted] == numbers, (schedule, kind)
        steps = np.array([list(wanted)])
        for form in (steps, steps.astype(np.float64)):
            found = schedule(form)
            assert (found.shape, found.dtype) == (steps.shape, np.float64), schedule
            assert found[0].tolist() == numbers, schedule
        assert schedule(steps[:, :0]).shape == (1, 0), schedule


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "square", "exponential", "geometric"])
def test_a_part_of_a_step_counts_alone_and_in_an_array(shape: str) -> None:
    ramp, steps = Ramp(0.1, 2, shape=shape), [0.25, 0.5, 1.5, 1.75]
    assert ramp(np.array(steps)).tolist() == pytest.approx([ramp(step) for step in steps], rel=1e-15)
    assert 1 > ramp(0.25) > ramp(0.5) > ramp(1.5) > ramp(1.75) > 0.1
    if shape == "linear":
        assert ramp(0.25) == pytest.approx(1 - 0.9 / 8)


def test_a_ramp_meets_its_ends_and_never_passes_them() -> None:
    low, high = next(
        (k / 100, n / 10) for k in range(1, 30) for n in range(3, 30) if k / 100 + (n / 10 - k / 100) > n / 10
    )
    fall, rise = Ramp(low, 10**17, high), Ramp(high, 10**17, low)
    for steps in (lambda step: np.array([step]), int, Whole):
        assert fall(steps(0)) == rise(steps(10**17)) == high
        assert fall(steps(10**17)) == rise(steps(0)) == low
        for step in (1, 10**17 - 1):
            assert low <= fall(steps(step)) <= high
            assert low <= rise(steps(step)) <= high
    assert fall(1) == rise(10**17 - 1) == math.nextafter(high, 0.0)
    assert Ramp(steps=10**17)(1) == 1.0


def test_a_line_through_points_meets_them() -> None:
    low, high = next(
        (k / 100, n / 10) for k in range(1, 30) for n in range(3, 30) if k / 100 + (n / 10 - k / 100) < n / 10
    )
    line = Interpolate((0, 10, 20), (low, high, low))
    assert [line(step) for step in (0, 10, 20)] == line(np.array([0, 10, 20])).tolist() == [low, high, low]


def test_a_hyperbolic_tangent_stops_before_its_exponential_overflows() -> None:
    assert Tanh(0, 4, -400, 400)(4) == pytest.approx(math.exp(-700), rel=1e-12, abs=0)


def test_a_step_that_no_float_reaches_is_past_the_end() -> None:
    assert [schedule(10**400) for schedule in (FALL, Constant(0.3), Join((FALL, FALL)))] == [0.0, 0.3, 0.0]


def test_steps_that_no_float_holds_are_counted_as_whole_numbers() -> None:
    odd, far, after = 2**53, 2**61, Piecewise((1,), (1.0, 0.5))
    for form in (int, lambda step: np.array([step])):
        assert PowerLaw(1.0, odd, staircase=True)(form(2 * odd - 1)) == 0.5
        assert Exponential(0.5, odd, staircase=True)(form(2 * odd - 1)) == 0.5
        assert Shift(after, odd)(form(odd + 1)) == Shift(after, far)(form(far + 1)) == 0.5
        assert Repeat(after, odd + 1)(form(odd)) == 0.5
        assert Repeat(after, odd + 1)(form(odd + 1)) == 1.0
        assert Table((1.0, 0.5, 0.1), odd)(form(2 * odd - 1)) == 0.5
        assert Mirror(after, far)(form(2 * far - 1)) == 0.5
        assert Mirror(after, 2 * far)(form(3)) == 0.5
        assert Extend(Constant(0.5), 2 * far)(form(3)) == 0.5
        assert Repeat(Ramp(steps=2**62), 2**62, growth=2)(form(2**62)) == 1.0
        assert Join((Constant(), after), (odd + 1, None))(form(odd + 1)) == 1.0
        assert Join((Constant(), after), (odd + 1, None))(form(odd + 2)) == 0.5
        assert Extend(Piecewise((odd,), (1.0, 0.5)), odd)(form(odd + 1)) == 1.0
    assert Join((Constant(), Piecewise((3,), (1.0, 0.5))), (odd + 1, None))(Whole(odd + 3)) == 1.0


def test_the_pieces_of_a_join_in_which_no_step_falls_are_not_asked() -> None:
    for steps, asked in (
        ([12, 19], {1: [[2, 9]]}),
        ([3], {0: [[3]]}),
        ([25], {2: [[5]]}),
        ([9, 11], {0: [[9, 11]], 1: [[-1, 1]]}),
        ([11, 35], {1: [[1, 25]], 2: [[-9, 15]], 3: [[-19, 5]]}),
    ):
        parts = Part(10), Part(10), Part(10), Part()
        found = Join(parts)(np.array(steps))
        assert found.tolist() == [step % 10 if step < 30 else step - 30 for step in steps]
        assert {i: [each.tolist() for each in part.asked] for i, part in enumerate(parts) if part.asked} == asked
    for step in (12, 12.0):
        parts = Part(10), Part(10), Part(10), Part()
        assert Join(parts)(step) == 2
        assert [part.asked for part in parts] == [[], [2], [], []]


# --- what an expression makes of its parts -----------------------------------------------------------------------------

A, B, C = Constant(0.1), Constant(0.2), Constant(0.3)


def same() -> list[tuple[Any, Any]]:
    return [
        (FALL.then(A), Join((FALL, A), (None, None))),
        (FALL.then(A, 2), Join((FALL, A), (2, None))),
        (FALL * A, Product((FALL, A))),
        (FALL * 1, FALL),
        (FALL * 2, Scaled(FALL, 2.0)),
        (2 * FALL, Scaled(FALL, 2.0)),
        (FALL + A, Sum((FALL, A))),
        (FALL.shift(0), FALL),
        (FALL.shift(1), Shift(FALL, 1)),
        (FALL.stretch(1), FALL),
        (FALL.stretch(2), Stretch(FALL, 2.0)),
        (FALL.clip(), Clip(FALL, 0.0, None)),
        (FALL.clip(0.2, 0.4), Clip(FALL, 0.2, 0.4)),
        (FALL.repeat(3), Repeat(FALL, 3, 1, 1.0, None)),
        (FALL.repeat(growth=2, decay=0.5, cycles=3), Repeat(FALL, None, 2, 0.5, 3)),
        (FALL.mirror(), Mirror(FALL, None)),
        (FALL.mirror(3), Mirror(FALL, 3)),
        (Extend(FALL), Extend(FALL, 4)),
        (Join((Join((FALL, A)), B), (None, None)), Join((FALL, A, B), (None, None, None))),
        (Join((Join((FALL, FALL)), B), (8, None)), Join((FALL, FALL, B))),
        (Join((FALL, A), (4, None)).lengths, (None, None)),
        (Join((Join((FALL, FALL)), B), (7, None)).pieces, (Join((FALL, FALL)), B)),
        (Product((Product((A, B)), C)).factors, (A, B, C)),
        (Product((Sum((A, B)), C)).factors, (Sum((A, B)), C)),
        (Sum((A, Sum((B, C)))).terms, (A, B, C)),
        (Join((FALL, FALL)).duration, 8),
        (Join((FALL, Ramp(steps=st(2.5)))).duration, st(6.5)),
        (Join((FALL, A)).duration, None),
        (Product((FALL, A)).duration, 4),
        (Product((FALL, Ramp(steps=5))).duration, None),
        (Sum((A, FALL)).duration, 4),
        (Sum((A, B)).duration, None),
        (Scaled(FALL, 2).duration, 4),
        (Clip(FALL).duration, 4),
        (Shift(FALL, 1).duration, None),
        (Tanh(0, 7).duration, 7),
        (Exponential(0.5).duration, None),
        (Piecewise((3,), (1, 0)).duration, None),
        (Interpolate((-1, 3), (1, 0)).duration, 3),
        (Interpolate((Time(-1, "ep"), Time(3, "ep")), (1, 0)).duration, Time(3, "ep")),
        (Interpolate((-1, 0), (1, 0)).duration, None),
        (Interpolate((Time(-1, "ep"),), (1,)).duration, None),
        (Table((1, 0.5, 0.1), 2).duration, 6),
        (recipes.constant(), Constant(1.0)),
        (recipes.constant(0.3), Constant(0.3)),
        (recipes.warmup(), Ramp(1.0, None, 0.0, "linear", 1.0)),
        (recipes.warmup(5, start=0.1, shape="cosine", power=2), Ramp(1.0, 5, 0.1, "cosine", 2.0)),
        (recipes.linear(), Ramp(0.0, None, 1.0)),
        (recipes.linear(5, end=0.1, start=0.5), Ramp(0.1, 5, 0.5)),
        (recipes.polynomial(), Ramp(0.0, None, power=2.0)),
        (recipes.polynomial(5, power=3, end=0.1), Ramp(0.1, 5, power=3.0)),
        (recipes.cosine(), Ramp(0.0, None, shape="cosine", power=1.0)),
        (recipes.cosine(5, end=0.1, power=2), Ramp(0.1, 5, shape="cosine", power=2.0)),
        (recipes.tanh(), Tanh(0.0, None, -6.0, 3.0, 1.0)),
        (recipes.tanh(5, end=0.1, lower=-4, upper=2), Tanh(0.1, 5, -4.0, 2.0)),
        (recipes.exponential(0.5), Exponential(0.5, 1, False, False)),
        (recipes.exponential(1.5, 5, staircase=True, allow_growth=True), Exponential(1.5, 5, True, True)),
        (recipes.step(5), Exponential(0.5, 5, True)),
        (recipes.step(5, 0.1), Exponential(0.1, 5, True)),
        (recipes.multi_step((3, 6)), Piecewise((3, 6), (1.0, 0.1, 0.1**2))),
        (recipes.multi_step([3], 0.5), Piecewise((3,), (1.0, 0.5))),
        (recipes.piecewise([3], [1, 0.5]), Piecewise((3,), (1.0, 0.5))),
        (recipes.interpolate([3], [1]), Interpolate((3,), (1.0,), "linear")),
        (recipes.interpolate([3], [1], shape="cosine"), Interpolate((3,), (1.0,), "cosine")),
        (recipes.inverse_time(), PowerLaw(1.0, 1, 1.0, False)),
        (recipes.inverse_time(5, rate=2, staircase=True), PowerLaw(1.0, 5, 2.0, True)),
        (recipes.inverse_sqrt(5), PowerLaw(0.5, 5, 1.0, False)),
        (recipes.power_law(0.25), PowerLaw(0.25, 1)),
        (recipes.power_law(0.25, 5), PowerLaw(0.25, 5)),
        (recipes.table([1, 0.5]), Table((1.0, 0.5), 1)),
        (recipes.table([1, 0.5], every=3), Table((1.0, 0.5), 3)),
        (recipes.custom(len), Custom(len)),  # type: ignore[arg-type]
        (str(recipes.formula("step / 2")), "formula \"step / 2\""),
        (recipes.cosine_restarts(5), Repeat(Ramp(shape="cosine"), 5, 1, 1.0, None)),
        (recipes.cosine_restarts(growth=2, decay=0.5, cycles=3, end=0.25),
         Constant(0.25) + Repeat(Ramp(shape="cosine"), None, 2, 0.5, 3) * 0.75),
        (recipes.triangular(5), Repeat(Join((Ramp(1.0, 5, 0.0), Ramp(0.0, 5))), 10)),
        (recipes.triangular(5, 3, low=0.25, decay=0.5),
         Constant(0.25) + Repeat(Join((Ramp(1.0, 5, 0.0), Ramp(0.0, 3))), 8, decay=0.5) * 0.75),
        (recipes.triangular("5%", "3%").every, Time(8, "%")),  # type: ignore[attr-defined]
        (recipes.triangular("5% down", "3% down").every, Time(8, "%", "down")),  # type: ignore[attr-defined]
        (recipes.one_cycle(), Join((Ramp(1.0, pc(30), 0.04, "cosine"), Ramp(4e-6, None, 1.0, "cosine")))),
        (recipes.one_cycle(5, start=0.1, end=0.2, shape="linear"), Join((Ramp(1.0, 5, 0.1), Ramp(0.2)))),
        (recipes.wsd(), Join((Ramp(1.0, pc(2), 0.0), Constant(), Ramp(0.0, pc(20))))),
        (recipes.wsd(5, 6, shape="sqrt", end=0.1), Join((Ramp(1.0, 5, 0.0), Constant(), Ramp(0.1, 6, shape="sqrt")))),
    ]  # fmt: skip


def test_an_expression_is_the_value_that_it_stands_for() -> None:
    for made, meant in same():
        assert made == meant


def test_whole_growth_is_counted_in_whole_numbers() -> None:
    assert type(Repeat(FALL, 3, 2.0).growth) is int
    assert type(Repeat(FALL, 3, 1.5).growth) is float


def test_a_schedule_is_written_with_what_differs_from_its_defaults() -> None:
    written: list[tuple[Schedule, str]] = [
        (Ramp(0.1, 5, shape="exponential", ratio=0.25, power=3, warp=2),
         "ramp shape exponential to 10% over 5st power 3 warp 2 ratio 0.25"),
        (Ramp(1.0, 5, 0.1, "exponential", ratio=0.25), "warmup 5st from 10% shape exponential ratio 0.25"),
        (Ramp(1.0, None, 0.0), "warmup"),
        (Ramp(1.0, 5), "linear to 100% over 5st"),
        (Ramp(1.0, 5, 2.0), "linear to 100% from 200% over 5st"),
        (Ramp(0.5, 5, 0.0), "linear to 50% from 0% over 5st"),
        (Tanh(), "tanh to 0%"),
        (Tanh(0.1, 5, -4, 2, 2), "tanh to 10% over 5st lower -4 upper 2 warp 2"),
        (Repeat(FALL, None, 2, 0.5, 3), "(linear to 0% over 4st) repeat growth 2 decay 0.5 cycles 3"),
        (Repeat(FALL, 5), "(linear to 0% over 4st) repeat every 5st"),
        (Mirror(FALL), "(linear to 0% over 4st) mirror"),
        (Mirror(FALL, 5), "(linear to 0% over 4st) mirror every 5st"),
        (Extend(FALL), "(linear to 0% over 4st) extend every 4st"),
        (Extend(Constant()), "(constant) extend"),
        (Clip(FALL, 0.1), "(linear to 0% over 4st) clip 10%"),
        (Clip(FALL, 0.1, 0.2), "(linear to 0% over 4st) clip 10% to 20%"),
        (Shift(FALL, -3), "(linear to 0% over 4st) shift -3st"),
        (Stretch(FALL, 2), "(linear to 0% over 4st) stretch 2"),
        (Scaled(FALL, 2), "2 * (linear to 0% over 4st)"),
        (Product((A, B)), "(constant at 10%) * (constant at 20%)"),
        (Product((A,)), "product (constant at 10%)"),
        (Sum((A, B)), "(constant at 10%) + (constant at 20%)"),
        (Sum((A,)), "sum (constant at 10%)"),
        (Join((A,)), "join (constant at 10%)"),
        (Join((A, B), (3, None)), "constant at 10% for 3st, constant at 20%"),
        (Join((Join((FALL, FALL)), B), (7, None)),
         "(linear to 0% over 4st, linear to 0% over 4st) for 7st, constant at 20%"),
        (Exponential(0.5, 5), "exponential by 0.5 every 5st"),
        (Exponential(0.5, 5, True, True), "step by 0.5 every 5st growing"),
        (PowerLaw(1, 5), "inverse-time every 5st"),
        (PowerLaw(0.5, 5, 2, True), "inverse-sqrt every 5st rate 2 staircase"),
        (PowerLaw(0.25, 5), "power-law 0.25 every 5st"),
        (Piecewise((3, 6), (1, 0.5, 0.1)), "piecewise at [3st 6st] factors [1 0.5 0.1]"),
        (Interpolate((3, 6), (1, 0.5)), "through [3st 6st] factors [1 0.5]"),
        (Interpolate((3, 6), (1, 0.5), "cosine"), "through [3st 6st] factors [1 0.5] shape cosine"),
        (Table((1, 0.5)), "table [1 0.5]"),
        (Table((1, 0.5), 2), "table [1 0.5] every 2st"),
        (Custom(len), "custom len"),  # type: ignore[arg-type]
        (Custom(partial(max, 0)), "custom function"),
    ]  # fmt: skip
    for schedule, text in written:
        assert str(schedule) == text


# --- how units become steps --------------------------------------------------------------------------------------------

ROOMS: list[tuple[Callable[[Part], Schedule], float, float | None]] = [
    (lambda part: Product((part, A)), 30, 30),
    (lambda part: Sum((A, part)), 30, 30),
    (lambda part: Scaled(part, 0.5), 30, 30),
    (lambda part: Clip(part), 30, 30),
    (lambda part: Shift(part, 0), 100, 30),
    (lambda part: Shift(part, 10), 90, 20),
    (lambda part: Shift(part, pc(5)), 95, 25),
    (lambda part: Shift(part, -5), 105, 35),
    (lambda part: Shift(part, 28), 72, 2),
    (lambda part: Shift(part, 30), 70, 1),
    (lambda part: Stretch(part, 4), 25, 7.5),
    (lambda part: Repeat(part, 10), 10, 10),
    (lambda part: Repeat(part, pc(5), 2, cycles=3), 5, 5),
    (lambda part: Repeat(part, None, cycles=5), 20, 6),
    (lambda part: Repeat(part, None, 2, cycles=4), 100 / 15, 2),
    (lambda part: Repeat(part, None, 3, cycles=2), 25, 7.5),
    (lambda part: Mirror(part), 100, 30),
    (lambda part: Mirror(part, pc(5)), 5, 5),
    (lambda part: Extend(part), 100, 30),
    (lambda part: Extend(part, pc(5)), 5, 5),
    (lambda part: Join((part,)), 100, 30),
    (lambda part: Join((FALL, part)), 96, 26),
    (lambda part: Join((part, FALL)), 96, 26),
    (lambda part: Join((FALL, part), (st(2.5), None)), 97.5, 27.5),
    (lambda part: Join((Ramp(steps=pc(5)), part, Ramp(steps=pc(15)))), 80, 10),
    (lambda part: Join((Ramp(steps=28), part)), 72, 2),
    (lambda part: Join((Ramp(steps=30), part)), 70, 1),
    (lambda part: Join((FALL, part), (None, 5)), 5, 5),
    (lambda part: Join((part, A), (5, None)), 5, 5),
]


@pytest.mark.parametrize(("make", "whole", "some"), ROOMS)
def test_a_part_is_given_the_room_that_the_others_leave(
    make: Callable[[Part], Schedule], whole: float, some: float | None
) -> None:
    part = Part()
    make(part).resolve(RUN)
    make(part).resolve(RUN, 30)
    passed_on = type(make(part)) in (Product, Sum, Scaled, Clip)
    (first, before), (second, after) = part.asked
    assert first is second is RUN
    assert (before, after) == (None if passed_on else pytest.approx(whole), pytest.approx(some))


def test_the_last_piece_of_a_join_has_the_rest_of_the_run_whatever_its_own_duration() -> None:
    part = Part(5)
    Join((FALL, part)).resolve(RUN)
    Join((FALL, part)).resolve(RUN, 30)
    Join((part, FALL)).resolve(RUN)
    assert part.asked == [(RUN, 96), (RUN, 26), (RUN, 5)]


RESOLVED: list[tuple[Schedule, Schedule]] = [
    (Ramp(), Ramp(steps=30)),
    (Ramp(0.1, pc(10), 0.5, "cosine", 2, 3), Ramp(0.1, 10, 0.5, "cosine", 2, 3)),
    (Tanh(), Tanh(steps=30)),
    (Tanh(0.1, pc(10), -4, 2, 2), Tanh(0.1, 10, -4, 2, 2)),
    (Exponential(0.5, pc(10), True), Exponential(0.5, 10, True)),
    (PowerLaw(0.5, pc(10), 2, True), PowerLaw(0.5, 10, 2, True)),
    (Piecewise((pc(10), pc(20)), (1, 0.5, 0.1)), Piecewise((10, 20), (1, 0.5, 0.1))),
    (Interpolate((pc(-10), pc(20)), (1, 0.5), "cosine"), Interpolate((-10, 20), (1, 0.5), "cosine")),
    (Table((1, 0.5), 2), Table((1, 0.5), 2)),
    (Custom(abs), Custom(abs)),
    (A, A),
    (Product((Ramp(), A)), Product((Ramp(steps=30), A))),
    (Sum((Ramp(), A)), Sum((Ramp(steps=30), A))),
    (Scaled(Ramp(), 0.5), Scaled(Ramp(steps=30), 0.5)),
    (Shift(Ramp(), pc(10)), Shift(Ramp(steps=20), 10)),
    (Stretch(Ramp(), 4), Stretch(Ramp(steps=st(7.5)), 4)),
    (Clip(Ramp(), 0.1, 0.2), Clip(Ramp(steps=30), 0.1, 0.2)),
    (Repeat(Ramp(), None, 2, 0.5, 4), Repeat(Ramp(steps=2), 2, 2, 0.5, 4)),
    (Repeat(Ramp(), None, cycles=4), Repeat(Ramp(steps=st(7.5)), st(7.5), cycles=4)),
    (Mirror(Ramp()), Mirror(Ramp(steps=30), 30)),
    (Extend(Ramp(), pc(10)), Extend(Ramp(steps=10), 10)),
    (Extend(A, pc(10)), Extend(A, 10)),
    (Join((Ramp(steps=pc(10)), A, Ramp(steps=pc(5)))), Join((Ramp(steps=10), A, Ramp(steps=5)), (None, 15, None))),
    (Join((Ramp(steps=pc(10)), A, B), (None, None, 5)), Join((Ramp(steps=10), A, B), (None, 15, 5))),
    (Join((Ramp(steps=pc(10)), Ramp())), Join((Ramp(steps=10), Ramp(steps=20)), (None, None))),
    (Join((Ramp(steps=40), A)), Join((Ramp(steps=40), A))),
]


@pytest.mark.parametrize(("schedule", "meant"), RESOLVED, ids=[str(schedule) for schedule, _ in RESOLVED])
def test_every_time_becomes_steps_and_nothing_else_changes(schedule: Schedule, meant: Schedule) -> None:
    assert schedule.resolve(RUN, 30) == meant


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        ((A, FALL, B), "only one piece may take the rest of the run, but piece 1 and piece 3 have no length; say how long."),
        ((Ramp(steps=10), A, Ramp(steps=20)),
         "the pieces of the schedule need 30 steps and leave none of 30 for the open one; shorten them or lengthen the run."),
    ],
)  # fmt: skip
def test_a_join_that_does_not_fit_in_its_room_says_why(pieces: tuple[Schedule, ...], said: str) -> None:
    with pytest.raises(DwindleError) as caught:
        Join(pieces).resolve(RUN, 30)
    assert str(caught.value) == said
    assert Join((Ramp(steps=10), A, Ramp(steps=19))).resolve(RUN, 30).lengths == (None, 1, None)


# --- curves and sums ---------------------------------------------------------------------------------------------------


def test_a_curve_is_drawn_in_blocks_of_whole_numbers() -> None:
    part = Part()
    drawn = curve(part, 2 * _BLOCK + 3, 7)
    assert drawn.dtype == np.float64
    assert drawn.tolist() == list(range(7, 2 * _BLOCK + 10))
    assert [(each.dtype, len(each)) for each in part.asked] == [(np.int64, _BLOCK), (np.int64, _BLOCK), (np.int64, 3)]
    assert curve(part, 3).tolist() == [0, 1, 2]
    assert curve(part, 0).shape == (0,)


def test_the_longest_curve_and_the_longest_sum_are_still_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dwindle.schedule.algebra._LONGEST", 5)
    assert curve(FALL, 5).tolist() == [1, 0.75, 0.5, 0.25, 0]
    with pytest.raises(DwindleError, match=r"^a curve of 6 steps"):
        curve(FALL, 6)
    monkeypatch.setattr(sys.modules["dwindle.schedule.total"], "_MOST", 4)
    assert total(PowerLaw(1.0), 4) == pytest.approx(1 + 1 / 2 + 1 / 3 + 1 / 4)
    with pytest.raises(DwindleError, match=r"^the sum of .* over 5 steps"):
        total(PowerLaw(1.0), 5)


N = 10**15  # more steps than a curve may have: their sum is a closed form or an error
TOTALS: list[tuple[Schedule, int, float]] = [
    (A, N, N / 10),
    (Scaled(A, 0.5), N, N / 20),
    (Sum((A, B, C)), N, 0.6 * N),
    (FALL, 0, 0),
    (FALL, 1, 1),
    (FALL, 3, 2.25),
    (FALL, N, 2.5),
    (Ramp(0.25, 4), N, 2.875 + 0.25 * (N - 4)),
    (Ramp(1, 4, 0), N, 1.5 + N - 4),
    (Ramp(0.5, 4, 0.5), 7, 3.5),
    (Ramp(steps=N), N, (N + 1) / 2),
    (Ramp(steps=st(2.5)), N, 1 + 0.6 + 0.2),
    (Ramp(shape="cosine", steps=4), N, 2.5),
    (Ramp(shape="cosine", steps=4), 2, 1 + (2 + root) / 4),
    (Ramp(shape="cosine", steps=4, end=1, start=0), 3, (2 - root) / 4 + 0.5),
    (Ramp(shape="cosine", steps=st(2.5)), N, sum((1 + math.cos(math.pi * t / 2.5)) / 2 for t in range(3))),
    (Ramp(shape="sqrt", steps=4), 5, sum(1 - math.sqrt(t / 4) for t in range(5))),
    (Ramp(shape="cosine", steps=4, power=2), 5, 1 + ((2 + root) / 4) ** 2 + 0.25 + ((2 - root) / 4) ** 2),
    (Ramp(steps=4, power=2), 5, (16 + 9 + 4 + 1) / 16),
    (Ramp(steps=4, warp=2), 5, (16 + 15 + 12 + 7) / 16),
    (Shift(FALL, 0), N, 2.5),
    (Shift(FALL, 1), N, 3.5),
    (Shift(FALL, 3), N, 5.5),
    (Shift(FALL, 5), 3, 3),
    (Shift(FALL, -1), 9, 1.5),
    (Shift(FALL, st(1.5)), 9, 2 + 0.875 + 0.625 + 0.375 + 0.125),
    (Join((FALL, A)), N, 2.5 + (N - 4) / 10),
    (Join((FALL, FALL)), 2, 1.75),
    (Join((FALL, FALL, A), (2, None, None)), N, 1.75 + 2.5 + (N - 6) / 10),
    (Join((A, Ramp(steps=st(2.5)), A), (N, None, None)), N, N / 10),
    (Join((FALL, A), (st(2.5), None)), 5, 2.25 + 0.2),
    (Exponential(0.5), 3, 1.75),
    (Exponential(0.5), N, 2),
    (Exponential(0.5, 2), N, 1 / (1 - root / 2)),
    (Exponential(0.5, st(2.5)), N, 1 / (1 - 0.5**0.4)),
    (Exponential(0.5, 3, staircase=True), N, 6),
    (Exponential(0.5, 3, staircase=True), 8, 3 + 1.5 + 0.5),
    (Exponential(0.5, 3, staircase=True), 2, 2),
    (Exponential(0.5, st(2.5), staircase=True), 6, 3 + 1 + 0.25),
    (Exponential(1.0), N, N),
    (Exponential(1.0, st(2.5), staircase=True), N, N),
    (Exponential(1 - 2**-40), 10**4, 10**4 - 2**-40 * 10**4 * (10**4 - 1) / 2),  # and less than 1e-12 more
    (Piecewise((3, 6), (1, 0.5, 0.25)), N, 4.5 + (N - 6) / 4),
    (Piecewise((3, 6), (1, 0.5, 0.25)), 4, 3.5),
    (Piecewise((3, 6), (1, 0.5, 0.25)), 2, 2),
    (Piecewise((st(2.5),), (1, 0.5)), 5, 4),
    (PowerLaw(1.0), 4, 25 / 12),
]


@pytest.mark.parametrize(("schedule", "steps", "sum_of_all"), TOTALS)
def test_a_sum_is_that_of_its_terms(schedule: Schedule, steps: int, sum_of_all: float) -> None:
    found = total(schedule, steps)
    assert isinstance(found, float)
    assert found == pytest.approx(sum_of_all, rel=1e-13, abs=1e-13)


# --- what the corners found -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda s: Scaled(s, 0.5), lambda s: Shift(s, 3), lambda s: Stretch(s, 2.0), Clip,
                                  lambda s: Repeat(s, 3), lambda s: Mirror(s, 3), Extend])  # fmt: skip
def test_a_number_in_the_place_of_a_schedule_is_refused_with_the_way_to_write_it(
    make: Callable[[Any], Schedule],
) -> None:
    with pytest.raises(
        InvalidValueError, match=r"^schedule must be a Schedule; got 3\. For a number use constant\(3\)\.$"
    ):
        make(3)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Join(3), "pieces must be a sequence; got 3"),
        (lambda: Join((FALL, FALL), 3), "lengths must be a sequence; got 3"),
        (lambda: Product(3), "factors must be a sequence; got 3"),
        (lambda: Sum(3), "terms must be a sequence; got 3"),
        (lambda: Shift(FALL, None), "steps must say how far to shift; got None"),
        (lambda: curve(FALL, -1), "steps must be at least 0; got -1"),
        (lambda: curve(FALL, 2.5), "steps must be a whole number; got 2.5"),
    ],
)
def test_what_is_no_sequence_or_no_number_of_steps_is_refused_in_words(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^{said}"):
        make()


def test_the_total_of_stairs_whose_times_are_no_steps_yet_asks_for_them() -> None:
    with pytest.raises(UnresolvedTimeError, match="Piecewise"):
        total(Piecewise(("1ep",), (1.0, 0.5)), 10)


@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "square"])
def test_the_last_point_is_met_to_the_bit_also_where_the_last_piece_rises(shape: str) -> None:
    through = Interpolate((0, 10, 20), (1.2, 0.13, 1.2), shape)
    assert [through(step) for step in (0, 10, 20, 99)] == [1.2, 0.13, 1.2, 1.2]
    assert through(np.array([0, 10, 20, 99])).tolist() == [1.2, 0.13, 1.2, 1.2]
