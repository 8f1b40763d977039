"""Plans around the best of a grid, and folds where one validation part would say little."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import InvalidValueError
from dwindle.population import SGD
from dwindle.studies import Dataset, Space, Task, load, study
from dwindle.studies.advice import advice
from dwindle.studies.dataset import Provenance
from dwindle.studies.refine import ROUNDS, refined
from dwindle.studies.trainings import rank

GRID = Space()


@settings(max_examples=60)
@given(st.lists(st.integers(0, 95), min_size=1, max_size=6, unique=True), st.sampled_from(ROUNDS))
def test_plans_around_the_best_are_new_near_and_of_the_same_schedule(order: list[int], part: float) -> None:
    points = GRID.candidates()
    best = [points[i] for i in order]
    found = refined(GRID, best, part, points)
    assert len({c.plan for c in found} | {c.plan for c in points}) == len(found) + len(points)
    reach = 10 ** (part * 0.5) * 1.06  # the grid's mean steps are 3.16 and 3.1; numbers have two digits
    for c in found:
        assert any(
            c.schedule == near.schedule
            and abs(math.log(c.peak / near.peak)) < math.log(reach)
            and (
                c.lam == near.lam
                or near.lam == 0.0
                or (c.lam > 0.0 and abs(math.log(c.lam / near.lam)) < math.log(reach))
            )
            for near in best[:4]
        )
        assert c.plan.peak == c.peak
        assert (c.plan.decay is None) == (c.lam == 0.0)


def test_an_edge_of_the_grid_is_no_end() -> None:
    edge = next(c for c in GRID.candidates() if c.lam == 0.1 and c.peak == 0.03 and c.is_constant)
    found = refined(GRID, [edge], 0.5, GRID.candidates())
    assert max(c.peak for c in found) > 0.03
    assert min(c.lam for c in found) < 0.1


def test_weights_never_change_sign_on_the_way() -> None:
    space = Space((0.0, 30.0), (1e-3, 3e-2), ("constant",))
    strong = next(c for c in space.candidates() if c.lam == 30.0 and c.peak == 3e-2)
    assert all(c.lam * c.peak < 1.0 for c in refined(space, [strong], 0.5, space.candidates()))


def test_the_default_for_sgd_has_the_same_products_as_for_adam() -> None:
    sgd, adam = Space.default(SGD(0.9)), Space()
    products = [
        sorted(float(f"{lam * peak:.6g}") for lam, peak in itertools.product(s.lams, s.peaks)) for s in (sgd, adam)
    ]
    assert products[0] == products[1]
    assert sgd.schedules == adam.schedules


def test_a_study_without_a_space_goes_on_around_the_best(tmp_path: Path) -> None:
    task = Task(data=load("fashion"), hidden=(4,), epochs=2, batch_size=200)
    setting = study(task, seeds=2, folder=tmp_path).evidence["settings"][0]
    assert len(setting["trials"]) == 96
    nearby = setting["refined"]
    assert 12 < len(nearby) <= 48
    assert [t["id"] for t in nearby] == list(range(96, 96 + len(nearby)))
    plans = [t["plan"] for t in setting["trials"] + nearby]
    assert len(set(plans)) == len(plans)
    best = sorted(setting["trials"], key=rank)[0]
    assert any(t["schedule"] == best["schedule"] for t in nearby)
    everything = {t["plan"]: t for t in setting["trials"] + nearby}
    assert setting["winner"]["plan"] in everything
    assert setting["choice"][0]["plan"] == setting["winner"]["plan"]
    lowest = sorted(everything.values(), key=rank)[0]
    assert lowest["plan"] in {row["plan"] for row in setting["choice"]}


def test_who_gives_a_space_gets_it_and_no_more() -> None:
    task = Task(data=load("fashion"), hidden=(4,), epochs=1, batch_size=200)
    small = Space((0.0, 1.0), (1e-3, 1e-2), ("constant",))
    assert study(task, small, seeds=2).evidence["settings"][0]["refined"] == []
    assert study(task, small, seeds=2, refine=True).evidence["settings"][0]["refined"]
    with pytest.raises(InvalidValueError, match="refine"):
        study(task, small, seeds=2, refine="yes")  # type: ignore[arg-type]


def rows(n: int) -> Dataset:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 3))
    parts = {f"{part}_{axis}": v for part in ("train", "validation", "test") for axis, v in (("x", x), ("y", x[:, 0]))}
    held_out = Provenance("line").then("held out validation 0.5 and test 0.3 (seed 0)")
    return Dataset(**parts, name="line", task="regression", provenance=held_out)


def test_few_rows_are_divided_into_folds_and_many_are_not() -> None:
    small = Space((0.0,), (1e-2,), ("constant",))

    def divided(n: int, **words: object) -> int:
        return study(Task(data=rows(n), hidden=(2,), epochs=1), small, seeds=2, **words).evidence["settings"][0][
            "folds"
        ]

    assert divided(1000) == 5
    assert divided(1001) == 1
    assert divided(1000, folds=1) == 1
    assert divided(1001, folds=3) == 3
    own = Task(data=replace(rows(100), provenance=Provenance("line")), hidden=(2,), epochs=1)
    assert study(own, small, seeds=2).evidence["settings"][0]["folds"] == 1  # who set them apart may have had a reason
    noisy = Task(data=load("fashion", label_noise=0.2), hidden=(2,), epochs=1)
    assert study(noisy, small, seeds=2).evidence["settings"][0]["folds"] == 1


def test_an_edge_that_was_tried_beyond_is_none() -> None:
    plan = {"lam": 0.0, "schedule": "constant"}
    trials = [
        {**plan, "plan": f"peak {p}", "peak": p, "final": {"validation_loss": v}}
        for p, v in ((0.1, 2.0), (0.3, 0.9), (0.9, 0.5))
    ]
    beyond = [{**trials[0], "plan": "peak 1.8", "peak": 1.8}]
    losses = [np.add([0.50, 0.51, 0.52, 0.51], [0, 0, 0, i / 100]) for i in range(3)]
    choice = [{**plan, "plan": f"peak {i}", "peak": i, "validation_loss": found} for i, found in enumerate(losses)]
    setting = {"trials": trials, "winner": trials[2], "contenders": [], "comparisons": [], "choice": choice}
    (alone,), (further,) = advice(setting), advice({**setting, "refined": beyond})
    assert "largest tried" in alone["said"]
    assert "tried" not in further["said"]
