"""What the doctor says of the plans that a study compares: the winner, and the winner without its weight decay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dwindle.findings import Finding, Remedy, of_history
from dwindle.logs import History, Series

__all__ = ["LOOKED_AT", "diagnosis"]

_CURVES = {
    "lr": "lr",
    "training loss": "train_loss",
    "validation loss": "validation_loss",
    "weight norm": "weight_norm",
}
_LOOKED_FOR = {"winner": "the winner", "winner without weight decay": "the winner without its weight decay"}
_KEEP = Remedy("keep the weight decay of the winner: this is the same plan without it")
LOOKED_AT = "the mean curves of each winner, and of the winner without its weight decay, for what `dwindle check` finds in a log"


def diagnosis(settings: Sequence[Mapping[str, Any]]) -> list[Finding]:
    """Return what the doctor finds in the curves, means over the seeds, of each setting's winner with and without decay.

    Of what was stripped of its weight decay only overfitting is said, as a note: it tells what the decay is there for.
    """
    found = []
    for setting in settings:
        for contender in setting["contenders"]:
            role = contender["role"]
            if role not in _LOOKED_FOR:
                continue
            subject = f"{setting['name']}: {_LOOKED_FOR[role]}"
            for finding in of_history(_history(subject, contender["curves"])):
                if role == "winner":
                    found.append(replace(finding, subject=subject))
                elif finding.code == "overfitting":
                    found.append(replace(finding, subject=subject, severity="note", remedy=_KEEP))
    return found


def _history(name: str, curves: Mapping[str, Any]) -> History:
    """Return the curves as a log by epochs, or by rows where a run was looked at within them; missing values are left out."""
    epochs = curves["epoch"]
    whole = all(float(epoch).is_integer() for epoch in epochs)
    series = {}
    for role, key in _CURVES.items():
        values = zip(epochs if whole else range(len(epochs)), curves.get(key) or (), strict=False)
        if points := [(step, value) for step, value in values if value is not None]:
            series[role] = Series(key, *zip(*points, strict=True))
    return History(
        name,
        {each.name: each for each in series.values()},
        {role: each.name for role, each in series.items()},
        unit="epoch" if whole else "row",
    )
