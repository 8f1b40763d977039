"""The members' modules: made, checked, and stacked parameter by parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dwindle.errors import InvalidValueError, shown
from dwindle.mask import Mask, Param

__all__ = ["Members", "made"]


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """K modules of one kind. Parameters are in the order ``names``, the first ``decaying`` of them decay.

    ``parameters``: (K, ...) each. ``shared``: buffers and frozen parameters that are the same in all members;
    ``own``: those that differ, (K, ...). ``module``: one of the modules, to compute with.
    """

    module: nn.Module
    names: list[str]
    decaying: int
    parameters: list[torch.Tensor]
    shared: dict[str, torch.Tensor]
    own: dict[str, torch.Tensor]
    aliases: dict[str, str]

    def state(self, parameters: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the stacked state dict with these ``parameters``, in the module's own order."""
        members = len(parameters[0])
        known = dict(zip(self.names, parameters, strict=True)) | self.own
        known |= {name: tensor.expand(members, *tensor.shape) for name, tensor in self.shared.items()}
        return {name: known[self.aliases.get(name, name)] for name in self.module.state_dict()}


def made(make: Callable[[], nn.Module], seeds: Sequence[int], mask: Mask, device: torch.device) -> Members:
    """Call ``make`` once for each seed, each time with torch's generators at that seed, and stack what comes.

    Raises InvalidValueError for modules that differ, keep state between examples, or have nothing to train.
    """
    modules = [_one(make, seed) for seed in seeds]
    first = modules[0]
    trained = {name for name, p in first.named_parameters() if p.requires_grad}
    if not trained:
        raise InvalidValueError(f"{type(first).__name__} has no parameter to train. Set requires_grad on some.")
    kinds = {p.dtype for name, p in first.named_parameters() if name in trained}
    if len(kinds) > 1 or not kinds <= {torch.float32, torch.float64}:
        said = ", ".join(sorted(str(kind) for kind in kinds))
        raise InvalidValueError(
            f"the parameters are {said}; members train in float32 or in float64. Use one of the two."
        )
    decisions = {d.name: d.decays for d in mask.decide(_params(first))}
    order = [name for name, _ in first.named_parameters() if name in trained]
    names = [name for name in order if decisions[name]] + [name for name in order if not decisions[name]]
    tensors = [_tensors(module) for module in modules]
    for seed, other in zip(seeds, tensors, strict=True):
        _refuse_other(tensors[0], other, seed)
    stacked = {name: torch.stack([t[name] for t in tensors]).to(device).contiguous() for name in tensors[0]}
    rest = [name for name in tensors[0] if name not in trained]
    alike = {name for name in rest if all(torch.equal(t[name], tensors[0][name]) for t in tensors)}
    return Members(
        first.to(device),
        names,
        sum(decisions[name] for name in names),
        [stacked[name] for name in names],
        {name: stacked[name][0].clone() for name in rest if name in alike},
        {name: stacked[name] for name in rest if name not in alike},
        _aliases(first),
    )


def _one(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make()
    if not isinstance(module, nn.Module):
        raise InvalidValueError(f"make() must return a torch.nn.Module; got {shown(type(module).__name__)}.")
    for name, part in module.named_modules():
        batch = isinstance(part, nn.modules.batchnorm._BatchNorm)
        if batch or getattr(part, "track_running_stats", False):
            raise InvalidValueError(
                f"{name or 'the module'} is a {type(part).__name__}, which keeps statistics from example to example; a member "
                "would not be what it is alone. Use nn.GroupNorm or nn.LayerNorm."
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.layout is not torch.strided:
            raise InvalidValueError(
                f"{name} is a sparse tensor, and those of several members cannot be stacked. Keep it as a plain attribute of the "
                "module, or make it dense."
            )
    lazy = [name for name, p in module.named_parameters() if isinstance(p, nn.parameter.UninitializedParameter)]
    if lazy:
        raise InvalidValueError(f"{lazy[0]} has no shape yet. Let make() run the lazy module once on an example.")
    return module


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor of the module once, under its first name."""
    return {name: t.detach() for name, t in (*module.named_parameters(), *module.named_buffers())}


def _aliases(module: nn.Module) -> dict[str, str]:
    """The further names of tied tensors, each with the first."""
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, tensor in (
        *module.named_parameters(remove_duplicate=False),
        *module.named_buffers(remove_duplicate=False),
    ):
        if first.setdefault(id(tensor), name) != name:
            found[name] = first[id(tensor)]
    return found


def _params(module: nn.Module) -> list[Param]:
    modules = dict(module.named_modules())
    return [
        Param(name, tuple(p.shape), type(modules[name.rpartition(".")[0]]).__name__, id(p))
        for name, p in module.named_parameters()
    ]


def _refuse_other(first: dict[str, Any], other: dict[str, Any], seed: int) -> None:
    for name in first.keys() | other.keys():
        one, two = first.get(name), other.get(name)
        if one is None or two is None or (one.shape, one.dtype) != (two.shape, two.dtype):
            raise InvalidValueError(
                f"make() under seed {seed} gave a module that differs from the first in {name!r}; members must have the same "
                "parameters. Let make() build one architecture."
            )
