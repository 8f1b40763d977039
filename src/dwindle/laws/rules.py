"""Rules that carry a plan to another batch size, length, data size and width, each with how sure it is.

Every rule is a product of powers: the peak learning rate or the decay's share a = 1/τ changes by (new/old)^exponent of what
it looks at.
"""

from __future__ import annotations

from dataclasses import dataclass

from dwindle.errors import InvalidValueError, known, real
from dwindle.units import short

__all__ = ["RULES", "Powers", "Rule"]

MEASURES = ("batch", "steps", "steps per epoch", "tokens per parameter", "width")
STATUSES = ("theorem", "measured", "assumption")
Powers = tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: the peak goes as Π m^exponent over ``lr``, the share a of decay at the peak as Π m^exponent over ``share``.

    ``decides`` is "peak", "decay" or "width"; m is one of MEASURES. ``status``: "theorem" (proved in the stated limit),
    "measured" (fitted to trained models) or "assumption". ``validity`` says where it holds, ``source`` who says so;
    ``optimiser`` is "adam" where the rule is about Adam's kin only.

    >>> print(RULES["run"].formula)
    share a ∝ (steps)^-1
    """

    name: str
    decides: str
    lr: Powers
    share: Powers
    status: str
    source: str
    validity: str
    optimiser: str = "any"

    def __post_init__(self) -> None:
        known("decides", self.decides, ["peak", "decay", "width"])
        known("status", self.status, STATUSES)
        known("optimiser", self.optimiser, ["any", "adam"])
        if (self.decides == "peak" and self.share) or (self.decides == "decay" and self.lr):
            raise InvalidValueError(f"{self.name} decides the {self.decides} and must leave the other to its own rule.")
        for measure, exponent in (*self.lr, *self.share):
            known("measure", measure, MEASURES)
            real("exponent", exponent)

    @property
    def formula(self) -> str:
        """The rule as text."""
        sides = [("peak", self.lr)] * (self.decides != "decay") + [("share a", self.share)] * (self.decides != "peak")
        return ", ".join(f"{what} ∝ {_product(powers)}" for what, powers in sides)


def _product(powers: Powers) -> str:
    return "·".join(f"({measure})^{short(exponent)}" for measure, exponent in powers) or "1"


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "sqrt", "peak", (("batch", 0.5),), (), "theorem",
            "Malladi, Lyu, Panigrahi & Arora 2022, arXiv 2205.10287",
            "Adam and RMSprop while noise dominates the gradient, in the limit of small steps; the theorem also multiplies "
            "1 - β1 and 1 - β2 by the ratio of batches and divides ε by its root, which a plan does not hold",
            "adam",
        ),
        Rule(
            "linear", "peak", (("batch", 1.0),), (), "measured",
            "Goyal et al. 2017, arXiv 1706.02677",
            "SGD with or without momentum, after a warmup, below a critical batch (about 8192 for ResNet-50 on ImageNet)",
        ),
        Rule(
            "epochs", "decay", (), (("steps per epoch", -1.0),), "measured",
            "Wang & Aitchison 2024, arXiv 2405.13698: the best τ is about constant in epochs",
            "AdamW trained for several epochs, model and data size varied; vision models and a small language model",
        ),
        Rule(
            "run", "decay", (), (("steps", -1.0),), "assumption",
            "the same averaging of updates over the same part of the run: exact for a schedule stretched with the run, as a → 0",
            "the same tokens per parameter; there λ ∝ batch at fixed data is measured (Bergsma et al. 2025, arXiv 2505.13738)",
        ),
        Rule(
            "tokens-per-parameter", "decay", (), (("steps", -1.0), ("tokens per parameter", 0.527)), "measured",
            "Bergsma et al. 2025, arXiv 2505.13738: the best τ/steps is a power law in tokens per parameter; its exponent -0.527 "
            "is recalled, not read in the paper",
            "AdamW, one epoch, language models of 0.1 to 3.3 billion parameters under µP",
            "adam",
        ),
        Rule(
            "examples", "decay", (), (("batch", 1.0),), "assumption",
            "τ is constant in examples: for SGD with l2 and the linear rule it is that rule applied to the whole cost; for AdamW "
            "the same argument, not proved",
            "small steps, noise dominates the gradient; the same data",
        ),
        Rule(
            "steps", "decay", (), (("steps", 0.0),), "assumption",
            "τ is constant in steps: the equilibrium rotation by step stays (Kosson et al. 2023, arXiv 2305.17212)",
            "scale-invariant weights",
        ),
        Rule(
            "mup", "width", (("width", -1.0),), (), "measured",
            "Yang et al. 2022, arXiv 2203.03466, for the peak; Wang & Aitchison 2024 and Kosson et al. 2025, arXiv 2510.19093, "
            "for keeping lr·λ",
            "Adam, weights whose two sides both grow with the width; depth, batch and length unchanged",
            "adam",
        ),
        Rule(
            "sublayer-gain", "width", (("width", -1.0),), (("width", -0.5),), "measured",
            "Fan et al. 2025, arXiv 2510.15262: λ ∝ √width beside the µP peak",
            "AdamW, matrices followed by a normalisation, LLaMA-like models in the steady state",
            "adam",
        ),
    )
}  # fmt: skip
