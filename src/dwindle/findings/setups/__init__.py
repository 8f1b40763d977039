"""What can be wrong with a set-up, one matter a file: each looks at a Setup and yields what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dwindle.errors import InvalidValueError, shown
from dwindle.finding import SEVERITIES, Finding
from dwindle.findings.setups import (
    coupling,
    gradients,
    invariance,
    length,
    masks,
    membership,
    resume,
    rise,
    rounding,
    shares,
    stepping,
    strength,
    warmup,
)
from dwindle.setup import Setup

__all__ = ["CODES", "of_setup"]

_MATTERS: tuple[Callable[[Setup], Iterator[Finding]], ...] = (
    masks.found, coupling.found, rounding.found, gradients.found, invariance.found, strength.found, warmup.found,
    length.found, stepping.found, resume.found, membership.found, rise.found, shares.found,
)  # fmt: skip

CODES = (
    "decay-on-bias", "decay-on-norm", "decay-on-embedding", "adam-l2", "decay-rounds-away", "decay-without-gradient",
    "decay-on-frozen", "decay-scale-invariant", "lr-lambda-large", "no-decay", "warmup-missing", "warmup-long",
    "schedule-short", "schedule-long", "wrong-stepping", "wrong-resume", "duplicate-parameters", "tied-parameters",
    "unoptimised-parameters", "lr-rise",
)  # fmt: skip
"""The codes of the findings here."""


def of_setup(setup: Setup) -> tuple[Finding, ...]:
    """Return what is wrong with ``setup``, the worst first.

    What the set-up does not tell (`Setup.unread`, and whatever is None there) is not judged.

    >>> from dwindle.decay import Decoupled
    >>> from dwindle.plan import Plan
    >>> from dwindle.setup import setup_of_plan
    >>> [f.code for f in of_setup(setup_of_plan(Plan(1.5, decay=Decoupled(1.0, allow_overshoot=True))))]
    ['lr-lambda-large']
    """
    if not isinstance(setup, Setup):
        raise InvalidValueError(
            f"setup must be a Setup; got {shown(setup)}. For a plan use of_plan, for a model doctor."
        )
    findings = [finding for matter in _MATTERS for finding in matter(setup)]
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
