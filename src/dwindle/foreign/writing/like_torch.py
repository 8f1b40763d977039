"""What the sources of torch and its companions share — timm, Hugging Face, Composer: ``configure(model)`` and the formula."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dwindle.decay import L2, Decoupled
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.torch_groups import NAMES as OPTIMIZERS
from dwindle.foreign.optimizers.torch_groups import REFUSED
from dwindle.foreign.writing.draft import Draft
from dwindle.foreign.writing.param_groups import Optimizer, optimizer_lines
from dwindle.foreign.writing.source_text import call, indented, number, returned, spread
from dwindle.plan import Plan

__all__ = ["configure_source", "factor_source", "notes_of", "scheduler_line", "torch_optimizer"]

_WIDEST = 108  # of a line of configure, without its indent

_SWITCH = ("Adam", "NAdam", "RAdam")  # decoupled_weight_decay=True makes their decay a decoupled one


def torch_optimizer(plan: Plan, wanted: str | None) -> Optimizer:
    """Return torch's optimiser of that name, by default SGD for l2 and no decay, AdamW for a decay beside the update.

    Raises UnknownNameError for another name, NoExactMapError for l2 with an optimiser that decays beside its update, and
    for one with a rate of its own.
    """
    beside = plan.decay is not None and not isinstance(plan.decay, L2)
    name = ("AdamW" if beside else "SGD") if wanted is None else known("optimizer", wanted, OPTIMIZERS["torch"])
    if name in REFUSED:
        raise NoExactMapError(f"torch's {name} {REFUSED[name]}")
    recipe = OPTIMIZERS["torch"][name]
    own = None if recipe.weight_decay is None else recipe.kind
    if isinstance(plan.decay, L2) and own is Decoupled:
        raise NoExactMapError(
            f"{name} decays beside its update and the plan has {plan.decay}; write it for Adam or SGD."
        )
    if beside and name in _SWITCH:
        return Optimizer(f"torch.optim.{name}", Decoupled, {"decoupled_weight_decay": True})
    return Optimizer(f"torch.optim.{name}", own)


def factor_source(draft: Draft) -> str:
    """Return the source of ``factor(step)``."""
    return f'def factor(step):\n    """Return lr / peak at a step, the number of updates done."""\n{returned(draft.factor)}'


def configure_source(plan: Plan, optimizer: Optimizer, says: str, rest: Sequence[str], returns: str = "") -> str:
    """Return the source of ``configure(model)``: the optimiser, then the lines ``rest``."""
    lines = [*optimizer_lines(plan, optimizer), *rest, f"return optimizer, scheduler{returns}"]
    return "\n".join(["def configure(model):", f'    """{says}"""', *(f"    {line}" if line else "" for line in lines)])


def scheduler_line(function: str, args: Sequence[str], params: Mapping[str, Any]) -> str:
    """Return the line of ``configure`` that builds the scheduler, one argument a line where it is too long.

    >>> print(scheduler_line("f", ["a"], {"b": 1, "c": {"d": 2}}))
    scheduler = f(a, b=1, c={"d": 2})
    """
    line = f"scheduler = {call(function, args, params)}"
    if len(line) <= _WIDEST:
        return line
    return indented(f"scheduler = {spread(function, [*args, *(_argument(*one) for one in params.items())])}")


def _argument(key: str, value: Any) -> str:
    line = number(value)
    if not isinstance(value, Mapping) or len(key) + len(line) <= _WIDEST - 4:
        return f"{key}={line}"
    return f"{key}={{\n" + "".join(f"    {number(k)}: {number(v)},\n" for k, v in value.items()) + "}"


def notes_of(draft: Draft, optimizer: Optimizer) -> Iterable[str]:
    """Say what this source does otherwise than the plan."""
    if draft.decay is not None and draft.decay.cautious:
        yield f"not exact: {optimizer.name} has no cautious decay; here weights decay also against their update."
