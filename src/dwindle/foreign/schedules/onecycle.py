"""torch's OneCycleLR and CyclicLR: rates between a low and a high one that are both their own, whatever the optimiser's lr."""

from __future__ import annotations

from itertools import pairwise

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.foreign.schedules.settings import Settings
from dwindle.schedule import Constant, Exponential, Interpolate, Join, Ramp, Repeat, Schedule
from dwindle.units import exactly

__all__ = ["cyclic", "one_cycle"]


def one_cycle(s: Settings) -> Schedule:
    """Return OneCycleLR in units of max_lr: up to 1 at step pct_start·total - 1, down to its end at step total - 1.

    torch's ends of the phases are no whole steps. Momentum, which torch cycles against it, is no part of a plan.
    """
    total, peak = _total(s), s.real("max_lr", above=0.0)
    share, three = s.real("pct_start", low=0.0, high=1.0), s.flag("three_phase")
    low = peak / s.real("div_factor", above=0.0)
    end = low / s.real("final_div_factor", above=0.0)
    linear = s.one_of("anneal_strategy", ("cos", "linear")) == "linear"
    turn = share * total - 1
    # (step, rate) at the end of each phase; the first phase starts at step 0 with the low rate
    points = [(0.0, low), (turn, peak), *([(2 * share * total - 2, low)] if three else []), (float(total - 1), end)]
    while (
        len(points) > 1 and points[1][0] < 0
    ):  # a phase that ends before step 0 is not seen, but the next starts there
        points.pop(0)
    if len(points) > 1 and points[0][0] == points[1][0] == 0.0:
        raise InvalidValueError(
            f"pct_start of {s.what} times the steps is 1, a phase of no length, by which torch divides; take a larger one."
        )
    kept = [points[0]]
    for before, point in pairwise(points):
        at = min(point[0], float(10 * total))
        # torch's linear arithmetic, (end - start)·1 + start, misses a small end by a few ulp of the start
        kept.append((at, (point[1] - before[1]) + before[1] if linear else point[1]))
        if at >= total - 1:
            break
    if kept[-1][0] <= kept[0][0]:
        return Constant(kept[0][1] / peak)
    return Interpolate(
        tuple(exactly(at) for at, _ in kept), tuple(lr / peak for _, lr in kept), "linear" if linear else "cosine"
    )


def _total(s: Settings) -> int:
    if s["total_steps"] is not None:
        return s.count("total_steps")
    if s["epochs"] is None or s["steps_per_epoch"] is None:
        raise InvalidValueError(f"{s.what} needs total_steps, or epochs and steps_per_epoch.")
    return s.count("epochs") * s.count("steps_per_epoch")


def cyclic(s: Settings) -> Schedule:
    """Return CyclicLR in units of max_lr: triangles between base_lr and max_lr, their height as ``mode`` says.

    Momentum, which torch cycles against it, is no part of a plan.
    """
    s.only("scale_fn", None, "A function is not data; use one of the three modes, or custom(function).")
    mode = s.one_of("mode", ("triangular", "triangular2", "exp_range"))
    high = s.real("max_lr", above=0.0)
    low = s.real("base_lr", low=0.0) / high
    up = s.real("step_size_up", above=0.0)
    down = up if s["step_size_down"] is None else s.real("step_size_down", above=0.0)
    if low > 1.0 and mode != "triangular":
        raise NoExactMapError(f"max_lr of {s.what} is below base_lr; with mode {mode!r} no plan does that. Swap them.")
    if low > 1.0:
        fall = Join((Ramp(start=low, end=1.0, steps=exactly(up)), Ramp(start=1.0, end=low, steps=exactly(down))))
        return Repeat(fall, exactly(up + down))
    triangle = Join((Ramp(start=0.0, end=1.0, steps=exactly(up)), Ramp(steps=exactly(down))))
    waves: Schedule = Repeat(triangle, exactly(up + down), decay=0.5 if mode == "triangular2" else 1.0)
    if mode == "exp_range":
        gamma = s.real("gamma", above=0.0)
        waves = waves * Exponential(gamma, 1, allow_growth=gamma > 1.0)
    return waves if low == 0.0 else Constant(low) + waves * (1.0 - low)
