"""The parameters of a foreign recipe: defaults filled in, unknown and missing ones refused, values checked by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dwindle.errors import InvalidValueError, UnknownNameError, count, flag, known, real, shown, suggestion
from dwindle.units import Time, exactly

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """The parameters of ``what`` (such as "torch's StepLR") by the peer's own names; every error names the parameter.

    >>> given = Settings.of("torch's StepLR", {"step_size": 30}, required=("step_size",), defaults={"gamma": 0.1})
    >>> given.count("step_size"), given.real("gamma")
    (30, 0.1)
    """

    what: str
    values: Mapping[str, Any]

    @classmethod
    def of(
        cls, what: str, given: Any, *, required: Iterable[str] = (), defaults: Mapping[str, Any] | None = None
    ) -> Settings:
        """Return ``given`` with ``defaults`` filled in.

        Raises UnknownNameError for a key ``what`` does not have, InvalidValueError for a required one that is missing.
        """
        if not isinstance(given, Mapping):
            raise InvalidValueError(
                f"the parameters of {what} must be a mapping of names to values; got {shown(given)}."
            )
        needed, filled = tuple(required), dict(defaults or {})
        for key in given:
            if key not in needed and key not in filled:
                hint = suggestion(key, [*needed, *filled]) if needed or filled else "it takes none."
                raise UnknownNameError(f"{what} has no parameter {shown(key)}; {hint}")
        missing = [key for key in needed if key not in given]
        if missing:
            raise InvalidValueError(f"{what} needs {' and '.join(missing)}; the peer has no default for it.")
        return cls(what, {**filled, **given})

    def __getitem__(self, key: str) -> Any:
        return self.values[key]

    def real(self, key: str, **bounds: Any) -> float:
        """Return the parameter as a float within ``bounds`` (see errors.real)."""
        return real(self._name(key), self.values[key], **bounds)

    def optional(self, key: str, **bounds: Any) -> float | None:
        """Return the parameter as a float within ``bounds``, or None where it is None."""
        return None if self.values[key] is None else self.real(key, **bounds)

    def count(self, key: str, *, low: int = 1) -> int:
        """Return the parameter as an int of at least ``low``."""
        return count(self._name(key), self.values[key], low=low)

    def steps(self, key: str) -> Time | int:
        """Return the parameter as a positive number of steps that need not be whole."""
        return exactly(self.real(key, above=0.0))

    def flag(self, key: str) -> bool:
        """Return the parameter if it is True or False."""
        return flag(self._name(key), self.values[key])

    def one_of(self, key: str, choices: Iterable[str]) -> str:
        """Return the parameter if it is one of ``choices``."""
        return known(self._name(key), self.values[key], choices)

    def items(self, key: str) -> tuple[Any, ...]:
        """Return the parameter, a list or tuple, as a tuple."""
        value = self.values[key]
        if not isinstance(value, list | tuple):
            raise InvalidValueError(f"{self._name(key)} must be a list; got {shown(value)}.")
        return tuple(value)

    def counts(self, key: str, *, low: int = 0) -> tuple[int, ...]:
        """Return the parameter as whole numbers of at least ``low``."""
        return tuple(count(self._name(key), item, low=low) for item in self.items(key))

    def between(self, key: str, pieces: str, n: int) -> tuple[int, ...]:
        """Return the parameter as the whole steps at which ``n`` of its ``pieces`` follow one another, none before the last."""
        steps = self.counts(key)
        if len(steps) != n - 1:
            raise InvalidValueError(f"{self._name(key)} must be one fewer than the {pieces}; got {len(steps)} for {n}.")
        if any(after < before for before, after in pairwise(steps)):
            raise InvalidValueError(f"{self._name(key)} must increase; got {list(steps)}.")
        return steps

    def only(self, key: str, wanted: Any, why: str) -> None:
        """Raise unless the parameter is ``wanted``, the one value that can be carried over."""
        if self.values[key] != wanted:
            raise InvalidValueError(f"{self._name(key)} must be {wanted!r}; got {shown(self.values[key])}. {why}")

    def _name(self, key: str) -> str:
        return f"{key} of {self.what}"
