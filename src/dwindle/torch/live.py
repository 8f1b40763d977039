"""The optimiser's live param groups: which parameter is where, what its group gets at a step, and how it is saved."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch

from dwindle.errors import InvalidValueError
from dwindle.plan import Assignment, Plan, Rates
from dwindle.torch.decays import Update, refuse_own_decay, set_rates, way_of
from dwindle.torch.groups import Group, Part, Whole, merged, split, split_saved
from dwindle.torch.names import described

__all__ = ["LiveGroups"]


class LiveGroups:
    """The param groups of one optimiser, split so that each has one learning rate and one decay.

    ``assignments`` says for every name where it fell; a tensor under several names is one parameter.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, plan: Plan, resolved: Plan, model: Any) -> None:
        self.assignments: list[Assignment] = []
        self.ways: list[str] = []
        self._optimizer, self._plan, self._resolved, self._model = optimizer, plan, resolved, model
        self._keys: dict[int, tuple[float, bool]] = {}
        self._wholes: list[Whole] = []
        self._lrs: list[Any] = []  # the very objects we wrote into the groups: any other is someone else's
        self.adopt()

    def adopt(self) -> None:
        """Split the groups not seen yet, all at first and later those of add_param_group; changes nothing if it raises.

        Raises InvalidValueError for a decay of the group's own, and for groups that were taken apart behind our back.
        """
        groups = self._optimizer.param_groups
        self._refuse_altered(groups)
        fresh = groups[len(self.ways) :]
        if not fresh:
            return
        for i, group in enumerate(fresh, len(self._wholes)):
            refuse_own_decay(self._optimizer, group, i, self._plan)
        keys = self._assign()
        done = [split(group, [keys[id(p)] for p in group["params"]]) for group in fresh]
        live = list(chain.from_iterable(parts for _, parts in done))
        for group in live:  # a tensor lr may be shared by all groups; each part needs its own
            group["lr"] = group["lr"].clone() if torch.is_tensor(group["lr"]) else group["lr"]
        known = len(self.ways)
        self._wholes += [whole for whole, _ in done]
        self._keys = keys
        self.ways += [
            way_of(self._optimizer, group, self._plan, part)
            for group, part in zip(live, self._parts[known:], strict=True)
        ]
        groups[known:] = live

    def _assign(self) -> dict[int, tuple[float, bool]]:
        """Return (lr_scale, decays) of every tensor of the optimiser, by its identity."""
        infos, aliases = described(self._optimizer, self._model)
        decay = self._plan.decay
        placed = {info.key: a for info, a in zip(infos, self._plan.assign(infos), strict=True) if info.key is not None}
        keys = {key: (a.lr_scale, a.decays and decay is not None) for key, a in placed.items()}
        moved = [i.name for i in infos if i.key in self._keys and self._keys[i.key] != keys[i.key]]
        if moved:
            raise InvalidValueError(
                f"the group added to the optimiser changes what {moved[0]} gets (layer_decay counts the layers anew); "
                "detach(), attach anew, and load_state_dict to go on."
            )
        if decay is not None and not any(decays for _, decays in keys.values()):
            warnings.warn(
                f"the plan has {decay} but its mask lets none of the optimiser's {len(keys)} parameters decay; "
                "use Mask.everything() or decay=None.",
                stacklevel=5,
            )
        owners = [(alias.name, placed[alias.key]) for alias in aliases if alias.key is not None]
        self.assignments = [*placed.values(), *(a._replace(name=name, tied_to=a.name) for name, a in owners)]
        return keys

    def _refuse_altered(self, groups: Sequence[Group]) -> None:
        sizes = [len(part.at) for part in self._parts]
        now = [len(group["params"]) for group in groups[: len(sizes)]]
        if now != sizes:
            raise InvalidValueError(
                f"the optimiser's groups held {sizes} parameters and now hold {now}; use add_param_group for new ones, "
                "and to remove some detach() first."
            )

    @property
    def _parts(self) -> list[Part]:
        return [part for whole in self._wholes for part in whole.parts]

    # At a step

    def set_rates(self, step: int) -> None:
        """Write the learning rate and the optimiser's own decay of update ``step`` into every group."""
        for group, part, way in zip(self._optimizer.param_groups, self._parts, self.ways, strict=True):
            set_rates(group, way, self._rates(part, step), self._resolved.decay, step)
        self._lrs = [group["lr"] for group in self._optimizer.param_groups]

    def begin(self, update: Update, step: int) -> None:
        """Let ``update`` do what comes just before the weights change."""
        scale = getattr(self._optimizer, "grad_scale", None)
        for group, part, way in zip(self._optimizer.param_groups, self._parts, self.ways, strict=True):
            if way not in ("none", "own"):
                update.before(group, way, self._rates(part, step), scale)

    def _rates(self, part: Part, step: int) -> Rates:
        return self._resolved.rates(step, lr_scale=part.lr_scale, decays=part.decays)

    def foreign_lr(self) -> tuple[float, float] | None:
        """Return (ours, found) of the first learning rate that someone else has changed."""
        for group, lr in zip(self._optimizer.param_groups, self._lrs, strict=False):
            if group["lr"] is not lr and float(group["lr"]) != float(lr):
                return float(lr), float(group["lr"])
        return None

    def is_dry_run(self) -> bool:
        """Whether this is torch's distributed checkpoint making optimiser state: lr put to 0, gradients all zero."""
        groups = self._optimizer.param_groups
        if not all(g["lr"] is not lr and float(g["lr"]) == 0.0 for g, lr in zip(groups, self._lrs, strict=False)):
            return False
        return not any(bool(p.grad.any()) for g in groups for p in g["params"] if p.grad is not None)

    # Outside a step

    def restore(self) -> None:
        """Put the user's groups back into the optimiser, lr and weight_decay as they were."""
        self._optimizer.param_groups[:] = merged(self._optimizer.param_groups, self._wholes)

    def as_saved(self, groups: Sequence[Group]) -> list[Group]:
        """Return saved live groups as the user's own."""
        return merged(groups, self._wholes)

    def as_live(self, groups: Sequence[Group]) -> list[Group]:
        """Return saved groups, the user's own or live ones, as live ones."""
        return split_saved(groups, self._wholes, self._optimizer.param_groups)
