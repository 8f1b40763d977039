"""scikit-learn 1.9 learning rates of SGDRegressor and SGDClassifier: absolute, one step a sample, counted from t = 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.foreign.schedules.peak import plan_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Constant, PowerLaw, Schedule
from dwindle.units import exactly

__all__ = ["NAMES", "read"]


def read(name: str, params: Mapping[str, Any]) -> Plan:
    """Return the plan of the ``learning_rate`` of that name; step 0 is scikit-learn's t = 1.

    invscaling is eta0/t^power_t. optimal is 1/(alpha·(t0 + t - 1)) with t0 = alpha^(-3/4), Bottou's heuristic, which is the
    same for every loss: its own number max(1, ∂loss(1, -w)) is 1 for each of them.

    >>> str(read("invscaling", {"eta0": 0.01, "power_t": 0.5}))
    'peak 0.01 | inverse-sqrt every 1st'
    """
    required, defaults, build = NAMES[name]
    return plan_of(build(Settings.of(f"scikit-learn's {name}", params, required=required, defaults=defaults)))


def _eta0(s: Settings) -> float:
    return s.real("eta0", above=0.0)


def _constant(s: Settings) -> Schedule:
    return Constant(_eta0(s))


def _invscaling(s: Settings) -> Schedule:
    return PowerLaw(s.real("power_t", low=0.0), 1) * _eta0(s)


def _optimal(s: Settings) -> Schedule:
    alpha = s.real("alpha", above=0.0, remedy="The rate is 1/(alpha·(t0 + t)).")
    typical = math.sqrt(1.0 / math.sqrt(alpha))  # the size of a weight, and with it the first rate
    return PowerLaw(1.0, exactly(1.0 / (typical * alpha))) * typical


def _answers_the_loss(s: Settings) -> Schedule:
    raise NoExactMapError(
        f"{s.what} divides the rate by 5 when the loss stands still and is no schedule of steps; use plateau(factor=0.2)."
    )


def _passive(s: Settings) -> Schedule:
    raise InvalidValueError(f"{s.what} sets each step by its sample's loss; there is no learning rate to read.")


NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings], Schedule]]] = {
    "constant": ((), {"eta0": 0.01}, _constant),
    "invscaling": (("power_t",), {"eta0": 0.01}, _invscaling),
    "optimal": ((), {"alpha": 1e-4}, _optimal),
    "adaptive": ((), {"eta0": 0.01}, _answers_the_loss),
    "pa1": ((), {"eta0": 0.01}, _passive),
    "pa2": ((), {"eta0": 0.01}, _passive),
}
"""name -> (parameters that must be given, the peer's defaults, how it is read)."""
