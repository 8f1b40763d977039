"""Logs read: megabytes a second and peak memory of a CSV, against pandas.read_csv on the same file.

    python benchmarks/logs.py [--megabytes MB] [--rounds N] [--quick] [--json FILE]

A CSV of step, lr, loss, gradient norm and, every hundredth row, a validation loss, written as Python writes floats. Each reading
is a process of its own, ours and theirs in turn: seconds of the call alone, and the peak resident memory of the whole process,
its imports included. pandas keeps every row in its DataFrame; ours keeps at most 2¹⁸ points a column and says so. Without pandas
installed ours runs alone.
"""

from __future__ import annotations

import json
import math
import random
import statistics
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from surroundings import begin, command, save

READERS = {
    "logs.history": "from dwindle.logs import history; call = history",
    "logs.read": "from dwindle.logs import read; call = read",
    "pandas": "import pandas; call = pandas.read_csv",
    "pandas, engine c": "import pandas; call = lambda path: pandas.read_csv(path, engine='c')",
}
TIMED = """
import json, resource, sys, time
{reader}
begun = time.perf_counter()
found = call(sys.argv[1])
seconds = time.perf_counter() - begun
try:  # not ru_maxrss, which begins with that of the process that started this one
    peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
except (OSError, IndexError):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([seconds, peak * 1024]))
"""


def write(path: Path, megabytes: float) -> int:
    """Write the CSV, a block of rows over and over with steps that go on; return its bytes."""
    random.seed(0)
    rows = []
    for i in range(10_000):
        loss = 2.5 + math.exp(-i / 5000) + random.gauss(0, 0.05)
        late = repr(loss + 0.1) if i % 100 == 99 else ""
        rows.append(f",{3e-4 * (1 + math.cos(i / 1e4))!r},{loss!r},{abs(random.gauss(1, 0.1))!r},{late}\n")
    step = 0
    with path.open("w", encoding="ascii", newline="") as file:
        size = file.write("step,lr,train_loss,grad_norm,val_loss\n")
        while size < megabytes * 1e6:
            size += file.write("".join(f"{step + i}{row}" for i, row in enumerate(rows)))
            step += len(rows)
    return size


def measured(reader: str, path: Path) -> tuple[float, float]:
    """Return the seconds and the peak memory in bytes of one reading."""
    code = TIMED.format(reader=READERS[reader])
    ran = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    seconds, memory = json.loads(ran.stdout)
    return seconds, memory


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--megabytes", type=float, default=1000.0)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    megabytes, rounds = (2.0, 1) if given.quick else (given.megabytes, given.rounds)
    around = begin()
    names = [name for name in READERS if find_spec("pandas") or not name.startswith("pandas")]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.csv"
        size = write(path, megabytes)
        for _ in range(rounds):
            for name in names:
                taken[name].append(measured(name, path))
    print(f"{'reader':20}{'MB/s':>10}{'peak MB':>10}")
    rows: list[dict[str, Any]] = []
    for name, found in taken.items():
        speed = size / 1e6 / statistics.median(seconds for seconds, _ in found)
        memory = max(memory for _, memory in found) / 1e6
        print(f"{name:20}{speed:10.1f}{memory:10.1f}", flush=True)
        rows.append({"reader": name, "megabytes_per_second": speed, "peak_megabytes": memory})
    save(given.json, around, megabytes=size / 1e6, rounds=rounds, read=rows)


if __name__ == "__main__":
    main()
