"""A warm-up that is missing where early updates are wild, or that takes the run."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.decay import Decoupled
from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.course_shape import Shape, shape_of
from dwindle.findings.setups.wording import horizon_said, place_said, plan_change
from dwindle.setup import Setup

__all__ = ["found", "too_long"]

_LARGE, _LARGE_UNSEEN, _VERY = 3e-4, 1e-3, 2e-3  # Adam's rates for transformers; assumption
_LONG, _TOO_LONG = 0.35, 0.5  # of the run; OneCycleLR's own is 0.3


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding for Adam that begins at a large rate, and for a warm-up of more than a third of the run."""
    yield from too_long(setup)
    yield from _missing(setup, shape_of(setup))


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


def too_long(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if the rate rises from the beginning on for more than a third of the run.

    Seen from within a run, a rate that rises is a warm-up only if the schedule says where it ends, and it has not ended yet.
    """
    run, s, shape = setup.horizon, setup.scheduler, shape_of(setup)
    if run is None or s is None or shape is None or s.by_design or not setup.course().whole:
        return
    if shape.begins > 0.0 and (s.length is None or (s.done or 0) >= s.length):
        return
    if shape.first >= 0.95 * shape.peak or (shape.rises_at is not None and shape.rises_at < shape.peak_at):
        return
    share = shape.peak_at / run.steps
    never = shape.peak_at >= run.steps - 1.5
    if share <= _LONG and not never:
        return
    severity = "fault" if never else "warning" if share > _TOO_LONG else "note"
    yield Finding(
        "warmup-long",
        severity,
        f"the rate still rises when {horizon_said(setup)} ends: it is all warm-up." if never else
        f"the rate comes to its peak at {place_said(setup, shape.peak_at)}: {share:.0%} of it are warm-up.",
        {"peak_at": shape.peak_at, "steps": run.steps, "share": share, "peak": shape.peak},
        Remedy("warm up over 1 to 5 % of the run, or say it in % so that it follows the run",
               plan_change(setup, "schedule", "warmup 2%, cosine to 0%") if setup.plan else {}),
        "assumption: usual recipes warm up over less than a tenth, OneCycleLR over 30 %",
    )  # fmt: skip
