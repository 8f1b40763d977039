"""The curves several peers share: pieces in turn, polynomials both ways, half cosines, restarts with a peer's own boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.schedule import Constant, Join, Mirror, Ramp, Repeat, Schedule
from dwindle.units import Time, exactly, number_of_steps

__all__ = ["begun", "cosine_waves", "cycles", "first_steps", "in_turn", "polynomial"]

_FARTHEST = 2**40  # steps up to which a peer's restarts are compared with the exact ones
_MOST_CYCLES = 4096


def in_turn(*pieces: tuple[Schedule, Any]) -> Schedule:
    """Return (schedule, length) pairs joined; the last length is not read, and a piece of no length is left out.

    >>> from dwindle.schedule import Ramp
    >>> in_turn((Constant(), 0), (Ramp(steps=10), None))
    Ramp(end=0.0, steps=10, start=1.0, ...
    """
    kept = [(piece, length) for piece, length in pieces[:-1] if (number_of_steps(length) or 0) > 0]
    if not kept:
        return pieces[-1][0]
    return Join((*(piece for piece, _ in kept), pieces[-1][0]), (*(length for _, length in kept), None))


def begun(schedule: Schedule, steps: float) -> Schedule:
    """Return ``schedule`` as it goes on from ``steps`` steps after its start."""
    return schedule.shift(exactly(-steps))


def polynomial(start: float, end: float, steps: Any, power: float, what: str) -> Schedule:
    """Return end + (start - end)·(1 - x)^power, x = step/steps clipped to [0, 1], also where it rises.

    >>> [polynomial(0.0, 1.0, 4, 2.0, "it")(t) for t in (0, 1, 4)]
    [0.0, 0.4375, 1.0]
    """
    if power < 0:
        raise InvalidValueError(f"power of {what} must be zero or more; got {power!r}. Below 0 the rate has no bound.")
    if power == 0:
        return Constant(start)
    if start >= end or power == 1.0:
        return Ramp(start=start, end=end, steps=steps, power=power)
    if power in (0.5, 2.0):
        return Ramp(start=start, end=end, steps=steps, shape="sqrt" if power == 0.5 else "square")
    # end - (end - start)(1 - x)^p: the fall by x^p from end to start, played backwards once, then held
    falling = Ramp(start=end, end=start, steps=steps, warp=power)
    backwards = Mirror(falling, steps).shift(exactly(-(number_of_steps(steps) or 0)))
    return in_turn((backwards, steps), (Constant(end), None))


def cosine_waves(steps: int, waves: float, end: float = 0.0) -> Schedule:
    """Return end + (1 - end)·(1 + cos(2π·waves·step/steps))/2, without an end of its own: it climbs again.

    >>> [cosine_waves(10, 0.5)(t) for t in (0, 5, 10, 20)]
    [1.0, 0.5, 0.0, 1.0]
    """
    if waves == 0:
        return Constant()
    return Mirror(Ramp(end=end, steps=steps, shape="cosine"), steps).stretch(1.0 / (2.0 * abs(waves)))


def first_steps(starts: list[float], index: Callable[[int], int]) -> list[int]:
    """Return the first whole step of each cycle, where the peer's own ``index(step)`` gets there.

    A peer that finds its cycle by a logarithm or a product of fractions may get there a step late: its rounding decides.
    """
    firsts = []
    for i, start in enumerate(starts):
        near = math.ceil(start - 1e-6)
        firsts.append(next((step for step in (near, near + 1) if i == 0 or index(step) >= i), near))
    return firsts


def cycles(
    cycle: Callable[[int, Time | int], Schedule],
    every: float,
    growth: float,
    index: Callable[[int], int],
    *,
    limit: int | None = None,
    decay: float = 1.0,
    alike: bool = True,
    after: Schedule | None = None,
) -> Schedule:
    """Return cycle(i, its length) for cycles of ``every``·growth^i steps, each begun at the step where ``index`` says i.

    ``after`` follows the last of ``limit`` cycles; without it the end of the last one is held. ``alike`` says that cycle
    i is the first one stretched and times decay^i: with exact boundaries that is a Repeat. Otherwise it is spelled out.
    """
    starts, spans = _starts(every, growth, limit)
    firsts = first_steps(starts, index)
    if alike and after is None and limit != 1 and _are_exact(every, growth, firsts):
        return Repeat(cycle(0, exactly(every)), exactly(every), growth, decay, limit)
    if limit is None:
        return _late(cycle, every, growth, decay, starts, spans, firsts)
    if len(spans) < limit and starts[-1] < _FARTHEST:
        raise NoExactMapError(
            f"{limit} cycles that differ in shape would have to be spelled out; at most {_MOST_CYCLES} are."
        )
    pieces = _spelled(cycle, starts, spans, firsts)
    if after is None:
        return in_turn(*pieces)
    return in_turn(*pieces, (after, None))


def _starts(every: float, growth: float, limit: int | None) -> tuple[list[float], list[float]]:
    """Return where the cycles start, one more than there are, and how long each is."""
    most = _MOST_CYCLES if limit is None else min(limit, _MOST_CYCLES)
    starts: list[float] = [0.0]
    spans: list[float] = []
    while len(spans) < most and starts[-1] < _FARTHEST:
        i = len(spans)
        spans.append(every * growth**i)
        # the closed form, as the peers have it, not a running sum
        starts.append(every * (i + 1) if growth == 1 else (1 - growth ** (i + 1)) / (1 - growth) * every)
    return starts, spans


def _are_exact(every: float, growth: float, firsts: list[int]) -> bool:
    """Return whether a Repeat starts its cycles at the steps ``firsts``."""
    if growth == 1 and every == int(every):
        return firsts == [i * int(every) for i in range(len(firsts))]
    # a value that falls with every cycle tells them apart, however short they are
    probe = Repeat(Constant(), exactly(every), growth, 0.999)
    return all(probe(first) < probe(first - 1) for first in firsts[1:])


def _spelled(
    cycle: Callable[[int, Time | int], Schedule], starts: list[float], spans: list[float], firsts: list[int]
) -> list[tuple[Schedule, int]]:
    """Return the cycles as (schedule, length) pairs; one that begins late begins inside its curve."""
    pieces = []
    for i, span in enumerate(spans):
        late = firsts[i] - starts[i]
        pieces.append((begun(cycle(i, exactly(span)), 0.0 if abs(late) < 1e-9 else late), firsts[i + 1] - firsts[i]))
    return pieces


def _late(
    cycle: Callable[[int, Time | int], Schedule],
    every: float,
    growth: float,
    decay: float,
    starts: list[float],
    spans: list[float],
    firsts: list[int],
) -> Schedule:
    """Return endless cycles of which some begin late: those up to the last late one, then the same cycles larger."""
    last = max((i for i, first in enumerate(firsts) if first != math.ceil(starts[i] - 1e-6)), default=0)
    head = _spelled(cycle, starts, spans[:last], firsts)
    tail = Repeat(cycle(0, exactly(every)), exactly(every), growth, decay).stretch(growth**last) * decay**last
    return in_turn(*head, (begun(tail, firsts[last] - starts[last]), None))
