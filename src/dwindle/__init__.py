"""dwindle: the two decays of training, weight decay and learning-rate decay, applied exactly, predicted and searched.

>>> import dwindle as dw
>>> plan = dw.Plan(peak=3e-4, schedule=dw.warmup("2%").then(dw.cosine(end=0.1)), decay=dw.decoupled(0.1))
>>> str(plan)
'peak 3e-4 | warmup 2%, cosine to 10% | decoupled 0.1'
>>> plan.lrs(1000)[20]
np.float64(0.0003)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dwindle import errors as errors
    from dwindle import explain as explain
    from dwindle import findings as findings
    from dwindle import laws as laws
    from dwindle import logs as logs
    from dwindle import mask as mask
    from dwindle import reference as reference
    from dwindle import replan as replan
    from dwindle import ridge as ridge
    from dwindle import schedule as schedule
    from dwindle.decay import L2 as l2
    from dwindle.decay import Corrected as corrected
    from dwindle.decay import Decoupled as decoupled
    from dwindle.decay import Independent as independent
    from dwindle.decay import penalty as penalty
    from dwindle.errors import DwindleError as DwindleError
    from dwindle.findings.doctor import doctor as doctor
    from dwindle.mask import Mask as Mask
    from dwindle.mask import Rule as Rule
    from dwindle.plan import Group as Group
    from dwindle.plan import Plan as Plan
    from dwindle.plan import difference as difference
    from dwindle.schedule import Greedy as greedy
    from dwindle.schedule import Plateau as plateau
    from dwindle.schedule import Schedule as Schedule
    from dwindle.schedule import Stall as stall
    from dwindle.schedule import constant as constant
    from dwindle.schedule import cosine as cosine
    from dwindle.schedule import cosine_restarts as cosine_restarts
    from dwindle.schedule import custom as custom
    from dwindle.schedule import exponential as exponential
    from dwindle.schedule import formula as formula
    from dwindle.schedule import interpolate as interpolate
    from dwindle.schedule import inverse_sqrt as inverse_sqrt
    from dwindle.schedule import inverse_time as inverse_time
    from dwindle.schedule import linear as linear
    from dwindle.schedule import multi_step as multi_step
    from dwindle.schedule import one_cycle as one_cycle
    from dwindle.schedule import piecewise as piecewise
    from dwindle.schedule import polynomial as polynomial
    from dwindle.schedule import power_law as power_law
    from dwindle.schedule import step as step
    from dwindle.schedule import table as table
    from dwindle.schedule import tanh as tanh
    from dwindle.schedule import triangular as triangular
    from dwindle.schedule import warmup as warmup
    from dwindle.schedule import wsd as wsd
    from dwindle.studies.run import study as study
    from dwindle.text import parse as parse
    from dwindle.units import Horizon as Horizon
    from dwindle.units import Time as Time

__version__ = "0.1.0"

_SHAPES = (
    "constant", "cosine", "cosine_restarts", "custom", "exponential", "formula", "interpolate", "inverse_sqrt", "inverse_time",
    "linear", "multi_step", "one_cycle", "piecewise", "polynomial", "power_law", "step", "table", "tanh", "triangular",
    "warmup", "wsd", "Schedule",
)  # fmt: skip

_ADAPTERS = ("jax", "keras", "torch")

# public name -> (module, name there); None is the module itself. Loaded on first use, so `import dwindle` stays instant.
_HOMES: dict[str, tuple[str, str | None]] = {
    **{name: ("dwindle.schedule", name) for name in _SHAPES},
    "plateau": ("dwindle.schedule", "Plateau"),
    "greedy": ("dwindle.schedule", "Greedy"),
    "stall": ("dwindle.schedule", "Stall"),
    "l2": ("dwindle.decay", "L2"),
    "decoupled": ("dwindle.decay", "Decoupled"),
    "independent": ("dwindle.decay", "Independent"),
    "corrected": ("dwindle.decay", "Corrected"),
    "penalty": ("dwindle.decay", "penalty"),
    "Plan": ("dwindle.plan", "Plan"),
    "Group": ("dwindle.plan", "Group"),
    "difference": ("dwindle.plan", "difference"),
    "Mask": ("dwindle.mask", "Mask"),
    "Rule": ("dwindle.mask", "Rule"),
    "Horizon": ("dwindle.units", "Horizon"),
    "Time": ("dwindle.units", "Time"),
    "parse": ("dwindle.text", "parse"),
    "study": ("dwindle.studies.run", "study"),
    "doctor": ("dwindle.findings.doctor", "doctor"),
    "DwindleError": ("dwindle.errors", "DwindleError"),
    **{
        name: (f"dwindle.{name}", None)
        for name in (
            "errors", "explain", "findings", "foreign", "laws", "logs", "mask", "population", "reference", "replan", "ridge",
            "schedule", *_ADAPTERS,
        )
    },
}  # fmt: skip

__all__ = sorted(_HOMES.keys() - set(_ADAPTERS))  # `from dwindle import *` needs no framework


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dwindle' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    value = import_module(module)
    if attribute is not None:
        value = getattr(value, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
