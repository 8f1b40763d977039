"""Laws of loss curves: what is fitted is found again, what is forecast is honest, and bad logs are refused or said."""

from __future__ import annotations

import numpy as np
import pytest

import dwindle as dw
from dwindle.errors import DataError, InvalidValueError, UnknownNameError
from dwindle.laws import LAWS, Course, Run, fit
from dwindle.laws.features import features, warmup

T = 12_000
WARM = dw.warmup(300)
PLANS = {
    "constant": dw.Plan(1e-3, WARM.then(dw.constant())),
    "cosine": dw.Plan(1e-3, WARM.then(dw.cosine(end=0.1))),
    "wsd": dw.Plan(1e-3, dw.wsd(300, "20%")),
}
TRUE = {  # the law that reads decay has tests of its own
    "noise-floor": (2.0, 0.5, 0.5, 0.03, 0.25, 0.7, 120.0, 0.1, 0.33, 0.25),
    "multi-power": (2.3, 0.5, 0.45, 0.3, 100.0, 0.5, 0.6),
    "functional-scaling": (2.3, 0.5, 0.45, 0.08, 2.0, 80.0, 0.5),
    "annealing": (2.3, 0.5, 0.45, 0.3, 0.05),
    "last-iterate": (2.3, 0.2, 0.1),
    "power": (2.3, 0.5, 0.45),
}


def curve(law, lr, step, peak=1e-3, values=None):
    """Return what the law says, in nats and in units of 5,000 steps."""
    lr, step = np.asarray(lr), np.asarray(step)
    seen = features(lr, step, unit=5000.0, reference=peak)
    if LAWS[law].extra is not None:
        seen = seen._replace(extra=LAWS[law].extra(Course(lr), seen.at, step, 5000.0))
    return LAWS[law].loss(np.array(values or TRUE[law]), seen)


def runs(law, names=tuple(PLANS), noise=0.0, seed=0):
    step, generator = np.arange(1, 121) * (T // 120), np.random.default_rng(seed)
    found = []
    for name in names:
        lr = PLANS[name].lrs(T)
        found.append(Run(lr, step, curve(law, lr, step) + noise * generator.standard_normal(120), name))
    return found


# What a schedule looks like


def test_what_the_laws_read_is_what_a_loop_over_the_steps_reads():
    lr = np.concatenate(
        [np.linspace(0.0, 1.0, 10), np.full(20, 1.0), np.linspace(1.0, 0.2, 15), np.full(5, 0.2), [0.6] * 10]
    )
    step = np.array([5, 30, 41, 50, 60])
    seen = features(lr, step, unit=10.0, reference=2.0)
    assert seen.peak == 0.5
    np.testing.assert_allclose(seen.travelled, [lr[:s].sum() / 10.0 for s in step])
    changes = [k for k in range(11, len(lr)) if lr[k] != lr[k - 1]]
    np.testing.assert_allclose(seen.before, lr[np.array(changes) - 1])
    np.testing.assert_allclose(seen.after, lr[changes])
    np.testing.assert_allclose(seen.at, [lr[:k].sum() / 10.0 for k in changes])
    since = [[max(lr[:s].sum() - lr[:k].sum(), 0.0) / 10.0 for k in changes] for s in step]
    np.testing.assert_allclose(seen.since, since, atol=1e-12)
    np.testing.assert_allclose(seen.steps_since, [[max(s - k, 0) / 10.0 for k in changes] for s in step])


def test_long_slopes_are_taken_in_pieces_that_add_up():
    lr = dw.Plan(1.0, dw.cosine()).lrs(100_000)
    few = features(lr, np.array([100_000]), unit=1e4, reference=1.0)
    assert len(few.at) <= 400
    assert few.before.sum() - few.after.sum() == pytest.approx(1.0 - lr[-1], abs=1e-6)
    exact = np.sum(-np.diff(lr) * (lr.sum() - np.cumsum(lr)[:-1])) / 1e4
    assert (few.before - few.after) @ few.since[0] == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("lr", "steps"), [([1, 1, 1], 0), ([0, 1, 2, 2, 1], 2), ([0, 1, 2], 2), ([2, 1, 2], 0)])
def test_warm_up_is_the_rise_at_the_start(lr, steps):
    assert warmup(np.array(lr, dtype=float)) == steps


# What is fitted


@pytest.mark.parametrize("law", TRUE)
def test_a_curve_of_the_law_itself_is_found_again(law):
    fitted = fit(runs(law), law)
    assert max(fitted.error.values()) < 0.004
    lr = dw.Plan(1e-3, WARM.then(dw.linear(end=0.0))).lrs(T)
    step = np.arange(2000, T + 1, 500)
    forecast = fitted.predict(lr, at=step)
    assert np.abs(forecast.loss - curve(law, lr, step)).max() < 0.02
    assert forecast.supported


def test_losses_of_any_unit_give_the_same_forecast():
    """Bits, a small network's 0.1, or an offset: the law is fitted in the range of the losses."""
    lr, at = PLANS["cosine"].lrs(2 * T), np.arange(4000, 2 * T, 4000)
    plain = fit(runs("noise-floor")).predict(lr, at=at)
    for scale, level in ((1.4427, 0.0), (0.05, 0.0), (1.0, -7.0)):
        other = fit([Run(r.lr, r.step, scale * r.loss + level, r.name) for r in runs("noise-floor")]).predict(lr, at=at)
        np.testing.assert_allclose(other.loss, scale * plain.loss + level, rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(other.upper - other.lower, scale * (plain.upper - plain.lower), rtol=1e-4)


def test_parameters_come_in_the_unit_of_the_losses():
    """L(∞) of a power law, and its amount, without a schedule that does anything."""
    step = np.arange(1, 201) * 100
    fitted = fit(Run(np.full(20_000, 0.1), step, 5.0 + 2.0 * (step / (20_000 / 2.4)) ** -0.5), "power")
    assert fitted.parameters == pytest.approx({"L0": 5.0, "A": 2.0, "alpha": 0.5}, rel=0.02)


def test_rates_of_any_scale_give_the_same_forecast():
    at = np.arange(4000, T, 2000)
    plain = fit(runs("noise-floor")).predict(PLANS["wsd"].lrs(T), at=at)
    scaled = fit([Run(50.0 * r.lr, r.step, r.loss, r.name) for r in runs("noise-floor")])
    np.testing.assert_allclose(scaled.predict(50.0 * PLANS["wsd"].lrs(T), at=at).loss, plain.loss, rtol=1e-9)


def test_spikes_and_noise_move_the_forecast_little():
    noisy = runs("noise-floor", noise=0.01)
    spiked = [Run(r.lr, r.step, np.where(np.arange(120) % 17 == 5, r.loss + 3.0, r.loss), r.name) for r in noisy]
    at = np.arange(3000, T, 1000)
    clean = fit(runs("noise-floor")).predict(PLANS["cosine"].lrs(T), at=at).loss
    forecast = fit(spiked).predict(PLANS["cosine"].lrs(T), at=at)
    assert np.abs(forecast.loss - clean).max() < 0.02
    assert (forecast.upper - forecast.lower).max() < 0.1


def test_a_curve_weighs_the_same_however_often_it_was_logged():
    first, second, third = runs("noise-floor")
    lr = second.lr
    step = np.arange(1, 6001) * 2
    dense = Run(lr, step, curve("noise-floor", lr, step), "cosine")
    at = np.array([6000, T])
    few, many = fit([first, second, third]).predict(lr, at=at), fit([first, dense, third]).predict(lr, at=at)
    np.testing.assert_allclose(many.loss, few.loss, atol=0.003)
    np.testing.assert_allclose(many.upper - many.lower, few.upper - few.lower, rtol=0.2)


# What is forecast


def test_nine_of_ten_logged_losses_lie_in_the_interval_of_a_law_that_holds():
    inside = []
    for seed in range(8):
        found = fit(runs("noise-floor", names=("constant", "wsd"), noise=0.01, seed=seed))
        run = runs("noise-floor", names=("cosine",), noise=0.01, seed=seed + 100)[0]
        later = run.step > 2000
        forecast = found.predict(run.lr, at=run.step[later])
        inside.append(((run.loss[later] > forecast.lower) & (run.loss[later] < forecast.upper)).mean())
    assert 0.85 <= np.mean(inside) <= 1.0


def test_where_a_law_does_not_fit_its_intervals_say_so():
    """A loss that falls exponentially, and hardly minds the rate."""

    def found(name):
        lr, step = PLANS[name].lrs(T), np.arange(1, 121) * (T // 120)
        return Run(lr, step, 1.0 + np.exp(-step / 2500.0) + 0.05 * np.tanh(lr[step - 1] / 1e-3), name)

    fitted = fit([found("constant"), found("cosine")])
    assert "intervals are as much wider" in fitted.notes[-1]
    assert not any("wider" in note for note in fit(runs("noise-floor")).notes)
    left = found("wsd")
    later = left.step > 1000
    forecast = fitted.predict(left.lr, at=left.step[later])
    assert ((forecast.lower < left.loss[later]) & (left.loss[later] < forecast.upper)).mean() > 0.8


def test_the_interval_widens_with_the_horizon():
    fitted = fit(runs("noise-floor"))
    widths = []
    for steps in (T, 2 * T, 4 * T):
        forecast = fitted.predict(PLANS["cosine"], horizon=steps)
        widths.append(forecast.upper[-1] - forecast.lower[-1])
    assert widths == sorted(widths)
    assert widths[1] > 1.4 * widths[0]
    assert widths[2] > 2.5 * widths[0]


def risk(peak, factors, power, batch=16):
    """Return the exact loss of SGD on noisy linear regression after each step; its features have variances k^-power.

    The rates are ``factors`` times the part ``peak`` of the largest at which it stays finite.
    """
    variances = np.arange(1.0, 501.0) ** -power
    apart = np.arange(1.0, 501.0) ** -0.5
    apart *= 2.0 / (variances @ apart)
    most = 2.0 / (variances[0] * (1.0 + 1.0 / batch) + variances.sum() / batch)
    found = np.empty(len(factors))
    for step, factor in enumerate(factors):
        rate, loss = peak * most * factor, variances @ apart + 1.0
        apart = apart * (1.0 - 2.0 * rate * variances + (1.0 + 1.0 / batch) * (rate * variances) ** 2)
        apart += rate**2 / batch * variances * loss
        found[step] = (variances @ apart + 1.0) / 2.0
    return found


def test_an_interval_is_wider_where_the_runs_foretell_each_other_badly():
    """The loss of another law, of which two runs are fitted: the forecasts of others are inside because of it."""
    plans = {name: dw.Plan(1.0, dw.warmup(100).then(after)) for name, after in (
        ("constant", dw.constant()), ("cosine", dw.cosine(end=0.1)), ("linear", dw.linear()),
        ("cooldown", dw.constant().then(dw.linear("20%"))), ("drop", dw.piecewise([1900], [1.0, 0.1])))}  # fmt: skip
    inside, once = [], []
    for power in (1.4, 1.6, 1.8):
        logs = {}
        for name, plan in plans.items():
            lr, step = plan.lrs(3000), np.arange(1, 61) * 50
            logs[name] = Run(lr, step, risk(0.4, lr, power)[step - 1], name)
        fitted = fit([logs["constant"], logs["cosine"]])
        for name in ("linear", "cooldown", "drop"):
            told = fitted.predict(logs[name].lr, at=[3000])
            off, half = abs(told.loss[0] - logs[name].loss[-1]), (told.upper[0] - told.lower[0]) / 2.0
            inside.append(off < half)
            once.append(off < half / fitted._left_out)
    assert sum(inside) >= 7
    assert sum(once) <= 5
    assert fit(runs("noise-floor"))._left_out < 1.5


@pytest.mark.parametrize("apart", [0.05, 0.3])
def test_a_run_apart_from_the_others_widens_an_interval_by_as_much_as_it_is_apart_and_not_by_the_square(apart):
    given = runs("noise-floor", noise=0.004)
    given[0] = Run(given[0].lr, given[0].step, given[0].loss + apart, "another seed")
    told = fit(given).predict(PLANS["cosine"], T, at=[T])
    half = (told.upper[0] - told.lower[0]) / 2.0
    assert 0.5 * apart < half < 2.0 * apart


@pytest.mark.parametrize(
    ("names", "plan", "steps", "said"),
    [
        (("constant", "cosine"), PLANS["cosine"], 6 * T, "times the longest"),
        (("constant", "cosine"), dw.Plan(2e-3, WARM.then(dw.cosine())), T, "the peak 0.002 is outside"),
        (("constant", "cosine"), PLANS["wsd"], 4 * T, ""),
        (("wsd",), PLANS["wsd"], 3 * T, "3.0 times the longest fitted run, of 12000; of one schedule that is too far, add a run"),
        (("wsd",), PLANS["wsd"], 2 * T, ""),
        (("constant",), PLANS["cosine"], T, "add one that decays"),
        (("constant", "cosine"), dw.Plan(1e-3, WARM.then(dw.cosine_restarts(3000))), T, "rises again"),
        (("constant", "cosine"), PLANS["wsd"], T // 30, "the law begins"),
        (("constant", "cosine"), PLANS["wsd"], T, ""),
    ],
)  # fmt: skip
def test_what_the_runs_cannot_answer_is_said(names, plan, steps, said):
    forecast = fit(runs("noise-floor", names=names)).predict(plan, horizon=steps)
    assert forecast.supported is (said == "")
    assert said in forecast.why


def test_two_peaks_tell_of_peaks_between_and_near():
    values, fits = TRUE["noise-floor"], []
    for peak in (5e-4, 1e-3):
        for name, plan in PLANS.items():
            lr = plan.lrs(T) * (peak / 1e-3)
            step = np.arange(1, 121) * (T // 120)
            fits.append(Run(lr, step, curve("noise-floor", lr, step, 7e-4, values), f"{name} {peak}"))
    fitted = fit(fits)
    assert max(fitted.error.values()) < 0.003
    lr = PLANS["cosine"].lrs(T) * 0.7
    forecast = fitted.predict(lr, at=[T])
    assert forecast.supported
    assert forecast.loss[0] == pytest.approx(curve("noise-floor", lr, [T], 7e-4, values)[0], abs=0.005)
    assert not fitted.predict(PLANS["cosine"].lrs(T) * 4.0).supported


def test_the_start_of_a_short_run_can_be_asked_about():
    step = np.array([5, 8, 12, 15])
    fitted = fit(Run(np.full(15, 0.1), step, 2.0 + 1.0 / step))
    assert np.isfinite(fitted.predict(np.full(15, 0.1), at=[0, 1, 15]).loss).all()
    assert not fitted.predict(np.full(15, 0.1), at=[0]).supported


def test_points_come_in_the_order_asked_for():
    fitted, lr = fit(runs("noise-floor")), PLANS["cosine"].lrs(T)
    asked = fitted.predict(lr, at=[9000, 3000, 9000, 6000.0])
    assert asked.step.tolist() == [9000, 3000, 9000, 6000]
    assert asked.loss[0] == asked.loss[2] < asked.loss[3] < asked.loss[1]
    for at in ([], [0.5], [np.nan], [[1, 2]]):
        with pytest.raises(InvalidValueError, match="whole numbers"):
            fitted.predict(lr, at=at)


def test_a_plan_is_its_rates():
    fitted = fit(runs("noise-floor"))
    np.testing.assert_array_equal(
        fitted.predict(PLANS["wsd"], horizon=T).loss, fitted.predict(PLANS["wsd"].lrs(T)).loss
    )


def test_a_forecast_is_drawn_with_its_band():
    pytest.importorskip("matplotlib")
    forecast = fit(runs("noise-floor")).predict(PLANS["cosine"], T)
    axes = forecast.plot()
    assert axes.lines[0].get_ydata() == pytest.approx(forecast.loss)
    edges = axes.collections[0].get_datalim(axes.transData)
    assert (edges.y0, edges.y1) == pytest.approx((forecast.lower.min(), forecast.upper.max()))
    far = fit(runs("noise-floor")).predict(PLANS["cosine"], 10 * T).plot(axes)
    assert far is axes
    assert "not supported" in axes.get_title()


# What is refused, and what is left out and said


def points(number=20):
    step = np.arange(1, number + 1) * 500
    return step, 3.0 + (step / 1000.0) ** -0.5


@pytest.mark.parametrize(
    ("lr", "step", "loss", "error", "said"),
    [
        (np.full(100, 0.1), [1, 2, 3], [1.0, 2.0], InvalidValueError, "one loss for each step"),
        (np.full(100, -0.1), [1, 2, 3, 4], [1.0] * 4, InvalidValueError, "not negative"),
        ([0.1, np.nan, 0.1], [1, 2, 3, 3], [1.0] * 4, InvalidValueError, "step 1 is nan"),
        (np.zeros(100), [1, 2, 3, 4], [1.0] * 4, InvalidValueError, "nothing is learned"),
        (0.1, [1, 2, 3, 4], [1.0] * 4, InvalidValueError, "of every step"),
        (np.full(100, 0.1), [50], [1.0], DataError, "at least 4"),
        (np.full(100, 0.1), [1, 2, 3, 4], [np.nan] * 4, DataError, "at least 4"),
        (np.full(100, 0.1), [0.5, 1.0, 1.5, 2.0], [1.0] * 4, DataError, "not epochs"),
        (np.full(100, 0.1), [10, 20, 30, 400], [1.0] * 4, DataError, "not epochs or tokens"),
    ],
)  # fmt: skip
def test_a_log_that_cannot_be_used_is_refused_in_words(lr, step, loss, error, said):
    with pytest.raises(error, match=said):
        Run(lr, step, loss)


def test_two_runs_in_one_log_are_refused():
    step, loss = points(50)
    lr = np.full(25_001, 0.1)
    with pytest.raises(DataError, match="mixed"):
        Run(lr, np.concatenate([step, step]), np.concatenate([loss, loss + 0.8]))
    Run(lr, np.concatenate([step, step]), np.concatenate([loss, loss + 1e-4]))  # a run that was resumed


def test_another_models_losses_are_refused():
    step, loss = points()
    lr = np.full(10_000, 0.1)
    with pytest.raises(DataError, match="nowhere near"):
        fit([Run(lr, step, loss, "mine"), Run(lr, step, np.exp(loss), "perplexity")])


def test_what_is_left_out_is_said():
    step, loss = points()
    shuffled = np.random.default_rng(0).permutation(20)
    dirty = Run(
        np.full(10_000, 0.1),
        np.concatenate([step[shuffled], [4000, 100]]),
        np.concatenate([loss[shuffled], [3.3, np.inf]]),
    )
    assert any("not finite" in note for note in dirty.notes)
    assert any("sorted" in note for note in dirty.notes)
    assert any("repeats a step" in note for note in dirty.notes)
    notes = fit([dirty]).notes
    assert all(any(word in note for note in notes) for word in ("finite", "sorted", "repeats"))
    early = Run(np.full(10_000, 0.1), np.concatenate([[100, 200], step]), np.concatenate([[9.0, 8.0], loss]))
    assert any("2 points before step 500" in note for note in fit(early).notes)


def test_the_order_of_points_and_runs_changes_nothing():
    found = runs("noise-floor", noise=0.01)
    turned = [Run(r.lr, r.step[::-1], r.loss[::-1], r.name) for r in found[::-1]]
    at, lr = np.array([5000, T]), PLANS["cosine"].lrs(T)
    np.testing.assert_allclose(fit(turned).predict(lr, at=at).loss, fit(found).predict(lr, at=at).loss, rtol=1e-6)


def test_a_log_is_taken_as_the_run_it_shows():
    class Log:
        name, step = "mine", np.arange(1, 41) * 100.0
        lr, loss = np.full(40, 0.1), 2.0 + step**-0.5

    fitted = fit(Log)
    assert list(fitted.error) == ["mine"]
    assert fitted.predict(dw.Plan(0.1), 8000, at=[8000]).supported
    with pytest.raises(InvalidValueError, match="Give Run"):
        fit([3.0])


def test_a_fit_needs_runs_and_a_law_that_exists():
    with pytest.raises(DataError, match="no run"):
        fit([])
    with pytest.raises(UnknownNameError, match="noise-floor"):
        fit(runs("power"), "noise-flor")
    with pytest.raises(InvalidValueError, match="horizon"):
        fit(runs("power")).predict(PLANS["cosine"])
    with pytest.raises(DataError, match="asked for the loss after"):
        fit(runs("power")).predict(PLANS["cosine"].lrs(T), at=[T + 1])


def test_a_log_with_rates_only_at_its_points():
    lr = PLANS["cosine"].lrs(T)
    step = np.arange(400, T, 100)
    run = Run.logged(step, lr[step], 3.0 - step / T, warmup=300)
    np.testing.assert_allclose(run.lr, lr[: len(run.lr)], atol=3e-6)
    with pytest.raises(DataError, match="no point"):
        Run.logged([-1, -2, -3, -4], [0.1] * 4, [1.0] * 4)


# One run, and runs of a like model


def of_a_larger_model(names, noise=0.0):
    """Runs of a law whose exponents are not the usual ones, and of a smaller model that shares them."""
    values = {"small": (3.0, 0.6, 0.75, 0.03, 0.5, 0.95, 120.0, 0.1, 0.33, 0.25),
              "large": (2.0, 0.5, 0.75, 0.03, 0.42, 0.95, 120.0, 0.1, 0.33, 0.25)}  # fmt: skip
    step, generator = np.arange(1, 121) * (T // 120), np.random.default_rng(0)
    found = {}
    for model, given in values.items():
        for name in names:
            lr = PLANS[name].lrs(T)
            loss = curve("noise-floor", lr, step, values=given) + noise * generator.standard_normal(120)
            found[model, name] = Run(lr, step, loss, f"{model} {name}")
    return found


def test_runs_of_a_like_model_tell_of_the_exponents():
    given = of_a_larger_model(PLANS, noise=0.001)
    small = [run for (model, _), run in given.items() if model == "small"]
    left = [given["large", name] for name in ("constant", "wsd")]
    off = {}
    for which, like in (("alone", ()), ("like", small), ("groups", [small])):
        fitted = fit(given["large", "cosine"], like=like)
        later = left[0].step > 1000
        off[which] = np.mean([np.abs(fitted.loss(run.lr, run.step) - run.loss)[later].mean() for run in left])
    assert off["like"] < 0.6 * off["alone"]
    assert off["groups"] == off["like"]
    fitted = fit(given["large", "cosine"], like=small)
    assert any("3 runs of a like model" in note for note in fitted.notes)
    assert fitted.law.name == "noise-floor"
    assert fitted.parameters["alpha"] == pytest.approx(fit(small).parameters["alpha"], rel=0.1)


def test_a_like_model_of_another_peak_or_decay_or_law_is_refused():
    (one, other, _), like = runs("noise-floor"), runs("noise-floor")
    with pytest.raises(InvalidValueError, match="same peak"):
        fit([one, other], like=[Run(2.0 * r.lr, r.step, r.loss) for r in like])
    decayed = [Run(r.lr, r.step, r.loss, share=lam * r.lr) for lam, r in zip((0.1, 0.2), like, strict=False)]
    with pytest.raises(InvalidValueError, match="same weight decay"):
        fit(decayed[0], like=decayed[1])
    with pytest.raises(InvalidValueError, match="noise-floor"):
        fit([one], "multi-power", like=like)


def test_one_schedule_gives_wider_intervals_than_two():
    one, other, _ = runs("noise-floor", noise=0.002)
    again = Run(one.lr, one.step, one.loss + 1e-4, "again")
    lr, at = PLANS["wsd"].lrs(T), [T]
    widths = [np.ptp([fit(r).predict(lr, at=at)[i][0] for i in (2, 3)]) for r in ([one, again], [one, other])]
    assert widths[0] > 2.0 * widths[1]
    two = fit([one, again])
    assert two._alone == fit(one)._alone == 2.0 * fit([one, other])._alone


def test_a_log_of_every_step_is_fitted_by_the_means_of_neighbours():
    """As well as by fewer points with less noise, and no forecast is surer of a point than its own noise."""
    lr, generator = PLANS["wsd"].lrs(T), np.random.default_rng(3)
    step = np.arange(1, T + 1)
    truth = curve("noise-floor", lr, step)
    every = Run(lr, step, truth + 0.05 * generator.standard_normal(T))
    few = Run(lr, step[5::10], truth[5::10] + 0.05 / np.sqrt(10.0) * generator.standard_normal(T // 10))
    dense, sparse = fit(every), fit(few)
    at = np.arange(2000, T, 500)
    np.testing.assert_allclose(dense.loss(lr, at), sparse.loss(lr, at), atol=0.01)
    assert dense.known.noise == pytest.approx(0.05, rel=0.05)
    assert len(dense.loss(lr, step)) == T
    np.testing.assert_array_equal(dense.loss(lr, step)[at - 1], dense.loss(lr, at))


def test_warm_ups_and_where_points_lie_make_no_other_schedule():
    one, other, _ = runs("noise-floor", noise=0.002)
    quicker = one.lr.copy()
    quicker[:60] = np.linspace(0.0, one.lr[60], 60)
    near = Run(1.002 * quicker, one.step, one.loss + 1e-4, "near")
    sparse = Run.logged(one.step[::2], one.lr[one.step[::2] - 1], one.loss[::2], name="sparse")
    for again in (near, sparse):
        assert fit([one, again])._alone == 2.0
    assert fit([one, other])._alone == fit([one, Run(0.5 * one.lr, one.step, one.loss, "half")])._alone == 1.0


def test_steps_that_are_tokens_and_losses_beyond_all_bounds_are_refused():
    step = np.arange(1, 41) * 1e8
    with pytest.raises(
        DataError, match=r"run: the steps go to 4e\+09; a run has at most 1e\+08 here\. Are these examples"
    ):
        Run.logged(step, np.full(40, 1e-3), np.linspace(3.0, 2.0, 40))
    endless = Run.logged([100, 200, 300, 400, np.inf], np.full(5, 1e-3), [3.0, 2.5, 2.2, 2.1, 2.0])
    assert endless.step.tolist() == [100, 200, 300, 400]
    assert "1 point was not finite and left out" in endless.notes
    with pytest.raises(DataError, match=r"run: 0 points were usable; .*40 points were beyond 1e\+100 and left out"):
        Run(np.full(1000, 1e-3), np.arange(1, 41) * 25, 1e300 * np.linspace(3.0, 2.0, 40))
    loss = np.linspace(3.0, 2.0, 40)
    loss[7] = 1e308
    spiked = Run(np.full(1000, 1e-3), np.arange(1, 41) * 25, loss)
    assert spiked.notes == ("1 point was beyond 1e+100 and left out",)
    assert np.isfinite(fit(spiked).predict(np.full(1000, 1e-3)).loss[-1])


def test_of_steps_that_were_done_again_the_later_rate_counts_too():
    step = np.r_[np.arange(100, 701, 100), np.arange(600, 1001, 100)]
    lr = np.r_[np.full(7, 1e-3), np.full(5, 5e-4)]
    run = Run.logged(step, lr, np.linspace(3.0, 2.0, 12))
    assert run.lr[[500, 600, 700, 800]].tolist() == [1e-3, 5e-4, 5e-4, 5e-4]
