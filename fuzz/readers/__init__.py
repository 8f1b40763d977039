"""Everything of dwindle's that takes text or files from outside, by name."""

from __future__ import annotations

from importlib import import_module

from fuzz.reader import Reader

__all__ = ["MODULES", "named", "readers"]

MODULES = {
    "logs": ("log-csv", "log-jsonl", "log-json", "log-events", "log-gzip", "log-findings"),
    "plans": ("plan-text", "plan-toml", "plan-json", "plan-txt", "formula", "mask"),
    "recipes": ("recipe-source", "recipe-params", "optimizer-params"),
    "configs": ("config-yaml", "config-json", "config-toml", "config-program"),
    "datasets": ("data-idx", "data-npz", "data-csv", "data-parquet"),
    "studies": ("space-text", "space-toml", "trials"),
    "states": ("training-json", "checkpoint", "torch-state"),
    "lab": ("lab-plan", "lab-log", "lab-study"),
}
"""The readers of each module; one that is not fuzzed is not imported, for it may need a framework."""


def named(name: str) -> Reader:
    """Return the reader ``name``."""
    module = next(module for module, names in MODULES.items() if name in names)
    return next(reader for reader in import_module(f"fuzz.readers.{module}").READERS if reader.name == name)


def readers() -> list[str]:
    """Return the names of all readers."""
    return [name for names in MODULES.values() for name in names]
