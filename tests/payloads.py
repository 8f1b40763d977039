"""Files and texts that somebody may hand in to run code, or to take all memory or time; and what tries each.

Every payload runs in a process of its own, forked from one that has loaded the readers, and must not take half a gigabyte more
than that has, nor thirty seconds: `python tests/payloads.py FOLDER [EVERY]` prints what came of each (of every so many-th), as
JSON. Those of pages, terminals and the lab are in `hostile` and the tests of the lab.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dwindle import foreign, logs, text
from dwindle.errors import DwindleError
from dwindle.findings import of_config
from dwindle.logs.crc32c import crc32c, masked
from dwindle.population import checkpoint
from dwindle.schedule import formula
from dwindle.studies import Space, Store, fit, load
from dwindle.text import parse

__all__ = ["MEGABYTES", "PAYLOADS", "SECONDS", "run_all"]

MEGABYTES, SECONDS = 512, 30  # a few seconds on a machine that has nothing else to do
SENTINEL = "touched"
TOUCH = f"__import__('os').system('touch {SENTINEL}')"


class Touching:
    """What touches the sentinel when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {SENTINEL}",)


PICKLE = pickle.dumps(Touching())
TEXT_PICKLE = pickle.dumps(Touching(), protocol=0)


def npy(data: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, data, allow_pickle=True)
    return buffer.getvalue()


OBJECTS = npy(np.array([Touching()], dtype=object))


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/"), data)
    return buffer.getvalue()


def npz_bomb() -> bytes:
    """Return an NPZ of a megabyte that holds a gigabyte of zeros."""
    buffer = io.BytesIO()
    shape = (2**17, 2**10)
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("x.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, {"descr": "<f8", "fortran_order": False, "shape": shape})
        for _ in range(1024):
            member.write(bytes(2**20))
    return buffer.getvalue()


def gzip_bomb(megabytes: int) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as file:
        for _ in range(megabytes):
            file.write(b"1,2,3\n" * 174_762)
    return buffer.getvalue()


def event(length: int, right: bool = True) -> bytes:
    """Return the head of a TensorBoard record that promises so many bytes."""
    head = struct.pack("<Q", length)
    return head + struct.pack("<I", masked(crc32c(head)) if right else 0) + b"\x0a\x0bbrain"


def file(name: str, data: str | bytes | Callable[[], bytes], read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """Return what writes the file and reads it."""

    def run(folder: Path) -> Any:
        content = data() if callable(data) else data
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        return read(folder / name)

    return run


def given(read: Callable[[str], Any], what: str) -> Callable[[Path], Any]:
    return lambda _: read(what)


def tried(schedule: Any) -> Any:
    return schedule(3)


def of_store(path: Path) -> Any:
    store = Store.open(path.parent)
    store.close()
    return store.records


def data(path: Path) -> Any:
    return load(path, target="y" if path.suffix == ".csv" else None)


def of_checkpoint(path: Path) -> Any:
    return checkpoint.read(path, "mine")


def of_weights(path: Path) -> Any:
    import hashlib

    return fit._read(path, hashlib.sha256(path.read_bytes()).hexdigest())


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(f'*{a}' for _ in range(9))}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
FORMULAS = {
    "call": f"{TOUCH}",
    "dunder": "step.__class__.__mro__[1].__subclasses__()",
    "globals": "sin.__globals__['__builtins__']",
    "lambda": "(lambda: 1)()",
    "comprehension": "[x for x in (1,)][0]",
    "walrus": "(x := 1)",
    "power tower": "9**9**9",
    "power tower of the step": "step**step**step**step",
    "shift": "1 << 10**9",
    "text": "'a' * 10**9",
    "star": "max(*[1])",
    "f-string": "f'{open(1)}'",
    "await": "await step",
    "import": "import os",
    "nested": "(" * 50_000 + "1" + ")" * 50_000,
    "minus signs": "-" * 15_000 + "1",
    "long sum": "+".join(["step"] * 8_000),
    "digits": "9" * 15_000,
    "nul": "1\0+1",
    "exec": "exec('1')",
    "format": "'{0.__class__}'.format(step)",
    "subscript": "[1][step.__index__]",
}
TEXTS = {
    "call": f"peak {TOUCH}",
    "power": "peak 9**9**9",
    "formula": f'peak 1 | formula "{TOUCH}"',
    "shell": "peak $(touch touched)",
    "template": "peak {{7*7}}",
    "percent": "peak %s",
    "nested": "peak 1 | " + "(" * 9_000,
    "long": "peak 1 | " + "x" * 10**7,
    "many": "peak 1 | " + ", ".join(["cosine over 1st"] * 5_000),
    "number": "peak " + "9" * 10**6,
    "exponent": "peak 1e999999999",
    "escape": 'peak 1 | group "\\u0000" "*" times 1',
    "path": "../../../../etc/passwd",
}
PLANS = {
    "toml nested": ("p.toml", 'format = "dwindle-plan/1"\npeak = ' + "[" * 9_000),
    "toml dots": ("p.toml", ".".join("a" * 9_000) + " = 1"),
    "toml tables": ("p.toml", "[a" + ".a" * 9_000 + "]"),
    "toml number": ("p.toml", 'format = "dwindle-plan/1"\npeak = ' + "9" * 19_000),
    "toml call": ("p.toml", f'format = "dwindle-plan/1"\npeak = 1.0\nschedule = "{TOUCH}"'),
    "json nested": ("p.json", "[" * 19_000),
    "json number": ("p.json", '{"peak":' + "9" * 19_000 + "}"),
    "json constructor": ("p.json", '{"__class__":"os.system","format":"dwindle-plan/1"}'),
    "pickle": ("p.toml", PICKLE),
    "text pickle": ("p.txt", TEXT_PICKLE),
    "large": ("p.toml", b"#" * 10**8),
}
YAMLS = {
    "apply": f"lr: 0.1\nx: !!python/object/apply:os.system ['touch {SENTINEL}']\n",
    "new": "lr: 0.1\nx: !!python/object/new:os.system [touch touched]\n",
    "name": "lr: !!python/name:os.system\n",
    "module": "lr: !!python/module:os\n",
    "object": "lr: 0.1\nx: !!python/object:os.system {}\n",
    "tuple": f"x: !!python/tuple [!!python/object/apply:os.system ['touch {SENTINEL}']]\nlr: 0.1\n",
    "laughs": LAUGHS + "lr: 0.1\n",
    "nested": "lr: " + "[" * 9_000,
    "merge": "a: &a {b: 1}\nc: &c {<<: [" + ",".join(["*a"] * 5_000) + "]}\nlr: 0.1\n",
    "recursive": "a: &a [*a]\nlr: 0.1\n",
    "interpolation": "lr: ${oc.env:HOME}\n",
    "include": "lr: !include /etc/passwd\n",
    "anchors": "lr: 0.1\n" + "".join(f"a{i}: &a{i} 1\n" for i in range(50_000)),
}
SOURCES = {
    "statement": f"import os\nos.system('touch {SENTINEL}')\nimport torch\ntorch.optim.SGD(p, lr=0.1)\n",
    "argument": f"torch.optim.SGD(p, lr={TOUCH})",
    "default": f"def f(x={TOUCH}): pass\ntorch.optim.SGD(p, lr=0.1)",
    "decorator": f"@{TOUCH}\ndef f(): pass\ntorch.optim.SGD(p, lr=0.1)",
    "lambda": f"torch.optim.lr_scheduler.LambdaLR(o, lambda t: {TOUCH})",
    "spec": f"torch:AdamW(lr={TOUCH}) StepLR(30)",
    "spec power": "torch:AdamW(lr=9**9**9) StepLR(30)",
    "name": "torch:os.system('touch touched')",
    "nested": "(" * 5_000 + ")" * 5_000,
    "loop": "for i in range(10**12): pass\ntorch.optim.SGD(p, lr=0.1)",
    "power": "x = 9**9**9\ntorch.optim.SGD(p, lr=x)",
    "repeat": "x = [0] * 10**12\ntorch.optim.lr_scheduler.MultiStepLR(o, milestones=x)",
    "range": "torch.optim.lr_scheduler.MultiStepLR(o, milestones=list(range(10**12)))",
    "json": '{"learning_rate": "' + TOUCH + '", "max_steps": 9, "output_dir": "x", "weight_decay": 0.1}',
}
LOGS = {
    "pickle": ("run", PICKLE),
    "text pickle": ("run.csv", TEXT_PICKLE),
    "pickle as json": ("run.jsonl", PICKLE),
    "zip": ("run.csv", zipped(a=b"1")),
    "long line": ("run.csv", lambda: b"step,loss\n" + b"1," * 5 * 10**7),
    "long json line": ("run.jsonl", lambda: b'{"a":"' + b"x" * 10**8 + b'"}'),
    "gzip bomb": ("run.csv.gz", lambda: b"".join([gzip.compress(b"step,loss\n"), gzip_bomb(600)])),
    "nested json": ("run.json", b"[" * 10**6),
    "nested jsonl": ("run.jsonl", b"[" * 10**5 + b"\n"),
    "constants": ("run.jsonl", b'{"step": NaN, "loss": Infinity}\n'),
    "digits": ("run.jsonl", b'{"step": 1, "loss": ' + b"9" * 10**6 + b"}\n"),
    "columns": ("run.csv", b",".join([b"a"] * 10**6) + b"\n1\n"),
    "record of 2**63 bytes": ("events.out.tfevents.1", event(2**63 - 1)),
    "record of 1 GB": ("events.out.tfevents.1", event(2**30)),
    "record without check": ("events.out.tfevents.1", event(2**62, False)),
    "calls": ("run.csv", f"step,loss\n1,{TOUCH}\n2,=cmd|'/C calc'!A0\n"),
    "formula names": ("run.csv", '=HYPERLINK("x"),loss\n1,2\n'),
    "quotes": ("run.csv", b'"' * 10**7),
    "nul bytes": ("run.csv", bytes(10**7)),
}
DATA = {
    "pickle": ("d.npz", PICKLE),
    "objects": ("d.npz", zipped(**{"x.npy": OBJECTS, "y.npy": npy(np.zeros(1))})),
    "bare objects": ("d.npy", OBJECTS),
    "pickle member": ("d.npz", zipped(**{"x.npy": PICKLE, "y.npy": PICKLE})),
    "traversal": ("d.npz", zipped(**{"..__..__touched.npy": npy(np.zeros((9, 2))), "y.npy": npy(np.zeros(9))})),
    "absolute": ("d.npz", zipped(**{"__tmp__touched.npy": npy(np.zeros(9))})),
    "bomb": ("d.npz", npz_bomb),
    "shape": (
        "d.npz",
        zipped(
            **{
                "x.npy": b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000000,), }".ljust(
                    128
                )
                + b"\n",
                "y.npy": npy(np.zeros(9)),
            }
        ),
    ),
    "header": (
        "d.npz",
        zipped(
            **{"x.npy": b"\x93NUMPY\x01\x00\x76\x00" + TOUCH.encode().ljust(117) + b"\n", "y.npy": npy(np.zeros(9))}
        ),
    ),
    "gzip bomb": ("d.csv.gz", lambda: gzip_bomb(900)),
    "gzip of csv": ("d.csv", lambda: gzip_bomb(900)),
    "idx": ("a-images-idx3-ubyte", b"\0\0\x08\x03" + b"\xff" * 12),
    "calls": ("d.csv", f"a,y\n{TOUCH},1\n{TOUCH},2\n"),
    "function text": ("d.csv", "a,y\nos:system,1\nos:system,2\n"),
    "parquet": ("d.parquet", b"PAR1" + b"\xff" * 60 + b"PAR1"),
    "pt": ("d.pt", PICKLE),
}
OWN = {
    "checkpoint a pickle": ("a.safetensors", PICKLE, of_checkpoint),
    "checkpoint header": ("a.safetensors", struct.pack("<Q", 2**62) + b"{}", of_checkpoint),
    "checkpoint nested": ("a.safetensors", struct.pack("<Q", 10**6) + b"[" * 10**6, of_checkpoint),
    "checkpoint offsets": (
        "a.safetensors",
        (lambda h: struct.pack("<Q", len(h)) + h)(
            b'{"w":{"dtype":"F64","shape":[1000000000000],"data_offsets":[0,8000000000000]}}'
        ),
        of_checkpoint,
    ),
    "weights a pickle": ("w.npz", zipped(**{"a.npy": OBJECTS}), of_weights),
    "store a pickle": ("trials.jsonl", PICKLE, of_store),
    "store nested": ("trials.jsonl", b"[" * 10**6 + b"\n", of_store),
    "store line": ("trials.jsonl", lambda: b"x" * 10**8, of_store),
    "space call": ("s.toml", f'lam = "{TOUCH}"', Space.load),
    "space nested": ("s.toml", "lam = " + "[" * 50_000, Space.load),
}

PAYLOADS: dict[str, Callable[[Path], Any]] = {
    **{f"formula: {name}": given(lambda said: tried(formula(said)), said) for name, said in FORMULAS.items()},
    **{f"plan text: {name}": given(parse, said) for name, said in TEXTS.items()},
    **{f"plan file: {name}": file(*said, text.load) for name, said in PLANS.items()},
    **{f"yaml: {name}": file("config.yaml", said, of_config) for name, said in YAMLS.items()},
    **{f"recipe: {name}": given(foreign.read, said) for name, said in SOURCES.items()},
    **{f"log: {name}": file(*said, logs.history) for name, said in LOGS.items()},
    **{f"data: {name}": file(*said, data) for name, said in DATA.items()},
    **{f"own file: {name}": file(*said) for name, said in OWN.items()},
    "mask: regex of nested stars": given(parse, 'peak 1 | mask regex "(a+)+$" decays'),
}


def run_all(folder: Path, every: int = 1) -> dict[str, dict[str, Any]]:
    """Return what came of each payload (of every so many-th): the error's name or "read", what it cost, and whether it ran."""
    found = {}
    for i, (name, payload) in enumerate(list(PAYLOADS.items())[::every]):
        place = folder / str(i)
        place.mkdir(parents=True)
        found[name] = _run(place, payload)
        found[name]["ran"] = any(path.name == SENTINEL for path in place.rglob("*")) or Path(SENTINEL).exists()
    return found


def _run(place: Path, payload: Callable[[Path], Any]) -> dict[str, Any]:
    begun = time.monotonic()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        said, ours = "read", True
        try:
            os.chdir(place)
            signal.alarm(SECONDS)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                payload(place)
            except DwindleError as error:
                said = type(error).__name__
            except BaseException as error:
                said, ours = f"{type(error).__name__}: {error}"[:200], False
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            os.write(writer, json.dumps({"said": said, "ours": ours, "megabytes": more}).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    result = json.loads(said) if said else {"said": "ended by its time", "ours": False, "megabytes": 0.0}
    return {**result, "seconds": time.monotonic() - begun}


if __name__ == "__main__":
    print(json.dumps(run_all(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
