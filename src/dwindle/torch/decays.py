"""How a decay reaches the weights of one param group: by the optimiser's own arithmetic where that is exact, else by ours.

The ways: ``none``; ``own``, the group's ``weight_decay``; ``gradient``, c·w added to a copy of the gradient; ``weights``,
multiplied by the shrink before the update; ``cautious``, after it, where it did not move a weight away from zero. Weights
of a type that would lose the decay (`dwindle.torch.compensation`) take it by their residues in the same ways, and under
l2 with SGD by ``filter``: SGD is linear, and so its answer to c·w is known apart.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import InvalidValueError
from dwindle.plan import Plan, Rates
from dwindle.torch.compensation import GRADIENT, VELOCITY, WEIGHT, Residues, follows, writes
from dwindle.torch.compiled import is_fixed
from dwindle.torch.groups import Group, Part

__all__ = ["DECOUPLED", "Dose", "Update", "refuse_sparse", "residues_of", "set_rates", "way_of", "write_rate"]

_BOTH = (torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam)
_L2 = (*_BOTH, *(getattr(torch.optim, name) for name in ("SGD", "Adadelta", "Adagrad", "Adamax", "RMSprop")))
DECOUPLED = tuple(
    getattr(torch.optim, name) for name in ("AdamW", "Muon", "Adafactor") if hasattr(torch.optim, name)
)  # Muon is younger than the oldest torch we take


class Dose(NamedTuple):
    """One step's decay of a group: its rates, the share x = 1 - shrink with all its digits, the types that would lose it."""

    rates: Rates
    share: float
    lossy: frozenset[torch.dtype] = frozenset()


def way_of(
    optimizer: torch.optim.Optimizer,
    group: Group,
    plan: Plan,
    part: Part,
    compiled: bool = False,
    lossy: frozenset[torch.dtype] = frozenset(),
) -> str:
    """Return how ``plan``'s decay is applied to a group of ``optimizer``, whose step may be ``compiled``.

    ``lossy`` are the types of weight that would lose the decay; a group that has such weights does not use its own.
    The optimiser's own decay is used for its exact class only; a class we do not know may mean anything by the name.
    """
    decay = plan.decay
    if decay is None or not part.decays:
        return "none"
    kind, switch = type(optimizer), "decoupled_weight_decay" in group
    beside = any(p.dtype in lossy for p in group["params"])
    if isinstance(decay, L2):
        own = kind in _L2 and (switch or kind not in DECOUPLED) and (not compiled or is_fixed(decay))
        linear = getattr(optimizer, "_rule", kind) is torch.optim.SGD  # ours has torch's arithmetic
        return ("filter" if linear else "gradient") if beside else "own" if own else "gradient"
    if decay.cautious:
        return "cautious"
    # torch multiplies by 1 - lr·weight_decay: any share is reached by a weight_decay, unless lr is 0 or a float32 tensor
    reaches = isinstance(decay, Decoupled) or (plan.peak * part.lr_scale > 0 and not torch.is_tensor(group["lr"]))
    reaches = reaches and (not compiled or is_fixed(decay))
    return "own" if reaches and not beside and (kind in DECOUPLED or (switch and kind in _BOTH)) else "weights"


def write_rate(group: Group, lr: float) -> None:
    """Write a learning rate into ``group``; a tensor is filled in place."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].fill_(lr)
    else:
        group["lr"] = lr


def set_rates(group: Group, way: str, rates: Rates, decay: Decay | None, step: int) -> None:
    """Write one step's learning rate and own decay into ``group``; a tensor lr is filled in place."""
    write_rate(group, float(rates.lr))
    if "weight_decay" in group:
        group["weight_decay"] = _own_number(rates, decay, step) if way == "own" and decay is not None else 0.0
    if way == "own" and "decoupled_weight_decay" in group:
        group["decoupled_weight_decay"] = not isinstance(decay, L2)


def _own_number(rates: Rates, decay: Decay, step: int) -> float:
    if isinstance(decay, L2 | Decoupled):
        return float(decay.at(step))
    return float((1.0 - rates.shrink) / rates.lr) if rates.lr > 0 else 0.0


class _Before(NamedTuple):
    """A parameter before its update: its weights then, and the gradient that will have moved them."""

    param: Any
    old: Any
    grad: Any


def _before(params: list[Any], group: Group, scale: float) -> list[_Before]:
    """Return ``params`` before their update; torch adds Nesterov's momentum to the gradients themselves, so they are copied."""
    grads = [p.grad / scale if group.get("nesterov") else p.grad for p in params]
    return [_Before(p, p.detach().clone(), grad) for p, grad in zip(params, grads, strict=True)]


class Update:
    """What one optimiser step needs from us around the update itself; holds copies only while a step runs."""

    __slots__ = ("_doubtful", "_folded", "_grads", "_residues", "_weights")

    def __init__(self, residues: Residues) -> None:
        self._residues = residues
        self._grads: list[tuple[Any, Any, Any, Any]] = []  # parameter, its gradient, ours in its place, as we left ours
        self._weights: list[tuple[list[_Before], Group, float]] = []  # in doubt until the update shows where it goes
        self._doubtful: list[tuple[list[_Before], Group, float]] = []  # those that would lose the decay
        self._folded: list[Any] = []

    def before(self, group: Group, way: str, dose: Dose, grad_scale: Any = None) -> None:
        """Act on the parameters of ``group`` that have a gradient, as torch does, just before they are updated.

        ``grad_scale`` multiplies the gradients, if a fused optimiser is still to unscale them.
        """
        params = [p for p in group["params"] if p.grad is not None]
        c = dose.rates.l2 * (-1.0 if group.get("maximize") else 1.0)
        scale = 1.0 if grad_scale is None else float(grad_scale)
        with torch.no_grad():
            self._short([p for p in params if p.dtype in dose.lossy], group, way, dose, c, scale)
        params = [p for p in params if p.dtype not in dose.lossy]
        if not params:
            return
        if way == "cautious":
            self._weights.append((_before(params, group, scale), group, dose.rates.shrink))
        elif way == "weights":
            with torch.no_grad():  # in float32 this keeps the digits of the share that w·shrink rounds away
                torch._foreach_add_(params, params, alpha=dose.rates.shrink - 1.0)
        else:
            self._couple(params, c * scale)

    def _short(self, params: list[Any], group: Group, way: str, dose: Dose, c: float, scale: float) -> None:
        """Decay the weights that would lose it; what they keep of it shows after the update."""
        if not params:
            return
        if way == "gradient":
            refuse_sparse(params)
            coupled = self._residues.couple(params, c, scale)
            self._swap(params, coupled)
            return
        if way == "cautious":
            self._residues.of_weights(params)
            self._doubtful.append((_before(params, group, scale), group, dose.share))
        elif way == "filter":
            self._residues.filter(params, dose.rates.l2, dose.rates.lr, group)
        else:
            self._residues.decay(params, dose.share)
        self._folded += params

    def _couple(self, params: list[Any], c: float) -> None:
        refuse_sparse(params)
        with torch.no_grad():
            coupled = torch._foreach_add([p.grad for p in params], params, alpha=c)
        self._swap(params, coupled)

    def _swap(self, params: list[Any], coupled: Any) -> None:
        for param, ours in zip(params, coupled, strict=True):
            self._grads.append((param, param.grad, ours, writes(ours)))
            param.grad = ours

    def after(self) -> None:
        """Finish the decay after the update, and give the gradients back as they were."""
        with torch.no_grad():
            for rows, group, shrink in self._weights:
                for param, old, grad in rows:
                    decays = follows(param, old, self._residues.slope(param, group, grad), old)
                    param.add_(torch.where(decays, old, torch.zeros_like(old)), alpha=shrink - 1.0)
            for rows, group, share in self._doubtful:
                slopes = [self._residues.slope(param, group, grad) for param, _, grad in rows]
                self._residues.decay_where([row.param for row in rows], [row.old for row in rows], slopes, share)
            self._residues.fold(self._folded)
        self._residues.settle()
        for param, grad, ours, left in self._grads:
            if param.grad is ours:
                if writes(ours) != left and not ours.any():  # the step, or a hook of the user's, zeroed it
                    grad.zero_()
                param.grad = grad
        self._clear()

    def forget(self) -> None:
        """Drop the copies of a step that failed; a gradient that is still just as we left it becomes the user's again."""
        for param, grad, ours, left in self._grads:
            if param.grad is ours and writes(ours) == left:
                param.grad = grad
        self._clear()

    def _clear(self) -> None:
        for held in (self._grads, self._weights, self._doubtful, self._folded):
            held.clear()
        self._residues.forget()


def residues_of(way: str, group: Group) -> tuple[str, ...]:
    """Return the names of the residues that ``way`` keeps for each weight of a type that would lose the decay."""
    if way == "filter" and group["momentum"]:
        return (WEIGHT, VELOCITY)
    return {"none": (), "own": (), "gradient": (GRADIENT,)}.get(way, (WEIGHT,))


def refuse_sparse(params: list[Any]) -> None:
    """Raise InvalidValueError for a sparse gradient, to which l2 cannot be added."""
    if any(p.grad.layout != torch.strided for p in params):
        raise InvalidValueError(
            "l2 decay makes a sparse gradient dense; use a decoupled decay, or a mask that leaves this parameter out."
        )
