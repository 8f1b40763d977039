"""A plan, as a file, a text or a value, read as a set-up."""

from __future__ import annotations

from typing import Any

from dwindle.findings.configs.config import Config
from dwindle.findings.configs.run import Run
from dwindle.plan import Plan
from dwindle.setup import setup_of_plan

__all__ = ["of_plan"]


def of_plan(plan: Plan, run: Run, kind: str, **own: Any) -> Config:
    """Return what a plan sets up, read from something of this ``kind``; ``own``: further fields of the Setup."""
    horizon = run.horizon(None, None)
    setup = setup_of_plan(plan, horizon, **run.fields(framework="plan", **own))
    unread = [] if horizon else ["its length, times in epochs or %, and what depends on them: say --steps"]
    looked = ("peak", "schedule", "decay", "mask", *(() if horizon is None else (f"{horizon.steps:,} steps",)))
    return Config(kind, (setup,), looked, (*unread, "the model: a plan has none"))
