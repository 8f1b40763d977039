"""Schedules as people write them in torch: each a function of (optimiser, steps) that builds the real scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import lr_scheduler

Maker = Callable[[Any, int], Any]


def factor(of: Callable[[int, int], float]) -> Maker:
    return lambda optimizer, steps: lr_scheduler.LambdaLR(optimizer, lambda t: of(t, steps))


def warm_cosine(warm: float, total: float = 1.0, end: float = 0.0) -> Maker:
    """Warm up over the share ``warm`` of the steps, then a cosine that ends at the share ``total`` and stays there."""

    def of(t: int, steps: int) -> float:
        first, last = round(warm * steps), total * steps
        if t < first:
            return (t + 1) / (first + 1)
        x = min(1.0, (t - first) / max(1, last - first))
        return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * x))

    return factor(of)


def warm_linear(warm: float, total: float = 1.0, end: float = 0.0) -> Maker:
    def of(t: int, steps: int) -> float:
        first, last = round(warm * steps), total * steps
        if t < first:
            return (t + 1) / (first + 1)
        return end + (1 - end) * max(0.0, 1 - (t - first) / max(1, last - first))

    return factor(of)


def warm_constant(warm: float) -> Maker:
    return factor(lambda t, steps: min(1.0, (t + 1) / (1 + round(warm * steps))))


def wsd(warm: float, fall: float, end: float = 0.0) -> Maker:
    def of(t: int, steps: int) -> float:
        left = (steps - t) / (fall * steps)
        return min(1.0, (t + 1) / (1 + warm * steps), end + (1 - end) * left)

    return factor(of)


def inverse_sqrt(warm: float) -> Maker:
    def of(t: int, steps: int) -> float:
        first = max(1, round(warm * steps))
        return min((t + 1) / first, (first / (t + 1)) ** 0.5)

    return factor(of)


def cuts(*shares: float, by: float = 0.1) -> Maker:
    return lambda optimizer, steps: lr_scheduler.MultiStepLR(optimizer, [round(s * steps) for s in shares], by)


def every(steps: int, by: float) -> Maker:
    return lambda optimizer, _: lr_scheduler.StepLR(optimizer, steps, by)


def exponential(left: float) -> Maker:
    """Fall by the same factor a step, to the share ``left`` at the end."""
    return lambda optimizer, steps: lr_scheduler.ExponentialLR(optimizer, left ** (1 / steps))


def annealing(period: float, end: float = 0.0) -> Maker:
    """torch's own cosine: it rises again past T_max."""

    def made(optimizer: Any, steps: int) -> Any:
        low = end * optimizer.param_groups[0]["lr"]
        return lr_scheduler.CosineAnnealingLR(optimizer, round(period * steps), low)

    return made


def restarts(first: float, grows: int = 1, end: float = 0.0) -> Maker:
    def made(optimizer: Any, steps: int) -> Any:
        low = end * optimizer.param_groups[0]["lr"]
        return lr_scheduler.CosineAnnealingWarmRestarts(optimizer, round(first * steps), grows, low)

    return made


def one_cycle(top: float = 0.3) -> Maker:
    def made(optimizer: Any, steps: int) -> Any:
        peak = optimizer.param_groups[0]["lr"]
        return lr_scheduler.OneCycleLR(optimizer, peak, total_steps=steps + 1, pct_start=top, cycle_momentum=False)

    return made


def plateau(by: float, patience: int, least: float = 0.0) -> Maker:
    return lambda optimizer, _: lr_scheduler.ReduceLROnPlateau(optimizer, "min", by, patience, min_lr=least)
