"""Fitting a law to runs: the most likely parameters, and how uncertain they leave a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from dwindle.arrays import float64
from dwindle.errors import DataError, InvalidValueError, has_members, known, shown
from dwindle.laws.annealing import ANNEALING
from dwindle.laws.convex import CONVEX
from dwindle.laws.course import Course, course
from dwindle.laws.decay_aware import DECAY_AWARE
from dwindle.laws.features import Features, warmup
from dwindle.laws.forecast import SAME, Forecast, Known, other_decay, reasons
from dwindle.laws.functional_scaling import FUNCTIONAL_SCALING
from dwindle.laws.law import Law, Stretches
from dwindle.laws.likeness import alike, expecting
from dwindle.laws.multi_power import MULTI_POWER
from dwindle.laws.noise_floor import NOISE_FLOOR
from dwindle.laws.power import POWER
from dwindle.laws.runs import Run
from dwindle.laws.solve import EARLY, WRONG, Curve, Frame, misfit, solved, unit_of, usable
from dwindle.units import Horizon

__all__ = ["LAWS", "Fitted", "as_fitted", "fit"]

LAWS: dict[str, Law] = {
    law.name: law for law in (NOISE_FLOOR, DECAY_AWARE, MULTI_POWER, FUNCTIONAL_SCALING, ANNEALING, CONVEX, POWER)
}
_NINETY = 1.645  # standard deviations
_OF_PARAMETERS, _OF_LAW = 0.6, 1.15  # times what the fit says, so that intervals hold in benchmarks/laws.py
_AT_ONCE = 4096  # points, each of which is looked at from every change of the rate
_UNSUPPORTED = 2.0  # times as wide
_ALONE = 2.0  # times as wide: of one schedule, which tells progress and noise apart badly
_LEFT_OUT = 3  # runs at most that are left out in turn, to see how well the others foretell them
_BADLY = 2.0  # misfits: from which it is said
_APART = 1.5  # times: how far the least and the most decay of the runs must be apart


@dataclass(frozen=True, eq=False)
class Fitted:
    """A law with the parameters that some runs have given it.

    ``runs`` are as they were used, ``notes`` say what was left out of them.
    """

    law: Law
    runs: tuple[Run, ...]
    notes: tuple[str, ...]
    _frame: Frame
    _values: Any
    _covariance: Any
    _misfit: float
    _unit: float | None

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters of the law by name, where losses are in the runs' own unit."""
        return {
            p.name: float(self._frame.own(v, p.kind)) for p, v in zip(self.law.parameters, self._values, strict=True)
        }

    @property
    def error(self) -> dict[str, float]:
        """The mean absolute error of each run, by its name."""
        return {run.name: float(np.abs(self.loss(run.course, run.step) - run.loss).mean()) for run in self.runs}

    def loss(self, lr: Any, at: Any) -> Any:
        """Return the loss [n] under the learning rates ``lr`` [T], or a `Course`, after ``at`` [n] steps, without more."""
        given, frame = _course(lr), self._frame
        steps = _steps(at, len(given.lr))
        parts = np.split(steps, np.arange(_AT_ONCE, len(steps), _AT_ONCE))
        return frame.nats(np.concatenate([self.law.loss(self._values, frame.features(given, part)) for part in parts]))

    def ends(self, lr: Any, shares: Sequence[Any]) -> Any:
        """Return the last loss under the rates ``lr`` [T] with each of the ``shares`` [T] that decay may take."""
        last = np.array([len(lr)])
        seen, frame = self._frame.features(Course(lr, shares[0]), last), self._frame
        told = [self.law.loss(self._values, frame.decayed(seen, Course(lr, share), last))[0] for share in shares]
        return frame.nats(np.array(told))

    def predict(self, lr: Any, horizon: Horizon | int | None = None, *, share: Any = None, at: Any = None) -> Forecast:
        """Return the loss under ``lr``, rates [T] or a Plan over ``horizon``, after ``at`` steps, some 200 unless given.

        A law that reads decay takes it from the plan, or from the ``share`` [T] beside the rates; see `Run`.
        ``lower`` and ``upper`` hold a logged loss in nine of ten cases, as far as the runs that this was calibrated on tell;
        where the question is outside what the fitted runs can answer, ``supported`` is False and ``why`` says so.

        >>> steps = np.arange(1, 41) * 250
        >>> run = Run(lr=np.full(10_000, 1e-3), step=steps, loss=2.0 + (steps / 1000.0) ** -0.5)
        >>> forecast = fit([run]).predict(np.full(20_000, 1e-3), at=[20_000])
        >>> bool(forecast.lower[0] < 2.0 + 20**-0.5 < forecast.upper[0]), forecast.supported
        (True, True)
        """
        found = course(lr, horizon, share)
        points = _spread(found.lr) if at is None else _steps(at, len(found.lr))
        loss, slope = self.sensitivity(found, points)
        why = reasons(found, int(points.max()), self.known)
        half = self.half_width(slope, far=self._far(points)) * (_UNSUPPORTED if why else 1.0)
        said = "; ".join(why) or "within what the fitted runs have seen"
        return Forecast(points, loss, loss - half, loss + half, not why, said)

    @cached_property
    def known(self) -> Known:
        """What the fitted runs have seen."""
        return Known.of(self.runs, self.begins, decays=self.law.decays, alone=self._alone > 1.0)

    @property
    def begins(self) -> int:
        """The step from which the law describes a run; what was logged before was left out."""
        return int(EARLY * max(len(run.lr) for run in self.runs))

    @property
    def unit(self) -> float:
        """The steps at the peak in which the law measures how far a run has travelled."""
        return self._frame.unit

    def sensitivity(self, lr: Any, at: Any) -> tuple[Any, Any]:
        """Return the loss [n] as `loss` does, and its slope [n, k] by the k parameters as fitted."""
        seen, frame = self._frame.features(_course(lr), np.asarray(at)), self._frame
        slope = frame.scale * _slope(self.law, self._values, seen)
        return frame.nats(self.law.loss(self._values, seen)), slope

    def half_width(self, slope: Any, curves: int = 1, far: Any = 1.0) -> Any:
        """Return half the 90 % interval [n] of losses, or of differences, of these ``slope`` [n, k] by the parameters.

        The parameters' uncertainty, the law's own error on each of as many ``curves``, ``far`` [n] times as large after so many
        lengths of the longest fitted run, and for one curve the noise of its log. The first two are as much larger as the law
        misses the fitted runs by more than it should; doubled if these have one schedule (their warm-ups, which the law does not
        read, may differ); and as much larger as it takes to hold 90 % of the points of each run that is left out of the fit.
        """
        return self._half_width(slope, curves, far, self._left_out)

    def _half_width(self, slope: Any, curves: int, far: Any, wider: float) -> Any:
        parameters = _OF_PARAMETERS**2 * np.einsum("...i,ij,...j->...", slope, self._covariance, slope)
        noise = self.known.noise if curves == 1 else 0.0
        own = curves * (_OF_LAW * self._frame.scale * WRONG * far) ** 2
        return _NINETY * np.sqrt((parameters + own) * (self._misfit * self._alone * wider) ** 2 + noise**2)

    def _far(self, step: Any) -> Any:
        return np.maximum(step / self.known.longest, 1.0)

    @cached_property
    def _alone(self) -> float:
        """2 if the runs have one schedule, or, for a law that reads decay, none of their λ has two; else 1."""
        for one, other in combinations(self.runs, 2):
            alike = not (self.law.decays and _apart([run.pace or 0.0 for run in (one, other)]))
            if alike and _other_schedule(one, other, self.begins):
                return 1.0
        return _ALONE

    @cached_property
    def _left_out(self) -> float:
        """How many times as wide intervals must be to hold 90 % of the points of each run that is left out, at least 1.

        Beside what the law misses the fitted runs by: a run that is apart from the others shows in both, and counts once.
        """
        missed = [1.0]
        for left in self.runs[:: -(-len(self.runs) // _LEFT_OUT)] if len(self.runs) > 1 else ():
            others = _most_likely([run for run in self.runs if run is not left], self.law, self._unit)
            at = left.step >= max(warmup(left.lr), others.begins)
            if not at.any() or (self.law.decays and other_decay(left.course, others.known)):
                continue
            loss, slope = others.sensitivity(left.course, left.step[at])
            half = others._half_width(slope, 1, others._far(left.step[at]), 1.0)
            half *= _UNSUPPORTED if reasons(left.course, int(left.step[-1]), others.known) else 1.0
            missed.append(float(np.quantile(np.abs(left.loss[at] - loss) / half, 0.9)) * others._misfit / self._misfit)
        return max(missed)

    def difference(self, one: Any, other: Any) -> tuple[float, float]:
        """Return how much lower the last loss is under ``one``, rates [T] or a `Course`, than under ``other``, ± for 90 %.

        What the two have in common does not count: the parameters' uncertainty is that of the difference. The law's own error
        counts for each of them.
        """
        given = [_course(one), _course(other)]
        (first, by_first), (second, by_second) = (self.sensitivity(each, np.array([len(each.lr)])) for each in given)
        gain = float(second[0] - first[0])
        same = np.array_equal(given[0].lr, given[1].lr) and (
            not self.law.decays or np.array_equal(*(c.share for c in given))
        )
        far = float(self._far(max(len(each.lr) for each in given)))
        return gain, float(self.half_width(by_first[0] - by_second[0], 0 if same else 2, far))

    def end(self, peak: float, stretches: Stretches) -> tuple[float, Any]:
        """Return the last loss of a schedule of `Stretches` below ``peak``, and its gradient [k] by their rates [k]."""
        if self.law.end is None:
            raise InvalidValueError(f"{self.law.name} has no gradient to optimise by; fit 'noise-floor'.")
        loss, slope = self.law.end(self._values, peak / self._frame.reference, stretches)
        return float(self._frame.nats(loss)), self._frame.scale * slope


def fit(runs: Any, law: str | Law = "auto", *, like: Any = ()) -> Fitted:
    """Fit a law to one or more runs: Σ of Huber's errors over the points, plus Σ ((parameter - expected)/spread)² over the law's.

    ``runs``: a `Run` or several; a log, that is anything with arrays ``step``, ``lr`` and ``loss``, is taken by `Run.logged`.
    ``law``: a name of `LAWS`, or "auto": "noise-floor", or "decay-aware" where it is known of every run what decay took and
    that was not about the same in all. A curve counts as a few points, however many it has, since its errors hang together
    (beyond 2,000 the means of neighbours are fitted); its noise is estimated from it. What a law does not describe, the
    warm-up and the first 5 % of the longest run, is left out, and so said. Runs of several peaks are fitted together; only
    "noise-floor" and "decay-aware" know what a peak does.

    ``like``: runs of a smaller model of the same kind, peak and decay, or several such groups. The exponents are then expected
    where those have them. It pays for a single run of the larger model, most for a kind that the usual expectations do not fit;
    where two or more runs are fitted it changes little.

    Raises DataError if there is no run, if one of them has nothing to do with the others, or for "decay-aware" if all decay about
    alike: it then finds some strength that fits, and forecasts at another λ are worse than without it. Else UnknownNameError.

    >>> steps = np.arange(1, 41) * 250
    >>> run = Run(lr=np.full(10_000, 1e-3), step=steps, loss=2.0 + (steps / 1000.0) ** -0.5)
    >>> fitted = fit(run)
    >>> max(fitted.error.values()) < 0.01
    True
    """
    given = [runs] if hasattr(runs, "step") else _listed(runs)
    kept, notes = usable([_run(each) for each in given])
    chosen = _chosen(law, kept)
    if chosen.decays:
        _refuse_alike(kept)
    groups, unit = _groups(like), None
    if groups:
        if chosen is not NOISE_FLOOR:
            raise InvalidValueError(
                f"like goes with the law noise-floor; {chosen.name} takes no expectations from runs."
            )
        unit = unit_of(alike(kept, groups))
        chosen = expecting(chosen, groups, unit)
        notes.append(_expects(groups))
    fitted = _most_likely(kept, chosen, unit)
    if (missed := fitted._misfit) > _BADLY:
        notes.append(
            f"{chosen.name} misses these runs by {missed:.1f} times what it misses the curves it was made for; its intervals are "
            "as much wider"
        )
    if (
        chosen.decays
        and fitted._alone > 1.0
        and any(_other_schedule(*pair, fitted.begins) for pair in combinations(kept, 2))
    ):
        notes.append(
            "schedule and weight decay change together in these runs, and what either does is told apart badly: intervals are "
            "twice as wide; add a run that changes only one of them"
        )
    return replace(fitted, notes=tuple(notes))


def _most_likely(runs: Sequence[Run], law: Law, unit: float | None) -> Fitted:
    frame = Frame(runs, law, unit)
    data = [Curve(run, frame) for run in runs]
    values, covariance = solved(law, data)
    return Fitted(law, tuple(runs), (), frame, values, covariance, misfit(law, values, data), unit)


def as_fitted(value: Any) -> Fitted:
    """Return ``value`` if it is a law that was fitted; else raise."""
    if not isinstance(value, Fitted):
        raise InvalidValueError(f"a law must have been fitted first, by fit(runs); got {shown(value)}.")
    return value


def _listed(runs: Any) -> list[Any]:
    if not has_members(runs):
        raise InvalidValueError(
            f"runs must be a Run or a list of them; got {shown(runs)}. A log is read by logs.read(path)."
        )
    return list(runs)


def _groups(like: Any) -> list[list[Run]]:
    """Return groups of runs, one of each model."""
    given = [like] if hasattr(like, "step") else _listed(like)
    if given and hasattr(given[0], "step"):
        given = [given]
    return [[_run(each) for each in _listed(group)] for group in given]


def _expects(groups: list[list[Run]]) -> str:
    runs, models = sum(map(len, groups)), len(groups)
    of = "a like model" if models == 1 else f"{models} like models"
    return f"the exponents are expected where {runs} run{'s' * (runs > 1)} of {of} {'have' if runs > 1 else 'has'} them"


def _other_schedule(one: Run, other: Run, begins: int) -> bool:
    """Whether two runs differ in their peaks, or in their rates over the steps that both have and the law reads.

    Σ|r - r'| of the rates over their peaks must be more than a logged interval: by so much a jump is misplaced between points.
    """
    if max(one.peak, other.peak) > SAME * min(one.peak, other.peak):
        return True
    both = slice(max(warmup(one.lr), warmup(other.lr), begins), min(len(one.lr), len(other.lr)))
    apart = np.abs(one.lr[both] / one.peak - other.lr[both] / other.peak).sum()
    return bool(apart > max(1.0, *(np.median(np.diff(run.step)) for run in (one, other))))


def _run(given: Any) -> Run:
    if isinstance(given, Run):
        return given
    if not all(hasattr(given, name) for name in ("step", "lr", "loss")):
        raise InvalidValueError(f"a run has a step, an lr and a loss; got {shown(given)}. Give Run(lr, step, loss).")
    return Run.logged(given.step, given.lr, given.loss, name=getattr(given, "name", "run"))


def _course(given: Any) -> Course:
    return given if isinstance(given, Course) else course(given)


def _chosen(law: str | Law, runs: list[Run]) -> Law:
    if isinstance(law, Law):
        return law
    name = known("law", law, ("auto", *LAWS))
    return _auto(runs) if name == "auto" else LAWS[name]


def _auto(runs: list[Run]) -> Law:
    paces = [run.pace for run in runs]
    known = [pace for pace in paces if pace is not None]
    return DECAY_AWARE if len(known) == len(paces) and _apart(known) else NOISE_FLOOR


def _apart(paces: list[float]) -> bool:
    return max(paces) > 0.0 and max(paces) >= _APART * min(paces)


def _refuse_alike(runs: list[Run]) -> None:
    paces = [run.pace for run in runs if run.pace is not None]
    if len(paces) < len(runs):
        raise DataError(
            "a law that reads decay needs to know of every run what decay took; give its plan, or its share."
        )
    if not _apart(paces):
        raise DataError(
            f"the runs decay by λ = {min(paces):.3g} to {max(paces):.3g}, too much alike to tell what another λ does; add a run "
            f"whose λ is at least {_APART:g} times as far, or without decay."
        )


def _slope(law: Law, values: Any, seen: Features) -> Any:
    """Return ∂loss/∂value, [n, parameters], by central differences."""
    columns = []
    for i, value in enumerate(values):
        step = 1e-4 * max(abs(value), 1e-2)
        there, back = values.copy(), values.copy()
        there[i], back[i] = value + step, value - step
        columns.append((law.loss(there, seen) - law.loss(back, seen)) / (2.0 * step))
    return np.stack(columns, axis=1)


def _steps(at: Any, steps: int) -> Any:
    points = np.atleast_1d(float64("at", at))
    if points.ndim != 1 or not len(points) or not (points == np.floor(points)).all():
        raise InvalidValueError(f"at must be whole numbers of steps, one or more; got {shown(at)}.")
    if points.min() < 0 or points.max() > steps:
        raise DataError(
            f"the schedule has {steps} steps; asked for the loss after {points.min():g} to {points.max():g}."
        )
    return points.astype(np.int64)


def _spread(lr: Any) -> Any:
    """Return some 200 steps of a schedule, all over it, with its end."""
    start = min(max(warmup(lr), int(EARLY * len(lr))), len(lr) - 1)
    return np.unique(np.linspace(start, len(lr), 200).astype(np.int64))
