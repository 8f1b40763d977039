"""A schedule and an optimiser of the same run, from whatever text, put together as one plan."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dwindle.decay import Corrected, Independent
from dwindle.errors import InvalidValueError, NoExactMapError
from dwindle.foreign.optimizers import OPTIMIZERS, read_optimizer
from dwindle.foreign.schedules.peak import highest, plan_of
from dwindle.foreign.schedules.peers import ABSOLUTE, PEERS, multiplies_lr, read
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Constant, Formula
from dwindle.schedule.feedback import FeedbackRule

__all__ = ["ON_TORCH", "Pair", "absolute", "check_constant", "lr_name", "owner_of", "plan_from_pair"]

ON_TORCH = ("timm", "hf", "composer")
"""The peers whose schedulers drive torch's optimisers."""

_LR_NAMES = {
    "optax": "learning_rate",
    "keras": "learning_rate",
    "sklearn": "eta0",
    "textbook": "eta",
    "hf": "learning_rate",
}


def lr_name(peer: str, optimizer: str) -> str:
    """Return what an optimiser of ``peer`` calls its learning rate; of Ridge, which has none, the number it takes instead.

    >>> lr_name("torch", "SGD"), lr_name("sklearn", "MLPRegressor")
    ('lr', 'learning_rate_init')
    """
    if optimizer == "Ridge":
        return "alpha"
    return "learning_rate_init" if optimizer.startswith("MLP") else _LR_NAMES.get(peer, "lr")


def owner_of(name: str, peer: str) -> str | None:
    """Return the peer whose optimiser ``name`` is in source for ``peer``, None where it is no optimiser.

    >>> owner_of("AdamW", "timm"), owner_of("SGDW", "timm"), owner_of("StepLR", "torch")
    ('torch', 'timm', None)
    """
    if name in PEERS[peer]:
        return None
    owners = ("torch", peer) if peer in ON_TORCH else (peer,)
    return next((owner for owner in owners if name in OPTIMIZERS[owner]), None)


@dataclass(frozen=True, slots=True)
class Pair:
    """What a source builds: a schedule (a recipe {"name", "params"}, or a formula of the step), and an optimiser's recipe.

    ``absolute``: the formula gives learning rates, and no factors of the optimiser's own.
    """

    peer: str
    schedule: Mapping[str, Any] | Formula | None = None
    optimizer: Mapping[str, Any] | None = None
    owner: str = ""  # the peer whose optimiser it is, where that is another one: torch's under timm or transformers
    lr: float | None = None
    mask: Mask | None = None
    absolute: bool = False


def plan_from_pair(pair: Pair) -> Plan | FeedbackRule[Any]:
    """Return the plan of a schedule and an optimiser of the same run, or the rule if the schedule answers a metric."""
    if pair.optimizer is None:
        return _alone(pair)
    plan = _together(pair, pair.owner or pair.peer, pair.optimizer["name"], dict(pair.optimizer["params"]))
    return replace(plan, mask=pair.mask) if pair.mask is not None and isinstance(plan, Plan) else plan


def _alone(pair: Pair) -> Plan | FeedbackRule[Any]:
    if pair.schedule is None:
        raise InvalidValueError(f"no scheduler and no optimiser of {pair.peer} is built here.")
    if isinstance(pair.schedule, Formula):
        return absolute(pair.schedule) if pair.lr is None else plan_of(pair.schedule, pair.lr)
    return read(pair.peer, pair.schedule["name"], pair.schedule["params"], base_lr=pair.lr)


def _together(pair: Pair, owner: str, name: str, params: dict[str, Any]) -> Plan | FeedbackRule[Any]:
    schedule, key = pair.schedule, lr_name(owner, name)
    if isinstance(schedule, Mapping) and not multiplies_lr(pair.peer, schedule["name"]):
        return read_optimizer(owner, name, {**params, key: schedule})
    if isinstance(schedule, Formula) and owner in ABSOLUTE and key not in params and pair.lr is None:
        rates = absolute(schedule)
        return replace(read_optimizer(owner, name, {**params, key: rates.peak}), schedule=rates.schedule)
    plan = read_optimizer(owner, name, params, base_lr=pair.lr)
    if isinstance(schedule, Formula):
        rates = absolute(schedule) if pair.absolute else Plan(plan.peak, schedule)
        return _at_rates(plan, rates, name, params)
    if schedule is None:
        return plan
    followed = read(pair.peer, schedule["name"], schedule["params"], base_lr=plan.peak)
    if not isinstance(followed, Plan):
        check_constant(plan, schedule["name"])
        return followed
    if owner != pair.peer:
        return _at_rates(plan, followed, name, params)
    return read_optimizer(owner, name, {**params, key: schedule}, base_lr=plan.peak)


def _at_rates(plan: Plan, rates: Plan, name: str, params: Mapping[str, Any]) -> Plan:
    """Return ``plan`` with the learning rates of ``rates``; its own is the number that ``name`` was built with.

    Composer's and timm's corrected decay divide by that number, which then stays the peak. The lr_decay of Adagrad lowers
    whatever rates it is given.
    """
    if params.get("lr_decay"):
        rates = replace(rates, schedule=rates.schedule * plan.schedule)
    if not isinstance(plan.decay, Independent | Corrected):
        rates = plan_of(rates.schedule, rates.peak) if isinstance(rates.schedule, Formula) else rates
        return replace(plan, peak=rates.peak, schedule=rates.schedule)
    if plan.peak == 0.0:
        raise NoExactMapError(
            f"{name} divides by the lr it was built with, which is 0; build it with its highest rate."
        )
    return replace(plan, schedule=rates.schedule * (rates.peak / plan.peak))


def check_constant(plan: Plan, name: str) -> None:
    """Raise NoExactMapError if the learning rate of ``plan``, which the rule ``name`` cuts, follows a schedule as well.

    >>> check_constant(Plan(0.1), "ReduceLROnPlateau")
    """
    if not isinstance(plan.schedule, Constant):
        raise NoExactMapError(
            f"{name} cuts a learning rate that follows a schedule too, {plan.schedule}; a rule has one of its own. "
            "Give the optimiser a number, or read the schedule without the rule."
        )


def absolute(formula: Formula) -> Plan:
    """Return the plan of a formula that gives learning rates, its peak the highest of them.

    >>> str(absolute(Formula("0.1 * 0.5 ** step"))), str(absolute(Formula("0.1 if step < 9 else 0.02")))
    ('peak 0.1 | formula "0.5 ** step"', 'peak 0.1 | formula "(0.1 if step < 9 else 0.02) / 0.1"')
    """
    node = ast.parse(formula.text, mode="eval").body
    match node:
        case ast.BinOp(left=ast.Constant(value=int() | float() as peak), op=ast.Mult(), right=rest) if peak > 0:
            factor = Formula(ast.unparse(rest))
            if highest(factor) in (None, 1.0):
                return Plan(peak, factor)
    return plan_of(formula)
