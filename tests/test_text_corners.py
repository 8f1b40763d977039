"""Corners of times and texts: the edges of every limit, the words and the place of each refusal, and the files to the byte."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import dwindle as dw
from dwindle.decay import L2, Decoupled
from dwindle.errors import DataError, DwindleError, InvalidValueError, ParseError, UnknownNameError, UnresolvedTimeError
from dwindle.mask import Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Extend,
    Interpolate,
    Join,
    PowerLaw,
    Product,
    Ramp,
    Scaled,
    Schedule,
    Shift,
    Sum,
    Tanh,
)
from dwindle.text import (
    from_json,
    from_line,
    from_toml,
    load,
    parse,
    parse_decay,
    parse_mask,
    parse_schedule,
    save,
    to_json,
    to_toml,
)
from dwindle.text.files import plan_of, tables_of_toml
from dwindle.units import (
    Horizon,
    Time,
    as_horizon,
    as_time,
    exactly,
    in_steps,
    number_of_steps,
    percent,
    short,
    time_text,
    words,
)

Refusal = tuple[Callable[[], Any], type[DwindleError], str]

# --- times

LENGTH = "a Horizon needs its length; give steps=N, or epochs=E with steps_per_epoch (or examples and batch_size)."
EPOCHS = "epochs alone do not say how many steps; give steps_per_epoch, or examples and batch_size."

TIMES: list[Refusal] = [
    (lambda: Horizon(), InvalidValueError, LENGTH),
    (lambda: Horizon(steps_per_epoch=5), InvalidValueError, LENGTH),
    (lambda: Horizon(steps=-1), InvalidValueError, "steps must be positive; got -1."),
    (lambda: Horizon(steps="5"), InvalidValueError, "steps must be a whole number; got '5'."),  # type: ignore[arg-type]
    (lambda: Horizon(steps=5, steps_per_epoch=0), InvalidValueError, "steps_per_epoch must be positive; got 0."),
    (lambda: Horizon(steps=5, batch_size=0), InvalidValueError, "batch_size must be positive; got 0."),
    (lambda: Horizon(steps=5, examples=0), InvalidValueError, "examples must be positive; got 0."),
    (lambda: Horizon(steps=5, tokens_per_step=0), InvalidValueError, "tokens_per_step must be positive; got 0."),
    (lambda: Horizon(epochs=0, steps_per_epoch=5), InvalidValueError, "epochs must be positive; got 0."),
    (lambda: Horizon(epochs="2", steps_per_epoch=5), InvalidValueError, "epochs must be a real number; got '2'."),  # type: ignore[arg-type]
    (lambda: Horizon(epochs=2), InvalidValueError, EPOCHS),
    (lambda: Horizon(epochs=2, examples=5), InvalidValueError, EPOCHS),
    (lambda: Horizon(epochs=2, batch_size=5), InvalidValueError, EPOCHS),
    (lambda: Horizon(21, 2, 10), InvalidValueError, "steps=21 contradicts epochs=2 x steps_per_epoch=10 = 20; give one of them."),
    (lambda: Horizon(1, 2, 10), InvalidValueError, "steps=1 contradicts epochs=2 x steps_per_epoch=10 = 20; give one of them."),
    (lambda: Horizon(10**18 + 1), InvalidValueError, "a run has at most 10^18 steps; got about 10^18. Give fewer."),
    (lambda: Horizon(10**19), InvalidValueError, "a run has at most 10^18 steps; got about 10^19. Give fewer."),
    (lambda: as_horizon("5"), InvalidValueError, "horizon must be a whole number; got '5'. Give steps, or a Horizon."),
    (lambda: as_horizon(0), InvalidValueError, "horizon must be positive; got 0. Give steps, or a Horizon."),
    (lambda: Time(5, "epch"), UnknownNameError, "unit 'epch' is not known; did you mean 'epoch'?"),
    (lambda: Time(5, "q"), UnknownNameError, "unit 'q' is not known; it must be one of %, ep, epoch, epochs, ex, example, "
                                             "examples, st, step, steps, tok, token, tokens."),
    (lambda: Time("5", "ep"), InvalidValueError, "time must be a real number; got '5'."),  # type: ignore[arg-type]
    (lambda: Time(math.nan, "ep"), InvalidValueError, "time must be finite; got nan."),
    (lambda: Time(100.5, "%"), InvalidValueError, "a share of the run must be between 0% and 100%; got 100.5%."),
    (lambda: Time(-100.5, "%"), InvalidValueError, "a share of the run must be between 0% and 100%; got -100.5%."),
    (lambda: Time(2e30, "tokens"), InvalidValueError, "a time is at most 1e30 tok; got 2e+30."),
    (lambda: Time(-2e30, "step"), InvalidValueError, "a time is at most 1e30 st; got -2e+30."),
    (lambda: Time(5, "ep", "dwn"), UnknownNameError, "rounding 'dwn' is not known; did you mean 'down'?"),
    (lambda: Time(5, "st", "down"), InvalidValueError, "5st is a number of steps and is taken as it is; leave out 'down'."),
    (lambda: Time(1e6, "st", "exact"), InvalidValueError, "1e6st is a number of steps and is taken as it is; leave out 'exact'."),
    (lambda: Time.parse("x" * 99), ParseError, f"'{'x' * 80}' is not a time; write for example 500st, 5ep, 20% or 1e9tok."),
    (lambda: Time.parse("5" + " " * 80), ParseError,
     f"'5{' ' * 79}' is not a time; write for example 500st, 5ep, 20% or 1e9tok."),
    (lambda: Time.parse(None), ParseError, "'None' is not a time; write for example 500st, 5ep, 20% or 1e9tok."),  # type: ignore[arg-type]
    (lambda: Time.parse("5eps"), UnknownNameError, "unit 'eps' in '5eps' is not known; did you mean 'ep'?"),
    (lambda: Time.parse("5 W"), UnknownNameError, "unit 'W' in '5 W' is not known; it must be one of %, ep, ex, st, tok."),
    (lambda: Time.parse("1__0ep"), ParseError, "'1__0ep' is not a time; '1__0' is not a number."),
    (lambda: Time(5, "ep").steps(Horizon(9)), UnresolvedTimeError, "5ep needs to know steps_per_epoch; give it to the Horizon."),
    (lambda: Time(5, "ex").steps(Horizon(9)), UnresolvedTimeError, "5ex needs to know batch_size; give it to the Horizon."),
    (lambda: Time(5, "tok").steps(Horizon(9)), UnresolvedTimeError,
     "5tok needs to know tokens_per_step; give it to the Horizon."),
    (lambda: Time(9, "%", "down").steps(Horizon(11)), InvalidValueError,
     "9% down is less than one step of this run; give it in steps, or a longer run."),
    (lambda: Time(-9, "ex", "down").steps(Horizon(11, batch_size=10)), InvalidValueError,
     "-9ex down is less than one step of this run; give it in steps, or a longer run."),
    (lambda: as_time("rise", 0), InvalidValueError, "rise must be positive; got 0."),
    (lambda: as_time("rise", "0ep"), InvalidValueError, "rise must be positive; got 0ep."),
    (lambda: as_time("rise", Time(-5, "%")), InvalidValueError, "rise must be positive; got -5%."),
    (lambda: as_time("rise", "9E-7st"), InvalidValueError, "rise must be at least 1e-06 of a step; got 9e-7st."),
    (lambda: as_time("rise", 0.02), InvalidValueError,
     "rise must be a whole number of steps or a time; got 0.02. For a share of the run write '2%'."),
    (lambda: as_time("rise", 1.5), InvalidValueError, "rise must be a whole number; got 1.5."),
    (lambda: as_time("rise", 0.0), InvalidValueError, "rise must be positive; got 0.0."),
    (lambda: as_time("rise", -1, low=0), InvalidValueError, "rise must be at least 0; got -1."),
    (lambda: as_time("rise", 10**30 + 1), InvalidValueError,
     f"rise must be at most 1e30 steps; got {10**30 + 1}. Leave it out for the whole run."),
    (lambda: as_time("rise", -(10**30) - 1, low=None), InvalidValueError,
     f"rise must be at least {-10**30}; got {-(10**30) - 1}."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "said"), TIMES, ids=[said[:50] for _, _, said in TIMES])
def test_what_is_no_time_is_refused_in_these_words(
    call: Callable[[], Any], error: type[DwindleError], said: str
) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == said


def test_a_horizon_takes_each_limit_and_keeps_what_it_is_given() -> None:
    one = Horizon(1, None, 1, 1, 1, 1)
    assert (one.steps, one.epochs, one.steps_per_epoch, one.batch_size, one.examples, one.tokens_per_step) == (
        1,
        None,
        1,
        1,
        1,
        1,
    )
    assert Horizon(10**18).steps == 10**18
    bare = Horizon(5)
    assert (bare.epochs, bare.steps_per_epoch, bare.batch_size, bare.examples, bare.tokens_per_step) == (None,) * 5
    assert isinstance(Horizon(5.0).steps, int)  # type: ignore[arg-type]
    assert as_horizon(bare) is bare
    assert as_horizon(7) == Horizon(7)


@pytest.mark.parametrize(
    ("given", "steps"),
    [
        ({"epochs": 2, "steps_per_epoch": 10}, 20),
        ({"epochs": 2, "steps_per_epoch": 10, "steps": 20}, 20),
        ({"epochs": 2.5, "steps_per_epoch": 10}, 25),
        ({"epochs": 0.25, "steps_per_epoch": 10}, 3),
        ({"epochs": 0.2499, "steps_per_epoch": 10}, 2),
        ({"epochs": 1e-9, "steps_per_epoch": 10}, 1),
        ({"epochs": 2, "examples": 1000, "batch_size": 100}, 20),
        ({"epochs": 2, "examples": 1001, "batch_size": 100}, 22),
        ({"epochs": 2, "examples": 1000, "batch_size": 100, "steps_per_epoch": 9}, 18),
    ],
)
def test_epochs_become_steps_the_half_one_up(given: dict[str, Any], steps: int) -> None:
    run = Horizon(**given)
    assert (run.steps, run.epochs) == (steps, given["epochs"])
    assert isinstance(Horizon(epochs=2.0, steps_per_epoch=5).epochs, int)


@pytest.mark.parametrize(
    ("text", "value", "unit", "rounding", "canonical"),
    [
        ("5" + " " * 79, 5, "st", "nearest", "5st"),
        (" +5EP ", 5, "ep", "nearest", "5ep"),
        ("-5 Epochs", -5, "ep", "nearest", "-5ep"),
        ("+12345678901234567891", 12345678901234567891, "st", "nearest", "12345678901234567891st"),
        ("-12345678901234567891tok", -12345678901234567891, "tok", "nearest", "-12345678901234567891tok"),
        ("1_000 examples", 1000, "ex", "nearest", "1000ex"),
        (".5%", 0.5, "%", "nearest", "0.5%"),
        ("20%down", 20, "%", "down", "20% down"),
        ("1e6tok exact", 10**6, "tok", "exact", "1e6tok exact"),
        ("2.50st", 2.5, "st", "nearest", "2.5st"),
        ("1E+2", 100, "st", "nearest", "100st"),
    ],
)
def test_a_time_is_read_and_said(text: str, value: float, unit: str, rounding: str, canonical: str) -> None:
    read = Time.parse(text)
    assert (read.value, type(read.value), read.unit, read.rounding, str(read)) == (
        value,
        type(value),
        unit,
        rounding,
        canonical,
    )
    assert read == Time(value, unit, rounding)
    said = "" if rounding == "nearest" else f", rounding={rounding!r}"
    assert repr(read) == f"Time(value={value!r}, unit={unit!r}{said})"


def test_a_time_takes_each_limit_and_is_whole_where_it_can_be() -> None:
    assert [Time(value, "%").value for value in (-100, 100, 99.5)] == [-100, 100, 99.5]
    assert Time(101, "ep").value == 101
    assert Time(9 * 10**29, "tok").value == -Time(-9 * 10**29, "tok").value == 9 * 10**29
    assert Time(10**25 + 1, "tok").value == 10**25 + 1
    assert [type(Time(value, "ep").value) for value in (5.0, 5, 5.5)] == [int, int, float]
    assert (Time(5, "ep").rounding, Time(5, "st", "nearest").unit) == ("nearest", "st")


RUN = Horizon(epochs=15, steps_per_epoch=120, batch_size=10, tokens_per_step=1000)  # 1800 steps

STEPS: list[tuple[str, float]] = [
    ("7st", 7), ("2.5st", 2.5), ("2ep", 240), ("0.5ep", 60), ("25ex", 3), ("24ex", 2), ("2500tok", 3), ("2499tok", 2),
    ("10%", 180), ("100%", 1800), ("1ex", 1), ("0.0001%", 1), ("0ex", 0), ("-1ex", 0), ("-5ex", 0), ("-6ex", -1),
    ("25ex down", 2), ("-25ex down", -2), ("0ex down", 0), ("0% down", 0), ("1.5ep down", 180), ("2999tok down", 2),
    ("25ex exact", 2.5), ("20ex exact", 2), ("5% exact", 90), ("0.25% exact", 4.5), ("1ex exact", math.nextafter(0.1, 0.0)),
    ("-1ex exact", -math.nextafter(0.1, 0.0)), ("0ex exact", 0),
    ("3% down", 53),  # int(0.03 · 120 · 15) as programs multiply it, though 3 % of 1800 is 54
    ("3%", 54),
]  # fmt: skip


@pytest.mark.parametrize(("text", "steps"), STEPS, ids=[text for text, _ in STEPS])
def test_a_time_in_steps(text: str, steps: float) -> None:
    found = Time.parse(text).steps(RUN)
    assert (found, type(found)) == (steps, type(steps))


def test_a_share_is_cut_as_the_run_is_given() -> None:
    share = Time(3, "%", "down")
    assert int(0.03 * 120 * 15) == 53
    assert int(0.03 * 1800) == int(0.03 * 1799.5) + 1 == 54
    assert share.steps(Horizon(1800)) == share.steps(Horizon(1800, steps_per_epoch=120)) == 54
    assert share.steps(Horizon(epochs=15.5, steps_per_epoch=120)) == int(0.03 * 1860)
    assert Time(29, "%", "down").steps(Horizon(100)) == 28
    assert Time(0.29, "%", "down").steps(Horizon(10_000)) == int(0.0029 * 10_000)
    assert Time(-29, "%", "down").steps(Horizon(100)) == -28


@pytest.mark.parametrize("value", [1, 3, 7, 10**17 + 1, -3])
def test_an_exact_time_is_the_largest_float_that_is_not_beyond(value: int) -> None:
    for batch in (3, 7, 10, 49):
        found = Time(value, "ex", "exact").steps(Horizon(9, batch_size=batch))
        exact = Fraction(value, batch)
        assert abs(Fraction(found)) <= abs(exact) < abs(Fraction(math.nextafter(found, math.copysign(math.inf, value))))


def test_a_time_as_an_argument() -> None:
    assert as_time("rise", None) is None
    assert [as_time("rise", value) for value in (1, 1.0, "5st", "5", Time(5.0, "st"), 10**30)] == [
        1,
        1,
        5,
        5,
        5,
        10**30,
    ]
    assert isinstance(as_time("rise", 1.0), int)
    for kept in (Time(2.5, "st"), Time(1e-6, "st"), Time(1e-9, "ep"), Time(5, "ep")):
        assert as_time("rise", kept) == as_time("rise", str(kept)) == kept
    assert (as_time("rise", 0, low=0), as_time("rise", "0ep", low=0)) == (0, Time(0, "ep"))
    low: list[Any] = [-5, "-5st", -(10**30), 0, "0st"]
    assert [as_time("rise", value, low=None) for value in low] == [-5, -5, -(10**30), 0, 0]
    assert as_time("rise", "-5ep", low=None) == Time(-5, "ep")
    assert as_time("rise", "-0.5st", low=None) == Time(-0.5, "st")


def test_a_time_in_the_steps_of_a_run() -> None:
    assert (in_steps(None, RUN), in_steps(None, RUN, 7), in_steps(None, RUN, 0)) == (1800, 7, 0)
    assert in_steps(None, RUN, 2.5) == Time(2.5, "st")
    assert (in_steps(7, RUN), in_steps(Time(2, "ep"), RUN), in_steps(Time(2, "ep"), RUN, 7)) == (7, 240, 240)
    assert in_steps(Time(25, "ex", "exact"), RUN) == Time(2.5, "st")
    assert (exactly(3.0), type(exactly(3.0)), exactly(2.5)) == (3, int, Time(2.5, "st"))
    times = (None, 5, Time(5, "st"), Time(2.5, "st"), Time(5, "ep"))
    assert [number_of_steps(time) for time in times] == [None, 5, 5, 2.5, None]
    assert (time_text(5), time_text(10**6), time_text(Time(5, "ep", "exact"))) == ("5st", "1e6st", "5ep exact")


SHORT: list[tuple[float, str]] = [
    (0, "0"), (-7, "-7"), (999_999, "999999"), (999_000, "999000"), (10**6, "1e6"), (-(10**6), "-1e6"), (10**6 + 1, "1000001"),
    (1_001_000, "1001000"), (12_340_000, "1.234e7"), (1_234_000, "1234000"), (10**22, "1e22"), (10**23, str(10**23)),
    (0.0, "0"), (2.0, "2"), (2.5, "2.5"), (0.1, "0.1"), (0.01, "0.01"), (0.001, "1e-3"), (1e-7, "1e-7"), (1.5e-10, "1.5e-10"),
    (1e22, "1e22"), (1e16, "1e16"), (1e6, "1e6"), (123456.0, "123456"), (1 / 3, "0.3333333333333333"), (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e308"), (1e100, "1e100"), (-3e-4, "-3e-4"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "text"), SHORT, ids=[text for _, text in SHORT])
def test_the_shortest_text_of_a_number(value: float, text: str) -> None:
    assert short(value) == text
    assert float(text) == float(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "10%"), (1, "100%"), (2, "200%"), (2.0, "200%"), (10, "1000%"), (0, "0%"), (1e-5, "0.001%"), (1e-7, "1e-7"),
     (0.07, "7%"), (0.295, "29.5%"), (1.5, "150%"), (1 / 3, "0.3333333333333333"), (12345678901.0, "1234567890100%"),
     (1e11, "1e11"), (0.1 + 0.2, "0.30000000000000004")],
)  # fmt: skip
def test_a_percentage_reads_back_or_is_a_number(value: float, text: str) -> None:
    assert percent(value) == text
    assert (float(text[:-1]) / 100 if text.endswith("%") else float(text)) == value
    assert parse_schedule(f"constant at {text}") == Constant(value)


def test_words_are_left_out_with_their_value() -> None:
    assert words(("a", "1"), ("b", None), ("c", ""), ("", "d")) == "a 1 c d"
    assert words() == ""


# --- a line

LETTERS = "abcdefgh " * 9
DEEP = "cosine" + " shift 1" * 48

# the text, whether it is refused as a whole plan or how else, what is said, and the rest of the text from the place
PLACES: list[tuple[Callable[[str], Any], str, type[DwindleError], str, str]] = [
    (parse, "peak", ParseError, "a number was expected after peak; got the end of the text", ""),
    (parse, "peak 0.1 | custom f", ParseError,
     "a custom schedule is a function, and no function is read from text; write a formula of step, or a table", "custom f"),
    (parse, "lr x", ParseError, "a number was expected after peak; got 'x'", "x"),
    (parse, "peak 0.1 | layer-decay x", ParseError, "a number was expected after layer-decay; got 'x'", "x"),
    (parse, "peak 0.1 | peak 0.2", ParseError, "peak is given twice; keep one", "peak 0.2"),
    (parse, "peak 0.1 | cosine | linear | l2 3", ParseError, "schedule is given twice; keep one", "linear | l2 3"),
    (parse, "peak 0.1 cosine", ParseError, "sections are separated by |; got 'cosine'", "cosine"),
    (parse, "peak 0.1 |", ParseError, "a schedule was expected; got the end of the text", ""),
    (parse, "peak 0.1 | " + LETTERS, UnknownNameError,
     "'abcdefgh' is not a schedule; it must be one of 1-sqrt, 1-square, constant, "
     "corrected, cosine, decoupled, exponential, formula, geometric, group, halve, independent, inverse-sqrt, inverse-time, l2, "
     "layer-decay, linear, lr, mask, peak, piecewise, polynomial, power-law, ramp, sqrt, square, step, table, tanh, through, "
     "warmup.",
     LETTERS),
    (parse, "peak 0.1 | weight 0.1", ParseError, "'weight' does not say which decay; name it: l2 0.1, decoupled 0.1, "
     "independent 0.1, corrected 0.1", "weight 0.1"),
    (parse, "peak 0.1 | weight_decay 0.1", ParseError, "'weight_decay' does not say which decay; name it: l2 0.1, decoupled 0.1, "
     "independent 0.1, corrected 0.1", "weight_decay 0.1"),
    (parse, "peak 0.1 | wd 0.1", ParseError, "'wd' does not say which decay; name it: l2 0.1, decoupled 0.1, "
     "independent 0.1, corrected 0.1", "wd 0.1"),
    (parse, 'peak 0.1 | group "" "b" times 2 | l2 1', InvalidValueError, "a group's name must be text; got ''.",
     'group "" "b" times 2 | l2 1'),
    (parse, 'peak 0.1 | group "a" "b" 2', ParseError, "a group says its learning rate as 'times 10'; got '2'", "2"),
    (parse, 'peak 0.1 | group "a" "b" times x', ParseError, "a number was expected; got 'x'", "x"),
    (parse, "peak 0.1 | cosine l2 3", ParseError, "'l2' begins another section; put a | before it", "l2 3"),
    (parse, "peak 0.1 | cosine mask", ParseError, "'mask' begins another section; put a | before it", "mask"),
    (parse_schedule, "warmup -5 to 1", InvalidValueError, "steps must be positive; got -5.", "warmup -5 to 1"),
    (parse_schedule, "cosine, warmup -5, linear", InvalidValueError, "steps must be positive; got -5.", "warmup -5, linear"),
    (parse_schedule, "warmup 120%", InvalidValueError, "a share of the run must be between 0% and 100%; got 120%.", "120%"),
    (parse_schedule, "linear over 5st down", InvalidValueError,
     "5st is a number of steps and is taken as it is; leave out 'down'.", "5st down"),
    (parse_schedule, "1 * (cosine for 0, linear)", InvalidValueError, "length must be positive; got 0.", "cosine for 0, linear)"),
    (parse_schedule, "cosine, -1 * cosine", InvalidValueError, "factor must be zero or more; got -1.", "-1 * cosine"),
    (parse_schedule, "cosine, linear shift 1 stretch 0", InvalidValueError, "by must be positive; got 0.",
     "linear shift 1 stretch 0"),
    (parse_schedule, "cosine 5", ParseError,
     "'5' was not expected; say which option of 'cosine' it is: to, from, over, power, warp, "
     "ratio", "5"),
    (parse_schedule, "warmup 5 7", ParseError, "'7' was not expected; say which option of 'warmup' it is: shape, to, from, over, "
     "power, warp, ratio", "7"),
    (parse_schedule, "warmup 5 weeks", UnknownNameError,
     "'weeks' is not understood after 'warmup'; it must be one of clip, extend, "
     "for, from, mirror, over, power, ratio, repeat, shape, shift, stretch, to, warp.", "weeks"),
    (parse_schedule, "warmup 5wk", UnknownNameError, "'wk' is not a unit; it must be one of %, ep, ex, st, tok.", "wk"),
    (parse_schedule, "warmup 5eps", UnknownNameError, "'eps' is not a unit; did you mean 'ep'?", "eps"),
    (parse_schedule, "warmup 5 over 6", ParseError, "'over' is given twice; keep one", "over 6"),
    (parse_schedule, "cosine linear", ParseError, "'linear' begins another schedule; put a comma before it", "linear"),
    (parse_schedule, "step by 0.5", ParseError, "step needs more; write for instance 'step by 0.5 every 5ep'", ""),
    (parse_schedule, "power-law, cosine", ParseError, "power-law needs more; write for instance 'power-law 0.25 every 100st'",
     ", cosine"),
    (parse_schedule, "cosine clip", ParseError, "clip needs more; write for instance 'clip 0.1'", ""),
    (parse_schedule, "custom f", ParseError,
     "a custom schedule is a function, and no function is read from text; write a formula of "
     "step, or a table", "custom f"),
    (parse_schedule, "WSD 5", UnknownNameError,
     "wsd is written by its parts, for instance 'warmup 2%, constant, linear to 0% over 20%'", "WSD 5"),
    (parse_schedule, "cosine + sin", UnknownNameError, "'sin' is not a schedule; did you mean 'cosine'?", "sin"),
    (parse_schedule, "5 cosine", ParseError,
     "a number multiplies a schedule, as in '0.5 * cosine', or is one as 'constant at 0.5'; "
     "got 'cosine'", "cosine"),
    (parse_schedule, "join cosine", ParseError, "join takes a schedule in parentheses; got 'cosine'", "cosine"),
    (parse_schedule, "(cosine", ParseError, "a parenthesis is not closed; got the end of the text", ""),
    (parse_schedule, "cosine |", ParseError, "'|' was not expected here", "|"),
    (parse_schedule, "table [1 2] every 5ep for 3", ParseError, "a table counts steps; got 5ep. Write for instance 'every 5st'",
     "5ep for 3"),
    (parse_schedule, "table 5", ParseError, "a list such as [1 0.5 0.1] was expected; got '5'", "5"),
    (parse_schedule, "piecewise at 5", ParseError, "a list such as [1 0.5 0.1] was expected; got '5'", "5"),
    (parse_schedule, "cosine to 10 over 5", ParseError, "10 means 1000%; write 10% or 1000%", "10 over 5"),
    (parse_schedule, "cosine to 1_0", ParseError, "10 means 1000%; write 10% or 1000%", "1_0"),
    (parse_schedule, "cosine to 1 to 0", ParseError, "'to' is given twice; keep one", "to 0"),
    (parse_schedule, "warmup 1__0", ParseError, "'1__0' is not a finite number", "1__0"),
    (parse_schedule, f"linear, join ({DEEP} shift 1)", ParseError, "schedules nest at most 50 deep", f"join ({DEEP} shift 1)"),
    (parse_schedule, f"linear, {DEEP} shift 1 + linear", ParseError, "schedules nest at most 50 deep",
     f"{DEEP} shift 1 + linear"),
    (parse_schedule, f"linear, {DEEP} shift 1 * linear", ParseError, "schedules nest at most 50 deep",
     f"{DEEP} shift 1 * linear"),
    (parse_schedule, "(cosine), (cosine), " + "(" * 51 + "cosine", ParseError, "parentheses nest at most 50 deep", "cosine"),
    (parse_schedule, "cosine to 2", ParseError, "2 means 200%; write 2% or 200%", "2"),
    (parse_schedule, "cosine to 1e999", ParseError, "'1e999' is not a finite number", "1e999"),
    (parse_schedule, "warmup 5 shape 3", ParseError, "a word was expected; got '3'", "3"),
    (parse_schedule, "warmup 5 shape cosin", UnknownNameError, "shape 'cosin' is not known; did you mean 'cosine'?",
     "warmup 5 shape cosin"),
    (parse_schedule, "formula 3", ParseError, "text in double quotes was expected; got '3'", "3"),
    (parse_schedule, 'cosine, formula "stp"', UnknownNameError, "'stp' is not known in a formula; did you mean 'step'?",
     'formula "stp"'),
    (parse_schedule, 'formula "step', ParseError, "this text in quotes is not closed, or has an escape that JSON does not know",
     '"step'),
    (parse_schedule, "(" * 51 + "cosine", ParseError, "parentheses nest at most 50 deep", "cosine"),
    (parse_schedule, "cosine" + " shift 1" * 50, ParseError, "schedules nest at most 50 deep", "cosine" + " shift 1" * 50),
    (parse_decay, "decopled 0.1", UnknownNameError, "'decopled' is not a convention of weight decay; did you mean 'decoupled'?",
     "decopled 0.1"),
    (parse_decay, "q 0.1", UnknownNameError, "'q' is not a convention of weight decay; it must be one of corrected, decoupled, "
     "independent, l2.", "q 0.1"),
    (parse_decay, "l2 cosine to 1", ParseError, "a weight decay that is a schedule stands in parentheses; write '(cosine ...)'",
     "cosine to 1"),
    (parse_decay, "l2", ParseError, "a number was expected; got the end of the text", ""),
    (parse_decay, "l2 0.1 cautious", InvalidValueError,
     "cautious compares the update with the weight, and l2 is part of the update; use decoupled.", "l2 0.1 cautious"),
    (parse_decay, "decoupled 1 cautious cautious", ParseError, "'cautious' is given twice; keep one", "cautious"),
    (parse_decay, "decoupled 1 overshoot cautious overshoot", ParseError, "'overshoot' is given twice; keep one", "overshoot"),
    (parse_mask, "nothing, q", UnknownNameError,
     "'q' is not what a mask looks at; it must be one of everything, kind, name, ndim, "
     "nothing, regex, standard.", "q"),
    (parse_mask, "nam", UnknownNameError, "'nam' is not what a mask looks at; did you mean 'name'?", "nam"),
    (parse_mask, "name x", ParseError, "text in double quotes was expected; got 'x'", "x"),
    (parse_mask, 'name "x" decay', ParseError, "a rule ends in 'decays' or 'does not'; got 'decay'", "decay"),
    (parse_mask, 'name "x" does', ParseError, "a rule ends in 'decays' or 'does not'; got the end of the text", ""),
    (parse_mask, 'standard, ndim "x" decays', InvalidValueError, "ndim must be a whole number; got 'x'.", 'ndim "x" decays'),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "error", "said", "rest"), PLACES, ids=[text[:40] for _, text, *_ in PLACES])
def test_a_refusal_names_its_place(
    read: Callable[[str], Any], text: str, error: type[DwindleError], said: str, rest: str
) -> None:
    place = f"at character {len(text) - len(rest) + 1}: {rest[:40]!r}" if rest else "at the end of the text"
    assert text.endswith(rest)
    with pytest.raises(error) as caught:
        read(text)
    assert str(caught.value) == f"{said} ({place})"


@pytest.mark.parametrize("read", [parse, parse_schedule, parse_decay, parse_mask, from_line])
def test_what_is_no_line_is_refused(read: Callable[[Any], Any]) -> None:
    for given, said in (
        (3, "a plan is read from text; got 3."),
        (" " * 20_001, "a plan has at most 20000 characters; got 20001. Is this the right text?"),
    ):
        with pytest.raises(ParseError) as caught:
            read(given)
        assert str(caught.value) == said


SAID: list[tuple[str, Schedule]] = [
    ("exponential to 5%", Ramp(0.05, shape="exponential")),
    ("exponential from 50%", Ramp(0.0, start=0.5, shape="exponential")),
    ("exponential over 20%", Ramp(0.0, Time(20, "%"), shape="exponential")),
    ("exponential over 9 ratio 0.25", Ramp(0.0, 9, shape="exponential", ratio=0.25)),
    ("EXPONENTIAL over 9", Ramp(0.0, 9, shape="exponential")),
    ("square over 9 power 3", Ramp(0.0, 9, shape="square", power=3.0)),
    ("1-square over 9", Ramp(0.0, 9, shape="1-square")),
    ("1-sqrt over 9", Ramp(0.0, 9, shape="1-sqrt")),
    ("warmup 9 shape 1-sqrt", Ramp(1.0, 9, 0.0, "1-sqrt")),
    ("warmup to 50% over 9", Ramp(0.5, 9, 0.0)),
    ("tanh to 1% over 9", Tanh(0.01, 9)),
    ("cosine clip 10% to 50%", Clip(Ramp(shape="cosine"), 0.1, 0.5)),
    ("cosine extend every 5", Extend(Ramp(shape="cosine"), 5)),
    ("cosine shift 5 shift -3", Shift(Shift(Ramp(shape="cosine"), 5), -3)),
    ("through [0, 9] factors [0 50%]", Interpolate((0, 9), (0.0, 0.5))),
    ("table [1 2] every 3st", dw.table([1, 2], every=3)),
    ("table [1 2] every 3", dw.table([1, 2], every=3)),
    ("table [1,2]", dw.table([1, 2])),
    ("constant at 1", Constant(1.0)),
    ("constant at 2.0", Constant(2.0)),
    ("constant at 2%", Constant(0.02)),
    ("constant at 1.5", Constant(1.5)),
    ("cosine over 5 %", Ramp(0.0, Time(5, "%"), shape="cosine")),
    ("cosine over 5 ep down", Ramp(0.0, Time(5, "ep", "down"), shape="cosine")),
    ("cosine over 5ex exact", Ramp(0.0, Time(5, "ex", "exact"), shape="cosine")),
    ("cosine + linear + constant", Sum((Ramp(shape="cosine"), Ramp(), Constant()))),
    ("cosine * linear * constant", Product((Ramp(shape="cosine"), Ramp(), Constant()))),
    ("cosine + linear * constant", Sum((Ramp(shape="cosine"), Product((Ramp(), Constant()))))),
    ("50% * cosine for 5st", Join((Scaled(Ramp(shape="cosine"), 0.5),), (5,))),
    ("sum (cosine)", Sum((Ramp(shape="cosine"),))),
    ("join (cosine) shift 5", Shift(Join((Ramp(shape="cosine"),)), 5)),
    ("(" * 50 + "cosine" + ")" * 50, Ramp(shape="cosine")),
    ("(cosine), " + "(" * 50 + "cosine" + ")" * 50, Join((Ramp(shape="cosine"),) * 2)),
    ("exponential by 1.1 every 5 growing", Exponential(1.1, 5, allow_growth=True)),
    ("exponential by 0.5 every 5 staircase", Exponential(0.5, 5, staircase=True)),
    ("inverse-sqrt every 5 staircase", PowerLaw(0.5, 5, staircase=True)),
    (", ".join(["(cosine)"] * 60), Join((Ramp(shape="cosine"),) * 60)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "schedule"), SAID, ids=[text[:40] for text, _ in SAID])
def test_these_words_are_this_schedule(text: str, schedule: Schedule) -> None:
    assert parse_schedule(text) == schedule


@pytest.mark.parametrize(
    "text",
    [f"{DEEP}, constant", f"constant, {DEEP}", f"({DEEP}) + constant", f"constant + {DEEP}", f"({DEEP}) * constant",
     f"constant * {DEEP}", f"0.5 * {DEEP}", f"join ({DEEP})", f"sum ({DEEP})", f"{DEEP} stretch 2", f"{DEEP} for 5"],
    ids=lambda text: text.replace(DEEP, "…"),
)  # fmt: skip
def test_every_combination_counts_as_one_level(text: str) -> None:
    assert parse_schedule(text)
    with pytest.raises(ParseError, match=r"^schedules nest at most 50 deep \(at character 1: "):
        parse_schedule(f"({text}) shift 1")
    assert parse_schedule(f"(constant, constant) shift 1, {DEEP}")


def test_decays_and_masks_in_words() -> None:
    assert parse_decay("decoupled 0.1") == Decoupled(0.1)
    assert parse_decay("decoupled 0.1 cautious") == Decoupled(0.1, cautious=True)
    assert parse_decay("decoupled 3 overshoot") == Decoupled(3.0, allow_overshoot=True)
    assert parse_decay("DECOUPLED (cosine) overshoot cautious") == Decoupled(Ramp(shape="cosine"), True, True)
    head = Rule("name", "head", False)
    assert parse_mask('standard, name "head" does not') == Mask((*Mask().rules, head))
    assert parse_mask('nothing, name "head" does not, everything') == Mask((head, *Mask.everything().rules))
    assert parse_mask('kind "norm" decays') == Mask((Rule("kind", "norm", True),))


def test_a_line_may_be_as_long_as_the_limit() -> None:
    assert parse("peak 0.1" + " " * (20_000 - 8)) == Plan(0.1)
    assert from_line("peak 0.1 | l2 0.1 | layer_decay 0.5") == Plan(0.1, decay=L2(0.1), layer_decay=0.5)


# --- files

PLAN = Plan(3e-4, dw.warmup("2%").then(dw.cosine(end=0.1)), L2(0.5), Mask(()), (Group("h\x7fé", "x", 10.0),), 0.75)
BODY = {
    "peak": 3e-4, "schedule": "warmup 2%, cosine to 10%", "decay": "l2 0.5", "mask": "nothing", "layer_decay": 0.75,
    "group": [{"name": "h\x7fé", "match": "x", "lr_scale": 10.0}],
}  # fmt: skip
LINE = 'peak 3e-4 | warmup 2%, cosine to 10% | l2 0.5 | mask nothing | group "h\\u007f\\u00e9" "x" times 10 | layer-decay 0.75'
TOML = """\
peak = 3e-4
schedule = "warmup 2%, cosine to 10%"
decay = "l2 0.5"
mask = "nothing"
layer_decay = 0.75

[[group]]
name = "h\\u007fé"
match = "x"
lr_scale = 10
"""


def crc(value: Any) -> str:
    return f"crc32:{zlib.crc32(json.dumps(value, sort_keys=True).encode()):08x}"


def test_files_to_the_byte(tmp_path: Path) -> None:
    head, body = "dwindle-plan/1", crc(BODY)
    for name, content in {
        "a.toml": f'format = "{head}"\nchecksum = "{body}"\n{TOML}',
        "a.json": json.dumps({"format": head, "checksum": body, **BODY}, indent=2) + "\n",
        "a.TXT": f"# {head} {crc(LINE)}\n{LINE}\n",
    }.items():
        path = save(PLAN, str(tmp_path / name))
        assert path == tmp_path / name
        assert path.read_bytes().decode() == content
        assert load(path) == PLAN
    assert to_toml(Plan(0.1)) == f'format = "{head}"\npeak = 0.1\nschedule = "constant"\n'
    assert to_toml(PLAN) == f'format = "{head}"\n{TOML}'
    assert to_json(PLAN) == json.dumps({"format": head, **BODY}, indent=2) + "\n"
    assert to_json(Plan(0.1)) == f'{{\n  "format": "{head}",\n  "peak": 0.1,\n  "schedule": "constant"\n}}\n'


@pytest.mark.parametrize("name", ["a.toml", "a.json", "a.txt"])
def test_a_file_that_was_edited_says_so(tmp_path: Path, name: str) -> None:
    path = save(PLAN, tmp_path / name)
    text = path.read_text("utf-8")
    given = text[text.index("crc32:") :][:14]
    path.write_text(text.replace("10%", "20%"), "utf-8")
    with pytest.raises(ParseError) as caught:
        load(path)
    assert str(caught.value) == (
        f"{path}: the content is not that of its checksum '{given}': the file was damaged, or edited. If it was edited, "
        "delete the checksum; else take another copy."
    )
    path.write_text("".join(line for line in text.replace("10%", "20%").splitlines(True) if given not in line), "utf-8")
    assert load(path).schedule == dw.warmup("2%").then(dw.cosine(end=0.2))


@pytest.mark.parametrize("name", ["plan.toml", "PLAN.TOML", "plan.json", "Plan.JSON"])
def test_what_a_command_is_given_is_a_file_or_a_line(tmp_path: Path, name: str) -> None:
    assert plan_of(str(save(PLAN, tmp_path / name))) == PLAN
    with pytest.raises(ParseError, match=r"absent\.toml: cannot be read: No such file"):
        plan_of(str(tmp_path / "absent.toml"))
    assert plan_of("peak 0.1 | constant") == Plan(0.1)


def test_a_file_may_be_as_long_as_the_limit(tmp_path: Path) -> None:
    for name, content in {
        "a.toml": 'format = "dwindle-plan/1"\npeak = 0.1\n',
        "a.json": '{"format": "dwindle-plan/1", "peak": 0.1}',
        "a": "peak 0.1",
    }.items():
        path = tmp_path / name
        path.write_text(content.ljust(20_000), "utf-8")
        assert load(path) == Plan(0.1)
        path.write_text(content.ljust(20_001), "utf-8")
        with pytest.raises(ParseError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: a plan's file has at most 20000 bytes. Is this the right file?"


def test_a_plan_may_take_as_many_bytes_as_the_limit(tmp_path: Path) -> None:
    def of(size: int, write: Callable[[Plan], str]) -> Plan:
        short_one = len(write(Plan(0.1, groups=(Group("é", "x"),))).encode())
        return Plan(0.1, groups=(Group("é" + "x" * (size - short_one), "x"),))

    for write, read in ((to_toml, from_toml), (to_json, from_json)):
        most = of(20_000, write)
        assert read(write(most)) == most
        with pytest.raises(InvalidValueError) as caught:
            write(of(20_001, write))
        assert str(caught.value) == (
            "this plan takes 20001 bytes and a plan's file has at most 20000; give a long table as a formula."
        )
    with pytest.raises(InvalidValueError, match=r"^this plan takes 200\d\d bytes"):
        save(of(20_000, to_toml), tmp_path / "a.toml")
    assert os.listdir(tmp_path) == []


FORMAT = 'format = "dwindle-plan/1"\npeak = 0.1\n'
JSON = '{"format": "dwindle-plan/1", "peak": 0.1, '

UNREADABLE: list[tuple[Callable[[str], Any], Any, type[DwindleError], str]] = [
    (from_toml, 3, ParseError, "a plan is read from text; got 3."),
    (from_json, 3, ParseError, "a plan is read from text; got 3."),
    (from_toml, "#" * 20_001, ParseError, "a plan has at most 20000 characters; got 20001. Is this the right text?"),
    (from_json, " " * 20_001, ParseError, "a plan has at most 20000 characters; got 20001. Is this the right text?"),
    (from_json, "[" * 19_000, ParseError, "this JSON nests too deep for a plan."),
    (from_json, "", ParseError, "this is not JSON: Expecting value: line 1 column 1 (char 0)."),
    (from_toml, "peak", ParseError, "this is not TOML: Expected '=' after a key in a key/value pair (at end of document)."),
    (from_toml, "peak = 0.1", ParseError, "format must be 'dwindle-plan/1'; got None. Is this file a plan?"),
    (from_json, '{"format": 3}', ParseError, "format must be 'dwindle-plan/1'; got 3. Is this file a plan?"),
    (from_json, "[]", ParseError, "a plan is a table with format, peak and schedule; got []."),
    (from_json, '{"peek": 1}', UnknownNameError, "plan key 'peek' is not known; did you mean 'peak'?"),
    (from_json, '{"q": 1}', UnknownNameError, "plan key 'q' is not known; it must be one of checksum, decay, format, group, "
     "layer_decay, mask, peak, schedule."),
    (from_json, '{"format": "dwindle-plan/1"}', ParseError, "a plan needs its peak learning rate; add for instance peak = 3e-4."),
    (from_json, JSON + '"schedule": 3}', ParseError, "schedule: a plan is read from text; got 3."),
    (from_json, JSON + '"decay": "l2"}', ParseError,
     "decay: a number was expected; got the end of the text (at the end of the text)"),
    (from_json, JSON + '"mask": "nam"}', UnknownNameError,
     "mask: 'nam' is not what a mask looks at; did you mean 'name'? (at character 1: 'nam')"),
    (from_json, JSON + '"decay": "decoupled -1"}', InvalidValueError, "decay: weight_decay must be zero or more; got -1. Decay "
     "shrinks weights; a negative one grows them. (at character 1: 'decoupled -1')"),
    (from_json, JSON + '"layer_decay": 2}', InvalidValueError, "layer_decay must be at most 1; got 2."),
    (from_json, JSON + '"checksum": "x"}', ParseError,
     "the content is not that of its checksum 'x': the file was damaged, or edited. "
     "If it was edited, delete the checksum; else take another copy."),
    (from_toml, FORMAT + 'checksum = "x"\nschedule = 1979-05-27', ParseError, "the content is not that of its checksum 'x': the "
     "file was damaged, or edited. If it was edited, delete the checksum; else take another copy."),
    (parse, "cosine", ParseError, "a plan needs its peak learning rate; write 'peak 3e-4 | ...'."),
    (from_json, JSON + '"a": 1, "b": 2, "b": 3}', ParseError, "'b' is given twice; keep one."),
    (from_json, JSON + '"group": 3}', ParseError, "group must be a list of tables, each [[group]] with name, match and lr_scale; "
     "got 3."),
    (from_json, JSON + '"group": [3]}', ParseError,
     "group must be a list of tables, each [[group]] with name, match and lr_scale; "
     "got [3]."),
    (from_json, JSON + '"group": [{"name": "a"}]}', ParseError, "a group needs name and match; got {'name': 'a'}."),
    (from_json, JSON + '"group": [{"match": "a"}]}', ParseError, "a group needs name and match; got {'match': 'a'}."),
    (from_json, JSON + '"group": [{"nam": "a"}]}', UnknownNameError, "group key 'nam' is not known; did you mean 'name'?"),
    (from_json, JSON + '"group": [{"q": "a"}]}', UnknownNameError,
     "group key 'q' is not known; it must be one of lr_scale, match, name."),
    (from_toml, FORMAT + "a." * 51 + "b = 1", ParseError, f"'{('a.' * 51)[:56]}... is no key of a plan or a space."),
]  # fmt: skip


@pytest.mark.parametrize(("read", "text", "error", "said"), UNREADABLE, ids=[str(said)[:40] for *_, said in UNREADABLE])
def test_what_is_no_plan_is_refused_in_these_words(
    read: Callable[[str], Any], text: Any, error: type[DwindleError], said: str
) -> None:
    with pytest.raises(error) as caught:
        read(text)
    assert str(caught.value) == said


def test_a_group_in_a_file_has_the_scale_1_unless_it_says_another() -> None:
    plan = from_toml(FORMAT + '[[group]]\nname = "a"\nmatch = "b"\n[[group]]\nname = "c"\nmatch = "d"\nlr_scale = 2')
    assert plan == Plan(0.1, groups=(Group("a", "b", 1.0), Group("c", "d", 2.0)))
    assert from_json(JSON + '"layer_decay": 0.5, "schedule": "cosine"}') == Plan(0.1, dw.cosine(), layer_decay=0.5)


def test_dots_are_counted_in_keys_alone() -> None:
    dots = "." * 60
    assert tables_of_toml(f'# {dots}\n   # {dots}=\nx = "{dots}"  # {dots}\ny = "{dots}="') == {
        "x": dots,
        "y": f"{dots}=",
    }
    deep: Any = tables_of_toml("  " + ".".join("a" * 51) + " = 1")
    for _ in range(51):
        deep = deep["a"]
    assert deep == 1
    with pytest.raises(ParseError, match=r"^'a\.a\..*\.\.\. is no key of a plan or a space\.$"):
        tables_of_toml("x = 1\n  " + ".".join("a" * 52) + " = 1")


class Odd(Mask):
    """A mask whose text is not its own."""

    text = "everything"

    def __str__(self) -> str:
        return self.text


def test_a_part_that_has_no_text_is_named() -> None:
    custom, odd, broken = dw.custom(lambda step: 1.0), Odd(()), Odd(())
    object.__setattr__(broken, "text", "nam")
    deep: Schedule = Constant()
    for _ in range(2000):
        deep = Scaled(deep, 0.5)
    why = (
        "a custom schedule is a function, and no function is read from text; write a formula of step, or a table "
        "(at character {}: 'custom <lambda>{}')"
    )
    for plan, said in (
        (Plan(0.1, deep), "the schedule of this plan cannot be written as text: it nests too deep"),
        (Plan(0.1, custom), f"the schedule of this plan cannot be written as text: {why.format(1, '')}"),
        (Plan(0.1, decay=L2(custom)), f"the decay of this plan cannot be written as text: {why.format(5, ')')}"),
        (Plan(0.1, mask=odd),
         "the mask of this plan cannot be written as text: 'everything' does not read back as the same value"),
        (Plan(0.1, mask=broken),
         "the mask of this plan cannot be written as text: 'nam' is not what a mask looks at; did you mean "
                                 "'name'? (at character 1: 'nam')"),
        (Plan(0.1, groups=(Group("a\ud800", "x"),)), "a group's name cannot be written as UTF-8: '\\ud800'."),
    ):  # fmt: skip
        with pytest.raises(InvalidValueError) as caught:
            to_toml(plan)
        assert str(caught.value) == said


def test_what_cannot_be_saved_or_loaded_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "word.json").write_text('{"peek": 1}', "utf-8")
    (tmp_path / "high.txt").write_text("peak -1", "utf-8")
    (tmp_path / "mark.toml").write_bytes(b"\xef\xbb\xbf" + FORMAT.encode())
    assert load(tmp_path / "mark.toml") == Plan(0.1)
    cases: list[tuple[Callable[[], Any], type[DwindleError], str]] = [
        (lambda: save(PLAN, 3), InvalidValueError, "path must be the path of a file; got 3."),  # type: ignore[arg-type]
        (lambda: load(3), InvalidValueError, "path must be the path of a file; got 3."),  # type: ignore[arg-type]
        (lambda: save(PLAN, tmp_path / "a.yaml"), ParseError, "a plan is saved as .toml, .json or .txt; got 'a.yaml'."),
        (lambda: save(PLAN, tmp_path / "no" / "a.toml"), DataError,
         f"{tmp_path / 'no' / 'a.toml'}: the plan cannot be written: No "
         "such file or directory. Is there room, and leave?"),
        (lambda: load(tmp_path / "no.toml"), ParseError, f"{tmp_path / 'no.toml'}: cannot be read: No such file or directory."),
        (lambda: load(tmp_path / "bad.toml"), ParseError,
         f"{tmp_path / 'bad.toml'}: not a text file in UTF-8. A plan is saved by dwindle.text.save."),
        (lambda: load(tmp_path / "word.json"), UnknownNameError,
         f"{tmp_path / 'word.json'}: plan key 'peek' is not known; did you mean 'peak'?"),
        (lambda: load(tmp_path / "high.txt"), InvalidValueError,
         f"{tmp_path / 'high.txt'}: peak must be zero or more; got -1. The learning rate must not be negative."),
    ]  # fmt: skip
    for call, error, said in cases:
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == said


@pytest.mark.parametrize("value", [2.0**-1017, 2.0**-24, 2.0**89, 9007199254740993.0, 5e-324, 1.7976931348623157e308])
def test_a_number_is_written_with_no_more_digits_than_python_needs(value: float) -> None:
    digits = [
        sum(c.isdigit() for c in t.partition("e")[0].replace(".", "").strip("0")) for t in (short(value), repr(value))
    ]
    assert float(short(value)) == value
    assert digits[0] == digits[1]


def test_a_time_is_up_to_1e30_and_where_zero_is_allowed_it_is_allowed_in_every_unit() -> None:
    assert Time(1e30, "tok").value == 1e30
    for text in ("0st", "0ep", "0%"):
        assert as_time("rise", text, low=0) in (0, Time(0, text.strip("0")))
    with pytest.raises(InvalidValueError, match=r"^rise must be zero or more; got -5ep"):
        as_time("rise", Time(-5, "ep"), low=0)
    with pytest.raises(InvalidValueError, match=r"^rise must be positive; got 0ep"):
        as_time("rise", "0ep")
