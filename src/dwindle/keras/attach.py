"""Any Keras optimiser made to follow a Plan: learning rate, decay, mask and groups, in fit and in loops of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import keras

from dwindle.errors import InvalidValueError, shown
from dwindle.keras.following import Following, Part
from dwindle.keras.refusals import OWN_DECAYS, refuse
from dwindle.keras.schedules import PlanSchedule, checked, read, written
from dwindle.mask import Decision, report
from dwindle.plan import Assignment, Plan, Rates
from dwindle.units import Horizon

__all__ = ["Planned", "attach", "updates_done"]


def attach(optimizer: Any, plan: Plan, horizon: Horizon | int, *, model: Any = None) -> Any:
    """Make ``optimizer`` follow ``plan`` over ``horizon``, and return it: ``model.compile(attach(Adam(), plan, run))``.

    Update t = ``optimizer.iterations`` takes plan.rates(t): w ← (1 - x)·w, then the optimiser's own step with the
    learning rate lr·lr_scale, in Keras' order (decay first, with the gradient taken before). x is lr·λ decoupled, f·λ
    independent, lr·f·λ corrected, 0 where the mask says no. ``l2``: the gradient becomes g + c·w, after Keras' clipping,
    so that clipping does not weaken the decay; a regulariser in the loss would be clipped along with g. ``cautious``: x·w
    is taken off after the step, where the step did not move w away from 0; where rounding hides it, the step is known by
    the optimiser's momentum, or else the gradient. With ``gradient_accumulation_steps`` an update is one of the
    accumulated kind; Keras' own schedules count every batch. The moving average (use_ema) and constraints come last, as
    ever. Adafactor keeps its own bound on its step, lr ≤ 1/√(t + 1).

    The learning rate that the optimiser was built with is replaced, and so is the weight decay that its class has by default;
    one of the user's own is refused, unless it is the plan's. What the optimiser holds otherwise stays: one that has done n
    updates goes on with the plan's update n (compile the model again then). Variables go by their path, ``dense/kernel``; the
    kind of layer is known where ``model`` is given, the model that will be trained. A saved model keeps the plan and what it
    decided for each variable, and goes on bit for bit; import dwindle.keras before load_model.

    Raises InvalidValueError for an optimiser on which the plan cannot be exact or that has a decay of its own; where the
    variables are first known, UnknownNameError for a rule or group that matches none of them.

    >>> from dwindle.decay import Decoupled
    >>> optimizer = attach(keras.optimizers.SGD(), Plan(0.1, decay=Decoupled(0.5)), 100)
    >>> w = keras.Variable([[1.0]], name="kernel")
    >>> optimizer.apply([keras.ops.zeros((1, 1))], [w])
    >>> round(float(w[0, 0]), 6), optimizer.rates(0)
    (0.95, Rates(lr=0.1, shrink=0.95, l2=0.0))
    """
    if model is not None and not isinstance(model, keras.Model):
        raise InvalidValueError(f"model must be a keras.Model; got {shown(model)}.")
    return _attached(optimizer, plan, horizon, model=model)


class Planned:
    """What `attach` adds to the class of an optimiser; ``isinstance(optimizer, keras.optimizers.Adam)`` still holds.

    >>> from dwindle.decay import L2
    >>> optimizer = attach(keras.optimizers.Adam(), Plan(0.1, decay=L2(0.5)), 100)
    >>> optimizer.build([keras.Variable([[1.0]], name="kernel"), keras.Variable([1.0], name="bias")])
    >>> print(optimizer.report())
    l2 0.5
    kernel  decays  ndim "2" decays
    bias    -       regex "(^|[./])bias$" does not
    """

    _following: Following

    def rates(self, step: int | None = None) -> Rates:
        """Return (lr, shrink, l2) of update ``step``, by default the next one, for a variable that decays, unscaled."""
        return self._following.resolved.rates(updates_done(self) if step is None else step)

    def report(self) -> str:
        """Return the decay, then one line per variable: its path, whether it decays, and which rule said so.

        Raises InvalidValueError before the optimiser has its variables; call ``optimizer.build(model.trainable_variables)``.
        """
        placed = self._following.placed
        if not placed:
            raise InvalidValueError("the optimiser has no variables yet; build it, or train a step.")
        rows = [
            Decision(a.name, a.decays, a.rule if a.lr_scale == 1.0 else f"{a.rule}; lr × {a.lr_scale:g}", a.tied_to)
            for a in placed
        ]
        return f"{self._following.plan.decay or 'no decay'}\n{report(rows)}"

    def build(self, variables: Sequence[Any]) -> None:
        following = self._following.laid_out(variables)  # what cannot work is refused before a slot is made
        super().build(variables)  # type: ignore[misc]
        self._following = following

    def _get_current_learning_rate(self) -> Any:
        schedule: Any = self._learning_rate  # type: ignore[attr-defined]
        return schedule(self.iterations)  # type: ignore[attr-defined]

    @property
    def learning_rate(self) -> Any:
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        raise InvalidValueError(
            "the plan owns the learning rate of this optimiser; remove the callback or code that sets it, or attach "
            "another plan to a new optimiser."
        )

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        raise InvalidValueError("the plan owns the decay of this optimiser; say in its mask what does not decay.")

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Do nothing: the decay comes with each variable's update."""

    def _backend_update_step(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        numbers = self._following.numbers(self.iterations)  # type: ignore[attr-defined]
        if isinstance(self, keras.optimizers.Nadam) and hasattr(_without(type(self)), "_parallel_update_step"):
            # Nadam moves a number of its own at every parallel update, so there must not be one for each lr_scale
            _general(_without(type(self)))._backend_update_step(self, grads, trainable_variables, numbers)
        else:
            super()._backend_update_step(grads, trainable_variables, numbers)  # type: ignore[misc]

    def update_step(self, gradient: Any, variable: Any, numbers: Any) -> None:
        lr, x, c = self._own(numbers, variable)
        gradient, before = self._begun(gradient, variable, x, c)
        super().update_step(gradient, variable, lr)  # type: ignore[misc]
        self._ended(variable, before, gradient, lr, x)

    def _parallel_update_step(self, grads: Any, variables: Any, numbers: Any) -> None:
        """Update on torch, where Keras takes all variables of one learning rate at once."""
        own = [self._own(numbers, v) for v in variables]
        begun = [self._begun(g, v, x, c) for g, v, (_, x, c) in zip(grads, variables, own, strict=True)]
        scales = [self._part(v).lr_scale for v in variables]
        for scale in dict.fromkeys(scales):
            at = [i for i, other in enumerate(scales) if other == scale]
            chosen = [variables[i] for i in at]
            super()._parallel_update_step([begun[i][0] for i in at], chosen, own[at[0]][0])  # type: ignore[misc]
        for v, (gradient, before), (lr, x, _) in zip(variables, begun, own, strict=True):
            self._ended(v, before, gradient, lr, x)

    def _part(self, variable: Any) -> Part:
        following = self._following
        return following.parts[following.at[self._get_variable_index(variable)]]  # type: ignore[attr-defined]

    def _own(self, numbers: Any, variable: Any) -> tuple[Any, Any, Any]:
        """Return (lr, x, c) of a variable; x and c are None where it does not decay."""
        part = self._part(variable)
        lr, x, c = numbers[self._following.parts.index(part)]
        return (lr, x, c) if part.decays else (lr, None, None)

    def _begun(self, gradient: Any, variable: Any, x: Any, c: Any) -> tuple[Any, Any]:
        """Act on a variable before its update; return the gradient, and the weights if they are wanted after it."""
        way = self._following.way if x is not None else "none"
        if way == "gradient":
            return _sum(gradient, variable, c), None
        if way == "before":
            self.assign(variable, _sum(variable, variable, -x))  # type: ignore[attr-defined]
        return gradient, keras.ops.copy(variable) if way == "cautious" else None

    def _ended(self, variable: Any, before: Any, gradient: Any, lr: Any, x: Any) -> None:
        if before is None:
            return
        # the update is u = (before - now)/lr; u·w ≥ 0, by sign, for a product of small numbers underflows
        ops = keras.ops
        now = ops.convert_to_tensor(variable)
        moved = ops.subtract(now, before)
        moved = ops.where(moved == 0, ops.negative(self._slope(variable, gradient, lr)), moved)  # rounding hid it
        follows = ops.sign(moved) * ops.sign(before) <= 0
        self.assign(variable, ops.where(follows, _sum(now, before, -x), now))  # type: ignore[attr-defined]

    def _slope(self, variable: Any, gradient: Any, lr: Any) -> Any:
        """Return what the optimiser has moved ``variable`` against, by sign, as far as the names of its slots tell."""
        kind: Any = self
        at, slope = kind._get_variable_index(variable), keras.ops.cast(gradient, variable.dtype)
        if isinstance(self, keras.optimizers.SGD) and kind.momentum:  # v ← μ·v - lr·g
            velocity = keras.ops.negative(kind.momentums[at])
            return _sum(kind.momentum * velocity, slope, lr) if kind.nesterov else velocity
        slots = (getattr(self, name, None) for name in ("_momentums", "_m"))
        return next((averages[at] for averages in slots if averages and isinstance(averages, list)), slope)

    def get_config(self) -> dict[str, Any]:
        following = self._following
        own = {**super().get_config(), "learning_rate": following.plan.peak}  # type: ignore[misc]
        plain = _general(_without(type(self))).from_config(own)
        if following.model is not None and following.model.built:
            following = following.laid_out(following.model.trainable_variables)
        return {
            "optimizer": keras.optimizers.serialize(plain),
            **written(following.plan, following.horizon),
            "placed": [list(a) for a in following.placed],
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], custom_objects: Any = None) -> Any:
        plan, horizon = read(config)
        if not {"optimizer", "placed"} <= config.keys():
            raise InvalidValueError(
                f"a configuration holds an optimizer, as get_config() wrote it; got {shown(config)}."
            )
        # not keras.optimizers.deserialize, whose table lacks Lamb
        optimizer = keras.saving.deserialize_keras_object(dict(config["optimizer"]), custom_objects=custom_objects)
        return _attached(optimizer, plan, horizon, placed=tuple(Assignment(*row) for row in config["placed"]))


def _attached(optimizer: Any, plan: Plan, horizon: Any, model: Any = None, placed: tuple[Assignment, ...] = ()) -> Any:
    if isinstance(optimizer, Planned):
        raise InvalidValueError("this optimiser already follows a plan; attach to a new one.")
    plan, run = checked(plan, horizon)
    refuse(optimizer, plan)
    following = Following.of(plan, run, model, placed)
    if optimizer.built:
        following = following.laid_out(optimizer._trainable_variables)
        _warn_if_over(updates_done(optimizer), run)
    optimizer.learning_rate = PlanSchedule(plan, run)
    for name in OWN_DECAYS:
        if hasattr(optimizer, name):
            setattr(optimizer, name, 0.0)
    kind: Any = type(optimizer)
    optimizer.__class__ = _planned(kind)
    optimizer._following = following
    return optimizer


def updates_done(optimizer: Any) -> int:
    """Return the number of updates that a Keras optimiser has done; also where TensorFlow mirrors it over devices."""
    return int(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(optimizer.iterations)))


def _warn_if_over(step: int, horizon: Horizon) -> None:
    if step >= horizon.steps:
        warnings.warn(
            f"the optimiser has done {step} updates, which is beyond the horizon of {horizon.steps} steps; the schedule "
            "goes on as it ends. To begin at step 0, attach to a new optimiser.",
            stacklevel=4,
        )


@cache
def _planned(kind: Any) -> type[Any]:
    """Return the class of optimisers of ``kind`` that follow a plan; one name in saved files stands for all of them."""
    made = type(f"Planned{kind.__name__}", (Planned, kind), {"__module__": __name__, "__doc__": Planned.__doc__})
    registered: type[Any] = keras.saving.register_keras_serializable("dwindle", "Planned")(made)
    return registered


keras.saving.register_keras_serializable("dwindle", "Planned")(Planned)


def _without(kind: type[Any]) -> type[Any]:
    """Return the user's class behind a planned one."""
    return kind.__mro__[kind.__mro__.index(Planned) + 1]


def _general(kind: type[Any]) -> Any:
    """Return the nearest class of Keras' optimiser that runs on every backend: keras.optimizers.Adam, not torch's own."""
    whole = (k for k in kind.__mro__ if issubclass(k, keras.optimizers.Optimizer))
    return next(k for k in whole if not hasattr(k, "_parallel_update_step"))


def _sum(a: Any, w: Any, factor: Any) -> Any:
    """Return a + factor·w, formed in float32 or wider, in the dtype of a."""
    ops = keras.ops
    dtype = keras.backend.standardize_dtype(a.dtype)
    wide = keras.backend.result_type(dtype, "float32") if dtype in ("float16", "bfloat16") else dtype
    return ops.cast(ops.add(ops.cast(a, wide), ops.multiply(ops.cast(factor, wide), ops.cast(w, wide))), dtype)
