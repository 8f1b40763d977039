"""Run benchmarks one after the other, each in a process of its own, so that none meets another's memory and threads.

    python benchmarks [NAME ...] [--quick] [--json DIR]
    python benchmarks --list

A benchmark is a script in this folder; without a name all run. Their output comes as they print it; at the end stands a
line for each, with the seconds it took. ``--json`` writes DIR/NAME.json for each. Options of a single benchmark belong to
its own command: ``python benchmarks/NAME.py --help``. Exit codes: 0 done, 1 a benchmark failed, 2 bad arguments,
130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from pathlib import Path

from dwindle.errors import UnknownNameError, known

HERE = Path(__file__).resolve().parent
SHARED = {"__main__", "surroundings"}


def benchmarks() -> dict[str, Path]:
    return {script.stem: script for script in sorted(HERE.glob("*.py")) if script.stem not in SHARED}


def first_line(script: Path) -> str:
    doc = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", None, __doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="list the benchmarks, and run none")
    parser.add_argument("--quick", action="store_true", help="smoke runs of seconds; their figures say nothing")
    parser.add_argument("--json", type=Path, metavar="DIR", help="write every figure, unrounded, to DIR/NAME.json")
    given = parser.parse_intermixed_args()
    try:
        given.names = [known("benchmark", name, benchmarks()) for name in dict.fromkeys(given.names)]
        if given.json and not given.list:
            given.json.mkdir(parents=True, exist_ok=True)
    except UnknownNameError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"--json {given.json}: {error.strerror}; name a folder for the files NAME.json.")
    return given


def options(name: str, given: argparse.Namespace) -> list[str]:
    """Return what is handed to a benchmark; figures of an earlier run must not stand there for those of one that fails."""
    found = ["--quick"] if given.quick else []
    if given.json:
        file = given.json / f"{name}.json"
        file.unlink(missing_ok=True)
        found += ["--json", str(file)]
    return found


def run(script: Path, given: list[str]) -> tuple[int, float]:
    """Return the exit code and the seconds of a benchmark."""
    print(f"\n=== {script.stem}: {first_line(script)}\n", flush=True)
    begun = time.perf_counter()
    code = subprocess.run([sys.executable, "-u", str(script), *given], check=False).returncode
    return code, time.perf_counter() - begun


def run_all(scripts: dict[str, Path], given: argparse.Namespace) -> int:
    """Run the benchmarks, print a line for each, and return the exit code."""
    results, interrupted = {}, False
    try:
        for name, script in scripts.items():
            results[name] = run(script, options(name, given))
    except KeyboardInterrupt:
        interrupted = True
    print()
    for name in scripts:
        code, seconds = results.get(name, (None, 0.0))
        said = "not finished" if code is None else "ok" if code == 0 else f"failed, exit code {code}"
        print(f"{name:20}{seconds:8.1f} s  {said}")
    return 130 if interrupted else int(any(code for code, _ in results.values()))


def main() -> int:
    given, scripts = arguments(), benchmarks()
    if given.list:
        for name, script in scripts.items():
            print(f"{name:20}{first_line(script)}")
        return 0
    return run_all({name: scripts[name] for name in given.names or scripts}, given)


if __name__ == "__main__":
    sys.exit(main())
