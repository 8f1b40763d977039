"""Between the points of a grid and beyond its edges: plans a fraction of a step away from the best."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

from dwindle.decay import CONVENTIONS
from dwindle.errors import InvalidValueError
from dwindle.plan import Plan
from dwindle.studies.axis import Range
from dwindle.studies.space import Candidate, Space

__all__ = ["ROUNDS", "refined"]

ROUNDS = (0.5, 0.25)  # of the grid's step
_AROUND = 4  # of the best
_MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1))  # of λ and of the peak; the last two keep λ·peak


def refined(space: Space, best: Sequence[Candidate], part: float, tried: Sequence[Candidate]) -> list[Candidate]:
    """Return plans around the first few of ``best``, ``part`` of a step of the grid away in λ, in the peak, or in both.

    A step is the mean ratio of the neighbouring values that ``space`` lists. λ and peak move each way, and against each
    other, which keeps λ·peak; a λ of 0 stays, but for one try at the smallest. Schedule, convention and batch size are kept,
    numbers rounded to two digits; plans ``tried`` and those whose weights would change sign are left out.

    >>> space = Space.parse("lam 0 1 | peak 1e-2 1e-1 | schedule constant")
    >>> [(c.lam, c.peak) for c in refined(space, space.grid()[1:2], 0.5, space.grid())]
    [(3.2, 0.01), (0.32, 0.01), (1.0, 0.032), (1.0, 0.0032), (3.2, 0.0032), (0.32, 0.032)]
    """
    steps = _step(space.lams), _step(space.peaks)
    seen = {(c.plan, c.batch_size) for c in tried}
    found: list[Candidate] = []
    for center in best[:_AROUND]:
        for candidate in _around(space, center, [step**part for step in steps]):
            if (candidate.plan, candidate.batch_size) not in seen:
                seen.add((candidate.plan, candidate.batch_size))
                found.append(candidate)
    return found


def _around(space: Space, center: Candidate, by: Sequence[float]) -> Iterator[Candidate]:
    positive = [lam for lam in _numbers(space.lams) if lam > 0.0]
    for lam_move, peak_move in _MOVES:
        if center.lam == 0.0 and lam_move > 0 == peak_move and positive:
            lam = min(positive)
        elif center.lam == 0.0 and lam_move:
            continue
        else:
            lam = _rounded(center.lam * by[0] ** lam_move)
        peak = _rounded(center.peak * by[1] ** peak_move)
        convention = space.conventions[0] if center.plan.decay is None else center.plan.decay.convention
        with warnings.catch_warnings(), suppress(InvalidValueError, UserWarning):
            warnings.simplefilter("error")  # that weights become 0 or change sign
            plan = Plan(peak, center.schedule, CONVENTIONS[convention](lam) if lam else None)
            yield replace(center, plan=plan, lam=lam, peak=peak, at=())


def _step(values: Sequence[float | Range]) -> float:
    positive = sorted(value for value in _numbers(values) if value > 0.0)
    ratios = [high / low for low, high in pairwise(positive)]
    return math.prod(ratios) ** (1.0 / len(ratios)) if ratios else 10.0


def _numbers(values: Sequence[float | Range]) -> list[float]:
    return [end for value in values for end in ((value.low, value.high) if isinstance(value, Range) else (value,))]


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")
