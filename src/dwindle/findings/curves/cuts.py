"""The time of the first cut: while the loss was still falling steeply, or long after it had come to stand."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

from dwindle.findings.curves.record import Record
from dwindle.findings.curves.standing import stands, stood_still
from dwindle.findings.curves.trends import Line, level, octave
from dwindle.findings.finding import Finding, Remedy

__all__ = ["cuts"]

_STOOD = 0.4  # of the run: how long the loss must have stood before a late cut
_OF_BEFORE = 0.5  # of the steps before the cut: the same
_IDLE = 0.4  # of what the cut brought: a fall before it that is surely smaller was standing still
_SHARP = 0.05  # of the run: how long a cut takes
_GAIN = 0.03  # of the whole fall, what the cut must have brought
_USUAL = 0.75  # progress of an octave over that of the one before (assumption: loss above its end ~ step^-0.4)
_QUICKER = 1.5  # the most that the next octave may bring more
_LOST = 0.03  # of the whole fall: what a cut must have cost to be early
_AT_MOST = 0.75  # of the loss at the cut: what the old rate may be trusted to bring
_EARLY = 0.28  # of the run: a later cut is common (a third, 30 epochs of 90)


class Cut(NamedTuple):
    """The first time the rate comes down after a hold: from the point ``first`` to ``last`` of the rates."""

    first: int
    last: int


def cuts(record: Record) -> list[Finding]:
    """Return cut-early or cut-late for the first cut of the run, if it was either."""
    loss, lr = record.loss, record.lr
    if loss is None or lr is None or loss.size < 20 or record.length <= 0.0:
        return []
    cut = _first(record)
    if cut is None:
        return []
    at, done = float(lr.step[cut.first]), float(lr.step[cut.last])
    before, after = loss.between(record.begin, at), loss.between(done, record.end)
    if before.size < (5 if record.history.unit == "step" else 3) or after.size < 5:
        return []
    late = _late(record, loss, cut, at, done) if before.size >= 5 else None
    if record.history.unit != "step" and record.validation is not None and record.validation.size >= 0.8 * loss.size:
        loss = record.validation  # of an epoch's end; the training loss is the mean over the epoch, half of one late
    return [late] if late else _early(record, loss, at, done)


def _first(record: Record) -> Cut | None:
    """Return the first cut, or smooth fall, that follows a hold; None if there is none or the rate rises again later."""
    lr, parts = record.lr, record.pieces
    if lr is None:
        return None
    for before, part in itertools.pairwise(parts):
        if part.kind in ("cut", "fall") and before.kind == "hold":
            return Cut(part.first, part.last)
        if part.kind in ("cut", "fall", "jump"):
            return None
    return None


def _late(record: Record, loss: Line, cut: Cut, at: float, done: float) -> Finding | None:
    held, brought = loss.between(record.begin + 0.5 * (at - record.begin), at), loss.between(done, record.end)
    brings = max(float(np.median(held.value) - np.median(brought.value)), 0.0) if held.size else 0.0
    stood = stood_still(record, loss, record.begin + 0.1 * (at - record.begin), at, _IDLE * brings)
    if (stood is None or _too_short(record, at, stood[0])) and done - at <= _SHARP * record.length:
        stood = stands(record, loss, record.begin, at)  # a fall takes its time because it is planned so
    if stood is None:
        return None
    since, drop = stood
    if _too_short(record, at, since):
        return None
    flat, after = level(loss.between(since, at).value), level(loss.between(done, record.end).value)
    gain, error = flat.mean - after.mean, math.hypot(flat.error, after.error)
    whole = max(float(np.median(loss.value[:3])) - after.mean, gain)
    if gain < 3.0 * error or gain < min(_GAIN * whole, 2.0 * _GAIN * abs(flat.mean)):
        return None
    evidence = {
        "cut": at, "flat since": since, "flat for": at - since, "level before": flat.mean, "level after": after.mean,
        "gain": gain, "gain error": error, "fall while flat": drop.drop,
    }  # fmt: skip
    said = f"The loss stood at {flat.mean:.4g} from {record.at(since)} to {at:,.0f}; only the cut took it down, by {gain:.3g}."
    remedy = Remedy(f"cut at about {record.at(since)}, or let a plateau rule decide.")
    return Finding("cut-late", "warning", said, evidence, remedy, "measured")


def _too_short(record: Record, at: float, since: float) -> bool:
    return at - since < max(_STOOD * record.length, _OF_BEFORE * (at - record.begin))


def _early(record: Record, loss: Line, at: float, done: float) -> list[Finding]:
    """Return the finding if what the old rate would have brought until the end exceeds what was gained by more than the drop.

    Expected: the last octave's progress d before the cut, times q·(1 + r + r² + …) over the octaves to the end, r = 0.75,
    q that of the last octave to the mean of three where the log tells, at most 1.5: an early curve still quickens.
    """
    length = at - record.origin
    if record.share(at) > _EARLY or length <= 0.0 or record.end <= done:
        return []
    pace = octave(loss.between(record.origin + length / 8.0, at), record.origin)
    late = octave(loss.between(record.origin + length / 2.0, at), record.origin)
    sure = late is not None and late[0] > 3.0 * late[1]
    if not sure and (pace is None or pace[0] < 3.0 * pace[1]):
        pace = _since_the_first(record, loss, at)
        if pace is None:
            return []
    last = late[0] if sure and late else pace[0] * _USUAL**0.5 if pace else 0.0
    quickens = late[0] / pace[0] if sure and late and pace and pace[0] > 3.0 * pace[1] else _USUAL
    turn = min(max(quickens, _USUAL), _QUICKER)
    ratio = _USUAL
    here, end = _at(loss, at), level(loss.value[-max(4, loss.size // 10) :])
    octaves = math.log2((record.end - record.origin) / length)
    expected = min(last * turn * (1.0 - ratio**octaves) / (1.0 - ratio), _AT_MOST * abs(here))
    gained = here - end.mean
    settled = loss.between(done, done + max(0.15 * (record.end - done), 0.5 * length))
    drop = max(here - _low_end(settled), 0.0)
    later = max(gained - drop, 0.0)
    whole = float(np.median(loss.value[:3])) - min(end.mean, here)
    lost = expected - later
    of_pace = late[1] / late[0] if sure and late else pace[1] / pace[0] if pace else math.inf
    unsure = 2.0 * math.hypot(end.error, expected * of_pace)
    if lost <= drop + min(unsure, 0.5 * expected) or lost - drop <= _LOST * whole:
        return []
    evidence = {
        "cut": at, "share of run": record.share(at), "loss at cut": here, "drop": drop, "progress after": later,
        "expected": expected, "lost": lost, "loss at end": end.mean, "last octave": last, "ratio": turn,
    }  # fmt: skip
    said = (
        f"The rate came down at {record.at(at)}, {100 * record.share(at):.0f} % of the run, while the loss was still falling by "
        f"{last:.3g} a doubling; the drop brought {drop:.3g}, the rest of the run {later:.3g}, where the old rate promised about "
        f"{expected:.3g}."
    )
    remedy = Remedy("hold the rate until the loss comes to stand, then cut.")
    return [Finding("cut-early", "warning", said, evidence, remedy, "derived")]


def _since_the_first(record: Record, loss: Line, at: float) -> tuple[float, float] | None:
    """Return the progress an octave and its error over all points up to ``at``, as of the last three octaves."""
    before = loss.between(record.begin, at)
    whole = octave(before, record.origin, 3)
    if whole is None or whole[0] < 3.0 * whole[1]:
        return None
    octaves = math.log2((at - record.origin) / (float(before.step[0]) - record.origin))
    aged = _USUAL ** max((octaves - 3.0) / 2.0, 0.0)
    return whole[0] * aged, whole[1] * aged


def _at(loss: Line, step: float) -> float:
    """Return the loss about ``step``: the median of the points nearest before it."""
    before = loss.value[loss.step <= step]
    if not len(before):
        return float(loss.value[0])
    return float(np.median(before[-max(1, min(5, len(before) // 6)) :]))


def _low_end(line: Line) -> float:
    return float(np.median(line.value[-max(3, line.size // 3) :])) if line.size else math.inf
