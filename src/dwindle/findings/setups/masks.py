"""Decay on what should keep its size: biases, norms and other gains, and, by choice, embeddings."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import group_code, listed, mask_change
from dwindle.setup import Setup

__all__ = ["found"]

_SAYS = {
    "bias": (
        "decay-on-bias", "warning", "a bias only shifts its output; pulling it to 0 does not smooth the fit",
        "Nielsen 2015, ch. 3 (biases are not penalised); He et al. 2019, arXiv 1812.01187, §3.1 (no bias decay)",
    ),
    "norm": (
        "decay-on-norm", "warning",
        "a gain that shrinks scales its whole layer down, whatever the data say",
        "He et al. 2019, arXiv 1812.01187, §3.1: decay only the weights of convolutions and dense layers",
    ),
    "embedding": (
        "decay-on-embedding", "note",
        "rows that are rarely seen shrink at every step without a gradient; some recipes decay them, others do not",
        "nanoGPT decays them, OpenAI's GPT-1 code did not; assumption: a choice, not a mistake",
    ),
}  # fmt: skip


def found(setup: Setup) -> Iterator[Finding]:
    """Yield what decays that should not: one finding for biases, one for norms and gains, one for embeddings."""
    for role, (code, severity, why, source) in _SAYS.items():
        those = [w for w in setup.weights if w.role == role and w.trainable and setup.decays(w)]
        unseen = setup.framework in ("plan", "config")
        if not those or (role == "embedding" and unseen and not setup.attends and not _names_embeddings(setup)):
            continue  # whether the model has one is not known
        names = [w.name for w in those]
        numbers = sum(_size(w.shape) for w in those)
        of_all = [w for w in setup.weights if w.role == role and w.trainable]
        decays = [setup.groups[i].decay for w in those for i in w.groups]
        strongest = max(
            (d.weight_decay for d in decays if d is not None), key=lambda lam: lam if isinstance(lam, float) else 0.0
        )
        evidence = {"parameters": names, "count": len(names), "numbers": numbers, "weight_decay": _number(strongest)}
        what = {"bias": "biases", "norm": "norms and other gains", "embedding": "embeddings"}[role]
        if unseen:
            evidence = {"weight_decay": _number(strongest)}
            verdict = f"Its mask lets {what} decay: {why}."
        else:
            verdict = f"{len(names)} of {len(of_all)} {what} decay ({listed(names)}): {why}."
        yield Finding(code, severity, verdict, evidence, _remedy(setup, role), source)


def _remedy(setup: Setup, role: str) -> Remedy:
    change = mask_change(setup, role)
    if role == "embedding":
        return Remedy("leave it if you mean it; else give embeddings their own group without decay", change)
    return Remedy(group_code(setup), change)


def _names_embeddings(setup: Setup) -> bool:
    """Whether the mask has a rule for embeddings that lets them decay."""
    return setup.plan is not None and any(
        rule.decays and "emb" in rule.pattern.lower() for rule in setup.plan.mask.rules
    )


def _number(lam: object) -> object:
    return lam if isinstance(lam, float) else str(lam)


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
