"""Why the learning rate and the decay of one step are what they are, as a value and in words."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import Any, NamedTuple

from dwindle.decay import Decay, half_life, timescale
from dwindle.explain.formulas import number
from dwindle.explain.parts import Part, taken_apart
from dwindle.explain.subject import Placed, placed_as, step_of
from dwindle.explain.weights import LONGEST, Weights, weighed
from dwindle.mask import Param
from dwindle.plan import Plan, Timescale, as_plan, share_at_the_peak
from dwindle.schedule import FeedbackRule, Schedule
from dwindle.units import Horizon, as_horizon, short

__all__ = ["Decayed", "Explanation", "FactorOf", "explain"]

_WIDTH = 80


class FactorOf(NamedTuple):
    """One factor of a learning rate: its name, its value, and where it comes from."""

    name: str
    value: float
    why: str


@dataclass(frozen=True, slots=True)
class Decayed:
    """The decay of one step: w ← (1 - share)·w, and g ← g + coupling·w before the optimiser sees g.

    ``decays`` False: this parameter does not, by ``rule``. ``formula`` has the numbers put in; ``taken`` is the share that
    leaves each weight, for l2 as under plain SGD. ``half_life`` and ``timescale`` are those of this step, infinite without
    decay; ``at_the_peak`` is τ where the factor is 1, or the run's shortest where λ is a schedule, which ``schedule`` takes
    apart.
    """

    decays: bool
    rule: str
    convention: str
    weight_decay: float
    formula: str
    share: float
    coupling: float
    taken: float
    half_life: Timescale
    timescale: Timescale
    at_the_peak: Timescale
    schedule: Part | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What `explain` found; ``str()`` is the text, `as_dict` what JSON can hold.

    ``factors`` multiply to ``lr``, from left to right and to the bit; the last of them is the value of ``schedule``.
    ``weights`` is None where the run is too long to add up, or the weights leave float64.
    """

    plan: str
    step: int
    steps: int
    epoch: float | None
    tokens: float | None
    subject: str
    group: str | None
    lr: float
    factors: tuple[FactorOf, ...]
    schedule: Part
    decay: Decayed
    weights: Weights | None
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON can hold it; an infinite time is None."""
        own = {
            name: getattr(self, name) for name in ("plan", "step", "steps", "epoch", "tokens", "subject", "group", "lr")
        }
        decay = {name: getattr(self.decay, name) for name in Decayed.__slots__}
        for name in ("half_life", "timescale", "at_the_peak"):
            times = decay[name]._asdict().items()
            decay[name] = {unit: None if value is None or value == float("inf") else value for unit, value in times}
        decay["schedule"] = None if self.decay.schedule is None else self.decay.schedule.as_dict()
        return own | {
            "factors": [factor._asdict() for factor in self.factors],
            "schedule": self.schedule.as_dict(),
            "decay": decay,
            "weights": None if self.weights is None else self.weights._asdict(),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self.why_lr, "", *self.why_decay, "", *self.why_weights])

    def _head(self) -> list[str]:
        at = [f"step {self.step:,} of {self.steps:,} (counted from 0), {100 * self.step / self.steps:.4g} % of the run"]
        at += [] if self.epoch is None else [f"epoch {self.epoch:.6g}"]
        at += [] if self.tokens is None else [f"{self.tokens:.6g} tokens"]
        plan = _wrapped(self.plan)
        if len(plan) > 4:
            plan = [*plan[:4], f"… and {len(plan) - 4} more lines; --json has the whole plan"]
        return [*plan, *_wrapped(", ".join(at)), *_wrapped(self.subject, 2)]

    @property
    def why_lr(self) -> list[str]:
        """Return the lines on the learning rate; the number at the end of the last is ``lr``, every digit of it."""
        lines = [f"learning rate {self.lr:.6g}", *_of_part(self.schedule, 1)]
        for factor in self.factors:
            lines += _wrapped(f"  {factor.name} = {number(factor.value)}: {factor.why}", 6)
        names = " · ".join(factor.name for factor in self.factors)
        numbers = " · ".join(number(factor.value) for factor in self.factors)
        lines += _wrapped(f"  lr = {names} = {numbers}", 5)
        return [*lines, f"     = {number(self.lr)}"]

    @property
    def why_decay(self) -> list[str]:
        """Return the lines on the decay of this step."""
        found = self.decay
        if not found.decays:
            return ["weight decay: none", *_wrapped(f"  {found.rule}", 2)]
        lines = [f"weight decay: {found.convention} {found.weight_decay:.6g}"]
        lines += _wrapped(f"  {found.rule}", 2) if found.rule else []
        lines += [] if found.schedule is None else ["  λ is a schedule:", *_of_part(found.schedule, 2)]
        lines += [line for text in found.formula.splitlines() for line in _wrapped(f"  {text}", 4)]
        shortest = "τ at the peak" if found.schedule is None else "the shortest τ of the run"
        for name, times in (("half-life at this rate", found.half_life), ("τ = 1/x at this rate", found.timescale),
                            (shortest, found.at_the_peak)):  # fmt: skip
            lines += _wrapped(f"  {name}: {_times(times)}", 4)
        return lines

    @property
    def why_weights(self) -> list[str]:
        """Return the lines on what is left of w(0) and what the final weights are made of, and the notes."""
        lines, found = [], self.weights
        if found is not None:
            rows = [
                ("integrated decay Σx so far", f"{found.dose_so_far:.6g} of {found.dose:.6g} in all"),
                ("left of w(0) now", f"{_share(found.left_now)}; at the end {_share(found.left)}"),
                ("of the final weights", f"{_share(found.left)} is w(0), {_share(found.from_before)} comes from updates before "
                 f"step {self.step:,}, {_share(found.from_after)} from this one on"),
                ("of the way updates move them", f"{_share(found.moved_before)} before, {_share(1.0 - found.moved_before)} from "
                 "this one on (updates of equal size)"),
            ]  # fmt: skip
            if not self.decay.decays:
                rows = [rows[3]]
            lines = ["the weights", *(line for name, text in rows for line in _wrapped(f"  {name}: {text}", 4))]
        notes = [line for note in self.notes for line in _wrapped(f"! {note}", 2)]
        return [*lines, *(["", *notes] if notes and lines else notes)]


def explain(
    plan: Plan | FeedbackRule[Any],
    horizon: Horizon | int,
    step: Any,
    param: str | Param | None = None,
    *,
    params: Any = None,
    group: str | None = None,
    feedback: FeedbackRule[Any] | None = None,
) -> Explanation:
    r"""Explain the learning rate and the decay that ``plan`` applies in update ``step`` of the run (0-based; 500, "20%", "3ep").

    lr = peak·lr_scale·f(step), f taken apart node by node; the decay x by its convention: lr·λ decoupled, f·λ independent,
    lr·f·λ corrected, c = λ for l2 (x = lr·λ under plain SGD). ``param`` is a `mask.Param`, or a name among ``params`` (all
    that the model has: `torch.names.params(model)`); its group, layer factor and mask rule are then said too. Without it
    the explanation is of a weight that decays, of ``group`` if one is named. A ``feedback`` rule, also in the place of the
    plan, decides by the metric, and that is said.

    Raises InvalidValueError for a step outside the run and a parameter whose decay cannot be decided from what is known,
    UnknownNameError for a name that is not among ``params``.

    >>> import dwindle as dw
    >>> found = explain(dw.parse("peak 0.1 | warmup 10st, linear to 0 | decoupled 0.5"), 110, 60)
    >>> print("\n".join(found.why_lr))
    learning rate 0.05
      warmup 10st, linear to 0% over 100st
        piece 2 of 2, from step 10 on
        linear to 0% over 100st
          its step 50: 50 % of its 100 steps
          = 1 - 50/100 = 0.5
        = 0.5
      peak = 0.1: the plan's peak
      f = 0.5: the schedule at this step
      lr = peak · f = 0.1 · 0.5
         = 0.05
    """
    if isinstance(plan, FeedbackRule):
        return _explained(Plan(plan.peak), as_horizon(horizon), step, param, params, group, plan)
    return _explained(as_plan(plan), as_horizon(horizon), step, param, params, group, feedback)


def _explained(
    plan: Plan, run: Horizon, step: Any, param: str | Param | None, params: Any, group: str | None, feedback: Any
) -> Explanation:
    at = step_of(step, run)
    placed = placed_as(plan, param, params, group)
    resolved = plan.resolve(run)
    dose = resolved.dose(at, lr_scale=placed.lr_scale, decays=placed.decays)
    schedule = taken_apart(resolved.schedule, at)
    factors = [FactorOf("peak", resolved.peak, "the plan's peak")]
    if placed.said_scale:
        factors.append(FactorOf("lr_scale", placed.lr_scale, placed.said_scale))
    factors.append(FactorOf("f", schedule.value, "the schedule at this step"))
    decay = _decayed(resolved, run, at, placed, float(dose.lr), schedule.value)
    weights = weighed(resolved, run.steps, at, placed.lr_scale, placed.decays)
    return Explanation(
        str(plan),
        at,
        run.steps,
        None if run.steps_per_epoch is None else at / run.steps_per_epoch,
        None if run.tokens_per_step is None else float(at) * run.tokens_per_step,
        placed.subject,
        placed.group,
        float(dose.lr),
        tuple(factors),
        schedule,
        decay,
        weights,
        _notes(resolved, run, decay, weights, feedback),
    )


# --- its decay


def _decayed(plan: Plan, run: Horizon, at: int, placed: Placed, lr: float, factor: float) -> Decayed:
    decay, never = plan.decay, _in_units(float("inf"), run)
    if decay is None or not placed.decays:
        rule = "the plan has no weight decay" if decay is None else placed.rule
        convention = "" if decay is None else decay.convention
        return Decayed(False, rule, convention, 0.0, "", 0.0, 0.0, 0.0, never, never, never)
    share, coupling, lam = float(decay.share(at, lr, factor)), float(decay.coupling(at)), float(decay.at(at))
    taken = share + lr * coupling
    schedule = taken_apart(decay.weight_decay, at) if isinstance(decay.weight_decay, Schedule) else None
    return Decayed(
        True,
        placed.rule,
        decay.convention,
        lam,
        _formula(decay, lr, factor, lam, share, taken),
        share,
        coupling,
        taken,
        _in_units(half_life(min(taken, 1.0 - 1e-16)), run),
        _in_units(timescale(taken), run),
        _in_units(timescale(share_at_the_peak(plan, run, placed.lr_scale)), run),
        schedule,
    )


def _formula(decay: Decay, lr: float, factor: float, lam: float, share: float, taken: float) -> str:
    rate, f, last = number(lr), number(factor), number(lam)
    if decay.convention == "l2":
        return (
            f"g ← g + c·w before momentum or Adam sees g, c = λ = {last}\n"
            f"under plain SGD that takes x = lr · λ = {rate} · {last} = {number(taken)} of each weight"
        )
    names, numbers = {
        "decoupled": ("lr · λ", f"{rate} · {last}"),
        "independent": ("f · λ", f"{f} · {last}"),
        "corrected": ("lr · f · λ", f"{rate} · {f} · {last}"),
    }[decay.convention]
    lines = f"x = {names} = {numbers} = {number(share)}\nw ← (1 - x)·w = {number(1.0 - share)}·w beside the update"
    return lines + ("\nonly where the update does not move w away from 0" if decay.cautious else "")


def _in_units(steps: float, run: Horizon) -> Timescale:
    return Timescale(
        steps,
        None if run.steps_per_epoch is None else steps / run.steps_per_epoch,
        None if run.tokens_per_step is None else steps * run.tokens_per_step,
    )


def _notes(plan: Plan, run: Horizon, decay: Decayed, weights: Weights | None, feedback: Any) -> tuple[str, ...]:
    notes = []
    if feedback is not None:
        low = f", never below {short(feedback.min_lr)}" if getattr(feedback, "min_lr", 0.0) else ""
        notes.append(
            f"{type(feedback).__name__} decides by the metric: the rate above holds until the rule cuts it{low}. When it does "
            "depends on the metrics of the run and cannot be told before it; rule.lrs(metrics) plays them through."
        )
    if plan.decay is not None and decay.decays:
        if plan.decay.convention == "l2":
            notes.append("With momentum or Adam l2 is part of the update, and the shares above do not describe it.")
        if plan.decay.cautious:
            notes.append(
                "Cautious decay leaves some weights alone in each step: what is left of w(0) is at least this."
            )
        if decay.taken >= 1.0:
            notes.append(f"This step takes {decay.taken:.4g} times each weight: weights change sign.")
    if weights is None:
        notes.append(
            f"The sums over the run are left out: it has {run.steps:,} steps, more than {LONGEST:,}."
            if run.steps > LONGEST
            else "The decay makes the weights grow beyond float64; what is left of them is not said."
        )
    return tuple(notes)


# --- as text


def _of_part(part: Part, depth: int) -> list[str]:
    """Return the lines of a node: its text, what it does here, the nodes it asks, and its formula."""
    if depth > 24:
        return [f"{'  ' * 24}… = {number(part.value)}"]
    indent, inner = "  " * depth, "  " * (depth + 1)
    lines = _wrapped(indent + _short(part.what), len(inner) + 2)
    said = part.why if depth == 1 or not part.why else f"its step {number(part.step)}: {part.why}"
    if depth > 1 and not part.why:
        said = f"its step {number(part.step)}"
    lines += _wrapped(inner + said, len(inner) + 2) if said else []
    for inside in part.parts:
        lines += _of_part(inside, depth + 1)
    value = number(part.value)
    formula = "" if part.formula == value else f" {_short(part.formula)} ="
    return lines + _wrapped(f"{inner}={formula} {value}", len(inner) + 2)


def _short(text: str) -> str:
    return text if len(text) <= 240 else f"{text[:200]} … {text[-30:]}"


def _wrapped(text: str, indent: int = 0) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def _share(part: float) -> str:
    if part == 0.0:
        return "0 %"
    return f"{100 * part:.3g} %" if abs(part) >= 1e-4 else f"{part:.3g}"


def _times(times: Timescale) -> str:
    if times.steps == float("inf"):
        return "for ever; nothing decays"
    pairs = zip(times, ("steps", "epochs", "tokens"), strict=True)
    return ", ".join(f"{amount:.4g} {unit}" for amount, unit in pairs if amount is not None)
