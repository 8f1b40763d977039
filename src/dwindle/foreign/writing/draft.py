"""What the writers of all peers share: the plan as a peer will run it, and the peer's own recipe for a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.decay import Decay
from dwindle.errors import DwindleError, UnresolvedTimeError
from dwindle.foreign.schedules.peers import ABSOLUTE, read
from dwindle.foreign.writing.boundaries import narrowed
from dwindle.foreign.writing.expression import formula_or_table
from dwindle.foreign.writing.source_text import header
from dwindle.plan import Plan
from dwindle.schedule import Schedule
from dwindle.units import Horizon, as_horizon

__all__ = ["WITHOUT_END", "Draft", "Recipe", "native"]

Recipe = tuple[str, dict[str, Any]]
"""A peer's schedule: its name and its parameters, of which some may be such recipes, {"name", "params"}, themselves."""

WITHOUT_END = 10_000  # steps on which a recipe is compared with a plan that was given no run
_MOST_COMPARED = 20_000
_IN_32_BITS = ("optax", "keras")  # count their steps so


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
        return formula_or_table(self.plan.schedule, self.steps)

    def header(self, peer: str, notes: Iterable[str] = ()) -> str:
        """Return the comment that opens the source: the plan, for how long, and what is not exact.

        Where the plan's times are not in steps it is said in steps as well, so that the comment alone says all that the
        source does. A plan that is wrapped is whole again when its lines, without their "#   ", are joined by a space.
        """
        run = "" if self.run is None else f", for {self.run.steps} steps"
        given, plan = str(self.given), str(self.plan)
        lines = [f"  {given}", *(["In steps:", f"  {plan}"] if plan != given else [])]
        return header(f"{peer}{run}", lines, notes)


Candidates = Callable[[Schedule, float, float], Iterable[Recipe]]


def native(peer: str, schedule: Schedule, peak: float, steps: float, candidates: Candidates) -> Recipe | None:
    """Return the first candidate that gives peak·schedule(step) on every step of the run; None if none does.

    ``candidates(schedule, peak, steps)`` only guesses: each is read back as any recipe of that peer is, and compared
    with the plan to relative 1e-12. The optimiser's own learning rate is the peak. Where steps are counted in 32 bits, which
    a longer number stops or silently wraps, none with such a number is taken.
    """
    at = _compared(steps)
    wanted = peak * schedule(at)
    for name, params in candidates(schedule, peak, steps):
        if peer in _IN_32_BITS and narrowed(repr(params)) != repr(params):
            continue
        try:
            found = read(peer, name, params, base_lr=None if peer in ABSOLUTE else peak)
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
