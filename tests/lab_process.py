"""A lab in a process of its own, and raw requests to it: what a browser would refuse to send is sent here."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dwindle.lab.limits import Limits

SCRIPT = """
import json, sys
from dwindle.lab.api import Given
from dwindle.lab.door import Door
from dwindle.lab.limits import Limits
from dwindle.lab import page
from dwindle.lab.server import door_of, listening, serve
limits, studies = json.loads(sys.argv[1])
with listening("127.0.0.1", 0) as on:
    door = door_of("127.0.0.1", on.getsockname()[1])
    print(door.port, flush=True)
    serve(lambda token: page(token=token), Given(tuple(studies)), on, door, Limits(**limits))
"""


@dataclass(frozen=True)
class Answer:
    """What came back until the connection was closed: status 0 and nothing where it was closed without an answer."""

    status: int
    head: str
    body: bytes
    seconds: float

    @property
    def json(self) -> dict:
        return json.loads(self.body)


@dataclass
class LabProcess:
    process: subprocess.Popen
    port: int

    def raw(self, data: bytes, *, timeout: float = 60.0, half_close: bool = False) -> Answer:
        """Send bytes as they are and return what comes back."""
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            try:
                connection.sendall(data)
                if half_close:
                    connection.shutdown(socket.SHUT_WR)
            except ConnectionError:
                pass  # closed while we were still sending
            return read(connection, begun)

    def call(self, path: str, body: bytes | dict, **headers: str) -> Answer:
        """Ask as the page does."""
        return self.raw(self.question(path, body, **headers), timeout=90)

    def question(self, path: str, body: bytes | dict, **headers: str | None) -> bytes:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {
            "Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}", "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/json", "X-Dwindle-Token": self.token, "Content-Length": str(len(content)),
        }  # fmt: skip
        told |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items() if value is not None)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + content

    @property
    def token(self) -> str:
        page = self.raw(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
        return token_in(page.body.decode())

    def memory(self) -> int:
        """The largest memory, in bytes, that the server and its workers have had at once each, summed."""
        pids = [self.process.pid, *_children(self.process.pid)]
        found = [re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()) for pid in pids]
        return sum(1024 * int(each.group(1)) for each in found if each)


def token_in(page: str) -> str:
    found = re.search(r"[0-9a-f]{96}", page)
    assert found is not None
    return found.group()


def read(connection: socket.socket, begun: float) -> Answer:
    data = b""
    try:
        while chunk := connection.recv(1 << 16):
            data += chunk
    except ConnectionError:
        pass
    head, _, body = data.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    return Answer(status, head.decode("latin-1"), body, time.monotonic() - begun)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def lab_process(limits: Limits | None = None, studies: tuple[str, ...] = ()) -> Iterator[LabProcess]:
    given = json.dumps([asdict(limits or Limits()), studies])
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, given], stdout=subprocess.PIPE, text=True)
    try:
        yield LabProcess(process, int(process.stdout.readline()))
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
