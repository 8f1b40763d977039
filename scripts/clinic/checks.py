"""That a log shows what its case says: each check measures the symptom, most of them against the training without the fault."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import rates
from .training import Trained

Again = Callable[..., Trained]
Check = Callable[[Trained, Again], str]


def need(true: bool, said: str) -> str:
    assert true, said
    return said


def overfits(by: float = 1.15) -> Check:
    """The validation loss has its least value before 65 % of the run and ends ``by`` times as high; training falls on."""

    def check(run: Trained, again: Again) -> str:
        least, at = run.least("val")
        falls = run.at("train") < 0.8 * run.at("train", max(at, 0.02))
        said = (
            f"val {least:.3f} at {at:.0%}, {run.at('val'):.3f} at the end"
            f"; train {run.at('train', max(at, 0.02)):.3f} to {run.at('train'):.3f}"
        )
        return need(run.at("val") > by * least and at < 0.65 and falls, said)

    return check


def rattles(less: float = 0.7, cut: float = 0.1) -> Check:
    """No lower in the last half, consecutive losses far apart, and far lower within 30 % more once the rate is cut."""

    def check(run: Trained, again: Again) -> str:
        half = np.array(run.loss[len(run.loss) // 2 :])
        swing = float(np.abs(np.diff(half)).mean() / half.mean())
        lag = float(np.corrcoef(half[1:], half[:-1])[0, 1])
        steps = run.job.steps
        cooled = again(steps=round(1.4 * steps), schedule=rates.cuts(1 / 1.4, by=cut))
        fell = cooled.at("train") / float(np.mean([e["train"] for e in run.evaluated[-5:]]))
        drift = run.mean(0.75, 1) / run.mean(0.5, 0.75)
        said = f"swings {swing:.0%} of the loss, lag-1 {lag:+.2f}, quarter to quarter x{drift:.2f}, after a cut x{fell:.2f}"
        return need(fell < less and 0.85 < drift < 1.3 and swing > 0.1 and lag < 0.5, said)

    return check


def noise_floor(less: float = 0.9, flat: float = 0.06) -> Check:
    """Flat within ``flat`` from 50 to 100 %, and ``less`` times the training loss or below once the rate is cut to a tenth."""

    def check(run: Trained, again: Again) -> str:
        steps = run.job.steps
        cooled = again(steps=round(1.25 * steps), schedule=rates.cuts(0.8))
        held = again(steps=round(1.25 * steps))
        drift = run.mean(0.75, 1) / run.mean(0.5, 0.75)
        fell = cooled.mean(0.9, 1) / held.mean(0.9, 1)
        said = (
            f"last quarter x{drift:.3f} of the third"
            f"; a quarter more at a tenth of the rate gives x{fell:.2f} of holding it"
        )
        return need(1 - flat < drift < 1 + flat and fell < less, said)

    return check


def stuck(at: float | None = None) -> Check:
    """Flat from a fifth of the run on; at the loss of guessing, if that is given."""

    def check(run: Trained, again: Again) -> str:
        drift = run.mean(0.8, 1) / run.mean(0.2, 0.4)
        said = f"loss {run.mean(0.2, 0.4):.4f} at 20-40 %, {run.mean(0.8, 1):.4f} at the end, lr {run.lr[-1]:.1e}"
        return need(0.985 < drift < 1.03 and (at is None or abs(run.mean(0.8, 1) / at - 1) < 0.03), said)

    return check


def diverges(run: Trained, again: Again) -> str:
    loss = np.array(run.loss)
    low = float(np.nanmin(loss))
    last = loss[-1]
    cured = again(lr=run.job.lr / 20)
    said = f"loss {loss[0]:.3g}, least {low:.3g}, last {last:.3g}; at a twentieth of the rate {cured.mean(0.9, 1):.3g}"
    bad = not math.isfinite(last) or last > 3 * loss[0]
    return need(bad and cured.mean(0.9, 1) < loss[0], said)


def blows_up_at_the_start(run: Trained, again: Again) -> str:
    n = len(run.loss)
    top = max(run.loss[: n // 8])
    warm = again(schedule=warmed(run))
    calm = max(warm.loss[: n // 8])
    said = (
        f"first {run.loss[0]:.3g}, highest {top:.3g}, end {run.mean(0.9, 1):.3g}; "
        f"with 10 % of warm-up highest {calm:.3g}, end {warm.mean(0.9, 1):.3g}"
    )
    return need(
        top > 1.7 * run.loss[0] and calm < max(1.4 * run.loss[0], 0.6 * top) and run.mean(0.9, 1) < run.loss[0] * 1.02,
        said,
    )


def warmed(run: Trained) -> Any:
    """Return the schedule of a run behind a warm-up over the tenth part of it."""
    if run.job.schedule is None:
        return rates.warm_constant(0.1)
    return rates.warm_cosine(0.1)


def warms_too_long(short: Any, by: float = 0.95) -> Check:
    """The peak comes after 45 % of the run, and the ``short`` warm-up ends at ``by`` times the loss or below."""

    def check(run: Trained, again: Again) -> str:
        peak = int(np.argmax(run.lr)) / len(run.lr)
        better = again(schedule=short)
        gain = better.at("train") / run.at("train")
        said = f"peak at {peak:.0%}; training loss {run.at('train'):.3f}, with a short warm-up {better.at('train'):.3f}"
        return need(peak > 0.45 and gain < by, said)

    return check


def ends_early(better: Any, by: float = 0.97) -> Check:
    """The rate is below 2 % of its peak for 40 % of the run or more, in which the loss is flat; ``better`` uses the time."""

    def check(run: Trained, again: Again) -> str:
        low = float(np.mean(np.array(run.lr) < 0.02 * max(run.lr)))
        drift = run.mean(0.9, 1) / run.mean(0.6, 0.7)
        full = again(schedule=better, ticks=1)
        said = (
            f"below 2 % of the peak in {low:.0%}, there x{drift:.3f}"
            f"; training {run.at('train'):.4f}, over the whole run {full.at('train'):.4f}"
        )
        return need(low >= 0.4 and drift > 0.94 and full.at("train") < by * run.at("train"), said)

    return check


def ends_high(better: Any, by: float = 0.97) -> Check:
    """The rate ends above 30 % of its peak though it decays; ``better`` arrives and ends lower."""

    def check(run: Trained, again: Again) -> str:
        left = run.lr[-1] / max(run.lr)
        full = again(schedule=better, ticks=1)
        said = f"ends at {left:.0%} of the peak; training {run.at('train'):.4f}, arrived {full.at('train'):.4f}"
        return need(left > 0.3 and full.at("train") < by * run.at("train"), said)

    return check


def cut_too_early(later: Any, by: float = 0.9) -> Check:
    """The loss still fell fast at the cut and crawls after it; cut ``later`` it ends far lower."""

    def check(run: Trained, again: Again) -> str:
        at = next(i for i, lr in enumerate(run.lr) if lr < 0.5 * run.lr[0]) / len(run.lr)
        fell = run.mean(0.8 * at, at) / run.mean(0.4 * at, 0.6 * at)
        better = again(schedule=later)
        said = (
            f"cut at {at:.0%}, the loss x{fell:.2f} in the half before"
            f"; training {run.at('train'):.4f}, cut later {better.at('train'):.4f}"
        )
        return need(fell < 0.95 and better.at("train") < by * run.at("train"), said)

    return check


def cut_too_late(less: float = 0.9) -> Check:
    """Flat for 40 % of the run or more before the cut, and ``less`` times the loss or below after it."""

    def check(run: Trained, again: Again) -> str:
        at = next(i for i, lr in enumerate(run.lr) if lr < 0.5 * max(run.lr)) / len(run.lr)
        flat = run.mean(at - 0.2, at) / run.mean(at - 0.4, at - 0.2)
        fell = run.mean(0.97, 1) / run.mean(at - 0.2, at)
        said = f"cut at {at:.0%}, x{flat:.3f} in the 40 % before, x{fell:.2f} after it"
        return need(0.94 < flat < 1.06 and fell < less and at > 0.7, said)

    return check


def rises_again(run: Trained, again: Again) -> str:
    lr = np.array(run.lr)
    low = int(np.argmin(lr[: len(lr) * 9 // 10]))
    rise = run.mean(0.95, 1) / run.mean(max(0, low / len(lr) - 0.05), low / len(lr))
    said = f"lowest at {low / len(lr):.0%}, back at {lr[-1] / max(lr):.0%} of the peak; the loss x{rise:.2f}"
    return need(low < 0.8 * len(lr) and lr[-1] > 0.3 * max(lr) and rise > 1.03, said)


def decays_too_much(by: float = 0.6) -> Check:
    """The training loss is far above that of a hundredth of the decay."""

    def check(run: Trained, again: Again) -> str:
        less = again(decay=run.job.decay / 100)
        said = (
            f"lr·λ {run.job.lr * run.job.decay:.2g}; training {run.at('train'):.3f} and validation {run.at('val'):.3f}, "
            f"with λ/100 {less.at('train'):.3f} and {less.at('val'):.3f}"
        )
        return need(less.at("train") < by * run.at("train") and less.at("val") < 0.9 * run.at("val"), said)

    return check


def follows_not(plan_lrs: Any, by: float = 2.0) -> Check:
    """The rate is not that of the plan: ``by`` times off in a quarter of the run or more."""

    def check(run: Trained, again: Again) -> str:
        wanted = np.asarray(plan_lrs)[: len(run.lr)]
        lr = np.array(run.lr[: len(wanted)])
        off = float(np.mean((lr > by * wanted) | (lr * by < wanted)))
        return need(
            off > 0.25, f"more than {by:g} times off the plan in {off:.0%} of the steps; last rate {lr[-1]:.2e}"
        )

    return check


def resumes_wrong(by: float = 1.15) -> Check:
    """The loss after the resume is ``by`` times that before it, or the rate jumps, where a right resume shows neither."""

    def check(run: Trained, again: Again) -> str:
        resume = run.job.resume
        assert resume is not None
        from dataclasses import replace

        right = again(resume=replace(resume, lost=("rows",) if "rows" in resume.lost else ()))
        n = round(resume.crash * run.job.steps) if "rows" not in resume.lost else round(resume.saved * run.job.steps)
        w = max(5, run.job.steps // 60)
        bump, calm = (
            float(np.max(np.convolve(r.loss[n : n + 4 * w], np.ones(w) / w, "valid")) / np.mean(r.loss[n - 2 * w : n]))
            for r in (run, right)
        )
        jump = run.lr[n] / right.lr[n]
        said = (
            f"at the resume the loss x{bump:.2f} (right: x{calm:.2f})"
            f", the rate x{jump:.2f}, step {run.step[n - 1]} -> {run.step[n]}"
        )
        return need(bump > by * calm if jump == 1 else not 0.5 < jump < 1.5, said)

    return check


def sound(gap: float = 0.35, val: float = 1.03, falls: bool = False) -> Check:
    """Validation ends at its least (x ``val``), not far above training; no spike; ``falls``: still falling in the end."""

    def check(run: Trained, again: Again) -> str:
        least, at = run.least("val")
        apart = run.at("val") / run.at("train") - 1
        recent = run.mean(0.9, 1) / run.mean(0.7, 0.8)
        said = (
            f"val {run.at('val'):.3f}, least {least:.3f} at {at:.0%}"
            f"; train {run.at('train'):.3f}; loss x{recent:.3f} from 70-80 % to 90-100 %"
        )
        smooth = np.convolve(run.loss, np.ones(max(1, len(run.loss) // 30)) / max(1, len(run.loss) // 30), "valid")
        spike = float(np.max(smooth[len(smooth) // 20 :]) / max(smooth[0], 1e-9))
        good = run.at("val") <= val * least and apart < gap and recent < 1.03 and spike < 1.2
        return need(good and (not falls or recent < 0.96), said)

    return check
