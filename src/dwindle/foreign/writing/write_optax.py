"""A plan as optax source: ``schedule``, and ``optimizer``, a GradientTransformation with the decay where the plan has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.optax import NAMES as OPTIMIZERS
from dwindle.foreign.writing.arrays import JAX, body_of
from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.guess_optax import schedules
from dwindle.foreign.writing.guess_parts import neat
from dwindle.foreign.writing.layout import formula_and_end, laid_out
from dwindle.foreign.writing.source_text import Source, call, indented, module, number
from dwindle.foreign.writing.split import (
    DEPTHS_BY_NAME,
    asks_kind,
    blocks_source,
    decays_source,
    everything,
    split_source,
)
from dwindle.mask import Mask, Rule
from dwindle.plan import Plan
from dwindle.schedule import Schedule

__all__ = ["optax_source"]

_DIRECTIONS = {
    "sgd": "optax.identity()",
    "adam": "optax.scale_by_adam()",
    "adamw": "optax.scale_by_adam()",
    "nadam": "optax.scale_by_adam(nesterov=True)",
    "nadamw": "optax.scale_by_adam(nesterov=True)",
    "adamax": "optax.scale_by_adamax()",
    "adamaxw": "optax.scale_by_adamax()",
    "lion": "optax.scale_by_lion()",
    "adan": "optax.scale_by_adan()",
    "rmsprop": "optax.scale_by_rms()",
    "adagrad": "optax.scale_by_rss()",
    "adadelta": "optax.scale_by_adadelta()",
}
"""An optimiser's direction by itself, without decay and learning rate; lamb and lars scale their decay with the update."""


def optax_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for optax 0.2.6 or newer: ``optimizer`` counts its own updates, nothing is to be called.

    A schedule of optax's own is taken where one gives the same rates on every step, else a function of the step.
    """
    plan = draft.plan
    name = _optimizer_of(plan, optimizer)
    rate, before = _rate(draft)
    decay, about = ([], []) if plan.decay is None else _decay(draft, rate)
    wholes = [*before, *about, *_mask(plan), *_scales(plan)]
    if plan.decay is not None and plan.decay.cautious:
        wholes.append(_CAUTIOUS)
    built = _built(plan, name, rate, decay)
    text = "\n".join([*wholes, built])
    imports = ["import jax.numpy as jnp", "import optax"]
    used = [line for line in imports if line.split()[-1] + "." in text]
    plain = [name for name in ("fnmatch", "re", "jax") if f"{name}." in text.replace("import jax.numpy", "")]
    return module(draft.header("optax", _notes(plan)), [*plain, *used], [*wholes, built])


def _optimizer_of(plan: Plan, wanted: str | None) -> str:
    decay = plan.decay
    if wanted is None:
        return "sgd" if decay is None or isinstance(decay, L2) else "adamw"
    name = known("optimizer", wanted, [name for name in OPTIMIZERS if "+" not in name])
    if isinstance(decay, L2) and OPTIMIZERS[name].kind is Decoupled:
        raise NoExactMapError(f"{name} decays beside its update and the plan has {decay}; write it for adam or sgd.")
    if decay is not None and not isinstance(decay, L2) and name not in _DIRECTIONS:
        raise NoExactMapError(
            f"{name} scales its decay by a trust ratio and the plan has {decay}; write it for one of {', '.join(_DIRECTIONS)}."
        )
    return name


def _notes(plan: Plan) -> Iterable[str]:
    kinds = [str(rule) for rule in _own_kinds(plan.mask)] if plan.decay is not None else []
    if kinds:
        yield f"not exact: a tree of parameters knows no kinds of layers, so mask rule {kinds[0]} is left out."


def _own_kinds(mask: Mask) -> list[Rule]:
    return [rule for rule in mask.rules if rule.subject == "kind" and rule not in Mask().rules and rule.pattern != "*"]


# --- the learning rate


def _rate(draft: Draft) -> tuple[str, list[str]]:
    """Return what stands for the learning rate, a number or a name, and the source that defines it."""
    plan = draft.plan
    found = native("optax", plan.schedule, plan.peak, draft.steps, schedules)
    return _value(draft, found, plan.schedule, plan.peak, "schedule", "the learning rate")


def _value(
    draft: Draft, found: Recipe | None, schedule: Schedule, scale: float, name: str, what: str
) -> tuple[str, list[str]]:
    if found is None:
        return name, _function(draft, schedule, scale, name, what)
    if found[0] == "constant_schedule":
        return number(found[1]["value"]), []
    return name, [f"{name} = {_recipe(found)}"]


def _function(draft: Draft, schedule: Schedule, scale: float, name: str, what: str) -> list[str]:
    """Return the source of a function of the step that gives ``scale``·schedule."""
    text, hold = formula_and_end(schedule, draft.steps)
    body = body_of(text, number(scale), JAX, draft.steps, hold)
    lines = [f"def {name}(step):", f'    """Return {what} at a step, the number of updates done."""']
    return [*body.tables, "\n".join([*lines, *(f"    {line}" for line in body.lines)])]


def _recipe(recipe: Recipe) -> str:
    name, params = recipe
    if "schedules" not in params:
        return laid_out(f"optax.{name}", params)
    children = "".join(f"\n{_recipe((child['name'], child['params']))}," for child in params["schedules"])
    return (
        f"optax.{name}(\n    [{indented(indented(children))}\n    ],\n    boundaries={number(params['boundaries'])},\n)"
    )


# --- the decay


def _decay(draft: Draft, rate: str) -> tuple[list[str], list[str]]:
    """Return the arguments of the decay (λ and the mask) as optax multiplies it by the rate, and what defines them."""
    plan = draft.plan
    assert plan.decay is not None
    lam, about = _lambda(draft, plan.decay, rate)
    return [lam, *([] if everything(plan.mask) else ["mask"])], about


def _lambda(draft: Draft, decay: Decay, rate: str) -> tuple[str, list[str]]:
    lam, peak = decay.weight_decay, draft.plan.peak
    scale = 1.0
    if isinstance(decay, Independent):
        if peak == 0.0:
            raise NoExactMapError(
                f"{decay} decays at peak 0, where optax multiplies by a learning rate of 0; use a peak."
            )
        scale = 1.0 / peak
    if isinstance(lam, Schedule):
        parts = lam
        if isinstance(decay, Corrected):
            parts = lam * draft.plan.schedule
        found = native("optax", parts, scale, draft.steps, schedules)
        return _value(draft, found, parts, scale, "weight_decay", "the weight decay")
    if isinstance(decay, Corrected) and rate == "schedule":
        times = neat(lam / peak) if peak else 0.0
        return ("schedule" if times == 1.0 else f"lambda step: {number(times)} * schedule(step)"), []
    return number(neat(lam * scale)), []


def _mask(plan: Plan) -> list[str]:
    if plan.decay is None or everything(plan.mask):
        return []
    mask = Mask(tuple(rule for rule in plan.mask.rules if rule.subject != "kind" or rule.pattern == "*"))
    return [decays_source(mask, kind=asks_kind(mask)), _MASK]


_MASK = '''def mask(params):
    """Return which of the params decay; their names are their places in the tree, joined by /."""
    return jax.tree_util.tree_map_with_path(
        lambda path, w: decays(jax.tree_util.keystr(path, simple=True, separator="/"), w.ndim), params
    )'''

_CAUTIOUS = '''def cautious(decay):
    """Let a decay act only where it does not work against the update: where both have the sign of the weight, or none."""

    def update(updates, state, params):
        decayed, state = decay.update(updates, state, params)
        agree = jax.tree.map(lambda u, w: jnp.sign(u) * jnp.sign(w) >= 0, updates, params)
        return jax.tree.map(jnp.where, agree, decayed, updates), state

    return optax.GradientTransformation(decay.init, update)'''


# --- learning rates of their own


def _scales(plan: Plan) -> list[str]:
    """Return the source of ``scaled(updates, params)``, which multiplies each by its factor on the learning rate."""
    if not plan.groups and plan.layer_decay is None:
        return []
    scale = split_source(plan)[1]
    layer, layout, depths = "", "", []
    if plan.layer_decay is not None:
        layer = f" * {plan.layer_decay!r} ** (max(depth.values()) - depth[name])"
        layout, depths = "    depth = depths(names)\n", [blocks_source(), DEPTHS_BY_NAME]
    return [scale, *depths, _SCALED.replace("LAYOUT", layout).replace("LAYER", layer)]


_SCALED = '''def scaled(updates, params=None):
    """Multiply each update by its parameter's factor on the learning rate."""
    found, tree = jax.tree_util.tree_flatten_with_path(updates)
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in found]
LAYOUT    scales = [lr_scale(name)LAYER for name in names]
    return jax.tree.unflatten(tree, [scale * u for scale, (_, u) in zip(scales, found)])'''


# --- the optimiser


def _built(plan: Plan, name: str, rate: str, decay: list[str]) -> str:
    """Return ``optimizer = ...``: optax's own optimiser where it decays as the plan does, else the chain of its parts."""
    parts = list(_parts(plan, name, rate, decay))
    if len(parts) == 1:
        return f"optimizer = {parts[0]}"
    return "optimizer = optax.chain(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def _parts(plan: Plan, name: str, rate: str, decay: list[str]) -> Iterator[str]:
    kind, own = plan.decay, OPTIMIZERS[name].kind is Decoupled and OPTIMIZERS[name].weight_decay is not None
    scaled = ["optax.stateless(scaled)"] if plan.groups or plan.layer_decay is not None else []
    keys = ("weight_decay", "mask")
    added = call("optax.add_decayed_weights", decay) if kind is not None else ""
    if kind is None or isinstance(kind, L2):
        yield from [added] if kind is not None else []
        yield call(f"optax.{name}", [rate], {"weight_decay": 0.0} if own else {})
        yield from scaled
    elif own and not kind.cautious and not (scaled and isinstance(kind, Independent)):
        yield call(f"optax.{name}", [rate], {key: Source(value) for key, value in zip(keys, decay, strict=False)})
        yield from scaled
    else:
        added = f"cautious({added})" if kind.cautious else added
        first = isinstance(kind, Independent)
        yield _DIRECTIONS[name]
        yield from scaled if first else []
        yield added
        yield from [] if first else scaled
        yield call("optax.scale_by_learning_rate", [rate])
