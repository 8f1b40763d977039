"""Fuzz what dwindle reads, every reader in a process of its own, and say what was found; exit 1 where anything was.

    python fuzz/run.py [--seconds 60] [--only NAME ...] [--out runs/fuzz]
    python fuzz/run.py --only NAME --input FILE          one input again, with its traceback

Needs atheris: pip install -e '.[fuzz]'. The contract: an input is read, or refused by an error under DwindleError, within 5 s of
the processor and 512 MB. What breaks it is kept in OUT/crashes/NAME, the shortest input of each place, with the traceback beside
it; the corpus is kept in OUT/corpus/NAME, and the next run goes on from it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fuzz.reader import broken  # noqa: E402
from fuzz.readers import named, readers  # noqa: E402

MEMORY = 512  # MB at the most
AT_ONCE = 500_000  # inputs of a process: atheris keeps some 500 bytes of what each compares (without it nothing grows)
HANGS = 60  # seconds by the clock after which libFuzzer ends what does not even answer a signal
STATUS = re.compile(rb"#(\d+)\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass
class Told:
    """What is told of a reader."""

    name: str
    runs: int = 0
    coverage: int = 0
    corpus: int = 0
    seconds: float = 0.0
    memory: int = 0
    crashes: set[str] = field(default_factory=set)

    def row(self) -> str:
        return (
            f"{self.name:<17} {self.runs:>10,} {self.coverage:>9,} {self.corpus:>7,} {self.seconds:>8.0f} {self.memory:>8,}"
            f" {len(self.crashes):>8}"
        )


HEAD = f"{'reader':<17} {'executions':>10} {'coverage':>9} {'corpus':>7} {'seconds':>8} {'max MB':>8} {'crashes':>8}"


def fuzzed(name: str, seconds: float, out: Path) -> Told:
    """Fuzz a reader for so long; a process that libFuzzer ends is begun again for what is left."""
    told = Told(name)
    crashes, begun = out / "crashes" / name, time.time()
    crashes.mkdir(parents=True, exist_ok=True)
    (out / "logs").mkdir(exist_ok=True)
    left, deaths = seconds, 0
    while left >= 1 and deaths < 5:
        started = time.monotonic()
        status, runs = _once(told, left, out, crashes)
        told.seconds += time.monotonic() - started
        told.runs += runs
        left -= max(time.monotonic() - started, 1.0)
        deaths += status != 0
        if status != 0 and not _ended_by_libfuzzer(crashes, begun):
            told.crashes.add(f"the process ended with {status}: {out / 'logs' / name}.txt")
            break
    told.crashes |= {file.name for file in crashes.iterdir() if file.suffix != ".txt" and file.stat().st_mtime >= begun}
    if told.memory > MEMORY:
        told.crashes.add(f"{told.memory} MB of memory")
    return told


def _ended_by_libfuzzer(crashes: Path, begun: float) -> bool:
    return any(
        file.name.startswith(("timeout-", "oom-", "crash-")) and file.stat().st_mtime >= begun
        for file in crashes.iterdir()
    )


def _once(told: Told, seconds: float, out: Path, crashes: Path) -> tuple[int, int]:
    """Run the harness once; return how it ended and what it executed."""
    scratch = tempfile.mkdtemp(prefix="dwindle-fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None)
    arguments = [
        f"-max_total_time={int(seconds)}", f"-runs={AT_ONCE}", f"-timeout={HANGS}", f"-rss_limit_mb={MEMORY}",
        f"-artifact_prefix={crashes}/", "-use_value_profile=0", "-detect_leaks=0",
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
                   "ARROW_DEFAULT_MEMORY_POOL": "system", "DWINDLE_FUZZ_SCRATCH": scratch, "TMPDIR": scratch}  # fmt: skip
    log = out / "logs" / f"{told.name}.txt"
    try:
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, str(ROOT / "fuzz" / "harness.py"), told.name, str(out), *arguments],
                stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=ROOT,
            )  # fmt: skip
            late = threading.Timer(seconds + 3 * HANGS, process.kill)
            late.start()
            try:
                _, status, used = os.wait4(process.pid, 0)
            except BaseException:  # whoever ends this ends what it began
                process.kill()
                raise
            finally:
                late.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    told.memory = max(told.memory, used.ru_maxrss // 1024)
    runs = 0
    for found in STATUS.finditer(log.read_bytes()):
        runs, told.coverage, told.corpus = int(found[1]), max(told.coverage, int(found[2])), int(found[4])
    return process.returncode, runs


def again(name: str, file: Path) -> int:
    """Give a reader one input; print how it breaks the contract."""
    found = broken(named(name), file.read_bytes())
    print(f"{name}: kept" if found is None else found.traceback)
    return found is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each reader")
    parser.add_argument("--only", nargs="+", choices=readers(), metavar="NAME", help=", ".join(readers()))
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fuzz")
    parser.add_argument("--input", type=Path, help="a file to give to the reader --only, instead of fuzzing")
    asked = parser.parse_args()
    if asked.input is not None:
        if len(asked.only or ()) != 1:
            parser.error("--input needs --only with the one reader that is to have it")
        return again(asked.only[0], asked.input)
    try:
        import atheris  # noqa: F401
    except ImportError:
        parser.exit(2, "atheris is not installed; pip install -e '.[fuzz]' (Linux, CPython 3.11 to 3.13)\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    print(HEAD, flush=True)
    found = {}
    for name in asked.only or readers():
        told = fuzzed(name, asked.seconds, out)
        print(told.row(), flush=True)
        if told.crashes:
            found[name] = sorted(told.crashes)
    for name, crashes in found.items():
        print(f"\n{name}: {out / 'crashes' / name}", *crashes, sep="\n  ")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
