"""Whether a recipe's scheduler is told to step once an epoch, as torch's and timm's are by habit."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from dwindle.foreign.schedules.peers import PEERS
from dwindle.foreign.source.literal import callee
from dwindle.foreign.source.spec import is_spec, pair_of_spec
from dwindle.units import Horizon

__all__ = ["steps_by_epochs"]

_BY_BATCH = ("OneCycleLR", "CyclicLR")  # their own documentation steps them after every batch


def steps_by_epochs(text: str, peer: str, run: Horizon | None = None) -> bool:
    """Return whether a step of the plan read from ``text`` may have been an epoch there.

    It may for a scheduler of torch or timm, unless the text shows that it is stepped with every update: by a loop that
    steps the optimiser beside it, step_update, t_in_epochs=False, or Lightning's interval of a step.

    >>> steps_by_epochs("torch:StepLR(30) lr=0.1", "torch"), steps_by_epochs("torch:OneCycleLR(0.1, 90)", "torch")
    (True, False)
    """
    if peer not in ("torch", "timm") or "# Written by dwindle for" in text:
        return False
    if is_spec(text):
        schedule = pair_of_spec(text).schedule
        if not isinstance(schedule, Mapping):
            return schedule is not None
        return schedule["name"] not in _BY_BATCH and bool(schedule["params"].get("t_in_epochs", True))
    tree = ast.parse(text)
    built = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_scheduler(node, peer)]
    if not built or all(callee(node) in _BY_BATCH for node in built):
        return False
    if peer == "timm" and (run is not None and run.steps_per_epoch is not None):
        return False  # its epochs were read as steps
    return not any(_shows_updates(node) for node in ast.walk(tree)) and not _stepped_with_optimizer(tree, built)


def _is_scheduler(node: ast.Call, peer: str) -> bool:
    return callee(node) in PEERS[peer] or callee(node) == "LambdaLR"


def _shows_updates(node: ast.AST) -> bool:
    """Return whether ``node`` says that updates are counted."""
    match node:
        case ast.Call() if callee(node) == "step_update":
            return True
        case ast.keyword(arg="t_in_epochs", value=ast.Constant(value=False)):
            return True
        case ast.Dict(keys=keys, values=values):
            pairs = zip(keys, values, strict=True)
            return any((_constant(k), _constant(v)) == ("interval", "step") for k, v in pairs)
    return False


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _stepped_with_optimizer(tree: ast.AST, built: list[ast.Call]) -> bool:
    """Return whether a block of statements steps the scheduler, and something else too."""
    names = {
        ast.unparse(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and any(node.value is call for call in built)
    }
    return any(names & stepped and stepped - names for stepped in map(set, _blocks(tree)))


def _blocks(tree: ast.AST) -> Iterator[list[str]]:
    """Yield what each block of statements calls ``step`` of."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            calls = (line.value for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call))
            yield [
                ast.unparse(c.func.value) for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "step"
            ]
