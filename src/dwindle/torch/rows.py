"""Exact lazy decay: a row of a table that no gradient touches is decayed when it is next used, all its steps at once.

A step multiplies every row by its shrink 1 - x. Row r, last brought up to date at update s, is at update t
w·Π(1 - x_i), i = s .. t - 1, which is w·exp(L_t - L_s) with L the running sum of log(1 - x) in float64. So a step costs what
its rows cost, and any other use of the table sees what a dense decay would have left, rounded once.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from threading import RLock
from typing import Any

import numpy as np
import torch

import dwindle.torch.row_kernels as kernels

__all__ = ["DecayedOnUse", "Rows"]


class DecayedOnUse(torch.nn.Parameter):
    """A Parameter whose rows are brought up to date by whatever reads it: an embedding those it looks up, anything else all.

    Not seen are reads past the Parameter itself: through a view or array of its memory that was taken before, under
    ``torch.func`` transforms of it, and by TorchScript; ``parameter.detach()`` just before brings it up to date for them.
    """

    _rows: Rows | None = None

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        with torch._C.DisableTorchFunctionSubclass():
            if func not in _LOOKS_AWAY:
                for rows in _rows_in((args, given)):
                    ids = _looked_up(func, args, given)
                    rows.settle() if ids is None else rows.bring_up(ids)
            return func(*args, **given)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copies and files hold an ordinary Parameter."""
        data = self.data
        return torch._utils._rebuild_parameter, (data, self.requires_grad, OrderedDict())

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """So does a deep copy."""
        if id(self) not in memo:
            memo[id(self)] = torch.nn.Parameter(self.data.clone(), self.requires_grad)
        return memo[id(self)]


def _rows_in(value: Any) -> Iterator[Rows]:
    """Yield the tables among the arguments of a function, in lists and the like too."""
    if isinstance(value, DecayedOnUse):
        if value._rows is not None:
            yield value._rows
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _rows_in(one)


def _looked_up(func: Any, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
    """Return the rows that an embedding is about to read; None for any other function."""
    if func is not torch.nn.functional.embedding and func is not torch.embedding:
        return None
    input_first = func is torch.nn.functional.embedding
    ids: Any = given.get("input", args[0] if args else None) if input_first else (args[1] if len(args) > 1 else None)
    whole = type(ids) is torch.Tensor and ids.is_cpu and ids.dtype in (torch.int64, torch.int32)
    traced = whole and torch._C._functorch.is_functorch_wrapped_tensor(ids)
    return ids if whole and not traced and given.get("max_norm") is None else None


_Tensor: Any = torch.Tensor
_LOOKS_AWAY = {
    getattr(_Tensor, name).__get__
    for name in ("grad", "shape", "dtype", "device", "layout", "requires_grad", "is_leaf", "is_cpu", "is_cuda", "grad_fn",
                 "is_sparse", "ndim", "_version", "is_meta", "is_quantized", "names", "is_nested", "is_mkldnn", "is_mps",
                 "_grad", "_backward_hooks", "retains_grad", "output_nr", "itemsize", "nbytes")
    if hasattr(_Tensor, name)
} | {
    getattr(_Tensor, name)
    for name in ("size", "dim", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex",
                 "element_size", "requires_grad_", "register_hook", "register_post_accumulate_grad_hook", "ndimension",
                 "is_inference", "is_conj", "is_neg", "__len__", "__hash__", "is_shared", "storage_offset")
    if hasattr(_Tensor, name)
} | {_Tensor.grad.__set__, _Tensor.grad.__delete__, torch.is_floating_point, torch.is_complex, torch.numel}  # fmt: skip
"""What tells of a tensor without reading its numbers."""


class Rows:
    """The table ``param``, of shape [rows, ...], how far each row is decayed, and how far all should be."""

    def __init__(self, param: Any) -> None:
        before = getattr(param, "_rows", None)
        if before is not None:  # another optimiser's
            before.settle()
        self.param, self._shape, self._lock = param, param.shape, RLock()
        self._at = np.zeros(param.shape[0], dtype=np.int64)
        self._logs = np.zeros(64)
        self._count = 0  # updates: rows with at = count are up to date
        self._slots = np.full(param.shape[0], -1, dtype=np.int64)
        self._width = math.prod(self._shape[1:])
        with torch._C.DisableTorchFunctionSubclass():
            param.__class__ = DecayedOnUse
            param._rows = self

    @property
    def _table(self) -> Any:
        """The numbers, [rows, numbers in a row], where they lie now."""
        with torch._C.DisableTorchFunctionSubclass():
            return self.param.detach().numpy().reshape(self._shape[0], self._width)

    @property
    def stands(self) -> bool:
        """Whether the parameter is still the table that this was made for."""
        with torch._C.DisableTorchFunctionSubclass():
            p = self.param
            plain = p.is_cpu and p.is_contiguous() and p.shape == self._shape and p._rows is self
            return bool(plain and p.dtype in (torch.float32, torch.float64))

    def bring_up(self, ids: Any) -> None:
        """Decay the rows ``ids``, a tensor of whole numbers, up to now; numbers that are no row are left to the reader."""
        self._bring_up(ids.detach().numpy().reshape(-1))

    def settle(self) -> None:
        """Decay every row up to now."""
        with self._lock:
            self._bring_up(np.arange(len(self._at)))
            self._at[:], self._count = 0, 0

    def _bring_up(self, numbers: Any) -> None:
        with self._lock:  # readers may come from several threads
            if self._count:
                self._wrote(kernels.bring_up(self._table, self._at, self._logs, self._count, numbers))

    def release(self) -> None:
        """Settle, and let the parameter be an ordinary one again."""
        self.settle()
        with torch._C.DisableTorchFunctionSubclass():
            self.param._rows = None
            self.param.__class__ = torch.nn.Parameter

    def gathered(self, grad: Any) -> tuple[Any, Any]:
        """Return (ids, values) of a sparse gradient, each row once, the values of rows that came twice added up."""
        return kernels.gather(self._slots, *self.parts(grad))  # type: ignore[no-any-return]

    def parts(self, grad: Any) -> tuple[Any, Any]:
        """Return the row numbers and the values of a sparse gradient, as they are."""
        values = grad._values().numpy()
        return grad._indices().numpy()[0], values.reshape(len(values), self._width)

    def sgd(self, ids: Any, values: Any, scale: float, dose: tuple[float, float, float]) -> None:
        """Take w ← (1 - x)·w - lr·scale·g, where x has plain SGD's l2 in it; a row may come more than once."""
        lr, share, l2 = dose
        with self._lock:
            x = self._fits(share + lr * l2)
            kernels.step_sgd(self._table, self._at, self._logs, self._count, ids, values, lr * scale, x)
            self._count += 1
        self._wrote(True)

    def adam(
        self,
        ids: Any,
        values: Any,
        scale: float,
        dose: tuple[float, float, float],
        group: Any,
        state: Any,
        cautious: bool,
    ) -> None:
        """AdamW's update of the rows ``ids``, their moments and no others; the decay is that of every row."""
        lr, share, _ = dose
        (beta1, beta2), t = group["betas"], float(state["step"])
        step = lr / (1.0 - beta1**t)
        moments = (state[name].numpy().reshape(self._shape[0], self._width) for name in ("exp_avg", "exp_avg_sq"))
        with self._lock:
            x = self._fits(share)
            kernels.step_adam(  # type: ignore[call-arg]
                self._table, *moments, self._at, self._logs, self._count, ids, values, scale, x, step,
                1.0 / math.sqrt(1.0 - beta2**t), group["eps"], beta1, beta2, cautious,
            )  # fmt: skip
            self._count += 1
        self._wrote(True)

    def _fits(self, x: float) -> float:
        """Note that every row loses the share x at this update; return it."""
        if x >= 1.0:  # has no logarithm: what came before is done, and this share is taken here
            self.settle()
            with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():
                self.param.mul_(1.0 - x)
            x = 0.0
        if self._count + 1 == len(self._logs):
            self._logs = np.concatenate((self._logs, np.zeros(len(self._logs))))
        self._logs[self._count + 1] = self._logs[self._count] + math.log1p(-x)
        return x

    def _wrote(self, wrote: bool) -> None:
        if wrote:
            with torch._C.DisableTorchFunctionSubclass():
                torch.autograd.graph.increment_version(self.param)
