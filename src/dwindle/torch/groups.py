"""Splitting the user's param groups by (learning-rate scale, decays or not), and putting them together again.

Live, the optimiser holds the parts. Saved, it holds the user's own groups, as if nothing had been attached: such a
checkpoint loads before or after `attach`, and with or without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Group", "Part", "Whole", "merged", "split", "split_saved"]

Group = dict[str, Any]

# What attach writes into a group; the user's own values are kept here and come back in `merged`.
_OWNED = ("lr", "weight_decay", "decoupled_weight_decay", "foreach")


@dataclass(frozen=True, slots=True)
class Part:
    """One live group: the positions of its parameters in the user's group, the factor on its lr, whether it decays."""

    at: tuple[int, ...]
    lr_scale: float
    decays: bool


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """One group of the user's: the options it had, and the parts it was split into."""

    options: Mapping[str, Any]
    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(len(part.at) for part in self.parts)


def split(group: Group, keys: Sequence[tuple[float, bool]]) -> tuple[Whole, list[Group]]:
    """Return the record of ``group`` and its parts; ``keys`` gives (lr_scale, decays) for each of its parameters."""
    places: dict[tuple[float, bool], list[int]] = {}
    for i, key in enumerate(keys):
        places.setdefault(key, []).append(i)
    parts = tuple(Part(tuple(at), *key) for key, at in places.items()) or (Part((), 1.0, False),)
    options = {name: group[name] for name in _OWNED if name in group}
    return Whole(options, parts), [_part_of(group, part.at) for part in parts]


def merged(groups: Sequence[Group], wholes: Iterable[Whole]) -> list[Group]:
    """Return the user's groups from the live ones, or the same from saved ones; groups of no record stay as they are."""
    rest = list(groups)
    out = []
    for whole in wholes:
        parts, rest = rest[: len(whole.parts)], rest[len(whole.parts) :]
        group = {**parts[0], **whole.options}
        for key in ("params", "param_names"):
            if key in group:
                placed = {
                    i: v for p, g in zip(whole.parts, parts, strict=True) for i, v in zip(p.at, g[key], strict=True)
                }
                group[key] = [placed[i] for i in range(whole.size)]
        out.append(group)
    return out + rest


def split_saved(saved: Sequence[Group], wholes: Sequence[Whole], live: Sequence[Group]) -> list[Group]:
    """Return saved groups cut as the live ones are; whatever does not fit is left for torch to refuse.

    Saved groups are the user's own, or already parts (torch's distributed checkpoints go by the live groups); there
    an option may stand in one part only, and is shared with the others.
    """
    if len(saved) == len(wholes) and all(len(g["params"]) == w.size for g, w in zip(saved, wholes, strict=True)):
        return [_part_of(g, part.at) for g, w in zip(saved, wholes, strict=True) for part in w.parts]
    if len(saved) != len(live):
        return list(saved)
    out: list[Group] = []
    for whole in wholes:
        parts = saved[len(out) : len(out) + len(whole.parts)]
        shared = {k: v for part in parts for k, v in part.items() if k not in ("params", "param_names")}
        out += [_apart({**_options(live[len(out) + i]), **shared, **part}) for i, part in enumerate(parts)]
    return out


def _options(group: Group) -> Group:
    return {k: v for k, v in group.items() if k != "params"}


def _part_of(group: Group, at: Sequence[int]) -> Group:
    lists: Group = {key: [group[key][i] for i in at] for key in ("params", "param_names") if key in group}
    return _apart({**group, **lists})


def _apart(group: Group) -> Group:
    """Return ``group`` with tensors of its own: what is written into one group must not be seen in another."""
    return {k: v.detach().clone() if isinstance(v, torch.Tensor) else v for k, v in group.items()}
