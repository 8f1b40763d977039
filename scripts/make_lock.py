"""Write requirements-dev.lock: everything that developing and releasing dwindle installs, by version and sha256.

torch on Linux is the build without CUDA, from where uv is told to look: UV_FIND_LINKS or PIP_FIND_LINKS, a folder with its
wheels; else its own index, https://download.pytorch.org/whl/cpu.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements-dev.lock"
HEAD = """\
# What developing and releasing dwindle installs, by version and sha256. Written by `make lock`; do not edit.
# From pyproject.toml ([dev] and [docs]) and constraints.txt, for Python 3.11 and newer on Linux, macOS and Windows: the hashes
# are those of every file that PyPI has of each version, for whatever system.
# Not in it: timm and mosaicml, which `make test` installs without what they need, because tests read their source.
# torch on Linux is the build without CUDA, which is not on PyPI.
# {torch}
#
#     pip install --require-hashes -r requirements-dev.lock {links}
#     pip install --no-deps --no-build-isolation -e .
"""


def main() -> int:
    pins = (ROOT / "constraints.txt").read_text().split()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    wheels = os.environ.get("UV_FIND_LINKS") or os.environ.get("PIP_FIND_LINKS")
    where = ["--find-links", wheels] if wheels else ["--torch-backend", "cpu"]
    found = sorted(file.name for file in Path(wheels).glob("torch-*+cpu-*.whl")) if wheels else []
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "torch.in"
        asked.write_text(f"{torch}+cpu ; sys_platform == 'linux'\n{torch} ; sys_platform != 'linux'\n")
        command = [
            sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
            "--generate-hashes", "--no-header", "--no-annotate", "--extra", "dev", "--extra", "docs", "-c", "constraints.txt",
            *where, "pyproject.toml", str(asked),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    said = f"Its hash here is of {', '.join(found)} alone." if found else "Its hashes are those of its own index."
    head = HEAD.format(torch=said, links="--extra-index-url https://download.pytorch.org/whl/cpu")
    LOCK.write_text(head + done.stdout)
    print(f"{LOCK.name}: {sum('==' in line for line in done.stdout.splitlines())} requirements")
    return 0


if __name__ == "__main__":
    sys.exit(main())
