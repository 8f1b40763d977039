"""Hypothesis strategies for every value of floors 0 to 2; a new node joins here and so inherits the laws."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import InvalidValueError
from dwindle.mask import Mask, Rule
from dwindle.plan import Group, Plan
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Extend,
    Formula,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)  # fmt: skip
from dwindle.units import Horizon, Time

RAMP_SHAPES = ("linear", "cosine", "sqrt", "square", "exponential", "geometric")
STEPS = (0, 1, 2, 7, 99, 2**31, 2**53 + 1, 10**18)


def _known_horizon(steps: int, per_epoch: int, batch: int, tokens: int) -> Horizon:
    return Horizon(steps=steps, steps_per_epoch=per_epoch, batch_size=batch, tokens_per_step=tokens)


horizons = st.builds(
    _known_horizon, st.integers(100, 5000), st.integers(1, 300), st.integers(1, 512), st.integers(1, 10**6)
)
"""Runs that know every unit, at least 100 steps long, so that different whole percentages are different steps."""

# Numbers as people write them, and any float between: both must survive the text.
share = st.one_of(st.sampled_from([0.0, 0.01, 0.1, 1 / 3, 0.5, 1.0]), st.floats(0.0, 1.0, allow_subnormal=False))
factor = st.one_of(share, st.floats(0.0, 4.0, allow_subnormal=False))
positive = st.one_of(st.sampled_from([0.1, 0.5, 1.0]), st.floats(1e-3, 1.0))

whole_steps = st.one_of(st.integers(1, 400), st.sampled_from([10**6, 10**9 + 7]))
times = st.one_of(
    whole_steps,
    st.builds(Time, st.floats(1.0, 400.0), st.just("st")),
    st.builds(Time, st.one_of(st.integers(1, 20), st.floats(0.01, 20.0)), st.just("ep")),
    st.builds(Time, st.one_of(st.integers(1, 100), st.floats(0.01, 100.0)), st.just("%")),
    st.builds(Time, st.one_of(st.integers(1, 10**5), st.floats(1.0, 1e5)), st.just("ex")),
    st.builds(Time, st.one_of(st.integers(1, 10**9), st.floats(1.0, 1e9)), st.just("tok")),
    # at least a step of any of ``horizons``
    st.builds(
        Time, st.one_of(st.integers(2, 100), st.floats(2.0, 100.0)), st.just("%"), st.sampled_from(["down", "exact"])
    ),
    st.builds(Time, st.floats(1.0, 20.0), st.just("ep"), st.sampled_from(["down", "exact"])),
    st.builds(Time, st.integers(1, 10**9), st.sampled_from(["ex", "tok"]), st.just("exact")),
)
open_times = st.one_of(st.none(), times)


@st.composite
def increasing(draw: st.DrawFn, low: int = 1, least: int = 1) -> tuple[Any, ...]:
    """Times of one unit, and whole, so that they still increase once they are steps."""
    unit = draw(st.sampled_from(["st", "ep", "%"]))
    values = sorted(draw(st.sets(st.integers(low if unit == "st" else max(low, 0), 100), min_size=least, max_size=5)))
    return tuple(v if unit == "st" else Time(v, unit) for v in values)


@st.composite
def ramps(draw: st.DrawFn, steps: SearchStrategy[Any] = open_times, shape: SearchStrategy[str] | None = None) -> Ramp:
    kind = draw(st.sampled_from(RAMP_SHAPES) if shape is None else shape)
    end = positive if kind == "geometric" else factor
    power = st.just(1.0) if kind == "geometric" else st.sampled_from([1.0, 1.0, 0.5, 2.0, 3.0, 0.9])
    start = draw(st.one_of(st.just(1.0), end))
    warp = st.sampled_from([1.0, 1.0, 1.5, 0.7])
    ratio = st.sampled_from([0.5, 0.01, 3.0]) if kind == "exponential" else st.just(0.5)
    return Ramp(draw(end), draw(steps), start, kind, draw(power), draw(warp), draw(ratio))


@st.composite
def piecewise(draw: st.DrawFn) -> Piecewise:
    at = draw(increasing())
    return Piecewise(at, tuple(draw(st.lists(factor, min_size=len(at) + 1, max_size=len(at) + 1))))


@st.composite
def interpolations(draw: st.DrawFn) -> Interpolate:
    at = draw(increasing(low=-20))
    factors = draw(st.lists(factor, min_size=len(at), max_size=len(at)))
    shape = draw(st.sampled_from(["linear", "cosine", "sqrt", "square", "exponential"]))
    return Interpolate(at, tuple(factors), shape)


tanhs = st.builds(
    Tanh, share, open_times, st.floats(-8.0, -0.5), st.floats(0.0, 5.0), st.sampled_from([1.0, 1.5])
)  # fmt: skip
exponentials = st.builds(Exponential, positive, times, st.booleans())
power_laws = st.builds(
    PowerLaw, st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0]), times, st.sampled_from([1.0, 0.1, 3.0]), st.booleans()
)  # fmt: skip
formulas = st.builds(
    Formula,
    st.sampled_from(
        [
            "min(step, 10) / 10 if step < 10 else 1",
            "[1, 0.5, 0.1][min(step // 7, 2)]",
            "max(0.1, 1 - step / 100) * (1 + step % 3)",
            "sqrt(min(step + 1, 300)) / 2 if step % 50 < 25 and not step == 3 else 1 / (1 + 0.1 * (step // 30))",
        ]
    ),
)
tables = st.builds(Table, st.lists(factor, min_size=1, max_size=8).map(tuple), st.integers(1, 9))
leaves: SearchStrategy[Schedule] = st.one_of(
    st.builds(Constant, factor), ramps(), tanhs, exponentials, power_laws, tables, piecewise(), interpolations(),
    formulas,
)  # fmt: skip


@st.composite
def joins(draw: st.DrawFn, children: SearchStrategy[Schedule]) -> Join:
    """Every piece but the last says how long it lasts, so that any horizon resolves the join."""
    pieces = draw(st.lists(children, min_size=1, max_size=3))
    lengths = [draw(times) for _ in pieces[:-1]]
    return Join(tuple(pieces), (*lengths, draw(open_times)))


def _clip(schedule: Schedule, low: float, more: float | None) -> Clip:
    return Clip(schedule, low, None if more is None else low + more)


def _repeat(schedule: Schedule, every: Any, growth: float, decay: float, cycles: int | None) -> Repeat:
    return Repeat(schedule, every, growth, decay, 3 if every is None and cycles is None else cycles)


def _larger(children: SearchStrategy[Schedule]) -> SearchStrategy[Schedule]:
    several = st.lists(children, min_size=1, max_size=3).map(tuple)
    shifts = st.one_of(times, st.integers(-100, 100), st.builds(Time, st.integers(-9, 9), st.just("ep")))
    return st.one_of(
        joins(children),
        st.builds(Product, several),
        st.builds(Sum, several),
        st.builds(Scaled, children, factor),
        st.builds(Shift, children, shifts),
        st.builds(Stretch, children, st.sampled_from([0.5, 1.0, 2.0, 3.0, 0.1])),
        st.builds(_clip, children, share, st.one_of(st.none(), share)),
        st.builds(
            _repeat, children, open_times, st.sampled_from([1, 1, 2, 1.5]), positive,
            st.one_of(st.none(), st.integers(1, 5)),
        ),
        st.builds(Mirror, children, open_times),
        st.builds(Extend, children, open_times),
    )  # fmt: skip


schedules: SearchStrategy[Schedule] = st.recursive(leaves, _larger, max_leaves=4)
"""Any schedule that has a text, resolvable on any of ``horizons``."""

rates_of_decay = st.one_of(st.sampled_from([0.0, 1e-4, 0.1]), st.floats(0.0, 0.5), schedules)


@st.composite
def decays(draw: st.DrawFn, rate: SearchStrategy[Any] = rates_of_decay) -> Decay:
    kind = draw(st.sampled_from([L2, Decoupled, Independent, Corrected]))
    return kind(draw(rate), kind is not L2 and draw(st.booleans()), draw(st.booleans()))


patterns = st.one_of(
    st.sampled_from(["head.*", 'a "quoted" \\ name', "ключ|*", "\x7f\t\n"]), st.text(min_size=1, max_size=8)
)
rules = st.one_of(
    st.builds(Rule, st.sampled_from(["name", "kind"]), patterns, st.booleans()),
    st.builds(Rule, st.just("regex"), st.sampled_from([r"(^|[./])bias$", r"\d+", "é|"]), st.booleans()),
    st.builds(Rule, st.just("ndim"), st.integers(0, 4).map(str), st.booleans()),
)
own_rules = st.lists(rules, max_size=3)
masks = st.one_of(
    own_rules.map(lambda own: Mask.of(*own)), own_rules.map(lambda own: Mask(tuple(own))), st.just(Mask.everything())
)
groups = st.lists(st.builds(Group, patterns, patterns, factor), max_size=3, unique_by=lambda group: group.name).map(
    tuple
)
peaks = st.one_of(st.sampled_from([0.0, 3e-4, 0.1, 1.0]), st.floats(0.0, 1.9))


def _plan(peak: float, schedule: Schedule, decay: Decay | None, *rest: Any) -> Plan:
    """Return the plan; where its decay overshoots, in a group perhaps, it says that it may."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Plan(peak, schedule, decay, *rest)
    except (UserWarning, InvalidValueError):
        return Plan(peak, schedule, decay and replace(decay, allow_overshoot=True), *rest)


plans: SearchStrategy[Plan] = st.builds(
    _plan, peaks, schedules, st.one_of(st.none(), decays()), masks, groups, st.one_of(st.none(), positive)
)  # fmt: skip
