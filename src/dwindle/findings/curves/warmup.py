"""Warm-up: missing where the loss rises at once under the full rate, long where the run spends its steps below it."""

from __future__ import annotations

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line, noise_of, smooth

__all__ = ["warmup_long", "warmup_missing"]

_EARLY = 0.1  # of the run: where a missing warm-up shows
_FULL = 0.5  # of the peak: a first rate above it is no warm-up
_RISE = 0.1  # of the fall of the whole run: a smaller rise harms nothing
_BEYOND = 6.0  # times the noise
_TAILS = 2.0 / 3.0  # of a standard deviation, which counts heavy tails; _BEYOND is made for robust noise
_BURST = 10.0  # times the first and the later norm of the gradient
_LONG = 0.25  # of the run; common recipes take 1 to 10 %
_CYCLE = 0.5  # of the run: how long a rise of a one-cycle may be
_FROM_ZERO = 0.02  # of the peak: a warm-up begins below, a one-cycle above (torch: 1/25)


def warmup_missing(record: Record) -> list[Finding]:
    """Return the finding if the loss rose above its first value, or the gradient burst, in the first steps at the full rate."""
    loss, lr = record.training, record.lr
    if loss is None or lr is None or loss.size < 12 or record.begin > 0.0 or lr.value.max() <= 0.0:
        return []
    early = loss.between(float(loss.step[0]), record.begin + _EARLY * record.length)
    early = early if early.size >= 4 else Line(loss.step[:4], loss.value[:4])
    if record.share(float(loss.step[0])) > 0.02 or record.lr_at(early.step).min() < _FULL * lr.value.max():
        return []
    first, top = float(early.value[0]), int(np.argmax(early.value))
    rise, later = float(early.value[top]) - first, loss.value[loss.size // 2 :]
    swings = float(np.std(later))  # it may do so later as well
    noise = max(_noise(record, loss, early), 0.5 * noise_of(early.value), swings)
    end = float(np.median(loss.value[-max(3, loss.size // 10) :]))
    high = int((early.value > first + 0.3 * rise).sum())
    loss_rose = (
        end < first
        and rise > max(_RISE * abs(first - end), _RISE / 2.0 * abs(first), _BEYOND * noise)
        and (high >= 2 or rise > 2.0 * _BEYOND * noise)
    )
    burst = _burst(record)
    if not loss_rose and burst is None:
        return []
    evidence = {
        "first loss": first, "highest loss": float(early.value[top]), "highest step": float(early.step[top]), "rise": rise,
        "noise": noise, "lr": float(record.lr_at(early.step[0])), "gradient burst": burst,
    }  # fmt: skip
    if loss_rose:
        said = (
            f"The loss rose from {first:.4g} to {early.value[top]:.4g} at {record.at(early.step[top])}, "
            f"{rise / noise if noise else np.inf:.0f} "
            f"times its noise, under the full rate of {evidence['lr']:.3g} from the first step."
        )
    else:
        said = f"The norm of the gradient burst to {burst:.0f} times its first value under the full rate from the first step."
    change = {} if record.given is None else record.diff("schedule", f"warmup 5%, {record.given.schedule}")
    return [
        Finding(
            "warmup-missing", "warning", said, evidence, Remedy("warm up over 2 to 5 % of the run.", change), "measured"
        )
    ]


def _noise(record: Record, loss: Line, early: Line) -> float:
    """Return the noise of the early points, by that of those after them: of small batches, its variance goes with the loss."""
    after = loss.between(record.begin + _EARLY * record.length, record.begin + 3.0 * _EARLY * record.length).value
    if len(after) < 5:
        return noise_of(loss.value)
    here, there = float(np.median(early.value)), float(np.median(after))
    scale = max(here / there, 1.0) ** 0.5 if min(here, there) > 0.0 else 1.0
    return max(noise_of(loss.value), _TAILS * scale * float(np.std(after - smooth(after, 9))))


def _burst(record: Record) -> float | None:
    """Return how many times its first value the gradient's norm reached early, if that is far above what it was later."""
    norm = record.gradient
    if norm is None or norm.size < 12 or record.share(float(norm.step[0])) > 0.01 or norm.value[0] <= 0.0:
        return None
    early, later = norm.value[_first_steps(record, norm)], norm.value[norm.size // 2 :]
    top = float(early.max()) if len(early) else 0.0
    burst = top >= _BURST * norm.value[0] and top >= _BURST * float(np.percentile(later, 95))
    return top / float(norm.value[0]) if burst else None


def _first_steps(record: Record, line: Line) -> np.ndarray:
    return np.asarray(line.step <= record.begin + _EARLY / 2.0 * record.length)


def warmup_long(record: Record) -> list[Finding]:
    """Return the finding if the rate rose from about 0 for more than a quarter of the run; the rise of a one-cycle is none."""
    lr, parts = record.lr, record.pieces
    if lr is None or not parts or record.begin > 0.0:
        return []
    lead = (
        parts[1]
        if parts[0].kind == "hold" and len(parts) > 1 and lr.value[parts[0].first] < 0.5 * lr.value.max()
        else parts[0]
    )
    if lead.kind != "rise" or lead.last - lead.first < 2 or lr.value[lead.last] < 0.9 * lr.value.max():
        return []
    share = record.share(float(lr.step[lead.last]))
    if share <= _LONG or (share <= _CYCLE + 0.02 and _one_cycle(record, lr, lead.first, lead.last)):
        return []
    steps = float(lr.step[lead.last])
    evidence = {"warm-up steps": steps, "share of run": share, "peak": float(lr.value.max()), "loss fell until": None}
    loss = record.loss
    if loss is not None:
        before = loss.between(steps / 2.0, steps)
        if before.size >= 4:
            evidence["loss fell until"] = float(before.value[0] - before.value[-1])
    said = (
        f"The warm-up takes {steps:,.0f} {record.word}s, {100 * share:.0f} % of the run, in which the rate is half its peak "
        "on average; common recipes take 1 to 10 %."
    )
    return [Finding("warmup-long", "warning", said, evidence, Remedy("warm up over 2 to 5 % of the run."), "derived")]


def _one_cycle(record: Record, lr: Line, first: int, last: int) -> bool:
    """Whether the rise is that of a one-cycle: from well above 0, and after it down to below where it began."""
    peak = float(lr.value[last])
    slope = (lr.value[first + 1] - lr.value[first]) / (lr.step[first + 1] - lr.step[first])
    rise = lr.value[first : last + 1]
    middle = float(np.interp((lr.step[first] + lr.step[last]) / 2.0, lr.step[first : last + 1], rise))
    quarter = float(
        np.interp(lr.step[first] + 0.25 * (lr.step[last] - lr.step[first]), lr.step[first : last + 1], rise)
    )
    curved = (quarter - rise[0]) / (peak - rise[0]) < 0.2 and abs((middle - rise[0]) / (peak - rise[0]) - 0.5) < 0.1
    begun = float(lr.value[first] - slope * (lr.step[first] - record.begin))
    falls = any(piece.kind == "fall" for piece in record.pieces if piece.first >= last)
    return falls and (curved or begun >= _FROM_ZERO * peak) and bool(lr.value[-1] <= max(lr.value[first], 0.5 * peak))
