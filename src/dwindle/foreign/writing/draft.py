"""What the writers of all peers share: the plan as a peer will run it, its own recipe for a schedule, and source text."""

from __future__ import annotations

import ast
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.decay import Decay
from dwindle.errors import DwindleError, UnresolvedTimeError
from dwindle.foreign.schedules.peers import ABSOLUTE, read
from dwindle.foreign.writing.expression import expression
from dwindle.plan import Plan
from dwindle.schedule import Schedule
from dwindle.units import Horizon, as_horizon

__all__ = ["WITHOUT_END", "Draft", "Recipe", "Source", "call", "module", "native", "number", "returned", "value_of"]

Recipe = tuple[str, dict[str, Any]]
"""A peer's schedule: its name and its parameters, of which some may be such recipes, {"name", "params"}, themselves."""

WITHOUT_END = 10_000  # steps on which a recipe is compared with a plan that was given no run
_MOST_COMPARED = 20_000


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan to be written: ``given`` as the user has it, ``plan`` with its times in steps, and the ``steps`` of the run."""

    given: Plan
    plan: Plan
    steps: int
    run: Horizon | None

    @classmethod
    def of(cls, plan: Plan, run: Horizon | int | None) -> Draft:
        """Return the draft of ``plan`` over ``run``; without a run every time must be in steps already."""
        if run is not None:
            horizon = as_horizon(run)
            return cls(plan, plan.resolve(horizon), horizon.steps, horizon)
        try:
            plan.rates(0)
        except UnresolvedTimeError as error:
            raise UnresolvedTimeError(
                f"'{plan.schedule}' has times that depend on the run; give it: write(plan, peer, Horizon(...)) or steps."
            ) from error
        return cls(plan, plan, WITHOUT_END, None)

    @property
    def decay(self) -> Decay | None:
        return self.plan.decay

    @property
    def factor(self) -> str:
        """The factor as an expression of ``step``."""
        return expression(self.plan.schedule, self.steps)

    def header(self, peer: str, notes: Iterable[str] = ()) -> str:
        """Return the comment that opens the source: the plan, for how long, and what is not exact.

        Where the plan's times are not in steps it is said in steps as well, so that the comment alone says all that the
        source does. A plan that is wrapped is whole again when its lines, without their "#   ", are joined by a space.
        """
        run = "" if self.run is None else f", for {self.run.steps} steps"
        given, plan = str(self.given), str(self.plan)
        lines = [f"Written by dwindle for {peer}{run}:", f"  {given}"]
        lines += ["In steps:", f"  {plan}"] if plan != given else []
        return "\n".join(
            f"# {part}" for line in (*lines, *(f"Note: {note}" for note in notes)) for part in _wrapped(line)
        )


def _wrapped(line: str) -> list[str]:
    if "  " in line.strip():
        return [line]  # joined again, two spaces would be one
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(line, 116, subsequent_indent=indent or "  ", break_long_words=False, break_on_hyphens=False)


Candidates = Callable[[Schedule, float, float], Iterable[Recipe]]


def native(
    peer: str, schedule: Schedule, peak: float, steps: float, candidates: Candidates, lr: float | None = None
) -> Recipe | None:
    """Return the first candidate that gives peak·schedule(step) on every step of the run; None if none does.

    ``candidates(schedule, peak, steps)`` only guesses: each is read back as any recipe of that peer is, and compared
    with the plan to relative 1e-12. ``lr`` is the optimiser's own learning rate, by default the peak.
    """
    at = _compared(steps)
    wanted = peak * schedule(at)
    for name, params in candidates(schedule, peak, steps):
        try:
            found = read(peer, name, params, base_lr=None if peer in ABSOLUTE else peak if lr is None else lr)
        except DwindleError:
            continue
        if isinstance(found, Plan) and _equal(found, at, wanted):
            return name, params
    return None


def _compared(steps: float) -> npt.NDArray[np.int64]:
    """Return the steps of the run; of a long one its beginning, its end, and many between."""
    last = max(int(np.ceil(steps)), 1)
    if last <= _MOST_COMPARED:
        return np.arange(last)
    half = _MOST_COMPARED // 4
    inside = np.linspace(half, last - half, 2 * half).astype(np.int64)
    return np.unique(np.concatenate((np.arange(half), inside, np.arange(last - half, last))))


def _equal(found: Plan, at: npt.NDArray[np.int64], wanted: npt.NDArray[np.float64]) -> bool:
    try:
        rates = found.peak * found.schedule(at)
    except UnresolvedTimeError:
        return False
    return bool(np.allclose(rates, wanted, rtol=1e-12, atol=1e-15 * float(np.max(wanted, initial=0.0))))


# --- source text


def module(header: str, imports: Iterable[str], functions: Iterable[str]) -> str:
    """Return a whole source: its comment, the imports it needs, its functions."""
    text = "\n\n\n".join(functions)
    used = [name for name in _MATH if re.search(rf"(?<![\w.]){name}\b(?=\(|[ )*])", text)]
    names = list(imports)
    plain = [f"import {name}" for name in names if " " not in name and name in _STANDARD]
    mathematics = [f"from math import {', '.join(used)}"] if used else []
    others = [name if " " in name else f"import {name}" for name in names if name not in _STANDARD]
    blocks = ["\n".join([*plain, *mathematics]), "\n".join(others)]
    return "\n\n".join([header, *(b for b in blocks if b)]) + f"\n\n\n{text}\n"


_STANDARD = ("fnmatch", "re")
_MATH = ("cos", "exp", "floor", "log", "pi", "sin", "sqrt", "tanh")


def value_of(weight_decay: Any) -> str:
    """Return λ as source; of a schedule it is an expression of ``step``, in parentheses."""
    return f"({expression(weight_decay)})" if isinstance(weight_decay, Schedule) else number(weight_decay)


def call(function: str, args: Iterable[str] = (), params: Mapping[str, Any] | None = None) -> str:
    """Return the source of a call; a value that is `Source` stands as it is.

    >>> call("StepLR", ["optimizer"], {"step_size": 30, "gamma": 0.1})
    'StepLR(optimizer, step_size=30, gamma=0.1)'
    """
    given = [*args, *(f"{key}={number(value)}" for key, value in (params or {}).items())]
    return f"{function}({', '.join(given)})"


class Source(str):
    """Text that is source already."""

    __slots__ = ()


def number(value: Any) -> str:
    """Return a parameter's value as Python source.

    >>> number(3e-05), number((1, 2.5)), number("cos")
    ('3e-05', '[1, 2.5]', '"cos"')
    """
    if isinstance(value, Source):
        return str(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(number(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{number(key)}: {number(item)}" for key, item in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def returned(text: str, indent: str = "    ") -> str:
    """Return ``return <text>``; a choice that is too long for a line is laid out one case a line.

    >>> print(returned("step / 10 if step < 10 else 1.0", "    "))
        return step / 10 if step < 10 else 1.0
    """
    line = f"{indent}return {text}"
    node = ast.parse(text, mode="eval").body
    if len(line) <= 116 or not isinstance(node, ast.IfExp):
        return line
    lines = []
    while isinstance(node, ast.IfExp):
        lines += [f"{indent}if {ast.unparse(node.test)}:", f"{indent}    return {ast.unparse(node.body)}"]
        node = node.orelse
    return "\n".join([*lines, f"{indent}return {ast.unparse(node)}"])
