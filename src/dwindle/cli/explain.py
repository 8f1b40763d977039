"""``dwindle explain``: why this learning rate and this decay at a step, and how two plans differ, in 80 columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwindle.cli.said import say, say_json
from dwindle.errors import DataError, DwindleError, InvalidValueError, ParseError

if TYPE_CHECKING:
    from dwindle.explain import Comparison
    from dwindle.mask import Param
    from dwindle.units import Horizon

__all__ = ["explain"]

_CURVE = 56


def explain(
    plan: Annotated[
        str,
        typer.Argument(
            help="A plan in one line, a .toml or .json file, or a recipe such as 'torch:StepLR(30) lr=0.1'."
        ),
    ],
    step: Annotated[
        str | None, typer.Option(metavar="T", help="The update to explain, from 0: 500, 20% or 3ep.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the run; by default 1,000.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the run.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Steps of an epoch, for times in ep.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of a step.")] = None,
    tokens_per_step: Annotated[int | None, typer.Option(help="Tokens of a step.")] = None,
    param: Annotated[
        str | None, typer.Option(metavar="NAME", help="The parameter that is meant, such as fc.weight.")
    ] = None,
    shape: Annotated[str | None, typer.Option(metavar="N,M", help="Its shape, such as 128,64.")] = None,
    kind: Annotated[str | None, typer.Option(help="The class of its layer, such as Linear.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FUNCTION", help="module:function or file.py:function that returns the torch or Keras model."
        ),
    ] = None,
    group: Annotated[str | None, typer.Option(help="The group of the plan that is meant, if no parameter is.")] = None,
    against: Annotated[str | None, typer.Option(metavar="PLAN", help="Another plan: what it would change.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Explain a step of a plan: why this learning rate, why this decay, what is left of w(0); or what another plan changes.

    The steps are --steps N, or --epochs E with --steps-per-epoch K.
    """
    from dwindle.explain import compare
    from dwindle.explain import explain as explained

    if step is None and against is None:
        raise InvalidValueError(
            "which step? Add --step T, such as 500, 20% or 3ep; or --against PLAN to compare two plans."
        )
    run = _run(steps, epochs, steps_per_epoch, batch_size, tokens_per_step)
    value, rule = _plan("PLAN", plan, run)
    found = None
    if step is not None:
        one, params = _param(param, shape, kind, model)
        found = explained(value, run, step, one, params=params, group=group, feedback=rule)
    beside = None if against is None else compare(value, _plan("--against", against, run)[0], run)
    if as_json:
        answer: dict[str, Any] = {} if found is None else found.as_dict()
        if beside is not None:
            answer |= {"against": beside.as_dict()} if found is not None else beside.as_dict()
        say_json(answer)
        return
    parts = [str(found)] if found is not None else []
    parts += [_pictured(beside)] if beside is not None else []
    say("\n\n".join(parts))


def _plan(option: str, text: str, run: Horizon) -> tuple[Any, Any]:
    """Return the plan, and the rule that answers a metric where the recipe is one."""
    from dwindle.foreign import read
    from dwindle.foreign.source.spec import is_spec
    from dwindle.plan import Plan
    from dwindle.schedule import FeedbackRule
    from dwindle.text import load, parse

    try:
        if text.endswith((".toml", ".json")):
            return load(text), None
        value = read(text, run=run) if is_spec(text) else parse(text)
    except DwindleError as error:
        raise type(error)(f"{option}: {error}") from error
    return (Plan(value.peak), value) if isinstance(value, FeedbackRule) else (value, None)


def _run(
    steps: int | None,
    epochs: float | None,
    steps_per_epoch: int | None,
    batch_size: int | None,
    tokens_per_step: int | None,
) -> Horizon:
    from dwindle.units import Horizon

    if steps is not None and steps < 1:
        raise InvalidValueError(f"--steps must be at least 1; got {steps}.")
    if epochs is not None and steps_per_epoch is None:
        raise InvalidValueError(f"{epochs:g} epochs do not say how many steps; add --steps-per-epoch K.")
    length = 1000 if steps is None and epochs is None else steps or 0
    return Horizon(length, epochs, steps_per_epoch, batch_size, None, tokens_per_step)


def _param(
    name: str | None, shape: str | None, kind: str | None, model: str | None
) -> tuple[str | Param | None, tuple[Param, ...] | None]:
    """Return the parameter that is meant, and all that the model has where one is given."""
    from dwindle.mask import Param

    if name is None:
        for option, value in (("--shape", shape), ("--kind", kind), ("--model", model)):
            if value is not None:
                raise InvalidValueError(f"{option} describes a parameter; say which with --param NAME.")
        return None, None
    if model is not None:
        if shape is not None or kind is not None:
            raise InvalidValueError("--model says the shape and the kind itself; leave --shape and --kind out.")
        return name, _params_of(model)
    if shape is None:
        if kind is not None:
            raise InvalidValueError("--kind alone does not say whether it is a matrix; add --shape N,M.")
        return name, None
    return Param(name, _shape(shape), kind or ""), None


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.strip("()[] ").replace("x", ",").split(",") if part.strip()]
    if not all(part.isdecimal() and len(part) < 16 for part in parts):
        raise ParseError(
            f"--shape must be whole numbers such as 128,64; got {text[:60]!r}. A single number has no shape: ''."
        )
    return tuple(map(int, parts))


def _params_of(source: str) -> tuple[Param, ...]:
    """Return what the mask sees of a live model, read by the adapter of its framework."""
    from dwindle.studies.data_function import is_function, returned

    if not is_function(source):
        raise DataError(f"--model {source}: give module:function or path/to/file.py:function, which returns the model.")
    made = returned(source)
    if type(made).__name__ == "Task" and callable(getattr(made, "model", None)):
        made = made.model()  # the task of a study has a function or a class that returns it
    models = [each for each in (made if isinstance(made, tuple | list) else (made,)) if _framework(each)]
    if not models:
        raise DataError(
            f"--model {source}: returned {type(made).__name__}; it must return a torch.nn.Module or a keras.Model."
        )
    model = models[0]
    if _framework(model) == "torch":
        from dwindle.torch.names import params

        found: tuple[Param, ...] = params(model)
        return found
    from dwindle.keras.following import kinds_of, path_of
    from dwindle.mask import Param

    variables = model.trainable_variables
    kinds = kinds_of(model, variables)
    return tuple(Param(path_of(v), tuple(v.shape), kinds.get(id(v), "")) for v in variables)


def _framework(model: object) -> str:
    """Return torch or keras by the classes that the model is made of; nothing is imported to ask."""
    for kind in type(model).__mro__:
        root = kind.__module__.partition(".")[0]
        if (root, kind.__name__) == ("torch", "Module"):
            return "torch"
        if root == "keras" and kind.__name__ == "Model":
            return "keras"
    return ""


def _pictured(found: Comparison) -> str:
    """Return the comparison with both curves, on one scale, below what differs."""
    from dwindle.report import sparkline

    if not found.says:
        return str(found)
    top = float(found.lrs.max())
    curves = [
        f"lr {name}  {sparkline(list(map(float, lrs)), 0.0, top, _CURVE)}"
        for name, lrs in zip(("old", "new"), found.lrs, strict=True)
    ]
    return "\n".join([str(found), "", *curves, f"        0 ▁ to █ {top:.4g}, steps 0 to {found.run - 1:,}"])
