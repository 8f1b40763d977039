"""Source that dwindle wrote: its opening comment holds the plan, good where the code is still what that plan is written as."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dwindle.errors import DwindleError, NoExactMapError
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.source.given import arguments_of, given, name_of
from dwindle.foreign.source.literal import Scope, at_line, callee
from dwindle.foreign.source.unread import changes
from dwindle.foreign.source.whose import BUILD
from dwindle.foreign.write import write
from dwindle.plan import Plan
from dwindle.text import parse

__all__ = ["Comment", "check_applied", "with_comment"]

_FIRST = re.compile(r"# Written by dwindle for (\w+)(?:, for ([0-9]+) steps)?:")
_PEERS = ("torch", "timm", "hf", "composer", "optax", "keras")
_HOOKS = re.compile(r"register_\w*step_(pre|post)_hook")


@dataclass(frozen=True, slots=True)
class Comment:
    """What the opening comment of a written source says."""

    peer: str
    steps: int | None
    plan: Plan
    exact: bool

    @classmethod
    def of(cls, text: str) -> Comment | None:
        r"""Return what the comment says, with times in steps; None where there is none, or its plan is no plan any more.

        >>> Comment.of("# Written by dwindle for torch, for 20 steps:\n#   peak 0.1 | cosine over 50%").steps
        20
        """
        lines = list(_comment(text))
        first = _FIRST.fullmatch(lines[0]) if lines else None
        if first is None or first.group(1) not in _PEERS:
            return None
        at = lines.index("# In steps:") if "# In steps:" in lines else 0
        words = []
        for line in lines[at + 1 :]:
            if not line.startswith("#   "):
                break
            words.append(line[4:])
        try:
            plan = parse(" ".join(words))
        except DwindleError:
            return None
        steps = None if first.group(2) is None else int(first.group(2))
        return cls(first.group(1), steps, plan, not any("not exact:" in line for line in lines))

    def wrote(self, tree: ast.Module) -> bool:
        """Return whether ``tree`` is what this plan is written as, for the same peer, run and optimiser."""
        names = {callee(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        known = {name for peer in ("torch", self.peer) for name in OPTIMIZERS[peer]} & names
        wanted = ast.dump(tree)
        for optimizer in dict.fromkeys(
            (None, *sorted(known), *OPTIMIZERS[self.peer])
        ):  # a chain names none, a class has a base
            try:
                if ast.dump(ast.parse(write(self.plan, self.peer, self.steps, optimizer=optimizer))) == wanted:
                    return True
            except DwindleError:
                continue
        return False


def _comment(text: str) -> Iterator[str]:
    """Return the lines of the comment that dwindle began, which may have comments above it."""
    begun = False
    for line in text.splitlines():
        begun = begun or _FIRST.fullmatch(line.rstrip()) is not None
        if not line.startswith("#") and (begun or line.strip()):
            return
        if begun:
            yield line.rstrip()


def with_comment(plan: Plan, text: str, tree: ast.Module, peer: str) -> Plan:
    """Return ``plan``, which was read from code for ``peer``, with the decay, mask and groups that the comment above it says.

    They are taken only where the code is exactly that of the commented plan; the rates are the code's in any case.
    Raises NoExactMapError where the code was edited, and what it applied by hooks or groups is no longer to be told.

    >>> source = write(parse("peak 0.1 | constant | independent 0.01 | layer-decay 0.8"), "torch")
    >>> str(with_comment(Plan(0.1), source, ast.parse(source), "torch"))
    'peak 0.1 | constant | independent 0.01 | layer-decay 0.8'
    """
    comment = Comment.of(text)
    if comment is not None and comment.exact and comment.wrote(tree):
        ours, scale = comment.plan, 1.0
        if plan.peak != ours.peak and ours.peak > 0.0:
            scale = plan.peak / ours.peak
        schedule = plan.schedule if scale == 1.0 else plan.schedule * scale
        return replace(ours, schedule=schedule) if ours.peak > 0.0 else plan
    if comment is not None:
        _check_edited(comment, plan)
    check_applied(tree, peer)
    return plan


def _check_edited(comment: Comment, plan: Plan) -> None:
    ours = comment.plan
    lost = [f"groups {', '.join(map(str, ours.groups))}"] if ours.groups and not plan.groups else []
    lost += ["layer-decay"] if ours.layer_decay is not None and plan.layer_decay is None else []
    if ours.decay is not None:
        gone = plan.decay is None or (ours.decay.cautious and not plan.decay.cautious)
        lost += [str(ours.decay)] if gone else []
    if lost and comment.exact:
        raise NoExactMapError(
            f"the code below this comment is not what dwindle writes for its plan: it was edited, and whether it still applies "
            f"{' and '.join(lost)} cannot be read from it. Edit the plan and write it anew; or take the comment and that code "
            "out."
        )


def check_applied(tree: ast.Module, peer: str) -> None:
    """Raise NoExactMapError for a decay or rates that are applied by code which cannot be read: hooks, made groups.

    >>> check_applied(ast.parse("optimizer = SGD([{'params': p, 'lr': s} for s, p in split(model).items()], lr=0.1)"), "torch")
    Traceback (most recent call last):
        ...
    dwindle.errors.NoExactMapError: the param groups of SGD are made by a loop (line 1), ...
    """
    scope = Scope.of(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if _HOOKS.fullmatch(callee(node)):
            raise NoExactMapError(
                f"{ast.unparse(node)} changes each update (line {node.lineno}) by code that cannot be read, such as a decay of "
                "its own; take it out, and give the plan that decay."
            )
        if peer in BUILD and callee(node) in _WITH_GROUPS:
            _check_groups(node, tree, scope)
    by_hand = [node for key, node, _ in changes(tree, scope) if key == "weight_decay"]
    for node in (*by_hand, *(node for node in ast.walk(tree) if isinstance(node, ast.Assign) and _is_of_a_group(node))):
        raise NoExactMapError(
            f"{ast.unparse(node)} changes the decay as the run goes{at_line(node)}, which cannot be read; give the plan that "
            "decay."
        )


def _is_of_a_group(node: ast.Assign) -> bool:
    target = ast.unparse(node.targets[0])
    return target.endswith("['weight_decay']") and "group" in target


_WITH_GROUPS = {name for peer in BUILD for name in OPTIMIZERS[peer]}


def _check_groups(node: ast.Call, tree: ast.AST, scope: Scope) -> None:
    params = node.args[0] if node.args else next((word.value for word in node.keywords if word.arg == "params"), None)
    groups = None if params is None else scope.looked_up(params)
    if isinstance(groups, ast.ListComp | ast.GeneratorExp) and _holds(groups):
        made = "by a loop"
    elif isinstance(groups, ast.Call) and re.search(r"group|split|decay|lrd", callee(groups)):
        made = f"by {callee(groups)}"
    elif params is not None and not _is_told(params, scope) and any(map(_is_group, _made_of(params, tree, scope))):
        made = "piece by piece"
    else:
        return
    raise NoExactMapError(
        f"the param groups of {callee(node)} are made {made} (line {node.lineno}), so their rates and decays cannot be read; "
        "write the groups out, or give the plan a mask or groups."
    )


def _is_told(groups: ast.expr, scope: Scope) -> bool:
    """Return whether ``groups`` stands in this source as it is: groups that are written out, or a model's parameters."""
    node = scope.looked_up(groups)
    match node:
        case ast.Dict():
            return True
        case ast.List(elts=[_, *_] as parts) | ast.Tuple(elts=[_, *_] as parts):
            return all(_is_told(part, scope) for part in parts)
        case ast.ListComp(elt=each, generators=loops) | ast.GeneratorExp(elt=each, generators=loops):
            return not isinstance(each, ast.Call) and all(_is_told(loop.iter, scope) for loop in loops)
        case ast.BinOp(left=left, right=right):
            return _is_told(left, scope) and _is_told(right, scope)
        case ast.Starred(value=value):
            return _is_told(value, scope)
        case ast.Call(func=ast.Attribute(attr="parameters" | "named_parameters")) | ast.Call(func=ast.Name(id="dict")):
            return True
        case ast.Call(args=[_, *_] as args) if callee(node) in ("chain", "filter", "iter", "list", "tuple"):
            return all(isinstance(arg, ast.Lambda) or _is_told(arg, scope) for arg in args)
    return False


def _made_of(groups: ast.expr, tree: ast.AST, scope: Scope) -> Iterator[ast.AST]:
    """Return the parts of ``groups``, of what its names are given or take in here, and of what the functions return."""
    values: dict[str, list[ast.expr]] = {}
    for name, value in (*((name, value) for _, name, value in given(tree, scope)), *_taken_in(tree, scope)):
        if name:
            values.setdefault(name, []).append(value)
    waiting, seen = list[ast.AST]([groups]), set[str]()
    while waiting:
        node = waiting.pop()
        yield node
        name = callee(node) if isinstance(node, ast.Call) else name_of(node)
        if isinstance(node, ast.Call) and (name in ("parameters", "named_parameters") or name[:1].isupper()):
            continue  # a model, and what it is built with
        waiting += [*ast.iter_child_nodes(node), *(() if name in seen else values.get(name, ()))]
        seen.add(name)


_TAKES_IN = ("append", "extend", "insert", "setdefault", "update")


def _taken_in(tree: ast.AST, scope: Scope) -> Iterator[tuple[str, ast.expr]]:
    """Return (name, value) for what a list or a mapping takes in; and for what a function adds to one that it is given.

    What is set of an optimiser's groups makes none.
    """
    running = {id(node) for _, node, _ in changes(tree, scope)}
    for node in (node for node in ast.walk(tree) if id(node) not in running):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr=method), args=args) if method in _TAKES_IN:
                yield from ((name_of(owner), arg) for arg in args)
            case ast.Assign(targets=[ast.Subscript(value=owner, slice=ast.Constant() as key)], value=value):
                yield name_of(owner), ast.Dict([None, key], [owner, value])
            case ast.Call(args=args) if callee(node) in scope.functions:
                names = arguments_of(scope.functions[callee(node)])
                yield from ((name_of(arg), ast.Name(name)) for name, arg in zip(names, args, strict=False))


def _is_group(node: ast.AST) -> bool:
    """Return whether ``node`` is a mapping of parameters that gives them a rate or a decay."""
    keys = _keys(node)
    named = keys & {"params", "lr", "weight_decay"}
    return bool(named) and bool(keys & {"params", None}) and bool(keys & {"lr", "weight_decay", None})


def _keys(node: ast.AST) -> set[object]:
    """Return the keys of a mapping that is written out; None for what it takes in of another."""
    match node:
        case ast.Dict(keys=keys):
            return {key.value if isinstance(key, ast.Constant) else None for key in keys}
        case ast.Call(func=ast.Name(id="dict"), args=args, keywords=words):
            return {word.arg for word in words} | {None for _ in args}
    return set()


def _holds(groups: ast.expr) -> bool:
    return any(not _keys(part).isdisjoint(("lr", "weight_decay")) for part in ast.walk(groups))
