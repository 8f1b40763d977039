"""Planning anew in flight: the past is untouched, the rest is the old one at another pace, and texts stay short."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.errors import DwindleError, InvalidValueError, UnresolvedTimeError
from dwindle.plan import Plan
from dwindle.replan import change, cooldown, extended
from dwindle.schedule import Constant, Join, Piecewise, Schedule
from dwindle.units import Horizon, Time
from strategies import horizons, plans, schedules

SHAPES = ("linear", "cosine", "sqrt", "square", "exponential")
smooth = [
    dw.cosine(end=0.1),
    dw.warmup("5%").then(dw.cosine(end=0.1)),
    dw.wsd("2%", "20%"),
    dw.wsd(30, "30%", shape="sqrt", end=0.05),
    dw.warmup(40).then(dw.inverse_sqrt(40)),
    dw.linear(),
    dw.tanh(),
    dw.one_cycle(),
]
stairs = [dw.step("10%"), dw.multi_step(("30%", "60%", "90%")), dw.warmup(10).then(dw.step(90, 0.3)), dw.step(7)]


def factors(plan: Plan, run: Horizon, steps: object) -> np.ndarray:
    schedule = plan.resolve(run).schedule
    return np.array([float(schedule(t)) for t in steps])


def rates_of_decay(plan: Plan, run: Horizon, steps: object) -> list[float]:
    decay = plan.resolve(run).decay
    return [] if decay is None else [float(decay.at(t)) for t in steps]


def until(at: int) -> list[int]:
    return sorted({0, min(1, at), at // 2, max(0, at - 1), at})


# Any schedule at all


@pytest.mark.law
@settings(max_examples=150, deadline=None)
@given(plans, horizons, st.data())
def test_the_past_is_the_same_bit_for_bit_and_the_text_reads_back(
    plan: Plan, run: Horizon, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, run.steps - 1))
    try:
        plan.resolve(run)
    except DwindleError:
        assume(False)
    longer, run_to = extended(plan, run, at, data.draw(st.integers(at + 1, 3 * run.steps)))
    cooled, end = longer, run_to
    if plan.resolve(run).schedule(at) > 0.0:
        cooled, end = cooldown(plan, run, at, data.draw(st.integers(1, 500)), shape=data.draw(st.sampled_from(SHAPES)))
    for new, horizon in ((longer, run_to), (cooled, end)):
        steps = until(at)
        assert np.array_equal(factors(new, horizon, steps), factors(plan, run, steps))
        assert rates_of_decay(new, horizon, steps) == rates_of_decay(plan, run, steps)
        assert dw.parse(str(new)) == new
        assert new.resolve(horizon) == new


@pytest.mark.law
@settings(max_examples=150, deadline=None)
@given(schedules, horizons, st.data())
def test_what_was_left_is_played_at_another_pace(schedule: Schedule, run: Horizon, data: st.DataObject) -> None:
    """With a whole k no step falls between two old ones, so the law is exact but for rounding."""
    at, k = data.draw(st.integers(0, run.steps - 1)), data.draw(st.sampled_from([1, 2, 3]))
    try:
        old = schedule.resolve(run)
    except DwindleError:
        assume(False)
    longer, until = extended(Plan(1.0, schedule), run, at, at + k * (run.steps - at))
    offsets = np.unique(np.array([0, 1, 2, (run.steps - at) // 2, run.steps - at - 1, run.steps - at]))
    was = np.array([float(old(int(at + u))) for u in offsets])
    now = factors(longer, until, [int(at + k * u) for u in offsets])
    # a join inside a stretch may have an edge that falls on a step, and rounds to its other side: then the neighbour
    near = np.array([[float(old(at + u + d)) for d in (-1e-9, 1e-9)] for u in map(int, offsets)])
    low, high = np.minimum(near.min(1), was), np.maximum(near.max(1), was)
    slack = 1e-9 * np.maximum(1.0, high) + 1e-6 * (high > 1e3)
    assert ((now >= low - slack) & (now <= high + slack)).all(), (was, now)


@pytest.mark.parametrize(
    "schedule",
    [
        Join((Constant(1.0), Constant(0.25)), (Time(1.0000000000000002, "ep", "exact"), None)),
        Piecewise((Time(1.0000000000000002, "ep", "exact"), 50), (1.0, 0.25, 0.25)),
    ],
)
def test_what_rounding_left_of_a_piece_is_left_out(schedule: Schedule) -> None:
    longer, until = extended(Plan(1.0, schedule), Horizon(steps=100, steps_per_epoch=1), 1, 150)
    assert factors(longer, until, [0, 1, 2, 149]).tolist() == [1.0, 0.25, 0.25, 0.25]


# The laws, on the schedules people use


@pytest.mark.parametrize("schedule", smooth, ids=str)
@pytest.mark.parametrize(("at", "steps"), [(0, 1500), (1, 700), (400, 1777), (400, 650), (830, 5000), (999, 1001)])
def test_extending_is_continuous_and_ends_at_the_same_value(schedule: Schedule, at: int, steps: int) -> None:
    plan, run = Plan(0.3, schedule), Horizon(steps=1000)
    longer, until = extended(plan, run, at, steps)
    assert until.steps == steps
    old, new = plan.resolve(run).schedule, longer.resolve(until).schedule
    assert new(at) == old(at)
    assert new(steps) == pytest.approx(old(1000), rel=1e-12, abs=1e-14)
    by = (steps - at) / (1000 - at)
    t = np.arange(at, steps + 1)
    np.testing.assert_allclose(new(t), old(at + (t - at) / by), rtol=1e-11, atol=1e-13)
    biggest = max(np.abs(np.diff(old(np.arange(at, 1001)))).max(), 1e-3)
    assert np.abs(np.diff(new(t))).max() <= biggest / min(by, 1.0) * 1.001 + 1e-12


@pytest.mark.parametrize("schedule", stairs, ids=str)
@pytest.mark.parametrize(("at", "steps"), [(0, 1300), (123, 123 + 877 * 2), (450, 450 + 605), (450, 450 + 1100)])
def test_a_staircase_falls_on_exactly_the_steps_it_should(schedule: Schedule, at: int, steps: int) -> None:
    from fractions import Fraction

    run = Horizon(steps=1000)
    longer, until = extended(Plan(1.0, schedule), run, at, steps)
    old, new, by = (
        Plan(1.0, schedule).resolve(run).schedule,
        longer.resolve(until).schedule,
        Fraction(steps - at, 1000 - at),
    )
    for t in range(at, steps + 1):
        exactly = at + Fraction(t - at) / by  # the stair in force there: the last whole old step not after it
        if exactly >= 10 or exactly.denominator == 1:  # before is the warm-up of one of them
            assert new(t) == pytest.approx(old(int(exactly)), rel=1e-12), (t, exactly)


def test_stairs_that_fall_between_two_steps_keep_the_past_too() -> None:
    plan, run = Plan(1.0, dw.step(1, 0.9)), Horizon(steps=216)
    for at in range(1, 60):
        for steps in (139, 217, 500):
            longer, until_then = extended(plan, run, at, steps)
            assert np.array_equal(factors(longer, until_then, until(at)), factors(plan, run, until(at))), (at, steps)


def test_a_stable_phase_stays_stable_and_its_cooldown_is_as_long_in_proportion() -> None:
    plan, run = extended(Plan(0.1, dw.wsd("2%", "20%")), 1000, 500, 2500)
    assert str(plan) == "peak 0.1 | warmup 20st, constant for 1680st, linear to 0% over 800st"
    assert run == Horizon(steps=2500)


@pytest.mark.parametrize("decay", [dw.decoupled(dw.cosine()), dw.independent(dw.linear(end=0.5))], ids=str)
def test_a_schedule_of_the_decay_is_stretched_and_by_a_cooldown_left_alone(decay: dw.decoupled) -> None:
    plan, run = Plan(0.1, dw.constant(), decay), Horizon(steps=100)
    old = plan.resolve(run).decay
    longer, _ = extended(plan, run, 40, 160)
    assert [longer.decay.at(40 + 2 * u) for u in (0, 30, 60)] == pytest.approx(
        [old.at(40 + u) for u in (0, 30, 60)], rel=1e-12
    )
    cooled, end = cooldown(plan, run, 40, 20)
    assert end.steps == 60
    assert [cooled.decay.at(t) for t in range(61)] == [old.at(t) for t in range(61)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("end", [0.0, 0.1])
@pytest.mark.parametrize("schedule", smooth[:4], ids=str)
def test_a_cooldown_leaves_where_it_is_and_arrives(schedule: Schedule, end: float, shape: str) -> None:
    plan, run = Plan(0.3, schedule), Horizon(steps=1000)
    cooled, until = cooldown(plan, run, 400, 80, end=end, shape=shape)
    assert until.steps == 480
    f = cooled.resolve(until).schedule
    assert f(400) == plan.resolve(run).schedule(400)
    assert f(480) == f(10**6) == end
    fall = f(np.arange(400, 481))
    assert (np.diff(fall) < 0).all()
    unit = dw.Plan(1.0, dw.schedule.Ramp(end=0.0, steps=80, shape=shape)).resolve(80).schedule(np.arange(81))
    np.testing.assert_allclose(fall, end + (f(400) - end) * unit, rtol=1e-12, atol=1e-15)


def test_a_cooldown_may_begin_after_the_horizon() -> None:
    cooled, run = cooldown(Plan(0.1, dw.warmup(10).then(dw.constant())), 100, 150, 50)
    assert run.steps == 200
    assert cooled.lrs(run)[[100, 149, 150]].tolist() == [0.1] * 3


# Units


def test_times_are_steps_of_the_old_run_and_units_keep_their_worth() -> None:
    run = Horizon(epochs=10, examples=1000, batch_size=10, tokens_per_step=512)
    plan = Plan(0.1, dw.warmup("1ep").then(dw.constant()).then(dw.cosine("51200tok")), dw.decoupled(dw.linear()))
    longer, until = extended(plan, run, 300, "20ep")
    assert (until.steps, until.steps_per_epoch, until.batch_size, until.tokens_per_step) == (2000, 100, 10, 512)
    assert np.array_equal(longer.lrs(until)[:301], plan.lrs(run)[:301])
    assert until.epochs is None
    assert longer.timescale(until).epochs == longer.timescale(until).steps / 100
    _, end = cooldown(plan, run, 300, "10%")
    assert end.steps == 400
    _, said = extended(plan, run, 300, Horizon(steps=2000, steps_per_epoch=50))
    assert said == Horizon(steps=2000, steps_per_epoch=50)
    with pytest.raises(UnresolvedTimeError, match="tokens_per_step"):
        extended(Plan(0.1), 100, 5, "1e9tok")


# Again and again


@pytest.mark.parametrize("schedule", [*smooth, *stairs], ids=str)
def test_planning_anew_many_times_adds_a_piece_each_and_no_more(schedule: Schedule) -> None:
    plan, run = Plan(0.1, schedule).resolve(1000), Horizon(steps=1000)
    leaf, length = len(str(plan)), []
    for i in range(12):
        at = 50 * (i + 1)
        before = plan, run
        plan, run = extended(plan, run, at, run.steps + 137)
        assert np.array_equal(plan.lrs(run)[: at + 1], before[0].lrs(before[1])[: at + 1])
        assert dw.parse(str(plan)) == plan
        length.append(len(str(plan)))
    assert np.diff(length).max() <= leaf + 60
    assert plan.lrs(run)[-1] == pytest.approx(Plan(0.1, schedule).lrs(1000)[-1], abs=0.002)


def test_where_a_constant_goes_on_the_text_does_not_grow() -> None:
    plan, run = Plan(0.1, dw.wsd(20, 200)), Horizon(steps=1000)
    lengths = []
    for i in range(30):
        plan, run = extended(plan, run, 100 + 10 * i, run.steps + 100 + i)
        lengths.append(len(str(plan)))
    assert max(lengths) <= lengths[0] + 40


def test_extending_again_at_the_same_update_replaces_the_first() -> None:
    first = extended(Plan(0.1, dw.warmup(50).then(dw.cosine())), 1000, 400, 1500)
    twice, run = extended(*first, 400, 3000)
    once, same = extended(Plan(0.1, dw.warmup(50).then(dw.cosine())), 1000, 400, 3000)
    assert run == same
    assert len(str(twice)) <= len(str(once)) + 20
    np.testing.assert_allclose(twice.lrs(run), once.lrs(run), rtol=1e-12, atol=1e-16)


def test_to_the_same_end_nothing_changes() -> None:
    plan, run = Plan(0.1, dw.warmup("3%").then(dw.cosine())), Horizon(steps=1000)
    assert extended(plan, run, 400, 1000) == (plan.resolve(run), run)


def test_a_cooldown_can_be_given_up() -> None:
    """Extended, what was left of the cooldown is stretched; cooled down anew, the first is cut."""
    cooled = cooldown(Plan(0.1), 1000, 300, 100, shape="linear")
    slower, run = extended(*cooled, 350, 450)
    np.testing.assert_allclose(slower.lrs(run)[350:], 0.05 * (1 - np.arange(100) / 100), rtol=1e-12)
    again, end = cooldown(*cooled, 350, 10, shape="linear")
    assert end.steps == 360
    assert again.lrs(end)[355] == pytest.approx(0.025)


# Refusals


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda p: extended(p, 100, 100, 200), "nothing is left of a run of 100"),
        (lambda p: extended(p, 100, 50, 50), "50 are done; got 50"),
        (lambda p: extended(p, 100, 50, Horizon(steps=20)), "got 20"),
        (lambda p: extended(p, 100, -1, 200), "at must be at least 0"),
        (lambda p: extended(p, 100, 5, None), "got None"),
        (lambda p: extended(p, 100, 5, 0.3), "whole number"),
        (lambda p: cooldown(p, 100, 50, 0), "positive"),
        (lambda p: cooldown(p, 100, 50, 10, end=1.5), "is 1, so a cooldown to 1.5"),
        (lambda p: cooldown(p, 100, 50, 10, end=-0.5), "end must be zero or more"),
        (lambda p: cooldown(replace(p, schedule=dw.warmup(60)), 100, 0, 10), "factor at update 0 is 0"),
        (lambda p: cooldown(p, 100, 50, 10, shape="geometric"), "never reaches 0"),
        (lambda p: cooldown(p, 100, 50, 10, shape="sqroot"), "did you mean 'sqrt'"),
        (lambda p: change((p,), (p, 100), 0), "^old must be a plan and its run"),
        (lambda p: change((p, 100), p, 0), "^new must be a sequence"),
        (lambda p: change((p, 100), (p, 100), -1), "at must be at least 0"),
    ],
)
def test_what_cannot_be_planned_is_refused(call: object, named: str) -> None:
    with pytest.raises(DwindleError, match=named):
        call(Plan(0.1))


def test_a_function_of_the_users_is_planned_anew_too() -> None:
    plan = Plan(0.1, dw.custom(lambda t: 1.0 / (1.0 + t)))
    cooled, run = cooldown(plan, 100, 9, 10, shape="linear")
    assert cooled.lrs(run)[14] == pytest.approx(0.005)
    with pytest.raises(InvalidValueError, match="share of the run"):
        extended(plan, 100, 9, "150%")


def test_the_change_in_one_line() -> None:
    plan, run = Plan(0.1, dw.cosine(end=0.1)), Horizon(steps=1000)
    new = extended(plan, run, 500, 3000)
    assert (
        change((plan, run), new, 500)
        == "from update 500 (lr 0.055) on: ends at 3000 with lr 0.01, no longer at 1000 with lr 0.01"
    )
    assert change((plan, run), (plan, Horizon(steps=10)), 0).startswith("from update 0 (lr 0.1) on: ends at 10")
