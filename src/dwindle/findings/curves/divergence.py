"""Divergence: the loss is no number any more, has exploded, or has never come back from a spike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line, level, noise_of, smooth
from dwindle.findings.finding import Finding, Remedy
from dwindle.logs import Series

__all__ = ["divergence"]

_EXPLODED = 0.5  # of the fall so far: a run that ends so far above its best has lost it
_LOST = 0.2  # the same after a spike at a single place
_BEYOND = 8.0  # times the noise
_SPIKE = 12.0  # times the noise
_SPIKE_SIZE = 0.15  # of the fall: a smaller spike is not worth a word


def divergence(record: Record) -> list[Finding]:
    """Return a divergence, or a note on spikes that the run has recovered from."""
    roles = ("training loss", "validation loss")
    for role in roles:
        series = record.history.get(role)
        if series is not None and len(series) and (found := _not_a_number(record, series, role)):
            return found
    loss = record.loss
    if loss is None or loss.size < 8:
        return []
    return _exploded(record, loss) or _spikes(record, loss)


def _not_a_number(record: Record, series: Series, role: str) -> list[Finding]:
    bad = ~np.isfinite(series.value)
    if not bad.any():
        return []
    first = float(series.step[int(np.argmax(bad))])
    evidence: dict[str, Any] = {
        "first": first,
        "points": int(bad.sum()),
        "column": series.name,
        "lr": _lr(record, first),
    }
    last = bad[-max(1, len(bad) // 50) :].all()
    if not last:
        said = f"The {role} was not finite at {int(bad.sum())} points, first at {record.at(first)}, and came back."
        return [
            Finding("loss-spike", "note", said, evidence, Remedy("skip such batches, or clip gradients."), "measured")
        ]
    return [
        Finding(
            "divergence", "fault", f"The {role} is not finite from {record.at(first)} on.", evidence, _lower(record), "measured",
            series.name,
        )
    ]  # fmt: skip


def _exploded(record: Record, loss: Line) -> list[Finding]:
    width = max(5, loss.size // 20)
    mean = np.convolve(loss.value, np.ones(width) / width, mode="valid")
    start, best, end = float(loss.value[0]), int(np.argmin(mean)), float(mean[-1])
    lowest = float(mean[best])
    fallen, excess = max(start - lowest, 0.1 * abs(start), 0.1 * abs(lowest)), end - lowest
    noise = max(noise_of(loss.value), noise_of(loss.value[-max(width, 9) :]))
    top = int(np.argmax(loss.value))
    if float(loss.value[top]) - start > max(abs(start), _BEYOND * noise) and lowest > start - 0.1 * abs(start):
        if _rattles(loss, start):
            return []  # it is bounded: an oscillation
        return [_never_learned(record, loss, start, top, end)]
    unsure = max(_BEYOND * noise_of(loss.value) / math.sqrt(width), 3.0 * level(loss.value[-max(width, 10) :]).error)
    if excess < max(_LOST * fallen, unsure):
        return []
    where, jump = _largest_jump(Line(loss.step[best:], loss.value[best:]))
    back = float(mean[np.searchsorted(loss.step, where) :].min(initial=np.inf)) - lowest
    sudden = jump >= max(0.7 * excess, _BEYOND * noise) and back >= 0.5 * excess and not _lr_rose(record, where)
    if excess < (_LOST if sudden else _EXPLODED) * fallen:
        return []
    if not sudden and loss is record.validation and end < start + 0.5 * fallen:
        return []  # without a training loss a slow rise may be overfitting
    at = where if sudden else float(loss.step[min(best + width, loss.size - 1)])
    evidence = {
        "first": at, "best": lowest, "best step": float(loss.step[best + width // 2]), "end": end, "excess": excess,
        "noise": noise, "start": start, "lr": _lr(record, at),
    }  # fmt: skip
    how = (
        f"jumped at {record.at(at)} and has not come back"
        if sudden
        else f"has risen from its best since {record.at(at)}"
    )
    said = f"The loss {how}: it ends at {end:.4g}, {excess:.3g} above its best, {lowest:.4g}."
    return [Finding("divergence", "fault", said, evidence, _lower(record), "measured")]


def _rattles(loss: Line, start: float) -> bool:
    """Whether the last half jumps about a level not far from the start: long steps that the loss still bounds."""
    late = loss.value[loss.size // 2 :]
    return bool(np.mean(late) < 1.5 * start and np.std(late) >= 0.1 * np.mean(late))


def _never_learned(record: Record, loss: Line, start: float, top: int, end: float) -> Finding:
    at, highest = float(loss.step[top]), float(loss.value[top])
    evidence = {"first": at, "start": start, "highest": highest, "end": end, "lr": _lr(record, at)}
    said = f"The loss exploded from {start:.4g} to {highest:.4g} at {record.at(at)} and ends at {end:.4g}: nothing was learned."
    return Finding("divergence", "fault", said, evidence, _lower(record), "measured")


def _largest_jump(loss: Line) -> tuple[float, float]:
    """Return the step after which the loss rises most, from a median of three to that of the next three, and how much."""
    if loss.size < 5:
        return float(loss.step[0]), 0.0
    near = smooth(loss.value, 3)
    rises = near[3:] - near[:-3]
    at = int(np.argmax(rises))
    return float(loss.step[at + 1]), float(rises[at])


def _spikes(record: Record, loss: Line) -> list[Finding]:
    """Return a note on single high points after the first twentieth of the run."""
    near, noise = smooth(loss.value, 9), noise_of(loss.value)
    fallen = float(loss.value[0] - near.min())
    above = loss.value - near
    late = np.arange(loss.size) >= max(3, loss.size // 20)
    high = np.flatnonzero(late & (above > _SPIKE * noise) & (above > _SPIKE_SIZE * max(fallen, 0.1 * abs(near.min()))))
    if not len(high):
        return []
    worst = int(high[np.argmax(above[high])])
    evidence = {
        "first": float(loss.step[high[0]]), "points": len(high), "worst": float(loss.value[worst]), "noise": noise,
        "worst step": float(loss.step[worst]),
    }  # fmt: skip
    said = (
        f"The loss spiked to {loss.value[worst]:.4g} at {record.at(loss.step[worst])}, "
        f"{above[worst] / noise if noise else np.inf:.0f} "
        "times its noise, and came back."
    )
    return [
        Finding(
            "loss-spike", "note", said, evidence, Remedy("clip the gradient's norm if it happens again."), "measured"
        )
    ]


def _lr(record: Record, step: float) -> float | None:
    return None if record.lr is None else float(record.lr_at(step))


def _lr_rose(record: Record, step: float) -> bool:
    """Whether the rate jumped up about there: then the rise of the loss is the rate's."""
    if record.lr is None:
        return False
    width = 0.03 * record.length
    before, after = record.lr_at(step - width), record.lr_at(step + width)
    return bool(after > 1.2 * before)


def _lower(record: Record) -> Remedy:
    change = {} if record.given is None else record.diff("peak", f"{record.given.peak / 3:.3g}")
    says = "go back to a checkpoint before that step; use a third of the learning rate, a warm-up, and clip the gradient's norm."
    return Remedy(says, change)
