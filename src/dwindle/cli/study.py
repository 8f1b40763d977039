"""``dwindle study``: the best plan for a user's data, found and reported; trainings can go to experiment trackers too."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dwindle.cli.said import say
from dwindle.errors import InvalidValueError, known

if TYPE_CHECKING:
    from dwindle.population import Optimiser
    from dwindle.studies import Space, Study
    from dwindle.tracking import Tracker

__all__ = ["study"]

_SEARCH, _TRAINING, _PLACE, _OUTPUT = "What is searched", "What is trained", "Where it is trained", "What comes out"
_MOMENTUM = 0.9  # of sgd, unless given


def study(
    data: Annotated[
        str,
        typer.Argument(
            help="fashion (2,000 images), fashion-mnist, a file (CSV, NPZ, IDX, Parquet), or a function of yours "
            "that returns data or a task, model included: module:function or file.py:function."
        ),
    ] = "fashion",
    space: Annotated[
        str | None,
        typer.Option(
            help="TOML file, or 'lam 0 1 | peak 1e-3 | schedule cosine to 0'; by default a grid of λ, peaks and schedules.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Train at most this many plans of the space; by default all, with --sampler 60.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="Who says what to train next: grid, random, sobol, tpe, gp or cma-es; by default every plan of the space.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            help="An Optuna study to show the trials in: a file or URL; by default study.db in --out.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    halving: Annotated[
        bool,
        typer.Option("--halving/--no-halving", help="Let plans go early that are behind.", rich_help_panel=_SEARCH),
    ] = True,
    folds: Annotated[
        int | None,
        typer.Option(
            metavar="K",
            help="Choose by cross-validation over K folds; by default 5 where up to 2,000 rows are divided at random, else 1: "
            "none.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    refine: Annotated[
        bool | None,
        typer.Option(
            "--refine/--no-refine",
            help="Try plans around the best as well; by default where no space is given.",
            rich_help_panel=_SEARCH,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(help="Trainings of each finalist, from fresh random starts.", rich_help_panel=_SEARCH)
    ] = 8,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same study, number for number.", rich_help_panel=_SEARCH)
    ] = 0,
    target: Annotated[
        str | None,
        typer.Option(help="The column of a table to predict; by default the last.", rich_help_panel=_TRAINING),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Leave this column of a table out; may repeat.", rich_help_panel=_TRAINING),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="classification or regression; by default what the values of the target look like.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of a file's rows held out to choose by; by default 0.2.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    test: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of a file's rows held out to report on; by default 0.2.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    label_noise: Annotated[
        list[float] | None,
        typer.Option(
            help="Redraw this share of the training labels; may repeat. By default none, for fashion 0 and 0.2.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="Passes over the data in a training; by default 40, beyond 10,000 examples 10.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Examples in a step; by default 32. A space can vary it: batch 16 64.", rich_help_panel=_TRAINING
        ),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Widths of the network's hidden layers, such as 256,128, or none for a linear model; by default 64.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    optimiser: Annotated[
        str | None, typer.Option(help="adam or sgd; by default adam.", rich_help_panel=_TRAINING)
    ] = None,
    momentum: Annotated[
        float | None, typer.Option(help="Momentum of sgd; by default 0.9.", rich_help_panel=_TRAINING)
    ] = None,
    refit: Annotated[
        bool,
        typer.Option(
            "--refit", help="Train the winner's weights on the validation rows as well.", rich_help_panel=_TRAINING
        ),
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="Where a model of yours is trained: cpu or cuda; by default cpu.", rich_help_panel=_PLACE),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(help="Train in this many processes; by default in threads, on all cores.", rich_help_panel=_PLACE),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Train on this Ray cluster, host:port, or on one started here: local.",
            rich_help_panel=_PLACE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for trials, report, plan and weights; by default runs/DATA.", rich_help_panel=_OUTPUT
        ),
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TRACKER",
            help="Write every training to tensorboard, wandb or mlflow as well; may repeat.",
            rich_help_panel=_OUTPUT,
        ),
    ] = None,
    plots: Annotated[
        bool,
        typer.Option(
            "--plots", help="Draw the gap, the map of λ and the peak, and the plans below it.", rich_help_panel=_OUTPUT
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.", rich_help_panel=_OUTPUT)] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the evidence as JSON instead of the summary.", rich_help_panel=_OUTPUT),
    ] = False,
) -> None:
    """Find the best weight decay, learning rate and schedule for DATA, and say how sure that is.

    Killed or interrupted, the same command goes on where it was.
    """
    from dwindle.cli.progress import progress
    from dwindle.report import summary
    from dwindle.studies import study as run_study
    from dwindle.studies.tasks import tasks_of
    from dwindle.tracking import Tracking

    folder = out or _folder(data)
    trackers = _trackers(log or [], folder)
    with Tracking(trackers, _warn, patient=quiet) as tracking:
        with redirect_stdout(sys.stderr) if as_json else nullcontext():  # what a user's own code prints is no JSON
            tasks = tasks_of(
                data, target=target, task=task, drop=drop or (), validation=validation, test=test,
                label_noise=label_noise, seed=seed, hidden=_widths(hidden),
                optimiser=_optimiser(optimiser, momentum), batch_size=batch_size, epochs=epochs, device=device,
            )  # fmt: skip
            shown = nullcontext() if quiet else progress([task.name for task in tasks])
            with _executor(processes, ray) as executor, shown as tell:
                found = run_study(
                    tasks, _space(space), trials=trials, sampler=sampler, storage=storage, seeds=seeds, seed=seed,
                    halving=halving, refine=refine, folds=folds, refit=refit, folder=folder,
                    progress=tell, listen=tracking, executor=executor,
                )  # fmt: skip
        places = [*_write(found, folder), *((tracker.name, tracker.place) for tracker in trackers)]
        if as_json:
            typer.echo(json.dumps(found.evidence))
        else:
            typer.echo(summary(found.evidence, pictures=plots, encoding=sys.stdout.encoding))
            say("\n" + "\n".join(f"{what:<12}{place}" for what, place in places))


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


def _trackers(names: Sequence[str], folder: Path) -> list[Tracker]:
    from dwindle.tracking import TRACKERS, tracker

    chosen = [known("--log", name, TRACKERS) for name in dict.fromkeys(names)]
    return [tracker(name, folder) for name in chosen]


def _warn(said: str) -> None:
    say(f"dwindle: {said}", err=True)


def _optimiser(name: str | None, momentum: float | None) -> Optimiser | None:
    from dwindle.population import SGD, Adam

    if name is not None:
        known("optimiser", name, ["adam", "sgd"])
    if momentum is not None and name != "sgd":
        raise InvalidValueError(f"--momentum {momentum:g} is for sgd; give --optimiser sgd with it, or leave it out.")
    if name is None:
        return None
    return Adam() if name == "adam" else SGD(momentum=_MOMENTUM if momentum is None else momentum)


def _widths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return () if text == "none" else tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise InvalidValueError(
            f"--hidden must be widths such as 256,128, or none for a linear model; got {text!r}."
        ) from error


def _space(text: str | None) -> Space | None:
    from dwindle.studies import Space

    if text is None:
        return None
    return Space.load(text) if text.endswith(".toml") else Space.parse(text)


def _folder(data: str) -> Path:
    """Return where a study of ``data`` goes by default: runs/ and the file without its ending, or module and function.

    >>> [_folder(data).as_posix() for data in ("fashion", "data/prices.csv.gz", "own/nets.py:cnn", "my.nets:cnn")]
    ['runs/fashion', 'runs/prices', 'runs/nets-cnn', 'runs/my-nets-cnn']
    """
    from dwindle.studies.fit import slug

    name = Path(data).name
    return Path("runs") / slug(name.replace(".py:", ":") if ":" in name else name.split(".")[0] or name)


def _write(found: Study, folder: Path) -> list[tuple[str, Path]]:
    from dwindle.studies.fit import tails
    from dwindle.text import save

    files = [("report", found.report(folder / "report.html"))]
    for tail, plan in zip(tails(found.plans), found.plans.values(), strict=True):
        save(plan, folder / f"plan{tail}.toml")
        files.append(("plan", folder / f"plan{tail}.toml"))
        if (folder / f"weights{tail}.npz").exists():
            files.append(("weights", folder / f"weights{tail}.npz"))
    files.append(("trials", folder / "trials.jsonl"))
    return files
