"""The optimiser that the text of a recipe builds: which, with which settings of its own, and what stands around it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dwindle.errors import DwindleError, shown
from dwindle.foreign.optimizers.classic import NAMES as CLASSIC
from dwindle.foreign.optimizers.keras import NAMES as KERAS
from dwindle.foreign.optimizers.optax import NAMES as OPTAX
from dwindle.foreign.optimizers.torch_groups import NAMES as TORCH
from dwindle.foreign.optimizers.torch_groups import OTHER_ADAMWS
from dwindle.foreign.optimizers.training_arguments import CLASSES
from dwindle.foreign.source.chains import name_of
from dwindle.foreign.source.literal import Scope, callee
from dwindle.foreign.source.pair import lr_name, owner_of
from dwindle.foreign.source.positions import POSITIONS
from dwindle.foreign.source.program import plainly
from dwindle.foreign.source.spec import is_spec, pair_of_spec

__all__ = ["Optimiser", "optimiser_in"]

_OWN = {**TORCH, "optax": OPTAX, "keras": KERAS, **CLASSIC}

_DIRECTIONS = {
    "sgdw": "sgd", "decoupledsgdw": "sgd", "identity": "sgd", "trace": "sgd", "sgdclassifier": "sgd", "sgdregressor": "sgd",
    "plain sgd": "sgd", "adamw": "adam", "adamwlegacy": "adam", "decoupledadamw": "adam", "nadamw": "nadam",
    "adamaxw": "adamax", "scale_by_rms": "rmsprop", "scale_by_rss": "adagrad",
}  # fmt: skip
"""name -> what turns the gradient into an update, where that is not the name; how the weights decay is the plan's."""
_PARTS_OF_OPTAX = (
    "identity", "trace", "scale_by_adam", "scale_by_adamax", "scale_by_lion", "scale_by_adan", "scale_by_rms",
    "scale_by_rss", "scale_by_adadelta",
)  # fmt: skip

_NOT_ITS_OWN = (
    "weight_decay", "decoupled_weight_decay", "corrected_weight_decay", "adam_weight_decay", "lr_decay", "mask",
    "weight_decay_mask", "gradient_accumulation_steps", "foreach", "fused", "capturable", "differentiable", "name",
    "mu_dtype", "accumulator_dtype", "params", "model",
)  # fmt: skip
_OF_SKLEARN = {
    "sgd": ("momentum", "nesterovs_momentum"), "adam": ("beta_1", "beta_2", "epsilon"), "": ("average",),
}  # fmt: skip
_AROUND = (
    "clip_by_global_norm", "clip_by_block_rms", "adaptive_grad_clip", "zero_nans", "centralize", "add_noise",
    "scale_by_trust_ratio", "normalize_by_update_norm", "keep_params_nonnegative", "MultiSteps", "apply_if_finite",
    "skip_not_finite", "lookahead", "apply_every", "clip_grad_norm_", "clip_grad_value_", "optax.clip", "optax.ema",
)  # fmt: skip
"""What stands around an optimiser and changes its updates."""


@dataclass(frozen=True, slots=True)
class Optimiser:
    """An optimiser of the peer ``owner`` as a recipe builds it: what it was ``given``, and what stands ``around`` it."""

    owner: str
    name: str
    given: Mapping[str, Any]
    around: tuple[str, ...] = ()

    @property
    def direction(self) -> str:
        """What turns the gradient into an update: that of AdamW is adam's."""
        if self.name.startswith("MLP"):
            return str(self.given.get("solver", "adam"))
        name = self.name.lower()
        return _DIRECTIONS.get(name, name.removeprefix("scale_by_"))

    def defaults(self) -> Mapping[str, Any]:
        """Return the settings of its own that it has where none are given."""
        named = _OWN.get(self.owner, {})
        recipe = named.get(self.name) or named.get(self.direction)
        own: Mapping[str, Any] = {} if recipe is None else recipe.own
        if self.owner == "torch" and self.name == "RMSprop":
            own = {**own, "eps_in_sqrt": False}  # as optax calls it
        if self.owner != "sklearn":
            return {key: value for key, value in own.items() if key not in _NOT_ITS_OWN}
        kept = _OF_SKLEARN.get(self.direction if self.name.startswith("MLP") else "", ())
        return {key: own[key] for key in kept}


def optimiser_in(text: str, peer: str) -> Optimiser | None:
    """Return the optimiser that the text of a recipe of ``peer`` builds; None if it builds none.

    >>> optimiser_in("torch:SGD(lr=0.1, momentum=0.9) StepLR(30)", "torch")
    Optimiser(owner='torch', name='SGD', given={'momentum': 0.9}, around=())
    """
    if peer == "textbook":
        return Optimiser("textbook", "plain SGD", {})
    if text.lstrip().startswith("{"):
        return _of_trainer(json.loads(text))
    if not is_spec(text):
        return _in_tree(plainly(ast.parse(text), peer), peer)
    pair = pair_of_spec(text)
    if pair.optimizer is None:
        return None
    name, params, owner = pair.optimizer["name"], pair.optimizer["params"], pair.owner or peer
    return _of_trainer(params) if name in CLASSES else Optimiser(owner, name, _without_rate(params, owner, name))


def _without_rate(given: Mapping[str, Any], owner: str, name: str) -> dict[str, Any]:
    left = (lr_name(owner, name), *_NOT_ITS_OWN)
    return {key: value for key, value in given.items() if key not in left}


def _of_trainer(given: Any) -> Optimiser | None:
    """Return the optimiser that the Trainer builds by its arguments; it clips gradients unless it is told not to."""
    if not isinstance(given, Mapping):
        return None
    optim = str(given.get("optim") or "adamw_torch")
    name = {"sgd": "SGD", "adafactor": "Adafactor"}.get(optim, "AdamW")
    own: dict[str, Any] = {}
    if name == "AdamW":
        betas = [given.get("adam_beta1", 0.9), given.get("adam_beta2", 0.999)]
        own = {"betas": betas, "eps": given.get("adam_epsilon", 1e-8)}
    if name == "Adafactor":
        own = {"scale_parameter": False, "relative_step": False}
    own |= {"optim": optim} if optim in OTHER_ADAMWS else {}
    own |= {"optim_args": given["optim_args"]} if given.get("optim_args") else {}
    norm = given.get("max_grad_norm", 1.0)
    return Optimiser("torch", name, own, (f"max_grad_norm={norm} of the Trainer",) if norm else ())


def _in_tree(tree: ast.Module, peer: str) -> Optimiser | None:
    scope, calls = Scope.of(tree), [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    found = [(owner, node, name_of(node)) for node in calls if (owner := _owner(name_of(node), peer)) is not None]
    found = [one for one in found if one[2] not in CLASSES] or found
    whole = [one for one in found if one[2] not in _PARTS_OF_OPTAX] or found  # identity() beside adam(...) says nothing
    if not whole:
        return None
    owner, node, name = whole[0]
    given = _given(node, name, owner, scope)
    around = tuple(dict.fromkeys(part for call in calls for part in _around(call)))
    if name in CLASSES:
        trainers = _of_trainer(given)
        return None if trainers is None else Optimiser("torch", trainers.name, trainers.given, trainers.around + around)
    if name == "trace" and "decay" in given:
        given["momentum"] = given.pop("decay")
    return Optimiser(owner, name, given, around)


def _owner(name: str, peer: str) -> str | None:
    """Return the peer whose optimiser, or part of one, ``name`` is."""
    if (peer == "hf" and name in CLASSES) or (peer == "optax" and name in _PARTS_OF_OPTAX):
        return peer
    return owner_of(name, peer)


def _given(node: ast.Call, name: str, owner: str, scope: Scope) -> dict[str, Any]:
    """Return the settings of a call by their names; one that cannot be read stands as its source."""
    call = scope.call(node)
    if call is None:
        return {}
    args = call.args[1:] if owner in ("torch", "timm", "composer") else call.args  # the first are the parameters
    given = dict(zip(POSITIONS.get(owner, {}).get(name, ()), args, strict=False)) | dict(call.named)
    return {key: _value(value, scope) for key, value in _without_rate(given, owner, name).items()}


def _value(node: Any, scope: Scope) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return node.value
    try:
        return scope.value(node)
    except DwindleError:
        return shown(ast.unparse(node)).strip("'")


def _around(call: ast.Call) -> Iterator[str]:
    name = callee(call)
    if name in _AROUND or ast.unparse(call.func) in _AROUND:
        wraps = name in ("MultiSteps", "apply_if_finite", "skip_not_finite", "lookahead")
        values = [ast.unparse(part) for part in call.args[wraps:]]
        values += [ast.unparse(word) for word in call.keywords if word.arg not in ("opt", "inner", "fast_optimizer")]
        yield f"{name}({', '.join(values)})"
    yield from (f"gradient_clip_val={ast.unparse(w.value)}" for w in call.keywords if w.arg == "gradient_clip_val")
