"""One chunk of members from their first weights to their last: steps, evaluations, divergence, what is kept on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call, grad, vmap
from torch.utils._pytree import TreeSpec, tree_leaves, tree_unflatten

from dwindle.errors import InvalidValueError, shown
from dwindle.population import Optimiser, Rates, epoch_order
from dwindle.population.dropout import member_key
from dwindle.population.legs import Leg, State
from dwindle.population.modules.graph import TRACING, Program, explained, trace
from dwindle.population.modules.kept import given_back
from dwindle.population.modules.layers import Layers, step_keys
from dwindle.population.modules.members import Members
from dwindle.population.modules.update import descend, idle_slots, steps_of

__all__ = ["Form", "Function", "Job", "Part", "Record", "gradients", "refuse_mixed", "scalar", "train_chunk"]

Tensor: TypeAlias = torch.Tensor
Function: TypeAlias = Callable[[Any, Tensor], Tensor]

EVALUATED_ROWS = 128
OUTPUT_BYTES = 256 * 2**20  # of the outputs for all rows that are held at once, if those of one member are no more
KEPT_SHARE = 0.75  # a chunk is made smaller, and traced anew, when no more than this share of it is left


class Part(NamedTuple):
    """Examples on the device."""

    x: Tensor
    y: Tensor


class Form(NamedTuple):
    """What the module gives: the tuples, lists and dicts around its tensors, and the bytes of one example's."""

    outline: TreeSpec
    bytes: int

    def of(self, leaves: Sequence[Tensor]) -> Any:
        """Return the tensors ``leaves`` as the module would give them."""
        return tree_unflatten(leaves, self.outline)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """All that `train_modules` was asked, checked and converted."""

    members: Members
    form: Form
    loss: Function
    metrics: Mapping[str, Function]
    optimiser: Optimiser
    rates: Rates
    parts: Mapping[str, Part]
    seeds: Sequence[int]
    batch_size: int
    evaluations: NDArray[np.int64]
    own_order: bool
    order_seed: int
    programs: dict[tuple[Any, ...], Program] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """The number of training examples."""
        return len(self.parts["train"].y)


class Record:
    """Where chunks write their members' results; every chunk has rows of its own, NaN until written."""

    def __init__(self, job: Job) -> None:
        members, columns = len(job.seeds), len(job.evaluations)
        names = ["loss", *(f"metric.{name}" for name in job.metrics)]
        self.curves = {f"{part}.{name}": np.full((members, columns), np.nan) for part in job.parts for name in names}
        self.curves["squared_norm"] = np.full((members, columns), np.nan)
        self.diverged = np.zeros(members, bool)
        self.stopped_at = np.full(members, job.rates.steps, np.int64)
        self.weights = [torch.full_like(p, torch.nan, device="cpu") for p in job.members.parameters]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it by name, a row a member."""
        weights = {f"weights.{i}": w.numpy() for i, w in enumerate(self.weights)}
        return {**self.curves, **weights, "diverged": self.diverged, "stopped_at": self.stopped_at}

    def losses(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the curves of the training and of the validation loss."""
        train = self.curves["train.loss"]
        return train, self.curves.get("validation.loss", np.full_like(train, np.nan))


def output_of(members: Members, parameters: Sequence[Tensor], own: Sequence[Tensor], x: Tensor) -> Any:
    """Return what the module of one member gives."""
    named = dict(zip(members.names, parameters, strict=True)) | dict(zip(members.own, own, strict=True))
    return functional_call(members.module, {**members.shared, **named}, (x,))


def gradients(members: Members, loss: Function, given: Sequence[Tensor], batch: int | None) -> Any:
    """Return the gradients of each member's loss, of ``given``: all parameters, own tensors, keys, x and y.

    ``batch``: the axis of the members in x and y, None where they share them.
    """
    count = len(members.names)

    def one(parameters: tuple[Tensor, ...], own: tuple[Tensor, ...], key: Tensor, x: Tensor, y: Tensor) -> Tensor:
        with Layers(key):
            return loss(output_of(members, parameters, own, x), y)

    own, (keys, x, y) = tuple(given[count:-3]), given[-3:]
    return vmap(grad(one), (0, 0, 0, batch, batch))(tuple(given[:count]), own, keys, x, y)


def scalar(name: str, value: Any) -> Tensor:
    """Return ``value`` if it is what a loss or metric must be; else raise."""
    if isinstance(value, Tensor) and not value.ndim:
        return value
    said = tuple(value.shape) if isinstance(value, Tensor) else shown(value)
    raise InvalidValueError(
        f"{name.removeprefix('metric.')}(output, y) must be a scalar tensor; got {said}. Take the mean over the examples."
    )


def refuse_mixed(output: Any, rows: int) -> None:
    """Raise unless all that a module gave for ``rows`` examples has an example a row, so that blocks of them can be joined."""
    for leaf in tree_leaves(output):
        if not isinstance(leaf, Tensor) or not leaf.ndim or len(leaf) != rows:
            said = f"a tensor of shape {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else shown(leaf)
            raise InvalidValueError(
                f"the module gives {said} for {rows} examples; it must give tensors with an example a row, (rows, ...), or "
                "tuples, lists and dicts of them. Change what its forward returns."
            )


def _rows(p: Tensor) -> Tensor:
    """Return ``p`` (members, ...) with all numbers of a member in one row, also the only one of a scalar."""
    return p.unsqueeze(-1).flatten(1)


def train_chunk(job: Job, record: Record, leg: Leg, begun: State | None) -> State:
    """Take a chunk along its ``leg``, write what its members did to ``record``, and return where it stands then.

    It begins with the first weights if ``begun`` is None. Returns early, with the record unfinished, as soon as
    ``leg.stopped()``.
    """
    chunk = _Chunk(job, record, leg.members, begun)
    step = 0 if begun is None else begun.step
    if begun is None:
        chunk.evaluate(0)
    while step < leg.end and chunk.alive.any():
        if leg.stopped():
            return chunk.state(step)
        running = int(chunk.alive.sum())
        leg.tick(step * running, running)
        if leg.due():
            leg.save(chunk.state(step))
        chunk.step(step)
        step += 1
        if step in chunk.columns:
            chunk.evaluate(step)
    if step < job.rates.steps:
        chunk.keep(chunk.alive)  # a judge may let any of them go
    else:
        chunk.finish()
    return chunk.state(step)


class _Chunk:
    """Who is still in the chunk, their parameters, and what the optimiser keeps for them.

    ``members`` has a number for each row of the tensors; a row that is not ``alive`` is computed, as its neighbours are,
    until so few are left that it pays to leave the others out.
    """

    def __init__(self, job: Job, record: Record, members: NDArray[np.intp], begun: State | None) -> None:
        self.job, self.record = job, record
        self.columns = {int(step): column for column, step in enumerate(job.evaluations)}
        self.orders: tuple[int, Tensor | None] = (-1, None)
        if begun is None:
            parameters = [p[members].clone() for p in job.members.parameters]
            self._adopt(members, np.ones(len(members), bool), parameters, idle_slots(job.optimiser, parameters))
        else:
            rows, device = begun.arrays["rows"], job.members.parameters[0].device
            count = len({name.split(".")[0] for name in begun.arrays} - {"rows"})
            parameters, *slots = (
                [torch.from_numpy(begun.arrays[f"{i}.{name}"]).to(device) for name in job.members.names]
                for i in range(count)
            )
            self._adopt(rows, np.isin(rows, begun.members), parameters, slots)
            self._shrink()

    def state(self, step: int) -> State:
        """Return where the chunk stands after ``step`` steps; what is on the CPU is not copied."""
        arrays: dict[str, NDArray[Any]] = {}
        if self.alive.any():
            arrays["rows"] = self.members
            for i, now in enumerate([self.parameters, *self.slots]):
                arrays |= {f"{i}.{name}": t.cpu().numpy() for name, t in zip(self.job.members.names, now, strict=True)}
        return State(step, self.members[self.alive], arrays)

    def _adopt(
        self, members: NDArray[np.intp], alive: NDArray[np.bool_], parameters: list[Tensor], slots: list[list[Tensor]]
    ) -> None:
        job = self.job
        self.members, self.alive, self.parameters, self.slots = members, alive, parameters, slots
        self.own = {name: tensor[members] for name, tensor in job.members.own.items()}
        self.steps = steps_of(job.rates, job.optimiser, members, parameters[0])
        keys = step_keys([member_key(job.seeds[k]) for k in members], job.rates.steps)
        self.keys = torch.from_numpy(keys).to(parameters[0].device)

    # Steps

    def step(self, step: int) -> None:
        """Do one optimiser step for every member."""
        job = self.job
        train, picked = job.parts["train"], self._batch(step)
        x, y = (t[picked] if job.own_order else t.index_select(0, picked) for t in train)
        given = [*self.parameters, *self.own.values(), self.keys[step], x, y]
        program = self._program("step", given, x.shape, self._stepped)
        with torch.no_grad():
            gradients = program(*given)
            descend(job.optimiser, self.parameters, gradients, self.slots, job.members.decaying, self.steps, step)

    def _batch(self, step: int) -> Tensor:
        """The indices of the mini-batch: (rows,), or (members, rows) if every member has its own order."""
        job = self.job
        epoch, batch = divmod(step, -(-job.rows // job.batch_size))
        if self.orders[0] != epoch:
            seeds = [job.seeds[k] for k in self.members] if job.own_order else [job.order_seed]
            orders = torch.from_numpy(np.stack([epoch_order(job.rows, seed, epoch) for seed in seeds]))
            self.orders = epoch, (orders if job.own_order else orders[0]).to(job.parts["train"].x.device)
        order = self.orders[1]
        assert order is not None
        return order[..., batch * job.batch_size : (batch + 1) * job.batch_size]

    def _program(self, kind: str, given: list[Tensor], shape: tuple[int, ...], step: Callable[..., Any]) -> Program:
        """The traced ``step``, shared by all chunks of as many members; the lock lets only one of them trace it."""
        name = (kind, len(given[0]), *shape)
        if name not in self.job.programs:
            with TRACING:
                if name not in self.job.programs:
                    self.job.members.module.train(kind == "step")
                    with given_back(self.job.members.module, self.job.loss):
                        self.job.programs[name] = trace(step, given)
        return self.job.programs[name]

    def _stepped(self, *given: Tensor) -> Any:
        """The gradients of the loss of each member, by the parameters."""
        job = self.job
        return gradients(job.members, job.loss, given, 0 if job.own_order else None)

    # Evaluations

    def evaluate(self, step: int) -> None:
        """Write column of ``step``, and let go of the members that diverged."""
        with torch.no_grad():
            found = {"train": self._measured(self.job.parts["train"])}
            finite = torch.stack([_rows(p).isfinite().all(1) for p in self.parameters]).all(0).cpu().numpy()
            finite &= np.isfinite(found["train"]["loss"])
            gone = self.alive & ~finite
            if gone.any():
                self.record.diverged[self.members[gone]] = True
                self.record.stopped_at[self.members[gone]] = step
                self.keep(gone)
            self.alive = self.alive & ~gone
            if "validation" in self.job.parts and self.alive.any():
                found["validation"] = self._measured(self.job.parts["validation"])
            squares = [_rows(p.double()).square().sum(1) for p in self.parameters[: self.job.members.decaying]]
        rows, column = self.members[self.alive], self.columns[step]
        for part, values in found.items():
            for name, value in values.items():
                self.record.curves[f"{part}.{name}"][rows, column] = value[self.alive]
        norms = sum(squares[1:], squares[0]).cpu().numpy() if squares else np.zeros(len(self.members))
        self.record.curves["squared_norm"][rows, column] = norms[self.alive]
        self._shrink()

    def _shrink(self) -> None:
        """Leave out the rows that are not alive, if they are many."""
        rows = self.members[self.alive]
        if 0 < self.alive.sum() <= KEPT_SHARE * len(self.members):
            left = torch.from_numpy(np.flatnonzero(self.alive)).to(self.parameters[0].device)
            slots = [[t[left] for t in kept] for kept in self.slots]
            self._adopt(rows, np.ones(len(rows), bool), [p[left] for p in self.parameters], slots)
            self.orders = (-1, None)

    def _measured(self, part: Part) -> dict[str, NDArray[np.float64]]:
        """The loss and the metrics of each member, each asked once of all of ``part``: it need be no mean over the rows."""
        job, count = self.job, len(self.members)
        functions = {"loss": job.loss, **{f"metric.{name}": function for name, function in job.metrics.items()}}
        found = {name: np.full(count, np.nan) for name in functions}
        together = max(OUTPUT_BYTES // (job.form.bytes * len(part.y)), 1)
        for start in range(0, count, together):
            outputs = zip(*self._outputs(part.x, slice(start, start + together)), strict=True)
            with TRACING:  # a function may be a module
                for row, leaves in enumerate(outputs, start):
                    for name, function in functions.items() if self.alive[row] else ():
                        found[name][row] = float(scalar(name, function(job.form.of(leaves), part.y)))
                        if part is job.parts["train"] and not np.isfinite(found["loss"][row]):
                            break  # it diverged: what a metric makes of such outputs nobody hears
        return found

    def _outputs(self, x: Tensor, those: slice) -> list[Tensor]:
        """The tensors that the modules of ``those`` members give for all of ``x``, each (members, examples, ...)."""
        members = [t[those] for t in (*self.parameters, *self.own.values())]
        blocks = []
        for start in range(0, len(x), EVALUATED_ROWS):
            first = max(min(start, len(x) - EVALUATED_ROWS), 0)  # the last begins in the one before: one trace for all
            rows = x[first : first + EVALUATED_ROWS]
            given = [*members, rows]
            if len(rows) == EVALUATED_ROWS:
                found = self._program("evaluation", given, rows.shape, self._evaluated)(*given)
            else:  # so few are not worth a trace of their own
                with TRACING, explained(), given_back(self.job.members.module):
                    self.job.members.module.eval()
                    found = self._evaluated(*given)
            for leaf in found:
                refuse_mixed(leaf[0], len(rows))
            blocks.append([leaf[:, start - first :] for leaf in found])
        return [torch.cat(parts, 1) for parts in zip(*blocks, strict=True)]

    def _evaluated(self, *given: Tensor) -> Any:
        count = len(self.parameters)

        def leaves(parameters: tuple[Tensor, ...], own: tuple[Tensor, ...], x: Tensor) -> list[Any]:
            with Layers(None):
                return tree_leaves(output_of(self.job.members, parameters, own, x))

        return vmap(leaves, (0, 0, None))(given[:count], given[count:-1], given[-1])

    # Ends

    def finish(self) -> None:
        """Write the finals and the last weights of those that are left; nobody is alive then."""
        if "test" in self.job.parts and self.alive.any():
            with torch.no_grad():
                for name, value in self._measured(self.job.parts["test"]).items():
                    self.record.curves[f"test.{name}"][self.members[self.alive], -1] = value[self.alive]
        self.keep(self.alive)
        self.alive = np.zeros_like(self.alive)

    def keep(self, those: NDArray[np.bool_]) -> None:
        """Write the weights of these rows as they are now."""
        rows = torch.from_numpy(np.flatnonzero(those))
        for kept, now in zip(self.record.weights, self.parameters, strict=True):
            kept[self.members[those]] = now[rows.to(now.device)].cpu()
