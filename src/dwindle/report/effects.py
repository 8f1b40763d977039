"""What each decay did in a setting: one verdict, which the answer, the cards and the terminal all take."""

from __future__ import annotations

from typing import NamedTuple

from dwindle.report.evidence import DECAYS, Advice, Comparison, Setting, Trial, Winner

__all__ = ["Effect", "effect", "has"]


class Effect(NamedTuple):
    """The comparison of the test loss that the verdict on a decay rests on, the others that show it, and the verdict.

    The verdict is 'better with it', 'better without it', 'does not matter here', 'cannot be told', or, where nobody weighed the
    comparisons, 'not distinguishable'.
    """

    comparison: Comparison
    others: tuple[Comparison, ...]
    verdict: str


def effect(setting: Setting, decay: str) -> Effect | None:
    """Return what a decay did: as the advice has it, which weighs all its comparisons, else as the first of them has it.

    None where no plan that shows it was compared with the winner.
    """
    found = [c for role in DECAYS[decay] if (c := setting.comparison(role, "test_loss")) is not None]
    if not found:
        return None
    advice = next((each for each in setting.advice if each.knob == decay), None)
    weighed = None if advice is None else advice.numbers.get("difference")  # by its number one knows the comparison
    shown = next((c for c in found if c.difference == weighed), found[0])
    return Effect(shown, tuple(c for c in found if c is not shown), _verdict(decay, shown, advice))


def _verdict(decay: str, shown: Comparison, advice: Advice | None) -> str:
    verdict = shown.verdict if advice is None else advice.verdict
    if verdict == "matters" and advice is not None:
        verdict = "better" if (advice.numbers.get("difference") or 0.0) < 0 else "worse"
    if verdict not in ("better", "worse"):
        return verdict
    lacks = shown.against == DECAYS[decay].having  # then the winner is the plan without it
    return "better without it" if (verdict == "better") == lacks else "better with it"


def has(decay: str, plan: Trial | Winner) -> bool:
    """Return whether a plan has this decay."""
    return plan.lam > 0 if decay == "weight decay" else plan.schedule != "constant"
