"""What a file is — a plan, a recipe, a configuration or a log — by its ending and, for text and JSON, how it begins."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from dwindle.errors import DwindleError, ParseError
from dwindle.logs.names import EPOCH, LR, ROLE_NAMES, STEP, matches
from dwindle.separated import as_number, delimiter

__all__ = ["kind_of", "text_of"]

_LARGEST = 1_000_000
_HEAD = 2**16  # bytes of a text that are looked at
_DEEPEST = 3  # levels of a JSON at which the curves of a log are looked for
_FEWEST = 5  # numbers that are a curve beside a rate by their count alone; fewer may be weights of losses, say
_CURVES = ("training loss", "validation loss", "training accuracy", "validation accuracy", "gradient norm")


def kind_of(path: Path) -> str:
    """Return "plan" (.toml, or JSON with a peak), "recipe" (.py, .txt), "config" (.yaml, or other JSON) or "log".

    A .txt that begins with a JSON object or the header of a table is a log, and so is JSON with curves in it.

    >>> kind_of(Path("hparams.yaml")), kind_of(Path("train.py")), kind_of(Path("metrics.csv"))
    ('config', 'recipe', 'log')
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        return _kind_of_json(path)
    if suffix == ".txt":
        return _kind_of_text(path)
    return {".toml": "plan", ".py": "recipe", ".yaml": "config", ".yml": "config"}.get(suffix, "log")


def _kind_of_json(path: Path) -> str:
    try:
        value = json.loads(text_of(path))
    except (ValueError, RecursionError, DwindleError):
        return "log"  # lines of JSON, or a large trainer_state
    if not isinstance(value, dict) or "log_history" in value:
        return "log"
    if "peak" in value and ("format" in value or "schedule" in value):
        return "plan"
    if any(_is_number(each) for name, each in value.items() if matches([name], LR)):  # a curve's rate is a list
        return "log" if _has_curve(_without_short_lists(value)) else "config"
    numbers = [
        v for v in value.values() if isinstance(v, list) and len(v) > 1 and all(isinstance(x, int | float) for x in v)
    ]
    return "log" if len(numbers) >= 2 or _has_curve(value) else "config"


def _without_short_lists(value: dict[str, Any]) -> dict[str, Any]:
    """Return ``value`` without short lists of finite numbers, but those that are as long as another column of a log."""
    columns = [
        len(v) for k, v in value.items() if isinstance(v, list) and (_is_curve(k) or matches([k], (*STEP, *EPOCH)))
    ]
    return {
        k: v for k, v in value.items()
        if not isinstance(v, list) or len(v) >= _FEWEST or columns.count(len(v)) > 1 or any(map(_is_past_numbers, v))
    }  # fmt: skip


def _has_curve(value: dict[str, Any], depth: int = 1) -> bool:
    """Say whether a loss, an accuracy or a norm of the gradient is a list of numbers, a column by index, or in a list of rows."""
    for key, each in value.items():
        if isinstance(each, dict):
            found = _is_curve(key) and any(map(str.isdigit, each)) and any(map(_is_number, each.values()))
            found = found or (depth < _DEEPEST and _has_curve(each, depth + 1))
        elif isinstance(each, list):
            rows = [cell for row in each if isinstance(row, dict) for cell in row.items()]
            found = _is_curve(key) and any(map(_is_number, each))
            found = found or any(_is_number(cell) and _is_curve(name) for name, cell in rows)
        else:
            found = False
        if found:
            return True
    return False


def _is_curve(name: str) -> bool:
    return any(matches([name], ROLE_NAMES[role]) for role in _CURVES)


def _is_number(value: object) -> bool:
    return (isinstance(value, int | float) and not isinstance(value, bool)) or (
        isinstance(value, str) and as_number(value) is not None
    )


def _is_past_numbers(value: Any) -> bool:
    """Say whether a value is a number that is not finite."""
    number: Any = as_number(value) if isinstance(value, str) else value
    return _is_number(value) and not abs(number) <= sys.float_info.max


def _kind_of_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            text = file.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return "recipe"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    try:
        return "log" if isinstance(json.loads(line), dict) else "recipe"
    except (ValueError, RecursionError):
        cells = [cell.strip(' "#') for cell in line.split(delimiter(line))]
        names = len(cells) > 1 and not any(letter in line for letter in "(=:")
        return (
            "log"
            if names and matches(cells, (*STEP, *EPOCH, *LR, *(n for r in _CURVES for n in ROLE_NAMES[r])))
            else "recipe"
        )


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
