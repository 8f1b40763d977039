"""The tensors of one optimiser laid out for `kernels`: which chunks there are, and where their numbers and states lie."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch

import dwindle.torch.kernels as kernels
from dwindle.decay import L2, Decay
from dwindle.errors import InvalidValueError
from dwindle.torch.beside import Beside
from dwindle.torch.compensation import AVERAGE, VELOCITY, WEIGHT
from dwindle.torch.kernels import CHUNK, COLUMNS, NUMBERS
from dwindle.torch.rows import DecayedOnUse, Rows
from dwindle.torch.threads import MOST, TEAM, Threads

__all__ = ["OnePass"]

_KINDS = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.complex64: "float32",
          torch.complex128: "float64"}  # fmt: skip
_SGD = ("maximize", "momentum", "dampening", "nesterov")  # what a group says of its rule
_ADAM = ("maximize", "betas", "eps", "amsgrad")
_AS_THEY_ARE = torch._C.DisableTorchFunctionSubclass  # within, tables that decay when they are read do not
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

    def compiled(self) -> Any:
        """Return the kernel that updates such parameters."""
        kind, *flags = self
        return kernels.work(kind, *(flag or None for flag in flags))


_Function = ctypes.CFUNCTYPE(None, ctypes.c_int64)
_Held = tuple[dict[str, Any], str, Any, int]  # where a state is kept, its name there, the tensor, its address


class _Row(NamedTuple):
    """One parameter as it was laid out; another type, size, layout or device is another layout."""

    param: Any
    dtype: torch.dtype
    shape: torch.Size
    stride: tuple[int, ...] | None  # None: in order, whatever the strides of dimensions of length 1


class _Batch:
    """The parameters that one compiled update serves."""

    __slots__ = (
        "_addresses", "_held", "_job", "_kept", "_limits", "_over", "_room", "_threads", "begins", "params", "rows", "table",
    )  # fmt: skip

    def __init__(
        self, variant: _Variant, rows: list[_Row], table: Any, held: list[_Held], numbers: Any, beside: Beside
    ) -> None:
        sizes = [row.param.numel() * (1 + row.param.is_complex()) for row in rows]
        chunks = [(r, at, min(CHUNK, n - at)) for r, n in enumerate(sizes) for at in range(0, n, CHUNK)]
        self.rows, self.table, self.params = rows, table, [row.param for row in rows]
        self.begins = bool(table[:, [kernels.NEW_MOMENTUM, kernels.NEW_AVERAGE]].any())
        work, over = variant.compiled(), kernels.pass_over()
        self._over = _Function(over.address)
        self._threads = {way: Threads(sum(sizes)) for way in ((True, False), (False, True), (True, True))}
        chunks_of = np.array(chunks, dtype=np.int64).reshape(-1, 3)
        sums, constants = np.zeros(len(chunks)), np.zeros((len(rows), 10))
        room = np.zeros(kernels.LINES + kernels.LINE * MOST, dtype=np.int64)
        room[: kernels.MEASURING] = (
            table.ctypes.data, len(rows), chunks_of.ctypes.data, len(chunks), numbers.ctypes.data,
            constants.ctypes.data, sums.ctypes.data, work.address, TEAM,
        )  # fmt: skip
        room[[kernels.ZERO, kernels.NORMS]] = beside.zero, beside.norms
        room.view(np.float64)[kernels.CLIP] = np.inf if beside.clip is None else beside.clip
        room.view(np.float64)[kernels.KEEP] = 1.0 if beside.keep is None else beside.keep
        self._held = held
        self._kept = table, chunks_of, sums, constants, numbers, work, over  # what the job points to
        self._job = room.ctypes.data
        # numbers are put into memory twice as fast as into an array
        self._room: Any = room.data
        self._limits: Any = room.view(np.float64).data
        self._addresses: Any = table.reshape(-1).data

    def find(self) -> bool:
        """Note where weights and gradients lie now; return False if one of them is not as it was laid out."""
        for container, key, tensor, address in self._held:
            kept: Any = container.get(key)
            if kept is not tensor or kept.data_ptr() != address:
                return False
        at, addresses, strided = kernels.WEIGHT, self._addresses, torch.strided
        for param, dtype, shape, stride in self.rows:
            grad = param.grad
            if grad is None or grad.layout is not strided or not (param.is_cpu and grad.is_cpu):
                return False
            if param.dtype is not dtype or grad.dtype is not dtype or param.shape != shape or grad.shape != shape:
                return False
            if stride is None:
                if not (param.is_contiguous() and grad.is_contiguous()):
                    return False
            elif param.stride() != stride or grad.stride() != stride:
                return False
            if grad.is_neg() or (dtype.is_complex and grad.is_conj()):
                return False
            addresses[at], addresses[at + 1] = param.data_ptr(), grad.data_ptr()  # WEIGHT, GRADIENT
            at += COLUMNS
        return True

    def run(self, measuring: bool, moving: bool, scale: float = 1.0) -> tuple[float, float]:
        """Measure Σg² and take from it the scale of the gradients, else ``scale``; update, or not; return (Σg², Σw²)."""
        room, threads = self._room, self._threads[measuring, moving]
        room[kernels.MEASURING], room[kernels.MOVING], self._limits[kernels.SCALE] = measuring, moving, scale
        room[kernels.THREADS] = count = threads.count()
        threads.run(self._over, self._job, count)
        return self._limits[kernels.SQUARE], self._limits[kernels.TOTAL]


class OnePass:
    """One optimiser's tensors, laid out anew whenever they or their states have changed."""

    def __init__(self, optimizer: torch.optim.Optimizer, beside: Beside, *, adam: bool) -> None:
        self._optimizer, self._beside, self._adam = optimizer, beside, adam
        self._batches: list[_Batch] = []
        self._without: list[Any] = []  # parameters that had no gradient
        self._tables: list[tuple[int, Any, Rows]] = []  # group, parameter: those whose gradient is sparse
        self._rows: dict[Any, Rows] = {}
        self._gathered: list[
            tuple[Any, Any]
        ] = []  # of each table, its gradient's rows once each, if they were measured
        self._laid: Any = None  # what the layout goes by beside the tensors and the rules
        self._rule = itemgetter(*(_ADAM if adam else _SGD))
        self._rules: list[Any] = []  # of each group
        self._numbers: Any = None  # of each group, as the kernels read them

    def forget(self) -> None:
        """Lay out anew at the next step: states were loaded."""
        self._laid = None

    def stands(self, lossy: Sequence[frozenset[torch.dtype]], decay: Decay | None) -> bool:
        """Return whether the layout serves this step too, and note where weights and gradients lie now.

        ``lossy`` are the types of weight to compensate, for each group. That the groups hold the same parameters is for the
        caller to know.
        """
        if self._laid != (lossy, decay, len(self._optimizer.state)):
            return False
        for g, group in enumerate(self._optimizer.param_groups):
            rule = self._rule(group)
            if rule != self._rules[g]:
                if _switches(group) != _switches(dict(zip(_ADAM if self._adam else _SGD, self._rules[g], strict=True))):
                    return False
                self._take(g, rule)
        for param in self._without:
            if param.grad is not None:
                return False
        with _AS_THEY_ARE():
            for _, param, rows in self._tables:
                if not (_is_sparse(param) and rows.stands):
                    return False
        return all(batch.find() for batch in self._batches)

    def lay_out(self, lossy: Sequence[frozenset[torch.dtype]], decay: Decay | None) -> bool:
        """Lay out every parameter that has a gradient; return False if one of them cannot be updated here."""
        self._laid = None
        if self._is_laid_out(lossy, decay) and all(batch.find() for batch in self._batches):
            self._laid = [*lossy], decay, len(self._optimizer.state)
            return True
        self.release()
        return False

    @property
    def without(self) -> list[Any]:
        """The parameters that had no gradient when the layout was made, and have none while it stands."""
        return self._without

    def begin(self) -> None:
        """Let the averages that a step made which does not count begin at the weights."""
        for batch in self._batches:
            for param in batch.params:
                if self._beside.keep is not None and batch.begins:
                    self._optimizer.state[param][AVERAGE]["step"].copy_(param.detach())

    def release(self) -> None:
        """Bring all tables up to date and leave them: someone else updates them now."""
        for rows in self._rows.values():
            rows.release()
        self._rows.clear()
        self._laid = None

    def update(self, doses: Sequence[tuple[float, float, float]], cautious: bool) -> tuple[float, float]:
        """Update every weight by (lr, share, l2) of its group; return (Σg² before clipping, Σw²), where they are wanted."""
        for g, (lr, share, l2) in enumerate(doses):
            self._numbers[g, kernels.LR], self._numbers[g, kernels.SHARE], self._numbers[g, kernels.L2] = lr, share, l2
        if len(self._batches) == 1 and not self._tables:  # all in one pass of the threads
            return self._settled(self._batches[0], self._batches[0].run(self._beside.measured, True))
        square = self._measure() if self._beside.measured else 0.0
        scale, total = self._beside.scale(square), 0.0
        for batch in self._batches:
            total += self._settled(batch, batch.run(False, True, scale))[1]
        for at, (g, param, _) in enumerate(self._tables):
            with _AS_THEY_ARE():
                self._update_rows(at, doses[g], scale, cautious)
            if self._beside.norms:  # reading brings all rows up to date
                total += float(param.detach().double().square().sum())
            if self._beside.zero:
                param.grad.zero_()
        self._gathered = []
        return square, total

    def _settled(self, batch: _Batch, squares: tuple[float, float]) -> tuple[float, float]:
        torch.autograd.graph.increment_version(batch.params)
        if batch.begins:
            batch.table[:, [kernels.NEW_MOMENTUM, kernels.NEW_AVERAGE]] = 0
            batch.begins = False
        return squares

    def _measure(self) -> float:
        """Return the sum of the squares of all gradients."""
        total = sum(batch.run(True, False)[0] for batch in self._batches)
        self._gathered = [rows.gathered(param.grad) for _, param, rows in self._tables]
        return total + sum(float(np.sum(np.square(values, dtype=np.float64))) for _, values in self._gathered)

    def _update_rows(self, at: int, dose: Any, scale: float, cautious: bool) -> None:
        g, param, rows = self._tables[at]
        group, ready = self._optimizer.param_groups[g], self._gathered[at] if self._gathered else None
        scale = -scale if group["maximize"] else scale
        if self._adam:
            state = self._optimizer.state[param]
            state["step"] += 1.0
            rows.adam(*(ready or rows.gathered(param.grad)), scale, dose, group, state, cautious)
        else:
            rows.sgd(*(ready or rows.parts(param.grad)), scale, dose)

    # Laying out

    def _take(self, g: int, rule: Any) -> None:
        """Note the numbers of the rule of group ``g``."""
        self._rules[g] = rule
        self._numbers[g, kernels.SIGN] = -1.0 if rule[0] else 1.0
        if self._adam:
            (self._numbers[g, kernels.BETA1], self._numbers[g, kernels.BETA2]), eps = rule[1:3]
            self._numbers[g, kernels.EPS] = eps
        else:
            self._numbers[g, kernels.MOMENTUM], self._numbers[g, kernels.DAMPENING] = rule[1:3]

    def _is_laid_out(self, lossy: Sequence[frozenset[torch.dtype]], decay: Decay | None) -> bool:
        found: dict[_Variant, list[tuple[int, Any]]] = {}
        self._without, self._tables = [], []
        for g, group in enumerate(self._optimizer.param_groups):
            for param in group["params"]:
                if param.grad is None:
                    self._without.append(param)
                    continue
                if self._is_table(group, param, decay):
                    self._tables.append((g, param, self._table(param)))
                    continue
                if param in self._rows:  # its gradient is dense now
                    self._rows.pop(param).release()
                variant = self._variant(group, param, lossy[g], decay)
                if variant is None:
                    return False
                found.setdefault(variant, []).append((g, param))
        numbers = np.zeros((len(self._optimizer.param_groups), NUMBERS))
        self._numbers, self._rules = numbers.data, [None] * len(numbers)
        for g, group in enumerate(self._optimizer.param_groups):
            self._take(g, self._rule(group))
        self._batches = [self._batch(variant, members, numbers) for variant, members in found.items()]
        return True

    def _variant(self, group: Any, param: Any, lossy: frozenset[torch.dtype], decay: Decay | None) -> _Variant | None:
        """Return what updates ``param``; None if nothing here does."""
        grad, kind = param.grad, _KINDS.get(param.dtype)
        plain = type(param) in _PLAIN and type(grad) is torch.Tensor
        if kind is None or not plain or not _is_plain(param) or not _is_plain(grad):
            return None
        in_order = param.is_contiguous() and grad.is_contiguous()
        if grad.dtype is not param.dtype or (grad.stride() != param.stride() and not in_order):
            return None
        residue, l2 = param.dtype in lossy, isinstance(decay, L2)
        if self._adam:
            if (residue and l2) or group["amsgrad"]:
                return None
            momentum = nesterov = False
        else:
            momentum, nesterov = group["momentum"] != 0, bool(group["nesterov"])
        return _Variant(
            kind, self._adam, momentum, nesterov, self._beside.keep is not None, residue, residue and l2 and momentum,
            decay is not None and decay.cautious,
        )  # fmt: skip

    def _is_table(self, group: Any, param: Any, decay: Decay | None) -> bool:
        """Whether only the rows that a sparse gradient touches need be updated, and the others decayed when they are used."""
        if not _is_sparse(param) or type(param) not in _PLAIN or self._beside.keep is not None:
            return False
        if param.dtype not in (torch.float32, torch.float64) or not param.is_cpu:
            return False  # a row takes the decay of many steps in one product, and so loses none to rounding
        if self._adam:
            return not isinstance(decay, L2) and not group["amsgrad"] and param.is_contiguous()
        return group["momentum"] == 0 and not (decay is not None and decay.cautious) and param.is_contiguous()

    def _table(self, param: Any) -> Rows:
        if self._adam:
            held: list[_Held] = []
            state = self._optimizer.state[param]
            _step(state, held)
            for name in ("exp_avg", "exp_avg_sq"):
                _like(state, name, param, held)
        rows = self._rows.get(param)
        if rows is None or not rows.stands:
            rows = self._rows[param] = Rows(param)
        return rows

    def _batch(self, variant: _Variant, members: Sequence[tuple[int, Any]], numbers: Any) -> _Batch:
        table = np.zeros((len(members), COLUMNS), dtype=np.int64)
        held: list[_Held] = []
        rows = []
        for row, (g, param) in zip(table, members, strict=True):
            row[kernels.GROUP] = g
            self._place(variant, row, param, held)
            rows.append(_Row(param, param.dtype, param.shape, None if param.is_contiguous() else param.stride()))
        return _Batch(variant, rows, table, held, numbers, self._beside)

    def _place(self, variant: _Variant, row: Any, param: Any, held: list[_Held]) -> None:
        """Note where the states of ``param`` lie, and make those it has not."""
        if not any(variant[1:7]):
            return  # plain SGD keeps nothing
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
                reals = name != AVERAGE and param.is_complex()  # residues are kept as `compensation` does
                of = torch.view_as_real(param.detach()) if reals else param
                row[column] = _like(state.setdefault(name, {}), "step", of, held, wide=True)


def _switches(group: Any) -> tuple[bool, ...]:
    """Return what another kernel is compiled for."""
    return group.get("momentum", 0) != 0, bool(group.get("nesterov")), bool(group.get("amsgrad"))


def _is_sparse(param: Any) -> bool:
    """Whether the gradient is one of some rows."""
    grad = param.grad
    return grad is not None and grad.layout is torch.sparse_coo and grad.sparse_dim() == 1 and grad.dtype is param.dtype


def _step(state: Any, held: list[_Held]) -> int:
    """Return where the count of updates lies, a float32 as torch has it."""
    count: Any = state.get("step")
    if not (torch.is_tensor(count) and count.dtype is torch.float32 and count.is_cpu and count.dim() == 0):
        count = state["step"] = torch.tensor(float(count or 0.0), dtype=torch.float32)
    held.append((state, "step", count, count.data_ptr()))
    return int(count.data_ptr())


def _like(state: Any, name: str, param: Any, held: list[_Held], wide: bool = False) -> int:
    """Return where ``state[name]`` lies, which is laid out as ``param`` is; zero if it is new."""
    dtype = torch.float32 if wide and param.dtype is torch.bfloat16 else param.dtype
    kept: Any = state.get(name)
    if kept is not None and kept.shape != param.shape:
        raise InvalidValueError(
            f"the optimiser's state {name!r} has the shape {tuple(kept.shape)} and its parameter now {tuple(param.shape)}; "
            "make the optimiser anew for a parameter of another shape."
        )
    if kept is not None and kept.layout is not torch.strided:
        state[name] = kept = kept.to_dense()  # the momentum that torch keeps of sparse gradients
    if kept is None or kept.dtype is not dtype or kept.stride() != param.stride() or not kept.is_cpu:
        fresh = torch.zeros_like(param, dtype=dtype, requires_grad=False)
        state[name] = kept = fresh if kept is None else fresh.copy_(kept)
    held.append((state, name, kept, kept.data_ptr()))
    return int(kept.data_ptr())


def _is_plain(tensor: Any) -> bool:
    """Whether the numbers of ``tensor`` lie side by side in this processor's memory, as they are."""
    if not tensor.is_cpu or tensor.layout is not torch.strided or tensor.is_conj() or tensor.is_neg():
        return False
    forms = [torch.contiguous_format, *{4: [torch.channels_last], 5: [torch.channels_last_3d]}.get(tensor.dim(), [])]
    return any(tensor.is_contiguous(memory_format=form) for form in forms)
