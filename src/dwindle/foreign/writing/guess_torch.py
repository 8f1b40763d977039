"""Which of torch's schedulers may be a schedule: guesses, each of which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from dwindle.foreign.writing.draft import WITHOUT_END, Recipe, native
from dwindle.schedule import (
    Constant,
    Exponential,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    Product,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Sum,
)
from dwindle.units import number_of_steps

__all__ = ["milestones_of", "schedulers"]


def schedulers(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of torch schedulers for an optimiser whose lr is ``peak``."""
    match schedule:
        case Constant(factor=factor):
            yield "ConstantLR", {"factor": factor, "total_iters": 0}
        case Ramp():
            yield from _ramp(schedule, peak)
        case Mirror(schedule=Ramp(shape="cosine") as ramp):
            yield from _ramp(ramp, peak)
        case Repeat(schedule=Ramp(shape="cosine", end=end), every=int() as every, growth=int() as growth):
            yield "CosineAnnealingWarmRestarts", {"T_0": every, "T_mult": growth, "eta_min": end * peak}
        case Exponential(decay_rate=rate, every=every, staircase=True):
            yield "StepLR", {"step_size": every, "gamma": rate}
        case Exponential(decay_rate=rate, every=every):
            yield "ExponentialLR", {"gamma": rate ** (1.0 / (number_of_steps(every) or 1.0))}
        case Piecewise(boundaries=boundaries, factors=factors):
            yield "ConstantLR", {"factor": factors[0], "total_iters": boundaries[0]}
            yield from milestones_of(list(boundaries), list(factors))
        case Interpolate():
            yield from _one_cycle(schedule, peak, steps)
        case Join():
            yield from _in_sequence(schedule, peak, steps)
        case Product(factors=parts):
            found = [native("torch", part, peak, steps, schedulers) for part in parts]
            if None not in found:
                yield "ChainedScheduler", {"schedulers": [_child(recipe) for recipe in found if recipe]}
    yield from _cyclic(schedule, peak)


def _child(recipe: Recipe) -> dict[str, Any]:
    return {"name": recipe[0], "params": recipe[1]}


def _ramp(ramp: Ramp, peak: float) -> Iterator[Recipe]:
    if ramp.shape == "linear":
        yield "LinearLR", {"start_factor": ramp.start, "end_factor": ramp.end, "total_iters": ramp.steps}
        yield "PolynomialLR", {"total_iters": ramp.steps, "power": ramp.power}
    if ramp.shape == "cosine":
        yield "CosineAnnealingLR", {"T_max": ramp.steps, "eta_min": ramp.end * peak}


def milestones_of(boundaries: list[Any], factors: list[float]) -> Iterator[Recipe]:
    """Yield one MultiStepLR for each ratio that may be its gamma; a milestone named twice cuts twice."""
    ratios = [after / before if before else 0.0 for before, after in pairwise(factors)]
    for gamma in sorted({ratio for ratio in ratios if 1e-30 < ratio < 1e30}, reverse=True)[:4]:
        named = []
        for boundary, ratio in zip(boundaries, ratios, strict=True):
            times = next((k for k in range(1, 6) if abs(gamma**k - ratio) <= 1e-12 * ratio), 1)
            named += [boundary] * times
        yield "MultiStepLR", {"milestones": named, "gamma": gamma}


def _one_cycle(points: Interpolate, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield a OneCycleLR, which raises an error when it is stepped beyond its end."""
    at = [number_of_steps(a) or 0 for a in points.at]
    if points.shape not in ("linear", "cosine") or len(at) not in (3, 4) or not points.factors[0] * points.factors[-1]:
        return
    total = at[-1] + 1
    if total < steps != WITHOUT_END:
        return
    yield (
        "OneCycleLR",
        {
            "max_lr": peak,
            "total_steps": int(total),
            "pct_start": (at[1] + 1) / total,
            "anneal_strategy": "cos" if points.shape == "cosine" else "linear",
            "div_factor": 1.0 / points.factors[0],
            "final_div_factor": points.factors[0] / points.factors[-1],
            "three_phase": len(at) == 4,
        },
    )


def _cyclic(schedule: Schedule, peak: float) -> Iterator[Recipe]:
    low, waves = 0.0, schedule
    match schedule:
        case Sum(terms=(Constant(factor=low), Scaled(schedule=waves))):
            pass
    gamma = 1.0
    match waves:
        case Product(factors=(waves, Exponential(decay_rate=gamma))):
            pass
    match waves:
        case Repeat(schedule=Join(pieces=(Ramp() as up, Ramp() as down)), decay=decay):
            if up.start > 0.0:
                low = up.start
            mode = "exp_range" if gamma != 1.0 else "triangular2" if decay == 0.5 else "triangular"
            yield (
                "CyclicLR",
                {
                    "base_lr": low * peak,
                    "max_lr": peak,
                    "step_size_up": up.steps,
                    "step_size_down": down.steps,
                    "mode": mode,
                    "gamma": gamma,
                    "cycle_momentum": False,
                },
            )


def _in_sequence(join: Join, peak: float, steps: float) -> Iterator[Recipe]:
    edges = [number_of_steps(span) for span in join.spans[:-1]]
    spans = [span for span in edges if span is not None]
    if len(spans) < len(edges):
        return
    starts = [sum(spans[:i]) for i in range(len(join.pieces))]
    parts = zip(join.pieces, [*spans, max(steps - starts[-1], 1)], strict=True)
    found = [native("torch", piece, peak, span, schedulers) for piece, span in parts]
    if None not in found:
        children = [_child(recipe) for recipe in found if recipe]
        yield "SequentialLR", {"schedulers": children, "milestones": starts[1:]}
