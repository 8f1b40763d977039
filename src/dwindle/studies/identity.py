"""What of a user's own code and modules decides a result, as plain data that is the same in every process."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import inspect
import secrets
import types
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["name_of", "of_function", "of_module"]

# told by name: versions say the rest
_LIBRARIES = ("torch", "builtins", "typing", "abc", "functools", "numpy", "collections")
_NO_SLOTS = ("__weakref__", "__dict__")
_OF_THE_PROCESS = ("RemovableHandle",)  # counted there, or drawn: another each time, and no part of what is computed
_PICKLING = ("__reduce__", "__reduce_ex__", "__getstate__")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


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

    What is inside of partials, closures, bound methods and objects is followed, each once: of an object all its attributes but
    what a cached_property worked out, or what it gives to be pickled where its class says that itself. What cannot be read, such
    as an iterator, is another each time. A global that the code reads is not seen, nor is a function that it calls by a
    global name, nor the code of a class whose object is not called.

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
    owner = getattr(function, "__self__", None)
    if isinstance(function, types.BuiltinFunctionType) and not isinstance(owner, types.ModuleType | type | None):
        return [name_of(function), _plain(owner, inside)]
    if _of_library(function) and hasattr(function, "__qualname__"):
        return f"{getattr(function, '__module__', '')}.{getattr(function, '__qualname__', name_of(function))}"
    if isinstance(function, types.FunctionType):
        held = [_plain(value, inside) for value in (function.__defaults__, function.__kwdefaults__)]
        held += [_plain(_cell(cell), inside) for cell in function.__closure__ or ()]
        # One line may hold several lambdas, and the text of a wrapper is that of what it wraps.
        told_by_text = function.__name__ != "<lambda>" and not hasattr(function, "__wrapped__")
        return [function.__qualname__, _source(function) if told_by_text else _code(function.__code__), *held]
    if isinstance(function, type):
        return [function.__qualname__, _source(function)]
    return [of_function(type(function), inside), _account(function, inside)]


def _state(thing: Any) -> dict[str, Any]:
    """What an object holds, in its dict and in the slots of its classes, but what follows from the rest of it."""
    slots = [_attribute(cls, name) for cls in type(thing).__mro__ for name in _names(cls.__dict__.get("__slots__", ()))]
    held = {name: getattr(thing, name) for name in slots if name not in _NO_SLOTS and hasattr(thing, name)}
    held |= getattr(thing, "__dict__", {})
    return {name: value for name, value in held.items() if not _worked_out(type(thing), name)}


def _worked_out(cls: type, name: str) -> bool:
    return isinstance(inspect.getattr_static(cls, name, None), functools.cached_property)


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
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.generic) or type(value) is np.ndarray or _is_tensor(value):
        if getattr(value.dtype, "hasobject", False):  # its bytes are addresses
            return [str(value.dtype), list(value.shape), _plain(value.tolist(), inside)]
        return [str(value.dtype), list(value.shape), hashlib.sha256(_bytes(value)).hexdigest()]
    if callable(value):
        return of_function(value, inside)
    if any(value is seen for seen in inside):
        return type(value).__qualname__
    return _account(value, (*inside, value))


def _account(value: Any, inside: tuple[Any, ...]) -> Any:
    """Return what is in an object; ``inside`` are those that it is in, and itself."""
    name = type(value).__qualname__
    if isinstance(value, tuple | list | Mapping | set | frozenset):
        state = _state(value)  # of a class of one's own
        return [name, _content(value, inside), _plain(state, inside)] if state else _content(value, inside)
    if isinstance(value, types.ModuleType):
        return [value.__name__, None if value.__name__.split(".")[0] in _LIBRARIES else _source(value)]
    if name in _OF_THE_PROCESS or value is np.random.mtrand._rand:
        return name
    pickled = _pickled(value)
    if isinstance(pickled, tuple):
        maker, given, *rest = pickled
        told = [each.__qualname__ if isinstance(each, type) else _plain(each, inside) for each in given or ()]
        return [name, name_of(maker), told, *(_plain(_listed(each), inside) for each in rest)]
    state = _state(value)
    if pickled is not None:  # its name, which need not tell what it holds, as a cached function's does not
        return [name, pickled, _plain(state, inside)]
    if hasattr(value, "__array__"):
        return [name, _plain(np.asarray(value), inside), _plain(state, inside)]
    if state or hasattr(value, "__dict__") or hasattr(type(value), "__slots__"):
        return [name, _plain(state, inside)] if state else name
    if isinstance(value, Collection):  # a view of a dict
        return [name, _plain(list(value), inside)]
    if hasattr(value, "__next__") or hasattr(value, "__getitem__"):  # what it would give cannot be known
        return [name, secrets.token_hex(16)]
    text = repr(value)
    return name if " at 0x" in text else text


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "layout") and not isinstance(value, type)


def _content(value: Any, inside: tuple[Any, ...]) -> Any:
    """Return what a container holds."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each, inside) for key, each in value.items()}
    told = [_plain(each, inside) for each in value]
    return sorted(map(str, told)) if isinstance(value, set | frozenset) else told


def _pickled(value: Any) -> Any:
    """Return what an object gives to be pickled, if its class says so itself and it can be; else None.

    It is all that makes the object again: also what no attribute shows, and nothing that was only worked out on the way.
    """
    cls = type(value)
    reduce = copyreg.dispatch_table.get(cls)
    own = any(getattr(cls, name, None) is not getattr(object, name, None) for name in _PICKLING)
    try:
        if reduce is not None:
            return reduce(value)
        return value.__reduce_ex__(4) if own else None  # the last in which a buffer gives its bytes
    except Exception:  # a class may refuse in any way
        return None


def _listed(given: Any) -> Any:
    """Return an iterator's rest, as a list: the objects of a container that pickling gives one by one."""
    return list(given) if hasattr(given, "__next__") else given


def _attributes(part: Any, inside: tuple[Any, ...]) -> dict[str, Any]:
    """What the text of a module need not show: numbers, texts and functions that it keeps for its forward, and hooks."""
    torchs = next((cls for cls in type(part).__mro__ if cls.__module__ == "torch.nn.modules.module"), None)
    private = set(vars(part)) if torchs is None or _of_library(type(part)) else set(vars(torchs()))
    told = {
        name: _plain(value, inside)
        for name, value in sorted(vars(part).items())
        if name != "training" and not (name.startswith("_") and name in private)
    }
    # which torch keeps by numbers that count up
    hooks = {name: [*hooks.values()] for name in _HOOKS if (hooks := getattr(part, name, None))}
    return {**told, **{name: _plain(held, inside) for name, held in hooks.items()}}


def _bytes(array: Any) -> bytes:
    if not _is_tensor(array):
        return np.ascontiguousarray(array).tobytes()
    try:
        return _bytes_of_tensor(array)
    except RuntimeError as error:
        from dwindle.population.modules.kept import explained_as_kept

        raise explained_as_kept(error) from None


def _bytes_of_tensor(tensor: Any) -> bytes:
    if "sparse" in str(tensor.layout):
        entries = tensor.detach().cpu().to_sparse_coo().coalesce()
        return _bytes(entries.indices()) + _bytes(entries.values())
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().flatten()
    if not len(flat):
        return b""
    flat = flat.new_empty(len(flat)).copy_(flat)  # an expanded one has a stride of 0
    return flat.view(flat.new_empty(0).byte().dtype).numpy().tobytes()  # type: ignore[no-any-return]  # NumPy has no bfloat16


def _cell(cell: Any) -> Any:
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
        return _code(thing.__code__) if hasattr(thing, "__code__") else None


def _code(code: types.CodeType) -> list[Any]:
    held = [_code(value) if isinstance(value, types.CodeType) else _plain(value) for value in code.co_consts]
    return [code.co_code.hex(), list(code.co_names), held]
