"""A wrong resume: at a restart the counter, the rate or the loss is not what it was where the run had been left."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import noise_of

__all__ = ["wrong_resume"]

_RATE = 0.03  # of the peak: how far a rate may be from what it was at the same step
_BEYOND = 5.0  # errors of the loss
_LOSS = 0.08  # of the fall so far: the least jump of the loss
_WORSE = 0.1  # of the validation loss: a rise after the turn that shows though the training loss is near 0
_UNUSUAL = 2.0  # times the highest rise before: what had begun earlier is not the restart's
_FIRST = 4  # points after the turn that may show it
_FLOOR = 0.08  # of the peak: a jump from below it may be a restart that was meant
_HIGHER = 1.25  # times the loss: the least rise of a loss near 0
_LAST = 24  # points before the turn that tell the noise
_WIDE = 6  # points on either side
_COUNTER = ("the counter of steps began anew, so that whatever is read from it does too", {"kind": "counter"})


def wrong_resume(record: Record) -> list[Finding]:
    """Return the finding if the log goes back and goes on otherwise, or its rate jumps back up, or warms up anew, in mid-fall."""
    return _went_back(record) or _rate_restarted(record) or _weights_lost(record)


def _went_back(record: Record) -> list[Finding]:
    """Look at where the steps go back: what comes after must be what came before at the same steps."""
    others = list[Finding]()
    for role in ("training loss", "lr"):
        series = record.history.get(role)
        if series is None or len(series) < 6:
            continue
        known = np.isfinite(series.step)
        step = series.step[known]
        turns = np.flatnonzero(np.diff(step) < 0.0) + 1
        for turn in map(int, turns):
            if len(step) - turn < 3 or turn < 3:
                continue
            # the place in the log, as a step, tells the same turn in another column
            before, after = float(step[turn - 1]), float(step[turn])
            goes_on = _goes_on(record, before, after) if _begins(step, turn) else None
            if goes_on is False:
                others = [_another_run(record, before, after)]
                continue
            why = (
                _other_rate(record, before, after)
                or _other_loss(record, before, after)
                or _other_validation(record, before, after)
                or (_COUNTER if goes_on else None)
            )
            if why is not None:
                words, evidence = why
                evidence = {**evidence, "left": before, "went back to": after}
                said = f"The log goes back from {record.at(before)} to {after:,.0f}, and {words}."
                return [_finding(said, evidence)]
    return others


def _sides(record: Record, role: str, before: float, after: float) -> tuple[Any, Any, Any, Any] | None:
    """Return steps and values of that column up to the turn and from it on; None if it has no such turn.

    What lies before the first step up to the turn, of a log that did not begin with the run, has nothing to be held against.
    """
    series = record.history.get(role)
    if series is None:
        return None
    known = np.isfinite(series.step) & np.isfinite(series.value)
    step, value = series.step[known], series.value[known]
    turns = np.flatnonzero(np.diff(step) < 0.0) + 1
    if not len(turns):
        return None
    turn = int(turns[np.argmin(np.abs(step[turns] - after) + np.abs(step[turns - 1] - before))])
    following = turns[turns > turn]
    stop = int(following[0]) if len(following) else len(step)
    preceding = turns[turns < turn]
    start = int(preceding[-1]) if len(preceding) else 0
    held = turn + int(np.searchsorted(step[turn:stop], step[start]))
    return step[start:turn], value[start:turn], step[held:stop], value[held:stop]


def _other_rate(record: Record, before: float, after: float) -> tuple[str, dict[str, Any]] | None:
    sides = _sides(record, "lr", before, after)
    if sides is None or len(sides[0]) < 2 or len(sides[2]) < 2:
        return None
    old_step, old, new_step, new = sides
    peak = max(float(old.max()), float(new.max()), 1e-300)
    again = new_step <= old_step[-1]
    if again.any():
        off = np.abs(new[again] - np.interp(new_step[again], old_step, old)) / peak
        spacing = np.abs(np.gradient(old)).max() / peak
        at = int(np.argmax(off))
        if float(np.median(off)) <= _RATE and float(off.max()) <= max(3.0 * spacing, 2 * _RATE):
            return None
        expected = float(np.interp(new_step[again][at], old_step, old))
        return (
            f"the learning rate is {new[again][at]:.3g} where it was {expected:.3g} at {record.at(new_step[again][at])}",
            {"lr before": expected, "lr after": float(new[again][at]), "kind": "rate"},
        )
    return None


def _other_loss(record: Record, before: float, after: float) -> tuple[str, dict[str, Any]] | None:
    sides = _sides(record, "training loss", before, after)
    if sides is None or len(sides[1]) < 4 or len(sides[3]) < 3:
        return None
    old_step, old, new_step, new = sides
    near = (old_step >= new_step[0]) & (old_step <= new_step[min(_WIDE, len(new_step)) - 1])
    was = old[near] if near.sum() >= 3 else old[-_WIDE:]
    now = new[: max(3, min(_WIDE, len(was)))]
    noise = max(noise_of(old), float(np.std(was)) / math.sqrt(2.0))
    rise = float(now.mean() - was.mean())
    if (times := _times_higher(old_step, old, new_step, new)) is not None:
        return (
            f"the loss is {times:.2g} times what it was, in the geometric mean of the first points: the optimiser's state may be "
            "lost",
            {"loss before": float(was.mean()), "loss after": float(now.mean()), "times": times, "kind": "loss"},
        )
    fallen = max(float(np.median(old[:3])) - float(was.mean()), 0.0)
    if rise <= _BEYOND * noise * math.sqrt(1 / len(was) + 1 / len(now)) or rise <= _LOSS * fallen:
        return None
    return (
        f"the loss is {now.mean():.4g} where it was {was.mean():.4g}",
        {"loss before": float(was.mean()), "loss after": float(now.mean()), "noise": noise, "kind": "loss"},
    )


def _times_higher(old_step: Any, old: Any, new_step: Any, new: Any) -> float | None:
    """Return how many times higher the first 4, 8 or 16 points are than it was at their steps, where that is sure; else None.

    What it was: the line through the points about those steps or, where the log did not go back by so much, the last ones' mean.
    Sure: the difference of the mean logarithms, in which a loss near 0 has even noise, is 4 of its errors; of three tries on
    independent points about one sound resume in a thousand does that.
    """
    for k in (4, 8, 16):
        width = max(_LAST, 2 * k)
        if len(new) < k or len(old) < _LAST:
            break
        middle = int(np.searchsorted(old_step, new_step[k // 2]))
        stop = min(max(middle + width // 2, width), len(old))
        about = slice(max(stop - width, 0), stop)
        if min(old[about].min(), new[:k].min()) <= 0.0:
            continue
        at, was = old_step[about] - old_step[about].mean(), np.log(old[about])
        again = new_step[k - 1] <= old_step[stop - 1] and at[-1] > at[0]
        falls = float(at @ was / (at @ at)) if again else 0.0
        rest = was - was.mean() - falls * at
        rise = float(np.log(new[:k]).mean() - was.mean() - falls * (new_step[:k].mean() - old_step[about].mean()))
        total = float(rest @ rest)
        r = min(max(float(rest[1:] @ rest[:-1]) / total, 0.0), 0.9) if total > 0.0 else 0.0
        error = math.sqrt(total / (len(was) - 2) * (1.0 / k + 1.0 / len(was)) * (1.0 + r) / (1.0 - r))
        if rise > max(4.0 * error, math.log(_HIGHER)):
            return math.exp(min(rise, 700.0))  # floats end at 709
    return None


def _other_validation(record: Record, before: float, after: float) -> tuple[str, dict[str, Any]] | None:
    """Return why if the validation loss rises right after the turn as it never did before: an optimiser that starts cold.

    Each of the first points is held against what was measured at its step before, and the highest rise against the noise and
    the highest rise over as many points in the half before.
    """
    sides = _sides(record, "validation loss", before, after)
    if sides is None or len(sides[1]) < 8 or len(sides[3]) < 1:
        return None
    old_step, old, new_step, new = sides
    now, n = new[:_FIRST], min(_FIRST, len(new))
    was = np.interp(new_step[:n], old_step, old)
    at = int(np.argmax(now - was))
    rise, half = float(now[at] - was[at]), old[len(old) // 2 :]
    noise = noise_of(old[-2 * _FIRST :])  # before, the curve bends
    usual = max(float((half[by:] - half[:-by]).max()) for by in range(1, min(n, len(half) - 1) + 1))
    if rise <= _BEYOND * noise * math.sqrt(2.0) or rise <= _WORSE * abs(float(was[at])) or rise <= _UNUSUAL * usual:
        return None
    return (
        f"the validation loss is {now[at]:.4g} at {record.at(new_step[at])} where {was[at]:.4g} was expected: the optimiser's "
        "state may be lost",
        {"loss before": float(was[at]), "loss after": float(now[at]), "noise": noise, "kind": "validation loss"},
    )


def _begins(step: Any, turn: int) -> bool:
    """Whether the log goes back to where it began."""
    gap = np.median(np.abs(np.diff(step[:turn])))
    return bool(step[turn] <= 0.05 * step[turn - 1] and step[turn] <= step[0] + 2.0 * gap)


def _goes_on(record: Record, before: float, after: float) -> bool | None:
    """Whether the loss goes on where it was left though the steps begin anew; None where it had not fallen by then."""
    for role in ("training loss", "validation loss"):
        sides = _sides(record, role, before, after)
        if sides is None or len(sides[0]) < 3 or len(sides[2]) < 3:
            continue
        old_step, old, new_step, new = sides
        n = max(3, min(_FIRST, len(old) // 8, len(new) // 8))
        begun, left = float(np.interp(new_step[:n], old_step, old).mean()), float(old[-n:].mean())
        noise = max(noise_of(old), noise_of(new))
        if begun - left > _BEYOND * noise * math.sqrt(2.0 / n):
            return bool(new[:n].mean() - left < 0.5 * (begun - left))
    return None


def _rate_restarted(record: Record) -> list[Finding]:
    """Look at a single jump of the rate back up in mid-fall, or a warm-up that comes a second time."""
    lr, parts = record.logged_lr, record.pieces
    if lr is None or not parts or lr.size < 6:
        return []
    peak = float(lr.value.max())
    begun = next(
        (i for i, p in enumerate(parts) if p.kind in ("fall", "cut", "hold") and lr.value[p.first] > 0.9 * peak), None
    )
    if begun is None:
        return []
    ups = [
        p for p in parts[begun:] if p.kind in ("jump", "rise") and lr.value[p.last] - lr.value[p.first] > 0.05 * peak
    ]
    quick = [p for p in ups if p.kind == "jump" or lr.step[p.last] - lr.step[p.first] <= _quick(record)]
    if len(ups) != len(quick) or not 1 <= len(quick) <= 2:
        return []
    for up in quick:
        i = parts.index(up)
        fell = float(lr.value[up.first]) / peak
        dropped = parts[i - 1].kind == "cut" or (parts[i - 1].kind == "fall" and _steep(record, parts[i - 1]))
        restored = dropped and i >= 2 and lr.value[parts[i - 1].first] > lr.value[up.first] + 0.05 * peak
        ended = fell <= _FLOOR or _at_rest(record, up.first)
        if restored and fell <= 0.5 and up.kind == "rise":
            how, was = "warms up a second time", float(lr.value[parts[i - 1].first])
        elif not ended and (up.kind == "jump" or up.last - up.first <= 2):
            how, was = "jumps back up", float(lr.value[up.first])
        elif ended and up.kind == "jump" and _as_cycles(record, up.first):
            continue
        elif ended and fell > _FLOOR and parts[i - 1].kind == "hold":
            how, was = "jumps back up", float(lr.value[up.first])
        else:
            continue
        at, now = float(lr.step[up.last]), float(lr.value[up.last])
        if _planned_so(record, at, now):
            continue
        evidence = {"at": at, "lr before": was, "lr after": now, "peak": peak, "kind": "rate"}
        said = f"The rate {how} at {record.at(lr.step[up.first])}, from {lr.value[up.first]:.3g} to {now:.3g}."
        return [_finding(said, evidence)]
    return []


def _quick(record: Record) -> float:
    """Return how long a second warm-up may take: as long as the first, or a twentieth of the run."""
    lr, parts = record.logged_lr, record.pieces
    lead = parts[0] if parts and parts[0].kind == "rise" else None
    first = 0.0 if lr is None or lead is None else float(lr.step[lead.last]) - record.begin
    return max(1.3 * first, 0.05 * record.length)


def _steep(record: Record, piece: Any) -> bool:
    lr = record.logged_lr
    return lr is not None and piece.last - piece.first <= 2


def _at_rest(record: Record, index: int) -> bool:
    """Whether the rate had come to the end of its fall: it hardly moved any more."""
    lr = record.logged_lr
    if lr is None or index < 4:
        return False
    start = index
    while start > 0 and lr.value[start - 1] >= lr.value[start] - 1e-12:
        start -= 1
    falls = -np.diff(lr.value[start : index + 1]) / np.diff(lr.step[start : index + 1])
    if len(falls) < 3 or falls.max() <= 0.0:
        return True
    late = falls[-max(1, len(falls) // 20) :]
    return bool(late.mean() < 0.25 * falls.max())


def _as_cycles(record: Record, index: int) -> bool:
    return (
        _at_rest(record, index)
        or record.logged_lr is None
        or float(record.logged_lr.value[index]) <= _FLOOR * float(record.logged_lr.value.max())
    )


def _planned_so(record: Record, step: float, rate: float) -> bool:
    """Whether the plan has that rate there."""
    if record.plan is None:
        return False
    planned = [float(record.plan.lr(max(int(step) + by, 0))) for by in (-1, 0, 1)]
    return min(abs(each - rate) for each in planned) <= 0.02 * record.plan.peak


def _weights_lost(record: Record) -> list[Finding]:
    """Look at a place where the norm of the weights jumps back to about its first value together with the loss."""
    norm, loss = record.weights, record.training
    if norm is None or loss is None or norm.size < 12 or loss.size < 12:
        return []
    change = np.diff(norm.value)
    at = int(np.argmax(np.abs(change)))
    if at < 3 or at > norm.size - 3:
        return []
    noise = noise_of(norm.value)
    travelled = norm.value[at] - norm.value[0]
    back = abs(norm.value[at + 1] - norm.value[0]) < 0.2 * abs(travelled)
    if abs(change[at]) < max(_BEYOND * 2 * noise, 0.05 * norm.value[0]) or not back:
        return []
    step = float(norm.step[at + 1])
    before, after = loss.value[loss.step < step][-3:], loss.value[loss.step >= step][:2]
    if len(before) < 2 or len(after) < 1:
        return []
    fallen = float(np.median(loss.value[:3])) - float(before.mean())
    if fallen <= 0.0 or float(after.max()) - float(before.mean()) < 0.3 * fallen:
        return []
    evidence = {
        "at": step, "norm before": float(norm.value[at]), "norm after": float(norm.value[at + 1]),
        "first norm": float(norm.value[0]), "loss before": float(before.mean()),
        "loss after": float(after.max()), "kind": "weights",
    }  # fmt: skip
    said = (
        f"At {record.at(step)} the norm of the weights is back at its first value ({norm.value[at + 1]:.4g}) and the loss at "
        f"{after.max():.4g}: the weights were not restored."
    )
    return [_finding(said, evidence)]


def _another_run(record: Record, before: float, after: float) -> Finding:
    evidence = {"left": before, "went back to": after, "kind": "run"}
    said = f"The log goes back from {record.at(before)} to {after:,.0f}, and its loss begins anew: there are two runs in one log."
    return Finding(
        "wrong-resume", "note", said, evidence, Remedy("give each run a file or a folder of its own."), "measured"
    )


def _finding(said: str, evidence: dict[str, Any]) -> Finding:
    says = "restore weights, optimiser state, schedule and step together; compare lr and loss before and after."
    return Finding("wrong-resume", "fault", said, evidence, Remedy(says), "measured")
