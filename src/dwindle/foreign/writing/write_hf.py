"""A plan as Hugging Face source: ``configure(model)`` for Trainer(optimizers=...), or the TrainingArguments that say it."""

from __future__ import annotations

from typing import Any

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.torch_groups import NAMES as OPTIMIZERS
from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.guess_hf import schedulers
from dwindle.foreign.writing.like_torch import (
    configure_source,
    factor_source,
    notes_of,
    scheduler_line,
    torch_optimizer,
)
from dwindle.foreign.writing.param_groups import hook
from dwindle.foreign.writing.source_text import Source, call, module
from dwindle.foreign.writing.split import imports_of_split, split_source
from dwindle.mask import Mask
from dwindle.schedule import Schedule

__all__ = ["hf_source"]

_ARGUMENTS = "TrainingArguments"


def hf_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for transformers 5: torch's optimiser, and get_scheduler or LambdaLR with the formula.

    With ``optimizer="TrainingArguments"`` the Trainer builds both from its arguments; raises NoExactMapError for a plan
    that those cannot say.
    """
    known("optimizer", optimizer or _ARGUMENTS, [*OPTIMIZERS["torch"], _ARGUMENTS])
    recipe = native("hf", draft.plan.schedule, draft.plan.peak, draft.steps, schedulers)
    if optimizer == _ARGUMENTS:
        return _arguments_source(draft, recipe)
    chosen = torch_optimizer(draft.plan, optimizer)
    lambda_lr = "scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)"
    scheduler = lambda_lr if recipe is None else _get_scheduler(recipe)
    says = (
        "Return (optimizer, scheduler), the optimizers of a Trainer; in a loop scheduler.step() follows every update."
    )
    configure = configure_source(draft.plan, chosen, says, [scheduler, *hook(draft.plan, chosen)])
    functions = [*([] if recipe else [factor_source(draft)]), *split_source(draft.plan), configure]
    imports = [*imports_of_split(draft.plan), "torch", *(["from transformers import get_scheduler"] if recipe else [])]
    notes = notes_of(draft, chosen)
    return module(draft.header("hf", notes), imports, functions)


def _get_scheduler(recipe: Recipe) -> str:
    name, params = recipe
    counts = {key: params[key] for key in _COUNTS if key in params}
    specific = {key: value for key, value in params.items() if key not in _COUNTS}
    more = {"scheduler_specific_kwargs": specific} if specific else {}
    return scheduler_line("get_scheduler", [f'"{name}"', "optimizer"], counts | more)


_COUNTS = ("num_warmup_steps", "num_training_steps")

_CANNOT = "TrainingArguments cannot say this plan exactly: "


def _arguments_source(draft: Draft, recipe: Recipe | None) -> str:
    decay = _decay_arguments(draft)
    if recipe is None:
        raise NoExactMapError(f"{_CANNOT}no lr_scheduler_type is '{draft.plan.schedule}'. Leave optimizer=... out.")
    name, params = recipe
    steps = params.get("num_training_steps", None if draft.run is None else draft.steps)
    if draft.run is not None and steps != draft.steps:
        raise NoExactMapError(
            f"{_CANNOT}its schedule ends after {steps} steps, the run after {draft.steps}, and the Trainer has one "
            "max_steps for both. Leave optimizer=... out."
        )
    specific = {key: value for key, value in params.items() if key not in _COUNTS}
    arguments = {
        "output_dir": Source("output_dir"),
        "learning_rate": draft.plan.peak,
        "lr_scheduler_type": name,
        **({"lr_scheduler_kwargs": specific} if specific else {}),
        **({"warmup_steps": params["num_warmup_steps"]} if params.get("num_warmup_steps") else {}),
        **({} if steps is None else {"max_steps": steps}),
        **decay,
    }
    lines = [
        "def arguments(output_dir):",
        '    """Return the arguments of a Trainer, which builds the rest itself."""',
    ]
    shown = [f"        {call('', (), {key: value})[1:-1]}," for key, value in arguments.items()]
    lines += ["    return TrainingArguments(", *shown, "    )"]
    notes = [_MASK_NOTE] if draft.decay is not None else []
    return module(draft.header("hf", notes), ["from transformers import TrainingArguments"], ["\n".join(lines)])


_MASK_NOTE = (
    "the Trainer leaves out of the decay what has bias, layernorm, rmsnorm or norm in its name, and nn.LayerNorm. Not exact "
    "for other vectors and norms (bn1, BatchNorm): those decay."
)


def _decay_arguments(draft: Draft) -> dict[str, Any]:
    plan, decay = draft.plan, draft.decay
    if plan.groups or plan.layer_decay is not None:
        raise NoExactMapError(f"{_CANNOT}it has groups of its own. Leave optimizer=... out.")
    if decay is None:
        return {"weight_decay": 0.0}
    optim: dict[type[Decay], dict[str, Any]] = {Decoupled: {}, L2: {"optim": "sgd"}}
    if type(decay) not in optim or isinstance(decay.weight_decay, Schedule) or decay.cautious:
        raise NoExactMapError(
            f"{_CANNOT}of '{decay}' they know only a constant decoupled or l2. Leave optimizer=... out."
        )
    if plan.mask != Mask():
        raise NoExactMapError(f"{_CANNOT}which parameters decay is the Trainer's own rule. Leave optimizer=... out.")
    return {"weight_decay": decay.weight_decay, **optim[type(decay)]}
