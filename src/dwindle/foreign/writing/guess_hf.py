"""Which scheduler of transformers' get_scheduler may be a schedule: guesses, which `writing.native` reads back and compares."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.foreign.writing.draft import Recipe
from dwindle.foreign.writing.guess_parts import Warm, cycles_in, following, neat, split_off, whole
from dwindle.schedule import Constant, Join, Mirror, PowerLaw, Ramp, Repeat, Schedule, Shift, Stretch
from dwindle.units import number_of_steps

__all__ = ["schedulers"]

_SHAPES = {"linear": "linear", "cosine": "cosine", "sqrt": "1-sqrt"}


def schedulers(schedule: Schedule, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes of transformers' schedulers for an optimiser whose lr is ``peak``."""
    for warm in split_off(schedule):
        if warm.shape == "linear" and warm.start == 0.0 and warm.top == 1.0:
            yield from _after(warm, peak, steps)
        if warm.top == 1.0:
            yield from _stable(warm)
            yield from _ahead(warm)


def _after(warm: Warm, peak: float, steps: float) -> Iterator[Recipe]:
    """Yield recipes with a warm-up from 0; the whole run ends where the last piece does."""
    rest, w = warm.rest, warm.steps
    match rest:
        case Constant(factor=1.0):
            yield "constant", {}
            yield "constant_with_warmup", {"num_warmup_steps": w}
        case PowerLaw(exponent=0.5, rate=1.0, staircase=False):
            timescale = number_of_steps(rest.every)
            yield "inverse_sqrt", {"num_warmup_steps": w, **({} if timescale == w else {"timescale": timescale})}
        case Ramp(shape="linear", start=1.0, end=end, power=power):
            whole_run = {"num_warmup_steps": w, "num_training_steps": w + whole(rest.steps)}
            yield "linear", whole_run
            yield "polynomial", {**whole_run, "lr_end": neat(end * peak), "power": power}
        case Repeat(schedule=Ramp(shape="cosine"), growth=1):
            every = number_of_steps(rest.every) or 1.0
            yield from _restarts(w, round(cycles_in(rest, steps - w) * every), every)
        case Join(pieces=(Repeat(schedule=Ramp(shape="cosine")) as repeat, Constant(factor=0.0))):
            room, every = whole(rest.spans[0]), number_of_steps(repeat.every) or 1.0
            yield from _restarts(w, room, every)
        case Join(pieces=(Ramp(shape="cosine") as ramp, *_)):
            room = sum(whole(span) for span in rest.spans[:-1])
            yield from _restarts(w, room, number_of_steps(ramp.steps) or 1.0)
    for room, waves, low in _waves(rest):
        yield from _cosine({"num_warmup_steps": w, "num_training_steps": w + room}, waves, low)


def _restarts(w: int, room: int, every: float) -> Iterator[Recipe]:
    for number in dict.fromkeys((float(round(room / every)), room / every)):
        cycles = int(number) if number == int(number) else number
        yield (
            "cosine_with_restarts",
            {"num_warmup_steps": w, "num_training_steps": w + room, "num_cycles": cycles},
        )


def _waves(rest: Schedule) -> Iterator[tuple[int, float, float]]:
    """Yield (steps, number of waves in them, floor) of a cosine; half a wave is the plain decay."""
    match rest:
        case Ramp(shape="cosine", start=1.0, end=low) | Mirror(schedule=Ramp(shape="cosine", start=1.0, end=low)):
            yield whole(rest.steps if isinstance(rest, Ramp) else rest.every), 0.5, low
        case Stretch(schedule=Mirror(schedule=Ramp(shape="cosine", end=low)) as mirror, by=by):
            yield whole(mirror.every), 1.0 / (2.0 * by), low


def _cosine(run: dict[str, Any], waves: float, low: float) -> Iterator[Recipe]:
    more = {} if waves == 0.5 else {"num_cycles": waves}
    if low == 0.0:
        yield "cosine", {**run, **more}
    else:
        yield "cosine_with_min_lr", {**run, **more, "min_lr_rate": low}


def _ahead(warm: Warm) -> Iterator[Recipe]:
    """Yield the cosine that is one step ahead: its warm-up is at the peak in its last step, and the decay has begun."""
    match warm.rest:
        case Shift(schedule=inner, steps=-1):
            for room, waves, low in _waves(inner):
                run = {"num_warmup_steps": warm.steps, "num_training_steps": warm.steps + room}
                more = {} if waves == 0.5 else {"num_cycles": waves}
                first = {"warmup_lr_rate": warm.start} if warm.steps and warm.start * warm.steps != 1.0 else {}
                yield "cosine_warmup_with_min_lr", {**run, **more, "min_lr_rate": low, **first}


def _stable(warm: Warm) -> Iterator[Recipe]:
    """Yield warm-up, stable, decay: from the floor to the peak, held, and back to the floor."""
    if warm.shape not in _SHAPES:
        return
    held, rest = 0, warm.rest
    match rest:
        case Join(pieces=(Constant(factor=1.0), _, *_)):
            held, rest = whole(rest.spans[0]), following(rest)
    low, span = 0.0, 0
    more: dict[str, Any] = {}
    match rest:
        case Ramp(start=1.0, end=low, shape=("linear" | "cosine" | "sqrt") as shape):
            span, more = whole(rest.steps), {"decay_type": _SHAPES[shape]}
        case Join(pieces=(wave, Constant(factor=low))):
            waves = next(_waves(wave), None)
            span = whole(rest.spans[0])
            more = {"num_cycles": 0.5 if waves is None else waves[1]}
        case Constant(factor=low):
            pass
        case _:
            return
    params: dict[str, Any] = {"num_warmup_steps": warm.steps, "num_training_steps": warm.steps + held + span}
    params |= {"num_decay_steps": span, **more}
    if warm.shape != "linear":
        params["warmup_type"] = _SHAPES[warm.shape]
    yield "warmup_stable_decay", {**params, **({"min_lr_ratio": low} if low else {})}
