"""The plan's learning rate as a Keras schedule, and how a plan is written into a saved model: its text and its horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

from dwindle.errors import DwindleError, InvalidValueError, count, shown
from dwindle.keras.clock import at
from dwindle.plan import Plan, as_plan
from dwindle.text import parse
from dwindle.units import Horizon, as_horizon

__all__ = ["PlanSchedule", "checked", "read", "schedule", "written"]


def schedule(plan: Plan, horizon: Horizon | int, group: str | None = None) -> PlanSchedule:
    """Return the learning rate for Keras: iteration -> peak·lr_scale·f(iteration), in Keras' float.

    It is the plan's float64 value rounded once, on every backend, eager or compiled: a staircase divides integers, so
    every boundary is exact. The decay is left to the optimiser; `attach` brings that too.
    Raises UnknownNameError for a group that is not in the plan, and InvalidValueError for a plan without a text, such
    as one of a custom function, which a saved model could not keep.

    >>> from dwindle.schedule import step
    >>> lr = schedule(Plan(0.5, step(94)), 1000)
    >>> [float(lr(iteration)) for iteration in (93, 94, 188)]
    [0.5, 0.25, 0.125]
    >>> optimizer = keras.optimizers.Adam(lr)
    """
    return PlanSchedule(plan, horizon, group)


@keras.saving.register_keras_serializable("dwindle")
class PlanSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """What `schedule` returns; a saved model keeps it as ``{"plan", "horizon", "group"}``.

    >>> from dwindle.schedule import cosine
    >>> PlanSchedule(Plan(0.1, cosine()), 100).get_config()
    {'plan': 'peak 0.1 | cosine to 0%', 'horizon': {'steps': 100}, 'group': None}
    """

    def __init__(self, plan: Plan, horizon: Horizon | int, group: str | None = None) -> None:
        self.plan, self.horizon, self.group = *checked(plan, horizon), group
        self._resolved = self.plan.resolve(self.horizon)
        if group is not None:
            plan.scale(group)

    def __call__(self, step: Any) -> Any:
        return at(step, lambda step: (self._resolved.lr(step, self.group),))[0]

    def lr_at(self, step: int) -> float:
        """Return the learning rate of one step as a Python float, float64."""
        return float(self._resolved.lr(count("step", step, low=0), self.group))

    def get_config(self) -> dict[str, Any]:
        return {**written(self.plan, self.horizon), "group": self.group}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> PlanSchedule:
        return cls(*read(config), group=config.get("group"))


def checked(plan: Any, horizon: Any) -> tuple[Plan, Horizon]:
    """Return the plan and the horizon; raise InvalidValueError for what is no plan or has no text."""
    plan = as_plan(plan)
    try:
        same, reason = parse(str(plan)) == plan, "its text reads back as another plan"
    except DwindleError as error:
        same, reason = False, str(error)
    if not same:
        raise InvalidValueError(f"a saved model keeps the text of its plan, and this one has none: {reason}")
    return plan, as_horizon(horizon)


def written(plan: Plan, horizon: Horizon) -> dict[str, Any]:
    """Return the two as plain JSON values.

    >>> written(Plan(0.1), Horizon(steps=10))
    {'plan': 'peak 0.1 | constant', 'horizon': {'steps': 10}}
    """
    times = {name: value for name, value in asdict(horizon).items() if value is not None}
    return {"plan": str(plan), "horizon": times}


def read(config: Mapping[str, Any]) -> tuple[Plan, Horizon]:
    """Return what `written` wrote."""
    if not isinstance(config, Mapping) or not {"plan", "horizon"} <= config.keys():
        raise InvalidValueError(
            f"a configuration holds a plan and its horizon, as get_config() wrote them; got {shown(config)}."
        )
    return parse(config["plan"]), Horizon(**config["horizon"])
