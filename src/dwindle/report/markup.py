"""HTML in which forgetting to escape is impossible: every text is escaped unless it was built by ``tag``."""

from __future__ import annotations

import html
import json
from typing import Any, TypeAlias

__all__ = ["Child", "Html", "data_block", "joined", "tag"]

VOID = frozenset({"br", "hr", "img", "input", "line", "circle", "rect", "use", "polyline", "polygon", "path"})


class Html(str):
    """Text that is HTML already; ``tag`` makes it."""

    __slots__ = ()


Child: TypeAlias = "str | Html | None"


def tag(name: str, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """Return the element ``name``; text children and attribute values are escaped, None is left out, True stands alone.

    A trailing underscore is dropped from an attribute's name and the others become hyphens.

    >>> tag("b", "1 < 2", class_="odd", data_row=3, title='"')
    '<b class="odd" data-row="3" title="&quot;">1 &lt; 2</b>'
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in VOID and not children:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Return the children one after the other, text escaped.

    >>> joined("a & ", tag("i", "b"), None)
    'a &amp; <i>b</i>'
    """
    return Html("".join(c if isinstance(c, Html) else html.escape(c) for c in children if c is not None))


def data_block(value: Any) -> str:
    r"""Return ``value`` as JSON that is safe inside a script element: no ``<``, ``>``, ``&`` or non-ASCII remains.

    Raises ValueError for NaN and infinity, which JSON does not have.

    >>> data_block({"name": "</script>"})
    '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
