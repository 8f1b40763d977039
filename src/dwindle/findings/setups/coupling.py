"""l2 under an optimiser that divides by the gradient's size: the decay is divided too, and is no longer one number."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.decay import L2
from dwindle.finding import Finding, Remedy
from dwindle.setup import Setup, is_strong
from dwindle.units import short

__all__ = ["found"]


def found(setup: Setup) -> Iterator[Finding]:
    """Yield a finding if an adaptive optimiser has its decay in the gradient."""
    if not setup.adaptive:
        return
    coupled = [g for g in setup.groups if isinstance(g.decay, L2) and is_strong(g.decay)]
    if not coupled:
        return
    lam = coupled[0].decay.weight_decay if coupled[0].decay else 0.0
    number = short(lam) if isinstance(lam, float) else f"({lam})"
    name = setup.optimizer or "the optimiser"
    code = {
        "torch": f"use torch.optim.AdamW, or {name}(..., decoupled_weight_decay=True) where it has that",
        "keras": "drop kernel_regularizer and use keras.optimizers.AdamW(weight_decay=...)",
        "jax": "put optax.add_decayed_weights between the scaling and the learning rate, as optax.adamw does",
    }.get(setup.framework, "use AdamW, whose decay is decoupled")
    yield Finding(
        "adam-l2",
        "warning",
        f"{name} has its weight decay {number} in the gradient, which it divides by the gradient's running size: weights with "
        "large gradients decay less than the others, and λ is not what it says.",
        {
            "optimizer": name,
            "weight_decay": lam if isinstance(lam, float) else str(lam),
            "groups": [g.name for g in coupled],
        },
        Remedy(
            f"{code}; search λ anew, no constant carries it over (λ = 0.01 to 0.1 is usual for AdamW)",
            {"decay": (f"l2 {number}", "decoupled 0.01")},
        ),
        "Loshchilov & Hutter 2019, arXiv 1711.05101, §2",
        subject=name,
    )
