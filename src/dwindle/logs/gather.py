"""A whole log: every column of numbers against its steps, and which of them is what."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DataError, a_kind, a_path, known, shown, suggestion
from dwindle.logs.block import LARGEST, Block
from dwindle.logs.history import ROLES, History, Series
from dwindle.logs.in_epochs import InEpochs
from dwindle.logs.names import EPOCH, ROLE_NAMES, STEP, matches
from dwindle.logs.own_steps import OwnSteps
from dwindle.logs.points import Points, last_of, mean_of
from dwindle.logs.reading import Reading
from dwindle.logs.several import Several

__all__ = ["history", "named"]

_FIRST = 64  # columns with a role that are kept up to MOST points each
_OTHERS = 2**21  # points of all other columns together
_LAST = ("lr", "weight decay", "epoch", "batch size", "tokens")  # what is set or counted, and not to be averaged
_NO_NUMBERS = 0.1  # of the rows: so many without a number for their step, and the log is another than it seems
_SEVERAL = 3  # points of a column
_FRACTIONS = 0.1  # of the rows: where more of the epochs are not whole, they are no steps


class _Axis(NamedTuple):
    """What a step is: the unit, its column, rivals that could be it too; the steps of an epoch where it begins anew in each."""

    unit: str
    column: str | None
    rivals: tuple[str, ...] = ()
    length: float | None = None


def history(
    path: str | os.PathLike[str], *, roles: Mapping[str, str] | None = None, step: str | None = None
) -> History:
    r"""Return every column of numbers in a log, and which of them is the lr, a loss and so on.

    The format is told by the content: CSV (Keras, Lightning, timm, W&B, MLflow, pandas), JSON objects by line, Hugging Face's
    ``trainer_state.json``, a JSON of columns such as Keras' ``History.history``, TensorBoard's event files; all of these gzipped
    too; or the folder of a run: Lightning's, Hugging Face's output or a checkpoint in it, event files of a run and its restarts.
    ``roles`` maps roles (``ROLES``) to columns and ``step`` names the column of steps, where their usual names are not the ones.
    Steps that begin anew in each epoch are counted on where the epochs are sure to be of one length; else rows are counted. A row
    without a step stands at its own step of validation (``val/step``) where most of those lie between the steps of the rows
    around them, as counts of batches or evaluations do not; else at the step before it.

    Up to 2¹⁸ points of a column are kept as they are, in the order of the file. Beyond that neighbours are merged pair by pair:
    the later step; of losses, accuracies and norms the mean, NaN or infinite if either is; of rates and counters the later value.

    What cannot be read is left out, counted, and said in ``notes`` with the first lines. Raises DataError, with file, line and
    what to do, if nothing can be read, the file cannot be opened, or a column that is asked for is not there.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "run.csv")
    ...     _ = path.write_text("step,lr,train_loss,val_loss\n100,0.5,3.25,\n200,0.5,low,3.5\n")
    ...     run = history(path)
    >>> run.roles["validation loss"], run.get("training loss").value.tolist(), run.unit, run.format
    ('val_loss', [3.25], 'step', 'csv')
    >>> run.notes
    ("cells of 'train_loss' that hold no number were left out, such as 'low': line 3",)
    """
    where = a_path("path", path)
    for role in a_kind("roles", {} if roles is None else roles, Mapping):  # type: ignore[type-abstract]
        known("role", role, ROLES)
    ruled_out: dict[str, str] = {}
    axis: _Axis | None = None
    anew: _Axis | None = None
    counts: set[str] = set()
    while True:
        reading = Reading(where).begun()
        axis = axis or _axis(reading, step, ruled_out)
        found = _Gathered(reading, axis, counts)
        for block in reading.blocks():
            found.add(block)
        if not any(len(points) for points in found.points.values()) and not found.any_number:
            raise reading.nothing()
        for column, why in found.no_axis().items():
            ruled_out[column] = why
        settled = _axis(reading, step, ruled_out)
        if found.epochs.begin_anew():
            anew = axis._replace(length=found.epochs.steps_per_epoch())
            if anew.length is None and step is not None:
                raise DataError(f"{place(reading)}: {not_counted_on(anew.column)}")
        if anew is not None and settled.column == anew.column:
            settled = _Axis("row", None) if anew.length is None else settled._replace(length=anew.length)
        if settled == axis:
            if not (more := found.own.found()):
                break
            counts |= more
        axis = settled
    if anew is not None:
        reading.tally.say(counted_on(anew.column, anew.length))
    for why in dict.fromkeys(ruled_out.values()):
        reading.tally.say(why)
    return _history(where, reading, found, dict(roles or {}))


def named(reading: Reading, asked: str, names: Iterable[str]) -> str:
    """Return the column that is called so, in any case of letters; raise DataError if there is none."""
    columns = list(names)
    found = [name for name in columns if name == asked] or [n for n in columns if n.lower() == asked.lower()]
    if not found:
        raise DataError(
            f"{place(reading)}: no column {shown(asked)}; {suggestion(asked, [name for name in columns if name])}"
        )
    return found[0]


def epochs_of(reading: Reading, block: Block) -> Any:
    """Return the epoch of each row [rows] of a block, NaN where it has none; None where no row has one."""
    for name in matches(reading.names, EPOCH)[:1]:
        if name in block.columns:
            return block.columns[name].spread(block.rows)
    return None


def not_counted_on(column: str | None) -> str:
    """Return why steps that begin anew in each epoch cannot be used."""
    return (
        f"the steps in {shown(column)} begin anew in each epoch, and how many an epoch has is not sure. Log the number of "
        "optimiser steps since the start."
    )


def counted_on(column: str | None, length: float | None) -> str:
    """Return what is said of steps that begin anew in each epoch, where an epoch has ``length``."""
    how = "rows are counted" if length is None else f"were counted on, {length:,.0f} to an epoch"
    return f"the steps in {shown(column)} begin anew in each epoch, and {how}"


def refuse_text(reading: Reading, column: str | None, text: int, rows: int) -> None:
    """Raise where the step of many rows is no number: they are not to be placed anywhere."""
    if text > max(2.0, _NO_NUMBERS * rows):
        raise DataError(
            f"{place(reading)}: {shown(column)} holds no number in {text:,} of {rows:,} rows.{_met(reading, {str(column)})}"
        )


def refuse_one_step(reading: Reading, columns: Sequence[Any]) -> None:
    """Raise where all points of columns, some of which have several, are at one step: they are no curve."""
    steps = np.concatenate(columns)
    if max(map(len, columns)) >= _SEVERAL and (steps == steps[0]).all():
        how = "global_step" if reading.format == "tensorboard" else "the number of optimiser steps"
        raise DataError(f"{reading.path}: every point is at step {steps[0]:.0f}. Give {how} where the log is written.")


def place(reading: Reading) -> str:
    """Return the file, and the line of its header if it has one."""
    return f"{reading.path}" if reading.head is None else f"{reading.path}: line {reading.head}"


def _axis(reading: Reading, asked: str | None, ruled_out: Mapping[str, str]) -> _Axis:
    """Return what steps are counted by: the column asked for, else steps, epochs, or the rows themselves."""
    names = reading.names
    if asked is not None:
        if names:
            column = named(reading, asked, names)
            return _Axis("epoch" if matches([column], EPOCH) else "step", column)
        return _Axis("row", None)
    if reading.format == "tensorboard":
        return _Axis("epoch" if reading.epochs else "step", "step")
    for unit, patterns in (("step", STEP), ("epoch", EPOCH)):
        found = [name for name in matches(names, patterns) if not name.endswith(("__MIN", "__MAX"))]
        if any(name in ruled_out for name in found):
            if unit == "step" and len(found) > 1:
                return _Axis("row", None)  # several that differ: none is chosen
            continue
        if found:
            return _Axis(unit, found[0], tuple(found[1:]))
    return _Axis("row", None)


class _Gathered:
    """The points of every column by now."""

    def __init__(self, reading: Reading, axis: _Axis, counts: Container[str]) -> None:
        self.reading, self.axis = reading, axis
        self.own = OwnSteps(counts)
        self.points: dict[str, Points] = {}
        self.any_number = False
        self.several = Several()
        self.epochs = InEpochs(axis.length)
        self.rows, self._last = 0, np.nan
        self._whole, self._fractions, self.text, self._differ = 0, 0, 0, False
        self._first, self._others = 0, list[Points]()

    def add(self, block: Block) -> None:
        """Add the rows of a block."""
        steps, good = self._steps(block)
        if self.axis.column is not None:
            self.several.add(block, steps)
        self.rows += block.rows
        all_good = bool(good.all())
        for name, cells in block.columns.items():
            self.any_number = True
            if name == self.axis.column:
                continue
            points = self.points.get(name)
            if points is None:
                points = self.points[name] = self._new(name)
            at = slice(None) if cells.at is None else cells.at
            table = np.stack([steps[at], cells.value], axis=1)
            points.add(table if all_good else table[good[at]])
        if self._others and sum(map(len, self._others)) > _OTHERS:
            most = max(len(points) for points in self._others)
            for points in self._others:
                points.shrink(max(most // 2 - most // 2 % 2, 2))

    def no_axis(self) -> dict[str, str]:
        """Return the column of steps if it turned out to be none, and its rivals if they differ, with what is to be said."""
        column, unit = self.axis.column, self.axis.unit
        if column is None or self.reading.format == "tensorboard":
            return {}
        if self._differ:
            listed = ", ".join(shown(name) for name in (column, *self.axis.rivals))
            said = f"several columns could be the {unit}: {listed}; none was taken, and rows are counted"
            return {column: f"{said}. Name one: step=COLUMN"}
        if unit == "epoch" and self._fractions > _FRACTIONS * self._whole:
            return {column: f"the epochs in {shown(column)} are not whole, and rows are counted"}
        if not self._whole:
            return {column: f"{shown(column)} holds no whole number, and is not what steps are counted by"}
        return {}

    def _steps(self, block: Block) -> tuple[Any, Any]:
        """Return the step of each row [rows], and which of them are steps."""
        if self.axis.column is None:
            return self.rows + np.arange(block.rows, dtype=np.float64), np.ones(block.rows, dtype=bool)
        cells = block.columns.get(self.axis.column)
        steps = np.full(block.rows, np.nan) if cells is None else cells.spread(block.rows)
        for rival in self.axis.rivals:
            if rival in block.columns and not self._differ:
                other = block.columns[rival].spread(block.rows)
                self._differ = bool((other != steps)[~np.isnan(other) & ~np.isnan(steps)].any())
        if self.axis.unit == "step" and self.reading.format != "tensorboard":
            steps = self.epochs.placed(steps, epochs_of(self.reading, block))
        steps = self.own.placed(block, self.axis.column, steps, self.reading.tally)
        no_number = np.zeros(block.rows, dtype=bool)
        no_number[[row for row, _ in block.text.get(self.axis.column, ())]] = True
        self.text += int(no_number.sum())
        missing = np.isnan(steps) & ~no_number
        if missing.any():
            steps = np.where(no_number, np.nan, self._filled(block, steps, missing))
        good = np.isfinite(steps) & (np.abs(steps) <= LARGEST)
        good &= np.floor(np.where(good, steps, 0.5)) == steps
        given = good & ~missing
        self._whole += int(given.sum())
        self._fractions += int((np.isfinite(steps) & ~good & ~missing).sum())
        if given.any():
            self._last = steps[np.flatnonzero(given)[-1]]
        wrong = ~good & ~missing & ~no_number
        for at in np.flatnonzero(wrong)[:4]:
            self.reading.tally.add("rows whose step is not whole were left out", int(block.lines[at]))
        more = int(wrong.sum()) - 4
        if more > 0:
            self.reading.tally.add("rows whose step is not whole were left out", int(block.lines[-1]), more)
        return steps, good

    def _filled(self, block: Block, steps: Any, missing: Any) -> Any:
        """Return the steps, in rows without one that of the row before."""
        index = np.where(np.isnan(steps), -1, np.arange(len(steps)))
        before = np.maximum.accumulate(index)
        filled = np.where(before >= 0, steps[np.maximum(before, 0)], self._last)
        lost = missing & np.isnan(filled) & self._used(block)
        placed = missing & ~np.isnan(filled) & self._used(block)
        for what, rows in (
            ("rows without a step were placed at the step before them", placed),
            ("rows without a step, and none before them, were left out", lost),
        ):
            found = np.flatnonzero(rows)
            for at in found[:4]:
                self.reading.tally.add(what, int(block.lines[at]))
            if len(found) > 4:
                self.reading.tally.add(what, int(block.lines[found[4]]), len(found) - 4)
        return filled

    def _used(self, block: Block) -> Any:
        """Return which rows hold a number."""
        used = np.zeros(block.rows, dtype=bool)
        for cells in block.columns.values():
            used[slice(None) if cells.at is None else cells.at] = True
        return used

    def _new(self, name: str) -> Points:
        role = next((role for role, patterns in ROLE_NAMES.items() if matches([name], patterns)), None)
        points = Points(last_of if role in _LAST or matches([name], STEP) else mean_of)
        if role is not None and self._first < _FIRST:
            self._first += 1
        else:
            self._others.append(points)
        return points


def _history(where: Path, reading: Reading, found: _Gathered, asked: dict[str, str]) -> History:
    """Return the value, with what is what."""
    refuse_text(reading, found.axis.column, found.text, found.rows)
    found.several.refuse(str(where))
    series: dict[str, Series] = {}
    thinned: dict[str, int] = {}
    for name in [name for name in reading.names if name in found.points] or list(found.points):
        points = found.points.pop(name)
        if points.seen:
            table = points.values()
            if name not in series:
                series[name] = Series(name, table[:, 0], table[:, 1])
            if points.stride > 1:
                thinned[name] = points.stride
    if not series:
        met = _met(reading, set(reading.names)) or " Log a loss or a rate beside it."
        raise DataError(f"{place(reading)}: {shown(found.axis.column)} alone holds numbers.{met}")
    refuse_one_step(reading, [each.step for each in series.values()])
    taken, unsure = _roles(reading, series, asked, where)
    notes = list(reading.tally.notes(None, {*series, str(found.axis.column)}))
    if thinned:
        most = max(thinned.values())
        listed = ", ".join(map(shown, list(thinned)[:6])) + (", …" if len(thinned) > 6 else "")
        notes.append(
            f"more points than are kept in {listed}: up to {most} neighbours were merged into one, of losses their mean, of "
            "rates the last"
        )
    return History(_stem(where), series, taken, found.axis.unit, reading.format, str(where), (*notes, *unsure))


def _met(reading: Reading, columns: set[str]) -> str:
    """Return what was met in these columns, as sentences that follow another."""
    return "".join(f" {note[:1].upper()}{note[1:]}." for note in reading.tally.notes(columns, columns)[:3])


def _roles(
    reading: Reading, series: Mapping[str, Series], asked: Mapping[str, str], where: Path
) -> tuple[dict[str, str], list[str]]:
    """Return which column is what, and where several could be."""
    taken, notes = dict[str, str](), list[str]()
    for role in ROLES:
        if role in asked:
            taken[role] = named(reading, asked[role], series)
            continue
        found = matches(series, ROLE_NAMES[role]) or _by_file(series, where, role)
        if not found:
            continue
        if all(_same(series[name], series[found[0]]) for name in found[1:]):
            taken[role] = found[0]
        else:
            listed = ", ".join(shown(name) for name in found[:8]) + (", …" if len(found) > 8 else "")
            notes.append(
                f"several columns could be the {role}: {listed}; none was taken. Name one: roles={{{role!r}: COLUMN}}"
            )
    return taken, notes


def _by_file(series: Mapping[str, Series], where: Path, role: str) -> list[str]:
    """Return the column of values if the file, a tag as TensorBoard's page saves it, is called like the role."""
    told = re.fullmatch(r"(?:run-)?(.*?)-?tag-(.+)", _stem(where))
    values: Sequence[str] = [name for name in series if name.lower() == "value"]
    if told is None or not values:
        return []
    return (
        [values[0]]
        if matches([f"{told[1]}/{told[2]}"], ROLE_NAMES[role]) or matches([told[2]], ROLE_NAMES[role])
        else []
    )


def _same(one: Series, other: Series) -> bool:
    return np.array_equal(one.step, other.step) and np.array_equal(one.value, other.value, equal_nan=True)


def _stem(path: Path) -> str:
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem or path.name
