"""A law: a formula for the loss under any schedule, its parameters, and what was known of them before any run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from dwindle.laws.course import Course
from dwindle.laws.features import Features

__all__ = ["Law", "Parameter", "Stretches", "Tie"]


class Parameter(NamedTuple):
    """A parameter and the normal distribution it is expected in, of its logarithm if it is ``positive``.

    ``kind``: "level" is a loss, "amount" a difference of losses, "pure" has no unit of loss. While a law is fitted, losses
    are measured from the lowest one in units of their range, so that the expectations hold for any loss.
    """

    name: str
    expected: float
    spread: float
    positive: bool = True
    kind: str = "pure"


class Tie(NamedTuple):
    """Two positive parameters whose log one - log other is expected in this normal distribution."""

    one: str
    other: str
    expected: float
    spread: float


class Stretches(NamedTuple):
    """A schedule of k stretches: ``rates`` [k] over the peak for ``widths`` [k] units of steps, ``unit`` steps each.

    Before them a warm-up over the distance ``start``. ``share`` (a₁, q), where a law reads decay: at the rate r it takes
    a₁·r^q of the weights in a step.
    """

    widths: Any
    rates: Any
    start: float
    unit: float
    share: tuple[float, int] | None = None


@dataclass(frozen=True, eq=False)
class Law:
    """``loss(values, features)`` is the loss [n] at the points of ``features`` for the ``values`` of the parameters.

    ``end(values, peak, stretches)``, where a law has it, is the last loss and its gradient [k] by the rates of the stretches.
    ``extra(course, at, step, unit)``, where a law has it, is what it reads beside the features; ``decays`` if that is decay.
    ``tie`` is an expectation that two parameters share.
    """

    name: str
    parameters: tuple[Parameter, ...]
    loss: Callable[[Any, Features], Any]
    end: Callable[[Any, float, Stretches], tuple[float, Any]] | None = None
    extra: Callable[[Course, Any, Any, float], Any] | None = None
    decays: bool = False
    tie: Tie | None = None
