"""The learning-rate schedules of the textbook: halving every few epochs, and lr·decay_rate^(step/decay_steps)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dwindle.errors import InvalidValueError
from dwindle.foreign.schedules.settings import Settings
from dwindle.plan import Plan
from dwindle.schedule import Exponential, Schedule
from dwindle.units import Time, as_time

__all__ = ["NAMES", "read"]


def read(name: str, params: Mapping[str, Any], base_lr: float) -> Plan:
    """Return the plan of the textbook's schedule ``name`` for a learning rate that begins at ``base_lr``.

    ``halve``: half of it after every ``epochs`` epochs, so that with 5 epochs 0 to 4 run at the full rate.
    ``exponential``: lr·decay_rate^(global_step / decay_steps), as code in two forms that differ: with ``division`` "true"
    (Python 3's /) it falls at every step, with "integer" (//, and / of whole numbers in Python 2) once every ``decay_steps``.
    ``decay_steps`` counts steps, or is a time such as "5ep".

    >>> str(read("halve", {"epochs": 5}, 0.5))
    'peak 0.5 | step by 0.5 every 5ep'
    >>> str(read("exponential", {"decay_rate": 0.9998, "decay_steps": "5ep", "division": "integer"}, 0.5))
    'peak 0.5 | step by 0.9998 every 5ep'
    """
    required, defaults, build = NAMES[name]
    s = Settings.of(f"the textbook's {name}", params, required=required, defaults=defaults)
    return Plan(base_lr, build(s))


def _halve(s: Settings) -> Schedule:
    return Exponential(0.5, Time(s.count("epochs"), "ep"), staircase=True)


def _exponential(s: Settings) -> Schedule:
    every, rate = as_time(f"decay_steps of {s.what}", s["decay_steps"]), s.real("decay_rate", above=0.0)
    if every is None:
        raise InvalidValueError(f"decay_steps of {s.what} must be steps or a time such as '5ep'; got None.")
    stairs = s.one_of("division", ("true", "integer")) == "integer"
    return Exponential(rate, every, staircase=stairs, allow_growth=rate > 1.0)


NAMES: dict[str, tuple[tuple[str, ...], dict[str, Any], Callable[[Settings], Schedule]]] = {
    "halve": ((), {"epochs": 5}, _halve),
    "exponential": (("decay_rate", "decay_steps"), {"division": "true"}, _exponential),
}
"""name -> (parameters that must be given, the defaults, how it is read)."""
