"""Any mapping that names its rate, decay and length as most do: hparams.yaml, a config of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import real
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.families import decays_apart, is_adaptive
from dwindle.findings.configs.run import Run
from dwindle.findings.configs.values import PRECISIONS, first_number, flattened, is_number, weights_dtype
from dwindle.findings.setups.wording import BY_EPOCHS
from dwindle.plan import Plan
from dwindle.schedule import constant
from dwindle.setup import Scheduler, Setup, sampled, setup_of_plan
from dwindle.units import Horizon

__all__ = ["RATES", "has_usual_names", "of_usual_names", "several_rates"]

_LR = (
    "lr", "learning_rate", "base_lr", "max_lr", "peak_lr", "optimizer.lr", "optim.lr", "optimizer.learning_rate",
    "optimizer.params.lr",
)  # fmt: skip
RATES = ", ".join(_LR[:5])
_LAM = (
    "weight_decay", "wd", "optimizer.weight_decay", "optim.weight_decay", "l2", "lambda_l2", "optimizer.params.weight_decay",
)  # fmt: skip
_EPOCHS = ("max_epochs", "epochs", "num_epochs", "n_epochs", "trainer.max_epochs")
_STEPS = ("max_steps", "total_steps", "num_training_steps", "max_iters", "trainer.max_steps")
_WARM = ("warmup_steps", "num_warmup_steps", "warmup_iters", "warmup")
_ACCUMULATE = (
    "accumulate_grad_batches", "gradient_accumulation_steps", "grad_accum_steps", "trainer.accumulate_grad_batches",
)  # fmt: skip
_LENGTHS = ("T_max", "t_max", "lr_decay_iters", "lr_decay_steps")
_OPTIMIZER = ("optimizer", "opt", "optim", "optimizer_name", "optimizer.name", "optimizer._target_")
_OF_A_SCHEDULE = re.compile(r"[^.]*(sched|warm)")


def has_usual_names(given: Mapping[str, Any]) -> bool:
    """Return whether a learning rate stands under a name that is known, or under one within one mapping."""
    return first_number(_lifted(flattened(given)), _LR) is not None


def _lifted(flat: dict[str, Any]) -> dict[str, Any]:
    """Return ``flat`` with the rate, the decay and the optimiser that stand one level deeper, where these agree."""
    inner = _inner(flat)
    found = {name: [flat[key] for key in keys] for name, keys in inner.items()}
    return {**{name: values[0] for name, values in found.items() if values.count(values[0]) == len(values)}, **flat}


def _inner(flat: dict[str, Any]) -> dict[str, list[str]]:
    """Return by name the keys of the rates, decays and optimisers that stand one level deeper, where none stands at the top."""
    inner: dict[str, list[str]] = {}
    sought = [name for names in (_LR, _LAM, _OPTIMIZER) if not set(names) & set(flat) for name in names]
    for key in flat:
        name = key.partition(".")[2]
        if name in sought and not _OF_A_SCHEDULE.match(key):
            inner.setdefault(name, []).append(key)
    return inner


def several_rates(given: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of learning rates one level deeper that differ; none where there is one rate, or none.

    >>> several_rates({"backbone": {"lr": 1e-4}, "head": {"lr": 1e-3}})
    ('backbone.lr', 'head.lr')
    """
    flat = flattened(given)
    lifted, inner = _lifted(flat), _inner(flat)
    return next((tuple(inner[name]) for name in _LR if name in inner and name not in lifted), ())


def of_usual_names(given: Mapping[str, Any], run: Run) -> Config:
    """Return what is told by the names that are known: the schedule only by its length and its warm-up."""
    flat = _lifted(flattened(given))
    lr = real("the learning rate", first_number(flat, _LR), above=0.0)
    lam = real("the weight decay", first_number(flat, _LAM) or 0.0, low=0.0)
    name = next((str(flat[key]) for key in _OPTIMIZER if isinstance(flat.get(key), str)), "").rpartition(".")[2]
    decay: Decay | None = None if not lam else Decoupled(lam) if not name or decays_apart(name) else L2(lam)
    unread = ["what decays, and the schedule: the file has no word for them that is known"]
    if not name:
        unread.append("the optimiser")
    horizon = run.horizon(first_number(flat, _STEPS), first_number(flat, _EPOCHS))
    fields = run.fields(
        optimizer=name, adaptive=is_adaptive(name) if name else None, accumulation=first_number(flat, _ACCUMULATE),
        dtype=PRECISIONS.get(str(flat.get("precision", flat.get("trainer.precision")))) or weights_dtype(flat),
    )  # fmt: skip
    plan = Plan(lr, constant(), decay)
    known = setup_of_plan(plan, None, **fields, schedule_known=False)
    setups = [replace(known, horizon=horizon)]
    setups += _lengths(flat, plan, horizon, first_number(flat, _EPOCHS), fields)
    if horizon is None:
        unread.append("the steps of the run: say --steps, or --steps-per-epoch")
    keys = (*_LR, *_LAM, *_OPTIMIZER, *_EPOCHS, *_STEPS, *_WARM, *_ACCUMULATE, "T_max", "precision")
    return Config("hparams", tuple(setups), tuple(key for key in keys if key in flat), tuple(unread))


def _lengths(
    flat: Mapping[str, Any], plan: Plan, horizon: Horizon | None, epochs: Any, fields: dict[str, Any]
) -> Iterator[Setup]:
    """Yield what T_max and the warm-up say of the length of a schedule, against the run."""
    key, length = next(
        ((k, v) for k, v in flat.items() if k.rpartition(".")[2] in _LENGTHS and is_number(v) and v >= 1), (None, None)
    )
    run, unsaid = horizon, tuple[str, ...]()
    if run is None and is_number(epochs) and epochs >= 1:
        run, unsaid = Horizon(steps=round(epochs)), (BY_EPOCHS,)
    known = setup_of_plan(replace(plan, decay=None), None, **fields)
    bare = replace(known, horizon=run, schedule_known=False, unread=unsaid)
    if length is not None and run is not None:
        at = sampled(run.steps)
        ends = length if "decay" in str(key) else np.inf  # T_max's cosine is periodic
        lr = plan.peak * 0.5 * (1.0 + np.cos(np.pi * at.clip(max=ends) / length))
        yield replace(
            bare,
            plan=None,
            scheduler=Scheduler("the cosine", at, [lr, lr], length=int(length), said=f"{key}={int(length)}"),
        )
    warm = first_number(flat, _WARM)
    if warm is not None and horizon is not None and warm >= 1.0:
        at = sampled(horizon.steps)
        lr = plan.peak * (at / warm).clip(0.0, 1.0)
        yield replace(bare, scheduler=Scheduler("the warm-up", at, [lr, lr], per_update=1.0), horizon=horizon)
