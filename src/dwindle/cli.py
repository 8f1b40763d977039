"""The command line: ``dwindle study``, ``show``, ``convert``, ``forecast``, ``optimize``. It does no arithmetic.

Exit codes: 0 done; 1 a failed run; 2 bad input, one line; 130 interrupted, resumable. Heavy imports wait for their command.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwindle import __version__
from dwindle.cli_convert import convert
from dwindle.cli_forecast import forecast
from dwindle.cli_optimize import optimize
from dwindle.errors import DwindleError, InvalidValueError

if TYPE_CHECKING:
    from dwindle.studies import Progress, Space, Study, Task

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Weight decay and learning-rate decay: applied exactly, predicted, searched and explained.",
)

_DEBUG = "DWINDLE_DEBUG"


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


@app.command()
def study(
    data: Annotated[str, typer.Argument(help="fashion, fashion-mnist, a file, or module:function.")] = "fashion",
    out: Annotated[Path | None, typer.Option(help="Folder for trials, report and plan; by default runs/DATA.")] = None,
    space: Annotated[
        str | None,
        typer.Option(help="TOML file, or 'lam 0 1 | peak 1e-3 | schedule cosine to 0'."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Train at most this many candidates of the space, drawn at random.")
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Who says what to train: grid, random, sobol, tpe, gp or cma-es.")
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help="The sampler's Optuna study: a file or URL; by default study.db in --out.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Fresh seeds for the final comparison.")] = 8,
    seed: Annotated[int, typer.Option(help="The seed of the whole study.")] = 0,
    label_noise: Annotated[
        list[float] | None,
        typer.Option(help="Redraw this share of training labels; may repeat (fashion: 0 and 0.2)."),
    ] = None,
    target: Annotated[str | None, typer.Option(help="The column of a table to predict; by default the last.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of a training; by default 40, beyond 10,000 examples 10.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Examples in a mini-batch.")] = 100,
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers, such as 256,128.")] = "128",
    optimiser: Annotated[str, typer.Option(help="adam or sgd.")] = "adam",
    momentum: Annotated[float, typer.Option(help="Momentum of sgd.")] = 0.9,
    processes: Annotated[int | None, typer.Option(help="Train in this many processes instead of threads.")] = None,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on this Ray cluster, host:port, or on one started here: local."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the evidence as JSON instead of the summary.")] = False,
) -> None:
    """Find the best weight decay, learning rate and schedule for DATA, and say how sure that is.

    Killed or interrupted, the same command goes on where it was.
    """
    from dwindle.report import summary
    from dwindle.studies import study as run_study

    tasks = _tasks(data, label_noise, target, seed, epochs, batch_size, hidden, optimiser, momentum)
    folder = out or Path("runs") / _slug(data)
    with _executor(processes, ray) as executor, nullcontext() if quiet or as_json else _Bars() as bars:
        found = run_study(
            tasks, _space(space), trials=trials, sampler=sampler, storage=storage, seeds=seeds, seed=seed, folder=folder,
            progress=bars, executor=executor,
        )  # fmt: skip
    files = _write(found, folder)
    if as_json:
        typer.echo(json.dumps(found.evidence))
        return
    typer.echo(summary(found.evidence))
    typer.echo("\n" + "\n".join(f"{what:<10} {path}" for what, path in files))


@app.command()
def show(
    plan: Annotated[str, typer.Argument(help="A plan in one line, or a .toml or .json file.")],
    steps: Annotated[int, typer.Option(help="Steps of the run.")] = 1000,
    steps_per_epoch: Annotated[int | None, typer.Option(help="Steps of an epoch, for times in ep.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of the table.")] = 11,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rates of every step as JSON.")] = False,
) -> None:
    """Show a plan: its learning rate, the factor on the weights, and what is left of w(0)."""
    from dwindle.report import plan_picture
    from dwindle.units import Horizon

    value = _plan(plan)
    run = Horizon(steps=steps, steps_per_epoch=steps_per_epoch)
    if as_json:
        rates = {name: column.tolist() for name, column in value.table(run)._asdict().items()}
        typer.echo(json.dumps({"plan": str(value), **rates}))
        return
    typer.echo(plan_picture(value, run, rows))


app.command()(convert)
app.command()(forecast)
app.command()(optimize)


def _executor(processes: int | None, ray: str | None) -> Any:
    """Return a context with where trainings are done, None for this process."""
    if processes is not None and ray is not None:
        raise InvalidValueError("--processes and --ray both say where to train; give one of them.")
    if ray is not None:
        from dwindle.cluster import Ray

        return Ray(ray)
    if processes is not None:
        from dwindle.studies import Processes

        return nullcontext(Processes(processes))
    return nullcontext()


def _plan(text: str) -> Any:
    from dwindle.text import load, parse

    return load(text) if text.endswith((".toml", ".json")) else parse(text)


def _tasks(
    data: str, noises: Sequence[float] | None, target: str | None, seed: int, epochs: int | None, batch_size: int,
    hidden: str, optimiser: str, momentum: float,
) -> list[Task]:  # fmt: skip
    from dwindle.errors import known
    from dwindle.population import SGD, Adam
    from dwindle.studies import Task, load

    known("optimiser", optimiser, ["adam", "sgd"])
    rule = Adam() if optimiser == "adam" else SGD(momentum=momentum)
    shares = list(dict.fromkeys(noises)) if noises else [0.0, 0.2] if data == "fashion" else [0.0]
    tasks = []
    for share in shares:
        loaded = load(data, target=target, label_noise=share, seed=seed)
        tasks.append(
            Task(
                data=loaded,
                name=f"{100 * share:g} % label noise" if share else "clean labels" if len(shares) > 1 else loaded.name,
                hidden=_widths(hidden),
                optimiser=rule,
                batch_size=min(batch_size, len(loaded.train_x)),
                epochs=epochs or (40 if len(loaded.train_x) <= 10_000 else 10),
            )
        )
    return tasks


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(width) for width in text.split(",") if width.strip())
    except ValueError as error:
        raise InvalidValueError(f"hidden must be widths such as 256,128; got {text!r}.") from error


def _space(text: str | None) -> Space | None:
    from dwindle.studies import Space

    if text is None:
        return None
    return Space.load(text) if text.endswith(".toml") else Space.parse(text)


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(text).stem).strip("-") or "study"


def _write(found: Study, folder: Path) -> list[tuple[str, Path]]:
    from dwindle.text import save

    files = [("report", found.report(folder / "report.html"))]
    for i, (name, plan) in enumerate(found.plans.items()):
        path = folder / ("plan.toml" if i == 0 else f"plan-{_slug(name)}.toml")
        save(plan, path)
        files.append(("plan", path))
    files.append(("trials", folder / "trials.jsonl"))
    return files


class _Bars:
    """A live line per task on stderr: trainings done, rate, time left, best validation loss, failures."""

    def __enter__(self) -> _Bars:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self.bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=18),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
        )
        self.lines: dict[str, Any] = {}
        self.bars.start()
        return self

    def __call__(self, at: Progress) -> None:
        if at.setting not in self.lines:
            self.lines[at.setting] = self.bars.add_task(at.setting[:18], total=at.total, note="")
        best = "" if at.best is None else f"best loss {at.best:.4f}"
        note = f"{at.stage}: {best}" + (f", {at.diverged} diverged" if at.diverged else "")
        self.bars.update(self.lines[at.setting], completed=int(at.done), total=at.total, note=note)

    def __exit__(self, *error: object) -> None:
        self.bars.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code; bad input is one line on stderr, without a traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(args=words or ["--help"], standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        said = error.format_message() if hasattr(error, "format_message") else str(error)  # typer's own usage errors
        if os.environ.get(_DEBUG) or not (isinstance(error, DwindleError) or hasattr(error, "format_message")):
            raise
        typer.echo(f"dwindle: {' '.join(said.split())}", err=True)
        code = 2
    if code == 130:
        typer.echo("dwindle: interrupted; finished trainings are kept, the same command goes on.", err=True)
    sys.exit(code if isinstance(code, int) else 0)
