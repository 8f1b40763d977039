"""From what a study hands in to Evidence: the format is checked, and its text is made harmless, once."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dwindle.errors import InvalidValueError, shown, suggestion
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
    Finding,
    Remedy,
    Setting,
    Trial,
    Tried,
    Winner,
)

__all__ = ["inert", "read"]

DEEPEST = 12  # levels of nesting; the format itself needs six
LONGEST = 100_000  # letters of one text; more is no name, plan or program


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
            plain["findings"] = [_finding(each) for each in plain["findings"]]
        return msgspec.convert(plain, Evidence)
    except msgspec.ValidationError as error:
        raise InvalidValueError(f"the evidence breaks {FORMAT}: {error}{_nearest(str(error))}") from None


def inert(text: str) -> str:
    r"""Return ``text`` with every control, direction and other invisible character made visible as U+FFFD.

    Newlines, tabs and the joiners that scripts and emoji need stay. A run named with such characters could reorder the
    line it stands in, or move the cursor of a terminal.

    >>> inert("run\x1b[31m \u202egnp.exe")
    'run�[31m �gnp.exe'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join("\ufffd" if _hidden(letter) else letter for letter in text)


def _hidden(letter: str) -> bool:
    unseen = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return unseen and letter not in "\n\t\u200c\u200d"


def _finding(given: Any) -> Any:
    """Return a finding in today's form; older evidence has a sentence, or a mapping of texts."""
    if isinstance(given, str):
        return {"verdict": given}
    if not isinstance(given, dict) or "severity" in given:
        return given
    made = {"verdict": given.get("code", "")} | given
    if isinstance(made.get("evidence"), str):
        made["evidence"] = {"evidence": made["evidence"]}
    if isinstance(made.get("remedy"), str):
        made["remedy"] = {"says": made["remedy"]}
    return made


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
        Finding, Remedy,
    )  # fmt: skip
    names = {name for part in parts for name in part.__struct_fields__}
    return f"; {suggestion(unknown[1], names)}" if unknown else "."
