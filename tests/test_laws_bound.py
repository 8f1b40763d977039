"""The convex last-iterate bound against its own theorem, simulated subgradient descent and brute force; refined schedules."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.errors import DwindleError, InvalidValueError, UnknownNameError
from dwindle.laws.last_iterate import SHAPES, best_cooldown, best_factors, best_peak, bound, bounds
from dwindle.laws.refine import refine
from dwindle.schedule import Ramp, curve

Array = npt.NDArray[np.float64]
usual = settings(deadline=None, max_examples=60)

rates = st.lists(st.floats(1e-3, 10.0), min_size=1, max_size=30)
norm = st.floats(0.01, 100.0)


def theorem(lrs: Any, distance: float, norms: Any) -> float:
    """The bound as it is printed: two sums over all steps and one over each k, in fractions."""
    eta, g = [Fraction(float(x)) for x in lrs], [Fraction(float(x)) for x in norms]
    steps = range(len(eta))
    total = Fraction(distance) ** 2 / (2 * sum(eta))
    total += sum(eta[t] ** 2 * g[t] ** 2 for t in steps) / (2 * sum(eta))
    for k in steps[:-1]:
        later = sum(eta[t] ** 2 * g[t] ** 2 for t in steps[k:]) / sum(eta[k:])
        total += Fraction(1, 2) * eta[k] / sum(eta[k + 1 :]) * later
    return float(total)


# --- the bound -------------------------------------------------------------------------------------------------------


@pytest.mark.law
@given(rates, st.floats(0.01, 100.0), st.data())
@usual
def test_one_sum_is_the_double_sum_of_the_theorem(lrs: list[float], distance: float, data: st.DataObject) -> None:
    norms = data.draw(st.lists(norm, min_size=len(lrs), max_size=len(lrs)))
    assert bound(lrs, distance=distance, gradient_norm=norms) == pytest.approx(theorem(lrs, distance, norms), rel=1e-12)


def test_a_rate_that_falls_to_almost_nothing_loses_no_digits() -> None:
    lrs = 0.5 ** np.arange(0, 1000, 20.0)  # differences of sums from the start would be all rounding
    assert bound(lrs) == pytest.approx(theorem(lrs, 1.0, np.ones(len(lrs))), rel=1e-12)


@pytest.mark.law
@given(rates, st.data())
@usual
def test_the_bound_at_a_step_is_that_of_the_run_ended_there(lrs: list[float], data: st.DataObject) -> None:
    norms = data.draw(st.lists(norm, min_size=len(lrs), max_size=len(lrs)))
    every = bounds(lrs, distance=3.0, gradient_norm=norms)
    ended = [theorem(lrs[: s + 1], 3.0, norms[: s + 1]) for s in range(len(lrs))]
    np.testing.assert_allclose(every, ended, rtol=1e-12)
    some = data.draw(st.lists(st.integers(0, len(lrs) - 1), max_size=5))
    assert np.array_equal(bounds(lrs, some, distance=3.0, gradient_norm=norms), every[some])


@pytest.mark.law
@given(rates, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
@usual
def test_the_units_are_distance_times_gradient_norm(lrs: list[float], distance: float, g: float) -> None:
    scaled = np.asarray(lrs) * distance / g
    there = bound(scaled, distance=distance, gradient_norm=g)
    assert there == pytest.approx(distance * g * bound(lrs), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "text",
    [
        "constant",
        "linear",
        "warmup 10%, cosine",
        "step 30 halve",
        "wsd",
        "warmup 1st, linear for 100st, constant at 0%",
    ],
)
def test_subgradient_descent_stays_below_the_bound(seed: int, text: str) -> None:
    """f(x) = max_i |a_i·(x - x*)| is convex, f* = 0, and every subgradient is one of the a_i up to a sign."""
    rng, steps = np.random.default_rng(seed), 200
    a = rng.normal(size=(20, 5))
    x = rng.normal(size=5)  # x* is at the origin
    texts = {"step 30 halve": dw.step(30), "wsd": dw.wsd()}
    lrs = dw.Plan(0.05, texts[text] if text in texts else dw.parse(f"peak 1 | {text}").schedule).lrs(steps)
    distance, losses, norms = float(np.linalg.norm(x)), [], []
    for lr in lrs:
        i = int(np.argmax(np.abs(a @ x)))
        losses.append(abs(float(a[i] @ x)))
        norms.append(float(np.linalg.norm(a[i])))
        x = x - lr * np.sign(a[i] @ x) * a[i]
    limits = bounds(lrs, distance=distance, gradient_norm=norms)
    assert np.all(np.asarray(losses) <= limits)
    assert limits[-1] < 4.0 * max(losses)  # and says something


@pytest.mark.parametrize("steps", [1, 2, 10, 1000])
def test_a_constant_rate_has_the_bound_of_the_harmonic_numbers(steps: int) -> None:
    harmonic = math.fsum(1 / m for m in range(1, steps))
    assert bound(np.full(steps, 0.3)) == pytest.approx(0.5 / (0.3 * steps) + 0.15 * (1 + harmonic), rel=1e-13)
    assert best_peak(np.ones(steps)).bound == pytest.approx(math.sqrt((1 + harmonic) / steps), rel=1e-13)


@pytest.mark.law
@given(rates, st.integers(0, 29), st.integers(1, 3))
@usual
def test_a_step_of_rate_zero_is_no_step(lrs: list[float], where: int, many: int) -> None:
    where = min(where, len(lrs) - 1)
    paused = [*lrs[:where], *[0.0] * many, *lrs[where:]]
    norms = np.linspace(1, 2, len(lrs))
    waiting = np.concatenate((norms[:where], np.full(many, 77.0), norms[where:]))
    assert bound(paused, gradient_norm=waiting) == pytest.approx(bound(lrs, gradient_norm=norms), rel=1e-13)
    # at the end the weights are those after the last update: the rate of the next is free
    stopped = bound([*lrs, *[0.0] * many], gradient_norm=[*norms, *[5.0] * many])
    assert stopped == pytest.approx(bound([*lrs, lrs[-1]], gradient_norm=[*norms, 5.0]), rel=1e-13)


def test_weights_that_never_move_have_no_bound() -> None:
    assert bound([0.0, 0.0]) == math.inf
    assert bounds([0.0, 0.5]).tolist() == [math.inf, bound([0.5])]
    with pytest.raises(InvalidValueError, match="every factor is 0"):
        best_peak([0.0, 0.0])


# --- the best peak and the best shape --------------------------------------------------------------------------------


@pytest.mark.law
@given(rates, st.floats(0.1, 10.0), st.floats(0.1, 10.0))
@usual
def test_the_best_peak_is_that_of_a_grid(factors: list[float], distance: float, g: float) -> None:
    best = best_peak(factors, distance=distance, gradient_norm=g)
    grid = best.peak * np.geomspace(0.2, 5.0, 401)
    values = [bound(peak * np.asarray(factors), distance=distance, gradient_norm=g) for peak in grid]
    assert int(np.argmin(values)) == 200
    assert values[200] == pytest.approx(best.bound, rel=1e-12)


def descended(norms: Array) -> tuple[Array, float]:
    """The lowest bound by projected gradient descent on the rates; step sizes of Barzilai & Borwein, derivative by hand."""
    squares, eta = norms**2, np.full(len(norms), 1.0 / math.sqrt(len(norms)))

    def slope(rates: Array) -> Array:
        later = np.cumsum(rates[::-1])[::-1][1:]
        ratio = rates[:-1] / later
        out = np.append(ratio * squares[:-1], 0.5 * squares[-1]) - 0.5 / rates.sum() ** 2
        out[1:] -= 0.5 * np.cumsum(ratio**2 * squares[:-1])
        return out

    old, size = slope(eta), 1e-4
    for _ in range(20_000):
        after = np.maximum(eta - size * old, 1e-6)
        new = slope(after)
        moved, turned = after - eta, new - old
        eta, old = after, new
        if np.max(np.abs(new)) < 1e-11:
            break
        size = float(min(moved @ moved / max(moved @ turned, 1e-300), 1.0))
    later = np.cumsum(eta[::-1])[::-1][1:]
    noise = np.sum(eta[:-1] ** 2 * squares[:-1] / later) + eta[-1] * squares[-1]
    return eta, float(0.5 / eta.sum() + 0.5 * noise)


def test_projected_gradient_descent_finds_the_best_shape_which_is_linear_decay() -> None:
    eta, value = descended(np.ones(101))
    found = eta[:-1] / eta[:-1].max()
    np.testing.assert_allclose(found, best_factors(100), rtol=1e-6)
    linear = curve(dw.linear(100), 100)
    np.testing.assert_allclose(found, linear, atol=0.035)  # it ends three steps late
    assert value == pytest.approx(best_peak(eta).bound, rel=1e-9)
    assert value <= best_peak(curve(dw.linear(101), 101)).bound < 1.02 * value


def test_projected_gradient_descent_finds_the_best_shape_for_other_norms() -> None:
    norms = 1.0 + 2.0 * np.exp(-np.arange(51) / 5.0)
    norms[-1] = norms[-2]
    eta, _ = descended(norms)
    np.testing.assert_allclose(eta[:-1] / eta[:-1].max(), best_factors(50, gradient_norm=norms[:-1]), rtol=1e-6)


@given(st.lists(norm, min_size=1, max_size=12), st.data())
@usual
def test_no_other_shape_has_a_lower_bound(norms: list[float], data: st.DataObject) -> None:
    factors, last = best_factors(len(norms), gradient_norm=norms), norms[-1]
    long = [*norms, last]

    def after_all(shape: Any) -> float:
        """The bound after all updates: the rate that follows them is free, and here the best of a fine grid."""
        free = np.geomspace(1e-3, 1e3, 601) * float(shape[-1])
        return min(best_peak([*shape, each], gradient_norm=long).bound for each in free)

    lowest = after_all(factors)
    value = last**2  # the recursion itself, in numbers of its own
    for g in norms[::-1]:
        value = 2 * g**2 * (math.sqrt(1 + value / g**2) - 1)
    assert lowest == pytest.approx(math.sqrt(value), rel=1e-3)
    bent = data.draw(st.lists(st.floats(0.3, 3.0), min_size=len(norms), max_size=len(norms)))
    assert after_all(factors * np.asarray(bent)) >= math.sqrt(value) * (1 - 1e-9)


def test_best_factors_of_norms_that_differ_by_much_stay_finite() -> None:
    norms = np.geomspace(1e60, 1e-60, 3000)
    factors = best_factors(3000, gradient_norm=norms)
    assert np.all(np.isfinite(factors))
    assert factors.max() == 1.0
    with pytest.raises(InvalidValueError, match="within a factor"):
        best_factors(2, gradient_norm=[1e148, 1.0])


# --- the best cooldown -----------------------------------------------------------------------------------------------


def wsd_rates(steps: int, rise: int, length: int, shape: str) -> Array:
    """Rates of a run written out step by step."""
    ramp = Ramp(steps=length, shape=shape) if length else None
    out = []
    for t in range(steps):
        value = t / rise if t < rise else 1.0
        out.append(ramp(t - (steps - length)) if ramp is not None and t >= steps - length else value)
    return np.asarray(out)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("steps", "rise"), [(97, 0), (97, 9), (300, 30), (2, 1), (1, 0)])
def test_the_best_cooldown_is_the_best_of_all_lengths(shape: str, steps: int, rise: int) -> None:
    best = best_cooldown(steps, rise, shape, distance=2.0, gradient_norm=3.0)
    every = {
        length: best_peak(wsd_rates(steps, rise, length, shape), distance=2.0, gradient_norm=3.0)
        for length in range(steps - rise + 1)
    }
    assert best.bound == pytest.approx(min(b.bound for b in every.values()), rel=1e-12)
    assert every[best.steps].peak == pytest.approx(best.peak, rel=1e-12)
    assert best.fraction == best.steps / steps
    assert np.array_equal(dw.Plan(1.0, best.schedule).lrs(steps), wsd_rates(steps, rise, best.steps, shape))
    line, flat = (wsd_rates(steps, rise, length, "linear") for length in (steps - rise, 0))
    assert best.linear == pytest.approx(best_peak(line, distance=2.0, gradient_norm=3.0).bound, rel=1e-12)
    assert best.constant == pytest.approx(best_peak(flat, distance=2.0, gradient_norm=3.0).bound, rel=1e-12)
    assert best.lowest <= best.bound * (1 + 1e-12)
    assert best.lowest <= best.linear * (1 + 1e-12)
    assert best.gain_over_constant >= 0.0
    assert best.gain_over_linear == pytest.approx(1 - best.bound / best.linear)


def test_the_worst_case_asks_for_linear_decay_over_the_whole_run() -> None:
    best = best_cooldown(1000)
    assert (best.fraction, best.schedule) == (1.0, Ramp(steps=1000))
    assert best.gain_over_linear == 0.0
    assert best.linear < 1.005 * best.lowest


def test_gradients_that_grow_at_the_end_ask_for_a_longer_cooldown_of_their_shape() -> None:
    """A cosine cools too fast for constant norms; for norms that fall it may begin later."""
    fraction = {
        end: best_cooldown(500, shape="cosine", gradient_norm=np.linspace(1.0, end, 500)).fraction
        for end in (0.3, 1.0, 3.0)
    }
    assert fraction[0.3] < fraction[1.0] < fraction[3.0]


def test_a_warmup_may_have_a_unit() -> None:
    assert best_cooldown(1000, "2%") == best_cooldown(dw.Horizon(steps=1000), 20)
    assert dw.parse(f"peak 1 | {best_cooldown(1000, '2%', 'cosine').schedule}").lrs(1000)[1] == 0.05


# --- refined schedules -----------------------------------------------------------------------------------------------


@pytest.mark.law
@pytest.mark.parametrize("rule", ["sgd", "adam"])
@given(st.integers(2, 400), norm, st.floats(0.0, 1.0))
@usual
def test_constant_norms_are_linear_decay_exactly(rule: str, steps: int, size: float, smooth: float) -> None:
    s = refine([size] * steps, rule=rule, smooth=smooth)
    assert np.array_equal(curve(s, steps + 2), curve(dw.linear(steps), steps + 2))


@pytest.mark.law
@given(st.lists(norm, min_size=2, max_size=40), st.sampled_from([("sgd", 2), ("adam", 1)]))
@usual
def test_the_curve_is_the_formula_in_fractions(norms: list[float], rule: tuple[str, int]) -> None:
    weights = [1 / Fraction(g) ** rule[1] for g in [*norms, norms[-1]]]
    wanted = [w * sum(weights[t + 1 :]) / sum(weights) for t, w in enumerate(weights)]
    s = refine(norms, rule=rule[0], smooth=0.0, points=len(norms) + 1)
    top = max(wanted)
    np.testing.assert_allclose(curve(s, len(norms) + 1), [float(f / top) for f in wanted], atol=1.2e-5)
    assert s(len(norms)) == 0.0


def test_large_early_norms_make_a_warmup_and_large_late_ones_an_early_end() -> None:
    steps = 1000
    early = 1.0 + 4.0 * np.exp(-np.arange(steps) / 100.0)
    values = curve(refine(early), steps)
    top = int(np.argmax(values))
    assert 100 < top < 500
    assert values[0] < 0.1
    assert np.all(np.diff(values[: top + 1]) >= 0)
    late = curve(refine(early[::-1]), steps)
    assert late[900] < 0.01 < 0.09 < values[900]


def test_one_norm_out_of_line_changes_nothing() -> None:
    norms = np.linspace(2.0, 1.0, 200)
    spoiled = norms.copy()
    spoiled[[50, 120, 199]] = 1e4
    np.testing.assert_allclose(curve(refine(spoiled), 200), curve(refine(norms), 200), atol=0.02)
    assert abs(curve(refine(spoiled, smooth=0.0, points=201), 200) - curve(refine(norms), 200)).max() > 0.4


def medians(norms: Array, smooth: float) -> Array:
    """The filter written out: the first value held before the run, the last ones mirrored after it."""
    reach = int(smooth * len(norms)) // 2
    held = [norms[0]] * reach + list(norms) + [norms[len(norms) - 2 - i] for i in range(reach)]
    return np.array([np.median(held[i : i + 2 * reach + 1]) for i in range(len(norms))])


@pytest.mark.law
@given(st.lists(norm, min_size=2, max_size=60), st.floats(0.0, 1.0))
@usual
def test_the_median_runs_over_the_stated_width_and_edges(norms: list[float], smooth: float) -> None:
    values = np.asarray(norms)
    filtered = medians(values, smooth)
    one, other = refine(values, smooth=smooth, points=61), refine(filtered, smooth=0.0, points=61)
    assert one == other


def test_norms_logged_now_and_then_are_joined_by_lines() -> None:
    at = np.array([0, 1, 2, 5, 10, 40, 90, 300, 700, 990])
    norms = 3.0 - np.log1p(at) / 5.0
    every = np.interp(np.arange(1000), at, norms)
    assert refine(norms, 1000, at=at, smooth=0.0) == refine(every, smooth=0.0)
    assert refine(norms, at=at, steps=1000).at[-1] == 1000


@pytest.mark.parametrize("points", [12, 50, 200])
def test_points_are_few_and_the_rest_near(points: int) -> None:
    t = np.arange(5000)
    norms = 1.0 + np.exp(-t / 400.0) + 0.5 * (t / 5000) ** 4
    thin, full = (refine(norms, points=p) for p in (points, 5001))
    assert len(thin.at) <= points
    off = abs(curve(thin, 5000) - curve(full, 5000)).max()
    assert off <= 0.01
    if points == 200:
        assert off <= 1e-4
    ragged = 1.0 + (t % 7)
    with pytest.raises(InvalidValueError, match="too ragged"):
        refine(ragged, smooth=0.0)
    assert len(refine(ragged).at) <= 200


def test_a_refined_schedule_is_a_plan_with_a_text() -> None:
    plan = dw.Plan(3e-4, refine(np.geomspace(5.0, 1.0, 300)), dw.decoupled(0.1))
    assert dw.parse(str(plan)) == plan
    assert plan.resolve(300).lr(299) > 0.0
    assert plan.lrs(300).max() == 3e-4
    stretched = dw.Plan(3e-4, plan.schedule.stretch(2)).lrs(600)
    np.testing.assert_allclose(stretched[::2], plan.lrs(300), rtol=1e-12, atol=1e-300)


@pytest.mark.law
@given(st.lists(norm, min_size=2, max_size=50))
@usual
def test_the_size_of_the_norms_does_not_matter(norms: list[float]) -> None:
    values = np.asarray(norms)
    assert refine(values * 2.0**300) == refine(values * 2.0**-500) == refine(values)


def test_the_refined_schedule_has_a_lower_bound_than_linear_decay_for_its_norms() -> None:
    steps = 500
    for norms in (1.0 + 4.0 * np.exp(-np.arange(steps) / 50.0), np.geomspace(1.0, 4.0, steps)):
        refined, best = curve(refine(norms, smooth=0.0), steps), best_factors(steps, gradient_norm=norms)
        mine, linear, lowest = (
            best_peak(f, gradient_norm=norms).bound for f in (refined, curve(dw.linear(steps), steps), best)
        )
        assert lowest < mine < linear


# --- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: bound([]), "must not be empty"),
        (lambda: bound([0.1, -0.1]), "got -0.1 at step 1"),
        (lambda: bound([0.1, math.nan]), "got nan at step 1"),
        (lambda: bound([[0.1]]), "one row"),
        (lambda: bound("ab"), "must be numbers"),
        (lambda: bound([0.1], distance=0.0), "distance must be positive"),
        (lambda: bound([0.1], gradient_norm=0.0), "gradient_norm must be at least 1e-150"),
        (lambda: bound([0.1, 0.1], gradient_norm=[1.0]), "one for each of 2 steps; got 1"),
        (lambda: bound([0.1, 0.1], gradient_norm=[1.0, math.inf]), "got inf at step 1"),
        (lambda: bounds([0.1, 0.1], at=[2]), "below the 2 steps"),
        (lambda: bounds([0.1, 0.1], at=[0.5]), "whole number"),
        (lambda: bounds([0.1, 0.1], at=[-1]), "at least 0; got -1"),
        (lambda: best_factors(0), "positive"),
        (lambda: best_factors(10**7), "Ask for a shorter run"),
        (lambda: best_cooldown(100, 100), "leaves nothing of 100"),
        (lambda: best_cooldown(100, None), "got None"),  # type: ignore[arg-type]
        (lambda: best_cooldown(100, "-2%"), "zero or more; got -2%"),
        (lambda: best_cooldown(100, shape="geometric"), "is not known"),
        (lambda: refine([1.0]), "at least two"),
        (lambda: refine([1.0, math.nan]), "got nan at index 1"),
        (lambda: refine([1.0, 0.0, 1.0, 0.0]), "got 0.0 at index 1, and 2 such"),
        (lambda: refine([1.0, -2.0]), "got -2.0 at index 1"),
        (lambda: refine([1.0, 1.0], 100), "at="),
        (lambda: refine([1.0, 1.0], at=[0, 5]), "give steps"),
        (lambda: refine([1.0, 1.0], 10, at=[0, 10]), "below 10 steps"),
        (lambda: refine([1.0, 1.0], 10, at=[5, 5]), "increase"),
        (lambda: refine([1.0, 1.0], 10, at=[5]), "got 1"),
        (lambda: refine([1.0, 1.0], rule="adamm"), "did you mean 'adam'"),
        (lambda: refine([1.0, 1.0], smooth=2.0), "smooth must be at most 1"),
        (lambda: refine([1.0, 1.0], points=2), "points must be at least 3"),
        (lambda: refine([1.0, 1.0], 10**8, at=[0, 1]), "stretch"),
        (lambda: refine("norms"), "row of numbers"),
        (lambda: refine([[1.0, 1.0]]), "shape"),
    ],
)
def test_bad_input_is_refused_with_the_reason(call: Any, says: str) -> None:
    with pytest.raises(DwindleError, match=says) as caught:
        call()
    assert isinstance(caught.value, InvalidValueError | UnknownNameError)
