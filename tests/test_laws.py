"""The laws that every schedule, decay, plan and horizon keeps, whatever it is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from dwindle.decay import CONVENTIONS, L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import InvalidValueError, UnresolvedTimeError
from dwindle.mask import Mask
from dwindle.plan import Plan, difference
from dwindle.reference import SGD
from dwindle.schedule import (
    Constant,
    Formula,
    Interpolate,
    Join,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Stretch,
    Sum,
    Tanh,
    curve,
    warmup,
)  # fmt: skip
from dwindle.text import from_json, from_toml, parse, parse_decay, parse_schedule, to_json, to_toml
from dwindle.units import Horizon, Time, short
from strategies import (
    RAMP_SHAPES,
    STEPS,
    decays,
    exponentials,
    factor,
    horizons,
    leaves,
    plans,
    power_laws,
    ramps,
    schedules,
    share,
    tanhs,
    times,
    whole_steps,
)  # fmt: skip

torch.set_num_threads(1)

EPS = float(np.finfo(np.float64).eps)
STEP_ARRAY = np.array(STEPS, dtype=np.int64)
RISES = Formula("min(step, 10) / 10 if step < 10 else 1")
usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def ulps(a: Any, b: Any) -> float:
    """The largest distance between two arrays, in units of the last place of the second."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return float(np.max(np.abs(a - b) / np.spacing(np.maximum(np.abs(b), 1e-300)), initial=0.0))


def parts(schedule: Schedule) -> list[Schedule]:
    """The schedule and everything inside it."""
    inside: list[Schedule] = [schedule]
    for name in ("schedule", "pieces", "factors", "terms"):
        children = getattr(schedule, name, ())
        for child in children if isinstance(children, tuple) else (children,):
            if isinstance(child, Schedule):
                inside += parts(child)
    return inside


def has_library_functions(schedule: Schedule) -> bool:
    """Whether some value comes from a library's pow or tanh, which backends round as they like."""
    return any(
        isinstance(part, Tanh)
        or (isinstance(part, PowerLaw) and part.exponent not in (0.5, 1.0))
        or (isinstance(part, Ramp) and (part.warp != 1.0 or part.power not in (0.5, 1.0, 2.0)))
        for part in parts(schedule)
    )


def slack(schedule: Schedule) -> float:
    """How far an ulp or so of 1 - p^warp takes (1 - p^warp)^power near its end: |a^q - b^q| <= |a - b|^q for q below 1."""
    powers = [
        0.5 if "sqrt" in shape_of(part) else min(1.0, part.power)
        for part in parts(schedule)
        if isinstance(part, Ramp) and part.warp != 1.0
    ]
    return float((4 * EPS) ** min(powers, default=1.0))


def shape_of(schedule: Schedule) -> str:
    return getattr(schedule, "shape", "")


# --- the algebra -----------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(schedules, horizons)
@usual
def test_a_join_of_one_changes_nothing(s: Schedule, run: Horizon) -> None:
    assert np.array_equal(Join((s,)).resolve(run)(STEP_ARRAY), s.resolve(run)(STEP_ARRAY))


def test_a_join_of_one_product_leaves_its_open_ramp_the_whole_run() -> None:
    s = warmup(10) * Ramp(shape="cosine")
    assert Join((s,)).resolve(Horizon(steps=100))(100) == 0.0
    assert Join((s,)).resolve(Horizon(steps=100))(55) == s.resolve(Horizon(steps=100))(55) > 0.4


@pytest.mark.law
@given(schedules, schedules, schedules)
@usual
def test_joins_associate(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert a.then(b).then(c) == a.then(b.then(c)) == Join((a, b, c))


@pytest.mark.law
@given(schedules, schedules, schedules, times, times, horizons)
@usual
def test_joins_of_given_lengths_associate(a: Schedule, b: Schedule, c: Schedule, m: Any, n: Any, run: Horizon) -> None:
    left, right = Join((Join((a, b), (m, n)), c)), Join((a, Join((b, c), (n, None))), (m, None))
    assert left == right
    assert np.array_equal(left.resolve(run)(STEP_ARRAY), right.resolve(run)(STEP_ARRAY))


@pytest.mark.law
@given(schedules, schedules, schedules)
@usual
def test_products_and_sums_associate(a: Schedule, b: Schedule, c: Schedule) -> None:
    assert (a * b) * c == a * (b * c) == Product((a, b, c))
    assert (a + b) + c == a + (b + c) == Sum((a, b, c))


@pytest.mark.law
@given(schedules, horizons)
@usual
def test_what_does_nothing_is_nothing(s: Schedule, run: Horizon) -> None:
    assert 1 * s is s
    assert s * 1.0 is s
    assert s.shift(0) is s
    assert s.stretch(1) is s
    for same in (Scaled(s, 1.0), Product((s,)), Sum((s,)), Product((s, Constant()))):
        assert np.array_equal(same.resolve(run)(STEP_ARRAY), s.resolve(run)(STEP_ARRAY))
    exact = STEP_ARRAY[STEP_ARRAY <= 2**53]  # a stretched step is a float
    assert np.array_equal(Stretch(s, 1.0).resolve(run)(exact), s.resolve(run)(exact))


by = st.sampled_from([0.25, 0.5, 2.0, 3.0, 10.0])


@pytest.mark.law
@given(schedules.filter(lambda s: not isinstance(s, Stretch)), by, by, horizons)
@usual
def test_stretching_twice_is_stretching_once_by_the_product(s: Schedule, a: float, b: float, run: Horizon) -> None:
    twice, once = s.stretch(a).stretch(b), Stretch(s, a * b)
    assert twice == once
    assert np.array_equal(twice.resolve(run)(STEP_ARRAY), once.resolve(run)(STEP_ARRAY))


@pytest.mark.law
@given(ramps(whole_steps), st.sampled_from([2, 4, 8]))
@usual
def test_a_stretched_ramp_is_a_longer_ramp(s: Ramp, by: int) -> None:
    longer = replace(s, steps=s.steps * by)  # type: ignore[operator]
    steps = np.arange(0, 4000, 7)
    small = 16 * EPS * max(s.start, s.end) if s.shape == "exponential" else 1e-300  # it cancels near its end
    np.testing.assert_allclose(s.stretch(by)(steps), longer(steps), rtol=1e-13, atol=small)


@pytest.mark.law
@given(schedules, st.integers(0, 200), horizons)
@usual
def test_a_shift_holds_the_first_value_and_then_plays(s: Schedule, n: int, run: Horizon) -> None:
    inside = s.resolve(run, max(1, run.steps - n))
    late = s.shift(n).resolve(run)
    for t in (0, n - 1, n, n + 1, n + 57):
        assert late(t) == inside(max(0, t - n))


@pytest.mark.law
@given(leaves, leaves, whole_steps)
@usual
def test_a_child_counts_from_its_own_boundary(a: Schedule, b: Schedule, n: int) -> None:
    run = Horizon(steps=n + 100, steps_per_epoch=3, batch_size=2, tokens_per_step=5)
    joined = a.then(b, after=n).resolve(run)
    first, second = joined.pieces
    assert joined(n - 1) == first(n - 1)
    for t in (0, 1, 99):
        assert joined(n + t) == second(t)


@pytest.mark.law
@given(st.lists(whole_steps, min_size=1, max_size=6))
def test_a_join_lasts_as_long_as_its_pieces(lengths: list[int]) -> None:
    assert Join(tuple(Ramp(steps=n) for n in lengths)).duration == sum(lengths)


@pytest.mark.law
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4), st.integers(0, 4), st.integers(100, 1000))
def test_an_open_piece_takes_what_the_others_leave(lengths: list[int], at: int, steps: int) -> None:
    pieces = [Ramp(steps=n) for n in lengths]
    pieces.insert(at, Ramp())
    resolved = Join(tuple(pieces)).resolve(Horizon(steps=steps))
    assert resolved.duration == steps
    assert resolved.spans[min(at, len(lengths))] == steps - sum(lengths)


@pytest.mark.law
@given(schedules, horizons)
@usual
def test_resolving_twice_is_resolving_once(s: Schedule, run: Horizon) -> None:
    once = s.resolve(run)
    assert once.resolve(run) == once


# --- every step, every backend ---------------------------------------------------------------------------------------


@pytest.mark.law
@given(schedules, horizons)
@example(Stretch(Repeat(RISES, every=3), 0.1), Horizon(steps=100))
@usual
def test_one_step_alone_is_the_nth_of_a_vector(s: Schedule, run: Horizon) -> None:
    resolved = s.resolve(run)
    steps = [*range(0, 40), *STEPS, run.steps // 2, run.steps - 1, run.steps]
    vector = resolved(np.array(steps, dtype=np.int64))
    assert [resolved(n) for n in steps] == vector.tolist()
    assert [float(resolved(np.int64(n))) for n in steps] == vector.tolist()
    assert curve(resolved, 40).tolist() == vector[:40].tolist()
    assert curve(resolved, 10, start=30).tolist() == vector[30:40].tolist()


@pytest.mark.law
@given(schedules, horizons)
@usual
def test_every_step_has_a_finite_factor_that_is_not_negative(s: Schedule, run: Horizon) -> None:
    resolved = s.resolve(run)
    for step in (-5, 0, 1, 2**31, 2**53 + 1, 10**18):
        value = resolved(step)
        assert math.isfinite(value), step
        assert value >= 0, step
    assert resolved(-5) == resolved(-(10**18)) == resolved(0)
    assert resolved(np.array([-5, 0])).tolist() == [resolved(0)] * 2


def test_points_before_the_start_leave_negative_steps_at_step_zero() -> None:
    s = Interpolate((-10, 10), (0.0, 1.0))
    assert [s(n) for n in (-(10**18), -10, -5, 0, 5, 10)] == [0.5, 0.5, 0.5, 0.5, 0.75, 1.0]
    assert s(np.array([-5, 5])).tolist() == [0.5, 0.75]
    assert Join((Interpolate((0,), (0.3,)), Ramp(steps=10))).resolve(Horizon(steps=50))(0) == 0.3  # no duration to take


@pytest.mark.law
@given(schedules, horizons)
@usual
def test_torch_gives_the_bits_of_numpy(s: Schedule, run: Horizon) -> None:
    resolved = s.resolve(run)
    mine = resolved(torch.from_numpy(STEP_ARRAY))
    assert mine.dtype == torch.float64
    theirs = resolved(STEP_ARRAY)
    if has_library_functions(s):  # exp and pow differ by an ulp, a steep tanh makes dozens of that, 1 - p^0.7 cancels
        assert np.all(np.abs(mine.numpy() - theirs) <= 64 * np.spacing(theirs) + slack(s) * theirs.max())
    else:
        assert np.array_equal(mine.numpy(), theirs)


@pytest.mark.law
@given(schedules, horizons)
@example(Repeat(RISES, Time(1.6434656584080187, "st")), Horizon(steps=100))
@example(Repeat(RISES, Time(1.6434656584080187, "st"), cycles=2), Horizon(steps=100))
@example(Ramp(0.0, 2**31 + 1, power=0.5, warp=0.7), Horizon(steps=100))  # an ulp of p^0.7 beside its end, then its root
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_jax_jit_gives_the_numbers_of_numpy(s: Schedule, run: Horizon) -> None:
    resolved = s.resolve(run)
    exact = STEP_ARRAY[STEP_ARRAY < 2**53]  # beyond, cycle after cycle begins between two floats
    with jax.enable_x64(True):
        mine = np.asarray(jax.jit(lambda steps: resolved(steps))(jax.numpy.asarray(exact)))
    theirs = resolved(exact)
    cancels = any(shape_of(part) == "exponential" for part in parts(s))  # 2·2^-x - 1 near its end
    small = 1e-290  # beside the peak, where XLA rounds its own way
    if cancels or has_library_functions(s):
        small = (16 * EPS + slack(s)) * max(1.0, theirs.max())
    np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=small)


@pytest.mark.law
@given(schedules)
@usual
def test_a_step_is_refused_while_a_time_has_a_unit(s: Schedule) -> None:
    run = Horizon(steps=1000, steps_per_epoch=10, batch_size=2, tokens_per_step=3)
    assert s.resolve(run)(0) >= 0
    if s.resolve(run) != s:
        unresolved = Join((Ramp(steps="1ep"), s))
        with pytest.raises(UnresolvedTimeError, match="Horizon"):
            unresolved(0)


# --- shapes ----------------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(ramps(st.integers(1, 3000)))
@settings(deadline=None, max_examples=200)
def test_a_ramp_is_monotone_inside_its_ends_and_reaches_both(s: Ramp) -> None:
    steps = s.steps
    assert isinstance(steps, int)
    values = s(np.arange(-1, steps + 2))
    low, high = sorted((s.start, s.end))
    slack = 0.0 if not has_library_functions(s) else 4 * EPS * high
    falls = np.diff(values) if s.end < s.start else -np.diff(values)
    assert falls.max() <= slack
    assert low <= values.min()
    assert values.max() <= high
    assert (values[:2] == s.start).all()
    assert (values[-2:] == s.end).all()


@pytest.mark.law
@given(st.one_of(exponentials, power_laws, tanhs.filter(lambda s: s.end <= 1)))
@usual
def test_decays_never_rise(s: Schedule) -> None:
    run = Horizon(steps=1000, steps_per_epoch=37, batch_size=3, tokens_per_step=1000)
    values = s.resolve(run)(np.arange(-2, 3000))
    assert np.diff(values).max() <= (4 * EPS if has_library_functions(s) else EPS)


@pytest.mark.law
@pytest.mark.parametrize("shape", [s for s in RAMP_SHAPES if s != "geometric"])
@given(start=factor, end=factor, steps=st.integers(1, 500), power=st.sampled_from([0.5, 1.0, 2.0]))
@settings(deadline=None, max_examples=30)
def test_a_rise_is_the_fall_played_backwards(shape: str, start: float, end: float, steps: int, power: float) -> None:
    there, back = Ramp(end, steps, start, shape, power), Ramp(start, steps, end, shape, power)
    if start != end:
        assert np.array_equal(there(np.arange(steps + 1)), back(np.arange(steps, -1, -1)))


# --- decay and plan --------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(st.floats(1e-6, 1.0), st.floats(0.0, 0.9), schedules, horizons)
@usual
def test_decoupled_lambda_is_independent_peak_times_lambda(peak: float, lam: float, s: Schedule, run: Horizon) -> None:
    decoupled, independent = (Plan(peak, s, d).table(run) for d in (Decoupled(lam), Independent(peak * lam)))
    assert np.array_equal(decoupled.lr, independent.lr)
    np.testing.assert_allclose(1 - decoupled.shrink, 1 - independent.shrink, rtol=4 * EPS, atol=4 * EPS)


@pytest.mark.law
@given(st.floats(1e-6, 1.0), st.floats(0.0, 0.9), schedules, horizons, st.floats(-10, 10), st.floats(-10, 10))
@usual
def test_under_plain_sgd_l2_is_decoupled(
    peak: float, lam: float, s: Schedule, run: Horizon, w: float, g: float
) -> None:
    l2, decoupled = (Plan(peak, s, kind(lam)).resolve(run) for kind in (L2, Decoupled))
    sgd = SGD()
    for step in (0, 1, run.steps // 2):
        one, other = l2.rates(step), decoupled.rates(step)
        a, _ = sgd.update([w], [g], sgd.init([w]), lr=one.lr, shrink=one.shrink, l2=one.l2)
        b, _ = sgd.update([w], [g], sgd.init([w]), lr=other.lr, shrink=other.shrink, l2=other.l2)
        assert abs(a[0] - b[0]) <= 4 * EPS * (abs(w) + one.lr * (abs(g) + lam * abs(w))) + 1e-322  # subnormal numbers


@pytest.mark.law
@given(st.floats(0.0, 0.5), st.floats(1e-3, 1.0), schedules, horizons)
@usual
def test_corrected_is_decoupled_with_the_factor_once_more(lam: float, peak: float, s: Schedule, run: Horizon) -> None:
    plan = Plan(peak, s, Corrected(lam))
    twice = Plan(peak, s * s, Decoupled(lam))
    np.testing.assert_allclose(plan.decay_shares(run), twice.decay_shares(run), rtol=4 * EPS, atol=1e-300)


@pytest.mark.law
@given(plans, horizons)
@usual
def test_the_table_of_a_plan_is_its_rates_step_by_step(plan: Plan, run: Horizon) -> None:
    table, resolved = plan.table(run), plan.resolve(run)
    for group in (None, *(g.name for g in plan.groups)):
        table = plan.table(run, group)
        for step in (0, 1, run.steps // 3, run.steps - 1):
            rates = resolved.rates(step, group)
            assert rates.lr == pytest.approx(table.lr[step], rel=4 * EPS)
            assert rates.shrink == pytest.approx(table.shrink[step], rel=4 * EPS, abs=4 * EPS)
            assert rates.l2 == table.l2[step]
        assert table.lr.shape == table.shrink.shape == table.l2.shape == (run.steps,)


@pytest.mark.law
@given(plans, horizons)
@usual
def test_resolving_a_plan_changes_no_rate(plan: Plan, run: Horizon) -> None:
    assert np.array_equal(plan.resolve(run).lrs(run), plan.lrs(run))
    assert plan.resolve(run).resolve(run) == plan.resolve(run)


@pytest.mark.law
@given(plans, plans)
@usual
def test_the_difference_of_plans_is_what_changes_one_into_the_other(a: Plan, b: Plan) -> None:
    assert difference(a, a) == {}
    assert replace(a, **{name: new for name, (_, new) in difference(a, b).items()}) == b


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(plans)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@example(Plan(0.1, Join((Ramp(),))))
@example(Plan(0.1, Sum((Ramp(),)), L2(Product((Ramp(),)))))
@example(Plan(0.1, Ramp(shape="exponential"), mask=Mask(())))
@example(Plan(5e-324, Constant(1e308)))
def test_text_reads_back_as_the_same_plan(plan: Plan) -> None:
    assert parse(str(plan)) == plan
    assert str(parse(str(plan))) == str(plan)
    assert hash(parse(str(plan))) == hash(plan)
    assert from_toml(to_toml(plan)) == plan
    assert from_json(to_json(plan)) == plan


@pytest.mark.law
@given(schedules, horizons)
@example(Join((Constant(), Join((Constant(),), (1,))), (1, Time(1, "st"))), Horizon(steps=9))
@usual
def test_a_resolved_schedule_has_a_text_too(s: Schedule, run: Horizon) -> None:
    assert parse_schedule(str(s)) == s
    assert parse_schedule(str(s.resolve(run))) == s.resolve(run)


@pytest.mark.law
@given(decays())
@usual
def test_text_reads_back_as_the_same_decay(decay: Decay) -> None:
    assert parse_decay(str(decay)) == decay
    assert str(decay).split()[0] in CONVENTIONS


@pytest.mark.law
@given(st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False)))
@example(10**18 + 1000)
@example(-0.0)
def test_short_numbers_read_back_exactly(value: float) -> None:
    text = short(value)
    assert (int(text) if isinstance(value, int) and text.lstrip("-").isdigit() else float(text)) == value


# --- time ------------------------------------------------------------------------------------------------------------


def rounded(exact: Fraction) -> int:
    """To the nearest whole step, a half up, and at least one step for what is not nothing."""
    return max(1, math.floor(exact + Fraction(1, 2))) if exact > 0 else 0


@pytest.mark.law
@given(horizons, st.one_of(st.integers(0, 100), st.floats(0.0, 100.0)))
def test_a_percentage_is_rounded_once_and_exactly(run: Horizon, value: float) -> None:
    assert Time(value, "%").steps(run) == rounded(Fraction(str(value)) * run.steps / 100)


@pytest.mark.law
@given(st.integers(1, 99), st.integers(1, 10**6), st.integers(1, 400), st.integers(1, 300))
def test_down_cuts_as_programs_cut(percent: int, steps: int, epochs: int, each: int) -> None:
    share, time = percent / 100, Time(percent, "%", "down")
    for run, whole in ((Horizon(steps), int(share * steps)), (Horizon(epochs=epochs, steps_per_epoch=each), 0)):
        whole = whole if run.epochs is None else int(share * each * epochs)
        if whole:
            assert time.steps(run) == whole
        else:
            with pytest.raises(InvalidValueError, match="less than one step"):
                time.steps(run)
    assert Time(29, "%", "down").steps(Horizon(100)) == 28


@pytest.mark.law
@given(st.integers(1, 10**9), st.integers(1, 10**6), st.integers(1, 50))
def test_an_exact_time_ends_where_its_tokens_do(tokens: int, worth: int, times_over: int) -> None:
    every = Time(tokens, "tok", "exact").steps(Horizon(steps=1, tokens_per_step=worth))
    exact = Fraction(tokens, worth)
    assert Fraction(every) <= exact < Fraction(math.nextafter(every, math.inf))
    assert -Time(-tokens, "tok", "exact").steps(Horizon(steps=1, tokens_per_step=worth)) == every
    period_ends = exact * worth * times_over  # a whole step in which a whole number of periods have passed
    assert int(period_ends) // every == worth * times_over


@pytest.mark.law
@given(horizons, st.one_of(st.integers(0, 10**6), st.floats(0.0, 1e6)))
@example(Horizon(steps=100, steps_per_epoch=205, batch_size=1, tokens_per_step=1), 1.9)
def test_epochs_examples_and_tokens_are_rounded_once_and_exactly(run: Horizon, value: float) -> None:
    exact = Fraction(str(value))  # of the decimal number
    assert Time(value, "ep").steps(run) == rounded(exact * (run.steps_per_epoch or 0))
    assert Time(value, "ex").steps(run) == rounded(exact / (run.batch_size or 1))
    assert Time(value, "tok").steps(run) == rounded(exact / (run.tokens_per_step or 1))
    assert Time(value, "st").steps(run) == value


@pytest.mark.law
@given(times)
def test_a_time_reads_back(time: Any) -> None:
    if isinstance(time, Time):
        assert Time.parse(str(time)) == time


@pytest.mark.law
@given(st.integers(1, 10**6), st.integers(1, 5000), st.integers(1, 40))
def test_an_epoch_counts_its_last_partial_batch(examples: int, batch: int, epochs: int) -> None:
    run = Horizon(epochs=epochs, examples=examples, batch_size=batch)
    assert run.steps_per_epoch == math.ceil(Fraction(examples, batch))
    assert run.steps == epochs * run.steps_per_epoch
    assert Time(epochs, "ep").steps(run) == run.steps == Time(100, "%").steps(run)


def test_times_add_up() -> None:
    run = Horizon(epochs=10, steps_per_epoch=333)
    s = warmup("1ep").then(Constant(), after="8ep").then(Ramp(steps="1ep")).resolve(run)
    assert s.duration == run.steps
    assert [s(t) for t in (0, 333, 333 * 9, 3330)] == [0.0, 1.0, 1.0, 0.0]


@pytest.mark.law
@given(share)
def test_a_share_of_a_step_is_no_time(value: float) -> None:
    if 0 < value < 1:
        with pytest.raises(InvalidValueError, match="share of the run"):
            Ramp(steps=value)


def test_the_strategies_reach_every_node() -> None:
    """What is not drawn inherits no law."""
    import dwindle.schedule as everything

    met: set[type] = set()

    @given(schedules)
    @settings(deadline=None, max_examples=400, phases=[Phase.generate], database=None, derandomize=True)
    def meet(s: Schedule) -> None:
        met.update(map(type, parts(s)))

    meet()
    nodes = {v for v in vars(everything).values() if isinstance(v, type) and issubclass(v, Schedule)}
    assert nodes - {Schedule, everything.Custom} <= met
