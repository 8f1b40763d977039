"""A plan as Composer source: ``configure(model)`` with an optimiser and a scheduler of the time, for its Trainer."""

from __future__ import annotations

from dwindle.decay import L2, Decoupled, Independent
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.torch_groups import NAMES as OPTIMIZERS
from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.guess_composer import schedulers
from dwindle.foreign.writing.like_torch import configure_source, notes_of, scheduler_line, torch_optimizer
from dwindle.foreign.writing.param_groups import Optimizer, changes, hook, is_own
from dwindle.foreign.writing.source_text import module, returned
from dwindle.foreign.writing.split import imports_of_split, split_source
from dwindle.plan import Plan
from dwindle.schedule import Schedule
from dwindle.units import short

__all__ = ["composer_source"]


def composer_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for Composer 0.32, for Trainer(optimizers=optimizer, schedulers=scheduler).

    A scheduler of Composer's own is taken where one gives the same rates on every step, else a function of its state. A
    decay beside the update is DecoupledAdamW's, which is independent: of a decoupled λ it takes peak·λ.
    """
    plan = draft.plan
    chosen = _optimizer(plan, optimizer)
    recipe = _recipe(draft)
    callback = _callback(plan, chosen)
    hooked = [] if callback else hook(plan, chosen)
    scheduler = "scheduler = factor" if recipe is None else scheduler_line(recipe[0], (), recipe[1])
    says = "Return (optimizer, scheduler) for Trainer(optimizers=optimizer, schedulers=scheduler)."
    if callback:
        says = "Return (optimizer, scheduler, decay) for Trainer(optimizers=, schedulers=, callbacks=decay)."
    configure = configure_source(plan, chosen, says, [scheduler, *hooked], ", Decay()" if callback else "")
    functions = [*([] if recipe else [_factor_source(draft)]), *callback, *split_source(plan), configure]
    own = not chosen.source.startswith("torch.")
    names = sorted([*([chosen.name] if own else []), *([recipe[0]] if recipe else [])])
    imports = [
        *imports_of_split(plan),
        *([] if own and not hooked else ["torch"]),
        *(["from composer import Callback"] if callback else []),
        *([f"from composer.optim import {', '.join(names)}"] if names else []),
    ]
    notes = [*_numbers(plan, chosen), *notes_of(draft, chosen), *_length(draft, recipe)]
    return module(draft.header("composer", notes), imports, functions)


def _optimizer(plan: Plan, wanted: str | None) -> Optimizer:
    """Return the optimiser: torch's SGD for l2 and no decay, DecoupledAdamW for a decay beside the update."""
    if wanted is not None:
        known("optimizer", wanted, [*OPTIMIZERS["composer"], *OPTIMIZERS["torch"]])
    beside = plan.decay is not None and not isinstance(plan.decay, L2)
    if wanted is None and beside:
        wanted = "DecoupledAdamW"
    if wanted not in OPTIMIZERS["composer"]:
        return torch_optimizer(plan, wanted)
    if isinstance(plan.decay, L2):
        raise NoExactMapError(
            f"{wanted} decays beside its update and the plan has {plan.decay}; write it for SGD or Adam."
        )
    return Optimizer(wanted, Independent)


def _recipe(draft: Draft) -> Recipe | None:
    recipe = native("composer", draft.plan.schedule, draft.plan.peak, draft.steps, schedulers)
    ends = _ends(recipe)
    return None if draft.run is not None and ends is not None and ends < draft.steps else recipe


def _ends(recipe: Recipe | None) -> int | None:
    """Return the batches after which Composer refuses to go on with a scheduler that has a warm-up."""
    if recipe is None or "t_warmup" not in recipe[1] or "t_max" not in recipe[1]:
        return None
    return int(recipe[1]["t_max"].removesuffix("ba"))


def _length(draft: Draft, recipe: Recipe | None) -> list[str]:
    ends = _ends(recipe)
    if ends is None or draft.run is not None:
        return []
    return [f"Composer takes this scheduler for a max_duration of at most {ends}ba."]


def _numbers(plan: Plan, optimizer: Optimizer) -> list[str]:
    if not isinstance(plan.decay, Decoupled) or optimizer.own is not Independent or not is_own(plan, optimizer):
        return []
    return [
        f"the weight_decay of {optimizer.name} is not multiplied by the lr: it is the highest lr of the group times "
        f"{short(plan.decay.weight_decay)}."  # type: ignore[arg-type]
    ]


def _factor_source(draft: Draft) -> str:
    return "\n".join(
        [
            "def factor(state, ssr=1.0):",
            '    """Return lr / peak; ssr is the scale_schedule_ratio, which stretches it."""',
            "    step = int(state.timestamp.batch.value / ssr)",
            returned(draft.factor),
        ]
    )


def _callback(plan: Plan, optimizer: Optimizer) -> list[str]:
    """Return the callback that gives the groups a decay whose λ is a schedule; it is asked before every batch."""
    if plan.decay is None or not isinstance(plan.decay.weight_decay, Schedule):
        return []
    inside = changes(plan, optimizer)
    if len(inside) > 1:
        raise NoExactMapError(
            f"{optimizer.name} has no decay beside its update that could follow '{plan.decay}' in Composer; write it for "
            "DecoupledSGDW or DecoupledAdamW."
        )
    lines = [
        "class Decay(Callback):",
        f'    """Before each update: {plan.decay}."""',
        "",
        "    def batch_start(self, state, logger):",
        "        step = state.timestamp.batch.value",
        "        for group in state.optimizers[0].param_groups:",
        '            if group["decays"]:',
        *(f"                {line}" for line in inside),
    ]
    return ["\n".join(lines)]
