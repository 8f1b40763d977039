"""What dwindle promises to keep: every public name with its signature, and the command line, one a line.

python tests/public_api.py > tests/assets/public_api.txt
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ForwardRef, get_type_hints

import typer

import dwindle as dw
from dwindle.cli import app

__all__ = ["lines"]

# beside the modules that `dwindle` itself names; what is in none of these is ours to change
BESIDE = [
    "cluster", "decay", "plan", "population.modules", "setup", "studies", "text", "torch.lightning", "torch.trainer", "units",
]  # fmt: skip
OPERATORS = {
    "__call__", "__add__", "__mul__", "__rmul__", "__sub__", "__neg__", "__len__", "__iter__", "__getitem__", "__contains__",
    "__enter__", "__exit__", "__bool__",
}  # fmt: skip


def lines() -> list[str]:
    """Return the lines: the same on every machine and Python, for nothing in them has an address."""
    modules = ["dwindle", *(f"dwindle.{name}" for name in sorted({*_modules(), *BESIDE}))]
    whole = [importlib.import_module(name) for name in modules]
    public = {id(getattr(module, name)) for module in whole for name in module.__all__}
    first: dict[int, str] = {}
    found = [line for module in whole for line in _of_module(module, first, public)]
    return [*sorted(found), *sorted(_commands())]


def _modules() -> list[str]:
    return [*(name for name in dw.__all__ if isinstance(getattr(dw, name), types.ModuleType)), *dw._ADAPTERS]


def _of_module(module: types.ModuleType, first: dict[int, str], public: set[int]) -> Iterator[str]:
    for name in module.__all__:
        value, full = getattr(module, name), f"{module.__name__}.{name}"
        if isinstance(value, types.ModuleType):
            yield f"{full}: module"
        elif not callable(value):
            yield f"{full} = {_said(value)}"
        elif first.setdefault(id(value), full) != full:
            yield f"{full} is {first[id(value)]}"
        elif inspect.isclass(value):
            yield from _of_class(full, value, public)
        else:
            yield f"{full}{_signature(value)}"


def _of_class(full: str, cls: type, public: set[int]) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in cls.__bases__ if base is not object)
    if issubclass(cls, Exception):
        yield f"{full}: exception, {bases}"
    else:
        yield f"{full}{_signature(cls)}{bases and f', {bases}'}"
    seen: set[str] = set()
    for owner in cls.__mro__:
        if not owner.__module__.startswith("dwindle") or (owner is not cls and id(owner) in public):
            continue  # torch's and Keras' own, and what is listed where it stands
        for name, member in vars(owner).items():
            if name in seen or (name.startswith("_") and name not in OPERATORS):
                continue
            seen.add(name)
            yield from _of_member(f"{full}.{name}", member)


def _of_member(full: str, member: Any) -> Iterator[str]:
    if isinstance(member, staticmethod | classmethod):
        yield f"{full}{_signature(member.__func__)}, {type(member).__name__}"
    elif isinstance(member, types.FunctionType):
        yield f"{full}{_signature(member)}"
    elif isinstance(member, property):
        said = member.fget.__annotations__.get("return") if member.fget else None
        yield f"{full}: property{'' if said is None else f', {_type(said)}'}"


def _signature(function: Any) -> str:
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):  # of what is written in C
        return "(...)"
    shown, star, slash = [], False, False
    for each in found.parameters.values():
        if each.name.startswith("_"):
            continue
        if each.kind is each.POSITIONAL_ONLY:
            slash = True
        elif slash:
            shown.append("/")
            slash = False
        if each.kind is each.KEYWORD_ONLY and not star:
            shown.append("*")
        star = star or each.kind in (each.KEYWORD_ONLY, each.VAR_POSITIONAL)
        mark = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        said = "" if each.annotation is each.empty else f": {_type(each.annotation)}"
        default = "" if each.default is each.empty else f" = {_said(each.default)}"
        shown.append(f"{mark}{each.name}{said}{default}")
    back = (
        ""
        if found.return_annotation is found.empty or inspect.isclass(function)
        else f" -> {_type(found.return_annotation)}"
    )
    return f"({', '.join([*shown, *(['/'] if slash else [])])}){back}"


def _type(annotation: Any) -> str:
    if isinstance(annotation, ForwardRef):
        return annotation.__forward_arg__
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__qualname__
    return re.sub(r"ForwardRef\('([^']*)'\)|pathlib\.(?:_local\.)?", r"\1", str(annotation))


def _said(value: Any) -> str:
    """Return a value in words that do not change from run to run: no address, and of a mapping the keys."""
    if isinstance(value, dict):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    if isinstance(value, Path):  # of a file of the package, wherever that lies
        return f"Path({value.name!r})"
    return re.sub(r"<([\w.]+)[^<>]* at 0x[0-9a-f]+>", r"<\1>", repr(value))


def _commands() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    own = {each.name or each.callback.__name__: each.callback for each in app.registered_commands if each.callback}
    whole = {"": (root, app.registered_callback.callback), **{name: (root.commands[name], own[name]) for name in own}}
    for name, (command, function) in whole.items():
        types_said = get_type_hints(function)
        for each in command.params:
            if each.name not in types_said:
                continue  # what typer itself adds
            needed = ", required" if each.required else ""
            default = "" if each.default is None or callable(each.default) else f" = {_said(each.default)}"
            names = " ".join([*each.opts, *each.secondary_opts])
            kind = "" if each.param_type_name == "option" else "argument "
            yield f"$ dwindle {name} {kind}{names}: {_type(types_said[each.name])}{default}{needed}".replace("  ", " ")


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    print("\n".join(lines()))
