"""A plan as TOML and JSON, in the words of the one-line form, and its files."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dwindle.checksum import checksum
from dwindle.durable import write_whole
from dwindle.errors import DataError, DwindleError, InvalidValueError, ParseError, a_path, known_keys, shown
from dwindle.mask import Mask
from dwindle.plan import Group, Plan, as_plan
from dwindle.text.grammar import parse, parse_decay, parse_mask, parse_schedule
from dwindle.text.reader import LONGEST
from dwindle.units import short

__all__ = [
    "FORMAT",
    "from_json",
    "from_line",
    "from_toml",
    "load",
    "plan_of",
    "save",
    "tables_of_toml",
    "to_json",
    "to_toml",
]

FORMAT = "dwindle-plan/1"
_HEAD = re.compile(rf"# {FORMAT} (crc32:[0-9a-f]{{8}})\n")  # of a saved line

T = TypeVar("T")


def to_toml(plan: Plan) -> str:
    """Return the plan as TOML; the inverse of ``from_toml``.

    Raises InvalidValueError where a part has no text, such as a custom function.

    >>> print(to_toml(parse("peak 3e-4 | cosine | decoupled 0.1")), end="")
    format = "dwindle-plan/1"
    peak = 3e-4
    schedule = "cosine to 0%"
    decay = "decoupled 0.1"
    """
    return _short_enough(_as_toml(_written(plan)))


def _as_toml(whole: dict[str, Any]) -> str:
    whole = dict(whole)
    tables = whole.pop("group", [])
    lines = [f"{key} = {_toml(value)}" for key, value in whole.items()]
    for table in tables:
        lines += ["", "[[group]]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Plan:
    r"""Return the plan written by ``to_toml``; unknown keys are refused.

    >>> str(from_toml('format = "dwindle-plan/1"\npeak = 0.1'))
    'peak 0.1 | constant'
    """
    return _read(_structure("TOML", tables_of_toml, text))


def to_json(plan: Plan) -> str:
    """Return the plan as JSON, with the keys of the TOML form; the inverse of ``from_json``.

    >>> print(to_json(parse("peak 0.1")), end="")
    {
      "format": "dwindle-plan/1",
      "peak": 0.1,
      "schedule": "constant"
    }
    """
    return _short_enough(_as_json(_written(plan)))


def _as_json(whole: dict[str, Any]) -> str:
    return json.dumps(whole, indent=2) + "\n"


def from_json(text: str) -> Plan:
    """Return the plan written by ``to_json``; unknown keys and keys given twice are refused.

    >>> str(from_json('{"format": "dwindle-plan/1", "peak": 0.1}'))
    'peak 0.1 | constant'
    """
    return _read(_structure("JSON", lambda s: json.loads(s, object_pairs_hook=_once), text))


def from_line(text: str) -> Plan:
    r"""Return the plan in a line of text, with the line of its checksum before it or without.

    >>> from_line("# dwindle-plan/1 crc32:ab4ec183\npeak 0.1 | constant").peak
    0.1
    """
    head = _HEAD.match(text) if isinstance(text, str) else None
    if head is None:
        return parse(text)
    line = text[head.end() :].strip()
    _agree(head[1], checksum(line))
    return parse(line)


def save(plan: Plan, path: str | os.PathLike[str]) -> Path:
    """Write the plan to ``path``, as TOML, JSON or one line by its suffix .toml, .json or .txt; return the path.

    The file appears whole or not at all: it is written under another name, synced and renamed. Its checksum stands before
    what it is of, so that a part of the file is never read as a shorter plan. Raises ParseError for another suffix,
    DataError if it cannot be written.
    """
    path = a_path("path", path)
    if path.suffix.lower() not in _FORMATS:
        raise ParseError(f"a plan is saved as .toml, .json or .txt; got {path.name!r}.")
    text = _FORMATS[path.suffix.lower()][0](plan)
    try:
        write_whole(path, _short_enough(text).encode())
    except OSError as error:
        raise DataError(f"{path}: the plan cannot be written: {error.strerror}. Is there room, and leave?") from error
    return path


def load(path: str | os.PathLike[str]) -> Plan:
    """Return the plan in a file: TOML or JSON by its suffix, else one line of text.

    A file written by hand has no checksum and needs none. Raises ParseError, UnknownNameError or InvalidValueError, each
    naming the file; ParseError too where a checksum is not that of the content.
    """
    path = a_path("path", path)
    try:
        with open(path, "rb") as file:
            raw = file.read(LONGEST + 1)
        if len(raw) > LONGEST:
            raise ParseError(f"a plan's file has at most {LONGEST} bytes. Is this the right file?")
        return _FORMATS.get(path.suffix.lower(), _FORMATS[".txt"])[1](raw.decode("utf-8-sig"))
    except OSError as error:
        raise ParseError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"{path}: not a text file in UTF-8. A plan is saved by dwindle.text.save.") from error
    except DwindleError as error:
        raise type(error)(f"{path}: {error}") from error


def plan_of(text: str) -> Plan:
    """Return the plan in one line, or in the .toml or .json file of that name: what a command is given.

    >>> plan_of("peak 0.1 | constant").peak
    0.1
    """
    return load(text) if text.lower().endswith((".toml", ".json")) else parse(text)


_FORMATS: dict[str, tuple[Callable[[Plan], str], Callable[[str], Plan]]] = {
    ".toml": (lambda plan: _as_toml(_sealed(_written(plan))), from_toml),
    ".json": (lambda plan: _as_json(_sealed(_written(plan))), from_json),
    ".txt": (lambda plan: f"# {FORMAT} {checksum(str(as_plan(plan)))}\n{plan}\n", from_line),
}


def _sealed(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the words of a file with their checksum, second of all: what is cut off after it is missed."""
    return {"format": whole.pop("format"), "checksum": _sum_of(whole), **whole}


def _sum_of(whole: dict[str, Any]) -> str:
    """Return the checksum of a table in which 1 and 1.0 are one number, as they are in a plan."""
    return checksum(json.loads(json.dumps(whole, default=str), parse_int=float))


def _agree(given: Any, found: str) -> None:
    if given != found:
        raise ParseError(
            f"the content is not that of its checksum {shown(given)}: the file was damaged, or edited. If it was edited, "
            "delete the checksum; else take another copy."
        )


def _written(plan: Plan) -> dict[str, Any]:
    """Return the plan in the words of the file; each part is read back before it is handed out."""
    whole: dict[str, Any] = {"format": FORMAT, "peak": as_plan(plan).peak}
    whole["schedule"] = _said("schedule", plan.schedule, parse_schedule)
    if plan.decay is not None:
        whole["decay"] = _said("decay", plan.decay, parse_decay)
    if plan.mask != Mask():
        whole["mask"] = _said("mask", plan.mask, parse_mask)
    if plan.layer_decay is not None:
        whole["layer_decay"] = plan.layer_decay
    if plan.groups:
        whole["group"] = [{"name": g.name, "match": g.match, "lr_scale": g.lr_scale} for g in plan.groups]
    return whole


def _said(name: str, value: T, read: Callable[[str], T]) -> str:
    try:
        text = str(value)
        if read(text) == value:
            return text
        reason = f"{shown(text)} does not read back as the same value"
    except RecursionError:
        reason = "it nests too deep"
    except DwindleError as error:
        reason = str(error)
    raise InvalidValueError(f"the {name} of this plan cannot be written as text: {reason}")


def _read(whole: Any) -> Plan:
    """Return the plan whose parts are in ``whole``."""
    if not isinstance(whole, dict):
        raise ParseError(f"a plan is a table with format, peak and schedule; got {shown(whole)}.")
    known_keys("plan", whole, ["format", "checksum", "peak", "schedule", "decay", "mask", "layer_decay", "group"])
    if whole.get("format") != FORMAT:
        raise ParseError(f"format must be {FORMAT!r}; got {shown(whole.get('format'))}. Is this file a plan?")
    if "checksum" in whole:
        _agree(whole["checksum"], _sum_of({key: whole[key] for key in whole.keys() - {"format", "checksum"}}))
    if "peak" not in whole:
        raise ParseError("a plan needs its peak learning rate; add for instance peak = 3e-4.")
    readers = {"schedule": parse_schedule, "decay": parse_decay, "mask": parse_mask}
    parts: dict[str, Any] = {key: whole[key] for key in ("peak", "layer_decay") if key in whole}
    for key in whole.keys() & readers.keys():
        try:
            parts[key] = readers[key](whole[key])
        except DwindleError as error:
            raise type(error)(f"{key}: {error}") from error
    return Plan(**parts, groups=tuple(map(_group, _tables(whole.get("group", [])))))


def _tables(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list) and all(isinstance(table, dict) for table in value):
        return value
    raise ParseError(
        f"group must be a list of tables, each [[group]] with name, match and lr_scale; got {shown(value)}."
    )


def _group(table: dict[str, Any]) -> Group:
    known_keys("group", table, ["name", "match", "lr_scale"])
    if not {"name", "match"} <= table.keys():
        raise ParseError(f"a group needs name and match; got {shown(table)}.")
    return Group(**table)


def _structure(kind: str, read: Callable[[str], Any], text: str) -> Any:
    if not isinstance(text, str):
        raise ParseError(f"a plan is read from text; got {shown(text)}.")
    if len(text) > LONGEST:
        raise ParseError(f"a plan has at most {LONGEST} characters; got {len(text)}. Is this the right text?")
    try:
        return read(text)
    except ParseError:
        raise
    except RecursionError as error:
        raise ParseError(f"this {kind} nests too deep for a plan.") from error
    except ValueError as error:
        raise ParseError(f"this is not {kind}: {error}.") from error


def tables_of_toml(text: str) -> dict[str, Any]:
    """Return tomllib's reading; a key of thousands of dots, which costs it their square, is refused before."""
    for line in text.splitlines():
        key = line.partition("=")[0].lstrip()
        if key.count(".") > 50 and not key.startswith("#"):
            raise ParseError(f"{shown(key)} is no key of a plan or a space.")
    return tomllib.loads(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        names = [name for name, _ in pairs]
        raise ParseError(f"{shown(next(n for n in names if names.count(n) > 1))} is given twice; keep one.")
    return table


def _toml(value: str | float) -> str:
    """Return a TOML value; of what a JSON string may hold raw, TOML forbids only DEL."""
    return (
        short(value) if not isinstance(value, str) else json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    )


def _short_enough(text: str) -> str:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidValueError(
            f"a group's name cannot be written as UTF-8: {shown(error.object[error.start])}."
        ) from error
    if size > LONGEST:
        raise InvalidValueError(
            f"this plan takes {size} bytes and a plan's file has at most {LONGEST}; give a long table as a formula."
        )
    return text
