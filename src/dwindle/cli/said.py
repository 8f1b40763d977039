"""What the commands print: text with nothing in it that steers a terminal, or JSON that every reader takes."""

from __future__ import annotations

import json
from typing import Any

import typer

from dwindle.inert import inert
from dwindle.plain import plain

__all__ = ["OPTIONS", "say", "say_json", "with_options"]

OPTIONS = {
    "steps_per_epoch": "--steps-per-epoch K",
    "batch_size": "--batch-size M",
    "tokens_per_step": "--tokens-per-step T",
}
"""What a run is to be told for times in epochs, examples and tokens, and the option that tells it."""
_TAKE_ALL = {"show", "explain", "check", "convert"}  # commands; the others have the first of the options alone


def say(said: object, *, err: bool = False, nl: bool = True) -> None:
    """Print the text inert: a file, a column or a plan may be named by a stranger."""
    typer.echo(inert(str(said)), err=err, nl=nl)


def with_options(said: str, words: set[str]) -> str:
    """Return the message of a time that needs to know the run, with what the command of these ``words`` can be told.

    >>> with_options("1tok needs to know tokens_per_step; give it to the Horizon.", {"show"})
    '1tok needs to know tokens_per_step; add --tokens-per-step T.'
    """
    for name, option in OPTIONS.items():
        can = name == "steps_per_epoch" or words & _TAKE_ALL
        told = f"add {option}" if can else "write it in steps or %"
        said = said.replace(f"know {name}; give it to the Horizon", f"know {name}; {told}")
    return said


def say_json(value: Any) -> None:
    """Print the value in one line of JSON, null for numbers that JSON has no word for."""
    typer.echo(json.dumps(plain(value), allow_nan=False))
