"""What a run was set to, step by step, as the laws read it: the learning rate, and what decay takes of the weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from dwindle.arrays import float64
from dwindle.errors import InvalidValueError, shown
from dwindle.laws.average import doses
from dwindle.plan import Plan
from dwindle.units import Horizon, as_horizon

__all__ = ["Course", "course", "pace"]


class Course(NamedTuple):
    """The learning rate ``lr`` [T] of every step, and the ``share`` a [T] that decay takes of each weight in it, or None.

    Of decoupled decay a = lr·λ, of independent decay f·λ; 0 is no decay, None is decay that is not known or, as of l2 under
    Adam and of cautious decay, is no share.
    """

    lr: Any
    share: Any = None


def course(lr: Any, horizon: Horizon | int | None = None, share: Any = None, *, name: str = "lr") -> Course:
    """Return what an array of rates [T] sets, decay taking the ``share`` [T], or a Plan over ``horizon``, its decay included.

    Raises InvalidValueError unless the rates are finite, not negative and not all 0, and the shares from 0 to below 1.

    >>> from dwindle.decay import Decoupled
    >>> course(Plan(0.5, decay=Decoupled(0.1)), 2)
    Course(lr=array([0.5, 0.5]), share=array([0.05, 0.05]))
    """
    if isinstance(lr, Course):
        return lr
    if isinstance(lr, Plan):
        if horizon is None:
            raise InvalidValueError(
                "a plan alone does not say how long the run is; give its horizon, such as 10_000 steps."
            )
        if share is not None:
            raise InvalidValueError("a plan has its own decay; give no share with it.")
        if lr.decay is not None and lr.decay.cautious:
            return Course(_rates(lr.lrs(horizon), "the plan"))
        rates, taken = doses(lr, as_horizon(horizon), None)
        return Course(_rates(rates, "the plan"), _shares(taken, len(rates), "the plan"))
    if isinstance(lr, str):
        raise InvalidValueError(f"a plan must be a Plan, or its rates; got {shown(lr)}. For text use parse(text).")
    if horizon is not None:
        raise InvalidValueError("an array of learning rates has its own length; give no horizon with it.")
    rates = _rates(lr, name)
    return Course(rates, None if share is None else _shares(share, len(rates), name))


def pace(given: Course) -> float | None:
    """Return Σ share / Σ lr, the λ of decoupled decay that takes as much; None where no share is known."""
    return None if given.share is None else float(given.share.sum() / given.lr.sum())


def _rates(lr: Any, name: str) -> Any:
    found = float64(f"{name}: lr", lr)
    if found.ndim != 1 or len(found) < 2:
        raise InvalidValueError(
            f"{name}: lr must hold the learning rate of every step, [T]; got the shape {found.shape}."
        )
    if not np.isfinite(found).all() or found.min() < 0.0:
        at = int(np.argmax(~np.isfinite(found) | (found < 0.0)))
        raise InvalidValueError(
            f"{name}: the learning rate of step {at} is {found[at]}; rates are finite and not negative."
        )
    if found.max() == 0.0:
        raise InvalidValueError(f"{name}: every learning rate is 0; nothing is learned.")
    return found


def _shares(share: Any, steps: int, name: str) -> Any:
    found = float64(f"{name}: share", share)
    if found.shape != (steps,):
        raise InvalidValueError(
            f"{name}: share has the shape {found.shape}; give what decay takes in each of {steps} steps."
        )
    wrong = ~((found >= 0.0) & (found < 1.0))
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidValueError(
            f"{name}: decay takes the share {found[at]} in step {at}; the laws know shares from 0 to below 1. Lower lr·λ."
        )
    return found
