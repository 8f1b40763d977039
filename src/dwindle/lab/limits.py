"""What one asker may cost the lab: connections, bytes, seconds and memory."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a server; a connection carries one request, so that its whole life has an end.

    ``connections`` open at once: beyond it the one that has waited longest without a whole request is dropped. ``head_bytes``
    and ``head_seconds`` are for request line and headers; ``body_bytes`` and ``body_seconds`` for a body, those with ``log`` for
    a log that is uploaded, of which ``logs`` are taken at once, fewer than there are ``workers``. These processes do what takes
    time, each within ``work_seconds`` (of a log ``log_work_seconds``) and ``memory`` bytes, after at most ``queue_seconds`` of
    waiting for one.
    """

    connections: int = 128
    head_bytes: int = 16_384
    head_seconds: float = 5.0
    body_bytes: int = 65_536
    body_seconds: float = 10.0
    log_bytes: int = 64 * 2**20
    log_seconds: float = 60.0
    logs: int = 1
    workers: int = 2
    work_seconds: float = 20.0
    log_work_seconds: float = 60.0
    queue_seconds: float = 10.0
    memory: int = 2 * 2**30

    @property
    def connection_seconds(self) -> float:
        """The longest life of a connection after its head: body, waiting, work, and as long again as a body for the answer."""
        return self.log_seconds + self.queue_seconds + self.log_work_seconds + self.body_seconds
