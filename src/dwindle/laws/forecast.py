"""A forecast: the loss that a law expects, an interval around it, and whether the fitted runs can answer at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import MissingExtraError
from dwindle.laws.course import Course, pace
from dwindle.laws.features import features, warmup
from dwindle.laws.runs import Run

__all__ = ["SAME", "Forecast", "Known", "other_decay", "reasons"]

_LONGER, _HIGHER = 4.0, 1.5  # than any fitted run
_LONGER_ALONE = 2.0  # of one schedule, which tells progress and noise apart badly
SAME = 1.02  # times: peaks that are one
_DEEP = 0.5  # of the peak: a rate that goes lower than this is a decay
_ANOTHER = 1.5  # times: from which a weight decay is another one
_NEARLY_ALL = 0.9  # of the first weights: what leaves more is as good as no decay


class Forecast(NamedTuple):
    """The ``loss`` [n] after ``step`` [n] steps, ``lower`` and ``upper`` [n]: 90 % of logged losses lie between.

    ``supported``: whether the fitted runs can answer; if not, ``why`` says what they lack, and the interval is a guess.
    """

    step: Any
    loss: Any
    lower: Any
    upper: Any
    supported: bool
    why: str

    def plot(self, axes: Any = None) -> Any:
        """Draw the loss with its band into matplotlib's ``axes``, new ones unless given, and return them.

        Raises MissingExtraError without matplotlib: pip install 'dwindle[plot]'.
        """
        if axes is None:
            try:
                from matplotlib.figure import Figure
            except ImportError as error:
                raise MissingExtraError.of("matplotlib", "plot") from error
            axes = Figure(layout="constrained").subplots()
        (line,) = axes.plot(self.step, self.loss, linestyle="-" if self.supported else "--")
        axes.fill_between(self.step, self.lower, self.upper, alpha=0.25, linewidth=0, color=line.get_color())
        axes.set(xlabel="step", ylabel="loss", title="" if self.supported else f"not supported: {self.why}")
        return axes


class Known(NamedTuple):
    """What the fitted runs have seen: lengths, peaks, lowest rates over them, rises, noise, from where, and weight decays.

    ``alone``: whether they have one schedule. ``paces`` are the least and the most weight decay, where known, the least 0 if
    it takes next to nothing; ``decays`` whether the law reads it.
    """

    longest: int
    peaks: tuple[float, ...]
    lowest: float
    rises: bool
    noise: float
    begins: int
    paces: tuple[float, float] | None
    decays: bool
    alone: bool

    @classmethod
    def of(cls, runs: Sequence[Run], begins: int, *, decays: bool, alone: bool) -> Known:
        paces = [0.0 if _kept(run.share) > _NEARLY_ALL else lam for run in runs if (lam := run.pace) is not None]
        return cls(
            max(int(run.step[-1]) for run in runs),
            _apart(sorted(run.peak for run in runs)),
            min(_lowest(run.lr, int(run.step[-1])) for run in runs),
            any(_rises(run.lr) for run in runs),
            float(np.median([run.noise for run in runs])),
            begins,
            (min(paces), max(paces)) if paces else None,
            decays,
            alone,
        )


def _apart(peaks: list[float]) -> tuple[float, ...]:
    """Return the peaks that differ by more than a log's rounding does."""
    return tuple(peak for i, peak in enumerate(peaks) if i == 0 or peak > SAME * peaks[i - 1])


def reasons(course: Course, last: int, seen: Known) -> list[str]:
    """Return why the runs cannot answer what happens under ``course`` up to step ``last``; nothing if they can."""
    lr = course.lr
    if last < seen.begins or not lr[:last].any():
        return [f"the law begins at step {seen.begins}, after the warm-up and what is too early for it"]
    found, peak = [], float(lr[:last].max())
    if last > (_LONGER_ALONE if seen.alone else _LONGER) * seen.longest:
        more = "; of one schedule that is too far, add a run of another" if last <= _LONGER * seen.longest else ""
        found.append(
            f"{last} steps are {last / seen.longest:.1f} times the longest fitted run, of {seen.longest}{more}"
        )
    low, high = seen.peaks[0], seen.peaks[-1]
    reach = _HIGHER if len(seen.peaks) > 1 else 1.1
    if not low / reach <= peak <= high * reach:
        told = f"peaks {low:g} to {high:g}" if len(seen.peaks) > 1 else f"the one peak {low:g}"
        found.append(f"the peak {peak:g} is outside what {told} of the fitted runs tells; add a run at a peak near it")
    lowest = _lowest(lr, last)
    if seen.lowest > _DEEP and lowest < 0.8 * seen.lowest:
        found.append(f"no fitted run lowers its learning rate below {seen.lowest:.0%} of its peak; add one that decays")
    if _rises(lr[:last]) and not seen.rises:
        found.append("the learning rate rises again after it fell, which no fitted run does")
    return found + other_decay(course, seen)


def other_decay(course: Course, seen: Known) -> list[str]:
    """Return that the weight decay is not one that the runs tell of; a law that does not read it takes none for theirs."""
    lam = pace(course)
    if lam is None or seen.paces is None or (lam == 0.0 and not seen.decays):
        return []
    low, high = seen.paces
    if low / _ANOTHER <= lam <= high * _ANOTHER:
        return []
    told = f"{low:.3g}" if high < 1.01 * low else f"{low:.3g} to {high:.3g}"
    remedy = "add a run with a λ near it" if seen.decays else "add runs of two λ, of which the law can be told"
    return [f"the weight decay λ = {lam:.3g} is outside the {told} of the fitted runs; {remedy}"]


def _kept(share: Any) -> float:
    """Return what decay leaves of the first weights."""
    return float(np.exp(np.log1p(-share).sum()))


def _lowest(lr: Any, last: int) -> float:
    """Return the lowest rate after the warm-up, over the peak."""
    used = lr[:last]
    later = used[warmup(used) :] if len(used) > 1 else used
    return float(later.min() / lr.max())


def _rises(lr: Any) -> bool:
    if len(lr) < 2:
        return False
    seen = features(lr, np.array([len(lr)]), unit=1.0, reference=float(lr.max()))
    return bool((seen.after - seen.before > 1e-3).any())
