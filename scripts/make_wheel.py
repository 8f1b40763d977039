"""Build the wheel and the sdist twice, in two folders, and compare every byte: python scripts/make_wheel.py [FOLDER]

The second build differs in all that must not matter: its folder, file modes and times, time zone, locale and hash seed. The
time in the archives is that of the last commit (SOURCE_DATE_EPOCH). What git would commit is what is built.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OTHER = {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7"}


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def copied(folder: Path) -> Path:
    """Copy what git has, or would add, as it lies here; return the folder."""
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def unlike(folder: Path) -> Path:
    """Give every file another time, and rights to nobody else."""
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(file.stat().st_mode & 0o700)
            os.utime(file, (10**9, 10**9))
    return folder


def build(source: Path, out: Path, **environment: str) -> dict[str, bytes]:
    """Build the sdist, and the wheel from it; return their bytes by name."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or git("log", "-1", "--format=%ct").strip()
    done = subprocess.run(
        command, env={**os.environ, "SOURCE_DATE_EPOCH": epoch, **environment}, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def main(to: Path) -> int:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory(prefix="another place ") as two:
        first = build(copied(Path(one) / "source"), Path(one) / "out")
        second = build(unlike(copied(Path(two) / "a" / "b")), Path(two) / "out", **OTHER)
    if first != second:
        print("the two builds differ:", *(name for name in first | second if first.get(name) != second.get(name)))
        return 1
    to.mkdir(parents=True, exist_ok=True)
    for old in (*to.glob("dwindle-*.whl"), *to.glob("dwindle-*.tar.gz")):
        old.unlink()
    for name, data in first.items():
        (to / name).write_bytes(data)
        print(f"{hashlib.sha256(data).hexdigest()}  {name}  {len(data):,} bytes")
    print("built twice, the same bytes")
    if changed := git("status", "--porcelain").splitlines():
        print(f"of the tree as it lies here: {len(changed)} paths differ from the last commit")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "dist"))
