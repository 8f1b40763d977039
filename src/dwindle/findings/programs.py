"""A recipe or a training script read as set-ups: its plan, what its optimiser is called, and how often its scheduler steps."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from dwindle.errors import DwindleError, InvalidValueError
from dwindle.foreign import OPTIMIZERS, read
from dwindle.foreign.habits import steps_by_epochs
from dwindle.foreign.optimizers.training_arguments import CLASSES
from dwindle.foreign.reading import peer_of_text
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import plan_from_pair
from dwindle.foreign.source.spec import pair_of_spec
from dwindle.plan import Plan
from dwindle.setup import epochs_of
from dwindle.units import Horizon

__all__ = ["Program", "assigned", "program_of"]

_OPTIMIZER = re.compile(r"\b(SGD|ASGD|\w*[Aa]dam\w*|[Ll]ion\w*|RMSprop|Ada\w+|Muon|adafactor|lamb)\b")
_BUILDS = re.compile(r"(LR|Plateau|_schedule\w*|Scheduler|get_scheduler)$")
# Not those that count within an epoch, or say how long one is.
_EPOCH = re.compile(
    r"(?!.*(?:step|batch|iter|(?:^|_)(?:in|per|of)_))\w*epoch(?:s|_?(?:i|id|idx|index|n|no|num|number))?", re.I
)


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
    unread: list[str] = []
    if tree is not None:
        text, taken = _with_defaults(text, tree)
        tree = ast.parse(text)
        if taken:
            unread.append(f"what its command line says: the defaults are taken ({', '.join(taken)})")
    try:
        found, schedule_known = read(text, run=run), True
    except DwindleError as error:
        bare = None if tree is None else _without_schedule(tree)
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
    if tree is not None:
        calls = [callee(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
        names = [name for name in calls if name in OPTIMIZERS.get(peer, ())] or names
        epochs, dtype = _epochs(tree, run) if peer in ("torch", "hf") else None, _dtype(tree)
    by_epochs = schedule_known and steps_by_epochs(text, peer, run)
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


def _with_defaults(text: str, tree: ast.Module) -> tuple[str, list[str]]:
    """Return ``text`` with the defaults of argparse's options where they are read, and these as name=value.

    An option that the source assigns once is from there on a name, args_lr; of one that it assigns otherwise nothing is told.
    """
    defaults: dict[str, ast.expr] = {}
    parsed: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and callee(node) == "add_argument" and node.args:
            words = {k.arg: k.value for k in node.keywords}
            names = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            name = max(names, key=lambda n: n.startswith("--"), default="").lstrip("-").replace("-", "_")
            dest = words.get("dest")
            name = dest.value if isinstance(dest, ast.Constant) and isinstance(dest.value, str) else name
            if isinstance(words.get("default"), ast.Constant | ast.UnaryOp):
                defaults[name] = words["default"]
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and callee(node.value) == "parse_args":
            parsed |= {ast.unparse(target) for target in node.targets}
    if not parsed:
        return text, []
    every = [*ast.walk(tree)]
    printed = {id(part) for node in every if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    perhaps = {id(part) for node in every if _is_branch(node) for part in ast.walk(node)}
    options = sorted(
        (
            node
            for node in every
            if isinstance(node, ast.Attribute)
            and ast.unparse(node.value) in parsed
            and id(node) not in printed
            and node.lineno == node.end_lineno
        ),
        key=lambda node: (node.lineno, node.col_offset),
    )
    stored = [node.attr for node in options if not isinstance(node.ctx, ast.Load)]
    whole = {id(target): node for node in every if isinstance(node, ast.Assign) for target in node.targets}
    once = {
        node.attr: whole[id(node)] for node in options
        if id(node) in whole and id(node) not in perhaps and stored.count(node.attr) == 1
    }  # fmt: skip
    taken: dict[str, str] = {}
    parts: list[tuple[ast.expr, str]] = []
    for node in options:
        by = once.get(node.attr)
        if by is not None and (not isinstance(node.ctx, ast.Load) or _follows(node, by)):
            parts.append((node, ast.unparse(node).replace(".", "_")))
        elif node.attr in defaults and (node.attr not in stored or (by is not None and node in ast.walk(by.value))):
            taken[node.attr] = ast.unparse(defaults[node.attr])
            parts.append((node, f"({taken[node.attr]})"))
    return _replaced(text, parts), [f"{name}={value}" for name, value in taken.items()]


def _follows(node: ast.expr, other: ast.stmt) -> bool:
    return (node.lineno, node.col_offset) > (other.end_lineno or 0, other.end_col_offset or 0)


def _is_branch(node: ast.AST) -> bool:
    """Return whether what stands within a node is perhaps not run, or more than once."""
    if isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
        return False
    return isinstance(node, ast.If | ast.For | ast.AsyncFor | ast.While | ast.Try | ast.Match)


def _replaced(text: str, parts: Iterable[tuple[ast.expr, str]]) -> str:
    """Return ``text`` with other words at the places of these nodes, each of which is within a line."""
    lines = [line.encode() for line in re.sub("\r\n?", "\n", text).split("\n")]
    for node, words in sorted(parts, key=lambda part: (part[0].lineno, part[0].col_offset), reverse=True):
        line = lines[node.lineno - 1]
        lines[node.lineno - 1] = line[: node.col_offset] + words.encode() + line[node.end_col_offset :]
    return b"\n".join(lines).decode()


def _beside_a_rule(text: str, tree: ast.Module | None, run: Horizon | None) -> Any:
    """Return the plan of the optimiser that stands beside a rule which answers a metric; None if none does."""
    if tree is not None:
        bare = _without_schedule(tree)
        return None if bare is None else read(bare, run=run)
    pair = pair_of_spec(text)
    return None if pair.optimizer is None else plan_from_pair(replace(pair, schedule=None))


def _without_schedule(tree: ast.Module) -> str | None:
    """Return the source's imports and values without those that build a schedule; None where it builds none."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    builders = [call for call in calls if _BUILDS.search(callee(call))]
    answering = [call for call in calls if callee(call) in CLASSES and any(map(_is_plateau, call.keywords))]
    if not builders and not answering:
        return None
    for call in answering:
        rest = [word for word in call.keywords if word.arg not in ("lr_scheduler_type", "lr_scheduler_kwargs")]
        call.keywords = [*rest, ast.keyword("lr_scheduler_type", ast.Constant("constant"))]
    kept = [
        node for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        or (isinstance(node, ast.Assign) and not any(part in builders for part in ast.walk(node)))
    ]  # fmt: skip
    return "\n".join(ast.unparse(node) for node in sorted(kept, key=lambda node: node.lineno))


def _is_plateau(word: ast.keyword) -> bool:
    return word.arg == "lr_scheduler_type" and "plateau" in ast.unparse(word.value).lower()


def _epochs(tree: ast.Module, run: Horizon | None) -> int | None:
    """Return how often the loop runs at whose own level a scheduler steps while the optimiser steps in one within it.

    That may be in a function that the loop calls: one of the source, or one from elsewhere that is given the optimiser, where
    the loop speaks of epochs. How many there are is told by the loop, else by the ``run``.
    """
    scope, trains = Scope.of(tree), _training_functions(tree)
    schedulers, optimizers = _assigned_to(tree, _BUILDS), _assigned_to(tree, _OPTIMIZER)
    for loop in ast.walk(tree):
        if not isinstance(loop, ast.For | ast.While):
            continue
        inside = [node for node in ast.walk(loop) if isinstance(node, ast.For | ast.While) and node is not loop]
        deep = {id(part) for inner in inside for part in ast.walk(inner)}
        steps = [(_owner(node), id(node) in deep) for node in ast.walk(loop) if _owner(node)]
        outer = {name for name, is_deep in steps if not is_deep and _is_scheduler(name, schedulers)}
        within = any(is_deep for name, is_deep in steps if not _is_scheduler(name, schedulers))
        called = [node for node in ast.walk(loop) if isinstance(node, ast.Call)]
        if _counts_epochs(loop):
            given = [part for call in called for part in (*call.args, *(word.value for word in call.keywords))]
            within = within or any(ast.unparse(part) in optimizers for part in given)
        if outer and (within or any(callee(call) in trains for call in called)):
            return _turns(loop, scope) or epochs_of(run)
    return None


def _counts_epochs(loop: ast.For | ast.While) -> bool:
    """Return whether a loop names an epoch: as what it runs over, or as what is below the end of a ``while``."""
    if isinstance(loop, ast.For):
        return any(_is_epoch(part) for part in ast.walk(loop.target))
    return any(isinstance(part, ast.Compare) and _is_epoch(part.left) for part in ast.walk(loop.test))


def _is_epoch(node: ast.AST) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return _EPOCH.fullmatch(name) is not None


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
    over = loop.iter
    while isinstance(over, ast.Call) and callee(over) in ("tqdm", "enumerate") and over.args:
        over = over.args[0]
    if not isinstance(over, ast.Call) or callee(over) not in ("range", "trange") or not 1 <= len(over.args) <= 2:
        return None
    match over.args:
        case [begin, ast.BinOp(left=same, op=ast.Add(), right=turns)] if ast.unparse(begin) == ast.unparse(same):
            return _whole(turns, scope) or None
    last = _whole(over.args[-1], scope)
    first = _whole(over.args[0], scope) or 0 if len(over.args) == 2 else 0
    return last - first if last is not None and last > first else None


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
