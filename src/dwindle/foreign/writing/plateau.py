"""What writing a rule that answers a metric takes in every peer: is it a Plateau, and where does its rate end?"""

from __future__ import annotations

import textwrap
from typing import Any

from dwindle.errors import NoExactMapError
from dwindle.schedule.feedback import FeedbackRule, lowered
from dwindle.schedule.plateau import Plateau

__all__ = ["lowest", "plateau_of", "rule_header"]


def plateau_of(rule: FeedbackRule[Any], peer: str) -> Plateau:
    """Return ``rule`` if it is a Plateau that keeps to patience and cooldown; raise NoExactMapError for what is more."""
    if not isinstance(rule, Plateau):
        raise NoExactMapError(f"{peer} has no rule like {type(rule).__name__}; only a plateau can be written for it.")
    if rule.warmup_steps:
        raise NoExactMapError(f"the plateau of {peer} has no warm-up; write the rule with warmup_steps=0.")
    return rule


def lowest(rule: Plateau) -> float:
    """Return the rate below which the rule does not cut: its min_lr, or where a cut would be no more than its eps.

    >>> lowest(Plateau(0.5, eps=0.2)), lowest(Plateau(0.1, min_lr=1e-3))
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


def rule_header(rule: Plateau, peer: str) -> str:
    """Return the comment that opens the source of a rule."""
    lines = [f"Written by dwindle for {peer}:", f"  {rule}"]
    if rule.observes_first:
        lines.append(
            "Note: the rule is told metric t before step t, and metric 0 not at all; here that is for you to do."
        )
    return "\n".join(
        f"# {part}"
        for line in lines
        for part in textwrap.wrap(line, 116, subsequent_indent="  ", drop_whitespace=False)
    )
