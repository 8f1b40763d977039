"""What each node of a schedule does at one step: in words, and as its formula with the numbers put in.

The formulas are plain arithmetic (· ^ / √ π cos tanh), so that a reader can put them into a calculator.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import singledispatch
from typing import NamedTuple

from dwindle.schedule import (
    Clip,
    Constant,
    Custom,
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
)
from dwindle.units import number_of_steps, short

__all__ = ["Said", "number", "spoken"]

Inside = tuple[tuple[float, float], ...]
_FORMULA = 2**53  # the last step that a formula counts


class Said(NamedTuple):
    """Which piece of a node answered, in words, "" where it has but one; and its formula in numbers."""

    why: str
    formula: str


def number(value: float) -> str:
    """Return the shortest text that reads back as ``value``; a negative one in brackets.

    >>> number(0.1), number(-2.0), number(500)
    ('0.1', '(-2)', '500')
    """
    text = short(value)
    return f"({text})" if text.startswith("-") else text


@singledispatch
def spoken(schedule: Schedule, step: float, inside: Inside, value: float) -> Said:
    """Return what ``schedule`` does at ``step``; ``inside`` are the (step, value) of the nodes that it asked."""
    return Said("", number(value))


@spoken.register
def _(schedule: Constant, step: float, inside: Inside, value: float) -> Said:
    return Said("the same at every step", number(value))


@spoken.register
def _(schedule: Ramp, step: float, inside: Inside, value: float) -> Said:
    whole = number_of_steps(schedule.steps) or 0
    if step <= 0:
        return Said("at its start", number(value))
    if step >= whole:
        return Said(f"at its end, which it reached at its step {number(whole)}", number(value))
    x = f"{number(step)}/{number(whole)}"
    if schedule.warp != 1.0:
        x = f"({x})^{number(schedule.warp)}"
    part = f"{100 * step / whole:.3g} % of its {number(whole)} steps"
    if schedule.shape == "geometric":
        start, end = number(schedule.start), number(schedule.end)
        return Said(part, f"{start}·({end}/{start})^({x})")
    return Said(part, _between(schedule.start, schedule.end, schedule.shape, x, schedule.power, schedule.ratio))


@spoken.register
def _(schedule: Tanh, step: float, inside: Inside, value: float) -> Said:
    whole = number_of_steps(schedule.steps) or 0
    x = f"{number(min(max(step, 0), whole))}/{number(whole)}"
    if schedule.warp != 1.0:
        x = f"({x})^{number(schedule.warp)}"
    z = f"{number(schedule.lower)}·(1 - {x}) + {number(schedule.upper)}·{x}"
    return Said("", _scaled(schedule.end, f"{number(1.0)} - {number(schedule.end)}", f"(1 - tanh({z}))/2"))


@spoken.register
def _(schedule: Exponential, step: float, inside: Inside, value: float) -> Said:
    every, at = number_of_steps(schedule.every) or 1, max(step, 0)
    if schedule.staircase:
        stairs = int(at // every)
        why = f"stair {stairs} = {number(at)} // {number(every)}"
        return Said(why, f"{number(schedule.decay_rate)}^{stairs}")
    return Said("", f"{number(schedule.decay_rate)}^({number(at)}/{number(every)})")


@spoken.register
def _(schedule: PowerLaw, step: float, inside: Inside, value: float) -> Said:
    every, at = number_of_steps(schedule.every) or 1, min(max(step, 0), 2**62)
    x = number(int(at // every)) if schedule.staircase else f"{number(at)}/{number(every)}"
    rate = "" if schedule.rate == 1.0 else f"{number(schedule.rate)}·"
    why = f"stair {x} = {number(at)} // {number(every)}" if schedule.staircase else ""
    power = "" if schedule.exponent == 1.0 else f"^{number(schedule.exponent)}"
    return Said(why, f"1/(1 + {rate}{x}){power}")


@spoken.register
def _(schedule: Piecewise, step: float, inside: Inside, value: float) -> Said:
    edges = [number_of_steps(each) or 0 for each in schedule.boundaries]
    i = bisect_right(edges, step)
    return Said(_stretch("value", i, edges, len(edges) + 1), number(value))


@spoken.register
def _(schedule: Interpolate, step: float, inside: Inside, value: float) -> Said:
    at = [number_of_steps(each) or 0 for each in schedule.at]
    here = max(step, 0)
    if here <= at[0]:
        return Said(f"before its first point, step {number(at[0])}: that is held", number(value))
    if here >= at[-1]:
        return Said(f"from its last point on, step {number(at[-1])}: that is held", number(value))
    i = bisect_right(at, here) - 1
    why = f"between its points at step {number(at[i])} and step {number(at[i + 1])}"
    if here == at[i]:
        return Said(why, number(value))
    x = f"({number(here)} - {number(at[i])})/({number(at[i + 1])} - {number(at[i])})"
    return Said(why, _between(schedule.factors[i], schedule.factors[i + 1], schedule.shape, x))


@spoken.register
def _(schedule: Table, step: float, inside: Inside, value: float) -> Said:
    row = int(min(max(step // schedule.every, 0), len(schedule.factors) - 1))
    return Said(f"entry {row + 1} of {len(schedule.factors)}", number(value))


@spoken.register
def _(schedule: Formula, step: float, inside: Inside, value: float) -> Said:
    at = int(min(max(step, 0), _FORMULA)) if step == int(step) else max(step, 0.0)
    return Said(f"with step = {number(at)}", re.sub(r"\bstep\b", number(at), schedule.text))


@spoken.register
def _(schedule: Custom, step: float, inside: Inside, value: float) -> Said:
    return Said("a function of yours, whose inside is not known here", number(value))


@spoken.register
def _(schedule: Join, step: float, inside: Inside, value: float) -> Said:
    edges: list[float] = []
    for span in schedule.spans[:-1]:
        edges.append((edges[-1] if edges else 0) + (number_of_steps(span) or 0))
    return Said(_stretch("piece", bisect_right(edges, step), edges, len(schedule.pieces)), number(value))


@spoken.register
def _(schedule: Product, step: float, inside: Inside, value: float) -> Said:
    return Said("", " · ".join(number(each) for _, each in inside))


@spoken.register
def _(schedule: Sum, step: float, inside: Inside, value: float) -> Said:
    return Said("", " + ".join(number(each) for _, each in inside))


@spoken.register
def _(schedule: Scaled, step: float, inside: Inside, value: float) -> Said:
    return Said("", f"{number(schedule.factor)} · {number(inside[0][1])}")


@spoken.register
def _(schedule: Shift, step: float, inside: Inside, value: float) -> Said:
    steps = number_of_steps(schedule.steps) or 0
    said = f"{number(steps)} later" if steps >= 0 else f"{number(-steps)} earlier"
    return Said(f"played {said}: its step {number(inside[0][0])}", number(value))


@spoken.register
def _(schedule: Stretch, step: float, inside: Inside, value: float) -> Said:
    at, by = number(inside[0][0]), number(schedule.by)
    return Said(f"slowed down {by} times: its step {number(step)}/{by} = {at}", number(value))


@spoken.register
def _(schedule: Clip, step: float, inside: Inside, value: float) -> Said:
    inner = inside[0][1]
    why = "inside its bounds" if value == inner else "held at its lower bound" if value > inner else "held at its upper"
    text = f"max({number(inner)}, {number(schedule.low)})"
    return Said(why, text if schedule.high is None else f"min({text}, {number(schedule.high)})")


@spoken.register
def _(schedule: Repeat, step: float, inside: Inside, value: float) -> Said:
    every, at = number_of_steps(schedule.every) or 1, max(step, 0)
    cycle = int(at // every) if schedule.growth == 1 else bisect_right(schedule._starts or (0,), at) - 1
    if schedule.cycles is not None:
        cycle = min(cycle, schedule.cycles - 1)
    of = "" if schedule.cycles is None else f" of {schedule.cycles}"
    why = f"cycle {cycle + 1}{of}: its step {number(inside[0][0])}"
    if schedule.decay == 1:
        return Said(why, number(value))
    return Said(why, f"{number(inside[0][1])} · {number(schedule.decay)}^{cycle}")


@spoken.register
def _(schedule: Mirror, step: float, inside: Inside, value: float) -> Said:
    every = number_of_steps(schedule.every) or 1
    forth = max(step, 0) % (2 * every) <= every
    return Said(f"played {'forth' if forth else 'back'}: its step {number(inside[0][0])}", number(value))


@spoken.register
def _(schedule: Extend, step: float, inside: Inside, value: float) -> Said:
    every, at = number_of_steps(schedule.every) or 1, max(step, 0)
    times = int(max(1, -(-at // every)))
    return Said(f"{times} times as long by now: its step {number(at)}/{times} = {number(inside[0][0])}", number(value))


def _stretch(what: str, i: int, edges: list[float], many: int) -> str:
    """Return which of ``many`` pieces holds between which steps."""
    head = f"{what} {i + 1} of {many}"
    if i == len(edges):
        return f"{head}, from step {number(edges[-1])} on" if edges else head
    return f"{head}, from step {number(edges[i - 1] if i else 0)} up to step {number(edges[i])}"


def _between(start: float, end: float, shape: str, x: str, power: float = 1.0, ratio: float = 0.5) -> str:
    """Return low + (high - low)·g^power, g the shape falling from 1 to 0 over x, or backwards where it rises."""
    g = _shape(shape, x, ratio, rises=end > start)
    if power != 1.0:
        g = f"({g})^{number(power)}"
    low, high = min(start, end), max(start, end)
    return _scaled(low, number(high) if low == 0.0 else f"{number(high)} - {number(low)}", g)


def _shape(shape: str, x: str, ratio: float, rises: bool) -> str:
    if shape == "linear":
        return x if rises else f"1 - {x}"
    if shape == "cosine":
        return f"(1 {'-' if rises else '+'} cos(π·{x}))/2"
    u = f"(1 - {x})" if rises else f"({x})"
    if shape == "sqrt":
        return f"1 - √{u}"
    if shape == "square":
        return f"1 - {u}^2"
    r = number(ratio)
    return f"({r}^{u} - {r})/(1 - {r})"


def _scaled(low: float, span: str, g: str) -> str:
    """Return low + (span)·g without what is 0 or 1."""
    bare = " - " not in g or g.startswith("(1 ")
    text = g if span == "1" or span == "1 - 0" else f"{f'({span})' if ' ' in span else span}·{g if bare else f'({g})'}"
    return text if low == 0.0 else f"{number(low)} + {text}"
