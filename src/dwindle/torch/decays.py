"""How a decay reaches the weights of one param group: by the optimiser's own arithmetic where that is exact, else by ours.

The ways: ``none``; ``own``, the group's ``weight_decay``; ``gradient``, c·w added to a copy of the gradient; ``weights``,
multiplied by the shrink before the update; ``cautious``, after it, where it did not move a weight away from zero.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import InvalidValueError, real
from dwindle.plan import Plan, Rates
from dwindle.torch.groups import Group, Part

__all__ = ["Update", "refuse_optimizer", "refuse_own_decay", "set_rates", "way_of"]

_BOTH = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)
_L2 = (*_BOTH, *(getattr(torch.optim, name) for name in ("SGD", "Adadelta", "Adagrad", "Adamax", "RMSprop")))
_DECOUPLED = tuple(
    getattr(torch.optim, name) for name in ("AdamW", "Muon", "Adafactor") if hasattr(torch.optim, name)
)  # Muon is younger than the oldest torch we take


def way_of(optimizer: torch.optim.Optimizer, group: Group, plan: Plan, part: Part) -> str:
    """Return how ``plan``'s decay is applied to a group of ``optimizer``.

    The optimiser's own decay is used for its exact class only; a class we do not know may mean anything by the name.
    """
    decay = plan.decay
    if decay is None or not part.decays:
        return "none"
    kind, switch = type(optimizer), "decoupled_weight_decay" in group
    if isinstance(decay, L2):
        own = kind in _L2 and (switch or kind not in _DECOUPLED)
        return "own" if own else "gradient"
    if decay.cautious:
        return "cautious"
    # torch multiplies by 1 - lr·weight_decay: any share is reached by a weight_decay, unless lr is 0 or a float32 tensor
    reaches = isinstance(decay, Decoupled) or (plan.peak * part.lr_scale > 0 and not torch.is_tensor(group["lr"]))
    return "own" if reaches and (kind in _DECOUPLED or (switch and kind in _BOTH)) else "weights"


def set_rates(group: Group, way: str, rates: Rates, decay: Decay | None, step: int) -> None:
    """Write one step's learning rate and own decay into ``group``; a tensor lr is filled in place."""
    lr = float(rates.lr)
    if torch.is_tensor(group["lr"]):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr
    if "weight_decay" in group:
        group["weight_decay"] = _own_number(rates, decay, step) if way == "own" and decay is not None else 0.0
    if way == "own" and "decoupled_weight_decay" in group:
        group["decoupled_weight_decay"] = not isinstance(decay, L2)


def _own_number(rates: Rates, decay: Decay, step: int) -> float:
    if isinstance(decay, L2 | Decoupled):
        return float(decay.at(step))
    return float((1.0 - rates.shrink) / rates.lr) if rates.lr > 0 else 0.0


class Update:
    """What one optimiser step needs from us around the update itself; holds copies only while a step runs."""

    __slots__ = ("_grads", "_weights")

    def __init__(self) -> None:
        self._grads: list[tuple[Any, Any, Any]] = []
        self._weights: list[tuple[Any, Any, float]] = []

    def before(self, group: Group, way: str, rates: Rates, grad_scale: Any = None) -> None:
        """Act on the parameters of ``group`` that have a gradient, as torch does, just before they are updated.

        ``grad_scale`` multiplies the gradients, if a fused optimiser is still to unscale them.
        """
        params = [p for p in group["params"] if p.grad is not None]
        if not params:
            return
        if way == "cautious":
            self._weights += [(p, p.detach().clone(), rates.shrink) for p in params]
        elif way == "weights":
            with torch.no_grad():  # in float32 this keeps the digits of the share that w·shrink rounds away
                torch._foreach_add_(params, params, alpha=rates.shrink - 1.0)
        else:
            sign = -1.0 if group.get("maximize") else 1.0
            self._couple(params, sign * rates.l2 * (1.0 if grad_scale is None else float(grad_scale)))

    def _couple(self, params: list[Any], c: float) -> None:
        if any(p.grad.layout != torch.strided for p in params):
            raise InvalidValueError(
                "l2 decay makes a sparse gradient dense; use a decoupled decay, or a mask that leaves this parameter out."
            )
        grads = [p.grad for p in params]
        with torch.no_grad():
            coupled = torch._foreach_add(grads, params, alpha=c)
        for param, grad, ours in zip(params, grads, coupled, strict=True):
            param.grad = ours
            self._grads.append((param, grad, ours))

    def after(self) -> None:
        """Finish the decay after the update, and give the gradients back as they were."""
        with torch.no_grad():
            for param, old, shrink in self._weights:
                # the update is u = (old - new)/lr; u·w ≥ 0, by sign, for a product of small numbers underflows
                follows = torch.sign(param - old) * torch.sign(old) <= 0
                param.add_(torch.where(follows, old, torch.zeros_like(old)), alpha=shrink - 1.0)
        self.forget()

    def forget(self) -> None:
        """Drop the copies; a gradient that is still ours, after a step that failed, becomes the user's again."""
        for param, grad, coupled in self._grads:
            if param.grad is coupled:
                param.grad = grad
        self._grads.clear()
        self._weights.clear()


def refuse_optimizer(optimizer: torch.optim.Optimizer, plan: Plan) -> None:
    """Raise InvalidValueError for an optimiser on which a plan cannot be exact."""
    kind, why = type(optimizer).__name__, ""
    if isinstance(optimizer, torch.optim.ASGD):
        why = "lowers the learning rate by a rule of its own; use SGD and average the weights"
    elif isinstance(optimizer, torch.optim.Rprop):
        why = "uses lr only for its first step size and then adapts it; a schedule would do nothing"
    elif isinstance(optimizer, torch.optim.LBFGS) and plan.decay is not None:
        why = (
            "evaluates the loss many times in a step, so a decay beside it cannot be exact; add the penalty to the loss"
        )
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
    decoupled = group.get("decoupled_weight_decay", isinstance(optimizer, _DECOUPLED))
    convention = "decoupled" if decoupled else "l2"
    if plan.decay is not None and own == plan.decay.weight_decay and convention == plan.decay.convention:
        return
    raise InvalidValueError(
        f"group {index} of {type(optimizer).__name__} has weight_decay={own:g} ({convention}), the plan has "
        f"{plan.decay or 'no decay'}; the plan owns the decay. Remove it from the optimiser, or write "
        f"{convention}({own:g}) in the plan."
    )
