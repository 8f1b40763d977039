"""A plateau as source for optax and Keras, which cut at the ``patience``-th metric that is not better: one earlier."""

from __future__ import annotations

from typing import Any

from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.keras import NAMES as KERAS
from dwindle.foreign.optimizers.optax import NAMES as OPTAX
from dwindle.foreign.writing.guess_parts import neat
from dwindle.foreign.writing.layout import laid_out
from dwindle.foreign.writing.source_text import call, header, module, number
from dwindle.foreign.writing.write_keras import no_decay
from dwindle.schedule.feedback import FeedbackRule, lowered
from dwindle.schedule.plateau import Plateau

__all__ = ["keras_rule", "optax_rule"]


def optax_rule(rule: FeedbackRule[Any], optimizer: str | None = None) -> str:
    """Return the source of a Plateau for optax: ``plateau``, a transformation that is told every metric.

    optax cuts at the ``patience``-th metric that is not better: its patience is one more. Raises NoExactMapError for a rule
    that optax cannot follow.
    """
    plateau = _plateau(rule, "optax")
    relative = plateau.threshold_mode == "rel"
    if plateau.threshold == 0.0:
        raise NoExactMapError("reduce_on_plateau of optax needs a threshold above 0; give the rule one.")
    if plateau.mode == "max" and relative:
        raise NoExactMapError(
            "of a metric that grows, optax compares -metric, for which a relative threshold is another."
        )
    params = {
        "factor": plateau.factor,
        "patience": plateau.patience + 1,
        "rtol": plateau.threshold if relative else 0.0,
        "atol": 0.0 if relative else plateau.threshold,
        "cooldown": plateau.cooldown,
        "min_scale": neat(_lowest(plateau) / plateau.peak),
    }
    name = known("optimizer", optimizer or "sgd", [name for name in OPTAX if "+" not in name])
    own = {"weight_decay": 0.0} if OPTAX[name].weight_decay is not None else {}
    value = "metric" if plateau.mode == "min" else "-metric"
    lines = [
        f"optimizer = {call(f'optax.{name}', [number(plateau.peak)], own)}",
        f"plateau = {laid_out('optax.contrib.reduce_on_plateau', params)}",
    ]
    use = [
        "# After every metric:",
        f"#     _, plateau_state = plateau.update(updates, plateau_state, value={value})",
        "# In every update, after updates, state = optimizer.update(grads, state, params):",
        "#     updates = optax.tree.scale(plateau_state.scale, updates)",
    ]
    return module(_header(plateau, "optax"), ["optax"], ["\n".join([*lines, "", *use])])


def keras_rule(rule: FeedbackRule[Any], optimizer: str | None = None) -> str:
    """Return the source of a Plateau for Keras: an optimiser, and the callback for ``model.fit``.

    Keras cuts at the ``patience``-th metric that is not better and counts the last of the cooldown: both are one more.
    Raises NoExactMapError for a rule that Keras cannot follow.
    """
    plateau = _plateau(rule, "keras")
    if plateau.threshold_mode == "rel" and plateau.threshold:
        raise NoExactMapError('ReduceLROnPlateau of Keras compares by an absolute min_delta; the rule is "rel".')
    low = _lowest(plateau)
    if plateau.peak == 1.0 and low:
        raise NoExactMapError("min_lr of Keras is a learning rate; give the rule its peak: replace(rule, peak=...).")
    params = {
        "monitor": "val_loss",
        "factor": plateau.factor,
        "patience": plateau.patience + 1,
        "mode": plateau.mode,
        "min_delta": plateau.threshold,
        "cooldown": plateau.cooldown + 1 if plateau.cooldown else 0,
        "min_lr": low,
    }
    name = known("optimizer", "SGD" if optimizer is None else optimizer, [name for name in KERAS if "." not in name])
    lines = [
        f"optimizer = {call(f'keras.optimizers.{name}', [number(float(plateau.peak))], no_decay(name))}",
        f"plateau = {laid_out('keras.callbacks.ReduceLROnPlateau', params)}",
        "# model.compile(optimizer, ...); model.fit(..., callbacks=[plateau])",
    ]
    return module(_header(plateau, "keras"), ["keras"], ["\n".join(lines)])


def _plateau(rule: FeedbackRule[Any], peer: str) -> Plateau:
    """Return ``rule`` if it is a Plateau that keeps to patience and cooldown; raise NoExactMapError for what is more."""
    if not isinstance(rule, Plateau):
        raise NoExactMapError(f"{peer} has no rule like {type(rule).__name__}; only a plateau can be written for it.")
    if rule.warmup_steps:
        raise NoExactMapError(f"the plateau of {peer} has no warm-up; write the rule with warmup_steps=0.")
    return rule


def _lowest(rule: Plateau) -> float:
    """Return the rate below which the rule does not cut: its min_lr, or where a cut would be no more than its eps.

    >>> _lowest(Plateau(0.5, eps=0.2)), _lowest(Plateau(0.1, min_lr=1e-3))
    (0.25, 0.001)
    """
    if not rule.eps:
        return rule.min_lr
    lr = rule.peak
    while True:
        after = lowered(rule, lr)
        if after == lr:
            return lr
        lr = after


def _header(rule: Plateau, peer: str) -> str:
    note = "the rule is told metric t before step t, and metric 0 not at all; here that is for you to do."
    return header(peer, [f"  {rule}"], [note] if rule.observes_first else [])
