"""A plan whose times are all shares of the run: its shape is known before the run's length is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dwindle.errors import DwindleError
from dwindle.finding import Finding
from dwindle.findings.setups import length, rise, warmup
from dwindle.findings.setups.wording import IN_SHARES
from dwindle.setup import Setup, setup_of_plan
from dwindle.units import Horizon

__all__ = ["found"]

_STEPS = 10_000  # stands for any run: a plan in shares looks the same over this many and twice as many
_TELL = ("share", "peak", "rate_after", "left", "ratio", "lowest", "rises_to")  # evidence that needs no number of steps


def found(setup: Setup) -> Iterator[Finding]:
    """Yield what the shape of a plan in shares says: a long warm-up, a decay that ends early, a rate that rises again."""
    if setup.plan is None or setup.horizon is not None or setup.updates is not None:
        return
    if re.search(r"\dst\b", str(setup.plan.schedule)):  # times in steps
        return
    try:
        one, other = (setup_of_plan(setup.plan, Horizon(steps=_STEPS * times)) for times in (1, 2))
    except DwindleError:  # times in epochs or tokens
        return
    rates, same = one.course().lr[0], other.course().lr[0][::2]
    # of tables and formulas the rates tell; at a jump they may differ, which may fall on the step beside
    if np.percentile(np.abs(rates - same), 99) > 0.01 * np.max(rates):
        return
    nominal = replace(one, unread=(IN_SHARES,))
    for matter in (warmup.too_long, length.found, rise.found):
        for finding in matter(nominal):
            yield replace(finding, evidence={k: v for k, v in finding.evidence.items() if k in _TELL})
