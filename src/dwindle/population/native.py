"""The native engine: members one after the other, each for many steps at a call, on compiled kernels that hold no GIL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import dwindle.population.kernels as kernels
from dwindle.population.activations import CODES
from dwindle.population.data import Prepared, epoch_order
from dwindle.population.dropout import member_key, threshold
from dwindle.population.engine import Job, Record
from dwindle.population.kernels import Member, Net, Pace, Room
from dwindle.population.legs import Leg, State
from dwindle.population.tiles import LINE
from dwindle.population.values import Adam, initial_weights

__all__ = ["Native"]

Array: TypeAlias = NDArray[Any]

_KEPT = ("weights", "first", "second", "biases", "bias_first", "bias_second")
_EVALUATION_ROWS = 96  # a whole number of tiles
_CALL_FLOPS = 1e9  # some hundredths of a second: so soon a thread hears that it should leave


class Native:
    """What all chunks of a job share: the network's layout, and the examples on lines of their own."""

    def __init__(self, job: Job) -> None:
        self.job, mlp = job, job.mlp
        shapes = mlp.shapes
        self.line = LINE // job.dtype.itemsize
        widths = np.array([self._whole(size) for size in mlp.sizes])
        apart = np.array([self._apart(int(width)) for width in widths])
        self.room_rows = max(job.batch_size, _EVALUATION_ROWS)
        table = np.zeros((len(shapes), kernels.COLUMNS), np.int64)
        table[:, kernels.WIDTH], table[:, kernels.OUT] = widths[:-1], widths[1:]
        table[:, kernels.APART], table[:, kernels.OUT_APART] = apart[:-1], apart[1:]
        table[:, kernels.UNITS] = mlp.sizes[1:]
        weights, outputs = apart[:-1] * mlp.sizes[1:], apart[1:] * self.room_rows
        counted = (
            (kernels.WEIGHTS, weights), (kernels.BIASES, widths[1:]), (kernels.ROOM, outputs),
            (kernels.PLACE, job.batch_size * np.array(mlp.sizes[1:])),
        )  # fmt: skip
        for column, sizes in counted:
            table[1:, column] = np.cumsum(sizes)[:-1]
        self.weights, self.biases, self.outputs = int(weights.sum()), int(widths[1:].sum()), int(outputs.sum())
        activation, loss = (codes[name] for codes, name in zip(CODES, (mlp.activation, mlp.loss), strict=True))
        self.net = Net(table, activation, loss, mlp.dropout, np.uint64(threshold(mlp.dropout)))
        self.parts = {name: self._laid_out(part) for name, part in job.parts.items()}
        flops = 6 * job.batch_size * mlp.parameters + 5e4  # and what a step costs besides
        self.steps_at_once = max(1, int(_CALL_FLOPS / flops))
        if isinstance(job.optimiser, Adam):
            self.keeps, used = (job.optimiser.beta1, job.optimiser.beta2), (False, False, True)
        else:
            momentum = job.optimiser.momentum
            self.keeps, used = (momentum, 0.0), (momentum > 0.0, job.optimiser.nesterov, False)
        self.flags = tuple(flag or None for flag in used)

    def train_chunk(self, record: Record, leg: Leg, begun: State | None) -> State:
        """Do what `engine.train_chunk` does."""
        job, chunk = self.job, _Chunk(self, leg.members, begun)
        at = {int(step): column for column, step in enumerate(job.evaluations)}
        step = 0 if begun is None else begun.step
        if begun is None:
            chunk.evaluate(0, 0, record)
        while step < leg.end and chunk.members:
            if leg.due():
                leg.save(chunk.state())
            following = job.evaluations[np.searchsorted(job.evaluations, step, side="right")]
            end = min(step + self.steps_at_once, int(following))
            shared = self._batches(step, end, [] if job.own_order else [job.order_seed])
            for count, one in enumerate(chunk.members):
                if leg.stopped():
                    return chunk.state()
                leg.tick(step * len(chunk.members) + (end - step) * count, len(chunk.members))
                if one.step >= end:  # it had come so far when the others were stopped
                    continue
                starts, orders = shared
                if job.own_order or one.step != step:
                    seed = job.seeds[one.number] if job.own_order else job.order_seed
                    starts, orders = self._batches(one.step, end, [seed])
                one.run(one.step, orders[0], starts)
            step = end
            if step in at:
                chunk.evaluate(step, at[step], record)
        if step < job.steps:
            chunk.store(step, record)  # a judge may let any of them go
        else:
            chunk.finish(record)
        return chunk.state()

    def _batches(self, step: int, end: int, seeds: list[int]) -> tuple[NDArray[np.int64], list[NDArray[np.intp]]]:
        """Return where the batches of these steps begin in each of the orders: whole epochs in a row, one order a seed."""
        total, size = len(self.job.parts["train"].x), self.job.batch_size
        each = -(-total // size)
        first, last = step // each, -(-end // each)
        steps = np.arange(step, end + 1)
        starts = (steps // each - first) * total + steps % each * size
        return starts, [np.concatenate([epoch_order(total, seed, e) for e in range(first, last)]) for seed in seeds]

    def room(self) -> Room:
        """Return what a thread computes in."""
        outputs = [self.empty(self.outputs) for _ in range(3)]
        table, size = self.net.layers, self.job.dtype.itemsize
        rows = np.zeros((len(table), self.room_rows), np.int64)
        for layer, (apart, at) in enumerate(table[:-1, [kernels.OUT_APART, kernels.ROOM]]):
            rows[layer + 1] = outputs[0].ctypes.data + (at + apart * np.arange(self.room_rows)) * size
        a, slope, delta = outputs
        w_rows = np.zeros(max(self.job.mlp.sizes[1:]), np.int64)
        return Room(a, slope, delta, self.empty(self.biases), rows, np.zeros_like(rows[0]), w_rows)

    def empty(self, numbers: int) -> Array:
        """Return so many zeros, from a line's beginning on."""
        raw = np.zeros(numbers + self.line, self.job.dtype)
        skip = -raw.ctypes.data % LINE // self.job.dtype.itemsize
        return raw[skip : skip + numbers]

    def _whole(self, numbers: int) -> int:
        return -(-numbers // self.line) * self.line

    def _apart(self, numbers: int) -> int:
        """Return how far apart rows of so many are: an odd number of lines, or all would meet in few places of the cache."""
        lines = numbers // self.line
        return numbers + self.line if lines >= 4 and lines % 2 == 0 else numbers

    def _laid_out(self, part: Prepared) -> Prepared:
        apart = self._apart(self._whole(part.x.shape[1]))
        x = self.empty(len(part.x) * apart).reshape(len(part.x), apart)
        x[:, : part.x.shape[1]] = part.x
        return Prepared(x, part.target, np.zeros(len(part.x), np.intp) if part.label is None else part.label)


class _One:
    """One member: its weights and all else that its kernels are called with."""

    def __init__(self, native: Native, number: int, room: Room, kept: Mapping[str, Array] | None = None) -> None:
        self.native, self.number, self.room = native, number, room
        job, first, second = native.job, any(native.flags), isinstance(native.job.optimiser, Adam)
        w, b = native.weights, native.biases
        self.state = Member(
            native.empty(w), native.empty(w * first), native.empty(w * second),
            native.empty(b), native.empty(b * first), native.empty(b * second), np.uint64(member_key(job.seeds[number])),
        )  # fmt: skip
        if kept is None:
            self.step = 0
            for view, drawn in zip(self.layers(), initial_weights(job.mlp, job.seeds[number]), strict=True):
                view[:] = drawn.T
        else:
            self.step = int(kept["step"])
            for name in _KEPT:
                getattr(self.state, name)[:] = kept[name]
        scale, fold, move, lr, l2 = (
            np.ascontiguousarray(getattr(job.tables, name)[:, number]) for name in ("scale", "fold", "move", "lr", "l2")
        )
        keep1, keep2 = (job.dtype.type(keep) for keep in native.keeps)
        self.pace = Pace(scale, fold, move, lr, l2, job.tables.eps, keep1, keep2)

    def layers(self) -> list[Array]:
        """Return views of the weights u, (fan_out, fan_in) each."""
        views = []
        table, sizes = self.native.net.layers, self.native.job.mlp.sizes
        for row, inputs in zip(table, sizes[:-1], strict=True):
            units, apart, at = (int(row[i]) for i in (kernels.UNITS, kernels.APART, kernels.WEIGHTS))
            views.append(self.state.weights[at : at + units * apart].reshape(units, apart)[:, :inputs])
        return views

    def run(self, step: int, order: NDArray[np.intp], starts: NDArray[np.int64]) -> None:
        """Take the steps from ``step`` on whose batches begin at ``starts`` in ``order``."""
        native, part = self.native, self.native.parts["train"]
        kernels.run(
            native.net, self.state, self.pace, self.room, part.x, part.target, order, starts, step, *native.flags
        )  # fmt: skip
        self.step = step + len(starts) - 1

    def losses(self, part: Prepared, scale: float) -> tuple[float, float]:
        """Return (loss, accuracy)."""
        loss, right = kernels.evaluate(self.native.net, self.state, self.room, scale, part.x, part.target, part.label)
        return float(loss), float(right)


class _Chunk:
    """Members that a thread trains, those that have not diverged."""

    def __init__(self, native: Native, members: NDArray[np.intp], begun: State | None) -> None:
        self.native, room = native, native.room()
        if begun is None:
            self.members = [_One(native, int(k), room) for k in members]
        else:
            rows = ({name: array[row] for name, array in begun.arrays.items()} for row in range(len(begun.members)))
            self.members = [_One(native, int(k), room, kept) for k, kept in zip(begun.members, rows, strict=True)]

    def state(self) -> State:
        """Return where the chunk stands: a copy. Of members that are stopped some are a round ahead of the others."""
        if not self.members:
            return State(0, np.empty(0, np.intp), {})
        arrays: dict[str, Array] = {
            name: np.stack([getattr(one.state, name) for one in self.members]) for name in _KEPT
        }
        steps = arrays["step"] = np.array([one.step for one in self.members])
        return State(int(steps.min()), np.array([one.number for one in self.members], np.intp), arrays)

    def evaluate(self, step: int, column: int, record: Record) -> None:
        """Write every curve at ``step``, then let go of the members that diverged."""
        left = []
        for one in self.members:
            if self._is_sound(one, step, column, record):
                left.append(one)
            else:
                record.diverged[one.number] = True
                record.stopped_at[one.number] = step
                self._store(one, step, record)
        self.members = left

    def _is_sound(self, one: _One, step: int, column: int, record: Record) -> bool:
        job, scale, k = self.native.job, float(one.pace.scale[step]), one.number
        values = {"squared_norm": kernels.square(one.state.weights) * scale**2}
        for part in ("train", "validation"):
            if part in job.parts:
                values[f"{part}_loss"], accuracy = one.losses(self.native.parts[part], scale)
                values[f"{part}_accuracy"] = accuracy if job.parts[part].label is not None else np.nan
        sound = (
            np.isfinite(one.state.biases).all() and np.isfinite([values["squared_norm"], values["train_loss"]]).all()
        )
        if sound:
            for name, value in values.items():
                record.curves[name][k, column] = value
        return bool(sound)

    def store(self, step: int, record: Record) -> None:
        """Write the weights after ``step`` steps."""
        for one in self.members:
            self._store(one, step, record)

    def finish(self, record: Record) -> None:
        """Write the test results and the last weights; nobody is left then."""
        job = self.native.job
        for one in self.members:
            self._store(one, job.steps, record)
            if "test" in job.parts:
                loss, accuracy = one.losses(self.native.parts["test"], float(one.pace.scale[job.steps]))
                record.finals["test_loss"][one.number] = loss
                if job.parts["test"].label is not None:
                    record.finals["test_accuracy"][one.number] = accuracy
        self.members = []

    def _store(self, one: _One, step: int, record: Record) -> None:
        scale = one.pace.scale[step]
        for layer, (u, row) in enumerate(zip(one.layers(), self.native.net.layers, strict=True)):
            begins, units = int(row[kernels.BIASES]), int(row[kernels.UNITS])
            record.weights[layer][one.number] = (u * scale).T
            record.biases[layer][one.number] = one.state.biases[begins : begins + units]
