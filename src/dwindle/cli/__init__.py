"""The command line: ``app`` and ``main``; one file a command, and what several of them share beside it."""

from dwindle.cli.app import app, main

__all__ = ["app", "main"]
