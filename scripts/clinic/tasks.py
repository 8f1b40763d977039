"""What is trained: real data that needs no download, and small models."""

from __future__ import annotations

import math
import pydoc_data.topics
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import sklearn.datasets
import torch
from torch import nn

from dwindle.studies import load

CONTEXT = 32


@dataclass(frozen=True)
class Data:
    """Training and validation tensors, and how many numbers a model answers; of a text, windows of ``CONTEXT`` characters."""

    x: Any
    y: Any
    held_x: Any
    held_y: Any
    outputs: int
    kind: str  # "classes", "number" or "text"


@cache
def data(name: str, examples: int = 0, noise: float = 0.0, seed: int = 0) -> Data:
    """Return the first ``examples`` rows in the order of ``seed`` (0: all), the share ``noise`` of labels drawn again."""
    rng = np.random.default_rng(seed)
    if name == "text":
        return _text(examples, rng)
    if name == "fashion":
        held = load("fashion")
        x, y, held_x, held_y = held.train_x, held.train_y, held.validation_x, held.validation_y
        kind, outputs = "classes", 10
        order = rng.permutation(len(x))
        x, y = x[order], y[order]
    else:
        bunch = getattr(sklearn.datasets, f"load_{name}")()
        all_x, all_y = np.asarray(bunch.data, float), np.asarray(bunch.target)
        order = rng.permutation(len(all_x))
        all_x = (all_x - all_x.mean(0)) / (all_x.std(0) + 1e-8)
        kind, outputs = ("number", 1) if name == "diabetes" else ("classes", int(all_y.max()) + 1)
        if kind == "number":
            all_y = (all_y - all_y.mean()) / all_y.std()
        cut = len(order) * 7 // 10
        x, y, held_x, held_y = (a[part] for part in (order[:cut], order[cut:]) for a in (all_x, all_y))
    x, y = np.array(x[: examples or None]), np.array(y[: examples or None])
    if noise:
        wrong = rng.random(len(y)) < noise
        y[wrong] = rng.integers(outputs, size=int(wrong.sum()))
    target = torch.float32 if kind == "number" else torch.int64
    flat = [torch.tensor(np.asarray(a).reshape(len(a), -1), dtype=torch.float32) for a in (x, held_x)]
    return Data(
        flat[0], torch.tensor(y, dtype=target), flat[1], torch.tensor(np.array(held_y), dtype=target), outputs, kind
    )


def _text(examples: int, rng: np.random.Generator) -> Data:
    text = "".join(pydoc_data.topics.topics[key] for key in sorted(pydoc_data.topics.topics))
    letters = {c: i for i, c in enumerate(sorted(set(text)))}
    ids = torch.tensor([letters[c] for c in text])
    start = int(rng.integers(0, 200_000))
    windows = [
        part.unfold(0, CONTEXT + 1, CONTEXT) for part in (ids[start : start + (examples or 150_000)], ids[-20_000:])
    ]
    parts = [part for window in windows for part in (window[:, :-1], window[:, 1:])]
    return Data(*parts, len(letters), "text")


class Lines(nn.Module):
    """A small causal transformer over characters; ``first`` puts the normalisation before each block, as is usual now."""

    def __init__(
        self, outputs: int, width: int = 32, layers: int = 2, first: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(outputs, width)
        self.place = nn.Embedding(CONTEXT, width)
        block = [
            nn.TransformerEncoderLayer(width, 4, 4 * width, dropout, batch_first=True, norm_first=first)
            for _ in range(layers)
        ]
        self.blocks = nn.ModuleList(block)
        self.norm = nn.LayerNorm(width) if first else nn.Identity()
        self.head = nn.Linear(width, outputs)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT), persistent=False)

    def forward(self, ids: Any) -> Any:
        h = self.embedding(ids) + self.place.weight[: ids.shape[1]]
        for block in self.blocks:
            h = block(h, src_mask=self.mask, is_causal=True)
        return self.head(self.norm(h))


def model(name: str, task: Data, dropout: float = 0.0, width: int = 64) -> nn.Module:
    """Return a fresh model, its weights drawn from torch's generator."""
    if name in ("transformer", "transformer-after"):
        return Lines(task.outputs, width, first=name == "transformer", dropout=dropout)
    if name == "bigram":
        return nn.Sequential(nn.Embedding(task.outputs, width), nn.Linear(width, task.outputs))
    inputs = task.x.shape[1]
    if name == "linear":
        return nn.Linear(inputs, task.outputs)
    if name.startswith("cnn"):
        side = round(inputs**0.5)
        normal = [nn.BatchNorm2d(8), nn.BatchNorm2d(16)] if name == "cnn-bn" else [nn.Identity(), nn.Identity()]
        stride, left = (2, math.ceil(math.ceil(side / 2) / 2)) if side > 10 else (1, side)
        first = nn.Conv2d(1, 8, 3, stride, 1, bias=name != "cnn-bn")
        second = nn.Conv2d(8, 16, 3, stride, 1, bias=name != "cnn-bn")
        body = [first, normal[0], nn.ReLU(), second, normal[1], nn.ReLU(), nn.Flatten(), nn.Dropout(dropout)]
        return nn.Sequential(nn.Unflatten(1, (1, side, side)), *body, nn.Linear(16 * left * left, task.outputs))
    depth = {"mlp": 1, "mlp2": 2, "mlp-bn": 2, "deep": 8, "deep-sigmoid": 6}[name]
    layers: list[nn.Module] = []
    for k in range(depth):
        layers.append(nn.Linear(width if k else inputs, width))
        if name == "mlp-bn":
            layers.append(nn.BatchNorm1d(width))
        layers.append(nn.Sigmoid() if name == "deep-sigmoid" else nn.ReLU())
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(width, task.outputs))
