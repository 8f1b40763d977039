"""A scheduler that counts something other than updates: processes, micro-batches, epochs; or counts for another optimiser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.length import as_ratio
from dwindle.setup import Setup, is_near

__all__ = ["found"]

_SOURCES = {
    "per process": "Accelerate's AcceleratedScheduler.step makes num_processes counts an update (its source)",
    "per process and micro-batch": "Accelerate's AcceleratedScheduler.step (its source)",
    "per micro-batch": "derived: with accumulation an update is several backwards",
    "per epoch": "torch's schedulers count calls of step(), whatever one stands for; Lightning's default is one an epoch",
}


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if the counts of the scheduler are not what its length was worked out for, or not seen at all."""
    s, run = setup.scheduler, setup.horizon
    if s is None or s.answers:
        return
    if s.elsewhere:
        yield _finding(
            "another optimiser", "fault",
            f"{s.name} was built for another optimiser object than the one given: its rates never arrive here.",
            {}, "build it from the optimiser that steps, after that is made for good",
        )  # fmt: skip
        return
    seen = _seen(setup)
    if s.length is not None and run is not None:
        yield from _by_length(setup, seen)
    elif seen is not None and seen > 1.0:
        yield _too_often(setup, seen)
    if s.done == 0 and (setup.updates or 0) > 0 and s.fresh is False:
        epoch = None if run is None else run.steps_per_epoch
        counts_updates = s.by_update or (s.length is not None and run is not None and is_near(s.length, run.steps))
        if (counts_updates and (setup.updates or 0) > 1) or (epoch is not None and (setup.updates or 0) > 1.05 * epoch):
            yield _finding(
                "never", "fault",
                f"the optimiser has done {setup.updates:,} updates and {s.name} was never stepped: the rate stays as it was.",
                {"updates": setup.updates, "counts": 0}, "call scheduler.step() after optimizer.step()",
            )  # fmt: skip


def _seen(setup: Setup) -> float | None:
    """Return the counts an update has made so far, as seen in the run; None where they show nothing odd or nothing at all."""
    s, updates = setup.scheduler, setup.updates or 0
    if s is None or not s.done or updates < 2 or s.per_update is not None:
        return None
    pace = setup.pace().per_update
    return pace if abs(pace - 1.0) > 1e-12 else 1.0


def _by_length(setup: Setup, seen: float | None) -> Iterator[Finding]:
    s, run, pace = setup.scheduler, setup.horizon, setup.pace()
    assert s is not None
    assert run is not None
    assert s.length is not None
    if is_near(s.length, run.steps * pace.per_update):
        if pace.why.startswith("its length") and as_ratio(setup, s.length):
            yield _epochs(setup)
        elif seen is None and s.per_update is None and pace.per_update == 1.0:
            return
        return
    sized = as_ratio(setup, s.length)
    told = next((n for n, r in setup.ratios().items() if abs(pace.per_update / r - 1.0) < 1e-6), None)
    by_updates = is_near(s.length, run.steps)
    if sized is None and not by_updates:
        if seen is not None and seen > 1.05:
            yield _too_often(setup, seen)
        return
    if sized is None and told is None:
        if seen is not None and seen > 1.05:
            yield _too_often(setup, seen)
        elif seen is not None and ((s.done or 0) + 1) / (setup.updates or 1) < 0.9:
            yield _too_seldom(setup, seen)
        return
    subject = told if told is not None else sized[0] if sized is not None else ""
    sure = bool(pace.why)
    size = f"{s.length:,} counts ({s.said})" if s.said else f"{s.length:,} counts"
    meant = "of updates" if sized is None else f"counted {sized[0]}"
    steps = (
        f"makes {_number(pace.per_update)} of them an update ({pace.why})" if sure else "makes one an update as a rule"
    )
    severity = "fault" if sure or s.by_update else "warning"
    wanted = round(run.steps * pace.per_update)
    fix = f"give it {wanted:,} counts"
    if not sure and sized is not None:
        fix += f"; {s.length:,} are right only where it is stepped {sized[0]}, as Accelerate does for processes"
    ends = s.length / pace.per_update
    through = f"it is through after {ends:,.0f} of {run.steps:,} updates"
    if ends > run.steps:
        through = f"it would be through after {ends:,.0f} updates, and the run has {run.steps:,}"
    yield _finding(
        subject, severity,
        f"{s.name} is made for {size}, the length of the run {meant}, and {steps}: {through}.",
        {"length": s.length, "counts_per_update": pace.per_update, "known_from": pace.why, "steps": run.steps,
         "sized_as": "updates" if sized is None else sized[0], "processes": setup.processes,
         "accumulation": setup.accumulation},
        fix,
    )  # fmt: skip


def _epochs(setup: Setup) -> Finding:
    s, run = setup.scheduler, setup.horizon
    assert s is not None
    assert run is not None
    return _finding(
        "per epoch", "note",
        f"{s.name} is made for {s.length:,} counts ({s.said}), the epochs of the run: that is right if it is stepped once an "
        f"epoch; stepped with every update it is through after {s.length:,} of {run.steps:,}.",
        {"length": s.length, "steps": run.steps, "steps_per_epoch": run.steps_per_epoch},
        f"step it at the end of each epoch; or give it {run.steps:,} counts and step it with every update",
    )  # fmt: skip


def _too_often(setup: Setup, seen: float) -> Finding:
    s = setup.scheduler
    assert s is not None
    name = next((n for n, r in setup.ratios().items() if abs(seen / r - 1.0) < 1e-6), "per micro-batch")
    return _finding(
        name, "warning",
        f"{s.name} has made {s.done:,} counts in {setup.updates:,} updates, {_number(seen)} an update: its rates fall that much "
        "faster than updates are done.",
        {"counts": s.done, "updates": setup.updates, "counts_per_update": seen},
        "step it once after each optimizer.step(), not after each backward or in each process",
    )  # fmt: skip


def _too_seldom(setup: Setup, seen: float) -> Finding:
    s, run = setup.scheduler, setup.horizon
    assert s is not None
    assert run is not None
    return _finding(
        "per epoch", "fault",
        f"{s.name} is made for {s.length:,} counts, the updates of the run, and has made {s.done:,} in {setup.updates:,} "
        f"updates, {_number(seen)} an update: its rates hardly fall.",
        {"counts": s.done, "updates": setup.updates, "counts_per_update": seen, "length": s.length, "steps": run.steps},
        "step it once after each optimizer.step(), not at the end of an epoch",
    )  # fmt: skip


def _number(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio >= 1.0 else f"1/{1.0 / ratio:,.4g}"


def _finding(subject: str, severity: str, verdict: str, evidence: dict[str, Any], fix: str) -> Finding:
    source = _SOURCES.get(subject, "derived")
    fix = f"{fix}; a plan (dw.torch.attach) counts the updates themselves, and none of this can happen"
    return Finding("wrong-stepping", severity, verdict, evidence, Remedy(fix), source, subject=subject)
