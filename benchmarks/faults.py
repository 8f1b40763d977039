"""Faults injected for real, and what came of each: bad inputs, damage, kills, full disks, payloads, many writers.

    python benchmarks/faults.py [--only NAME ...] [--quick] [--json FILE]

The tables and the faults are those of the tests. ``inputs``: calls and commands with a mistake, those refused in words.
``damage``: every file that dwindle writes and reads again cut at each byte, and with 1,000 bits turned; silent is what was read
as something else. ``kills``: SIGKILL to a writer of plans, checkpoints and records. ``studies``: to whole studies. ``disks``:
every call that writes, syncs or renames failing in turn, and files that may have so many bytes. ``payloads``: files and texts
made to run code or to take all memory. ``writers``: processes that want one folder at the same moment, and that append in turns.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from surroundings import begin, command, save

from dwindle.errors import DwindleError

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS))
Row = dict[str, Any]


def inputs(folder: Path, quick: bool) -> list[Row]:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import bad_inputs
    from bad_inputs_frameworks import FRAMEWORKS
    from bad_inputs_library import LIBRARY
    from dwindle.cli import main
    from test_bad_inputs import CASES

    def refused(make: Callable[[], Any], words: str) -> bool:
        try:
            make()
        except DwindleError as error:
            return words in str(error)
        except Exception:
            return False
        return False

    def one_line(words: list[str]) -> bool:
        out, err = io.StringIO(), io.StringIO()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                main(words)
        except SystemExit as left:
            return left.code == 2 and not out.getvalue() and err.getvalue().count("\n") == 1
        except Exception:
            return False
        return False

    bad_inputs.prepare(folder)
    calls = [*CASES, *bad_inputs.VALUES, *LIBRARY, *FRAMEWORKS][:: 20 if quick else 1]
    commands = bad_inputs.COMMANDS[:: 20 if quick else 1]
    with contextlib.chdir(folder):
        good = sum(refused(make, words) for _, make, words in calls), sum(map(one_line, commands))
    return [
        {"what": "calls", "tried": len(calls), "refused in words": good[0]},
        {"what": "commands", "tried": len(commands), "refused in words": good[1]},
    ]


def damage(folder: Path, quick: bool) -> list[Row]:
    from faults import cut_everywhere, flip_bits
    from test_formats import FILES

    files = dict(list(FILES.items())[:2] if quick else FILES)
    cuts = cut_everywhere(files, folder / "cut", lines=("trials.jsonl of a study",))
    flips = flip_bits(files, folder / "flipped", 50 if quick else 1000)
    return [
        {
            "what": name, "cuts": cuts[name]["bytes"], "flips": flips[name]["flips"],
            "silent": cuts[name]["silent"] + flips[name]["silent"], "crashes": cuts[name]["crashes"] + flips[name]["crashes"],
        }
        for name in files
    ]  # fmt: skip


def kills(folder: Path, quick: bool) -> list[Row]:
    from faults import kill_writer

    return [{"what": "plan, checkpoint and record", **kill_writer(folder, 10 if quick else 500)}]


def studies(folder: Path, quick: bool) -> list[Row]:
    if quick:
        return []
    test = f"{TESTS / 'test_study_kills.py'}::test_a_study_killed_at_random_moments_ends_as_if_it_had_never_been"
    words = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-m",
        "slow",
        "-p",
        "no:cacheprovider",
        "--timeout",
        "7200",
        test,
    ]
    ran = subprocess.run(
        words, capture_output=True, text=True, cwd=TESTS.parent, env={**os.environ, "DWINDLE_KILLS": "50"}
    )
    found = re.findall(r"(\w+): (\d+) kills, (\d+) between first and last trial, (\d+) left a checkpoint", ran.stdout)
    if ran.returncode:
        raise SystemExit(ran.stdout[-3000:])
    return [
        {"what": f"study, {kind}", "kills": int(n), "at work": int(work), "left a checkpoint": int(left), "lost": 0}
        for kind, n, work, left in found
    ]


def disks(folder: Path, quick: bool) -> list[Row]:
    from faults import fill_disk, fill_file

    points = {
        "a call fails": fill_disk(folder / "calls"),
        "a file is full": fill_file(folder / "sizes", 3 if quick else 50),
    }
    return [
        {
            "what": f"{kind}: {name}", "points": len(mine), "failed": sum(p["failed"] for p in mine),
            "lost": sum(p["lost"] for p in mine), "goes on": sum(p["goes on"] for p in mine),
        }
        for kind, all_of_it in points.items()
        for name in dict.fromkeys(p["file"] for p in all_of_it)
        for mine in [[p for p in all_of_it if p["file"] == name]]
    ]  # fmt: skip


def payloads(folder: Path, quick: bool) -> list[Row]:
    words = [sys.executable, str(TESTS / "payloads.py"), str(folder / "each"), *(["20"] if quick else [])]
    ran = subprocess.run(words, capture_output=True, text=True, cwd=folder, check=True)
    found = json.loads(ran.stdout)
    kinds = dict.fromkeys(name.partition(":")[0] for name in found)
    rows = []
    for kind in kinds:
        mine = [each for name, each in found.items() if name.startswith(f"{kind}:")]
        rows.append({
            "what": kind, "tried": len(mine), "ran": sum(each["ran"] for each in mine),
            "crashes": sum(not each["ours"] for each in mine),
            "most seconds": max(each["seconds"] for each in mine), "most MB": max(each["megabytes"] for each in mine),
        })  # fmt: skip
    return rows


def writers(folder: Path, quick: bool) -> list[Row]:
    from faults import race_for_lock, write_at_once

    races = [race_for_lock(folder / f"race {k}", 16, "4194303") for k in range(1 if quick else 20)]
    one = sum(race["got"] == 1 and race["refused"] == 15 for race in races)
    return [
        {"what": "races of 16 for a dead lock", "tried": len(races), "just one got it": one},
        {
            "what": "appends of 8 in turns",
            **write_at_once(folder / "appends", 8, 20 if quick else 200, 2 if quick else 8),
        },
    ]


MATTERS: dict[str, Callable[[Path, bool], list[Row]]] = {
    "inputs": inputs, "damage": damage, "kills": kills, "studies": studies, "disks": disks, "payloads": payloads,
    "writers": writers,
}  # fmt: skip


def line(row: Row) -> str:
    figures = (
        f"{value:.1f} {name}" if isinstance(value, float) else f"{value:,} {name}"
        for name, value in row.items()
        if name != "what"
    )
    return f"  {row['what']}: " + ", ".join(figures)


def main() -> None:
    parser = command(__doc__)
    parser.add_argument("--only", nargs="+", choices=MATTERS, default=[*MATTERS], metavar="NAME")
    given = parser.parse_args()
    around, found = begin(), {}
    for name in given.only:
        print(name, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found[name] = MATTERS[name](Path(folder), given.quick)
        for row in found[name]:
            print(line(row), flush=True)
    save(given.json, around, **found)


if __name__ == "__main__":
    main()
