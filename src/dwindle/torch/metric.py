"""The metric of one evaluation as a number, the same on every rank, so that every rank decides the same."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

from dwindle.errors import InvalidValueError, known, shown

__all__ = ["REDUCE", "agreed"]

REDUCE = ("mean", "none")


def agreed(metric: Any, reduce: str) -> Any:
    """Return ``metric``, a tensor of one element as a number, and with ``reduce`` "mean" its mean over the ranks.

    The mean is taken in float64 by each rank from all ranks' numbers in one order: the same bits everywhere, which a
    reduction on the device does not promise. Without torch.distributed the metric is its own mean.

    >>> agreed(torch.tensor(0.5), "mean")
    0.5
    """
    known("reduce", reduce, REDUCE)
    if torch.is_tensor(metric):
        if metric.numel() != 1:
            raise InvalidValueError(f"a metric is one number; got a tensor of shape {tuple(metric.shape)}.")
        metric = metric.item()
    if reduce == "none" or not (dist.is_available() and dist.is_initialized()):
        return metric
    if isinstance(metric, str | bytes | bool) or not hasattr(metric, "__float__"):
        raise InvalidValueError(f"a metric must be a real number; got {shown(metric)}.")
    mine = torch.tensor([float(metric)], dtype=torch.float64, device=_device())
    everyones = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyones, mine)
    return sum(float(value) for value in everyones) / len(everyones)


def _device() -> torch.device:
    """Return a device that the process group can carry: the CPU, or the accelerator where the group knows only that."""
    backend = dist.get_backend()
    if any(name in backend for name in ("gloo", "mpi", "cpu", "fake")):
        return torch.device("cpu")
    return torch.accelerator.current_accelerator() or torch.device("cpu")
