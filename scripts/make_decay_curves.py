"""Make the loss curves over weight decay λ × peak learning rate × schedule that dwindle ships.

    python scripts/make_decay_curves.py [--out FILE] [--seed SEED]

A network of SIZES learns a random one, the teacher, by AdamW: in each of STEPS steps from BATCH fresh examples whose labels
are drawn from the teacher's softmax, so that no example is seen twice. What is logged is the cross-entropy with the teacher's
probabilities over HELD_OUT further examples: the expected loss, the lowest possible one included. The inputs are standard
normal, the i-th one relevant to the teacher by i^-FALL. Decay is decoupled, of the weight matrices. All members have the same
first weights, examples and batches, so that they differ by their plan alone; one core, some minutes.

Run again on the same machine the file is the same to the byte; on another, float32 sums round otherwise, and curves differ
by what that grows to in training.
"""

from __future__ import annotations

import argparse
import gzip
import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import dwindle as dw
from dwindle.laws.decay_curves import SHIPPED
from dwindle.population import MLP, Adam, Rates, initial_weights
from dwindle.population.blas import single_threaded
from dwindle.population.data import Prepared
from dwindle.population.network import Buffers, Parameters, evaluate, gradient
from dwindle.population.tables import tabulate
from dwindle.population.update import Slots, descend

SIZES, TEACHER = (64, 128, 10), (64, 128, 10)
STEPS, BATCH, HELD_OUT, WARMUP, EVERY = 4000, 64, 4096, 100, 75
SHARPNESS = 2.0  # of the teacher: what its outputs are multiplied by
FALL = 1.0  # the first weights of the teacher fall so with the number of the input
LAMBDAS = (0.0, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0)
PEAKS = (1e-3, 2e-3, 4e-3, 8e-3)
AFTER_WARMUP = (
    "constant", "linear to 0%", "cosine to 10%", "constant, linear to 0% over 10%", "constant, linear to 0% over 20%",
    "constant, linear to 0% over 40%", "piecewise at [2000st 3200st] factors [1 0.3 0.1]", "exponential by 0.02 every 3900st",
)  # fmt: skip
TOGETHER = 32  # members in a chunk
ADAM = Adam(beta2=0.99)

Array = NDArray[Any]


def schedules() -> list[str]:
    return [f"warmup {WARMUP}st, {after}" for after in AFTER_WARMUP]


def plans() -> list[tuple[float, float, str]]:
    """Return (λ, peak, schedule) of every member."""
    return [(lam, peak, schedule) for schedule, peak, lam in product(schedules(), PEAKS, LAMBDAS)]


def rates(members: list[tuple[float, float, str]]) -> Rates:
    found = [dw.parse(f"peak {peak!r} | {schedule} | decoupled {lam!r}") for lam, peak, schedule in members]
    lr = np.stack([plan.lrs(STEPS) for plan in found])
    return Rates(lr, 1.0 - lr * np.array([[lam] for lam, _, _ in members]))


class Teacher:
    """Draws examples: inputs of falling variance, and the probabilities that the teacher gives its classes."""

    def __init__(self, seed: int) -> None:
        mlp = MLP(TEACHER)
        self.seed, (self.first, self.last) = seed, initial_weights(mlp, seed)
        relevance = np.arange(1, TEACHER[0] + 1) ** -FALL
        self.first *= (relevance * np.sqrt(TEACHER[0] / np.sum(relevance**2)))[:, None]

    def draw(self, stream: int, rows: int) -> tuple[Array, Array, np.random.Generator]:
        """Return inputs (rows, inputs), probabilities (rows, classes), and the generator to go on with."""
        generator = np.random.default_rng([self.seed, 1, stream])
        x = generator.standard_normal((rows, TEACHER[0]))
        z = SHARPNESS * np.maximum(x @ self.first, 0.0) @ self.last
        odds = np.exp(z - z.max(axis=1, keepdims=True))
        return x.astype(np.float32), odds / odds.sum(axis=1, keepdims=True), generator

    def held_out(self) -> Prepared:
        x, target, _ = self.draw(0, HELD_OUT)
        return Prepared(x, target.astype(np.float32), None)

    def batch(self, step: int) -> tuple[Array, Array]:
        """Return the inputs and the drawn labels, one-hot, of a step."""
        x, target, generator = self.draw(1 + step, BATCH)
        label = (target.cumsum(axis=1) < generator.random((BATCH, 1))).sum(axis=1)
        return x, np.eye(TEACHER[-1], dtype=np.float32)[np.minimum(label, TEACHER[-1] - 1)]


def logged() -> list[int]:
    """Return the steps after which the loss is measured: from the end of the warm-up on."""
    return [step for step in range(WARMUP, STEPS + 1) if (STEPS - step) % EVERY == 0]


def curves(members: list[tuple[float, float, str]], seed: int) -> Iterator[Array]:
    """Yield the losses [logged] of every member, in chunks [members of the chunk, logged]."""
    teacher = Teacher(seed)
    held_out, batches = teacher.held_out(), [teacher.batch(step) for step in range(STEPS)]
    for start in range(0, len(members), TOGETHER):
        yield chunk(members[start : start + TOGETHER], held_out, batches, seed)


def chunk(
    members: list[tuple[float, float, str]], held_out: Prepared, batches: list[tuple[Array, Array]], seed: int
) -> Array:
    """Train members together. `train` would measure the loss on all training examples too, which are too many here."""
    mlp, k, tables = MLP(SIZES), len(members), tabulate(rates(members), ADAM, np.dtype(np.float32))
    first = np.concatenate([w.ravel() for w in initial_weights(mlp, seed + 1)]).astype(np.float32)
    now = Parameters(mlp, np.tile(first, (k, 1)), np.zeros((k, sum(SIZES[1:])), np.float32), tables.scale[0])
    slots, bias_slots = Slots.idle(ADAM, now.weights), Slots.idle(ADAM, now.biases)
    buffers, at, found = Buffers(mlp, k, BATCH, np.dtype(np.float32)), set(logged()), []
    for step, (x, target) in enumerate(batches):
        now.scale[:, 0, 0] = tables.scale[step]
        gradient(now, x, target, buffers)
        now.weights *= tables.fold[step][:, None]
        eps = float(tables.eps[step])
        descend(ADAM, now.weights, now.weight_grads, slots, tables.move[step][:, None], eps)
        descend(ADAM, now.biases, now.bias_grads, bias_slots, tables.lr[step][:, None], eps)
        if step + 1 in at:
            now.scale[:, 0, 0] = tables.scale[step + 1]
            found.append(evaluate(now, held_out)[0])
    return np.stack(found, axis=1)


def text(members: list[tuple[float, float, str]], losses: Array) -> str:
    lines = ["lam,peak,schedule,step,loss"]
    for (lam, peak, schedule), curve in zip(members, losses, strict=True):
        lines += [f'{lam:g},{peak:g},"{schedule}",{s},{loss:.5f}' for s, loss in zip(logged(), curve, strict=True)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the curves, to a temporary name first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="file to write to")
    parser.add_argument("--seed", type=int, default=0, help="of the teacher, the first weights and the examples")
    options = parser.parse_args()
    members, made = plans(), list[Array]()
    with single_threaded():
        for part in curves(members, options.seed):
            made.append(part)
            print(f"{sum(map(len, made)):4} of {len(members)} members trained", flush=True)
    data = gzip.compress(text(members, np.concatenate(made)).encode(), 9, mtime=0)
    options.out.with_suffix(".tmp").write_bytes(data)
    os.replace(options.out.with_suffix(".tmp"), options.out)
    print(f"{len(data):,} bytes  {options.out}")


if __name__ == "__main__":
    main()
