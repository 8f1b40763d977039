"""Who is explained, and at which step: the parameter, its group and factor, whether it decays and the rule that says so."""

from __future__ import annotations

import numbers
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from dwindle.errors import InvalidValueError, UnknownNameError, shown, suggestion
from dwindle.mask import Param
from dwindle.plan import Assignment, Plan
from dwindle.units import Horizon, Time, short

__all__ = ["Placed", "placed_as", "step_of"]


class Placed(NamedTuple):
    """Who is explained: its group and factor, whether it decays, and which rule says so."""

    subject: str
    group: str | None
    lr_scale: float
    said_scale: str
    decays: bool
    rule: str


def step_of(step: Any, run: Horizon) -> int:
    """Return which of the run's steps is meant; InvalidValueError for one outside it."""
    time = Time.parse(step) if isinstance(step, str) else step
    at = time.steps(run) if isinstance(time, Time) else time
    is_number = isinstance(at, numbers.Real) and not isinstance(at, bool)
    if not is_number or not 0 <= at < run.steps or int(at) != at:
        raise InvalidValueError(
            f"step must be one of the run's, 0 to {run.steps - 1}; got {step if isinstance(step, str) else shown(step)}. "
            f"The last update is step {run.steps - 1}."
        )
    return int(at)


def placed_as(plan: Plan, param: Any, params: Any, group: str | None) -> Placed:
    """Return what the plan does with the parameter: its group and factor, whether it decays and which rule says so."""
    if param is None:
        if params is not None:
            raise InvalidValueError("params lists what a model has; say which of them is meant with param.")
        scale = 1.0 if group is None else plan.scale(group)
        said = "" if group is None else f"group {group!r}"
        subject = "a weight that decays" if plan.decay is not None else "any weight"
        return Placed(subject + (f", in {said}" if said else ""), group, scale, said, True, "")
    if group is not None:
        raise InvalidValueError("the group of a parameter follows from its name; give param or group, not both.")
    found = _assigned(plan, param, params)
    described = (
        param if isinstance(param, Param) else next((p for p in params or () if p.name == param), Param(param, ()))
    )
    bracket = ", ".join(str(part) for part in (described.shape or "", described.kind) if part)
    subject = found.name if not bracket else f"{found.name}: {bracket}"
    if found.tied_to is not None:
        subject += f"; the same tensor as {found.tied_to}, which decides"
    return Placed(subject, found.group, found.lr_scale, _said_scale(plan, found), found.decays, _said_rule(plan, found))


def _assigned(plan: Plan, param: str | Param, params: Any) -> Assignment:
    name = param.name if isinstance(param, Param) else param
    if not isinstance(name, str):
        raise InvalidValueError(f"param must be a name or a mask.Param; got {shown(param)}.")
    if params is not None:
        known = list(params)
        found = next((a for a, p in zip(plan.assign(known), known, strict=True) if p.name == name), None)
        if found is None:
            raise UnknownNameError(f"the model has no parameter {name!r}; {suggestion(name, [p.name for p in known])}")
        return found._replace(name=name)
    one = param if isinstance(param, Param) else Param(name, ())
    if plan.layer_decay is not None:
        raise InvalidValueError(
            f"layer_decay counts the blocks of the whole model, so the factor of {name} needs all names; give params (--model)."
        )
    if not isinstance(param, Param):
        first = next((r for r in plan.mask.rules if r.subject in ("kind", "ndim") or r.matches(one)), None)
        if first is not None and first.subject in ("kind", "ndim"):
            raise InvalidValueError(
                f"whether {name} decays depends on its shape and the kind of its layer; give mask.Param(name, shape, kind) "
                "(--shape 128,64 --kind Linear), or the model (--model)."
            )
    # rules and groups that do not match are left out: of one parameter alone they would look mistyped
    rules = tuple(rule for rule in plan.mask.rules if rule.matches(one))
    groups = tuple(each for each in plan.groups if fnmatchcase(one.name, each.match))
    return replace(plan, mask=replace(plan.mask, rules=rules), groups=groups[:1]).assign([one])[0]


def _said_scale(plan: Plan, found: Assignment) -> str:
    if found.group is None and plan.layer_decay is None:
        return ""
    said = [] if found.group is None else [f"group {found.group!r} times {short(plan.scale(found.group))}"]
    own = 1.0 if found.group is None else plan.scale(found.group)
    if plan.layer_decay is not None:
        below = next((i for i in range(1_000) if own * plan.layer_decay**i == found.lr_scale), None)
        power = "its layer's factor" if below is None else f"layer decay {short(plan.layer_decay)}^{below}"
        said.append(power)
    return ", ".join(said)


def _said_rule(plan: Plan, found: Assignment) -> str:
    if found.rule == "no rule matched":
        return "no rule of the mask matches it, and what none matches does not decay"
    own = found.rule in {str(rule) for rule in type(plan.mask)().rules}
    return f"the first rule of the mask that matches it{', a standard one' if own else ''}: {found.rule}"
