"""Corners of formulas: the exact values at every kind of step, where whole numbers end, the words of each refusal, the limits."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnknownNameError
from dwindle.namespace import NUMPY, SCALAR
from dwindle.schedule import Exponential, Formula
from dwindle.schedule.arithmetic import Compiled, _whole_or_float, constant, kind_of, wide
from dwindle.schedule.formula import FUNCTIONS
from dwindle.units import Horizon

STEPS = (0, 1, 2, 3, 4, 5, 7, 10, 2**40, 2**53)
WIDEST = 2**63 - 1

Value = Callable[[int], float]


def lookup(*values: float) -> Callable[[float], float]:
    return lambda index: values[int(min(max(index, -len(values)), len(values) - 1))]


# a formula, and its value in the arithmetic of Python: exact for whole numbers, float64 for the others
EXACT: list[tuple[str, Value]] = [
    ("step", float),
    ("0.5", lambda s: 0.5),
    ("7", lambda s: 7),
    ("0.1 + step", lambda s: 0.1 + s),
    ("step + 0.1", lambda s: s + 0.1),
    ("2.0**60 - step", lambda s: 2.0**60 - s),
    ("step - -0.1", lambda s: s + 0.1),
    ("0.1 * step", lambda s: 0.1 * s),
    ("step / 3", lambda s: s / 3),
    ("1 / (step + 4)", lambda s: 1 / (s + 4)),
    ("0.3 / 0.1 + step", lambda s: 0.3 / 0.1 + s),
    ("step % 0.75", lambda s: s % 0.75),
    ("step // 0.5", lambda s: s // 0.5),
    ("pi + step * 0", lambda s: math.pi),
    ("step % 7", lambda s: s % 7),
    ("step // 7", lambda s: s // 7),
    # truth: what is true counts as 1
    ("2 - (step < 3)", lambda s: 2 - (s < 3)),
    ("2 + -(step < 3)", lambda s: 2 - (s < 3)),
    ("2 - (step < 3) / 2", lambda s: 2 - (s < 3) / 2),
    ("(step < 3) + 0.5", lambda s: (s < 3) + 0.5),
    ("1 if step < 3 else 2", lambda s: 1 if s < 3 else 2),
    ("1 if step <= 3 else 2", lambda s: 1 if s <= 3 else 2),
    ("1 if step > 3 else 2", lambda s: 1 if s > 3 else 2),
    ("1 if step >= 3 else 2", lambda s: 1 if s >= 3 else 2),
    ("1 if step == 3 else 2", lambda s: 1 if s == 3 else 2),
    ("1 if step != 3 else 2", lambda s: 1 if s != 3 else 2),
    ("1 if 1 < step < 5 < 6 else 2", lambda s: 1 if 1 < s < 5 else 2),
    ("1 if 1 < step != 4 else 2", lambda s: 1 if 1 < s != 4 else 2),
    ("1 if not step < 3 else 2", lambda s: 1 if s >= 3 else 2),
    ("1 if step < 2 or step == 4 or step > 7 else 2", lambda s: 1 if s < 2 or s == 4 or s > 7 else 2),
    ("1 if step > 1 and step != 4 and step < 8 else 2", lambda s: 1 if s > 1 and s != 4 and s < 8 else 2),
    ("1 if step == 1 or step == 3 and step < 9 else 2", lambda s: 1 if s in (1, 3) else 2),
    # a fraction in one side only, which no library may cut to 32 bits
    ("0.1 if step < 3 else 0.7", lambda s: 0.1 if s < 3 else 0.7),
    ("0.1 if step < 3 else step", lambda s: 0.1 if s < 3 else s),
    ("step if step < 3 else 0.1", lambda s: s if s < 3 else 0.1),
    ("max(step, 3.3)", lambda s: max(s, 3.3)),
    ("min(3.3, step)", lambda s: min(s, 3.3)),
    ("max(0.1, step, 3.3)", lambda s: max(s, 3.3)),
    ("min(step + 2, 5, 3.3)", lambda s: min(s + 2, 3.3)),
    ("max(3, step, 1)", lambda s: max(s, 3)),
    ("min(9, step, 4)", lambda s: min(s, 4)),
    ("max(1, 2.5) * step + min(4, 3)", lambda s: 2.5 * s + 3),
    ("abs(3 - step)", lambda s: abs(3 - s)),
    ("abs(-0.1) + step", lambda s: 0.1 + s),
    ("+step", float),
    ("--step", float),
    # functions of plain numbers beside an array
    ("sqrt(2) + step", lambda s: math.sqrt(2) + s),
    ("floor(2.5) + step * 0", lambda s: 2),
    ("floor(step / 2.5)", lambda s: s / 2.5 // 1),
    ("floor(step < 3) + 1", lambda s: (s < 3) + 1),
    ("sqrt(step)", math.sqrt),
    # powers
    ("step ** 1", float),
    ("step ** 2", lambda s: float(s) * s),
    ("2 ** 3 * step", lambda s: 8 * s),
    ("4 ** (min(step, 9) / 2)", lambda s: 2.0 ** min(s, 9)),
    ("4 ** -(min(step, 9) / 2)", lambda s: 0.5 ** min(s, 9)),
    ("(step + 4) ** -1", lambda s: 1 / (s + 4)),
    ("0 ** step", lambda s: float(s == 0)),
    ("(1e300 * 1e300) ** (0 * step)", lambda s: 1),
    ("0 ** exp(exp(step))", lambda s: 0),
    ("2 ** (step < 3)", lambda s: 2 if s < 3 else 1),
    # looked up: a negative index counts from the end, as in Python; beyond the list its ends hold
    ("[0.1, 0.2, 0.7][step - 2]", lambda s: lookup(0.1, 0.2, 0.7)(s - 2)),
    ("(5, 2 * 3, -7 + 9, pi)[step // 2]", lambda s: lookup(5, 6, 2, math.pi)(s // 2)),
    ("[0.3][step]", lambda s: 0.3),
    ("[1, 2, 3][2 - step]", lambda s: lookup(1, 2, 3)(2 - s)),
    ("[1, 2, 3][abs(step - 2)]", lambda s: lookup(1, 2, 3)(abs(s - 2))),
    ("[1, 2, 3][floor(step / 2)]", lambda s: lookup(1, 2, 3)(s // 2)),
    ("[1, 2, 3][min(step, 1)]", lambda s: lookup(1, 2)(s)),
    ("[1, 2, 3][1 if step < 3 else 2]", lambda s: 2 if s < 3 else 3),
    ("[1, 2, 3][step * 2048 // 2048]", lambda s: lookup(1, 2, 3)(s)),
    (f"step * 0 + [1, 2][step + {WIDEST - 2**53}]", lambda s: 2),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), EXACT, ids=[text for text, _ in EXACT])
def test_a_step_an_array_and_a_tensor_give_the_same_float64(text: str, value: Value) -> None:
    f, wanted = Formula(text), [float(value(step)) for step in STEPS]
    assert [f(step) for step in STEPS] == wanted
    assert [type(f(step)) for step in STEPS] == [float] * len(STEPS)
    values, tensor = f(np.array(STEPS)), f(torch.tensor(STEPS))
    assert (values.tolist(), values.dtype) == (wanted, np.float64)
    assert tensor.dtype == torch.float64
    own = "** -1" in text or text == "sqrt(step)"  # torch's own, which is allowed an ulp
    np.testing.assert_allclose(tensor.numpy(), wanted, rtol=1e-15 if own else 0.0)


# beyond 2^53, where a float64 would skip numbers; the last digits tell
WHOLE: list[tuple[str, Value]] = [
    (f"{2**53 + 1} % 10", lambda s: (2**53 + 1) % 10),
    (f"(step + {2**53 + 1}) % 10", lambda s: (s + 2**53 + 1) % 10),
    (f"({2**60 + 1} - step) % 10", lambda s: (2**60 + 1 - s) % 10),
    ("(step * 1000 + 7) % 1000", lambda s: 7),
    ("(step * 1023 + 1) % 1000", lambda s: (s * 1023 + 1) % 1000),
    (f"-(-{2**53 + 1} - step) % 10", lambda s: (2**53 + 1 + s) % 10),
    (f"abs(-{2**53 + 1} - step) % 10", lambda s: (2**53 + 1 + s) % 10),
    (f"floor(step + {2**53 + 1}) % 10", lambda s: (s + 2**53 + 1) % 10),
    (f"max(step, {2**53 + 1}) % 10", lambda s: (2**53 + 1) % 10),
    (f"min({2**53 + 3}, step + {2**53 + 1}) % 10", lambda s: min(2**53 + 3, s + 2**53 + 1) % 10),
    (f"({2**53 + 1} if step < 3 else {2**53 + 3}) % 10", lambda s: (2**53 + (1 if s < 3 else 3)) % 10),
    (f"1 if step + {2**53} == {2**53 + 1} else 2", lambda s: 1 if s == 1 else 2),
    # the last 64-bit integer, alone and as what an operation may come to
    (f"{WIDEST} % (step + 10)", lambda s: WIDEST % (s + 10)),
    (f"({WIDEST - 1} + 1) % 10", lambda s: WIDEST % 10),
    (f"(1 + {WIDEST - 1}) % 10", lambda s: WIDEST % 10),
    (f"({WIDEST} - 0) % 10", lambda s: WIDEST % 10),
    (f"({WIDEST // 7} * 7) % 10", lambda s: WIDEST % 10),
    (f"{WIDEST - 1} // (step + 10) % 10", lambda s: (WIDEST - 1) // (s + 10) % 10),
    (f"{WIDEST} % {WIDEST} + 1", lambda s: 1),
    # one further: worked out as floats, in which 2^63 - 1 is 2^63, and never around the end of the integers
    (f"({WIDEST} + 1) % 10", lambda s: 2.0**63 % 10),
    (f"({WIDEST} + 2) % 10", lambda s: 2.0**63 % 10),
    ("step * 1024 % 1000", lambda s: s * 1024.0 % 1000.0),
    ("(step * 1024 + 1) % 1000", lambda s: (s * 1024.0 + 1.0) % 1000.0),
    (f"1 if {WIDEST} + step > 0 else 2", lambda s: 1),
    (f"1 if -{WIDEST} - step < 0 else 2", lambda s: 1),
    (f"1 if step - -{WIDEST} > 0 else 2", lambda s: 1),
    (f"1 if abs({WIDEST}) + step > 0 else 2", lambda s: 1),
    (f"1 if abs(-{WIDEST}) + step * 2 > 0 else 2", lambda s: 1),
    (f"1 if floor({WIDEST}) + step > 0 else 2", lambda s: 1),
    (f"1 if max({WIDEST}, step) + step > 0 else 2", lambda s: 1),
    (f"1 if max(step, {WIDEST}) + step > 0 else 2", lambda s: 1),
    (f"1 if max(step, {WIDEST}, 3) + step > 0 else 2", lambda s: 1),
    (f"1 if ({WIDEST} if step >= 0 else 1) + step > 0 else 2", lambda s: 1),
    (f"1 if (1 if step < 0 else {WIDEST}) + step > 0 else 2", lambda s: 1),
    (f"1 if (step + {WIDEST - 2**53}) + step >= 0 else 2", lambda s: 1),
    ("1 if (step * 1023) * step >= 0 else 2", lambda s: 1),
    ("1 if step * step * step >= 0 else 2", lambda s: 1),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), WHOLE, ids=[text for text, _ in WHOLE])
def test_whole_numbers_are_exact_up_to_64_bits_and_floats_beyond(text: str, value: Value) -> None:
    f, wanted = Formula(text), [float(value(step)) for step in STEPS]
    assert [f(step) for step in STEPS] == wanted
    assert f(np.array(STEPS)).tolist() == wanted
    assert f(torch.tensor(STEPS)).tolist() == wanted


NESTED = [
    "2 + {} * 1", "{} - -{} + 1", "1 + {} / ({} + 1)", "1 / ({} + 1) + ({} + 1) / 7", "({} + 1) ** 2", "({} + 1) ** {}",
    "2 ** {}", "(-2) ** (2 * ({} // 1))", "abs({} - 9)",
    "floor({}) + sqrt({} + 1)", "max({}, 1, {})", "min(3, {}, 9 - {})", "1 if {} < 2 else {}",
    "{} if {} >= 2 else 3", "1 if not {} < 2 else 5", "1 if {} < 2 or {} > 3 and {} < 4 else 5", "[1, 2, 3][floor({})]",
    "2 - -({} < 2)", "-({} < 2) + 2", "{} // 0.3 + {} % 0.3", "20 - -(-{})", "step * 2048 * ({} // 1)", "({} // 1) * 2048 * step",
    "[1, 2, 3][abs(floor({}) - 2)]", "[1, 2, 3][-(3 - floor({}))]",
]  # fmt: skip


@pytest.mark.parametrize("part", ["(step / 3)", "(0.1 if step < 3 else 0.7 if step < 6 else 2)"])
@pytest.mark.parametrize("whole", NESTED)
def test_a_part_may_stand_in_every_other(whole: str, part: str) -> None:
    text, steps = whole.replace("{}", part), range(12)
    names: dict[str, Any] = {"abs": abs, "floor": math.floor, "sqrt": math.sqrt, "max": max, "min": min}
    # a list ends in its last number at every index beyond it
    python = text.replace("[1, 2, 3][", "(lambda i: [1, 2, 3][min(max(i, -3), 2)])(").removesuffix("]") + ")" * (
        "[1" in text
    )
    wanted, f = [float(eval(python, {**names, "step": step})) for step in steps], Formula(text)
    np.testing.assert_allclose([f(step) for step in steps], wanted, rtol=1e-14)
    np.testing.assert_allclose(f(np.arange(12)), wanted, rtol=1e-14)
    np.testing.assert_allclose(f(torch.arange(12)).numpy(), wanted, rtol=1e-14)


def test_an_operation_says_how_large_it_may_become() -> None:
    add = partial(_whole_or_float, operator.add, operator.add)
    step = Compiled(lambda step, xp: step, "whole", lambda last: 1000)
    last = add(constant(WIDEST - 1), constant(1))
    beyond = add(constant(WIDEST - 1), constant(2))
    apart = add(step, constant(0.5))
    scalar = SCALAR
    assert (last.kind, last.largest(0), last.value(0, scalar)) == ("whole", WIDEST, WIDEST)
    assert (beyond.kind, beyond.largest(0), beyond.value(0, scalar)) == ("whole", WIDEST + 1, 2.0**63)
    assert isinstance(beyond.value(0, scalar), float)
    assert (apart.kind, apart.value(3, scalar)) == ("real", 3.5)
    assert (add(constant(0.5), step).kind, add(constant(0.5), step).value(3, scalar)) == ("real", 3.5)
    last_of, small = (
        Compiled(lambda step, xp: step if xp is NUMPY else None, "whole", lambda last, most=most: most)
        for most in (WIDEST, 5)
    )
    for a, b, wanted in ((last_of, last_of, 6.0), (small, small, 6), (add(small, constant(0.5)), small, 6.5)):
        for both in (add(a, b), add(b, a)):
            found = both.value(np.array([3]), NUMPY)
            assert (found.tolist(), found.dtype) == ([wanted], np.int64 if wanted == 6 and a is small else np.float64)
    assert add(step, step).value(3, scalar) == 6
    assert add(beyond, step).value(3, scalar) == add(step, beyond).value(3, scalar) == 2.0**63
    assert (constant(7).largest(0), constant(WIDEST).kind, constant(WIDEST + 1).kind) == (7, "whole", "real")
    assert (kind_of(step, step), kind_of(step, apart), kind_of(apart)) == ("whole", "real", "real")
    assert wide(7, scalar) == 7
    assert isinstance(wide(7, scalar), int)


@pytest.mark.parametrize("index", ["pi", "-(step < 3)", "step < 3", "step / 2", "step + 0.5", "sqrt(step)", "cos(step) // 1",
                                   "2 ** step", "step ** 2", "[1, 2][step]", "max(step, 0.5)", "1 if step < 3 else 0.5",
                                   str(2**63), "1e3"])  # fmt: skip
def test_what_is_not_whole_is_no_index(index: str) -> None:
    with pytest.raises(ParseError, match=r"^the index of .* must be whole; use // or floor\.$"):
        Formula(f"[1, 2][{index}]")


def test_the_last_64_bit_integer_is_an_index() -> None:
    assert Formula(f"[1, 2][{WIDEST}]")(0) == Formula(f"[1, 2][-{WIDEST}]")(0) + 1 == 2


@pytest.mark.parametrize(
    ("text", "rate"), [("0.9 ** step", 0.9), ("0.9 ** +step", 0.9), ("(pi / 4) ** step", math.pi / 4)]
)
def test_a_constant_to_a_power_has_the_bits_of_an_exponential(text: str, rate: float) -> None:
    steps, f, same = np.arange(3000), Formula(text), Exponential(rate, 1)
    assert f(steps).tolist() == same(steps).tolist()
    assert f(torch.arange(3000)).tolist() == same(steps).tolist()
    assert [f(step) for step in range(0, 3000, 7)] == same(steps[::7]).tolist()
    growth = Exponential(1.1, 1, allow_growth=True)
    assert Formula("1.1 ** step")(steps).tolist() == growth(steps).tolist()
    np.testing.assert_allclose(Formula("1.1 ** -step")(steps), 1.1 ** -steps.astype(float), rtol=2e-13)


@pytest.mark.parametrize("exponent", [0.5, 1, 1.5, 2, 2.5, 3, 4, -2, -3])
def test_a_power_of_the_step_is_that_of_numpy(exponent: float) -> None:
    f, steps = Formula(f"(step + 1.5) ** {exponent}"), np.arange(50)
    wanted = np.power(steps + 1.5, exponent)
    np.testing.assert_allclose(f(steps), wanted, rtol=1e-15)
    np.testing.assert_allclose([f(int(step)) for step in steps], wanted, rtol=1e-15)
    np.testing.assert_allclose(f(torch.arange(50)).numpy(), wanted, rtol=1e-15)


@pytest.mark.parametrize("text", ["(step / 9) ** (step / 7)", "(-1) ** (2 * step)", "0 ** (step + 1)"])
def test_a_power_of_two_things_that_change(text: str) -> None:
    f, steps = Formula(text), np.arange(1, 40)
    wanted = [float(eval(text, {"step": float(step)})) for step in steps]
    np.testing.assert_allclose(f(steps), wanted, rtol=1e-15)
    np.testing.assert_allclose([f(int(step)) for step in steps], wanted, rtol=1e-15)
    np.testing.assert_allclose(f(torch.arange(1, 40)).numpy(), wanted, rtol=1e-14)


def test_a_power_is_finite_up_to_the_last_exponent() -> None:
    f = Formula("2 ** step")
    assert f(1023) == 2.0**1023
    assert f(np.array([0, 1023])).tolist() == f(torch.tensor([0, 1023])).tolist() == [1.0, 2.0**1023]
    assert Formula("1.5 ** step")(np.array([2, 1700])).tolist() == [2.25, Formula("1.5 ** step")(1700)]
    bad: Any
    for bad in (1024, np.array([3, 1024])):
        with pytest.raises(InvalidValueError, match=r"'2 \*\* step' is inf at step 1024"):
            f(bad)
    assert f(torch.tensor([1024])).tolist() == [math.inf]
    small = Formula("0.5 ** -step")
    assert (small(1000), small(np.array([1000])).tolist()) == (2.0**1000, [2.0**1000])
    for bad in (2000, np.array([3, 2000])):
        with pytest.raises(InvalidValueError, match="is inf at step 2000"):
            small(bad)
    assert Formula("1 ** step")(np.array([0, 5])).tolist() == [1.0, 1.0]


# --- steps and what is refused at one


def test_a_step_before_the_first_counts_as_it_and_one_after_the_last_too() -> None:
    f = Formula("step")
    ends = [-(10**6), -1, 0, 2**53, 2**53 + 2, 2**60]
    wanted = [0.0, 0.0, 0.0, 2.0**53, 2.0**53, 2.0**53]
    assert [f(step) for step in ends] == f(np.array(ends)).tolist() == f(torch.tensor(ends)).tolist() == wanted
    assert (f(2.5), f(np.array([2.5])).tolist()) == (2.5, [2.5])


@pytest.mark.parametrize("text", ["1 / 0 if step > 5 else step + 0.5", "step + 0.5 if step < 6 else 1 // 0",
                                  "step + 0.5 if step < 6 else 1 % 0"])  # fmt: skip
def test_a_branch_that_no_step_takes_may_have_no_value(text: str) -> None:
    f = Formula(text)
    assert f(np.arange(4).reshape(2, 2)).tolist() == [[0.5, 1.5], [2.5, 3.5]]
    assert np.shape(f(np.int64(3))) == ()
    assert f(np.int64(3)) == f(3) == 3.5
    with pytest.raises(InvalidValueError, match="is nan at step 6"):
        f(np.arange(8))


def test_a_value_that_is_no_factor_is_told_with_its_first_step() -> None:
    f = Formula("1-step/100")
    remedy = "a factor must be finite and not negative. Hold it with max(0, ...) or min(step, last)."
    for step, at, value in ((150, 150, "-0.5"), (np.int64(150), 150, "-0.5"), (np.arange(200).reshape(2, 100), 101, "-0.01"),
                            (np.array([3, 140, 120]), 140, "-0.4")):  # fmt: skip
        with pytest.raises(InvalidValueError) as caught:
            f(step)
        assert str(caught.value) == f"the formula '1 - step / 100' is {value} at step {at}; {remedy}"
    assert (f(100), f(np.array([100])).tolist()) == (0.0, [0.0])
    assert f(torch.tensor([150])).tolist() == [-0.5]
    hole = Formula("(step - 5) / (step - 5)")
    where: Any
    for where in (5, np.arange(9)):
        with pytest.raises(InvalidValueError, match="is nan at step 5; a factor"):
            hole(where)


@pytest.mark.parametrize(
    ("bad", "good"),
    [("1 / step", "1 / max(1, step)"), ("1 / min(step, 500)", "1 / max(1, min(step, 500))"), ("log(step)", "log(max(1, step))"),
     ("sqrt(step - 5)", "sqrt(max(1, step - 5))"), ("exp(10 ** (step + 3))", "exp(min(step, 700))")],
)  # fmt: skip
def test_the_remedy_for_a_value_that_is_no_number_works(bad: str, good: str) -> None:
    with pytest.raises(
        InvalidValueError, match=r"Put max\(1, \.\.\.\) where it divides .* hold what grows with min\(step, last\)"
    ):
        Formula(bad)
    assert np.isfinite(Formula(good)(np.arange(900))).all()


@pytest.mark.parametrize(
    "text", ["100 // step / 100", "100 % step / 100", "[1, 2, 3][7 // step]", "step // (step % 7) / 100"]
)
def test_a_branch_that_no_step_takes_may_divide_whole_tensors_by_zero(text: str) -> None:
    f, steps = Formula(f"{text} if step % 7 > 0 and step > 5 else 0.5"), np.arange(40)
    assert f(torch.from_numpy(steps)).tolist() == f(steps).tolist() == [f(step) for step in steps.tolist()]


@pytest.mark.parametrize("text", ["step // 0", "step % 0", "step / 0", "5 // 0", "5 % 0", "5 / 0", "1e300 * 1e300",
                                  "[1, 2][5 // 0]", "10 ** 400", "sqrt(-1)", "1 + (3 // 0 > 2)"])  # fmt: skip
def test_a_branch_that_no_step_takes_may_have_no_value_at_all(text: str) -> None:
    f, steps = Formula(f"1 if step < 7 else {text}"), np.arange(7)
    assert (
        f(steps).tolist()
        == f(torch.from_numpy(steps)).tolist()
        == np.asarray(f(jnp.asarray(steps))).tolist()
        == [1.0] * 7
    )
    with pytest.raises(InvalidValueError, match=r"is (nan|inf) at step 7"):
        f(7)
    with pytest.raises(InvalidValueError, match=r"is (nan|inf) at step 7"):
        f(np.arange(9))


def test_no_warning_stands_beside_a_value() -> None:
    assert Formula("max(0.5, log(step))")(0) == 0.5
    assert Formula("max(0.5, log(step))")(np.arange(2)).tolist() == [0.5, 0.5]
    assert Formula("min(3, exp(step))")(10**6) == 3
    with pytest.raises(InvalidValueError, match="is inf at step 0"):
        Formula("0 ** -1")
    with pytest.raises(InvalidValueError, match="is -inf at step 0"):
        Formula("log(step)")


def test_a_formula_is_looked_at_when_it_is_built_at_step_0() -> None:
    with pytest.raises(InvalidValueError, match=r"^the formula 'step - 1' is -1 at step 0; "):
        Formula("step-1")
    assert Formula("1 - step")(0) == 1.0


# --- words


def test_a_formula_has_one_spelling_and_resolves_to_itself() -> None:
    f = Formula("  (step+1)/2 ")
    assert (f.text, str(f), repr(f)) == ("(step + 1) / 2", 'formula "(step + 1) / 2"', "Formula(text='(step + 1) / 2')")
    assert f.resolve(Horizon(steps=3), 2.0) is f


REFUSED: list[tuple[Any, type[DwindleError], str]] = [
    ("", ParseError, "a formula is text such as '0.5 ** (step // 30)'; got ''."),
    (" \n", ParseError, "a formula is text such as '0.5 ** (step // 30)'; got ' \\n'."),
    (3, ParseError, "a formula is text such as '0.5 ** (step // 30)'; got 3."),
    (None, ParseError, "a formula is text such as '0.5 ** (step // 30)'; got None."),
    ("1" * 20_001, ParseError, "a formula has at most 20000 characters; got 20001. For many values use a table."),
    ("1 +", ParseError, "'1 +' is not a formula: invalid syntax."),
    ("x = 1", ParseError, "'x = 1' is not a formula: invalid syntax."),
    ("step<5", ParseError, "'step < 5' is true or false; a factor is a number. Write 'a if condition else b'."),
    ("not step<5", ParseError, "'not step < 5' is true or false; a factor is a number. Write 'a if condition else b'."),
    ("1<2 or 2<1", ParseError, "'1 < 2 or 2 < 1' is true or false; a factor is a number. Write 'a if condition else b'."),
    ("lambda:1", ParseError, "a formula cannot hold Lambda 'lambda: 1'; it has numbers, step, pi, + - * / // % **, and a if b "
                             "else c."),
    ("'a'", ParseError, "\"'a'\" is not a number that a formula can hold."),
    ("True", ParseError, "'True' is not a number that a formula can hold."),
    ("None", ParseError, "'None' is not a number that a formula can hold."),
    ("1j", ParseError, "'1j' is not a number that a formula can hold."),
    ("1.1e300", ParseError, "'1.1e+300' is not a number that a formula can hold."),
    ("step / 1e999", ParseError, "'1e309' is not a number that a formula can hold."),
    ("stp", UnknownNameError, "'stp' is not known in a formula; did you mean 'step'?"),
    ("PI", UnknownNameError, "'PI' is not known in a formula; it must be one of abs, cos, exp, floor, log, max, min, pi, sin, "
                             "sqrt, step, tanh."),
    ("sqr", UnknownNameError, "'sqr' is not known in a formula; did you mean 'sqrt'?"),
    ("~step", ParseError, "'~step' is not arithmetic of a formula."),
    ("step@2", ParseError, "'step @ 2' is not arithmetic of a formula; it has + - * / // % **."),
    ("1 if step is 2 else 3", ParseError, "'step is 2' is not a comparison of numbers."),
    ("1 if 0 < step in (2, 3)[0] else 3", ParseError, "'0 < step in (2, 3)[0]' is not a comparison of numbers."),
    ("1 if step else 2", ParseError, "'step' is a number where a condition such as 'step < 10' is meant."),
    ("1 if step<1 and 2 else 2", ParseError, "'2' is a number where a condition such as 'step < 10' is meant."),
    ("math.cos(step)", UnknownNameError,
     "'math.cos' is not a function of a formula; it must be one of abs, cos, exp, floor, log, "
                                        "max, min, sin, sqrt, tanh."),
    ("tan(step)", UnknownNameError, "'tan' is not a function of a formula; did you mean 'tanh'?"),
    ("q(step)", UnknownNameError, f"'q' is not a function of a formula; it must be one of {', '.join(FUNCTIONS)}."),
    ("min(step)", ParseError, "'min(step)' needs two values or more."),
    ("max()", ParseError, "'max()' needs two values or more."),
    ("max(1, 2, key=step)", ParseError, "'max(1, 2, key=step)' needs two values or more."),
    ("cos()", ParseError, "'cos()' takes one value."),
    ("cos(1, 2)", ParseError, "'cos(1, 2)' takes one value."),
    ("abs(1, x=2)", ParseError, "'abs(1, x=2)' takes one value."),
    ("step[0]", ParseError, "'step[0]' must look a number up in a list of numbers."),
    ("[][0]", ParseError, "'[][0]' must look a number up in a list of numbers."),
    ("{1: 2}[1]", ParseError, "'{1: 2}[1]' must look a number up in a list of numbers."),
    ("[1,step][0]", ParseError, "the list of '[1, step][0]' must hold plain numbers."),
    ("[1,2][step/2]", ParseError, "the index of '[1, 2][step / 2]' must be whole; use // or floor."),
    ("-" * 61 + "step", ParseError, "a formula nests at most 60 deep; for many values use a table."),
    ("lambda: " * 500 + "1", ParseError, "a formula nests at most 60 deep; for many values use a table."),
    ("-" * 90 + "step", ParseError, "a formula nests at most 60 deep; for many values use a table."),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error", "said"), REFUSED, ids=[str(text)[:40] for text, _, _ in REFUSED])
def test_what_is_no_formula_is_refused_in_these_words(text: Any, error: type[DwindleError], said: str) -> None:
    with pytest.raises(error) as caught:
        Formula(text)
    assert str(caught.value) == said


@pytest.mark.parametrize("text", ["1\0", "(" * 5000 + "1", "-" * 19_000 + "1"])
def test_what_python_cannot_parse_is_refused_with_its_reason(text: str) -> None:
    with pytest.raises(ParseError, match=r"is not a formula: .*\.$"):
        Formula(text)


@pytest.mark.parametrize(
    "text",
    [
        "1" + " " * 19_999,
        "-" * 60 + "step",
        "(" * 58 + "step" + " + 1)" * 58 + " + 1 + 1",
        "abs(" * 60 + "step" + ")" * 60,
        "1 / 1e300 + step",
        f"{10**300} / {10**300} + step",
    ],
    ids=lambda text: text[:20],
)
def test_what_is_just_within_the_limits_is_a_formula(text: str) -> None:
    assert math.isfinite(Formula(text)(0))


# --- parts without the step, and branches that no step takes -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[1, 2][0]", [1.0, 1.0, 1.0]),
        ("1 if 1 < 2 else 3", [1.0, 1.0, 1.0]),
        ("1 if not 1 < 2 else step", [0.0, 1.0, 2.0]),
        ("abs(step < 2) + 1", [2.0, 2.0, 1.0]),
        ("2 if 1 < 2 and step < 1 else 3", [2.0, 3.0, 3.0]),
        ("1 ** (1e300 * 1e300) if step > 5 else 1", [1.0, 1.0, 1.0]),
        ("[1, 2][floor(1e300 * 1e300 - 1e300 * 1e300)] if step > 5 else 1", [1.0, 1.0, 1.0]),
    ],
)
def test_what_has_no_step_in_it_is_worked_out_once_for_every_library(text: str, values: list[float]) -> None:
    formula = Formula(text)
    assert [formula(step) for step in range(3)] == values
    np.testing.assert_array_equal(formula(np.arange(3)), values)
    if "1e300" not in text:
        torch_steps = torch.arange(3)
        assert formula(torch_steps).tolist() == values
        assert formula(torch_steps).dtype == torch.float64


def test_a_quotient_beyond_two_to_the_53_is_the_same_alone_and_in_an_array() -> None:
    formula, step = Formula("1 / (step + 3)"), 2**53
    assert formula(step) == formula(np.array([step]))[0] == formula(torch.tensor([step]))[0] == 1.0 / float(step + 3)


def test_a_formula_too_deep_for_python_says_so() -> None:
    with pytest.raises(ParseError, match=r"is not a formula: .+\.$"):
        Formula("-" * 19_000 + "1")


@pytest.mark.parametrize(
    "text",
    [
        "1 / (1 + abs(5 // (step - 7)))",
        "1 + abs(5 % (step - 7))",
        "1 / (1 + 1 / (step - 7) ** 2)",
        "min(1, 1 / (step - 7) ** 2)",
        "1 if step < 7 else min(1, step / 0)",
        "1 if step < 7 else min(1, step / (1 - 1.0))",
        "1 if step < 7 else min(1, step // 0)",
        "1 if step < 7 else 1 + step % 0",
    ],
)
def test_an_array_has_no_value_where_a_step_alone_has_none(text: str) -> None:
    """NumPy makes 0 of 5 // 0 and infinity of 1 / 0, of which the rest of a formula may make a sound factor."""
    f = Formula(text)
    for asked in (7, np.arange(20), np.arange(10**5)):
        with pytest.raises(InvalidValueError, match="is nan at step 7"):
            f(asked)
    np.testing.assert_array_equal(f(np.arange(7)), [f(step) for step in range(7)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5 if step == 5 or 1 / (step - 5) > 0.1 else 1", lambda s: 0.5 if s == 5 or 1 / (s - 5) > 0.1 else 1.0),
        ("0.5 if step != 5 and 1 / (step - 5) > 0.1 else 1", lambda s: 0.5 if s != 5 and 1 / (s - 5) > 0.1 else 1.0),
        ("1 / step if step > 0 else 1", lambda s: 1 / s if s else 1.0),
    ],
)
def test_what_python_would_not_work_out_needs_no_value(text: str, value: Value) -> None:
    f, steps = Formula(text), np.arange(1000)
    wanted = [value(step) for step in range(1000)]
    assert [f(step) for step in range(1000)] == wanted
    assert f(steps).tolist() == f(steps.reshape(10, 100)).ravel().tolist() == wanted
