"""Logs of training as people keep them: step, learning rate and loss, found by their usual names in a CSV file."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DataError, shown, suggestion
from dwindle.separated import as_number, decoded, delimiter, split_rows

__all__ = ["Columns", "Log", "kind", "read"]

# What columns are called, best first, as `_plain` writes them; two of one line cannot be told apart.
_STEP = (r"(?:train(?:er)?_)?global_step", r"(?:train(?:er)?_)?(?:steps?|iter(?:ation)?s?)")
_LR = (
    r"(?:train(?:er)?_|optim(?:izer)?_)?(?:lr|learning_?rate)",
    r"(?:train_)?(?:lr|learning_rate)_(?:\w*(?:ada|sgd|lion|muon|lamb|rms)\w*|(?:param_)?(?:group|pg)?_?\d+)",
)
_VALIDATION = r"(?:val|valid|validation|eval|dev)_loss(?:_epoch|_step)?|loss_(?:val|valid|validation|eval|dev)"
_TRAINING = r"(?:train(?:ing)?_)?loss(?:_epoch|_step)?|loss_train(?:ing)?"
_NAMES = {"step": _STEP, "lr": _LR, "loss": (_VALIDATION, _TRAINING)}
_MEANS = {"step": "number of steps", "lr": "learning rate", "loss": "loss"}
_EMPTY = frozenset(("", "na", "n/a", "none", "null", "<na>"))


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


class _Table(NamedTuple):
    """What a reader of a format returns: column names and their line, and text cells with the line that each row ends on."""

    path: Path
    head: int
    names: list[str]
    lines: list[int]
    rows: list[list[str]]
    notes: list[str]

    def column(self, name: str) -> list[str]:
        at = self.names.index(name)
        return [row[at] for row in self.rows]


def read(
    path: str | os.PathLike[str],
    *,
    step: str | None = None,
    lr: str | None = None,
    loss: str | None = None,
    needs_lr: bool = True,
) -> Log:
    r"""Return the log in a CSV file with a header, its cells separated by comma, semicolon or tab; UTF-8.

    The columns are found by their usual names, those of the Hugging Face Trainer, Keras, Lightning and W&B among them, unless
    ``step``, ``lr`` and ``loss`` name them. A validation loss goes before a training loss, and ``notes`` say so. Where
    ``needs_lr`` is False a file without learning rates is read too, and ``lr`` is NaN.

    Raises DataError, with file, line and what to do, if the file cannot be read, has no header, lacks a column or has several
    that could be it, or if a cell of these columns is no number.

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
    table = _csv(Path(path))
    notes = list(table.notes)
    found = {
        "step": _column(table, "step", step),
        "lr": _column(table, "lr", lr) if needs_lr or lr is not None or _matches(table.names, _LR) else None,
        "loss": _column(table, "loss", loss),
    }
    used = Columns(str(found["step"]), found["lr"], str(found["loss"]))
    if loss is None and kind(used.loss) == "validation":
        other = _matches(table.names, (_TRAINING,))
        notes += [f"the validation loss {shown(used.loss)} was read, not {shown(other[0])}"] if other else []
    numbers = {name: _numbers(table, name, notes) for name in dict.fromkeys(used) if name is not None}
    lrs = np.full(len(table.rows), np.nan) if used.lr is None else numbers[used.lr].copy()
    return Log(Path(path).stem, numbers[used.step].copy(), lrs, numbers[used.loss].copy(), used, tuple(notes))


def kind(column: str) -> str:
    """Return "validation" or "training" for a column of losses, by its name; "" where that does not tell.

    >>> kind("eval/loss"), kind("loss"), kind("perplexity")
    ('validation', 'training', '')
    """
    plain = _plain(column)
    return "validation" if re.fullmatch(_VALIDATION, plain) else "training" if re.fullmatch(_TRAINING, plain) else ""


# --- CSV


def _csv(path: Path) -> _Table:
    text = _text(path)
    lines: list[int] = []
    rows: list[list[str]] = []
    for line, row in split_rows(path, text, delimiter(text)):
        if "".join(row):
            lines.append(line)
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: the file is empty. Was the log written, or is this another file?")
    head = rows[0]
    _check_header(path, lines[0], head)
    notes: list[str] = []
    if len(rows) > 1 and len(rows[-1]) < len(head) and not text.endswith(("\n", "\r")):
        notes.append(f"line {lines.pop()} is not complete and was left out; the file may still be written")
        rows.pop()
    again = [line for line, row in zip(lines[1:], rows[1:], strict=True) if row == head]
    if again:
        notes.append(f"line {again[0]} repeats the header, as after a restart, and was left out")
    body = [(line, row) for line, row in zip(lines[1:], rows[1:], strict=True) if row != head]
    for line, row in body:
        if len(row) != len(head):
            raise DataError(
                f"{path}: line {line}: {len(row)} cells where the header, line {lines[0]}, has {len(head)}. Correct the line, "
                "or quote cells that hold the separator."
            )
    if not body:
        raise DataError(f"{path}: no rows after the header, line {lines[0]}. Was anything logged?")
    return _Table(path, lines[0], head, [line for line, _ in body], [row for _, row in body], notes)


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    text = decoded(path, data)
    if text.lstrip()[:1] in ("{", "["):
        raise DataError(
            f"{path}: line 1: this looks like JSON. Only CSV is read so far; write step, lr and loss as CSV."
        )
    return text


def _check_header(path: Path, line: int, names: Sequence[str]) -> None:
    if all(as_number(name) is not None for name in names if name):
        raise DataError(
            f"{path}: line {line}: numbers where the names of the columns should be. Add a header, such as step,lr,loss."
        )
    if len(names) < 2:
        raise DataError(
            f"{path}: line {line}: one column only, {shown(names[0])}. Separate columns by comma, semicolon or tab."
        )


# --- columns and numbers, of any format


def _plain(name: str) -> str:
    """Return the name in lower case with _ between words, without the run's name that W&B writes before it.

    >>> _plain("sunny-2 - trainer/global_step"), _plain("Learning Rate"), _plain("lr-AdamW")
    ('trainer_global_step', 'learning_rate', 'lr_adamw')
    """
    return re.sub(r"[^a-z0-9]+", "_", name.rpartition(" - ")[2].lower()).strip("_")


def _matches(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Return the names that the first pattern to match any matches."""
    for pattern in patterns:
        found = [name for name in names if re.fullmatch(pattern, _plain(name))]
        if found:
            return found
    return []


def _column(table: _Table, what: str, asked: str | None) -> str:
    """Return the column of the step, the lr or the loss: the one asked for, else the one that is called so."""
    head, names = f"{table.path}: line {table.head}", table.names
    how = f"Name one: {what}=COLUMN, on the command line --{what} COLUMN."
    if asked is not None:
        found = [name for name in names if name == asked] or [n for n in names if n.lower() == asked.lower()]
        if not found:
            raise DataError(f"{head}: no column {shown(asked)}; {suggestion(asked, [name for name in names if name])}")
    else:
        found = _matches(names, _NAMES[what])
    if not found:
        epochs = what == "step" and any(_plain(name) in ("epoch", "epochs") for name in names)
        hint = " Epochs are not enough: log the number of optimiser steps." if epochs else f" {how}"
        listed = ", ".join(shown(name) for name in names[:8]) + (", …" if len(names) > 8 else "")
        raise DataError(f"{head}: no column is called like a {_MEANS[what]}; there are {listed}.{hint}")
    if len(set(found)) < len(found):
        raise DataError(f"{head}: two columns are called {shown(found[0])}. Rename one.")
    if any(table.column(name) != table.column(found[0]) for name in found[1:]):
        listed = ", ".join(shown(name) for name in found[:8])
        raise DataError(f"{head}: several columns could be the {_MEANS[what]}: {listed}. {how}")
    return found[0]


def _numbers(table: _Table, name: str, notes: list[str]) -> Any:
    """Return the numbers of a column, NaN where a cell is empty."""
    values = np.full(len(table.rows), np.nan)
    undefined: list[int] = []
    for i, (line, cell) in enumerate(zip(table.lines, table.column(name), strict=True)):
        if cell.lower() in _EMPTY:
            continue
        value = as_number(cell)
        if value is None:
            comma = " Write a point for the decimals, and nothing between thousands." if "," in cell else ""
            raise DataError(
                f"{table.path}: line {line}, column {shown(name)}: {shown(cell)} is not a number.{comma} "
                "Correct it, or leave the cell empty."
            )
        values[i] = value
        if math.isnan(value):
            undefined.append(line)
    if np.isnan(values).all():
        raise DataError(f"{table.path}: column {shown(name)} holds no number. Is it the right column?")
    if undefined:
        notes.append(
            f"{len(undefined)} cell{'s' * (len(undefined) > 1)} of {shown(name)} say{'s' * (len(undefined) == 1)} nan, "
            f"first in line {undefined[0]}, and count{'s' * (len(undefined) == 1)} as empty"
        )
    return values
