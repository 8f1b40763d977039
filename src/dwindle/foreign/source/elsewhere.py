"""Optimisers that are not known, beside a schedule that is: found, so that their weight decay is not passed over."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TypeGuard

from dwindle.errors import NoExactMapError, shown
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import SETTINGS, USUAL_NAMES, assigned, last_name

__all__ = ["check_beside", "check_elsewhere", "check_named"]

_ASK = {*dir(builtins), "LearningRateScheduler"}
"""Calls that ask a schedule for its rates, and build nothing with it."""
_ASKING = ("jax", "jnp", "np", "numpy", "plt", "ax", "math", "logging", "logger", "wandb", "tf.summary")
_ASKING_PACKAGES = {*sys.stdlib_module_names, "jax", "matplotlib", "numpy", "wandb"} - {"functools"}
_PLAIN = re.compile(r"(Optional\[)?(str|int|float|bool|Literal\[.*\])\]?( \| None)?")
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
    fields = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.AnnAssign) and _is_plain(node)}
    for target, value in assigned(tree):
        if isinstance(value, ast.Call) and callee(value) not in ("prepare", *SETTINGS) and id(value) not in fields:
            parts = {last_name(part) for part in ast.walk(target) if isinstance(part, ast.expr)}
            built += [value] if names & parts - {""} else []
    for call in built:
        if callee(call) not in scope.functions:
            raise NoExactMapError(
                f"the optimiser is built elsewhere, by {ast.unparse(call.func)}{at_line(call)}, and the rates alone do not "
                f"tell its weight decay; give the source that builds it, such as {_EXAMPLE}."
            )


def _is_plain(node: ast.AnnAssign) -> bool:
    return _PLAIN.fullmatch(ast.unparse(node.annotation)) is not None


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
    idle = {id(part) for node in ast.walk(tree) for part in _no_optimisers(node)}
    modules = {ast.unparse(node.value) for node in ast.walk(tree) if _is_of_parameters(node)}
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or read(node) or _asks(node, scope):
            continue
        if scope.origins.is_function(node) and (found or peer not in _EXAMPLES):  # it is read where it stands
            continue
        if peer in _EXAMPLES:
            builds = _builds_on(node, scope, peer, read, found, id(node) in idle)
        else:
            builds = _takes_parameters(node, scope, read, _builder(node, classes), modules)
        if builds:
            raise NoExactMapError(
                f"{_short(node.func)} may be an optimiser and is not known{at_line(node)}, so its learning rate and weight decay "
                f"cannot be told; give one that is read, such as {_EXAMPLES.get(peer, _EXAMPLE)}."
            )


def check_named(tree: ast.AST, scope: Scope) -> None:
    """Raise NoExactMapError where Keras' ``compile`` is given its optimiser by name alone: its rate and decay are its own.

    >>> check_named(ast.parse("model.compile(optimizer='adamw')"), Scope())
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: "model.compile(optimizer='adamw')" names its optimiser alone (line 1), ...
    """
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and callee(node) == "compile"
            and _by_name_alone(node)
            and not _is_of_others(node, scope)
        ):
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


def _no_optimisers(node: ast.AST) -> list[ast.expr]:
    """Return the expressions in ``node`` whose value is no optimiser: it is thrown away, or called."""
    return [node.value] if isinstance(node, ast.Expr) else [node.func] if isinstance(node, ast.Call) else []


def _builds_on(
    node: ast.Call, scope: Scope, peer: str, read: Callable[[ast.expr], str], found: bool, idle: bool
) -> bool:
    """Return whether a call of optax's or Keras' source seems to build an optimiser of what it is given."""
    path = ast.unparse(node.func).split(".")
    if "schedules" in path:
        return False
    kinds = {read(given) for given in _given(node, scope)} - {""}
    if not found and (_decays(node) or ("schedule" in kinds and not idle)):
        return True
    if peer == "optax" and "optax" in scope.origins.packages(node):
        return bool(kinds) and not any(part.startswith("tree") for part in path)
    return bool(kinds) and (_decays(node) or ("optimizers" in path and _is_class(path[-1])))


def _takes_parameters(
    node: ast.Call, scope: Scope, read: Callable[[ast.expr], str], builder: str, modules: Collection[str]
) -> bool:
    """Return whether a call of torch's source seems to build an optimiser: it is given parameters, and a rate or a decay.

    ``builder``: what is called, where that may build an optimiser. What is only called parameters, or by a name of which
    nothing is known here, makes an optimiser of nothing else.
    """
    first = node.args[0] if node.args else next((word.value for word in node.keywords if word.arg == "params"), None)
    if first is None or read(part := scope.looked_up(first)) == "optimiser" or last_name(first) in USUAL_NAMES:
        return False
    rated, decays = any(word.arg in ("lr", "learning_rate") for word in node.keywords), _decays(node)
    named = _is_class(builder) and not {"optim", "optimizers"}.isdisjoint(ast.unparse(node.func).split("."))
    if ast.unparse(first) in modules:
        return "optim" in builder.lower() and rated and decays
    if _goes_through_parameters(part):
        return rated or decays or named
    if not builder or not isinstance(part, ast.Name | ast.Attribute | ast.Call):
        return False
    name = callee(part) if isinstance(part, ast.Call) else last_name(part)
    called_so = not node.args or _PARAMETERS.search(name) is not None
    return (rated or decays or named) if called_so else (rated and decays)


def _goes_through_parameters(node: ast.expr) -> bool:
    """Return whether ``node`` is the parameters of a module, or a list of them."""
    match node:
        case ast.Call(func=ast.Attribute() as method) if _is_of_parameters(method):
            return True
        case ast.Call(args=args) if callee(node) in ("chain", "filter", "iter", "list", "tuple"):
            return any(map(_goes_through_parameters, args))
        case (
            ast.List() | ast.Tuple() | ast.ListComp() | ast.GeneratorExp() | ast.BinOp() | ast.IfExp() | ast.Subscript()
        ):
            return _PARAMETERS.search(ast.unparse(node)) is not None
    return False


def _is_of_parameters(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return isinstance(node, ast.Attribute) and node.attr in ("parameters", "named_parameters")


def _builder(node: ast.Call, classes: Mapping[str, ast.ClassDef]) -> str:
    """Return the name of what is called, if that may build an optimiser: a class, or a function that is called so; else "".

    One of the ``classes`` of this source is an optimiser if it steps, or if what it is made of is one.
    """
    name = last_name(node.args[0]) if callee(node) == "partial" and node.args else callee(node)
    if name in classes:
        steps = any(isinstance(part, ast.FunctionDef) and part.name == "step" for part in classes[name].body)
        return name if steps or any(map(_says_optimiser, classes[name].bases)) else ""
    return name if _is_class(name) or "optim" in name.lower() else ""


def _says_optimiser(base: ast.expr) -> bool:
    return "optim" in ast.unparse(base).lower() or last_name(base) in OPTIMIZERS["torch"]


def _is_class(name: str) -> bool:
    return name[:1].isupper()


def _decays(node: ast.Call) -> bool:
    return any(_DECAY.match(str(word.arg)) for word in node.keywords)


def _asks(node: ast.Call, scope: Scope) -> bool:
    """Return whether a call is one of Python's own, or of a package that builds no optimisers."""
    return (
        callee(node) in _ASK
        or _is_of_others(node, scope)
        or ast.unparse(node.func).startswith(tuple(f"{root}." for root in _ASKING))
    )


def _is_of_others(node: ast.Call, scope: Scope) -> bool:
    packages = scope.origins.packages(node)
    return bool(packages) and _ASKING_PACKAGES.issuperset(packages)


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
