"""Install the wheel and the sdist into fresh environments and use them: python scripts/check_install.py [FOLDER]

On every Python found (or those given with --python): without extras, from the wheel and from the sdist; each extra alone, with
one small use of it; and the core's tests against the oldest versions that the metadata allows, and against the newest.
One environment after the other, in a temporary folder; a table says what came of each, and the exit code is 1 if one failed.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in ("docs", "dev", "release")]
# the core's tests, which need no framework, and those of the reference, which is held against torch
CORE = ("schedule_exact", "total", "feedback", "decay", "mask", "text", "replan", "golden_schedules", "explain")
WITH_TORCH = ("reference", "textbook")
TOOLS = ("pytest", "pytest-timeout", "hypothesis", "mpmath")


class Row(NamedTuple):
    """``what`` is looked at on ``python``: ``wanted`` is installed, ``uses`` are run, then ``tests``."""

    what: str
    python: str
    wanted: tuple[str, ...]
    uses: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()


def oldest(requirements: list[str]) -> tuple[str, ...]:
    """Return the requirements at their lower bounds: numpy>=1.26 as numpy==1.26.*."""
    return tuple(re.sub(r">=([\d.]+)$", r"==\1.*", each) for each in requirements)


def rows(python: str, version: str, wheel: Path, sdist: Path) -> Iterator[Row]:
    pinned = ("-c", str(ROOT / "constraints.txt"))
    yield Row("wheel, no extra", python, (str(wheel),), ("bare", "missing"))
    yield Row("sdist, no extra", python, (str(sdist),), ("bare",))
    first = PROJECT["requires-python"].removeprefix(">=")
    if version.startswith(f"{first}."):  # the oldest NumPy has no wheel for a later Python
        yield Row("oldest versions", python, (str(wheel), *oldest(PROJECT["dependencies"]), *TOOLS), ("bare",), CORE)
    yield Row("newest versions", python, (str(wheel), *TOOLS), ("bare",), CORE)
    for extra in EXTRAS:
        small = _small_torch() if extra == "torch" else ()
        yield Row(f"[{extra}]", python, (f"{wheel}[{extra}]", *small, *pinned), (extra,))
    yield Row("[keras] on [jax]", python, (f"{wheel}[keras,jax]", *pinned), ("keras_on_jax",))
    yield Row("[torch], tests", python, (f"{wheel}[torch]", *_small_torch(), *TOOLS, *pinned), (), WITH_TORCH)


def _small_torch() -> tuple[str, ...]:
    """Return what keeps pip from the torch of PyPI for Linux, which brings gigabytes of CUDA along."""
    if sys.platform != "linux" or os.environ.get("TORCH_ARGS"):
        return tuple(os.environ.get("TORCH_ARGS", "").split())
    pins = (ROOT / "constraints.txt").read_text().split()
    return (f"{next(pin for pin in pins if pin.startswith('torch=='))}+cpu",)


def pythons() -> list[str]:
    """Return one program for every Python that dwindle is for: on the PATH, or among pyenv's versions."""
    found: dict[str, str] = {}
    homes = [
        *os.environ.get("PATH", "").split(os.pathsep),
        *map(str, sorted(Path.home().glob(".pyenv/versions/*/bin"))),
    ]
    for program in [sys.executable, *(f"{home}/python3.{minor}" for minor in range(11, 20) for home in homes)]:
        if not os.access(program, os.X_OK):
            continue
        ask = "import sys; print('3.%d' % sys.version_info[1] if sys.version_info >= (3, 11) else '')"
        done = subprocess.run([program, "-c", ask], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.strip():
            found.setdefault(done.stdout.strip(), program)
    return [found[name] for name in sorted(found, key=lambda name: int(name[2:]))]


def tried(row: Row, place: Path) -> str:
    """Return what came of a row: ok, with the versions, or what went wrong."""
    quiet = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "CI": "1"}  # CI: the same examples each time
    quiet.pop("PYTHONPATH", None)

    def run(*words: str, cwd: Path = place) -> str:
        done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=quiet, timeout=1800)
        said = done.stdout + done.stderr
        if done.returncode:
            raise RuntimeError(said.strip()[-3000:] or f"exit {done.returncode}")
        return said

    own = str(place / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    try:
        run(row.python, "-m", "venv", "--without-pip", str(place / "venv"))
        run(sys.executable, "-m", "pip", "--python", own, "install", "--quiet", *row.wanted)
        for use in row.uses:
            work = place / use
            work.mkdir()
            run(own, "-I", str(ROOT / "scripts" / "install_uses.py"), use, cwd=work)
        said = [run(own, "-I", "-c", _VERSIONS).strip()]
        if row.tests:
            files = [str(ROOT / "tests" / f"test_{name}.py") for name in row.tests]
            options = ("-q", "-p", "no:cacheprovider", "-m", "not slow", "-c", str(ROOT / "pyproject.toml"))
            said.append(run(own, "-m", "pytest", *options, *files).strip().splitlines()[-1].strip("= "))
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        if "No matching distribution found for torch" in str(error):
            return "left out: no torch without CUDA is to be had for this Python; see TORCH_ARGS in the Makefile"
        return f"FAILED: {error}"
    return f"ok: {'; '.join(said)}"


_VERSIONS = "from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in ('numpy', 'scipy', 'typer', 'msgspec')))"


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    ask.add_argument(
        "folder", nargs="?", type=Path, default=ROOT / "dist", help="with a wheel and an sdist: make wheel"
    )
    ask.add_argument("--python", action="append", help="a Python to try; all that are found unless given")
    ask.add_argument("--only", action="append", help="rows whose name has this in it")
    asked = ask.parse_args()
    try:
        (wheel,), (sdist,) = asked.folder.glob("*.whl"), asked.folder.glob("*.tar.gz")
    except ValueError:
        ask.error(f"{asked.folder} must hold one wheel and one sdist; run make wheel first")
    failed = 0
    for python in asked.python or pythons():
        ask_version = [python, "-c", "import platform; print(platform.python_version())"]
        version = subprocess.run(ask_version, capture_output=True, text=True, check=True).stdout.strip()
        for row in rows(shutil.which(python) or python, version, wheel.resolve(), sdist.resolve()):
            if asked.only and not any(each in row.what for each in asked.only):
                continue
            begun = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="dwindle-install-") as place:
                result = tried(row, Path(place))
            failed += result.startswith("FAILED")
            print(f"{row.what:18} {version:8} {time.monotonic() - begun:4.0f} s  {result}", flush=True)
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
