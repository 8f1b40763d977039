"""A learning rate that rises again within the run without being meant to: a cosine beyond its T_max."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.course_shape import Shape, shape_of
from dwindle.findings.setups.wording import IN_SHARES, horizon_said, place_said, plan_change
from dwindle.schedule import Mirror, Repeat, Schedule
from dwindle.setup import Setup, epochs_of, is_near

__all__ = ["found"]


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if the rate falls and rises again by more than 5 % of its peak, and no restarts were asked for."""
    s, run = setup.scheduler, setup.horizon
    shape = shape_of(setup)
    if s is None or run is None or shape is None or shape.rises_at is None or s.by_design:
        return
    by_mirror = setup.plan is None or _has(setup.plan.schedule, Mirror)
    if setup.plan is not None and _has(setup.plan.schedule, Repeat):
        return
    bottom, up = shape.rises_at, shape.rises_to / shape.peak
    severity = "fault" if by_mirror and up > 0.25 else "warning"
    may_be_epochs = not s.by_update and not setup.pace().why
    if may_be_epochs and (epochs := epochs_of(run)) is not None and is_near(bottom, epochs):
        yield _by_epochs(setup, shape)
        return
    any_run = IN_SHARES in setup.unread
    what = f"{s.name} ({s.said})" if s.said and not any_run else s.name
    yield Finding(
        "lr-rise",
        severity,
        f"the learning rate of {what} is lowest at {place_said(setup, bottom)} ({shape.rises_from:.3g}) and then rises again to "
        f"{shape.rises_to:.3g}, {up:.0%} of its peak, before {horizon_said(setup)} ends.",
        {
            "lowest_at": bottom,
            "lowest": shape.rises_from,
            "rises_to": shape.rises_to,
            "peak": shape.peak,
            "steps": run.steps,
        },
        Remedy(
            "let the schedule be as long as the run" + ("" if any_run else f": {_as_long(setup)}"),
            plan_change(setup, "schedule", "cosine to 0%") if setup.plan is not None and by_mirror else {},
        ),
        "torch's CosineAnnealingLR is periodic, its period 2·T_max (its documentation)" if by_mirror else "derived",
        subject=s.name,
    )


def _by_epochs(setup: Setup, shape: Shape) -> Finding:
    s, bottom = setup.scheduler, shape.rises_at or 0.0
    assert s is not None
    return Finding(
        "lr-rise",
        "note",
        f"{s.name} is right if it is stepped once an epoch; stepped with every update its rate is lowest at "
        f"{place_said(setup, bottom)} and then rises again to {shape.rises_to:.3g}.",
        {"lowest_at": bottom, "lowest": shape.rises_from, "rises_to": shape.rises_to, "peak": shape.peak},
        Remedy("step it at the end of each epoch, or let it be as long as the run"),
        "derived",
        subject=s.name,
    )


def _as_long(setup: Setup) -> str:
    s, steps = setup.scheduler, 0 if setup.horizon is None else setup.horizon.steps
    wanted = round(steps * setup.pace().per_update)
    key = s.said.split("=")[0].split(" + ")[-1] if s is not None and "=" in s.said else "its length"
    return f"{key} = {wanted:,}".replace(",", "_") if key != "its length" else f"its length {wanted:,}"


def _has(schedule: Schedule, kind: type[Schedule]) -> bool:
    """Return whether ``schedule`` is of ``kind``, or holds one that is."""
    if isinstance(schedule, kind):
        return True
    held = [getattr(schedule, f.name) for f in fields(schedule)]  # type: ignore[arg-type]  # every schedule is a dataclass
    parts = [part for value in held for part in (value if isinstance(value, tuple) else (value,))]
    return any(_has(part, kind) for part in parts if isinstance(part, Schedule))
