"""How a plan reaches the leaves of a tree: which decay, by how much, and the decay as two optax transformations."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from dwindle.decay import L2
from dwindle.errors import DwindleError, InvalidValueError, flag
from dwindle.jax.clock import numbers, resolved, succeeding
from dwindle.jax.tree import put
from dwindle.mask import Mask, Param, has_norms_name
from dwindle.plan import Assignment, Plan
from dwindle.units import Horizon

__all__ = ["Follower", "Pieces", "PlanState", "decay"]


class PlanState(NamedTuple):
    """``step``: updates done, an int32 array; ``inner``: the state of the transformation that the plan was put around."""

    step: Any
    inner: Any = ()


class Pieces(NamedTuple):
    """The two halves of a decay: ``before`` the direction (g ← g + c·w) and ``after`` it (update ← update - x·w)."""

    before: optax.GradientTransformationExtraArgs
    after: optax.GradientTransformationExtraArgs


@dataclass(frozen=True, slots=True)
class Leaf:
    """What the plan says of one parameter: the factor on its learning rate, and whether it decays."""

    lr_scale: float
    decays: bool


@dataclass(frozen=True, slots=True, eq=False)
class Follower:
    """A resolved plan and who chooses what decays: the plan's mask, or ``chosen``, a tree of bools or its function."""

    plan: Plan
    chosen: Any = None

    @classmethod
    def of(cls, plan: Plan, horizon: Horizon | int, mask: Any) -> Follower:
        """Return the follower of ``plan``; ``mask`` None, a Mask, a tree of bools or a function of the parameters.

        Raises InvalidValueError for a rule of the user's own on module kinds.
        """
        own = resolved(plan, horizon)
        if mask is not None:
            own = put(own, mask=mask if isinstance(mask, Mask) else Mask.everything())
        blind = [str(rule) for rule in own.mask.rules if rule.subject == "kind" and rule not in Mask().rules]
        if blind:
            raise InvalidValueError(
                f"mask rule '{blind[0]}' asks for the kind of a module, which a tree of parameters does not tell; give a "
                "rule on the name."
            )
        return cls(own, None if isinstance(mask, Mask) else mask)

    @property
    def beside(self) -> bool:
        """Whether the decay acts beside the update, not in the gradient."""
        return self.plan.decay is not None and not isinstance(self.plan.decay, L2)

    def layout(self, params: Any) -> Any:
        """Return the tree of Leaf for ``params``; raises as `Plan.assign` does, and for cautious complex weights."""
        found, shape = jax.tree_util.tree_flatten_with_path(params)
        if not found:  # optax looks for the states that lie like the parameters with a tree of none
            return params
        if self.plan.decay is not None and self.plan.decay.cautious and any(jnp.iscomplexobj(w) for _, w in found):
            raise InvalidValueError("complex weights have no sign for cautious to compare; use another decay for them.")
        placed = self._placed(found)
        decays = [a.decays for a in placed]
        if self.chosen is not None:
            decays = _spread(self.chosen(params) if callable(self.chosen) else self.chosen, params)
        return jax.tree.unflatten(shape, [Leaf(a.lr_scale, d) for a, d in zip(placed, decays, strict=True)])

    def begin(self, params: Any) -> None:
        """Raise as `layout` does; warn of a norm's matrix that decays because a tree tells no kinds of modules."""
        self.layout(params)
        lam = 0.0 if self.plan.decay is None else self.plan.decay.weight_decay
        if self.chosen is not None or (isinstance(lam, float) and lam == 0.0):
            return
        placed = self._placed(jax.tree_util.tree_flatten_with_path(params)[0]) if jax.tree.leaves(params) else ()
        looks = [a.name for a in placed if has_norms_name(a.name, a.rule)]
        if looks:
            warnings.warn(
                f"{looks[0]} has a norm's name and a matrix's shape, so it decays; to leave it out, give "
                f'mask=Mask.of(Rule("name", "{looks[0]}", False)).',
                stacklevel=3,
            )

    def _placed(self, found: Any) -> tuple[Assignment, ...]:
        infos = [Param(jax.tree_util.keystr(path, simple=True, separator="/"), jnp.shape(w)) for path, w in found]
        return _assigned(put(self.plan, peak=0.0, decay=None), tuple(infos))  # hashable, also where λ is traced

    def coupled(self, grads: Any, params: Any, step: Any) -> Any:
        """Return g + c·w, where the plan says l2; else the gradients as they are."""
        if not isinstance(self.plan.decay, L2):
            return grads
        layout, rates = self._rates(_weights(params), step)

        def one(leaf: Leaf, g: Any, w: Any) -> Any:
            return _sum(g, 1.0, w, rates[leaf][2]) if leaf.decays else g

        return jax.tree.map(one, layout, grads, params)

    def finished(self, updates: Any, params: Any, step: Any, *, scaled: bool = False) -> Any:
        """Return -lr·u - x·w of a direction u; with ``scaled``, update - x·w of an update that holds its -lr."""
        weights = _weights(params) if self.beside else updates
        layout, rates = self._rates(weights, step)
        cautious = self.plan.decay is not None and self.plan.decay.cautious

        def one(leaf: Leaf, u: Any, w: Any) -> Any:
            lr, share, _ = rates[leaf]
            if not (self.beside and leaf.decays):
                return u if scaled else _sum(u, -lr)
            if cautious:  # u·w < 0 is taken by sign: the product of two small numbers underflows to 0
                against = jnp.sign(u) * jnp.sign(w) * (-1 if scaled else 1) < 0
                share = jnp.where(against, 0.0, share)
            return _sum(u, 1.0 if scaled else -lr, w, -share)

        return jax.tree.map(one, layout, updates, weights)

    def _rates(self, params: Any, step: Any) -> tuple[Any, dict[Leaf, tuple[Any, Any, Any]]]:
        layout = self.layout(params)
        return layout, {k: numbers(self.plan, step, k.lr_scale, k.decays) for k in set(jax.tree.leaves(layout))}


def decay(plan: Plan, horizon: Horizon | int, mask: Any = None) -> Pieces:
    """Return the plan's weight decay alone, to stand around an optax optimiser without one: chain(before, opt, after).

    ``before`` adds c·w to the gradient (l2; for every other convention it does nothing); ``after`` adds -x·w to the
    finished update (nothing for l2), x being the share of the same step: lr·λ decoupled, f·λ independent, lr·f·λ
    corrected; with ``cautious`` only where the update does not move the weight away from 0 (u·w ≥ 0).
    ``mask`` takes the place of plan.mask: a Mask, or as in optax a tree of bools or a function that makes one.

    Raises InvalidValueError for a plan with groups or layer_decay: their learning rates are not a decay; use `attach`. And for
    a mask's rule of one's own on module kinds, which trees do not know.

    >>> from dwindle.decay import Decoupled
    >>> from dwindle.jax import schedule
    >>> plan = Plan(0.1, decay=Decoupled(0.5))
    >>> before, after = decay(plan, 100)
    >>> tx = optax.chain(before, optax.lion(schedule(plan, 100), weight_decay=0.0), after)
    >>> w = {"kernel": jnp.ones((1, 2)), "bias": jnp.ones(2)}
    >>> updates, state = tx.update(optax.tree.zeros_like(w), tx.init(w), w)
    >>> jax.tree.map(lambda u: u.tolist(), updates)
    {'bias': [-0.0, -0.0], 'kernel': [[-0.05000000074505806, -0.05000000074505806]]}
    """
    follower = Follower.of(plan, horizon, mask)
    if plan.groups or plan.layer_decay is not None:
        raise InvalidValueError(
            "a plan with groups or layer_decay also scales learning rates, which decay alone cannot; use attach."
        )

    def piece(change: Callable[..., Any]) -> optax.GradientTransformationExtraArgs:
        def init(params: Any) -> PlanState:
            follower.begin(params)
            return PlanState(jnp.zeros((), jnp.int32))

        def update(updates: Any, state: PlanState, params: Any = None, **extra: Any) -> tuple[Any, PlanState]:
            return change(updates, params, state.step), PlanState(succeeding(state.step))

        return optax.GradientTransformationExtraArgs(init, update)

    return Pieces(piece(follower.coupled), piece(partial(follower.finished, scaled=True)))


@lru_cache(maxsize=64)
def _assigned(plan: Plan, infos: tuple[Param, ...]) -> tuple[Assignment, ...]:
    return plan.assign(infos, ordered=False)  # JAX sorts the names of a tree


def _spread(mask: Any, params: Any) -> list[bool]:
    """Return the bool of each parameter from a tree of bools that is ``params`` or stops above its leaves."""
    try:
        spread = jax.tree.map(lambda flagged, below: jax.tree.map(lambda _: flag("mask", flagged), below), mask, params)
    except DwindleError:
        raise
    except ValueError as error:
        why = " ".join(str(error).split())
        raise InvalidValueError(
            f"mask must be a tree of bools like the parameters, or that stops above: {why:.200}"
        ) from error
    leaves: list[bool] = jax.tree.leaves(spread)
    return leaves


def _weights(params: Any) -> Any:
    if params is None:
        raise InvalidValueError("a weight decay needs the weights; call update(updates, state, params).")
    return params


def _sum(u: Any, a: Any, w: Any = None, b: Any = 0.0) -> Any:
    """Return a·u + b·w, formed in float32 or wider."""
    out = u.dtype if w is None else jnp.promote_types(u.dtype, w.dtype)
    wide = jnp.promote_types(out, jnp.float32)
    real = jnp.promote_types(jnp.zeros((), wide).real.dtype, jnp.float32)
    value = jnp.asarray(a, real) * u.astype(wide)
    return (value if w is None else value + jnp.asarray(b, real) * w.astype(wide)).astype(out)
