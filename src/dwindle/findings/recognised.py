"""What a file is — a plan, a recipe, a configuration or a log — by its ending and, for JSON, its keys."""

from __future__ import annotations

import json
from pathlib import Path

from dwindle.errors import DwindleError, ParseError

__all__ = ["kind_of", "text_of"]

_LARGEST = 1_000_000


def kind_of(path: Path) -> str:
    """Return "plan" (.toml, or JSON with a peak), "recipe" (.py, .txt), "config" (.yaml, or other JSON) or "log".

    >>> kind_of(Path("hparams.yaml")), kind_of(Path("train.py")), kind_of(Path("metrics.csv"))
    ('config', 'recipe', 'log')
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _kind_of_json(path)
    return {".toml": "plan", ".py": "recipe", ".txt": "recipe", ".yaml": "config", ".yml": "config"}.get(suffix, "log")


def _kind_of_json(path: Path) -> str:
    try:
        value = json.loads(text_of(path))
    except (ValueError, RecursionError, DwindleError):
        return "log"  # lines of JSON, or a large trainer_state
    if not isinstance(value, dict) or "log_history" in value:
        return "log"
    if "peak" in value and ("format" in value or "schedule" in value):
        return "plan"
    numbers = [
        v for v in value.values() if isinstance(v, list) and len(v) > 1 and all(isinstance(x, int | float) for x in v)
    ]
    return "log" if len(numbers) >= 2 else "config"


def text_of(path: Path) -> str:
    """Return the text of a file of at most 1 MB; raise ParseError for one that is larger, unreadable or no UTF-8."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ParseError(f"{path}: at most {_LARGEST} bytes are read of such a file. Is this the right one?")
        return raw.decode("utf-8-sig")
    except OSError as error:
        raise ParseError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"{path}: not a text file in UTF-8.") from error
