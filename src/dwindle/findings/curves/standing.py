"""Whether a loss stands: shown to fall by too little to matter, over a stretch or over octaves of the steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Fall, Line, fall, noise_of, octave, smooth

__all__ = ["earliest", "is_flat", "stands", "stood_still"]

_OCTAVE = 0.1  # of the second best of the last octaves' progress (the best may be a spike's end): less is flat
_FALLEN = 0.012  # of the whole fall: the same, where all was learned early
_LEVEL = 0.1  # of the loss itself: the same, where the loss is near 0
_TRIFLE = 0.3  # of these: a fall that is sure but so small is still flat
_OF_EARLIER = 0.15  # of the progress an octave before: what brings less stands (a power law keeps about half of it)
_OF_LEVEL = 0.02  # of the loss: no octave that brings more stands
_MOST = 0.06  # of the loss: what an octave may bring, by its interval, where a loss stands
_OF_NOISE = 0.12  # of the spread of a point: progress that no log shows
_OCTAVES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # of a stretch: where a loss may have come to stand


def is_flat(record: Record, loss: Line, start: float, end: float, *, lenient: float = 1.0) -> Fall | None:
    """Return the fall from ``start`` to ``end`` if it is shown to be too small to matter; None if it is not, or not shown.

    Too small: per octave (doubling of the steps) less than a tenth of what the second best of four octaves brought,
    and less than a tenth of the loss itself; the upper end of its 90 % interval must be below ``lenient`` times that.
    """
    octaves = math.log2(max(end - record.begin, 1e-9) / (start - record.begin)) if start > record.begin else 4.0
    found = fall(loss.between(start, end))
    if found is None:
        return None
    trifle = lenient * _matters(record, loss, end) * min(octaves, 1.0)
    if (found.sign and found.p <= 0.05) and not -trifle < found.drop < _TRIFLE * trifle:
        return None  # it surely falls, or rises
    if found.high < trifle:
        return found
    other = record.validation  # on the same examples each time: less noise
    if other is None or other is loss or found.drop >= trifle:
        return None
    quiet = fall(other.between(start, end))
    trifle = lenient * _matters(record, other, end) * min(octaves, 1.0)
    return found if quiet is not None and quiet.high < trifle and quiet.drop > -trifle else None


def stood_still(record: Record, loss: Line, start: float, end: float) -> tuple[float, Fall] | None:
    """Return the earliest step from which the loss is flat until ``end``, and its fall since; None if it never is."""
    return earliest(start, end, lambda begins: is_flat(record, loss, begins, end))


def earliest(start: float, end: float, look: Callable[[float], Fall | None]) -> tuple[float, Fall] | None:
    """Return the first of five steps between ``start`` and ``end`` for which ``look`` returns a fall, and that fall."""
    for part in (0.0, 0.15, 0.3, 0.45, 0.6):
        begins = start + part * (end - start)
        if (found := look(begins)) is not None:
            return begins, found
    return None


def stands(record: Record, loss: Line, start: float, end: float) -> tuple[float, Fall] | None:
    """Return the earliest step from which the loss stands until ``end``, over two octaves at least, and its fall since.

    A loss that still learns at one rate falls about evenly in log(steps), so an octave's progress is told far better from many
    octaves than from the last. It stands if an octave brings less than a trifle, a seventh of what one brought before or an
    eighth of a point's noise, and 2 % of the loss at most, and the upper end of its 90 % interval is below 6 % of the loss and
    what one brought before, if the log shows that. None if it surely falls, its end does, or the validation loss.
    """
    for part in _OCTAVES:
        begins = start + part * (end - start)
        window = loss.between(begins, end)
        if begins < record.begin + _OCTAVES[0] * (end - record.begin) or window.size < 20:
            continue
        drop = octave(window, record.origin)
        before = octave(loss.between(record.begin, begins), record.origin, 3)
        if drop is None:
            continue
        size = abs(float(np.median(window.value)))
        noise = max(noise_of(window.value), 0.7 * float(np.std(window.value - smooth(window.value, 9))))
        # None where the log does not show what it learned before
        brought = before[0] if before is not None and before[0] > 1.65 * before[1] else None
        trifle = min(max(_OF_EARLIER * (brought or 0.0), _OF_NOISE * noise), _OF_LEVEL * size)
        octaves = math.log2((end - record.origin) / (begins - record.origin))
        most = min(_MOST * size, math.inf if brought is None else brought)
        if drop[0] >= trifle or drop[0] + 1.65 * drop[1] >= most:
            continue
        if drop[0] > 2.0 * drop[1] and drop[0] >= _TRIFLE * trifle:
            continue  # it surely falls
        if _still_falls(record, loss, begins, end, trifle):
            continue
        low, high = ((drop[0] + side * 1.65 * drop[1]) * octaves for side in (-1.0, 1.0))
        return begins, Fall(drop[0] * octaves, low, high, 1.0, 0, window.size)
    return None


def _still_falls(record: Record, loss: Line, start: float, end: float, trifle: float) -> bool:
    """Whether the last half of a stretch surely falls, or the validation loss over all of it, by more than a trifle."""
    last = fall(loss.between((start + end) / 2.0, end))
    if last is not None and last.sign < 0 and last.p <= 0.05 and last.drop > trifle:
        return True
    other = record.validation
    quiet = None if other is None or other is loss else octave(other.between(start, end), record.origin)
    return quiet is not None and quiet[0] > 3.0 * quiet[1] and quiet[0] > trifle


def _matters(record: Record, loss: Line, end: float) -> float:
    """Return the least fall an octave that counts as progress."""
    length = end - record.begin
    levels = [_near(loss, record.begin + length * 0.5**k) for k in range(5)]
    drops = [early - late for late, early in itertools.pairwise(levels)]
    first, last = max(float(loss.value[0]), float(np.median(loss.value[:3]))), levels[0]
    return min(max(_OCTAVE * sorted(drops)[-2], _FALLEN * (first - last)), _LEVEL * abs(last))


def _near(loss: Line, step: float) -> float:
    """Return the median of the points around ``step``."""
    order = np.argsort(np.abs(loss.step - step), kind="stable")
    return float(np.median(loss.value[order[: max(3, loss.size // 25)]]))
