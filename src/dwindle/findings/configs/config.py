"""What a file sets up, whatever its format."""

from __future__ import annotations

from typing import NamedTuple

from dwindle.finding import SEVERITIES, Finding
from dwindle.findings.setups import of_setup
from dwindle.setup import Setup

__all__ = ["Config"]


class Config(NamedTuple):
    """What a file sets up: ``kind``, the ``setups`` to look at, what was ``looked`` at, and what it does not say (``unread``)."""

    kind: str
    setups: tuple[Setup, ...]
    looked: tuple[str, ...]
    unread: tuple[str, ...]

    def findings(self) -> tuple[Finding, ...]:
        """Return what is wrong, the worst first; one finding of each code and subject."""
        found: dict[tuple[str, str], Finding] = {}
        for setup in self.setups:
            for finding in of_setup(setup):
                found.setdefault((finding.code, finding.subject), finding)
        return tuple(sorted(found.values(), key=lambda finding: SEVERITIES.index(finding.severity)))
