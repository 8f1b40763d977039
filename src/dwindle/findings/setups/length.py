"""A schedule that ends before the run does, or that the run does not let come to its end."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.course_shape import main_group, shape_of
from dwindle.findings.setups.wording import IN_SHARES, counted, horizon_said, place_said, plan_change
from dwindle.setup import Scheduler, Setup, epochs_of, is_near

__all__ = ["as_ratio", "found"]

_NAMES = {
    "per process": "processes", "per micro-batch": "micro-batches of an update",
    "per process and micro-batch": "processes times micro-batches", "per epoch": "updates of an epoch",
}  # fmt: skip
_NEXT_TO_NOTHING = 1e-3  # of the highest rate


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if the scheduler's own length, at its pace, is not that of the run (within 1 %, a step or a count).

    A rate that dies away has no length of its own, only a count from which it is nothing: that may lie beyond the run. Where the
    pace is not known, and one count an epoch keeps that beyond it, or the count from which a function has no rate, it is a note.
    """
    s, run = setup.scheduler, setup.horizon
    if s is None or run is None or s.length is None or s.answers or s.elsewhere:
        return
    pace = setup.pace()
    ends = s.length / pace.per_update
    if is_near(ends, run.steps) or is_near(s.length, run.steps * pace.per_update) or _may_fit(setup, s.length):
        return
    dies_away = _dies_away(s, s.length)
    if dies_away and ends > run.steps:
        return
    if ends > run.steps:
        yield _long(setup, ends)
        return
    epochs = epochs_of(run)
    fits_epochs = (dies_away or _stops(s)) and not pace.why and epochs is not None and s.length >= epochs
    yield (_by_epochs if fits_epochs else _short)(setup, ends)


def _dies_away(s: Scheduler, length: int) -> bool:
    """Return whether the length is a count from which the rate is nothing, and it is next to nothing halfway there already."""
    half = int(np.searchsorted(s.at, length / 2.0))
    if not _is_seen(s) or s.at[0] > length / 2.0 or half >= len(s.at):
        return False
    return bool(np.max(s.lr[:, half]) <= _NEXT_TO_NOTHING * max(np.max(s.lr), *s.bases, 0.0))


def _is_seen(s: Scheduler) -> bool:
    """Return whether the length is read off the rates, and no number that the scheduler was given."""
    return "rate is" in s.said


def _stops(s: Scheduler) -> bool:
    """Return whether the length is the count from which on the scheduler has no rate."""
    return "has no rate" in s.said


def _may_fit(setup: Setup, length: int) -> bool:
    """Return whether the pace seen so far, of few counts, leaves room for the run's length: the next one may be due."""
    s, run, updates = setup.scheduler, setup.horizon, setup.updates
    if s is None or run is None or s.per_update is not None or not s.done or not updates or s.done >= updates:
        return False
    return length * updates / (s.done + 1) <= run.steps <= length * updates / s.done


def as_ratio(setup: Setup, length: float) -> tuple[str, float] | None:
    """Return what the run's length must be multiplied by to give ``length``: (name, ratio), None where nothing fits."""
    steps = 0 if setup.horizon is None else setup.horizon.steps
    return next(((name, r) for name, r in setup.ratios().items() if steps and is_near(length, steps * r)), None)


def _short(setup: Setup, ends: float) -> Finding:
    s, run, course = setup.scheduler, setup.horizon, setup.course()
    assert s is not None
    assert run is not None
    left = 1.0 - ends / run.steps
    lr = course.lr[main_group(course)]
    after = lr[course.at >= ends]
    shape = shape_of(setup)
    peak = float(lr.max()) if shape is None else shape.peak
    rest = float(after.max()) if len(after) else None
    dead = s.name == "OneCycleLR" or _stops(s) or (rest is not None and rest <= 0.01 * peak)
    severity = "note" if left < 0.05 and rest is not None and rest <= 0.1 * peak else "fault" if dead else "warning"
    then = (
        "and raises an error there" if s.name == "OneCycleLR"
        else "and the run cannot go on there" if _stops(s)
        else "" if rest is None
        else f"and the last {left:.1%} of the run are at a rate of {rest:.3g}" if rest <= 0.01 * peak or len(set(after)) == 1
        else f"and the last {left:.1%} of the run go up to a rate of {rest:.3g}"
    )  # fmt: skip
    verdict = f"{_who(setup)} ends at {place_said(setup, ends)}{_named(setup)}, {then}.".replace(", .", ".")
    return _finding(setup, "schedule-short", severity, verdict, ends, {"left": left, "rate_after": rest})


def _by_epochs(setup: Setup, ends: float) -> Finding:
    s, run = setup.scheduler, setup.horizon
    assert s is not None
    assert run is not None
    verdict = (
        f"{s.name} is right if it is stepped once an epoch; stepped with every update {s.said.split(' from count')[0]} "
        f"from {place_said(setup, ends)} on."
    )
    return _finding(
        setup, "schedule-short", "note", verdict, ends, {"left": 1.0 - ends / run.steps, "rate_after": None}
    )


def _long(setup: Setup, ends: float) -> Finding:
    s, run, course = setup.scheduler, setup.horizon, setup.course()
    assert s is not None
    assert run is not None
    lr = course.lr[main_group(course)]
    peak, last = float(lr.max()), float(lr[-1]) if course.whole else None
    share = None if last is None or not peak else last / peak
    severity = "warning" if share is None else "fault" if share > 0.5 else "note" if share < 0.05 else "warning"
    left = "" if share is None else f": its last rate is {last:.3g}, {share:.0%} of the peak"
    at = f"{counted(setup)} {ends:,.0f}{_named(setup)}"
    verdict = f"{_who(setup)} would end at {at}, and {horizon_said(setup)} cuts it off{left}."
    return _finding(setup, "schedule-long", severity, verdict, ends, {"last_rate": last, "last_share_of_peak": share})


def _who(setup: Setup) -> str:
    s = setup.scheduler
    assert s is not None
    return f"{s.name} ({s.said})" if s.said and IN_SHARES not in setup.unread else s.name


def _named(setup: Setup) -> str:
    s, run = setup.scheduler, setup.horizon
    assert s is not None
    assert run is not None
    assert s.length is not None
    ratio = as_ratio(setup, s.length)
    if ratio is None:
        return ""
    name, by = ratio
    number = round(by if by > 1.0 else 1.0 / by)
    return f" (its length is {run.steps:,} {'times' if by > 1.0 else 'by'} {number:,}, the {_NAMES[name]})"


def _finding(setup: Setup, code: str, severity: str, verdict: str, ends: float, more: dict[str, object]) -> Finding:
    s, run, pace = setup.scheduler, setup.horizon, setup.pace()
    assert s is not None
    assert run is not None
    assert s.length is not None
    wanted = round(run.steps * pace.per_update)
    ratio = as_ratio(setup, s.length)
    key = s.said.split("=")[0].split(" + ")[-1] if "=" in s.said and not _is_seen(s) else "its length"
    says = f"let it be as long as the run: {key} = {wanted}"
    if _dies_away(s, s.length):
        says = "slow the decay, or step it once an epoch"
    if not pace.why and not s.by_update and run.steps_per_epoch is None and ends < run.steps:
        says += "; if it is stepped once an epoch, say so: Horizon(epochs=E, steps_per_epoch=K)"
    evidence = {
        "length": s.length, "said": s.said, "ends_at_update": ends, "steps": run.steps, "ratio": s.length / run.steps,
        "counts_per_update": pace.per_update, "ratio_is": None if ratio is None else ratio[0], **more,
    }  # fmt: skip
    change = plan_change(setup, "schedule", "cosine to 0%") if setup.plan is not None else {}
    if change:
        says = "say its times in % of the run, or leave the last one open: it then fills the run"
    return Finding(code, severity, verdict, evidence, Remedy(says, change), "derived", subject=s.name)
