"""Optimisers that are not known, beside a schedule that is: found, so that their weight decay is not passed over."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from dwindle.errors import NoExactMapError, shown
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import USUAL_NAMES, last_name

__all__ = ["check_beside", "check_elsewhere", "check_named"]

_ASK = (
    "callable", "dict", "float", "hasattr", "isinstance", "len", "list", "map", "print", "repr", "str", "tuple", "type", "vars",
    "LearningRateScheduler",
)  # fmt: skip
"""Calls that ask a schedule for its rates, and build nothing with it."""
_ASKING = ("jax", "jnp", "np", "numpy", "plt", "ax", "math", "logging", "logger", "wandb", "tf.summary")
_DECAY = re.compile("weight_decay|wd$")
_PARAMETERS = re.compile(r"(?<![a-z])param(s|eters)?\b")
_EXAMPLES = {
    "optax": "optax.adamw(schedule, weight_decay=0.1)",
    "keras": "keras.optimizers.AdamW(schedule, weight_decay=0.1)",
}
_EXAMPLE = "torch.optim.AdamW(..., weight_decay=0.1)"


def check_elsewhere(tree: ast.AST, scope: Scope, schedules: Sequence[ast.Call]) -> None:
    """Raise NoExactMapError if the optimiser, which one of torch's ``schedules`` drives, is built by what does not stand here.

    >>> tree = ast.parse("optimizer = bnb.optim.AdamW8bit(p, lr=1e-3)")
    >>> check_elsewhere(tree, Scope.of(tree), [])
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: the optimiser is built elsewhere, by bnb.optim.AdamW8bit (line 1), ...
    """
    driven = [arg for node in schedules for arg in node.args[callee(node) == "get_scheduler" :][:1]]
    driven += [word.value for node in schedules for word in node.keywords if word.arg == "optimizer"]
    names = {last_name(node) for node in driven} | {*USUAL_NAMES}
    built = [node for node in driven if isinstance(node, ast.Call)]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call) or callee(node.value) == "prepare":
            continue
        targets = [
            last_name(part) for target in node.targets for part in ast.walk(target) if isinstance(part, ast.expr)
        ]
        built += [node.value] if names & {*targets} - {""} else []
    for call in built:
        if callee(call) not in scope.functions:
            raise NoExactMapError(
                f"the optimiser is built elsewhere, by {ast.unparse(call.func)}{at_line(call)}, and the rates alone do not "
                f"tell its weight decay; give the source that builds it, such as {_EXAMPLE}."
            )


def check_beside(tree: ast.AST, scope: Scope, peer: str, read: Callable[[ast.expr], str], found: bool) -> None:
    """Raise NoExactMapError for a call that seems to build an optimiser, or a part of one, and is not read.

    ``read`` says what an expression is: a "schedule", an "optimiser", or "" for neither. Where no optimiser is ``found``,
    whatever takes the schedule may be one.

    >>> tree = ast.parse("tx = optax.contrib.muon(optax.constant_schedule(0.1), weight_decay=0.1)")
    >>> kind = lambda node: "schedule" if "constant_schedule" in ast.unparse(node)[:25] else ""
    >>> check_beside(tree, Scope.of(tree), "optax", kind, False)
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: optax.contrib.muon may be an optimiser and is not known (line 1), ...
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or read(node) or _asks(node):
            continue
        if scope.origins.is_function(node) and (found or peer not in _EXAMPLES):  # it is read where it stands
            continue
        if _builds_on(node, scope, peer, read, found) if peer in _EXAMPLES else _takes_parameters(node, scope):
            raise NoExactMapError(
                f"{_short(node.func)} may be an optimiser and is not known{at_line(node)}, so its learning rate and weight decay "
                f"cannot be told; give one that is read, such as {_EXAMPLES.get(peer, _EXAMPLE)}."
            )


def check_named(tree: ast.AST) -> None:
    """Raise NoExactMapError where Keras' ``compile`` is given its optimiser by name alone: its rate and decay are its own.

    >>> check_named(ast.parse("model.compile(optimizer='adamw')"))
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: "model.compile(optimizer='adamw')" names its optimiser alone (line 1), ...
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callee(node) == "compile" and _by_name_alone(node):
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} names its optimiser alone{at_line(node)}, which has a rate and a decay of its own; "
                f"build it, as {_EXAMPLES['keras']}."
            )


def _short(node: ast.expr) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _by_name_alone(node: ast.Call) -> bool:
    given = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "optimizer")]
    return any(isinstance(each, ast.Constant) and isinstance(each.value, str) for each in given)


def _builds_on(node: ast.Call, scope: Scope, peer: str, read: Callable[[ast.expr], str], found: bool) -> bool:
    """Return whether a call of optax's or Keras' source seems to build an optimiser of what it is given."""
    kinds = {read(given) for given in _given(node, scope)} - {""}
    decays = any(_DECAY.match(str(word.arg)) for word in node.keywords)
    if not found and (decays or "schedule" in kinds):
        return True
    if peer == "optax" and "optax" in scope.origins.packages(node):
        return bool(kinds)
    return bool(kinds) and (decays or "optimizers" in ast.unparse(node.func).split("."))


def _takes_parameters(node: ast.Call, scope: Scope) -> bool:
    """Return whether a call of torch's source is given parameters, and a rate or a decay for them."""
    words = [str(word.arg) for word in node.keywords]
    rated, decays = any(word in ("lr", "learning_rate") for word in words), any(map(_DECAY.match, words))
    first = node.args[0] if node.args else next((word.value for word in node.keywords if word.arg == "params"), None)
    if first is None:
        return False
    of_parameters = "params" in words or _PARAMETERS.search(ast.unparse(scope.looked_up(first))) is not None
    named = not {"optim", "optimizers"}.isdisjoint(ast.unparse(node.func).split("."))
    return (rated or decays or named) if of_parameters else (rated and decays)


def _asks(node: ast.Call) -> bool:
    return callee(node) in _ASK or ast.unparse(node.func).startswith(tuple(f"{root}." for root in _ASKING))


def _given(node: ast.Call, scope: Scope) -> Iterator[ast.expr]:
    """Return what ``node`` is given, also by name or in a list or a mapping."""
    waiting: list[ast.expr] = [*node.args, *(word.value for word in node.keywords)]
    seen: set[int] = set()  # a list may hold itself by its name
    while waiting:
        part = scope.looked_up(waiting.pop())
        if id(part) in seen:
            continue
        seen.add(id(part))
        match part:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Dict(values=parts):
                waiting += parts
            case ast.Starred(value=value):
                waiting.append(value)
            case _:
                yield part
