"""Corners of the core that the laws do not come by: what is refused, what is unresolved, and forms that are rare."""

from __future__ import annotations

import decimal
import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import dwindle as dw
from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnknownNameError, UnresolvedTimeError
from dwindle.mask import Mask, Param, Rule
from dwindle.namespace import namespace
from dwindle.plan import Group, Plan, integrated_decay
from dwindle.replan import extended
from dwindle.schedule import (
    Constant,
    Custom,
    Exponential,
    Extend,
    Formula,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    Plateau,
    PowerLaw,
    Ramp,
    Repeat,
    Schedule,
    Table,
    Tanh,
    curve,
    total,
)
from dwindle.schedule.recipes import triangular
from dwindle.text import parse_mask, to_toml
from dwindle.units import Horizon, Time, as_time, sampled, short

UNRESOLVED: list[Schedule] = [
    Ramp(steps="1ep"), Tanh(0.0, "1ep"), Exponential(0.5, "1ep"), PowerLaw(0.5, "1ep"), Piecewise(("1ep",), (1.0, 0.5)),
    Interpolate((Time(1, "ep"),), (1.0,)), Repeat(Ramp(steps=3), "1ep"), Mirror(Ramp(steps=3), "1ep"),
    Extend(Ramp(steps=3), "1ep"), Join((Ramp(), Constant()), ("1ep", None)), Constant(0.5).shift("1ep"),
]  # fmt: skip


@pytest.mark.parametrize("schedule", UNRESOLVED, ids=lambda s: type(s).__name__)
def test_a_step_of_what_has_no_steps_yet_is_refused(schedule: Schedule) -> None:
    for step in (3, np.arange(3)):
        with pytest.raises(UnresolvedTimeError, match="Horizon"):
            schedule(step)
    assert schedule.resolve(Horizon(epochs=3, steps_per_epoch=10))(3) >= 0


REFUSED: list[tuple[Any, str]] = [
    (lambda: Rule("name", "", True), "must not be empty"),
    (lambda: Plan(0.1, layer_decay=0.5).assign([Param("head", (3, 3))]), "name the blocks so"),
    (lambda: Join((Ramp(), Ramp()), (3,)), "as many lengths as pieces; got 1 for 2"),
    (lambda: Join(()), "as many lengths as pieces; got 0 for 0"),
    (lambda: Repeat(Ramp(steps=3), 3, growth=1.0005), "1 or at least 1.001"),
    (lambda: PowerLaw(0.5, None), "every must be given"),
    (lambda: Ramp(0.0, 5, shape="geometric"), "never reaches 0"),
    (lambda: Ramp(0.5, 5, shape="geometric", power=2.0), "power has no meaning"),
    (lambda: Ramp(0.5, 5, shape="exponential", ratio=1.0), "ratio must not be 1"),
    (lambda: Ramp(0.5, 5, ratio=0.25), "ratio belongs to the exponential shape"),
    (lambda: Piecewise((None,), (1.0, 0.5)), "must be times; got None"),
    (lambda: triangular("1ep", 5), "up and down must have the same unit"),
    (lambda: Custom(lambda step: 1.0)(torch.arange(3)), "one step at a time"),
    (lambda: as_time("steps", Time(1e-31, "st")), "of a step"),
    (lambda: Horizon(steps=10**19), "at most 10\\^18"),
    (lambda: Time(1e31, "tok"), "at most 1e30"),
    (lambda: as_time("steps", 10**31), "at most 1e30 steps"),
    (lambda: Time(1, "%", "down").steps(Horizon(steps=3)), "less than one step"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "words"), REFUSED)
def test_what_cannot_work_is_refused_and_says_why(call: Any, words: str) -> None:
    with pytest.raises(InvalidValueError, match=words):
        call()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~step", "not arithmetic"),
        ("-" * 300 + "step", "nests"),
        ("1e300 ** (step + 2)", "must be finite"),
        ("0 ** -1", "must be finite"),
    ],
)
def test_a_formula_that_is_none_is_refused(text: str, words: str) -> None:
    with pytest.raises(DwindleError, match=words):
        Formula(text)(0)


def test_powers_in_formulas_are_those_of_python() -> None:
    steps = np.arange(1, 50)
    for text in ("(step + 1) ** (step / 100)", "(step / 10) ** 2", "0 ** step", "floor(step) / 7", "(step / 3) ** 1",
                 "2 ** (-step)", "(step + 0.5) ** 0.5"):  # fmt: skip
        wanted = [float(eval(text, {"floor": math.floor, "step": int(step)})) for step in steps]
        np.testing.assert_allclose(Formula(text)(steps), wanted, rtol=1e-15, err_msg=text)
        np.testing.assert_allclose([Formula(text)(int(step)) for step in steps], wanted, rtol=1e-15, err_msg=text)


def test_a_rule_by_dimensions_takes_a_number() -> None:
    assert Rule("ndim", 2, True) == Rule("ndim", "2", True)  # type: ignore[arg-type]


def test_a_mask_begins_with_the_word_of_a_subject() -> None:
    with pytest.raises(UnknownNameError, match="must be one of everything, kind, name"):
        parse_mask('"head" does not')
    assert parse_mask("nothing") == Mask(())


def test_a_number_is_no_word() -> None:
    with pytest.raises(ParseError, match="a word was expected; got '3'"):
        dw.parse("peak 0.1 | warmup 5st shape 3")


def test_a_group_has_its_own_rate_by_name() -> None:
    plan = Plan(0.1, Ramp(steps=10), groups=(Group("head", "head.*", 3.0),))
    assert plan.lr(5, "head") == pytest.approx(0.15)
    assert plan.lr(5) == 0.05
    assert integrated_decay(plan, 10) == 0.0


def test_a_ramp_that_is_over_is_stretched_to_what_it_ended_at() -> None:
    plan, _ = extended(Plan(0.1, Ramp(0.5, 10)), 100, 50, 400)
    assert plan.schedule(np.array([0, 10, 50, 51, 400])).tolist() == [1.0, 0.5, 0.5, 0.5, 0.5]
    assert str(plan.schedule) == "linear to 50% over 10st for 50st, constant at 50%"


def test_a_rule_that_observes_first_takes_its_metric_before_the_step() -> None:
    metrics = [3.0, 2.0, 2.0, 2.0, 2.0]
    after, first = (Plateau(0.5, patience=0, observes_first=flag).factors(metrics) for flag in (False, True))
    assert after.tolist() == [1.0, 1.0, 1.0, 0.5, 0.25]
    assert first.tolist() == [1.0, 1.0, 0.5, 0.25, 0.125]  # the metric of index 0, before the run, is not observed


def test_the_same_piece_twice_in_a_join_is_counted_twice() -> None:
    ramp = Ramp(steps=10)
    joined = Join((ramp, Constant(0.3), ramp), (10, 20, None)).resolve(Horizon(steps=60))
    twice = Join((joined.pieces[0], joined.pieces[1], joined.pieces[0]), (10, 20, None))
    for steps in (0, 5, 10, 25, 35, 60):
        assert total(twice, steps) == pytest.approx(math.fsum(curve(twice, steps)), rel=1e-14)


@pytest.mark.parametrize(
    "schedule",
    [
        Join((Ramp(steps=3), Constant(0.2)), (Time(2.5, "st"), None)),
        Exponential(1.0, 7),
        Exponential(1.0, 7, staircase=True),
        Exponential(0.5, Time(2.5, "st"), staircase=True),
        Join((Constant(0.5), Table((0.3, 0.1), 4), Ramp(steps=9)), (2, 7, None)),
    ],
    ids=str,
)
def test_sums_with_boundaries_between_two_steps_are_sums_of_the_curve(schedule: Schedule) -> None:
    for steps in (0, 1, 2, 3, 8, 9, 40):
        assert total(schedule, steps) == pytest.approx(math.fsum(curve(schedule, steps)), rel=1e-13, abs=1e-15)


@dataclass(frozen=True)
class Odd(Constant):
    """A schedule of a user's own that has another's text."""

    def __str__(self) -> str:
        return "constant at 0.25"


def test_a_schedule_whose_text_is_anothers_is_not_written() -> None:
    with pytest.raises(InvalidValueError, match="does not read back as the same value"):
        to_toml(Plan(0.1, Odd(0.5)))
    assert dw.parse("peak 0.1 | constant at 0.25").schedule(0) == 0.25


@pytest.mark.parametrize("step", [2**53 + 1, 2**55 + 3, 10**18 + 1])
def test_torch_counts_cycles_beyond_every_step_a_float_holds(step: int) -> None:
    s = Repeat(Exponential(0.1, 1), 1, growth=2).resolve(Horizon(steps=100))
    near = [step - 1, step, step + 1]
    assert s(torch.tensor(near)).tolist() == s(np.array(near)).tolist() == [s(each) for each in near]
    assert s.stretch(3.0)(torch.tensor([1, 2, 3, 100])).tolist() == s.stretch(3.0)(np.array([1, 2, 3, 100])).tolist()


def test_triangles_of_whole_steps() -> None:
    assert [triangular(2, 4)(t) for t in (0, 1, 2, 4, 6)] == [0.0, 0.5, 1.0, 0.5, 0.0]


def test_a_time_is_the_number_that_was_written_not_the_float_nearest_to_it() -> None:
    ten, five_hundred = Horizon(steps=100, steps_per_epoch=10), Horizon(steps=500)
    for text, run, steps in (
        ("0.3ep down", ten, 3), ("2.3ep", ten, 23), ("4.6ep down", ten, 46), ("0.3ep exact", ten, 3),
        ("0.3%", five_hundred, 2), ("0.7%", five_hundred, 4), ("0.3% down", five_hundred, 1),
    ):  # fmt: skip
        assert Time.parse(text).steps(run) == steps, text
    assert Horizon(epochs=2.3, steps_per_epoch=5).steps == 12  # 11.5: a half goes up


def test_a_number_is_written_whole_whatever_the_precision_of_the_thread() -> None:
    with decimal.localcontext() as context:
        context.prec = 6
        assert short(0.123456789) == "0.123456789"
        assert short(1.23456789e-12) == "1.23456789e-12"


@pytest.mark.parametrize("given", [np.arange(9, dtype=np.uint32), torch.arange(9, dtype=torch.uint8)], ids=str)
def test_steps_without_a_sign_are_refused(given: Any) -> None:
    with pytest.raises(InvalidValueError, match=r"signed type; got .*uint.* large number. Convert them to int64"):
        dw.linear(4).shift(5)(given)


@pytest.mark.parametrize(
    "schedule",
    [dw.inverse_sqrt(5), dw.cosine_restarts(3), dw.triangular(3), dw.linear(4).shift(-2), dw.interpolate([0, 4], [1, 0]),
     dw.formula("1 / (1 + step)"), dw.linear(4).mirror(4)],
    ids=str,
)  # fmt: skip
def test_steps_of_32_bits_in_torch_are_steps(schedule: Any) -> None:
    steps = torch.arange(9, dtype=torch.int32)
    np.testing.assert_array_equal(schedule.resolve(Horizon(9))(steps).numpy(), curve(schedule.resolve(Horizon(9)), 9))


@pytest.mark.parametrize("steps", [1, 2**17, 2**17 + 1, 10**7, 2**53])
def test_what_is_sampled_of_a_run_has_both_its_ends(steps: int) -> None:
    found = sampled(steps)
    assert (found[0], found[-1], len(found)) == (0, steps - 1, min(steps, 2**17))
    assert (np.diff(found) >= 1).all()


def test_roots_in_torch_are_rounded_as_ieee_754_has_them() -> None:
    rng = np.random.default_rng(0)
    roots = rng.uniform(1.0, 2.0, 100_000)
    beside = [np.nextafter(4.0 ** np.arange(-150, 150), end) for end in (0.0, np.inf)]
    for x in (
        rng.uniform(1.0, 4.0, 100_000), np.exp(rng.uniform(-660, 700, 100_000)), np.arange(10_000.0), *beside,
        roots * (roots + np.spacing(roots)),  # their roots lie between two floats
        np.array([0.0, -0.0, np.inf, np.nan, -1.0, 5e-324, 1e-310, 1e-290, 1e307, np.finfo(float).max]),
    ):  # fmt: skip
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(namespace(torch.tensor(1)).sqrt(torch.from_numpy(x)).numpy(), np.sqrt(x))
    ramp = Ramp(steps=100_000, power=0.5)
    np.testing.assert_array_equal(ramp(torch.arange(100_000)).numpy(), curve(ramp, 100_000))


LONG = [
    lambda n: Exponential(0.5, n, staircase=True), lambda n: PowerLaw(0.5, n, staircase=True), lambda n: Table((1.0, 0.5), n),
    lambda n: Repeat(Ramp(steps=100), n), lambda n: Mirror(Ramp(steps=100), n), lambda n: Extend(Ramp(steps=100), n),
    lambda n: Join((Constant(), Ramp(steps=100)), (n, None)), lambda n: Ramp(steps=100).shift(n),
    lambda n: Ramp(steps=2 * n).shift(-n),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64], ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("steps", [200, 40_000, 3 * 10**9, 2**62, 10**20], ids=str)
@pytest.mark.parametrize("make", LONG, ids=lambda make: type(make(1)).__name__)
def test_a_time_may_be_longer_than_the_type_of_the_steps_holds(make: Any, steps: int, dtype: Any) -> None:
    schedule, last = make(steps), min(np.iinfo(dtype).max, 2**62)
    given = np.array([0, 1, 50, 99, 101, 120, last - 1, last], dtype=dtype)
    alone = [schedule(int(step)) for step in given]
    np.testing.assert_array_equal(schedule(given), alone)
    np.testing.assert_array_equal(schedule(torch.from_numpy(given)).numpy(), alone)
    short = given[given < 2**30]  # JAX has 32 bits unless told otherwise
    np.testing.assert_allclose(schedule(jnp.asarray(short)), alone[: len(short)], rtol=1e-6, atol=1e-6)
    few = given[given < 2**15]
    np.testing.assert_allclose(schedule(jnp.asarray(few, dtype=float)), alone[: len(few)], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "stretched", [Repeat(Ramp(steps=10), 20), Mirror(Ramp(steps=10), 20), Ramp(steps=10).shift(-3)]
)
def test_jax_takes_steps_with_a_fraction(stretched: Schedule) -> None:
    schedule, steps = stretched.stretch(2.0), [0, 3, 25, 50, 99]
    alone = [schedule(step) for step in steps]
    np.testing.assert_allclose(schedule(jnp.asarray(steps)), alone, atol=1e-6)
    np.testing.assert_allclose(schedule(jnp.asarray(steps, dtype=float)), alone, atol=1e-6)


@pytest.mark.parametrize(
    "schedule", [Ramp(steps=2 * 10**7), Ramp(steps=10**9), Ramp(start=0.0, end=1.0, steps=2**31 - 1)], ids=str
)
def test_a_long_ramp_comes_to_its_end_at_its_last_step_in_every_library(schedule: Ramp) -> None:
    steps = np.arange(-40, 3) + schedule.steps
    alone = [schedule(int(step)) for step in steps]
    assert schedule(steps).tolist() == schedule(torch.from_numpy(steps)).tolist() == alone
    assert alone[-4] != alone[-3] == schedule.end


def test_a_custom_function_is_asked_for_the_same_whole_step_alone_and_in_a_row() -> None:
    for plan in (dw.Plan(1.0, dw.custom(lambda step: [1.0, 0.5, 0.25, 0.125, 0.1][step]).stretch(2)),):
        assert (
            [plan.lr(step) for step in range(8)]
            == plan.lrs(8).tolist()
            == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]
        )


def test_a_growth_beyond_float64_has_an_infinite_sum() -> None:
    growing = dw.exponential(1.1, allow_growth=True)
    assert total(growing, 10**5) == integrated_decay(dw.Plan(1.0, growing, dw.decoupled(1e-9)), 10**5) == math.inf


def test_no_sum_of_a_billion_steps_is_begun_step_by_step() -> None:
    for schedule in (dw.polynomial(10**9), dw.linear(10**9).shift(-2), dw.interpolate([0, 9], [1, 0])):
        with pytest.raises(InvalidValueError, match="has no closed form here; at most 100000000 are added"):
            total(schedule, 10**9)


def test_a_triangle_is_at_most_the_run() -> None:
    with pytest.raises(InvalidValueError, match="up and down must be a run or less together; got 60% and 60%"):
        dw.triangular("60%")
