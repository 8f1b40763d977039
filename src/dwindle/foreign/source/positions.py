"""What the optimisers of the peers take without its name, in their own order."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from dwindle.errors import InvalidValueError
from dwindle.foreign.source.literal import at_line

__all__ = ["POSITIONS", "by_name"]

_SGD, _ADAM = ("lr", "momentum", "dampening", "weight_decay", "nesterov"), ("lr", "betas", "eps", "weight_decay")
_OPTAX = ("learning_rate", "b1", "b2", "eps")
_OPTAX_ADAM = (*_OPTAX, "eps_root", "mu_dtype")
_KERAS = ("learning_rate", "beta_1", "beta_2", "epsilon")

POSITIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "torch": {
        "SGD": _SGD, "Adam": (*_ADAM, "amsgrad"), "AdamW": (*_ADAM, "amsgrad"),
        "NAdam": (*_ADAM, "momentum_decay", "decoupled_weight_decay"), "RAdam": (*_ADAM, "decoupled_weight_decay"),
        "Adamax": _ADAM, "RMSprop": ("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
        "Adagrad": ("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
        "Adadelta": ("lr", "rho", "eps", "weight_decay"),
        "Muon": ("lr", "weight_decay", "momentum", "nesterov", "ns_coefficients", "eps", "ns_steps", "adjust_lr_fn"),
        "Adafactor": ("lr", "beta2_decay", "eps", "d", "weight_decay"), "SparseAdam": ("lr", "betas", "eps", "maximize"),
        "LBFGS": ("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search_fn"),
        "ASGD": ("lr",), "Rprop": ("lr",),
    },
    "timm": {
        "SGDW": _SGD, "sgdw": _SGD,
        **dict.fromkeys(("AdamW", "adamw", "AdamWLegacy"), (*_ADAM, "amsgrad", "caution", "corrected_weight_decay")),
    },
    "composer": {"DecoupledSGDW": _SGD, "DecoupledAdamW": (*_ADAM, "amsgrad")},
    "optax": {
        "sgd": ("learning_rate", "momentum", "nesterov", "accumulator_dtype"), "adam": _OPTAX_ADAM, "nadam": _OPTAX_ADAM,
        "adamw": (*_OPTAX_ADAM, "weight_decay", "mask"), "nadamw": (*_OPTAX_ADAM, "weight_decay", "mask"),
        "adamax": _OPTAX, "adamaxw": (*_OPTAX, "weight_decay", "mask"),
        "lion": ("learning_rate", "b1", "b2", "mu_dtype", "weight_decay", "mask"),
        "lamb": (*_OPTAX, "eps_root", "weight_decay", "mask"),
        "lars": ("learning_rate", "weight_decay", "weight_decay_mask", "trust_coefficient", "eps", "trust_ratio_mask"),
        "adan": ("learning_rate", "b1", "b2", "b3", "eps", "eps_root", "weight_decay", "mask"),
        "rmsprop": ("learning_rate", "decay", "eps", "initial_scale", "eps_in_sqrt", "centered", "momentum", "nesterov"),
        "adagrad": ("learning_rate", "initial_accumulator_value", "eps"),
        "adadelta": ("learning_rate", "rho", "eps", "weight_decay", "weight_decay_mask"),
        "trace": ("decay", "nesterov"), "scale_by_adam": _OPTAX_ADAM[1:], "scale_by_adamax": _OPTAX[1:],
        "scale_by_lion": ("b1", "b2", "mu_dtype"), "scale_by_adan": ("b1", "b2", "b3", "eps", "eps_root"),
        "scale_by_rms": ("decay", "eps", "initial_scale", "eps_in_sqrt"),
        "scale_by_rss": ("initial_accumulator_value", "eps"), "scale_by_adadelta": ("rho", "eps"),
    },
    "sklearn": {
        "Ridge": ("alpha",), "SGDClassifier": ("loss",), "SGDRegressor": ("loss",),
        "MLPClassifier": ("hidden_layer_sizes", "activation"), "MLPRegressor": ("loss", "hidden_layer_sizes", "activation"),
    },
    "keras": {
        "SGD": ("learning_rate", "momentum", "nesterov", "weight_decay"),
        "RMSprop": ("learning_rate", "rho", "momentum", "epsilon", "centered", "weight_decay"),
        "Adam": (*_KERAS, "amsgrad", "weight_decay"),
        "AdamW": ("learning_rate", "weight_decay", "beta_1", "beta_2", "epsilon", "amsgrad"),
        "Adadelta": ("learning_rate", "rho", "epsilon", "weight_decay"),
        "Adagrad": ("learning_rate", "initial_accumulator_value", "epsilon", "weight_decay"),
        "Adamax": (*_KERAS, "weight_decay"), "Nadam": (*_KERAS, "weight_decay"), "Lamb": (*_KERAS, "weight_decay"),
        "Lion": ("learning_rate", "beta_1", "beta_2", "weight_decay"),
    },
}  # fmt: skip
"""peer -> optimiser, or part of one -> the names of its positional values after the parameters; the beginning of each list."""


def by_name(peer: str, optimizer: str, args: Sequence[ast.expr], first: str) -> dict[str, ast.expr]:
    """Return positional values by the names the optimiser has for them; of an unlisted one only ``first`` is known.

    Raises InvalidValueError for a value whose name is not known.

    >>> list(by_name("torch", "SGD", [ast.Constant(0.1), ast.Constant(0.9)], "lr"))
    ['lr', 'momentum']
    """
    names = POSITIONS.get(peer, {}).get(optimizer, (first,))
    if len(args) > len(names):
        more = args[len(names)]
        raise InvalidValueError(
            f"{ast.unparse(more)} is value {len(names) + 1} of {optimizer}{at_line(more)}, whose name is not known here; "
            "give it by its name, such as weight_decay=0.1."
        )
    return dict(zip(names, args, strict=False))
