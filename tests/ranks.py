"""One rank of two: what `test_torch_distributed` starts twice. ``python ranks.py RANK FOLDER CASE...``; failing is exit 1.

Every case trains across the ranks and, in the same process, alone on the whole batch, and compares the weights.
"""

from __future__ import annotations

import os
import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoints
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

import dwindle as dw
from dwindle.errors import InvalidValueError
from dwindle.torch import attach, params

STEPS, WORLD = 50, 2
SCHEDULE = dw.warmup(5).then(dw.cosine(end=0.1))
DECAYS = [kind(0.3) for kind in (dw.l2, dw.decoupled, dw.independent, dw.corrected)]
DECAYS += [kind(0.3, cautious=True) for kind in (dw.decoupled, dw.independent, dw.corrected)]
KINDS = {"SGD": (torch.optim.SGD, {"momentum": 0.9}), "AdamW": (torch.optim.AdamW, {})}


class Small(nn.Module):
    """Odd sizes, so that the shards differ; an embedding, two norms, a vector of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 5)
        self.block = nn.ModuleList(nn.ModuleDict({"norm": nn.LayerNorm(5), "fc": nn.Linear(5, 5)}) for _ in range(2))
        self.scale = nn.Parameter(torch.ones(5))
        self.head = nn.Linear(5, 3)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.block:
            x = x + torch.tanh(block["fc"](block["norm"](x)))
        return self.head(x * self.scale)


def small() -> Small:
    torch.manual_seed(0)
    return Small().double()


def batch(step: int, rank: int | None = None) -> torch.Tensor:
    """Return the tokens of a step: rank's share of them, or all."""
    whole = torch.randint(0, 7, (WORLD, 3, 4), generator=torch.Generator().manual_seed(step))
    return whole.flatten(0, 1) if rank is None else whole[rank]


def loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    return model(tokens).square().mean()


def alone(plan, kind, options, steps=STEPS, micro=1):
    """Train in this process on everyone's batches."""
    model = small()
    optimizer = kind(model.named_parameters(), **options)
    attach(optimizer, plan, STEPS, model=model)
    for step in range(steps):
        for i in range(micro):
            (loss(model, batch(step * micro + i)) / micro).backward()
        optimizer.step()
        optimizer.zero_grad()
    return dict(model.named_parameters())


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach()


def assert_close(model, reference, tolerance=1e-10):
    for name, p in model.named_parameters():
        torch.testing.assert_close(whole(p), reference[name].detach(), rtol=tolerance, atol=tolerance)


# Cases


def ddp(rank, folder, kinds=tuple(KINDS), decays=tuple(DECAYS[1:2])):
    """Two micro-batches a step, the first under no_sync; masks by name on the wrapped model."""
    for name in kinds:
        kind, options = KINDS[name]
        for decay in decays:
            plan = dw.Plan(0.02, SCHEDULE, decay, groups=(dw.Group("head", "head.*", 2.0),))
            wrapped = DistributedDataParallel(small())
            optimizer = kind(wrapped.named_parameters(), **options)
            controller = attach(optimizer, plan, STEPS, model=wrapped)
            for step in range(STEPS):
                with wrapped.no_sync():
                    (loss(wrapped, batch(2 * step, rank)) / 2).backward()
                (loss(wrapped, batch(2 * step + 1, rank)) / 2).backward()
                optimizer.step()
                optimizer.zero_grad()
            assert controller.step == STEPS
            assert_close(wrapped.module, alone(plan, kind, options, micro=2))


def ddp_all(rank, folder):
    ddp(rank, folder, decays=DECAYS)


def sharded(mesh):
    model = small()
    for layer in (model.embed, *(part for block in model.block for part in block.values()), model.head):
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def fsdp2(rank, folder, masks=(None,), decays=tuple(DECAYS)):
    mesh = init_device_mesh("cpu", (WORLD,))
    for kind, options in KINDS.values():
        for decay in decays:
            for mask in masks:
                plan = dw.Plan(0.02, SCHEDULE, decay, mask or dw.Mask())
                model = sharded(mesh)
                optimizer = kind(model.parameters(), **options)
                controller = attach(optimizer, plan, STEPS, model=model)
                for step in range(STEPS):
                    loss(model, batch(step, rank)).backward()
                    optimizer.step()
                    optimizer.zero_grad()
                assert controller.step == STEPS
                assert_close(model, alone(plan, kind, options))


def masks(rank, folder):
    """By name, kind and number of axes: what falls where on the sharded model is what falls where on the plain one."""
    mesh = init_device_mesh("cpu", (WORLD,))
    assert [p._replace(key=None) for p in params(sharded(mesh))] == [p._replace(key=None) for p in params(small())]
    rules = [
        dw.Mask((dw.Rule("name", "block.1.*", False), *dw.Mask().rules)),
        dw.Mask((dw.Rule("kind", "Embedding", False), dw.Rule("kind", "LayerNorm", True), *dw.Mask().rules)),
        dw.Mask((dw.Rule("ndim", "1", True),)),
    ]
    fsdp2(rank, folder, rules, DECAYS[:2])


def resume(rank, folder):
    """Saved by torch.distributed.checkpoint in the middle, loaded into new objects: bit for bit, on two ranks."""
    mesh = init_device_mesh("cpu", (WORLD,))
    for name, (kind, options) in KINDS.items():
        for decay in (dw.independent(0.1), dw.l2(dw.linear(start=0.3, end=0.1))):
            plan = dw.Plan(0.02, SCHEDULE, decay)

            def started(kind=kind, options=options, plan=plan):
                model = sharded(mesh)
                optimizer = kind(model.parameters(), **options)
                return model, optimizer, attach(optimizer, plan, STEPS, model=model)

            def run(model, optimizer, steps):
                for step in steps:
                    loss(model, batch(step, rank)).backward()
                    optimizer.step()
                    optimizer.zero_grad()

            place = Path(folder) / f"{name}-{decay.convention}"
            model, optimizer, _ = started()
            run(model, optimizer, range(20))
            state = {"model": get_model_state_dict(model), "optim": get_optimizer_state_dict(model, optimizer)}
            checkpoints.save(state, checkpoint_id=place)
            run(model, optimizer, range(20, STEPS))
            other, second, controller = started()
            state = {"model": get_model_state_dict(other), "optim": get_optimizer_state_dict(other, second)}
            assert controller.step == 0
            checkpoints.load(state, checkpoint_id=place)
            set_model_state_dict(other, state["model"])
            set_optimizer_state_dict(other, second, state["optim"])
            assert controller.step == 20
            run(other, second, range(20, STEPS))
            for a, b in zip(model.parameters(), other.parameters(), strict=True):
                assert torch.equal(a.to_local(), b.to_local())


def accelerated(rank, folder):
    """Accelerate's own schedulers step once a process; the plan once an update, attached before or after prepare."""
    from accelerate import Accelerator

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD), "MASTER_PORT": "0"}
    acc, plan = Accelerator(cpu=True, gradient_accumulation_steps=2), dw.Plan(0.02, SCHEDULE, DECAYS[2])
    assert acc.num_processes == WORLD
    reference = alone(plan, torch.optim.AdamW, {}, micro=2)
    for before in (True, False):
        model = small()
        optimizer = torch.optim.AdamW(model.named_parameters())
        controller = attach(optimizer, plan, STEPS, model=model) if before else None
        prepared, optimizer = acc.prepare(model, optimizer)
        controller = controller or attach(optimizer, plan, STEPS, model=prepared)
        for step in range(2 * STEPS):
            with acc.accumulate(prepared):
                acc.backward(loss(prepared, batch(step, rank)))
                optimizer.step()
                optimizer.zero_grad()
        assert controller.step == STEPS
        assert_close(model, reference)


def observed(rank, folder):
    """Ranks that saw different losses decide the same, by their mean; alone each would have cut at another time."""
    model = small()
    optimizer = torch.optim.SGD(model.named_parameters())
    rule = dw.plateau(0.5, patience=1)
    controller = attach(optimizer, dw.Plan(0.1), STEPS, model=model, feedback=rule)
    losses = [[4.0, 3.0, 3.0, 3.0, 3.0], [4.0, 3.0, 2.0, 1.0, 1.0]]
    mean = [sum(pair) / WORLD for pair in zip(*losses, strict=True)]
    factors = [controller.observe(value) for value in losses[rank]]
    lone = attach(torch.optim.SGD(small().parameters()), dw.Plan(0.1), STEPS, feedback=rule)
    assert factors == [lone.observe(value, reduce="none") for value in mean]
    assert factors[-1] == 1.0
    assert controller.lr == 0.1
    mine = attach(torch.optim.SGD(small().parameters()), dw.Plan(0.1), STEPS, feedback=rule)
    own = [mine.observe(value, reduce="none") for value in losses[rank]]
    assert own[-1] == (0.5 if rank == 0 else 1.0)


def refused(rank, folder):
    """What cannot work says so, and on every rank."""
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = small()
    zero = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=0.1)
    flat = FullyShardedDataParallel(small(), device_id=torch.device("cpu"), use_orig_params=True)
    for optimizer, owner in ((zero, model), (torch.optim.AdamW(flat.parameters()), flat)):
        groups = [list(group["params"]) for group in optimizer.param_groups]
        with pytest.raises(InvalidValueError, match="fully_shard"):
            attach(optimizer, dw.Plan(0.1, decay=dw.decoupled(0.1)), STEPS, model=owner)
        assert [len(group["params"]) for group in optimizer.param_groups] == [len(group) for group in groups]


def main() -> None:
    rank, folder, *cases = sys.argv[1:]
    warnings.filterwarnings("ignore", module="torch")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=int(rank), world_size=WORLD, timeout=timedelta(seconds=60)
    )
    for case in cases:
        globals()[case](int(rank), folder)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
