"""The Keras 3 adapter, on JAX, PyTorch and TensorFlow: a Plan as a learning-rate schedule, and any optimiser that follows it.

``schedule`` is the learning rate alone; ``attach`` gives an optimiser the plan's learning rate, decay, mask and groups;
``Log`` writes what they were into History and CSVLogger. A saved model keeps its plan: ``import dwindle.keras`` before
``keras.saving.load_model``.
"""

from __future__ import annotations

from dwindle.errors import MissingExtraError

try:
    import keras as _keras  # noqa: F401
except ImportError as error:
    if error.name in (None, "keras"):
        raise MissingExtraError.of("keras", "keras") from error
    raise MissingExtraError(
        f"keras is installed but its backend is not: {error}. Set KERAS_BACKEND to jax, torch or tensorflow, whichever "
        "is installed, before keras is imported."
    ) from error

from dwindle.keras.attach import Planned, attach
from dwindle.keras.log import Log
from dwindle.keras.schedules import PlanSchedule, schedule

__all__ = ["Log", "PlanSchedule", "Planned", "attach", "schedule"]
