"""Corners of plans, decays and masks: every refusal in full, what lies on a bound, and each default by a number."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import numpy as np
import pytest

import dwindle as dw
from dwindle.decay import (
    L2,
    Corrected,
    Decay,
    Decoupled,
    Independent,
    Penalty,
    convert,
    half_life,
    peak_share,
    penalty,
    timescale,
)
from dwindle.depths import depths
from dwindle.errors import DwindleError, InvalidValueError, NoExactMapError, UnknownNameError, shown
from dwindle.mask import Decision, Mask, Param, Rule, report
from dwindle.plan import Assignment, Dose, Group, Plan, Rates, as_plan, difference, integrated_decay
from dwindle.schedule import Constant, Ramp
from dwindle.units import Horizon, Time

HALVES = "\ud800\udccb"
SPLIT = r"'\ud800\udccb' holds the two halves of one character; write the character itself."
HALF = Time(50, "%")
COST = "λ is the strength of the penalty (λ/2n)·Σw²."
PER_N = "n is the number of training examples."
WHOLE = Mask((Rule("name", "head.*", True), Rule("regex", "^blocks", False)))
EIGHT = "adadelta, adagrad, adam, adamax, lion, nadam, radam, rmsprop, sgd"

INVALID: list[tuple[Any, dict[str, Any], str]] = [
    *[(kind, given, said) for kind in (L2, Decoupled, Independent, Corrected) for given, said in (
        ({"weight_decay": -1e-9},
         "weight_decay must be zero or more; got -1e-09. Decay shrinks weights; a negative one grows them."),
        ({"weight_decay": "1"},
         "weight_decay must be a real number; got '1'. Give a number such as 0.1, or a schedule."),
        ({"weight_decay": 0.1, "cautious": 1}, "cautious must be True or False; got 1."),
        ({"weight_decay": 0.1, "allow_overshoot": None}, "allow_overshoot must be True or False; got None."),
    )],
    (L2, {"weight_decay": 0.1, "cautious": True},
     "cautious compares the update with the weight, and l2 is part of the update; use decoupled."),
    *[(make, {"lam": 1.0, "n": 10} | more | given, said)
      for make, more in ((L2.from_cost, {}), (Decoupled.from_cost, {}), (Independent.from_cost, {"peak": 0.5}))
      for given, said in (
        ({"lam": -1}, f"lam must be zero or more; got -1. {COST}"),
        ({"n": 0}, f"n must be positive; got 0. {PER_N}"),
        ({"n": 2.5}, f"n must be a whole number; got 2.5. {PER_N}"),
    )],
    *[(make, {"lam": 1.0, "n": 10} | more | given, said)
      for make, more in ((Decoupled.from_cost, {}), (Independent.from_cost, {"peak": 0.5})) for given, said in (
        ({"momentum": -0.5}, "momentum must be zero or more; got -0.5."),
        ({"momentum": 1}, "momentum must be below 1; got 1."),
    )],
    (Independent.from_cost, {"lam": 1.0, "n": 10, "peak": -0.5}, "peak must be zero or more; got -0.5."),
    (Independent.from_tfa, {"weight_decay": 0.1, "scheduled": 1}, "scheduled must be True or False; got 1."),
    (L2.from_keras, {"l2": -0.5}, "l2 must be zero or more; got -0.5."),
    (L2.from_sklearn, {"alpha": -0.5, "estimator": "sgd"}, "alpha must be zero or more; got -0.5."),
    (L2.from_sklearn, {"alpha": 0.5, "estimator": "mlp"},
     "the alpha of scikit-learn's MLP is divided by the batch; give batch_size."),
    (L2.from_sklearn, {"alpha": 0.5, "estimator": "mlp", "batch_size": 0}, "batch_size must be positive; got 0."),
    (convert, {"decay": 0.1, "to": "l2", "peak": 0.1},
     "decay must name its convention, such as l2(x) or decoupled(x); got 0.1."),
    *[(convert, {"decay": L2(0.1), "to": "decoupled", "peak": 0.1} | given, said) for given, said in (
        ({"peak": 0}, "peak must be positive; got 0."),
        ({"momentum": -0.5}, "momentum must be zero or more; got -0.5."),
        ({"momentum": 1.0}, "momentum must be below 1; got 1.0."),
        ({"dampening": -0.5}, "dampening must be zero or more; got -0.5."),
        ({"dampening": 1.0}, "dampening must be below 1; got 1.0."),
    )],
    (penalty, {"coefficient": -1, "groups": {}}, "coefficient must be zero or more; got -1."),
    (penalty, {"coefficient": 1, "groups": [1.0]}, "groups must map a name to its weight arrays; got [1.0]."),
    (penalty, {"coefficient": 1, "groups": {"a": ["x"]}},
     "the weights of 'a' must be numbers; got 'x'."),
    (penalty, {"coefficient": 1, "groups": {"a": 3}},
     "groups must map a name to arrays of numbers: 'int' object is not iterable."),
    *[(time, given, said) for time in (timescale, half_life) for given, said in (
        ({"share": -0.1}, "share must be zero or more; got -0.1."), ({"share": math.nan}, "share must be finite; got nan."),
    )],
    (half_life, {"share": 1.0}, "share must be below 1; got 1.0."),
    (Group, {"name": "", "match": "*"}, "a group's name must be text; got ''."),
    (Group, {"name": "a", "match": 3}, "a group's match must be text; got 3."),
    (Group, {"name": HALVES, "match": "*"}, f"a group's name {SPLIT}"),
    (Group, {"name": "a", "match": HALVES}, f"a group's match {SPLIT}"),
    (Group, {"name": "a", "match": "*", "lr_scale": -1}, "lr_scale must be zero or more; got -1."),
    *[(Plan, {"peak": 0.1} | given, said) for given, said in (
        ({"peak": "3e-4"}, "peak must be a real number; got '3e-4'. Give a number such as 3e-4."),
        ({"peak": -1}, "peak must be zero or more; got -1. The learning rate must not be negative."),
        ({"schedule": 3}, "schedule must be a Schedule; got 3. Use a function such as cosine(), or parse(text) for a "
         "whole plan."),
        ({"schedule": dw.plateau(0.5)}, f"schedule must be a Schedule; got {shown(dw.plateau(0.5))}. A rule that answers a "
         "metric goes beside the plan: torch.attach(optimizer, plan, run, feedback=rule)."),
        ({"mask": None}, 'mask must be a Mask; got None. Use Mask.of(Rule("name", "*.bias", False)), or parse(text) for a whole '
         "plan."),
        ({"decay": 0.1},
         "decay must name its convention; got 0.1. Use l2(x), decoupled(x), independent(x) or corrected(x)."),
        ({"groups": ("a",)}, "groups must be a sequence of Group; got 'a'."),
        ({"groups": (Group("a", "x"), Group("a", "y"))}, "group names must differ; got ['a', 'a']."),
        ({"layer_decay": 0}, "layer_decay must be positive; got 0."),
        ({"layer_decay": 1.5}, "layer_decay must be at most 1; got 1.5."),
    )],
    *[(Plan, {"peak": 0.1, "decay": decay}, f"{text} times each weight a step at peak 0.1: weights would change sign and grow. "
       f"Lower it below {below}, or say allow_overshoot=True.") for decay, text, below in (
        (Decoupled(25.0), "decoupled decay 25 takes 2.5", "10"),
        (Independent(4.0), "independent decay 4 takes 4", "1"),
        (Corrected(30.0), "corrected decay 30 takes 3", "10"),
    )],
    (Plan, {"peak": 0.5, "decay": Decoupled(4.0)},
     "decoupled decay 4 takes 2 times each weight a step at peak 0.5: weights would change sign and grow. "
     "Lower it below 2, or say allow_overshoot=True."),
    (Plan(0.1).assign, {"params": [3]}, "params must be a sequence of Param; got 3."),
    (Plan(0.1, layer_decay=0.5).assign, {"params": [Param(name, (3, 3)) for name in "abcd"]},
     "layer_decay counts the blocks by their number, as in blocks.3.weight or block_3/kernel, and there is none in a, b, c ...; "
     "name the blocks so, or say each rate by a group."),
    *[(call, {"horizon": 0} | ({"plan": Plan(0.1)} if call is integrated_decay else {}),
       "horizon must be positive; got 0. Give steps, or a Horizon.")
      for call in (Plan(0.1).resolve, Plan(0.1).factors, Plan(0.1).lrs, Plan(0.1).table, Plan(0.1).timescale, integrated_decay)],
    (as_plan, {"value": "peak 0.1"}, "plan must be a Plan; got 'peak 0.1'. For text use parse(text)."),
    (difference, {"old": 3, "new": Plan(0.1)}, "plan must be a Plan; got 3. For text use parse(text)."),
    (difference, {"old": Plan(0.1), "new": 4}, "plan must be a Plan; got 4. For text use parse(text)."),
    *[(Rule, {"subject": "name", "pattern": "x", "decays": True} | given, said) for given, said in (
        ({"pattern": 3}, "the pattern of a name rule must be text; got 3."),
        ({"decays": 1}, "decays must be True or False; got 1."),
        ({"pattern": ""}, "the pattern of a name rule must not be empty."),
        ({"pattern": HALVES, "subject": "kind"}, f"the pattern of a kind rule {SPLIT}"),
        ({"pattern": 2.0, "subject": "ndim"}, "the pattern of a ndim rule must be text; got 2.0."),
        ({"pattern": -1, "subject": "ndim"}, "ndim must be a whole number; got '-1'."),
        ({"pattern": True, "subject": "ndim"}, "ndim must be a whole number; got 'True'."),
        ({"pattern": "1234567890", "subject": "ndim"}, "ndim must be a whole number; got '1234567890'."),
        ({"pattern": "(" * 80, "subject": "regex"},
         f"'{'(' * 56}... is not a regular expression: missing ), unterminated subpattern at position 79."),
    )],
    *[(Mask, {"rules": rules}, f"a mask is made of Rule(subject, pattern, decays) in a tuple; got {shown}.")
      for rules, shown in ((3, "3"), ((Rule("ndim", "2", True), 3), "3"), ("standard", "'standard'"),
                           (Rule("ndim", "2", True), "Rule(subject='ndim', pattern='2', decays=True)"))],
    (Mask().decide, {"params": [("a", (3, 3))]}, "params must be a sequence of Param; got ('a', (3, 3))."),
]  # fmt: skip

UNKNOWN: list[tuple[Any, dict[str, Any], str]] = [
    (L2.from_sklearn, {"alpha": 0.1, "estimator": "mpl"}, "estimator 'mpl' is not known; did you mean 'mlp'?"),
    (L2.from_sklearn, {"alpha": 0.1, "estimator": "ridge"}, "estimator 'ridge' is not known; it must be one of mlp, sgd."),
    (convert, {"decay": L2(0.1), "to": "decopled", "peak": 0.1}, "convention 'decopled' is not known; did you mean 'decoupled'?"),
    (convert, {"decay": L2(0.1), "to": "tfa", "peak": 0.1},
     "convention 'tfa' is not known; it must be one of corrected, decoupled, independent, l2."),
    (convert, {"decay": L2(0.1), "to": "decoupled", "peak": 0.1, "optimiser": "ZZ"},
     f"optimiser 'zz' is not known; it must be one of {EIGHT}."),
    (Rule, {"subject": "nam", "pattern": "x", "decays": True}, "subject 'nam' is not known; did you mean 'name'?"),
    (Rule, {"subject": "shape", "pattern": "x", "decays": True},
     "subject 'shape' is not known; it must be one of kind, name, ndim, regex."),
    (Plan(0.1).scale, {"group": "x"}, "group 'x' is not in the plan, which has no groups."),
    (Plan(0.1, groups=(Group("head", "h"),)).scale, {"group": "heat"}, "group 'heat' is not in the plan; did you mean 'head'?"),
    (Plan(0.1, groups=(Group("all", "*.weight"), Group("head", "head.*"))).assign, {"params": [Param("head.weight", (3, 3))]},
     "group pattern 'head.*' matches no parameter that an earlier group has not taken."),
    (WHOLE.decide, {"params": [Param(name, (3,)) for name in ("head.a", "b", "c", "d", "e")]},
     "mask rule 'regex \"^blocks\" does not' matches no parameter; the names begin head.a, b, c, d ..."),
]  # fmt: skip

NO_MAP: list[tuple[Any, dict[str, Any], str]] = [
    (Independent.from_tfa, {"weight_decay": 0.1, "scheduled": False},
     "TensorFlow Addons' unscheduled weight_decay ignores the learning rate; no constant decay here does. "
     "With a constant schedule it is independent(weight_decay); otherwise give its λ as a schedule, λ/f."),
    *[(convert, {"decay": decay, "to": to, "peak": 0.1, "optimiser": name},
       f"with {name} no constant carries {way}: l2 is divided by the gradient's running size, {other} decay is not. "
       "Keep the convention, or search λ anew.") for decay, to, name, way, other in (
        *((L2(0.1), "independent", name, "l2 into independent", "independent") for name in EIGHT.split(", ") if name != "sgd"),
        (Corrected(0.1), "l2", "Adam", "corrected into l2", "corrected"),
    )],
]  # fmt: skip

REFUSED = [
    *((InvalidValueError, *row) for row in INVALID),
    *((UnknownNameError, *row) for row in UNKNOWN),
    *((NoExactMapError, *row) for row in NO_MAP),
]


@pytest.mark.parametrize(("error", "call", "given", "said"), REFUSED)
def test_a_refusal_names_what_was_given_and_the_way_out(
    error: type[DwindleError], call: Any, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DwindleError) as caught:
        call(**given)
    assert type(caught.value) is error
    assert str(caught.value) == said


def test_what_lies_on_a_bound_is_accepted() -> None:
    assert [kind(0).weight_decay for kind in (L2, Decoupled, Independent, Corrected)] == [0.0] * 4
    assert L2.from_cost(0.0, 1).weight_decay == L2.from_keras(0).weight_decay == 0.0
    assert (
        L2.from_sklearn(0, estimator="sgd").weight_decay
        == L2.from_sklearn(0, estimator="mlp", batch_size=1).weight_decay
    )
    assert Independent.from_cost(1.0, 1, peak=0).weight_decay == 0.0
    assert penalty(0, {"a": [[1.0]]}) == Penalty(0.0, {"a": 0.0})
    assert (Plan(0).peak, Group("a", "*", 0).lr_scale, Plan(0.1, layer_decay=1).layer_decay) == (0.0, 0.0, 1.0)
    assert [str(Rule("ndim", n, True)) for n in ("0", "123456789")] == ['ndim "0" decays', 'ndim "123456789" decays']
    assert timescale(math.nextafter(1.0, 0.0)) == pytest.approx(1.0)


FROZEN: list[Any] = [
    *(kind(0.1) for kind in (L2, Decoupled, Independent, Corrected)), Plan(0.1), Group("a", "*"), Rule("ndim", "2", True), Mask(),
]  # fmt: skip


@pytest.mark.parametrize("value", FROZEN, ids=lambda value: type(value).__name__)
def test_a_value_is_never_changed_and_is_as_good_as_its_equal(value: Any) -> None:
    first = fields(value)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(value, first, getattr(value, first))
    assert not hasattr(value, "__dict__")
    assert {value: 1}[replace(value)] == 1


# Decays


def test_the_share_of_the_peak_is_that_of_the_first_step() -> None:
    falling = Ramp(0.0, 4, 1.0)
    assert [peak_share(kind(falling), 0.5) for kind in (L2, Decoupled, Independent)] == [0.5, 0.5, 1.0]


def test_numbers_are_floats_and_flags_are_off_unless_said() -> None:
    for kind in (L2, Decoupled, Independent, Corrected):
        decay = kind(1)
        assert type(decay.weight_decay) is float
        assert (decay.cautious, decay.allow_overshoot, str(decay)) == (False, False, f"{decay.convention} 1")
    assert str(Decoupled(Ramp(0.5, 8), True, True)) == "decoupled (linear to 50% over 8st) cautious overshoot"


def test_a_schedule_of_lambda_is_resolved_and_read_at_the_step() -> None:
    given = Ramp(0.0, HALF)
    for kind in (L2, Decoupled, Independent, Corrected):
        decay = kind(given, allow_overshoot=True).resolve(Horizon(steps=16))
        assert decay == kind(Ramp(0.0, 8), allow_overshoot=True)
        assert (decay.at(2), decay.coupling(2)) == (0.75, 0.75 if kind is L2 else 0.0)
    shares = {kind: kind(Ramp(0.0, 8)).share(2, 0.5, 0.25) for kind in (L2, Decoupled, Independent, Corrected)}
    assert shares == {L2: 0.0, Decoupled: 0.375, Independent: 0.1875, Corrected: 0.09375}
    fixed = Decoupled(0.5)
    assert fixed.resolve(Horizon(steps=16)) is fixed


def test_every_other_number_becomes_the_one_of_the_convention() -> None:
    assert L2.from_cost(3.0, 4) == L2(0.75)
    assert (Decoupled.from_cost(3.0, 4), Decoupled.from_cost(3.0, 4, momentum=0.75)) == (
        Decoupled(0.75),
        Decoupled(3.0),
    )
    assert Independent.from_cost(3.0, 4, peak=0.5) == Independent(0.375)
    assert Independent.from_cost(3.0, 4, peak=0.5, momentum=0.75) == Independent(1.5)
    assert (L2.from_torch(0.5), L2.from_keras(0.5), Corrected.from_timm(0.5)) == (L2(0.5), L2(1.0), Corrected(0.5))
    assert Decoupled.from_torch(0.5) == Decoupled.from_keras(0.5) == Decoupled.from_optax(0.5) == Decoupled(0.5)
    assert Independent.from_composer(0.5) == Independent.from_tfa(0.5, scheduled=True) == Independent(0.5)
    assert L2.from_sklearn(0.5, estimator="sgd", batch_size=8) == L2(0.5)
    assert L2.from_sklearn(0.5, estimator="mlp", batch_size=8) == L2(0.0625)


# With peak 1/8, momentum 3/4 and dampening 1/2 the gain of SGD is (1/2)/(1/4) = 2.
CONVERTED = [
    (L2, {"decoupled": 0.5, "independent": 0.0625, "corrected": 0.5}),
    (Decoupled, {"l2": 0.125, "independent": 0.03125, "corrected": 0.25}),
    (Independent, {"l2": 1.0, "decoupled": 2.0, "corrected": 2.0}),
    (Corrected, {"l2": 0.125, "decoupled": 0.25, "independent": 0.03125}),
]


@pytest.mark.parametrize(("kind", "wanted"), CONVERTED, ids=lambda value: getattr(value, "convention", ""))
def test_a_conversion_by_hand(kind: type[Decay], wanted: dict[str, float]) -> None:
    for to, number in wanted.items():
        made = convert(kind(0.25, allow_overshoot=True), to, peak=0.125, optimiser="SGD", momentum=0.75, dampening=0.5)
        assert (made.convention, made.weight_decay, made.cautious, made.allow_overshoot) == (to, number, False, True)


def test_a_conversion_is_for_sgd_without_momentum_unless_said() -> None:
    assert convert(L2(0.25), "decoupled", peak=0.5) == Decoupled(0.25)
    assert convert(L2(0.25), "decoupled", peak=0.5, momentum=0.5) == Decoupled(0.5)
    assert convert(L2(0.25), "decoupled", peak=0.5, dampening=0.5) == Decoupled(
        0.25
    )  # torch's dampening needs a momentum
    same = Decoupled(0.25, cautious=True)
    assert convert(same, "decoupled", peak=-1.0) is same
    assert convert(same, "corrected", peak=0.5, optimiser="anything") == Corrected(0.25, cautious=True)
    with pytest.raises(NoExactMapError, match="no constant carries a cautious decay into l2"):
        convert(same, "l2", peak=0.5)
    assert convert(L2(Ramp(0.0, 8)), "independent", peak=0.5).at(2) == 0.375


def test_penalties_are_summed_in_double_precision() -> None:
    assert penalty(1.0, {"a": [np.array([100, 100], np.int8)]}) == Penalty(10_000.0, {"a": 10_000.0})
    assert penalty(2.0, {"a": [[1e8]], "b": [[1.0]], "c": [[1.0], [[0.0]]]}).total == 1e16 + 2.0
    assert penalty(2.0, {}) == Penalty(0.0, {})


# Plans


def test_a_decay_that_turns_weights_over_is_warned_of_where_the_plan_is_made() -> None:
    with pytest.warns(UserWarning, match="change sign") as heard:
        Plan(0.5, decay=Decoupled(3.0))
    assert heard[0].filename == __file__
    assert str(heard[0].message) == (
        "decoupled decay 3 at peak 0.5 multiplies weights by -0.5: from the first step at the peak they change sign."
    )
    with pytest.warns(UserWarning, match="by 0: from"):
        Plan(0.5, decay=Decoupled(2.0))
    with pytest.warns(UserWarning, match="by -1: from"):
        Plan(0.5, decay=Decoupled(math.nextafter(4.0, 0.0)))
    for silent in (Decoupled(1.999), Decoupled(2.0, allow_overshoot=True), Decoupled(40.0, allow_overshoot=True), L2(1e9),
                   Decoupled(Ramp(40.0))):  # fmt: skip
        Plan(0.5, decay=silent)
    with pytest.raises(InvalidValueError, match="decay 40 takes 20 times each weight"):
        Plan(0.5, decay=Decoupled(Constant(40.0)))


@pytest.mark.parametrize(
    ("lr_scale", "said"),
    [(4.0, "by 0, those that decay: they are 0."), (6.0, "by -0.5, those that decay: they change sign."),
     (12.0, "by -2, those that decay: they change sign and grow.")],
)  # fmt: skip
def test_a_group_in_which_a_decay_turns_weights_over_is_named(lr_scale: float, said: str) -> None:
    with pytest.warns(UserWarning, match="of group 'head'") as heard:
        Plan(0.5, decay=Decoupled(0.5), groups=(Group("head", "head.*", lr_scale), Group("slow", "*", 0.1)))
    (only,) = heard
    times = f"decoupled decay 0.5 at peak 0.5 times {lr_scale:g} multiplies the weights of group 'head' "
    assert (only.filename, str(only.message)) == (__file__, times + said)
    Plan(0.5, decay=Decoupled(0.5, allow_overshoot=True), groups=(Group("head", "head.*", lr_scale),))
    Plan(0.5, decay=Independent(0.5), groups=(Group("head", "head.*", lr_scale),))


GROUPED = (Group("wide", "*.wide", 4.0), Group("other", "*"))


@pytest.mark.parametrize(
    ("decay", "plain", "moved"),
    [
        (None, Dose(0.25, 0.0, 0.0), Dose(1.0, 0.0, 0.0)),
        (L2(0.25), Dose(0.25, 0.0, 0.25), Dose(1.0, 0.0, 0.25)),
        (Decoupled(0.25), Dose(0.25, 0.0625, 0.0), Dose(1.0, 0.25, 0.0)),
        (Independent(0.25), Dose(0.25, 0.125, 0.0), Dose(1.0, 0.0625, 0.0)),
        (Corrected(0.25), Dose(0.25, 0.03125, 0.0), Dose(1.0, 0.0625, 0.0)),
    ],
    ids=str,
)
def test_one_step_by_hand(decay: Decay | None, plain: Dose, moved: Dose) -> None:
    plan = Plan(0.5, Constant(0.5), decay, groups=GROUPED)
    # as it is; then with peak 1/4, a layer at twice and a group at four times the rate
    assert (plan.dose(3), plan.dose(3, "wide", lr_scale=2.0, peak=0.25)) == (plain, moved)
    assert plan.rates(3) == Rates(plain.lr, 1.0 - plain.share, plain.l2)
    assert plan.rates(3, "wide", lr_scale=2.0, peak=0.25) == Rates(moved.lr, 1.0 - moved.share, moved.l2)
    assert plan.dose(3, lr_scale=2.0, decays=False) == Dose(0.5, 0.0, 0.0)
    assert plan.rates(3, "other", decays=False) == Rates(0.25, 1.0, 0.0)
    assert (plan.lr(3), plan.lr(3, "wide"), plan.lr(3, "other")) == (0.25, 1.0, 0.25)


@pytest.mark.parametrize(
    ("decay", "shares", "l2", "dose"),
    [
        (None, [0.0, 0.0, 0.0, 0.0], 0.0, 0.0),
        (L2(0.5), [0.0, 0.0, 0.0, 0.0], 0.5, 0.625),
        (L2(Constant(0.5)), [0.0, 0.0, 0.0, 0.0], 0.5, 0.625),
        (Decoupled(0.5), [0.25, 0.1875, 0.125, 0.0625], 0.0, 0.625),
        (Decoupled(Ramp(0.5, 100, 0.5)), [0.25, 0.1875, 0.125, 0.0625], 0.0, 0.625),
        (Independent(0.5), [0.5, 0.375, 0.25, 0.125], 0.0, 1.25),
        (Independent(Constant(0.5)), [0.5, 0.375, 0.25, 0.125], 0.0, 1.25),
        (Corrected(0.5), [0.25, 0.140625, 0.0625, 0.015625], 0.0, 0.46875),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:.*group 'wide' by 0")
def test_a_whole_run_by_hand(decay: Decay | None, shares: list[float], l2: float, dose: float) -> None:
    """The factors of four steps are 1, 3/4, 1/2 and 1/4; their sum is 5/2."""
    plan, factors = Plan(0.5, Ramp(), decay, groups=GROUPED), np.array([1.0, 0.75, 0.5, 0.25])
    for horizon in (4, Horizon(steps=4)):
        lrs, shrinks, coupling = plan.table(horizon)
        assert plan.factors(horizon).tolist() == factors.tolist()
        assert lrs.tolist() == plan.lrs(horizon).tolist() == (0.5 * factors).tolist()
        assert shrinks.tolist() == (1.0 - np.array(shares)).tolist()
        assert coupling.tolist() == [l2] * 4
        assert plan.decay_shares(horizon).tolist() == shares
        assert plan.sgd_shares(horizon).tolist() == (np.array(shares) + 0.5 * l2 * factors).tolist()
        assert integrated_decay(plan, horizon) == pytest.approx(dose, rel=1e-15)
        left = np.cumprod([1.0, *(1.0 - plan.sgd_shares(horizon))])
        np.testing.assert_allclose(plan.shares_left(horizon), left, rtol=1e-15)
    assert plan.table(4, "wide").lr.tolist() == plan.lrs(4, "wide").tolist() == (2.0 * factors).tolist()
    by_rate = 1.0 if isinstance(decay, Independent) else 4.0  # times, where the rate is four times as high
    assert plan.decay_shares(4, "wide").tolist() == (by_rate * np.array(shares)).tolist()
    assert plan.sgd_shares(4, "wide").tolist() == (by_rate * np.array(shares) + 2.0 * l2 * factors).tolist()
    wide = np.cumprod([1.0, *(1.0 - plan.sgd_shares(4, "wide"))])
    np.testing.assert_allclose(plan.shares_left(4, "wide"), wide, rtol=1e-12)


@pytest.mark.parametrize("share", [1.0, 1.5, 2.0, 3.0])
def test_what_is_left_after_an_overshoot_changes_its_sign(share: float) -> None:
    plan = Plan(1.0, decay=Decoupled(share, allow_overshoot=True))
    np.testing.assert_allclose(plan.shares_left(3), (1.0 - share) ** np.arange(4), rtol=1e-12)
    assert plan.half_life(2).steps == pytest.approx(
        1 / 53, rel=1e-12
    )  # the whole weight is gone at once, or more than it
    assert plan.timescale(2).steps == pytest.approx(1.0 / share, rel=1e-15)


TIMED = [
    L2(0.5),
    Decoupled(0.5),
    Independent(0.0625),
    Corrected(0.5),
    *(kind(0.5 * Ramp(0.0, HALF)) for kind in (L2, Decoupled)),
]


@pytest.mark.parametrize("decay", TIMED, ids=str)
def test_times_of_the_decay_are_in_every_unit_the_run_knows(decay: Decay) -> None:
    plan, run = Plan(0.125, Ramp(), decay), Horizon(steps=100, steps_per_epoch=8, tokens_per_step=32)
    halving = math.log(2.0) / -math.log(15 / 16)
    assert plan.timescale(run) == (16.0, 2.0, 512.0)
    assert plan.half_life(run) == pytest.approx((halving, halving / 8, 32 * halving), rel=1e-14)
    assert plan.timescale(100) == (16.0, None, None)
    assert Plan(0.125).timescale(run) == Plan(0.125).half_life(run) == (math.inf, math.inf, math.inf)


@pytest.mark.parametrize(
    ("plan", "steps"),
    [
        (Plan(1e-3, dw.warmup("10%"), Decoupled(0.1 * dw.warmup("10%"))), 1e4),
        (Plan(1e-3, decay=L2(0.4 * Ramp(0.1))), 2500.0),
        (Plan(1e-3, decay=Independent(0.04 * Ramp(10.0))), 2.5),
        (Plan(1e-3, Ramp(0.0), Decoupled(Ramp(5.0))), 640.0),  # x = lr·λ = 1e-3·(1 - u)·(1 + 4u), the most at u = 3/8
    ],
    ids=str,
)
def test_times_of_a_scheduled_decay_are_where_it_takes_most(plan: Plan, steps: float) -> None:
    assert plan.timescale(1000).steps == pytest.approx(1.0 / plan.sgd_shares(1000).max(), rel=1e-14)
    assert plan.timescale(1000).steps == pytest.approx(steps, rel=2e-3)
    assert plan.timescale(10**17).steps == pytest.approx(steps, rel=1e-4)
    assert {dw.explain(plan, 1000, step).decay.at_the_peak for step in (0, 500, 999)} == {plan.timescale(1000)}


def test_every_time_of_a_plan_is_resolved() -> None:
    plan = Plan(0.1, Ramp(steps=HALF), Decoupled(Ramp(0.5, Time(25, "%"))), WHOLE, GROUPED, 0.5)
    done = Plan(0.1, Ramp(steps=50), Decoupled(Ramp(0.5, 25)), WHOLE, GROUPED, 0.5)
    assert plan.resolve(100) == plan.resolve(Horizon(steps=100)) == done
    assert Plan(0.1).resolve(100) == Plan(0.1) == Plan(0.1, Constant(), None, Mask(), (), None)
    assert difference(plan, done) == {"schedule": (plan.schedule, done.schedule), "decay": (plan.decay, done.decay)}
    assert as_plan(plan) is plan


def test_a_plan_in_one_line() -> None:
    assert str(Plan(0.1)) == "peak 0.1 | constant"
    plan = Plan(0.1, Ramp(), Decoupled(0.1), Mask(()), (Group("head", "head.*", 10.0), Group('"', "é")), 0.5)
    assert str(plan) == (
        'peak 0.1 | linear to 0% | decoupled 0.1 | mask nothing | group "head" "head.*" times 10 | '
        r'group "\"" "\u00e9" times 1 | layer-decay 0.5'
    )
    assert dw.parse(str(plan)) == plan


def test_layers_are_counted_from_the_output() -> None:
    names = ["embed.weight", "blocks.0.weight", "between.weight", "blocks.2.bias", "head.weight"]
    plan = Plan(0.1, groups=(Group("out", "e*", 3.0), Group("rest", "b*.weight", 5.0)), layer_decay=0.5)
    placed = plan.assign(Param(name, (2, 2), "Linear", key) for name, key in zip(names, (1, 2, 3, 4, 1), strict=True))
    two, bias = 'ndim "2" decays', 'regex "(^|[./])bias$" does not'
    assert placed == (
        Assignment("embed.weight", "out", 3.0 * 0.0625, True, two, None),
        Assignment("blocks.0.weight", "rest", 0.625, True, two, None),
        Assignment("between.weight", "rest", 5.0, True, two, None),
        Assignment("blocks.2.bias", None, 0.5, False, bias, None),
        Assignment("head.weight", "out", 3.0 * 0.0625, True, two, "embed.weight"),  # the same tensor, placed once
    )
    with pytest.raises(UnknownNameError, match="'head"):
        replace(plan, groups=(Group("head", "head*"),)).assign(
            [Param("embed.0.w", (2, 2), "", 1), Param("head.w", (2, 2), "", 1)]
        )
    assert Plan(0.1, layer_decay=0.5).assign([]) == ()


@pytest.mark.parametrize(
    ("name", "block"),
    [("blocks.3.weight", 3), ("block_3/kernel", 3), ("layer3.0.conv1.weight", 3), ("12.weight", 12), ("encoder/layers.7", 7),
     ("resblock4/kernel", 4), ("net.res_layers_5.w", 5), ("blocks.0", 0), ("conv_3/kernel/1", 1), ("block3x.2.weight", 2)],
)  # fmt: skip
def test_a_block_is_known_by_its_number(name: str, block: int) -> None:
    placed = Plan(0.1, layer_decay=0.5).assign([Param(each, (2, 2)) for each in ("first", name, "last")])
    assert [each.lr_scale for each in placed] == [0.5 ** (block + 2), 0.5, 1.0]


@pytest.mark.parametrize("name", ["conv_3/kernel", "conv1.weight", "fc2", "x3.weight", "3x.weight"])
def test_a_number_that_counts_no_blocks_is_none(name: str) -> None:
    with pytest.raises(InvalidValueError, match="there is none in"):
        Plan(0.1, layer_decay=0.5).assign([Param(name, (2, 2))])


def layer(*places: str) -> list[str]:
    return [f"{place}.{each}" for place in places for each in ("weight", "bias")]


def several(place: str, numbers: Iterable[int], inner: tuple[str, ...] = ("norm", "attn.qkv", "mlp.fc1")) -> list[str]:
    return [name for i in numbers for each in inner for name in layer(f"{place}.{i}.{each}")]


@pytest.mark.parametrize(
    ("names", "lies"),
    [
        # a head of layers, as of a fresh task on a trained trunk
        ([*layer("embed"), *layer(*(f"blocks.{i}" for i in range(12))), *layer("norm", "head.0", "head.2")],
         {"embed": 0, "blocks.0": 1, "blocks.11": 12, "norm": 13, "head.0": 13, "head.2": 13}),
        # bare layers in front and behind: VGG's and AlexNet's, whose classifier holds most numbers of all
        ([*layer(*(f"features.{i}" for i in (0, 3, 6, 8, 10)), *(f"classifier.{i}" for i in (1, 4, 6)))],
         {"features.0": 1, "features.10": 11, "classifier.1": 12, "classifier.6": 12}),
        # a stem of layers
        ([*layer("stem.0", "stem.1"), *several("stages", range(4)), *layer("head.norm", "head.fc")],
         {"stem.0": 0, "stem.1": 0, "stages.0": 1, "stages.3": 4, "head.fc": 5}),
        # what stands between the stages has their numbers
        ([*layer("downsample.0.0", "downsample.0.1", "downsample.1.0", "downsample.1.1"), *several("stages", range(2)),
          *layer("norm")], {"downsample.0": 1, "downsample.1": 2, "stages.0": 1, "stages.1": 2, "norm": 3}),
        # blocks within stages, of which one stage has most
        ([*(name for i, n in enumerate((2, 2, 18, 2)) for name in several(f"layers.{i}.blocks", range(n))), *layer("head")],
         {"layers.0": 1, "layers.2.blocks.0": 3, "layers.2.blocks.17": 3, "layers.3": 4, "head": 5}),
        # an encoder and its decoder
        ([*layer("shared"), *several("encoder.layers", range(6)),
          *several("decoder.layers", range(3), ("norm", "attn.qkv", "cross.qkv", "mlp.fc1")), *layer("lm_head")],
         {"shared": 0, "encoder.layers.0": 1, "encoder.layers.5": 6, "decoder.layers.0": 1, "decoder.layers.2": 3,
          "lm_head": 7}),
        # a few blocks behind the stack
        ([*several("blocks", range(24)), *several("blocks_token_only", range(2)), *layer("head")],
         {"blocks.0": 1, "blocks.23": 24, "blocks_token_only.0": 25, "head": 25}),
        # a trunk and a head in one Sequential
        ([*layer("0.embed"), *several("0.blocks", range(4)), *layer("0.norm", "1")],
         {"0.embed": 0, "0.blocks.0": 1, "0.blocks.3": 4, "0.norm": 5, "1": 5}),
        # one block, whose parts are numbered, and a head of layers
        ([*layer("embed"), *layer("blocks.0.attn", "blocks.0.mlp.0", "blocks.0.mlp.2", "norm", "head.0", "head.2")],
         {"embed": 0, "blocks.0.attn": 1, "blocks.0.mlp.0": 1, "blocks.0.mlp.2": 1, "norm": 2, "head.0": 2, "head.2": 2}),
        # a stem and a head of more layers than there are blocks
        (layer(*(f"stem.{i}" for i in range(3)), "blocks.0", "blocks.1", *(f"head.{i}" for i in (0, 2, 4, 6))),
         {"stem.2": 0, "blocks.0": 1, "blocks.1": 2, "head.0": 3, "head.6": 3}),
        # a trunk that is named an embedder, and a projection of layers behind it
        ([*layer("embedder.words"), *several("embedder.encoder.layer", range(3)), *layer("projection.0", "projection.2")],
         {"embedder.words": 0, "embedder.encoder.layer.0": 1, "embedder.encoder.layer.2": 3, "projection.2": 4}),
        # a network in a wrapper, which is one of its places and no block
        (layer("1.layers.0", "1.layers.1", "1.layers.2", "1.out"), {"1.layers.0": 1, "1.layers.2": 3, "1.out": 4}),
        (layer("models.0.net.0", "models.0.net.2", "models.0.norm"),
         {"models.0.net.0": 1, "models.0.net.2": 3, "models.0.norm": 4}),
        # a trunk of bare layers, and heads of several
        (layer(*(f"layers.{i}" for i in range(4)), *(f"head.{i}.{j}" for i in range(3) for j in (0, 2))),
         {"layers.0": 1, "layers.3": 4, "head.0": 5, "head.2.2": 5}),
        # a convolutional network for a stem
        ([*several("patch_embed.stages", range(3), ("norm", "conv.0", "conv.1", "conv.2")), *several("blocks", range(2)),
          *layer("norm")],
         {"patch_embed.stages.0": 0, "patch_embed.stages.2": 0, "blocks.0": 1, "blocks.1": 2, "norm": 3}),
        # one block of experts
        (layer("embed", "layers.0.norm", "layers.0.attn.q", *(f"layers.0.experts.{i}" for i in range(16))),
         {"embed": 0, "layers.0.attn.q": 1, "layers.0.experts.0": 1, "layers.0.experts.15": 1}),
        # a head that is all there is
        (layer("embed", "head.0", "head.2"), {"embed": 0, "head.0": 1, "head.2": 3}),
        # layers one after another, and a convolution in front whose parts are numbered
        (layer("0", "2", "4"), {"0": 1, "2": 3, "4": 5}),
        ([*several("features.conv_layers", range(7), ("conv", "norm")), *layer("project"), *several("encoder.layers", range(12))],
         {"features.conv_layers.6": 0, "project": 0, "encoder.layers.0": 1, "encoder.layers.11": 12}),
    ],
)  # fmt: skip
def test_only_the_numbers_of_the_stack_of_blocks_count_layers(names: list[str], lies: dict[str, int]) -> None:
    placed = depths(names)
    for start, depth in lies.items():
        inside = {placed[name] for name in names if name.startswith(f"{start}.")}
        assert inside == {depth}, start


def test_a_numbered_layer_of_a_sorted_tree_lies_where_its_name_says() -> None:
    blocks = [f"blocks_{i}/kernel" for i in range(12)]
    placed = depths(
        sorted(["head/layers_0/kernel", "head/layers_2/kernel", "stem/layers_1/kernel", *blocks]), ordered=False
    )
    assert [placed[n] for n in ("head/layers_0/kernel", "head/layers_2/kernel", "stem/layers_1/kernel", blocks[5])] == [
        13,
        13,
        0,
        6,
    ]
    with pytest.raises(InvalidValueError, match="'mlp/layers_0/kernel' must tell by itself"):
        depths(["mlp/layers_0/kernel", *blocks], ordered=False)


# Masks


def test_rules_look_at_what_they_name() -> None:
    param = Param("blocks.0.Head.weight", (3, 4), "LayerNorm")
    for yes in (Rule("name", "*.Head.*", True), Rule("regex", "Head", True), Rule("kind", "layern*", True),
                Rule("kind", "LAYERNORM", True), Rule("ndim", "2", True), Rule("ndim", "1", True)):  # fmt: skip
        assert yes.matches(param)
    for no in (Rule("name", "*.head.*", True), Rule("name", "Head", True), Rule("regex", "^Head", True),
               Rule("regex", "LayerNorm", True), Rule("kind", "Norm", True), Rule("ndim", "3", True)):  # fmt: skip
        assert not no.matches(param)
    assert Param("a", (1,)) == Param("a", (1,), "", None)
    assert Decision("a", True, "why") == Decision("a", True, "why", None)


def test_masks_are_written_by_their_rules() -> None:
    own, *rest = Mask.of(Rule("name", "head.*", False)).rules
    standard = 'regex "(^|[./])bias$" does not, kind "*norm*" does not, ndim "2" decays'
    assert [str(rule) for rule in rest] == standard.split(", ")
    assert (str(Mask()), str(Mask(())), str(Mask.everything())) == ("standard", "nothing", 'name "*" decays')
    assert str(Mask.of(own, own)) == 'name "head.*" does not, name "head.*" does not, standard'
    assert str(Mask((*rest, own))) == f'{standard}, name "head.*" does not'
    assert Mask(rule for rule in rest) == Mask()  # type: ignore[arg-type]


def test_a_rule_counts_as_used_if_another_decided_and_only_names_may_be_mistyped() -> None:
    params = [Param("head.a", (3,), "Linear"), Param("blocks.b", (3,), "Linear")]
    overruled = Mask((Rule("name", "*", True), Rule("name", "head.*", False), Rule("regex", "b$", False)))
    assert [d.decays for d in overruled.decide(params)] == [True, True]
    unmatched = Mask((Rule("kind", "Conv*", True), Rule("ndim", "4", True)))
    assert unmatched.decide(params) == tuple(Decision(p.name, False, "no rule matched") for p in params)
    assert Mask.everything().decide([]) == Mask().decide([]) == ()


def test_a_report_is_a_line_for_each_parameter() -> None:
    rows = [Decision("fc.weight", True, "two"), Decision("b", False, "one"), Decision("tied", True, "two", "fc.weight")]
    assert report(rows).split("\n") == [
        "fc.weight  decays  two",
        "b          -       one",
        "tied       decays  tied to fc.weight: two",
    ]
    assert report([]) == ""


def test_a_peak_in_effect_above_a_plan_of_peak_0_is_refused_and_0_is_as_it_was() -> None:
    plan = Plan(0.0, decay=Independent(0.1))
    assert plan.dose(0, peak=0.0) == plan.dose(0)
    with pytest.raises(InvalidValueError, match=r"peak 0.1 is infinitely far above the plan's peak of 0"):
        plan.dose(0, peak=0.1)
