"""Faults made on purpose, by functions that tests run in short and benchmarks/faults.py in full; each returns what it counted.

A kill is SIGKILL to a process of our own that writes without end; a full disk is a call to the system that fails in turn, or
a process whose files may have so many bytes; writers are processes that all want one folder at once.
"""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import dwindle as dw
from dwindle import text
from dwindle.errors import DwindleError, ResumeError
from dwindle.population import checkpoint
from dwindle.studies.store import Store

__all__ = [
    "Cuts",
    "cut_everywhere",
    "fill_disk",
    "fill_file",
    "flip_bits",
    "kill_writer",
    "race_for_lock",
    "write_at_once",
]

SCHEDULE = dw.warmup("10%").then(dw.cosine())


def version(n: int) -> dict[str, Any]:
    """Return what the n-th round writes, each part telling n."""
    return {
        "plan": dw.Plan(n + 1.0, SCHEDULE),
        "arrays": {"w": np.full(3000, n, np.float64), "m": np.full(7, -n, np.float32)},
        "record": {"key": f"k{n}", "loss": n / 7, "filling": "x" * 200},
    }


# --- processes of our own: forked from one that has loaded what they need, so that a start costs no second


class Nursery:
    """A process that forks children, each of which calls a function of this module; it ends with them.

    ``setup`` is run in it first.
    """

    def __init__(self, setup: str = "") -> None:
        program = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import faults\n{setup}\nfaults.nurse()"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def start(self, function: str, *given: Any) -> int:
        """Return the number of a child that calls the function."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([function, *given]) + "\n")
        self.process.stdin.flush()
        return int(self.said("child"))

    def said(self, word: str) -> str:
        """Return what follows on ``word`` in the next line that begins so; it and its children say them in any order."""
        assert self.process.stdout is not None
        while True:
            found = next((line for line in self.lines if line.startswith(word)), None)
            if found is not None:
                self.lines.remove(found)
                return found.removeprefix(word).strip()
            line = self.process.stdout.readline()
            if not line or line.startswith("failed"):
                raise AssertionError(f"a process ended that nobody had killed: {line}")
            self.lines.append(line)


def nurse() -> None:
    """Do what a Nursery asks for."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are gone at once
    for line in sys.stdin:
        function, *given = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                globals()[function](*given)
            except BaseException as error:
                os.write(1, f"failed {error!r}\n".encode())
            finally:
                os._exit(0)
        os.write(1, f"child {child}\n".encode())  # in one piece: its children write there too


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not what():
        if time.monotonic() > until:
            raise AssertionError("it took too long")
        time.sleep(0.002)


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# --- kill -9


def write_for_ever(where: str) -> None:
    """Write a plan, a checkpoint and a record, round by round, from the round after the last that is there; say when begun."""
    folder = Path(where)
    store = Store.open(folder)
    n = len(store.records)
    os.write(1, f"begun {n}\n".encode())
    nursery = os.getppid()
    while os.getppid() == nursery:  # it does not outlive who started it
        said = version(n)
        text.save(said["plan"], folder / "plan.toml")
        checkpoint.write(folder / "a.safetensors", "mine", n, said["arrays"])
        store.add([said["record"]])
        n += 1


def kill_writer(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill a writer so often at random moments; count what each kill left of old and new, and what was lost or mixed.

    After a kill in round n, the records are those of rounds 0 … n - 1, or n too; plan and checkpoint are whole, each of round
    n - 1 or n. Whoever goes on finds just that.
    """
    draw = random.Random(seed)
    found = {"kills": 0, "rounds": 0, "old": 0, "new": 0, "left half": 0, "lost": 0, "mixed": 0, "refused": 0}
    text.save(version(0)["plan"], folder / "plan.toml")
    with Nursery() as nursery:
        while found["kills"] < kills:
            writer = nursery.start("write_for_ever", str(folder))
            found["lost"] += int(nursery.said("begun")) != found["rounds"]
            time.sleep(draw.uniform(0.0, 0.06))
            os.kill(writer, signal.SIGKILL)
            wait_for(lambda process=writer: not lives(process))
            found["kills"] += 1
            _look(folder, found)
    return found


def _look(folder: Path, found: dict[str, int]) -> None:
    """Count what a kill has left."""
    half = [*folder.glob(".*.tmp")]
    found["left half"] += bool(half)
    for left in half:
        left.unlink()
    try:
        store = Store.open(folder)  # its lock is of the dead
        store.close()
        last, kept = round(text.load(folder / "plan.toml").peak) - 1, checkpoint.read(folder / "a.safetensors", "mine")
    except DwindleError:
        found["refused"] += 1
        return
    before, found["rounds"] = found["rounds"], len(store.records)
    rounds = found["rounds"]
    found["lost"] += rounds < before or any(store.records.get(f"k{n}") != version(n)["record"] for n in range(rounds))
    if kept is None:
        found["lost"] += rounds > 0
        return
    wanted = version(kept.step)["arrays"]
    found["mixed"] += any(not np.array_equal(array, wanted[name]) for name, array in kept.arrays.items())
    found["lost"] += not rounds - 1 <= kept.step <= last <= rounds
    found["new" if last == rounds else "old"] += 1


# --- a full disk

_CALLS = ("write", "fsync", "rename")


@contextmanager
def failing(at: int, only: str) -> Iterator[list[int]]:
    """Let the ``at``-th call that writes, syncs or renames a file below ``only`` fail as on a full disk; count those made.

    A write that fails has written half before, as the last one on a full disk does.
    """
    made, real_open, real_fsync, real_replace = [0], open, os.fsync, os.replace

    def due() -> bool:
        made[0] += 1
        return made[0] == at

    def full() -> OSError:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class File:
        """An open file whose writes are counted."""

        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def write(self, data: Any) -> int:
            if due():
                self.inner.write(data[: len(data) // 2])
                self.inner.flush()
                raise full()
            return int(self.inner.write(data))

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None:
            self.inner.close()

        def __iter__(self) -> Iterator[Any]:
            return iter(self.inner)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    def opened(self: Path, mode: str = "r", *given: Any, **more: Any) -> Any:
        file = real_open(self, mode, *given, **more)
        return File(file) if str(self).startswith(only) and set(mode) & set("wa+") else file

    def synced(descriptor: int) -> None:
        if due():
            raise full()
        real_fsync(descriptor)

    def replaced(self: Path, target: Path) -> Path:
        if due():
            raise full()
        real_replace(self, target)
        return Path(target)

    with (
        mock.patch.object(Path, "open", opened),
        mock.patch("os.fsync", synced),
        mock.patch.object(Path, "replace", replaced),
    ):
        yield made


Made = tuple[Callable[[Path, int], None], Callable[[Path], Any]]


def _save_plan(folder: Path, n: int) -> None:
    text.save(version(n)["plan"], folder / "plan.toml")


def _save_line(folder: Path, n: int) -> None:
    text.save(version(n)["plan"], folder / "plan.txt")


def _save_checkpoint(folder: Path, n: int) -> None:
    checkpoint.write(folder / "a.safetensors", "mine", n, version(n)["arrays"])


def _read_checkpoint(folder: Path) -> int:
    kept = checkpoint.read(folder / "a.safetensors", "mine")
    assert kept is not None
    assert all((array == (kept.step if name == "w" else -kept.step)).all() for name, array in kept.arrays.items())
    return kept.step


def _append(folder: Path, n: int) -> None:
    store = Store.open(folder)
    try:
        store.add([version(n)["record"]])
    finally:
        store.close()


def _read_store(folder: Path) -> int:
    store = Store.open(folder)
    store.close()
    assert all(store.records[f"k{n}"] == version(n)["record"] for n in range(len(store.records)))
    return len(store.records) - 1


WRITES: dict[str, Made] = {
    "plan.toml": (_save_plan, lambda folder: int(text.load(folder / "plan.toml").peak) - 1),
    "plan.txt": (_save_line, lambda folder: int(text.load(folder / "plan.txt").peak) - 1),
    "checkpoint": (_save_checkpoint, _read_checkpoint),
    "store": (_append, _read_store),
}
"""What is written, and how it is read again: as the number of the version that is there."""


def fill_disk(folder: Path) -> list[dict[str, Any]]:
    """Let every call of every write fail in turn; return for each point whether what was there is, and whether it goes on."""
    points = []
    for name, (write, read) in WRITES.items():
        at = 0
        while True:
            at += 1
            place = folder / f"{name} {at}"
            place.mkdir(parents=True)
            write(place, 0)
            with failing(at, str(place)) as made:
                try:
                    write(place, 1)
                    failed = False
                except (DwindleError, OSError):
                    failed = True
            if made[0] < at:
                break  # no call is left to fail
            left = read(place)
            write(place, left + 1)  # there is room again
            points.append({
                "file": name, "call": at, "failed": failed, "lost": left not in (0, 1),
                "goes on": read(place) == left + 1,
                "rubbish": len([*place.glob(".*.tmp"), *place.glob("lock*")]),
            })  # fmt: skip
    return points


_LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import faults
from dwindle.errors import DwindleError, ResumeError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write, _ = faults.WRITES[sys.argv[2]]
for word in sys.argv[3:]:
    size, place = word.split(":", 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    try:
        write(Path(place), 1)
        print(0)
    except (DwindleError, OSError):
        print(1)
"""


def fill_file(folder: Path, sizes: int) -> list[dict[str, Any]]:
    """Let no file have more than so many bytes, at ``sizes`` sizes up to the whole; see `fill_disk`."""
    points = []
    for name, (write, read) in WRITES.items():
        folder.mkdir(exist_ok=True)
        probe = folder / f"{name} probe"
        probe.mkdir()
        for n in range(2):
            write(probe, n)
        whole = max(file.stat().st_size for file in probe.iterdir())
        places = [
            (int(size), folder / f"{name} of {int(size)}")
            for size in np.unique(np.linspace(0, whole - 1, sizes).astype(int))
        ]
        for _, place in places:
            place.mkdir()
            write(place, 0)
        words = [f"{size}:{place}" for size, place in places]
        ran = subprocess.run(
            [sys.executable, "-c", _LIMITED, str(Path(__file__).parent), name, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        for (size, place), said in zip(places, ran.stdout.split(), strict=True):
            left = read(place)
            write(place, left + 1)
            points.append({
                "file": name, "bytes": size, "failed": said == "1", "lost": left not in (0, 1),
                "goes on": read(place) == left + 1,
                "rubbish": len([*place.glob(".*.tmp"), *place.glob("lock*")]),
            })  # fmt: skip
    return points


# --- many writers


def claim_at(where: str, out: str, moment: float) -> None:
    """Want the folder at that moment of the clock, say what came of it in a file, and keep it until told to end."""
    while time.time() < moment:
        pass
    try:
        Store.open(where)
        said = "got"
    except ResumeError:
        said = "refused"
    file = Path(out, str(os.getpid()))
    file.with_suffix(".tmp").write_text(said)
    file.with_suffix(".tmp").rename(file)
    wait_for(Path(out, "end").exists)


def append_in_turns(where: str, out: str, who: str, each: int, turns: int) -> None:
    """Append so many records in each turn, for which it waits; say in a file how often it was refused."""
    refused = 0
    for turn in range(turns):
        while True:
            try:
                store = Store.open(where)
                break
            except ResumeError:
                refused += 1
                time.sleep(0.002)
        for n in range(turn * each, (turn + 1) * each):
            store.add([{"key": f"{who} {n}", "loss": n / 7}])
        store.close()
    file = Path(out, who)
    file.with_suffix(".tmp").write_text(str(refused))
    file.with_suffix(".tmp").rename(file)


def race_for_lock(folder: Path, processes: int, lock: str | None, setup: str = "") -> dict[str, int]:
    """Let processes want the folder at the same moment, in which ``lock`` stands; count who got it and who was told no."""
    out = folder / "said"
    out.mkdir(parents=True)
    if lock is not None:
        (folder / "lock").write_text(lock)
    with Nursery(setup) as nursery:
        moment = time.time() + 2.0
        nursery.start("claim_at", str(folder), str(out), moment)  # the first waits for what is loaded
        moment_of_all = max(moment, time.time() + 0.3)
        for _ in range(processes - 1):
            nursery.start("claim_at", str(folder), str(out), moment_of_all)
        wait_for(lambda: len([file for file in out.iterdir() if not file.suffix]) == processes)
        said = [file.read_text() for file in out.iterdir()]
        (out / "end").write_text("")
    return {"processes": processes, "got": said.count("got"), "refused": said.count("refused")}


def write_at_once(folder: Path, processes: int, appends: int, turns: int) -> dict[str, int]:
    """Let processes append so many records each to one store, in ``turns`` for which they wait; count lost and doubled."""
    out = folder / "said"
    out.mkdir(parents=True)
    with Nursery() as nursery:
        for k in range(processes):
            nursery.start("append_in_turns", str(folder), str(out), f"p{k}", appends // turns, turns)
        wait_for(lambda: len([file for file in out.iterdir() if not file.suffix]) == processes, 300.0)
    waited = sum(int(file.read_text()) for file in out.iterdir())
    store = Store.open(folder)
    store.close()
    wanted = {
        f"p{k} {n}": {"key": f"p{k} {n}", "loss": n / 7}
        for k in range(processes)
        for n in range(appends // turns * turns)
    }
    keys = [json.loads(json.loads(line)["body"])["key"] for line in (folder / "trials.jsonl").read_bytes().splitlines()]
    return {
        "processes": processes, "records": len(wanted), "doubled": len(keys) - len(set(keys)), "waited": waited,
        "lost": sum(store.records.get(key) != record for key, record in wanted.items()), "spoilt": store.spoilt,
    }  # fmt: skip


# --- damage

Cuts = tuple[Callable[[Path], Path], Callable[[Path], Any]]
"""What writes a file into a folder, and what reads it again: a value, or an error of dwindle's."""


def cut_everywhere(files: dict[str, Cuts], folder: Path, *, lines: tuple[str, ...] = ()) -> dict[str, dict[str, int]]:
    """Cut each file at every byte; count what was refused, read as before, and read as something else or crashed.

    Of the files named in ``lines`` whole lines may be missing after: they are read as a part of what was before.
    """
    counts = {}
    for name, (make, read) in files.items():
        path = make(_fresh(folder, name))
        whole, before = path.read_bytes(), read(path)
        found = {"bytes": len(whole), "refused": 0, "as before": 0, "silent": 0, "crashes": 0}
        for length in range(len(whole)):
            path.write_bytes(whole[:length])
            _judge(read, path, before, found, part=name in lines)
        counts[name] = found
    return counts


def flip_bits(files: dict[str, Cuts], folder: Path, flips: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Turn so many bits of each file, one at a time; see `cut_everywhere`."""
    counts = {}
    for name, (make, read) in files.items():
        path = make(_fresh(folder, name))
        whole, before = path.read_bytes(), read(path)
        found = {"flips": 0, "refused": 0, "as before": 0, "silent": 0, "crashes": 0}
        for bit in np.random.default_rng(seed).permutation(8 * len(whole))[:flips]:
            damaged = bytearray(whole)
            damaged[bit // 8] ^= 1 << (bit % 8)
            path.write_bytes(damaged)
            found["flips"] += 1
            _judge(read, path, before, found)
        counts[name] = found
    return counts


def _fresh(folder: Path, name: str) -> Path:
    made = folder / name.replace("/", " ")
    made.mkdir(parents=True)
    return made


def _judge(read: Callable[[Path], Any], path: Path, before: Any, found: dict[str, int], *, part: bool = False) -> None:
    try:
        after = read(path)
    except DwindleError:
        found["refused"] += 1
    except Exception:
        found["crashes"] += 1
    else:
        same = after.items() <= before.items() if part else after == before
        found["as before" if same else "silent"] += 1
