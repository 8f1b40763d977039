"""The doctor on the committed cases of the clinic: what is wrong is found, and what is right is left alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
CLINICS = sorted(p.parent for p in (ROOT / "tests").glob("clinic*/cases.json"))
CASES = [case for clinic in CLINICS for case in json.loads((clinic / "cases.json").read_text())]
CODES = sorted({code for case in CASES for code in case["must"]})
pytestmark = pytest.mark.xdist_group("clinic")  # it is scored once, for all tests of one worker
LOGS = (
    "overfitting", "oscillation", "noise-floor", "plateau", "divergence", "warmup-missing", "warmup-long", "schedule-short",
    "schedule-long", "cut-early", "cut-late", "lr-rise", "lr-lambda-large", "wrong-stepping", "wrong-resume",
)  # fmt: skip
SET_UPS = (
    "decay-on-bias", "decay-on-norm", "decay-on-embedding", "adam-l2", "decay-rounds-away", "decay-without-gradient",
    "decay-on-frozen", "decay-scale-invariant", "lr-lambda-large", "warmup-long", "schedule-short", "schedule-long",
    "wrong-stepping", "wrong-resume", "duplicate-parameters", "tied-parameters", "unoptimised-parameters", "lr-rise",
)  # fmt: skip


@pytest.mark.parametrize("clinic", CLINICS, ids=lambda p: p.name)
def test_every_case_is_whole_and_every_code_has_cases(clinic: Path) -> None:
    cases = json.loads((clinic / "cases.json").read_text())
    kinds_here = {case["kind"] for case in cases}
    assert sum(bool(case["must"]) for case in cases) >= 60
    assert sum(not case["must"] for case in cases) >= 30
    for case in cases:
        assert not set(case["must"]) & set(case["may"])
        assert case["how"]
        assert "file" not in case or (clinic / case["file"]).is_file()
    for code, kinds, least in [(c, ("log",), 3) for c in LOGS] + [(c, ("plan", "config", "live"), 2) for c in SET_UPS]:
        if kinds_here.intersection(kinds):
            assert sum(code in case["must"] and case["kind"] in kinds for case in cases) >= least, code
    listed = {Path(case["file"]) for case in cases if "file" in case}
    there = {p.relative_to(clinic) for p in clinic.rglob("*") if p.is_file() and p.suffix not in (".pyc",)}
    assert there - listed == {Path("cases.json"), *([Path("live.py")] if "live" in kinds_here else [])}
    assert sum(p.stat().st_size for p in clinic.rglob("*") if p.is_file()) < 3_000_000


def test_no_two_cases_have_one_name() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what benchmarks/clinic.py measures on the committed cases; one run for all tests of it."""
    file = tmp_path_factory.mktemp("clinic") / "out.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "clinic.py"), "--json", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.slow
def test_the_doctor_stumbles_over_no_case(scores: dict[str, Any]) -> None:
    assert {r["name"]: r["error"] for r in scores["results"] if r["error"]} == {}


# What falls short today, on rough curves of real trainings; simulated ones are found (tests/test_findings_logs_rates.py).
# The noise of few rows hides most of it; no sound case is alarmed for the sake of these.
SHORT = {"cut-early", "cut-late", "noise-floor", "oscillation", "warmup-missing", "wrong-resume"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [pytest.param(c, marks=[pytest.mark.xfail(reason="not yet at 0.95", strict=True)] * (c in SHORT)) for c in CODES],
)
def test_what_is_wrong_is_found(scores: dict[str, Any], code: str) -> None:
    row = next(row for row in scores["codes"] if row["code"] == code)
    assert row["recall"] >= 0.95, [r["name"] for r in scores["results"] if code in r["missed"]]


@pytest.mark.slow
def test_what_is_right_is_left_alone(scores: dict[str, Any]) -> None:
    loud = {row["code"]: row["alarm_rate"] for row in scores["codes"] if row["alarm_rate"] > 0.05}
    assert loud == {}, [(r["name"], r["alarms"]) for r in scores["results"] if r["alarms"]]
