"""A Plan as a JAX pytree: its peak and its λ are the leaves, so that plans stack under vmap and have gradients."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

import jax

from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["put", "register"]

T = TypeVar("T")


def register() -> None:
    """Make every Plan a pytree of two leaves, ``peak`` and ``decay.weight_decay`` (None where that is a schedule or absent).

    All else — schedule, convention, mask, groups — is structure: two plans that differ in it are different trees. A plan
    must be resolved (its times in steps) before its leaves become arrays, for what is built from arrays is not checked.
    """
    jax.tree_util.register_pytree_node(Plan, _flattened, _built)


def put(value: T, **changes: Any) -> T:
    """Return ``value`` with ``changes`` and without its checks, which cannot look into an array that is traced."""
    new = object.__new__(type(value))
    for field in fields(value):  # type: ignore[arg-type]
        object.__setattr__(new, field.name, changes.get(field.name, getattr(value, field.name)))
    return new


def _flattened(plan: Plan) -> tuple[tuple[Any, Any], Plan]:
    decay = plan.decay
    if decay is None or isinstance(decay.weight_decay, Schedule):
        return (plan.peak, None), put(plan, peak=None)
    return (plan.peak, decay.weight_decay), put(plan, peak=None, decay=put(decay, weight_decay=None))


def _built(shape: Plan, leaves: tuple[Any, Any]) -> Plan:
    peak, weight_decay = leaves
    decay = shape.decay
    if decay is None or isinstance(decay.weight_decay, Schedule):
        return put(shape, peak=peak)
    return put(shape, peak=peak, decay=put(decay, weight_decay=weight_decay))
