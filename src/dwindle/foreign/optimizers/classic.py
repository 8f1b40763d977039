"""scikit-learn's estimators that are trained by gradient descent, Ridge, and the textbook's own two programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dwindle.foreign.schedules.sklearn as sklearn
from dwindle.decay import L2
from dwindle.errors import InvalidValueError, NoExactMapError, real
from dwindle.foreign.optimizers.recipe import Rate, Recipe, plan_from, rate_of, settings_of
from dwindle.foreign.schedules.settings import Settings
from dwindle.mask import Mask
from dwindle.plan import Plan
from dwindle.schedule import PowerLaw
from dwindle.units import Time

__all__ = ["NAMES", "read"]


def read(peer: str, name: str, params: Mapping[str, Any], base_lr: float | None) -> Plan:
    """Return the plan of a scikit-learn estimator, or of the textbook's network2 or network3; biases do not decay.

    >>> str(read("textbook", "network2", {"eta": 0.5, "lmbda": 5.0, "n": 50_000}, None))
    'peak 0.5 | constant | l2 1e-4'
    """
    recipe = NAMES[peer][name]
    if peer == "textbook":
        return _textbook(settings_of(f"the textbook's {name}", params, recipe, base_lr, "eta"), base_lr)
    what = f"scikit-learn's {name}"
    if name == "Ridge":
        s = Settings.of(what, params, required=("n",), defaults=recipe.own)
        peak = 1.0 if base_lr is None else real("base_lr", base_lr, above=0.0)
        return Plan(peak, decay=L2.from_cost(s.real("alpha", low=0.0), s.count("n")) if s["alpha"] else None)
    if name.startswith("MLP"):
        return _mlp(settings_of(what, params, recipe, base_lr, "learning_rate_init"))
    return _sgd(settings_of(what, params, recipe, base_lr, "eta0"))


def _sgd(s: Settings) -> Plan:
    """Return the plan of SGDRegressor or SGDClassifier: a step a sample, the weights decayed before it."""
    kind = s.one_of("learning_rate", sklearn.NAMES)
    keys = {"constant": ("eta0",), "invscaling": ("eta0", "power_t"), "optimal": ("alpha",)}.get(kind, ("eta0",))
    plan = sklearn.read(kind, {key: s[key] for key in keys})
    alpha = s.real("alpha", low=0.0) * _l2_share(s)
    if plan.peak * alpha > 1.0:
        raise NoExactMapError(
            f"alpha {alpha:g} of {s.what} times its rate is above 1, where it sets the weights to 0; lower it."
        )
    return Plan(plan.peak, plan.schedule, L2.from_sklearn(alpha, estimator="sgd") if alpha else None)


def _l2_share(s: Settings) -> float:
    """Return how much of the penalty is l2: all, or nothing; a part of l1 is no decay of ours."""
    if s["penalty"] is None:
        return 0.0
    penalty = s.one_of("penalty", ("l2", "l1", "elasticnet"))
    if penalty == "l2" or (penalty == "elasticnet" and s["l1_ratio"] == 0):
        return 1.0
    raise NoExactMapError(
        f"penalty {penalty!r} of {s.what} draws weights to 0 by l1, which no decay here does; use 'l2'."
    )


def _mlp(s: Settings) -> Plan:
    """Return the plan of an MLP: its penalty is divided by the batch, so a last batch that is smaller decays more."""
    alpha, batch = s.real("alpha", low=0.0), _batch(s)
    decay = L2.from_sklearn(alpha, estimator="mlp", batch_size=batch) if alpha else None
    solver, lr = s.one_of("solver", ("sgd", "adam", "lbfgs")), s.real("learning_rate_init", above=0.0)
    kind = s.one_of("learning_rate", ("constant", "invscaling", "adaptive"))
    if solver == "lbfgs":
        return Plan(1.0, decay=decay)  # it searches for its steps
    if solver == "adam" or kind == "constant":  # adam does not read learning_rate
        return Plan(lr, decay=decay)
    if kind == "adaptive":
        raise NoExactMapError(f"learning_rate 'adaptive' of {s.what} answers the loss; use plateau(factor=0.2).")
    if s["n"] is None:
        raise InvalidValueError(f"learning_rate 'invscaling' of {s.what} counts samples; give n, the training samples.")
    # lr/(1 + samples seen)^power_t, set at the end of each epoch
    falling = PowerLaw(s.real("power_t", low=0.0), Time(1, "ep"), float(s.count("n")), staircase=True)
    return Plan(lr, falling, decay)


def _batch(s: Settings) -> int:
    """Return the batch of an MLP; "auto" is min(200, n), of lbfgs n."""
    if s["batch_size"] != "auto":
        return s.count("batch_size")
    if s["n"] is None:
        raise InvalidValueError(
            f"the alpha of {s.what} is divided by the batch; give batch_size as a number (auto: min(200, n); lbfgs: n)."
        )
    return s.count("n") if s["solver"] == "lbfgs" else min(200, s.count("n"))


def _textbook(s: Settings, base_lr: float | None) -> Plan:
    """Return the plan of the book's programs; network3 divides λ by the number of mini-batches, network2 by that of examples."""
    rate: Rate = rate_of("textbook", s, base_lr, "eta")
    lam = s.real("lmbda", low=0.0)
    n = s.count("n") if lam else 1
    if lam and "network3" in s.what:
        n //= s.count("mini_batch_size")  # the program counts whole mini-batches
        if n == 0:
            raise InvalidValueError(
                f"mini_batch_size of {s.what} must be at most n={s['n']}; got {s['mini_batch_size']}."
            )
    return plan_from(rate, L2.from_cost(lam, n) if lam else None, mask=Mask())


_SGD = {
    "loss": None, "penalty": "l2", "alpha": 1e-4, "l1_ratio": 0.15, "fit_intercept": True, "max_iter": 1000, "tol": 1e-3,
    "shuffle": True, "verbose": 0, "epsilon": 0.1, "random_state": None, "early_stopping": False,
    "validation_fraction": 0.1, "n_iter_no_change": 5, "warm_start": False, "average": False,
}  # fmt: skip
_MLP = {
    "hidden_layer_sizes": (100,), "activation": "relu", "solver": "adam", "alpha": 1e-4, "batch_size": "auto",
    "learning_rate": "constant", "power_t": 0.5, "max_iter": 200, "shuffle": True, "random_state": None, "tol": 1e-4,
    "verbose": False, "warm_start": False, "momentum": 0.9, "nesterovs_momentum": True, "early_stopping": False,
    "validation_fraction": 0.1, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "n_iter_no_change": 10,
    "max_fun": 15_000, "n": None,
}  # fmt: skip
_RIDGE = {
    "alpha": 1.0, "fit_intercept": True, "copy_X": True, "max_iter": None, "tol": 1e-4, "solver": "auto",
    "positive": False, "random_state": None,
}  # fmt: skip
_BOOK = {"lmbda": 0.0, "n": None, "mini_batch_size": None, "epochs": None}
_CLASSES = {"class_weight": None, "n_jobs": None}

NAMES: dict[str, dict[str, Recipe]] = {
    "sklearn": {
        "SGDRegressor": Recipe(0.01, own={**_SGD, "learning_rate": "invscaling", "power_t": 0.25}),
        "SGDClassifier": Recipe(0.01, own={**_SGD, **_CLASSES, "learning_rate": "optimal", "power_t": 0.5}),
        "MLPClassifier": Recipe(1e-3, own=_MLP),
        "MLPRegressor": Recipe(1e-3, own={**_MLP, "loss": "squared_error"}),
        "Ridge": Recipe(None, own=_RIDGE),
    },
    "textbook": {"network2": Recipe(None, own=_BOOK), "network3": Recipe(None, own=_BOOK)},
}
"""peer -> name -> what the recipe holds, with the peer's defaults; ``n`` is the number of training examples."""
