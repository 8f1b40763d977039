"""What the schedules promise about their last digits, against mpmath at 60 digits, and the textbook's own equations."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from mpmath import mpf

import dwindle as dw
from dwindle.plan import Plan
from dwindle.schedule import Exponential, PowerLaw, Ramp, Schedule
from dwindle.units import Horizon

CONTEXT = mpmath.mp.clone()
CONTEXT.dps = 60
FAR = (2**31, 2**53 + 1, 10**18)


def off(value: float, exact: Any) -> float:
    """How far ``value`` is from ``exact``, in units of the last place of ``exact``."""
    return float(abs(CONTEXT.mpf(value) - exact) / CONTEXT.mpf(math.ulp(float(exact))))


def exactly(value: float) -> Any:
    return CONTEXT.mpf(value)


# --- exponential -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peak", [3e-4, 0.1, 1.0])
@pytest.mark.parametrize(("rate", "every"), [
    (0.9998, 5), (0.96, 1000), (1 - 1e-7, 1), (0.5, 10**6), (0.1, 10**7), (0.999999, 7), (1e-3, 3_333_333), (0.9, 1e5),
])  # fmt: skip
def test_exponential_is_within_two_ulp_after_ten_million_steps(rate: float, every: int, peak: float) -> None:
    plan = Plan(peak, Exponential(rate, every))
    steps = [1, 2, 3, 999, 10**4 + 1, 123_456, 10**6 - 1, 5 * 10**6 + 3, *range(10**7 - 40, 10**7 + 1)]
    for step in steps:
        exact = exactly(peak) * CONTEXT.power(exactly(rate), exactly(step) / exactly(every))
        if exact > 1e-290:
            assert off(plan.lr(step), exact) <= 2, step


def test_exponential_at_random_is_within_two_ulp() -> None:
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(2000):
        rate, every, step = rng.uniform(1e-6, 1.0), int(rng.integers(1, 10**6)), int(rng.integers(0, 10**8))
        exact = CONTEXT.power(exactly(rate), exactly(step) / exactly(every))
        if exact > 1e-300:
            worst = max(worst, off(Exponential(rate, every)(step), exact))
    assert worst <= 1.5


def test_ten_million_multiplications_would_have_been_far_off() -> None:
    """Why the closed form: the running product loses thousands of ulp."""
    running = float(np.multiply.reduce(np.full(10**7, 1 - 1e-7)))
    exact = CONTEXT.power(exactly(1 - 1e-7), 10**7)
    assert off(running, exact) > 100
    assert off(Exponential(1 - 1e-7, 1)(10**7), exact) <= 1


@pytest.mark.parametrize("staircase", [False, True])
def test_exponential_underflows_to_zero_and_stays_there(staircase: bool) -> None:
    s = Exponential(0.5, 10, staircase=staircase)
    assert s(10740) == 5e-324
    assert [s(n) for n in (10**5, *FAR)] == [0.0] * 4
    assert 0.0 < s(10 * 1022) < 1e-300


def test_growth_stops_before_infinity() -> None:
    s = Exponential(2.0, 1, allow_growth=True)
    assert s(1000) == 2.0**1000
    assert [s(n) for n in (1023, 1024, *FAR)] == [2.0**1023] * 5


# --- ramps -----------------------------------------------------------------------------------------------------------


def exact_ramp(s: Ramp, step: int) -> Any:
    """The definition in Ramp's docstring, at 60 digits."""
    c = CONTEXT
    steps = int(s.steps)  # type: ignore[arg-type]
    start, end, x = exactly(s.start), exactly(s.end), exactly(min(max(step, 0), steps)) / steps
    if s.shape == "geometric":
        return start * c.power(end / start, x)
    g = {
        "linear": lambda y: 1 - y,
        "cosine": lambda y: (1 + c.cos(c.pi * y)) / 2,
        "sqrt": lambda y: 1 - c.sqrt(y),
        "square": lambda y: 1 - y * y,
        "exponential": lambda y: 2 * c.power(2, -y) - 1,
    }[s.shape]
    if s.end > s.start:
        return start + (end - start) * c.power(g(1 - x), exactly(s.power))
    return end + (start - end) * c.power(g(x), exactly(s.power))


LENGTHS = [1, 2, 3, 7, 100, 1001, 10**6, 10**7 + 19]


def spread(steps: int) -> list[int]:
    """Both ends, the middle and a few between."""
    near = [*range(6), *range(steps // 2 - 2, steps // 2 + 3), *range(steps - 6, steps + 1)]
    return sorted({n for n in [*near, *(steps * k // 37 for k in range(38))] if 0 <= n <= steps})


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("ends", [(1.0, 0.0), (0.0, 1.0), (1.0, 0.1), (0.04, 1.0), (1.0, 1 / 3)])
@pytest.mark.parametrize("shape", ["linear", "cosine", "sqrt", "square"])
def test_ramps_are_within_four_ulp(shape: str, ends: tuple[float, float], steps: int) -> None:
    start, end = ends
    s = Ramp(end, steps, start, shape)
    for step in spread(steps):
        exact = exact_ramp(s, step)
        assert s(step) == 0 if exact == 0 else off(s(step), exact) <= 4, step


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("power", [0.5, 2.0, 3.0, 0.9])
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_polynomials_are_within_four_ulp(end: float, power: float, steps: int) -> None:
    s = Ramp(end, steps, power=power)
    for step in spread(steps):
        exact = exact_ramp(s, step)
        assert s(step) == 0 if exact == 0 else off(s(step), exact) <= 4, step


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("end", [0.1, 1e-5, 10.0])
def test_geometric_ramps_are_within_four_ulp(end: float, steps: int) -> None:
    s = Ramp(end, steps, shape="geometric")
    assert max(off(s(n), exact_ramp(s, n)) for n in spread(steps)) <= 4


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("end", [0.0, 0.1])
def test_exponential_ramps_are_within_four_ulp_of_the_peak(end: float, steps: int) -> None:
    """2·2^-x - 1 cancels near its end: there the error is small beside the peak, not beside the value."""
    s = Ramp(end, steps, shape="exponential")
    assert max(abs(exactly(s(n)) - exact_ramp(s, n)) for n in spread(steps)) <= 4 * 2**-53


@pytest.mark.parametrize(("lower", "upper"), [(-6.0, 3.0), (-1.0, 15.0), (-400.0, 400.0)])
def test_tanh_keeps_its_digits_near_the_end(lower: float, upper: float) -> None:
    s = dw.tanh(1000, lower=lower, upper=upper)
    for step in spread(1000):
        x = exactly(step) / 1000
        z = exactly(lower) * (1 - x) + exactly(upper) * x
        if abs(z) < 300:  # an error of z is one of e^2z
            exact = 1 / (1 + CONTEXT.exp(2 * z))  # = (1 - tanh z)/2
            assert abs(exactly(s(step)) - exact) / exact < 1e-15 * max(-lower, upper), step
    assert math.isfinite(s(1000))


@pytest.mark.parametrize("steps", [10, 1000, 10**6, 10**9])
@pytest.mark.parametrize("end", [0.0, 0.1, 1e-6])
def test_cosine_ends_exactly_and_is_exact_just_before(end: float, steps: int) -> None:
    s = dw.cosine(steps, end=end)
    assert [s(steps), s(steps + 1), *(s(n) for n in FAR)] == [end] * 5
    for before in (1, 2, 3):
        exact = exact_ramp(s, steps - before)
        assert abs(exactly(s(steps - before)) - exact) / exact < mpf(3e-16)
    if end == 0.0 and steps >= 10**6:  # the textbook's form has lost all its digits there
        naive = 0.5 * (1 + math.cos(math.pi * (steps - 1) / steps))
        assert abs(exactly(naive) - exact_ramp(s, steps - 1)) / exact_ramp(s, steps - 1) > 1e-6


# --- power laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(("every", "rate"), [(1, 1.0), (100, 1.0), (4000, 0.5), (7, 3.0)])
def test_power_laws_are_within_four_ulp(every: int, rate: float, exponent: float) -> None:
    s = PowerLaw(exponent, every, rate)
    for step in (0, 1, 2, 3, 99, 100, 101, 12_345, 10**6 + 1, 10**7, 10**12 + 7):
        exact = CONTEXT.power(1 + exactly(rate) * step / every, -exactly(exponent))
        assert off(s(step), exact) <= 4, step


EVERYTHING = [
    dw.constant(0.3), dw.cosine(97, end=0.1), dw.linear(50), dw.polynomial(60, power=3), dw.warmup(13, shape="cosine"),
    dw.tanh(100), dw.exponential(0.97, 7), dw.step(9, 0.5), dw.inverse_time(3), dw.inverse_sqrt(10),
    dw.power_law(0.25), dw.multi_step((10, 60)), dw.table((1, 0.5)), dw.interpolate((0, 10), (1, 0.2)),
    dw.triangular(5, decay=0.5), dw.cosine_restarts(10, growth=2, decay=0.9), dw.cosine(9).mirror(9),
    dw.cosine(50).stretch(3).shift(7), dw.wsd(10, 20), dw.one_cycle(30),
]  # fmt: skip


@pytest.mark.parametrize("schedule", EVERYTHING, ids=str)
def test_the_furthest_steps_are_finite(schedule: Schedule) -> None:
    s = schedule.resolve(Horizon(steps=100))
    for n in (-(10**18), -1, *FAR):
        assert 0 <= s(n) <= 1
        assert s(n) == s(np.array([n]))[0]


# --- the textbook's rows, each by its equation -----------------------------------------------------------------------


def test_halving_every_five_epochs() -> None:
    """lr(t) = lr0·(1/2)^⌊epoch/5⌋."""
    run = Horizon(epochs=30, steps_per_epoch=391)
    lrs = Plan(0.1, dw.step("5ep", 0.5)).lrs(run)
    for step in range(run.steps):
        assert lrs[step] == 0.1 * 0.5 ** (step // 391 // 5)
    assert [lrs[391 * e] for e in (0, 4, 5, 10, 29)] == [0.1, 0.1, 0.05, 0.025, 0.003125]
    assert lrs[391 * 5 - 1] == 0.1


def test_times_0_9998_every_five_epochs() -> None:
    """lr(t) = lr0·0.9998^⌊epoch/5⌋, in stairs; smooth it is lr0·0.9998^(epoch/5)."""
    run = Horizon(epochs=1000, steps_per_epoch=10)
    stairs = Plan(0.01, Exponential(0.9998, "5ep", staircase=True)).lrs(run)
    smooth = Plan(0.01, Exponential(0.9998, "5ep")).lrs(run)
    for step in range(run.steps):
        assert off(stairs[step], exactly(0.01) * CONTEXT.power(exactly(0.9998), step // 50)) <= 2
        assert off(smooth[step], exactly(0.01) * CONTEXT.power(exactly(0.9998), exactly(step) / 50)) <= 2
    assert max(off(a, exactly(b)) for a, b in zip(stairs[::50], smooth[::50], strict=True)) <= 1


@pytest.mark.parametrize(("decay_rate", "decay_steps"), [(0.96, 1000), (0.5, 94), (0.1, 7)])
def test_lr_times_decay_rate_to_the_step_over_decay_steps(decay_rate: float, decay_steps: int) -> None:
    """lr(t) = lr0·decay_rate^(step/decay_steps)."""
    plan = Plan(0.1, dw.exponential(decay_rate, decay_steps))
    for step in range(0, 5 * decay_steps + 1):
        exact = exactly(0.1) * CONTEXT.power(exactly(decay_rate), exactly(step) / decay_steps)
        assert off(plan.lr(step), exact) <= 2


@pytest.mark.parametrize(("decay_rate", "decay_steps"), [(0.96, 1000), (0.5, 94), (0.1, 7)])
def test_lr_times_decay_rate_to_the_whole_part_of_step_over_decay_steps(decay_rate: float, decay_steps: int) -> None:
    """lr(t) = lr0·decay_rate^⌊step/decay_steps⌋: the fall comes at the step itself, not one late."""
    plan = Plan(0.1, dw.exponential(decay_rate, decay_steps, staircase=True))
    for k in range(6):
        exact = exactly(0.1) * CONTEXT.power(exactly(decay_rate), k)
        first, last = plan.lr(k * decay_steps), plan.lr((k + 1) * decay_steps - 1)
        assert first == last
        assert off(first, exact) <= 2
    assert plan.lr(0) == 0.1
    assert plan.lr(decay_steps) == 0.1 * decay_rate


def test_smooth_and_staircase_meet_at_every_stair() -> None:
    smooth, stairs = dw.exponential(0.96, 1000), dw.exponential(0.96, 1000, staircase=True)
    for k in (0, 1, 2, 50, 10**4):
        assert off(smooth(1000 * k), exactly(stairs(1000 * k))) <= 1
        assert smooth(1000 * k + 1) < stairs(1000 * k + 1)
