"""Hugging Face's TrainingArguments as they are saved: of some hundred settings, the few that say a plan."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from dwindle.errors import InvalidValueError, ParseError, UnknownNameError, UnresolvedTimeError, shown
from dwindle.foreign.optimizers import read_optimizer
from dwindle.plan import Plan
from dwindle.units import Horizon

__all__ = ["CLASSES", "READ", "from_training_arguments", "from_training_json", "training_settings"]

CLASSES = ("TrainingArguments", "Seq2SeqTrainingArguments")
"""The classes of transformers whose arguments are read."""

_LONGEST = 1_000_000

READ = (
    "learning_rate", "weight_decay", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps", "warmup_ratio",
    "max_steps", "optim",
)  # fmt: skip
"""The arguments that a plan is made of."""

# Arguments of releases 4 and 5 that resemble one of those; of the others only what looks like a typing error is refused.
_OTHERS = (
    "adam_beta1", "adam_beta2", "adam_epsilon", "eval_steps", "learning_rate_end", "logging_steps", "max_grad_norm",
    "optim_args", "optim_target_modules", "save_steps", "torch_empty_cache_steps",
)  # fmt: skip


def from_training_json(text: str, run: Horizon | None = None) -> Plan:
    """Return the plan of ``TrainingArguments.to_json_string()``, such as a training_args.json.

    Where ``max_steps`` is not set the run tells the steps; num_train_epochs alone does not say how many there are.

    >>> print(from_training_json('{"learning_rate": 5e-5, "max_steps": 100, "warmup_steps": 0.1, "seed": 1}'))
    peak 5e-5 | warmup 10st, linear to 0% over 90st
    """
    if len(text) > _LONGEST:
        raise ParseError(f"TrainingArguments have at most {_LONGEST} characters; got {len(text)}.")
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ParseError(f"this begins as JSON and is none: {error}.") from error
    return from_training_arguments(given, run)


def from_training_arguments(given: Any, run: Horizon | None = None) -> Plan:
    """Return the plan of a mapping of TrainingArguments; those that no plan reads are passed over.

    Raises UnknownNameError for a key that is nearly one a plan reads, UnresolvedTimeError where the steps are missing.
    """
    if not isinstance(given, Mapping):
        raise ParseError(f"TrainingArguments are a mapping of names to values; got {shown(given)}.")
    if "log_history" in given:
        raise InvalidValueError(
            "this is a trainer_state.json, a log; the learning rate and its schedule are in the TrainingArguments, which "
            "training_args.to_json_string() writes."
        )
    _refuse_typing_errors(given)
    if not set(given) & set(READ):
        raise ParseError(
            f"this JSON has none of {', '.join(READ[:3])} ...; it is no TrainingArguments. A plan's JSON has format and peak."
        )
    settings = training_settings(given, run)
    try:
        return read_optimizer("hf", "TrainingArguments", settings)
    except InvalidValueError as error:
        if "needs max_steps" not in str(error) and "max_steps of" not in str(error):
            raise
        epochs = given.get("num_train_epochs", 3.0)
        raise UnresolvedTimeError(
            f"max_steps is not set, and num_train_epochs={epochs} does not say how many steps the run has; give the run, "
            f"Horizon(steps=N) or Horizon(epochs={epochs}, steps_per_epoch=K)."
        ) from error


def training_settings(given: Mapping[str, Any], run: Horizon | None) -> dict[str, Any]:
    """Return the arguments that a plan reads, those that are null left out; ``run`` stands in for max_steps."""
    settings = {key: given[key] for key in READ if given.get(key) is not None}
    steps = settings.get("max_steps", -1)
    if run is not None and isinstance(steps, int) and steps <= 0:
        settings["max_steps"] = run.steps
    return settings


def _refuse_typing_errors(keys: Iterable[Any]) -> None:
    for key in keys:
        near = difflib.get_close_matches(str(key)[:80], (*READ, *_OTHERS), n=1, cutoff=0.86)
        if key not in READ and key not in _OTHERS and near and near[0] in READ:
            raise UnknownNameError(f"TrainingArguments have no {key!r}; did you mean {near[0]!r}?")
