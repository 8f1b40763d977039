"""Decay without a gradient: none falls where there is none, all else is decay where it is 0; frozen weights that move."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import listed
from dwindle.setup import Setup

__all__ = ["found"]


def found(setup: Setup) -> Iterator[Finding]:
    """Yield findings for decaying weights without a gradient after a backward, with one of exactly 0, and for frozen ones."""
    decaying = [w for w in setup.weights if setup.decays(w)]
    if setup.framework == "torch":
        idle = [w for w in decaying if w.trainable and w.gradient is False]
        zero = [w for w in decaying if w.trainable and w.gradient and w.zero]
        if idle:
            names = [w.name for w in idle]
            yield Finding(
                "decay-without-gradient",
                "warning",
                f"{len(idle)} of {len(decaying)} decaying parameters had no gradient in the last backward ({listed(names)}): "
                "torch passes over them, so they do not decay in such a step.",
                {"parameters": names, "count": len(idle), "gradient": "none"},
                Remedy(
                    "use them in the loss, or freeze them with requires_grad_(False) and leave them out of the optimiser"
                ),
                "torch.optim: a parameter whose grad is None is left out of the step (its source)",
                subject=listed(names),
            )
        if zero:
            names = [w.name for w in zero]
            yield Finding(
                "decay-without-gradient",
                "warning",
                f"{len(zero)} of {len(decaying)} decaying parameters have a gradient of exactly 0 ({listed(names)}): the loss "
                "does not depend on them, and decay alone moves them, towards 0 with every step.",
                {"parameters": names, "count": len(zero), "gradient": "zero"},
                Remedy(
                    "find what cuts them off (a branch times 0, a mask, dead ReLUs); or freeze them with "
                    "requires_grad_(False), leave them out of the optimiser, and set their grad to None"
                ),
                "derived: with g = 0 a step is w ← (1 - lr·λ)·w",
                subject=listed(names),
            )
    frozen = [w for w in decaying if not w.trainable]
    moving = [w for w in frozen if w.gradient or setup.framework != "torch"]
    for those, severity in ((moving, "fault"), ([w for w in frozen if w not in moving], "note")):
        if not those:
            continue
        names = [w.name for w in those]
        what = (
            "they still hold a gradient, so every step moves and decays them" if severity == "fault" else
            "nothing moves them while they have no gradient, and their decay is none"
        )  # fmt: skip
        yield Finding(
            "decay-on-frozen",
            severity,
            f"{len(those)} frozen parameters are in a group that decays ({listed(names)}): {what}.",
            {"parameters": names, "count": len(those)},
            Remedy(
                "give the optimiser only (p for p in model.parameters() if p.requires_grad), and set their grad to None"
            ),
            "torch.optim: a step goes by grad, not by requires_grad (its source)",
            subject=listed(names),
        )
