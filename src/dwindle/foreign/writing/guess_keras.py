"""Which of Keras' schedules may be a schedule: guesses, each of which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.foreign.writing.boundaries import divides_exactly, ends_on_time, is_on_time
from dwindle.foreign.writing.draft import Recipe
from dwindle.foreign.writing.guess_optax import as_wide
from dwindle.foreign.writing.guess_parts import neat
from dwindle.schedule import (
    Constant,
    Exponential,
    Extend,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Ramp,
    Repeat,
    Scaled,
    Schedule,
    Sum,
)
from dwindle.units import number_of_steps

__all__ = ["schedules"]


def schedules(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of Keras schedules that give peak·schedule, in absolute rates.

    A staircase or a restart that float32 would turn at another step is not among them.
    """
    match schedule:
        case Ramp():
            yield from _ramp(schedule, peak)
        case Mirror(schedule=Ramp() as ramp):
            yield from _ramp(ramp, peak)
        case Extend(schedule=Ramp() as ramp) if divides_exactly(number_of_steps(ramp.steps) or 1.0, steps):
            yield from _polynomial(ramp, peak, cycle=True)
        case Exponential() | PowerLaw():
            yield from _falling(schedule, peak, steps)
        case Scaled(schedule=inner, factor=factor):
            yield from schedules(inner, peak * factor, steps)
        case Piecewise(boundaries=boundaries, factors=factors):
            at = [number_of_steps(boundary) or 0 for boundary in boundaries]
            if all(boundary >= 1 and boundary == int(boundary) for boundary in at):  # Keras turns after its boundary
                params = {
                    "boundaries": [int(boundary) - 1 for boundary in at],
                    "values": [neat(peak * f) for f in factors],
                }
                yield "PiecewiseConstantDecay", params
        case Repeat():
            yield from _restarts(schedule, peak, 0.0, steps)
        case Sum(terms=(Constant(factor=low), Scaled(schedule=Repeat() as waves, factor=rest))) if low + rest > 0.0:
            yield from _restarts(waves, peak * (low + rest), low / (low + rest), steps)
        case Join(pieces=(Ramp(shape="linear", power=1.0) as up, Ramp(shape="cosine") as down)) if schedule._edges:
            warm = {
                "initial_learning_rate": neat(peak * up.start),
                "warmup_target": neat(peak * up.end),
                "warmup_steps": int(schedule._edges[0]),
            }
            yield (
                "CosineDecay",
                {**warm, "decay_steps": down.steps, "alpha": neat(down.end / (down.start or 1.0))},
            )


def _ramp(ramp: Ramp, peak: float) -> Iterator[Recipe]:
    if ramp.shape == "cosine" and ramp.power == 1.0 and ramp.start:
        alpha = {"alpha": neat(ramp.end / ramp.start)} if ramp.end else {}
        yield (
            "CosineDecay",
            {"initial_learning_rate": neat(peak * ramp.start), "decay_steps": ramp.steps, **alpha},
        )
    yield from _polynomial(ramp, peak)


def _polynomial(ramp: Ramp, peak: float, cycle: bool = False) -> Iterator[Recipe]:
    if ramp.shape in ("linear", "sqrt", "square"):
        power = {"linear": ramp.power, "sqrt": 0.5, "square": 2.0}[ramp.shape]
        ends = {
            "initial_learning_rate": neat(peak * ramp.start),
            "end_learning_rate": neat(peak * ramp.end),
        }
        if not ends_on_time(power, number_of_steps(ramp.steps) or 1.0):
            return
        more = ({"power": power} if power != 1.0 else {}) | ({"cycle": True} if cycle else {})
        yield "PolynomialDecay", {**ends, "decay_steps": ramp.steps, **more}


def _falling(schedule: Exponential | PowerLaw, peak: float, steps: float) -> Iterator[Recipe]:
    every = number_of_steps(schedule.every)
    if every is None or (schedule.staircase and not is_on_time(every, steps)):
        return
    name, rate = "ExponentialDecay", schedule.decay_rate if isinstance(schedule, Exponential) else schedule.rate
    if isinstance(schedule, PowerLaw):
        if schedule.exponent != 1.0:
            return
        name = "InverseTimeDecay"
    elif not schedule.staircase:
        every, rate = as_wide(every, rate, steps)
    whole = int(every) if every == int(every) else every
    stairs = {"staircase": True} if schedule.staircase else {}
    yield name, {"initial_learning_rate": neat(peak), "decay_steps": whole, "decay_rate": rate, **stairs}


def _restarts(waves: Repeat, peak: float, alpha: float, steps: float) -> Iterator[Recipe]:
    every, ramp = number_of_steps(waves.every), waves.schedule
    if (
        not (isinstance(ramp, Ramp) and ramp.shape == "cosine" and every)
        or waves.growth != 1
        or not is_on_time(every, steps)
    ):
        return
    params: dict[str, Any] = {"initial_learning_rate": neat(peak * ramp.start), "first_decay_steps": every}
    floor = neat(ramp.end / ramp.start) if ramp.end and ramp.start else neat(alpha)
    yield "CosineDecayRestarts", {**params, "t_mul": 1.0, "m_mul": waves.decay, "alpha": floor}
