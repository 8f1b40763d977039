"""A plan as scikit-learn source: SGDClassifier and SGDRegressor, whose step is a sample, or an MLP, whose step is a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from dwindle.decay import L2
from dwindle.errors import NoExactMapError, UnresolvedTimeError, known
from dwindle.foreign.optimizers.classic import NAMES as OPTIMIZERS
from dwindle.foreign.writing.draft import Draft, Recipe, native
from dwindle.foreign.writing.expression import expression
from dwindle.foreign.writing.plain_sgd import intercept_notes, refuse_groups, sgd_decay
from dwindle.foreign.writing.source_text import Source, call, indented, module, number, returned, spread
from dwindle.schedule import Constant, PowerLaw, Schedule
from dwindle.units import number_of_steps

__all__ = ["sklearn_source"]

_MOST_CHECKED = 100_000  # steps
_MODULES = {"SGD": "sklearn.linear_model", "MLP": "sklearn.neural_network"}


def sklearn_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for scikit-learn 1.9.

    ``optimizer`` is the estimator: by default SGDClassifier, or MLPClassifier where the run has batches of several samples.
    A schedule that the estimator has itself becomes its parameters; any other a loop over ``partial_fit`` that sets the
    rate before every update.
    """
    name = _estimator(draft, optimizer)
    refuse_groups(draft.plan, "scikit-learn")
    source = _mlp_source if name.startswith("MLP") else _sgd_source
    functions, notes = source(draft, name)
    notes = [*notes, *intercept_notes(draft.plan, "scikit-learn's coef_ decays and its intercept_ does not")]
    header = draft.header("scikit-learn", notes)
    return module(header, [f"from {_MODULES[name[:3]]} import {name}"], functions)


def _estimator(draft: Draft, wanted: str | None) -> str:
    if wanted is None:
        batches = draft.run is not None and (draft.run.batch_size or 1) > 1
        return "MLPClassifier" if batches else "SGDClassifier"
    name = known("optimizer", wanted, OPTIMIZERS["sklearn"])
    if name == "Ridge":
        raise NoExactMapError("Ridge solves for its weights and has no learning rate; write the plan for SGDRegressor.")
    return name


# --- SGDClassifier, SGDRegressor


def _sgd_source(draft: Draft, name: str) -> tuple[list[str], list[str]]:
    lam = sgd_decay(draft.plan)
    _refuse_overshoot(draft)
    notes = [*_cautious(draft, name)]
    if draft.run is not None and (draft.run.batch_size or 1) > 1:
        size = draft.run.batch_size
        notes.append(f"not exact: {name} makes an update for every sample, so a step here is one sample, not {size}.")
    alpha, falls = (None, lam) if isinstance(lam, Schedule) else (lam, None)
    recipe = None
    if falls is None:
        recipe = native(
            "sklearn", draft.plan.schedule, draft.plan.peak, draft.steps, lambda *at: _rates(*at, alpha=alpha)
        )
    penalty: dict[str, Any] = {"penalty": None} if lam is None else {"alpha": 0.0 if alpha is None else alpha}
    if recipe is not None:
        rate = {key: value for key, value in recipe[1].items() if key != "alpha"}
        params = {"learning_rate": recipe[0], **rate, **penalty, **_passes(draft)}
        return [_configure(name, params, "fit(X, y), or partial_fit; a step of the plan is a sample")], notes
    params = {"learning_rate": "constant", "eta0": _positive(draft.plan.peak), **penalty}
    functions = [_factor(draft), *_decay(draft, falls), _configure(name, params, "Train it by train(model, X, y)")]
    return [*functions, _sgd_loop(draft, falls)], notes


def _rates(schedule: Schedule, peak: float, steps: float, *, alpha: float | None) -> Iterator[Recipe]:
    """Yield the learning rates of an SGD estimator that may be the schedule."""
    if isinstance(schedule, Constant):
        yield "constant", {"eta0": peak * schedule.factor}
    if isinstance(schedule, PowerLaw):
        yield "invscaling", {"eta0": peak, "power_t": schedule.exponent}
        if alpha:
            yield "optimal", {"alpha": alpha}


def _passes(draft: Draft) -> dict[str, Any]:
    """Return how often ``fit`` goes through the samples, where the run says so."""
    run = draft.run
    if run is None or run.examples is None or draft.steps % run.examples or run.batch_size not in (None, 1):
        return {}
    return {"max_iter": draft.steps // run.examples, "tol": None}


def _sgd_loop(draft: Draft, falls: Schedule | None) -> str:
    rates = {"eta0": Source(f"max({number(draft.plan.peak)} * factor(step), 1e-300)")}
    rates |= {} if falls is None else {"alpha": Source("decay(step)")}
    return "\n".join(
        [
            "def train(model, X, y, **options):",
            '    """Train on the samples in their order, each at its own rate; options are those of partial_fit."""',
            "    for i in range(len(X)):",
            '        step = int(getattr(model, "t_", 1)) - 1  # samples seen so far',
            f"        {call('model.set_params', params=rates)}  # eta0 must not be 0",
            "        model.partial_fit(X[i : i + 1], y[i : i + 1], **options)",
            "    return model",
        ]
    )


# --- MLPClassifier, MLPRegressor


def _mlp_source(draft: Draft, name: str) -> tuple[list[str], list[str]]:
    plan, run, lam = draft.plan, draft.run, sgd_decay(draft.plan)
    if run is None or run.batch_size is None:
        raise UnresolvedTimeError(
            f"{name} divides its alpha by the batch, so it needs to know batch_size; give the run, such as "
            "Horizon(epochs=10, examples=1000, batch_size=50)."
        )
    alpha = 0.0 if lam is None else lam * run.batch_size
    params: dict[str, Any] = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0 if isinstance(alpha, Schedule) else alpha}
    params["batch_size"] = run.batch_size
    notes = [*_cautious(draft, name)]
    if not isinstance(plan.decay, L2 | None):
        notes.append(f"without momentum {plan.decay} is the same update as alpha; with momentum or adam it is not.")
    recipe = None if isinstance(alpha, Schedule) else _mlp_rates(draft)
    if recipe is not None:
        rate = {"learning_rate": recipe[0], **recipe[1]}
        return [_mlp_fit(draft, name, params | rate)], [*notes, *_last_batch(draft)]
    params |= {"learning_rate_init": _positive(plan.peak)}
    functions = [_factor(draft), *_decay(draft, lam), _configure(name, params, "Train it by train(model, X, y)")]
    return [*functions, _mlp_loop(draft, run.batch_size, lam)], notes


def _mlp_rates(draft: Draft) -> Recipe | None:
    """Return the learning rate of an MLP's own that is the plan's: constant, or falling at the end of each epoch."""
    plan, run = draft.plan, draft.run
    match plan.schedule:
        case Constant(factor=factor) if plan.peak * factor > 0.0:
            return "constant", {"learning_rate_init": plan.peak * factor}
        case PowerLaw(exponent=power, every=every, rate=rate, staircase=True) if (
            run is not None
            and run.examples == rate
            and number_of_steps(every) == run.steps_per_epoch == -(-run.examples // (run.batch_size or 1))
        ):
            return "invscaling", {"learning_rate_init": plan.peak, "power_t": power}
    return None


def _mlp_fit(draft: Draft, name: str, params: dict[str, Any]) -> str:
    run = draft.run
    assert run is not None
    if run.examples is None or run.steps_per_epoch is None or draft.steps % run.steps_per_epoch:
        return _configure(name, params, "fit(X, y), or partial_fit")
    epochs = draft.steps // run.steps_per_epoch
    params = {**params, "max_iter": epochs, "n_iter_no_change": epochs}
    lines = [
        "def fit(X, y):",
        f'    """Return the model, fitted to {run.examples} samples: its rate and its decay count on their number."""',
        f"    n = {run.examples}",
        "    if len(X) != n:",
        '        raise ValueError(f"the plan is for {n} samples; got {len(X)}.")',
        f"    model = {_built(name, params)}",
        "    return model.fit(X, y)",
    ]
    return "\n".join(lines)


def _last_batch(draft: Draft) -> Iterable[str]:
    """Say that a last batch which is not full decays more."""
    run = draft.run
    if draft.decay is not None and run is not None and run.examples and run.examples % (run.batch_size or 1):
        last = run.examples % (run.batch_size or 1)
        yield f"not exact: the last batch of an epoch has {last} samples, and alpha is divided by as many: it decays more."


def _mlp_loop(draft: Draft, size: int, lam: float | Schedule | None) -> str:
    """Return the source of a loop over batches; alpha follows a smaller last batch, by which scikit-learn divides it."""
    options = {"batch_size": Source("len(x)")}
    if lam is not None:
        options["alpha"] = Source(f"{'decay(step)' if isinstance(lam, Schedule) else number(lam)} * len(x)")
    return "\n".join(
        [
            "def train(model, X, y, step=0, **options):",
            f'    """Train on X in its order, a step for every {size} samples; return the next step. options: classes=..."""',
            f"    for i in range(0, len(X), {size}):",
            f"        x = X[i : i + {size}]",
            f"        rate = max({number(draft.plan.peak)} * factor(step), 1e-300)  # it must not be 0",
            f"        {call('model.set_params', params={'learning_rate_init': Source('rate'), **options})}",
            '        if hasattr(model, "_optimizer"):  # it keeps the rate of its first batch',
            "            model._optimizer.learning_rate = rate",
            f"        model.partial_fit(x, y[i : i + {size}], **options)",
            "        step += 1",
            "    return step",
        ]
    )


# --- both


def _factor(draft: Draft) -> str:
    says = f'    """Return the rate / {number(draft.plan.peak)} at a step, the number of updates done."""'
    return f"def factor(step):\n{says}\n{returned(draft.factor)}"


def _configure(name: str, params: dict[str, Any], what: str) -> str:
    return f'def configure():\n    """Return the model. {what}."""\n    return {_built(name, params)}'


def _built(name: str, params: dict[str, Any]) -> str:
    """Return the call of an estimator, one parameter a line where one line is too long."""
    line = call(name, [], params)
    if len(line) <= 108:
        return line
    return indented(spread(name, [f"{key}={number(value)}" for key, value in params.items()]))


def _positive(peak: float) -> float:
    return peak or 1e-300


def _cautious(draft: Draft, name: str) -> Iterable[str]:
    if draft.decay is not None and draft.decay.cautious:
        yield f"not exact: {name} has no cautious decay; here weights decay also against their update."


def _refuse_overshoot(draft: Draft) -> None:
    """Raise where a share above 1 would leave the weights: scikit-learn sets them to 0 instead."""
    share = float(draft.plan.sgd_shares(min(draft.steps, _MOST_CHECKED)).max())
    if share > 1.0:
        raise NoExactMapError(f"lr·λ reaches {share:g}; above 1 scikit-learn sets the weights to 0. Lower it.")


def _decay(draft: Draft, lam: float | Schedule | None) -> list[str]:
    """Return the function of a λ that changes, or none."""
    if not isinstance(lam, Schedule):
        return []
    says = f'    """Return λ at a step: {draft.decay} as plain SGD takes it."""'
    return [f"def decay(step):\n{says}\n{returned(expression(lam, draft.steps))}"]
