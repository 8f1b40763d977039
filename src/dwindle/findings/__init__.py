"""The doctor: what is wrong with a run, as data with evidence and a remedy.

``dwindle.doctor`` looks at a live model with its optimiser; here ``of_setup`` looks at what an adapter has read of one,
``of_plan`` at a plan, ``of_config`` at a configuration file, ``of_history`` at a log.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dwindle.finding import SEVERITIES, Finding, Remedy

if TYPE_CHECKING:
    from dwindle.findings.configs import of_config as of_config
    from dwindle.findings.curves import of_history as of_history
    from dwindle.findings.doctor import of_plan as of_plan
    from dwindle.findings.setups import of_setup as of_setup

__all__ = ["SEVERITIES", "Finding", "Remedy", "of_config", "of_history", "of_plan", "of_setup"]

# loaded on first use: each needs another part of the house
_HOMES = {
    "of_plan": "doctor", "of_setup": "setups", "of_config": "configs", "of_history": "curves",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dwindle.findings' has no attribute {name!r}")
    return getattr(import_module(f"dwindle.findings.{_HOMES[name]}"), name)
