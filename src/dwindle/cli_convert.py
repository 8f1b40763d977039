"""``dwindle convert``: a recipe of any peer, or a plan, as source of another peer or as a plan."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnresolvedTimeError, known

if TYPE_CHECKING:
    from dwindle.units import Horizon

__all__ = ["convert"]

_PLANS = ("plan", "toml", "json")
_LARGEST = 1_000_000
_SUFFIXES = (".toml", ".json", ".py", ".txt")
_OPTIONS = {
    "steps_per_epoch": "--steps-per-epoch K",
    "batch_size": "--batch-size M",
    "tokens_per_step": "--tokens-per-step T",
}


class Recipe(NamedTuple):
    """What was given: a plan (or a rule that answers a metric), and the peer it is of; None for a plan of ours."""

    plan: Any
    peer: str | None


def convert(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A plan, a peer's recipe such as 'torch:StepLR(30) lr=0.1', a file (.toml, .json, .py), or - for stdin."
        ),
    ],
    to: Annotated[
        str, typer.Option(help="torch, optax, keras, timm, hf, composer, sklearn, textbook; plan, toml or json.")
    ],
    steps: Annotated[int | None, typer.Option(help="Steps of the run, where the recipe does not say it.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs of the run.")] = None,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Optimiser steps of an epoch.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of a step.")] = None,
    examples: Annotated[int | None, typer.Option(help="Training examples.")] = None,
    tokens_per_step: Annotated[int | None, typer.Option(help="Tokens of a step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="The optimiser to write, by its name there.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of the terminal.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say what changes on the way, as a comment.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print plan, source and explanation as JSON.")] = False,
) -> None:
    """Carry a recipe over: read it, whatever it is of, and write it for another framework.

    What is not exact is said in a comment of the written source.
    """
    from dwindle.foreign.schedules.peers import PEERS, peer_named

    target = to if to in _PLANS else peer_named(to) if _is_peer(to) else known("--to", to, [*PEERS, *_PLANS])
    text, where = _text(recipe)
    try:
        run = _run(text, steps, epochs, steps_per_epoch, batch_size, examples, tokens_per_step)
        read = _read(text, where, run)
        written = _written(read.plan, target, run, optimizer)
        told = _explained(read, target, run, optimizer) if explain else None
    except UnresolvedTimeError as error:
        raise UnresolvedTimeError(_with_options(str(error))) from error
    if out is not None:
        _save(out, written)
    if as_json:
        answer = {"plan": str(read.plan), "from": read.peer, "to": target, "source": written}
        typer.echo(json.dumps(answer | ({} if told is None else {"explanation": asdict(told)})))
    elif out is not None:
        typer.echo("\n\n".join([*([] if told is None else [str(told)]), f"written    {out}"]))
    else:
        _print(written, None if told is None else str(told), target)


def _is_peer(name: str) -> bool:
    from dwindle.foreign.schedules.peers import peer_named

    try:
        return bool(peer_named(name))
    except DwindleError:
        return False


def _save(path: Path, text: str) -> None:
    from dwindle.durable import write_whole

    try:
        write_whole(path, text.encode())
    except OSError as error:
        raise InvalidValueError(f"{path}: cannot be written: {error.strerror}.") from error


def _print(written: str, told: str | None, target: str) -> None:
    """Print the explanation as a comment above the source, so that both together still run; JSON and a line have none."""
    if told is not None and target in ("plan", "json"):
        typer.echo(told, err=True)
    elif told is not None:
        typer.echo("\n".join(f"# {line}".rstrip() for line in told.splitlines()) + "\n")
    typer.echo(written, nl=not written.endswith("\n"))


# --- what is read


def _text(recipe: str) -> tuple[str, Path | None]:
    """Return the text of the recipe, and the file it was in."""
    if recipe == "-":
        return sys.stdin.read(_LARGEST + 1), None
    path = Path(recipe)
    if "\n" in recipe or "|" in recipe or "(" in recipe or not recipe.lower().endswith(_SUFFIXES):
        return recipe, None
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
        if len(raw) > _LARGEST:
            raise ParseError(f"{path}: a recipe has at most {_LARGEST} bytes. Is this the right file?")
        return raw.decode("utf-8-sig"), path
    except OSError as error:
        raise ParseError(f"{path}: cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ParseError(f"{path}: not a text file in UTF-8.") from error


def _read(text: str, where: Path | None, run: Horizon | None) -> Recipe:
    try:
        return _recipe(text, "" if where is None else where.suffix.lower(), run)
    except DwindleError as error:
        if where is None:
            raise
        raise type(error)(f"{where}: {error}") from error


def _recipe(text: str, suffix: str, run: Horizon | None) -> Recipe:
    """Return the recipe by its form: a plan in one line, TOML or JSON; else whatever `foreign.read` knows."""
    from dwindle.foreign import read
    from dwindle.foreign.reading import peer_of_text
    from dwindle.foreign.source.spec import is_spec
    from dwindle.text import from_json, from_toml, parse

    if suffix == ".toml" or re.search(r'^format\s*=\s*"dwindle', text, re.MULTILINE):
        return Recipe(from_toml(text), None)
    if text.lstrip().startswith("{") and re.search(r'"format"\s*:\s*"dwindle', text):
        return Recipe(from_json(text), None)
    one_line = "\n" not in text.strip()
    if suffix != ".py" and one_line and not is_spec(text) and (re.match(r"\s*peak\s", text) or "|" in text):
        return Recipe(parse(text.strip()), None)
    return Recipe(read(text, run=run), peer_of_text(text))


def _run(
    text: str,
    steps: int | None,
    epochs: float | None,
    steps_per_epoch: int | None,
    batch_size: int | None,
    examples: int | None,
    tokens_per_step: int | None,
) -> Horizon | None:
    """Return the run that the options tell, None where they tell none; TrainingArguments know their epochs themselves."""
    from dwindle.units import Horizon

    if steps is None and epochs is None:
        if not any((steps_per_epoch, batch_size, examples, tokens_per_step)):
            return None
        epochs = _epochs_of(text)
        if epochs is None:
            raise InvalidValueError("how long is the run? Add --steps N, or --epochs E with --steps-per-epoch K.")
    if epochs is not None and steps_per_epoch is None and not (examples and batch_size):
        raise InvalidValueError(
            f"{epochs:g} epochs do not say how many steps; add --steps-per-epoch K, or --examples N with --batch-size M."
        )
    return Horizon(0 if steps is None else steps, epochs, steps_per_epoch, batch_size, examples, tokens_per_step)


def _epochs_of(text: str) -> float | None:
    found = re.search(r'"num_train_epochs"\s*:\s*([0-9.]+)', text) if text.lstrip().startswith("{") else None
    return None if found is None else float(found.group(1))


def _with_options(said: str) -> str:
    """Return the message of a time that needs the run, with the options that tell it."""
    cause = said.partition("; give")[0].removesuffix(".")
    option = next((option for key, option in _OPTIONS.items() if f"know {key}" in cause), None)
    return f"{cause}; add {option or '--steps N, or --epochs E with --steps-per-epoch K'}."


# --- what is written


def _written(plan: Any, target: str, run: Horizon | None, optimizer: str | None) -> str:
    from dwindle.foreign import write
    from dwindle.plan import Plan
    from dwindle.text import to_json, to_toml

    if target not in _PLANS:
        return write(plan, target, run, optimizer=optimizer)
    if not isinstance(plan, Plan):
        raise InvalidValueError(
            f"{type(plan).__name__} answers a metric and is no plan; write it for torch, hf, timm, keras or optax."
        )
    return str(plan) if target == "plan" else to_toml(plan) if target == "toml" else to_json(plan)


def _explained(read: Recipe, target: str, run: Horizon | None, optimizer: str | None) -> Any:
    from dwindle.foreign.explain import explain

    return explain(read.plan, None if target in _PLANS else target, run, read.peer, optimizer=optimizer)
