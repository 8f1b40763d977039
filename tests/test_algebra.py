"""More laws of the core: what is left of a weight, sums in closed form, masks, feedback rules, checksums, files."""

from __future__ import annotations

import copy
import json
import math
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from dwindle.checksum import checksum
from dwindle.decay import L2, Decay, Decoupled, Independent
from dwindle.errors import InvalidValueError, UnknownNameError
from dwindle.mask import Mask, Param, Rule
from dwindle.plan import Plan, integrated_decay
from dwindle.reference import SGD, Adam, run
from dwindle.replan import cooldown
from dwindle.schedule import FeedbackRule, Greedy, Plateau, Schedule, Stall, curve, total
from dwindle.text import load, save
from dwindle.torch import attach
from dwindle.units import Horizon
from strategies import decays, horizons, masks, plans, rules, schedules

usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
MEMORY = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)  # where to sync costs nothing
KEPT = tempfile.TemporaryDirectory(dir=MEMORY)  # one folder for all examples; it goes with the process

# --- what is left of a weight ------------------------------------------------------------------------------------------


def planned(peak: float, schedule: Schedule, decay: Decay | None) -> Plan:
    try:
        return Plan(peak, schedule, decay)
    except InvalidValueError:  # a decay that would make weights grow
        assume(False)
        raise


@pytest.mark.law
@given(
    st.floats(1e-4, 0.1), schedules, decays(st.floats(0.0, 0.5)), horizons, st.sampled_from([SGD(), SGD(0.9), Adam()])
)
@usual
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_without_gradients_what_is_left_is_the_product_of_the_shrinks(
    peak: float, schedule: Schedule, decay: Decay, horizon: Horizon, optimiser: Any
) -> None:
    plan, steps = planned(peak, schedule, None if isinstance(decay, L2) else decay), 30
    resolved = plan.resolve(horizon)
    zero = {"w": np.zeros(2), "b": np.zeros(1)}
    path = run(
        optimiser, {"w": [1.0, -3.0], "b": [2.0]}, lambda params, step: zero,
        lambda step, name: resolved.rates(step, decays=name == "w"), steps, cautious=decay.cautious,
    )  # fmt: skip
    left = np.concatenate(([1.0], np.cumprod(plan.table(horizon).shrink[:steps])))
    np.testing.assert_allclose(path["w"], np.outer(left, [1.0, -3.0]), rtol=1e-12, atol=1e-300)
    assert (path["b"] == 2.0).all()


@pytest.mark.law
@given(st.floats(0.0, 0.1), schedules, decays(st.floats(0.0, 0.5)), horizons)
@usual
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_the_shares_left_are_the_product_of_what_is_left_each_step(
    peak: float, schedule: Schedule, decay: Decay, horizon: Horizon
) -> None:
    plan = planned(peak, schedule, decay)
    shares = plan.sgd_shares(horizon)
    assume(shares.max() < 0.9)
    left = plan.shares_left(horizon)
    np.testing.assert_allclose(left, np.concatenate(([1.0], np.cumprod(1.0 - shares))), rtol=1e-9, atol=1e-300)
    assert (np.diff(left) <= 0).all()
    assert left[-1] <= math.exp(-math.fsum(shares)) * (1 + 1e-9) + 1e-300


@pytest.mark.law
@given(st.floats(1e-6, 1.0), st.floats(1e-6, 0.9), st.sampled_from([L2, Decoupled, Independent]))
def test_half_of_a_weight_is_left_after_a_half_life(peak: float, lam: float, kind: Any) -> None:
    plan = Plan(peak, decay=kind(lam))
    share = lam if kind is Independent else peak * lam
    assert plan.timescale(10).steps * share == pytest.approx(1.0, rel=1e-12)
    assert plan.half_life(10).steps * math.log1p(-share) == pytest.approx(-math.log(2), rel=1e-12)


# --- sums in closed form -----------------------------------------------------------------------------------------------


@pytest.mark.law
@given(schedules, horizons, st.integers(0, 700))
@usual
def test_the_total_of_any_schedule_is_the_sum_of_its_curve(s: Schedule, horizon: Horizon, steps: int) -> None:
    resolved = s.resolve(horizon)
    values = curve(resolved, steps)
    assert total(resolved, steps) == pytest.approx(
        math.fsum(values), rel=1e-11, abs=1e-12 * max(1.0, float(values.max(initial=0.0)))
    )


@pytest.mark.law
@given(st.floats(0.0, 0.1), schedules, decays(), horizons)
@usual
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_the_whole_dose_of_a_decay_is_the_sum_of_its_shares(
    peak: float, schedule: Schedule, decay: Decay, horizon: Horizon
) -> None:
    plan = planned(peak, schedule, decay)
    shares = plan.sgd_shares(horizon)
    dose = integrated_decay(plan, horizon)
    assert dose == pytest.approx(math.fsum(shares), rel=1e-11, abs=1e-12 * max(1.0, float(shares.max())))


@pytest.mark.law
@given(
    schedules, horizons, st.integers(0, 99), st.integers(1, 60), st.sampled_from(["linear", "cosine", "sqrt", "square"])
)
@usual
def test_a_cooldown_never_rises_and_ends_where_it_was_told(
    s: Schedule, horizon: Horizon, at: int, steps: int, shape: str
) -> None:
    start = float(s.resolve(horizon)(at))
    assume(start > 1e-300)
    plan, after = cooldown(Plan(1.0, s), horizon, at, steps, end=start / 8, shape=shape)
    factors = plan.schedule(np.arange(at + steps + 3))
    assert after.steps == at + steps
    assert np.array_equal(factors[: at + 1], s.resolve(horizon)(np.arange(at + 1)))
    assert np.diff(factors[at:]).max() <= 0
    assert (factors[at + steps :] == start / 8).all()


# --- masks -------------------------------------------------------------------------------------------------------------

params = st.lists(
    st.builds(
        Param,
        st.sampled_from(["head.weight", "head.bias", "blocks.0.norm.weight", "blocks.3.kernel", "embed", "ключ|1"]),
        st.lists(st.integers(1, 4), max_size=4).map(tuple),
        st.sampled_from(["", "Linear", "LayerNorm", "Embedding"]),
        st.sampled_from([None, 1, 2, 3]),
    ),
    max_size=6, unique_by=lambda param: param.name,
)  # fmt: skip


def decided(mask: Mask, infos: list[Param]) -> Any:
    try:
        return mask.decide(infos)
    except UnknownNameError:  # a rule that matches nothing is refused
        assume(False)


@pytest.mark.law
@given(masks, params)
def test_the_first_rule_that_matches_decides_and_a_tied_tensor_follows_its_first_name(
    mask: Mask, infos: list[Param]
) -> None:
    for info, decision in zip(infos, decided(mask, infos), strict=True):
        owner = next(other for other in infos if other is info or (info.key is not None and other.key == info.key))
        first = next((rule for rule in mask.rules if rule.matches(owner)), None)
        assert decision.decays == (first is not None and first.decays)
        assert decision.tied_to == (None if owner is info else owner.name)


@pytest.mark.law
@given(masks, rules, params)
def test_a_rule_put_first_changes_only_what_it_matches(mask: Mask, rule: Rule, infos: list[Param]) -> None:
    infos = [info._replace(key=None) for info in infos]
    before, after = decided(mask, infos), decided(Mask((rule, *mask.rules)), infos)
    for info, old, new in zip(infos, before, after, strict=True):
        assert new.decays == (rule.decays if rule.matches(info) else old.decays)


# --- feedback rules ------------------------------------------------------------------------------------------------------

feedback_rules: st.SearchStrategy[FeedbackRule[Any]] = st.one_of(
    st.builds(
        Plateau, st.sampled_from([0.1, 0.5, 0.9]), patience=st.integers(0, 3), cooldown=st.integers(0, 2),
        mode=st.sampled_from(["min", "max"]), min_lr=st.sampled_from([0.0, 1e-3]), peak=st.sampled_from([1.0, 0.03]),
    ),
    st.builds(
        Greedy, st.sampled_from([0.5, 0.9]), patience=st.integers(0, 2), cooldown=st.integers(0, 2),
        warmup=st.integers(0, 2), window=st.sampled_from([None, 2, 4]), reset_after=st.sampled_from([None, 2]),
    ),
    st.builds(Stall, st.just(0.5), window=st.integers(10, 14), rest=st.integers(10, 15), every=st.integers(1, 3)),
)  # fmt: skip


@pytest.mark.law
@given(feedback_rules, st.lists(st.integers(0, 40).map(lambda k: k / 8), min_size=1, max_size=40), st.data())
@usual
def test_a_rule_goes_on_from_its_state_in_json_as_if_there_had_been_no_stop(
    rule: FeedbackRule[Any], metrics: list[float], data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, len(metrics) - 1))

    def played(stops: set[int]) -> list[Any]:
        course, state = [], rule.init()
        for i, metric in enumerate(metrics):
            if i in stops:
                state = type(state)(**json.loads(json.dumps(asdict(state), allow_nan=False)))
            course.append(rule.observe(state, metric))
            state = course[-1][1]
        return course

    assert played({stop}) == played(set())
    assert all(factor >= 0.0 and math.isfinite(factor) for factor, _ in played(set()))


# --- state and files -------------------------------------------------------------------------------------------------------

plain_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=4), inner, max_size=4)),
    max_leaves=8,
)


@pytest.mark.law
@given(plain_values)
@usual
def test_a_checksum_is_of_what_a_value_says_and_not_of_how(value: Any) -> None:
    def turned(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: turned(part[key]) for key in reversed(part)}
        return [turned(each) for each in part] if isinstance(part, list) else part

    assert checksum(turned(value)) == checksum(json.loads(json.dumps(value, indent=3))) == checksum(value)


@pytest.mark.law
@given(
    st.text(alphabet=st.characters(max_codepoint=126, min_codepoint=35, exclude_characters="\\"), min_size=1), st.data()
)
@usual
def test_a_text_in_which_one_letter_is_another_has_another_checksum(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.characters(max_codepoint=90, min_codepoint=48).filter(lambda c: c != text[at]))
    assert checksum(f"{text[:at]}{letter}{text[at + 1 :]}") != checksum(text)


@pytest.mark.law
@given(plans, st.sampled_from([".toml", ".json", ".txt"]))
@usual
@pytest.mark.filterwarnings("ignore:.*change sign")
def test_a_saved_plan_is_loaded_as_the_same_plan(plan: Plan, suffix: str) -> None:
    assert load(save(plan, Path(KEPT.name) / f"plan{suffix}")) == plan


@pytest.mark.law
@given(plans.filter(lambda p: not p.groups and p.layer_decay is None), horizons, st.integers(0, 3), st.booleans())
@usual
@pytest.mark.filterwarnings("ignore:.*change sign", "ignore:.*lets none", "ignore:.*Adafactor")
def test_a_torch_run_resumed_at_any_step_is_the_straight_run(
    plan: Plan, horizon: Horizon, k: int, momentum: bool
) -> None:
    torch.set_num_threads(1)
    plan = replace(plan, mask=Mask.everything(), peak=min(plan.peak, 0.1))
    grads = [torch.tensor([0.5, -1.0], dtype=torch.float64) * (t + 1) for t in range(4)]

    def make(start: Any) -> Any:
        w = torch.nn.Parameter(start.clone())
        named = [("w", w)]
        return w, torch.optim.SGD(named, momentum=0.9) if momentum else torch.optim.AdamW(named)

    w, optimizer = make(torch.tensor([1.0, -2.0], dtype=torch.float64))
    attach(optimizer, plan, horizon)
    saved = None
    for t, grad in enumerate(grads):
        if t == k:
            saved = w.detach().clone(), copy.deepcopy(optimizer.state_dict())
        w.grad = grad.clone()
        optimizer.step()
    again, second = make(saved[0])  # type: ignore[index]
    attach(second, plan, horizon)
    second.load_state_dict(saved[1])  # type: ignore[index]
    for grad in grads[k:]:
        again.grad = grad.clone()
        second.step()
    assert torch.equal(again.detach(), w.detach())
