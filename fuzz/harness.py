"""One reader under atheris, in the process of its own that `run.py` starts; breaches are written down and fuzzing goes on.

python fuzz/harness.py READER FOLDER [libFuzzer's own arguments]
"""

from __future__ import annotations

import hashlib
import random
import re
import resource
import sys
from pathlib import Path
from types import CodeType

import atheris
import atheris.import_hook

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
DATA = 768 * 2**20  # bytes beyond those of the start: what asks for more gets MemoryError, which is a breach


def _instrumented(code: CodeType, compares: bool) -> CodeType:
    """Return a module that counts what it runs; what it compares is noted too, but not of arrays, which atheris then keeps."""
    return _PATCH(code, compares and "np" not in code.co_names)


_PATCH = atheris.import_hook.patch_code
atheris.import_hook.patch_code = _instrumented


def main(name: str, folder: Path, arguments: list[str]) -> None:
    with atheris.instrument_imports(include=["dwindle"]):
        from fuzz.mutations import mutated
        from fuzz.reader import broken
        from fuzz.readers import named

        reader = named(name)
        inputs = reader.inputs()
        for data in inputs:  # what is imported on the way is looked into, too
            broken(reader, data)
    corpus, crashes = folder / "corpus" / name, folder / "crashes" / name
    for place in (corpus, crashes):
        place.mkdir(parents=True, exist_ok=True)
    for data in inputs:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    resource.setrlimit(resource.RLIMIT_DATA, (_held() + DATA,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    seen: dict[str, int] = {}

    def one(data: bytes) -> None:
        found = broken(reader, data)
        if found is None:
            return
        if len(data) < seen.get(found.where, 1 << 30):  # the shortest of each is kept
            file = crashes / re.sub(r"[^A-Za-z0-9._-]+", "_", found.where)[:100]
            file.write_bytes(data)
            file.with_name(f"{file.name}.txt").write_text(
                f"{found.where}\n\n{data!r}\n\n{found.traceback}", errors="replace"
            )
            seen[found.where] = len(data)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        rng = random.Random(seed)
        if rng.random() < 0.3:
            return bytes(atheris.Mutate(data, longest))
        first, rest = (data[:1] or b"\0"), data[1:]
        if rng.random() < 0.05:
            first = bytes([rng.randrange(len(reader.forms))])
        return (first + mutated(rng, rest, reader.words, inputs, longest))[:longest]

    atheris.Setup([sys.argv[0], *arguments, f"-max_len={reader.longest}", str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()


def _held() -> int:
    """Return the bytes of data that this process has mapped."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmData:\s+(\d+)", status)[0]) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
