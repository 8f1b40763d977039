"""timm's args.yaml, whose schedule counts epochs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dwindle.decay import L2, Decay, Decoupled
from dwindle.errors import DwindleError, InvalidValueError, real, shown
from dwindle.findings.configs.config import Config
from dwindle.findings.configs.families import decays_apart, is_adaptive
from dwindle.findings.configs.run import Run, by_epochs
from dwindle.findings.configs.values import is_number
from dwindle.foreign import read
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import constant
from dwindle.setup import setup_of_plan
from dwindle.units import Horizon

__all__ = ["is_timm", "of_timm"]


def is_timm(given: Mapping[str, Any]) -> bool:
    """Return whether these are the arguments of timm's train.py: opt, sched, and lr or lr_base."""
    return "opt" in given and "sched" in given and ("lr" in given or "lr_base" in given)


def of_timm(given: Mapping[str, Any], run: Run) -> Config:
    """Return what timm's arguments set up: the whole run where the steps of an epoch are known, else its parts."""
    opt = str(given["opt"])
    unread: list[str] = []
    lr = _lr(given, opt, unread)
    lam = real("weight_decay", float(given.get("weight_decay") or 0.0), low=0.0)
    apart = decays_apart(opt) or opt.endswith("dw")
    decay: Decay | None = None if not lam else Decoupled(lam) if apart else L2(lam)
    epochs = given.get("epochs")
    filtered = given.get("filter_bias_and_bn", True)
    whole = Plan(lr, constant(), decay, Mask() if filtered else Mask.everything())
    fields = run.fields(
        optimizer=opt, adaptive=is_adaptive(opt), accumulation=given.get("grad_accum_steps"),
        processes=given.get("world_size"), attends=bool(re.search("vit|swin|deit|beit|eva|former", str(given.get("model")))),
    )  # fmt: skip
    shape = _schedule(given, lr, 1, unread)
    if shape is None or not is_number(epochs):
        horizon = run.horizon(None, epochs)
        setups = [setup_of_plan(whole, None if shape is None else horizon, **fields, schedule_known=False)]
    elif run.steps_per_epoch is None:
        unread.append("lr·λ against the run: say --steps-per-epoch")
        setups = [
            setup_of_plan(whole, None, **fields, schedule_known=False),
            by_epochs(replace(shape, decay=None), _epochs(given), fields),
        ]
    else:
        each = _schedule(given, lr, run.steps_per_epoch, [])
        horizon = Horizon(epochs=_epochs(given), steps_per_epoch=run.steps_per_epoch)
        setups = [setup_of_plan(replace(whole, schedule=(each or shape).schedule), horizon, **fields)]
    looked = ("opt", "lr", "weight_decay", "sched", "epochs", "warmup_epochs", "min_lr")
    return Config("timm arguments", tuple(setups), tuple(key for key in looked if key in given), tuple(unread))


def _lr(given: Mapping[str, Any], opt: str, unread: list[str]) -> float:
    if is_number(given.get("lr")):
        return real("lr", float(given["lr"]), above=0.0)
    base: Any = given.get("lr_base")
    size = given.get("lr_base_size") or 256
    if not is_number(base) or not is_number(given.get("batch_size")):
        raise InvalidValueError("lr is not set, and lr_base with batch_size does not say it; give one of them.")
    batch = float(given["batch_size"]) * float(given.get("world_size") or 1) * float(given.get("grad_accum_steps") or 1)
    scale = given.get("lr_base_scale") or ("sqrt" if is_adaptive(opt) else "linear")
    unread.append(f"lr is worked out from lr_base={base} by the batch of {batch:g} ({scale})")
    return float(base) * (math.sqrt(batch / size) if scale == "sqrt" else batch / size)


def _epochs(given: Mapping[str, Any]) -> float:
    """Return all epochs of a run of timm's: the schedule's, its cooldown, and a warm-up that comes before."""
    before = given.get("warmup_epochs") if given.get("warmup_prefix") else 0
    return float(given["epochs"]) + float(given.get("cooldown_epochs") or 0) + float(before or 0)


def _schedule(given: Mapping[str, Any], lr: float, epoch: int, unread: list[str]) -> Plan | None:
    """Return timm's schedule with an epoch of ``epoch`` steps, None for one that is not read."""
    if given.get("sched") != "cosine" or not is_number(given.get("epochs")):
        unread.append(f"the schedule {shown(given.get('sched'))}: only cosine is read")
        return None
    settings = {
        "t_initial": int(given["epochs"]) * epoch, "lr_min": float(given.get("min_lr") or 0.0),
        "warmup_t": int(given.get("warmup_epochs") or 0) * epoch, "warmup_prefix": bool(given.get("warmup_prefix", False)),
        "warmup_lr_init": float(given.get("warmup_lr") or 0.0),
    }  # fmt: skip
    try:
        found = read("timm", "CosineLRScheduler", settings, base_lr=lr)
    except DwindleError as error:
        unread.append(f"the schedule: {error}")
        return None
    return found if isinstance(found, Plan) else None
