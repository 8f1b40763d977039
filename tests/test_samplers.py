"""Samplers: their points lie in the space, are even or good, and are the same after a restart."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy.stats import qmc

from dwindle.errors import InvalidValueError, MissingExtraError, UnknownNameError
from dwindle.studies.samplers import SAMPLERS, Grid, Random, Sampler, Sobol, sampler
from dwindle.studies.space import Candidate, Space
from test_space import spaces

usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=15)

FREE = Space.parse("lam 1e-4..1 | peak 1e-4..1e-1 | schedule cosine to 0..20%")
MIXED = Space.parse(
    "lam 0 1e-4..1 | peak 1e-4..1e-1 | batch 32 64 128 | schedule constant; cosine to 0..20%; step by 0.3..0.7 every 2..9ep "
    "| decoupled l2"
)
BLIND = ("grid", "random", "sobol")
LEARNING = ("tpe", "gp", "cma-es")


def bowl(candidate: Candidate) -> float:
    """A smooth bowl: best at λ = 0.01, peak = 10^-2.5, half-way through a cosine to 5 %."""
    p = candidate.params
    value = (math.log10(max(candidate.lam, 1e-5)) + 2) ** 2 + (math.log10(candidate.peak) + 2.5) ** 2
    value += 0.3 * math.log2(p.get("batch_size", 64) / 64) ** 2
    return value + (((p["cosine to %"] - 5) / 10) ** 2 if "cosine to %" in p else 1.0)


def run(searching: Sampler, batches: list[int], value: Callable[[Candidate], Any] = bowl) -> list[Candidate]:
    asked = []
    for size in batches:
        batch = searching.ask(size)
        for id_, candidate in batch:
            searching.tell(id_, value(candidate))
        asked += [candidate for _, candidate in batch]
    return asked


def ats(candidates: list[Candidate]) -> list[Any]:
    return [candidate.at for candidate in candidates]


# --- all ---


@given(spaces(), st.sampled_from([*BLIND, "tpe", "cma-es"]), st.integers(0, 99))
@usual
def test_every_point_lies_in_the_space(space: Space, name: str, seed: int) -> None:
    assume(math.prod(len(axis.values(5)) for axis in space.axes) < 5000)  # a grid is made twice, a plan takes 0.1 ms
    found = run(sampler(name, space, seed), [12, 6], lambda c: math.log10(c.peak) ** 2 if c.peak < 0.1 else None)
    if name in BLIND and space.finite:
        assert len(found) == min(18, len(space.grid()))
    elif name == "grid":
        assert len(found) == min(18, len(space.grid(5)))
    else:
        assert len(found) == 18
    for candidate in found:
        assert space.candidate(candidate.params) == candidate


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_same_seed_gives_the_same_points_and_another_gives_others(name: str) -> None:
    space = FREE if name == "gp" else MIXED
    batches = [12, 2]
    first = ats(run(sampler(name, space, 3), batches))
    assert first == ats(run(sampler(name, space, 3), batches))
    assert (first == ats(run(sampler(name, space, 4), batches))) == (name == "grid")
    assert len(set(first)) == len(first) or name in LEARNING


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_restart_goes_on_as_if_there_was_none(name: str) -> None:
    """Whatever is told before the restart, and though a batch was asked and lost."""
    space = FREE if name == "gp" else MIXED
    batches = [12, 12, 2] if name != "gp" else [12, 2]
    whole = sampler(name, space, 1)
    expected = run(whole, batches)
    for told in range(1, len(batches)):
        before = sampler(name, space, 1)
        run(before, batches[:told])
        before.ask(5)
        after = sampler(name, space, 1)
        for id_, candidate in enumerate(expected[: sum(batches[:told])]):
            after.tell(id_, bowl(candidate), candidate.params)
        assert ats(run(after, batches[told:])) == ats(expected[sum(batches[:told]) :])


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("space", [FREE, MIXED, Space.parse("lam 0 1 2 | peak 0.1 0.2"), Space()])
def test_the_points_of_those_that_do_not_learn_are_the_same_in_any_batches(name: str, space: Space) -> None:
    at_once = ats(run(sampler(name, space, 7), [30]))
    assert ats(run(sampler(name, space, 7), [1, 2, 3, 4, 20])) == at_once
    lost = sampler(name, space, 7)
    numbers = [point.id for point in lost.ask(6)]
    for id_ in (0, 1, 4):  # the others are lost in a kill
        lost.tell(id_, 0.0)
    again = sampler(name, space, 7)
    for id_ in (0, 1, 4):
        again.tell(id_, 0.0, dict(at_once[id_]))
    assert numbers == list(range(6))
    assert [(p.id, p.candidate.at) for p in again.ask(4)] == [(i, at_once[i]) for i in (2, 3, 5, 6)]


def test_a_point_has_one_result() -> None:
    searching = Random(FREE)
    (point,) = searching.ask()
    with pytest.raises(InvalidValueError, match="point 3 was not asked for"):
        searching.tell(3, 0.0)
    searching.tell(point.id, None)
    with pytest.raises(InvalidValueError, match="point 0 is told already"):
        searching.tell(point.id, 1.0)
    assert searching.told[0].value == math.inf


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_where_all_diverges_is_sampled_on(name: str, value: float | None) -> None:
    assert len(run(sampler(name, MIXED), [12, 12, 3], lambda _: value)) == 27


@pytest.mark.parametrize("name", ["tpe", "cma-es"])
def test_divergence_is_learnt(name: str) -> None:
    """Above a peak of 10^-2.5 everything diverges: later points lie below it more often than the half of random ones."""
    late = run(sampler(name, FREE, 2), [24, 24, 24], lambda c: None if c.peak > 10**-2.5 else bowl(c))[24:]
    assert sum(c.peak <= 10**-2.5 for c in late) > 0.65 * len(late)


def test_an_unknown_sampler_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'sobol'"):
        sampler("soboll", FREE)
    with pytest.raises(InvalidValueError, match="seed must be at least 0"):
        sampler("random", FREE, -1)
    with pytest.raises(InvalidValueError, match="needs a Space"):
        Random("lam 0")  # type: ignore[arg-type]


# --- grid, random, Sobol ---


@given(spaces(), st.integers(1, 3))
@usual
def test_the_grid_is_covered_once_and_then_it_ends(space: Space, n: int) -> None:
    assume(math.prod(len(axis.values(n)) for axis in space.axes) < 5000)
    searching = Grid(space, points_per_range=n)
    found = run(searching, [7, 10_000], lambda _: 0.0)
    assert ats(found) == ats(list(space.grid(n)))
    assert searching.ask(5) == []


@pytest.mark.parametrize("kind", [Random, Sobol])
@pytest.mark.parametrize("seed", range(5))
def test_a_finite_space_is_covered_once_in_an_order_of_its_own(kind: type[Sampler], seed: int) -> None:
    for space in (
        Space(),
        Space.parse("lam 0 1 2 | peak 0.1 | batch 8 16 32 | schedule constant; cosine | decoupled l2"),
    ):
        found = ats(run(kind(space, seed), [5, 1000], lambda _: 0.0))
        grid = ats(list(space.grid()))
        assert sorted(map(str, found)) == sorted(map(str, grid))
        assert found != grid


def units(kind: type[Sampler], space: Space, n: int, seed: int) -> np.ndarray:
    points = run(kind(space, seed), [n], lambda _: 0.0)
    used = [axis.name in ("lam", "peak", "cosine to %") for axis in space.axes]
    return np.array([space.units(p.params) for p in points], dtype=float)[:, used]


def test_sobol_is_more_even_than_random() -> None:
    for n in (24, 60, 128):
        even = [qmc.discrepancy(units(Sobol, FREE, n, seed)) for seed in range(8)]
        loose = [qmc.discrepancy(units(Random, FREE, n, seed)) for seed in range(8)]
        assert max(even) < min(loose)


def test_sobol_takes_the_values_of_a_list_equally_often() -> None:
    space = Space.parse("lam 0 1 2 3 | peak 1e-4..1e-1 | batch 8 16 | schedule constant; cosine; linear; sqrt")
    found = run(Sobol(space, 5), [64], lambda _: 0.0)
    for name, times in (("lam", 16), ("batch_size", 32), ("schedule", 16)):
        assert set(np.unique([str(p.params[name]) for p in found], return_counts=True)[1]) == {times}


def test_random_draws_evenly() -> None:
    """Each coordinate against the uniform law: Kolmogorov's distance of 2,000 draws is below 1.63/√n in 99 of 100."""
    found = np.sort(units(Random, FREE, 2000, 11), axis=0)
    for column in found.T:
        steps = np.arange(1, 2001) / 2000
        assert np.max(np.abs(column - steps)) < 1.63 / math.sqrt(2000)


# --- those that learn ---


@pytest.mark.parametrize("name", ["tpe", "cma-es"])
@pytest.mark.parametrize("space", [FREE, MIXED])
def test_learning_beats_random_in_three_batches(name: str, space: Space) -> None:
    def best(kind: str, seed: int) -> float:
        return min(map(bowl, run(sampler(kind, space, seed), [24, 24, 24])))

    learnt, blind = (np.array([best(kind, seed) for seed in range(8)]) for kind in (name, "random"))
    assert np.median(learnt) < 0.6 * np.median(blind)
    assert learnt.mean() < 0.75 * blind.mean()


def test_the_gaussian_process_finds_the_bottom_of_a_smooth_bowl() -> None:
    found = run(sampler("gp", FREE, 0), [12, 3, 3])
    assert min(map(bowl, found[12:])) < 0.5 * min(map(bowl, run(Random(FREE, 0), [18])))


def test_a_batch_of_the_gaussian_process_has_different_points() -> None:
    searching = sampler("gp", MIXED, 0)
    run(searching, [12])
    assert len(set(ats([p.candidate for p in searching.ask(3)]))) == 3


def test_cma_narrows_generation_by_generation() -> None:
    found = run(sampler("cma-es", FREE, 0), [12] * 20)
    spreads = [np.std([math.log10(p.lam) for p in found[i : i + 12]]) for i in (0, 120, 228)]
    assert spreads[0] > 2 * spreads[1] > 4 * spreads[2]
    assert bowl(found[-1]) < 0.01


def test_cma_does_not_wait_for_a_generation_that_is_lost() -> None:
    searching = sampler("cma-es", FREE, 0)
    first = searching.ask(12)
    second = searching.ask(12)
    assert len({p.candidate.at for p in (*first, *second)}) == 24


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("tpe", "optuna", "optuna"), ("gp", "torch", "torch"), ("cma-es", "cmaes", "optuna")]
)
def test_without_its_package_a_sampler_names_the_extra(
    name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"{package} is not installed.*dwindle\[{extra}\]"):
        sampler(name, FREE)


def test_those_that_do_not_learn_need_no_optuna(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("optuna", "cmaes", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    assert [len(sampler(name, FREE).ask(3)) for name in BLIND] == [3, 3, 3]


def test_optuna_keeps_its_own_log_level() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    run(sampler("tpe", FREE), [12, 1])
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
