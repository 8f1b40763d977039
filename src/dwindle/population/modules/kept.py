"""What a module or a loss keeps between calls: given back after a trace, and refused where the loss follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn

from dwindle.errors import InvalidValueError
from dwindle.population.modules.graph import DRAWS

__all__ = ["explained_as_kept", "given_back", "refuse_another"]

_CALLS = [10**power for power in range(1, 7)]


@contextmanager
def given_back(*things: Any) -> Iterator[None]:
    """Give modules and functions the attributes that they had: what is computed under a transform is of no use after it."""
    before = [(held, dict(held)) for held in _attributes(*things)]
    try:
        yield
    finally:
        for held, kept in before:
            for name in held.keys() - kept.keys():
                del held[name]
            held.update(kept)


def refuse_another(first: torch.Tensor, again: Callable[[], torch.Tensor], *things: Any) -> None:
    """Refuse a loss that is another at a later call than the ``first``: a trace would keep what it was made of that time.

    Later is the second call. Numbers that these ``things``, modules and functions, keep as attributes and that changed from the
    first to the second go on by ten to a million times as much: a term that begins with a count of calls is seen by that. A
    generator of the user's own, and a count that is kept elsewhere, are seen by the second call alone.
    What rounding does on some devices is no difference.
    """
    before = [(held, dict(held)) for held in _attributes(*things)]
    _same(first, again())
    counts = [
        (held, name, held[name], held[name] - kept[name])
        for held, kept in before
        for name in held.keys() & kept.keys()
        if _is_number(held[name]) and _is_number(kept[name]) and held[name] != kept[name]
    ]
    for calls in _CALLS if counts else ():
        for held, name, number, step in counts:
            held[name] = number + step * calls
        try:
            _same(first, again())
        finally:
            for held, name, number, _ in counts:
                held[name] = number


def explained_as_kept(error: RuntimeError) -> Exception:
    """Return ``error`` in words where torch says that a tensor has outlived the transform that made it, else itself."""
    if "functorch" not in str(error):
        return error
    return InvalidValueError(
        "the module or the loss keeps a tensor from one call for the next, in a list or elsewhere than in an attribute; what "
        "was kept while many members were computed is of no use to the next call. Keep it in an attribute, or keep nothing."
    )


def _same(first: torch.Tensor, other: torch.Tensor) -> None:
    if not torch.allclose(first, other, rtol=1e-5, equal_nan=True):
        raise InvalidValueError(
            f"the loss of the same examples was {float(first):.9g}, then {float(other):.9g}: {DRAWS}, or counts its calls, "
            "and members trained together would keep the first. Draw by nn.Dropout only, which follows the member's seed, and "
            "keep nothing between calls."
        )


def _attributes(*things: Any) -> list[dict[str, Any]]:
    """Return the attributes of modules, of all their parts, and of functions and objects that are called."""
    found = []
    for thing in things:
        while isinstance(thing, partial | MethodType):
            thing = thing.func if isinstance(thing, partial) else thing.__self__
        parts = thing.modules() if isinstance(thing, nn.Module) else (thing,)
        found += [held for part in parts if isinstance(held := getattr(part, "__dict__", None), dict)]
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
