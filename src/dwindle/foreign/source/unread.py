"""What a source does to learning rates that no plan shows: found, so that it is refused and not passed over."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import cache, partial

from dwindle.errors import DwindleError, InvalidValueError, NoExactMapError, UnknownNameError, shown
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.source.counting import in_steps
from dwindle.foreign.source.literal import Scope, at_line, callee

__all__ = [
    "SETTINGS",
    "USUAL_NAMES",
    "assigned",
    "changes",
    "check_branches",
    "check_changes",
    "check_schedulers",
    "copied",
    "counted",
    "is_of_steps",
    "last_name",
    "paired",
    "rate_arguments",
    "rate_function",
]

USUAL_NAMES = ("opt", "optim", "optimizer", "optimiser")
"""What an optimiser is usually called."""
SETTINGS = ("parse_args", "parse_opt", "parse", "field", "Field", "ConfigDict", "EasyDict", "SimpleNamespace")
"""Calls that make the settings of a run, or one of them."""
_OPTIMISERS = {name for names in OPTIMIZERS.values() for name in names}
_LIKE_A_SCHEDULER = re.compile(
    r"sched|anneal|warm_?up|decay|restart|piecewise|learning_?rate|plateau|(^|_)lrs?(_|$)|l_?r$|LR|Lr(?![a-z])",
    re.IGNORECASE,
)
_HARMLESS = re.compile(r"allreduce|exclude_from_weight_decay|load_state|add_decayed|state_dict", re.IGNORECASE)
_HELD = ("lr", "weight_decay")
_KEYS = {"learning_rate": "lr"}  # what others call them
_OF_OPTIMISERS = re.compile(
    r"param_groups|state(_dict)?|defaults|lr|learning_rate|weight_decay|(\w+_)?optim\w*|opt|init|update|step|iterations|variables"
    r"|weights|loss\w*|name|momentum|beta\w*|epsilon|eps|\w*clip\w*|\w*ema\w*|apply\w*|built|dtype|_.*"
)
"""What is read of an optimiser; a name of which anything else is read holds the settings of a run."""
_SETTINGS = re.compile(r"\b(cfg|conf|config|args|hparams)\b")  # what a run is told, such as cfg.optim.lr


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def check_schedulers(tree: ast.AST, optimizers: Sequence[ast.Call], known: Callable[[ast.Call], bool]) -> None:
    """Raise UnknownNameError for a call that is named like a scheduler, takes the optimiser, and is not known.

    >>> tree = ast.parse("scheduler = StepLr(optimizer, 30)")
    >>> check_schedulers(tree, [], lambda node: False)
    Traceback (most recent call last):
        ...
    dwindle.errors.UnknownNameError: StepLr takes the optimiser and is not known (line 1); ...
    """
    built = {id(node) for node in optimizers}
    names = {*USUAL_NAMES, *(ast.unparse(target) for target in _targets(tree, built))}
    for node in _calls(tree):
        name = callee(node)
        if id(node) in built or known(node) or _HARMLESS.search(name) or not _LIKE_A_SCHEDULER.search(name):
            continue
        given = [*node.args, *(word.value for word in node.keywords)]
        if any(id(arg) in built or ast.unparse(arg) in names or last_name(arg) in USUAL_NAMES for arg in given):
            raise UnknownNameError(
                f"{name} takes the optimiser and is not known{at_line(node)}; what it does to the learning rate cannot be told. "
                "Give a scheduler of the peer's own, or a function of the step."
            )


def _targets(tree: ast.AST, built: Collection[int]) -> Iterator[ast.expr]:
    return (target for target, value in assigned(tree) if id(value) in built)


def assigned(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Return (target, value) of each assignment; of one to as many names as values, each with its own.

    >>> [(ast.unparse(to), ast.unparse(value)) for to, value in assigned(ast.parse("a, b = 1, 2; c: int = 3"))]
    [('a', '1'), ('b', '2'), ('c', '3')]
    """
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from (pair for target in targets for pair in paired(target, value))
            case ast.AnnAssign(target=target, value=ast.expr() as value) | ast.NamedExpr(target=target, value=value):
                yield target, value


def paired(target: ast.expr, value: ast.expr) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Return each target with its own value where a tuple, zip or enumerate tells them apart; else both as they are."""
    to = target.elts if isinstance(target, ast.Tuple | ast.List) else [target]
    parts = [value]
    match value:
        case ast.Tuple(elts=parts) | ast.List(elts=parts) | ast.Call(func=ast.Name(id="zip"), args=parts):
            pass
        case ast.Call(func=ast.Name(id="enumerate"), args=[over]):
            parts = [ast.Constant(0), over]
    if len(to) != len(parts) or to == [target]:
        yield target, value
    else:
        for each, part in zip(to, parts, strict=True):
            yield from paired(each, part)


def last_name(node: ast.expr) -> str:
    """Return b of the name ``b`` or of ``a.b``, "" for anything else."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def copied(node: ast.expr) -> ast.expr:
    """Return what ``node`` is a copy of; itself where it is none."""
    match node:
        case ast.Call(args=[whole, *_]) if callee(node) in ("clone", "copy", "deepcopy"):
            return whole
    return node


def check_branches(tree: ast.AST, built: Sequence[ast.AST], done: str = "built") -> None:
    """Raise InvalidValueError if one of ``built`` is built, or ``done``, in some case only: whether it is cannot be told.

    >>> tree = ast.parse("if quick: s = StepLR(o, 30)")
    >>> check_branches(tree, [node for node in ast.walk(tree) if isinstance(node, ast.Call)])
    Traceback (most recent call last):
        ...
    dwindle.errors.InvalidValueError: StepLR is built only if quick (line 1); give the source without the if.
    """
    wanted = {id(node) for node in built}
    for node in ast.walk(tree):
        for part, case in _cases(node):
            if id(part) in wanted:
                what = callee(part) if isinstance(part, ast.Call) else shown(ast.unparse(part))
                raise InvalidValueError(
                    f"{what} is {done} only if {case}{at_line(node)}; give the source without the {_WORDS[type(node)]}."
                )


_WORDS = {ast.If: "if", ast.IfExp: "if", ast.Match: "match", ast.Try: "try"}


def _cases(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Return what stands in a branch, and the case in which that is run; of a try, where another branch builds another."""
    match node:
        case ast.If(test=test) | ast.IfExp(test=test) if "__main__" not in ast.unparse(test):
            yield from ((part, ast.unparse(test)) for part in ast.walk(node))
        case ast.Match(subject=subject, cases=cases):
            for each in cases:
                yield from ((part, f"{ast.unparse(subject)} is {ast.unparse(each.pattern)}") for part in ast.walk(each))
        case ast.Try(body=body, handlers=handlers):
            for handler in handlers:
                failed = ast.unparse(handler.type) if handler.type is not None else "an error"
                yield from ((part, f"the try ends in {failed}") for part in ast.walk(handler))
            others = {
                ast.unparse(to)
                for handler in handlers
                for to, value in assigned(handler)
                if isinstance(value, ast.Call)
            }
            again = [value for each in body for to, value in assigned(each) if ast.unparse(to) in others]
            yield from ((part, "nothing in the try fails") for value in again for part in ast.walk(value))


# --- the learning rate, changed by hand


def rate_function(tree: ast.AST, scope: Scope) -> str | None:
    r"""Return the one function of this source whose value is put into the param groups as their lr.

    >>> tree = ast.parse("def f(t): return 0.1\nfor g in opt.param_groups: g['lr'] = f(t)")
    >>> rate_function(tree, Scope.of(tree))
    'f'
    """
    found = {name for name, _ in _set_by_hand(tree, scope)}
    return found.pop() if len(found) == 1 else None


def rate_arguments(tree: ast.AST, scope: Scope) -> list[ast.expr]:
    """Return what the functions whose values are put into the param groups are called with."""
    return [call.args[0] for _, call in _set_by_hand(tree, scope)]


def _set_by_hand(tree: ast.AST, scope: Scope) -> list[tuple[str, ast.Call]]:
    set_to = (_called(value, scope) for key, _, value in changes(tree, scope) if key == "lr")
    return [(callee(call), call) for call in set_to if call is not None]


def is_of_steps(function: ast.FunctionDef) -> bool:
    """Return whether a function may be one of the step: it does not look into an optimiser."""
    return "param_groups" not in ast.unparse(function)


def counted(tree: ast.AST, scope: Scope, name: str) -> ast.expr:
    r"""Return what the rate function ``name`` is called with, as an expression of the step; the step where nothing calls it.

    One name of it counts the updates, or ``epoch * steps + i`` does; a loop that begins at 1 calls with step + 1.
    Raises NoExactMapError for anything else.

    >>> tree = ast.parse("for it in range(1, 90):\n    lr = f(it / 1000)\ndef f(x): return x")
    >>> ast.unparse(counted(tree, Scope.of(tree), "f"))
    '(step + 1) / 1000'
    """
    by_hand = [call for called, call in _set_by_hand(tree, scope) if called == name]
    calls = by_hand or [call for call in _calls(tree) if _is_call_of(call, name)]
    # Of calls alike the first alone: the tree is gone through for each.
    texts = {ast.unparse(call): call for call in reversed(calls)}
    found = {ast.unparse(expr): expr for expr in (in_steps(call, tree, scope) for call in reversed(texts.values()))}
    if len(found) > 1:
        raise NoExactMapError(f"{name} is called with {' and with '.join(found)}; call it in one place, with the step.")
    return next(iter(found.values()), ast.Name("step", ast.Load()))


def _is_call_of(call: ast.Call, name: str) -> bool:
    return isinstance(call.func, ast.Name) and call.func.id == name and len(call.args) == 1 and not call.keywords


def check_changes(
    tree: ast.AST,
    scope: Scope,
    read: Collection[str],
    instead: str = "write it as a scheduler, or as a function get_lr(step)",
) -> None:
    """Raise NoExactMapError if the lr of an optimiser is set by hand, but to the value of a function among ``read``."""
    for key, node, value in changes(tree, scope):
        call = _called(value, scope) if key == "lr" else None
        if key == "lr" and (call is None or callee(call) not in read):
            raise NoExactMapError(
                f"{shown(ast.unparse(node))} changes the learning rate by hand{at_line(node)}, which is not read; {instead}."
            )
    settings = cache(partial(_of_settings, tree))
    for call in _calls(tree):
        _check_call(call, scope, settings)


def _check_call(call: ast.Call, scope: Scope, settings: Callable[[], set[str]]) -> None:
    name = callee(call)
    if name == "add_param_group" and call.args:
        try:
            keys = set(scope.items(call.args[0]))
        except DwindleError:
            keys = set(_HELD)
        if keys & set(_HELD):
            raise NoExactMapError(
                f"{shown(ast.unparse(call))} adds parameters with an lr or weight_decay of their own{at_line(call)}, which is "
                "not read; give the plan a group for them."
            )
    func = call.func
    rate = func.value if name in ("assign", "assign_sub") and isinstance(func, ast.Attribute) else None
    rate = call.args[0] if name == "set_value" and call.args else rate
    if rate is not None and _is_held(rate, settings):
        raise NoExactMapError(
            f"{shown(ast.unparse(call))} changes the {'decay' if last_name(rate) == 'weight_decay' else 'learning rate'} by hand"
            f"{at_line(call)}, which is not read; write it as a schedule of the step."
        )


def _is_held(node: ast.expr, settings: Callable[[], set[str]]) -> bool:
    """Return whether ``node`` is the learning rate or the decay that an optimiser holds, and no one of the ``settings``."""
    if not isinstance(node, ast.Attribute) or node.attr not in (*_HELD, *_KEYS):
        return False
    owner = ast.unparse(node.value)
    return last_name(node.value) in USUAL_NAMES and _SETTINGS.search(owner) is None and owner not in settings()


def _of_settings(tree: ast.AST) -> set[str]:
    """Return what holds the settings of a run though it may be called as an optimiser: so it is made, or its options are read."""
    called = {id(call.func) for call in _calls(tree)}
    read = {
        ast.unparse(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in called
        if last_name(node.value) in USUAL_NAMES and _OF_OPTIMISERS.fullmatch(node.attr) is None
    }
    built = [(ast.unparse(to), callee(value)) for to, value in assigned(tree) if isinstance(value, ast.Call)]
    parsed = {to for to, name in built if name in SETTINGS}
    return parsed | (read - {to for to, name in built if name in _OPTIMISERS})


def changes(tree: ast.AST, scope: Scope) -> Iterator[tuple[str, ast.AST, ast.expr | None]]:
    """Return (key, statement, value) for each key of a param group that is set; the value of ``*=`` is None."""
    settings = cache(partial(_of_settings, tree))
    injected = any(callee(call).startswith("inject_") for call in _calls(tree))  # optax's inject_hyperparams
    lists = {ast.unparse(to) for to, value in assigned(tree) if last_name(value) == "param_groups"}

    def is_list(node: ast.AST) -> bool:
        return isinstance(node, ast.expr) and ("param_groups" in ast.unparse(node) or ast.unparse(node) in lists)

    def is_entry(node: ast.expr) -> bool:
        listed = isinstance(node, ast.Subscript) and is_list(node.value)
        first = isinstance(node, ast.Call) and callee(node) == "next" and any(map(is_list, ast.walk(node)))
        return listed or first or (injected and last_name(node) == "hyperparams")

    groups = {ast.unparse(to) for to, value in assigned(tree) if is_entry(value)}
    loops = (node for node in ast.walk(tree) if isinstance(node, ast.For | ast.comprehension))
    unpacked = [pair for loop in loops for pair in paired(loop.target, loop.iter)]
    unpacked += [(to, value) for to, value in assigned(tree) if isinstance(to, ast.Tuple | ast.List)]
    for target, value in unpacked:
        if any(map(is_list, ast.walk(value))):
            groups |= {part.id for part in ast.walk(target) if isinstance(part, ast.Name)}

    def is_group(held: ast.expr) -> bool:
        return is_entry(held) or ast.unparse(held) in groups

    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=held, attr="update")) if is_group(held):
                yield from ((_KEYS.get(key, key), node, value) for key, value in _updated(node, scope))
            case ast.Call(keywords=words) if callee(node) == "tree_set":  # of optax
                yield from ((_KEYS.get(str(word.arg), str(word.arg)), node, word.value) for word in words)
            case ast.Call(keywords=[ast.keyword(arg="hyperparams")]) if callee(node) == "_replace":
                yield "lr", node, None
            case ast.AugAssign(target=target):
                yield from ((key, node, None) for key in _keys(target, is_group, settings))
            case ast.Assign(targets=targets, value=value):
                pairs = [pair for target in targets for pair in paired(target, value)]
                yield from ((key, node, its) for target, its in pairs for key in _keys(target, is_group, settings))


def _keys(target: ast.expr, is_group: Callable[[ast.expr], bool], settings: Callable[[], set[str]]) -> Iterator[str]:
    """Return the setting of a param group, or of the optimiser itself, that is set where ``target`` is assigned."""
    match target:
        case ast.Attribute(attr=key) if _is_held(target, settings):
            yield _KEYS.get(key, key)
        case ast.Subscript(value=held, slice=ast.Constant(value=str() as key)) if is_group(held):
            yield _KEYS.get(key, key)
        case ast.Tuple(elts=parts) | ast.List(elts=parts):
            for part in parts:
                yield from _keys(part, is_group, settings)


def _updated(call: ast.Call, scope: Scope) -> Iterator[tuple[str, ast.expr | None]]:
    """Return what ``group.update(...)`` sets; the lr, to what is not known, where that cannot be told."""
    try:
        given = scope.call(call)
        yield from (() if given is None else given.named.items())
        for arg in () if given is None else given.args:
            yield from scope.items(arg).items()
    except DwindleError:
        yield "lr", None


def _called(value: ast.expr | None, scope: Scope) -> ast.Call | None:
    """Return the call of a function of this source whose value ``value`` is, also where a name stands between."""
    node = None if value is None else scope.looked_up(value)
    if isinstance(node, ast.IfExp):
        try:
            node = scope.looked_up(node.body if scope.value(node.test) else node.orelse)
        except DwindleError:
            return None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in scope.functions:
        return node if len(node.args) == 1 and not node.keywords else None
    return None
