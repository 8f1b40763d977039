"""The doctor: what is wrong with a live model and its optimiser, a plan, or a history, in one call each."""

from __future__ import annotations

import sys
from typing import Any

from dwindle.errors import InvalidValueError, shown
from dwindle.finding import SEVERITIES, Finding
from dwindle.findings.setups import of_setup
from dwindle.plan import Plan, as_plan
from dwindle.setup import Setup, setup_of_plan
from dwindle.units import Horizon, as_horizon

__all__ = ["doctor", "of_plan", "setup_of"]


def doctor(
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    *,
    plan: Plan | None = None,
    horizon: Horizon | int | None = None,
    history: Any = None,
    processes: int = 1,
    accumulation: int = 1,
) -> tuple[Finding, ...]:
    """Return what is wrong with a model, its optimiser and its scheduler, the worst first; empty if nothing is.

    torch: a Module, any ``torch.optim`` optimiser (with a plan attached too), and any scheduler of torch, Hugging Face, timm,
    Accelerate, or Lightning's dict of one. Keras: a compiled Model (the optimiser may be left out). JAX: a tree of
    parameters, and an optax transformation or (transformation, state). What decays is measured by a step without
    gradients on a copy; of what is given not a bit changes, neither weights nor states, gradients or random numbers.
    ``horizon`` is the run in optimiser updates: without it nothing is said of its length. ``processes`` that train together
    and ``accumulation``, the micro-batches of an update, tell what a scheduler may be counting. ``plan``: one that the run
    is meant to follow, looked at too. ``history``: a log of the run (`dwindle.logs.history`), looked at too.

    Raises InvalidValueError for what is no model or optimiser, or where these do not belong together.

    >>> import torch
    >>> model = torch.nn.Linear(3, 2)
    >>> for finding in doctor(model, torch.optim.Adam(model.parameters(), weight_decay=1e-4)):
    ...     print(finding.severity, finding.code)
    warning decay-on-bias
    warning adam-l2
    """
    run = None if horizon is None else as_horizon(horizon)
    setup = setup_of(model, optimizer, scheduler, horizon=run, processes=processes, accumulation=accumulation)
    findings = list(of_setup(setup))
    if plan is not None:
        said = {finding.code for finding in findings}
        findings += [f for f in of_plan(plan, setup.horizon) if f.code not in said]
    if history is not None:
        from dwindle.findings.curves import of_history

        findings += of_history(history, plan=plan if plan is not None else setup.plan, horizon=setup.horizon)
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def of_plan(plan: Plan, horizon: Horizon | int | None = None, **known_too: Any) -> tuple[Finding, ...]:
    """Return what is wrong with ``plan``, over the run ``horizon`` if it is given; the worst first.

    ``known_too``: further fields of a Setup, such as ``adaptive=True`` for a run of Adam's, or ``dtype="bf16"``.

    Raises UnknownNameError for a field or a dtype that is not known, and UnresolvedTimeError for times in epochs or tokens
    that the horizon does not tell.

    >>> from dwindle.text import parse
    >>> [f.code for f in of_plan(parse("peak 0.1 | cosine to 0 over 500st"), 1000)]
    ['schedule-short', 'no-decay']
    """
    return of_setup(setup_of_plan(as_plan(plan), None if horizon is None else as_horizon(horizon), **known_too))


def setup_of(
    model: Any,
    optimizer: Any = None,
    scheduler: Any = None,
    *,
    horizon: Horizon | None = None,
    processes: int = 1,
    accumulation: int = 1,
) -> Setup:
    """Return the Setup of a live model, by the adapter of its framework; frameworks that are not loaded are not loaded."""
    options: dict[str, Any] = {"horizon": horizon, "processes": processes, "accumulation": accumulation}
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    if keras is not None and hasattr(keras, "Model") and isinstance(model, keras.Model):
        from dwindle.keras.setup import read as read_keras

        return read_keras(model, optimizer, scheduler, **options)
    if torch is not None and (isinstance(model, torch.nn.Module) or isinstance(optimizer, torch.optim.Optimizer)):
        from dwindle.torch.setup import read as read_torch

        return read_torch(model, optimizer, scheduler, **options)
    if "optax" in sys.modules and "jax" in sys.modules:
        from dwindle.jax.setup import is_transformation
        from dwindle.jax.setup import read as read_jax

        if is_transformation(optimizer):
            return read_jax(model, optimizer, scheduler, **options)
    raise InvalidValueError(
        f"the doctor looks at a torch Module with its optimiser, a compiled Keras model, or a tree of JAX parameters with an "
        f"optax transformation; got {shown(type(model).__name__)} and {shown(type(optimizer).__name__)}."
    )
