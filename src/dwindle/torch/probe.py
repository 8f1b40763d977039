"""What an optimiser does to a weight without a gradient, measured on a copy of four numbers: its real decay, whatever its class.

With zero gradients a decoupled decay is w ← (1 - x)·w again and again; l2 under SGD grows with the momentum; l2 under an
optimiser that divides by the gradient's size moves every weight by about the same amount, large or small.
"""

from __future__ import annotations

import copy
import math
import random
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent

__all__ = ["Probe", "at_peace", "keeps", "probed"]

_WEIGHTS = ((1.0, -0.5), (0.25, -2.0))
_LARGEST = 2**20  # numbers of the optimiser's own that are copied
_LONGEST = 3000  # steps of a probe in low precision
_PLAIN = {"foreach": False, "fused": None, "capturable": False, "differentiable": False}
_SHORT = {torch.bfloat16: 8, torch.float16: 11}  # digits


class Probe(NamedTuple):
    """The decay of one group as measured, None for none, and whether its update is divided by the gradient's size."""

    decay: Decay | None
    adaptive: bool


@contextmanager
def at_peace() -> Iterator[None]:
    """Leave no trace: the states of the generators of random numbers come back, and no warning is heard."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def probed(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], lr: float) -> Probe | None:
    """Return what ``group`` of ``optimizer`` does at the rate ``lr``; None where no copy of it can make a step.

    >>> opt = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2, 2))], weight_decay=0.5)
    >>> probed(opt, opt.param_groups[0], 0.1)
    Probe(decay=Decoupled(weight_decay=0.5, cautious=False, allow_overshoot=False), adaptive=True)
    """
    lr = lr or 1e-3
    with at_peace():
        try:
            return _judged(optimizer, group, lr)
        except Exception:  # a stranger's class may raise anything; what is not measured is said to be so
            return None


def keeps(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], share: float, dtype: torch.dtype) -> bool | None:
    """Return whether decay of ``share`` a step reaches a weight of a short ``dtype`` after all; None where that takes long."""
    digits = _SHORT.get(dtype)
    lr = float(group["lr"])
    if digits is None or not lr or not share:
        return None
    steps = math.ceil(2.0 ** (3 - digits) / share)
    if steps > _LONGEST:
        return None
    with at_peace():
        try:
            start = torch.full((2, 2), 1.5, dtype=dtype)
            end = _moved(optimizer, group, lr, start, [0.0] * steps)[-1]
        except Exception:
            return None
    return bool((1.0 - float(end[0, 0]) / 1.5) > 0.5 * -math.expm1(steps * math.log1p(-share)))


def _judged(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], lr: float) -> Probe:
    start = torch.tensor(_WEIGHTS, dtype=torch.float64)
    still = [_moved(optimizer, group, rate, start, [0.0, 0.0]) for rate in (lr, lr / 2.0)]
    adaptive = _divides(optimizer, group, lr, start)
    first, again = (1.0 - still[0][0] / start).flatten(), (1.0 - still[0][1] / still[0][0]).flatten()
    x, spread = float(first.mean()), float(first.max() - first.min())
    told = float(group.get("weight_decay") or 0.0)
    if float(first.abs().max()) <= 1e-14:
        return Probe(None, adaptive)
    if spread > 1e-6 * float(first.abs().max()):  # as far for a small weight as for a large one: l2, divided
        return Probe(L2(told or abs(x) / lr), adaptive)
    half = float((1.0 - still[1][0] / start).mean())
    power = math.log2(x / half) if half > 0.0 < x else 1.0
    kind: type[Decay] = Decoupled if power > 0.5 else Independent
    kind = Corrected if power > 1.5 else kind
    grows = abs(float(again.mean()) / x - 1.0) > 1e-3
    plain = not adaptive and not group.get("momentum") and kind is Decoupled
    if grows or (plain and not group.get("decoupled")):
        kind = L2
    lam = x / lr if kind in (L2, Decoupled, Corrected) else x
    # under l2 the first step has momentum's share in it (Nesterov), so the group's own number is better
    near = told and (kind is L2 or abs(lam / told - 1.0) < 1e-6)
    return Probe(kind(told if near else max(lam, 0.0)), adaptive)


def _divides(optimizer: torch.optim.Optimizer, group: Mapping[str, Any], lr: float, start: torch.Tensor) -> bool:
    """Whether a gradient a hundred times as large moves the weights as far."""
    bare = {**group, "weight_decay": 0.0} if "weight_decay" in group else group
    small, large = ((_moved(optimizer, bare, lr, start, [g])[0] - start).abs().max() for g in (1.0, 100.0))
    return bool(large <= 10.0 * small)


def _moved(
    optimizer: torch.optim.Optimizer, group: Mapping[str, Any], lr: float, start: torch.Tensor, grads: list[float]
) -> list[torch.Tensor]:
    """Return a weight after each step of a fresh copy of the optimiser with these gradients."""
    weight = torch.nn.Parameter(start.clone())
    twin = _twin(optimizer, {**group, "params": [weight], "lr": lr})
    step = getattr(type(optimizer).step, "__wrapped__", type(optimizer).step)  # without the hooks around it
    seen = []
    for grad in grads:
        weight.grad = torch.full_like(weight, grad)
        step(twin)
        if not bool(torch.isfinite(weight).all()):
            raise ValueError("the copy left the numbers")
        seen.append(weight.detach().clone())
    return seen


def _twin(optimizer: torch.optim.Optimizer, group: Mapping[str, Any]) -> torch.optim.Optimizer:
    """Return an optimiser of the same class with one group, built without ``__init__``, whose arguments nobody knows."""
    twin: torch.optim.Optimizer = object.__new__(type(optimizer))
    memo: dict[int, Any] = {id(optimizer): twin}
    memo |= {id(p): p for g in optimizer.param_groups for p in g["params"]}
    own = {k: v for k, v in vars(optimizer).items() if k not in ("state", "param_groups", "step")}
    own = {k: OrderedDict() if "_hooks" in k and isinstance(v, dict) else v for k, v in own.items()}
    held = [v for v in own.values() if isinstance(v, torch.Tensor)]
    if sum(v.numel() for v in held) > _LARGEST:
        raise ValueError("too large to copy")
    plain = {k: _PLAIN.get(k, v) for k, v in group.items() if k not in ("param_names", "params")}
    vars(twin).update(copy.deepcopy(own, memo))
    twin.state = defaultdict(dict)
    twin.param_groups = [{**copy.deepcopy(plain, memo), "params": group["params"]}]
    return twin
