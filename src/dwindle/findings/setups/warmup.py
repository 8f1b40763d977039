"""A warm-up that is missing where early updates are wild, or that takes the run."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.decay import Decoupled
from dwindle.findings.finding import Finding, Remedy
from dwindle.findings.setups.course_shape import Shape, shape_of
from dwindle.findings.setups.wording import plan_change
from dwindle.setup import Setup

__all__ = ["found"]

_LARGE, _LARGE_UNSEEN, _VERY = 3e-4, 1e-3, 2e-3  # Adam's rates for transformers; assumption
_LONG, _TOO_LONG = 0.35, 0.5  # of the run; OneCycleLR's own is 0.3


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding for Adam that begins at a large rate, and for a warm-up of more than a third of the run."""
    shape = shape_of(setup)
    if shape is not None:
        yield from _long(setup, shape)
    yield from _missing(setup, shape)


def _missing(setup: Setup, shape: Shape | None) -> Iterator[Finding]:
    name = setup.optimizer.lower()
    adam = setup.adaptive if setup.optimizer else isinstance(setup.plan.decay, Decoupled) if setup.plan else False
    if (
        not setup.schedule_known
        or not adam
        or (name and "adam" not in name)
        or "radam" in name
        or setup.transformer is False
        or setup.updates
    ):
        return
    peak = max((g.top for g in setup.groups), default=0.0)
    first = max((g.lr for g in setup.groups), default=0.0) if shape is None else shape.first
    if first < 0.5 * peak or peak < (_LARGE if setup.transformer else _LARGE_UNSEEN):
        return
    severity = "warning" if setup.transformer and peak >= _VERY else "note"
    unseen = "" if setup.transformer else " (What the model is cannot be told from here.)"
    who = setup.optimizer or "the plan"
    yield Finding(
        "warmup-missing",
        severity,
        f"{who} begins at {first:.3g}, its full rate: in Adam's first updates the gradient's size is hardly known, and "
        f"transformers may leave for good.{unseen}",
        {"first_rate": first, "peak": peak, "transformer": setup.transformer},
        Remedy(
            "warm up over 1 to 5 % of the run",
            plan_change(setup, "schedule", f"warmup 2%, {setup.plan.schedule}") if setup.plan else {},
        ),
        "Liu et al. 2020, arXiv 1908.03265; Xiong et al. 2020, arXiv 2002.04745 (models with the norm in front need it less); "
        "the limit is an assumption",
    )


def _long(setup: Setup, shape: Shape) -> Iterator[Finding]:
    run, s = setup.horizon, setup.scheduler
    if run is None or s is None or s.by_design or (setup.updates or 0) > 0 or not setup.course().whole:
        return
    if shape.first >= 0.95 * shape.peak:
        return
    share = shape.peak_at / run.steps
    never = shape.peak_at >= run.steps - 1.5
    if share <= _LONG and not never:
        return
    severity = "fault" if never else "warning" if share > _TOO_LONG else "note"
    yield Finding(
        "warmup-long",
        severity,
        f"the rate still rises when the run of {run.steps:,} updates ends: it is all warm-up." if never else
        f"the rate comes to its peak at update {shape.peak_at:,.0f} of {run.steps:,}, {share:.0%} of the run.",
        {"peak_at": shape.peak_at, "steps": run.steps, "share": share, "peak": shape.peak},
        Remedy("warm up over 1 to 5 % of the run, or say it in % so that it follows the run",
               plan_change(setup, "schedule", "warmup 2%, cosine to 0%") if setup.plan else {}),
        "assumption: usual recipes warm up over less than a tenth, OneCycleLR over 30 %",
    )  # fmt: skip
