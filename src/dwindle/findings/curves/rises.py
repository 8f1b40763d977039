"""A rate that rises again after it fell: a cosine stepped past its end, a cycle by accident, a cut that was taken back."""

from __future__ import annotations

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.rates import Piece
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Line

__all__ = ["lr_rise"]

_RISE = 0.03  # of the peak
_QUICK = 0.04  # of the run: a quicker rise is a warm-up after a restart


def lr_rise(record: Record) -> list[Finding]:
    """Return the finding if the rate rises smoothly after its fall, or a cut is taken back; other jumps are restarts, a note."""
    lr, parts = record.logged_lr, record.pieces
    if lr is None or lr.size < 6 or not parts:
        return []
    peak = float(lr.value.max())
    fell = next((i for i, piece in enumerate(parts) if piece.kind in ("fall", "cut")), None)
    if fell is None:
        return []
    rises = [p for p in parts[fell:] if p.kind == "rise" and lr.value[p.last] - lr.value[p.first] > _RISE * peak]
    slow = [p for p in rises if lr.step[p.last] - lr.step[p.first] > _QUICK * record.length and p.last - p.first >= 2]
    jumps = [p for p in parts[fell:] if p.kind == "jump"]
    if slow and (_as_planned(record) or _triangles(record, slow)):
        return [_restarts(record, [float(lr.step[p.first]) for p in slow], "rises again")]
    if slow:
        first = slow[0]
        at, low, high = float(lr.step[first.first]), float(lr.value[first.first]), float(lr.value[first.last])
        evidence = {"first": at, "from": low, "to": high, "rises": len(slow)} | _of_all(lr)
        said = (
            f"The learning rate rises again from {low:.3g} at {record.at(at)} to {high:.3g} at "
            f"{record.at(lr.step[first.last])}, after it had fallen: a cosine stepped past its end does that."
        )
        remedy = Remedy(
            f"make the decay as long as the run (T_max = {record.end:,.0f} {record.word}s), or hold the end value after it."
        )
        return [Finding("lr-rise", "warning", said, evidence, remedy)]
    if len(jumps) == 1 and not rises and _taken_back(record, parts[fell : parts.index(jumps[0])]):
        return [_cut_undone(record, jumps[0])]
    if len(jumps) + len(rises) >= 2:
        return [
            _restarts(
                record, [float(lr.step[p.first]) for p in sorted(jumps + rises, key=lambda p: p.first)], "jumps back up"
            )
        ]
    return []


def _taken_back(record: Record, since: tuple[Piece, ...]) -> bool:
    """Whether the rate was cut and held only, which no restart's fall is, and the plan does not rise."""
    return {piece.kind for piece in since} <= {"cut", "hold"} and not _as_planned(record)


def _cut_undone(record: Record, up: Piece) -> Finding:
    lr = record.logged_lr
    assert lr is not None
    at, low, high = float(lr.step[up.last]), float(lr.value[up.first]), float(lr.value[up.last])
    evidence = {"first": at, "from": low, "to": high, "rises": 1} | _of_all(lr)
    said = (
        f"The learning rate, once cut, is set back from {low:.3g} to {high:.3g} at {record.at(at)}: the cut is undone."
    )
    remedy = Remedy("leave the rate where the cut took it; if the run was resumed there, load the scheduler's state.")
    return Finding("lr-rise", "warning", said, evidence, remedy)


def _of_all(lr: Line) -> dict[str, float]:
    return {"peak": float(lr.value.max()), "lr at end": float(lr.value[-1])}


def _restarts(record: Record, steps: list[float], how: str) -> Finding:
    said = f"The learning rate {how} {len(steps)} times, first at {record.at(steps[0])}: a cyclic schedule."
    return Finding("lr-restarts", "note", said, {"steps": steps}, Remedy("nothing, if restarts are meant."))


def _as_planned(record: Record) -> bool:
    """Whether the plan rises there as well."""
    lr = record.logged_lr
    if lr is None or record.plan is None:
        return False
    steps = np.maximum(lr.step, 0).astype(np.int64)
    off = [np.abs(np.asarray(record.plan.lr(np.maximum(steps - by, 0))) - lr.value) for by in (0, 1)]
    return bool(min(float(np.percentile(each, 90)) for each in off) <= 0.02 * float(lr.value.max()))


def _triangles(record: Record, rises: list[Piece]) -> bool:
    """Whether the rate goes up and down in straight lines again and again, as a cyclic rate is meant to."""
    lr = record.logged_lr
    if lr is None or len(rises) < 2:
        return False
    bends = []
    for piece in rises:
        value = lr.value[piece.first : piece.last + 1]
        line = np.interp(lr.step[piece.first : piece.last + 1], lr.step[[piece.first, piece.last]], value[[0, -1]])
        bends.append(float(np.abs(value - line).max() / (value[-1] - value[0])))
    return float(np.median(bends)) < 0.03
