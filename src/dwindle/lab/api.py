"""The lab's questions and answers: JSON in, JSON out, and for whatever cannot be answered one line that says why."""

from __future__ import annotations

import json
import math
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from dwindle.errors import DwindleError, InvalidValueError, known_keys, shown
from dwindle.plain import plain

__all__ = ["CALLS", "Given", "answer", "plain"]

_SMALL = 65_536
_MOST_VALUES = 1000  # in a body that is not small: all of it is one file
_LONGEST_LINE = 500
_LONGEST_NUMBER = 400  # digits


@dataclass(frozen=True, slots=True)
class Given:
    """What the command line gave the lab to show: the folders of studies, and a log."""

    studies: tuple[str, ...] = ()
    log: str | None = None

    def to_json(self) -> str:
        return json.dumps({"studies": self.studies, "log": self.log})

    @classmethod
    def from_json(cls, text: str) -> Given:
        """Return what `to_json` wrote.

        >>> Given.from_json(Given(("runs/fashion",)).to_json())
        Given(studies=('runs/fashion',), log=None)
        """
        read = json.loads(text)
        return cls(tuple(read["studies"]), read["log"])


def answer(call: str, body: bytes, given: Given) -> tuple[int, bytes]:
    """Return the status and the JSON that answers the question ``body`` of the kind ``call``: plan, log or study.

    400 is a body that is not the JSON asked for, 422 one whose values cannot work, 500 a fault of ours; never a traceback.

    >>> answer("plan", b'{"plan": "peak 0.1", "steps": -5}', Given())
    (422, b'{"error": "steps must be positive; got -5."}')
    """
    try:
        asked = _object(body)
    except (ValueError, RecursionError, MemoryError) as error:
        return _refused(400, f"this is not the JSON that was expected: {_reason(error)}")
    try:
        return 200, json.dumps(plain(CALLS[call](asked, given)), allow_nan=False).encode()
    except DwindleError as error:
        return _refused(422, str(error))
    except (MemoryError, RecursionError):
        return _refused(422, "this needs more memory than the lab gives; ask for less.")
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return _refused(500, f"dwindle failed at this, with {type(error).__name__}; please report it.")


def fields(asked: dict[str, Any], kinds: dict[str, tuple[type, ...]], optional: Sequence[str] = ()) -> list[Any]:
    """Return the values of the keys of ``kinds``, each of one of its types; True is no number.

    >>> fields({"steps": 10}, {"steps": (int,), "name": (str,)}, ["name"])
    [10, None]
    """
    known_keys("question", asked, kinds)
    found = []
    for key, types in kinds.items():
        value = asked.get(key)
        if key not in asked and key not in optional:
            raise InvalidValueError(f"the question lacks {key!r}.")
        if key in asked and type(value) not in types:
            named = " or ".join(_NAMES[kind] for kind in types)
            raise InvalidValueError(f"{key} must be {named}; got {shown(value)}.")
        found.append(value)
    return found


_NAMES: dict[type, str] = {str: "text", int: "a whole number", type(None): "null"}


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > _SMALL and sum(body.count(sign) for sign in (b"[", b"{", b",")) > _MOST_VALUES:
        raise ValueError("so many values are not expected.")
    found = json.loads(
        body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole, parse_float=_real
    )
    if not isinstance(found, dict):
        raise ValueError("an object in braces.")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice.")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON.")


def _whole(text: str) -> int:
    if len(text) > _LONGEST_NUMBER:
        raise ValueError("a number is too long.")
    return int(text)


def _real(text: str) -> float:
    value = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    if not math.isfinite(value):
        raise ValueError("a number is too large.")
    return value


def _reason(error: BaseException) -> str:
    if isinstance(error, RecursionError | MemoryError):
        return "it nests too deep."
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8."
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at character {error.pos + 1}."
    return str(error)


def _refused(status: int, why: str) -> tuple[int, bytes]:
    line = " ".join(why.split())
    cut = line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
    return status, json.dumps({"error": cut}).encode()


def _plan(asked: dict[str, Any], _: Given) -> dict[str, Any]:
    from dwindle.lab.plans import planned

    optional = ("steps_per_epoch", "batch_size", "tokens_per_step")
    kinds = {"plan": (str,), "steps": (int,), **dict.fromkeys(optional, (int, type(None)))}
    return planned(*fields(asked, kinds, optional))


def _log(asked: dict[str, Any], given: Given) -> dict[str, Any]:
    from dwindle.lab.logged import log_given, log_sent

    if not asked:
        return log_given(given.log)
    name, data = fields(asked, {"name": (str,), "data": (str,)})
    asked.clear()  # a long text, of which one copy is enough
    return log_sent(name, data)


def _study(asked: dict[str, Any], given: Given) -> dict[str, Any]:
    from dwindle.lab.studied import studied

    if asked:
        raise InvalidValueError("the question about studies has no keys; ask it with {}.")
    return {"studies": [studied(folder) for folder in given.studies]}


CALLS: dict[str, Callable[[dict[str, Any], Given], dict[str, Any]]] = {"plan": _plan, "log": _log, "study": _study}
