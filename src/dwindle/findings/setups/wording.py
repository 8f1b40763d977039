"""What several findings say in the same words: lists of names, numbers, and the code of a remedy by framework."""

from __future__ import annotations

from collections.abc import Sequence

from dwindle.mask import Mask, Rule
from dwindle.setup import Setup, is_strong

__all__ = [
    "BY_EPOCHS",
    "IN_SHARES",
    "counted",
    "group_code",
    "horizon_said",
    "listed",
    "mask_change",
    "place_said",
    "plan_change",
]

IN_SHARES = "the steps of the run: its times are shares"
"""What a Setup that stands for a run of any length does not tell (`Setup.unread`)."""

BY_EPOCHS = "the updates of an epoch: its times are epochs"
"""What a Setup whose steps are epochs does not tell (`Setup.unread`)."""

_MOST = 3


def listed(names: Sequence[str]) -> str:
    """Return a few of ``names`` and how many more there are.

    >>> listed(["a", "b", "c", "d"])
    'a, b, c and 1 more'
    """
    shown = ", ".join(names[:_MOST])
    return shown if len(names) <= _MOST else f"{shown} and {len(names) - _MOST} more"


def group_code(setup: Setup) -> str:
    """Return one line that makes biases, norms and other vectors decay no more."""
    lam = next((g.decay for g in setup.groups if is_strong(g.decay)), None)
    number = "wd" if lam is None or not isinstance(lam.weight_decay, float) else f"{lam.weight_decay:g}"
    if setup.framework == "torch" and not setup.followed:
        return (
            f'groups: [{{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": {number}}}, '
            '{"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]; or '
            "dw.torch.attach(optimizer, plan, horizon, model=model), whose mask does this"
        )
    if setup.framework == "keras" and not setup.followed:
        return (
            'optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"]) before it is built; or '
            "dw.keras.attach(optimizer, plan, horizon, model=model)"
        )
    if setup.framework == "jax":
        return "give it mask=lambda params: jax.tree.map(lambda w: w.ndim >= 2, params); or dw.jax.adamw(plan, horizon)"
    return "use the standard mask, under which biases, norms and other vectors do not decay"


def mask_change(setup: Setup, role: str) -> dict[str, tuple[str, str]]:
    """Return the mask as a plan diff: what it is now, and one under which ``role`` does not decay."""
    standard = Mask()
    everything = all(setup.decays(w) for w in setup.weights if w.groups)
    now = setup.plan.mask if setup.plan is not None else Mask.everything() if everything else None
    if role == "embedding":
        base = standard if now is None or now == Mask.everything() else now
        then = Mask((Rule("kind", "*embed*", False), *base.rules))
    else:
        then = standard
    return {} if now == then else {"mask": ("" if now is None else str(now), str(then))}


def plan_change(setup: Setup, field: str, then: str) -> dict[str, tuple[str, str]]:
    """Return the diff of one ``field`` of the plan; "" for what no plan said, and for a schedule that is not known."""
    unknown = setup.plan is None or (field == "schedule" and not setup.schedule_known)
    now = None if unknown else getattr(setup.plan, field)
    return {field: ("" if now is None else str(now), then)}


def counted(setup: Setup) -> str:
    """Return what a step of the run is called."""
    return "epoch" if BY_EPOCHS in setup.unread else "update"


def horizon_said(setup: Setup) -> str:
    """Return the run's length in words."""
    run = setup.horizon
    return "the run" if run is None or IN_SHARES in setup.unread else f"the run of {run.steps:,} {counted(setup)}s"


def place_said(setup: Setup, update: float) -> str:
    """Return a place in the run in words: "update 700 of 1,000", or "70% of the run" where its length is not known."""
    run = setup.horizon
    assert run is not None
    return (
        f"{update / run.steps:.0%} of the run"
        if IN_SHARES in setup.unread
        else f"{counted(setup)} {update:,.0f} of {run.steps:,}"
    )
