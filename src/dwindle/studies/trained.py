"""What K trainings of a task did, in one shape for perceptrons and for a user's own modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population import Result

__all__ = ["Trained", "of_modules", "of_perceptrons"]

Curve: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """Curves are (K, E) at the E ``step``s of evaluation, finals (K,), NaN where there is nothing to say.

    Losses and metrics are means over the examples, losses without a penalty; ``squared_norm`` is Σw² over what decays.
    Metrics are by name, ``accuracy`` among them for a classification. ``diverged``: loss or weights were not finite at an
    evaluation. ``stopped_at``: the steps done, the last of ``step`` unless a training diverged or a judge let it go, where its
    curves end; its finals are NaN. ``weights``: the last ones, (K, ...) each, under the names of ``state_dict``.
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
    weights: Mapping[str, NDArray[Any]]

    def state_dict(self, member: int) -> dict[str, NDArray[Any]]:
        """Return the last weights of one member, as ``load_state_dict`` of its module takes them once they are tensors.

        A perceptron's are those of ``nn.Sequential(Linear, activation, Linear, ...)``: "0.weight" (fan_out, fan_in),
        "0.bias", "2.weight", ...
        """
        return {name: array[member, ...].copy() for name, array in self.weights.items()}


def of_perceptrons(result: Result, labelled: bool) -> Trained:
    """Return what the engine of perceptrons gave; ``labelled``: there are classes, hence an accuracy."""
    weights: dict[str, NDArray[Any]] = {}
    for layer, (w, b) in enumerate(zip(result.weights, result.biases, strict=True)):
        weights[f"{2 * layer}.weight"], weights[f"{2 * layer}.bias"] = w.swapaxes(1, 2), b
    train, validation, test = result.train_accuracy, result.validation_accuracy, result.test_accuracy
    return Trained(
        result.step,
        result.train_loss,
        result.validation_loss,
        result.squared_norm,
        result.test_loss,
        {"accuracy": train} if labelled else {},
        {"accuracy": validation} if labelled else {},
        {"accuracy": test} if labelled else {},
        result.diverged,
        result.stopped_at,
        weights,
    )


def of_modules(result: Any) -> Trained:
    """Return what `dwindle.population.modules.train_modules` gave."""
    return Trained(
        result.step,
        result.train_loss,
        result.validation_loss,
        result.squared_norm,
        result.test_loss,
        dict(result.train_metrics),
        dict(result.validation_metrics),
        dict(result.test_metrics),
        result.diverged,
        result.stopped_at,
        {name: tensor.cpu().numpy() for name, tensor in result.weights.items()},
    )
