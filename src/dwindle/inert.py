"""Text that a stranger wrote, made harmless to show: nothing in it steers a terminal or hides where it stands."""

from __future__ import annotations

import unicodedata

__all__ = ["inert"]


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
