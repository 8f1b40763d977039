"""The optimiser step on parameters of shape (members, ...), each member with rates of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from dwindle.population import SGD, Adam, Optimiser, Rates

__all__ = ["Steps", "descend", "idle_slots", "steps_of"]

Tensors: TypeAlias = list[torch.Tensor]


class Steps(NamedTuple):
    """The rates of these members as tensors (steps, members), and in which steps any of them decays.

    ``lr`` is negative, with Adam's bias correction in it; ``eps`` has a number a step, corrected likewise.
    """

    lr: torch.Tensor
    shrink: torch.Tensor
    l2: torch.Tensor
    shrinks: NDArray[np.bool_]
    penalised: NDArray[np.bool_]
    eps: NDArray[np.float64]


def steps_of(rates: Rates, optimiser: Optimiser, members: NDArray[np.intp], like: torch.Tensor) -> Steps:
    """Return the rates of ``members`` in the numbers and on the device of ``like``.

    Adam: lr·m̂/(√v̂ + ε) = lr·√(1-β2^t)/(1-β1^t) · m/(√v + ε·√(1-β2^t)).
    For SGD without momentum l2 is a factor too: w - lr·(g + l2·w) = (1 - lr·l2)·w - lr·g.
    """
    lr, shrink, l2 = (np.asarray(table)[members].T for table in (rates.lr, rates.shrink, rates.l2))
    if isinstance(optimiser, SGD) and not optimiser.momentum:
        shrink, l2 = shrink - lr * l2, np.zeros_like(l2)
    root = eps = np.ones(rates.steps)
    if isinstance(optimiser, Adam):
        t = np.arange(1, rates.steps + 1, dtype=np.float64)
        root = np.sqrt(1.0 - optimiser.beta2**t)
        eps, root = optimiser.eps * root, root / (1.0 - optimiser.beta1**t)
    pace, shrinks, couplings = (torch.from_numpy(table.copy()).to(like) for table in (-lr * root[:, None], shrink, l2))
    return Steps(pace, shrinks, couplings, (shrink != 1.0).any(axis=1), (l2 != 0.0).any(axis=1), eps)


def idle_slots(optimiser: Optimiser, parameters: Tensors) -> list[Tensors]:
    """Return what the optimiser keeps before the first step: SGD its momentum, if any, and Adam two means."""
    count = 2 if isinstance(optimiser, Adam) else int(optimiser.momentum > 0.0)
    return [[torch.zeros_like(p) for p in parameters] for _ in range(count)]


def descend(
    optimiser: Optimiser,
    parameters: Tensors,
    gradients: Sequence[torch.Tensor],
    slots: list[Tensors],
    decaying: int,
    steps: Steps,
    step: int,
) -> None:
    """Take one step of every member, in place; the first ``decaying`` parameters decay, the others do not.

    Gradients are left as they are: two of them may be one tensor, or a view of one.
    """
    lr = _beside(steps.lr[step], parameters)
    decayed, h = parameters[:decaying], list(gradients)
    if steps.penalised[step] and decayed:
        h[:decaying] = torch._foreach_addcmul(h[:decaying], decayed, _beside(steps.l2[step], decayed))
    if steps.shrinks[step] and decayed:
        torch._foreach_mul_(decayed, _beside(steps.shrink[step], decayed))
    if isinstance(optimiser, Adam):
        _adam(optimiser, parameters, h, slots, lr, float(steps.eps[step]))
        return
    if optimiser.momentum:
        (v,) = slots
        torch._foreach_mul_(v, optimiser.momentum)
        torch._foreach_add_(v, h)
        h = list(torch._foreach_add(h, v, alpha=optimiser.momentum)) if optimiser.nesterov else v
    torch._foreach_addcmul_(parameters, h, lr)


def _adam(adam: Adam, parameters: Tensors, h: Tensors, slots: list[Tensors], lr: Tensors, eps: float) -> None:
    m, v = slots
    torch._foreach_lerp_(m, h, 1.0 - adam.beta1)
    torch._foreach_mul_(v, adam.beta2)
    torch._foreach_addcmul_(v, h, h, 1.0 - adam.beta2)
    below = list(torch._foreach_sqrt(v))
    torch._foreach_add_(below, eps)
    torch._foreach_addcdiv_(parameters, torch._foreach_mul(m, lr), below)


def _beside(rates: torch.Tensor, parameters: Tensors) -> Tensors:
    """Return the members' ``rates`` in the shapes that multiply each of ``parameters``."""
    by_axes = {p.ndim: rates.view(-1, *[1] * (p.ndim - 1)) for p in parameters}
    return [by_axes[p.ndim] for p in parameters]
