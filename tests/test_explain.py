"""What explain says is what the plan does: every value to the bit, every formula in numbers, for any schedule."""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.decay import L2, Decay
from dwindle.errors import InvalidValueError, UnknownNameError
from dwindle.explain import Part, compare, explain, taken_apart
from dwindle.laws import shares
from dwindle.mask import Mask, Param, Rule
from dwindle.plain import plain
from dwindle.plan import Plan
from dwindle.schedule import Constant, Custom, Formula, Mirror, Piecewise, Schedule
from dwindle.units import Horizon, Time
from strategies import decays, horizons, plans, schedules

FUNCTIONS = {"pi": math.pi, "cos": math.cos, "tanh": math.tanh, "sqrt": math.sqrt, "max": max, "min": min, "abs": abs}
PARAMS = [Param("embed.weight", (9, 4), "Embedding"), Param("blocks.0.weight", (4, 4), "Linear"),
          Param("blocks.1.weight", (4, 4), "Linear"), Param("blocks.1.bias", (4,), "Linear"),
          Param("head.weight", (3, 4), "Linear")]  # fmt: skip


def computed(formula: str) -> float:
    """Work a formula out as a reader with a calculator would."""
    python = formula.replace("·", "*").replace("^", "**").replace("√", "sqrt").replace("π", "pi")
    tree = ast.fix_missing_locations(_Whole().visit(ast.parse(python, mode="eval")))
    return float(eval(compile(tree, "formula", "eval"), {"__builtins__": {}}, FUNCTIONS | {"int": int}))


class _Whole(ast.NodeTransformer):
    """A formula's [numbers][index] takes an index such as 2.0, which Python's own lists do not."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        node.slice = ast.Call(ast.Name("int", ast.Load()), [node.slice], [])
        return node


def resolved(schedule: Schedule, run: Horizon) -> Schedule:
    try:
        return schedule.resolve(run)
    except InvalidValueError:  # no room for it in so short a run
        assume(False)
        raise


def check(part: Part, schedule: Schedule) -> None:
    assert part.value == float(schedule(part.step))
    assert part.what == str(schedule)
    try:
        found = computed(part.formula)
    except OverflowError:
        found = math.inf
    # 1 - √x and the like cancel near the end of a ramp, where the schedule itself does not
    assert found == pytest.approx(part.value, rel=1e-8, abs=1e-7), part
    kept = {str(child): child for child in children(schedule)}
    for inside in part.parts:
        check(inside, kept[inside.what])


def children(schedule: Any) -> list[Schedule]:
    held = [getattr(schedule, name) for name in ("schedule", "pieces", "factors", "terms") if hasattr(schedule, name)]
    flat = [each for value in held for each in (value if isinstance(value, tuple) else (value,))]
    return [each for each in flat if isinstance(each, Schedule)]


@pytest.mark.law
@settings(max_examples=300)
@given(schedule=schedules, run=horizons, at=st.integers(0, 5000))
@example(Mirror(Formula("[1, 0.5, 0.1][min(step // 7, 2)]"), Time(1.75, "st")), Horizon(steps=100), 2)
def test_every_node_has_its_own_value_and_its_formula_gives_it(schedule: Schedule, run: Horizon, at: int) -> None:
    made = resolved(schedule, run)
    check(taken_apart(made, at), made)


@pytest.mark.law
@settings(max_examples=150)
@given(plan=plans, run=horizons, share=st.floats(0.0, 1.0))
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_the_factors_multiply_to_the_rate_of_the_plan_to_the_bit(plan: Plan, run: Horizon, share: float) -> None:
    at = min(int(share * run.steps), run.steps - 1)
    try:
        made = plan.resolve(run)
    except InvalidValueError:
        assume(False)
    for group in (None, *(each.name for each in plan.groups)):
        found = explain(plan, run, at, group=group)
        assert found.lr == float(made.lr(at, group))
        assert math.prod(factor.value for factor in found.factors) == found.lr
        last = found.why_lr[-1]
        assert float(re.fullmatch(r" +=\s*(\S+)", last)[1]) == found.lr
        dose = made.dose(at, group)
        assert (found.decay.share, found.decay.coupling) == (float(dose.share), float(dose.l2))
        json.dumps(found.as_dict())
        text = str(found)
        assert all(len(line) <= 80 or " " not in line.strip() for line in text.splitlines()), text


@pytest.mark.law
@settings(max_examples=60)
@given(decay=decays(), schedule=schedules, steps=st.integers(100, 400), share=st.floats(0.0, 0.999))
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_shares_of_the_weights_are_those_of_the_laws(
    decay: Decay, schedule: Schedule, steps: int, share: float
) -> None:
    run = Horizon(steps=steps, steps_per_epoch=10, batch_size=8, tokens_per_step=64)
    try:
        plan = Plan(0.3, schedule, decay)
        law = shares(plan, run)
    except InvalidValueError:
        assume(False)
    at = int(share * steps)
    found = explain(plan, run, at).weights
    if found is None:
        return
    size = max(1.0, float(np.max(np.abs(law.updates))), abs(law.initial))
    kept = np.abs(law.contributions)
    assert found.left == pytest.approx(law.initial, rel=1e-9, abs=1e-300)
    assert found.from_before == pytest.approx(float(law.updates[:at].sum()), rel=1e-9, abs=1e-11 * size * steps)
    assert found.from_after == pytest.approx(float(law.updates[at:].sum()), rel=1e-9, abs=1e-11 * size * steps)
    if kept.sum() > 0 and math.isfinite(float(kept.sum())):
        assert found.moved_before == pytest.approx(float(kept[:at].sum() / kept.sum()), rel=1e-9, abs=1e-12)
    taken = plan.sgd_shares(run)
    assert found.dose == pytest.approx(math.fsum(taken), rel=1e-12)
    assert found.dose_so_far == pytest.approx(math.fsum(taken[:at]), rel=1e-12)
    if taken.max() < 0.999:
        assert found.left_now == pytest.approx(plan.shares_left(run)[at], rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*change sign")
@pytest.mark.parametrize(("steps", "at"), [(5, 2), (6, 3), (4, 0)])
def test_weights_that_change_sign_are_followed(steps: int, at: int) -> None:
    plan = Plan(0.5, dw.constant(), dw.decoupled(3.0))  # x = 1.5: each step multiplies by -0.5
    found = explain(plan, steps, at).weights
    assert found is not None
    assert found.left == pytest.approx((-0.5) ** steps, rel=1e-12)
    assert found.left_now == pytest.approx((-0.5) ** at, rel=1e-12)
    assert found.from_after == pytest.approx(1 - (-0.5) ** (steps - at), rel=1e-12)
    assert found.left + found.from_before + found.from_after == pytest.approx(1.0, rel=1e-12)


# --- which parameter


def test_group_layer_factor_and_mask_rule_are_the_plans() -> None:
    plan = dw.parse(
        'peak 1e-3 | cosine | decoupled 0.1 | mask kind "Embedding*" does not, standard | group "head" "head.*" times 10 '
        "| layer-decay 0.5"
    )
    made = plan.resolve(100)
    for assignment in plan.assign(PARAMS):
        found = explain(plan, 100, 30, assignment.name, params=PARAMS)
        dose = made.dose(30, lr_scale=assignment.lr_scale, decays=assignment.decays)
        assert (found.lr, found.decay.share) == (dose.lr, dose.share)
        assert found.decay.decays == assignment.decays
        assert assignment.rule in found.decay.rule
        assert math.prod(factor.value for factor in found.factors) == found.lr
    head = explain(plan, 100, 30, "head.weight", params=PARAMS)
    assert head.group == "head"
    assert head.factors[1].why == "group 'head' times 10, layer decay 0.5^0"
    assert explain(plan, 100, 30, "embed.weight", params=PARAMS).factors[1].why == "layer decay 0.5^3"


def test_one_parameter_is_decided_as_among_all() -> None:
    mask = Mask.of(Rule("name", "head.*", False), Rule("regex", "nothing", True))
    plan = Plan(0.1, decay=dw.decoupled(0.1), mask=mask, groups=(dw.Group("x", "absent.*", 3.0),))
    assert not explain(plan, 10, 0, Param("head.weight", (3, 4), "Linear")).decay.decays
    assert explain(plan, 10, 0, Param("fc.weight", (3, 4), "Linear")).decay.decays
    assert not explain(plan, 10, 0, Param("ln.weight", (3,), "LayerNorm")).decay.decays
    assert not explain(plan, 10, 0, "head.weight").decay.decays  # a rule on names needs no shape
    assert not explain(plan, 10, 0, "fc.bias").decay.decays
    with pytest.raises(InvalidValueError, match="depends on its shape"):
        explain(plan, 10, 0, "fc.weight")
    none = explain(Plan(0.1, decay=dw.decoupled(0.1), mask=Mask(())), 10, 0, Param("w", (2, 2)))
    assert "no rule of the mask" in none.decay.rule


def test_a_tied_parameter_names_its_owner() -> None:
    tied = [Param("embed.weight", (9, 4), "Embedding", 1), Param("head.weight", (9, 4), "Linear", 1)]
    found = explain(Plan(0.1, decay=dw.decoupled(0.1)), 10, 0, "head.weight", params=tied)
    assert found.subject == "head.weight: (9, 4), Linear; the same tensor as embed.weight, which decides"


def test_what_cannot_be_asked_is_refused() -> None:
    plan = dw.parse("peak 0.1 | cosine | layer-decay 0.5")
    for step in (-1, 100, 1.5, "100%", True, math.nan, None, 10**30):
        with pytest.raises(InvalidValueError, match="step must be one of the run's, 0 to 99"):
            explain(plan, 100, step)
    with pytest.raises(UnknownNameError, match=r"did you mean 'head\.weight'"):
        explain(Plan(0.1), 100, 0, "head.weigth", params=PARAMS)
    with pytest.raises(InvalidValueError, match="needs all names"):
        explain(plan, 100, 0, PARAMS[1])
    with pytest.raises(InvalidValueError, match="param or group"):
        explain(plan, 100, 0, PARAMS[1], group="x")
    with pytest.raises(UnknownNameError, match="group 'x' is not in the plan"):
        explain(plan, 100, 0, group="x")


# --- words


def test_times_are_those_of_the_run() -> None:
    run = Horizon(epochs=5, steps_per_epoch=20, tokens_per_step=1000)
    plan = Plan(0.1, dw.linear(), dw.decoupled(0.5))
    assert explain(plan, run, "3ep").step == 60
    found = explain(plan, run, "50%")
    assert (found.step, found.epoch, found.tokens) == (50, 2.5, 50_000.0)
    assert found.decay.timescale == (40.0, 2.0, 40_000.0)
    assert found.decay.at_the_peak == plan.timescale(run)
    assert found.decay.half_life.steps == pytest.approx(math.log(0.5) / math.log(1 - 0.025))


@pytest.mark.parametrize(
    ("decay", "formula"),
    [
        (dw.decoupled(0.5), "x = lr · λ = 0.05 · 0.5 = 0.025"),
        (dw.independent(0.5), "x = f · λ = 0.5 · 0.5 = 0.25"),
        (dw.corrected(0.5), "x = lr · f · λ = 0.05 · 0.5 · 0.5 = 0.0125"),
        (dw.l2(0.5), "under plain SGD that takes x = lr · λ = 0.05 · 0.5 = 0.025 of each weight"),
    ],
)
def test_each_convention_has_its_own_formula(decay: Decay, formula: str) -> None:
    found = explain(Plan(0.1, dw.linear(), decay), 100, 50)
    assert formula in found.decay.formula.splitlines()
    assert any(note.startswith("With momentum") for note in found.notes) == isinstance(decay, L2)


def test_a_feedback_rule_says_that_the_metric_decides() -> None:
    rule = dw.plateau(0.5, peak=0.1, min_lr=1e-3)
    alone, beside = explain(rule, 100, 50), explain(Plan(0.1, dw.cosine()), 100, 50, feedback=rule)
    assert alone.lr == 0.1
    for found in (alone, beside):
        assert "Plateau decides by the metric" in found.notes[0]
        assert "never below 1e-3" in found.notes[0]


def test_functions_and_nodes_of_ones_own_are_explained_too() -> None:
    @dataclass(frozen=True)
    class Halved(Schedule):
        """A node that no table here knows."""

        schedule: Schedule

        def resolve(self, horizon: Horizon, room: float | None = None) -> Schedule:
            return self

        def __call__(self, step: Any) -> Any:
            return 0.5 * self.schedule(2 * step)

    part = taken_apart(Halved(Custom(lambda step: 1.0 / (1 + step))), 2)
    assert (part.value, part.parts[0].step, part.parts[0].value) == (0.1, 4, 0.2)
    assert "yours" in part.parts[0].why


def test_runs_too_long_to_add_up_are_still_explained() -> None:
    found = explain(dw.parse("peak 0.1 | cosine | decoupled 0.1"), 10**15, 10**14)
    assert found.weights is None
    assert found.lr == dw.parse("peak 0.1 | cosine").resolve(10**15).lr(10**14)
    assert "1,000,000,000,000,000 steps" in found.notes[-1]


def test_weights_that_leave_float64_are_said_to_and_a_rate_of_zero_among_them_is_no_error() -> None:
    stairs = Piecewise((3, 266, 269), (0.0, 4.0, 0.0, 0.0))  # l2 of 4 at a rate of 4: w ← -15 w, 263 times
    found = explain(Plan(1.0, stairs, L2(Constant(4.0)), mask=Mask.everything()), 309, 0)
    assert found.weights is None
    assert found.lr == 0.0


def test_deep_and_long_schedules_stay_readable() -> None:
    deep: Schedule = Constant(0.5)
    for _ in range(60):
        deep = deep.clip(0.0, 1.0)
    long = dw.table(tuple(i / 5000 for i in range(5000)))
    for schedule in (deep, long):
        text = str(explain(Plan(0.1, schedule), 100, 3))
        assert len(text.splitlines()) < 200
        assert all(len(line) <= 80 for line in text.splitlines())


def test_the_module_answers_a_call() -> None:
    plan = dw.parse("peak 0.1 | cosine")
    assert dw.explain(plan, 10, 5) == dw.explain.explain(plan, 10, 5)


# --- two plans


@pytest.mark.law
@settings(max_examples=60)
@given(old=schedules, new=schedules, run=horizons, decay=decays())
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_a_comparison_is_that_of_the_curves(old: Schedule, new: Schedule, run: Horizon, decay: Decay) -> None:
    try:
        pair = Plan(0.2, old, decay), Plan(0.1, new)
        a, b = (plan.lrs(run) for plan in pair)
        x, z = (plan.sgd_shares(run) for plan in pair)
    except InvalidValueError:
        assume(False)
    found = compare(*pair, run)
    assert found.lr_parts == (int(np.argmax(a != b)) if (a != b).any() else None)
    assert found.decay_parts == (int(np.argmax(x != z)) if (x != z).any() else None)
    assert found.apart == int(np.sum((a != b) | (x != z)))
    assert [each.lr for each in found.totals] == pytest.approx([math.fsum(a), math.fsum(b)], rel=1e-12)
    assert [each.dose for each in found.totals] == pytest.approx([math.fsum(x), math.fsum(z)], rel=1e-12)
    if x.max() < 0.99:
        assert found.totals[0].left == pytest.approx(pair[0].shares_left(run)[-1], rel=1e-9, abs=1e-300)
    both = (a > 1e-300) & (b > 1e-300)
    if found.ratio_at is not None and both.any():
        assert found.ratio == float(b[found.ratio_at]) / float(a[found.ratio_at])
        farthest = abs(math.log(found.ratio)) if found.ratio > 0 else math.inf
        assert farthest >= np.max(np.abs(np.log(b[both] / a[both]))) - 1e-9
    json.dumps(found.as_dict())
    assert all(len(line) <= 80 or " " not in line for line in str(found).splitlines())


def test_a_ratio_beyond_float64_is_infinite() -> None:
    tiny = Plan(1.0, Constant(0.01).repeat(1, decay=0.1))  # 5e-324 at step 322
    found = compare(tiny, Plan(1.0, Constant(0.01).stretch(0.5)), 330)
    assert (found.ratio, found.one_is_zero) == (math.inf, 330 - 1 - found.ratio_at)  # type: ignore[operator]
    assert "inf times the old one" in str(found)
    assert json.loads(json.dumps(plain(found.as_dict()), allow_nan=False))["ratio"] is None
    back = compare(Plan(1.0, Constant(0.01)), tiny, 330)
    assert 0 < back.ratio < 1e-300


def test_equal_plans_and_equal_curves_are_told_apart() -> None:
    plan = dw.parse("peak 0.1 | cosine | decoupled 0.1")
    assert str(compare(plan, plan, 100)) == "the two plans are the same"
    other = dw.parse("peak 0.1 | cosine over 100% | decoupled 0.1")
    assert "yet every rate of the 100 steps is the same" in str(compare(plan, other, 100))
    masked = dw.parse('peak 0.1 | cosine | decoupled 0.1 | mask name "x" does not, standard')
    assert compare(plan, masked, 100).says == ('mask: standard → name "x" does not, standard',)
    with pytest.raises(InvalidValueError, match="at most 100000000 steps"):
        compare(plan, other, 10**9)


def test_a_step_of_numpy_is_a_step() -> None:
    plan = dw.parse("peak 1 | linear")
    assert (
        str(dw.explain(plan, 100, np.int64(50)))
        == str(dw.explain(plan, 100, np.float64(50.0)))
        == str(dw.explain(plan, 100, 50))
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("l2 0.1", "decoupled 0.1", "with momentum or Adam l2 is part of the update"),
        ("decoupled 0.1", "decoupled 0.1 cautious", "Cautious decay leaves some weights alone"),
        ("decoupled 0.1", 'decoupled 0.1 | group "head" "head.*" times 10', "a weight that decays, in no group"),
    ],
)
def test_what_the_compared_rates_leave_out_is_said(old: str, new: str, said: str) -> None:
    found = compare(*(dw.parse(f"peak 1e-3 | cosine to 0 | {decay}") for decay in (old, new)), 100)
    (note,) = found.notes
    assert said in note
    assert "every rate of the 100 steps is the same" in str(found)
    assert note in " ".join(str(found).split())
    assert found.as_dict()["notes"] == [note]
    assert compare(dw.parse("peak 1"), dw.parse("peak 2"), 10).notes == ()


def test_tied_weights_are_explained_as_training_places_them() -> None:
    plan = dw.Plan(1.0, layer_decay=0.5)
    params = [
        dw.mask.Param(name, (2, 2), "Linear", key)
        for name, key in (("wte.weight", 1), ("h.0.weight", 2), ("h.1.weight", 3), ("lm_head.weight", 1))
    ]
    scales = [dw.explain(plan, 10, 5, p.name, params=params).lr for p in params]
    assert scales == [0.25, 0.5, 1.0, 0.25]
