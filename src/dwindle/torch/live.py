"""The optimiser's live param groups: which parameter is where, what its group gets at a step, and how it is saved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any

import torch

from dwindle.decay import L2
from dwindle.errors import InvalidValueError
from dwindle.plan import Assignment, Plan, Rates
from dwindle.torch.checks import (
    refuse_blind_mask,
    refuse_own_decay,
    refuse_own_mask,
    refuse_own_rates,
    refuse_split,
    warn_of_mask,
)
from dwindle.torch.compensation import Residues
from dwindle.torch.compiled import is_traced, rate_tensor
from dwindle.torch.decays import Dose, Update, refuse_sparse, residues_of, set_rates, way_of, write_rate
from dwindle.torch.groups import Group, Part, Whole, merged, split, split_saved
from dwindle.torch.names import apart, described
from dwindle.torch.rounding import lossy_types

__all__ = ["LiveGroups"]


_AHEAD = 16  # steps


class LiveGroups:
    """The param groups of one optimiser, split so that each has one learning rate and one decay.

    ``assignments`` says for every name where it fell; a tensor under several names is one parameter.
    ``compensated``: whether decay that rounding would lose is kept beside the weights (see `lossy_types`).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        plan: Plan,
        resolved: Plan,
        model: Any,
        steps: int,
        compensated: bool | None = None,
    ) -> None:
        self.assignments: list[Assignment] = []
        self.ways: list[str] = []
        self._optimizer, self._plan, self._resolved, self._model = optimizer, plan, resolved, model
        self._peak: float | None = None  # the one in effect, where a feedback rule has moved it
        self._keys: dict[int, tuple[float, bool]] = {}
        self._wholes: list[Whole] = []
        self._parts: list[Part] = []  # theirs, side by side: one for each live group
        self._steps, self._compensated = steps, compensated
        self.lossy: list[frozenset[torch.dtype]] = []  # for each live group, the types of weight that are compensated
        self._first: list[frozenset[torch.dtype]] = []
        self.names: dict[int, str] = {}
        self.residues = Residues(optimizer)
        self._compiled: list[bool] = []
        self._tensors: dict[int, Any] = {}  # the lr of a group while its step is compiled: the guards want the same one
        self._lrs: list[tuple[Any, float, int]] = []  # what we wrote into the groups: object, number, version
        self._decays: list[Any] = []
        self._ahead: dict[int, list[tuple[float, float, float]]] = {}  # of this step and the next ones, the doses
        self._seen: list[list[Any]] = []  # the parameters of each group at the last step that took its doses
        self._types: list[list[torch.dtype]] = []  # of the weights that decay
        self._looked = False  # for gradients that the optimiser's own l2 cannot take
        self.adopt()

    def adopt(self) -> None:
        """Split the groups not seen yet, all at first and later those of add_param_group; changes nothing if it raises.

        Raises InvalidValueError for a decay of the group's own, and for groups that were taken apart behind our back.
        """
        groups, self._seen, self._ahead = self._optimizer.param_groups, [], {}
        self._refuse_altered(groups)
        fresh = groups[len(self.ways) :]
        if not fresh:
            return
        for i, group in enumerate(fresh, len(self._wholes)):
            refuse_own_decay(self._optimizer, group, i, self._plan)
        keys = self._assign(fresh)
        done = [split(group, [keys[id(p)] for p in group["params"]]) for group in fresh]
        live = list(chain.from_iterable(groups for _, groups in done))
        refuse_split(self._optimizer, len(self._parts) + len(live))
        parts = [part for whole, _ in done for part in whole.parts]
        lossy = [self._lossy_types(group, part) for group, part in zip(live, parts, strict=True)]
        self.lossy += lossy
        self._first += lossy
        self._types += [_types(group) if part.decays else [] for group, part in zip(live, parts, strict=True)]
        self._wholes += [whole for whole, _ in done]
        self._parts += parts
        self._keys = keys
        self.ways += [
            way_of(self._optimizer, group, self._plan, part, lossy=types)
            for group, part, types in zip(live, parts, lossy, strict=True)
        ]
        self._compiled += [False] * len(live)
        groups[len(groups) - len(fresh) :] = live

    def _lossy_types(self, group: Group, part: Part) -> frozenset[torch.dtype]:
        """Return those of the types of ``group`` whose weights would lose the decay of ``part``."""
        types = _types(group) if part.decays else []
        return lossy_types(types, self._resolved, self._steps, part.lr_scale, self._compensated)

    def _assign(self, fresh: Sequence[Group]) -> dict[int, tuple[float, bool]]:
        """Return (lr_scale, decays) of every tensor of the optimiser, by its identity; ``fresh`` are the groups not seen yet."""
        infos, aliases = described(self._optimizer, self._model)
        decay = self._plan.decay
        names = apart(info.name for info in infos)  # the plan looks at the names as they were given
        found = zip(infos, names, self._plan.assign(infos), strict=True)
        placed = {info.key: a._replace(name=name) for info, name, a in found if info.key is not None}
        keys = {key: (a.lr_scale, a.decays and decay is not None) for key, a in placed.items()}
        moved = [i.name for i in infos if i.key in self._keys and self._keys[i.key] != keys[i.key]]
        if moved:
            raise InvalidValueError(
                f"the group added to the optimiser changes what {moved[0]} gets (layer_decay counts the layers anew); "
                "detach(), attach anew, and load_state_dict to go on."
            )
        self._refuse_own(fresh, keys, {key: a.name for key, a in placed.items()})
        if decay is not None:
            refuse_blind_mask(self._plan.mask, infos, self._model)
            warn_of_mask(list(placed.values()), self._plan, self._model)
        self.names = {key: a.name for key, a in placed.items()}
        owners = [(alias.name, placed[alias.key]) for alias in aliases if alias.key is not None]
        self.assignments = [*placed.values(), *(a._replace(name=name, tied_to=a.name) for name, a in owners)]
        return keys

    def _refuse_own(
        self, fresh: Sequence[Group], keys: Mapping[int, tuple[float, bool]], names: Mapping[int, str]
    ) -> None:
        """Refuse what ``fresh`` groups say of rate and decay that the plan would overrule in silence."""
        factors = [frozenset(part.lr_scale for part in whole.parts) for whole in self._wholes]
        factors += [frozenset(keys[id(p)][0] for p in group["params"]) for group in fresh]
        groups = [*(whole.options for whole in self._wholes), *fresh]
        rates = [float(group["lr"]) * float(group.get("lr_scale", 1.0)) for group in groups]
        written = {float(self._optimizer.defaults["lr"]), *(lr for _, lr, _ in self._lrs)} if self._wholes else set()
        refuse_own_rates(list(zip(rates, factors, strict=True)), len(self._wholes), written)
        decaying = [next((names[id(p)] for p in g["params"] if keys[id(p)][1]), None) for g in fresh]
        said = getattr(self._optimizer, "_said_decay", ())  # by ours, which have a plan instead of a default
        unsaid = {i for i, told in enumerate(said) if not told}
        own = [None if i in unsaid else float(g.get("weight_decay") or 0.0) for i, g in enumerate(groups)]
        refuse_own_mask(own, [None] * len(self._wholes) + decaying)

    def _refuse_altered(self, groups: Sequence[Group]) -> None:
        sizes = [len(part.at) for part in self._parts]
        now = [len(group["params"]) for group in groups[: len(sizes)]]
        if now != sizes:
            raise InvalidValueError(
                f"the optimiser's groups held {sizes} parameters and now hold {now}; use add_param_group for new ones, "
                "and to remove some detach() first."
            )

    # At a step

    def retype(self) -> None:
        """Decide anew what is compensated where weights have another type since, as after ``model.bfloat16()``."""
        for i, group in enumerate(self._optimizer.param_groups):
            was = self._types[i]
            if not was or (now := _types(group)) == was:
                continue
            changed = [p for p, old, new in zip(group["params"], was, now, strict=True) if new is not old]
            self.residues.drop(changed)  # the cast made the rounded weights the weights
            self._types[i] = now
            self._first[i] = self.lossy[i] = self.lossy[i] | self._lossy_types(group, self._parts[i])
            self.ways[i] = self._way(i, group)

    def settle(self, compiled: bool) -> None:
        """Make every group ready for a step that is compiled, or for one that is not."""
        compiled = compiled and is_traced(self._optimizer)
        wholes = [whole for whole in self._wholes for _ in whole.parts]
        for i, group in enumerate(self._optimizer.param_groups):
            kept = self._tensors.get(i)  # a loaded checkpoint or a scheduler may have put a float in its place
            if self._compiled[i] != compiled or (kept is not None and (group["lr"] is kept) != compiled):
                self._settle(i, group, wholes[i].options, compiled)

    def _settle(self, i: int, group: Group, options: Mapping[str, Any], compiled: bool) -> None:
        if not torch.is_tensor(options["lr"]):
            if compiled and i not in self._tensors:
                self._tensors[i] = rate_tensor(group)
            group["lr"] = self._tensors[i] if compiled else float(group["lr"])
            if options.get("foreach") and not group.get("capturable", True):
                group["foreach"] = None if compiled else True  # torch refuses foreach=True with a tensor lr
        if compiled:
            self._start(group)
        self._compiled[i] = compiled
        self.ways[i] = self._way(i, group)

    def _way(self, i: int, group: Group) -> str:
        return way_of(self._optimizer, group, self._plan, self._parts[i], self._compiled[i], self.lossy[i])

    def _start(self, group: Group) -> None:
        # torch traces SGD's first step twice if lr is float64, and stops if the state it made the first time is there
        if isinstance(self._optimizer, torch.optim.SGD) and group["momentum"] and group["lr"].dtype is torch.float64:
            for p in group["params"]:
                _ = self._optimizer.state[p]

    def follow(self, resolved: Plan, peak: float | None, steps: int) -> None:
        """Take the rates of ``resolved``, for a run of ``steps``, from now on, at the ``peak`` in effect (None: its own)."""
        anew = (resolved, steps) != (self._resolved, self._steps)
        self._resolved, self._peak, self._steps, self._ahead = resolved, peak, steps, {}
        if anew:  # what the first plan would lose stays compensated
            rows = zip(self._optimizer.param_groups, self._parts, self._first, strict=True)
            self.lossy = [first | self._lossy_types(group, part) for group, part, first in rows]
            self.ways = [self._way(i, group) for i, group in enumerate(self._optimizer.param_groups)]

    def set_rates(self, step: int) -> None:
        """Write the learning rate and the optimiser's own decay of update ``step`` into every group."""
        self._lrs, self._decays = [], []
        for group, part, way in zip(self._optimizer.param_groups, self._parts, self.ways, strict=True):
            rates = self._rates(part, step)
            set_rates(group, way, rates, self._resolved.decay, step)
            self._lrs.append((group["lr"], float(rates.lr), _version(group["lr"])))
            self._decays.append(group.get("weight_decay"))

    def doses(self, step: int) -> list[tuple[float, float, float]]:
        """Write the learning rates of update ``step``; return (lr, share, l2) of every group, for an optimiser of our own."""
        doses = self._ahead.get(step)
        if (
            doses is None
        ):  # between two steps a cache forgets the code of the schedule, so several are worked out at once
            self._ahead = {at: self._doses(at) for at in range(step, max(min(step + _AHEAD, self._steps), step + 1))}
            doses = self._ahead[step]
        written = []
        for group, dose in zip(self._optimizer.param_groups, doses, strict=True):
            write_rate(group, dose[0])
            written.append((group["lr"], dose[0], _version(group["lr"])))
        self._lrs = written
        if not self._seen:
            self._look()
        return doses

    def _doses(self, step: int) -> list[tuple[float, float, float]]:
        scaled: dict[float, tuple[float, float, float]] = {}  # one look at the schedule for all of one lr_scale
        for part in self._parts:
            if part.lr_scale not in scaled:
                lr, share, l2 = self._resolved.dose(step, lr_scale=part.lr_scale, peak=self._peak)
                scaled[part.lr_scale] = float(lr), float(share), float(l2)
        doses = [(scaled[part.lr_scale], part.decays) for part in self._parts]
        return [dose if decays else (dose[0], 0.0, 0.0) for dose, decays in doses]

    def _look(self) -> None:
        """Note what every group holds, its decay as the plan has it."""
        groups = self._optimizer.param_groups
        self._seen = [[*group["params"]] for group in groups]
        self._decays += [group["weight_decay"] for group in groups[len(self._decays) :]]
        for group, decay in zip(groups, self._decays, strict=True):
            group["weight_decay"] = decay

    def undisturbed(self) -> bool:
        """Whether every group still holds what the last `doses` left there: parameters, learning rate and decay."""
        groups, seen = self._optimizer.param_groups, self._seen
        if len(groups) != len(seen):
            return False
        for group, params, decay, (lr, _, version) in zip(groups, seen, self._decays, self._lrs, strict=True):
            if group["lr"] is not lr or group["weight_decay"] is not decay:
                return False
            if type(lr) is not float and _version(lr) != version:
                return False
            now = group["params"]
            if len(now) != len(params) or not all(map(is_, now, params)):
                return False
        return True

    def begin(self, update: Update, step: int) -> None:
        """Let ``update`` do what comes just before the weights change."""
        scale = getattr(self._optimizer, "grad_scale", None)
        rows = zip(self._optimizer.param_groups, self._parts, self.ways, self.lossy, strict=True)
        for group, part, way, lossy in rows:
            if way == "own" and isinstance(self._plan.decay, L2) and not self._looked:
                refuse_sparse([p for p in group["params"] if p.grad is not None])
            if way not in ("none", "own"):
                lr, share, l2 = self._resolved.dose(step, lr_scale=part.lr_scale, decays=part.decays, peak=self._peak)
                update.before(group, way, Dose(Rates(lr, 1.0 - share, l2), float(share), lossy), scale)
        self._looked = True

    def prepare(self) -> None:
        """Make the residues that are not there yet, zero, for a checkpoint to be read into."""
        for params, names in self._compensated_params():
            self.residues.prepare([p for p in params if p.grad is not None], names)

    def compensated(self) -> dict[str, int]:
        """Return the bytes that the residues of each compensated parameter take, by its name."""
        rows = [(p, names) for params, names in self._compensated_params() for p in params]
        return {self.names[id(p)]: 4 * len(names) * p.numel() * (1 + p.is_complex()) for p, names in rows}

    def _compensated_params(self) -> Iterator[tuple[list[Any], tuple[str, ...]]]:
        for group, way, lossy in zip(self._optimizer.param_groups, self.ways, self.lossy, strict=False):
            dense = [p for p in group["params"] if getattr(p, "_rows", None) is None]  # a lazy table loses nothing
            yield [p for p in dense if p.dtype in lossy], residues_of(way, group)

    def _rates(self, part: Part, step: int) -> Rates:
        return self._resolved.rates(step, lr_scale=part.lr_scale, decays=part.decays, peak=self._peak)

    def overruled(self) -> tuple[str, float, float] | None:
        """Return (name, ours, found) of the first learning rate or weight_decay that someone else has changed."""
        groups = self._optimizer.param_groups
        for group, (lr, number, version) in zip(groups, self._lrs, strict=False):
            if group["lr"] is not lr or _version(lr) != version:
                ours = float(torch.tensor(number, dtype=lr.dtype)) if torch.is_tensor(lr) else number
                if float(group["lr"]) != ours:
                    return "learning rate", ours, float(group["lr"])
        for group, decay in zip(groups, self._decays, strict=False):
            if group.get("weight_decay") is not decay and group["weight_decay"] != decay:
                return "weight_decay", float(decay), float(group["weight_decay"])
        return None

    def is_dry_run(self) -> bool:
        """Whether this is torch's distributed checkpoint making optimiser state: lr put to 0, gradients all there and zero."""
        groups = self._optimizer.param_groups
        if not all(g["lr"] is not lr and float(g["lr"]) == 0.0 for g, (lr, *_) in zip(groups, self._lrs, strict=False)):
            return False
        params = [p for g in groups for p in g["params"]]
        return not any(p.requires_grad if p.grad is None else bool(p.grad.any()) for p in params)

    # Outside a step

    def restore(self) -> None:
        """Put the user's groups back into the optimiser, lr and weight_decay as they were; the residues are dropped."""
        self.residues.drop(list(self._optimizer.state))
        self._optimizer.param_groups[:] = merged(self._optimizer.param_groups, self._wholes)

    def as_saved(self, groups: Sequence[Group]) -> list[Group]:
        """Return saved live groups as the user's own."""
        return merged(groups, self._wholes)

    def as_live(self, groups: Sequence[Group]) -> list[Group]:
        """Return saved groups, the user's own or live ones, as live ones."""
        return split_saved(groups, self._wholes, self._optimizer.param_groups)


def _version(lr: Any) -> int:
    """Return what changes when somebody writes to a tensor in place."""
    return lr._version if isinstance(lr, torch.Tensor) and not lr.is_inference() else 0


def _types(group: Group) -> list[torch.dtype]:
    return [p.dtype for p in group["params"]]
