"""Formulas: what they may hold, what is refused, and any schedule written as one."""

from __future__ import annotations

import ast
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings

import dwindle as dw
from dwindle.errors import InvalidValueError, NoExactMapError, ParseError, UnknownNameError, UnresolvedTimeError
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.literal import Scope
from dwindle.foreign.writing.expression import expression
from dwindle.schedule import Constant, Formula, Repeat, Schedule, curve
from dwindle.units import Horizon, Time
from strategies import horizons, schedules

WHOLE = Time(2, "%", "exact")  # 10.36 of 518 steps, of which 25 are 259
TEXTS = [
    "min(step, 10) / 10 if step < 10 else 0.5 ** ((step - 10) // 30)",
    "0.5 * (1 + cos(pi * min(step, 100) / 100))",
    "[1, 0.5, 0.1][min(step // 7, 2)]",
    "1 if 3 < step <= 10 or not step > 2 and step != 1 else max(0.1, 1 - step / 100, 0.2)",
    "exp(-step / 50) + sqrt(step) * tanh(step / 9) / 99 + log(1 + step) / (1 + abs(step - 5)) + sin(step / 300) ** 2",
    "(1 + step % 3 + floor(step / 2.5)) ** -0.5 * 2 ** (-step / 10)",
    "+1 - -0.5 * (0 if step < 4 else 1)",
]


@pytest.mark.parametrize("text", TEXTS)
def test_every_library_gives_the_values_of_python(text: str) -> None:
    f, steps = Formula(text), np.arange(200)
    names = {name: getattr(math, name) for name in ("cos", "exp", "floor", "log", "sin", "sqrt", "tanh")}
    with_python = [eval(text, {**names, "pi": math.pi, "step": int(s)}) for s in steps]
    values = f(steps)
    np.testing.assert_allclose(values, with_python, rtol=1e-14)
    assert values.tolist() == [f(int(step)) for step in steps]
    np.testing.assert_allclose(f(torch.arange(200)).numpy(), values, rtol=1e-14)
    assert f(torch.arange(200)).dtype == torch.float64
    with jax.enable_x64(True):
        np.testing.assert_allclose(jax.jit(lambda s: f(s))(jnp.arange(200)), values, rtol=1e-13)


def test_whole_numbers_stay_whole_in_32_bits() -> None:
    late = 0
    for every in range(1, 200):
        f = Formula(f"0.5 ** (step // {every})")
        at = jnp.arange(every, 12 * every, every)
        late += int((f(at) != 0.5 ** jnp.arange(1, 12)).sum())
    assert late == 0


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("1 / (1 + step * 1000 // 1000000)", 3_000_000),
        ("1 / (1 + step * step // 1000000)", 50_000),
        ("0.5 ** (step * 100 // 100000000)", 30_000_000),
        ("max(0, 1 - step * 300 // 1000000 / 1000)", 8_000_000),
        ("1 / (1 + step // 300)", 100),
        ("1 / (1 + step // 2147483653)", 127),
        ("1 / (1 + step % 3000000000)", 100),
        ("min(step, 3000000000) / 3000000000", 100),
        ("max(step, -3000000000)", 5),
        ("1 if step < 3000000000 else 0.5", 100),
        ("[1, 0.5, 0.2][step * 1000 // 3000000000]", 4_000_000),
        ("1 / (1 + step + 1)", 2**31 - 3),
    ],
)
def test_a_formula_has_more_room_than_the_type_of_its_steps(text: str, step: int) -> None:
    f = Formula(text)
    alone = f(step)
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        if step <= np.iinfo(dtype).max:
            given = np.array([step], dtype=dtype)
            assert f(given).tolist() == f(torch.from_numpy(given)).tolist() == [alone]
            for at in (jnp.asarray(given), jnp.asarray(given, dtype=float)):
                np.testing.assert_allclose(f(at), [alone], rtol=1e-6)
                np.testing.assert_allclose(jax.jit(lambda s: f(s))(at), [alone], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ("1 if step + 1 > 17000001 else 0.5", 17_000_001),
        ("1 if step - 1000 < 17000001 else 0.5", 17_001_001),
        ("0.5 ** ((step - 1000) // 17000001)", 17_001_000),
        ("0.5 ** ((step + 1000000000) % 2)", 1_000_000_001),
    ],
)
def test_whole_steps_of_32_bits_are_added_to_exactly(text: str, step: int) -> None:
    f = Formula(text)
    assert [float(f(jnp.int32(step + k))) for k in (-1, 0, 1)] == [f(step + k) for k in (-1, 0, 1)]


@pytest.mark.parametrize(
    "given", ["20000001.0", "20000001.5", "floor(20000001.5)", "20000001", "20000000 * 1.00000005"]
)
@pytest.mark.parametrize(
    "text", [*(f"1 if step {sign} GIVEN else 0.5" for sign in ("<", "<=", "==", "!=")), "min(step, GIVEN) / 3e7",
             "max(step - 5, GIVEN) / 3e7", "(step if step < 7 else GIVEN) / 3e7", "(step + GIVEN) / 5e7"],
)  # fmt: skip
def test_whole_steps_beside_a_fraction_are_told_apart_beyond_24_bits(text: str, given: str) -> None:
    f = Formula(text.replace("GIVEN", given))
    steps = np.arange(20_000_000, 20_000_008)
    alone = [f(step) for step in steps.tolist()]
    assert f(steps).tolist() == f(torch.from_numpy(steps)).tolist() == alone
    assert [f(torch.tensor(step)).item() for step in steps.tolist()] == alone
    with jax.enable_x64(True):
        for at in (jnp.asarray(steps), jnp.asarray(steps, dtype=jnp.int32)):
            np.testing.assert_allclose(f(at), alone, rtol=1e-15)


def test_a_whole_number_beside_a_fraction_is_compared_as_the_float_that_arrays_make_of_it() -> None:
    f = Formula("1 if step * 9007199254740993 == 9007199254740992.0 else 0.5")
    assert f(1) == f(np.array([1]))[0] == f(torch.tensor([1])).item() == 1.0


@pytest.mark.parametrize("last", ["* floor(2.5)", "+ floor(2.5)", "* floor(1e30)", "% floor(1e30)"])
def test_a_bound_of_whole_numbers_may_exceed_a_float(last: str) -> None:
    f = Formula(f"min(1, {'*'.join(['step'] * 20)} {last})")
    assert f(3) == f(np.array([3]))[0] == f(torch.tensor([3])).item() == 1.0


def test_a_number_chosen_without_the_step_is_a_number_beside_steps_of_32_bits() -> None:
    assert Formula("step if 1 < 2 else max(1.5, 3000000000)")(jnp.array([1, 7])).tolist() == [1.0, 7.0]


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", ParseError, "a formula is text"),
        ("1 +", ParseError, "is not a formula: invalid syntax"),
        ("stp / 10", UnknownNameError, "did you mean 'step'"),
        ("__import__('os')", UnknownNameError, "is not a function of a formula"),
        ("(1).real", ParseError, "cannot hold Attribute"),
        ("lambda: 1", ParseError, "cannot hold Lambda"),
        ("[s for s in (1, 2)][0]", ParseError, "a list of numbers"),
        ("'a' * 5", ParseError, "is not a number"),
        ("True", ParseError, "is not a number"),
        ("step < 5", ParseError, "true or false"),
        ("1 if step else 2", ParseError, "where a condition"),
        ("min(step)", ParseError, "two values or more"),
        ("cos(1, 2)", ParseError, "takes one value"),
        ("[1, 2][step / 2]", ParseError, "must be whole"),
        ("[1, step][0]", ParseError, "plain numbers"),
        ("step @ 2", ParseError, "it has"),
        ("1 if step is 2 else 3", ParseError, "not a comparison"),
        ("-" * 99 + "1", ParseError, "nests at most"),
        ("9 ** 9 ** 9", InvalidValueError, "is inf at step 0"),
        ("1 / step", InvalidValueError, "is nan at step 0"),
        ("1" * 20_001, ParseError, "at most 20000 characters"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        Formula(text)


def test_a_negative_factor_is_refused_where_it_comes() -> None:
    f = Formula("1 - step / 100")
    assert f(100) == 0.0
    with pytest.raises(InvalidValueError, match=r"is -0\.5 at step 150; .* Hold it with max"):
        f(150)
    with pytest.raises(InvalidValueError, match="at step 101"):
        f(np.arange(200))


def test_one_spelling_one_value() -> None:
    assert Formula("(1+step)/  2") == Formula("(1 + step) / 2")
    assert hash(Formula("(1+step)/2")) == hash(Formula("(1 + step) / 2"))
    assert dw.parse('peak 0.1 | formula "0.5**(step//30)"').schedule == dw.formula("0.5 ** (step // 30)")


@pytest.mark.law
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules, horizons)
@example(Repeat(Repeat(Constant(0.01), WHOLE, decay=0.5), WHOLE, decay=0.1, cycles=3), Horizon(steps=518))
def test_any_schedule_is_a_formula(schedule: Schedule, run: Horizon) -> None:
    resolved, steps = schedule.resolve(run), min(run.steps, 500)
    want = curve(resolved, steps + 1)
    got = Formula(expression(resolved, steps))(np.arange(steps + 1))
    np.testing.assert_allclose(got, want, rtol=2e-12, atol=1e-15 * max(1.0, float(want.max())))


def test_a_formula_reads_well() -> None:
    assert expression(dw.step(30)) == "0.5 ** (step // 30)"
    assert expression(dw.cosine(100), 100) == "sin(pi * (100 - step) / 200) ** 2"
    assert expression(dw.piecewise([30, 60], [1, 0.1, 0.01])) == "1 if step < 30 else 0.1 if step < 60 else 0.01"
    many = dw.table([1 / (1 + i) for i in range(300)])
    assert Formula(expression(many))(299) == 1 / 300
    steps = dw.piecewise(list(range(1, 301)), [1 / (1 + i) for i in range(301)])
    assert Formula(expression(steps))(np.arange(301)).tolist() == [1 / (1 + i) for i in range(301)]


def test_what_has_no_formula_is_said() -> None:
    with pytest.raises(NoExactMapError, match="custom function has no source"):
        expression(dw.custom(lambda step: 1.0))
    with pytest.raises(UnresolvedTimeError, match="give the run"):
        expression(dw.cosine())


def function(text: str) -> Formula:
    tree = ast.parse(text)
    names = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}  # type: ignore[attr-defined]
    return formula_of(next(node for node in tree.body if isinstance(node, ast.FunctionDef)), Scope(names))


def test_a_function_somebody_wrote_is_a_formula() -> None:
    f = function("""

warm = 2000
last = 600 * 1000
low = 6e-5
high = 6e-4
def get_lr(it):
    # linear warm-up, cosine, floor
    if it < warm:
        return high * (it + 1) / (warm + 1)
    if it > last:
        return low
    ratio = (it - warm) / (last - warm)
    assert 0 <= ratio <= 1
    coeff = 0.5 * (1.0 + math.cos(math.pi * ratio))
    return low + coeff * (high - low)
""")
    assert f(0) == pytest.approx(6e-4 / 2001)
    assert f(2000) == pytest.approx(6e-4)
    assert f(301_000) == pytest.approx(3.3e-4)
    assert f(10**9) == 6e-5


def test_the_calls_of_every_library_are_read() -> None:
    f = function(
        "def f(count):\n"
        "    x = jnp.clip(jnp.asarray(count).astype('float32') / 10, 0.0, 1.0)\n"
        "    y = np.where(count < 5, np.minimum(x, 0.3), tf.math.maximum(x, torch.sqrt(x)))\n"
        "    y *= 2\n"
        "    return keras.ops.power(y, 2) + float(int(count / 7))\n"
    )
    want = [
        (2 * (min(t / 10, 0.3) if t < 5 else max(min(t / 10, 1), math.sqrt(min(t / 10, 1))))) ** 2 + t // 7
        for t in range(30)
    ]
    assert f(np.arange(30)) == pytest.approx(want)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def f(step):\n    for i in range(3): pass\n    return 1", "neither an assignment"),
        ("def f(step):\n    x = 1", "without a return"),
        ("def f(a, b):\n    return a", "one step"),
        ("def f(step):\n    return open('x')", "'open' is not a function"),
        ("def f(step):\n    return step + other", "'other' is not known"),
    ],
)
def test_a_function_that_is_more_is_refused(text: str, said: str) -> None:
    with pytest.raises(NoExactMapError, match=said):
        function(text)


def test_a_function_that_grows_without_bound_is_refused() -> None:
    lines = ["x0 = step + 1", *(f"x{i} = x{i - 1} * x{i - 1}" for i in range(1, 40)), "return x39"]
    with pytest.raises(NoExactMapError, match="more than 5,000 parts; give its rates as a table"):
        function("def f(step):\n" + "\n".join(f"    {line}" for line in lines))
