"""Rules that answer a metric, as source: the plateau schedulers of torch, timm and transformers, and the latter's greedy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.torch_groups import NAMES as OPTIMIZERS
from dwindle.foreign.writing.like_torch import scheduler_line
from dwindle.foreign.writing.source_text import Source, call, header, module, number
from dwindle.schedule.feedback import FeedbackRule
from dwindle.schedule.greedy import Greedy
from dwindle.schedule.plateau import Plateau

__all__ = ["hf_rule", "timm_rule", "torch_rule"]

_NEVER = 10**9  # metrics: transformers has no other word for it
_TIMM_EPS = 1e-8


def torch_rule(rule: FeedbackRule[Any], optimizer: str | None = None) -> str:
    """Return the source of a Plateau as torch's ReduceLROnPlateau; ``optimizer`` is torch's, by default SGD."""
    plateau = _plateau(rule, "torch")
    built = scheduler_line("torch.optim.lr_scheduler.ReduceLROnPlateau", ["optimizer"], _of_torch(plateau))
    step = "call scheduler.step(metric) after every evaluation"
    return _source("torch", rule, optimizer, built, step, ["torch"], _nan(plateau))


def hf_rule(rule: FeedbackRule[Any], optimizer: str | None = None) -> str:
    """Return the source of a Plateau or a Greedy by transformers' get_scheduler."""
    if isinstance(rule, Greedy):
        name, params = "greedy", _of_greedy(rule)
    else:
        name, params = "reduce_lr_on_plateau", _of_torch(_plateau(rule, "hf"))
    more = {"scheduler_specific_kwargs": params}
    built = scheduler_line("get_scheduler", [f'"{name}"', "optimizer"], more)
    step = "a Trainer with optimizers=configure(model) gives it every evaluation's metric"
    imports = ["torch", "from transformers import get_scheduler"]
    return _source("hf", rule, optimizer, built, step, imports, [*_nan(rule), *_never(rule)])


def timm_rule(rule: FeedbackRule[Any], optimizer: str | None = None) -> str:
    """Return the source of a Plateau as timm's PlateauLRScheduler, which can warm up before it judges."""
    plateau = _plateau(rule, "timm")
    if plateau.threshold_mode == "abs" and plateau.threshold > 0.0:
        raise NoExactMapError("timm's PlateauLRScheduler has no absolute threshold; write the rule for torch or hf.")
    params: dict[str, Any] = {
        "decay_rate": plateau.factor,
        "patience_t": plateau.patience,
        "threshold": plateau.threshold,
        "cooldown_t": plateau.cooldown,
        "lr_min": _rate(rule, plateau.min_lr),
        "mode": plateau.mode,
    }
    if plateau.warmup_steps:
        params |= {"warmup_t": plateau.warmup_steps, "warmup_lr_init": _rate(rule, plateau.warmup_lr)}
    built = scheduler_line("PlateauLRScheduler", ["optimizer"], params)
    step = "after epoch n = 1, 2, ... call scheduler.step(n, metric)"
    imports = ["torch", "from timm.scheduler import PlateauLRScheduler"]
    return _source("timm", rule, optimizer, built, step, imports, [*_nan(plateau), *_eps(plateau)])


def _plateau(rule: FeedbackRule[Any], peer: str) -> Plateau:
    if not isinstance(rule, Plateau):
        having = "hf has Plateau and Greedy" if isinstance(rule, Greedy) else "they have Plateau, and hf Greedy"
        raise NoExactMapError(f"{peer} has no scheduler that is {type(rule).__name__}; {having}.")
    if rule.warmup_steps and peer != "timm":
        raise NoExactMapError(
            f"the plateau scheduler of {peer} has no warm-up; write the rule for timm, or without one."
        )
    return rule


def _of_torch(rule: Plateau) -> dict[str, Any]:
    return {
        "mode": rule.mode,
        "factor": rule.factor,
        "patience": rule.patience,
        "threshold": rule.threshold,
        "threshold_mode": rule.threshold_mode,
        "cooldown": rule.cooldown,
        "min_lr": _rate(rule, rule.min_lr),
        "eps": _rate(rule, rule.eps),
    }


def _of_greedy(rule: Greedy) -> dict[str, Any]:
    smooth = {} if rule.window is None else {"smooth": True, "window_size": rule.window}
    return {
        "mode": rule.mode,
        "factor": rule.factor,
        "patience": rule.patience,
        "threshold": rule.threshold,
        "threshold_mode": rule.threshold_mode,
        "cooldown": rule.cooldown,
        "warmup": rule.warmup,
        "min_lr": _rate(rule, rule.min_lr),
        "max_lr": _rate(rule, rule.peak if rule.max_lr is None else rule.max_lr),
        "eps": _rate(rule, rule.eps),
        **smooth,
        "reset_start": _NEVER if rule.reset_after is None else rule.reset_after,
    }


def _rate(rule: FeedbackRule[Any], value: float) -> Any:
    """Return a rate of the rule: a number, or a share of ``lr`` where the rule fits any peak."""
    if rule.peak != 1.0 or value == 0.0:
        return value
    return Source("lr" if value == 1.0 else f"{number(value)} * lr")


def _source(
    peer: str,
    rule: FeedbackRule[Any],
    optimizer: str | None,
    built: str,
    step: str,
    imports: list[str],
    notes: Iterable[str],
) -> str:
    name = "SGD" if optimizer is None else known("optimizer", optimizer, OPTIMIZERS["torch"])
    lr = (
        ["    lr = 1.0  # put the highest rate of your run here: the rule's own are shares of it"]
        if rule.peak == 1.0
        else []
    )
    rate = Source("lr") if lr else rule.peak
    no_decay = {"weight_decay": 0.0} if OPTIMIZERS["torch"][name].weight_decay else {}
    lines = [
        "def configure(model):",
        f'    """Return (optimizer, scheduler); {step}."""',
        *lr,
        f"    optimizer = {call(f'torch.optim.{name}', ['model.parameters()'], {'lr': rate, **no_decay})}",
        f"    {built}",
        "    return optimizer, scheduler",
    ]
    return module(header(peer, [f"  {rule}"], notes), imports, ["\n".join(lines)])


def _nan(rule: Any) -> list[str]:
    if rule.nan == "worse":
        return []
    rather = "raises" if rule.nan == "raise" else "passes over it"
    return [f"a metric that is not a number counts as no improvement here; the rule {rather}."]


def _eps(rule: Plateau) -> list[str]:
    if rule.eps == _TIMM_EPS and rule.peak != 1.0:
        return []
    ours = f"{rule.eps:g} times the highest rate" if rule.peak == 1.0 else f"{rule.eps:g}"
    return [f"not exact: timm leaves out cuts of at most {_TIMM_EPS:g}, the rule those of {ours}."]


def _never(rule: FeedbackRule[Any]) -> list[str]:
    if not isinstance(rule, Greedy) or rule.reset_after is not None:
        return []
    return [f"the rule never begins anew; transformers does so after {_NEVER} cuts at min_lr."]
