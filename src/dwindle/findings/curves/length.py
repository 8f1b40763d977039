"""The length of the schedule against that of the run: over long before the end, or cut off while the rate was still high."""

from __future__ import annotations

import math

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.rates import shape_of, thinned_shape
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.standing import is_flat
from dwindle.findings.curves.trends import Line

__all__ = ["length"]

_DEAD = 0.5  # of the run: how much a fall without an end may leave at a rate that teaches nothing
_STOOD = 0.03  # of what was learned before: a fall between the halves of the rest that is none
_REST = 0.2  # of the run: how much may follow the end of a decay
_LEFT = 0.2  # of the fall: how much may be missing at the end of the run
_ZERO = 0.015  # of the peak: what teaches nothing
_WHOLE = 0.06  # how near to a whole number a ratio is taken for one


def length(record: Record) -> list[Finding]:
    """Return schedule-short or schedule-long, exactly with plan and horizon, else by the shape of the rates."""
    lr, parts = record.logged_lr, record.pieces
    if lr is None or lr.size < 5 or not parts or record.length <= 0.0:
        return []
    peak, last = float(lr.value.max()), parts[-1]
    if last.kind == "hold" and len(parts) > 1 and parts[-2].kind == "fall":
        return _short(record, lr, peak, float(lr.step[last.first])) or _died_away(record, lr, peak)
    if last.kind == "hold" and len(parts) > 1 and parts[-2].kind == "cut":
        return _died_away(record, lr, peak, _ZERO)
    if last.kind == "fall":
        return _ended_early(record, lr, peak, last.first) or _long(record, lr, last.first)
    return []


def _planned(record: Record) -> float | None:
    return None if record.plan is None or record.horizon is None else float(record.horizon.steps)


def _short(record: Record, lr: Line, peak: float, ended: float) -> list[Finding]:
    """Return the finding if a smooth fall ended long before the run, at a rate that brings nothing more."""
    rest, bottom = 1.0 - record.share(ended), float(lr.value[-1]) / peak
    if rest < _REST or bottom > 0.5:
        return []
    loss = record.loss
    if bottom > _ZERO and (loss is None or is_flat(record, loss, ended, record.end) is None):
        return []
    return [_over(record, lr, peak, ended)]


def _over(record: Record, lr: Line, peak: float, ended: float) -> Finding:
    """Return the finding of a rate that had come to its end at the step ``ended``."""
    rest, bottom = 1.0 - record.share(ended), float(lr.value[-1]) / peak
    planned = _planned(record)
    as_planned = planned is not None and record.end <= 1.02 * planned and _follows(record, lr)
    ratio = record.length / (ended - record.begin)
    evidence = {
        "ended": ended, "run": record.end, "share after": rest, "lr at end": float(lr.value[-1]), "lr over peak": bottom,
        "ratio": ratio, "as planned": as_planned, "planned steps": planned,
    }  # fmt: skip
    said = (
        f"The learning rate reached its end, {lr.value[-1]:.3g}, at {record.at(ended)} of {record.end:,.0f}: the last "
        f"{100 * rest:.0f} % of the run had none to speak of."
    )
    severity = "fault" if bottom <= _ZERO and rest >= 0.4 else "warning"
    return Finding("schedule-short", severity, said, evidence, _stretch(ratio))


def _ended_early(record: Record, lr: Line, peak: float, first: int) -> list[Finding]:
    """Return schedule-short if the rate fell to next to nothing by a shape that has an end, and crept on."""
    above = np.flatnonzero(lr.value > _ZERO * peak * 0.1)
    at = int(above[-1]) + 1
    if first + 4 < at < lr.size and shape_of(_part(lr, first, at)).name in ("linear", "cosine"):
        return _short(record, lr, peak, float(lr.step[at]))
    return _died_away(record, lr, peak)


def _died_away(record: Record, lr: Line, peak: float, least: float = 0.1 * _ZERO) -> list[Finding]:
    """Return schedule-short if cuts, or a fall without an end, came to nothing by half of the run, and the loss stood since."""
    above = np.flatnonzero(lr.value > _ZERO * peak)
    at = float(lr.step[min(above[-1] + 1, lr.size - 1)])
    loss = record.loss
    if record.share(at) > 1.0 - _DEAD or float(lr.value[-1]) > least * peak or loss is None:
        return []
    rest = loss.between(at, record.end)
    if rest.size < 4:
        return []
    learned = float(np.median(loss.value[:2]) - np.median(rest.value))
    since = float(np.mean(rest.value[: rest.size // 2]) - np.mean(rest.value[rest.size // 2 :]))
    if abs(since) <= _STOOD * learned or is_flat(record, loss, at, record.end) is not None:
        return [_over(record, lr, peak, at)]
    return []


def _part(lr: Line, first: int, last: int) -> Line:
    return Line(lr.step[first : last + 1], lr.value[first : last + 1])


def _long(record: Record, lr: Line, first: int) -> list[Finding]:
    """Return the finding if the run ended in the middle of a fall that has an end; exponential and power falls have none."""
    fallen = _part(lr, first, lr.size - 1)
    shape = thinned_shape(fallen)
    if not shape.name and fallen.size > 6:  # the last rate held may stand a part of an interval before the fall
        shape = thinned_shape(_part(lr, first + 1, lr.size - 1))
    planned = _planned(record)
    if planned is not None and record.plan is not None and record.end < 0.95 * planned and _follows(record, lr):
        ends = np.asarray(record.plan.lr(np.array([int(record.end), int(planned)])), dtype=np.float64)
        peak = float(np.max(record.plan.lr(np.linspace(0, planned, 200).astype(np.int64))))
        left, whole = float(ends[0] - ends[1]) / peak, planned
    elif shape.name in ("linear", "cosine") and math.isfinite(shape.length):
        left, whole = shape.left, float(fallen.step[0]) + shape.length
    elif _quickens(fallen):  # of no known form, but what quickens comes to an end
        left, whole = float(fallen.value[-1]) / float(lr.value.max()), math.nan
    else:
        return []
    if left <= _LEFT:
        return []
    known = math.isfinite(whole)
    ratio = record.length / max(whole - record.begin, 1e-9) if known else math.nan
    evidence = {
        "run": record.end, "schedule": whole if known else None, "left": left, "ratio": ratio if known else None,
        "lr at end": float(lr.value[-1]), "peak": float(lr.value.max()), "shape": shape.name, "planned steps": planned,
    }  # fmt: skip
    said = f"The run ended at {record.at(record.end)} with {100 * left:.0f} % of the " + (
        f"{shape.name or 'planned'} decay still ahead: it was made for about {whole:,.0f} {record.word}s."
        if known
        else "decay still ahead, which was just gathering speed."
    )
    return [Finding("schedule-long", "warning", said, evidence, _stretch(ratio))]


def _quickens(fallen: Line) -> bool:
    """Whether the rate falls the faster the further it is: by the mean slopes of its thirds."""
    if fallen.size < 9:
        return False
    at = [0, fallen.size // 3, 2 * fallen.size // 3, fallen.size - 1]
    slopes = -np.diff(fallen.value[at]) / np.diff(fallen.step[at])
    return bool(0.0 < slopes[0] < 0.97 * slopes[1] < 0.97**2 * slopes[2])


def _follows(record: Record, lr: Line) -> bool:
    """Whether the logged rates are those of the plan, a step earlier or later."""
    if record.plan is None:
        return False
    steps = lr.step.astype(np.int64)
    peak = float(lr.value.max())
    off = [np.abs(np.asarray(record.plan.lr(np.maximum(steps + by, 0))) - lr.value) for by in (-1, 0)]
    return bool(min(float(np.percentile(each, 90)) for each in off) <= 0.01 * peak)


def _stretch(ratio: float) -> Remedy:
    """Return the remedy: the schedule as long as the run; a whole ratio hints at what the steps were counted in."""
    times = max(ratio, 1.0 / ratio) if ratio > 0.0 else 1.0
    hint = ""
    if times >= 1.5 and abs(times / round(times) - 1.0) <= _WHOLE:
        hint = f" The lengths differ by a factor of about {round(times)}: "
        hint += (
            "was the schedule stepped once per process, per micro-batch, or per batch where epochs were meant?"
            if ratio > 1.0
            else "was it made for the steps of all processes, for micro-batches, or in steps while it is stepped once an epoch?"
        )
    return Remedy(f"make the schedule as long as the run.{hint}")
