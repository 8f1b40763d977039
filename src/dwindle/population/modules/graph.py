"""One training step of K members as a plain list of tensor operations: traced once, then run without any bookkeeping."""

from __future__ import annotations

import operator
import random
import threading
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from dwindle.errors import InvalidValueError
from dwindle.population.modules.lines import calls_in, line_of

__all__ = ["DRAWS", "TRACING", "Program", "drawing_nothing", "explained", "recorded", "trace"]

Program: TypeAlias = Callable[..., Sequence[torch.Tensor]]

# torch.fx replaces methods of every nn.Module while it traces, so no other thread may call a module then.
TRACING = threading.RLock()

aten = torch.ops.aten
_IN_PLACE = {
    aten.relu.default: aten.relu_.default,
    aten.add.Tensor: aten.add_.Tensor,
    aten.sub.Tensor: aten.sub_.Tensor,
    aten.mul.Tensor: aten.mul_.Tensor,
    aten.mul.Scalar: aten.mul_.Scalar,
    aten.sigmoid.default: aten.sigmoid_.default,
    aten.tanh.default: aten.tanh_.default,
}
_GRADIENT_IN_PLACE = {
    aten.threshold_backward.default: aten.threshold_backward.grad_input,
    aten.sigmoid_backward.default: aten.sigmoid_backward.grad_input,
    aten.tanh_backward.default: aten.tanh_backward.grad_input,
    aten.gelu_backward.default: aten.gelu_backward.grad_input,
    aten.silu_backward.default: aten.silu_backward.grad_input,
}
_RESHAPES = (aten.view.default, aten._unsafe_view.default, aten.reshape.default)
_VIEWS = (  # those that start where their argument starts
    *_RESHAPES[:2],
    aten.permute.default,
    aten.transpose.int,
    aten.expand.default,
    aten.as_strided.default,
    aten.unsqueeze.default,
    aten.squeeze.dims,
    aten.squeeze.dim,
    aten.t.default,
    aten.detach.default,
    aten.alias.default,
)

DRAWS = "the module or the loss draws random numbers"
_DRAW_SO = (
    ", which would differ from those of a member alone. Draw by nn.Dropout only, which follows the member's seed."
)
_READS_VALUES = (  # what torch says then
    "control flow",
    "value out of a tracing tensor",
    "calling .item()",
    "dynamic shape",
    "differently shaped",
    "Cannot access data pointer of Tensor",
)
_WRITE = (aten.index_put.default, aten.index_put_.default)
_BY_SHAPE = {  # these read the shape of their argument, and none of its values
    aten.ones_like.default,
    aten.zeros_like.default,
    aten.full_like.default,
    aten.empty_like.default,
    aten.new_ones.default,
    aten.new_zeros.default,
    aten.new_full.default,
    aten.new_empty.default,
}


def trace(step: Callable[..., Any], given: Sequence[torch.Tensor]) -> Program:
    """Return ``step``, a function of these tensors, as a program for tensors of the same shapes and layouts."""
    module = recorded(step, given)
    graph = module.graph
    graph._codegen = torch.fx.graph.CodeGen()  # no nesting of arguments: they are a flat list already
    _straighten(graph)
    _fuse_pools(graph)
    graph.eliminate_dead_code()
    _reuse(graph)
    module.recompile()
    program: Program = module.forward  # not the module itself: see TRACING
    return program


def recorded(step: Callable[..., Any], given: Sequence[torch.Tensor]) -> GraphModule:
    """Return the operations of ``step(*given)``; raise InvalidValueError where others would follow from other values."""
    with TRACING, explained():
        module = make_fx(step)(*given)
        graph = module.graph
        for number, node in _sized_by_values(graph):
            raise _by_values(calls_in(step, given, node.target)[number] or str(node.target))
    _refuse_state(graph)
    return module


@contextmanager
def explained() -> Iterator[None]:
    """Turn torch's refusals to compute for many members at once into words about the module, and say nothing of their pace.

    What torch has no rule for is slow while it is traced, and only then.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")
            yield
    except torch.OutOfMemoryError:
        raise
    except ZeroDivisionError as error:
        if line_of(traceback.extract_tb(error.__traceback__)):
            raise  # the user's own
        # torch's, in the gradient of a mean over the entries that a mask picks: there are none
        raise _by_values("") from error
    except RuntimeError as error:
        text = str(error)
        first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        where = line_of(traceback.extract_tb(error.__traceback__))
        if any(said in text for said in _READS_VALUES):
            raise _by_values(where) from error
        if "called random operation" in text:
            raise InvalidValueError(f"{DRAWS}{where and f' ({where})'}{_DRAW_SO}") from error
        if "in-place" in text and ("vmap" in text or "captured Tensor" in text):
            raise InvalidValueError(
                "the module changes in place a buffer or another tensor that all members share; members must keep no state "
                f"between examples. Make it out of place. ({first})"
            ) from error
        raise InvalidValueError(
            f"torch cannot compute the module or the loss for many members together: {first.rstrip('.')}. Write it with other "
            "operations, or train one member at a time."
        ) from error


@contextmanager
def drawing_nothing() -> Iterator[None]:
    """Refuse a module or a loss that draws from Python's or NumPy's generator, of which a trace would keep the first numbers."""

    def states() -> Any:
        numpy_state: Any = np.random.get_state()
        return random.getstate(), bytes(numpy_state[1]), numpy_state[2:]

    before = states()
    yield
    if states() != before:
        raise InvalidValueError(f"{DRAWS}{_DRAW_SO}")


def _by_values(where: str) -> InvalidValueError:
    return InvalidValueError(
        "the module or the loss decides by the values of a tensor (an if, a loop, .item(), or a mask that picks entries)"
        f"{where and f': {where}'}. Members and batches cannot take one path together then. Write it with torch.where, or keep "
        "all entries and weigh them by the mask, as in ((output - y)**2 * m).sum() / m.sum()."
    )


def _sized_by_values(graph: Graph) -> Iterator[tuple[int, Node]]:
    """Yield what has as many entries as the values of the arguments say, and its number among calls of the same operation."""
    given, seen, nodes = set[Node](), Counter[Any](), list(graph.nodes)
    # torch asks for the places of a mask of its own accord where entries are written by one: h[mask] = 0 needs no number.
    written = Counter(index for node in nodes if node.target in _WRITE for index in node.args[1])
    for node in nodes:
        seen[node.target] += 1
        if node.op == "placeholder" or (node.target not in _BY_SHAPE and given & set(node.all_input_nodes)):
            given.add(node)
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and node in given:
            given.add(_source(node.args[0]))
        if schema is None or torch.Tag.dynamic_output_shape not in node.target.tags or not given & _deciding(node):
            continue
        if node.target is aten.nonzero.default and written[node.args[0]]:
            written[node.args[0]] -= 1
        else:
            yield seen[node.target] - 1, node


def _deciding(node: Node) -> set[Node]:
    """Return the arguments whose values say how many entries an operation of such a kind gives."""
    args: Any = node.args
    if node.target is aten.index.Tensor:
        indices = [(index, _meta(index)) for index in args[1]]
        return {index for index, known in indices if known is not None and known.dtype in (torch.bool, torch.uint8)}
    if node.target is aten.masked_select.default:
        return {args[1]}
    if node.target is aten.bincount.default:
        least = node.kwargs.get("minlength", args[2] if len(args) > 2 else 0)
        if _meta(node).shape == (least,):
            return set()
    if node.target in (aten._ctc_loss.default, aten._ctc_loss.Tensor):
        return set()  # only of what its own gradient alone reads
    if node.target is aten.linalg_lstsq.default and not any(user.users for user in node.users if user.args[1] == 1):
        return set()  # only of the residuals, which nobody reads
    return set(node.all_input_nodes)


def _refuse_state(graph: Graph) -> None:
    given = {node for node in graph.nodes if node.op in ("placeholder", "get_attr")}
    for node in graph.nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable and _source(node.args[0]) in given:
            raise InvalidValueError(
                f"the module changes one of its buffers or parameters while it computes ({node.target}); members must keep "
                "no state between examples. Leave the buffer as it is."
            )


def _meta(node: Any) -> Any:
    """Return what is known of the tensor that ``node`` makes: its shape, stride and dtype; None of a tuple."""
    meta = node.meta.get("tensor_meta") if isinstance(node, Node) else None
    return meta if hasattr(meta, "stride") else None


def _source(node: Node) -> Node:
    """Return the node whose memory ``node`` shares, itself if it has its own."""
    while node.op == "call_function":
        owner: Any = node.args[0] if node.target is operator.getitem else node
        schema = getattr(owner.target, "_schema", None)
        shares = schema is not None and any(result.alias_info is not None for result in schema.returns)
        if not shares and owner.target not in _RESHAPES:
            return node
        first = owner.args[0] if owner.args else None
        if isinstance(first, list | tuple) and first:
            first = first[0]
        if not isinstance(first, Node):  # a number
            return node
        node = first
    return node


def _straighten(graph: Graph) -> None:
    """Take out views that lead back to where they came from: the same shape and strides on the same memory."""
    for node in graph.nodes:
        found, before = _meta(node), node
        while found is not None and before.target in _VIEWS and isinstance(before.args[0], Node):
            before = before.args[0]
            known = _meta(before)
            if known is not None and (known.shape, known.stride) == (found.shape, found.stride):
                node.replace_all_uses_with(before)
                break
    graph.eliminate_dead_code()


def _fuse_pools(graph: Graph) -> None:
    """Make max_pool(relu(x)) one pass, forward and back: where a maximum is the relu's 0 no gradient goes on."""
    pool, back = (getattr(torch.ops.dwindle, name, None) for name in ("max_pool", "max_pool_backward"))
    for node in [node for node in graph.nodes if pool is not None and node.target is pool.default]:
        relu = node.args[0]
        backward = [user for user in relu.users if user is not node]
        simple = all(
            user.target is aten.threshold_backward.default
            and user.args[0].target is back.default  # type: ignore[union-attr]
            and user.args[0].args[1].args[0] is node
            for user in backward
        )
        if relu.target is aten.relu.default and simple:
            node.args = (relu.args[0], *node.args[1:3], True)
            for user in backward:
                user.replace_all_uses_with(user.args[0])
    graph.eliminate_dead_code()


def _reuse(graph: Graph) -> None:
    """Let elementwise operations write over an argument that nothing reads any more."""
    order = {node: place for place, node in enumerate(graph.nodes)}
    last: dict[Node, int] = {}
    for node in graph.nodes:
        for given in node.all_input_nodes:
            last[_source(given)] = order[node]
    for node in graph.nodes:
        if node.target not in _IN_PLACE and node.target not in _GRADIENT_IN_PLACE:
            continue
        over, made = node.args[0], _meta(node)
        known = _meta(over)
        if known is None or made is None or known[:4] != made[:4]:  # shape, dtype, whether it has a gradient, strides
            continue
        source = _source(over)
        others = [given for given in node.all_input_nodes if given is not over]
        if source.op != "call_function" or last[source] > order[node] or source in map(_source, others):
            continue
        if node.target in _IN_PLACE:
            node.target = _IN_PLACE[node.target]
        else:
            node.target = _GRADIENT_IN_PLACE[node.target]
            node.kwargs = {**node.kwargs, "grad_input": over}
        last[source] = max(last[source], last.get(node, 0))
