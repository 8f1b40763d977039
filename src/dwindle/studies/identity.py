"""What of a user's own code and modules decides a result, as plain data that is the same in every process."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np

__all__ = ["name_of", "of_function", "of_module"]

_LIBRARIES = (
    "torch",
    "builtins",
    "typing",
    "abc",
    "functools",
    "numpy",
    "collections",
)  # told by name: versions say the rest


def name_of(function: Any) -> str:
    """Return what a person calls ``function``: its name, or that of its class.

    >>> name_of(functools.partial(max, 0)), name_of(lambda x: x)
    ('max', 'lambda')
    """
    if isinstance(function, functools.partial):
        return name_of(function.func)
    return str(getattr(function, "__name__", type(function).__name__)).strip("<>")


def of_module(module: Any, inside: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return what a torch module says of itself: text, every tensor's bytes, attributes, the source of its classes."""
    inside = (*inside, module)
    parts = dict(module.named_modules())
    classes = {cls for part in parts.values() for cls in type(part).__mro__ if not _of_library(cls)}
    digest = hashlib.sha256()
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.requires_grad};".encode())
        digest.update(_bytes(tensor))
    return {
        "text": repr(module),
        "tensors": digest.hexdigest(),
        "attributes": {name: _attributes(part, inside) for name, part in parts.items()},
        "classes": {cls.__qualname__: _source(cls) for cls in sorted(classes, key=lambda cls: cls.__qualname__)},
    }


def of_function(function: Any, inside: tuple[Any, ...] = ()) -> Any:
    """Return the source of a function of the user's, its defaults and what it closed over; a library's is told by its name.

    What is inside of partials, closures and callable objects is followed, each once. A global that the code reads is not
    seen, nor is a function that it calls by a global name.

    >>> def scaled(by):
    ...     return lambda x: x * by
    >>> of_function(scaled(2)) == of_function(scaled(2)) != of_function(scaled(3))
    True
    """
    if any(function is seen for seen in inside):
        return name_of(function)
    inside = (*inside, function)
    if isinstance(function, functools.partial):
        return ["partial", *(_plain(value, inside) for value in (function.func, function.args, function.keywords))]
    if hasattr(function, "named_parameters") and not isinstance(function, type):
        return of_module(function, inside)
    if isinstance(function, types.MethodType):
        return [of_function(function.__func__, inside), _plain(function.__self__, inside)]
    if _of_library(function):
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', name_of(function))}"
    if isinstance(function, types.FunctionType):
        held = [_plain(value, inside) for value in (function.__defaults__, function.__kwdefaults__)]
        held += [_plain(_content(cell), inside) for cell in function.__closure__ or ()]
        # One line may hold several lambdas, and the text of a wrapper is that of what it wraps.
        told_by_text = function.__name__ != "<lambda>" and not hasattr(function, "__wrapped__")
        return [function.__qualname__, _source(function) if told_by_text else _code(function.__code__), *held]
    if isinstance(function, type):
        return [function.__qualname__, _source(function)]
    return [of_function(type(function), inside), _plain(_state(function), inside)]


def _state(thing: Any) -> dict[str, Any]:
    """What an object holds, in its dict and in the slots of its classes."""
    slots = [_attribute(cls, name) for cls in type(thing).__mro__ for name in _names(cls.__dict__.get("__slots__", ()))]
    held = {name: getattr(thing, name) for name in slots if name != "__weakref__" and hasattr(thing, name)}
    return {**held, **getattr(thing, "__dict__", {})}


def _names(slots: str | Iterable[str]) -> list[str]:
    return [slots] if isinstance(slots, str) else list(slots)


def _attribute(cls: type, slot: str) -> str:
    """Return the name under which a class keeps a slot: one that is private to it begins with the name of the class."""
    private = slot.startswith("__") and not slot.endswith("__")
    return f"_{cls.__name__.lstrip('_')}{slot}" if private else slot


def _of_library(thing: Any) -> bool:
    modules = [getattr(thing, "__module__", None) or type(thing).__module__]
    if isinstance(thing, types.FunctionType):  # functools.wraps gives a wrapper the module of what it wraps
        modules.append(thing.__globals__.get("__name__"))
    ours = isinstance(thing, types.BuiltinFunctionType)
    return ours or all(str(module).split(".")[0] in _LIBRARIES for module in modules)


def _plain(value: Any, inside: tuple[Any, ...] = ()) -> Any:
    """Return ``value`` as JSON has it: numbers, texts and their containers as they are, arrays by their bytes."""
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, tuple | list):
        return [_plain(each, inside) for each in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(each, inside) for key, each in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(str(_plain(each, inside)) for each in value)
    if isinstance(value, np.ndarray | np.generic) or hasattr(value, "detach"):
        return [str(value.dtype), list(value.shape), hashlib.sha256(_bytes(value)).hexdigest()]
    if callable(value):
        return of_function(value, inside)
    # The text of a dataclass rounds the arrays in it; slots of others may hold what was only worked out on the way.
    if not (hasattr(value, "__dict__") or is_dataclass(value) or " at 0x" in (text := repr(value))):
        return text
    name, state = type(value).__qualname__, _state(value)
    if any(value is seen for seen in inside) or not (state or hasattr(value, "__dict__")):
        return name
    return [name, _plain(state, (*inside, value))]


def _attributes(part: Any, inside: tuple[Any, ...]) -> dict[str, Any]:
    """What the text of a module need not show: numbers, texts and functions that it keeps for its forward."""
    return {
        name: _plain(value, inside)
        for name, value in sorted(vars(part).items())
        if not name.startswith("_") and name != "training"
    }


def _bytes(array: Any) -> bytes:
    if hasattr(array, "detach"):
        flat = array.detach().cpu().contiguous().flatten()
        array = flat.view(flat.new_empty(0).byte().dtype).numpy() if len(flat) else np.empty(0)  # NumPy has no bfloat16
    return np.ascontiguousarray(array).tobytes()


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def _source(thing: Any) -> Any:
    """Return the text of a function or class, or what it was compiled to where there is no text."""
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError):
        if isinstance(thing, type):
            return {
                name: _code(f.__code__) for name, f in sorted(vars(thing).items()) if isinstance(f, types.FunctionType)
            }
        return _code(thing.__code__)


def _code(code: types.CodeType) -> list[Any]:
    held = [_code(value) if isinstance(value, types.CodeType) else _plain(value) for value in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), held]
