"""Checks for losses of any sign; each against a control training."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from clinic.checks import *  # noqa: F403
from clinic.checks import need
from engine import more, r


def _span(run, what="val"):
    v = [e[what] for e in run.evaluated]
    return max(v[0], np.mean(run.loss[:5]) if what == "train" else v[0]) - min(v)


def overfit(by=0.25):
    """Validation has its least before 65 % and ends above it by ``by`` of what training fell; training falls on."""

    def check(run, again):
        least, at = run.least("val")
        began = float(np.mean(run.loss[:3]))
        fell = began - least
        rise = run.at("val") - least
        train = run.at("train", max(at, 0.02)) - run.at("train")
        tail = [e["val"] for e in run.evaluated]
        half = np.mean(tail[len(tail) // 2 : len(tail) * 3 // 4]) <= np.mean(tail[len(tail) * 3 // 4 :]) + 0.02 * abs(
            fell
        )
        said = f"val {least:.3f} at {at:.0%}, {run.at('val'):.3f} at the end, of a fall of {fell:.3f}; train down {train:.3f} since"
        return need((rise > by * abs(fell) or 0 < 0.15 * least < rise) and at < 0.65 and train > 0 and half, said)

    return check


def stands(at=None, better=None):
    """Flat from a fifth on; a tenth of the rate gives no less; ``better`` (changes of the job) shows that less can be had."""

    def check(run, again):
        span = abs(run.mean(0.2, 0.4)) or 1
        drift = (run.mean(0.8, 1) - run.mean(0.2, 0.4)) / span
        cut = again(lr=run.job.lr / 10).mean(0.8, 1)
        said = f"loss {run.mean(0.2, 0.4):.4f} at 20-40 %, {run.mean(0.8, 1):.4f} at the end; at a tenth of the rate {cut:.4f}"
        ok = (
            abs(drift) < 0.03
            and cut > run.mean(0.8, 1) - 0.03 * span
            and (at is None or abs(run.mean(0.8, 1) / at - 1) < 0.04)
        )
        if better:
            less = again(**better).mean(0.8, 1)
            said += f"; mended {less:.4f}"
            ok = ok and less < 0.9 * run.mean(0.8, 1)
        return need(ok, said)

    return check


def blown(times=3.0, cure=20):
    """Ends non-finite, or ``times`` above the first or 4 times the best before for good; at lr/``cure`` it does not."""

    def check(run, again):
        loss = np.array(run.loss)
        low, last = float(np.nanmin(loss)), float(loss[-1])
        tail = loss[-max(3, len(loss) // 20) :]
        bad = not math.isfinite(last) or (float(np.min(tail)) > times * abs(loss[0]))
        bad = bad or (
            low > 0
            and float(np.min(tail)) > 4 * low
            and float(np.mean(tail)) > 3 * float(np.min(np.convolve(loss, np.ones(9) / 9, "valid")))
        )
        cured = again(lr=run.job.lr / cure)
        said = f"loss {loss[0]:.3g}, least {low:.3g}, last {last:.3g} of {len(loss)} steps; at 1/{cure} of the rate {cured.mean(0.9, 1):.3g}"
        return need(bad and cured.mean(0.9, 1) < abs(loss[0]) and not cured.loss[-1] > 3 * abs(cured.loss[0]), said)

    return check


def hurts_early(warm, top=1.5, calmer=0.6):
    """An early spike over ``top`` of the first loss; the same behind ``warm`` has none, and ends no higher."""

    def check(run, again):
        n = len(run.loss)
        high = max(run.loss[: n // 6])
        w = again(schedule=warm)
        calm = max(w.loss[: n // 6])
        said = f"first {run.loss[0]:.3g}, highest {high:.3g}, end {run.mean(0.9, 1):.3g}; warmed up highest {calm:.3g}, end {w.mean(0.9, 1):.3g}"
        return need(
            high > top * run.loss[0]
            and calm < max(1.3 * run.loss[0], calmer * high)
            and w.mean(0.9, 1) < 1.1 * run.mean(0.9, 1)
            and math.isfinite(run.loss[-1]),
            said,
        )

    return check


def warms_long(short, by=1.0):
    def check(run, again):
        peak = int(np.argmax(run.lr)) / len(run.lr)
        better = again(schedule=short)
        a, b = run.mean(0, 1), better.mean(0, 1)
        said = f"peak at {peak:.0%}; training loss {run.at('train'):.3f}, mean of the run {a:.3f}; short warm-up {better.at('train'):.3f}, {b:.3f}"
        return need(peak > 0.45 and better.at("train") < by * run.at("train") and b < 0.95 * a, said)

    return check


def restarted(run, again):
    """The counter of steps falls back and goes on from 0; nothing else need show."""
    s = np.array(run.step)
    back = int(np.argmin(np.diff(s))) + 1
    return need(s[back] == 1 and s[back - 1] > 50, f"step {s[back - 1]} -> {s[back]}")


def jumps(by=1.3):
    """After the resume the loss jumps, where with its moments it does not."""

    def check(run, again):
        job = run.job
        right = again(resume=replace(job.resume, lost=()))
        n = round(job.resume.crash * job.steps)
        w = max(3, job.steps // 100)
        out = []
        for q in (run, right):
            before = float(np.mean(q.loss[n - 4 * w : n]))
            out.append(float(np.max(np.convolve(q.loss[n : n + 8 * w], np.ones(w) / w, "valid"))) / before)
        return need(
            out[0] > by * max(1.0, out[1]), f"after the resume at {n} the loss x{out[0]:.2f} (right: x{out[1]:.2f})"
        )

    return check


def fine(val=0.06, falls=False, spike=0.3, gap=None, rises=0.04, still=False):
    """Validation ends at its least but for ``val`` of its fall; no spike; training does not rise; at a high rate it still falls.

    ``still``: where the rate is high at the end, a cut would give little, by a control."""

    def check(run, again):
        loss = np.array(run.loss)
        k = max(1, len(loss) // 30)
        smooth = np.convolve(loss, np.ones(k) / k, "valid")
        span = smooth[0] - smooth.min()
        least, at = run.least("val")
        vspan = max(run.evaluated[0]["val"], smooth[0]) - least
        up = (run.at("val") - least) / vspan
        top = float(np.max(smooth) - smooth[0]) / span
        recent = (run.mean(0.9, 1) - run.mean(0.7, 0.8)) / span
        apart = (run.at("val") - run.at("train")) / vspan
        left = run.lr[-1] / max(run.lr)
        said = f"val ends {up:.1%} of its fall above its least (at {at:.0%}), gap {apart:.0%}; spike {top:.0%}; 70-80 to 90-100 % {recent:+.1%}; rate ends at {left:.0%}"
        ok = up < val and top < spike and recent < rises and (gap is None or apart < gap)
        if falls:
            ok = ok and recent < -0.015
        if still:
            d = (run.mean(0.85, 1) - more(run, 0.25, 0.1).mean(0.5, 1)) / span
            said += f"; a cut would give {d:.1%}"
            ok = ok and d < 0.05
        return need(ok and math.isfinite(run.loss[-1]), said)

    return check


def floors(less=0.9, flat=0.07):
    """Flat from 50 to 100 %, and ``less`` times as high within a quarter more once the rate is cut to a tenth."""

    def check(run, again):
        cooled = more(run, 0.25, 0.1)
        drift = run.mean(0.75, 1) / run.mean(0.5, 0.75)
        fell = cooled.mean(0.4, 1) / run.mean(0.6, 1)
        return need(
            1 - flat < drift < 1 + flat and fell < less,
            f"last quarter x{drift:.3f} of the third; a quarter more at a tenth of the rate gives x{fell:.2f}",
        )

    return check


def bounces(less=0.7, lag_below=0.9, swing=0.1):
    """No lower in the last half, losses far apart, and far lower within 40 % more once the rate is cut to a tenth."""

    def check(run, again):
        half = np.array(run.loss[len(run.loss) // 2 :])
        swings = float(np.abs(np.diff(half)).mean() / half.mean())
        lag = float(np.corrcoef(half[1:], half[:-1])[0, 1])
        cooled = more(run, 0.4, 0.1)
        fell = cooled.mean(0.7, 1) / float(half.mean())
        drift = run.mean(0.75, 1) / run.mean(0.5, 0.75)
        said = f"swings {swings:.0%} of the loss, lag-1 {lag:+.2f}, quarter to quarter x{drift:.2f}, after a cut x{fell:.2f}"
        return need(fell < less and 0.85 < drift < 1.3 and swings > swing and lag < lag_below, said)

    return check


def rises_back(at):
    """The rate goes up at the share ``at``, where the loss had come down; it stands higher at the end."""

    def check(run, again):
        before, after = run.mean(at - 0.1, at), run.mean(0.85, 1)
        i = round(at * len(run.lr))
        return need(
            run.lr[min(i + 5, len(run.lr) - 1)] > 3 * run.lr[i - 5] and after > 1.03 * before,
            f"the rate x{run.lr[i + 5] / run.lr[i - 5]:.1f} at {at:.0%}; the loss x{after / before:.2f}",
        )

    return check
