"""The words of the schedules: for each the value it builds and the options it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from dwindle.schedule import (
    Clip,
    Constant,
    Exponential,
    Extend,
    Formula,
    Interpolate,
    Join,
    Mirror,
    Piecewise,
    PowerLaw,
    Product,
    Ramp,
    Repeat,
    Schedule,
    Shift,
    Stretch,
    Sum,
    Table,
    Tanh,
)
from dwindle.text.reader import Reader

__all__ = ["ALONE", "RAMP", "SHAPES", "SPELLED_OUT", "WRAPS", "Form"]


class Form(NamedTuple):
    """How a word is built: ``options`` maps a word ("" for what follows at once) to (field, how its value is read)."""

    make: Callable[..., Schedule]
    options: Mapping[str, tuple[str, Callable[[Reader], Any]]]
    fixed: Mapping[str, Any] = MappingProxyType({})
    needs: tuple[str, ...] = ()


_WARP = {"power": ("power", Reader.number), "warp": ("warp", Reader.number), "ratio": ("ratio", Reader.number)}
_ENDS = {"to": ("end", Reader.level), "from": ("start", Reader.level), "over": ("steps", Reader.time), **_WARP}
_RATE = {"by": ("decay_rate", Reader.factor), "every": ("every", Reader.time), "growing": ("allow_growth", Reader.yes)}
_LAW = {"every": ("every", Reader.time), "rate": ("rate", Reader.number), "staircase": ("staircase", Reader.yes)}
_SHAPE = {"shape": ("shape", Reader.name)}
RAMP = Form(Ramp, _ENDS)

SHAPES = {
    "constant": Form(Constant, {"at": ("factor", Reader.level)}),
    "warmup": Form(Ramp, {"": ("steps", Reader.time), **_SHAPE, **_ENDS}, {"start": 0.0, "end": 1.0}),
    "ramp": Form(Ramp, {**_SHAPE, **_ENDS}),
    **{
        shape: Form(Ramp, _ENDS, {"shape": shape})
        for shape in ("linear", "cosine", "sqrt", "square", "geometric", "1-sqrt", "1-square")
    },
    "polynomial": Form(Ramp, _ENDS, {"power": 2.0}),
    "tanh": Form(
        Tanh,
        {
            "to": ("end", Reader.level),
            "over": ("steps", Reader.time),
            "lower": ("lower", Reader.number),
            "upper": ("upper", Reader.number),
            "warp": ("warp", Reader.number),
        },
    ),
    "exponential": Form(
        Exponential, {**_RATE, "staircase": ("staircase", Reader.yes)}, needs=("by 0.96", "every 1000st")
    ),
    "step": Form(Exponential, _RATE, {"staircase": True}, ("by 0.5", "every 5ep")),
    "halve": Form(
        Exponential, {"every": ("every", Reader.time)}, {"decay_rate": 0.5, "staircase": True}, ("every 5ep",)
    ),
    "inverse-time": Form(PowerLaw, _LAW, {"exponent": 1.0}),
    "inverse-sqrt": Form(PowerLaw, _LAW, {"exponent": 0.5}),
    "power-law": Form(PowerLaw, {"": ("exponent", Reader.number), **_LAW}, needs=(" 0.25", "every 100st")),
    "piecewise": Form(
        Piecewise,
        {"at": ("boundaries", Reader.times), "factors": ("factors", Reader.factors)},
        needs=("at [5ep 10ep]", "factors [1 0.5 0.1]"),
    ),
    "through": Form(
        Interpolate,
        {"": ("at", Reader.times), "factors": ("factors", Reader.factors), **_SHAPE},
        needs=(" [0st 100st]", "factors [0 1]"),
    ),
    "formula": Form(Formula, {"": ("text", Reader.string)}, needs=(' "0.5 ** (step // 30)"',)),
    "table": Form(Table, {"": ("factors", Reader.factors), "every": ("every", Reader.steps)}, needs=(" [1 0.5 0.1]",)),
}

WRAPS = {
    "shift": Form(Shift, {"": ("steps", Reader.time)}, needs=(" 100st",)),
    "stretch": Form(Stretch, {"": ("by", Reader.number)}, needs=(" 2",)),
    "clip": Form(Clip, {"": ("low", Reader.level), "to": ("high", Reader.level)}, needs=(" 0.1",)),
    "repeat": Form(
        Repeat,
        {
            "every": ("every", Reader.time),
            "growth": ("growth", Reader.number),
            "decay": ("decay", Reader.number),
            "cycles": ("cycles", Reader.number),
        },
    ),
    "mirror": Form(Mirror, {"every": ("every", Reader.time)}),
    "extend": Form(Extend, {"every": ("every", Reader.time)}),
}

ALONE: dict[str, Callable[..., Schedule]] = {"join": Join, "sum": Sum, "product": Product}
"""What says that a combination has one member only."""

SPELLED_OUT = {
    "wsd": "warmup 2%, constant, linear to 0% over 20%",
    "one-cycle": "warmup 30% from 4% shape cosine, cosine to 0.004%",
    "onecycle": "warmup 30% from 4% shape cosine, cosine to 0.004%",
}
"""Recipes that have no word of their own, and how they are written."""
