"""The names, signatures and commands that dwindle promises to keep change only on purpose, and are then written down."""

from __future__ import annotations

import difflib
from pathlib import Path

import pytest

from public_api import lines

KEPT = Path(__file__).parent / "assets" / "public_api.txt"


@pytest.mark.timeout(400)  # every adapter's framework is loaded, on a busy machine slowly
def test_what_is_public_is_as_it_was() -> None:
    change = list(
        difflib.unified_diff(KEPT.read_text("utf-8").splitlines(), lines(), "promised", "found", "", "", 0, "")
    )
    assert not change, (
        "\n".join(change) + "\n\nThe public names have changed. If that is meant: python tests/public_api.py > "
        "tests/assets/public_api.txt, and say in CHANGELOG.md what changed. A line that went or that calls differently breaks "
        "somebody's code: it first warns for two minor releases and six months (SECURITY.md, Versions)."
    )


def test_no_line_depends_on_the_run() -> None:
    kept = KEPT.read_text("utf-8").splitlines()
    assert len(kept) > 500
    assert len(set(kept)) == len(kept)
    assert not [line for line in kept if " at 0x" in line or "<class" in line]
