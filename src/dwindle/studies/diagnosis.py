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
    """Return the curves as a log that counts epochs; where a value is missing the point is left out."""
    series = {}
    for role, key in _CURVES.items():
        points = [(step, value) for step, value in enumerate(curves.get(key) or ()) if value is not None]
        if points:
            series[role] = Series(key, *zip(*points, strict=True))
    return History(
        name, {s.name: s for s in series.values()}, {role: s.name for role, s in series.items()}, unit="epoch"
    )
