"""The curves several peers share: pieces in turn, polynomials both ways, half cosines, restarts with a peer's own boundaries."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import accumulate, repeat
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.schedule import Constant, Join, Mirror, Ramp, Repeat, Schedule, Shift
from dwindle.units import Time, exactly, number_of_steps

__all__ = ["after_warmup", "begun", "cosine_waves", "cycles", "first_steps", "in_turn", "polynomial"]

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


def after_warmup(warmup: Schedule, steps: Any, curve: Schedule) -> Schedule:
    """Return ``warmup`` for ``steps``, then ``curve`` at the same clock: what it would have been without a warm-up."""
    return in_turn((warmup, steps), (begun(curve, number_of_steps(steps) or 0), None))


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
    decay: float = 1.0,
    limit: int | None = None,
    after: Schedule | None = None,
    what: str = "",
) -> Schedule:
    """Return cycle(i, its length) in turn for cycles of ``every``·growth^i steps, each begun where ``index`` says.

    ``after`` follows the last of ``limit`` cycles. Where the boundaries are the exact ones and the cycles are alike but
    for ``decay``, that is a Repeat; otherwise it is spelled out.
    """
    spans = [every] if growth < 1 else list(_spans(every, growth, limit))
    starts = [0.0, *accumulate(spans)][: len(spans)]
    firsts = first_steps(starts, index)
    if limit is None and growth == 1:
        return Repeat(cycle(0, exactly(every)), exactly(every), decay=decay)
    if decay > 0 and limit != 1 and after is None and _is_repeat(every, growth, limit, firsts):
        return Repeat(cycle(0, exactly(every)), exactly(every), growth, decay, limit)
    if limit is None:
        # spelled out up to the last boundary that is not the exact one; then the same cycles, larger
        late = max(i for i, (start, first) in enumerate(zip(starts, firsts, strict=True)) if first != math.ceil(start))
        tail = Repeat(cycle(0, exactly(every)), exactly(every), growth, decay).stretch(growth**late)
        pieces = _spelled(cycle, spans[:late], starts[: late + 1], firsts[: late + 1])
        return in_turn(*pieces, (begun(tail * decay**late, firsts[late] - starts[late]), None))
    end = firsts_after(starts[-1] + spans[-1], len(spans), index)
    pieces = _spelled(cycle, spans, [*starts, starts[-1] + spans[-1]], [*firsts, end])
    return in_turn(*pieces, (pieces[-1][0] if after is None else after, None))
