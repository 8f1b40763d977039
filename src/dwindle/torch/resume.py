"""What a run was given and where it stands, saved as plain values; and what becomes of both when a run goes on from them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any

from dwindle.errors import DwindleError, InvalidValueError, ResumeError, count, known, known_keys, shown
from dwindle.plan import Plan, difference
from dwindle.schedule import FeedbackRule
from dwindle.text import parse
from dwindle.units import Horizon

__all__ = ["ON_CHANGE", "Given", "Progress", "record", "replanned", "resumed"]

FORMAT = "dwindle-torch/1"
ON_CHANGE = ("error", "keep", "rescale", "restart")

Replanned = tuple[Plan, Horizon]


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: updates done, the plan and horizon in effect, and the state of its feedback rule."""

    step: int
    plan: Plan
    horizon: Horizon
    feedback: Any = None


@dataclass(frozen=True, slots=True)
class Given:
    """What `attach` was given: the plan, the run and, if there is one, the rule that answers a metric.

    Raises InvalidValueError for a rule that does not fit the plan's peak or cannot be saved.
    """

    plan: Plan
    horizon: Horizon
    rule: FeedbackRule[Any] | None = None

    def __post_init__(self) -> None:
        if self.rule is None:
            return
        if not isinstance(self.rule, FeedbackRule):
            raise InvalidValueError(
                f"feedback must be a rule such as Plateau(0.5, patience=3); got {shown(self.rule)}."
            )
        if self.plan.peak == 0.0:
            raise InvalidValueError("a plan with peak 0 has no rate that a feedback rule could change; give a peak.")
        self.peak(self.rule.init())
        for value in (self.rule, self.rule.init()):
            _plain(value)

    def begin(self, step: int = 0) -> Progress:
        """Return where the run stands before its first update, or before that of a later ``step`` it begins at."""
        return Progress(step, self.plan, self.horizon, None if self.rule is None else self.rule.init())

    def peak(self, feedback: Any) -> float | None:
        """Return the peak in effect, or None if no rule moves it."""
        return None if self.rule is None else self.rule.rate(feedback, self.plan.peak)


def replanned(now: Progress, plan: Plan, horizon: Horizon) -> Progress:
    """Return ``now`` under another plan; raise InvalidValueError for one that a saved state could not carry."""
    try:
        if parse(str(plan)) == plan:
            return Progress(now.step, plan, horizon, now.feedback)
        why = "it reads back as another plan"
    except DwindleError as error:
        why = str(error)
    raise InvalidValueError(f"a run planned anew is saved as text, and {shown(str(plan))} is none: {why}.")


def record(given: Given, now: Progress) -> dict[str, Any]:
    """Return the state as plain JSON values: the plan given, and beside it the one in effect if that is another.

    >>> record(Given(Plan(0.1), Horizon(steps=10)), Progress(3, Plan(0.1), Horizon(steps=10)))
    {'format': 'dwindle-torch/1', 'step': 3, 'plan': 'peak 0.1 | constant', 'horizon': {'steps': 10}}
    """
    state: dict[str, Any] = {"format": FORMAT, "step": now.step, **_said(given.plan, given.horizon)}
    if (now.plan, now.horizon) != (given.plan, given.horizon):
        state["replanned"] = _said(now.plan, now.horizon)
    if given.rule is not None:
        state["feedback"] = {"rule": _described(given.rule), "state": _plain(now.feedback)}
    return state


def resumed(saved: Any, given: Given, on_change: str) -> Progress:
    """Return where a run goes on from ``saved``, whose plan may have been planned anew since it was given.

    A plan, horizon or rule other than the saved one raises ResumeError, unless ``on_change`` says what becomes of the
    step: "keep" it, "rescale" it to the same share of the new horizon, or "restart" at 0. The new plan is then followed.
    The length that the run was extended to, beside the plan it began with, is no change: it goes on as extended. A
    rule of the same kind and peak keeps its state, any other begins.

    >>> before = record(Given(Plan(0.1), Horizon(steps=10)), Progress(5, Plan(0.1), Horizon(steps=10)))
    >>> resumed(before, Given(Plan(0.1), Horizon(steps=30)), "rescale").step
    15
    """
    known("on_change", on_change, ON_CHANGE)
    was = _checked(saved)
    course = _plan_changes(was.said, given)
    rule = _rule_changes(was.rule, None if given.rule is None else _described(given.rule))
    follows = None if course else was.replanned
    if course and was.replanned and not _plan_changes(_said(*was.replanned), given):
        course = []  # the script was brought up to date: it gives the plan in effect
    if course and on_change == "error" and was.replanned and _extends(was, was.replanned[1], given):
        course, follows = [], was.replanned
    if (course or rule) and on_change == "error":
        anew = "" if was.replanned is None else f" It was planned anew since, to end at step {was.replanned[1].steps}."
        raise ResumeError(
            f"the saved run, at step {was.step}, had another plan: {'; '.join(course + rule)}.{anew} Give the saved one, "
            'or say attach(..., on_change="keep") (go on from this step), "rescale" (from the same share of the run) or '
            '"restart".'
        )
    if (course or rule) and on_change == "restart":
        return given.begin()
    plan, horizon = (given.plan, given.horizon) if follows is None else _fitting(follows, given.plan)
    step = was.step if on_change != "rescale" or not course else _rescaled(was, horizon.steps)
    return Progress(step, plan, horizon, _feedback(was, given.rule))


def _extends(was: _Saved, run: Horizon, given: Given) -> bool:
    """Whether the script gives the plan it gave at first, and the run that this one was then extended to."""
    return not _clauses(was.said["plan"], str(given.plan)) and not _facts(_times(run), _times(given.horizon))


@dataclass(frozen=True, slots=True)
class _Saved:
    """A saved state whose parts are of their kinds."""

    step: int
    said: Mapping[str, Any]
    replanned: Replanned | None
    rule: Mapping[str, Any] | None
    state: Any


def _checked(saved: Any) -> _Saved:
    """Return the parts of a saved state; raise ResumeError if it is not one."""
    if not isinstance(saved, Mapping) or saved.get("format") != FORMAT:
        found = saved.get("format") if isinstance(saved, Mapping) else saved
        raise ResumeError(
            f"this is not a state of format {FORMAT}; got {shown(found)}. Give what controller.state_dict() returned."
        )
    missing = [key for key in ("step", "plan", "horizon") if key not in saved]
    if missing:
        raise ResumeError(f"the saved state lacks {', '.join(missing)}; it is not whole. Take an earlier checkpoint.")
    try:
        known_keys("state", saved, ["format", "step", "plan", "horizon", "replanned", "feedback"])
        step = count("step", saved["step"], low=0)
        plan, horizon = _read(saved)
        anew = saved.get("replanned")
        if anew is not None:
            text, run = _read(_whole("replanned", anew, "plan", "horizon"))
            anew = parse(text), run
        feedback = _whole("feedback", saved.get("feedback", {"rule": None, "state": None}), "rule", "state")
        rule = feedback["rule"]
        if rule is not None:
            _whole("fields", _whole("rule", rule, "kind", "fields")["fields"])
    except (TypeError, ValueError) as error:
        raise ResumeError(f"the saved state cannot be read: {error} Take an earlier checkpoint.") from error
    return _Saved(step, {"plan": plan, "horizon": _times(horizon)}, anew, rule, feedback["state"])


def _whole(name: str, value: Any, *keys: str) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping with just these ``keys`` (none: any)."""
    if not isinstance(value, Mapping) or (keys and set(value) != set(keys)):
        raise InvalidValueError(f"{name} must be a mapping{' of ' + ' and '.join(keys) if keys else ''}")
    return value


def _read(said: Mapping[str, Any]) -> tuple[str, Horizon]:
    if not isinstance(said["plan"], str) or not isinstance(said["horizon"], Mapping):
        raise InvalidValueError("plan must be text and horizon a mapping")
    return said["plan"], Horizon(**said["horizon"])


def _said(plan: Plan, horizon: Horizon) -> dict[str, Any]:
    return {"plan": str(plan), "horizon": _times(horizon)}


def _times(horizon: Horizon) -> dict[str, Any]:
    return {name: value for name, value in asdict(horizon).items() if value is not None}


def _rescaled(was: _Saved, steps: int) -> int:
    whole = was.said["horizon"]["steps"] if was.replanned is None else was.replanned[1].steps
    return int((2 * was.step * steps + whole) // (2 * whole))


def _fitting(anew: Replanned, plan: Plan) -> Replanned:
    """Return what is in effect; it may differ from the plan given in its schedules only, or the state is no good."""
    kinds = [None if p.decay is None else (type(p.decay), p.decay.cautious) for p in (anew[0], plan)]
    others = difference(anew[0], plan).keys() - {"schedule", "decay"}
    if others or kinds[0] != kinds[1]:
        raise ResumeError(
            f"the saved state's plan in effect, {shown(str(anew[0]))}, is none that {shown(str(plan))} could have become; "
            "take an earlier checkpoint."
        )
    return anew


# The rule and its state


def _plain(value: Any) -> dict[str, Any]:
    """Return the fields of a rule or its state as JSON has them: lists for tuples."""
    if not is_dataclass(value) or isinstance(value, type):
        raise InvalidValueError(
            f"a rule and its state must be dataclasses, so that they can be saved; got {shown(value)}."
        )
    try:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(value)))
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{shown(value)} cannot be saved as plain values: {error}.") from error
    return plain


def _described(rule: FeedbackRule[Any]) -> dict[str, Any]:
    return {"kind": type(rule).__name__, "fields": _plain(rule)}


def _feedback(was: _Saved, rule: FeedbackRule[Any] | None) -> Any:
    """Return the saved state for ``rule``, or its first one if the saved rule's says nothing to it."""
    if rule is None:
        return None
    first, now = rule.init(), _described(rule)
    if was.rule is None or was.rule["kind"] != now["kind"] or was.rule["fields"].get("peak") != rule.peak:
        return first
    try:
        names = [field.name for field in fields(first) if field.init]
        return type(first)(**_whole("the rule's state", was.state, *names))
    except (TypeError, ValueError) as error:
        raise ResumeError(f"the saved {now['kind']} cannot be read: {error}. Take an earlier checkpoint.") from error


# What changed, in words


def _rule_changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> list[str]:
    if old is None or new is None or old["kind"] != new["kind"]:
        was, now = ("no rule" if rule is None else f"the rule {rule['kind']}" for rule in (old, new))
        return [] if was == now else [f"where it had {was} this one has {now}"]
    names = [name for name in {**old["fields"], **new["fields"]} if old["fields"].get(name) != new["fields"].get(name)]
    return [
        f"its {new['kind']} had {name}={old['fields'].get(name)!r}, this one {new['fields'].get(name)!r}"
        for name in names
    ]


def _plan_changes(said: Mapping[str, Any], given: Given) -> list[str]:
    """Return one phrase for each clause of the one-line text, and each fact of the horizon, that differs."""
    return _clauses(said["plan"], str(given.plan)) + _facts(said["horizon"], _times(given.horizon))


def _clauses(old: str, new: str) -> list[str]:
    if old == new:
        return []
    was, now = old.split(" | "), new.split(" | ")
    gone = ", ".join(repr(c) for c in was if c not in now) or "nothing"
    come = ", ".join(repr(c) for c in now if c not in was) or "nothing"
    return [f"where it had {gone} this one has {come}"]


def _facts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the facts of the horizon that both know and that differ."""
    facts = ("steps", "steps_per_epoch", "batch_size", "tokens_per_step")
    both = [name for name in facts if old.get(name) is not None and name in new]
    return [f"its horizon had {name}={old[name]}, this one {new[name]}" for name in both if old[name] != new[name]]
