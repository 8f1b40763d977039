"""Change the core by one operator, number or word at a time and see whether a test fails: python scripts/mutate.py

    python scripts/mutate.py --sample 1000 --seed 1      so many of the mutants, chosen at random
    python scripts/mutate.py --only schedule/shapes.py   those of one file
    python scripts/mutate.py --again                     those that no test found the last time

mutmut makes the mutants, all of them in one copy of the package. A mutant is tried in a fork of a pytest that has collected the
core's tests once; there the tests that reach its function run, the quickest first, until one fails or takes far longer than it
did. Left out: texts for people (a string with a space in it), annotations, and what mutmut leaves (properties, module level).
Ends in a table and fails below the floor; every survivor is in build/mutants.json with its change.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import pickle
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from coverage_of import CORE, TESTS

ROOT = Path(__file__).resolve().parents[1]
FLOOR = 90.0  # percent of the mutants that tests must find
MARGIN = 3.0, 6.0  # seconds, and times what a test took, after which a mutant is one that never ends
MEMORY = 8 << 30
MISSED = "survived", "no test"
TOLD = ROOT / "build" / "mutants.json"

SWITCH = """
import functools as _functools
import mutant_switch as _switch

MutantDict = dict


def _mutmut_mutated(mutants, is_classmethod=False):
    def wrap(function):
        own = f"{__name__}.{function.__qualname__}"

        @_functools.wraps(function)
        def chosen(*args, **kwargs):
            _switch.reached.add(own)
            name = _switch.mutant if _switch.module == __name__ and _switch.mutant in mutants else "_mutmut_orig"
            if is_classmethod:
                return getattr(args[0], mutants[name].__name__)(*args[1:], **kwargs)
            return mutants[name](*args, **kwargs)

        return chosen

    return wrap
"""
STATE = """
import os

reached = set()
module, _, mutant = os.environ.get("DWINDLE_MUTANT", "").rpartition(".")
"""


def copy_of(place: Path) -> dict[str, tuple[str, str, str]]:
    """Write the package with all its mutants in it to ``place`` and return of each its function, its file and its change."""
    import libcst
    from mutmut.mutation import file_mutation as making

    making.trampoline_impl_cst[:] = list(libcst.parse_module(SWITCH).body)
    made = place / "main"
    made.mkdir(parents=True)
    for path in ROOT.iterdir():
        if path.name not in ("src", "tests", ".git", "build"):
            (made / path.name).symlink_to(path)
    for name in ("src", "tests"):
        shutil.copytree(ROOT / name, made / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    if (ROOT.parent / "shared").exists():
        (place / "shared").symlink_to(ROOT.parent / "shared")
    (made / "src" / "mutant_switch.py").write_text(STATE, "utf-8")

    mutants = {}
    for path in sorted(file for name in CORE for file in files_of(made / "src" / "dwindle" / name)):
        own = path.relative_to(made / "src" / "dwindle").as_posix()
        code = path.read_text("utf-8")
        module, mutations, classes, functions = making.create_mutations(own, code)
        kept = [each for each in mutations if not _prose(each.original_node)]
        result = making.combine_mutations_to_source(module, kept, classes, functions)
        path.write_text(result.code, "utf-8")
        lines = result.code.splitlines()
        at = result.line_span_by_function_name
        for name in result.mutant_names:
            whole = "dwindle." + own.removesuffix(".py").replace("/", ".").removesuffix(".__init__") + "." + name
            stem = name.rpartition("__mutmut_")[0]
            shown = [lines[at[each].start - 1 : at[each].end] for each in (f"{stem}__mutmut_orig", name)]
            mutants[whole] = _function(stem), own, _change(*shown)
    return mutants


def files_of(place: Path) -> list[Path]:
    return [place] if place.suffix else sorted(place.glob("*.py"))


def _prose(node: Any) -> bool:
    import libcst

    return isinstance(node, libcst.SimpleString) and " " in node.value


def _function(stem: str) -> str:
    """Return a function's qualified name from mutmut's: x_name, or x and a class and a name with ǁ between them."""
    return stem.removeprefix("xǁ").replace("ǁ", ".") if stem.startswith("xǁ") else stem.removeprefix("x_")


def _change(before: list[str], after: list[str]) -> str:
    lines = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
    return "\n".join(line for line in lines if line[0] in "+-" and "__mutmut_" not in line)


class Trial:
    """The pytest plugin: it runs no tests itself, but forks of it do."""

    def __init__(self, place: Path, mutants: dict[str, tuple[str, str, str]], chosen: list[str], jobs: int) -> None:
        self.place, self.mutants, self.chosen, self.jobs = place, mutants, chosen, jobs
        self.outcome: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = [item for item in items if "__mutmut" not in item.nodeid]  # doctests of the copies

    def pytest_runtestloop(self, session: Any) -> bool:
        if session.testsfailed:
            raise session.Failed("the tests cannot be collected")
        reached = self._survey(session.items)
        began, running = time.monotonic(), dict[int, str]()
        for name in self.chosen:
            function = name.rpartition(".")[0] + "." + self.mutants[name][0]
            tests = sorted((took, i) for i, (took, functions) in enumerate(reached) if function in functions)
            if not tests:
                self.outcome[name] = "no test"
                continue
            running[self._fork(session.items, name, tests)] = name
            if len(running) >= self.jobs:
                self._wait(running)
            if len(self.outcome) % 100 == 0:
                print(f"{len(self.outcome)} of {len(self.chosen)}, {time.monotonic() - began:.0f} s", flush=True)
                tell(self.mutants, self.outcome)
        while running:
            self._wait(running)
        return True

    def _survey(self, items: list[Any]) -> list[tuple[float, frozenset[str]]]:
        """Return what each test took and the functions that it reached; a fork tells, so that nothing is cached here."""
        said = self.place / "survey"
        child = _forked()
        if child == 0:
            import mutant_switch as switch

            found = []
            for item, following in zip(items, [*items[1:], None], strict=True):
                switch.reached.clear()
                began = time.perf_counter()
                passes = _passes(item, following)
                if not passes:  # it looks at the stack, or at what a function is
                    print(f"left out, as it fails in the copy without a mutant: {item.nodeid}", flush=True)
                found.append((time.perf_counter() - began, frozenset(switch.reached if passes else ())))
            said.write_bytes(pickle.dumps(found))
            os._exit(0)
        os.waitpid(child, 0)
        surveyed: list[tuple[float, frozenset[str]]] = pickle.loads(said.read_bytes())
        print(f"{len(items):,} tests, {sum(took for took, _ in surveyed):.0f} s", flush=True)
        return surveyed

    def _fork(self, items: list[Any], name: str, tests: list[tuple[float, int]]) -> int:
        child = _forked()
        if child:
            return child
        import mutant_switch as switch

        os.environ["DWINDLE_MUTANT"] = name  # for the processes that a test starts
        switch.module, _, switch.mutant = name.rpartition(".")
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        for (took, i), following in zip(tests, [*tests[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_REAL, MARGIN[0] + MARGIN[1] * took)
            if not _passes(items[i], items[following[1]] if following else None):
                os._exit(1)
        os._exit(0)

    def _wait(self, running: dict[int, str]) -> None:
        child, status = os.wait()
        if child in running:
            code = os.waitstatus_to_exitcode(status)
            said = {0: "survived", 1: "failed", -signal.SIGALRM: "never ended"}
            self.outcome[running.pop(child)] = said.get(code, f"died: {code}")


def _forked() -> int:
    sys.stdout.flush()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # JAX would rather not be forked; it was only imported so far
        return os.fork()


def _passes(item: Any, following: Any) -> bool:
    from _pytest.runner import runtestprotocol

    return not any(report.failed for report in runtestprotocol(item, log=False, nextitem=following))


def tell(mutants: dict[str, tuple[str, str, str]], outcome: dict[str, str]) -> None:
    """Write what came of each mutant so far."""
    TOLD.parent.mkdir(exist_ok=True)
    told = [{"mutant": name, "file": mutants[name][1], "function": mutants[name][0], "change": mutants[name][2],
             "outcome": said} for name, said in outcome.items()]  # fmt: skip
    TOLD.write_text(json.dumps(told, indent=1), "utf-8")


def table(mutants: dict[str, tuple[str, str, str]], outcome: dict[str, str]) -> float:
    """Print what came of the mutants file by file and return the share of them that were found, in percent."""
    rows: dict[str, Counter[str]] = {}
    for name, said in outcome.items():
        rows.setdefault(mutants[name][1], Counter())["found" if said not in MISSED else said] += 1
    print(f"{'file':<24}{'mutants':>8}{'found':>8}{'survived':>10}{'no test':>9}{'score':>8}")
    whole = sum(rows.values(), Counter[str]())
    for file, row in [*rows.items(), ("all", whole)]:
        print(f"{file:<24}{row.total():>8,}{row['found']:>8,}{row['survived']:>10,}{row['no test']:>9,}"
              f"{row['found'] / row.total():>8.1%}")  # fmt: skip
    return 100 * whole["found"] / whole.total()


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--sample", type=int, help="try so many, chosen at random, instead of all")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", help="the mutants of one file, as schedule/shapes.py")
    words.add_argument("--again", action="store_true", help="those that no test found the last time")
    words.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        mutants = copy_of(Path(folder))
        chosen = sorted(name for name, (_, file, _) in mutants.items() if not given.only or file == given.only)
        if given.again:
            before = {each["mutant"] for each in json.loads(TOLD.read_text("utf-8")) if each["outcome"] in MISSED}
            chosen = [name for name in chosen if name in before]
        if given.sample and given.sample < len(chosen):
            chosen = random.Random(given.seed).sample(chosen, given.sample)
        print(f"{len(mutants):,} mutants, {len(chosen):,} to try", flush=True)
        trial = Trial(Path(folder), mutants, chosen, given.jobs)
        _pytest(Path(folder) / "main", trial)
    if len(trial.outcome) < len(chosen):
        return 2
    score = table(mutants, trial.outcome)
    tell(mutants, trial.outcome)
    print(f"{score:.1f} % of {len(chosen):,} mutants were found; what came of each: {TOLD}")
    return int(score < FLOOR)


def _pytest(place: Path, trial: Trial) -> None:
    import pytest

    os.environ.update(PYTHONPATH=str(place / "src"), OMP_NUM_THREADS="1", CI="1")  # the same examples every time
    sys.path.insert(0, str(place / "src"))
    os.chdir(place)
    tests = [f"tests/test_{name}.py" for name in TESTS] + [f"src/dwindle/{name}" for name in CORE]
    words = ["-q", "-m", "not slow and not browser", "--timeout", "0", "-p", "no:cacheprovider", "-p", "no:xdist"]
    words += ["--tb", "no"]  # to show the lines of a traceback costs more than most tests: the files are very long
    pytest.main([*words, "--rootdir", str(place), *tests], plugins=[trial])


if __name__ == "__main__":
    sys.exit(main())
