"""``dwindle lab``: the page that shows the two decays live, served on this machine, or written to a file."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from dwindle.cli.said import say
from dwindle.errors import DataError, InvalidValueError

__all__ = ["lab"]


def lab(
    port: Annotated[int, typer.Option(help="The port to listen on; 0 for any free one.")] = 8721,
    host: Annotated[
        str, typer.Option(help="The address to listen on; others than 127.0.0.1 let other machines in.")
    ] = "127.0.0.1",
    study: Annotated[
        list[Path] | None, typer.Option(metavar="FOLDER", help="A study to watch, running or done; repeat it for more.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The log of a training, or the folder of its run.")
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page to a file, which needs no server, and leave.")
    ] = None,
) -> None:
    """Open the lab: drag λ, the learning rate and its decay, and see what they do; drop a log on it, or watch a study.

    Without --host only this machine can reach it. Ctrl-C ends it, with exit code 0.
    """
    if save is not None:
        from dwindle.lab.page import write

        if study or log is not None or open_:
            raise InvalidValueError("--save writes the page alone; leave --study, --log and --open out.")
        say(f"written    {write(save)}")
        return
    _serve(host, port, [*(study or [])], log, open_)


def _serve(host: str, port: int, studies: list[Path], log: Path | None, open_: bool) -> None:
    from dwindle.lab.api import Given
    from dwindle.lab.page import page
    from dwindle.lab.server import address, door_of, is_local, listening, serve, uvicorn_or_raise

    uvicorn_or_raise()
    for folder in studies:
        if not folder.is_dir():
            raise DataError(f"--study {folder}: no such folder. Give the --out of a dwindle study.")
    if log is not None and not log.exists():
        raise DataError(f"--log {log}: no such file.")
    given = Given(tuple(map(str, studies)), None if log is None else str(log))
    page()  # what it is made of is read here, so that the first visit need not wait
    with listening(host, port) as socket:
        door = door_of(host, socket.getsockname()[1])
        url = address(host, door)
        if not is_local(host):
            typer.echo(
                f"dwindle: --host {host} lets other machines in: whoever has the address below, key included, sees the studies "
                "and logs given here and can make this machine work. It is not encrypted. Without --host only this machine can.",
                err=True,
            )
        typer.echo(f"{url}\nCtrl-C ends the lab.")
        if open_:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        try:
            serve(lambda token: page(token=token), given, socket, door)
        except KeyboardInterrupt:
            typer.echo("")  # below the ^C
