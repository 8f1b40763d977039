"""Divergence: the loss is no number any more, has exploded, or has never come back from a spike."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line, level, noise_of, smooth
from dwindle.logs import Series
from dwindle.logs.filtered import FILTER, filtered_tail

__all__ = ["divergence"]

_EXPLODED = 0.5  # of the fall so far: a run that ends so far above its best has lost it
_LOST = 0.2  # the same after a spike at a single place
_AWAY = 2.0  # times the first loss, or the fall, above the first: a run that does not come back from there has lost it
_FAR_AWAY = 30.0  # the same of a loss that rattles: its level is high where it bounds steps that are too long
_FEW = 10  # points: of fewer only an explosion is told from noise
_SETTLED = 0.1  # of the run: when a loss that steps are too long for has come to its level
_RATTLES = 0.15  # of the height above the best: a late loss that swings by more rattles
_NO_GRADIENT = 3  # points, the last: a scaler of 16-bit losses finds single ones that are not finite
_BEYOND = 8.0  # times the noise
_SPIKE = 12.0  # times the noise
_SEE = "see whether the weights are numbers: a loss with a margin, such as a hinge or triplet loss, may come to 0 as suddenly."
_SPIKE_SIZE = 0.15  # of the fall: a smaller spike is not worth a word


def divergence(record: Record) -> list[Finding]:
    """Return a divergence, or a note on spikes that the run has recovered from; and one on a validation loss without numbers."""
    train, held = record.history.get("training loss"), record.history.get("validation loss")
    if train and held and record.training is not None and record.validation is None:
        return [*_of_losses(record, train, None), _without_numbers(held, np.isfinite(train.value))]
    return _of_losses(record, train, held)


def _of_losses(record: Record, train: Series | None, held: Series | None) -> list[Finding]:
    if train and (found := _not_a_number(record, *_beside(train, held), "training loss")):
        return found
    if held and (found := _not_a_number(record, held, np.zeros(0), "validation loss")):
        return found
    found = _filtered(record)
    if not found or found[0].severity == "note":
        found = _no_gradient(record) or found
    if found:
        return found
    loss = record.loss
    if loss is None or loss.size < 5:
        return []
    return _exploded(record, loss) or _spikes(record, loss)


def _without_numbers(held: Series, good: Any) -> Finding:
    """Return the note on a validation loss that is finite nowhere, beside a training loss that is where ``good`` [n]."""
    where = "" if good.all() else f" at {int(good.sum())} of {len(good)}"
    said = f"The validation loss is not finite at any point, and the training loss is{where}."
    remedy = Remedy("see how the validation loss is computed and logged.")
    return Finding(
        "divergence", "note", said, {"points": len(held), "column": held.name}, remedy, "measured", held.name
    )


def _beside(train: Series, held: Series | None) -> tuple[Series, Any]:
    """Return the training loss without the empty cells of rows of validation, and the steps [n] at which that is finite."""
    steps = np.zeros(0) if held is None else held.step[np.isfinite(held.value)]
    lost = np.isnan(train.value) & np.isin(train.step, steps)
    among = not (lost[1:] & lost[:-1] & (np.diff(train.step) != 0.0)).any()  # those of training, none after another
    if lost.all() or not among or not np.isin(steps, train.step[lost]).all():
        return train, steps
    return Series(train.name, train.step[~lost], train.value[~lost]), steps


def _not_a_number(record: Record, series: Series, alive: Any, role: str) -> list[Finding]:
    """Return what is said of a loss that is not finite somewhere; ``alive`` are the steps of validations that are."""
    bad = ~np.isfinite(series.value)
    if not bad.any() or _is_sparse(series.value):
        return []
    points, tail = int(bad.sum()), _points_after_the_last(~bad)
    stopped = points == tail < len(bad) and series.step[-1] > series.step[-tail - 1]  # at its first, as scripts do
    last = tail >= max(1, len(bad) // 50) or stopped
    if tail and (series.step[-tail:] == series.step[-1]).all() and (alive >= series.step[-1]).any():
        last = False  # the last row is one of validation
    first = float(series.step[-tail if last else np.argmax(bad)])
    if not last:
        evidence = {"first": first, "points": points, "column": series.name, "lr": _lr(record, first)}
        said = f"The {role} was not finite at {points} points, first at {record.at(first)}{'' if tail else ', and came back'}."
        return [
            Finding("loss-spike", "note", said, evidence, Remedy("skip such batches, or clip gradients."), "measured")
        ]
    said = f"The {role} is not finite from {record.at(first)} on."
    return [_not_finite(record, said, first, points, series)]


def _points_after_the_last(good: Any) -> int:
    """Return how many points [n] follow the last good one; all of them where none is."""
    return int(np.argmax(np.append(good[::-1], True)))


def _filtered(record: Record) -> list[Finding]:
    """Return the finding of a training loss that is 0 to the end, and was nowhere near it before; a note where few tell so."""
    series = record.history.get("training loss")
    if series is None:
        return []
    sure = filtered_tail(series.value)
    if not (points := sure or filtered_tail(series.value, few=True)):
        return []
    first, before = float(series.step[-points]), float(series.value[-points - 1])
    said = f"The training loss is exactly 0 from {record.at(first)} on, and {before:.4g} before: {FILTER}."
    found = _not_finite(record, said, first, points, series)
    return [found if sure else replace(found, severity="note", remedy=Remedy(_SEE))]


def _no_gradient(record: Record) -> list[Finding]:
    """Return the finding of a gradient that is not finite to the end, from where on the loss, if there is one, does not move."""
    norm, loss = record.history.get("gradient norm"), record.history.get("training loss")
    if norm is None or _is_sparse(norm.value):
        return []
    points = _points_after_the_last(np.isfinite(norm.value))
    if points < _NO_GRADIENT:
        return []
    first = float(norm.step[-points])
    later = np.zeros(0) if loss is None else loss.value[-points:][loss.step[-points:] >= first]
    later = later[np.isfinite(later)]
    if len(later) and np.ptp(later) > 0.0:
        return []  # a loss that moves has weights that are numbers
    said = f"The gradient norm is not finite from {record.at(first)} on."
    if len(later) and not later.any():
        said = f"{said[:-1]}, and the training loss is exactly 0: {FILTER}."
    return [_not_finite(record, said, first, points, norm)]


def _not_finite(record: Record, said: str, first: float, points: int, series: Series) -> Finding:
    evidence = {"first": first, "points": points, "column": series.name, "lr": _lr(record, first)}
    return Finding("divergence", "fault", said, evidence, _lower(record), "measured", series.name)


def _is_sparse(value: Any) -> bool:
    """Whether nan stands for an empty cell: numbers come regularly in a column that says nan in between."""
    there = np.flatnonzero(~np.isnan(value))
    if len(there) < 2 or 2 * len(there) > len(value) + int(
        there[-1] == len(value) - 1
    ):  # one more where it ends with one
        return False
    gaps = np.diff(there, prepend=-1, append=len(value))
    return bool(gaps.max() <= 2.0 * np.median(gaps))


def _exploded(record: Record, loss: Line) -> list[Finding]:
    """Return the finding if the loss ends far above its first value, or its best, and comes near it no more.

    Heights are asinh((loss - best)/fall): as they are within the fall, orders of magnitude beyond it, for the mean of a loss that
    grows by a factor a step is that of its last points, and its error as large. To come near is to do so at one late point in
    ten, as a loss does that rattles between high and low.
    """
    width = max(min(5, loss.size // 3), loss.size // 20)
    start, lowest = float(loss.value[0]), float(_running(loss.value, width).min())
    fallen = max(start - lowest, 0.1 * abs(start), 0.1 * abs(lowest), 1e-300)
    high = Line(loss.step, np.arcsinh((loss.value - lowest) / fallen))
    late = slice(loss.size - max(width, loss.size // 10), loss.size)
    rattles = bool(np.std(loss.value[late]) >= _RATTLES * (np.mean(loss.value[late]) - lowest))
    near = float(np.quantile(high.value[late], 0.1))
    noise = max(noise_of(high.value), noise_of(high.value[-max(width, 9) :]))
    settled = _settled(record) if rattles else 0.0
    always = rattles and settled <= _SETTLED and lowest > start - 0.1 * abs(start)  # it has not learned and lost it
    above = start + (_FAR_AWAY if always else _AWAY) * max(abs(start), fallen)
    if near > max(float(np.arcsinh((above - lowest) / fallen)), float(high.value[0]) + _BEYOND * noise):
        return [_away(record, loss, above, lowest)]
    if loss.size < _FEW:
        return []  # what rises within so few may be noise
    mean = _running(high.value, width)
    since = min(int(np.searchsorted(loss.step, record.begin + settled * record.length)), mean.size - 1)
    best = since + int(np.argmin(mean[since:]))
    excess = float(mean[-1] - mean[best])
    unsure = max(_BEYOND * noise_of(high.value) / math.sqrt(width), 3.0 * level(high.value[-max(width, 10) :]).error)
    if excess < max(_LOST, unsure) or near - mean[best] < 0.5 * excess:
        return []
    where, jump = _largest_jump(Line(high.step[best:], high.value[best:]))
    back = float(mean[np.searchsorted(loss.step, where) :].min(initial=np.inf) - mean[best])
    sudden = jump >= max(0.7 * excess, _BEYOND * noise) and back >= 0.5 * excess and not _lr_rose(record, where)
    if not sudden and excess < _EXPLODED:
        return []
    least, end = (float(loss.value[at : at + width].mean()) for at in (best, loss.size - width))
    if not sudden and loss is record.validation and end < start + 0.5 * fallen:
        return []  # without a training loss a slow rise may be overfitting
    at = where if sudden else float(loss.step[min(best + width, loss.size - 1)])
    evidence = {
        "first": at, "best": least, "best step": float(loss.step[best + width // 2]), "end": end, "excess": end - least,
        "noise": noise_of(loss.value), "start": start, "lr": _lr(record, at),
    }  # fmt: skip
    how = (
        f"jumped at {record.at(at)} and has not come back"
        if sudden
        else f"has risen from its best since {record.at(at)}"
    )
    said = f"The loss {how}: it ends at {end:.4g}, {end - least:.3g} above its best, {least:.4g}."
    return [Finding("divergence", "fault", said, evidence, _lower(record), "measured")]


def _running(value: Any, width: int) -> Any:
    """Return the means of ``width`` neighbours."""
    return np.convolve(value, np.ones(width) / width, mode="valid")


def _settled(record: Record) -> float:
    """Return the share of the run after which a loss that rattles has had the time to: a tenth, or its warm-up if longer."""
    lr = record.lr
    if lr is None or not record.pieces or record.pieces[-1].kind != "hold" or lr.value[-1] < 0.9 * lr.value.max():
        return _SETTLED
    held = record.share(float(lr.step[record.pieces[-1].first]))
    return max(held, _SETTLED) if held <= 0.5 else _SETTLED


def _away(record: Record, loss: Line, above: float, lowest: float) -> Finding:
    """Return the finding of a loss that ends where it is higher than ``above``."""
    start, highest, end = float(loss.value[0]), float(loss.value.max()), float(loss.value[-1])
    at = float(loss.step[int(np.argmax(loss.value > above))])
    evidence = {"first": at, "start": start, "best": lowest, "highest": highest, "end": end, "lr": _lr(record, at)}
    said = f"The loss exploded from {start:.4g} to {highest:.4g} since {record.at(at)} and ends at {end:.4g}: nothing is learned."
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
