"""A recipe in one line, a training script, or a configuration in Python: parsed and never run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from dwindle.errors import DwindleError, ParseError
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.families import is_adaptive
from dwindle.findings.configs.plan_file import of_plan
from dwindle.findings.configs.run import Run, by_epochs
from dwindle.findings.configs.usual_names import has_usual_names, of_usual_names
from dwindle.findings.programs import assigned, program_of
from dwindle.plan import Plan
from dwindle.setup import Setup, epochs_of, setup_of_plan
from dwindle.text import parse
from dwindle.units import Horizon

__all__ = ["of_recipe"]


def of_recipe(text: str, run: Run) -> Config:
    """Return what a plan's text, a recipe, or Python source sets up; raise ParseError where it is none of them."""
    try:
        return _read(text, run)
    except RecursionError as error:
        raise ParseError("this source names a value by itself, or is nested too deep to be read.") from error


def _read(text: str, run: Run) -> Config:
    if re.match(r"\s*peak\s", text):
        return of_plan(parse(text), run, "a plan")
    horizon = run.horizon(None, None)
    try:
        found = program_of(text, horizon)
    except DwindleError:
        given = assigned(text)  # a configuration in Python, such as nanoGPT's
        if not has_usual_names(given):
            raise
        return of_usual_names(given, run)
    plan, name, kind = found.plan, found.optimizer, f"a recipe of {found.peer}"
    own = {"optimizer": name, "adaptive": is_adaptive(name) if name else None, "dtype": found.dtype}
    epochs = found.epochs
    if epochs is None and found.by_epochs and horizon is not None and not _lasts(plan, horizon):
        epochs = epochs_of(horizon)
    if epochs is None and found.schedule_known:
        whole = of_plan(plan, run, kind, **own)
        read = tuple(map(_unsure, whole.setups)) if found.by_epochs else whole.setups
        return whole._replace(setups=_of(found.peer, read), unread=(*found.unread, *whole.unread))
    fields = run.fields(framework="plan", **own)
    setups = [replace(setup_of_plan(plan, None, **fields, schedule_known=False), horizon=horizon)]
    looked = ["the optimiser"]
    if epochs is not None and found.schedule_known:  # its schedule counts epochs
        bare = replace(plan, decay=None)  # its steps are epochs, of which decay has nothing to say
        setups.append(by_epochs(bare, epochs, {**fields, "framework": "config"}))
        looked.append(f"the schedule over {epochs:,} epochs, at whose end it is stepped")
    return Config(kind, _of(found.peer, setups), tuple(looked), (*found.unread, "the model: it is not built"))


def _lasts(plan: Plan, horizon: Horizon) -> bool:
    """Return whether the schedule of ``plan`` has a rate at every update of the run: a function of the epochs need not."""
    try:
        return setup_of_plan(plan, horizon) is not None
    except DwindleError:
        return False


def _unsure(setup: Setup) -> Setup:
    """Return ``setup`` with a scheduler of which nothing says whether it counts updates or epochs."""
    s = setup.scheduler
    return setup if s is None else replace(setup, scheduler=replace(s, per_update=None, why="", by_update=False))


def _of(peer: str, setups: Iterable[Setup]) -> tuple[Setup, ...]:
    """Return the set-ups of ``peer``: optax adds decay to a float32 weight in one sum with the rest of the update."""
    return tuple(
        replace(setup, weights=tuple(replace(w, kept=peer == "optax" and w.dtype == "float32") for w in setup.weights))
        for setup in setups
    )
