"""Whole optax optimisers that follow a Plan: SGD, Adam, AdamW, and `attach` for any direction of optax."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dwindle.decay import L2
from dwindle.errors import InvalidValueError, flag, real, shown
from dwindle.jax.clock import succeeding
from dwindle.jax.pieces import Follower, PlanState
from dwindle.plan import Plan
from dwindle.units import Horizon

__all__ = ["adam", "adamw", "attach", "sgd"]

_ASKED = 256  # updates: a rate may begin at 0, and gradients may be summed before the first move
_DOWN = (
    "direction points down the gradient, as an optimiser with a learning rate of its own does, and the plan's rate would "
    "turn it up; give the direction alone, such as optax.scale_by_adam() for optax.adam(...)."
)


def attach(
    direction: optax.GradientTransformation, plan: Plan, horizon: Horizon | int, mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Return the optimiser that follows ``plan`` over ``horizon`` along ``direction``, such as optax.scale_by_lion().

    Step t: g ← g + c·w, u = direction(g), update = -lr·u - x·w, all with plan.rates(t) and each parameter's own
    lr_scale; c and x are 0 where the mask says no. ``direction`` must not hold a learning rate of its own: its u points up
    the gradient, to climb give the gradient negated. ``cautious``: x·w only where u·w ≥ 0, by sign. Parameters go by their
    place in the tree, joined by '/': ``params/Dense_0/kernel``; trees know no module kinds, so a rule on them is refused, and a
    matrix with a norm's name is warned of.
    Sums are formed in float32 or wider; what optax.apply_updates then rounds away in a bf16 weight is lost, as ever.

    Raises InvalidValueError for what is no transformation or plan, and for a direction whose first moves all point down a
    gradient of ones, at a loss of 1 (at init, if a tree of one kernel does not tell; asked for 256 updates, on leaves cut to 2
    a side); at init, UnknownNameError for a rule or group that matches no parameter.

    >>> from dwindle.decay import Decoupled
    >>> tx = attach(optax.scale_by_lion(), Plan(0.1, decay=Decoupled(0.5)), 100)
    >>> w = {"kernel": jnp.ones((1, 2))}
    >>> updates, state = tx.update({"kernel": jnp.asarray([[3.0, 0.0]])}, tx.init(w), w)
    >>> updates["kernel"].round(6).tolist(), int(state.step)
    ([[-0.15000000596046448, -0.05000000074505806]], 1)
    """
    if not isinstance(direction, optax.GradientTransformation):
        raise InvalidValueError(f"direction must be an optax transformation; got {shown(direction)}.")
    down = _descends(direction, {"kernel": jnp.ones((2, 2))})
    if down:
        raise InvalidValueError(_DOWN)
    return _around(direction, plan, horizon, mask, unasked=down is None)


def _descends(direction: optax.GradientTransformation, params: Any) -> bool | None:
    """Whether ``direction`` moves a small tree like ``params`` down a gradient of ones at first; None if that cannot be told."""
    moves: list[Any] = []
    try:
        with jax.ensure_compile_time_eval():  # init may be traced
            ones = jax.tree.map(lambda w: jnp.ones([min(n, 2) for n in jnp.shape(w)], jnp.result_type(w)), params)
            inside = optax.with_extra_args_support(direction)

            def ask(state: Any) -> Any:
                return inside.update(ones, state, ones, value=jnp.ones(()))

            state, compiled = inside.init(ones), jax.jit(ask)
            for asked in range(_ASKED):
                if asked > 1 and any(moves):
                    return all(-math.inf < u <= 0.0 for u in moves)
                with jax.disable_jit(asked < 2):  # op by op: most directions move at once, and to compile takes longer
                    move, state = (ask if asked < 2 else compiled)(state)
                moves += [
                    end(u).item() for u in jax.device_get(jax.tree.leaves(move)) if u.size for end in (np.min, np.max)
                ]
    except Exception:  # it is made for another tree, or asks for more than a loss
        return None
    return None


def _around(
    direction: optax.GradientTransformation, plan: Plan, horizon: Horizon | int, mask: Any, unasked: bool = False
) -> optax.GradientTransformationExtraArgs:
    follower = Follower.of(plan, horizon, mask)
    inside = optax.with_extra_args_support(direction)

    def init(params: Any) -> PlanState:
        follower.begin(params)
        if unasked and _descends(direction, params):
            raise InvalidValueError(_DOWN)
        return PlanState(jnp.zeros((), jnp.int32), inside.init(params))

    def update(updates: Any, state: PlanState, params: Any = None, **extra: Any) -> tuple[Any, PlanState]:
        coupled = follower.coupled(updates, params, state.step)
        u, inner = inside.update(coupled, state.inner, params, **extra)
        return follower.finished(u, params, state.step), PlanState(succeeding(state.step), inner)

    return optax.GradientTransformationExtraArgs(init, update)


def adam(
    plan: Plan, horizon: Horizon | int, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Return Adam under any convention, l2 included: update = -lr·m̂/(√v̂ + ε) - x·w; see `attach` for the rest.

    Source: Kingma & Ba 2015, algorithm 1; optax ``scale_by_adam``.

    >>> tx = adam(Plan(0.5), 100)
    >>> w = jnp.ones(2)
    >>> [f"{u:.3f}" for u in tx.update(jnp.asarray([5.0, -1.0]), tx.init(w), w)[0]]
    ['-0.500', '0.500']
    """
    b1, b2 = real("b1", b1, low=0.0, below=1.0), real("b2", b2, low=0.0, below=1.0)
    return _around(optax.scale_by_adam(b1, b2, real("eps", eps, above=0.0)), plan, horizon, mask)


def adamw(
    plan: Plan, horizon: Horizon | int, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Return AdamW: `adam`, with the decay beside the update; refuses l2, which is not AdamW.

    With ``decoupled`` it is optax.adamw of the same numbers, but for the mask (optax decays everything).

    >>> from dwindle.decay import Decoupled
    >>> tx = adamw(Plan(0.1, decay=Decoupled(0.5)), 100)
    >>> w = {"kernel": jnp.ones((1, 1)), "bias": jnp.ones(1)}
    >>> updates, _ = tx.update(optax.tree.zeros_like(w), tx.init(w), w)
    >>> float(updates["kernel"][0, 0]), float(updates["bias"][0])
    (-0.05000000074505806, -0.0)
    """
    if isinstance(plan, Plan) and isinstance(plan.decay, L2):
        raise InvalidValueError(
            f"AdamW decays beside the update and the plan says {plan.decay}; use adam, or decoupled."
        )
    return adam(plan, horizon, b1, b2, eps, mask)


def sgd(
    plan: Plan, horizon: Horizon | int, momentum: float = 0.0, nesterov: bool = False, mask: Any = None
) -> optax.GradientTransformationExtraArgs:
    """Return SGD: b ← μ·b + h, update = -lr·u - x·w, with h = g + c·w and u = b, or h + μ·b with ``nesterov``.

    The rate stands outside the buffer, as in PyTorch and optax.

    >>> from dwindle.decay import L2
    >>> tx = sgd(Plan(0.5, decay=L2(0.25)), 100)
    >>> w = jnp.ones((1, 1))
    >>> float(tx.update(w, tx.init(w), w)[0][0, 0])
    -0.625
    """
    momentum = real("momentum", momentum, low=0.0, below=1.0)
    flag("nesterov", nesterov)
    return _around(optax.trace(momentum, nesterov) if momentum else optax.identity(), plan, horizon, mask)
