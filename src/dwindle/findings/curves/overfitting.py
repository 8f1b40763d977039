"""Overfitting: the validation loss has risen from its best while the training loss fell on, or has stopped while the gap grew."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Level, Line, change_point, fall, level, noise_of, smooth
from dwindle.schedule import Schedule

__all__ = ["FEWEST", "overfitting"]

FEWEST = 5
"""Validation points that tell of overfitting: the best, and four by which a rise is told from noise."""
_FEWEST_OF_TRAINING = 10
_MATTERS = 0.03  # of the best validation loss: a rise below it costs next to nothing
_SPOILS = 0.10
_SURE = 0.03  # the largest p of a rise
_ERRORS = 3.5  # standard errors that the rise must measure
_SWINGS = 4.0  # times the spread of the points since about a line: as good as a trend
_GAP = 0.5  # of the validation loss: a gap that matters though the loss does not rise
_SHARE = 0.1  # of the loss: about what a penalty takes where it begins to bind (assumption)


def overfitting(record: Record) -> list[Finding]:
    """Return the finding if the log shows it: excess = end - best of the validation loss, beyond noise and of some size."""
    validation, training = record.validation, record.training
    if validation is None or training is None or validation.size < FEWEST or training.size < _FEWEST_OF_TRAINING:
        return []
    width = max(3, validation.size // 15)
    near = smooth(validation.value, width)
    first = max(int(np.argmin(near)) - width // 2, 0)
    about = validation.value[first : int(np.argmin(near)) + width // 2 + 1]
    best = first + int(np.argmin(about))
    tail = max(4, validation.size // 10)
    end = _at_end(validation, tail)
    lowest, excess = float(near.min()), end.mean - float(near.min())
    rises = _rises(validation, best, excess, tail)
    fell = _not_risen(training, float(validation.step[best]), record.end, excess)
    gap, half, opened, interval = _gap(record, validation, training, tail)
    grows = not rises and _gap_alone(validation, training, gap, half, end, record)
    if not ((rises and fell is not None) or grows):
        return []
    size = excess / abs(lowest) if lowest else math.inf
    step = float(validation.step[best])
    evidence: dict[str, Any] = {
        "best step": step, "best validation loss": float(validation.value[best]), "median about the best": lowest,
        "points about the best": len(about), "validation loss at end": end.mean, "excess": excess,
        "excess error": end.error, "gap at end": gap, "gap interval": (gap - half, gap + half), "opened": opened,
        "opened interval": interval, "training loss at end": _at_end(training, max(4, training.size // 10)).mean,
    }  # fmt: skip
    says, change = _decay_to_try(record, evidence)
    if rises:
        ran = "fell on" if fell and fell > 0.0 else "did not rise"
        verdict = (
            f"The validation loss was best at {record.at(step)} ({validation.value[best]:.4g}; the median of {len(about)} points "
            f"there is {lowest:.4g}) and has risen to {end.mean:.4g}, the mean of the last {tail}, by {excess:.3g} "
            f"({100 * size:.0f} %) above that median, while the training loss {ran}."
        )
        says += f", or stop at {record.at(step)}"
    else:
        verdict = (
            f"The validation loss no longer falls while the training loss does: the gap has grown to {gap:.4g} ± {half:.2g} of a "
            f"loss of {end.mean:.4g}, from {record.at(opened)} on."
        )
    severity = "fault" if rises and size >= _SPOILS else "warning"
    return [Finding("overfitting", severity, verdict, evidence, Remedy(says + ".", change), "measured")]


def _at_end(line: Line, tail: int) -> Level:
    """Return the level of the last ``tail`` points, its error from what is left of them about a line."""
    found = level(line.value[-tail:])
    x = np.arange(tail) - (tail - 1) / 2.0
    y = line.value[-tail:] - found.mean
    rest = y - x * float(x @ y) / float(x @ x)
    spread = math.sqrt(float(rest @ rest) / max(tail - 2, 1))
    return found._replace(error=max(spread, noise_of(line.value)) / math.sqrt(tail))


def _rises(line: Line, best: int, excess: float, tail: int) -> bool:
    """Whether the line has risen since its best: by its trend, by many errors, and by an amount that matters."""
    after = Line(line.step[best + 1 :], line.value[best + 1 :])
    lowest = abs(float(line.value[best]))
    if after.size < 4 or excess < _MATTERS * lowest or excess < _ERRORS * _at_end(line, tail).error:
        return False
    found = fall(after)
    if found is None:
        return _kendall(after.value)
    if found.sign > 0 and found.p <= _SURE:
        return True
    return excess >= _SWINGS * _at_end(after, after.size).error * math.sqrt(after.size) and after.value[-1] > lowest


def _kendall(value: Any) -> bool:
    """Whether 4 to 9 points rise: by their pairs, S = Σ sign(y_j - y_i) at least 1.65 times its standard deviation."""
    n = len(value)
    i, j = np.triu_indices(n, 1)
    score = float(np.sign(value[j] - value[i]).sum()) - 1.0
    return score / math.sqrt(n * (n - 1) * (2 * n + 5) / 18.0) >= 1.65


def _not_risen(training: Line, step: float, end: float, excess: float) -> float | None:
    """Return how far the training loss fell from around ``step`` to its end; None if it rose, beyond noise or with the other."""
    width = 0.1 * (end - float(training.step[0]))
    then = training.between(step - width / 2.0, step + width / 2.0)
    last = training.between(end - width, end)
    if then.size < 1 or last.size < 1:
        return None
    one, other = level(then.value), level(last.value)
    error = math.hypot(*(e if math.isfinite(e) else noise_of(training.value) for e in (one.error, other.error)))
    fell = one.mean - other.mean
    return fell if fell > -min(2.0 * error, 0.3 * excess) else None


def _gap(
    record: Record, validation: Line, training: Line, tail: int
) -> tuple[float, float, float, tuple[float, float]]:
    """Return the gap at the end, half its 95 % interval, and the step from which it grew, with its interval."""
    beside = np.interp(validation.step, training.step, smooth(training.value, max(3, training.size // 40)))
    gap = validation.value - beside
    found = _at_end(Line(validation.step, gap), tail)
    opened, interval = change_point(validation.step, gap)
    return found.mean, 2.1 * found.error, opened, interval


def _gap_alone(validation: Line, training: Line, gap: float, half: float, end: Level, record: Record) -> bool:
    """Whether the gap is most of the loss, while the validation loss has stopped and the training loss has not."""
    middle = record.begin + record.length / 2.0
    late, learned = fall(validation.between(middle, record.end)), fall(training.between(middle, record.end))
    if late is None or learned is None or gap - half < _GAP * abs(end.mean):
        return False
    return late.drop <= 0.0 and late.high < 0.05 * abs(end.mean) and learned.sign < 0 and learned.p <= _SURE


def _decay_to_try(record: Record, evidence: dict[str, Any]) -> tuple[str, dict[str, tuple[str, str]]]:
    """Return words and a diff for the λ to try: where the share λ/2·Σw²/loss is known, from it; else a factor."""
    known = _lam(record)
    if known is None:
        return "try more weight decay, 3 to 10 times what you have, or 0.01 to 0.1 (decoupled) if you have none", {}
    if known <= 0.0:
        return "try a weight decay, say decoupled with λ = 0.01 to 0.1", _diff(record, 0.03)
    factor, why = 3.0, "3 to 10 times as much, by rule of thumb"
    if record.weights is not None and evidence["training loss at end"] > 0.0:
        share = known / 2.0 * float(record.weights.value[-1]) ** 2 / evidence["training loss at end"]
        evidence["penalty share"] = share
        if share > 0.0:
            factor = float(np.clip(_SHARE / share, 2.0, 30.0))
            why = f"the penalty λ/2·Σw² is {100 * share:.2g} % of the loss"
    lam = known * factor
    evidence["weight decay"], evidence["weight decay to try"] = known, lam
    return f"try λ = {lam:.2g} instead of {known:.2g} ({why})", _diff(record, lam)


def _lam(record: Record) -> float | None:
    """Return λ at the end of the run by the plan or the log."""
    if record.plan is not None:
        decay = record.plan.decay
        return 0.0 if decay is None else float(decay.at(int(record.end)))
    logged = record.history.get("weight decay")
    return float(logged.value[-1]) if logged is not None and len(logged) and np.isfinite(logged.value[-1]) else None


def _diff(record: Record, lam: float) -> dict[str, tuple[str, str]]:
    decay = None if record.given is None else record.given.decay
    if decay is None:
        return record.diff("decay", f"decoupled {lam:.2g}")
    if isinstance(decay.weight_decay, Schedule):
        return {}
    return record.diff("decay", str(replace(decay, weight_decay=float(f"{lam:.2g}"))))
