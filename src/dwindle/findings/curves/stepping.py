"""A schedule stepped wrongly: per process or micro-batch, per batch where epochs were meant, per epoch where steps were."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.rates import thinned_shape
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line

__all__ = ["UNLIKE", "stepping"]

UNLIKE = "unlike the plan"  # the subject of what any other finding on the rates explains

_AGREES = 0.012  # of the peak: rates that are the plan's
_FITS = 0.03  # of the peak: rates that are the plan's at another pace
_BETTER = 4.0  # times nearer than at the plan's own pace
_OFF = 0.5  # of the larger: a rate off by a factor of two
_VANISHED = 1e-8  # of the peak: no decay is meant to end lower
_SANE = (1e-4, 0.98)  # of the peak: where a decay made for epochs ends
_HARDLY = 0.06  # of the peak: a rate that has hardly moved


class Pace(NamedTuple):
    """The plan run ``ratio`` times too fast (below 1: too slowly), ``how`` past its end, and how far off, over the peak."""

    error: float
    ratio: float
    how: str


def stepping(record: Record) -> list[Finding]:
    """Return the finding if the logged rates are the plan's at a whole multiple of its pace, or at its steps' epochs."""
    lr = record.logged_lr
    if lr is None or lr.size < 6 or record.length <= 0.0:
        return []
    if record.history.unit != "step":
        return _in_epochs(record, lr)
    if record.plan is None:
        return _by_epochs(record, lr) or _by_steps(record, lr)
    steps, peak = lr.step, float(np.max(_rates(record, np.linspace(0, _length(record), 400))))
    if peak <= 0.0:
        return []
    own = _error(record, lr, steps, peak)
    if own <= _AGREES:
        return []
    best = min([*_paces(record, lr, peak), *_geometric(record, lr, peak)], default=None)
    if best is None or best.error > _FITS or best.error * _BETTER > own:
        return _unlike(record, lr)
    return [_finding(record, lr, best, own)]


def _length(record: Record) -> float:
    return float(record.horizon.steps) if record.horizon is not None else record.end


def _rates(record: Record, step: Any) -> Any:
    if record.plan is None:
        return np.full(np.shape(step), np.nan)
    at = np.maximum(np.floor(np.asarray(step, dtype=np.float64) + 1e-9), 0).astype(np.int64)
    return np.broadcast_to(np.asarray(record.plan.lr(at), dtype=np.float64), at.shape)


def _error(record: Record, lr: Line, steps: Any, peak: float, shifts: tuple[float, ...] = (0.0, -1.0)) -> float:
    """Return how far the rates are from the plan's at ``steps``: the nine-tenths point, for a staircase may be a point late."""
    off = [np.abs(_rates(record, steps + by) - lr.value) / peak for by in shifts]
    return min(float(np.percentile(each, 90)) for each in off)


def _paces(record: Record, lr: Line, peak: float) -> list[Pace]:
    """Return each pace that the log might be at, with its error."""
    whole, found, epoch = _length(record), [], record.steps_per_epoch
    ratios = [float(n) for n in range(2, 65)]
    if epoch is not None and 1.0 < epoch <= 1e6:
        ratios += [float(round(epoch))] if round(epoch) > 64 else []
    for ratio in ratios:
        if (lr.step * ratio < whole).sum() < 3:
            continue  # the log does not show how it went
        on = lr.step * ratio
        shifts = (0.0, -ratio, -1.0)
        found.append(Pace(_error(record, lr, on, peak, shifts), ratio, "held"))
        turned = np.abs((on + whole) % (2.0 * whole) - whole)
        found.append(Pace(_error(record, lr, turned, peak, (0.0,)), ratio, "mirrored"))
        found.append(Pace(_error(record, lr, on % whole, peak, (0.0,)), ratio, "repeated"))
    # a rate logged a step late is off by a stair where it has just been stepped
    stair = float(np.abs(np.diff(_rates(record, np.arange(min(int(whole), 10_000) + 1)))).max(initial=0.0)) / peak
    for ratio in range(2, 65):  # once for several updates, from before the first of them or after the last
        errors = [_error(record, lr, np.floor((lr.step + by) / ratio), peak, (0.0,)) for by in (1.0, 0.0, -1.0, -2.0)]
        found.append(Pace(max(min(errors) - 0.5 * stair, 0.0), 1.0 / ratio, "slow"))
    for width in {epoch, record.logged_steps_per_epoch} - {None}:
        if width is not None and width > 1.5:
            epochs = np.floor((lr.step - record.begin) / width + 1e-9)
            found.append(Pace(_error(record, lr, epochs, peak, (0.0, -1.0, 1.0)), 1.0 / width, "epochs"))
    return [pace._replace(error=round(pace.error, 12)) for pace in found]


def _unlike(record: Record, lr: Line) -> list[Finding]:
    """Return the finding if half of the rates are off the plan's by a factor of two, at no pace that is known."""
    planned = [_rates(record, lr.step + by) for by in (0.0, -1.0)]
    off = [np.abs(each - lr.value) / np.maximum(np.maximum(each, lr.value), 1e-300) for each in planned]
    nearer = int(np.argmin([np.median(each) for each in off]))
    if float(np.median(off[nearer])) < _OFF:
        return []
    worst = int(np.argmax(off[nearer]))
    at, rate, meant = float(lr.step[worst]), float(lr.value[worst]), float(planned[nearer][worst])
    evidence = {
        "at": at, "lr": rate, "planned lr": meant, "share off by a factor of 2": float(np.mean(off[nearer] > _OFF)),
        "planned steps": _length(record), "run": record.end, "steps per epoch": record.steps_per_epoch,
    }  # fmt: skip
    said = f"The logged rates are not the plan's: {rate:.3g} at {record.at(at)}, where the plan has {meant:.3g}."
    says = "see that this is the plan the run was given, and that its schedule is stepped once for each optimiser step."
    return [Finding("wrong-stepping", "warning", said, evidence, Remedy(says), "derived", UNLIKE)]


def _geometric(record: Record, lr: Line, peak: float) -> list[Pace]:
    """Return the pace of a geometric fall where the plan's is one too: it has no end, and goes on past the plan's."""
    planned = _rates(record, np.linspace(0.0, _length(record), 50))
    if min(planned.min(), lr.value.min()) <= 0.0 or planned[-1] > 0.5 * planned[0]:
        return []
    slopes = []
    for step, value in ((np.linspace(0.0, _length(record), 50), planned), (lr.step, lr.value)):
        held = value > 1e-30 * peak  # below, float32 holds no rate
        slope, offset = np.polyfit(step[held], np.log(value[held]), 1)
        stair = float(np.abs(np.diff(np.log(value[held]))).max(initial=0.0))
        if held.sum() < 6 or np.abs(slope * step[held] + offset - np.log(value[held])).max() > 0.02 + 1.1 * stair:
            return []
        slopes.append(slope)
    ratio = float(slopes[1] / slopes[0])
    if ratio >= 1.8:
        return [Pace(0.0, ratio, "on")]
    return [Pace(0.0, ratio, "slow")] if 0.0 < ratio <= 0.55 else []


def _in_epochs(record: Record, lr: Line) -> list[Finding]:
    """Of a log of epochs, with the horizon told: the plan's first few steps, one an epoch, are no schedule of the run's."""
    if record.plan is None or record.horizon is None:
        return []
    epochs = record.end - record.origin
    width = float(record.horizon.steps) / epochs
    done, peak = lr.step - record.origin, float(np.max(_rates(record, np.linspace(0, _length(record), 400))))
    if width < 2.0 or peak <= 0.0:
        return []
    ends = [np.abs(_rates(record, (done - by) * width) - lr.value) for by in (0.0, 0.5, 1.0)]
    own = min(float(np.percentile(each, 50)) for each in ends) / peak
    error = _error(record, lr, done, peak, (0.0, -1.0, 1.0))
    if error > _AGREES or own <= _FITS or error * _BETTER > own or np.ptp(lr.value) <= 0.0:
        return []
    return [_finding(record, lr, Pace(error, 1.0 / width, "epochs"), own)]


def _finding(record: Record, lr: Line, pace: Pace, own: float) -> Finding:
    epoch = record.steps_per_epoch
    evidence: dict[str, Any] = {
        "ratio": pace.ratio, "after the end": pace.how, "misfit": pace.error, "misfit of the plan's own pace": own,
        "planned steps": _length(record), "run": record.end, "steps per epoch": epoch, "lr at end": float(lr.value[-1]),
    }  # fmt: skip
    if pace.how == "slow":
        times = round(1.0 / pace.ratio)
        said = (
            f"The learning rate runs {times} times too slowly: after {record.end:,.0f} steps it is where the plan is after "
            f"{record.end / times:,.0f}."
        )
        says = f"step the schedule after every update, not once in {times}; with accumulation, count updates on both sides."
        return Finding("wrong-stepping", "fault", said, evidence, Remedy(says), "derived", f"once in {times}")
    if pace.ratio < 1.0:
        steps = record.end if record.history.unit == "step" else (record.end - record.origin) / pace.ratio
        said = (
            f"The learning rate follows the plan once an epoch of {1 / pace.ratio:,.0f} steps: after {steps:,.0f} steps it is "
            f"where the plan is after {steps * pace.ratio:,.0f}."
        )
        says = "step the schedule after every optimiser step, or give its lengths in epochs."
        return Finding("wrong-stepping", "fault", said, evidence, Remedy(says), "derived", "per epoch")
    times = round(pace.ratio)
    if epoch is not None and epoch > 8 and abs(times - epoch) <= 0.01 * epoch:
        subject, says = "per step", "the schedule counts epochs: step it once an epoch, or give its lengths in steps."
    else:
        subject = _who(record, times)
        says = f"step the schedule once for each optimiser step, not in each of {times} processes or micro-batches."
    past = {
        "held": "and then stays at its end",
        "mirrored": "and then comes up again",
        "repeated": "and then begins anew",
        "on": "and falls on",
    }
    said = (
        f"The learning rate runs {times} times too fast: it is through the plan's {_length(record):,.0f} steps at step "
        f"{_length(record) / times:,.0f}, {past[pace.how]}."
    )
    return Finding("wrong-stepping", "fault", said, evidence, Remedy(says), "derived", subject)


def _who(record: Record, times: int) -> str:
    """Return what was counted, where batch sizes or epochs tell; from the rates alone both look the same."""
    batch, horizon = record.history.get("batch size"), record.horizon
    if batch is not None and len(batch) and horizon is not None and horizon.batch_size:
        ratio = float(np.median(batch.value)) / horizon.batch_size
        if math.isclose(ratio, 1.0 / times, rel_tol=0.02):
            return "per micro-batch"
        if math.isclose(ratio, times, rel_tol=0.02):
            return "per process"
    return "per process or per micro-batch"


def _by_epochs(record: Record, lr: Line) -> list[Finding]:
    """Without a plan: a decay that has an end, in stairs of an epoch, which has hardly moved by the end of the run."""
    epoch = record.logged_steps_per_epoch
    peak = float(lr.value.max())
    turns = np.flatnonzero(np.diff(lr.value) != 0.0)
    if epoch is None or epoch < 8 or peak <= 0.0 or len(turns) < 4:
        return []
    moved = float(np.ptp(lr.value)) / peak
    gaps = np.diff(lr.step[turns + 1]) / epoch
    spacing = float(np.median(np.diff(lr.step))) / epoch
    if spacing > 0.5 or np.abs(gaps - np.maximum(np.round(gaps), 1.0)).max() > 0.02 + 1.01 * spacing:
        return []
    falls = bool((np.diff(lr.value) <= 0.0).all())
    if not falls or moved > _HARDLY or thinned_shape(lr).name not in ("linear", "cosine"):
        return []
    evidence = {
        "moved": moved,
        "steps per epoch": epoch,
        "stairs": len(turns),
        "lr at end": float(lr.value[-1]),
        "peak": peak,
    }
    said = (
        f"The learning rate falls once an epoch of {epoch:,.0f} steps and has come down by {100 * moved:.2g} % only when the run "
        "ends: a schedule made in steps seems to be stepped per epoch."
    )
    says = "step the schedule after every optimiser step, or give its lengths in epochs."
    return [Finding("wrong-stepping", "warning", said, evidence, Remedy(says), "derived", "per epoch")]


def _by_steps(record: Record, lr: Line) -> list[Finding]:
    """Without a plan: a geometric decay, smooth or in stairs, down to nothing, which by epochs would end at a usual rate."""
    epoch = record.logged_steps_per_epoch
    peak = float(lr.value.max())
    if epoch is None or epoch < 8 or peak <= 0.0 or (np.diff(lr.value) > 1e-6 * peak).any():
        return []
    held = lr.value > 1e-30 * peak  # below, float32 holds no rate
    step, fallen = lr.step[held] - record.begin, np.log(lr.value[held] / peak)
    if len(step) < 6 or fallen[-1] > math.log(_VANISHED) or len(np.unique(fallen)) < 5:
        return []
    pace, offset = np.polyfit(step, fallen, 1)
    stair = float(np.abs(np.diff(fallen)).max())
    if np.abs(pace * step + offset - fallen).max() > 1.1 * stair + 0.02 * abs(fallen[-1]):
        return []
    end = math.exp(pace * record.length / epoch)
    if not _SANE[0] <= end <= _SANE[1]:
        return []
    evidence = {
        "lr at end": float(lr.value[-1]), "peak": peak, "steps per epoch": epoch, "ten times lower every": -math.log(10.0) / pace,
        "lr over peak by epochs": end,
    }  # fmt: skip
    said = (
        f"The learning rate falls to a tenth every {evidence['ten times lower every']:,.3g} steps, to {lr.value[-1]:.2g} in the "
        f"end, though an epoch has {epoch:,.0f} steps; by epochs it would end at {end:.2g} of its peak: a schedule made for "
        "epochs seems to be stepped per batch."
    )
    says = "the schedule counts epochs: step it once an epoch, or give its lengths in steps."
    return [Finding("wrong-stepping", "fault", said, evidence, Remedy(says), "derived", "per step")]
