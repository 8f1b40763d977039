"""A recipe or a training script read as set-ups: its plan, what its optimiser is called, and how often its scheduler steps."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from dwindle.errors import DwindleError, InvalidValueError
from dwindle.findings.command_line import with_defaults
from dwindle.foreign import OPTIMIZERS, read
from dwindle.foreign.habits import steps_by_epochs
from dwindle.foreign.optimizers.training_arguments import CLASSES
from dwindle.foreign.reading import peer_of_text
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import plan_from_pair
from dwindle.foreign.source.spec import pair_of_spec
from dwindle.foreign.source.unread import USUAL_NAMES, changes
from dwindle.plan import Plan
from dwindle.setup import epochs_of
from dwindle.units import Horizon

__all__ = ["Program", "assigned", "program_of"]

_OPTIMIZER = re.compile(r"\b(SGD|ASGD|\w*[Aa]dam\w*|[Ll]ion\w*|RMSprop|Ada\w+|Muon|adafactor|lamb)\b")
_BUILDS = re.compile(r"(LR|Plateau|_schedule\w*|Scheduler|get_scheduler)$")
_OF_RATES = re.compile(r"sched|warm_?up|anneal|learning_?rate|(^|_)lrs?(_|$)", re.I)
# Not those that count within an epoch, or say how long one is.
_EPOCH = re.compile(r"(?!.*(?:step|batch|iter|len|size|(?:^|_)(?:in|per|of)_))\w*epoch\w*", re.I)


class Program(NamedTuple):
    """``plan`` of a recipe of ``peer``, its ``optimizer``, the ``epochs`` of the loop whose end steps the scheduler, if one does.

    ``by_epochs``: a step of the plan may be an epoch there, for all that the text tells. ``dtype`` is that of the weights,
    where the source casts the model; ``unread`` says what it does not tell.
    """

    plan: Plan
    peer: str
    optimizer: str
    epochs: int | None
    by_epochs: bool
    dtype: str | None
    schedule_known: bool
    unread: tuple[str, ...]


def program_of(text: str, run: Horizon | None = None) -> Program:
    """Return what ``text`` sets up: a spec in one line, or Python source, which is parsed and never run.

    A schedule that cannot be read is left out, and ``unread`` says why.

    Raises ParseError, UnknownNameError or InvalidValueError for text that is no recipe, or whose optimiser cannot be read.

    >>> program_of("torch:AdamW(lr=1e-3, weight_decay=0.1) StepLR(30)").optimizer
    'AdamW'
    """
    try:
        tree: ast.Module | None = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree = None
    unread, written = list[str](), tree
    if tree is not None:
        text, taken = with_defaults(text, tree)
        tree = ast.parse(text)
        if taken:
            unread.append(f"what its command line says: the defaults are taken ({', '.join(taken)})")
    try:
        found, schedule_known = read(text, run=run), True
    except DwindleError as error:
        bare = None if tree is None else _without_schedule(text)
        if bare is None:
            raise
        try:
            found, schedule_known = read(bare, run=run), False
        except DwindleError:
            raise error from None
        unread.append(f"the schedule: {error}")
    if not isinstance(found, Plan):
        rule = type(found).__name__
        found, schedule_known = _beside_a_rule(text, tree, run), False
        if not isinstance(found, Plan):
            raise InvalidValueError(f"{rule} answers a metric; there is nothing to check before a run. Check its log.")
        unread.append(f"what {rule} does: it answers a metric")
    peer = peer_of_text(text)
    names = _OPTIMIZER.findall(text)
    epochs = dtype = None
    by_epochs = schedule_known and steps_by_epochs(text, peer, run)
    if tree is not None and written is not None:
        calls = [callee(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = [name for name in calls if name in OPTIMIZERS.get(peer, ())] or names
        dtype = _dtype(tree)
        if peer in ("torch", "hf") or (peer == "timm" and by_epochs):
            epochs = _epochs(tree, written, run)
    return Program(found, peer, names[0] if names else "", epochs, by_epochs, dtype, schedule_known, tuple(unread))


def assigned(text: str) -> dict[str, Any]:
    r"""Return the numbers and texts that Python source gives to names at its outermost level, as a configuration in .py does.

    >>> assigned("learning_rate = 6e-4\nmax_iters = 100 * 10")
    {'learning_rate': 0.0006, 'max_iters': 1000}
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    scope, found = Scope.of(tree), {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = scope.value(node.value)
            except DwindleError:
                continue
    return found


def _beside_a_rule(text: str, tree: ast.Module | None, run: Horizon | None) -> Any:
    """Return the plan of the optimiser that stands beside a rule which answers a metric; None if none does."""
    if tree is not None:
        bare = _without_schedule(text)
        return None if bare is None else read(bare, run=run)
    pair = pair_of_spec(text)
    return None if pair.optimizer is None else plan_from_pair(replace(pair, schedule=None))


def _without_schedule(text: str) -> str | None:
    """Return the source without the statements that build a schedule or do otherwise with rates; None where it builds none."""
    tree = ast.parse(text)
    scope = Scope.of(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    builders = [call for call in calls if _BUILDS.search(callee(call))]
    answering = [
        (call, given) for call in calls if callee(call) in CLASSES and _is_plateau(given := _named(call, scope), scope)
    ]
    if not builders and not answering:
        return None
    for call, given in answering:
        call.keywords = [ast.keyword(key, value) for key, value in given.items() if not key.startswith("lr_scheduler_")]
        call.keywords.append(ast.keyword("lr_scheduler_type", ast.Constant("constant")))
    optimizers = {*USUAL_NAMES, *_assigned_to(tree, _OPTIMIZER)}
    builders += [
        call for call in calls if _OF_RATES.search(callee(call)) and optimizers & set(map(ast.unparse, call.args))
    ]
    cut = {id(call) for call in builders} | (_setting(tree, scope, "lr") - _setting(tree, scope, "weight_decay"))
    for node in ast.walk(tree):
        for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
            if isinstance(block, list):
                block[:] = [ast.Pass() if _is_plain(line) and _holds(line, cut) else line for line in block]
    return ast.unparse(tree)


def _setting(tree: ast.AST, scope: Scope, wanted: str) -> set[int]:
    return {id(node) for key, node, _ in changes(tree, scope) if key == wanted}


def _is_plain(line: ast.stmt) -> bool:
    return not hasattr(line, "body") and not isinstance(line, ast.Match)


def _holds(line: ast.stmt, parts: Collection[int]) -> bool:
    return any(id(part) in parts for part in ast.walk(line))


def _named(call: ast.Call, scope: Scope) -> Mapping[str, ast.expr]:
    """Return what a call is given by name; nothing where that cannot be told."""
    try:
        given = scope.call(call)
    except DwindleError:
        return {}
    return {} if given is None else given.named


def _is_plateau(given: Mapping[str, ast.expr], scope: Scope) -> bool:
    kind = given.get("lr_scheduler_type")
    return kind is not None and "plateau" in ast.unparse(scope.looked_up(kind)).lower()


def _epochs(tree: ast.Module, written: ast.Module, run: Horizon | None) -> int | None:
    """Return how often the loop runs at whose own level a scheduler steps while the optimiser steps in one within it.

    That may be in a function that the loop calls: one of the source, or one from elsewhere that is given the optimiser, where
    the loop speaks of epochs as it is ``written``, before the options had their values. How many there are is told by the
    loop, else by the ``run``.
    """
    scope, trains = Scope.of(tree), _training_functions(tree)
    schedulers, optimizers = _assigned_to(tree, _BUILDS), _assigned_to(tree, _OPTIMIZER)
    for loop, as_written in zip(_loops(tree), _loops(written), strict=True):
        deep = {id(part) for inner in _loops(loop) if inner is not loop for part in ast.walk(inner)}
        steps = [(_owner(node), id(node) in deep) for node in ast.walk(loop) if _owner(node)]
        outer = {name for name, is_deep in steps if not is_deep and _is_scheduler(name, schedulers)}
        within = any(is_deep for name, is_deep in steps if not _is_scheduler(name, schedulers))
        called = [node for node in ast.walk(loop) if isinstance(node, ast.Call)]
        if _counts_epochs(as_written):
            given = [part for call in called for part in (*call.args, *(word.value for word in call.keywords))]
            within = within or any(ast.unparse(part) in optimizers for part in given)
        if outer and (within or any(callee(call) in trains for call in called)):
            return _turns(loop, scope) or epochs_of(run)
    return None


def _loops(tree: ast.AST) -> Iterator[ast.For | ast.While]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While))


def _counts_epochs(loop: ast.For | ast.While) -> bool:
    """Return whether a loop names an epoch: as what it runs over, or as what is below the end of a ``while``."""
    if isinstance(loop, ast.While):
        return any(isinstance(part, ast.Compare) and _is_epoch(part.left) for part in ast.walk(loop.test))
    ends = [part for end in _range(loop)[-1:] for part in ast.walk(end)]
    if any(isinstance(part, ast.Mult) for part in ends):  # epochs * steps
        ends = []
    return any(map(_is_epoch, (*ast.walk(loop.target), *ends)))


def _is_epoch(node: ast.AST) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str() as name):
            return _EPOCH.fullmatch(name) is not None
    return False


def _range(loop: ast.For) -> list[ast.expr]:
    """Return what ``range`` is given, where a loop runs over it, also within tqdm(...) or enumerate(...)."""
    over = loop.iter
    while isinstance(over, ast.Call) and callee(over) in ("tqdm", "enumerate") and over.args:
        over = over.args[0]
    return over.args if isinstance(over, ast.Call) and callee(over) in ("range", "trange") else []


def _training_functions(tree: ast.AST) -> set[str]:
    """Return the functions with a loop in which an optimiser steps."""
    return {
        function.name
        for function in ast.walk(tree) if isinstance(function, ast.FunctionDef)
        for loop in ast.walk(function) if isinstance(loop, ast.For | ast.While)
        if any((name := _owner(node)) and not _is_scheduler(name) for node in ast.walk(loop))
    }  # fmt: skip


def _assigned_to(tree: ast.AST, builds: re.Pattern[str]) -> set[str]:
    """Return the names that are given what a call of such a name builds."""
    return {
        ast.unparse(target)
        for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if builds.search(callee(node.value))
        for target in node.targets
    }  # fmt: skip


def _is_scheduler(name: str, schedulers: Iterable[str] = ()) -> bool:
    return "sched" in name.lower() or name in schedulers


def _owner(node: ast.AST) -> str:
    """Return the name whose ``step()`` a node calls, "" for any other node."""
    is_step = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "step"
    return ast.unparse(node.func.value) if is_step else ""  # type: ignore[attr-defined]


def _turns(loop: ast.For | ast.While, scope: Scope) -> int | None:
    """Return how many turns a loop makes over ``range(...)``, also within tqdm(...), or while an epoch is below a number.

    A beginning that is not told, such as that of a run that goes on, is 0. None where the end is not told.
    """
    if isinstance(loop, ast.While):
        match loop.test:
            case ast.Compare(left=ast.Name() as count, ops=[ast.Lt()], comparators=[end]) if _is_epoch(count):
                return _whole(end, scope) or None
        return None
    match _range(loop):
        case [begin, ast.BinOp(left=same, op=ast.Add(), right=turns)] if ast.unparse(begin) == ast.unparse(same):
            return _whole(turns, scope) or None
        case [end]:
            return _whole(end, scope) or None
        case [begin, end]:
            first, last = _whole(begin, scope) or 0, _whole(end, scope)
            return last - first if last is not None and last > first else None
    return None


def _whole(node: ast.expr, scope: Scope) -> int | None:
    try:
        found: Any = scope.value(node)
    except DwindleError:
        return None
    return found if isinstance(found, int) and found >= 0 else None


def _dtype(tree: ast.Module) -> str | None:
    """Return the short type that the source casts its model to: what ``parameters()`` is asked of, or what is loaded in it.

    None where adapters are added to it: they are what trains, and peft keeps them in float32.
    """
    if any(isinstance(node, ast.Call) and callee(node) in ("get_peft_model", "LoraConfig") for node in ast.walk(tree)):
        return None
    models = {
        ast.unparse(node.func.value) for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("parameters", "named_parameters")
    }  # fmt: skip
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) in models for target in node.targets):
            casts: Iterator[ast.AST] = ast.walk(node.value)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            owner = node.value.func.value if isinstance(node.value.func, ast.Attribute) else None
            casts = iter((node.value,)) if owner is not None and ast.unparse(owner) in models else iter(())
        else:
            continue
        found = next((dtype for cast in casts if isinstance(cast, ast.Call) and (dtype := _cast(cast))), None)
        if found:
            return found
    return None


def _cast(call: ast.Call) -> str | None:
    name = callee(call)
    if name in ("bfloat16", "half") and not call.args:
        return "bfloat16" if name == "bfloat16" else "float16"
    types = [k.value for k in call.keywords if k.arg in ("dtype", "torch_dtype")] + (call.args if name == "to" else [])
    said = {ast.unparse(value) for value in types}
    return next((t for t in ("bfloat16", "float16") if f"torch.{t}" in said), None)
