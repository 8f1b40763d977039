"""Parameters that an optimiser holds twice, under two names, or not at all."""

from __future__ import annotations

from collections.abc import Iterator

from dwindle.finding import Finding, Remedy
from dwindle.findings.setups.wording import listed
from dwindle.setup import Setup, Weight

__all__ = ["found"]


def found(setup: Setup) -> Iterator[Finding]:
    """Yield findings for duplicates, tied tensors (a fault if they are updated twice), and trainable ones in no group."""
    twice = [w for w in setup.weights if len(w.groups) > 1]
    if twice:
        yield _twice(setup, twice)
    yield from _tied(setup)
    left = [w for w in setup.weights if w.trainable and not w.groups and not _updated_elsewhere(setup, w)]
    if left and any(w.groups for w in setup.weights):
        names = [w.name for w in left]
        yield Finding(
            "unoptimised-parameters",
            "warning",
            f"{len(left)} of {sum(w.trainable for w in setup.weights)} trainable parameters are in no group of the optimiser "
            f"({listed(names)}): they never move, though their gradients are worked out.",
            {"parameters": names, "count": len(left)},
            Remedy("give them to the optimiser, or freeze them with requires_grad_(False)"),
            "derived",
            subject=listed(names),
        )


def _twice(setup: Setup, those: list[Weight]) -> Finding:
    names = [w.name for w in those]
    where = sorted({setup.groups[i].name for w in those for i in w.groups})
    return Finding(
        "duplicate-parameters",
        "fault",
        f"{len(those)} parameters are in the optimiser's groups more than once ({listed(names)}; {', '.join(where)}): every step "
        "updates and decays them as often.",
        {"parameters": names, "groups": [list(w.groups) for w in those]},
        Remedy("list each parameter once: build the groups from dict(model.named_parameters()).values()"),
        "torch.optim refuses this when it is built, and does not look again (its source)",
        subject=listed(names),
    )


def _tied(setup: Setup) -> Iterator[Finding]:
    by_name = {w.name: w for w in setup.weights}
    seen: set[str] = set()
    for w in setup.weights:
        others = [by_name[name] for name in w.shares if name in by_name and name not in seen]
        together = [w, *others]
        held = [i for each in together for i in each.groups]
        names = [each.name for each in together] + list(w.tied)
        if not (others or w.tied) or w.name in seen:
            continue
        seen |= {each.name for each in together}
        if len(held) <= 1:
            yield _one_for_all(setup, together, names, held)
        else:
            decays = {str(setup.groups[i].decay) for i in held}
            lams = "with different decays" if len(decays) > 1 else "and decays it each time"
            yield Finding(
                "tied-parameters",
                "fault",
                f"{listed(names)} are one tensor, and the optimiser holds it {len(held)} times: a step updates it "
                f"as often, {lams}.",
                {"names": names, "groups": held, "decays": sorted(decays)},
                Remedy("tie the parameter itself (head.weight = embedding.weight, not .data), and list it once"),
                "derived",
                subject=listed(names),
            )


def _one_for_all(setup: Setup, together: list[Weight], names: list[str], held: list[int]) -> Finding:
    decays = any(setup.decays(each) for each in together)
    what = "it decays once a step, in all of its places" if decays else "it decays in none of its places"
    if not held:
        what = "no group holds it"
    return Finding(
        "tied-parameters",
        "note",
        f"{listed(names)} are one tensor, as tied layers are meant to be: one group and one λ stand for {len(names)} layers, and "
        f"{what}.",
        {"names": names, "groups": held, "decays": decays},
        Remedy(
            "nothing to repair; choose its λ for all of these layers, and check that the tie outlives loading and casting"
        ),
        "Press & Wolf 2017, arXiv 1608.05859 (embedding and head); derived",
        subject=listed(names),
    )


def _updated_elsewhere(setup: Setup, weight: Weight) -> bool:
    """Return whether another parameter in the same memory is in a group."""
    return any(w.groups for w in setup.weights if w.name in weight.shares)
