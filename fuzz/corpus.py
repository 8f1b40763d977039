"""What fuzzing begins with: the logs and files of the doctor's cases, the examples, and the texts that the tests hold."""

from __future__ import annotations

import ast
import gzip
from collections.abc import Iterator
from pathlib import Path

__all__ = ["ROOT", "beginnings", "files", "texts"]

ROOT = Path(__file__).resolve().parents[1]
_CASES = ("tests/clinic", "tests/clinic_second", "examples")


def files(*endings: str) -> Iterator[Path]:
    """Yield the files of the cases and the examples whose names end so, a .gz left out of account."""
    for folder in _CASES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.name.removesuffix(".gz").endswith(endings) and path.is_file():
                yield path


def beginnings(*endings: str, size: int = 1500, most: int = 40) -> Iterator[bytes]:
    """Yield the first whole lines of these files, unpacked, of about ``size`` bytes; no more than ``most``, spread over them."""
    found = list(files(*endings))
    for path in found[:: max(1, len(found) // most)]:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        yield data if len(data) <= size else data[: data.rfind(b"\n", 0, size) + 1] or data[:size]


def texts(*modules: str, longest: int = 3000, among: str = "", most: int = 250) -> Iterator[bytes]:
    """Yield the texts with ``among`` in them that stand in the tests of these names, no more than ``most``, spread over them."""
    found: dict[str, None] = {}
    for module in modules:
        for node in ast.walk(ast.parse((ROOT / "tests" / f"{module}.py").read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and 2 < len(node.value) <= longest:
                found[node.value] = None
    wanted = [text for text in found if among in text]
    for text in wanted[:: max(1, len(wanted) // most)]:
        yield text.encode("utf-8", "surrogatepass")
