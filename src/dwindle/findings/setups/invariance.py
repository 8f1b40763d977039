"""Decay of weights whose scale the next normalisation undoes: it does not hold the function, it sets how far a step turns."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from dwindle.decay import L2
from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import listed
from dwindle.setup import Setup, Weight, is_strong

__all__ = ["found"]

_SOURCE = "Kosson, Messmer & Jaggi 2023, arXiv 2305.17212; Van Laarhoven 2017, arXiv 1706.05350"


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a note where such weights decay; with the run, whether that is long enough for their norm to come to rest.

    The norm nears its equilibrium by e^-s, s = Σ x over the run for AdamW, 2·Σ x/(1 - μ) for SGD: below 1 it is still
    where it began (`dwindle.laws.equilibrium`).
    """
    run = setup.horizon
    those = [w for w in setup.weights if w.followed_by and w.trainable and setup.decays(w)]
    if not those:
        return
    course = setup.course()
    dose, group = min((_dose(setup, i), i) for w in those for i in w.groups if is_strong(setup.groups[i].decay))
    names = [w.name for w in those if group in w.groups]
    if run is None or not course.whole or not 0.0 < dose < 1.0:
        yield _told(setup, [w for w in those if w.name in names], dose if run is not None and course.whole else None)
        return
    needed = run.steps / dose
    yield Finding(
        "decay-scale-invariant",
        "note",
        f"{len(names)} decaying parameters are followed by a normalisation that undoes their scale ({listed(names)}): decay only "
        f"sets how far a step turns them, and {run.steps:,} updates are {dose:.2g} of the time that takes to settle "
        f"(about {needed:,.0f} updates).",
        {"parameters": names, "followed_by": [w.followed_by for w in those if group in w.groups], "dose": dose,
         "steps": run.steps, "settles_after": needed},
        Remedy("nothing to repair: here λ acts as a slow change of the learning rate; tune the rate, not λ, in runs this short"),
        _SOURCE,
        subject=listed(names),
    )  # fmt: skip


def _told(setup: Setup, those: list[Weight], dose: float | None) -> Finding:
    """Return the note where the run is not known, or long enough."""
    names = [w.name for w in those]
    settles = dose is not None and math.isfinite(dose) and dose > 0.0
    rest = f"; their norm comes to rest within this run ({dose:.2g} times the time that takes)" if settles else ""
    return Finding(
        "decay-scale-invariant",
        "note",
        f"{len(names)} decaying parameters are followed by a normalisation that undoes their scale ({listed(names)}): decay does "
        f"not make the model simpler, it sets how far a step turns them{rest}.",
        {"parameters": names, "followed_by": [w.followed_by for w in those], "dose": dose if settles else None},
        Remedy(
            "nothing to repair: read λ together with the rate here (lr·λ sets the turn of a step), and tune them so"
        ),
        _SOURCE,
        subject=listed(names),
    )


def _dose(setup: Setup, group: int) -> float:
    """Return by how many factors of e the norm nears its equilibrium in the run."""
    if setup.adaptive and isinstance(setup.groups[group].decay, L2):
        return math.inf  # no share describes it
    course, run = setup.course(), setup.horizon
    shares = setup.shares(group, course)
    steps = len(shares) if run is None else run.steps
    whole = float(np.mean(shares)) * steps
    return whole if setup.adaptive else 2.0 * whole * setup.gain(group)
