"""What plain SGD with one learning rate can do of a plan: scikit-learn's estimators and the textbook."""

from __future__ import annotations

from collections.abc import Iterable

from dwindle.decay import Corrected, Independent
from dwindle.errors import NoExactMapError
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["intercept_notes", "refuse_groups", "sgd_decay"]


def refuse_groups(plan: Plan, peer: str) -> None:
    """Raise where a plan has several learning rates, for a ``peer`` that has one."""
    if plan.groups or plan.layer_decay is not None:
        raise NoExactMapError(
            f"{peer} has one learning rate for all weights; take groups and layer-decay out of the plan."
        )


def intercept_notes(plan: Plan, fact: str) -> Iterable[str]:
    """Say where the plan's mask is another than weights yes, biases no: ``fact`` is what happens here."""
    if plan.decay is not None and plan.mask != Mask():
        wanted = "in the plan every parameter decays" if plan.mask == Mask.everything() else f"the mask is {plan.mask}"
        yield f"not exact: {wanted}, while {fact}."


def sgd_decay(plan: Plan) -> float | Schedule | None:
    """Return λ of lr·λ, the share that leaves each weight of plain SGD in a step: a number, or a schedule; None for none.

    Without momentum every convention is of this form: l2 and decoupled λ, independent λ/peak, corrected λ·f.
    """
    decay = plan.decay
    if decay is None or plan.mask == Mask(()) or decay.weight_decay == 0.0:
        return None
    lam = decay.weight_decay
    if isinstance(decay, Independent):
        if plan.peak == 0.0:
            raise NoExactMapError("independent decay at peak 0 shrinks weights that SGD with lr 0 leaves alone.")
        return lam / plan.peak if not isinstance(lam, Schedule) else lam * (1.0 / plan.peak)
    if isinstance(decay, Corrected):
        return plan.schedule * lam
    return lam
