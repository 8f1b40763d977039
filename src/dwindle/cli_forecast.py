"""``dwindle forecast``: the loss that plans would have reached, from the logs of runs that were trained."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.errors import DataError, DwindleError, InvalidValueError, UnresolvedTimeError, count

if TYPE_CHECKING:
    from dwindle.laws import Fitted, Forecast, Run
    from dwindle.logs import Log
    from dwindle.plan import Plan
    from dwindle.units import Horizon

__all__ = ["forecast"]

_LONGEST = 100_000_000  # steps; more are examples or tokens, and their rates would fill the memory
_WIDTH, _LABEL, _CURVE = 80, 12, 56
_LATE = 1.5  # gaps between points: where a log begins later than that, its first rates are not in it
_JUMP = 0.2  # of the peak: what between two points is no slope
_OFF, _MOST_OFF = 0.01, 0.1  # of the peak, of the points: how far a plan of a log may be from its rates


class _Source(NamedTuple):
    """A log, the run made of it, and what is to be said of its rates."""

    path: Path
    log: Log
    run: Run
    notes: list[str]


class _Answer(NamedTuple):
    """A plan, the curve that it is drawn with, and the forecast at the steps asked for, the last step the end of the run."""

    plan: Plan
    steps: int
    curve: Forecast
    told: Forecast

    @property
    def final(self) -> float:
        return float(self.told.loss[-1])

    @property
    def half(self) -> float:
        return float(self.told.upper[-1] - self.told.lower[-1]) / 2.0


def forecast(
    logs: Annotated[list[Path], typer.Argument(metavar="LOG", help="CSV logs: step, learning rate, loss.")],
    plan: Annotated[list[str], typer.Option(help="A plan in one line, .toml or .json; repeat it to compare plans.")],
    steps: Annotated[int | None, typer.Option(help="Steps of the plan; by default those of the longest log.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Steps of an epoch, for times in ep.")] = None,
    warmup: Annotated[int, typer.Option(help="Steps of a linear warm-up from 0 that the logs do not show.")] = 0,
    law: Annotated[str, typer.Option(help="The law to fit, such as noise-floor or multi-power.")] = "auto",
    log_plan: Annotated[
        list[str] | None, typer.Option(help="The plan of the logs instead of their rates: one for all, or one a log.")
    ] = None,
    at: Annotated[str | None, typer.Option(help="Times to forecast, such as 5000,50%.")] = None,
    step: Annotated[str | None, typer.Option(help="The column of steps.", metavar="COLUMN")] = None,
    lr: Annotated[str | None, typer.Option(help="The column of learning rates.", metavar="COLUMN")] = None,
    loss: Annotated[str | None, typer.Option(help="The column of losses.", metavar="COLUMN")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Forecast the loss of PLAN from logged runs, with a 90 % interval, and say whether they can answer at all."""
    from dwindle.laws import fit

    plans = [_plan("--plan", text) for text in plan]
    own = [_plan("--log-plan", text) for text in log_plan or []]
    if len(own) not in (0, 1, len(logs)):
        raise InvalidValueError(
            f"{len(own)} --log-plan for {len(logs)} logs; give one for all, or one a log in their order."
        )
    read = _read(logs, step, lr, loss, needs_lr=not own)
    given: Sequence[Plan | None] = own * len(logs) if len(own) == 1 else own or [None] * len(logs)
    sources = [_source(path, log, p, warmup, steps_per_epoch) for path, log, p in zip(logs, read, given, strict=True)]
    length = _length("--steps", steps) if steps is not None else max(_end(source.log) for source in sources)
    fitted = fit([source.run for source in sources], law)
    run = _horizon(length, steps_per_epoch)
    times = None if at is None else _times(at, run)
    answers = [_answer(fitted, p, run, times) for p in plans]
    if as_json:
        typer.echo(json.dumps(_strict(_as_json(sources, fitted, answers)), allow_nan=False))
    else:
        typer.echo("\n".join(line.rstrip() for line in _said(sources, fitted, answers, asked=steps is not None)))


# --- what is read


def _plan(option: str, text: str) -> Plan:
    from dwindle.text import load, parse

    try:
        return load(text) if text.lower().endswith((".toml", ".json")) else parse(text)
    except DwindleError as error:
        raise type(error)(f"{option}: {error}") from error


def _read(paths: Sequence[Path], step: str | None, lr: str | None, loss: str | None, *, needs_lr: bool) -> list[Log]:
    """Return the logs under names that differ; all of them must hold the same kind of loss."""
    from dataclasses import replace

    from dwindle.logs import kind, read

    places = [path.resolve() for path in paths]
    for i, path in enumerate(paths):
        if places[i] in places[:i]:
            raise DataError(f"{path} is given twice; it would count double. Give each log once.")
    found = [read(path, step=step, lr=lr, loss=loss, needs_lr=needs_lr) for path in paths]
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


def _source(path: Path, log: Log, plan: Plan | None, warmup: int, steps_per_epoch: int | None) -> _Source:
    import numpy as np

    from dwindle.laws import Run

    notes = list(log.notes)
    has_loss = ~np.isnan(log.loss)
    if plan is not None:
        rates = _rates("--log-plan", plan, _horizon(_end(log), steps_per_epoch))
        _refuse_other_rates(path, log, rates)
    else:
        rates = _logged_rates(path, log, count("--warmup", warmup, low=0), notes)
    return _Source(path, log, Run(rates, log.step[has_loss], log.loss[has_loss], log.name), notes)


def _end(log: Log) -> int:
    """Return the last step of a log."""
    import numpy as np

    steps = log.step[np.isfinite(log.step)]
    last = float(steps.max()) if len(steps) else 0.0
    if last > _LONGEST:
        raise DataError(
            f"{log.name}: column {log.columns.step!r} goes to {last:g}; a run has at most {_LONGEST:g} steps here. Are these "
            "examples or tokens? Give optimiser steps."
        )
    return math.ceil(last)


def _logged_rates(path: Path, log: Log, warmup: int, notes: list[str]) -> Any:
    """Return the rates of the log, the last one held to its end, and note what the log does not tell."""
    import numpy as np

    from dwindle.laws import Run

    known = np.isfinite(log.step) & np.isfinite(log.lr)
    if not known.any():
        raise DataError(f"{path}: no row has both a step and a learning rate.")
    steps, first = np.unique(log.step[known], return_index=True)
    lrs = log.lr[known][first]
    if warmup > steps[0]:
        notes.append(f"the log has its rates from step {steps[0]:,.0f} on; --warmup was not used for it")
        warmup = 0
    elif not warmup and len(steps) > 1 and steps[0] > _LATE * float(np.median(np.diff(steps))):
        notes.append(
            f"the rates before step {steps[0]:,.0f} are not in the log: {lrs[0]:g} was taken; if they rose say --warmup N, for "
            "the forecast depends on it"
        )
    notes += _jumps(steps, lrs, last=float(log.step[~np.isnan(log.loss)].max()))
    rows = np.append(log.step, _end(log)), np.append(log.lr, lrs[-1]), np.append(log.loss, np.nan)
    return Run.logged(*rows, warmup=warmup, name=log.name).lr


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


def _refuse_other_rates(path: Path, log: Log, rates: Any) -> None:
    """Raise if the rates in the log are not the plan's, a step to either side allowed for how rates are logged."""
    import numpy as np

    known = np.isfinite(log.step) & np.isfinite(log.lr)
    steps, lrs = log.step[known].astype(np.int64), log.lr[known]
    if not len(steps):
        return
    near = np.stack([rates[(steps + shift).clip(0, len(rates) - 1)] for shift in (-1, 0, 1)])
    off = np.maximum(near.min(axis=0) - lrs, lrs - near.max(axis=0)) > _OFF * max(rates.max(), lrs.max())
    if off.mean() > _MOST_OFF:
        at = int(np.argmax(off))
        raise DataError(
            f"{path}: --log-plan gives the rate {near[1, at]:.4g} at step {steps[at]} and the log says {lrs[at]:.4g}. Correct "
            "the plan (its times in steps, where the run was longer than the log), or leave it out."
        )


# --- what is asked


def _length(option: str, steps: int) -> int:
    if count(option, steps, low=2) > _LONGEST:
        raise InvalidValueError(
            f"{option} is at most {_LONGEST:g} here; got {steps}. Give optimiser steps, not tokens."
        )
    return steps


def _horizon(steps: int, steps_per_epoch: int | None) -> Horizon:
    from dwindle.units import Horizon

    return Horizon(steps=steps, steps_per_epoch=steps_per_epoch)


def _rates(option: str, plan: Plan, run: Horizon) -> Any:
    try:
        return plan.lrs(run)
    except UnresolvedTimeError as error:
        cause = str(error).partition("; give")[0]
        more = "add --steps-per-epoch K." if "steps_per_epoch" in cause else "write it in steps or %."
        raise UnresolvedTimeError(f"{option}: {cause}; {more}") from error
    except DwindleError as error:
        raise type(error)(f"{option} {plan}: {error}") from error


def _answer(fitted: Fitted, plan: Plan, run: Horizon, times: Sequence[int] | None) -> _Answer:
    rates = _rates("--plan", plan, run)
    try:
        curve = fitted.predict(rates)
        told = curve if times is None else fitted.predict(rates, at=[*times, run.steps])
    except DwindleError as error:
        raise type(error)(f"--plan {plan}: {error}") from error
    return _Answer(plan, run.steps, curve, told)


def _times(text: str, run: Horizon) -> list[int]:
    from dwindle.units import Time

    try:
        found = [round(Time.parse(part).steps(run)) for part in text.split(",")]
    except DwindleError as error:
        raise type(error)(f"--at: {error}") from error
    outside = [time for time in found if not 0 <= time <= run.steps]
    if outside:
        raise InvalidValueError(f"--at must be from 0 to the {run.steps} steps of the plan; got {outside[0]}.")
    return found


class _Rank(NamedTuple):
    """The place of an answer: its number, and whether it can be told from the first; None where that cannot be asked."""

    number: int
    answer: _Answer
    apart: bool | None


def _ranked(answers: Sequence[_Answer]) -> list[_Rank]:
    """Return the answers, the lowest final loss first; those that the logs do not support come last.

    Two forecasts cannot be told apart if they differ by less than half the width of the wider interval.
    """
    order = sorted(enumerate(answers, start=1), key=lambda one: (not one[1].told.supported, one[1].final))
    best = order[0][1]
    return [
        _Rank(i, a, a.final - best.final >= max(a.half, best.half) if a is not best and a.told.supported else None)
        for i, a in order
    ]


# --- what is said


def _as_json(sources: Sequence[_Source], fitted: Fitted, answers: Sequence[_Answer]) -> dict[str, Any]:
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
            for source in sources
        ],
        "forecasts": [
            {
                "plan": str(answer.plan),
                "horizon": answer.steps,
                **{key: getattr(answer.told, name).tolist() for key, name in _ARRAYS.items()},
                "final": {name: float(getattr(answer.told, name)[-1]) for name in ("loss", "lower", "upper")},
                "supported": answer.told.supported,
                "why": answer.told.why,
            }
            for answer in answers
        ],
        "ranking": [{"forecast": rank.number - 1, "distinguishable": rank.apart} for rank in _ranked(answers)],
    }


def _strict(value: Any) -> Any:
    """Return the value with null for numbers that JSON has no word for."""
    if isinstance(value, dict):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_ARRAYS = {"steps": "step", "loss": "loss", "lower": "lower", "upper": "upper"}


def _said(sources: Sequence[_Source], fitted: Fitted, answers: Sequence[_Answer], *, asked: bool) -> list[str]:
    several = len(answers) > 1
    lines: list[str] = []
    for i, answer in enumerate(answers, start=1):
        if not answer.told.supported:
            which = f" for plan {i}" if several else ""
            lines += _wrapped(f"NOT SUPPORTED{which}: {answer.told.why}. The figures{which} are a guess.")
    lines += [""] if lines else []
    for i, source in enumerate(sources, start=1):
        lines += _about(source, _numbered("log", i, sources), fitted)
    lines += ["", *_law(fitted, sources), "", *_picture(sources, fitted, answers)]
    for i, answer in enumerate(answers, start=1):
        lines += ["", *_result(answer, _numbered("plan", i, answers), asked=asked)]
    if several:
        lines += ["", *_comparison(answers)]
    return lines


def _about(source: _Source, label: str, fitted: Fitted) -> list[str]:
    run, columns = source.run, source.log.columns
    read = ", ".join(_printable(column) for column in columns if column is not None)
    lines = _wrapped(f"{label:<{_LABEL}}{_printable(source.log.name)}", _LABEL)
    lines += _wrapped(
        f"{'':<{_LABEL}}{len(run.step):,} points of {read}; steps {run.step[0]:,} to {run.step[-1]:,}; peak {run.peak:g}",
        _LABEL,
    )
    head = f"{source.log.name}: "
    for note in [*source.notes, *(note.removeprefix(head) for note in fitted.notes if note.startswith(head))]:
        lines += _wrapped(f"{'':<{_LABEL}}! {_printable(note)}", _LABEL + 2)
    return lines


def _law(fitted: Fitted, sources: Sequence[_Source]) -> list[str]:
    values = ", ".join(f"{name} {value:.4g}" for name, value in fitted.parameters.items())
    errors = [
        f"{error:.2g} on {_numbered('log', i, sources)}" if len(sources) > 1 else f"{error:.2g}"
        for i, source in enumerate(sources, start=1)
        if (error := fitted.error.get(source.log.name)) is not None
    ]
    lines = _wrapped(f"{'law':<{_LABEL}}{fitted.law.name}; mean error {', '.join(errors)}", _LABEL)
    lines += _wrapped(f"{'':<{_LABEL}}{values}", _LABEL)
    heads = tuple(f"{source.log.name}: " for source in sources)
    for note in fitted.notes:
        lines += [] if note.startswith(heads) else _wrapped(f"{'':<{_LABEL}}! {_printable(note)}", _LABEL + 2)
    return lines


def _picture(sources: Sequence[_Source], fitted: Fitted, answers: Sequence[_Answer]) -> list[str]:
    """Return each log, its fitted curve, each forecast, and how its interval widens: a line each, on one axis of steps."""
    import numpy as np

    end = max([answer.steps for answer in answers] + [int(run.step[-1]) for run in fitted.runs])
    kept = {run.name: run for run in fitted.runs}
    drawn: list[tuple[str, Any, Any]] = []
    for i, source in enumerate(sources, start=1):
        run = kept.get(source.log.name)
        if run is not None:
            drawn.append((_numbered("log", i, sources), run.step, run.loss))
            drawn.append(("  fitted", run.step, fitted.loss(run.lr, run.step)))
    for i, answer in enumerate(answers, start=1):
        drawn.append((_numbered("plan", i, answers), answer.curve.step, answer.curve.loss))
    late = np.concatenate([loss[(steps >= steps[-1] // 4) & np.isfinite(loss)] for _, steps, loss in drawn])
    low, high = float(late.min()), float(late.max())
    lines = [f"loss from step 0 to {end:,}, {_decimals(low, high - low)} ▁ to █ {_decimals(high, high - low)}"]
    lines += [
        _curve(label, steps, loss, end, low, high, _decimals(loss[-1], high - low)) for label, steps, loss in drawn
    ]
    for i, answer in enumerate(answers, start=1):
        half = (answer.curve.upper - answer.curve.lower) / 2.0
        label = "± 90 %" if len(answers) == 1 else f"± of plan {i}"
        lines.append(_curve(label, answer.curve.step, half, end, 0.0, float(half.max()), f"±{half[-1]:.2g}"))
    return lines


def _curve(label: str, steps: Any, values: Any, end: int, low: float, high: float, last: str) -> str:
    """Return a line of blocks: the mean of each column's points, a straight line over columns that have none."""
    import numpy as np

    from dwindle.report import sparkline

    steps, values = steps[np.isfinite(values)], values[np.isfinite(values)]
    place = ((steps * _CURVE - 1) // end).clip(0)  # a loss after s steps belongs to the column that ends there
    columns = np.unique(place)
    means = [float(values[place == column].mean()) for column in columns]
    drawn = range(columns[0], columns[-1] + 1) if len(columns) else range(0)
    blocks = [float(np.interp(c, columns, means)) if c in drawn else None for c in range(_CURVE)]
    return f"{label:<{_LABEL}}{sparkline(blocks, low, high, _CURVE)} {last:>10}"


def _result(answer: _Answer, label: str, *, asked: bool) -> list[str]:
    told, steps = answer.told, f"{answer.steps:,} steps{'' if asked else ', as the longest log'}"
    lines = _wrapped(f"{label:<{_LABEL}}{answer.plan} (over {steps})", _LABEL)
    if told is not answer.curve:
        lines.append(f"{'':<{_LABEL}}{'step':>12}{'loss':>12}{'lower':>12}{'upper':>12}")
        for row in zip(told.step, told.loss, told.lower, told.upper, strict=True):
            figures = "".join(f"{_decimals(value, answer.half):>12}" for value in row[1:])
            lines.append(f"{'':<{_LABEL}}{row[0]:>12,}{figures}")
    low, high = (_decimals(bound[-1], answer.half) for bound in (told.lower, told.upper))
    final = f"{_decimals(answer.final, answer.half)}, 90 % interval {low} to {high}"
    lines.append(f"{'final loss':<{_LABEL}}{final}")
    verdict = ("supported", told.why) if told.supported else ("not supported", "see above; the interval is a guess")
    lines += _wrapped(f"{'':<{_LABEL}}{verdict[0]}: {verdict[1]}", _LABEL)
    if answer.plan.decay is not None:
        lines += _wrapped(
            f"{'':<{_LABEL}}! no law reads {answer.plan.decay}: the decay is taken as the logs had it", 14
        )
    return lines


def _comparison(answers: Sequence[_Answer]) -> list[str]:
    ranked = _ranked(answers)
    best = ranked[0]
    lines = ["final loss, lowest first"]
    for number, answer, apart in ranked:
        said = f"{answer.final - best.answer.final:+.2g}, "
        if not answer.told.supported:
            said = "not supported, and not compared"
        elif apart is None:
            said = ""
        else:
            said += f"higher than plan {best.number}" if apart else f"not distinguishable from plan {best.number}"
        final = f"{_decimals(answer.final, answer.half)} ±{answer.half:.2g}"
        lines.append(f"{f'plan {number}':<{_LABEL}}{final:<20}{said}")
    return lines


def _numbered(what: str, number: int, all_of_them: Sequence[object]) -> str:
    return what if len(all_of_them) == 1 else f"{what} {number}"


def _decimals(value: float, width: float) -> str:
    """Return a loss with the decimals that something as wide as ``width`` warrants.

    >>> _decimals(2.97358, 0.0075), _decimals(2.97358, 0.42)
    ('2.9736', '2.97')
    """
    power = math.floor(math.log10(width)) if 0.0 < width < math.inf else -4
    return f"{value:.{min(max(1 - power, 0), 8)}f}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "·" for letter in text)


def _wrapped(text: str, indent: int = 0) -> list[str]:
    """Return the text in lines of at most 80 columns; what the first line begins with keeps its spaces."""
    return textwrap.wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]
