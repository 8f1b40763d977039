"""The time of the first cut: while the loss was still falling steeply, or long after it had come to stand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.standing import earliest, stands, stood_still
from dwindle.findings.curves.trends import Fall, Line, fall, level, octave

__all__ = ["cuts"]

_STOOD = 0.4  # of the run: how long the loss must have stood before a late cut
_OF_BEFORE = 0.5  # of the steps before the cut: the same
_IDLE = 0.5  # of what the cut brought: a fall before it that is surely smaller was standing still
_SHARP = 0.05  # of the run: how long a cut takes
_GAIN = 0.03  # of the whole fall, what the cut must have brought
_USUAL = 0.75  # progress of an octave over that of the one before (assumption: loss above its end ~ step^-0.4)
_QUICKER = 1.5  # the most that the next octave may bring more
_SURELY = 3.0  # times its error: progress that is told
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
    if before.size < (5 if record.history.unit == "step" else 3) or after.size < 2:
        return []
    late = _late(record, loss, cut, at, done) if before.size >= 5 else None
    if after.size < 5:
        return [late] if late else []
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
    early = record.begin + 0.1 * (at - record.begin)
    stood = _idle(loss, early, at, _IDLE * brings) or stood_still(record, loss, early, at)
    if (stood is None or _too_short(record, at, stood[0])) and done - at <= _SHARP * record.length:
        stood = stands(record, loss, record.begin, at)  # a fall takes its time because it is planned so
    if stood is None:
        return None
    since, drop = stood
    if _too_short(record, at, since):
        return None
    stretch = loss.between(since, at).value
    flat, after = level(stretch), level(loss.between(done, record.end).value)
    if after.n < 4:  # too few to tell their noise, which at the higher rate was not less
        after = after._replace(error=float(np.std(stretch, ddof=1)) / math.sqrt(after.n))
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


def _idle(loss: Line, start: float, at: float, little: float) -> tuple[float, Fall] | None:
    """Return the earliest step from which the loss fell by surely less than ``little`` until ``at``, and that fall."""

    def surely(begins: float) -> Fall | None:
        found = fall(loss.between(begins, at))
        return found if found is not None and abs(found.drop) < little and found.high < little else None

    return earliest(start, at, surely)


def _too_short(record: Record, at: float, since: float) -> bool:
    return at - since < max(_STOOD * record.length, _OF_BEFORE * (at - record.begin))


def _early(record: Record, loss: Line, at: float, done: float) -> list[Finding]:
    """Return the finding if what the old rate would have brought until the end exceeds what the cut gained at once.

    A loss falls with the sum S of the rates, whatever they are, about evenly in log S. After the cut S hardly grows: it ends at
    S_e, where the old rate would have brought it to S_h. Lost: d·(1 + r + r² + ...) over the log2(S_h/S_e) octaves between, d the
    progress an octave at the end, r = 0.75.
    """
    if record.share(at) > _EARLY or record.end <= done or at <= record.origin:
        return []
    rates = _summed(record)
    settled = loss.between(done, done + max(0.15 * (record.end - done), 0.5 * (at - record.origin)))
    path = Line(rates(loss.step), loss.value)
    cut, calm, end = (float(rates(step)) for step in (at, settled.step[-1] if settled.size else done, record.end))
    held = cut + float(record.lr_at(at)) * (record.end - at)
    if not 0.0 < cut <= min(calm, end) <= end < held:  # where rates are below 0 the sum may fall
        return []
    found, now = _pace(path, cut, end), octave(path.between(calm, end), 0.0) or (math.inf, math.inf)
    if found is None and now[0] > _SURELY * now[1]:
        found = now  # too few points before the cut; what an octave brings after it
    if found is None or now[0] + 2.0 * now[1] <= 0.0:
        return []
    # what is seen after the cut may only lower the pace, for there the noise comes down as well
    pace, error = min(found[0], now[0] + 2.0 * now[1]), found[1]
    meanwhile = now[0] if now[0] > max(_SURELY * now[1], pace) and math.isfinite(now[0]) else pace
    here, last = _at(loss, at), level(loss.value[-max(4, loss.size // 10) :])
    lost = min(pace * (1.0 - _USUAL ** math.log2(held / end)) / (1.0 - _USUAL), _AT_MOST * abs(here))
    drop = max(here - _low_end(settled) - meanwhile * math.log2(calm / cut), 0.0)  # less what S brought
    whole = float(np.median(loss.value[:3])) - min(last.mean, here)
    unsure = 1.65 * math.hypot(last.error, lost * error / pace)
    if lost <= drop + min(unsure, 0.5 * lost) or lost - drop <= _LOST * whole:
        return []
    evidence = {
        "cut": at, "share of run": record.share(at), "loss at cut": here, "drop": drop, "loss at end": last.mean, "lost": lost,
        "progress an octave": pace, "octaves lost": math.log2(held / end),
    }  # fmt: skip
    said = (
        f"The rate came down at {record.at(at)}, {100 * record.share(at):.0f} % of the run, while the loss was still falling; "
        f"the drop brought {drop:.3g}, and the rates summed up to {end / held:.0%} of what the old one would have come to, which "
        f"promised a loss lower by about {lost:.3g}."
    )
    remedy = Remedy("hold the rate until the loss comes to stand, then cut.")
    return [Finding("cut-early", "warning", said, evidence, remedy, "derived")]


def _summed(record: Record) -> Callable[[Any], Any]:
    """Return the sum of the rates up to a step, as a function; each logged rate holds since the one before."""
    lr = record.lr
    assert lr is not None
    step = np.append(min(record.origin, lr.step[0]), lr.step)
    total = np.append(0.0, np.cumsum(np.diff(step) * lr.value))
    return lambda at: np.interp(at, step, total)


def _pace(path: Line, cut: float, end: float) -> tuple[float, float] | None:
    """Return what the octave after the end would bring and its error, of a loss that is sure to fall; None where it is not.

    Told from before the cut: an octave brings r times as much as the last, or more where the last before the cut brought more
    than the three together.
    """
    late, three = path.between(cut / 2.0, cut), path.between(cut / 8.0, cut)
    seen = [(octave(part, 0.0), age) for part, age in ((late, 1.0), (three, 2.0))]
    sure = [(*found, age) for found, age in seen if found is not None and found[0] > _SURELY * found[1]]
    if sure:
        pace, error, age = sure[0]
        turn = min(max(pace / sure[1][0], _USUAL), _QUICKER) if len(sure) == 2 else _USUAL**age
    else:  # of few points before the cut, all of them
        whole = octave(path.between(0.0, cut), 0.0, 3)
        if whole is None or whole[0] <= _SURELY * whole[1]:
            return None
        (pace, error), turn = whole, _USUAL ** ((1.0 + max(math.log2(cut / path.step[0]), 1.0)) / 2.0)
    turn *= _USUAL ** math.log2(end / cut)
    return pace * turn, error * turn


def _at(loss: Line, step: float) -> float:
    """Return the loss about ``step``: the median of the points nearest before it."""
    before = loss.value[loss.step <= step]
    if not len(before):
        return float(loss.value[0])
    return float(np.median(before[-max(1, min(5, len(before) // 6)) :]))


def _low_end(line: Line) -> float:
    return float(np.median(line.value[-max(3, line.size // 3) :])) if line.size else math.inf
