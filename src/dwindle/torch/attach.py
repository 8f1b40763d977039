"""One line makes any ``torch.optim`` optimiser follow a Plan: learning rate and weight decay, step by step, resumable."""

from __future__ import annotations

import inspect
from typing import Any

import torch

from dwindle.errors import InvalidValueError, count, flag, known, shown
from dwindle.plan import Plan, as_plan
from dwindle.schedule import FeedbackRule
from dwindle.torch.controller import Controller
from dwindle.torch.resume import ON_CHANGE, Given
from dwindle.units import Horizon, as_horizon

__all__ = ["Controller", "attach"]


def attach(
    optimizer: torch.optim.Optimizer,
    plan: Plan | FeedbackRule[Any],
    horizon: Horizon | int,
    *,
    model: torch.nn.Module | None = None,
    feedback: FeedbackRule[Any] | None = None,
    on_change: str = "error",
    compensated: bool | None = None,
    step: int | None = None,
) -> Controller:
    """Make ``optimizer`` follow ``plan`` over ``horizon``; from here on ``loss.backward(); opt.step(); opt.zero_grad()``.

    Step t takes ``plan.rates(t)``: every group's lr is peak·lr_scale·f(t), and the decay falls on the parameters that the
    mask picks, by their names (``AdamW(model.named_parameters())``, or ``model``) and module kinds (``model``).
    A step is a call of ``optimizer.step()`` that updates: steps skipped by a GradScaler and micro-batches do not count.
    Compiled, ``torch.compile(optimizer.step)`` or a train step that calls it, nothing is compiled anew as the rates move: lr
    is then a 0-d tensor, filled in place. Not with fullgraph=True: the plan runs between the graphs.
    An Accelerate optimiser is taken for the one inside.
    The optimiser's own state_dict carries the step too, so saving the optimiser alone is enough to resume; so does a copy
    of it, which follows nothing until the plan is attached to it. Hooks that look at gradients are registered first. After a
    step that raised, the weights may have decayed already, as they may have moved under torch's own; zero the gradients.
    ``on_change``: what a resumed step becomes if plan, horizon or rule changed; see `Controller.load_state_dict`.
    ``feedback``: a rule that moves the rate by a metric, such as Plateau(0.5, patience=3); see `Controller.observe`. It
    may stand for the plan, as `foreign.read` returns torch's ReduceLROnPlateau: the plan is then its own peak, held.
    ``step``: the number of updates that an optimiser from a run without a plan has done, to go on from there; a run under
    a plan carries its own.
    ``compensated``: whether decay below a weight's rounding is kept beside it, 4 bytes a weight (8 for l2 under SGD with
    momentum); None is where it would be lost: bfloat16, float16, and float32 if more than 1 % of the run's decay (for l2
    10 %) is; True is everywhere but float64, False nowhere. Under l2 an optimiser that is not SGD keeps what its gradient
    loses of the decay; what its moments and its update lose stays lost. `Controller.compensated` says where. See
    `dwindle.torch.compensation`.

    Raises InvalidValueError for an optimiser that cannot follow a plan exactly, for groups with a decay, a learning rate
    or an exemption from decay that the plan would overrule, for a mask that asks for module kinds without ``model``, and
    ResumeError if it was loaded from a run under another plan. Nothing has changed then.

    >>> from dwindle.decay import Decoupled
    >>> model = torch.nn.Linear(3, 2)
    >>> opt = torch.optim.AdamW(model.named_parameters())
    >>> ctl = attach(opt, Plan(0.1, decay=Decoupled(0.5)), 100)
    >>> for _ in range(2):
    ...     model(torch.ones(3)).sum().backward(); opt.step(); opt.zero_grad()
    >>> ctl.step, ctl.lr
    (2, 0.1)
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise InvalidValueError(f"optimizer must be a torch.optim optimiser; got {shown(optimizer)}.")
    if type(optimizer).__name__ == "AcceleratedOptimizer":
        optimizer = getattr(optimizer, "optimizer")  # noqa: B009  # the one that steps, when Accelerate lets it
    if not hasattr(optimizer, "_optimizer_step_pre_hooks"):
        raise InvalidValueError(
            f"{type(optimizer).__name__} wraps an optimiser and has no hooks; attach to the inner one."
        )
    if isinstance(plan, FeedbackRule):
        feedback, plan = plan, _plan_of(plan, feedback, optimizer)
    plan = as_plan(plan)
    if model is not None and not isinstance(model, torch.nn.Module):
        raise InvalidValueError(f"model must be a torch.nn.Module; got {shown(model)}.")
    known("on_change", on_change, ON_CHANGE)
    if compensated is not None:
        flag("compensated", compensated)
    if step is not None:
        count("step", step, low=0)
    hooks = optimizer._optimizer_load_state_dict_post_hooks.values()
    if any(isinstance(getattr(hook, "__self__", None), Controller) for hook in hooks):
        raise InvalidValueError("this optimiser already follows a plan; detach() its controller first.")
    return Controller(optimizer, Given(plan, as_horizon(horizon), feedback), model, on_change, compensated, step)


def _plan_of(rule: FeedbackRule[Any], feedback: Any, optimizer: torch.optim.Optimizer) -> Plan:
    """Return the plan of a rule that stands for one: its peak, held until it says otherwise."""
    if feedback is not None:
        raise InvalidValueError(
            "plan is a feedback rule already; give a Plan and the rule as feedback=, or the rule alone."
        )
    default = inspect.signature(type(optimizer).__init__).parameters.get("lr")
    said = {float(group["lr"]) for group in optimizer.param_groups} - {1.0, default and default.default}
    if rule.peak == 1.0 and said:
        raise InvalidValueError(
            f"this rule's peak is 1, so alone it means a learning rate of 1, and the optimiser was made for {max(said):g}; "
            f"say the rate: attach(optimizer, Plan({max(said):g}), horizon, feedback=rule)."
        )
    return Plan(rule.peak)
