"""``dwindle check``: what is wrong with a log, a plan, a configuration, or a model and optimiser, and what to do about it."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli.said import say_json
from dwindle.errors import DataError, DwindleError, InvalidValueError, known, shown
from dwindle.plain import plain

if TYPE_CHECKING:
    from dwindle.findings import Finding
    from dwindle.findings.configs import Config
    from dwindle.findings.configs.run import Run
    from dwindle.plan import Plan

__all__ = ["check"]

_WIDTH = 80
_COLOURS = {"fault": "red", "warning": "yellow", "note": "blue"}
_CURVES = frozenset((
    "lr", "training loss", "validation loss", "training accuracy", "validation accuracy", "gradient norm", "weight norm",
))  # fmt: skip
_KEYS = ("model", "optimizer", "scheduler", "plan", "horizon", "history", "processes", "accumulation")


class Columns(NamedTuple):
    """The columns of a log that are named, None where their usual names are to be looked for."""

    step: str | None
    lr: str | None
    loss: str | None
    val_loss: str | None


class Checked(NamedTuple):
    """What was given (``kind``), the findings, what was looked at, and what could not be."""

    kind: str
    findings: tuple[Finding, ...]
    looked: tuple[str, ...]
    unread: tuple[str, ...]


def check(
    target: Annotated[
        str,
        typer.Argument(
            help="A log, a plan (a line or a file), a recipe, a configuration (.json, .yaml), or module:function or "
            "file.py:function, which returns (model, optimizer[, scheduler]) or a dict of them."
        ),
    ],
    plan: Annotated[
        str | None, typer.Option(help="The plan that the log or the model is of: a line, .toml or .json.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of the run.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Optimiser steps of an epoch.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of a step, for times in ex.")] = None,
    tokens_per_step: Annotated[int | None, typer.Option(help="Tokens of a step, for times in tok.")] = None,
    processes: Annotated[int, typer.Option(help="Processes that train together.")] = 1,
    accumulation: Annotated[int, typer.Option(help="Micro-batches of an update.")] = 1,
    dtype: Annotated[
        str | None, typer.Option(help="Type of the weights, for a plan or configuration: bf16, fp16, fp32.")
    ] = None,
    step: Annotated[str | None, typer.Option(help="The log's column of steps.")] = None,
    lr: Annotated[str | None, typer.Option(help="The log's column of learning rates.")] = None,
    loss: Annotated[str | None, typer.Option(help="The log's column of training losses.")] = None,
    val_loss: Annotated[str | None, typer.Option(help="The log's column of validation losses.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is wrong with a run and what to do: from its log, plan, configuration, or live model and optimiser.

    The exit code is 1 if a fault or a warning was found, 0 if not.
    """
    from dwindle.findings.configs.run import Run
    from dwindle.setup import dtype_named
    from dwindle.text.files import plan_of

    worth = (
        ("--steps", steps), ("--steps-per-epoch", steps_per_epoch), ("--batch-size", batch_size),
        ("--tokens-per-step", tokens_per_step),
    )  # fmt: skip
    for name, value in worth:
        if value is not None and value < 1:
            raise InvalidValueError(f"{name} must be at least 1; got {value}.")
    if dtype is not None:
        dtype = dtype_named("--dtype", dtype)
    run = Run(steps, steps_per_epoch, processes, accumulation, dtype, batch_size, tokens_per_step)
    found = _checked(target, None if plan is None else plan_of(plan), run, Columns(step, lr, loss, val_loss))
    if as_json:
        say_json(_as_json(target, found))
    else:
        typer.echo(_said(target, found), nl=False)
    if any(finding.severity != "note" for finding in found.findings):
        raise typer.Exit(1)


# --- what was given


def _checked(target: str, plan: Plan | None, run: Run, columns: Columns) -> Checked:
    from dwindle.findings.configs import read_plan, read_recipe
    from dwindle.findings.recognised import kind_of
    from dwindle.studies.data_function import is_function
    from dwindle.text.files import plan_of

    path = Path(target)
    exists = "\n" not in target and len(target) < 4096 and "\0" not in target and path.exists()
    if is_function(target):
        return _live(target, plan, run)
    if exists and kind_of(path) == "log":
        return _log(path, plan, run, columns)
    if exists:
        return _file(path, run)
    if re.match(r"\s*(peak|lr)\s", target) or "|" in target:
        return _configured(read_plan(plan_of(target), **run._asdict()))
    if "(" in target:
        return _configured(read_recipe(target, **run._asdict()))
    raise DataError(
        f"{shown(target)}: no such file, and no plan such as 'peak 1e-3 | cosine to 0 | decoupled 0.1', recipe such as "
        "'torch:AdamW(lr=1e-3) StepLR(30)', or module:function either."
    )


def _file(path: Path, run: Run) -> Checked:
    from dwindle.cli.convert import in_words_of_the_command
    from dwindle.findings.configs import read_config

    try:
        return _configured(read_config(path, **run._asdict()))
    except DwindleError as error:
        said = str(error)
        if path.suffix.lower() == ".py":
            said = in_words_of_the_command(said, path.read_text(errors="replace"))
        if said == str(error) and str(path) in said:
            raise
        raise type(error)(said if str(path) in said else f"{path}: {said}") from error


def _configured(found: Config) -> Checked:
    return Checked(found.kind, found.findings(), found.looked, found.unread)


def _log(path: Path, plan: Plan | None, run: Run, columns: Columns) -> Checked:
    from dwindle.findings.curves import of_history
    from dwindle.findings.curves.overfitting import FEWEST
    from dwindle.logs import ROLES, history

    options = {"lr": "--lr", "training loss": "--loss", "validation loss": "--val-loss"}
    roles = {role: name for role, name in zip(options, columns[1:], strict=True) if name is not None}
    log = history(path, step=columns.step, roles=roles)
    notes = [note.replace(" step=COLUMN", " --step COLUMN") for note in log.notes]
    for role in ROLES:
        how = (
            f"{options[role]} COLUMN"
            if role in options
            else f"logs.history(FILE, roles={{{role!r}: COLUMN}}) in Python"
        )
        notes = [note.replace(f" roles={{{role!r}: COLUMN}}", f" {how}") for note in notes]
    if not set(log.roles) & _CURVES:
        listed = ", ".join(map(shown, list(log.series)[:8])) + (", …" if len(log.series) > 8 else "")
        more = "".join(f" {note[:1].upper()}{note[1:]}." for note in notes if "none was taken" in note)
        raise DataError(
            f"{path}: no column is known for a loss, an accuracy, a norm or a learning rate, so nothing can be looked at; "
            f"there are {listed}.{more or ' Name one: --loss COLUMN.'}"
        )
    looked = [f"{role} ({name})" for role, name in log.roles.items()]
    missing = [role for role in ROLES if role not in log.roles]
    unread = [f"no column for: {', '.join(missing)}"] if missing else []
    held = log.get("validation loss")
    if held is not None and (points := sum(map(math.isfinite, held.value))) < FEWEST:
        unread.append(f"overfitting: the log has {points} of the {FEWEST} validation losses that it takes")
    found = tuple(of_history(log, plan=plan, horizon=run.horizon(None, None)))
    return Checked(f"a log ({log.format})", found, tuple(looked), (*unread, *notes))


def _live(target: str, plan: Plan | None, run: Run) -> Checked:
    from dwindle.findings.doctor import doctor, setup_of
    from dwindle.studies.data_function import returned
    from dwindle.units import as_horizon

    given = returned(target)
    if isinstance(given, Mapping):
        for key in given:
            known(f"{target} key", key, _KEYS)
        parts = dict(given)
    elif isinstance(given, tuple | list) and 2 <= len(given) <= 3:
        parts = dict(zip(_KEYS, given, strict=False))
    else:
        raise DataError(
            f"{target}: returned {type(given).__name__}; it must return (model, optimizer), (model, optimizer, scheduler) or a "
            f"dict with some of {', '.join(_KEYS)}."
        )
    if "model" not in parts:
        raise DataError(f"{target}: the dict has no 'model'.")
    own = parts.get("horizon")
    horizon = run.horizon(None, None) if own is None else run.over(as_horizon(own))
    counts = {
        "processes": run.processes if run.processes != 1 else parts.get("processes", 1),
        "accumulation": run.accumulation if run.accumulation != 1 else parts.get("accumulation", 1),
    }
    three = [parts.get(key) for key in ("model", "optimizer", "scheduler")]
    setup = setup_of(*three, horizon=horizon, **counts)
    of_it = plan if plan is not None else parts.get("plan")
    found = doctor(*three, plan=of_it, horizon=horizon, history=parts.get("history"), **counts)
    looked = [f"{len(setup.weights)} parameters", f"{setup.optimizer} of {len(setup.groups)} groups"]
    looked += [] if setup.scheduler is None else [setup.scheduler.name]
    looked += [] if setup.horizon is None else [f"{setup.horizon.steps:,} steps"]
    unread = list(setup.unread)
    if setup.horizon is None:
        unread.append("the length of the run, and what depends on it: say --steps")
    if setup.scheduler is None:
        unread.append("a schedule: none was given")
    return Checked(f"a {setup.framework} model", found, tuple(looked), tuple(unread))


# --- what is said


def _as_json(target: str, found: Checked) -> dict[str, Any]:
    return {
        "target": target,
        "kind": found.kind,
        "findings": [finding.as_dict() for finding in found.findings],
        "looked_at": list(found.looked),
        "not_looked_at": list(found.unread),
    }


def _said(target: str, found: Checked) -> str:
    counts = [(name, sum(f.severity == name for f in found.findings)) for name in _COLOURS]
    total = ", ".join(f"{n} {name}{'s' * (n != 1)}" for name, n in counts if n)
    lines = [*_lines(f"{target}: {found.kind}", ""), total or "nothing found", ""]
    for finding in found.findings:
        lines += [*_finding(finding), ""]
    lines += _labelled("looked at", "; ".join(found.looked) or "nothing")
    for each in found.unread:
        lines += _labelled("not at", each)
    return "\n".join(lines) + "\n"


def _finding(finding: Finding) -> list[str]:
    head = f"{finding.severity.upper()} {finding.code}"
    if finding.subject:
        head += f" ({finding.subject})"
    first, *rest = _lines(head, "  ")
    lines = [_coloured(first, finding.severity), *rest, *_lines(finding.verdict, "  ", "  ")]
    lines += _labelled("evidence", _evidence(finding.evidence))
    lines += _labelled("do", finding.remedy.says)
    for field, (now, then) in finding.remedy.change.items():
        lines += _labelled("plan", f"{field}: {now or '(none)'} -> {then or '(none)'}")
    return lines + _labelled("source", finding.source)


def _evidence(evidence: Mapping[str, Any]) -> str:
    return "; ".join(f"{key} {_short(plain(value))}" for key, value in evidence.items() if value is not None) or "-"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        more = f" and {len(value) - 3} more" if len(value) > 3 else ""
        return ", ".join(_short(inner) for inner in value[:3]) + more
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _labelled(label: str, text: str) -> list[str]:
    return _lines(f"  {label:<10}{text}", " " * 12, "  ", label)


def _lines(text: str, indent: str, first: str = "", label: str = "") -> list[str]:
    """Return ``text`` in lines of 80 columns; nothing in it steers the terminal."""
    from dwindle.inert import inert
    from dwindle.report.cells import flat, wrapped

    body = flat(inert(text))
    if label:
        made = wrapped(body[len(label) :].strip(), _WIDTH - 12)
        return [f"  {label:<10}{made[0]}", *(" " * 12 + line for line in made[1:])]
    made = wrapped(body, _WIDTH - max(len(first), len(indent)))
    return [first + made[0], *(indent + line for line in made[1:])]


def _coloured(text: str, severity: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    word, _, rest = text.partition(" ")
    return typer.style(word, fg=_COLOURS[severity], bold=True) + " " + rest
