"""Which of optax's schedules may be a schedule: guesses, each of which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from dwindle.foreign.writing.boundaries import ends_on_time, is_on_time
from dwindle.foreign.writing.draft import Recipe, native
from dwindle.foreign.writing.guess_parts import neat
from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Shift,
)
from dwindle.units import number_of_steps

__all__ = ["as_wide", "schedules"]

_MOST_CYCLES = 8
_COURSE = -np.log(1e-4)


def schedules(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of optax schedules that give peak·schedule, in absolute rates."""
    match schedule:
        case Constant(factor=factor):
            yield "constant_schedule", {"value": neat(peak * factor)}
        case Ramp():
            yield from _ramp(schedule, peak)
        case Mirror(schedule=Ramp(shape="cosine") as ramp):
            yield from _ramp(ramp, peak)
        case Exponential() | Shift(schedule=Exponential()) | Clip():
            yield from _exponential(schedule, peak, steps)
        case Scaled(schedule=inner, factor=factor):
            yield from schedules(inner, peak * factor, steps)
        case Piecewise(boundaries=boundaries, factors=factors):
            yield from _scaled_at("piecewise_constant_schedule", {}, list(boundaries), factors, peak)
        case Interpolate(at=at, factors=factors, shape="linear" | "cosine" as shape):
            yield from _one_cycle(schedule, peak)
            if number_of_steps(at[0]) == 0:
                yield from _scaled_at(
                    "piecewise_interpolate_schedule", {"interpolate_type": shape}, list(at[1:]), factors, peak
                )
        case Repeat(schedule=Ramp() as ramp, every=int() as every, growth=growth, decay=decay) if growth == int(growth):
            yield from _cycles(ramp, every, int(growth), decay, peak, steps, schedule.cycles)
        case Join():
            yield from _in_turn(schedule, peak, steps)


def _spans(join: Join, steps: float) -> list[float] | None:
    """Return how long each piece lasts, the last one to the end of ``steps``; None where that is not in steps."""
    if join._edges is None:
        return None
    edges = [float(edge) for edge in join._edges[: len(join.pieces) - 1]]
    return [after - before for before, after in pairwise((0.0, *edges, max(steps, *edges, 0.0) + 1))]


def _ramp(ramp: Ramp, peak: float) -> Iterator[Recipe]:
    start, end = neat(peak * ramp.start), neat(peak * ramp.end)
    if ramp.shape == "linear" and ramp.power == 1.0:
        yield "linear_schedule", {"init_value": start, "end_value": end, "transition_steps": ramp.steps}
    if ramp.shape in ("linear", "sqrt", "square"):
        power = {"linear": ramp.power, "sqrt": 0.5, "square": 2}[ramp.shape]
        ends = {"init_value": start, "end_value": end}
        if ends_on_time(power, number_of_steps(ramp.steps) or 1.0):
            yield "polynomial_schedule", {**ends, "power": power, "transition_steps": ramp.steps}
    if ramp.shape == "cosine" and start:
        yield "cosine_decay_schedule", {"init_value": start, "decay_steps": ramp.steps, **_foot(ramp)}


def _foot(ramp: Ramp) -> dict[str, Any]:
    foot = {"alpha": neat(ramp.end / ramp.start)} if ramp.end else {}
    return foot | ({"exponent": ramp.power} if ramp.power != 1.0 else {})


def _exponential(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    begin, end, init = 0.0, {}, peak
    inner: Any = schedule
    if isinstance(inner, Clip):
        floor = inner.low or inner.high
        end = {} if floor is None else {"end_value": neat(peak * floor)}
        inner = inner.schedule
    if isinstance(inner, Scaled):
        inner, init = inner.schedule, peak * inner.factor
    if isinstance(inner, Shift):
        begin, inner = number_of_steps(inner.steps) or 0.0, inner.schedule
    every = number_of_steps(inner.every) if isinstance(inner, Exponential) else None
    if not isinstance(inner, Exponential) or every is None:
        return
    begun = {"transition_begin": int(begin)} if begin else {}
    if inner.staircase:
        if is_on_time(every, steps):
            params = {"init_value": neat(init), "transition_steps": inner.every, "decay_rate": inner.decay_rate}
            yield "exponential_decay", {**params, **begun, "staircase": True, **end}
        return
    every, rate = as_wide(every, inner.decay_rate, steps)
    params = {"init_value": neat(init), "transition_steps": int(every), "decay_rate": rate}
    yield "exponential_decay", {**params, **begun, **end}


def as_wide(every: float, rate: float, steps: float) -> tuple[float, float]:
    """Return the same decay over more steps where in float32 it would leave its course by more than 1e-5 of the rate.

    float32 is off by some ε in ``rate`` and by n·ε in its n-th power; what is below 1e-4 of the peak does not count. 0.9
    stays (ε 3e-8, 2e-6 after 87 powers); 0.9998 a step is 2e-5 off after 1000 steps, 0.1353 every 10000 not.

    >>> as_wide(20, 0.9, 10_000), as_wide(1, 0.9998, 10_000)
    ((20, 0.9), (10000, 0.1353...))
    """
    powers = min(steps / every, _COURSE / abs(np.log(rate) or 1.0))
    k = 1
    if abs(float(np.float32(rate)) / rate - 1.0) * powers > 1e-5:
        k = next((k for k in (10, 100, 1000, 10_000, 100_000) if not 0.5 < rate**k < 2.0), 100_000)
    if not float(every).is_integer():
        k = next((more for more in range(k, 40 * k) if float(every * more).is_integer()), k)
    return every * k, rate**k


def _scaled_at(
    name: str, params: dict[str, Any], at: Sequence[Any], factors: Sequence[float], peak: float
) -> Iterator[Recipe]:
    """Yield a schedule that multiplies by a scale at each boundary; none can come back from 0."""
    if all(1e-30 < factor < 1e30 for factor in factors[:-1]) and len(at) == len(factors) - 1:
        scales = {
            boundary: neat(after / before) for boundary, (before, after) in zip(at, pairwise(factors), strict=True)
        }
        yield name, {**params, "init_value": neat(peak * factors[0]), "boundaries_and_scales": scales}


def _one_cycle(points: Interpolate, peak: float) -> Iterator[Recipe]:
    at, f = [number_of_steps(a) or 0 for a in points.at], points.factors
    if len(at) not in (3, 4) or not f[0] * f[-1]:
        return
    name = "cosine_onecycle_schedule" if len(at) == 3 else "linear_onecycle_schedule"
    turns = {"pct_start": _part(at[1], at[-1])}
    if len(at) == 4:
        turns["pct_final"] = _part(at[2], at[-1])
    factors = {"div_factor": neat(f[1] / f[0]), "final_div_factor": neat(f[0] / f[-1])}
    yield name, {"transition_steps": int(at[-1]), "peak_value": neat(peak * f[1]), **turns, **factors}


def _part(turn: float, steps: float) -> float:
    """Return a share of few digits with int(share·steps) = turn."""
    shares = (float(f"{(turn + extra) / steps:.{digits}g}") for digits in range(1, 17) for extra in (0.0, 0.5))
    return next((share for share in shares if int(share * steps) == turn), turn / steps)


def _cycles(
    ramp: Ramp, every: int, growth: int, decay: float, peak: float, steps: float, limit: int | None
) -> Iterator[Recipe]:
    starts, spans = [0], [every]
    while starts[-1] + spans[-1] < steps and len(starts) <= _MOST_CYCLES and len(starts) != limit:
        starts.append(starts[-1] + spans[-1])
        spans.append(spans[-1] * growth)
    if 1 < len(starts) <= _MOST_CYCLES:
        waves = [next(_ramp(_over(ramp, span), peak * decay**i), None) for i, span in enumerate(spans)]
        if None not in waves:
            yield "join_schedules", {"schedules": [_child(wave) for wave in waves if wave], "boundaries": starts[1:]}


def _over(ramp: Ramp, span: int) -> Ramp:
    return Ramp(start=ramp.start, end=ramp.end, steps=span, shape=ramp.shape, power=ramp.power)


def _child(recipe: Recipe) -> dict[str, Any]:
    return {"name": recipe[0], "params": recipe[1]}


def _in_turn(join: Join, peak: float, steps: float) -> Iterator[Recipe]:
    spans = _spans(join, steps)
    if spans is None or any(span != int(span) for span in spans[:-1]):
        return
    starts = [int(sum(spans[:i])) for i in range(len(join.pieces))]
    yield from _warmed_up(join, peak, starts)
    found = [native("optax", piece, peak, span, schedules) for piece, span in zip(join.pieces, spans, strict=True)]
    if None in found:
        return
    recipes = [recipe for recipe in found if recipe is not None]
    yield from _warm_exponential(recipes, starts)
    yield "join_schedules", {"schedules": [_child(recipe) for recipe in recipes], "boundaries": starts[1:]}


def _warmed_up(join: Join, peak: float, starts: list[int]) -> Iterator[Recipe]:
    """Yield warm-ups that go on as a constant or a cosine, also one after the other."""
    if isinstance(join.pieces[0], Ramp) and isinstance(join.pieces[1], Constant) and len(starts) == 2:
        yield "warmup_constant_schedule", _warmup(join.pieces[0], peak, starts[1])
    pairs = list(zip(join.pieces[::2], join.pieces[1::2], strict=False))
    cycles = [
        {**_warmup(up, peak, starts[2 * i + 1] - starts[2 * i]), **_wave(down, peak, starts[2 * i + 1] - starts[2 * i])}
        for i, (up, down) in enumerate(pairs)
        if isinstance(up, Ramp) and isinstance(down, Ramp) and down.shape == "cosine"
    ]
    if len(join.pieces) % 2 or len(cycles) < len(pairs):
        return
    if len(cycles) == 1:
        yield "warmup_cosine_decay_schedule", cycles[0]
    else:
        yield "sgdr_schedule", {"cosine_kwargs": cycles}


def _warmup(ramp: Ramp, peak: float, span: int) -> dict[str, Any]:
    return {
        "init_value": neat(peak * ramp.start),
        "peak_value": neat(peak * ramp.end),
        "warmup_steps": span,
    }


def _wave(ramp: Ramp, peak: float, warmup: int) -> dict[str, Any]:
    steps = {"decay_steps": warmup + int(number_of_steps(ramp.steps) or 0)}
    end = {"end_value": neat(peak * ramp.end)} if ramp.end else {}
    return steps | end | ({"exponent": ramp.power} if ramp.power != 1.0 else {})


def _warm_exponential(recipes: list[Recipe], starts: list[int]) -> Iterator[Recipe]:
    if [name for name, _ in recipes] == ["linear_schedule", "exponential_decay"]:
        up, down = recipes[0][1], dict(recipes[1][1])
        top = down.pop("init_value")
        warm = {"init_value": up["init_value"], "peak_value": top, "warmup_steps": starts[1]}
        yield "warmup_exponential_decay_schedule", {**warm, **down}
