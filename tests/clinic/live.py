"""Live set-ups of the clinic: each function builds what ``dw.doctor`` is called with. The faults are in cases.json."""

from __future__ import annotations

import copy
import math
import warnings
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

import dwindle as dw

Made = dict[str, Any]


class Reader(nn.Module):
    """A language model in small: embedding, one attention block with LayerNorm, head."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True, norm_first=True)
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 20, bias=False)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids: Any) -> Any:
        return self.head(self.norm(self.block(self.embedding(ids))))


def perceptron(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).to(dtype)


def pictures() -> nn.Module:
    torch.manual_seed(0)
    first = [
        nn.Conv2d(1, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, bias=False),
        nn.BatchNorm2d(8),
    ]
    return nn.Sequential(*first, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))


def reader(tied: bool = False) -> Reader:
    torch.manual_seed(0)
    return Reader(tied)


def apart(model: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Return the usual two groups: matrices and filters decay; vectors and embeddings do not."""
    tables = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    decays = [p for p in model.parameters() if p.ndim > 1 and id(p) not in tables]
    others = [p for p in model.parameters() if p.ndim <= 1 or id(p) in tables]
    return [{"params": decays, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def loss_of(model: nn.Module) -> Any:
    if isinstance(model, Reader):
        ids = torch.randint(20, (4, 6))
        return nn.functional.cross_entropy(model(ids).flatten(0, 1), ids.flatten())
    shape = (6, 1, 8, 8) if isinstance(model[0], nn.Conv2d) else (6, 8)  # type: ignore[index]
    x = torch.randn(shape, dtype=next(model.parameters()).dtype)
    return nn.functional.cross_entropy(model(x).float(), torch.randint(3, (6,)))


def trained(model: nn.Module, optimizer: Any, scheduler: Any, steps: int, ticks: int = 1, each: int = 1) -> None:
    """Take real steps; the scheduler ``ticks`` times every ``each`` of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in range(1, steps + 1):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
            if scheduler is not None and step % each == 0:
                for _ in range(ticks):
                    scheduler.step()


def warm_cosine(optimizer: Any, warm: int, total: int) -> Any:
    def factor(t: int) -> float:
        if t < warm:
            return (t + 1) / (warm + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (t - warm) / (total - warm))))

    return lr_scheduler.LambdaLR(optimizer, factor)


def made(model: nn.Module, optimizer: Any, scheduler: Any = None, **more: Any) -> Made:
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, **more}


# --- what decays, and does it


def bias_in_adamw() -> Made:
    model = perceptron()
    return made(model, torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.1))


def bias_in_sgd() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-3)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 500), horizon=500)


def norm_by_name() -> Made:
    model = reader()
    tables = [model.embedding.weight]
    decays = [p for n, p in model.named_parameters() if not n.endswith("bias") and p is not tables[0]]
    others = [p for n, p in model.named_parameters() if n.endswith("bias")] + tables
    groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return made(model, torch.optim.AdamW(groups, 3e-4))


def norm_of_batches() -> Made:
    model = pictures()
    decays = [p for n, p in model.named_parameters() if not n.endswith("bias")]
    others = [p for n, p in model.named_parameters() if n.endswith("bias")]
    groups = [{"params": decays, "weight_decay": 5e-3}, {"params": others, "weight_decay": 0.0}]
    return made(model, torch.optim.SGD(groups, 0.1, momentum=0.9))


def embedding_by_rank() -> Made:
    model = reader()
    decays = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decays, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return made(model, torch.optim.AdamW(groups, 3e-4))


def embedding_and_all() -> Made:
    model = reader()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-4, weight_decay=0.1)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 800), horizon=800)


def adam_with_l2() -> Made:
    model = perceptron()
    return made(model, torch.optim.Adam(apart(model, 0.01), 1e-3))


def amsgrad_with_l2() -> Made:
    model = reader()
    optimizer = torch.optim.Adam(apart(model, 1e-3), 3e-4, amsgrad=True)
    return made(model, optimizer, warm_cosine(optimizer, 50, 1000), horizon=1000)


def rounds_away_bfloat16() -> Made:
    model = perceptron(torch.bfloat16)
    return made(model, torch.optim.AdamW(apart(model, 0.1), 3e-4))


def rounds_away_float32() -> Made:
    model = perceptron()
    return made(model, torch.optim.AdamW(apart(model, 1e-3), 1e-6))


def no_gradient_none() -> Made:
    """The second head is never called: its gradient stays None."""
    model = perceptron()
    model.spare = nn.Linear(16, 5)  # type: ignore[assignment]
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    nn.functional.cross_entropy(model[:3](torch.randn(6, 8)), torch.randint(3, (6,))).backward()  # type: ignore[index,operator]
    return made(model, optimizer)


def no_gradient_zero() -> Made:
    """A branch that is multiplied by 0: its gradient is there and is 0."""
    model = perceptron()
    spare = nn.Linear(8, 3)
    model.add_module("spare", spare)
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        x = torch.randn(6, 8)
        nn.functional.cross_entropy(model[:3](x) + 0.0 * spare(x), torch.randint(3, (6,))).backward()  # type: ignore[index,operator]
        optimizer.step()
    return made(model, optimizer)


def frozen_layer() -> Made:
    model = perceptron()
    model[0].requires_grad_(False)  # type: ignore[index]
    return made(model, torch.optim.AdamW(apart(model, 0.1), 1e-3))


def frozen_backbone() -> Made:
    model = pictures()
    for part in list(model.children())[:-1]:
        part.requires_grad_(False)
    optimizer = torch.optim.SGD(apart(model, 5e-3), 0.01, momentum=0.9)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 200), horizon=200)


def scale_invariant_sgd() -> Made:
    model = pictures()
    return made(model, torch.optim.SGD(apart(model, 5e-4), 0.1, momentum=0.9))


def scale_invariant_adamw() -> Made:
    torch.manual_seed(0)
    layers = [
        nn.Linear(8, 16, bias=False),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 16, bias=False),
        nn.BatchNorm1d(16),
    ]
    model = nn.Sequential(*layers, nn.ReLU(), nn.Linear(16, 3))
    return made(model, torch.optim.AdamW(apart(model, 0.1), 1e-3))


def lambda_large_adamw() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 5.0), 0.1)
    return made(model, optimizer, warm_cosine(optimizer, 20, 1000), horizon=1000)


def lambda_large_sgd() -> Made:
    model = perceptron()
    return made(model, torch.optim.SGD(apart(model, 0.5), 1.0), horizon=2000)


# --- how long, and how often


def warm_up_long() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, warm_cosine(optimizer, 700, 1000), horizon=1000)


def warm_up_long_linear() -> Made:
    model = reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    warm = lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 600)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, 400)
    return made(model, optimizer, lr_scheduler.SequentialLR(optimizer, [warm, fall], [600]), horizon=1000)


def schedule_short_lambda() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, warm_cosine(optimizer, 20, 400), horizon=1000)


def schedule_short_linear() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    return made(model, optimizer, lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 3000), horizon=10_000)


def schedule_long_cosine() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 2700), horizon=1000)


def schedule_long_poly() -> Made:
    model = reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.PolynomialLR(optimizer, 2300), horizon=1000)


def rises_again() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, lr_scheduler.CosineAnnealingLR(optimizer, 550), horizon=1000)


def rises_again_after_warm_up() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    warm = lr_scheduler.LinearLR(optimizer, 0.01, 1.0, 50)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, 500)
    return made(model, optimizer, lr_scheduler.SequentialLR(optimizer, [warm, fall], [50]), horizon=1000)


def stepped_per_micro_batch() -> Made:
    """Twenty optimiser steps of four micro-batches each, the scheduler stepped with every one of these."""
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 400)
    trained(model, optimizer, scheduler, 20, ticks=4)
    return made(model, optimizer, scheduler, horizon=400, accumulation=4)


def stepped_per_epoch() -> Made:
    """A schedule of 1,000 steps, stepped once in 50."""
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    trained(model, optimizer, scheduler, 150, each=50)
    return made(model, optimizer, scheduler, horizon=1000)


def stepped_per_process() -> Made:
    """Thirty optimiser steps, 240 of the scheduler: each of eight processes stepped it."""
    model = reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, 500)
    trained(model, optimizer, scheduler, 30, ticks=8)
    return made(model, optimizer, scheduler, horizon=500, processes=8)


def optimizer_restored_alone() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    trained(model, optimizer, scheduler, 60)
    saved = copy.deepcopy(optimizer.state_dict())
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    optimizer.load_state_dict(saved)
    return made(model, optimizer, scheduler, horizon=200)


def scheduler_restored_alone() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    trained(model, optimizer, scheduler, 60)
    saved = scheduler.state_dict()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    scheduler.load_state_dict(saved)
    return made(model, optimizer, scheduler, horizon=200)


# --- which parameters


def twice_in_a_group() -> Made:
    model = perceptron()
    groups = apart(model, 0.1)
    groups[0]["params"] = groups[0]["params"] + groups[0]["params"][:1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return made(model, torch.optim.AdamW(groups, 1e-3))


def twice_across_groups() -> Made:
    """The second group was changed by hand after torch had looked."""
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    optimizer.param_groups[1]["params"].append(optimizer.param_groups[0]["params"][0])
    return made(model, optimizer)


def tied_head() -> Made:
    model = reader(tied=True)
    return made(model, torch.optim.AdamW(apart(model, 0.1), 3e-4))


def tied_layers() -> Made:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model[2].weight = model[0].weight
    return made(model, torch.optim.AdamW(apart(model, 0.1), 1e-3))


def head_forgotten() -> Made:
    model = perceptron()
    return made(model, torch.optim.AdamW(apart(model[0], 0.1), 1e-3))  # type: ignore[index]


def added_afterwards() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1)
    model.add_module("late", nn.Linear(3, 3))
    return made(model, optimizer)


# --- sound


def sound_fresh() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    return made(model, optimizer, warm_cosine(optimizer, 50, 1000), horizon=1000)


def sound_in_the_middle() -> Made:
    model = reader()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    trained(model, optimizer, scheduler, 80)
    return made(model, optimizer, scheduler, horizon=200)


def sound_resumed() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    trained(model, optimizer, scheduler, 60)
    saved = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 200)
    scheduler.load_state_dict(saved[1])
    optimizer.load_state_dict(saved[0])
    trained(model, optimizer, scheduler, 10)
    return made(model, optimizer, scheduler, horizon=200)


def sound_sgd_in_epochs() -> Made:
    model = pictures()
    optimizer = torch.optim.SGD(apart(model, 5e-4), 0.1, momentum=0.9)
    return made(model, optimizer, lr_scheduler.MultiStepLR(optimizer, [30, 60, 80], 0.1))


def sound_no_decay_at_all() -> Made:
    model = reader()
    return made(model, torch.optim.Adam(model.parameters(), 1e-3))


def sound_one_cycle() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1, momentum=0.9)
    return made(model, optimizer, lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=400), horizon=400)


def sound_accumulating() -> Made:
    model = perceptron()
    optimizer = torch.optim.AdamW(apart(model, 0.1), 1e-3)
    scheduler = warm_cosine(optimizer, 10, 300)
    trained(model, optimizer, scheduler, 40)
    return made(model, optimizer, scheduler, horizon=300, accumulation=4, processes=4)


def sound_attached_bfloat16() -> Made:
    model = perceptron(torch.bfloat16)
    plan = dw.parse("peak 1e-3 | warmup 2%, cosine to 10% | decoupled 0.1")
    optimizer = torch.optim.AdamW(model.named_parameters())
    dw.torch.attach(optimizer, plan, 500)
    return {**made(model, optimizer), "plan": plan, "horizon": 500}


def sound_frozen_left_out() -> Made:
    model = perceptron()
    model[0].requires_grad_(False)  # type: ignore[index]
    return made(model, torch.optim.AdamW(apart(model[2], 0.1), 1e-3))  # type: ignore[index]


def sound_plateau() -> Made:
    model = perceptron()
    optimizer = torch.optim.SGD(apart(model, 1e-3), 0.1, momentum=0.9)
    return made(model, optimizer, lr_scheduler.ReduceLROnPlateau(optimizer, patience=5))
