"""What a plan says of each variable of a Keras optimiser: the factor on its learning rate, and whether it decays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dwindle.decay import L2
from dwindle.errors import InvalidValueError, ResumeError
from dwindle.keras.clock import at
from dwindle.mask import Mask, Param
from dwindle.plan import Assignment, Plan
from dwindle.units import Horizon

__all__ = ["Following", "Part", "kinds_of"]


class Part(NamedTuple):
    """One kind of variable: the factor on its learning rate, and whether it decays."""

    lr_scale: float
    decays: bool


@dataclass(frozen=True, slots=True, eq=False)
class Following:
    """A plan at work on an optimiser: ``model`` knows the kinds of layers, if it was given.

    ``placed`` is the decision for each variable in order, read from a saved model or made in `laid_out`: a loaded model
    may have other paths (a Sequential loses its own name), so what was decided is kept and not decided again.
    """

    plan: Plan
    horizon: Horizon
    resolved: Plan
    model: Any = None
    placed: tuple[Assignment, ...] = ()
    parts: tuple[Part, ...] = ()
    at: tuple[int, ...] = field(default=())

    @classmethod
    def of(cls, plan: Plan, horizon: Horizon, model: Any, placed: tuple[Assignment, ...]) -> Following:
        """Return the following before the variables are known; raises where the mask needs a model and there is none."""
        own = [str(rule) for rule in plan.mask.rules if rule.subject == "kind" and rule not in Mask().rules]
        if own and model is None and not placed:
            raise InvalidValueError(
                f"mask rule '{own[0]}' asks for the kind of layer, which a variable does not tell; give model= to attach, "
                "or a rule on the name."
            )
        return cls(plan, horizon, plan.resolve(horizon), model, placed)

    def laid_out(self, variables: Sequence[Any]) -> Following:
        """Return this with the decision for every variable; raises as `Plan.assign` does.

        Raises ResumeError if the decisions were made for another number of variables.
        """
        placed = self.placed or self._decided(variables)
        if len(placed) != len(variables):
            raise ResumeError(
                f"the saved plan decided on {len(placed)} variables, this model trains {len(variables)}; attach the plan to "
                "a new optimiser."
            )
        if (
            self.plan.decay is not None
            and self.plan.decay.cautious
            and any("complex" in str(v.dtype) for v in variables)
        ):
            raise InvalidValueError("complex weights have no sign for cautious to compare; use another decay for them.")
        parts = [Part(a.lr_scale, a.decays and self.plan.decay is not None) for a in placed]
        unique = tuple(dict.fromkeys(parts))
        return replace(self, model=None, placed=placed, parts=unique, at=tuple(unique.index(part) for part in parts))

    def _decided(self, variables: Sequence[Any]) -> tuple[Assignment, ...]:
        kinds = {} if self.model is None else kinds_of(self.model, variables)
        params = [Param(path_of(v), tuple(v.shape), kinds.get(id(v), "")) for v in variables]
        return self.resolved.assign(params)

    def numbers(self, step: Any) -> tuple[tuple[Any, Any, Any], ...]:
        """Return (lr, x, c) for every part: the rate, the share that leaves each weight, the gradient's coefficient of w."""

        def formula(step: Any) -> tuple[Any, ...]:
            doses = (self.resolved.dose(step, lr_scale=part.lr_scale, decays=part.decays) for part in self.parts)
            return tuple(number for dose in doses for number in dose)

        flat = at(step, formula)
        return tuple((flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3))

    @property
    def way(self) -> str:
        """Where the decay acts: ``none``, in the ``gradient``, on the weights ``before`` the update, or ``cautious``, after."""
        decay = self.plan.decay
        if decay is None:
            return "none"
        return "gradient" if isinstance(decay, L2) else "cautious" if decay.cautious else "before"


def path_of(variable: Any) -> str:
    """Return the path of a Keras variable, such as ``dense/kernel``; a bare tf.Variable has only a name."""
    return str(getattr(variable, "path", variable.name))


def kinds_of(model: Any, variables: Sequence[Any]) -> dict[int, str]:
    """Return id of the variable -> class name of the innermost layer of ``model`` that owns it.

    Raises InvalidValueError if the model owns none of ``variables``.
    """
    owners: dict[int, str] = {}
    for layer in sorted(model._flatten_layers(), key=lambda layer: -len(layer.trainable_variables)):
        owners |= {id(variable): type(layer).__name__ for variable in layer.trainable_variables}
    if variables and not any(id(v) in owners for v in variables):
        raise InvalidValueError(
            f"model {type(model).__name__} owns none of the optimiser's {len(variables)} variables; "
            "give the model that this optimiser trains."
        )
    return owners
