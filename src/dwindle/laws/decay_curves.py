"""Loss curves over weight decay × peak × schedule that dwindle ships, made by ``scripts/make_decay_curves.py``."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from dwindle.errors import DataError
from dwindle.laws.runs import Run
from dwindle.text import parse

__all__ = ["SHIPPED", "DecayCurve", "decay_curves"]

SHIPPED = Path(__file__).resolve().parent.parent / "data" / "decay_curves.csv.gz"
_COLUMNS = ["lam", "peak", "schedule", "step", "loss"]


class DecayCurve(NamedTuple):
    """A training with decoupled decay ``lam`` under AdamW, of the peak and the schedule that its plan's text says."""

    lam: float
    peak: float
    schedule: str
    run: Run


def decay_curves(file: Path = SHIPPED) -> list[DecayCurve]:
    """Return the curves of ``file``, in its order; a run is as long as its last step.

    Raises DataError for a file that is not there, or has other columns.

    >>> curve = decay_curves()[0]
    >>> curve.lam, curve.peak, curve.schedule, len(curve.run.lr)
    (0.0, 0.001, 'warmup 100st, constant', 4000)
    """
    return [_curve(*key, list(rows)) for key, rows in groupby(_rows(file), lambda row: (row[0], row[1], row[2]))]


def _rows(file: Path) -> Iterator[tuple[float, float, str, int, float]]:
    if not file.is_file():
        raise DataError(f"{file}: no such file. scripts/make_decay_curves.py makes it.")
    with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        if (head := next(rows, [])) != _COLUMNS:
            raise DataError(f"{file} has the columns {', '.join(head)}; it needs {', '.join(_COLUMNS)}.")
        for lam, peak, schedule, step, loss in rows:
            yield float(lam), float(peak), schedule, int(step), float(loss)


def _curve(lam: float, peak: float, schedule: str, rows: list[tuple[float, float, str, int, float]]) -> DecayCurve:
    plan = parse(f"peak {peak!r} | {schedule} | decoupled {lam!r}")
    step, loss = [row[3] for row in rows], [row[4] for row in rows]
    name = f"λ {lam:g}, peak {peak:g}, {schedule}"
    return DecayCurve(lam, peak, schedule, Run.of(plan, step[-1], step, loss, name=name))
