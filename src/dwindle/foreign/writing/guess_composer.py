"""Which of Composer's schedulers may be a schedule, in batches: guesses, which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.foreign.writing.draft import Recipe
from dwindle.foreign.writing.guess_parts import Warm, split_off, whole
from dwindle.foreign.writing.guess_torch import milestones_of
from dwindle.schedule import Constant, Exponential, Piecewise, Product, Ramp, Repeat, Schedule
from dwindle.units import number_of_steps

__all__ = ["schedulers"]


def schedulers(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of Composer schedulers; Composer cuts a time to whole batches, so only whole ones are named."""
    for warm in split_off(schedule):
        if warm.steps and warm.shape == "linear" and warm.start == 0.0:
            yield from _warmed(warm)
    match schedule:
        case Product(factors=(Ramp(start=0.0, end=1.0, shape="linear") as rise, Piecewise() as cuts)):
            yield from _stepped(rise.steps, cuts, 0)
    yield from _plain(schedule)


def _ba(time: Any) -> str:
    return f"{whole(time)}ba"


def _plain(schedule: Schedule) -> Iterator[Recipe]:
    match schedule:
        case Constant(factor=1.0):
            yield "ConstantScheduler", {}
        case Constant(factor=factor):
            yield "ConstantScheduler", {"alpha": factor}
        case Ramp(shape="linear", start=start, end=end, power=power):
            until = {"t_max": _ba(schedule.steps), **({"alpha_f": end} if end else {})}
            yield "LinearScheduler", {**({} if start == 1.0 else {"alpha_i": start}), **until}
            yield "PolynomialScheduler", {"power": power, **until}
        case Ramp(shape="cosine", end=end):
            yield "CosineAnnealingScheduler", {"t_max": _ba(schedule.steps), **({"alpha_f": end} if end else {})}
        case Repeat(schedule=Ramp(shape="cosine", end=end), growth=growth):
            growing = {} if growth == 1 else {"t_mult": growth}
            yield (
                "CosineAnnealingWarmRestartsScheduler",
                {"t_0": _ba(schedule.every), **growing, **({"alpha_f": end} if end else {})},
            )
        case Exponential(decay_rate=rate, staircase=True):
            yield "StepScheduler", {"step_size": _ba(schedule.every), "gamma": rate}
        case Exponential(decay_rate=rate):
            every = number_of_steps(schedule.every) or 1.0
            if every == int(every):
                yield "ExponentialScheduler", {"gamma": rate, "decay_period": _ba(every)}
            yield "ExponentialScheduler", {"gamma": rate ** (1.0 / every), "decay_period": "1ba"}
        case Piecewise(boundaries=boundaries, factors=factors):
            yield "ConstantScheduler", {"alpha": factors[0], "t_max": _ba(boundaries[0])}
            for milestones, gamma in _cuts(schedule, 0):
                yield "MultiStepScheduler", {"milestones": milestones, "gamma": gamma}


def _cuts(tables: Piecewise, after: int) -> Iterator[tuple[list[str], float]]:
    for _, found in milestones_of([whole(b) + after for b in tables.boundaries], list(tables.factors)):
        yield [f"{milestone}ba" for milestone in found["milestones"]], found["gamma"]


def _warmed(warm: Warm) -> Iterator[Recipe]:
    """Yield recipes with a warm-up from 0; t_max counts the warm-up in, and Composer refuses a run that is longer."""
    first, rest = {"t_warmup": f"{warm.steps}ba"}, warm.rest
    match rest:
        case Constant(factor=factor):
            alpha = {} if factor == 1.0 else {"alpha": factor}
            yield "ConstantWithWarmupScheduler", {**first, **alpha}
        case Ramp(shape="linear", start=start, end=end, power=power):
            until = {"t_max": f"{warm.steps + whole(rest.steps)}ba", **({"alpha_f": end} if end else {})}
            yield "LinearWithWarmupScheduler", {**first, **({} if start == 1.0 else {"alpha_i": start}), **until}
            yield "PolynomialWithWarmupScheduler", {**first, "power": power, **until}
        case Ramp(shape="cosine", end=end):
            until = {"t_max": f"{warm.steps + whole(rest.steps)}ba", **({"alpha_f": end} if end else {})}
            yield "CosineAnnealingWithWarmupScheduler", {**first, **until}
        case Piecewise():
            yield from _stepped(warm.steps, rest, warm.steps)


def _stepped(warmup: Any, cuts: Piecewise, after: int) -> Iterator[Recipe]:
    for milestones, gamma in _cuts(cuts, after):
        yield (
            "MultiStepWithWarmupScheduler",
            {"t_warmup": _ba(warmup), "milestones": milestones, "gamma": gamma},
        )
