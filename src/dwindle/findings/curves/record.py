"""A log as the doctor reads it: one clean line per role, the rates with their pieces, and the plan that was meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from dwindle.errors import DwindleError
from dwindle.findings.curves.rates import Piece, pieces
from dwindle.findings.curves.trends import Line
from dwindle.logs import History, Series
from dwindle.plan import Plan
from dwindle.text import parse
from dwindle.units import Horizon

__all__ = ["Record"]


@dataclass(frozen=True, eq=False)
class Record:
    """What the detectors share. ``plan`` is resolved; None where none was given or its times need a horizon that is unknown.

    ``given`` is the plan as it was given, for diffs.
    """

    history: History
    plan: Plan | None = None
    horizon: Horizon | None = None
    given: Plan | None = None

    @classmethod
    def of(cls, history: History, plan: Plan | None, horizon: Horizon | None) -> Record:
        """Return the record; without a horizon the run is taken to be as long as its log."""
        record = cls(history)
        if plan is None:
            return replace(record, horizon=horizon)
        length = horizon
        if length is None and record.end >= 1 and history.unit == "step":
            epoch = record.steps_per_epoch
            length = Horizon(steps=int(record.end), steps_per_epoch=None if epoch is None else max(round(epoch), 1))
        try:
            resolved = None if length is None else plan.resolve(length)
        except DwindleError:
            resolved = None
        return cls(history, resolved, horizon, plan)

    def diff(self, field: str, then: str) -> dict[str, tuple[str, str]]:
        """Return {field: (now, then)} of the given plan, as plan text; empty without a plan or if ``then`` is none."""
        if self.given is None:
            return {}
        now = {
            "peak": f"{self.given.peak:g}",
            "schedule": str(self.given.schedule),
            "decay": str(self.given.decay or ""),
        }
        text = {"peak": f"peak {then}", "schedule": f"peak 1 | {then}", "decay": f"peak 1 | constant | {then}"}
        try:
            parse(text[field])
        except DwindleError:
            return {}
        return {field: (now[field], then)}

    @cached_property
    def training(self) -> Line | None:
        return self._line("training loss")

    @cached_property
    def validation(self) -> Line | None:
        return self._line("validation loss")

    @cached_property
    def gradient(self) -> Line | None:
        return self._line("gradient norm")

    @cached_property
    def weights(self) -> Line | None:
        return self._line("weight norm")

    @cached_property
    def loss(self) -> Line | None:
        """The training loss, else the validation loss."""
        return self.training if self.training is not None else self.validation

    @cached_property
    def logged_lr(self) -> Line | None:
        """The logged rates; None where none was logged."""
        return self._line("lr")

    @cached_property
    def lr(self) -> Line | None:
        """The logged rates; those of the plan where none was logged, and None without either."""
        if self.logged_lr is not None or self.plan is None or self.loss is None or self.history.unit != "step":
            return self.logged_lr
        rates = self.plan.lr(np.maximum(self.loss.step, 0.0).astype(np.int64))
        return Line(self.loss.step, np.broadcast_to(np.asarray(rates, np.float64), self.loss.step.shape))

    @property
    def word(self) -> str:
        """What the log counts, as a verdict names it: step, epoch or row."""
        return self.history.unit

    def at(self, step: float) -> str:
        """Return the name of a place in the log, such as "step 1,200" or "epoch 3"."""
        return f"{self.word} {step:,.0f}"

    @property
    def last_lr(self) -> float | None:
        """The rate at the end."""
        return None if self.lr is None else float(self.lr.value[-1])

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return () if self.lr is None else pieces(self.lr)

    @cached_property
    def end(self) -> float:
        """The last step that was logged."""
        ends = [
            float(line.step[-1])
            for line in (self.training, self.validation, self.logged_lr)
            if line is not None and line.size
        ]
        return max(ends, default=0.0)

    @cached_property
    def begin(self) -> float:
        """The step the log begins at; 0 where its first point is within a tenth of the run."""
        lines = [line for line in (self.training, self.validation, self.logged_lr) if line is not None]
        first = min((float(line.step[0]) for line in lines), default=0.0)
        return 0.0 if first <= 0.1 * self.end else first

    @property
    def origin(self) -> float:
        """The step at which nothing had been done: an epoch's number names what comes before its end."""
        return self.begin - 1.0 if self.history.unit != "step" and self.begin == 0.0 else self.begin

    @property
    def length(self) -> float:
        return self.end - self.begin

    def share(self, step: float) -> float:
        """Return how much of the run lies before ``step``."""
        return (step - self.begin) / self.length if self.length > 0.0 else 0.0

    @cached_property
    def steps_per_epoch(self) -> float | None:
        """Steps in an epoch, by the horizon or the epochs in the log."""
        if self.horizon is not None and self.horizon.steps_per_epoch is not None:
            return float(self.horizon.steps_per_epoch)
        return self.logged_steps_per_epoch

    @cached_property
    def logged_steps_per_epoch(self) -> float | None:
        epoch = self._line("epoch")
        if epoch is None or self.history.unit != "step" or epoch.size < 2 or np.ptp(epoch.value) < 1.0:
            return None
        whole = bool((epoch.value == np.floor(epoch.value)).all())
        if whole and epoch.size > len(np.unique(epoch.value)):  # a counter: from one change to another
            turn = np.flatnonzero(np.diff(epoch.value) > 0.0)
            if len(turn) < 2:
                return None
            width = epoch.step[turn[-1] + 1] - epoch.step[turn[0] + 1]
            return float(width / (epoch.value[turn[-1] + 1] - epoch.value[turn[0] + 1]))
        return float((epoch.step[-1] - epoch.step[0]) / (epoch.value[-1] - epoch.value[0]))

    def lr_at(self, step: Any) -> Any:
        """Return the rate at ``step``, straight between logged points; nan without a log of it."""
        if self.lr is None:
            return np.full(np.shape(step), np.nan)
        return np.interp(step, self.lr.step, self.lr.value)

    def _line(self, role: str) -> Line | None:
        series = self.history.get(role)
        if series is None:
            return None
        line = clean(series)
        return line if line.size else None


def clean(series: Series) -> Line:
    """Return the finite points in order, each step once: what a run did again after going back counts, not what it replaced."""
    known = np.isfinite(series.step) & np.isfinite(series.value)
    step, value = series.step[known], series.value[known]
    if not len(step):
        return Line(step, value)
    later = np.append(np.minimum.accumulate(step[::-1])[::-1][1:], np.inf)
    kept = step < later
    if kept.sum() >= 0.3 * len(step):
        return Line(step[kept], value[kept])
    order = np.argsort(step, kind="stable")
    step, value = step[order], value[order]
    last = np.append(np.diff(step) > 0.0, True)
    return Line(step[last], value[last])
