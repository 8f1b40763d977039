"""How deep a parameter lies in its model, told by its name: what a layer-wise learning rate counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dwindle.errors import InvalidValueError

__all__ = ["BEFORE", "BEHIND", "BLOCK", "depths"]

# blocks.3.weight, block_3/kernel, layer3.0.conv1.weight; not conv_3, whose number counts the convolutions only
BLOCK = r"(?:^|[./])(?:[A-Za-z_]*(?:block|layer)s?_?)?(\d+)(?=[./]|$)"
BEFORE = r"(?i)(?:^|[./_])(?:embed\w*|patch\w*|pos|tok|token|cls|mask_token|wte|wpe|rel_pos\w*|stem\w*)(?=[./_]|$)"
BEHIND = (
    r"(?i)(?:^|[./_])(?:\w*head|logits|classifier|unembed\w*|\w*norm|ln\w*|fc\w*|out|output|final\w*|pooler)(?=[./_]|$)"
)


def depths(names: Sequence[str], *, ordered: bool = True) -> dict[str, int]:
    """Return a depth for each name: 0 before the first numbered block, i + 1 in block i, one more after the last.

    What has no number lies before or behind the blocks as the order of the names says. Where that says nothing
    (``ordered`` False: a tree of JAX sorts its names) the name itself must, as an embedding's does, or a head's.

    Raises InvalidValueError where there is no numbered block, or a name does not say where it lies.

    >>> depths(["tok.weight", "blocks.0.weight", "blocks.1.weight", "head.weight"])
    {'tok.weight': 0, 'blocks.0.weight': 1, 'blocks.1.weight': 2, 'head.weight': 3}
    >>> depths(["blocks_0/kernel", "head/kernel", "tok_embed/kernel"], ordered=False)
    {'blocks_0/kernel': 1, 'head/kernel': 2, 'tok_embed/kernel': 0}
    """
    blocks = {name: int(found.group(1)) for name in names if (found := re.search(BLOCK, name))}
    if names and not blocks:
        raise InvalidValueError(
            "layer_decay counts the blocks by their number, as in blocks.3.weight or block_3/kernel, and there is none in "
            f"{', '.join(names[:3])} ...; name the blocks so, or say each rate by a group."
        )
    last, seen = max(blocks.values(), default=-1), False
    lies: dict[str, int] = {}
    for name in names:
        seen = (seen or name in blocks) if ordered else name in blocks or _is_behind(name)
        lies[name] = blocks[name] + 1 if name in blocks else (last + 2 if seen else 0)
    return lies


def _is_behind(name: str) -> bool:
    """Return whether a name without a number says that it lies behind the blocks; the first word that says so counts."""
    before, behind = re.search(BEFORE, name), re.search(BEHIND, name)
    if before is None and behind is None:
        raise InvalidValueError(
            f"layer_decay: a tree sorts its names, so that {name!r} must tell by itself whether it lies before the numbered "
            "blocks (embed, patch, pos, stem, wte ...) or behind them (head, norm, ln_f, logits, classifier ...). Rename it, "
            "or say each rate by a group."
        )
    return before is None or (behind is not None and behind.start() < before.start())
