"""``dwindle convert``: a recipe of any peer, or a plan, as source of another peer or as a plan."""

from __future__ import annotations

import ast
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from dwindle.cli.said import OPTIONS, say
from dwindle.errors import DwindleError, InvalidValueError, ParseError, UnresolvedTimeError, known

if TYPE_CHECKING:
    from dwindle.units import Horizon

__all__ = ["convert", "in_words_of_the_command"]

_PLANS = ("plan", "toml", "json")
_LARGEST = 1_000_000
_SUFFIXES = (".toml", ".json", ".py", ".txt")


class Recipe(NamedTuple):
    """What was given: a plan (or a rule that answers a metric), its text, and the peer it is of; None for a plan of ours."""

    plan: Any
    text: str
    peer: str | None


def convert(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A plan, a framework's recipe such as 'torch:StepLR(30) lr=0.1', a file (.toml, .json, .py), or - for stdin."
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
    optimizer: Annotated[
        str | None, typer.Option(help="The optimiser to write, by its name in that framework.")
    ] = None,
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
        written = _written(read, target, run, optimizer)
        told = _explained(read, target, run, optimizer) if explain and _has_curve(read.plan) else None
    except UnresolvedTimeError as error:
        raise UnresolvedTimeError(_with_options(str(error))) from error
    if out is not None:
        _save(out, written)
    if as_json:
        answer = {"plan": str(read.plan), "from": read.peer, "to": target, "source": written}
        typer.echo(json.dumps(answer | ({} if told is None else {"explanation": asdict(told)})))
    elif out is not None:
        say("\n\n".join([*([] if told is None else [str(told)]), f"written    {out}"]))
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
        say(told, err=True)
    elif told is not None:
        say("\n".join(f"# {line}".rstrip() for line in told.splitlines()) + "\n")
    say(written, nl=not written.endswith("\n"))


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
        said = in_words_of_the_command(str(error), text)
        if where is None and said == str(error):
            raise
        raise type(error)(said if where is None else f"{where}: {said}") from error


def in_words_of_the_command(said: str, text: str) -> str:
    """Return the message of a recipe that cannot be read, with what can be typed here to help it."""
    from dwindle.foreign.reading import peer_of_text
    from dwindle.foreign.schedules.peers import PEERS

    if "give it as base_lr=" in said:
        return (
            "the recipe has a scheduler and no learning rate; add the line that builds its optimiser, or write both in one "
            "line, such as 'torch:StepLR(30) lr=0.1'."
        )
    if "max_steps of" in said and "; add --steps" not in said:
        return (
            f"{said.partition(', the steps of the run')[0].removesuffix('.')}; add --steps N, or --steps-per-epoch K."
        )
    if "of textbook is built here" in said and peer_of_text(text) == "textbook":
        others = [root for root in _imported(text) if root not in (*sys.stdlib_module_names, "numpy", "dwindle")]
        if others:
            return f"{others[0]} is not one of the peers, {', '.join(PEERS)}; write its schedule as one of theirs, or as a plan."
        return said.replace("of textbook is built", f"of {', '.join(PEERS)} is built")
    return said


def _imported(text: str) -> list[str]:
    """Return the packages that Python source imports."""
    found: list[str] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found += [alias.name.partition(".")[0] for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append(str(node.module).partition(".")[0])
    return found


def _recipe(text: str, suffix: str, run: Horizon | None) -> Recipe:
    """Return the recipe by its form: a plan in one line, TOML or JSON; else whatever `foreign.read` knows."""
    from dwindle.foreign import read
    from dwindle.foreign.reading import peer_of_text
    from dwindle.foreign.source.spec import is_spec
    from dwindle.text import FORMAT, from_json, from_line, from_toml, parse

    if suffix == ".toml" or re.search(r'^format\s*=\s*"dwindle', text, re.MULTILINE):
        return Recipe(from_toml(text), text, None)
    if text.lstrip().startswith("{") and re.search(r'"format"\s*:\s*"dwindle', text):
        return Recipe(from_json(text), text, None)
    if text.startswith(f"# {FORMAT}"):
        return Recipe(from_line(text), text, None)
    one_line = "\n" not in text.strip()
    is_plan = re.match(r"\s*(peak|lr)\s+[0-9.]", text) or (one_line and "|" in text)
    if suffix != ".py" and is_plan and not is_spec(text):
        return Recipe(parse(" ".join(text.split("\n")).strip()), text, None)
    return Recipe(read(_as_source(text), run=run), text, peer_of_text(text))


def _as_source(text: str) -> str:
    """Return a spec of TrainingArguments as source, in which the run tells their steps; other text as it is."""
    found = re.fullmatch(r"\s*(?:hf|transformers|huggingface)\s*:\s*(TrainingArguments\(.*\))\s*", text, re.DOTALL)
    return text if found is None else f"import transformers\nargs = {found.group(1)}"


def _run(
    text: str,
    steps: int | None,
    epochs: float | None,
    steps_per_epoch: int | None,
    batch_size: int | None,
    examples: int | None,
    tokens_per_step: int | None,
) -> Horizon | None:
    """Return the run that the options tell, else the one that the recipe tells itself; None where neither does."""
    from dwindle.foreign.length import own_epochs
    from dwindle.units import Horizon

    if steps is not None and steps < 1:
        raise InvalidValueError(f"--steps must be at least 1; got {steps}.")
    if steps is None and epochs is None:
        steps = _own_steps(text, steps_per_epoch)
        if steps is None and not any((steps_per_epoch, batch_size, examples, tokens_per_step)):
            return None
        epochs = own_epochs(text) if steps is None else None
        if steps is None and epochs is None:
            raise InvalidValueError("how long is the run? Add --steps N, or --epochs E with --steps-per-epoch K.")
    if epochs is not None and steps_per_epoch is None and not (examples and batch_size):
        raise InvalidValueError(
            f"{epochs:g} epochs do not say how many steps; add --steps-per-epoch K, or --examples N with --batch-size M."
        )
    return Horizon(0 if steps is None else steps, epochs, steps_per_epoch, batch_size, examples, tokens_per_step)


def _own_steps(text: str, steps_per_epoch: int | None) -> int | None:
    """Return the steps that the recipe tells; a scheduler of timm counts epochs, where they are known."""
    from dwindle.foreign.length import own_steps
    from dwindle.foreign.reading import peer_of_text

    try:
        peer = peer_of_text(text)
    except DwindleError:
        return None
    return None if peer == "timm" and steps_per_epoch is not None else own_steps(text, peer)


def _with_options(said: str) -> str:
    """Return the message of a time that needs the run, with the options that tell it."""
    cause = said.partition("; give")[0].removesuffix(".")
    option = next((option for key, option in OPTIONS.items() if f"know {key}" in cause), None)
    return f"{cause}; add {option or '--steps N, or --epochs E with --steps-per-epoch K'}."


# --- what is written


def _written(read: Recipe, target: str, run: Horizon | None, optimizer: str | None) -> str:
    from dwindle.foreign.carried import carry
    from dwindle.plan import Plan
    from dwindle.text import to_json, to_toml

    plan = read.plan
    if target not in _PLANS:
        recipe = None if read.peer is None else read.text
        return carry(plan, target, run, recipe, read.peer, optimizer=optimizer)
    if not isinstance(plan, Plan):
        raise InvalidValueError(
            f"{type(plan).__name__} answers a metric and is no plan; write it for torch, hf, timm, keras or optax."
        )
    return str(plan) if target == "plan" else to_toml(plan) if target == "toml" else to_json(plan)


def _has_curve(plan: Any) -> bool:
    """Return whether ``plan`` can be explained; say it where it cannot."""
    from dwindle.plan import Plan

    if not isinstance(plan, Plan):
        say(f"{type(plan).__name__} answers a metric as it comes, and so has no curve to explain.", err=True)
    return isinstance(plan, Plan)


def _explained(read: Recipe, target: str, run: Horizon | None, optimizer: str | None) -> Any:
    from dwindle.foreign.explain import explain

    peer = None if target in _PLANS else target
    recipe = None if read.peer is None else read.text
    return explain(read.plan, peer, run, read.peer, optimizer=optimizer, recipe=recipe)
