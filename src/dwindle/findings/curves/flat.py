"""A flat loss is one of three: it rattles (oscillation), noise holds it up (noise-floor), or learning has ended (plateau)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from dwindle.errors import DwindleError
from dwindle.finding import Finding, Remedy
from dwindle.findings.curves.oscillation import jumps, never_settled, oscillates
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.standing import is_flat, stands, stood_still
from dwindle.findings.curves.trends import Fall, Level, Line, fall, level, noise_of, smooth

__all__ = ["flat"]

_HIGH = 0.3  # of the peak: a rate below it has been cut
_TINY = 0.01  # of the peak: a rate below it teaches nothing
_AT_NO_RATE = 2.5  # times as much: at next to no rate little evidence is enough
_LONG = 0.4  # of the run: a flat end after a decay that is longer was not planned so
_SHORT = 0.2  # of the run: a shorter stretch at one rate says nothing
_UNLEARNED = 0.05  # of the first loss: a run that has not fallen by more has learned nothing
_FREQUENT = 0.4  # of that: what is learned by how often each class occurs
_STILL = 0.005  # of the validation loss: one that moves by less has learned nothing
_MOST_STEPS = 5_000_000  # of a run that a law is fitted to
_CUT = 0.1  # the cut that a forecast is made for
# classes: the loss of guessing is their logarithm
_GUESSES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 16, 18, 20, 100, 1000)


class Stretch(NamedTuple):
    """The end of a run at one rate, from the step ``start``; ``ratio`` is that rate over the peak, nan if it is not known."""

    start: float
    ratio: float


def flat(record: Record) -> list[Finding]:
    """Return the one of oscillation, noise-floor and plateau that the end of the run is, if it is flat at all."""
    loss = record.loss
    if loss is None:
        return []
    if (finding := _unlearned(record, loss)) is not None:
        return [finding]
    if loss.size < 12:
        return []
    stretch = _last_stretch(record)
    if stretch is None:
        return []
    begins = [max(stretch.start, record.begin + part * record.length) for part in (0.5, 2.0 / 3.0)]
    high = not stretch.ratio <= _HIGH
    if high and (found := never_settled(record, loss, stretch.start)) is not None:
        return [found]
    for start in begins if high else [stretch.start, *begins]:
        window = loss.between(start, record.end)
        if record.share(start) > 1.0 - _SHORT + 1e-9:
            continue
        if high and (found := oscillates(record, window)) is not None:
            return [found]
        if (
            stood := is_flat(record, loss, start, record.end, lenient=_AT_NO_RATE if stretch.ratio <= _TINY else 1.0)
        ) is None:
            continue
        if not high:
            return _plateau(record, loss, stretch, stood)
        if math.isfinite(stretch.ratio):
            return _held_up(record, loss, window, stood)
    if high and math.isfinite(stretch.ratio) and record.share(stretch.start) <= 0.5:
        still = stands(record, loss, stretch.start, record.end)
        if still is not None:
            return _held_up(record, loss, loss.between(still[0], record.end), still[1])
    return []


def _last_stretch(record: Record) -> Stretch | None:
    """Return the end of the run at one rate, or at a tiny one; None where the rate moves until the end."""
    lr = record.lr
    if lr is None or not record.pieces:
        return Stretch(record.begin, math.nan)
    peak, last = float(lr.value.max()), record.pieces[-1]
    if peak <= 0.0:
        return None
    above = np.flatnonzero(lr.value > _TINY * peak)
    tiny = float(lr.step[min(above[-1] + 1, lr.size - 1)])
    if record.share(tiny) <= 1.0 - _SHORT:
        return Stretch(tiny, float(lr.value[-1]) / peak)
    if last.kind != "hold":
        return None
    return Stretch(float(lr.step[last.first]), float(lr.value[-1]) / peak)


def _held_up(record: Record, loss: Line, window: Line, stood: Fall) -> list[Finding]:
    """Return a noise floor; where each step sees all examples, and none is, an oscillation if the loss jumps, else nothing."""
    epoch = record.logged_steps_per_epoch
    if epoch is None or epoch > 1.5:
        return [_noise_floor(record, loss, window, stood)]
    found = jumps(record, window, epoch)
    return [] if found is None else [found]


def _noise_floor(record: Record, loss: Line, window: Line, stood: Fall) -> Finding:
    here = level(window.value)
    evidence: dict[str, Any] = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "fall": stood.drop,
        "fall interval": (stood.low, stood.high), "lr": record.last_lr,
    }  # fmt: skip
    told = _foretold(record, loss, evidence)
    said = (
        f"The loss has stood at {here.mean:.4g} since {record.at(window.step[0])} (fall {stood.drop:.2g}, at most "
        f"{stood.high:.2g}) with the learning rate still at {evidence['lr']:.3g}: gradient noise holds it up."
    )
    change = record.diff("schedule", "constant, linear to 0% over 20%") if _is_constant(record) else {}
    return Finding(
        "noise-floor",
        "warning",
        said,
        evidence,
        Remedy(f"cut the learning rate to a tenth; {told}.", change),
        "derived",
    )


def _is_constant(record: Record) -> bool:
    return all(piece.kind == "hold" for piece in record.pieces)


def _foretold(record: Record, loss: Line, evidence: dict[str, Any]) -> str:
    """Return what the noise-floor law expects of a cut, as words; put it among the evidence."""
    evidence["expected drop"] = evidence["expected drop interval"] = None
    if record.end > _MOST_STEPS or record.history.unit != "step":
        return "how much that brings cannot be foretold from this log"
    from dwindle import laws  # what it fits with takes half a second to load, and most logs need none of it

    try:
        run = laws.Run.logged(loss.step, record.lr_at(loss.step), loss.value)
        fitted = laws.fit(run, "noise-floor")
        more = max(len(run.lr) // 10, 10)
        hold = np.concatenate([run.lr, np.full(more, run.lr[-1])])
        cut = np.concatenate([run.lr, np.full(more, _CUT * run.lr[-1])])
        forecast = fitted.predict(cut, at=[len(cut)])
        gain, half = fitted.difference(cut, hold)
    except DwindleError as error:
        evidence["why not foretold"] = str(error)
        return "how much that brings cannot be foretold from this log"
    if not forecast.supported:
        evidence["why not foretold"] = forecast.why
        return f"how much that brings cannot be foretold: {forecast.why}"
    evidence["expected drop"], evidence["expected drop interval"] = gain, (gain - half, gain + half)
    return f"the loss should then fall by {gain:.3g} ± {half:.2g} (90 %) within {more:,} {record.word}s"


def _plateau(record: Record, loss: Line, stretch: Stretch, stood: Fall) -> list[Finding]:
    """Return the finding if the flat end is so long that it was not planned: the end of a decay is flat in every good run."""
    still = stood_still(record, loss, stretch.start, record.end)
    since = stretch.start if still is None else still[0]
    if 1.0 - record.share(since) < _LONG:
        return []
    here = level(loss.between(since, record.end).value)
    evidence: dict[str, Any] = {
        "from": since, "level": here.mean, "level error": here.error, "share of run": 1.0 - record.share(since),
        "fall": stood.drop, "fall interval": (stood.low, stood.high), "lr": record.last_lr, "lr over peak": stretch.ratio,
    }  # fmt: skip
    said = (
        f"The loss has stood at {here.mean:.4g} since {record.at(since)}, "
        f"{100 * evidence['share of run']:.0f} % of the run, after "
        f"the learning rate had come down to {evidence['lr']:.3g}: nothing more is learned."
    )
    return [
        Finding(
            "plateau", "warning", said, evidence, Remedy("let the rate come down later, or stop earlier."), "measured"
        )
    ]


def _unlearned(record: Record, loss: Line) -> Finding | None:
    """Return a plateau if the loss has not moved from where it began: a dead network, or a rate that is far too small.

    Nothing where it surely fell, or the validation loss: that is of the same examples each time, and shows what small batches
    hide. Only a fall by which no more is learned than how often each class occurs is one all the same, and so said: to the loss
    of guessing at once, or slowly if the accuracy is that of guessing too, or little below it. A fault where the log shows that
    it did not move, else a warning.
    """
    first, whole, other = float(loss.value[0]), fall(loss), record.validation
    if whole is None:
        return None
    little = _UNLEARNED * abs(first)
    still = other is not None and other.size >= 5 and np.ptp(other.value) <= _STILL * abs(float(other.value[0]))
    if not still and max(whole.high, -whole.low, float(np.abs(smooth(loss.value, 9) - first).max()) / 2.0) > little:
        return None
    early = record.share(float(loss.step[0])) <= 0.02 and record.history.unit == "step"
    spread = float(np.percentile(loss.value, 97) - np.percentile(loss.value, 3))
    even = record.history.unit == "epoch" and spread <= 0.2 * little  # of means over all examples
    end = level(loss.value[-max(4, loss.size // 3) :])
    if not still and abs(end.mean - first) > little + 3.0 * end.error:
        return None
    classes = _guessed(end.mean)
    told = classes is not None and _is_accuracy_of(record, classes)
    if not told and other is not None and other is not loss and _fell(other):
        return None
    trifle, (drop, error) = 0.1 * little, _drop(loss, end)
    fell = _surely(whole, trifle) or drop > max(trifle, 3.0 * error)
    later = fall(loss.between(record.begin + 0.1 * record.length, record.end))
    if not told and _surely(later, 0.0):
        classes = None
    classes = (_guessed(first) if whole.high <= _FREQUENT * little else None) or classes
    if classes is None and (fell or not (early or even or still)):
        return None
    evidence = {
        "from": float(loss.step[0]), "level": end.mean, "level error": end.error, "share of run": 1.0, "fall": whole.drop,
        "fall interval": (whole.low, whole.high), "lr": record.last_lr,
    }  # fmt: skip
    over = (
        f"from {record.at(loss.step[0])} to {loss.step[-1]:,.0f} it fell by {whole.drop:.2g}, at most {whole.high:.2g}"
    )
    dead = "the network is dead, cut off from its data, or the rate far too small"
    severity = "warning"
    if fell:
        said = (
            f"The run has learned nothing if there are {classes} classes: the loss began at {first:.4g} and stands at "
            f"{end.mean:.4g}, about that of guessing among so many. Then {dead}."
        )
    elif still or max(whole.high, drop + 1.65 * error) <= _FREQUENT * little:
        severity = "fault"
        said = f"The loss has not left its first value, {first:.4g}: {over}. {dead[0].upper()}{dead[1:]}."
    else:
        said = f"The loss cannot be told to have left its first value, {first:.4g}: {over}. Perhaps {dead}."
    says = "look at the norm of the gradient: if it is 0, initialise anew with a lower rate or a warm-up; else raise the rate."
    return Finding("plateau", severity, said, evidence, Remedy(says), "measured")


def _surely(found: Fall | None, trifle: float) -> bool:
    """Whether a line surely falls, and may do so by more than a trifle."""
    return found is not None and found.sign < 0 and found.p <= 0.05 and found.high > trifle


def _drop(loss: Line, end: Level) -> tuple[float, float]:
    """Return how far the end lies below the first twentieth of the points, and the standard error of that."""
    head = level(loss.value[: max(4, loss.size // 20)])
    error = max(head.error, noise_of(loss.value) / math.sqrt(head.n))
    return head.mean - end.mean, math.hypot(error, end.error)


def _fell(other: Line) -> bool:
    """Whether the validation loss fell from its first point to its last three, beyond noise and by more than next to nothing."""
    least = max(5.0 * noise_of(other.value), _STILL * abs(float(other.value[0])))
    return other.size >= 5 and float(other.value[0] - np.median(other.value[-3:])) > least


def _is_accuracy_of(record: Record, classes: int) -> bool:
    """Whether the last accuracies are those of guessing among so many classes, to a tenth."""
    logged = record.history.get("validation accuracy") or record.history.get("training accuracy")
    if logged is None or not len(logged):
        return False
    return bool(abs(np.median(logged.value[-max(3, len(logged) // 10) :]) * classes - 1.0) <= 0.1)


def _guessed(value: float) -> int | None:
    """Return of how many classes ``value`` is the loss of guessing, to 1 %; None of none."""
    off, classes = min((abs(value / math.log(k) - 1.0), k) for k in _GUESSES)
    return classes if off <= 0.01 else None
