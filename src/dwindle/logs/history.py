"""A log as a value: every series of numbers it holds, what each of them is, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwindle.arrays import float64
from dwindle.errors import InvalidValueError, a_kind, known, shown

__all__ = ["ROLES", "History", "Series"]

ROLES = (
    "lr", "training loss", "validation loss", "training accuracy", "validation accuracy", "gradient norm", "weight norm",
    "weight decay", "epoch", "batch size", "tokens",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Series:
    """One column: ``value`` [n] after ``step`` [n], float64, in the order of the file; only where a number was logged.

    A value may be NaN or infinite where the log says so; a step is whole and may go back, as after a restart.

    >>> Series("loss", [100, 200], [3.5, 3.25]).value.tolist()
    [3.5, 3.25]
    """

    name: str
    step: Any
    value: Any

    def __post_init__(self) -> None:
        a_kind("name", self.name, str)
        for what in ("step", "value"):
            array = float64(f"{self.name}: {what}", getattr(self, what))
            array.flags.writeable = False
            object.__setattr__(self, what, array)
        if self.step.shape != self.value.shape or self.step.ndim != 1:
            raise InvalidValueError(
                f"{shown(self.name)}: step has the shape {self.step.shape} and value {self.value.shape}; give one value a step."
            )

    def __len__(self) -> int:
        return len(self.step)

    def __repr__(self) -> str:
        return f"Series({self.name!r}, {len(self)} points)"


@dataclass(frozen=True, eq=False)
class History:
    """A whole log: its ``series`` by their names in the file, and ``roles``, which of them is the lr, a loss and so on.

    ``unit`` is what a step counts: "step" (optimiser steps), "epoch" (Keras' CSVLogger knows no steps) or "row" (neither was
    logged; the first is 0). ``format`` is the file's: "csv", "jsonl", "json", "trainer_state" or "tensorboard". ``notes`` say in
    words what was chosen, left out, repaired or thinned, with line numbers. ``ROLES`` lists the roles.

    >>> loss = Series("val_loss", [100, 200], [3.5, 3.25])
    >>> run = History("run", {"val_loss": loss}, {"validation loss": "val_loss"})
    >>> run.get("validation loss").value.tolist(), run.get("lr")
    ([3.5, 3.25], None)
    """

    name: str
    series: Mapping[str, Series]
    roles: Mapping[str, str] = field(default_factory=dict)
    unit: str = "step"
    format: str = ""
    path: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        a_kind("name", self.name, str)
        known("unit", self.unit, ("step", "epoch", "row"))
        for what in ("series", "roles"):
            a_kind(what, getattr(self, what), Mapping)  # type: ignore[type-abstract]
        for name, each in self.series.items():
            a_kind(f"series {shown(name)}", each, Series)
        for role, name in self.roles.items():
            known("role", role, ROLES)
            known("series", name, self.series)

    def get(self, role: str) -> Series | None:
        """Return the series of that role; None where the log has none."""
        name = self.roles.get(known("role", role, ROLES))
        return None if name is None else self.series[name]

    def __repr__(self) -> str:
        return f"History({self.name!r}, {', '.join(map(repr, self.series))})"
