"""From what a study hands in to Evidence: the format is checked, and its text is made harmless, once."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import msgspec

from dwindle.errors import InvalidValueError, shown, suggestion
from dwindle.finding import Finding, Remedy
from dwindle.inert import inert
from dwindle.report.evidence import (
    FORMAT,
    Advice,
    Chosen,
    Comparison,
    Contender,
    ContenderCurves,
    Curve,
    Data,
    Evidence,
    Final,
    Setting,
    Trial,
    Tried,
    Winner,
)

__all__ = ["read"]

DEEPEST = 12  # levels of nesting; the format itself needs six
LONGEST = 100_000  # letters of one text; more is no name, plan or program
_FINDING, _REMEDY = (tuple(field.name for field in fields(part)) for part in (Finding, Remedy))
_UNSAID = {"code": "", "severity": "note", "evidence": {}, "remedy": {}, "source": ""}  # what a finding may leave out


def read(evidence: Mapping[str, Any]) -> Evidence:
    """Return ``evidence`` as frozen values, its text made inert (see ``inert``) and NaN or infinity read as missing.

    Raises InvalidValueError naming the place, such as ``$.settings[0].trials[3].lam``, if it breaks the format.

    >>> read({"format": "dwindle-evidence/2"})
    Traceback (most recent call last):
    ...
    dwindle.errors.InvalidValueError: the evidence has format 'dwindle-evidence/2'; this dwindle draws \
'dwindle-evidence/1'. Install the dwindle that wrote it.
    """
    if not isinstance(evidence, Mapping):
        raise InvalidValueError(f"the evidence must be a mapping; got {shown(evidence)}.")
    if "format" not in evidence:
        raise InvalidValueError(
            f"the evidence has no format; this dwindle draws {FORMAT!r}. Hand in a study's evidence."
        )
    if evidence["format"] != FORMAT:
        raise InvalidValueError(
            f"the evidence has format {shown(evidence['format'])}; this dwindle draws {FORMAT!r}. "
            "Install the dwindle that wrote it."
        )
    try:
        plain = _plain(evidence, DEEPEST)
        if isinstance(plain.get("findings"), list):
            plain["findings"] = [_finding(each, f"$.findings[{i}]") for i, each in enumerate(plain["findings"])]
        return msgspec.convert(plain, Evidence)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"the evidence breaks {FORMAT}: {error}{_nearest(str(error))}") from None


def _finding(given: Any, place: str) -> Any:
    """Return a finding in today's form, which says everything; older evidence has a sentence, or a mapping of texts."""
    if isinstance(given, str):
        given = {"verdict": given}
    if not isinstance(given, dict):
        return given
    made = _UNSAID | given
    if "severity" not in given:
        made = {"verdict": made["code"]} | made
        if isinstance(made["evidence"], str):
            made["evidence"] = {"evidence": made["evidence"]}
        if isinstance(made["remedy"], str):
            made["remedy"] = {"says": made["remedy"]}
    if isinstance(made["remedy"], dict):
        made["remedy"] = {"says": ""} | made["remedy"]
        _refuse_unknown(made["remedy"], _REMEDY, f"{place}.remedy")
    _refuse_unknown(made, _FINDING, place)
    return made


def _refuse_unknown(given: dict[str, Any], names: tuple[str, ...], place: str) -> None:
    """Refuse a mistyped key of a dataclass as msgspec does one of a Struct."""
    for key in given:
        if key not in names:
            raise msgspec.ValidationError(f"Object contains unknown field `{key}` - at `{place}`")


def _plain(value: Any, depth: int) -> Any:
    if depth < 0:
        raise InvalidValueError(f"the evidence is nested deeper than {DEEPEST} levels; the format needs six.")
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise InvalidValueError(
                f"a text of the evidence has {len(value):,} letters; at most {LONGEST:,} make sense."
            )
        return inert(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(key, depth - 1): _plain(item, depth - 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [_plain(item, depth - 1) for item in value]
    return value


def _nearest(message: str) -> str:
    unknown = re.search(r"unknown field `([^`]*)`", message)
    parts = (
        Evidence, Data, Setting, Trial, Final, Curve, Winner, Contender, ContenderCurves, Comparison, Chosen, Advice, Tried,
    )  # fmt: skip
    names = {*_FINDING, *_REMEDY, *(name for part in parts for name in part.__struct_fields__)}
    return f"; {suggestion(unknown[1], names)}" if unknown else "."
