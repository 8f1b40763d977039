"""The error tree, and the checks that raise it before any state changes."""

from __future__ import annotations

import difflib
import math
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

__all__ = [
    "DataError",
    "DwindleError",
    "InvalidValueError",
    "MissingExtraError",
    "NoExactMapError",
    "ParseError",
    "ResumeError",
    "UnknownNameError",
    "UnresolvedTimeError",
]

T = TypeVar("T")


class DwindleError(Exception):
    """Root of every error dwindle raises on purpose: what was given, why it cannot work, what to do.

    >>> from dwindle import Plan, constant
    >>> try:
    ...     Plan(-1.0, constant())
    ... except DwindleError as error:
    ...     print(error)
    peak must be zero or more; got -1.0. The learning rate must not be negative.
    """


class InvalidValueError(DwindleError, ValueError):
    """A value outside what its parameter means, such as a negative learning rate."""


class UnknownNameError(DwindleError, ValueError):
    """A name, key or unit that is not known; the message suggests the nearest one."""


class ParseError(DwindleError, ValueError):
    """Text that is not a plan, a schedule or a time; the message points at the place."""


class UnresolvedTimeError(DwindleError, ValueError):
    """A time such as ``2%`` or ``5ep`` met code that counts steps; a Horizon turns it into steps."""


class NoExactMapError(DwindleError, ValueError):
    """Two conventions that no constant carries into each other, such as Adam with l2 and AdamW."""


class ResumeError(DwindleError, ValueError):
    """A saved state that does not belong to this plan, horizon or optimiser."""


class DataError(DwindleError, ValueError):
    """Training data or a log that cannot be used as given."""


class MissingExtraError(DwindleError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingExtraError:
        """Return the error for ``package``, installed by ``dwindle[extra]``."""
        return cls(f"{package} is not installed; this part of dwindle needs it. pip install 'dwindle[{extra}]'")


def real(
    name: str,
    value: Any,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
    below: float = math.inf,
    remedy: str = "",
) -> float:
    """Return ``value`` as a float if it is a finite real number in [low, high] and in (above, below); else raise.

    >>> real("lr", 0.1, low=0.0)
    0.1
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidValueError(_said(f"{name} must be a real number", value, remedy))
    number = _as_float(value)
    if not math.isfinite(number):
        raise InvalidValueError(_said(f"{name} must be finite", value, remedy))
    if number < low:
        raise InvalidValueError(_said(f"{name} must be {_bound('at least', low)}", value, remedy))
    if number > high:
        raise InvalidValueError(_said(f"{name} must be at most {high:g}", value, remedy))
    if number <= above:
        raise InvalidValueError(_said(f"{name} must be {_bound('above', above)}", value, remedy))
    if number >= below:
        raise InvalidValueError(_said(f"{name} must be below {below:g}", value, remedy))
    return number


def count(name: str, value: Any, *, low: int = 1, high: int | None = None, remedy: str = "") -> int:
    """Return ``value`` as an int if it is a whole number in [low, high] (100.0 counts as 100); else raise.

    >>> count("decay_steps", 100.0)
    100
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidValueError(_said(f"{name} must be a whole number", value, remedy))
    number = _as_float(value)
    if not math.isfinite(number) or number != math.floor(number):
        raise InvalidValueError(_said(f"{name} must be a whole number", value, remedy))
    whole: int = int(value)  # type: ignore[call-overload]  # a Real that is whole
    if whole < low:
        wanted = "positive" if low == 1 else f"at least {low}"
        raise InvalidValueError(_said(f"{name} must be {wanted}", value, remedy))
    if high is not None and whole > high:
        raise InvalidValueError(_said(f"{name} must be at most {high}", value, remedy))
    return whole


def all_of(name: str, value: Any, kind: type[T]) -> tuple[T, ...]:
    """Return the members of ``value``, each of which is a ``kind``; else raise.

    >>> all_of("sizes", [784, 10], int)
    (784, 10)
    """
    members = tuple(value) if has_members(value) and not isinstance(value, kind) else (value,)
    for member in members:
        if not isinstance(member, kind) or member is value:
            raise InvalidValueError(_said(f"{name} must be a sequence of {kind.__name__}", member, ""))
    return members


def a_path(name: str, value: Any, what: str = "the path of a file") -> Path:
    """Return ``value`` as a path; raise that it must be ``what`` if it is none, or has what no file's name has, such as a NUL.

    >>> a_path("path", "run.csv").suffix
    '.csv'
    """
    try:
        if isinstance(os.fspath(value), str) and b"\0" not in os.fsencode(value):
            return Path(value)
    except (TypeError, UnicodeEncodeError):
        pass
    raise InvalidValueError(_said(f"{name} must be {what}", value, ""))


def flag(name: str, value: Any) -> bool:
    """Return ``value`` if it is True or False; else raise."""
    if not isinstance(value, bool):
        raise InvalidValueError(_said(f"{name} must be True or False", value, ""))
    return value


def sequence(name: str, values: Any) -> tuple[Any, ...]:
    """Return ``values`` as a tuple; raise if it is text or no sequence at all."""
    if not has_members(values):
        raise InvalidValueError(f"{name} must be a sequence; got {shown(values)}.")
    return tuple(values)


def has_members(value: Any) -> bool:
    """Return whether ``value`` can be gone through and is no text; an array without a dimension only looks as if.

    >>> has_members([1, 2]), has_members("12"), has_members(12)
    (True, False, False)
    """
    try:
        iter(value)
    except TypeError:
        return False
    return not isinstance(value, str | bytes)


def a_kind(name: str, value: Any, kind: type[T], remedy: str = "") -> T:
    """Return ``value`` if it is a ``kind``; else raise."""
    if not isinstance(value, kind):
        raise InvalidValueError(_said(f"{name} must be a {kind.__name__}", value, remedy))
    return value


def characters(name: str, value: str) -> str:
    """Return a text that reads back from a file as it is: without the two halves of one character side by side."""
    if value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass") != value:
        raise InvalidValueError(
            f"{name} {shown(value)} holds the two halves of one character; write the character itself."
        )
    return value


def known(name: str, value: Any, choices: Iterable[str]) -> str:
    """Return ``value`` if it is one of ``choices``; else raise with the nearest one as a suggestion.

    >>> known("shape", "linear", ["linear", "cosine"])
    'linear'
    """
    options = list(choices)
    if isinstance(value, str) and value in options:
        return value
    raise UnknownNameError(f"{name} {shown(value)} is not known; {suggestion(value, options)}")


def known_keys(name: str, given: Iterable[Any], choices: Iterable[str]) -> None:
    """Raise if a key of ``given`` is not one of ``choices``: a mistyped key is never dropped in silence."""
    options = list(choices)
    for key in given:
        known(f"{name} key", key, options)


def suggestion(value: Any, options: Iterable[str]) -> str:
    """Return ``did you mean X?`` for the nearest option, else the list of them all."""
    names = sorted(options)
    near = difflib.get_close_matches(str(value)[:80], names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"it must be one of {', '.join(names)}."


def shown(value: Any) -> str:
    """Return ``repr(value)`` in one line, cut to a length that fits in a message."""
    try:
        text = repr(value)
    except ValueError:  # an int of more digits than Python prints
        text = f"a number of {value.bit_length()} bits"
    if "\n" in text:  # arrays are printed row by row
        text = " ".join(text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _as_float(value: Any) -> float:
    """Return float(value), infinite for a whole number that no float can hold."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _bound(word: str, low: float) -> str:
    return {("at least", 0.0): "zero or more", ("above", 0.0): "positive"}.get((word, low), f"{word} {low:g}")


def _said(rule: str, value: Any, remedy: str) -> str:
    return f"{rule}; got {shown(value)}.{' ' + remedy if remedy else ''}"
