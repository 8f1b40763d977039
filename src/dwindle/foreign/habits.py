"""What a recipe leaves to habit: whether its scheduler is told to step once an epoch, which of Keras' layers decay."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from dwindle.errors import DwindleError
from dwindle.foreign.schedules.peers import PEERS
from dwindle.foreign.source.keras_parts import REGULARIZERS
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import owner_of
from dwindle.foreign.source.spec import is_spec, pair_of_spec
from dwindle.foreign.source.tidied import tidied
from dwindle.foreign.source.unread import rate_arguments
from dwindle.units import Horizon

__all__ = ["regularised_in_part", "steps_by_epochs"]

_BY_BATCH = ("OneCycleLR", "CyclicLR")  # their own documentation steps them after every batch
_WITH_KERNEL = (
    "Dense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D",
    "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "LSTM", "GRU", "SimpleRNN", "EinsumDense", "MultiHeadAttention",
)  # fmt: skip


def regularised_in_part(text: str, peer: str) -> bool:
    r"""Return whether Keras source gives some of its layers a regulariser of their kernels, and others none.

    >>> regularised_in_part("import keras\nDense(9, kernel_regularizer='l2')\nDense(1)", "keras")
    True
    """
    if peer != "keras" or is_spec(text):
        return False
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and callee(node) in _WITH_KERNEL]
    given = [{str(word.arg) for word in call.keywords if _constant(word.value) is not None} for call in calls]
    has = [bool(words & {*REGULARIZERS, "None"}) for words in given]  # ** is a keyword without a name
    return any(has) and not all(has)


def steps_by_epochs(text: str, peer: str, run: Horizon | None = None) -> bool:
    """Return whether a step of the plan read from ``text`` may have been an epoch there.

    It may for a scheduler of torch, unless the text shows that it is stepped with every update: by a loop that steps the
    optimiser beside it and gives the scheduler no time of its own, or by Lightning's interval of a step. It may for timm's
    unless they say t_in_epochs=False, and for a rate set by hand where its function is called with the epoch.

    >>> steps_by_epochs("torch:StepLR(30) lr=0.1", "torch"), steps_by_epochs("torch:OneCycleLR(0.1, 90)", "torch")
    (True, False)
    """
    if "# Written by dwindle for" in text or (peer not in ("torch", "timm") and is_spec(text)):
        return False
    if is_spec(text):
        schedule = pair_of_spec(text).schedule
        if not isinstance(schedule, Mapping):
            return schedule is not None
        return schedule["name"] not in _BY_BATCH and bool(schedule["params"].get("t_in_epochs", True))
    if text.lstrip().startswith("{"):
        return False
    tree = tidied(ast.parse(text))
    scope = Scope.of(tree)
    built = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _is_scheduler(node, peer)]
    if not built:
        return any(_is_epoch(argument, tree) for argument in rate_arguments(tree, scope))
    if all(callee(node) in _BY_BATCH for node in built):
        return False
    if all(callee(node) in PEERS["timm"] for node in built):  # with the steps of an epoch its epochs were read as steps
        return not (
            (run is not None and run.steps_per_epoch is not None) or any(_in_updates(node, scope) for node in built)
        )
    return not any(_shows_updates(node) for node in ast.walk(tree)) and not _stepped_with_optimizer(tree, built)


def _is_scheduler(node: ast.Call, peer: str) -> bool:
    return peer in ("torch", "timm") and callee(node) in (*PEERS[peer], *PEERS["torch"])


def _is_epoch(node: ast.expr, tree: ast.AST) -> bool:
    """Return whether what the rate is a function of counts epochs, by its name or as the outer of two loops."""
    if not isinstance(node, ast.Name):
        return isinstance(node, ast.Attribute) and "epoch" in node.attr.lower()
    loops = [loop for loop in ast.walk(tree) if isinstance(loop, ast.For) and ast.unparse(loop.target) == node.id]
    return "epoch" in node.id.lower() or any(
        isinstance(part, ast.For | ast.While) and "param_groups" not in ast.unparse(getattr(part, "iter", part))
        for loop in loops
        for statement in loop.body
        for part in ast.walk(statement)
    )


def _in_updates(node: ast.Call, scope: Scope) -> bool:
    """Return whether a scheduler of timm counts updates: step_update() does nothing else, and step() nothing then."""
    given = [word.value for word in node.keywords if word.arg == "t_in_epochs"]
    try:
        return bool(given) and not scope.value(given[0])
    except DwindleError:
        return False


def _shows_updates(node: ast.AST) -> bool:
    """Return whether ``node`` is Lightning's word for a scheduler that is stepped with every update."""
    if not isinstance(node, ast.Dict):
        return False
    pairs = zip(node.keys, node.values, strict=True)
    return any((_constant(key), _constant(value)) == ("interval", "step") for key, value in pairs)


def _constant(node: ast.expr | None) -> object:
    return node.value if isinstance(node, ast.Constant) else node


def _stepped_with_optimizer(tree: ast.AST, built: list[ast.Call]) -> bool:
    """Return whether a block of statements steps an optimiser and the scheduler, which is told no time, such as an epoch."""
    assigned = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)]
    ours = {ast.unparse(node.targets[0]) for node in assigned if any(node.value is call for call in built)}
    optimizers = {
        ast.unparse(node.targets[0])
        for node in assigned
        if isinstance(node.value, ast.Call) and owner_of(callee(node.value), "timm") is not None
    }
    blocks = list(_blocks(tree))
    if any(call.args or call.keywords for block in blocks for name, call in block if name in ours):
        return False

    def steps_optimizer(name: str, call: ast.Call) -> bool:
        stepped = {name, *map(ast.unparse, call.args)}  # scaler.step(optimizer)
        return bool(stepped & optimizers) or any("opt" in each.rpartition(".")[2].lower() for each in stepped)

    return any(
        any(name in ours for name, _ in block) and any(steps_optimizer(*each) for each in block if each[0] not in ours)
        for block in blocks
    )


def _blocks(tree: ast.AST) -> Iterator[list[tuple[str, ast.Call]]]:
    """Yield what each block of statements calls ``step`` of, and the call."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            calls = (line.value for line in body if isinstance(line, ast.Expr) and isinstance(line.value, ast.Call))
            yield [
                (ast.unparse(c.func.value), c)
                for c in calls
                if isinstance(c.func, ast.Attribute) and c.func.attr == "step"
            ]
