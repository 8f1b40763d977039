"""Plans as text: what is read, how it is written, and how what cannot be read is refused."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dwindle as dw
from dwindle.decay import L2, Corrected, Decoupled, Independent
from dwindle.errors import DataError, DwindleError, InvalidValueError, ParseError, UnknownNameError
from dwindle.mask import Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)  # fmt: skip
from dwindle.text import (
    from_json,
    from_toml,
    load,
    parse,
    parse_decay,
    parse_mask,
    parse_schedule,
    save,
    to_json,
    to_toml,
)  # fmt: skip
from dwindle.units import Time

ep, pc = (lambda n: Time(n, "ep")), (lambda n: Time(n, "%"))
half = Ramp(shape="cosine")

# text in its canonical form, and the value it means
GOLDEN = [
    ("constant", Constant()),
    ("constant at 10%", Constant(0.1)),
    ("warmup 2%", Ramp(1.0, pc(2), 0.0)),
    ("warmup", Ramp(1.0, None, 0.0)),
    ("warmup 500st from 10% shape cosine power 2", Ramp(1.0, 500, 0.1, "cosine", 2.0)),
    ("linear to 0% over 100st", Ramp(0.0, 100)),
    ("linear to 0% from 50% over 100st power 2 warp 1.5", Ramp(0.0, 100, 0.5, "linear", 2.0, 1.5)),
    ("cosine to 10%", Ramp(0.1, shape="cosine")),
    ("sqrt to 0% over 20%", Ramp(0.0, pc(20), shape="sqrt")),
    ("geometric to 0.001% over 3ep", Ramp(1e-5, ep(3), shape="geometric")),
    ("ramp shape exponential to 0% over 20%", Ramp(0.0, pc(20), shape="exponential")),
    ("tanh to 1% over 5ep lower -4 upper 2 warp 2", Tanh(0.01, ep(5), -4.0, 2.0, 2.0)),
    ("exponential by 0.96 every 1000st", Exponential(0.96, 1000)),
    ("exponential by 1.1 every 5ep growing", Exponential(1.1, ep(5), allow_growth=True)),
    ("step by 0.5 every 5ep", Exponential(0.5, ep(5), staircase=True)),
    ("inverse-time every 100st rate 0.5 staircase", PowerLaw(1.0, 100, 0.5, True)),
    ("inverse-sqrt every 1e9tok", PowerLaw(0.5, Time(1e9, "tok"))),
    ("power-law 0.25 every 10ex", PowerLaw(0.25, Time(10, "ex"))),
    ("piecewise at [30ep 60ep] factors [1 0.1 0.01]", Piecewise((ep(30), ep(60)), (1.0, 0.1, 0.01))),
    ("through [-5st 10st] factors [0 1] shape cosine", Interpolate((-5, 10), (0.0, 1.0), "cosine")),
    ("table [1 0.5 0.1] every 5st", Table((1.0, 0.5, 0.1), 5)),
    ("warmup 2%, constant, sqrt to 0% over 20%", dw.wsd("2%", "20%", shape="sqrt")),
    ("constant for 5ep, cosine to 0%", Join((Constant(), half), (ep(5), None))),
    ("(constant, cosine to 0%) for 5ep, constant at 10%", Join((Join((Constant(), half)), Constant(0.1)), (ep(5), None))),
    ("join (cosine to 0%)", Join((half,))),
    ("cosine to 0% for 5st", Join((half,), (5,))),
    ("sum (cosine to 0%)", Sum((half,))),
    ("product (cosine to 0%)", Product((half,))),
    ("(constant at 10%) + (0.9 * (cosine to 0%))", Sum((Constant(0.1), Scaled(half, 0.9)))),
    ("(warmup 5st) * (cosine to 0%)", Product((Ramp(1.0, 5, 0.0), half))),
    ("1 * (cosine to 0%)", Scaled(half, 1.0)),
    ("(cosine to 0%) shift -2ep", Shift(half, ep(-2))),
    ("(cosine to 0%) stretch 2", Stretch(half, 2.0)),
    ("(cosine to 0%) clip 10%", Clip(half, 0.1)),
    ("(cosine to 0%) clip 10% to 1200%", Clip(half, 0.1, 12.0)),
    ("(cosine to 0%) repeat every 10ep growth 2 decay 0.5 cycles 3", Repeat(half, ep(10), 2, 0.5, 3)),
    ("(warmup 5st) mirror every 5st", Mirror(Ramp(1.0, 5, 0.0), 5)),
    ("cosine to 1000% over 29.5% down", Ramp(10.0, Time(29.5, "%", "down"), shape="cosine")),
    ("constant at 1234567890100%", Constant(12345678901.0)),
    ("warmup 1e9tok exact, cosine to 0% over 80ex exact",
     dw.warmup(Time(1e9, "tok", "exact")).then(dw.cosine(Time(80, "ex", "exact")))),
    ("(cosine to 0%) shift -5% down", Shift(half, Time(-5, "%", "down"))),
    ("((cosine to 0%) stretch 2) shift 5st", Shift(Stretch(half, 2.0), 5)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), GOLDEN, ids=[text for text, _ in GOLDEN])
def test_every_word_of_the_grammar(text: str, value: Any) -> None:
    assert parse_schedule(text) == value
    assert str(value) == text


FRIENDLY = [
    ("cosine to 0.1 over 500", "cosine to 10% over 500st"),
    ("COSINE   to 0.1\n over 500 steps", "cosine to 10% over 500st"),
    ("warmup over 2% from 10% shape cosine", "warmup 2% from 10% shape cosine"),
    ("warmup 1_000", "warmup 1000st"),
    ("warmup 1e3", "warmup 1000st"),
    ("linear to 1 from 0 over 10", "warmup 10st"),
    ("polynomial to 0 power 2", "linear to 0% power 2"),
    ("polynomial", "linear to 0% power 2"),
    ("halve every 5ep", "step by 0.5 every 5ep"),
    ("step by 50% every 5 epochs", "step by 0.5 every 5ep"),
    ("exponential by 0.5 every 5ep staircase", "step by 0.5 every 5ep"),
    ("1-sqrt to 0 over 20%", "sqrt to 0% over 20%"),
    ("ramp shape 1-sqrt to 0 over 20 %", "sqrt to 0% over 20%"),
    ("exponential to 0 over 20%", "ramp shape exponential to 0% over 20%"),
    ("inverse_sqrt every 100", "inverse-sqrt every 100st"),
    ("inverse-time every 100st", "inverse-time every 100st"),
    ("piecewise factors [1, 0.5] at [3ep]", "piecewise at [3ep] factors [1 0.5]"),
    ("0.5 * cosine", "0.5 * (cosine to 0%)"),
    ("50% * cosine * warmup 5", "(0.5 * (cosine to 0%)) * (warmup 5st)"),
    ("cosine repeat every 10ep", "(cosine to 0%) repeat every 10ep"),
    ("cosine stretch 2 stretch 3", "(cosine to 0%) stretch 6"),
    ("(((cosine)))", "cosine to 0%"),
    ("constant at .5", "constant at 50%"),
    ("warmup 5, (constant for 3ep, cosine)", "warmup 5st, constant for 3ep, cosine to 0%"),
]


@pytest.mark.parametrize(("text", "canonical"), FRIENDLY, ids=[text for text, _ in FRIENDLY])
def test_friendly_spellings_become_the_one_spelling(text: str, canonical: str) -> None:
    assert str(parse_schedule(text)) == canonical
    assert parse_schedule(canonical) == parse_schedule(text)


PLANS = [
    ("peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1",
     Plan(3e-4, dw.warmup("2%").then(dw.cosine(end=0.1)), Decoupled(0.1))),
    ("peak 0.1 | constant", Plan(0.1)),
    ("peak 0.1 | constant | l2 5e-4", Plan(0.1, decay=L2(5e-4))),
    ("peak 0.1 | constant | independent 1e-4 cautious", Plan(0.1, decay=Independent(1e-4, cautious=True))),
    ("peak 0.1 | constant | decoupled 30 cautious overshoot",
     Plan(0.1, decay=Decoupled(30.0, cautious=True, allow_overshoot=True))),
    ("peak 0.1 | constant | corrected (cosine to 10%)", Plan(0.1, decay=Corrected(Ramp(0.1, shape="cosine")))),
    ("peak 0.1 | constant | mask nothing", Plan(0.1, mask=Mask(()))),
    ('peak 0.1 | constant | mask name "*" decays', Plan(0.1, mask=Mask.everything())),
    ('peak 0.1 | constant | mask kind "Embedding*" does not, ndim "1" decays, standard',
     Plan(0.1, mask=Mask.of(Rule("kind", "Embedding*", False), Rule("ndim", "1", True)))),
    (r'peak 0.1 | constant | group "a|b" "he\"ad.*" times 10 | group "t" "*" times 0 | layer-decay 0.75',
     Plan(0.1, groups=(Group("a|b", 'he"ad.*', 10.0), Group("t", "*", 0.0)), layer_decay=0.75)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "plan"), PLANS, ids=[text for text, _ in PLANS])
def test_plans_in_one_line(text: str, plan: Plan) -> None:
    assert str(plan) == text
    assert parse(text) == plan
    assert from_toml(to_toml(plan)) == plan
    assert from_json(to_json(plan)) == plan


def test_sections_come_in_any_order() -> None:
    text = 'layer_decay 0.5 | group "h" "h.*" times 2 | mask everything | decoupled 0.1 overshoot | cosine | lr 0.1'
    canonical = 'peak 0.1 | cosine to 0% | decoupled 0.1 overshoot | mask name "*" decays | group "h" "h.*" times 2'
    assert str(parse(text)) == canonical + " | layer-decay 0.5"


# text, and what its refusal must say
MALFORMED = [
    ("", "needs its peak"),
    (" \n", "needs its peak"),
    ("cosine", "needs its peak"),
    ("peak", "a number was expected after peak; got the end of the text"),
    ("peak 3e-4 | cosin to 10%", r"'cosin' is not a schedule; did you mean 'cosine'\? \(at character 13: 'cosin to 10%'\)"),
    ("peek 0.1", "did you mean 'peak'"),
    ("peak 0.1 | decopled 0.1", "did you mean 'decoupled'"),
    ("peak 0.1 | peak 0.2", "peak is given twice"),
    ("peak 0.1 | cosine | linear", "schedule is given twice"),
    ("peak 0.1 | l2 0.1 | decoupled 0.1", "decay is given twice"),
    ("peak 0.1 | weight decay 0.1", "does not say which decay; name it: l2 0.1, decoupled 0.1"),
    ("peak 0.1 cosine", r"sections are separated by \|"),
    ("peak 0.1 | warmup 2% cosine", "put a comma before it"),
    ("peak 0.1 | cosine decoupled 0.1", r"put a \| before it"),
    ("peak 0.1 | ", "a schedule was expected; got the end"),
    ("peak 0.1 | | cosine", r"a schedule was expected; got '\|'"),
    ("peak 0.1 | cosine,", "a schedule was expected"),
    ("peak nan", "a number was expected after peak"),
    ("peak inf", "a number was expected"),
    ("peak 1e999", "'1e999' is not a finite number"),
    ("peak 1__0", "'1__0' is not a finite number"),
    ("peak -0.1", "peak must be zero or more"),
    ("peak " + "9" * 5000, "is not a finite number"),
    ("peak 0.1 | warmup " + "9" * 400, "is not a finite number"),
    ("peak 9**9**9", r"sections are separated by \|"),
    ("peak __import__('os')", "a number was expected"),
    ("peak 0.1 | table [9**9**9]", "a number was expected"),
    ("peak 0.1 | cosine to 10% over 5eps", r"'eps' is not a unit; did you mean 'ep'\?"),
    ("peak 0.1 | cosine ovr 5ep", "did you mean 'over'"),
    ("peak 0.1 | cosine 500", "'500' was not expected; say which option of 'cosine' it is: to, from, over"),
    ("peak 0.1 | cosine to 0.1 to 0.2", "'to' is given twice"),
    ("peak 0.1 | warmup 5 over 6", "'over' is given twice"),
    ("peak 0.1 | warmup 0.02", "whole number of steps or a time; got 0.02. For a share of the run write '2%'"),
    ("peak 0.1 | warmup -5", "steps must be positive"),
    ("peak 0.1 | warmup 120%", "between 0% and 100%"),
    ("peak 0.1 | warmup 2% shape cosin", "did you mean 'cosine'"),
    ("peak 0.1 | step every 5ep", "step needs more; write for instance 'step by 0.5 every 5ep'"),
    ("peak 0.1 | step by 0.5", "step needs more"),
    ("peak 0.1 | exponential by 1.5 every 5ep", "say allow_growth=True"),
    ("peak 0.1 | power-law every 5", "write for instance 'power-law 0.25 every 100st'"),
    ("peak 0.1 | geometric to 0", "a geometric ramp never reaches 0"),
    ("peak 0.1 | piecewise at [5ep 3ep] factors [1 1 1]", "boundaries must increase"),
    ("peak 0.1 | piecewise at [5ep] factors [1]", "one value more"),
    ("peak 0.1 | piecewise at 5ep factors [1 2]", "a list such as"),
    ("peak 0.1 | table [", "a number was expected; got the end"),
    ("peak 0.1 | table []", "factors must not be empty"),
    ("peak 0.1 | table [1] every 5ep", "a table counts steps; got 5ep"),
    ("peak 0.1 | (cosine", "a parenthesis is not closed"),
    ("peak 0.1 | cosine)", r"sections are separated by \|"),
    ("peak 0.1 | 0.5", "a number multiplies a schedule"),
    ("peak 0.1 | cosine * 0.5", "a number multiplies a schedule"),
    ("peak 0.1 | 2 * 3 * cosine", "a schedule was expected; got '3'"),
    ("peak 0.1 | cosine repeat", "repeat needs every="),
    ("peak 0.1 | cosine stretch", "stretch needs more"),
    ("peak 0.1 | cosine repeat every 5 growth 2 cycles 1e9", "more than any run"),
    ("peak 0.1 | custom <lambda>", "no function is read from text; write a formula of step"),
    ("peak 0.1 | decoupled", "a number was expected"),
    ("peak 0.1 | cosine to 10", "10 means 1000%; write 10% or 1000% .at character 22: '10'"),
    ("peak 0.1 | linear to 0 from 2", "2 means 200%; write 2% or 200%"),
    ("peak 0.1 | constant at 1_0", "10 means 1000%"),
    ("peak 0.1 | cosine clip 10", "10 means 1000%"),
    ("peak 0.1 | cosine clip 0 to 50", "50 means 5000%"),
    ("peak 0.1 | warmup 5st down", "is taken as it is; leave out 'down'"),
    ("peak 0.1 | wsd warmup 2% cooldown 20%", "by its parts, for instance 'warmup 2%, constant, linear to 0% over 20%'"),
    ("peak 0.1 | one_cycle", "'warmup 30% from 4% shape cosine, cosine to 0.004%'"),
    ("peak 0.1 | decoupled cosine to 10%", r"stands in parentheses; write '\(cosine ...\)'"),
    ("peak 0.1 | decoupled 10%", "sections are separated"),
    ("peak 0.1 | decoupled -1", "weight_decay must be zero or more"),
    ("peak 0.1 | decoupled 0.1 cautious cautious", "given twice"),
    ("peak 0.1 | l2 0.1 cautious", "l2 is part of the update"),
    ("peak 0.1 | decoupled 25", "weights would change sign and grow"),
    ("peak 0.1 | mask", "got|is not what a mask looks at"),
    ('peak 0.1 | mask nam "x" decays', "did you mean 'name'"),
    ('peak 0.1 | mask name "x" decay', "a rule ends in"),
    ('peak 0.1 | mask name "x" does', "a rule ends in"),
    ('peak 0.1 | mask name "x', "not closed"),
    (r'peak 0.1 | mask name "\q" decays', "an escape that JSON does not know"),
    ('peak 0.1 | mask regex "(" decays', "is not a regular expression"),
    ('peak 0.1 | mask regex "' + "(" * 5000 + ")" * 5000 + '" decays', "is not a regular expression"),
    ('peak 0.1 | mask regex "x{99999999999999999999}" decays', "is not a regular expression"),
    ('peak 0.1 | mask ndim "²" decays', "ndim must be a whole number"),
    ('peak 0.1 | group "a" "b"', "times 10"),
    ('peak 0.1 | group "a" times 2', "text in double quotes"),
    ('peak 0.1 | group "" "x" times 2', "a group's name must be text"),
    ('peak 0.1 | group "a" "x" times 2 | group "a" "y" times 2', "group names must differ"),
    ("peak 0.1 | layer-decay 2", "layer_decay must be at most 1"),
    ("peak 0.1 \x00 cosine", "sections are separated"),
    ("peak 0.1 | " + "(" * 60 + "cosine" + ")" * 60, "nest at most 50 deep"),
    ("peak 0.1 | " + "(" * 19_000, "nest at most 50 deep"),
    ("peak 0.1 | cosine" + " shift 1" * 2000, "nest at most 50 deep"),
    ("peak 0.1 | cosine" + " clip 0, constant" * 1000 + " for 0", "length must be positive"),
    ("peak 0.1 | " + "join (" * 3000, "nest at most 50 deep"),
    ("peak 0.1 | cosine" + " " * 20_000, "at most 20000 characters"),
    ('peak 0.1 | mask name "' + '\\"' * 9000, "not closed"),
]  # fmt: skip


def seconds(read: Callable[[str], Any], text: str) -> float:
    """The least processor time of three readings, which a busy machine does not lengthen."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        with contextlib.suppress(DwindleError):
            read(text)
        spent.append(time.process_time() - began)
    return min(spent)


@pytest.mark.parametrize(("text", "said"), MALFORMED, ids=[text[:50] for text, _ in MALFORMED])
def test_what_cannot_be_read_is_refused_at_once(text: str, said: str) -> None:
    with pytest.raises(DwindleError, match=said) as caught:
        parse(text)
    assert seconds(parse, text) < 0.1
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [None, 3, 0.1, b"peak 0.1", ["peak 0.1"], float("nan")])
@pytest.mark.parametrize("read", [parse, parse_schedule, parse_decay, parse_mask, from_toml, from_json])
def test_what_is_no_text_is_refused(read: Callable[[Any], Any], value: Any) -> None:
    with pytest.raises(ParseError, match="read from text"):
        read(value)


def test_any_prefix_and_any_damage_is_read_or_refused() -> None:
    """No text makes the reader raise anything but its own errors."""
    whole = r"peak 3e-4 | 0.5 * (warmup 2% from 1%, cosine to 10% repeat every 5ep) + table [1 .5] | l2 (step by .5 every 3)"
    whole += r' | mask regex "\\." does not, standard | group "a" "b" times 3 | layer-decay 0.9'
    assert parse(whole)
    for i in range(len(whole)):
        for damaged in (whole[:i], whole[i:], whole[:i] + "|" + whole[i:], whole[:i] + '"' + whole[i + 1 :]):
            with contextlib.suppress(DwindleError):
                parse(damaged)


def test_wide_but_flat_text_is_welcome() -> None:
    s = parse_schedule(", ".join(f"constant at {i}% for 1ep" for i in range(500)))
    assert len(s.pieces) == 500
    assert parse_schedule("(cosine) + " * 300 + "constant").terms[-1] == Constant()


def test_the_deepest_text_that_is_read_can_be_written_again() -> None:
    text = "cosine" + " shift 1" * 49
    deep = parse_schedule(text)
    assert parse_schedule(str(deep)) == deep
    plan = Plan(0.1, deep, L2(deep))
    assert from_toml(to_toml(plan)) == plan
    with pytest.raises(ParseError, match="deep"):
        parse_schedule(text + " shift 1")


# --- files -----------------------------------------------------------------------------------------------------------

TOML = """\
format = "dwindle-plan/1"
peak = 3e-4
schedule = "warmup 2%, cosine to 10%"
decay = "decoupled 0.1"
mask = "name \\"head.*\\" does not, standard"
layer_decay = 0.75

[[group]]
name = "head"
match = "head.*"
lr_scale = 10
"""
PLAN = Plan(
    3e-4,
    dw.warmup("2%").then(dw.cosine(end=0.1)),
    Decoupled(0.1),
    Mask.of(Rule("name", "head.*", False)),
    (Group("head", "head.*", 10.0),),
    0.75,
)


def test_the_toml_form() -> None:
    assert to_toml(PLAN) == TOML
    assert from_toml(TOML) == PLAN


def test_the_json_form() -> None:
    assert json.loads(to_json(PLAN)) == {
        "format": "dwindle-plan/1",
        "peak": 3e-4,
        "schedule": "warmup 2%, cosine to 10%",
        "decay": "decoupled 0.1",
        "mask": 'name "head.*" does not, standard',
        "layer_decay": 0.75,
        "group": [{"name": "head", "match": "head.*", "lr_scale": 10.0}],
    }


HEAD = 'format = "dwindle-plan/1"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("peak = 0.1", "format must be 'dwindle-plan/1'; got None"),
        ('format = "dwindle-plan/2"\npeak = 0.1', "got 'dwindle-plan/2'"),
        (HEAD, "needs its peak"),
        (HEAD + "peek = 0.1", "'peek' is not known; did you mean 'peak'"),
        (HEAD + 'peak = "0.1"', "peak must be a real number"),
        (HEAD + "peak = true", "peak must be a real number"),
        (HEAD + "peak = nan", "peak must be finite"),
        (HEAD + "peak = 1e999", "peak must be finite"),
        (HEAD + "peak = " + "9" * 400, "peak must be finite"),
        (HEAD + "peak = " + "9" * 5000, "not TOML"),
        (HEAD + "peak = 0.1\npeak = 0.2", "not TOML"),
        (HEAD + 'peak = 0.1\nschedule = "cosin"', "schedule: 'cosin' is not a schedule; did you mean 'cosine'"),
        (HEAD + 'peak = 0.1\nschedule = "cosine | l2 3"', "schedule: '|' was not expected|schedule: .*not expected"),
        (HEAD + "peak = 0.1\nschedule = 3", "schedule: a plan is read from text; got 3"),
        (HEAD + 'peak = 0.1\ndecay = "weight 3"', "decay: 'weight' is not a convention"),
        (HEAD + 'peak = 0.1\nmask = "all"', "mask: 'all' is not what a mask looks at"),
        (HEAD + 'peak = 0.1\nlayer_decay = "x"', "layer_decay must be a real number"),
        (HEAD + 'peak = 0.1\ngroup = "x"', "group must be a list of tables"),
        (HEAD + "peak = 0.1\n[[group]]\nname = 'x'", "a group needs name and match"),
        (HEAD + "peak = 0.1\n[[group]]\nname = 'x'\nmatch = 'y'\nlr_scal = 2", "did you mean 'lr_scale'"),
        (HEAD + "peak = 0.1\n[[group]]\nname = 3\nmatch = 'y'", "a group's name must be text"),
        ("a = " + "[" * 9000, "nests too deep|not TOML"),
        (HEAD + "a." * 5000 + "b = 1", "is no key of a plan"),
        (HEAD + "[" + "a." * 5000 + "b]", "is no key of a plan"),
        (HEAD + "a.b = 1", "'a' is not known"),
        ("#" + "x" * 20_000, "at most 20000"),
    ],
)
def test_bad_toml_is_refused(text: str, said: str) -> None:
    with pytest.raises(DwindleError, match=said):
        from_toml(text)
    assert seconds(from_toml, text) < 0.1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("[]", "a plan is a table"),
        ("null", "a plan is a table"),
        ('{"format": "dwindle-plan/1", "peak": NaN}', "peak must be finite"),
        ('{"format": "dwindle-plan/1", "peak": null}', "peak must be a real number"),
        ('{"format": "dwindle-plan/1", "peak": 0.1, "peak": 0.2}', "'peak' is given twice"),
        ('{"format": "dwindle-plan/1", "peak": 0.1, "group": {}}', "group must be a list of tables"),
        ('{"format": "dwindle-plan/1", "peak": ' + "9" * 5000 + "}", "not JSON"),
        ("[" * 19_000, "nests too deep"),
        ('{"a":' * 3000, "nests too deep|not JSON"),
    ],
)
def test_bad_json_is_refused(text: str, said: str) -> None:
    with pytest.raises(DwindleError, match=said):
        from_json(text)


@pytest.mark.parametrize("name", ["plan.toml", "plan.json", "plan.txt", "PLAN.TOML"])
def test_saved_plans_are_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("an older file")
    assert save(PLAN, tmp_path / name) == tmp_path / name
    assert load(tmp_path / name) == PLAN
    assert load(str(tmp_path / name)) == PLAN
    assert os.listdir(tmp_path) == [name]


def test_a_hand_written_line_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "recipe").write_bytes(b"\xef\xbb\xbflr 3e-4\r\n| warmup 2%, cosine to 0.1\r\n")
    assert str(load(tmp_path / "recipe")) == "peak 3e-4 | warmup 2%, cosine to 10%"


def test_strange_names_survive_every_form(tmp_path: Path) -> None:
    odd = 'q"\\ \x00\x1f\x7f\x85\u2028\t\n\r é 😀 | [[x]] #'
    plan = Plan(0.1, mask=Mask((Rule("name", odd, True),)), groups=(Group(odd, odd),))
    assert parse(str(plan)) == plan
    for name in ("a.toml", "a.json", "a.txt"):
        assert load(save(plan, tmp_path / name)) == plan


def test_what_has_no_text_is_refused_with_the_reason_and_leaves_the_file(tmp_path: Path) -> None:
    plan = Plan(0.1, dw.warmup(5).then(dw.custom(lambda step: 0.5)))
    assert str(plan) == "peak 0.1 | warmup 5st, custom <lambda>"
    for write in (to_toml, to_json):
        with pytest.raises(InvalidValueError, match=r"schedule of this plan cannot be written.*no function is read"):
            write(plan)
    (tmp_path / "plan.toml").write_text("kept")
    with pytest.raises(InvalidValueError, match="cannot be written"):
        save(plan, tmp_path / "plan.toml")
    assert (tmp_path / "plan.toml").read_text() == "kept"
    deep: Any = Constant()
    for _ in range(2000):
        deep = Scaled(deep, 0.5)
    long = dw.table([i / 7 for i in range(3000)])
    many = tuple(Group(f"{i}" * 300, "*") for i in range(60))
    for bad, why in (
        (Plan(0.1, deep), "deep"),
        (Plan(0.1, long), "at most 20000"),
        (Plan(0.1, groups=many), "at most 20000"),
        (Plan(0.1, groups=(Group("\ud800", "*"),)), "UTF-8"),
    ):
        with pytest.raises(InvalidValueError, match=why):
            to_toml(bad)


def test_files_that_cannot_be_read_say_which(tmp_path: Path) -> None:
    bad = {
        "big.toml": b"#" * 30_000,
        "binary.toml": b"\xff\xfe\x00",
        "bad.toml": b'format = "dwindle-plan/1"\npeak = 0.1\nschedule = "cosin"',
        "bad.txt": b"peak x",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    for name in [*bad, "absent.toml", "."]:
        with pytest.raises(DwindleError, match=re.escape(str(tmp_path / name))):
            load(tmp_path / name)
    with pytest.raises(ParseError, match=r"\.toml, \.json or \.txt"):
        save(PLAN, tmp_path / "plan.yaml")
    assert not (tmp_path / "plan.yaml").exists()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.toml").write_text("kept")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"plan\.toml: the plan cannot be written: No space"):
        save(PLAN, tmp_path / "plan.toml")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.toml"]
    assert (tmp_path / "plan.toml").read_text() == "kept"


def test_unknown_names_keep_their_class() -> None:
    with pytest.raises(UnknownNameError):
        parse("peak 0.1 | cosin")
    with pytest.raises(InvalidValueError):
        parse("peak 0.1 | warmup -1")
