"""A log as the laws of training take it: step, learning rate and loss, row by row."""

from __future__ import annotations

import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DataError, a_path, shown
from dwindle.logs.block import Block, Cells
from dwindle.logs.filtered import FILTER, filtered_tail
from dwindle.logs.gather import (
    counted_on,
    epochs_of,
    named,
    not_counted_on,
    place,
    refuse_one_step,
    refuse_text,
)
from dwindle.logs.in_epochs import InEpochs
from dwindle.logs.names import EPOCH, LR, STEP, TRAINING, VALIDATION, kind, matches
from dwindle.logs.own_steps import OwnSteps
from dwindle.logs.points import MOST, Points
from dwindle.logs.reading import Reading
from dwindle.logs.several import Several

__all__ = ["Columns", "Log", "kind", "read"]

_NAMES = {"step": STEP, "lr": LR, "loss": (*VALIDATION, *TRAINING)}
_MEANS = {"step": "number of steps", "lr": "learning rate", "loss": "loss"}


class Columns(NamedTuple):
    """The columns that were read, by their names in the file; ``lr`` is None where there is none and none was needed."""

    step: str
    lr: str | None
    loss: str


@dataclass(frozen=True, eq=False)
class Log:
    """The rows of a log: ``step``, ``lr`` and ``loss``, float64 of shape [rows], NaN where a cell is empty.

    ``name`` is the file's, without its suffix; ``columns`` are those that were read; ``notes`` say what was chosen or left out.
    """

    name: str
    step: Any
    lr: Any
    loss: Any
    columns: Columns
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.step, self.lr, self.loss):
            array.flags.writeable = False

    def __repr__(self) -> str:
        return f"Log({self.name!r}, {len(self.step)} rows, {self.columns})"


class _Wanted(NamedTuple):
    """What is asked for by name, and whether an lr is needed."""

    step: str | None
    lr: str | None
    loss: str | None
    needs_lr: bool


def read(
    path: str | os.PathLike[str],
    *,
    step: str | None = None,
    lr: str | None = None,
    loss: str | None = None,
    needs_lr: bool = True,
) -> Log:
    r"""Return the steps, learning rates and losses of a log of any format that ``history`` reads.

    The columns are found by their usual names, those of the Hugging Face Trainer, Keras, Lightning and W&B among them, unless
    ``step``, ``lr`` and ``loss`` name them. A validation loss goes before a training loss, and ``notes`` say so. Steps that begin
    anew in each epoch are counted on. A training loss of exactly 0 to the end, where it was nowhere near 0, is left out; after
    fewer than eight losses it is kept, and ``notes`` say so. Where ``needs_lr`` is False a file without learning rates is read
    too, and ``lr`` is NaN. Rows beyond 2¹⁸ are merged pair by pair: the mean of two losses; step and lr of the row whose loss is
    used, the later of two.

    What cannot be read is left out, counted, and said in ``notes`` with the first lines. Raises DataError, with file, line and
    what to do, if the file cannot be opened, a column is missing or several could be it, a column holds no number, or the steps
    do not tell where a row stands.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.csv")
    ...     _ = path.write_text("iter,lr,train_loss,val_loss\n100,0.5,3.25,\n200,0.5,3.00,3.5\n")
    ...     log = read(path)
    >>> log.columns
    Columns(step='iter', lr='lr', loss='val_loss')
    >>> log.loss.tolist(), log.notes
    ([nan, 3.5], ("the validation loss 'val_loss' was read, not 'train_loss'",))
    """
    wanted = _Wanted(step, lr, loss, needs_lr)
    found: dict[str, list[str]] | None = None
    length: float | None = None
    empty: list[str] = []  # columns of losses that hold none
    counts: set[str] = set()
    while True:
        reading = Reading(a_path("path", path)).begun()
        if found is None:
            found = _candidates(reading, wanted, empty)
        rows = _Rows(reading, found, length, counts)
        for block in reading.blocks():
            rows.add(block)
        settled = _candidates(reading, wanted, empty)
        if wanted.loss is None and settled == found and found["loss"] and not rows.held["loss"]:
            others = _candidates(reading, wanted, [*empty, found["loss"][0]])
            if others["loss"]:
                empty, settled = [*empty, found["loss"][0]], others
        anew = rows.epochs.begin_anew()
        if anew:
            length = rows.epochs.steps_per_epoch()
        if settled == found and not (anew and length):
            if not (more := rows.own.found()):
                break
            counts |= more
        found = settled
    used = _chosen(reading, rows, found, wanted)
    refuse_text(reading, used.step, rows.text, rows.rows)
    if anew:
        raise DataError(f"{place(reading)}: {not_counted_on(used.step)}")
    for column in empty:
        reading.tally.say(f"{shown(column)} holds no number, and {shown(used.loss)} was read")
    if length is not None:
        reading.tally.say(counted_on(used.step, length))
    rows.several.refuse(str(path))
    return _log(Path(path), reading, rows, used, wanted)


def _candidates(reading: Reading, wanted: _Wanted, empty: Sequence[str]) -> dict[str, list[str]]:
    """Return the columns that could be step, lr and loss: the one asked for, else those that are called so and not ``empty``."""
    asked = {"step": wanted.step, "lr": wanted.lr, "loss": wanted.loss}
    out = {}
    for what, name in asked.items():
        if name is not None:
            lower = [n for n in reading.names if n.lower() == name.lower()]
            out[what] = [name] if name in reading.names else lower[:1]
        elif what == "step" and reading.format == "tensorboard":
            out[what] = ["step"]
        else:
            out[what] = matches([name for name in reading.names if name not in empty], _NAMES[what])
    return out


class _Rows:
    """The rows by now: step, lr and loss."""

    def __init__(
        self, reading: Reading, found: dict[str, list[str]], length: float | None, counts: Container[str]
    ) -> None:
        self.reading, self.found = reading, found
        self.own = OwnSteps(counts)
        self.epochs = InEpochs(length)
        self.rows, self.text = 0, 0  # all rows, and those whose step is no number
        self.points = Points(_row_of, width=3)
        self.differ = dict.fromkeys(found, False)
        self.held = dict.fromkeys(found, False)
        self.several = Several()

    def add(self, block: Block) -> None:
        """Add the rows of a block in which any of the three stands."""
        table = np.full((block.rows, 3), np.nan)
        self.rows += block.rows
        self.text += len(block.text.get(self.found["step"][0], ())) if self.found["step"] else 0
        for i, what in ((1, "lr"), (2, "loss"), (0, "step")):
            names = self.found[what]
            if not names:
                continue
            table[:, i] = self._column(block, names[0], what)
            for other in names[1:]:
                cells = block.columns.get(other)
                values = np.full(block.rows, np.nan) if cells is None else cells.spread(block.rows)
                asked: Any = slice(None)
                if what == "step":  # it is asked for only where a rate or a loss stands
                    asked = ~np.isnan(values) & ~np.isnan(table[:, 1:]).all(axis=1)
                self.differ[what] |= not np.array_equal(values[asked], table[asked, i], equal_nan=True)
        if self.reading.format != "tensorboard":
            table[:, 0] = self.epochs.placed(table[:, 0], epochs_of(self.reading, block))
        if self.found["step"]:
            table[:, 0] = self.own.placed(block, self.found["step"][0], table[:, 0], self.reading.tally)
        self.several.add(block, table[:, 0])
        self.points.add(table[~np.isnan(table).all(axis=1)])

    def _column(self, block: Block, name: str, what: str) -> Any:
        cells: Cells | None = block.columns.get(name)
        if cells is None:
            return np.nan
        undefined = np.isnan(cells.value)
        self.held[what] |= not undefined.all()
        if undefined.any():
            lines = block.lines if cells.at is None else block.lines[cells.at]
            for line in lines[undefined]:
                self.reading.tally.add(f"cells of {shown(name)} that say nan count as empty", int(line), column=name)
        return cells.spread(block.rows)


def _row_of(first: Any, second: Any) -> Any:
    """Return one of two rows [n, 3] (step, lr, loss) of a pair: that with a loss, the later of two, its loss the mean of theirs.

    >>> _row_of(np.array([[1.0, 0.5, 3.0], [3.0, 0.3, 2.0]]), np.array([[2.0, 0.4, np.nan], [4.0, 0.2, 1.0]])).tolist()
    [[1.0, 0.5, 3.0], [4.0, 0.2, 1.5]]
    """
    has_first, has_second = ~np.isnan(first[:, 2]), ~np.isnan(second[:, 2])
    use_first = has_first & ~has_second
    out = np.where(use_first[:, None], first, second)
    other = np.where(use_first[:, None], second, first)
    out[:, :2] = np.where(np.isnan(out[:, :2]), other[:, :2], out[:, :2])
    both = has_first & has_second
    with np.errstate(invalid="ignore"):
        out[both, 2] = first[both, 2] / 2 + second[both, 2] / 2
    return out


def _chosen(reading: Reading, rows: _Rows, found: dict[str, list[str]], wanted: _Wanted) -> Columns:
    """Return the columns to read; raise DataError where one is missing, or several differ."""
    if not reading.names:
        raise reading.nothing()
    if reading.head is not None and len(reading.names) == 1:
        raise reading.narrow()
    used: dict[str, str | None] = {}
    for what in ("step", "lr", "loss"):
        asked = getattr(wanted, what)
        if asked is not None and not found[what]:
            named(reading, asked, reading.names)
        if what == "lr" and not found[what] and not wanted.needs_lr:
            used[what] = None
            continue
        used[what] = _column(reading, found[what], what, differ=rows.differ[what])
    if reading.epochs and wanted.step is None:
        raise DataError(
            f"{place(reading)}: the steps are epochs. Epochs are not enough: log the number of optimiser steps."
        )
    if not rows.points.seen and not rows.held["loss"]:
        nothing = not reading.tally.notes() and reading.head is not None
        raise reading.nothing() if nothing or not rows.points.seen else _empty(reading, str(used["loss"]))
    for what, column in used.items():
        if column is not None and not rows.held[what]:
            raise _empty(reading, column)
    return Columns(str(used["step"]), used["lr"], str(used["loss"]))


def _empty(reading: Reading, column: str) -> DataError:
    met = "".join(f" {note[:1].upper()}{note[1:]}." for note in reading.tally.notes({column}, {column})[:3])
    return DataError(f"{reading.path}: column {shown(column)} holds no number.{met} Is it the right column?")


def _column(reading: Reading, found: list[str], what: str, *, differ: bool) -> str:
    names, where = reading.names, place(reading)
    how = f"Name one: {what}=COLUMN, on the command line --{what} COLUMN."
    if not found:
        epochs = what == "step" and matches(names, EPOCH)
        hint = " Epochs are not enough: log the number of optimiser steps." if epochs else f" {how}"
        listed = ", ".join(shown(name) for name in names[:8]) + (", …" if len(names) > 8 else "")
        raise DataError(f"{where}: no column is called like a {_MEANS[what]}; there are {listed}.{hint}")
    if reading.twice & set(found):
        raise DataError(f"{where}: two columns are called {shown(found[0])}. Rename one.")
    if differ:
        listed = ", ".join(shown(name) for name in found[:8])
        raise DataError(f"{where}: several columns could be the {_MEANS[what]}: {listed}. {how}")
    return found[0]


def _log(path: Path, reading: Reading, rows: _Rows, used: Columns, wanted: _Wanted) -> Log:
    columns = {column for column in used if column is not None}
    notes = list(reading.tally.notes(columns, columns))
    if wanted.loss is None and kind(used.loss) == "validation":
        other = matches(reading.names, TRAINING)
        notes += [f"the validation loss {shown(used.loss)} was read, not {shown(other[0])}"] if other else []
    step, lr, loss = (column.copy() for column in rows.points.values().T)
    refuse_one_step(reading, [step[~np.isnan(step)]])
    if rows.points.stride > 1:
        notes.append(
            f"more than {MOST:,} rows: up to {rows.points.stride} neighbours were merged into one, their losses averaged"
        )
    if kind(used.loss) != "validation":
        there = np.flatnonzero(~np.isnan(loss))
        if lost := filtered_tail(loss[there]):
            loss[there[-lost:]] = np.nan
            notes.append(f"the last {lost:,} losses, which are exactly 0, were left out: {FILTER}")
        elif kept := filtered_tail(loss[there], few=True):
            notes.append(f"the last {kept:,} losses are exactly 0 and were kept, but may be no numbers: {FILTER}")
    return Log(path.stem, step, lr, loss, used, tuple(notes))
