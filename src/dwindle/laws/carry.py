"""Carrying a plan to another batch size, length, data size and width by `rules`.

The share a that decay takes is carried, and λ is then whatever gives that share in the plan's own convention.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from dwindle.decay import L2, Decay, Independent, peak_share
from dwindle.errors import (
    DwindleError,
    InvalidValueError,
    NoExactMapError,
    UnresolvedTimeError,
    known,
    real,
    sequence,
    shown,
)
from dwindle.laws.rules import RULES, Powers, Rule
from dwindle.plan import Group, Plan, as_plan
from dwindle.replan import extended
from dwindle.schedule import Schedule
from dwindle.units import Horizon, as_horizon, short

__all__ = ["Carried", "carry"]


class Carried(NamedTuple):
    """A plan carried elsewhere: ``changes`` says what became of it and why, ``rules`` by which rules, ``notes`` what is open."""

    plan: Plan
    changes: tuple[str, ...]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...]


class _Move(NamedTuple):
    """From where to where, as (old, new)."""

    runs: tuple[Horizon, Horizon]
    width: tuple[float, float] | None
    parameters: tuple[float, float] | None

    def sizes(self, measure: str) -> tuple[float, float]:
        """Return what ``measure`` is in the old run and in the new one."""
        old, new = self.runs
        match measure:
            case "steps":
                return old.steps, new.steps
            case "width":
                return _pair("width", self.width)
            case "steps per epoch":
                return self.known("steps_per_epoch")
            case "batch":
                return self.batches()
        tokens, size = self.known("tokens_per_step"), _pair("parameters", self.parameters or (1.0, 1.0))
        return tokens[0] * old.steps / size[0], tokens[1] * new.steps / size[1]

    def known(self, attribute: str) -> tuple[float, float]:
        old, new = (getattr(run, attribute) for run in self.runs)
        if old is None or new is None:
            which = "old" if old is None else "new"
            raise UnresolvedTimeError(f"a rule goes by {attribute}, and the {which} Horizon does not know it; give it.")
        return float(old), float(new)

    def batches(self) -> tuple[float, float]:
        (old, new), in_tokens = self.runs, None not in [run.tokens_per_step for run in self.runs]
        if in_tokens and None in (old.batch_size, new.batch_size):
            return self.known("tokens_per_step")
        batches = self.known("batch_size")
        tokens = self.known("tokens_per_step") if in_tokens else batches
        if batches[0] * tokens[1] != batches[1] * tokens[0]:
            raise InvalidValueError(
                f"the batch goes from {old.batch_size} to {new.batch_size} examples but from {old.tokens_per_step} to "
                f"{new.tokens_per_step} tokens: the examples differ in length. Give both runs only the one to go by."
            )
        return batches

    def ratio(self, sides: Iterable[Powers]) -> float:
        each = [(self.sizes(m), exponent) for powers in sides for m, exponent in powers]
        return math.prod([float((new / old) ** exponent) for (old, new), exponent in each])

    def why(self, rules: list[Rule], side: str) -> str:
        return " and ".join(
            f"times ({short(self.sizes(m)[1])}/{short(self.sizes(m)[0])})^{short(exponent)} for {m} ({rule.name}, {rule.status})"
            for rule in rules
            for m, exponent in getattr(rule, side)
        )


def carry(
    plan: Plan,
    old: Horizon | int,
    new: Horizon | int,
    *,
    rules: Iterable[str | Rule] = ("sqrt", "epochs"),
    width: tuple[float, float] | None = None,
    parameters: tuple[float, float] | None = None,
    fixed_lr: Iterable[str] = (),
) -> Carried:
    r"""Return ``plan``, tuned on the run ``old``, carried to the run ``new`` by ``rules``, at most one for each decision::

        peak_new = peak·Π (m_new/m_old)^exponent            over the rules' ``lr``
        a_new    = a·Π (m_new/m_old)^exponent               over the rules' ``share``; a: the share decay takes at the peak
        λ_new    = λ·(a_new/a) for independent, λ·(a_new/a)/(peak_new/peak) for decoupled, corrected and l2 (plain SGD)

    The schedule keeps its shape as a part of the run (assumption): times in % stay as they are, all others are stretched.
    ``rules`` are names of RULES or Rule values, such as ``replace(RULES["sqrt"], lr=(("batch", 0.4),))``; the default is
    AdamW's. ``width`` and ``parameters`` are (old, new); without ``parameters`` the model's size is the same. ``fixed_lr``
    names the plan's groups whose learning rate does not go with the width (embeddings, norms, biases). Mask, groups and
    layer decay stay: the share of every other group changes by the same ratio.

    Raises UnresolvedTimeError where a horizon does not know what a rule looks at; NoExactMapError for l2 with a rule of
    Adam's; InvalidValueError for two rules about one decision, or a width without a rule for it; and what Plan raises.

    >>> from dwindle.decay import Decoupled
    >>> old = Horizon(epochs=10, examples=51200, batch_size=128)
    >>> got = carry(Plan(1e-3, decay=Decoupled(0.1)), old, Horizon(epochs=10, examples=51200, batch_size=512))
    >>> str(got.plan)
    'peak 2e-3 | constant | decoupled 0.2'
    >>> print(*got.changes, sep="\n")
    peak 0.001 -> 0.002: times (512/128)^0.5 for batch (sqrt, theorem)
    share of decay at the peak 0.0001 -> 0.0004: times (100/400)^-1 for steps per epoch (epochs, measured)
    weight_decay 0.1 -> 0.2: the decoupled λ that takes this share at this peak
    """
    plan, old, new, fixed = as_plan(plan), as_horizon(old), as_horizon(new), tuple(fixed_lr)
    chosen, move = _chosen(plan, rules, width), _Move((old, new), width, parameters)
    lr, share = move.ratio(r.lr for r in chosen), move.ratio(r.share for r in chosen)
    by_width = move.ratio(r.lr for r in chosen if r.decides == "width")
    shaped = _same_shape(plan, old, new)
    moved = replace(
        shaped,
        peak=plan.peak * lr,
        decay=_with_share(shaped.decay, lr, share),
        groups=_rescaled(plan, fixed, 1.0 / by_width),
    )
    changes = []
    if shaped is not plan:
        spread = f"the same shape over {new.steps} steps, not {old.steps} (assumption)"
        changes.append(f"schedule {plan.schedule} -> {shaped.schedule}: {spread}")
    if lr != 1.0:
        changes.append(f"peak {plan.peak:.6g} -> {moved.peak:.6g}: {move.why(chosen, 'lr')}")
    if moved.groups != plan.groups:
        changes.append(
            f"lr_scale of {', '.join(fixed)}: times {1.0 / by_width:.6g}, so that the width leaves their rate"
        )
    if plan.decay is not None and share != 1.0:
        before = _share_at_peak(plan)
        shares = f"times {share:.6g}" if before is None else f"{before:.6g} -> {before * share:.6g}"
        changes.append(f"share of decay at the peak {shares}: {move.why(chosen, 'share')}")
    if plan.decay is not None and moved.decay != shaped.decay:
        lams = f"{_lam(plan.decay)} -> {_lam(moved.decay)}"
        changes.append(f"weight_decay {lams}: the {plan.decay.convention} λ that takes this share at this peak")
    return Carried(moved, tuple(changes), tuple(chosen), tuple(_notes(plan, shaped, chosen, move, fixed)))


def _chosen(plan: Plan, rules: Iterable[str | Rule], width: tuple[float, float] | None) -> list[Rule]:
    given = [rules] if isinstance(rules, str | Rule) else sequence("rules", rules)
    chosen = [each if isinstance(each, Rule) else RULES[known("rule", each, RULES)] for each in given]
    for decision in ("peak", "decay", "width"):
        names = [rule.name for rule in chosen if rule.decides == decision]
        if len(names) > 1:
            raise InvalidValueError(f"{' and '.join(names)} both decide the {decision}; give one of them.")
    if width is not None and not any(rule.decides == "width" for rule in chosen):
        raise InvalidValueError("width is given and no rule uses it; add 'mup' or 'sublayer-gain' to rules.")
    if plan.decay is None:
        return [rule for rule in chosen if rule.decides != "decay"]
    for rule in chosen:
        if isinstance(plan.decay, L2) and rule.optimiser == "adam":
            raise NoExactMapError(
                f"{rule.name} is a rule for Adam, which divides l2 by the gradient's running size, so the share it takes is "
                "not known. Use a decoupled decay, or for SGD the rules 'linear' and 'examples'."
            )
    return chosen


def _pair(name: str, pair: tuple[float, float] | None) -> tuple[float, float]:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise InvalidValueError(f"a rule goes by {name}; give {name}=(old, new). Got {shown(pair)}.")
    return real(f"old {name}", pair[0], above=0.0), real(f"new {name}", pair[1], above=0.0)


def _same_shape(plan: Plan, old: Horizon, new: Horizon) -> Plan:
    """Return ``plan`` itself where its own times scale with the run, else with all of them in steps and stretched."""
    stretched, _ = extended(plan, old, 0, new)
    try:
        if plan.resolve(new) == stretched:
            return plan
        # The times are all shares of the run if, on two runs where an epoch and a token are worth the same, they stretch.
        some, twice = (Horizon(n, None, 1000, 1000, None, 1000) for n in (10**12, 2 * 10**12))
        if plan.resolve(twice) == extended(plan, some, 0, twice)[0]:
            return plan
    except DwindleError:  # the new run, or one of those two, does not fit the plan's own times
        pass
    return stretched


def _with_share(decay: Decay | None, lr: float, share: float) -> Decay | None:
    ratio = share if isinstance(decay, Independent) else share / lr
    if decay is None or math.isclose(ratio, 1.0, rel_tol=1e-12):
        return decay
    return replace(decay, weight_decay=decay.weight_decay * ratio)


def _rescaled(plan: Plan, names: tuple[str, ...], by: float) -> tuple[Group, ...]:
    for name in names:
        plan.scale(name)  # raises if there is no such group
    return tuple(replace(g, lr_scale=g.lr_scale * by) if g.name in names else g for g in plan.groups)


def _share_at_peak(plan: Plan) -> float | None:
    """Return the share that decay takes at the peak, None where it goes by a schedule of λ."""
    if plan.decay is None or isinstance(plan.decay.weight_decay, Schedule):
        return None
    return peak_share(plan.decay, plan.peak)


def _lam(decay: Decay | None) -> str:
    lam = 0.0 if decay is None else decay.weight_decay
    return str(lam) if isinstance(lam, Schedule) else f"{lam:.6g}"


def _notes(plan: Plan, shaped: Plan, rules: list[Rule], move: _Move, fixed: tuple[str, ...]) -> Iterator[str]:
    decided, looked_at = {r.decides for r in rules}, {m for r in rules for m, _ in (*r.lr, *r.share)}
    (old, new), batches = move.runs, move.sizes("batch") if "batch" in looked_at else (1.0, 1.0)
    if "peak" not in decided:
        yield "no rule decides the peak, so a change of the batch leaves it as it is."
    if plan.decay is None:
        yield "nothing decays, so no rule for the decay applies."
    elif "decay" not in decided:
        yield "no rule decides the decay, so the share it takes in each step stays but for the width; 'steps' says so."
    if new.steps * batches[1] != old.steps * batches[0]:
        yield "the run sees another amount of data; no rule here says how that moves the best peak."
    if shaped is not plan:
        yield "a warmup is stretched with the rest; if it should last as many steps as before, set it again."
    if isinstance(plan.decay, L2):
        yield "l2 is carried as under SGD with the momentum unchanged."
    if "width" in decided and not fixed:
        yield "the width moves the rate of every parameter; name the groups of embeddings, norms and biases in fixed_lr."
    if fixed and plan.decay is not None and not isinstance(plan.decay, Independent):
        yield f"{', '.join(fixed)}: their {plan.decay.convention} share is lr·λ with the rate that stays, so it goes with λ."
    if RULES["tokens-per-parameter"] in rules:
        yield "the exponent of tokens per parameter is recalled and was not checked against the paper's text."
