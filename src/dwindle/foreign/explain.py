"""What becomes of a plan on its way from one peer to another, in words and the few numbers that decide it."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np

from dwindle.decay import L2, convert
from dwindle.errors import DwindleError, InvalidValueError, shown
from dwindle.foreign.carried import ASSUMED, carry, settings_lost
from dwindle.foreign.conventions import BIASES, BOUNDARY, CLOCK, DECAY, EPOCHS, IN_PART
from dwindle.foreign.habits import regularised_in_part, steps_by_epochs
from dwindle.foreign.optimiser import optimiser_in
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.reading import read
from dwindle.foreign.schedules.peers import PEERS, peer_named
from dwindle.foreign.source.pair import ON_TORCH
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import FeedbackRule, Schedule
from dwindle.units import Horizon, as_horizon

__all__ = ["Explanation", "explain"]

_WIDTH = 78  # as a comment it still fits in 80 columns
_MOST = 2_000_000  # steps that are looked at
_WITHOUT_RUN = 10_000
_MOMENTUM = 0.9
_ROUNDED = 1 - 2e-15  # of the peak: a rate above this is the peak itself, rounded


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was found: ``rates``, ``decay`` and ``cautions`` in words, each with its label.

    ``difference`` is the largest relative difference between the plan's learning rates and those of the written source,
    read back, over the run; None where there is no source or it cannot be read. ``str()`` prints it in 80 columns.
    """

    plan: str
    source: str | None
    peer: str | None
    steps: int
    rates: tuple[tuple[str, str], ...]
    decay: tuple[tuple[str, str], ...]
    cautions: tuple[str, ...]
    difference: float | None

    def __str__(self) -> str:
        way = " ".join([*(["from", self.source] if self.source else []), *(["to", self.peer] if self.peer else [])])
        lines = [f"{way or 'the plan'}, {self.steps} steps", *_wrapped(self.plan, 2)]
        for title, facts in (("learning rate", self.rates), ("weight decay", self.decay)):
            lines += [title, *(line for label, words in facts for line in _wrapped(words, 17, f"  {label:<15}"))]
        lines += [line for caution in self.cautions for line in _wrapped(caution, 4, "  ! ")]
        return "\n".join(lines)


def _wrapped(text: str, indent: int, first: str | None = None) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=" " * indent if first is None else first, subsequent_indent=" " * indent
    )


def explain(
    plan: Plan,
    peer: str | None,
    run: Horizon | int | None = None,
    source: str | None = None,
    *,
    optimizer: str | None = None,
    recipe: str | None = None,
) -> Explanation:
    """Return what a plan read from ``source`` does when it is written for ``peer`` (None: what the plan does).

    The numbers are worked out on the steps of ``run`` (without one, of steps 0 to 9999), and the written source is read
    back and compared on each of them. ``recipe`` is the text that the plan was read from: its optimiser is then carried over,
    and the cautions say what of it is not. Raises what `write` raises.

    >>> from dwindle.schedule import step
    >>> told = explain(Plan(0.1, step(30)), "torch", 90)
    >>> told.difference, dict(told.rates)["first decayed"]
    (0.0, 'step 30, at 0.05; 30 steps run at the peak')
    """
    if not isinstance(plan, Plan | FeedbackRule):
        raise InvalidValueError(f"plan must be a Plan; got {shown(plan)}. For text use parse(text).")
    if not isinstance(plan, Plan):
        raise InvalidValueError(
            f"only a Plan has a curve to explain; {type(plan).__name__} answers a metric as it comes."
        )
    horizon = None if run is None else as_horizon(run)
    peer, source = (None if one is None else peer_named(one) for one in (peer, source))
    steps = _WITHOUT_RUN if horizon is None else horizon.steps
    text = None if peer is None else carry(plan, peer, horizon, recipe, source, optimizer=optimizer)
    whole = plan.resolve(horizon or steps)
    lrs = whole.peak * whole.schedule(np.arange(min(steps, _MOST)))
    back = None if text is None else _back(text, horizon)
    difference = _difference(back, lrs, horizon or steps) if isinstance(back, Plan) else None
    rates = [*_course(lrs), *(_end(whole, lrs, steps) if horizon is not None else [])]
    rates += _clocks(source, peer, recipe, text) if peer is not None or source is not None else []
    if peer is not None and text is not None:
        rates += [("written as", _written(text, peer)), ("read back", _said(back, difference, len(lrs)))]
    cautions = tuple(dict.fromkeys([*_notes(text), *_said_of(recipe, source, horizon, text)]))
    decay = tuple(_decay(whole, lrs, source, peer, text))
    return Explanation(str(plan), source, peer, steps, tuple(rates), decay, cautions, difference)


def _said_of(recipe: str | None, source: str | None, run: Horizon | None, text: str | None) -> list[str]:
    """Return the cautions that hold whether or not source is written."""
    by_epochs = source in ("torch", "timm") if recipe is None else source and steps_by_epochs(recipe, source, run)
    ours = None if recipe is None or source is None or text is not None else optimiser_in(recipe, source)
    return [
        *([EPOCHS.format(source)] if by_epochs else []),
        *([IN_PART] if recipe is not None and source and regularised_in_part(recipe, source) else []),
        *([] if ours is None else [f"a plan holds no optimiser: take {ours.name} along yourself."]),
        *([] if ours is None else settings_lost(ours, None)),
        *([ASSUMED] if run is None else []),
    ]


# --- the learning rate


def _course(lrs: Any) -> list[tuple[str, str]]:
    top = float(lrs.max())
    at = int(np.argmax(lrs >= top * _ROUNDED))
    facts = []
    if at > 0:
        idle = ": the first update does nothing" if lrs[0] == 0.0 else ""
        facts.append(("warm-up", f"begins at {lrs[0]:.6g} in step 0{idle}"))
    facts.append(("peak", f"{top:.6g}, first in step {at}"))
    lower = np.flatnonzero(lrs[at:] < top * _ROUNDED)
    if not len(lower):
        return [*facts, ("first decayed", "none: the rate never falls below the peak")]
    first = at + int(lower[0])
    held = f"{first - at} step{'s' if first - at > 1 else ''} run{'s' if first - at == 1 else ''} at the peak"
    rate = f"at {lrs[first]:.6g}" if f"{lrs[first]:.6g}" != f"{top:.6g}" else f"{1 - lrs[first] / top:.1g} of it below"
    return [*facts, ("first decayed", f"step {first}, {rate}; {held}")]


def _end(plan: Plan, lrs: Any, steps: int) -> list[tuple[str, str]]:
    """Return what the last step uses, and what would come after it."""
    last = float(plan.lr(steps - 1))
    share = f", {100 * last / float(lrs.max()):.3g}% of the peak" if lrs.max() > 0 else ""
    uses = f"step {steps - 1} uses {last:.6g}{share}"
    later = np.unique(np.linspace(steps, 2 * steps, min(steps + 1, 10_001)).astype(np.int64))
    try:
        after = float(plan.lr(steps))
        beyond = plan.peak * plan.schedule(later)
    except DwindleError:  # a formula that is good for the run alone
        return [
            ("last step", uses),
            ("beyond the run", "it has no rate on some step: the plan is good for the run alone"),
        ]
    facts = [("last step", f"{uses}; step {steps} would use {after:.6g}")]
    if np.ptp(beyond) <= 1e-12 * max(float(beyond.max()), 1e-300):
        return [*facts, ("beyond the run", f"it holds {after:.6g}")]
    if float(beyond.max()) > after * (1 + 1e-9):
        return [*facts, ("beyond the run", f"it rises again, to {float(beyond.max()):.6g} before step {2 * steps}")]
    return [*facts, ("beyond the run", f"it goes on falling, to {float(beyond[-1]):.6g} in step {2 * steps}")]


def _clocks(source: str | None, peer: str | None, recipe: str | None, text: str | None) -> list[tuple[str, str]]:
    names = dict.fromkeys(name for name in (source, peer) if name is not None)
    clocks = [CLOCK[name] if name == peer else CLOCK[name].partition("; as written")[0] for name in names]
    facts = [("clock" if i == 0 else "", f"{name} counts {clocks[i]}") for i, name in enumerate(names)]
    for name, code in {source: recipe, peer: text}.items():
        schedule, where = BOUNDARY.get(name or "", ("", ""))
        if schedule and re.search(rf"\b{schedule}\(", _code(code or "")):
            facts.append(("boundaries", f"{name}: {where}"))
    return facts


def _written(text: str, peer: str) -> str:
    code = _code(text)
    own = [name for name in PEERS[peer] if re.search(rf"\b{name}(?=[\"(])", code) and name != "LambdaLR"]
    if "def factor" in code or "def learning_rate" in code or not own:
        return "a function of the step, the plan's own formula"
    return f"{', '.join(own)} of {peer} itself"


def _code(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not line.startswith("#"))


def _back(text: str, run: Horizon | None) -> Plan | str:
    """Return the plan of written source, or why it cannot be read."""
    try:
        plan = read(text, run=run)
    except DwindleError as error:
        return str(error)
    return plan if isinstance(plan, Plan) else "it answers a metric"


def _difference(back: Plan, lrs: Any, run: Horizon | int) -> float:
    got = back.resolve(run).lr(np.arange(len(lrs)))
    scale = np.where(lrs > 0, lrs, max(float(lrs.max(initial=0.0)), 1e-300))
    return float(np.max(np.abs(got - lrs) / scale, initial=0.0))


def _said(back: Plan | str | None, difference: float | None, steps: int) -> str:
    if difference is None:
        return f"the source was not read back: {back}"
    return f"largest relative difference of the rate {difference:.2g} over {steps} steps"


# --- the weight decay


def _decay(plan: Plan, lrs: Any, source: str | None, peer: str | None, text: str | None) -> list[tuple[str, str]]:
    decay = plan.decay
    if decay is None:
        return [("", "none")]
    names = dict.fromkeys(name for name in (source, peer) if name is not None)
    facts = [("plan", f"{decay}: {_rule(plan, lrs)}"), *_as_numbers(plan)]
    facts += [("owner" if i == 0 else "", f"{name}: {DECAY[name]}") for i, name in enumerate(names)]
    if peer is not None and text is not None:
        facts.append(("done by", _owner(_code(text), peer)))
    facts.append(("biases, norms", f"in the plan {_masked(plan.mask)}"))
    return facts + [("", f"in {name} they {BIASES[name]}") for name in names]


def _owner(code: str, peer: str) -> str:
    """Return which part of written source decays the weights."""
    names = [*OPTIMIZERS[peer], *(OPTIMIZERS["torch"] if peer in ON_TORCH else ())]
    own = next((name for name in names if re.search(rf"\b{re.escape(name)}\(", code)), None)
    if "def decay(" in code:
        return "a function of its own, decay" + ("" if own is None else f", beside {own}")
    if "regularizers.L2(" in code:
        return f"regularizers.L2 in the cost, which {own} then descends"
    return "the update itself" if own is None else f"{own} itself"


def _rule(plan: Plan, lrs: Any) -> str:
    """Return the rule of the decay, and what it takes at the highest rate of the run."""
    decay = plan.decay
    assert decay is not None
    at, top = int(np.argmax(lrs)), float(lrs.max())
    factor = top / plan.peak if plan.peak else 1.0
    share = float(decay.share(at, top, factor) + top * decay.coupling(at))
    rule = {"l2": "lr·λ by plain SGD", "decoupled": "lr·λ", "independent": "f·λ", "corrected": "lr·f·λ"}
    lost = f"{share:.4g} of each weight a step at the peak"
    scale = f", time scale {1 / share:.4g} steps" if share else ""
    return f"{rule[decay.convention]}, {lost}{scale}"


def _as_numbers(plan: Plan) -> list[tuple[str, str]]:
    """Return the number of the other convention, where l2 and a decay beside the update meet."""
    decay = plan.decay
    if decay is None or isinstance(decay.weight_decay, Schedule) or plan.peak == 0.0 or decay.weight_decay == 0.0:
        return []
    to = "decoupled" if isinstance(decay, L2) else "l2"
    plain, heavy = (convert(decay, to, peak=plan.peak, momentum=momentum).weight_decay for momentum in (0.0, _MOMENTUM))
    factor = "λ/(1-μ)" if to == "decoupled" else "λ·(1-μ)"
    return [
        (
            f"as {to}",
            f"{plain:.6g} with SGD, {heavy:.6g} with SGD of momentum μ = {_MOMENTUM:g} ({factor}); with Adam no number "
            "is the same",
        )
    ]


def _masked(mask: Mask) -> str:
    if mask == Mask():
        return "they do not decay"
    return "they decay, like every parameter" if mask == Mask.everything() else f"the mask decides: {mask}"


def _notes(text: str | None) -> tuple[str, ...]:
    """Return the notes in the header of written source."""
    header = re.match(r"(?:#.*\n)*", text or "")
    lines = header.group().splitlines() if header else []
    notes: list[str] = []
    for line in lines:
        if line.startswith("# Note: "):
            notes.append(line.removeprefix("# Note: "))
        elif notes and line.startswith("#   "):
            notes[-1] += f" {line[2:].strip()}"
    return tuple(notes)
