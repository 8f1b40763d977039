"""How strong the decay is: lr·λ against 1, its time scale against an epoch and the run, and none at all."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dwindle.decay import L2, peak_share
from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import plan_change
from dwindle.schedule import Schedule
from dwindle.setup import Group, Setup, is_strong
from dwindle.units import short

__all__ = ["found"]

_SHORTEST = 0.01  # of a run
_LEAST = 1000  # updates: what a run has at least, where it does not say (assumption)
_EPOCHS = 5  # from this many on an epoch is a measure for the time scale
_TIMESCALE = (
    "Wang & Aitchison 2024, arXiv 2405.13698: weights are an average of the last τ = 1/(lr·λ) updates; the best τ lies between "
    "one epoch and the run"
)


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a fault for lr·λ ≥ 1 or < 0, a warning for a time scale that is too short, a note for no decay at all."""
    strong = [i for i, g in enumerate(setup.groups) if is_strong(g.decay)]
    growing = max(setup.groups, key=lambda g: g.growth, default=None)
    if growing is not None and growing.growth > 0.0:
        yield _grows(growing)
    elif setup.groups and not strong and setup.framework != "config":
        yield Finding(
            "no-decay",
            "note",
            "nothing decays: λ is 0 in every group.",
            {"groups": len(setup.groups)},
            Remedy("nothing to repair if you mean it; λ = 0.01 to 0.1 is usual for AdamW, 1e-4 to 5e-4 for SGD (l2)"),
            "derived",
        )
    course = setup.course()
    seen = course.whole and setup.horizon is not None and not setup.updates  # every rate of the run: no need to guess
    most: tuple[float, int] | None = None
    for i in strong:
        if setup.adaptive and isinstance(setup.groups[i].decay, L2):
            continue  # it is divided by the gradient's size: no share describes it
        peak = setup.groups[i].top
        decay = setup.groups[i].decay
        at_peak = 0.0
        if decay is not None and not isinstance(decay.weight_decay, Schedule) and not seen:
            at_peak = peak_share(decay, peak)
        share = max(at_peak, float(np.max(setup.shares(i, course), initial=0.0)))
        if most is None or share > most[0]:
            most = share, i
    if most is not None:
        yield from _judged(setup, *most)


def _grows(group: Group) -> Finding:
    return Finding(
        "lr-lambda-large",
        "fault",
        f"weights grow by {group.growth:.3g} of themselves a step, whatever the data say: the decay has the wrong sign.",
        {"growth": group.growth, "group": group.name},
        Remedy(
            "put optax.add_decayed_weights before what scales by -lr, which turns its sign, as optax.adamw does; after it, "
            "it must be given -lr·λ"
        ),
        "derived: w ← (1 + x)·w",
        subject=group.name,
    )


def _judged(setup: Setup, share: float, group: int) -> Iterator[Finding]:
    run, decay = setup.horizon, setup.groups[group].decay
    lam = decay.weight_decay if decay is not None and isinstance(decay.weight_decay, float) else None
    evidence = {
        "lr_lambda": share,
        "group": setup.groups[group].name,
        "lr": setup.groups[group].top,
        "weight_decay": lam,
    }
    if share >= 1.0:
        end = "grow without bound" if share > 2.0 else "change their sign, or are set to 0, in one step"
        yield Finding(
            "lr-lambda-large",
            "fault",
            f"lr·λ reaches {share:.3g}: decay multiplies weights by {1.0 - share:.3g}, so that they {end}.",
            evidence,
            _weaker(setup, lam, share, 1e-3, "take the decay down by far: lr·λ of 1e-5 to 1e-3 is usual"),
            "derived: w ← (1 - lr·λ)·w",
            subject=setup.groups[group].name,
        )
        return
    slow = share * setup.gain(group)
    if not slow:
        return
    tau, epoch = 1.0 / slow, None if run is None else run.steps_per_epoch
    steps = _LEAST if run is None else run.steps
    epochs = None if epoch is None else steps / epoch
    brief = tau < _SHORTEST * steps
    below = epoch is not None and epochs is not None and epochs >= _EPOCHS and tau < epoch
    if not brief and not below:
        return
    per_epoch = "" if epoch is None else f", {tau / epoch:.2g} epochs"
    least = max(float(epoch or 0) if below else 0.0, _SHORTEST * steps)
    of_run = "" if run is None else f", {tau / steps:.2%} of the run"
    yield Finding(
        "lr-lambda-large",
        "warning",
        f"weights forget in τ = 1/(lr·λ) = {tau:,.3g} updates{per_epoch}{of_run}: they are an average "
        f"of {'less than an epoch' if below else 'very few updates'}.",
        {**evidence, "timescale": tau, "timescale_in_run": None if run is None else tau / steps,
         "timescale_epochs": None if epoch is None else tau / epoch,
         "steps": None if run is None else steps},
        _weaker(setup, lam, slow, 1.0 / least, "lower λ, or the peak, until τ is an epoch or more"),
        _TIMESCALE,
        subject=setup.groups[group].name,
    )  # fmt: skip


def _weaker(setup: Setup, lam: float | None, share: float, wanted: float, says: str) -> Remedy:
    decay = next((g.decay for g in setup.groups if is_strong(g.decay)), None)
    if lam is None or decay is None:
        return Remedy(says)
    then = float(f"{lam * wanted / share:.1e}")
    said = f"{decay.convention} {short(then)}"
    change = plan_change(setup, "decay", said) if setup.plan else {"decay": (f"{decay.convention} {short(lam)}", said)}
    return Remedy(f"{says}: λ = {short(then)}", change)
