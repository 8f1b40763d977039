"""How much a choice flatters what it chose: the loss it was chosen by, and the loss of the same plan on seeds of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dwindle.report import decimals
from dwindle.studies.seed_noise import Noise, same, seed_noise

__all__ = ["Optimism", "optimism"]


class Optimism(NamedTuple):
    """``chosen``, the loss a plan was chosen by, the lowest of ``among``; ``fresh``, its mean loss over ``seeds`` new seeds."""

    stage: str
    chosen: float
    among: int
    fresh: float
    seeds: int
    noise: Noise | None

    @property
    def excess(self) -> float:
        """By how much the choice flattered: fresh - chosen."""
        return self.fresh - self.chosen

    @property
    def said(self) -> str:
        """The three numbers in a sentence."""
        width = self.noise.sd if self.noise is not None and self.noise.sd > 0 else max(abs(self.fresh) * 1e-3, 1e-12)
        chosen, fresh, excess = (decimals(v, width) for v in (self.chosen, self.fresh, abs(self.excess)))
        over = f"the mean of the same plan on {self.seeds} fresh seeds is {fresh}"
        if self.excess > 0 and float(excess) > 0.0:
            ending = f"the choice flattered it by {excess}"
        else:
            ending = "the choice did not flatter it" + (f" ({excess} the other way)" if float(excess) > 0.0 else "")
        return f"{self.stage} {chosen}, the lowest of {self.among}; {over}: {ending}."


def optimism(setting: Mapping[str, Any]) -> list[Optimism]:
    """Return how far the sweep flattered the best of its single trainings, and how far the choice flattered the winner.

    The lowest of n noisy numbers lies below its own mean; only seeds that took no part in choosing say by how much: those
    of the choice for the best of the sweep, those of the report for the winner. What is missing (evidence of before these
    losses were kept, runs that diverged) is left out. With folds so is the winner: it was chosen by the mean over the folds,
    and the report trains on the data's own division, so that their difference would be one of rows; the best of the sweep
    is compared where the seeds of the choice are as many on every fold.

    >>> setting = {
    ...     "trials": [{"plan": name, "final": {"validation_loss": loss}} for name, loss in (("a", 0.5), ("b", 0.6))],
    ...     "choice": [
    ...         {"plan": "a", "schedule": "linear", "validation_loss": [0.53, 0.55]},
    ...         {"plan": "b", "schedule": "linear", "validation_loss": [0.58, 0.62]},
    ...     ],
    ...     "winner": {"plan": "a", "schedule": "linear"},
    ...     "contenders": [{"role": "winner", "schedule": "linear", "plan": "a", "validation_loss": [0.55, 0.57]}],
    ... }
    >>> for each in optimism(setting):
    ...     print(each.said)
    The best validation loss of a single training in the sweep was 0.500, the lowest of 2; the mean of the same plan on 2
    fresh seeds is 0.540: the choice flattered it by 0.040.
    The validation loss that the winner was chosen by was 0.540, the lowest of 2; the mean of the same plan on 2 fresh
    seeds is 0.560: the choice flattered it by 0.020.
    """
    choice, noise, folds = list(setting.get("choice") or ()), seed_noise(setting), setting.get("folds", 1)
    found = []
    ended = [
        t for t in setting["trials"] if t.get("stopped_at") is None and t["final"].get("validation_loss") is not None
    ]
    if ended:
        best = min(ended, key=lambda t: t["final"]["validation_loss"])
        again = next((c["validation_loss"] for c in choice if same(c, best)), ())
        if (fresh := _mean(again)) is not None and len(again) % folds == 0:
            what = "of a single training in the sweep" if folds == 1 else f"in the sweep, a mean over {folds} folds,"
            said = f"The best validation loss {what} was"
            found.append(Optimism(said, best["final"]["validation_loss"], len(ended), fresh, len(again), noise))
    winner: Mapping[str, Any] = next((c for c in setting["contenders"] if c["role"] == "winner"), {})
    again = winner.get("validation_loss") or ()
    chosen, fresh = _mean(choice[0]["validation_loss"] if choice else ()), _mean(again)
    if chosen is not None and fresh is not None and folds == 1:
        said = "The validation loss that the winner was chosen by was"
        found.append(Optimism(said, chosen, len(choice), fresh, len(again), noise))
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None and math.isfinite(v)]
    return float(np.mean(known)) if known and len(known) == len(values) else None
