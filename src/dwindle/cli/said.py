"""What the commands print: text with nothing in it that steers a terminal, or JSON that every reader takes."""

from __future__ import annotations

import json
from typing import Any

import typer

from dwindle.inert import inert
from dwindle.plain import plain

__all__ = ["say", "say_json"]


def say(said: object, *, err: bool = False, nl: bool = True) -> None:
    """Print the text inert: a file, a column or a plan may be named by a stranger."""
    typer.echo(inert(str(said)), err=err, nl=nl)


def say_json(value: Any) -> None:
    """Print the value in one line of JSON, null for numbers that JSON has no word for."""
    typer.echo(json.dumps(plain(value), allow_nan=False))
