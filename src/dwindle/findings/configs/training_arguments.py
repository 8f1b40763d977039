"""Hugging Face's TrainingArguments, as JSON of them has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dwindle.errors import UnknownNameError, UnresolvedTimeError
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.families import is_adaptive
from dwindle.findings.configs.run import Run
from dwindle.findings.configs.values import flattened, weights_dtype
from dwindle.foreign.optimizers.training_arguments import READ, from_training_arguments
from dwindle.plan import Plan
from dwindle.setup import setup_of_plan
from dwindle.units import Horizon

__all__ = ["is_training_arguments", "of_training_arguments"]


def is_training_arguments(given: Mapping[str, Any]) -> bool:
    """Return whether these are TrainingArguments: learning_rate, and a name that only they have."""
    return "learning_rate" in given and bool(
        {"output_dir", "per_device_train_batch_size", "lr_scheduler_type", "optim", "num_train_epochs"} & set(given)
    )


def of_training_arguments(given: Mapping[str, Any], run: Run) -> Config:
    """Return what TrainingArguments set up; without the run's length, what does not depend on it."""
    horizon = run.horizon(given.get("max_steps"), given.get("num_train_epochs", 3.0))
    optim = str(given.get("optim") or "adamw_torch")
    if "adamw" in optim:  # 8-bit, paged and fused ones decay as AdamW does
        given = {**given, "optim": "adamw_torch"}
    unread, unseen = list[str](), tuple[str, ...]()
    answers = given.get("lr_scheduler_type") == "reduce_lr_on_plateau"
    if answers:
        given = {**given, "lr_scheduler_type": "constant", "lr_scheduler_kwargs": None}
        unread.append("what reduce_lr_on_plateau does: it answers a metric")
    try:
        plan, known = _read(given, horizon)
    except UnknownNameError as error:  # of another optimiser the rates can be looked at
        plan, known = _read({**given, "optim": "adamw_torch"}, horizon)
        plan = replace(plan, decay=None)
        unread.append(f"what decays: {error}")
        unseen = ("weight_decay", "optim")
    if not known:
        unread.append("the length of the run: max_steps is not set; say --steps, or --steps-per-epoch")
    fields = run.fields(
        optimizer="AdamW" if "adam" in optim else optim,
        adaptive=is_adaptive(optim),
        accumulation=given.get("gradient_accumulation_steps"),
        dtype=weights_dtype(flattened(given)),
        attends=True,
    )
    looked = (*(key for key in READ if given.get(key) is not None), "optim")
    setup = setup_of_plan(plan, horizon if known and not answers else None, **fields)
    if answers:
        setup = replace(setup, horizon=horizon, schedule_known=False)
    seen = dict.fromkeys(key for key in looked if key not in unseen)
    return Config("Hugging Face TrainingArguments", (setup,), tuple(seen), tuple(unread))


def _read(given: Mapping[str, Any], horizon: Horizon | None) -> tuple[Plan, bool]:
    """Return the plan, and whether the run's length is known."""
    try:
        return from_training_arguments(given, horizon), horizon is not None
    except UnresolvedTimeError:
        return from_training_arguments(given, Horizon(steps=10**4)), False
