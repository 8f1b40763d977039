"""What ``dwindle`` is called with, and ``dwindle show``; every other command has a file of its own. It does no arithmetic.

Exit codes: 0 done; 1 a failed run; 2 bad input, one line; 130 interrupted, resumable. Heavy imports wait for their command.
"""

from __future__ import annotations

import _thread
import codecs
import io
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from dwindle import __version__
from dwindle.cli.check import check
from dwindle.cli.convert import convert
from dwindle.cli.explain import explain
from dwindle.cli.forecast import forecast
from dwindle.cli.lab import lab
from dwindle.cli.optimize import optimize
from dwindle.cli.path import path
from dwindle.cli.said import say, with_options
from dwindle.cli.study import study
from dwindle.errors import DwindleError, InvalidValueError, count

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Weight decay and learning-rate decay: applied exactly, predicted, searched and explained.",
)

_DEBUG = "DWINDLE_DEBUG"
_SOON = 0.05  # seconds


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ[_DEBUG] = "1"
    if version:
        typer.echo(__version__)
        raise typer.Exit


def show(
    plan: Annotated[str, typer.Argument(help="A plan in one line, or a .toml or .json file.")],
    steps: Annotated[int, typer.Option(help="Steps of the run.")] = 1000,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Steps of an epoch, for times in ep.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples of a step, for times in ex.")] = None,
    tokens_per_step: Annotated[int | None, typer.Option(help="Tokens of a step, for times in tok.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of the table.")] = 11,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rates of every step as JSON.")] = False,
) -> None:
    """Show a plan: its learning rate, the factor on the weights, and what is left of w(0)."""
    from dwindle.report import plan_picture
    from dwindle.units import Horizon

    value = _plan(plan)
    run = Horizon(count("--steps", steps), None, steps_per_epoch, batch_size, None, tokens_per_step)
    if as_json:
        rates = {name: column.tolist() for name, column in value.table(run)._asdict().items()}
        typer.echo(json.dumps({"plan": str(value), **rates}))
        return
    say(plan_picture(value, run, rows))


app.command()(study)
app.command()(show)
app.command()(convert)
app.command()(forecast)
app.command()(optimize)
app.command()(explain)
app.command()(path)
app.command()(check)
app.command()(lab)


def _plan(text: str) -> Any:
    from dwindle.text.files import plan_of

    try:
        return plan_of(text)
    except DwindleError as error:
        if text.lower().endswith((".toml", ".json")) or not os.path.isfile(text):
            raise
        raise InvalidValueError(
            f"{text} is a file; a plan is one line, or a .toml or .json file. For a recipe use dwindle convert, for a log check."
        ) from error


def _like(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for letters that the terminal's encoding does not hold, such as lam for λ, and where to go on."""
    from dwindle.report.cells import likes

    if not isinstance(error, UnicodeEncodeError):
        raise error
    return likes(error.object[error.start : error.end]), error.end


def _warnings_in_a_line() -> Callable[..., None]:
    """Return what says a warning of dwindle's own as errors are said, in one line and once; others as Python does."""
    said: set[str] = set()

    def show(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any) -> None:
        text = f"dwindle: {message}\n"
        if not Path(filename).is_relative_to(Path(__file__).parents[1]):
            text = warnings.formatwarning(message, category, filename, lineno)
        elif text in said:
            return
        said.add(text)
        say(text, err=True, nl=False)

    return show


def _interrupt() -> None:
    if hasattr(signal, "pthread_kill"):  # wakes what sleeps
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


@contextmanager
def _no_interrupt_lost() -> Iterator[list[int]]:
    """Give the interrupts that came, and have one come again that Python would print and forget.

    It does so in a ``__del__`` or a callback of a weak reference: a study that keeps an Optuna study beside its trials is
    there one moment in a thousand. Of another, a library may make an error of its own (Python itself did, before 3.12, in a
    ``__set_name__``): by the list it is still known as an interrupt.
    """
    before, again, came = sys.unraisablehook, [], list[int]()

    def lost(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            again.append(threading.Timer(_SOON, _interrupt))  # at once, it would be lost in here
            again[-1].start()
        else:
            before(unraisable)

    def interrupted(number: int, _: Any) -> None:
        came.append(number)
        raise KeyboardInterrupt

    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler and (
        threading.current_thread() is threading.main_thread()
    )
    sys.unraisablehook = lost
    if ours:
        signal.signal(signal.SIGINT, interrupted)
    try:
        yield came
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.unraisablehook = before
        for timer in again:
            timer.cancel()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code; bad input is one line on stderr, without a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    codecs.register_error("dwindle", _like)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="dwindle")
    came: list[int] = []
    try:
        with warnings.catch_warnings(), _no_interrupt_lost() as came:
            warnings.showwarning = _warnings_in_a_line()
            code = app(args=words or ["--help"], standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        usage = getattr(error, "format_message", None)  # of typer's own errors
        if os.environ.get(_DEBUG) or not (came or usage or isinstance(error, DwindleError)):
            raise
        code = 130 if came else getattr(error, "exit_code", 2)
        if not came:
            said = with_options(usage() if usage else str(error), set(words))
            say(f"dwindle: {' '.join(said.split())}", err=True)
    if code == 130:
        typer.echo("dwindle: interrupted; finished trainings are kept, the same command goes on.", err=True)
    sys.exit(code if isinstance(code, int) else 0)
