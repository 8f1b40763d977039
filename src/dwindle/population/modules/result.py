"""What K modules did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["ModuleResult"]

Curve: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class ModuleResult:
    """Curves are (K, evaluations), finals (K,), NaN where there is nothing to say.

    ``step``: the steps done at each evaluation, 0 first and T last. Losses are the caller's loss, the mean over the
    examples, in evaluation mode. ``squared_norm``: Σw² over the parameters that decay.
    ``diverged``: loss or weights were not finite at an evaluation. The member was let go there: its curves are NaN from
    that evaluation on, its finals too, and its last weights are those found then.
    ``stopped_at``: the steps a member has done: T, or those up to the evaluation at which it diverged, or up to the rung at
    which the judge let it go. Of such a member the curves are NaN after the rung, its finals too, and its last weights are
    those of the rung; it has not ``diverged``.
    ``weights``: the last state dicts, every tensor with an axis of K members in front.
    ``train_metrics``, ``validation_metrics``: a curve for each of the caller's metrics; ``test_metrics``: their finals.
    """

    step: NDArray[np.int64]
    train_loss: Curve
    validation_loss: Curve
    squared_norm: Curve
    test_loss: Curve
    train_metrics: Mapping[str, Curve]
    validation_metrics: Mapping[str, Curve]
    test_metrics: Mapping[str, Curve]
    diverged: NDArray[np.bool_]
    stopped_at: NDArray[np.int64]
    weights: Mapping[str, torch.Tensor]

    def state_dict(self, member: int) -> dict[str, Any]:
        """Return the last weights of one member as its module's ``load_state_dict`` takes them."""
        return {name: tensor[member].clone() for name, tensor in self.weights.items()}
