"""The trials of one setting as a map: families of schedules, bands of λ and of the peak learning rate, best of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dwindle.report.evidence import Setting, Trial
from dwindle.report.words import number

__all__ = [
    "LEVELS", "Band", "Cell", "bands", "best", "best_by_lam", "cells", "edges", "families", "family_of", "level",
    "ranked", "turn_sentence",
]  # fmt: skip

MOST_BANDS, MOST_FAMILIES = 12, 8
LEVELS = (0.01, 0.03, 0.10, 0.30, 1.00)  # excess over the best validation loss; one level more for what is beyond


@dataclass(frozen=True, slots=True)
class Band:
    """The values in [low, high], shown as one row or column."""

    low: float
    high: float

    @property
    def label(self) -> str:
        """The value, or the range of values."""
        if self.low == self.high:
            return number(self.low, 3)
        return f"{number(self.low, 2)}–\u200b{number(self.high, 2)}"  # a line may end behind the dash

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Cell:
    """The trials of one λ and one peak: the best of them, if any finished, and how many diverged."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial | None:
        """The trial with the lowest validation loss."""
        return best(self.trials)

    @property
    def diverged(self) -> int:
        """How many trials diverged."""
        return sum(trial.diverged for trial in self.trials)

    @property
    def let_go(self) -> int:
        """How many trials were let go before the end."""
        return sum(trial.let_go for trial in self.trials)


def bands(values: Iterable[float]) -> list[Band]:
    """Return one band per value, or where there are more than 12 equal bands of the logarithm (zero stands alone).

    Of each band only the range that holds values is kept, so its label says what was tried.

    >>> [band.label for band in bands([1.0, 0.0, 10.0, 1.0])]
    ['0', '1', '10']
    """
    tried = sorted(set(values))
    if len(tried) <= MOST_BANDS:
        return [Band(value, value) for value in tried]
    positive = [value for value in tried if value > 0]
    zero = [Band(value, value) for value in tried if value <= 0]
    low, high = math.log(positive[0]), math.log(positive[-1])
    width = (high - low) / (MOST_BANDS - len(zero))
    held: dict[int, list[float]] = {}
    for value in positive:
        held.setdefault(min(int((math.log(value) - low) / width), MOST_BANDS - len(zero) - 1), []).append(value)
    return zero + [Band(members[0], members[-1]) for members in held.values()]


def families(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """Return the trials by schedule; where there are more than 8, by the schedule with its numbers taken out."""
    exact: dict[str, list[Trial]] = {}
    for trial in trials:
        exact.setdefault(trial.schedule, []).append(trial)
    if len(exact) <= MOST_FAMILIES:
        return exact
    loose: dict[str, list[Trial]] = {}
    for schedule, members in exact.items():
        loose.setdefault(_loose(schedule), []).extend(members)
    return loose


def family_of(schedule: str, trials: Sequence[Trial]) -> str:
    """Return under which name `families` has the trials of this schedule."""
    return schedule if schedule in families(trials) else _loose(schedule)


def _loose(schedule: str) -> str:
    return re.sub(r"\s*[-+]?\d[\d.e+-]*\s*(%|st|ep|tok)?", " …", schedule).strip()


def cells(trials: Sequence[Trial], lams: Sequence[Band], peaks: Sequence[Band]) -> list[list[Cell]]:
    """Return the map: a row for every band of λ, a cell for every band of the peak."""
    return [[Cell(tuple(t for t in trials if t.lam in lam and t.peak in peak)) for peak in peaks] for lam in lams]


def best(trials: Iterable[Trial]) -> Trial | None:
    """Return the trial with the lowest validation loss at the end; None if none came there."""
    scored = [(trial.score, trial.id, trial) for trial in trials if trial.score is not None]
    return min(scored, key=lambda entry: entry[:2])[2] if scored else None


def ranked(setting: Setting) -> list[Trial]:
    """Return the trials of a setting, the lowest validation loss first, then those let go, and those that diverged last."""
    return sorted(
        setting.everything, key=lambda t: (t.score is None, not t.let_go, t.score or -(t.stopped_at or 0.0), t.id)
    )


def best_by_lam(setting: Setting) -> list[tuple[Band, Trial | None]]:
    """Return the best trial of every band of λ, over all schedules and peaks."""
    return [
        (lam, best(trial for trial in setting.trials if trial.lam in lam))
        for lam in bands(trial.lam for trial in setting.trials)
    ]


def turn_sentence(setting: Setting) -> str:
    """Return where along λ the gap is smallest and where the validation loss is lowest."""
    tried = [(lam, t) for lam, t in best_by_lam(setting) if t is not None and t.score is not None]
    gaps = [(t.final.gap, lam.label) for lam, t in tried if t.final.gap is not None]
    scores = [(t.score, lam.label) for lam, t in tried if t.score is not None]
    if not gaps:
        return "No trial finished with both losses."
    (gap, narrow), (score, low) = min(gaps), min(scores)
    return (
        f"The validation loss is lowest at λ = {low} ({number(score, 3)}); "
        f"the gap is smallest at λ = {narrow} ({number(gap, 3)})."
    )


def level(score: float, lowest: float, highest: float) -> int:
    """Return how far ``score`` is from the best of all: 0 within 1 %, then 3, 10, 30, 100 % of it, else 5.

    A loss that may be negative has no percentages: there the excess is measured against the spread of the scores.
    """
    scale = lowest if lowest > 0 else max(highest - lowest, math.ulp(1.0))
    return sum((score - lowest) / scale > limit for limit in LEVELS)


def edges(setting: Setting) -> list[str]:
    """Return a warning for each of λ and the peak whose winning value lies at the edge of what was tried."""
    said = []
    for name, value, tried in (
        ("λ", setting.winner.lam, {trial.lam for trial in setting.everything}),
        ("peak learning rate", setting.winner.peak, {trial.peak for trial in setting.everything}),
    ):
        if len(tried) > 1 and value == max(tried):
            said.append(f"The best {name} is the largest tried ({number(value)}): a larger one may be better still.")
        elif len(tried) > 1 and value == min(tried) and value > 0:
            said.append(f"The best {name} is the smallest tried ({number(value)}): a smaller one may be better still.")
    return said
