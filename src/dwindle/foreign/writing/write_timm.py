"""A plan as timm source: ``configure(model)`` with an optimiser and one of timm's schedulers, stepped once an update."""

from __future__ import annotations

from dwindle.decay import Corrected, Decoupled
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.torch_groups import NAMES as OPTIMIZERS
from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.guess_timm import schedulers
from dwindle.foreign.writing.like_torch import (
    configure_source,
    factor_source,
    notes_of,
    scheduler_line,
    torch_optimizer,
)
from dwindle.foreign.writing.param_groups import Optimizer, hook, is_own
from dwindle.foreign.writing.source_text import module
from dwindle.foreign.writing.split import imports_of_split, split_source
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["timm_source"]

_OWN = {"sgdw": "SGDW", "SGDW": "SGDW", "adamw": "AdamW", "AdamWLegacy": "AdamWLegacy"}


def timm_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for timm 1.0, whose schedulers count updates: ``t_in_epochs=False``.

    A scheduler of timm's own is taken where one gives the same rates on every step, else a subclass of its Scheduler with
    the formula. A corrected decay is timm's own.
    """
    plan = draft.plan
    chosen = _optimizer(plan, optimizer)
    recipe = None if _needs_step(plan) else _recipe(draft)
    name, params = recipe or ("PlanScheduler", {})
    says = "Return (optimizer, scheduler); after update n = 1, 2, ... call scheduler.step_update(num_updates=n)."
    rest = [scheduler_line(name, ["optimizer"], params), *hook(plan, chosen, "scheduler.updates")]
    functions = [*([_scheduler_source(draft)] if recipe is None else []), *split_source(plan)]
    configure = configure_source(plan, chosen, says, rest)
    is_torch = chosen.source.startswith("torch.") or not is_own(plan, chosen)
    imports = [
        *imports_of_split(plan),
        *(["torch"] if is_torch else []),
        *([] if chosen.source.startswith("torch.") else [f"from timm.optim import {chosen.name}"]),
        f"from timm.scheduler import {name}" if recipe else "from timm.scheduler.scheduler import Scheduler",
    ]
    return module(draft.header("timm", notes_of(draft, chosen)), imports, [*functions, configure])


def _optimizer(plan: Plan, wanted: str | None) -> Optimizer:
    if wanted is not None:
        known("optimizer", wanted, [*OPTIMIZERS["torch"], *_OWN])
    name = "AdamWLegacy" if wanted is None and _is_corrected(plan) else _OWN.get(wanted or "", wanted)
    if name not in ("SGDW", "AdamWLegacy"):
        return torch_optimizer(plan, name)
    if plan.decay is not None and plan.decay.convention == "l2":
        raise NoExactMapError(
            f"{name} decays beside its update and the plan has {plan.decay}; write it for SGD or Adam."
        )
    if _is_corrected(plan):
        return Optimizer(name, Corrected, {"corrected_weight_decay": True})
    return Optimizer(name, Decoupled)


def _is_corrected(plan: Plan) -> bool:
    return isinstance(plan.decay, Corrected) and not isinstance(plan.decay.weight_decay, Schedule) and plan.peak > 0.0


def _needs_step(plan: Plan) -> bool:
    """Return whether the decay has to know the step, which timm's own schedulers do not keep."""
    return plan.decay is not None and isinstance(plan.decay.weight_decay, Schedule)


def _recipe(draft: Draft) -> Recipe | None:
    """Return timm's own scheduler, one that serves all groups: its lr_min and warmup_lr_init are rates, and no shares."""
    plan = draft.plan
    scales = [1.0, *(group.lr_scale or 0.5 for group in plan.groups), plan.layer_decay or 1.0]
    found = [
        native("timm", plan.schedule, plan.peak * scale, draft.steps, schedulers) for scale in dict.fromkeys(scales)
    ]
    return found[0] if all(one == found[0] for one in found) else None


def _scheduler_source(draft: Draft) -> str:
    kept = _needs_step(draft.plan)
    lines = [
        factor_source(draft),
        "",
        "",
        "class PlanScheduler(Scheduler):",
        '    """The lr of each param group times factor(t), t the number of updates done."""',
        "",
        "    def __init__(self, optimizer):",
        '        super().__init__(optimizer, param_group_field="lr", t_in_epochs=False)',
        "        self.update_groups(self._get_lr(0))",
        "",
        "    def _get_lr(self, t):",
        *(["        self.updates = t"] if kept else []),
        "        return [lr * factor(t) for lr in self.base_values]",
    ]
    return "\n".join(lines)
