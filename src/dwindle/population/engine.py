"""The engine on NumPy: one chunk of members from their first weights to their last: steps, evaluations, divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dwindle.population.data import Prepared, epoch_order
from dwindle.population.dropout import is_kept, member_key
from dwindle.population.legs import Leg, State
from dwindle.population.network import Buffers, Drop, Parameters, evaluate, gradient, layer_views
from dwindle.population.tables import Tables
from dwindle.population.update import Slots, descend
from dwindle.population.values import MLP, Optimiser, initial_weights

__all__ = ["Job", "Record", "train_chunk"]

Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that `train` was asked, checked and converted."""

    mlp: MLP
    optimiser: Optimiser
    tables: Tables
    parts: dict[str, Prepared]
    seeds: Sequence[int]
    batch_size: int
    evaluations: NDArray[np.int64]
    own_order: bool
    order_seed: int
    dtype: np.dtype[Any]

    @property
    def steps(self) -> int:
        """The number of optimiser steps, T."""
        return len(self.tables.fold)


class Record:
    """Where chunks write their members' results; every chunk has rows of its own, NaN until written."""

    def __init__(self, job: Job) -> None:
        members = len(job.seeds)
        curves = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy", "squared_norm")
        self.curves = {name: np.full((members, len(job.evaluations)), np.nan) for name in curves}
        self.finals = {name: np.full(members, np.nan) for name in ("test_loss", "test_accuracy")}
        self.diverged = np.zeros(members, bool)
        self.stopped_at = np.full(members, job.steps, np.int64)
        self.weights = [np.full((members, *shape), np.nan, job.dtype) for shape in job.mlp.shapes]
        self.biases = [np.full((members, shape[1]), np.nan, job.dtype) for shape in job.mlp.shapes]

    def arrays(self) -> dict[str, Array]:
        """Return all of it by name, a row a member."""
        layers = {f"weights.{i}": w for i, w in enumerate(self.weights)}
        layers |= {f"biases.{i}": b for i, b in enumerate(self.biases)}
        return {**self.curves, **self.finals, **layers, "diverged": self.diverged, "stopped_at": self.stopped_at}

    def losses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the curves of the training and of the validation loss."""
        return self.curves["train_loss"], self.curves["validation_loss"]


def train_chunk(job: Job, record: Record, leg: Leg, begun: State | None) -> State:
    """Take a chunk along its ``leg``, write what its members did to ``record``, and return where it stands then.

    It begins with the first weights if ``begun`` is None. Returns early, with the record unfinished, as soon as
    ``leg.stopped()``.
    """
    with np.errstate(all="ignore"):  # a member that overflows is noticed at its next evaluation
        chunk = _Chunk(job, _first(job, leg.members) if begun is None else begun)
        at = {int(step): column for column, step in enumerate(job.evaluations)}
        step = 0 if begun is None else begun.step
        if begun is None:
            chunk.evaluate(0, 0, record)
        while step < leg.end and len(chunk.members):
            if leg.stopped():
                return chunk.state(step)
            leg.tick(step * len(chunk.members), len(chunk.members))
            if leg.due():
                leg.save(chunk.state(step))
            chunk.step(step)
            step += 1
            if step in at:
                chunk.evaluate(step, at[step], record)
        if step < job.steps:
            chunk.store(step, record)  # a judge may let any of them go
        else:
            chunk.finish(record)
        return chunk.state(step)


def _first(job: Job, members: NDArray[np.intp]) -> State:
    """The members before their first step."""
    first = [np.concatenate([w.ravel() for w in initial_weights(job.mlp, job.seeds[k])]) for k in members]
    weights = np.stack(first).astype(job.dtype)
    biases = np.zeros((len(members), sum(job.mlp.sizes[1:])), job.dtype)
    return State(0, members, _arrays(weights, biases, *(Slots.idle(job.optimiser, x) for x in (weights, biases))))


def _arrays(weights: Array, biases: Array, weight_slots: Slots, bias_slots: Slots) -> dict[str, Array]:
    kept = {f"weights.{i}": array for i, array in enumerate(weight_slots.kept)}
    kept |= {f"biases.{i}": array for i, array in enumerate(bias_slots.kept)}
    return {"weights": weights, "biases": biases, **kept}


class _Chunk:
    """Who is still in the chunk, their parameters, and what the optimiser keeps for them."""

    def __init__(self, job: Job, begun: State) -> None:
        self.job = job
        arrays: Mapping[str, Array] = begun.arrays
        slots = []
        for name in ("weights", "biases"):
            kept = [arrays[f"{name}.{i}"] for i in range(2) if f"{name}.{i}" in arrays]
            slots.append(Slots(kept, np.empty_like(arrays[name])))
        self._adopt(begun.step, begun.members, arrays["weights"], arrays["biases"], *slots)

    def state(self, step: int) -> State:
        """Return where the chunk stands after ``step`` steps: the arrays themselves, which a further step changes."""
        now = self.now
        return State(step, self.members, _arrays(now.weights, now.biases, self.weight_slots, self.bias_slots))

    def _adopt(
        self,
        step: int,
        members: NDArray[np.intp],
        weights: Array,
        biases: Array,
        weight_slots: Slots,
        bias_slots: Slots,
    ) -> None:
        """Make these the members of the chunk after ``step`` steps, and all buffers to their number."""
        job = self.job
        self.members, self.weight_slots, self.bias_slots = members, weight_slots, bias_slots
        self.tables = job.tables.of(members)
        self.now = Parameters(job.mlp, weights, biases, self.tables.scale[step])
        self.folds = (self.tables.fold != 1.0).any(axis=1)
        self.penalised = (self.tables.l2 != 0.0).any(axis=1)
        rows, inputs = job.batch_size, job.mlp.sizes[0]
        self.buffers = Buffers(job.mlp, len(members), rows, job.dtype)
        self.x = np.empty((len(members), rows, inputs) if job.own_order else (rows, inputs), job.dtype)
        self.orders: tuple[int, Array] = (-1, np.empty(0))
        self.keys = np.array([member_key(job.seeds[k]) for k in members], np.uint64)

    def step(self, step: int) -> None:
        """Do one optimiser step for every member."""
        job, now, tables = self.job, self.now, self.tables
        picked = self._batch(step)
        rows = picked.shape[-1]
        train, whole = job.parts["train"], rows == job.batch_size
        # Rows in range are gathered without the check, and so without a copy, of mode="raise".
        x = np.take(train.x, picked, axis=0, out=self.x[..., :rows, :] if whole else None, mode="clip")
        now.scale[:, 0, 0] = tables.scale[step]
        drop = self._drop(step) if job.mlp.dropout else None
        gradient(now, x, train.target[picked], self.buffers if whole else self.buffers.first(rows), drop)
        self._update(step)

    def _drop(self, step: int) -> Drop:
        """What each hidden layer's activations are multiplied by in this step."""
        job, share = self.job, self.job.mlp.dropout
        before, by = np.cumsum([0, *job.mlp.sizes[1:]]), job.dtype.type(1.0 / (1.0 - share))

        def drop(layer: int, a: Array) -> Array:
            first, (_, rows, units) = job.batch_size * int(before[layer]), a.shape
            return np.asarray(is_kept(self.keys, step, first, rows, units, share) * by)

        return drop

    def _update(self, step: int) -> None:
        """Turn the gradients into u ← fold·u - move·direction(∂C/∂w + l2·s·u), and b ← b - lr·direction(∂C/∂b)."""
        optimiser, now, tables = self.job.optimiser, self.now, self.tables
        w, g, eps = now.weights, now.weight_grads, float(tables.eps[step])
        if self.penalised[step]:
            spare = np.multiply(w, tables.l2[step][:, None], out=self.weight_slots.spare)
            np.add(g, spare, out=g)
        if self.folds[step]:
            np.multiply(w, tables.fold[step][:, None], out=w)
        descend(optimiser, w, g, self.weight_slots, tables.move[step][:, None], eps)
        descend(optimiser, now.biases, now.bias_grads, self.bias_slots, tables.lr[step][:, None], eps)

    def _batch(self, step: int) -> Array:
        """The rows of the training set for this step: (rows,) for all members, or (k, rows), each its own."""
        job, total = self.job, len(self.job.parts["train"].x)
        epoch, batch = divmod(step, -(-total // job.batch_size))
        if self.orders[0] != epoch:
            seeds = [job.seeds[k] for k in self.members] if job.own_order else [job.order_seed]
            orders = np.stack([epoch_order(total, seed, epoch) for seed in seeds])
            self.orders = (epoch, orders if job.own_order else orders[0])
        return self.orders[1][..., batch * job.batch_size : (batch + 1) * job.batch_size]

    def evaluate(self, step: int, column: int, record: Record) -> None:
        """Write every curve at ``step``, then let go of the members that diverged."""
        scale = self.tables.scale[step]
        self.now.scale[:, 0, 0] = scale
        squares = np.array([np.dot(u, u) for u in (row.astype(np.float64) for row in self.now.weights)]) * scale**2
        values = {"squared_norm": squares}
        for part in ("train", "validation"):
            if part in self.job.parts:
                values[f"{part}_loss"], values[f"{part}_accuracy"] = evaluate(self.now, self.job.parts[part])
        sound = np.isfinite(self.now.biases).all(axis=1) & np.isfinite(squares) & np.isfinite(values["train_loss"])
        for name, value in values.items():
            record.curves[name][self.members, column] = np.where(sound, value, np.nan)
        if not sound.all():
            record.diverged[self.members[~sound]] = True
            record.stopped_at[self.members[~sound]] = step
            self.store(step, record)
            self._keep(step, np.flatnonzero(sound))

    def finish(self, record: Record) -> None:
        """Write the test results and the last weights; nobody is left then."""
        self.store(self.job.steps, record)
        if "test" in self.job.parts and len(self.members):
            loss, accuracy = evaluate(self.now, self.job.parts["test"])
            record.finals["test_loss"][self.members], record.finals["test_accuracy"][self.members] = loss, accuracy
        self._keep(self.job.steps, np.empty(0, np.intp))

    def store(self, step: int, record: Record) -> None:
        """Write the weights after ``step`` steps."""
        scaled = self.now.weights * self.tables.scale[step][:, None]
        for layer, w in enumerate(layer_views(scaled, self.job.mlp.shapes)):
            record.weights[layer][self.members] = w
            record.biases[layer][self.members] = self.now.b[layer][:, 0]

    def _keep(self, step: int, rows: NDArray[np.intp]) -> None:
        slots = (self.weight_slots.of(rows), self.bias_slots.of(rows))
        self._adopt(step, self.members[rows], self.now.weights[rows], self.now.biases[rows], *slots)
