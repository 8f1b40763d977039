"""The lab's server: it listens on this machine alone unless told otherwise, and ends at once when it is interrupted."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from dwindle.errors import DataError, InvalidValueError, MissingExtraError, shown
from dwindle.lab.api import Given
from dwindle.lab.door import Door
from dwindle.lab.limits import Limits

__all__ = ["address", "door_of", "is_local", "listening", "serve", "uvicorn_or_raise"]

_EVERY = ("0.0.0.0", "::")
_BACKLOG = 512  # connections that the system holds for us: a burst of idle ones is not to keep others waiting


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on ``host`` and ``port``, any free one for port 0.

    Raises InvalidValueError for a port that is none, DataError where the port is taken or may not be used, or where the host is
    not an address of this machine.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise InvalidValueError(f"port must be from 0 to 65535, 0 for any free one; got {shown(port)}.")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise DataError(f"{shown(host)} is no address of this machine; leave --host out for 127.0.0.1.") from error
    found = socket.socket(family, kind)
    try:
        if os.name == "nt":
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            found.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
            )  # of connections that have ended, not of a server
        found.bind(where)
        found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        raise DataError(_not_bound(host, port, error)) from error
    return found


def _not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use, by another lab perhaps; take another with --port, 0 for any free one."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} may not be used without more rights; take one from 1024 on with --port."
    return f"the lab cannot listen on {host}, port {port}: {error.strerror}. Leave --host out for 127.0.0.1."


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address: one of 127.0.0.0/8, ::1, localhost.

    >>> is_local("127.0.0.1"), is_local("::1"), is_local("0.0.0.0"), is_local("192.168.1.5")
    (True, True, False, False)
    """
    return host in ("localhost", "::1") or (host.startswith("127.") and host.replace(".", "").isdigit())


def door_of(host: str, port: int) -> Door:
    """Return the rules of a server on that host and port: by which names it is called, and whether its page needs a key.

    >>> door = door_of("127.0.0.1", 8721)
    >>> sorted(door.hosts), door.key
    (['127.0.0.1', '[::1]', 'localhost'], None)
    """
    local = Door(port).hosts
    if is_local(host):
        return Door(port, local | {_in_url(host)})
    names = {_in_url(host).lower(), socket.gethostname().lower()}
    return Door(port, local | names, addresses=host in _EVERY, key=secrets.token_urlsafe(24))


def address(host: str, door: Door) -> str:
    """Return the address to open.

    >>> address("127.0.0.1", Door(8721))
    'http://127.0.0.1:8721/'
    """
    name = socket.gethostname() if host in _EVERY else _in_url(host)
    return f"http://{name}:{door.port}/{'' if door.key is None else f'?key={door.key}'}"


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def serve(
    page: Callable[[str], str], given: Given, on: socket.socket, door: Door, limits: Limits | None = None
) -> None:
    """Serve the page and its questions on a listening socket until the process is interrupted.

    ``page(token)`` is the page with a token in its data. Called in the main thread. Raises MissingExtraError without uvicorn and
    starlette, KeyboardInterrupt when interrupted and SystemExit when terminated, worker processes ended and connections cut.
    """
    limits = Limits() if limits is None else limits
    uvicorn = uvicorn_or_raise()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # the loop may close before it hears that a killed worker went
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of every finally
    try:
        asyncio.run(_served(uvicorn, page, given, on, door, limits))
    finally:
        signal.signal(signal.SIGTERM, before)


def uvicorn_or_raise() -> Any:
    """Return the module uvicorn; raises MissingExtraError where it or starlette is not installed."""
    for package in ("starlette", "uvicorn"):
        try:
            found = import_module(package)
        except ImportError as error:
            raise MissingExtraError.of(package, "lab") from error
    return found


async def _served(
    uvicorn: Any, page: Callable[[str], str], given: Given, on: socket.socket, door: Door, limits: Limits
) -> None:
    from dwindle.lab.app import application
    from dwindle.lab.guard import guarded
    from dwindle.lab.pool import Pool

    async with Pool.open(given.to_json(), limits) as pool:
        config = uvicorn.Config(
            application(door, pool, page, limits), http=guarded(limits), ws="none", loop="asyncio", lifespan="off",
            interface="asgi3", log_config=None, log_level="critical", access_log=False, proxy_headers=False,
            server_header=False, date_header=False,
            backlog=_BACKLOG, timeout_graceful_shutdown=0, h11_max_incomplete_event_size=2 * limits.head_bytes,
        )  # fmt: skip
        await uvicorn.Server(config).serve(sockets=[on])
