"""What the script draws of an outlook: losses and learning rates on one axis of steps, the whole run and its last quarter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from dwindle.report.charts import SOLID, rounded, thin
from dwindle.report.outlook import Logged, Outlook, Prospect
from dwindle.report.words import places

__all__ = ["charts", "colour", "last_quarter", "mark", "span"]

Line: TypeAlias = dict[str, Any]
MOST_POINTS = 240  # per line
_LOGS, _LAW = 7, 0  # colours
_DASHED = 1
_EARLY = 0.2  # of the axis: where losses fall steeply, and which must not set its range
_SHAPES, _COLOURS = 6, 6
_SPIKES = (1.0, 99.0)  # percentiles of logged losses between which the axis must reach


def charts(told: Outlook) -> dict[str, Any]:
    """Return the four charts by name; those of the last quarter draw the same lines."""
    end = max([told.steps] + [int(log.step[-1]) for log in told.logs])
    late = last_quarter(told)
    loss = {
        "unit": "loss",
        "by": "step",
        "lines": [*_losses(told)],
        "places": places(min(c.half for c in told.prospects)),
    }
    rate = {"unit": "learning rate", "by": "step", "lines": [*_rates(told)], "range": _range_of_rates(told)}
    return {
        "loss": loss | {"x": [0, end], "range": _range(told, _EARLY * end, end), "sync": "whole"},
        "rate": rate | {"x": [0, end], "sync": "whole", "low": True},
        "loss-late": {"of": "loss", "x": list(late), "range": _range(told, *late), "sync": "late"},
        "rate-late": {"of": "rate", "x": list(late), "sync": "late", "low": True, "bare": True},
    }


def last_quarter(told: Outlook) -> tuple[int, int]:
    """Return the first and last step of the last quarter of the run asked about."""
    return told.steps - told.steps // 4, told.steps


def colour(place: int) -> int:
    """Return the colour of the prospect at ``place``."""
    return 1 + place % _COLOURS


def mark(place: int) -> int:
    """Return its shape; with the colour it is its own for 36 prospects.

    >>> len({(colour(i), mark(i)) for i in range(36)})
    36
    """
    return 1 + (place + place // _COLOURS) % _SHAPES


def span(
    sure: Sequence[tuple[float, float]], guesses: Sequence[tuple[float, float]], room: float = 0.5
) -> tuple[float, float]:
    """Return what an axis must hold: all that is supported, and of the guesses what is within ``room`` times its length.

    >>> span([(2.0, 3.0), (2.5, 4.0)], [(3.0, 4.5), (1.0, 9.0)])
    (1.0, 5.0)
    >>> span([], [(1.0, 9.0)])
    (1.0, 9.0)
    """
    low, high = (min(a for a, _ in sure or guesses), max(b for _, b in sure or guesses))
    reach = room * (high - low) or 0.05 * abs(high) or 1.0
    least, most = (min([a for a, _ in guesses] + [low]), max([b for _, b in guesses] + [high]))
    return max(least, low - reach), min(most, high + reach)


def _losses(told: Outlook) -> Iterator[Line]:
    for log in told.logs:
        kept = np.asarray(log.fitted, dtype=bool)
        label = log.label if log.name == log.label else f"{log.label} {log.name}"
        if kept.any():
            yield _line(label, log.step[kept], log.loss[kept], 6) | {"colour": _LOGS, "dots": True, "tag": log.label}
        if not kept.all():
            said = {"quiet": True} if kept.any() else {"tag": log.label}
            line = _line(label, log.step[~kept], log.loss[~kept], 6)
            yield line | {"colour": _LOGS, "dots": True, "pale": True} | said
    for log in told.logs:
        if len(log.fitted_step):
            line = _line(f"the law on {log.label}", log.fitted_step, log.fitted_loss, 6)
            yield line | {"colour": _LAW, "thin": True, "quiet": True}
    for i, prospect in enumerate(told.prospects):
        drawn = thin(range(len(prospect.step)), MOST_POINTS)  # as `_line` does
        bounds = {name: _numbers(getattr(prospect, name)[drawn], 6) for name in ("lower", "upper")}
        yield _prospect(prospect, i, _line("", prospect.step, prospect.loss, 6) | bounds)


def _rates(told: Outlook) -> Iterator[Line]:
    for log in told.logs:
        yield _line(log.label, range(len(log.lr)), log.lr, 4) | {"colour": _LOGS, "thin": True, "tag": log.label}
    for i, prospect in enumerate(told.prospects):
        yield _prospect(prospect, i, _line("", range(len(prospect.lr)), prospect.lr, 4))


def _prospect(prospect: Prospect, place: int, line: Line) -> Line:
    name = prospect.label if prospect.name == prospect.label else f"{prospect.label}: {prospect.name}"
    known = {"colour": colour(place), "mark": mark(place), "dash": SOLID if prospect.supported else _DASHED}
    guess = "" if prospect.supported else " (not supported)"
    return line | known | {"label": f"{name}{guess}", "tag": f"{prospect.label}{'' if prospect.supported else ' ?'}"}


def _line(label: str, steps: Any, values: Any, digits: int) -> Line:
    kept = thin(range(len(steps)), MOST_POINTS)
    return {"label": label, "x": [int(steps[i]) for i in kept], "y": _numbers(values[kept], digits), "dash": SOLID}


def _numbers(values: Any, digits: int) -> list[float | None]:
    return [rounded(float(value), digits) if np.isfinite(value) else None for value in values]


def _range(told: Outlook, low: float, high: float) -> tuple[float, float]:
    """Return the axis of losses from step ``low`` to ``high``: of logs without their spikes, the law, forecasts and bands."""
    sure = [pair for log in told.logs for pair in _of_log(log, low, high)]
    sure += [_within(c.step, c.lower, c.upper, low, high) for c in told.prospects if c.supported]
    guesses = [_within(c.step, c.lower, c.upper, low, high) for c in told.prospects if not c.supported]
    if not any(c.supported for c in told.prospects):  # nothing else was asked: the lines at least are seen
        sure += [_within(c.step, c.loss, c.loss, low, high) for c in told.prospects]
    bottom, top = span(sure, guesses)
    pad = 0.05 * (top - bottom) or 0.05 * abs(top) or 1.0
    return float(bottom - pad), float(top + pad)


def _of_log(log: Logged, low: float, high: float) -> Iterator[tuple[float, float]]:
    there = (log.step >= low) & (log.step <= high) & np.isfinite(log.loss)
    if there.any():
        yield tuple(np.percentile(log.loss[there], _SPIKES).tolist())
    there = (log.fitted_step >= low) & (log.fitted_step <= high)
    if there.any():
        yield float(log.fitted_loss[there].min()), float(log.fitted_loss[there].max())


def _within(steps: Any, lower: Any, upper: Any, low: float, high: float) -> tuple[float, float]:
    there = (steps >= low) & (steps <= high)
    there[-1] = True  # a short run has its end at least
    return float(lower[there].min()), float(upper[there].max())


def _range_of_rates(told: Outlook) -> tuple[float, float]:
    sure = [(0.0, float(log.lr.max())) for log in told.logs]
    sure += [(0.0, float(c.lr.max())) for c in told.prospects if c.supported]
    return 0.0, 1.06 * span(sure, [(0.0, float(c.lr.max())) for c in told.prospects if not c.supported])[1]
