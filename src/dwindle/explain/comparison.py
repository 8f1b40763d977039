"""Two plans beside each other over a run: what differs in words, where their curves part, and what it comes to."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dwindle.decay import L2, log_kept
from dwindle.errors import InvalidValueError
from dwindle.explain.weights import LONGEST, doses
from dwindle.mask import Mask
from dwindle.plan import Plan, as_plan, difference
from dwindle.units import Horizon, as_horizon, short

__all__ = ["Comparison", "Totals", "compare"]

Array = npt.NDArray[np.float64]

_DRAWN = 240
_WIDTH = 80


@dataclass(frozen=True, slots=True)
class Totals:
    """Of one plan over the run: Σ lr, its mean, the integrated decay Σ x, and what decay alone leaves of w(0), Π(1 - x)."""

    lr: float
    dose: float
    left: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """What `compare` found. ``says`` are the differences in words, one a field of the plan.

    ``lr_parts`` and ``decay_parts`` are the first steps at which the rates and the shares that decay takes are different
    numbers, None where they never are; ``apart`` counts the steps at which either differs. ``ratio`` is new lr/old lr at
    ``ratio_at``, the step at which it is farthest from 1 of those where both are positive, and infinite beyond float64;
    ``one_is_zero`` counts the steps at which one rate only is 0. ``steps`` and ``lrs`` [2, points] are the rates at up to
    240 steps, to draw. ``notes`` say what these figures leave out.
    """

    old: str
    new: str
    run: int
    says: tuple[str, ...]
    lr_parts: int | None
    decay_parts: int | None
    apart: int
    ratio: float
    ratio_at: int | None
    one_is_zero: int
    totals: tuple[Totals, Totals]
    steps: npt.NDArray[np.int64]
    lrs: Array
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON can hold it."""
        names = ("old", "new", "run", "lr_parts", "decay_parts", "apart", "ratio", "ratio_at", "one_is_zero")
        own: dict[str, Any] = {name: getattr(self, name) for name in names}
        totals = [{"lr": each.lr, "dose": each.dose, "left": each.left} for each in self.totals]
        return own | {
            "says": list(self.says),
            "notes": list(self.notes),
            "totals": {"old": totals[0], "new": totals[1]},
            "curves": {"step": self.steps.tolist(), "old": self.lrs[0].tolist(), "new": self.lrs[1].tolist()},
        }

    def __str__(self) -> str:
        if not self.says:
            return "the two plans are the same"
        lines = [line for said in self.says for line in _wrapped(said)]
        notes = [line for note in self.notes for line in _wrapped(note)]
        if not self.apart:
            same = f"yet every rate of the {self.run:,} steps is the same"
            return "\n".join([*lines, "", *_wrapped(same), *notes])
        lines += ["", *_wrapped(self._parting())]
        if self.ratio_at is not None and self.ratio != 1.0:
            lines += _wrapped(
                f"largest ratio of learning rates: {self.ratio:.4g} times the old one, at step {self.ratio_at:,}"
            )
        if self.one_is_zero:
            lines += _wrapped(f"at {self.one_is_zero:,} steps one of the two rates is 0 and the other is not")
        lines += ["", f"{'over the run':<24}{'old':>14}{'new':>14}{'new/old':>12}"]
        for name, get in (("Σ lr", "lr"), ("Σ x, integrated decay", "dose"), ("left of w(0)", "left")):
            a, b = (getattr(each, get) for each in self.totals)
            ratio = f"{b / a:>12.4g}" if a else f"{'':>12}"
            lines.append(f"{name:<24}{a:>14.5g}{b:>14.5g}{ratio}".rstrip())
        return "\n".join([*lines, *([""] if notes else []), *notes])

    def _parting(self) -> str:
        rate = (
            "the learning rates never part"
            if self.lr_parts is None
            else f"the learning rates part at step {self.lr_parts:,}"
        )
        decay = "the decay never does" if self.decay_parts is None else f"the decay at step {self.decay_parts:,}"
        if self.lr_parts is None and self.decay_parts is not None:
            decay = f"the decay parts at step {self.decay_parts:,}"
        return f"{rate}, {decay}; they differ at {self.apart:,} of {self.run:,} steps"


def compare(old: Plan, new: Plan, horizon: Horizon | int) -> Comparison:
    """Return how ``new`` differs from ``old`` over a run: in words, and by the rates of every step.

    For a weight that decays, in no group. The share x that decay takes is that of `Plan.sgd_shares`: l2 as under plain SGD.
    Raises InvalidValueError beyond 10^8 steps.

    >>> import dwindle as dw
    >>> plans = [dw.parse(f"peak 0.1 | linear to {end} | decoupled 0.5") for end in ("0%", "10%")]
    >>> found = compare(*plans, 100)
    >>> found.lr_parts, found.ratio_at, round(found.ratio, 2), found.says
    (1, 99, 10.9, ('schedule: linear to 0% → linear to 10%',))
    """
    plans, run = (as_plan(old), as_plan(new)), as_horizon(horizon)
    if run.steps > LONGEST:
        raise InvalidValueError(f"two plans are compared step by step, over at most {LONGEST} steps; got {run.steps}.")
    resolved = [plan.resolve(run) for plan in plans]
    lr_parts = decay_parts = ratio_at = None
    farthest, ratio, apart, zero, first = 0.0, 1.0, 0, 0, 0
    rates: list[list[float]] = [[], []]
    taken: list[list[float]] = [[], []]
    left: list[list[tuple[float, bool]]] = [[], []]
    for pair in zip(*(doses(plan, 0, run.steps, 1.0, True) for plan in resolved), strict=True):
        (a, x), (b, z) = pair
        for i, (lrs, shares) in enumerate(pair):
            rates[i].append(math.fsum(lrs))
            taken[i].append(math.fsum(shares))
            left[i].append((float(log_kept(shares).sum()), bool(np.sum(shares > 1.0) % 2)))
        here, there = a != b, x != z
        lr_parts = first + int(here.argmax()) if lr_parts is None and here.any() else lr_parts
        decay_parts = first + int(there.argmax()) if decay_parts is None and there.any() else decay_parts
        apart += int(np.count_nonzero(here | there))
        both = (a > 0.0) & (b > 0.0)
        zero += int(np.count_nonzero((a > 0.0) != (b > 0.0)))
        logs = np.abs(np.log(b, where=both, out=np.zeros_like(b)) - np.log(a, where=both, out=np.zeros_like(a)))
        i = int(logs.argmax())
        if logs[i] > farthest:
            farthest, ratio, ratio_at = float(logs[i]), float(b[i]) / float(a[i]), first + i
        first += len(a)
    at = np.unique(np.linspace(0, run.steps - 1, _DRAWN).astype(np.int64))
    drawn = np.stack([np.zeros(len(at)) + plan.lr(at) for plan in resolved])
    totals = [Totals(math.fsum(rates[i]), math.fsum(taken[i]), _kept(left[i])) for i in (0, 1)]
    return Comparison(
        str(plans[0]), str(plans[1]), run.steps, _says(*plans), lr_parts, decay_parts, apart, ratio, ratio_at, zero,
        (totals[0], totals[1]), at, drawn, _notes(*plans),
    )  # fmt: skip


def _kept(logs: list[tuple[float, bool]]) -> float:
    try:
        size = math.exp(sum(log for log, _ in logs))
    except OverflowError:
        size = math.inf
    return -size if sum(flips for _, flips in logs) % 2 else size


def _notes(old: Plan, new: Plan) -> tuple[str, ...]:
    """Return what the rates of one weight under plain SGD do not tell."""
    found, decays = [], (old.decay, new.decay)
    if sum(isinstance(decay, L2) for decay in decays) == 1 and None not in decays:
        found.append(
            "The decay of both is compared as under plain SGD; with momentum or Adam l2 is part of the update and the other is "
            "not, and the two runs differ."
        )
    if sum(decay is not None and decay.cautious for decay in decays) == 1:
        found.append("Cautious decay leaves some weights alone in each step, which these rates do not show.")
    if {"mask", "groups", "layer_decay"} & difference(old, new).keys():
        found.append("The rates are those of a weight that decays, in no group; for one parameter see `explain`.")
    return tuple(found)


def _says(old: Plan, new: Plan) -> tuple[str, ...]:
    return tuple(f"{name}: {_text(a)} → {_text(b)}" for name, (a, b) in difference(old, new).items())


def _text(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, float):
        return short(value)
    if isinstance(value, tuple):
        return ", ".join(f"{group.name} ({group.match}) times {short(group.lr_scale)}" for group in value)
    return "standard" if value == Mask() else str(value)


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False) or [""]
