"""Print what the tests reach, line by line and branch by branch: `core` by the core's own tests, or `all` by all of them.

    python scripts/coverage_of.py core
    python scripts/coverage_of.py all -n 2        further words go to pytest

Ends with the figures and fails below the floor. What numba compiles no tracer sees: such functions do not count
(pyproject.toml), and are compiled afresh here, so that what writes their code is seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORE = ["schedule", "decay.py", "plan.py", "text", "mask.py", "units.py", "reference.py", "replan.py"]
TESTS = ["algebra", "bad_inputs", "core_corners", "decay", "feedback", "feedback_corners", "formats", "formula",
         "formula_corners", "laws", "mask", "plan_corners", "reference", "reference_corners", "replan", "schedule_corners",
         "schedule_exact", "space", "strange_arguments", "text", "text_corners", "textbook", "total"]  # fmt: skip
FLOORS = {"core": 98.0, "all": 90.0}  # percent of the branches


def main(which: str, *more: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        failed = _run(data, which, more)
        found = _report(data, CORE if which == "core" else [])
    print(f"{which}: {found['branches']:.1f} % of {found['of']:,} branches, {found['lines']:.1f} % of the lines")
    return int(failed or found["branches"] < FLOORS[which])


def _run(data: Path, which: str, more: tuple[str, ...]) -> bool:
    core = [*(f"tests/test_{name}.py" for name in TESTS), *(f"src/dwindle/{place}" for place in CORE)]
    words = core if which == "core" else []
    only = ["-m", "not slow and not browser", "--timeout", "600", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "-q", *only, "--cov", "--cov-report=", *words, *more]
    environment = {**os.environ, "COVERAGE_FILE": str(data), "NUMBA_CACHE_DIR": str(data.with_name("numba"))}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0


def _report(data: Path, places: list[str]) -> dict[str, float]:
    said = data.with_name("report.json")
    only = [f"src/dwindle/{place}" + ("" if place.endswith(".py") else "/*") for place in places]
    words = ["--include", ",".join(only)] if only else []
    environment = {**os.environ, "COVERAGE_FILE": str(data)}
    for report in (["report"], ["json", "-q", "-o", str(said)]):
        subprocess.run([sys.executable, "-m", "coverage", *report, *words], cwd=ROOT, env=environment, check=True)
    totals = json.loads(said.read_text())["totals"]
    return {
        "branches": 100.0 * totals["covered_branches"] / totals["num_branches"],
        "of": totals["num_branches"],
        "lines": 100.0 * totals["covered_lines"] / totals["num_statements"],
    }


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in FLOORS:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
