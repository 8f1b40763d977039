"""Bad inputs over the whole public face: each is refused before anything is done, naming parameter, value and remedy."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from bad_inputs import COMMANDS, VALUES, prepare
from bad_inputs_frameworks import FRAMEWORKS
from bad_inputs_library import LIBRARY
from dwindle.decay import convert
from dwindle.schedule import Join, Repeat, Shift, Stretch
from dwindle.text import parse

CASES: list[tuple[str, Callable[[], Any], str]] = [
    # 1: the learning rate
    ("lr negative", lambda: dw.Plan(-1), "peak must be zero or more; got -1"),
    ("lr nan", lambda: dw.Plan(math.nan), "peak must be finite; got nan"),
    ("lr inf", lambda: dw.Plan(math.inf), "peak must be finite; got inf"),
    ("lr text", lambda: dw.Plan("0.1"), "peak must be a real number; got '0.1'"),
    ("lr bool", lambda: dw.Plan(True), "peak must be a real number; got True"),
    ("lr none", lambda: dw.Plan(None), "peak must be a real number; got None"),
    ("lr nan numpy", lambda: dw.Plan(np.float64("nan")), "peak must be finite"),
    ("lr complex", lambda: dw.Plan(1j), "peak must be a real number"),
    ("schedule a number", lambda: dw.Plan(0.1, 0.5), "schedule must be a Schedule; got 0.5"),
    ("decay a number", lambda: dw.Plan(0.1, dw.constant(), 0.01), "decay must name its convention; got 0.01"),
    # 2: the weight decay
    ("wd negative", lambda: dw.decoupled(-0.1), "weight_decay must be zero or more; got -0.1"),
    ("wd nan", lambda: dw.l2(math.nan), "weight_decay must be finite; got nan"),
    ("wd inf", lambda: dw.independent(math.inf), "weight_decay must be finite"),
    ("wd text", lambda: dw.corrected("0.1"), "weight_decay must be a real number; got '0.1'"),
    ("wd bool", lambda: dw.decoupled(False), "weight_decay must be a real number; got False"),
    ("lr·wd of 2", lambda: dw.Plan(0.1, decay=dw.decoupled(20.0)), "change sign and grow"),
    ("independent 2", lambda: dw.Plan(0.1, decay=dw.independent(2.5)), "change sign and grow"),
    ("cautious l2", lambda: dw.l2(0.1, cautious=True), "cautious compares the update"),
    ("cautious text", lambda: dw.decoupled(0.1, cautious="yes"), "cautious must be True or False; got 'yes'"),
    ("lambda negative", lambda: dw.l2.from_cost(-5, 100), "lam must be zero or more; got -5"),
    ("n zero", lambda: dw.l2.from_cost(5, 0), "n must be positive; got 0"),
    ("n fraction", lambda: dw.l2.from_cost(5, 10.5), "n must be a whole number; got 10.5"),
    ("momentum 1", lambda: dw.decoupled.from_cost(5, 10, momentum=1.0), "momentum must be below 1; got 1.0"),
    ("sklearn without batch", lambda: dw.l2.from_sklearn(1e-4, estimator="mlp"), "give batch_size"),
    ("sklearn estimator", lambda: dw.l2.from_sklearn(1e-4, estimator="svm"), "'svm' is not known"),
    ("tfa unscheduled", lambda: dw.independent.from_tfa(1e-4, scheduled=False), "no constant decay here does"),
    (
        "adam l2 to decoupled",
        lambda: convert(dw.l2(0.1), "decoupled", peak=0.1, optimiser="adam"),
        "no constant carries l2",
    ),
    ("convention", lambda: convert(dw.l2(0.1), "decopled", peak=0.1), "did you mean 'decoupled'"),
    # 3: lengths
    ("steps 0", lambda: dw.cosine(0), "steps must be positive; got 0"),
    ("steps negative", lambda: dw.linear(-100), "steps must be positive; got -100"),
    ("steps fraction", lambda: dw.cosine(10.5), "steps must be a whole number; got 10.5"),
    ("steps 0.02", lambda: dw.warmup(0.02), "write '2%'"),
    ("steps nan", lambda: dw.cosine(math.nan), "steps must be a whole number; got nan"),
    ("steps bool", lambda: dw.cosine(True), "steps must be a whole number; got True"),
    ("every 0", lambda: dw.step(0), "every must be positive; got 0"),
    ("every none", lambda: dw.exponential(0.9, None), "every must be given"),
    ("time 0ep", lambda: dw.step("0ep"), "every must be positive; got 0ep"),
    ("share over 100", lambda: dw.warmup("120%"), "between 0% and 100%; got 120%"),
    ("unit", lambda: dw.warmup("5 eps"), "unit 'eps'"),
    ("time text", lambda: dw.warmup("soon"), "'soon' is not a time"),
    ("epochs unknown", lambda: dw.Plan(0.1, dw.step("5ep")).lrs(100), "5ep needs to know steps_per_epoch"),
    ("tokens unknown", lambda: dw.Plan(0.1, dw.warmup("1e9tok")).lrs(100), "needs to know tokens_per_step"),
    ("horizon empty", lambda: dw.Horizon(), "a Horizon needs its length"),
    ("horizon negative", lambda: dw.Horizon(steps=-5), "steps must be positive; got -5"),
    ("horizon epochs alone", lambda: dw.Horizon(epochs=3), "epochs alone do not say how many steps"),
    ("horizon contradiction", lambda: dw.Horizon(steps=7, epochs=3, steps_per_epoch=5), "contradicts"),
    ("pieces too long", lambda: dw.Plan(0.1, dw.wsd(600, 600)).lrs(1000), "need 1200 steps and leave none of 1000"),
    (
        "two open pieces",
        lambda: dw.Plan(0.1, dw.constant().then(dw.cosine())).lrs(10),
        "only one piece may take the rest",
    ),
    # 4: rates
    ("rate above 1", lambda: dw.exponential(1.1), "say allow_growth=True"),
    ("rate 0", lambda: dw.exponential(0.0), "decay_rate must be positive; got 0.0"),
    ("rate negative", lambda: dw.step(5, -0.5), "decay_rate must be positive; got -0.5"),
    ("rate nan", lambda: dw.exponential(math.nan), "decay_rate must be finite"),
    ("end negative", lambda: dw.cosine(10, end=-0.1), "end must be zero or more; got -0.1"),
    ("power 0", lambda: dw.polynomial(10, power=0), "power must be positive; got 0"),
    ("geometric to 0", lambda: dw.schedule.Ramp(shape="geometric"), "never reaches 0"),
    ("shape", lambda: dw.warmup(5, shape="cosin"), "did you mean 'cosine'"),
    ("scale negative", lambda: dw.cosine(5) * -1, "factor must be zero or more; got -1"),
    ("stretch 0", lambda: Stretch(dw.cosine(5), 0), "by must be positive; got 0"),
    ("clip upside down", lambda: dw.cosine(5).clip(0.5, 0.1), "high must be at least 0.5; got 0.1"),
    ("growth below 1", lambda: Repeat(dw.cosine(), 5, growth=0.5), "growth must be at least 1; got 0.5"),
    ("repeat without length", lambda: Repeat(dw.cosine()), "repeat needs every="),
    ("join of numbers", lambda: Join((1.0,)), "each of the pieces must be a Schedule; got 1.0"),
    ("product with text", lambda: dw.schedule.Product(("a",)), "each of the factors must be a Schedule; got 'a'"),
    ("custom not callable", lambda: dw.custom(0.5), "must be callable"),
    ("custom nan", lambda: dw.custom(lambda t: math.nan)(3), "must be finite"),
    # 5: boundaries
    ("boundaries unsorted", lambda: dw.multi_step((60, 30)), "boundaries must increase"),
    ("boundaries twice", lambda: dw.multi_step((30, 30)), "boundaries must increase"),
    ("boundaries negative", lambda: dw.multi_step((-5, 30)), "boundaries must be positive; got -5"),
    ("boundaries empty", lambda: dw.multi_step(()), "boundaries must not be empty"),
    ("boundaries a number", lambda: dw.piecewise(5, (1, 2)), "boundaries must be a sequence; got 5"),
    ("factors too few", lambda: dw.piecewise((5,), (1,)), "one value more than boundaries"),
    ("table empty", lambda: dw.table(()), "factors must not be empty"),
    # 6: steps
    ("step text", lambda: dw.cosine(5)("3"), "a step must be a number"),
    ("unresolved call", lambda: dw.cosine()(3), "call .resolve(Horizon(...))"),
    ("unresolved shift", lambda: Shift(dw.cosine(5), "5ep")(3), "times that are not steps"),
    # mask and groups
    ("rule subject", lambda: dw.Rule("nam", "x", True), "did you mean 'name'"),
    ("rule regex", lambda: dw.Rule("regex", "(", True), "is not a regular expression"),
    ("rule ndim", lambda: dw.Rule("ndim", "two", True), "ndim must be a whole number"),
    ("mask of text", lambda: dw.Mask(("x",)), "made of Rule"),
    ("group twice", lambda: dw.Plan(0.1, groups=(dw.Group("a", "*"), dw.Group("a", "b*"))), "group names must differ"),
    ("group unknown", lambda: dw.Plan(0.1).lrs(5, "head"), "group 'head' is not in the plan"),
    ("layer decay 2", lambda: dw.Plan(0.1, layer_decay=2.0), "layer_decay must be at most 1; got 2.0"),
    # 18, 19: text
    ("word", lambda: parse("peak 1 | cosin to 0"), "cosin"),
    ("call in text", lambda: parse("peak __import__('os')"), "peak"),
    ("power tower", lambda: parse("peak 9**9**9"), "9"),
    ("text too long", lambda: parse("peak 1 | " + "(" * 50_000), "character"),
    ("nan in text", lambda: parse("peak nan"), "nan"),
    ("empty text", lambda: parse(""), "peak"),
]


ALL = [*CASES, *VALUES, *LIBRARY, *FRAMEWORKS]


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the tables name, to work in."""
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("make", "words"), [c[1:] for c in ALL], ids=[c[0] for c in ALL])
def test_each_bad_input_is_refused_in_words(make: Callable[[], Any], words: str, there: Path) -> None:
    before = sorted(there.rglob("*"))
    with pytest.raises(dw.DwindleError) as caught:
        make()
    assert words in str(caught.value)
    assert len(str(caught.value)) < 400
    assert sorted(there.rglob("*")) == before


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_each_bad_command_is_one_line_and_exit_2(
    words: list[str], there: Path, dwindle: Callable[..., tuple[int, str, str]]
) -> None:
    before = sorted(there.rglob("*"))
    code, out, err = dwindle(*words)
    assert (code, out) == (2, ""), err
    assert err.startswith("dwindle: ")
    assert err.count("\n") == 1
    assert len(err) < 500
    if "--storage" not in words:  # known as no database only when the folder is there
        assert sorted(there.rglob("*")) == before


def test_there_are_hundreds_and_each_is_another() -> None:
    assert len(ALL) + len(COMMANDS) >= 600
    assert len({case[0] for case in ALL}) == len(ALL)
    assert len(set(map(tuple, COMMANDS))) == len(COMMANDS)


@pytest.mark.parametrize("value", [0.1, np.float32(0.5), np.int64(1), 0])
def test_good_learning_rates_are_taken(value: Any) -> None:
    assert dw.Plan(value).lr(0) == pytest.approx(float(value), rel=1e-7)


def test_whole_floats_are_steps() -> None:
    assert dw.cosine(100.0) == dw.cosine(100)


def test_a_decay_that_flips_signs_warns_with_the_step() -> None:
    with pytest.warns(UserWarning, match="from the first step at the peak they change sign"):
        dw.Plan(0.1, decay=dw.decoupled(15.0))


def test_an_overshoot_that_was_asked_for_is_not_refused() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dw.Plan(0.1, decay=dw.decoupled(30.0, allow_overshoot=True)).peak == 0.1
