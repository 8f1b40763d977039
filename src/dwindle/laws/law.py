"""A law: a formula for the loss under any schedule, its parameters, and what was known of them before any run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from dwindle.laws.features import Features

__all__ = ["Law", "Parameter"]


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


@dataclass(frozen=True, eq=False)
class Law:
    """``loss(values, features)`` is the loss [n] at the points of ``features`` for the ``values`` of the parameters.

    ``end(values, peak, start, widths, rates)``, where a law has it, is the last loss and its gradient [k] by the ``rates``
    [k] of stretches that are ``widths`` [k] units of steps long, after a warm-up over the distance ``start`` to the peak.
    ``extra(lr, step, unit)``, where a law has it, is what it reads of a schedule beside its features.
    """

    name: str
    parameters: tuple[Parameter, ...]
    loss: Callable[[Any, Features], Any]
    end: Callable[[Any, float, float, Any, Any], tuple[float, Any]] | None = None
    extra: Callable[[Any, Any, float], Any] | None = None
