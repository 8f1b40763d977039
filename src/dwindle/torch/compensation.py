"""Decay that the rounding of a weight would lose, kept beside it: the true weight is w + e, with e in float32.

A step takes e ← e - x·(w + e), which loses nothing to the size of w; the optimiser updates w as ever; then
w ← round(w + e), e ← (w + e) - w, the second without error. So w is always w + e rounded once, |e| at most half a unit
in the last place of w, and with zero gradients w(T) is w(0)·Π(1 - x) to one such unit, whatever the optimiser. It is
Kahan's compensated sum (Kahan 1965, CACM 8:40; Dekker 1971, Numer. Math. 18:224), here of the decay alone: what rounding
takes from the optimiser's own update stays lost. Two cases of l2 differ. Under SGD, which is linear, the decay's part of
the velocity is kept apart, in float32. Under any other optimiser the residue is that of the gradient: what rounding takes
from g + c·w goes into the next one.

It costs 4 bytes a weight (8 for l2 under SGD with momentum) and about ten elementwise passes a step, worked through in
the cache on a CPU and in at most 128 MiB a temporary tensor elsewhere.

The residues live in the optimiser's state of their parameter, as {"step": e}: torch loads whatever bears that name
without casting it to the parameter's type, so they are saved and come back bit for bit in every order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dwindle.errors import ResumeError

__all__ = ["AVERAGE", "GRADIENT", "VELOCITY", "WEIGHT", "Residues", "follows", "writes"]

_NAMES = WEIGHT, VELOCITY, GRADIENT = "dwindle_residue", "dwindle_velocity", "dwindle_gradient"
AVERAGE = "dwindle_average"  # saved in the same way

_PIECE = 2**16  # numbers a thread: a CPU works through its passes in its cache
_BATCH = 2**25  # elsewhere: 128 MiB for each of two temporary tensors


class Residues:
    """The residues of one optimiser's parameters, and the arithmetic that keeps them.

    A residue is used for the weight it was left beside: where someone else wrote to the weight since, it is dropped
    unless it is still below the weight's rounding. (A write through ``.data`` cannot be seen; it may meet a residue of
    up to half a unit in the last place of the weight that was there.)
    """

    __slots__ = ("_fresh", "_held", "_optimizer", "_written")

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._fresh: dict[tuple[Any, str], Any] = {}  # in no state yet: optimisers set theirs up where they find none
        self._held: dict[tuple[Any, str], Any] = {}
        self._written: dict[Any, tuple[int, int]] = {}

    # Where they are

    def of(self, param: Any, name: str) -> Any:
        """Return the residue of ``param``, zero at first, on its device and in its layout."""
        kept = self._optimizer.state.get(param, {}).get(name)
        found = self._fresh.get((param, name)) if kept is None else kept["step"]
        if found is None:
            found = self._fresh[param, name] = torch.zeros_like(_real(param), dtype=torch.float32)
        elif found is not self._held.get((param, name)):  # loaded, or moved by someone: it may not be ours to write to
            if found.shape != _real(param).shape:
                raise ResumeError(
                    f"{name} of shape {tuple(found.shape)} was loaded for a parameter of shape {tuple(param.shape)}; "
                    "load the checkpoint of this model."
                )
            found = torch.zeros_like(_real(param), dtype=torch.float32).copy_(found)
            if kept is not None:
                kept["step"] = found
        self._held[param, name] = found
        return found

    def of_weights(self, params: Sequence[Any]) -> list[Any]:
        """Return the residues of the weights of ``params``, without what belongs to weights that are no longer there."""
        return [self._checked(p, self.of(p, WEIGHT)) for p in params]

    def prepare(self, params: Sequence[Any], names: Sequence[str]) -> None:
        """Make the residues of ``params`` that are not there yet, for a checkpoint to be read into."""
        for param in params:
            for name in names:
                self.of(param, name)

    def settle(self) -> None:
        """Put the residues made in this step into the optimiser's state, which now has its own entries."""
        if not self._fresh:
            return
        for (param, name), residue in self._fresh.items():
            self._optimizer.state[param][name] = {"step": residue}
        self._fresh.clear()
        for group in self._optimizer.param_groups:  # torch's distributed checkpoints want a state of all or of none
            for param in group["params"]:
                _ = param.grad is None or self._optimizer.state[param]

    def forget(self) -> None:
        """Drop the residues of a step that failed before it was settled."""
        self._fresh.clear()

    def drop(self, params: Sequence[Any]) -> None:
        """Take the residues of ``params`` out of the optimiser's state; a velocity goes back into its momentum."""
        for param in params:
            state = self._optimizer.state.get(param, {})
            found = {name: state.pop(name)["step"] for name in _NAMES if name in state}
            if VELOCITY in found and state.get("momentum_buffer") is not None:
                if state["momentum_buffer"].layout is not torch.strided:  # torch keeps that of sparse gradients so
                    state["momentum_buffer"] = state["momentum_buffer"].to_dense()
                _real(state["momentum_buffer"]).add_(found[VELOCITY])
            if found and not state:
                del self._optimizer.state[param]
            for name in _NAMES:
                self._held.pop((param, name), None)
            self._written.pop(param, None)

    # Arithmetic

    def decay(self, params: Sequence[Any], share: float) -> None:
        """Take ``share`` of the true weights out of their residues: e ← e - x·(w + e)."""
        for weights, residues in _batches(params, self.of_weights(params)):
            _take(residues, weights, residues, share)

    def filter(self, params: Sequence[Any], c: float, lr: float, group: Any) -> None:
        """Take SGD's answer to the l2 part c·w of its gradient out of the residues.

        SGD is linear, so its velocity is the gradient's plus the decay's, v ← μ·v + (1 - τ)·c·w (c·w at the start), and
        e ← e - lr·v, or with nesterov e - lr·(c·w + μ·v). The momentum buffer then holds the gradient's part alone.
        """
        mu, kept = float(group["momentum"]), 1.0 - float(group["dampening"])
        if mu == 0.0:
            self.decay(params, lr * c)
            return
        started = [self._optimizer.state.get(p, {}).get("momentum_buffer") is not None for p in params]
        for begun in set(started):
            some = [p for p, was in zip(params, started, strict=True) if was is begun]
            velocities = [self.of(p, VELOCITY) for p in some]
            for weights, residues, speeds in _batches(some, self.of_weights(some), velocities):
                torch._foreach_mul_(speeds, mu)
                _take(speeds, weights, residues, -c * (kept if begun else 1.0))
                if group["nesterov"]:
                    _take(residues, weights, residues, lr * c)
                torch._foreach_add_(residues, speeds, alpha=-lr * (mu if group["nesterov"] else 1.0))

    def decay_where(self, params: Sequence[Any], olds: Sequence[Any], slopes: Sequence[Any], share: float) -> None:
        """Decay, after the update, the weights that it did not move away from zero; see `follows`.

        Their residues were left beside the weights before it: ask for them by `of_weights` then.
        """
        for weights, before, against, residues in _batches(params, olds, slopes, [self.of(p, WEIGHT) for p in params]):
            for weight, old, slope, residue in zip(weights, before, against, residues, strict=True):
                true = old + residue  # in float32; where that rounds, x·e is below every digit that counts
                residue.addcmul_(true, follows(weight, old, slope, true).to(true.dtype), value=-share)

    def slope(self, param: Any, group: Any, grad: Any) -> Any:
        """Return what the optimiser has moved ``param`` against, by sign: its momentum, or else the gradient ``grad``.

        Nesterov's is SGD's g + μ·b. What weighs its momentum otherwise (NAdam, Muon) is taken for its momentum.
        """
        state = self._optimizer.state.get(param, {})
        names = ("exp_avg", "momentum_buffer") if group.get("momentum", 1.0) else ("exp_avg",)  # 0 leaves an old buffer
        held = [state[name] for name in names if torch.is_tensor(state.get(name)) and state[name].shape == param.shape]
        mu = group.get("momentum") if group.get("nesterov") else None
        if held and mu is None:
            lazy = grad is not None and grad.layout is not torch.strided and held[0] is state.get("exp_avg")
            return _dense(held[0].sparse_mask(grad.coalesce()) if lazy else held[0])  # SparseAdam leaves the other rows
        grad = torch.zeros_like(param) if grad is None else _dense(grad)
        grad = -grad if group.get("maximize") else grad
        return grad.add(_dense(held[0]), alpha=mu) if held else grad

    def fold(self, params: Sequence[Any]) -> None:
        """Round the true weights into the weights, w ← round(w + e), and keep what that leaves."""
        for weights, residues in _batches(params, [self.of(p, WEIGHT) for p in params]):
            _fold(weights, residues)
        for p in params:
            self._written[p] = writes(p)

    def couple(self, params: Sequence[Any], c: float, scale: float) -> list[Any]:
        """Return the gradients g + scale·(c·w + r), each rounded once; the rounding, r, goes into the next step's.

        So the decay is in the sum of the gradients to half a unit in the last place of one. What the optimiser then
        rounds, in its moments and in its update, stays its own.
        """
        coupled = [torch.empty_like(p.grad) for p in params]
        grads, carried = [p.grad.resolve_conj() for p in params], [self.of(p, GRADIENT) for p in params]
        for weights, old, new, rests in _batches(params, grads, coupled, carried):
            wanted = torch._foreach_mul(_wide(weights), c)
            torch._foreach_add_(wanted, rests)
            torch._foreach_mul_(wanted, scale)
            sums = torch._foreach_add(_wide(old), wanted)
            torch._foreach_copy_(new, sums)
            torch._foreach_copy_(sums, new)
            torch._foreach_sub_(sums, _wide(old))  # what the gradient did take up
            torch._foreach_sub_(wanted, sums)
            torch._foreach_div_(wanted, scale)
            for rest, left in zip(rests, wanted, strict=True):  # a gradient that overflowed must not spoil the next
                torch.nan_to_num(left, nan=0.0, posinf=0.0, neginf=0.0, out=rest)
        return coupled

    def _checked(self, param: Any, residue: Any) -> Any:
        if (param, WEIGHT) not in self._fresh and self._written.get(param) != writes(param):
            weight, rest = _local(param), _local(residue)
            rest.masked_fill_((weight + rest).to(weight.dtype) != weight, 0.0)
        return residue


def follows(new: Any, old: Any, slope: Any, weight: Any) -> Any:
    """Return where an update from ``old`` to ``new`` did not move ``weight`` away from zero: u·w ≥ 0.

    By sign, for a product of small numbers underflows. Where rounding hid the movement, it was against ``slope``.
    """
    moved = torch.sign(new - old)
    moved.sub_(torch.sign(slope) * (moved == 0))
    return moved * torch.sign(weight) <= 0


def writes(param: Any) -> tuple[int, int]:
    """Return what changes when somebody writes to ``param`` in place or gives it other memory."""
    return 0 if param.is_inference() else param._version, _local(param).data_ptr()


def _dense(tensor: Any) -> Any:
    return tensor if tensor.layout is torch.strided else tensor.to_dense()


def _wide(tensors: list[Any]) -> list[Any]:
    """Return ``tensors`` in float32: copies of shorter ones, and float32 ones themselves."""
    if all(t.dtype == torch.float32 for t in tensors):
        return tensors
    wide = [torch.empty_like(t, dtype=torch.float32) for t in tensors]
    torch._foreach_copy_(wide, tensors)
    return wide


def _take(totals: list[Any], weights: list[Any], residues: list[Any], share: float) -> None:
    """Take x·(w + e) out of ``totals``, in place; w and e apart, for their sum would not show a small e."""
    if totals is residues:
        torch._foreach_mul_(residues, 1.0 - share)
    else:
        torch._foreach_add_(totals, residues, alpha=-share)
    wide, nearest = _wide(weights), float(np.float32(share))
    if wide is weights:  # a float32 weight shows it, after a dose of 1, if x is rounded; the small part goes in first
        torch._foreach_add_(totals, wide, alpha=nearest - share)
    torch._foreach_add_(totals, wide, alpha=-nearest)


def _fold(weights: list[Any], residues: list[Any]) -> None:
    left = _wide(weights)
    sums = torch._foreach_add(left, residues)
    if weights[0].dtype == torch.float32:
        torch._foreach_sub_(weights, sums)  # exact, for e is the smaller
        torch._foreach_add_(residues, weights)
        torch._foreach_copy_(weights, sums)
    else:
        torch._foreach_copy_(weights, sums)
        torch._foreach_copy_(sums, weights)
        torch._foreach_sub_(left, sums)
        torch._foreach_add_(residues, left)
    for residue in residues:  # a weight that overflowed must not spoil the one that somebody puts in its place
        torch.nan_to_num_(residue, nan=0.0, posinf=0.0, neginf=0.0)


def _batches(*lists: Sequence[Any]) -> Iterator[tuple[list[Any], ...]]:
    """Yield the tensors side by side, in lists of one type and of a bounded size, cutting those that are larger."""
    batch: list[tuple[Any, ...]] = []
    size = 0
    for row in _pieces(zip(*lists, strict=True)):
        if batch and (size + row[0].numel() > _limit(row[0]) or row[0].dtype != batch[0][0].dtype):
            yield tuple(map(list, zip(*batch, strict=True)))
            batch, size = [], 0
        batch.append(row)
        size += row[0].numel()
    if batch:
        yield tuple(map(list, zip(*batch, strict=True)))


def _pieces(rows: Any) -> Iterator[tuple[Any, ...]]:
    for tensors in rows:
        row = tuple(_local(t) for t in tensors)
        limit = _limit(row[0])
        if row[0].numel() > limit and all(t.is_contiguous() for t in row):
            yield from zip(*(t.view(-1).split(limit) for t in row), strict=True)
        else:
            yield row


def _limit(tensor: Any) -> int:
    return _PIECE * max(2, torch.get_num_threads()) if tensor.device.type == "cpu" else _BATCH


def _local(tensor: Any) -> Any:
    """Return a DTensor's own shard, which shares its memory; every operation here is elementwise."""
    return _real(tensor.detach().to_local() if hasattr(tensor, "to_local") else tensor)


def _real(tensor: Any) -> Any:
    """Return the real numbers that a complex tensor is made of, in the same memory."""
    return torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor
