"""A flat loss is one of three: it rattles (oscillation), noise holds it up (noise-floor), or learning has ended (plateau)."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from dwindle import laws
from dwindle.errors import DwindleError
from dwindle.findings.curves.record import Record
from dwindle.findings.curves.trends import Fall, Line, fall, level, noise_of, octave, smooth
from dwindle.findings.finding import Finding, Remedy
from dwindle.schedule.stagnation import verdict

__all__ = ["flat", "is_flat", "stands", "stood_still"]

_OCTAVE = (
    0.1  # of the second best of the last octaves' progress (the best may be a spike's end): what brings less is flat
)
_FALLEN = 0.012  # of the whole fall: the same, where all was learned early
_LEVEL = 0.1  # of the loss itself: the same, where the loss is near 0
_TRIFLE = 0.3  # of these: a fall that is sure but so small is still flat
_HIGH = 0.3  # of the peak: a rate below it has been cut
_TINY = 0.01  # of the peak: a rate below it teaches nothing
_AT_NO_RATE = 2.5  # times as much: at next to no rate little evidence is enough
_LONG = 0.4  # of the run: a flat end after a decay that is longer was not planned so
_SHORT = 0.2  # of the run: a shorter stretch at one rate says nothing
_RHYTHM = 1e-3  # the largest p of an oscillation
_CLEAR = 1e-6  # the same where the swing is less than the rest, as that of a rhythm with overtones is
_OF_EARLIER = 0.15  # of the progress an octave before: what brings less stands (a power law keeps about half of it)
_OF_LEVEL = 0.02  # of the loss: no octave that brings more stands
_OF_NOISE = 0.12  # of the spread of a point: progress that no log shows
_OCTAVES = (1 / 32, 1 / 16, 1 / 8, 1 / 4)  # of a stretch: where a loss may have come to stand
_ANTI = 0.25  # the least anticorrelation that matters
_JUMPS = 0.01  # of the loss: the least jump that matters
_ORDERS = 8  # batches an epoch: with fewer, drawing without replacement makes the loss swing by itself
_UNLEARNED = 0.05  # of the first loss: a run that has not fallen by more has learned nothing
_MOST_STEPS = 5_000_000  # of a run that a law is fitted to
_CUT = 0.1  # the cut that a forecast is made for
_GUESSES = (
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    15,
    16,
    18,
    20,
    100,
    1000,
)  # classes: the loss of guessing is their logarithm


class Stretch(NamedTuple):
    """The end of a run at one rate, from the step ``start``; ``ratio`` is that rate over the peak, nan if it is not known."""

    start: float
    ratio: float


def flat(record: Record) -> list[Finding]:
    """Return the one of oscillation, noise-floor and plateau that the end of the run is, if it is flat at all."""
    loss = record.loss
    if loss is None or loss.size < 12:
        return []
    if (finding := _unlearned(record, loss)) is not None:
        return [finding]
    stretch = _last_stretch(record)
    if stretch is None:
        return []
    begins = [max(stretch.start, record.begin + part * record.length) for part in (0.5, 2.0 / 3.0)]
    high = not stretch.ratio <= _HIGH
    if high and (found := _above_its_start(record, loss, stretch)) is not None:
        return [found]
    for start in begins if high else [stretch.start, *begins]:
        window = loss.between(start, record.end)
        if record.share(start) > 1.0 - _SHORT + 1e-9:
            continue
        if high and (found := _oscillates(record, loss, window)) is not None:
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


def is_flat(
    record: Record, loss: Line, start: float, end: float, *, lenient: float = 1.0, least: float = 0.0
) -> Fall | None:
    """Return the fall from ``start`` to ``end`` if it is shown to be too small to matter; None if it is not, or not shown.

    Too small: per octave (doubling of the steps) less than a tenth of what the second best of four octaves brought,
    and less than a tenth of the loss itself; the upper end of its 90 % interval must be below ``lenient`` times that. ``least``
    is a fall that does not matter in any case, such as a part of what a cut brought: noise may hide all that is smaller.
    """
    octaves = math.log2(max(end - record.begin, 1e-9) / (start - record.begin)) if start > record.begin else 4.0
    found = fall(loss.between(start, end))
    if found is None:
        return None
    trifle = max(lenient * _matters(record, loss, end) * min(octaves, 1.0), least)
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


def stood_still(record: Record, loss: Line, start: float, end: float, least: float = 0.0) -> tuple[float, Fall] | None:
    """Return the earliest step from which the loss is flat until ``end``, and its fall since; None if it never is."""
    for part in (0.0, 0.15, 0.3, 0.45, 0.6):
        begins = start + part * (end - start)
        if (found := is_flat(record, loss, begins, end, least=least)) is not None:
            return begins, found
    return None


def stands(record: Record, loss: Line, start: float, end: float) -> tuple[float, Fall] | None:
    """Return the earliest step from which the loss stands until ``end``, over two octaves at least, and its fall since.

    A loss that still learns at one rate falls about evenly in log(steps), so an octave's progress is told far better from many
    octaves than from the last. It stands if an octave brings less than a trifle, a seventh of what one brought before or an
    eighth of a point's noise, and 2 % of the loss at most, and the upper end of its 90 % interval is below 4 % of the loss and
    what one brought before. None if it surely falls, its end does, or the validation loss.
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
        trifle = min(max(_OF_EARLIER * before[0] if before else 0.0, _OF_NOISE * noise), _OF_LEVEL * size)
        octaves = math.log2((end - record.origin) / (begins - record.origin))
        most = min(2.0 * _OF_LEVEL * size, max(before[0], 0.0) if before else math.inf)
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


def _oscillates(record: Record, loss: Line, window: Line) -> Finding | None:
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
    if (
        epoch
        and 1.5 * spacing < epoch
        and (
            abs(period / epoch - max(round(period / epoch), 1)) < 0.05
            or (found.period is None and epoch < _ORDERS * spacing)
        )
    ):
        return None  # it follows the order of the data, not the rate
    whole = max(window.size // 2 // max(round(length), 1) * round(length), window.size // 2)
    drop = float(window.value[:whole].mean() - window.value[-whole:].mean())
    if drop > 0.5 * amplitude:
        return None
    evidence = {
        "from": float(window.step[0]), "level": float(np.mean(window.value)), "period": period, "amplitude": amplitude,
        "noise": found.noise, "p": p, "lr": _rate(record),
    }  # fmt: skip
    said = (
        f"From step {window.step[0]:,.0f} the loss swings by ±{amplitude:.3g} about {evidence['level']:.4g} with a period of "
        f"{period:,.3g} steps (p = {p:.1g}) and no longer falls: the steps are too long."
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


def _above_its_start(record: Record, loss: Line, stretch: Stretch) -> Finding | None:
    """Return the finding if the run, under one high rate, jumps about a level above its first loss: it never settled anywhere."""
    first = float(loss.step[0])
    if record.begin > 0.0 or record.share(first) > 0.02 or record.share(stretch.start) > 0.1:
        return None
    window = loss.between(record.begin + 0.5 * record.length, record.end)
    if window.size < 10:
        return None
    here, spread = level(window.value), float(np.std(window.value))
    start = float(loss.value[0])
    sure = 3.0 * here.error + (0.0 if record.history.unit == "step" and first <= 1.0 else 2.5 * spread)
    if here.mean - start <= sure or spread < 0.02 * abs(here.mean) or not math.isfinite(here.error):
        return None
    trend = fall(window)
    if trend is None or (trend.sign and abs(trend.drop) > spread):
        return None  # it comes down yet, or goes up for good
    evidence = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "first loss": start, "period": None,
        "amplitude": spread, "noise": noise_of(window.value), "lr": _rate(record),
    }  # fmt: skip
    said = (
        f"The loss jumps about {here.mean:.4g} by ±{spread:.3g} and has stayed above its first value, {start:.4g}: the steps are "
        "too long to settle anywhere."
    )
    return Finding("oscillation", "warning", said, evidence, _halve(record), "derived")


def _halve(record: Record) -> Remedy:
    change = {} if record.given is None else record.diff("peak", f"{record.given.peak / 2:g}")
    return Remedy("halve the learning rate, or let it decay to the end of the run.", change)


def _held_up(record: Record, loss: Line, window: Line, stood: Fall) -> list[Finding]:
    """Return a noise floor; where each step sees all examples, and none is, an oscillation if the loss jumps, else nothing."""
    epoch, noise = record.logged_steps_per_epoch, noise_of(window.value)
    here = level(window.value)
    if epoch is None or epoch > 1.5:
        return [_noise_floor(record, loss, window, stood)]
    if noise < _JUMPS * abs(here.mean):
        return []  # it has learned what there is
    evidence = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "period": None,
        "amplitude": math.sqrt(2.0) * noise, "noise": noise, "steps per epoch": epoch, "lr": _rate(record),
    }  # fmt: skip
    said = (
        f"The loss has stood at {here.mean:.4g} since step {window.step[0]:,.0f} and jumps by ±{evidence['amplitude']:.3g}, "
        "though every step sees all examples: the steps are too long."
    )
    return [Finding("oscillation", "warning", said, evidence, _halve(record), "derived")]


def _noise_floor(record: Record, loss: Line, window: Line, stood: Fall) -> Finding:
    here = level(window.value)
    evidence: dict[str, Any] = {
        "from": float(window.step[0]), "level": here.mean, "level error": here.error, "fall": stood.drop,
        "fall interval": (stood.low, stood.high), "lr": _rate(record),
    }  # fmt: skip
    told = _foretold(record, loss, evidence)
    said = (
        f"The loss has stood at {here.mean:.4g} since step {window.step[0]:,.0f} (fall {stood.drop:.2g}, at most "
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
    return f"the loss should then fall by {gain:.3g} ± {half:.2g} (90 %) within {more:,} steps"


def _plateau(record: Record, loss: Line, stretch: Stretch, stood: Fall) -> list[Finding]:
    """Return the finding if the flat end is so long that it was not planned: the end of a decay is flat in every good run."""
    still = stood_still(record, loss, stretch.start, record.end)
    since = stretch.start if still is None else still[0]
    if 1.0 - record.share(since) < _LONG:
        return []
    here = level(loss.between(since, record.end).value)
    evidence: dict[str, Any] = {
        "from": since, "level": here.mean, "level error": here.error, "share of run": 1.0 - record.share(since),
        "fall": stood.drop, "fall interval": (stood.low, stood.high), "lr": _rate(record), "lr over peak": stretch.ratio,
    }  # fmt: skip
    said = (
        f"The loss has stood at {here.mean:.4g} since step {since:,.0f}, "
        f"{100 * evidence['share of run']:.0f} % of the run, after "
        f"the learning rate had come down to {evidence['lr']:.3g}: nothing more is learned."
    )
    return [
        Finding(
            "plateau", "warning", said, evidence, Remedy("let the rate come down later, or stop earlier."), "measured"
        )
    ]


def _unlearned(record: Record, loss: Line) -> Finding | None:
    """Return a plateau if the loss has not moved from where it began: a dead network, or a rate that is far too small."""
    first, whole = float(loss.value[0]), fall(loss)
    spread = float(np.percentile(loss.value, 97) - np.percentile(loss.value, 3))
    early = record.share(float(loss.step[0])) <= 0.02 and record.history.unit == "step"
    guessed = first > 0.0 and min(abs(first / math.log(k) - 1.0) for k in _GUESSES) <= 0.01 and spread <= 0.02 * first
    if whole is None or not (early or guessed) or whole.high > _UNLEARNED * abs(first):
        return None
    if whole.sign < 0 and whole.p <= 0.05 and whole.high > 0.1 * _UNLEARNED * abs(first):
        return None
    end = level(loss.value[-max(4, loss.size // 3) :])
    if whole.low < -_UNLEARNED * abs(first) or float(smooth(loss.value, 9).min()) < (1.0 - 2.0 * _UNLEARNED) * first:
        return None
    if abs(end.mean - first) > _UNLEARNED * abs(first) + 3.0 * end.error:
        return None
    evidence = {
        "from": float(loss.step[0]), "level": end.mean, "level error": end.error, "share of run": 1.0, "fall": whole.drop,
        "fall interval": (whole.low, whole.high), "lr": _rate(record),
    }  # fmt: skip
    said = (
        f"The loss has not left its first value, {first:.4g}: from step {loss.step[0]:,.0f} to {loss.step[-1]:,.0f} it fell by "
        f"{whole.drop:.2g}, at most {whole.high:.2g}. The network is dead, cut off from its data, or the rate far too small."
    )
    says = "look at the norm of the gradient: if it is 0, initialise anew with a lower rate or a warm-up; else raise the rate."
    return Finding("plateau", "fault", said, evidence, Remedy(says), "measured")


def _rate(record: Record) -> float | None:
    return None if record.lr is None else float(record.lr.value[-1])
