"""What the caller knows of a run beside its file: its steps, its processes, the type of its weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from dwindle.findings.configs.values import is_number
from dwindle.findings.setups.wording import BY_EPOCHS
from dwindle.plan import Plan
from dwindle.setup import Setup, setup_of_plan
from dwindle.units import Horizon

__all__ = ["Run", "by_epochs"]


class Run(NamedTuple):
    """What the caller knows of the run beside the file."""

    steps: int | None = None
    steps_per_epoch: int | None = None
    processes: int = 1
    accumulation: int = 1
    dtype: str | None = None
    batch_size: int | None = None
    tokens_per_step: int | None = None

    def horizon(self, steps: Any, epochs: Any) -> Horizon | None:
        """Return the run by the caller's steps, else the file's, else its epochs if those are worth something in steps."""
        worth = self._worth()
        known_steps = self.steps or (int(steps) if is_number(steps) and steps > 0 else None)
        if known_steps is not None:
            return Horizon(steps=known_steps, **worth)
        if self.steps_per_epoch is not None and is_number(epochs) and epochs > 0:
            return Horizon(epochs=epochs, **worth)
        return None

    def over(self, horizon: Horizon) -> Horizon:
        """Return ``horizon`` with what the caller says of the steps, and of what an epoch, an example and a token are worth."""
        said = {name: value for name, value in {"steps": self.steps, **self._worth()}.items() if value is not None}
        return replace(horizon, epochs=None, **said) if said else horizon

    def _worth(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("steps_per_epoch", "batch_size", "tokens_per_step")}

    def fields(self, **own: Any) -> dict[str, Any]:
        """Return the fields of a Setup: the file's ``own``, and over them what the caller knows better."""
        counts = {key: own.pop(key) for key in ("processes", "accumulation") if key in own}
        whole = {
            "framework": "config",
            "processes": _count(counts.get("processes"), self.processes),
            "accumulation": _count(counts.get("accumulation"), self.accumulation),
        }
        return {**whole, **own, "dtype": self.dtype or own.get("dtype") or "float32"}


def by_epochs(plan: Plan, epochs: float, fields: dict[str, Any]) -> Setup:
    """Return the set-up of a plan whose steps are epochs, as far as its shape goes."""
    return setup_of_plan(plan, Horizon(steps=max(1, round(epochs))), **fields, unread=(BY_EPOCHS,))


def _count(value: Any, given: int) -> int:
    """Return the caller's count if it says something, else the file's."""
    own = int(value) if is_number(value) and value >= 1 else 1
    return given if given != 1 else own
