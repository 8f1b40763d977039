"""One training as a value, with everything that can be wrong in it; and what it gave."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss
from torch.optim.lr_scheduler import ReduceLROnPlateau

from . import tasks


@dataclass(frozen=True)
class Resume:
    """The run dies after ``crash`` of its steps and goes on from a checkpoint written at ``saved``; ``lost`` is not in it.

    ``lost`` may hold "schedule" (built anew), "optimizer" (moments at zero), "counter" (the logged step begins at 0 again)
    and "rows" (the rows after the checkpoint are not logged twice).
    """

    saved: float
    crash: float
    lost: tuple[str, ...] = ()


@dataclass(frozen=True)
class Job:
    """What is trained and how. ``ticks``: scheduler steps for one of the optimiser, or "epoch". ``batch`` 0: all at once."""

    data: str = "fashion"
    model: str = "mlp"
    optimizer: str = "adamw"
    lr: float = 1e-3
    schedule: Callable[[Any, int], Any] | None = None
    ticks: int | str = 1
    steps: int = 1000
    batch: int = 32
    decay: float = 0.0
    examples: int = 0
    noise: float = 0.0
    width: int = 64
    dropout: float = 0.0
    smoothing: float = 0.0
    clip: float = 0.0
    start: str = ""
    evaluate: int = 0
    resume: Resume | None = None
    seed: int = 0
    stop_on: float = math.inf  # a loss above it, or NaN, ends the run a little later


@dataclass
class Trained:
    """What a run gave, a list a quantity: ``step`` as logged (1 is the first), the rest as after that step."""

    job: Job
    per_epoch: int
    step: list[int] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    grad_norm: list[float] = field(default_factory=list)
    weight_norm: list[float] = field(default_factory=list)
    evaluated: list[dict[str, float]] = field(default_factory=list)  # step, row, train, val, val_accuracy

    def mean(self, begin: float, end: float) -> float:
        """Return the mean batch loss over a part of the rows."""
        n = len(self.loss)
        return float(np.mean(self.loss[int(begin * n) : max(int(end * n), int(begin * n) + 1)]))

    def at(self, what: str, share: float = 1.0) -> float:
        """Return what was evaluated last up to that share of the rows."""
        rows = [e for e in self.evaluated if e["row"] <= share * len(self.loss) + 1e-9]
        return rows[-1][what]

    def least(self, what: str) -> tuple[float, float]:
        """Return the least value evaluated, and the share of the run it came at."""
        best = min(self.evaluated, key=lambda e: e[what])
        return best[what], best["row"] / len(self.loss)


def _optimizer(job: Job, model: nn.Module) -> Any:
    decaying = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": job.decay}, {"params": others, "weight_decay": 0.0}]
    if job.optimizer in ("sgd", "momentum"):
        return torch.optim.SGD(groups, job.lr, momentum=0.9 if job.optimizer == "momentum" else 0.0)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "rmsprop": torch.optim.RMSprop}[job.optimizer](
        groups, job.lr
    )


def _start(model: nn.Module, how: str) -> None:
    kind, _, size = how.partition(" ")
    with torch.no_grad():
        for module in model.modules():
            if kind == "zeros" and isinstance(module, nn.Linear):
                module.weight.zero_()
                module.bias.zero_()
            elif kind == "dead" and isinstance(module, nn.Linear):  # every ReLU asleep
                module.bias.fill_(-float(size))
            elif kind == "large" and isinstance(module, nn.Linear | nn.Conv2d):
                module.weight.mul_(float(size))


def _loss(kind: str, answer: Any, y: Any, smoothing: float = 0.0) -> Any:
    if kind == "number":
        return mse_loss(answer.squeeze(-1), y)
    if kind == "text":
        return cross_entropy(answer.flatten(0, 1), y.flatten(), label_smoothing=smoothing)
    return cross_entropy(answer, y, label_smoothing=smoothing)


def _evaluated(model: nn.Module, task: tasks.Data) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        out = {"train": float(_loss(task.kind, model(task.x[:1000]), task.y[:1000]))}
        answer = model(task.held_x[:1000])
        out["val"] = float(_loss(task.kind, answer, task.held_y[:1000]))
        right = answer.argmax(-1) == task.held_y[:1000] if task.kind != "number" else torch.zeros(1)
        out["val_accuracy"] = float(right.float().mean())
    model.train()
    return out


def train(job: Job) -> Trained:
    """Train, and return everything that a log could hold."""
    task = tasks.data(job.data, job.examples, job.noise, job.seed)
    torch.manual_seed(job.seed)
    model = tasks.model(job.model, task, job.dropout, job.width)
    _start(model, job.start)
    optimizer = _optimizer(job, model)
    batch = job.batch or len(task.x)
    per_epoch = max(1, len(task.x) // batch)
    scheduler = job.schedule(optimizer, job.steps) if job.schedule else None
    found = Trained(job, per_epoch)
    order = torch.Generator().manual_seed(job.seed + 1)
    resume = job.resume
    saved: Any = None
    shift, t, trouble, permutation = 0, 0, 0, torch.arange(len(task.x))
    while t < job.steps and trouble < 30:
        if resume and saved is None and t == round(resume.saved * job.steps):
            saved = copy.deepcopy((model.state_dict(), optimizer.state_dict(), scheduler and scheduler.state_dict()))
        if resume and t == round(resume.crash * job.steps):
            t = round(resume.saved * job.steps)
            model.load_state_dict(saved[0])
            optimizer = _optimizer(job, model)
            scheduler = job.schedule(optimizer, job.steps) if job.schedule else None
            if "optimizer" not in resume.lost:
                optimizer.load_state_dict(saved[1])
            if scheduler and "schedule" not in resume.lost:
                scheduler.load_state_dict(saved[2])
                for group, lr in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                    group["lr"] = lr
            elif scheduler:
                for group, lr in zip(optimizer.param_groups, scheduler.get_last_lr(), strict=True):
                    group["lr"] = lr
            if "counter" in resume.lost:
                shift = t
            if "rows" in resume.lost:
                keep = [i for i, s in enumerate(found.step) if s <= t]
                for values in (found.step, found.lr, found.loss, found.grad_norm, found.weight_norm):
                    values[:] = [values[i] for i in keep]
                found.evaluated = [e for e in found.evaluated if e["step"] <= t]
            resume = None
        if job.batch and t % per_epoch == 0:
            permutation = torch.randperm(len(task.x), generator=order)
        rows = permutation[(t % per_epoch) * batch :][:batch] if job.batch else permutation
        optimizer.zero_grad()
        loss = _loss(task.kind, model(task.x[rows]), task.y[rows], job.smoothing)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(model.parameters(), job.clip or math.inf))
        lr = optimizer.param_groups[0]["lr"]
        optimizer.step()
        t += 1
        ends = t % per_epoch == 0
        found.step.append(t - shift)
        found.lr.append(float(lr))
        found.loss.append(float(loss.detach()))
        found.grad_norm.append(norm)
        found.weight_norm.append(float(torch.stack([p.detach().norm() for p in model.parameters()]).norm()))
        trouble += not found.loss[-1] < job.stop_on
        if t % (job.evaluate or per_epoch) == 0 or t == job.steps:
            found.evaluated.append({"step": t - shift, "row": len(found.loss), **_evaluated(model, task)})
        if scheduler is not None and isinstance(scheduler, ReduceLROnPlateau):
            if ends:
                scheduler.step(np.mean(found.loss[-per_epoch:]))
        elif scheduler is not None and job.ticks == "epoch":
            if ends:
                scheduler.step()
        elif scheduler is not None:
            for _ in range(int(job.ticks)):
                scheduler.step()
    return found
