"""The doctor for logs: what the curves of a run say is wrong with it, one file for each matter."""

from __future__ import annotations

from dataclasses import replace

from dwindle.errors import InvalidValueError, shown
from dwindle.finding import SEVERITIES, Finding
from dwindle.findings.curves.cuts import cuts
from dwindle.findings.curves.divergence import divergence
from dwindle.findings.curves.flat import flat
from dwindle.findings.curves.length import length
from dwindle.findings.curves.overfitting import overfitting
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.resume import wrong_resume
from dwindle.findings.curves.rises import lr_rise
from dwindle.findings.curves.stepping import UNLIKE, stepping
from dwindle.findings.curves.strength import lr_lambda_large
from dwindle.findings.curves.warmup import warmup_long, warmup_missing
from dwindle.logs import History
from dwindle.plan import Plan, as_plan
from dwindle.units import Horizon, as_horizon

__all__ = ["of_history"]

_ALL = (
    divergence, wrong_resume, stepping, lr_lambda_large, overfitting, lr_rise, length, cuts, flat, warmup_missing, warmup_long,
)  # fmt: skip
# what another finding explains is a note only: one fault, one alarm
_EXPLAINED = {
    "plateau": ("schedule-short", "cut-early", "wrong-stepping", "lr-lambda-large", "divergence", "wrong-resume"),
    "noise-floor": ("lr-lambda-large", "divergence", "wrong-resume", "wrong-stepping", "overfitting"),
    "oscillation": ("lr-lambda-large", "divergence", "wrong-resume"),
    "overfitting": ("divergence",),
    "schedule-short": ("wrong-stepping", "wrong-resume"),
    "schedule-long": ("wrong-stepping", "wrong-resume", "lr-rise"),
    "warmup-long": ("wrong-stepping",),
    "lr-rise": ("wrong-stepping", "wrong-resume"),
    "warmup-missing": ("divergence", "lr-lambda-large"),
    "cut-early": ("wrong-stepping", "lr-lambda-large", "divergence", "wrong-resume"),
    "cut-late": ("wrong-stepping", "divergence", "wrong-resume"),
    "divergence": ("lr-lambda-large", "wrong-resume", "lr-rise"),
    UNLIKE: ("wrong-resume", "lr-rise"),
}


def of_history(
    history: History, *, plan: Plan | None = None, horizon: Horizon | int | None = None
) -> tuple[Finding, ...]:
    """Return what is wrong with a logged run, worst first; nothing where all is well or the log cannot tell.

    ``plan`` and ``horizon`` are what the run was meant to follow: with both, the pace and the length of the schedule are compared
    exactly; without a horizon the run counts as long as its log. A log that lacks the rates is read by the plan's. Loss and rates
    may be logged at different steps; a code needs the columns that it speaks of, and ten points or more, of the validation loss
    five.

    Codes: overfitting, oscillation, noise-floor, plateau, divergence, loss-spike, warmup-missing, warmup-long, schedule-short,
    schedule-long, cut-early, cut-late, lr-rise, lr-restarts, lr-lambda-large, wrong-stepping, wrong-resume.
    A finding that another one explains is a note, and its evidence says which ("explained by").

    Raises InvalidValueError if ``history`` is no History or ``plan`` no Plan.

    >>> import numpy as np
    >>> from dwindle.logs import Series
    >>> step = np.arange(50) * 10
    >>> loss = Series("loss", step, np.where(step < 300, 2 - step / 300, np.nan))
    >>> log = History("run", {"loss": loss}, {"training loss": "loss"})
    >>> [finding.code for finding in of_history(log)]
    ['divergence']
    """
    if not isinstance(history, History):
        raise InvalidValueError(f"history must be a History; got {shown(history)}. dwindle.logs reads one from a file.")
    record = Record.of(
        history, None if plan is None else as_plan(plan), None if horizon is None else as_horizon(horizon)
    )
    found = [finding for look in _ALL for finding in look(record)]
    return tuple(sorted(_explained(found), key=lambda finding: SEVERITIES.index(finding.severity)))


def _explained(found: list[Finding]) -> list[Finding]:
    """Return the findings, those that another one explains as notes."""
    codes = {finding.code for finding in found if finding.severity != "note" and finding.subject != UNLIKE}
    kept = []
    for finding in found:
        key = UNLIKE if finding.subject == UNLIKE else finding.code
        causes = [cause for cause in _EXPLAINED.get(key, ()) if cause in codes]
        certain = finding.code == "divergence" and "column" in finding.evidence  # not a number needs no other cause
        if causes and not certain and finding.severity != "note":
            finding = replace(finding, severity="note", evidence={**finding.evidence, "explained by": causes[0]})
        kept.append(finding)
    return kept
