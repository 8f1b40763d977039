"""Where a benchmark ran, and the options, the head line and the file that all of them share."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("dwindle", "torch", "numba", "numpy")


def command(doc: str) -> argparse.ArgumentParser:
    """Return a parser that explains itself by ``doc`` and takes the options of every benchmark."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run of seconds; its figures say nothing")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write every figure, unrounded, to FILE")
    return parser


def writable(text: str) -> Path:
    """Return the path of a file that can be written when the figures are there, minutes later."""
    file = Path(text)
    if file.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder, not a file; name a file in it.")
    if not file.parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder {file.parent} does not exist; make it first.")
    return file


def begin() -> dict[str, Any]:
    """Print and return the surroundings; call it when the threads are set, and before the work adds to the load."""
    around = surroundings()
    load = " ".join(f"{value:.2f}" for value in around["load_average"]) or "unknown"
    packages = ", ".join(f"{name} {number}" for name, number in around["versions"].items())
    print(f"{around['cpu']}, cores: {around['cores']}, torch threads: {around['torch_threads']}, ", end="")
    print(f"load average: {load}; {packages}\n", flush=True)
    return around


def surroundings() -> dict[str, Any]:
    return {
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else [],
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **versions()},
    }


def cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def save(file: Path | None, around: dict[str, Any], **found: Any) -> None:
    """Write what was found beside its surroundings; a figure that is not a finite number is an error."""
    if file is not None:
        text = json.dumps({"surroundings": around, **found}, indent=1, ensure_ascii=False, allow_nan=False)
        file.write_text(text + "\n", encoding="utf-8")
