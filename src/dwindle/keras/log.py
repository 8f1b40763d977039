"""A callback that writes the learning rate and the decay into the logs of fit: History, CSVLogger, TensorBoard."""

from __future__ import annotations

from typing import Any

import keras

from dwindle.errors import InvalidValueError
from dwindle.keras.attach import Planned, updates_done
from dwindle.keras.schedules import PlanSchedule

__all__ = ["Log"]


class Log(keras.callbacks.Callback):  # type: ignore[misc]
    """Add ``learning_rate`` to the logs of every epoch, and ``shrink`` (``l2`` under that convention) where it decays.

    They are those of the last update done: what gave the loss beside them, in float64, for parameters without an
    lr_scale. Keras logs neither where the optimiser has a schedule. Callbacks are called in order: put it before CSVLogger.
    Raises InvalidValueError at the start of fit if the optimiser follows no plan.

    >>> import numpy as np
    >>> from dwindle.keras import attach
    >>> from dwindle.plan import Plan
    >>> model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    >>> model.compile(attach(keras.optimizers.SGD(), Plan(0.1), 100), "mse")
    >>> model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[Log()]).history["learning_rate"]
    [0.1]
    """

    def on_train_begin(self, logs: Any = None) -> None:
        self._optimizer()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        optimizer = self._optimizer()
        done = max(updates_done(optimizer) - 1, 0)
        if logs is None:
            return
        if not isinstance(optimizer, Planned):
            logs["learning_rate"] = float(optimizer._learning_rate.lr_at(done))
            return
        rates = optimizer.rates(done)
        logs["learning_rate"] = float(rates.lr)
        if optimizer._following.way == "gradient":
            logs["l2"] = float(rates.l2)
        elif optimizer._following.way != "none":
            logs["shrink"] = float(rates.shrink)

    def _optimizer(self) -> Any:
        optimizer = self.model.optimizer
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if isinstance(optimizer, Planned) or isinstance(getattr(optimizer, "_learning_rate", None), PlanSchedule):
            return optimizer
        raise InvalidValueError(
            f"the optimiser {type(optimizer).__name__} follows no plan; compile the model with attach(optimizer, plan, "
            "horizon) or with schedule(plan, horizon)."
        )
