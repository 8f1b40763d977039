"""Layers of all members at once, where torch's own rules for it (torch.func) are slow.

Measured on CPU against them: a convolution of all members is one grouped convolution with the channels innermost, and
what lies between two of them keeps that layout; a pool is one pass; the first dense layer, whose input all members share, is
one matrix product. A layer returns NotImplemented where torch's rule is to be kept.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

__all__ = ["FAST_POOL", "conv2d", "linear", "max_pool2d", "relu"]

Tensor = torch.Tensor
aten = torch.ops.aten
FAST_POOL = find_spec("numba") is not None


# Many members as one: the members' axis goes beside the channels, (examples, members·channels, ...).


def _beside(x: Tensor, axis: int | None, members: int) -> Tensor:
    """(members, examples, channels, ...) with the members at ``axis``, as (examples, members·channels, ...)."""
    x = x.unsqueeze(1).expand(-1, members, *x.shape[1:]) if axis is None else x.movedim(axis, 1)
    return x.flatten(1, 2)


def _apart(x: Tensor, members: int) -> Tensor:
    """(examples, members·channels, ...) as (members, examples, channels, ...)."""
    return torch.unflatten(x, 1, (members, x.shape[1] // members)).movedim(1, 0)


def _first(x: Tensor, axis: int | None, members: int) -> Tensor:
    """Return ``x`` with the members in front."""
    return x.expand(members, *x.shape) if axis is None else x.movedim(axis, 0)


def _called(function: Any, *given: Any) -> Any:
    return function.apply(*given)


class _Batched(torch.autograd.Function):
    """A function whose forward needs no context, since `setup_context` of the layers keeps all they need."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor | None, how: tuple[Any, ...], groups: int) -> Any:
        return aten.convolution(_inner(x), _inner(w), b, *how, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, w, b, ctx.how, ctx.groups = inputs
        ctx.save_for_backward(x, w)
        ctx.biased = b is not None

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, w = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.biased and ctx.needs_input_grad[2]]
        return *_called(_ConvBackward, dy, x, w, ctx.how, ctx.groups, wanted), None, None

    @staticmethod
    def vmap(info: Any, axes: Any, x: Tensor, w: Tensor, b: Tensor | None, how: Any, groups: int) -> Any:
        k, shared = info.batch_size, axes[0] is None
        w = _first(w, axes[1], k).flatten(0, 1)
        b = None if b is None else _first(b, axes[2], k).flatten()
        x, groups = (x, groups) if shared and groups == 1 else (_beside(x, axes[0], k), groups * k)
        return _apart(_Conv.forward(x, w, b, how, groups), k), 0


class _ConvBackward(_Batched):
    @staticmethod
    def forward(dy: Tensor, x: Tensor, w: Tensor, how: tuple[Any, ...], groups: int, wanted: list[bool]) -> Any:
        sizes = [w.shape[0]] if wanted[2] else None
        return aten.convolution_backward(_inner(dy), _inner(x), _inner(w), sizes, *how, groups, wanted)

    @staticmethod
    def vmap(info: Any, axes: Any, dy: Tensor, x: Tensor, w: Tensor, how: Any, groups: int, wanted: Any) -> Any:
        k, shared = info.batch_size, axes[1] is None
        w = _first(w, axes[2], k)
        outputs = w.shape[1]
        x, groups = (x, groups) if shared and groups == 1 else (_beside(x, axes[1], k), groups * k)
        dx, dw, db = _ConvBackward.forward(_beside(dy, axes[0], k), x, w.flatten(0, 1), how, groups, wanted)
        dx = None if dx is None else _apart(dx, k)
        dw, db = (None if t is None else torch.unflatten(t, 0, (k, outputs)) for t in (dw, db))
        return (dx, dw, db), tuple(None if t is None else 0 for t in (dx, dw, db))


def _inner(x: Tensor) -> Tensor:
    """Return ``x`` with its channels innermost in memory, and strides that say so even of a single channel."""
    x = x.contiguous(memory_format=torch.channels_last)
    b, c, h, w = x.shape
    return x.as_strided((b, c, h, w), (c * h * w, 1, w * c, c))


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Return torch.conv2d's; on the CPU, where channels innermost are the faster layout."""
    if input.device.type != "cpu" or input.ndim != 4 or isinstance(padding, str) or input.dtype != weight.dtype:
        return NotImplemented
    stride, padding, dilation = (_two(n) for n in (stride, padding, dilation))
    return _called(_Conv, input, weight, bias, (stride, padding, dilation, False, [0, 0]), groups)


def _two(n: Any) -> list[int]:
    return [n, n] if isinstance(n, int) else [*n] * (2 // len(n))


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, w: Tensor, b: Tensor | None) -> Any:
        flat = x.reshape(-1, x.shape[-1])
        y = aten.mm(flat, w.t()) if b is None else aten.addmm(b, flat, w.t())
        return y.reshape(*x.shape[:-1], w.shape[0])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return _called(_LinearBackward, dy, *ctx.saved_tensors, list(ctx.needs_input_grad))

    @staticmethod
    def vmap(info: Any, axes: Any, x: Tensor, w: Tensor, b: Tensor | None) -> Any:
        k, w = info.batch_size, _first(w, axes[1], info.batch_size)
        b = None if b is None else _first(b, axes[2], k)
        if axes[0] is None:
            y = _Linear.forward(x, w.flatten(0, 1), None if b is None else b.flatten())
            return torch.unflatten(y, -1, (k, w.shape[1])).movedim(-2, 0), 0
        x = x.movedim(axes[0], 0)
        flat = x.reshape(k, -1, x.shape[-1])
        y = aten.bmm(flat, w.mT) if b is None else aten.baddbmm(b.unsqueeze(1), flat, w.mT)
        return y.reshape(*x.shape[:-1], w.shape[1]), 0


class _LinearBackward(_Batched):
    @staticmethod
    def forward(dy: Tensor, x: Tensor, w: Tensor, wanted: list[bool]) -> Any:
        dy, x_flat = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
        dx = aten.mm(dy, w).reshape(x.shape) if wanted[0] else None
        return dx, aten.mm(dy.t(), x_flat) if wanted[1] else None, dy.sum(0) if wanted[2] else None

    @staticmethod
    def vmap(info: Any, axes: Any, dy: Tensor, x: Tensor, w: Tensor, wanted: list[bool]) -> Any:
        k = info.batch_size
        w, dy = _first(w, axes[2], k), _first(dy, axes[0], k)
        outputs = w.shape[1]
        dx = dw = db = None
        if axes[1] is None and not wanted[0]:
            dy = dy.movedim(0, -2).reshape(-1, k * outputs)
            dw = aten.mm(dy.t(), x.reshape(-1, x.shape[-1])) if wanted[1] else None
            db = dy.sum(0) if wanted[2] else None
            dw, db = (None if t is None else torch.unflatten(t, 0, (k, outputs)) for t in (dw, db))
        else:
            x = _first(x, axes[1], k)
            dy = dy.reshape(k, -1, outputs)
            dx = aten.bmm(dy, w).reshape(x.shape) if wanted[0] else None
            dw = aten.bmm(dy.mT, x.reshape(k, -1, x.shape[-1])) if wanted[1] else None
            db = dy.sum(1) if wanted[2] else None
        return (dx, dw, db), tuple(None if t is None else 0 for t in (dx, dw, db))


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """Return torch.nn.functional.linear's, of examples (rows, ..., inputs)."""
    if input.dtype != weight.dtype or input.ndim < 2:
        return NotImplemented
    return _called(_Linear, input, weight, bias)


# Elementwise, so members and channels may be one axis here as well.


class _Relu(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Any:
        return aten.relu(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        return _called(_ReluBackward, dy, *ctx.saved_tensors)

    @staticmethod
    def vmap(info: Any, axes: Any, x: Tensor) -> Any:
        return _apart(aten.relu(_beside(x, axes[0], info.batch_size)), info.batch_size), 0


class _ReluBackward(_Batched):
    @staticmethod
    def forward(dy: Tensor, y: Tensor) -> Any:
        return aten.threshold_backward(dy, y, 0)

    @staticmethod
    def vmap(info: Any, axes: Any, dy: Tensor, y: Tensor) -> Any:
        k = info.batch_size
        return _apart(aten.threshold_backward(_beside(dy, axes[0], k), _beside(y, axes[1], k), 0), k), 0


def relu(input: Tensor, inplace: bool = False) -> Any:
    """Return torch.relu's, of planes on the CPU only: elsewhere there is no layout to keep."""
    if inplace or input.ndim != 4 or input.device.type != "cpu":
        return NotImplemented
    return _called(_Relu, input)


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, high: int, wide: int) -> Any:
        return torch.ops.dwindle.max_pool(_inner(x), high, wide, False)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, ctx.high, ctx.wide = inputs
        ctx.size = x.shape[-2:]
        ctx.save_for_backward(output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, dy: Tensor, _: Any) -> Any:
        return _called(_PoolBackward, dy, *ctx.saved_tensors, ctx.high, ctx.wide, *ctx.size), None, None

    @staticmethod
    def vmap(info: Any, axes: Any, x: Tensor, high: int, wide: int) -> Any:
        k = info.batch_size
        y, places = _Pool.forward(_beside(x, axes[0], k), high, wide)
        return (_apart(y, k), _apart(places, k)), (0, 0)


class _PoolBackward(_Batched):
    @staticmethod
    def forward(dy: Tensor, places: Tensor, high: int, wide: int, h: int, w: int) -> Any:
        return torch.ops.dwindle.max_pool_backward(_inner(dy), _inner(places), high, wide, h, w)

    @staticmethod
    def vmap(info: Any, axes: Any, dy: Tensor, places: Tensor, *how: int) -> Any:
        k = info.batch_size
        return _apart(_PoolBackward.forward(_beside(dy, axes[0], k), _beside(places, axes[1], k), *how), k), 0


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return torch.max_pool2d's, on the CPU and of windows side by side."""
    size, step = _two(kernel_size), _two(stride or kernel_size)
    plain = step == size and _two(padding) == [0, 0] and _two(dilation) == [1, 1] and not ceil_mode
    known = input.ndim == 4 and input.device.type == "cpu" and input.dtype in (torch.float32, torch.float64)
    if not plain or not known or return_indices or size[0] * size[1] > 254:
        return NotImplemented
    if input.shape[-2] < size[0] or input.shape[-1] < size[1]:
        return NotImplemented  # torch says why not
    return _called(_Pool, input, *size)[0]


if FAST_POOL:
    from dwindle.population.modules.pooling import max_pool, max_pool_backward

    _open_library: Any = torch.library.Library
    _library = _open_library("dwindle", "FRAGMENT")
    _library.define("max_pool(Tensor x, int high, int wide, bool relu) -> (Tensor, Tensor)")
    _library.define("max_pool_backward(Tensor dy, Tensor places, int high, int wide, int h, int w) -> Tensor")
    _library.impl("max_pool", max_pool, "CPU")
    _library.impl("max_pool_backward", max_pool_backward, "CPU")
