"""Why a plan's learning rate and decay at a step are what they are, and how two plans differ.

Called itself, the module is its function `explain`: ``dw.explain(plan, run, 500)``.

>>> import dwindle as dw
>>> found = dw.explain(dw.parse("peak 0.1 | cosine to 0 | decoupled 0.5"), 100, 50)
>>> found.lr, found.schedule.formula
(0.05, '(1 + cos(π·50/100))/2')
"""

import sys
import types
from typing import Any

from dwindle.explain.comparison import Comparison, Totals, compare
from dwindle.explain.explanation import Decayed, Explanation, FactorOf, explain
from dwindle.explain.parts import Part, taken_apart
from dwindle.explain.weights import Weights

__all__ = [
    "Comparison", "Decayed", "Explanation", "FactorOf", "Part", "Totals", "Weights", "compare", "explain", "taken_apart",
]  # fmt: skip


class _Called(types.ModuleType):
    """A module that answers a call: no other way lets function and module both be ``dwindle.explain``."""

    def __call__(self, *given: Any, **named: Any) -> Explanation:
        return explain(*given, **named)


sys.modules[__name__].__class__ = _Called
