"""The learning-rate curve of a log, cut into its pieces: rises, holds, smooth falls, cuts and jumps."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dwindle.findings.curves.trends import Line

__all__ = ["Piece", "Shape", "pieces", "shape_of", "thinned_shape"]

_SAME = 1e-6  # of the peak: what a rate has to change by
_SHARP = 4.0  # times the changes beside it: a jump or a cut
_CUT = 0.12  # of the rate before: the least cut
_JUMP = 0.05  # of the peak: the least jump
_FLAT_STEP = 0.12  # of the run: the longest flat of a staircase
_REGULAR = 5  # cuts at even distances, from which they are a staircase
_FITS = 2e-3  # of the range: how far a curve may be from a shape that describes it


class Piece(NamedTuple):
    """Points ``first`` … ``last`` of the rates, of one ``kind``: "rise", "hold", "fall" (smooth), "cut", "jump" (up at once)."""

    kind: str
    first: int
    last: int


class Shape(NamedTuple):
    """What a smooth fall looks like: ``name`` "linear", "cosine", "convex" or "", and the share of it that lies ahead.

    ``length`` is how many steps the whole fall takes; infinite where it has no end.
    """

    name: str
    left: float
    length: float


def pieces(lr: Line) -> tuple[Piece, ...]:
    """Return the pieces of the curve, in order; each begins where the one before it ends.

    A change that is sharp beside its neighbours is a cut or a jump; a staircase of small even steps is one fall or rise.

    >>> [p.kind for p in pieces(Line(np.arange(8.0), np.array([0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.1])))]
    ['rise', 'hold', 'cut', 'hold']
    """
    if lr.size < 2 or lr.value.max() <= 0.0:
        return ()
    relative = lr.value / lr.value.max()
    change = np.diff(relative)
    size = np.abs(change)
    size[size <= _SAME] = 0.0
    beside = _largest_beside(np.maximum(change, 0.0)), _largest_beside(np.maximum(-change, 0.0))
    kinds: list[str] = []
    for i, moved in enumerate(change):
        sharp = size[i] >= _SHARP * beside[0 if moved > 0.0 else 1][i]
        if size[i] == 0.0:
            kinds.append("hold")
        elif moved > 0.0:
            kinds.append("jump" if sharp and moved >= _JUMP and i > 0 else "rise")
        else:
            kinds.append("cut" if sharp and -moved >= _CUT * relative[i] else "fall")
    return _stairs(lr, _merged([Piece(kind, i, i + 1) for i, kind in enumerate(kinds)]))


def _largest_beside(size: Any) -> Any:
    """Return the larger of the two neighbours of each entry."""
    return np.maximum(np.append(size[1:], 0.0), np.concatenate(([0.0], size[:-1])))


def _merged(parts: list[Piece]) -> list[Piece]:
    """Return the pieces with neighbours of one kind joined; two cuts in a row are one."""
    found: list[Piece] = []
    for part in parts:
        if found and found[-1].kind == part.kind:
            found[-1] = found[-1]._replace(last=part.last)
        else:
            found.append(part)
    return found


def _stairs(lr: Line, parts: list[Piece]) -> tuple[Piece, ...]:
    """Return the pieces with staircases made one fall, or one rise."""
    span = float(lr.step[-1] - lr.step[0]) or 1.0
    for smooth, sharp in (("fall", "cut"), ("rise", "jump")):
        parts = _regular(lr, parts, smooth, sharp)
        found: list[Piece] = []
        for i, part in enumerate(parts):
            after = parts[i + 1].kind if i + 1 < len(parts) else ""
            wide = float(lr.step[part.last] - lr.step[part.first])
            inside = part.kind == "hold" and found and found[-1].kind == smooth and after in (smooth, sharp)
            small = part.kind == sharp and found and found[-1].kind == smooth and _no_larger(lr, part, found[-1])
            if (
                inside and wide <= _FLAT_STEP * span and (after == smooth or _no_larger(lr, parts[i + 1], found[-1]))
            ) or small:
                part = part._replace(kind=smooth)
            found = _merged([*found, part])
        parts = found
    return tuple(parts)


def _no_larger(lr: Line, part: Piece, before: Piece) -> bool:
    """Whether a sharp change is about as large as the changes before it."""
    changes = np.abs(np.diff(lr.value[before.first : before.last + 1]))
    return bool(abs(lr.value[part.last] - lr.value[part.first]) <= 1.6 * changes[changes > 0.0].max(initial=0.0))


def _regular(lr: Line, parts: list[Piece], smooth: str, sharp: str) -> list[Piece]:
    """Return the pieces with five or more sharp changes at even distances, with holds between only, as smooth ones."""
    runs: list[list[int]] = [[]]
    for i, part in enumerate(parts):
        if part.kind == sharp:
            runs[-1].append(i)
        elif part.kind not in ("hold", smooth):
            runs.append([])
    for run in runs:
        gaps = np.diff([float(lr.step[parts[i].last]) for i in run])
        if len(run) >= _REGULAR and np.std(gaps) <= 0.25 * np.mean(gaps):
            for i in range(run[0], run[-1] + 1):
                if parts[i].kind in ("hold", sharp):
                    parts[i] = parts[i]._replace(kind=smooth)
    return _merged(parts)


def shape_of(lr: Line) -> Shape:
    """Return which fall these rates follow and how much of it lies ahead after the last of them.

    linear a - b·t; cosine c + a·cos(π·t/P); convex: exponential and inverse powers, which have no end. A shape is named only if
    it is within 0.2 % of the range everywhere and describes the rates clearly better than a convex one.

    >>> t = np.arange(50.0)
    >>> found = shape_of(Line(t, 0.5 + 0.5 * np.cos(np.pi * t / 100)))
    >>> found.name, round(found.left, 2), round(found.length)
    ('cosine', 0.52, 100)
    """
    t, u = lr.step - lr.step[0], lr.value
    span = float(np.ptp(u))
    if lr.size < 5 or span <= 0.0:
        return Shape("", math.nan, math.nan)
    convex = min(_convex(t, u)) / span
    slope, start = np.polyfit(t, u, 1)
    straight = float(np.sqrt(np.mean((slope * t + start - u) ** 2))) / span
    period, wave, (bottom, half) = _cosine(t, u)
    wave /= span
    if straight <= _FITS and straight <= convex / 3.0:
        length = float(-start / slope)
        return Shape("linear", max(float(u[-1] / start), 0.0), length)
    if wave <= _FITS and wave <= convex / 3.0 and half > 0.0 and bottom - half > -0.1 * u.max():
        left = (1.0 + math.cos(math.pi * min(float(t[-1]) / period, 1.0))) / 2.0
        return Shape("cosine", left, period)
    return Shape("convex" if convex <= 5.0 * _FITS else "", math.nan, math.inf)


def thinned_shape(line: Line) -> Shape:
    """Return the shape of the fall; of a staircase by the first points of its stairs."""
    starts = np.concatenate(([True], np.diff(line.value) != 0.0))
    if starts.sum() < 0.7 * line.size and starts.sum() >= 5:
        return shape_of(Line(line.step[starts], line.value[starts]))
    return shape_of(line)


def _convex(t: Any, u: Any) -> list[float]:
    """Return how far off an exponential and two inverse powers are, as root mean squares."""
    if (u <= 0.0).any():
        return [math.inf]
    errors = []
    for transformed, back in (
        (np.log(u), np.exp),
        (1.0 / u, lambda x: 1.0 / x),
        (u**-2.0, lambda x: np.abs(x) ** -0.5),
    ):
        fitted = back(np.polyval(np.polyfit(t, transformed, 1), t))
        errors.append(float(np.sqrt(np.mean((fitted - u) ** 2))))
    return errors


def _cosine(t: Any, u: Any) -> tuple[float, float, Any]:
    """Return (P, error, (c, a)) of the best c + a·cos(π·t/P), P at least the time seen."""
    found = [_cosine_since(t, u, part * float(np.median(np.diff(t)))) for part in (0.0, 0.5, 1.0)]
    return min(found, key=lambda each: each[1])


def _cosine_since(t: Any, u: Any, ahead: float) -> tuple[float, float, Any]:
    """Return the same of a cosine that began ``ahead`` of the first point: a rate may be logged after it has fallen."""
    t = t + ahead
    end = float(t[-1])

    def error(period: float) -> tuple[float, Any]:
        basis = np.column_stack([np.ones_like(t), np.cos(math.pi * t / period)])
        parts = np.linalg.lstsq(basis, u, rcond=None)[0]
        return float(np.sqrt(np.mean((basis @ parts - u) ** 2))), parts

    grid = end * np.geomspace(1.0, 64.0, 49)
    best = int(np.argmin([error(period)[0] for period in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    for _ in range(40):  # golden section
        one, other = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, other) if error(one)[0] < error(other)[0] else (one, high)
    period = (low + high) / 2.0
    return period, *error(period)
