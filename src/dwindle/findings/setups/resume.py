"""Optimiser and scheduler that do not come from the same moment of the same run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.finding import Finding, Remedy
from dwindle.setup import Scheduler, Setup

__all__ = ["found"]

_SKIPPED = 10  # updates that a GradScaler may have skipped, which the scheduler counted
_ORDER = (
    "build model, optimiser and scheduler as for a new run, then load all three states from one checkpoint, the optimiser's "
    "last; with dw.torch.attach any order is right"
)


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if the optimiser's count, rates and initial rates are not the scheduler's."""
    s = setup.scheduler
    if s is None or s.answers or s.elsewhere or setup.followed:
        return
    yield from _counts(setup, s)
    yield from _rates(setup, s)


def _counts(setup: Setup, s: Scheduler) -> Iterator[Finding]:
    updates, done = setup.updates, s.done
    if updates is None or done is None:
        return
    said, severity = "", "fault"
    if updates and not done:
        if s.fresh:
            said = f"the optimiser has done {updates:,} updates and {s.name} begins anew at 0: its rates start over."
    elif done and not updates:
        said = f"{s.name} stands at {done:,} and the optimiser has no state: its moments begin anew at a rate of a late step."
    elif updates and done:
        said, severity = _apart(setup, s, updates, done), "warning"
    if said:
        evidence = {"optimizer_updates": updates, "scheduler_counts": done}
        yield _finding("counts", severity, said, evidence)


def _apart(setup: Setup, s: Scheduler, updates: int, done: int) -> str:
    """Return in words how two counts differ that should agree; "" where they may be meant so."""
    ratio, known = done / updates, setup.ratios().values()
    by_update = abs(ratio - 1.0) <= 0.05 or s.per_update == 1.0
    said = f"the optimiser has done {updates:,} updates and {s.name} stands at {done:,}: they are not from the same moment."
    if by_update:
        close = 0 <= done - updates <= max(_SKIPPED, 0.02 * updates) or 0 <= updates - done <= 1
        return "" if close else said
    if any(abs(ratio / r - 1.0) <= 0.05 for r in known) or s.per_update is not None:
        return ""
    if ratio > 1.0:
        return "" if abs(ratio - round(ratio)) <= 0.05 * ratio else said
    epoch = None if setup.horizon is None else setup.horizon.steps_per_epoch
    if epoch is not None:  # a scheduler of epochs may be one behind, or one ahead
        return "" if abs(done - updates / epoch) <= 1.0 else said
    return said if ratio > 0.5 else ""


def _rates(setup: Setup, s: Scheduler) -> Iterator[Finding]:
    initial = [g.initial for g in setup.groups]
    for i, (base, own) in enumerate(zip(s.bases, initial, strict=False)):
        if own is not None and _differ(base, own):
            yield _finding(
                "initial rates", "warning",
                f"{s.name} multiplies {base:.3g} in {setup.groups[i].name}, and the group's own initial_lr is {own:.3g}: one "
                "of the two was loaded, the other made anew.",
                {"group": i, "base_lr": base, "initial_lr": own},
            )  # fmt: skip
            break
    for i, (last, group) in enumerate(zip(s.last, setup.groups, strict=False)):
        if _differ(last, group.lr):
            anew = group.initial is not None and not _differ(group.lr, group.initial)
            yield _finding(
                "present rates", "fault" if anew else "warning",
                f"{s.name} has set {last:.3g} in {group.name} and the group has {group.lr:.3g}"
                f"{', the rate of a beginning' if anew else ''}: the next updates take the group's, until the scheduler steps.",
                {"group": i, "scheduler_lr": last, "group_lr": group.lr},
            )  # fmt: skip
            break


def _differ(a: float, b: float) -> bool:
    return abs(a - b) > 1e-6 * max(abs(a), abs(b))


def _finding(subject: str, severity: str, verdict: str, evidence: dict[str, Any]) -> Finding:
    return Finding("wrong-resume", severity, verdict, evidence, Remedy(_ORDER), "derived", subject=subject)
