"""A plan as Keras source: ``schedule``, and ``optimizer``, or ``configure(model)`` where the mask has to see the variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dwindle.decay import L2, Corrected, Decay, Decoupled, Independent
from dwindle.errors import NoExactMapError, known
from dwindle.foreign.optimizers.keras import NAMES as OPTIMIZERS
from dwindle.foreign.writing.arrays import KERAS, body_of
from dwindle.foreign.writing.draft import Draft, native
from dwindle.foreign.writing.guess_keras import schedules
from dwindle.foreign.writing.guess_parts import neat
from dwindle.foreign.writing.layout import formula_and_end, laid_out
from dwindle.foreign.writing.source_text import call, module, number
from dwindle.foreign.writing.split import asks_kind, decays_source, everything, split_source
from dwindle.plan import Plan
from dwindle.schedule import Constant, Schedule

__all__ = ["keras_source", "no_decay"]

_REWRITES = ("Ftrl", "Muon")
_FLOAT = 'dtype = "float64" if keras.config.floatx() == "float64" else "float32"'


def keras_source(draft: Draft, optimizer: str | None = None) -> str:
    """Return the source of a plan for Keras 3, on any backend: the optimiser counts its own updates.

    A schedule of Keras' own is taken where one gives the same rates on every step, else a LearningRateSchedule.
    """
    plan = draft.plan
    name = _optimizer_of(plan, optimizer)
    rate, before = _rate(draft)
    own = _own(plan)
    wholes = [*before, *([] if own is not None else _function(draft)), *_split(plan)]
    if own is None:
        wholes.append(_class(plan, name))
    wholes.append(_built(plan, name, rate, own))
    text = "\n".join(wholes)
    plain = [name for name in ("fnmatch", "re") if f"{name}." in text]
    used = ["keras", *(["from keras import ops"] if "ops." in text else [])]
    return module(draft.header("keras"), [*plain, *used], wholes)


def _optimizer_of(plan: Plan, wanted: str | None) -> str:
    decay = plan.decay
    if wanted is None:
        return "SGD" if decay is None or isinstance(decay, L2) else "AdamW"
    name = known("optimizer", wanted, [name for name in OPTIMIZERS if "." not in name])
    if name in _REWRITES and (plan.groups or plan.layer_decay is not None or decay is not None):
        raise NoExactMapError(
            f"{name} of Keras works its weights out by other rules; write {plan} for another optimiser."
        )
    return name


def _own(plan: Plan) -> float | None:
    """Return the number that stands for the whole run as Keras' weight_decay (for l2 as its regulariser's), or None."""
    decay = plan.decay
    if plan.groups or plan.layer_decay is not None:
        return None
    if decay is None:
        return 0.0
    lam = decay.weight_decay
    constant = isinstance(decay, Corrected) and isinstance(plan.schedule, Constant) and plan.schedule.factor == 1.0
    if isinstance(lam, Schedule) or decay.cautious or (isinstance(decay, Corrected) and not constant):
        return None
    if isinstance(decay, Independent):
        return neat(lam / _above_zero(plan, decay))
    return lam / 2.0 if isinstance(decay, L2) else lam


def _above_zero(plan: Plan, decay: Decay) -> float:
    if plan.peak == 0.0:
        raise NoExactMapError(f"{decay} decays at peak 0, where Keras multiplies by a learning rate of 0; use a peak.")
    return plan.peak


# --- the learning rate, and λ


def _rate(draft: Draft) -> tuple[str, list[str]]:
    """Return what stands for the learning rate, and the source that defines it."""
    plan = draft.plan
    if isinstance(plan.schedule, Constant):
        return number(float(neat(plan.peak * plan.schedule.factor))), []
    found = native("keras", plan.schedule, plan.peak, draft.steps, schedules)
    if found is not None:
        return "schedule", [f"schedule = {laid_out(f'keras.optimizers.schedules.{found[0]}', found[1])}"]
    text, hold = formula_and_end(plan.schedule, draft.steps)
    body = body_of(text, number(plan.peak), KERAS, draft.steps, hold)
    lines = [
        "@keras.saving.register_keras_serializable()",
        "class Schedule(keras.optimizers.schedules.LearningRateSchedule):",
        '    """The learning rate at a step, the number of updates done."""',
        "",
        "    def __call__(self, step):",
        *(f"        {line}" for line in _typed(body.lines)),
        "",
        "    def get_config(self):",
        "        return {}",
    ]
    return "Schedule()", [*body.tables, "\n".join(lines)]


def _typed(lines: Iterable[str]) -> list[str]:
    """Return the lines of a function of the step with the step as a tensor, and the type of fractions where they need it."""
    rest = list(lines)
    return ["step = ops.convert_to_tensor(step)", *([_FLOAT] if any("dtype)" in line for line in rest) else []), *rest]


def _function(draft: Draft) -> list[str]:
    """Return the source of λ as a function of the step, where it is a schedule."""
    decay = draft.plan.decay
    if decay is None or not isinstance(decay.weight_decay, Schedule):
        return []
    text, hold = formula_and_end(decay.weight_decay, draft.steps)
    body = body_of(text, "1", KERAS, draft.steps, hold)
    lines = [
        "def weight_decay(step):",
        '    """Return the weight decay at a step."""',
        *(f"    {line}" for line in _typed(body.lines)),
    ]
    return [*body.tables, "\n".join(lines)]


# --- which variables


def _split(plan: Plan) -> list[str]:
    """Return the source of ``decays``, ``lr_scale``, ``depths`` and ``kinds``, as far as the plan needs them."""
    scaled = bool(plan.groups) or plan.layer_decay is not None
    found = []
    if plan.decay is not None and not everything(plan.mask):
        kind = asks_kind(plan.mask)
        found += [decays_source(plan.mask, kind=kind), *([_KINDS] if kind else [])]
    if scaled:
        _, scale, *depths, _ = split_source(plan)
        found += [scale, *depths]
    return found


_KINDS = '''def kinds(model):
    """Return the class name of the innermost layer that has each variable."""
    layers = sorted(model._flatten_layers(), key=lambda layer: -len(layer.trainable_variables))
    return {v.path: type(layer).__name__ for layer in layers for v in layer.trainable_variables}'''


def _decays(plan: Plan) -> str:
    """Return the question whether variable v decays."""
    if plan.decay is None:
        return "False"
    if everything(plan.mask):
        return "True"
    return "decays(v.path, len(v.shape), kind[v.path])" if asks_kind(plan.mask) else "decays(v.path, len(v.shape))"


# --- the optimiser


def _built(plan: Plan, name: str, rate: str, own: float | None) -> str:
    """Return ``optimizer = ...``, or ``configure(model)`` where the variables of the model must be seen."""
    decay, where = plan.decay, f"keras.optimizers.{name}"
    if own is None:
        return _configure(plan, call("Optimizer", [rate], no_decay(name)))
    if decay is None:
        return f"optimizer = {call(where, [rate], no_decay(name))}"
    if isinstance(decay, L2):
        keeps, given = _decays(plan), f"v.regularizer = keras.regularizers.L2({number(own)})"
        each = [f"    {given}"] if keeps == "True" else [f"    if {keeps}:", f"        {given}"]
        made = [
            *_kind_line(plan),
            "for v in model.trainable_variables:",
            *each,
            f"return {call(where, [rate], no_decay(name))}",
        ]
        return _function_of_model(made, "Give the weights of a built model their penalty, and return the optimiser.")
    built = call(where, [rate], {"weight_decay": own})
    if everything(plan.mask):
        return f"optimizer = {built}"
    made = [
        *_kind_line(plan),
        f"optimizer = {built}",
        f"rest = [v for v in model.trainable_variables if not {_decays(plan)}]",
        "optimizer.exclude_from_weight_decay(var_list=rest)",
        "return optimizer",
    ]
    return _function_of_model(made, "Return the optimiser for a built model.")


def no_decay(name: str) -> dict[str, Any]:
    """Return what an optimiser of Keras is to be given so that it does not decay."""
    own = OPTIMIZERS[name].own
    return {key: 0.0 for key, value in own.items() if key.endswith("weight_decay") and value is not None}


def _kind_line(plan: Plan) -> list[str]:
    return ["kind = kinds(model)"] if plan.decay is not None and "kind[" in _decays(plan) else []


def _function_of_model(lines: Iterable[str], about: str) -> str:
    return "\n".join(["def configure(model):", f'    """{about}"""', *(f"    {line}" for line in lines)])


def _configure(plan: Plan, built: str) -> str:
    """Return ``configure(model)`` for the optimiser class of `_class`, which asks ``parts`` what a variable gets."""
    scale = "lr_scale(v.path)" if plan.groups or plan.layer_decay is not None else "1.0"
    if plan.layer_decay is not None:
        scale += f" * {plan.layer_decay!r} ** (max(depth.values()) - depth[v.path])"
    depth = ["depth = depths([v.path for v in model.trainable_variables])"] if plan.layer_decay is not None else []
    lines = [
        *_kind_line(plan),
        *depth,
        f"optimizer = {built}",
        "optimizer.parts = [",
        f"    ({scale}, {_decays(plan)})",
        "    for v in model.trainable_variables",
        "]",
        "return optimizer",
    ]
    return _function_of_model(lines, "Return the optimiser for a built model.")


def _class(plan: Plan, name: str) -> str:
    """Return the source of a subclass whose update_step gives each variable its own rate and the plan's decay."""
    decay = plan.decay
    before, after = ([], []) if decay is None else _steps(plan, decay)
    lines = [
        f"class Optimizer(keras.optimizers.{name}):",
        f'    """{name} with parts: (factor on the learning rate, decays or not) of each variable in order."""',
        "",
        "    def update_step(self, gradient, variable, learning_rate):",
        "        scale, decays = self.parts[self._get_variable_index(variable)]",
        "        lr = learning_rate * scale",
        *(f"        {line}" for line in before),
        "        super().update_step(gradient, variable, lr)",
        *(f"        {line}" for line in after),
    ]
    return "\n".join(lines)


def _steps(plan: Plan, decay: Decay) -> tuple[list[str], list[str]]:
    """Return the lines before and after the update that decay a variable."""
    lam = "weight_decay(self.iterations)" if isinstance(decay.weight_decay, Schedule) else number(decay.weight_decay)
    if isinstance(decay, L2):
        return ["if decays:", f"    gradient = gradient + ops.cast({lam}, variable.dtype) * variable"], []
    peak = number(_above_zero(plan, decay)) if not isinstance(decay, Decoupled) else ""
    share = {
        Decoupled: f"lr * {lam}",
        Independent: f"learning_rate / {peak} * {lam}",
        Corrected: f"lr * learning_rate / {peak} * {lam}",
    }[type(decay)]
    x = f"x = ops.cast({share}, variable.dtype)"
    if not decay.cautious:
        return ["if decays:", f"    {x}", "    variable.assign(variable - x * variable)"], []
    return ["before = ops.copy(variable)"], [
        "if decays:",
        f"    {x}",
        "    agrees = ops.sign(before) * ops.sign(before - variable) >= 0",
        "    variable.assign(variable - ops.where(agrees, x * before, ops.zeros_like(before)))",
    ]
