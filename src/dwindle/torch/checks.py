"""What an optimiser, its groups and its model may not say beside a plan: refused if no plan is exact there, else warned of."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Collection, Sequence

import numpy as np
import torch

from dwindle.errors import InvalidValueError, real
from dwindle.mask import Mask, Param, has_norms_name
from dwindle.plan import Assignment, Plan
from dwindle.torch.decays import DECOUPLED
from dwindle.torch.groups import Group

__all__ = [
    "refuse_blind_mask",
    "refuse_no_rate",
    "refuse_optimizer",
    "refuse_own_decay",
    "refuse_own_mask",
    "refuse_own_rates",
    "refuse_split",
    "unplanned_progress",
    "warn_of_habits",
    "warn_of_mask",
]


def refuse_no_rate(optimizer: torch.optim.Optimizer) -> None:
    """Raise InvalidValueError for an optimiser that has no learning rate to set, as Hugging Face's Adafactor by default."""
    if any(group.get("lr") is None for group in optimizer.param_groups):
        raise InvalidValueError(
            f"{type(optimizer).__name__} has no learning rate of its own; build it with lr= (Hugging Face's Adafactor also "
            "with relative_step=False)."
        )


def refuse_split(optimizer: torch.optim.Optimizer, groups: int) -> None:
    """Raise InvalidValueError for an optimiser that works on one param group, where the plan makes more."""
    if isinstance(optimizer, torch.optim.LBFGS) and groups > 1:
        raise InvalidValueError(
            f"LBFGS takes one param group, and this plan makes {groups}; use a plan without groups and layer_decay."
        )


def refuse_optimizer(optimizer: torch.optim.Optimizer, plan: Plan) -> None:
    """Raise InvalidValueError for an optimiser on which a plan cannot be exact."""
    refuse_no_rate(optimizer)
    kind, why = type(optimizer).__name__, ""
    if isinstance(optimizer, torch.optim.ASGD):
        why = "lowers the learning rate by a rule of its own; use SGD and average the weights"
    elif isinstance(optimizer, torch.optim.Rprop):
        why = "uses lr only for its first step size and then adapts it; a schedule would do nothing"
    elif isinstance(optimizer, torch.optim.LBFGS) and plan.decay is not None:
        why = (
            "evaluates the loss many times in a step, so a decay beside it cannot be exact; add the penalty to the loss"
        )
    elif kind == "ZeroRedundancyOptimizer":
        why = "keeps an optimiser of its own inside, whose groups a plan cannot reach; shard with fully_shard (FSDP2) instead"
    elif any(group.get("lr_decay") for group in optimizer.param_groups):
        why = "has a learning-rate decay of its own; set lr_decay=0 and put the decay in the schedule"
    elif any(group.get("differentiable") for group in optimizer.param_groups):
        why = "is differentiable=True and a plan is applied outside the graph; use differentiable=False"
    elif plan.decay is not None and plan.decay.cautious and _has_complex(optimizer):
        why = "has complex parameters, which have no sign to compare; use a decay that is not cautious"
    if why:
        raise InvalidValueError(f"{kind} {why}.")


def _has_complex(optimizer: torch.optim.Optimizer) -> bool:
    return any(p.is_complex() for group in optimizer.param_groups for p in group["params"])


def refuse_own_decay(optimizer: torch.optim.Optimizer, group: Group, index: int, plan: Plan) -> None:
    """Raise InvalidValueError if the user gave a group a decay that is not the plan's.

    Zero, the class's default (AdamW has 0.01 without being told) and the plan's own number and convention are fine.
    """
    own = real("weight_decay", float(group.get("weight_decay") or 0.0))
    default = inspect.signature(type(optimizer).__init__).parameters.get("weight_decay")
    if own == 0.0 or (default is not None and own == default.default):
        return
    decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, DECOUPLED))
    convention = "decoupled" if decoupled else "l2"
    if plan.decay is not None and own == plan.decay.weight_decay and convention == plan.decay.convention:
        return
    raise InvalidValueError(
        f"group {index} of {type(optimizer).__name__} has weight_decay={own:g} ({convention}), the plan has "
        f"{plan.decay or 'no decay'}; the plan owns the decay. Remove it from the optimiser, or write "
        f"{convention}({own:g}) in the plan."
    )


def refuse_own_rates(rates: Sequence[tuple[float, frozenset[float]]], known: int, told: Collection[float]) -> None:
    """Raise InvalidValueError if the user gave a group from ``known`` on a learning rate that the plan would overrule.

    ``rates`` has for each group its own rate and the plan's factors there. All rates alike, a rate that is in ``told``,
    and rates in the proportion of the plan's factors are fine.
    """
    first, factors = rates[0]
    unit = first / min(factors) if len(factors) == 1 and min(factors) > 0 else math.nan
    for i, (own, factors) in enumerate(rates[known:], known):
        fitting = [first, *told, *(unit * factor for factor in factors if len(factors) == 1)]
        if not any(math.isclose(own, rate, rel_tol=1e-6) for rate in fitting):
            raise InvalidValueError(
                f"group {i} of the optimiser has a learning rate of its own, {own:g} beside {first:g}, which the plan would "
                'overrule; leave lr out of the group, and for a factor on the plan\'s rate write Group("name", "its.names.*", '
                "factor) in the plan."
            )


def refuse_own_mask(own: Sequence[float | None], decaying: Sequence[str | None]) -> None:
    """Raise InvalidValueError if a group was told not to decay, beside groups that were, and the plan lets it decay.

    ``own`` has the decay of each group, None for one of which nothing was said, so that it has the plan's. ``decaying`` has
    for each group the name of one parameter that decays under the plan, None if none does.
    """
    most = max((number for number in own if number), default=None)
    beside = "one that says nothing" if most is None else f"{most:g}"
    for i, (number, name) in enumerate(zip(own, decaying, strict=True)):
        if number == 0.0 and any(other != 0.0 for other in own) and name is not None:
            raise InvalidValueError(
                f"group {i} of the optimiser has weight_decay=0 beside {beside}, and the plan lets its {name!r} decay; "
                f'say so in the plan, mask=Mask.of(Rule("name", "{name}", False)), or give all groups the same weight_decay.'
            )


def refuse_blind_mask(mask: Mask, params: Sequence[Param], model: torch.nn.Module | None) -> None:
    """Raise InvalidValueError if a rule of the user's own asks for module kinds and no model tells them; warn if none fits."""
    for rule in mask.rules:
        if rule.subject != "kind" or rule in Mask().rules or any(rule.matches(param) for param in params):
            continue
        if model is None:
            raise InvalidValueError(
                f"mask rule '{rule}' asks for the kind of a module, which an optimiser does not know; "
                "give attach(..., model=model)."
            )
        kinds = ", ".join(sorted({param.kind for param in params}))
        warnings.warn(f"mask rule '{rule}' matches no parameter; the kinds are {kinds}.", stacklevel=6)


def unplanned_progress(optimizer: torch.optim.Optimizer, step: int) -> str:
    """Return in words what the optimiser's own state shows of updates beyond ``step``; empty if nothing.

    One update is none: torch's distributed checkpoints make one, of zero, where there is no state yet.
    """
    states = [state for state in optimizer.state.values() if isinstance(state, dict)]
    done = max((int(state["step"]) for state in states if "step" in state), default=0)
    if done:
        return f"the optimiser has done {done} steps" if done not in (1, step) else ""
    speeds = (state.get("momentum_buffer") for state in states)
    moves = any(speed is not None and bool(speed.any()) for speed in speeds)
    return "the optimiser has momentum from earlier steps" if moves else ""


def warn_of_mask(assignments: Sequence[Assignment], plan: Plan, model: torch.nn.Module | None) -> None:
    """Warn of a mask that lets nothing decay, and of a norm's matrix that decays because nobody told its module's kind."""
    if plan.decay is None or plan.decay.weight_decay == 0.0:
        return
    if not any(a.decays for a in assignments):
        warnings.warn(
            f"the plan has {plan.decay} but its mask lets none of the optimiser's {len(assignments)} parameters decay; "
            "use Mask.everything() or decay=None.",
            stacklevel=6,
        )
    looks = [a.name for a in assignments if model is None and has_norms_name(a.name, a.rule)]
    if looks:
        warnings.warn(
            f"{looks[0]} has a norm's name and a matrix's shape, so it decays; give attach(..., model=model), which tells "
            "a norm by its module, or a mask of your own.",
            stacklevel=6,
        )


def warn_of_habits(optimizer: torch.optim.Optimizer, plan: Plan, steps: int) -> None:
    """Warn of a scheduler that was made for the optimiser, and of an optimiser that does not take every rate of the run.

    ``plan`` is resolved for a run of ``steps``.
    """
    if hasattr(optimizer.step, "_wrapped_by_lr_sched"):
        warnings.warn(
            "a torch LR scheduler was made for this optimiser; the plan owns the learning rate, and the scheduler's step "
            "would be undone or fail. Make no scheduler.",
            stacklevel=4,
        )
    if not isinstance(optimizer, getattr(torch.optim, "Adafactor", ())):
        return
    at = np.unique(np.geomspace(1, steps, 1000).astype(np.int64)) - 1
    above = at[np.asarray(plan.lr(at)) > (at + 1.0) ** -0.5]
    if above.size:
        warnings.warn(
            f"Adafactor takes no rate above 1/√t for its update, and the plan has more from step {above[0]} on "
            f"({plan.lr(int(above[0])):g}); the decay goes by the plan's. Lower the peak for a plan that is followed.",
            stacklevel=4,
        )
