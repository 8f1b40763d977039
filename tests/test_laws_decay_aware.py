"""The law that knows weight decay: what it reads, what it becomes without decay, and what it says of a λ it has not seen."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.errors import DataError, InvalidValueError
from dwindle.laws import Course, Run, best_decay, course, fit, optimize, shares
from dwindle.laws.decay_aware import DECAY_AWARE
from dwindle.laws.decay_curves import SHIPPED, decay_curves
from dwindle.laws.features import features
from dwindle.laws.law import Stretches
from dwindle.laws.noise_floor import NOISE_FLOOR
from dwindle.laws.solve import Frame
from dwindle.laws.taken import left_of, mean_kept, mean_kept_slope

T = 1000
STEP = np.arange(1, 41) * 25
BLIND = np.array([2.0, 0.5, 0.5, 0.03, 0.25, 0.7, 120.0, 0.1, 0.33, 0.25])
SCHEDULES = {
    "constant": dw.warmup(50).then(dw.constant()),
    "cosine": dw.warmup(50).then(dw.cosine(end=0.1)),
    "wsd": dw.wsd(50, "20%"),
}
DECAYS = {"decoupled": dw.decoupled(0.8), "independent": dw.independent(0.004), "corrected": dw.corrected(0.8)}
CURVES = decay_curves()
NAMES = ("constant", "cosine to 10%", "constant, linear to 0% over 20%")
SOME = [c for c in CURVES if c.peak in (1e-3, 4e-3) and c.schedule.partition(", ")[2] in NAMES]
LAMBDAS = np.geomspace(0.03, 2.0, 40)
FEW = fit([c.run for c in SOME if c.lam in (0.03, 0.25, 2.0)])


def doses(name, decay, peak=5e-3):
    run = Run.of(dw.Plan(peak, SCHEDULES[name], decay=decay), T, STEP, np.ones(len(STEP)))
    return run.lr, run.share


def seen(lr, share, step=STEP):
    """Return the features, and the frame that a fit of runs with the longest schedule has."""
    frame = Frame([Run(doses("constant", None)[0], STEP, np.linspace(2.0, 1.0, len(STEP)))], DECAY_AWARE)
    return frame.features(Course(lr, share), np.asarray(step)), frame


def loop(lr, share, step, strength):
    """T_ω by its definition, one step after the other."""
    left = 0.0
    for rate, taken in zip(lr[:step] / lr.max(), share[:step], strict=True):
        left = left * (1.0 - taken) ** strength + rate
    return left


# What the law reads


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0, 4.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_what_decoupled_decay_leaves_is_what_a_loop_over_the_steps_leaves(name, strength):
    lr, share = doses(name, DECAYS["decoupled"])
    found, frame = seen(lr, share)
    expected = [loop(lr, share, s, strength) for s in STEP]
    np.testing.assert_allclose(left_of(found, strength) * frame.unit, expected, rtol=2e-4)


@pytest.mark.parametrize("decay", ["independent", "corrected"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_where_rate_and_decay_do_not_keep_their_ratio_it_is_near(name, decay):
    lr, share = doses(name, DECAYS[decay])
    found, frame = seen(lr, share)
    expected = [loop(lr, share, s, 1.0) for s in STEP]
    np.testing.assert_allclose(left_of(found, 1.0) * frame.unit, expected, rtol=2e-3)


def test_it_is_the_sum_of_what_each_update_contributes():
    """Another home of the same product: `shares`, of the whole run."""
    plan = dw.Plan(5e-3, SCHEDULES["cosine"], decay=DECAYS["decoupled"])
    made = shares(plan, T)
    lr, share = doses("cosine", DECAYS["decoupled"])
    found, frame = seen(lr, share, [T])
    assert left_of(found, 1.0)[0] * frame.unit == pytest.approx(made.contributions.sum() / lr.max(), rel=2e-4)
    assert math.exp(-found.extra.all[0]) == pytest.approx(made.initial, rel=1e-9)


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0))
@settings(max_examples=30, deadline=None)
def test_decay_leaves_less_the_stronger_it_is(one, other):
    found, _ = seen(*doses("wsd", DECAYS["decoupled"]))
    weak, strong = left_of(found, min(one, other)), left_of(found, max(one, other))
    assert (strong <= weak * (1.0 + 1e-12)).all()
    assert (weak <= found.travelled * (1.0 + 1e-12)).all()


def test_what_is_left_since_a_change_is_the_product_since_its_middle():
    lr, share = np.full(T, 5e-3), np.full(T, 1e-3)
    lr[400:], share[400:] = 1e-3, 2e-4
    found, _ = seen(lr, share)
    after = [-np.log1p(-share[400:s]).sum() if s > 400 else 0.0 for s in STEP]
    np.testing.assert_allclose(found.extra.since[:, 0], after, atol=1e-12)


@pytest.mark.parametrize("x", [1e-4, 9e-4, 1.1e-3, 0.5, 20.0])
def test_the_slope_of_what_is_kept(x):
    there, back = (float(mean_kept(np.array(x * (1.0 + s)))) for s in (1e-5, -1e-5))
    assert float(mean_kept_slope(np.array(x))) == pytest.approx((there - back) / (2e-5 * x), rel=1e-5)


# What it becomes


@pytest.mark.parametrize("name", SCHEDULES)
def test_with_no_strength_or_no_decay_it_is_the_blind_law(name):
    lr, share = doses(name, DECAYS["decoupled"])
    whole = BLIND.copy()
    whole[1] += 0.2
    for taken, strength in ((share, 0.0), (0.0 * share, 1.3)):
        found, frame = seen(lr, taken)
        plain = features(lr, STEP, unit=frame.unit, reference=frame.reference)
        told = DECAY_AWARE.loss(np.append(BLIND, [0.2, strength]), found)
        np.testing.assert_allclose(told, NOISE_FLOOR.loss(whole, plain), rtol=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_with_decay_it_is_its_formula_step_by_step(name):
    """Every term by its definition, products and all."""
    lr, share = doses(name, DECAYS["decoupled"])
    values = np.append(BLIND, [0.2, 0.7])
    values[6] = 2.0  # so slow that what decay forgets is most of what is forgotten
    floor, progress, alpha, offset, noise, rho, speed, fade, kappa, psi, start, strength = values
    found, frame = seen(lr, share)
    relative, changes = lr / lr.max(), [k for k in range(51, T) if lr[k] != lr[k - 1]]
    for s, told in zip(STEP, DECAY_AWARE.loss(values, found), strict=True):
        if s <= 50:
            continue
        undone = 1.0
        for k in (k for k in changes if k < s):
            moved = speed * relative[k:s].sum() / frame.unit
            effect = 1.0 - np.prod(1.0 - share[k:s]) ** strength / (1.0 + moved)
            at = relative[:k].sum() / frame.unit + 0.05
            undone -= (relative[k - 1] ** rho - relative[k] ** rho) * effect * at**-fade
        reach = lr.max() / frame.reference
        pulled = (reach**kappa * (loop(lr, share, s, strength) / frame.unit + offset)) ** -alpha
        begun = (reach**kappa * (relative[:s].sum() / frame.unit + offset)) ** -alpha * np.prod(1.0 - share[:s]) ** (
            2 * strength
        )
        expected = floor + progress * pulled + start * begun + noise * reach**psi * undone
        assert told == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("share", [(0.0, 1), (2e-4, 1), (2e-3, 2), (3e-2, 1)])
def test_the_last_loss_of_stretches_is_that_of_their_rates_and_has_their_gradient(share):
    generator = np.random.default_rng(0)
    rates, steps, unit = np.sort(generator.uniform(0.05, 1.0, 30))[::-1], generator.integers(20, 300, 30), 1500.0
    rates[0], values = 1.0, np.append(BLIND, [0.2, 0.8])
    lr = np.concatenate((np.linspace(0.0, 1.0, 151)[:-1], np.repeat(rates, steps)))
    given = Stretches(steps / unit, rates, lr[:150].sum() / unit, unit, share)
    loss, slope = DECAY_AWARE.end(values, 1.3, given)
    seen = features(lr, np.array([len(lr)]), unit=unit, reference=1.0 / 1.3)
    taking = Course(lr, share[0] * lr ** share[1])
    seen = seen._replace(extra=DECAY_AWARE.extra(taking, seen.at, np.array([len(lr)]), unit))
    near = 1e-5 if share[1] == 1 else 1e-4  # T_ω is exact where rate and share keep their ratio
    assert loss == pytest.approx(DECAY_AWARE.loss(values, seen)[0], abs=near)
    for i, each in enumerate(1e-6 * np.eye(30)):
        up, down = (DECAY_AWARE.end(values, 1.3, given._replace(rates=rates + s * each))[0] for s in (1, -1))
        assert slope[i] == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-8)


def test_a_curve_of_the_law_itself_is_found_again():
    values = np.append(BLIND, [0.3, 1.0])
    runs = []
    for name in SCHEDULES:
        for lam in (0.0, 0.2, 0.8, 2.0):
            lr, share = doses(name, dw.decoupled(lam))
            runs.append(Run(lr, STEP, DECAY_AWARE.loss(values, seen(lr, share)[0]), f"{name} {lam}", share))
    fitted = fit(runs)
    assert fitted.law is DECAY_AWARE
    for name in SCHEDULES:
        lr, share = doses(name, dw.decoupled(0.4))
        expected = DECAY_AWARE.loss(values, seen(lr, share)[0])
        later = STEP > 100
        assert np.abs(fitted.loss(Course(lr, share), STEP[later]) - expected[later]).max() < 0.02
        plan = dw.Plan(5e-3, SCHEDULES[name], decay=dw.decoupled(0.4))
        told, again = fitted.predict(plan, T, at=STEP), fitted.predict(lr, share=share, at=STEP)
        np.testing.assert_array_equal(told.loss, fitted.loss(Course(lr, share), STEP))
        np.testing.assert_array_equal(told.upper, again.upper)


# The shipped curves


def test_every_curve_is_there_once_and_whole():
    keys = [(curve.lam, curve.peak, curve.schedule) for curve in CURVES]
    assert len(keys) == len(set(keys)) == 256
    assert [len({key[i] for key in keys}) for i in range(3)] == [8, 4, 8]
    for curve in CURVES:
        run = curve.run
        assert (len(run.step), run.step[0], run.step[-1], len(run.lr)) == (53, 100, 4000, 4000)
        assert run.peak == curve.peak
        assert curve.run.pace == pytest.approx(curve.lam)
        assert 1.5 < run.loss.min() < run.loss.max() < 2.5


def test_the_curves_are_those_that_their_origin_names():
    origin = SHIPPED.with_name("decay_curves.txt").read_text(encoding="utf-8")
    assert hashlib.sha256(gzip.decompress(SHIPPED.read_bytes())).hexdigest() in origin
    assert "Apache-2.0" in origin


def test_most_decay_hurts_and_the_best_falls_with_the_rate():
    """What the curves were made for."""
    best = {}
    for curve in CURVES:
        best.setdefault((curve.peak, curve.schedule), []).append((curve.run.loss[-1], curve.lam))
    assert all(max(group)[1] == 2.0 or group[0][1] == max(group)[1] for group in best.values())
    means = [
        np.mean([min(group)[1] for (peak, _), group in best.items() if peak == each])
        for each in (1e-3, 2e-3, 4e-3, 8e-3)
    ]
    assert means == sorted(means, reverse=True)


def test_the_script_trains_as_the_population_does():
    """The script's own loop over a few steps, beside `train` on the same examples and weights."""
    path = Path(__file__).resolve().parents[1] / "scripts" / "make_decay_curves.py"
    spec = importlib.util.spec_from_file_location("make_decay_curves", path)
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    from dwindle.population import MLP, Data, Examples, Rates, epoch_order, train

    steps, rows = 6, maker.BATCH
    members = [plan for plan in maker.plans() if plan[2].endswith("constant")][5:9]
    teacher = maker.Teacher(3)
    batches = [teacher.batch(step) for step in range(steps)]
    order = epoch_order(steps * rows, 0, 0)
    x, y = np.empty((steps * rows, 64), np.float32), np.empty((steps * rows, 10), np.float32)
    x[order], y[order] = (np.concatenate(each) for each in zip(*batches, strict=True))
    held_out = teacher.held_out()
    table = maker.rates(members)
    rates = Rates(table.lr[:, :steps], table.shrink[:, :steps])
    maker.logged, maker.rates = lambda: [steps], lambda given: rates
    mine = maker.chunk(members, held_out, batches, 3)
    data = Data(
        Examples(x, y), Examples(held_out.x, held_out.target.astype(np.float64) / held_out.target.sum(1, keepdims=True))
    )
    theirs = train(
        MLP(maker.SIZES), maker.ADAM, rates, data, seeds=[4] * 4, batch_size=rows, evaluate_every=steps, workers=1
    )
    np.testing.assert_allclose(mine[:, -1], theirs.validation_loss[:, -1], rtol=1e-5)
    assert np.ptp(mine[:, -1]) > 0.0


def test_of_a_lambda_it_has_not_seen_it_says_more_than_the_blind_law():
    known, left = [c for c in SOME if c.lam in (0.03, 0.25, 2.0)], [c for c in SOME if c.lam in (0.0, 0.5, 1.0)]
    aware, blind = fit([c.run for c in known]), fit([c.run for c in known], "noise-floor")
    assert aware.law is DECAY_AWARE
    errors = []
    for curve in left:
        run = curve.run
        at, loss = run.step[run.step >= 200], run.loss[run.step >= 200]
        told = aware.loss(run.course, at), blind.loss(run.lr, at)
        errors.append([np.abs(each - loss).mean() for each in told])
    mine, rival = np.mean(errors, axis=0)
    assert mine < 0.01
    assert mine < 0.6 * rival
    assert 0.5 < aware.parameters["strength"] < 2.0


def test_what_schedule_and_decay_do_is_told_apart_by_runs_that_change_one_of_them():
    def ran(name, lam):
        lr, share = doses(name, dw.decoupled(lam))
        return Run(lr, STEP, DECAY_AWARE.loss(np.append(BLIND, [0.3, 1.0]), seen(lr, share)[0]), f"{name} {lam}", share)

    both = fit([ran("constant", 0.5), ran("cosine", 2.0)])
    assert both.law is DECAY_AWARE
    assert both._alone == 2.0
    assert any("change together in these runs" in note for note in both.notes)
    for apart in (
        [ran("constant", 0.5), ran("cosine", 0.5), ran("cosine", 2.0)],
        [ran("cosine", 0.5), ran("cosine", 2.0)],
    ):
        fitted = fit(apart)
        assert fitted._alone == (1.0 if len(apart) == 3 else 2.0)
        assert not any("change together" in note for note in fitted.notes)


def test_a_decay_outside_those_of_the_runs_is_not_supported():
    plan = dw.Plan(4e-3, dw.warmup(100).then(dw.cosine(end=0.1)))
    for lam, supported in ((0.5, True), (2.5, True), (4.0, False)):
        told = FEW.predict(replace(plan, decay=dw.decoupled(lam)), 4000, at=[4000])
        assert told.supported == supported
        assert supported or f"λ = {lam:g}" in told.why
    blind = fit([c.run for c in SOME if c.lam == 0.25])
    assert blind.predict(plan, 4000).supported  # says nothing of decay
    assert "two λ" in blind.predict(replace(plan, decay=dw.decoupled(1.0)), 4000).why


# The best decay


def test_the_best_decay_is_the_lowest_of_all():
    for kind, scale in ((dw.decoupled, 1.0), (dw.independent, 4e-3)):
        plan = dw.Plan(4e-3, dw.warmup(100).then(dw.cosine(end=0.1)), decay=kind(2.0 * scale))
        found = best_decay(FEW, plan, 4000)
        ends = [float(FEW.predict(replace(plan, decay=kind(lam * scale)), 4000, at=[4000]).loss[0]) for lam in LAMBDAS]
        at_best = float(FEW.predict(replace(plan, decay=kind(found.best)), 4000, at=[4000]).loss[0])
        assert at_best <= min(ends) + 1e-7
        assert found.low <= found.best <= found.high
        assert found.distinguishable == (found.gain > found.half)
        assert found.gain == pytest.approx(ends[-1] - at_best, abs=1e-9)
        assert found.plan.decay == (kind(found.best) if found.distinguishable else plan.decay)


def test_a_decay_that_cannot_be_told_from_the_best_is_kept():
    plan = dw.Plan(4e-3, dw.warmup(100).then(dw.cosine(end=0.1)))
    best = best_decay(FEW, plan, 4000).best
    near = replace(plan, decay=dw.decoupled(1.05 * best))
    found = best_decay(FEW, near, 4000)
    assert not found.distinguishable
    assert found.plan == near
    assert "not distinguishable" in found.said


def test_a_decay_that_takes_more_than_a_weight_has_is_refused():
    plan = dw.Plan(15.0, dw.constant(), dw.decoupled(0.1, allow_overshoot=True))
    with pytest.raises(
        InvalidValueError, match=r"the plan with λ = 0\.1: decay takes the share 1\.5 in step 0; the laws know"
    ):
        best_decay(FEW, plan, 4000)


def test_the_best_decay_is_sought_only_where_the_law_reads_it():
    plan = dw.Plan(4e-3, dw.warmup(100).then(dw.cosine(end=0.1)))
    with pytest.raises(InvalidValueError, match="two λ"):
        best_decay(fit([c.run for c in SOME if c.lam == 0.25]), plan, 4000)
    for decay in (dw.decoupled(dw.cosine()), dw.decoupled(0.1, cautious=True)):
        with pytest.raises(InvalidValueError, match="one number"):
            best_decay(FEW, replace(plan, decay=decay), 4000)


def test_the_best_schedule_brings_its_own_decay():
    found = optimize(FEW, 4000)
    assert all(c.plan.decay.weight_decay > 0.0 for c in found.candidates)
    given = optimize(FEW, 4000, decay=dw.decoupled(1.0))
    assert {c.plan.decay for c in given.candidates} == {dw.decoupled(1.0)}
    last, other = found.candidates[-1], given.candidates[-1]
    assert last.name == other.name == "the best"
    assert last.loss == min(c.loss for c in found.candidates)
    assert last.loss < other.loss
    gain, half = FEW.difference(course(found.plan, 4000), course(found.against, 4000))
    assert (gain, half) == pytest.approx((found.gain, found.half))


# What is refused


def test_runs_that_decay_alike_are_refused():
    with pytest.raises(DataError, match="too much alike"):
        fit([c.run for c in CURVES if c.lam == 0.25], "decay-aware")
    with pytest.raises(DataError, match="too much alike"):
        fit([c.run for c in CURVES if c.lam == 0.0], "decay-aware")
    assert fit([c.run for c in CURVES if c.lam == 0.25 and c.peak == 1e-3]).law is NOISE_FLOOR
    run = CURVES[0].run
    with pytest.raises(DataError, match="of every run"):
        fit([Run(run.lr, run.step, run.loss)], "decay-aware")


def test_shares_that_cannot_be_are_refused_in_words():
    run = CURVES[0].run
    for share, said in ((np.zeros(5), "4000 steps"), (np.full(4000, 1.0), "Lower"), (np.full(4000, np.nan), "Lower")):
        with pytest.raises(InvalidValueError, match=said):
            Run(run.lr, run.step, run.loss, share=share)
        with pytest.raises(InvalidValueError, match=said):
            FEW.predict(run.lr, share=share)
    with pytest.raises(InvalidValueError, match=r"give a Plan.*no one share"):
        FEW.predict(run.lr)
    cautious = dw.Plan(0.1, decay=dw.decoupled(0.1, cautious=True))
    assert Run.of(cautious, 8, [2, 4, 6, 8], [1.0] * 4).share is None


def test_a_file_that_is_not_of_these_curves_is_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        decay_curves(tmp_path / "none.csv.gz")
    with gzip.open(tmp_path / "other.csv.gz", "wt") as file:
        file.write("step,loss\n1,2\n")
    with pytest.raises(DataError, match="columns"):
        decay_curves(tmp_path / "other.csv.gz")
