"""The saved state, a step and the plan's text, and what becomes of the step when the plan or the horizon changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from dwindle.errors import InvalidValueError, ResumeError, count, known, known_keys, shown
from dwindle.plan import Plan
from dwindle.units import Horizon

__all__ = ["ON_CHANGE", "record", "resumed_step"]

FORMAT = "dwindle-torch/1"
ON_CHANGE = ("error", "keep", "rescale", "restart")


def record(step: int, plan: Plan, horizon: Horizon) -> dict[str, Any]:
    """Return the state as plain JSON values.

    >>> record(3, Plan(0.1), Horizon(steps=10))
    {'format': 'dwindle-torch/1', 'step': 3, 'plan': 'peak 0.1 | constant', 'horizon': {'steps': 10}}
    """
    times = {name: value for name, value in asdict(horizon).items() if value is not None}
    return {"format": FORMAT, "step": step, "plan": str(plan), "horizon": times}


def resumed_step(saved: Any, plan: Plan, horizon: Horizon, on_change: str) -> int:
    """Return the step at which a run under ``plan`` goes on from ``saved``.

    A plan or horizon that differs from the saved one raises ResumeError, unless ``on_change`` says what becomes of the
    step: "keep" it, "rescale" it to the same share of the new horizon, or "restart" at 0.

    >>> resumed_step(record(5, Plan(0.1), Horizon(steps=10)), Plan(0.1), Horizon(steps=30), "rescale")
    15
    """
    known("on_change", on_change, ON_CHANGE)
    step, text, times = _checked(saved)
    changes = _plan_changes(text, str(plan)) + _horizon_changes(times, record(0, plan, horizon)["horizon"])
    if not changes or on_change == "keep":
        return step
    if on_change == "error":
        raise ResumeError(
            f"the saved run, at step {step}, had another plan: {'; '.join(changes)}. Give the saved plan and horizon, "
            'or say on_change="keep" (go on from this step), "rescale" (from the same share of the run) or "restart".'
        )
    return 0 if on_change == "restart" else (2 * step * horizon.steps + times["steps"]) // (2 * times["steps"])


def _checked(saved: Any) -> tuple[int, str, dict[str, Any]]:
    """Return (step, plan text, horizon) of a saved state; raise ResumeError if it is not one."""
    if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, Mapping) else saved
        raise ResumeError(
            f"this is not a state of format {FORMAT}; got {shown(found)}. Give what controller.state_dict() returned."
        )
    missing = [key for key in ("step", "plan", "horizon") if key not in saved]
    if missing:
        raise ResumeError(f"the saved state lacks {', '.join(missing)}; it is not whole. Take an earlier checkpoint.")
    try:
        known_keys("state", saved, ["format", "step", "plan", "horizon"])
        step = count("step", saved["step"], low=0)
        if not isinstance(saved["plan"], str) or not isinstance(saved["horizon"], Mapping):
            raise InvalidValueError("plan must be text and horizon a mapping")
        times = asdict(Horizon(**saved["horizon"]))
    except (TypeError, ValueError) as error:
        raise ResumeError(f"the saved state cannot be read: {error} Take an earlier checkpoint.") from error
    return step, saved["plan"], times


def _plan_changes(old: str, new: str) -> list[str]:
    """Return one phrase for each clause of the one-line text that differs."""
    if old == new:
        return []
    was, now = old.split(" | "), new.split(" | ")
    gone = ", ".join(repr(c) for c in was if c not in now) or "nothing"
    come = ", ".join(repr(c) for c in now if c not in was) or "nothing"
    return [f"where it had {gone} this one has {come}"]


def _horizon_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one phrase for each fact of the horizon that both know and that differs."""
    facts = ("steps", "steps_per_epoch", "batch_size", "tokens_per_step")
    both = [name for name in facts if old.get(name) is not None and name in new]
    return [f"its horizon had {name}={old[name]}, this one {new[name]}" for name in both if old[name] != new[name]]
