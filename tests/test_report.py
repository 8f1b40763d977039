"""The report: it says what the evidence says, nothing in a name comes alive, and the page asks nothing of a network."""

from __future__ import annotations

import copy
import importlib
import json
import math
import os
import re
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwindle.errors import DataError, DwindleError, InvalidValueError
from dwindle.report import FORMAT, render, summary, write
from dwindle.report.charts import payload, thin
from dwindle.report.evidence import Comparison
from dwindle.report.figures import ticks
from dwindle.report.grid import MOST_BANDS, bands, families, level
from dwindle.report.heat import near_best
from dwindle.report.markup import data_block, joined, tag
from dwindle.report.reading import inert, read
from dwindle.report.terminal import sparkline
from dwindle.report.words import gain_sentence, interval, lede, mean

CHROMIUM = Path("/usr/bin/chromium")
EPOCHS = 40
LAMS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)
PEAKS = (0.03, 0.1, 0.3)
SHAPES = {
    "constant": lambda f: np.ones_like(f),
    "step 0.5 every 5ep": lambda f: 0.5 ** np.floor(f * EPOCHS / 5),
    "linear to 0%": lambda f: 1 - f,
    "cosine to 0%": lambda f: (1 + np.cos(np.pi * f)) / 2,
}


# Synthetic evidence: not a training, but curves of the shape that trainings have.


def losses(lam: float, peak: float, schedule: str, noise: float, seed: int) -> dict[str, Any]:
    """Return train and validation curves: λ narrows the gap and in excess stops the learning; a high rate rattles."""
    rng = np.random.default_rng(
        [seed, int(lam * 10), int(peak * 100), sorted(SHAPES).index(schedule), int(noise * 100)]
    )
    epoch = np.arange(1, EPOCHS + 1)
    factor = SHAPES[schedule](epoch / EPOCHS)
    learnt = 1 - np.exp(-np.cumsum(peak * (0.25 + factor)) * 3.5)
    floor = 0.03 + 0.55 * noise + 0.030 * lam + 0.25 * (lam / 10) ** 2
    rattle = 0.9 * peak * factor * (0.25 + 0.5 * rng.random(EPOCHS))
    train = 2.3 * (1 - learnt) + floor + 0.35 * rattle
    overfit = (0.55 + 1.4 * noise) * learnt**3 / (1 + 1.1 * lam) * (1 + 0.35 * epoch / EPOCHS)
    validation = train + 0.10 + overfit + rattle + 0.004 * rng.standard_normal(EPOCHS)
    accuracy = np.clip(0.86 - 0.09 * (validation - 0.4) - 0.1 * noise, 0.1, 0.99)
    norm = 18 * np.sqrt(0.15 + learnt) * (1 + 0.3 * epoch / EPOCHS) / (1 + 0.35 * lam)
    left = np.exp(-np.cumsum(peak * factor) * lam / 20)
    return {"epoch": epoch, "train_loss": train, "validation_loss": validation, "validation_accuracy": accuracy,
            "penalty": 0.0005 * lam * norm**2, "lr": peak * factor, "share_left": left, "weight_norm": norm}  # fmt: skip


def plan_text(lam: float, peak: float, schedule: str) -> str:
    return f"peak {peak:g} | {schedule} | l2 {lam:g}/1600"


def trial(identity: int, lam: float, peak: float, schedule: str, noise: float) -> dict[str, Any]:
    run = losses(lam, peak, schedule, noise, identity)
    diverged = lam * peak >= 3 and schedule == "constant"
    curve = {k: run[k].tolist() for k in ("epoch", "train_loss", "validation_loss", "validation_accuracy", "penalty")}
    final: dict[str, Any] = {
        "train_loss": run["train_loss"][-1], "train_accuracy": float(np.clip(1 - run["train_loss"][-1] / 3, 0, 1)),
        "validation_loss": run["validation_loss"][-1], "validation_accuracy": run["validation_accuracy"][-1],
    }  # fmt: skip
    final = {key: float(value) for key, value in final.items()}
    if diverged:
        final = dict.fromkeys(final)
        curve = {k: v if k == "epoch" else [*v[:6], *[None] * (EPOCHS - 6)] for k, v in curve.items()}
    return {"id": identity, "lam": lam, "peak": peak, "schedule": schedule, "plan": plan_text(lam, peak, schedule),
            "seed": 1000 + identity, "diverged": diverged, "final": final, "curve": curve}  # fmt: skip


def contender(role: str, lam: float, peak: float, schedule: str, noise: float) -> dict[str, Any]:
    seeds = list(range(5))
    runs = [losses(lam, peak, schedule, noise, 500 + seed) for seed in seeds]
    shift = [0.006 * math.sin(3 + 7 * seed) for seed in seeds]
    test = [float(run["validation_loss"][-1]) + 0.01 + s for run, s in zip(runs, shift, strict=True)]
    names = ("train_loss", "validation_loss", "lr", "share_left", "weight_norm")
    curves = {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in names}
    return {
        "role": role, "plan": plan_text(lam, peak, schedule), "lam": lam, "peak": peak, "schedule": schedule, "seeds": seeds,
        "test_loss": test, "test_accuracy": [0.86 - 0.09 * (loss - 0.4) - 0.1 * noise for loss in test],
        "gap": [float(run["validation_loss"][-1] - run["train_loss"][-1]) for run in runs],
        "curves": {"epoch": list(range(1, EPOCHS + 1)), **curves},
    }  # fmt: skip


def compared(winner: dict[str, Any], other: dict[str, Any], metric: str) -> dict[str, Any]:
    paired = np.array(winner[metric]) - np.array(other[metric])
    half = 2.776 * paired.std(ddof=1) / math.sqrt(len(paired)) + 1e-4  # Student's t with four degrees of freedom
    lower, upper = float(paired.mean() - half), float(paired.mean() + half)
    good = lower > 0 if metric == "test_accuracy" else upper < 0
    bad = upper < 0 if metric == "test_accuracy" else lower > 0
    verdict = "better" if good else "worse" if bad else "not distinguishable"
    return {"against": other["role"], "metric": metric, "difference": float(paired.mean()), "lower": lower, "upper": upper,
            "seeds": len(paired), "verdict": verdict}  # fmt: skip


def setting(name: str, noise: float) -> dict[str, Any]:
    grid = [(lam, peak, schedule) for schedule in SHAPES for lam in LAMS for peak in PEAKS]
    trials = [trial(index, lam, peak, schedule, noise) for index, (lam, peak, schedule) in enumerate(grid)]
    finished = [t for t in trials if not t["diverged"]]
    best = min(finished, key=lambda t: t["final"]["validation_loss"])
    lam, peak, schedule = best["lam"], best["peak"], best["schedule"]
    flat = min((t for t in finished if t["schedule"] == "constant"), key=lambda t: t["final"]["validation_loss"])
    contenders = [
        contender("winner", lam, peak, schedule, noise),
        contender("no weight decay", 0.0, peak, schedule, noise),
        contender("constant lr", flat["lam"], flat["peak"], "constant", noise),
        contender("neither", 0.0, 0.1, "constant", noise),
    ]
    comparisons = [
        compared(contenders[0], c, metric) for c in contenders[1:] for metric in ("test_loss", "test_accuracy", "gap")
    ]
    toml = f'peak = {peak}\nschedule = "{schedule}"\n\n[decay]\nconvention = "l2"\nlam = {lam}\nn = 1600\nmask = "matrices"\n'
    code = {"torch": f"optimiser = torch.optim.SGD(groups, lr={peak}, weight_decay={lam / 1600:g})\n"}
    return {
        "name": name, "trials": trials,
        "winner": {"plan": best["plan"], "toml": toml, "lam": lam, "peak": peak, "schedule": schedule, "code": code},
        "contenders": contenders, "comparisons": comparisons,
        "facts": [f"{sum(t['diverged'] for t in trials)} of {len(trials)} trials diverged, all with a constant rate.",
                  f"The best λ is {lam:g}, which shrinks a weight by {100 * peak * lam / 1600:.3g} % per step at the peak."],
    }  # fmt: skip


def evidence() -> dict[str, Any]:
    """Return the evidence of a study that never was: two settings of 72 trials."""
    return {
        "format": "dwindle-evidence/1", "title": "How much weight decay, and which learning-rate decay?",
        "created": "2026-11-24T10:24:31+00:00", "seconds": 200.0, "seed": 0,
        "environment": {"dwindle": "0.1.0", "python": "3.11.7", "numpy": "2.4.0", "platform": "Linux x86_64", "cores": 2},
        "data": {"name": "Fashion-MNIST (2,000 of 60,000)", "provenance": ["Zalando SE, MIT licence", "sha256 c59f468a2f67…"],
                 "train": 1600, "validation": 400, "test": 2000, "classes": 10, "task": "classification"},
        "model": "MLP 784-128-10 relu, softmax cross-entropy", "optimiser": "SGD, momentum 0.9", "batch_size": 50,
        "epochs": EPOCHS, "steps": EPOCHS * 32,
        "settings": [setting("clean labels", 0.0), setting("20 % label noise", 0.2)], "findings": [],
    }  # fmt: skip


EVIDENCE = evidence()
PAGE = render(EVIDENCE)


def changed(*path: Any, value: Any) -> dict[str, Any]:
    """Return the evidence with one value replaced."""
    made = copy.deepcopy(EVIDENCE)
    place: Any = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made
