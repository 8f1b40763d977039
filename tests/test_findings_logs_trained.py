"""The doctor for logs on runs that were really trained: small networks on the shipped images, and a regression for the floor."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

import dwindle as dw
from dwindle.findings import of_history
from dwindle.logs import History, Series
from dwindle.studies.data import load

Array = Any


@cache
def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    data = load("fashion")
    torch.set_num_threads(1)
    x, y, held_x, held_y = data.train_x, data.train_y, data.validation_x, data.validation_y
    return torch.tensor(x).float(), torch.tensor(y).long(), torch.tensor(held_x).float(), torch.tensor(held_y).long()


def sgd(
    lrs: Array, *, seed: int, n: int | None = None, batch: int = 64, momentum: float = 0.9, weight_decay: float = 0.0,
    dead: bool = False, lost: int | None = None, points: int = 150, hidden: int = 48, each: bool = False, adam: bool = False,
) -> History:  # fmt: skip
    """Return the log of a network trained at these rates; the loss is the mean since the point before, or of one batch."""
    x, y, held_x, held_y = images()
    draw = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    chosen = torch.randperm(len(x), generator=draw)[:n]
    x, y = x[chosen], y[chosen]
    layers = (
        [torch.nn.Linear(x.shape[1], hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 10)]
        if hidden
        else [torch.nn.Linear(x.shape[1], 10)]
    )
    net = torch.nn.Sequential(*layers)
    if dead:
        with torch.no_grad():
            layers[0].bias.fill_(-200.0)
    weights = [p for p in net.parameters() if p.ndim > 1]
    opt: Any = (
        torch.optim.AdamW(net.parameters(), lr=1.0, weight_decay=weight_decay)
        if adam
        else torch.optim.SGD(net.parameters(), lr=1.0, momentum=momentum, weight_decay=weight_decay)
    )
    steps, every, cost = len(lrs), max(1, len(lrs) // points), torch.nn.functional.cross_entropy
    seen: dict[str, list[tuple[int, float]]] = {k: [] for k in ("lr", "loss", "val", "grad", "norm", "epoch", "wd")}
    recent, order, at = [], torch.randperm(len(x), generator=draw), 0
    for t, lr in enumerate(lrs):
        if at + batch > len(x):
            order, at = torch.randperm(len(x), generator=draw), 0
        rows, at = order[at : at + batch], at + batch
        opt.param_groups[0]["lr"] = float(lr)
        opt.zero_grad()
        loss = cost(net(x[rows]), y[rows])
        loss.backward()
        recent.append(loss.item())
        if t % every == 0:
            grad = torch.sqrt(sum((p.grad**2).sum() for p in net.parameters() if p.grad is not None)).item()
            norm = torch.sqrt(sum((w**2).sum() for w in weights)).item()
            told = recent[-1] if each else float(np.mean(recent))
            for key, value in {
                "lr": lr,
                "loss": told,
                "grad": grad,
                "norm": norm,
                "epoch": t * batch / len(x),
                "wd": weight_decay,
            }.items():
                seen[key].append((t, float(value)))
            recent = []
        opt.step()
        if t == lost:
            for layer in layers:
                if isinstance(layer, torch.nn.Linear):
                    layer.reset_parameters()
        if t % max(1, steps // 25) == 0 or t == steps - 1:
            with torch.no_grad():
                seen["val"].append((t, cost(net(held_x), held_y).item()))
    roles = {
        "lr": "lr", "training loss": "loss", "validation loss": "val", "gradient norm": "grad", "weight "
        "norm": "norm", "epoch": "epoch",
        "weight decay": "wd",
    }  # fmt: skip
    return History("run", {k: Series(k, *zip(*v, strict=True)) for k, v in seen.items()}, roles)


def regression(lrs: Array, *, seed: int, size: int = 20, noise: float = 1.0) -> History:
    """Return the log of least squares on fresh examples each step: what is left is the noise and what the rate makes of it."""
    rng = np.random.default_rng(seed)
    scale = np.arange(1, size + 1) ** -0.5
    true, w = 3.0 * rng.standard_normal(size), np.zeros(size)
    seen, recent = [], []
    for t, lr in enumerate(lrs):
        x = scale * rng.standard_normal((8, size))
        off = x @ (w - true) + noise * rng.standard_normal(8)
        recent.append(float(np.mean(off**2) / 2))
        w = w - lr * x.T @ off / 8
        if t % 20 == 0:
            seen.append((t, np.mean(recent), lr))
            recent = []
    step, loss, rate = np.array(seen).T
    return History(
        "run",
        {"loss": Series("loss", step, loss), "lr": Series("lr", step, rate)},
        {"training loss": "loss", "lr": "lr"},
    )


def rattle(lr: float, *, seed: int, steps: int = 300) -> History:
    """Return the log of the mean absolute error of a line under full gradients, which jump over the lowest point and back."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(41), rng.standard_normal(41)])
    y = x @ [3.0, -2.0] + 0.02 * rng.standard_normal(41)
    w, seen = np.zeros(2), []
    for t in range(steps):
        off = x @ w - y
        seen.append((t, np.abs(off).mean(), lr))
        w = w - lr * x.T @ np.sign(off) / len(y)
    step, loss, rate = np.array(seen).T
    return History(
        "run",
        {"loss": Series("loss", step, loss), "lr": Series("lr", step, rate)},
        {"training loss": "loss", "lr": "lr"},
    )


def plan(text: str, steps: int, peak: float = 0.05) -> Array:
    return dw.parse(f"peak {peak} | {text}").lrs(steps)


def codes(history: History, *, notes: bool = False) -> set[str]:
    return {f.code for f in of_history(history) if notes or f.severity != "note"}


HEALTHY = (
    "constant", "warmup 5%, cosine", "linear", "piecewise at [50% 75%] factors [1 0.1 0.01]",
    "warmup 2%, constant, linear to 0% over 20%", "warmup 30% from 4% shape cosine, cosine to 0.0004%",
)  # fmt: skip


@pytest.mark.parametrize("text", HEALTHY)
@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_wrong_with_a_short_good_training(text: str, seed: int) -> None:
    steps = 300
    assert codes(sgd(plan(text, steps, 0.02), seed=seed)) == set()


FAULTS: dict[str, tuple[str, Callable[[int], History]]] = {
    "memorised": ("overfitting", lambda s: sgd(plan("cosine", 1000), seed=s, n=200, batch=20)),
    "dead": ("plateau", lambda s: sgd(plan("cosine", 300), seed=s, dead=True)),
    "no rate left": ("plateau", lambda s: sgd(0.05 * np.exp(-np.arange(600) / 12.0), seed=s)),
    "blown up": ("divergence", lambda s: sgd(np.where(np.arange(400) < 200, 0.03, 30.0), seed=s)),
    "too hot": ("warmup-missing", lambda s: sgd(plan("cosine", 300, 0.03), seed=s, adam=True, points=300, each=True, hidden=256)),
    "half of it warm-up": ("warmup-long", lambda s: sgd(plan("warmup 50%, cosine", 300), seed=s)),
    "over at a third": ("schedule-short", lambda s: sgd(np.append(plan("cosine", 130), np.zeros(270)), seed=s)),
    "made for three runs": ("schedule-long", lambda s: sgd(plan("cosine", 900)[:300], seed=s)),
    "cut at once": ("cut-early", lambda s: sgd(np.where(np.arange(900) < 60, 0.01, 0.0003), seed=s, momentum=0.5)),
    "past its end": ("lr-rise", lambda s: sgd(0.025 * (1 + np.cos(np.pi * np.arange(400) / 250)), seed=s)),
    "decay wins": ("lr-lambda-large", lambda s: sgd(plan("cosine", 500, 0.02), seed=s, momentum=0.0, weight_decay=2.0)),
    "schedule anew": ("wrong-resume", lambda s: sgd(np.append(plan("cosine", 400)[:220], plan("cosine", 400)[:180]), seed=s)),
    "weights anew": ("wrong-resume", lambda s: sgd(plan("cosine", 400), seed=s, lost=230)),
    "held up": ("noise-floor", lambda s: regression(np.full(8000, 0.3), seed=s)),
    "cut at last": ("cut-late", lambda s: regression(np.where(np.arange(8000) < 6500, 0.6, 0.01), seed=s)),
    "rattles": ("oscillation", lambda s: rattle(0.3, seed=s)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.parametrize("seed", range(3))
def test_a_fault_of_a_real_training_is_found(kind: str, seed: int) -> None:
    code, train = FAULTS[kind]
    assert code in codes(train(seed), notes=True)
