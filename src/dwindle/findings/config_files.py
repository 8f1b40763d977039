"""A JSON or YAML file as a plain mapping: nothing in it is run, and size, depth and aliases have limits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from dwindle.errors import MissingExtraError, ParseError, shown

__all__ = ["mapping_of"]

_LARGEST, _DEEPEST, _ALIASES = 1_000_000, 64, 100


def mapping_of(path: str | PathLike[str]) -> Mapping[str, Any]:
    """Return what a .json, .yaml or .yml file holds; numbers of YAML written as 1e-3 are numbers.

    Raises ParseError for a file that cannot be read, is larger than 1 MB, deeper than 64, or is no mapping.
    """
    where = Path(path)
    try:
        with where.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise ParseError(f"{where}: cannot be read: {error.strerror}.") from error
    except (UnicodeDecodeError, ValueError) as error:
        raise ParseError(f"{where}: not a text file in UTF-8.") from error
    if len(raw) > _LARGEST:
        raise ParseError(f"{where}: a configuration has at most {_LARGEST} bytes. Is this the right file?")
    try:
        found = json.loads(text) if where.suffix.lower() == ".json" else _yaml(text)
    except MissingExtraError:
        raise
    except (ValueError, RecursionError) as error:
        raise ParseError(f"{where}: cannot be read: {_said(error)[:200]}.") from error
    if not isinstance(found, Mapping):
        raise ParseError(f"{where}: a configuration is a mapping of names to values; got {shown(found)}.")
    _refuse_depth(where, found, _DEEPEST)
    return found


def _refuse_depth(where: Path, value: Any, left: int) -> None:
    if left == 0:
        raise ParseError(f"{where}: nested deeper than {_DEEPEST}. Is this the right file?")
    for inner in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        if isinstance(inner, Mapping | list):
            _refuse_depth(where, inner, left - 1)


def _said(error: Exception) -> str:
    """Return the message in one line, without the name that PyYAML gives a text."""
    return " ".join(str(error).replace(' in "<unicode string>",', " at").split())


def _yaml(text: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError.of("PyYAML", "yaml") from error
    try:
        return yaml.load(text, _loader(yaml))  # a SafeLoader
    except (yaml.YAMLError, LookupError, ArithmeticError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error  # its constructors check little: `!!int ""` is an IndexError


def _loader(yaml: Any) -> Any:
    """Return a SafeLoader that refuses aliases of anything nested, reads 1e-3 as a number, and leaves out Python objects."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        aliases = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                self.aliases += 1
                node = self.anchors.get(self.peek_event().anchor)
                inside = getattr(node, "value", ())
                nested = isinstance(inside, list) and any(
                    isinstance(part, yaml.CollectionNode)
                    for each in inside
                    for part in (each if isinstance(each, tuple) else (each,))
                )
                if nested or self.aliases > _ALIASES or (isinstance(inside, list) and len(inside) > _ALIASES):
                    raise yaml.YAMLError("an alias of something nested, or too many aliases; write it out")
            return super().compose_node(parent, index)

    def left_out(loader: Any, suffix: str, node: Any) -> Any:
        return loader.construct_sequence(node) if suffix == "tuple" and isinstance(node, yaml.SequenceNode) else None

    Loader.add_multi_constructor("tag:yaml.org,2002:python/", left_out)
    Loader.add_multi_constructor("!", lambda *_: None)
    digits = r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)(?:[eE][-+]?[0-9]+)"
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^{digits}$"), list("-+0123456789."))
    return Loader
