"""What a fit is made of: runs without what no law describes, the units of a fit, the most likely parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.optimize import least_squares

from dwindle.errors import DataError
from dwindle.laws.course import Course
from dwindle.laws.features import Features, features, warmup
from dwindle.laws.law import Law
from dwindle.laws.runs import Run

__all__ = ["EARLY", "WRONG", "Curve", "Frame", "misfit", "solved", "unit_of", "usable"]

_LENGTHS = 2.4  # units in the longest run
WRONG = 0.0043  # of the range of losses: how wrong a law is along a whole curve
_POINTS = 2000  # of a curve that are fitted: each is looked at from every change of the rate
_EFFECTIVE = 6.0  # points of a curve whose errors have nothing to do with each other
_OUTLIER = 2.0  # standard deviations, from which an error counts linearly
EARLY = 0.05  # of the longest run: what a law does not describe
_FARTHEST = 6.0  # spreads that a parameter may lie from where it is expected
_LARGEST = 1e100  # range of the losses: its square is to be a number
_OF_MEDIAN = 0.287  # the variance of the median of five normal numbers


def unit_of(runs: Sequence[Run]) -> float:
    """Return the steps at the peak in which a fit of these runs measures how far they have travelled."""
    return max(float(run.lr.sum()) / run.peak for run in runs) / _LENGTHS


class Frame:
    """The units that a law is fitted in: of losses, of steps and of peaks."""

    def __init__(self, runs: Sequence[Run], law: Law, unit: float | None = None) -> None:
        self._extra = law.extra
        self.unit = unit_of(runs) if unit is None else unit
        self.reference = float(np.exp(np.mean([np.log(peak) for peak in {run.peak for run in runs}])))
        steps = max(len(run.lr) for run in runs)
        smooth = [_without_spikes(run.loss) for run in runs]
        late = np.concatenate([loss[run.step >= 0.1 * steps] for run, loss in zip(runs, smooth, strict=True)])
        every = np.concatenate(smooth)
        self.level = float(every.min())
        self.scale = float(np.ptp(late if len(late) > 4 else every)) or 1.0
        if not self.scale < _LARGEST:
            raise DataError(_WILD)

    def features(self, course: Course, step: Any) -> Features:
        seen = features(course.lr, step, unit=self.unit, reference=self.reference)
        return self.decayed(seen, course, step)

    def decayed(self, seen: Features, course: Course, step: Any) -> Features:
        """Return what is ``seen`` of the rates of ``course``, with what the law reads of it beside them."""
        return seen if self._extra is None else seen._replace(extra=self._extra(course, seen.at, step, self.unit))

    def nats(self, loss: Any) -> Any:
        return self.level + self.scale * loss

    def own(self, value: Any, kind: str) -> Any:
        return {"level": self.nats(value), "amount": self.scale * value, "pure": value}[kind]


_WILD = "the losses and learning rates lie too far apart for a law: its terms are not finite. Is a column another than it seems?"


class Curve:
    """The points of a run as they are fitted, with the weight of each; of very many the means of neighbours."""

    def __init__(self, run: Run, frame: Frame) -> None:
        run = _thinned(run)
        self.seen = frame.features(run.course, run.step)
        self.loss = (run.loss - frame.level) / frame.scale
        noise, part = run.noise / frame.scale, min(_EFFECTIVE / len(run.step), 1.0)
        self.noise, self.spread = noise, np.hypot(WRONG, noise)
        self.weight = np.sqrt(part) * self.spread / np.hypot(WRONG, noise * np.sqrt(part))


def _thinned(run: Run) -> Run:
    """Return the run with as many neighbouring points merged into their mean as leave it ``_POINTS``; a curve counts as few."""
    each = -(-len(run.step) // _POINTS)
    if each == 1:
        return run
    begins = np.arange(0, len(run.step), each)
    counts = np.diff(begins, append=len(run.step))
    step, loss = (np.add.reduceat(values, begins) / counts for values in (run.step.astype(np.float64), run.loss))
    return Run(run.lr, np.rint(step), loss, run.name, run.share)


def solved(law: Law, data: Sequence[Curve]) -> tuple[Any, Any]:
    """Return the most likely values of the parameters and the covariance of them (Laplace's approximation)."""
    positive = np.array([p.positive for p in law.parameters])
    expected = np.array([np.log(p.expected) if p.positive else p.expected for p in law.parameters])
    spread = np.array([p.spread for p in law.parameters])

    names = [p.name for p in law.parameters]
    one, other = (names.index(name) for name in (law.tie.one, law.tie.other)) if law.tie else (0, 0)

    def values(found: Any) -> Any:
        return np.where(positive, np.exp(np.where(positive, found, 0.0)), found)

    def errors(found: Any) -> Any:
        now = values(found)
        parts = [curve.weight * _huber((law.loss(now, curve.seen) - curve.loss) / curve.spread) for curve in data]
        tie = [(math.log(now[one] / now[other]) - law.tie.expected) / law.tie.spread] if law.tie else []
        return np.concatenate([*parts, (found - expected) / spread, tie])

    if not np.isfinite(errors(expected)).all():
        raise DataError(_WILD)
    reach = _FARTHEST * spread
    solution = least_squares(
        errors, expected, bounds=(expected - reach, expected + reach), x_scale=np.minimum(spread, 1.0),
        ftol=1e-10, xtol=1e-10, gtol=1e-10, max_nfev=200,
    )  # fmt: skip
    found = values(solution.x)
    if not np.isfinite(solution.jac).all():
        raise DataError(_WILD)
    inverse = np.linalg.pinv(solution.jac.T @ solution.jac)
    to_values = np.where(positive, found, 1.0)
    return found, inverse * to_values[:, None] * to_values[None, :]


def misfit(law: Law, values: Any, data: Sequence[Curve]) -> float:
    """Return how many times further off the runs the law is than it should be, at least 1; their noise and spikes apart."""
    squares = []
    for curve in data:
        smooth = _without_spikes(law.loss(values, curve.seen) - curve.loss)
        squares.append(float(np.mean(smooth**2)) - curve.noise**2 * _OF_MEDIAN)
    return max(1.0, math.sqrt(max(float(np.mean(squares)), 0.0)) / WRONG)


def _huber(error: Any) -> Any:
    """Return what squared is e² up to the limit c, and 2c|e| - c² beyond."""
    size = np.abs(error)
    return np.sign(error) * np.where(
        size <= _OUTLIER, size, np.sqrt(np.maximum(2.0 * _OUTLIER * size - _OUTLIER**2, 0.0))
    )


def usable(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Return the runs without what no law describes, and what was left out."""
    if not runs:
        raise DataError("there is no run to fit; give at least one Run(lr, step, loss).")
    names = [run.name for run in runs]
    longest = max(len(run.lr) for run in runs)
    kept, notes = [], []
    for i, run in enumerate(runs):
        name = run.name if names.count(run.name) == 1 else f"{run.name} {i + 1}"
        notes += [f"{name}: {note}" for note in run.notes]
        start = max(warmup(run.lr), int(EARLY * longest))
        later = run.step >= start
        if later.sum() < 4:
            notes.append(f"{name}: fewer than 4 points after step {start}, where the law begins; the run was left out")
            continue
        if not later.all():
            notes.append(
                f"{name}: {int((~later).sum())} points before step {start} are warm-up or too early, and left out"
            )
        kept.append(Run(run.lr, run.step[later], run.loss[later], name, run.share))
    if not kept:
        raise DataError("no run has 4 points after its warm-up; " + "; ".join(notes))
    _refuse_strangers(kept)
    return kept, notes


def _refuse_strangers(runs: Sequence[Run]) -> None:
    """Raise if the losses of one run are of another size altogether: another unit, another model or other data."""
    if len(runs) < 2:
        return
    for run in runs:
        others = np.concatenate([other.loss for other in runs if other is not run])
        low, high = others.min(), others.max()
        reach = max(high - low, 0.05 * abs(low))
        if run.loss.min() > high + reach or run.loss.max() < low - reach:
            raise DataError(
                f"{run.name}: its losses, {run.loss.min():.4g} to {run.loss.max():.4g}, are nowhere near those of the other "
                f"runs, {low:.4g} to {high:.4g}. Are they of the same model, data and unit? Fit it alone."
            )


def _without_spikes(loss: Any) -> Any:
    """Return the median of each five neighbouring points."""
    return np.median(sliding_window_view(np.pad(loss, 2, mode="reflect"), 5), axis=1)
