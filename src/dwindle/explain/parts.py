"""A schedule at one step, taken apart: what each node is, the step it sees, its formula with the numbers put in, its value."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from dwindle.errors import a_kind, real
from dwindle.explain.formulas import spoken
from dwindle.schedule import Schedule
from dwindle.units import Horizon, Time

__all__ = ["Part", "taken_apart"]


@dataclass(frozen=True, slots=True)
class Part:
    """One node of a schedule: its text, the ``step`` it was asked for, which piece of it answered, formula and value.

    ``formula`` is arithmetic in numbers alone; ``parts`` are the nodes that it was worked out from.
    """

    what: str
    step: float
    why: str
    formula: str
    value: float
    parts: tuple[Part, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the part as JSON can hold it."""
        own = {name: getattr(self, name) for name in ("what", "step", "why", "formula", "value")}
        return own | {"parts": [part.as_dict() for part in self.parts]}


def taken_apart(schedule: Schedule, step: float) -> Part:
    """Return a resolved schedule at ``step``, node by node; the value of each is the node's own, to the bit.

    A node is asked for its value with listeners in the place of its children, so that whatever step it asks them for is
    known without saying its arithmetic again: any node, also one to come, is explained.

    >>> from dwindle.schedule import cosine, warmup
    >>> part = taken_apart(warmup(10).then(cosine(90)), 55)
    >>> part.why, part.parts[0].step, part.parts[0].formula, part.value
    ('piece 2 of 2, from step 10 on', 45, '(1 + cos(π·45/90))/2', 0.5)
    """
    a_kind("schedule", schedule, Schedule)  # type: ignore[type-abstract]
    real("step", step)
    heard: list[_Listener] = []

    def put(child: Any) -> Any:
        return _Listener(child, heard) if isinstance(child, Schedule) else child

    changes: dict[str, Any] = {}
    for each in fields(schedule):  # type: ignore[arg-type]  # every Schedule is a dataclass
        held = getattr(schedule, each.name)
        if each.init and isinstance(held, Schedule):
            changes[each.name] = put(held)
        elif each.init and isinstance(held, tuple) and any(isinstance(child, Schedule) for child in held):
            changes[each.name] = tuple(put(child) for child in held)
    whole: Any = replace(schedule, **changes) if changes else schedule  # type: ignore[type-var]
    value = float(whole(step))
    parts = tuple(taken_apart(listener.schedule, listener.step) for listener in heard)
    said = spoken(schedule, step, tuple((part.step, part.value) for part in parts), value)
    return Part(str(schedule), step, said.why, said.formula, value, parts)


class _Listener(Schedule):
    """Stands in the place of a child and notes the step that it is asked for."""

    def __init__(self, schedule: Schedule, heard: list[_Listener]) -> None:
        self.schedule, self.heard, self.step = schedule, heard, 0.0

    @property
    def duration(self) -> Time | int | None:
        return self.schedule.duration

    def resolve(self, horizon: Horizon, room: float | None = None) -> Schedule:
        return self

    def __call__(self, step: Any) -> Any:
        self.step = step if isinstance(step, int) else float(step)
        self.heard.append(self)
        return self.schedule(step)
