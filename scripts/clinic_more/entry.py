"""An entry of a set: the letter of the set before its name, and the norms logged where the tool logs them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from clinic.case import LogCase
from proofs import fine


def faults_of(letter: str) -> Callable[..., LogCase]:
    """Return what makes a case with one fault of the set with that letter."""

    def case(name, must, how, job, check, view, may=(), plan=None, horizon=None):
        logged = replace(job, norms=view.norms or view.tool == "hf")
        return LogCase(f"{letter}-{name}", (must,), how, logged, check, view, tuple(may), plan, horizon)

    return case


def sound_of(letter: str) -> Callable[..., LogCase]:
    """Return what makes a sound case of the set with that letter."""
    case = faults_of(f"{letter}-sound")

    def ok(name, how, job, view, check=None, may=(), plan=None, horizon=None):
        return replace(case(name, "", how, job, check or fine(), view, may, plan, horizon), must=())

    return ok
