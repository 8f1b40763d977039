"""Learning rate and decay of one step as JAX scalars, exact in a session of 32 bits too.

They are worked out in float64 from an int64 count, whatever ``jax_enable_x64`` says, and only then rounded to the float
of the session: a few scalar operations a step, and no boundary falls late (in float32 under jit, 94/94 < 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dwindle.jax.tree import put
from dwindle.plan import Plan, as_plan
from dwindle.schedule import Schedule
from dwindle.units import Horizon, as_horizon

__all__ = ["numbers", "resolved", "schedule", "succeeding"]


def schedule(plan: Plan, horizon: Horizon | int, group: str | None = None) -> Callable[[Any], Any]:
    """Return the learning rate as an optax schedule: count -> peak·lr_scale·f(count), float32, or float64 with x64.

    ``count`` is the number of updates done, a number or an integer array of any shape, traced or not. A staircase
    divides integers, so every boundary is exact; a smooth curve is the float64 value rounded once.
    Raises UnknownNameError for a group that is not in the plan, and InvalidValueError for a custom function, which
    cannot be traced.

    >>> from dwindle.schedule import step
    >>> lr = schedule(Plan(0.5, step(94)), 1000)
    >>> [float(jax.jit(lr)(count)) for count in (93, 94, 188)]
    [0.5, 0.25, 0.125]
    """
    own = resolved(plan, horizon)
    if group is not None:
        plan.scale(group)
    lr = _wide(lambda step: own.lr(step, group))
    jax.eval_shape(lr, 0)  # what cannot be traced is refused here
    return lr


def resolved(plan: Plan, horizon: Horizon | int) -> Plan:
    """Return ``plan`` with every time in steps; raise InvalidValueError for what is no plan."""
    plan = as_plan(plan)
    run = as_horizon(horizon)
    decay = plan.decay
    if decay is not None and isinstance(decay.weight_decay, Schedule):
        decay = decay.resolve(run)
    return put(plan, schedule=plan.schedule.resolve(run), decay=decay)  # peak and λ may be traced


def numbers(plan: Plan, step: Any, lr_scale: float, decays: bool) -> tuple[Any, Any, Any]:
    """Return (lr, x, c) of one step: the rate, the share that leaves each weight, the coefficient of w in the gradient.

    The plan is resolved.
    """
    found: tuple[Any, Any, Any] = _wide(lambda step: tuple(plan.dose(step, lr_scale=lr_scale, decays=decays)))(step)
    return found


def succeeding(step: Any) -> Any:
    """Return the count after ``step``, int32; the last one is kept, not wrapped to a negative number."""
    return jnp.minimum(step, np.iinfo(np.int32).max - 1) + 1


def _wide(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return ``function`` of an int64 step, worked out in float64 and rounded to the float of the session."""

    def rounded(count: Any) -> Any:
        narrow = jnp.result_type(float)
        with jax.enable_x64(True):
            step = jnp.asarray(count)
            step = step.astype(jnp.int64 if jnp.issubdtype(step.dtype, jnp.integer) else jnp.float64)
            return jax.tree.map(lambda value: jnp.asarray(value, jnp.float64).astype(narrow), function(step))

    return rounded
