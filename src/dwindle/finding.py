"""A finding as data: what is wrong, how bad, the numbers it rests on, what to do, and who says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dwindle.errors import InvalidValueError, a_kind, known, shown

__all__ = ["SEVERITIES", "Finding", "Remedy"]

SEVERITIES = ("fault", "warning", "note")
"""What spoils a run, what costs something, what is worth knowing: the worst first."""


@dataclass(frozen=True)
class Remedy:
    """What to do, in words, and as a plan diff where a plan can say it: {field: (now, then)}, each as plan text, "" for none.

    >>> Remedy("halve the peak", {"peak": ("0.1", "0.05")}).change["peak"]
    ('0.1', '0.05')
    """

    says: str
    change: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        a_kind("says", self.says, str)
        a_kind("change", self.change, Mapping)  # type: ignore[type-abstract]


@dataclass(frozen=True)
class Finding:
    """One thing that was found. Severity: "fault" (spoils the run), "warning" (costs something), "note" (worth knowing).

    ``code`` names the kind, such as "overfitting"; ``verdict`` is one sentence with its numbers; ``evidence`` holds them;
    ``subject`` is what it is about where there are several (a column, a group, a parameter); ``source`` says who knows it (a
    paper, or "derived", "measured").

    >>> finding = Finding("overfitting", "fault", "The gap opened at step 400.", {"opened": 400}, Remedy("try λ = 0.3"))
    >>> finding.code, finding.as_dict()["severity"]
    ('overfitting', 'fault')
    """

    code: str
    severity: str
    verdict: str
    evidence: Mapping[str, Any]
    remedy: Remedy
    source: str = "derived"
    subject: str = ""

    def __post_init__(self) -> None:
        known("severity", self.severity, SEVERITIES)
        for name in ("code", "source", "subject"):
            a_kind(name, getattr(self, name), str)
        a_kind("evidence", self.evidence, Mapping)  # type: ignore[type-abstract]
        if not isinstance(self.verdict, str) or not self.verdict or not isinstance(self.remedy, Remedy):
            raise InvalidValueError(
                f"a finding has a verdict and a Remedy; got {shown(self.verdict)}, {shown(self.remedy)}."
            )

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON can hold it."""
        return {
            "code": self.code, "severity": self.severity, "verdict": self.verdict, "evidence": dict(self.evidence),
            "remedy": {"says": self.remedy.says, "change": {k: list(v) for k, v in self.remedy.change.items()}},
            "source": self.source, "subject": self.subject,
        }  # fmt: skip
