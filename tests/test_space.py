"""Spaces: their text, the unit cube behind them, ranges and families of schedules."""

from __future__ import annotations

import itertools
import json
import math
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import dwindle as dw
from dwindle.decay import CONVENTIONS
from dwindle.errors import InvalidValueError, ParseError, UnknownNameError
from dwindle.schedule import Schedule, constant
from dwindle.studies.axis import Axis, Range
from dwindle.studies.family import Family
from dwindle.studies.space import Candidate, Space
from dwindle.text import parse_schedule

usual = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


@st.composite
def ranges(draw: st.DrawFn, low: float, high: float) -> Range:
    log = draw(st.booleans())
    start = draw(st.floats(low, high / 2))
    return Range(start, draw(st.floats(start * 1.01 + 1e-9, high)), log=log and start > 0)


@st.composite
def whole_ranges(draw: st.DrawFn) -> Range:
    low = draw(st.integers(1, 300))
    return Range(low, low + draw(st.integers(1, 300)), log=draw(st.booleans()), whole=True)


FAMILIES = st.sampled_from(
    [
        "cosine to 0..20%",
        "step by 0.3..0.7 every 2..10ep",
        "exponential by 0.9..0.99 log every 1ep",
        "halve every 10..300 log",
        "warmup 1..10%, cosine to 0..5%",
        "warmup 2%, constant, linear to 0% over 10..40%",
        "power-law 0.25..1.0 every 10..500st log",
        "polynomial to 0..0.1 power 1..3",
        "cosine repeat every 5%..20%",
        "piecewise at [2..4ep 5ep..9ep] factors [1 0.1..0.5 0.01..0.1 log]",
    ]
)
NUMBER = r"[0-9]+(?:\.[0-9]+)?(?:e-?[0-9]+)?"
WRITTEN_RANGE = rf"{NUMBER}(?:%|ep|st)?\.\.{NUMBER}(?:%|ep|st)?(?: log)?"
PLAIN = st.sampled_from(["constant", "step by 0.5 every 5ep", "cosine to 0%", 'formula "1 / (1 + step)"'])


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    lams: list[Any] = draw(st.lists(st.sampled_from([0.0, 1e-5, 3.0, 7.5, 1 / 3 + 1]), unique=True, max_size=4))
    peaks: list[Any] = draw(st.lists(st.sampled_from([1e-4, 3e-4, 0.12, 1 / 3 - 0.2]), unique=True, max_size=3))
    if not lams or draw(st.booleans()):
        lams.insert(draw(st.integers(0, len(lams))), draw(ranges(1e-4, 1.0)))
    if not peaks or draw(st.booleans()):
        peaks.append(draw(ranges(1e-3, 0.1)))
    batch: list[Any] = draw(st.lists(st.sampled_from([1000, 2000]), unique=True, max_size=2))
    if draw(st.booleans()):
        batch.append(draw(whole_ranges()))
    schedules = draw(st.lists(st.one_of(FAMILIES, PLAIN), unique=True, min_size=1, max_size=4))
    names = draw(st.lists(st.sampled_from(["l2", "decoupled", "corrected"]), unique=True, min_size=1))
    return Space(lams, peaks, schedules, " ".join(names), batch)


@st.composite
def points(draw: st.DrawFn) -> tuple[Space, Candidate]:
    space = draw(spaces())
    return space, space.point([draw(st.floats(0.0, 1.0)) for _ in space.axes])


# --- text ---


@pytest.mark.law
@given(spaces())
@usual
def test_a_space_reads_back_from_its_line_and_from_toml(space: Space) -> None:
    assert Space.parse(str(space)) == space
    table: dict[str, Any] = {
        name: [v.text(log=True) if isinstance(v, Range) else v for v in getattr(space, name)]
        for name in ("lams", "peaks", "batch_sizes")
    }
    table |= {"schedules": [str(s) for s in space.schedules], "convention": space.convention.split()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.toml"
        path.write_text("\n".join(f"{key} = {json.dumps(value)}" for key, value in table.items()))
        assert Space.load(path) == space


def test_the_same_space_in_text_toml_and_python() -> None:
    text = "lam 0 1e-4..1 | peak 1e-4..1e-1 | batch 32 64 | schedule constant; step by 0.3..0.7 every 2..10ep | l2 decoupled"
    space = Space(
        lams=(0.0, Range(1e-4, 1.0, log=True)),
        peaks=("1e-4..0.1",),  # type: ignore[arg-type]
        schedules=(constant(), Family.parse("step by 0.3..0.7 every 2ep..10ep")),
        convention="l2 decoupled",
        batch_sizes=(32, 64),
    )
    assert Space.parse(text) == space
    assert space.conventions == ("l2", "decoupled")
    assert [axis.name for axis in space.axes] == [
        "lam", "peak", "schedule", "convention", "batch_size", "step by", "step every ep",
    ]  # fmt: skip


def test_the_default_is_every_combination_of_the_textbooks_schedules() -> None:
    space = Space()
    expected = [
        f"peak {peak} | {schedule}" + (f" | decoupled {lam}" if lam else "")
        for schedule in ("constant", "step by 0.5 every 5ep", "exponential by 0.9 every 1ep", "cosine to 0%")
        for peak in ("1e-3", "3e-3", "0.01", "0.03")
        for lam in (0, 0.1, 0.3, 1, 3, 10)
    ]
    assert [str(c.plan) for c in space.candidates()] == expected
    assert str(space) == (
        "lam 0 0.1 0.3 1 3 10 | peak 1e-3 3e-3 0.01 0.03 | schedule constant; step by 0.5 every 5ep; "
        "exponential by 0.9 every 1ep; cosine to 0% | decoupled"
    )


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("lam 1e-4..x", ParseError, "'1e-4..x' (at character 1"),
        ("lam 0 1 1ep..2", ParseError, "'1ep..2' (at character 5"),
        ("lam 0..1", InvalidValueError, "begins above 0; got 0..1"),
        ("lam 0..1", InvalidValueError, "'0..1 linear'"),
        ("lam 0.1 1e-4..1", InvalidValueError, "lam: 0.1 lies in the range 1e-4..1 already"),
        ("peak 1..5 3..9", InvalidValueError, "3..9 lies in the range 1..5 already"),
        ("peak 1..1", InvalidValueError, "to a larger one; got 1..1"),
        ("peak -1..1 linear", InvalidValueError, "peaks must be positive; got -1"),
        ("batch 1.5", InvalidValueError, "batch_sizes must be a whole number"),
        ("batch 0.5..4", InvalidValueError, "must be a whole number"),
        ("bach 32", UnknownNameError, "did you mean 'batch'"),
        ("l2 decuopled", UnknownNameError, "did you mean 'decoupled'"),
        ("decoupled 0.1", UnknownNameError, "convention '0.1' is not known"),
        (
            "schedule cosin to 0..20%",
            UnknownNameError,
            "'cosin' is not a schedule; did you mean 'cosine'? (at character 1",
        ),
        (
            "schedule cosine to 0...20%",
            ParseError,
            "such as 2ep..10ep or 0..20% (at character 12",
        ),
        ("schedule cosine to 0..", ParseError, "two dots between them"),
        ("schedule cosine to 0..200", ParseError, "200 means 20000%; write 200%"),
        ("schedule cosine to 20..0%", InvalidValueError, "to a larger one; got 20..0 (at character 11"),
        ("schedule step by 0.3..0.7", ParseError, "step needs more"),
        ("schedule step by 0.5 every 2ep..10st", ParseError, "different units; give both the same (at character 19"),
        ("schedule halve every 0..3ep", InvalidValueError, "as 'halve every 0ep': every must be positive"),
        ("schedule cosine to 0..1 log", InvalidValueError, "begins above 0"),
        ("schedule table [" + " ".join(["0.1..0.2"] * 9) + "]", InvalidValueError, "at most 8 ranges; got 9"),
        ("lam 0 200..300 | peak 0.001..0.1", InvalidValueError, "change sign and grow. Lower it below 10."),
        ("lam | peak 1", InvalidValueError, "lams must not be empty"),
        ("batch 32 | batch 64", ParseError, "batch is given twice"),
    ],
)
def test_a_bad_space_is_refused_with_place_and_remedy(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        Space.parse(text)
    assert words in str(caught.value)


# --- points ---


@pytest.mark.law
@given(points())
@usual
def test_a_point_comes_back_from_its_coordinates_and_from_its_place(drawn: tuple[Space, Candidate]) -> None:
    space, point = drawn
    json.dumps(point.params)  # plain numbers and text
    again = space.candidate(json.loads(json.dumps(point.params)))
    assert again == point
    assert again.at == point.at
    units = [0.123 if u is None else u for u in space.units(point.params)]
    assert space.point(units).at == point.at


def test_a_number_a_hair_from_an_end_is_the_end() -> None:
    for low, high in ((0.049999999999999996, 0.0625), (0.03, 0.05000000000000001)):
        whole = Range(low, high)
        for u in np.linspace(0.0, 1.0, 4001):
            value = whole.at(float(u))
            assert whole.at(whole.unit(value)) == value


@pytest.mark.law
@given(points())
@usual
def test_a_point_is_the_plan_that_its_coordinates_say(drawn: tuple[Space, Candidate]) -> None:
    space, point = drawn
    params = point.params
    assert point.plan == dw.parse(str(point.plan))
    assert (point.plan.peak, point.plan.schedule) == (params["peak"], point.schedule)
    assert any(params["peak"] in item if isinstance(item, Range) else params["peak"] == item for item in space.peaks)
    assert any(params["lam"] in item if isinstance(item, Range) else params["lam"] == item for item in space.lams)
    if params["lam"] == 0:
        assert point.plan.decay is None
        assert "convention" not in params
    else:
        assert point.plan.decay == CONVENTIONS[params["convention"]](params["lam"])
    assert point.batch_size == params.get("batch_size")
    assert ("batch_size" in params) == bool(space.batch_sizes)
    schedule = space.schedules[[str(s) for s in space.schedules].index(params["schedule"])]
    own = {
        name: value
        for name, value in params.items()
        if name not in ("lam", "peak", "schedule", "convention", "batch_size")
    }
    if isinstance(schedule, Schedule):
        assert not own
    else:  # the numbers, each with its unit, put where the ranges stand
        said = (f"{value!r}{unit}" for value, unit in zip(own.values(), schedule.units, strict=True))
        assert point.schedule == parse_schedule(re.sub(WRITTEN_RANGE, lambda _: next(said), str(schedule)))


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"lam": 0.5}, "lam 0.5 is not in the space; its values are 0, 1, 2..3"),
        ({"lam": 0}, "point key 'convention' is not known"),
        ({"schedule": "constant"}, "point key 'cosine to %' is not known"),
        ({"cosine to %": 21.0}, "cosine to % 21.0 is not in the space"),
        ({"batch": 3}, "point key 'batch' is not known"),
    ],
)
def test_a_point_outside_is_refused(params: dict[str, Any], words: str) -> None:
    space = Space.parse("lam 0 1 2..3 | peak 0.1 | schedule constant; cosine to 0..20% | decoupled l2")
    inside = {"lam": 1.0, "peak": 0.1, "schedule": "cosine to 0%..20%", "convention": "l2", "cosine to %": 3.0}
    assert str(space.candidate(inside).plan) == "peak 0.1 | cosine to 3% | l2 1"
    with pytest.raises(dw.DwindleError) as caught:
        space.candidate(inside | params)
    assert words in str(caught.value)
    with pytest.raises(dw.DwindleError, match="needs cosine to %"):
        space.candidate({name: value for name, value in inside.items() if name != "cosine to %"})
    with pytest.raises(dw.DwindleError, match="has 5 coordinates; got 2"):
        space.point([0.1, 0.2])


# --- grids and draws ---


@pytest.mark.law
@given(spaces(), st.integers(1, 3))
@usual
def test_a_grid_is_every_combination_once(space: Space, n: int) -> None:
    assume(math.prod(len(axis.values(n)) for axis in space.axes) < 500)  # a plan takes 0.1 ms
    points = space.grid(n)
    assert len({p.at for p in points}) == len(points)
    values = {axis.name: axis.values(n) for axis in space.axes}
    lams = [1 if lam == 0 else len(space.conventions) for lam in values["lam"]]
    schedules = [
        math.prod(len(values[axis.name]) for axis in space.axes if axis.owner == label) for label in values["schedule"]
    ]
    assert len(points) == sum(lams) * sum(schedules) * len(values["peak"]) * len(values.get("batch_size", [0]))
    for name, wanted in values.items():
        assert {p.params[name] for p in points if name in p.params} == set(wanted) or name == "convention"


def test_a_space_with_ranges_is_drawn_and_keeps_what_comparisons_need() -> None:
    space = Space.parse("lam 0 1e-4..1 | peak 1e-4..1e-1 | schedule cosine to 0..20%; constant | decoupled l2")
    with pytest.raises(InvalidValueError, match="endless points; say how many trials"):
        space.candidates()
    for seed in range(20):
        drawn = space.candidates(6, seed)
        assert drawn == space.candidates(6, seed) != space.candidates(6, seed + 1)
        assert len(set(drawn)) == 6
        assert any(p.lam == 0 for p in drawn)
        assert any(p.is_constant for p in drawn)
    assert len(Space.parse("lam 1..2 | peak 0.1..0.2").candidates(6)) == 6


# --- ranges and axes ---


@pytest.mark.law
@given(st.one_of(ranges(0.0, 100.0), whole_ranges()), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
@usual
def test_a_range_rises_from_end_to_end_and_its_numbers_come_back(one: Range, u: float, v: float) -> None:
    assert (one.at(0.0), one.at(1.0)) == (one.low, one.high)
    assert one.at(min(u, v)) <= one.at(max(u, v))
    assert one.at(u) in one
    assert one.at(one.unit(one.at(u))) == one.at(u)
    top = one.high + one.whole
    exact = one.low * (top / one.low) ** u if one.log else one.low + u * (top - one.low)
    if one.whole:
        assert u == 1.0 or one.at(u) in (math.floor(exact * (1 - 1e-12)), math.floor(exact * (1 + 1e-12)))
    else:
        step = exact * min(1.0, math.log(top / one.low)) if one.log else top - one.low
        assert abs(one.at(u) - exact) <= 1e-3 * step


def test_whole_numbers_have_equal_shares() -> None:
    one = Range(3, 7, whole=True)
    assert set(Counter(one.at((i + 0.5) / 1000) for i in range(1000)).values()) == {200}
    assert one.grid(100) == (3, 4, 5, 6, 7)
    assert one.grid(2) == (3, 7)


def test_a_range_beside_values_has_four_shares() -> None:
    axis = Axis("lam", (3.0, 0.0, Range(1e-4, 1.0, log=True)))
    found = Counter(
        "range" if axis.at((i + 0.5) / 600) not in (0.0, 3.0) else axis.at((i + 0.5) / 600) for i in range(600)
    )
    assert found == {0.0: 100, "range": 400, 3.0: 100}
    placed = [axis.at(i / 600) for i in range(600)]
    assert placed == sorted(placed)


@pytest.mark.parametrize(
    ("text", "whole", "names"),
    [
        ("halve every 10..300", [True], ["halve every"]),
        ("halve every 2..5ep", [False], ["halve every ep"]),
        ("halve every 2.5..5st", [False], ["halve every st"]),
        ("halve every 2st..5st", [True], ["halve every st"]),
        ("polynomial to 0..20% power 1..3", [False, False], ["polynomial to %", "polynomial power"]),
        ("cosine repeat every 5..20% cycles 2..5", [False, True], ["repeat every %", "repeat cycles"]),
        ("0.1..0.5 * cosine", [False], ["factor"]),
        ("warmup 5..10, cosine to 0..0.2", [True, False], ["warmup", "cosine to"]),
        ("through [0 5..9 10..20] factors [0 1 0.1..0.5]", [True, True, False], ["through", "through 2", "through factors"]),
    ],
)  # fmt: skip
def test_a_family_counts_where_its_schedule_does(text: str, whole: list[bool], names: list[str]) -> None:
    family = Family.parse(text)
    assert [one.whole for one in family.ranges] == whole
    assert list(family.names) == names
    assert Family.parse(str(family)) == family


def test_parameters_of_two_families_have_different_names() -> None:
    space = Space.parse("schedule cosine to 0..20%; warmup 2%, cosine to 0..5%")
    assert [axis.name for axis in space.axes][4:] == ["cosine to %", "cosine to % 2"]
    assert [axis.owner for axis in space.axes][4:] == ["cosine to 0%..20%", "warmup 2%, cosine to 0%..5%"]


def test_dots_in_quotes_are_left_alone() -> None:
    text = 'formula "1 / (1 + step)"'
    assert Space.parse(f"schedule {text}").schedules == Space(schedules=(text,)).schedules  # type: ignore[arg-type]


def test_custom_schedules_with_one_text_are_told_apart() -> None:
    a, b = (dw.custom(f) for f in (lambda step: 1.0, lambda step: 0.5))
    space = Space((0.0,), (0.1,), (a, b))
    assert [p.schedule for p in space.grid()] == [a, b]
    assert [space.candidate(p.params).schedule for p in space.grid()] == [a, b]


def test_every_combination_of_small_axes_is_reached_from_the_cube() -> None:
    space = Space.parse("lam 0 1 | peak 0.1 0.2 | batch 8 16 | schedule constant; cosine | decoupled l2")
    corners = itertools.product((0.25, 0.75), repeat=len(space.axes))
    assert {space.point(list(c)).at for c in corners} == {p.at for p in space.grid()}
