"""The optimiser of a recipe on its way to another peer: found, written as one of the same kind, and what is lost told.

A plan holds no optimiser: what of it does not come along is said in the opening comment of the written source.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dwindle.decay import L2, Decay
from dwindle.errors import DwindleError, NoExactMapError, UnknownNameError
from dwindle.foreign.conventions import EPOCHS, IN_PART
from dwindle.foreign.habits import regularised_in_part, steps_by_epochs
from dwindle.foreign.length import own_steps
from dwindle.foreign.optimiser import Optimiser, optimiser_in
from dwindle.foreign.optimizers import OPTIMIZERS
from dwindle.foreign.source.keras_parts import with_keras_parts
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import ON_TORCH, plan_from_pair
from dwindle.foreign.source.program import read_tree
from dwindle.foreign.source.spec import is_spec, pair_of_spec
from dwindle.foreign.write import noted, write
from dwindle.plan import Plan
from dwindle.schedule.feedback import FeedbackRule
from dwindle.units import Horizon

__all__ = ["ASSUMED", "carry", "settings_lost"]

ASSUMED = "assumed 10000 steps; give --steps."
_OWN = "the {} steps are those that the recipe itself tells; give --steps for a longer run."
_RULES = (
    "ReduceLROnPlateau", "PlateauLRScheduler", "reduce_on_plateau", "get_scheduler", "get_reduce_on_plateau_schedule",
    "get_greedy_schedule",
)  # fmt: skip
_DEFAULT_NORM = "max_grad_norm=1.0 of the Trainer"  # so does any Trainer
_ONE_NAME = {
    "b1": "beta1", "beta_1": "beta1", "b2": "beta2", "beta_2": "beta2", "epsilon": "eps", "nesterovs_momentum": "nesterov",
    "alpha": "rho", "decay": "rho",
}  # fmt: skip


def carry(
    plan: Plan | FeedbackRule[Any],
    peer: str,
    run: Horizon | None = None,
    recipe: str | None = None,
    source: str | None = None,
    *,
    optimizer: str | None = None,
) -> str:
    """Return the source of ``plan`` for ``peer`` with the optimiser of ``recipe``, the text of ``source`` it was read from.

    The optimiser is the peer's of the same kind, unless ``optimizer`` names another; where the peer has none, or none that
    takes the plan's decay, it is the one that `write` takes, and a note says so. Notes also name each setting that the
    written optimiser does not have, and the weight decay that stands beside a rule. Raises what `write` raises.

    >>> recipe = "torch:SGD(lr=0.1, momentum=0.9) StepLR(30)"
    >>> text = carry(Plan(0.1), "optax", Horizon(90), recipe, "torch")
    >>> [line for line in text.splitlines() if "momentum" in line]
    ['# Note: not carried over: momentum=0.9 of SGD; set it in the optimiser below.']
    """
    ours = None if recipe is None or source is None else optimiser_in(recipe, source)
    text, why = _written(plan, peer, run, ours, optimizer)
    notes = [] if ours is None else [*_other(ours, optimiser_in(text, peer), why)]
    if ours is not None:
        kept = peer == "hf" and _DEFAULT_NORM in ours.around
        notes += settings_lost(replace(ours, around=()) if kept else ours, optimiser_in(text, peer))
    if not isinstance(plan, Plan) and recipe is not None and source is not None:
        notes += _decay_lost(recipe, source, ours)
    if run is not None and recipe is not None and "this goes on otherwise than" in text:
        notes += [_OWN.format(run.steps)] if own_steps(recipe, source) == run.steps else []
    if recipe is not None and source is not None and steps_by_epochs(recipe, source, run):
        notes.append(EPOCHS.format(source))
    if recipe is not None and source is not None and regularised_in_part(recipe, source):
        notes.append(IN_PART)
    if run is None and isinstance(plan, Plan):
        notes.append(ASSUMED)
    return noted(text, notes)


def _written(
    plan: Plan | FeedbackRule[Any], peer: str, run: Horizon | None, ours: Optimiser | None, optimizer: str | None
) -> tuple[str, str]:
    """Return the source, and why its optimiser is of another kind where it is."""
    text = write(plan, peer, run, optimizer=optimizer)
    if ours is None or optimizer is not None:
        return text, ", as asked"
    there = optimiser_in(text, peer)
    if there is not None and there.direction == ours.direction:
        return text, ""
    names = _candidates(ours, plan, peer)
    for name in names:
        try:
            return write(plan, peer, run, optimizer=name), ""
        except (NoExactMapError, UnknownNameError):
            continue
    return text, f": {names[0]} there cannot take this plan" if names else f": {peer} has none"


def _candidates(ours: Optimiser, plan: Plan | FeedbackRule[Any], peer: str) -> list[str]:
    """Return the peer's optimisers of the same kind: first those that decay as the plan does, and of the same name."""
    if peer in ("sklearn", "textbook"):
        return []
    names = [*(OPTIMIZERS["torch"] if peer in ON_TORCH else ()), *(() if peer == "hf" else OPTIMIZERS[peer])]
    alike = [name for name in dict.fromkeys(names) if Optimiser(peer, name, {}).direction == ours.direction]
    decay = plan.decay if isinstance(plan, Plan) else None
    beside = _is_beside(ours.name) if decay is None else not isinstance(decay, L2)
    return sorted(alike, key=lambda n: (_is_beside(n) != beside, n.lower() != ours.name.lower(), n.islower()))


def _is_beside(name: str) -> bool:
    return name.lower().removesuffix("legacy").endswith("w")


def _other(ours: Optimiser, there: Optimiser | None, why: str) -> Iterator[str]:
    if there is not None and there.direction == ours.direction:
        return
    name = "another" if there is None else there.name
    yield f"not exact: the recipe's {_called(ours)} is written as {name}" + (f"{why}." if why else ".")


def _called(ours: Optimiser) -> str:
    """Return the name as a reader knows it."""
    return f"{ours.name} ({ours.direction})" if ours.name.startswith("MLP") else ours.name.removeprefix("scale_by_")


def _decay_lost(recipe: str, source: str, ours: Optimiser | None) -> Iterator[str]:
    """Say which weight decay stands in the recipe beside a rule that answers a metric, and so in no plan."""
    try:
        decay = _decay_beside(recipe, source, ours)
    except DwindleError as error:
        yield f"the recipe's weight decay could not be read: {error}"
        return
    if decay is not None:
        yield f"not carried over: the recipe's weight decay, {decay}; the optimiser below has none."


def _decay_beside(recipe: str, source: str, ours: Optimiser | None) -> Decay | None:
    if is_spec(recipe):
        alone = None if ours is None else plan_from_pair(replace(pair_of_spec(recipe), schedule=None))
    else:
        tree: ast.Module = _WithoutRule().visit(ast.parse(recipe))
        if ours is not None:
            alone = read_tree(tree, recipe, source)
        else:  # model.compile("adam") builds none, and the layers may still have a regulariser
            alone = with_keras_parts(Plan(1.0), tree, Scope.of(tree)) if source == "keras" else None
    return alone.decay if isinstance(alone, Plan) else None


class _WithoutRule(ast.NodeTransformer):
    """None in the place of the rule: what remains is the source of its optimiser."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return ast.copy_location(ast.Constant(None), node) if callee(node) in _RULES else self.generic_visit(node)


def settings_lost(ours: Optimiser, there: Optimiser | None) -> list[str]:
    """Return what to say of the settings of ``ours`` that ``there``, the written optimiser, does not have (None: all).

    Of an optimiser of the same kind that is each in which the two differ, by what was given or by their defaults; of
    another kind, or without one, each that is not the default.
    """
    alike = there is not None and there.direction == ours.direction
    theirs = _settings(there) if there is not None and alike else {}
    defaults = _flat(ours.defaults())
    lost = {
        label: key in theirs
        for key, (label, value) in _settings(ours).items()
        if value != (theirs[key][1] if key in theirs else defaults.get(key, (label, None))[1])
    }
    here, nowhere = ([label for label, known in lost.items() if known is there_too] for there_too in (True, False))
    them = "it" if len(here) == 1 else "them"
    notes = [_lost(here, ours, f"; set {them} in the optimiser below")] if here else []
    if nowhere:
        name = "" if there is None else there.name.removeprefix("scale_by_")
        notes.append(_lost(nowhere, ours, "" if there is None else f"; {name} below has no such setting"))
    if ours.around:
        notes.append(f"not carried over: {', '.join(ours.around)}; give the new run its own.")
    return notes


def _lost(settings: list[str], ours: Optimiser, what: str) -> str:
    return f"not carried over: {', '.join(settings)} of {_called(ours)}{what}."


def _settings(optimiser: Optimiser) -> dict[str, tuple[str, Any]]:
    """Return each setting by one name of all peers: as it is written there, and its value."""
    defaults = optimiser.defaults()
    by_default = {key: value for key, value in defaults.items() if key not in optimiser.given}
    ours = {key: value for key, value in optimiser.given.items() if key in defaults or optimiser.owner != "sklearn"}
    there = f" (the default of {optimiser.owner})"
    return {**_flat(by_default, there), **_flat(ours)}


def _flat(settings: Mapping[str, Any], mark: str = "") -> dict[str, tuple[str, Any]]:
    found: dict[str, tuple[str, Any]] = {}
    for key, value in settings.items():
        label = f"{key}={_spelled(value)}{mark}"
        if key == "betas" and isinstance(value, list | tuple) and len(value) == 2:
            found |= {"beta1": (label, value[0]), "beta2": (label, value[1])}
        else:
            same = 0.0 if key == "momentum" and value is None else tuple(value) if isinstance(value, list) else value
            found[_ONE_NAME.get(key, key)] = (label, same)
    return found


def _spelled(value: Any) -> str:
    return f"({', '.join(map(repr, value))})" if isinstance(value, list | tuple) else str(value)
