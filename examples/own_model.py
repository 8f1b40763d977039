"""Models of one's own in a study: `dwindle study own_model.py:cnn`, or `dwindle study own_model.py:transformer`.

A function without arguments says what is trained: the data, a function that builds the module, and where the data does not
say it a loss and metrics. Model, loss and metrics stand at the top level of the file, so that `--processes 2` can send them.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dwindle.population import Adam
from dwindle.studies import Dataset, Task, load
from dwindle.studies.data import Provenance


class Cnn(nn.Module):
    """Two convolutions and a dense layer; images come as (rows, 28, 28)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 8, 5, stride=2)
        self.second = nn.Conv2d(8, 16, 3)
        self.out = nn.Linear(16 * 5 * 5, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a number per class."""
        x = functional.relu(self.first(x.unsqueeze(1)))
        x = functional.max_pool2d(functional.relu(self.second(x)), 2)
        return self.out(x.flatten(1))


def cnn() -> Task:
    """Return a convolutional network for the shipped images of clothes; loss and accuracy follow from the data."""
    return Task(data=load("fashion"), model=Cnn, name="CNN", batch_size=50, epochs=10, evaluate_every=2)


MODULUS, WIDTH, HEADS = 47, 32, 4


class Transformer(nn.Module):
    """One causal block over the tokens `a b =`; what it says at the last one is the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(MODULUS + 1, WIDTH)
        self.places = nn.Embedding(3, WIDTH)
        self.before_attention, self.before_dense, self.last = (
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
            nn.LayerNorm(WIDTH),
        )
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.mixed = nn.Linear(WIDTH, WIDTH, bias=False)
        self.dense = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.ReLU(), nn.Linear(4 * WIDTH, WIDTH))
        self.out = nn.Linear(WIDTH, MODULUS, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a number per answer, (rows, MODULUS), for tokens (rows, 3)."""
        h = self.tokens(x) + self.places.weight
        q, k, v = (
            t.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for t in self.queries_keys_values(self.before_attention(h)).chunk(3, -1)
        )
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.mixed(attended.transpose(1, 2).flatten(2))
        h = h + self.dense(self.before_dense(h))
        return self.out(self.last(h[:, -1]))


def answer_loss(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the mean of -ln of the probability of the right answer."""
    return functional.cross_entropy(output, y)


def accuracy(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the share of right answers."""
    return (output.argmax(-1) == y).float().mean()


def sums() -> Dataset:
    """Return all a + b = c modulo 47 as tokens: half of the table to learn from, a quarter each to choose by and to report."""
    a, b = np.divmod(np.random.default_rng(0).permutation(MODULUS**2), MODULUS)
    x, y = np.stack([a, b, np.full_like(a, MODULUS)], axis=1), (a + b) % MODULUS
    half, quarter = len(x) // 2, len(x) // 4
    parts = {"train": slice(0, half), "validation": slice(half, half + quarter), "test": slice(half + quarter, None)}
    arrays = {f"{part}_{axis}": values[rows] for part, rows in parts.items() for axis, values in (("x", x), ("y", y))}
    said = Provenance("sums", steps=(f"all a + b modulo {MODULUS}, half of them to train on",))
    return Dataset(**arrays, name=f"sums modulo {MODULUS}", task="custom", provenance=said)


def transformer() -> Task:
    """Return a small transformer that learns to add modulo 47 (Power et al. 2022, arXiv:2201.02177).

    It can know its half of the table by heart. Then it answers what it has seen the other way round, b + a, and nothing
    else: about half of what was held out. Only under weight decay does it find the rule.
    """
    return Task(
        data=sums(), model=Transformer, loss=answer_loss, metrics={"accuracy": accuracy}, name="sums",
        optimiser=Adam(), batch_size=48, epochs=40, evaluate_every=4,
    )  # fmt: skip
