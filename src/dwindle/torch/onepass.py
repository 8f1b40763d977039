"""The tensors of one optimiser laid out for `kernels`: which chunks there are, and where their numbers and states lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

import dwindle.torch.kernels as kernels
from dwindle.decay import L2, Decay
from dwindle.torch.compensation import AVERAGE, VELOCITY, WEIGHT
from dwindle.torch.kernels import CHUNK, COLUMNS, NUMBERS
from dwindle.torch.rows import DecayedOnUse, Rows
from dwindle.torch.threads import Threads

__all__ = ["OnePass"]

_KINDS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.complex64: "float32",
          torch.complex128: "float64"}  # fmt: skip
_PLAIN = (torch.nn.Parameter, torch.Tensor, DecayedOnUse)


class _Variant(NamedTuple):
    """What an update is compiled for: the type of its numbers, its rule, and what is kept beside the weights."""

    kind: str  # float32, float64 or bfloat16
    adam: bool
    momentum: bool  # of SGD
    nesterov: bool
    average: bool
    residue: bool  # the true weight is w + e
    rest: bool  # the true momentum is m + r
    cautious: bool

    def for_the_compiler(self) -> tuple[Any, ...]:
        """Return the last arguments of the kernels."""
        return (*_types(self.kind), *(flag or None for flag in self[1:]))


class _Row(NamedTuple):
    """One parameter as it was laid out; another type, size, layout or device is another layout."""

    param: Any
    dtype: torch.dtype
    numel: int
    stride: tuple[int, ...]


class _Batch:
    """The parameters that one compiled update serves."""

    __slots__ = (
        "begins", "chunks", "constants", "flags", "held", "norm_threads", "params", "rows", "sums", "table", "types",
        "update_threads",
    )  # fmt: skip

    def __init__(self, variant: _Variant, rows: list[_Row], table: Any, held: list[Any]) -> None:
        sizes = [row.numel * (1 + row.param.is_complex()) for row in rows]
        chunks = [(r, at, min(CHUNK, n - at)) for r, n in enumerate(sizes) for at in range(0, n, CHUNK)]
        self.rows, self.table, self.params = rows, table, [row.param for row in rows]
        self.held = held  # the states, which must not go while their addresses are in the table
        self.begins = bool(table[:, [kernels.NEW_MOMENTUM, kernels.NEW_AVERAGE]].any())
        self.chunks = np.array(chunks, dtype=np.int64).reshape(-1, 3)
        self.sums, self.constants = np.zeros(len(chunks)), np.zeros((len(rows), 10))
        self.types, self.flags = _types(variant.kind), variant.for_the_compiler()
        self.norm_threads, self.update_threads = Threads(sum(sizes)), Threads(sum(sizes))

    def find(self) -> bool:
        """Note where weights and gradients lie now; return False if one of them is not as it was laid out."""
        weights, gradients = [], []
        for param, dtype, numel, stride in self.rows:
            grad = param.grad
            if grad is None or grad.layout is not torch.strided or grad.stride() != stride or param.stride() != stride:
                return False
            if param.numel() != numel or grad.numel() != numel or param.dtype is not dtype or grad.dtype is not dtype:
                return False
            if not (param.is_cpu and grad.is_cpu):
                return False
            weights.append(param.data_ptr())
            gradients.append(grad.data_ptr())
        self.table[:, kernels.WEIGHT] = weights
        self.table[:, kernels.GRADIENT] = gradients
        return True

    def square_norm(self) -> float:
        """Return Σg²."""
        run = self.norm_threads.run
        return run(
            kernels.square_norm, kernels.square_norm_in_parallel, self.table, self.chunks, self.sums, *self.types
        )

    def step(self, numbers: Any, scale: float, keep: float, zero: bool, norms: bool) -> float:
        """Update every weight; return Σw² with ``norms``."""
        return self.update_threads.run(
            kernels.update, kernels.update_in_parallel, self.table, self.chunks, numbers, self.constants, self.sums,
            scale, keep, zero, norms, *self.flags,
        )  # fmt: skip


class OnePass:
    """One optimiser's tensors, laid out anew whenever they or their states have changed."""

    def __init__(self, optimizer: torch.optim.Optimizer, *, adam: bool, average: bool) -> None:
        self._optimizer, self._adam, self._average = optimizer, adam, average
        self._batches: list[_Batch] = []
        self._without: list[Any] = []  # parameters that had no gradient
        self._tables: list[tuple[int, Any, Rows]] = []  # group, parameter: those whose gradient is sparse
        self._rows: dict[Any, Rows] = {}
        self._gathered: dict[Any, tuple[Any, Any]] = {}
        self._laid: Any = None
        self._numbers = np.zeros((0, len(NUMBERS)))
        self._rules: list[Any] = []  # what a group's numbers were last filled from

    def forget(self) -> None:
        """Lay out anew at the next step: states were loaded."""
        self._laid = None

    def ready(self, lossy: Sequence[frozenset[torch.dtype]], decay: Decay | None) -> bool:
        """Return whether every parameter with a gradient can be updated here, and note where they lie.

        ``lossy`` are the types of weight to compensate, for each group.
        """
        same = self._laid == lossy and all(p.grad is None for p in self._without)
        same = same and all(_is_sparse(p) and rows.stands for _, p, rows in self._tables)
        if same and all(batch.find() for batch in self._batches):
            return True
        self._laid = list(lossy) if self._lay_out(lossy, decay) else None
        if self._laid is not None and all(batch.find() for batch in self._batches):
            return True
        self.release()
        return False

    def release(self) -> None:
        """Bring all tables up to date and leave them: someone else updates them now."""
        for rows in self._rows.values():
            rows.release()
        self._rows.clear()
        self._laid = None

    def square_norm(self) -> float:
        """Return the sum of the squares of all gradients."""
        total = float(sum(b.square_norm() for b in self._batches))
        for _, param, rows in self._tables:
            self._gathered[param] = _, values = rows.gathered(param.grad)
            total += float(np.sum(np.square(values, dtype=np.float64)))
        return total

    def update(
        self, doses: Sequence[Any], scale: float, keep: float, zero: bool, norms: bool, cautious: bool = False
    ) -> float:
        """Update every weight by the rates of its group; return the sum of their squares, or 0 without ``norms``."""
        self._fill(doses)
        total = 0.0
        for b in self._batches:
            total += b.step(self._numbers, scale, keep, zero, norms)
            torch.autograd.graph.increment_version(b.params)
            if b.begins:
                b.table[:, kernels.NEW_MOMENTUM] = b.table[:, kernels.NEW_AVERAGE] = 0
                b.begins = False
        for g, param, rows in self._tables:
            self._update_rows(g, param, rows, doses[g], scale, cautious)
            total += (
                float(param.detach().double().square().sum()) if norms else 0.0
            )  # reading brings all rows up to date
            if zero:
                param.grad.zero_()
        self._gathered.clear()
        return total

    def _update_rows(self, g: int, param: Any, rows: Rows, dose: Any, scale: float, cautious: bool) -> None:
        group, grad = self._optimizer.param_groups[g], param.grad
        scale = -scale if group["maximize"] else scale
        if self._adam:
            state = self._optimizer.state[param]
            state["step"] += 1.0
            rows.adam(*(self._gathered.get(param) or rows.gathered(grad)), scale, dose, group, state, cautious)
        else:
            rows.sgd(*(self._gathered.get(param) or rows.parts(grad)), scale, dose)

    def _fill(self, doses: Sequence[Any]) -> None:
        self._numbers[:, : kernels.SIGN] = doses
        for g, group in enumerate(self._optimizer.param_groups):
            rule = (
                (group["maximize"], group["betas"], group["eps"])
                if self._adam
                else (group["maximize"], group["momentum"], group["dampening"])
            )
            if rule != self._rules[g]:
                self._rules[g] = rule
                self._numbers[g, kernels.SIGN] = -1.0 if rule[0] else 1.0
                if self._adam:
                    self._numbers[g, [kernels.BETA1, kernels.BETA2, kernels.EPS]] = *rule[1], rule[2]
                else:
                    self._numbers[g, [kernels.MOMENTUM, kernels.DAMPENING]] = rule[1:]

    # Laying out

    def _lay_out(self, lossy: Sequence[frozenset[torch.dtype]], decay: Decay | None) -> bool:
        found: dict[_Variant, list[tuple[int, Any]]] = {}
        self._without, self._tables = [], []
        for g, group in enumerate(self._optimizer.param_groups):
            for param in group["params"]:
                if param.grad is None:
                    self._without.append(param)
                    continue
                if self._is_table(group, param, lossy[g], decay):
                    self._tables.append((g, param, self._table(param)))
                    continue
                if param in self._rows:  # its gradient is dense now
                    self._rows.pop(param).release()
                variant = self._variant(group, param, lossy[g], decay)
                if variant is None:
                    return False
                found.setdefault(variant, []).append((g, param))
        self._numbers = np.zeros((len(self._optimizer.param_groups), len(NUMBERS)))
        self._rules = [None] * len(self._numbers)
        self._batches = [self._batch(variant, members) for variant, members in found.items()]
        return True

    def _variant(self, group: Any, param: Any, lossy: frozenset[torch.dtype], decay: Decay | None) -> _Variant | None:
        """Return what updates ``param``; None if nothing here does."""
        grad, kind = param.grad, _KINDS.get(param.dtype)
        plain = type(param) in _PLAIN and type(grad) is torch.Tensor
        if kind is None or not plain or not _is_plain(param) or not _is_plain(grad):
            return None
        if grad.dtype is not param.dtype or grad.stride() != param.stride():
            return None
        residue, l2 = param.dtype in lossy, isinstance(decay, L2)
        if self._adam:
            if (residue and l2) or group["amsgrad"]:
                return None
            momentum = nesterov = False
        else:
            momentum, nesterov = group["momentum"] != 0, bool(group["nesterov"])
        return _Variant(
            kind, self._adam, momentum, nesterov, self._average, residue, residue and l2 and momentum,
            decay is not None and decay.cautious,
        )  # fmt: skip

    def _is_table(self, group: Any, param: Any, lossy: frozenset[torch.dtype], decay: Decay | None) -> bool:
        """Whether only the rows that a sparse gradient touches need be updated, and the others decayed when they are used."""
        if not _is_sparse(param) or param.grad.sparse_dim() != 1 or type(param) not in _PLAIN or self._average:
            return False
        if param.dtype not in (torch.float32, torch.float64) or param.dtype in lossy or not param.is_cpu:
            return False
        if self._adam:
            return not isinstance(decay, L2) and not group["amsgrad"] and param.is_contiguous()
        return group["momentum"] == 0 and not (decay is not None and decay.cautious) and param.is_contiguous()

    def _table(self, param: Any) -> Rows:
        if self._adam:
            held: list[Any] = []
            state = self._optimizer.state[param]
            _step(state, held)
            for name in ("exp_avg", "exp_avg_sq"):
                _like(state, name, param, held)
        rows = self._rows.get(param)
        if rows is None or not rows.stands:
            rows = self._rows[param] = Rows(param)
        return rows

    def _batch(self, variant: _Variant, members: Sequence[tuple[int, Any]]) -> _Batch:
        table = np.zeros((len(members), len(COLUMNS)), dtype=np.int64)
        held: list[Any] = []
        rows = []
        for row, (g, param) in zip(table, members, strict=True):
            row[kernels.GROUP] = g
            self._place(variant, row, param, held)
            rows.append(_Row(param, param.dtype, param.numel(), param.stride()))
        return _Batch(variant, rows, table, held)

    def _place(self, variant: _Variant, row: Any, param: Any, held: list[Any]) -> None:
        """Note where the states of ``param`` lie, and make those it has not."""
        state = self._optimizer.state[param]
        if variant.adam:
            row[kernels.STEP] = _step(state, held)
            row[kernels.FIRST] = _like(state, "exp_avg", param, held)
            row[kernels.SECOND] = _like(state, "exp_avg_sq", param, held)
        elif variant.momentum:
            row[kernels.NEW_MOMENTUM] = state.get("momentum_buffer") is None
            row[kernels.FIRST] = _like(state, "momentum_buffer", param, held)
        row[kernels.NEW_AVERAGE] = variant.average and AVERAGE not in state
        names = (kernels.AVERAGE, AVERAGE, variant.average), (kernels.RESIDUE, WEIGHT, variant.residue)
        for column, name, has in (*names, (kernels.REST, VELOCITY, variant.rest)):
            if has:
                row[column] = _like(state.setdefault(name, {}), "step", param, held, wide=True)


def _is_sparse(param: Any) -> bool:
    return param.grad is not None and param.grad.layout is torch.sparse_coo


def _types(kind: str) -> tuple[Any, Any]:
    """Return two empty arrays, of the type that is stored and of the one that is calculated in."""
    if kind == "bfloat16":
        return np.empty(0, np.uint16), np.empty(0, np.float32)
    return np.empty(0, kind), np.empty(0, kind)


def _step(state: Any, held: list[Any]) -> int:
    """Return where the count of updates lies, a float32 as torch has it."""
    count = state.get("step")
    if not (torch.is_tensor(count) and count.dtype is torch.float32 and count.is_cpu and count.dim() == 0):
        count = state["step"] = torch.tensor(float(count or 0.0), dtype=torch.float32)
    held.append(count)
    return int(count.data_ptr())


def _like(state: Any, name: str, param: Any, held: list[Any], wide: bool = False) -> int:
    """Return where ``state[name]`` lies, which is laid out as ``param`` is; zero if it is new."""
    dtype = torch.float32 if wide and param.dtype is torch.bfloat16 else param.dtype
    kept = state.get(name)
    if kept is None or kept.dtype is not dtype or kept.stride() != param.stride() or kept.shape != param.shape:
        fresh = torch.zeros_like(param, dtype=dtype, requires_grad=False)
        state[name] = kept = fresh if kept is None else fresh.copy_(kept)
    held.append(kept)
    return int(kept.data_ptr())


def _is_plain(tensor: Any) -> bool:
    """Whether the numbers of ``tensor`` lie side by side in this processor's memory, as they are."""
    if not tensor.is_cpu or tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
        return False
    forms = [torch.contiguous_format, *{4: [torch.channels_last], 5: [torch.channels_last_3d]}.get(tensor.dim(), [])]
    return any(tensor.is_contiguous(memory_format=form) for form in forms)
