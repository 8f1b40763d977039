"""Which types of weight would lose their decay to rounding: bfloat16 and float16 always, float32 in a plan of small shares."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from dwindle.decay import L2
from dwindle.plan import Plan

__all__ = ["lossy_types", "lost_share"]

_SHORT = frozenset({torch.bfloat16, torch.float16})
_SINGLE = frozenset({torch.float32, torch.complex64})
_HALF_ULP = 2.0**-24  # the most by which rounding moves a float32, as a share of it
_SAMPLES = 2**16


def lossy_types(
    types: Iterable[torch.dtype], plan: Plan, steps: int, lr_scale: float, compensated: bool | None = None
) -> frozenset[torch.dtype]:
    """Return those ``types`` of weight whose decay under the resolved ``plan`` is to be compensated.

    ``compensated`` True is every type with a residue finer than itself, False none. None is where rounding would lose
    decay: bfloat16 and float16, and float32 and complex64 if `lost_share` over the run is above 1 %, for l2 above 10 % (there the
    decay is rounded together with the gradient, whose own size keeps the rounding from repeating).

    >>> from dwindle.decay import Decoupled
    >>> lossy_types([torch.float32, torch.bfloat16], Plan(3e-4, decay=Decoupled(0.1)), 100, lr_scale=1.0)
    frozenset({torch.bfloat16})
    """
    found = frozenset(types) & (_SHORT | _SINGLE)
    if plan.decay is None or compensated is False:
        return frozenset()
    if compensated or not found & _SINGLE or _loses(plan, steps, lr_scale):
        return found
    return found & _SHORT


def _loses(plan: Plan, steps: int, lr_scale: float) -> bool:
    """Whether float32 weights would lose too much of the decay of this run, which has one."""
    decay: Any = plan.decay
    at = np.arange(steps) if steps <= _SAMPLES else np.linspace(0, steps - 1, _SAMPLES).astype(np.int64)
    factors = np.asarray(plan.schedule(at), dtype=np.float64)
    lrs, coupled = plan.peak * lr_scale * factors, isinstance(decay, L2)
    shares = np.asarray(lrs * decay.coupling(at) if coupled else decay.share(at, lrs, factors), dtype=np.float64)
    return lost_share(shares) > (0.1 if coupled else 0.01)


def lost_share(shares: npt.NDArray[np.float64]) -> float:
    """Return the most that float32 weights can lose of a decay of ``shares`` a step: Σ min(x, 2⁻²⁴) / Σ x.

    A step rounds w by up to 2⁻²⁴·w, and where x changes slowly it rounds the same way for a long time.

    >>> lost_share(np.full(10, 1e-8)), lost_share(np.full(10, 3e-5)) < 0.01
    (1.0, True)
    """
    dose = float(np.sum(np.abs(shares)))
    return float(np.sum(np.minimum(np.abs(shares), _HALF_ULP))) / dose if dose else 0.0
