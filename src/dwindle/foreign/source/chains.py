"""optax transformations in source: where the decay stands in a chain says which decay it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from dwindle.decay import L2, Corrected, Decay, Decoupled
from dwindle.errors import InvalidValueError, NoExactMapError, ParseError, shown
from dwindle.foreign.optimizers.optax import NAMES as OPTIMIZERS
from dwindle.foreign.schedules.optax import RULES
from dwindle.foreign.schedules.peers import read
from dwindle.foreign.source.literal import Call, Scope, at_line, callee
from dwindle.foreign.source.masks import mask_given
from dwindle.foreign.source.pair import Pair, plan_from_pair
from dwindle.foreign.source.positions import by_name
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import Constant, Formula, Schedule

__all__ = ["chained", "is_part", "name_of"]

Follow = Callable[[ast.expr], Mapping[str, Any] | Formula | None]
"""Gives the recipe of a schedule that is called or named, the formula of a function, or None."""

_WRAPPERS = (
    "MultiSteps",
    "apply_if_finite",
    "with_extra_args_support",
    "skip_not_finite",
    "flatten",
    "masked",
    "cautious",
    "lookahead",
)
_RATES = ("scale_by_learning_rate", "scale_by_schedule")
_PARTS = ("chain", "named_chain", "add_decayed_weights", *_RATES, *_WRAPPERS)
_INJECTING = ("inject_hyperparams", "inject_stateful_hyperparams")
_SHARED = ("chain", "flatten", "masked")  # names of much else too
_BY_GROUP = ("multi_transform", "partition", "selective_transform", "freeze", "set_to_zero")
_DIRECTIONS = ("trace", "identity", "ema", "scale_by_")
_NEITHER = re.compile(
    r"trace|identity|ema|scale_by_\w+|\w*clip\w*|zero_nans|centralize|add_noise|normalize\w*|apply_every|snapshot"
    r"|keep_params_nonnegative|measure_with_ema|differentially_private_aggregate"
)
"""The parts of a chain that have neither a learning rate nor a weight decay."""
_FINDS = re.compile(r"scale_by_(\w*linesearch|polyak|distance_over_gradients|rprop|cocob)")
"""The parts of a chain that find the learning rate as they go."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One transformation of a chain, and the mask and the caution that stand around it."""

    call: Call
    mask: ast.expr | None = None
    cautious: bool = False


def chained(tree: ast.AST, scope: Scope, follow: Follow) -> Plan | None:
    """Return the plan of the one optax optimiser or chain in ``tree``; None if there is none.

    ``add_decayed_weights`` before the direction (sgd, scale_by_adam, …) is l2; between it and the learning rate it is
    decoupled; after it, it would make weights grow: NoExactMapError. ``scale`` is a factor of the rate where neither a direction
    nor a decay comes after it, and else NoExactMapError. A ``mask`` function that asks only whether ndim > 1
    counts as the usual one: matrices and filters decay; one that cannot be read raises NoExactMapError.

    >>> text = '''tx = optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale_by_learning_rate(1e-3))'''
    >>> tree = ast.parse(text)
    >>> str(chained(tree, Scope.of(tree), lambda node: None))
    'peak 1e-3 | constant | decoupled 0.1 | mask name "*" decays'
    """
    every = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for node in every:
        if callee(node) in _BY_GROUP and "optax" in scope.origins.packages(node):
            raise NoExactMapError(
                f"{callee(node)} gives some parameters another optimiser than others{at_line(node)}, and a plan has one; give "
                "the source of one of them, and the plan groups."
            )
    calls = [node for node in every if is_part(node, scope)]
    inner = {id(part) for node in calls for part in _within(node, scope)}
    outer = [node for node in calls if id(node) not in inner]
    if len(outer) > 1:
        raise InvalidValueError(
            f"several are built here: {', '.join(name_of(node) for node in outer)}; give the source of one run."
        )
    return _plan(list(_flat(outer[0], scope)), scope, follow) if outer else None


def name_of(node: ast.Call) -> str:
    """Return what is called; of inject_hyperparams(optax.adamw)(...) it is adamw."""
    if isinstance(node.func, ast.Call) and callee(node.func) in _INJECTING and node.func.args:
        inner = node.func.args[0]
        return inner.attr if isinstance(inner, ast.Attribute) else ast.unparse(inner)
    return callee(node)


def is_part(node: ast.Call, scope: Scope) -> bool:
    """Return whether a call is an optimiser of optax or a transformation of a chain that is read."""
    name = name_of(node)
    if name in _SHARED and (not isinstance(node.func, ast.Name) or scope.origins.packages(node)):
        return "optax" in scope.origins.packages(node)
    return name in _PARTS or name in OPTIMIZERS


def _within(node: ast.Call, scope: Scope) -> Iterator[ast.AST]:
    """Return the calls among the arguments of ``node``, also those they name."""
    for argument in (node.func, *node.args, *(keyword.value for keyword in node.keywords)):
        for part in ast.walk(argument):
            named = scope.looked_up(part) if isinstance(part, ast.Name) else part
            if isinstance(named, ast.Call) and named is not node:
                yield named
                if named is not part:
                    yield from _within(named, scope)


def _flat(node: ast.expr, scope: Scope, mask: ast.expr | None = None, cautious: bool = False) -> Iterator[Piece]:
    """Return the transformations of ``node`` in order."""
    node = scope.looked_up(node)
    match node:
        case ast.Starred(value=value):
            yield from _flat(value, scope, mask, cautious)
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            for part in parts:
                yield from _flat(part, scope, mask, cautious)
        case ast.IfExp(body=one, orelse=other) | ast.BinOp(left=one, op=ast.Add(), right=other):
            yield from _flat(one, scope, mask, cautious)
            yield from _flat(other, scope, mask, cautious)
        case ast.Constant(value=str() | None):  # the name of a part of a named_chain; a rule that was taken out
            return
        case ast.Call():
            yield from _called(node, scope, mask, cautious)
        case _:
            raise _not_known(node)


def _called(node: ast.Call, scope: Scope, mask: ast.expr | None, cautious: bool) -> Iterator[Piece]:
    call, name = scope.call(node), name_of(node)
    if call is None:
        return
    if name in ("chain", "named_chain"):
        for argument in call.args:
            yield from _flat(argument, scope, mask, cautious)
    elif name in _WRAPPERS:
        around = (call.args[1:2] or [call.named.get("mask")])[0] if name == "masked" else mask
        inside = call.args[0] if call.args else next(iter(call.named.values()), None)
        if inside is None:
            raise _not_known(node)
        yield from _flat(inside, scope, around, cautious or name == "cautious")
    elif _FINDS.fullmatch(name):
        raise NoExactMapError(
            f"{name} finds the learning rate as it goes{at_line(node)}, and a plan says it beforehand; give the source of an "
            "optimiser without it."
        )
    elif is_part(node, scope) or name == "scale" or name in RULES or _NEITHER.fullmatch(name) or _is_our_own(node):
        if name in OPTIMIZERS:
            named = {**by_name("optax", name, call.args, "learning_rate"), **call.named}
            call = replace(call, args=(), named=named)
        yield Piece(replace(call, name=name), mask, cautious)
    else:
        raise _not_known(node)


def _not_known(node: ast.expr) -> NoExactMapError:
    return NoExactMapError(
        f"{shown(ast.unparse(node))} is a part of the optimiser that is not known{at_line(node)}, and what it does to the "
        "learning rate and to the weights cannot be told; take it out, or write out the parts of optax that it is made of."
    )


def _is_our_own(node: ast.Call) -> bool:
    """Return whether a call is the one by which dwindle writes the rates of a plan's groups."""
    return callee(node) == "stateless" and [ast.unparse(arg) for arg in node.args] == ["scaled"]


def _plan(pieces: list[Piece], scope: Scope, follow: Follow) -> Plan:
    turned, rates, times = False, list[ast.expr](), 1.0
    decays: list[tuple[Piece, type[Decay]]] = []
    params: dict[str, Any] = {}
    name = "sgd"
    for at, piece in enumerate(pieces):
        call = piece.call
        if call.name in OPTIMIZERS:
            name, params = call.name, _own_params(call, scope)
            rates.append(_argument(call, 0, "learning_rate"))
            if OPTIMIZERS[name].weight_decay is not None:
                decays.append((piece, OPTIMIZERS[name].kind))
        elif call.name in _RATES:
            rates.append(_argument(call, 0, "learning_rate" if "rate" in call.name else "step_size_fn"))
        elif call.name == "scale":
            _check_scale(piece, pieces[at + 1 :])
            times *= abs(scope.number(_argument(call, 0, "step_size")))
        elif call.name == "add_decayed_weights":
            if rates:
                raise NoExactMapError(
                    "add_decayed_weights after the learning rate adds to the weights instead of taking from them; put it "
                    "before the optimiser (l2), or between its direction and scale_by_learning_rate (decoupled)."
                )
            decays.append((piece, Decoupled if turned else L2))
        turned = turned or call.name.startswith(_DIRECTIONS)
    plan = _with_rate(name, params, rates, times, scope, follow)
    found = [_decay(piece, kind, plan, rates, scope, follow) for piece, kind in decays]
    own = [(decay, mask) for decay, mask in found if decay is not None]
    if len(own) > 1:
        raise NoExactMapError(f"two decays at once, {own[0][0]} and {own[1][0]}; a plan has one.")
    return replace(plan, decay=own[0][0], mask=own[0][1]) if own else plan


def _check_scale(piece: Piece, after: list[Piece]) -> None:
    """Raise NoExactMapError unless what comes ``after`` optax.scale leaves it a factor of the learning rate, of all weights."""
    if piece.mask is not None:
        raise NoExactMapError("scale within masked gives some parameters another learning rate; give the plan groups.")
    for name in (piece.call.name for piece in after):
        if name == "add_decayed_weights":
            raise NoExactMapError(
                "add_decayed_weights after scale is not scaled with the gradient, and a negative scale turns its sign, so that "
                "weights grow; put scale behind it."
            )
        if name not in _RATES and (name in OPTIMIZERS or name.startswith(_DIRECTIONS)):
            raise NoExactMapError(
                f"scale before {name} scales the gradient, not the learning rate; put it last, or write it into the rate."
            )


def _argument(call: Call, at: int, name: str) -> ast.expr:
    node = call.args[at] if len(call.args) > at else call.named.get(name)
    if node is None:
        raise InvalidValueError(f"{call.name} is called without its {name}.")
    return node


def _own_params(call: Call, scope: Scope) -> dict[str, Any]:
    """Return the parameters that are the optimiser's own business, which are checked by name and value."""
    not_own = ("learning_rate", "weight_decay", "mask", "weight_decay_mask")
    return {key: scope.value(value) for key, value in call.named.items() if key not in not_own}


def _with_rate(
    name: str, params: dict[str, Any], rates: list[ast.expr], times: float, scope: Scope, follow: Follow
) -> Plan:
    if len(rates) > 1:
        raise NoExactMapError("two learning rates multiply one another here; write them as one schedule.")
    if OPTIMIZERS[name].weight_decay is not None:
        params = {**params, "weight_decay": 0.0}  # the decay is read by itself
    followed = _followed(rates[0], scope, follow) if rates else None
    if followed is None:
        params["learning_rate"] = abs(scope.number(rates[0])) if rates else times
        times = 1.0 if not rates else times
    plan = plan_from_pair(Pair("optax", followed, {"name": name, "params": params}, "optax"))
    if not isinstance(plan, Plan):
        raise InvalidValueError(f"{name} answers a metric here; read its rule by itself.")
    return plan if times == 1.0 else replace(plan, peak=plan.peak * times)


def _followed(node: ast.expr, scope: Scope, follow: Follow) -> Mapping[str, Any] | Formula | None:
    """Return the schedule that ``node`` is; that of ``lambda count: -schedule(count)`` is schedule's."""
    function = scope.function(node)
    if isinstance(function, ast.Lambda):
        body = function.body
        if isinstance(body, ast.UnaryOp) and isinstance(body.op, ast.USub):
            body = body.operand
        if isinstance(body, ast.BinOp) and isinstance(body.op, ast.Mult) and ast.unparse(body.left) in ("-1", "-1.0"):
            body = body.right
        if isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and _is_its_argument(body.args, function):
            return follow(body.func)
        if body is not function.body:
            return follow(ast.Lambda(function.args, body))
    return follow(node)


def _is_its_argument(args: list[ast.expr], function: ast.Lambda) -> bool:
    """Return whether ``args`` are the first argument of ``function`` as it is, the count: count // 4 is another clock."""
    own = function.args.args
    return len(args) == 1 and bool(own) and ast.unparse(args[0]) == own[0].arg


# --- the decay


def _decay(
    piece: Piece, kind: type[Decay], plan: Plan, rates: list[ast.expr], scope: Scope, follow: Follow
) -> tuple[Decay | None, Mask]:
    call = piece.call
    added = call.name == "add_decayed_weights"
    node = call.args[0] if added and call.args else call.named.get("weight_decay")
    mask = call.args[1] if added and len(call.args) > 1 else call.named.get("mask", call.named.get("weight_decay_mask"))
    mask = piece.mask if mask is None else mask
    if node is not None:
        decay = _value(node, kind, plan, rates, scope, follow)
    else:
        own = None if added else OPTIMIZERS[call.name].weight_decay
        decay = kind(own) if own else None
    if decay is not None and piece.cautious:
        decay = replace(decay, cautious=True)
    if decay is None or mask is None or _is_none(mask):
        return decay, Mask.everything()
    return decay, mask_given(mask, scope)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value in (None, True)


def _value(
    node: ast.expr, kind: type[Decay], plan: Plan, rates: list[ast.expr], scope: Scope, follow: Follow
) -> Decay | None:
    times = _times_rate(node, rates, scope)
    if times is not None and kind is Decoupled:
        flat = isinstance(plan.schedule, Constant)
        return Decoupled(times * plan.peak) if flat else Corrected(times * plan.peak)
    followed = follow(node)
    if isinstance(followed, Formula):
        return kind(followed)
    if followed is not None:
        curve = read("optax", followed["name"], followed["params"])
        if not isinstance(curve, Plan):
            raise ParseError(f"the weight decay {shown(ast.unparse(node))} answers a metric; a plan's does not.")
        lam: Schedule = curve.schedule if curve.peak == 1.0 else curve.schedule * curve.peak
        return kind(lam)
    number = scope.number(node)
    return kind(number) if number else None


def _times_rate(node: ast.expr, rates: list[ast.expr], scope: Scope) -> float | None:
    """Return c where ``node`` is c times the learning rate's own schedule; None for anything else."""
    if not rates or not isinstance(rates[0], ast.Name):
        return None
    name = rates[0].id
    if isinstance(node, ast.Name) and node.id == name:
        return 1.0
    function = scope.function(node)
    if not isinstance(function, ast.Lambda) or not any(
        isinstance(part, ast.Call) and ast.unparse(part.func) == name for part in ast.walk(function.body)
    ):
        return None
    times, called = _apart(function.body)
    if isinstance(called, ast.Call) and ast.unparse(called.func) == name and _is_its_argument(called.args, function):
        return scope.number(times)
    raise ParseError(f"the weight decay {shown(ast.unparse(node))} is not a number times {name}.")


def _apart(node: ast.expr) -> tuple[ast.expr, ast.expr]:
    """Return the number and the call that c * f(x), f(x) * c, f(x) / c or f(x) multiplies; (1, node) for anything else."""
    one = ast.Constant(1.0)
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Call() as call):
            return left, call
        case ast.BinOp(left=ast.Call() as call, op=ast.Mult(), right=right):
            return right, call
        case ast.BinOp(left=ast.Call() as call, op=ast.Div() as op, right=right):
            return ast.BinOp(one, op, right), call
    return one, node
