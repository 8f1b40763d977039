"""What decay takes of the distance a run has travelled, seen from its points."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import InvalidValueError
from dwindle.laws.course import Course
from dwindle.laws.features import Features

__all__ = ["Taken", "left_of", "mean_kept", "mean_kept_slope", "taken"]

_PIECES = 64  # of a run, in each of which the rate and what decay takes keep their ratio


class Taken(NamedTuple):
    """What decay took of a run, seen from n points: K = -Σ log(1 - a), so that e^-K of the first weights is left.

    ``all`` [n]: K up to each point; ``since`` [n, k]: from each of the k changes of the rate to the point, 0 before it. Of m
    pieces of the run: ``travelled`` [m], Σ lr; ``within`` [m], K; ``steps`` [m]; ``after`` [n, m], K from the end of the piece
    to the point; ``done`` [n, m]: 1 where the piece lies before the point, else 0.
    """

    all: Any
    since: Any
    travelled: Any
    within: Any
    steps: Any
    after: Any
    done: Any


def taken(course: Course, at: Any, step: Any, unit: float) -> Taken:
    """Return what decay took at the points ``step`` [n], the rate having changed after the distances ``at`` [k], in ``unit``s."""
    lr, share = course
    if share is None:
        raise InvalidValueError(
            "this law reads what decay takes of the weights: give a Plan, or a share of each step beside lr. Cautious decay "
            "takes no one share of all weights."
        )
    took = np.concatenate(([0.0], np.cumsum(-np.log1p(-share))))
    sums = np.concatenate(([0.0], np.cumsum(lr / lr.max()))) / unit
    ends = np.union1d(step, np.linspace(0, len(lr), _PIECES + 1).astype(np.int64))
    ends = ends[ends > 0]
    begins = np.concatenate(([0], ends[:-1]))
    return Taken(
        took[step],
        np.maximum(took[step][:, None] - np.interp(at, sums, took), 0.0),
        sums[ends] - sums[begins],
        took[ends] - took[begins],
        ends - begins,
        np.maximum(took[step][:, None] - took[ends], 0.0),
        (ends <= step[:, None]).astype(np.float64),
    )


def left_of(seen: Features, strength: float) -> Any:
    """Return T_ω [n] = Σ_i r_i Π_{j>i} (1 - a_j)^ω, the distance travelled that decay of ``strength`` ω has left at each point.

    r is the rate over its peak, in the units of ``seen``, and a what decay takes. Exact where r/a is constant, as it is for
    decoupled decay; else to the second order of its change within 1/64 of the run. ω = 0 leaves all.
    """
    took: Taken = seen.extra
    each = took.travelled * mean_kept(strength * took.within) / mean_kept(strength * took.within / took.steps)
    return (np.exp(-strength * took.after) * took.done) @ each


def mean_kept(x: Any) -> Any:
    """Return (1 - e^-x)/x, the mean of e^-x from 0 to x."""
    small = x < 1e-8
    return np.where(small, 1.0, -np.expm1(-x) / np.where(small, 1.0, x))


def mean_kept_slope(x: Any) -> Any:
    """Return the derivative of `mean_kept`, (e^-x·(1 + x) - 1)/x²."""
    small = x < 1e-3
    near = -0.5 + x * (1.0 / 3.0 + x * (-0.125 + x / 30.0))
    return np.where(small, near, (np.expm1(-x) + x * np.exp(-x)) / np.where(small, 1.0, x) ** 2)
