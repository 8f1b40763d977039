"""How long a recipe itself says that its run is: in steps, or in epochs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dwindle.errors import DwindleError
from dwindle.foreign.optimizers.training_arguments import CLASSES
from dwindle.foreign.schedules.peers import PEERS, signature
from dwindle.foreign.source.literal import Call, Scope, callee
from dwindle.foreign.source.spec import is_spec, pair_of_spec

__all__ = ["own_epochs", "own_steps"]

_HEADER = re.compile(r"^# Written by dwindle for .*, for ([0-9]+) steps:$", re.MULTILINE)
_EPOCHS = 3.0  # num_train_epochs of TrainingArguments where it is not given
_LENGTH = {
    "CosineAnnealingLR": ("T_max",), "OneCycleLR": ("total_steps",), "PolynomialLR": ("total_iters",),
    "cosine_decay_schedule": ("decay_steps",), "warmup_cosine_decay_schedule": ("decay_steps",),
    "cosine_onecycle_schedule": ("transition_steps",), "linear_onecycle_schedule": ("transition_steps",),
    "CosineDecay": ("decay_steps", "warmup_steps"), "PolynomialDecay": ("decay_steps",),
    "CosineLRScheduler": ("t_initial",), "PolyLRScheduler": ("t_initial",), "TanhLRScheduler": ("t_initial",),
    "LinearScheduler": ("t_max",), "CosineAnnealingScheduler": ("t_max",),
    "LinearWithWarmupScheduler": ("t_max",), "CosineAnnealingWithWarmupScheduler": ("t_max",),
}  # fmt: skip
"""The schedules that run to an end, and the parameters that add up to it."""
_JOINED = {"SequentialLR": ("schedulers", "milestones"), "join_schedules": ("schedules", "boundaries")}

Recipe = Mapping[str, Any]


def own_steps(text: str, peer: str | None) -> int | None:
    """Return the steps of the run that a recipe's text tells, None where it tells none.

    They are ``max_steps`` of TrainingArguments, the num_training_steps of a scheduler of transformers, the number in the
    comment over source that was written here, or the end of a schedule that has one (T_max, total_steps, decay_steps).

    >>> own_steps("torch:CosineAnnealingLR(T_max=100) lr=0.1", "torch"), own_steps("torch:StepLR(30) lr=0.1", "torch")
    (100, None)
    """
    written = _HEADER.search(text)
    if written is not None:
        return _whole(int(written.group(1)))
    if peer is None:
        return None
    try:
        arguments = _arguments(text)
        steps = None if arguments is None else _whole(arguments.get("max_steps"))
        ends = {n for n in map(_steps_of, _schedules(text, peer)) if n is not None}
        return steps or (ends.pop() if len(ends) == 1 else None)
    except (DwindleError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # whoever reads the recipe says what is wrong with it


def own_epochs(text: str) -> float | None:
    """Return ``num_train_epochs`` of TrainingArguments, in JSON or in source; None for another recipe.

    >>> own_epochs("args = TrainingArguments('out', num_train_epochs=2)"), own_epochs("torch:StepLR(30) lr=0.1")
    (2.0, None)
    """
    try:
        arguments = _arguments(text)
        return None if arguments is None else float(arguments.get("num_train_epochs") or _EPOCHS)
    except (DwindleError, SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None


def _arguments(text: str) -> Recipe | None:
    """Return what TrainingArguments in ``text`` were given of the length of the run."""
    if text.lstrip().startswith("{"):
        given = json.loads(text)
        return given if isinstance(given, Mapping) and "format" not in given else None
    if is_spec(text):
        optimizer = pair_of_spec(text).optimizer
        return optimizer["params"] if optimizer is not None and optimizer["name"] in CLASSES else None
    tree = ast.parse(text)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and callee(node) in CLASSES]
    scope = Scope.of(tree)
    call = scope.call(calls[0]) if len(calls) == 1 else None
    if call is None:
        return None
    return {key: scope.value(call.named[key]) for key in ("max_steps", "num_train_epochs") if key in call.named}


def _schedules(text: str, peer: str) -> Iterator[Recipe]:
    """Yield the recipes of the schedules in ``text``: an outer one before those inside it."""
    if text.lstrip().startswith("{"):
        return
    if is_spec(text):
        pair = pair_of_spec(text)
        held = pair.optimizer["params"].values() if pair.optimizer is not None else ()
        yield from (one for one in (pair.schedule, *held) if isinstance(one, Mapping) and "params" in one)
        return
    tree = ast.parse(text)
    scope = Scope.of(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    joined = [node for node in calls if callee(node) in _JOINED]
    yield from (_recipe(node, scope, peer) for node in joined or calls)


def _recipe(node: ast.expr, scope: Scope, peer: str) -> dict[str, Any]:
    """Return the name of a call and those of its parameters that can be read."""
    call = scope.call(node)
    if call is None:
        return {"name": "", "params": {}}
    named = {**_positional(call, peer), **call.named}
    params: dict[str, Any] = {}
    for key, value in named.items():
        held = scope.looked_up(value)
        if isinstance(held, ast.List | ast.Tuple) and key in ("schedulers", "schedules"):
            params[key] = [_recipe(item, scope, peer) for item in held.elts]
        elif key not in ("optimizer", "schedulers", "schedules"):
            params[key] = _value(held, scope)
    return {"name": call.name, "params": params}


def _positional(call: Call, peer: str) -> dict[str, ast.expr]:
    if call.name == "get_scheduler":
        keys: tuple[str, ...] = ("name", "optimizer", "num_warmup_steps", "num_training_steps")
    elif peer == "hf" and call.name.startswith("get_"):
        keys = ("optimizer", "num_warmup_steps", "num_training_steps")
    elif call.name in PEERS[peer]:
        keys = (*(("optimizer",) if peer in ("torch", "timm") else ()), *signature(peer, call.name))
    else:
        keys = ()
    return dict(zip(keys, call.args, strict=False))


def _value(node: ast.expr, scope: Scope) -> Any:
    try:
        return scope.value(node)
    except DwindleError:
        return None


def _steps_of(recipe: Recipe) -> int | None:
    """Return the step at which a schedule ends."""
    name, params = recipe["name"], recipe["params"]
    if "num_training_steps" in params:
        return _whole(params["num_training_steps"])
    if name in _JOINED:
        children, ends = (params.get(key) for key in _JOINED[name])
        last = _steps_of(children[-1]) if children else None
        return None if last is None or not ends else _whole(ends[-1] + last)
    if name == "OneCycleLR" and params.get("total_steps") is None:
        epochs, each = params.get("epochs"), params.get("steps_per_epoch")
        return _whole(epochs * each) if isinstance(epochs, int) and isinstance(each, int) else None
    parts = [_whole(params.get(key)) for key in _LENGTH.get(name, ())]
    return None if not parts or parts[0] is None else sum(part or 0 for part in parts)


def _whole(value: Any) -> int | None:
    """Return a number of steps; Composer's "100ba" is 100."""
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}ba", value):
        value = int(value[:-2])
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None
