"""Schedules: frozen values that map a step to a dimensionless factor, 1 at the peak."""

from dwindle.schedule.algebra import Clip, Join, Mirror, Product, Repeat, Scaled, Schedule, Shift, Stretch, Sum, curve
from dwindle.schedule.decays import Exponential, PowerLaw
from dwindle.schedule.extend import Extend
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.formula import Formula
from dwindle.schedule.greedy import Greedy, GreedyState
from dwindle.schedule.plateau import Plateau, PlateauState
from dwindle.schedule.recipes import (
    constant,
    cosine,
    cosine_restarts,
    custom,
    exponential,
    formula,
    interpolate,
    inverse_sqrt,
    inverse_time,
    linear,
    multi_step,
    one_cycle,
    piecewise,
    polynomial,
    power_law,
    step,
    table,
    tanh,
    triangular,
    warmup,
    wsd,
)
from dwindle.schedule.shapes import Constant, Ramp, Tanh
from dwindle.schedule.stagnation import Verdict, verdict
from dwindle.schedule.stall import Stall, StallState
from dwindle.schedule.tables import Custom, Interpolate, Piecewise, Table
from dwindle.schedule.total import total

__all__ = [
    "Clip",
    "Constant",
    "Custom",
    "Exponential",
    "Extend",
    "FeedbackRule",
    "Formula",
    "Greedy",
    "GreedyState",
    "Interpolate",
    "Join",
    "Mirror",
    "Piecewise",
    "Plateau",
    "PlateauState",
    "PowerLaw",
    "Product",
    "Ramp",
    "Repeat",
    "Scaled",
    "Schedule",
    "Shift",
    "Stall",
    "StallState",
    "Stretch",
    "Sum",
    "Table",
    "Tanh",
    "Verdict",
    "constant",
    "cosine",
    "cosine_restarts",
    "curve",
    "custom",
    "exponential",
    "formula",
    "interpolate",
    "inverse_sqrt",
    "inverse_time",
    "linear",
    "multi_step",
    "one_cycle",
    "piecewise",
    "polynomial",
    "power_law",
    "step",
    "table",
    "tanh",
    "total",
    "triangular",
    "verdict",
    "warmup",
    "wsd",
]
