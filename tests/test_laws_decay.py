"""Laws of weight decay: what the final weights are made of, where norms settle, how a plan is carried elsewhere."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.decay import CONVENTIONS, L2, Corrected, Decoupled, Independent
from dwindle.errors import DwindleError, InvalidValueError, NoExactMapError, UnknownNameError, UnresolvedTimeError
from dwindle.laws.average import shares
from dwindle.laws.carry import Carried, carry
from dwindle.laws.equilibrium import equilibrium
from dwindle.laws.rules import RULES, Rule
from dwindle.plan import Group, Plan
from dwindle.reference import SGD, Adam, Optimiser, run
from dwindle.units import Horizon
from strategies import plans, schedules

usual = settings(deadline=None, max_examples=60)

# --- the exponential average -----------------------------------------------------------------------------------------


def exact(plan: Plan, steps: int) -> tuple[Fraction, list[Fraction], list[Fraction]]:
    """The three answers by the definition, in fractions."""
    resolved = plan.resolve(steps)
    doses = [resolved.dose(t) for t in range(steps)]
    taken = [Fraction(float(d.share + d.lr * d.l2)) for d in doses]
    kept, parts, moves = Fraction(1), [], []
    for a, dose in zip(reversed(taken), reversed(doses), strict=True):
        parts.append(a * kept)
        moves.append(Fraction(float(dose.lr)) * kept)
        kept *= 1 - a
    return kept, parts[::-1], moves[::-1]


def assert_close(values: Any, wanted: list[Fraction]) -> None:
    np.testing.assert_allclose(values, [float(w) for w in wanted], rtol=1e-12, atol=1e-300)


@pytest.mark.law
@given(schedules, st.sampled_from(sorted(CONVENTIONS)), st.sampled_from([0.0, 1e-18, 1e-3, 0.3, 1.0, 1.5, 3.0]))
@usual
def test_the_shares_are_those_of_the_definition_in_fractions(schedule: Any, convention: str, lam: float) -> None:
    decay = CONVENTIONS[convention](lam, allow_overshoot=True)
    plan = Plan(1.0, schedule, decay)
    try:
        wanted = exact(plan, 60)
    except DwindleError:
        assume(False)
    made = shares(plan, 60)
    assert_close([made.initial], [wanted[0]])
    assert_close(made.updates, wanted[1])
    assert_close(made.contributions, wanted[2])


def test_a_step_that_takes_everything_leaves_nothing_from_before() -> None:
    plan = Plan(1.0, dw.piecewise((3, 4), (0.5, 1.0, 0.5)), Independent(1.0, allow_overshoot=True))
    made = shares(plan, 6)
    assert made.initial == 0.0
    assert np.array_equal(made.updates, [0, 0, 0, 0.25, 0.25, 0.5])
    assert np.array_equal(made.contributions, [0, 0, 0, 0.25, 0.25, 0.5])


@pytest.mark.parametrize(
    ("optimiser", "decay"),
    [
        *((o, d) for o in (SGD(), SGD(0.9), Adam()) for d in (Decoupled(2.0), Independent(0.1), Corrected(3.0), None)),
        (SGD(), L2(0.7)),  # with momentum or Adam l2 is part of the update, not a share of the weights
    ],
    ids=str,
)
def test_the_final_weights_are_the_average_of_what_the_optimiser_did(optimiser: Optimiser[Any], decay: Any) -> None:
    steps, plan = 40, Plan(0.05, dw.warmup(5).then(dw.cosine(end=0.1)), decay)
    rng = np.random.default_rng(0)
    gradients, w0 = rng.standard_normal((steps, 7)), rng.standard_normal(7)
    fixed: Any = lambda params, step: {"w": gradients[step]}  # noqa: E731  (so the updates do not depend on the weights)
    bare = run(optimiser, {"w": np.zeros(7)}, fixed, lambda step, name: (1.0, 1.0, 0.0), steps)["w"]
    u = bare[:-1] - bare[1:]
    resolved = plan.resolve(steps)
    final = run(optimiser, {"w": w0}, fixed, lambda step, name: tuple(resolved.rates(step)), steps)["w"][-1]
    made = shares(plan, steps)
    np.testing.assert_allclose(made.initial * w0 - made.contributions @ u, final, rtol=1e-12, atol=1e-13)
    if decay is not None:
        doses = [resolved.dose(t) for t in range(steps)]
        ratio = [d.lr / (d.share + d.lr * d.l2) if d.lr else 0.0 for d in doses]  # nothing moves in the warmup's step 0
        points = -u * np.array(ratio)[:, None]
        np.testing.assert_allclose(made.initial * w0 + made.updates @ points, final, rtol=1e-12, atol=1e-13)


def test_a_group_has_its_own_shares() -> None:
    plan = Plan(0.1, dw.linear(), Decoupled(0.5), groups=(Group("head", "head.*", 3.0),))
    wanted = shares(Plan(0.3, dw.linear(), Decoupled(0.5)), 50)
    got = shares(plan, 50, group="head")
    np.testing.assert_allclose(got.contributions, wanted.contributions, rtol=1e-13)
    np.testing.assert_allclose(got.updates, wanted.updates, rtol=1e-13)


def test_what_is_made_of_what_adds_up_over_millions_of_steps() -> None:
    plan = Plan(3e-4, dw.warmup("2%").then(dw.cosine(end=0.1)), Decoupled(5e-2))
    made = shares(plan, 2 * 10**6)
    assert math.isclose(made.initial + math.fsum(made.updates), 1.0, abs_tol=1e-12)
    assert math.isclose(made.initial, math.exp(math.fsum(np.log1p(-plan.decay_shares(2 * 10**6)))), rel_tol=1e-12)


def test_a_decay_below_the_last_digit_is_not_lost() -> None:
    made = shares(Plan(1.0, decay=Decoupled(1e-20)), 1000)
    assert np.array_equal(made.updates, np.full(1000, 1e-20))
    assert made.initial == 1.0
    assert shares(Plan(1.0, decay=Decoupled(1e-17)), 10**6).initial == pytest.approx(1.0 - 1e-11, rel=0, abs=2e-16)


def test_effective_steps_and_the_last_part_at_a_constant_rate() -> None:
    a, steps = 0.01, 5000
    made = shares(Plan(0.1, decay=Decoupled(a / 0.1)), steps)
    assert math.isclose(made.effective_steps, (2 - a) / a, rel_tol=1e-9)
    assert math.isclose(made.from_last(0.1), 1 - (1 - a) ** 500, rel_tol=1e-9)
    assert made.from_last(1.0) == 1.0
    assert made.from_last(0.0) == 0.0
    assert made.timescale.steps == pytest.approx(100)
    plain = shares(Plan(0.1, dw.linear()), 1000)
    assert plain.initial == 1.0
    assert not plain.updates.any()
    assert plain.from_last(0.1) == pytest.approx(0.01, rel=0.02)  # the area of the triangle's tip
    still = shares(Plan(0.0), 10)
    assert still.effective_steps == still.from_last() == 0.0


def test_averages_that_do_not_exist_are_refused() -> None:
    with pytest.raises(InvalidValueError, match="cautious"):
        shares(Plan(0.1, decay=Decoupled(0.1, cautious=True)), 10)
    with pytest.raises(InvalidValueError, match="beyond float64"):
        shares(Plan(1.0, decay=Decoupled(50.0, allow_overshoot=True)), 1000)
    with pytest.raises(InvalidValueError, match="part"):
        shares(Plan(0.1), 10).from_last(1.5)


# --- equilibrium -----------------------------------------------------------------------------------------------------

SHAPES = [dw.constant(), dw.cosine(), dw.warmup(100).then(dw.linear(end=0.1))]


def simulated(
    plan: Plan, steps: int, optimiser: Optimiser[Any], start: float, gradient_norm: float, weights: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Norms and angles of a vector that gets random gradients orthogonal to it, of size gradient_norm/‖w‖."""
    rng = np.random.default_rng(1)
    w = rng.standard_normal(weights)
    w *= start / np.linalg.norm(w)
    state, resolved = optimiser.init(w), plan.resolve(steps)
    norms, angles = [float(np.linalg.norm(w))], []
    for step in range(steps):
        g = rng.standard_normal(weights)
        g -= w * (g @ w) / norms[-1] ** 2
        g *= gradient_norm / np.linalg.norm(g) / norms[-1]
        rates = resolved.rates(step)
        new, state = optimiser.update(w, g, state, lr=rates.lr, shrink=rates.shrink, l2=rates.l2)
        along = w @ new / norms[-1]
        angles.append(math.atan2(float(np.linalg.norm(new - w * along / norms[-1])), along))
        norms.append(float(np.linalg.norm(new)))
        w = new
    return np.array(norms), np.array(angles)


CASES: dict[str, tuple[Any, dict[str, Any], Any, float]] = {
    # optimiser, what equilibrium is told, decay, peak; tolerance of the norm is 2.5 % of one run of 1000 weights
    "adamw": (Adam(0.9, 0.95), {"size": 1000}, Decoupled(0.2), 1e-2),
    "adamw independent": (Adam(0.9, 0.95), {"size": 1000}, Independent(2e-3), 1e-2),
    "adamw corrected": (Adam(0.8, 0.95), {"size": 1000, "momentum": 0.8}, Corrected(0.3), 1e-2),
    "sgd": (SGD(), {"rule": "sgd", "gradient_norm": 2.0}, L2(0.02), 0.1),
    "sgd momentum l2": (SGD(0.9), {"rule": "sgd", "momentum": 0.9, "gradient_norm": 2.0}, L2(0.02), 0.1),
    "sgd momentum decoupled": (SGD(0.9), {"rule": "sgd", "momentum": 0.9, "gradient_norm": 2.0}, Decoupled(0.02), 0.1),
    "sgd without decay": (SGD(0.5), {"rule": "sgd", "momentum": 0.5}, None, 0.1),
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_norms_and_angles_follow_a_simulation(case: str, shape: Any) -> None:
    optimiser, told, decay, peak = CASES[case]
    plan, steps = Plan(peak, shape, decay), 1500
    settled = 1.0 if decay is None else equilibrium(plan, steps, **told).weight_norm[0]
    for start in (settled, 2.0 * settled):
        expected = equilibrium(plan, steps, start=start, **told)
        norms, angles = simulated(plan, steps, optimiser, start, told.get("gradient_norm", 1.0))
        np.testing.assert_allclose(norms, expected.weight_norm, rtol=0.025)
        # one angle scatters by several percent; the mean of a hundred does not
        got, wanted = (each.reshape(15, 100).mean(axis=1)[:-1] for each in (angles, expected.angle))
        np.testing.assert_allclose(got, wanted, rtol=0.03)


@pytest.mark.law
@given(
    st.sampled_from([Decoupled, L2, Independent]),
    st.sampled_from(["adamw", "sgd"]),
    st.floats(0.0, 0.95),
    st.floats(1e-4, 0.1),
    st.floats(0.01, 1.0),
)
@usual
def test_the_recursion_settles_where_the_closed_form_says(kind: Any, rule: str, mu: float, lr: float, a: float) -> None:
    assume(not (kind is L2 and rule == "adamw"))
    a *= 0.1 * (1 - mu)
    plan = Plan(lr, decay=kind(a if kind is Independent else a / lr))
    norms = equilibrium(plan, round(20 / a) + 2000, rule=rule, momentum=mu)
    assert norms.weight_norm[-1] == pytest.approx(norms.equilibrium_norm[-1], rel=1e-6)
    assert norms.angle[-1] == pytest.approx(norms.equilibrium_angle[-1], rel=1e-5)


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.9])
def test_the_closed_forms_of_the_literature_are_the_limit_of_small_shares(mu: float) -> None:
    lr, lam = 1e-3, 1e-3
    a = lr * lam
    adamw = equilibrium(Plan(lr, decay=Decoupled(lam)), 1, size=50.0, momentum=mu)
    assert adamw.equilibrium_norm[0] == pytest.approx(math.sqrt(lr * 50 / (2 * lam)), rel=1e-4)
    assert adamw.equilibrium_angle[0] == pytest.approx(math.sqrt(2 * a * (1 - mu) / (1 + mu)), rel=1e-4)
    l2 = equilibrium(Plan(lr, decay=L2(lam)), 1, rule="sgd", momentum=mu, gradient_norm=3.0)
    assert l2.equilibrium_norm[0] ** 4 == pytest.approx(lr * 9 / (2 * lam * (1 - mu)), rel=1e-4)
    assert l2.equilibrium_angle[0] == pytest.approx(math.sqrt(2 * a / (1 + mu)), rel=1e-4)
    sgdw = equilibrium(Plan(lr, decay=Decoupled(lam)), 1, rule="sgd", momentum=mu, gradient_norm=3.0)
    assert sgdw.equilibrium_norm[0] ** 4 == pytest.approx(lr * 9 / (2 * lam * (1 - mu) ** 2), rel=1e-4)
    assert sgdw.equilibrium_angle[0] == pytest.approx(math.sqrt(2 * a * (1 - mu) / (1 + mu)), rel=1e-4)


def test_without_decay_the_squared_norm_of_sgd_grows_by_what_each_step_adds() -> None:
    norms = equilibrium(Plan(0.5), 3, rule="sgd", gradient_norm=2.0, start=1.0)
    n = 1.0
    for step in range(3):
        assert norms.weight_norm[step] == pytest.approx(math.sqrt(n))
        n += 0.25 * 4.0 / n
    assert np.isinf(norms.equilibrium_norm).all()
    assert not norms.equilibrium_angle.any()
    assert norms.transient() is None


@pytest.mark.parametrize(("rule", "per_share"), [("adamw", 2.0), ("sgd", 4.0)])
def test_the_transient_takes_the_time_that_the_linear_theory_says(rule: str, per_share: float) -> None:
    a = 1e-3
    plan = Plan(0.1, decay=Decoupled(a / 0.1))
    settled = equilibrium(plan, 1, rule=rule).equilibrium_norm[0]
    norms = equilibrium(plan, 20_000, rule=rule, start=1.5 * settled)
    first, second = norms.transient(0.01), norms.transient(0.01 / math.e)
    assert first is not None
    assert second is not None
    assert second - first == pytest.approx(1 / (per_share * a), rel=0.02)
    assert equilibrium(plan, 20_000, rule=rule).transient(0.05) == 0


def test_corrected_decay_turns_weights_less_along_with_the_rate_and_holds_their_norm() -> None:
    steps = 20_000
    held = equilibrium(Plan(1e-2, dw.cosine(end=0.1), Corrected(0.05)), steps)
    falls = equilibrium(Plan(1e-2, dw.cosine(end=0.1), Decoupled(0.05)), steps)
    # AdamC's promise: the norm at rest √(lr·C/(2·λ·f)) does not move with f
    np.testing.assert_allclose(held.equilibrium_norm, held.equilibrium_norm[0], rtol=0.003)
    assert falls.equilibrium_norm[-1] < 0.35 * falls.equilibrium_norm[0]


def test_equilibria_that_do_not_exist_are_refused() -> None:
    plan = Plan(0.1, decay=Decoupled(0.1))
    for wrong, error, text in [
        (lambda: equilibrium(Plan(0.1, decay=L2(0.1)), 10), NoExactMapError, "l2"),
        (lambda: equilibrium(Plan(0.1, decay=Decoupled(0.1, cautious=True)), 10), InvalidValueError, "cautious"),
        (lambda: equilibrium(Plan(0.1), 10), InvalidValueError, "start"),
        (lambda: equilibrium(plan, 10, rule="lion"), UnknownNameError, "rule"),
        (lambda: equilibrium(plan, 10, gradient_norm=1.0), InvalidValueError, "size"),
        (lambda: equilibrium(plan, 10, rule="sgd", size=5), InvalidValueError, "gradient_norm"),
        (lambda: equilibrium(plan, 10, momentum=1.0), InvalidValueError, "momentum"),
        (lambda: equilibrium(plan, 9, rule="sgd", start=1e-160), InvalidValueError, "range of float64"),
    ]:
        with pytest.raises(error, match=text):
            wrong()


@pytest.mark.law
@given(plans, st.sampled_from(["adamw", "sgd"]), st.floats(0.0, 0.99))
@usual
def test_any_plan_gets_norms_or_a_reason(plan: Plan, rule: str, mu: float) -> None:
    known = Horizon(steps=300, steps_per_epoch=20, batch_size=8, tokens_per_step=100)
    try:
        norms = equilibrium(plan, known, rule=rule, momentum=mu, start=1.0)
    except DwindleError:
        return
    assert np.isfinite(norms.weight_norm).all()
    assert (norms.weight_norm >= 0).all()
    assert ((norms.angle >= 0) & (norms.angle <= math.pi)).all()


# --- carrying a plan -------------------------------------------------------------------------------------------------


def run_of(steps: int = 1000, batch: int = 64, per_epoch: int = 100) -> Horizon:
    return Horizon(steps=steps, steps_per_epoch=per_epoch, batch_size=batch, tokens_per_step=batch * 128)


runs = st.builds(run_of, st.integers(100, 5000), st.integers(1, 512), st.integers(1, 300))
PAIRS = [
    ("sqrt", "epochs"),
    ("linear", "examples"),
    ("sqrt", "run"),
    ("sqrt", "tokens-per-parameter"),
    ("linear", "steps"),
]
decays = st.builds(
    lambda kind, lam: kind(lam), st.sampled_from([Decoupled, Independent, Corrected, L2]), st.sampled_from([1e-7, 1e-5])
)
small_plans = st.builds(
    Plan, st.sampled_from([1e-4, 1e-3]), st.sampled_from([dw.cosine(), dw.warmup("10%").then(dw.linear())]), decays,
    st.just(dw.Mask.everything()), st.just((Group("head", "head.*", 3.0),)), st.sampled_from([None, 0.9]),
)  # fmt: skip


def share(plan: Plan, run: Horizon, group: str | None = None) -> float:
    """The share at the peak, from the curves."""
    return float(np.max(plan.sgd_shares(run, group)))


def carried(plan: Plan, *rest: Any, **options: Any) -> Carried:
    if isinstance(plan.decay, L2) and any("sqrt" in str(r) for r in options["rules"]):
        assume(False)
    return carry(plan, *rest, **options)


@pytest.mark.law
@given(small_plans, runs, st.sampled_from(PAIRS))
@usual
def test_carrying_a_plan_nowhere_changes_nothing(plan: Plan, here: Horizon, rules: Any) -> None:
    got = carried(plan, here, here, rules=rules)
    assert got.plan == plan
    assert got.changes == ()


@pytest.mark.law
@given(small_plans, runs, runs, runs, st.sampled_from(PAIRS))
@usual
def test_carrying_by_way_of_another_run_is_carrying_at_once(
    plan: Plan, a: Horizon, b: Horizon, c: Horizon, rules: Any
) -> None:
    at_once = carried(plan, a, c, rules=rules).plan
    in_turn = carried(carried(plan, a, b, rules=rules).plan, b, c, rules=rules).plan
    assert in_turn.peak == pytest.approx(at_once.peak, rel=1e-12)
    assert in_turn.decay.weight_decay == pytest.approx(at_once.decay.weight_decay, rel=1e-12)
    assert replace(in_turn, peak=1.0, decay=None) == replace(at_once, peak=1.0, decay=None)


@pytest.mark.law
@given(small_plans, runs, runs, st.sampled_from(PAIRS))
@usual
def test_the_rules_keep_what_they_say(plan: Plan, old: Horizon, new: Horizon, rules: Any) -> None:
    got = carried(plan, old, new, rules=rules).plan
    batch, steps = new.batch_size / old.batch_size, new.steps / old.steps
    assert got.peak == pytest.approx(plan.peak * batch ** {"sqrt": 0.5, "linear": 1.0}[rules[0]], rel=1e-12)
    tau, was = got.timescale(new), plan.timescale(old)
    kept = {
        "epochs": (tau.epochs, was.epochs),
        "examples": (tau.tokens, was.tokens),
        "run": (tau.steps / new.steps, was.steps / old.steps),
        "steps": (tau.steps, was.steps),
        "tokens-per-parameter": (tau.steps / new.steps * (steps * batch) ** 0.527, was.steps / old.steps),
    }[rules[1]]
    assert kept[0] == pytest.approx(kept[1], rel=1e-12)


@pytest.mark.law
@given(small_plans, runs, runs, st.sampled_from(PAIRS))
@usual
def test_groups_masks_and_layer_decay_come_along_in_the_same_ratio(
    plan: Plan, old: Horizon, new: Horizon, rules: Any
) -> None:
    got = carried(plan, old, new, rules=rules).plan
    assert (got.mask, got.groups, got.layer_decay) == (plan.mask, plan.groups, plan.layer_decay)
    same = Horizon(steps=new.steps)
    ratios = [share(got, same, g) / share(plan, same, g) for g in (None, "head")]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-12)


def test_a_carried_plan_averages_over_the_same_part_of_the_run() -> None:
    plan = Plan(1e-3, dw.warmup("5%").then(dw.cosine(end=0.1)), Decoupled(0.2))
    old, new = run_of(20_000, 64), run_of(80_000, 64)
    got = carry(plan, old, new, rules=("sqrt", "run")).plan
    before, after = shares(plan, old), shares(got, new)
    assert after.initial == pytest.approx(before.initial, rel=2e-3)
    assert after.from_last(0.1) == pytest.approx(before.from_last(0.1), rel=2e-3)
    assert after.effective_steps / new.steps == pytest.approx(before.effective_steps / old.steps, rel=2e-3)


def test_sgd_on_a_larger_batch_with_the_same_l2_sees_the_same_cost() -> None:
    """The linear rule with l2: k small steps of SGD on a quadratic are one of k times the rate, and λ stays as it is."""
    plan = Plan(1e-4, decay=L2(0.5))
    got = carry(plan, run_of(4000, 16), run_of(500, 128), rules=("linear", "examples"))
    assert got.plan == Plan(8e-4, decay=L2(0.5))

    def final(p: Plan, steps: int) -> float:
        w = 1.0
        for _ in range(steps):
            lr, shrink, l2 = p.rates(0)
            w = shrink * w - lr * (3.0 * (w - 1.0) + l2 * w)
        return w

    assert final(got.plan, 500) == pytest.approx(final(plan, 4000), rel=1e-3)


@pytest.mark.parametrize(("kind", "lam"), [(Decoupled, 0.4), (Independent, 0.1), (Corrected, 0.4)])
def test_mup_keeps_the_share_and_spares_the_groups_it_is_not_about(kind: Any, lam: float) -> None:
    plan = Plan(1e-2, dw.cosine(), kind(0.1), groups=(Group("emb", "emb.*", 2.0), Group("head", "head.*", 0.5)))
    got = carry(plan, 1000, 1000, rules=["mup"], width=(256, 1024), fixed_lr=["emb"])
    assert got.plan.peak == pytest.approx(2.5e-3)
    assert type(got.plan.decay) is kind
    assert got.plan.decay.weight_decay == pytest.approx(lam)
    assert share(got.plan, Horizon(steps=9)) == pytest.approx(share(plan, Horizon(steps=9)))
    assert np.allclose(got.plan.lrs(9, "emb"), plan.lrs(9, "emb"))
    assert np.allclose(got.plan.lrs(9, "head"), plan.lrs(9, "head") / 4)
    assert any("emb" in note for note in got.notes) == (kind is not Independent)
    assert any("fixed_lr" in note for note in carry(plan, 9, 9, rules="mup", width=(1, 2)).notes)


def test_a_narrower_gain_rule_raises_decay_by_the_root_of_the_width() -> None:
    got = carry(Plan(1e-2, decay=Decoupled(0.1)), 10, 10, rules=["sublayer-gain"], width=(256, 1024)).plan
    assert got.decay.weight_decay == pytest.approx(0.2)


def test_tokens_per_parameter_counts_both() -> None:
    plan, run = Plan(1e-3, decay=Decoupled(0.1)), run_of(1000)
    same = carry(plan, run, run, rules=["tokens-per-parameter"], parameters=(1e8, 1e8)).plan
    larger = carry(plan, run, run, rules=["tokens-per-parameter"], parameters=(1e8, 1e9)).plan
    assert same == plan
    assert larger.decay.weight_decay == pytest.approx(0.1 * 0.1**0.527)
    own = replace(RULES["tokens-per-parameter"], share=(("steps", -1.0), ("tokens per parameter", 0.5)))
    assert carry(plan, run, run, rules=[own], parameters=(1, 4)).plan.decay.weight_decay == pytest.approx(0.05)


@pytest.mark.law
@given(schedules, st.integers(100, 5000), st.sampled_from([2, 4, 8]), st.lists(st.integers(0, 5000), max_size=20))
@usual
def test_the_schedule_keeps_its_shape(schedule: Any, steps: int, by: int, at: list[int]) -> None:
    plan, old, new = Plan(0.1, schedule), run_of(steps), run_of(by * steps)
    try:
        resolved = plan.resolve(old).schedule
        got = carry(plan, old, new, rules=[]).plan
    except DwindleError:
        assume(False)
    if got == plan:  # its own times are shares of the run
        return
    for t in (0, 1, steps, *at):  # by a power of two, so that a stair's edge falls on the same step
        assert float(got.schedule(t * by)) == pytest.approx(float(resolved(t)), rel=1e-9, abs=1e-9)


def test_times_that_are_shares_stay_and_times_in_steps_are_stretched() -> None:
    short, long = Horizon(steps=1000), Horizon(steps=3000)
    relative = dw.parse("peak 0.1 | warmup 2%, cosine to 10% | decoupled (linear)")
    assert carry(relative, short, long, rules=["run"]).plan.schedule == relative.schedule
    fixed = dw.parse("peak 0.1 | warmup 20st, cosine to 10% | decoupled (linear over 500st)")
    got = carry(fixed, short, long, rules=["steps"])
    assert str(got.plan) == "peak 0.1 | warmup 60st, cosine to 10% over 2940st | decoupled (linear to 0% over 1500st)"
    assert "warmup 20st" in got.changes[0]
    assert any("warmup" in note for note in got.notes)
    epochs = dw.parse("peak 0.1 | halve every 5ep")
    two = Horizon(epochs=20, steps_per_epoch=10), Horizon(epochs=20, steps_per_epoch=30)
    assert carry(epochs, *two, rules=[]).plan == epochs


def test_a_schedule_of_decay_is_scaled_as_a_whole() -> None:
    plan = Plan(0.1, decay=Decoupled(dw.linear() * 0.02))
    got = carry(plan, run_of(batch=16), run_of(batch=64), rules=("sqrt", "examples")).plan
    np.testing.assert_allclose(got.decay_shares(100), 4 * plan.decay_shares(100), rtol=1e-12)


def test_what_a_rule_does_not_cover_is_refused_or_said() -> None:
    plan, run = Plan(0.1, decay=Decoupled(0.1)), run_of()
    lengths = Horizon(steps=9, batch_size=8, tokens_per_step=100), Horizon(steps=9, batch_size=8, tokens_per_step=200)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: carry(plan, 100, 200), UnresolvedTimeError, "old Horizon"),
        (lambda: carry(plan, run, 200, rules=["epochs"]), UnresolvedTimeError, "steps_per_epoch"),
        (lambda: carry(plan, *lengths, rules=["sqrt"]), InvalidValueError, "length"),
        (lambda: carry(Plan(0.1, decay=L2(0.1)), run, run), NoExactMapError, "l2"),
        (lambda: carry(plan, run, run, rules=["sqrt", "linear"]), InvalidValueError, "both decide the peak"),
        (lambda: carry(plan, run, run, width=(1, 2)), InvalidValueError, "mup"),
        (lambda: carry(plan, run, run, rules=["mup"]), InvalidValueError, r"width=\(old, new\)"),
        (lambda: carry(plan, run, run, rules=["mup"], width=(0, 1)), InvalidValueError, "old width"),
        (lambda: carry(plan, run, run, rules=["mub"]), UnknownNameError, "mup"),
        (lambda: carry(plan, run, run, rules=["mup"], width=(1, 2), fixed_lr=["emb"]), UnknownNameError, "emb"),
        (lambda: carry(plan, run, run_of(batch=64 * 10**6), rules=("sqrt", "examples")), InvalidValueError, "takes"),
        (lambda: Rule("x", "decay", (("batch", 1.0),), (), "theorem", "", ""), InvalidValueError, "leave"),
        (lambda: Rule("x", "peak", (), (), "certain", "", ""), UnknownNameError, "status"),
    ]  # fmt: skip
    for call, error, text in wrong:
        with pytest.raises(error, match=text):
            call()
    assert any("nothing decays" in note for note in carry(Plan(0.1), run, run).notes)
    assert any("no rule decides the peak" in note for note in carry(plan, run, run, rules=["run"]).notes)
    assert any("another amount of data" in note for note in carry(plan, run, run_of(batch=65)).notes)
    assert any("recalled" in note for note in carry(plan, run, run, rules=["tokens-per-parameter"]).notes)


def test_every_rule_says_what_it_is_and_how_sure() -> None:
    for name, rule in RULES.items():
        assert rule.name == name
        assert rule.status in ("theorem", "measured", "assumption")
        assert rule.formula
        assert rule.source
        assert rule.validity
    assert RULES["mup"].formula == "peak ∝ (width)^-1, share a ∝ 1"
