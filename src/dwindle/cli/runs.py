"""What ``dwindle forecast`` and ``dwindle optimize`` read: logs as runs, plans and times, each error with its option."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.errors import DataError, DwindleError, InvalidValueError, UnresolvedTimeError, count

if TYPE_CHECKING:
    from dwindle.decay import Decay
    from dwindle.laws import Course, Fitted, Run
    from dwindle.logs import Log
    from dwindle.plan import Plan
    from dwindle.units import Horizon

__all__ = [
    "AsJson", "Columns", "Html", "Law", "Like", "LogPlans", "Logs", "LossColumn", "LrColumn", "Source", "StepColumn",
    "StepsPerEpoch", "Warmup", "command_line", "course_of", "file_of_its_own", "fitted_to", "given_decay", "given_plan",
    "horizon", "last_step", "logs_as_json", "sources", "steps_of",
]  # fmt: skip

_LATE = 1.5  # gaps between points: where a log begins later than that, its first rates are not in it
_JUMP = 0.2  # of the peak: what between two points is no slope
_OFF, _MOST_OFF = 0.01, 0.1  # of the peak, of the points: how far a plan of a log may be from its rates

Logs = Annotated[list[Path], typer.Argument(metavar="LOG", help="CSV logs: step, learning rate, loss.")]
StepsPerEpoch = Annotated[int | None, typer.Option(help="Steps of an epoch, for times in ep.")]
Warmup = Annotated[int | None, typer.Option(help="Steps of a linear warm-up from 0 that the logs do not show.")]
Law = Annotated[str, typer.Option(help="The law to fit, such as noise-floor or multi-power.")]
LogPlans = Annotated[
    list[str] | None, typer.Option(help="The plan of the logs instead of their rates: one for all, or one a log.")
]
Like = Annotated[
    list[Path] | None,
    typer.Option(metavar="LOG", help="A log of a smaller model of the same kind and peak; repeat it for more."),
]
StepColumn = Annotated[str | None, typer.Option(help="The column of steps.", metavar="COLUMN")]
LrColumn = Annotated[str | None, typer.Option(help="The column of learning rates.", metavar="COLUMN")]
LossColumn = Annotated[str | None, typer.Option(help="The column of losses.", metavar="COLUMN")]
AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON.")]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="FILE", help="Write the answer and its curves as one HTML page.")
]


class Columns(NamedTuple):
    """The columns asked for on the command line, None where their usual names are to be looked for."""

    step: str | None
    lr: str | None
    loss: str | None


class Source(NamedTuple):
    """A log, the run made of it, what is to be said of its rates, and the plan that gave them, if one did."""

    path: Path
    log: Log
    run: Run
    notes: list[str]
    plan: Plan | None = None


def sources(
    paths: Sequence[Path], columns: Columns, log_plans: Sequence[str], warmup: int | None, steps_per_epoch: int | None
) -> list[Source]:
    """Return the logs as runs, their rates from the logs, or from ``log_plans`` where these are given."""
    rise = None if warmup is None else count("--warmup", warmup, low=0)
    own: list[Plan | None] = [given_plan("--log-plan", text) for text in log_plans]
    if len(own) not in (0, 1, len(paths)):
        raise InvalidValueError(
            f"{len(own)} --log-plan for {len(paths)} logs; give one for all, or one a log in their order."
        )
    logs = _read(paths, columns, needs_lr=not own)
    plans = own if len(own) == len(paths) else (own or [None]) * len(paths)
    decays = any(plan is not None and plan.decay is not None for plan in plans)
    return [
        _from_rates(path, log, rise) if plan is None else _from_plan(path, log, plan, steps_per_epoch, decays=decays)
        for path, log, plan in zip(paths, logs, plans, strict=True)
    ]


def last_step(log: Log) -> int:
    """Return the last step of a log."""
    import numpy as np

    from dwindle.laws.runs import LONGEST

    steps = log.step[~np.isnan(log.step)]
    if np.isinf(steps).any():
        raise DataError(f"{log.name}: column {log.columns.step!r} holds inf, and a step is finite. Correct the log.")
    last = float(steps.max()) if len(steps) else 0.0
    if last > LONGEST:
        raise DataError(
            f"{log.name}: column {log.columns.step!r} goes to {last:g}; a run has at most {LONGEST:g} steps here. Are these "
            "examples or tokens? Give optimiser steps."
        )
    return math.ceil(last)


def _run(log: Log, build: Callable[[], Run]) -> Run:
    """Return the run of a log; an error says which loss was read, where there is another."""
    try:
        return build()
    except DataError as error:
        other = next((note for note in log.notes if note.startswith("the validation loss ")), "")
        raise DataError(
            f"{error} {other[:1].upper()}{other[1:]}: --loss COLUMN names another." if other else str(error)
        ) from error


def _read(paths: Sequence[Path], columns: Columns, *, needs_lr: bool) -> list[Log]:
    """Return the logs under names that differ; all of them must hold the same kind of loss."""
    from dataclasses import replace

    from dwindle.logs import kind, read

    places = [path.resolve() for path in paths]
    for i, path in enumerate(paths):
        if places[i] in places[:i]:
            raise DataError(f"{path} is given twice; it would count double. Give each log once.")
    try:
        found = [read(path, **columns._asdict(), needs_lr=needs_lr) for path in paths]
    except DataError as error:
        if "no column is called like a learning rate" not in str(error):
            raise
        raise DataError(f"{error} If the log has none, give its plan: --log-plan PLAN.") from error
    first: dict[str, tuple[Path, str]] = {}
    for path, log in zip(paths, found, strict=True):
        first.setdefault(kind(log.columns.loss), (path, log.columns.loss))
    if {"validation", "training"} <= first.keys():
        (one, valid), (other, train) = first["validation"], first["training"]
        raise DataError(
            f"{one} has a validation loss, {valid!r}, and {other} only a training loss, {train!r}: not the same loss. "
            "Choose one that all have, with --loss COLUMN."
        )
    stems = [log.name for log in found]
    return [
        log if stems.count(log.name) == 1 else replace(log, name=str(path))
        for path, log in zip(paths, found, strict=True)
    ]


def _from_rates(path: Path, log: Log, warmup: int | None) -> Source:
    """Return the run with the rates of its log, and notes on what the log does not tell of them."""
    import numpy as np

    from dwindle.laws import Run
    from dwindle.laws.runs import rates_in

    steps, lrs = rates_in(log.step, log.lr)
    if not len(steps):
        raise DataError(f"{path}: no row has both a step and a learning rate.")
    last_step(log)  # refuses steps whose rates would fill the memory, and names their column
    notes = list(log.notes)
    told = {} if warmup is None else {"warmup": warmup}
    run = _run(log, lambda: Run.logged(log.step, log.lr, log.loss, name=log.name, **told))
    notes += _beginning(steps, lrs, warmup, taken=run.lr[0] == lrs[0])
    notes += _jumps(steps, lrs, last=float(log.step[~np.isnan(log.loss)].max()))
    return Source(path, log, run, notes)


def _from_plan(path: Path, log: Log, plan: Plan, steps_per_epoch: int | None, *, decays: bool) -> Source:
    """Return the run with the rates of ``plan``, of which those in the log must be; and its decay, if any plan ``decays``.

    Where none does, plans were given for their rates, and what decay there was is not known.
    """
    import numpy as np

    from dwindle.laws import Run
    from dwindle.units import Horizon

    lr, share = course_of("--log-plan", plan, Horizon(steps=last_step(log), steps_per_epoch=steps_per_epoch))
    _refuse_other_rates(path, log, lr)
    there = ~np.isnan(log.loss)
    run = _run(log, lambda: Run(lr, log.step[there], log.loss[there], log.name, share if decays else None))
    return Source(path, log, run, list(log.notes), plan)


def _beginning(steps: Any, lrs: Any, warmup: int | None, *, taken: bool) -> list[str]:
    """Return a note where the first rate is not the warm-up's, or comes late and was ``taken`` for all before it."""
    import numpy as np

    at, lr, peak = steps[0], lrs[0], lrs.max()
    if warmup and warmup > at and abs(lr - peak * at / warmup) > _OFF * peak + peak / warmup:
        return [f"the rate at step {at:,.0f} is {lr:g} in the log, not that of --warmup {warmup}: the log is believed"]
    if warmup is None and taken and len(steps) > 1 and at > _LATE * float(np.median(np.diff(steps))):
        return [
            f"the rates before step {at:,.0f} are not in the log: {lr:g} was taken; if they rose say --warmup N, for "
            "the forecast depends on it"
        ]
    return []


def _jumps(steps: Any, lrs: Any, last: float) -> list[str]:
    """Return a note on the first fall between two points before ``last`` that is too steep for a slope, if there is one."""
    import numpy as np

    falls = np.flatnonzero((-np.diff(lrs) > _JUMP * lrs.max()) & (steps[:-1] < last))
    if not len(falls):
        return []
    at, to = falls[0], falls[0] + 1
    return [
        f"the rate falls from {lrs[at]:g} to {lrs[to]:g} between steps {steps[at]:,.0f} and {steps[to]:,.0f}: a line was taken; "
        "--log-plan gives the exact step"
    ]


def _refuse_other_rates(path: Path, log: Log, lrs: Any) -> None:
    """Raise if the rates in the log are not the plan's, a step to either side allowed for how rates are logged."""
    import numpy as np

    known = np.isfinite(log.step) & np.isfinite(log.lr)
    steps, logged = log.step[known].astype(np.int64), log.lr[known]
    if not len(steps):
        return
    near = np.stack([lrs[(steps + shift).clip(0, len(lrs) - 1)] for shift in (-1, 0, 1)])
    off = np.maximum(near.min(axis=0) - logged, logged - near.max(axis=0)) > _OFF * max(lrs.max(), logged.max())
    if off.mean() > _MOST_OFF:
        at = int(np.argmax(off))
        raise DataError(
            f"{path}: --log-plan gives the rate {near[1, at]:.4g} at step {steps[at]} and the log says {logged[at]:.4g}. Correct "
            "the plan (its times in steps, where the run was longer than the log), or leave it out."
        )


# --- plans, times and lengths, as options give them


def given_plan(option: str, text: str) -> Plan:
    """Return the plan in one line, or in the .toml or .json file of that name; the option is named where it is none."""
    from dwindle.text.files import plan_of

    with _naming(option):
        return plan_of(text)


def given_decay(option: str, text: str) -> Decay:
    """Return the weight decay in ``text``; the option is named where it is none."""
    from dwindle.text import parse_decay

    with _naming(option):
        return parse_decay(text)


@contextmanager
def _naming(option: str) -> Iterator[None]:
    """Name the option in what is wrong with its text."""
    try:
        yield
    except DwindleError as error:
        raise type(error)(f"{option}: {error}") from error


def horizon(option: str, steps: int, steps_per_epoch: int | None) -> Horizon:
    """Return the run of that many steps."""
    from dwindle.laws.runs import LONGEST
    from dwindle.units import Horizon

    if count(option, steps, low=2) > LONGEST:
        raise InvalidValueError(f"{option} is at most {LONGEST:g} here; got {steps}. Give optimiser steps, not tokens.")
    return Horizon(steps=steps, steps_per_epoch=steps_per_epoch)


def course_of(option: str, plan: Plan, run: Horizon) -> Course:
    """Return the learning rate of every step, not all of them 0, and what decay takes in it."""
    from dwindle.laws import course

    try:
        return course(plan, run)
    except UnresolvedTimeError as error:
        raise _with_option(option, error) from error
    except DwindleError as error:
        raise type(error)(f"{option} {plan}: {error}") from error


def steps_of(option: str, text: str, run: Horizon) -> float:
    """Return the time written in ``text`` in steps of ``run``; none of any unit is none, whatever the unit is worth.

    >>> from dwindle.units import Horizon
    >>> steps_of("--rise", "2%", Horizon(steps=1000)), steps_of("--rise", "0ep", Horizon(steps=1000))
    (20, 0)
    """
    from dwindle.units import Time

    try:
        time = Time.parse(text)
        return time.steps(run) if time.value else 0
    except UnresolvedTimeError as error:
        raise _with_option(option, error) from error
    except DwindleError as error:
        raise type(error)(f"{option}: {error}") from error


def _with_option(option: str, error: UnresolvedTimeError) -> UnresolvedTimeError:
    """Return the error with the option that would have told what an epoch is."""
    cause = str(error).partition("; give")[0]
    more = "add --steps-per-epoch K." if "steps_per_epoch" in cause else "write it in steps or %."
    return UnresolvedTimeError(f"{option}: {cause}; {more}")


def fitted_to(
    read: Sequence[Source], law: str, like: Sequence[Path] | None, columns: Columns, warmup: int | None
) -> Fitted:
    """Return the law fitted to the logs, its exponents expected as the logs of a ``like`` model have them."""
    from dwindle.laws import fit

    if not like:
        return fit([source.run for source in read], law)
    both = {path.resolve() for path in like} & {source.path.resolve() for source in read}
    if both:
        raise InvalidValueError(f"--like {min(both)} is one of the logs to fit; it is for those of another model.")
    try:
        others = sources(like, columns, [], warmup, None)
        return fit([source.run for source in read], law, like=[source.run for source in others])
    except InvalidValueError as error:
        raise InvalidValueError(f"--like: {error}") from error


# --- files that are written


def file_of_its_own(option: str, path: Path | None, others: Sequence[Path]) -> None:
    """Refuse to write over a log or over another file that is written."""
    if path is not None and path.resolve() in {other.resolve() for other in others}:
        raise InvalidValueError(f"{option} is {path}, which is read or written already; name a file of its own.")


def command_line(context: typer.Context) -> str:
    """Return the words that say the same again, from what the options were given as."""
    words, options = ["dwindle", str(context.info_name)], list[str]()
    for parameter in context.command.params:
        value = context.params.get(str(parameter.name))
        if value is None or parameter.name == "as_json" or value == parameter.get_default(context):
            continue
        values = [str(each) for each in (value if isinstance(value, (list, tuple)) else [value])]
        if parameter.param_type_name == "argument":
            words += values
        else:
            options += [word for each in values for word in (parameter.opts[0], each)]
    return shlex.join(words + options)


# --- as JSON


def logs_as_json(read: Sequence[Source], fitted: Fitted) -> dict[str, Any]:
    """Return what was read and fitted."""
    return {
        "law": fitted.law.name,
        "parameters": fitted.parameters,
        "notes": list(fitted.notes),
        "logs": [
            {
                "name": source.log.name,
                "path": str(source.path),
                "columns": source.log.columns._asdict(),
                "points": len(source.run.step),
                "steps": [int(source.run.step[0]), int(source.run.step[-1])],
                "peak": source.run.peak,
                "error": fitted.error.get(source.log.name),
                "notes": source.notes,
            }
            for source in read
        ],
    }
