"""A loss that rattles: it swings with a period, or roughly, or jumps though every step sees all examples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line, fall, level, noise_of
from dwindle.schedule.stagnation import verdict

__all__ = ["jumps", "never_settled", "oscillates"]

_RHYTHM = 1e-3  # the largest p of an oscillation
_CLEAR = 1e-6  # the same where the swing is less than the rest, as that of a rhythm with overtones is
_ANTI = 0.25  # the least anticorrelation that matters
_JUMPS = 0.01  # of the loss: the least jump that matters
_ORDERS = 8  # batches an epoch: with fewer, drawing without replacement makes the loss swing by itself


def oscillates(record: Record, window: Line) -> Finding | None:
    """Return the finding if the loss swings with a rhythm beyond its noise and, over whole swings, does not fall."""
    found = verdict(window.value, level=0.01)
    p, length, amplitude = found.p_values.get("oscillation", 1.0), found.period, found.amplitude
    if length is None or amplitude is None or p > _RHYTHM or amplitude < found.noise * (0.5 if p <= _CLEAR else 1.0):
        rough = _anticorrelation(window.value)
        if rough is None:
            return None
        length, p = rough
        amplitude = math.sqrt(2.0) * noise_of(window.value)
    spacing = float(np.median(np.diff(window.step)))
    period, epoch = length * spacing, record.steps_per_epoch
    if epoch and 1.5 * spacing < epoch:
        whole_epochs = abs(period / epoch - max(round(period / epoch), 1)) < 0.05
        if whole_epochs or (found.period is None and epoch < _ORDERS * spacing):
            return None  # it follows the order of the data, not the rate
    whole = max(window.size // 2 // max(round(length), 1) * round(length), window.size // 2)
    drop = float(window.value[:whole].mean() - window.value[-whole:].mean())
    if drop > 0.5 * amplitude:
        return None
    evidence = {
        "from": float(window.step[0]), "level": float(np.mean(window.value)), "period": period, "amplitude": amplitude,
        "noise": found.noise, "p": p, "lr": record.last_lr,
    }  # fmt: skip
    said = (
        f"From {record.at(window.step[0])} the loss swings by ±{amplitude:.3g} about {evidence['level']:.4g} with a period of "
        f"{period:,.3g} {record.word}s (p = {p:.1g}) and no longer falls: the steps are too long."
    )
    return Finding("oscillation", "warning", said, evidence, _halve(record), "derived")


def _anticorrelation(value: Any) -> tuple[float, float] | None:
    """Return (period, p) of a rough swing, which keeps no phase for long: points half a period apart are anticorrelated.

    r_k about a parabola, z = r_k/√((1 + 2·Σ_{j<k} r_j²)/n) (Bartlett 1946), p = m·Φ(z) over the m lags looked at. None unless
    p is small and r_k below -0.25; noise that hangs together gives r_k >= 0, but for chance.
    """
    n = len(value)
    most = min(12, n // 12)
    if most < 1:
        return None
    t = np.linspace(-1.0, 1.0, n)
    rest = value - np.polyval(np.polyfit(t, value, 2), t)
    spread = max(1.4826 * float(np.median(np.abs(rest))), 1e-300)
    rest = np.clip(rest, -3.0 * spread, 3.0 * spread)
    total = float(rest @ rest)
    if total <= 0.0:
        return None
    r = [float(rest[k:] @ rest[:-k]) / total for k in range(1, most + 1)]
    z = [each / math.sqrt((1.0 + 2.0 * sum(earlier**2 for earlier in r[:k])) / n) for k, each in enumerate(r)]
    k = int(np.argmin(z))
    p = most * 0.5 * math.erfc(-z[k] / math.sqrt(2.0))
    return (2.0 * (k + 1), p) if p <= _RHYTHM and r[k] <= -_ANTI else None


def never_settled(record: Record, loss: Line, held_from: float) -> Finding | None:
    """Return the finding if the run, at one high rate since the step ``held_from``, jumps about a level above its first loss."""
    first = float(loss.step[0])
    if record.begin > 0.0 or record.share(first) > 0.02 or record.share(held_from) > 0.1:
        return None
    window = loss.between(record.begin + 0.5 * record.length, record.end)
    if window.size < 10:
        return None
    here, spread = level(window.value), float(np.std(window.value))
    start = float(loss.value[0])
    if here.mean - start <= 3.0 * here.error or spread < 0.02 * abs(here.mean) or not math.isfinite(here.error):
        return None
    if not (record.history.unit == "step" and first <= 1.0) and _p_lower(loss.value[:5], window.value) > _RHYTHM:
        return None  # the first that was logged is not the first: it must be no chance that it is low
    trend = fall(window)
    if trend is None or (trend.sign and abs(trend.drop) > spread):
        return None  # it comes down yet, or goes up for good
    evidence = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "first loss": start, "period": None,
        "amplitude": spread, "noise": noise_of(window.value), "lr": record.last_lr,
    }  # fmt: skip
    said = (
        f"The loss jumps about {here.mean:.4g} by ±{spread:.3g} and has stayed above its first value, {start:.4g}: the steps are "
        "too long to settle anywhere."
    )
    return Finding("oscillation", "warning", said, evidence, _halve(record), "derived")


def _p_lower(one: Any, other: Any) -> float:
    """Return the p-value that ``one`` is not lower than ``other``, by their ranks (Mann and Whitney 1947)."""
    from scipy.stats import mannwhitneyu

    return float(mannwhitneyu(one, other, alternative="less").pvalue)


def jumps(record: Record, window: Line, epoch: float) -> Finding | None:
    """Return the finding if the loss jumps where each step sees all examples, so that no noise can be the cause."""
    noise, here = noise_of(window.value), level(window.value)
    if noise < _JUMPS * abs(here.mean):
        return None  # it has learned what there is
    evidence = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "period": None,
        "amplitude": math.sqrt(2.0) * noise, "noise": noise, "steps per epoch": epoch, "lr": record.last_lr,
    }  # fmt: skip
    said = (
        f"The loss has stood at {here.mean:.4g} since {record.at(window.step[0])} and jumps by ±{evidence['amplitude']:.3g}, "
        "though every step sees all examples: the steps are too long."
    )
    return Finding("oscillation", "warning", said, evidence, _halve(record), "derived")


def _halve(record: Record) -> Remedy:
    change = {} if record.given is None else record.diff("peak", f"{record.given.peak / 2:g}")
    return Remedy("halve the learning rate, or let it decay to the end of the run.", change)
