"""How the source of a schedule is laid out for optax and Keras: its calls, and the formula with the end it is good for."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from dwindle.foreign.writing.expression import expression, formula_or_table
from dwindle.foreign.writing.source_text import call, number, spread
from dwindle.schedule import Schedule

__all__ = ["formula_and_end", "laid_out"]

_WIDTH = 100
_LAST = 2**31 - 1


def formula_and_end(schedule: Schedule, steps: int) -> tuple[str, int | None]:
    """Return the formula of a schedule, and the step at which to hold it where it is good for ``steps`` steps only.

    >>> from dwindle.schedule import linear
    >>> formula_and_end(linear(90), 90)
    ('(90 - min(step, 90)) / 90', None)
    """
    short = formula_or_table(schedule, steps)
    try:
        endless = expression(schedule, _LAST)
    except RecursionError:
        return short, steps
    return (endless, None) if len(endless) <= 1.5 * len(short) + 100 else (short, steps)


def laid_out(function: str, params: Mapping[str, Any]) -> str:
    """Return a call; one that is too long for a line has each of its arguments on its own.

    >>> laid_out("optax.constant_schedule", {"value": 0.1})
    'optax.constant_schedule(value=0.1)'
    """
    line = call(function, [], params)
    if len(line) <= _WIDTH:
        return line
    return spread(function, [f"{key}={_wrapped(value)}" for key, value in params.items()])


def _wrapped(value: Any) -> str:
    """Return a value, a long mapping or list over several lines."""
    line = number(value)
    if len(line) <= _WIDTH:
        return line
    if isinstance(value, list) and isinstance(value[0], Mapping):
        return "[\n" + "".join(f"    {number(item)},\n" for item in value) + "]"
    rows = textwrap.wrap(line[1:-1], _WIDTH, break_long_words=False, break_on_hyphens=False)
    return line[0] + "\n" + "".join(f"    {row}\n" for row in rows) + line[-1]
