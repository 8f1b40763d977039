"""A plan as PyTorch source: ``configure(model)`` with param groups, an optimiser, a scheduler, and a hook where it takes one."""

from __future__ import annotations

from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.guess_torch import schedulers
from dwindle.foreign.writing.like_torch import configure_source, factor_source, notes_of, torch_optimizer
from dwindle.foreign.writing.param_groups import hook
from dwindle.foreign.writing.source_text import Source, call, module, number
from dwindle.foreign.writing.split import imports_of_split, split_source

__all__ = ["torch_source"]

_OTHER_INITIAL_LR = ("OneCycleLR", "CyclicLR")  # their group["initial_lr"] is not the peak


def torch_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for torch 2: after every ``optimizer.step()`` comes ``scheduler.step()``.

    A scheduler of torch's own is taken where one gives the same rates on every step, else LambdaLR with the formula.
    """
    chosen = torch_optimizer(draft.plan, optimizer)
    hooked = hook(draft.plan, chosen)
    recipe = _recipe(draft, hooked)
    factor = [] if recipe is not None else [factor_source(draft)]
    says = "Return (optimizer, scheduler); call scheduler.step() after every optimizer.step()."
    configure = configure_source(draft.plan, chosen, says, [f"scheduler = {_built(recipe)}", *hooked])
    functions = [*factor, *split_source(draft.plan), configure]
    notes = [*notes_of(draft, chosen), *_length(draft, recipe)]
    return module(draft.header("torch", notes), [*imports_of_split(draft.plan), "torch"], functions)


def _recipe(draft: Draft, hooked: list[str]) -> Recipe | None:
    """Return torch's own scheduler for the plan; with param groups of several rates, one that serves them all."""
    plan = draft.plan
    found: list[Recipe | None] = []
    if plan.layer_decay is not None:
        return None
    for scale in dict.fromkeys((1.0, *(group.lr_scale for group in plan.groups))):
        found.append(native("torch", plan.schedule, plan.peak * scale, draft.steps, schedulers) if scale else found[0])
    recipe = found[0] if all(one == found[0] for one in found) else None
    unsuited = (*_OTHER_INITIAL_LR, "ChainedScheduler") if hooked else ()
    return None if recipe is None or any(name in number(recipe) for name in unsuited) else recipe


def _length(draft: Draft, recipe: Recipe | None) -> list[str]:
    """Say how long a run may be, where the plan was given none and its scheduler has an end."""
    if draft.run is not None or recipe is None or recipe[0] != "OneCycleLR":
        return []
    steps = recipe[1]["total_steps"]
    return [f"torch takes this scheduler for a run of at most {steps} steps, and raises an error in a longer one."]


def _built(recipe: Recipe | None) -> str:
    if recipe is None:
        return "torch.optim.lr_scheduler.LambdaLR(optimizer, factor)"
    name, params = recipe
    children = params.get("schedulers")
    if children is not None:
        built = [Source(_built((child["name"], child["params"]))) for child in children]
        params = {**params, "schedulers": Source("[\n        " + ",\n        ".join(built) + ",\n    ]")}
    if name == "ChainedScheduler":
        return call("torch.optim.lr_scheduler.ChainedScheduler", [params["schedulers"]])
    return call(f"torch.optim.lr_scheduler.{name}", ["optimizer"], params)
