"""Optimisers with torch's param groups, of whatever peer, as source: their groups, and the decay they cannot do themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import NoExactMapError
from dwindle.foreign.writing.expression import expression
from dwindle.foreign.writing.guess_parts import neat
from dwindle.foreign.writing.source_text import Source, call, number
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["Optimizer", "changes", "hook", "is_own", "optimizer_lines"]


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An optimiser as source calls it, and the convention of its own ``weight_decay`` (None: it has none)."""

    source: str
    own: type[Decay] | None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.source.rpartition(".")[2]


_FOLLOWS: dict[type[Decay], dict[type[Decay], tuple[int, int]]] = {
    L2: {L2: (0, 0)},
    Decoupled: {Decoupled: (0, 0), Independent: (-1, 0), Corrected: (-1, 1)},
    Independent: {Decoupled: (1, 0), Independent: (0, 0), Corrected: (0, 1)},
    Corrected: {Corrected: (0, 0)},
}
"""own convention -> the plan's -> (i, j): weight_decay = λ · initial_lr^i · lr^j leaves the weights as the plan says."""


def is_own(plan: Plan, optimizer: Optimizer) -> bool:
    """Return whether numbers that stand for the whole run, as the optimiser's own weight_decay, are the plan's decay."""
    decay = plan.decay
    if decay is None:
        return True
    powers = _powers(decay, optimizer)
    return powers is not None and powers[1] == 0 and not isinstance(decay.weight_decay, Schedule)


def optimizer_lines(plan: Plan, optimizer: Optimizer) -> list[str]:
    """Return the lines that build ``optimizer``, with one param group for every learning rate and decay.

    Raises NoExactMapError for a decay that goes on where the learning rate is 0: nothing can be told from that rate.
    """
    _check_zero(plan)
    options = {"lr": plan.peak, **optimizer.options}
    marked = not is_own(plan, optimizer)
    if plan.groups or plan.layer_decay is not None:
        return _scaled(plan, optimizer, options, marked)
    own = {"weight_decay": 0.0 if marked else _number(plan, optimizer)} if optimizer.own is not None else {}
    if plan.decay is None or (plan.mask == Mask.everything() and not marked):
        return [f"optimizer = {call(optimizer.source, ['model.parameters()'], options | own)}"]
    entries = [
        number({"params": Source(name), **(own if decays else dict.fromkeys(own, 0.0)), **_mark(marked, decays)})
        for name, decays in (("decayed", True), ("rest", False))
    ]
    return [
        "decayed, rest = split(model)",
        f"groups = [\n        {entries[0]},\n        {entries[1]},\n    ]",
        f"optimizer = {call(optimizer.source, ['groups'], options)}",
    ]


def _mark(marked: bool, decays: bool) -> dict[str, bool]:
    return {"decays": decays} if marked else {}


def _scaled(plan: Plan, optimizer: Optimizer, options: Mapping[str, Any], marked: bool) -> list[str]:
    lr = f"{number(plan.peak)} * scale"
    entries = ['"params": params', f'"lr": {lr}']
    if optimizer.own is not None:
        decay = "0.0" if marked or plan.decay is None else f"{_scaled_number(plan, optimizer)} if decays else 0.0"
        entries.append(f'"weight_decay": {decay}')
        options = {**options, "weight_decay": 0.0}
    if optimizer.own is Corrected:
        entries.append(f'"max_lr_snapshot": {lr}')  # the lr by which timm divides
    if marked:
        entries.append('"decays": decays')
    each = "for (scale, decays), params in split(model).items()"
    return [
        f"groups = [\n        {{{', '.join(entries)}}}\n        {each}\n    ]",
        f"optimizer = {call(optimizer.source, ['groups'], options)}",
    ]


def _powers(decay: Decay, optimizer: Optimizer) -> tuple[int, int] | None:
    return None if optimizer.own is None else _FOLLOWS[optimizer.own].get(type(decay))


def _number(plan: Plan, optimizer: Optimizer) -> float:
    """Return the weight_decay of groups whose initial lr is the peak."""
    if plan.decay is None or isinstance(plan.decay.weight_decay, Schedule):
        return 0.0
    i, _ = _powers(plan.decay, optimizer) or (0, 0)
    lam = plan.decay.weight_decay
    return neat(lam * plan.peak) if i > 0 else neat(lam / plan.peak) if i < 0 else lam


def _scaled_number(plan: Plan, optimizer: Optimizer) -> str:
    assert plan.decay is not None
    i, _ = _powers(plan.decay, optimizer) or (0, 0)
    lr = f"{number(plan.peak)} * scale"
    lam = _value_of(plan.decay.weight_decay)
    return f"{lam} * {lr}" if i > 0 else f"{lam} / ({lr})" if i < 0 else lam


def _value_of(weight_decay: Any) -> str:
    """Return λ as source; of a schedule it is an expression of ``step``, in parentheses."""
    return f"({expression(weight_decay)})" if isinstance(weight_decay, Schedule) else number(weight_decay)


def _check_zero(plan: Plan) -> None:
    if isinstance(plan.decay, Independent | Corrected) and 0.0 in (plan.peak, *(g.lr_scale for g in plan.groups)):
        raise NoExactMapError(
            f"{plan.decay} goes by lr / (highest lr), and of parameters whose highest lr is 0 no optimiser knows that; "
            "give them a small lr_scale, or leave them out of the mask."
        )


def changes(plan: Plan, optimizer: Optimizer) -> list[str]:
    """Return the statements that give one ``group`` its decay before an update, where its own number cannot hold it."""
    decay = plan.decay
    if decay is None or is_own(plan, optimizer):
        return []
    lam, powers = _value_of(decay.weight_decay), _powers(decay, optimizer)
    if powers is not None:
        i, j = powers
        initial = {1: ' * group["initial_lr"]', 0: "", -1: ' / group["initial_lr"]'}[i]
        rate = ' * group["lr"]' if j else ""
        return [f'group["weight_decay"] = {lam}{rate}{initial}']
    if isinstance(decay, L2):
        raise NoExactMapError(
            f"{optimizer.name} has no l2 of its own and the plan has {decay}; write it for SGD or Adam."
        )
    share = {
        Decoupled: 'group["lr"]',
        Independent: 'group["lr"] / group["initial_lr"]',
        Corrected: 'group["lr"] ** 2 / group["initial_lr"]',
    }[type(decay)]
    return [
        f"x = {share} * {lam}",
        'for p in group["params"]:',
        "    if p.grad is not None:",
        "        p.mul_(1 - x)",
    ]


def hook(plan: Plan, optimizer: Optimizer, step: str = "scheduler.last_epoch") -> list[str]:
    """Return the lines of a hook before each update that does `changes`; ``step`` is the source of the step."""
    inside = changes(plan, optimizer)
    if plan.decay is None or not inside:
        return []
    return [
        "",
        "@torch.no_grad()",
        "def decay(*_):",
        f'    """Before each update: {plan.decay}."""',
        *([f"    step = {step}"] if isinstance(plan.decay.weight_decay, Schedule) else []),
        "    for group in optimizer.param_groups:",
        '        if group["decays"]:',
        *(f"            {line}" for line in inside),
        "",
        "optimizer.register_step_pre_hook(decay)",
    ]
