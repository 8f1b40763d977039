"""The pages of the documentation, run as they stand: every block of Python, in order, and what they say is True."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib
import pytest

import dwindle as dw

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r"```(?:python|\{code-cell\} python)\n((?::[^\n]*\n)*)(.*?)```", re.S)
PAGES = sorted(
    str(page.relative_to(DOCS))
    for page in DOCS.rglob("*.md")
    if BLOCK.search(page.read_text()) and "_build" not in page.parts
)


def blocks(page: str) -> list[str]:
    return [code for _, code in BLOCK.findall((DOCS / page).read_text())]


@pytest.mark.parametrize(
    "page", [pytest.param(page, marks=[pytest.mark.slow] * page.startswith("zh/")) for page in PAGES]
)  # the code of both tutorials is the same
def test_every_block_runs_in_order(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page}, block {number}", "exec"), names)
        for stated in re.findall(r"^(.*?)\s+# True$", block, re.M):
            assert eval(stated, names) is True
    plt.close("all")


def test_both_tutorials_have_the_same_code() -> None:
    assert blocks("tutorial.md") == blocks("zh/tutorial.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", (DOCS / page).read_text()):
        assert ((DOCS / page).parent / target).exists(), target


def test_the_readings_of_a_number_are_what_the_page_says() -> None:
    text = (DOCS / "weight_decay.md").read_text()
    stated = re.findall(r"^(dw\..*?\.weight_decay)\s+# ([0-9.e-]+)", text, re.M)
    assert len(stated) >= 2
    for code, value in stated:
        assert eval(code, {"dw": dw}) == pytest.approx(float(value), rel=1e-12)
