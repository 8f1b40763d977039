"""Source code read as a plan: the scheduler and the optimiser it builds are found in its syntax tree; nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeGuard

from dwindle.errors import InvalidValueError, NoExactMapError, ParseError, UnknownNameError, known, shown
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.optimizers.torch_groups import NAMES as RECIPES
from dwindle.foreign.optimizers.training_arguments import READ
from dwindle.foreign.schedules.keras import RULES as KERAS_RULES
from dwindle.foreign.schedules.optax import RULES as OPTAX_RULES
from dwindle.foreign.schedules.peers import PEERS, signature
from dwindle.foreign.source.chains import chained, is_part
from dwindle.foreign.source.elsewhere import check_beside, check_elsewhere, check_named
from dwindle.foreign.source.factory import without_factory
from dwindle.foreign.source.former import without_former
from dwindle.foreign.source.function import formula_of
from dwindle.foreign.source.handed import check_trainer, handed, held_each_epoch, with_callback
from dwindle.foreign.source.keras_parts import with_keras_parts, without_classes
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.optax_rule import rule_in
from dwindle.foreign.source.pair import Pair, lr_name, owner_of, plan_from_pair
from dwindle.foreign.source.param_groups import group_decays
from dwindle.foreign.source.positions import by_name
from dwindle.foreign.source.tidied import tidied
from dwindle.foreign.source.unread import (
    check_branches,
    check_changes,
    check_schedulers,
    counted,
    is_of_steps,
    rate_function,
)
from dwindle.foreign.source.whose import BUILD, GET, check_origins, home_of, is_schedule, peer_of
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Formula
from dwindle.schedule.feedback import FeedbackRule
from dwindle.units import Horizon, as_horizon

__all__ = ["parsed", "plainly", "read_source", "read_tree"]

_LONGEST = 200_000
_ARGUMENTS = "TrainingArguments"


def read_source(text: str, peer: str | None = None, run: Horizon | None = None) -> Plan | FeedbackRule[Any]:
    """Return the plan of the scheduler and optimiser that Python source builds, or the rule of one that answers a metric.

    The source is parsed, never run. Names assigned once, arithmetic of numbers, and functions of the step that are
    arithmetic (``LambdaLR``) are followed; a rate that is set by hand counts as its function is called. ``peer`` is told
    from what the source imports and builds with, where it is not given; a class that comes from elsewhere is refused,
    whatever its name. timm steps a scheduler once an epoch unless it says t_in_epochs=False: with the steps per epoch of
    ``run`` the plan counts steps, else epochs. A regulariser that only some of Keras' layers have is taken for that of all; a
    param group of biases or norms that does not decay, for the usual mask.

    Raises ParseError, UnknownNameError or InvalidValueError, saying which part cannot be read.

    >>> print(read_source('''
    ... import torch
    ... opt = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    ... sched = torch.optim.lr_scheduler.LambdaLR(opt, lambda t: min(1, t / 100))
    ... '''))
    peak 1e-3 | formula "min(1, step / 100)" | decoupled 0.1 | mask name "*" decays
    """
    tree, run = parsed(text, "this is not Python source"), None if run is None else as_horizon(run)
    return read_tree(tree, text, peer_of(tree) if peer is None else known("peer", peer, PEERS), run)


def parsed(text: str, otherwise: str) -> ast.Module:
    """Return the tree of Python source; raise ParseError, which begins as ``otherwise`` says, for any other text."""
    if not isinstance(text, str) or len(text) > _LONGEST:
        given = f"{len(text)} of them" if isinstance(text, str) else shown(text)
        raise ParseError(f"source is text of at most {_LONGEST} characters; got {given}.")
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ParseError(f"{otherwise}: {getattr(error, 'msg', error)}{where}.") from error


def read_tree(tree: ast.Module, text: str, peer: str, run: Horizon | None = None) -> Plan | FeedbackRule[Any]:
    """Return what `read_source` does, of the ``tree`` of ``text``, which is changed in place."""
    try:
        return _read(plainly(tree, peer), peer, run, text)
    except RecursionError as error:
        raise ParseError("this source names a value by itself, or is nested too deep to be read.") from error


def plainly(tree: ast.Module, peer: str) -> ast.Module:
    """Return ``tree`` (changed in place) with optimisers called by the peer's own names: no alias, class or factory between."""
    tree = tidied(tree)
    if peer == "keras":
        return without_classes(tree)
    return without_former(without_factory(tree) if peer == "timm" else tree) if peer in BUILD else tree


def _read(tree: ast.Module, peer: str, run: Horizon | None, text: str) -> Plan | FeedbackRule[Any]:
    scope = Scope.of(tree)
    check_origins(tree, scope, peer)
    if peer == "optax":
        follow = partial(_schedule_of, scope=scope, peer="optax")
        plan = chained(tree, scope, follow)
        found: Plan | FeedbackRule[Any] | None = rule_in(tree, text, scope, plan, follow) or plan
        if found is not None:
            check_branches(
                tree, [node for node in ast.walk(tree) if isinstance(node, ast.Call) and is_part(node, scope)]
            )
            check_beside(tree, scope, peer, partial(_kind, peer=peer, scope=scope), plan is not None)
            check_changes(tree, scope, (), "give the optimiser a schedule, as in optax.adamw(get_lr, weight_decay=0.1)")
            return found
    pair = _pair_in(tree, scope, peer)
    found = plan_from_pair(pair)
    if pair.peer == "timm" and isinstance(found, Plan):
        return held_each_epoch(found, pair.schedule, run)
    if peer != "keras":
        return found
    if isinstance(found, Plan) and pair.optimizer is None:
        check_named(tree, scope)
    found = with_callback(found, tree, scope, run)
    return with_keras_parts(found, tree, scope) if isinstance(found, Plan) else found


def _pair_in(tree: ast.AST, scope: Scope, peer: str) -> Pair:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and not scope.origins.is_function(node)]
    schedules = [node for node in calls if home_of(node, peer, scope) is not None]
    inner = {id(node) for outer in schedules for node in _inside(outer, scope)}
    outermost = [node for node in schedules if id(node) not in inner]
    optimizers = [(owner, node) for node in calls if (owner := owner_of(callee(node), peer)) is not None]
    arguments = [node for _, node in optimizers if callee(node) == _ARGUMENTS]
    # a Trainer that is given an optimiser does not ask its arguments for one
    optimizers = [each for each in optimizers if callee(each[1]) != _ARGUMENTS] or optimizers
    if len(outermost) > 1 or len(optimizers) > 1:
        several = [callee(node) for node in outermost] if len(outermost) > 1 else [callee(n) for _, n in optimizers]
        raise InvalidValueError(f"several are built here: {', '.join(several)}; give the source of one run.")
    home = home_of(outermost[0], peer, scope) if outermost else None
    schedule = _schedule_of(outermost[0], scope, home) if home else handed(tree, scope, peer)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    own = own if schedule or "factor" in scope.functions else set()  # a class whose formula is read
    built = [node for _, node in optimizers]
    check_branches(tree, [*outermost, *built])
    if peer in BUILD:
        check_schedulers(tree, built, lambda node: _is_known(node, peer, scope) or callee(node) in own)
        if not optimizers:
            check_elsewhere(tree, scope, outermost if peer != "composer" else ())
    if peer == "composer":
        check_trainer(tree, scope, schedule is not None)
    if arguments and schedule is None and callee(optimizers[0][1]) != _ARGUMENTS:
        raise NoExactMapError(
            f"{callee(optimizers[0][1])} is built beside {_ARGUMENTS}{at_line(arguments[0])}, and no scheduler is: the Trainer "
            "then gives it the schedule of its arguments. Build the scheduler too, or leave the optimiser out."
        )
    by_hand = None if schedule else _rate_name(tree, scope, bool(optimizers))
    check_changes(tree, scope, () if by_hand is None else (by_hand,))
    if peer in (*BUILD, "keras", "optax"):
        check_beside(tree, scope, peer, partial(_kind, peer=peer, scope=scope, by_hand=by_hand), bool(optimizers))
    if not optimizers:
        return Pair(home or peer, schedule or _learning_rate(by_hand, tree, scope))
    owner, node = optimizers[0]
    params, mask, followed = _optimizer(node, owner, scope)
    if outermost and isinstance(followed, Formula):
        raise NoExactMapError(
            f"{callee(outermost[0])} cuts a learning rate that is a function of the step; a rule has one of its own. "
            "Give the optimiser a number."
        )
    schedule = schedule or followed or _factor(scope)
    rates = None if schedule else _learning_rate(by_hand, tree, scope)
    recipe = {"name": callee(node), "params": params}
    return Pair(home or peer, schedule or rates, recipe, owner, None, mask, rates is not None)


def _is_known(node: ast.Call, peer: str, scope: Scope) -> bool:
    """Return whether what a call does to the rate is read: a schedule, an optimiser, or a function that stands here."""
    if scope.origins.is_function(node) or callee(node) in OPTIMIZERS["torch"]:
        return True
    return home_of(node, peer, scope) is not None


def _kind(node: ast.expr, peer: str, scope: Scope, by_hand: str | None = None) -> str:
    """Return "schedule" or "optimiser" for what builds one that is read, "" for anything else."""
    if isinstance(node, ast.Name) and node.id == by_hand:
        return "schedule"
    rules = {"optax": OPTAX_RULES, "keras": KERAS_RULES}.get(
        peer, ()
    )  # they stand beside an optimiser, and are not given to it
    if not isinstance(node, ast.Call) or callee(node) in rules:
        return ""
    if home_of(node, peer, scope) is not None:
        return "schedule"
    return "optimiser" if owner_of(callee(node), peer) or (peer == "optax" and is_part(node, scope)) else ""


def _inside(node: ast.Call, scope: Scope) -> Iterable[ast.AST]:
    """Return the calls that stand among the arguments of ``node``, also those it names."""
    for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
        for part in ast.walk(scope.looked_up(argument)):
            if isinstance(part, ast.Call):
                yield part
            elif isinstance(part, ast.Name) and isinstance(scope.looked_up(part), ast.Call):
                named = scope.looked_up(part)
                yield named
                yield from _inside(named, scope)  # type: ignore[arg-type]


def _schedule_of(node: ast.expr, scope: Scope, peer: str) -> Mapping[str, Any] | Formula | None:
    """Return the recipe of a schedule that is called or named, or the formula of a function; None for neither."""
    function = scope.function(node)
    if function is not None:
        return formula_of(function, scope)
    call = scope.call(node)
    if call is None:
        return None
    name, args, named = call.name, list(call.args), dict(call.named)
    takes_optimizer = (peer in ("torch", "timm", "hf") or name == "LambdaLR") and name != "ChainedScheduler"
    if name == "get_scheduler":
        if not args and "name" not in named:
            raise InvalidValueError("get_scheduler is called without the name of a schedule.")
        name = str(scope.value(args.pop(0) if args else named.pop("name")))
        if args:
            args.pop(0)
        for key, arg in zip(("num_warmup_steps", "num_training_steps"), args, strict=False):
            named[key] = arg
        args = []
    elif takes_optimizer and "optimizer" not in named and args:
        args.pop(0)
    named.pop("optimizer", None)
    name = GET.get(name, name)
    if name == "LambdaLR":
        if not args and "lr_lambda" not in named:
            raise InvalidValueError("LambdaLR is called without its lr_lambda.")
        return _of_lambda(args[0] if args else named["lr_lambda"], scope)
    if name not in PEERS[peer]:
        return None
    keys = signature(peer, name)
    if len(args) > len(keys):
        raise InvalidValueError(f"{name} of {peer} takes at most {len(keys)} values; got {len(args)}.")
    named = {**dict(zip(keys, args, strict=False)), **named}
    return {"name": name, "params": {key: _param(value, scope, peer) for key, value in named.items()}}


def _of_lambda(node: ast.expr, scope: Scope) -> Formula:
    node = scope.looked_up(node)
    if isinstance(node, ast.List | ast.Tuple) and node.elts:
        functions = {str(_of_lambda(item, scope)) for item in node.elts}
        if len(functions) > 1:
            raise InvalidValueError(
                "LambdaLR has another function for each group; a plan has one schedule. Write it per group."
            )
        node = scope.looked_up(node.elts[0])
    function = scope.function(node)
    if function is None:
        raise ParseError(f"the lr_lambda {shown(ast.unparse(node))} is not a function that stands in this source.")
    return formula_of(function, scope)


def _param(node: ast.expr, scope: Scope, peer: str) -> Any:
    """Return the value of a schedule's parameter, which may be a schedule, or a list of them."""
    node = scope.looked_up(node)
    if isinstance(node, ast.List | ast.Tuple):
        return [_param(item, scope, peer) for item in node.elts]
    if isinstance(node, ast.Call) and is_schedule(node, peer, scope):
        inner = _schedule_of(node, scope, peer)
        if isinstance(inner, Formula):
            raise InvalidValueError(
                "a function inside another schedule has no recipe; write the whole as one function."
            )
        return inner
    return scope.value(node)


def _optimizer(node: ast.Call, owner: str, scope: Scope) -> tuple[dict[str, Any], Mask | None, Any]:
    """Return an optimiser's parameters, the mask its groups tell, and the schedule that stands for its learning rate."""
    call = scope.call(node)
    if call is None:
        raise UnknownNameError(f"{ast.unparse(node)} cannot be read.")
    key, args, named = lr_name(owner, callee(node)), list(call.args), dict(call.named)
    if call.name == _ARGUMENTS:
        args, named = [], {name: value for name, value in named.items() if name in READ}
    groups: ast.expr | None = named.pop("params", None)
    if owner in ("torch", "timm", "composer") and args:
        groups = args.pop(0)
    for name, value in by_name(owner, callee(node), args, key).items():
        if name in named:
            raise InvalidValueError(f"{name} of {callee(node)} is given twice (line {getattr(node, 'lineno', 1)}).")
        named[name] = value
    followed = _schedule_of(named[key], scope, owner) if key in named and owner in ("keras", "optax") else None
    if followed is not None:
        del named[key]
    params = {name: scope.value(value) for name, value in named.items()}
    recipe = RECIPES.get(owner, {}).get(callee(node))
    usual = params.get("weight_decay", None if recipe is None else recipe.weight_decay)
    decay, mask = group_decays(groups, scope, params.get(key, None if recipe is None else recipe.lr), usual)
    if decay is not None:
        params["weight_decay"] = decay
    return params, mask, followed


def _factor(scope: Scope) -> Formula | None:
    return formula_of(scope.functions["factor"], scope) if "factor" in scope.functions else None


def _rate_name(tree: ast.AST, scope: Scope, built: bool) -> str | None:
    """Return the function of the learning rate: what an optimiser is given by hand, or one that is called like it.

    Beside an optimiser, which has a rate of its own, a function that nothing asks says nothing.
    """
    names = [
        name
        for name in ("learning_rate", "get_lr", "lr_schedule", "schedule", "lr")
        if name in scope.functions and is_of_steps(scope.functions[name])
    ]
    asked = {part.id if isinstance(part, ast.Name) else part.attr for part in ast.walk(tree) if _is_loaded(part)}
    return rate_function(tree, scope) or next((name for name in names if name in asked or not built), None)


def _is_loaded(node: ast.AST) -> TypeGuard[ast.Name | ast.Attribute]:
    return isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load)


def _learning_rate(name: str | None, tree: ast.AST, scope: Scope) -> Formula | None:
    return None if name is None else formula_of(scope.functions[name], scope, counted(tree, scope, name))
