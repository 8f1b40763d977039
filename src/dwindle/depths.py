"""How deep a parameter lies in its model, told by its name: what a layer-wise learning rate counts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dwindle.errors import InvalidValueError

__all__ = ["BEFORE", "BEHIND", "BLOCK", "CALLED", "depths"]

# blocks.3.weight, block_3/kernel, layer3.0.conv1.weight, stage2.1.weight; not conv_3: that counts the convolutions only
BLOCK = r"(?:^|[./])(?:[A-Za-z_]*(?:block|layer|stage)s?_?)?(\d+)(?=[./]|$)"
CALLED = r"(?i)(?:(?:block|layer|stage)s?_?|(?:^|[./])h)[./]?$"  # a place of blocks; any other may be a wrapper
BEFORE = r"(?i)(?:^|[./_])(?:embed\w*|patch\w*|pos|tok|token|cls|mask_token|wte|wpe|rel_pos\w*|stem\w*)(?=[./_]|$)"
BEHIND = (
    r"(?i)(?:^|[./_])(?:\w*head|logits|classifier|unembed\w*|\w*norm|ln\w*|fc\w*|out|output|final\w*|pooler)(?=[./_]|$)"
)


def depths(names: Sequence[str], *, ordered: bool = True) -> dict[str, int]:
    """Return a depth for each name: 0 before the first numbered block, i + 1 in block i, one more after the last.

    What lies in no block (`blocks_of`) lies before or behind the blocks as the order of the names says. Where that says
    nothing (``ordered`` False: a tree of JAX sorts its names) the name itself must, as an embedding's does, or a head's.

    Raises InvalidValueError where there is no numbered block, or a name does not say where it lies.

    >>> depths(["tok.weight", "blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "head.0.weight"])
    {'tok.weight': 0, 'blocks.0.weight': 1, 'blocks.1.weight': 2, 'blocks.2.weight': 3, 'head.0.weight': 4}
    >>> depths(["blocks_0/kernel", "head/kernel", "tok_embed/kernel"], ordered=False)
    {'blocks_0/kernel': 1, 'head/kernel': 2, 'tok_embed/kernel': 0}
    """
    blocks = blocks_of(list(names))
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


def blocks_of(names: list[str]) -> dict[str, int]:
    """Return the number of the block that each name lies in; a name in no block is left out.

    A place is a name up to a number. The stack of blocks is the place with most names whose rest recurs under another of
    its numbers; a stem, a head, and bare layers within the one block that there is are no stack beside another. A place
    of modules with several layers counts too if it stands beside the stack and has its numbers
    (downsample_layers.1 and stages.1), or is like it: at least half of what is in them is alike, and it has at least half
    as many numbers (a decoder's blocks). All other numbers, such as those of a head's layers, are of no blocks.

    >>> blocks_of(["stem.0.weight", "blocks.0.weight", "blocks.1.weight", "blocks.2.weight", "head.0.weight"])
    {'blocks.0.weight': 0, 'blocks.1.weight': 1, 'blocks.2.weight': 2}
    """
    found: list[tuple[str, str, int]] = []
    places: dict[str, dict[str, list[int]]] = {}  # in each, the numbers under which a rest occurs
    for name in names:
        for part in re.finditer(BLOCK, name):
            place, number, rest = name[: part.start(1)], int(part[1]), re.sub(r"\d+", "0", name[part.end() :])
            found.append((name, place, number))
            places.setdefault(place, {}).setdefault(rest, []).append(number)
    numbers = {place: {number for under in rests.values() for number in under} for place, rests in places.items()}
    layers = {place: {rest for rest in rests if re.search("[./]", rest[1:])} for place, rests in places.items()}

    def size(place: str) -> tuple[int, int]:
        occurs = [(len(under), len(set(under)) > 1) for under in places[place].values()]
        return sum(n for n, recurs in occurs if recurs), sum(n for n, _ in occurs)

    def named(place: str, rule: str) -> bool:
        return any(re.fullmatch(rule, word) for word in re.split("[./]", place))

    trunk = any(
        layers[place] and len(numbers[place]) > 1 and not named(place, BEFORE) and not named(place, BEHIND)
        for place in places
    )

    def stands_back(place: str) -> bool:
        if named(place, BEHIND) or layers[place]:
            return named(place, BEHIND) or (trunk and named(place, BEFORE))
        outer = {place[: part.start(1)] for part in re.finditer(BLOCK, place)}
        alone = [size(each)[1] for each in outer if len(numbers[each]) == 1 and re.search(CALLED, each)]
        last = re.split("[./]", place.rstrip("./"))[-1]
        return re.fullmatch(BEFORE, last) is not None or size(place)[1] < max(alone, default=0)

    stack = max([place for place in places if not stands_back(place)] or places, key=size, default="")

    def counts(place: str) -> bool:
        above, beside = (re.sub("[^./]*[./]?$", "", each) for each in (stack, place))
        if above == beside and numbers[place] == numbers[stack] and 2 * len(layers[place]) > len(places[place]):
            return True
        common, most = layers[place] & layers[stack], max(len(layers[place]), len(layers[stack]))
        return bool(common) and 2 * len(common) >= most and 2 * len(numbers[place]) >= len(numbers[stack])

    blocks = {name: number for name, place, number in found if place == stack}
    like = {place for place in places if place != stack and counts(place)}
    return blocks | {name: number for name, place, number in reversed(found) if place in like and name not in blocks}


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
